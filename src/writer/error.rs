//! What can go wrong between rows and staged files. Owns the messages; a full disk or a silent store is the environment's, everything in memory is ours.

use crate::error::Kind;

/// A failure of the writer.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A partition column is computed from a column that the table does not have.
    #[error("partition_by: `{field}` needs the column `{column}`, which the table does not have")]
    UnknownColumn {
        /// The partition column.
        field: String,
        /// The column it would be computed from.
        column: String,
    },
    /// A partition column of a type that Delta cannot place, or that the transform does not know.
    #[error(
        "partition_by: {transform} does not work on the column `{column}` of type {data_type}; it needs {needs}"
    )]
    Unpartitionable {
        /// The column it would be computed from.
        column: String,
        /// The type of that column.
        data_type: String,
        /// The transform as a person writes it.
        transform: String,
        /// The types that the transform knows.
        needs: &'static str,
    },
    /// A transform's number is outside of what it can mean.
    #[error("partition_by: `{field}` has the number {number}, which must be from 1 to {max}")]
    Width {
        /// The partition column.
        field: String,
        /// What was written.
        number: u32,
        /// The greatest that is allowed.
        max: u32,
    },
    /// A derived partition column has the name of another column.
    #[error(
        "partition_by: the name `{field}` is taken by another column of the table (names that differ only in case are equal)"
    )]
    NameTaken {
        /// The partition column.
        field: String,
    },
    /// More partition columns than a path has room for.
    #[error("partition_by: {count} columns, at most {max} are supported")]
    TooManyFields {
        /// How many were written.
        count: usize,
        /// How many there may be.
        max: usize,
    },
    /// No column is left for the files.
    #[error(
        "partition_by names every column of the table; a data file needs at least one column of its own"
    )]
    NoFileColumns,
    /// A batch does not have the columns that the layout was made for.
    #[error("a batch of {found} reached the writer of {expected}")]
    BatchSchema {
        /// The columns that came.
        found: String,
        /// The columns that were promised.
        expected: String,
    },
    /// Splitting or joining batches failed.
    #[error("rows could not be grouped for the file: {0}")]
    Arrow(#[from] arrow::error::ArrowError),
    /// Parquet encoding failed.
    #[error("parquet encoding failed: {0}")]
    Parquet(#[from] parquet::errors::ParquetError),
    /// The encoder failed before and was used again.
    #[error("an encoder was used after it failed; its rows must be read again")]
    Failed,
    /// The store did not take a file.
    #[error("storage.url: {path} could not be written: {cause}")]
    Upload {
        /// The object key under the table.
        path: String,
        /// What the store said.
        #[source]
        cause: object_store::Error,
    },
    /// A staged file could not be made durable on the local disk.
    #[error("storage.url: {path} could not be synced to disk: {cause}")]
    Sync {
        /// The file or directory.
        path: String,
        /// What the system said.
        #[source]
        cause: std::io::Error,
    },
}

impl Error {
    /// Says what to do about it.
    pub fn kind(&self) -> Kind {
        match self {
            Error::UnknownColumn { .. }
            | Error::Unpartitionable { .. }
            | Error::Width { .. }
            | Error::NameTaken { .. }
            | Error::TooManyFields { .. }
            | Error::NoFileColumns => Kind::Invalid,
            Error::Upload { .. } | Error::Sync { .. } => Kind::Unavailable,
            Error::BatchSchema { .. } | Error::Arrow(_) | Error::Parquet(_) | Error::Failed => {
                Kind::Bug
            }
        }
    }
}
