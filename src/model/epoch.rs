//! The right to commit for a family. Owns its end: once ended, no commit under it can start (EPOCH-1). Does not know why it ended.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

const LIVE: u8 = 0;
const ENDED: u8 = 1;

/// One instance's right to commit for a family; clones share their fate.
#[derive(Debug, Clone)]
pub struct Epoch {
    number: u64,
    state: Arc<AtomicU8>,
}

impl Epoch {
    /// A new, live epoch.
    pub fn begin(number: u64) -> Self {
        Epoch {
            number,
            state: Arc::new(AtomicU8::new(LIVE)),
        }
    }

    /// Ends it for every holder; whoever asks afterwards may not commit.
    pub fn end(&self) {
        self.state.store(ENDED, Ordering::SeqCst);
    }

    /// Whether a commit may still start.
    pub fn is_live(&self) -> bool {
        self.state.load(Ordering::SeqCst) == LIVE
    }

    /// Its number, for logs.
    pub fn number(&self) -> u64 {
        self.number
    }

    /// Whether both are the same right.
    pub fn same_as(&self, other: &Epoch) -> bool {
        Arc::ptr_eq(&self.state, &other.state)
    }
}
