//! The control thread: the group's events on one side, lanes and flushers on the other. Owns which table has which topic partitions under which epoch; never blocks
//! on I/O. Does not touch a record or a table.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};

use crate::clock::{Clock, Instant};
use crate::metrics::Metrics;
use crate::model::epoch::Epoch;
use crate::model::offset::TopicPartition;
use crate::pipeline::error::Error;
use crate::pipeline::flusher::FlusherCommand;
use crate::pipeline::lane::LaneCommand;
use crate::pipeline::obey::Obeying;
use crate::pipeline::orders::Orders;
use crate::pipeline::plan::back_off;
use crate::pipeline::revoke::Revoking;
use crate::pipeline::share::{Ledger, Share};
use crate::pipeline::status::{Status, TableState};
use crate::source::{self, Event, Forwards, Member};

/// How long one turn waits for the group.
const TURN: Duration = Duration::from_millis(20);
/// Ends of epochs in a row, without a commit of ours, after which somebody else is taken to own the table.
const SUPERSEDED_MAX: u64 = 10;

/// How long a lane may take to hear a command; it answers between two polls, however much it decodes in between.
const LANE_ANSWERS: Duration = Duration::from_secs(60);

/// What lanes and flushers tell the control thread.
pub(super) enum FromWorker {
    /// A table has been read: its topic partitions begin here.
    Opened {
        table: String,
        epoch: Epoch,
        starts: BTreeMap<TopicPartition, i64>,
    },
    /// An epoch came to its end at a commit.
    EpochEnded {
        table: String,
        epoch: Epoch,
        reason: String,
        superseded: bool,
    },
    /// The positions of a table's topic partitions are outside of their logs: librdkafka fetches none of them any more.
    Displaced {
        table: String,
        epoch: Epoch,
        reason: String,
    },
    /// A table needs a person.
    Halted {
        table: String,
        epoch: Epoch,
        reason: String,
    },
    /// A lane cannot go on with these for now; they continue from these offsets.
    Parked {
        table: String,
        epoch: Epoch,
        positions: BTreeMap<TopicPartition, i64>,
        reason: String,
    },
    /// A person lifted what a table waits for.
    Lifted { table: String },
    /// A commit moved these.
    Committed {
        offsets: BTreeMap<TopicPartition, i64>,
    },
    /// Something outside is away.
    Trouble(String),
}

/// The ends of everything that the control thread steers.
pub(super) struct Control {
    pub(super) group: Box<dyn Member>,
    pub(super) lanes: Vec<SyncSender<LaneCommand>>,
    pub(super) queues: Vec<QueueHandle>,
    pub(super) tables: BTreeMap<String, TableControl>,
    pub(super) from_workers: Receiver<FromWorker>,
    pub(super) clock: Clock,
    pub(super) status: Status,
    pub(super) metrics: Arc<Metrics>,
    pub(super) pending: Option<Pending>,
    pub(super) revoking: Option<Revoking>,
    pub(super) orders: Orders,
    pub(super) obeying: Vec<Obeying>,
    /// Opened in their lanes and still paused, because librdkafka could not seek them yet.
    pub(super) unsought: BTreeMap<TopicPartition, i64>,
    pub(super) epochs: u64,
    pub(super) trouble: Option<(Instant, String)>,
    pub(super) ledger: Ledger,
}

/// Forwards topic partitions to a lane; the queue itself lives on the lane's thread.
pub(super) type QueueHandle = Box<dyn Forwards>;

/// One table's place in the group.
pub(super) struct TableControl {
    pub(super) share: Arc<Share>,
    pub(super) flusher: mpsc::Sender<FlusherCommand>,
    pub(super) owned: BTreeSet<TopicPartition>,
    pub(super) epoch: Option<Epoch>,
    pub(super) suspended: Option<String>,
    /// Whether a person told it to rest.
    pub(super) rests: bool,
    pub(super) parked: Vec<Parked>,
    /// When an ended epoch may begin again.
    pub(super) reopen_at: Option<Instant>,
}

