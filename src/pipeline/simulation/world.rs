//! The world of one simulation: its instances, Kafka, the far end, foreign engines, and the order in which they act. Owns the schedule and the final reckoning.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::{Arc, Mutex};

use crate::config::{self, settings};
use crate::error::Kind;
use crate::model::commit::CommitOutcome;
use crate::pipeline::simulation::Report;
use crate::pipeline::simulation::foreign::Lake;
use crate::pipeline::simulation::instance::{Ended, Instance, Phase, Surroundings};
use crate::pipeline::simulation::oracle;
use crate::pipeline::simulation::upkeep::Maintainer;
use crate::testing::broker::{Broker, Protocol};
use crate::testing::distant_store::{DistantStore, FarEnd, Gate};
use crate::testing::random::Random;
use crate::testing::timeline::{InstanceClock, Timeline};
use crate::testing::trace::Trace;
use crate::trial;

/// How long everything may take to come right once the faults have ended.
const PATIENCE_MS: u64 = 600_000;
/// How often it is looked whether everything has come right.
const LOOK_MS: u64 = 5_000;

pub(super) struct World {
    pub(super) random: Random,
    pub(super) timeline: Timeline,
    pub(super) trace: Trace,
    pub(super) broker: Broker,
    pub(super) end: FarEnd,
    /// By table.
    pub(super) lakes: Vec<Lake>,
    pub(super) instances: Vec<Instance>,
    pub(super) maintainers: Vec<Maintainer>,
    /// Until then only maintainers are awake.
    pub(super) night_until_ms: u64,
    pub(super) lives: u64,
    pub(super) records: i64,
    pub(super) counts: BTreeMap<&'static str, u64>,
    /// Whether a txn of ours was taken away, so that tables may wait for a person.
    pub(super) is_forgotten: bool,
    /// When the faults end, at the soonest.
    pub(super) calm_at_ms: u64,
    /// Whether they have ended, and each log has got a record behind the last one that was lost.
    pub(super) is_mended: bool,
    /// When the next record is produced, the next thing happens, the group does what is due.
    pub(super) produce_at_ms: u64,
    pub(super) happens_at_ms: u64,
    ticks_at_ms: u64,
    /// By table; several share the topic.
    settings: Vec<settings::Table>,
    /// The first life that knows every table: before it, the last one is not in the config yet.
    pub(super) all_tables_from: u64,
    /// Whether lives that do not know every table find it while they run.
    finds_tables: bool,
    lanes: usize,
    pool_bytes: u64,
    gate_violations: Arc<Mutex<Vec<String>>>,
    outcomes: Vec<(String, CommitOutcome)>,
    suspended: BTreeSet<String>,
}

/// Who acts next.
enum Actor {
    Plan(usize),
    Control(usize),
    Lane(usize, usize),
    Flusher(usize, usize),
    Find(usize),
    Maintainer(usize),
}

impl World {
    pub(super) fn new(seed: u64) -> World {
        let mut random = Random::new(seed);
        let (timeline, trace) = (Timeline::default(), Trace::default());
        let protocol = if random.per_mille(500) {
            Protocol::Eager
        } else {
            Protocol::Cooperative
        };
        let partitions = random.index(3) + 1;
        let broker = Broker::new(partitions, protocol, random.child(), &timeline, &trace);
        let end = FarEnd::default();
        let lag_s = [1, 3, 10][random.index(3)];
        let pool_bytes = if random.per_mille(150) {
            64 << 10
        } else {
            16 << 20
        };
        // Not drawn, so that the other seeds do not depend on it.
        let settings = match seed % 3 {
            1 => vec![table_settings("t", lag_s), table_settings("u", 11 - lag_s)],
            _ => vec![table_settings("t", lag_s)],
        };
        let mut world = World {
            calm_at_ms: random.within(60_000..=240_000),
            lanes: random.index(2) + 1,
            lakes: settings
                .iter()
                .map(|table| Lake::new(end.objects(), &table.path))
                .collect(),
            settings,
            all_tables_from: if seed.is_multiple_of(2) { 4 } else { 0 },
            finds_tables: seed.is_multiple_of(4),
            pool_bytes,
            timeline,
            trace,
            broker,
            end,
            instances: Vec::new(),
            maintainers: Vec::new(),
            night_until_ms: 0,
            lives: 0,
            records: 0,
            counts: BTreeMap::new(),
            is_forgotten: false,
            is_mended: false,
            produce_at_ms: 0,
            happens_at_ms: 0,
            ticks_at_ms: 0,
            gate_violations: Arc::default(),
            outcomes: Vec::new(),
            suspended: BTreeSet::new(),
            random,
        };
        world.note(format_args!(
            "{protocol:?}, {partitions} topic partitions, lag {lag_s} s"
        ));
        for _ in 0..world.random.index(2) + 1 {
            world.begin_instance();
        }
        for _ in 0..world.random.index(3) {
            let with = world.surroundings();
            let table = world.maintainers.len() % world.lakes.len();
            let path = &world.settings[table].path;
            world.maintainers.push(Maintainer::new(with, table, path));
        }
        world
    }

