//! Reads a field that comes as most writers send it: in its turn, once, as the plain value or message that it is. Everything else is `run`'s, which gives the same rows and faults without
//! it; this is only shorter.

use super::compile::{Field, Scalar, Shape, Step};
use super::run::{Run, int32, timestamp, uneven};
use super::wire::Wire;
use crate::decode::builder::{Column, Data, Filled};
use crate::decode::reject::Outcome;

/// Field numbers up to this have a tag of two bytes at most.
const NUMBER_MAX: u32 = (1 << 11) - 1;

/// How a field that comes in its turn is read.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Quick {
    /// The tag's bytes as they lie there, and which of the two are its own.
    tag: u16,
    mask: u16,
    tag_bytes: usize,
    value: Value,
    /// The values that each item becomes, where it is a list.
    item_cells: Option<u64>,
}

#[derive(Debug, Clone, Copy)]
enum Value {
    Text,
    Long,
    Int,
    Double,
    Boolean,
    Timestamp,
    Message,
}

impl Quick {
    /// For a field of this number and shape, if it is one of those; `None` for members of a oneof, which end one another.
    pub(crate) fn of(number: u32, shape: &Shape, is_in_oneof: bool) -> Option<Quick> {
        let (step, item_cells) = match shape {
            Shape::Optional(step) | Shape::Implicit(step) | Shape::Required(step) => (step, None),
            Shape::Repeated(step, cells) => (step, Some(*cells)),
            Shape::Map(_) | Shape::Nulled | Shape::Left | Shape::Unplaced(_) => return None,
        };
        let (value, kind) = match step {
            Step::Scalar(scalar @ Scalar::Text) => (Value::Text, scalar.wire()),
            Step::Scalar(scalar @ Scalar::Int64) => (Value::Long, scalar.wire()),
            Step::Scalar(scalar @ Scalar::Int32) => (Value::Int, scalar.wire()),
            Step::Scalar(scalar @ Scalar::Double) => (Value::Double, scalar.wire()),
            Step::Scalar(scalar @ Scalar::Bool) => (Value::Boolean, scalar.wire()),
            Step::Timestamp => (Value::Timestamp, super::wire::DELIMITED),
            Step::Message(_) => (Value::Message, super::wire::DELIMITED),
            Step::Scalar(_)
            | Step::Enum(_)
            | Step::Empty
            | Step::Wrapper(_)
            | Step::Duration
            | Step::Json(_)
            | Step::Masked(..)
            | Step::Redacted(_)
            | Step::Refuse(_) => return None,
        };
        // Items of numbers may come packed, several in one value.
        let is_packable = item_cells.is_some() && step.packs();
        if is_in_oneof || is_packable || number > NUMBER_MAX {
            return None;
        }
        let tag = u16::try_from(number << 3).ok()? | u16::from(kind);
        let (tag, mask, tag_bytes) = match tag {
            0..0x80 => (tag, 0x00ff, 1),
            _ => ((tag & 0x7f) | 0x80 | (tag >> 7) << 8, 0xffff, 2),
        };
        Some(Quick {
            tag,
            mask,
            tag_bytes,
            value,
            item_cells,
        })
    }

    /// Whether the field's tag is next.
    #[inline(always)]
    fn is_next(&self, wire: &Wire<'_>) -> bool {
        wire.peek()
            .is_some_and(|bytes| bytes & self.mask == self.tag)
    }
}

impl Run {
    /// Reads `field` and appends it to `column`, if it is what comes next and has not come yet; else reads nothing and says so.
    #[inline(always)]
    pub(super) fn in_turn(
        &mut self,
        field: &Field,
        wire: &mut Wire<'_>,
        column: &mut Column,
        filled: &mut Filled,
    ) -> Outcome<bool> {
        let Some(quick) = &field.quick else {
            return Ok(false);
        };
        if !quick.is_next(wire) {
            return Ok(false);
        }
        let outcome = match quick.item_cells {
            Some(cells) => self.in_turn_items((quick, cells), field, wire, column),
            None if filled.has(field.column, column) => return Ok(false),
            None => {
                filled.add(field.column);
                wire.skip(quick.tag_bytes);
                self.in_turn_value(quick.value, field, wire, column)
            }
        };
        match outcome {
            Ok(()) => Ok(true),
            Err(fault) => Err(fault.in_field(&field.name)),
        }
    }

    #[inline(always)]
    fn in_turn_value(
        &mut self,
        value: Value,
        field: &Field,
        wire: &mut Wire<'_>,
        column: &mut Column,
    ) -> Outcome {
        match (value, &mut column.data) {
            (Value::Text, Data::Text(column)) => return column.push_text(wire.delimited()?),
            (Value::Long, Data::Long(column)) => column.push(wire.varint()?.cast_signed()),
            (Value::Double, Data::Double(column)) => column.push(f64::from_bits(wire.fixed64()?)),
            (Value::Int, Data::Int(column)) => column.push(int32(wire.varint()?)?),
            (Value::Boolean, Data::Boolean(column)) => column.push(wire.varint()? != 0),
            (Value::Timestamp | Value::Message, _) => {
                let bytes = wire.delimited()?;
                return self.in_turn_bytes(value, field, bytes, column);
            }
            // A wider column than the value's own.
            (_, _) => {
                let Some(step) = field.step() else {
                    return Err(uneven());
                };
                return self.wider(step, wire, column);
            }
        }
        Ok(())
    }

    /// All items that follow one another.
    fn in_turn_items(
        &mut self,
        (quick, cells): (&Quick, u64),
        field: &Field,
        wire: &mut Wire<'_>,
        column: &mut Column,
    ) -> Outcome {
        let Data::List(list) = &mut column.data else {
            return Err(uneven());
        };
        while quick.is_next(wire) {
            wire.skip(quick.tag_bytes);
            let bytes = wire.delimited()?;
            self.spend(cells)?;
            let index = list.item.len() - list.start();
            self.in_turn_bytes(quick.value, field, bytes, &mut list.item)
                .map_err(|fault| fault.at_index(index))?;
        }
        Ok(())
    }

    #[inline(always)]
    fn in_turn_bytes(
        &mut self,
        value: Value,
        field: &Field,
        bytes: &[u8],
        column: &mut Column,
    ) -> Outcome {
        match (value, &mut column.data, &field.shape) {
            (Value::Text, Data::Text(column), _) => column.push_text(bytes),
            (Value::Timestamp, Data::Long(column), _) => {
                column.push(timestamp(bytes)?);
                Ok(())
            }
            (
                Value::Message,
                Data::Struct(column),
                Shape::Optional(Step::Message(message))
                | Shape::Implicit(Step::Message(message))
                | Shape::Required(Step::Message(message))
                | Shape::Repeated(Step::Message(message), _),
            ) => {
                let row = column.len();
                self.message(message, bytes, &mut column.members, row)?;
                column.end();
                Ok(())
            }
            (_, _, _) => Err(uneven()),
        }
    }
}
