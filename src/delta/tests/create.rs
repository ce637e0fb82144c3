//! Making a table and naming its sources.

use futures::future::join_all;

use super::*;
use crate::delta::{Error, schema};
use crate::error::Kind;

#[tokio::test]
async fn instances_that_race_to_create_agree_on_one_table() {
    let lake = Lake::new();
    let tables = join_all((0..8).map(|_| lake.create())).await;
    assert!(
        tables
            .iter()
            .all(|table| table.id() == tables[0].id() && table.version() == 0)
    );
    let (creation, sources) = (creation(), [start(&[(0, 0)])]);
    let again = Table::create(&lake.table, &creation, &sources, &lake.clock)
        .await
        .unwrap();
    assert_eq!(again.id(), tables[0].id());
    assert_eq!(lake.second_opinion().await, (0, vec![], [Some(0), Some(0)]));
}

#[tokio::test]
async fn a_created_table_holds_columns_sources_and_first_offsets() {
    let lake = Lake::new();
    assert!(
        Table::load(&lake.table, &lake.clock)
            .await
            .unwrap()
            .is_none()
    );
    let table = lake.create().await;
    schema::fit(&table, &columns(), &["region".to_owned()]).unwrap();
    assert_eq!(table.property("lakeward.mapping_version"), Some("1"));
    assert_eq!(table.committed(&partition(1)).unwrap(), 0);
    assert_eq!(table.sources().topic(TOPIC).unwrap().start, "earliest");
    assert_eq!(table.schema().fields().len(), 5);
    assert_eq!(table.valid_through_ms(), None);
    let error = schema::fit(&table, &columns(), &[]).unwrap_err();
    assert_eq!(
        error.to_string(),
        "the table `memory:///lake/orders/` does not fit: it is partitioned by [region], but tables.partition_by says []"
    );
}

#[tokio::test]
async fn properties_that_need_features_are_refused_at_creation() {
    let lake = Lake::new();
    let creation = Creation {
        properties: BTreeMap::from([("delta.enableChangeDataFeed".to_owned(), "true".to_owned())]),
        ..creation()
    };
    let error = Table::create(&lake.table, &creation, &[], &lake.clock)
        .await
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        "tables.properties `delta.enableChangeDataFeed`: it needs a table feature that is not built yet; remove it"
    );
    assert_eq!(error.kind(), Kind::Invalid);
}

#[tokio::test]
async fn timestamps_without_a_zone_take_the_feature_and_no_more() {
    let lake = Lake::new();
    let ntz = Field::new(
        "at",
        DataType::Timestamp(arrow::datatypes::TimeUnit::Microsecond, None),
        false,
    );
    let columns = Arc::new(Schema::new(vec![
        ntz,
        Field::new("x", DataType::Int64, true),
    ]));
    let creation = Creation {
        columns,
        partition_columns: vec![],
        ..creation()
    };
    let table = Table::create(&lake.table, &creation, &[], &lake.clock)
        .await
        .unwrap();
    assert!(table.schema().field(0).is_nullable());
    assert_eq!(
        table.state.protocol.writer_features.as_ref().unwrap().len(),
        3
    );
    assert_eq!(lake.second_opinion().await.0, 0);
}

#[tokio::test]
async fn a_directory_of_other_files_is_not_made_a_table() {
    let lake = Lake::new();
    lake.write("_SUCCESS", "").await;
    assert!(
        Table::load(&lake.table, &lake.clock)
            .await
            .unwrap()
            .is_none()
    );
    lake.write("year=2026/a.parquet", "x").await;
    let error = Table::create(&lake.table, &creation(), &[], &lake.clock)
        .await
        .unwrap_err();
    assert!(error.to_string().starts_with("`memory:///lake/orders/` is not a Delta table: it has no _delta_log but holds other files"), "{error}");
    assert_eq!(error.kind(), Kind::Invalid);
}

