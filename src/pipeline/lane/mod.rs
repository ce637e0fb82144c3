//! A lane: the thread that owns some topic partitions from fetched records to sealed rows. Owns positions, decoders and what is not sealed yet; does no I/O but the
//! polling of its queue (and the registry inside the decoder). Does not commit, and does not know the group.

mod reading;
mod rejects;
mod table;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, TryRecvError};
use std::time::Duration;

use arrow::array::RecordBatch;
use tokio::sync::oneshot;

use crate::buffer::accumulator::{Accumulator, Sealed};
use crate::clock::{Clock, Instant};
use crate::decode;
use crate::model::epoch::Epoch;
use crate::model::memory::Pool;
use crate::model::offset::TopicPartition;
use crate::pipeline::control::FromWorker;
use crate::pipeline::family::Positions;
use crate::pipeline::lane::rejects::Rejects;
use crate::pipeline::lane::table::LaneTable;
use crate::pipeline::share::{LaneState, Share};
use crate::pipeline::status::Status;
use crate::source::Fetches;
use crate::writer::Encoder;

/// Rows decoded before they become one batch: what the Parquet encoder likes best.
const BATCH_ROWS: usize = 65_536;
/// How long a poll waits for records; also how late a command may be heard.
const POLL: Duration = Duration::from_millis(20);
/// How long a lane may wait for memory before it gives its topic partitions back to be paused.
const STARVED: Duration = Duration::from_secs(5);

/// What a lane is told.
pub(super) enum LaneCommand {
    /// Take records of these topic partitions, each table of the family from its own offset on, then say so: only then may they be fetched, or the first records would be
    /// dropped as unknown.
    Open {
        starts: Vec<(TopicPartition, Positions)>,
        shares: Vec<Arc<Share>>,
        epoch: Epoch,
        taken: SyncSender<()>,
    },
    /// Say from where each topic partition must be fetched. Final for those that were paused before.
    Where(SyncSender<Vec<(TopicPartition, i64)>>),
    /// Drop everything under this epoch.
    EndEpoch(Epoch),
    /// Hand over what waits for the flush.
    Seal {
        table: String,
        epoch: Epoch,
        reply: oneshot::Sender<Option<Handed>>,
    },
    /// Drop everything and end.
    Stop,
}

/// What a lane hands over: one part of an Append.
pub(super) struct Handed {
    /// Offsets, rows without an encoder, permits.
    pub(super) sealed: Sealed,
    /// The files that are being written.
    pub(super) encoders: Vec<Encoder>,
    /// The rejected records that are kept: those without an encoder, and the files that are being written.
    pub(super) rejected: (Option<RecordBatch>, Option<Encoder>),
}

/// What every lane needs.
#[derive(Clone)]
pub(super) struct LaneContext {
    pub(super) number: usize,
    pub(super) pool: Pool,
    /// The size at which decoded rows become a batch.
    pub(super) batch_bytes: usize,
    pub(super) clock: Clock,
    pub(super) status: Status,
    pub(super) to_control: SyncSender<FromWorker>,
}

/// A lane between two steps.
pub(super) struct Lane {
    ctx: LaneContext,
    queue: Box<dyn Fetches>,
    commands: Receiver<LaneCommand>,
    tables: BTreeMap<String, LaneTable>,
    /// What is taken, and how far each table is with it. All tables of a topic partition are of one epoch.
    open: BTreeMap<TopicPartition, Positions>,
    starved_since: Option<Instant>,
}

/// Whether a lane has more to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Life {
    /// It takes another step.
    GoesOn,
    /// It was told to end.
    Ended,
}

impl Lane {
    /// A lane without topic partitions.
    pub(super) fn new(
        ctx: LaneContext,
        queue: Box<dyn Fetches>,
        commands: Receiver<LaneCommand>,
    ) -> Lane {
        Lane {
            ctx,
            queue,
            commands,
            tables: BTreeMap::new(),
            open: BTreeMap::new(),
            starved_since: None,
        }
    }

    /// Takes steps until it is told to end.
    pub(super) fn run(mut self) {
        while self.step() == Life::GoesOn {}
    }

    /// Hears what it is told, then takes what one poll of its queue brings.
    pub(super) fn step(&mut self) -> Life {
        if self.hear() == Life::Ended {
            return Life::Ended;
        }
        if self.has_memory() {
            for fetch in self.queue.poll(POLL) {
                self.take(fetch);
            }
        }
        Life::GoesOn
    }

