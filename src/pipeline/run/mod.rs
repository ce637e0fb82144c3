//! The life of a run: probe, plan, join, turn until done or stopped, drain, leave. Owns threads and tasks; decides nothing about records.

mod start;
mod turns;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::runtime::Runtime;

use crate::clock::Clock;
use crate::config::expansion::{Expansion, Feeds};
use crate::config::{Config, settings};
use crate::error::Kind;
use crate::metrics::Metrics;
use crate::model::epoch::Epoch;
use crate::pipeline::discover::{INTERVAL, interval, waits_for_topics};
use crate::pipeline::error::Error;
use crate::pipeline::family::{families, reason_of};
use crate::pipeline::orders::Orders;
use crate::pipeline::plan::{self, Outside, Planned, back_off};
use crate::pipeline::settle::{Accept, Settling};
use crate::pipeline::status::{Status, TableState};
use crate::pipeline::topics::Asking;

/// How long one question to Kafka may take.
const QUESTION: Duration = Duration::from_secs(10);

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
    /// What the outside asks of its tables.
    pub orders: Orders,
}

/// Runs the sink on this thread until it is done or stopped. A suspended table ends a run that ends by itself; otherwise the others go on.
pub fn run(
    config: &Config,
    options: &RunOptions,
    surroundings: &Surroundings,
) -> Result<(), Error> {
    if config.patterns.is_empty() {
        // Before anybody is asked for anything.
        check_names(&config.tables, &options.tables)?;
    }
    for table in concerned(&config.tables, &options.tables) {
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
    let result = run.whole();
    // Blocking questions in flight must not hold the process: their answers are of no use any more.
    runtime.shutdown_timeout(Duration::from_secs(1));
    result
}

fn check_names(tables: &[settings::Table], names: &[String]) -> Result<(), Error> {
    let is_known = |name: &String| tables.iter().any(|table| table.name == *name);
    match names.iter().find(|name| !is_known(name)) {
        None => Ok(()),
        Some(name) => {
            let known: Vec<&str> = tables.iter().map(|table| table.name.as_str()).collect();
            Err(Error::UnknownTable {
                name: name.clone(),
                known: known.join(", "),
            })
        }
    }
}

/// The tables that were asked for, with those that share a topic with them: the group gives a topic partition to one process, which must serve all of its tables.
fn chosen(tables: &[settings::Table], names: &[String]) -> Result<Vec<settings::Table>, Error> {
    check_names(tables, names)?;
    let chosen = concerned(tables, names);
    for table in &chosen {
        let table = &table.name;
        if !names.is_empty() && !names.contains(table) {
            tracing::info!(
                table,
                "runs too: it shares a topic with a table that was asked for"
            );
        }
    }
    Ok(chosen)
}

/// The tables of these names and of their families; all where there are no names.
pub(super) fn concerned(tables: &[settings::Table], names: &[String]) -> Vec<settings::Table> {
    let is_named = |table: &str| names.is_empty() || names.iter().any(|name| name == table);
    let families = families(tables);
    let concerned = families
        .iter()
        .filter(|family| family.iter().any(|table| is_named(table)));
    let concerned: BTreeSet<&str> = concerned.flatten().copied().collect();
    let tables = tables.iter();
    let tables = tables.filter(|table| concerned.contains(table.name.as_str()));
    tables.cloned().collect()
}

/// The tables that share a topic with a suspended one, and why they wait: a family suspends together.
fn waiting_with(
    tables: &[settings::Table],
    suspended: &[(String, String)],
) -> BTreeMap<String, String> {
    let mut waiting = BTreeMap::new();
    for family in families(tables) {
        let mut culprits = suspended.iter();
        let Some((culprit, reason)) = culprits.find(|(name, _)| family.contains(name.as_str()))
        else {
            continue;
        };
        let others = family
            .iter()
            .filter(|it| suspended.iter().all(|(name, _)| name != *it));
        waiting.extend(others.map(|it| ((*it).to_owned(), reason_of(it, culprit, reason))));
    }
    waiting
}

/// Whether a run goes on without this table.
fn stops_one(error: &Error, table: &settings::Table, has_others: bool) -> bool {
    match error.kind() {
        Kind::Corrupt => has_others,
        // What a pattern finds is not in the hands of whoever wrote the config.
        Kind::Invalid => has_others && table.found.is_some(),
        Kind::Unavailable => table.found.is_some() && waits_for_topics(error),
        Kind::Superseded | Kind::Bug => false,
    }
}

struct Run<'a> {
    config: &'a Config,
    options: &'a RunOptions,
    surroundings: &'a Surroundings,
    runtime: &'a Runtime,
}
/// What a run begins with.
#[derive(Default)]
struct Beginning {
    planned: Vec<Planned>,
    /// Tables that do not run, and why.
    suspended: Vec<(String, String)>,
    /// Of those, the ones that wait with another table of their family.
    waiting: BTreeSet<String>,
    /// What is still to happen to the topics of a table.
    missing: Option<String>,
}

