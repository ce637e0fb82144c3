//! Who feeds the table: the property `lakeward.sources` and the appIds of the txns (OFF-6). Owns their spelling; the offsets are in the txns.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::model::identity::TopicIdentity;
use crate::model::offset::{Incarnation, TopicPartition};

/// The table property that names the sources.
pub const PROPERTY: &str = "lakeward.sources";

const APPLICATION: &str = "lakeward";

/// The topics that feed a table.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Sources {
    topics: BTreeMap<String, Topic>,
}

/// One topic as the table knows it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Topic {
    /// The cluster's id, where the broker told one.
    #[serde(default)]
    pub cluster_id: Option<String>,
    /// The topic's id, where the broker told one.
    #[serde(default)]
    pub topic_id: Option<String>,
    /// The `start` that was resolved for it, as the config said it.
    pub start: String,
    /// The incarnation of each topic partition that was ever named.
    pub topic_partitions: BTreeMap<i32, u32>,
    /// What a later Lakeward may add; kept.
    #[serde(flatten)]
    other: Map<String, Value>,
}

/// A topic that is new to a table, or has more topic partitions than the table names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopicStart {
    /// The topic.
    pub topic: Arc<str>,
    /// The cluster's id, where the broker tells one.
    pub cluster_id: Option<String>,
    /// The topic's id, where the broker tells one.
    pub topic_id: Option<String>,
    /// The `start` that was resolved, as the property is to say it.
    pub start: String,
    /// The first offset to read, by topic partition.
    pub offsets: BTreeMap<i32, i64>,
}

/// The appId under which the next offset of a topic partition is committed.
pub(crate) fn app_id(topic_partition: &TopicPartition, incarnation: Incarnation) -> String {
    format!(
        "{APPLICATION}/{}/{incarnation}/{}",
        topic_partition.topic, topic_partition.number
    )
}

/// The appIds beside it: the leader epoch of the last record that was read, and the offset after that record. Markers and gaps may lie between that and the next offset.
pub(crate) fn tail_app_ids(
    topic_partition: &TopicPartition,
    incarnation: Incarnation,
) -> [String; 2] {
    let next = app_id(topic_partition, incarnation);
    [
        format!("{next}/leader_epoch"),
        format!("{next}/leader_epoch_end"),
    ]
}

/// Whether a txn is one of ours.
pub(crate) fn is_ours(app_id: &str) -> bool {
    app_id
        .strip_prefix(APPLICATION)
        .is_some_and(|rest| rest.starts_with('/'))
}

/// The topic partition and incarnation whose next offset an appId holds; `None` for every other appId, ours or not.
pub(crate) fn parse_app_id(app_id: &str) -> Option<(TopicPartition, Incarnation)> {
    let mut pieces = app_id.split('/');
    let (application, topic, incarnation, number) = (
        pieces.next()?,
        pieces.next()?,
        pieces.next()?,
        pieces.next()?,
    );
    if application != APPLICATION || pieces.next().is_some() {
        return None;
    }
    Some((
        TopicPartition::new(topic, number.parse().ok()?),
        Incarnation(incarnation.parse().ok()?),
    ))
}

impl Sources {
    /// Reads the property; a table without it has no source.
    pub(crate) fn parse(property: Option<&str>) -> Result<Sources, String> {
        property.map_or_else(
            || Ok(Sources::default()),
            |text| {
                serde_json::from_str(text)
                    .map_err(|error| format!("the property {PROPERTY} is unreadable ({error})"))
            },
        )
    }

    /// The property's text.
    pub(crate) fn to_property(&self) -> Result<String, serde_json::Error> {
        serde_json::to_string(self)
    }

    /// The topic of that name.
    pub fn topic(&self, topic: &str) -> Option<&Topic> {
        self.topics.get(topic)
    }

    /// The topics by name.
    pub fn topics(&self) -> impl Iterator<Item = (&str, &Topic)> {
        self.topics
            .iter()
            .map(|(name, topic)| (name.as_str(), topic))
    }

    /// The incarnation that a topic partition is in, if the table names it.
    pub fn incarnation(&self, topic_partition: &TopicPartition) -> Option<Incarnation> {
        self.topics
            .get(&*topic_partition.topic)?
            .topic_partitions
            .get(&topic_partition.number)
            .copied()
            .map(Incarnation)
    }

    /// Every topic partition that the table names.
    pub fn topic_partitions(&self) -> impl Iterator<Item = (TopicPartition, Incarnation)> {
        self.topics.iter().flat_map(|(name, topic)| {
            topic
                .topic_partitions
                .iter()
                .map(move |(number, incarnation)| {
                    (
                        TopicPartition::new(name.as_str(), *number),
                        Incarnation(*incarnation),
                    )
                })
        })
    }

    /// Who a topic is, as the table pinned it.
    pub fn identity(&self, topic: &str) -> Option<TopicIdentity> {
        self.topics.get(topic).map(|topic| TopicIdentity {
            cluster_id: topic.cluster_id.clone(),
            topic_id: topic.topic_id.clone(),
        })
    }

    /// Pins who a topic is; whether the topic is named at all.
    pub(crate) fn set_identity(&mut self, topic: &str, identity: &TopicIdentity) -> bool {
        let Some(named) = self.topics.get_mut(topic) else {
            return false;
        };
        named.cluster_id.clone_from(&identity.cluster_id);
        named.topic_id.clone_from(&identity.topic_id);
        true
    }

