//! Columns that are left out or masked, in every format: what lands, what never does, and what is said of a record that is rejected.

use std::fmt::Write as _;

use hmac::{Hmac, KeyInit as _, Mac as _};
use serde_json::{Value as Json, json};
use sha2::Sha256;

use super::registry::{Server, framed, reply};
use super::support::*;
use crate::clock::Clock;
use crate::config::ddl::{Column, Type};
use crate::config::settings::{
    Columns, Mask, MetadataColumn, OnIncompatible, Secret, Table, UnknownFields, Value,
};
use crate::decode::{Appended, Decoder, resolve};

const KEY: &str = "a key of some length";

/// The hash by the crate itself.
fn hash(bytes: &[u8]) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(KEY.as_bytes()).unwrap();
    mac.update(bytes);
    let mut text = String::new();
    for byte in mac.finalize().into_bytes() {
        write!(text, "{byte:02x}").unwrap();
    }
    text
}

fn path(text: &str) -> Vec<String> {
    text.split('.').map(str::to_owned).collect()
}

fn chosen(include: &[&str], exclude: &[&str], mask: &[(&str, Mask)]) -> Columns {
    Columns {
        include: include.iter().map(|text| path(text)).collect(),
        exclude: exclude.iter().map(|text| path(text)).collect(),
        mask: mask
            .iter()
            .map(|(text, mask)| (path(text), *mask))
            .collect(),
        mask_key: Some(Secret::new(KEY)),
    }
}

const HMAC: Mask = Mask::HmacSha256;
const REDACT: Mask = Mask::Redact;

fn decoded(table: &Table, values: &[&[u8]]) -> (Vec<Json>, Appended) {
    let mut decoder = decoder(table, None);
    let appended = append(&mut decoder, values);
    (rows(&mut decoder), appended)
}

fn refusal(table: &Table) -> String {
    resolve(table, None).unwrap_err().to_string()
}

// --- Avro

const CUSTOMER: &str = r#"{"type":"record","name":"Order","fields":[
    {"name":"id","type":"long"},
    {"name":"customer","type":{"type":"record","name":"Customer","fields":[
        {"name":"email","type":["null","string"]},{"name":"phone","type":"string"},{"name":"age","type":"int"},
        {"name":"born","type":{"type":"int","logicalType":"date"}}]}},
    {"name":"items","type":{"type":"array","items":{"type":"record","name":"Item","fields":[
        {"name":"sku","type":"bytes"},{"name":"note","type":["null","string"]}]}}},
    {"name":"tags","type":{"type":"map","values":"string"}},
    {"name":"state","type":{"type":"enum","name":"State","symbols":["new","paid"]}},
    {"name":"way","type":["null","string",{"type":"record","name":"Card","fields":[{"name":"number","type":"string"},{"name":"bank","type":"string"}]}]}]}"#;

fn long(out: &mut Vec<u8>, value: i64) {
    let mut rest = ((value << 1) ^ (value >> 63)).cast_unsigned();
    while rest >= 0x80 {
        out.push((rest & 0x7f) as u8 | 0x80);
        rest >>= 7;
    }
    out.push(rest as u8);
}

fn text(out: &mut Vec<u8>, value: &[u8]) {
    long(out, value.len() as i64);
    out.extend_from_slice(value);
}

/// An order whose customer has an e-mail address or none.
fn avro_order(email: Option<&str>) -> Vec<u8> {
    let mut out = Vec::new();
    long(&mut out, 7);
    match email {
        None => long(&mut out, 0),
        Some(email) => {
            long(&mut out, 1);
            text(&mut out, email.as_bytes());
        }
    }
    text(&mut out, b"+49 30 c4n4ry");
    long(&mut out, 44);
    long(&mut out, 365);
    long(&mut out, 2);
    text(&mut out, b"\xff\x00");
    long(&mut out, 1);
    text(&mut out, b"c4n4ry note");
    text(&mut out, b"");
    long(&mut out, 0);
    long(&mut out, 0);
    long(&mut out, 1);
    text(&mut out, b"plan");
    text(&mut out, b"gold");
    long(&mut out, 0);
    long(&mut out, 1);
    long(&mut out, 2);
    text(&mut out, b"4111 c4n4ry");
    text(&mut out, b"B");
    out
}

fn avro(columns: Columns, values: &[&[u8]]) -> (Vec<Json>, Appended) {
    let (_directory, mut table) = with_file(CUSTOMER, |file| Value::AvroFile { file });
    table.columns = columns;
    decoded(&table, values)
}

