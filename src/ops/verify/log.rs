//! The Delta log as an auditor reads it: which versions are there, what each says, tolerant of what others wrote. Shares no code with the sink, so that
//! one mistake cannot hide itself; judges nothing.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use futures::TryStreamExt as _;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt as _};
use serde::Deserialize;

use crate::ops::exit::Failure;
use crate::ops::waiting::Patience;

/// One line of an entry; actions that this audit does not need are skipped.
#[derive(Debug, Deserialize)]
struct Line {
    add: Option<Add>,
    remove: Option<Remove>,
    txn: Option<Txn>,
    #[serde(rename = "metaData")]
    metadata: Option<Metadata>,
    #[serde(rename = "commitInfo")]
    commit_info: Option<serde_json::Value>,
}

/// A file that becomes live.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Add {
    /// As written: URL-encoded.
    pub(crate) path: String,
    #[serde(default)]
    pub(crate) size: u64,
    #[serde(default)]
    pub(crate) partition_values: HashMap<String, Option<String>>,
    #[serde(default = "yes")]
    pub(crate) data_change: bool,
    pub(crate) stats: Option<String>,
    pub(crate) deletion_vector: Option<serde::de::IgnoredAny>,
}

fn yes() -> bool {
    true
}

/// A file that is live no more.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Remove {
    pub(crate) path: String,
    #[serde(default = "yes")]
    pub(crate) data_change: bool,
}

/// An application's mark.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Txn {
    pub(crate) app_id: String,
    pub(crate) version: i64,
}

#[derive(Debug, Deserialize)]
struct Metadata {
    id: String,
}

/// One of our spans as the commit declares it.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Span {
    pub(crate) topic: String,
    #[serde(default)]
    pub(crate) incarnation: u32,
    pub(crate) partition: i32,
    pub(crate) start: i64,
    pub(crate) end: i64,
    #[serde(default)]
    pub(crate) rows: u64,
    #[serde(default)]
    pub(crate) rejects: u64,
    #[serde(default)]
    pub(crate) skipped: u64,
    /// A count, a flag or the offsets themselves: anything but nothing declares the span as lost.
    #[serde(default)]
    lost: serde_json::Value,
}

impl Span {
    /// Whether the span is a declared hole.
    pub(crate) fn is_lost(&self) -> bool {
        match &self.lost {
            serde_json::Value::Null => false,
            serde_json::Value::Bool(lost) => *lost,
            serde_json::Value::Number(count) => count.as_u64() != Some(0),
            serde_json::Value::String(text) => !text.is_empty(),
            serde_json::Value::Array(list) => !list.is_empty(),
            serde_json::Value::Object(map) => !map.is_empty(),
        }
    }
}

/// What a commit says of its rejected records, as CONTRACT has it.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Outbox {
    pub(crate) prev: Option<u64>,
    pub(crate) table: String,
    pub(crate) files: Vec<Named>,
    #[serde(default)]
    pub(crate) replaced: Vec<Taken>,
    #[serde(default)]
    pub(crate) replayed: Vec<Replayed>,
}

/// A file of rejected records.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Named {
    pub(crate) path: String,
    pub(crate) size: u64,
    pub(crate) rows: u64,
}

/// A file of rejected records that is taken out.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Taken {
    pub(crate) path: String,
}

/// Rejected records that are rows of this version.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Replayed {
    pub(crate) topic: String,
    pub(crate) partition: i32,
    pub(crate) ranges: Vec<(i64, i64)>,
}

impl Replayed {
    /// How many.
    pub(crate) fn records(&self) -> u64 {
        let lengths = self.ranges.iter();
        lengths
            .map(|(start, end)| u64::try_from(end.saturating_sub(*start)).unwrap_or(0))
            .sum()
    }
}

/// What one version says.
#[derive(Debug, Default)]
pub(crate) struct Entry {
    pub(crate) version: u64,
    pub(crate) adds: Vec<Add>,
    pub(crate) removes: Vec<Remove>,
    pub(crate) txns: Vec<Txn>,
    /// `None`: not a commit of ours.
    pub(crate) spans: Option<Vec<Span>>,
    /// What it says of rejected records.
    pub(crate) outbox: Option<Outbox>,
    /// The table's id, where the entry sets it.
    pub(crate) table_id: Option<String>,
    /// What could not be read of it.
    pub(crate) damage: Vec<String>,
}

/// Which versions the log holds.
#[derive(Debug, Default)]
pub(crate) struct Listing {
    /// Versions with a JSON entry.
    pub(crate) entries: BTreeSet<u64>,
    /// The files of each checkpoint that is whole.
    pub(crate) checkpoints: BTreeMap<u64, Vec<Path>>,
}

