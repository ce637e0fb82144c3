//! Whether logs still hold what was read of them: the question OffsetForLeaderEpoch (KIP-320), which librdkafka asks only on the way to a position that a consumer seeks. Owns a
//! consumer for that, outside of any group, and how it answers; does not judge.
//!
//! | what comes of the seek | what it says |
//! |---|---|
//! | a record, or the end of the log | librdkafka fetches, so the leader has that leader epoch up to there, or knows no leader epochs at all |
//! | a record where none was when it was read | the log lost markers or aborted records, and has grown again |
//! | "log truncation" | the leader's log ends that leader epoch before it, at the offset that the text names; -1: it never had one so low |
//! | another position outside of the log | it was proven, and retention took what came next |
//! | nothing | the leader does not answer |

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rdkafka::config::ClientConfig;
use rdkafka::consumer::Consumer as _;
use rdkafka::error::KafkaResult;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};

use crate::clock::Clock;
use crate::config::settings::Kafka;
use crate::model::lineage::{Claim, Tail};
use crate::model::offset::TopicPartition;
use crate::source::client::{Consumer, Listener, base_config};
use crate::source::error::words;
use crate::source::native::{Fetch, LaneQueue, set_leader_epoch};

/// How long one poll waits.
const POLL: Duration = Duration::from_millis(20);
/// How long librdkafka's own thread may take to hear a seek; no broker is asked.
const SEEK_LIMIT: Duration = Duration::from_secs(1);
/// Records taken at a time; they are proofs and nothing more.
const BATCH: usize = 64;
/// What one response may bring.
const RESPONSE_BYTES: u64 = 1024 * 1024;

/// Asks leaders for the ends of leader epochs.
pub(super) struct Prover {
    config: ClientConfig,
    timeout: Duration,
    clock: Clock,
    /// Made with the first question. One question is asked at a time.
    consumer: Mutex<Option<Arc<Consumer>>>,
}

impl Prover {
    /// Does not connect before the first question.
    pub(super) fn new(kafka: &Kafka, timeout: Duration, clock: &Clock) -> Prover {
        let mut config = base_config(kafka);
        // librdkafka takes no assignment without the name of a group; nothing is subscribed, so none is joined.
        config.set("group.id", &kafka.group_id);
        config.set("enable.auto.commit", "false");
        config.set("enable.auto.offset.store", "false");
        config.set("enable.partition.eof", "true");
        config.set("auto.offset.reset", "error");
        config.set("fetch.wait.max.ms", "10");
        config.set("queued.max.messages.kbytes", "1024");
        config.set("queued.min.messages", "1");
        config.set("fetch.message.max.bytes", "65536");
        config.set("fetch.max.bytes", RESPONSE_BYTES.to_string());
        config.set("message.max.bytes", "1000000");
        // A record batch larger than a response still comes whole (KIP-74).
        config.set(
            "receive.message.max.bytes",
            (RESPONSE_BYTES + 256 * 1024 * 1024).to_string(),
        );
        Prover {
            config,
            timeout,
            clock: clock.clone(),
            consumer: Mutex::new(None),
        }
    }

    /// The topic partitions whose logs do not hold what was read, each with the offset at which its log and what was read part. The error is why nobody answers.
    pub(super) fn diverging(
        &self,
        read: &BTreeMap<TopicPartition, Claim>,
    ) -> Result<BTreeMap<TopicPartition, i64>, String> {
        if read.is_empty() {
            return Ok(BTreeMap::new());
        }
        let mut held = self.lock();
        let consumer = match held.as_ref() {
            Some(consumer) => Arc::clone(consumer),
            None => {
                let made = self.config.create_with_context(Listener::default());
                let made = Arc::new(made.map_err(|error| words(&error))?);
                Arc::clone(held.insert(made))
            }
        };
        let first = self.ask(&consumer, read)?;
        if first.is_empty() {
            return Ok(first);
        }
        // librdkafka may hold the answer to an earlier question against a later one, where that was still under way. So it takes two.
        let mut suspects = read.clone();
        suspects.retain(|it, _| first.contains_key(it));
        self.ask(&consumer, &suspects)
    }

