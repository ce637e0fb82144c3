//! Raw and text values, keys, Avro's single objects, JSON behind the registry's frame, rescued fields.

use serde_json::json;

use super::registry::{NOT_FOUND, Server, framed, reply};
use super::support::*;
use crate::clock::Clock;
use crate::config::ddl::Type;
use crate::config::settings::{MetadataColumn, Table, Tombstones, UnknownFields, Value};
use crate::decode::resolve;
use crate::model::record::{Coordinates, Records};

fn codes(appended: &crate::decode::Appended) -> Vec<(&str, &str)> {
    let rejects = appended.rejects.iter();
    rejects
        .map(|reject| (reject.code, reject.path.as_str()))
        .collect()
}

#[test]
fn raw_and_text_values_are_one_column_and_an_empty_value_is_not_a_null() {
    let mut table = table(Value::Raw);
    table.tombstones = Tombstones::NullRow;
    let mut raw = decoder(&table, None);
    let given = records([Some(&b"\xff\0"[..]), Some(b""), None]);
    assert_eq!(raw.append(&place(), &given, 0).counts.rows, 3);
    assert_eq!(
        rows(&mut raw),
        [
            json!({"value": bytes(b"\xff\0")}),
            json!({"value": bytes(b"")}),
            json!({"value": null})
        ]
    );
    table.value = Value::Text;
    let mut text = decoder(&table, None);
    let given = records([Some("ä".as_bytes()), Some(b"\xff"), Some(b"")]);
    let appended = text.append(&place(), &given, 0);
    assert_eq!(codes(&appended), [("invalid_utf8", "")]);
    assert_eq!(
        rows(&mut text),
        [json!({"value": "ä"}), json!({"value": ""})]
    );
}

fn keyed(keys: &[Option<&[u8]>]) -> Records {
    let mut records = Records::default();
    for (offset, key) in (0i64..).zip(keys) {
        let at = Coordinates {
            offset,
            ..Coordinates::default()
        };
        records.push(at, *key, Some(b"{\"id\":1}"), []);
    }
    records
}

fn keyed_table(key: Value) -> Table {
    let mut table = table(ddl(&[("id", Type::Long)]));
    table.key = Some(key);
    table.metadata.include = vec![MetadataColumn::Key];
    table
}

/// What became of the keys: the column's values, and the rejects.
fn check_keys(
    table: &Table,
    server: Option<&Server>,
    keys: &[Option<&[u8]>],
    expected: serde_json::Value,
    rejected: &[(&str, &str)],
) {
    let registry = server.map(|server| server.client(&Clock::machine()));
    let mut decoder = decoder(table, registry);
    let appended = decoder.append(&place(), &keyed(keys), 0);
    assert!(appended.stalled.is_none(), "{:?}", appended.stalled);
    assert_eq!(codes(&appended), rejected);
    let found: Vec<_> = all_columns(&decoder.take().unwrap())
        .into_iter()
        .map(|row| row["_kafka_key"].clone())
        .collect();
    assert_eq!(json!(found), expected);
}

