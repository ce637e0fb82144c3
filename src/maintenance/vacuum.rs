//! Vacuum: data files that no version within the retention needs, and what crashes of ours left (FILE-1). Owns which those are; nothing but unreferenced and old, by
//! the store's time stamps; never the log, never what others keep beside the data.

use std::collections::BTreeSet;
use std::time::Duration;

use futures::TryStreamExt as _;
use object_store::path::Path;

use crate::clock::Clock;
use crate::delta::{Extent, FileList, LogFile, Publisher, Table, TableStore};
use crate::error::Kind;
use crate::maintenance::error::Error;
use crate::maintenance::pace::Pace;
use crate::maintenance::store_clock::{self, STAGING};
use crate::model::commit::UNREFERENCED_KEPT_MIN;

/// Below this, a file that is on its way into a commit could be taken for an orphan: whatever the config says, vacuum keeps what is younger, and nothing half as old is
/// committed any more (H19).
pub const OLDER_THAN_MIN: Duration = UNREFERENCED_KEPT_MIN;
/// Delta's own promise where a table does not make one: `delta.deletedFileRetentionDuration`.
const TOMBSTONES_KEPT: Duration = Duration::from_secs(7 * 24 * 3600);

/// What a vacuum did, or would do.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Vacuumed {
    /// Files.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Their keys, up to a thousand.
    pub keys: Vec<String>,
    /// Why nothing is removed, where that is so.
    pub kept_because: Option<String>,
}

/// A table whose rejected records another one shows.
#[derive(Debug, Clone)]
pub struct Feeding {
    /// The main table.
    pub main: TableStore,
    /// The folder of the other one, under the store's root.
    pub folder: String,
}

/// Removes what is not referenced and older than `older_than`.
pub async fn vacuum(
    store: &TableStore,
    clock: &Clock,
    older_than: Duration,
    is_dry_run: bool,
    pace: &Pace,
) -> Result<Vacuumed, Error> {
    let sweep = Sweep {
        store,
        clock,
        older_than,
        is_dry_run,
        pace,
    };
    sweep.run(None).await
}

/// One vacuum.
#[derive(Debug)]
pub struct Sweep<'a> {
    /// The table.
    pub store: &'a TableStore,
    /// Time.
    pub clock: &'a Clock,
    /// How old a file must be.
    pub older_than: Duration,
    /// Whether nothing is deleted.
    pub is_dry_run: bool,
    /// When to stop.
    pub pace: &'a Pace,
}

/// What nobody has shown yet, of a table of rejected records.
#[derive(Debug, Default)]
struct Unseen {
    main_id: String,
    keys: BTreeSet<String>,
}

impl Unseen {
    async fn read(feeding: &Feeding, clock: &Clock) -> Result<Unseen, Error> {
        let Some(main) = Table::load(&feeding.main, clock).await? else {
            return Ok(Unseen::default());
        };
        Ok(Unseen {
            keys: Publisher::new(clock).unseen(&main, &feeding.folder).await?,
            main_id: main.id().to_owned(),
        })
    }
}

