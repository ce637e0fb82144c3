//! What keeps a table fast, out of the way of ingest and on its own snapshot. Owns when and what; the delta room owns the log, the writer room the files.

pub mod checkpoint;
pub mod clean_log;
pub mod compact;
mod error;
mod input;
mod joined;
mod memory;
mod pace;
pub mod plan;
mod store_clock;
pub mod upkeep;
pub mod vacuum;

pub use error::Error;
pub use memory::Memory;
pub use pace::Pace;

#[cfg(test)]
mod tests;
