//! Merges the files of a group into one, row group by row group, and commits that in their place. Owns the run of a plan: rows conserved (COMP-1), a group whose files
//! are gone dropped for the next plan (COMP-2), a file that cannot be read left alone and named. Decides nothing about what to merge.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use arrow::datatypes::{Schema, SchemaRef};
use futures::{StreamExt as _, TryStreamExt as _};

use crate::clock::Clock;
use crate::delta::{Doubts, Extent, FileList, LiveFile, Table, TableStore};
use crate::error::Kind;
use crate::maintenance::error::Error;
use crate::maintenance::input::{Input, Place, Source};
use crate::maintenance::joined::Joined;
use crate::maintenance::memory::Memory;
use crate::maintenance::pace::Pace;
use crate::maintenance::plan::{self, Candidate, Group, Plan, Policy};
use crate::model::commit::{CommitOutcome, Replaced, Rewrite, StagedFile};
use crate::trial::{self, Bug};
use crate::writer::{RewriteLayout, Rewriter};

/// Files that are opened ahead of the one that is read.
const OPEN_AHEAD: usize = 4;
const OPEN_PAUSE: Duration = Duration::from_millis(100);
/// `delta.dataSkippingNumIndexedCols` when a table does not say.
const INDEXED_LEAVES: i64 = crate::writer::stats::INDEXED_LEAVES_DEFAULT;

/// What compaction of one table works with.
#[derive(Debug, Clone)]
pub struct Compaction {
    /// The table.
    pub store: TableStore,
    /// Time and ids.
    pub clock: Clock,
    /// What is worth merging.
    pub policy: Policy,
    /// The order of rows in merged files.
    pub sort_by: Vec<String>,
    /// Columns that always have statistics.
    pub always_indexed: BTreeSet<String>,
    /// Its share of memory.
    pub memory: Memory,
}

/// What one run of a plan did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Compacted {
    /// Commits.
    pub commits: u64,
    /// Files taken out.
    pub files_removed: u64,
    /// Files put in.
    pub files_added: u64,
    /// Bytes read.
    pub bytes_removed: u64,
    /// Bytes written.
    pub bytes_added: u64,
    /// Rows moved.
    pub rows: u64,
    /// Groups dropped because somebody else was faster.
    pub dropped: u64,
}

/// A table and its files at the same version.
#[derive(Debug)]
pub struct Opened {
    table: Table,
    files: FileList,
}

impl Opened {
    /// The version of both.
    pub fn version(&self) -> u64 {
        self.files.version()
    }
}

impl Compaction {
    /// Reads the table and its file list at one version.
    pub async fn open(&self) -> Result<Opened, Error> {
        let mut doubts = Doubts::default();
        loop {
            match self.open_once().await {
                // A clean-up can pass the version that the table was read at before its files are (H20).
                Err(error) if error.kind() == Kind::Corrupt && doubts.remain(&self.store).await => {
                    self.clock.sleep(OPEN_PAUSE).await;
                }
                result => return result,
            }
        }
    }

    async fn open_once(&self) -> Result<Opened, Error> {
        let table = Table::load(&self.store, &self.clock).await?;
        let table = table.ok_or_else(|| Error::NoTable {
            location: self.store.url().to_string(),
        })?;
        let extent = Extent {
            through: Some(table.version()),
            ..Extent::default()
        };
        let files = FileList::load(&self.store, extent).await?;
        Ok(Opened { table, files })
    }

    /// What is worth merging now. `left_alone` are keys that failed before.
    pub fn plan(&self, opened: &Opened, left_alone: &BTreeSet<String>) -> Plan {
        let candidates: Vec<Candidate> = opened
            .files
            .files()
            .map(|(key, file)| Candidate {
                key: key.to_owned(),
                partition_values: Arc::clone(&file.partition_values),
                size_bytes: file.size_bytes,
                modified_ms: file.modified_ms,
                is_left_alone: file.has_deletion_vector
                    || left_alone.contains(key)
                    || !is_ours_to_read(file),
            })
            .collect();
        plan::plan(&candidates, &self.policy, self.clock.wall_ms())
    }

