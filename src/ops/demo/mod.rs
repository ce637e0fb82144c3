//! `lakeward demo`
mod broker;
mod orders;
mod registry;
use crate::ops::cli::Demo;
use crate::ops::exit::{Failure, Outcome};
use crate::ops::waiting::Patience;
pub(super) fn demo(_request: &Demo, _patience: &Patience) -> Outcome {
    Err(Failure::bug("todo"))
}
