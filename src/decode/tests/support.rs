//! Settings, records and decoders for tests, and batches as plain JSON values to compare.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::{
    DataType, Date32Type, Decimal128Type, Field, Fields, Float32Type, Float64Type, Int32Type,
    Int64Type, Schema, SchemaRef, TimestampMicrosecondType,
};
use serde_json::{Value as Json, json};

use crate::clock::Clock;
use crate::config::ddl::{Column, Type};
use crate::config::settings::{
    ErrorMode, Errors, Flush, JsonSchemaSource, Metadata, MetadataColumn, OnChange, Start,
    SuspendAbove, Table, Tombstones, UnknownFields, Value,
};
use crate::decode::{Appended, Decoder, Registry, Resolved, Setup, columns, resolve};
use crate::model::offset::TopicPartition;
use crate::model::record::{Coordinates, Records, TimestampType};

pub(super) const RECORD_BYTES_MAX: u64 = 1 << 20;

pub(super) fn table(value: Value) -> Table {
    Table {
        found: None,
        on_source_change: OnChange::Suspend,
        on_lost_offsets: OnChange::Suspend,
        name: "orders".to_owned(),
        path: "orders".to_owned(),
        topics: vec!["shop.orders".to_owned()],
        value,
        key: None,
        timestamps: Default::default(),
        start: Start::Earliest,
        target_lag: Duration::from_secs(60),
        flush: Flush {
            file_size_bytes: 1 << 20,
            rows: 1000,
        },
        partition_by: Vec::new(),
        metadata: Metadata {
            prefix: "_kafka_".to_owned(),
            include: vec![MetadataColumn::Timestamp],
        },
        columns: Default::default(),
        tombstones: Tombstones::Skip,
        evolution: crate::config::settings::Evolution {
            allow: crate::config::settings::Allow::AddColumns,
            on_incompatible: crate::config::settings::OnIncompatible::Reject,
        },
        errors: Errors {
            mode: ErrorMode::Skip,
            table: "orders__dlq".to_owned(),
            raw: true,
            suspend_above: SuspendAbove {
                percent: 100,
                window: Duration::from_secs(60),
                min_records: 100,
            },
        },
        properties: BTreeMap::new(),
        checkpoint_every_commits: None,
        sort_by: Vec::new(),
        maintenance: crate::config::settings::Maintenance {
            target_file_bytes: 1,
            min_files: 2,
            cold_after: Duration::ZERO,
            log_retention: Duration::ZERO,
            vacuum_older_than: Duration::ZERO,
            vacuum_interval: Duration::ZERO,
        },
    }
}

pub(super) fn ddl(columns: &[(&str, Type)]) -> Value {
    let columns = columns
        .iter()
        .map(|(name, kind)| Column {
            name: (*name).to_owned(),
            kind: kind.clone(),
        })
        .collect();
    Value::Json {
        schema: JsonSchemaSource::Ddl(columns),
        unknown_fields: UnknownFields::Reject,
    }
}

/// A table whose schema lies in a file that lives as long as the guard.
pub(super) fn with_file(
    text: &str,
    value: impl FnOnce(std::path::PathBuf) -> Value,
) -> (tempfile::TempDir, Table) {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("schema");
    std::fs::write(&file, text).unwrap();
    (directory, table(value(file)))
}

pub(super) fn target(resolved: &Resolved, table: &Table) -> SchemaRef {
    Arc::new(Schema::new(resolved.columns(table)))
}

/// The Kafka columns of a table that leaves keys as they are.
pub(super) fn metadata_fields(metadata: &Metadata) -> Vec<Field> {
    columns::fields(metadata, None)
}

pub(super) fn decoder_for(
    table: &Table,
    resolved: &Resolved,
    target: SchemaRef,
    registry: Option<Arc<Registry>>,
) -> Decoder {
    let clock = Clock::manual(1_600_000_000_000, 1);
    Decoder::new(Setup {
        resolved,
        table,
        record_bytes_max: RECORD_BYTES_MAX,
        target,
        registry,
        clock,
    })
    .unwrap()
}

/// A decoder for exactly the columns that the schema resolves to.
pub(super) fn decoder(table: &Table, registry: Option<Arc<Registry>>) -> Decoder {
    let resolved = resolve(table, registry.as_ref()).unwrap();
    decoder_for(table, &resolved, target(&resolved, table), registry)
}

pub(super) fn avro_decoder(schema: &str) -> Decoder {
    let (_directory, table) = with_file(schema, |file| Value::AvroFile { file });
    decoder(&table, None)
}

pub(super) fn place() -> TopicPartition {
    TopicPartition::new("shop.orders", 3)
}

/// Records at offsets 10, 11, ...; `None` is a tombstone.
pub(super) fn records<'a>(values: impl IntoIterator<Item = Option<&'a [u8]>>) -> Records {
    let mut records = Records::default();
    for (offset, value) in (10i64..).zip(values) {
        let at = Coordinates {
            offset,
            timestamp_ms: Some(1_700_000_000_000 + offset),
            timestamp_type: TimestampType::CreateTime,
            leader_epoch: Some(7),
        };
        records.push(
            at,
            Some(b"key"),
            value,
            [("h", Some(&b"v"[..])), ("empty", None)],
        );
    }
    records
}

/// Decodes whole values, asserting DEC-1.
pub(super) fn append(decoder: &mut Decoder, values: &[&[u8]]) -> Appended {
    let appended = decoder.append(
        &place(),
        &records(values.iter().map(|value| Some(*value))),
        0,
    );
    assert_eq!(appended.counts.polled(), appended.taken as u64, "DEC-1");
    appended
}

