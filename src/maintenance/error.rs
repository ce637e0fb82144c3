//! What can go wrong while a table is kept fast. Owns the sentences; a failure here never stops ingest.

use crate::error::Kind;
use crate::model::commit::NotConserved;
use crate::{delta, writer};

/// A failure of the maintenance room.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is no table to maintain.
    #[error("there is no Delta table at `{location}`; `lakeward run` creates it")]
    NoTable {
        /// Where.
        location: String,
    },
    /// The log or the store.
    #[error(transparent)]
    Delta(#[from] delta::Error),
    /// Writing a file.
    #[error(transparent)]
    Writer(#[from] writer::Error),
    /// A data file cannot be read, or is not what the log says of it.
    #[error("the file `{key}` of the table `{location}` {reason}; it is left alone")]
    File {
        /// Where the table is.
        location: String,
        /// The object key.
        key: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The store did not give a file.
    #[error("the file `{key}` of the table `{location}` could not be read: {reason}")]
    Read {
        /// Where the table is.
        location: String,
        /// The object key.
        key: String,
        /// What the store said.
        reason: String,
    },
    /// The store refuses.
    #[error("the store at `{location}` did not answer for {key}: {reason}")]
    Store {
        /// Where the table is.
        location: String,
        /// The object.
        key: String,
        /// What the store said.
        reason: String,
    },
    /// A column to sort by that the table does not have in its files.
    #[error(
        "tables.sort_by: `{column}` is not a column of the files of the table `{location}`, or has a type without an order"
    )]
    SortBy {
        /// Where the table is.
        location: String,
        /// The column.
        column: String,
    },
    /// Rows would be lost or made.
    #[error(transparent)]
    NotConserved(#[from] NotConserved),
    /// Rows in memory cannot be brought into order.
    #[error("rows could not be brought into the table's shape: {0}")]
    Arrow(#[from] arrow::error::ArrowError),
}

impl Error {
    /// What to do about it.
    pub fn kind(&self) -> Kind {
        match self {
            Error::Delta(error) => error.kind(),
            Error::Writer(error) => error.kind(),
            Error::NoTable { .. } | Error::SortBy { .. } => Kind::Invalid,
            Error::File { .. } => Kind::Corrupt,
            Error::Read { .. } | Error::Store { .. } => Kind::Unavailable,
            Error::NotConserved(_) | Error::Arrow(_) => Kind::Bug,
        }
    }
}
