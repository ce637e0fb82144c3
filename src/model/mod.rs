//! The values that flow between stages, and the invariants that travel inside them. Names no stage, does no I/O, is never serialised as it is.

pub mod batch;
pub mod commit;
pub mod epoch;
pub mod identity;
pub mod lineage;
pub mod memory;
pub mod offset;
pub mod progress;
pub mod record;