/// The rows so far without their Kafka columns.
pub(super) fn rows(decoder: &mut Decoder) -> Vec<Json> {
    let batch = decoder.take().unwrap();
    let mut rows = all_columns(&batch);
    for row in &mut rows {
        row.as_object_mut()
            .unwrap()
            .retain(|name, _| !name.starts_with("_kafka_"));
    }
    rows
}

pub(super) fn all_columns(batch: &RecordBatch) -> Vec<Json> {
    let row = |index| object(batch.schema().fields(), batch.columns(), index);
    (0..batch.num_rows()).map(row).collect()
}

fn object(fields: &Fields, columns: &[Arc<dyn Array>], index: usize) -> Json {
    let members = fields.iter().zip(columns);
    Json::Object(
        members
            .map(|(field, column)| (field.name().clone(), cell(column, index)))
            .collect(),
    )
}

/// Doubles keep their bits, so that NaN and -0.0 compare.
pub(super) fn double(value: f64) -> Json {
    json!({ "double": format!("{:016x}", value.to_bits()) })
}

pub(super) fn float(value: f32) -> Json {
    json!({ "float": format!("{:08x}", value.to_bits()) })
}

pub(super) fn bytes(value: &[u8]) -> Json {
    json!({ "bytes": value.iter().map(|byte| format!("{byte:02x}")).collect::<String>() })
}

pub(super) fn timestamp(micros: i64) -> Json {
    json!({ "micros": micros })
}

pub(super) fn date(days: i32) -> Json {
    json!({ "days": days })
}

pub(super) fn decimal(unscaled: i128, scale: u32) -> Json {
    json!({ "unscaled": unscaled.to_string(), "scale": scale })
}

pub(super) fn map(entries: impl IntoIterator<Item = (String, Json)>) -> Json {
    json!({ "map": entries.into_iter().collect::<BTreeMap<_, _>>() })
}

fn cell(array: &Arc<dyn Array>, index: usize) -> Json {
    if array.is_null(index) {
        return Json::Null;
    }
    match array.data_type() {
        DataType::Boolean => json!(array.as_boolean().value(index)),
        DataType::Int32 => json!(array.as_primitive::<Int32Type>().value(index)),
        DataType::Int64 => json!(array.as_primitive::<Int64Type>().value(index)),
        DataType::Float32 => float(array.as_primitive::<Float32Type>().value(index)),
        DataType::Float64 => double(array.as_primitive::<Float64Type>().value(index)),
        DataType::Date32 => date(array.as_primitive::<Date32Type>().value(index)),
        DataType::Timestamp(_, zone) if zone.as_deref().is_none_or(|zone| zone == "UTC") => {
            timestamp(
                array
                    .as_primitive::<TimestampMicrosecondType>()
                    .value(index),
            )
        }
        DataType::Decimal128(_, scale) => decimal(
            array.as_primitive::<Decimal128Type>().value(index),
            u32::try_from(*scale).unwrap(),
        ),
        DataType::Utf8 => json!(array.as_string::<i32>().value(index)),
        DataType::Binary => bytes(array.as_binary::<i32>().value(index)),
        DataType::Struct(fields) => object(fields, array.as_struct().columns(), index),
        DataType::List(_) => {
            let items = array.as_list::<i32>().value(index);
            (0..items.len()).map(|item| cell(&items, item)).collect()
        }
        DataType::Map(_, _) => {
            let entries = array.as_map().value(index);
            let keys = entries.column(0).as_string::<i32>();
            map((0..entries.len())
                .map(|entry| (keys.value(entry).to_owned(), cell(entries.column(1), entry))))
        }
        other => panic!("no column of ours is {other}"),
    }
}

/// The seeds of a randomised test: LAKEWARD_CASES many from LAKEWARD_SEED on.
pub(super) fn seeds() -> std::ops::Range<u64> {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse().ok());
    let first = number("LAKEWARD_SEED").unwrap_or(1);
    first..first + number("LAKEWARD_CASES").unwrap_or(256)
}

/// xorshift64*, which repeats for a seed.
pub(super) struct Random(u64);

impl Random {
    pub(super) fn new(seed: u64) -> Self {
        Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub(super) fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d).rotate_left(29)
    }

    pub(super) fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }

    /// Small numbers, and now and then the edges.
    pub(super) fn long(&mut self) -> i64 {
        match self.below(6) {
            0 => i64::MAX,
            1 => i64::MIN,
            2 => self.next().cast_signed(),
            _ => self.below(200).cast_signed() - 100,
        }
    }

    pub(super) fn int(&mut self) -> i32 {
        match self.below(6) {
            0 => i32::MAX,
            1 => i32::MIN,
            2 => self.next() as i32,
            _ => self.below(200) as i32 - 100,
        }
    }

    pub(super) fn bytes(&mut self, length_max: u64) -> Vec<u8> {
        (0..self.below(length_max))
            .map(|_| self.next() as u8)
            .collect()
    }

    pub(super) fn text(&mut self) -> String {
        let characters = [
            'a', 'Z', '0', ' ', '"', '\\', '/', '\n', '\u{1}', 'ä', '漢', '🦀', '\u{7f}', '{', ',',
            ':',
        ];
        (0..self.below(12))
            .map(|_| characters[self.below(16) as usize])
            .collect()
    }
}
