//! Runs compiled steps: reads a record's JSON and appends to the columns. A fault leaves columns of uneven length, which the caller cuts back.

use std::borrow::Cow;
use std::cell::Cell;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

use super::compile::{Field, Object, Plan, Root, Step};
use super::number::{self, Inexact, Short};
use super::rescue::Rescues;
use super::scan::{Scanner, Text, unescape};
use crate::config::settings::UnknownFields;
use crate::decode::avro::fits;
use crate::decode::builder::{Bytes, Column, Data, List, Map, Struct};
use crate::decode::reject::{Code, Fault, Outcome, Shown, shorten};
use crate::decode::time;
use crate::decode::types::json::Numbers;

/// How many values one record may become, so that a small record cannot fill the memory through wide objects.
const CELLS_MAX: u64 = 1 << 24;

/// How many fields are expected, one after the other, before a name is looked up.
const CHAIN_MAX: usize = 4;

/// What a record's reading carries along.
#[derive(Debug)]
struct Run<'a> {
    scanner: Scanner<'a>,
    unknown_fields: UnknownFields,
    ignored: u64,
    rescues: Rescues<'a>,
    cells_left: u64,
}

/// What a record that was read has cost.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Done {
    /// Fields without a column that were left out.
    pub(crate) ignored: u64,
    /// Values that the record became.
    pub(crate) cells: u64,
}

/// Appends one record, all of `bytes`, to the columns, which hold `row` rows.
pub(crate) fn run(plan: &Plan, bytes: &[u8], columns: &mut [Column], row: usize) -> Outcome<Done> {
    // Most text is ASCII, for which this is the quicker check.
    if !bytes.is_ascii() {
        std::str::from_utf8(bytes).map_err(|error| {
            Fault::new(
                Code::InvalidUtf8,
                format!("the JSON text is not UTF-8: {error}"),
            )
        })?;
    }
    let mut run = Run {
        scanner: Scanner::new(bytes),
        unknown_fields: plan.unknown_fields,
        ignored: 0,
        rescues: Rescues::default(),
        cells_left: CELLS_MAX,
    };
    match (&plan.root, &mut *columns) {
        (Root::Object(object), columns) => {
            run.begin()?;
            run.members(object, columns, row)?;
        }
        (Root::Single(step), [column]) => run.value(step, column)?,
        (Root::Single(_), _) => return Err(uneven()),
    }
    run.scanner.finish()?;
    if let Some(column) = plan.rescued.and_then(|place| columns.get_mut(place)) {
        run.rescues.write(column)?;
    }
    Ok(Done {
        ignored: run.ignored,
        cells: CELLS_MAX - run.cells_left,
    })
}

impl<'a> Run<'a> {
    /// Refuses what is no object.
    fn begin(&mut self) -> Outcome {
        match self.scanner.peek() {
            Some(b'{') => Ok(()),
            None => Err(Fault::new(
                Code::EmptyPayload,
                "the value is only white space",
            )),
            Some(_) => Err(self.scanner.mismatch("a JSON object")),
        }
    }

    /// Reads an object, whose brace is next, into sibling columns that hold `row` values.
    fn members(&mut self, object: &Object, columns: &mut [Column], row: usize) -> Outcome {
        self.spend(object.cells)?;
        self.scanner.open()?;
        let mut expected = &object.first;
        let mut is_first = true;
        while self.scanner.has_next(b'}', is_first)? {
            is_first = false;
            let Some(field) = self.field(object, expected)? else {
                continue;
            };
            expected = &field.follower;
            if let Step::Left = field.step {
                let passed = self.scanner.any();
                passed.map_err(|fault| fault.in_field(&field.name))?;
                continue;
            }
            let Some(column) = columns.get_mut(field.column) else {
                return Err(uneven());
            };
            if column.len() > row {
                return Err(
                    Fault::new(Code::DuplicateField, "the object has the field twice")
                        .in_field(&field.name),
                );
            }
            let rescued = self.rescues.len();
            if let Err(fault) = self.value(&field.step, column) {
                return Err(fault.in_field(&field.name));
            }
            if self.rescues.len() > rescued {
                self.rescues.under(rescued, &field.name)?;
            }
        }
        self.scanner.close();
        for place in &object.columns {
            let column = columns.get_mut(*place).ok_or_else(uneven)?;
            if column.len() == row {
                column.push_null()?;
            }
        }
        Ok(())
    }

