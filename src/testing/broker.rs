//! A scripted Kafka for simulations: logs with holes, a consumer group with an eager or a cooperative protocol, members that are expelled without knowing it, fetches in
//! small pieces. Owns what Kafka would do; faults come from the seed, not from here.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::model::identity::TopicIdentity;
use crate::model::lineage::{Claim, UNKNOWN_LEADER_EPOCH};
use crate::model::offset::TopicPartition;
use crate::model::record::{Coordinates, Records, TimestampType};
use crate::source::{
    Error, Event, Fetch, FetchError, Fetches, Forwards, Member, Questions, StartAt, Watermarks,
};
use crate::testing::random::Random;
use crate::testing::timeline::Timeline;
use crate::testing::trace::Trace;

/// The topic that there is.
const TOPIC: &str = "events";
/// A member that has not polled for so long is expelled.
const SESSION_MS: u64 = 10_000;
/// A member that owes an answer for so long is expelled.
const REBALANCE_MS: u64 = 60_000;
/// Records of one fetch.
const RECORDS_MAX: u64 = 6;
/// The timestamp of offset 0.
const FIRST_MS: i64 = 1_767_225_600_000;

/// How the group moves topic partitions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// All are given back before any is handed out.
    Eager,
    /// Only those that move are given back.
    Cooperative,
}

/// The cluster; clones share it.
#[derive(Debug, Clone)]
pub struct Broker(Arc<Mutex<Cluster>>);

#[derive(Debug)]
struct Cluster {
    topic: Arc<str>,
    protocol: Protocol,
    random: Random,
    timeline: Timeline,
    trace: Trace,
    logs: Vec<Log>,
    members: BTreeMap<u64, Life>,
    /// Who may have a topic partition, as the group has it.
    owners: BTreeMap<i32, u64>,
    targets: BTreeMap<i32, u64>,
    /// An eager rebalance under way: nothing is handed out before all is back.
    collecting: bool,
    /// Whether the cluster answers questions and fetches.
    is_away: bool,
    violations: Vec<String>,
}

/// One topic partition's log.
#[derive(Debug, Default)]
struct Log {
    life: LogLife,
    /// The first offset of each leader epoch; 0 begins at 0.
    epochs: BTreeMap<i32, i64>,
    leader_epoch: i32,
    /// What it was before each truncation, the oldest first.
    former: Vec<LogLife>,
}

/// A log between two truncations: the records by offset; what is missing below the end is a marker or was aborted.
#[derive(Debug, Default, Clone)]
pub struct LogLife {
    /// The records by offset.
    pub records: BTreeMap<i64, Logged>,
    /// The offset of the next record.
    pub end: i64,
}

/// A record in a log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Logged {
    /// The leader epoch it was written under.
    pub leader_epoch: i32,
    /// Its value; `None` is a tombstone.
    pub value: Option<String>,
}

/// One life of a member.
#[derive(Debug, Default)]
struct Life {
    events: VecDeque<Event>,
    polled_ms: u64,
    is_subscribed: bool,
    is_expelled: bool,
    /// When an expelled member gets to know it.
    learns_ms: u64,
    /// Whether it knows, and has not acknowledged yet.
    knows_loss: bool,
    /// Whether the last event is not answered yet; librdkafka tells the next one only then, unless all is lost.
    owes_answer: bool,
    owes_since_ms: u64,
    /// What it was told to be its own.
    told: BTreeSet<i32>,
    /// What it was asked to give back.
    asked: BTreeSet<i32>,
    /// What it gave back, and was not told to be its own since.
    given_back: BTreeSet<i32>,
    fetching: BTreeMap<i32, Fetching>,
    lanes: BTreeMap<i32, usize>,
}

#[derive(Debug, Clone, Copy)]
struct Fetching {
    position: i64,
    is_paused: bool,
    end_told: Option<i64>,
    /// Whether the client has found the log truncated: it fetches nothing before it is assigned anew.
    is_cut: bool,
}