    fn lock(&self) -> MutexGuard<'_, Option<Arc<Consumer>>> {
        self.consumer.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn ask(
        &self,
        consumer: &Arc<Consumer>,
        read: &BTreeMap<TopicPartition, Claim>,
    ) -> Result<BTreeMap<TopicPartition, i64>, String> {
        // A question that got no answer may have left its topic partitions; and the leaders of before may not be those of now.
        release(consumer).map_err(|error| words(&error))?;
        let mut topics: Vec<&str> = read.keys().map(|it| &*it.topic).collect();
        topics.dedup();
        for topic in topics {
            consumer
                .fetch_metadata(Some(topic), self.timeout)
                .map_err(|error| words(&error))?;
        }
        let mut queue = LaneQueue::new(consumer, BATCH, false)
            .ok_or_else(|| "librdkafka makes no queue".to_owned())?;
        for topic_partition in read.keys() {
            let attached = queue.handle().attach(topic_partition);
            attached.map_err(|error| error.to_string())?;
        }
        // Nothing is fetched before it is sought: an error of the assignment could be taken for one of the seek. Not from the end, either: librdkafka asks for that offset
        // again when the answer comes after a seek, and goes there.
        let begun = positions(read).and_then(|list| {
            consumer.pause(&list)?;
            consumer.assign(&list)
        });
        let answers = begun
            .map_err(|error| words(&error))
            .and_then(|()| self.listen(consumer, &mut queue, read));
        if let Err(error) = release(consumer) {
            tracing::debug!(%error, "topic partitions of a question are not given back yet");
        }
        answers
    }

    fn listen(
        &self,
        consumer: &Consumer,
        queue: &mut LaneQueue,
        read: &BTreeMap<TopicPartition, Claim>,
    ) -> Result<BTreeMap<TopicPartition, i64>, String> {
        let deadline = self.clock.now().after(self.timeout);
        let mut unsought = read.clone();
        let mut unanswered = BTreeMap::new();
        let mut diverging = BTreeMap::new();
        while !unsought.is_empty() || !unanswered.is_empty() {
            if self.clock.now() > deadline {
                return Err(format!(
                    "{} of {} leaders do not answer in time",
                    unsought.len() + unanswered.len(),
                    read.len()
                ));
            }
            let sought = seek(consumer, &mut unsought)?;
            positions(&sought)
                .and_then(|list| consumer.resume(&list))
                .map_err(|error| words(&error))?;
            unanswered.extend(sought);
            // What librdkafka tells beside it is of no interest, but waits in its queue.
            drop(consumer.poll(Duration::ZERO));
            drop(consumer.context().take());
            for fetch in queue.poll(POLL) {
                let Some(claim) = unanswered.get(&fetch.topic_partition).copied() else {
                    continue;
                };
                match Answer::of(&fetch, claim) {
                    Answer::None => continue,
                    Answer::Failed(reason) => return Err(reason),
                    Answer::Holds => {}
                    Answer::PartsAt(end) => {
                        diverging.insert(fetch.topic_partition.clone(), end);
                    }
                }
                unanswered.remove(&fetch.topic_partition);
                let answered = BTreeMap::from([(fetch.topic_partition, claim)]);
                positions(&answered)
                    .and_then(|list| consumer.pause(&list))
                    .map_err(|error| words(&error))?;
            }
        }
        Ok(diverging)
    }
}

/// What one fetch says of a claim.
#[derive(Debug, PartialEq, Eq)]
enum Answer {
    /// Nothing, or something about another question.
    None,
    /// The log holds it.
    Holds,
    /// The log parts from what was read at this offset.
    PartsAt(i64),
    /// There will be no answer.
    Failed(String),
}

