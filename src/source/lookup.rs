//! Questions to the cluster, on a client of their own: who it is, which topic partitions there are, where their logs start and end. Blocks; never called on
//! the control thread.

use std::collections::BTreeMap;
use std::time::Duration;

use rdkafka::consumer::Consumer as _;
use rdkafka::error::KafkaResult;
use rdkafka::metadata::MetadataTopic;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};

use crate::clock::Clock;
use crate::config::settings::Kafka;
use crate::model::identity::TopicIdentity;
use crate::model::lineage::Claim;
use crate::model::offset::TopicPartition;
use crate::source::client::{Consumer, Listener, base_config};
use crate::source::error::{Error, code_words, words};
use crate::source::native::{Undescribed, topic_ids};
use crate::source::proof::Prover;

/// A client that only asks.
pub struct Lookup {
    consumer: Consumer,
    prover: Prover,
    bootstrap_servers: String,
    timeout: Duration,
}

impl std::fmt::Debug for Lookup {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Lookup")
            .field("bootstrap_servers", &self.bootstrap_servers)
            .finish_non_exhaustive()
    }
}

/// Where a topic partition's log starts and ends for a `read_committed` reader.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Watermarks {
    /// The log's start: the first offset that may still be read.
    pub low: i64,
    /// The last stable offset: the first that may not be read yet.
    pub high: i64,
}

/// Where to begin a topic partition that no table has seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StartAt {
    /// At the log's start.
    Earliest,
    /// At the last stable offset.
    Latest,
    /// At the first record at or after this time (milliseconds since 1970 UTC), else at the end.
    Timestamp(i64),
}

impl Lookup {
    /// A client for questions that may take up to `timeout` each. Does not connect yet.
    pub fn new(kafka: &Kafka, timeout: Duration, clock: &Clock) -> Result<Lookup, Error> {
        let consumer = base_config(kafka)
            .create_with_context(Listener::default())
            .map_err(|error| Error::Properties {
                reason: error.to_string(),
            })?;
        Ok(Lookup {
            consumer,
            prover: Prover::new(kafka, timeout, clock),
            bootstrap_servers: kafka.bootstrap_servers.clone(),
            timeout,
        })
    }

    /// The cluster's id, where the broker has one.
    pub fn cluster_id(&self) -> Option<String> {
        self.consumer.client().fetch_cluster_id(self.timeout)
    }

    /// Who these topics are now, beyond their names.
    pub fn identities(&self, topics: &[String]) -> Result<BTreeMap<String, TopicIdentity>, Error> {
        let doing = || format!("asking for the ids of {}", topics.join(", "));
        let broker = self
            .answering_broker(topics)
            .map_err(|error| self.unreachable(doing(), words(&error)))?;
        let ids =
            topic_ids(&self.consumer, topics, broker, self.timeout).map_err(
                |error| match error {
                    Undescribed::Topic { topic, reason } => Error::Topic { topic, reason },
                    Undescribed::Unreachable(reason) => self.unreachable(doing(), reason),
                },
            )?;
        let cluster_id = self.cluster_id().filter(|id| !id.is_empty());
        let identity = |(topic, topic_id)| {
            let identity = TopicIdentity {
                cluster_id: cluster_id.clone(),
                topic_id,
            };
            (topic, identity)
        };
        Ok(ids.into_iter().map(identity).collect())
    }

    /// A broker that answers now, by its id.
    fn answering_broker(&self, topics: &[String]) -> KafkaResult<Option<i32>> {
        let metadata = self
            .consumer
            .fetch_metadata(topics.first().map(String::as_str), self.timeout)?;
        // A broker is asked under no id of its own as long as only its address is known.
        let answered = Some(metadata.orig_broker_id()).filter(|id| *id >= 0);
        Ok(answered.or_else(|| metadata.brokers().first().map(|broker| broker.id())))
    }

    /// The names of all topics that may be seen.
    pub fn topics(&self) -> Result<Vec<String>, Error> {
        let metadata = self
            .consumer
            .fetch_metadata(None, self.timeout)
            .map_err(|error| self.unreachable("listing topics".to_owned(), words(&error)))?;
        // One that is just being made, or is on its way out, has no partitions or an error.
        let is_whole = |it: &&MetadataTopic| it.error().is_none() && !it.partitions().is_empty();
        let names = metadata.topics().iter().filter(is_whole);
        Ok(names.map(|it| it.name().to_owned()).collect())
    }

