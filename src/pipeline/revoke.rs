//! A revocation between the group's word and our acknowledgement: the tables concerned commit what they have, for a bounded time. Owns that wait, on the control thread
//! and without blocking it; ending epochs and answering the group is the control thread's.

use std::time::Duration;

use tokio::sync::oneshot::{self, error::TryRecvError};

use crate::clock::Instant;
use crate::model::offset::TopicPartition;

/// How long the group waits for our last commit under an epoch; far below any rebalance timeout, and enough for a store that is well.
pub(super) const COMMIT_WITHIN: Duration = Duration::from_secs(5);

/// A revocation that is not acknowledged yet.
#[derive(Debug)]
pub(super) struct Revoking {
    pub(super) all: Vec<TopicPartition>,
    waiting: Vec<oneshot::Receiver<()>>,
    until: Instant,
}

impl Revoking {
    /// Waits for these commits from `now` on.
    pub(super) fn new(
        all: Vec<TopicPartition>,
        waiting: Vec<oneshot::Receiver<()>>,
        now: Instant,
    ) -> Revoking {
        Revoking {
            all,
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
        let mut revoking = Revoking::new(Vec::new(), vec![first_done, second_done], clock.now());
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
