//! What a run would begin with, looked at without writing anything: the table that it would make or grow, where it would start, and what becomes of some records from
//! there. Joins no group, commits nothing, probes no store.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use arrow::array::RecordBatch;
use arrow::datatypes::{Schema, SchemaRef};
use tokio::runtime::Runtime;

use crate::clock::Clock;
use crate::config::settings::{ErrorMode, OnChange, OnIncompatible};
use crate::config::{Config, settings};
use crate::decode::{self, Decoder, Resolved, Setup};
use crate::delta::{Creation, Support, Table};
use crate::error::Kind;
use crate::model::batch::Reject;
use crate::model::lineage::Claim;
use crate::model::offset::{Span, TopicPartition};
use crate::model::record::Records;
use crate::pipeline::cause::{Cause, Verdict, judge_identity, judge_position};
use crate::pipeline::error::Error;
use crate::pipeline::plan::{Asked, Outside, blocking, check_found, fitting, lay_out};
use crate::pipeline::schemas::{TableSchema, as_in_table};
use crate::source::{Coordinates, Watermarks};
use crate::{delta, writer};

/// How often the columns may grow for the records of one topic partition: once for each schema, and a sample has few.
const GROWTHS_MAX: usize = 64;

/// What a run of one table would begin with.
#[derive(Debug)]
pub struct Preview {
    /// Where the table lies.
    pub location: String,
    /// The version that was looked at; `None`: there is no table yet.
    pub version: Option<u64>,
    /// What the table has.
    pub has: Option<SchemaRef>,
    /// What it would have once records of today's schema are in it.
    pub columns: SchemaRef,
    /// Its table partition columns.
    pub partition_columns: Vec<String>,
    /// What its readers and writers must support.
    pub support: Option<Support>,
    /// Where each topic partition would be read on.
    pub starts: Vec<Begin>,
    /// What stands in the way, and what it asks of a person.
    pub problems: Vec<(Kind, String)>,
    /// What became of some records; `None` where none could be decoded.
    pub sample: Option<Sample>,
}

/// Where a topic partition would be read on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Begin {
    /// Which.
    pub topic_partition: TopicPartition,
    /// The next offset.
    pub offset: i64,
    /// Who says so.
    pub by: BegunBy,
    /// Where its log begins.
    pub low: i64,
    /// Where its log ends, for a reader of committed records.
    pub end: i64,
}

/// What an offset comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BegunBy {
    /// The table has committed it.
    Table,
    /// `start`, for a topic that the table does not know yet.
    Start,
    /// The topic has grown: new topic partitions begin at their start.
    Growth,
}

/// What became of some records.
#[derive(Debug, Default)]
pub struct Sample {
    /// How many were read.
    pub records: u64,
    /// Those that are rows.
    pub rows: u64,
    /// Tombstones that the table skips.
    pub skipped: u64,
    /// Fields without a column that were left out.
    pub ignored_fields: u64,
    /// Those that are rejected.
    pub rejects: Vec<Reject>,
    /// Why some could not be decoded now.
    pub stalled: Option<(Kind, String)>,
    /// The rows of each table partition, by its values.
    pub partitions: BTreeMap<Vec<(String, Option<String>)>, u64>,
    /// The columns that rows were decoded into, with those that only records tell of.
    pub columns: Option<SchemaRef>,
}

/// Looks at each of these tables, with up to so many records of each.
pub fn preview(
    config: &Config,
    tables: &[&settings::Table],
    records_max: usize,
    clock: &Clock,
    timeout: Duration,
) -> Result<Vec<Result<Preview, Error>>, Error> {
    let runtime = Runtime::new()
        .map_err(|error| Error::Bug(format!("the machine gives no event loop: {error}")))?;
    let outside = Outside::of(config, clock, timeout)?;
    let reader = Coordinates::new(&config.kafka, timeout, clock.clone())?;
    let reader = Arc::new(reader);
    let mut previews = Vec::new();
    for table in tables {
        let looking = look(&outside, &reader, table, records_max);
        previews.push(runtime.block_on(Box::pin(looking)));
    }
    Ok(previews)
}

