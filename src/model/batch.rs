//! Fetched and rejected records on their way to a table. Owns what travels together; stages own what happens to it.

use crate::model::epoch::Epoch;
use crate::model::memory::Permit;
use crate::model::offset::{Span, TopicPartition};
use crate::model::record::Records;

/// Records as fetched from one topic partition, with the span that they and the gaps before them cover.
#[derive(Debug)]
pub struct RawBatch {
    /// The right under which they were fetched.
    pub epoch: Epoch,
    /// Where they come from.
    pub topic_partition: TopicPartition,
    /// Starts where the table that is furthest behind stands; covers gaps, and may hold no record at all.
    pub span: Span,
    /// The records, offsets ascending, all inside the span.
    pub records: Records,
    /// The memory they hold.
    pub permit: Permit,
}

/// A record that could not become a row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reject {
    /// Where it is.
    pub topic_partition: TopicPartition,
    /// Its offset.
    pub offset: i64,
    /// What is wrong, in one stable word, such as `truncated` or `type_mismatch`.
    pub code: &'static str,
    /// The field it concerns, such as `items[2].price`; empty for the record itself.
    pub path: String,
    /// The sentence for a person, with the value.
    pub message: String,
    /// The id of its writer schema, where its frame has one.
    pub schema_id: Option<u32>,
}
