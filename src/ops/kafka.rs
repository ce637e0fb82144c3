//! What commands ask Kafka, with their patience. Owns how the source's answers become failures; the client is the source's.

use crate::clock::Clock;
use crate::config::settings;
use crate::model::offset::{Span, TopicPartition};
use crate::ops::exit::Failure;
use crate::ops::waiting::Patience;
use crate::source::{Coordinates, Error, Lookup, Questions as _, Watermarks};

/// A connection for questions.
#[derive(Debug)]
pub(crate) struct Kafka {
    lookup: Lookup,
    coordinates: Coordinates,
}

impl Kafka {
    /// Makes clients from `kafka.*`; does not wait for a broker.
    pub(crate) fn connect(
        settings: &settings::Kafka,
        patience: &Patience,
    ) -> Result<Self, Failure> {
        let limit = patience.limit();
        Ok(Kafka {
            lookup: Lookup::new(settings, limit, patience.clock()).map_err(failed)?,
            coordinates: Coordinates::new(settings, limit, Clock::clone(patience.clock()))
                .map_err(failed)?,
        })
    }

    /// How many brokers there are, and the cluster's id, where it has one.
    pub(crate) fn cluster(&self) -> Result<(usize, Option<String>), Failure> {
        let brokers = self.coordinates.brokers().map_err(failed)?;
        Ok((
            brokers,
            self.lookup.cluster_id().filter(|id| !id.is_empty()),
        ))
    }

    /// Whether the consumer group may be used.
    pub(crate) fn check_group(&self) -> Result<(), Failure> {
        self.coordinates.check_group().map_err(failed)
    }

    /// The partitions of a topic, ascending.
    pub(crate) fn topic_partitions(&self, topic: &str) -> Result<Vec<TopicPartition>, Failure> {
        self.lookup.topic_partitions(topic).map_err(failed)
    }

    /// Where a topic partition starts and ends.
    pub(crate) fn watermarks(&self, of: &TopicPartition) -> Result<Watermarks, Failure> {
        self.lookup.watermarks_of(of).map_err(failed)
    }

    /// Hands out the offset of each record in `span`, ascending.
    pub(crate) fn records(
        &self,
        of: &TopicPartition,
        span: Span,
        each: &mut dyn FnMut(i64),
    ) -> Result<(), Failure> {
        self.coordinates.records(of, span, each).map_err(failed)
    }
}

fn failed(error: Error) -> Failure {
    Failure::new(error.kind(), error)
}
