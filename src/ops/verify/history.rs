//! The log replayed from its oldest version: spans that must tile, files that must be added once, counts that must add up. Owns what is live at the end;
//! reads no data.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::Arc;

use object_store::path::Path;

use crate::ops::verify::checkpoint::State;
use crate::ops::verify::log::{Add, Entry, Outbox, Replayed, Span, Txn};
use crate::ops::verify::report::{Kind, Report};

/// Beyond these, neighbouring spans of one life are counted together: less exact about the place, as exact about the sums.
const SPANS_MAX: usize = 1 << 16;

/// One life of one topic partition.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Life {
    pub(crate) topic: Arc<str>,
    pub(crate) partition: i32,
    pub(crate) incarnation: u32,
}

impl fmt::Display for Life {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}[{}]", self.topic, self.partition)?;
        if self.incarnation > 0 {
            write!(f, " incarnation {}", self.incarnation)?;
        }
        Ok(())
    }
}

/// The spans of neighbouring commits, or of one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Tile {
    pub(crate) start: i64,
    pub(crate) end: i64,
    pub(crate) rows: u64,
    pub(crate) rejects: u64,
    pub(crate) skipped: u64,
    /// Rejected records that are in a table of their own.
    pub(crate) kept: u64,
    pub(crate) lost: bool,
}

/// What the log says about one life.
#[derive(Debug, Default)]
pub(crate) struct Progress {
    /// The retained spans, tiling.
    pub(crate) tiles: Vec<Tile>,
    /// The next offset to read; known from the first txn on.
    pub(crate) committed: Option<i64>,
    /// The version that began it.
    pub(crate) since_version: u64,
    /// Whether its beginning is in the retained log.
    pub(crate) from_its_start: bool,
}

/// A file that readers see.
#[derive(Debug)]
pub(crate) struct LiveFile {
    pub(crate) size: u64,
    pub(crate) stats: Option<String>,
    pub(crate) partition_values: HashMap<String, Option<String>>,
    pub(crate) has_deletion_vector: bool,
    /// The version that appended it; unknown for a rewrite or what came out of a checkpoint.
    pub(crate) appended_at: Option<u64>,
}

/// Everything that the replay keeps.
#[derive(Debug, Default)]
pub(crate) struct History {
    pub(crate) lives: BTreeMap<Life, Progress>,
    pub(crate) files: BTreeMap<Path, LiveFile>,
    /// Versions whose rows others deleted, so that fewer rows prove nothing.
    pub(crate) deleted_by_others: bool,
    /// The newest version that was read.
    pub(crate) version: u64,
    pub(crate) entries: u64,
    pub(crate) table_id: Option<String>,
    /// What commits say of rejected records, by the folder of their table and version.
    pub(crate) outboxes: BTreeMap<String, BTreeMap<u64, Outbox>>,
    /// Of a table of rejected records: the txns that say what it shows.
    pub(crate) shown: BTreeMap<String, i64>,
}

/// What the txns of a table of rejected records begin with; behind it stands the main table's id.
const SHOWN: &str = "lakeward/outbox/";

impl History {
    /// Takes the state of the base checkpoint: the files below it, and offsets that the spans so far must have reached.
    pub(crate) fn anchor(&mut self, version: u64, state: State, report: &mut Report) {
        self.version = self.version.max(version);
        self.files.clear();
        for add in state.adds {
            let Some(path) = self.path(&add.path, report) else {
                continue;
            };
            self.files.insert(path, live(add, None));
        }
        self.see_shown(&state.txns);
        for (life, offset) in state.txns.iter().filter_map(source_txn) {
            let progress = self.lives.entry(life.clone()).or_insert_with(|| Progress {
                since_version: version,
                ..Progress::default()
            });
            if let Some(reached) = progress.committed.filter(|reached| *reached != offset) {
                report.finding(Kind::Offsets, || format!("{life}: the checkpoint of version {version} says {offset}, its commits say {reached}"));
            }
            progress.committed = Some(offset);
        }
    }