    /// Reads a field's name and colon; a field that nothing takes is dealt with here. `expected` learns what came.
    #[inline]
    fn field<'o>(
        &mut self,
        object: &'o Object,
        expected: &Cell<usize>,
    ) -> Outcome<Option<&'o Field>> {
        self.scanner.peek();
        let mut place = expected.get();
        // Fields that are left out now and then make the chain longer than one.
        for _ in 0..CHAIN_MAX {
            let Some(field) = object.at(place) else {
                break;
            };
            if self.scanner.accept_text(&field.spelled_name) {
                return Ok(Some(field));
            }
            place = field.follower.get();
        }
        let name = self.scanner.name()?;
        let found = object.find(&name);
        match found {
            Some(field) => expected.set(field.place),
            None => self.unknown(&name)?,
        }
        Ok(found)
    }

    #[cold]
    fn unknown(&mut self, name: &[u8]) -> Outcome {
        let name = String::from_utf8_lossy(name);
        match self.unknown_fields {
            UnknownFields::Reject => {
                let message = format!(
                    "no column takes the field {:?} (value.unknown_fields: reject)",
                    shorten(&name)
                );
                Err(Fault::new(Code::UnknownField, message).in_field(&shorten(&name)))
            }
            UnknownFields::Ignore => {
                self.scanner
                    .any()
                    .map_err(|fault| fault.in_field(&shorten(&name)))?;
                self.ignored += 1;
                Ok(())
            }
            UnknownFields::Rescue => {
                let text = self
                    .scanner
                    .any()
                    .map_err(|fault| fault.in_field(&shorten(&name)))?;
                self.spend(1)?;
                self.rescues.push(&name, text)
            }
        }
    }

    fn spend(&mut self, cells: u64) -> Outcome {
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

    fn value(&mut self, step: &Step, column: &mut Column) -> Outcome {
        let Some(first) = self.scanner.peek() else {
            return Err(self.scanner.malformed("a value"));
        };
        if first == b'n' {
            self.scanner.literal("null")?;
            return column.push_null();
        }
        match (step, &mut column.data, first) {
            (Step::Text, Data::Text(column), b'"') => self.text(column),
            (Step::Long, Data::Long(column), b'-' | b'0'..=b'9') => {
                column.push(self.long()?);
                Ok(())
            }
            (Step::Double, Data::Double(column), b'-' | b'0'..=b'9') => {
                column.push(self.double()?);
                Ok(())
            }
            (Step::Struct(object), Data::Struct(column), b'{') => self.object(object, column),
            (Step::Array(item), Data::List(column), b'[') => self.array(item, column),
            (Step::Map(value), Data::Map(column), b'{') => self.map(value, column),
            (Step::Boolean, Data::Boolean(column), b't') => {
                self.scanner.literal("true")?;
                column.push(true);
                Ok(())
            }
            (Step::Boolean, Data::Boolean(column), b'f') => {
                self.scanner.literal("false")?;
                column.push(false);
                Ok(())
            }
            (_, _, _) => self.rare_value(step, column, first),
        }
    }

    fn rare_value(&mut self, step: &Step, column: &mut Column, first: u8) -> Outcome {
        match (step, &mut column.data, first) {
            (Step::Integer, Data::Int(column), b'-' | b'0'..=b'9') => {
                let value = self.long()?;
                column.push(
                    i32::try_from(value).map_err(|_| out_of_range(&value.to_string(), "an int"))?,
                );
            }
            (Step::Float, Data::Float(column), b'-' | b'0'..=b'9') => {
                let text = self.scanner.number()?;
                let value = text.parse::<f32>().ok().filter(|value| value.is_finite());
                column.push(value.ok_or_else(|| out_of_range(text, "a float"))?);
            }
            (Step::Decimal(precision, scale), Data::Decimal(column), b'-' | b'0'..=b'9') => {
                column.push(unscaled(self.scanner.number()?, *precision, *scale)?);
            }
            (Step::Decimal(precision, scale), Data::Decimal(column), b'"') => {
                let text = self.short_text()?;
                column.push(unscaled(
                    &String::from_utf8_lossy(&text),
                    *precision,
                    *scale,
                )?);
            }
            (Step::Binary, Data::Binary(column), b'"') => self.binary(column)?,
            (Step::Timestamp(_), Data::Long(column), b'"') => {
                let text = self.short_text()?;
                column
                    .push(time::parse_timestamp(&text).map_err(|code| bad_timestamp(code, &text))?);
            }
            (Step::Timestamp(Numbers::Allowed), Data::Long(column), b'-' | b'0'..=b'9') => {
                column.push(self.long()?)
            }
            (Step::Date(_), Data::Int(column), b'"') => {
                let text = self.short_text()?;
                let bad_date = || {
                    Fault::new(
                        Code::InvalidDate,
                        format!("{} is no date yyyy-mm-dd", Shown(&text)),
                    )
                };
                column.push(time::parse_date(&text).ok_or_else(bad_date)?);
            }
            (Step::Date(Numbers::Allowed), Data::Int(column), b'-' | b'0'..=b'9') => {
                let days = self.long()?;
                column.push(
                    i32::try_from(days).map_err(|_| out_of_range(&days.to_string(), "a date"))?,
                );
            }
            (Step::Time, Data::Long(column), b'"') => {
                let text = self.short_text()?;
                let bad_time = || {
                    Fault::new(
                        Code::InvalidTime,
                        format!("{} is no time of day in UTC", Shown(&text)),
                    )
                };
                column.push(time::parse_time(&text).ok_or_else(bad_time)?);
            }
            (Step::Any, Data::Text(column), _) => column.push(self.scanner.any()?)?,
            (Step::Masked(inner, masked), _, _) => {
                return masked.append(column, |scratch| self.value(inner, scratch));
            }
            (Step::Redacted(stand), _, _) => {
                self.scanner.any()?;
                stand.push(column)?;
            }
            (Step::Refuse(message), _, _) => {
                return Err(Fault::incompatible(Code::TypeMismatch, message.clone()));
            }
            (step, _, _) => return Err(self.scanner.mismatch(expected(step))),
        }
        Ok(())
    }

    #[inline]
    fn text(&mut self, column: &mut Bytes) -> Outcome {
        match self.scanner.string()? {
            Text::Plain(text) => column.push(text),
            Text::Escaped(raw) => {
                unescape(raw, column.open())?;
                column.end()
            }
        }
    }

    /// The string that is next, with its escapes resolved: some serialisers escape a plus sign or a slash.
    fn short_text(&mut self) -> Outcome<Cow<'a, [u8]>> {
        match self.scanner.string()? {
            Text::Plain(text) => Ok(Cow::Borrowed(text)),
            Text::Escaped(raw) => {
                let mut text = Vec::with_capacity(raw.len());
                unescape(raw, &mut text)?;
                Ok(Cow::Owned(text))
            }
        }
    }

    fn binary(&mut self, column: &mut Bytes) -> Outcome {
        let text = self.short_text()?;
        if STANDARD.decode_vec(&text, column.open()).is_err() {
            return Err(Fault::new(
                Code::InvalidBinary,
                format!("{} is not base64", Shown(&text)),
            ));
        }
        column.end()
    }

    #[inline]
    fn long(&mut self) -> Outcome<i64> {
        if let Some(value) = self.scanner.short_number_of(Short::long) {
            return Ok(value);
        }
        let text = self.scanner.number()?;
        number::long(text).map_err(|_| out_of_range(text, "a whole number of 64 bits"))
    }

    #[inline]
    fn double(&mut self) -> Outcome<f64> {
        if let Some(value) = self.scanner.short_number_of(Short::double) {
            return Ok(value);
        }
        let text = self.scanner.number()?;
        match text.parse::<f64>() {
            Ok(value) if value.is_finite() => Ok(value),
            Ok(_) | Err(_) => Err(out_of_range(text, "a double")),
        }
    }

    fn object(&mut self, object: &Object, column: &mut Struct) -> Outcome {
        let row = column.len();
        self.members(object, &mut column.members, row)?;
        column.end();
        Ok(())
    }

    fn array(&mut self, item: &Step, column: &mut List) -> Outcome {
        self.scanner.open()?;
        let mut index = 0;
        while self.scanner.has_next(b']', index == 0)? {
            let rescued = self.rescues.len();
            if let Err(fault) = self.value(item, &mut column.item) {
                return Err(fault.at_index(index));
            }
            if self.rescues.len() > rescued {
                self.rescues.under(rescued, &format!("[{index}]"))?;
            }
            index += 1;
        }
        self.scanner.close();
        column.end()
    }

    fn map(&mut self, step: &Step, column: &mut Map) -> Outcome {
        self.scanner.open()?;
        let mut is_first = true;
        while self.scanner.has_next(b'}', is_first)? {
            is_first = false;
            let name = self.scanner.name()?;
            column.keys.push(&name)?;
            let rescued = self.rescues.len();
            if let Err(fault) = self.value(step, &mut column.values) {
                return Err(fault.at_key(&name));
            }
            if self.rescues.len() > rescued {
                let key = format!("[{}]", Value::from(String::from_utf8_lossy(&name)));
                self.rescues.under(rescued, &key)?;
            }
        }
        self.scanner.close();
        column.end()
    }
}

