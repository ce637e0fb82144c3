//! Commits beside other committers.

use super::*;

#[tokio::test]
async fn commits_move_files_and_offsets_together() {
    let lake = Lake::new();
    let mut table = lake.create().await;
    assert_eq!(
        table.commit(&append(&[(0, 0, 10)], "a"), "shop").await,
        CommitOutcome::Committed(1)
    );
    assert_eq!(
        table
            .commit(&append(&[(0, 10, 12), (1, 0, 5)], "b"), "shop")
            .await,
        CommitOutcome::Committed(2)
    );
    assert_eq!(table.committed(&partition(0)).unwrap(), 12);
    assert_eq!(
        lake.second_opinion().await,
        (2, vec!["a".to_owned(), "b".to_owned()], [Some(12), Some(5)])
    );
}

#[tokio::test]
async fn off_4_offsets_can_move_without_rows_but_no_file_without_them() {
    let lake = Lake::new();
    let mut table = lake.create().await;
    let mut wanted = append(&[(0, 0, 10)], "a");
    wanted.files.clear();
    assert_eq!(
        table.commit(&wanted, "shop").await,
        CommitOutcome::Committed(1)
    );
    let idle = Append {
        advance: Advance::default(),
        ..wanted.clone()
    };
    assert_eq!(
        table.commit(&idle, "shop").await,
        CommitOutcome::Committed(1)
    );
    check_conflict(
        &table
            .commit(
                &Append {
                    files: vec![file("x", 1)],
                    ..idle
                },
                "shop",
            )
            .await,
        "OFF-4",
    );
    assert_eq!(
        lake.second_opinion().await,
        (1, vec![], [Some(10), Some(0)])
    );
}

#[tokio::test]
async fn off_3_of_two_committers_of_one_topic_partition_the_second_is_superseded() {
    let lake = Lake::new();
    let mut ours = lake.create().await;
    let mut theirs = lake.load().await;
    assert_eq!(
        theirs
            .commit(&append(&[(0, 0, 20)], "theirs"), "shop")
            .await,
        CommitOutcome::Committed(1)
    );
    check_superseded(
        &ours.commit(&append(&[(0, 0, 10)], "ours"), "shop").await,
        "version 1 by lakeward/",
    );
    assert_eq!(
        lake.second_opinion().await,
        (1, vec!["theirs".to_owned()], [Some(20), Some(0)])
    );
}

#[tokio::test]
async fn ord_1_a_span_that_is_ahead_of_its_predecessor_is_not_committed() {
    let lake = Lake::new();
    let mut ours = lake.create().await;
    let ahead = ours.commit(&append(&[(0, 10, 20)], "second"), "shop").await;
    assert!(matches!(ahead, CommitOutcome::Superseded(_)), "{ahead:?}");
    let (version, files, _) = lake.second_opinion().await;
    assert_eq!((version, files), (0, Vec::new()));
    for (version, span) in [(1, (0, 0, 10)), (2, (0, 10, 20))] {
        let outcome = ours
            .commit(&append(&[span], &format!("in order {version}")), "shop")
            .await;
        assert_eq!(outcome, CommitOutcome::Committed(version));
    }
}

#[tokio::test]
async fn committers_of_different_topic_partitions_take_turns() {
    let lake = Lake::new();
    let mut ours = lake.create().await;
    let mut theirs = lake.load().await;
    for turn in 0..10 {
        assert_eq!(
            theirs
                .commit(
                    &append(&[(0, turn, turn + 1)], &format!("theirs{turn}")),
                    "shop"
                )
                .await,
            CommitOutcome::Committed(turn.unsigned_abs() * 2 + 1)
        );
        assert_eq!(
            ours.commit(
                &append(&[(1, turn, turn + 1)], &format!("ours{turn}")),
                "shop"
            )
            .await,
            CommitOutcome::Committed(turn.unsigned_abs() * 2 + 2)
        );
    }
    let (version, files, txns) = lake.second_opinion().await;
    assert_eq!((version, files.len(), txns), (20, 20, [Some(10), Some(10)]));
}

