//! Protobuf by hand: frames, presence, merging, groups, well-known types, names of messages, bad records, limits.

use serde_json::{Value as Json, json};

use super::registry::{NOT_FOUND, Server, framed, reply};
use super::support::*;
use crate::clock::Clock;
use crate::config::settings::Value;
use crate::decode::{Decoder, resolve};

fn decoder_of(proto: &str, message: &str) -> Decoder {
    let (_directory, table) = with_file(proto, |file| Value::ProtobufFile {
        file,
        message: message.to_owned(),
    });
    decoder(&table, None)
}

fn check(decoder: &mut Decoder, value: &[u8], expected: Json) {
    let appended = append(decoder, &[value]);
    assert!(appended.rejects.is_empty(), "{:?}", appended.rejects);
    assert_eq!(rows(decoder), [expected]);
}

fn check_bad(decoder: &mut Decoder, value: &[u8], code: &str, path: &str) {
    let good = b"";
    let appended = append(decoder, &[good, value, good]);
    let [reject] = appended.rejects.as_slice() else {
        panic!("{:?} for {value:02x?}", appended.rejects)
    };
    assert_eq!(
        (reject.code, reject.path.as_str()),
        (code, path),
        "{}",
        reject.message
    );
    assert_eq!((reject.offset, decoder.take().unwrap().num_rows()), (11, 2));
}

pub(super) const SHAPES: &str = include_str!("bad_records.proto");

pub(super) fn order() -> Decoder {
    decoder_of(SHAPES, "shop.Order")
}

pub(super) fn absent() -> Json {
    json!({
        "id": 0, "maybe": null, "many": [], "words": [], "items": map([]), "text": null, "item": null, "big": null, "kind": "NONE", "at": null, "took": null,
        "wrapped": null, "open": null, "any": null, "empty": null, "node": null, "raw": decimal(0, 0), "flags": map([]), "small": 0,
    })
}

fn with(members: Json) -> Json {
    let mut row = absent();
    for (name, value) in members.as_object().unwrap() {
        row[name] = value.clone();
    }
    row
}

#[test]
fn what_is_not_there_is_the_default_or_null_by_its_presence() {
    check(&mut order(), b"", absent());
    check(&mut order(), b"\x10\x00", with(json!({"maybe": 0})));
}

#[test]
fn fields_come_in_any_order_packed_or_not_and_unknown_ones_are_skipped() {
    let value = b"\x1a\x02\x01\x02\x18\x03\x22\x01a\x1a\x01\x04\x22\x01b\x08\x05\x98\x06\x01\x9b\x06\x08\x01\x0b\x0c\x9c\x06";
    check(
        &mut order(),
        value,
        with(json!({"id": 5, "many": [1, 2, 3, 4], "words": ["a", "b"]})),
    );
    // A known number with another kind of value is an unknown field.
    check(&mut order(), b"\x0a\x01x\x3d\0\0\0\0", absent());
}

#[test]
fn later_values_win_and_messages_merge() {
    check(&mut order(), b"\x08\x01\x08\x02", with(json!({"id": 2})));
    let item = |sub: Json| with(json!({"item": {"sku": "", "sub": sub}}));
    check(
        &mut order(),
        b"\x3a\x06\x12\x04\x08\x01\x18\x07\x3a\x06\x12\x04\x10\x02\x18\x08",
        item(json!({"a": 1, "b": 2, "c": [7, 8]})),
    );
    // Of a oneof only the last member stays, and what was forgotten is not merged.
    check(
        &mut order(),
        b"\x3a\x04\x12\x02\x08\x01\x32\x01x",
        with(json!({"text": "x"})),
    );
    check(
        &mut order(),
        b"\x3a\x04\x12\x02\x08\x01\x32\x01x\x3a\x04\x12\x02\x10\x02\x3a\x00",
        item(json!({"a": 0, "b": 2, "c": []})),
    );
    check(
        &mut order(),
        b"\x3a\x02\x0a\x00\x3a\x00\x40\x05",
        with(json!({"big": decimal(5, 0)})),
    );
}

