//! `lakeward verify`: an audit that shares no code with the sink, from the log, the files and the topics alone. Owns the command; changes nothing.

mod against_kafka;
mod audit;
mod checkpoint;
mod coverage;
mod history;
mod log;
mod rejected;
mod report;
mod rows;
mod statistics;

use crate::error::Kind;
use crate::ops::cli::Verify;
use crate::ops::exit::{Ending, Failure, Outcome};
use crate::ops::kafka::Kafka;
use crate::ops::output;
use crate::ops::waiting::Patience;
use crate::ops::wiring;

pub(super) use audit::{Depth, Subject, audit, committed, live_files};
pub(super) use report::Report;

/// Audits the tables of a config.
pub(super) fn verify(request: &Verify, patience: &Patience) -> Outcome {
    let config = wiring::known(&request.config, patience)?;
    let kafka = request
        .against_kafka
        .then(|| Kafka::connect(&config.kafka, patience))
        .transpose()?;
    let depth = match &kafka {
        Some(kafka) => Depth::Topic(kafka),
        None if request.deep => Depth::Rows,
        None => Depth::Log,
    };
    let mut ending = Ending::Done;
    for table in wiring::tables(&config, &request.tables)? {
        let subject = Subject {
            objects: wiring::objects(&config.storage, table)?,
            prefix: table.metadata.prefix.clone(),
            rejected: wiring::rejected_objects(&config.storage, table)?,
        };
        match block_on(audit(&subject, depth, patience))?? {
            Some(report) => {
                output::line(&report.text(&table.name));
                if !report.is_clean() {
                    ending = Ending::Findings(Kind::Corrupt);
                }
            }
            None => output::line(&format!(
                "{}  no table yet: the sink has not committed to it",
                table.name
            )),
        }
    }
    Ok(ending)
}

/// Drives the reads of a command that ends by itself.
pub(super) fn block_on<F: Future>(future: F) -> Result<F::Output, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| {
            Failure::unavailable(format!("the machine gives no event loop: {error}"))
        })?;
    Ok(runtime.block_on(future))
}

#[cfg(test)]
mod tests;
