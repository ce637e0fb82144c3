//! One table's audit, step by step: log, files, rows, topic. Owns their order and what each leaves unproved.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures::{StreamExt as _, TryStreamExt as _};
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt as _};

use crate::ops::exit::Failure;
use crate::ops::kafka::Kafka;
use crate::ops::output::thousands;
use crate::ops::progress::Progress;
use crate::ops::verify::checkpoint::State;
use crate::ops::verify::history::{History, Life};
use crate::ops::verify::log::{self, Listing};
use crate::ops::verify::report::{Kind, Report};
use crate::ops::verify::rows::{self, Rows};
use crate::ops::verify::{against_kafka, checkpoint, rejected};
use crate::ops::waiting::Patience;

/// Entries and files asked for at once.
const PARALLEL: usize = 16;

/// How far an audit goes.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Depth<'a> {
    /// The log and the store's listing.
    Log,
    /// Also the rows.
    Rows,
    /// Also the topic.
    Topic(&'a Kafka),
}

/// The table to look at.
#[derive(Debug, Clone)]
pub(crate) struct Subject {
    /// The store, rooted at the table.
    pub(crate) objects: Arc<dyn ObjectStore>,
    /// `metadata.prefix` of the config.
    pub(crate) prefix: String,
    /// The stores of tables of rejected records, rooted at them, by folder.
    pub(crate) rejected: BTreeMap<String, Arc<dyn ObjectStore>>,
}

/// Audits a table; `None` when there is none.
pub(crate) async fn audit(
    subject: &Subject,
    depth: Depth<'_>,
    patience: &Patience,
) -> Result<Option<Report>, Failure> {
    let Some(listing) = log::list(&subject.objects, patience).await? else {
        return Ok(None);
    };
    let mut report = Report::default();
    let mut history = replay(subject, &listing, &mut report, patience).await?;
    let files = sizes(subject, &history, &mut report, patience).await?;
    let lives = history.lives.len();
    report.fact(
        &[
            Kind::Log,
            Kind::SpanGap,
            Kind::SpanOverlap,
            Kind::Offsets,
            Kind::Counts,
        ],
        format!(
            "version {}: the spans of {lives} topic partitions tile up to the committed offsets",
            history.version
        ),
    );
    let count = thousands(history.files.len() as u64);
    report.fact(
        &[Kind::MissingFile, Kind::FileSize, Kind::AddedTwice],
        format!(
            "{count} files ({} bytes) are there with their size, none added twice",
            thousands(files)
        ),
    );
    rejected::audit(subject, &mut history, depth, &mut report, patience).await?;
    if !matches!(depth, Depth::Log) {
        let rows = rows::read(subject, &history, &mut report, patience).await?;
        judge(&history, &rows, &mut report);
        if let Depth::Topic(kafka) = depth {
            against_kafka::compare(kafka, &history, &rows, &mut report)?;
        }
    }
    leave_open(depth, &mut report);
    Ok(Some(report))
}

/// The committed offsets as the log says them; empty when there is no table.
pub(crate) async fn committed(
    subject: &Subject,
    patience: &Patience,
) -> Result<BTreeMap<Life, i64>, Failure> {
    let Some(listing) = log::list(&subject.objects, patience).await? else {
        return Ok(BTreeMap::new());
    };
    let history = replay(subject, &listing, &mut Report::default(), patience).await?;
    Ok(history
        .lives
        .into_iter()
        .filter_map(|(life, progress)| Some((life, progress.committed?)))
        .collect())
}

/// The files that readers see, with their size as the log says it.
pub(crate) async fn live_files(
    subject: &Subject,
    patience: &Patience,
) -> Result<Vec<(Path, u64)>, Failure> {
    let Some(listing) = log::list(&subject.objects, patience).await? else {
        return Ok(Vec::new());
    };
    let history = replay(subject, &listing, &mut Report::default(), patience).await?;
    Ok(history
        .files
        .into_iter()
        .map(|(path, file)| (path, file.size))
        .collect())
}

/// The oldest checkpoint from which every entry up to the newest is there; `None`: from version 0.
fn base(listing: &Listing) -> Result<Option<u64>, Failure> {
    let newest = listing.entries.last().copied();
    let whole_from = |first: u64| {
        newest.is_none_or(|newest| {
            newest < first
                || listing.entries.range(first..=newest).count() as u64 == newest - first + 1
        })
    };
    if whole_from(0) && listing.entries.contains(&0) {
        return Ok(None);
    }
    let base = listing
        .checkpoints
        .keys()
        .copied()
        .find(|version| whole_from(version + 1));
    base.map(Some).ok_or_else(|| {
        let missing = newest.and_then(|newest| (0..newest).rev().find(|version| !listing.entries.contains(version))).unwrap_or(0);
        Failure::said(crate::error::Kind::Corrupt, format!("version {missing} is missing from the log and no checkpoint that this audit reads (classic, multi-part) lies at or above it"))
    })
}