    /// Replays one entry; `with_files` is false below the base checkpoint.
    pub(crate) fn apply(&mut self, entry: Entry, with_files: bool, report: &mut Report) {
        self.version = self.version.max(entry.version);
        self.entries += 1;
        for damage in &entry.damage {
            report.finding(Kind::Log, || damage.clone());
        }
        if let Some(id) = &entry.table_id {
            if self.table_id.as_ref().is_some_and(|known| known != id) {
                report.finding(Kind::Log, || {
                    format!(
                        "version {} begins another table: metaData.id changed to {id}",
                        entry.version
                    )
                });
            }
            self.table_id = Some(id.clone());
        }
        self.see_shown(&entry.txns);
        self.count(&entry, report);
        self.move_offsets(&entry, report);
        self.take_outbox(&entry, report);
        if with_files {
            self.move_files(entry, report);
        }
    }

    fn see_shown(&mut self, txns: &[Txn]) {
        for txn in txns {
            if let Some(id) = txn.app_id.strip_prefix(SHOWN) {
                self.shown.insert(id.to_owned(), txn.version);
            }
        }
    }

    /// Each outbox names the one before, and a replay turns rejects of earlier spans into rows (DLQ-1).
    fn take_outbox(&mut self, entry: &Entry, report: &mut Report) {
        let Some(outbox) = &entry.outbox else { return };
        let before = self.outboxes.entry(outbox.table.clone()).or_default();
        let last = before.keys().next_back().copied();
        if last.is_some() && outbox.prev != last {
            report.finding(Kind::Log, || {
                format!(
                    "version {}: its outbox for `{}` follows version {:?}, but the last one is of version {last:?} (DLQ-1)",
                    entry.version, outbox.table, outbox.prev
                )
            });
        }
        before.insert(entry.version, outbox.clone());
        for replayed in &outbox.replayed {
            let newest = self.lives.iter_mut().rev().find(|(life, _)| {
                *life.topic == *replayed.topic && life.partition == replayed.partition
            });
            let Some((_, progress)) = newest else {
                continue;
            };
            for (start, end) in &replayed.ranges {
                for tile in &mut progress.tiles {
                    let shared = (*end)
                        .min(tile.end)
                        .saturating_sub((*start).max(tile.start));
                    let Some(shared) = u64::try_from(shared).ok().filter(|shared| *shared > 0)
                    else {
                        continue;
                    };
                    tile.rows += shared;
                    tile.rejects = tile.rejects.saturating_sub(shared);
                    tile.kept = tile.kept.saturating_sub(shared);
                }
            }
        }
    }

    /// The rows of a commit's spans are the rows of its files (OFF-4), and its rejects are those of its outbox.
    fn count(&mut self, entry: &Entry, report: &mut Report) {
        let Some(spans) = &entry.spans else { return };
        let replayed: u64 = entry
            .outbox
            .iter()
            .flat_map(|outbox| &outbox.replayed)
            .map(Replayed::records)
            .sum();
        let declared: u64 = spans.iter().map(|span| span.rows).sum::<u64>() + replayed;
        if let Some(outbox) = entry.outbox.as_ref().filter(|it| it.replaced.is_empty()) {
            let rejects: u64 = spans.iter().map(|span| span.rejects).sum();
            let kept: u64 = outbox.files.iter().map(|file| file.rows).sum();
            if rejects != kept {
                report.finding(Kind::Counts, || {
                    format!(
                        "version {}: its spans reject {rejects} records, its outbox holds {kept} (DLQ-1)",
                        entry.version
                    )
                });
            }
        }
        let counted: Option<u64> = entry
            .adds
            .iter()
            .filter(|add| add.data_change)
            .map(rows)
            .sum();
        match counted {
            Some(counted) if counted != declared => {
                report.finding(Kind::Counts, || format!("version {}: its spans hold {declared} rows, its files {counted}", entry.version));
            }
            Some(_) => {}
            None => report.unproved(format!("version {}: a file has no numRecords, so its rows were not compared with its spans", entry.version)),
        }
        for span in spans.iter().filter(|span| !span.is_lost()) {
            let polled = span.rows + span.rejects + span.skipped;
            if i64::try_from(polled)
                .is_ok_and(|polled| polled > span.end.saturating_sub(span.start))
            {
                report.finding(Kind::Counts, || {
                    format!(
                        "version {}: {} counts {polled} records in {} offsets",
                        entry.version,
                        place(span),
                        span.end - span.start
                    )
                });
            }
        }
    }

