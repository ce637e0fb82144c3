//! Replay: rejected records decoded again, under today's config and schemas, into their table (DLQ-1). One main commit holds the rows, their coordinates and what is left
//! of the files they were read from; the files are taken out by the publishing that follows, whoever does it. So a replay may die anywhere and be run again. Owns that order;
//! touches no offset and asks Kafka nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use arrow::datatypes::Schema;
use futures::TryStreamExt as _;
use object_store::path::Path;
use parquet::arrow::ParquetRecordBatchStreamBuilder;
use tokio::runtime::Runtime;

use crate::clock::Clock;
use crate::config::settings::{ErrorMode, Tombstones};
use crate::config::{Config, settings};
use crate::decode::{Decoder, RejectedRow, RejectedRows, rejected_rows};
use crate::delta::{self, Extent, FileList, LiveFile, ObjectReader, Publisher, Table, TableStore};
use crate::model::commit::{CommitOutcome, Outbox, Replaced, Replay, StagedFile};
use crate::model::offset::{Span, TopicPartition};
use crate::model::record::Records;
use crate::pipeline::error::Error;
use crate::pipeline::plan::{Dlq, Outside, Plan};
use crate::pipeline::schemas::{Schemas, TableSchema};
use crate::writer::{self, Encoder};

/// Rows of rejected records in memory at once.
const BATCH_ROWS: usize = 4096;
/// Rejected records after which a commit is made.
const COMMIT_RECORDS: u64 = 100_000;
/// How often a commit that lost its race against another replay is begun anew.
const TRIES_MAX: u32 = 5;
/// Uploads side by side.
const PARALLEL_UPLOADS: usize = 4;

/// What a replay came to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Replayed {
    /// Rejected records that were looked at.
    pub records: u64,
    /// Those that are rows now.
    pub rows: u64,
    /// Those that still cannot be decoded.
    pub rejects: u64,
    /// Those whose bytes were not kept.
    pub without_bytes: u64,
    /// Tombstones that the table skips.
    pub skipped: u64,
    /// Commits of the main table.
    pub commits: u64,
}

/// One table's replay.
struct Replaying<'a> {
    /// Decoders ask the registry, which blocks: only requests to the store are driven by it.
    runtime: Arc<Runtime>,
    plan: Plan,
    schemas: Schemas,
    dlq: Arc<Dlq>,
    main: Table,
    publisher: Publisher,
    clock: Clock,
    app_name: String,
    /// Files that were looked at.
    seen: BTreeSet<String>,
    done: Replayed,
    /// Told how many records were looked at.
    progress: &'a mut dyn FnMut(u64),
}

/// What one round of files became.
struct Round {
    decoder: Decoder,
    schema: Arc<TableSchema>,
    /// The last one is for the columns of `schema`, others for those before they grew.
    rows: Vec<Encoder>,
    left: RejectedRows,
    left_files: Encoder,
    coordinates: BTreeMap<TopicPartition, BTreeSet<i64>>,
    counts: Replayed,
}

impl<'a> Replaying<'a> {
    /// Opens a table; `None` when there is none.
    async fn open(
        runtime: &Arc<Runtime>,
        outside: &Outside,
        settings: &settings::Table,
        app_name: &str,
        progress: &'a mut dyn FnMut(u64),
    ) -> Result<Option<Self>, Error> {
        // Whatever a bad record does today, here it stays where it is.
        let mut settings = settings.clone();
        settings.errors.mode = ErrorMode::Dlq;
        let failed = |cause| Error::Table {
            table: settings.name.clone(),
            cause,
        };
        let store = outside.store.table(&settings.path).map_err(failed)?;
        let Some(main) = Table::load(&store, &outside.clock).await.map_err(failed)? else {
            return Ok(None);
        };
        let (plan, schemas) = Plan::for_replay(outside, &settings, &main).await?;
        let Some(dlq) = plan.dlq.clone() else {
            return Ok(None);
        };
        let publisher = Publisher::new(&outside.clock);
        Ok(Some(Replaying {
            runtime: Arc::clone(runtime),
            plan,
            schemas,
            dlq,
            main,
            publisher,
            clock: outside.clock.clone(),
            app_name: app_name.to_owned(),
            seen: BTreeSet::new(),
            done: Replayed::default(),
            progress,
        }))
    }

