//! One table's rows in one lane: decoded, in batches, in files that are being written; with the accounts of the spans they came from. Decides nothing.

use std::sync::Arc;

use arrow::datatypes::Schema;

use crate::buffer::accumulator::{Accumulator, Part};
use crate::clock::{Clock, Instant};
use crate::decode::Decoder;
use crate::model::epoch::Epoch;
use crate::model::memory::Permit;
use crate::model::offset::TopicPartition;
use crate::model::progress::{Advance, Step};
use crate::pipeline::lane::rejects::Rejects;
use crate::pipeline::lane::{BATCH_ROWS, to_u64};
use crate::pipeline::schemas::TableSchema;
use crate::pipeline::share::Share;
use crate::writer::Encoder;

/// Rows that wait before an encoder is opened; fewer are merged over all lanes into one file at the flush.
const ROWS_BEFORE_ENCODING: usize = 2 * BATCH_ROWS;

pub(super) struct LaneTable {
    pub(super) share: Arc<Share>,
    pub(super) epoch: Epoch,
    pub(super) decoder: Decoder,
    pub(super) accumulator: Accumulator,
    pub(super) schema: Arc<TableSchema>,
    pub(super) encoder: Option<Encoder>,
    /// Files for the columns that there were before they grew.
    pub(super) earlier: Vec<Encoder>,
    /// Where rejected records are kept.
    pub(super) rejects: Option<Rejects>,
    pub(super) permit: Permit,
    pub(super) halted: Option<String>,
    pub(super) displaced: Option<String>,
}

impl LaneTable {
    pub(super) fn account(
        &mut self,
        topic_partition: &TopicPartition,
        step: &Step,
        arrival: Instant,
    ) -> Result<(), String> {
        let mut advance = Advance::default();
        advance
            .extend(topic_partition, step)
            .map_err(|error| error.to_string())?;
        let part = Part {
            epoch: &self.epoch,
            advance: &advance,
            batch: None,
            permit: None,
            arrival,
        };
        self.accumulator
            .push(part)
            .map_err(|error| error.to_string())
    }

    pub(super) fn take_rows(&mut self) -> Result<(), String> {
        if self.decoder.rows() > 0 {
            let batch = self.decoder.take().map_err(|error| error.to_string())?;
            self.accumulator.push_batch(batch);
        }
        Ok(())
    }

    /// Goes on with the columns that the next record needs, or without them; the rows so far keep theirs until they are encoded.
    pub(super) fn grow(&mut self, wished: &Schema, clock: &Clock) -> Result<(), String> {
        let grown = match self.share.schemas.grow(wished) {
            Ok(grown) => grown,
            Err(reason) => {
                self.decoder.deny(&reason);
                return Ok(());
            }
        };
        if grown.columns == self.schema.columns {
            self.decoder
                .deny("the columns did not grow by what was wished for");
            return Ok(());
        }
        self.take_rows()?;
        let decoder = self.share.plan.decoder(&grown, clock);
        self.decoder = decoder.map_err(|error| error.to_string())?;
        tracing::info!(
            table = self.share.name(),
            columns = grown.columns.flattened_fields().len(),
            "the columns grow by what a record's writer schema has"
        );
        self.schema = grown;
        Ok(())
    }

    /// Cuts where a batch has come together, or the decoder has no more room.
    pub(super) fn cut_when_due(&mut self, is_full: bool, batch_bytes: usize) -> Result<(), String> {
        let is_due = is_full
            || self.decoder.rows() >= BATCH_ROWS
            || self.decoder.size_bytes() >= batch_bytes;
        if is_due {
            self.cut(batch_bytes)
        } else {
            Ok(())
        }
    }

    /// Makes a batch of the decoded rows, and encodes as soon as there is more than a small file's worth.
    pub(super) fn cut(&mut self, batch_bytes: usize) -> Result<(), String> {
        self.take_rows()?;
        if self.encoder.is_none()
            && self.accumulator.batch_rows() < ROWS_BEFORE_ENCODING
            && self.accumulator.batch_bytes() < 2 * batch_bytes
        {
            return Ok(());
        }
        let layout = &self.schema.layout;
        let is_earlier = |encoder: &mut Encoder| !Arc::ptr_eq(encoder.layout(), layout);
        self.earlier.extend(self.encoder.take_if(is_earlier));
        let encoder = self.encoder.get_or_insert_with(|| {
            Encoder::new(Arc::clone(layout)).waiting_at_most(2 * batch_bytes)
        });
        for batch in self.accumulator.take_batches() {
            encoder.write(&batch).map_err(|error| error.to_string())?;
        }
        Ok(())
    }

    pub(super) fn held_bytes(&self) -> u64 {
        let encoders = self.earlier.iter().chain(&self.encoder);
        let encoded: usize = encoders.map(Encoder::buffered_bytes).sum();
        let rejects = self.rejects.as_ref().map_or(0, Rejects::held_bytes);
        to_u64(self.accumulator.batch_bytes() + self.decoder.size_bytes() + encoded + rejects)
    }

    pub(super) fn largest_file_bytes(&self) -> u64 {
        let rows = self.encoder.as_ref().map_or(0, Encoder::largest_file_bytes);
        let rejects = self.rejects.as_ref();
        rows.max(rejects.map_or(0, Rejects::largest_file_bytes))
    }
}
