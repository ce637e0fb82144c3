//! Which transform works on which type, and how both are called in messages. Computes nothing.

use arrow::datatypes::{DataType, TimeUnit};

use crate::config::settings::Transform;

/// The types that partition values can come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Source {
    Boolean,
    Int,
    Long,
    Decimal { precision: u8, scale: i8 },
    Date,
    Timestamp { is_utc: bool },
    Text,
    Binary,
}

#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "every other Arrow type has no partition text in Delta"
)]
pub(super) fn source_of(data_type: &DataType) -> Option<Source> {
    match data_type {
        DataType::Boolean => Some(Source::Boolean),
        DataType::Int32 => Some(Source::Int),
        DataType::Int64 => Some(Source::Long),
        DataType::Decimal128(precision, scale) => Some(Source::Decimal {
            precision: *precision,
            scale: *scale,
        }),
        DataType::Date32 => Some(Source::Date),
        DataType::Timestamp(TimeUnit::Microsecond, zone) => Some(Source::Timestamp {
            is_utc: zone.is_some(),
        }),
        DataType::Utf8 => Some(Source::Text),
        DataType::Binary => Some(Source::Binary),
        _ => None,
    }
}

pub(super) fn knows(transform: Transform, source: Source) -> bool {
    match transform {
        Transform::Identity => source != Source::Binary,
        Transform::Year | Transform::Month | Transform::Date => {
            matches!(source, Source::Date | Source::Timestamp { .. })
        }
        Transform::Hour => matches!(source, Source::Timestamp { .. }),
        Transform::Bucket(_) => source != Source::Boolean,
        Transform::Truncate(_) => matches!(
            source,
            Source::Int | Source::Long | Source::Decimal { .. } | Source::Text
        ),
    }
}

pub(super) fn needed_types(transform: Transform) -> &'static str {
    match transform {
        Transform::Identity => "a boolean, int, long, decimal, date, timestamp or string column",
        Transform::Year | Transform::Month | Transform::Date => "a date or timestamp column",
        Transform::Hour => "a timestamp column",
        Transform::Bucket(_) => "an int, long, decimal, date, timestamp, string or binary column",
        Transform::Truncate(_) => "an int, long, decimal or string column",
    }
}

pub(super) fn transform_text(transform: Transform) -> String {
    match transform {
        Transform::Identity => "partitioning".to_owned(),
        Transform::Year => "year".to_owned(),
        Transform::Month => "month".to_owned(),
        Transform::Date => "date".to_owned(),
        Transform::Hour => "hour".to_owned(),
        Transform::Bucket(count) => format!("bucket({count})"),
        Transform::Truncate(width) => format!("truncate({width})"),
    }
}
