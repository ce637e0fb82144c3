//! Who a topic is beyond its name: a topic of the same name can be another one, or of another cluster. Does not say what to do about it.

/// A topic's identity as far as the broker tells it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TopicIdentity {
    /// The cluster's id.
    pub cluster_id: Option<String>,
    /// The topic's id, new with each creation; brokers before Kafka 2.8 have none.
    pub topic_id: Option<String>,
}
