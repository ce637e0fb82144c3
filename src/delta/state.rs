//! A table at one version: protocol, metadata, sources and committed offsets. Owns replaying the log into it, from a checkpoint or from the beginning;
//! never the file list. Commits nothing.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use arrow::datatypes::SchemaRef;
use deltalake::kernel::StructType;
use futures::StreamExt as _;
use object_store::path::Path;

use crate::clock::{Clock, Instant};
use crate::delta::actions::{Entry, Metadata, Protocol};
use crate::delta::error::Error;
use crate::delta::log::{self, Listing, Read, Seal};
use crate::delta::open::TableStore;
use crate::delta::sources::{self, Sources};
use crate::delta::watermark::Watermark;
use crate::delta::{checkpoint, features, schema};

/// Entries fetched at once while the log is replayed.
const READ_AHEAD: usize = 8;
/// Loads before a log that contradicts itself is believed: a clean-up or a late listing can show it between two states.
const LOADS_MAX: u32 = 3;
const LOAD_PAUSE: Duration = Duration::from_millis(100);
/// Entries looked at behind a checkpoint for the newest `validThrough`.
const LOOK_BACK: u64 = 8;

/// A table at one version.
#[derive(Debug, Clone)]
pub(crate) struct State {
    pub(crate) version: u64,
    pub(crate) identity: Identity,
    pub(crate) protocol: Protocol,
    pub(crate) shape: Arc<Shape>,
    /// Next offsets and every other txn of ours, by appId.
    pub(crate) txns: BTreeMap<String, i64>,
    pub(crate) watermark: Watermark,
    /// When the store last proved it.
    pub(crate) confirmed: Instant,
}

/// What a table's metadata says.
#[derive(Debug)]
pub(crate) struct Shape {
    pub(crate) metadata: Metadata,
    pub(crate) schema: StructType,
    pub(crate) arrow: SchemaRef,
    pub(crate) sources: Sources,
}

