//! One partition column bound to its source: which types a transform knows, and the value it gives. Owns Iceberg's and our transforms; groups nothing.

use std::hash::Hash;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch, make_array};
use arrow::buffer::NullBuffer;
use arrow::datatypes::{
    DataType, Date32Type, Decimal128Type, Field, Int32Type, Int64Type, Schema,
    TimestampMicrosecondType,
};
use arrow::error::ArrowError;

use crate::config::settings::{PartitionField, Transform};
use crate::writer::Error;
use crate::writer::placement::source::{Source, knows, needed_types, source_of, transform_text};
use crate::writer::placement::value::Value;
use crate::writer::placement::{calendar, murmur3};

const BUCKETS_MAX: u32 = i32::MAX.unsigned_abs();

/// A partition column that knows its source and its type.
#[derive(Debug, Clone)]
pub struct Placed {
    name: String,
    column: usize,
    /// From the column down to the member that it is computed from.
    members: Vec<usize>,
    data_type: DataType,
    transform: Transform,
    source: Source,
}

/// What rows of one table partition have in common: cheap to compute and to compare, turned into a `Value` once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Key<'a> {
    Integer(i64),
    Decimal(i128),
    Text(&'a str),
    Binary(&'a [u8]),
}

/// The column of a path, the places of the members below it, and the field at its end.
fn find<'a>(columns: &'a Schema, path: &[String]) -> Option<(usize, Vec<usize>, &'a Field)> {
    let (first, rest) = path.split_first()?;
    let (column, mut field) = columns.column_with_name(first)?;
    let mut members = Vec::new();
    for name in rest {
        let DataType::Struct(fields) = field.data_type() else {
            return None;
        };
        let (place, member) = fields.find(name)?;
        members.push(place);
        field = member;
    }
    Some((column, members, field))
}

impl Placed {
    pub(crate) fn new(field: &PartitionField, columns: &Schema) -> Result<Placed, Error> {
        let Some((column, members, source_field)) = find(columns, &field.source_path()) else {
            return Err(Error::UnknownColumn {
                field: field.name.clone(),
                column: field.source.clone(),
            });
        };
        let data_type = source_field.data_type().clone();
        let needs = needed_types(field.transform);
        let unpartitionable = || Error::Unpartitionable {
            column: field.source.clone(),
            data_type: data_type.to_string(),
            transform: transform_text(field.transform),
            needs,
        };
        let source = source_of(&data_type)
            .filter(|source| knows(field.transform, *source))
            .ok_or_else(unpartitionable)?;
        if let Transform::Bucket(number) | Transform::Truncate(number) = field.transform
            && !(1..=BUCKETS_MAX).contains(&number)
        {
            return Err(Error::Width {
                field: field.name.clone(),
                number,
                max: BUCKETS_MAX,
            });
        }
        // An identity column goes by its source's name, whatever the settings call it.
        let name = if field.transform == Transform::Identity {
            field.source.clone()
        } else {
            field.name.clone()
        };
        Ok(Placed {
            name,
            column,
            members,
            data_type,
            transform: field.transform,
            source,
        })
    }

    /// The partition column's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether it is the source column itself, which files then do not hold.
    pub fn is_identity(&self) -> bool {
        self.transform == Transform::Identity
    }

    /// Whether its keys are text.
    pub(crate) fn is_of_text(&self) -> bool {
        self.source == Source::Text
    }

    /// The index of the source column, or of the column that it is a member of.
    pub(crate) fn column(&self) -> usize {
        self.column
    }

    /// The source's values; a member of what is null is null.
    pub(crate) fn source(&self, batch: &RecordBatch) -> Result<ArrayRef, ArrowError> {
        let mut array = Arc::clone(batch.column(self.column));
        for member in &self.members {
            let outer = array.as_struct();
            let inner = outer.column(*member);
            let nulls = NullBuffer::union(outer.nulls(), inner.nulls());
            array = make_array(inner.to_data().into_builder().nulls(nulls).build()?);
        }
        Ok(array)
    }

    /// The column as the table has it.
    pub(crate) fn table_field(&self) -> Field {
        let data_type = match self.transform {
            Transform::Identity | Transform::Truncate(_) => self.data_type.clone(),
            Transform::Year | Transform::Bucket(_) => DataType::Int32,
            Transform::Month | Transform::Hour => DataType::Utf8,
            Transform::Date => DataType::Date32,
        };
        Field::new(&self.name, data_type, true)
    }

