//! What one lane keeps of a table's rejected records until the flush: rows, batches, files that are being written. Bounded as rows are: what it holds is in the lane's
//! permit (MEM-1). Judges no record.

use std::sync::Arc;

use arrow::array::RecordBatch;

use crate::decode::RejectedRows;
use crate::model::batch::Reject;
use crate::model::record::Record;
use crate::pipeline::plan::Dlq;
use crate::writer::Encoder;

/// The rejected records of one table in one lane.
pub(super) struct Rejects {
    dlq: Arc<Dlq>,
    rows: RejectedRows,
    encoder: Option<Encoder>,
    kept: u64,
    /// Something was not kept, so that nothing may be committed any more.
    has_failed: bool,
}

impl Rejects {
    pub(super) fn new(dlq: &Arc<Dlq>) -> Self {
        Rejects {
            dlq: Arc::clone(dlq),
            rows: RejectedRows::new(dlq.bytes_max),
            encoder: None,
            kept: 0,
            has_failed: false,
        }
    }

    /// Keeps rejected records, which are among `records`, both in the order of their offsets.
    pub(super) fn keep<'a>(
        &mut self,
        records: impl Iterator<Item = Record<'a>>,
        rejects: &[Reject],
        now_ms: i64,
        batch_bytes: usize,
    ) -> Result<(), String> {
        let kept = self.try_keep(records, rejects, now_ms, batch_bytes);
        self.has_failed |= kept.is_err();
        kept
    }

    fn try_keep<'a>(
        &mut self,
        mut records: impl Iterator<Item = Record<'a>>,
        rejects: &[Reject],
        now_ms: i64,
        batch_bytes: usize,
    ) -> Result<(), String> {
        for reject in rejects {
            let Some(record) = records.find(|record| record.at.offset == reject.offset) else {
                return Err(format!(
                    "the rejected record at {} offset {} is not among those that were decoded (DEC-1); please report this",
                    reject.topic_partition, reject.offset
                ));
            };
            self.rows.push(&record, reject, now_ms);
            self.kept += 1;
            if self.rows.size_bytes() >= batch_bytes {
                self.cut(batch_bytes)?;
            }
        }
        Ok(())
    }

    /// Encodes what has come together.
    fn cut(&mut self, batch_bytes: usize) -> Result<(), String> {
        let batch = self.rows.take().map_err(|error| error.to_string())?;
        let encoder = self.encoder.get_or_insert_with(|| {
            Encoder::new(Arc::clone(&self.dlq.layout)).waiting_at_most(batch_bytes)
        });
        encoder.write(&batch).map_err(|error| error.to_string())
    }

    /// Hands over everything.
    pub(super) fn seal(&mut self) -> Result<(Option<RecordBatch>, Option<Encoder>), String> {
        if self.has_failed {
            return Err("rejected records were not kept; they are read again".to_owned());
        }
        self.kept = 0;
        let batch = match self.rows.rows() {
            0 => None,
            _ => Some(self.rows.take().map_err(|error| error.to_string())?),
        };
        Ok((batch, self.encoder.take()))
    }

    /// How many it holds.
    pub(super) fn kept(&self) -> u64 {
        self.kept
    }

    pub(super) fn held_bytes(&self) -> usize {
        self.rows.size_bytes() + self.encoder.as_ref().map_or(0, Encoder::buffered_bytes)
    }

    pub(super) fn largest_file_bytes(&self) -> u64 {
        self.encoder.as_ref().map_or(0, Encoder::largest_file_bytes)
    }
}