impl Broker {
    /// A cluster with one topic.
    pub fn new(
        partitions: usize,
        protocol: Protocol,
        random: Random,
        timeline: &Timeline,
        trace: &Trace,
    ) -> Self {
        Broker(Arc::new(Mutex::new(Cluster {
            topic: Arc::from(TOPIC),
            protocol,
            random,
            timeline: timeline.clone(),
            trace: trace.clone(),
            logs: (0..partitions).map(|_| Log::default()).collect(),
            members: BTreeMap::new(),
            owners: BTreeMap::new(),
            targets: BTreeMap::new(),
            collecting: false,
            is_away: false,
            violations: Vec::new(),
        })))
    }

    fn lock(&self) -> MutexGuard<'_, Cluster> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A member that has not joined yet.
    pub fn member(&self, life: u64) -> ScriptedMember {
        let mut cluster = self.lock();
        let polled_ms = cluster.timeline.now_ms();
        cluster.members.insert(
            life,
            Life {
                polled_ms,
                ..Life::default()
            },
        );
        ScriptedMember {
            broker: self.clone(),
            life,
        }
    }

    /// A lane's queue of a member.
    pub fn queue(&self, life: u64, lane: usize) -> ScriptedQueue {
        ScriptedQueue {
            broker: self.clone(),
            life,
            lane,
        }
    }

    /// Appends a record, or only the place of one.
    pub fn produce(&self, number: usize, record: Option<Option<String>>) {
        let mut cluster = self.lock();
        if let Some(log) = cluster.logs.get_mut(number) {
            if let Some(value) = record {
                let leader_epoch = log.leader_epoch;
                let logged = Logged {
                    leader_epoch,
                    value,
                };
                log.life.records.insert(log.life.end, logged);
            }
            log.life.end += 1;
        }
    }

    /// Another replica leads, in an orderly way: it has every record.
    pub fn elect(&self, number: usize) {
        let mut cluster = self.lock();
        if let Some(log) = cluster.logs.get_mut(number) {
            log.begin_leader_epoch();
        }
    }

    /// Another replica leads that lacks the last offsets, up to `most` of them; answers how many. Clients that have read them may learn it as librdkafka does, where it hears
    /// of the new leader while it fetches; or not.
    pub fn elect_uncleanly(&self, number: usize, most: u64) -> u64 {
        let mut guard = self.lock();
        let cluster = &mut *guard;
        let Some(log) = cluster.logs.get_mut(number) else {
            return 0;
        };
        let lost = cluster.random.within(0..=most);
        let end = (log.life.end - i64::try_from(lost).unwrap_or(0)).max(0);
        let lost = log.life.end.abs_diff(end);
        log.former.push(log.life.clone());
        drop(log.life.records.split_off(&end));
        log.life.end = end;
        log.epochs.retain(|_, start| *start < end);
        log.begin_leader_epoch();
        let number = i32::try_from(number).unwrap_or(0);
        for life in cluster.members.values_mut() {
            if let Some(fetching) = life.fetching.get_mut(&number)
                && fetching.position > end
            {
                fetching.is_cut = cluster.random.per_mille(500);
            }
        }
        cluster.note(&format!(
            "topic partition {number} loses {lost} offsets from {end} on"
        ));
        lost
    }

    /// Topic partitions of the topic.
    pub fn partitions(&self) -> usize {
        self.lock().logs.len()
    }

    /// The topic gains a topic partition.
    pub fn grow(&self) {
        let mut cluster = self.lock();
        cluster.logs.push(Log::default());
        cluster.rebalance();
    }

    /// The cluster goes away, or comes back.
    pub fn set_away(&self, is_away: bool) {
        self.lock().is_away = is_away;
    }

    /// Deals the topic partitions anew.
    pub fn rebalance(&self) {
        self.lock().rebalance();
    }

