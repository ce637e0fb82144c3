//! Log clean-up and vacuum beside rejected records that are named and not shown yet (DLQ-1).

use std::fs;
use std::time::SystemTime;

use super::clean::{DAY, age, log};
use super::*;
use crate::delta::Publisher;
use crate::maintenance::clean_log::clean_log;
use crate::maintenance::vacuum::{Feeding, Sweep};
use crate::model::commit::Outbox;

const REJECTS: &str = "orders__dlq";

/// Names a file in the folder of rejected records in a commit of the main table, and does not publish it.
async fn reject(lake: &Lake, root: &LocalPath, name: &str) -> u64 {
    let mut table = lake.load().await;
    let mut publisher = Publisher::new(&lake.clock);
    publisher
        .prepare(&table, REJECTS, &columns())
        .await
        .unwrap();
    fs::write(root.join(REJECTS).join(name), "abc").unwrap();
    let at = TopicPartition::new(TOPIC, 0);
    let from = table.committed(&at).unwrap();
    let counts = Counts {
        rejects: 1,
        ..Counts::default()
    };
    let mut advance = Advance::default();
    advance
        .extend(&at, &Step::of(Span::new(from, from + 1).unwrap(), counts))
        .unwrap();
    let append = Append {
        epoch: Epoch::begin(1),
        advance,
        files: Vec::new(),
        columns: None,
        outbox: Some(Outbox {
            table: REJECTS.to_owned(),
            files: vec![StagedFile {
                path: name.to_owned(),
                partition_values: BTreeMap::new(),
                size_bytes: 3,
                rows: 1,
                stats: "{}".to_owned(),
                modified_ms: 0,
                staged: lake.clock.now(),
            }],
        }),
    };
    let outcome = table.commit(&append, "shop").await;
    let CommitOutcome::Committed(version) = outcome else {
        panic!("{outcome:?}");
    };
    version
}

#[tokio::test]
async fn dlq_1_clean_up_keeps_the_entries_of_unpublished_rejects_and_not_those_of_published_ones() {
    let folder = tempfile::tempdir().unwrap();
    let lake = Lake::on_disk(folder.path()).await;
    lake.append(30).await;
    lake.store.write_checkpoint(&lake.clock).await.unwrap();
    let version = reject(&lake, folder.path(), "a").await;
    for _ in 0..3 {
        lake.append(30).await;
    }
    lake.store.write_checkpoint(&lake.clock).await.unwrap();
    for version in 0..6 {
        age(folder.path(), &log(version, "json"), DAY * 40);
    }
    let clean = async || {
        let files = lake.files().await;
        clean_log(&lake.store, &lake.clock, &files, DAY * 30, false)
            .await
            .unwrap()
            .oldest_version
    };
    assert_eq!(
        clean().await,
        Some(1),
        "the newest checkpoint below version {version}"
    );
    assert!(
        lake.objects()
            .head(&Path::from(log(version, "json")))
            .await
            .is_ok()
    );
    Publisher::new(&lake.clock)
        .publish(&lake.load().await)
        .await
        .unwrap();
    assert_eq!(clean().await, Some(5));
    assert!(
        lake.objects()
            .head(&Path::from(log(version, "json")))
            .await
            .is_err()
    );
    // What was published and cleaned up is not asked for again.
    let published = Publisher::new(&lake.clock)
        .publish(&lake.load().await)
        .await;
    assert_eq!(published.unwrap().commits, 0);
}

#[tokio::test]
async fn dlq_1_vacuum_of_rejected_records_keeps_what_nobody_has_shown_yet() {
    let folder = tempfile::tempdir().unwrap();
    let lake = Lake::on_disk(folder.path()).await;
    reject(&lake, folder.path(), "named.parquet").await;
    let rejects = folder.path().join(REJECTS);
    for name in ["named.parquet", "orphan.parquet"] {
        fs::write(rejects.join(name), "abc").unwrap();
        let file = fs::File::options()
            .write(true)
            .open(rejects.join(name))
            .unwrap();
        let now = Duration::from_millis(Clock::machine().wall_ms().unsigned_abs());
        file.set_modified(SystemTime::UNIX_EPOCH + now - DAY * 40)
            .unwrap();
    }
    let store = lake.store.beside(REJECTS).unwrap();
    let feeding = Feeding {
        main: lake.store.clone(),
        folder: REJECTS.to_owned(),
    };
    let pace = Pace::default();
    let sweep = || Sweep {
        store: &store,
        clock: &lake.clock,
        older_than: DAY,
        is_dry_run: false,
        pace: &pace,
    };
    let alone = sweep().run(None).await.unwrap();
    assert!(alone.kept_because.is_some(), "{alone:?}");
    let done = sweep().run(Some(&feeding)).await.unwrap();
    assert_eq!(done.keys, ["orphan.parquet"]);
    Publisher::new(&lake.clock)
        .publish(&lake.load().await)
        .await
        .unwrap();
    assert_eq!(sweep().run(Some(&feeding)).await.unwrap().files, 0);
    assert!(rejects.join("named.parquet").exists());
}
