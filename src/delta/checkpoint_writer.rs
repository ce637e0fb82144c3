//! Writes a checkpoint aside, reads it back, compares it with a replay of the log that shares no code with its writer, and only then gives it its name and moves
//! `_last_checkpoint` (H27). Owns that order; a checkpoint that differs is thrown away and said.

use std::error::Error as StdError;

use delta_kernel::Snapshot;
use delta_kernel::engine::arrow_data::ArrowEngineData;
use object_store::path::Path;
use object_store::{ObjectStoreExt as _, PutPayload};
use serde_json::json;
use tokio::runtime::Handle;

use crate::clock::Clock;
use crate::delta::checkpoint_file;
use crate::delta::error::Error;
use crate::delta::files::{Extent, FileList};
use crate::delta::log::{self, CheckpointFile, CheckpointFiles};
use crate::delta::open::TableStore;

/// Where what is not proven yet lies: readers of Delta pass over names with an underscore, and it is outside of the log.
pub(crate) const STAGING: &str = "_lakeward_staging";

/// What holds a checkpoint up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Proof {
    /// A replay of the log without it says the same.
    Replayed,
    /// It can be read, and nothing is left below it that a version could be read from: a clean-up ended there, or was cut short.
    NothingBelow,
    /// It is not there any more: another clean-up has gone past it.
    Gone,
}

impl TableStore {
    /// The version that `_last_checkpoint` names.
    pub async fn newest_checkpoint(&self) -> Result<Option<u64>, Error> {
        log::last_checkpoint(self).await
    }

    /// Writes a verified checkpoint of the newest version; answers that version. The log stays as it is. Needs a Tokio runtime that may block threads.
    pub async fn write_checkpoint(&self, clock: &Clock) -> Result<u64, Error> {
        let list = FileList::load(self, Extent::default()).await?;
        let version = list.version();
        let named = Path::from(format!(
            "{}/{version:020}.checkpoint.parquet",
            log::DIRECTORY
        ));
        if log::look(self, &named).await?.is_none() {
            let staged = Path::from(format!("{STAGING}/{}.parquet", clock.new_id()));
            let proven = self.prove(&staged, &list).await;
            let published = match proven {
                Ok(()) => self
                    .objects()
                    .rename(&staged, &named)
                    .await
                    .map_err(|error| self.failed("name a checkpoint", error)),
                Err(error) => Err(error),
            };
            if published.is_err() {
                // What failed first says more; what stays aside is vacuum's.
                self.objects().delete(&staged).await.unwrap_or_default();
            }
            published?;
        }
        self.point_to(version, &named, &list).await?;
        Ok(version)
    }

    /// Writes a checkpoint to `staged` and holds what can be read there against the replayed list.
    async fn prove(&self, staged: &Path, list: &FileList) -> Result<(), Error> {
        let version = list.version();
        let (table, path, runtime) = (self.clone(), staged.clone(), Handle::current());
        // The kernel blocks until its requests are answered. On this thread they might never be: a connection that is kept open is driven by the runtime that opened it.
        tokio::task::spawn_blocking(move || table.write_rows(version, path, &runtime))
            .await
            .map_err(|error| self.failed("write a checkpoint", error))?
            .map_err(|error| self.failed("write a checkpoint", error))?;
        let Some(file) = log::look(self, staged).await? else {
            return Err(self.failed("write a checkpoint", "the store does not show it"));
        };
        self.compare(version, file, list).await
    }

    /// The kernel says which rows a checkpoint has.
    fn write_rows(
        &self,
        version: u64,
        path: Path,
        runtime: &Handle,
    ) -> Result<(), Box<dyn StdError + Send + Sync>> {
        let engine = self.log().engine(None);
        let snapshot = Snapshot::builder_for(self.url().clone())
            .at_version(version)
            .build(engine.as_ref())?;
        let writer = snapshot.create_checkpoint_writer(engine.as_ref())?;
        let rows = writer.checkpoint_data(engine.as_ref())?.map(|batch| {
            let rows = batch?.apply_selection_vector()?;
            Ok(ArrowEngineData::try_from_engine_data(rows)?.into())
        });
        checkpoint_file::write(self.objects(), path, rows, runtime)
    }

    async fn compare(
        &self,
        version: u64,
        file: CheckpointFile,
        list: &FileList,
    ) -> Result<(), Error> {
        let files = CheckpointFiles { parts: vec![file] };
        let read_back = FileList::of_checkpoint(self, version, &files).await?;
        match read_back.difference(list) {
            None => Ok(()),
            Some(reason) => Err(self.damaged(
                version,
                format!("its checkpoint is not what the log says ({reason}); it does not count"),
            )),
        }
    }

    /// Moves `_last_checkpoint` forward, never back.
    async fn point_to(&self, version: u64, named: &Path, list: &FileList) -> Result<(), Error> {
        if log::last_checkpoint(self)
            .await?
            .is_some_and(|hint| hint >= version)
        {
            return Ok(());
        }
        let size_bytes = log::look(self, named)
            .await?
            .map_or(0, |file| file.size_bytes);
        let files = list.files().len();
        let actions = files + list.txns.len() + 2;
        let hint = json!({"version": version, "size": actions, "sizeInBytes": size_bytes, "numOfAddFiles": files});
        self.objects()
            .put(
                &Path::from(format!("{}/_last_checkpoint", log::DIRECTORY)),
                PutPayload::from(hint.to_string()),
            )
            .await
            .map(|_| ())
            .map_err(|error| self.failed("move _last_checkpoint", error))
    }

    /// Proves a checkpoint that anyone wrote by replaying the log up to it without it. Another clean-up at work below it is told from damage.
    pub async fn verify_checkpoint(&self, version: u64) -> Result<Proof, Error> {
        let extent = Extent {
            through: Some(version),
            checkpoint_below: Some(version),
        };
        let replayed = match FileList::load(self, extent).await {
            Ok(list) => Some(list),
            Err(error @ Error::Corrupt { .. }) => {
                if self.has_base_below(version).await? {
                    return Err(error);
                }
                None
            }
            Err(error) => return Err(error),
        };
        let listing = log::list(self, version).await?;
        let Some(all) = listing.checkpoints.get(&version) else {
            return Ok(Proof::Gone);
        };
        for files in all {
            let read = match FileList::of_checkpoint(self, version, files).await {
                Ok(read) => read,
                Err(error) if self.is_gone(files).await? => {
                    tracing::debug!(table = %self.url(), version, %error, "a checkpoint was cleaned up while it was read");
                    return Ok(Proof::Gone);
                }
                Err(error) => return Err(error),
            };
            let difference = replayed.as_ref().and_then(|list| read.difference(list));
            if let Some(reason) = difference {
                return Err(self.damaged(
                    version,
                    format!("its checkpoint is not what the log says ({reason})"),
                ));
            }
        }
        Ok(match replayed {
            Some(_) => Proof::Replayed,
            None => Proof::NothingBelow,
        })
    }

    /// Whether anything is left from which a version below could be read.
    async fn has_base_below(&self, version: u64) -> Result<bool, Error> {
        let listing = log::list(self, 0).await?;
        let mut older = listing.checkpoints.range(..version);
        Ok(listing.entries.contains(&0) || older.next().is_some())
    }

    async fn is_gone(&self, files: &CheckpointFiles) -> Result<bool, Error> {
        for file in &files.parts {
            if log::look(self, &file.path).await?.is_none() {
                return Ok(true);
            }
        }
        Ok(false)
    }
}