    /// Expels a member, which learns it only later.
    pub fn expel(&self, life: u64, learns_after_ms: u64) {
        let mut cluster = self.lock();
        let learns_ms = cluster.timeline.now_ms() + learns_after_ms;
        cluster.expel(life, learns_ms);
    }

    /// A member's process is gone; the group learns it when its session ends, or at once.
    pub fn gone(&self, life: u64, at_once: bool) {
        let mut cluster = self.lock();
        if at_once {
            cluster.expel(life, u64::MAX);
        }
    }

    /// Lets the group do what is due.
    pub fn tick(&self) {
        let mut cluster = self.lock();
        let now = cluster.timeline.now_ms();
        let silent: Vec<u64> = cluster
            .members
            .iter()
            .filter(|(_, life)| {
                life.is_subscribed
                    && !life.is_expelled
                    && (now > life.polled_ms + SESSION_MS
                        || (life.owes_answer && now > life.owes_since_ms + REBALANCE_MS))
            })
            .map(|(number, _)| *number)
            .collect();
        for life in silent {
            cluster.expel(life, 0);
        }
        cluster.move_on();
    }

    /// Whether a member gave a topic partition back and has not been told since that it is its own (EPOCH-1).
    pub fn has_given_back(&self, life: u64, number: i32) -> bool {
        let cluster = self.lock();
        cluster
            .members
            .get(&life)
            .is_some_and(|life| life.given_back.contains(&number))
    }

    /// The lives of every log, by topic partition; the last one is that which there is.
    pub fn logs(&self) -> BTreeMap<i32, Vec<LogLife>> {
        let cluster = self.lock();
        let lives = |log: &Log| log.former.iter().chain([&log.life]).cloned().collect();
        (0..)
            .zip(&cluster.logs)
            .map(|(number, log)| (number, lives(log)))
            .collect()
    }

    /// Where the logs end now, by topic partition.
    pub fn ends(&self) -> BTreeMap<i32, i64> {
        let cluster = self.lock();
        (0..)
            .zip(&cluster.logs)
            .map(|(number, log)| (number, log.life.end))
            .collect()
    }

    /// What a client did that it may not do.
    pub fn violations(&self) -> Vec<String> {
        self.lock().violations.clone()
    }

    /// The cluster as who asks it.
    pub fn questions(&self) -> Arc<dyn Questions> {
        Arc::new(self.clone())
    }
}

impl Log {
    fn begin_leader_epoch(&mut self) {
        self.leader_epoch += 1;
        self.epochs.insert(self.leader_epoch, self.life.end);
    }

    /// Where it parts from what was read of it: as a leader answers to OffsetForLeaderEpoch, and by the first record behind.
    fn parts_at(&self, read: &Claim) -> Option<i64> {
        let (tail, end) = (read.tail, self.life.end);
        let next = self
            .epochs
            .range(tail.leader_epoch.saturating_add(1)..)
            .next();
        let end = match next {
            _ if tail.leader_epoch == UNKNOWN_LEADER_EPOCH => tail.end,
            _ if tail.leader_epoch == self.leader_epoch => end,
            Some((_, start)) => *start,
            None => 0,
        };
        if end < tail.end {
            return Some(end);
        }
        let behind = self.life.records.range(tail.end..read.up_to.max(tail.end));
        behind.map(|(offset, _)| *offset).next()
    }
}

impl Life {
    /// What a change of the assignment does to what is assigned already: an eager one begins anew; around an incremental one, librdkafka goes on one record behind an end
    /// that it has told (librdkafka #4844), unless it is told where.
    fn shake(&mut self, is_eager: bool) {
        if is_eager {
            self.fetching.clear();
        }
        for fetching in self.fetching.values_mut() {
            if fetching.end_told == Some(fetching.position) {
                fetching.position += 1;
            }
        }
    }
}

impl Cluster {
    fn note(&self, what: &str) {
        self.trace.note(self.timeline.now_ms(), "kafka", what);
    }