async fn look(
    outside: &Outside,
    reader: &Arc<Coordinates>,
    settings: &settings::Table,
    records_max: usize,
) -> Result<Preview, Error> {
    let of_table = |cause: delta::Error| Error::Table {
        table: settings.name.clone(),
        cause,
    };
    let asked = Asked::ask(outside, settings).await?;
    let creation = lay_out(settings, &asked.resolved).map_err(|cause| Error::Writer {
        table: settings.name.clone(),
        cause,
    })?;
    let store = outside.store.table(&settings.path).map_err(of_table)?;
    let table = Table::load(&store, &outside.clock)
        .await
        .map_err(of_table)?;
    let mut problems = Vec::new();
    if let Some(table) = &table
        && let Err(error) = check_found(settings, table)
    {
        problems.push((error.kind(), error.to_string()));
    }
    let schema = first_schema(
        outside,
        settings,
        &asked.resolved,
        table.as_ref(),
        &creation,
    );
    let schema = match schema {
        Ok(schema) => Some(schema),
        Err(error) => {
            problems.push((error.kind(), error.to_string()));
            None
        }
    };
    let has = table.as_ref().map(Table::schema);
    // Where the columns do not fit, that is a problem of its own.
    let support = match &table {
        Some(table) => Some(
            table
                .support_with(&creation.columns)
                .unwrap_or_else(|_| table.support()),
        ),
        None => Support::of_new(&creation.columns).ok(),
    };
    let starts = starts(outside, settings, &asked, table.as_ref(), &mut problems).await?;
    let sample = match schema {
        Some(schema) if records_max > 0 => {
            let sampling = Sampling {
                settings: lenient(settings),
                outside: outside.clone(),
                resolved: asked.resolved,
                table: has.clone(),
                schema,
            };
            let (reader, starts) = (Arc::clone(reader), starts.clone());
            // Decoders ask the registry, which blocks.
            Some(blocking(move || sampling.take(&reader, &starts, records_max)).await?)
        }
        _ => None,
    };
    Ok(Preview {
        location: store.url().to_string(),
        version: table.as_ref().map(Table::version),
        has,
        columns: creation.columns,
        partition_columns: creation.partition_columns,
        support,
        starts,
        problems,
        sample,
    })
}

fn first_schema(
    outside: &Outside,
    settings: &settings::Table,
    resolved: &Resolved,
    table: Option<&Table>,
    creation: &Creation,
) -> Result<TableSchema, Error> {
    if let Some(table) = table {
        return fitting(outside, settings, resolved, table, creation);
    }
    let columns =
        decode::first_columns(resolved, settings, None).map_err(|cause| Error::Decode {
            table: settings.name.clone(),
            cause,
        })?;
    TableSchema::new(columns, settings, &outside.clock).map_err(|cause| Error::Writer {
        table: settings.name.clone(),
        cause,
    })
}

