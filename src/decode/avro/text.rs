//! Recursive Avro records as JSON text. Text for people and JSON functions: bytes are base64, decimals and times are strings, a value of a
//! union of several types is an object with its type's name, as its struct column would be.

use std::sync::Arc;

use super::compile::Decimal;
use super::cursor::{Cursor, Items};
use super::run::{micros, no_branch, symbol};
use super::schema::{FixedKind, Named, NamedKind, Node, Schema, Unit};
use super::{decimal, schema};
use crate::config::settings::{LocalTimestamps, Nanos};
use crate::decode::json_text::JsonText;
use crate::decode::reject::{Code, Fault, Outcome};
use crate::decode::time;
use crate::decode::types::avro::{Union, union};

/// How deep a recursive value may nest.
const DEPTH_MAX: usize = 128;

/// How long the text of one value may become.
const TEXT_BYTES_MAX: usize = 64 << 20;

/// Appends the record of the named type at `place` to `out`.
pub(super) fn write(
    schema: &Arc<Schema>,
    place: usize,
    cursor: &mut Cursor<'_>,
    out: &mut Vec<u8>,
) -> Outcome {
    let mut writer = Writer {
        schema,
        cursor,
        out: JsonText::new(out),
        depth: 0,
    };
    writer.value(&Node::Named(place))
}

struct Writer<'a, 'b, 'c> {
    schema: &'a Schema,
    cursor: &'b mut Cursor<'c>,
    out: JsonText<'b>,
    depth: usize,
}

