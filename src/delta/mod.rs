//! The Delta table: the only truth about progress. Owns deltalake, the log, the commit (ARCHITECTURE section 4) and the opening of the object
//! store; writes no data file, reads no record and spawns nothing.

mod actions;
mod change;
mod checkpoint;
mod checkpoint_file;
mod checkpoint_writer;
mod cloud;
mod commit;
mod create;
mod durable;
mod entry;
mod error;
mod evolve;
mod features;
mod file_actions;
mod file_lines;
mod files;
mod log;
mod mend;
mod object_reader;
mod open;
mod outbox;
mod probe;
mod replay;
mod rewrite;
pub mod schema;
pub mod sources;
mod state;
mod table;
#[cfg(test)]
mod tests;
mod watermark;

pub use checkpoint_writer::Proof;
pub use error::Error;
pub use features::Support;
pub use files::{Extent, FileList, LiveFile, PartitionValues};
pub use log::{Doubts, LogFile, LogObject};
pub use mend::{LIFTED, Mend, Mending};
pub use object_reader::ObjectReader;
pub use open::{Store, TableStore};
pub use outbox::{Published, Publisher};
pub use table::{Creation, Table, TopicStart};
