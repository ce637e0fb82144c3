//! One bound of one column: read from Parquet statistics, compared, and written as Delta JSON, rounded outward where JSON says less than Parquet (STAT-1).

use arrow::datatypes::{DataType, TimeUnit};
use parquet::file::statistics::Statistics;

use crate::writer::placement::{calendar, decimal_text};

/// Delta statistics of strings have at most this many code points, as in Spark.
const CHARACTERS_MAX: usize = 32;
/// The years that every reader's calendar knows; a bound beyond them is left out.
const YEARS: std::ops::RangeInclusive<i64> = 1..=9999;

/// A least or greatest value.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Bound {
    Integer(i64),
    Decimal(i128),
    Double(f64),
    Text(String),
}

/// Reads both bounds; `None` where Parquet has none or the type has no order in Delta.
pub(super) fn of(statistics: &Statistics, data_type: &DataType) -> Option<(Bound, Bound)> {
    match (statistics, data_type) {
        (Statistics::Int32(values), DataType::Decimal128(..)) => Some((
            Bound::Decimal((*values.min_opt()?).into()),
            Bound::Decimal((*values.max_opt()?).into()),
        )),
        (Statistics::Int64(values), DataType::Decimal128(..)) => Some((
            Bound::Decimal((*values.min_opt()?).into()),
            Bound::Decimal((*values.max_opt()?).into()),
        )),
        (Statistics::FixedLenByteArray(values), DataType::Decimal128(..)) => Some((
            Bound::Decimal(big_endian(values.min_opt()?.data())?),
            Bound::Decimal(big_endian(values.max_opt()?.data())?),
        )),
        (Statistics::Int32(values), DataType::Int32 | DataType::Date32) => Some((
            Bound::Integer((*values.min_opt()?).into()),
            Bound::Integer((*values.max_opt()?).into()),
        )),
        (
            Statistics::Int64(values),
            DataType::Int64 | DataType::Timestamp(TimeUnit::Microsecond, _),
        ) => Some((
            Bound::Integer(*values.min_opt()?),
            Bound::Integer(*values.max_opt()?),
        )),
        (Statistics::Float(values), DataType::Float32) => Some((
            Bound::Double((*values.min_opt()?).into()),
            Bound::Double((*values.max_opt()?).into()),
        )),
        (Statistics::Double(values), DataType::Float64) => Some((
            Bound::Double(*values.min_opt()?),
            Bound::Double(*values.max_opt()?),
        )),
        (Statistics::ByteArray(values), DataType::Utf8) => Some((
            Bound::Text(text(values.min_opt()?.data())?),
            Bound::Text(text(values.max_opt()?.data())?),
        )),
        _ => None,
    }
}

impl Bound {
    /// Orders bounds of one column.
    pub(super) fn is_less(&self, other: &Bound) -> bool {
        match (self, other) {
            (Bound::Integer(left), Bound::Integer(right)) => left < right,
            (Bound::Decimal(left), Bound::Decimal(right)) => left < right,
            (Bound::Double(left), Bound::Double(right)) => left < right,
            // UTF-8 keeps the order of code points.
            (Bound::Text(left), Bound::Text(right)) => left < right,
            (Bound::Integer(_) | Bound::Decimal(_) | Bound::Double(_) | Bound::Text(_), _) => false,
        }
    }

    /// As a lower bound: never greater than the value.
    pub(super) fn lower_json(&self, data_type: &DataType) -> Option<String> {
        match (self, data_type) {
            (Bound::Integer(micros), DataType::Timestamp(_, zone)) => {
                timestamp_json(micros.div_euclid(1000), zone.is_some())
            }
            (Bound::Text(text), _) => Some(quoted(prefix(text).0)),
            (bound, data_type) => bound.exact_json(data_type),
        }
    }

    /// As an upper bound: never less than the value.
    pub(super) fn upper_json(&self, data_type: &DataType) -> Option<String> {
        match (self, data_type) {
            (Bound::Integer(micros), DataType::Timestamp(_, zone)) => {
                let up = i64::from(micros.rem_euclid(1000) > 0);
                timestamp_json(micros.div_euclid(1000) + up, zone.is_some())
            }
            (Bound::Text(text), _) => match prefix(text) {
                (whole, false) => Some(quoted(whole)),
                (cut, true) => next_text(cut).map(|next| quoted(&next)),
            },
            (bound, data_type) => bound.exact_json(data_type),
        }
    }

    fn exact_json(&self, data_type: &DataType) -> Option<String> {
        match (self, data_type) {
            (Bound::Integer(days), DataType::Date32) => YEARS
                .contains(&calendar::civil(*days).0)
                .then(|| quoted(&calendar::date_text(*days))),
            (Bound::Integer(value), _) => Some(value.to_string()),
            (Bound::Decimal(unscaled), DataType::Decimal128(_, scale)) => {
                Some(decimal_text(*unscaled, *scale))
            }
            (Bound::Decimal(unscaled), _) => Some(unscaled.to_string()),
            // JSON has no infinity.
            (Bound::Double(value), _) => value
                .is_finite()
                .then(|| serde_json::to_string(value).ok())
                .flatten(),
            (Bound::Text(text), _) => Some(quoted(text)),
        }
    }
}

