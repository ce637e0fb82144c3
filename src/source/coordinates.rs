//! What a command may ask beside the sink: who the cluster is, whether the group may be used, which offsets of a topic partition hold a record. Never
//! joins a group or reports an offset.

use std::fmt;
use std::ops::ControlFlow;
use std::sync::Mutex;
use std::time::Duration;

use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, Consumer as _, ConsumerContext};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{BorrowedMessage, Headers as _, Message as _, Timestamp};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use rdkafka::util::Timeout;

use crate::clock::Clock;
use crate::config::settings::Kafka;
use crate::model::offset::{Span, TopicPartition};
use crate::model::record::{Coordinates as At, Records, TimestampType};
use crate::source::client::base_config;
use crate::source::error::{Error, words};

/// How long one poll waits; a step of the timeout.
const POLL: Duration = Duration::from_millis(100);
/// How often a group is asked again whose coordinator moves, and the pause between: five seconds in all.
const COORDINATOR_ASKS: usize = 20;
const COORDINATOR_PAUSE: Duration = Duration::from_millis(250);
/// What may lie in librdkafka's queue before the reason of a failure.
const EVENTS_MAX: usize = 64;
/// The bytes of a sample after which it takes no further record.
const SAMPLE_BYTES_MAX: usize = 64 << 20;
/// Fetched and not yet looked at.
const QUEUE_KBYTES: &str = "16384";

/// A client that asks and reads, beside the sink.
pub struct Coordinates {
    consumer: BaseConsumer<Reasons>,
    bootstrap_servers: String,
    group_id: String,
    timeout: Duration,
    clock: Clock,
}

impl fmt::Debug for Coordinates {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Coordinates")
            .field("bootstrap_servers", &self.bootstrap_servers)
            .finish_non_exhaustive()
    }
}

/// Keeps the last reason of a failed connection: librdkafka's answer only says that it timed out.
#[derive(Debug, Default)]
struct Reasons {
    last: Mutex<Option<String>>,
}

impl Reasons {
    fn keep(&self, reason: &str) {
        if let Ok(mut last) = self.last.lock() {
            *last = Some(reason.to_owned());
        }
    }
}

impl ClientContext for Reasons {
    fn log(&self, _level: RDKafkaLogLevel, facility: &str, message: &str) {
        if matches!(facility, "FAIL" | "ERROR") {
            self.keep(message);
        }
    }

    fn error(&self, _error: KafkaError, reason: &str) {
        // The log names the address and the cause; the error only that all brokers are down.
        if let Ok(mut last) = self.last.lock() {
            last.get_or_insert_with(|| reason.to_owned());
        }
    }
}

impl ConsumerContext for Reasons {}

impl Coordinates {
    /// A client that waits up to `timeout` for each answer. Does not connect yet.
    pub fn new(kafka: &Kafka, timeout: Duration, clock: Clock) -> Result<Coordinates, Error> {
        let consumer = base_config(kafka)
            .set("group.id", &kafka.group_id)
            .set("enable.auto.commit", "false")
            .set("enable.partition.eof", "true")
            .set("auto.offset.reset", "error")
            .set("queued.max.messages.kbytes", QUEUE_KBYTES)
            // One topic partition is read after the other: a fetch that waits at the end of the last one would hold up the next.
            .set("fetch.wait.max.ms", "10")
            .create_with_context(Reasons::default())
            .map_err(|error| Error::Properties {
                reason: error.to_string(),
            })?;
        Ok(Coordinates {
            consumer,
            bootstrap_servers: kafka.bootstrap_servers.clone(),
            group_id: kafka.group_id.clone(),
            timeout,
            clock,
        })
    }

    /// How many brokers there are.
    pub fn brokers(&self) -> Result<usize, Error> {
        let metadata = self
            .consumer
            .fetch_metadata(None, self.timeout)
            .map_err(|error| self.unreachable("listing the brokers", &error))?;
        Ok(metadata.brokers().len())
    }

    /// Whether the group may be used: a permission that would else only show when the sink joins it.
    pub fn check_group(&self) -> Result<(), Error> {
        let mut asked = TopicPartitionList::new();
        asked.add_partition("lakeward-permission-check", 0);
        let mut asks_left = COORDINATOR_ASKS;
        loop {
            let answer = self.consumer.committed_offsets(asked.clone(), self.timeout);
            match answer {
                Err(error) if asks_left > 0 && is_moving(&error) => {
                    asks_left -= 1;
                    // Nothing is assigned, so this only waits, and hears the client's own news.
                    drop(self.consumer.poll(Timeout::After(COORDINATOR_PAUSE)));
                }
                Ok(_) => return Ok(()),
                Err(error) => {
                    return Err(Error::Group {
                        group_id: self.group_id.clone(),
                        reason: self.reason(&error),
                    });
                }
            }
        }
    }

    /// The first records in `span`, at most so many, with all their bytes; fewer where they are large.
    pub fn sample(
        &self,
        of: &TopicPartition,
        span: Span,
        records_max: usize,
    ) -> Result<Records, Error> {
        let mut records = Records::default();
        self.read(of, span, &mut |message| {
            push(&mut records, message);
            if records.len() < records_max && records.payload_bytes() < SAMPLE_BYTES_MAX {
                ControlFlow::Continue(())
            } else {
                ControlFlow::Break(())
            }
        })?;
        Ok(records)
    }