#[tokio::test]
async fn off_3_a_zombie_that_refreshes_first_cannot_lower_a_txn() {
    let lake = Lake::new();
    let mut zombie = lake.create().await;
    let mut owner = lake.load().await;
    assert_eq!(
        owner.commit(&append(&[(0, 0, 20)], "owner"), "shop").await,
        CommitOutcome::Committed(1)
    );
    zombie.refresh().await.unwrap();
    assert_eq!(
        (zombie.version(), zombie.committed(&partition(0)).unwrap()),
        (1, 20)
    );
    check_superseded(
        &zombie
            .commit(&append(&[(0, 0, 10)], "zombie"), "shop")
            .await,
        "(OFF-3)",
    );
    check_superseded(
        &zombie.commit(&append(&[(0, 25, 30)], "hole"), "shop").await,
        "(OFF-3)",
    );
    assert_eq!(
        lake.second_opinion().await,
        (1, vec!["owner".to_owned()], [Some(20), Some(0)])
    );
}

#[tokio::test]
async fn a_winner_that_names_our_app_id_supersedes_even_with_the_same_offset() {
    let lake = Lake::new();
    let mut table = lake.create().await;
    lake.foreign(
        1,
        &[r#"{"txn":{"appId":"lakeward/shop.orders/0/0","version":0}}"#],
    )
    .await;
    check_superseded(
        &table.commit(&append(&[(0, 0, 10)], "a"), "shop").await,
        "version 1 by other moved shop.orders[0]",
    );
}

#[tokio::test]
async fn foreign_commits_that_leave_us_alone_are_rebased_on() {
    let lake = Lake::new();
    let mut table = lake.create().await;
    let comment = lake
        .metadata_with(&[(
            r#""createdTime""#,
            r#""description":"orders of the shop","createdTime""#,
        )])
        .await;
    let column = lake
        .metadata_with(&[(
            r#"{\"name\":\"_kafka_topic\""#,
            r#"{\"name\":\"extra\",\"type\":\"date\",\"nullable\":true,\"metadata\":{}},{\"name\":\"_kafka_topic\""#,
        )])
        .await;
    lake.foreign(1, &[&comment]).await;
    lake.foreign(2, &[&column]).await;
    lake.foreign(
        3,
        &[
            r#"{"txn":{"appId":"spark-job","version":7}}"#,
            r#"{"somethingNew":{"a":1}}"#,
        ],
    )
    .await;
    lake.foreign(
        4,
        &[r#"{"remove":{"path":"x","deletionTimestamp":1,"dataChange":false}}"#],
    )
    .await;
    assert_eq!(
        table.commit(&append(&[(0, 0, 10)], "a"), "shop").await,
        CommitOutcome::Committed(5)
    );
    let mut other = table;
    assert_eq!(
        other.begin_topics(&[start(&[(2, 0)])]).await.unwrap(),
        CommitOutcome::Committed(6)
    );
    let table = lake.load().await;
    assert_eq!(
        table.schema().fields().len(),
        6,
        "our metaData keeps their column"
    );
}

#[tokio::test]
async fn foreign_changes_that_the_files_do_not_fit_are_conflicts() {
    let check = async |from: &str, to: &str, reason: &str| {
        let lake = Lake::new();
        let mut table = lake.create().await;
        lake.foreign(1, &[&lake.metadata_with(&[(from, to)]).await])
            .await;
        check_conflict(
            &table.commit(&append(&[(0, 0, 10)], "a"), "shop").await,
            reason,
        );
        assert!(!lake.exists(2).await);
    };
    check(
        r#"\"id\",\"type\":\"long\""#,
        r#"\"id\",\"type\":\"string\""#,
        "the column `id` is string in the table and long in the records",
    )
    .await;
    check(
        r#"\"name\":\"id\""#,
        r#"\"name\":\"key\""#,
        "the column `id` (long) is not in the table",
    )
    .await;
    check(
        r#""partitionColumns":["region"]"#,
        r#""partitionColumns":[]"#,
        "the table partition columns changed",
    )
    .await;
    check(
        r#""configuration":{"#,
        r#""configuration":{"delta.setTransactionRetentionDuration":"interval 1 day","#,
        "delta.setTransactionRetentionDuration",
    )
    .await;
    check(
        r#""metaData":{"id":""#,
        r#""metaData":{"id":"another-"#,
        "the table was replaced by another one",
    )
    .await;
}

#[tokio::test]
async fn a_protocol_change_is_judged_again() {
    let honoured = r#"{"protocol":{"minReaderVersion":3,"minWriterVersion":7,"readerFeatures":["deletionVectors"],"writerFeatures":["deletionVectors"]}}"#;
    let refused = r#"{"protocol":{"minReaderVersion":1,"minWriterVersion":7,"writerFeatures":["rowTracking","domainMetadata"]}}"#;
    let lake = Lake::new();
    let mut table = lake.create().await;
    lake.foreign(1, &[honoured]).await;
    assert_eq!(
        table.commit(&append(&[(0, 0, 10)], "a"), "shop").await,
        CommitOutcome::Committed(2)
    );
    lake.foreign(3, &[refused]).await;
    check_conflict(
        &table.commit(&append(&[(0, 10, 20)], "b"), "shop").await,
        "uses the table feature rowTracking",
    );
    assert!(
        lake.load_error()
            .await
            .contains("uses the table feature rowTracking: every writer must number rows")
    );
}

#[tokio::test]
async fn a_raised_incarnation_supersedes_those_who_read_the_old_one() {
    let lake = Lake::new();
    let mut table = lake.create().await;
    let raised = lake.metadata_with(&[(r#"{\"0\":0"#, r#"{\"0\":1"#)]).await;
    lake.foreign(
        1,
        &[
            &raised,
            r#"{"txn":{"appId":"lakeward/shop.orders/1/0","version":0}}"#,
        ],
    )
    .await;
    check_superseded(
        &table.commit(&append(&[(0, 0, 10)], "a"), "shop").await,
        "the entry of shop.orders[0] in lakeward.sources changed",
    );
    assert_eq!(
        table.commit(&append(&[(1, 0, 10)], "b"), "shop").await,
        CommitOutcome::Committed(2)
    );
}

#[tokio::test]
async fn epoch_1_no_put_starts_under_an_ended_epoch() {
    let lake = Lake::new();
    let mut table = lake.create().await;
    let epoch = Epoch::begin(3);
    epoch.end();
    check_superseded(
        &table
            .commit(&append_under(&epoch, &[(0, 0, 10)], "a"), "shop")
            .await,
        "its epoch has ended",
    );
    assert!(!lake.exists(1).await);
}

#[tokio::test]
async fn valid_through_is_carried_over_a_restart_and_between_instances() {
    let lake = Lake::new();
    let base = 1_767_225_600_000;
    let mut ours = lake.create().await;
    let mut theirs = lake.load().await;
    ours.commit(&append(&[(0, 0, 50)], "a"), "shop").await;
    assert_eq!(
        ours.valid_through_ms(),
        Some(base + 50),
        "an empty topic partition does not hold it back"
    );
    theirs.commit(&append(&[(1, 0, 20)], "b"), "shop").await;
    assert_eq!(theirs.valid_through_ms(), Some(base + 20));
    ours.commit(&append(&[(0, 50, 90)], "c"), "shop").await;
    assert_eq!(ours.valid_through_ms(), Some(base + 20));
    lake.table.write_checkpoint(&lake.clock).await.unwrap();
    let mut later = lake.load().await;
    assert_eq!(later.valid_through_ms(), Some(base + 20));
    later.commit(&append(&[(1, 20, 70)], "d"), "shop").await;
    assert_eq!(
        later.valid_through_ms(),
        Some(base + 70),
        "what only the checkpoint knows is not below the bound before it"
    );
    assert!(
        lake.read(&entry(4))
            .await
            .contains(r#""validThrough":"2026-01-01T00:00:00.070Z""#)
    );
}

/// Tasks that commit move between threads.
#[test]
fn everything_that_waits_can_be_spawned() {
    fn check<T: Send>(_: T) {}
    let lake = Lake::new();
    let (creation, starts, wanted) = (creation(), [start(&[])], append(&[], "a"));
    check(Table::load(&lake.table, &lake.clock));
    check(Table::create(&lake.table, &creation, &starts, &lake.clock));
    check(async {
        let mut table = lake.load().await;
        table.commit(&wanted, "shop").await;
        table.refresh().await.unwrap();
        table.begin_topics(&starts).await.unwrap();
        lake.table.write_checkpoint(&lake.clock).await.unwrap();
    });
    let store = Store::over(Url::parse("memory:///lake").unwrap(), lake.inner());
    check(store.probe(&lake.clock));
}
