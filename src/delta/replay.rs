//! Replays a table's log into its state, from a checkpoint or from the beginning. Owns opening: which checkpoint counts, what is damaged, what is no table;
//! never the file list, so that opening does not grow with the table.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt as _;
use object_store::path::Path;

use crate::clock::{Clock, Instant};
use crate::delta::actions::{Entry, Metadata, Protocol};
use crate::delta::checkpoint;
use crate::delta::error::Error;
use crate::delta::log::{self, Doubts, Listing, Read};
use crate::delta::open::TableStore;
use crate::delta::sources;
use crate::delta::state::{Identity, Shape, State, take_progress};
use crate::delta::watermark::Watermark;
use crate::trial::{self, Bug};

/// Entries fetched at once while the log is replayed.
const READ_AHEAD: usize = 8;
const LOAD_PAUSE: Duration = Duration::from_millis(100);
/// Entries looked at behind a checkpoint for the newest `validThrough`.
const LOOK_BACK: u64 = 8;

/// A fresh load.
#[derive(Debug)]
pub(crate) struct Loaded {
    pub(crate) state: State,
    /// The first version whose entry was read rather than taken from a checkpoint.
    pub(crate) read_from: u64,
    /// Where the commit with the watched id is, if its entry was read.
    pub(crate) found: Option<u64>,
}

/// Loads the newest version; `None` when there is no table and nothing in its place.
pub(crate) async fn load(
    store: &TableStore,
    clock: &Clock,
    watch: Option<&str>,
) -> Result<Option<Loaded>, Error> {
    let mut doubts = Doubts::default();
    loop {
        match load_once(store, clock, watch).await {
            Err(Error::Corrupt { .. }) if doubts.remain(store).await => {
                clock.sleep(LOAD_PAUSE).await;
            }
            outcome => return outcome,
        }
    }
}

async fn load_once(
    store: &TableStore,
    clock: &Clock,
    watch: Option<&str>,
) -> Result<Option<Loaded>, Error> {
    let confirmed = clock.now();
    let hint = log::last_checkpoint(store).await?;
    let mut listing = log::list(store, hint.unwrap_or(0)).await?;
    let (mut start, mut failure) = newest_checkpoint(store, &listing).await?;
    if start.is_none() && hint.is_some() {
        listing = log::list(store, 0).await?;
        (start, failure) = newest_checkpoint(store, &listing).await?;
    }
    let first = match &start {
        Some(start) => Some(start.version + 1),
        None => first_entry(store, &listing, failure, hint).await?,
    };
    let Some(first) = first else {
        return Ok(None);
    };
    let mut replay = Replay::new(start, watch);
    let last = listing.entries.last().copied().unwrap_or(0);
    let mut reads = futures::stream::iter(first..last.saturating_add(1))
        .map(|version| async move { (version, log::read(store, version).await) })
        .buffered(READ_AHEAD);
    while let Some((version, read)) = reads.next().await {
        let read = read?.ok_or_else(|| {
            store.damaged(
                version,
                format!("its entry is missing, but there is one of version {last}"),
            )
        })?;
        replay.take(version, read);
    }
    drop(reads);
    // A listing may be late; the entries themselves are not.
    let mut next = first.max(last.saturating_add(1));
    while let Some(read) = log::read(store, next).await? {
        replay.take(next, read);
        next += 1;
    }
    let loaded = replay.finish(store, first, confirmed).await?;
    if log::is_passed(store, first, hint).await? {
        return Err(log::passed(store, first));
    }
    Ok(Some(loaded))
}

/// A checkpoint that was read.
struct Start {
    version: u64,
    path: Path,
    entry: Entry,
}

/// The newest checkpoint that can be read, and why a newer one is damaged.
async fn newest_checkpoint(
    store: &TableStore,
    listing: &Listing,
) -> Result<(Option<Start>, Option<Error>), Error> {
    let mut failure = None;
    let mut candidates = Vec::new();
    for (version, all) in listing.checkpoints.iter().rev() {
        candidates.extend(all.iter().map(|files| (*version, files)));
    }
    for (version, files) in candidates {
        match checkpoint::read(store, version, files).await {
            Ok(entry) if entry.protocol.is_some() && entry.metadata.is_some() => {
                let path = files
                    .parts
                    .first()
                    .map(|file| file.path.clone())
                    .unwrap_or_default();
                let start = Start {
                    version,
                    path,
                    entry,
                };
                return Ok((Some(start), failure));
            }
            Ok(_) => {
                failure.get_or_insert_with(|| {
                    store.damaged(version, "its checkpoint holds no protocol or no metadata")
                });
            }
            Err(error @ Error::Corrupt { .. }) => {
                tracing::warn!(table = %store.url(), version, %error, "a checkpoint that cannot be read is passed over");
                failure.get_or_insert(error);
            }
            // Whether it can be read is not known.
            Err(error) => return Err(error),
        }
    }
    Ok((None, failure))
}