#[test]
fn avro_columns_are_left_out_and_masked_at_any_depth() {
    let columns = chosen(
        &[],
        &["customer.phone", "items.note", "way.Card.number"],
        &[
            ("customer.email", HMAC),
            ("customer.age", HMAC),
            ("customer.born", HMAC),
            ("items.sku", HMAC),
            ("tags", HMAC),
            ("state", REDACT),
        ],
    );
    let (with, without) = (avro_order(Some("a@b.c")), avro_order(None));
    let (rows, appended) = avro(columns, &[&with, &without]);
    assert_eq!(appended.counts.rows, 2);
    let row = |email: Json| {
        json!({
            "id": 7,
            "customer": {"email": email, "age": hash(b"44"), "born": hash(b"1971-01-01")},
            "items": [{"sku": hash(b"\xff\0")}, {"sku": hash(b"")}],
            "tags": map([("plan".to_owned(), json!(hash(b"gold")))]),
            "state": "[redacted]",
            "way": {"string": null, "Card": {"bank": "B"}},
        })
    };
    assert_eq!(rows, [row(json!(hash(b"a@b.c"))), row(Json::Null)]);
}

#[test]
fn avro_keeps_what_is_included_and_nothing_else() {
    let columns = chosen(&["id", "customer.email", "items"], &["items.note"], &[]);
    let (rows, _) = avro(columns, &[&avro_order(Some("a@b.c"))]);
    let items = [json!({"sku": bytes(b"\xff\0")}), json!({"sku": bytes(b"")})];
    let expected = json!({"id": 7, "customer": {"email": "a@b.c"}, "items": items});
    assert_eq!(rows, [expected]);
}

#[test]
fn redacted_structs_lists_and_numbers_are_null_and_a_null_string_stays_null() {
    let columns = chosen(
        &[],
        &["tags"],
        &[
            ("id", REDACT),
            ("customer.email", REDACT),
            ("customer.phone", REDACT),
            ("items", REDACT),
            ("way", REDACT),
        ],
    );
    let (rows, _) = avro(columns, &[&avro_order(Some("a@b.c")), &avro_order(None)]);
    let row = |email: Json| {
        json!({
            "id": null, "customer": {"email": email, "phone": "[redacted]", "age": 44, "born": date(365)},
            "items": null, "state": "paid", "way": null,
        })
    };
    assert_eq!(rows, [row(json!("[redacted]")), row(Json::Null)]);
}

#[test]
fn what_a_rule_cannot_do_is_refused_by_name() {
    let check = |columns: Columns, part: &str| {
        let (_directory, mut table) = with_file(CUSTOMER, |file| Value::AvroFile { file });
        table.columns = columns;
        let said = refusal(&table);
        assert!(said.contains(part), "{said}");
    };
    check(
        chosen(&[], &["custmer"], &[]),
        "custmer: the schema has no such field, which `columns` names; did you mean `customer`?",
    );
    check(chosen(&["ID"], &[], &[]), "did you mean `id`?");
    check(chosen(&[], &["id.x"], &[]), "has no member `x`");
    check(
        chosen(&[], &[], &[("customer", HMAC)]),
        "customer: values of the type Struct",
    );
    check(
        chosen(&[], &[], &[("way", HMAC)]),
        "way: values of the type Struct",
    );
}

const TREE: &str = r#"{"type":"record","name":"Node","fields":[
    {"name":"id","type":"long"},{"name":"email","type":"string"},{"name":"next","type":["null","Node"]}]}"#;

fn tree(email: &[u8], next: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    long(&mut out, 1);
    text(&mut out, email);
    out.extend_from_slice(next);
    out
}

#[test]
fn the_text_of_a_recursive_record_does_not_show_what_is_hidden_in_it() {
    let inner = tree(b"c4n4ry", &[0]);
    let value = tree(b"a@b.c", &[&[2][..], &inner].concat());
    let check = |columns: Columns| {
        let (_directory, mut table) = with_file(TREE, |file| Value::AvroFile { file });
        table.columns = columns;
        (refusal_or_rows(&table, &value), table)
    };
    for hidden in [
        chosen(&[], &["email"], &[]),
        chosen(&[], &[], &[("email", HMAC)]),
        chosen(&["id", "next"], &[], &[]),
    ] {
        let (said, _) = check(hidden);
        assert!(
            said.unwrap_err()
                .contains("next: the text of the recursive `Node`")
        );
    }
    let (rows, _) = check(chosen(&[], &["next"], &[("email", HMAC)]));
    assert_eq!(rows.unwrap(), [json!({"id": 1, "email": hash(b"a@b.c")})]);
    let (rows, _) = check(chosen(&[], &["email"], &[("next", HMAC)]));
    let text = br#"{"id":1,"email":"c4n4ry","next":null}"#;
    assert_eq!(rows.unwrap(), [json!({"id": 1, "next": hash(text)})]);
}