#[tokio::test]
async fn a_topic_partition_that_another_instance_named_first_can_be_committed_by_whoever_gains_it()
{
    let lake = Lake::new();
    let mut ours = lake.create().await;
    let mut theirs = lake.load().await;
    let starts = [start(&[(0, 7), (1, 7), (2, 7)])];
    assert_eq!(
        theirs.begin_topics(&starts).await.unwrap(),
        CommitOutcome::Committed(1)
    );
    ours.refresh().await.unwrap();
    check_superseded(
        &ours.commit(&append(&[(2, 7, 8)], "a"), "shop").await,
        "lakeward.sources changed",
    );
    ours.hand_out(&[]);
    assert_eq!(
        ours.commit(&append(&[(2, 7, 8)], "b"), "shop").await,
        CommitOutcome::Committed(2)
    );
}

#[tokio::test]
async fn new_topic_partitions_begin_once_and_the_first_to_name_them_decides() {
    let lake = Lake::new();
    let mut ours = lake.create().await;
    let mut theirs = lake.load().await;
    assert!(matches!(
        ours.committed(&partition(2)),
        Err(Error::UnknownTopicPartition { .. })
    ));
    assert_eq!(
        theirs
            .begin_topics(&[start(&[(0, 7), (1, 7), (2, 7)])])
            .await
            .unwrap(),
        CommitOutcome::Committed(1)
    );
    assert_eq!(
        ours.begin_topics(&[start(&[(0, 9), (1, 9), (2, 9)])])
            .await
            .unwrap(),
        CommitOutcome::Committed(1)
    );
    assert_eq!(
        (
            ours.committed(&partition(0)).unwrap(),
            ours.committed(&partition(2)).unwrap()
        ),
        (0, 7)
    );
    assert_eq!(
        ours.commit(&append(&[(2, 7, 8)], "a"), "shop").await,
        CommitOutcome::Committed(2)
    );

    let other = TopicStart {
        topic: "shop.returns".into(),
        ..start(&[(0, 100)])
    };
    assert_eq!(
        ours.begin_topics(std::slice::from_ref(&other))
            .await
            .unwrap(),
        CommitOutcome::Committed(3)
    );
    assert_eq!(
        lake.load()
            .await
            .committed(&TopicPartition::new("shop.returns", 0))
            .unwrap(),
        100
    );
    assert_eq!(lake.second_opinion().await.0, 3);
}

#[tokio::test]
async fn off_8_lost_sources_and_lost_offsets_are_errors_and_never_a_fresh_start() {
    let lake = Lake::new();
    lake.create().await;
    // RESTORE takes the property back, but not the txns.
    let reverted = lake
        .metadata_with(&[(
            r#"\"topic_partitions\":{\"0\":0,\"1\":0}"#,
            r#"\"topic_partitions\":{\"0\":0}"#,
        )])
        .await;
    lake.foreign(1, &[&reverted]).await;
    let mut table = lake.load().await;
    assert!(
        matches!(
            table.committed(&partition(1)),
            Err(Error::SourceLost { .. })
        ),
        "{:?}",
        table.committed(&partition(1))
    );
    assert!(matches!(
        table.committed(&partition(0)),
        Err(Error::SourceLost { .. })
    ));
    assert!(matches!(
        table.begin_topics(&[start(&[(1, 0)])]).await,
        Err(Error::SourceLost { .. })
    ));

    // An entry lower than an incarnation with txns.
    let whole = lake.metadata_with(&[]).await;
    lake.foreign(
        2,
        &[
            &whole,
            r#"{"txn":{"appId":"lakeward/shop.orders/1/0","version":5}}"#,
        ],
    )
    .await;
    let error = lake.load().await.committed(&partition(0)).unwrap_err();
    assert!(error.to_string().contains("holds offsets of shop.orders[0], incarnation 1, but its property lakeward.sources names incarnation 0"), "{error}");
    assert_eq!(error.kind(), Kind::Corrupt);

    // A named topic partition whose txn was cleaned away.
    let named = lake
        .metadata_with(&[
            (r#"\"1\":0}"#, r#"\"1\":0,\"2\":0}"#),
            (r#"{\"0\":0"#, r#"{\"0\":1"#),
        ])
        .await;
    lake.foreign(3, &[&named]).await;
    let error = lake.load().await.committed(&partition(2)).unwrap_err();
    assert!(
        matches!(&error, Error::OffsetLost { app_id, .. } if app_id == "lakeward/shop.orders/0/2"),
        "{error}"
    );
    assert!(error.to_string().contains("does not fall back to `start`"));
}
