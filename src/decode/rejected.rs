//! Rejected records as rows of their own table, and back again for a replay. Owns that table's columns (CONTRACT); does not judge records or write files.

use std::sync::Arc;

use arrow::array::{
    Array as _, ArrayRef, AsArray as _, BinaryBuilder, Int32Builder, Int64Builder, ListBuilder,
    RecordBatch, StringBuilder, StructBuilder, TimestampMicrosecondBuilder,
};
use arrow::datatypes::{
    DataType, Fields, Int32Type, Int64Type, Schema, SchemaRef, TimestampMicrosecondType,
};

use super::Error;
use super::types::{field, list, timestamp};
use crate::model::batch::Reject;
use crate::model::offset::TopicPartition;
use crate::model::record::{Coordinates, Record, Records};

/// What a row holds beside its texts and bytes, roughly.
const ROW_BYTES: usize = 64;

/// The columns of a table of rejected records.
pub fn rejected_columns() -> SchemaRef {
    Arc::new(Schema::new(vec![
        field("_kafka_topic", DataType::Utf8),
        field("_kafka_partition", DataType::Int32),
        field("_kafka_offset", DataType::Int64),
        field("_kafka_timestamp", timestamp()),
        field("_kafka_key", DataType::Binary),
        field("_kafka_value", DataType::Binary),
        field("_kafka_headers", list(DataType::Struct(header_fields()))),
        field("schema_id", DataType::Int32),
        field("error_code", DataType::Utf8),
        field("error_path", DataType::Utf8),
        field("error_message", DataType::Utf8),
        field("failed_at", timestamp()),
    ]))
}

fn header_fields() -> Fields {
    Fields::from(vec![
        field("key", DataType::Utf8),
        field("value", DataType::Binary),
    ])
}

/// Rejected records on their way to a batch.
#[derive(Debug)]
pub struct RejectedRows {
    /// The largest record whose bytes are kept; `None` keeps none.
    bytes_max: Option<u64>,
    rows: usize,
    size_bytes: usize,
    topic: StringBuilder,
    number: Int32Builder,
    offset: Int64Builder,
    timestamp: TimestampMicrosecondBuilder,
    key: BinaryBuilder,
    value: BinaryBuilder,
    headers: ListBuilder<StructBuilder>,
    schema_id: Int32Builder,
    code: StringBuilder,
    path: StringBuilder,
    message: StringBuilder,
    failed_at: TimestampMicrosecondBuilder,
}

impl RejectedRows {
    /// No rows yet. Of records above `bytes_max`, and of all without one, only the coordinates and the error are kept.
    pub fn new(bytes_max: Option<u64>) -> Self {
        let members = StructBuilder::from_fields(header_fields(), 0);
        RejectedRows {
            bytes_max,
            rows: 0,
            size_bytes: 0,
            topic: StringBuilder::new(),
            number: Int32Builder::new(),
            offset: Int64Builder::new(),
            timestamp: TimestampMicrosecondBuilder::new().with_data_type(timestamp()),
            key: BinaryBuilder::new(),
            value: BinaryBuilder::new(),
            headers: ListBuilder::new(members)
                .with_field(field("element", DataType::Struct(header_fields()))),
            schema_id: Int32Builder::new(),
            code: StringBuilder::new(),
            path: StringBuilder::new(),
            message: StringBuilder::new(),
            failed_at: TimestampMicrosecondBuilder::new().with_data_type(timestamp()),
        }
    }

    /// Appends a rejected record.
    pub fn push(&mut self, record: &Record<'_>, reject: &Reject, failed_at_ms: i64) {
        let micros = |millis: i64| millis.checked_mul(1000);
        self.topic.append_value(&reject.topic_partition.topic);
        self.number.append_value(reject.topic_partition.number);
        self.offset.append_value(reject.offset);
        let at = record.at.timestamp_ms.and_then(micros);
        self.timestamp.append_option(at);
        self.push_bytes(record);
        self.schema_id
            .append_option(reject.schema_id.map(u32::cast_signed));
        self.code.append_value(reject.code);
        self.path.append_value(&reject.path);
        self.message.append_value(&reject.message);
        self.failed_at.append_option(micros(failed_at_ms));
        self.rows += 1;
        self.size_bytes += ROW_BYTES
            + reject.topic_partition.topic.len()
            + reject.code.len()
            + reject.path.len()
            + reject.message.len();
    }

