//! Rejected records between the lanes and their own table (DLQ-1): into files before the main commit, shown after it, by this flusher or whichever comes first. Owns when
//! publishing is tried again; the protocol is `delta`'s.

use std::sync::atomic::Ordering;
use std::time::Duration;

use arrow::array::RecordBatch;

use crate::clock::{Clock, Instant};
use crate::delta::Publisher;
use crate::error::Kind;
use crate::model::commit::Outbox;
use crate::model::epoch::Epoch;
use crate::pipeline::flusher::Flusher;
use crate::pipeline::flusher::flush::Failed;
use crate::pipeline::plan::back_off;
use crate::writer::Encoder;

/// How long a store may be away before publishing is tried again.
const AGAIN: Duration = Duration::from_secs(5);

/// What a flusher knows of rejected records.
pub(in crate::pipeline) struct Publishing {
    publisher: Publisher,
    /// When to try again what could not be published.
    again: Option<Instant>,
}

/// What all lanes kept of rejected records.
#[derive(Default)]
pub(super) struct Rejected {
    pub(super) batches: Vec<RecordBatch>,
    pub(super) encoders: Vec<Encoder>,
}

impl Publishing {
    pub(in crate::pipeline) fn new(clock: &Clock) -> Self {
        Publishing {
            publisher: Publisher::new(clock),
            again: None,
        }
    }

    /// When something is left to do.
    pub(super) fn again(&self) -> Option<Instant> {
        self.again
    }
}

impl Flusher {
    /// Puts rejected records into files of their table, which no commit shows yet.
    pub(super) async fn stage(
        &mut self,
        epoch: &Epoch,
        rejected: Rejected,
    ) -> Result<Option<Outbox>, Failed> {
        let Some(dlq) = self.share.plan.dlq.clone() else {
            return Ok(None);
        };
        if rejected.batches.is_empty() && rejected.encoders.is_empty() {
            return Ok(None);
        }
        self.prepare(epoch).await?;
        let files = self
            .encode(rejected.batches, rejected.encoders, &dlq.layout)
            .await?;
        let files = self.upload(epoch, files, &dlq.store).await?;
        Ok(Some(Outbox {
            table: dlq.folder.clone(),
            files,
        }))
    }

    /// The table must be there before a commit names something for it.
    async fn prepare(&mut self, epoch: &Epoch) -> Result<(), Failed> {
        let Some(dlq) = self.share.plan.dlq.clone() else {
            return Ok(());
        };
        let mut attempt = 0;
        while epoch.is_live() {
            let publisher = &mut self.publishing.publisher;
            let made = publisher.prepare(&self.table, &dlq.folder, dlq.layout.file_schema());
            match Box::pin(made).await {
                Ok(()) => return Ok(()),
                Err(error) if error.kind() == Kind::Unavailable => {
                    self.trouble(format!("table `{}`: {error}", self.share.name()));
                    self.clock.sleep(back_off(attempt)).await;
                    attempt += 1;
                }
                Err(error) => return Err(Failed::Halt(format!("{error} (errors.table)"))),
            }
        }
        Err(Failed::given_back())
    }

    /// Shows what is named and not shown yet, whoever named it. What is away is tried again later and holds nothing up; an error is for a person.
    pub(super) async fn publish(&mut self) -> Result<(), String> {
        self.publishing.again = None;
        match Box::pin(self.publishing.publisher.publish(&self.table)).await {
            Ok(published) => {
                self.see_rejected();
                if published.commits > 0 {
                    tracing::debug!(
                        table = self.share.name(),
                        rows = published.rows,
                        "rejected records published"
                    );
                }
                Ok(())
            }
            Err(error) if error.kind() == Kind::Unavailable => {
                tracing::debug!(table = self.share.name(), %error, "rejected records are published later");
                self.publishing.again = Some(self.clock.now().after(AGAIN));
                Ok(())
            }
            Err(error) => Err(error.to_string()),
        }
    }

    fn see_rejected(&self) {
        let dlq = self.share.plan.dlq.as_ref();
        if let Some(table) = dlq.and_then(|dlq| self.publishing.publisher.table(&dlq.folder)) {
            let seen = &self.share.rejected_version;
            seen.fetch_max(table.version(), Ordering::SeqCst);
        }
    }

    /// Tries again what could not be published, when it is time.
    pub(super) async fn publish_again(&mut self) {
        let is_due = |at: Instant| at <= self.clock.now();
        if !self.publishing.again().is_some_and(is_due) {
            return;
        }
        if let Err(reason) = self.publish().await {
            match self.epoch() {
                Some(epoch) => self.halted(&epoch, reason),
                None => {
                    tracing::error!(
                        table = self.share.name(),
                        reason,
                        "rejected records cannot be published"
                    );
                }
            }
        }
    }
}
