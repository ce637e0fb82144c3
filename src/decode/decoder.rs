//! One table's records of one lane on their way to a batch: counts every one as a row, a reject or a declared skip (DEC-1), and stops, losing
//! nothing, where the environment fails (ENV-1). Does not seal or write.

use std::sync::Arc;

use arrow::array::{RecordBatch, RecordBatchOptions};
use arrow::datatypes::{DataType, Field, Fields, Schema, SchemaRef};

use super::builder::Column;
use super::columns::{self, Origin};
use super::format::{Cost, Failure, Format, Target};
use super::key::KeyDecoder;
use super::registry::Registry;
use super::reject::{Code, Fault, Words};
use super::types::count;
use super::{Error, Resolved};
use crate::clock::Clock;
use crate::config::settings::{ErrorMode, OnIncompatible, Table, Tombstones};
use crate::model::batch::Reject;
use crate::model::offset::TopicPartition;
use crate::model::progress::Counts;
use crate::model::record::{Record, Records};

/// How many bytes of columns a decoder holds before it asks to be emptied.
const BATCH_BYTES_MAX: usize = 64 << 20;

/// What a hash takes beside a number, in values of 16 bytes.
const HASH_CELLS: usize = 4;

/// What a decoder is made of.
#[derive(Debug)]
pub struct Setup<'a> {
    /// The record's columns.
    pub resolved: &'a Resolved,
    /// The table's settings.
    pub table: &'a Table,
    /// The largest value that is decoded.
    pub record_bytes_max: u64,
    /// The columns of a batch: the record's, Kafka's, and those that only the table has, which stay null.
    pub target: SchemaRef,
    /// Where writer schemas come from.
    pub registry: Option<Arc<Registry>>,
    /// For the column `ingested_at`.
    pub clock: Clock,
}

/// Decodes one table's records of one lane into columns.
#[derive(Debug)]
pub struct Decoder {
    format: Format,
    /// Where keys are decoded.
    key: Option<KeyDecoder>,
    tombstones: Tombstones,
    errors: ErrorMode,
    on_incompatible: OnIncompatible,
    /// Whether a rejected record may be shown in words about it.
    words: Words,
    record_bytes_max: u64,
    clock: Clock,
    target: Target,
    /// One for each column of the target.
    columns: Vec<Column>,
    /// The places of all others.
    record_columns: Vec<usize>,
    rows: usize,
    /// At least the bytes held, unless text grew from escapes; corrected by measuring before it decides.
    held_bytes_estimate: usize,
    row_cells: usize,
}

/// What became of the records that were given to a decoder.
#[derive(Debug)]
pub struct Appended {
    /// The index after the last record that is dealt with. Short of the records' end it says: the first bad record of `errors: suspend` (in
    /// `rejects`), an environment failure (in `stalled`), or else a full decoder: take its rows and go on.
    pub taken: usize,
    /// What became of them: they are exactly the records before `taken`.
    pub counts: Counts,
    /// Those that are no rows, and under `errors: suspend` the one that is next.
    pub rejects: Vec<Reject>,
    /// Fields without a column that were left out.
    pub ignored_fields: u64,
    /// Why the next record cannot be decoded now.
    pub stalled: Option<Error>,
    /// The columns that the next record needs: take the rows and go on with a decoder for these, or `deny` them.
    pub wished: Option<SchemaRef>,
}

/// What became of one record.
enum Verdict {
    Row { ignored: u64 },
    Skipped,
    Bad(Box<Fault>),
    Full,
    Stalled(Error),
    Wishes(SchemaRef),
}

impl Decoder {
    /// A decoder without rows, compiled for the target where the writer schema is known already.
    pub fn new(setup: Setup<'_>) -> Result<Decoder, Error> {
        let Setup {
            resolved,
            table,
            record_bytes_max,
            target,
            registry,
            clock,
        } = setup;
        let target = Target::new(resolved, table, target)?;
        let format = Format::new(&resolved.source, &target, registry.clone(), &table.name)?;
        let fields = target.schema.fields();
        let key_field = target
            .kafka
            .iter()
            .find(|(_, source)| columns::is_key(*source))
            .and_then(|(place, _)| fields.get(*place));
        let key = match (&resolved.key, key_field) {
            (Some(key), Some(field)) => Some(KeyDecoder::new(key, field, registry, table)?),
            (_, _) => None,
        };
        let new_column = |field: &Arc<Field>| Column::new(field.data_type(), field.is_nullable());
        Ok(Decoder {
            format,
            key,
            tombstones: table.tombstones,
            errors: table.errors.mode,
            on_incompatible: table.evolution.on_incompatible,
            words: if table.columns.are_hidden() {
                Words::WithoutValues
            } else {
                Words::Whole
            },
            record_bytes_max,
            clock,
            columns: fields.iter().map(new_column).collect(),
            record_columns: (0..fields.len())
                .filter(|place| target.is_record(*place))
                .collect(),
            row_cells: count(fields) + HASH_CELLS * table.columns.mask.len(),
            target,
            rows: 0,
            held_bytes_estimate: 0,
        })
    }