/// Topic partitions that wait to be tried again.
pub(super) struct Parked {
    epoch: Epoch,
    positions: BTreeMap<TopicPartition, i64>,
    until: Instant,
}

/// An assignment that is not answered yet; void after a newer event.
#[derive(Default)]
pub(super) struct Pending {
    topic_partitions: Vec<TopicPartition>,
    waiting: BTreeSet<String>,
    starts: BTreeMap<TopicPartition, i64>,
}

impl TableControl {
    /// Whether nothing but an epoch is missing for it to be read.
    fn may_read(&self) -> bool {
        self.suspended.is_none() && !self.rests
    }
}

impl Pending {
    /// Leaves these parked when the assignment is answered.
    pub(super) fn forget(&mut self, all: &[TopicPartition]) {
        self.starts.retain(|it, _| !all.contains(it));
    }
}

impl Control {
    /// One turn: serves the group, hears the workers, moves what is due.
    pub(super) fn turn(&mut self) -> Result<(), Error> {
        for event in self.group.poll(TURN) {
            self.on_event(event)?;
        }
        while let Ok(message) = self.from_workers.try_recv() {
            self.on_worker(message)?;
        }
        let now = self.clock.now();
        if self
            .revoking
            .as_mut()
            .is_some_and(|revoking| revoking.is_due(now))
        {
            self.finish_revoke()?;
        }
        self.obey()?;
        self.answer_assignment()?;
        self.retry_parked()?;
        self.seek_rest()?;
        self.reopen_due();
        Ok(())
    }

    /// Drops every topic partition and tells the lanes to end.
    pub(super) fn stop_lanes(&mut self) {
        for table in self.tables.values_mut() {
            if let Some(epoch) = table.epoch.take() {
                epoch.end();
            }
        }
        for lane in &self.lanes {
            drop(lane.send(LaneCommand::Stop));
        }
        self.queues.clear();
    }

    /// The tables that wait for a person.
    pub(super) fn suspended(&self) -> Vec<(String, String)> {
        self.tables
            .iter()
            .filter_map(|(name, table)| {
                table.suspended.clone().map(|reason| (name.clone(), reason))
            })
            .collect()
    }

    fn on_event(&mut self, event: Event) -> Result<(), Error> {
        match event {
            Event::Assigned(all) => {
                self.finish_revoke()?;
                self.assigned(all)?;
            }
            Event::Revoked(all) => {
                self.finish_revoke()?;
                self.commit_before_revoke(all)?;
            }
            Event::Lost(mut all) => {
                // What was asked back before is lost with the rest; one answer is for all of it.
                let asked_back = self.revoking.take().map(|revoking| revoking.all);
                let more = asked_back.into_iter().flatten();
                all.extend(more.filter(|it| !all.contains(it)).collect::<Vec<_>>());
                self.revoked(&all, "the group lost this member")?;
            }
            Event::Trouble(reason) => self.note_trouble(format!("kafka: {reason}")),
            Event::Fatal(reason) => {
                return Err(Error::Bug(format!(
                    "the kafka client cannot go on: {reason}"
                )));
            }
        }
        Ok(())
    }

    fn note_trouble(&mut self, reason: String) {
        let now = self.clock.now();
        match &mut self.trouble {
            Some((_, last)) => *last = reason,
            None => {
                tracing::warn!(detail = reason, "waiting for something outside");
                self.trouble = Some((now, reason));
            }
        }
    }

