//! `lakeward maintain`: maintenance as its own process, once or again and again. Owns the command's output and its end; what is done, and when, is maintenance's.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::config::Config;
use crate::config::settings::Table;
use crate::error::Kind;
use crate::maintenance::upkeep::{Done, Task, Upkeep};
use crate::maintenance::{self, Memory, Pace};
use crate::metrics::Metrics;
use crate::ops::cli::{Maintain, MaintainTask};
use crate::ops::exit::{Ending, Failure, Outcome};
use crate::ops::output::{self, thousands};
use crate::ops::progress::Progress;
use crate::ops::signals::Signals;
use crate::ops::verify::block_on;
use crate::ops::waiting::Patience;
use crate::ops::wiring;
use crate::pipeline;

/// How often a bar moves.
const TICK: Duration = Duration::from_millis(200);
/// How often a process that stays looks at what is due.
const LOOK: Duration = Duration::from_secs(10);

/// How often a process that stays looks for topics that its patterns take.
const TOPICS: Duration = Duration::from_secs(60);

/// The tables under maintenance, and what further ones are made from.
struct Maintained<'a> {
    config: Config,
    names: &'a [String],
    patience: &'a Patience,
    metrics: Metrics,
    tables: Vec<Upkeep>,
    known: BTreeSet<String>,
}

impl Maintained<'_> {
    /// Takes these in, unless they are known or not asked for.
    async fn add(&mut self, tables: &[Table]) -> Result<(), Failure> {
        let is_asked = |name: &String| self.names.is_empty() || self.names.contains(name);
        let new = tables
            .iter()
            .filter(|it| is_asked(&it.name) && !self.known.contains(&it.name));
        for table in new.cloned().collect::<Vec<_>>() {
            self.take(&table).await?;
            self.known.insert(table.name);
        }
        Ok(())
    }

    async fn take(&mut self, table: &Table) -> Result<(), Failure> {
        let (storage, clock) = (&self.config.storage, self.patience.clock());
        let memory = Memory::of(self.config.limits.memory_bytes / 2);
        let store = wiring::table_store(storage, table)?;
        let metrics = self.metrics.upkeep(&table.name);
        let upkeep = Upkeep::new(table, store.clone(), clock, memory, metrics);
        self.tables.push(upkeep);
        if wiring::has_rejected(storage, table, self.patience).await? {
            let stores = (wiring::rejected_store(storage, table)?, store);
            let metrics = self.metrics.upkeep(&table.errors.table);
            let rejected = Upkeep::of_rejected(table, stores, clock, memory, metrics);
            self.tables.push(rejected);
        }
        Ok(())
    }

    /// Takes in what patterns find by now; a failure is tried again.
    async fn look(&mut self) {
        if self.config.patterns.is_empty() {
            return;
        }
        let (clock, limit) = (self.patience.clock(), self.patience.limit());
        let added = match pipeline::known(&self.config, clock, limit).await {
            Ok(known) => self.add(&known.config.tables).await,
            Err(error) => Err(Failure::new(error.kind(), error)),
        };
        if let Err(failure) = added {
            tracing::warn!(detail = %failure, "topics were not looked for");
        }
    }
}

/// Does what is due, or prints it.
pub(super) fn maintain(request: &Maintain, patience: &Patience) -> Outcome {
    let config = wiring::config(&request.config)?;
    let known = wiring::known(&request.config, patience)?;
    wiring::tables(&known, &request.tables)?;
    let mut maintained = Maintained {
        metrics: Metrics::new(&config.name),
        config,
        names: &request.tables,
        patience,
        tables: Vec::new(),
        known: BTreeSet::new(),
    };
    let tasks = request.tasks();
    block_on(async {
        maintained.add(&known.tables).await?;
        if request.dry_run {
            return forecast(&mut maintained.tables, &tasks, patience).await;
        }
        let pace = Pace::default();
        let mut signals = Signals::listen()?;
        let work = async {
            if request.once {
                once(&mut maintained.tables, &tasks, &pace, patience).await
            } else {
                stay(&mut maintained, &tasks, &pace).await
            }
        };
        let mut work = Box::pin(work);
        tokio::select! {
            outcome = &mut work => outcome,
            signal = signals.next() => {
                tracing::info!(signal, "ending; what is half done is dropped");
                pace.stop();
                work.await
            }
        }
    })?
}

