//! Changes of the sources without a record: what they write, and what they give way to.

use std::collections::BTreeMap;

use crate::delta::tests::{
    Lake, TOPIC, append, check_conflict, check_superseded, entry, partition,
};
use crate::delta::{LIFTED, Mend, Mending, Table};
use crate::model::commit::CommitOutcome;
use crate::model::epoch::Epoch;
use crate::model::identity::TopicIdentity;
use crate::model::offset::{Incarnation, Span};

fn identity(topic_id: Option<&str>) -> TopicIdentity {
    TopicIdentity {
        cluster_id: Some("cluster".to_owned()),
        topic_id: topic_id.map(str::to_owned),
    }
}

fn mending(mend: Mend) -> Mending {
    Mending {
        mends: vec![mend],
        lifted: Vec::new(),
        reason: "a test".to_owned(),
        name: "shop".to_owned(),
        epoch: None,
    }
}

fn renew(was: TopicIdentity) -> Mending {
    mending(Mend::Renew {
        topic: TOPIC.into(),
        was,
        is: identity(Some("b")),
        offsets: BTreeMap::from([(0, 7)]),
    })
}

async fn committed(table: &mut Table, mending: &Mending) {
    let outcome = table.mend(mending).await;
    assert!(
        matches!(outcome, CommitOutcome::Committed(_)),
        "{outcome:?}"
    );
}

async fn at(lake: &Lake) -> (Table, TopicIdentity) {
    let table = lake.load().await;
    let identity = table.sources().identity(TOPIC).unwrap();
    (table, identity)
}

#[tokio::test]
async fn an_identity_is_adopted_once_and_never_replaced() {
    let lake = Lake::new();
    let mut table = lake.create().await;
    let adopt = |id| {
        mending(Mend::Adopt {
            topic: TOPIC.into(),
            identity: identity(Some(id)),
        })
    };
    committed(&mut table, &adopt("a")).await;
    let version = table.version();
    // Another instance adopts the same: nothing to write.
    committed(&mut table, &adopt("a")).await;
    assert_eq!(
        (table.version(), at(&lake).await.1),
        (version, identity(Some("a")))
    );
    check_superseded(
        &table.mend(&adopt("b")).await,
        "in lakeward.sources changed",
    );
}

#[tokio::test]
async fn off_6_the_next_incarnation_of_a_topic_begins_every_topic_partition_again() {
    let lake = Lake::new();
    let mut table = lake.create().await;
    let mut zombie = lake.load().await;
    table.commit(&append(&[(0, 0, 5)], "a"), "shop").await;
    committed(&mut table, &renew(identity(None))).await;
    let (table_after, pinned) = at(&lake).await;
    assert_eq!(pinned, identity(Some("b")));
    for (number, offset) in [(0, 7), (1, 0)] {
        assert_eq!(
            table_after.sources().incarnation(&partition(number)),
            Some(Incarnation(1))
        );
        assert_eq!(table_after.committed(&partition(number)).unwrap(), offset);
    }
    let text = lake.read(&entry(2)).await;
    for part in [
        r#""appId":"lakeward/shop.orders/1/0","version":7"#,
        r#""mended":[{"change":"next incarnation","topic":"shop.orders","topicId":"b"}]"#,
        r#""reason":"a test""#,
    ] {
        assert!(text.contains(part), "{part} is not in {text}");
    }
    // A second instance that decided the same adds nothing; one that decided on what is not so any more gives way.
    committed(&mut table, &renew(identity(None))).await;
    assert!(!lake.exists(3).await);
    check_superseded(
        &table
            .mend(&mending(Mend::Renew {
                topic: TOPIC.into(),
                was: identity(Some("a")),
                is: identity(Some("c")),
                offsets: BTreeMap::new(),
            }))
            .await,
        "in lakeward.sources changed",
    );
    // Who still reads the former topic commits nothing, even where the offsets happen to fit.
    zombie.refresh().await.unwrap();
    check_superseded(
        &zombie.commit(&append(&[(0, 7, 9)], "z"), "shop").await,
        "lakeward.sources changed",
    );
    zombie.hand_out(&[partition(0)]);
    assert!(matches!(
        zombie.commit(&append(&[(0, 7, 9)], "y"), "shop").await,
        CommitOutcome::Committed(3)
    ));
}

