//! The status as others read it: the JSON of `/api/v1/status` and the moment for metrics. Owns that mirror; model types are never serialised.

use std::collections::BTreeMap;
use std::time::Duration;

use chrono::{DateTime, SecondsFormat};
use serde::Serialize;

use crate::config::expansion::Refused;
use crate::metrics::{Lag, Moment, TableMoment};
use crate::model::batch::Reject;
use crate::model::offset::TopicPartition;
use crate::pipeline::status::{StatusSnapshot, TableState, TableStatus, TopicPartitionStatus};

/// The document of `/api/v1/status`.
#[derive(Debug, Serialize)]
pub(super) struct Document {
    name: String,
    version: &'static str,
    now: Option<String>,
    ready: bool,
    reason: Option<String>,
    memory_used_bytes: u64,
    memory_limit_bytes: u64,
    tables: Vec<Table>,
    refused_topics: Vec<RefusedTopic>,
}

#[derive(Debug, Serialize)]
struct RefusedTopic {
    topic: String,
    table: String,
    reason: String,
}

#[derive(Debug, Serialize)]
struct Table {
    name: String,
    state: &'static str,
    reason: Option<String>,
    table_version: Option<u64>,
    rows: u64,
    rejects: u64,
    skipped: u64,
    buffered_rows: u64,
    lag: Option<i64>,
    last_commit: Option<String>,
    valid_through: Option<String>,
    rejects_by_code: BTreeMap<&'static str, u64>,
    recent_rejects: Vec<Rejected>,
    topic_partitions: Vec<Place>,
}

#[derive(Debug, Serialize)]
struct Rejected {
    topic: String,
    partition: i32,
    offset: i64,
    code: &'static str,
    path: String,
    message: String,
}

#[derive(Debug, Serialize)]
struct Place {
    topic: String,
    partition: i32,
    owned: bool,
    committed: Option<i64>,
    end: Option<i64>,
    lag: Option<i64>,
}

/// The mirror of a snapshot at wall time `now_ms`.
pub(super) fn document(name: &str, snapshot: &StatusSnapshot, now_ms: i64) -> Document {
    Document {
        name: name.to_owned(),
        version: env!("CARGO_PKG_VERSION"),
        now: iso(now_ms),
        ready: snapshot.ready.is_ok(),
        reason: snapshot.ready.clone().err(),
        memory_used_bytes: snapshot.memory_used_bytes,
        memory_limit_bytes: snapshot.memory_limit_bytes,
        tables: snapshot.tables.iter().map(table).collect(),
        refused_topics: snapshot.refused.iter().map(refused).collect(),
    }
}

fn refused(refused: &Refused) -> RefusedTopic {
    RefusedTopic {
        topic: refused.topic.clone(),
        table: refused.table.clone(),
        reason: refused.reason.clone(),
    }
}

fn table(table: &TableStatus) -> Table {
    let (state, reason) = state(&table.state);
    let lags: Vec<i64> = table.topic_partitions.values().filter_map(lag).collect();
    Table {
        name: table.name.clone(),
        state,
        reason: reason.map(str::to_owned),
        table_version: table.version,
        rows: table.rows,
        rejects: table.rejects,
        skipped: table.skipped,
        buffered_rows: table.buffered_rows,
        lag: (!lags.is_empty()).then(|| lags.iter().sum()),
        last_commit: table.last_commit_ms.and_then(iso),
        valid_through: table.valid_through_ms.and_then(iso),
        rejects_by_code: table.rejects_by_code.clone(),
        recent_rejects: table.recent_rejects.iter().map(rejected).collect(),
        topic_partitions: table
            .topic_partitions
            .iter()
            .map(|(of, status)| place(of, status))
            .collect(),
    }
}

fn rejected(reject: &Reject) -> Rejected {
    Rejected {
        topic: reject.topic_partition.topic.to_string(),
        partition: reject.topic_partition.number,
        offset: reject.offset,
        code: reject.code,
        path: reject.path.clone(),
        message: reject.message.clone(),
    }
}

fn place(topic_partition: &TopicPartition, place: &TopicPartitionStatus) -> Place {
    Place {
        topic: topic_partition.topic.to_string(),
        partition: topic_partition.number,
        owned: place.owned,
        committed: place.committed,
        end: place.end,
        lag: lag(place),
    }
}

/// What only the moment knows, for `/metrics`.
pub(super) fn moment(snapshot: &StatusSnapshot, now_ms: i64) -> Moment {
    let tables = snapshot.tables.iter().map(|table| TableMoment {
        name: table.name.clone(),
        state: state(&table.state).0,
        freshness: table.valid_through_ms.map(|since_ms| age(since_ms, now_ms)),
        since_last_commit: table.last_commit_ms.map(|since_ms| age(since_ms, now_ms)),
        lags: table
            .topic_partitions
            .iter()
            .filter_map(|(of, status)| owned_lag(of, status))
            .collect(),
    });
    Moment {
        memory_used_bytes: snapshot.memory_used_bytes,
        memory_limit_bytes: snapshot.memory_limit_bytes,
        tables: tables.collect(),
    }
}

fn owned_lag(topic_partition: &TopicPartition, place: &TopicPartitionStatus) -> Option<Lag> {
    let records = lag(place).filter(|_| place.owned)?;
    Some(Lag {
        topic: topic_partition.topic.to_string(),
        partition: topic_partition.number,
        records,
    })
}

fn state(state: &TableState) -> (&'static str, Option<&str>) {
    match state {
        TableState::Starting => ("starting", None),
        TableState::Running => ("running", None),
        TableState::Paused => ("paused", None),
        TableState::Suspended(reason) => ("suspended", Some(reason)),
    }
}

fn lag(place: &TopicPartitionStatus) -> Option<i64> {
    Some(place.end?.saturating_sub(place.committed?).max(0))
}

/// A time stamp ahead of our clock is no age.
fn age(since_ms: i64, now_ms: i64) -> Duration {
    Duration::from_millis(u64::try_from(now_ms.saturating_sub(since_ms)).unwrap_or(0))
}

fn iso(ms: i64) -> Option<String> {
    DateTime::from_timestamp_millis(ms)
        .map(|time| time.to_rfc3339_opts(SecondsFormat::Millis, true))
}