impl Sweep<'_> {
    /// Removes what is not referenced and older than `older_than`. Of a table of rejected records, what the main table has named and nobody has shown yet stays (DLQ-1).
    pub async fn run(self, feeding: Option<&Feeding>) -> Result<Vacuumed, Error> {
        let Sweep {
            store,
            clock,
            older_than,
            is_dry_run,
            pace,
        } = self;
        let now_ms = store_clock::now_ms(store, clock, is_dry_run)
            .await?
            .min(clock.wall_ms());
        let cutoff_ms = |older_than: Duration| {
            now_ms - i64::try_from(older_than.as_millis()).unwrap_or(i64::MAX / 2)
        };
        // The objects first: what is committed while they are listed is in the file list that is read after them.
        let candidates = list(store, cutoff_ms(older_than.max(OLDER_THAN_MIN))).await?;
        // Before the file list: what is shown in between is in the list, what is shown later is among these.
        let unseen = match feeding {
            Some(feeding) => Unseen::read(feeding, clock).await?,
            None => Unseen::default(),
        };
        let promised = FileList::load(store, Extent::default()).await?;
        if let Some(id) = promised.main_ids().find(|id| *id != unseen.main_id) {
            return Ok(Vacuumed {
                kept_because: Some(format!(
                    "it may hold rejected records of the table with the id {id} that are not published yet"
                )),
                ..Vacuumed::default()
            });
        }
        let older_than = older_than
            .max(OLDER_THAN_MIN)
            .max(tombstones_kept(&promised).unwrap_or_default());
        let cutoff_ms = cutoff_ms(older_than);
        let mut files = if older_than > tombstones_kept(&promised).unwrap_or(TOMBSTONES_KEPT) {
            with_old_tombstones(store, cutoff_ms).await?
        } else {
            promised
        };
        let partition_columns = files.partition_columns().to_vec();
        let mut done = Vacuumed::default();
        let mut chosen = Vec::new();
        for candidate in candidates {
            if candidate.modified_ms < cutoff_ms
                && is_data(&candidate.key, &partition_columns)
                && is_unneeded(&files, &candidate.key, cutoff_ms)
                && !unseen.keys.contains(&candidate.key)
            {
                chosen.push(candidate);
            }
        }
        if !is_dry_run && !chosen.is_empty() {
            // Somebody may have brought a file back (RESTORE) in the meantime.
            files.follow_to_newest(store).await?;
        }
        for candidate in chosen {
            if pace.is_stopped() {
                break;
            }
            if !is_unneeded(&files, &candidate.key, cutoff_ms) {
                continue;
            }
            if !is_dry_run {
                store_clock::delete(store, &candidate.path).await?;
            }
            done.files += 1;
            done.bytes += candidate.size_bytes;
            if done.keys.len() < 1000 {
                done.keys.push(candidate.key);
            }
        }
        Ok(done)
    }
}

/// An object that is old enough.
struct Candidate {
    path: Path,
    key: String,
    size_bytes: u64,
    modified_ms: i64,
}

async fn list(store: &TableStore, cutoff_ms: i64) -> Result<Vec<Candidate>, Error> {
    let objects = store.objects();
    let mut found = objects.list(None);
    let mut all = Vec::new();
    while let Some(meta) = found.try_next().await.map_err(|error| Error::Store {
        location: store.url().to_string(),
        key: "its objects".to_owned(),
        reason: error.to_string(),
    })? {
        let modified_ms = meta.last_modified.timestamp_millis();
        if modified_ms < cutoff_ms {
            all.push(Candidate {
                key: meta.location.to_string(),
                path: meta.location,
                size_bytes: meta.size,
                modified_ms,
            });
        }
    }
    Ok(all)
}

/// Not live, and not taken out so lately that an older version within the retention still needs it (FILE-1).
fn is_unneeded(files: &FileList, key: &str, cutoff_ms: i64) -> bool {
    !files.is_live(key)
        && files
            .removed_ms(key)
            .is_none_or(|removed_ms| removed_ms < cutoff_ms)
}

/// Whether it is a data file, or what a crash of ours left aside. What begins with `_` or `.` is not ours to judge, unless it is a table partition column; deletion
/// vectors are referenced in ways that the light file list does not keep.
fn is_data(key: &str, partition_columns: &[String]) -> bool {
    if key
        .strip_prefix(STAGING)
        .is_some_and(|rest| rest.starts_with('/'))
    {
        return true;
    }
    let is_partition = |part: &str| {
        part.split_once('=')
            .is_some_and(|(name, _)| partition_columns.iter().any(|column| column == name))
    };
    key.ends_with(".parquet")
        && key
            .split('/')
            .all(|part| !part.starts_with(['_', '.']) || is_partition(part))
}

