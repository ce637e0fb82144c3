//! The last record of a log beside its next offset: when it is committed, kept and taken back.

use crate::delta::tests::{Lake, append_led, entry, partition};
use crate::delta::{Mend, Mending, Table};
use crate::model::commit::CommitOutcome;
use crate::model::lineage::{Claim, Tail, UNKNOWN_LEADER_EPOCH};
use crate::model::offset::Span;

/// Start, end, and the last record as offset and leader epoch.
type Part = (i64, i64, Option<(i64, Option<i32>)>);

/// Commits one after the other; expects what the table then claims as (leader epoch, end, up to).
async fn check(appends: &[Part], expected: Option<(i32, i64, i64)>) -> Lake {
    let lake = Lake::new();
    let mut table = lake.create().await;
    for (start, end, last) in appends {
        let outcome = table.commit(&append_led(*start, *end, *last), "shop").await;
        assert!(
            matches!(outcome, CommitOutcome::Committed(_)),
            "{outcome:?}"
        );
    }
    let claim = |(leader_epoch, end, up_to)| Claim {
        tail: Tail { leader_epoch, end },
        up_to,
    };
    assert_eq!(table.claim(&partition(0)), expected.map(claim));
    assert_eq!(lake.load().await.claim(&partition(0)), expected.map(claim));
    lake
}

#[tokio::test]
async fn off_7_the_last_record_is_committed_beside_the_next_offset() {
    check(&[], None).await;
    check(&[(0, 10, Some((9, Some(5))))], Some((5, 10, 10))).await;
    // Markers lie behind it.
    check(&[(0, 10, Some((7, Some(5))))], Some((5, 8, 10))).await;
    check(
        &[(0, 10, Some((9, Some(5)))), (10, 12, Some((11, Some(6))))],
        Some((6, 12, 12)),
    )
    .await;
}

#[tokio::test]
async fn a_span_without_a_record_keeps_the_last_one() {
    let appends = [(0, 10, Some((9, Some(5)))), (10, 14, None)];
    check(&appends, Some((5, 10, 14))).await;
}

#[tokio::test]
async fn records_that_tell_no_leader_epoch_take_it_back() {
    check(&[(0, 10, Some((9, None)))], None).await;
    let untold = (10, 12, Some((11, None)));
    let lake = check(&[(0, 10, Some((9, Some(5)))), untold], None).await;
    let text = lake.read(&entry(2)).await;
    assert!(
        text.contains(r#"/leader_epoch","version":-1"#)
            && text.contains(r#"/leader_epoch_end","version":12"#),
        "{text}"
    );
    let again = (12, 20, Some((19, Some(5))));
    let appends = [(0, 10, Some((9, Some(5)))), untold, again];
    check(&appends, Some((5, 20, 20))).await;
}

#[tokio::test]
async fn what_was_passed_over_or_began_anew_claims_nothing() {
    let appends = [(0, 10, Some((9, Some(5))))];
    let skip = Mend::Skip {
        topic_partition: partition(0),
        span: Span::new(10, 40).unwrap(),
    };
    let again = Mend::Again {
        topic_partition: partition(0),
        committed: 10,
        start: 4,
        tail: None,
    };
    for mend in [skip, again] {
        let lake = check(&appends, Some((5, 10, 10))).await;
        let table = mended(&lake, mend).await;
        assert_eq!(table.claim(&partition(0)), None);
    }
}

async fn mended(lake: &Lake, mend: Mend) -> Table {
    let mut table = lake.load().await;
    let mending = Mending {
        mends: vec![mend],
        lifted: Vec::new(),
        reason: "a test".to_owned(),
        name: "shop".to_owned(),
        epoch: None,
    };
    let outcome = table.mend(&mending).await;
    assert_eq!(outcome, CommitOutcome::Committed(2));
    lake.load().await
}

#[tokio::test]
async fn off_7_an_incarnation_that_begins_where_logs_part_claims_what_lies_below() {
    let lake = check(&[(0, 10, Some((9, Some(5))))], Some((5, 10, 10))).await;
    let tail = Tail {
        leader_epoch: 5,
        end: 4,
    };
    let again = Mend::Again {
        topic_partition: partition(0),
        committed: 10,
        start: 4,
        tail: Some(tail),
    };
    let table = mended(&lake, again).await;
    assert_eq!(table.claim(&partition(0)), Some(Claim { tail, up_to: 4 }));
}

#[tokio::test]
async fn off_7_where_no_record_was_read_yet_it_is_claimed_that_there_was_none() {
    let first = (0, 10, None);
    let lake = check(&[first], Some((UNKNOWN_LEADER_EPOCH, 0, 10))).await;
    assert!(
        lake.read(&entry(1))
            .await
            .contains(r#"/leader_epoch_end","version":0"#)
    );
    let more = (10, 12, None);
    check(&[first, more], Some((UNKNOWN_LEADER_EPOCH, 0, 12))).await;
    let told = (12, 20, Some((19, Some(5))));
    check(&[first, more, told], Some((5, 20, 20))).await;
    // The broker tells nothing of its records: there were some.
    check(&[first, (10, 12, Some((11, None)))], None).await;
}