impl Maintain {
    fn tasks(&self) -> Vec<Task> {
        let asked: Vec<Task> = self
            .only
            .iter()
            .map(|task| match task {
                MaintainTask::Compact => Task::Compact,
                MaintainTask::Checkpoint => Task::Checkpoint,
                MaintainTask::CleanLog => Task::CleanLog,
                MaintainTask::Vacuum => Task::Vacuum,
            })
            .collect();
        Task::ALL
            .into_iter()
            .filter(|task| asked.is_empty() || asked.contains(task))
            .collect()
    }
}

async fn once(tables: &mut [Upkeep], tasks: &[Task], pace: &Pace, patience: &Patience) -> Outcome {
    let mut ending = Ending::Done;
    for upkeep in tables {
        for task in tasks
            .iter()
            .filter(|task| upkeep.has(**task))
            .copied()
            .collect::<Vec<_>>()
        {
            if pace.is_stopped() {
                return Ok(ending);
            }
            let done = watched(upkeep, task, pace, patience).await?;
            output::line(&format!("{}: {}", upkeep.name(), sentence(&done)));
        }
        for key in upkeep.left_alone() {
            output::line(&format!(
                "{}: `{key}` cannot be compacted and is left alone; `lakeward verify --deep` says more",
                upkeep.name()
            ));
            ending = Ending::Findings(Kind::Corrupt);
        }
    }
    Ok(ending)
}

async fn stay(maintained: &mut Maintained<'_>, tasks: &[Task], pace: &Pace) -> Outcome {
    let patience = maintained.patience;
    let mut looked = patience.clock().now();
    while !pace.is_stopped() {
        if patience.clock().now().since(looked) >= TOPICS {
            maintained.look().await;
            looked = patience.clock().now();
        }
        for upkeep in &mut maintained.tables {
            // Each task looks at the table itself; what it costs to look is bounded by how often it is due.
            for task in upkeep.due(u64::MAX) {
                if !tasks.contains(&task) || pace.is_stopped() {
                    continue;
                }
                // A failure is said where it happens, and the task is due again.
                if let Ok(done) = watched(upkeep, task, pace, patience).await
                    && is_worth_a_line(&done)
                {
                    output::line(&format!("{}: {}", upkeep.name(), sentence(&done)));
                }
            }
        }
        let until = patience.clock().now().after(LOOK);
        while patience.clock().now() < until && !pace.is_stopped() {
            patience.clock().sleep(TICK).await;
        }
    }
    Ok(Ending::Done)
}

/// Runs a task under a bar.
async fn watched(
    upkeep: &mut Upkeep,
    task: Task,
    pace: &Pace,
    patience: &Patience,
) -> Result<Done, Failure> {
    if task != Task::Compact {
        return upkeep.run(task, pace).await.map_err(failed);
    }
    let plan = upkeep.plan().await.map_err(failed)?;
    let bar = Progress::over(
        &format!("{}: compacting", upkeep.name()),
        plan.debt.planned_bytes,
    );
    let before = pace.bytes();
    let mut work = Box::pin(upkeep.run(task, pace));
    let done = loop {
        tokio::select! {
            done = &mut work => break done,
            () = patience.clock().sleep(TICK) => bar.at(pace.bytes() - before),
        }
    };
    bar.done();
    done.map_err(failed)
}

fn is_worth_a_line(done: &Done) -> bool {
    match done {
        Done::Compacted(done) => done.commits > 0,
        Done::Checkpointed(version) => version.is_some(),
        Done::Cleaned(done) => done.objects > 0,
        Done::Vacuumed(done) => done.files > 0,
    }
}

