//! A lane: the thread that owns some topic partitions from fetched records to sealed rows. Owns positions, decoders and what is not sealed yet; does no I/O but the
//! polling of its queue (and the registry inside the decoder). Does not commit, and does not know the group.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, TryRecvError};
use std::time::Duration;

use tokio::sync::oneshot;

use crate::buffer::accumulator::{Accumulator, Part, Sealed};
use crate::clock::{Clock, Instant};
use crate::decode::Decoder;
use crate::model::batch::{RawBatch, Reject};
use crate::model::epoch::Epoch;
use crate::model::memory::{Permit, Pool};
use crate::model::offset::{Span, TopicPartition};
use crate::model::progress::{Advance, Counts};
use crate::pipeline::control::FromWorker;
use crate::pipeline::share::{LaneState, Share};
use crate::pipeline::status::Status;
use crate::source::{Fetch, FetchError, LaneQueue};
use crate::writer::Encoder;

/// Rows decoded before they become one batch: what the Parquet encoder likes best.
const BATCH_ROWS: usize = 65_536;
/// Rows that wait before an encoder is opened; fewer are merged over all lanes into one file at the flush.
const ROWS_BEFORE_ENCODING: usize = 2 * BATCH_ROWS;
/// How long a poll waits for records; also how late a command may be heard.
const POLL: Duration = Duration::from_millis(20);
/// How long a lane may wait for memory before it gives its topic partitions back to be paused.
const STARVED: Duration = Duration::from_secs(5);

/// What a lane is told.
pub(super) enum LaneCommand {
    /// Take records of these topic partitions from these offsets on, then say so: only then may they be fetched, or the first records would be dropped as unknown.
    Open {
        starts: Vec<(TopicPartition, i64)>,
        share: Arc<Share>,
        epoch: Epoch,
        taken: SyncSender<()>,
    },
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
    pub(super) encoder: Option<Encoder>,
}

/// What every lane needs.
#[derive(Clone)]
pub(super) struct LaneContext {
    pub(super) number: usize,
    pub(super) pool: Pool,
    pub(super) clock: Clock,
    pub(super) status: Status,
    pub(super) to_control: SyncSender<FromWorker>,
}

struct Lane {
    ctx: LaneContext,
    queue: LaneQueue,
    tables: BTreeMap<String, LaneTable>,
    open: BTreeMap<TopicPartition, Open>,
    starved_since: Option<Instant>,
}

struct Open {
    table: String,
    position: i64,
}

/// Why a table takes no more records for now, or for good.
enum Stopped {
    Parked(String),
    Halted(String),
}

struct LaneTable {
    share: Arc<Share>,
    epoch: Epoch,
    decoder: Decoder,
    accumulator: Accumulator,
    encoder: Option<Encoder>,
    permit: Permit,
    halted: Option<String>,
    displaced: Option<String>,
}

/// Runs a lane until it is told to stop.
pub(super) fn run(ctx: LaneContext, queue: LaneQueue, commands: &Receiver<LaneCommand>) {
    let mut lane = Lane {
        ctx,
        queue,
        tables: BTreeMap::new(),
        open: BTreeMap::new(),
        starved_since: None,
    };
    loop {
        loop {
            match commands.try_recv() {
                Ok(LaneCommand::Stop) | Err(TryRecvError::Disconnected) => return,
                Ok(command) => lane.obey(command),
                Err(TryRecvError::Empty) => break,
            }
        }
        if lane.has_memory() {
            for fetch in lane.queue.poll(POLL) {
                lane.take(fetch);
            }
        }
    }
}

