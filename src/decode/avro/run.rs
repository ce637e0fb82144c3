//! Runs compiled steps: reads a record's bytes and appends to the columns. A fault leaves columns of uneven length, which the caller cuts back.

use super::compile::{Branch, Plan, Record, Step};
use super::cursor::{Cursor, Items};
use super::skip::{self, Passed};
use super::{decimal, text};
use crate::decode::builder::{Column, Data};
use crate::decode::reject::{Code, Fault, Outcome};

/// The greatest whole number up to which a double holds every whole number.
const EXACT_MAX: u64 = 1 << 53;

/// Appends one record, all of `bytes`, to the columns; gives the number of values that its arrays and maps became.
pub(crate) fn run(plan: &Plan, bytes: &[u8], columns: &mut [Column]) -> Outcome<u64> {
    let mut cursor = Cursor::new(bytes);
    match (plan, columns) {
        (Plan::Record(fields), columns) => record(fields, &mut cursor, columns)?,
        (Plan::Single(step), [column]) => value(step, &mut cursor, column)?,
        (Plan::Single(_), _) => return Err(uneven()),
    }
    cursor.finish()
}

#[inline]
fn record(record: &Record, cursor: &mut Cursor<'_>, columns: &mut [Column]) -> Outcome {
    for field in &record.fields {
        let Some(column) = columns.get_mut(field.column) else {
            return Err(uneven());
        };
        if let Err(fault) = value(&field.step, cursor, column) {
            return Err(fault.in_field(&field.name));
        }
    }
    for place in &record.absent {
        columns.get_mut(*place).ok_or_else(uneven)?.push_null()?;
    }
    Ok(())
}

/// The types that most values have, inlined where values are walked over; all others are a call away.
#[inline(always)]
fn value(step: &Step, cursor: &mut Cursor<'_>, column: &mut Column) -> Outcome {
    match (step, &mut column.data) {
        (Step::Text, Data::Text(column)) => column.push(cursor.text()?)?,
        (Step::LongToLong, Data::Long(column)) => column.push(cursor.long()?),
        (Step::IntToInt, Data::Int(column)) => column.push(cursor.int()?),
        (Step::DoubleToDouble, Data::Double(column)) => column.push(cursor.double()?),
        (Step::Boolean, Data::Boolean(column)) => column.push(cursor.boolean()?),
        (Step::LongMillisToMicros, Data::Long(column)) => column.push(micros(cursor.long()?)?),
        (_, _) => return other_value(step, cursor, column),
    }
    Ok(())
}

#[inline(never)]
fn other_value(step: &Step, cursor: &mut Cursor<'_>, column: &mut Column) -> Outcome {
    match (step, &mut column.data) {
        (Step::Nullable(null_branch, inner), _) => {
            return nullable(*null_branch, inner, cursor, column);
        }
        (Step::Record(inner), Data::Struct(column)) => {
            record(inner, cursor, &mut column.members)?;
            column.end();
        }
        (Step::Array(item, items), Data::List(column)) => {
            array(item, *items, cursor, &mut column.item)?;
            column.end()?;
        }
        (Step::Map(inner, items), Data::Map(column)) => map(inner, *items, cursor, column)?,
        (Step::Decimal(decimal), Data::Decimal(column)) => {
            let bytes = match decimal.size {
                Some(size) => cursor.fixed(size)?,
                None => cursor.bytes()?,
            };
            column.push(decimal::decode(bytes, *decimal)?);
        }
        (Step::Bytes, Data::Binary(column)) => column.push(cursor.bytes()?)?,
        (Step::Fixed(size), Data::Binary(column)) => column.push(cursor.fixed(*size)?)?,
        (Step::Enum(symbols), Data::Text(column)) => {
            column.push(symbol(symbols, cursor.long()?)?.as_bytes())?
        }
        (Step::Union(branches), _) => return union(branches, cursor, column),
        (_, _) => return rare_value(step, cursor, column),
    }
    Ok(())
}

fn rare_value(step: &Step, cursor: &mut Cursor<'_>, column: &mut Column) -> Outcome {
    match (step, &mut column.data) {
        (Step::Null, _) => return column.push_null(),
        (Step::Nothing, _) => {}
        (Step::IntToLong, Data::Long(column)) => column.push(i64::from(cursor.int()?)),
        (Step::IntToDouble, Data::Double(column)) => column.push(f64::from(cursor.int()?)),
        (Step::LongToInt, Data::Int(column)) => column.push(narrowed(cursor.long()?)?),
        (Step::LongToDouble, Data::Double(column)) => column.push(exact_double(cursor.long()?)?),
        (Step::FloatToFloat, Data::Float(column)) => column.push(cursor.float()?),
        (Step::FloatToDouble, Data::Double(column)) => column.push(f64::from(cursor.float()?)),
        (Step::IntMillisToMicros, Data::Long(column)) => {
            column.push(i64::from(cursor.int()?) * 1000)
        }
        (Step::LongNanosToMicros, Data::Long(column)) => {
            column.push(cursor.long()?.div_euclid(1000));
        }
        (Step::UuidOfBytes, Data::Text(column)) => {
            let mut buffer = uuid::Uuid::encode_buffer();
            let uuid = uuid::Uuid::from_bytes(cursor.array()?);
            column.push(uuid.hyphenated().encode_lower(&mut buffer).as_bytes())?;
        }
        (Step::Duration, Data::Struct(column)) => {
            for member in &mut column.members {
                let Data::Long(member) = &mut member.data else {
                    return Err(uneven());
                };
                member.push(i64::from(u32::from_le_bytes(cursor.array()?)));
            }
            column.end();
        }
        (Step::EmptyRecord, Data::Boolean(column)) => column.push(true),
        (Step::Json(schema, place), Data::Text(column)) => {
            text::write(schema, *place, cursor, column.open())?;
            column.end()?;
        }
        (Step::Masked(inner, masked), _) => {
            return masked.append(column, |scratch| value(inner, cursor, scratch));
        }
        (Step::Redacted(schema, node, stand), _) => {
            return match skip::value(schema, node, cursor)? {
                Passed::Null => column.push_null(),
                Passed::Value => stand.push(column),
            };
        }
        (Step::Left(schema, node), _) => {
            skip::value(schema, node, cursor)?;
        }
        (Step::Refuse(code, message), _) => {
            return Err(Fault::incompatible(*code, message.clone()));
        }
        (Step::Unplaced(null_branch, message), _) => {
            let is_null = match null_branch.and_then(|branch| i64::try_from(branch).ok()) {
                Some(branch) => cursor.long()? == branch,
                None => false,
            };
            if !is_null {
                return Err(Fault::incompatible(Code::UnknownField, message.clone()));
            }
        }
        (_, _) => return Err(uneven()),
    }
    Ok(())
}