    /// The key of each row; `None` is null.
    pub(crate) fn keys<'a>(&self, array: &'a dyn Array) -> Vec<Option<Key<'a>>> {
        let place = |key: Key<'a>| self.place(key);
        match self.source {
            Source::Boolean => array
                .as_boolean()
                .iter()
                .map(|value| value.map(|value| place(Key::Integer(i64::from(value)))))
                .collect(),
            Source::Int => integers(
                array
                    .as_primitive::<Int32Type>()
                    .iter()
                    .map(|value| value.map(i64::from)),
                place,
            ),
            Source::Date => integers(
                array
                    .as_primitive::<Date32Type>()
                    .iter()
                    .map(|value| value.map(i64::from)),
                place,
            ),
            Source::Long => integers(array.as_primitive::<Int64Type>().iter(), place),
            Source::Timestamp { .. } => integers(
                array.as_primitive::<TimestampMicrosecondType>().iter(),
                place,
            ),
            Source::Decimal { .. } => array
                .as_primitive::<Decimal128Type>()
                .iter()
                .map(|value| value.map(|value| place(Key::Decimal(value))))
                .collect(),
            Source::Text => array
                .as_string::<i32>()
                .iter()
                .map(|value| value.map(|value| place(Key::Text(value))))
                .collect(),
            Source::Binary => array
                .as_binary::<i32>()
                .iter()
                .map(|value| value.map(|value| place(Key::Binary(value))))
                .collect(),
        }
    }

    fn place<'a>(&self, key: Key<'a>) -> Key<'a> {
        match self.transform {
            Transform::Identity => key,
            Transform::Year => self.in_days(key, |days| calendar::civil(days).0),
            Transform::Month => self.in_days(key, |days| {
                let (year, month, _) = calendar::civil(days);
                (year - 1970) * 12 + month - 1
            }),
            Transform::Date => self.in_days(key, |days| days),
            Transform::Hour => match key {
                Key::Integer(micros) => Key::Integer(micros.div_euclid(calendar::MICROS_PER_HOUR)),
                Key::Decimal(_) | Key::Text(_) | Key::Binary(_) => key,
            },
            Transform::Bucket(count) => Key::Integer(bucket(key, count)),
            Transform::Truncate(width) => self.truncate(key, width),
        }
    }

    fn in_days<'a>(&self, key: Key<'a>, of_days: impl Fn(i64) -> i64) -> Key<'a> {
        match (key, self.source) {
            (Key::Integer(micros), Source::Timestamp { .. }) => {
                Key::Integer(of_days(micros.div_euclid(calendar::MICROS_PER_DAY)))
            }
            (Key::Integer(days), _) => Key::Integer(of_days(days)),
            (Key::Decimal(_) | Key::Text(_) | Key::Binary(_), _) => key,
        }
    }

    /// Iceberg's truncate. Where the lower edge of a range lies below what the column can hold, the range takes the least value that it can.
    fn truncate<'a>(&self, key: Key<'a>, width: u32) -> Key<'a> {
        match key {
            Key::Integer(value) => {
                let least = if self.source == Source::Int {
                    i64::from(i32::MIN)
                } else {
                    i64::MIN
                };
                Key::Integer(
                    value
                        .checked_sub(value.rem_euclid(i64::from(width)))
                        .unwrap_or(least)
                        .max(least),
                )
            }
            Key::Decimal(unscaled) => {
                let least = match self.source {
                    Source::Decimal { precision, .. } => {
                        -(10_i128.pow(u32::from(precision.min(38))) - 1)
                    }
                    Source::Boolean
                    | Source::Int
                    | Source::Long
                    | Source::Date
                    | Source::Timestamp { .. }
                    | Source::Text
                    | Source::Binary => i128::MIN,
                };
                Key::Decimal((unscaled - unscaled.rem_euclid(i128::from(width))).max(least))
            }
            Key::Text(text) => {
                let width = usize::try_from(width).unwrap_or(usize::MAX);
                let end = text
                    .char_indices()
                    .nth(width)
                    .map_or(text.len(), |(index, _)| index);
                Key::Text(text.get(..end).unwrap_or(text))
            }
            Key::Binary(_) => key,
        }
    }

    /// The value that a key stands for.
    pub(crate) fn value(&self, key: Option<Key<'_>>) -> Value {
        let Some(key) = key else { return Value::Null };
        match key {
            Key::Integer(value) => self.integer_value(value),
            Key::Decimal(unscaled) => Value::Decimal(unscaled, self.scale()),
            Key::Text("") => Value::Null,
            Key::Text(text) => Value::Text(text.to_owned()),
            // Binary columns are only bucketed.
            Key::Binary(_) => Value::Null,
        }
    }

    fn integer_value(&self, value: i64) -> Value {
        match self.transform {
            Transform::Year | Transform::Bucket(_) => Value::Integer(value),
            Transform::Month => Value::Text(calendar::month_text(value)),
            Transform::Hour => Value::Text(calendar::hour_text(value)),
            Transform::Date => date_value(value),
            Transform::Identity | Transform::Truncate(_) => match self.source {
                Source::Boolean => Value::Boolean(value != 0),
                Source::Date => date_value(value),
                Source::Timestamp { is_utc: true } => Value::Timestamp(value),
                Source::Timestamp { is_utc: false } => Value::LocalTimestamp(value),
                Source::Int
                | Source::Long
                | Source::Decimal { .. }
                | Source::Text
                | Source::Binary => Value::Integer(value),
            },
        }
    }

    fn scale(&self) -> i8 {
        match self.source {
            Source::Decimal { scale, .. } => scale,
            Source::Boolean
            | Source::Int
            | Source::Long
            | Source::Date
            | Source::Timestamp { .. }
            | Source::Text
            | Source::Binary => 0,
        }
    }
}

fn integers<'a>(
    values: impl Iterator<Item = Option<i64>>,
    place: impl Fn(Key<'a>) -> Key<'a>,
) -> Vec<Option<Key<'a>>> {
    values
        .map(|value| value.map(|value| place(Key::Integer(value))))
        .collect()
}

/// Dates and the days of timestamps fit; what would not, has no calendar day that Delta could name.
fn date_value(days: i64) -> Value {
    i32::try_from(days).map_or(Value::Null, Value::Date)
}

fn bucket(key: Key<'_>, count: u32) -> i64 {
    let hash = match key {
        Key::Integer(value) => murmur3::hash_long(value),
        Key::Decimal(unscaled) => murmur3::hash_decimal(unscaled),
        Key::Text(text) => murmur3::hash(text.as_bytes()),
        Key::Binary(bytes) => murmur3::hash(bytes),
    };
    i64::from(hash & i32::MAX) % i64::from(count)
}
