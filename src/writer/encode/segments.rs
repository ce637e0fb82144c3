//! An encoded file in memory as a list of segments: growing it never copies what is there, and an upload takes slices without copying either.

use std::io::{self, Write};
use std::mem;

use bytes::Bytes;

const SEGMENT_BYTES: usize = 1024 * 1024;

/// Bytes appended so far.
#[derive(Debug, Default)]
pub(crate) struct Segments {
    full: Vec<Bytes>,
    full_bytes: usize,
    tail: Vec<u8>,
}

impl Segments {
    /// The memory that it holds.
    pub(crate) fn held_bytes(&self) -> usize {
        self.full_bytes + self.tail.capacity()
    }

    /// Hands over the segments that are full.
    pub(crate) fn take_full(&mut self) -> Vec<Bytes> {
        self.full_bytes = 0;
        mem::take(&mut self.full)
    }

    /// The bytes in their order, none of them empty, each at most one segment long.
    pub(crate) fn into_bytes(mut self) -> Vec<Bytes> {
        if !self.tail.is_empty() {
            self.full.push(Bytes::from(self.tail.into_boxed_slice()));
        }
        self.full
    }
}

impl Write for Segments {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let room = SEGMENT_BYTES - self.tail.len();
        let (now, _) = bytes.split_at(room.min(bytes.len()));
        if self.tail.is_empty() && !self.full.is_empty() {
            self.tail.reserve_exact(SEGMENT_BYTES);
        }
        self.tail.extend_from_slice(now);
        if self.tail.len() == SEGMENT_BYTES {
            self.full.push(Bytes::from(mem::take(&mut self.tail)));
            self.full_bytes += SEGMENT_BYTES;
        }
        Ok(now.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_comes_back_in_order() {
        let mut segments = Segments::default();
        let bytes: Vec<u8> = (0..3 * SEGMENT_BYTES + 17)
            .map(|index| u8::try_from(index % 251).unwrap())
            .collect();
        for chunk in bytes.chunks(100_003) {
            segments.write_all(chunk).unwrap();
        }
        assert!(segments.held_bytes() >= bytes.len() && segments.held_bytes() <= 4 * SEGMENT_BYTES);
        assert_eq!(segments.into_bytes().concat(), bytes);
    }
}
