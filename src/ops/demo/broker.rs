//! The demo's broker: librdkafka's mock cluster on loopback, filled with orders. Owns the proof that it dropped none: it keeps only 5 MiB of a topic
//! partition and forgets the oldest silently.

use std::fmt;
use std::time::Duration;

use rdkafka::config::ClientConfig;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::mocking::MockCluster;
use rdkafka::producer::{BaseProducer, BaseRecord, DefaultProducerContext, Producer as _};
use rdkafka::util::Timeout;

use crate::model::offset::TopicPartition;
use crate::ops::demo::orders;
use crate::ops::demo::registry::SCHEMA_ID;
use crate::ops::exit::Failure;
use crate::ops::kafka::Kafka;
use crate::ops::progress::Progress;

/// The topic of the demo.
pub(crate) const TOPIC: &str = "shop.orders";
/// The seed of its orders.
pub(crate) const SEED: u64 = 2026;

/// What a record may weigh with its key, its frame and its share of a batch header; the mean order is 190 bytes of Avro.
const RECORD_BYTES: u64 = 260;
/// Well below the 5 MiB that the mock keeps.
const KEPT_BYTES: u64 = 3 * 1024 * 1024;
/// The mock also keeps no more than 100 000 batches, each of at least one record.
const KEPT_RECORDS: u64 = 90_000;

/// A broker that lives as long as this value.
pub(crate) struct Broker {
    cluster: MockCluster<'static, DefaultProducerContext>,
    topic_partitions: i32,
}

impl fmt::Debug for Broker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Broker")
            .field("topic_partitions", &self.topic_partitions)
            .finish_non_exhaustive()
    }
}

impl Broker {
    /// A broker with the topic, in as many topic partitions as can hold `records`.
    pub(crate) fn start(records: u64) -> Result<Self, Failure> {
        let failed =
            |error: KafkaError| Failure::bug(format!("cannot start the embedded broker: {error}"));
        let topic_partitions = topic_partitions(records);
        let cluster = MockCluster::new(1).map_err(failed)?;
        cluster
            .create_topic(TOPIC, topic_partitions, 1)
            .map_err(failed)?;
        Ok(Broker {
            cluster,
            topic_partitions,
        })
    }

    /// `host:port`.
    pub(crate) fn bootstrap_servers(&self) -> String {
        self.cluster.bootstrap_servers()
    }

    /// How many topic partitions it has.
    pub(crate) fn topic_partitions(&self) -> i32 {
        self.topic_partitions
    }

    /// Produces the orders `0..records`, dealt out in turn: order n is offset n / topic partitions.
    pub(crate) fn produce(&self, records: u64, patience: Duration) -> Result<(), Failure> {
        let producer: BaseProducer = ClientConfig::new()
            .set("bootstrap.servers", self.bootstrap_servers())
            .set("linger.ms", "20")
            .set("batch.size", "262144")
            .set("queue.buffering.max.messages", "200000")
            .set("enable.idempotence", "true")
            .create()
            .map_err(|error| Failure::bug(format!("cannot make a producer: {error}")))?;
        let progress = Progress::over("producing orders", records);
        let mut value = Vec::with_capacity(512);
        for (number, partition) in (0..records).zip((0..self.topic_partitions).cycle()) {
            let order = orders::order(SEED, number);
            value.clear();
            value.push(0);
            value.extend_from_slice(&SCHEMA_ID.to_be_bytes());
            order.encode(&mut value);
            send(
                &producer,
                BaseRecord::to(TOPIC)
                    .partition(partition)
                    .key(&order.order_id)
                    .payload(&value)
                    .timestamp(order.created_at_ms),
            )?;
            if number % 1024 == 0 {
                producer.poll(Timeout::After(Duration::ZERO));
                progress.at(number);
            }
        }
        producer.flush(Timeout::After(patience)).map_err(|error| {
            Failure::bug(format!(
                "the embedded broker did not take all orders: {error}"
            ))
        })?;
        progress.done();
        Ok(())
    }

    /// Proves that every topic partition still begins at 0 and that they hold `records` in all.
    pub(crate) fn check(&self, kafka: &Kafka, records: u64) -> Result<(), Failure> {
        let mut held = 0;
        for number in 0..self.topic_partitions {
            let topic_partition = TopicPartition::new(TOPIC, number);
            let marks = kafka.watermarks(&topic_partition)?;
            if marks.low != 0 {
                return Err(Failure::bug(format!(
                    "the embedded broker dropped the first {} records of {topic_partition}",
                    marks.low
                )));
            }
            held += marks.high.unsigned_abs();
        }
        if held != records {
            return Err(Failure::bug(format!(
                "the embedded broker holds {held} of {records} records"
            )));
        }
        Ok(())
    }
}

fn topic_partitions(records: u64) -> i32 {
    let by_bytes = (records * RECORD_BYTES).div_ceil(KEPT_BYTES);
    let by_records = records.div_ceil(KEPT_RECORDS);
    i32::try_from(by_bytes.max(by_records).max(4)).unwrap_or(i32::MAX)
}

/// Waits while the producer's queue is full.
fn send(producer: &BaseProducer, record: BaseRecord<'_, String, Vec<u8>>) -> Result<(), Failure> {
    let mut record = record;
    loop {
        match producer.send(record) {
            Ok(()) => return Ok(()),
            Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), back)) => {
                record = back;
                producer.poll(Timeout::After(Duration::from_millis(10)));
            }
            Err((error, _)) => {
                return Err(Failure::bug(format!(
                    "the embedded broker refuses an order: {error}"
                )));
            }
        }
    }
}
