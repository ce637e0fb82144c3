//! Checkpoints proven before they count, log clean-up and vacuum: nothing that anyone needs is deleted (FILE-1).

use std::fs::{self, File};
use std::time::SystemTime;

use super::*;
use crate::delta::Proof;
use crate::error::Kind;
use crate::maintenance::clean_log::clean_log;
use crate::maintenance::vacuum::vacuum;
use crate::testing::faulty_store::{Failure, Fault, Operation, When};

pub(super) const DAY: Duration = Duration::from_secs(86_400);

/// Makes a file of the table older by the store's time stamp.
pub(super) fn age(folder: &LocalPath, key: &str, by: Duration) {
    let file = File::options()
        .write(true)
        .open(folder.join("orders").join(key))
        .unwrap();
    let now = Duration::from_millis(Clock::machine().wall_ms().unsigned_abs());
    file.set_modified(SystemTime::UNIX_EPOCH + now - by)
        .unwrap();
}

/// What vacuum must never judge, however old.
const KEPT: [&str; 4] = [
    "_lakeward_outbox/r.parquet",
    "_change_data/c.parquet",
    "notes.txt",
    "deletion_vector_1.bin",
];

/// Puts that beside the data, and one file that a crash of a checkpoint left.
fn put_beside_the_data(folder: &LocalPath) {
    for other in KEPT.into_iter().chain(["_lakeward_staging/s.parquet"]) {
        let path = folder.join("orders").join(other);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, "x").unwrap();
        age(folder, other, DAY * 90);
    }
}

pub(super) fn log(version: u64, end: &str) -> String {
    format!("_delta_log/{version:020}.{end}")
}

/// A table of ten versions with checkpoints at 3, 6 and 9, all of it old but version 8 and what follows.
async fn make_old_log(lake: Lake, folder: &LocalPath) -> Lake {
    for index in 1..=9 {
        lake.append(30).await;
        if index % 3 == 0 {
            lake.store.write_checkpoint(&lake.clock).await.unwrap();
        }
    }
    for version in 0..=7 {
        age(folder, &log(version, "json"), DAY * 40);
    }
    for version in [3, 6] {
        age(folder, &log(version, "checkpoint.parquet"), DAY * 40);
    }
    lake
}

#[tokio::test]
async fn a_checkpoint_that_cannot_be_stored_is_an_error_and_the_next_one_counts() {
    for failure in [Failure::Unavailable, Failure::Forbidden] {
        let lake = Lake::in_memory(1).await;
        lake.append(30).await;
        let faulty = lake.faulty.as_ref().unwrap();
        let fault = Fault::FailBefore(failure);
        faulty.rule(Operation::Put, "_lakeward_staging", When::Always, fault);
        let error = lake.store.write_checkpoint(&lake.clock).await.unwrap_err();
        assert_eq!(error.kind(), Kind::Unavailable, "{error}");
        // The store's own words: a writer that panicked would be an error too.
        assert!(error.to_string().contains("scripted"), "{error}");
        assert_eq!(lake.store.newest_checkpoint().await.unwrap(), None);
        faulty.heal();
        assert_eq!(lake.store.write_checkpoint(&lake.clock).await.unwrap(), 1);
    }
}

#[tokio::test]
async fn a_checkpoint_that_cannot_be_read_back_does_not_count() {
    let lake = Lake::in_memory(1).await;
    for _ in 0..3 {
        lake.append(30).await;
    }
    // What the store keeps of the staged checkpoint is cut short, as by a proxy.
    let cut: crate::testing::faulty_store::Interruption = Arc::new(|inner| {
        Box::pin(async move {
            use futures::TryStreamExt as _;
            let all: Vec<_> = inner
                .list(Some(&Path::from("lake/orders/_lakeward_staging")))
                .try_collect()
                .await
                .unwrap();
            for meta in all {
                let bytes = inner
                    .get(&meta.location)
                    .await
                    .unwrap()
                    .bytes()
                    .await
                    .unwrap();
                inner
                    .put(&meta.location, bytes.slice(..bytes.len() - 20).into())
                    .await
                    .unwrap();
            }
        })
    });
    let faulty = lake.faulty.clone().unwrap();
    faulty.rule(
        Operation::Get,
        "_lakeward_staging",
        When::First(1),
        Fault::First(cut),
    );
    let error = lake
        .store
        .write_checkpoint(&lake.clock)
        .await
        .unwrap_err()
        .to_string();
    assert!(error.contains("checkpoint"), "{error}");
    assert_eq!(
        lake.store.newest_checkpoint().await.unwrap(),
        None,
        "_last_checkpoint did not move"
    );
    let named = Path::from(log(3, "checkpoint.parquet"));
    assert!(
        lake.objects().head(&named).await.is_err(),
        "and no reader sees it"
    );
    faulty.heal();
    assert_eq!(lake.store.write_checkpoint(&lake.clock).await.unwrap(), 3);
    assert_eq!(
        lake.store.verify_checkpoint(3).await.unwrap(),
        Proof::Replayed
    );
    assert_eq!(lake.rows().await, expected(90));
}

