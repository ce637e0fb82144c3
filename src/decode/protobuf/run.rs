//! Runs compiled steps: reads a message's fields in whatever order they come and appends to the columns. A fault leaves columns of uneven length, which
//! the caller cuts back.
//!
//! What Protobuf says of fields that come twice: the last value wins, embedded messages are merged, of a oneof only the last member stays, and of a map's
//! equal keys the last. Columns only grow at their end, so a column is cut back for a later value, and the rare merges are read a second time, from the
//! values put one after the other, which by Protobuf's definition is the merged message.

use std::collections::HashMap;

use super::compile::{Entry, Field, Message, Plan, Scalar, Shape, Step};
use super::text;
use super::wire::{self, DELIMITED, GROUP, Wire};
use crate::decode::builder::{Column, Data, Filled, Map, check_utf8};
use crate::decode::reject::{Code, Fault, Outcome, Shown};
use crate::decode::varint;

/// How many values one record may become, so that a small record cannot fill the memory through wide messages.
const CELLS_MAX: u64 = 1 << 24;

/// How many bytes may be read a second time for merges, beside four times the record's own.
const MERGED_BYTES: usize = 1 << 16;

const SECOND_MICROS: i64 = 1_000_000;

/// What a record's reading carries along.
pub(super) struct Run {
    cells_left: u64,
    merged_bytes_left: usize,
}

/// Appends one record, all of `bytes`, to the columns, which hold `row` rows; gives the number of values that its items became.
pub(crate) fn run(plan: &Plan, bytes: &[u8], columns: &mut [Column], row: usize) -> Outcome<u64> {
    let mut run = Run {
        cells_left: CELLS_MAX,
        merged_bytes_left: bytes.len().saturating_mul(4).saturating_add(MERGED_BYTES),
    };
    match (plan, columns) {
        (Plan::Record(message), columns) => run.message(message, bytes, columns, row)?,
        (Plan::Single(step), [column]) => run.value(step, wire::Field::Bytes(bytes), column)?,
        (Plan::Single(_), _) => return Err(uneven()),
    }
    Ok(CELLS_MAX - run.cells_left)
}

impl Run {
    /// Reads a message into sibling columns that hold `row` values.
    pub(super) fn message(
        &mut self,
        message: &Message,
        bytes: &[u8],
        columns: &mut [Column],
        row: usize,
    ) -> Outcome {
        let mut wire = Wire::new(bytes);
        let (mut next, mut merges) = (0, Vec::<usize>::new());
        let mut filled = Filled::none_of(columns, row);
        while !wire.is_empty() {
            let expected = message.fields.get(next);
            if let Some(field) = expected
                && let Some(column) = columns.get_mut(field.column)
                && self.in_turn(field, &mut wire, column, &mut filled)?
            {
                next += 1;
                continue;
            }
            let tag = wire.tag()?;
            let Some((place, field)) = message.look_up(tag.number, next) else {
                wire.field(tag)?;
                continue;
            };
            next = place + 1;
            if let Shape::Left | Shape::Nulled = field.shape {
                pass((message, field), (&mut wire, tag), columns, &mut filled)?;
                continue;
            }
            let Some(column) = columns.get_mut(field.column) else {
                return Err(uneven());
            };
            let outcome = match &field.shape {
                Shape::Optional(step) | Shape::Implicit(step) | Shape::Required(step) => {
                    let value = wire
                        .field(tag)
                        .map_err(|fault| fault.in_field(&field.name))?;
                    if !step.takes(tag.kind) {
                        continue;
                    }
                    if filled.has(field.column, column) {
                        if step.merges() {
                            if !merges.contains(&place) {
                                merges.push(place);
                            }
                            continue;
                        }
                        column.truncate(row);
                    }
                    filled.add(field.column);
                    self.value(step, value, column)
                }
                Shape::Repeated(step, cells) => {
                    next = place;
                    self.items((step, *cells), tag, &mut wire, column)
                }
                Shape::Map(entry) => {
                    next = place;
                    self.entry_of(entry, tag, &mut wire, column)
                }
                Shape::Left | Shape::Nulled => Ok(()),
                Shape::Unplaced(message) => {
                    Err(Fault::incompatible(Code::UnknownField, message.clone()))
                }
            };
            outcome.map_err(|fault| fault.in_field(&field.name))?;
            if let Some(oneof) = field.oneof.and_then(|oneof| message.oneofs.get(oneof)) {
                forget_others(oneof, field.column, columns, &mut filled);
            }
        }
        if !merges.is_empty() {
            let merged = self.gather(message, &merges, bytes)?;
            self.merge(message, merged, columns, row)?;
        }
        self.end(message, bytes, columns, &filled)
    }