    /// Appends a row that was read back.
    pub fn push_row(&mut self, row: &RejectedRow) {
        let micros = |millis: i64| millis.checked_mul(1000);
        self.topic.append_value(&row.topic_partition.topic);
        self.number.append_value(row.topic_partition.number);
        self.offset.append_value(row.offset);
        self.timestamp
            .append_option(row.timestamp_ms.and_then(micros));
        if row.is_whole() {
            let mut records = Records::default();
            row.push_to(&mut records);
            records
                .iter_from(0)
                .for_each(|record| self.push_bytes(&record));
        } else {
            self.key.append_option(row.key.as_deref());
            self.value.append_option(row.value.as_deref());
            self.headers.append_null();
        }
        self.schema_id.append_option(row.schema_id);
        self.code.append_value(&row.code);
        self.path.append_value(&row.path);
        self.message.append_value(&row.message);
        self.failed_at
            .append_option(row.failed_at_ms.and_then(micros));
        self.rows += 1;
        self.size_bytes += ROW_BYTES + row.code.len() + row.path.len() + row.message.len();
    }

    /// Headers that are null say that bytes were left out: a record without headers has an empty list.
    fn push_bytes(&mut self, record: &Record<'_>) {
        let size = payload_bytes(record);
        let is_kept = self.bytes_max.is_some_and(|max| size as u64 <= max);
        if !is_kept {
            self.key.append_null();
            self.value.append_null();
            self.headers.append_null();
            return;
        }
        self.key.append_option(record.key);
        self.value.append_option(record.value);
        for (name, value) in record.headers() {
            let header = self.headers.values();
            if let Some(names) = header.field_builder::<StringBuilder>(0) {
                names.append_value(name);
            }
            if let Some(values) = header.field_builder::<BinaryBuilder>(1) {
                values.append_option(value);
            }
            header.append(true);
        }
        self.headers.append(true);
        self.size_bytes += size;
    }

    /// The rows so far.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// About the bytes of the rows so far.
    pub fn size_bytes(&self) -> usize {
        self.size_bytes
    }

    /// The rows so far; leaves none.
    pub fn take(&mut self) -> Result<RecordBatch, Error> {
        self.rows = 0;
        self.size_bytes = 0;
        let columns: Vec<ArrayRef> = vec![
            Arc::new(self.topic.finish()),
            Arc::new(self.number.finish()),
            Arc::new(self.offset.finish()),
            Arc::new(self.timestamp.finish()),
            Arc::new(self.key.finish()),
            Arc::new(self.value.finish()),
            Arc::new(self.headers.finish()),
            Arc::new(self.schema_id.finish()),
            Arc::new(self.code.finish()),
            Arc::new(self.path.finish()),
            Arc::new(self.message.finish()),
            Arc::new(self.failed_at.finish()),
        ];
        Ok(RecordBatch::try_new(rejected_columns(), columns)?)
    }
}

fn payload_bytes(record: &Record<'_>) -> usize {
    let headers = record
        .headers()
        .map(|(name, value)| name.len() + value.map_or(0, <[u8]>::len));
    record.key.map_or(0, <[u8]>::len) + record.value.map_or(0, <[u8]>::len) + headers.sum::<usize>()
}

/// A row of a table of rejected records, read back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RejectedRow {
    /// Where it came from.
    pub topic_partition: TopicPartition,
    /// Its offset.
    pub offset: i64,
    /// Its timestamp, milliseconds since 1970 UTC.
    pub timestamp_ms: Option<i64>,
    /// Its key.
    pub key: Option<Vec<u8>>,
    /// Its value; `None` may be a tombstone.
    pub value: Option<Vec<u8>>,
    /// Its headers; `None` when its bytes were not kept.
    pub headers: Option<Vec<(String, Option<Vec<u8>>)>>,
    /// The writer schema's id.
    pub schema_id: Option<i32>,
    /// What was wrong.
    pub code: String,
    /// The field.
    pub path: String,
    /// The sentence.
    pub message: String,
    /// When, milliseconds since 1970 UTC.
    pub failed_at_ms: Option<i64>,
}

