//! The maintenance room on tables with real Parquet files, over stores with scripted faults, held against a naive reader. Owns the fixtures.

mod clean;
mod compaction;
mod damage;
mod flat;
mod rejects;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path as LocalPath;
use std::sync::Arc;
use std::time::Duration;

use arrow::array::{
    Array as _, ArrayRef, AsArray as _, Int32Array, Int64Array, RecordBatch, StringArray,
};
use arrow::datatypes::{DataType, Field, Int64Type, Schema, SchemaRef};
use object_store::local::LocalFileSystem;
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt as _};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use url::Url;

use crate::clock::Clock;
use crate::config::settings::{PartitionField, Storage, Transform};
use crate::delta::{Creation, Extent, FileList, Store, Table, TableStore, TopicStart};
use crate::maintenance::compact::{Compacted, Compaction};
use crate::maintenance::plan::Policy;
use crate::maintenance::{Error, Memory, Pace};
use crate::model::commit::{Append, CommitOutcome, StagedFile};
use crate::model::epoch::Epoch;
use crate::model::offset::{Span, TopicPartition};
use crate::model::progress::{Advance, Counts};
use crate::testing::faulty_store::FaultyStore;
use crate::writer::{self, Encoder, Layout};

const TOPIC: &str = "shop.orders";
const NOW_MS: i64 = 1_767_225_600_000;

/// One table, its store, and the next offset to append.
struct Lake {
    clock: Clock,
    faulty: Option<FaultyStore>,
    store: TableStore,
}

/// A row as a naive reader sees it: id, text, region, offset.
type Row = (i64, Option<String>, Option<String>, i64);

impl Lake {
    async fn in_memory(seed: u64) -> Lake {
        let clock = Clock::manual(NOW_MS, 1);
        let faulty = FaultyStore::new(Arc::new(InMemory::new()), clock.clone(), seed);
        let url = Url::parse("memory:///lake").unwrap();
        let store = Store::over(url, Arc::new(faulty.clone()));
        Lake::create(store.table("orders").unwrap(), clock, Some(faulty)).await
    }

    async fn on_disk(folder: &LocalPath) -> Lake {
        let storage = Storage {
            url: Url::from_file_path(folder).unwrap(),
            options: BTreeMap::new(),
        };
        let store = Store::open(&storage).unwrap().table("orders").unwrap();
        Lake::create(store, Clock::machine(), None).await
    }

    /// The same table behind faults.
    fn behind_faults(folder: &LocalPath) -> (TableStore, FaultyStore) {
        let disk = LocalFileSystem::new_with_prefix(folder).unwrap();
        let faulty = FaultyStore::new(Arc::new(disk), Clock::machine(), 1);
        let store = Store::over(Url::parse("memory:///").unwrap(), Arc::new(faulty.clone()));
        (store.table("orders").unwrap(), faulty)
    }

    async fn create(store: TableStore, clock: Clock, faulty: Option<FaultyStore>) -> Lake {
        let creation = Creation {
            columns: columns(),
            partition_columns: vec!["region".to_owned()],
            properties: BTreeMap::new(),
            mapping_version: 1,
        };
        let start = TopicStart {
            topic: TOPIC.into(),
            cluster_id: None,
            topic_id: None,
            start: "earliest".to_owned(),
            offsets: BTreeMap::from([(0, 0)]),
        };
        Table::create(&store, &creation, &[start], &clock)
            .await
            .unwrap();
        Lake {
            clock,
            faulty,
            store,
        }
    }

    async fn load(&self) -> Table {
        Table::load(&self.store, &self.clock)
            .await
            .unwrap()
            .unwrap()
    }

    /// Appends a file for each region with `rows` rows in all, and commits them with their offsets.
    async fn append(&self, rows: usize) -> Vec<StagedFile> {
        let mut table = self.load().await;
        self.append_to(&mut table, rows).await
    }

    async fn append_to(&self, table: &mut Table, rows: usize) -> Vec<StagedFile> {
        let topic_partition = TopicPartition::new(TOPIC, 0);
        let from = table.committed(&topic_partition).unwrap();
        let files = self.stage(from, rows).await;
        let to = from + i64::try_from(rows).unwrap();
        let counts = Counts {
            rows: u64::try_from(rows).unwrap(),
            ..Counts::default()
        };
        let mut advance = Advance::default();
        advance
            .extend(&topic_partition, Span::new(from, to).unwrap(), &counts)
            .unwrap();
        let append = Append {
            epoch: Epoch::begin(1),
            advance,
            files: files.clone(),
            columns: None,
            outbox: None,
        };
        let outcome = table.commit(&append, "shop").await;
        assert!(
            matches!(outcome, CommitOutcome::Committed(_)),
            "{outcome:?}"
        );
        files
    }

    async fn stage(&self, from: i64, rows: usize) -> Vec<StagedFile> {
        let region = PartitionField {
            name: "region".to_owned(),
            source: "region".to_owned(),
            transform: Transform::Identity,
        };
        let layout = Arc::new(Layout::new(columns(), &[region], self.clock.clone()).unwrap());
        let mut encoder = Encoder::new(layout);
        encoder.write(&batch(from, rows)).unwrap();
        let files = encoder.finish().unwrap();
        writer::upload(&self.store.objects(), None, files, &self.clock, 1)
            .await
            .unwrap()
    }

