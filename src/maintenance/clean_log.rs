//! Log clean-up: entries and checkpoints that nobody needs any more, below a checkpoint that was just proven against them. Owns which those are; what others need
//! (features, outboxes) keeps everything.

use std::time::Duration;

use crate::clock::Clock;
use crate::delta::{FileList, LogFile, LogObject, Proof, Publisher, Table, TableStore};
use crate::maintenance::error::Error;
use crate::maintenance::store_clock;

/// What a clean-up did, or would do.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Cleaned {
    /// Objects of the log.
    pub objects: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Versions below this one can no longer be read.
    pub oldest_version: Option<u64>,
    /// Why nothing is cleaned, where that is so.
    pub kept_because: Option<String>,
}

/// Removes what is older than `retention` by the store's clock, and below the last proven checkpoint that every retained version can be read from.
pub async fn clean_log(
    store: &TableStore,
    clock: &Clock,
    files: &FileList,
    retention: Duration,
    is_dry_run: bool,
) -> Result<Cleaned, Error> {
    if let Some(reason) = kept_because(files) {
        return Ok(Cleaned {
            kept_because: Some(reason),
            ..Cleaned::default()
        });
    }
    let now_ms = store_clock::now_ms(store, clock, is_dry_run).await?;
    let cutoff_ms = now_ms - i64::try_from(retention.as_millis()).unwrap_or(i64::MAX / 2);
    let objects = store.log_objects().await?;
    let needed = oldest_unpublished(store, clock).await?;
    // Who reads beside a clean-up, or commits, knows it by the checkpoint that is named.
    let Some(named) = store.newest_checkpoint().await? else {
        return Ok(Cleaned::default());
    };
    let oldest = needed.map_or(named, |needed| needed.min(named));
    let Some(boundary) = boundary(&objects, cutoff_ms, oldest) else {
        return Ok(Cleaned::default());
    };
    let expired = expired(&objects, boundary, cutoff_ms);
    if expired.is_empty() {
        return Ok(Cleaned::default());
    }
    let cleaned = Cleaned {
        objects: u64::try_from(expired.len()).unwrap_or(u64::MAX),
        bytes: expired.iter().map(|object| object.size_bytes).sum(),
        oldest_version: Some(boundary),
        kept_because: None,
    };
    if is_dry_run {
        return Ok(cleaned);
    }
    // Below it, nothing can replace it any more: it must say exactly what the entries say. Where nothing below can be read, what is left of it is of no use.
    match store.verify_checkpoint(boundary).await? {
        Proof::Replayed | Proof::NothingBelow => {}
        Proof::Gone => {
            return Ok(Cleaned {
                kept_because: Some("another maintainer is cleaning it up".to_owned()),
                ..Cleaned::default()
            });
        }
    }
    for object in expired {
        store_clock::delete(store, &object.path).await?;
    }
    Ok(cleaned)
}

/// What binds clean-up.
fn kept_because(files: &FileList) -> Option<String> {
    if files
        .property("delta.enableExpiredLogCleanup")
        .is_some_and(|value| value.trim().eq_ignore_ascii_case("false"))
    {
        return Some("delta.enableExpiredLogCleanup is false".to_owned());
    }
    if files.has_feature("checkpointProtection") {
        return Some("the table feature checkpointProtection keeps old checkpoints".to_owned());
    }
    None
}

/// The oldest entry that names rejected records which are not in their own table yet (DLQ-1).
async fn oldest_unpublished(store: &TableStore, clock: &Clock) -> Result<Option<u64>, Error> {
    let Some(table) = Table::load(store, clock).await? else {
        return Ok(None);
    };
    let unpublished = Publisher::new(clock).unpublished(&table).await?;
    Ok(unpublished.into_values().flatten().min())
}

/// The newest checkpoint up to `needed` from which every version inside the retention can still be read.
fn boundary(objects: &[LogObject], cutoff_ms: i64, needed: u64) -> Option<u64> {
    let entries = || {
        objects.iter().filter_map(|object| match object.file {
            LogFile::Entry(version) => Some((version, object.modified_ms)),
            LogFile::Checkpoint(_)
            | LogFile::Checksum(_)
            | LogFile::Compacted(_)
            | LogFile::Other => None,
        })
    };
    let retained = entries()
        .filter(|(_, modified_ms)| *modified_ms >= cutoff_ms)
        .map(|(version, _)| version)
        .min();
    let oldest = retained.or_else(|| entries().map(|(version, _)| version).max())?;
    let oldest = oldest.min(needed);
    let checkpoints = objects.iter().filter_map(|object| match object.file {
        LogFile::Checkpoint(version) => Some(version),
        LogFile::Entry(_) | LogFile::Checksum(_) | LogFile::Compacted(_) | LogFile::Other => None,
    });
    checkpoints.filter(|version| *version <= oldest).max()
}

/// Oldest first, so that what a crash leaves is a log that begins later, never one with a hole.
fn expired(objects: &[LogObject], boundary: u64, cutoff_ms: i64) -> Vec<&LogObject> {
    let mut expired: Vec<(u64, u8, &LogObject)> = objects
        .iter()
        .filter(|object| object.modified_ms < cutoff_ms)
        .filter_map(|object| match object.file {
            LogFile::Compacted(version) => Some((version, 0, object)),
            LogFile::Checksum(version) => Some((version, 1, object)),
            LogFile::Entry(version) => Some((version, 2, object)),
            LogFile::Checkpoint(version) => Some((version, 3, object)),
            LogFile::Other => None,
        })
        .filter(|(version, _, _)| *version < boundary)
        .collect();
    expired.sort_by(|a, b| (a.0, a.1, &a.2.path).cmp(&(b.0, b.1, &b.2.path)));
    expired.into_iter().map(|(_, _, object)| object).collect()
}
