//! Maintenance inside of the sidecar: one thread of its own for all tables, on the share of memory that the budget sets aside, giving way while ingest is busy. Owns
//! whose turn it is; a table is maintained by whoever owns its lowest topic partition. What is done is maintenance's.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::buffer::budget::Budget;
use crate::clock::Clock;
use crate::config::Config;
use crate::delta::{self, Store};
use crate::maintenance::upkeep::{Task, Upkeep};
use crate::maintenance::{Memory, Pace};
use crate::metrics::Metrics;
use crate::pipeline::error::Error;
use crate::pipeline::share::Share;

/// How often it is seen what is due.
const TICK: Duration = Duration::from_millis(500);
/// How long the end of a process waits for what cannot be cut short.
const END_MAX: Duration = Duration::from_secs(10);

/// The thread.
#[derive(Debug)]
pub(super) struct Running {
    pace: Pace,
    thread: JoinHandle<()>,
    coming: Coming,
}

/// Tables that the thread has not taken up yet; there are no more of them than tables.
type Coming = Arc<Mutex<Vec<Arc<Share>>>>;

struct Maintained {
    share: Arc<Share>,
    upkeep: Upkeep,
    /// Whether it is the table of the rejected records.
    is_rejected: bool,
}

/// Starts the thread. It has connections of its own: what it waits for is not in the way of commits.
pub(super) fn start(
    config: &Config,
    shares: Vec<Arc<Share>>,
    clock: &Clock,
    metrics: &Arc<Metrics>,
    budget: &Budget,
) -> Result<Running, Error> {
    let making = Making {
        store: Store::open(&config.storage)?,
        clock: clock.clone(),
        memory: Memory::of(budget.maintenance.limit_bytes()),
        metrics: Arc::clone(metrics),
    };
    let mut tables = Vec::new();
    for share in shares {
        tables.extend(making.of(&share)?);
    }
    let coming = Coming::default();
    let rows = budget.rows.clone();
    let pace = Pace::yielding(Arc::new(move || rows.used_bytes() > rows.limit_bytes() / 4));
    let (mine, later) = (pace.clone(), Arc::clone(&coming));
    // Its own thread decodes and encodes for seconds at a time; the worker meanwhile drives its connections.
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .thread_name("lakeward-upkeep-io")
        .enable_all()
        .build()
        .map_err(|error| Error::Bug(format!("no runtime for maintenance: {error}")))?;
    let thread = std::thread::Builder::new()
        .name("lakeward-upkeep".to_owned())
        .spawn(move || runtime.block_on(turns(tables, &making, &later, &mine)))
        .map_err(|error| Error::Bug(format!("no thread for maintenance: {error}")))?;
    Ok(Running {
        pace,
        thread,
        coming,
    })
}

/// What the upkeep of a table is made from.
struct Making {
    store: Store,
    clock: Clock,
    memory: Memory,
    metrics: Arc<Metrics>,
}

impl Making {
    /// A table, after that of its rejected records.
    fn of(&self, share: &Arc<Share>) -> Result<Vec<Maintained>, delta::Error> {
        let settings = &share.plan.settings;
        let mut made = Vec::new();
        if let Some(dlq) = &share.plan.dlq {
            let stores = (
                self.store.table(&dlq.folder)?,
                self.store.table(&settings.path)?,
            );
            let metrics = self.metrics.upkeep(&dlq.folder);
            made.push(Maintained {
                share: Arc::clone(share),
                upkeep: Upkeep::of_rejected(settings, stores, &self.clock, self.memory, metrics),
                is_rejected: true,
            });
        }
        made.push(Maintained {
            share: Arc::clone(share),
            upkeep: Upkeep::new(
                settings,
                self.store.table(&settings.path)?,
                &self.clock,
                self.memory,
                self.metrics.upkeep(&settings.name),
            ),
            is_rejected: false,
        });
        Ok(made)
    }
}

impl Running {
    /// Takes on a table that came later.
    pub(super) fn add(&self, share: Arc<Share>) {
        let mut coming = self.coming.lock().unwrap_or_else(PoisonError::into_inner);
        coming.push(share);
    }

    /// Ends it: what is half done is dropped, a checkpoint that is due is written.
    pub(super) fn end(self, clock: &Clock) {
        self.pace.stop();
        let until = clock.now().after(END_MAX);
        while !self.thread.is_finished() && clock.now() < until {
            clock.sleep_blocking(Duration::from_millis(10));
        }
        if self.thread.is_finished() && self.thread.join().is_err() {
            tracing::error!("maintenance ended in a panic; please report this");
        }
    }
}

async fn turns(mut tables: Vec<Maintained>, making: &Making, coming: &Coming, pace: &Pace) {
    while !pace.is_stopped() {
        let new = std::mem::take(&mut *coming.lock().unwrap_or_else(PoisonError::into_inner));
        for share in new {
            match making.of(&share) {
                Ok(made) => tables.extend(made),
                Err(error) => {
                    tracing::error!(table = share.name(), %error, "a table is not maintained");
                }
            }
        }
        for table in &mut tables {
            table.turn(pace, &Task::ALL).await;
        }
        making.clock.sleep(TICK).await;
    }
    for table in &mut tables {
        table.turn(pace, &[Task::Checkpoint]).await;
    }
}

impl Maintained {
    async fn turn(&mut self, pace: &Pace, tasks: &[Task]) {
        if !self.share.owns_lowest() {
            return;
        }
        let version = if self.is_rejected {
            self.share.rejected_version.load(Ordering::SeqCst)
        } else {
            self.share.version.load(Ordering::SeqCst)
        };
        if self.is_rejected && version == 0 {
            // There is none yet.
            return;
        }
        for task in self.upkeep.due(version) {
            if tasks.contains(&task) {
                // It says by itself what went wrong, and is due again.
                drop(self.upkeep.run(task, pace).await);
            }
        }
    }
}
