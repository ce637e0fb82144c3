//! The control thread: the group's events on one side, lanes and flushers on the other. Owns which family has which topic partitions under which epoch; never blocks
//! on I/O. Does not touch a record or a table.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::Duration;

use crate::clock::{Clock, Instant};
use crate::metrics::Metrics;
use crate::model::epoch::Epoch;
use crate::model::offset::TopicPartition;
use crate::pipeline::error::Error;
use crate::pipeline::family::{Family, Parked, Positions, lowest_of, reason_of};
use crate::pipeline::lane::LaneCommand;
use crate::pipeline::obey::Obeying;
use crate::pipeline::orders::Orders;
use crate::pipeline::plan::back_off;
use crate::pipeline::revoke::{LastCommits, Revoking, Stop, Stopping};
use crate::pipeline::share::Ledger;
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
    /// A lane cannot go on with these for now, because of this table; its family continues from these offsets.
    Parked {
        table: String,
        epoch: Epoch,
        positions: BTreeMap<TopicPartition, Positions>,
        reason: String,
    },
    /// A person lifted what a table waits for.
    Lifted { table: String },
    /// A commit of a table moved these.
    Committed { moved: BTreeSet<TopicPartition> },
    /// Something outside is away.
    Trouble(String),
}

/// The ends of everything that the control thread steers.
pub(super) struct Control {
    pub(super) group: Box<dyn Member>,
    pub(super) lanes: Vec<SyncSender<LaneCommand>>,
    pub(super) queues: Vec<QueueHandle>,
    /// By the name of their first table.
    pub(super) families: BTreeMap<String, Family>,
    pub(super) from_workers: Receiver<FromWorker>,
    pub(super) clock: Clock,
    pub(super) status: Status,
    pub(super) metrics: Arc<Metrics>,
    pub(super) pending: Option<Pending>,
    pub(super) revoking: Option<Revoking>,
    pub(super) stopping: Vec<Stopping>,
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

/// An assignment that is not answered yet; void after a newer event.
#[derive(Default)]
pub(super) struct Pending {
    topic_partitions: Vec<TopicPartition>,
    /// Those whose tables are still being read.
    waiting: BTreeSet<TopicPartition>,
    starts: BTreeMap<TopicPartition, Positions>,
}

impl Pending {
    /// Leaves these parked when the assignment is answered.
    pub(super) fn forget(&mut self, all: &[TopicPartition]) {
        self.waiting.retain(|it| !all.contains(it));
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
            .is_some_and(|revoking| revoking.last.is_due(now))
        {
            self.finish_revoke()?;
        }
        self.stop_due()?;
        self.obey()?;
        self.answer_assignment()?;
        self.retry_parked()?;
        self.seek_rest()?;
        self.reopen_due();
        Ok(())
    }

    /// Drops every topic partition and tells the lanes to end.
    pub(super) fn stop_lanes(&mut self) {
        for family in self.families.values_mut() {
            family.end();
        }
        for lane in &self.lanes {
            drop(lane.send(LaneCommand::Stop));
        }
        self.queues.clear();
    }

