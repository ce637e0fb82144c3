//! The file list of a table at one version, for maintenance alone: what is live, what was taken out and when. Owns its replay, light (no statistics are kept) and
//! apart from the writer's state, which never holds a file list.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use futures::StreamExt as _;
use object_store::path::Path;

use crate::delta::actions::{Metadata, Protocol, decode_path};
use crate::delta::error::Error;
use crate::delta::file_actions;
use crate::delta::file_lines::{self, rows_of};
use crate::delta::log::{self, Doubts, Listing};
use crate::delta::open::TableStore;

/// Entries fetched at once.
const READ_AHEAD: usize = 8;

/// Serialised values by partition column.
pub type PartitionValues = Arc<BTreeMap<String, Option<String>>>;

/// A file that readers see.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LiveFile {
    /// Its path exactly as the log has it.
    pub path_in_log: String,
    /// Serialised values by partition column; files of one table partition share them.
    pub partition_values: PartitionValues,
    /// Its size.
    pub size_bytes: u64,
    /// When it was written, as its writer said; milliseconds since 1970 UTC.
    pub modified_ms: i64,
    /// Its rows, where its statistics say.
    pub rows: Option<u64>,
    /// Whether some of its rows are deleted by a deletion vector.
    pub has_deletion_vector: bool,
}

impl LiveFile {
    /// Whether two lists speak of the same file. A checkpoint may keep statistics in another form, or none.
    fn is_same(&self, other: &LiveFile) -> bool {
        let rows = [self.rows, other.rows];
        LiveFile {
            rows: None,
            ..self.clone()
        } == LiveFile {
            rows: None,
            ..other.clone()
        } && (rows.contains(&None) || self.rows == other.rows)
    }
}

/// Which checkpoint a replay starts from, and where it ends.
#[derive(Debug, Clone, Copy, Default)]
pub struct Extent {
    /// The last version to take in; the newest when `None`.
    pub through: Option<u64>,
    /// Only checkpoints older than this version count.
    pub checkpoint_below: Option<u64>,
}

/// A table's files at one version.
#[derive(Debug, Default)]
pub struct FileList {
    pub(crate) version: u64,
    pub(crate) protocol: Option<Protocol>,
    pub(crate) metadata: Option<Metadata>,
    pub(crate) txns: BTreeMap<String, i64>,
    /// By object key.
    files: HashMap<String, LiveFile>,
    /// When a file was taken out, by object key; as old as what the replay started from.
    tombstones: HashMap<String, i64>,
    partitions: HashSet<PartitionValues>,
}

impl FileList {
    /// Replays the log.
    pub async fn load(store: &TableStore, extent: Extent) -> Result<FileList, Error> {
        let mut doubts = Doubts::default();
        loop {
            match Box::pin(FileList::load_once(store, extent)).await {
                Err(Error::Corrupt { .. }) if doubts.remain(store).await => {}
                outcome => return outcome,
            }
        }
    }

    async fn load_once(store: &TableStore, extent: Extent) -> Result<FileList, Error> {
        let hint = match extent.checkpoint_below {
            None => log::last_checkpoint(store).await?,
            Some(_) => None,
        };
        let mut listing = log::list(store, hint.unwrap_or(0)).await?;
        let mut start = FileList::start(store, &listing, extent).await?;
        if start.is_none() && hint.is_some() {
            listing = log::list(store, 0).await?;
            start = FileList::start(store, &listing, extent).await?;
        }
        let (mut list, first, base) = match start {
            Some((list, path)) => {
                let next = list.version + 1;
                (list, next, path)
            }
            None if listing.entries.contains(&0) => (FileList::default(), 0, log::entry_path(0)),
            None if listing.entries.is_empty() && listing.checkpoints.is_empty() => {
                return Err(Error::NotATable {
                    location: store.url().to_string(),
                    reason: "its _delta_log holds neither an entry nor a checkpoint".to_owned(),
                });
            }
            None => {
                return Err(store.damaged(
                    0,
                    "there is no checkpoint that can be read, and no entry of version 0",
                ));
            }
        };
        let newest = listing
            .entries
            .last()
            .copied()
            .unwrap_or(0)
            .max(list.version);
        list.follow(store, first, extent.through.unwrap_or(newest))
            .await?;
        list.judge(store)?;
        // Below an older checkpoint a replay can be long, and checkpoints are named beside it; a clean-up begins with the oldest object.
        let is_passed = match extent.checkpoint_below {
            None => log::is_passed(store, first, hint).await?,
            Some(_) => log::seal(store, &base).await?.is_none(),
        };
        if is_passed {
            return Err(log::passed(store, first));
        }
        Ok(list)
    }

