//! Membership in the consumer group, on the control thread: events in, assignments out. An assignment is answered only when the caller knows every start offset;
//! until then the group is polled on. Does not read tables, and never blocks on I/O.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use rdkafka::config::ClientConfig;
use rdkafka::consumer::{CommitMode, Consumer as _, RebalanceProtocol};
use rdkafka::error::KafkaError;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};

use crate::config::settings::Kafka;
use crate::model::offset::TopicPartition;
use crate::source::client::{Consumer, Listener, Told, base_config, is_outage};
use crate::source::error::{Error, words};
use crate::source::native::LaneQueue;

/// Records that a lane takes at a time; enough to make the cost per call vanish, small enough to stay in cache.
const BATCH: usize = 2048;

/// How long librdkafka's own thread may take to hear a seek; no broker is asked.
const SEEK_LIMIT: Duration = Duration::from_secs(1);

/// What librdkafka may hold; from the memory budget.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shares {
    /// Fetched and not yet polled, for each lane's queue, in KiB.
    pub queue_kbytes: u64,
    /// Messages fetched and not yet polled, from which a lane's queue counts as full.
    pub queue_messages: u64,
    /// One topic partition's part of a fetch response, in bytes; a larger record batch still passes whole.
    pub topic_partition_bytes: u64,
    /// One fetch response from one broker, in bytes.
    pub response_bytes: u64,
    /// What one record batch may have beyond it, in bytes; for zstd, unpacked too.
    pub record_batch_bytes: u64,
}

/// What happened to the membership.
#[derive(Debug, Clone)]
pub enum Event {
    /// These are ours once `assign` has been called.
    Assigned(Vec<TopicPartition>),
    /// These are ours no longer; the group waits for `acknowledge`.
    Revoked(Vec<TopicPartition>),
    /// These went to others while we were away; as revoked, but nobody waits.
    Lost(Vec<TopicPartition>),
    /// The client is in trouble and goes on trying.
    Trouble(String),
    /// The client cannot go on.
    Fatal(String),
}

/// The one consumer of the process.
pub struct Group {
    consumer: Arc<Consumer>,
    group_id: String,
    /// What has been assigned and not revoked; eager protocols replace the assignment as a whole.
    assigned: BTreeSet<TopicPartition>,
    /// An assignment that was told and not answered yet.
    unanswered: Option<Vec<TopicPartition>>,
}

impl std::fmt::Debug for Group {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Group")
            .field("group_id", &self.group_id)
            .field("assigned", &self.assigned)
            .finish_non_exhaustive()
    }
}

impl Group {
    /// Makes the consumer; joins with `subscribe`.
    pub fn new(kafka: &Kafka, shares: Shares) -> Result<Group, Error> {
        let config = group_config(kafka, shares);
        let consumer =
            config
                .create_with_context(Listener::default())
                .map_err(|error: KafkaError| Error::Properties {
                    reason: error.to_string(),
                })?;
        Ok(Group {
            consumer: Arc::new(consumer),
            group_id: kafka.group_id.clone(),
            assigned: BTreeSet::new(),
            unanswered: None,
        })
    }

    /// Joins the group for these topics.
    pub fn subscribe(&self, topics: &[&str]) -> Result<(), Error> {
        self.consumer
            .subscribe(topics)
            .map_err(|error| Error::Group {
                group_id: self.group_id.clone(),
                reason: words(&error),
            })
    }

    /// A queue for one lane.
    pub fn lane_queue(&self, with_headers: bool) -> Result<LaneQueue, Error> {
        LaneQueue::new(&self.consumer, BATCH, with_headers).ok_or_else(|| Error::Group {
            group_id: self.group_id.clone(),
            reason: "librdkafka makes no queue".to_owned(),
        })
    }

