//! A file's Delta statistics held against its data (STAT-1): the row count is exact, null counts are exact, bounds contain every value. Reads what any
//! writer wrote; types without an order here (binary, lists, maps) are left alone.

use std::cmp::Ordering;
use std::collections::BTreeMap;

use arrow::array::{Array as _, ArrayRef, AsArray as _, RecordBatch};
use arrow::compute::{cast, max, max_string, min, min_string};
use arrow::datatypes::{
    DataType, Date32Type, Decimal128Type, Float64Type, Int64Type, TimeUnit,
    TimestampMicrosecondType,
};
use serde::Deserialize;
use serde_json::value::RawValue;

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Written {
    num_records: Option<u64>,
    min_values: Option<Box<RawValue>>,
    max_values: Option<Box<RawValue>>,
    null_count: Option<Box<RawValue>>,
}

/// The statistics of one file and what its data contradicts.
#[derive(Debug, Default)]
pub(crate) struct Statistics {
    rows_written: Option<u64>,
    rows: u64,
    min: BTreeMap<String, Box<RawValue>>,
    max: BTreeMap<String, Box<RawValue>>,
    nulls_written: BTreeMap<String, i64>,
    nulls: BTreeMap<String, i64>,
    wrong: BTreeMap<String, String>,
}

#[derive(Debug, Clone, Copy)]
enum Side {
    Min,
    Max,
}

impl Statistics {
    /// Takes the text of `add.stats`.
    pub(crate) fn new(text: Option<&str>) -> Self {
        let mut statistics = Statistics::default();
        let Some(text) = text else { return statistics };
        match serde_json::from_str::<Written>(text) {
            Ok(written) => {
                statistics.rows_written = written.num_records;
                flatten("", written.min_values.as_deref(), &mut statistics.min);
                flatten("", written.max_values.as_deref(), &mut statistics.max);
                let mut nulls = BTreeMap::new();
                flatten("", written.null_count.as_deref(), &mut nulls);
                statistics.nulls_written = nulls
                    .into_iter()
                    .filter_map(|(path, count)| Some((path, count.get().parse().ok()?)))
                    .collect();
            }
            Err(error) => {
                statistics.wrong.insert(
                    String::new(),
                    format!("the statistics are no JSON: {error}"),
                );
            }
        }
        statistics
    }

    /// Looks at one batch of the file.
    pub(crate) fn observe(&mut self, batch: &RecordBatch) {
        self.rows += batch.num_rows() as u64;
        for (field, column) in batch.schema().fields().iter().zip(batch.columns()) {
            self.column(field.name(), column, 0);
        }
    }

    /// What does not hold, a sentence each.
    pub(crate) fn verdict(mut self) -> Vec<String> {
        if self
            .rows_written
            .is_some_and(|written| written != self.rows)
        {
            self.wrong.insert(
                String::new(),
                format!(
                    "numRecords is {}, the file has {} rows",
                    self.rows_written.unwrap_or(0),
                    self.rows
                ),
            );
        }
        for (path, written) in &self.nulls_written {
            if let Some(counted) = self.nulls.get(path).filter(|counted| *counted != written) {
                self.wrong.insert(
                    format!("nullCount.{path}"),
                    format!("nullCount of {path} is {written}, the file has {counted}"),
                );
            }
        }
        self.wrong.into_values().collect()
    }

    /// A struct that is null makes its members null, whatever their own bits say.
    fn column(&mut self, path: &str, column: &ArrayRef, depth: usize) {
        if let Some(members) = column.as_struct_opt().filter(|_| depth < 32) {
            for (field, member) in members.fields().iter().zip(members.columns()) {
                let masked = match members.nulls() {
                    Some(nulls) => arrow::compute::nullif(
                        member,
                        &arrow::array::BooleanArray::new(!nulls.inner(), None),
                    ),
                    None => Ok(ArrayRef::clone(member)),
                };
                if let Ok(masked) = masked {
                    self.column(&format!("{path}.{}", field.name()), &masked, depth + 1);
                }
            }
            return;
        }
        *self.nulls.entry(path.to_owned()).or_default() +=
            i64::try_from(column.logical_null_count()).unwrap_or(i64::MAX);
        for (side, written) in [
            (Side::Min, self.min.get(path)),
            (Side::Max, self.max.get(path)),
        ] {
            let Some(written) = written else { continue };
            if let Some(beyond) = beyond(column, side, written.get()) {
                let name = match side {
                    Side::Min => "minimum",
                    Side::Max => "maximum",
                };
                self.wrong.insert(
                    format!("{name}.{path}"),
                    format!(
                        "the {name} of {path} is {}, the file has {beyond}",
                        written.get()
                    ),
                );
            }
        }
    }
}