/// How long the table itself promises to keep what was taken out.
fn tombstones_kept(files: &FileList) -> Option<Duration> {
    interval(files.property("delta.deletedFileRetentionDuration")?)
}

/// Delta's `interval 7 days`, as far as it is a number and a unit.
pub(super) fn interval(text: &str) -> Option<Duration> {
    let text = text.trim().to_ascii_lowercase();
    let mut words = text
        .strip_prefix("interval")
        .unwrap_or(&text)
        .split_whitespace();
    let number: u64 = words.next()?.parse().ok()?;
    let unit_s = match words.next()?.trim_end_matches('s') {
        "second" => 1,
        "minute" => 60,
        "hour" => 3600,
        "day" => 86_400,
        "week" => 604_800,
        _ => return None,
    };
    Some(Duration::from_secs(number.checked_mul(unit_s)?))
}

/// The file list with every tombstone since the cutoff. Newer checkpoints have dropped some that still count: an older one, and the entries since, have them.
async fn with_old_tombstones(store: &TableStore, cutoff_ms: i64) -> Result<FileList, Error> {
    let mut extent = before(store, cutoff_ms).await?;
    loop {
        match FileList::load(store, extent).await {
            // A clean-up may have taken that checkpoint away since; each turn begins later, so this ends.
            Err(error) if error.kind() == Kind::Corrupt => {
                let later = before(store, cutoff_ms).await?;
                if later.checkpoint_below <= extent.checkpoint_below {
                    return Err(error.into());
                }
                extent = later;
            }
            result => return Ok(result?),
        }
    }
}

/// The newest checkpoint that is older than the cutoff: everything taken out since is told by entries.
async fn before(store: &TableStore, cutoff_ms: i64) -> Result<Extent, Error> {
    let objects = store.log_objects().await?;
    let checkpoints = || {
        objects.iter().filter_map(|object| match object.file {
            LogFile::Checkpoint(version) => Some((version, object.modified_ms)),
            LogFile::Entry(_) | LogFile::Checksum(_) | LogFile::Compacted(_) | LogFile::Other => {
                None
            }
        })
    };
    let old = checkpoints()
        .filter(|(_, modified_ms)| *modified_ms < cutoff_ms)
        .map(|(version, _)| version)
        .max();
    let has_first = objects
        .iter()
        .any(|object| object.file == LogFile::Entry(0));
    // Without an old one: from the first entry, or from the oldest checkpoint that there is.
    let version = old.map(|version| version + 1).or_else(|| {
        if has_first {
            Some(0)
        } else {
            checkpoints().map(|(version, _)| version + 1).min()
        }
    });
    Ok(Extent {
        through: None,
        checkpoint_below: version,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_data_files_are_judged() {
        let columns = ["_kafka_partition".to_owned(), "p".to_owned()];
        for (key, expect) in [
            ("part-1.parquet", true),
            ("p=1/part-1.parquet", true),
            ("_kafka_partition=1/part-1.parquet", true),
            ("_other=1/part-1.parquet", false),
            ("_delta_log/00000000000000000010.checkpoint.parquet", false),
            ("_change_data/x.parquet", false),
            (".hidden/x.parquet", false),
            ("_lakeward_staging/x.parquet", true),
            ("_lakeward_outbox/x.parquet", false),
            ("deletion_vector_1.bin", false),
            ("README.md", false),
        ] {
            assert_eq!(is_data(key, &columns), expect, "{key}");
        }
    }

    #[test]
    fn retention_is_read_as_delta_writes_it() {
        let day = |days: u64| Some(Duration::from_secs(days * 86_400));
        assert_eq!(interval("interval 1 week"), day(7));
        assert_eq!(interval("INTERVAL 30 days"), day(30));
        assert_eq!(interval("2 days"), day(2));
        assert_eq!(interval("soon"), None);
    }
}
