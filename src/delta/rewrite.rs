//! The entry of a rewrite, and what excludes it: files in the place of others, no data change (COMP-1), none of them touched by anyone since the base (COMP-2).
//! deltalake's own check passes over removes without data change, so that two compactions of the same files both commit. Rewrites nothing itself.

use std::collections::{BTreeMap, HashSet};

use bytes::Bytes;
use serde::Serialize;

use crate::delta::actions::Entry;
use crate::delta::change::Refusal;
use crate::delta::entry::{Add, Info};
use crate::delta::error::Error;
use crate::delta::state::State;
use crate::model::commit::{Replaced, Rewrite};
use crate::trial::{self, Bug};

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
enum Action<'a> {
    CommitInfo(&'a Info),
    Remove(Remove<'a>),
    Add(Add<'a>),
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Remove<'a> {
    path: &'a str,
    deletion_timestamp: i64,
    data_change: bool,
    extended_file_metadata: bool,
    partition_values: &'a BTreeMap<String, Option<String>>,
    size: u64,
}

/// The entry's bytes.
pub(crate) fn entry(rewrite: &Rewrite, mut info: Info, now_ms: i64) -> Result<Bytes, Error> {
    let bytes_of = |sizes: &mut dyn Iterator<Item = u64>| sizes.sum::<u64>().to_string();
    info.operation = "OPTIMIZE";
    info.operation_parameters = BTreeMap::from([("predicate", "[]".to_owned())]);
    info.is_blind_append = false;
    info.operation_metrics = BTreeMap::from([
        ("numAddedFiles", rewrite.added().len().to_string()),
        (
            "numAddedBytes",
            bytes_of(&mut rewrite.added().iter().map(|file| file.size_bytes)),
        ),
        ("numRemovedFiles", rewrite.removed().len().to_string()),
        (
            "numRemovedBytes",
            bytes_of(&mut rewrite.removed().iter().map(|file| file.size_bytes)),
        ),
        ("numOutputRows", rewrite.rows().to_string()),
    ]);
    let mut text = Vec::new();
    let mut line = |action: Action<'_>| -> Result<(), Error> {
        serde_json::to_writer(&mut text, &action)
            .map_err(|error| Error::Bug(format!("a log entry cannot be written ({error})")))?;
        text.push(b'\n');
        Ok(())
    };
    line(Action::CommitInfo(&info))?;
    for file in rewrite.removed() {
        line(Action::Remove(Remove {
            path: &file.path_in_log,
            deletion_timestamp: now_ms,
            data_change: false,
            extended_file_metadata: true,
            partition_values: &file.partition_values,
            size: file.size_bytes,
        }))?;
    }
    for file in rewrite.added() {
        line(Action::Add(Add::new(file, false)))?;
    }
    Ok(text.into())
}

/// Whether somebody's entry on top of `base` took out, or put in anew, a file that the rewrite stands for: whatever its `dataChange` says.
pub(crate) fn excluded_by(rewrite: &Rewrite, base: &State, entry: &Entry) -> Option<Refusal> {
    if entry.touched.is_empty() || trial::has(Bug::StaleRewrite) {
        return None;
    }
    let touched: HashSet<&str> = entry.touched.iter().map(String::as_str).collect();
    let is_touched = |file: &&Replaced| touched.contains(file.key.as_str());
    let file = rewrite.removed().iter().find(is_touched)?;
    let author = entry
        .info
        .engine_info
        .as_deref()
        .unwrap_or("an unnamed engine");
    Some(Refusal::Conflict(format!(
        "version {} by {author} took out or rewrote `{}` (COMP-2)",
        base.version + 1,
        file.key
    )))
}
