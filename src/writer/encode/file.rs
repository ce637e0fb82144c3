//! One Parquet file from its first row to its last byte, in memory. Does not choose its rows.

use std::collections::BTreeMap;
use std::fmt;
use std::mem;
use std::sync::Arc;

use arrow::array::RecordBatch;
use bytes::Bytes;
use parquet::arrow::ArrowWriter;

use crate::writer::encode::segments::Segments;
use crate::writer::placement::Value;
use crate::writer::stats::{self, Observed};
use crate::writer::{Error, Layout};

/// What an open writer holds beyond what it reports, for each leaf column: zstd's compression context and a page's scratch space. Measured.
const LEAF_OVERHEAD_BYTES: usize = 96 * 1024;

/// A whole Parquet file, in memory.
#[derive(Clone)]
pub struct EncodedFile {
    /// Relative to the table's root, as an object key (not URL-encoded); never used before or again (FILE-1).
    pub path: String,
    /// Serialised values by partition column, in Delta's text form; `None` is null.
    pub partition_values: BTreeMap<String, Option<String>>,
    /// Its rows.
    pub rows: u64,
    /// The Delta statistics as JSON text.
    pub stats: String,
    segments: Vec<Bytes>,
}

impl EncodedFile {
    /// Its size.
    pub fn size_bytes(&self) -> u64 {
        self.segments
            .iter()
            .map(|segment| to_u64(segment.len()))
            .sum()
    }

    /// Its content in pieces of at most a mebibyte.
    pub fn segments(&self) -> &[Bytes] {
        &self.segments
    }

    #[cfg(test)]
    pub(crate) fn segments_mut(&mut self) -> &mut Vec<Bytes> {
        &mut self.segments
    }
}

impl fmt::Debug for EncodedFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EncodedFile")
            .field("path", &self.path)
            .field("rows", &self.rows)
            .field("size_bytes", &self.size_bytes())
            .finish_non_exhaustive()
    }
}

/// A Parquet file that still takes rows.
#[derive(Debug)]
pub(super) struct OpenFile {
    writer: ArrowWriter<Segments>,
    observed: Observed,
    rows: u64,
    /// As of the last write: summing it up walks over every column, and lanes ask after each fetch.
    held_bytes: usize,
    size_bytes: u64,
}

impl OpenFile {
    pub(super) fn new(layout: &Layout, first: &RecordBatch) -> Result<Self, Error> {
        let writer = ArrowWriter::try_new_with_options(
            Segments::default(),
            Arc::clone(layout.file_schema()),
            layout.writer_options(first)?,
        )?;
        Ok(OpenFile {
            writer,
            observed: Observed::new(layout.indexed()),
            rows: 0,
            held_bytes: 0,
            size_bytes: 0,
        })
    }

    pub(super) fn write(&mut self, layout: &Layout, batch: &RecordBatch) -> Result<(), Error> {
        self.observed.add(layout.indexed(), batch);
        self.rows += to_u64(batch.num_rows());
        self.writer.write(batch)?;
        self.held_bytes = self.writer.inner().held_bytes()
            + self.writer.memory_size()
            + self.observed.leaves() * LEAF_OVERHEAD_BYTES;
        self.size_bytes = to_u64(self.writer.bytes_written() + self.writer.in_progress_size());
        Ok(())
    }

    /// The expected size of the file so far.
    pub(super) fn size_bytes(&self) -> u64 {
        self.size_bytes
    }

    /// The memory that it holds.
    pub(super) fn held_bytes(&self) -> usize {
        self.held_bytes
    }

    pub(super) fn finish(
        mut self,
        layout: &Layout,
        values: &[Value],
    ) -> Result<EncodedFile, Error> {
        let metadata = self.writer.finish()?;
        Ok(EncodedFile {
            path: layout.new_path(values),
            partition_values: layout.partition_values(values),
            rows: self.rows,
            stats: stats::to_json(layout.indexed(), &metadata, &self.observed),
            segments: mem::take(self.writer.inner_mut()).into_bytes(),
        })
    }
}

pub(crate) fn to_u64(bytes: usize) -> u64 {
    u64::try_from(bytes).unwrap_or(u64::MAX)
}
