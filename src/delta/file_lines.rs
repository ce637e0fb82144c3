//! What a file list reads of actions in text form, in entries and in checkpoints of JSON. Owns the tolerant reading of lines; what they do to a list is the list's.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::delta::actions::{Metadata, Protocol, Txn};

/// One action, as far as a file list cares.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Line {
    pub(super) protocol: Option<Protocol>,
    pub(super) meta_data: Option<Metadata>,
    pub(super) txn: Option<Txn>,
    pub(super) add: Option<AddLine>,
    pub(super) remove: Option<RemoveLine>,
    pub(super) sidecar: Option<SidecarLine>,
}

/// A file that comes in.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct AddLine {
    pub(super) path: String,
    #[serde(default)]
    pub(super) partition_values: BTreeMap<String, Option<String>>,
    pub(super) size: u64,
    #[serde(default)]
    pub(super) modification_time: i64,
    pub(super) stats: Option<String>,
    pub(super) deletion_vector: Option<serde::de::IgnoredAny>,
}

/// A file that goes out.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct RemoveLine {
    pub(super) path: String,
    pub(super) deletion_timestamp: Option<i64>,
}

/// A file of a checkpoint that holds more of it.
#[derive(Deserialize)]
pub(super) struct SidecarLine {
    pub(super) path: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Stats {
    num_records: Option<u64>,
}

/// The rows that a file's statistics tell.
pub(crate) fn rows_of(stats: &str) -> Option<u64> {
    serde_json::from_str::<Stats>(stats).ok()?.num_records
}

/// The actions of a text, one to a line.
pub(super) fn parse(bytes: &[u8]) -> Result<Vec<Line>, String> {
    let mut lines = Vec::new();
    for (index, text) in bytes.split(|byte| *byte == b'\n').enumerate() {
        if text.trim_ascii().is_empty() {
            continue;
        }
        lines.push(
            serde_json::from_slice::<Line>(text)
                .map_err(|error| format!("line {} is not a Delta action ({error})", index + 1))?,
        );
    }
    if lines.is_empty() {
        return Err("the entry is empty, as after a power loss during its write".to_owned());
    }
    Ok(lines)
}
