//! What a simulation asks of the product beside its behaviour: bugs to order, so that it can be shown to catch them, and outcomes to note. Owns nothing in production,
//! where every function here is a constant.

use crate::model::commit::CommitOutcome;

/// A guard that is taken away, or an act that is done wrongly.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bug {
    /// A commit does not compare its spans with the offsets of its base (OFF-3).
    NoBaseCheck,
    /// A commit whose result is unclear does not look for its UUID (COMMIT-1).
    NoReadBack,
    /// A commit starts although its epoch has ended (EPOCH-1).
    CommitAfterRevoke,
    /// A known topic partition without a txn begins at `start` again (OFF-8).
    StartOnMissingTxn,
    /// A commit may move a txn down.
    TxnLowered,
    /// A base is taken for standing without a look (COMMIT-2).
    NoIdentityCheck,
    /// Files that have waited for their commit until a vacuum may be near are committed (H19).
    AgedFiles,
    /// A rewrite does not look whether others touched its files (COMP-2).
    StaleRewrite,
    /// A merge loses rows of all files but the first, and says that it did not (COMP-1).
    LossyRewrite,
    /// A log that was truncated is noticed by its end alone, whatever its leader epochs say (OFF-7).
    TruncationByEndAlone,
    /// Rejected records are published without a look at who did so before (DLQ-1).
    PublishedTwice,
    /// A table takes what another of its family makes the lane read again.
    RowsBelowOwnOffset,
    /// A topic partition is fetched from the highest of its tables' offsets.
    HighestOfFamily,
}

#[cfg(any(test, feature = "testing"))]
mod ordered {
    use std::cell::{Cell, RefCell};

    use super::{Bug, CommitOutcome};

    // A simulation runs on one thread, and several run side by side.
    thread_local! {
        static BUG: Cell<Option<Bug>> = const { Cell::new(None) };
        static OUTCOMES: RefCell<Vec<(String, CommitOutcome)>> = const { RefCell::new(Vec::new()) };
    }

    /// Orders a bug for this thread, or none.
    pub fn order(bug: Option<Bug>) {
        BUG.set(bug);
    }

    /// The outcomes noted on this thread since the last call.
    pub fn take_outcomes() -> Vec<(String, CommitOutcome)> {
        OUTCOMES.take()
    }

    pub(crate) fn has(bug: Bug) -> bool {
        BUG.get() == Some(bug)
    }

    pub(crate) fn note(id: &str, outcome: &CommitOutcome) {
        OUTCOMES.with_borrow_mut(|all| all.push((id.to_owned(), outcome.clone())));
    }
}

#[cfg(any(test, feature = "testing"))]
pub use ordered::{order, take_outcomes};

/// Whether this bug was ordered.
#[cfg(any(test, feature = "testing"))]
pub(crate) fn has(bug: Bug) -> bool {
    ordered::has(bug)
}

/// Whether this bug was ordered: never.
#[cfg(not(any(test, feature = "testing")))]
pub(crate) const fn has(_: Bug) -> bool {
    false
}

/// Notes what a commit came to.
#[cfg(any(test, feature = "testing"))]
pub(crate) fn note(id: &str, outcome: &CommitOutcome) {
    ordered::note(id, outcome);
}

/// Notes nothing.
#[cfg(not(any(test, feature = "testing")))]
pub(crate) const fn note(_: &str, _: &CommitOutcome) {}