    /// Serves librdkafka for up to `timeout` and tells what happened.
    pub fn poll(&mut self, timeout: Duration) -> Vec<Event> {
        let mut events = Vec::new();
        match self.consumer.poll(timeout) {
            None => {}
            // Records reach lanes through their own queues; one here was fetched before its queue was forwarded and is fetched again after the assignment.
            Some(Ok(message)) => drop(message),
            Some(Err(KafkaError::MessageConsumptionFatal(code))) => {
                events.push(Event::Fatal(code.to_string()))
            }
            Some(Err(error)) if error.rdkafka_error_code().is_some_and(is_outage) => {
                events.push(Event::Trouble(words(&error)));
            }
            Some(Err(error)) => tracing::debug!(%error, "librdkafka mends this itself"),
        }
        for told in self.consumer.context().take() {
            events.push(match told {
                Told::Assigned(named) => {
                    let all = named_all(named);
                    self.unanswered = Some(all.clone());
                    Event::Assigned(all)
                }
                Told::Revoked(named) if self.consumer.assignment_lost() => {
                    Event::Lost(named_all(named))
                }
                Told::Revoked(named) => Event::Revoked(named_all(named)),
                Told::Failed(reason) => Event::Trouble(reason),
            });
        }
        events
    }

    /// Takes topic partitions into the assignment: at their offset, or parked (`None`) until `resume_at` says where. Their queues must have been attached to lanes.
    pub fn assign(&mut self, starts: &BTreeMap<TopicPartition, Option<i64>>) -> Result<(), Error> {
        // What is parked is paused before it is assigned, so that any offset will do, as long as it is one: librdkafka (2.12) asks for a logical one again when the answer
        // comes after a seek, and goes there.
        let position = |offset: &Option<i64>| Offset::Offset(offset.unwrap_or(0));
        let list = list_of(
            starts
                .iter()
                .map(|(topic_partition, offset)| (topic_partition, position(offset))),
        )?;
        // librdkafka's pause outlives the assignment: what was paused when it was lost would come back paused.
        let unpaused = list_of(starts.keys().map(|it| (it, Offset::Invalid)))?;
        self.consumer
            .resume(&unpaused)
            .map_err(|error| self.group_error("resuming", &error))?;
        let parked: Vec<TopicPartition> = starts
            .iter()
            .filter(|(_, offset)| offset.is_none())
            .map(|(topic_partition, _)| topic_partition.clone())
            .collect();
        if !parked.is_empty() {
            let list = list_of(parked.iter().map(|it| (it, Offset::Invalid)))?;
            self.consumer
                .pause(&list)
                .map_err(|error| self.group_error("pausing", &error))?;
        }
        let result = if self.is_cooperative() {
            self.consumer.incremental_assign(&list)
        } else {
            self.consumer.assign(&list)
        };
        result.map_err(|error| self.group_error("assigning", &error))?;
        self.unanswered = None;
        self.assigned.extend(starts.keys().cloned());
        self.pause(&parked)
    }

    /// What stays assigned while these come or go. Nothing under an eager protocol, which changes an assignment only as a whole.
    pub fn retained(&self, changed: &[TopicPartition]) -> Vec<TopicPartition> {
        if !self.is_cooperative() {
            return Vec::new();
        }
        let stays = self.assigned.iter().filter(|it| !changed.contains(it));
        stays.cloned().collect()
    }

    /// Answers a revocation: from here on others may own these.
    pub fn acknowledge(&mut self, revoked: &[TopicPartition]) -> Result<(), Error> {
        let result = if self.is_cooperative() {
            // librdkafka refuses to take away what was never assigned.
            let list = list_of(
                revoked
                    .iter()
                    .filter(|topic_partition| self.assigned.contains(*topic_partition))
                    .map(|it| (it, Offset::Invalid)),
            )?;
            if list.count() == 0 {
                Ok(())
            } else {
                self.consumer.incremental_unassign(&list)
            }
        } else {
            self.consumer.unassign()
        };
        for topic_partition in revoked {
            self.assigned.remove(topic_partition);
        }
        result.map_err(|error| self.group_error("giving back", &error))
    }

    /// Takes topic partitions out of the assignment that are to be assigned again, at other offsets; all of them under an eager protocol, whose assignment is one piece.
    /// When this returns, their queues may be attached to lanes: librdkafka drops the forwarding of a queue when it stops its topic partition, and for good, since a queue
    /// that was once forwarded by the application is not forwarded by a new assignment.
    pub fn take_back(&mut self, all: &[TopicPartition]) -> Result<(), Error> {
        let taken: BTreeSet<TopicPartition> = if self.is_cooperative() {
            let assigned = all.iter().filter(|it| self.assigned.contains(*it));
            assigned.cloned().collect()
        } else {
            std::mem::take(&mut self.assigned)
        };
        if taken.is_empty() {
            return Ok(());
        }
        let result = if self.is_cooperative() {
            self.assigned.retain(|it| !taken.contains(it));
            let list = list_of(taken.iter().map(|it| (it, Offset::Invalid)))?;
            self.consumer.incremental_unassign(&list)
        } else {
            self.consumer.unassign()
        };
        // librdkafka answers in order: once it tells the assignment, it has stopped what it was told to stop before.
        result
            .and_then(|()| self.consumer.assignment())
            .map(drop)
            .map_err(|error| self.group_error("assigning again", &error))
    }