fn refusal_or_rows(table: &Table, value: &[u8]) -> Result<Vec<Json>, String> {
    match resolve(table, None) {
        Err(error) => Err(error.to_string()),
        Ok(_) => Ok(decoded(table, &[value]).0),
    }
}

#[test]
fn a_value_that_is_passed_over_still_ends_where_it_ends() {
    let whole = avro_order(Some("a@b.c"));
    let columns = || chosen(&["id"], &[], &[]);
    for end in 1..whole.len() {
        let (_, appended) = avro(columns(), &[&whole[..end]]);
        assert_eq!(appended.counts.rejects, 1, "{end}");
    }
    let (rows, _) = avro(columns(), &[&whole]);
    assert_eq!(rows, [json!({"id": 7})]);
}

// --- JSON

fn json_table(unknown_fields: UnknownFields, columns: Columns) -> Table {
    let column = |name: &str, kind: Type| Column {
        name: name.to_owned(),
        kind,
    };
    let customer = vec![column("email", Type::String), column("phone", Type::String)];
    let mut table = table(ddl(&[
        ("id", Type::Long),
        ("customer", Type::Struct(customer)),
        ("tags", Type::Array(Box::new(Type::String))),
        ("code", Type::Binary),
        ("amount", Type::Decimal(18, 2)),
    ]));
    if let Value::Json {
        unknown_fields: own,
        ..
    } = &mut table.value
    {
        *own = unknown_fields;
    }
    table.columns = columns;
    table
}

const JSON: &[u8] = br#"{"ssn":"c4n4ry","id":7,"customer":{"email":"a\u0040b.c","phone":"c4n4ry","x":1},"tags":["a",null],"code":"AQI=","amount":1.50,"more":{"y":2}}"#;

#[test]
fn json_fields_are_left_out_and_never_rescued() {
    let columns = chosen(
        &[],
        &["ssn", "customer.phone"],
        &[
            ("customer.email", HMAC),
            ("tags", HMAC),
            ("code", HMAC),
            ("id", HMAC),
            ("amount", REDACT),
        ],
    );
    let (rows, appended) = decoded(&json_table(UnknownFields::Rescue, columns), &[JSON]);
    assert_eq!(appended.counts.rows, 1);
    let expected = json!({
        "id": hash(b"7"), "customer": {"email": hash(b"a@b.c")}, "tags": [hash(b"a"), null],
        "code": hash(&[1, 2]), "amount": null, "_rescued": r#"{"customer.x":1,"more":{"y":2}}"#,
    });
    assert_eq!(rows, [expected]);
}

