//! From fetched records to decoded rows: what a fetch covers, how far the decoder goes with it, and what stops a table. Owns the positions' steps and the accounts of
//! every record (DEC-1); does not poll.

use crate::decode::Appended;
use crate::model::batch::{RawBatch, Reject};
use crate::model::lineage::Lineage;
use crate::model::offset::{Span, TopicPartition};
use crate::model::progress::Step;
use crate::model::record::Record;
use crate::pipeline::lane::{Lane, to_u64};
use crate::source::{Fetch, FetchError};
use crate::trial::{self, Bug};

/// Why a table takes no more records for now, or for good.
enum Stopped {
    Parked(String),
    Halted(String),
}

impl Lane {
    /// Takes what was fetched once, for each table that reads its topic.
    pub(super) fn take(&mut self, fetch: Fetch) {
        let Some(open) = self.open.get(&fetch.topic_partition).cloned() else {
            return;
        };
        // One table stands for all of them where nothing can be fetched.
        let Some((first, lowest)) = open.iter().min_by_key(|(_, position)| *position) else {
            return;
        };
        if let Some(error) = fetch.error {
            self.fetch_failed(first, &fetch.topic_partition, lowest, error);
            return;
        }
        let last = fetch
            .records
            .len()
            .checked_sub(1)
            .and_then(|index| fetch.records.get(index))
            .map(|record| record.at.offset + 1);
        let reached = last.max(fetch.end).unwrap_or(lowest).max(lowest);
        let Ok(span) = Span::new(lowest, reached) else {
            return;
        };
        if let Some(end) = fetch.end {
            for (name, _) in open.iter() {
                self.ctx.status.table(name, |table| {
                    table
                        .topic_partitions
                        .entry(fetch.topic_partition.clone())
                        .or_default()
                        .end = Some(end)
                });
            }
        }
        let Some(table) = self.tables.get(first).filter(|_| !span.is_empty()) else {
            return;
        };
        let raw = RawBatch {
            epoch: table.epoch.clone(),
            topic_partition: fetch.topic_partition,
            span,
            permit: self.ctx.pool.hold(to_u64(fetch.records.size_bytes())),
            records: fetch.records,
        };
        for (name, position) in open.iter() {
            self.take_for(name, position, &raw);
        }
    }

    /// Takes of a raw batch what is new to a table: others of its family may be further behind, or one of them has stopped them all.
    fn take_for(&mut self, name: &str, position: i64, raw: &RawBatch) {
        if position >= raw.span.end() || !self.open.contains_key(&raw.topic_partition) {
            return;
        }
        let Some(table) = self.tables.get(name) else {
            return;
        };
        table.share.counters.read(
            to_u64(raw.records.len()),
            to_u64(raw.records.payload_bytes()),
        );
        let is_known = |record: &Record<'_>| record.at.offset < position;
        let known = raw.records.iter_from(0).take_while(is_known).count();
        let from = if trial::has(Bug::RowsBelowOwnOffset) {
            0
        } else {
            known
        };
        self.decode(name, raw, from);
    }

    fn fetch_failed(
        &mut self,
        name: &str,
        topic_partition: &TopicPartition,
        position: i64,
        error: FetchError,
    ) {
        if error.offset_out_of_range {
            let reason = format!(
                "offset {position} of {topic_partition} lies outside of its log ({}): nothing is skipped (OFF-7)",
                error.reason
            );
            self.displace(name, reason);
        } else {
            self.park(
                name,
                format!("kafka does not deliver {topic_partition}: {}", error.reason),
            );
        }
    }

    /// Decodes a raw batch from index `from`, as far as it goes.
    fn decode(&mut self, name: &str, raw: &RawBatch, mut from: usize) {
        loop {
            match self.decode_some(name, raw, from) {
                Ok(taken) if taken == raw.records.len() => break,
                Ok(taken) => from = taken,
                Err(Stopped::Parked(reason)) => return self.park(name, reason),
                Err(Stopped::Halted(reason)) => return self.halt(name, reason),
            }
        }
        self.publish(name);
    }