#[tokio::test]
async fn a_checkpoint_that_lost_something_is_found_and_no_log_below_it_is_deleted() {
    let folder = tempfile::tempdir().unwrap();
    let lake = Lake::on_disk(folder.path()).await;
    for _ in 0..3 {
        lake.append(30).await;
    }
    lake.store.write_checkpoint(&lake.clock).await.unwrap();
    // A foreign checkpoint of a later version that holds an earlier one's files.
    lake.append(30).await;
    let at = folder.path().join("orders");
    fs::copy(
        at.join(log(3, "checkpoint.parquet")),
        at.join(log(4, "checkpoint.parquet")),
    )
    .unwrap();
    fs::remove_file(at.join(log(3, "checkpoint.parquet"))).unwrap();
    for version in 0..=4 {
        age(folder.path(), &log(version, "json"), DAY * 40);
    }
    let files = lake.files().await;
    // Nobody names it yet, so that nobody who reads meanwhile could know of a clean-up below it.
    let unnamed = clean_log(&lake.store, &lake.clock, &files, DAY * 30, false).await;
    assert_eq!(unnamed.unwrap().oldest_version, None);
    fs::write(
        at.join("_delta_log/_last_checkpoint"),
        r#"{"version":4,"size":6}"#,
    )
    .unwrap();
    let error = clean_log(&lake.store, &lake.clock, &files, DAY * 30, false)
        .await
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("version 4") && error.contains("not what the log says"),
        "{error}"
    );
    assert!(at.join(log(0, "json")).exists());
}

#[tokio::test]
async fn log_clean_up_keeps_every_version_inside_the_retention_readable() {
    let folder = tempfile::tempdir().unwrap();
    let lake = make_old_log(Lake::on_disk(folder.path()).await, folder.path()).await;
    let files = lake.files().await;
    let dry = clean_log(&lake.store, &lake.clock, &files, DAY * 30, true)
        .await
        .unwrap();
    assert!(
        folder.path().join("orders").join(log(0, "json")).exists(),
        "a dry run deletes nothing"
    );
    let done = clean_log(&lake.store, &lake.clock, &files, DAY * 30, false)
        .await
        .unwrap();
    assert_eq!(done, dry);
    // Version 8 is the oldest inside; checkpoint 6 is what it is read from.
    assert_eq!((done.oldest_version, done.objects), (Some(6), 7));
    for through in 6..=9 {
        let extent = Extent {
            through: Some(through),
            ..Extent::default()
        };
        let list = FileList::load(&lake.store, extent).await.unwrap();
        assert_eq!(list.version(), through);
    }
    assert_eq!(lake.rows().await, expected(270));
    assert_eq!(
        clean_log(&lake.store, &lake.clock, &files, DAY * 30, false)
            .await
            .unwrap()
            .objects,
        0
    );
}

#[tokio::test]
async fn a_clean_up_that_was_killed_anywhere_is_ended_by_the_next_one() {
    // In the order in which a clean-up deletes.
    let expired = [0, 1, 2, 3]
        .map(|version| log(version, "json"))
        .into_iter()
        .chain([log(3, "checkpoint.parquet"), log(4, "json"), log(5, "json")])
        .collect::<Vec<_>>();
    for deleted in 0..=expired.len() {
        let folder = tempfile::tempdir().unwrap();
        let lake = make_old_log(Lake::on_disk(folder.path()).await, folder.path()).await;
        let files = lake.files().await;
        for key in &expired[..deleted] {
            fs::remove_file(folder.path().join("orders").join(key)).unwrap();
        }
        let done = clean_log(&lake.store, &lake.clock, &files, DAY * 30, false)
            .await
            .unwrap_or_else(|error| panic!("after {deleted}: {error}"));
        assert_eq!(done.objects, (expired.len() - deleted) as u64);
        assert!(
            expired
                .iter()
                .all(|key| !folder.path().join("orders").join(key).exists())
        );
        assert_eq!(lake.rows().await, expected(270));
    }
}

