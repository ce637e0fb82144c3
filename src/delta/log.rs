//! The files of `_delta_log`: their names, their listing, one entry's bytes. Owns which checkpoints are complete; does not interpret actions.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use futures::{StreamExt as _, TryStreamExt as _};
use object_store::path::Path;
use object_store::{ObjectMeta, ObjectStoreExt as _};

use crate::delta::actions::Entry;
use crate::delta::error::Error;
use crate::delta::object_reader::ObjectReader;
use crate::delta::open::TableStore;

/// The directory of the log.
pub(crate) const DIRECTORY: &str = "_delta_log";

/// One log entry with what the store says of its object.
#[derive(Debug, Clone)]
pub(crate) struct Read {
    pub(crate) entry: Entry,
    pub(crate) seal: Seal,
}

/// Readings of a log that contradicted itself: a clean-up or a late listing can show it between two states. A reading during which a clean-up named another checkpoint says nothing:
/// where the store is slow, or clean-ups are many, that can be each one of a row.
#[derive(Debug, Default)]
pub struct Doubts {
    readings: u32,
    alike: u32,
    /// As of the last reading; `None` before the first.
    newest: Option<Option<u64>>,
}

/// Readings in a row with the same newest checkpoint after which the log is damaged, and readings at all.
const READINGS_ALIKE_MAX: u32 = 2;
const READINGS_MAX: u32 = 50;

impl Doubts {
    /// After one more such reading: whether the log is worth another one.
    pub async fn remain(&mut self, store: &TableStore) -> bool {
        self.readings += 1;
        let newest = last_checkpoint(store).await.ok().flatten();
        if self.newest == Some(newest) {
            self.alike += 1;
        } else {
            (self.newest, self.alike) = (Some(newest), 0);
        }
        self.alike < READINGS_ALIKE_MAX && self.readings < READINGS_MAX
    }
}

/// What a store says of an object without sending its bytes: equal seals mean an object that has not been replaced.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Seal {
    e_tag: Option<String>,
    size_bytes: u64,
    modified_ms: i64,
}

impl Seal {
    fn of(meta: &ObjectMeta) -> Seal {
        Seal {
            e_tag: meta.e_tag.clone(),
            size_bytes: meta.size,
            modified_ms: meta.last_modified.timestamp_millis(),
        }
    }

    /// Whether it can prove sameness; without an ETag only the bytes can.
    pub(crate) fn is_proof(&self) -> bool {
        self.e_tag.is_some()
    }
}

/// What lies in the log, from some version on.
#[derive(Debug, Default)]
pub(crate) struct Listing {
    /// The versions that have an entry.
    pub(crate) entries: BTreeSet<u64>,
    /// The complete checkpoints; a version can have several.
    pub(crate) checkpoints: BTreeMap<u64, Vec<CheckpointFiles>>,
}

impl Listing {
    /// Whether there is no log.
    pub(crate) fn is_empty(&self) -> bool {
        self.entries.is_empty() && self.checkpoints.is_empty()
    }
}

/// The files of one complete checkpoint, without sidecars.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct CheckpointFiles {
    pub(crate) parts: Vec<CheckpointFile>,
}

/// One file of a checkpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct CheckpointFile {
    pub(crate) path: Path,
    pub(crate) size_bytes: u64,
}

#[derive(Debug, PartialEq, Eq)]
enum Name {
    Entry(u64),
    Whole(u64),
    Part { version: u64, number: u32, of: u32 },
    Other,
}

/// An object of the log, for clean-up.
#[derive(Debug, Clone)]
pub struct LogObject {
    /// Where it is.
    pub path: Path,
    /// What it is.
    pub file: LogFile,
    /// Its size.
    pub size_bytes: u64,
    /// When it was written, by the store's clock; milliseconds since 1970 UTC.
    pub modified_ms: i64,
}

/// What an object of the log is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFile {
    /// A version's entry.
    Entry(u64),
    /// A checkpoint, or a part of one.
    Checkpoint(u64),
    /// A version's checksum.
    Checksum(u64),
    /// Entries up to that version in one object.
    Compacted(u64),
    /// Anything else.
    Other,
}

impl LogFile {
    fn of(name: &str) -> LogFile {
        match parse_name(name) {
            Name::Entry(version) => return LogFile::Entry(version),
            Name::Whole(version) | Name::Part { version, .. } => {
                return LogFile::Checkpoint(version);
            }
            Name::Other => {}
        }
        let pieces: Vec<&str> = name.split('.').collect();
        let version = |digits: &str| digits.parse().ok().filter(|_| digits.len() == 20);
        match pieces.as_slice() {
            [digits, "crc"] => version(digits).map_or(LogFile::Other, LogFile::Checksum),
            [_, digits, "compacted", "json"] => {
                version(digits).map_or(LogFile::Other, LogFile::Compacted)
            }
            _ => LogFile::Other,
        }
    }
}

