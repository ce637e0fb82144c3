//! Commits over a store that loses answers, lies and fails (COMMIT-1).

use std::time::Duration;

use serde_json::Value;

use super::*;
use crate::testing::faulty_store::{Failure, Fault, Operation, When};

const LOG: &str = "_delta_log/";

/// Commits `[0, 1)`, `[1, 2)` ... and expects every version in its place, each file once.
async fn check_commits(lake: &Lake, count: i64) {
    let mut table = lake.load().await;
    for offset in 0..count {
        let outcome = table
            .commit(
                &append(&[(0, offset, offset + 1)], &format!("{offset:04}")),
                "shop",
            )
            .await;
        assert_eq!(outcome, CommitOutcome::Committed(offset.unsigned_abs() + 1));
    }
    lake.faulty.heal();
    let names = (0..count)
        .map(|offset| format!("{offset:04}"))
        .collect::<Vec<_>>();
    let expect = (count.unsigned_abs(), names, [Some(count), Some(0)]);
    assert_eq!(lake.second_opinion().await, expect);
}

#[tokio::test]
async fn commit_1_a_commit_whose_answer_is_lost_is_settled_and_not_repeated() {
    let lake = Lake::new();
    lake.create().await;
    let fault = Fault::FailAfter(Failure::Unavailable);
    lake.faulty.rule(Operation::Put, LOG, When::Every(3), fault);
    check_commits(&lake, 300).await;
}

#[tokio::test]
async fn a_false_exists_is_not_believed_and_leaves_no_hole() {
    let lake = Lake::new();
    lake.create().await;
    lake.faulty
        .rule(Operation::Put, LOG, When::Every(3), Fault::FalseExists);
    check_commits(&lake, 60).await;
}

#[tokio::test]
async fn requests_that_fail_undone_are_repeated_until_they_are_done() {
    for operation in [Operation::Put, Operation::Get] {
        let lake = Lake::new();
        lake.create().await;
        let fault = Fault::FailBefore(Failure::Unavailable);
        lake.faulty
            .rule(operation, "_delta_log/0", When::PerMille(300), fault);
        check_commits(&lake, 60).await;
    }
}

#[tokio::test]
async fn a_store_that_refuses_leaves_the_result_unknown_and_the_table_as_it_was() {
    let lake = Lake::new();
    let mut table = lake.create().await;
    let fault = Fault::FailBefore(Failure::Forbidden);
    lake.faulty.rule(Operation::Put, LOG, When::Always, fault);
    let before = lake.clock.now();
    check_unknown(
        &table.commit(&append(&[(0, 0, 10)], "a"), "shop").await,
        "403",
    );
    assert!(lake.clock.now().since(before) < Duration::from_secs(70));
    lake.faulty.heal();
    let mut table = lake.load().await;
    assert_eq!(
        (table.version(), table.committed(&partition(0)).unwrap()),
        (0, 0)
    );
    assert_eq!(
        table.commit(&append(&[(0, 0, 10)], "a"), "shop").await,
        CommitOutcome::Committed(1)
    );
}

#[tokio::test]
async fn epoch_1_an_epoch_that_ends_during_a_put_starts_no_other() {
    let lake = Lake::new();
    let mut table = lake.create().await;
    let epoch = Epoch::begin(1);
    let ending = epoch.clone();
    let end: crate::testing::faulty_store::Interruption = Arc::new(move |_| {
        ending.end();
        Box::pin(std::future::ready(()))
    });
    lake.faulty.rule(
        Operation::Put,
        LOG,
        When::First(1),
        Fault::First(Arc::clone(&end)),
    );
    lake.faulty.rule(
        Operation::Put,
        LOG,
        When::First(1),
        Fault::FailBefore(Failure::Unavailable),
    );
    // The put may still arrive, for all that the store said: not superseded, but unknown.
    let outcome = table
        .commit(&append_under(&epoch, &[(0, 0, 10)], "a"), "shop")
        .await;
    check_unknown(
        &outcome,
        "a put of version 1 is not settled, and its epoch has ended",
    );
    assert!(!lake.exists(1).await, "EPOCH-2: dropped whole");
}