    pub(super) fn now(&self) -> u64 {
        self.timeline.now_ms()
    }

    pub(super) fn note(&self, what: impl std::fmt::Display) {
        self.trace.note(self.now(), "world", what);
    }

    pub(super) fn count(&mut self, kind: &'static str) {
        *self.counts.entry(kind).or_default() += 1;
    }

    pub(super) fn is_calm(&self) -> bool {
        self.now() >= self.calm_at_ms
    }

    /// Another process of the sink.
    pub(super) fn begin_instance(&mut self) {
        let with = self.surroundings();
        self.instances.push(Instance::new(self.lives, with));
    }

    /// Lets a dead process's successor begin.
    fn begin_again(&mut self, index: usize) {
        let with = self.surroundings();
        self.instances[index] = Instance::new(self.lives, with);
    }

    fn surroundings(&mut self) -> Surroundings {
        self.lives += 1;
        let life = self.lives;
        let (broker, violations) = (self.broker.clone(), Arc::clone(&self.gate_violations));
        let gate: Gate = Arc::new(move |path, bytes| {
            for number in committed_numbers(path, bytes) {
                if broker.has_given_back(life, number) {
                    violations.lock().unwrap().push(format!(
                        "life {life} starts a commit of topic partition {number}, which it gave back (EPOCH-1)"
                    ));
                }
            }
        });
        let name = format!("life {life}");
        // Not drawn, so that a seed's other events do not depend on it. Lives that declare other columns, and other types, are a config that is rolled out.
        let declared = usize::try_from(life).unwrap_or(0) * 2 + 1 + self.lanes;
        let known = match self.settings.len() {
            all @ 2.. if life < self.all_tables_from => all - 1,
            all => all,
        };
        let mut settings: Vec<settings::Table> = (0..)
            .zip(&self.settings)
            .map(|(table, settings): (usize, _)| {
                declaring(settings, DECLARED[(declared + 3 * table) % DECLARED.len()])
            })
            .collect();
        // The last table is new to these lives: of every other seed it comes to their successors only, of the others they find it while they run.
        let new = settings.split_off(known).into_iter().next();
        let finds = new.filter(|_| self.finds_tables).map(|table| {
            let after_ms = 5_000 * (life * 7 % 11);
            (table, self.now() + after_ms)
        });
        Surroundings {
            broker: self.broker.clone(),
            store: DistantStore::new(
                &self.end,
                &self.timeline,
                &self.trace,
                &name,
                self.random.child(),
            )
            .with_gate(gate),
            clock: InstanceClock::new(&self.timeline, self.random.child()),
            settings,
            finds,
            lanes: self.lanes,
            pool_bytes: self.pool_bytes,
        }
    }

    /// Plays until everything has come right after the faults, then reckons.
    pub(super) fn play(&mut self) -> Result<Report, String> {
        let mut look_at_ms = 0;
        loop {
            self.end.arrive(self.now(), &self.trace);
            self.happen()?;
            if self.now() >= self.ticks_at_ms {
                self.ticks_at_ms = self.now() + 500;
                self.broker.tick();
            }
            let ready = self.ready();
            if ready.is_empty() {
                self.advance();
            } else {
                let actor = &ready[self.random.index(ready.len())];
                self.act(actor)?;
                self.check()?;
            }
            if self.is_mended && self.now() >= look_at_ms {
                look_at_ms = self.now() + LOOK_MS;
                if self.has_come_right()? {
                    return self.reckon();
                }
                if self.now() > self.calm_at_ms + PATIENCE_MS {
                    let tables = self.read()?;
                    let offsets: Vec<_> = tables.iter().map(|table| &table.offsets).collect();
                    return Err(format!(
                        "not everything was read {} s after the faults ended: the tables stand at {offsets:?}",
                        PATIENCE_MS / 1000,
                    ));
                }
            }
        }
    }

