//! What can go wrong with a table or its store. Owns the sentences that a person reads; the outcomes of a commit are values, not errors.

use std::error::Error as StdError;

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
    /// The table was dropped while it was in use.
    #[error(
        "the table `{location}` is gone: it was dropped while the sink used it; put it back, or start the sink again to make a new one from `start`"
    )]
    Gone {
        /// Where it was.
        location: String,
    },
    /// Another table stands in the place of the one that was in use (COMMIT-2).
    #[error(
        "the table `{location}` was dropped and created again while the sink used it: its id was {was} and is {is}; start the sink again if it is to feed the new table"
    )]
    Replaced {
        /// Where.
        location: String,
        /// The id of the table that was in use.
        was: String,
        /// The id of the table that is there.
        is: String,
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
    /// Rejected records that a commit names cannot be shown (DLQ-1).
    #[error(
        "the rejected records of version {version} of the table `{location}` {reason}; bring it back, or drop the whole table of rejected records to accept the loss"
    )]
    OutboxLost {
        /// The main table.
        location: String,
        /// The version that names them.
        version: u64,
        /// What is wrong, with the file and the offsets.
        reason: String,
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
    #[error("the store at `{location}` (storage.url, storage.options) failed to {action}: {}", brief(source.as_ref()))]
    Store {
        /// Where.
        location: String,
        /// What we wanted.
        action: String,
        /// Why not.
        source: Box<dyn StdError + Send + Sync>,
    },
    /// Our own mistake.
    #[error("{0}")]
    Bug(String),
}

impl Error {
    /// A failed request.
    pub(crate) fn store(
        location: &str,
        action: impl Into<String>,
        source: impl Into<Box<dyn StdError + Send + Sync>>,
    ) -> Error {
        Error::Store {
            location: location.to_owned(),
            action: action.into(),
            source: source.into(),
        }
    }

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
            | Error::Gone { .. }
            | Error::Replaced { .. }
            | Error::SourceLost { .. }
            | Error::UnknownTopicPartition { .. }
            | Error::OffsetLost { .. }
            | Error::OutboxLost { .. } => Kind::Corrupt,
            Error::Store { .. } => Kind::Unavailable,
            Error::Bug(_) => Kind::Bug,
        }
    }
}

/// A store's error on one line: the cloud's own code and the first line of its message where it sent XML, else the first line with the cause at its root.
pub(crate) fn brief(error: &(dyn StdError + 'static)) -> String {
    let text = error.to_string();
    let tag = |name: &str| {
        text.split_once(&format!("<{name}>"))?
            .1
            .split_once("</")
            .map(|(value, _)| value.to_owned())
    };
    if let Some(code) = tag("Code") {
        return tag("Message").map_or(code.clone(), |message| {
            let message = message.lines().next().unwrap_or_default();
            format!("{code}: {}", message.trim_end_matches('.'))
        });
    }
    let line = text
        .lines()
        .next()
        .unwrap_or_default()
        .trim_end_matches('.')
        .to_owned();
    let mut root = error;
    while let Some(source) = root.source() {
        root = source;
    }
    let root = root
        .to_string()
        .lines()
        .next()
        .unwrap_or_default()
        .trim_end_matches('.')
        .to_owned();
    if line.contains(&root) {
        line
    } else {
        format!("{line} ({root})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_request_is_one_sentence_with_its_cause() {
        let check = |source: &str, expect: &str| {
            let error = Error::store("s3://lake/orders/", "list the log", source);
            assert_eq!(
                error.to_string(),
                format!(
                    "the store at `s3://lake/orders/` (storage.url, storage.options) failed to list the log: {expect}"
                )
            );
            assert_eq!(error.kind(), Kind::Unavailable);
        };
        check(
            "404: <?xml?>\n<Error><Code>NoSuchBucket</Code><Message>The bucket does not exist.</Message></Error>",
            "NoSuchBucket: The bucket does not exist",
        );
        check("connection refused.\nmore", "connection refused");
        let refused = std::io::Error::from(std::io::ErrorKind::ConnectionRefused);
        let error = object_store::Error::Generic {
            store: "S3",
            source: Box::new(refused),
        };
        assert_eq!(brief(&error), "Generic S3 error: connection refused");
    }
}