/// Where every topic partition would be read on, and what a run would stop at.
async fn starts(
    outside: &Outside,
    settings: &settings::Table,
    asked: &Asked,
    table: Option<&Table>,
    problems: &mut Vec<(Kind, String)>,
) -> Result<Vec<Begin>, Error> {
    let mut begun: BTreeMap<TopicPartition, (i64, BegunBy)> = BTreeMap::new();
    for start in asked.starts(outside, settings, table).await? {
        let is_known = table.is_some_and(|it| it.sources().identity(&start.topic).is_some());
        let by = if is_known {
            BegunBy::Growth
        } else {
            BegunBy::Start
        };
        for (number, offset) in start.offsets {
            let topic_partition = TopicPartition::new(Arc::clone(&start.topic), number);
            begun.insert(topic_partition, (offset, by));
        }
    }
    let mut causes = Vec::new();
    if let Some(table) = table {
        for topic in &settings.topics {
            let Some(pinned) = table.sources().identity(topic) else {
                continue;
            };
            match judge_identity(topic, &pinned, asked.identities.get(topic)) {
                Verdict::Same | Verdict::Adopt => {}
                Verdict::Changed(cause) => causes.push(cause),
                Verdict::Untold(sentence) => problems.push((Kind::Unavailable, sentence)),
            }
        }
    }
    let is_changed = |causes: &[Cause], topic: &str| causes.iter().any(|it| is_of(it, topic));
    let claims = asked
        .topic_partitions
        .iter()
        .filter(|it| !is_changed(&causes, &it.topic))
        .filter_map(|it| Some((it.clone(), table?.claim(it)?)))
        .collect();
    let parts_at = diverging(outside, claims).await?;
    let mut starts = Vec::new();
    for (topic_partition, marks) in watermarks(outside, &asked.topic_partitions).await? {
        let (offset, by) = match (begun.get(&topic_partition), table) {
            (Some(begun), _) => *begun,
            (None, Some(table)) => match table.committed(&topic_partition) {
                Ok(offset) => (offset, BegunBy::Table),
                Err(error) => {
                    problems.push((error.kind(), error.to_string()));
                    continue;
                }
            },
            (None, None) => continue,
        };
        if by == BegunBy::Table && !is_changed(&causes, &topic_partition.topic) {
            let parts_at = parts_at.get(&topic_partition).copied();
            causes.extend(judge_position(&topic_partition, offset, marks, parts_at));
        }
        starts.push(Begin {
            topic_partition,
            offset,
            by,
            low: marks.low,
            end: marks.high,
        });
    }
    let suspending = causes
        .iter()
        .filter(|cause| cause.response(settings) == OnChange::Suspend);
    problems.extend(suspending.map(|cause| (Kind::Corrupt, cause.sentence())));
    Ok(starts)
}

/// Where logs part from what the table has read of them.
async fn diverging(
    outside: &Outside,
    read: BTreeMap<TopicPartition, Claim>,
) -> Result<BTreeMap<TopicPartition, i64>, Error> {
    if read.is_empty() {
        return Ok(BTreeMap::new());
    }
    let lookup = Arc::clone(&outside.lookup);
    blocking(move || Ok(lookup.diverging(&read)?)).await
}

fn is_of(cause: &Cause, name: &str) -> bool {
    match cause {
        Cause::Recreated { topic, .. } | Cause::OtherCluster { topic, .. } => topic == name,
        Cause::Expired { .. } | Cause::Truncated { .. } => false,
    }
}

async fn watermarks(
    outside: &Outside,
    all: &[TopicPartition],
) -> Result<BTreeMap<TopicPartition, Watermarks>, Error> {
    let (lookup, asked) = (Arc::clone(&outside.lookup), all.to_vec());
    blocking(move || Ok(lookup.watermarks(&asked)?)).await
}

/// The same table, which no bad record stops: all of a sample is of interest.
fn lenient(settings: &settings::Table) -> settings::Table {
    let mut settings = settings.clone();
    settings.errors.mode = ErrorMode::Skip;
    if settings.evolution.on_incompatible == OnIncompatible::Suspend {
        settings.evolution.on_incompatible = OnIncompatible::Reject;
    }
    settings
}

/// Some records of one table, on their way through its decoder.
struct Sampling {
    settings: settings::Table,
    outside: Outside,
    resolved: Resolved,
    /// What the table has.
    table: Option<SchemaRef>,
    schema: TableSchema,
}