/// The first version to read an entry of when there is no checkpoint; `None` when there is no table.
async fn first_entry(
    store: &TableStore,
    listing: &Listing,
    failure: Option<Error>,
    hint: Option<u64>,
) -> Result<Option<u64>, Error> {
    match (listing.entries.first(), failure, hint) {
        (Some(0), _, _) => Ok(Some(0)),
        (Some(_) | None, Some(failure), _) => Err(failure),
        (Some(first), None, _) => Err(store.damaged(
            0,
            format!("there is no checkpoint, and the entries begin at version {first}"),
        )),
        (None, None, Some(hint)) => Err(store.damaged(
            hint,
            "_last_checkpoint names it, but the log holds neither an entry nor a checkpoint",
        )),
        (None, None, None) => match log::any_data_file(store).await? {
            // Others may have made the table, written to it and even cleaned up its first entries between the two looks: it is looked at anew.
            Some(_) if !log::list(store, 0).await?.is_empty() => {
                Err(store.damaged(0, "its log began while it was looked at"))
            }
            Some(file) => Err(Error::NotATable {
                location: store.url().to_string(),
                reason: format!(
                    "it has no _delta_log but holds other files, such as `{file}`; choose an empty path, or convert them to Delta first"
                ),
            }),
            None => Ok(None),
        },
    }
}

/// The log as far as it was replayed.
struct Replay<'a> {
    watch: Option<&'a str>,
    found: Option<u64>,
    checkpoint: Option<(u64, Path)>,
    newest: Option<(u64, Identity)>,
    protocol: Option<Protocol>,
    metadata: Option<Metadata>,
    txns: BTreeMap<String, i64>,
    watermark: Watermark,
}

impl<'a> Replay<'a> {
    fn new(start: Option<Start>, watch: Option<&'a str>) -> Self {
        let (checkpoint, entry) = start.map_or((None, Entry::default()), |start| {
            (Some((start.version, start.path)), start.entry)
        });
        Replay {
            watch,
            found: None,
            checkpoint,
            newest: None,
            txns: entry
                .txns
                .into_iter()
                .filter(|txn| sources::is_ours(&txn.app_id))
                .map(|txn| (txn.app_id, txn.version))
                .collect(),
            protocol: entry.protocol,
            metadata: entry.metadata,
            watermark: Watermark::default(),
        }
    }

    fn take(&mut self, version: u64, read: Read) {
        if self.watch.is_some() && self.watch == read.entry.info.txn_id.as_deref() {
            self.found = Some(version);
        }
        take_progress(&mut self.txns, &mut self.watermark, &read.entry);
        self.protocol = read.entry.protocol.or_else(|| self.protocol.take());
        self.metadata = read.entry.metadata.or_else(|| self.metadata.take());
        self.newest = Some((
            version,
            Identity::Entry {
                fingerprint: read.entry.fingerprint,
                seal: read.seal,
            },
        ));
    }

    async fn finish(
        mut self,
        store: &TableStore,
        first: u64,
        confirmed: Instant,
    ) -> Result<Loaded, Error> {
        let mut read_from = first;
        let (version, identity) = match (self.newest.take(), self.checkpoint.take()) {
            (Some(newest), _) => newest,
            (None, Some((version, path))) => match log::read(store, version).await? {
                Some(read) => {
                    read_from = version;
                    self.found = self
                        .watch
                        .filter(|watch| read.entry.info.txn_id.as_deref() == Some(watch))
                        .map(|_| version);
                    read.entry
                        .info
                        .lakeward
                        .iter()
                        .for_each(|lakeward| self.watermark.read(lakeward));
                    (
                        version,
                        Identity::Entry {
                            fingerprint: read.entry.fingerprint,
                            seal: read.seal,
                        },
                    )
                }
                None => (
                    version,
                    Identity::Checkpoint {
                        seal: log::seal(store, &path).await?,
                        path,
                    },
                ),
            },
            (None, None) => {
                return Err(store.damaged(first, "there is neither an entry nor a checkpoint"));
            }
        };
        let protocol = self
            .protocol
            .ok_or_else(|| store.damaged(version, "no entry up to it names the protocol"))?;
        let metadata = self
            .metadata
            .ok_or_else(|| store.damaged(version, "no entry up to it holds the metadata"))?;
        let shape = Shape::of(metadata, store, version)?;
        if trial::has(Bug::StartOnMissingTxn) {
            for (topic_partition, incarnation) in shape.sources.topic_partitions() {
                let app_id = sources::app_id(&topic_partition, incarnation);
                self.txns.entry(app_id).or_insert(0);
            }
        }
        look_back(store, &mut self.watermark, &shape, first).await;
        let state = State {
            version,
            identity,
            protocol,
            shape: Arc::new(shape),
            txns: self.txns,
            watermark: self.watermark,
            confirmed,
        };
        state.judge(store)?;
        Ok(Loaded {
            state,
            read_from,
            found: self.found,
        })
    }
}

/// Finds the newest `validThrough` in the entries that a checkpoint spared us; without one the bound is merely unknown, so failures are.
async fn look_back(store: &TableStore, watermark: &mut Watermark, shape: &Shape, first: u64) {
    if watermark.has_floor() || shape.sources.topics().next().is_none() {
        return;
    }
    for version in (first.saturating_sub(LOOK_BACK)..first).rev() {
        let Ok(Some(read)) = log::read(store, version).await else {
            return;
        };
        read.entry
            .info
            .lakeward
            .iter()
            .for_each(|lakeward| watermark.read(lakeward));
        if watermark.has_floor() {
            return;
        }
    }
}
