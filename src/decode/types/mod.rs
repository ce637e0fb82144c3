//! The type mapping (mapping version 1): which Arrow, and so Delta, type a source type becomes. One page per source. Does not decode.

pub(crate) mod avro;
pub(crate) mod ddl;
pub(crate) mod json;
pub(crate) mod json_schema;
pub(crate) mod names;
pub(crate) mod page;
pub(crate) mod protobuf;

use std::fmt;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Fields, TimeUnit};

/// The greatest precision of a Delta decimal.
pub(crate) const PRECISION_MAX: u32 = 38;

/// How many columns, nested ones counted, a table may have.
pub(crate) const COLUMNS_MAX: usize = 10_000;

/// How deep types may nest.
pub(crate) const DEPTH_MAX: usize = 128;

/// Why a source type has no column type, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Refusal {
    /// The place in the schema, such as `items[].price`; empty for its root.
    pub(crate) path: String,
    /// What is wrong and what to do.
    pub(crate) reason: String,
}

impl Refusal {
    pub(crate) fn new(reason: impl Into<String>) -> Self {
        Refusal {
            path: String::new(),
            reason: reason.into(),
        }
    }

    /// Puts an outer step before the path.
    pub(crate) fn under(mut self, step: &str) -> Self {
        let dot = if self.path.is_empty() || self.path.starts_with('[') {
            ""
        } else {
            "."
        };
        self.path = format!("{step}{dot}{}", self.path);
        self
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let colon = if self.path.is_empty() { "" } else { ": " };
        write!(f, "{}{colon}{}", self.path, self.reason)
    }
}

/// What the values of a schema become.
#[derive(Debug, Clone)]
pub(crate) enum Root {
    /// Fields: a column each in a table, a struct in the column of a key.
    Record(Fields),
    /// One value of this type.
    Single(DataType),
}

impl Root {
    /// As the type of one column.
    pub(crate) fn data_type(&self) -> DataType {
        match self {
            Root::Record(fields) => DataType::Struct(fields.clone()),
            Root::Single(data_type) => data_type.clone(),
        }
    }
}

/// timestamp: microseconds, UTC.
pub(crate) fn timestamp() -> DataType {
    DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()))
}

/// timestamp_ntz: microseconds, no zone.
pub(crate) fn timestamp_ntz() -> DataType {
    DataType::Timestamp(TimeUnit::Microsecond, None)
}

/// array<T>, named as Delta names it.
pub(crate) fn list(item: DataType) -> DataType {
    DataType::List(Arc::new(Field::new("element", item, true)))
}

/// map<string, T>, named as Delta names it.
pub(crate) fn map(value: DataType) -> DataType {
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

/// decimal(p, s), or why not.
pub(crate) fn decimal(precision: u32, scale: u32) -> Result<DataType, Refusal> {
    let fitting = (u8::try_from(precision), i8::try_from(scale));
    match fitting {
        (Ok(precision_byte), Ok(scale))
            if (1..=PRECISION_MAX).contains(&precision)
                && scale <= precision_byte.cast_signed() =>
        {
            Ok(DataType::Decimal128(precision_byte, scale))
        }
        (_, _) => Err(Refusal::new(format!(
            "decimal({precision}, {scale}) does not fit: a Delta decimal has a precision of 1 to {PRECISION_MAX} and a scale of at most its precision"
        ))),
    }
}

/// A nullable field.
pub(crate) fn field(name: &str, data_type: DataType) -> Field {
    Field::new(name, data_type, true)
}

/// How many columns, nested ones counted, the fields hold.
pub(crate) fn count(fields: &Fields) -> usize {
    fields.iter().map(|field| width(field.data_type())).sum()
}

/// How many columns, nested ones counted, a type holds.
pub(crate) fn width(data_type: &DataType) -> usize {
    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "every other type is one column"
    )]
    match data_type {
        DataType::Struct(fields) => 1 + count(fields),
        DataType::List(item) => 1 + width(item.data_type()),
        DataType::Map(entries, _) => width(entries.data_type()),
        _ => 1,
    }
}
