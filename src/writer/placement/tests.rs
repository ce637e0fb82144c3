//! What each transform makes of each type, and what is refused by name.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, BinaryArray, BooleanArray, Date32Array, Decimal128Array, Int32Array,
    Int64Array, RecordBatch, StringArray, StructArray, TimestampMicrosecondArray,
};
use arrow::datatypes::{DataType, Field};

use super::*;
use crate::error::Kind;
use crate::writer::testing::{field, identity, partition, schema, utc};

fn ints(values: &[i32]) -> ArrayRef {
    Arc::new(Int32Array::from(values.to_vec()))
}

fn longs(values: &[i64]) -> ArrayRef {
    Arc::new(Int64Array::from(values.to_vec()))
}

fn texts(values: &[&str]) -> ArrayRef {
    Arc::new(StringArray::from(values.to_vec()))
}

fn dates(values: &[i32]) -> ArrayRef {
    Arc::new(Date32Array::from(values.to_vec()))
}

fn timestamps(values: &[i64]) -> ArrayRef {
    Arc::new(TimestampMicrosecondArray::from(values.to_vec()).with_timezone("UTC"))
}

fn decimals(values: &[i128], precision: u8, scale: i8) -> ArrayRef {
    Arc::new(
        Decimal128Array::from(values.to_vec())
            .with_precision_and_scale(precision, scale)
            .unwrap(),
    )
}

#[test]
fn a_member_is_a_source_and_is_null_where_what_holds_it_is() {
    let member = Arc::new(field("at day", DataType::Date32));
    let inner = StructArray::new(vec![member].into(), vec![dates(&[0, 1, 2])], None);
    let outer = StructArray::new(
        vec![Arc::new(field("producer", inner.data_type().clone()))].into(),
        vec![Arc::new(inner)],
        Some(vec![true, false, true].into()),
    );
    let columns = schema(vec![field("meta", outer.data_type().clone())]);
    let batch = RecordBatch::try_new(Arc::clone(&columns), vec![Arc::new(outer)]).unwrap();
    let by = |source| partition("day", source, Transform::Date);
    let placed = resolve(&[by("meta.producer.`at day`")], &columns).unwrap();
    let source = placed[0].source(&batch).unwrap();
    let values = placed[0].keys(&source);
    let texts: Vec<_> = values
        .into_iter()
        .map(|key| placed[0].value(key).text())
        .collect();
    assert_eq!(
        texts.iter().map(Option::as_deref).collect::<Vec<_>>(),
        [Some("1970-01-01"), None, Some("1970-01-03")]
    );
    for missing in [
        "meta.producer.other",
        "meta.other",
        "meta.producer.`at day`.deeper",
    ] {
        let said = resolve(&[by(missing)], &columns).unwrap_err().to_string();
        assert!(
            said.contains(&format!("needs the column `{missing}`")),
            "{said}"
        );
    }
}

/// The partition texts of a column's values.
fn check(transform: Transform, column: ArrayRef, expected: &[Option<&str>]) {
    let columns = schema(vec![field("c", column.data_type().clone())]);
    let name = if transform == Transform::Identity {
        "c"
    } else {
        "derived"
    };
    let placed = resolve(&[partition(name, "c", transform)], &columns).unwrap();
    let found: Vec<_> = placed[0]
        .keys(&column)
        .into_iter()
        .map(|key| placed[0].value(key).text())
        .collect();
    assert_eq!(
        found.iter().map(Option::as_deref).collect::<Vec<_>>(),
        expected
    );
}