    /// Obeys every command that waits.
    pub(super) fn hear(&mut self) -> Life {
        loop {
            match self.commands.try_recv() {
                Ok(LaneCommand::Stop) | Err(TryRecvError::Disconnected) => return Life::Ended,
                Ok(command) => self.obey(command),
                Err(TryRecvError::Empty) => return Life::GoesOn,
            }
        }
    }

    fn obey(&mut self, command: LaneCommand) {
        match command {
            LaneCommand::Open {
                starts,
                shares,
                epoch,
                taken,
            } => {
                self.begin(starts, &shares, &epoch);
                if taken.try_send(()).is_err() {
                    tracing::debug!("the control thread does not wait for this lane any more");
                }
            }
            LaneCommand::Where(reply) => {
                let open = self.open.iter();
                let positions = open
                    .filter_map(|(it, open)| Some((it.clone(), open.lowest()?)))
                    .collect();
                if reply.try_send(positions).is_err() {
                    tracing::debug!("the control thread does not wait for this lane any more");
                }
            }
            LaneCommand::EndEpoch(epoch) => self.end(&epoch),
            LaneCommand::Seal {
                table,
                epoch,
                reply,
            } => {
                let sealed = self.seal(&table, &epoch);
                // A flusher that went away has dropped its epoch: what was sealed for it is read again.
                drop(reply.send(sealed));
            }
            LaneCommand::Stop => {}
        }
    }

    fn begin(
        &mut self,
        starts: Vec<(TopicPartition, Positions)>,
        shares: &[Arc<Share>],
        epoch: &Epoch,
    ) {
        if !epoch.is_live() {
            return;
        }
        let reads = |name: &str| starts.iter().any(|(_, start)| start.of(name).is_some());
        for share in shares.iter().filter(|share| reads(share.name())) {
            let begun = self.tables.get(share.name());
            if begun.is_some_and(|table| table.epoch.same_as(epoch)) {
                continue;
            }
            match self.new_table(share, epoch) {
                Ok(table) => {
                    self.open.retain(|_, open| open.of(share.name()).is_none());
                    self.tables.insert(share.name().to_owned(), table);
                }
                Err(error) => {
                    let reason = error.to_string();
                    return self.tell(FromWorker::Halted {
                        table: share.name().to_owned(),
                        epoch: epoch.clone(),
                        reason,
                    });
                }
            }
        }
        self.open.extend(starts);
        self.publish_all(epoch);
    }

    fn new_table(&self, share: &Arc<Share>, epoch: &Epoch) -> Result<LaneTable, decode::Error> {
        let schema = share.schemas.now();
        Ok(LaneTable {
            decoder: share.plan.decoder(&schema, &self.ctx.clock)?,
            share: Arc::clone(share),
            epoch: epoch.clone(),
            accumulator: Accumulator::new(epoch.clone()),
            schema,
            encoder: None,
            earlier: Vec::new(),
            rejects: share.plan.dlq.as_ref().map(Rejects::new),
            permit: self.ctx.pool.hold(0),
            halted: None,
            displaced: None,
        })
    }

    fn end(&mut self, epoch: &Epoch) {
        for name in self.family(epoch) {
            if let Some(table) = self.tables.remove(&name) {
                table.share.set_lane(self.ctx.number, LaneState::default());
            }
            self.open.retain(|_, open| open.of(&name).is_none());
        }
    }

    /// The tables that work under this epoch.
    fn family(&self, epoch: &Epoch) -> Vec<String> {
        let tables = self.tables.iter();
        let family = tables.filter(|(_, table)| table.epoch.same_as(epoch));
        family.map(|(name, _)| name.clone()).collect()
    }

    /// Whether there is memory for more; a lane that starves for long gives its topic partitions back, so that librdkafka drops what it holds.
    fn has_memory(&mut self) -> bool {
        if !self.ctx.pool.is_full() || self.tables.is_empty() {
            self.starved_since = None;
            return true;
        }
        let now = self.ctx.clock.now();
        let since = *self.starved_since.get_or_insert(now);
        for table in self.tables.values() {
            table.share.wake.notify_one();
        }
        if now.since(since) >= STARVED && !self.open.is_empty() {
            self.starved_since = None;
            let names: Vec<String> = self.tables.keys().cloned().collect();
            for name in names {
                self.park(&name, "memory is full (limits.memory)".to_owned());
            }
        }
        self.ctx.clock.sleep_blocking(Duration::from_millis(5));
        false
    }

