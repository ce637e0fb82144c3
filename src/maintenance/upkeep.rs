//! All that one table is owed: its tasks, when each is due, and what is said of them. Owns the schedule of one table; who maintains it and on which thread is for others
//! to say. A task that fails is counted and said, and tried again.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::clock::{Clock, Instant};
use crate::config::settings;
use crate::delta::{Extent, FileList, TableStore};
use crate::maintenance::checkpoint::Checkpoints;
use crate::maintenance::clean_log::{Cleaned, clean_log};
use crate::maintenance::compact::{Compacted, Compaction};
use crate::maintenance::error::Error;
use crate::maintenance::memory::Memory;
use crate::maintenance::pace::Pace;
use crate::maintenance::plan::{Plan, Policy};
use crate::maintenance::vacuum::{Feeding, Sweep, Vacuumed, interval};
use crate::metrics::UpkeepMetrics;

/// Runs of the plan in a row, while merges are dropped because others are faster.
const REPLANS_MAX: u32 = 3;
/// Nothing but checkpoints and merges happens so early in the life of a process.
const SETTLED_AFTER: Duration = Duration::from_secs(600);
const CLEAN_LOG_EVERY: Duration = Duration::from_secs(3600);
const LOOK_MIN: Duration = Duration::from_secs(1);
const LOOK_MAX: Duration = Duration::from_secs(60);

/// One thing to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Task {
    /// Merge small files.
    Compact,
    /// Write a checkpoint.
    Checkpoint,
    /// Remove old entries of the log.
    CleanLog,
    /// Remove files that no version needs.
    Vacuum,
}

impl Task {
    /// In the order in which they help each other.
    pub const ALL: [Task; 4] = [
        Task::Compact,
        Task::Checkpoint,
        Task::CleanLog,
        Task::Vacuum,
    ];

    /// Its name on the command line and in metrics.
    pub fn name(self) -> &'static str {
        match self {
            Task::Compact => "compact",
            Task::Checkpoint => "checkpoint",
            Task::CleanLog => "clean-log",
            Task::Vacuum => "vacuum",
        }
    }
}

/// What a task did.
#[derive(Debug, Clone)]
pub enum Done {
    /// Files merged.
    Compacted(Compacted),
    /// A checkpoint of that version, if one was due.
    Checkpointed(Option<u64>),
    /// Log cleaned.
    Cleaned(Cleaned),
    /// Files removed.
    Vacuumed(Vacuumed),
}

/// One table under maintenance.
#[derive(Debug)]
pub struct Upkeep {
    name: String,
    settings: settings::Maintenance,
    checkpoint_every: Option<u64>,
    checkpoints: Option<Checkpoints>,
    compaction: Compaction,
    left_alone: BTreeSet<String>,
    /// Where this is a table of rejected records: the table whose records they were.
    feeding: Option<Feeding>,
    metrics: UpkeepMetrics,
    since: Instant,
    looked: Option<(Instant, u64)>,
    cleaned: Option<Instant>,
    vacuumed: Option<Instant>,
}

impl Upkeep {
    /// A table of the config.
    pub fn new(
        table: &settings::Table,
        store: TableStore,
        clock: &Clock,
        memory: Memory,
        metrics: UpkeepMetrics,
    ) -> Self {
        let prefix = &table.metadata.prefix;
        let coordinates = ["topic", "partition", "offset"];
        let policy = Policy {
            target_bytes: table.maintenance.target_file_bytes,
            min_files: usize::try_from(table.maintenance.min_files).unwrap_or(usize::MAX),
            cold_after: table.maintenance.cold_after,
        };
        Upkeep {
            name: table.name.clone(),
            settings: table.maintenance,
            checkpoint_every: table.checkpoint_every_commits,
            checkpoints: None,
            compaction: Compaction {
                store,
                clock: clock.clone(),
                policy,
                sort_by: table.sort_by.clone(),
                always_indexed: coordinates
                    .iter()
                    .map(|name| format!("{prefix}{name}"))
                    .collect(),
                memory,
            },
            left_alone: BTreeSet::new(),
            feeding: None,
            metrics,
            since: clock.now(),
            looked: None,
            cleaned: None,
            vacuumed: None,
        }
    }

