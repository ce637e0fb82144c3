//! Bases that age, vanish or become another table's (COMMIT-2).

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use futures::TryStreamExt as _;
use object_store::Error as StoreError;

use super::*;
use crate::delta::{Extent, FileList};
use crate::error::Kind;
use crate::testing::faulty_store::{Failure, Fault, Interruption, Operation, When};

async fn keys(objects: &Arc<dyn ObjectStore>) -> Vec<Path> {
    let mut keys = objects
        .list(None)
        .map_ok(|meta| meta.location)
        .try_collect::<Vec<_>>()
        .await
        .unwrap();
    keys.sort();
    keys
}

async fn remove(objects: &Arc<dyn ObjectStore>, which: impl Fn(&str) -> bool) {
    for key in keys(objects).await {
        if which(key.filename().unwrap()) {
            objects.delete(&key).await.unwrap();
        }
    }
}

/// Another instance, on the same objects but without the script.
fn rival(lake: &Lake) -> TableStore {
    Store::over(Url::parse("memory:///lake").unwrap(), lake.inner())
        .table("orders")
        .unwrap()
}

async fn advance_to(store: &TableStore, clock: &Clock, number: i32, version: u64) {
    let mut table = Table::load(store, clock).await.unwrap().unwrap();
    while table.version() < version {
        let from = table.committed(&partition(number)).unwrap();
        let name = format!("rival{from}");
        let outcome = table
            .commit(&append(&[(number, from, from + 1)], &name), "rival")
            .await;
        assert!(
            matches!(outcome, CommitOutcome::Committed(_)),
            "{outcome:?}"
        );
    }
}

/// What a clean-up leaves of a log at version 9: a checkpoint and the last entry.
async fn clean_up(store: &TableStore, clock: &Clock, objects: &Arc<dyn ObjectStore>) {
    advance_to(store, clock, 1, 9).await;
    store.write_checkpoint(clock).await.unwrap();
    remove(objects, |name| {
        name.ends_with(".json") && name < "00000000000000000009.json"
    })
    .await;
}

/// What is left when somebody drops the table and makes it again, up to `version`.
async fn recreate(store: &TableStore, clock: &Clock, objects: &Arc<dyn ObjectStore>, version: u64) {
    remove(objects, |_| true).await;
    Table::create(store, &creation(), &[start(&[(0, 0), (1, 0)])], clock)
        .await
        .unwrap();
    advance_to(store, clock, 1, version).await;
}

