//! Opening a table: from entries, from checkpoints, and from logs that are damaged.

use super::*;
use crate::error::Kind;
use crate::maintenance::checkpoint::Checkpoints;
use crate::testing::faulty_store::{Fault, Operation, When};

const HINT: &str = "_delta_log/_last_checkpoint";

async fn filled(count: i64) -> Lake {
    let lake = Lake::new();
    let mut table = lake.create().await;
    for offset in 0..count {
        let name = format!("{offset:04}");
        let spans = [(0, offset, offset + 1), (1, offset * 2, offset * 2 + 2)];
        table.commit(&append(&spans, &name), "shop").await;
    }
    lake
}

fn checkpoint(version: u64) -> String {
    format!("_delta_log/{version:020}.checkpoint.parquet")
}

/// Both loads, apart from what a load knows of its own time and place.
fn check_same(left: &Table, right: &Table) {
    assert_eq!(left.version(), right.version());
    assert_eq!(left.state.txns, right.state.txns);
    assert_eq!(left.state.protocol, right.state.protocol);
    assert_eq!(left.state.shape.metadata, right.state.shape.metadata);
    assert_eq!(left.sources(), right.sources());
    assert_eq!(left.valid_through_ms(), right.valid_through_ms());
}

#[tokio::test]
async fn a_load_from_a_checkpoint_is_a_load_from_the_entries() {
    let lake = filled(50).await;
    let from_entries = lake.load().await;
    assert_eq!(lake.table.write_checkpoint(&lake.clock).await.unwrap(), 50);
    check_same(&lake.load().await, &from_entries);
    for version in 0..50 {
        lake.delete(&entry(version)).await;
    }
    check_same(&lake.load().await, &from_entries);
    let mut table = lake.load().await;
    assert_eq!(
        table.commit(&append(&[(0, 50, 51)], "x"), "shop").await,
        CommitOutcome::Committed(51)
    );
    assert_eq!(lake.load().await.committed(&partition(0)).unwrap(), 51);
    assert_eq!(lake.second_opinion().await.2, [Some(51), Some(100)]);
}

#[tokio::test]
async fn a_bad_last_checkpoint_costs_a_listing_and_no_more() {
    let lake = filled(12).await;
    lake.table.write_checkpoint(&lake.clock).await.unwrap();
    for version in 0..12 {
        lake.delete(&entry(version)).await;
    }
    let expect = lake.load().await;
    for hint in ["", "{", r#"{"version":7}"#, r#"{"version":99,"size":1}"#] {
        lake.write(HINT, hint).await;
        check_same(&lake.load().await, &expect);
    }
    lake.delete(HINT).await;
    check_same(&lake.load().await, &expect);
}

#[tokio::test]
async fn an_unreadable_checkpoint_gives_way_to_an_older_one_or_to_the_entries() {
    let lake = filled(10).await;
    lake.table.write_checkpoint(&lake.clock).await.unwrap();
    let mut table = lake.load().await;
    table.commit(&append(&[(0, 10, 11)], "x"), "shop").await;
    lake.table.write_checkpoint(&lake.clock).await.unwrap();
    let older = lake.bytes(&checkpoint(10)).await;
    let expect = lake.load().await;
    for damage in ["", "PAR1", &"x".repeat(5000)] {
        lake.write(&checkpoint(11), damage).await;
        check_same(&lake.load().await, &expect);
    }
    lake.write(&checkpoint(10), "PAR1").await;
    check_same(&lake.load().await, &expect);
    lake.write(&checkpoint(10), &older).await;
    for version in 0..10 {
        lake.delete(&entry(version)).await;
    }
    check_same(&lake.load().await, &expect);
    lake.write(&checkpoint(10), "PAR1").await;
    let error = lake.load_error().await;
    assert!(
        error.contains("is damaged at version 11: checkpoint"),
        "{error}"
    );
}

