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

    /// Starts and ends of these topic partitions' logs, of all of them in one request to each leader (ListOffsets). None is missing from the answer.
    pub fn watermarks(
        &self,
        all: &[TopicPartition],
    ) -> Result<BTreeMap<TopicPartition, Watermarks>, Error> {
        let low = self.offset_of_each(all, Offset::Beginning)?;
        let high = self.offset_of_each(all, Offset::End)?;
        let both = low.into_iter().zip(high.into_values());
        Ok(both
            .map(|((it, low), high)| (it, Watermarks { low, high }))
            .collect())
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
        let mut offsets = match start {
            StartAt::Earliest => return self.offset_of_each(all, Offset::Beginning),
            StartAt::Latest => return self.offset_of_each(all, Offset::End),
            StartAt::Timestamp(ms) => self.offsets_at(all, Offset::Offset(ms))?,
        };
        // Behind the last record there is no offset for a time.
        let is_left = |it: &&TopicPartition| !offsets.contains_key(it);
        let left: Vec<TopicPartition> = all.iter().filter(is_left).cloned().collect();
        offsets.extend(self.offset_of_each(&left, Offset::End)?);
        Ok(offsets)
    }

    /// The offset of each log's beginning or end; none is missing from the answer.
    fn offset_of_each(
        &self,
        all: &[TopicPartition],
        at: Offset,
    ) -> Result<BTreeMap<TopicPartition, i64>, Error> {
        let offsets = self.offsets_at(all, at)?;
        match all.iter().find(|it| !offsets.contains_key(it)) {
            None => Ok(offsets),
            Some(it) => Err(self.unreachable(
                asking_for_offsets(std::slice::from_ref(it)),
                "its leader does not tell its offsets".to_owned(),
            )),
        }
    }

    /// The offset of each log's beginning, end, or first record at or after a time; those without one are left out.
    fn offsets_at(
        &self,
        all: &[TopicPartition],
        at: Offset,
    ) -> Result<BTreeMap<TopicPartition, i64>, Error> {
        if all.is_empty() {
            return Ok(BTreeMap::new());
        }
        let failed = |error| self.unreachable(asking_for_offsets(all), words(&error));
        let mut list = TopicPartitionList::new();
        for it in all {
            list.add_partition_offset(&it.topic, it.number, at)
                .map_err(failed)?;
        }
        // A time of -2 is the beginning and one of -1 the end (ListOffsets), which is how librdkafka writes these two offsets.
        let answer = self
            .consumer
            .offsets_for_times(list, self.timeout)
            .map_err(failed)?;
        let mut offsets = BTreeMap::new();
        for element in answer.elements() {
            element.error().map_err(failed)?;
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

fn asking_for_offsets(all: &[TopicPartition]) -> String {
    match all {
        [only] => format!("asking for the offsets of {only}"),
        [first, ..] => format!(
            "asking for the offsets of {first} and {} others",
            all.len() - 1
        ),
        [] => "asking for no offsets".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use rdkafka::ClientConfig;
    use rdkafka::mocking::MockCluster;
    use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _};

    use super::*;

    #[test]
    fn starts_and_ends_of_many_logs_are_told_together() {
        let cluster = MockCluster::new(3).unwrap();
        cluster.create_topic("t", 4, 1).unwrap();
        let producer: BaseProducer = ClientConfig::new()
            .set("bootstrap.servers", cluster.bootstrap_servers())
            .create()
            .unwrap();
        for (number, records) in [(0, 3), (1, 0), (3, 2)] {
            for _ in 0..records {
                let record = BaseRecord::<(), _>::to("t").partition(number).payload("x");
                producer.send(record).unwrap();
            }
        }
        producer.flush(Duration::from_secs(20)).unwrap();
        let kafka = Kafka {
            bootstrap_servers: cluster.bootstrap_servers(),
            group_id: "g".to_owned(),
            properties: BTreeMap::new(),
        };
        let lookup = Lookup::new(&kafka, Duration::from_secs(20), &Clock::machine()).unwrap();
        let all = lookup.topic_partitions("t").unwrap();
        let marks = lookup.watermarks(&all).unwrap();
        let found: Vec<_> = marks
            .iter()
            .map(|(it, marks)| (it.number, marks.low, marks.high))
            .collect();
        assert_eq!(found, [(0, 0, 3), (1, 0, 0), (2, 0, 0), (3, 0, 2)]);
        for (start, expected) in [
            (StartAt::Earliest, [0, 0, 0, 0]),
            (StartAt::Latest, [3, 0, 0, 2]),
            // Behind every record: the end.
            (StartAt::Timestamp(i64::MAX / 2), [3, 0, 0, 2]),
        ] {
            let offsets = lookup.start_offsets(&all, start).unwrap();
            assert_eq!(
                offsets.into_values().collect::<Vec<_>>(),
                expected,
                "{start:?}"
            );
        }
        assert!(lookup.watermarks(&[]).unwrap().is_empty());
        let missing = [all[0].clone(), TopicPartition::new("t", 9)];
        let error = lookup.watermarks(&missing).unwrap_err().to_string();
        assert!(
            error.contains("asking for the offsets of t[0] and 1 others"),
            "{error}"
        );
    }
}