/// Nested members as `a.b.c`, each with its JSON text, so that no digit of a decimal is lost.
fn flatten(prefix: &str, value: Option<&RawValue>, into: &mut BTreeMap<String, Box<RawValue>>) {
    let Some(members) = value.and_then(|value| {
        serde_json::from_str::<BTreeMap<String, Box<RawValue>>>(value.get()).ok()
    }) else {
        return;
    };
    for (name, value) in members {
        let path = if prefix.is_empty() {
            name
        } else {
            format!("{prefix}.{name}")
        };
        if value.get().starts_with('{') {
            flatten(&path, Some(&value), into);
        } else {
            into.insert(path, value);
        }
    }
}

/// The value of `column` that lies beyond the bound, as text; `None` when all are within it, or the type has no order here or no bounds in Delta.
fn beyond(column: &ArrayRef, side: Side, written: &str) -> Option<String> {
    let kind = column.data_type();
    if kind.is_integer() {
        return beyond_integer(column, side, written);
    }
    if kind.is_floating() {
        return beyond_double(column, side, written);
    }
    if let DataType::Decimal128(_, scale) = kind {
        let column = column.as_primitive_opt::<Decimal128Type>()?;
        let found = pick(side, min(column), max(column))?;
        return outside(found, unscaled(written, *scale)?, side);
    }
    let written: String = serde_json::from_str(written).ok()?;
    if let DataType::Timestamp(_, zone) = kind {
        let micros = DataType::Timestamp(TimeUnit::Microsecond, zone.clone());
        return beyond_time(&cast(column, &micros).ok()?, side, &written);
    }
    if *kind == DataType::Date32 {
        let column = column.as_primitive_opt::<Date32Type>()?;
        let found = i64::from(pick(side, min(column), max(column))?);
        return outside(found, days(written.parse().ok()?), side);
    }
    if matches!(
        kind,
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View
    ) {
        let column = cast(column, &DataType::Utf8).ok()?;
        let column = column.as_string_opt::<i32>()?;
        let found = pick(side, min_string(column), max_string(column))?;
        return outside(found.to_owned(), written, side);
    }
    None
}

fn beyond_integer(column: &ArrayRef, side: Side, written: &str) -> Option<String> {
    let column = cast(column, &DataType::Int64).ok()?;
    let column = column.as_primitive_opt::<Int64Type>()?;
    let found = pick(side, min(column), max(column))?;
    outside(found, written.parse().ok()?, side)
}

fn beyond_double(column: &ArrayRef, side: Side, written: &str) -> Option<String> {
    // The shortest text of a float is not the shortest text of the double that it widens to.
    let bound = if *column.data_type() == DataType::Float32 {
        f64::from(written.parse::<f32>().ok()?)
    } else {
        written.parse().ok()?
    };
    let column = cast(column, &DataType::Float64).ok()?;
    let column = column.as_primitive_opt::<Float64Type>()?;
    // NaN is in no order: the bounds speak of the other values.
    let numbers = column.iter().flatten().filter(|value| !value.is_nan());
    let found = match side {
        Side::Min => numbers.reduce(f64::min),
        Side::Max => numbers.reduce(f64::max),
    };
    outside(found?, bound, side)
}

fn beyond_time(micros: &ArrayRef, side: Side, written: &str) -> Option<String> {
    let column = micros.as_primitive_opt::<TimestampMicrosecondType>()?;
    let bound = chrono::DateTime::parse_from_rfc3339(&zoned(written)).ok()?;
    // Delta keeps milliseconds: a maximum may be cut by less than one.
    let is_cut = written.len() <= "2026-01-01T00:00:00.000Z".len();
    let cut = if is_cut { 999 } else { 0 };
    let bound = bound.timestamp_micros();
    let bound = pick(side, Some(bound), Some(bound.saturating_add(cut)))?;
    outside(pick(side, min(column), max(column))?, bound, side)
}

/// Days since 1970.
fn days(date: chrono::NaiveDate) -> i64 {
    i64::from(chrono::Datelike::num_days_from_ce(&date)) - 719_163
}

fn pick<T>(side: Side, min: Option<T>, max: Option<T>) -> Option<T> {
    match side {
        Side::Min => min,
        Side::Max => max,
    }
}

