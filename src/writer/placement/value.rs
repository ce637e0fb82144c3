//! One partition value and its text in the Delta log. The text is what readers parse; the directory is only decoration.

use crate::writer::placement::calendar;

/// A value of a partition column.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Value {
    /// No value; also the empty string, which Delta cannot tell from null.
    Null,
    /// A boolean.
    Boolean(bool),
    /// An int or a long.
    Integer(i64),
    /// A decimal as unscaled value and scale.
    Decimal(i128, i8),
    /// Days since 1970-01-01.
    Date(i32),
    /// Microseconds since 1970 UTC.
    Timestamp(i64),
    /// Microseconds since 1970 on a wall clock without a zone.
    LocalTimestamp(i64),
    /// A string, never empty.
    Text(String),
}

impl Value {
    /// The value as the Delta protocol serialises it; `None` is null.
    ///
    /// Timestamps take the protocol's ISO 8601 form with `Z`: the older form without a zone is read in the reader's zone by Spark.
    pub fn text(&self) -> Option<String> {
        match self {
            Value::Null => None,
            Value::Boolean(value) => Some(value.to_string()),
            Value::Integer(value) => Some(value.to_string()),
            Value::Decimal(unscaled, scale) => Some(decimal_text(*unscaled, *scale)),
            Value::Date(days) => Some(calendar::date_text(i64::from(*days))),
            Value::Timestamp(micros) => Some(format!("{}Z", calendar::date_time_text(*micros, 6))),
            Value::LocalTimestamp(micros) => {
                Some(calendar::date_time_text(*micros, 6).replace('T', " "))
            }
            Value::Text(text) => Some(text.clone()),
        }
    }
}

/// A decimal with every digit of its scale.
pub(crate) fn decimal_text(unscaled: i128, scale: i8) -> String {
    let sign = if unscaled < 0 { "-" } else { "" };
    let digits = unscaled.unsigned_abs().to_string();
    let Ok(scale) = usize::try_from(scale) else {
        return format!(
            "{sign}{digits}{}",
            "0".repeat(usize::from(scale.unsigned_abs()))
        );
    };
    if scale == 0 {
        return format!("{sign}{digits}");
    }
    let padded = format!("{digits:0>width$}", width = scale + 1);
    let (whole, fraction) = padded.split_at(padded.len() - scale);
    format!("{sign}{whole}.{fraction}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(value: Value, text: &str) {
        assert_eq!(value.text().as_deref(), Some(text));
    }

    #[test]
    fn every_type_has_its_delta_text() {
        check(Value::Boolean(true), "true");
        check(Value::Integer(-7), "-7");
        check(Value::Integer(i64::MIN), "-9223372036854775808");
        check(Value::Date(-1), "1969-12-31");
        check(Value::Timestamp(0), "1970-01-01T00:00:00.000000Z");
        check(Value::Timestamp(-1), "1969-12-31T23:59:59.999999Z");
        check(
            Value::LocalTimestamp(1_500_000),
            "1970-01-01 00:00:01.500000",
        );
        check(Value::Text("a/b".into()), "a/b");
        assert_eq!(Value::Null.text(), None);
    }

    /// The formats of delta-kernel-rs (`PrimitiveType::parse_scalar`), which DuckDB and delta-rs read with. Its calendar ends 262 thousand years from ours.
    #[test]
    fn kernels_parsers_read_what_is_written() {
        for micros in [
            -8_000_000_000_000_000_000,
            -62_135_596_800_000_001,
            -1,
            0,
            1_700_000_000_123_456,
            253_402_300_800_000_000,
            8_000_000_000_000_000_000,
        ] {
            let text = Value::Timestamp(micros).text().unwrap();
            let back =
                chrono::DateTime::parse_from_str(&text, "%+").map(|time| time.timestamp_micros());
            assert_eq!(back, Ok(micros), "{text}");
            let text = Value::LocalTimestamp(micros).text().unwrap();
            let back = chrono::NaiveDateTime::parse_from_str(&text, "%Y-%m-%d %H:%M:%S%.f")
                .map(|time| time.and_utc().timestamp_micros());
            assert_eq!(back, Ok(micros), "{text}");
        }
    }

    #[test]
    fn decimals_keep_every_digit() {
        check(Value::Decimal(0, 4), "0.0000");
        check(Value::Decimal(-5, 4), "-0.0005");
        check(Value::Decimal(12_345, 2), "123.45");
        check(Value::Decimal(42, 0), "42");
        check(
            Value::Decimal(-99_999_999_999_999_999_999_999_999_999_999_999_999, 38),
            "-0.99999999999999999999999999999999999999",
        );
    }
}
