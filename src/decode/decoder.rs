//! One table's records of one lane on their way to a batch: counts every one as a row, a reject or a declared skip (DEC-1), and stops, losing
//! nothing, where the environment fails (ENV-1). Does not seal or write.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{RecordBatch, RecordBatchOptions};
use arrow::datatypes::{Field, SchemaRef};

use super::avro::compile::{Plan, Refused, compile};
use super::columns::{self, Origin};
use super::json::compile::{Object, compile as compile_json};
use super::registry::{Lookup, Registry};
use super::reject::{Code, Fault, Outcome, Shown};
use super::resolve::Source;
use super::types::width;
use super::{Error, Resolved, builder::Column};
use crate::clock::Clock;
use crate::config::settings::{ErrorMode, Table, Tombstones, UnknownFields, Value};
use crate::decode::{avro, json};
use crate::model::batch::Reject;
use crate::model::offset::TopicPartition;
use crate::model::progress::Counts;
use crate::model::record::{Record, Records};

/// How many compiled writer schemas a decoder keeps.
const PLANS_MAX: usize = 256;

/// How many bytes of columns a decoder holds before it asks to be emptied.
const BATCH_BYTES_MAX: usize = 64 << 20;

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
    tombstones: Tombstones,
    errors: ErrorMode,
    record_bytes_max: u64,
    clock: Clock,
    target: SchemaRef,
    /// One for each column of the target.
    columns: Vec<Column>,
    /// The places of the Kafka columns.
    kafka_columns: Vec<(usize, columns::Source)>,
    /// The places of all others.
    record_columns: Vec<usize>,
    rows: usize,
    /// At least the bytes held, unless text grew from escapes; corrected by measuring before it decides.
    held_bytes_estimate: usize,
    row_cells: usize,
}

#[derive(Debug)]
enum Format {
    Framed(Framed),
    Avro(Plan),
    Json(Object, UnknownFields),
}

/// Registry-framed Avro: a compiled plan for each writer schema, whatever the order in which they come.
#[derive(Debug)]
struct Framed {
    registry: Arc<Registry>,
    plans: HashMap<u32, Arc<Result<Plan, Refused>>>,
    /// The plan of the last record, which is mostly the next one's too.
    last: Option<(u32, Arc<Result<Plan, Refused>>)>,
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
}

/// What became of one record.
enum Verdict {
    Row { ignored: u64 },
    Skipped,
    Bad(Box<Fault>),
    Full,
    Stalled(Error),
}

/// Why a value is not decoded.
enum Failure {
    Fault(Box<Fault>),
    Environment(Error),
}

impl From<Box<Fault>> for Failure {
    fn from(fault: Box<Fault>) -> Self {
        Failure::Fault(fault)
    }
}