fn unscaled(text: &str, precision: u8, scale: u32) -> Outcome<i128> {
    let short = Short::read(text.as_bytes()).filter(|(_, length)| *length == text.len());
    if let Some(value) = short
        .and_then(|(short, _)| short.unscaled(scale))
        .filter(|value| fits(*value, precision))
    {
        return Ok(value);
    }
    let fault = match number::unscaled(text, scale) {
        Ok(value) if fits(value, precision) => return Ok(value),
        Err(Inexact::NotANumber) => Fault::new(
            Code::InvalidNumber,
            format!("{:?} is no number", shorten(text)),
        ),
        Ok(_) | Err(Inexact::Overflow | Inexact::Fraction) => Fault::new(
            Code::DecimalOverflow,
            format!(
                "{} does not fit decimal({precision}, {scale}) exactly",
                shorten(text)
            ),
        ),
    };
    Err(fault)
}

#[cold]
fn bad_timestamp(code: Code, text: &[u8]) -> Box<Fault> {
    let shown = Shown(text);
    if code == Code::TimestampWithoutZone {
        return Fault::new(
            code,
            format!("{shown} has no zone: add Z or an offset such as +01:00"),
        );
    }
    Fault::new(
        code,
        format!("{shown} is no ISO 8601 date and time of at most microseconds"),
    )
}