    /// Appends records from index `from` on, in order. A bad record is rolled back alone; `errors: suspend` stops before the first one. An
    /// environment failure stops before its record, and nothing is lost: call again with `from` = `taken` (ENV-1).
    pub fn append(
        &mut self,
        topic_partition: &TopicPartition,
        records: &Records,
        from: usize,
    ) -> Appended {
        let mut appended = Appended {
            taken: from,
            counts: Counts::default(),
            rejects: Vec::new(),
            ignored_fields: 0,
            stalled: None,
            wished: None,
        };
        let ingested_at_micros = self.clock.wall_ms().saturating_mul(1000);
        for record in records.iter_from(from) {
            let mut origin = Origin {
                topic_partition,
                record,
                schema_id: None,
                ingested_at_micros,
            };
            match self.record(&mut origin) {
                Verdict::Row { ignored } => {
                    appended.counts.rows += 1;
                    appended.ignored_fields += ignored;
                }
                Verdict::Skipped => appended.counts.skipped += 1,
                Verdict::Bad(fault) => {
                    let schema_id = record.value.and_then(|value| self.format.schema_id(value));
                    appended.rejects.push(Reject {
                        schema_id,
                        ..reject(topic_partition, record.at.offset, &fault, self.words)
                    });
                    if self.suspends(&fault) {
                        break;
                    }
                    appended.counts.rejects += 1;
                }
                Verdict::Full => break,
                Verdict::Stalled(error) => {
                    appended.stalled = Some(error);
                    break;
                }
                Verdict::Wishes(schema) => {
                    appended.wished = Some(schema);
                    break;
                }
            }
            appended.taken += 1;
            appended.counts.max_timestamp_ms =
                appended.counts.max_timestamp_ms.max(record.at.timestamp_ms);
        }
        debug_assert_eq!(
            appended.counts.polled(),
            (appended.taken - from) as u64,
            "DEC-1"
        );
        appended
    }

    /// Goes on without columns that were wished for: what needs them is incompatible from now on.
    pub fn deny(&mut self, reason: &str) {
        let policy = &mut self.target.policy;
        *policy = policy.clone().denying(reason.to_owned());
        if let Some(key) = &mut self.key {
            key.deny(reason);
        }
    }

    fn suspends(&self, fault: &Fault) -> bool {
        self.errors == ErrorMode::Suspend
            || (fault.is_incompatible && self.on_incompatible == OnIncompatible::Suspend)
    }

    /// The rows so far.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// The bytes of the rows so far.
    pub fn size_bytes(&self) -> usize {
        self.columns.iter().map(Column::size_bytes).sum()
    }

    /// The rows so far, in the target's schema; leaves the decoder empty.
    pub fn take(&mut self) -> Result<RecordBatch, Error> {
        let rows = std::mem::take(&mut self.rows);
        self.held_bytes_estimate = 0;
        let mut arrays = Vec::with_capacity(self.columns.len());
        for (column, field) in self.columns.iter_mut().zip(self.target.schema.fields()) {
            arrays.push(column.finish(field.data_type())?);
        }
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        Ok(RecordBatch::try_new_with_options(
            Arc::clone(&self.target.schema),
            arrays,
            &options,
        )?)
    }

    /// Forgets the rows so far.
    pub fn clear(&mut self) {
        self.cut_back(0);
        self.rows = 0;
        self.held_bytes_estimate = 0;
    }

    fn cut_back(&mut self, rows: usize) {
        self.columns
            .iter_mut()
            .for_each(|column| column.truncate(rows));
    }

