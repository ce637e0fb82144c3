//! `lakeward dlq`: rejected records counted, shown and decoded again. Owns what is printed; what a replay does is the pipeline's.

mod list;
mod read;
mod show;

use serde::Serialize;

use crate::config::settings::{ErrorMode, Table};
use crate::ops::cli::{DlqReplay, Format};
use crate::ops::exit::{Ending, Failure, Outcome};
use crate::ops::output::{self, thousands};
use crate::ops::progress::Progress;
use crate::ops::waiting::Patience;
use crate::ops::wiring;
use crate::pipeline::{self, Replayed};

pub(super) use list::list;
pub(super) use show::show;

/// Decodes a table's rejected records again.
pub(super) fn replay(request: &DlqReplay, patience: &Patience) -> Outcome {
    let config = wiring::known(&request.config, patience)?;
    let table = table(&config.tables, &request.table)?;
    let total = read::count(&config, table, patience)?;
    let progress = Progress::over("rejected records", total);
    let times = (patience.clock(), patience.limit());
    let replayed = pipeline::replay(&config, table, times, &mut |done| progress.at(done));
    progress.done();
    let replayed = replayed
        .map_err(|error| Failure::new(error.kind(), error))?
        .unwrap_or_default();
    output::line(&match request.format {
        Format::Text => sentence(table, &replayed),
        Format::Json => json(&Answer::of(table, &replayed))?,
    });
    Ok(Ending::Done)
}

/// What a program reads of a replay.
#[derive(Serialize)]
struct Answer<'a> {
    table: &'a str,
    records: u64,
    rows: u64,
    still_rejected: u64,
    without_bytes: u64,
    skipped: u64,
    commits: u64,
}

impl<'a> Answer<'a> {
    fn of(table: &'a Table, replayed: &Replayed) -> Self {
        Answer {
            table: &table.name,
            records: replayed.records,
            rows: replayed.rows,
            still_rejected: replayed.rejects,
            without_bytes: replayed.without_bytes,
            skipped: replayed.skipped,
            commits: replayed.commits,
        }
    }
}

fn sentence(table: &Table, replayed: &Replayed) -> String {
    let mut parts = vec![format!(
        "{}: {} rejected records were decoded again: {} are rows now and left `{}`",
        table.name,
        thousands(replayed.records),
        thousands(replayed.rows),
        table.errors.table
    )];
    let mut stay = |count: u64, why: &str| {
        if count > 0 {
            parts.push(format!("{} stay: {why}", thousands(count)));
        }
    };
    stay(replayed.rejects, "they still cannot be decoded");
    stay(
        replayed.without_bytes,
        "their bytes were not kept (errors.raw, limits.record_bytes)",
    );
    stay(
        replayed.skipped,
        "they are tombstones, which the table skips (tombstones)",
    );
    parts.join("; ")
}

/// The one table that was asked for; it must keep rejected records.
fn table<'a>(tables: &'a [Table], name: &str) -> Result<&'a Table, Failure> {
    let Some(table) = tables.iter().find(|table| table.name == name) else {
        let known: Vec<&str> = tables.iter().map(|table| table.name.as_str()).collect();
        return Err(Failure::invalid(format!(
            "--table {name}: the config has no such table; it has {}",
            known.join(", ")
        )));
    };
    if table.errors.mode != ErrorMode::Dlq {
        tracing::warn!(
            table = name,
            folder = table.errors.table,
            "errors.mode is not dlq: only what was rejected while it was is here"
        );
    }
    Ok(table)
}

fn json(answer: &impl Serialize) -> Result<String, Failure> {
    serde_json::to_string_pretty(answer)
        .map_err(|error| Failure::bug(format!("cannot write JSON: {error}")))
}
