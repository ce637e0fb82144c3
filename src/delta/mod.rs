//! The Delta table: the only truth about progress. Owns deltalake, the log, the commit (ARCHITECTURE section 4) and the opening of the object
//! store; writes no data file, reads no record and spawns nothing.

mod actions;
mod change;
mod checkpoint;
mod commit;
mod create;
mod durable;
mod entry;
mod error;
mod features;
mod log;
mod mend;
mod open;
mod probe;
mod replay;
pub mod schema;
pub mod sources;
mod state;
mod table;
#[cfg(test)]
mod tests;
mod watermark;

pub use error::Error;
pub use mend::{LIFTED, Mend, Mending};
pub use open::{Store, TableStore};
pub use table::{Creation, Table, TopicStart};