    fn named(&self, numbers: impl IntoIterator<Item = i32>) -> Vec<TopicPartition> {
        numbers
            .into_iter()
            .map(|number| TopicPartition::new(Arc::clone(&self.topic), number))
            .collect()
    }

    fn rebalance(&mut self) {
        let mut living: Vec<u64> = self
            .members
            .iter()
            .filter(|(_, life)| life.is_subscribed && !life.is_expelled)
            .map(|(number, _)| *number)
            .collect();
        self.targets.clear();
        if living.is_empty() {
            return;
        }
        let first = self.random.index(living.len());
        living.rotate_left(first);
        for (number, life) in (0..)
            .zip(&self.logs)
            .map(|(number, _)| number)
            .zip(living.iter().cycle())
        {
            self.targets.insert(number, *life);
        }
        self.collecting = self.protocol == Protocol::Eager;
        self.note(&format!("deals {:?}", self.targets));
        self.move_on();
    }

    /// Asks back what is to move, and hands out what is free.
    fn move_on(&mut self) {
        let mut asked: BTreeMap<u64, Vec<i32>> = BTreeMap::new();
        for (number, owner) in &self.owners {
            if (self.collecting || self.targets.get(number) != Some(owner))
                && self
                    .members
                    .get(owner)
                    .is_some_and(|life| !life.asked.contains(number))
            {
                asked.entry(*owner).or_default().push(*number);
            }
        }
        for (owner, numbers) in asked {
            let event = Event::Revoked(self.named(numbers.iter().copied()));
            if let Some(life) = self.members.get_mut(&owner) {
                life.asked.extend(numbers);
                life.events.push_back(event);
            }
        }
        if self.collecting && !self.owners.is_empty() {
            return;
        }
        self.collecting = false;
        let mut given: BTreeMap<u64, Vec<i32>> = BTreeMap::new();
        for (number, target) in &self.targets {
            if !self.owners.contains_key(number) {
                given.entry(*target).or_default().push(*number);
            }
        }
        for (target, numbers) in given {
            let event = Event::Assigned(self.named(numbers.iter().copied()));
            if let Some(life) = self.members.get_mut(&target) {
                life.events.push_back(event);
                self.owners
                    .extend(numbers.into_iter().map(|number| (number, target)));
            }
        }
    }

    fn expel(&mut self, number: u64, learns_ms: u64) {
        let Some(life) = self.members.get_mut(&number) else {
            return;
        };
        if life.is_expelled {
            return;
        }
        life.is_expelled = true;
        life.learns_ms = learns_ms;
        life.events.clear();
        life.asked.clear();
        self.owners.retain(|_, owner| *owner != number);
        self.note(&format!("expels member {number}"));
        self.rebalance();
    }

    /// An expelled member joins again.
    fn take_back(&mut self, number: u64) {
        if let Some(life) = self.members.get_mut(&number) {
            life.is_expelled = false;
            life.knows_loss = false;
        }
        self.rebalance();
    }

    fn unreachable(&self) -> Error {
        Error::Unreachable {
            bootstrap_servers: "simulated:9092".to_owned(),
            doing: "being asked".to_owned(),
            reason: "simulated".to_owned(),
        }
    }
}

/// Membership of one life.
#[derive(Debug)]
pub struct ScriptedMember {
    broker: Broker,
    life: u64,
}

impl Member for ScriptedMember {
    fn subscribe(&self, _: &[&str]) -> Result<(), Error> {
        let mut cluster = self.broker.lock();
        let now = cluster.timeline.now_ms();
        if let Some(life) = cluster.members.get_mut(&self.life) {
            life.is_subscribed = true;
            life.polled_ms = now;
        }
        cluster.rebalance();
        Ok(())
    }

