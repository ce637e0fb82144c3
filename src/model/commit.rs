//! What one Delta commit carries and what can become of it. Files, verdicts and offsets are one value (OFF-4), of one epoch (EPOCH-2). Does no I/O.

use std::collections::BTreeMap;
use std::time::Duration;

use arrow::datatypes::SchemaRef;

use crate::clock::Instant;
use crate::model::epoch::Epoch;
use crate::model::offset::{Span, TopicPartition};
use crate::model::progress::Advance;

/// A file that no version names is nobody's orphan while it is younger than this: no vacuum of ours deletes it, whatever its config says.
pub const UNREFERENCED_KEPT_MIN: Duration = Duration::from_secs(3600);

/// A staged file older than this is dropped, never committed: another process may hold it for an orphan before the commit arrives (H19).
pub const STAGED_AGE_MAX: Duration = Duration::from_secs(UNREFERENCED_KEPT_MIN.as_secs() / 2);

/// A data file that is in the store and in no commit yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StagedFile {
    /// Relative to the table's root, as an object key (not URL-encoded).
    pub path: String,
    /// Serialised values by partition column, in Delta's text form; `None` is null.
    pub partition_values: BTreeMap<String, Option<String>>,
    /// Its size.
    pub size_bytes: u64,
    /// Its rows.
    pub rows: u64,
    /// The Delta statistics as JSON text.
    pub stats: String,
    /// When it was written, milliseconds since 1970 UTC.
    pub modified_ms: i64,
    /// When its upload began, by a clock that counts suspension: S3 dates a file that went up in parts from there.
    pub staged: Instant,
}

impl StagedFile {
    /// Whether a vacuum may be near (H19).
    pub fn is_aged(&self, now: Instant) -> bool {
        now.since(self.staged) >= STAGED_AGE_MAX
    }
}

/// Everything that one append commit makes true at once (OFF-4).
#[derive(Debug, Clone)]
pub struct Append {
    /// The right to commit it; belongs to one epoch and is committed or dropped whole (EPOCH-2).
    pub epoch: Epoch,
    /// The offsets it advances.
    pub advance: Advance,
    /// The files it adds.
    pub files: Vec<StagedFile>,
    /// The columns that the files were written with, where the commit may add to the table those that it lacks.
    pub columns: Option<SchemaRef>,
    /// The records it rejects, where they are kept.
    pub outbox: Option<Outbox>,
}

/// Rejected records on their way into their own table: its files lie there already, a commit of the main table names them, and a commit of their own shows them
/// (DLQ-1).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outbox {
    /// The folder of the table of rejected records, under the store's root.
    pub table: String,
    /// Its files that are to be shown.
    pub files: Vec<StagedFile>,
}

/// Rejected records that have become rows: all of them appear in the main table, and disappear from the table of rejected records, or neither (DLQ-1).
#[derive(Debug, Clone)]
pub struct Replay {
    /// The rows.
    pub files: Vec<StagedFile>,
    /// As for an append.
    pub columns: Option<SchemaRef>,
    /// What is left of the files that were read: records that still are no rows.
    pub outbox: Outbox,
    /// The files that were read, as the log of the table of rejected records has them.
    pub replaced: Vec<Replaced>,
    /// The coordinates of the rows, as spans without holes.
    pub coordinates: BTreeMap<TopicPartition, Vec<Span>>,
    /// Which replay the main table had seen last when the rejected records were read; another one in between excludes this one.
    pub follows: Option<i64>,
}

/// A live data file that a rewrite takes out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Replaced {
    /// Its path exactly as the log has it (URL-encoded).
    pub path_in_log: String,
    /// Its object key, by which it is known whoever spelt the path.
    pub key: String,
    /// Serialised values by partition column.
    pub partition_values: BTreeMap<String, Option<String>>,
    /// Its size.
    pub size_bytes: u64,
    /// The rows that were read from it.
    pub rows: u64,
}

/// Files that hold the rows of others: the same rows in a better shape, and no data change (COMP-1).
#[derive(Debug, Clone)]
pub struct Rewrite {
    removed: Vec<Replaced>,
    added: Vec<StagedFile>,
}

/// A rewrite that would lose or make rows.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{files} files of {removed} rows were rewritten to {added} rows; nothing of it is committed (COMP-1)"
)]
pub struct NotConserved {
    /// How many files were read.
    pub files: usize,
    /// Rows read.
    pub removed: u64,
    /// Rows written.
    pub added: u64,
}

impl Rewrite {
    /// Takes both sides if they hold equally many rows (COMP-1).
    pub fn new(removed: Vec<Replaced>, added: Vec<StagedFile>) -> Result<Self, NotConserved> {
        let rows_removed = removed.iter().map(|file| file.rows).sum();
        let rows_added = added.iter().map(|file| file.rows).sum();
        if rows_removed != rows_added {
            return Err(NotConserved {
                files: removed.len(),
                removed: rows_removed,
                added: rows_added,
            });
        }
        Ok(Rewrite { removed, added })
    }

    /// The files that it takes out.
    pub fn removed(&self) -> &[Replaced] {
        &self.removed
    }

    /// The files that it puts in their place.
    pub fn added(&self) -> &[StagedFile] {
        &self.added
    }

    /// The rows on either side.
    pub fn rows(&self) -> u64 {
        self.added.iter().map(|file| file.rows).sum()
    }
}

/// What became of a commit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CommitOutcome {
    /// It is in the log at this table version.
    Committed(u64),
    /// Another owner has moved offsets that it would move; nothing of it is in the log.
    Superseded(String),
    /// The table changed in a way that the files do not fit; nothing of it is in the log.
    Conflict(String),
    /// The deadline passed and the log does not say yet.
    Unknown(String),
}