impl RejectedRow {
    /// Whether its bytes were kept, so that it can be decoded again.
    pub fn is_whole(&self) -> bool {
        self.headers.is_some()
    }

    /// The record that it was. Timestamp type and leader epoch were not kept.
    pub fn push_to(&self, records: &mut Records) {
        let at = Coordinates {
            offset: self.offset,
            timestamp_ms: self.timestamp_ms,
            ..Coordinates::default()
        };
        let headers = self.headers.iter().flatten();
        records.push(
            at,
            self.key.as_deref(),
            self.value.as_deref(),
            headers.map(|(name, value)| (name.as_str(), value.as_deref())),
        );
    }
}

/// Reads rows back from a batch of a table of rejected records; what another engine added to the table is passed over.
pub fn rejected_rows(batch: &RecordBatch) -> Result<Vec<RejectedRow>, String> {
    let column = |name: &str| {
        batch
            .column_by_name(name)
            .ok_or_else(|| format!("the table of rejected records has no column `{name}`"))
    };
    let other_type = |name: &str| format!("the column `{name}` has another type");
    let text = |name: &str| -> Result<Vec<Option<String>>, String> {
        let texts = column(name)?.as_string_opt::<i32>();
        let texts = texts.ok_or_else(|| other_type(name))?;
        Ok(texts.iter().map(|it| it.map(str::to_owned)).collect())
    };
    let bytes = |name: &str| -> Result<Vec<Option<Vec<u8>>>, String> {
        let all = column(name)?.as_binary_opt::<i32>();
        let all = all.ok_or_else(|| other_type(name))?;
        Ok(all.iter().map(|it| it.map(<[u8]>::to_vec)).collect())
    };
    let millis = |name: &str| -> Result<Vec<Option<i64>>, String> {
        let all = column(name)?.as_primitive_opt::<TimestampMicrosecondType>();
        let all = all.ok_or_else(|| other_type(name))?;
        Ok(all
            .iter()
            .map(|it| it.map(|micros| micros.div_euclid(1000)))
            .collect())
    };
    let numbers = column("_kafka_partition")?.as_primitive_opt::<Int32Type>();
    let numbers = numbers.ok_or_else(|| other_type("_kafka_partition"))?;
    let offsets = column("_kafka_offset")?.as_primitive_opt::<Int64Type>();
    let offsets = offsets.ok_or_else(|| other_type("_kafka_offset"))?;
    let ids = column("schema_id")?.as_primitive_opt::<Int32Type>();
    let ids: Vec<Option<i32>> = ids.ok_or_else(|| other_type("schema_id"))?.iter().collect();
    let mut topics = text("_kafka_topic")?.into_iter();
    let (mut keys, mut values) = (
        bytes("_kafka_key")?.into_iter(),
        bytes("_kafka_value")?.into_iter(),
    );
    let mut headers = headers(column("_kafka_headers")?)?.into_iter();
    let (mut codes, mut paths) = (
        text("error_code")?.into_iter(),
        text("error_path")?.into_iter(),
    );
    let mut messages = text("error_message")?.into_iter();
    let (mut times, mut failed) = (
        millis("_kafka_timestamp")?.into_iter(),
        millis("failed_at")?.into_iter(),
    );
    let mut rows = Vec::with_capacity(batch.num_rows());
    for ((number, offset), schema_id) in numbers.iter().zip(offsets.iter()).zip(ids) {
        let (Some(topic), Some(number), Some(offset)) = (topics.next().flatten(), number, offset)
        else {
            return Err("a row of the table of rejected records has no coordinates".to_owned());
        };
        rows.push(RejectedRow {
            topic_partition: TopicPartition::new(topic, number),
            offset,
            timestamp_ms: times.next().flatten(),
            key: keys.next().flatten(),
            value: values.next().flatten(),
            headers: headers.next().flatten(),
            schema_id,
            code: codes.next().flatten().unwrap_or_default(),
            path: paths.next().flatten().unwrap_or_default(),
            message: messages.next().flatten().unwrap_or_default(),
            failed_at_ms: failed.next().flatten(),
        });
    }
    Ok(rows)
}