    /// Lets paused topic partitions be fetched again, from these offsets, and answers those that cannot be sought yet: they stay paused and are to be tried again, since
    /// they would go on wherever they stand. A resume is always a seek: after an end and a pause, librdkafka would skip a record.
    pub fn resume_at(
        &self,
        starts: &BTreeMap<TopicPartition, i64>,
    ) -> Result<BTreeMap<TopicPartition, i64>, Error> {
        if starts.is_empty() {
            return Ok(BTreeMap::new());
        }
        let list = list_of(
            starts
                .iter()
                .map(|(topic_partition, offset)| (topic_partition, Offset::Offset(*offset))),
        )?;
        // The seek comes first: between a resume and a seek, records of the old position would pass for the new one.
        let sought = match self.consumer.seek_partitions(list, SEEK_LIMIT) {
            Ok(sought) => sought,
            Err(error) => {
                tracing::debug!(%error, "topic partitions are not sought yet");
                return Ok(starts.clone());
            }
        };
        let done: BTreeSet<TopicPartition> = sought
            .elements()
            .iter()
            .filter(|element| element.error().is_ok())
            .map(|element| TopicPartition::new(element.topic(), element.partition()))
            .collect();
        let resumed = list_of(done.iter().map(|it| (it, Offset::Invalid)))?;
        if !done.is_empty() {
            self.consumer
                .resume(&resumed)
                .map_err(|error| self.group_error("resuming", &error))?;
        }
        let later = starts.iter().filter(|(it, _)| !done.contains(*it));
        Ok(later.map(|(it, offset)| (it.clone(), *offset)).collect())
    }

    /// Stops fetching these; what was fetched is dropped.
    pub fn pause(&self, all: &[TopicPartition]) -> Result<(), Error> {
        let list = list_of(
            all.iter()
                .filter(|it| self.assigned.contains(*it))
                .map(|it| (it, Offset::Invalid)),
        )?;
        if list.count() == 0 {
            return Ok(());
        }
        self.consumer
            .pause(&list)
            .map_err(|error| self.group_error("pausing", &error))
    }

    /// Tells the group where the tables stand; information only (OFF-5), so a failure is only logged.
    pub fn report_offsets(&self, offsets: &BTreeMap<TopicPartition, i64>) {
        let owned = offsets
            .iter()
            .filter(|(topic_partition, _)| self.assigned.contains(*topic_partition));
        let Ok(list) = list_of(
            owned.map(|(topic_partition, offset)| (topic_partition, Offset::Offset(*offset))),
        ) else {
            return;
        };
        if list.count() == 0 {
            return;
        }
        if let Err(error) = self.consumer.commit(&list, CommitMode::Async) {
            tracing::debug!(%error, "offsets were not reported to the group");
        }
    }

    /// Leaves the group. Every lane queue must have been dropped before; revocations are acknowledged inline.
    pub fn close(mut self) {
        // librdkafka waits for the answer to an assignment before it does anything else, and tells it only once.
        if let Some(all) = self.unanswered.take()
            && let Err(error) = self.assign(&all.into_iter().map(|it| (it, None)).collect())
        {
            tracing::debug!(%error, "an assignment was not answered while closing");
        }
        self.consumer.unsubscribe();
        if self.consumer.close_queue().is_err() {
            return;
        }
        // librdkafka closes within its own bounds once every word of the group is answered: also an assignment that came while the member left.
        for _ in 0..300 {
            if self.consumer.closed() {
                return;
            }
            for event in self.poll(Duration::from_millis(100)) {
                let answered = match event {
                    Event::Revoked(all) | Event::Lost(all) => self.acknowledge(&all),
                    Event::Assigned(all) => {
                        self.assign(&all.into_iter().map(|it| (it, None)).collect())
                    }
                    Event::Trouble(_) | Event::Fatal(_) => Ok(()),
                };
                if let Err(error) = answered {
                    tracing::debug!(%error, "a word of the group was not answered while closing");
                }
            }
        }
        tracing::warn!(
            "the kafka client did not close in time; the group learns it when the session ends"
        );
        // To drop it would wait for it without a bound; the process is about to end.
        std::mem::forget(Arc::clone(&self.consumer));
    }

