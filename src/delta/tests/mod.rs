//! The delta room against in-memory and local stores with scripted faults, and deltalake's own reader as the second opinion. Owns the fixtures.

mod aged;
mod base;
mod commit;
mod create;
mod faults;
mod golden;
mod load;
mod mend;
mod outbox;
mod probe;
mod tails;

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use deltalake::DeltaTable;
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt as _};
use url::Url;

use crate::clock::{Clock, Instant};
use crate::delta::{Creation, Store, Table, TableStore, TopicStart};
use crate::model::commit::{Append, CommitOutcome, StagedFile};
use crate::model::epoch::Epoch;
use crate::model::lineage::Lineage;
use crate::model::offset::{Span, TopicPartition};
use crate::model::progress::{Advance, Counts, Step};
use crate::model::record::{Coordinates, Records};
use crate::testing::faulty_store::FaultyStore;

pub(super) const TOPIC: &str = "shop.orders";

/// One table in memory, behind a store that can be told to fail.
pub(super) struct Lake {
    pub(super) clock: Clock,
    pub(super) faulty: FaultyStore,
    pub(super) table: TableStore,
}

impl Lake {
    pub(super) fn new() -> Lake {
        Lake::with_seed(1)
    }

    pub(super) fn with_seed(seed: u64) -> Lake {
        let clock = Clock::manual(1_767_225_600_000, 1);
        let faulty = FaultyStore::new(Arc::new(InMemory::new()), clock.clone(), seed);
        let store = Store::over(
            Url::parse("memory:///lake").unwrap(),
            Arc::new(faulty.clone()),
        );
        Lake {
            table: store.table("orders").unwrap(),
            clock,
            faulty,
        }
    }

    pub(super) async fn create(&self) -> Table {
        Table::create(
            &self.table,
            &creation(),
            &[start(&[(0, 0), (1, 0)])],
            &self.clock,
        )
        .await
        .unwrap()
    }

    pub(super) async fn load(&self) -> Table {
        Table::load(&self.table, &self.clock)
            .await
            .unwrap()
            .unwrap()
    }

    pub(super) async fn load_error(&self) -> String {
        Table::load(&self.table, &self.clock)
            .await
            .unwrap_err()
            .to_string()
    }

    /// The undecorated store, where the table's keys begin with `lake/orders/`.
    pub(super) fn inner(&self) -> Arc<dyn ObjectStore> {
        self.faulty.inner()
    }

    pub(super) async fn write(&self, name: &str, bytes: impl AsRef<[u8]>) {
        let bytes = bytes.as_ref().to_vec();
        self.inner().put(&key(name), bytes.into()).await.unwrap();
    }

    pub(super) async fn bytes(&self, name: &str) -> Vec<u8> {
        let found = self.inner().get(&key(name)).await.unwrap();
        found.bytes().await.unwrap().to_vec()
    }

    pub(super) async fn read(&self, name: &str) -> String {
        String::from_utf8(self.bytes(name).await).unwrap()
    }

    pub(super) async fn delete(&self, name: &str) {
        self.inner()
            .delete(&Path::from(format!("lake/orders/{name}")))
            .await
            .unwrap();
    }

    /// Appends a foreign entry.
    pub(super) async fn foreign(&self, version: u64, lines: &[&str]) {
        let text = lines
            .iter()
            .map(|line| format!("{line}\n"))
            .collect::<String>();
        self.write(
            &entry(version),
            &format!(
                "{{\"commitInfo\":{{\"operation\":\"FOREIGN\",\"engineInfo\":\"other\"}}}}\n{text}"
            ),
        )
        .await;
    }

    /// The `metaData` action of version 0 after some replacements.
    pub(super) async fn metadata_with(&self, replacements: &[(&str, &str)]) -> String {
        let text = self.read(&entry(0)).await;
        let line = text
            .lines()
            .find(|line| line.starts_with("{\"metaData\""))
            .unwrap()
            .to_owned();
        replacements.iter().fold(line, |line, (from, to)| {
            assert!(line.contains(from), "{from} is not in {line}");
            line.replace(from, to)
        })
    }

    pub(super) async fn exists(&self, version: u64) -> bool {
        self.inner()
            .head(&Path::from(format!("lake/orders/{}", entry(version))))
            .await
            .is_ok()
    }

    /// What deltalake's own reader finds: version, file names, and the txns of topic partitions 0 and 1.
    pub(super) async fn second_opinion(&self) -> (u64, Vec<String>, [Option<i64>; 2]) {
        second_opinion(&self.table).await
    }
}

