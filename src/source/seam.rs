//! What the pipeline asks of Kafka, as traits: this room is the real one, `testing` scripts another for simulations. Owns the narrow face; no behaviour.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::time::Duration;

use crate::model::identity::TopicIdentity;
use crate::model::lineage::Claim;
use crate::model::offset::TopicPartition;
use crate::source::error::Error;
use crate::source::group::{Event, Group};
use crate::source::lookup::{Lookup, StartAt, Watermarks};
use crate::source::native::{Fetch, LaneHandle, LaneQueue};

/// A lane's queue of records.
pub trait Fetches: Debug + Send {
    /// Waits up to `timeout` for records.
    fn poll(&mut self, timeout: Duration) -> Vec<Fetch>;
}

/// The other end of a lane's queue, on the control thread.
pub trait Forwards: Debug {
    /// Forwards a topic partition to the lane; to be called before it is assigned.
    fn attach(&self, topic_partition: &TopicPartition) -> Result<(), Error>;
}

/// Membership in the consumer group, as `Group` has it.
pub trait Member: Debug {
    /// Joins the group for these topics.
    fn subscribe(&self, topics: &[&str]) -> Result<(), Error>;
    /// Serves the client for up to `timeout` and tells what happened.
    fn poll(&mut self, timeout: Duration) -> Vec<Event>;
    /// Takes topic partitions into the assignment: at their offset, or parked (`None`).
    fn assign(&mut self, starts: &BTreeMap<TopicPartition, Option<i64>>) -> Result<(), Error>;
    /// What stays assigned while these come or go. Nothing under an eager protocol, which changes an assignment only as a whole.
    fn retained(&self, changed: &[TopicPartition]) -> Vec<TopicPartition>;
    /// Answers a revocation: from here on others may own these.
    fn acknowledge(&mut self, revoked: &[TopicPartition]) -> Result<(), Error>;
    /// Takes topic partitions out of the assignment that are to be assigned again, at other offsets, all of them under an eager protocol; then they may be attached.
    fn take_back(&mut self, all: &[TopicPartition]) -> Result<(), Error>;
    /// Whether assignments come and go in parts.
    fn is_cooperative(&self) -> bool;
    /// Lets paused topic partitions be fetched again, from these offsets; answers those that stay paused because they cannot be sought yet.
    fn resume_at(
        &self,
        starts: &BTreeMap<TopicPartition, i64>,
    ) -> Result<BTreeMap<TopicPartition, i64>, Error>;
    /// Stops fetching these; what was fetched is dropped.
    fn pause(&self, all: &[TopicPartition]) -> Result<(), Error>;
    /// Tells the group where the tables stand; information only (OFF-5).
    fn report_offsets(&self, offsets: &BTreeMap<TopicPartition, i64>);
    /// Leaves the group.
    fn close(self: Box<Self>);
}

/// Questions to the cluster. Blocks; never asked on the control thread.
pub trait Questions: Debug + Send + Sync {
    /// The cluster's id, where the broker has one.
    fn cluster_id(&self) -> Option<String>;
    /// Who these topics are now, beyond their names.
    fn identities(&self, topics: &[String]) -> Result<BTreeMap<String, TopicIdentity>, Error>;
    /// The names of all topics that may be seen.
    fn topics(&self) -> Result<Vec<String>, Error>;
    /// The topic's partitions, ascending.
    fn topic_partitions(&self, topic: &str) -> Result<Vec<TopicPartition>, Error>;
    /// Starts and ends of these topic partitions' logs; none is missing from the answer.
    fn watermarks(
        &self,
        all: &[TopicPartition],
    ) -> Result<BTreeMap<TopicPartition, Watermarks>, Error>;
    /// Start and end of one topic partition's log.
    fn watermarks_of(&self, it: &TopicPartition) -> Result<Watermarks, Error> {
        let marks = self.watermarks(std::slice::from_ref(it))?;
        marks.get(it).copied().ok_or_else(|| Error::Refused {
            doing: "tell the offsets of",
            topic_partition: it.clone(),
            reason: "the answer does not have it".to_owned(),
        })
    }
    /// The topic partitions whose logs do not hold what was read of them (KIP-320), each with the offset where its log parts from that.
    fn diverging(
        &self,
        read: &BTreeMap<TopicPartition, Claim>,
    ) -> Result<BTreeMap<TopicPartition, i64>, Error>;
    /// The first offset to read of each topic partition.
    fn start_offsets(
        &self,
        all: &[TopicPartition],
        start: StartAt,
    ) -> Result<BTreeMap<TopicPartition, i64>, Error>;
}

impl Fetches for LaneQueue {
    fn poll(&mut self, timeout: Duration) -> Vec<Fetch> {
        LaneQueue::poll(self, timeout)
    }
}

impl Forwards for LaneHandle {
    fn attach(&self, topic_partition: &TopicPartition) -> Result<(), Error> {
        LaneHandle::attach(self, topic_partition)
    }
}

impl Member for Group {
    fn retained(&self, changed: &[TopicPartition]) -> Vec<TopicPartition> {
        Group::retained(self, changed)
    }
    fn subscribe(&self, topics: &[&str]) -> Result<(), Error> {
        Group::subscribe(self, topics)
    }

    fn poll(&mut self, timeout: Duration) -> Vec<Event> {
        Group::poll(self, timeout)
    }

    fn assign(&mut self, starts: &BTreeMap<TopicPartition, Option<i64>>) -> Result<(), Error> {
        Group::assign(self, starts)
    }

    fn acknowledge(&mut self, revoked: &[TopicPartition]) -> Result<(), Error> {
        Group::acknowledge(self, revoked)
    }

    fn take_back(&mut self, all: &[TopicPartition]) -> Result<(), Error> {
        Group::take_back(self, all)
    }

    fn is_cooperative(&self) -> bool {
        Group::is_cooperative(self)
    }

    fn resume_at(
        &self,
        starts: &BTreeMap<TopicPartition, i64>,
    ) -> Result<BTreeMap<TopicPartition, i64>, Error> {
        Group::resume_at(self, starts)
    }

    fn pause(&self, all: &[TopicPartition]) -> Result<(), Error> {
        Group::pause(self, all)
    }

    fn report_offsets(&self, offsets: &BTreeMap<TopicPartition, i64>) {
        Group::report_offsets(self, offsets);
    }

    fn close(self: Box<Self>) {
        Group::close(*self);
    }
}

impl Questions for Lookup {
    fn cluster_id(&self) -> Option<String> {
        Lookup::cluster_id(self)
    }

    fn identities(&self, topics: &[String]) -> Result<BTreeMap<String, TopicIdentity>, Error> {
        Lookup::identities(self, topics)
    }

    fn topics(&self) -> Result<Vec<String>, Error> {
        Lookup::topics(self)
    }

    fn topic_partitions(&self, topic: &str) -> Result<Vec<TopicPartition>, Error> {
        Lookup::topic_partitions(self, topic)
    }

    fn watermarks(
        &self,
        all: &[TopicPartition],
    ) -> Result<BTreeMap<TopicPartition, Watermarks>, Error> {
        Lookup::watermarks(self, all)
    }

    fn diverging(
        &self,
        read: &BTreeMap<TopicPartition, Claim>,
    ) -> Result<BTreeMap<TopicPartition, i64>, Error> {
        Lookup::diverging(self, read)
    }

    fn start_offsets(
        &self,
        all: &[TopicPartition],
        start: StartAt,
    ) -> Result<BTreeMap<TopicPartition, i64>, Error> {
        Lookup::start_offsets(self, all, start)
    }
}