    /// The table of rejected records that a table of the config has. Its files are not merged: a replay takes out those that it read.
    pub fn of_rejected(
        table: &settings::Table,
        stores: (TableStore, TableStore),
        clock: &Clock,
        memory: Memory,
        metrics: UpkeepMetrics,
    ) -> Self {
        let (store, main) = stores;
        let rejected = settings::Table {
            name: table.errors.table.clone(),
            sort_by: Vec::new(),
            ..table.clone()
        };
        let folder = table.errors.table.clone();
        Upkeep {
            feeding: Some(Feeding { main, folder }),
            ..Upkeep::new(&rejected, store, clock, memory, metrics)
        }
    }

    /// The tasks that it has at all.
    pub fn has(&self, task: Task) -> bool {
        self.feeding.is_none() || task != Task::Compact
    }

    /// The table's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Files that could not be compacted, for good.
    pub fn left_alone(&self) -> &BTreeSet<String> {
        &self.left_alone
    }

    /// What is due while the table is at `version`.
    pub fn due(&self, version: u64) -> Vec<Task> {
        let now = self.compaction.clock.now();
        let look_every = (self.settings.cold_after / 2).clamp(LOOK_MIN, LOOK_MAX);
        let has_passed = |last: Option<Instant>, every: Duration| match last {
            Some(last) => now.since(last) >= every,
            None => now.since(self.since) >= SETTLED_AFTER,
        };
        // An idle table is looked at too: files grow cold.
        let is_looked_at = self.looked.is_some_and(|(at, seen)| {
            let every = if seen == version {
                LOOK_MAX.max(look_every)
            } else {
                look_every
            };
            now.since(at) < every
        });
        let is_due = |task: &Task| match task {
            Task::Compact => !is_looked_at && now.since(self.since) >= look_every,
            Task::Checkpoint => self
                .checkpoints
                .as_ref()
                .is_none_or(|checkpoints| checkpoints.may_be_due(version)),
            Task::CleanLog => has_passed(self.cleaned, CLEAN_LOG_EVERY),
            Task::Vacuum => has_passed(self.vacuumed, self.settings.vacuum_interval),
        };
        let all = Task::ALL.into_iter().filter(|task| self.has(*task));
        all.filter(is_due).collect()
    }

    /// Does one task; a failure is counted, said and given back.
    pub async fn run(&mut self, task: Task, pace: &Pace) -> Result<Done, Error> {
        let began = self.compaction.clock.now();
        let result = match task {
            Task::Compact => self.compact(pace).await.map(Done::Compacted),
            Task::Checkpoint => self.checkpoint().await.map(Done::Checkpointed),
            Task::CleanLog => self.clean_log(false).await.map(Done::Cleaned),
            Task::Vacuum => self.vacuum(false, pace).await.map(Done::Vacuumed),
        };
        let seconds = self.compaction.clock.now().since(began).as_secs_f64();
        match &result {
            Ok(done) => self.say(done, seconds),
            Err(error) => {
                self.metrics.failed(task.name());
                tracing::warn!(table = self.name, task = task.name(), %error, "maintenance failed; it is tried again");
            }
        }
        result
    }

    /// The bytes that the next compaction reads.
    pub async fn plan(&self) -> Result<Plan, Error> {
        let opened = self.compaction.open().await?;
        Ok(self.compaction.plan(&opened, &self.left_alone))
    }

    async fn compact(&mut self, pace: &Pace) -> Result<Compacted, Error> {
        let mut all = Compacted::default();
        for _ in 0..REPLANS_MAX {
            let opened = self.compaction.open().await?;
            let version = opened.version();
            let plan = self.compaction.plan(&opened, &self.left_alone);
            let debt = plan.debt;
            self.metrics.observed(
                debt.files,
                debt.bytes,
                debt.excess_files,
                debt.planned_bytes,
            );
            let done = self
                .compaction
                .run(opened, &plan, pace, &mut self.left_alone)
                .await?;
            self.metrics
                .compacted(done.files_removed, done.bytes_removed, done.dropped);
            self.looked = Some((self.compaction.clock.now(), version + done.commits));
            let gone = done.files_removed - done.files_added.min(done.files_removed);
            self.metrics.observed(
                debt.files - gone.min(debt.files),
                debt.bytes - done.bytes_removed.min(debt.bytes) + done.bytes_added,
                debt.excess_files - gone.min(debt.excess_files),
                debt.planned_bytes - done.bytes_removed.min(debt.planned_bytes),
            );
            all.add(&done);
            if done.dropped == 0 || pace.is_stopped() {
                break;
            }
        }
        Ok(all)
    }