    fn ready(&self) -> Vec<Actor> {
        let now = self.now();
        let mut ready = Vec::new();
        for (index, instance) in self.instances.iter().enumerate() {
            if instance.frozen_until_ms > now {
                continue;
            }
            match &instance.phase {
                Phase::Starting(task) if task.is_woken() => ready.push(Actor::Plan(index)),
                Phase::Waiting(until) | Phase::Dead(until) if *until <= now => {
                    ready.push(Actor::Plan(index));
                }
                Phase::Starting(_) | Phase::Waiting(_) | Phase::Dead(_) => {}
                Phase::Running(running) => {
                    if instance.control_at_ms <= now {
                        ready.push(Actor::Control(index));
                    }
                    let flushers = running.flushers.iter().zip(&instance.flushers_at_ms);
                    for (table, (flusher, at)) in flushers.enumerate() {
                        if *at <= now && flusher.is_woken() {
                            ready.push(Actor::Flusher(index, table));
                        }
                    }
                    for (lane, at) in instance.lanes_at_ms.iter().enumerate() {
                        if *at <= now {
                            ready.push(Actor::Lane(index, lane));
                        }
                    }
                    if instance.may_find(now) {
                        ready.push(Actor::Find(index));
                    }
                }
            }
        }
        for (index, maintainer) in self.maintainers.iter().enumerate() {
            if maintainer.at_ms <= now && maintainer.is_willing() {
                ready.push(Actor::Maintainer(index));
            }
        }
        ready
    }

    /// To the next moment at which anything can happen.
    fn advance(&mut self) {
        let now = self.now();
        let mut next = self
            .ticks_at_ms
            .min(self.produce_at_ms)
            .min(self.happens_at_ms);
        next = next.min(self.timeline.next_timer_ms().unwrap_or(u64::MAX));
        next = next.min(self.end.next_arrival_ms().unwrap_or(u64::MAX));
        for instance in &self.instances {
            let at = match &instance.phase {
                Phase::Running(running) => {
                    let flushers = running.flushers.iter().zip(&instance.flushers_at_ms);
                    let woken = flushers.filter(|(flusher, _)| flusher.is_woken());
                    let flusher = woken.map(|(_, at)| *at).min();
                    let lanes = instance.lanes_at_ms.iter().copied().min();
                    instance
                        .control_at_ms
                        .min(flusher.unwrap_or(u64::MAX))
                        .min(lanes.unwrap_or(u64::MAX))
                        .min(instance.finds_at_ms())
                }
                Phase::Starting(task) => {
                    if task.is_woken() {
                        now
                    } else {
                        u64::MAX
                    }
                }
                Phase::Waiting(until) | Phase::Dead(until) => *until,
            };
            next = next.min(at.max(instance.frozen_until_ms));
        }
        for maintainer in &self.maintainers {
            if maintainer.is_willing() {
                next = next.min(maintainer.at_ms);
            }
        }
        self.timeline.advance_to(next.max(now + 1));
    }

    fn act(&mut self, actor: &Actor) -> Result<(), String> {
        let now = self.now();
        match *actor {
            Actor::Plan(index) => return self.plan(index),
            Actor::Maintainer(index) => return self.maintain(index),
            Actor::Find(index) => return self.find(index),
            Actor::Control(index) => {
                self.instances[index].control_at_ms = now + self.pace();
                if let Phase::Running(running) = &mut self.instances[index].phase
                    && let Some(ended) = running.turn()
                {
                    return self.ended(index, ended);
                }
            }
            Actor::Lane(index, lane) => {
                self.instances[index].lanes_at_ms[lane] = now + self.pace();
                if let Phase::Running(running) = &mut self.instances[index].phase {
                    running.lanes[lane].lock().unwrap().step();
                }
            }
            Actor::Flusher(index, table) => {
                // A task is not always run as soon as it could.
                if self.random.per_mille(100) {
                    self.instances[index].flushers_at_ms[table] = now + self.random.within(1..=500);
                    return Ok(());
                }
                if let Phase::Running(running) = &mut self.instances[index].phase
                    && running.flushers[table].poll().is_some()
                {
                    return Err("a flusher ended".to_owned());
                }
            }
        }
        Ok(())
    }

