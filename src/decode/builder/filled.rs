//! Which of some sibling columns have the value of the row under construction: asking each column for its length cost as much as reading its value. Holds no values.

use super::Column;

/// Up to how many columns have a bit each.
const BITS: usize = 64;

/// The columns that are filled; where there are more than bits, the columns themselves are asked.
#[derive(Debug)]
pub(crate) struct Filled {
    row: usize,
    bits: Option<u64>,
}

impl Filled {
    /// Of `columns`, which hold `row` values, none.
    #[inline(always)]
    pub(crate) fn none_of(columns: &[Column], row: usize) -> Self {
        Filled {
            row,
            bits: (columns.len() <= BITS).then_some(0),
        }
    }

    /// How many values the columns held before.
    #[inline(always)]
    pub(crate) fn row(&self) -> usize {
        self.row
    }

    /// Whether the column at `place` is among them.
    #[inline(always)]
    pub(crate) fn has(&self, place: usize, column: &Column) -> bool {
        match self.bits {
            Some(bits) => bits & bit(place) != 0,
            None => column.len() > self.row,
        }
    }

    #[inline(always)]
    pub(crate) fn add(&mut self, place: usize) {
        if let Some(bits) = &mut self.bits {
            *bits |= bit(place);
        }
    }

    #[inline(always)]
    pub(crate) fn remove(&mut self, place: usize) {
        if let Some(bits) = &mut self.bits {
            *bits &= !bit(place);
        }
    }
}

#[inline(always)]
fn bit(place: usize) -> u64 {
    1 << (place % BITS)
}