    fn compaction(&self) -> Compaction {
        Compaction {
            store: self.store.clone(),
            clock: self.clock.clone(),
            policy: Policy {
                target_bytes: 64 << 20,
                min_files: 2,
                cold_after: Duration::ZERO,
            },
            sort_by: Vec::new(),
            always_indexed: BTreeSet::new(),
            memory: Memory::of(16 << 20),
        }
    }

    async fn compact(&self) -> Result<Compacted, Error> {
        let compaction = self.compaction();
        let opened = compaction.open().await?;
        let plan = compaction.plan(&opened, &BTreeSet::new());
        compaction
            .run(opened, &plan, &Pace::default(), &mut BTreeSet::new())
            .await
    }

    async fn files(&self) -> FileList {
        FileList::load(&self.store, Extent::default())
            .await
            .unwrap()
    }

    /// All rows of a version, by a reader that shares nothing with the one under test but the file list.
    async fn rows(&self) -> Vec<Row> {
        let list = self.files().await;
        let mut rows = Vec::new();
        for (key, file) in list.files() {
            let path = Path::parse(key).unwrap();
            let bytes = self
                .objects()
                .get(&path)
                .await
                .unwrap()
                .bytes()
                .await
                .unwrap();
            let region = file.partition_values["region"].clone();
            for batch in ParquetRecordBatchReaderBuilder::try_new(bytes)
                .unwrap()
                .build()
                .unwrap()
            {
                rows.extend(read(&batch.unwrap(), region.as_deref()));
            }
        }
        rows.sort();
        rows
    }

    fn objects(&self) -> Arc<dyn ObjectStore> {
        self.store.objects()
    }

    /// The text of a version's entry.
    async fn entry(&self, version: u64) -> String {
        let path = Path::from(format!("_delta_log/{version:020}.json"));
        let bytes = self
            .objects()
            .get(&path)
            .await
            .unwrap()
            .bytes()
            .await
            .unwrap();
        String::from_utf8(bytes.to_vec()).unwrap()
    }

    /// Puts a foreign entry at the next version.
    async fn foreign(&self, lines: &[String]) {
        let version = self.load().await.version() + 1;
        let text = format!(
            "{{\"commitInfo\":{{\"operation\":\"DELETE\",\"engineInfo\":\"other\"}}}}\n{}\n",
            lines.join("\n")
        );
        let path = Path::from(format!("_delta_log/{version:020}.json"));
        self.objects().put(&path, text.into()).await.unwrap();
    }
}

fn removal(path: &str, data_change: bool) -> String {
    format!(
        r#"{{"remove":{{"path":"{path}","deletionTimestamp":{NOW_MS},"dataChange":{data_change}}}}}"#
    )
}

fn read(batch: &RecordBatch, region: Option<&str>) -> Vec<Row> {
    let number = |name: &str| {
        batch
            .column_by_name(name)
            .unwrap()
            .as_primitive::<Int64Type>()
            .clone()
    };
    let (ids, offsets) = (number("id"), number("_kafka_offset"));
    let texts = batch
        .column_by_name("text")
        .unwrap()
        .as_string::<i32>()
        .clone();
    (0..batch.num_rows())
        .map(|row| {
            let text = texts.is_valid(row).then(|| texts.value(row).to_owned());
            (
                ids.value(row),
                text,
                region.map(str::to_owned),
                offsets.value(row),
            )
        })
        .collect()
}

fn columns() -> SchemaRef {
    Arc::new(Schema::new(vec![
        Field::new("id", DataType::Int64, true),
        Field::new("text", DataType::Utf8, true),
        Field::new("region", DataType::Utf8, true),
        Field::new("_kafka_topic", DataType::Utf8, true),
        Field::new("_kafka_partition", DataType::Int32, true),
        Field::new("_kafka_offset", DataType::Int64, true),
    ]))
}

fn batch(from: i64, rows: usize) -> RecordBatch {
    let offsets: Vec<i64> = (from..).take(rows).collect();
    let of = |f: &dyn Fn(i64) -> Option<String>| -> ArrayRef {
        Arc::new(
            offsets
                .iter()
                .map(|offset| f(*offset))
                .collect::<StringArray>(),
        )
    };
    let columns_of: Vec<ArrayRef> = vec![
        Arc::new(Int64Array::from_iter_values(
            offsets.iter().map(|offset| (offset * 7919) % 1000),
        )),
        of(&|offset| (offset % 5 != 0).then(|| format!("text {offset}"))),
        of(&|offset| match offset % 3 {
            0 => Some("a/b %".to_owned()),
            1 => Some("eu".to_owned()),
            _ => None,
        }),
        of(&|_| Some(TOPIC.to_owned())),
        Arc::new(Int32Array::from_iter_values(offsets.iter().map(|_| 0))),
        Arc::new(Int64Array::from(offsets.clone())),
    ];
    RecordBatch::try_new(columns(), columns_of).unwrap()
}

/// What a table of `rows` records holds.
fn expected(rows: i64) -> Vec<Row> {
    let mut all: Vec<Row> = (0..rows)
        .map(|offset| {
            let region = match offset % 3 {
                0 => Some("a/b %".to_owned()),
                1 => Some("eu".to_owned()),
                _ => None,
            };
            let text = (offset % 5 != 0).then(|| format!("text {offset}"));
            ((offset * 7919) % 1000, text, region, offset)
        })
        .collect();
    all.sort();
    all
}