impl Lane {
    fn obey(&mut self, command: LaneCommand) {
        match command {
            LaneCommand::Open {
                starts,
                share,
                epoch,
                taken,
            } => {
                for (topic_partition, at) in starts {
                    self.begin(topic_partition, at, &share, &epoch);
                }
                if taken.try_send(()).is_err() {
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
        topic_partition: TopicPartition,
        at: i64,
        share: &Arc<Share>,
        epoch: &Epoch,
    ) {
        if !epoch.is_live() {
            return;
        }
        let name = share.name().to_owned();
        let stale = self
            .tables
            .get(&name)
            .is_none_or(|table| !table.epoch.same_as(epoch));
        if stale {
            match share.plan.decoder(&self.ctx.clock) {
                Ok(decoder) => {
                    let table = LaneTable {
                        share: Arc::clone(share),
                        epoch: epoch.clone(),
                        decoder,
                        accumulator: Accumulator::new(epoch.clone()),
                        encoder: None,
                        permit: self.ctx.pool.hold(0),
                        halted: None,
                        displaced: None,
                    };
                    self.tables.insert(name.clone(), table);
                    self.open.retain(|_, open| open.table != name);
                }
                Err(error) => {
                    let reason = error.to_string();
                    self.tell(FromWorker::Halted {
                        table: name,
                        epoch: epoch.clone(),
                        reason,
                    });
                    return;
                }
            }
        }
        self.open.insert(
            topic_partition,
            Open {
                table: name.clone(),
                position: at,
            },
        );
        self.publish(&name);
    }

    fn end(&mut self, epoch: &Epoch) {
        let ended: Vec<String> = self
            .tables
            .iter()
            .filter(|(_, table)| table.epoch.same_as(epoch))
            .map(|(name, _)| name.clone())
            .collect();
        for name in ended {
            if let Some(table) = self.tables.remove(&name) {
                table.share.set_lane(self.ctx.number, LaneState::default());
            }
            self.open.retain(|_, open| open.table != name);
        }
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

    fn take(&mut self, fetch: Fetch) {
        let Some(open) = self.open.get(&fetch.topic_partition) else {
            return;
        };
        let (name, position) = (open.table.clone(), open.position);
        if let Some(error) = fetch.error {
            self.fetch_failed(&name, &fetch.topic_partition, position, error);
            return;
        }
        let from = fetch
            .records
            .iter_from(0)
            .take_while(|record| record.at.offset < position)
            .count();
        let last = fetch
            .records
            .len()
            .checked_sub(1)
            .and_then(|index| fetch.records.get(index))
            .map(|record| record.at.offset + 1);
        let reached = last.max(fetch.end).unwrap_or(position).max(position);
        let Ok(span) = Span::new(position, reached) else {
            return;
        };
        if let Some(end) = fetch.end {
            self.ctx.status.table(&name, |table| {
                table
                    .topic_partitions
                    .entry(fetch.topic_partition.clone())
                    .or_default()
                    .end = Some(end)
            });
        }
        if span.is_empty() {
            return;
        }
        let Some(table) = self.tables.get(&name) else {
            return;
        };
        let bytes = to_u64(fetch.records.size_bytes());
        let permit = self.ctx.pool.hold(bytes);
        table.share.counters.read(
            to_u64(fetch.records.len()),
            to_u64(fetch.records.payload_bytes()),
        );
        let raw = RawBatch {
            epoch: table.epoch.clone(),
            topic_partition: fetch.topic_partition,
            span,
            records: fetch.records,
            permit,
        };
        self.decode(&name, &raw, from);
    }

    fn fetch_failed(
        &mut self,
        name: &str,
        topic_partition: &TopicPartition,
        position: i64,
        error: FetchError,
    ) {
        if error.offset_out_of_range {
            let reason = format!(
                "offset {position} of {topic_partition} lies outside of its log ({}): nothing is skipped (OFF-7)",
                error.reason
            );
            self.displace(name, reason);
        } else {
            self.park(
                name,
                format!("kafka does not deliver {topic_partition}: {}", error.reason),
            );
        }
    }

    /// Decodes a raw batch from index `from`, as far as it goes.
    fn decode(&mut self, name: &str, raw: &RawBatch, mut from: usize) {
        loop {
            match self.decode_some(name, raw, from) {
                Ok(taken) if taken == raw.records.len() => break,
                Ok(taken) => from = taken,
                Err(Stopped::Parked(reason)) => return self.park(name, reason),
                Err(Stopped::Halted(reason)) => return self.halt(name, reason),
            }
        }
        self.publish(name);
    }

    /// One call of the decoder and the accounts of it: the index that comes next.
    fn decode_some(&mut self, name: &str, raw: &RawBatch, from: usize) -> Result<usize, Stopped> {
        let now = self.ctx.clock.now();
        let halted = |reason: &str| Stopped::Halted(reason.to_owned());
        let table = self
            .tables
            .get_mut(name)
            .ok_or_else(|| halted("its table is gone"))?;
        let open = self
            .open
            .get_mut(&raw.topic_partition)
            .ok_or_else(|| halted("its topic partition is closed"))?;
        let mut appended = table
            .decoder
            .append(&raw.topic_partition, &raw.records, from);
        if usize::try_from(appended.counts.polled()).ok() != appended.taken.checked_sub(from) {
            return Err(Stopped::Halted(format!(
                "{:?} do not account for the records of {} up to index {} (DEC-1); please report this",
                appended.counts, raw.topic_partition, appended.taken
            )));
        }
        let next = raw
            .records
            .get(appended.taken)
            .map(|record| record.at.offset);
        let span = Span::new(open.position, next.unwrap_or(raw.span.end()))
            .map_err(|error| Stopped::Halted(error.to_string()))?;
        table
            .account(&raw.topic_partition, span, &appended.counts, now)
            .map_err(Stopped::Halted)?;
        open.position = span.end();
        let taken = appended.taken;
        let culprit = appended
            .rejects
            .pop_if(|reject| Some(reject.offset) == next);
        let rejects: Vec<Reject> = appended.rejects.iter().chain(&culprit).cloned().collect();
        if appended.ignored_fields > 0 {
            self.ctx.status.table(name, |table| {
                table.ignored_fields += appended.ignored_fields
            });
        }
        self.note_rejects(name, &rejects);
        if let Some(stalled) = appended.stalled {
            return Err(Stopped::Parked(stalled.to_string()));
        }
        if let Some(culprit) = culprit {
            return Err(Stopped::Halted(suspension(&culprit)));
        }
        let table = self
            .tables
            .get_mut(name)
            .ok_or_else(|| halted("its table is gone"))?;
        // A decoder that takes nothing is full: its rows make room.
        if table.decoder.rows() >= BATCH_ROWS || (taken == from && next.is_some()) {
            if table.decoder.rows() == 0 {
                return Err(Stopped::Halted(format!(
                    "the decoder does not get past {} offset {}",
                    raw.topic_partition,
                    span.end()
                )));
            }
            table.cut().map_err(Stopped::Halted)?;
        }
        Ok(taken)
    }

    fn note_rejects(&self, name: &str, rejects: &[Reject]) {
        if rejects.is_empty() {
            return;
        }
        if let Some(table) = self.tables.get(name) {
            rejects
                .iter()
                .for_each(|reject| table.share.counters.rejected(reject.code, 1));
        }
        self.ctx.status.rejected(name, rejects);
        if let Some(reject) = rejects.first() {
            tracing::warn!(
                table = name,
                topic = %reject.topic_partition.topic,
                topic_partition = reject.topic_partition.number,
                offset = reject.offset,
                code = reject.code,
                path = reject.path,
                detail = reject.message,
                more = rejects.len() - 1,
                "records are rejected"
            );
        }
    }

    /// Hands over what waits, even if the table halted: what precedes the halt is good.
    fn seal(&mut self, name: &str, epoch: &Epoch) -> Option<Handed> {
        let table = self
            .tables
            .get_mut(name)
            .filter(|table| table.epoch.same_as(epoch) && epoch.is_live())?;
        if let Err(reason) = table.take_rows() {
            self.halt(name, reason);
            return None;
        }
        let mut sealed = table.accumulator.seal();
        let encoder = table.encoder.take();
        sealed
            .permits
            .push(std::mem::replace(&mut table.permit, self.ctx.pool.hold(0)));
        self.publish(name);
        Some(Handed { sealed, encoder })
    }

    /// Stops taking records of a table for good: a person must decide. What was taken before is still committed.
    fn halt(&mut self, name: &str, reason: String) {
        self.open.retain(|_, open| open.table != name);
        if let Some(table) = self.tables.get_mut(name) {
            table.halted.get_or_insert(reason);
        }
        self.publish(name);
        if let Some(table) = self.tables.get(name) {
            table.share.wake.notify_one();
        }
    }

    /// Stops taking records of a table until its positions were held against the logs again. What was taken before is still committed: it may be gone from the log.
    fn displace(&mut self, name: &str, reason: String) {
        self.open.retain(|_, open| open.table != name);
        if let Some(table) = self.tables.get_mut(name) {
            table.displaced.get_or_insert(reason);
        }
        self.publish(name);
        if let Some(table) = self.tables.get(name) {
            table.share.wake.notify_one();
        }
    }

    /// Gives a table's topic partitions back to be paused and tried again from their positions.
    fn park(&mut self, name: &str, reason: String) {
        let positions: BTreeMap<TopicPartition, i64> = self
            .open
            .iter()
            .filter(|(_, open)| open.table == name)
            .map(|(topic_partition, open)| (topic_partition.clone(), open.position))
            .collect();
        self.open.retain(|_, open| open.table != name);
        self.publish(name);
        if let Some(epoch) = self.tables.get(name).map(|table| table.epoch.clone())
            && !positions.is_empty()
        {
            self.tell(FromWorker::Parked {
                table: name.to_owned(),
                epoch,
                positions,
                reason,
            });
        }
    }

    fn tell(&self, message: FromWorker) {
        // The control thread outlives the lanes; if it is gone, the process is ending.
        drop(self.ctx.to_control.send(message));
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
            rows: table.accumulator.rows(),
            bytes: held,
            largest_file_bytes: table
                .encoder
                .as_ref()
                .map_or(0, Encoder::largest_file_bytes),
            moved: !table.accumulator.is_empty(),
            oldest_arrival: table.accumulator.oldest_arrival(),
            oldest_rowless: table.accumulator.oldest_rowless(),
            positions: self
                .open
                .iter()
                .filter(|(_, open)| open.table == name)
                .map(|(topic_partition, open)| (topic_partition.clone(), open.position))
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

impl LaneTable {
    fn account(
        &mut self,
        topic_partition: &TopicPartition,
        span: Span,
        counts: &Counts,
        arrival: Instant,
    ) -> Result<(), String> {
        let mut advance = Advance::default();
        advance
            .extend(topic_partition, span, counts)
            .map_err(|error| error.to_string())?;
        let part = Part {
            epoch: &self.epoch,
            advance: &advance,
            batch: None,
            permit: None,
            arrival,
        };
        self.accumulator
            .push(part)
            .map_err(|error| error.to_string())
    }

    fn take_rows(&mut self) -> Result<(), String> {
        if self.decoder.rows() > 0 {
            let batch = self.decoder.take().map_err(|error| error.to_string())?;
            self.accumulator.push_batch(batch);
        }
        Ok(())
    }

    /// Makes a batch of the decoded rows, and encodes as soon as there is more than a small file's worth.
    fn cut(&mut self) -> Result<(), String> {
        self.take_rows()?;
        if self.encoder.is_none() && self.accumulator.batch_rows() < ROWS_BEFORE_ENCODING {
            return Ok(());
        }
        let encoder = self
            .encoder
            .get_or_insert_with(|| Encoder::new(Arc::clone(&self.share.plan.layout)));
        for batch in self.accumulator.take_batches() {
            encoder.write(&batch).map_err(|error| error.to_string())?;
        }
        Ok(())
    }

    fn held_bytes(&self) -> u64 {
        let encoder = self.encoder.as_ref().map_or(0, Encoder::buffered_bytes);
        to_u64(self.accumulator.batch_bytes() + self.decoder.size_bytes() + encoder)
    }
}

fn to_u64(count: usize) -> u64 {
    u64::try_from(count).unwrap_or(u64::MAX)
}

fn suspension(reject: &Reject) -> String {
    format!(
        "record at topic `{}` partition {} offset {} cannot be decoded ({}{}): {}; mend it, or let it be counted and left out with errors.mode: skip",
        reject.topic_partition.topic,
        reject.topic_partition.number,
        reject.offset,
        reject.code,
        if reject.path.is_empty() {
            String::new()
        } else {
            format!(" at `{}`", reject.path)
        },
        reject.message
    )
}
