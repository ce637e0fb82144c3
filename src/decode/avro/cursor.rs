//! Reads Avro's primitive encodings from a slice: every length is checked against what is left before anything is allocated. Does not know
//! schemas or columns.

use crate::decode::builder::check_utf8;
use crate::decode::reject::{Code, Fault, Outcome};
use crate::decode::varint::{self, truncated, unzigzag};

/// How many items one record may hold in arrays and maps whose items take no byte, such as nulls.
const EMPTY_ITEMS_MAX: u64 = 65_536;

/// How many values one record may become, so that a small record cannot fill the memory through a wide item type.
const CELLS_MAX: u64 = 1 << 24;

/// The unread rest of a record, and what it may still become.
#[derive(Debug)]
pub(crate) struct Cursor<'a> {
    rest: &'a [u8],
    empty_items_left: u64,
    cells_left: u64,
}

/// The items of one block of an array or map, before they are read.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Items {
    /// The fewest bytes that an item takes.
    pub(crate) bytes_min: usize,
    /// The values that an item becomes, nested ones counted once.
    pub(crate) cells: u64,
}

/// One block of an array or map.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Block {
    pub(crate) count: u64,
    /// What must be left after the block, where the block says so.
    left_after: Option<usize>,
}

impl<'a> Cursor<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Cursor {
            rest: bytes,
            empty_items_left: EMPTY_ITEMS_MAX,
            cells_left: CELLS_MAX,
        }
    }

    /// Whether everything is read; gives the number of values that arrays and maps became.
    pub(crate) fn finish(&self) -> Outcome<u64> {
        match self.rest.len() {
            0 => Ok(CELLS_MAX - self.cells_left),
            left => Err(Fault::new(
                Code::TrailingBytes,
                format!("{left} bytes are left after the last field of the schema"),
            )),
        }
    }

    #[inline]
    pub(crate) fn boolean(&mut self) -> Outcome<bool> {
        match self.array::<1>()? {
            [0] => Ok(false),
            [1] => Ok(true),
            [other] => Err(Fault::new(
                Code::InvalidEncoding,
                format!("a boolean is the byte {other}, not 0 or 1"),
            )),
        }
    }

    /// A zig-zag number of up to ten bytes.
    #[inline(always)]
    pub(crate) fn long(&mut self) -> Outcome<i64> {
        match self.rest {
            [byte, rest @ ..] if *byte < 0x80 => {
                self.rest = rest;
                Ok(unzigzag(u64::from(*byte)))
            }
            _ => varint::of_many_bytes(&mut self.rest).map(unzigzag),
        }
    }

    #[inline]
    pub(crate) fn int(&mut self) -> Outcome<i32> {
        let value = self.long()?;
        i32::try_from(value).map_err(|_| {
            Fault::new(
                Code::InvalidEncoding,
                format!("{value} is no 32-bit number"),
            )
        })
    }

    #[inline]
    pub(crate) fn float(&mut self) -> Outcome<f32> {
        Ok(f32::from_le_bytes(self.array()?))
    }

    #[inline]
    pub(crate) fn double(&mut self) -> Outcome<f64> {
        Ok(f64::from_le_bytes(self.array()?))
    }

    #[inline(always)]
    pub(crate) fn array<const N: usize>(&mut self) -> Outcome<[u8; N]> {
        let Some((head, rest)) = self.rest.split_first_chunk::<N>() else {
            return Err(truncated("a fixed-length value"));
        };
        self.rest = rest;
        Ok(*head)
    }

    #[inline]
    pub(crate) fn fixed(&mut self, size: usize) -> Outcome<&'a [u8]> {
        let Some((head, rest)) = self.rest.split_at_checked(size) else {
            return Err(truncated("a fixed-length value"));
        };
        self.rest = rest;
        Ok(head)
    }

    /// Bytes with their length before them.
    #[inline(always)]
    pub(crate) fn bytes(&mut self) -> Outcome<&'a [u8]> {
        let length = self.long()?;
        let split = usize::try_from(length)
            .ok()
            .and_then(|length| self.rest.split_at_checked(length));
        let Some((head, rest)) = split else {
            return Err(self.bad_length(length));
        };
        self.rest = rest;
        Ok(head)
    }

    /// Bytes with their length before them, which are UTF-8.
    #[inline]
    pub(crate) fn text(&mut self) -> Outcome<&'a [u8]> {
        let bytes = self.bytes()?;
        // Most text is short ASCII, for which this is the quicker check.
        if bytes.is_ascii() {
            return Ok(bytes);
        }
        check_utf8(bytes)?;
        Ok(bytes)
    }

    #[cold]
    fn bad_length(&self, length: i64) -> Box<Fault> {
        let left = self.rest.len();
        if length < 0 {
            return Fault::new(
                Code::LengthOutOfRange,
                format!("the length {length} is negative"),
            );
        }
        Fault::new(
            Code::LengthOutOfRange,
            format!("the length {length} passes the end of the value, {left} bytes ahead"),
        )
    }

    /// The next block of an array or map; a count of zero ends it.
    #[inline]
    pub(crate) fn block(&mut self, items: Items) -> Outcome<Block> {
        let count = self.long()?;
        if count == 0 {
            return Ok(Block {
                count: 0,
                left_after: None,
            });
        }
        let left_after = if count < 0 {
            Some(self.block_end()?)
        } else {
            None
        };
        let count = count.unsigned_abs();
        let bytes = u128::from(count) * items.bytes_min as u128;
        if bytes > self.rest.len() as u128 {
            let left = self.rest.len();
            let message =
                format!("a block of {count} items passes the end of the value, {left} bytes ahead");
            return Err(Fault::new(Code::LengthOutOfRange, message));
        }
        self.spend(count, items)?;
        Ok(Block { count, left_after })
    }

    /// What is left after a block whose size in bytes comes next.
    fn block_end(&mut self) -> Outcome<usize> {
        let size = self.long()?;
        let left_after = usize::try_from(size)
            .ok()
            .and_then(|size| self.rest.len().checked_sub(size));
        left_after.ok_or_else(|| self.bad_length(size))
    }

    fn spend(&mut self, count: u64, items: Items) -> Outcome {
        if items.bytes_min == 0 {
            let Some(left) = self.empty_items_left.checked_sub(count) else {
                let message = format!("more than {EMPTY_ITEMS_MAX} items that take no byte");
                return Err(Fault::new(Code::LengthOutOfRange, message));
            };
            self.empty_items_left = left;
        }
        match self
            .cells_left
            .checked_sub(count.saturating_mul(items.cells))
        {
            Some(left) => {
                self.cells_left = left;
                Ok(())
            }
            None => Err(Fault::new(
                Code::TooLarge,
                format!("the value becomes more than {CELLS_MAX} values"),
            )),
        }
    }

    /// Checks that a block ended where it said it would.
    #[inline]
    pub(crate) fn end_block(&self, block: Block) -> Outcome {
        match block.left_after {
            Some(left_after) if left_after != self.rest.len() => Err(Fault::new(
                Code::LengthOutOfRange,
                "a block does not end where its size says",
            )),
            Some(_) | None => Ok(()),
        }
    }
}
