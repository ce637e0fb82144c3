//! The leader epoch of a position to seek to, which rust-rdkafka's lists carry but do not show. Owns one call.

use std::ffi::CString;

use rdkafka::bindings as sys;
use rdkafka::topic_partition_list::TopicPartitionList;

use crate::model::offset::TopicPartition;

/// Names the leader epoch of the last record before the offset that the list has for a topic partition; whether the list has it. A seek to a position with a leader epoch
/// makes librdkafka ask the leader about it before anything is fetched (KIP-320); an assignment does not.
#[expect(unsafe_code, reason = "sets a field of a list that rust-rdkafka owns")]
pub(in crate::source) fn set_leader_epoch(
    list: &mut TopicPartitionList,
    topic_partition: &TopicPartition,
    leader_epoch: i32,
) -> bool {
    let Ok(topic) = CString::new(topic_partition.topic.as_bytes()) else {
        return false;
    };
    // SAFETY: the list is valid and borrowed for us alone; what is found in it is written before anything else touches the list.
    unsafe {
        let found = sys::rd_kafka_topic_partition_list_find(
            list.ptr(),
            topic.as_ptr(),
            topic_partition.number,
        );
        if found.is_null() {
            return false;
        }
        sys::rd_kafka_topic_partition_set_leader_epoch(found, leader_epoch);
    }
    true
}