#[tokio::test]
async fn epoch_1_a_put_in_flight_when_its_epoch_ends_is_still_settled() {
    let lake = Lake::new();
    let mut table = lake.create().await;
    let epoch = Epoch::begin(1);
    let ending = epoch.clone();
    let end: crate::testing::faulty_store::Interruption = Arc::new(move |_| {
        ending.end();
        Box::pin(std::future::ready(()))
    });
    lake.faulty
        .rule(Operation::Put, LOG, When::First(1), Fault::First(end));
    lake.faulty.rule(
        Operation::Put,
        LOG,
        When::First(1),
        Fault::FailAfter(Failure::Unavailable),
    );
    let outcome = table
        .commit(&append_under(&epoch, &[(0, 0, 10)], "a"), "shop")
        .await;
    assert_eq!(outcome, CommitOutcome::Committed(1));
}

#[tokio::test]
async fn creating_is_settled_like_any_commit() {
    for fault in [
        Fault::FailAfter(Failure::Unavailable),
        Fault::FailBefore(Failure::Unavailable),
        Fault::FalseExists,
    ] {
        let lake = Lake::new();
        lake.faulty.rule(Operation::Put, LOG, When::First(1), fault);
        assert_eq!(lake.create().await.version(), 0);
        assert!(!lake.exists(1).await);
    }
}

/// Two instances on two topic partitions each, taking one over from the other now and then, over a store with every fault: whatever happens, the spans in the
/// log tile the offsets, and every file is in the table once. `LAKEWARD_SEEDS` asks for more seeds.
#[tokio::test]
async fn any_mixture_of_faults_leaves_every_offset_committed_once() {
    let seeds = std::env::var("LAKEWARD_SEEDS")
        .ok()
        .and_then(|text| text.parse().ok());
    for seed in 1..=seeds.unwrap_or(3) {
        let lake = Lake::with_seed(seed);
        lake.create().await;
        for turn in 0..30 {
            let mut instances = [fresh(&lake).await, fresh(&lake).await];
            for _ in 0..3 {
                for (number, table) in instances.iter_mut().enumerate() {
                    let number = if turn % 7 == 0 {
                        0
                    } else {
                        i32::try_from(number).unwrap()
                    };
                    let from = table.committed(&partition(number)).unwrap();
                    let name = lake.clock.new_id();
                    let outcome = table
                        .commit(&append(&[(number, from, from + 3)], &name), "shop")
                        .await;
                    if !matches!(outcome, CommitOutcome::Committed(_)) {
                        *table = fresh(&lake).await;
                    }
                }
            }
        }
        lake.faulty.heal();
        check_log(&lake, seed).await;
    }
}

/// A load on a calm sea; then the faults again.
async fn fresh(lake: &Lake) -> Table {
    lake.faulty.heal();
    let table = lake.load().await;
    for (operation, share, fault) in [
        (Operation::Put, 150, Fault::FailAfter(Failure::Unavailable)),
        (Operation::Put, 100, Fault::FailBefore(Failure::Unavailable)),
        (Operation::Put, 100, Fault::FalseExists),
        (Operation::Get, 100, Fault::FailAfter(Failure::Unavailable)),
        (Operation::Put, 50, Fault::Delay(Duration::from_secs(30))),
        (Operation::List, 50, Fault::FailBefore(Failure::Unavailable)),
    ] {
        lake.faulty
            .rule(operation, LOG, When::PerMille(share), fault);
    }
    table
}

async fn check_log(lake: &Lake, seed: u64) {
    let (version, files, txns) = lake.second_opinion().await;
    let mut next = [0, 0];
    for version in 1..=version {
        let text = lake.read(&entry(version)).await;
        let info = serde_json::from_str::<Value>(text.lines().next().unwrap()).unwrap();
        for span in info["commitInfo"]["lakeward"]["spans"].as_array().unwrap() {
            let number = usize::try_from(span["partition"].as_i64().unwrap()).unwrap();
            assert_eq!(
                span["start"].as_i64().unwrap(),
                next[number],
                "seed {seed}, version {version}"
            );
            next[number] = span["end"].as_i64().unwrap();
        }
    }
    assert_eq!(txns, [Some(next[0]), Some(next[1])], "seed {seed}");
    assert_eq!(
        i64::try_from(files.len()).unwrap() * 3,
        next[0] + next[1],
        "seed {seed}"
    );
    assert!(next[0] > 50 && next[1] > 50, "seed {seed}: {next:?}");
}
