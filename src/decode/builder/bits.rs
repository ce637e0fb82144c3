//! Bits under construction: whole words, and the one that is being filled. Can be cut back. Does not know what they mean.

use arrow::buffer::{BooleanBuffer, Buffer};

const WORD_BITS: usize = 64;

/// Bits, the first one lowest.
#[derive(Debug, Default)]
pub(super) struct Bits {
    full: Vec<u64>,
    last: u64,
    len: usize,
}

impl Bits {
    /// So many ones.
    pub(super) fn ones(len: usize) -> Self {
        Bits {
            full: vec![u64::MAX; len / WORD_BITS],
            last: low(len % WORD_BITS),
            len,
        }
    }

    #[inline(always)]
    pub(super) fn push(&mut self, bit: bool) {
        self.last |= u64::from(bit) << (self.len % WORD_BITS);
        self.len += 1;
        if self.len.is_multiple_of(WORD_BITS) {
            self.full.push(self.last);
            self.last = 0;
        }
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    pub(super) fn truncate(&mut self, len: usize) {
        if len >= self.len {
            return;
        }
        if let Some(word) = self.full.get(len / WORD_BITS) {
            self.last = *word;
            self.full.truncate(len / WORD_BITS);
        }
        self.last &= low(len % WORD_BITS);
        self.len = len;
    }

    pub(super) fn size_bytes(&self) -> usize {
        self.len.div_ceil(8)
    }

    /// The bits; leaves none.
    pub(super) fn finish(&mut self) -> BooleanBuffer {
        let Bits {
            mut full,
            last,
            len,
        } = std::mem::take(self);
        if !len.is_multiple_of(WORD_BITS) {
            full.push(last);
        }
        // Arrow counts bits through the bytes.
        full.iter_mut().for_each(|word| *word = word.to_le());
        BooleanBuffer::new(Buffer::from_vec(full), 0, len)
    }
}

/// The lowest bits of a word; `count` is less than all of them.
#[inline]
fn low(count: usize) -> u64 {
    (1 << count) - 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bits_come_back_after_any_cut() {
        for ones in [0, 1, 63, 64, 65, 200] {
            for cut in 0..=ones + 130 {
                let (mut bits, mut expected) = (Bits::ones(ones), vec![true; ones]);
                for index in 0..130 {
                    bits.push(index % 3 == 0);
                    expected.push(index % 3 == 0);
                }
                bits.truncate(cut);
                expected.truncate(cut);
                for index in 0..70 {
                    bits.push(index % 5 == 0);
                    expected.push(index % 5 == 0);
                }
                assert_eq!(bits.len(), expected.len());
                assert_eq!(bits.finish().iter().collect::<Vec<_>>(), expected);
                assert_eq!((bits.len(), bits.finish().len()), (0, 0));
            }
        }
    }
}
