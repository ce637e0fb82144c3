//! Rejected records between the commit that names them and the one that shows them (DLQ-1), over a store that fails, with processes that die in between.

use std::time::Duration;

use serde_json::Value;

use super::*;
use crate::delta::{Error, Publisher};
use crate::error::Kind;
use crate::model::commit::{Outbox, Replaced, Replay};
use crate::testing::faulty_store::{Failure, Fault, Operation, When};

const FOLDER: &str = "rejects/orders";
const LOG: &str = "rejects/orders/_delta_log/0";

fn rejected_columns() -> SchemaRef {
    let offset = Field::new("_kafka_offset", DataType::Int64, true);
    Arc::new(Schema::new(vec![offset]))
}

fn rejected(name: &str, rows: u64) -> StagedFile {
    StagedFile {
        path: name.to_owned(),
        partition_values: BTreeMap::new(),
        size_bytes: 3,
        ..file(name, rows)
    }
}

impl Lake {
    fn dlq(&self) -> TableStore {
        self.table.beside(FOLDER).unwrap()
    }

    /// Puts a file into the folder of rejected records, and names it in a commit of the main table.
    async fn reject(&self, table: &mut Table, start: i64, name: &str) -> u64 {
        let mut publisher = Publisher::new(&self.clock);
        publisher
            .prepare(table, FOLDER, &rejected_columns())
            .await
            .unwrap();
        self.reject_prepared(table, start, name).await
    }

    async fn reject_prepared(&self, table: &mut Table, start: i64, name: &str) -> u64 {
        let path = Path::from(format!("lake/{FOLDER}/{name}"));
        self.inner()
            .put(&path, b"abc".to_vec().into())
            .await
            .unwrap();
        let mut append = append(&[(0, start, start + 2)], &format!("main-{name}"));
        append.outbox = Some(Outbox {
            table: FOLDER.to_owned(),
            files: vec![rejected(name, 1)],
        });
        let outcome = table.commit(&append, "shop").await;
        let CommitOutcome::Committed(version) = outcome else {
            panic!("{outcome:?}");
        };
        version
    }

    async fn publish_anew(&self) -> Result<u64, Error> {
        let mut publisher = Publisher::new(&self.clock);
        Ok(publisher.publish(&self.load().await).await?.rows)
    }

    /// The files that readers of the rejected records see.
    async fn shown(&self) -> Vec<String> {
        second_opinion(&self.dlq()).await.1
    }

    /// How often each file was ever added.
    async fn added(&self) -> BTreeMap<String, u64> {
        let mut added = BTreeMap::new();
        for version in 0.. {
            let path = Path::from(format!("lake/{FOLDER}/{}", entry(version)));
            let Ok(found) = self.inner().get(&path).await else {
                return added;
            };
            let text = String::from_utf8(found.bytes().await.unwrap().to_vec()).unwrap();
            for line in text.lines() {
                let action: Value = serde_json::from_str(line).unwrap();
                if let Some(path) = action["add"]["path"].as_str() {
                    *added.entry(path.to_owned()).or_default() += 1;
                }
            }
        }
        added
    }
}

async fn info(lake: &Lake, version: u64) -> Value {
    let text = lake.read(&entry(version)).await;
    let line: Value = serde_json::from_str(text.lines().next().unwrap()).unwrap();
    line["commitInfo"].clone()
}

