//! The Delta actions that a writer must understand, as the protocol spells them, and what one log entry says of them. Owns their JSON; every other
//! action, of today or tomorrow, is passed over, so that a foreign entry cannot break a reader that only settles its own commit.

use std::collections::BTreeMap;
use std::collections::hash_map::DefaultHasher;
use std::hash::Hasher as _;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use serde_json::{Map, Value};

/// What a reader and a writer must support.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Protocol {
    pub(crate) min_reader_version: i32,
    pub(crate) min_writer_version: i32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) reader_features: Option<Vec<String>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) writer_features: Option<Vec<String>>,
}

/// The table's schema, table partition columns and properties.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Metadata {
    pub(crate) id: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) name: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) description: Option<String>,
    pub(crate) format: Format,
    pub(crate) schema_string: String,
    #[serde(default)]
    pub(crate) partition_columns: Vec<String>,
    #[serde(default)]
    pub(crate) configuration: BTreeMap<String, String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) created_time: Option<i64>,
    /// Fields that a later protocol may add; kept when the action is written again.
    #[serde(flatten)]
    pub(crate) other: Map<String, Value>,
}

/// The format of the table's data files.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Format {
    pub(crate) provider: String,
    #[serde(default)]
    pub(crate) options: BTreeMap<String, String>,
}

impl Default for Format {
    fn default() -> Self {
        Format {
            provider: "parquet".to_owned(),
            options: BTreeMap::new(),
        }
    }
}

/// An application's progress.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Txn {
    pub(crate) app_id: String,
    pub(crate) version: i64,
}

/// The part of a foreign or own `commitInfo` that matters to us.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Info {
    #[serde(default)]
    pub(crate) txn_id: Option<String>,
    #[serde(default)]
    pub(crate) engine_info: Option<String>,
    #[serde(default)]
    pub(crate) lakeward: Option<Value>,
}

/// One log entry, read tolerantly.
#[derive(Debug, Clone, Default)]
pub(crate) struct Entry {
    /// Stands for the entry's bytes: two entries with the same one are the same commit.
    pub(crate) fingerprint: u64,
    pub(crate) info: Info,
    pub(crate) protocol: Option<Protocol>,
    pub(crate) metadata: Option<Metadata>,
    pub(crate) txns: Vec<Txn>,
    /// The data files that it adds or removes, as object keys.
    pub(crate) touched: Vec<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Line<'a> {
    #[serde(default)]
    commit_info: Option<Value>,
    #[serde(default)]
    protocol: Option<Protocol>,
    #[serde(default)]
    meta_data: Option<Metadata>,
    #[serde(default)]
    txn: Option<Txn>,
    #[serde(borrow, default)]
    add: Option<&'a RawValue>,
    #[serde(borrow, default)]
    remove: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct OfFile {
    path: String,
}

impl Entry {
    /// Reads an entry's bytes; the error says which line is no action.
    pub(crate) fn parse(bytes: &[u8]) -> Result<Entry, String> {
        let mut entry = Entry {
            fingerprint: fingerprint(bytes),
            ..Entry::default()
        };
        let mut lines = 0_usize;
        for line in bytes
            .split(|byte| *byte == b'\n')
            .filter(|line| !line.trim_ascii().is_empty())
        {
            lines += 1;
            let line = serde_json::from_slice::<Line<'_>>(line)
                .map_err(|error| format!("line {lines} is not a Delta action ({error})"))?;
            entry.take(line);
        }
        if lines == 0 {
            return Err("the entry is empty, as after a power loss during its write".to_owned());
        }
        Ok(entry)
    }

    fn take(&mut self, line: Line<'_>) {
        // A foreign commitInfo may hold anything; what cannot be read as ours is not ours.
        if let Some(info) = line.commit_info {
            self.info = Info::deserialize(info).unwrap_or_default();
        }
        self.protocol = line.protocol.or_else(|| self.protocol.take());
        self.metadata = line.meta_data.or_else(|| self.metadata.take());
        self.txns.extend(line.txn);
        // What has no path names no file.
        let files = line.add.into_iter().chain(line.remove);
        let paths = files.filter_map(|file| serde_json::from_str::<OfFile>(file.get()).ok());
        self.touched
            .extend(paths.map(|file| decode_path(&file.path)));
    }
}

/// The object key that a path of the log stands for; one that is absolute, or not what the protocol asks for, stays as it is.
pub(crate) fn decode_path(path: &str) -> String {
    let mut bytes = Vec::with_capacity(path.len());
    let mut rest = path.as_bytes();
    while let [first, tail @ ..] = rest {
        let escaped = match (first, tail) {
            (b'%', [high, low, ..]) => hex(*high).zip(hex(*low)),
            _ => None,
        };
        rest = match escaped {
            Some((high, low)) => {
                bytes.push(high * 16 + low);
                tail.get(2..).unwrap_or_default()
            }
            None => {
                bytes.push(*first);
                tail
            }
        };
    }
    String::from_utf8(bytes).unwrap_or_else(|_| path.to_owned())
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit)
        .to_digit(16)
        .and_then(|digit| u8::try_from(digit).ok())
}

/// Stands for a commit's bytes within this process and this build.
pub(crate) fn fingerprint(bytes: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    hasher.write(bytes);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_actions_and_features_of_others_are_passed_over() {
        let entry = Entry::parse(
            br#"{"commitInfo":{"txnId":7,"engineInfo":"x"}}
{"tomorrow":{"deep":[1,{"a":null}]}}
{"remove":{"path":"x","dataChange":false,"novel":true}}
{"protocol":{"minReaderVersion":9,"minWriterVersion":9,"readerFeatures":["flying"],"writerFeatures":["flying"]}}
{"txn":{"appId":"other","version":3,"lastUpdated":5}}
"#,
        )
        .unwrap();
        assert_eq!(
            entry.txns,
            [Txn {
                app_id: "other".to_owned(),
                version: 3
            }]
        );
        assert_eq!(entry.protocol.unwrap().min_reader_version, 9);
        assert_eq!(entry.info, Info::default());
    }

    #[test]
    fn torn_entries_are_errors() {
        assert_eq!(
            Entry::parse(b"").unwrap_err(),
            "the entry is empty, as after a power loss during its write"
        );
        assert!(
            Entry::parse(b"{\"txn\":{\"appId\":\"a\",")
                .unwrap_err()
                .starts_with("line 1 is not a Delta action")
        );
    }

    #[test]
    fn fields_of_a_later_metadata_survive_a_round_trip() {
        let text = r#"{"id":"i","format":{"provider":"parquet","options":{}},"schemaString":"{}","partitionColumns":["p"],"configuration":{"k":"v"},"novel":{"a":1}}"#;
        let metadata = serde_json::from_str::<Metadata>(text).unwrap();
        assert_eq!(
            serde_json::to_value(metadata).unwrap(),
            serde_json::from_str::<Value>(text).unwrap()
        );
    }
}
