//! A table at one version: protocol, metadata, sources and committed offsets, never the file list. Owns what an entry changes of it, and the proof that it
//! still stands (COMMIT-2); reads no more of the log than that.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use deltalake::kernel::StructType;
use object_store::path::Path;

use crate::clock::Instant;
use crate::delta::actions::{Entry, Metadata, Protocol};
use crate::delta::error::Error;
use crate::delta::log::{self, Read, Seal};
use crate::delta::open::TableStore;
use crate::delta::sources::{self, Sources};
use crate::delta::watermark::Watermark;
use crate::delta::{features, schema};
use crate::trial::{self, Bug};

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
        if trial::has(Bug::NoIdentityCheck) {
            return Ok(true);
        }
        match &mut self.identity {
            Identity::Checkpoint { path, seal } => {
                // An old checkpoint can outlast the entries behind it: once there is a newer one, they may have been cleaned up.
                let newest = log::last_checkpoint(store).await?;
                Ok(newest.is_none_or(|newest| newest <= self.version)
                    && log::seal(store, path).await? == *seal)
            }
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
                        // The same bytes in another object are a put that came late, perhaps after a clean-up took the entry away and those behind it.
                        if read.seal != *seal
                            && let Some(newest) = log::last_checkpoint(store).await?
                            && newest > self.version
                        {
                            return Ok(false);
                        }
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

/// Takes in what an entry says of progress; a topic partition whose txn is new begins without a record.
pub(crate) fn take_progress(
    txns: &mut BTreeMap<String, i64>,
    watermark: &mut Watermark,
    entry: &Entry,
) {
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
