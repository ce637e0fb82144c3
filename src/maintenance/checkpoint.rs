//! Writes checkpoints when they are due, so that a table committed every second opens fast tomorrow. Never a commit hook: its failure is reported, not the
//! commit's, and no log is cleaned up.

use crate::clock::Clock;
use crate::delta::{Error, TableStore};

/// Commits between two checkpoints where neither config nor table says otherwise.
const INTERVAL_DEFAULT: u64 = 100;

/// Keeps one table's checkpoints due.
#[derive(Debug)]
pub struct Checkpoints {
    store: TableStore,
    clock: Clock,
    interval: u64,
    /// The newest checkpoint that is known; `None` before the first look.
    newest: Option<u64>,
}

impl Checkpoints {
    /// Every `commits` of the config, else as the table's property `delta.checkpointInterval` says.
    pub fn new(
        store: TableStore,
        clock: Clock,
        commits: Option<u64>,
        property: Option<&str>,
    ) -> Self {
        let interval = commits
            .or_else(|| property.and_then(|text| text.trim().parse().ok()))
            .unwrap_or(INTERVAL_DEFAULT)
            .max(1);
        Checkpoints {
            store,
            clock,
            interval,
            newest: None,
        }
    }

    /// Whether a look at the store is worth it while the table is at `version`.
    pub fn may_be_due(&self, version: u64) -> bool {
        self.newest.is_none() || self.is_due(version, self.newest)
    }

    /// Whether `version` is far enough from the `newest` checkpoint.
    pub fn is_due(&self, version: u64, newest: Option<u64>) -> bool {
        version.saturating_sub(newest.unwrap_or(0)) >= self.interval
    }

    /// Writes a checkpoint if `version`, the newest one, is far enough from the last; answers its version. Looks at the store only then.
    pub async fn checkpoint_if_due(&mut self, version: u64) -> Result<Option<u64>, Error> {
        if !self.is_due(version, self.newest) {
            self.newest = self.newest.or(Some(0));
            return Ok(None);
        }
        // Another instance may have written it.
        let newest = self.store.newest_checkpoint().await?.unwrap_or(0);
        self.newest = Some(newest);
        if !self.is_due(version, self.newest) {
            return Ok(None);
        }
        let written = Box::pin(self.store.write_checkpoint(&self.clock)).await?;
        self.newest = Some(written);
        Ok(Some(written))
    }
}
