//! One flush: seal, encode, upload, commit, in this order and one at a time (ORD-1). Owns what a flush can come to.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use arrow::array::RecordBatch;
use tokio::sync::oneshot;

use crate::clock::Instant;
use crate::delta::TableStore;
use crate::error::Kind;
use crate::model::commit::{Append, CommitOutcome, StagedFile};
use crate::model::epoch::Epoch;
use crate::model::memory::Permit;
use crate::model::offset::TopicPartition;
use crate::model::progress::Advance;
use crate::pipeline::beside::beside;
use crate::pipeline::control::FromWorker;
use crate::pipeline::flusher::Flusher;
use crate::pipeline::flusher::outbox::Rejected;
use crate::pipeline::lane::{Handed, LaneCommand};
use crate::pipeline::plan::back_off;
use crate::pipeline::settle::{Confirming, confirm_identities, confirm_lineage};
use crate::writer::{self, EncodedFile, Encoder, Layout};

/// Uploads of one flush that run side by side.
const PARALLEL_UPLOADS: usize = 4;

/// What all lanes handed over.
#[derive(Default)]
struct Gathered {
    advance: Advance,
    batches: Vec<RecordBatch>,
    encoders: Vec<Encoder>,
    permits: Vec<Permit>,
    rejected: Rejected,
}

/// Why a flush came to nothing.
pub(super) enum Failed {
    /// The epoch ended, or must end; the reason is for people.
    Epoch { reason: String, superseded: bool },
    /// Something of ours or of the data is wrong: a person must look.
    Halt(String),
}

impl Failed {
    pub(super) fn given_back() -> Failed {
        Failed::Epoch {
            reason: "the topic partitions were given back".to_owned(),
            superseded: false,
        }
    }
}

impl Flusher {
    pub(super) async fn flush(&mut self, reason: &'static str) {
        let Some(epoch) = self.epoch() else { return };
        let began = self.clock.now();
        match self.flush_epoch(&epoch).await {
            Ok(None) => {}
            Ok(Some(version)) => {
                self.state.estimate.observe(self.clock.now().since(began));
                self.share.superseded.store(0, Ordering::SeqCst);
                tracing::debug!(table = self.share.name(), version, reason, "committed");
                self.share.version.fetch_max(version, Ordering::SeqCst);
            }
            Err(Failed::Epoch { reason, superseded }) => {
                self.state.epoch = None;
                if !epoch.is_live() {
                    // Whoever ended it says why.
                    return;
                }
                epoch.end();
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
        let schema = self
            .share
            .schemas
            .widest(&sealed.batches, &sealed.encoders)
            .map_err(|error| Failed::Halt(error.to_string()))?;
        let share = Arc::clone(&self.share);
        let files = self
            .encode(sealed.batches, sealed.encoders, &schema.layout)
            .await?;
        let files = self.upload(epoch, files, &share.plan.store).await?;
        let outbox = self.stage(epoch, sealed.rejected).await?;
        drop(sealed.permits);
        let polled = advance.steps().map(|(topic_partition, _)| topic_partition);
        let given_up = |reason| Failed::Epoch {
            reason,
            superseded: false,
        };
        let confirming = Confirming {
            table: &self.table,
            lookup: &self.lookup,
            clock: &self.clock,
            epoch,
            trouble: &|sentence| self.trouble(sentence),
        };
        confirm_identities(confirming, polled)
            .await
            .map_err(given_up)?;
        confirm_lineage(confirming, &advance)
            .await
            .map_err(given_up)?;
        let append = Append {
            epoch: epoch.clone(),
            advance,
            files,
            columns: self.share.schemas.to_add(&schema),
            outbox,
        };
        let began = self.clock.now();
        let outcome = self.table.commit(&append, &self.app_name).await;
        match outcome {
            CommitOutcome::Committed(version) => {
                self.share.schemas.follow(self.table.schema());
                self.committed(&append, version, began);
                if append.outbox.is_some() {
                    self.publish().await.map_err(Failed::Halt)?;
                }
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
            let Some(Handed {
                sealed,
                encoders,
                rejected: (batch, rejects),
            }) = handed
            else {
                continue;
            };
            all.rejected.batches.extend(batch);
            all.rejected.encoders.extend(rejects);
            all.advance
                .merge(&sealed.advance)
                .map_err(|error| Failed::Halt(error.to_string()))?;
            all.batches.extend(sealed.batches);
            all.permits.extend(sealed.permits);
            all.encoders.extend(encoders);
        }
        Ok(all)
    }

    /// Finishes the lanes' files, and puts what did not fill one into as few as possible.
    pub(super) async fn encode(
        &self,
        batches: Vec<RecordBatch>,
        mut encoders: Vec<Encoder>,
        layout: &Arc<Layout>,
    ) -> Result<Vec<EncodedFile>, Failed> {
        let layout = Arc::clone(layout);
        let work = move || -> Result<Vec<EncodedFile>, writer::Error> {
            if !batches.is_empty() {
                let has_all = |encoder: &Encoder| encoder.layout().columns() == layout.columns();
                let mut encoder = match encoders.iter().position(has_all) {
                    Some(place) => encoders.swap_remove(place),
                    None => Encoder::new(layout),
                };
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
        match beside(work).await {
            Ok(Ok(files)) => Ok(files),
            Ok(Err(error)) => Err(Failed::Halt(error.to_string())),
            Err(error) => Err(Failed::Halt(format!(
                "encoding ended early: {error}; please report this"
            ))),
        }
    }

    /// Uploads until the store takes the files or the epoch ends: a store that is away never rejects, skips or advances (ENV-1).
    pub(super) async fn upload(
        &self,
        epoch: &Epoch,
        files: Vec<EncodedFile>,
        store: &TableStore,
    ) -> Result<Vec<StagedFile>, Failed> {
        let objects = store.objects();
        let url = store.url();
        let root = (url.scheme() == "file")
            .then(|| url.to_file_path().ok())
            .flatten();
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
        Err(Failed::given_back())
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
        let moved = offsets.into_keys().collect();
        drop(self.to_control.try_send(FromWorker::Committed { moved }));
    }
}