#[inline]
fn nullable(
    null_branch: u8,
    inner: &Step,
    cursor: &mut Cursor<'_>,
    column: &mut Column,
) -> Outcome {
    match cursor.long()? {
        branch if branch == i64::from(null_branch) => column.push_null(),
        0 | 1 => value(inner, cursor, column),
        branch => Err(no_branch(branch, 2)),
    }
}

fn union(branches: &[Branch], cursor: &mut Cursor<'_>, column: &mut Column) -> Outcome {
    let index = cursor.long()?;
    let Some(branch) = usize::try_from(index)
        .ok()
        .and_then(|index| branches.get(index))
    else {
        return Err(no_branch(index, branches.len()));
    };
    match (branch, &mut column.data) {
        (Branch::Null, _) => column.push_null(),
        (Branch::Same(step), _) => value(step, cursor, column),
        (Branch::Member(place, name, step), Data::Struct(column)) => {
            for (index, member) in column.members.iter_mut().enumerate() {
                if index == *place {
                    value(step, cursor, member).map_err(|fault| fault.in_field(name))?;
                } else {
                    member.push_null()?;
                }
            }
            column.end();
            Ok(())
        }
        (Branch::Member(..), _) => Err(uneven()),
    }
}

fn array(item: &Step, items: Items, cursor: &mut Cursor<'_>, column: &mut Column) -> Outcome {
    let mut index = 0;
    loop {
        let block = cursor.block(items)?;
        if block.count == 0 {
            return Ok(());
        }
        for _ in 0..block.count {
            if let Err(fault) = value(item, cursor, column) {
                return Err(fault.at_index(index));
            }
            index += 1;
        }
        cursor.end_block(block)?;
    }
}

fn map(
    step: &Step,
    items: Items,
    cursor: &mut Cursor<'_>,
    column: &mut crate::decode::builder::Map,
) -> Outcome {
    loop {
        let block = cursor.block(items)?;
        if block.count == 0 {
            return column.end();
        }
        for _ in 0..block.count {
            let key = cursor.text()?;
            column.keys.push(key)?;
            if let Err(fault) = value(step, cursor, &mut column.values) {
                return Err(fault.at_key(key));
            }
        }
        cursor.end_block(block)?;
    }
}

/// The symbol at an index.
pub(super) fn symbol(symbols: &[String], index: i64) -> Outcome<&str> {
    match usize::try_from(index)
        .ok()
        .and_then(|index| symbols.get(index))
    {
        Some(symbol) => Ok(symbol),
        None => Err(Fault::new(
            Code::EnumIndex,
            format!("the enum has {} symbols, not one at {index}", symbols.len()),
        )),
    }
}

/// Microseconds of milliseconds.
#[inline]
pub(super) fn micros(millis: i64) -> Outcome<i64> {
    match millis.checked_mul(1000) {
        Some(micros) => Ok(micros),
        None => Err(Fault::new(
            Code::OutOfRange,
            format!("{millis} milliseconds since 1970 do not fit a microsecond timestamp"),
        )),
    }
}

fn narrowed(value: i64) -> Outcome<i32> {
    i32::try_from(value).map_err(|_| {
        Fault::new(
            Code::OutOfRange,
            format!("{value} does not fit an integer column"),
        )
    })
}

fn exact_double(value: i64) -> Outcome<f64> {
    if value.unsigned_abs() > EXACT_MAX {
        return Err(Fault::new(
            Code::OutOfRange,
            format!("{value} does not fit a double column exactly"),
        ));
    }
    Ok(value as f64)
}

#[cold]
pub(super) fn no_branch(branch: i64, branches: usize) -> Box<Fault> {
    Fault::new(
        Code::UnionIndex,
        format!("the union has {branches} branches, not one at {branch}"),
    )
}

/// Steps and columns are compiled from the same target, so this is a bug of ours; it rejects the record rather than the process.
#[cold]
fn uneven() -> Box<Fault> {
    Fault::new(
        Code::TypeMismatch,
        "the compiled steps do not fit the columns (a bug of Lakeward)",
    )
}
