//! From fetched records to rows: decodes Avro, Protobuf, JSON and plain bytes straight into columns of the table's schema, record by record, so that a bad one costs its
//! neighbours nothing (DEC-1). Owns the type mapping, the reject codes and the registry client; does not know Delta or Kafka's client.

mod avro;
mod builder;
mod columns;
mod decoder;
mod evolution;
mod first_columns;
mod format;
mod json;
mod json_text;
mod key;
mod masking;
mod protobuf;
mod registry;
mod reject;
mod rejected;
mod resolve;
mod rules;
mod time;
mod types;
mod varint;
mod written;

#[cfg(test)]
#[expect(
    clippy::cast_possible_truncation,
    clippy::too_many_lines,
    clippy::wildcard_enum_match_arm,
    reason = "tables of cases are long, and random numbers are cut on purpose"
)]
mod tests;

use std::path::PathBuf;

use crate::error::Kind;

pub use self::decoder::{Appended, Decoder, Setup};
pub use self::evolution::widened;
pub use self::first_columns::{first_columns, plain};
pub use self::registry::{Latest, Registry};
pub use self::reject::{CODES, Code};
pub use self::rejected::{RejectedRow, RejectedRows, rejected_columns, rejected_rows};
pub use self::resolve::{Resolved, resolve};
pub use self::types::page::markdown as type_mapping_markdown;
pub use self::written::WriterSchema;

/// Why records cannot be decoded at all; a single bad record is a `Reject` instead.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A schema file is not readable.
    #[error("cannot read {path} (tables.{table}.value.schema.file): {source}", path = path.display())]
    File {
        /// The table that names it.
        table: String,
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A schema has no mapping to columns.
    #[error("table {table}: {origin}: {place}{reason}")]
    Schema {
        /// The table it is for.
        table: String,
        /// Where the schema comes from.
        origin: String,
        /// The place in it, with a colon, or nothing.
        place: String,
        /// What is wrong.
        reason: String,
    },
    /// The table's columns do not take what the config declares.
    #[error("table {table}: column {column}: {reason}")]
    Column {
        /// The table.
        table: String,
        /// The column.
        column: String,
        /// What is wrong.
        reason: String,
    },
    /// Registry-framed values need a registry.
    #[error("table {table} reads registry-framed records, but there is no `schema_registry`")]
    NoRegistry {
        /// The table.
        table: String,
    },
    /// The registry client cannot be built.
    #[error("schema_registry: {reason}")]
    RegistryClient {
        /// Why.
        reason: String,
    },
    /// The registry does not answer, or not as a registry (ENV-1).
    #[error("the schema registry does not answer {url}: {reason} (schema_registry)")]
    RegistryUnavailable {
        /// What was asked, without credentials.
        url: String,
        /// What happened.
        reason: String,
    },
    /// The registry does not have the table's subject yet.
    #[error(
        "the schema registry has no subject `{subject}` at {url} yet; the first producer registers it (value.schema.subject)"
    )]
    UnknownSubject {
        /// The subject.
        subject: String,
        /// What was asked, without credentials.
        url: String,
    },
    /// The registry does not have a schema id, which may still be on its way.
    #[error(
        "the schema registry does not know the schema id {id} at {url}; waiting for it before records with it are rejected"
    )]
    UnknownSchemaId {
        /// The id.
        id: u32,
        /// What was asked, without credentials.
        url: String,
    },
    /// Columns do not make a batch.
    #[error("the decoded columns do not make a batch: {0}")]
    Batch(#[from] arrow::error::ArrowError),
}

impl Error {
    /// What to do about it.
    pub fn kind(&self) -> Kind {
        match self {
            Error::File { .. }
            | Error::Schema { .. }
            | Error::NoRegistry { .. }
            | Error::RegistryClient { .. } => Kind::Invalid,
            Error::Column { .. } => Kind::Invalid,
            Error::RegistryUnavailable { .. }
            | Error::UnknownSubject { .. }
            | Error::UnknownSchemaId { .. } => Kind::Unavailable,
            Error::Batch(_) => Kind::Bug,
        }
    }

    fn schema(table: &str, origin: &str, refusal: types::Refusal) -> Self {
        let colon = if refusal.path.is_empty() { "" } else { ": " };
        let place = format!("{}{colon}", refusal.path);
        Error::Schema {
            table: table.to_owned(),
            origin: origin.to_owned(),
            place,
            reason: refusal.reason,
        }
    }
}