#[tokio::test]
async fn a_clean_up_overtaken_by_another_is_not_taken_for_damage() {
    // The other one is at work just after this one has chosen checkpoint 6: it ends at the same checkpoint, or at a later one.
    for (below, boundary) in [(6, Some(6)), (9, None)] {
        let folder = tempfile::tempdir().unwrap();
        let lake = make_old_log(Lake::on_disk(folder.path()).await, folder.path()).await;
        let files = lake.files().await;
        let (store, faulty) = Lake::behind_faults(folder.path());
        let other: crate::testing::faulty_store::Interruption = Arc::new(move |inner| {
            Box::pin(async move {
                for version in 0..below {
                    for end in ["json", "checkpoint.parquet"] {
                        let path = Path::from(format!("orders/{}", log(version, end)));
                        inner.delete(&path).await.unwrap_or_default();
                    }
                }
            })
        });
        faulty.rule(
            Operation::Get,
            &log(3, "checkpoint.parquet"),
            When::First(1),
            Fault::First(other),
        );
        let done = clean_log(&store, &lake.clock, &files, DAY * 30, false)
            .await
            .unwrap_or_else(|error| panic!("the other deletes below {below}: {error}"));
        assert_eq!(done.oldest_version, boundary, "{done:?}");
        assert_eq!(lake.rows().await, expected(270));
    }
}

#[tokio::test]
async fn file_1_vacuum_deletes_only_what_is_unreferenced_and_old() {
    let folder = tempfile::tempdir().unwrap();
    let lake = Lake::on_disk(folder.path()).await;
    let mut keys = Vec::new();
    for _ in 0..4 {
        keys.extend(lake.append(30).await.into_iter().map(|file| file.path));
    }
    lake.compact().await.unwrap();
    let live: Vec<String> = lake
        .files()
        .await
        .files()
        .map(|(key, _)| key.to_owned())
        .collect();
    let orphans: Vec<String> = lake
        .stage(500, 9)
        .await
        .into_iter()
        .map(|file| file.path)
        .collect();
    let on_its_way: Vec<String> = lake
        .stage(900, 9)
        .await
        .into_iter()
        .map(|file| file.path)
        .collect();
    let at = folder.path().join("orders");
    put_beside_the_data(folder.path());
    for key in keys.iter().chain(&live).chain(&orphans) {
        age(folder.path(), key, DAY * 90);
    }
    let run = async |older_than: Duration, is_dry_run: bool| {
        vacuum(
            &lake.store,
            &lake.clock,
            older_than,
            is_dry_run,
            &Pace::default(),
        )
        .await
        .unwrap()
    };
    // What was merged was taken out just now: an older version needs it, however old the file.
    let forecast = run(DAY * 7, true).await;
    assert!(orphans.iter().all(|key| at.join(key).exists()));
    let done = run(DAY * 7, false).await;
    assert_eq!(done, forecast);
    assert_eq!(done.files, 4);
    assert!(
        orphans.iter().all(|key| !at.join(key).exists()),
        "FILE-1: orphans of a crash go"
    );
    for kept in keys
        .iter()
        .chain(&live)
        .chain(&on_its_way)
        .map(String::as_str)
        .chain(KEPT)
    {
        assert!(at.join(kept).exists(), "FILE-1: {kept}");
    }
    // However little is asked for, an hour is kept (H19).
    assert_eq!(run(Duration::ZERO, false).await.files, 0);
    assert!(on_its_way.iter().all(|key| at.join(key).exists()));
    assert_eq!(lake.rows().await, expected(120));
}

#[tokio::test]
async fn file_1_tombstones_that_checkpoints_dropped_still_count() {
    let folder = tempfile::tempdir().unwrap();
    let lake = Lake::on_disk(folder.path()).await;
    let files = lake.append(30).await;
    // Taken out ten days ago: Delta's checkpoints keep such tombstones for a week.
    let removed_ms = lake.clock.wall_ms() - 10 * 86_400_000;
    let path = lake
        .files()
        .await
        .get(&files[0].path)
        .unwrap()
        .path_in_log
        .clone();
    lake.foreign(&[format!(
        r#"{{"remove":{{"path":"{path}","deletionTimestamp":{removed_ms},"dataChange":true}}}}"#
    )])
    .await;
    lake.store.write_checkpoint(&lake.clock).await.unwrap();
    age(folder.path(), &files[0].path, DAY * 90);
    let run = async |days: u32| {
        vacuum(
            &lake.store,
            &lake.clock,
            DAY * days,
            false,
            &Pace::default(),
        )
        .await
        .unwrap()
        .files
    };
    assert_eq!(run(30).await, 0, "FILE-1");
    assert_eq!(run(9).await, 1);
}

#[tokio::test]
async fn dlq_1_a_table_of_rejected_records_is_not_vacuumed_without_its_main_table() {
    let folder = tempfile::tempdir().unwrap();
    let lake = Lake::on_disk(folder.path()).await;
    lake.foreign(&[r#"{"txn":{"appId":"lakeward/outbox/an-id","version":1}}"#.to_owned()])
        .await;
    let vacuumed = vacuum(&lake.store, &lake.clock, DAY, false, &Pace::default())
        .await
        .unwrap();
    assert!(vacuumed.kept_because.unwrap().contains("an-id"));
}