pub(super) async fn replay(
    subject: &Subject,
    listing: &Listing,
    report: &mut Report,
    patience: &Patience,
) -> Result<History, Failure> {
    let base = base(listing)?;
    let mut history = History::default();
    let progress = Progress::over("log entries", listing.entries.len() as u64);
    let reads = listing
        .entries
        .iter()
        .map(|version| log::read(&subject.objects, *version, patience));
    let mut entries = futures::stream::iter(reads).buffered(PARALLEL);
    let mut anchored = base.is_none();
    while let Some(entry) = entries.try_next().await? {
        if let Some(base) = base.filter(|base| !anchored && entry.version > *base) {
            history.anchor(base, state(subject, listing, base, patience).await?, report);
            anchored = true;
        }
        history.apply(entry, anchored, report);
        progress.advance(1);
    }
    if let Some(base) = base.filter(|_| !anchored) {
        history.anchor(base, state(subject, listing, base, patience).await?, report);
    }
    if let Some(base) = base {
        report.unproved(unretained(listing, base));
    }
    progress.done();
    Ok(history)
}

async fn state(
    subject: &Subject,
    listing: &Listing,
    base: u64,
    patience: &Patience,
) -> Result<State, Failure> {
    let parts = listing.checkpoints.get(&base).map(Vec::as_slice);
    checkpoint::read(&subject.objects, parts.unwrap_or_default(), patience).await
}

fn unretained(listing: &Listing, base: u64) -> String {
    let oldest = listing.entries.first().map_or_else(
        || "no entry is left".to_owned(),
        |oldest| format!("the oldest entry left is version {oldest}"),
    );
    format!(
        "the history below: the log was cleaned, {oldest}; files and offsets start from the checkpoint of version {base}"
    )
}

/// Looks at every live file, and returns the bytes that the log says they have.
async fn sizes(
    subject: &Subject,
    history: &History,
    report: &mut Report,
    patience: &Patience,
) -> Result<u64, Failure> {
    let progress = Progress::over("files", history.files.len() as u64);
    let heads = history.files.iter().map(async |(path, file)| {
        (
            path,
            file,
            patience
                .wait("the store (`storage.url`)", subject.objects.head(path))
                .await,
        )
    });
    let mut heads = futures::stream::iter(heads).buffered(PARALLEL);
    let mut bytes = 0;
    while let Some((path, file, head)) = heads.next().await {
        bytes += file.size;
        match head? {
            Ok(there) if there.size != file.size => {
                report.finding(Kind::FileSize, || {
                    format!(
                        "{path} has {} bytes, the log says {}",
                        there.size, file.size
                    )
                });
            }
            Ok(_) => {}
            Err(object_store::Error::NotFound { .. }) => report.finding(Kind::MissingFile, || {
                format!("{path} is live but not in the store")
            }),
            Err(error) => return Err(log::unavailable(&format!("cannot look at {path}"), error)),
        }
        progress.advance(1);
    }
    progress.done();
    Ok(bytes)
}

/// Compares the rows that are there with the spans that declare them.
fn judge(history: &History, rows: &Rows, report: &mut Report) {
    for (life, progress) in &history.lives {
        for tile in &progress.tiles {
            let there = rows.count(life, tile.start, tile.end);
            if there < tile.rows && history.deleted_by_others {
                report.unproved(format!("rows of {life}: others deleted rows of this table, so fewer rows than the spans say may be right"));
            } else if there < tile.rows {
                report.findings(Kind::LostRow, tile.rows - there, || {
                    format!(
                        "{life}: {} of {} rows of the span [{}, {}) are gone",
                        tile.rows - there,
                        tile.rows,
                        tile.start,
                        tile.end
                    )
                });
            } else if there > tile.rows {
                report.findings(Kind::StrayRow, there - tile.rows, || {
                    format!(
                        "{life}: the span [{}, {}) declares {} rows, the table holds {there}",
                        tile.start, tile.end, tile.rows
                    )
                });
            }
        }
    }
    report.fact(
        &[Kind::Unreadable, Kind::MissingFile, Kind::DuplicateRow, Kind::LostRow, Kind::StrayRow],
        if history.deleted_by_others {
            format!("{} rows were read: each coordinate once, inside its span", thousands(rows.len()))
        } else {
            format!("{} rows were read: each coordinate once, inside its span, as many as the spans declare", thousands(rows.len()))
        },
    );
    report.fact(
        &[Kind::Statistics, Kind::Unreadable],
        "the statistics of every file hold",
    );
}

fn leave_open(depth: Depth<'_>, report: &mut Report) {
    match depth {
        Depth::Log => {
            report.unproved("the rows: files were not opened (--deep)");
            report.unproved("the topics: they were not read (--against-kafka)");
        }
        Depth::Rows => report.unproved("the topics: they were not read (--against-kafka)"),
        Depth::Topic(_) => {
            report.unproved("the values: only coordinates were compared with the topics")
        }
    }
}
