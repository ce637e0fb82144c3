//! STAT-1 against a naive reading of the rows, over random batches of every type.

use std::collections::BTreeMap;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::compute::concat_batches;
use arrow::datatypes::{
    DataType, Date32Type, Decimal128Type, Float32Type, Float64Type, Int32Type, Int64Type,
    TimestampMicrosecondType,
};
use proptest::prelude::*;
use serde_json::value::RawValue;

use crate::writer::testing::{Noise, encode, field, layout, read, schema, utc, wide_schema};

type Json = Box<RawValue>;

fn object(json: &str) -> BTreeMap<String, Json> {
    serde_json::from_str(json).unwrap()
}

/// One value as the oracle orders it.
#[derive(Debug, Clone, PartialEq, PartialOrd)]
enum Plain {
    Integer(i128),
    Double(f64),
    Text(String),
}

#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "the other types have no bounds"
)]
fn plain(array: &ArrayRef, row: usize) -> Option<Plain> {
    Some(match array.data_type() {
        DataType::Int32 => Plain::Integer(array.as_primitive::<Int32Type>().value(row).into()),
        DataType::Int64 => Plain::Integer(array.as_primitive::<Int64Type>().value(row).into()),
        DataType::Date32 => Plain::Integer(array.as_primitive::<Date32Type>().value(row).into()),
        DataType::Timestamp(..) => Plain::Integer(
            array
                .as_primitive::<TimestampMicrosecondType>()
                .value(row)
                .into(),
        ),
        DataType::Decimal128(..) => {
            Plain::Integer(array.as_primitive::<Decimal128Type>().value(row))
        }
        DataType::Float32 => Plain::Double(array.as_primitive::<Float32Type>().value(row).into()),
        DataType::Float64 => Plain::Double(array.as_primitive::<Float64Type>().value(row)),
        DataType::Utf8 => Plain::Text(array.as_string::<i32>().value(row).to_owned()),
        _ => return None,
    })
}

#[expect(clippy::wildcard_enum_match_arm, reason = "the others are integers")]
fn parse(json: &str, data_type: &DataType) -> Plain {
    let text = || serde_json::from_str::<String>(json).unwrap();
    match data_type {
        DataType::Date32 => {
            let epoch = chrono::NaiveDate::from_ymd_opt(1970, 1, 1).unwrap();
            Plain::Integer(
                (chrono::NaiveDate::parse_from_str(&text(), "%Y-%m-%d").unwrap() - epoch)
                    .num_days()
                    .into(),
            )
        }
        DataType::Timestamp(..) => Plain::Integer(
            chrono::DateTime::parse_from_rfc3339(&text())
                .unwrap()
                .timestamp_micros()
                .into(),
        ),
        DataType::Decimal128(_, scale) => {
            let (whole, fraction) = json.split_once('.').unwrap();
            assert_eq!(
                fraction.len(),
                usize::try_from(*scale).unwrap(),
                "every digit of the scale"
            );
            Plain::Integer(format!("{whole}{fraction}").parse().unwrap())
        }
        DataType::Float32 | DataType::Float64 => Plain::Double(json.parse().unwrap()),
        DataType::Utf8 => Plain::Text(text()),
        _ => Plain::Integer(json.parse().unwrap()),
    }
}

#[derive(Debug, Clone, Copy)]
struct Bounds<'a> {
    min: Option<&'a str>,
    max: Option<&'a str>,
    nulls: Option<&'a str>,
}

/// Walks one column: `alive` says in which rows no parent is null.
fn check_column(name: &str, array: &ArrayRef, alive: &[bool], bounds: Bounds<'_>) {
    let alive: Vec<bool> = alive
        .iter()
        .enumerate()
        .map(|(row, alive)| *alive && array.is_valid(row))
        .collect();
    if let Some(parent) = array.as_struct_opt() {
        let [min, max, nulls] =
            [bounds.min, bounds.max, bounds.nulls].map(|json| json.map(object).unwrap_or_default());
        for (field, column) in parent.fields().iter().zip(parent.columns()) {
            let of = |members: &'_ BTreeMap<String, Json>| {
                members.get(field.name()).map(|json| json.get().to_owned())
            };
            let (min, max, nulls) = (of(&min), of(&max), of(&nulls));
            let bounds = Bounds {
                min: min.as_deref(),
                max: max.as_deref(),
                nulls: nulls.as_deref(),
            };
            check_column(&format!("{name}.{}", field.name()), column, &alive, bounds);
        }
        return;
    }
    let nulls = alive.iter().filter(|alive| !**alive).count();
    assert_eq!(
        bounds.nulls,
        Some(nulls.to_string().as_str()),
        "STAT-1: nulls of {name} are exact"
    );
    let values: Vec<Plain> = (0..array.len())
        .filter(|row| alive[*row])
        .filter_map(|row| plain(array, row))
        .collect();
    let min = bounds.min.map(|json| parse(json, array.data_type()));
    let max = bounds.max.map(|json| parse(json, array.data_type()));
    for value in &values {
        assert!(
            min.as_ref().is_none_or(|min| min <= value),
            "STAT-1: {name}: {min:?} <= {value:?}"
        );
        assert!(
            max.as_ref().is_none_or(|max| value <= max),
            "STAT-1: {name}: {value:?} <= {max:?}"
        );
    }
    let is_plain = matches!(
        array.data_type(),
        DataType::Int32
            | DataType::Int64
            | DataType::Decimal128(..)
            | DataType::Date32
            | DataType::Timestamp(..)
    );
    assert!(
        !is_plain || values.is_empty() || (min.is_some() && max.is_some()),
        "{name} has bounds when it has values"
    );
    assert!(
        !values.is_empty() || (min.is_none() && max.is_none()),
        "{name} has no bounds without values"
    );
}