    /// The newest checkpoint that counts and can be read, and where it lies; one that is damaged is passed over.
    async fn start(
        store: &TableStore,
        listing: &Listing,
        extent: Extent,
    ) -> Result<Option<(FileList, Path)>, Error> {
        let counts = |version: u64| {
            extent.through.is_none_or(|through| version <= through)
                && extent.checkpoint_below.is_none_or(|below| version < below)
        };
        let candidates = listing
            .checkpoints
            .iter()
            .rev()
            .filter(|(version, _)| counts(**version));
        for (version, all) in candidates {
            for files in all {
                match FileList::of_checkpoint(store, *version, files).await {
                    Ok(list) => {
                        let first = files.parts.first();
                        return Ok(first.map(|part| (list, part.path.clone())));
                    }
                    Err(error @ Error::Corrupt { .. }) => {
                        tracing::warn!(table = %store.url(), version, %error, "a checkpoint that cannot be read is passed over");
                    }
                    Err(error) => return Err(error),
                }
            }
        }
        Ok(None)
    }

    /// What one checkpoint says.
    pub(crate) async fn of_checkpoint(
        store: &TableStore,
        version: u64,
        files: &log::CheckpointFiles,
    ) -> Result<FileList, Error> {
        let mut list = FileList {
            version,
            ..FileList::default()
        };
        let mut left = files.parts.clone();
        while let Some(file) = left.pop() {
            let sidecars = if file.path.as_ref().ends_with(".json") {
                let bytes = log::bytes(store, &file.path).await?.ok_or_else(|| {
                    store.damaged(version, format!("the checkpoint {} is gone", file.path))
                })?;
                list.take_text(&bytes, false)
                    .map_err(|reason| store.damaged(version, format!("{}: {reason}", file.path)))?
            } else {
                file_actions::read(store, version, &file, &mut list).await?
            };
            for name in sidecars {
                let path = Path::from(format!("{}/_sidecars/{name}", log::DIRECTORY));
                left.push(log::look(store, &path).await?.ok_or_else(|| {
                    store.damaged(version, format!("the checkpoint's file {path} is missing"))
                })?);
            }
        }
        list.judge(store)?;
        Ok(list)
    }

    fn judge(&self, store: &TableStore) -> Result<(), Error> {
        if self.protocol.is_none() || self.metadata.is_none() {
            return Err(store.damaged(self.version, "it holds no protocol or no metadata"));
        }
        Ok(())
    }

    /// Takes in the entries from `first` to `last`, all of which must be there.
    async fn follow(&mut self, store: &TableStore, first: u64, last: u64) -> Result<(), Error> {
        let mut reads =
            futures::stream::iter(first..last.saturating_add(1))
                .map(|version| async move {
                    (version, log::bytes(store, &log::entry_path(version)).await)
                })
                .buffered(READ_AHEAD);
        while let Some((version, bytes)) = reads.next().await {
            let bytes = bytes?.ok_or_else(|| {
                store.damaged(
                    version,
                    format!("its entry is missing, but there is one of version {last}"),
                )
            })?;
            self.take_text(&bytes, true)
                .map_err(|reason| store.damaged(version, reason))?;
            self.version = version;
        }
        Ok(())
    }

    /// Takes in actions as text; answers the sidecars that they name. In an entry what is removed goes first: it may be added again with a deletion vector.
    fn take_text(&mut self, bytes: &[u8], is_entry: bool) -> Result<Vec<String>, String> {
        let lines = file_lines::parse(bytes)?;
        if is_entry {
            for remove in lines.iter().filter_map(|line| line.remove.as_ref()) {
                self.remove(&remove.path, remove.deletion_timestamp.unwrap_or(0));
            }
        }
        let mut sidecars = Vec::new();
        for line in lines {
            self.protocol = line.protocol.or_else(|| self.protocol.take());
            self.metadata = line.meta_data.or_else(|| self.metadata.take());
            if let Some(txn) = line.txn {
                self.txns.insert(txn.app_id, txn.version);
            }
            if let Some(remove) = line.remove.filter(|_| !is_entry) {
                self.bury(&remove.path, remove.deletion_timestamp.unwrap_or(0));
            }
            sidecars.extend(line.sidecar.map(|sidecar| sidecar.path));
            if let Some(add) = line.add {
                let rows = add.stats.as_deref().and_then(rows_of);
                let partition_values = self.intern(add.partition_values);
                self.add(LiveFile {
                    path_in_log: add.path,
                    partition_values,
                    size_bytes: add.size,
                    modified_ms: add.modification_time,
                    rows,
                    has_deletion_vector: add.deletion_vector.is_some(),
                });
            }
        }
        Ok(sidecars)
    }

    pub(crate) fn intern(&mut self, values: BTreeMap<String, Option<String>>) -> PartitionValues {
        if let Some(known) = self.partitions.get(&values) {
            return Arc::clone(known);
        }
        let values = Arc::new(values);
        self.partitions.insert(Arc::clone(&values));
        values
    }

