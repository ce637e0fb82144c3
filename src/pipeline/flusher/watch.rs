//! What a flusher looks for in the log while it has nothing to commit: a suspension that was lifted, topic partitions of ours that another owner moved. Owns how often;
//! changes nothing.

use std::time::Duration;

use crate::delta::LIFTED;
use crate::model::offset::TopicPartition;
use crate::pipeline::control::FromWorker;
use crate::pipeline::flusher::Flusher;

/// How often the log of a suspended table is followed, for what a person lifts.
const WATCH_SUSPENDED: Duration = Duration::from_secs(2);
/// How often the log of a table without commits is followed.
const WATCH_IDLE: Duration = Duration::from_secs(10);

impl Flusher {
    /// Follows the log while nothing is to be committed: a suspension may have been lifted, and an owner of quiet topic partitions may have been superseded.
    pub(super) async fn watch(&mut self) {
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
        let lifted = self.lifted();
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

    /// What the table says was lifted last.
    pub(super) fn lifted(&self) -> Option<String> {
        self.table.property(LIFTED).map(str::to_owned)
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
}