#[tokio::test]
async fn checkpoints_of_other_writers_are_read_in_all_their_forms() {
    let lake = filled(10).await;
    let expect = lake.load().await;
    let actions = [
        lake.metadata_with(&[]).await,
        r#"{"protocol":{"minReaderVersion":1,"minWriterVersion":2}}"#.to_owned(),
        r#"{"txn":{"appId":"lakeward/shop.orders/0/0","version":10}}"#.to_owned(),
        r#"{"txn":{"appId":"lakeward/shop.orders/0/1","version":20}}"#.to_owned(),
        r#"{"checkpointMetadata":{"version":10}}"#.to_owned(),
        r#"{"sidecar":{"path":"a.parquet","sizeInBytes":1,"modificationTime":1}}"#.to_owned(),
    ];
    lake.table.write_checkpoint(&lake.clock).await.unwrap();
    let bytes = lake
        .inner()
        .get(&Path::from(format!("lake/orders/{}", checkpoint(10))))
        .await
        .unwrap()
        .bytes()
        .await
        .unwrap();
    lake.delete(&checkpoint(10)).await;
    lake.delete(HINT).await;
    for version in 0..10 {
        lake.delete(&entry(version)).await;
    }
    let part = |number: u32| {
        Path::from(format!(
            "lake/orders/_delta_log/00000000000000000010.checkpoint.{number:010}.0000000002.parquet"
        ))
    };
    lake.inner()
        .put(&part(1), bytes.clone().into())
        .await
        .unwrap();
    let error = lake.load_error().await;
    assert!(
        error.contains("there is no checkpoint, and the entries begin at version 10"),
        "{error}"
    );
    lake.inner().put(&part(2), bytes.into()).await.unwrap();
    check_same(&lake.load().await, &expect);
    for number in [1, 2] {
        lake.inner().delete(&part(number)).await.unwrap();
    }
    let v2 = "_delta_log/00000000000000000010.checkpoint.80a083e8-7026-4e79-81be-64bd76c43a11.json";
    lake.write(v2, &actions.join("\n")).await;
    check_same(&lake.load().await, &expect);
}

#[tokio::test]
async fn a_hole_in_the_log_is_named_and_nothing_is_committed_over_it() {
    let lake = filled(6).await;
    let mut table = lake.load().await;
    lake.faulty
        .rule(Operation::Get, &entry(4), When::Always, Fault::Hide);
    let error = Table::load(&lake.table, &lake.clock).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "the log of `memory:///lake/orders/` is damaged at version 4: its entry is missing, but there is one of version 6"
    );
    assert_eq!(error.kind(), Kind::Corrupt);
    lake.faulty.heal();
    assert_eq!(
        table.commit(&append(&[(0, 6, 7)], "x"), "shop").await,
        CommitOutcome::Committed(7)
    );
}

