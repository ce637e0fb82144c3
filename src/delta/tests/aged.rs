//! Files that have waited for their commit until a vacuum may take them for orphans are dropped, not committed (H19, FILE-1).

use std::time::Duration;

use super::*;
use crate::model::commit::{Replaced, Rewrite, STAGED_AGE_MAX, UNREFERENCED_KEPT_MIN};

async fn commit_after(lake: &Lake, wait: Duration) -> CommitOutcome {
    let mut table = lake.create().await;
    let mut append = append(&[(0, 0, 10)], "a");
    append.files[0].staged = lake.clock.now();
    // The process is suspended between its uploads and its commit.
    lake.clock.advance(wait);
    table.commit(&append, "shop").await
}

fn check_dropped(outcome: &CommitOutcome, name: &str) {
    assert!(
        matches!(outcome, CommitOutcome::Conflict(reason) if reason.contains(name) && reason.contains("H19")),
        "{outcome:?}"
    );
}

#[tokio::test]
async fn file_1_what_has_waited_for_half_of_the_least_vacuum_age_is_not_committed() {
    let lake = Lake::new();
    let outcome = commit_after(&lake, STAGED_AGE_MAX).await;
    check_dropped(&outcome, "region=eu/a");
    let table = lake.load().await;
    assert_eq!(
        (table.version(), table.committed(&partition(0)).unwrap()),
        (0, 0),
        "its rows are read again"
    );
    assert!(STAGED_AGE_MAX * 2 <= UNREFERENCED_KEPT_MIN);
}

#[tokio::test]
async fn what_has_waited_for_less_is_committed() {
    let lake = Lake::new();
    let outcome = commit_after(&lake, STAGED_AGE_MAX - Duration::from_secs(1)).await;
    assert_eq!(outcome, CommitOutcome::Committed(1));
}

#[tokio::test]
async fn file_1_a_merged_file_that_has_waited_so_long_is_dropped_too() {
    let lake = Lake::new();
    let mut table = lake.create().await;
    let outcome = table.commit(&append(&[(0, 0, 10)], "a"), "shop").await;
    assert_eq!(outcome, CommitOutcome::Committed(1));
    let removed = Replaced {
        path_in_log: "region=eu/a".to_owned(),
        key: "region=eu/a".to_owned(),
        partition_values: BTreeMap::new(),
        size_bytes: 1000,
        rows: 10,
    };
    let mut merged = file("merged", 10);
    merged.staged = lake.clock.now();
    let rewrite = Rewrite::new(vec![removed], vec![merged]).unwrap();
    lake.clock.advance(STAGED_AGE_MAX);
    check_dropped(&table.rewrite(&rewrite).await, "region=eu/merged");
    assert_eq!(lake.load().await.version(), 1);
}