impl Run<'_> {
    fn whole(&self) -> Result<(), Error> {
        let outside = self.outside()?;
        // Beside the probe, which takes as long.
        outside.connect(self.runtime, &self.config.tables);
        let Some(()) = self.persist("the store", || {
            let (store, clock) = (Arc::clone(&outside.store), outside.clock.clone());
            self.runtime
                .block_on(async move { store.probe(&clock).await })
                .map_err(Error::from)
        })?
        else {
            return Ok(());
        };
        let Some(Beginning {
            planned,
            suspended,
            waiting,
            ..
        }) = self.begin_with_something(&outside)?
        else {
            return Ok(());
        };
        if planned.is_empty() {
            return Err(Error::Suspended { tables: suspended });
        }
        let Some(started) = self.start(&outside, planned, waiting)? else {
            return Ok(());
        };
        self.turns(started, suspended)
    }

    /// Looks again while nothing can run that may yet, once something has happened to its topics. `None` when stopped.
    fn begin_with_something(&self, outside: &Outside) -> Result<Option<Beginning>, Error> {
        loop {
            let Some(mut beginning) = self.begin(outside)? else {
                return Ok(None);
            };
            let missing = beginning.missing.take();
            let Some(missing) = missing.filter(|_| beginning.planned.is_empty()) else {
                self.surroundings.status.set_trouble(None);
                return Ok(Some(beginning));
            };
            self.surroundings.status.set_trouble(Some(missing));
            self.pause(interval(&self.config.kafka).unwrap_or(INTERVAL));
        }
    }

    /// Looks for topics and plans their tables. `None` when stopped.
    fn begin(&self, outside: &Outside) -> Result<Option<Beginning>, Error> {
        let Some(found) = self.persist("topics", || self.look(outside))? else {
            return Ok(None);
        };
        let tables = chosen(&found.tables, &self.options.tables)?;
        for table in &tables {
            self.surroundings.status.table(&table.name, |_| {});
        }
        let mut beginning = Beginning::default();
        if !self.plan_all(outside, &tables, &mut beginning)? {
            return Ok(None);
        }
        for one in &found.refused {
            let (topic, table, reason) = (&one.topic, &one.table, &one.reason);
            tracing::error!(topic, table, reason, "topic refused");
            let suspended = (table.clone(), reason.clone());
            if !beginning.suspended.contains(&suspended) {
                beginning.suspended.push(suspended);
            }
        }
        self.surroundings.status.set_refused(found.refused);
        Ok(Some(beginning))
    }

    /// The topics that there are, as tables; without patterns nobody is asked.
    fn look(&self, outside: &Outside) -> Result<Expansion, Error> {
        let config = self.config;
        if config.patterns.is_empty() {
            return Ok(Expansion {
                tables: config.tables.clone(),
                ..Expansion::default()
            });
        }
        let asking = Asking {
            config,
            lookup: &outside.lookup,
            store: &outside.store,
            clock: &outside.clock,
        };
        let found = self.runtime.block_on(asking.look(&Feeds::new()))?;
        let has_nothing = found.tables.is_empty() && found.refused.is_empty();
        let is_missing = !found.unmatched.is_empty() && self.options.tables.is_empty();
        if has_nothing || (self.options.until_caught_up && is_missing) {
            return Err(Error::NoTopic {
                patterns: found.unmatched.join("`, `"),
            });
        }
        for pattern in &found.unmatched {
            tracing::warn!(pattern, "no topic matches topics_regex yet");
        }
        Ok(found)
    }

    /// Plans every table; whether it was not stopped meanwhile.
    fn plan_all(
        &self,
        outside: &Outside,
        tables: &[settings::Table],
        beginning: &mut Beginning,
    ) -> Result<bool, Error> {
        for table in tables {
            match self.plan_one(outside, table) {
                Ok(Some(done)) => beginning.planned.push(done),
                Ok(None) => return Ok(false),
                Err(Error::Suspended { tables: these }) if tables.len() > 1 => {
                    for (name, reason) in &these {
                        self.show_suspended(name, reason);
                    }
                    beginning.suspended.extend(these);
                }
                // Only what a person must look at in this table stops this table alone, and what is still to happen to its topics.
                Err(error) if stops_one(&error, table, tables.len() > 1) => {
                    let reason = error.to_string();
                    self.show_suspended(&table.name, &reason);
                    if error.kind() == Kind::Unavailable {
                        beginning.missing = Some(reason.clone());
                    }
                    beginning.suspended.push((table.name.clone(), reason));
                }
                Err(error) => return Err(error),
            }
        }
        let waiting = waiting_with(tables, &beginning.suspended);
        beginning
            .planned
            .retain(|it| !waiting.contains_key(&it.plan.settings.name));
        for (name, reason) in waiting {
            self.show_suspended(&name, &reason);
            beginning.waiting.insert(name.clone());
            beginning.suspended.push((name, reason));
        }
        Ok(true)
    }

    /// Waits for what is away, unless only the topics of a table that a pattern makes are waited for: others go on meanwhile.
    fn plan_one(
        &self,
        outside: &Outside,
        table: &settings::Table,
    ) -> Result<Option<Planned>, Error> {
        let may_wait = table.found.is_some() && !self.options.until_caught_up;
        let planned = self.persist(&format!("table `{}`", table.name), || {
            match self.runtime.block_on(self.plan(outside, table)) {
                Err(error) if may_wait && waits_for_topics(&error) => Ok(Err(error)),
                Err(error) => Err(error),
                Ok(planned) => Ok(Ok(planned)),
            }
        })?;
        planned.transpose()
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
        let timeout = QUESTION.min(self.options.timeout);
        Outside::of(self.config, &self.surroundings.clock, timeout)
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
}
