//! Builds the stages and holds their lives: threads, tasks, channels, table life cycles, the order of shutdown. The only room where stages meet. Decides nothing
//! that a stage could decide alone.

mod assembly;
mod beside;
mod caught_up;
mod cause;
mod control;
mod discover;
mod error;
mod family;
mod flusher;
mod growth;
mod lane;
mod maintain;
mod obey;
mod orders;
mod plan;
mod preview;
mod replay;
mod revoke;
mod run;
mod schemas;
mod settle;
mod share;
#[cfg(test)]
mod simulation;
pub mod status;
mod topics;
mod way_out;

pub use error::Error;
pub use orders::{Answer, Order, Orders};
pub use preview::{Begin, BegunBy, Preview, Sample, preview};
pub use replay::{Replayed, replay};
pub use run::{RunOptions, Stop, Surroundings, run};
pub use status::Status;
pub use topics::{Known, known};
pub use way_out::{Lifted, Place, WayOut};
