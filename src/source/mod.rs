//! Kafka, and everything that names rdkafka. Owns the consumer group, its events, the queues that lanes poll, and questions to the cluster. Does not
//! decide where a topic partition starts (the table says), nor what happens to records.

mod client;
mod coordinates;
mod error;
mod group;
mod lookup;
mod native;
mod proof;
mod seam;

pub use coordinates::Coordinates;
pub use error::Error;
pub use group::{Event, Group, Shares};
pub use lookup::{Lookup, StartAt, Watermarks};
pub use native::{Fetch, FetchError, LaneHandle, LaneQueue};
pub use seam::{Fetches, Forwards, Member, Questions};