/// What proves that the newest entry is still the one that was read (COMMIT-2).
#[derive(Debug, Clone)]
pub(crate) enum Identity {
    /// The entry's bytes, and what the store said of them.
    Entry { fingerprint: u64, seal: Seal },
    /// The entry itself was cleaned up; a checkpoint of its version stands for it.
    Checkpoint { path: Path, seal: Option<Seal> },
}

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
    let mut loads = 0;
    loop {
        loads += 1;
        match load_once(store, clock, watch).await {
            Err(Error::Corrupt { .. }) if loads < LOADS_MAX => clock.sleep(LOAD_PAUSE).await,
            result => return result,
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
    let mut start = newest_checkpoint(store, &listing).await?;
    if start.is_none() && hint.is_some() {
        listing = log::list(store, 0).await?;
        start = newest_checkpoint(store, &listing).await?;
    }
    let Some(first) = first_entry(store, &listing, start.as_ref(), hint).await? else {
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
    let state = replay.finish(store, first, confirmed).await?;
    Ok(Some(state))
}

/// The newest checkpoint that can be read, and its version.
async fn newest_checkpoint(
    store: &TableStore,
    listing: &Listing,
) -> Result<Option<(u64, Path, Entry)>, Error> {
    let mut first_failure = None;
    for (version, candidates) in listing.checkpoints.iter().rev() {
        for files in candidates {
            match checkpoint::read(store, *version, files).await {
                Ok(entry) if entry.protocol.is_some() && entry.metadata.is_some() => {
                    let path = files
                        .parts
                        .first()
                        .map(|file| file.path.clone())
                        .unwrap_or_default();
                    return Ok(Some((*version, path, entry)));
                }
                Ok(_) => {
                    tracing::warn!(table = %store.url(), version, "a checkpoint without protocol or metadata is passed over")
                }
                Err(error) => {
                    tracing::warn!(table = %store.url(), version, %error, "a checkpoint that cannot be read is passed over");
                    first_failure.get_or_insert(error);
                }
            }
        }
    }
    match first_failure {
        Some(error) if !listing.entries.contains(&0) && listing.entries.first().is_some() => {
            Err(error)
        }
        Some(_) | None => Ok(None),
    }
}

/// The first version to read an entry of; `None` when there is no table.
async fn first_entry(
    store: &TableStore,
    listing: &Listing,
    start: Option<&(u64, Path, Entry)>,
    hint: Option<u64>,
) -> Result<Option<u64>, Error> {
    if let Some((version, _, _)) = start {
        return Ok(Some(version + 1));
    }
    match (listing.entries.first(), hint) {
        (Some(0), _) => Ok(Some(0)),
        (Some(first), _) => Err(store.damaged(0, format!("there is no readable checkpoint, and the entries begin at version {first}"))),
        (None, Some(hint)) => Err(store.damaged(hint, "_last_checkpoint names it, but the log holds neither an entry nor a readable checkpoint")),
        (None, None) if !listing.checkpoints.is_empty() => Err(store.damaged(0, "no checkpoint is readable, and there are no entries")),
        (None, None) => match log::any_data_file(store).await? {
            Some(file) => Err(Error::NotATable {
                location: store.url().to_string(),
                reason: format!("it has no _delta_log but holds other files, such as `{file}`; choose an empty path, or convert them to Delta first"),
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
    fn new(start: Option<(u64, Path, Entry)>, watch: Option<&'a str>) -> Self {
        let (checkpoint, entry) = start
            .map_or((None, Entry::default()), |(version, path, entry)| {
                (Some((version, path)), entry)
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

impl Shape {
    pub(crate) fn of(metadata: Metadata, store: &TableStore, version: u64) -> Result<Shape, Error> {
        let damaged = |reason: String| store.damaged(version, reason);
        let schema = schema::parse(&metadata.schema_string).map_err(damaged)?;
        let arrow = schema::to_arrow(&schema).map_err(damaged)?;
        let sources = Sources::parse(
            metadata
                .configuration
                .get(sources::PROPERTY)
                .map(String::as_str),
        )
        .map_err(damaged)?;
        Ok(Shape {
            metadata,
            schema,
            arrow,
            sources,
        })
    }
}

impl State {
    /// Takes in the next entry.
    pub(crate) fn apply(&mut self, store: &TableStore, read: Read) -> Result<(), Error> {
        let version = self.version + 1;
        let entry = read.entry;
        if let Some(metadata) = entry.metadata.clone() {
            self.shape = Arc::new(Shape::of(metadata, store, version)?);
        }
        if let Some(protocol) = entry.protocol.clone() {
            self.protocol = protocol;
        }
        take_progress(&mut self.txns, &mut self.watermark, &entry);
        self.identity = Identity::Entry {
            fingerprint: entry.fingerprint,
            seal: read.seal,
        };
        self.version = version;
        Ok(())
    }

    /// Refuses a table that uses what we do not honour.
    pub(crate) fn judge(&self, store: &TableStore) -> Result<(), Error> {
        features::judge(&self.protocol, &self.shape.metadata, &self.shape.schema)
            .map_err(|refused| refused.into_error(store.url().as_str()))
    }

    /// Whether the store still holds the version that this is, and no other table's.
    pub(crate) async fn holds(&mut self, store: &TableStore) -> Result<bool, Error> {
        match &mut self.identity {
            Identity::Checkpoint { path, seal } => Ok(log::seal(store, path).await? == *seal),
            Identity::Entry { fingerprint, seal } => {
                if seal.is_proof()
                    && log::seal(store, &log::entry_path(self.version))
                        .await?
                        .as_ref()
                        == Some(&*seal)
                {
                    return Ok(true);
                }
                match log::read(store, self.version).await {
                    Ok(Some(read)) if read.entry.fingerprint == *fingerprint => {
                        *seal = read.seal;
                        Ok(true)
                    }
                    Ok(_) | Err(Error::Corrupt { .. }) => Ok(false),
                    Err(error) => Err(error),
                }
            }
        }
    }
}

fn take_progress(txns: &mut BTreeMap<String, i64>, watermark: &mut Watermark, entry: &Entry) {
    for txn in entry
        .txns
        .iter()
        .filter(|txn| sources::is_ours(&txn.app_id))
    {
        if txns.insert(txn.app_id.clone(), txn.version).is_none() {
            watermark.begin(&txn.app_id);
        }
    }
    entry
        .info
        .lakeward
        .iter()
        .for_each(|lakeward| watermark.read(lakeward));
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
