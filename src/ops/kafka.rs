//! What commands ask brokers about topics: counts, offsets, coordinates. Never joins a group or reports an offset, so it can run beside the sink.

use std::fmt;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rdkafka::client::ClientContext;
use rdkafka::config::{ClientConfig, RDKafkaLogLevel};
use rdkafka::consumer::{BaseConsumer, Consumer as _, ConsumerContext};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::Message as _;
use rdkafka::util::Timeout;
use rdkafka::{Offset, TopicPartitionList};

use crate::config::settings;
use crate::error::Kind;
use crate::model::offset::TopicPartition;
use crate::ops::exit::Failure;
use crate::ops::waiting::Patience;

/// How long one poll waits; a step of the patience.
const POLL: Duration = Duration::from_millis(100);
/// librdkafka's events that a poll may find before the reason of a failure.
const EVENTS_MAX: usize = 64;

/// A connection for questions.
pub(crate) struct Kafka {
    consumer: BaseConsumer<Listening>,
    settings: settings::Kafka,
    patience: Patience,
}

impl fmt::Debug for Kafka {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Kafka")
            .field("bootstrap_servers", &self.settings.bootstrap_servers)
            .finish_non_exhaustive()
    }
}

/// The offsets that a topic partition holds: `[start, end)`, the end being the last stable offset.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Range {
    /// The first offset.
    pub(crate) start: i64,
    /// The next offset to be written.
    pub(crate) end: i64,
}

/// What the brokers say about themselves.
#[derive(Debug, Clone)]
pub(crate) struct Cluster {
    /// How many there are.
    pub(crate) brokers: usize,
    /// The cluster's id, where it has one.
    pub(crate) id: Option<String>,
}

/// Keeps the last reason that librdkafka gave for a failed connection; its API only says "timed out".
#[derive(Debug, Default, Clone)]
struct Listening {
    reason: Arc<Mutex<Option<String>>>,
}

impl Listening {
    fn keep(&self, reason: &str) {
        if let Ok(mut kept) = self.reason.lock() {
            *kept = Some(reason.to_owned());
        }
    }
}

impl ClientContext for Listening {
    fn log(&self, level: RDKafkaLogLevel, fac: &str, message: &str) {
        tracing::debug!(?level, fac, message, "librdkafka");
        if matches!(fac, "FAIL" | "ERROR") {
            self.keep(message);
        }
    }

    fn error(&self, _error: KafkaError, reason: &str) {
        self.keep(reason);
    }
}

impl ConsumerContext for Listening {}

impl Kafka {
    /// Makes a client from `kafka.*`; does not wait for a broker.
    pub(crate) fn connect(
        settings: &settings::Kafka,
        patience: &Patience,
    ) -> Result<Self, Failure> {
        let mut client = ClientConfig::new();
        for (key, value) in &settings.properties {
            client.set(key, value.reveal());
        }
        client
            .set("bootstrap.servers", &settings.bootstrap_servers)
            .set("group.id", &settings.group_id)
            .set("isolation.level", "read_committed")
            .set("enable.auto.commit", "false")
            .set("enable.partition.eof", "true")
            .set("auto.offset.reset", "error")
            .set("queued.max.messages.kbytes", "16384");
        let consumer = client
            .create_with_context(Listening::default())
            .map_err(|error| {
                Failure::new(Kind::Invalid, error).context("librdkafka refuses `kafka.properties`")
            })?;
        Ok(Kafka {
            consumer,
            settings: settings.clone(),
            patience: patience.clone(),
        })
    }

    /// Asks any broker who is there.
    pub(crate) fn cluster(&self) -> Result<Cluster, Failure> {
        let metadata = self
            .consumer
            .fetch_metadata(None, self.limit())
            .map_err(|error| self.failed("list the brokers", &error))?;
        Ok(Cluster {
            brokers: metadata.brokers().len(),
            id: self
                .consumer
                .client()
                .fetch_cluster_id(self.limit())
                .filter(|id| !id.is_empty()),
        })
    }

    /// The numbers of a topic's partitions.
    pub(crate) fn topic_partitions(&self, topic: &str) -> Result<Vec<i32>, Failure> {
        let metadata = self
            .consumer
            .fetch_metadata(Some(topic), self.limit())
            .map_err(|error| self.failed(&format!("look at the topic `{topic}`"), &error))?;
        let found = metadata.topics().iter().find(|found| found.name() == topic);
        let refused = found
            .and_then(|found| found.error())
            .map(RDKafkaErrorCode::from);
        match (found, refused) {
            (_, Some(code)) => Err(self.refused(topic, code)),
            (Some(found), None) if !found.partitions().is_empty() => {
                let mut numbers: Vec<i32> = found
                    .partitions()
                    .iter()
                    .map(|partition| partition.id())
                    .collect();
                numbers.sort_unstable();
                Ok(numbers)
            }
            (Some(_) | None, None) => {
                Err(self.refused(topic, RDKafkaErrorCode::UnknownTopicOrPartition))
            }
        }
    }

