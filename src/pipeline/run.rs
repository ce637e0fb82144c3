//! The life of a run: probe, plan, join, turn until done or stopped, drain, leave. Owns threads and tasks; decides nothing about records.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::runtime::Runtime;
use tokio::sync::{mpsc, oneshot};

use crate::buffer::budget::{Budget, Shape};
use crate::clock::Clock;
use crate::config::{Config, settings};
use crate::decode::Registry;
use crate::delta::Store;
use crate::error::Kind;
use crate::maintenance::checkpoint::Checkpoints;
use crate::metrics::Metrics;
use crate::model::epoch::Epoch;
use crate::model::memory::Pool;
use crate::model::offset::TopicPartition;
use crate::pipeline::caught_up::is_caught_up;
use crate::pipeline::control::{Control, FromWorker, TableControl};
use crate::pipeline::error::Error;
use crate::pipeline::flusher::{FlushState, Flusher, FlusherCommand};
use crate::pipeline::lane::{self, LaneCommand, LaneContext};
use crate::pipeline::plan::{self, Outside, Planned, back_off};
use crate::pipeline::settle::{Accept, Settling};
use crate::pipeline::share::{Ledger, Share};
use crate::pipeline::status::{Status, TableState};
use crate::source::{Group, Lookup, Shares};

/// Commands and messages that may wait in a channel; far above what a turn produces.
const CHANNEL: usize = 4096;
/// How long one question to Kafka may take.
const QUESTION: Duration = Duration::from_secs(10);
/// How often a run that ends by itself looks at topic partitions that others own.
const REFRESH: Duration = Duration::from_secs(1);

/// What was asked of a run.
#[derive(Debug, Clone)]
pub struct RunOptions {
    /// End once the tables have committed what was there at the start.
    pub until_caught_up: bool,
    /// Only these tables; all when empty.
    pub tables: Vec<String>,
    /// How long a run that ends by itself waits for something that is away.
    pub timeout: Duration,
}

/// Asks a run to drain and end.
#[derive(Debug, Clone, Default)]
pub struct Stop {
    asked: Arc<AtomicBool>,
    consuming: Arc<AtomicBool>,
}

impl Stop {
    /// Seal, commit, leave the group, end.
    pub fn drain(&self) {
        self.asked.store(true, Ordering::SeqCst);
    }

    /// Whether there may be something to drain: before it joins the group, a process may end at once.
    pub fn is_consuming(&self) -> bool {
        self.consuming.load(Ordering::SeqCst)
    }

    /// Whether that was asked.
    pub fn is_asked(&self) -> bool {
        self.asked.load(Ordering::SeqCst)
    }
}

/// What a run works with.
#[derive(Debug, Clone)]
pub struct Surroundings {
    /// Time and ids.
    pub clock: Clock,
    /// Counters for the outside.
    pub metrics: Arc<Metrics>,
    /// The picture for the outside.
    pub status: Status,
    /// How the outside ends it.
    pub stop: Stop,
}

/// Runs the sink on this thread until it is done or stopped. A suspended table ends a run that ends by itself; otherwise the others go on.
pub fn run(
    config: &Config,
    options: &RunOptions,
    surroundings: &Surroundings,
) -> Result<(), Error> {
    let tables = chosen(config, &options.tables)?;
    for table in &tables {
        surroundings.status.table(&table.name, |_| {});
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .thread_name("lakeward-io")
        .enable_all()
        .build()
        .map_err(|error| Error::Bug(format!("no runtime: {error}")))?;
    let run = Run {
        config,
        options,
        surroundings,
        runtime: &runtime,
    };
    let result = run.whole(&tables);
    // Blocking questions in flight must not hold the process: their answers are of no use any more.
    runtime.shutdown_timeout(Duration::from_secs(1));
    result
}

fn chosen(config: &Config, names: &[String]) -> Result<Vec<settings::Table>, Error> {
    for name in names {
        if !config.tables.iter().any(|table| table.name == *name) {
            let known: Vec<&str> = config
                .tables
                .iter()
                .map(|table| table.name.as_str())
                .collect();
            return Err(Error::UnknownTable {
                name: name.clone(),
                known: known.join(", "),
            });
        }
    }
    Ok(config
        .tables
        .iter()
        .filter(|table| names.is_empty() || names.contains(&table.name))
        .cloned()
        .collect())
}

struct Run<'a> {
    config: &'a Config,
    options: &'a RunOptions,
    surroundings: &'a Surroundings,
    runtime: &'a Runtime,
}

