//! One table's actor: when to flush, and the way from sealed rows to a commit. Owns the open table; commits follow span order because one flush ends before the next
//! begins (ORD-1). Does not decode, and does not know the group.

mod begin;
mod flush;
mod outbox;
mod watch;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::SyncSender;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};

use crate::buffer::flush_policy::{self, BufferState, Decision, FlushEstimate, Limits};
use crate::clock::{Clock, Instant};
use crate::delta::Table;
use crate::model::epoch::Epoch;
use crate::model::memory::Pool;
use crate::model::offset::TopicPartition;
use crate::pipeline::control::FromWorker;
use crate::pipeline::lane::LaneCommand;
use crate::pipeline::share::Share;
use crate::pipeline::status::Status;
use crate::source::Questions;

pub(super) use outbox::Publishing;

/// How often an idle table is looked at.
const IDLE: Duration = Duration::from_millis(200);

/// What the flusher is told.
pub(super) enum FlusherCommand {
    /// Read the table afresh and say where these begin.
    Begin {
        epoch: Epoch,
        topic_partitions: Vec<TopicPartition>,
    },
    /// Commit what there is, then say so.
    Drain { reply: oneshot::Sender<()> },
    /// Read the table without an epoch, to see how far others are.
    Refresh,
}

/// What a flusher works with.
pub(super) struct Flusher {
    pub(super) share: Arc<Share>,
    pub(super) table: Table,
    pub(super) lanes: Vec<SyncSender<LaneCommand>>,
    pub(super) commands: mpsc::Receiver<FlusherCommand>,
    pub(super) to_control: SyncSender<FromWorker>,
    pub(super) clock: Clock,
    pub(super) status: Status,
    pub(super) pool: Pool,
    pub(super) lookup: Arc<dyn Questions>,
    /// Flush as soon as owned topic partitions have reached these.
    pub(super) targets: Option<Arc<BTreeMap<TopicPartition, i64>>>,
    pub(super) app_name: String,
    pub(super) state: FlushState,
    pub(super) publishing: Publishing,
}

/// What a flusher remembers between flushes.
#[derive(Default)]
pub(super) struct FlushState {
    epoch: Option<Epoch>,
    estimate: FlushEstimate,
    /// What the table said was lifted last, when it was suspended.
    suspended: Option<Option<String>>,
    /// When the log was last followed without a reason.
    watched: Option<Instant>,
}

/// What to do next about this table's buffer, and why.
enum Next {
    Wait(Option<Instant>),
    Flush(&'static str),
}

impl Flusher {
    /// Runs until the control thread drops its end.
    pub(super) async fn run(mut self) {
        self.show_table();
        loop {
            let share = Arc::clone(&self.share);
            let wait = self.next_look();
            tokio::select! {
                // In this order, so that a simulation repeats; each turn ends with a look, whatever woke it.
                biased;
                command = self.commands.recv() => match command {
                    None => return,
                    Some(FlusherCommand::Begin { epoch, topic_partitions }) => self.begin(epoch, topic_partitions).await,
                    Some(FlusherCommand::Drain { reply }) => {
                        self.drain().await;
                        if reply.send(()).is_err() {
                            tracing::debug!(table = self.share.name(), "nobody waits for the drain any more");
                        }
                    }
                    Some(FlusherCommand::Refresh) => self.refresh().await,
                },
                () = share.wake.notified() => {}
                () = self.clock.sleep(wait) => {}
            }
            self.look().await;
        }
    }

    fn epoch(&self) -> Option<Epoch> {
        self.state.epoch.clone().filter(Epoch::is_live)
    }

    /// Waits no longer than the policy says.
    fn next_look(&self) -> Duration {
        match self.decide() {
            Next::Flush(_) => Duration::ZERO,
            Next::Wait(Some(until)) => until
                .since(self.clock.now())
                .clamp(Duration::from_millis(1), IDLE),
            Next::Wait(None) => IDLE,
        }
    }

    fn decide(&self) -> Next {
        if self.epoch().is_none() {
            return Next::Wait(None);
        }
        let total = self.share.total();
        if total.halted.is_some()
            || total.displaced.is_some()
            || (total.moved && self.reached_targets(&total.positions))
        {
            return Next::Flush("asked");
        }
        let (unsealed_bytes, is_largest) = self.share.ledger.note(self.share.name(), total.bytes);
        let state = BufferState {
            rows: total.rows,
            largest_file_bytes: total.largest_file_bytes,
            oldest_arrival: total.oldest_arrival,
            oldest_rowless: total.oldest_rowless,
            is_largest,
            unsealed_bytes,
            pool_bytes: self.pool.limit_bytes(),
            flush_estimate: self.state.estimate.next(),
        };
        match flush_policy::decide(
            &state,
            &Limits::from(&self.share.plan.settings),
            self.clock.now(),
        ) {
            Decision::Wait(until) => Next::Wait(until),
            Decision::Flush(reason) => Next::Flush(reason.name()),
        }
    }