    /// Begins an incarnation of a topic partition; one that is not higher than the last changes nothing.
    pub(crate) fn raise(&mut self, topic_partition: &TopicPartition, to: Incarnation) {
        if let Some(incarnation) = self
            .topics
            .get_mut(&*topic_partition.topic)
            .and_then(|topic| topic.topic_partitions.get_mut(&topic_partition.number))
        {
            *incarnation = (*incarnation).max(to.0);
        }
    }

    /// Takes over what `newer` says of one topic partition.
    pub(crate) fn take_over(&mut self, newer: &Sources, topic_partition: &TopicPartition) {
        if let Some(incarnation) = newer.incarnation(topic_partition)
            && let Some(topic) = self.topics.get_mut(&*topic_partition.topic)
        {
            topic
                .topic_partitions
                .insert(topic_partition.number, incarnation.0);
        }
    }

    /// Takes in the topics and topic partitions that only `newer` names; what both name stays as it is here.
    pub(crate) fn adopt(&mut self, newer: &Sources) {
        for (name, topic) in &newer.topics {
            let Some(known) = self.topics.get_mut(name) else {
                self.topics.insert(name.clone(), topic.clone());
                continue;
            };
            for (number, incarnation) in &topic.topic_partitions {
                known
                    .topic_partitions
                    .entry(*number)
                    .or_insert(*incarnation);
            }
        }
    }

    /// Names what `starts` has and these have not, in incarnation 0; answers what was added, with the first offset to read.
    pub(crate) fn begin(&mut self, starts: &[TopicStart]) -> Vec<(TopicPartition, i64)> {
        let mut begun = Vec::new();
        for start in starts {
            let topic = self
                .topics
                .entry(start.topic.to_string())
                .or_insert_with(|| Topic {
                    cluster_id: start.cluster_id.clone(),
                    topic_id: start.topic_id.clone(),
                    start: start.start.clone(),
                    topic_partitions: BTreeMap::new(),
                    other: Map::new(),
                });
            for (number, offset) in &start.offsets {
                if topic.topic_partitions.contains_key(number) {
                    continue;
                }
                topic.topic_partitions.insert(*number, 0);
                begun.push((
                    TopicPartition {
                        topic: Arc::clone(&start.topic),
                        number: *number,
                    },
                    *offset,
                ));
            }
        }
        begun
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn start(topic: &str, offsets: &[(i32, i64)]) -> TopicStart {
        TopicStart {
            topic: topic.into(),
            cluster_id: Some("c".to_owned()),
            topic_id: None,
            start: "earliest".to_owned(),
            offsets: offsets.iter().copied().collect(),
        }
    }

    #[test]
    fn off_6_app_ids_and_the_property_are_spelled_as_promised() {
        let topic_partition = TopicPartition::new("shop.orders", 7);
        assert_eq!(
            app_id(&topic_partition, Incarnation(2)),
            "lakeward/shop.orders/2/7"
        );
        assert_eq!(
            tail_app_ids(&topic_partition, Incarnation(2)),
            [
                "lakeward/shop.orders/2/7/leader_epoch",
                "lakeward/shop.orders/2/7/leader_epoch_end"
            ]
        );
        assert_eq!(
            parse_app_id("lakeward/shop.orders/2/7"),
            Some((topic_partition, Incarnation(2)))
        );
        assert_eq!(parse_app_id("lakeward/shop.orders/2/7/leader_epoch"), None);
        assert_eq!(
            parse_app_id("lakeward/shop.orders/2/7/leader_epoch_end"),
            None
        );
        assert_eq!(parse_app_id("lakeward/outbox"), None);
        assert_eq!(parse_app_id("other/shop.orders/2/7"), None);
        assert!(is_ours("lakeward/outbox") && !is_ours("lakewards/x"));

        let mut sources = Sources::default();
        sources.begin(&[start("shop.orders", &[(10, 5), (9, 0)])]);
        assert_eq!(
            sources.to_property().unwrap(),
            r#"{"shop.orders":{"cluster_id":"c","topic_id":null,"start":"earliest","topic_partitions":{"9":0,"10":0}}}"#
        );
    }

    #[test]
    fn what_a_later_version_adds_is_kept() {
        let text = r#"{"a":{"cluster_id":null,"topic_id":null,"start":"latest","topic_partitions":{"0":3},"novel":{"x":1}}}"#;
        let sources = Sources::parse(Some(text)).unwrap();
        assert_eq!(
            sources.incarnation(&TopicPartition::new("a", 0)),
            Some(Incarnation(3))
        );
        assert_eq!(sources.to_property().unwrap(), text);
        assert!(
            Sources::parse(Some("{"))
                .unwrap_err()
                .starts_with("the property lakeward.sources is unreadable")
        );
    }

    #[test]
    fn only_what_is_new_begins() {
        let mut sources = Sources::default();
        assert_eq!(
            sources.begin(&[start("a", &[(0, 5)])]),
            [(TopicPartition::new("a", 0), 5)]
        );
        assert_eq!(
            sources.begin(&[start("a", &[(0, 9), (1, 0)])]),
            [(TopicPartition::new("a", 1), 0)]
        );
        assert_eq!(sources.begin(&[start("a", &[(0, 9), (1, 7)])]), []);
    }
}