pub(super) async fn second_opinion(store: &TableStore) -> (u64, Vec<String>, [Option<i64>; 2]) {
    let mut table = DeltaTable::new(Arc::clone(store.log()));
    table.load().await.unwrap();
    let mut files = table
        .get_file_uris()
        .unwrap()
        .map(|uri| uri.rsplit('/').next().unwrap_or_default().to_owned())
        .collect::<Vec<_>>();
    files.sort();
    let mut txns = [None, None];
    for (number, txn) in txns.iter_mut().enumerate() {
        let app_id = format!("lakeward/{TOPIC}/0/{number}");
        *txn = table
            .snapshot()
            .unwrap()
            .transaction_version(store.log().as_ref(), app_id)
            .await
            .unwrap();
    }
    (table.version().unwrap(), files, txns)
}

fn key(name: &str) -> Path {
    Path::from(format!("lake/orders/{name}"))
}

pub(super) fn entry(version: u64) -> String {
    format!("_delta_log/{version:020}.json")
}

pub(super) fn partition(number: i32) -> TopicPartition {
    TopicPartition::new(TOPIC, number)
}

pub(super) fn columns() -> SchemaRef {
    Arc::new(Schema::new(vec![
        Field::new("id", DataType::Int64, true),
        Field::new("region", DataType::Utf8, true),
        Field::new("_kafka_topic", DataType::Utf8, true),
        Field::new("_kafka_partition", DataType::Int32, true),
        Field::new("_kafka_offset", DataType::Int64, true),
    ]))
}

pub(super) fn creation() -> Creation {
    Creation {
        columns: columns(),
        partition_columns: vec!["region".to_owned()],
        properties: BTreeMap::new(),
        mapping_version: 1,
    }
}

pub(super) fn start(offsets: &[(i32, i64)]) -> TopicStart {
    TopicStart {
        topic: TOPIC.into(),
        cluster_id: Some("cluster".to_owned()),
        topic_id: None,
        start: "earliest".to_owned(),
        offsets: offsets.iter().copied().collect(),
    }
}

pub(super) fn file(name: &str, rows: u64) -> StagedFile {
    StagedFile {
        path: format!("region=eu/{name}"),
        partition_values: BTreeMap::from([("region".to_owned(), Some("eu".to_owned()))]),
        size_bytes: 1000,
        rows,
        stats: format!(r#"{{"numRecords":{rows}}}"#),
        modified_ms: 1_767_225_600_000,
        staged: Instant::from_millis(0),
    }
}

/// An append of `[start, end)` of some topic partitions, with one file of all its rows.
pub(super) fn append_under(epoch: &Epoch, spans: &[(i32, i64, i64)], name: &str) -> Append {
    let mut advance = Advance::default();
    for (number, start, end) in spans {
        let counts = Counts {
            rows: end.abs_diff(*start),
            max_timestamp_ms: Some(1_767_225_600_000 + end),
            ..Counts::default()
        };
        advance
            .extend(
                &partition(*number),
                &Step::of(Span::new(*start, *end).unwrap(), counts),
            )
            .unwrap();
    }
    let rows = advance.rows();
    Append {
        epoch: epoch.clone(),
        advance,
        files: vec![file(name, rows)],
        columns: None,
        outbox: None,
    }
}

pub(super) fn append(spans: &[(i32, i64, i64)], name: &str) -> Append {
    append_under(&Epoch::begin(1), spans, name)
}

/// The lineage of one record.
pub(super) fn lineage(leader_epoch: Option<i32>, offset: i64) -> Lineage {
    let mut records = Records::default();
    let at = Coordinates {
        offset,
        leader_epoch,
        ..Coordinates::default()
    };
    records.push(at, None, None, []);
    Lineage::of(&records, 0, 1)
}

/// An append of `[start, end)` of topic partition 0, whose last record is at `last` under this leader epoch; none without one.
pub(super) fn append_led(start: i64, end: i64, last: Option<(i64, Option<i32>)>) -> Append {
    let mut append = append(&[], &format!("{start}.parquet"));
    let step = Step {
        lineage: last.map_or_else(Lineage::default, |(offset, leader_epoch)| {
            lineage(leader_epoch, offset)
        }),
        ..Step::of(Span::new(start, end).unwrap(), Counts::default())
    };
    append.advance.extend(&partition(0), &step).unwrap();
    append.files.clear();
    append
}

pub(super) fn check_superseded(outcome: &CommitOutcome, part: &str) {
    assert!(
        matches!(outcome, CommitOutcome::Superseded(reason) if reason.contains(part)),
        "{outcome:?} is not superseded by {part}"
    );
}

pub(super) fn check_conflict(outcome: &CommitOutcome, part: &str) {
    assert!(
        matches!(outcome, CommitOutcome::Conflict(reason) if reason.contains(part)),
        "{outcome:?} is not a conflict of {part}"
    );
}

pub(super) fn check_unknown(outcome: &CommitOutcome, part: &str) {
    assert!(
        matches!(outcome, CommitOutcome::Unknown(reason) if reason.contains(part)),
        "{outcome:?} is not unknown for {part}"
    );
}