    /// Replays every file that there is now.
    fn run(mut self) -> Result<Replayed, Error> {
        let runtime = Arc::clone(&self.runtime);
        let mut tries = 0;
        loop {
            let (files, follows) = runtime.block_on(self.begin())?;
            if files.is_empty() {
                return Ok(self.done);
            }
            let round = self.decode(&files)?;
            let (counts, replay) = runtime.block_on(self.stage(round, files, follows))?;
            let Some(replay) = replay else {
                self.count(counts, 0);
                continue;
            };
            let commit = Box::pin(self.main.replay(&replay, &self.app_name));
            match runtime.block_on(commit) {
                CommitOutcome::Committed(_) => {
                    tries = 0;
                    let left = replay.outbox.files.into_iter();
                    self.seen.extend(left.map(|file| file.path));
                    self.count(counts, 1);
                    runtime.block_on(self.publish())?;
                }
                CommitOutcome::Superseded(_) if tries < TRIES_MAX => {
                    tries += 1;
                    for file in &replay.replaced {
                        self.seen.remove(&file.key);
                    }
                }
                CommitOutcome::Superseded(reason)
                | CommitOutcome::Conflict(reason)
                | CommitOutcome::Unknown(reason) => {
                    return Err(Error::Unsettled {
                        table: self.plan.settings.name.clone(),
                        reason,
                    });
                }
            }
        }
    }

    /// The files of the next round, and which replay the main table has seen last.
    async fn begin(&mut self) -> Result<(Vec<(String, LiveFile)>, Option<i64>), Error> {
        let refreshed = Box::pin(self.main.refresh()).await;
        refreshed.map_err(|error| self.failed(error))?;
        self.schemas.follow(self.main.schema());
        // What an earlier replay named is taken out first, or it would be read again.
        self.publish().await?;
        let follows = self.main.last_replay();
        Ok((self.next_files().await?, follows))
    }

    fn count(&mut self, counts: Replayed, commits: u64) {
        self.done.records += counts.records;
        self.done.rows += counts.rows;
        self.done.rejects += counts.rejects;
        self.done.without_bytes += counts.without_bytes;
        self.done.skipped += counts.skipped;
        self.done.commits += commits;
        (self.progress)(self.done.records);
    }

    async fn publish(&mut self) -> Result<(), Error> {
        let published = Box::pin(self.publisher.publish(&self.main)).await;
        published.map(drop).map_err(|error| self.failed(error))
    }

    fn failed(&self, cause: delta::Error) -> Error {
        Error::Table {
            table: self.plan.settings.name.clone(),
            cause,
        }
    }

    /// Files that were not looked at yet, as many as one commit takes.
    async fn next_files(&mut self) -> Result<Vec<(String, LiveFile)>, Error> {
        let opened = Table::load(&self.dlq.store, &self.clock).await;
        let Some(table) = opened.map_err(|error| self.failed(error))? else {
            return Ok(Vec::new());
        };
        let extent = Extent {
            through: Some(table.version()),
            ..Extent::default()
        };
        let list = FileList::load(&self.dlq.store, extent).await;
        let list = list.map_err(|error| self.failed(error))?;
        let mut files: Vec<(String, LiveFile)> = list
            .files()
            .filter(|(key, file)| !self.seen.contains(*key) && !file.has_deletion_vector)
            .map(|(key, file)| (key.to_owned(), file.clone()))
            .collect();
        files.sort_by(|one, other| {
            (one.1.modified_ms, &one.0).cmp(&(other.1.modified_ms, &other.0))
        });
        let mut records = 0;
        let mut chosen = Vec::new();
        for (key, file) in files {
            if records >= COMMIT_RECORDS {
                break;
            }
            records += file.rows.unwrap_or(0);
            self.seen.insert(key.clone());
            chosen.push((key, file));
        }
        Ok(chosen)
    }

    fn decode(&mut self, files: &[(String, LiveFile)]) -> Result<Round, Error> {
        let runtime = Arc::clone(&self.runtime);
        let table = &self.plan.settings.name;
        let schema = self.schemas.now();
        let decoder = self
            .plan
            .decoder(&schema, &self.clock)
            .map_err(|cause| Error::Decode {
                table: table.clone(),
                cause,
            })?;
        let mut round = Round {
            decoder,
            rows: vec![Encoder::new(Arc::clone(&schema.layout))],
            schema,
            left: RejectedRows::new(Some(u64::MAX)),
            left_files: Encoder::new(Arc::clone(&self.dlq.layout)),
            coordinates: BTreeMap::new(),
            counts: Replayed::default(),
        };
        for (key, file) in files {
            let damaged = |reason: String| Error::Rejected {
                table: table.clone(),
                file: format!("{}/{key}", self.dlq.folder),
                reason,
            };
            let path = Path::parse(key).map_err(|error| damaged(error.to_string()))?;
            let reader = ObjectReader::new(self.dlq.store.objects(), path, file.size_bytes);
            let builder = runtime.block_on(ParquetRecordBatchStreamBuilder::new(reader));
            let mut batches = builder
                .map_err(|error| damaged(error.to_string()))?
                .with_batch_size(BATCH_ROWS)
                .build()
                .map_err(|error| damaged(error.to_string()))?;
            loop {
                let batch = runtime.block_on(batches.try_next());
                let Some(batch) = batch.map_err(|error| damaged(error.to_string()))? else {
                    break;
                };
                let rows = rejected_rows(&batch).map_err(damaged)?;
                round.take(rows, (&self.plan, &self.schemas), &self.clock)?;
            }
            (self.progress)(self.done.records + round.counts.records);
        }
        round.cut(&self.plan)?;
        Ok(round)
    }

