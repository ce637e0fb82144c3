//! What keeps a table fast, out of the way of ingest and on its own snapshot. Owns when; the delta room owns how.

pub mod checkpoint;
pub mod plan;
