//! Why a run ended otherwise than asked.

use crate::error::Kind;
use crate::{buffer, decode, delta, source, writer};

/// A run that could not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Kafka.
    #[error(transparent)]
    Source(#[from] source::Error),
    /// The table or its store.
    #[error("table `{table}`: {cause}")]
    Table {
        /// Its name.
        table: String,
        /// What happened.
        #[source]
        cause: delta::Error,
    },
    /// How memory is divided.
    #[error(transparent)]
    Budget(#[from] buffer::budget::Error),
    /// The store itself.
    #[error(transparent)]
    Store(#[from] delta::Error),
    /// The schema or the registry.
    #[error("table `{table}`: {cause}")]
    Decode {
        /// The table's name.
        table: String,
        /// What happened.
        #[source]
        cause: decode::Error,
    },
    /// The file layout.
    #[error("table `{table}`: {cause}")]
    Writer {
        /// The table's name.
        table: String,
        /// What happened.
        #[source]
        cause: writer::Error,
    },
    /// What is to be tried again from the table.
    #[error("table `{table}` is not settled with its topics yet: {reason}")]
    Unsettled {
        /// The table's name.
        table: String,
        /// Why not yet.
        reason: String,
    },
    /// A file of rejected records cannot be read.
    #[error(
        "table `{table}`: the rejected records in `{file}` cannot be read: {reason}; mend or remove the file, nothing was replayed from it"
    )]
    Rejected {
        /// The table's name.
        table: String,
        /// The file.
        file: String,
        /// Why.
        reason: String,
    },
    /// `--table` names a table that the config does not have.
    #[error("--table `{name}` is not in the config; it has {known}")]
    UnknownTable {
        /// What was asked for.
        name: String,
        /// What there is.
        known: String,
    },
    /// Tables that wait for a person.
    #[error("{}", suspended_sentence(tables))]
    Suspended {
        /// Names and reasons.
        tables: Vec<(String, String)>,
    },
    /// There is nothing to read.
    #[error(
        "no topic matches `{patterns}` (under topics_regex); create one, mend the pattern, which must match whole names, or allow this principal to Describe topics"
    )]
    NoTopic {
        /// The patterns.
        patterns: String,
    },
    /// What was asked for would lose or repeat records, or is about nothing.
    #[error("{0}")]
    Refused(String),
    /// Others keep taking over.
    #[error(
        "table `{table}`: superseded {times} times in a row without a commit of ours; another consumer writes the same topic partitions: {reason}"
    )]
    Superseded {
        /// Its name.
        table: String,
        /// How often.
        times: u32,
        /// What the last commit found.
        reason: String,
    },
    /// Something outside has been away for too long.
    #[error("gave up after {waited_s} s (--timeout): {reason}")]
    TimedOut {
        /// Seconds waited.
        waited_s: u64,
        /// What it waited for.
        reason: String,
    },
    /// The drain did not end within its bound.
    #[error(
        "the drain did not end within shutdown_grace ({grace_s} s); what was not committed is read again on the next start"
    )]
    Grace {
        /// The bound in seconds.
        grace_s: u64,
    },
    /// A thread or task of ours is gone.
    #[error("{0}; please report this")]
    Bug(String),
}

fn suspended_sentence(tables: &[(String, String)]) -> String {
    let parts: Vec<String> = tables
        .iter()
        .map(|(name, reason)| format!("table `{name}` is suspended: {reason}"))
        .collect();
    parts.join("; ")
}

impl Error {
    /// What it asks of a person.
    pub fn kind(&self) -> Kind {
        match self {
            Error::Source(cause) => cause.kind(),
            Error::Budget(cause) => cause.kind(),
            Error::Table { cause, .. } | Error::Store(cause) => cause.kind(),
            Error::Decode { cause, .. } => cause.kind(),
            Error::Writer { cause, .. } => cause.kind(),
            Error::UnknownTable { .. } | Error::Refused(_) => Kind::Invalid,
            Error::Suspended { .. } | Error::Rejected { .. } => Kind::Corrupt,
            Error::Superseded { .. } => Kind::Superseded,
            Error::NoTopic { .. }
            | Error::Unsettled { .. }
            | Error::TimedOut { .. }
            | Error::Grace { .. } => Kind::Unavailable,
            Error::Bug(_) => Kind::Bug,
        }
    }
}