    /// Puts a round's files into the store; nothing to commit where no record became a row.
    async fn stage(
        &self,
        mut round: Round,
        files: Vec<(String, LiveFile)>,
        follows: Option<i64>,
    ) -> Result<(Replayed, Option<Replay>), Error> {
        if round.counts.rows == 0 {
            return Ok((round.counts, None));
        }
        let failed = |cause| Error::Writer {
            table: self.plan.settings.name.clone(),
            cause,
        };
        round.cut_left(&self.plan, 0)?;
        let rows = self
            .upload(round.rows, &self.plan.store)
            .await
            .map_err(failed)?;
        let left = self
            .upload(vec![round.left_files], &self.dlq.store)
            .await
            .map_err(failed)?;
        let replaced = files.into_iter().map(|(key, file)| Replaced {
            path_in_log: file.path_in_log,
            key,
            partition_values: BTreeMap::new(),
            size_bytes: file.size_bytes,
            rows: file.rows.unwrap_or(0),
        });
        let coordinates = round.coordinates.into_iter();
        let replay = Replay {
            files: rows,
            columns: self.schemas.to_add(&round.schema),
            outbox: Outbox {
                table: self.dlq.folder.clone(),
                files: left,
            },
            replaced: replaced.collect(),
            coordinates: coordinates
                .map(|(it, offsets)| (it, spans(&offsets)))
                .collect(),
            follows,
        };
        Ok((round.counts, Some(replay)))
    }

    async fn upload(
        &self,
        encoders: Vec<Encoder>,
        store: &TableStore,
    ) -> Result<Vec<StagedFile>, writer::Error> {
        let url = store.url();
        let root = (url.scheme() == "file")
            .then(|| url.to_file_path().ok())
            .flatten();
        let mut files = Vec::new();
        for encoder in encoders {
            files.extend(encoder.finish()?);
        }
        writer::upload(
            &store.objects(),
            root.as_deref(),
            files,
            &self.clock,
            PARALLEL_UPLOADS,
        )
        .await
    }
}

impl Round {
    /// Decodes rejected records; what is no row now stays a rejected record.
    fn take(
        &mut self,
        rows: Vec<RejectedRow>,
        (plan, schemas): (&Plan, &Schemas),
        clock: &Clock,
    ) -> Result<(), Error> {
        let mut by_place: BTreeMap<TopicPartition, Vec<RejectedRow>> = BTreeMap::new();
        for row in rows {
            self.counts.records += 1;
            let is_ours = plan
                .settings
                .topics
                .iter()
                .any(|it| **it == *row.topic_partition.topic);
            let is_skipped = row.is_whole()
                && row.value.is_none()
                && plan.settings.tombstones == Tombstones::Skip;
            if !row.is_whole() {
                self.counts.without_bytes += 1;
            } else if is_skipped {
                self.counts.skipped += 1;
            } else if is_ours {
                by_place
                    .entry(row.topic_partition.clone())
                    .or_default()
                    .push(row);
                continue;
            } else {
                self.counts.rejects += 1;
            }
            self.leave(&row, plan)?;
        }
        for (topic_partition, mut rows) in by_place {
            rows.sort_by_key(|row| row.offset);
            self.decode(&topic_partition, &rows, (plan, schemas), clock)?;
        }
        Ok(())
    }