impl Answer {
    fn of(fetch: &Fetch, claim: Claim) -> Answer {
        let first = fetch.records.get(0).map(|record| record.at.offset);
        match (&fetch.error, first) {
            (None, Some(offset)) if offset < claim.up_to => Answer::PartsAt(offset),
            (None, None) if fetch.end.is_none() => Answer::None,
            (None, _) => Answer::Holds,
            (Some(error), _) => match Truncation::parse(&error.reason) {
                Some(truncation) if truncation.asked == claim.tail => {
                    Answer::PartsAt(truncation.end.clamp(0, claim.tail.end))
                }
                Some(_) => Answer::None,
                None if error.offset_out_of_range => Answer::Holds,
                None => Answer::Failed(error.reason.clone()),
            },
        }
    }
}

/// What librdkafka says of a log that it finds truncated. It has no other form than the text.
#[derive(Debug, PartialEq, Eq)]
struct Truncation {
    asked: Tail,
    /// The end of the leader epoch in the leader's log; -1 where it has none so low.
    end: i64,
}

impl Truncation {
    fn parse(text: &str) -> Option<Truncation> {
        let rest = ["truncation detected at offset ", "less or equal to offset "]
            .iter()
            .find_map(|words| text.split_once(words))?
            .1;
        let (offset, rest) = rest.split_once(" (leader epoch ")?;
        let (leader_epoch, rest) = rest.split_once(')')?;
        let (_, rest) = rest.split_once("broker end offset is ")?;
        let (end, _) = rest.split_once(' ')?;
        Some(Truncation {
            asked: Tail {
                leader_epoch: leader_epoch.parse().ok()?,
                end: offset.parse().ok()?,
            },
            end: end.parse().ok()?,
        })
    }
}

/// Seeks what can be sought by now, and answers it. What is not assigned yet stays.
fn seek(
    consumer: &Consumer,
    unsought: &mut BTreeMap<TopicPartition, Claim>,
) -> Result<BTreeMap<TopicPartition, Claim>, String> {
    if unsought.is_empty() {
        return Ok(BTreeMap::new());
    }
    let mut list = positions(unsought).map_err(|error| words(&error))?;
    for (topic_partition, claim) in unsought.iter() {
        if !set_leader_epoch(&mut list, topic_partition, claim.tail.leader_epoch) {
            return Err(format!("librdkafka does not take {topic_partition}"));
        }
    }
    let Ok(sought) = consumer.seek_partitions(list, SEEK_LIMIT) else {
        // It may have been heard all the same; a second seek to the same place does no harm.
        return Ok(BTreeMap::new());
    };
    let mut done = BTreeMap::new();
    for element in sought.elements() {
        let at = TopicPartition::new(element.topic(), element.partition());
        if element.error().is_ok()
            && let Some(claim) = unsought.remove(&at)
        {
            done.insert(at, claim);
        }
    }
    Ok(done)
}

/// Lets go of every topic partition. librdkafka answers in order: once it tells the assignment, it has stopped what it was told to stop before, and queues may be attached
/// again.
fn release(consumer: &Consumer) -> KafkaResult<()> {
    consumer.unassign()?;
    consumer.assignment().map(drop)
}

fn positions(read: &BTreeMap<TopicPartition, Claim>) -> KafkaResult<TopicPartitionList> {
    let mut list = TopicPartitionList::new();
    for (topic_partition, claim) in read {
        let offset = Offset::Offset(claim.tail.end);
        list.add_partition_offset(&topic_partition.topic, topic_partition.number, offset)?;
    }
    Ok(list)
}