#[test]
fn the_last_entry_of_a_key_wins() {
    let value =
        b"\x2a\x07\x0a\x01k\x12\x02\x0a\x00\x2a\x03\x0a\x01j\x2a\x08\x0a\x01k\x12\x03\x0a\x01x";
    let items = map([
        ("k".to_owned(), json!({"sku": "x", "sub": null})),
        ("j".to_owned(), json!({"sku": "", "sub": null})),
    ]);
    check(&mut order(), value, with(json!({"items": items})));
    let flags = map([
        ("18446744073709551615".to_owned(), json!(true)),
        ("0".to_owned(), json!(false)),
    ]);
    check(
        &mut order(),
        b"\x8a\x01\x0d\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01\x10\x01\x8a\x01\x00",
        with(json!({"flags": flags})),
    );
}

#[test]
fn well_known_types_become_what_they_mean() {
    check(
        &mut order(),
        b"\x52\x05\x08\x01\x10\xe8\x07",
        with(json!({"at": timestamp(1_000_001)})),
    );
    check(&mut order(), b"\x52\x00", with(json!({"at": timestamp(0)})));
    let minus = b"\x5a\x0b\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01";
    check(&mut order(), minus, with(json!({"took": -1_000_000})));
    check(&mut order(), b"\x62\x00", with(json!({"wrapped": 0})));
    check(
        &mut order(),
        b"\x62\x02\x08\x07",
        with(json!({"wrapped": 7})),
    );
    check(&mut order(), b"\x7a\x00", with(json!({"empty": true})));
    let open = b"\x6a\x0b\x0a\x09\x0a\x01k\x12\x04\x1a\x02hi";
    check(&mut order(), open, with(json!({"open": "{\"k\":\"hi\"}"})));
    let any = [&b"\x72\x16\x0a\x10x.com/shop.Node"[..], b"\x12\x02\x0a\x00"].concat();
    let mut any = any;
    any[1] = u8::try_from(any.len() - 2).unwrap();
    any[3] = u8::try_from("x.com/shop.Node".len()).unwrap();
    check(
        &mut order(),
        &any,
        with(json!({"any": "{\"@type\":\"x.com/shop.Node\",\"name\":\"\",\"next\":[]}"})),
    );
    let node = b"\x82\x01\x09\x0a\x01a\x12\x04\x12\x02\x0a\x00";
    check(
        &mut order(),
        node,
        with(
            json!({"node": {"name": "a", "next": ["{\"name\":\"\",\"next\":[{\"name\":\"\",\"next\":[]}]}"]}}),
        ),
    );
    check(
        &mut order(),
        b"\xc1\x3e\xff\xff\xff\xff\xff\xff\xff\xff",
        with(json!({"raw": decimal(i128::from(u64::MAX), 0)})),
    );
}

#[test]
fn groups_and_required_fields_of_proto2() {
    let proto = r#"syntax = "proto2"; message M { required int32 id = 1; repeated group Part = 2 { optional string name = 3; } optional int32 n = 4 [default = 7];
        optional E e = 5; enum E { A = 1; B = 2; } repeated int64 packed = 6 [packed = true]; extensions 100 to 200; }"#;
    let mut decoder = decoder_of(proto, "M");
    check(
        &mut decoder,
        b"\x13\x1a\x01x\x14\x08\x01\x13\x14\x32\x02\x01\x02\xa0\x06\x01",
        json!({"id": 1, "part": [{"name": "x"}, {"name": null}], "n": null, "e": null, "packed": [1, 2]}),
    );
    let appended = append(
        &mut decoder,
        &[b"\x20\x01", b"\x08\x01\x28\x03", b"\x08\x01\x13\x1c"],
    );
    let codes: Vec<_> = appended
        .rejects
        .iter()
        .map(|reject| (reject.code, reject.path.as_str()))
        .collect();
    assert_eq!(
        codes,
        [
            ("missing_field", "id"),
            ("enum_index", "e"),
            ("invalid_encoding", "part")
        ]
    );
}

