//! Passes over values that no column takes: lengths are followed, nothing is kept. Does not judge what the bytes mean.

use super::cursor::{Cursor, Items};
use super::run::no_branch;
use super::schema::{FixedKind, NamedKind, Node, Schema};
use crate::decode::reject::{Code, Fault, Outcome};

/// How deep a value may nest; a union and a record count as two.
const DEPTH_MAX: usize = 512;

/// Whether a value that was passed over was null.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Passed {
    Null,
    Value,
}

/// Passes over one value.
pub(super) fn value(schema: &Schema, node: &Node, cursor: &mut Cursor<'_>) -> Outcome<Passed> {
    within(schema, node, cursor, 0)
}

fn within(schema: &Schema, node: &Node, cursor: &mut Cursor<'_>, depth: usize) -> Outcome<Passed> {
    if depth >= DEPTH_MAX {
        let message = format!("a value nests deeper than {DEPTH_MAX}");
        return Err(Fault::new(Code::Depth, message));
    }
    match node {
        Node::Null => return Ok(Passed::Null),
        Node::Boolean => {
            cursor.fixed(1)?;
        }
        Node::Float => {
            cursor.fixed(4)?;
        }
        Node::Double => {
            cursor.fixed(8)?;
        }
        Node::Int
        | Node::Long
        | Node::Date
        | Node::TimeMillis
        | Node::TimeMicros
        | Node::TimestampMillis
        | Node::TimestampMicros
        | Node::TimestampNanos
        | Node::LocalTimestamp(_) => {
            cursor.long()?;
        }
        Node::Bytes | Node::String | Node::Uuid | Node::Decimal(..) => {
            cursor.bytes()?;
        }
        Node::Array(item) => blocks(schema, item, 0, cursor, depth)?,
        Node::Map(item) => blocks(schema, item, 1, cursor, depth)?,
        Node::Union(branches) => {
            let index = cursor.long()?;
            let branch = usize::try_from(index).ok();
            let Some(branch) = branch.and_then(|branch| branches.get(branch)) else {
                return Err(no_branch(index, branches.len()));
            };
            return within(schema, branch, cursor, depth + 1);
        }
        Node::Named(place) => named(schema, *place, cursor, depth)?,
    }
    Ok(Passed::Value)
}

/// The items of an array, or the entries of a map, each with so many texts before it.
fn blocks(
    schema: &Schema,
    item: &Node,
    keys: usize,
    cursor: &mut Cursor<'_>,
    depth: usize,
) -> Outcome {
    let items = Items {
        bytes_min: keys + schema.bytes_min(item),
        cells: 1,
    };
    loop {
        let block = cursor.block(items)?;
        if block.count == 0 {
            return Ok(());
        }
        for _ in 0..block.count {
            for _ in 0..keys {
                cursor.bytes()?;
            }
            within(schema, item, cursor, depth + 1)?;
        }
        cursor.end_block(block)?;
    }
}

fn named(schema: &Schema, place: usize, cursor: &mut Cursor<'_>, depth: usize) -> Outcome {
    match schema.named(place).map(|named| &named.kind) {
        Some(NamedKind::Enum(_)) => {
            cursor.long()?;
        }
        Some(NamedKind::Fixed(size, FixedKind::Plain | FixedKind::Decimal(..))) => {
            cursor.fixed(*size)?;
        }
        Some(NamedKind::Fixed(_, FixedKind::Uuid)) => {
            cursor.fixed(16)?;
        }
        Some(NamedKind::Fixed(_, FixedKind::Duration)) => {
            cursor.fixed(12)?;
        }
        Some(NamedKind::Record(members)) => {
            for member in members {
                within(schema, &member.node, cursor, depth + 1)?;
            }
        }
        None => {
            let message = "the writer schema names a type that it does not hold";
            return Err(Fault::new(Code::UnusableSchema, message));
        }
    }
    Ok(())
}