type Headers = Vec<(String, Option<Vec<u8>>)>;

fn headers(column: &ArrayRef) -> Result<Vec<Option<Headers>>, String> {
    let other_type = || "the column `_kafka_headers` has another type".to_owned();
    let lists = column.as_list_opt::<i32>().ok_or_else(other_type)?;
    let mut all = Vec::with_capacity(lists.len());
    for list in lists.iter() {
        let Some(list) = list else {
            all.push(None);
            continue;
        };
        let members = list.as_struct_opt().ok_or_else(other_type)?;
        let names = members
            .column_by_name("key")
            .and_then(|names| names.as_string_opt::<i32>())
            .ok_or_else(other_type)?;
        let values = members
            .column_by_name("value")
            .and_then(|values| values.as_binary_opt::<i32>())
            .ok_or_else(other_type)?;
        let pairs = names.iter().zip(values.iter());
        all.push(Some(
            pairs
                .map(|(name, value)| {
                    (
                        name.unwrap_or_default().to_owned(),
                        value.map(<[u8]>::to_vec),
                    )
                })
                .collect(),
        ));
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reject(offset: i64, code: &'static str) -> Reject {
        Reject {
            topic_partition: TopicPartition::new("t", 3),
            offset,
            code,
            path: "items[2].price".to_owned(),
            message: "no".to_owned(),
            schema_id: Some(7),
        }
    }

    fn record(offset: i64) -> Coordinates {
        Coordinates {
            offset,
            timestamp_ms: Some(1_000 + offset),
            ..Coordinates::default()
        }
    }

    #[test]
    fn dlq_1_a_rejected_record_comes_back_with_all_its_bytes() {
        let mut records = Records::default();
        records.push(
            record(5),
            Some(b"k"),
            Some(b"\xff\0"),
            [("h", Some(&b"v"[..])), ("n", None)],
        );
        records.push(record(6), None, None, []);
        let mut rows = RejectedRows::new(Some(100));
        rows.push(&records.get(0).unwrap(), &reject(5, "truncated"), 9);
        rows.push(&records.get(1).unwrap(), &reject(6, "tombstone"), 9);
        assert_eq!(rows.rows(), 2);
        let read = rejected_rows(&rows.take().unwrap()).unwrap();
        assert!(read.iter().all(RejectedRow::is_whole));
        assert_eq!(
            (
                read[0].schema_id,
                read[0].path.as_str(),
                read[0].failed_at_ms
            ),
            (Some(7), "items[2].price", Some(9))
        );
        let mut again = Records::default();
        read.iter().for_each(|row| row.push_to(&mut again));
        for index in 0..2 {
            let (was, is) = (records.get(index).unwrap(), again.get(index).unwrap());
            assert_eq!((was.key, was.value, was.at), (is.key, is.value, is.at));
            assert!(was.headers().eq(is.headers()));
        }
        assert_eq!((rows.rows(), rows.size_bytes()), (0, 0));
    }

    #[test]
    fn bytes_that_are_not_kept_leave_the_coordinates_and_the_error() {
        let mut records = Records::default();
        records.push(record(5), Some(b"key"), Some(b"value"), []);
        for bytes_max in [None, Some(7)] {
            let mut rows = RejectedRows::new(bytes_max);
            rows.push(&records.get(0).unwrap(), &reject(5, "too_large"), 9);
            let read = rejected_rows(&rows.take().unwrap()).unwrap();
            assert!(!read[0].is_whole() && read[0].value.is_none() && read[0].key.is_none());
            assert_eq!((read[0].offset, read[0].code.as_str()), (5, "too_large"));
        }
    }
}