#[test]
fn keys_are_decoded_into_their_column() {
    let server = Server::start(|path, _| {
        let body = |id: u32, kind: &str, schema: &str| {
            reply(
                200,
                json!({"id": id, "version": 1, "schemaType": kind, "schema": schema}).to_string(),
            )
        };
        let record = r#"{"type":"record","name":"K","fields":[{"name":"id","type":"long"},{"name":"part","type":["null","string"]}]}"#;
        let object = r#"{"type":"object","properties":{"id":{"type":"integer"}}}"#;
        match path {
            "/subjects/record/versions/latest" | "/schemas/ids/1" => body(1, "AVRO", record),
            "/subjects/long/versions/latest" | "/schemas/ids/2" => body(2, "AVRO", "\"long\""),
            "/subjects/object/versions/latest" | "/schemas/ids/3" => body(3, "JSON", object),
            "/subjects/text/versions/latest" | "/schemas/ids/4" => {
                body(4, "JSON", r#"{"type":"string"}"#)
            }
            "/subjects/message/versions/latest" | "/schemas/ids/5" => body(
                5,
                "PROTOBUF",
                "syntax = \"proto3\"; message K { int64 id = 1; optional string part = 2; }",
            ),
            _ => reply(404, NOT_FOUND),
        }
    });
    let avro = |subject: &str| {
        keyed_table(Value::AvroConfluent {
            subject: subject.to_owned(),
            record: None,
        })
    };
    let json_of = |subject: &str| {
        keyed_table(Value::JsonConfluent {
            subject: subject.to_owned(),
            unknown_fields: UnknownFields::Reject,
        })
    };
    check_keys(
        &keyed_table(Value::Text),
        None,
        &[Some(b"k1"), None, Some(b"\xff"), Some(b"")],
        json!(["k1", null, ""]),
        &[("invalid_utf8", "_kafka_key")],
    );
    check_keys(
        &avro("record"),
        Some(&server),
        &[
            Some(&framed(1, b"\x02\x02\x02a")),
            None,
            Some(&framed(1, b"\x02\x02\x02")),
            Some(b""),
            Some(&framed(1, b"\x04\x00")),
        ],
        json!([{"id": 1, "part": "a"}, null, {"id": 2, "part": null}]),
        &[
            ("length_out_of_range", "_kafka_key.part"),
            ("empty_payload", "_kafka_key"),
        ],
    );
    check_keys(
        &avro("long"),
        Some(&server),
        &[
            Some(&framed(2, b"\x07")),
            Some(&framed(2, b"\x07\x07")),
            None,
        ],
        json!([-4, null]),
        &[("trailing_bytes", "_kafka_key")],
    );
    check_keys(
        &json_of("object"),
        Some(&server),
        &[
            Some(&framed(3, b"{\"id\":7}")),
            Some(&framed(3, b"{\"x\":7}")),
        ],
        json!([{"id": 7}]),
        &[("unknown_field", "_kafka_key.x")],
    );
    check_keys(
        &json_of("text"),
        Some(&server),
        &[Some(&framed(4, b"\"a\"")), Some(&framed(4, b"1"))],
        json!(["a"]),
        &[("type_mismatch", "_kafka_key")],
    );
    check_keys(
        &keyed_table(Value::ProtobufConfluent {
            subject: "message".to_owned(),
            message: None,
        }),
        Some(&server),
        &[
            Some(&framed(5, b"\0\x08\x07")),
            Some(&framed(5, b"\0")),
            Some(&framed(5, b"\x02\x02")),
            None,
        ],
        json!([{"id": 7, "part": null}, {"id": 0, "part": null}, null]),
        &[("message_index", "_kafka_key")],
    );
}

#[test]
fn a_single_object_is_read_by_the_schema_of_its_fingerprint() {
    let schema = r#"{"type":"record","name":"R","fields":[{"name":"id","type":"long"}]}"#;
    let parsed = apache_avro::Schema::parse_str(schema).unwrap();
    let fingerprint = parsed.fingerprint::<apache_avro::rabin::Rabin>().bytes;
    let good = [&[0xc3, 1][..], &fingerprint, &[2]].concat();
    let (_directory, table) = with_file(schema, |file| Value::AvroSingleObject { file });
    let mut decoder = decoder(&table, None);
    let mut other = good.clone();
    other[2] ^= 1;
    let appended = append(
        &mut decoder,
        &[
            &good,
            &other,
            b"\x02",
            b"\xc3\x02\0\0\0\0\0\0\0\0\x02",
            &good[..9],
        ],
    );
    assert_eq!(
        codes(&appended),
        [
            ("unknown_schema_id", ""),
            ("truncated", ""),
            ("bad_magic", ""),
            ("truncated", "")
        ]
    );
    assert_eq!(rows(&mut decoder), [json!({"id": 1})]);
}

#[test]
fn json_behind_the_frame_follows_its_schema_with_references() {
    let money = r#"{"$id":"https://x/money.json","type":"object","properties":{"amount":{"type":"number"},"by":{"$ref":"person.json#/definitions/p"}}}"#;
    let person = r##"{"definitions":{"p":{"type":"object","properties":{"name":{"$ref":"#/definitions/n"}}},"n":{"type":"string"}}}"##;
    let root = r#"{"type":"object","properties":{"id":{"type":"integer"},"price":{"$ref":"money.json"},"at":{"type":"string","format":"date-time"},
        "labels":{"type":"object","additionalProperties":{"type":"integer"}},"open":{"type":"object"}}}"#;
    let server = Server::start(move |path, _| {
        match path {
        "/subjects/s/versions/latest" | "/schemas/ids/1" => reply(
            200,
            json!({"id": 1, "version": 1, "schemaType": "JSON", "schema": root,
                   "references": [{"name": "money.json", "subject": "money", "version": 2}]})
            .to_string(),
        ),
        "/subjects/money/versions/2" => reply(
            200,
            json!({"schemaType": "JSON", "schema": money, "references": [{"name": "person.json", "subject": "person", "version": 1}]}).to_string(),
        ),
        "/subjects/person/versions/1" => {
            reply(200, json!({"schemaType": "JSON", "schema": person}).to_string())
        }
        "/schemas/ids/2" => reply(200, json!({"schema": "\"string\""}).to_string()),
        _ => reply(404, NOT_FOUND),
    }
    });
    let table = table(Value::JsonConfluent {
        subject: "s".to_owned(),
        unknown_fields: UnknownFields::Rescue,
    });
    let mut decoder = decoder(&table, Some(server.client(&Clock::machine())));
    let appended = append(
        &mut decoder,
        &[
            &framed(1, br#"{"id":1,"price":{"amount":1.5,"by":{"name":"n","age":3},"x y":[1, 2]},"labels":{"a":1},"open":{"k": []},"at":"1970-01-01T00:00:01Z","new":null}"#),
            &framed(1, br#"{"id":"1"}"#),
            &framed(2, br#"{"id":1}"#),
            br#"{"id":1}"#,
            &framed(1, b"{}"),
            &framed(1, br#"{"n":1,"n":2}"#),
        ],
    );
    assert_eq!(
        codes(&appended),
        [
            ("type_mismatch", "id"),
            ("unusable_schema", ""),
            ("bad_magic", ""),
            ("duplicate_field", "n")
        ]
    );
    let null = json!({"id": null, "price": null, "labels": null, "open": null, "at": null, "_rescued": null});
    assert_eq!(
        rows(&mut decoder),
        [
            json!({"id": 1, "price": {"amount": double(1.5), "by": {"name": "n"}}, "labels": map([("a".to_owned(), json!(1))]),
                "open": "{\"k\": []}", "at": timestamp(1_000_000),
                "_rescued": "{\"price.by.age\":3,\"price.x y\":[1, 2],\"new\":null}"}),
            null
        ]
    );
}

#[test]
fn rescued_fields_keep_their_paths_and_text() {
    let item = vec![crate::config::ddl::Column {
        name: "a".to_owned(),
        kind: Type::Long,
    }];
    let mut value = ddl(&[
        ("id", Type::Long),
        ("items", Type::Array(Box::new(Type::Struct(item.clone())))),
        ("by", Type::Map(Box::new(Type::Struct(item)))),
    ]);
    let Value::Json { unknown_fields, .. } = &mut value else {
        panic!()
    };
    *unknown_fields = UnknownFields::Rescue;
    let mut decoder = decoder(&table(value), None);
    let appended = append(
        &mut decoder,
        &[
            br#"{"items":[{"a":1},{"b":1e400,"a":2}],"by":{"k\"":{"c":"\u00e4"}},"x":{"y":1}, "id":5}"#,
            br#"{"items":[{"b":"\ud800"}]}"#,
            br#"{"id":6}"#,
        ],
    );
    assert_eq!(codes(&appended), [("invalid_utf8", "items[0].b")]);
    let rescued: Vec<_> = rows(&mut decoder)
        .into_iter()
        .map(|row| row["_rescued"].clone())
        .collect();
    let text = rescued[0].as_str().unwrap();
    assert_eq!(
        text,
        r#"{"items[1].b":1e400,"by[\"k\\\"\"].c":"\u00e4","x":{"y":1}}"#
    );
    assert_eq!(rescued[1], json!(null));
}

#[test]
fn rescued_paths_are_bounded() {
    let mut value = ddl(&[(
        "by",
        Type::Map(Box::new(Type::Array(Box::new(Type::Struct(vec![
            crate::config::ddl::Column {
                name: "a".to_owned(),
                kind: Type::Long,
            },
        ]))))),
    )]);
    let Value::Json { unknown_fields, .. } = &mut value else {
        panic!()
    };
    *unknown_fields = UnknownFields::Rescue;
    let mut decoder = decoder(&table(value), None);
    let hostile = format!(
        r#"{{"by":{{"{}":[{}{{}}]}}}}"#,
        "k".repeat(100_000),
        r#"{"x":1},"#.repeat(10_000)
    );
    let appended = append(&mut decoder, &[hostile.as_bytes()]);
    assert_eq!(codes(&appended), [("too_large", "by")]);
    assert_eq!(decoder.size_bytes(), 0);
}

#[test]
fn a_field_called_rescued_is_refused_where_fields_are_rescued() {
    let mut value = ddl(&[("_Rescued", Type::Long)]);
    assert!(resolve(&table(value.clone()), None).is_ok());
    let Value::Json { unknown_fields, .. } = &mut value else {
        panic!()
    };
    *unknown_fields = UnknownFields::Rescue;
    let message = resolve(&table(value), None).unwrap_err().to_string();
    assert!(message.contains("unknown_fields"), "{message}");
}
