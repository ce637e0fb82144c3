//! Reads Protobuf's wire format from a slice: tags, numbers and delimited bytes, every length checked against what is left. Does not know message types.

use crate::decode::reject::{Code, Fault, Outcome};
use crate::decode::varint::{self, truncated, unzigzag};

/// How deep groups may nest inside of a field that is skipped.
const GROUPS_MAX: usize = 100;

/// The kinds of values on the wire.
pub(super) const VARINT: u8 = 0;
pub(super) const FIXED64: u8 = 1;
pub(super) const DELIMITED: u8 = 2;
pub(super) const GROUP: u8 = 3;
const GROUP_END: u8 = 4;
pub(super) const FIXED32: u8 = 5;

/// The unread rest of a message.
#[derive(Debug, Clone)]
pub(crate) struct Wire<'a> {
    rest: &'a [u8],
}

/// The value of a field, by its kind on the wire.
#[derive(Debug, Clone, Copy)]
pub(super) enum Field<'a> {
    Varint(u64),
    Fixed64(u64),
    Fixed32(u32),
    /// Delimited, or the inside of a group.
    Bytes(&'a [u8]),
}

/// A field's number and the kind of its value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Tag {
    pub(super) number: u32,
    pub(super) kind: u8,
}

impl<'a> Wire<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Wire { rest: bytes }
    }

    pub(crate) fn rest(&self) -> &'a [u8] {
        self.rest
    }

    #[inline(always)]
    pub(super) fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// The next two bytes, the first one lowest; no field is shorter.
    #[inline(always)]
    pub(super) fn peek(&self) -> Option<u16> {
        self.rest.first_chunk().copied().map(u16::from_le_bytes)
    }

    /// Passes over bytes that were peeked at.
    #[inline(always)]
    pub(super) fn skip(&mut self, bytes: usize) {
        self.rest = self.rest.get(bytes..).unwrap_or(&[]);
    }

    /// A number of up to ten bytes.
    #[inline(always)]
    pub(super) fn varint(&mut self) -> Outcome<u64> {
        match self.rest {
            [byte, rest @ ..] if *byte < 0x80 => {
                self.rest = rest;
                Ok(u64::from(*byte))
            }
            [low, high, rest @ ..] if *high < 0x80 => {
                self.rest = rest;
                Ok(u64::from(*low & 0x7f) | u64::from(*high) << 7)
            }
            _ => varint::of_many_bytes(&mut self.rest),
        }
    }

    pub(crate) fn zigzag(&mut self) -> Outcome<i64> {
        self.varint().map(unzigzag)
    }

    #[inline(always)]
    pub(super) fn tag(&mut self) -> Outcome<Tag> {
        let value = self.varint()?;
        let number = u32::try_from(value >> 3).unwrap_or(0);
        if number == 0 || value > u64::from(u32::MAX) {
            return Err(Fault::new(
                Code::InvalidEncoding,
                format!("{value} is no tag of a field"),
            ));
        }
        Ok(Tag {
            number,
            kind: u8::try_from(value & 7).unwrap_or(u8::MAX),
        })
    }

    #[inline(always)]
    pub(super) fn fixed64(&mut self) -> Outcome<u64> {
        self.array().map(u64::from_le_bytes)
    }

    #[inline(always)]
    pub(super) fn fixed32(&mut self) -> Outcome<u32> {
        self.array().map(u32::from_le_bytes)
    }

    #[inline(always)]
    fn array<const N: usize>(&mut self) -> Outcome<[u8; N]> {
        let Some((head, rest)) = self.rest.split_first_chunk::<N>() else {
            return Err(truncated("a fixed-length value"));
        };
        self.rest = rest;
        Ok(*head)
    }

    /// Bytes with their length before them.
    #[inline(always)]
    pub(super) fn delimited(&mut self) -> Outcome<&'a [u8]> {
        let length = self.varint()?;
        let split = usize::try_from(length)
            .ok()
            .and_then(|length| self.rest.split_at_checked(length));
        let Some((head, rest)) = split else {
            let left = self.rest.len();
            return Err(Fault::new(
                Code::LengthOutOfRange,
                format!("the length {length} passes the end of the value, {left} bytes ahead"),
            ));
        };
        self.rest = rest;
        Ok(head)
    }

    /// The value behind a tag.
    #[inline(always)]
    pub(super) fn field(&mut self, tag: Tag) -> Outcome<Field<'a>> {
        match tag.kind {
            VARINT => self.varint().map(Field::Varint),
            DELIMITED => self.delimited().map(Field::Bytes),
            FIXED64 => self.fixed64().map(Field::Fixed64),
            FIXED32 => self.fixed32().map(Field::Fixed32),
            _ => self.group(tag).map(Field::Bytes),
        }
    }

    /// The inside of a group, whose end has the number of its beginning.
    fn group(&mut self, tag: Tag) -> Outcome<&'a [u8]> {
        if tag.kind != GROUP {
            return Err(unexpected(tag));
        }
        let inside = self.rest;
        let mut open = vec![tag.number];
        while let Some(number) = open.last().copied() {
            let before_length = self.rest.len();
            let inner = match self.rest.is_empty() {
                true => return Err(truncated("a group")),
                false => self.tag()?,
            };
            match inner.kind {
                GROUP if open.len() >= GROUPS_MAX => {
                    let message = format!("groups nest deeper than {GROUPS_MAX}");
                    return Err(Fault::new(Code::Depth, message));
                }
                GROUP => open.push(inner.number),
                GROUP_END if inner.number == number => {
                    open.pop();
                    if open.is_empty() {
                        let length = inside.len() - before_length;
                        return Ok(inside.get(..length).unwrap_or(&[]));
                    }
                }
                GROUP_END => return Err(unexpected(inner)),
                _ => {
                    self.field(inner)?;
                }
            }
        }
        Err(truncated("a group"))
    }
}

#[cold]
fn unexpected(tag: Tag) -> Box<Fault> {
    let what = match tag.kind {
        GROUP_END => "the end of a group that did not begin",
        _ => "a kind of value that Protobuf does not have",
    };
    Fault::new(
        Code::InvalidEncoding,
        format!("field number {}: {what}", tag.number),
    )
}
