//! What can go wrong with Kafka, and what it asks of a person.

use rdkafka::error::{KafkaError, RDKafkaErrorCode};

use crate::error::Kind;
use crate::model::offset::TopicPartition;

/// A failure of the Kafka client or cluster.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// librdkafka refuses a property.
    #[error(
        "kafka.properties are refused by librdkafka: {reason}; see its CONFIGURATION.md for names and values"
    )]
    Properties {
        /// What it said.
        reason: String,
    },
    /// The cluster does not answer.
    #[error(
        "kafka at kafka.bootstrap_servers `{bootstrap_servers}` does not answer while {doing}: {reason}"
    )]
    Unreachable {
        /// The configured servers.
        bootstrap_servers: String,
        /// What was being asked.
        doing: String,
        /// What librdkafka said.
        reason: String,
    },
    /// A topic is not there, or may not be seen.
    #[error(
        "topic `{topic}` (under topics) cannot be read: {reason}; create it, or allow this principal to Describe and Read it"
    )]
    Topic {
        /// The topic.
        topic: String,
        /// What the broker said.
        reason: String,
    },
    /// librdkafka does not take a call that it should.
    #[error("librdkafka refuses to {doing} {topic_partition}: {reason}")]
    Refused {
        /// The call.
        doing: &'static str,
        /// About what.
        topic_partition: TopicPartition,
        /// What it said.
        reason: String,
    },
    /// The group cannot be used.
    #[error("consumer group `{group_id}` (kafka.group_id): {reason}")]
    Group {
        /// The group.
        group_id: String,
        /// What the broker said.
        reason: String,
    },
}

impl Error {
    /// What it asks of a person.
    pub fn kind(&self) -> Kind {
        match self {
            Error::Properties { .. } => Kind::Invalid,
            Error::Unreachable { .. } | Error::Topic { .. } | Error::Group { .. } => {
                Kind::Unavailable
            }
            Error::Refused { .. } => Kind::Bug,
        }
    }
}

/// librdkafka's words without its wrapping.
pub(super) fn words(error: &KafkaError) -> String {
    match error.rdkafka_error_code() {
        Some(code) => code_words(code),
        None => error.to_string(),
    }
}

/// The description of a code, as librdkafka gives it.
pub(super) fn code_words(code: RDKafkaErrorCode) -> String {
    code.to_string()
}
