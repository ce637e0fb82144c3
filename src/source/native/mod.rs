//! The only unsafe code: what librdkafka offers in C and rust-rdkafka does not. Owns the calls and who frees what; decides nothing.

mod leader_epoch;
mod queue;
mod topics;

pub(super) use leader_epoch::set_leader_epoch;
pub use queue::{Fetch, FetchError, LaneHandle, LaneQueue};
pub(super) use topics::{Undescribed, topic_ids};