#[test]
fn protobuf_bad_records_are_rejected_alone() {
    let mut decoder = order();
    let mut deep = vec![0x9b; 0];
    (0..200).for_each(|_| deep.extend(b"\x9b\x06"));
    let corpus: &[(&[u8], &str, &str)] = &[
        (b"\x08", "truncated", "id"),
        (b"\x88", "truncated", ""),
        (
            b"\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\x02",
            "invalid_encoding",
            "id",
        ),
        (
            b"\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",
            "invalid_encoding",
            "id",
        ),
        (b"\x00\x01", "invalid_encoding", ""),
        (b"\x0e\x01", "invalid_encoding", "id"),
        (b"\x0f\x01", "invalid_encoding", "id"),
        (b"\x0c", "invalid_encoding", "id"),
        (b"\x9c\x06", "invalid_encoding", ""),
        (b"\x9b\x06", "truncated", ""),
        (b"\x9b\x06\x08\x01\xa4\x06", "invalid_encoding", ""),
        (b"\x98\x06", "truncated", ""),
        (b"\xff\xff\xff\xff\xff\x01\x01", "invalid_encoding", ""),
        (b"\x32\x05ab", "length_out_of_range", "text"),
        (
            b"\x32\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",
            "length_out_of_range",
            "text",
        ),
        (b"\x32\x01\xff", "invalid_utf8", "text"),
        (b"\x22\x01a\x22\x01\xff", "invalid_utf8", "words[1]"),
        (b"\x2a\x03\x0a\x01\xff", "invalid_utf8", "items"),
        (
            b"\x2a\x06\x0a\x01k\x12\x01\x0a",
            "truncated",
            "items[\"k\"].sku",
        ),
        (b"\x3a\x03\x12\x01\x08", "truncated", "item.sub.a"),
        (b"\x1a\x02\x01\x80", "truncated", "many[1]"),
        (b"\x18\x80\x80\x80\x80\x10", "out_of_range", "many[0]"),
        (b"\x90\x01\x80\x80\x80\x80\x10", "out_of_range", "small"),
        (b"\x48\x07", "enum_index", "kind"),
        (b"\x52\x02\x10\x01", "invalid_timestamp", "at"),
        (
            b"\x52\x0b\x10\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",
            "invalid_timestamp",
            "at",
        ),
        (
            b"\x52\x0a\x08\xff\xff\xff\xff\xff\xff\xff\xff\x7f",
            "invalid_timestamp",
            "at",
        ),
        (b"\x5a\x02\x10\x01", "out_of_range", "took"),
        (b"\x62\x01\x08", "truncated", "wrapped"),
        (b"\x6a\x01\x0a", "invalid_encoding", "open"),
        (b"\xc1\x3e\x01", "truncated", "raw"),
        (&deep, "depth", ""),
    ];
    for (value, code, path) in corpus {
        check_bad(&mut decoder, value, code, path);
    }
}

