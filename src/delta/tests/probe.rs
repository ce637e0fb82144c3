//! The proof of put-if-absent.

use futures::TryStreamExt as _;

use super::*;
use crate::error::Kind;
use crate::testing::faulty_store::{Failure, Fault, Operation, When};

async fn probed(fault: Option<(When, Fault)>) -> Result<(), (Kind, String)> {
    let lake = Lake::new();
    if let Some((when, fault)) = fault {
        lake.faulty
            .rule(Operation::Put, "_lakeward_probe", when, fault);
    }
    let store = Store::over(
        Url::parse("memory:///lake").unwrap(),
        Arc::new(lake.faulty.clone()),
    );
    let probed = store.probe(&lake.clock).await;
    let left = lake
        .inner()
        .list(None)
        .try_collect::<Vec<_>>()
        .await
        .unwrap();
    assert!(left.is_empty(), "the probe leaves {left:?}");
    probed.map_err(|error| (error.kind(), error.to_string()))
}

#[tokio::test]
async fn stores_with_put_if_absent_pass() {
    assert_eq!(probed(None).await, Ok(()));
    let lost = Fault::FailAfter(Failure::Unavailable);
    assert_eq!(probed(Some((When::Every(5), lost))).await, Ok(()));
    assert_eq!(
        probed(Some((When::Every(5), Fault::FalseExists))).await,
        Ok(())
    );
}

#[tokio::test]
async fn a_store_that_ignores_the_condition_is_refused() {
    for fault in [Fault::IgnoreCondition, Fault::CheckThenWrite] {
        let (kind, message) = probed(Some((When::Always, fault))).await.unwrap_err();
        assert_eq!(kind, Kind::Invalid);
        assert!(
            message.starts_with("storage.url `memory:///lake`: the store does not honour conditional creates (put-if-absent)"),
            "{message}"
        );
        assert!(
            message.contains("8 of 8 writers each created _lakeward_probe/"),
            "{message}"
        );
    }
}

#[tokio::test]
async fn proof_that_a_store_is_unfit_outweighs_a_round_that_failed() {
    let lake = Lake::new();
    let probe = "_lakeward_probe";
    // The first round hears of failures alone, the others win eight times each.
    let away = Fault::FailBefore(Failure::Unavailable);
    lake.faulty
        .rule(Operation::Put, probe, When::First(8), away);
    lake.faulty
        .rule(Operation::Put, probe, When::Always, Fault::IgnoreCondition);
    let url = Url::parse("memory:///lake").unwrap();
    let store = Store::over(url, Arc::new(lake.faulty.clone()));
    let error = store.probe(&lake.clock).await.unwrap_err();
    assert_eq!(error.kind(), Kind::Invalid, "{error}");
}

#[tokio::test]
async fn a_store_that_refuses_or_fails_is_unavailable() {
    let (kind, message) = probed(Some((When::Always, Fault::FailBefore(Failure::Forbidden))))
        .await
        .unwrap_err();
    assert_eq!(kind, Kind::Unavailable);
    assert!(
        message.contains("the store at `memory:///lake` (storage.url, storage.options) failed to create _lakeward_probe/"),
        "{message}"
    );
    let (kind, _) = probed(Some((
        When::Always,
        Fault::FailBefore(Failure::Unavailable),
    )))
    .await
    .unwrap_err();
    assert_eq!(kind, Kind::Unavailable);
}