    fn record(&mut self, origin: &mut Origin<'_>) -> Verdict {
        if self.is_full() {
            return Verdict::Full;
        }
        if origin.record.value.is_none() && self.tombstones == Tombstones::Skip {
            return Verdict::Skipped;
        }
        match self.row(origin) {
            Ok(cost) => {
                self.rows += 1;
                self.account(&origin.record, cost);
                Verdict::Row {
                    ignored: cost.ignored,
                }
            }
            Err(failure) => {
                self.cut_back(self.rows);
                match failure {
                    Failure::Environment(error) => Verdict::Stalled(error),
                    Failure::Grow(fields) => Verdict::Wishes(Arc::new(Schema::new(fields))),
                    Failure::OtherType => Verdict::Skipped,
                    Failure::Fault(fault) if fault.is_full && self.rows > 0 => Verdict::Full,
                    Failure::Fault(fault) => Verdict::Bad(fault),
                }
            }
        }
    }

    /// Appends a row to every column, or leaves columns of uneven length.
    fn row(&mut self, origin: &mut Origin<'_>) -> Result<Cost, Failure> {
        let cost = match origin.record.value {
            Some(value) => self.value(value)?,
            None if self.tombstones == Tombstones::Reject => {
                return Err(
                    Fault::new(Code::Tombstone, "the value is null (tombstones: reject)").into(),
                );
            }
            None => {
                for place in &self.record_columns {
                    self.columns
                        .get_mut(*place)
                        .map_or(Ok(()), Column::push_null)?;
                }
                Cost::default()
            }
        };
        origin.schema_id = cost.schema_id;
        for (place, source) in &self.target.kafka {
            let Some(column) = self.columns.get_mut(*place) else {
                continue;
            };
            let appended = match &mut self.key {
                Some(key) if columns::is_key(*source) => key.append(origin.record.key, column),
                _ => columns::append(*source, origin, column).map_err(Failure::Fault),
            };
            if let Err(failure) = appended {
                let fields = self.target.schema.fields();
                if let Failure::Grow(members) = failure {
                    return Err(Failure::Grow(with_members(fields, *place, members)));
                }
                let field = fields.get(*place);
                return Err(failure.in_field(field.map_or("", |field| field.name())));
            }
        }
        Ok(cost)
    }

    fn value(&mut self, value: &[u8]) -> Result<Cost, Failure> {
        let size = value.len();
        if size as u64 > self.record_bytes_max {
            let message = format!(
                "the value has {size} bytes, more than limits.record_bytes = {}",
                self.record_bytes_max
            );
            return Err(Fault::new(Code::TooLarge, message).into());
        }
        if value.is_empty() && !self.format.takes_empty() {
            return Err(Fault::new(
                Code::EmptyPayload,
                "the value has no byte at all, and is not null",
            )
            .into());
        }
        self.format
            .append(value, &self.target, &mut self.columns, self.rows)
    }

    fn account(&mut self, record: &Record<'_>, cost: Cost) {
        let payload = record.value.map_or(0, <[u8]>::len) + record.key.map_or(0, <[u8]>::len);
        let cells = usize::try_from(cost.cells)
            .unwrap_or(usize::MAX)
            .saturating_add(self.row_cells);
        self.held_bytes_estimate = self
            .held_bytes_estimate
            .saturating_add(payload)
            .saturating_add(cells.saturating_mul(16));
    }

    fn is_full(&mut self) -> bool {
        if self.held_bytes_estimate < BATCH_BYTES_MAX {
            return false;
        }
        let held = self.size_bytes();
        if held >= BATCH_BYTES_MAX {
            return true;
        }
        // Measuring walks over all columns, so that the next one waits until a quarter of the bound may have come.
        self.held_bytes_estimate = held.min(BATCH_BYTES_MAX - BATCH_BYTES_MAX / 4);
        false
    }
}

/// The columns with others in the struct at a place.
fn with_members(fields: &Fields, at: usize, members: Fields) -> Fields {
    let mut all: Vec<Arc<Field>> = fields.iter().cloned().collect();
    if let Some(field) = all.get_mut(at) {
        let grown = field.as_ref().clone();
        *field = Arc::new(grown.with_data_type(DataType::Struct(members)));
    }
    all.into()
}

#[cold]
fn reject(topic_partition: &TopicPartition, offset: i64, fault: &Fault, words: Words) -> Reject {
    Reject {
        topic_partition: topic_partition.clone(),
        offset,
        code: fault.code.word(),
        path: fault.path(words),
        message: fault.message(words).to_owned(),
        schema_id: None,
    }
}