#[test]
fn what_a_small_record_may_become_is_bounded() {
    // A recursive value.
    let mut node = b"\x0a\x00".to_vec();
    for _ in 0..150 {
        let mut length = Vec::new();
        let mut rest = node.len();
        while rest >= 0x80 {
            length.push(rest as u8 | 0x80);
            rest >>= 7;
        }
        length.push(rest as u8);
        node = [&[0x12][..], &length, &node].concat();
    }
    let value = [b"\x82\x01\xa6\x04".as_slice(), &node].concat();
    let mut value = value;
    let size = node.len();
    value[2] = (size & 0x7f) as u8 | 0x80;
    value[3] = (size >> 7) as u8;
    check_bad(&mut order(), &value, "depth", "node.next[0]");
    // Empty items of a wide message.
    let fields: String = (1..2000)
        .map(|number| format!("int64 f{number} = {number}; "))
        .collect();
    let proto =
        format!("syntax = \"proto3\"; message M {{ repeated W w = 1; message W {{ {fields} }} }}");
    let mut wide = decoder_of(&proto, "M");
    check_bad(&mut wide, &b"\x0a\x00".repeat(20_000), "too_large", "w");
    // The same message again and again, inside of itself.
    let proto: String = (0..60)
        .map(|depth| format!("message M{depth} {{ M{} m = 1; int32 i = 2; }} ", depth + 1))
        .collect();
    let proto = format!("syntax = \"proto3\"; {proto} message M60 {{ int32 i = 1; }}");
    let mut nested = decoder_of(&proto, "M0");
    let mut value = [0x08, 1].repeat(10_000);
    for _ in 0..59 {
        let mut length = Vec::new();
        let mut rest = value.len();
        while rest >= 0x80 {
            length.push(rest as u8 | 0x80);
            rest >>= 7;
        }
        length.push(rest as u8);
        value = [b"\x0a\x00", &[0x0a][..], &length, &value].concat();
    }
    let appended = append(&mut nested, &[&value]);
    assert_eq!(
        appended.rejects[0].code, "too_large",
        "{:?}",
        appended.rejects
    );
    assert_eq!(nested.size_bytes(), 0);
}

fn registry_table(message: Option<&str>) -> crate::config::settings::Table {
    table(Value::ProtobufConfluent {
        subject: "s".to_owned(),
        message: message.map(str::to_owned),
    })
}

#[test]
fn message_indexes_select_the_message_and_another_one_is_a_bad_record() {
    let proto = r#"syntax = "proto3"; package p; import "common.proto"; import "confluent/meta.proto";
        message First { int32 a = 1; message Inner { common.Money b = 1; message Innermost { string c = 1; } } } message Second { bool d = 1; }"#;
    let common = "syntax = \"proto3\"; package common; message Money { int64 units = 1; }";
    let server = Server::start(move |path, _| match path {
        "/subjects/s/versions/latest" | "/schemas/ids/7" => reply(
            200,
            json!({"id": 7, "version": 1, "schemaType": "PROTOBUF", "schema": proto,
                "references": [{"name": "common.proto", "subject": "common", "version": 1}]})
            .to_string(),
        ),
        "/subjects/common/versions/1" => reply(
            200,
            json!({"schemaType": "PROTOBUF", "schema": common}).to_string(),
        ),
        "/schemas/ids/8" => reply(200, json!({"schema": "\"string\""}).to_string()),
        "/schemas/ids/9" => reply(
            200,
            json!({"schemaType": "PROTOBUF", "schema": "message {"}).to_string(),
        ),
        _ => reply(404, NOT_FOUND),
    });
    for (message, good, expected) in [
        (None, &b"\x00\x08\x05"[..], json!({"a": 5})),
        (Some("p.First"), b"\x02\x00\x08\x05", json!({"a": 5})),
        (
            Some("p.First.Inner"),
            b"\x04\x00\x00\x0a\x02\x08\x07",
            json!({"b": {"units": 7}}),
        ),
        (
            Some("p.First.Inner.Innermost"),
            b"\x06\x00\x00\x00\x0a\x01x",
            json!({"c": "x"}),
        ),
        (Some("p.Second"), b"\x02\x02\x08\x01", json!({"d": true})),
    ] {
        let mut decoder = decoder(
            &registry_table(message),
            Some(server.client(&Clock::machine())),
        );
        let values = [
            framed(7, good),
            framed(7, b"\x02\x06"),
            framed(7, b"\x01"),
            framed(7, b"\x02\x01"),
            framed(7, b"\x7e"),
            framed(7, b"\xff\xff\xff\xff\x0f"),
            framed(7, b""),
            framed(8, b"\x00"),
            framed(9, b"\x00"),
        ];
        let values: Vec<_> = values.iter().map(Vec::as_slice).collect();
        let appended = append(&mut decoder, &values);
        let codes: Vec<_> = appended.rejects.iter().map(|reject| reject.code).collect();
        assert_eq!(
            codes,
            [
                "message_index",
                "message_index",
                "message_index",
                "truncated",
                "message_index",
                "truncated",
                "unusable_schema",
                "unusable_schema"
            ],
            "{:?}",
            appended.rejects
        );
        assert_eq!(rows(&mut decoder), [expected]);
    }
}