    /// Merges group after group, each its own commit. A group that lost a race ends the run: the rest is planned anew on what the table is now (COMP-2).
    pub async fn run(
        &self,
        opened: Opened,
        plan: &Plan,
        pace: &Pace,
        left_alone: &mut BTreeSet<String>,
    ) -> Result<Compacted, Error> {
        let Opened {
            mut table,
            mut files,
        } = opened;
        let mut done = Compacted::default();
        if plan.groups.is_empty() {
            return Ok(done);
        }
        let layout = Arc::new(self.layout(&table, &files)?);
        for group in &plan.groups {
            if pace.is_stopped() {
                break;
            }
            // The commit's own check begins at its base: up to there, the file list must still hold the group (COMP-2).
            match files.follow_to(&self.store, table.version()).await {
                Ok(()) => {}
                // A clean-up went past the base: whether the group is still there is for the next plan to see, and whether the log is whole.
                Err(error) if error.kind() == Kind::Corrupt => {
                    done.dropped += 1;
                    break;
                }
                Err(error) => return Err(error.into()),
            }
            let Some(inputs) = live(&files, group) else {
                done.dropped += 1;
                continue;
            };
            let rewrite = match self.merge(group, &inputs, &layout, pace).await {
                Ok(Some(rewrite)) => rewrite,
                Ok(None) => break,
                Err(error @ Error::File { .. }) => {
                    if let Error::File { key, .. } = &error {
                        left_alone.insert(key.clone());
                    }
                    tracing::error!(%error, "a data file cannot be compacted");
                    continue;
                }
                Err(error) => return Err(error),
            };
            match table.rewrite(&rewrite).await {
                CommitOutcome::Committed(version) => {
                    done.count(&rewrite);
                    tracing::info!(
                        table = %self.store.url(),
                        version,
                        files = rewrite.removed().len(),
                        bytes = group.size_bytes,
                        rows = rewrite.rows(),
                        reason = group.reason.name(),
                        "files merged"
                    );
                }
                CommitOutcome::Conflict(reason)
                | CommitOutcome::Superseded(reason)
                | CommitOutcome::Unknown(reason) => {
                    tracing::info!(table = %self.store.url(), reason, "a merge was dropped; it is planned anew");
                    done.dropped += 1;
                    break;
                }
            }
        }
        Ok(done)
    }

    fn layout(&self, table: &Table, files: &FileList) -> Result<RewriteLayout, Error> {
        let schema = table.schema();
        let partitions = table.partition_columns();
        let fields: Vec<_> = schema
            .fields()
            .iter()
            .filter(|field| !partitions.contains(field.name()))
            .cloned()
            .collect();
        let file_schema: SchemaRef = Arc::new(Schema::new(fields));
        for column in &self.sort_by {
            let is_ordered = file_schema
                .field_with_name(column)
                .is_ok_and(|field| !field.data_type().is_nested());
            if !is_ordered && !partitions.contains(column) {
                return Err(Error::SortBy {
                    location: self.store.url().to_string(),
                    column: column.clone(),
                });
            }
        }
        let leaves_max = files
            .property("delta.dataSkippingNumIndexedCols")
            .and_then(|text| text.trim().parse().ok())
            .unwrap_or(INDEXED_LEAVES);
        Ok(RewriteLayout::new(
            file_schema,
            leaves_max,
            &self.always_indexed,
            self.memory.row_group_bytes(),
            self.clock.clone(),
        ))
    }

    /// Writes the group's rows into one file; `None` when stopped on the way.
    async fn merge(
        &self,
        group: &Group,
        inputs: &[(String, LiveFile)],
        layout: &Arc<RewriteLayout>,
        pace: &Pace,
    ) -> Result<Option<Rewrite>, Error> {
        let objects = self.store.objects();
        let first = inputs.first().map_or("", |(key, _)| key.as_str());
        let directory = first
            .rfind('/')
            .and_then(|slash| first.get(..=slash))
            .unwrap_or("");
        let values = BTreeMap::clone(&group.partition_values);
        let mut output = Rewriter::begin(layout, &objects, directory, values);
        let merged = self.copy(inputs, layout, &mut output, pace).await;
        match merged {
            Ok(Some(rows)) => {
                let staged = output.finish().await?;
                Ok(Some(conserved(inputs, &rows, staged)?))
            }
            Ok(None) => {
                output.abandon().await;
                Ok(None)
            }
            Err(error) => {
                output.abandon().await;
                Err(error)
            }
        }
    }