#[tokio::test]
async fn off_7_a_hole_is_a_declared_span_and_gives_way_to_an_owner_that_moved_on() {
    let lake = Lake::new();
    let mut table = lake.create().await;
    let skip = |start, end| {
        mending(Mend::Skip {
            topic_partition: partition(0),
            span: Span::new(start, end).unwrap(),
        })
    };
    committed(&mut table, &skip(0, 40)).await;
    let text = lake.read(&entry(1)).await;
    assert!(
        text.contains(r#""start":0,"end":40,"rows":0,"rejects":0,"skipped":0,"lost":40"#),
        "{text}"
    );
    assert_eq!(lake.load().await.committed(&partition(0)).unwrap(), 40);
    table.commit(&append(&[(0, 40, 50)], "a"), "shop").await;
    check_superseded(&table.mend(&skip(40, 60)).await, "stands at 50");
}

#[tokio::test]
async fn a_truncated_log_goes_on_as_the_next_incarnation_and_no_txn_is_lowered() {
    let lake = Lake::new();
    let mut table = lake.create().await;
    table.commit(&append(&[(0, 0, 90)], "a"), "shop").await;
    let again = mending(Mend::Again {
        topic_partition: partition(0),
        committed: 90,
        start: 60,
        tail: None,
    });
    committed(&mut table, &again).await;
    let loaded = lake.load().await;
    assert_eq!(
        loaded.sources().incarnation(&partition(0)),
        Some(Incarnation(1))
    );
    assert_eq!(
        loaded.sources().incarnation(&partition(1)),
        Some(Incarnation(0))
    );
    assert_eq!(loaded.committed(&partition(0)).unwrap(), 60);
    assert_eq!(loaded.state.txns.get("lakeward/shop.orders/0/0"), Some(&90));
    // The same decision again is about an incarnation that is over.
    check_superseded(&table.mend(&again).await, "stands at 60");
}

#[tokio::test]
async fn epoch_1_nothing_is_mended_under_an_ended_epoch() {
    let lake = Lake::new();
    let mut table = lake.create().await;
    let epoch = Epoch::begin(1);
    epoch.end();
    let mut change = renew(identity(None));
    change.epoch = Some(epoch);
    check_superseded(&table.mend(&change).await, "its epoch has ended");
    assert!(!lake.exists(1).await);
}

#[tokio::test]
async fn what_was_lifted_is_a_property_that_every_instance_reads() {
    let lake = Lake::new();
    let mut table = lake.create().await;
    let lift = |causes: &[&str]| Mending {
        mends: Vec::new(),
        lifted: causes.iter().map(|cause| (*cause).to_owned()).collect(),
        reason: "a person".to_owned(),
        name: "shop".to_owned(),
        epoch: None,
    };
    committed(&mut table, &lift(&["recreated/shop.orders/b"])).await;
    let first = lake.load().await.property(LIFTED).unwrap().to_owned();
    assert!(first.contains("recreated/shop.orders/b"), "{first}");
    // Lifting the same again is news: the instances that wait try again.
    committed(&mut table, &lift(&["recreated/shop.orders/b"])).await;
    assert_ne!(lake.load().await.property(LIFTED), Some(first.as_str()));
    committed(&mut table, &lift(&[])).await;
    assert!(!lake.exists(3).await);
}

#[tokio::test]
async fn off_8_a_restored_property_is_not_mended_over() {
    let lake = Lake::new();
    let mut table = lake.create().await;
    let before = lake.metadata_with(&[]).await;
    committed(&mut table, &renew(identity(None))).await;
    // RESTORE takes the metadata back, but not the txns.
    lake.foreign(2, &[&before]).await;
    table.refresh().await.unwrap();
    let outcome = table.mend(&renew(identity(None))).await;
    check_conflict(&outcome, "names incarnation 0");
}

#[tokio::test]
async fn commit_2_a_table_in_the_place_of_the_former_one_is_an_error_with_both_ids() {
    let lake = Lake::new();
    let mut table = lake.create().await;
    lake.delete(&entry(0)).await;
    let gone = table.refresh().await.unwrap_err();
    assert!(
        gone.to_string()
            .contains("is gone: it was dropped while the sink used it"),
        "{gone}"
    );
    let other = lake.create().await;
    let replaced = table.refresh().await.unwrap_err().to_string();
    assert!(
        replaced.contains(&format!(
            "its id was {} and is {}",
            table.handed_out.shape.metadata.id,
            other.id()
        )),
        "{replaced}"
    );
}