    fn poll(&mut self, _: Duration) -> Vec<Event> {
        let mut cluster = self.broker.lock();
        let now = cluster.timeline.now_ms();
        let Some(life) = cluster.members.get_mut(&self.life) else {
            return Vec::new();
        };
        life.polled_ms = now;
        let mut events = Vec::new();
        if life.is_expelled && now >= life.learns_ms && !life.knows_loss {
            let lost: Vec<i32> = life.told.iter().copied().collect();
            if lost.is_empty() {
                cluster.take_back(self.life);
            } else {
                life.knows_loss = true;
                events.push(Event::Lost(cluster.named(lost)));
            }
        } else if !life.owes_answer
            && let Some(event) = life.events.pop_front()
        {
            life.owes_answer = true;
            life.owes_since_ms = now;
            if let Event::Assigned(all) = &event {
                for it in all {
                    life.told.insert(it.number);
                    life.given_back.remove(&it.number);
                }
            }
            events.push(event);
        }
        for event in &events {
            cluster.note(&format!("tells member {}: {event:?}", self.life));
        }
        events
    }

    fn assign(&mut self, starts: &BTreeMap<TopicPartition, Option<i64>>) -> Result<(), Error> {
        let mut cluster = self.broker.lock();
        let is_eager = cluster.protocol == Protocol::Eager;
        cluster.note(&format!("member {} assigns {starts:?}", self.life));
        let mut violation = None;
        if let Some(life) = cluster.members.get_mut(&self.life) {
            life.owes_answer = false;
            life.shake(is_eager);
            for (it, offset) in starts {
                if !life.told.contains(&it.number) {
                    violation = Some(format!(
                        "member {} assigns {it}, which is not its own",
                        self.life
                    ));
                }
                if offset.is_some() && !life.lanes.contains_key(&it.number) {
                    violation = Some(format!("member {} assigns {it} without a lane", self.life));
                }
                life.fetching.insert(
                    it.number,
                    Fetching {
                        position: offset.unwrap_or(0),
                        is_paused: offset.is_none(),
                        end_told: None,
                        is_cut: false,
                    },
                );
            }
        }
        cluster.violations.extend(violation);
        Ok(())
    }

    fn retained(&self, changed: &[TopicPartition]) -> Vec<TopicPartition> {
        let cluster = self.broker.lock();
        let stays = cluster
            .members
            .get(&self.life)
            .into_iter()
            .flat_map(|life| life.fetching.keys());
        let stays = stays.filter(|number| changed.iter().all(|it| it.number != **number));
        match cluster.protocol {
            Protocol::Eager => Vec::new(),
            Protocol::Cooperative => cluster.named(stays.copied()),
        }
    }

    fn acknowledge(&mut self, revoked: &[TopicPartition]) -> Result<(), Error> {
        let mut cluster = self.broker.lock();
        let is_eager = cluster.protocol == Protocol::Eager;
        let number = self.life;
        if let Some(life) = cluster.members.get_mut(&number) {
            life.owes_answer = false;
            life.shake(is_eager);
            for it in revoked {
                life.fetching.remove(&it.number);
                life.told.remove(&it.number);
                life.asked.remove(&it.number);
                life.given_back.insert(it.number);
            }
        }
        for it in revoked {
            if cluster.owners.get(&it.number) == Some(&number) {
                cluster.owners.remove(&it.number);
            }
        }
        cluster.note(&format!("member {number} acknowledges {}", revoked.len()));
        if cluster
            .members
            .get(&number)
            .is_some_and(|life| life.knows_loss)
        {
            cluster.take_back(number);
        }
        cluster.move_on();
        Ok(())
    }

    fn take_back(&mut self, all: &[TopicPartition]) -> Result<(), Error> {
        let mut cluster = self.broker.lock();
        let is_eager = cluster.protocol == Protocol::Eager;
        if let Some(life) = cluster.members.get_mut(&self.life) {
            life.shake(is_eager);
            for it in all {
                life.fetching.remove(&it.number);
                life.lanes.remove(&it.number);
            }
        }
        Ok(())
    }

