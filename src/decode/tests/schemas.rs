//! The type mapping: what resolves to which columns, what is refused and how it is said, and how writer schemas meet older columns.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema, TimeUnit};
use serde_json::{Value as Json, json};

use super::support::*;
use crate::config::ddl::Type;
use crate::config::settings::{
    JsonSchemaSource, LocalTimestamps, Nanos, Timestamps, UnknownFields, Value,
};
use crate::decode::{Error, Resolved, resolve};
use crate::error::Kind;

fn resolve_avro(schema: &str) -> Result<Resolved, Error> {
    let (_directory, table) = with_file(schema, |file| Value::AvroFile { file });
    resolve(&table, None)
}

fn json_schema_table(schema: &str) -> (tempfile::TempDir, crate::config::settings::Table) {
    let value = |file| Value::Json {
        schema: JsonSchemaSource::File(file),
        unknown_fields: UnknownFields::Reject,
    };
    with_file(schema, value)
}

fn resolve_json(schema: &str) -> Result<Resolved, Error> {
    let (_directory, table) = json_schema_table(schema);
    resolve(&table, None)
}

/// A record with one field `f` of this type.
fn field_of(kind: &str) -> String {
    format!(
        r#"{{"type":"record","name":"R","namespace":"n","fields":[{{"name":"f","type":{kind}}}]}}"#
    )
}

fn list(item: DataType) -> DataType {
    DataType::List(Arc::new(Field::new("element", item, true)))
}

fn map_of(value: DataType) -> DataType {
    let entries = vec![
        Field::new("key", DataType::Utf8, false),
        Field::new("value", value, true),
    ];
    DataType::Map(
        Arc::new(Field::new(
            "key_value",
            DataType::Struct(entries.into()),
            false,
        )),
        false,
    )
}

fn structure(fields: &[(&str, DataType)]) -> DataType {
    DataType::Struct(
        fields
            .iter()
            .map(|(name, kind)| Field::new(*name, kind.clone(), true))
            .collect(),
    )
}

fn utc() -> DataType {
    DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()))
}

