//! One table's actor: when to flush, and the way from sealed rows to a commit. Owns the open table; commits follow span order because one flush ends before the next
//! begins (ORD-1). Does not decode, and does not know the group.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::SyncSender;
use std::time::Duration;

use arrow::array::RecordBatch;
use tokio::sync::{Mutex, mpsc, oneshot};

use crate::buffer::flush_policy::{self, BufferState, Decision, FlushEstimate, Limits};
use crate::clock::{Clock, Instant};
use crate::delta::{LIFTED, Table};
use crate::error::Kind;
use crate::maintenance::checkpoint::Checkpoints;
use crate::model::commit::{Append, CommitOutcome, StagedFile};
use crate::model::epoch::Epoch;
use crate::model::memory::{Permit, Pool};
use crate::model::offset::TopicPartition;
use crate::model::progress::Advance;
use crate::pipeline::control::FromWorker;
use crate::pipeline::lane::{Handed, LaneCommand};
use crate::pipeline::plan::back_off;
use crate::pipeline::settle::{Accept, Confirming, Settling, confirm_identities};
use crate::pipeline::share::Share;
use crate::pipeline::status::Status;
use crate::source::Lookup;
use crate::writer::{self, EncodedFile, Encoder};

/// Uploads of one flush that run side by side.
const PARALLEL_UPLOADS: usize = 4;
/// How often an idle table is looked at.
const IDLE: Duration = Duration::from_millis(200);
/// How often the log of a suspended table is followed, for what a person lifts.
const WATCH_SUSPENDED: Duration = Duration::from_secs(2);
/// How often the log of a table without commits is followed.
const WATCH_IDLE: Duration = Duration::from_secs(10);

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
    pub(super) lookup: Arc<Lookup>,
    /// Flush as soon as owned topic partitions have reached these.
    pub(super) targets: Option<Arc<BTreeMap<TopicPartition, i64>>>,
    pub(super) checkpoints: Arc<Mutex<Checkpoints>>,
    pub(super) app_name: String,
    pub(super) state: FlushState,
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

/// What all lanes handed over.
#[derive(Default)]
struct Gathered {
    advance: Advance,
    batches: Vec<RecordBatch>,
    encoders: Vec<Encoder>,
    permits: Vec<Permit>,
}

/// Why a flush came to nothing.
enum Failed {
    /// The epoch ended, or must end; the reason is for people.
    Epoch { reason: String, superseded: bool },
    /// Something of ours or of the data is wrong: a person must look.
    Halt(String),
}