/// What a decoded value has cost.
#[derive(Debug, Clone, Copy, Default)]
struct Cost {
    ignored: u64,
    cells: u64,
    schema_id: Option<u32>,
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
        let kafka_columns = kafka_columns(table, &target)?;
        let is_kafka = |place: usize| kafka_columns.iter().any(|(kafka, _)| *kafka == place);
        let record_columns = (0..target.fields().len())
            .filter(|place| !is_kafka(*place))
            .collect();
        let format = format(resolved, table, &target, registry)?;
        let new_column = |field: &Arc<Field>| Column::new(field.data_type(), field.is_nullable());
        Ok(Decoder {
            format,
            tombstones: table.tombstones,
            errors: table.errors,
            record_bytes_max,
            clock,
            columns: target.fields().iter().map(new_column).collect(),
            row_cells: target
                .fields()
                .iter()
                .map(|field| width(field.data_type()))
                .sum(),
            target,
            kafka_columns,
            record_columns,
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
                    appended
                        .rejects
                        .push(reject(topic_partition, record.at.offset, &fault));
                    if self.errors == ErrorMode::Suspend {
                        break;
                    }
                    appended.counts.rejects += 1;
                }
                Verdict::Full => break,
                Verdict::Stalled(error) => {
                    appended.stalled = Some(error);
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
        for (column, field) in self.columns.iter_mut().zip(self.target.fields()) {
            arrays.push(column.finish(field.data_type())?);
        }
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        Ok(RecordBatch::try_new_with_options(
            Arc::clone(&self.target),
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
        for (place, source) in &self.kafka_columns {
            if let (Some(column), Some(field)) = (
                self.columns.get_mut(*place),
                self.target.fields().get(*place),
            ) {
                columns::append(*source, origin, column)
                    .map_err(|fault| fault.in_field(field.name()))?;
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
        if value.is_empty() {
            return Err(Fault::new(
                Code::EmptyPayload,
                "the value has no byte at all, and is not null",
            )
            .into());
        }
        match &mut self.format {
            Format::Json(object, unknown_fields) => {
                let done =
                    json::run::run(object, *unknown_fields, value, &mut self.columns, self.rows)?;
                Ok(Cost {
                    ignored: done.ignored,
                    cells: done.cells,
                    schema_id: None,
                })
            }
            Format::Avro(plan) => {
                let cells = avro::run::run(plan, value, &mut self.columns)?;
                Ok(Cost {
                    ignored: 0,
                    cells,
                    schema_id: None,
                })
            }
            Format::Framed(framed) => {
                let (id, body) = frame(value)?;
                let plan = framed.plan(id, &self.target, &self.kafka_columns)?;
                let cells = match plan {
                    Ok(plan) => avro::run::run(plan, body, &mut self.columns)?,
                    Err(refused) => return Err(refusal(refused, id).into()),
                };
                Ok(Cost {
                    ignored: 0,
                    cells,
                    schema_id: Some(id),
                })
            }
        }
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

impl Framed {
    fn plan(
        &mut self,
        id: u32,
        target: &SchemaRef,
        kafka_columns: &[(usize, columns::Source)],
    ) -> Result<&Result<Plan, Refused>, Failure> {
        if self.last.as_ref().is_none_or(|(last, _)| *last != id) {
            let plan = match self.plans.get(&id) {
                Some(plan) => Arc::clone(plan),
                None => self.compile(id, target, kafka_columns)?,
            };
            self.last = Some((id, plan));
        }
        match &self.last {
            Some((_, plan)) => Ok(plan),
            None => Err(Fault::new(
                Code::UnusableSchema,
                "no plan was compiled (a bug of Lakeward)",
            )
            .into()),
        }
    }

    fn compile(
        &mut self,
        id: u32,
        target: &SchemaRef,
        kafka_columns: &[(usize, columns::Source)],
    ) -> Result<Arc<Result<Plan, Refused>>, Failure> {
        let plan = match self.registry.lookup(id).map_err(Failure::Environment)? {
            Lookup::Unknown => {
                let message = format!("the schema registry does not know the schema id {id}");
                return Err(Fault::new(Code::UnknownSchemaId, message).into());
            }
            Lookup::Found(writer) => match writer.usable() {
                Ok(schema) => compile(schema, target.fields(), &is_record(target, kafka_columns)),
                Err(refusal) => Err(Refused {
                    code: Code::UnusableSchema,
                    path: refusal.path,
                    message: refusal.reason,
                }),
            },
        };
        if self.plans.len() >= PLANS_MAX {
            self.plans.clear();
        }
        let plan = Arc::new(plan);
        self.plans.insert(id, Arc::clone(&plan));
        Ok(plan)
    }
}

/// Whether a column of that name is filled by records.
fn is_record(
    target: &SchemaRef,
    kafka_columns: &[(usize, columns::Source)],
) -> impl Fn(&str) -> bool {
    let kafka_names: Vec<String> = kafka_columns
        .iter()
        .filter_map(|(place, _)| Some(target.fields().get(*place)?.name().clone()))
        .collect();
    move |name| !kafka_names.iter().any(|kafka| kafka == name)
}

fn kafka_columns(
    table: &Table,
    target: &SchemaRef,
) -> Result<Vec<(usize, columns::Source)>, Error> {
    let find = |source| {
        let name = columns::name(&table.metadata, source);
        let found = target
            .fields()
            .iter()
            .position(|field| *field.name() == name);
        let place = found.filter(|place| {
            target
                .fields()
                .get(*place)
                .is_some_and(|field| *field.data_type() == columns::data_type(source))
        });
        place
            .map(|place| (place, source))
            .ok_or_else(|| Error::Column {
                table: table.name.clone(),
                column: name,
                reason: format!(
                    "the table needs it as {} (metadata)",
                    columns::data_type(source)
                ),
            })
    };
    columns::sources(&table.metadata).map(find).collect()
}

fn format(
    resolved: &Resolved,
    table: &Table,
    target: &SchemaRef,
    registry: Option<Arc<Registry>>,
) -> Result<Format, Error> {
    let kafka_columns = kafka_columns(table, target)?;
    let is_record = is_record(target, &kafka_columns);
    let column_error = |column: String, reason: String| Error::Column {
        table: table.name.clone(),
        column,
        reason,
    };
    match &resolved.source {
        Source::Framed => {
            let registry = registry.ok_or_else(|| Error::NoRegistry {
                table: table.name.clone(),
            })?;
            Ok(Format::Framed(Framed {
                registry,
                plans: HashMap::new(),
                last: None,
            }))
        }
        Source::Avro(schema) => {
            let plan = compile(schema, target.fields(), &is_record);
            plan.map(Format::Avro)
                .map_err(|refused| column_error(refused.path, refused.message))
        }
        Source::Json(members) => {
            let object = compile_json(members, target.fields(), &is_record);
            let object = object.map_err(|refusal| column_error(refusal.path, refusal.reason))?;
            let unknown_fields = match &table.value {
                Value::Json { unknown_fields, .. } => *unknown_fields,
                Value::AvroConfluent { .. } | Value::AvroFile { .. } => UnknownFields::Reject,
            };
            Ok(Format::Json(object, unknown_fields))
        }
    }
}

/// Splits the registry's frame: a zero byte, the schema id, the value.
fn frame(value: &[u8]) -> Outcome<(u32, &[u8])> {
    match value {
        [0, a, b, c, d, body @ ..] => Ok((u32::from_be_bytes([*a, *b, *c, *d]), body)),
        [0, ..] => Err(Fault::new(
            Code::Truncated,
            "the value ends inside of the frame of five bytes",
        )),
        _ => Err(Fault::new(
            Code::BadMagic,
            format!(
                "the value begins with {}, not with the magic byte 0 of a registry frame",
                Shown(value)
            ),
        )),
    }
}

#[cold]
fn refusal(refused: &Refused, id: u32) -> Box<Fault> {
    let fault = Fault::new(refused.code, format!("schema id {id}: {}", refused.message));
    if refused.path.is_empty() {
        fault
    } else {
        fault.in_field(&refused.path)
    }
}

#[cold]
fn reject(topic_partition: &TopicPartition, offset: i64, fault: &Fault) -> Reject {
    Reject {
        topic_partition: topic_partition.clone(),
        offset,
        code: fault.code.word(),
        path: fault.path(),
        message: fault.message.clone(),
    }
}