    /// The offsets that a topic partition holds.
    pub(crate) fn watermarks(&self, of: &TopicPartition) -> Result<Range, Failure> {
        let marks = self
            .consumer
            .fetch_watermarks(&of.topic, of.number, self.limit());
        let (start, end) =
            marks.map_err(|error| self.failed(&format!("ask for the offsets of {of}"), &error))?;
        Ok(Range { start, end })
    }

    /// Whether the consumer group may be used by us.
    pub(crate) fn group(&self) -> Result<(), Failure> {
        let mut none = TopicPartitionList::new();
        none.add_partition("lakeward-permission-check", 0);
        self.consumer
            .committed_offsets(none, self.limit())
            .map(drop)
            .map_err(|error| {
                self.failed(
                    &format!(
                        "use the group `{}` (`kafka.group_id`)",
                        self.settings.group_id
                    ),
                    &error,
                )
            })
    }

    /// Hands out the offset of each record in `range`, ascending; markers and aborted records have none.
    pub(crate) fn read(
        &self,
        from: &TopicPartition,
        range: Range,
        each: &mut dyn FnMut(i64),
    ) -> Result<(), Failure> {
        let failed = |error: KafkaError| self.failed(&format!("read {from}"), &error);
        let mut assignment = TopicPartitionList::new();
        assignment
            .add_partition_offset(&from.topic, from.number, Offset::Offset(range.start))
            .map_err(failed)?;
        self.consumer.assign(&assignment).map_err(failed)?;
        let read = self.read_assigned(from, range, each);
        let ended = self.consumer.unassign().map_err(failed);
        read.and(ended)
    }

    fn read_assigned(
        &self,
        from: &TopicPartition,
        range: Range,
        each: &mut dyn FnMut(i64),
    ) -> Result<(), Failure> {
        let mut heard = self.patience.clock().now();
        loop {
            match self.consumer.poll(Timeout::After(POLL)) {
                Some(Ok(message)) if message.offset() >= range.end => return Ok(()),
                Some(Ok(message)) => {
                    heard = self.patience.clock().now();
                    each(message.offset());
                    if message.offset() + 1 >= range.end {
                        return Ok(());
                    }
                }
                Some(Err(KafkaError::PartitionEOF(number))) if number == from.number => {
                    return Ok(());
                }
                Some(Err(error)) if is_final(&error) => {
                    return Err(self.failed(&format!("read {from}"), &error));
                }
                // What librdkafka retries by itself, until the patience is over.
                Some(Err(_)) | None => {}
            }
            if self.patience.clock().now().since(heard) > self.patience.limit() {
                return Err(self.patience.given_up(&format!("the leader of {from}")));
            }
        }
    }

    fn limit(&self) -> Timeout {
        Timeout::After(self.patience.limit())
    }

    fn failed(&self, doing: &str, error: &KafkaError) -> Failure {
        // Logs and errors wait in the queue until someone polls.
        for _ in 0..EVENTS_MAX {
            self.consumer.poll(Timeout::After(Duration::ZERO));
        }
        let reason = self
            .consumer
            .context()
            .reason
            .lock()
            .ok()
            .and_then(|reason| reason.clone());
        let code = error
            .rdkafka_error_code()
            .map_or_else(|| error.to_string(), |code| code.to_string());
        let reason = reason.map_or(code.clone(), |reason| {
            format!("{code}; last heard: {reason}")
        });
        Failure::unavailable(format!(
            "cannot {doing} at {} (`kafka.bootstrap_servers`): {reason}",
            self.settings.bootstrap_servers
        ))
    }

    fn refused(&self, topic: &str, code: RDKafkaErrorCode) -> Failure {
        let servers = &self.settings.bootstrap_servers;
        match code {
            RDKafkaErrorCode::UnknownTopicOrPartition | RDKafkaErrorCode::UnknownTopic => {
                Failure::unavailable(format!(
                    "the topic `{topic}` (`topics`) does not exist at {servers}, or we may not see it; create it, or correct the name"
                ))
            }
            RDKafkaErrorCode::TopicAuthorizationFailed => Failure::unavailable(format!(
                "no permission for the topic `{topic}` (`topics`) at {servers}; grant Describe and Read"
            )),
            other => Failure::unavailable(format!(
                "the topic `{topic}` (`topics`) cannot be looked at: {other}"
            )),
        }
    }
}

/// Errors that waiting does not mend.
fn is_final(error: &KafkaError) -> bool {
    matches!(
        error.rdkafka_error_code(),
        Some(
            RDKafkaErrorCode::TopicAuthorizationFailed
                | RDKafkaErrorCode::UnknownTopicOrPartition
                | RDKafkaErrorCode::UnknownPartition
                | RDKafkaErrorCode::UnknownTopic
                | RDKafkaErrorCode::AutoOffsetReset
                | RDKafkaErrorCode::OffsetOutOfRange
                | RDKafkaErrorCode::Authentication
                | RDKafkaErrorCode::Fatal
        )
    )
}