impl TableStore {
    /// Every object directly in the log's directory.
    pub async fn log_objects(&self) -> Result<Vec<LogObject>, Error> {
        let objects = self.objects();
        let mut found = objects.list(Some(&Path::from(DIRECTORY)));
        let mut all = Vec::new();
        while let Some(meta) = found
            .try_next()
            .await
            .map_err(|error| self.failed("list the log", error))?
        {
            if meta.location.parts().count() == 2 {
                all.push(LogObject {
                    file: meta.location.filename().map_or(LogFile::Other, LogFile::of),
                    path: meta.location,
                    size_bytes: meta.size,
                    modified_ms: meta.last_modified.timestamp_millis(),
                });
            }
        }
        Ok(all)
    }

    /// A Parquet file of a checkpoint.
    pub(crate) fn reader(&self, file: &CheckpointFile) -> ObjectReader {
        ObjectReader::new(self.objects(), file.path.clone(), file.size_bytes)
    }
}

/// The object key of a version's entry.
pub(crate) fn entry_path(version: u64) -> Path {
    Path::from(format!("{DIRECTORY}/{version:020}.json"))
}

/// Lists the log from `from` on.
pub(crate) async fn list(store: &TableStore, from: u64) -> Result<Listing, Error> {
    let directory = Path::from(DIRECTORY);
    // Offsets are exclusive, and the bare version sorts before every file of that version.
    let offset = Path::from(format!("{DIRECTORY}/{from:020}"));
    let objects = store.objects();
    let mut found = if from == 0 {
        objects.list(Some(&directory))
    } else {
        objects.list_with_offset(Some(&directory), &offset)
    };
    let mut listing = Listing::default();
    let mut parts = BTreeMap::<(u64, u32), BTreeMap<u32, CheckpointFile>>::new();
    while let Some(meta) = found
        .try_next()
        .await
        .map_err(|error| store.failed("list the log", error))?
    {
        let depth = meta.location.parts().count();
        let name = meta
            .location
            .filename()
            .filter(|_| depth == 2)
            .map_or(Name::Other, parse_name);
        let file = CheckpointFile {
            path: meta.location,
            size_bytes: meta.size,
        };
        match name {
            Name::Entry(version) => {
                listing.entries.insert(version);
            }
            Name::Whole(version) => listing
                .checkpoints
                .entry(version)
                .or_default()
                .push(CheckpointFiles { parts: vec![file] }),
            Name::Part {
                version,
                number,
                of,
            } => {
                parts.entry((version, of)).or_default().insert(number, file);
            }
            Name::Other => {}
        }
    }
    for ((version, of), files) in parts {
        if files.len() == usize::try_from(of).unwrap_or(usize::MAX) {
            listing
                .checkpoints
                .entry(version)
                .or_default()
                .push(CheckpointFiles {
                    parts: files.into_values().collect(),
                });
        }
    }
    Ok(listing)
}

/// The version that `_last_checkpoint` names; `None` when it is missing or unreadable, which only costs a longer listing.
pub(crate) async fn last_checkpoint(store: &TableStore) -> Result<Option<u64>, Error> {
    let Some((bytes, _)) = get(store, &Path::from(format!("{DIRECTORY}/_last_checkpoint"))).await?
    else {
        return Ok(None);
    };
    let hint = serde_json::from_slice::<serde_json::Value>(&bytes)
        .ok()
        .and_then(|hint| hint.get("version")?.as_u64());
    if hint.is_none() {
        tracing::warn!(table = %store.url(), "_last_checkpoint is unreadable; the log is listed instead");
    }
    Ok(hint)
}

/// Whether a clean-up may have gone past version `first` since `_last_checkpoint` named `before`: then entries from there on can be gone, and a late put can have landed in the
/// place of one, where it never counted (COMMIT-2).
pub(crate) async fn is_passed(
    store: &TableStore,
    first: u64,
    before: Option<u64>,
) -> Result<bool, Error> {
    let newest = last_checkpoint(store).await?;
    Ok(newest != before && newest.is_some_and(|newest| newest >= first))
}

/// What was read from `first` on is not worth anything then.
pub(crate) fn passed(store: &TableStore, first: u64) -> Error {
    store.damaged(first, "a clean-up went past it while the log was read")
}