#[cfg(test)]
mod tests {
    use rdkafka::mocking::MockCluster;
    use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _};

    use super::*;
    use crate::model::lineage::UNKNOWN_LEADER_EPOCH;

    #[test]
    fn the_text_of_a_truncation_names_what_was_asked_and_where_it_ends() {
        let check = |text: &str, expected: Option<(i32, i64, i64)>| {
            let truncation = |(leader_epoch, asked, end)| Truncation {
                asked: Tail {
                    leader_epoch,
                    end: asked,
                },
                end,
            };
            assert_eq!(Truncation::parse(text), expected.map(truncation), "{text}");
        };
        check(
            "Partition log truncation detected at offset 500 (leader epoch 2): broker end offset is 300 (offset leader epoch 1). Reset to INVALID.: Local: Partition log truncation detected (broker 2)",
            Some((2, 500, 300)),
        );
        check(
            "No epoch found less or equal to offset 500 (leader epoch 2): broker end offset is -1 (offset leader epoch -1). Reset using configured policy.: Local: Partition log truncation detected (broker 2)",
            Some((2, 500, -1)),
        );
        check(
            "fetch failed due to requested offset not available on the broker: Broker: Offset out of range (broker 1)",
            None,
        );
    }

    /// A topic partition of librdkafka's own mock cluster, which keeps leader epochs.
    struct Mock {
        cluster: MockCluster<'static, rdkafka::producer::DefaultProducerContext>,
        prover: Prover,
    }

    impl Mock {
        fn new() -> Mock {
            let cluster = MockCluster::new(1).unwrap();
            cluster.create_topic("t", 1, 1).unwrap();
            let kafka = Kafka {
                bootstrap_servers: cluster.bootstrap_servers(),
                group_id: "g".to_owned(),
                properties: BTreeMap::new(),
            };
            let prover = Prover::new(&kafka, Duration::from_secs(20), &Clock::machine());
            Mock { cluster, prover }
        }

        fn produce(&self, records: usize) {
            let producer: BaseProducer = ClientConfig::new()
                .set("bootstrap.servers", self.cluster.bootstrap_servers())
                .create()
                .unwrap();
            for _ in 0..records {
                let record = BaseRecord::<(), _>::to("t").partition(0).payload("x");
                producer.send(record).unwrap();
            }
            producer.flush(Duration::from_secs(20)).unwrap();
        }

        /// Where the log parts from a last record under `leader_epoch` before `end`, with none up to `up_to`.
        fn parts_at(&self, leader_epoch: i32, end: i64, up_to: i64) -> Option<i64> {
            let tail = Tail { leader_epoch, end };
            let at = TopicPartition::new("t", 0);
            let read = BTreeMap::from([(at.clone(), Claim { tail, up_to })]);
            let found = self.prover.diverging(&read).unwrap();
            found.get(&at).copied()
        }
    }

    #[test]
    fn off_7_a_log_is_held_against_the_leader_epoch_of_what_was_read() {
        let mock = Mock::new();
        mock.produce(3);
        let first = (0..8)
            .find(|epoch| mock.parts_at(*epoch, 3, 3).is_none())
            .unwrap();
        mock.cluster.partition_leader("t", 0, Some(1)).unwrap();
        mock.produce(2);
        let second = (first + 1..first + 8)
            .find(|epoch| mock.parts_at(*epoch, 5, 5).is_none())
            .unwrap();
        // What was read is there, and another leader went on.
        assert_eq!(mock.parts_at(first, 3, 3), None);
        assert_eq!(mock.parts_at(first, 2, 2), None);
        // The first leader's part ends before what was read of it, though the log is long enough.
        assert_eq!(mock.parts_at(first, 5, 5), Some(3));
        assert_eq!(mock.parts_at(first, 9, 9), Some(3));
        // Where there was a marker at most, there is a record.
        assert_eq!(mock.parts_at(first, 3, 5), Some(3));
        // No leader epoch so low: nothing of it is there.
        assert_eq!(mock.parts_at(second + 5, 5, 5), Some(0));
        // No leader epoch is known: all that is asked is whether there is a record.
        assert_eq!(mock.parts_at(UNKNOWN_LEADER_EPOCH, 2, 4), Some(2));
        assert_eq!(mock.parts_at(UNKNOWN_LEADER_EPOCH, 5, 9), None);
        // The same question again, after all of these, has the same answer.
        assert_eq!(mock.parts_at(second, 5, 5), None);
    }
}