    /// Completes the row: what did not come, and what can come several times.
    fn end(
        &mut self,
        message: &Message,
        bytes: &[u8],
        columns: &mut [Column],
        filled: &Filled,
    ) -> Outcome {
        for field in &message.fields {
            let Some(column) = columns.get_mut(field.column) else {
                return Err(uneven());
            };
            let outcome = match &field.shape {
                Shape::Repeated(..) => end_list(column),
                Shape::Map(entry) => {
                    self.end_map((entry.as_ref(), field.number), bytes, column, filled.row())
                }
                Shape::Optional(_) | Shape::Implicit(_) | Shape::Required(_)
                    if filled.has(field.column, column) =>
                {
                    Ok(())
                }
                Shape::Optional(_) | Shape::Nulled => column.push_null(),
                Shape::Implicit(step) => default(step, column),
                Shape::Unplaced(_) | Shape::Left => Ok(()),
                Shape::Required(_) => Err(Fault::new(
                    Code::MissingField,
                    "a required field is not there",
                )),
            };
            outcome.map_err(|fault| fault.in_field(&field.name))?;
        }
        for place in &message.absent {
            columns.get_mut(*place).ok_or_else(uneven)?.push_null()?;
        }
        Ok(())
    }

    /// Reads again the fields at these places, whose messages came several times.
    #[cold]
    fn merge(
        &mut self,
        message: &Message,
        merged: HashMap<usize, Vec<u8>>,
        columns: &mut [Column],
        row: usize,
    ) -> Outcome {
        for (place, bytes) in merged {
            let Some(field) = message.fields.get(place) else {
                continue;
            };
            let (Some(column), Some(step)) = (columns.get_mut(field.column), field.step()) else {
                return Err(uneven());
            };
            column.truncate(row);
            self.value(step, wire::Field::Bytes(&bytes), column)
                .map_err(|fault| fault.in_field(&field.name))?;
        }
        Ok(())
    }

    /// The values of the fields at these places, one after the other; of a oneof only those since another member came.
    #[cold]
    fn gather(
        &mut self,
        message: &Message,
        places: &[usize],
        bytes: &[u8],
    ) -> Outcome<HashMap<usize, Vec<u8>>> {
        let mut merged: HashMap<usize, Vec<u8>> = HashMap::new();
        let mut wire = Wire::new(bytes);
        while !wire.is_empty() {
            let tag = wire.tag()?;
            let value = wire.field(tag)?;
            let place = message.find(tag.number);
            let known = place.and_then(|place| Some((place, message.fields.get(place)?)));
            let Some((place, field)) = known.filter(|(_, field)| field.takes(tag.kind)) else {
                continue;
            };
            if field.oneof.is_some() {
                let is_other = |other: &usize| {
                    let oneof = message.fields.get(*other).and_then(|other| other.oneof);
                    *other != place && oneof == field.oneof
                };
                merged.retain(|other, _| !is_other(other));
            }
            if let (true, wire::Field::Bytes(value)) = (places.contains(&place), value) {
                self.spend_merged(value.len())?;
                merged.entry(place).or_default().extend_from_slice(value);
            }
        }
        Ok(merged)
    }

    fn spend_merged(&mut self, bytes: usize) -> Outcome {
        match self.merged_bytes_left.checked_sub(bytes) {
            Some(left) => {
                self.merged_bytes_left = left;
                Ok(())
            }
            None => Err(Fault::new(
                Code::TooLarge,
                "messages inside of one another come several times, too often to merge them",
            )),
        }
    }

