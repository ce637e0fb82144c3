//! The end of an epoch that is known a moment before: the tables concerned commit what they have, for a bounded time. So it is between the group's word and our
//! acknowledgement, and when one table of a family cannot go on. Owns that wait, on the control thread and without blocking it; ending epochs and answering the group is
//! the control thread's.

use std::time::Duration;

use tokio::sync::oneshot::{self, error::TryRecvError};

use crate::clock::Instant;
use crate::model::epoch::Epoch;
use crate::model::offset::TopicPartition;

/// How long the group, or a table that stopped, waits for the last commits under an epoch; far below any rebalance timeout, and enough for a store that is well.
pub(super) const COMMIT_WITHIN: Duration = Duration::from_secs(5);

/// A revocation that is not acknowledged yet.
#[derive(Debug)]
pub(super) struct Revoking {
    pub(super) all: Vec<TopicPartition>,
    pub(super) last: LastCommits,
}

/// A table that cannot go on, while the others of its family commit what they have: it may be gone from the log when they read again.
#[derive(Debug)]
pub(super) struct Stopping {
    pub(super) table: String,
    pub(super) epoch: Epoch,
    pub(super) stop: Stop,
    pub(super) last: LastCommits,
}

/// Why a table cannot go on.
#[derive(Debug)]
pub(super) enum Stop {
    /// Its positions are outside of their logs.
    Displaced(String),
    /// A person must decide.
    Halted(String),
}

/// The last commits under an epoch.
#[derive(Debug)]
pub(super) struct LastCommits {
    waiting: Vec<oneshot::Receiver<()>>,
    until: Instant,
}

impl LastCommits {
    /// Waits for these from `now` on.
    pub(super) fn new(waiting: Vec<oneshot::Receiver<()>>, now: Instant) -> LastCommits {
        LastCommits {
            waiting,
            until: now.after(COMMIT_WITHIN),
        }
    }

    /// Whether every commit is through, or the time is: a put still in flight is settled by the successor.
    pub(super) fn is_due(&mut self, now: Instant) -> bool {
        self.waiting
            .retain_mut(|answer| matches!(answer.try_recv(), Err(TryRecvError::Empty)));
        self.waiting.is_empty() || now >= self.until
    }

    /// How many commits are not through.
    pub(super) fn late(&self) -> usize {
        self.waiting.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Clock;

    #[test]
    fn epoch_1_an_acknowledgement_waits_for_the_commits_and_no_longer_than_its_bound() {
        let clock = Clock::manual(0, 1);
        let (first, first_done) = oneshot::channel();
        let (second, second_done) = oneshot::channel();
        let mut revoking = LastCommits::new(vec![first_done, second_done], clock.now());
        assert!(!revoking.is_due(clock.now()));
        first.send(()).unwrap();
        assert!(!revoking.is_due(clock.now()));
        assert_eq!(revoking.late(), 1);
        assert!(revoking.is_due(clock.now().after(COMMIT_WITHIN)));
        // A flusher that is gone is not waited for.
        drop(second);
        assert!(revoking.is_due(clock.now()));
        assert_eq!(revoking.late(), 0);
    }
}