    fn is_cooperative(&self) -> bool {
        self.broker.lock().protocol == Protocol::Cooperative
    }

    fn resume_at(
        &self,
        starts: &BTreeMap<TopicPartition, i64>,
    ) -> Result<BTreeMap<TopicPartition, i64>, Error> {
        let mut guard = self.broker.lock();
        let cluster = &mut *guard;
        let mut unsought = starts.clone();
        if let Some(life) = cluster.members.get_mut(&self.life) {
            // What is not assigned cannot be sought, nor can what librdkafka is busy with.
            unsought.retain(|it, offset| match life.fetching.get_mut(&it.number) {
                Some(fetching) if !cluster.random.per_mille(50) => {
                    *fetching = Fetching {
                        position: *offset,
                        is_paused: false,
                        end_told: None,
                        is_cut: fetching.is_cut,
                    };
                    false
                }
                Some(_) | None => true,
            });
        }
        if !starts.is_empty() {
            cluster.note(&format!(
                "member {} resumes {starts:?} but for {unsought:?}",
                self.life
            ));
        }
        Ok(unsought)
    }

    fn pause(&self, all: &[TopicPartition]) -> Result<(), Error> {
        let mut cluster = self.broker.lock();
        if let Some(life) = cluster.members.get_mut(&self.life) {
            for it in all {
                if let Some(fetching) = life.fetching.get_mut(&it.number) {
                    fetching.is_paused = true;
                }
            }
        }
        Ok(())
    }

    fn report_offsets(&self, _: &BTreeMap<TopicPartition, i64>) {}

    fn close(self: Box<Self>) {
        self.broker.gone(self.life, true);
    }
}

/// One lane's queue.
#[derive(Debug, Clone)]
pub struct ScriptedQueue {
    broker: Broker,
    life: u64,
    lane: usize,
}

impl Forwards for ScriptedQueue {
    fn attach(&self, topic_partition: &TopicPartition) -> Result<(), Error> {
        let mut cluster = self.broker.lock();
        if let Some(life) = cluster.members.get_mut(&self.life) {
            life.lanes.insert(topic_partition.number, self.lane);
        }
        Ok(())
    }
}

impl Fetches for ScriptedQueue {
    fn poll(&mut self, _: Duration) -> Vec<Fetch> {
        let mut guard = self.broker.lock();
        let cluster = &mut *guard;
        let Some(life) = cluster.members.get_mut(&self.life) else {
            return Vec::new();
        };
        let mut fetches = Vec::new();
        for (number, fetching) in &mut life.fetching {
            if fetching.is_paused || life.lanes.get(number) != Some(&self.lane) {
                continue;
            }
            let topic_partition = TopicPartition::new(Arc::clone(&cluster.topic), *number);
            if cluster.is_away {
                if cluster.random.per_mille(100) {
                    fetches.push(failed(topic_partition, false));
                }
                continue;
            }
            // Not every poll finds something.
            if cluster.random.per_mille(300) {
                continue;
            }
            let Some(log) = usize::try_from(*number)
                .ok()
                .and_then(|number| cluster.logs.get(number))
            else {
                continue;
            };
            if fetching.is_cut || fetching.position > log.life.end {
                fetches.push(failed(topic_partition, true));
                continue;
            }
            fetches.extend(fetch(
                topic_partition,
                fetching,
                log,
                cluster.random.within(1..=RECORDS_MAX),
            ));
        }
        fetches
    }
}

