//! Writes log entries: `commitInfo` first, then protocol, metadata, txns, files, as text whose order never varies. Owns what our commits look like on disk
//! (OFF-4, OFF-6); decides nothing.

use std::collections::BTreeMap;

use bytes::Bytes;
use serde::Serialize;

use crate::delta::actions::{Metadata, Protocol, Txn};
use crate::delta::error::Error;
use crate::delta::mend::Told;
use crate::delta::outbox::Manifest;
use crate::model::commit::StagedFile;
use crate::model::offset::Incarnation;
use crate::model::progress::Step;

/// An entry before it is text.
#[derive(Debug)]
pub(crate) struct Draft<'a> {
    pub(crate) info: Info,
    pub(crate) protocol: Option<&'a Protocol>,
    pub(crate) metadata: Option<&'a Metadata>,
    pub(crate) txns: Vec<Txn>,
    pub(crate) files: &'a [StagedFile],
}

/// Our `commitInfo`.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Info {
    /// When the commit was first tried, milliseconds since 1970 UTC.
    pub(crate) timestamp: i64,
    pub(crate) operation: &'static str,
    pub(crate) operation_parameters: BTreeMap<&'static str, String>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) operation_metrics: BTreeMap<&'static str, String>,
    pub(crate) engine_info: String,
    pub(crate) is_blind_append: bool,
    pub(crate) txn_id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) lakeward: Option<Lakeward>,
}

/// What only Lakeward says in its `commitInfo`.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Lakeward {
    pub(crate) name: String,
    pub(crate) spans: Vec<Span>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) valid_through: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) outbox: Option<Manifest>,
    /// What was changed about the sources without a record.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) mended: Vec<Told>,
}

/// One topic partition's part of a commit.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Span {
    topic: String,
    incarnation: u32,
    partition: i32,
    start: i64,
    end: i64,
    rows: u64,
    rejects: u64,
    skipped: u64,
    lost: u64,
    /// The greatest record timestamp of the span, milliseconds since 1970 UTC; what carries `validThrough` from one instance to another.
    #[serde(skip_serializing_if = "Option::is_none")]
    max_timestamp: Option<i64>,
}

impl Span {
    pub(crate) fn new(topic: &str, number: i32, incarnation: Incarnation, step: &Step) -> Self {
        Span {
            topic: topic.to_owned(),
            incarnation: incarnation.0,
            partition: number,
            start: step.span.start(),
            end: step.span.end(),
            rows: step.counts.rows,
            rejects: step.counts.rejects,
            skipped: step.counts.skipped,
            lost: 0,
            max_timestamp: step.counts.max_timestamp_ms,
        }
    }
}

impl Span {
    /// A span of offsets that were passed over: none of their records was read.
    pub(crate) fn lost(topic: &str, number: i32, incarnation: Incarnation, step: &Step) -> Self {
        Span {
            lost: step.span.len(),
            ..Span::new(topic, number, incarnation, step)
        }
    }
}

/// What our commits name as their engine.
pub(crate) fn engine_info() -> String {
    concat!("lakeward/", env!("CARGO_PKG_VERSION")).to_owned()
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
enum Action<'a> {
    CommitInfo(&'a Info),
    Protocol(&'a Protocol),
    MetaData(&'a Metadata),
    Txn(&'a Txn),
    Add(Add<'a>),
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Add<'a> {
    path: String,
    partition_values: &'a BTreeMap<String, Option<String>>,
    size: u64,
    modification_time: i64,
    data_change: bool,
    stats: &'a str,
}

impl<'a> Add<'a> {
    pub(crate) fn new(file: &'a StagedFile, data_change: bool) -> Self {
        Add {
            path: encode_path(&file.path),
            partition_values: &file.partition_values,
            size: file.size_bytes,
            modification_time: file.modified_ms,
            data_change,
            stats: &file.stats,
        }
    }
}

impl Draft<'_> {
    /// The entry's bytes.
    pub(crate) fn to_bytes(&self) -> Result<Bytes, Error> {
        let mut text = Vec::new();
        let mut line = |action: Action<'_>| -> Result<(), Error> {
            serde_json::to_writer(&mut text, &action)
                .map_err(|error| Error::Bug(format!("a log entry cannot be written ({error})")))?;
            text.push(b'\n');
            Ok(())
        };
        line(Action::CommitInfo(&self.info))?;
        self.protocol
            .map(Action::Protocol)
            .map_or(Ok(()), &mut line)?;
        self.metadata
            .map(Action::MetaData)
            .map_or(Ok(()), &mut line)?;
        self.txns.iter().map(Action::Txn).try_for_each(&mut line)?;
        for file in self.files {
            line(Action::Add(Add::new(file, true)))?;
        }
        Ok(text.into())
    }
}

/// An object key as the relative URI that `add.path` is: every byte that is not plainly allowed in every segment is percent-encoded, also `:` (a scheme to some
/// readers) and `+` (a space to some).
fn encode_path(key: &str) -> String {
    let mut path = String::with_capacity(key.len());
    for byte in key.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' | b'/' | b'=' => {
                path.push(char::from(byte))
            }
            _ => path.push_str(&format!("%{byte:02X}")),
        }
    }
    path
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_uri_encoded_once_more_than_the_object_key() {
        assert_eq!(
            encode_path("region=eu/part-0.parquet"),
            "region=eu/part-0.parquet"
        );
        assert_eq!(
            encode_path("region=a%2Fb/ü x:+.parquet"),
            "region=a%252Fb/%C3%BC%20x%3A%2B.parquet"
        );
    }
}