    /// How long a polling thread takes to its next step; now and then it is held up.
    fn pace(&mut self) -> u64 {
        if self.random.per_mille(20) {
            self.random.within(300..=3_000)
        } else {
            self.random.within(30..=300)
        }
    }

    fn plan(&mut self, index: usize) -> Result<(), String> {
        let now = self.now();
        let instance = &mut self.instances[index];
        match &mut instance.phase {
            Phase::Starting(task) => match task.poll() {
                None => {}
                Some(Ok(planned)) => {
                    instance.join(planned);
                    instance.control_at_ms = now;
                }
                Some(Err(error)) if error.kind() == Kind::Unavailable => {
                    instance.phase = Phase::Waiting(now + 1_000);
                }
                Some(Err(error)) => {
                    return self.ended(index, Ended::Exit(error.kind(), error.to_string()));
                }
            },
            Phase::Waiting(_) => instance.start(),
            Phase::Dead(_) => self.begin_again(index),
            Phase::Running(_) => {}
        }
        Ok(())
    }

    fn find(&mut self, index: usize) -> Result<(), String> {
        let now = self.now();
        match self.instances[index].find(now) {
            Ok(false) => Ok(()),
            Ok(true) => {
                self.note(format_args!(
                    "life {} finds a table",
                    self.instances[index].life
                ));
                self.count("tables found");
                Ok(())
            }
            Err(error) => self.ended(index, Ended::Exit(error.kind(), error.to_string())),
        }
    }

    fn ended(&mut self, index: usize, ended: Ended) -> Result<(), String> {
        let reason = match ended {
            Ended::Exit(Kind::Superseded, reason) => {
                self.note(format_args!(
                    "life {} exits: {reason}",
                    self.instances[index].life
                ));
                self.count("exits superseded");
                self.kill(index, 5_000, true);
                return Ok(());
            }
            Ended::Suspended(reason) | Ended::Exit(_, reason) => reason,
        };
        // Only what was done to the table may ask for a person.
        if self.is_forgotten && reason.contains("lakeward/") {
            if self.suspended.insert(reason.clone()) {
                self.note(format_args!("suspended: {reason}"));
                self.count("suspensions");
            }
            self.kill(index, 60_000, true);
            return Ok(());
        }
        Err(format!(
            "life {} stops without cause: {reason}",
            self.instances[index].life
        ))
    }

    /// The process is gone; what it had on its way to the store is not.
    pub(super) fn kill(&mut self, index: usize, away_ms: u64, at_once: bool) {
        let now = self.now();
        let instance = &mut self.instances[index];
        self.broker.gone(instance.life, at_once);
        instance.phase = Phase::Dead(now + away_ms);
        instance.frozen_until_ms = 0;
    }

    fn check(&mut self) -> Result<(), String> {
        for (id, outcome) in trial::take_outcomes() {
            self.note(format_args!("commit {id}: {outcome:?}"));
            self.count(match outcome {
                CommitOutcome::Committed(_) => "committed",
                CommitOutcome::Superseded(_) => "superseded",
                CommitOutcome::Conflict(_) => "conflicts",
                CommitOutcome::Unknown(_) => "unknown",
            });
            self.outcomes.push((id, outcome));
        }
        if let Some(violation) = self.gate_violations.lock().unwrap().pop() {
            return Err(violation);
        }
        self.broker
            .violations()
            .into_iter()
            .next()
            .map_or(Ok(()), Err)
    }