#[test]
fn identity_takes_every_type_that_delta_can_place() {
    check(
        Transform::Identity,
        Arc::new(BooleanArray::from(vec![Some(true), Some(false), None])),
        &[Some("true"), Some("false"), None],
    );
    check(
        Transform::Identity,
        ints(&[i32::MIN, 0]),
        &[Some("-2147483648"), Some("0")],
    );
    check(
        Transform::Identity,
        longs(&[i64::MAX]),
        &[Some("9223372036854775807")],
    );
    check(
        Transform::Identity,
        decimals(&[-1, 1420], 9, 2),
        &[Some("-0.01"), Some("14.20")],
    );
    check(
        Transform::Identity,
        dates(&[-1, 17_486]),
        &[Some("1969-12-31"), Some("2017-11-16")],
    );
    check(
        Transform::Identity,
        timestamps(&[-1, 1_510_871_468_000_000]),
        &[
            Some("1969-12-31T23:59:59.999999Z"),
            Some("2017-11-16T22:31:08.000000Z"),
        ],
    );
    check(
        Transform::Identity,
        texts(&["", " ", "../é"]),
        &[None, Some(" "), Some("../é")],
    );
}

#[test]
fn times_are_utc_and_floor_before_the_epoch() {
    let times = || timestamps(&[-1, 0, 1_510_871_468_000_000]);
    check(
        Transform::Year,
        times(),
        &[Some("1969"), Some("1970"), Some("2017")],
    );
    check(
        Transform::Month,
        times(),
        &[Some("1969-12"), Some("1970-01"), Some("2017-11")],
    );
    check(
        Transform::Date,
        times(),
        &[Some("1969-12-31"), Some("1970-01-01"), Some("2017-11-16")],
    );
    check(
        Transform::Hour,
        times(),
        &[
            Some("1969-12-31-23"),
            Some("1970-01-01-00"),
            Some("2017-11-16-22"),
        ],
    );
    check(
        Transform::Year,
        dates(&[-1, 17_486]),
        &[Some("1969"), Some("2017")],
    );
    check(
        Transform::Month,
        dates(&[-1, 17_486]),
        &[Some("1969-12"), Some("2017-11")],
    );
    check(Transform::Date, dates(&[-1]), &[Some("1969-12-31")]);
    check(
        Transform::Date,
        timestamps(&[i64::MIN, i64::MAX]),
        &[Some("-290308-12-21"), Some("+294247-01-10")],
    );
}

/// `(hash & Integer.MAX_VALUE) % N` of the specification's hashes.
#[test]
fn buckets_are_icebergs() {
    let of = |hash: i64| ((hash & i64::from(i32::MAX)) % 16).to_string();
    let bucket = Transform::Bucket(16);
    check(bucket, ints(&[34]), &[Some(&of(2_017_239_379))]);
    check(bucket, longs(&[34]), &[Some(&of(2_017_239_379))]);
    check(bucket, decimals(&[1420], 9, 2), &[Some(&of(-500_754_589))]);
    check(bucket, dates(&[17_486]), &[Some(&of(-653_330_422))]);
    check(
        bucket,
        timestamps(&[1_510_871_468_000_000]),
        &[Some(&of(-2_047_944_441))],
    );
    check(bucket, texts(&["iceberg"]), &[Some(&of(1_210_000_089))]);
    check(
        bucket,
        Arc::new(BinaryArray::from_vec(vec![&[0, 1, 2, 3]])),
        &[Some(&of(-188_683_207))],
    );
    check(
        bucket,
        Arc::new(StringArray::from(vec![None::<&str>])),
        &[None],
    );
}

#[test]
fn truncate_is_icebergs() {
    check(
        Transform::Truncate(10),
        ints(&[1, -1, 10, i32::MIN]),
        &[Some("0"), Some("-10"), Some("10"), Some("-2147483648")],
    );
    check(
        Transform::Truncate(10),
        longs(&[1, -1, i64::MIN]),
        &[Some("0"), Some("-10"), Some("-9223372036854775808")],
    );
    check(
        Transform::Truncate(50),
        decimals(&[1065, -1], 9, 2),
        &[Some("10.50"), Some("-0.50")],
    );
    check(
        Transform::Truncate(10),
        decimals(&[-99], 2, 0),
        &[Some("-99")],
    );
    check(
        Transform::Truncate(3),
        texts(&["iceberg", "日本語学", "ab", ""]),
        &[Some("ice"), Some("日本語"), Some("ab"), None],
    );
}