#[test]
fn avro_types_map_as_the_contract_says() {
    let long = DataType::Int64;
    let duration = structure(&[
        ("months", long.clone()),
        ("days", long.clone()),
        ("millis", long.clone()),
    ]);
    for (kind, expected) in [
        (r#""boolean""#, DataType::Boolean),
        (r#""int""#, DataType::Int32),
        (r#""long""#, long.clone()),
        (r#""float""#, DataType::Float32),
        (r#""double""#, DataType::Float64),
        (r#""string""#, DataType::Utf8),
        (r#""bytes""#, DataType::Binary),
        (r#""null""#, DataType::Boolean),
        (r#"["null"]"#, DataType::Boolean),
        (r#"{"type":"string"}"#, DataType::Utf8),
        (
            r#"{"type":"enum","name":"E","symbols":["a"]}"#,
            DataType::Utf8,
        ),
        (r#"{"type":"fixed","name":"F","size":3}"#, DataType::Binary),
        (r#"{"type":"string","logicalType":"uuid"}"#, DataType::Utf8),
        (
            r#"{"type":"fixed","name":"U","size":16,"logicalType":"uuid"}"#,
            DataType::Utf8,
        ),
        (
            r#"{"type":"bytes","logicalType":"decimal","precision":38,"scale":10}"#,
            DataType::Decimal128(38, 10),
        ),
        (
            r#"{"type":"bytes","logicalType":"decimal","precision":4}"#,
            DataType::Decimal128(4, 0),
        ),
        (
            r#"{"type":"fixed","name":"D","size":8,"logicalType":"decimal","precision":18,"scale":4}"#,
            DataType::Decimal128(18, 4),
        ),
        (
            r#"{"type":"bytes","logicalType":"decimal","precision":2,"scale":4}"#,
            DataType::Binary,
        ),
        (r#"{"type":"int","logicalType":"date"}"#, DataType::Date32),
        (
            r#"{"type":"int","logicalType":"time-millis"}"#,
            long.clone(),
        ),
        (
            r#"{"type":"long","logicalType":"time-micros"}"#,
            long.clone(),
        ),
        (r#"{"type":"long","logicalType":"timestamp-millis"}"#, utc()),
        (r#"{"type":"long","logicalType":"timestamp-micros"}"#, utc()),
        (
            r#"{"type":"int","logicalType":"timestamp-millis"}"#,
            DataType::Int32,
        ),
        (r#"{"type":"long","logicalType":"made-up"}"#, long.clone()),
        (
            r#"{"type":"fixed","name":"P","size":12,"logicalType":"duration"}"#,
            duration,
        ),
        (r#"["null","long"]"#, long.clone()),
        (r#"["long","null"]"#, long.clone()),
        (r#"["long"]"#, long.clone()),
        (r#"["int","long"]"#, long.clone()),
        (r#"["long","null","int"]"#, long),
        (r#"["float","double"]"#, DataType::Float64),
        (
            r#"["int","string"]"#,
            structure(&[("int", DataType::Int32), ("string", DataType::Utf8)]),
        ),
        (
            r#"["null",{"type":"long","logicalType":"timestamp-micros"},{"type":"record","name":"a.X","fields":[{"name":"v","type":"int"}]}]"#,
            structure(&[("long", utc()), ("X", structure(&[("v", DataType::Int32)]))]),
        ),
        (
            r#"[{"type":"enum","name":"a.X","symbols":["s"]},{"type":"fixed","name":"b.X","size":1}]"#,
            structure(&[("a_X", DataType::Utf8), ("b_X", DataType::Binary)]),
        ),
        (
            r#"{"type":"record","name":"E0","fields":[]}"#,
            DataType::Boolean,
        ),
        (
            r#"{"type":"array","items":["null","int"]}"#,
            list(DataType::Int32),
        ),
        (
            r#"{"type":"map","values":{"type":"array","items":"string"}}"#,
            map_of(list(DataType::Utf8)),
        ),
        (r#"["null","R"]"#, DataType::Utf8),
        (r#"{"type":"array","items":"n.R"}"#, list(DataType::Utf8)),
    ] {
        let resolved =
            resolve_avro(&field_of(kind)).unwrap_or_else(|error| panic!("{kind}: {error}"));
        assert_eq!(*resolved.fields[0].data_type(), expected, "{kind}");
        assert!(resolved.fields[0].is_nullable());
    }
}

#[test]
fn what_has_no_column_type_is_refused_by_place_and_reason() {
    let nested = |kind: &str| {
        field_of(&format!(
            r#"{{"type":"array","items":{{"type":"record","name":"I","fields":[{{"name":"x","type":{kind}}}]}}}}"#
        ))
    };
    let named = |names: &[&str]| {
        let fields: Vec<_> = names
            .iter()
            .map(|name| json!({"name": name, "type": "int"}))
            .collect();
        json!({"type": "record", "name": "R", "fields": fields}).to_string()
    };
    for (schema, expected) in [
        (
            nested(r#"{"type":"long","logicalType":"timestamp-nanos"}"#),
            "f[].x: timestamp-nanos would lose digits",
        ),
        (
            field_of(r#"{"type":"long","logicalType":"local-timestamp-micros"}"#),
            "f: local-timestamp-* names no point in time",
        ),
        (
            field_of(r#"{"type":"bytes","logicalType":"decimal","precision":39}"#),
            "f: decimal(39, 0) does not fit",
        ),
        (
            r#""string""#.to_owned(),
            "the value's schema must be an Avro record",
        ),
        (
            r#"{"type":"record","name":"R","fields":[]}"#.to_owned(),
            "the value's schema must be an Avro record",
        ),
        ("record".to_owned(), "the Avro schema is not JSON"),
        (
            field_of(r#""Unknown""#),
            "the Avro type `n.Unknown` is not defined",
        ),
        (
            field_of(r#"["int","int"]"#),
            "an Avro union has the branch \"int\" twice",
        ),
        (
            field_of(r#"[["int"]]"#),
            "an Avro union holds another union",
        ),
        (
            field_of(r#"{"type":"fixed","name":"F"}"#),
            "an Avro fixed has no `size`",
        ),
        (
            field_of(r#"{"type":"enum","name":"","symbols":[]}"#),
            "a named Avro type has no `name`",
        ),
        (
            field_of(r#"{"type":"enum","name":"R","symbols":[]}"#),
            "the Avro type `n.R` is defined twice",
        ),
        (
            named(&["a", "b", "a"]),
            "the Avro record `R` has the field `a` twice",
        ),
        (
            named(&["Ab", "aB"]),
            "the field names `Ab` and `aB` differ only by case",
        ),
        (
            named(&["Ä", "ä"]),
            "the field names `Ä` and `ä` differ only by case",
        ),
        (named(&["a b"]), "the field name `a b` holds ' '"),
        (named(&["a=b"]), "the field name `a=b` holds '='"),
        (
            named(&["a;b"]),
            "rename it at the source, for example to `a_b`",
        ),
        (named(&[""]), "a field has an empty name"),
        (
            named(&["_Kafka_Offset"]),
            "the field `_kafka_offset` has the name of a Kafka column",
        ),
    ] {
        let error = resolve_avro(&schema).expect_err(&schema);
        assert_eq!(error.kind(), Kind::Invalid);
        assert!(error.to_string().contains(expected), "{schema}: {error}");
    }
    let missing = table(Value::AvroFile {
        file: "/nowhere/orders.avsc".into(),
    });
    let error = resolve(&missing, None).unwrap_err().to_string();
    assert!(
        error.starts_with("cannot read /nowhere/orders.avsc (tables.orders.value.schema.file): "),
        "{error}"
    );
}

#[test]
fn hostile_schemas_are_refused_without_a_crash() {
    let deep = format!(
        "{}\"int\"{}",
        "{\"type\":\"array\",\"items\":".repeat(100_000),
        "}".repeat(100_000)
    );
    assert!(resolve_avro(&field_of(&deep)).is_err());
    // Each record holds the next twice: few lines, 2^40 columns.
    let record = |level: u32| {
        let second = format!("L{}", level + 1);
        (
            format!(r#"{{"type":"record","name":"L{level}","fields":[{{"name":"a","type":"#),
            format!(r#"}},{{"name":"b","type":"{second}"}}]}}"#),
        )
    };
    let (heads, tails): (Vec<_>, Vec<_>) = (0..40).map(record).unzip();
    let last = r#"{"type":"record","name":"L40","fields":[{"name":"x","type":"int"}]}"#;
    let schema = format!(
        "{}{last}{}",
        heads.concat(),
        tails.into_iter().rev().collect::<String>()
    );
    let error = resolve_avro(&schema).unwrap_err().to_string();
    assert!(error.contains("more than 10000 columns"), "{error}");
}

#[test]
fn a_uuid_of_bytes_and_other_hand_made_encodings_decode() {
    for (kind, payload, expected) in [
        (
            r#"{"type":"fixed","name":"U","size":16,"logicalType":"uuid"}"#,
            (0..16).collect(),
            json!("00010203-0405-0607-0809-0a0b0c0d0e0f"),
        ),
        (
            r#"{"type":"string","logicalType":"uuid"}"#,
            b"\x06any".to_vec(),
            json!("any"),
        ),
        (
            r#"{"type":"array","items":"int"}"#,
            vec![3, 4, 2, 4, 2, 6, 0],
            json!([1, 2, 3]),
        ),
        (
            r#"{"type":"array","items":"null"}"#,
            vec![6, 0],
            json!([null, null, null]),
        ),
        (
            r#"{"type":"map","values":"boolean"}"#,
            b"\x01\x06\x02a\x01\x00".to_vec(),
            map([("a".to_owned(), json!(true))]),
        ),
        (r#"["int","long"]"#, vec![0, 1], json!(-1)),
        (
            r#"["double","float"]"#,
            vec![2, 0, 0, 0x80, 0x3f],
            double(1.0),
        ),
        (
            r#"["null","R"]"#,
            vec![2, 2, 0],
            json!(r#"{"f":{"f":null}}"#),
        ),
    ] {
        let schema = field_of(kind);
        let mut decoder = avro_decoder(&schema);
        let appended = append(&mut decoder, &[&payload]);
        assert!(
            appended.rejects.is_empty(),
            "{kind}: {:?}",
            appended.rejects
        );
        assert_eq!(rows(&mut decoder), [json!({ "f": expected })], "{kind}");
    }
}

/// A file schema against columns that the table already has.
fn meet(kind: &str, column: DataType, payload: &[u8]) -> Result<serde_json::Value, String> {
    let (_directory, mut table) = with_file(&field_of(kind), |file| Value::AvroFile { file });
    table.evolution.allow = crate::config::settings::Allow::None;
    let resolved = resolve(&table, None).map_err(|error| error.to_string())?;
    let fields: Vec<_> = std::iter::once(Field::new("f", column, true))
        .chain(metadata_fields(&table.metadata))
        .collect();
    let setup = crate::decode::Setup {
        resolved: &resolved,
        table: &table,
        record_bytes_max: RECORD_BYTES_MAX,
        target: Arc::new(Schema::new(fields)),
        registry: None,
        clock: crate::clock::Clock::manual(0, 0),
    };
    let mut decoder = crate::decode::Decoder::new(setup).map_err(|error| error.to_string())?;
    let appended = append(&mut decoder, &[payload]);
    match appended.rejects.into_iter().next() {
        Some(reject) => Err(format!("{} {}", reject.code, reject.path)),
        None => Ok(rows(&mut decoder)[0]["f"].clone()),
    }
}

#[test]
fn values_enter_older_columns_only_exactly() {
    let exact = [2u8, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x20];
    assert_eq!(meet(r#""int""#, DataType::Int64, &[2]), Ok(json!(1)));
    assert_eq!(meet(r#""long""#, DataType::Int32, &[2]), Ok(json!(1)));
    assert_eq!(
        meet(
            r#""long""#,
            DataType::Int32,
            &[0x80, 0x80, 0x80, 0x80, 0x10]
        ),
        Err("out_of_range f".to_owned())
    );
    assert_eq!(meet(r#""int""#, DataType::Float64, &[2]), Ok(double(1.0)));
    assert_eq!(
        meet(r#""long""#, DataType::Float64, &exact[1..]),
        Ok(double(9_007_199_254_740_992.0))
    );
    let beyond = [0x82, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x20];
    assert_eq!(
        meet(r#""long""#, DataType::Float64, &beyond),
        Err("out_of_range f".to_owned())
    );
    assert_eq!(
        meet(r#""float""#, DataType::Float64, &0.1f32.to_le_bytes()),
        Ok(double(f64::from(0.1f32)))
    );
    let decimal_4_1 = r#"{"type":"bytes","logicalType":"decimal","precision":4,"scale":1}"#;
    assert_eq!(
        meet(decimal_4_1, DataType::Decimal128(10, 3), &[2, 15]),
        Ok(decimal(1500, 3))
    );
    assert_eq!(
        meet(decimal_4_1, DataType::Decimal128(10, 0), &[2, 15]),
        Err("decimal_overflow f".to_owned())
    );
    let wider = structure(&[("int", DataType::Int32), ("string", DataType::Utf8)]);
    assert_eq!(
        meet(r#"["int","string","boolean"]"#, wider.clone(), &[0, 2]),
        Ok(json!({"int": 1, "string": null}))
    );
    assert_eq!(
        meet(r#"["int","string","boolean"]"#, wider, &[4, 1]),
        Err("unknown_field f".to_owned())
    );
    assert_eq!(
        meet(r#"["null","int","string"]"#, DataType::Int32, &[2, 2]),
        Ok(json!(1))
    );
    assert_eq!(
        meet(r#"["null","int","string"]"#, DataType::Int32, &[4, 2, b'x']),
        Err("type_mismatch f".to_owned())
    );
    let message = meet(r#""string""#, DataType::Int64, &[]).unwrap_err();
    assert!(
        message.contains("column f: the writer schema has `string` where the column is Int64"),
        "{message}"
    );
}

#[test]
fn json_schema_types_map_as_the_contract_says() {
    for (schema, expected) in [
        (r#"{"type":"boolean"}"#, DataType::Boolean),
        (r#"{"type":"integer","minimum":0}"#, DataType::Int64),
        (r#"{"type":["null","number"]}"#, DataType::Float64),
        (
            r#"{"type":["string","null"],"format":"uuid"}"#,
            DataType::Utf8,
        ),
        (r#"{"enum":["a","b",null]}"#, DataType::Utf8),
        (r#"{"type":"string","format":"date-time"}"#, utc()),
        (r#"{"type":"string","format":"date"}"#, DataType::Date32),
        (r#"{"type":"string","format":"time"}"#, DataType::Int64),
        (
            r#"{"oneOf":[{"type":"null"},{"type":"integer"}]}"#,
            DataType::Int64,
        ),
        (
            r#"{"anyOf":[{"type":"string"},{"type":"null"}]}"#,
            DataType::Utf8,
        ),
        (
            r##"{"$ref":"#/$defs/money"}"##,
            structure(&[("currency", DataType::Utf8)]),
        ),
        (
            r#"{"type":"array","items":{"type":"integer"}}"#,
            list(DataType::Int64),
        ),
        (
            r#"{"properties":{"x":{"type":"integer"}}}"#,
            structure(&[("x", DataType::Int64)]),
        ),
        (
            r#"{"type":"object","additionalProperties":{"type":"number"}}"#,
            map_of(DataType::Float64),
        ),
        (r#"{"type":"object"}"#, DataType::Utf8),
        (
            r#"{"type":"object","additionalProperties":true}"#,
            DataType::Utf8,
        ),
        (r##"{"$ref":"#"}"##, DataType::Utf8),
        (
            r##"{"$ref":"#/$defs/tree"}"##,
            structure(&[("children", list(DataType::Utf8))]),
        ),
    ] {
        let whole = format!(
            r##"{{"type":"object","properties":{{"f":{schema}}},"required":["f"],"$defs":{{
                "money":{{"type":"object","properties":{{"currency":{{"type":"string"}}}}}},
                "tree":{{"type":"object","properties":{{"children":{{"type":"array","items":{{"$ref":"#/$defs/tree"}}}}}}}}}}}}"##
        );
        let resolved = resolve_json(&whole).unwrap_or_else(|error| panic!("{schema}: {error}"));
        assert_eq!(*resolved.fields[0].data_type(), expected, "{schema}");
    }
}

#[test]
fn other_json_schema_keywords_are_refused_by_name() {
    for (schema, expected) in [
        (
            r#"{"allOf":[]}"#,
            "f: the JSON Schema keyword `allOf` is not supported",
        ),
        (
            r#"{"type":"object","patternProperties":{}}"#,
            "f: the JSON Schema keyword `patternProperties` is not supported",
        ),
        (
            r#"{"oneOf":[{"type":"string"},{"type":"integer"}]}"#,
            "f: `oneOf` and `anyOf` are supported only as [null, one schema]",
        ),
        (
            r#"{"type":["string","integer"]}"#,
            "f: `type` with several types is supported only as",
        ),
        (r#"{"type":"array"}"#, "f: an array needs `items`"),
        (
            r#"{"type":"array","items":[{"type":"string"}]}"#,
            "f: an array needs `items` with one schema",
        ),
        (
            r#"{"type":"array","items":{"type":"array","items":{}}}"#,
            "f[][]: a schema needs a `type`",
        ),
        (
            r#"{"$ref":"other.json"}"#,
            "f: the `$ref` \"other.json\" does not lead to a place in the same file",
        ),
        (
            r#"{"type":"null"}"#,
            "f: the JSON Schema type `null` is not supported",
        ),
        ("true", "f: a schema must be an object with a `type`"),
    ] {
        let error = resolve_json(&format!(
            r#"{{"type":"object","properties":{{"f":{schema}}}}}"#
        ))
        .expect_err(schema)
        .to_string();
        assert!(error.contains(expected), "{schema}: {error}");
    }
    let error = resolve_json(r#"{"type":"array","items":{"type":"string"}}"#)
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("the root of the JSON Schema must be an object with `properties`"),
        "{error}"
    );
    let error = resolve(&table(ddl(&[("d", Type::Decimal(40, 2))])), None)
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("value.schema.ddl: d: decimal(40, 2) does not fit"),
        "{error}"
    );
}

#[test]
fn json_schema_values_decode() {
    let schema = r#"{"type":"object","properties":{
        "at":{"type":"string","format":"date-time"},"on":{"type":"string","format":"date"},"t":{"type":"string","format":"time"},
        "free":{"type":"object"},"m":{"type":"object","additionalProperties":{"type":"integer"}}}}"#;
    let (_directory, table) = json_schema_table(schema);
    let mut decoder = decoder(&table, None);
    let good = br#"{"at":"1970-01-01T00:00:01Z","on":"1970-01-02","t":"00:00:01.5","free":{"a": [1, null]},"m":{"k":5.0}}"#;
    let appended = append(
        &mut decoder,
        &[
            good,
            br#"{"at":1}"#,
            br#"{"t":"25:00:00"}"#,
            br#"{"free":null}"#,
            br#"{"free":{"a":}}"#,
        ],
    );
    let rejects: Vec<_> = appended
        .rejects
        .iter()
        .map(|reject| (reject.offset, reject.code, reject.path.as_str()))
        .collect();
    assert_eq!(
        rejects,
        [
            (11, "type_mismatch", "at"),
            (12, "invalid_time", "t"),
            (14, "malformed_json", "free")
        ]
    );
    let null = json!({"at": null, "on": null, "t": null, "free": null, "m": null});
    let row = json!({"at": timestamp(1_000_000), "on": date(1), "t": 1_500_000, "free": "{\"a\": [1, null]}", "m": map([("k".to_owned(), json!(5))])});
    assert_eq!(rows(&mut decoder), [row, null]);
}

/// The one column of a value with a logical type of `long`, decoded under what the settings say of timestamps.
fn timed(logical: &str, timestamps: Timestamps, value: i64) -> Result<(DataType, Json), String> {
    let kind = format!(r#"{{"type":"long","logicalType":"{logical}"}}"#);
    let (_directory, mut table) = with_file(&field_of(&kind), |file| Value::AvroFile { file });
    table.timestamps = timestamps;
    let resolved = resolve(&table, None).map_err(|error| error.to_string())?;
    let target = target(&resolved, &table);
    let data_type = target.field(0).data_type().clone();
    let mut decoder = decoder_for(&table, &resolved, target, None);
    let mut zigzag = ((value << 1) ^ (value >> 63)).cast_unsigned();
    let mut payload = Vec::new();
    while zigzag >= 0x80 {
        payload.push((zigzag as u8 & 0x7f) | 0x80);
        zigzag >>= 7;
    }
    payload.push(zigzag as u8);
    let appended = append(&mut decoder, &[&payload]);
    match appended.rejects.first() {
        Some(reject) => Err(reject.code.to_owned()),
        None => Ok((data_type, rows(&mut decoder)[0]["f"].clone())),
    }
}

#[test]
fn timestamps_that_no_column_holds_become_what_the_settings_say() {
    let cut = Timestamps {
        nanos: Nanos::Cut,
        ..Timestamps::default()
    };
    let local = |local| Timestamps { local, ..cut };
    let (utc, ntz) = (
        DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
        DataType::Timestamp(TimeUnit::Microsecond, None),
    );
    for (logical, value, micros) in [
        ("timestamp-nanos", 1_999, 1),
        ("timestamp-nanos", -1, -1),
        ("timestamp-nanos", i64::MIN, i64::MIN.div_euclid(1000)),
    ] {
        assert_eq!(
            timed(logical, cut, value),
            Ok((utc.clone(), timestamp(micros)))
        );
    }
    for (logical, value, micros) in [
        ("local-timestamp-millis", -2, -2_000),
        ("local-timestamp-micros", i64::MAX, i64::MAX),
        ("local-timestamp-nanos", -1, -1),
    ] {
        let expect = |data_type: &DataType| Ok((data_type.clone(), timestamp(micros)));
        assert_eq!(
            timed(logical, local(LocalTimestamps::Utc), value),
            expect(&utc)
        );
        assert_eq!(
            timed(logical, local(LocalTimestamps::Ntz), value),
            expect(&ntz)
        );
        assert!(
            timed(logical, cut, value)
                .unwrap_err()
                .contains("value.local_timestamps")
        );
    }
    let uncut = Timestamps {
        local: LocalTimestamps::Ntz,
        ..Timestamps::default()
    };
    let error = timed("local-timestamp-nanos", uncut, 0).unwrap_err();
    assert!(error.contains("value.allow_lossy"), "{error}");
    assert_eq!(
        timed(
            "local-timestamp-millis",
            local(LocalTimestamps::Ntz),
            i64::MAX
        ),
        Err("out_of_range".to_owned())
    );
}