    fn has_come_right(&self) -> Result<bool, String> {
        if self.is_forgotten && !self.suspended.is_empty() {
            return Ok(true);
        }
        let ends = self.broker.ends();
        for lake in &self.lakes {
            let table = lake.read()?;
            let is_right = table.versions > 0
                && oracle::unpublished(&table, &lake.rejected()?).is_empty()
                && ends
                    .iter()
                    .all(|(number, end)| table.offsets.get(number) == Some(end));
            if !is_right {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn read(&self) -> Result<Vec<oracle::Table>, String> {
        self.lakes.iter().map(Lake::read).collect()
    }

    /// One of the tables.
    pub(super) fn some_lake(&mut self) -> usize {
        match self.lakes.len() {
            1 => 0,
            more => self.random.index(more),
        }
    }

    /// Whether a life does not know every table.
    pub(super) fn is_behind(&self, index: usize) -> bool {
        let with = &self.instances[index].surroundings;
        with.settings.len() < self.settings.len() && with.finds.is_none()
    }

    /// What holds at the end: every record once, and every outcome true.
    fn reckon(&mut self) -> Result<Report, String> {
        let (tables, logs) = (self.read()?, self.broker.logs());
        let is_settled = self.suspended.is_empty();
        let mut rows = 0;
        for (table, lake) in tables.iter().zip(&self.lakes) {
            let judged =
                oracle::rejected(table, &lake.rejected()?, |path| lake.rejected_file(path))
                    .and_then(|rejected| {
                        *self.counts.entry("rejects").or_default() += rejected.len() as u64;
                        let file = |path: &str| lake.file(path);
                        oracle::judge(table, file, &logs, rejected, is_settled)
                    });
            rows += judged.map_err(|violation| format!("table {}: {violation}", lake.path()))?;
        }
        if tables.len() > 1 {
            self.count("families");
        }
        for (id, outcome) in &self.outcomes {
            let found = tables.iter().find_map(|table| table.commits.get(id));
            let is_true = match outcome {
                CommitOutcome::Committed(version) => found == Some(version),
                CommitOutcome::Superseded(_) | CommitOutcome::Conflict(_) => found.is_none(),
                CommitOutcome::Unknown(_) => true,
            };
            if !is_true {
                return Err(format!(
                    "commit {id} came to {outcome:?}, but in the log it is {found:?} (COMMIT-1)"
                ));
            }
        }
        let (hash, lines) = self.trace.hash();
        Ok(Report {
            hash,
            lines,
            rows,
            versions: tables.iter().map(|table| table.versions).sum(),
            virtual_ms: self.now(),
            counts: self.counts.clone(),
        })
    }
}

/// The topic partitions that a log entry of ours moves.
fn committed_numbers(path: &str, bytes: &[u8]) -> Vec<i32> {
    if !path.contains("/_delta_log/") {
        return Vec::new();
    }
    let Some(info) = bytes
        .split(|byte| *byte == b'\n')
        .next()
        .and_then(|line| serde_json::from_slice::<serde_json::Value>(line).ok())
    else {
        return Vec::new();
    };
    let spans = info["commitInfo"]["lakeward"]["spans"].as_array();
    spans
        .into_iter()
        .flatten()
        .filter_map(|span| i32::try_from(span["partition"].as_i64()?).ok())
        .collect()
}

/// What lives declare: columns that differ in number, order and type.
const DECLARED: [&str; 5] = [
    "id long",
    "id long, a long",
    "b struct<x long>, id long, a int",
    "id long, b struct<y string, x int>",
    "id int, c array<struct<z long>>",
];

/// The same settings with other declared columns.
fn declaring(settings: &settings::Table, ddl: &str) -> settings::Table {
    let mut settings = settings.clone();
    let text = format!(
        "version: 1\nname: s\nkafka: {{ bootstrap_servers: \"k:1\" }}\nstorage: {{ url: \"file:///l\" }}\ntables:\n  - name: t\n    topics: [t]\n    value: {{ format: json, schema: {{ ddl: \"{ddl}\" }} }}\n"
    );
    let config = config::parse(&text, Path::new("declared.yaml"), &|_| None).unwrap();
    settings.value = config.tables.into_iter().next().unwrap().value;
    settings
}

fn table_settings(name: &str, lag_s: u64) -> settings::Table {
    let text = format!(
        "version: 1
name: simulation
kafka: {{ bootstrap_servers: \"simulated:9092\" }}
storage: {{ url: \"file:///lake\" }}
tables:
  - name: {name}
    topics: [events]
    value: {{ format: json, schema: {{ ddl: \"id long\" }} }}
    target_lag: {lag_s}s
    on_lost_offsets: continue
"
    );
    let config = config::parse(&text, Path::new("simulation.yaml"), &|_| None).unwrap();
    config.tables.into_iter().next().unwrap()
}