impl Writer<'_, '_, '_> {
    fn value(&mut self, node: &Node) -> Outcome {
        if self.depth >= DEPTH_MAX {
            return Err(Fault::new(
                Code::Depth,
                format!("a recursive value nests deeper than {DEPTH_MAX}"),
            ));
        }
        if self.out.len() > TEXT_BYTES_MAX {
            return Err(Fault::new(
                Code::TooLarge,
                format!("the JSON text of a recursive value passes {TEXT_BYTES_MAX} bytes"),
            ));
        }
        self.depth += 1;
        self.bounded_value(node)?;
        self.depth -= 1;
        Ok(())
    }

    fn bounded_value(&mut self, node: &Node) -> Outcome {
        match node {
            Node::Null => self.out.raw("null"),
            Node::Boolean => {
                let value = self.cursor.boolean()?;
                self.out.raw(if value { "true" } else { "false" });
            }
            Node::Int => {
                let value = self.cursor.int()?;
                self.out.raw(&value.to_string());
            }
            Node::TimeMillis => {
                let value = i64::from(self.cursor.int()?) * 1000;
                self.out.raw(&value.to_string());
            }
            Node::Long | Node::TimeMicros => {
                let value = self.cursor.long()?;
                self.out.raw(&value.to_string());
            }
            Node::Float => {
                let value = self.cursor.float()?;
                self.out.number(value.is_finite(), &value.to_string());
            }
            Node::Double => {
                let value = self.cursor.double()?;
                self.out.number(value.is_finite(), &value.to_string());
            }
            Node::Bytes => {
                let bytes = self.cursor.bytes()?;
                self.out.base64(bytes);
            }
            Node::String | Node::Uuid => {
                let text = self.cursor.text()?;
                self.out.string(&String::from_utf8_lossy(text));
            }
            Node::Decimal(precision, scale) => {
                let bytes = self.cursor.bytes()?;
                self.decimal(bytes, *precision, *scale)?;
            }
            Node::Date => {
                let days = self.cursor.int()?;
                self.out.string(&time::format_date(days));
            }
            Node::TimestampMillis => {
                let value = micros(self.cursor.long()?)?;
                self.out.string(&time::format_timestamp(value));
            }
            Node::TimestampMicros => {
                let value = self.cursor.long()?;
                self.out.string(&time::format_timestamp(value));
            }
            Node::TimestampNanos => self.time(Unit::Nanos, LocalTimestamps::Utc)?,
            Node::LocalTimestamp(unit) => self.time(*unit, self.schema.timestamps.local)?,
            Node::Array(item) => self.array(item)?,
            Node::Map(value) => self.map(value)?,
            Node::Union(branches) => self.union(branches)?,
            Node::Named(place) => self.named(*place)?,
        }
        Ok(())
    }

    /// A time that becomes text only where the settings say what it means.
    fn time(&mut self, unit: Unit, zone: LocalTimestamps) -> Outcome {
        let timestamps = self.schema.timestamps;
        if zone == LocalTimestamps::Refused
            || (unit == Unit::Nanos && timestamps.nanos == Nanos::Refused)
        {
            let message = "a recursive value holds a timestamp that is refused (value.allow_lossy, value.local_timestamps)";
            return Err(Fault::new(Code::UnusableSchema, message));
        }
        let value = self.cursor.long()?;
        let value = match unit {
            Unit::Millis => micros(value)?,
            Unit::Micros => value,
            Unit::Nanos => value.div_euclid(1000),
        };
        let text = time::format_timestamp(value);
        self.out.string(match zone {
            LocalTimestamps::Ntz => text.trim_end_matches('Z'),
            LocalTimestamps::Utc | LocalTimestamps::Refused => &text,
        });
        Ok(())
    }

    fn array(&mut self, item: &Node) -> Outcome {
        self.out.raw("[");
        let mut index = 0;
        let items = Items {
            bytes_min: self.schema.bytes_min(item),
            cells: 1,
        };
        loop {
            let block = self.cursor.block(items)?;
            for _ in 0..block.count {
                self.out.separate(index);
                self.value(item).map_err(|fault| fault.at_index(index))?;
                index += 1;
            }
            if block.count == 0 {
                self.out.raw("]");
                return Ok(());
            }
            self.cursor.end_block(block)?;
        }
    }

    fn map(&mut self, value: &Node) -> Outcome {
        self.out.raw("{");
        let mut index = 0;
        let mut seen = std::collections::HashSet::new();
        loop {
            let block = self.cursor.block(Items {
                bytes_min: 1,
                cells: 1,
            })?;
            for _ in 0..block.count {
                self.out.separate(index);
                let key = self.cursor.text()?;
                if !seen.insert(key) {
                    return Err(
                        Fault::new(Code::DuplicateField, "a map has one key twice").at_key(key)
                    );
                }
                self.out.string(&String::from_utf8_lossy(key));
                self.out.raw(":");
                self.value(value).map_err(|fault| fault.at_key(key))?;
                index += 1;
            }
            if block.count == 0 {
                self.out.raw("}");
                return Ok(());
            }
            self.cursor.end_block(block)?;
        }
    }

    fn union(&mut self, branches: &[Node]) -> Outcome {
        let index = self.cursor.long()?;
        let Some(branch) = usize::try_from(index)
            .ok()
            .and_then(|index| branches.get(index))
        else {
            return Err(no_branch(index, branches.len()));
        };
        let Union::Members(members) = union(self.schema, branches) else {
            return self.value(branch);
        };
        let Some((name, _)) = members.iter().find(|(_, node)| *node == branch) else {
            self.out.raw("null");
            return Ok(());
        };
        self.out.raw("{");
        self.out.string(name);
        self.out.raw(":");
        self.value(branch)?;
        self.out.raw("}");
        Ok(())
    }

    fn named(&mut self, place: usize) -> Outcome {
        let schema = self.schema;
        let Some(named) = schema.named(place) else {
            return Err(Fault::new(
                Code::UnusableSchema,
                "the writer schema names a type that it does not hold",
            ));
        };
        let Named { kind, .. } = named;
        match kind {
            NamedKind::Enum(symbols) => {
                let symbol = symbol(symbols, self.cursor.long()?)?;
                self.out.string(symbol);
            }
            NamedKind::Fixed(size, fixed) => {
                let bytes = self.cursor.fixed(*size)?;
                self.fixed(bytes, *fixed)?;
            }
            NamedKind::Record(members) if members.is_empty() => self.out.raw("true"),
            NamedKind::Record(members) => self.record(members)?,
        }
        Ok(())
    }

    fn record(&mut self, members: &[schema::Field]) -> Outcome {
        self.out.raw("{");
        for (index, member) in members.iter().enumerate() {
            self.out.separate(index);
            self.out.string(&member.name);
            self.out.raw(":");
            self.value(&member.node)
                .map_err(|fault| fault.in_field(&member.name))?;
        }
        self.out.raw("}");
        Ok(())
    }

    fn fixed(&mut self, bytes: &[u8], kind: FixedKind) -> Outcome {
        match kind {
            FixedKind::Plain => self.out.base64(bytes),
            FixedKind::Decimal(precision, scale) => self.decimal(bytes, precision, scale)?,
            FixedKind::Uuid => {
                let text = uuid::Uuid::from_slice(bytes)
                    .map(|uuid| uuid.to_string())
                    .unwrap_or_default();
                self.out.string(&text);
            }
            FixedKind::Duration => {
                let mut parts = bytes.chunks_exact(4).map(|part| {
                    part.iter()
                        .rev()
                        .fold(0u32, |value, byte| (value << 8) | u32::from(*byte))
                });
                let mut next = || parts.next().unwrap_or(0);
                let text = format!(
                    "{{\"months\":{},\"days\":{},\"millis\":{}}}",
                    next(),
                    next(),
                    next()
                );
                self.out.raw(&text);
            }
        }
        Ok(())
    }

    fn decimal(&mut self, bytes: &[u8], precision: u32, scale: u32) -> Outcome {
        let to_precision = u8::try_from(precision).unwrap_or(u8::MAX);
        let value = decimal::decode(
            bytes,
            Decimal {
                size: None,
                scale,
                to_precision,
                to_scale: scale,
            },
        )?;
        self.out.string(&time::format_decimal(value, scale));
        Ok(())
    }
}