    fn assigned(&mut self, all: Vec<TopicPartition>) -> Result<(), Error> {
        self.metrics.rebalanced();
        tracing::info!(topic_partitions = all.len(), "assigned");
        self.trouble = None;
        self.status.set_trouble(None);
        for topic_partition in &all {
            self.attach(topic_partition)?;
        }
        // One that is not answered yet is answered with this one.
        let mut pending = self.pending.take().unwrap_or_default();
        pending.topic_partitions.retain(|it| !all.contains(it));
        pending.topic_partitions.extend(all.iter().cloned());
        for (name, wanted) in self.by_table(&all) {
            let Some(table) = self.tables.get_mut(&name) else {
                continue;
            };
            table.owned.extend(wanted.iter().cloned());
            if !table.may_read() {
                continue;
            }
            // Gaining keeps the epoch. Without one it begins over everything that the table has: a second epoch for what was retained would outlive a revocation (EPOCH-1).
            let (epoch, topic_partitions) = match &table.epoch {
                Some(epoch) if epoch.is_live() => (epoch.clone(), wanted),
                _ => {
                    self.epochs += 1;
                    table.reopen_at = None;
                    (
                        Epoch::begin(self.epochs),
                        table.owned.iter().cloned().collect(),
                    )
                }
            };
            table.epoch = Some(epoch.clone());
            if table
                .flusher
                .try_send(FlusherCommand::Begin {
                    epoch,
                    topic_partitions,
                })
                .is_err()
            {
                return Err(Error::Bug(format!("the flusher of table `{name}` is gone")));
            }
            pending.waiting.insert(name);
        }
        for topic_partition in &all {
            self.show_owned(topic_partition, true);
        }
        self.pending = Some(pending);
        Ok(())
    }

    fn attach(&self, topic_partition: &TopicPartition) -> Result<(), Error> {
        let Some(queue) = self.queues.get(self.lane_of(topic_partition)) else {
            return Ok(());
        };
        Ok(queue.attach(topic_partition)?)
    }

    /// Topic partitions are dealt to lanes by number, so that one topic spreads over all of them.
    fn lane_of(&self, topic_partition: &TopicPartition) -> usize {
        usize::try_from(topic_partition.number).unwrap_or(0) % self.lanes.len().max(1)
    }

    fn by_table(&self, all: &[TopicPartition]) -> BTreeMap<String, Vec<TopicPartition>> {
        let mut grouped: BTreeMap<String, Vec<TopicPartition>> = BTreeMap::new();
        for topic_partition in all {
            let owner = self.tables.iter().find(|(_, table)| {
                table
                    .share
                    .plan
                    .settings
                    .topics
                    .iter()
                    .any(|topic| **topic == *topic_partition.topic)
            });
            if let Some((name, _)) = owner {
                grouped
                    .entry(name.clone())
                    .or_default()
                    .push(topic_partition.clone());
            }
        }
        grouped
    }

    /// Answers the group once every table concerned has been read, or has been found to need a person.
    fn answer_assignment(&mut self) -> Result<(), Error> {
        if self
            .pending
            .as_ref()
            .is_none_or(|pending| !pending.waiting.is_empty())
        {
            return Ok(());
        }
        let Some(pending) = self.pending.take() else {
            return Ok(());
        };
        let answer: BTreeMap<TopicPartition, Option<i64>> = pending
            .topic_partitions
            .iter()
            .map(|it| (it.clone(), pending.starts.get(it).copied()))
            .collect();
        self.open_lanes(&pending.starts)?;
        self.beside_retained(&pending.topic_partitions, |group| group.assign(&answer))?;
        self.status.set_joined(true);
        Ok(())
    }