#[tokio::test]
async fn dlq_1_a_commit_names_its_rejects_and_they_are_shown_once() {
    let lake = Lake::new();
    let mut table = lake.create().await;
    let first = lake.reject(&mut table, 0, "a").await;
    let second = lake.reject(&mut table, 2, "b").await;
    let outbox = info(&lake, second).await["lakeward"]["outbox"].clone();
    assert_eq!(
        (&outbox["prev"], &outbox["files"][0]["path"]),
        (&Value::from(first), &Value::from("b"))
    );
    assert!(info(&lake, first).await["lakeward"]["outbox"]["prev"].is_null());
    let text = lake.read(&entry(second)).await;
    assert!(
        text.contains(r#"{"txn":{"appId":"lakeward/outbox:rejects%2Forders","version":2}}"#),
        "OFF-6: {text}"
    );
    assert!(lake.shown().await.is_empty());
    assert_eq!(lake.publish_anew().await.unwrap(), 2);
    assert_eq!(lake.shown().await, ["a", "b"]);
    assert_eq!(lake.publish_anew().await.unwrap(), 0);
    assert_eq!(lake.added().await.into_values().collect::<Vec<_>>(), [1, 1]);
}

#[tokio::test]
async fn dlq_1_two_that_publish_at_once_show_everything_once() {
    let lake = Lake::new();
    let mut table = lake.create().await;
    lake.reject(&mut table, 0, "a").await;
    let (mut one, mut other) = (Publisher::new(&lake.clock), Publisher::new(&lake.clock));
    for publisher in [&mut one, &mut other] {
        // Both have the table open as it is before either publishes.
        publisher
            .prepare(&table, FOLDER, &rejected_columns())
            .await
            .unwrap();
    }
    assert_eq!(one.publish(&table).await.unwrap().rows, 1);
    assert_eq!(other.publish(&table).await.unwrap().rows, 0);
    lake.reject(&mut table, 2, "b").await;
    assert_eq!(other.publish(&table).await.unwrap().rows, 1);
    assert_eq!(one.publish(&table).await.unwrap().rows, 0);
    assert_eq!(lake.added().await.into_values().collect::<Vec<_>>(), [1, 1]);
}

/// A process that dies with the nth request to the rejected records' log: whatever it was, the next process shows everything once.
#[tokio::test]
async fn dlq_1_a_process_that_dies_anywhere_leaves_it_to_the_next_one() {
    let mut cases = 0;
    for operation in [Operation::Put, Operation::Get] {
        for (fault, nth) in [Fault::FailBefore, Fault::FailAfter]
            .into_iter()
            .flat_map(|fault| (1..=6).map(move |nth| (fault, nth)))
        {
            let lake = Lake::new();
            let mut table = lake.create().await;
            lake.reject(&mut table, 0, "a").await;
            lake.reject(&mut table, 2, "b").await;
            let failure = fault(Failure::Unavailable);
            lake.faulty.rule(operation, LOG, When::Nth(nth), failure);
            let dead = Fault::FailBefore(Failure::Forbidden);
            // From then on it hears nothing any more.
            lake.faulty
                .rule(operation, LOG, When::Every(nth + 1), dead.clone());
            cases += u64::from(lake.publish_anew().await.is_err());
            lake.faulty.heal();
            lake.publish_anew().await.unwrap();
            assert_eq!(lake.shown().await, ["a", "b"], "{operation:?} {nth}");
            let added = lake.added().await;
            assert!(added.values().all(|times| *times == 1), "{added:?}");
        }
    }
    println!("{cases} processes failed");
}

#[tokio::test]
async fn dlq_1_an_entry_or_a_file_that_is_gone_is_named_and_nothing_is_shown() {
    let lake = Lake::new();
    let mut table = lake.create().await;
    let version = lake.reject(&mut table, 0, "a").await;
    let path = Path::from(format!("lake/{FOLDER}/a"));
    lake.inner().delete(&path).await.unwrap();
    let error = lake.publish_anew().await.unwrap_err();
    assert_eq!(error.kind(), Kind::Corrupt);
    assert!(
        error.to_string().contains("rejects/orders/a` is gone"),
        "{error}"
    );
    lake.inner()
        .put(&path, b"ab".to_vec().into())
        .await
        .unwrap();
    let error = lake.publish_anew().await.unwrap_err().to_string();
    assert!(error.contains("2 bytes instead of 3"), "{error}");
    lake.inner()
        .put(&path, b"abc".to_vec().into())
        .await
        .unwrap();
    let mut publisher = Publisher::new(&lake.clock);
    let newest = lake.load().await;
    lake.delete(&entry(version)).await;
    let error = publisher.publish(&newest).await.unwrap_err().to_string();
    assert!(
        error.contains("version 1") && error.contains("cleaned up"),
        "{error}"
    );
    assert!(lake.shown().await.is_empty());
}

#[tokio::test]
async fn dlq_1_a_table_of_rejects_that_was_dropped_begins_anew() {
    let lake = Lake::new();
    let mut table = lake.create().await;
    lake.reject(&mut table, 0, "a").await;
    lake.publish_anew().await.unwrap();
    let folder = Path::from(format!("lake/{FOLDER}"));
    let objects = lake.inner();
    let all: Vec<_> = futures::StreamExt::collect(objects.list(Some(&folder))).await;
    for meta in all {
        let meta: object_store::Result<object_store::ObjectMeta> = meta;
        objects.delete(&meta.unwrap().location).await.unwrap();
    }
    assert_eq!(lake.publish_anew().await.unwrap(), 0, "nobody asks for it");
    lake.reject(&mut table, 2, "b").await;
    assert_eq!(lake.publish_anew().await.unwrap(), 1);
    assert_eq!(lake.shown().await, ["b"]);
}

#[tokio::test]
async fn dlq_1_what_was_named_for_another_folder_is_still_shown_there() {
    let lake = Lake::new();
    let mut table = lake.create().await;
    lake.reject(&mut table, 0, "a").await;
    // The config names another folder now.
    let mut publisher = Publisher::new(&lake.clock);
    publisher
        .prepare(&table, "elsewhere", &rejected_columns())
        .await
        .unwrap();
    publisher.publish(&table).await.unwrap();
    assert_eq!(lake.shown().await, ["a"]);
}

fn replay(follows: Option<i64>, replaced: &str, left: &str) -> Replay {
    Replay {
        files: vec![file(&format!("replayed-{left}"), 1)],
        columns: None,
        outbox: Outbox {
            table: FOLDER.to_owned(),
            files: vec![rejected(left, 1)],
        },
        replaced: vec![Replaced {
            path_in_log: replaced.to_owned(),
            key: replaced.to_owned(),
            partition_values: BTreeMap::new(),
            size_bytes: 3,
            rows: 2,
        }],
        coordinates: BTreeMap::from([(partition(0), vec![Span::new(0, 1).unwrap()])]),
        follows,
    }
}

#[tokio::test]
async fn dlq_1_a_replay_takes_its_records_out_once_and_excludes_another() {
    let lake = Lake::new();
    let mut table = lake.create().await;
    lake.reject(&mut table, 0, "a").await;
    lake.publish_anew().await.unwrap();
    let left = Path::from(format!("lake/{FOLDER}/left"));
    lake.inner()
        .put(&left, b"abc".to_vec().into())
        .await
        .unwrap();
    let (mut one, mut other) = (lake.load().await, lake.load().await);
    let committed = one
        .replay(&replay(one.last_replay(), "a", "left"), "shop")
        .await;
    assert_eq!(committed, CommitOutcome::Committed(2));
    let second = other.replay(&replay(None, "a", "left"), "shop").await;
    check_superseded(&second, "replay");
    assert_eq!(one.last_replay(), Some(2));
    assert_eq!(lake.shown().await, ["a"], "its process died here");
    lake.publish_anew().await.unwrap();
    assert_eq!(lake.shown().await, ["left"]);
    lake.publish_anew().await.unwrap();
    let (version, files, txns) = lake.second_opinion().await;
    assert_eq!((version, txns), (2, [Some(2), Some(0)]), "offsets stay");
    assert_eq!(files, ["main-a", "replayed-left"]);
}

#[tokio::test]
async fn dlq_1_rejects_that_another_engine_rewrote_during_a_replay_are_named() {
    let lake = Lake::new();
    let mut table = lake.create().await;
    lake.reject(&mut table, 0, "a").await;
    lake.publish_anew().await.unwrap();
    let left = Path::from(format!("lake/{FOLDER}/left"));
    lake.inner()
        .put(&left, b"abc".to_vec().into())
        .await
        .unwrap();
    let mut main = lake.load().await;
    main.replay(&replay(None, "a", "left"), "shop").await;
    let entry = Path::from(format!("lake/{FOLDER}/{}", entry(3)));
    let text = "{\"remove\":{\"path\":\"a\",\"dataChange\":false}}\n{\"add\":{\"path\":\"b\",\"partitionValues\":{},\"size\":3,\"modificationTime\":0,\"dataChange\":false}}\n";
    lake.inner().put(&entry, text.into()).await.unwrap();
    let error = lake.publish_anew().await.unwrap_err().to_string();
    assert!(
        error.contains("`a`") && error.contains("another engine"),
        "{error}"
    );
}

#[tokio::test]
async fn dlq_1_an_append_that_loses_its_race_names_its_rejects_under_its_final_version() {
    let lake = Lake::new();
    let mut table = lake.create().await;
    lake.reject(&mut table, 0, "a").await;
    lake.foreign(2, &[r#"{"txn":{"appId":"other","version":1}}"#])
        .await;
    let version = lake.reject_prepared(&mut table, 2, "b").await;
    assert_eq!(version, 3);
    assert_eq!(lake.publish_anew().await.unwrap(), 2);
    assert!(lake.clock.now().since(Instant::from_millis(0)) < Duration::from_secs(60));
}
