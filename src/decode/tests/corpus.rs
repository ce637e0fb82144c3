//! Named bad records, each first, in the middle and last in a batch: the neighbours land with their values, the culprit has its code and path.

use std::fmt::Write as _;

use serde_json::{Value as Json, json};

use super::support::*;
use crate::config::settings::{JsonSchemaSource, UnknownFields, Value};
use crate::decode::Decoder;

/// A name, the payload, and the code and path of its reject.
type Bad = (&'static str, Vec<u8>, &'static str, &'static str);

/// Puts each bad record at every place among good ones and checks what lands.
fn check(decoder: &mut Decoder, good: &[(Vec<u8>, Json)], corpus: &[Bad]) {
    for (name, payload, code, path) in corpus {
        check_one(decoder, good, (name, payload, code, path));
    }
}

fn check_one(
    decoder: &mut Decoder,
    good: &[(Vec<u8>, Json)],
    (name, payload, code, path): (&str, &[u8], &str, &str),
) {
    for place in 0..=good.len() {
        let mut values: Vec<&[u8]> = good.iter().map(|(value, _)| value.as_slice()).collect();
        values.insert(place, payload);
        let appended = append(decoder, &values);
        let [reject] = appended.rejects.as_slice() else {
            panic!("{name} at {place}: {:?}", appended.rejects);
        };
        assert_eq!(
            (reject.code, reject.path.as_str()),
            (code, path),
            "{name}: {}",
            reject.message
        );
        assert_eq!(reject.offset, 10 + place as i64, "{name}");
        assert!(
            !reject.message.is_empty() && reject.message.chars().count() < 300,
            "{name}: {}",
            reject.message
        );
        assert_eq!(appended.counts.rows, good.len() as u64, "DEC-1 {name}");
        let expected: Vec<_> = good.iter().map(|(_, row)| row.clone()).collect();
        assert_eq!(rows(decoder), expected, "{name} at {place}");
    }
}

pub(super) const SCHEMA: &str = include_str!("bad_records.avsc");

/// The fields of a good record, each as its bytes, so that a bad one differs in one of them: the table of bad records begins with them.
fn fields() -> Vec<(&'static str, Vec<u8>)> {
    let line = include_str!("bad_records.txt")
        .lines()
        .find_map(|line| line.strip_prefix(GOOD_AVRO))
        .unwrap();
    let fields = line.split(' ').map(|field| field.split_once('=').unwrap());
    fields.map(|(name, hex)| (name, hex_bytes(hex))).collect()
}

const GOOD_AVRO: &str = "# good avro: ";

pub(super) fn good_bytes() -> Vec<u8> {
    fields().into_iter().flat_map(|(_, bytes)| bytes).collect()
}

pub(super) fn good_row() -> Json {
    json!({
        "id": 1, "name": "ab", "items": [{"sku": "x", "price": null}, {"sku": "y", "price": null}], "tags": map([("k".to_owned(), json!(3))]),
        "kind": "b", "amount": decimal(100, 2), "at": timestamp(1000), "choice": {"int": 5, "string": null, "array": null},
        "flag": true, "next": null, "code": bytes(&[7, 8]), "n": 2,
    })
}

/// The good record with one field replaced.
fn with(field: &str, bytes: &[u8]) -> Vec<u8> {
    assert!(fields().iter().any(|(name, _)| *name == field));
    let replace = |(name, good): (&str, Vec<u8>)| if name == field { bytes.to_vec() } else { good };
    fields().into_iter().flat_map(replace).collect()
}

/// The good record up to a field, and then these bytes.
fn until(field: &str, bytes: &[u8]) -> Vec<u8> {
    let before = fields().into_iter().take_while(|(name, _)| *name != field);
    before
        .flat_map(|(_, bytes)| bytes)
        .chain(bytes.iter().copied())
        .collect()
}

/// Avro's encoding of a number.
fn varint(value: i64) -> Vec<u8> {
    let mut rest = (value << 1 ^ value >> 63).cast_unsigned();
    let mut bytes = Vec::new();
    while rest >= 0x80 {
        bytes.push(rest as u8 | 0x80);
        rest >>= 7;
    }
    bytes.push(rest as u8);
    bytes
}

#[test]
fn avro_bad_records_are_rejected_alone() {
    let ten = [0xff; 10];
    let mut deep = Vec::new();
    for _ in 0..200 {
        deep.push(2);
        deep.extend(until("next", &[]));
    }
    let corpus: Vec<Bad> = vec![
        ("empty", vec![], "empty_payload", ""),
        ("only the first field", vec![2], "truncated", "name"),
        (
            "a byte too many",
            [good_bytes(), vec![0]].concat(),
            "trailing_bytes",
            "",
        ),
        (
            "two records",
            [good_bytes(), good_bytes()].concat(),
            "trailing_bytes",
            "",
        ),
        (
            "a number of eleven bytes",
            until("id", &[0xff; 11]),
            "invalid_encoding",
            "id",
        ),
        (
            "a number of ten bytes beyond 64 bits",
            until("id", &ten),
            "invalid_encoding",
            "id",
        ),
        (
            "a number that never ends",
            until("id", &[0x80; 9]),
            "truncated",
            "id",
        ),
        (
            "an int beyond 32 bits",
            with("n", &varint(1 << 31)),
            "invalid_encoding",
            "n",
        ),
        (
            "an int below 32 bits",
            with("n", &varint(-(1 << 31) - 1)),
            "invalid_encoding",
            "n",
        ),
        (
            "union branch 2 of 2",
            with("name", &[4]),
            "union_index",
            "name",
        ),
        ("union branch -1", with("name", &[1]), "union_index", "name"),
        (
            "union branch i64::MAX",
            with("name", &varint(i64::MAX)),
            "union_index",
            "name",
        ),
        (
            "union branch 4 of 4",
            with("choice", &[8]),
            "union_index",
            "choice",
        ),
        (
            "union branch -1 of 4",
            with("choice", &[1]),
            "union_index",
            "choice",
        ),
        (
            "string length -1",
            with("name", &[2, 1]),
            "length_out_of_range",
            "name",
        ),
        (
            "string length i64::MAX",
            with("name", &[vec![2], varint(i64::MAX)].concat()),
            "length_out_of_range",
            "name",
        ),
        (
            "string length i64::MIN",
            with("name", &[vec![2], varint(i64::MIN)].concat()),
            "length_out_of_range",
            "name",
        ),
        (
            "string longer than the rest",
            with("name", &[2, 0x7e, 1]),
            "length_out_of_range",
            "name",
        ),
        (
            "string of a broken character",
            with("name", &[2, 4, 0xc3, 0x28]),
            "invalid_utf8",
            "name",
        ),
        (
            "string of a surrogate",
            with("name", &[2, 6, 0xed, 0xa0, 0x80]),
            "invalid_utf8",
            "name",
        ),
        (
            "string of an overlong slash",
            with("name", &[2, 4, 0xc0, 0xaf]),
            "invalid_utf8",
            "name",
        ),
        (
            "string of a cut character",
            with("name", &[2, 2, 0xe2]),
            "invalid_utf8",
            "name",
        ),
        (
            "array of 10^9 items",
            with("items", &varint(1_000_000_000)),
            "length_out_of_range",
            "items",
        ),
        (
            "array of i64::MAX items",
            with("items", &varint(i64::MAX)),
            "length_out_of_range",
            "items",
        ),
        (
            "array block of i64::MIN items",
            with("items", &[varint(i64::MIN), vec![2]].concat()),
            "length_out_of_range",
            "items",
        ),
        (
            "array block of negative size",
            with("items", &[1, 1]),
            "length_out_of_range",
            "items",
        ),
        (
            "array block of a size beyond the end",
            with("items", &[vec![1], varint(1 << 40)].concat()),
            "length_out_of_range",
            "items",
        ),
        (
            "array block of a wrong size",
            with("items", b"\x01\x04\x02x\x00\x00"),
            "length_out_of_range",
            "items",
        ),
        (
            "array without an end",
            until("items", b"\x02\x02x\x00"),
            "truncated",
            "items",
        ),
        (
            "array item cut",
            until("items", b"\x04\x02x\x00\x02"),
            "length_out_of_range",
            "items[1].sku",
        ),
        (
            "second item with a bad text",
            with("items", b"\x04\x02x\x00\x02\xff\x00\x00"),
            "invalid_utf8",
            "items[1].sku",
        ),
        (
            "second item with a bad branch",
            with("items", b"\x04\x02x\x00\x02y\x06\x00"),
            "union_index",
            "items[1].price",
        ),
        (
            "item in the second block with a bad branch",
            with("items", b"\x02\x02x\x00\x02\x02y\x06\x00"),
            "union_index",
            "items[1].price",
        ),
        (
            "double cut",
            until("items", b"\x02\x02x\x02\x00\x00"),
            "truncated",
            "items[0].price",
        ),
        (
            "nulls without end",
            with("choice", &[vec![6], varint(1 << 40), vec![0]].concat()),
            "length_out_of_range",
            "choice.array",
        ),
        (
            "nulls in many blocks",
            with(
                "choice",
                &[vec![6], varint(65_000).repeat(3), vec![0]].concat(),
            ),
            "length_out_of_range",
            "choice.array",
        ),
        (
            "map key that is no text",
            with("tags", b"\x02\x02\xff\x06\x00"),
            "invalid_utf8",
            "tags",
        ),
        (
            "map key twice",
            with("tags", b"\x04\x02k\x06\x02k\x08\x00"),
            "duplicate_field",
            "tags",
        ),
        (
            "map key twice over blocks",
            with("tags", b"\x02\x02k\x06\x02\x02k\x08\x00"),
            "duplicate_field",
            "tags",
        ),
        (
            "map value beyond int",
            with(
                "tags",
                &[b"\x02\x02k".to_vec(), varint(1 << 40), vec![0]].concat(),
            ),
            "invalid_encoding",
            "tags[\"k\"]",
        ),
        (
            "map of 10^9 entries",
            with("tags", &varint(1_000_000_000)),
            "length_out_of_range",
            "tags",
        ),
        (
            "enum symbol 2 of 2",
            with("kind", &[4]),
            "enum_index",
            "kind",
        ),
        ("enum symbol -1", with("kind", &[1]), "enum_index", "kind"),
        (
            "decimal of 5 digits",
            with("amount", &[4, 0x27, 0x10]),
            "decimal_overflow",
            "amount",
        ),
        (
            "decimal of minus 5 digits",
            with("amount", &[4, 0xd8, 0xf0]),
            "decimal_overflow",
            "amount",
        ),
        (
            "decimal of 20 bytes",
            with("amount", &[vec![40], vec![1; 20]].concat()),
            "decimal_overflow",
            "amount",
        ),
        (
            "decimal without bytes",
            with("amount", &[0]),
            "invalid_number",
            "amount",
        ),
        (
            "decimal length beyond the end",
            until("amount", &[100, 1]),
            "length_out_of_range",
            "amount",
        ),
        (
            "milliseconds beyond microseconds",
            with("at", &varint(i64::MAX / 999)),
            "out_of_range",
            "at",
        ),
        (
            "milliseconds below microseconds",
            with("at", &varint(i64::MIN)),
            "out_of_range",
            "at",
        ),
        ("boolean 2", with("flag", &[2]), "invalid_encoding", "flag"),
        (
            "boolean 255",
            with("flag", &[255]),
            "invalid_encoding",
            "flag",
        ),
        ("fixed cut", until("code", &[7]), "truncated", "code"),
        (
            "recursion too deep",
            until("next", &deep),
            "depth",
            &DEEP_PATH,
        ),
        (
            "recursion cut",
            until("next", &[2, 2]),
            "truncated",
            "next.name",
        ),
        (
            "recursion with a bad branch",
            until("next", &[2, 2, 4]),
            "union_index",
            "next.name",
        ),
        (
            "recursion with a map key twice",
            until("next", &[2, 2, 0, 0, 4, 2, b'k', 2, 2, b'k', 2, 0]),
            "duplicate_field",
            "next.tags[\"k\"]",
        ),
        (
            "JSON instead of Avro",
            br#"{"id":1}"#.to_vec(),
            "union_index",
            "name",
        ),
        (
            "a container file",
            b"Obj\x01\x04\x16avro.schema".to_vec(),
            "union_index",
            "name",
        ),
    ];
    let mut decoder = avro_decoder(SCHEMA);
    check(
        &mut decoder,
        &[(good_bytes(), good_row()), (good_bytes(), good_row())],
        &corpus,
    );
    assert!(corpus.len() >= 55);
}

/// Half the depth limit in records, since each takes a union with it.
static DEEP_PATH: std::sync::LazyLock<String> =
    std::sync::LazyLock::new(|| format!("{}.items[0].price", ["next"; 63].join(".")));

pub(super) fn json_table() -> crate::config::settings::Table {
    let columns = crate::config::ddl::parse(include_str!("bad_records.ddl")).unwrap();
    let mut table = table(Value::Json {
        schema: JsonSchemaSource::Ddl(columns),
        unknown_fields: UnknownFields::Reject,
    });
    assert!(matches!(table.value, Value::Json { .. }));
    table.name = "json".to_owned();
    table
}

pub(super) fn json_good() -> (Vec<u8>, Json) {
    let text = r#" { "id" : 5e3 , "n":-1,"name":"a\u00e4\ud83e\udd80\n","flag":true,"ratio":0.1,"small":1.5,"amount":12345678901234567890.1234567891,
        "at":"2021-03-01T08:12:45.123456+01:00","on":"1969-12-31","raw":"AAH\/","items":[{"price":"1.5","sku":"x"},null],"tags":{"a":1,"b":null}} "#;
    let row = json!({
        "id": 5000, "n": -1, "name": "aä🦀\n", "flag": true, "ratio": double(0.1), "small": float(1.5),
        "amount": decimal(123_456_789_012_345_678_901_234_567_891, 10), "at": timestamp(1_614_582_765_123_456), "on": date(-1),
        "raw": bytes(&[0, 1, 255]), "items": [{"sku": "x", "price": decimal(150, 2)}, null],
        "tags": map([("a".to_owned(), json!(1)), ("b".to_owned(), Json::Null)]),
    });
    (text.as_bytes().to_vec(), row)
}

