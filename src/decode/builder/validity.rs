//! Which values of a column are null, as a bitmap that exists only once there is a null. Does not hold values.

use arrow::buffer::NullBuffer;

use super::bits::Bits;

/// The nulls of a column under construction; without any, appending costs one comparison.
#[derive(Debug, Default)]
pub(super) struct Validity {
    bits: Option<Bits>,
}

impl Validity {
    /// The next value is there.
    #[inline]
    pub(super) fn append_valid(&mut self) {
        if let Some(bits) = &mut self.bits {
            bits.push(true);
        }
    }

    /// The next value, after `len` others, is null.
    #[inline]
    pub(super) fn append_null(&mut self, len: usize) {
        self.bits.get_or_insert_with(|| Bits::ones(len)).push(false);
    }

    pub(super) fn truncate(&mut self, len: usize) {
        if let Some(bits) = &mut self.bits {
            bits.truncate(len);
        }
    }

    pub(super) fn size_bytes(&self) -> usize {
        self.bits.as_ref().map_or(0, Bits::size_bytes)
    }

    /// The bitmap; leaves an empty one.
    pub(super) fn finish(&mut self) -> Option<NullBuffer> {
        let nulls = NullBuffer::new(self.bits.take()?.finish());
        (nulls.null_count() > 0).then_some(nulls)
    }
}