    pub(crate) fn add(&mut self, file: LiveFile) {
        let key = decode_path(&file.path_in_log);
        self.tombstones.remove(&key);
        self.files.insert(key, file);
    }

    fn remove(&mut self, path: &str, deleted_ms: i64) {
        self.files.remove(&decode_path(path));
        self.bury(path, deleted_ms);
    }

    /// Notes when a file was taken out.
    pub(crate) fn bury(&mut self, path: &str, deleted_ms: i64) {
        self.tombstones.insert(decode_path(path), deleted_ms);
    }

    /// Takes in the entries up to `version`; damaged where a checkpoint stands for one of them by now, since a clean-up may have emptied its place.
    pub async fn follow_to(&mut self, store: &TableStore, version: u64) -> Result<(), Error> {
        let first = self.version + 1;
        if first > version {
            return Ok(());
        }
        self.follow(store, first, version).await?;
        if log::is_passed(store, first, None).await? {
            return Err(log::passed(store, first));
        }
        Ok(())
    }

    /// Takes in whatever entries there are by now.
    pub async fn follow_to_newest(&mut self, store: &TableStore) -> Result<(), Error> {
        while let Some(bytes) = log::bytes(store, &log::entry_path(self.version + 1)).await? {
            self.take_text(&bytes, true)
                .map_err(|reason| store.damaged(self.version + 1, reason))?;
            self.version += 1;
        }
        Ok(())
    }

    /// The table partition columns in order.
    pub fn partition_columns(&self) -> &[String] {
        self.metadata
            .as_ref()
            .map_or(&[], |metadata| &metadata.partition_columns)
    }

    /// A live file by its object key.
    pub fn get(&self, key: &str) -> Option<&LiveFile> {
        self.files.get(key)
    }

    /// The version that this is.
    pub fn version(&self) -> u64 {
        self.version
    }

    /// The table's id.
    pub fn table_id(&self) -> &str {
        self.metadata.as_ref().map_or("", |metadata| &metadata.id)
    }

    /// The live files by object key.
    pub fn files(&self) -> impl ExactSizeIterator<Item = (&str, &LiveFile)> {
        self.files.iter().map(|(key, file)| (key.as_str(), file))
    }

    /// Whether an object is a live file.
    pub fn is_live(&self, key: &str) -> bool {
        self.files.contains_key(key)
    }

    /// When an object was taken out, milliseconds since 1970 UTC; `None` when no action that was replayed says so.
    pub fn removed_ms(&self, key: &str) -> Option<i64> {
        self.tombstones.get(key).copied()
    }

    /// A table property.
    pub fn property(&self, name: &str) -> Option<&str> {
        let metadata = self.metadata.as_ref()?;
        metadata.configuration.get(name).map(String::as_str)
    }

    /// Every appId, ours or not.
    pub fn app_ids(&self) -> impl Iterator<Item = &str> {
        self.txns.keys().map(String::as_str)
    }

    /// Whether the protocol lists a feature.
    pub fn has_feature(&self, feature: &str) -> bool {
        self.protocol.iter().any(|protocol| {
            let features = [&protocol.reader_features, &protocol.writer_features];
            features
                .into_iter()
                .flatten()
                .flatten()
                .any(|listed| listed == feature)
        })
    }

    /// What of another list of the same version differs: the first sentence found. Tombstones may differ, since a checkpoint drops old ones.
    pub(crate) fn difference(&self, other: &FileList) -> Option<String> {
        if self.version != other.version {
            return Some(format!(
                "version {} against {}",
                self.version, other.version
            ));
        }
        if self.protocol != other.protocol {
            return Some("the protocol differs".to_owned());
        }
        // Fields of a later protocol are not the checkpoint writer's to keep.
        let known = |list: &FileList| {
            list.metadata.clone().map(|metadata| Metadata {
                other: serde_json::Map::new(),
                ..metadata
            })
        };
        if known(self) != known(other) {
            return Some("the metadata differs".to_owned());
        }
        if self.txns != other.txns {
            let missing = self
                .txns
                .iter()
                .find(|(id, version)| other.txns.get(*id) != Some(*version));
            let id = missing.map_or("one that the log does not have", |(id, _)| id.as_str());
            return Some(format!("the txn {id} differs"));
        }
        if self.files.len() != other.files.len() {
            return Some(format!(
                "{} files against {}",
                self.files.len(),
                other.files.len()
            ));
        }
        let odd = self
            .files
            .iter()
            .find(|(key, file)| other.files.get(*key).is_none_or(|same| !file.is_same(same)));
        odd.map(|(key, _)| format!("the file `{key}` differs"))
    }
}
