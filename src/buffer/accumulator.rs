//! What one lane holds for one table between two seals: an advance, the rows not yet handed to an encoder, and their permits. Owns OFF-2 and EPOCH-2 on the way; does
//! not encode and does not decide when to seal.

use std::mem;

use arrow::array::RecordBatch;

use crate::clock::Instant;
use crate::error::Kind;
use crate::model::epoch::Epoch;
use crate::model::memory::Permit;
use crate::model::progress::{Advance, NotAdjacent};

/// Rows and offsets that belong together, of one epoch (EPOCH-2).
#[derive(Debug)]
pub struct Accumulator {
    epoch: Epoch,
    advance: Advance,
    batches: Vec<RecordBatch>,
    permits: Vec<Permit>,
    batch_rows: usize,
    batch_bytes: usize,
    oldest_arrival: Option<Instant>,
    oldest_rowless: Option<Instant>,
}

/// Everything of a lane and table up to a point, to be committed whole or dropped whole (EPOCH-2).
#[derive(Debug)]
pub struct Sealed {
    /// The right to commit it.
    pub epoch: Epoch,
    /// The offsets it advances.
    pub advance: Advance,
    /// The rows that no encoder has yet.
    pub batches: Vec<RecordBatch>,
    /// The memory of all its rows, those with an encoder too; dropped after the commit.
    pub permits: Vec<Permit>,
    /// When the oldest of its records arrived.
    pub oldest_arrival: Option<Instant>,
}

/// A part that does not belong to what has accumulated.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The part leaves a hole or overlaps (OFF-2).
    #[error(transparent)]
    NotAdjacent(#[from] NotAdjacent),
    /// The part was fetched under another epoch (EPOCH-2).
    #[error("rows of epoch {found} cannot join those of epoch {expected} (EPOCH-2)")]
    OtherEpoch {
        /// The part's epoch.
        found: u64,
        /// The accumulator's.
        expected: u64,
    },
}

impl Error {
    /// Says what to do about it.
    pub fn kind(&self) -> Kind {
        match self {
            Error::NotAdjacent(_) | Error::OtherEpoch { .. } => Kind::Bug,
        }
    }
}

/// One decoded part on its way into an accumulator.
#[derive(Debug)]
pub struct Part<'a> {
    /// The right under which it was fetched.
    pub epoch: &'a Epoch,
    /// The offsets it covers, with their counts.
    pub advance: &'a Advance,
    /// Its rows; none for a span without rows, or while they are still in a decoder.
    pub batch: Option<RecordBatch>,
    /// The memory that it holds.
    pub permit: Option<Permit>,
    /// When it arrived.
    pub arrival: Instant,
}

impl Accumulator {
    /// An accumulator without offsets.
    pub fn new(epoch: Epoch) -> Self {
        Accumulator {
            epoch,
            advance: Advance::default(),
            batches: Vec::new(),
            permits: Vec::new(),
            batch_rows: 0,
            batch_bytes: 0,
            oldest_arrival: None,
            oldest_rowless: None,
        }
    }

    /// Takes in a part whose spans follow what is there (OFF-2); a part that does not is refused whole.
    pub fn push(&mut self, part: Part<'_>) -> Result<(), Error> {
        if !part.epoch.same_as(&self.epoch) {
            return Err(Error::OtherEpoch {
                found: part.epoch.number(),
                expected: self.epoch.number(),
            });
        }
        self.check_adjacent(part.advance)?;
        self.advance.merge(part.advance)?;
        let oldest = if part.advance.rows() > 0 {
            &mut self.oldest_arrival
        } else {
            &mut self.oldest_rowless
        };
        *oldest = Some(oldest.map_or(part.arrival, |oldest| oldest.min(part.arrival)));
        if let Some(batch) = part.batch {
            self.push_batch(batch);
        }
        self.permits.extend(part.permit);
        Ok(())
    }

    /// Looks at all spans before any is taken in, so that a refusal changes nothing.
    fn check_adjacent(&self, advance: &Advance) -> Result<(), NotAdjacent> {
        for (topic_partition, step) in advance.steps() {
            if let Some(here) = self.advance.get(topic_partition)
                && here.span.end() != step.span.start()
            {
                return Err(NotAdjacent {
                    topic_partition: topic_partition.clone(),
                    last: here.span,
                    next: step.span,
                });
            }
        }
        Ok(())
    }

    /// Takes in rows whose offsets were pushed before, when they leave a decoder.
    pub fn push_batch(&mut self, batch: RecordBatch) {
        self.batch_rows += batch.num_rows();
        self.batch_bytes += batch.get_array_memory_size();
        self.batches.push(batch);
    }

    /// Hands the rows to an encoder; the offsets and permits stay until the seal.
    pub fn take_batches(&mut self) -> Vec<RecordBatch> {
        self.batch_rows = 0;
        self.batch_bytes = 0;
        mem::take(&mut self.batches)
    }

    /// Makes all permits together stand for `bytes`: what the rows turned out to hold once decoded, or encoded.
    pub fn resize_permits(&mut self, bytes: u64) {
        let Some(mut kept) = self.permits.pop() else {
            return;
        };
        self.permits.clear();
        kept.resize(bytes);
        self.permits.push(kept);
    }