#[test]
fn messages_of_another_type_pass_a_table_by_that_says_which_it_takes() {
    let orders = "syntax = \"proto3\"; package p; message Order { int32 a = 1; } message Line { int32 b = 1; }";
    let refunds = "syntax = \"proto3\"; package p; message Refund { int32 a = 1; }";
    for (message, skipped, codes) in [
        (Some("p.Order"), 2, &["message_index"][..]),
        (
            None,
            0,
            &["message_index", "message_index", "message_index"],
        ),
    ] {
        let server = Server::start(move |path, _| match path {
            "/subjects/s/versions/latest" | "/schemas/ids/7" => reply(
                200,
                json!({"id": 7, "version": 1, "schemaType": "PROTOBUF", "schema": orders})
                    .to_string(),
            ),
            "/schemas/ids/8" => reply(
                200,
                json!({"schemaType": "PROTOBUF", "schema": refunds}).to_string(),
            ),
            _ => reply(404, NOT_FOUND),
        });
        let mut decoder = decoder(
            &registry_table(message),
            Some(server.client(&Clock::machine())),
        );
        let values = [
            framed(7, b"\x00\x08\x05"),
            framed(7, b"\x02\x02\x08\x05"),
            framed(8, b"\x00\x08\x05"),
            // The third message of a schema that has two is no other type.
            framed(7, b"\x02\x04\x08\x05"),
        ];
        let values: Vec<_> = values.iter().map(Vec::as_slice).collect();
        let appended = append(&mut decoder, &values);
        let found: Vec<_> = appended.rejects.iter().map(|reject| reject.code).collect();
        assert_eq!(found, codes, "{:?}", appended.rejects);
        assert_eq!(appended.counts.skipped, skipped);
        assert_eq!(rows(&mut decoder), [json!({"a": 5})]);
    }
}

#[test]
fn a_schema_without_the_message_or_with_a_slip_is_refused_with_its_reason() {
    for (proto, message, expected) in [
        (
            SHAPES,
            "shop.Nothing",
            "the schema has no message `shop.Nothing`",
        ),
        (
            "syntax = \"proto3\"; message M { int32 }",
            "M",
            "the .proto text does not compile",
        ),
        (
            "syntax = \"proto3\"; import \"other.proto\"; message M { int32 a = 1; }",
            "M",
            "other.proto",
        ),
        (
            "syntax = \"proto3\"; message M { }",
            "M",
            "at least one field",
        ),
        (
            "syntax = \"proto3\"; message M { int32 a = 1; int32 A = 2; }",
            "M",
            "conflicts with field",
        ),
    ] {
        let (_directory, table) = with_file(proto, |file| Value::ProtobufFile {
            file,
            message: message.to_owned(),
        });
        let error = resolve(&table, None).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }
}

#[test]
fn imports_are_found_beside_the_file() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("orders.proto");
    std::fs::create_dir(directory.path().join("deep")).unwrap();
    std::fs::write(
        &file,
        "syntax = \"proto3\"; import \"deep/money.proto\"; message O { deep.Money m = 1; }",
    )
    .unwrap();
    std::fs::write(
        directory.path().join("deep/money.proto"),
        "syntax = \"proto3\"; package deep; message Money { sint64 units = 1; }",
    )
    .unwrap();
    let mut decoder = decoder(
        &table(Value::ProtobufFile {
            file,
            message: "O".to_owned(),
        }),
        None,
    );
    check(
        &mut decoder,
        b"\x0a\x02\x08\x03",
        json!({"m": {"units": -2}}),
    );
}