    fn move_offsets(&mut self, entry: &Entry, report: &mut Report) {
        let spans = entry.spans.as_deref().unwrap_or_default();
        let mut ends: BTreeMap<Life, i64> = entry.txns.iter().filter_map(source_txn).collect();
        for span in spans {
            let life = life(span);
            match ends.remove(&life) {
                Some(end) if end != span.end => {
                    report.finding(Kind::Offsets, || {
                        format!(
                            "version {}: the span of {} ends at {}, its txn says {end}",
                            entry.version,
                            place(span),
                            span.end
                        )
                    });
                }
                None if span.end != span.start => {
                    report.finding(Kind::Offsets, || {
                        format!(
                            "version {}: the span of {} moves no txn",
                            entry.version,
                            place(span)
                        )
                    });
                }
                Some(_) | None => {}
            }
            self.extend(life, span, entry, report);
        }
        for (life, offset) in ends {
            let progress = self.lives.entry(life.clone()).or_insert_with(|| Progress {
                since_version: entry.version,
                from_its_start: true,
                ..Progress::default()
            });
            if let Some(before) = progress.committed.filter(|before| *before != offset) {
                report.finding(Kind::Offsets, || {
                    format!(
                        "version {}: {life} moves from {before} to {offset} without a span",
                        entry.version
                    )
                });
            }
            progress.committed = Some(offset);
        }
    }

    fn extend(&mut self, life: Life, span: &Span, entry: &Entry, report: &mut Report) {
        let version = entry.version;
        let is_kept = entry.outbox.is_some();
        if span.end < span.start {
            report.finding(Kind::Offsets, || {
                format!(
                    "version {version}: the span [{}, {}) of {life} is reversed (OFF-1)",
                    span.start, span.end
                )
            });
            return;
        }
        let progress = self.lives.entry(life.clone()).or_insert_with(|| Progress {
            since_version: version,
            ..Progress::default()
        });
        match progress.committed {
            Some(before) if span.start > before => {
                report.finding(Kind::SpanGap, || format!("version {version}: {life} goes on at {}, the last span ended at {before}: offsets [{before}, {}) are in no span", span.start, span.start));
            }
            Some(before) if span.start < before => {
                report.finding(Kind::SpanOverlap, || format!("version {version}: {life} begins again at {}, the last span ended at {before}", span.start));
            }
            Some(_) | None => {}
        }
        progress.committed = Some(span.end);
        if span.is_lost() {
            report.hole(format!(
                "{life}: offsets [{}, {}) are declared lost in version {version}",
                span.start, span.end
            ));
        }
        if span.end > span.start {
            progress.tiles.push(Tile {
                start: span.start,
                end: span.end,
                rows: span.rows,
                rejects: span.rejects,
                skipped: span.skipped,
                kept: if is_kept { span.rejects } else { 0 },
                lost: span.is_lost(),
            });
        }
        if progress.tiles.len() > SPANS_MAX {
            progress.tiles = progress.tiles.chunks(2).filter_map(joined).collect();
        }
    }