    /// One call of the decoder and the accounts of it: the index that comes next.
    fn decode_some(&mut self, name: &str, raw: &RawBatch, from: usize) -> Result<usize, Stopped> {
        let now = self.ctx.clock.now();
        let halted = |reason: &str| Stopped::Halted(reason.to_owned());
        let table = self
            .tables
            .get_mut(name)
            .ok_or_else(|| halted("its table is gone"))?;
        let position = self
            .open
            .get(&raw.topic_partition)
            .and_then(|open| open.of(name))
            .ok_or_else(|| halted("its topic partition is closed"))?;
        let mut appended = table
            .decoder
            .append(&raw.topic_partition, &raw.records, from);
        check_accounts(&appended, raw, from)?;
        let next = raw
            .records
            .get(appended.taken)
            .map(|record| record.at.offset);
        let span = Span::new(position, next.unwrap_or(raw.span.end()))
            .map_err(|error| Stopped::Halted(error.to_string()))?;
        table
            .account(&raw.topic_partition, &step(raw, from, &appended, span), now)
            .map_err(Stopped::Halted)?;
        self.step_to(&raw.topic_partition, name, span.end());
        let taken = appended.taken;
        let culprit = appended
            .rejects
            .pop_if(|reject| Some(reject.offset) == next);
        let rejects: Vec<Reject> = appended.rejects.iter().chain(&culprit).cloned().collect();
        if appended.ignored_fields > 0 {
            self.ctx.status.table(name, |table| {
                table.ignored_fields += appended.ignored_fields
            });
        }
        self.note_rejects(name, &rejects);
        self.keep_rejects(name, raw, from, &appended)?;
        if let Some(wished) = &appended.wished {
            let table = self
                .tables
                .get_mut(name)
                .ok_or_else(|| halted("its table is gone"))?;
            table
                .grow(wished, &self.ctx.clock)
                .map_err(Stopped::Halted)?;
            return Ok(taken);
        }
        if let Some(stalled) = appended.stalled {
            return Err(Stopped::Parked(stalled.to_string()));
        }
        if let Some(culprit) = culprit {
            return Err(Stopped::Halted(suspension(&culprit)));
        }
        let batch_bytes = self.ctx.batch_bytes;
        let table = self
            .tables
            .get_mut(name)
            .ok_or_else(|| halted("its table is gone"))?;
        // A decoder that takes nothing is full: its rows make room.
        let is_full = taken == from && next.is_some();
        if is_full && table.decoder.rows() == 0 {
            return Err(Stopped::Halted(format!(
                "the decoder does not get past {} offset {}",
                raw.topic_partition,
                span.end()
            )));
        }
        table
            .cut_when_due(is_full, batch_bytes)
            .map_err(Stopped::Halted)?;
        Ok(taken)
    }

    fn step_to(&mut self, topic_partition: &TopicPartition, name: &str, offset: i64) {
        if let Some(open) = self.open.get_mut(topic_partition) {
            open.set(name, offset);
        }
    }

    /// Keeps rejected records for their own table, and stops where they are too many.
    fn keep_rejects(
        &mut self,
        name: &str,
        raw: &RawBatch,
        from: usize,
        appended: &Appended,
    ) -> Result<(), Stopped> {
        let (now, now_ms) = (self.ctx.clock.now(), self.ctx.clock.wall_ms());
        let batch_bytes = self.ctx.batch_bytes;
        let Some(table) = self.tables.get_mut(name) else {
            return Ok(());
        };
        if let Some(kept) = &mut table.rejects {
            kept.keep(
                raw.records.iter_from(from),
                &appended.rejects,
                now_ms,
                batch_bytes,
            )
            .map_err(Stopped::Halted)?;
        }
        let polled = appended.counts.polled();
        match table.share.too_many(now, polled, appended.counts.rejects) {
            Some(reason) => Err(Stopped::Halted(reason)),
            None => Ok(()),
        }
    }

    fn note_rejects(&self, name: &str, rejects: &[Reject]) {
        if rejects.is_empty() {
            return;
        }
        if let Some(table) = self.tables.get(name) {
            rejects
                .iter()
                .for_each(|reject| table.share.counters.rejected(reject.code, 1));
        }
        self.ctx.status.rejected(name, rejects);
        if let Some(reject) = rejects.first() {
            tracing::warn!(
                table = name,
                topic = %reject.topic_partition.topic,
                topic_partition = reject.topic_partition.number,
                offset = reject.offset,
                code = reject.code,
                path = reject.path,
                detail = reject.message,
                more = rejects.len() - 1,
                "records are rejected"
            );
        }
    }
}

fn step(raw: &RawBatch, from: usize, appended: &Appended, span: Span) -> Step {
    Step {
        span,
        counts: appended.counts,
        lineage: Lineage::of(&raw.records, from, appended.taken.saturating_sub(from)),
    }
}

fn check_accounts(appended: &Appended, raw: &RawBatch, from: usize) -> Result<(), Stopped> {
    if usize::try_from(appended.counts.polled()).ok() == appended.taken.checked_sub(from) {
        return Ok(());
    }
    Err(Stopped::Halted(format!(
        "{:?} do not account for the records of {} up to index {} (DEC-1); please report this",
        appended.counts, raw.topic_partition, appended.taken
    )))
}

fn suspension(reject: &Reject) -> String {
    format!(
        "record at topic `{}` partition {} offset {} cannot be decoded ({}{}): {}; mend it, or let it be counted and left out with errors.mode: skip",
        reject.topic_partition.topic,
        reject.topic_partition.number,
        reject.offset,
        reject.code,
        if reject.path.is_empty() {
            String::new()
        } else {
            format!(" at `{}`", reject.path)
        },
        reject.message
    )
}
