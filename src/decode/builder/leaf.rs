//! Columns of plain values: booleans, fixed-width numbers, text and bytes. Each can forget its last values. Does not nest.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, BinaryArray, BooleanArray, BooleanBufferBuilder, PrimitiveArray, StringArray,
};
use arrow::buffer::{Buffer, OffsetBuffer, ScalarBuffer};
use arrow::datatypes::{ArrowNativeType, ArrowPrimitiveType, DataType};
use arrow::error::ArrowError;

use super::validity::Validity;
use crate::decode::reject::{Fault, Outcome};

/// Booleans as bits.
#[derive(Debug)]
pub(crate) struct Booleans {
    values: BooleanBufferBuilder,
    validity: Validity,
}

impl Booleans {
    pub(super) fn new() -> Self {
        Booleans {
            values: BooleanBufferBuilder::new(0),
            validity: Validity::default(),
        }
    }

    #[inline]
    pub(crate) fn push(&mut self, value: bool) {
        self.validity.append_valid();
        self.values.append(value);
    }

    pub(super) fn push_null(&mut self) {
        self.validity.append_null(self.values.len());
        self.values.append(false);
    }

    pub(super) fn len(&self) -> usize {
        self.values.len()
    }

    pub(super) fn truncate(&mut self, len: usize) {
        self.values.truncate(len);
        self.validity.truncate(len);
    }

    pub(super) fn size_bytes(&self) -> usize {
        self.values.len().div_ceil(8) + self.validity.size_bytes()
    }

    pub(super) fn finish(&mut self) -> ArrayRef {
        Arc::new(BooleanArray::new(
            self.values.finish(),
            self.validity.finish(),
        ))
    }
}

/// Numbers of one width.
#[derive(Debug)]
pub(crate) struct Values<T> {
    values: Vec<T>,
    validity: Validity,
}

impl<T: ArrowNativeType> Values<T> {
    pub(super) fn new() -> Self {
        Values {
            values: Vec::new(),
            validity: Validity::default(),
        }
    }

    #[inline(always)]
    pub(crate) fn push(&mut self, value: T) {
        self.validity.append_valid();
        self.values.push(value);
    }

    pub(super) fn push_null(&mut self) {
        self.validity.append_null(self.values.len());
        self.values.push(T::default());
    }

    pub(crate) fn get(&self, index: usize) -> Option<T> {
        self.values.get(index).copied()
    }

    pub(super) fn len(&self) -> usize {
        self.values.len()
    }

    pub(super) fn truncate(&mut self, len: usize) {
        self.values.truncate(len);
        self.validity.truncate(len);
    }

    pub(super) fn size_bytes(&self) -> usize {
        size_of::<T>() * self.values.len() + self.validity.size_bytes()
    }

    /// The column as `data_type`, which shares the width of `A`.
    pub(super) fn finish<A>(&mut self, data_type: &DataType) -> Result<ArrayRef, ArrowError>
    where
        A: ArrowPrimitiveType<Native = T>,
    {
        let values = ScalarBuffer::from(renew(&mut self.values));
        Ok(Arc::new(
            PrimitiveArray::<A>::try_new(values, self.validity.finish())?
                .with_data_type(data_type.clone()),
        ))
    }
}

/// Text or bytes, one after the other with 32-bit offsets.
#[derive(Debug)]
pub(crate) struct Bytes {
    offsets: Vec<i32>,
    bytes: Vec<u8>,
    validity: Validity,
}

impl Bytes {
    pub(super) fn new() -> Self {
        Bytes {
            offsets: vec![0],
            bytes: Vec::new(),
            validity: Validity::default(),
        }
    }

    /// Appends one value. Text must be UTF-8.
    #[inline(always)]
    pub(crate) fn push(&mut self, value: &[u8]) -> Outcome {
        self.bytes.extend_from_slice(value);
        self.end()
    }

    /// Where a value that is written in pieces goes; `end` completes it. Until then a truncation takes it back.
    #[inline]
    pub(crate) fn open(&mut self) -> &mut Vec<u8> {
        &mut self.bytes
    }

    /// Completes the value that was written since the last one.
    #[inline(always)]
    pub(crate) fn end(&mut self) -> Outcome {
        let Ok(end) = i32::try_from(self.bytes.len()) else {
            return Err(Fault::full());
        };
        self.validity.append_valid();
        self.offsets.push(end);
        Ok(())
    }

    pub(super) fn push_null(&mut self) {
        self.validity.append_null(self.len());
        self.offsets.push(self.last_offset());
    }

    /// The value at `index`.
    pub(crate) fn get(&self, index: usize) -> &[u8] {
        self.bytes
            .get(offset(&self.offsets, index)..offset(&self.offsets, index + 1))
            .unwrap_or(&[])
    }

    fn last_offset(&self) -> i32 {
        self.offsets.last().copied().unwrap_or(0)
    }

    pub(crate) fn len(&self) -> usize {
        self.offsets.len() - 1
    }

    pub(super) fn truncate(&mut self, len: usize) {
        self.bytes.truncate(offset(&self.offsets, len));
        self.offsets.truncate(len + 1);
        self.validity.truncate(len);
    }

    pub(super) fn size_bytes(&self) -> usize {
        self.bytes.len() + 4 * self.len() + self.validity.size_bytes()
    }

    fn parts(&mut self) -> (OffsetBuffer<i32>, Buffer) {
        let offsets = OffsetBuffer::new(ScalarBuffer::from(renew_offsets(&mut self.offsets)));
        (offsets, Buffer::from_vec(renew(&mut self.bytes)))
    }

    pub(super) fn finish_text(&mut self) -> Result<ArrayRef, ArrowError> {
        let (offsets, bytes) = self.parts();
        Ok(Arc::new(StringArray::try_new(
            offsets,
            bytes,
            self.validity.finish(),
        )?))
    }

    pub(super) fn finish_binary(&mut self) -> Result<ArrayRef, ArrowError> {
        let (offsets, bytes) = self.parts();
        Ok(Arc::new(BinaryArray::try_new(
            offsets,
            bytes,
            self.validity.finish(),
        )?))
    }
}

/// Takes what was built, and leaves room for as much again: the next batch is likely to be alike, and growing by doubling would copy it and leave half unused.
fn renew<T>(built: &mut Vec<T>) -> Vec<T> {
    let room = built.len().saturating_add(built.len() / 16);
    std::mem::replace(built, Vec::with_capacity(room))
}

/// The same for offsets, which begin with a zero.
pub(super) fn renew_offsets(built: &mut Vec<i32>) -> Vec<i32> {
    let offsets = renew(built);
    built.push(0);
    offsets
}

/// The offset at `index`, or the last one.
pub(super) fn offset(offsets: &[i32], index: usize) -> usize {
    let offset = offsets.get(index).or(offsets.last()).copied().unwrap_or(0);
    usize::try_from(offset).unwrap_or(0)
}