    /// Lets lanes take records from these offsets, and returns when they have heard it: whatever is fetched before would be dropped as unknown, and the end of its topic
    /// partition would then cover it. So nothing of these may be fetchable until this returns.
    fn open_lanes(&mut self, starts: &BTreeMap<TopicPartition, i64>) -> Result<(), Error> {
        let (taken, answers) = sync_channel(self.lanes.len().max(1) * self.tables.len().max(1));
        let mut waiting = 0;
        let all: Vec<TopicPartition> = starts.keys().cloned().collect();
        for (name, wanted) in self.by_table(&all) {
            let Some(table) = self.tables.get(&name) else {
                continue;
            };
            let Some(epoch) = table.epoch.clone().filter(Epoch::is_live) else {
                continue;
            };
            for (number, lane) in self.lanes.iter().enumerate() {
                let of_lane = wanted.iter().filter(|it| self.lane_of(it) == number);
                let starts: Vec<(TopicPartition, i64)> = of_lane
                    .filter_map(|it| Some((it.clone(), *starts.get(it)?)))
                    .collect();
                if starts.is_empty() {
                    continue;
                }
                let command = LaneCommand::Open {
                    starts,
                    share: Arc::clone(&table.share),
                    epoch: epoch.clone(),
                    taken: taken.clone(),
                };
                waiting += usize::from(lane.send(command).is_ok());
            }
            self.status
                .table(&name, |status| status.state = TableState::Running);
        }
        for _ in 0..waiting {
            // A lane answers between two polls; one that does not is stuck or gone.
            if self.clock.receive(&answers, LANE_ANSWERS).is_none() {
                return Err(Error::Bug("a lane does not take commands".to_owned()));
            }
        }
        Ok(())
    }

    /// Changes the assignment, and sets what is retained on its lanes' own positions. librdkafka pauses and resumes all of it around an incremental change, and where
    /// the end was the last thing that a lane was told, it goes on one record behind it (librdkafka #4844).
    fn beside_retained(
        &mut self,
        changed: &[TopicPartition],
        change: impl FnOnce(&mut dyn Member) -> Result<(), source::Error>,
    ) -> Result<(), Error> {
        let retained = self.group.retained(changed);
        // A pause of ours outlasts librdkafka's, so that nothing is fetched from the wrong place; and it makes the positions final.
        self.pause(&retained)?;
        let positions = self.positions_of(&retained)?;
        change(self.group.as_mut())?;
        self.resume_at(&positions)
    }

    /// Where lanes go on with these. Left out is what they have given back: that waits for its table or its retry, paused.
    fn positions_of(&self, all: &[TopicPartition]) -> Result<BTreeMap<TopicPartition, i64>, Error> {
        let mut positions = BTreeMap::new();
        if all.is_empty() {
            return Ok(positions);
        }
        let (reply, answers) = sync_channel(self.lanes.len().max(1));
        let asked = self
            .lanes
            .iter()
            .filter(|lane| lane.send(LaneCommand::Where(reply.clone())).is_ok());
        for _ in 0..asked.count() {
            let answer = self.clock.receive(&answers, LANE_ANSWERS);
            let open =
                answer.ok_or_else(|| Error::Bug("a lane does not take commands".to_owned()))?;
            positions.extend(open.into_iter().filter(|(it, _)| all.contains(it)));
        }
        Ok(positions)
    }

    /// Lets paused topic partitions be read on from these offsets.
    fn resume(&mut self, starts: &BTreeMap<TopicPartition, i64>) -> Result<(), Error> {
        self.open_lanes(starts)?;
        self.resume_at(starts)
    }

    fn resume_at(&mut self, starts: &BTreeMap<TopicPartition, i64>) -> Result<(), Error> {
        self.unsought.retain(|it, _| !starts.contains_key(it));
        self.unsought.extend(self.group.resume_at(starts)?);
        Ok(())
    }

    fn seek_rest(&mut self) -> Result<(), Error> {
        if self.unsought.is_empty() {
            return Ok(());
        }
        self.unsought = self.group.resume_at(&self.unsought)?;
        Ok(())
    }

    /// Stops fetching these, also those that were about to be resumed.
    pub(super) fn pause(&mut self, all: &[TopicPartition]) -> Result<(), Error> {
        self.unsought.retain(|it, _| !all.contains(it));
        Ok(self.group.pause(all)?)
    }

