//! Rows to Parquet as they arrive: one open file per table partition, held in memory until it is whole. An encoder that failed gives nothing back (D13).

mod file;
mod segments;

use std::collections::HashMap;
use std::mem;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::compute::concat_batches;
use bytes::Bytes;

use crate::writer::placement::{Part, Value};
use crate::writer::{Error, Layout};

pub use file::EncodedFile;
use file::OpenFile;
pub(crate) use file::to_u64;
pub(crate) use segments::Segments;

/// Rows are joined to batches of this size before they are encoded: smaller ones cost up to half as much again.
const JOINED_ROWS_MIN: usize = 32 * 1024;
/// Rows that wait to be joined, over all table partitions; the largest are encoded first beyond it.
const WAITING_BYTES_MAX: usize = 32 * 1024 * 1024;

/// Encodes the rows of one lane and table until they are flushed. Synchronous.
#[derive(Debug)]
pub struct Encoder {
    layout: Arc<Layout>,
    slots: HashMap<Vec<Value>, Slot>,
    finished: Vec<EncodedFile>,
    rows: u64,
    waiting_bytes: usize,
    waiting_bytes_max: usize,
    writes: u64,
    has_failed: bool,
}

/// One table partition: rows that wait to be joined, then the open file they go to.
#[derive(Debug, Default)]
struct Slot {
    waiting: Vec<RecordBatch>,
    waiting_rows: usize,
    waiting_bytes: usize,
    open: Option<OpenFile>,
    last_write: u64,
}

impl Encoder {
    /// An encoder without rows.
    pub fn new(layout: Arc<Layout>) -> Self {
        Encoder {
            layout,
            slots: HashMap::new(),
            finished: Vec::new(),
            rows: 0,
            waiting_bytes: 0,
            waiting_bytes_max: WAITING_BYTES_MAX,
            writes: 0,
            has_failed: false,
        }
    }

    /// Lets fewer bytes of rows wait to be joined, where memory is short.
    pub fn waiting_at_most(mut self, bytes: usize) -> Self {
        self.waiting_bytes_max = bytes.min(WAITING_BYTES_MAX);
        self
    }

    /// What its files are made for.
    pub fn layout(&self) -> &Arc<Layout> {
        &self.layout
    }

    /// Takes in rows of the layout's columns, or of some of them: then the others are null. After an error the encoder is spent.
    pub fn write(&mut self, batch: &RecordBatch) -> Result<(), Error> {
        if self.has_failed {
            return Err(Error::Failed);
        }
        let outcome = self.try_write(batch);
        self.has_failed = outcome.is_err();
        outcome
    }

    fn try_write(&mut self, batch: &RecordBatch) -> Result<(), Error> {
        if batch.num_rows() == 0 {
            return Ok(());
        }
        for Part { values, rows } in self.layout.split(batch)? {
            self.writes += 1;
            let slot = self.slots.entry(values.clone()).or_default();
            slot.last_write = self.writes;
            self.waiting_bytes += slot.wait(rows);
            if slot.waiting_rows >= JOINED_ROWS_MIN {
                self.encode(&values)?;
            }
        }
        self.rows += to_u64(batch.num_rows());
        self.relieve()
    }

    /// Encodes what waits, the largest first, when too much does.
    fn relieve(&mut self) -> Result<(), Error> {
        if self.waiting_bytes <= self.waiting_bytes_max {
            return Ok(());
        }
        let mut waiting: Vec<_> = self
            .slots
            .iter()
            .filter(|(_, slot)| slot.waiting_rows > 0)
            .map(|(values, slot)| (slot.waiting_bytes, values.clone()))
            .collect();
        waiting.sort_unstable_by(|left, right| right.cmp(left));
        for (_, values) in waiting {
            if self.waiting_bytes <= self.waiting_bytes_max / 2 {
                break;
            }
            self.encode(&values)?;
        }
        Ok(())
    }