/// Everything that a drain must end, in order.
struct Started {
    control: Control,
    threads: Vec<JoinHandle<()>>,
    targets: Option<Targets>,
}

/// What the flushers of all tables are started with.
struct TableStart<'a> {
    outside: &'a Outside,
    to_control: SyncSender<FromWorker>,
    pool: Pool,
    targets: Option<Targets>,
}

/// The ends to reach, for a run that ends by itself.
type Targets = Arc<BTreeMap<TopicPartition, i64>>;

fn start_lane(
    control: &mut Control,
    ctx: LaneContext,
    with_headers: bool,
) -> Result<JoinHandle<()>, Error> {
    let queue = control.group.lane_queue(with_headers)?;
    control.queues.push(queue.handle());
    let (commands, inbox) = sync_channel::<LaneCommand>(CHANNEL);
    control.lanes.push(commands);
    std::thread::Builder::new()
        .name(format!("lakeward-lane-{}", ctx.number))
        .spawn(move || lane::run(ctx, queue, &inbox))
        .map_err(|error| Error::Bug(format!("no thread for a lane: {error}")))
}

impl Run<'_> {
    fn whole(&self, tables: &[settings::Table]) -> Result<(), Error> {
        let outside = self.outside()?;
        let Some(()) = self.persist("the store", || {
            let (store, clock) = (Arc::clone(&outside.store), outside.clock.clone());
            self.runtime
                .block_on(async move { store.probe(&clock).await })
                .map_err(Error::from)
        })?
        else {
            return Ok(());
        };
        let mut planned = Vec::new();
        let mut suspended = Vec::new();
        for table in tables {
            match self.persist(&format!("table `{}`", table.name), || {
                self.runtime.block_on(self.plan(&outside, table))
            }) {
                Ok(Some(done)) => planned.push(done),
                Ok(None) => return Ok(()),
                Err(Error::Suspended { tables: these }) if tables.len() > 1 => {
                    for (name, reason) in &these {
                        self.show_suspended(name, reason);
                    }
                    suspended.extend(these);
                }
                // Only what a person must look at in this table stops this table alone.
                Err(error) if error.kind() == Kind::Corrupt && tables.len() > 1 => {
                    let reason = error.to_string();
                    self.show_suspended(&table.name, &reason);
                    suspended.push((table.name.clone(), reason));
                }
                Err(error) => return Err(error),
            }
        }
        if planned.is_empty() {
            return Err(Error::Suspended { tables: suspended });
        }
        let Some(started) = self.start(&outside, planned)? else {
            return Ok(());
        };
        self.turns(started, suspended)
    }

    fn show_suspended(&self, name: &str, reason: &str) {
        tracing::error!(table = name, reason, "table suspended");
        self.surroundings.status.table(name, |status| {
            status.state = TableState::Suspended(reason.to_owned())
        });
    }

    /// A run that ends by itself must not take a recreated or truncated topic for one that is caught up: it settles every topic partition first, whoever owns it.
    async fn plan(&self, outside: &Outside, table: &settings::Table) -> Result<Planned, Error> {
        let mut planned = plan::plan(outside, table).await?;
        if self.options.until_caught_up {
            let settling = Settling {
                table: &mut planned.table,
                lookup: &outside.lookup,
                settings: table,
                app_name: &self.config.name,
                clock: &outside.clock,
                epoch: &Epoch::begin(0),
                accept: Accept::ByConfig,
                trouble: &|_| {},
            };
            settling.settle_at_start(&planned.topic_partitions).await?;
        }
        Ok(planned)
    }

    fn outside(&self) -> Result<Outside, Error> {
        let clock = self.surroundings.clock.clone();
        let registry = match &self.config.schema_registry {
            Some(settings) => Some(Arc::new(
                Registry::connect(settings, clock.clone()).map_err(|cause| Error::Decode {
                    table: "schema_registry".to_owned(),
                    cause,
                })?,
            )),
            None => None,
        };
        Ok(Outside {
            lookup: Arc::new(Lookup::new(
                &self.config.kafka,
                QUESTION.min(self.options.timeout),
            )?),
            registry,
            store: Arc::new(Store::open(&self.config.storage)?),
            clock,
            record_bytes_max: self.config.limits.record_bytes,
        })
    }

    /// Tries until it works: what is unavailable is waited for, with one sentence in the log; a run that ends by itself gives up after its timeout. `None` when stopped.
    fn persist<T>(
        &self,
        what: &str,
        mut attempt: impl FnMut() -> Result<T, Error>,
    ) -> Result<Option<T>, Error> {
        let clock = &self.surroundings.clock;
        let since = clock.now();
        for tries in 0u32.. {
            if self.surroundings.stop.is_asked() {
                return Ok(None);
            }
            match attempt() {
                Ok(done) => {
                    self.surroundings.status.set_trouble(None);
                    return Ok(Some(done));
                }
                Err(error) if error.kind() == Kind::Unavailable => {
                    let reason = error.to_string();
                    if tries == 0 {
                        tracing::warn!(what, detail = reason, "waiting for something outside");
                    }
                    self.surroundings.status.set_trouble(Some(reason.clone()));
                    let waited = clock.now().since(since);
                    if self.options.until_caught_up && waited >= self.options.timeout {
                        return Err(Error::TimedOut {
                            waited_s: waited.as_secs(),
                            reason,
                        });
                    }
                    let left = self.options.timeout.saturating_sub(waited);
                    let patience = if self.options.until_caught_up {
                        left
                    } else {
                        Duration::MAX
                    };
                    self.pause(back_off(tries).min(patience));
                }
                Err(error) => return Err(error),
            }
        }
        Ok(None)
    }

    /// Sleeps in short naps, so that a stop is heard.
    fn pause(&self, duration: Duration) {
        let clock = &self.surroundings.clock;
        let until = clock.now().after(duration);
        while clock.now() < until && !self.surroundings.stop.is_asked() {
            clock.sleep_blocking(Duration::from_millis(50));
        }
    }

    fn start(&self, outside: &Outside, planned: Vec<Planned>) -> Result<Option<Started>, Error> {
        let Some(targets) = self.targets(outside, &planned)? else {
            return Ok(None);
        };
        let lanes = self.config.limits.lanes.unwrap_or_else(|| {
            std::thread::available_parallelism().map_or(1, std::num::NonZero::get)
        });
        let budget = self.budget(&planned, lanes)?;
        let (to_control, from_workers) = sync_channel::<FromWorker>(CHANNEL);
        let mut control = Control {
            group: self.group(&budget, lanes)?,
            lanes: Vec::new(),
            queues: Vec::new(),
            tables: BTreeMap::new(),
            from_workers,
            clock: outside.clock.clone(),
            status: self.surroundings.status.clone(),
            metrics: Arc::clone(&self.surroundings.metrics),
            pending: None,
            revoking: None,
            epochs: 0,
            trouble: None,
            ledger: Ledger::default(),
        };
        let with_headers = planned.iter().any(|planned| planned.plan.with_headers());
        let mut threads = Vec::new();
        for number in 0..lanes {
            let ctx = LaneContext {
                number,
                pool: budget.rows.clone(),
                clock: outside.clock.clone(),
                status: self.surroundings.status.clone(),
                to_control: to_control.clone(),
            };
            threads.push(start_lane(&mut control, ctx, with_headers)?);
        }
        let shared = TableStart {
            outside,
            to_control,
            pool: budget.rows,
            targets: targets.clone(),
        };
        let mut topics = BTreeSet::new();
        for planned in planned {
            topics.extend(planned.plan.settings.topics.iter().cloned());
            self.start_table(&mut control, planned, &shared);
        }
        let topics: Vec<&str> = topics.iter().map(String::as_str).collect();
        self.surroundings
            .stop
            .consuming
            .store(true, Ordering::SeqCst);
        control.group.subscribe(&topics)?;
        let group = &self.config.kafka.group_id;
        tracing::info!(topics = topics.join(","), group, lanes, "subscribed");
        Ok(Some(Started {
            control,
            threads,
            targets,
        }))
    }

    fn budget(&self, planned: &[Planned], lanes: usize) -> Result<Budget, Error> {
        let memory_bytes = self.config.limits.memory_bytes;
        let topic_partitions = planned
            .iter()
            .map(|planned| planned.topic_partitions.len())
            .sum();
        let budget = Budget::divide(Shape {
            memory_bytes,
            lanes,
            topic_partitions,
        })?;
        self.surroundings
            .status
            .set_memory(budget.rows.clone(), memory_bytes);
        Ok(budget)
    }

    fn group(&self, budget: &Budget, lanes: usize) -> Result<Group, Error> {
        let shares = Shares {
            // Topic partitions share their lane's queue, so its bound is the lane's part of the whole.
            queue_kbytes: budget.fetch.total_bytes
                / 2
                / 1024
                / u64::try_from(lanes).unwrap_or(1).max(1),
            topic_partition_bytes: budget.fetch.topic_partition_bytes,
            response_bytes: budget.fetch.response_bytes,
        };
        Ok(Group::new(&self.config.kafka, shares)?)
    }

    /// The ends seen now, for a run that ends by itself. The outer `None`: stopped meanwhile.
    fn targets(
        &self,
        outside: &Outside,
        planned: &[Planned],
    ) -> Result<Option<Option<Targets>>, Error> {
        if !self.options.until_caught_up {
            return Ok(Some(None));
        }
        let mut targets = BTreeMap::new();
        for topic_partition in planned.iter().flat_map(|planned| &planned.topic_partitions) {
            let Some(marks) = self.persist("the ends of topics", || {
                Ok(outside.lookup.watermarks(topic_partition)?)
            })?
            else {
                return Ok(None);
            };
            targets.insert(topic_partition.clone(), marks.high);
        }
        Ok(Some(Some(Arc::new(targets))))
    }

    fn start_table(&self, control: &mut Control, planned: Planned, shared: &TableStart<'_>) {
        let counters = self.surroundings.metrics.table(&planned.plan.settings.name);
        let share = Arc::new(Share::new(
            planned.plan,
            control.lanes.len(),
            counters,
            control.ledger.clone(),
        ));
        let (commands, inbox) = mpsc::channel(64);
        let every = share.plan.settings.checkpoint_every_commits;
        let checkpoints = Checkpoints::new(
            share.plan.store.clone(),
            every,
            planned.table.property("delta.checkpointInterval"),
        );
        let flusher = Flusher {
            share: Arc::clone(&share),
            table: planned.table,
            lanes: control.lanes.clone(),
            commands: inbox,
            to_control: shared.to_control.clone(),
            clock: shared.outside.clock.clone(),
            status: self.surroundings.status.clone(),
            pool: shared.pool.clone(),
            checkpoints: Arc::new(tokio::sync::Mutex::new(checkpoints)),
            lookup: Arc::clone(&shared.outside.lookup),
            targets: shared.targets.clone(),
            app_name: self.config.name.clone(),
            state: FlushState::default(),
        };
        self.runtime.spawn(flusher.run());
        let table = TableControl {
            share: Arc::clone(&share),
            flusher: commands,
            owned: BTreeSet::new(),
            epoch: None,
            suspended: None,
            parked: Vec::new(),
            reopen_at: None,
        };
        control.tables.insert(share.name().to_owned(), table);
    }

    fn turns(
        &self,
        mut started: Started,
        mut suspended: Vec<(String, String)>,
    ) -> Result<(), Error> {
        let result = self.turn_until_done(&mut started);
        suspended.extend(started.control.suspended());
        let drained = if result.is_ok() {
            self.drain(&mut started.control)
        } else {
            Ok(())
        };
        started.control.stop_lanes();
        for thread in started.threads {
            if thread.join().is_err() {
                return Err(Error::Bug("a lane ended in a panic".to_owned()));
            }
        }
        started.control.group.close();
        result?;
        drained?;
        if suspended.is_empty()
            || (self.surroundings.stop.is_asked() && !self.options.until_caught_up)
        {
            return Ok(());
        }
        Err(Error::Suspended { tables: suspended })
    }

    fn turn_until_done(&self, started: &mut Started) -> Result<(), Error> {
        let clock = &self.surroundings.clock;
        let mut refreshed = clock.now();
        loop {
            if self.surroundings.stop.is_asked() {
                return Ok(());
            }
            started.control.turn()?;
            if started.threads.iter().any(JoinHandle::is_finished) {
                return Err(Error::Bug("a lane ended early".to_owned()));
            }
            let control = &started.control;
            if control
                .tables
                .values()
                .all(|table| table.suspended.is_some())
            {
                return Ok(());
            }
            let Some(targets) = &started.targets else {
                continue;
            };
            let done = control.tables.values().all(|table| {
                let topics = &table.share.plan.settings.topics;
                let of_table = targets
                    .iter()
                    .filter(|(it, _)| topics.iter().any(|topic| **topic == *it.topic));
                table.suspended.is_some()
                    || is_caught_up(
                        &of_table.map(|(it, end)| (it.clone(), *end)).collect(),
                        &table.share.committed(),
                    )
            });
            if done {
                return Ok(());
            }
            let now = clock.now();
            if let Some((since, reason)) = &control.trouble
                && now.since(*since) >= self.options.timeout
            {
                return Err(Error::TimedOut {
                    waited_s: now.since(*since).as_secs(),
                    reason: reason.clone(),
                });
            }
            if now.since(refreshed) >= REFRESH {
                refreshed = now;
                // What this process owns shows in its own commits; only what others own must be read from the table.
                let elsewhere = control.tables.values().filter(|table| {
                    let topics = &table.share.plan.settings.topics;
                    targets.keys().any(|it| {
                        topics.iter().any(|topic| **topic == *it.topic) && !table.owned.contains(it)
                    })
                });
                for table in elsewhere {
                    // A flusher that is busy is asked again a second later.
                    drop(table.flusher.try_send(FlusherCommand::Refresh));
                }
            }
        }
    }

    /// Lets every flusher commit what there is, within `shutdown_grace`, while the group is served on.
    fn drain(&self, control: &mut Control) -> Result<(), Error> {
        let clock = &self.surroundings.clock;
        let until = clock.now().after(self.config.shutdown_grace);
        let mut waiting = Vec::new();
        for table in control.tables.values() {
            let (reply, answer) = oneshot::channel();
            if table
                .flusher
                .try_send(FlusherCommand::Drain { reply })
                .is_ok()
            {
                waiting.push(answer);
            }
        }
        while clock.now() < until {
            control.turn()?;
            waiting.retain_mut(|answer| {
                matches!(answer.try_recv(), Err(oneshot::error::TryRecvError::Empty))
            });
            if waiting.is_empty() {
                control.turn()?;
                return Ok(());
            }
        }
        Err(Error::Grace {
            grace_s: self.config.shutdown_grace.as_secs(),
        })
    }
}