    /// Lets the tables concerned commit what they have, for a bounded time, before others may own it.
    fn commit_before_revoke(&mut self, all: Vec<TopicPartition>) -> Result<(), Error> {
        let mut waiting = Vec::new();
        for name in self.by_table(&all).keys() {
            let Some(table) = self.tables.get(name) else {
                continue;
            };
            if !table.epoch.as_ref().is_some_and(Epoch::is_live) {
                continue;
            }
            let (reply, answer) = oneshot::channel();
            // A flusher that takes no command is not waited for: what it has is read again.
            if table
                .flusher
                .try_send(FlusherCommand::Drain { reply })
                .is_ok()
            {
                waiting.push(answer);
            }
        }
        let now = self.clock.now();
        let mut revoking = Revoking::new(all, waiting, now);
        let at_once = revoking.is_due(now);
        self.revoking = Some(revoking);
        if at_once {
            self.finish_revoke()?;
        }
        Ok(())
    }

    fn finish_revoke(&mut self) -> Result<(), Error> {
        let Some(revoking) = self.revoking.take() else {
            return Ok(());
        };
        if revoking.late() > 0 {
            tracing::warn!(
                commits = revoking.late(),
                "a last commit was not waited for; what it holds is read again unless it arrives"
            );
        }
        self.revoked(&revoking.all, "the group took topic partitions back")
    }

    /// Losing topic partitions ends the epoch of their tables (EPOCH-1); what they keep is read again from a fresh table.
    fn revoked(&mut self, all: &[TopicPartition], why: &str) -> Result<(), Error> {
        self.metrics.rebalanced();
        tracing::info!(topic_partitions = all.len(), why, "revoked");
        let affected = self.by_table(all);
        for (name, lost) in &affected {
            self.end_epoch(name);
            if let Some(table) = self.tables.get_mut(name) {
                lost.iter().for_each(|it| {
                    table.owned.remove(it);
                });
                table.parked.clear();
                if table.owned.is_empty() {
                    // The next assignment begins an epoch of its own.
                    table.reopen_at = None;
                }
            }
        }
        if let Some(pending) = &mut self.pending {
            pending.topic_partitions.retain(|it| !all.contains(it));
            pending.starts.retain(|it, _| !all.contains(it));
            if pending.topic_partitions.is_empty() {
                self.pending = None;
            }
        }
        // What is kept is read again from the table: whatever is queued of it now must not be taken for what comes then.
        let kept: Vec<TopicPartition> = affected
            .keys()
            .filter_map(|name| self.tables.get(name))
            .flat_map(|table| table.owned.iter().cloned())
            .collect();
        self.pause(&kept)?;
        self.unsought.retain(|it, _| !all.contains(it));
        self.beside_retained(all, |group| group.acknowledge(all))?;
        for topic_partition in all {
            self.show_owned(topic_partition, false);
        }
        let now = self.clock.now();
        for name in affected.keys() {
            if let Some(table) = self.tables.get_mut(name)
                && !table.owned.is_empty()
                && table.may_read()
            {
                table.reopen_at = Some(now);
            }
        }
        Ok(())
    }

    fn show_owned(&self, topic_partition: &TopicPartition, owned: bool) {
        for name in self.by_table(std::slice::from_ref(topic_partition)).keys() {
            self.status.table(name, |table| {
                table
                    .topic_partitions
                    .entry(topic_partition.clone())
                    .or_default()
                    .owned = owned
            });
        }
    }

    pub(super) fn end_epoch(&mut self, name: &str) {
        let Some(epoch) = self
            .tables
            .get_mut(name)
            .and_then(|table| table.epoch.take())
        else {
            return;
        };
        epoch.end();
        for lane in &self.lanes {
            drop(lane.send(LaneCommand::EndEpoch(epoch.clone())));
        }
        if let Some(pending) = &mut self.pending {
            pending.waiting.remove(name);
        }
    }