    /// Encodes what waits for one table partition; makes room among the open files first.
    fn encode(&mut self, values: &[Value]) -> Result<(), Error> {
        if self
            .slots
            .get(values)
            .is_some_and(|slot| slot.open.is_none())
        {
            self.close_coldest()?;
        }
        let Some(slot) = self.slots.get_mut(values) else {
            return Ok(());
        };
        self.waiting_bytes -= slot.encode(&self.layout)?;
        Ok(())
    }

    /// Finishes the least recently written file when as many as may be are open.
    fn close_coldest(&mut self) -> Result<(), Error> {
        let open = || self.slots.iter().filter(|(_, slot)| slot.open.is_some());
        if open().count() < self.layout.open_files_max() {
            return Ok(());
        }
        let Some(values) = open()
            .min_by_key(|(_, slot)| slot.last_write)
            .map(|(values, _)| values.clone())
        else {
            return Ok(());
        };
        let file = self
            .slots
            .get_mut(&values)
            .and_then(|slot| slot.open.take());
        self.finished.extend(
            file.map(|file| file.finish(&self.layout, &values))
                .transpose()?,
        );
        Ok(())
    }

    /// The memory that its rows hold now, encoded or not.
    pub fn buffered_bytes(&self) -> usize {
        let open: usize = self
            .slots
            .values()
            .filter_map(|slot| slot.open.as_ref())
            .map(OpenFile::held_bytes)
            .sum();
        let finished: usize = self
            .finished
            .iter()
            .flat_map(EncodedFile::segments)
            .map(Bytes::len)
            .sum();
        self.waiting_bytes + open + finished
    }

    /// The rows taken in.
    pub fn rows(&self) -> u64 {
        self.rows
    }

    /// The files that a flush would make now.
    pub fn files(&self) -> usize {
        self.finished.len()
            + self
                .slots
                .values()
                .filter(|slot| slot.open.is_some() || slot.waiting_rows > 0)
                .count()
    }

    /// The expected size of the largest open file, without the rows that wait to be joined.
    pub fn largest_file_bytes(&self) -> u64 {
        self.slots
            .values()
            .filter_map(|slot| slot.open.as_ref())
            .map(OpenFile::size_bytes)
            .max()
            .unwrap_or(0)
    }

    /// Writes the footers and gives the files, in the order of their paths' table partitions.
    pub fn finish(mut self) -> Result<Vec<EncodedFile>, Error> {
        if self.has_failed {
            return Err(Error::Failed);
        }
        let mut slots: Vec<_> = mem::take(&mut self.slots).into_iter().collect();
        slots.sort_unstable_by(|(left, _), (right, _)| left.cmp(right));
        for (values, mut slot) in slots {
            slot.encode(&self.layout)?;
            self.finished.extend(
                slot.open
                    .map(|file| file.finish(&self.layout, &values))
                    .transpose()?,
            );
        }
        Ok(self.finished)
    }
}

impl Slot {
    /// Lets rows wait; says how many bytes they hold.
    fn wait(&mut self, rows: RecordBatch) -> usize {
        let bytes = rows.get_array_memory_size();
        self.waiting_rows += rows.num_rows();
        self.waiting_bytes += bytes;
        self.waiting.push(rows);
        bytes
    }

    /// Encodes what waits; says how many bytes that held.
    fn encode(&mut self, layout: &Layout) -> Result<usize, Error> {
        let waiting = mem::take(&mut self.waiting);
        self.waiting_rows = 0;
        let rows = match waiting.as_slice() {
            [] => return Ok(0),
            [whole] => whole.clone(),
            several => concat_batches(layout.file_schema(), several)?,
        };
        let file = match &mut self.open {
            Some(file) => file,
            open @ None => open.insert(OpenFile::new(layout, &rows)?),
        };
        file.write(layout, &rows)?;
        Ok(mem::take(&mut self.waiting_bytes))
    }
}

#[cfg(test)]
mod tests;