    /// Whether assignments come and go in parts.
    pub fn is_cooperative(&self) -> bool {
        matches!(
            self.consumer.rebalance_protocol(),
            RebalanceProtocol::Cooperative
        )
    }

    fn group_error(&self, doing: &str, error: &KafkaError) -> Error {
        Error::Group {
            group_id: self.group_id.clone(),
            reason: format!("{doing} topic partitions: {}", words(error)),
        }
    }
}

/// The user's properties under those that Lakeward owns.
fn group_config(kafka: &Kafka, shares: Shares) -> ClientConfig {
    let mut config = base_config(kafka);
    config.set("group.id", &kafka.group_id);
    config.set("enable.auto.commit", "false");
    config.set("enable.auto.offset.store", "false");
    // A position outside of the log is an error to be judged, never a jump (OFF-7).
    config.set("auto.offset.reset", "error");
    config.set("enable.partition.eof", "true");
    config.set(
        "queued.max.messages.kbytes",
        shares.queue_kbytes.clamp(1, 2_097_151).to_string(),
    );
    // Each message costs librdkafka a kibibyte that the bound above does not see. A full queue is looked at again soon: it is small, and the default is a second.
    config.set("fetch.queue.backoff.ms", "5");
    config.set(
        "queued.min.messages",
        shares.queue_messages.clamp(1, 10_000_000).to_string(),
    );
    let response_bytes = shares.response_bytes.clamp(64 * 1024, 512 * 1024 * 1024);
    config.set("fetch.max.bytes", response_bytes.to_string());
    // Only producers mind it, but librdkafka refuses a smaller response than this.
    config.set(
        "message.max.bytes",
        response_bytes.min(1_000_000).to_string(),
    );
    config.set(
        "fetch.message.max.bytes",
        shares
            .topic_partition_bytes
            .clamp(16 * 1024, response_bytes)
            .to_string(),
    );
    // A record batch larger than a response still comes whole (KIP-74). librdkafka unpacks zstd up to this bound too, and the other codecs without one.
    config.set(
        "receive.message.max.bytes",
        (response_bytes + shares.record_batch_bytes)
            .clamp(1_000, 2_147_483_647)
            .to_string(),
    );
    if !kafka.properties.contains_key("fetch.wait.max.ms") {
        config.set("fetch.wait.max.ms", "100");
    }
    config
}

fn named_all(named: Vec<(String, i32)>) -> Vec<TopicPartition> {
    named
        .into_iter()
        .map(|(topic, number)| TopicPartition::new(topic, number))
        .collect()
}

fn list_of<'a>(
    items: impl Iterator<Item = (&'a TopicPartition, Offset)>,
) -> Result<TopicPartitionList, Error> {
    let mut list = TopicPartitionList::new();
    for (topic_partition, offset) in items {
        list.add_partition_offset(&topic_partition.topic, topic_partition.number, offset)
            .map_err(|error| Error::Refused {
                doing: "name the offset of",
                topic_partition: topic_partition.clone(),
                reason: words(&error),
            })?;
    }
    Ok(list)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::settings::Secret;

    #[test]
    fn off_5_the_group_neither_keeps_nor_supplies_positions() {
        let properties = [
            ("auto.offset.reset", "latest"),
            ("enable.auto.commit", "true"),
        ];
        let kafka = Kafka {
            bootstrap_servers: "127.0.0.1:1".to_owned(),
            group_id: "lakeward-shop".to_owned(),
            properties: properties
                .map(|(key, value)| (key.to_owned(), Secret::new(value)))
                .into(),
        };
        let shares = Shares {
            queue_kbytes: 1024,
            queue_messages: 1000,
            topic_partition_bytes: 65_536,
            response_bytes: 1_048_576,
            record_batch_bytes: 67_108_864,
        };
        let config = group_config(&kafka, shares);
        for (key, owned) in [
            ("enable.auto.commit", "false"),
            ("enable.auto.offset.store", "false"),
            ("auto.offset.reset", "error"),
            ("enable.partition.eof", "true"),
            ("isolation.level", "read_committed"),
        ] {
            assert_eq!(config.get(key), Some(owned), "{key}");
        }
    }
}