/// Reads a version's entry; `None` when it does not exist.
pub(crate) async fn read(store: &TableStore, version: u64) -> Result<Option<Read>, Error> {
    let Some((bytes, seal)) = get(store, &entry_path(version)).await? else {
        return Ok(None);
    };
    let entry = Entry::parse(&bytes).map_err(|reason| store.damaged(version, reason))?;
    Ok(Some(Read { entry, seal }))
}

/// What the store says of an object; `None` when it does not exist.
pub(crate) async fn seal(store: &TableStore, path: &Path) -> Result<Option<Seal>, Error> {
    match store.objects().head(path).await {
        Ok(meta) => Ok(Some(Seal::of(&meta))),
        Err(object_store::Error::NotFound { .. }) => Ok(None),
        Err(error) => Err(store.failed(format!("look at {path}"), error)),
    }
}

/// A data file under the table's root, if there is one: hidden names (`_`, `.`) do not count.
pub(crate) async fn any_data_file(store: &TableStore) -> Result<Option<Path>, Error> {
    let objects = store.objects();
    let mut found = objects.list(None);
    while let Some(meta) = found.next().await {
        let meta = meta.map_err(|error| store.failed("list the table's directory", error))?;
        if meta
            .location
            .parts()
            .all(|part| !part.as_ref().starts_with(['_', '.']))
        {
            return Ok(Some(meta.location));
        }
    }
    Ok(None)
}

/// An object's bytes; `None` when it does not exist.
pub(crate) async fn bytes(store: &TableStore, path: &Path) -> Result<Option<Bytes>, Error> {
    Ok(get(store, path).await?.map(|(bytes, _)| bytes))
}

/// A file of a checkpoint by its path; `None` when it does not exist.
pub(crate) async fn look(store: &TableStore, path: &Path) -> Result<Option<CheckpointFile>, Error> {
    let seal = seal(store, path).await?;
    Ok(seal.map(|seal| CheckpointFile {
        path: path.clone(),
        size_bytes: seal.size_bytes,
    }))
}

async fn get(store: &TableStore, path: &Path) -> Result<Option<(Bytes, Seal)>, Error> {
    let failed = |error| store.failed(format!("read {path}"), error);
    match store.objects().get(path).await {
        Ok(found) => {
            let seal = Seal::of(&found.meta);
            Ok(Some((found.bytes().await.map_err(failed)?, seal)))
        }
        Err(object_store::Error::NotFound { .. }) => Ok(None),
        Err(error) => Err(failed(error)),
    }
}

fn parse_name(name: &str) -> Name {
    let Some((digits, rest)) = name.split_once('.') else {
        return Name::Other;
    };
    let Some(version) = (digits.len() == 20)
        .then(|| digits.parse::<u64>().ok())
        .flatten()
    else {
        return Name::Other;
    };
    let pieces = rest.split('.').collect::<Vec<_>>();
    match pieces.as_slice() {
        ["json"] => Name::Entry(version),
        ["checkpoint", "parquet"] => Name::Whole(version),
        // A v2 checkpoint: every action but the files is in this file, whatever its sidecars hold.
        ["checkpoint", id, "parquet" | "json"] if id.len() == 36 => Name::Whole(version),
        ["checkpoint", number, of, "parquet"] => match (number.parse(), of.parse()) {
            (Ok(number), Ok(of)) => Name::Part {
                version,
                number,
                of,
            },
            (Ok(_) | Err(_), Ok(_) | Err(_)) => Name::Other,
        },
        _ => Name::Other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_the_log_are_told_apart() {
        let check = |name: &str, expect: Name| assert_eq!(parse_name(name), expect, "{name}");
        check("00000000000000000012.json", Name::Entry(12));
        check("00000000000000000012.checkpoint.parquet", Name::Whole(12));
        check(
            "00000000000000000012.checkpoint.0000000001.0000000003.parquet",
            Name::Part {
                version: 12,
                number: 1,
                of: 3,
            },
        );
        check(
            "00000000000000000012.checkpoint.80a083e8-7026-4e79-81be-64bd76c43a11.json",
            Name::Whole(12),
        );
        check(
            "00000000000000000012.checkpoint.80a083e8-7026-4e79-81be-64bd76c43a11.parquet",
            Name::Whole(12),
        );
        check(
            "00000000000000000001.00000000000000000009.compacted.json",
            Name::Other,
        );
        check("00000000000000000012.crc", Name::Other);
        check("12.json", Name::Other);
        check("_last_checkpoint", Name::Other);
    }
}