fn interruption<F>(run: impl Fn(Arc<dyn ObjectStore>) -> F + Send + Sync + 'static) -> Fault
where
    F: Future<Output = ()> + Send + 'static,
{
    let interruption: Interruption = Arc::new(move |objects| Box::pin(run(objects)));
    Fault::First(interruption)
}

#[tokio::test]
async fn commit_2_nothing_is_put_below_a_checkpoint_after_a_clean_up() {
    let lake = Lake::new();
    let mut table = lake.create().await;
    clean_up(&rival(&lake), &lake.clock, &lake.inner()).await;
    assert!(!lake.exists(0).await && !lake.exists(1).await);
    let outcome = table.commit(&append(&[(0, 0, 10)], "a"), "shop").await;
    assert_eq!(outcome, CommitOutcome::Committed(10));
    assert!(
        !lake.exists(1).await,
        "a commit there would be invisible, and was reported as done"
    );
    assert_eq!(lake.second_opinion().await.2, [Some(10), Some(9)]);
}

#[tokio::test]
async fn commit_2_a_base_that_was_cleaned_up_and_comes_back_by_a_late_put_is_no_base() {
    let lake = Lake::new();
    let mut table = lake.create().await;
    let base = lake.bytes(&entry(0)).await;
    clean_up(&rival(&lake), &lake.clock, &lake.inner()).await;
    // The same bytes: a put of the base whose answer came by another try, and which the store does now.
    lake.write(&entry(0), base).await;
    let outcome = table.commit(&append(&[(0, 0, 10)], "a"), "shop").await;
    assert_eq!(outcome, CommitOutcome::Committed(10));
    assert!(!lake.exists(1).await, "no reader looks below a checkpoint");
    assert_eq!(lake.second_opinion().await.2, [Some(10), Some(9)]);
}

#[tokio::test]
async fn a_log_that_is_cleaned_up_during_every_one_of_many_loads_is_not_damaged() {
    let lake = Lake::new();
    lake.create().await;
    let (store, clock) = (rival(&lake), lake.clock.clone());
    advance_to(&store, &clock, 1, 9).await;
    let (clean_ups, under_way) = (
        Arc::new(AtomicU64::new(0)),
        Arc::new(AtomicBool::new(false)),
    );
    let counted = Arc::clone(&clean_ups);
    let fault = interruption(move |objects| {
        let (store, clock, clean_ups) = (store.clone(), clock.clone(), Arc::clone(&counted));
        let under_way = Arc::clone(&under_way);
        async move {
            // Several entries are read at a time.
            if clean_ups.load(Ordering::SeqCst) >= 12 || under_way.swap(true, Ordering::SeqCst) {
                return;
            }
            let table = Table::load(&store, &clock).await.unwrap().unwrap();
            advance_to(&store, &clock, 1, table.version() + 3).await;
            store.write_checkpoint(&clock).await.unwrap();
            remove(&objects, |name| name.ends_with(".json")).await;
            advance_to(&store, &clock, 1, table.version() + 6).await;
            clean_ups.fetch_add(1, Ordering::SeqCst);
            under_way.store(false, Ordering::SeqCst);
        }
    });
    lake.faulty
        .rule(Operation::Get, ".json", When::Always, fault);
    let table = lake.load().await;
    assert_eq!(clean_ups.load(Ordering::SeqCst), 12);
    assert_eq!(table.version(), lake.second_opinion().await.0);
}

/// A clean-up goes past entry 5 of a log of ten, and a put that comes late lands in its place.
async fn replace(store: &TableStore, clock: &Clock, objects: &Arc<dyn ObjectStore>) {
    store.write_checkpoint(clock).await.unwrap();
    let never_counted = [
        r#"{"commitInfo":{"timestamp":0,"operation":"WRITE"}}"#,
        r#"{"txn":{"appId":"lakeward/shop.orders/0/0","version":77}}"#,
        r#"{"add":{"path":"never.parquet","partitionValues":{},"size":1,"modificationTime":0,"dataChange":true}}"#,
    ];
    let path = Path::from(format!("lake/orders/{}", entry(5)));
    let never_counted = never_counted.join("\n");
    objects.put(&path, never_counted.into()).await.unwrap();
}

/// That happens while it is read for the first time.
async fn replaced_while_it_is_read() -> Lake {
    let lake = Lake::new();
    lake.create().await;
    let (store, clock) = (rival(&lake), lake.clock.clone());
    advance_to(&store, &clock, 1, 9).await;
    let fault = interruption(move |objects| {
        let (store, clock) = (store.clone(), clock.clone());
        async move { replace(&store, &clock, &objects).await }
    });
    lake.faulty
        .rule(Operation::Get, &entry(5), When::First(1), fault);
    lake
}

#[tokio::test]
async fn commit_2_a_late_put_in_a_cleaned_up_place_is_not_read_as_progress() {
    let lake = replaced_while_it_is_read().await;
    let table = lake.load().await;
    assert_eq!(
        (table.version(), table.committed(&partition(0)).unwrap()),
        (9, 0)
    );
}

#[tokio::test]
async fn comp_2_a_late_put_in_a_cleaned_up_place_adds_no_file() {
    let lake = replaced_while_it_is_read().await;
    let list = FileList::load(&lake.table, Extent::default())
        .await
        .unwrap();
    assert_eq!(list.version(), 9);
    assert!(list.files().all(|(key, _)| !key.contains("never")));
    // A list that follows comes too late to be warned by a checkpoint that moves.
    let lake = Lake::new();
    lake.create().await;
    let extent = Extent {
        through: Some(3),
        ..Extent::default()
    };
    advance_to(&lake.table, &lake.clock, 1, 9).await;
    let mut list = FileList::load(&lake.table, extent).await.unwrap();
    replace(&rival(&lake), &lake.clock, &lake.inner()).await;
    let error = list.follow_to(&lake.table, 9).await.unwrap_err();
    assert_eq!(error.kind(), Kind::Corrupt, "{error}");
}

#[tokio::test]
async fn a_replay_from_below_a_checkpoint_outlasts_new_checkpoints_and_begins_anew_without_its_base()
 {
    for is_lost in [false, true] {
        let lake = Lake::new();
        lake.create().await;
        let (store, clock) = (rival(&lake), lake.clock.clone());
        advance_to(&store, &clock, 1, 3).await;
        store.write_checkpoint(&clock).await.unwrap();
        advance_to(&store, &clock, 1, 9).await;
        let named = Arc::new(AtomicU64::new(0));
        let counted = Arc::clone(&named);
        let fault = interruption(move |objects| {
            let (store, clock, named) = (store.clone(), clock.clone(), Arc::clone(&counted));
            async move {
                store.write_checkpoint(&clock).await.unwrap();
                named.fetch_add(1, Ordering::SeqCst);
                if is_lost {
                    remove(&objects, |name| {
                        name.starts_with("00000000000000000003.checkpoint")
                    })
                    .await;
                }
            }
        });
        lake.faulty
            .rule(Operation::Get, &entry(6), When::Always, fault);
        let extent = Extent {
            checkpoint_below: Some(4),
            ..Extent::default()
        };
        let list = FileList::load(&lake.table, extent).await.unwrap();
        assert_eq!(list.version(), 9);
        // Without its base it begins anew, from the first entry.
        let readings = named.load(Ordering::SeqCst);
        assert_eq!(readings, if is_lost { 2 } else { 1 });
    }
}

#[tokio::test]
async fn a_checkpoint_that_the_store_does_not_give_is_not_passed_over() {
    let lake = Lake::new();
    lake.create().await;
    advance_to(&lake.table, &lake.clock, 1, 3).await;
    lake.table.write_checkpoint(&lake.clock).await.unwrap();
    let away = Fault::FailBefore(Failure::Unavailable);
    lake.faulty
        .rule(Operation::Get, "checkpoint.parquet", When::Always, away);
    let error = Table::load(&lake.table, &lake.clock).await.unwrap_err();
    assert_eq!(error.kind(), Kind::Unavailable, "{error}");
    lake.faulty.heal();
    assert_eq!(lake.load().await.version(), 3);
}

#[tokio::test]
async fn commit_2_a_put_that_lands_below_a_checkpoint_is_not_reported_as_committed() {
    let lake = Lake::new();
    let mut table = lake.create().await;
    let (store, clock) = (rival(&lake), lake.clock.clone());
    let fault = interruption(move |objects| {
        let (store, clock) = (store.clone(), clock.clone());
        async move { clean_up(&store, &clock, &objects).await }
    });
    lake.faulty
        .rule(Operation::Put, &entry(1), When::First(1), fault);
    let outcome = table.commit(&append(&[(0, 0, 10)], "a"), "shop").await;
    check_unknown(&outcome, "the log was cleaned up over version 1");
    let mut table = lake.load().await;
    assert_eq!(
        (table.version(), table.committed(&partition(0)).unwrap()),
        (9, 0)
    );
    assert_eq!(
        table.commit(&append(&[(0, 0, 10)], "b"), "shop").await,
        CommitOutcome::Committed(10)
    );
    assert!(!lake.second_opinion().await.1.contains(&"a".to_owned()));
}

#[tokio::test]
async fn commit_2_a_recreated_table_takes_no_commit_of_its_former_life() {
    for versions in [0, 1, 5] {
        let lake = Lake::new();
        lake.create().await;
        advance_to(&lake.table, &lake.clock, 1, 1).await;
        let mut table = lake.load().await;
        recreate(&rival(&lake), &lake.clock, &lake.inner(), versions).await;
        let outcome = table.commit(&append(&[(0, 0, 10)], "a"), "shop").await;
        check_conflict(&outcome, "the table was replaced by another one");
        assert!(!lake.exists(versions + 1).await && !lake.exists(2).await || versions == 5);
        assert_eq!(lake.second_opinion().await.0, versions);
    }
}

#[tokio::test]
async fn commit_2_a_put_into_a_table_recreated_at_that_moment_is_not_reported_as_committed() {
    let lake = Lake::new();
    lake.create().await;
    advance_to(&lake.table, &lake.clock, 1, 3).await;
    let mut table = lake.load().await;
    let (store, clock) = (rival(&lake), lake.clock.clone());
    let fault = interruption(move |objects| {
        let (store, clock) = (store.clone(), clock.clone());
        async move { recreate(&store, &clock, &objects, 0).await }
    });
    lake.faulty
        .rule(Operation::Put, &entry(4), When::First(1), fault);
    let outcome = table.commit(&append(&[(0, 0, 10)], "a"), "shop").await;
    check_unknown(
        &outcome,
        "damaged at version 1: its entry is missing, but there is one of version 4",
    );
}

#[tokio::test]
async fn commit_2_another_tables_entries_are_not_followed() {
    let lake = Lake::new();
    lake.create().await;
    advance_to(&lake.table, &lake.clock, 1, 1).await;
    let mut table = lake.load().await;
    let (store, clock) = (rival(&lake), lake.clock.clone());
    let fault = interruption(move |objects| {
        let (store, clock) = (store.clone(), clock.clone());
        async move { recreate(&store, &clock, &objects, 4).await }
    });
    // The put of version 2 meets a version 2, but of another table.
    lake.faulty
        .rule(Operation::Put, &entry(2), When::First(1), fault);
    let outcome = table.commit(&append(&[(0, 0, 10)], "a"), "shop").await;
    check_conflict(&outcome, "the table was replaced by another one");
    assert_eq!(lake.second_opinion().await.0, 4);
}

#[tokio::test]
async fn commit_2_a_table_that_is_gone_is_a_conflict() {
    let lake = Lake::new();
    let mut table = lake.create().await;
    remove(&lake.inner(), |_| true).await;
    check_conflict(
        &table.commit(&append(&[(0, 0, 10)], "a"), "shop").await,
        "the table is gone",
    );
    assert!(keys(&lake.inner()).await.is_empty());
}

#[tokio::test]
async fn commit_2_an_aged_base_is_reopened_before_anything_is_put_on_it() {
    let lake = Lake::new();
    let mut table = lake.create().await;
    advance_to(&rival(&lake), &lake.clock, 1, 5).await;
    let puts = Arc::new(AtomicU64::new(0));
    let counted = Arc::clone(&puts);
    let fault = interruption(move |_| {
        counted.fetch_add(1, Ordering::SeqCst);
        std::future::ready(())
    });
    lake.faulty
        .rule(Operation::Put, "_delta_log", When::Always, fault);
    lake.clock.advance(Duration::from_secs(300));
    let outcome = table.commit(&append(&[(0, 0, 10)], "a"), "shop").await;
    assert_eq!(outcome, CommitOutcome::Committed(6));
    assert_eq!(
        puts.load(Ordering::SeqCst),
        1,
        "the one put was on the fresh base"
    );
}

#[tokio::test]
async fn a_base_that_only_a_checkpoint_stands_for_is_still_checked() {
    let lake = Lake::new();
    lake.create().await;
    clean_up(&lake.table, &lake.clock, &lake.inner()).await;
    lake.delete(&entry(9)).await;
    let mut table = lake.load().await;
    let mut stale = lake.load().await;
    assert_eq!(
        table.commit(&append(&[(0, 0, 10)], "a"), "shop").await,
        CommitOutcome::Committed(10)
    );
    recreate(&rival(&lake), &lake.clock, &lake.inner(), 0).await;
    check_conflict(
        &stale.commit(&append(&[(0, 0, 10)], "b"), "shop").await,
        "replaced by another one",
    );
    assert_eq!(lake.second_opinion().await.0, 0);
}

#[tokio::test]
async fn commit_2_an_old_checkpoint_does_not_stand_for_a_base_once_there_is_a_newer_one() {
    let lake = Lake::new();
    let store = rival(&lake);
    lake.create().await;
    advance_to(&store, &lake.clock, 1, 5).await;
    store.write_checkpoint(&lake.clock).await.unwrap();
    remove(&lake.inner(), |name| {
        name.ends_with(".json") && name <= "00000000000000000005.json"
    })
    .await;
    // Only the checkpoint of version 5 stands for this base, and it outlasts the entries behind it.
    let mut table = lake.load().await;
    assert_eq!(table.version(), 5);
    clean_up(&store, &lake.clock, &lake.inner()).await;
    let outcome = table.commit(&append(&[(0, 0, 10)], "a"), "shop").await;
    assert_eq!(outcome, CommitOutcome::Committed(10));
    assert_eq!(lake.second_opinion().await.2, [Some(10), Some(9)]);
}

#[tokio::test]
async fn the_check_after_a_put_outlasts_a_failing_store() {
    let lake = Lake::new();
    let mut table = lake.create().await;
    lake.faulty.rule(
        Operation::Get,
        &entry(0),
        When::Nth(2),
        Fault::FailBefore(Failure::Unavailable),
    );
    lake.faulty.rule(
        Operation::Get,
        &entry(1),
        When::First(2),
        Fault::FailBefore(Failure::Unavailable),
    );
    let outcome = table.commit(&append(&[(0, 0, 10)], "a"), "shop").await;
    assert_eq!(outcome, CommitOutcome::Committed(1));
    assert!(matches!(
        lake.inner()
            .head(&Path::from(format!("lake/orders/{}", entry(2))))
            .await,
        Err(StoreError::NotFound { .. })
    ));
}

#[tokio::test]
async fn a_commit_costs_the_same_requests_whatever_the_table_holds() {
    let lake = Lake::new();
    let mut table = lake.create().await;
    let mut costs = Vec::new();
    for offset in 0..200 {
        let before = lake.faulty.requests();
        let name = format!("{offset}");
        table
            .commit(&append(&[(0, offset, offset + 1)], &name), "shop")
            .await;
        costs.push(lake.faulty.requests() - before);
    }
    assert!(costs.iter().all(|cost| *cost == 4), "{costs:?}");
}