fn outside<T: PartialOrd + std::fmt::Display>(value: T, bound: T, side: Side) -> Option<String> {
    let wrong = match side {
        Side::Min => Ordering::Less,
        Side::Max => Ordering::Greater,
    };
    (value.partial_cmp(&bound) == Some(wrong)).then(|| value.to_string())
}

/// Spark may leave out the zone of a timestamp.
fn zoned(text: &str) -> String {
    let tail = text.get(19..).unwrap_or_default();
    let has_zone = text.ends_with('Z') || tail.contains(['+', '-']);
    if has_zone {
        text.to_owned()
    } else {
        format!("{text}Z")
    }
}

/// `-12.5` at scale 2 is -1250; `None` for exponents and for digits that the scale does not hold.
fn unscaled(text: &str, scale: i8) -> Option<i128> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let scale = usize::try_from(scale).ok()?;
    let fraction = fraction
        .get(..fraction.len().min(scale))
        .filter(|_| fraction.chars().skip(scale).all(|digit| digit == '0'))?;
    format!("{whole}{fraction:0<scale$}").parse().ok()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{
        Decimal128Array, Int64Array, StringArray, StructArray, TimestampMicrosecondArray,
    };
    use arrow::buffer::NullBuffer;
    use arrow::datatypes::{Field, Fields};

    use super::*;

    fn check(column: ArrayRef, stats: &str) -> Vec<String> {
        let batch = RecordBatch::try_from_iter([("c", column)]).unwrap();
        let mut statistics = Statistics::new(Some(stats));
        statistics.observe(&batch);
        statistics.verdict()
    }

    #[test]
    fn stat_1_bounds_counts_and_nulls_that_hold_pass() {
        let longs: ArrayRef = Arc::new(Int64Array::from(vec![Some(3), None, Some(9)]));
        assert_eq!(
            check(
                longs,
                r#"{"numRecords":3,"minValues":{"c":3},"maxValues":{"c":9},"nullCount":{"c":1}}"#
            ),
            Vec::<String>::new()
        );
        let texts: ArrayRef = Arc::new(StringArray::from(vec!["b", "zz"]));
        assert_eq!(
            check(texts, r#"{"minValues":{"c":"a"},"maxValues":{"c":"zzz"}}"#),
            Vec::<String>::new()
        );
        let times: ArrayRef = Arc::new(
            TimestampMicrosecondArray::from(vec![1_000_000_000_000_123]).with_timezone("UTC"),
        );
        assert_eq!(
            check(
                times,
                r#"{"minValues":{"c":"2001-09-09T01:46:40.000Z"},"maxValues":{"c":"2001-09-09T01:46:40.000Z"}}"#
            ),
            Vec::<String>::new()
        );
    }

    #[test]
    fn stat_1_a_float_is_held_against_its_own_shortest_text() {
        let floats: ArrayRef = Arc::new(arrow::array::Float32Array::from(vec![0.1, f32::NAN]));
        let stats = r#"{"minValues":{"c":0.1},"maxValues":{"c":0.1}}"#;
        assert_eq!(check(floats, stats), Vec::<String>::new());
    }

    #[test]
    fn stat_1_what_does_not_hold_is_named() {
        let longs: ArrayRef = Arc::new(Int64Array::from(vec![Some(3), None, Some(9)]));
        let wrong = check(
            longs,
            r#"{"numRecords":2,"minValues":{"c":4},"maxValues":{"c":8},"nullCount":{"c":0}}"#,
        );
        assert_eq!(wrong.len(), 4, "{wrong:?}");
        let decimals: ArrayRef = Arc::new(
            Decimal128Array::from(vec![1_234_567_890_123_456_789])
                .with_precision_and_scale(20, 4)
                .unwrap(),
        );
        assert_eq!(
            check(
                Arc::clone(&decimals),
                r#"{"maxValues":{"c":123456789012345.6789}}"#
            ),
            Vec::<String>::new()
        );
        assert_eq!(
            check(decimals, r#"{"maxValues":{"c":123456789012345.6788}}"#).len(),
            1
        );
    }

    #[test]
    fn stat_1_members_of_a_null_struct_count_as_null() {
        let member: ArrayRef = Arc::new(Int64Array::from(vec![5, 100]));
        let fields = Fields::from(vec![Field::new("m", DataType::Int64, true)]);
        let of: ArrayRef = Arc::new(StructArray::new(
            fields,
            vec![member],
            Some(NullBuffer::from(vec![true, false])),
        ));
        assert_eq!(
            check(
                of,
                r#"{"maxValues":{"c":{"m":5}},"nullCount":{"c":{"m":1}}}"#
            ),
            Vec::<String>::new()
        );
    }
}