    fn on_worker(&mut self, message: FromWorker) -> Result<(), Error> {
        match message {
            FromWorker::Opened {
                table,
                epoch,
                starts,
            } => self.opened(&table, &epoch, starts)?,
            FromWorker::EpochEnded {
                table,
                epoch,
                reason,
                superseded,
            } => self.epoch_ended(&table, &epoch, reason, superseded)?,
            FromWorker::Displaced {
                table,
                epoch,
                reason,
            } => self.displaced(&table, &epoch, &reason)?,
            FromWorker::Halted {
                table,
                epoch,
                reason,
            } => self.halted(&table, &epoch, reason)?,
            FromWorker::Parked {
                table,
                epoch,
                positions,
                reason,
            } => self.park(&table, epoch, positions, reason)?,
            FromWorker::Lifted { table } => self.lifted(&table),
            FromWorker::Committed { offsets } => {
                self.trouble = None;
                self.group.report_offsets(&offsets);
            }
            FromWorker::Trouble(reason) => self.note_trouble(reason),
        }
        Ok(())
    }

    fn is_current(&self, name: &str, epoch: &Epoch) -> bool {
        self.tables
            .get(name)
            .and_then(|table| table.epoch.as_ref())
            .is_some_and(|current| current.same_as(epoch))
    }

    fn opened(
        &mut self,
        name: &str,
        epoch: &Epoch,
        starts: BTreeMap<TopicPartition, i64>,
    ) -> Result<(), Error> {
        if !self.is_current(name, epoch) || !epoch.is_live() {
            return Ok(());
        }
        self.trouble = None;
        self.status.set_trouble(None);
        // A table can be read for what was retained while an assignment waits for it to be read for what came: each of both is answered in its own way.
        let mut retained = starts;
        if let Some(pending) = &mut self.pending {
            let is_new = |it: &TopicPartition, _: &mut i64| pending.topic_partitions.contains(it);
            let new: BTreeMap<_, _> = retained.extract_if(.., is_new).collect();
            if !new.is_empty() {
                pending.waiting.remove(name);
                pending.starts.extend(new);
            }
        }
        if retained.is_empty() {
            return Ok(());
        }
        // Assigned already: a new epoch over what was retained.
        self.resume(&retained)
    }

    fn epoch_ended(
        &mut self,
        name: &str,
        epoch: &Epoch,
        reason: String,
        superseded: bool,
    ) -> Result<(), Error> {
        if !self.is_current(name, epoch) {
            return Ok(());
        }
        self.end_epoch(name);
        tracing::warn!(
            table = name,
            reason,
            "the epoch ended at a commit; reading again from the table"
        );
        let Some(table) = self.tables.get_mut(name) else {
            return Ok(());
        };
        let times = table.share.count_superseded();
        if superseded {
            table.share.counters.conflicted();
            if times >= SUPERSEDED_MAX {
                return Err(Error::Superseded {
                    table: name.to_owned(),
                    times: u32::try_from(times).unwrap_or(u32::MAX),
                    reason,
                });
            }
        }
        table.parked.clear();
        let paused: Vec<TopicPartition> = table.owned.iter().cloned().collect();
        table.reopen_at = Some(self.clock.now().after(back_off(
            u32::try_from(times).unwrap_or(0).saturating_sub(1),
        )));
        self.pause(&paused)
    }

    /// Settles a table with its topics again. librdkafka takes no seek after a position outside of the log, so the topic partitions are assigned anew; an eager
    /// assignment is one piece, so there every table begins again.
    fn displaced(&mut self, name: &str, epoch: &Epoch, reason: &str) -> Result<(), Error> {
        if !self.is_current(name, epoch) {
            return Ok(());
        }
        tracing::warn!(
            table = name,
            reason,
            "positions are outside of their logs; settling them with the table again"
        );
        let names: Vec<String> = self
            .tables
            .iter()
            .filter(|(other, table)| {
                other.as_str() == name || (!self.group.is_cooperative() && !table.owned.is_empty())
            })
            .map(|(other, _)| other.clone())
            .collect();
        let mut all = Vec::new();
        for name in names {
            self.end_epoch(&name);
            if let Some(table) = self.tables.get_mut(&name) {
                table.parked.clear();
                table.reopen_at = None;
                all.extend(table.owned.iter().cloned());
            }
        }
        self.beside_retained(&all, |group| group.take_back(&all))?;
        self.assigned(all)
    }