    /// The topic's partitions, ascending.
    pub fn topic_partitions(&self, topic: &str) -> Result<Vec<TopicPartition>, Error> {
        let metadata = self
            .consumer
            .fetch_metadata(Some(topic), self.timeout)
            .map_err(|error| {
                self.unreachable(format!("asking for topic `{topic}`"), words(&error))
            })?;
        let Some(found) = metadata
            .topics()
            .iter()
            .find(|candidate| candidate.name() == topic)
        else {
            return Err(Error::Topic {
                topic: topic.to_owned(),
                reason: "the broker does not list it".to_owned(),
            });
        };
        if let Some(error) = found.error() {
            return Err(Error::Topic {
                topic: topic.to_owned(),
                reason: code_words(error.into()),
            });
        }
        let mut numbers: Vec<i32> = found
            .partitions()
            .iter()
            .map(|partition| partition.id())
            .collect();
        if numbers.is_empty() {
            return Err(Error::Topic {
                topic: topic.to_owned(),
                reason: "it has no partitions".to_owned(),
            });
        }
        numbers.sort_unstable();
        Ok(numbers
            .into_iter()
            .map(|number| TopicPartition::new(topic, number))
            .collect())
    }

    /// Start and end of one topic partition's log.
    pub fn watermarks(&self, topic_partition: &TopicPartition) -> Result<Watermarks, Error> {
        self.consumer
            .fetch_watermarks(&topic_partition.topic, topic_partition.number, self.timeout)
            .map(|(low, high)| Watermarks { low, high })
            .map_err(|error| {
                self.unreachable(
                    format!("asking for the offsets of {topic_partition}"),
                    words(&error),
                )
            })
    }

    /// The topic partitions whose logs do not hold what was read of them, each with the offset where its log parts from that. A broker without leader epochs names none.
    pub fn diverging(
        &self,
        read: &BTreeMap<TopicPartition, Claim>,
    ) -> Result<BTreeMap<TopicPartition, i64>, Error> {
        self.prover.diverging(read).map_err(|reason| {
            let of: Vec<String> = read.keys().map(ToString::to_string).collect();
            self.unreachable(
                format!("asking for the ends of leader epochs of {}", of.join(", ")),
                reason,
            )
        })
    }

    /// The first offset to read of each topic partition.
    pub fn start_offsets(
        &self,
        all: &[TopicPartition],
        start: StartAt,
    ) -> Result<BTreeMap<TopicPartition, i64>, Error> {
        let by_time = match start {
            StartAt::Timestamp(ms) => self.offsets_at(all, ms)?,
            StartAt::Earliest | StartAt::Latest => BTreeMap::new(),
        };
        let mut offsets = BTreeMap::new();
        for topic_partition in all {
            let offset = match (start, by_time.get(topic_partition)) {
                (_, Some(offset)) => *offset,
                (StartAt::Earliest, None) => self.watermarks(topic_partition)?.low,
                (StartAt::Latest | StartAt::Timestamp(_), None) => {
                    self.watermarks(topic_partition)?.high
                }
            };
            offsets.insert(topic_partition.clone(), offset);
        }
        Ok(offsets)
    }

    fn offsets_at(
        &self,
        all: &[TopicPartition],
        ms: i64,
    ) -> Result<BTreeMap<TopicPartition, i64>, Error> {
        let mut list = TopicPartitionList::new();
        for topic_partition in all {
            list.add_partition_offset(
                &topic_partition.topic,
                topic_partition.number,
                Offset::Offset(ms),
            )
            .map_err(|error| {
                self.unreachable("asking for offsets by time".to_owned(), words(&error))
            })?;
        }
        let answer = self
            .consumer
            .offsets_for_times(list, self.timeout)
            .map_err(|error| {
                self.unreachable("asking for offsets by time".to_owned(), words(&error))
            })?;
        let mut offsets = BTreeMap::new();
        for element in answer.elements() {
            if let Offset::Offset(offset) = element.offset() {
                offsets.insert(
                    TopicPartition::new(element.topic(), element.partition()),
                    offset,
                );
            }
        }
        Ok(offsets)
    }

    fn unreachable(&self, doing: String, reason: String) -> Error {
        Error::Unreachable {
            bootstrap_servers: self.bootstrap_servers.clone(),
            doing,
            reason,
        }
    }
}