#[tokio::test]
async fn damaged_logs_are_named() {
    let check = async |files: &[(&str, &str)], part: &str| {
        let lake = Lake::new();
        for (name, text) in files {
            lake.write(name, text).await;
        }
        let error = lake.load_error().await;
        assert!(error.contains(part), "{error} does not say {part}");
    };
    let (first, second) = (entry(0), entry(1));
    let info = r#"{"commitInfo":{}}"#;
    check(
        &[(&first, "")],
        "is damaged at version 0: the entry is empty",
    )
    .await;
    check(
        &[(&first, "x")],
        "is damaged at version 0: line 1 is not a Delta action",
    )
    .await;
    check(&[(&first, info)], "no entry up to it names the protocol").await;
    check(&[(&second, info)], "the entries begin at version 1").await;
    check(&[(HINT, r#"{"version":3}"#)], "_last_checkpoint names it").await;
    check(
        &[(&checkpoint(3), "x")],
        "is damaged at version 3: checkpoint",
    )
    .await;
}

#[tokio::test]
async fn refused_features_are_named_at_load() {
    let lake = Lake::new();
    lake.create().await;
    let upgraded = r#"{"protocol":{"minReaderVersion":2,"minWriterVersion":5}}"#;
    let mapped = lake
        .metadata_with(&[(
            r#""configuration":{"#,
            r#""configuration":{"delta.columnMapping.mode":"name","#,
        )])
        .await;
    lake.foreign(1, &[upgraded, &mapped]).await;
    let error = Table::load(&lake.table, &lake.clock).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "the table `memory:///lake/orders/` uses the table feature columnMapping: its files carry other column names (delta.columnMapping.mode is `name`), which is not \
         built yet; drop the feature (ALTER TABLE ... DROP FEATURE) or write to a new table"
    );
    assert_eq!(error.kind(), Kind::Corrupt);
}

#[tokio::test]
async fn a_thousand_topic_partitions_are_read_in_one_pass() {
    let lake = Lake::new();
    let offsets = (0..1000)
        .map(|number| (number, i64::from(number) * 3))
        .collect::<Vec<_>>();
    Table::create(&lake.table, &creation(), &[start(&offsets)], &lake.clock)
        .await
        .unwrap();
    lake.table.write_checkpoint(&lake.clock).await.unwrap();
    lake.delete(&entry(0)).await;
    let before = lake.faulty.requests();
    let table = lake.load().await;
    assert!(
        lake.faulty.requests() - before < 12,
        "{}",
        lake.faulty.requests() - before
    );
    assert_eq!(table.committed(&partition(999)).unwrap(), 2997);
}

#[tokio::test]
async fn checkpoints_are_written_when_they_are_due_and_only_then() {
    let lake = filled(25).await;
    let mut ours = Checkpoints::new(lake.table.clone(), lake.clock.clone(), Some(10), None);
    let mut theirs = Checkpoints::new(lake.table.clone(), lake.clock.clone(), None, Some("10"));
    assert_eq!(ours.checkpoint_if_due(9).await.unwrap(), None);
    assert_eq!(ours.checkpoint_if_due(10).await.unwrap(), Some(25));
    assert_eq!(ours.checkpoint_if_due(25).await.unwrap(), None);
    assert_eq!(theirs.checkpoint_if_due(25).await.unwrap(), None);
    assert_eq!(lake.table.newest_checkpoint().await.unwrap(), Some(25));
    assert!(lake.exists(0).await, "no log is cleaned up");
    lake.table.write_checkpoint(&lake.clock).await.unwrap();
}

#[tokio::test]
async fn commits_on_a_local_disk_are_durable_and_quick() {
    let dir = tempfile::tempdir().unwrap();
    let clock = Clock::machine();
    let url = Url::from_file_path(dir.path()).unwrap();
    let storage = crate::config::settings::Storage {
        url,
        options: BTreeMap::new(),
    };
    let store = Store::open(&storage).unwrap();
    store.probe(&clock).await.unwrap();
    let orders = store.table("a b/örders").unwrap();
    let mut table = Table::create(&orders, &creation(), &[start(&[(0, 0), (1, 0)])], &clock)
        .await
        .unwrap();
    // What a crashed writer may leave behind.
    let staged = dir
        .path()
        .join("a b/örders")
        .join(format!("{}#1", entry(3)));
    std::fs::write(staged, "torn").unwrap();
    let mut slowest_ms = [0, 0];
    let begun = clock.now();
    for offset in 0..200 {
        let before = clock.now();
        let mut append = append(&[(0, offset, offset + 1)], &format!("{offset:04}"));
        append
            .files
            .iter_mut()
            .for_each(|file| file.staged = before);
        let outcome = table.commit(&append, "shop").await;
        assert_eq!(outcome, CommitOutcome::Committed(offset.unsigned_abs() + 1));
        let half = usize::from(offset >= 100);
        slowest_ms[half] = slowest_ms[half].max(clock.now().since(before).as_millis());
    }
    let total = clock.now().since(begun);
    println!(
        "200 local commits: {} ms each; slowest {slowest_ms:?} ms",
        total.as_secs_f64() * 5.0
    );
    let (version, files, txns) = second_opinion(&orders).await;
    assert_eq!(
        (version, files.len(), txns),
        (200, 200, [Some(200), Some(0)])
    );
}