#[test]
fn an_empty_string_and_null_are_one_table_partition_and_counted_apart() {
    let columns = schema(vec![
        field("p", DataType::Utf8),
        field("n", DataType::Int32),
    ]);
    let names: ArrayRef = Arc::new(StringArray::from(vec![Some(""), None, Some("a"), Some("")]));
    let batch =
        RecordBatch::try_new(Arc::clone(&columns), vec![names, ints(&[1, 2, 3, 4])]).unwrap();
    let placed = resolve(&[identity("p")], &columns).unwrap();
    let (parts, empties) = split(&placed, &[1], &batch).unwrap();
    assert_eq!(
        parts
            .iter()
            .map(|part| (part.values.clone(), part.rows.num_rows()))
            .collect::<Vec<_>>(),
        [(vec![Value::Null], 3), (vec![Value::Text("a".into())], 1)]
    );
    assert_eq!(empties, 2);
}

fn refused(partition_by: &[PartitionField], data_type: DataType, message: &str) {
    let columns = Schema::new(vec![field("c", data_type), field("Other", DataType::Int32)]);
    let error = derived_fields(partition_by, &columns).unwrap_err();
    assert_eq!(error.to_string(), message);
    assert_eq!(error.kind(), Kind::Invalid);
}

#[test]
fn what_delta_cannot_place_is_refused_by_name() {
    let all = "a boolean, int, long, decimal, date, timestamp or string column";
    for (data_type, text) in [
        (DataType::Float32, "Float32"),
        (DataType::Float64, "Float64"),
        (DataType::Binary, "Binary"),
    ] {
        refused(
            &[identity("c")],
            data_type,
            &format!(
                "partition_by: partitioning does not work on the column `c` of type {text}; it needs {all}"
            ),
        );
    }
    let nested = DataType::Struct(vec![Field::new("x", DataType::Int32, true)].into());
    let message = format!(
        "partition_by: partitioning does not work on the column `c` of type {nested}; it needs {all}"
    );
    refused(&[identity("c")], nested, &message);
    let message = "partition_by: hour does not work on the column `c` of type Date32; it needs a timestamp column";
    refused(
        &[partition("h", "c", Transform::Hour)],
        DataType::Date32,
        message,
    );
    let message = "partition_by: truncate(3) does not work on the column `c` of type Binary; it needs an int, long, decimal or string column";
    refused(
        &[partition("t", "c", Transform::Truncate(3))],
        DataType::Binary,
        message,
    );
    refused(
        &[partition("d", "cc", Transform::Date)],
        DataType::Date32,
        "partition_by: `d` needs the column `cc`, which the table does not have",
    );
    refused(
        &[partition("b", "c", Transform::Bucket(0))],
        DataType::Int32,
        "partition_by: `b` has the number 0, which must be from 1 to 2147483647",
    );
    let message = "partition_by: the name `OTHER` is taken by another column of the table (names that differ only in case are equal)";
    refused(
        &[partition("OTHER", "c", Transform::Year)],
        DataType::Date32,
        message,
    );
    refused(
        &vec![identity("c"); 17],
        DataType::Int32,
        "partition_by: 17 columns, at most 16 are supported",
    );
}

#[test]
fn derived_columns_have_the_types_of_the_contract() {
    let columns = Schema::new(vec![
        field("at", utc()),
        field("s", DataType::Utf8),
        field("d", DataType::Decimal128(9, 2)),
    ]);
    let fields = [
        partition("y", "at", Transform::Year),
        partition("m", "at", Transform::Month),
        partition("day", "at", Transform::Date),
        partition("h", "at", Transform::Hour),
        partition("b", "s", Transform::Bucket(4)),
        partition("t", "d", Transform::Truncate(10)),
        identity("s"),
    ];
    let derived = derived_fields(&fields, &columns).unwrap();
    let expected = [
        field("y", DataType::Int32),
        field("m", DataType::Utf8),
        field("day", DataType::Date32),
        field("h", DataType::Utf8),
        field("b", DataType::Int32),
        field("t", DataType::Decimal128(9, 2)),
    ];
    assert_eq!(derived, expected);
}