/// Lists the log; `None` when there is no table.
pub(crate) async fn list(
    objects: &Arc<dyn ObjectStore>,
    patience: &Patience,
) -> Result<Option<Listing>, Failure> {
    let folder = Path::from("_delta_log");
    let listed = patience
        .wait(
            "the store (`storage.url`)",
            objects.list(Some(&folder)).try_collect::<Vec<_>>(),
        )
        .await?;
    let listed = listed.map_err(|error| unavailable("cannot list the log", error))?;
    let mut listing = Listing::default();
    let mut parts: BTreeMap<(u64, u64), Vec<Path>> = BTreeMap::new();
    for object in listed {
        let name: Vec<&str> = object
            .location
            .filename()
            .unwrap_or_default()
            .split('.')
            .collect();
        match name.as_slice() {
            [version, "json"] => listing.entries.extend(version.parse::<u64>()),
            [version, "checkpoint", "parquet"] => {
                version.parse().ok().and_then(|version| {
                    listing
                        .checkpoints
                        .insert(version, vec![object.location.clone()])
                });
            }
            [version, "checkpoint", _, of, "parquet"] => {
                if let (Ok(version), Ok(of)) = (version.parse(), of.parse()) {
                    parts
                        .entry((version, of))
                        .or_default()
                        .push(object.location.clone());
                }
            }
            _ => {}
        }
    }
    for ((version, of), paths) in parts {
        if paths.len() as u64 == of {
            listing.checkpoints.entry(version).or_insert(paths);
        }
    }
    Ok((!listing.entries.is_empty() || !listing.checkpoints.is_empty()).then_some(listing))
}

/// Reads one JSON entry.
pub(crate) async fn read(
    objects: &Arc<dyn ObjectStore>,
    version: u64,
    patience: &Patience,
) -> Result<Entry, Failure> {
    let path = Path::from(format!("_delta_log/{version:020}.json"));
    let bytes = patience
        .wait("the store (`storage.url`)", async {
            objects.get(&path).await?.bytes().await
        })
        .await?;
    let bytes = bytes.map_err(|error| unavailable(&format!("cannot read {path}"), error))?;
    Ok(parse(version, &String::from_utf8_lossy(&bytes)))
}

fn parse(version: u64, text: &str) -> Entry {
    let mut entry = Entry {
        version,
        ..Entry::default()
    };
    for (number, line) in text
        .lines()
        .enumerate()
        .filter(|(_, line)| !line.trim().is_empty())
    {
        match serde_json::from_str::<Line>(line) {
            Ok(line) => entry.take(line),
            Err(error) => entry.damage.push(format!(
                "line {} of version {version} cannot be read: {error}",
                number + 1
            )),
        }
    }
    entry
}

impl Entry {
    fn take(&mut self, line: Line) {
        self.adds.extend(line.add);
        self.removes.extend(line.remove);
        self.txns.extend(line.txn);
        self.table_id = line
            .metadata
            .map(|metadata| metadata.id)
            .or(self.table_id.take());
        let Some(ours) = line
            .commit_info
            .and_then(|mut info| info.get_mut("lakeward").map(serde_json::Value::take))
        else {
            return;
        };
        if let Some(outbox) = ours.get("outbox") {
            match Outbox::deserialize(outbox) {
                Ok(outbox) => self.outbox = Some(outbox),
                Err(error) => self.damage.push(format!(
                    "the outbox of version {} cannot be read: {error}",
                    self.version
                )),
            }
        }
        let spans = ours
            .get("spans")
            .cloned()
            .unwrap_or(serde_json::Value::Array(Vec::new()));
        match serde_json::from_value(spans) {
            Ok(spans) => self.spans = Some(spans),
            Err(error) => {
                self.damage.push(format!(
                    "the spans of version {} cannot be read: {error}",
                    self.version
                ));
                self.spans = Some(Vec::new());
            }
        }
    }
}

pub(super) fn unavailable(doing: &str, error: object_store::Error) -> Failure {
    Failure::new(crate::error::Kind::Unavailable, error).context(doing)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_is_read_tolerantly_and_damage_is_named() {
        let text = r#"{"commitInfo":{"operation":"WRITE","lakeward":{"name":"x","spans":[{"topic":"t","incarnation":0,"partition":3,"start":0,"end":5,"rows":4,"rejects":1,"skipped":0,"lost":0}]}}}
{"add":{"path":"a%20b.parquet","size":7,"partitionValues":{"p":null},"dataChange":true,"stats":"{}","baseRowId":9}}
{"txn":{"appId":"lakeward/t/0/3","version":5}}
{"somethingNew":{"x":1}}
{"add":{"size":"#;
        let entry = parse(7, text);
        assert_eq!(
            (entry.adds.len(), entry.txns[0].version, entry.damage.len()),
            (1, 5, 1)
        );
        let spans = entry.spans.unwrap();
        assert_eq!(
            (spans[0].rows, spans[0].rejects, spans[0].is_lost()),
            (4, 1, false)
        );
        assert!(
            entry.damage[0].starts_with("line 5 of version 7 cannot be read"),
            "{:?}",
            entry.damage
        );
    }

    #[test]
    fn a_foreign_commit_has_no_spans() {
        assert!(
            parse(0, r#"{"commitInfo":{"operation":"OPTIMIZE"}}"#)
                .spans
                .is_none()
        );
    }
}