    /// Copies the rows of all inputs in order; answers how many each had, `None` when stopped.
    async fn copy(
        &self,
        inputs: &[(String, LiveFile)],
        layout: &Arc<RewriteLayout>,
        output: &mut Rewriter,
        pace: &Pace,
    ) -> Result<Option<Vec<u64>>, Error> {
        let place = Place {
            store: self.store.objects(),
            location: self.store.url().to_string(),
            schema: Arc::clone(layout.file_schema()),
            memory: self.memory,
        };
        let sources = inputs.iter().map(|(key, file)| Source {
            key: key.clone(),
            size_bytes: file.size_bytes,
            rows: file.rows,
        });
        let mut opened = futures::stream::iter(sources)
            .map(|source| Input::open(place.clone(), source))
            .buffered(OPEN_AHEAD);
        let mut rows = Vec::with_capacity(inputs.len());
        let mut joined = Joined::new(layout.file_schema(), &self.sort_by, &self.memory);
        while let Some(mut input) = opened.try_next().await? {
            let is_lost = trial::has(Bug::LossyRewrite) && !rows.is_empty();
            while let Some(batch) = input.next().await? {
                joined.push(if is_lost { batch.slice(0, 0) } else { batch });
                if joined.is_full() {
                    joined.drain_into(output).await?;
                    pace.advance(&self.clock).await;
                }
                if pace.is_stopped() {
                    return Ok(None);
                }
            }
            pace.progress(input.source.size_bytes);
            rows.push(if is_lost { 0 } else { input.rows });
        }
        joined.drain_into(output).await?;
        Ok(Some(rows))
    }
}

impl Compacted {
    fn count(&mut self, rewrite: &Rewrite) {
        let to_u64 = |count: usize| u64::try_from(count).unwrap_or(u64::MAX);
        self.commits += 1;
        self.files_removed += to_u64(rewrite.removed().len());
        self.files_added += to_u64(rewrite.added().len());
        self.bytes_removed += rewrite
            .removed()
            .iter()
            .map(|file| file.size_bytes)
            .sum::<u64>();
        self.bytes_added += rewrite
            .added()
            .iter()
            .map(|file| file.size_bytes)
            .sum::<u64>();
        self.rows += rewrite.rows();
    }

    /// Adds another run's.
    pub fn add(&mut self, other: &Compacted) {
        self.commits += other.commits;
        self.files_removed += other.files_removed;
        self.files_added += other.files_added;
        self.bytes_removed += other.bytes_removed;
        self.bytes_added += other.bytes_added;
        self.rows += other.rows;
        self.dropped += other.dropped;
    }
}

/// The group's files, if all are live and as they were planned.
fn live(files: &FileList, group: &Group) -> Option<Vec<(String, LiveFile)>> {
    group
        .keys
        .iter()
        .map(|key| {
            let file = files.get(key)?;
            let fits = !file.has_deletion_vector && file.partition_values == group.partition_values;
            fits.then(|| (key.clone(), file.clone()))
        })
        .collect()
}

/// A path that leads out of the table (a shallow clone's) is somebody else's file.
fn is_ours_to_read(file: &LiveFile) -> bool {
    let path = &file.path_in_log;
    !path.starts_with('/') && !path.contains("://") && !path.starts_with("file:")
}

fn conserved(
    inputs: &[(String, LiveFile)],
    rows: &[u64],
    staged: StagedFile,
) -> Result<Rewrite, Error> {
    let removed = inputs
        .iter()
        .zip(rows)
        .map(|((key, file), rows)| Replaced {
            path_in_log: file.path_in_log.clone(),
            key: key.clone(),
            partition_values: BTreeMap::clone(&file.partition_values),
            size_bytes: file.size_bytes,
            rows: *rows,
        })
        .collect();
    // A group without a row needs no file.
    let added = if staged.rows == 0 {
        Vec::new()
    } else {
        vec![staged]
    };
    Ok(Rewrite::new(removed, added)?)
}