    fn move_files(&mut self, entry: Entry, report: &mut Report) {
        let ours = entry.spans.is_some();
        // Publishing takes out what a replay has made rows of.
        let is_publishing = entry.txns.iter().any(|txn| txn.app_id.starts_with(SHOWN));
        for remove in entry.removes {
            self.deleted_by_others |= remove.data_change && !is_publishing;
            if let Some(path) = self.path(&remove.path, report) {
                self.files.remove(&path);
            }
        }
        for add in entry.adds {
            let appended_at = (add.data_change && ours).then_some(entry.version);
            let Some(path) = self.path(&add.path, report) else {
                continue;
            };
            if self
                .files
                .insert(path.clone(), live(add, appended_at))
                .is_some()
            {
                report.finding(Kind::AddedTwice, || {
                    format!(
                        "version {} adds {path}, which is live already",
                        entry.version
                    )
                });
            }
        }
    }

    /// The log URL-encodes paths, and each writer in its own way.
    fn path(&self, written: &str, report: &mut Report) -> Option<Path> {
        let path = Path::from_url_path(written)
            .ok()
            .filter(|_| !written.contains("://"));
        if path.is_none() {
            report.unproved(format!(
                "the file {written} lies outside of the table and was not looked at"
            ));
        }
        path
    }

    /// Which life the rows of a file belong to; `None` when the log cannot tell any more.
    pub(crate) fn incarnation(
        &self,
        topic: &Arc<str>,
        partition: i32,
        file: &LiveFile,
    ) -> Option<Option<u32>> {
        let first = Life {
            topic: Arc::clone(topic),
            partition,
            incarnation: 0,
        };
        let last = Life {
            incarnation: u32::MAX,
            ..first.clone()
        };
        let mut lives = self.lives.range(first..=last);
        let (oldest, _) = lives.next()?;
        if lives.clone().next().is_none() {
            return Some(Some(oldest.incarnation));
        }
        let Some(version) = file.appended_at else {
            return Some(None);
        };
        let mut begun = lives
            .filter(|(_, progress)| progress.since_version <= version)
            .map(|(life, _)| life.incarnation);
        Some(Some(begun.next_back().unwrap_or(oldest.incarnation)))
    }
}

fn live(add: Add, appended_at: Option<u64>) -> LiveFile {
    LiveFile {
        size: add.size,
        stats: add.stats,
        partition_values: add.partition_values,
        has_deletion_vector: add.deletion_vector.is_some(),
        appended_at,
    }
}

fn joined(tiles: &[Tile]) -> Option<Tile> {
    let (first, last) = (tiles.first()?, tiles.last()?);
    let sum = |of: fn(&Tile) -> u64| tiles.iter().map(of).sum();
    Some(Tile {
        start: first.start,
        end: last.end,
        rows: sum(|t| t.rows),
        rejects: sum(|t| t.rejects),
        skipped: sum(|t| t.skipped),
        kept: sum(|t| t.kept),
        lost: tiles.iter().any(|t| t.lost),
    })
}

fn rows(add: &Add) -> Option<u64> {
    let stats: serde_json::Value = serde_json::from_str(add.stats.as_deref()?).ok()?;
    stats.get("numRecords")?.as_u64()
}

fn life(span: &Span) -> Life {
    Life {
        topic: span.topic.as_str().into(),
        partition: span.partition,
        incarnation: span.incarnation,
    }
}

fn place(span: &Span) -> String {
    life(span).to_string()
}

/// Reads `lakeward/<topic>/<incarnation>/<topic partition>` (OFF-6); other appIds are no offsets.
fn source_txn(txn: &Txn) -> Option<(Life, i64)> {
    let parts: Vec<&str> = txn.app_id.split('/').collect();
    let ["lakeward", topic, incarnation, partition] = parts.as_slice() else {
        return None;
    };
    Some((
        Life {
            topic: (*topic).into(),
            partition: partition.parse().ok()?,
            incarnation: incarnation.parse().ok()?,
        },
        txn.version,
    ))
}
