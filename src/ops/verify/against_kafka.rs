//! The table held against its topics: each record that Kafka still has is in the table once, or among the rejects and skips that its span declares.
//! Compares coordinates, not values.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::model::offset::{Span, TopicPartition};
use crate::ops::exit::Failure;
use crate::ops::kafka::Kafka;
use crate::ops::output::thousands;
use crate::ops::progress::Progress;
use crate::ops::verify::history::{History, Life, Progress as Committed, Tile};
use crate::ops::verify::report::{Kind, Report};
use crate::ops::verify::rows::Rows;

/// One topic partition as it is read, in the order of its offsets.
struct Walk<'a> {
    life: &'a Life,
    rows: &'a Rows,
    deleted_by_others: bool,
    /// What is still to come, first things first.
    segments: VecDeque<Segment>,
    /// Of the current segment: records that Kafka has, and those of them that the table lacks.
    seen: u64,
    missing: u64,
    /// Over all segments: rows whose records Kafka lacks, and records that no retained span speaks about.
    without_record: u64,
    without_span: u64,
}

/// A range of offsets and what the log declares about it, if it still does.
#[derive(Debug, Clone, Copy)]
struct Segment {
    end: i64,
    /// The span and whether Kafka still has all of its offsets.
    declared: Option<(Tile, bool)>,
}

/// Reads every topic partition of the newest incarnations from the log start to the committed offset.
pub(crate) fn compare(
    kafka: &Kafka,
    history: &History,
    rows: &Rows,
    report: &mut Report,
) -> Result<(), Failure> {
    let mut records = 0;
    for life in history.lives.keys() {
        let newest = !history.lives.keys().any(|other| {
            other.topic == life.topic
                && other.partition == life.partition
                && other.incarnation > life.incarnation
        });
        if !newest {
            report.unproved(format!("{life} against the topic: that life of it is over"));
            continue;
        }
        records += walk(kafka, history, life, rows, report)?;
    }
    let records = thousands(records);
    let sentence = if history.deleted_by_others {
        format!(
            "{records} records of the topics were read; with rows deleted by others, a record without a row may be one of them"
        )
    } else {
        format!(
            "{records} records of the topics were read: each is in the table, or among the rejects and skips that its span declares"
        )
    };
    report.fact(&[Kind::LostRecord, Kind::Offsets, Kind::Counts], sentence);
    Ok(())
}

fn walk(
    kafka: &Kafka,
    history: &History,
    life: &Life,
    rows: &Rows,
    report: &mut Report,
) -> Result<u64, Failure> {
    let Some((committed, end)) = history
        .lives
        .get(life)
        .and_then(|committed| Some((committed, committed.committed?)))
    else {
        return Ok(0);
    };
    let deleted_by_others = history.deleted_by_others;
    let topic_partition = TopicPartition::new(Arc::clone(&life.topic), life.partition);
    let marks = kafka.watermarks(&topic_partition)?;
    if marks.high < end {
        report.finding(Kind::Offsets, || format!("{life}: the table is committed to {end}, the topic ends at {}: it was truncated or recreated", marks.high));
        return Ok(0);
    }
    let first = if committed.from_its_start {
        committed.tiles.first().map_or(end, |tile| tile.start)
    } else {
        0
    };
    let range =
        Span::new(marks.low.max(first).min(end), end).unwrap_or_else(|_| Span::empty_at(end));
    if range.start() > first {
        report.unproved(format!(
            "offsets below {} of {life}: the topic does not hold them any more",
            range.start()
        ));
    }
    if range.is_empty() {
        return Ok(0);
    }
    let segments = segments(committed, range);
    let mut walk = Walk {
        life,
        rows,
        deleted_by_others,
        segments,
        seen: 0,
        missing: 0,
        without_record: 0,
        without_span: 0,
    };
    let progress = Progress::over(&format!("offsets of {topic_partition}"), range.len());
    let mut records = 0;
    kafka.records(&topic_partition, range, &mut |offset| {
        walk.record(offset, report);
        records += 1;
        progress.at(offset.abs_diff(range.start()));
    })?;
    walk.leave_until(i64::MAX, report);
    walk.leave_open(report);
    progress.done();
    Ok(records)
}

fn segments(committed: &Committed, range: Span) -> VecDeque<Segment> {
    let first = committed
        .tiles
        .first()
        .map_or(range.end(), |tile| tile.start);
    let unretained = (range.start() < first).then_some(Segment {
        end: first,
        declared: None,
    });
    let tiles = committed
        .tiles
        .iter()
        .filter(|tile| tile.end > range.start());
    unretained
        .into_iter()
        .chain(tiles.map(|tile| Segment {
            end: tile.end,
            declared: Some((*tile, range.start() <= tile.start)),
        }))
        .collect()
}

impl Walk<'_> {
    fn record(&mut self, offset: i64, report: &mut Report) {
        self.leave_until(offset, report);
        self.seen += 1;
        self.missing += u64::from(!self.rows.contains(self.life, offset));
    }

    /// Judges every segment that ends at or below `offset`.
    fn leave_until(&mut self, offset: i64, report: &mut Report) {
        while let Some(segment) = self
            .segments
            .front()
            .copied()
            .filter(|segment| segment.end <= offset)
        {
            self.segments.pop_front();
            match segment.declared {
                None => self.without_span += self.missing,
                Some((tile, is_whole)) => self.judge(&tile, is_whole, report),
            }
            (self.seen, self.missing) = (0, 0);
        }
    }

    fn judge(&mut self, tile: &Tile, is_whole: bool, report: &mut Report) {
        let declared = tile.rejects + tile.skipped;
        if self.missing > declared && !self.deleted_by_others && !tile.lost {
            let lost = self.missing - declared;
            report.findings(Kind::LostRecord, lost, || {
                format!("{}: the topic has {} records in the span [{}, {}) that are not in the table; it declares {declared} rejects and skips", self.life, self.missing, tile.start, tile.end)
            });
        }
        let polled = tile.rows + declared;
        if is_whole && self.seen > polled && self.missing <= declared && !tile.lost {
            report.finding(Kind::Counts, || {
                format!(
                    "{}: the span [{}, {}) declares {polled} records, the topic has {}",
                    self.life, tile.start, tile.end, self.seen
                )
            });
        }
        if is_whole {
            self.without_record += self
                .rows
                .count(self.life, tile.start, tile.end)
                .saturating_sub(self.seen - self.missing);
        }
    }

    fn leave_open(&self, report: &mut Report) {
        let life = self.life;
        if self.without_record > 0 {
            report.unproved(format!("{} rows of {life}: the topic does not hold their records any more, as in a compacted topic", thousands(self.without_record)));
        }
        if self.without_span > 0 {
            report.unproved(format!("{} records of {life} that are not in the table: the spans that would declare them as rejects or skips are cleaned from the log", thousands(self.without_span)));
        }
        if self.deleted_by_others {
            report.unproved("records that are not in the table: others deleted rows of it");
        }
    }
}