/// The next records from where it stands, and the end where that is reached.
fn fetch(
    topic_partition: TopicPartition,
    fetching: &mut Fetching,
    log: &Log,
    most: u64,
) -> Option<Fetch> {
    let mut records = Records::default();
    let most = usize::try_from(most).unwrap_or(1);
    for (offset, logged) in log.life.records.range(fetching.position..).take(most) {
        let at = Coordinates {
            offset: *offset,
            timestamp_ms: Some(FIRST_MS + offset),
            timestamp_type: TimestampType::CreateTime,
            leader_epoch: Some(logged.leader_epoch),
        };
        let value = logged.value.as_deref().map(str::as_bytes);
        records.push(at, None, value, []);
        fetching.position = offset + 1;
    }
    let LogLife { records: all, end } = &log.life;
    let is_at_end = all.range(fetching.position..).next().is_none();
    let end = (is_at_end && fetching.end_told != Some(*end)).then_some(*end);
    if let Some(end) = end {
        fetching.end_told = Some(end);
        fetching.position = end;
    }
    (!records.is_empty() || end.is_some()).then_some(Fetch {
        topic_partition,
        records,
        end,
        error: None,
    })
}

fn failed(topic_partition: TopicPartition, offset_out_of_range: bool) -> Fetch {
    Fetch {
        topic_partition,
        records: Records::default(),
        end: None,
        error: Some(FetchError {
            reason: "simulated".to_owned(),
            offset_out_of_range,
        }),
    }
}

impl Questions for Broker {
    fn cluster_id(&self) -> Option<String> {
        Some("simulated".to_owned())
    }

    fn identities(&self, topics: &[String]) -> Result<BTreeMap<String, TopicIdentity>, Error> {
        let cluster = self.lock();
        if cluster.is_away {
            return Err(cluster.unreachable());
        }
        let identity = TopicIdentity {
            cluster_id: self.cluster_id(),
            topic_id: Some("simulated".to_owned()),
        };
        Ok(topics
            .iter()
            .map(|topic| (topic.clone(), identity.clone()))
            .collect())
    }

    fn topics(&self) -> Result<Vec<String>, Error> {
        let cluster = self.lock();
        if cluster.is_away {
            return Err(cluster.unreachable());
        }
        Ok(vec![cluster.topic.to_string()])
    }

    fn topic_partitions(&self, _: &str) -> Result<Vec<TopicPartition>, Error> {
        let cluster = self.lock();
        if cluster.is_away {
            return Err(cluster.unreachable());
        }
        Ok(cluster.named((0..).zip(&cluster.logs).map(|(number, _)| number)))
    }

    fn watermarks(
        &self,
        all: &[TopicPartition],
    ) -> Result<BTreeMap<TopicPartition, Watermarks>, Error> {
        let cluster = self.lock();
        let marks_of = |it: &TopicPartition| {
            let log = usize::try_from(it.number)
                .ok()
                .and_then(|number| cluster.logs.get(number))
                .filter(|_| !cluster.is_away)
                .ok_or_else(|| cluster.unreachable())?;
            let (low, high) = (0, log.life.end);
            Ok((it.clone(), Watermarks { low, high }))
        };
        all.iter().map(marks_of).collect()
    }

    fn diverging(
        &self,
        read: &BTreeMap<TopicPartition, Claim>,
    ) -> Result<BTreeMap<TopicPartition, i64>, Error> {
        let cluster = self.lock();
        if cluster.is_away {
            return Err(cluster.unreachable());
        }
        let parts_at = |(it, claim): (&TopicPartition, &Claim)| {
            let log = cluster.logs.get(usize::try_from(it.number).ok()?)?;
            Some((it.clone(), log.parts_at(claim)?))
        };
        Ok(read.iter().filter_map(parts_at).collect())
    }

    fn start_offsets(
        &self,
        all: &[TopicPartition],
        start: StartAt,
    ) -> Result<BTreeMap<TopicPartition, i64>, Error> {
        let at = |marks: Watermarks| match start {
            StartAt::Earliest => marks.low,
            StartAt::Latest | StartAt::Timestamp(_) => marks.high,
        };
        let marks = self.watermarks(all)?.into_iter();
        Ok(marks.map(|(it, marks)| (it, at(marks))).collect())
    }
}