#[test]
fn json_under_include_has_no_rescued_fields_unless_they_are_included() {
    let columns = chosen(&["id", "customer.email"], &[], &[]);
    let (rows, appended) = decoded(&json_table(UnknownFields::Rescue, columns), &[JSON]);
    assert_eq!(rows, [json!({"id": 7, "customer": {"email": "a@b.c"}})]);
    assert_eq!(appended.ignored_fields, 3);
    let columns = chosen(&["id", "_rescued"], &["ssn"], &[]);
    let (rows, _) = decoded(&json_table(UnknownFields::Rescue, columns), &[JSON]);
    assert_eq!(rows, [json!({"id": 7, "_rescued": r#"{"more":{"y":2}}"#})]);
    let columns = chosen(
        &[],
        &["ssn", "_rescued", "customer", "tags", "code", "amount"],
        &[],
    );
    let (rows, _) = decoded(&json_table(UnknownFields::Rescue, columns), &[JSON]);
    assert_eq!(rows, [json!({"id": 7})]);
}

#[test]
fn json_that_lies_in_itself_does_not_show_what_is_hidden_in_it() {
    let schema = r##"{"type":"object","properties":{"id":{"type":"integer"},"tree":{"$ref":"#/$defs/tree"}},
        "$defs":{"tree":{"type":"object","properties":{"email":{"type":"string"},"next":{"$ref":"#/$defs/tree"}}}}}"##;
    let check = |columns: Columns| {
        let (_directory, mut table) = with_file(schema, |file| Value::Json {
            schema: crate::config::settings::JsonSchemaSource::File(file),
            unknown_fields: UnknownFields::Ignore,
        });
        table.columns = columns;
        let value = br#"{"id":1,"tree":{"email":"a","next":{"email":"c4n4ry"}}}"#;
        refusal_or_rows(&table, value)
    };
    let said = check(chosen(&[], &["tree.email"], &[])).unwrap_err();
    assert!(
        said.contains("tree.next: it would hold in its text"),
        "{said}"
    );
    let rows = check(chosen(&[], &["tree.email", "tree.next"], &[]));
    assert_eq!(rows.unwrap(), [json!({"id": 1})]);
    // What is hidden elsewhere is not in it.
    let rows = check(chosen(&[], &["id"], &[])).unwrap();
    assert_eq!(
        rows,
        [json!({"tree": {"email": "a", "next": r#"{"email":"c4n4ry"}"#}})]
    );
}

// --- Protobuf

const PROTO: &str = r#"syntax = "proto3"; import "google/protobuf/wrappers.proto";
    message Order { int64 id = 1; Customer customer = 2; repeated string tags = 3; map<string, Customer> others = 4;
        oneof way { string iban = 5; Card card = 6; } uint64 big = 7; google.protobuf.StringValue nick = 8; repeated int32 codes = 9; }
    message Customer { string email = 1; string phone = 2; }
    message Card { string number = 1; }"#;

fn field(out: &mut Vec<u8>, number: u8, bytes: &[u8]) {
    out.push(number << 3 | 2);
    out.push(bytes.len() as u8);
    out.extend_from_slice(bytes);
}

fn customer(email: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    field(&mut out, 1, email);
    field(&mut out, 2, b"c4n4ry");
    out
}

fn protobuf(columns: Columns, value: &[u8]) -> Vec<Json> {
    let (_directory, mut table) = with_file(PROTO, |file| Value::ProtobufFile {
        file,
        message: "Order".to_owned(),
    });
    table.columns = columns;
    decoded(&table, &[value]).0
}

#[test]
fn protobuf_fields_are_left_out_and_masked_at_any_depth() {
    let mut value = vec![8, 7];
    field(&mut value, 2, &customer(b"first"));
    // Merged into the first: the later e-mail address counts.
    field(&mut value, 2, &customer(b"a@b.c"));
    field(&mut value, 3, b"x");
    field(&mut value, 3, b"y");
    let mut entry = Vec::new();
    field(&mut entry, 1, b"k");
    field(&mut entry, 2, &customer(b"d@e.f"));
    field(&mut value, 4, &entry);
    field(&mut value, 5, b"DE00");
    field(&mut value, 8, &[10, 2, b'n', b'i']);
    field(&mut value, 9, &[1, 2]);
    let columns = chosen(
        &[],
        &["customer.phone", "others.phone"],
        &[
            ("customer.email", HMAC),
            ("others.email", HMAC),
            ("tags", HMAC),
            ("iban", REDACT),
            ("big", HMAC),
            ("nick", HMAC),
            ("codes", HMAC),
            ("id", HMAC),
        ],
    );
    let expected = json!({
        "id": hash(b"7"), "customer": {"email": hash(b"a@b.c")}, "tags": [hash(b"x"), hash(b"y")],
        "others": map([("k".to_owned(), json!({"email": hash(b"d@e.f")}))]),
        "iban": "[redacted]", "card": null, "big": hash(b"0"), "nick": hash(b"ni"),
        "codes": [hash(b"1"), hash(b"2")],
    });
    assert_eq!(protobuf(columns, &value), [expected]);
}

#[test]
fn a_oneof_whose_last_member_is_left_out_has_no_member() {
    let mut value = vec![8, 7];
    field(&mut value, 5, b"DE00");
    field(&mut value, 6, &[]);
    let rows = protobuf(chosen(&["id", "iban"], &[], &[]), &value);
    assert_eq!(rows, [json!({"id": 7, "iban": null})]);
    let rows = protobuf(
        chosen(
            &["id", "iban", "card"],
            &[],
            &[("tags", REDACT), ("card", REDACT)],
        ),
        &value,
    );
    assert_eq!(rows, [json!({"id": 7, "iban": null, "card": null})]);
    let rows = protobuf(chosen(&["tags", "codes"], &[], &[("tags", REDACT)]), &value);
    assert_eq!(rows, [json!({"tags": null, "codes": []})]);
}

// --- Values and keys without fields

#[test]
fn raw_and_text_values_and_keys_are_masked() {
    let mut plain = table(Value::Raw);
    plain.metadata.include.push(MetadataColumn::Key);
    plain.columns = chosen(&[], &[], &[("value", HMAC), ("_kafka_key", HMAC)]);
    let row = |table: &Table| {
        let mut decoder = decoder(table, None);
        append(&mut decoder, &[b"\xff\0"]);
        let mut rows = all_columns(&decoder.take().unwrap());
        let row = rows.pop().unwrap();
        (row["value"].clone(), row["_kafka_key"].clone())
    };
    assert_eq!(row(&plain), (json!(hash(b"\xff\0")), json!(hash(b"key"))));
    plain.columns = chosen(&[], &[], &[("value", REDACT), ("_kafka_key", REDACT)]);
    assert_eq!(row(&plain), (Json::Null, Json::Null));
    plain.key = Some(Value::Text);
    assert_eq!(row(&plain), (Json::Null, json!("[redacted]")));
}

#[test]
fn members_of_a_decoded_key_are_masked_and_left_out() {
    let key_schema = r#"{"type":"record","name":"Key","fields":[{"name":"id","type":"long"},{"name":"email","type":"string"},{"name":"phone","type":"string"}]}"#;
    let server = Server::start(move |_, _| {
        let answer = json!({"id": 5, "version": 1, "schema": key_schema});
        reply(200, answer.to_string())
    });
    let registry = Some(server.client(&Clock::manual(0, 1)));
    let mut table = table(ddl(&[("id", Type::Long)]));
    table.key = Some(Value::AvroConfluent {
        subject: "shop.orders-key".to_owned(),
        record: None,
    });
    table.metadata.include.push(MetadataColumn::Key);
    table.columns = chosen(&[], &["_kafka_key.phone"], &[("_kafka_key.email", HMAC)]);
    let mut key = vec![2];
    text(&mut key, b"a@b.c");
    text(&mut key, b"c4n4ry");
    let mut records = crate::model::record::Records::default();
    records.push(
        crate::model::record::Coordinates::default(),
        Some(&framed(5, &key)),
        Some(b"{\"id\":1}"),
        [],
    );
    let mut decoder = decoder(&table, registry);
    let appended = decoder.append(&place(), &records, 0);
    assert_eq!(appended.counts.rows, 1, "{:?}", appended.rejects);
    let rows = all_columns(&decoder.take().unwrap());
    assert_eq!(
        rows[0]["_kafka_key"],
        json!({"id": 1, "email": hash(b"a@b.c")})
    );
}

// --- Schemas that change

/// A decoder of framed Avro for a table made of `first`, whose registry then has `second` under the id 2.
fn evolving(
    columns: Columns,
    on_incompatible: OnIncompatible,
    second: &'static str,
) -> (Server, Table, Decoder) {
    const FIRST: &str = r#"{"type":"record","name":"R","fields":[{"name":"id","type":"long"},{"name":"email","type":"string"}]}"#;
    let server = Server::start(move |path, _| {
        let schema = if path.ends_with("/2") { second } else { FIRST };
        let answer = json!({"id": 1, "version": 1, "schema": schema});
        reply(200, answer.to_string())
    });
    let mut table = table(Value::AvroConfluent {
        subject: "shop.orders-value".to_owned(),
        record: None,
    });
    table.columns = columns;
    table.evolution.on_incompatible = on_incompatible;
    let decoder = decoder(&table, Some(server.client(&Clock::manual(0, 1))));
    (server, table, decoder)
}

#[test]
fn new_fields_stay_out_under_include_and_are_masked_where_they_are_to_be() {
    let second = r#"{"type":"record","name":"R","fields":[{"name":"id","type":"long"},{"name":"email","type":"string"},{"name":"new","type":"string"}]}"#;
    let mut value = framed(2, &[]);
    long(&mut value, 1);
    text(&mut value, b"a@b");
    text(&mut value, b"c4n4ry");
    let (_server, _, mut decoder) =
        evolving(chosen(&["id"], &[], &[]), OnIncompatible::Reject, second);
    let appended = append(&mut decoder, &[&value]);
    assert!(appended.wished.is_none());
    assert_eq!(rows(&mut decoder), [json!({"id": 1})]);
    let (_server, _, mut decoder) =
        evolving(chosen(&[], &["email"], &[]), OnIncompatible::Reject, second);
    let given = records([Some(&value[..])]);
    let wished = decoder.append(&place(), &given, 0).wished.unwrap();
    let names: Vec<&String> = wished.fields().iter().map(|field| field.name()).collect();
    assert!(names.contains(&&"new".to_owned()) && !names.contains(&&"email".to_owned()));
}

#[test]
fn a_masked_column_takes_another_type_as_its_hash_and_never_gets_one_beside_it() {
    let second = r#"{"type":"record","name":"R","fields":[{"name":"id","type":"long"},{"name":"email","type":["null","long",{"type":"record","name":"E","fields":[{"name":"at","type":"string"}]}]}]}"#;
    let mut number = framed(2, &[]);
    long(&mut number, 1);
    long(&mut number, 1);
    long(&mut number, 12);
    let mut record = framed(2, &[]);
    long(&mut record, 1);
    long(&mut record, 2);
    text(&mut record, b"c4n4ry");
    for policy in [OnIncompatible::Reject, OnIncompatible::NewColumn] {
        let columns = chosen(&[], &[], &[("email", HMAC)]);
        let (_server, _, mut decoder) = evolving(columns, policy, second);
        let given = records([Some(&number[..]), Some(&record[..])]);
        let appended = decoder.append(&place(), &given, 0);
        assert!(appended.wished.is_none(), "{policy:?}");
        assert!(
            appended
                .rejects
                .iter()
                .any(|reject| reject.code == "type_mismatch")
        );
        assert!(!format!("{:?} {:?}", appended.rejects, rows(&mut decoder)).contains("c4n4ry"));
    }
}

// --- What is said

#[test]
fn nothing_that_is_said_of_a_rejected_record_shows_a_value_where_some_are_hidden() {
    let bad: [&[u8]; 9] = [
        br#"{"id":1,"customer":{"email":"c4n4ry","phone":12}}"#,
        br#"{"id":1,"customer":{"email":c4n4ry}}"#,
        br#"{"id":"c4n4ry"}"#,
        br#"{"id":1,"amount":"c4n4ry"}"#,
        br#"{"id":1,"amount":99999999999999999999}"#,
        br#"{"id":1,"code":"c4n4ry!"}"#,
        br#"{"id":1,"customer":{"email":"c4n4ry"#,
        br#"c4n4ry"#,
        br#"{"id":1} c4n4ry"#,
    ];
    let said = |columns: Columns| {
        let (_, appended) = decoded(&json_table(UnknownFields::Ignore, columns), &bad);
        appended.rejects
    };
    assert!(format!("{:?}", said(Columns::default())).contains("c4n4ry"));
    let rejects = said(chosen(
        &[],
        &["customer.phone"],
        &[("customer.email", HMAC)],
    ));
    assert!(rejects.len() >= 7);
    let shown = format!("{rejects:?}");
    assert!(
        !shown.contains("c4n4ry") && !shown.contains("99999"),
        "{shown}"
    );
    let map = table(ddl(&[("m", Type::Map(Box::new(Type::Long)))]));
    let mut map = Table {
        columns: chosen(&[], &[], &[("m", HMAC)]),
        ..map
    };
    let value: &[u8] = br#"{"m":{"c4n4ry":"x"}}"#;
    assert_eq!(decoded(&map, &[value]).1.rejects[0].path, "m[*]");
    map.columns = Columns::default();
    assert_eq!(decoded(&map, &[value]).1.rejects[0].path, r#"m["c4n4ry"]"#);
}

#[test]
fn random_values_of_hidden_columns_are_nowhere_in_rows_or_words() {
    for seed in seeds() {
        let mut random = Random::new(seed);
        let secret = format!("c4n4ry{}", random.next());
        let mut order = avro_order(Some(&secret));
        // Now and then a byte is wrong, wherever it is.
        let is_broken = random.below(2) == 0;
        if is_broken {
            let at = random.below(order.len() as u64) as usize;
            order[at] ^= 1 << random.below(8);
        }
        let columns = chosen(
            &[],
            &["customer.phone", "items.note"],
            &[("customer.email", HMAC), ("way", REDACT), ("tags", HMAC)],
        );
        let (rows, appended) = avro(columns, &[&order]);
        let mut shown = format!("{:?}", appended.rejects);
        // What a wrong length moves into another column is that column's.
        if !is_broken {
            shown = format!("{rows:?}");
        }
        let is_shown = shown.contains(&secret) || shown.contains("c4n4ry");
        assert!(!is_shown, "seed {seed}: {shown}");
    }
}
