//! The only unsafe code: what librdkafka offers in C and rust-rdkafka does not. Owns the calls and who frees what; decides nothing.

mod queue;
mod topics;

pub use queue::{Fetch, FetchError, LaneHandle, LaneQueue};
pub(super) use topics::{Undescribed, topic_ids};
