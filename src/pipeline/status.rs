//! What a person or a probe may ask of a running process. Owns the current picture; whoever changes something writes it here, nobody decides by it.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::config::expansion::Refused;
use crate::model::batch::Reject;
use crate::model::memory::Pool;
use crate::model::offset::TopicPartition;

/// How many rejects are kept per table for a person to look at.
const RECENT_REJECTS: usize = 100;

/// Shared by the pipeline, which writes, and the HTTP listener, which reads.
#[derive(Debug, Clone, Default)]
pub struct Status {
    inner: Arc<Mutex<Inner>>,
}

#[derive(Debug, Default)]
struct Inner {
    tables: BTreeMap<String, TableStatus>,
    refused: Vec<Refused>,
    trouble: Option<String>,
    joined: bool,
    pool: Option<Pool>,
    memory_limit_bytes: u64,
}

/// The picture at one moment.
#[derive(Debug, Clone)]
pub struct StatusSnapshot {
    /// Whether it is assigned and committing; else the reason why not.
    pub ready: Result<(), String>,
    /// The tables by name.
    pub tables: Vec<TableStatus>,
    /// Topics that feed no table, although a pattern takes them.
    pub refused: Vec<Refused>,
    /// Bytes under permit.
    pub memory_used_bytes: u64,
    /// `limits.memory`.
    pub memory_limit_bytes: u64,
}

/// Where a table is in its life.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum TableState {
    /// Not read yet.
    #[default]
    Starting,
    /// Taking records, or ready to.
    Running,
    /// Resting until a person lets it go on; it holds its topic partitions.
    Paused,
    /// Stopped until a person acts; the reason is a sentence.
    Suspended(String),
}

impl TableState {
    /// Whether a person must act.
    pub fn is_suspended(&self) -> bool {
        matches!(self, TableState::Suspended(_))
    }
}

/// One table's picture.
#[derive(Debug, Clone, Default)]
pub struct TableStatus {
    /// Its name.
    pub name: String,
    /// Its state.
    pub state: TableState,
    /// The last table version known.
    pub version: Option<u64>,
    /// Rows committed by this process.
    pub rows: u64,
    /// Rejects committed by this process.
    pub rejects: u64,
    /// Records skipped by a declared rule, committed by this process.
    pub skipped: u64,
    /// Fields without a column that were left out.
    pub ignored_fields: u64,
    /// Commits of this process.
    pub commits: u64,
    /// When this process last committed, milliseconds since 1970 UTC.
    pub last_commit_ms: Option<i64>,
    /// Every record up to this time is committed, as far as this process knows.
    pub valid_through_ms: Option<i64>,
    /// Rows in memory.
    pub buffered_rows: u64,
    /// Rejects that this process has seen, committed or not, by code.
    pub rejects_by_code: BTreeMap<&'static str, u64>,
    /// The last rejects, newest last.
    pub recent_rejects: VecDeque<Reject>,
    /// Topic partitions of the table's topics.
    pub topic_partitions: BTreeMap<TopicPartition, TopicPartitionStatus>,
}

/// One topic partition's picture.
#[derive(Debug, Clone, Copy, Default)]
pub struct TopicPartitionStatus {
    /// Whether this process owns it.
    pub owned: bool,
    /// The next offset to read, by the table.
    pub committed: Option<i64>,
    /// The log's last stable offset when last seen.
    pub end: Option<i64>,
}

impl Status {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sets what memory is measured by.
    pub fn set_memory(&self, pool: Pool, limit_bytes: u64) {
        let mut inner = self.lock();
        inner.pool = Some(pool);
        inner.memory_limit_bytes = limit_bytes;
    }

    /// Changes one table's picture.
    pub fn table(&self, name: &str, change: impl FnOnce(&mut TableStatus)) {
        let mut inner = self.lock();
        let table = inner
            .tables
            .entry(name.to_owned())
            .or_insert_with(|| TableStatus {
                name: name.to_owned(),
                ..TableStatus::default()
            });
        change(table);
    }

    /// Keeps a reject for a person to look at.
    pub fn rejected(&self, name: &str, rejects: &[Reject]) {
        self.table(name, |table| {
            for reject in rejects {
                *table.rejects_by_code.entry(reject.code).or_default() += 1;
                if table.recent_rejects.len() >= RECENT_REJECTS {
                    table.recent_rejects.pop_front();
                }
                table.recent_rejects.push_back(reject.clone());
            }
        });
    }

    /// Shows a table no more.
    pub fn forget(&self, name: &str) {
        self.lock().tables.remove(name);
    }

    /// Topics that feed no table, although a pattern takes them.
    pub fn set_refused(&self, refused: Vec<Refused>) {
        self.lock().refused = refused;
    }

    /// Something outside is away; `None` when it is back.
    pub fn set_trouble(&self, trouble: Option<String>) {
        self.lock().trouble = trouble;
    }

    /// The group has answered with an assignment.
    pub fn set_joined(&self, joined: bool) {
        self.lock().joined = joined;
    }

    /// The picture now.
    pub fn snapshot(&self) -> StatusSnapshot {
        let inner = self.lock();
        StatusSnapshot {
            ready: readiness(&inner),
            tables: inner.tables.values().cloned().collect(),
            refused: inner.refused.clone(),
            memory_used_bytes: inner.pool.as_ref().map_or(0, Pool::used_bytes),
            memory_limit_bytes: inner.memory_limit_bytes,
        }
    }
}

fn readiness(inner: &Inner) -> Result<(), String> {
    if let Some(trouble) = &inner.trouble {
        return Err(trouble.clone());
    }
    if !inner.joined {
        return Err("the consumer group has not assigned topic partitions yet".to_owned());
    }
    let suspended = inner.tables.values().find_map(|table| match &table.state {
        TableState::Suspended(reason) => {
            Some(format!("table `{}` is suspended: {reason}", table.name))
        }
        TableState::Starting => Some(format!("table `{}` is not open yet", table.name)),
        TableState::Running => None,
        TableState::Paused => Some(format!("table `{}` was told to rest", table.name)),
    });
    let refused = || {
        let first = inner.refused.first();
        first.map(|it| format!("topic `{}` is not read: {}", it.topic, it.reason))
    };
    suspended.or_else(refused).map_or(Ok(()), Err)
}