    pub(super) fn spend(&mut self, cells: u64) -> Outcome {
        match self.cells_left.checked_sub(cells) {
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

    /// One item of a repeated field, or several in one value.
    fn items(
        &mut self,
        (step, cells): (&Step, u64),
        tag: wire::Tag,
        wire: &mut Wire<'_>,
        column: &mut Column,
    ) -> Outcome {
        let value = wire.field(tag)?;
        let Data::List(list) = &mut column.data else {
            return Err(uneven());
        };
        if step.takes(tag.kind) {
            self.spend(cells)?;
            let index = list.item.len() - list.start();
            return self
                .value(step, value, &mut list.item)
                .map_err(|fault| fault.at_index(index));
        }
        let wire::Field::Bytes(packed) = value else {
            return Ok(());
        };
        if tag.kind != DELIMITED || !step.packs() {
            return Ok(());
        }
        let mut packed = Wire::new(packed);
        let tag = wire::Tag {
            number: tag.number,
            kind: step.packed_wire(),
        };
        while !packed.is_empty() {
            self.spend(cells)?;
            let index = list.item.len() - list.start();
            let item = packed.field(tag).and_then(|value| {
                let item = &mut list.item;
                self.value(step, value, item)
            });
            item.map_err(|fault| fault.at_index(index))?;
        }
        Ok(())
    }

    fn entry_of(
        &mut self,
        entry: &Entry,
        tag: wire::Tag,
        wire: &mut Wire<'_>,
        column: &mut Column,
    ) -> Outcome {
        let value = wire.field(tag)?;
        let Data::Map(map) = &mut column.data else {
            return Err(uneven());
        };
        match (value, tag.kind) {
            (wire::Field::Bytes(bytes), DELIMITED | GROUP) => self.entry(entry, bytes, map),
            (_, _) => Ok(()),
        }
    }

    /// Appends an entry of a map; a part that is not there is its type's default.
    fn entry(&mut self, entry: &Entry, bytes: &[u8], map: &mut Map) -> Outcome {
        self.spend(entry.cells)?;
        let (key, value) = parts(entry, bytes)?;
        let key = key_text(entry.key, key)?;
        map.keys.push(key.as_bytes())?;
        let outcome = match value {
            None if entry.value.merges() || matches!(entry.value, Step::Empty) => {
                self.value(&entry.value, wire::Field::Bytes(&[]), &mut map.values)
            }
            None => default(&entry.value, &mut map.values),
            Some(Part::One(value)) => self.value(&entry.value, value, &mut map.values),
            Some(Part::Merged(bytes)) => {
                self.spend_merged(bytes.len())?;
                self.value(&entry.value, wire::Field::Bytes(&bytes), &mut map.values)
            }
        };
        outcome.map_err(|fault| fault.at_key(key.as_bytes()))
    }

    /// Completes a map; one whose keys are not unique is read again, because the last entry of a key wins.
    fn end_map(
        &mut self,
        (entry, number): (&Entry, u32),
        bytes: &[u8],
        column: &mut Column,
        row: usize,
    ) -> Outcome {
        let Data::Map(map) = &mut column.data else {
            return Err(uneven());
        };
        match map.end() {
            Err(fault) if fault.code == Code::DuplicateField => {}
            outcome => return outcome,
        }
        column.truncate(row);
        let Data::Map(map) = &mut column.data else {
            return Err(uneven());
        };
        self.last_entries(entry, number, bytes, map)
    }

    #[cold]
    fn last_entries(&mut self, entry: &Entry, number: u32, bytes: &[u8], map: &mut Map) -> Outcome {
        let mut last: Vec<&[u8]> = Vec::new();
        let mut places: HashMap<String, usize> = HashMap::new();
        let mut wire = Wire::new(bytes);
        while !wire.is_empty() {
            let tag = wire.tag()?;
            let value = wire.field(tag)?;
            let (wire::Field::Bytes(bytes), true) = (value, tag.number == number) else {
                continue;
            };
            if !matches!(tag.kind, DELIMITED | GROUP) {
                continue;
            }
            let (key, _) = parts(entry, bytes)?;
            let place = *places
                .entry(key_text(entry.key, key)?)
                .or_insert(last.len());
            match last.get_mut(place) {
                Some(earlier) => *earlier = bytes,
                None => last.push(bytes),
            }
        }
        for bytes in last {
            self.entry(entry, bytes, map)?;
        }
        map.end()
    }

    /// The types that most values have, inlined where values are walked over; all others are a call away.
    #[inline(always)]
    fn value(&mut self, step: &Step, value: wire::Field<'_>, column: &mut Column) -> Outcome {
        match (step, value, &mut column.data) {
            (Step::Scalar(Scalar::Text), wire::Field::Bytes(bytes), Data::Text(column)) => {
                column.push_text(bytes)
            }
            (Step::Scalar(Scalar::Int64), wire::Field::Varint(value), Data::Long(column)) => {
                column.push(value.cast_signed());
                Ok(())
            }
            (Step::Scalar(Scalar::Double), wire::Field::Fixed64(bits), Data::Double(column)) => {
                column.push(f64::from_bits(bits));
                Ok(())
            }
            (Step::Enum(symbols), wire::Field::Varint(value), Data::Text(column)) => {
                // Enum numbers are 32-bit; the high half is sign extension.
                let number = u32::try_from(value & u64::from(u32::MAX))
                    .unwrap_or(0)
                    .cast_signed();
                match symbols.0.get(&number) {
                    Some(symbol) => column.push(symbol.as_bytes()),
                    None => Err(Fault::new(
                        Code::EnumIndex,
                        format!("the enum has no value of the number {number}"),
                    )),
                }
            }
            (_, _, _) => self.rare_value(step, value, column),
        }
    }

    /// A plain value for a column that is wider than its own type.
    #[inline(never)]
    pub(super) fn wider(
        &mut self,
        step: &Step,
        wire: &mut Wire<'_>,
        column: &mut Column,
    ) -> Outcome {
        let tag = wire::Tag {
            number: 0,
            kind: step.packed_wire(),
        };
        let value = wire.field(tag)?;
        self.rare_value(step, value, column)
    }

    #[inline(never)]
    fn rare_value(&mut self, step: &Step, value: wire::Field<'_>, column: &mut Column) -> Outcome {
        let bytes = match (step, value) {
            (Step::Refuse(message), _) => {
                return Err(Fault::incompatible(Code::TypeMismatch, message.clone()));
            }
            (Step::Scalar(kind), value) => return scalar(*kind, value, column),
            (Step::Masked(inner, masked), value) => {
                return masked.append(column, |scratch| self.value(inner, value, scratch));
            }
            (Step::Redacted(stand), _) => return stand.push(column),
            (_, wire::Field::Bytes(bytes)) => bytes,
            (_, _) => return Err(uneven()),
        };
        match (step, &mut column.data) {
            (Step::Message(message), Data::Struct(column)) => {
                let row = column.len();
                self.message(message, bytes, &mut column.members, row)?;
                column.end();
            }
            (Step::Timestamp, Data::Long(column)) => column.push(timestamp(bytes)?),
            (Step::Duration, Data::Long(column)) => column.push(duration(bytes)?),
            (Step::Wrapper(kind), _) => return wrapper(*kind, bytes, column),
            (Step::Empty, Data::Boolean(column)) => column.push(true),
            (Step::Json(message), Data::Text(column)) => {
                text::write(message, bytes, column.open())?;
                column.end()?;
            }
            (_, _) => return Err(uneven()),
        }
        Ok(())
    }
}

impl Field {
    /// Whether the field takes a value of this kind on the wire.
    fn takes(&self, kind: u8) -> bool {
        matches!(self.shape, Shape::Nulled | Shape::Left)
            || self.step().is_some_and(|step| step.takes(kind))
    }

    /// The step of a field that comes once.
    pub(super) fn step(&self) -> Option<&Step> {
        match &self.shape {
            Shape::Optional(step) | Shape::Implicit(step) | Shape::Required(step) => Some(step),
            Shape::Repeated(..)
            | Shape::Map(_)
            | Shape::Nulled
            | Shape::Left
            | Shape::Unplaced(_) => None,
        }
    }
}

fn end_list(column: &mut Column) -> Outcome {
    let Data::List(list) = &mut column.data else {
        return Err(uneven());
    };
    list.end()
}

/// Passes over a field that no column takes; as a member of a oneof it ends the others all the same.
fn pass(
    (message, field): (&Message, &Field),
    (wire, tag): (&mut Wire<'_>, wire::Tag),
    columns: &mut [Column],
    filled: &mut Filled,
) -> Outcome {
    wire.field(tag)
        .map_err(|fault| fault.in_field(&field.name))?;
    if let Some(oneof) = field.oneof.and_then(|oneof| message.oneofs.get(oneof)) {
        forget_all(oneof, columns, filled);
    }
    Ok(())
}

/// Cuts back the other members of a oneof.
fn forget_others(places: &[usize], kept: usize, columns: &mut [Column], filled: &mut Filled) {
    for place in places.iter().filter(|place| **place != kept) {
        if let Some(column) = columns.get_mut(*place)
            && filled.has(*place, column)
        {
            column.truncate(filled.row());
            filled.remove(*place);
        }
    }
}

/// Cuts back every member of a oneof.
fn forget_all(places: &[usize], columns: &mut [Column], filled: &mut Filled) {
    for place in places {
        if let Some(column) = columns.get_mut(*place)
            && filled.has(*place, column)
        {
            column.truncate(filled.row());
            filled.remove(*place);
        }
    }
}

/// A map's value: one, or the bytes of several of one message.
enum Part<'a> {
    One(wire::Field<'a>),
    Merged(Vec<u8>),
}

fn parts<'a>(
    entry: &Entry,
    bytes: &'a [u8],
) -> Outcome<(Option<wire::Field<'a>>, Option<Part<'a>>)> {
    let (mut key, mut value) = (None, None);
    let mut wire = Wire::new(bytes);
    while !wire.is_empty() {
        let tag = wire.tag()?;
        let field = wire.field(tag)?;
        match tag.number {
            1 if tag.kind == entry.key.wire() => key = Some(field),
            2 if entry.value.takes(tag.kind) => {
                value = Some(match (value, field) {
                    (Some(Part::One(wire::Field::Bytes(first))), wire::Field::Bytes(second))
                        if entry.value.merges() =>
                    {
                        Part::Merged([first, second].concat())
                    }
                    (Some(Part::Merged(mut merged)), wire::Field::Bytes(next)) => {
                        merged.extend_from_slice(next);
                        Part::Merged(merged)
                    }
                    (_, field) => Part::One(field),
                });
            }
            _ => {}
        }
    }
    Ok((key, value))
}

/// A map's key as text.
fn key_text(kind: Scalar, key: Option<wire::Field<'_>>) -> Outcome<String> {
    let Some(key) = key else {
        let text = if kind == Scalar::Bool { "false" } else { "0" };
        return Ok(if kind == Scalar::Text { "" } else { text }.to_owned());
    };
    match (kind, key) {
        (Scalar::Text, wire::Field::Bytes(bytes)) => {
            check_utf8(bytes)?;
            Ok(String::from_utf8_lossy(bytes).into_owned())
        }
        (Scalar::Bool, wire::Field::Varint(value)) => Ok((value != 0).to_string()),
        (Scalar::Uint64, wire::Field::Varint(value))
        | (Scalar::Fixed64, wire::Field::Fixed64(value)) => Ok(value.to_string()),
        (kind, value) => integer(kind, value).map(|value| value.to_string()),
    }
}

fn scalar(kind: Scalar, value: wire::Field<'_>, column: &mut Column) -> Outcome {
    match (kind, value, &mut column.data) {
        (Scalar::Bool, wire::Field::Varint(value), Data::Boolean(column)) => {
            column.push(value != 0);
        }
        (Scalar::Float, wire::Field::Fixed32(bits), Data::Float(column)) => {
            column.push(f32::from_bits(bits));
        }
        (Scalar::Float, wire::Field::Fixed32(bits), Data::Double(column)) => {
            column.push(f64::from(f32::from_bits(bits)));
        }
        (Scalar::Double, wire::Field::Fixed64(bits), Data::Double(column)) => {
            column.push(f64::from_bits(bits));
        }
        (Scalar::Text, wire::Field::Bytes(bytes), Data::Text(column)) => {
            column.push_text(bytes)?;
        }
        (Scalar::Bytes, wire::Field::Bytes(bytes), Data::Binary(column)) => column.push(bytes)?,
        (Scalar::Uint64, wire::Field::Varint(value), _)
        | (Scalar::Fixed64, wire::Field::Fixed64(value), _) => {
            return whole(i128::from(value), column);
        }
        (kind, value, _) => return whole(i128::from(integer(kind, value)?), column),
    }
    Ok(())
}

/// A whole number of up to 64 bits with a sign.
fn integer(kind: Scalar, value: wire::Field<'_>) -> Outcome<i64> {
    let (value, bits) = match (kind, value) {
        (Scalar::Int32, wire::Field::Varint(value)) => (i64::from(int32(value)?), 32),
        (Scalar::Sint32, wire::Field::Varint(value)) => (varint::unzigzag(value), 32),
        (Scalar::Sfixed32, wire::Field::Fixed32(value)) => (i64::from(value.cast_signed()), 64),
        (Scalar::Fixed32, wire::Field::Fixed32(value)) => (i64::from(value), 64),
        (Scalar::Uint32, wire::Field::Varint(value)) => match u32::try_from(value) {
            Ok(value) => (i64::from(value), 64),
            Err(_) => return Err(out_of_range(&value.to_string(), "a number of 32 bits")),
        },
        (Scalar::Int64, wire::Field::Varint(value)) => (value.cast_signed(), 64),
        (Scalar::Sint64, wire::Field::Varint(value)) => (varint::unzigzag(value), 64),
        (Scalar::Sfixed64, wire::Field::Fixed64(value)) => (value.cast_signed(), 64),
        (_, _) => return Err(uneven()),
    };
    if bits == 32 && i32::try_from(value).is_err() {
        return Err(out_of_range(&value.to_string(), "a number of 32 bits"));
    }
    Ok(value)
}

/// A number of 32 bits with a sign.
#[inline(always)]
pub(super) fn int32(value: u64) -> Outcome<i32> {
    let value = value.cast_signed();
    i32::try_from(value).map_err(|_| out_of_range(&value.to_string(), "a number of 32 bits"))
}

/// Appends a whole number to a column of whole numbers, if it fits.
fn whole(value: i128, column: &mut Column) -> Outcome {
    let what = match (&mut column.data, i32::try_from(value), i64::try_from(value)) {
        (Data::Int(column), Ok(value), _) => {
            column.push(value);
            return Ok(());
        }
        (Data::Long(column), _, Ok(value)) => {
            column.push(value);
            return Ok(());
        }
        // Twenty digits hold every number of 64 bits.
        (Data::Decimal(column), _, _) => {
            column.push(value);
            return Ok(());
        }
        (Data::Int(_), _, _) => "an integer column",
        (Data::Long(_), _, _) => "a long column",
        (_, _, _) => return Err(uneven()),
    };
    Err(out_of_range(&value.to_string(), what))
}

/// The value of a field without presence that is not there.
fn default(step: &Step, column: &mut Column) -> Outcome {
    match (step, &mut column.data) {
        (Step::Scalar(_), Data::Boolean(column)) => column.push(false),
        (Step::Scalar(_), Data::Int(column)) => column.push(0),
        (Step::Scalar(_), Data::Long(column)) => column.push(0),
        (Step::Scalar(_), Data::Float(column)) => column.push(0.0),
        (Step::Scalar(_), Data::Double(column)) => column.push(0.0),
        (Step::Scalar(_), Data::Decimal(column)) => column.push(0),
        (Step::Scalar(_), Data::Text(column) | Data::Binary(column)) => column.push(b"")?,
        (Step::Enum(symbols), Data::Text(column)) => match symbols.0.get(&0) {
            Some(symbol) => column.push(symbol.as_bytes())?,
            None => {
                return Err(Fault::new(
                    Code::EnumIndex,
                    "the field is not there, and its enum has no value of the number 0",
                ));
            }
        },
        (Step::Masked(inner, masked), _) => {
            return masked.append(column, |scratch| default(inner, scratch));
        }
        (Step::Redacted(stand), _) => return stand.push(column),
        (Step::Refuse(message), _) => {
            return Err(Fault::incompatible(Code::TypeMismatch, message.clone()));
        }
        (_, _) => return Err(uneven()),
    }
    Ok(())
}

/// The value of field 1, or its default.
fn wrapper(kind: Scalar, bytes: &[u8], column: &mut Column) -> Outcome {
    let mut wire = Wire::new(bytes);
    let mut last = None;
    while !wire.is_empty() {
        let tag = wire.tag()?;
        let value = wire.field(tag)?;
        if tag.number == 1 && tag.kind == kind.wire() {
            last = Some(value);
        }
    }
    match last {
        Some(value) => scalar(kind, value, column),
        None => default(&Step::Scalar(kind), column),
    }
}

/// Seconds and nanoseconds of a Timestamp or Duration.
fn seconds_and_nanos(bytes: &[u8]) -> Outcome<(i64, i64)> {
    let (mut seconds, mut nanos) = (0, 0);
    let mut wire = Wire::new(bytes);
    while !wire.is_empty() {
        let tag = wire.tag()?;
        match (tag.number, wire.field(tag)?) {
            (1, wire::Field::Varint(value)) => seconds = value.cast_signed(),
            (2, wire::Field::Varint(value)) => {
                nanos = integer(Scalar::Int32, wire::Field::Varint(value))?
            }
            (_, _) => {}
        }
    }
    Ok((seconds, nanos))
}

pub(super) fn timestamp(bytes: &[u8]) -> Outcome<i64> {
    let (seconds, nanos) = seconds_and_nanos(bytes)?;
    let bad = || {
        let message = format!(
            "a Timestamp of {seconds} seconds and {nanos} nanoseconds is no point in time of whole microseconds"
        );
        Fault::new(Code::InvalidTimestamp, message)
    };
    if !(0..1_000_000_000).contains(&nanos) || nanos % 1000 != 0 {
        return Err(bad());
    }
    micros(seconds, nanos).ok_or_else(bad)
}

fn duration(bytes: &[u8]) -> Outcome<i64> {
    let (seconds, nanos) = seconds_and_nanos(bytes)?;
    let bad = || {
        let message = format!(
            "a Duration of {seconds} seconds and {nanos} nanoseconds does not fit whole microseconds"
        );
        Fault::new(Code::OutOfRange, message)
    };
    let is_mixed = (seconds > 0 && nanos < 0) || (seconds < 0 && nanos > 0);
    if is_mixed || nanos.abs() >= 1_000_000_000 || nanos % 1000 != 0 {
        return Err(bad());
    }
    micros(seconds, nanos).ok_or_else(bad)
}

fn micros(seconds: i64, nanos: i64) -> Option<i64> {
    seconds
        .checked_mul(SECOND_MICROS)?
        .checked_add(nanos / 1000)
}

#[cold]
fn out_of_range(value: &str, what: &str) -> Box<Fault> {
    let message = format!("{} does not fit {what}", Shown(value.as_bytes()));
    Fault::new(Code::OutOfRange, message)
}

/// Steps and columns are compiled from the same target, so this is a bug of ours; it rejects the record rather than the process.
#[cold]
pub(super) fn uneven() -> Box<Fault> {
    Fault::new(
        Code::TypeMismatch,
        "the compiled steps do not fit the columns (a bug of Lakeward)",
    )
}