    /// Ends what has accumulated and begins anew under the same epoch.
    pub fn seal(&mut self) -> Sealed {
        let next = Accumulator::new(self.epoch.clone());
        let Accumulator {
            epoch,
            advance,
            batches,
            permits,
            oldest_arrival,
            ..
        } = mem::replace(self, next);
        Sealed {
            epoch,
            advance,
            batches,
            permits,
            oldest_arrival,
        }
    }

    /// The epoch of everything inside.
    pub fn epoch(&self) -> &Epoch {
        &self.epoch
    }

    /// The offsets so far.
    pub fn advance(&self) -> &Advance {
        &self.advance
    }

    /// The rows of all its offsets, wherever they are now.
    pub fn rows(&self) -> u64 {
        self.advance.rows()
    }

    /// The rows that no encoder has yet.
    pub fn batch_rows(&self) -> usize {
        self.batch_rows
    }

    /// The memory of those rows.
    pub fn batch_bytes(&self) -> usize {
        self.batch_bytes
    }

    /// When the oldest part with rows arrived.
    pub fn oldest_arrival(&self) -> Option<Instant> {
        self.oldest_arrival
    }

    /// When the oldest part without rows arrived.
    pub fn oldest_rowless(&self) -> Option<Instant> {
        self.oldest_rowless
    }

    /// Whether there is nothing to commit.
    pub fn is_empty(&self) -> bool {
        self.advance.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{ArrayRef, Int64Array};

    use super::*;
    use crate::model::memory::Pool;
    use crate::model::offset::{Span, TopicPartition};
    use crate::model::progress::{Counts, Step};

    fn advance(start: i64, end: i64, rows: u64) -> Advance {
        let mut advance = Advance::default();
        extend(&mut advance, 0, (start, end), rows);
        advance
    }

    fn extend(advance: &mut Advance, number: i32, (start, end): (i64, i64), rows: u64) {
        let span = Span::new(start, end).unwrap();
        let counts = Counts {
            rows,
            ..Counts::default()
        };
        advance
            .extend(&TopicPartition::new("t", number), &Step::of(span, counts))
            .unwrap();
    }

    fn batch(rows: i64) -> RecordBatch {
        let column: ArrayRef = Arc::new(Int64Array::from_iter_values(0..rows));
        RecordBatch::try_from_iter([("n", column)]).unwrap()
    }

    #[test]
    fn epoch_2_a_seal_takes_everything_and_leaves_nothing() {
        let (epoch, pool) = (Epoch::begin(1), Pool::new(100));
        let mut accumulator = Accumulator::new(epoch.clone());
        let now = Instant::from_millis(5);
        let (first, second) = (advance(0, 10, 3), advance(10, 12, 0));
        accumulator
            .push(Part {
                epoch: &epoch,
                advance: &first,
                batch: Some(batch(3)),
                permit: pool.try_acquire(10),
                arrival: now,
            })
            .unwrap();
        accumulator
            .push(Part {
                epoch: &epoch,
                advance: &second,
                batch: None,
                permit: pool.try_acquire(5),
                arrival: Instant::from_millis(9),
            })
            .unwrap();
        assert_eq!(
            (
                accumulator.rows(),
                accumulator.batch_rows(),
                accumulator.oldest_arrival(),
                accumulator.oldest_rowless()
            ),
            (3, 3, Some(now), Some(Instant::from_millis(9)))
        );
        accumulator.resize_permits(40);
        assert_eq!(pool.used_bytes(), 40);
        let sealed = accumulator.seal();
        assert!(
            accumulator.is_empty()
                && accumulator.oldest_arrival().is_none()
                && accumulator.oldest_rowless().is_none()
        );
        assert_eq!(sealed.advance, advance(0, 12, 3));
        assert_eq!(
            pool.used_bytes(),
            40,
            "MEM-1: the memory is held until the sealed rows are gone"
        );
        drop(sealed);
        assert_eq!(pool.used_bytes(), 0);
    }

    #[test]
    fn off_2_a_hole_is_refused_and_changes_nothing() {
        let epoch = Epoch::begin(1);
        let mut accumulator = Accumulator::new(epoch.clone());
        let mut push = |advance: &Advance| {
            accumulator.push(Part {
                epoch: &epoch,
                advance,
                batch: None,
                permit: None,
                arrival: Instant::from_millis(0),
            })
        };
        let mut both = advance(0, 10, 1);
        extend(&mut both, 1, (0, 5), 1);
        push(&both).unwrap();
        assert!(matches!(
            push(&advance(11, 12, 1)),
            Err(Error::NotAdjacent(_))
        ));
        // The first of the two would follow, the second does not: neither is taken in.
        let mut half = advance(10, 12, 1);
        extend(&mut half, 1, (6, 7), 1);
        assert!(matches!(push(&half), Err(Error::NotAdjacent(_))));
        push(&advance(10, 12, 1)).unwrap();
        let mut expected = advance(0, 12, 2);
        extend(&mut expected, 1, (0, 5), 1);
        assert_eq!(accumulator.advance(), &expected);
    }

    #[test]
    fn epoch_2_rows_of_two_epochs_never_meet() {
        let mut accumulator = Accumulator::new(Epoch::begin(1));
        let later = Epoch::begin(2);
        let part = Part {
            epoch: &later,
            advance: &advance(0, 1, 1),
            batch: None,
            permit: None,
            arrival: Instant::from_millis(0),
        };
        assert!(matches!(
            accumulator.push(part),
            Err(Error::OtherEpoch {
                found: 2,
                expected: 1
            })
        ));
    }
}
