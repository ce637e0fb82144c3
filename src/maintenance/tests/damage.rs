//! Damage that others did to a table: named by every task, and nothing made worse (H27, H28).

use std::collections::BTreeMap;
use std::fs;

use super::clean::{DAY, age, log};
use super::*;
use crate::maintenance::clean_log::clean_log;
use crate::maintenance::vacuum::vacuum;

/// Everything in the table's folder but what the store's clock leaves, with its size.
fn objects(folder: &LocalPath) -> BTreeMap<String, u64> {
    let mut found = BTreeMap::new();
    let mut left = vec![folder.join("orders")];
    while let Some(directory) = left.pop() {
        for entry in fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                left.push(path);
            } else {
                found.insert(path.display().to_string(), path.metadata().unwrap().len());
            }
        }
    }
    found
}

/// A table of seven versions with checkpoints of 3 and 6, everything ninety days old.
async fn old_table(folder: &LocalPath) -> Lake {
    let lake = Lake::on_disk(folder).await;
    for index in 1..=7 {
        lake.append(30).await;
        if index % 3 == 0 {
            lake.store.write_checkpoint(&lake.clock).await.unwrap();
        }
    }
    for key in objects(folder).keys() {
        let root = folder.join("orders");
        let key = LocalPath::new(key).strip_prefix(&root).unwrap();
        age(folder, key.to_str().unwrap(), DAY * 90);
    }
    lake
}

async fn vacuum_now(lake: &Lake) -> Result<u64, Error> {
    let pace = Pace::default();
    let done = vacuum(&lake.store, &lake.clock, DAY, false, &pace).await?;
    Ok(done.files)
}

#[tokio::test]
async fn a_corrupt_checkpoint_gives_way_to_an_older_one_and_no_log_is_cleaned_below_it() {
    let folder = tempfile::tempdir().unwrap();
    let lake = old_table(folder.path()).await;
    let newest = folder
        .path()
        .join("orders")
        .join(log(6, "checkpoint.parquet"));
    let bytes = fs::read(&newest).unwrap();
    fs::write(&newest, &bytes[..bytes.len() - 20]).unwrap();
    assert_eq!(vacuum_now(&lake).await.unwrap(), 0, "all is live");
    assert_eq!(lake.rows().await, expected(210));
    let before = objects(folder.path());
    let error = clean_log(
        &lake.store,
        &lake.clock,
        &lake.files().await,
        DAY * 30,
        false,
    )
    .await
    .unwrap_err()
    .to_string();
    assert!(error.contains("version 6"), "{error}");
    assert_eq!(objects(folder.path()), before, "nothing is deleted");
    let done = lake.compact().await.unwrap();
    assert_eq!((done.files_removed, done.rows), (21, 210));
    assert_eq!(lake.rows().await, expected(210));
}

#[tokio::test]
async fn a_missing_checkpoint_is_named_by_every_task_and_nothing_is_changed() {
    let folder = tempfile::tempdir().unwrap();
    let lake = old_table(folder.path()).await;
    let files = lake.files().await;
    let at = folder.path().join("orders");
    for version in 0..=2 {
        fs::remove_file(at.join(log(version, "json"))).unwrap();
    }
    for version in [3, 6] {
        fs::remove_file(at.join(log(version, "checkpoint.parquet"))).unwrap();
    }
    let before = objects(folder.path());
    let errors = [
        lake.compact().await.unwrap_err().to_string(),
        vacuum_now(&lake).await.unwrap_err().to_string(),
        lake.store
            .write_checkpoint(&lake.clock)
            .await
            .unwrap_err()
            .to_string(),
    ];
    let cleaned = clean_log(&lake.store, &lake.clock, &files, DAY * 30, false).await;
    for error in errors.into_iter().chain([cleaned.unwrap_err().to_string()]) {
        assert!(error.contains("checkpoint"), "{error}");
    }
    assert_eq!(objects(folder.path()), before);
}

#[tokio::test]
async fn a_hole_is_named_and_nothing_is_written() {
    let lake = Lake::in_memory(2).await;
    for _ in 0..5 {
        lake.append(30).await;
    }
    lake.objects()
        .delete(&Path::from(log(3, "json")))
        .await
        .unwrap();
    let before = lake.faulty.clone().unwrap();
    let error = lake.compact().await.unwrap_err().to_string();
    assert!(
        error.contains("version 3") && error.contains("missing"),
        "{error}"
    );
    let error = lake
        .store
        .write_checkpoint(&lake.clock)
        .await
        .unwrap_err()
        .to_string();
    assert!(error.contains("version 3"), "{error}");
    assert!(
        before
            .inner()
            .head(&Path::from("lake/orders/_delta_log/_last_checkpoint"))
            .await
            .is_err()
    );
}
