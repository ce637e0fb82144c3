//! Proves before the first commit that the store honours put-if-absent: real writers race for the same scratch key. Owns `_lakeward_probe/`, outside of every log.

use bytes::Bytes;
use futures::future::join_all;
use object_store::path::Path;
use object_store::{Error as StoreError, ObjectStore, ObjectStoreExt as _, PutMode, PutOptions};

use crate::clock::Clock;
use crate::delta::error::Error;

const DIRECTORY: &str = "_lakeward_probe";
const WRITERS: usize = 8;
/// Rounds with a clear winner.
const ROUNDS: usize = 4;
/// How often so many rounds are begun: a store may answer a round with errors that say nothing.
const WAVES_MAX: u32 = 3;

/// Races for scratch keys until enough rounds had exactly one winner, whose bytes are then there. Rounds have keys of their own and go on side by side, since a start waits for them.
pub(crate) async fn probe(
    objects: &dyn ObjectStore,
    url: &str,
    clock: &Clock,
) -> Result<(), Error> {
    let mut clear = 0;
    for _ in 0..WAVES_MAX {
        let rounds = (0..ROUNDS).map(|_| round(objects, url, clock));
        let (proofs, rounds): (Vec<_>, Vec<_>) = join_all(rounds)
            .await
            .into_iter()
            .partition(|round| matches!(round, Err(Error::NoPutIfAbsent { .. })));
        // Proof that the store is unfit says more than another round's failure.
        for is_clear in proofs.into_iter().chain(rounds) {
            clear += usize::from(is_clear?);
        }
        if clear >= ROUNDS {
            return Ok(());
        }
    }
    Err(Error::store(
        url,
        "answer the probe's conditional creates",
        "no round had a clear winner",
    ))
}

async fn round(objects: &dyn ObjectStore, url: &str, clock: &Clock) -> Result<bool, Error> {
    let key = Path::from(format!("{DIRECTORY}/{}", clock.new_id()));
    let is_clear = race(objects, &key, url).await;
    // A scratch key that stays behind harms nobody, and the next request tells whether the store is well.
    if let Err(error) = objects.delete(&key).await {
        tracing::debug!(%key, %error, "a scratch key of the probe stays behind");
    }
    is_clear
}

/// One round; `false` when errors hid who won.
async fn race(objects: &dyn ObjectStore, key: &Path, url: &str) -> Result<bool, Error> {
    let payload = |writer: usize| Bytes::from(format!("{key} writer {writer}"));
    let answers = join_all((0..WRITERS).map(|writer| create(objects, key, payload(writer)))).await;
    let winners = answers
        .iter()
        .enumerate()
        .filter(|(_, answer)| answer.is_ok())
        .map(|(writer, _)| writer)
        .collect::<Vec<_>>();
    let broken = |evidence: String| {
        Err(Error::NoPutIfAbsent {
            url: url.to_owned(),
            evidence,
        })
    };
    let [winner] = winners.as_slice() else {
        if winners.len() > 1 {
            return broken(format!(
                "{} of {WRITERS} writers each created {key}",
                winners.len()
            ));
        }
        return no_winner(answers, key, url);
    };
    let stored = read(objects, key)
        .await
        .map_err(|error| Error::store(url, format!("read {key}"), error))?;
    if stored != payload(*winner) {
        return broken(format!(
            "writer {winner} created {key}, but it holds `{}`",
            String::from_utf8_lossy(&stored)
        ));
    }
    match create(objects, key, payload(WRITERS)).await {
        Ok(()) => broken(format!("{key} was created again while it existed")),
        Err(error) => Ok(is_taken(&error)),
    }
}

/// A round that nobody won: answers may have been lost, but a store that answers every writer with an error is not well.
fn no_winner(answers: Vec<Result<(), StoreError>>, key: &Path, url: &str) -> Result<bool, Error> {
    let is_hopeless = answers
        .iter()
        .flat_map(|answer| answer.as_ref().err())
        .all(|error| !is_taken(error));
    match answers
        .into_iter()
        .find_map(|answer| answer.err().filter(|error| !is_taken(error)))
    {
        Some(StoreError::NotImplemented { operation, .. }) => Err(Error::NoPutIfAbsent {
            url: url.to_owned(),
            evidence: format!("it does not implement {operation}"),
        }),
        Some(error) if is_hopeless => Err(Error::store(url, format!("create {key}"), error)),
        Some(_) | None => Ok(false),
    }
}

async fn create(objects: &dyn ObjectStore, key: &Path, payload: Bytes) -> Result<(), StoreError> {
    let options = PutOptions {
        mode: PutMode::Create,
        ..PutOptions::default()
    };
    objects
        .put_opts(key, payload.into(), options)
        .await
        .map(|_| ())
}

async fn read(objects: &dyn ObjectStore, key: &Path) -> Result<Bytes, StoreError> {
    objects.get(key).await?.bytes().await
}

fn is_taken(error: &StoreError) -> bool {
    matches!(
        error,
        StoreError::AlreadyExists { .. } | StoreError::Precondition { .. }
    )
}