    /// Hands out the offset of each record in `span`, ascending; markers, aborted records and what a compacted topic dropped have none.
    pub fn records(
        &self,
        of: &TopicPartition,
        span: Span,
        each: &mut dyn FnMut(i64),
    ) -> Result<(), Error> {
        self.read(of, span, &mut |message| {
            each(message.offset());
            ControlFlow::Continue(())
        })
    }

    fn read(&self, of: &TopicPartition, span: Span, each: &mut Each<'_>) -> Result<(), Error> {
        let doing = format!("reading {of}");
        let mut assignment = TopicPartitionList::new();
        let assigned = assignment
            .add_partition_offset(&of.topic, of.number, Offset::Offset(span.start()))
            .and_then(|()| self.consumer.assign(&assignment));
        assigned.map_err(|error| self.unreachable(&doing, &error))?;
        let read = self.read_assigned(of, span, each);
        let ended = self
            .consumer
            .unassign()
            .map_err(|error| self.unreachable(&doing, &error));
        read.and(ended)
    }

    fn read_assigned(
        &self,
        of: &TopicPartition,
        span: Span,
        each: &mut Each<'_>,
    ) -> Result<(), Error> {
        let doing = format!("reading {of}");
        let mut heard = self.clock.now();
        while self.clock.now().since(heard) <= self.timeout {
            match self.consumer.poll(Timeout::After(POLL)) {
                Some(Ok(message)) if message.offset() >= span.end() => return Ok(()),
                Some(Ok(message)) => {
                    heard = self.clock.now();
                    let goes_on = each(&message).is_continue();
                    if !goes_on || message.offset() + 1 == span.end() {
                        return Ok(());
                    }
                }
                // The end of what a committed reader may see; a tail of markers has no record.
                Some(Err(KafkaError::PartitionEOF(number))) if number == of.number => return Ok(()),
                Some(Err(error)) if is_final(&error) => {
                    return Err(self.unreachable(&doing, &error));
                }
                // librdkafka tries the rest again by itself.
                Some(Err(_)) | None => {}
            }
        }
        Err(self.unreachable(
            &doing,
            &KafkaError::MessageConsumption(RDKafkaErrorCode::OperationTimedOut),
        ))
    }

    fn unreachable(&self, doing: &str, error: &KafkaError) -> Error {
        Error::Unreachable {
            bootstrap_servers: self.bootstrap_servers.clone(),
            doing: doing.to_owned(),
            reason: self.reason(error),
        }
    }

    fn reason(&self, error: &KafkaError) -> String {
        // Logs and errors wait in the queue until someone polls.
        for _ in 0..EVENTS_MAX {
            self.consumer.poll(Timeout::After(Duration::ZERO));
        }
        let last = self
            .consumer
            .context()
            .last
            .lock()
            .ok()
            .and_then(|mut last| last.take());
        last.map_or_else(|| words(error), |last| format!("{} ({last})", words(error)))
    }
}

/// What hears of each record, and says whether more are wanted.
type Each<'a> = dyn FnMut(&BorrowedMessage<'_>) -> ControlFlow<()> + 'a;

fn push(records: &mut Records, message: &BorrowedMessage<'_>) {
    let (timestamp_type, timestamp_ms) = match message.timestamp() {
        Timestamp::NotAvailable => (TimestampType::None, None),
        Timestamp::CreateTime(ms) => (TimestampType::CreateTime, Some(ms)),
        Timestamp::LogAppendTime(ms) => (TimestampType::LogAppendTime, Some(ms)),
    };
    let at = At {
        offset: message.offset(),
        timestamp_ms,
        timestamp_type,
        leader_epoch: None,
    };
    let headers = message.headers().into_iter().flat_map(|it| it.iter());
    let headers = headers.map(|header| (header.key, header.value));
    records.push(at, message.key(), message.payload(), headers);
}

/// Errors that waiting does not mend.
fn is_final(error: &KafkaError) -> bool {
    let Some(code) = error.rdkafka_error_code() else {
        return false;
    };
    [
        RDKafkaErrorCode::TopicAuthorizationFailed,
        RDKafkaErrorCode::UnknownTopicOrPartition,
        RDKafkaErrorCode::UnknownTopic,
        RDKafkaErrorCode::UnknownPartition,
        RDKafkaErrorCode::AutoOffsetReset,
        RDKafkaErrorCode::OffsetOutOfRange,
        RDKafkaErrorCode::Authentication,
        RDKafkaErrorCode::Fatal,
    ]
    .contains(&code)
}

/// Whether the group's coordinator is only just being chosen or is still loading, as on a broker that has just started.
fn is_moving(error: &KafkaError) -> bool {
    matches!(
        error.rdkafka_error_code(),
        Some(
            RDKafkaErrorCode::NotCoordinator
                | RDKafkaErrorCode::CoordinatorNotAvailable
                | RDKafkaErrorCode::CoordinatorLoadInProgress
        )
    )
}
