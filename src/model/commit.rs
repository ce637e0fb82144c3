//! What one Delta commit carries and what can become of it. Files, verdicts and offsets are one value (OFF-4), of one epoch (EPOCH-2). Does no I/O.

use std::collections::BTreeMap;

use crate::model::epoch::Epoch;
use crate::model::progress::Advance;

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