fn check(stats: &str, rows: &RecordBatch) {
    let stats = object(stats);
    assert_eq!(
        stats["numRecords"].get(),
        rows.num_rows().to_string(),
        "STAT-1: the count is exact"
    );
    let whole: ArrayRef = std::sync::Arc::new(arrow::array::StructArray::from(rows.clone()));
    let bounds = Bounds {
        min: Some(stats["minValues"].get()),
        max: Some(stats["maxValues"].get()),
        nulls: Some(stats["nullCount"].get()),
    };
    check_column("", &whole, &vec![true; rows.num_rows()], bounds);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn stat_1_bounds_contain_every_value_and_counts_are_exact(seed in any::<u64>(), sizes in prop::collection::vec(0..120_usize, 1..5)) {
        let schema = wide_schema();
        let mut noise = Noise(seed);
        let batches: Vec<RecordBatch> = sizes.iter().map(|rows| noise.batch(&schema, *rows)).collect();
        let rows = concat_batches(&schema, &batches).unwrap();
        let files = encode(layout(&schema, &[]).with_row_groups_of(50), &batches);
        prop_assert_eq!(files.len(), usize::from(rows.num_rows() > 0));
        for file in &files {
            check(&file.stats, &rows);
            let back = read(file);
            let back = concat_batches(&back[0].schema(), &back).unwrap();
            for (column, array) in back.columns().iter().enumerate() {
                prop_assert_eq!(array, rows.column(column), "column {}", schema.field(column).name());
            }
        }
    }
}

fn stats_of(layout: crate::writer::Layout, batch: &RecordBatch) -> String {
    encode(layout, std::slice::from_ref(batch)).remove(0).stats
}

#[test]
fn stat_1_golden() {
    use std::sync::Arc;

    use arrow::array::{
        Decimal128Array, Float32Array, Float64Array, Int64Array, StringArray,
        TimestampMicrosecondArray,
    };

    let columns = schema(vec![
        field("n", DataType::Int64),
        field("d", DataType::Decimal128(38, 4)),
        field("nan", DataType::Float64),
        field("f", DataType::Float32),
        field("s", DataType::Utf8),
        field("at", utc()),
    ]);
    let batch = RecordBatch::try_new(
        Arc::clone(&columns),
        vec![
            Arc::new(Int64Array::from(vec![Some(i64::MAX), None])),
            Arc::new(
                Decimal128Array::from(vec![12_345_678_901_234_567_890_123_456_789, -1])
                    .with_precision_and_scale(38, 4)
                    .unwrap(),
            ),
            Arc::new(Float64Array::from(vec![1.0, f64::NAN])),
            Arc::new(Float32Array::from(vec![0.1, -0.0])),
            Arc::new(StringArray::from(vec!["x".repeat(40), "é".into()])),
            Arc::new(
                TimestampMicrosecondArray::from(vec![1_700_000_000_123_456, -1])
                    .with_timezone("UTC"),
            ),
        ],
    )
    .unwrap();
    let expected = concat!(
        r#"{"numRecords":2,"#,
        r#""minValues":{"n":9223372036854775807,"d":-0.0001,"f":-0.0,"s":"xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx","at":"1969-12-31T23:59:59.999Z"},"#,
        r#""maxValues":{"n":9223372036854775807,"d":1234567890123456789012345.6789,"f":0.10000000149011612,"s":"é","at":"2023-11-14T22:13:20.124Z"},"#,
        r#""nullCount":{"n":1,"d":0,"nan":0,"f":0,"s":0,"at":0}}"#
    );
    assert_eq!(stats_of(layout(&columns, &[]), &batch), expected);
}

#[test]
fn the_first_leaves_are_indexed_and_the_coordinates_always() {
    let columns = schema(
        (0..40)
            .map(|number| field(&format!("c{number}"), DataType::Int64))
            .collect(),
    );
    let batch = Noise(1).batch(&columns, 3);
    let indexed = |stats: &str| {
        object(object(stats)["nullCount"].get())
            .into_keys()
            .collect::<Vec<_>>()
    };
    assert_eq!(indexed(&stats_of(layout(&columns, &[]), &batch)).len(), 32);
    let few = indexed(&stats_of(
        layout(&columns, &[])
            .indexing_leaves(1)
            .always_indexing(["c39"]),
        &batch,
    ));
    assert_eq!(few, ["c0", "c39"]);
    assert_eq!(
        indexed(&stats_of(layout(&columns, &[]).indexing_leaves(-1), &batch)).len(),
        40
    );
    assert_eq!(
        stats_of(layout(&columns, &[]).indexing_leaves(0), &batch),
        r#"{"numRecords":3,"minValues":{},"maxValues":{},"nullCount":{}}"#
    );
}