impl Flusher {
    /// Runs until the control thread drops its end.
    pub(super) async fn run(mut self) {
        self.show_table();
        loop {
            let share = Arc::clone(&self.share);
            let wait = self.next_look();
            tokio::select! {
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

    /// Reads the table afresh (OFF-5), settles it with its topics and answers with the offsets; what is away is waited for, what is wrong suspends.
    async fn begin(&mut self, epoch: Epoch, topic_partitions: Vec<TopicPartition>) {
        let settling = Settling {
            table: &mut self.table,
            lookup: &self.lookup,
            settings: &self.share.plan.settings,
            app_name: &self.app_name,
            clock: &self.clock,
            epoch: &epoch,
            accept: Accept::ByConfig,
            trouble: &|sentence| trouble(&self.status, &self.to_control, sentence),
        };
        let settled = match settling.settle(&topic_partitions).await {
            Ok(Some(settled)) => settled,
            Ok(None) => return,
            Err(reason) => return self.halted(&epoch, reason),
        };
        self.state.suspended = None;
        self.show_table();
        self.status.table(self.share.name(), |table| {
            for (topic_partition, start) in &settled.starts {
                table
                    .topic_partitions
                    .entry(topic_partition.clone())
                    .or_default()
                    .end = Some(start.end);
            }
        });
        let starts: BTreeMap<TopicPartition, i64> = settled
            .starts
            .iter()
            .map(|(topic_partition, start)| (topic_partition.clone(), start.offset))
            .collect();
        self.share.set_committed(starts.clone());
        self.state.epoch = Some(epoch.clone());
        self.tell(FromWorker::Opened {
            table: self.share.name().to_owned(),
            epoch,
            starts,
        })
        .await;
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
        let Next::Flush(reason) = self.decide() else {
            return self.watch().await;
        };
        self.flush(reason).await;
        let total = self.share.total();
        let Some(epoch) = self.epoch() else { return };
        if let Some(reason) = total.halted {
            self.halted(&epoch, reason);
        } else if let Some(reason) = total.displaced {
            epoch.end();
            self.state.epoch = None;
            self.tell(FromWorker::Displaced {
                table: self.share.name().to_owned(),
                epoch,
                reason,
            })
            .await;
        }
    }

    /// Follows the log while nothing is to be committed: a suspension may have been lifted, and an owner of quiet topic partitions may have been superseded.
    async fn watch(&mut self) {
        let now = self.clock.now();
        let every = if self.state.suspended.is_some() {
            WATCH_SUSPENDED
        } else {
            WATCH_IDLE
        };
        if now.since(*self.state.watched.get_or_insert(now)) < every {
            return;
        }
        self.state.watched = Some(now);
        if self.state.suspended.is_none() && self.epoch().is_none() {
            return;
        }
        // Whatever is wrong with the table shows at the next commit or lift.
        if self.table.refresh().await.is_err() {
            return;
        }
        let lifted = self.table.property(LIFTED).map(str::to_owned);
        if self
            .state
            .suspended
            .as_ref()
            .is_some_and(|before| *before != lifted)
        {
            self.state.suspended = None;
            let table = self.share.name().to_owned();
            self.tell(FromWorker::Lifted { table }).await;
        } else if let Some(epoch) = self.epoch()
            && let Some(moved) = self.moved_by_others()
        {
            epoch.end();
            self.state.epoch = None;
            self.tell(FromWorker::EpochEnded {
                table: self.share.name().to_owned(),
                epoch,
                reason: format!("{moved} was moved by another owner"),
                superseded: true,
            })
            .await;
        }
    }

    /// A topic partition of ours that does not stand where we left it.
    fn moved_by_others(&self) -> Option<TopicPartition> {
        let ours = self.share.committed();
        let mut owned = self.share.total().positions.into_keys();
        owned.find(|it| {
            let is = self.table.committed(it).ok();
            !self.table.is_handed_out(it) || is != ours.get(it).copied()
        })
    }

    async fn drain(&mut self) {
        if self.epoch().is_some() {
            self.flush("drain").await;
        }
    }

    async fn flush(&mut self, reason: &'static str) {
        let Some(epoch) = self.epoch() else { return };
        let began = self.clock.now();
        match self.flush_epoch(&epoch).await {
            Ok(None) => {}
            Ok(Some(version)) => {
                self.state.estimate.observe(self.clock.now().since(began));
                self.share.superseded.store(0, Ordering::SeqCst);
                tracing::debug!(table = self.share.name(), version, reason, "committed");
                self.checkpoint_when_due(version);
            }
            Err(Failed::Epoch { reason, superseded }) => {
                epoch.end();
                self.state.epoch = None;
                self.tell(FromWorker::EpochEnded {
                    table: self.share.name().to_owned(),
                    epoch,
                    reason,
                    superseded,
                })
                .await;
            }
            Err(Failed::Halt(reason)) => self.halted(&epoch, reason),
        }
    }

    async fn flush_epoch(&mut self, epoch: &Epoch) -> Result<Option<u64>, Failed> {
        let sealed = self.seal(epoch).await?;
        if sealed.advance.is_empty() {
            return Ok(None);
        }
        let advance = sealed.advance;
        let files = self.encode(sealed.batches, sealed.encoders).await?;
        let files = self.upload(epoch, files).await?;
        drop(sealed.permits);
        let polled = advance.steps().map(|(topic_partition, _)| topic_partition);
        let confirming = Confirming {
            table: &self.table,
            lookup: &self.lookup,
            clock: &self.clock,
            epoch,
            trouble: &|sentence| self.trouble(sentence),
        };
        confirm_identities(confirming, polled)
            .await
            .map_err(|reason| Failed::Epoch {
                reason,
                superseded: false,
            })?;
        let append = Append {
            epoch: epoch.clone(),
            advance,
            files,
        };
        let began = self.clock.now();
        let outcome = self.table.commit(&append, &self.app_name).await;
        match outcome {
            CommitOutcome::Committed(version) => {
                self.committed(&append, version, began);
                Ok(Some(version))
            }
            CommitOutcome::Superseded(reason) => Err(Failed::Epoch {
                reason,
                superseded: true,
            }),
            CommitOutcome::Conflict(reason) | CommitOutcome::Unknown(reason) => {
                Err(Failed::Epoch {
                    reason,
                    superseded: false,
                })
            }
        }
    }

    /// Collects what every lane holds; a lane that is gone ends the epoch.
    async fn seal(&self, epoch: &Epoch) -> Result<Gathered, Failed> {
        let mut replies = Vec::new();
        for lane in &self.lanes {
            let (reply, answer) = oneshot::channel();
            let command = LaneCommand::Seal {
                table: self.share.name().to_owned(),
                epoch: epoch.clone(),
                reply,
            };
            if lane.try_send(command).is_err() {
                return Err(Failed::Epoch {
                    reason: "a lane does not take commands".to_owned(),
                    superseded: false,
                });
            }
            replies.push(answer);
        }
        let mut all = Gathered::default();
        for answer in replies {
            let Ok(handed) = answer.await else {
                return Err(Failed::Epoch {
                    reason: "a lane ended while it sealed".to_owned(),
                    superseded: false,
                });
            };
            let Some(Handed { sealed, encoder }) = handed else {
                continue;
            };
            all.advance
                .merge(&sealed.advance)
                .map_err(|error| Failed::Halt(error.to_string()))?;
            all.batches.extend(sealed.batches);
            all.permits.extend(sealed.permits);
            all.encoders.extend(encoder);
        }
        Ok(all)
    }

    /// Finishes the lanes' files, and puts what did not fill one into as few as possible.
    async fn encode(
        &self,
        batches: Vec<RecordBatch>,
        mut encoders: Vec<Encoder>,
    ) -> Result<Vec<EncodedFile>, Failed> {
        let layout = Arc::clone(&self.share.plan.layout);
        let work = move || -> Result<Vec<EncodedFile>, writer::Error> {
            if !batches.is_empty() {
                let mut encoder = encoders.pop().unwrap_or_else(|| Encoder::new(layout));
                for batch in &batches {
                    encoder.write(batch)?;
                }
                encoders.push(encoder);
            }
            let mut files = Vec::new();
            for encoder in encoders {
                files.extend(encoder.finish()?);
            }
            Ok(files)
        };
        match tokio::task::spawn_blocking(work).await {
            Ok(Ok(files)) => Ok(files),
            Ok(Err(error)) => Err(Failed::Halt(error.to_string())),
            Err(error) => Err(Failed::Halt(format!(
                "encoding ended early: {error}; please report this"
            ))),
        }
    }

    /// Uploads until the store takes the files or the epoch ends: a store that is away never rejects, skips or advances (ENV-1).
    async fn upload(
        &self,
        epoch: &Epoch,
        files: Vec<EncodedFile>,
    ) -> Result<Vec<StagedFile>, Failed> {
        let objects = self.share.plan.store.objects();
        let root = self.share.plan.store.url().to_file_path().ok();
        let mut attempt = 0;
        let mut troubled = false;
        while epoch.is_live() {
            match writer::upload(
                &objects,
                root.as_deref(),
                files.clone(),
                &self.clock,
                PARALLEL_UPLOADS,
            )
            .await
            {
                Ok(staged) => {
                    if troubled {
                        self.status.set_trouble(None);
                    }
                    return Ok(staged);
                }
                Err(error) if error.kind() == Kind::Unavailable => {
                    troubled = true;
                    self.trouble(format!("table `{}`: {error}", self.share.name()));
                    self.clock.sleep(back_off(attempt)).await;
                    attempt += 1;
                }
                Err(error) => return Err(Failed::Halt(error.to_string())),
            }
        }
        Err(Failed::Epoch {
            reason: "the topic partitions were given back".to_owned(),
            superseded: false,
        })
    }

    fn committed(&self, append: &Append, version: u64, began: Instant) {
        let name = self.share.name();
        let offsets: BTreeMap<TopicPartition, i64> = append
            .advance
            .steps()
            .map(|(topic_partition, step)| (topic_partition.clone(), step.span.end()))
            .collect();
        self.share.set_committed(offsets.clone());
        let counters = &self.share.counters;
        counters.commit_took(self.clock.now().since(began));
        let skipped = append
            .advance
            .steps()
            .map(|(_, step)| step.counts.skipped)
            .sum();
        counters.committed(append.advance.rows(), skipped);
        counters.written(
            u64::try_from(append.files.len()).unwrap_or(0),
            append.files.iter().map(|file| file.size_bytes).sum(),
        );
        let now_ms = self.clock.wall_ms();
        self.status.table(name, |table| {
            table.version = Some(version);
            table.commits += 1;
            table.last_commit_ms = Some(now_ms);
            for (topic_partition, step) in append.advance.steps() {
                table.rows += step.counts.rows;
                table.rejects += step.counts.rejects;
                table.skipped += step.counts.skipped;
                table
                    .topic_partitions
                    .entry(topic_partition.clone())
                    .or_default()
                    .committed = Some(step.span.end());
            }
            table.valid_through_ms = self.table.valid_through_ms().or(table.valid_through_ms);
        });
        self.status.set_trouble(None);
        // A report is information only: when the control thread is busy, the next commit reports more.
        drop(self.to_control.try_send(FromWorker::Committed { offsets }));
    }

    /// Sees to checkpoints beside ingest; one at a time, never waited for, their failure never the commit's.
    fn checkpoint_when_due(&self, version: u64) {
        let (checkpoints, name) = (Arc::clone(&self.checkpoints), self.share.name().to_owned());
        #[expect(clippy::disallowed_methods, reason = "pipeline spawns")]
        tokio::spawn(async move {
            let Ok(mut checkpoints) = checkpoints.try_lock() else {
                return;
            };
            match checkpoints.checkpoint_if_due(version).await {
                Ok(Some(version)) => tracing::info!(table = name, version, "checkpoint written"),
                Ok(None) => {}
                Err(error) => {
                    tracing::warn!(table = name, version, %error, "a checkpoint was not written; it is tried again at the next commit")
                }
            }
        });
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

    fn halted(&mut self, epoch: &Epoch, reason: String) {
        epoch.end();
        self.state.epoch = None;
        self.state.suspended = Some(self.table.property(LIFTED).map(str::to_owned));
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