    fn reached_targets(&self, positions: &BTreeMap<TopicPartition, i64>) -> bool {
        let Some(targets) = &self.targets else {
            return false;
        };
        !positions.is_empty()
            && positions.iter().all(|(topic_partition, at)| {
                targets
                    .get(topic_partition)
                    .is_none_or(|target| at >= target)
            })
    }

    async fn look(&mut self) {
        let buffered_rows = self.share.total().rows;
        self.status.table(self.share.name(), |table| {
            table.buffered_rows = buffered_rows
        });
        self.publish_again().await;
        let Next::Flush(reason) = self.decide() else {
            return self.watch().await;
        };
        self.flush(reason).await;
        let total = self.share.total();
        let Some(epoch) = self.epoch() else { return };
        if let Some(reason) = total.halted {
            self.halted(&epoch, reason);
        } else if let Some(reason) = total.displaced {
            // The epoch is the family's: the others commit what they have before the control thread ends it.
            self.state.epoch = None;
            self.tell(FromWorker::Displaced {
                table: self.share.name().to_owned(),
                epoch,
                reason,
            })
            .await;
        }
    }

    async fn drain(&mut self) {
        if self.epoch().is_some() {
            self.flush("drain").await;
        }
    }

    async fn refresh(&mut self) {
        if self.epoch().is_some() {
            // Within an epoch the base moves by commits; the offsets of topic partitions that others own are read beside it.
            if let Ok(Some(other)) = Table::load(&self.share.plan.store, &self.clock).await {
                self.share.set_committed(
                    all_committed(&other)
                        .into_iter()
                        .filter(|(it, _)| !self.owned(it)),
                );
            }
            return;
        }
        match self.table.refresh().await {
            Ok(()) => self.show_table(),
            Err(error) => {
                tracing::debug!(table = self.share.name(), %error, "the table was not refreshed")
            }
        }
    }

    fn owned(&self, topic_partition: &TopicPartition) -> bool {
        self.share.total().positions.contains_key(topic_partition)
    }

    fn show_table(&self) {
        let committed = all_committed(&self.table);
        self.share
            .version
            .fetch_max(self.table.version(), Ordering::SeqCst);
        self.status.table(self.share.name(), |status| {
            status.version = Some(self.table.version());
            status.valid_through_ms = self.table.valid_through_ms().or(status.valid_through_ms);
            for (topic_partition, offset) in &committed {
                status
                    .topic_partitions
                    .entry(topic_partition.clone())
                    .or_default()
                    .committed = Some(*offset);
            }
        });
        self.share.set_committed(committed);
    }

    fn trouble(&self, sentence: String) {
        trouble(&self.status, &self.to_control, sentence);
    }

    /// Commits no more; the epoch is the family's, and the control thread ends it.
    fn halted(&mut self, epoch: &Epoch, reason: String) {
        self.state.epoch = None;
        self.state.suspended = Some(self.lifted());
        let message = FromWorker::Halted {
            table: self.share.name().to_owned(),
            epoch: epoch.clone(),
            reason,
        };
        let to_control = self.to_control.clone();
        // The channel is bounded and the control thread always drains it, so this waits at most for its next turn.
        tokio::task::block_in_place(move || drop(to_control.send(message)));
    }

    async fn tell(&self, message: FromWorker) {
        let to_control = self.to_control.clone();
        tokio::task::block_in_place(move || drop(to_control.send(message)));
    }
}

fn all_committed(table: &Table) -> BTreeMap<TopicPartition, i64> {
    let all = table.sources().topic_partitions();
    all.filter_map(|(topic_partition, _)| {
        table
            .committed(&topic_partition)
            .ok()
            .map(|offset| (topic_partition, offset))
    })
    .collect()
}

/// Says what is waited for, to people and to the control thread.
fn trouble(status: &Status, to_control: &SyncSender<FromWorker>, sentence: String) {
    status.set_trouble(Some(sentence.clone()));
    drop(to_control.try_send(FromWorker::Trouble(sentence)));
}
