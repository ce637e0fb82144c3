//! Between decoded rows and a flush: what accumulates, when it is sealed, how much memory all of it may take. Pure or nearly so; encodes nothing, waits for nothing.

pub mod accumulator;
pub mod budget;
pub mod flush_policy;
pub mod reject_rate;

pub use accumulator::{Accumulator, Sealed};
pub use budget::Budget;
pub use flush_policy::{BufferState, Decision, FlushEstimate, Limits, Reason, decide};
pub use reject_rate::{RejectRate, TooMany};