/// A JSON string.
pub(super) fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

fn timestamp_json(ms: i64, is_utc: bool) -> Option<String> {
    let zone = if is_utc { "Z" } else { "" };
    let year = calendar::civil(ms.div_euclid(86_400_000)).0;
    YEARS
        .contains(&year)
        .then(|| format!("\"{}{zone}\"", calendar::date_time_text(ms, 3)))
}

/// The first characters, and whether any were left off.
fn prefix(text: &str) -> (&str, bool) {
    match text.char_indices().nth(CHARACTERS_MAX) {
        Some((end, _)) => (text.get(..end).unwrap_or(text), true),
        None => (text, false),
    }
}

/// The least text of at most as many characters that is greater than everything that begins with `text`.
fn next_text(text: &str) -> Option<String> {
    let mut characters: Vec<char> = text.chars().collect();
    while let Some(last) = characters.pop() {
        let next = match last {
            // The code points between are surrogates, which are no characters.
            '\u{d7ff}' => Some('\u{e000}'),
            _ => u32::from(last).checked_add(1).and_then(char::from_u32),
        };
        if let Some(next) = next {
            characters.push(next);
            return Some(characters.into_iter().collect());
        }
    }
    None
}

fn text(bytes: &[u8]) -> Option<String> {
    std::str::from_utf8(bytes).ok().map(str::to_owned)
}

fn big_endian(bytes: &[u8]) -> Option<i128> {
    let sign = if bytes.first()? & 0x80 == 0 { 0 } else { -1 };
    (bytes.len() <= 16).then(|| {
        bytes
            .iter()
            .fold(sign, |value: i128, byte| value << 8 | i128::from(*byte))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const UTC: fn() -> DataType = || DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));

    fn check(bound: Bound, data_type: &DataType, lower: Option<&str>, upper: Option<&str>) {
        assert_eq!(bound.lower_json(data_type).as_deref(), lower);
        assert_eq!(bound.upper_json(data_type).as_deref(), upper);
    }

    #[test]
    fn stat_1_timestamps_are_rounded_outward_to_milliseconds() {
        check(
            Bound::Integer(1_001),
            &UTC(),
            Some("\"1970-01-01T00:00:00.001Z\""),
            Some("\"1970-01-01T00:00:00.002Z\""),
        );
        check(
            Bound::Integer(-1),
            &UTC(),
            Some("\"1969-12-31T23:59:59.999Z\""),
            Some("\"1970-01-01T00:00:00.000Z\""),
        );
        check(
            Bound::Integer(2_000),
            &UTC(),
            Some("\"1970-01-01T00:00:00.002Z\""),
            Some("\"1970-01-01T00:00:00.002Z\""),
        );
        check(Bound::Integer(i64::MAX), &UTC(), None, None);
        check(Bound::Integer(i64::MIN), &UTC(), None, None);
    }

    #[test]
    fn stat_1_strings_are_cut_to_bounds_that_still_contain_them() {
        let long = "a".repeat(40);
        let (lower, upper) = (
            format!("\"{}\"", "a".repeat(32)),
            format!("\"{}b\"", "a".repeat(31)),
        );
        check(
            Bound::Text(long),
            &DataType::Utf8,
            Some(&lower),
            Some(&upper),
        );
        check(
            Bound::Text("\u{10ffff}".repeat(40)),
            &DataType::Utf8,
            Some(&format!("\"{}\"", "\u{10ffff}".repeat(32))),
            None,
        );
        assert_eq!(next_text("a\u{10ffff}").as_deref(), Some("b"));
        assert_eq!(next_text("\u{d7ff}").as_deref(), Some("\u{e000}"));
        check(
            Bound::Text("a\"\n".into()),
            &DataType::Utf8,
            Some("\"a\\\"\\n\""),
            Some("\"a\\\"\\n\""),
        );
    }

    #[test]
    fn stat_1_decimals_keep_every_digit_and_dates_their_calendar() {
        let decimal = DataType::Decimal128(38, 10);
        check(
            Bound::Decimal(12_345_678_901_234_567_890_123_456_789),
            &decimal,
            Some("1234567890123456789.0123456789"),
            Some("1234567890123456789.0123456789"),
        );
        check(
            Bound::Integer(0),
            &DataType::Date32,
            Some("\"1970-01-01\""),
            Some("\"1970-01-01\""),
        );
        check(
            Bound::Integer(i64::from(i32::MAX)),
            &DataType::Date32,
            None,
            None,
        );
        check(Bound::Double(f64::INFINITY), &DataType::Float64, None, None);
        check(
            Bound::Double(-0.0),
            &DataType::Float64,
            Some("-0.0"),
            Some("-0.0"),
        );
        assert_eq!(big_endian(&[0xff, 0x7f]), Some(-129));
    }
}
