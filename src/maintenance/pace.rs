//! How fast maintenance may go: it gives way to ingest, shows how far it is, and stops when asked. Owns those three signals; knows nothing of tables.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use crate::clock::Clock;

/// The nap between two batches while ingest is busy: then maintenance gets a small part of the time, and still goes on.
const NAP: Duration = Duration::from_millis(50);

/// Signals shared with whoever started the work; clones share them.
#[derive(Clone, Default)]
pub struct Pace {
    stopped: Arc<AtomicBool>,
    bytes: Arc<AtomicU64>,
    is_busy: Option<Arc<dyn Fn() -> bool + Send + Sync>>,
}

impl Pace {
    /// Gives way while `is_busy` says so.
    pub fn yielding(is_busy: Arc<dyn Fn() -> bool + Send + Sync>) -> Self {
        Pace {
            is_busy: Some(is_busy),
            ..Pace::default()
        }
    }

    /// Asks the work to end soon; what is half done is dropped.
    pub fn stop(&self) {
        self.stopped.store(true, Ordering::SeqCst);
    }

    /// Whether that was asked.
    pub fn is_stopped(&self) -> bool {
        self.stopped.load(Ordering::SeqCst)
    }

    /// Bytes of files read so far.
    pub fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    pub(super) fn progress(&self, bytes: u64) {
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Lets ingest go first for a moment, if it needs to.
    pub(super) async fn advance(&self, clock: &Clock) {
        if self.is_busy.as_ref().is_some_and(|is_busy| is_busy()) {
            clock.sleep(NAP).await;
        }
    }
}

impl fmt::Debug for Pace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pace")
            .field("stopped", &self.is_stopped())
            .field("bytes", &self.bytes())
            .finish_non_exhaustive()
    }
}
