//! A table's Delta properties. Owns which of them the sink can honour, and why it refuses the others.

use std::collections::BTreeMap;

use crate::config::problem::{Findings, one_of, suggestion};
use crate::config::section::{Pair, Section, join};

const ALLOWED: [&str; 5] = [
    "delta.appendOnly",
    "delta.checkpointInterval",
    "delta.logRetentionDuration",
    "delta.deletedFileRetentionDuration",
    "delta.dataSkippingNumIndexedCols",
];

/// Properties that would break the sink or its readers, with the reason.
const REFUSED: &[(&str, &str)] = &[
    (
        "delta.setTransactionRetentionDuration",
        "it would make the table forget the committed offsets",
    ),
    (
        "delta.enableDeletionVectors",
        "it needs a newer protocol than plain tables have, which DuckDB, Polars and others may not read",
    ),
    (
        "delta.enableChangeDataFeed",
        "the sink does not write change data; appends can be read from the log by version",
    ),
    (
        "delta.columnMapping.mode",
        "files are written with the columns' own names",
    ),
    (
        "delta.columnMapping.maxColumnId",
        "files are written with the columns' own names",
    ),
    (
        "delta.enableTypeWidening",
        "the type of a column never changes here",
    ),
    ("delta.enableRowTracking", "the sink does not write row ids"),
    (
        "delta.enableInCommitTimestamps",
        "the sink does not write them",
    ),
    ("delta.enableIcebergCompatV1", "it needs column mapping"),
    ("delta.enableIcebergCompatV2", "it needs column mapping"),
    (
        "delta.isolationLevel",
        "the sink checks its offsets before each commit, which is stricter",
    ),
    (
        "delta.minReaderVersion",
        "tables are created at the lowest protocol that holds their types",
    ),
    (
        "delta.minWriterVersion",
        "tables are created at the lowest protocol that holds their types",
    ),
    (
        "delta.checkpointPolicy",
        "classic checkpoints are written, which every engine reads",
    ),
];

pub(super) fn resolve(
    table: &Section,
    findings: &mut Findings,
) -> Option<BTreeMap<String, String>> {
    let path = join(&table.path, "properties");
    let pairs = table.pairs("properties")?;
    for pair in pairs {
        if let Some(message) = complaint(pair) {
            findings.say(pair.place, &join(&path, &pair.name), message);
        }
    }
    Some(
        pairs
            .iter()
            .map(|pair| (pair.name.clone(), pair.value.text.clone()))
            .collect(),
    )
}

fn complaint(pair: &Pair) -> Option<String> {
    let name = pair.name.as_str();
    let lower = name.to_lowercase();
    if lower.starts_with("lakeward.") {
        return Some(
            "is refused: properties under `lakeward.` are the sink's own; choose another name"
                .to_owned(),
        );
    }
    if lower.starts_with("delta.constraints.") {
        return Some(
            "is refused: the sink does not check constraints; filter when reading".to_owned(),
        );
    }
    if !lower.starts_with("delta.") {
        return None;
    }
    if let Some((_, reason)) = REFUSED
        .iter()
        .find(|(refused, _)| refused.eq_ignore_ascii_case(name))
    {
        return Some(format!("is refused: {reason}; remove it"));
    }
    if !ALLOWED.contains(&name) {
        return Some(format!(
            "is refused: it is none of {}, and what it asks for may not be honoured{}",
            one_of(&ALLOWED),
            suggestion(name, ALLOWED)
        ));
    }
    let value = pair.value.text.trim();
    let expected = match name {
        "delta.appendOnly" => (!matches!(value, "true" | "false")).then_some("`true` or `false`"),
        "delta.checkpointInterval" => (!value.parse::<u32>().is_ok_and(|number| number > 0))
            .then_some("a whole number from 1, such as `100`"),
        "delta.dataSkippingNumIndexedCols" => {
            (!value.parse::<i32>().is_ok_and(|number| number >= -1))
                .then_some("a whole number from -1, such as `32`")
        }
        _ => (!is_interval(value)).then_some("an interval, such as `interval 30 days`"),
    };
    expected.map(|expected| format!("{} is not {expected}", pair.value.shown))
}

/// `interval 30 days`, as Delta writes it.
fn is_interval(value: &str) -> bool {
    let lower = value.to_lowercase();
    let words: Vec<&str> = lower.split_whitespace().collect();
    match words.as_slice() {
        ["interval", number, unit] => {
            let unit = unit.strip_suffix('s').unwrap_or(unit);
            number.parse::<u32>().is_ok()
                && matches!(
                    unit,
                    "millisecond" | "second" | "minute" | "hour" | "day" | "week"
                )
        }
        _ => false,
    }
}
