//! What the lanes, the flusher and the control thread of one table have in common: its plan, and where each lane stands. Holds no rows.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use crate::buffer::RejectRate;
use crate::clock::{Clock, Instant};
use crate::delta::Table;
use crate::metrics::TableMetrics;
use crate::model::offset::TopicPartition;
use crate::pipeline::plan::Plan;
use crate::pipeline::schemas::Schemas;

/// Shared by everyone who works on one table.
#[derive(Debug)]
pub(super) struct Share {
    /// What to decode, and into which files.
    pub(super) plan: Plan,
    /// Woken when a lane's state asks for a look.
    pub(super) wake: Notify,
    /// This table's counters.
    pub(super) counters: TableMetrics,
    /// What all tables hold, for the choice of whose buffer is flushed for memory.
    pub(super) ledger: Ledger,
    /// The columns that lanes decode into.
    pub(super) schemas: Schemas,
    lanes: Vec<Mutex<LaneState>>,
    /// Offsets by the table, as of the last commit or refresh.
    committed: Mutex<BTreeMap<TopicPartition, i64>>,
    reject_rate: Mutex<RejectRate>,
    /// Consecutive ends of epochs without a commit of ours.
    pub(super) superseded: AtomicU64,
    /// The newest table version that this process has seen.
    pub(super) version: AtomicU64,
    /// The newest version of the table of rejected records that this process has seen; 0 while there is none.
    pub(super) rejected_version: AtomicU64,
}

/// Where one lane stands with this table.
#[derive(Debug, Default, Clone)]
pub(super) struct LaneState {
    pub(super) rows: u64,
    pub(super) bytes: u64,
    pub(super) largest_file_bytes: u64,
    /// Whether a span waits, with or without rows.
    pub(super) moved: bool,
    /// When the oldest waiting record arrived.
    pub(super) oldest_arrival: Option<Instant>,
    /// When the oldest waiting span without rows arrived.
    pub(super) oldest_rowless: Option<Instant>,
    /// The next offset of each topic partition to decode.
    pub(super) positions: BTreeMap<TopicPartition, i64>,
    /// Why this lane takes no more of this table.
    pub(super) halted: Option<String>,
    /// Why its positions must be held against the logs again.
    pub(super) displaced: Option<String>,
}

/// Bytes that each table has in its lanes.
#[derive(Debug, Clone, Default)]
pub(super) struct Ledger(Arc<Mutex<BTreeMap<String, u64>>>);

impl Ledger {
    /// Notes what a table holds; answers with the sum over all, and whether no other table holds more.
    pub(super) fn note(&self, table: &str, bytes: u64) -> (u64, bool) {
        let mut held = locked(&self.0);
        held.insert(table.to_owned(), bytes);
        (
            held.values().sum(),
            held.values().all(|other| *other <= bytes),
        )
    }
}

impl Share {
    pub(super) fn new(
        plan: Plan,
        schemas: Schemas,
        lanes: usize,
        counters: TableMetrics,
        ledger: Ledger,
    ) -> Share {
        Share {
            reject_rate: Mutex::new(RejectRate::new(plan.settings.errors.suspend_above)),
            plan,
            schemas,
            wake: Notify::new(),
            counters,
            ledger,
            lanes: (0..lanes)
                .map(|_| Mutex::new(LaneState::default()))
                .collect(),
            committed: Mutex::new(BTreeMap::new()),
            superseded: AtomicU64::new(0),
            version: AtomicU64::new(0),
            rejected_version: AtomicU64::new(0),
        }
    }

    /// The table's name, for messages.
    pub(super) fn name(&self) -> &str {
        &self.plan.settings.name
    }

    /// Begins again from what the table has, under a new epoch.
    pub(super) fn begin_schemas(&self, table: &Table, clock: &Clock) -> Result<(), String> {
        let has = table.schema();
        let first = self.plan.first_schema(&has, clock)?;
        self.schemas.restart(first, has);
        Ok(())
    }

    /// Replaces where a lane stands.
    pub(super) fn set_lane(&self, lane: usize, state: LaneState) {
        if let Some(slot) = self.lanes.get(lane) {
            *locked(slot) = state;
        }
    }

    /// Where the lanes stand together.
    pub(super) fn total(&self) -> LaneState {
        let mut total = LaneState::default();
        for slot in &self.lanes {
            let state = locked(slot);
            total.rows += state.rows;
            total.bytes += state.bytes;
            total.largest_file_bytes = total.largest_file_bytes.max(state.largest_file_bytes);
            total.moved |= state.moved;
            total.oldest_arrival = [total.oldest_arrival, state.oldest_arrival]
                .into_iter()
                .flatten()
                .min();
            total.oldest_rowless = [total.oldest_rowless, state.oldest_rowless]
                .into_iter()
                .flatten()
                .min();
            total.positions.extend(
                state
                    .positions
                    .iter()
                    .map(|(topic_partition, position)| (topic_partition.clone(), *position)),
            );
            total.halted = total.halted.or_else(|| state.halted.clone());
            total.displaced = total.displaced.or_else(|| state.displaced.clone());
        }
        total
    }

    /// Counts records and rejected ones, over all lanes; the reason to suspend when those are too many.
    pub(super) fn too_many(&self, now: Instant, records: u64, rejects: u64) -> Option<String> {
        let errors = &self.plan.settings.errors;
        let too_many = locked(&self.reject_rate).observe(now, records, rejects)?;
        Some(format!(
            "{} of the last {} records cannot be decoded, which is more than single bad records explain (errors.suspend_above: {} % within {} s); look at the first of \
             them, mend the schema or the producer, and start again, or raise the limit",
            too_many.rejects,
            too_many.records,
            errors.suspend_above.percent,
            errors.suspend_above.window.as_secs()
        ))
    }

    /// Notes what the table says.
    pub(super) fn set_committed(&self, offsets: impl IntoIterator<Item = (TopicPartition, i64)>) {
        locked(&self.committed).extend(offsets);
    }

    /// What the table says.
    pub(super) fn committed(&self) -> BTreeMap<TopicPartition, i64> {
        locked(&self.committed).clone()
    }

    /// Whether this process owns the table's lowest topic partition, and so maintains it.
    pub(super) fn owns_lowest(&self) -> bool {
        let lowest = locked(&self.committed).keys().next().cloned();
        lowest.is_some_and(|lowest| self.total().positions.contains_key(&lowest))
    }

    /// Counts one more end of an epoch without a commit; the count so far.
    pub(super) fn count_superseded(&self) -> u64 {
        self.superseded.fetch_add(1, Ordering::SeqCst) + 1
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