    fn halted(&mut self, name: &str, epoch: &Epoch, reason: String) -> Result<(), Error> {
        if !self.is_current(name, epoch) {
            return Ok(());
        }
        self.end_epoch(name);
        tracing::error!(table = name, reason, "table suspended");
        self.status.table(name, |table| {
            table.state = TableState::Suspended(reason.clone())
        });
        let Some(table) = self.tables.get_mut(name) else {
            return Ok(());
        };
        table.suspended = Some(reason);
        table.parked.clear();
        let paused: Vec<TopicPartition> = table.owned.iter().cloned().collect();
        self.pause(&paused)
    }

    fn lifted(&mut self, name: &str) {
        let now = self.clock.now();
        let Some(table) = self.tables.get_mut(name) else {
            return;
        };
        if table.suspended.take().is_none() {
            return;
        }
        tracing::info!(table = name, "suspension lifted; reading the table again");
        table.reopen_at = Some(now);
        let state = if table.rests {
            TableState::Paused
        } else {
            TableState::Starting
        };
        self.status.table(name, |table| table.state = state);
    }

    fn park(
        &mut self,
        name: &str,
        epoch: Epoch,
        positions: BTreeMap<TopicPartition, i64>,
        reason: String,
    ) -> Result<(), Error> {
        if !self.is_current(name, &epoch) {
            return Ok(());
        }
        self.note_trouble(format!("table `{name}`: {reason}"));
        self.status
            .set_trouble(Some(format!("table `{name}`: {reason}")));
        let all: Vec<TopicPartition> = positions.keys().cloned().collect();
        self.pause(&all)?;
        let until = self.clock.now().after(Duration::from_secs(1));
        if let Some(table) = self.tables.get_mut(name) {
            table.parked.push(Parked {
                epoch,
                positions,
                until,
            });
        }
        Ok(())
    }

    /// Tries parked topic partitions again from their lanes' own positions.
    fn retry_parked(&mut self) -> Result<(), Error> {
        let now = self.clock.now();
        let mut due: BTreeMap<TopicPartition, i64> = BTreeMap::new();
        for table in self.tables.values_mut() {
            let current = table.epoch.clone();
            table.parked.retain(|parked| {
                let live = current
                    .as_ref()
                    .is_some_and(|epoch| epoch.same_as(&parked.epoch));
                if live && parked.until <= now {
                    due.extend(parked.positions.clone());
                }
                live && parked.until > now
            });
        }
        if due.is_empty() {
            return Ok(());
        }
        self.resume(&due)
    }

    /// Begins new epochs over what tables own.
    fn reopen_due(&mut self) {
        let now = self.clock.now();
        for table in self.tables.values_mut() {
            if !table.may_read()
                || table.owned.is_empty()
                || table.reopen_at.is_none_or(|at| at > now)
            {
                continue;
            }
            table.reopen_at = None;
            if let Some(epoch) = table.epoch.take() {
                epoch.end();
            }
            self.epochs += 1;
            let epoch = Epoch::begin(self.epochs);
            let command = FlusherCommand::Begin {
                epoch: epoch.clone(),
                topic_partitions: table.owned.iter().cloned().collect(),
            };
            if table.flusher.try_send(command).is_ok() {
                table.epoch = Some(epoch);
            } else {
                table.reopen_at = Some(now.after(Duration::from_millis(200)));
            }
        }
    }
}