#[cold]
fn out_of_range(text: &str, what: &str) -> Box<Fault> {
    Fault::new(
        Code::OutOfRange,
        format!("{} does not fit {what} exactly", shorten(text)),
    )
}

fn expected(step: &Step) -> &'static str {
    match step {
        Step::Boolean => "true or false",
        Step::Integer | Step::Long => "a whole number",
        Step::Float | Step::Double => "a number",
        Step::Decimal(_, _) => "a number or a number in a string",
        Step::Text => "a string",
        Step::Binary => "a string of base64",
        Step::Date(_) => "a date as a string",
        Step::Timestamp(_) => "a date and time as a string",
        Step::Time => "a time of day as a string",
        Step::Any => "a JSON value",
        Step::Array(_) => "an array",
        Step::Map(_) | Step::Struct(_) => "an object",
        Step::Masked(inner, _) => expected(inner),
        Step::Redacted(_) | Step::Left => "a JSON value",
        Step::Refuse(_) => "null",
    }
}

/// Steps and columns are compiled from the same target, so this is a bug of ours; it rejects the record rather than the process.
#[cold]
fn uneven() -> Box<Fault> {
    Fault::new(
        Code::TypeMismatch,
        "the compiled steps do not fit the columns (a bug of Lakeward)",
    )
}
