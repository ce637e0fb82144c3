//! Makes librdkafka clients from settings: the user's properties, then those that Lakeward owns. Does not consume.

use std::sync::Mutex;

use rdkafka::client::ClientContext;
use rdkafka::config::{ClientConfig, RDKafkaLogLevel};
use rdkafka::consumer::{BaseConsumer, ConsumerContext};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::topic_partition_list::TopicPartitionList;
use rdkafka::types::RDKafkaRespErr;

use crate::config::settings::Kafka;

/// What librdkafka tells through callbacks, kept until the control thread takes it.
#[derive(Debug, Clone)]
pub(super) enum Told {
    Assigned(Vec<(String, i32)>),
    Revoked(Vec<(String, i32)>),
    Failed(String),
}

/// Collects what librdkafka tells; decides nothing, so that the control thread decides on its own stack.
#[derive(Debug, Default)]
pub(super) struct Listener {
    told: Mutex<Vec<Told>>,
}

impl Listener {
    pub(super) fn take(&self) -> Vec<Told> {
        self.told
            .lock()
            .map(|mut told| std::mem::take(&mut *told))
            .unwrap_or_default()
    }

    fn push(&self, told: Told) {
        if let Ok(mut queue) = self.told.lock() {
            queue.push(told);
        }
    }
}

impl ClientContext for Listener {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        match level {
            RDKafkaLogLevel::Emerg
            | RDKafkaLogLevel::Alert
            | RDKafkaLogLevel::Critical
            | RDKafkaLogLevel::Error => {
                tracing::warn!(target: "lakeward::librdkafka", facility, detail = message, "librdkafka reports a problem");
            }
            RDKafkaLogLevel::Warning
            | RDKafkaLogLevel::Notice
            | RDKafkaLogLevel::Info
            | RDKafkaLogLevel::Debug => {
                tracing::debug!(target: "lakeward::librdkafka", facility, detail = message, "librdkafka says");
            }
        }
    }

    fn error(&self, error: KafkaError, reason: &str) {
        tracing::debug!(target: "lakeward::librdkafka", %error, reason, "librdkafka reports an error");
        if error.rdkafka_error_code().is_some_and(is_outage) {
            self.push(Told::Failed(reason.to_owned()));
        }
    }
}

/// Whether a code says that nothing comes until somebody acts or a cluster is back; single connections come and go, and librdkafka mends them itself.
pub(super) fn is_outage(code: RDKafkaErrorCode) -> bool {
    matches!(
        code,
        RDKafkaErrorCode::AllBrokersDown
            | RDKafkaErrorCode::Authentication
            | RDKafkaErrorCode::SaslAuthenticationFailed
            | RDKafkaErrorCode::SSL
            | RDKafkaErrorCode::TopicAuthorizationFailed
            | RDKafkaErrorCode::GroupAuthorizationFailed
            | RDKafkaErrorCode::UnknownTopic
            | RDKafkaErrorCode::UnknownTopicOrPartition
    )
}

impl ConsumerContext for Listener {
    /// Only notes the event: tables are read before the assignment is answered, and the consumer must go on being polled meanwhile.
    fn rebalance(
        &self,
        _consumer: &BaseConsumer<Self>,
        error: RDKafkaRespErr,
        list: &mut TopicPartitionList,
    ) {
        let named = list
            .elements()
            .iter()
            .map(|element| (element.topic().to_owned(), element.partition()))
            .collect();
        if error == RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS {
            self.push(Told::Assigned(named));
        } else {
            self.push(Told::Revoked(named));
        }
    }
}

pub(super) type Consumer = BaseConsumer<Listener>;

/// The user's properties with the servers; nothing of a group.
pub(super) fn base_config(kafka: &Kafka) -> ClientConfig {
    let mut config = ClientConfig::new();
    config.set("client.id", "lakeward");
    config.set("check.crcs", "true");
    for (key, value) in &kafka.properties {
        config.set(key, value.reveal());
    }
    config.set("bootstrap.servers", &kafka.bootstrap_servers);
    config.set("allow.auto.create.topics", "false");
    config.set("isolation.level", "read_committed");
    config.set_log_level(RDKafkaLogLevel::Warning);
    config
}