impl Sampling {
    /// Reads and decodes up to so many records, about as many of each topic partition as it has.
    fn take(
        mut self,
        reader: &Coordinates,
        starts: &[Begin],
        records_max: usize,
    ) -> Result<Sample, Error> {
        let mut sample = Sample::default();
        let mut left = records_max;
        let mut waiting: Vec<&Begin> = starts.iter().filter(|it| it.offset < it.end).collect();
        // The shortest first, so that what it lacks is read of the others.
        waiting.sort_by_key(|it| it.end - it.offset.max(it.low));
        for (index, begin) in waiting.iter().enumerate() {
            let share = left.div_ceil(waiting.len() - index);
            let first = begin.offset.max(begin.low).min(begin.end);
            let span = Span::new(first, begin.end).unwrap_or_else(|_| Span::empty_at(first));
            if share == 0 || span.is_empty() {
                continue;
            }
            let records = reader.sample(&begin.topic_partition, span, share)?;
            left -= records.len();
            sample.records += records.len() as u64;
            self.decode(&begin.topic_partition, &records, &mut sample)?;
        }
        sample.columns = Some(Arc::new(self.schema.layout.table_schema()));
        Ok(sample)
    }

    fn decode(
        &mut self,
        topic_partition: &TopicPartition,
        records: &Records,
        sample: &mut Sample,
    ) -> Result<(), Error> {
        let mut decoder = self.decoder()?;
        let (mut from, mut growths) = (0, 0);
        while from < records.len() {
            let appended = decoder.append(topic_partition, records, from);
            let is_stuck = appended.taken == from && decoder.rows() == 0;
            from = appended.taken;
            sample.rows += appended.counts.rows;
            sample.skipped += appended.counts.skipped;
            sample.ignored_fields += appended.ignored_fields;
            sample.rejects.extend(appended.rejects);
            if decoder.rows() > 0 {
                let batch = decoder.take().map_err(|cause| self.failed(cause))?;
                self.place(&batch, sample)?;
            }
            if let Some(error) = appended.stalled {
                sample.stalled = Some((error.kind(), error.to_string()));
                return Ok(());
            }
            match appended.wished {
                Some(wished) if growths < GROWTHS_MAX => {
                    growths += 1;
                    match self.grow(&wished) {
                        Ok(()) => decoder = self.decoder()?,
                        Err(reason) => decoder.deny(&reason),
                    }
                }
                Some(_) => decoder.deny("a sample meets no more schemas than this"),
                None if is_stuck => return Ok(()),
                None => {}
            }
        }
        Ok(())
    }

    /// Counts rows by the table partition that they belong to.
    fn place(&self, batch: &RecordBatch, sample: &mut Sample) -> Result<(), Error> {
        let layout = &self.schema.layout;
        let parts = layout.split(batch).map_err(|cause| Error::Writer {
            table: self.settings.name.clone(),
            cause,
        })?;
        for part in parts {
            let mut values = layout.partition_values(&part.values);
            let place = layout.partition_columns().map(|name| {
                let value = values.remove(name).flatten();
                (name.to_owned(), value)
            });
            let rows = sample.partitions.entry(place.collect()).or_default();
            *rows += part.rows.num_rows() as u64;
        }
        Ok(())
    }

    fn decoder(&self) -> Result<Decoder, Error> {
        Decoder::new(Setup {
            resolved: &self.resolved,
            table: &self.settings,
            record_bytes_max: self.outside.record_bytes_max,
            target: Arc::clone(&self.schema.columns),
            registry: self.outside.registry.clone(),
            clock: self.outside.clock.clone(),
        })
        .map_err(|cause| self.failed(cause))
    }

    fn failed(&self, cause: decode::Error) -> Error {
        Error::Decode {
            table: self.settings.name.clone(),
            cause,
        }
    }

    /// As the lanes of a run would grow.
    fn grow(&mut self, wished: &Schema) -> Result<(), String> {
        let wished = match &self.table {
            Some(table) => as_in_table(wished.fields(), table.fields())?,
            None => wished.fields().clone(),
        };
        let grown = decode::widened(self.schema.columns.fields(), &wished);
        if grown == *self.schema.columns.fields() {
            return Err("the columns did not grow by what was wished for".to_owned());
        }
        self.schema = TableSchema::new(
            Arc::new(Schema::new(grown)),
            &self.settings,
            &self.outside.clock,
        )
        .map_err(|error: writer::Error| error.to_string())?;
        Ok(())
    }
}
