//! The Kafka columns of a row: coordinates always, the rest as chosen. Does not decode values.

use arrow::datatypes::{DataType, Field, Fields};

use super::builder::{Column, Data, List};
use super::reject::{Code, Fault, Outcome};
use super::types::{field, list, timestamp};
use crate::config::settings::{Metadata, MetadataColumn};
use crate::model::offset::TopicPartition;
use crate::model::record::{Record, TimestampType};

/// What a Kafka column is filled from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Source {
    Topic,
    Partition,
    Offset,
    Chosen(MetadataColumn),
}

/// A record's coordinates, for its Kafka columns.
#[derive(Debug, Clone, Copy)]
pub(super) struct Origin<'a> {
    pub(super) topic_partition: &'a TopicPartition,
    pub(super) record: Record<'a>,
    pub(super) schema_id: Option<u32>,
    pub(super) ingested_at_micros: i64,
}

/// The Kafka columns in their order: `<prefix>topic`, `<prefix>partition`, `<prefix>offset`, then the chosen ones. A decoded key has a type of its own.
pub(super) fn fields(metadata: &Metadata, key: Option<&DataType>) -> Vec<Field> {
    sources(metadata)
        .map(|source| field(&name(metadata, source), data_type(source, key)))
        .collect()
}

/// Whether it is the record's key.
pub(super) fn is_key(source: Source) -> bool {
    source == Source::Chosen(MetadataColumn::Key)
}

/// The column of the key.
pub(super) fn name_of_key(metadata: &Metadata) -> String {
    name(metadata, Source::Chosen(MetadataColumn::Key))
}

/// The column of the key, where there is one.
pub(super) fn key_column(metadata: &Metadata) -> Option<String> {
    let has_key = metadata.include.contains(&MetadataColumn::Key);
    has_key.then(|| name_of_key(metadata))
}

pub(super) fn sources(metadata: &Metadata) -> impl Iterator<Item = Source> {
    let chosen = metadata
        .include
        .iter()
        .map(|column| Source::Chosen(*column));
    [Source::Topic, Source::Partition, Source::Offset]
        .into_iter()
        .chain(chosen)
}

pub(super) fn name(metadata: &Metadata, source: Source) -> String {
    let word = match source {
        Source::Topic => "topic",
        Source::Partition => "partition",
        Source::Offset => "offset",
        Source::Chosen(MetadataColumn::Timestamp) => "timestamp",
        Source::Chosen(MetadataColumn::TimestampType) => "timestamp_type",
        Source::Chosen(MetadataColumn::Key) => "key",
        Source::Chosen(MetadataColumn::Headers) => "headers",
        Source::Chosen(MetadataColumn::LeaderEpoch) => "leader_epoch",
        Source::Chosen(MetadataColumn::SchemaId) => "schema_id",
        Source::Chosen(MetadataColumn::IngestedAt) => "ingested_at",
    };
    format!("{}{word}", metadata.prefix)
}

pub(super) fn data_type(source: Source, key: Option<&DataType>) -> DataType {
    match source {
        Source::Topic | Source::Chosen(MetadataColumn::TimestampType) => DataType::Utf8,
        Source::Partition
        | Source::Chosen(MetadataColumn::LeaderEpoch | MetadataColumn::SchemaId) => DataType::Int32,
        Source::Offset => DataType::Int64,
        Source::Chosen(MetadataColumn::Timestamp | MetadataColumn::IngestedAt) => timestamp(),
        Source::Chosen(MetadataColumn::Key) => key.cloned().unwrap_or(DataType::Binary),
        Source::Chosen(MetadataColumn::Headers) => {
            let members = vec![
                field("key", DataType::Utf8),
                field("value", DataType::Binary),
            ];
            list(DataType::Struct(Fields::from(members)))
        }
    }
}

/// Appends a record's value for one Kafka column.
pub(super) fn append(source: Source, origin: &Origin<'_>, column: &mut Column) -> Outcome {
    let record = &origin.record;
    match (source, &mut column.data) {
        (Source::Topic, Data::Text(column)) => {
            column.push(origin.topic_partition.topic.as_bytes())?
        }
        (Source::Partition, Data::Int(column)) => column.push(origin.topic_partition.number),
        (Source::Offset, Data::Long(column)) => column.push(record.at.offset),
        (Source::Chosen(chosen), _) => return append_chosen(chosen, origin, column),
        (Source::Topic | Source::Partition | Source::Offset, _) => return Err(uneven()),
    }
    Ok(())
}

fn append_chosen(chosen: MetadataColumn, origin: &Origin<'_>, column: &mut Column) -> Outcome {
    let record = &origin.record;
    match (chosen, &mut column.data) {
        (MetadataColumn::Timestamp, Data::Long(values)) => match record.at.timestamp_ms {
            Some(millis) => values.push(micros(millis)?),
            None => return column.push_null(),
        },
        (MetadataColumn::TimestampType, Data::Text(values)) => match record.at.timestamp_type {
            TimestampType::CreateTime => values.push(b"create_time")?,
            TimestampType::LogAppendTime => values.push(b"log_append_time")?,
            TimestampType::None => return column.push_null(),
        },
        (MetadataColumn::Key, Data::Binary(values)) => match record.key {
            Some(key) => values.push(key)?,
            None => return column.push_null(),
        },
        (MetadataColumn::Headers, Data::List(values)) => return append_headers(record, values),
        (MetadataColumn::LeaderEpoch, Data::Int(values)) => match record.at.leader_epoch {
            Some(epoch) => values.push(epoch),
            None => return column.push_null(),
        },
        // Ids are 32-bit and signed where they come from.
        (MetadataColumn::SchemaId, Data::Int(values)) => match origin.schema_id {
            Some(id) => values.push(id.cast_signed()),
            None => return column.push_null(),
        },
        (MetadataColumn::IngestedAt, Data::Long(values)) => values.push(origin.ingested_at_micros),
        (_, _) => return Err(uneven()),
    }
    Ok(())
}

fn append_headers(record: &Record<'_>, list: &mut List) -> Outcome {
    for (name, value) in record.headers() {
        let Data::Struct(header) = &mut list.item.data else {
            return Err(uneven());
        };
        let [key_column, value_column] = header.members.as_mut_slice() else {
            return Err(uneven());
        };
        let Data::Text(keys) = &mut key_column.data else {
            return Err(uneven());
        };
        keys.push(name.as_bytes())?;
        match (&mut value_column.data, value) {
            (Data::Binary(values), Some(value)) => values.push(value)?,
            (_, _) => value_column.push_null()?,
        }
        header.end();
    }
    list.end()
}

fn micros(millis: i64) -> Outcome<i64> {
    let out_of_range = || {
        Fault::new(
            Code::OutOfRange,
            format!("the record's timestamp of {millis} ms does not fit a microsecond timestamp"),
        )
    };
    millis.checked_mul(1000).ok_or_else(out_of_range)
}

/// The columns were made for these sources, so this is a bug of ours; it rejects the record rather than the process.
#[cold]
fn uneven() -> Box<Fault> {
    Fault::new(
        Code::TypeMismatch,
        "a Kafka column has another type (a bug of Lakeward)",
    )
}
