//! What can go wrong with a table or its store. Owns the sentences that a person reads; the outcomes of a commit are values, not errors.

use crate::error::Kind;
use crate::model::offset::TopicPartition;

/// A failure of the delta room.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// `storage.url` cannot be used.
    #[error("storage.url `{url}`: {reason}")]
    Url {
        /// The URL as configured.
        url: String,
        /// What is wrong and what to do.
        reason: String,
    },
    /// One of `storage.options` cannot be used.
    #[error("storage.options.{key}: {reason}")]
    StoreOption {
        /// The option.
        key: String,
        /// What is wrong and what to do.
        reason: String,
    },
    /// There is something at the table's path, but no Delta table.
    #[error("`{location}` is not a Delta table: {reason}")]
    NotATable {
        /// Where.
        location: String,
        /// What is there instead and what to do.
        reason: String,
    },
    /// A table property of the config is refused.
    #[error("tables.properties `{key}`: {reason}")]
    Property {
        /// The property.
        key: String,
        /// Why, and what to do.
        reason: String,
    },
    /// The table uses a protocol feature that we refuse.
    #[error("the table `{location}` uses {feature}: {advice}")]
    Feature {
        /// Where.
        location: String,
        /// The feature as the protocol names it.
        feature: String,
        /// What to do.
        advice: String,
    },
    /// The records' columns do not fit the table's.
    #[error("the table `{location}` does not fit: {reason}")]
    Misfit {
        /// Where.
        location: String,
        /// The columns and both types.
        reason: String,
    },
    /// The log contradicts itself.
    #[error("the log of `{location}` is damaged at version {version}: {reason}")]
    Corrupt {
        /// Where.
        location: String,
        /// The table version concerned.
        version: u64,
        /// What is wrong.
        reason: String,
    },
    /// The table no longer names a source whose offsets it holds.
    #[error(
        "the table `{location}` holds offsets of {source_name} but its property lakeward.sources {reason}; a RESTORE may have reverted it"
    )]
    SourceLost {
        /// Where.
        location: String,
        /// The topic or topic partition.
        source_name: String,
        /// What the property says instead.
        reason: String,
    },
    /// A topic partition that the table has never named.
    #[error("{topic_partition} is not among the sources of the table `{location}`")]
    UnknownTopicPartition {
        /// Where.
        location: String,
        /// Which.
        topic_partition: TopicPartition,
    },
    /// A topic partition that the table names, without its committed offset (OFF-8).
    #[error(
        "the table `{location}` names {topic_partition} as a source but has lost its committed offset (txn `{app_id}`); a clean-up of transaction \
         identifiers may have removed it; it does not fall back to `start`"
    )]
    OffsetLost {
        /// Where.
        location: String,
        /// Which.
        topic_partition: TopicPartition,
        /// The appId that is missing.
        app_id: String,
    },
    /// The store does not honour put-if-absent.
    #[error(
        "storage.url `{url}`: the store does not honour conditional creates (put-if-absent), without which two writers can overwrite each other's commits: \
         {evidence}; use a store that does"
    )]
    NoPutIfAbsent {
        /// The URL as configured.
        url: String,
        /// What was seen.
        evidence: String,
    },
    /// The store does not answer, or refuses.
    #[error("the store at `{location}` failed to {action}: {source}")]
    Store {
        /// Where.
        location: String,
        /// What we wanted.
        action: String,
        /// Why not.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// Our own mistake.
    #[error("{0}")]
    Bug(String),
}

impl Error {
    /// What to do about it.
    pub fn kind(&self) -> Kind {
        match self {
            Error::Url { .. }
            | Error::StoreOption { .. }
            | Error::NotATable { .. }
            | Error::Property { .. }
            | Error::NoPutIfAbsent { .. } => Kind::Invalid,
            Error::Feature { .. }
            | Error::Misfit { .. }
            | Error::Corrupt { .. }
            | Error::SourceLost { .. }
            | Error::UnknownTopicPartition { .. }
            | Error::OffsetLost { .. } => Kind::Corrupt,
            Error::Store { .. } => Kind::Unavailable,
            Error::Bug(_) => Kind::Bug,
        }
    }
}