fn sentence(done: &Done) -> String {
    match done {
        Done::Compacted(done) if done.commits == 0 => "nothing to compact".to_owned(),
        Done::Compacted(done) => format!(
            "compacted {} files ({} bytes) into {} ({} bytes), {} rows",
            thousands(done.files_removed),
            thousands(done.bytes_removed),
            thousands(done.files_added),
            thousands(done.bytes_added),
            thousands(done.rows)
        ),
        Done::Checkpointed(None) => "no checkpoint is due".to_owned(),
        Done::Checkpointed(Some(version)) => {
            format!("wrote and proved a checkpoint of version {version}")
        }
        Done::Cleaned(done) => match &done.kept_because {
            Some(reason) => format!("the log is not cleaned up: {reason}"),
            None => format!(
                "removed {} objects of the log ({} bytes)",
                thousands(done.objects),
                thousands(done.bytes)
            ),
        },
        Done::Vacuumed(done) => match &done.kept_because {
            Some(reason) => format!("not vacuumed: {reason}"),
            None => format!(
                "vacuumed {} files ({} bytes)",
                thousands(done.files),
                thousands(done.bytes)
            ),
        },
    }
}

/// Prints what would be done.
async fn forecast(tables: &mut [Upkeep], tasks: &[Task], patience: &Patience) -> Outcome {
    let mut rows = Vec::new();
    for upkeep in tables {
        for task in tasks
            .iter()
            .filter(|task| upkeep.has(**task))
            .copied()
            .collect::<Vec<_>>()
        {
            let waited = patience
                .wait("the store (`storage.url`)", said(upkeep, task))
                .await?;
            for what in waited.map_err(failed)? {
                rows.push(vec![upkeep.name().to_owned(), task.name().to_owned(), what]);
            }
        }
    }
    output::line(&output::table(&["table", "task", "would"], &rows));
    Ok(Ending::Done)
}

async fn said(upkeep: &mut Upkeep, task: Task) -> Result<Vec<String>, maintenance::Error> {
    Ok(match task {
        Task::Compact => {
            let plan = upkeep.plan().await?;
            let debt = plan.debt;
            let mut lines = vec![format!(
                "merge {} groups ({} bytes) of {} live files; {} files more than the target size needs, {} left alone",
                plan.groups.len(),
                thousands(debt.planned_bytes),
                thousands(debt.files),
                thousands(debt.excess_files),
                thousands(debt.left_alone)
            )];
            lines.extend(plan.groups.iter().take(20).map(|group| {
                let values: Vec<String> = group
                    .partition_values
                    .iter()
                    .map(|(name, value)| format!("{name}={}", value.as_deref().unwrap_or("null")))
                    .collect();
                format!(
                    "merge {} files, {} bytes, {}: {}",
                    thousands(u64::try_from(group.keys.len()).unwrap_or(u64::MAX)),
                    thousands(group.size_bytes),
                    if values.is_empty() {
                        "unpartitioned".to_owned()
                    } else {
                        values.join("/")
                    },
                    group.reason.name()
                )
            }));
            lines
        }
        Task::Checkpoint => vec![match upkeep.checkpoint_due().await? {
            Some(version) => format!("write a checkpoint of version {version}"),
            None => "write no checkpoint; none is due".to_owned(),
        }],
        Task::CleanLog => {
            let done = upkeep.clean_log(true).await?;
            vec![done.kept_because.unwrap_or_else(|| {
                format!(
                    "remove {} objects of the log, {} bytes",
                    thousands(done.objects),
                    thousands(done.bytes)
                )
            })]
        }
        Task::Vacuum => {
            let done = upkeep.vacuum(true, &Pace::default()).await?;
            let mut lines = vec![done.kept_because.unwrap_or_else(|| {
                format!(
                    "remove {} files, {} bytes",
                    thousands(done.files),
                    thousands(done.bytes)
                )
            })];
            lines.extend(done.keys.iter().take(20).map(|key| format!("remove {key}")));
            lines
        }
    })
}

fn failed(error: maintenance::Error) -> Failure {
    Failure::new(error.kind(), error)
}
