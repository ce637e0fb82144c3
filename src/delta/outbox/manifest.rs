//! What a commit of the main table says of its rejected records: `commitInfo.lakeward.outbox`, and the txns that find it again. Owns both on disk (DLQ-1); reads and
//! writes no log.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::clock::Instant;
use crate::delta::actions::Txn;
use crate::delta::state::State;
use crate::model::commit::{Outbox, Replaced, Replay, StagedFile};
use crate::model::offset::{Span, TopicPartition};

/// What precedes the folder in the main table's appId.
const NAMED: &str = "lakeward/outbox:";
/// What precedes the main table's id in the other table's appId.
const SHOWN: &str = "lakeward/outbox/";
/// The main table's txn of the last replay.
pub(crate) const REPLAY: &str = "lakeward/replay";

/// The main table's txn of the newest version that has rejected records for the table in this folder. Slashes are escaped, so that no folder makes an appId of a
/// source.
pub(crate) fn named_app_id(table: &str) -> String {
    format!("{NAMED}{}", table.replace('/', "%2F"))
}

/// The folder that such a txn is about.
fn folder(app_id: &str) -> Option<String> {
    Some(app_id.strip_prefix(NAMED)?.replace("%2F", "/"))
}

/// The txn of a table of rejected records: the newest version of a main table whose rejected records it shows.
pub(crate) fn shown_app_id(main_id: &str) -> String {
    format!("{SHOWN}{main_id}")
}

/// The id of the main table that such a txn is about.
pub(crate) fn shown_of(app_id: &str) -> Option<&str> {
    app_id.strip_prefix(SHOWN)
}

/// The folders that a main table has named, each with the newest version that did.
pub(crate) fn heads(main: &State) -> BTreeMap<String, u64> {
    let ours = main.txns.range(NAMED.to_owned()..);
    ours.map_while(|(app_id, version)| {
        Some((folder(app_id)?, u64::try_from(*version).unwrap_or(0)))
    })
    .collect()
}

/// The rejected records of one commit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Manifest {
    /// The version before with some for the same table.
    pub(crate) prev: Option<u64>,
    /// The folder of their table under the store's root.
    pub(crate) table: String,
    /// Files of that table that the next one to come shows.
    pub(crate) files: Vec<Named>,
    /// Files of that table that it takes out, because what they held is in `files` or in the main table.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) replaced: Vec<Taken>,
    /// The records that are rows of this version.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) replayed: Vec<Coordinates>,
}

/// A file with all that its `add` needs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Named {
    path: String,
    size: u64,
    rows: u64,
    stats: String,
    modification_time: i64,
}

/// A file that is taken out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Taken {
    /// As the log has it.
    pub(crate) path: String,
    pub(crate) size: u64,
}

/// Offsets of one topic partition.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Coordinates {
    topic: String,
    partition: i32,
    /// Half-open ranges, each of them full.
    ranges: Vec<[i64; 2]>,
}

impl Manifest {
    /// What an append says.
    pub(crate) fn of(outbox: &Outbox, base: &State) -> Manifest {
        Manifest {
            prev: heads(base).get(&outbox.table).copied(),
            table: outbox.table.clone(),
            files: outbox.files.iter().map(Named::of).collect(),
            replaced: Vec::new(),
            replayed: Vec::new(),
        }
    }

    /// What a replay says.
    pub(crate) fn of_replay(replay: &Replay, base: &State) -> Manifest {
        let taken = |file: &Replaced| Taken {
            path: file.path_in_log.clone(),
            size: file.size_bytes,
        };
        Manifest {
            replaced: replay.replaced.iter().map(taken).collect(),
            replayed: replay.coordinates.iter().map(Coordinates::of).collect(),
            ..Manifest::of(&replay.outbox, base)
        }
    }

    /// The txn that finds it again.
    pub(crate) fn txn(&self, version: u64) -> Txn {
        Txn {
            app_id: named_app_id(&self.table),
            version: i64::try_from(version).unwrap_or(i64::MAX),
        }
    }

    /// Reads `commitInfo.lakeward`; `None` when that commit has no rejected records.
    pub(crate) fn read(lakeward: &Value) -> Result<Option<Manifest>, String> {
        lakeward
            .get("outbox")
            .map(|outbox| {
                Manifest::deserialize(outbox)
                    .map_err(|error| format!("its outbox is unreadable ({error})"))
            })
            .transpose()
    }
}

impl Named {
    fn of(file: &StagedFile) -> Named {
        Named {
            path: file.path.clone(),
            size: file.size_bytes,
            rows: file.rows,
            stats: file.stats.clone(),
            modification_time: file.modified_ms,
        }
    }

    pub(crate) fn to_staged(&self) -> StagedFile {
        StagedFile {
            path: self.path.clone(),
            partition_values: BTreeMap::new(),
            size_bytes: self.size,
            rows: self.rows,
            stats: self.stats.clone(),
            modified_ms: self.modification_time,
            // Nobody asks: what an entry names is no vacuum's, however long it waits.
            staged: Instant::from_millis(0),
        }
    }
}

impl Coordinates {
    fn of((topic_partition, spans): (&TopicPartition, &Vec<Span>)) -> Coordinates {
        Coordinates {
            topic: topic_partition.topic.to_string(),
            partition: topic_partition.number,
            ranges: spans
                .iter()
                .map(|span| [span.start(), span.end()])
                .collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::delta::sources::parse_app_id;

    #[test]
    fn off_6_a_folder_never_makes_the_app_id_of_a_source() {
        for table in ["orders__dlq", "a/0/1", "0/1"] {
            let app_id = named_app_id(table);
            assert_eq!(parse_app_id(&app_id), None, "{app_id}");
            assert_eq!(folder(&app_id).as_deref(), Some(table));
        }
    }
}