    async fn checkpoint(&mut self) -> Result<Option<u64>, Error> {
        let store = &self.compaction.store;
        let clock = &self.compaction.clock;
        let table = crate::delta::Table::load(store, clock)
            .await?
            .ok_or_else(|| Error::NoTable {
                location: store.url().to_string(),
            })?;
        let checkpoints = self.checkpoints.get_or_insert_with(|| {
            Checkpoints::new(
                store.clone(),
                clock.clone(),
                self.checkpoint_every,
                table.property("delta.checkpointInterval"),
            )
        });
        Ok(checkpoints.checkpoint_if_due(table.version()).await?)
    }

    /// What log clean-up does, or would do.
    pub async fn clean_log(&mut self, is_dry_run: bool) -> Result<Cleaned, Error> {
        let Compaction { store, clock, .. } = &self.compaction;
        let files = FileList::load(store, Extent::default()).await?;
        let promised = files
            .property("delta.logRetentionDuration")
            .and_then(interval);
        let retention = self
            .settings
            .log_retention
            .max(promised.unwrap_or_default());
        let cleaned = clean_log(store, clock, &files, retention, is_dry_run).await?;
        self.cleaned = Some(clock.now());
        Ok(cleaned)
    }

    /// What vacuum does, or would do.
    pub async fn vacuum(&mut self, is_dry_run: bool, pace: &Pace) -> Result<Vacuumed, Error> {
        let Compaction { store, clock, .. } = &self.compaction;
        let sweep = Sweep {
            store,
            clock,
            older_than: self.settings.vacuum_older_than,
            is_dry_run,
            pace,
        };
        let vacuumed = sweep.run(self.feeding.as_ref()).await?;
        self.vacuumed = Some(clock.now());
        Ok(vacuumed)
    }

    /// Whether a checkpoint would be written, and of which version.
    pub async fn checkpoint_due(&self) -> Result<Option<u64>, Error> {
        let Compaction { store, clock, .. } = &self.compaction;
        let table = crate::delta::Table::load(store, clock)
            .await?
            .ok_or_else(|| Error::NoTable {
                location: store.url().to_string(),
            })?;
        let property = table.property("delta.checkpointInterval");
        let checkpoints = Checkpoints::new(
            store.clone(),
            clock.clone(),
            self.checkpoint_every,
            property,
        );
        let newest = store.newest_checkpoint().await?;
        Ok(checkpoints
            .is_due(table.version(), newest)
            .then_some(table.version()))
    }

    fn say(&self, done: &Done, seconds: f64) {
        let table = &self.name;
        match done {
            Done::Compacted(done) if done.commits > 0 || done.dropped > 0 => tracing::info!(
                table,
                files_before = done.files_removed,
                files_after = done.files_added,
                bytes_before = done.bytes_removed,
                bytes_after = done.bytes_added,
                rows = done.rows,
                dropped = done.dropped,
                seconds,
                "compacted"
            ),
            Done::Checkpointed(Some(version)) => {
                self.metrics.checkpointed(*version);
                tracing::info!(table, version, seconds, "checkpoint written and proven");
            }
            Done::Cleaned(Cleaned {
                kept_because: Some(reason),
                ..
            }) => tracing::info!(table, reason, "the log is not cleaned up"),
            Done::Cleaned(done) if done.objects > 0 => {
                self.metrics.deleted("clean-log", done.objects);
                tracing::info!(
                    table,
                    objects = done.objects,
                    bytes = done.bytes,
                    oldest_version = done.oldest_version,
                    seconds,
                    "log cleaned up"
                );
            }
            Done::Vacuumed(Vacuumed {
                kept_because: Some(reason),
                ..
            }) => tracing::info!(table, reason, "the table is not vacuumed"),
            Done::Vacuumed(done) if done.files > 0 => {
                self.metrics.deleted("vacuum", done.files);
                tracing::info!(
                    table,
                    files = done.files,
                    bytes = done.bytes,
                    seconds,
                    "vacuumed"
                );
            }
            Done::Compacted(_)
            | Done::Checkpointed(None)
            | Done::Cleaned(_)
            | Done::Vacuumed(_) => {}
        }
    }
}
