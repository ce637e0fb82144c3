//! Rows of small files joined to batches of the size that encodes fastest, and sorted where the table asks for an order: as many at a time as memory allows. Owns that
//! bound; reads no file and chooses no row.

use std::sync::Arc;

use arrow::array::{RecordBatch, UInt32Array};
use arrow::compute::{SortColumn, concat_batches, lexsort_to_indices, take_record_batch};
use arrow::datatypes::SchemaRef;

use crate::maintenance::error::Error;
use crate::maintenance::memory::Memory;
use crate::writer::Rewriter;

/// Joined rows; encoding is fastest with large batches.
const JOINED_ROWS_MIN: usize = 32 * 1024;

/// Rows that wait to be joined, and sorted if the table asks for an order.
pub(super) struct Joined<'a> {
    schema: &'a SchemaRef,
    sort_by: Vec<&'a str>,
    bytes_max: usize,
    rows_min: usize,
    batches: Vec<RecordBatch>,
    rows: usize,
    bytes: usize,
}

impl<'a> Joined<'a> {
    /// Rows of `schema`, in the order of those of `sort_by` that lie in files.
    pub(super) fn new(schema: &'a SchemaRef, sort_by: &'a [String], memory: &Memory) -> Self {
        let names = sort_by.iter().map(String::as_str);
        let sort_by: Vec<&str> = names.filter(|name| schema.index_of(name).is_ok()).collect();
        let is_sorted = !sort_by.is_empty();
        Joined {
            schema,
            sort_by,
            bytes_max: if is_sorted {
                memory.sort_bytes()
            } else {
                memory.batch_bytes()
            },
            rows_min: if is_sorted {
                usize::MAX
            } else {
                JOINED_ROWS_MIN
            },
            batches: Vec::new(),
            rows: 0,
            bytes: 0,
        }
    }

    /// Takes more rows.
    pub(super) fn push(&mut self, batch: RecordBatch) {
        self.rows += batch.num_rows();
        self.bytes += batch.get_array_memory_size();
        self.batches.push(batch);
    }

    /// Whether it is time to encode what waits.
    pub(super) fn is_full(&self) -> bool {
        self.rows >= self.rows_min || self.bytes >= self.bytes_max
    }

    /// Encodes what waits.
    pub(super) async fn drain_into(&mut self, output: &mut Rewriter) -> Result<(), Error> {
        let batches = std::mem::take(&mut self.batches);
        (self.rows, self.bytes) = (0, 0);
        let joined = match batches.as_slice() {
            [] => return Ok(()),
            [whole] => whole.clone(),
            several => concat_batches(self.schema, several)?,
        };
        drop(batches);
        let sorted = if self.sort_by.is_empty() {
            joined
        } else {
            self.sort(&joined)?
        };
        Ok(output.write(&sorted).await?)
    }

    fn sort(&self, rows: &RecordBatch) -> Result<RecordBatch, Error> {
        let columns: Vec<SortColumn> = self
            .sort_by
            .iter()
            .filter_map(|name| rows.column_by_name(name))
            .map(|column| SortColumn {
                values: Arc::clone(column),
                options: None,
            })
            .collect();
        let indices: UInt32Array = lexsort_to_indices(&columns, None)?;
        Ok(take_record_batch(rows, &indices)?)
    }
}