    fn decode(
        &mut self,
        topic_partition: &TopicPartition,
        rows: &[RejectedRow],
        (plan, schemas): (&Plan, &Schemas),
        clock: &Clock,
    ) -> Result<(), Error> {
        let table = &plan.settings.name;
        let mut records = Records::default();
        rows.iter().for_each(|row| row.push_to(&mut records));
        let mut bad = BTreeMap::new();
        let mut from = 0;
        while from < records.len() {
            let appended = self.decoder.append(topic_partition, &records, from);
            if let Some(cause) = appended.stalled {
                return Err(Error::Decode {
                    table: table.clone(),
                    cause,
                });
            }
            let is_growing = appended.wished.is_some();
            if appended.taken == from && self.decoder.rows() == 0 && !is_growing {
                return Err(Error::Bug(format!(
                    "the decoder does not get past {topic_partition} at record {from} of a replay"
                )));
            }
            bad.extend(
                appended
                    .rejects
                    .into_iter()
                    .map(|reject| (reject.offset, reject)),
            );
            if appended.taken < records.len() {
                self.cut(plan)?;
            }
            if let Some(wished) = appended.wished {
                self.grow(&wished, (plan, schemas), clock)?;
            }
            from = appended.taken;
        }
        for row in rows {
            match bad.get(&row.offset) {
                None => {
                    self.counts.rows += 1;
                    let offsets = self.coordinates.entry(topic_partition.clone()).or_default();
                    offsets.insert(row.offset);
                }
                Some(reject) => {
                    self.counts.rejects += 1;
                    let today = RejectedRow {
                        code: reject.code.to_owned(),
                        path: reject.path.clone(),
                        message: reject.message.clone(),
                        failed_at_ms: Some(clock.wall_ms()),
                        ..row.clone()
                    };
                    self.leave(&today, plan)?;
                }
            }
        }
        Ok(())
    }

    /// Goes on with the columns that the next record needs, or without them.
    fn grow(
        &mut self,
        wished: &Schema,
        (plan, schemas): (&Plan, &Schemas),
        clock: &Clock,
    ) -> Result<(), Error> {
        match schemas.grow(wished) {
            Ok(grown) if grown.columns != self.schema.columns => {
                let decoder = plan.decoder(&grown, clock);
                self.decoder = decoder.map_err(|cause| Error::Decode {
                    table: plan.settings.name.clone(),
                    cause,
                })?;
                self.rows.push(Encoder::new(Arc::clone(&grown.layout)));
                self.schema = grown;
            }
            Ok(_) => self
                .decoder
                .deny("the columns did not grow by what was wished for"),
            Err(reason) => self.decoder.deny(&reason),
        }
        Ok(())
    }

    fn leave(&mut self, row: &RejectedRow, plan: &Plan) -> Result<(), Error> {
        self.left.push_row(row);
        self.cut_left(plan, 8 << 20)
    }

    /// Hands decoded rows to their file.
    fn cut(&mut self, plan: &Plan) -> Result<(), Error> {
        if self.decoder.rows() == 0 {
            return Ok(());
        }
        let batch = self.decoder.take().map_err(|cause| Error::Decode {
            table: plan.settings.name.clone(),
            cause,
        })?;
        let written = match self.rows.last_mut() {
            Some(rows) => rows.write(&batch),
            None => Err(writer::Error::Failed),
        };
        written.map_err(|cause| Error::Writer {
            table: plan.settings.name.clone(),
            cause,
        })
    }

    /// Hands what is left to its file, from so many bytes on.
    fn cut_left(&mut self, plan: &Plan, bytes_min: usize) -> Result<(), Error> {
        if self.left.rows() == 0 || self.left.size_bytes() < bytes_min {
            return Ok(());
        }
        let batch = self.left.take().map_err(|cause| Error::Decode {
            table: plan.settings.name.clone(),
            cause,
        })?;
        self.left_files
            .write(&batch)
            .map_err(|cause| Error::Writer {
                table: plan.settings.name.clone(),
                cause,
            })
    }
}

/// Offsets as spans without holes.
fn spans(offsets: &BTreeSet<i64>) -> Vec<Span> {
    let mut ranges: Vec<(i64, i64)> = Vec::new();
    for offset in offsets {
        match ranges.last_mut() {
            Some((_, end)) if *end == *offset => *end += 1,
            Some(_) | None => ranges.push((*offset, offset + 1)),
        }
    }
    let spans = ranges.into_iter();
    spans
        .filter_map(|(start, end)| Span::new(start, end).ok())
        .collect()
}

/// Decodes a table's rejected records again; `None` when the table does not exist. `progress` hears how many were looked at.
pub fn replay(
    config: &Config,
    settings: &settings::Table,
    (clock, timeout): (&Clock, Duration),
    progress: &mut dyn FnMut(u64),
) -> Result<Option<Replayed>, Error> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Error::Bug(format!("no runtime for a replay: {error}")))?;
    let (runtime, outside) = (Arc::new(runtime), Outside::of(config, clock, timeout)?);
    let opened = Replaying::open(&runtime, &outside, settings, &config.name, progress);
    match runtime.block_on(Box::pin(opened))? {
        Some(replaying) => replaying.run().map(Some),
        None => Ok(None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offsets_become_spans_without_holes() {
        let spans = spans(&BTreeSet::from([1, 2, 3, 7, 9, 10]));
        let pairs: Vec<_> = spans
            .iter()
            .map(|span| (span.start(), span.end()))
            .collect();
        assert_eq!(pairs, [(1, 4), (7, 8), (9, 11)]);
    }
}