    fn seal(&mut self, name: &str, epoch: &Epoch) -> Option<Handed> {
        let table = self
            .tables
            .get_mut(name)
            .filter(|table| table.epoch.same_as(epoch) && epoch.is_live())?;
        if let Err(reason) = table.take_rows() {
            self.halt(name, reason);
            return None;
        }
        let rejected = match table.rejects.as_mut().map(Rejects::seal).transpose() {
            Ok(rejected) => rejected.unwrap_or_default(),
            Err(reason) => {
                self.halt(name, reason);
                return None;
            }
        };
        let mut sealed = table.accumulator.seal();
        let mut encoders = std::mem::take(&mut table.earlier);
        encoders.extend(table.encoder.take());
        sealed
            .permits
            .push(std::mem::replace(&mut table.permit, self.ctx.pool.hold(0)));
        self.publish(name);
        Some(Handed {
            sealed,
            encoders,
            rejected,
        })
    }

    /// Stops taking records for good, for a table's whole family: a person must decide. What was taken before is still committed.
    fn halt(&mut self, name: &str, reason: String) {
        if let Some(table) = self.tables.get_mut(name) {
            table.halted.get_or_insert(reason);
        }
        self.stop(name);
    }

    /// Stops taking records until the positions were held against the logs again, for a table's whole family. What was taken before is still committed: it may be gone from
    /// the log.
    fn displace(&mut self, name: &str, reason: String) {
        if let Some(table) = self.tables.get_mut(name) {
            table.displaced.get_or_insert(reason);
        }
        self.stop(name);
    }

    fn stop(&mut self, name: &str) {
        let Some(epoch) = self.tables.get(name).map(|table| table.epoch.clone()) else {
            return;
        };
        self.close(&epoch);
        if let Some(table) = self.tables.get(name) {
            table.share.wake.notify_one();
        }
    }

    /// Gives the topic partitions of a table's family back to be paused and tried again, each table from where it stands.
    fn park(&mut self, name: &str, reason: String) {
        let Some(epoch) = self.tables.get(name).map(|table| table.epoch.clone()) else {
            return;
        };
        let positions = self.close(&epoch);
        if !positions.is_empty() {
            self.tell(FromWorker::Parked {
                table: name.to_owned(),
                epoch,
                positions,
                reason,
            });
        }
    }

    /// Takes no more records under an epoch; where its tables stand.
    fn close(&mut self, epoch: &Epoch) -> BTreeMap<TopicPartition, Positions> {
        let family = self.family(epoch);
        let is_of_family = |_: &TopicPartition, open: &mut Positions| {
            family.iter().any(|it| open.of(it).is_some())
        };
        let closed = self.open.extract_if(.., is_of_family).collect();
        self.publish_all(epoch);
        closed
    }

    fn tell(&self, message: FromWorker) {
        // The control thread outlives the lanes; if it is gone, the process is ending.
        drop(self.ctx.to_control.send(message));
    }

    fn publish_all(&mut self, epoch: &Epoch) {
        for name in self.family(epoch) {
            self.publish(&name);
        }
    }

    /// Shows where this lane stands, and squares the memory it holds.
    fn publish(&mut self, name: &str) {
        let number = self.ctx.number;
        let Some(table) = self.tables.get_mut(name) else {
            return;
        };
        let held = table.held_bytes();
        table.permit.resize(held);
        let state = LaneState {
            rows: table.accumulator.rows() + table.rejects.as_ref().map_or(0, Rejects::kept),
            bytes: held,
            largest_file_bytes: table.largest_file_bytes(),
            moved: !table.accumulator.is_empty(),
            oldest_arrival: table.accumulator.oldest_arrival(),
            oldest_rowless: table.accumulator.oldest_rowless(),
            positions: self
                .open
                .iter()
                .filter_map(|(topic_partition, open)| {
                    Some((topic_partition.clone(), open.of(name)?))
                })
                .collect(),
            halted: table.halted.clone(),
            displaced: table.displaced.clone(),
        };
        let settings = &table.share.plan.settings;
        let full = state.rows >= settings.flush.rows
            || state.largest_file_bytes >= settings.flush.file_size_bytes;
        table.share.set_lane(number, state);
        if full {
            table.share.wake.notify_one();
        }
    }
}

fn to_u64(count: usize) -> u64 {
    u64::try_from(count).unwrap_or(u64::MAX)
}