    /// The tables that wait for a person.
    pub(super) fn suspended(&self) -> Vec<(String, String)> {
        let suspended = self.families.values().flat_map(Family::all_suspended);
        suspended
            .map(|(name, reason)| (name.to_owned(), reason))
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
        let by_family = self.by_family(&all);
        for name in by_family.keys() {
            let families = self.families.get(name).into_iter();
            let ended = families.filter(|it| it.epoch.is_some() && !it.is_live());
            let kept: Vec<TopicPartition> = ended.flat_map(Family::all_owned).collect();
            if !kept.is_empty() {
                // It has ended, and nobody has heard it yet. What is fetched of it now must not be taken for what comes under the next one.
                self.pause(&kept)?;
                self.end_epoch(name);
            }
        }
        // One that is not answered yet is answered with this one.
        let mut pending = self.pending.take().unwrap_or_default();
        pending.topic_partitions.retain(|it| !all.contains(it));
        pending.topic_partitions.extend(all.iter().cloned());
        for (name, wanted) in by_family {
            let Some(family) = self.families.get_mut(&name) else {
                continue;
            };
            family.owned.extend(wanted.iter().cloned());
            if !family.may_read() {
                continue;
            }
            // Gaining keeps the epoch. Without one it begins over everything that the family has: a second epoch for what was retained would outlive a revocation (EPOCH-1).
            let (epoch, topic_partitions) = match &family.epoch {
                Some(epoch) if epoch.is_live() => (epoch.clone(), wanted),
                _ => {
                    self.epochs += 1;
                    family.reopen_at = None;
                    (Epoch::begin(self.epochs), family.all_owned())
                }
            };
            family
                .begin(&epoch, &topic_partitions)
                .map_err(|table| Error::Bug(format!("the flusher of table `{table}` is gone")))?;
            let asked = topic_partitions.into_iter();
            let assigned = &pending.topic_partitions;
            let is_assigned = |it: &TopicPartition| assigned.contains(it);
            pending.waiting.extend(asked.filter(is_assigned));
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

    fn by_family(&self, all: &[TopicPartition]) -> BTreeMap<String, Vec<TopicPartition>> {
        let mut grouped: BTreeMap<String, Vec<TopicPartition>> = BTreeMap::new();
        for topic_partition in all {
            let mut families = self.families.iter();
            if let Some((name, _)) = families.find(|(_, it)| it.reads(&topic_partition.topic)) {
                grouped
                    .entry(name.clone())
                    .or_default()
                    .push(topic_partition.clone());
            }
        }
        grouped
    }

    /// The name of the family that a table belongs to.
    pub(super) fn family_of(&self, table: &str) -> Option<String> {
        let mut families = self.families.iter();
        let found = families.find(|(_, family)| family.tables.contains_key(table));
        found.map(|(name, _)| name.clone())
    }

    /// The name of the family whose epoch this is. `None`: it has another by now.
    fn family_under(&self, epoch: &Epoch) -> Option<String> {
        let mut families = self.families.iter();
        let found = families.find(|(_, family)| family.is_under(epoch));
        found.map(|(name, _)| name.clone())
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
        let lowest = lowest_of(&pending.starts);
        let answer: BTreeMap<TopicPartition, Option<i64>> = pending
            .topic_partitions
            .iter()
            .map(|it| (it.clone(), lowest.get(it).copied()))
            .collect();
        self.open_lanes(&pending.starts)?;
        self.beside_retained(&pending.topic_partitions, |group| group.assign(&answer))?;
        self.status.set_joined(true);
        self.show_idle();
        Ok(())
    }

    /// A table whose topic partitions all went to others is as ready as one that reads.
    fn show_idle(&self) {
        let is_idle = |family: &&Family| family.owned.is_empty() && family.may_read();
        let idle = self.families.values().filter(is_idle);
        for table in idle.flat_map(|family| family.tables.keys()) {
            self.status.table(table, |status| {
                if status.state == TableState::Starting {
                    status.state = TableState::Running;
                }
            });
        }
    }

    /// Lets lanes take records from these offsets, and returns when they have heard it: whatever is fetched before would be dropped as unknown, and the end of its topic
    /// partition would then cover it. So nothing of these may be fetchable until this returns.
    fn open_lanes(&mut self, starts: &BTreeMap<TopicPartition, Positions>) -> Result<(), Error> {
        let (taken, answers) = sync_channel(self.lanes.len().max(1) * self.families.len().max(1));
        let mut waiting = 0;
        let all: Vec<TopicPartition> = starts.keys().cloned().collect();
        for (name, wanted) in self.by_family(&all) {
            let Some(family) = self.families.get(&name) else {
                continue;
            };
            let Some(epoch) = family.epoch.clone().filter(Epoch::is_live) else {
                continue;
            };
            for (number, lane) in self.lanes.iter().enumerate() {
                let of_lane = wanted.iter().filter(|it| self.lane_of(it) == number);
                let starts: Vec<(TopicPartition, Positions)> = of_lane
                    .filter_map(|it| Some((it.clone(), starts.get(it)?.clone())))
                    .collect();
                if starts.is_empty() {
                    continue;
                }
                let shares = family.tables.values();
                let command = LaneCommand::Open {
                    starts,
                    shares: shares.map(|table| Arc::clone(&table.share)).collect(),
                    epoch: epoch.clone(),
                    taken: taken.clone(),
                };
                waiting += usize::from(lane.send(command).is_ok());
            }
            let reading = family.tables.iter();
            let reading = reading.filter(|(_, it)| wanted.iter().any(|at| it.reads(&at.topic)));
            for (table, _) in reading {
                self.status
                    .table(table, |status| status.state = TableState::Running);
            }
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
    fn resume(&mut self, starts: &BTreeMap<TopicPartition, Positions>) -> Result<(), Error> {
        self.open_lanes(starts)?;
        self.resume_at(&lowest_of(starts))
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
        let concerned = self.by_family(&all);
        let concerned = concerned.keys().filter_map(|name| self.families.get(name));
        let waiting = concerned
            .filter(|family| family.is_live())
            .flat_map(Family::drain)
            .collect();
        let now = self.clock.now();
        let mut last = LastCommits::new(waiting, now);
        let at_once = last.is_due(now);
        let revoking = Revoking { all, last };
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
        if revoking.last.late() > 0 {
            tracing::warn!(
                commits = revoking.last.late(),
                "a last commit was not waited for; what it holds is read again unless it arrives"
            );
        }
        self.revoked(&revoking.all, "the group took topic partitions back")
    }

    /// Losing topic partitions ends the epoch of their families (EPOCH-1); what they keep is read again from fresh tables.
    fn revoked(&mut self, all: &[TopicPartition], why: &str) -> Result<(), Error> {
        self.metrics.rebalanced();
        tracing::info!(topic_partitions = all.len(), why, "revoked");
        let affected = self.by_family(all);
        for (name, lost) in &affected {
            self.end_epoch(name);
            if let Some(family) = self.families.get_mut(name) {
                lost.iter().for_each(|it| {
                    family.owned.remove(it);
                });
                family.parked.clear();
                if family.owned.is_empty() {
                    // The next assignment begins an epoch of its own.
                    family.reopen_at = None;
                }
            }
        }
        if let Some(pending) = &mut self.pending {
            pending.topic_partitions.retain(|it| !all.contains(it));
            pending.forget(all);
            if pending.topic_partitions.is_empty() {
                self.pending = None;
            }
        }
        // What is kept is read again from the table: whatever is queued of it now must not be taken for what comes then.
        let kept: Vec<TopicPartition> = affected
            .keys()
            .filter_map(|name| self.families.get(name))
            .flat_map(|family| family.owned.iter().cloned())
            .collect();
        self.pause(&kept)?;
        self.unsought.retain(|it, _| !all.contains(it));
        self.beside_retained(all, |group| group.acknowledge(all))?;
        for topic_partition in all {
            self.show_owned(topic_partition, false);
        }
        let now = self.clock.now();
        for name in affected.keys() {
            if let Some(family) = self.families.get_mut(name)
                && !family.owned.is_empty()
                && family.may_read()
            {
                family.reopen_at = Some(now);
            }
        }
        Ok(())
    }

    pub(super) fn show_owned(&self, topic_partition: &TopicPartition, owned: bool) {
        let tables = self.families.values().flat_map(|family| &family.tables);
        for (name, _) in tables.filter(|(_, table)| table.reads(&topic_partition.topic)) {
            self.status.table(name, |table| {
                table
                    .topic_partitions
                    .entry(topic_partition.clone())
                    .or_default()
                    .owned = owned
            });
        }
    }

    /// Ends a family's epoch, for all of its tables. What an assignment was to be answered with is left parked: it goes on where the next epoch finds it.
    pub(super) fn end_epoch(&mut self, name: &str) {
        let Some(family) = self.families.get_mut(name) else {
            return;
        };
        let Some(epoch) = family.end() else {
            return;
        };
        for lane in &self.lanes {
            drop(lane.send(LaneCommand::EndEpoch(epoch.clone())));
        }
        if let Some(pending) = &mut self.pending {
            pending.forget(&family.all_owned());
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
            } => self.stop(table, epoch, Stop::Displaced(reason))?,
            FromWorker::Halted {
                table,
                epoch,
                reason,
            } => self.stop(table, epoch, Stop::Halted(reason))?,
            FromWorker::Parked {
                table,
                epoch,
                positions,
                reason,
            } => self.park(&table, epoch, positions, reason)?,
            FromWorker::Lifted { table } => self.lifted(&table),
            FromWorker::Committed { moved } => {
                self.trouble = None;
                self.report(&moved);
            }
            FromWorker::Trouble(reason) => self.note_trouble(reason),
        }
        Ok(())
    }

    /// Tells the group how far all tables of a topic partition are.
    fn report(&self, moved: &BTreeSet<TopicPartition>) {
        let mut offsets: BTreeMap<TopicPartition, i64> = BTreeMap::new();
        let tables = self
            .families
            .values()
            .flat_map(|family| family.tables.values());
        for table in tables.filter(|table| moved.iter().any(|it| table.reads(&it.topic))) {
            let committed = table.share.committed().into_iter();
            for (it, offset) in committed.filter(|(it, _)| moved.contains(it)) {
                let lowest = offsets.entry(it).or_insert(offset);
                *lowest = offset.min(*lowest);
            }
        }
        self.group.report_offsets(&offsets);
    }

    fn opened(
        &mut self,
        table: &str,
        epoch: &Epoch,
        starts: BTreeMap<TopicPartition, i64>,
    ) -> Result<(), Error> {
        let name = self.family_under(epoch).filter(|_| epoch.is_live());
        let Some(family) = name.and_then(|name| self.families.get_mut(&name)) else {
            return Ok(());
        };
        self.trouble = None;
        self.status.set_trouble(None);
        // A family can be read for what was retained while an assignment waits for it to be read for what came: each of both is answered in its own way.
        let mut retained = family.opened(table, starts);
        if let Some(pending) = &mut self.pending {
            let is_new =
                |it: &TopicPartition, _: &mut Positions| pending.topic_partitions.contains(it);
            let new: BTreeMap<_, _> = retained.extract_if(.., is_new).collect();
            pending.waiting.retain(|it| !new.contains_key(it));
            pending.starts.extend(new);
        }
        if retained.is_empty() {
            return Ok(());
        }
        // Assigned already: a new epoch over what was retained.
        self.resume(&retained)
    }

    fn epoch_ended(
        &mut self,
        table: &str,
        epoch: &Epoch,
        reason: String,
        superseded: bool,
    ) -> Result<(), Error> {
        let Some(name) = self.family_under(epoch) else {
            return Ok(());
        };
        self.end_epoch(&name);
        tracing::warn!(
            table,
            reason,
            "the epoch ended at a commit; reading again from the table"
        );
        let Some(family) = self.families.get_mut(&name) else {
            return Ok(());
        };
        let Some(share) = family.tables.get(table).map(|table| &table.share) else {
            return Ok(());
        };
        let times = share.count_superseded();
        if superseded {
            share.counters.conflicted();
            if times >= SUPERSEDED_MAX {
                return Err(Error::Superseded {
                    table: table.to_owned(),
                    times: u32::try_from(times).unwrap_or(u32::MAX),
                    reason,
                });
            }
        }
        family.parked.clear();
        let paused = family.all_owned();
        family.reopen_at = Some(self.clock.now().after(back_off(
            u32::try_from(times).unwrap_or(0).saturating_sub(1),
        )));
        self.pause(&paused)
    }

    /// Lets the other tables of a family commit what they have before one of them ends its epoch.
    fn stop(&mut self, table: String, epoch: Epoch, stop: Stop) -> Result<(), Error> {
        let Some(family) = self
            .family_under(&epoch)
            .and_then(|it| self.families.get(&it))
        else {
            return Ok(());
        };
        let others = family.tables.iter().filter(|(name, _)| **name != table);
        let waiting = others.filter_map(|(_, other)| other.drain()).collect();
        self.stopping.push(Stopping {
            table,
            epoch,
            stop,
            last: LastCommits::new(waiting, self.clock.now()),
        });
        self.stop_due()
    }

    fn stop_due(&mut self) -> Result<(), Error> {
        let now = self.clock.now();
        for mut stopping in std::mem::take(&mut self.stopping) {
            if !stopping.last.is_due(now) {
                self.stopping.push(stopping);
                continue;
            }
            let Stopping { table, epoch, .. } = stopping;
            match stopping.stop {
                Stop::Displaced(reason) => self.displaced(&table, &epoch, &reason)?,
                Stop::Halted(reason) => self.halted(&table, &epoch, reason)?,
            }
        }
        Ok(())
    }

    /// Settles a family with its topics again. librdkafka takes no seek after a position outside of the log, so the topic partitions are assigned anew; an eager
    /// assignment is one piece, so there every family begins again.
    fn displaced(&mut self, table: &str, epoch: &Epoch, reason: &str) -> Result<(), Error> {
        let Some(name) = self.family_under(epoch) else {
            return Ok(());
        };
        tracing::warn!(
            table,
            reason,
            "positions are outside of their logs; settling them with the table again"
        );
        let names: Vec<String> = self
            .families
            .iter()
            .filter(|(other, family)| {
                **other == name || (!self.group.is_cooperative() && !family.owned.is_empty())
            })
            .map(|(other, _)| other.clone())
            .collect();
        let mut all = Vec::new();
        for name in names {
            self.end_epoch(&name);
            if let Some(family) = self.families.get_mut(&name) {
                family.parked.clear();
                family.reopen_at = None;
                all.extend(family.owned.iter().cloned());
            }
        }
        self.beside_retained(&all, |group| group.take_back(&all))?;
        self.assigned(all)
    }

    fn halted(&mut self, table: &str, epoch: &Epoch, reason: String) -> Result<(), Error> {
        let Some(name) = self.family_under(epoch) else {
            return Ok(());
        };
        self.end_epoch(&name);
        tracing::error!(table, reason, "table suspended");
        let Some(family) = self.families.get_mut(&name) else {
            return Ok(());
        };
        for member in family.tables.keys() {
            let reason = reason_of(member, table, &reason);
            self.status.table(member, |table| {
                table.state = TableState::Suspended(reason);
            });
        }
        family.suspended = Some((table.to_owned(), reason));
        family.parked.clear();
        let paused = family.all_owned();
        self.pause(&paused)
    }

    fn lifted(&mut self, table: &str) {
        let now = self.clock.now();
        let Some(name) = self.family_of(table) else {
            return;
        };
        let Some(family) = self.families.get_mut(&name) else {
            return;
        };
        if family.suspended.take().is_none() {
            return;
        }
        tracing::info!(table, "suspension lifted; reading the table again");
        family.reopen_at = Some(now);
        let state = if family.rests {
            TableState::Paused
        } else {
            TableState::Starting
        };
        self.show_state(&name, &state);
    }

    /// Shows that all tables of a family are in this state.
    pub(super) fn show_state(&self, name: &str, state: &TableState) {
        let tables = self.families.get(name).into_iter();
        for table in tables.flat_map(|family| family.tables.keys()) {
            self.status
                .table(table, |table| table.state = state.clone());
        }
    }

    fn park(
        &mut self,
        table: &str,
        epoch: Epoch,
        positions: BTreeMap<TopicPartition, Positions>,
        reason: String,
    ) -> Result<(), Error> {
        let Some(name) = self.family_under(&epoch) else {
            return Ok(());
        };
        self.note_trouble(format!("table `{table}`: {reason}"));
        self.status
            .set_trouble(Some(format!("table `{table}`: {reason}")));
        let all: Vec<TopicPartition> = positions.keys().cloned().collect();
        self.pause(&all)?;
        let until = self.clock.now().after(Duration::from_secs(1));
        if let Some(family) = self.families.get_mut(&name) {
            family.parked.push(Parked {
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
        let mut due: BTreeMap<TopicPartition, Positions> = BTreeMap::new();
        for family in self.families.values_mut() {
            let current = family.epoch.clone();
            family.parked.retain(|parked| {
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

    /// Begins new epochs over what families own.
    fn reopen_due(&mut self) {
        let now = self.clock.now();
        let is_due = |family: &Family| {
            family.may_read()
                && !family.owned.is_empty()
                && family.reopen_at.is_some_and(|at| at <= now)
        };
        for family in self.families.values_mut().filter(|family| is_due(family)) {
            family.reopen_at = None;
            family.end();
            self.epochs += 1;
            let all = family.all_owned();
            if family.begin(&Epoch::begin(self.epochs), &all).is_err() {
                family.reopen_at = Some(now.after(Duration::from_millis(200)));
            }
        }
    }
}