#[test]
fn json_bad_records_are_rejected_alone() {
    let field = |name: &str, value: &str| format!(r#"{{"{name}":{value}}}"#).into_bytes();
    let deep = |open: &str, close: &str| {
        field(
            "name",
            &format!("{}{}", open.repeat(100_000), close.repeat(100_000)),
        )
    };
    let many_digits = "9".repeat(5000);
    let corpus: Vec<Bad> = vec![
        ("empty", vec![], "empty_payload", ""),
        ("white space", b" \n".to_vec(), "empty_payload", ""),
        ("null", b"null".to_vec(), "type_mismatch", ""),
        ("array", b"[]".to_vec(), "type_mismatch", ""),
        ("string", b"\"x\"".to_vec(), "type_mismatch", ""),
        ("number", b"1".to_vec(), "type_mismatch", ""),
        ("word", b"hello".to_vec(), "malformed_json", ""),
        (
            "byte order mark",
            b"\xef\xbb\xbf{}".to_vec(),
            "malformed_json",
            "",
        ),
        ("open object", b"{".to_vec(), "truncated", ""),
        (
            "open after a comma",
            br#"{"id":1,"#.to_vec(),
            "truncated",
            "",
        ),
        (
            "trailing comma",
            br#"{"id":1,}"#.to_vec(),
            "malformed_json",
            "",
        ),
        (
            "leading comma",
            br#"{,"id":1}"#.to_vec(),
            "malformed_json",
            "",
        ),
        (
            "no comma",
            br#"{"id":1 "n":2}"#.to_vec(),
            "malformed_json",
            "",
        ),
        ("no colon", br#"{"id" 1}"#.to_vec(), "malformed_json", ""),
        (
            "single quotes",
            br#"{'id':1}"#.to_vec(),
            "malformed_json",
            "",
        ),
        ("bare name", br#"{id:1}"#.to_vec(), "malformed_json", ""),
        ("no value", br#"{"id":}"#.to_vec(), "malformed_json", "id"),
        (
            "trailing brace",
            br#"{"id":1}}"#.to_vec(),
            "trailing_bytes",
            "",
        ),
        (
            "two objects",
            br#"{"id":1}{"id":2}"#.to_vec(),
            "trailing_bytes",
            "",
        ),
        (
            "not UTF-8",
            b"{\"name\":\"\xff\"}".to_vec(),
            "invalid_utf8",
            "",
        ),
        ("UTF-16", b"{\0}\0".to_vec(), "malformed_json", ""),
        ("comment", br#"{/**/}"#.to_vec(), "malformed_json", ""),
        (
            "framed Avro",
            b"\0\0\0\0\x01\x02".to_vec(),
            "malformed_json",
            "",
        ),
        (
            "duplicate field",
            br#"{"id":1,"id":1}"#.to_vec(),
            "duplicate_field",
            "id",
        ),
        (
            "duplicate field by escape",
            br#"{"id":1,"\u0069d":1}"#.to_vec(),
            "duplicate_field",
            "id",
        ),
        (
            "duplicate after null",
            br#"{"id":null,"id":1}"#.to_vec(),
            "duplicate_field",
            "id",
        ),
        (
            "duplicate in a struct",
            field("items", r#"[{"sku":"a","sku":"b"}]"#),
            "duplicate_field",
            "items[0].sku",
        ),
        (
            "duplicate map key",
            field("tags", r#"{"a":1,"a":1}"#),
            "duplicate_field",
            "tags",
        ),
        (
            "unknown field",
            br#"{"other":1}"#.to_vec(),
            "unknown_field",
            "other",
        ),
        (
            "field of another case",
            br#"{"ID":1}"#.to_vec(),
            "unknown_field",
            "ID",
        ),
        (
            "unknown field in a struct",
            field("items", r#"[{"sku":"a"},{"x":1}]"#),
            "unknown_field",
            "items[1].x",
        ),
        (
            "string for a long",
            field("id", r#""1""#),
            "type_mismatch",
            "id",
        ),
        (
            "boolean for a long",
            field("id", "true"),
            "type_mismatch",
            "id",
        ),
        (
            "object for a long",
            field("id", "{}"),
            "type_mismatch",
            "id",
        ),
        (
            "fraction for a long",
            field("id", "1.5"),
            "out_of_range",
            "id",
        ),
        (
            "2^63",
            field("id", "9223372036854775808"),
            "out_of_range",
            "id",
        ),
        (
            "-2^63-1",
            field("id", "-9223372036854775809"),
            "out_of_range",
            "id",
        ),
        (
            "5000 digits",
            field("id", &many_digits),
            "out_of_range",
            "id",
        ),
        (
            "1e400 for a long",
            field("id", "1e400"),
            "out_of_range",
            "id",
        ),
        (
            "hidden fraction",
            field("id", "4503599627370497.00000000000001"),
            "out_of_range",
            "id",
        ),
        ("leading zero", field("id", "01"), "malformed_json", ""),
        ("plus sign", field("id", "+1"), "malformed_json", "id"),
        ("only a minus", field("id", "-"), "malformed_json", "id"),
        (
            "point without digits",
            field("id", "1."),
            "malformed_json",
            "id",
        ),
        (
            "no digit before the point",
            field("id", ".5"),
            "malformed_json",
            "id",
        ),
        (
            "exponent without digits",
            field("id", "1e"),
            "malformed_json",
            "id",
        ),
        ("hexadecimal", field("id", "0x10"), "malformed_json", ""),
        (
            "int beyond 32 bits",
            field("n", "2147483648"),
            "out_of_range",
            "n",
        ),
        (
            "number for a string",
            field("name", "5e3"),
            "type_mismatch",
            "name",
        ),
        (
            "boolean for a string",
            field("name", "false"),
            "type_mismatch",
            "name",
        ),
        (
            "array for a string",
            field("name", "[1]"),
            "type_mismatch",
            "name",
        ),
        ("100,000 open arrays", deep("[", "]"), "depth", "name"),
        (
            "100,000 open objects",
            deep("{\"a\":", "}"),
            "depth",
            "name",
        ),
        (
            "lone high surrogate",
            field("name", r#""\ud800""#),
            "invalid_utf8",
            "name",
        ),
        (
            "lone low surrogate",
            field("name", r#""\udc00""#),
            "invalid_utf8",
            "name",
        ),
        (
            "high surrogate and a letter",
            field("name", r#""\ud800a""#),
            "invalid_utf8",
            "name",
        ),
        (
            "two high surrogates",
            field("name", r#""\ud800\ud800""#),
            "invalid_utf8",
            "name",
        ),
        (
            "unknown escape",
            field("name", r#""\x41""#),
            "malformed_json",
            "name",
        ),
        (
            "short escape",
            field("name", r#""\u12""#),
            "malformed_json",
            "name",
        ),
        (
            "escape of no hexadecimal",
            field("name", r#""\u12g4""#),
            "malformed_json",
            "name",
        ),
        (
            "escape with a sign",
            field("name", r#""\u+123""#),
            "malformed_json",
            "name",
        ),
        (
            "escaped end",
            br#"{"name":"abc\"}"#.to_vec(),
            "truncated",
            "name",
        ),
        (
            "line break in a string",
            b"{\"name\":\"a\nb\"}".to_vec(),
            "malformed_json",
            "name",
        ),
        (
            "zero byte in a string",
            b"{\"name\":\"a\0b\"}".to_vec(),
            "malformed_json",
            "name",
        ),
        (
            "text for a boolean",
            field("flag", r#""true""#),
            "type_mismatch",
            "flag",
        ),
        (
            "number for a boolean",
            field("flag", "1"),
            "type_mismatch",
            "flag",
        ),
        (
            "capital True",
            field("flag", "True"),
            "malformed_json",
            "flag",
        ),
        (
            "half a word",
            field("flag", "tru"),
            "malformed_json",
            "flag",
        ),
        (
            "half a null",
            field("flag", "nul"),
            "malformed_json",
            "flag",
        ),
        ("1e400", field("ratio", "1e400"), "out_of_range", "ratio"),
        ("-1e400", field("ratio", "-1e400"), "out_of_range", "ratio"),
        ("NaN", field("ratio", "NaN"), "malformed_json", "ratio"),
        (
            "Infinity",
            field("ratio", "-Infinity"),
            "malformed_json",
            "ratio",
        ),
        (
            "NaN as text",
            field("ratio", r#""NaN""#),
            "type_mismatch",
            "ratio",
        ),
        (
            "1e39 for a float",
            field("small", "1e39"),
            "out_of_range",
            "small",
        ),
        (
            "39 digits",
            field("amount", "99999999999999999999999999999"),
            "decimal_overflow",
            "amount",
        ),
        (
            "11 digits after the point",
            field("amount", "0.12345678901"),
            "decimal_overflow",
            "amount",
        ),
        (
            "5000 digits as text",
            field("amount", &format!("\"{many_digits}\"")),
            "decimal_overflow",
            "amount",
        ),
        (
            "word for a decimal",
            field("amount", r#""many""#),
            "invalid_number",
            "amount",
        ),
        (
            "empty text for a decimal",
            field("amount", r#""""#),
            "invalid_number",
            "amount",
        ),
        (
            "decimal with a comma",
            field("amount", r#""1,5""#),
            "invalid_number",
            "amount",
        ),
        (
            "boolean for a decimal",
            field("amount", "true"),
            "type_mismatch",
            "amount",
        ),
        (
            "decimal in a struct",
            field("items", r#"[{"price":1},{"price":12345.678}]"#),
            "decimal_overflow",
            "items[1].price",
        ),
        (
            "time without a zone",
            field("at", r#""2021-03-01T07:12:45""#),
            "timestamp_without_zone",
            "at",
        ),
        (
            "nanoseconds",
            field("at", r#""2021-03-01T07:12:45.123456789Z""#),
            "invalid_timestamp",
            "at",
        ),
        (
            "month 13",
            field("at", r#""2021-13-01T07:12:45Z""#),
            "invalid_timestamp",
            "at",
        ),
        (
            "29 February",
            field("at", r#""2021-02-29T07:12:45Z""#),
            "invalid_timestamp",
            "at",
        ),
        (
            "year 10000",
            field("at", r#""10000-01-01T00:00:00Z""#),
            "invalid_timestamp",
            "at",
        ),
        (
            "word for a time",
            field("at", r#""now""#),
            "invalid_timestamp",
            "at",
        ),
        (
            "fraction for a time",
            field("at", "1.5"),
            "out_of_range",
            "at",
        ),
        (
            "boolean for a time",
            field("at", "true"),
            "type_mismatch",
            "at",
        ),
        (
            "date with a time",
            field("on", r#""2021-03-01T00:00:00Z""#),
            "invalid_date",
            "on",
        ),
        (
            "31 April",
            field("on", r#""2021-04-31""#),
            "invalid_date",
            "on",
        ),
        (
            "days beyond 32 bits",
            field("on", "2147483648"),
            "out_of_range",
            "on",
        ),
        (
            "not base64",
            field("raw", r#""a b""#),
            "invalid_binary",
            "raw",
        ),
        (
            "base64 without padding",
            field("raw", r#""AAE""#),
            "invalid_binary",
            "raw",
        ),
        (
            "object for an array",
            field("items", "{}"),
            "type_mismatch",
            "items",
        ),
        (
            "number in an array of structs",
            field("items", "[null,1]"),
            "type_mismatch",
            "items[1]",
        ),
        (
            "array with a trailing comma",
            field("items", "[null,]"),
            "malformed_json",
            "items[1]",
        ),
        (
            "open array",
            br#"{"items":[null"#.to_vec(),
            "truncated",
            "items",
        ),
        (
            "array for a map",
            field("tags", "[]"),
            "type_mismatch",
            "tags",
        ),
        (
            "text in a map of longs",
            field("tags", r#"{"a":1,"b c":"2"}"#),
            "type_mismatch",
            "tags[\"b c\"]",
        ),
        (
            "map without a colon",
            field("tags", r#"{"a"}"#),
            "malformed_json",
            "tags",
        ),
    ];
    let mut decoder = decoder(&json_table(), None);
    check(&mut decoder, &[json_good(), json_good()], &corpus);
    assert!(corpus.len() >= 100);
}

#[test]
fn messages_are_short_and_show_the_value() {
    let mut decoder = decoder(&json_table(), None);
    let long = format!(r#"{{"id":"{}"}}"#, "x".repeat(1000));
    let appended = append(&mut decoder, &[long.as_bytes()]);
    let mut expected = String::from("a whole number is expected, found ");
    write!(expected, "\"{}...", "x".repeat(63)).unwrap();
    assert_eq!(appended.rejects[0].message, expected);
}

#[test]
fn a_frame_is_checked_before_the_registry_is_asked() {
    // Nothing listens there: a bad frame must not even look.
    let settings = crate::config::settings::SchemaRegistry {
        url: "http://127.0.0.1:9/".parse().unwrap(),
        auth: crate::config::settings::RegistryAuth::None,
        tls: Default::default(),
    };
    let registry = std::sync::Arc::new(
        crate::decode::Registry::connect(&settings, crate::clock::Clock::machine()).unwrap(),
    );
    let framed = table(Value::AvroConfluent {
        subject: "s".to_owned(),
        record: None,
    });
    let resolved = crate::decode::resolve(&json_table(), None).unwrap();
    let resolved = crate::decode::Resolved {
        source: crate::decode::resolve::Source::Framed(crate::decode::resolve::Framing::Avro(None)),
        ..resolved
    };
    let target = target(&resolved, &framed);
    let mut decoder = decoder_for(&framed, &resolved, target, Some(registry));
    let appended = append(
        &mut decoder,
        &[b"", b"{}", b"\0", b"\0\0\0\0", b"\x01\0\0\0\x01"],
    );
    let codes: Vec<_> = appended.rejects.iter().map(|reject| reject.code).collect();
    assert_eq!(
        codes,
        [
            "empty_payload",
            "bad_magic",
            "truncated",
            "truncated",
            "bad_magic"
        ]
    );
    assert!(
        append(&mut decoder, &[b"\0\0\0\0\x01"]).stalled.is_some(),
        "ENV-1"
    );
}

/// The bytes of a payload: text with `\\xNN`, or hexadecimal.
fn text_bytes(text: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut rest = text;
    while let Some((before, behind)) = rest.split_once("\\x") {
        bytes.extend(before.as_bytes());
        match behind
            .get(..2)
            .and_then(|hex| u8::from_str_radix(hex, 16).ok())
        {
            Some(byte) => {
                bytes.push(byte);
                rest = behind.get(2..).unwrap_or_default();
            }
            // An escape of the record itself.
            None => {
                bytes.extend(b"\\x");
                rest = behind;
            }
        }
    }
    bytes.extend(rest.as_bytes());
    bytes
}

fn hex_bytes(hex: &str) -> Vec<u8> {
    let pairs = hex.as_bytes().chunks(2);
    pairs
        .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap())
        .collect()
}

/// One line of the table of bad records.
pub(super) struct Line<'a> {
    pub(super) format: &'a str,
    name: &'a str,
    payload: &'a str,
    code: &'a str,
    path: &'a str,
}

/// The table of bad records.
pub(super) fn bad_records() -> String {
    std::fs::read_to_string(TABLE).unwrap()
}

const TABLE: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/src/decode/tests/bad_records.txt"
);

impl<'a> Line<'a> {
    /// A line of it, unless it is a remark.
    pub(super) fn parse(line: &'a str) -> Option<Line<'a>> {
        if line.starts_with('#') {
            return None;
        }
        let parts: Vec<&str> = line.split(" | ").collect();
        let [format, name, payload, code, path] = *parts.as_slice() else {
            panic!("not five parts: {line}");
        };
        Some(Line {
            format,
            name,
            payload,
            code,
            path: if path == "-" { "" } else { path },
        })
    }

    pub(super) fn bytes(&self) -> Vec<u8> {
        match (self.format, self.payload.split_once('=')) {
            ("json", _) => text_bytes(self.payload),
            ("avro", Some(("raw", hex))) => hex_bytes(hex),
            ("avro", Some((field, hex))) => with(field, &hex_bytes(hex)),
            (_, _) => hex_bytes(self.payload),
        }
    }
}

/// Every line of the table, each first, in the middle and last in a batch.
#[test]
fn the_table_of_bad_records_is_rejected_line_by_line_and_costs_no_neighbour() {
    let is_blessing = std::env::var_os("LAKEWARD_BLESS").is_some();
    let mut blessed = String::new();
    let mut avro = avro_decoder(SCHEMA);
    let mut json = decoder(&json_table(), None);
    let mut protobuf = super::protobuf::order();
    let (avro_good, json_good, protobuf_good) = (
        vec![(good_bytes(), good_row()); 2],
        vec![json_good(), json_good()],
        vec![(Vec::new(), super::protobuf::absent()); 2],
    );
    let mut lines = 0;
    for text in bad_records().lines() {
        let Some(line) = Line::parse(text) else {
            blessed += &format!("{text}\n");
            continue;
        };
        lines += 1;
        let payload = line.bytes();
        let (decoder, good) = match line.format {
            "avro" => (&mut avro, &avro_good),
            "json" => (&mut json, &json_good),
            _ => (&mut protobuf, &protobuf_good),
        };
        if is_blessing {
            let appended = append(decoder, &[&payload]);
            decoder.clear();
            let (code, path) = match appended.rejects.first() {
                Some(reject) => (reject.code, reject.path.clone()),
                None => ("ACCEPTED", String::new()),
            };
            let path = if path.is_empty() { "-" } else { &path };
            let (format, name, payload) = (line.format, line.name, line.payload);
            blessed += &format!("{format} | {name} | {payload} | {code} | {path}\n");
            continue;
        }
        let name = format!("{} {}", line.format, line.name);
        let Some(code) = crate::decode::CODES
            .iter()
            .find(|code| code.word() == line.code)
        else {
            panic!("{name}: `{}` is no code", line.code);
        };
        check_one(decoder, good, (&name, &payload, code.word(), line.path));
    }
    if is_blessing {
        std::fs::write(TABLE, blessed).unwrap();
    }
    assert!(lines >= 300, "{lines} lines");
}
