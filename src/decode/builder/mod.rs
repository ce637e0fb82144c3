//! Columns under construction over plain vectors. Every column can be cut back to a length, which is what rolls one bad record back and
//! leaves its neighbours; finishing makes Arrow arrays. Does not know a format.

mod bits;
mod copy;
mod filled;
mod leaf;
mod nested;
mod validity;

use arrow::array::{ArrayRef, new_null_array};
use arrow::datatypes::{
    DataType, Date32Type, Decimal128Type, Float32Type, Float64Type, Int32Type, Int64Type, TimeUnit,
    TimestampMicrosecondType,
};
use arrow::error::ArrowError;

pub(crate) use self::filled::Filled;
pub(crate) use self::leaf::{Booleans, Bytes, Values, check_utf8};
pub(crate) use self::nested::{List, Map, Struct};
use crate::decode::reject::{Code, Fault, Outcome};

/// A column under construction.
#[derive(Debug)]
pub(crate) struct Column {
    pub(crate) data: Data,
    is_nullable: bool,
}

/// The values of a column by physical type.
#[derive(Debug)]
pub(crate) enum Data {
    /// boolean
    Boolean(Booleans),
    /// int; date as days
    Int(Values<i32>),
    /// long; timestamp as microseconds
    Long(Values<i64>),
    /// float
    Float(Values<f32>),
    /// double
    Double(Values<f64>),
    /// decimal, unscaled
    Decimal(Values<i128>),
    /// string
    Text(Bytes),
    /// binary
    Binary(Bytes),
    /// struct
    Struct(Struct),
    /// list
    List(List),
    /// map
    Map(Map),
    /// A type that only the table has: never anything but null. Holds the length.
    Absent(usize),
}

impl Column {
    pub(crate) fn new(data_type: &DataType, is_nullable: bool) -> Self {
        #[expect(
            clippy::wildcard_enum_match_arm,
            reason = "Arrow has many types that no table of ours writes"
        )]
        let data = match data_type {
            DataType::Boolean => Data::Boolean(Booleans::new()),
            DataType::Int32 | DataType::Date32 => Data::Int(Values::new()),
            DataType::Int64 => Data::Long(Values::new()),
            DataType::Timestamp(TimeUnit::Microsecond, _) => Data::Long(Values::new()),
            DataType::Float32 => Data::Float(Values::new()),
            DataType::Float64 => Data::Double(Values::new()),
            DataType::Decimal128(_, _) => Data::Decimal(Values::new()),
            DataType::Utf8 => Data::Text(Bytes::new()),
            DataType::Binary => Data::Binary(Bytes::new()),
            DataType::Struct(fields) => Data::Struct(Struct::new(fields)),
            DataType::List(item) => Data::List(List::new(item)),
            DataType::Map(entries, _) => match map_value(entries.data_type()) {
                Some(value) => Data::Map(Map::new(value)),
                None => Data::Absent(0),
            },
            _ => Data::Absent(0),
        };
        Column { data, is_nullable }
    }

    /// Appends a null, where the table allows one.
    #[inline]
    pub(crate) fn push_null(&mut self) -> Outcome {
        if !self.is_nullable {
            return Err(Fault::new(
                Code::NullNotAllowed,
                "the table's column allows no null",
            ));
        }
        self.pad();
        Ok(())
    }

    /// Appends a null under a null parent, which is allowed in any column.
    pub(crate) fn pad(&mut self) {
        match &mut self.data {
            Data::Boolean(values) => values.push_null(),
            Data::Int(values) => values.push_null(),
            Data::Long(values) => values.push_null(),
            Data::Float(values) => values.push_null(),
            Data::Double(values) => values.push_null(),
            Data::Decimal(values) => values.push_null(),
            Data::Text(values) | Data::Binary(values) => values.push_null(),
            Data::Struct(values) => values.push_null(),
            Data::List(values) => values.push_null(),
            Data::Map(values) => values.push_null(),
            Data::Absent(len) => *len += 1,
        }
    }

    #[inline]
    pub(crate) fn len(&self) -> usize {
        match &self.data {
            Data::Boolean(values) => values.len(),
            Data::Int(values) => values.len(),
            Data::Long(values) => values.len(),
            Data::Float(values) => values.len(),
            Data::Double(values) => values.len(),
            Data::Decimal(values) => values.len(),
            Data::Text(values) | Data::Binary(values) => values.len(),
            Data::Struct(values) => values.len(),
            Data::List(values) => values.len(),
            Data::Map(values) => values.len(),
            Data::Absent(len) => *len,
        }
    }

    /// Forgets everything after the first `len` values.
    pub(crate) fn truncate(&mut self, len: usize) {
        match &mut self.data {
            Data::Boolean(values) => values.truncate(len),
            Data::Int(values) => values.truncate(len),
            Data::Long(values) => values.truncate(len),
            Data::Float(values) => values.truncate(len),
            Data::Double(values) => values.truncate(len),
            Data::Decimal(values) => values.truncate(len),
            Data::Text(values) | Data::Binary(values) => values.truncate(len),
            Data::Struct(values) => values.truncate(len),
            Data::List(values) => values.truncate(len),
            Data::Map(values) => values.truncate(len),
            Data::Absent(held) => *held = len.min(*held),
        }
    }

    /// The bytes of its values.
    pub(crate) fn size_bytes(&self) -> usize {
        match &self.data {
            Data::Boolean(values) => values.size_bytes(),
            Data::Int(values) => values.size_bytes(),
            Data::Long(values) => values.size_bytes(),
            Data::Float(values) => values.size_bytes(),
            Data::Double(values) => values.size_bytes(),
            Data::Decimal(values) => values.size_bytes(),
            Data::Text(values) | Data::Binary(values) => values.size_bytes(),
            Data::Struct(values) => values.size_bytes(),
            Data::List(values) => values.size_bytes(),
            Data::Map(values) => values.size_bytes(),
            Data::Absent(_) => 0,
        }
    }

    /// The column as the Arrow type it was made for; leaves it empty.
    pub(crate) fn finish(&mut self, data_type: &DataType) -> Result<ArrayRef, ArrowError> {
        match (&mut self.data, data_type) {
            (Data::Boolean(values), DataType::Boolean) => Ok(values.finish()),
            (Data::Int(values), DataType::Int32) => values.finish::<Int32Type>(data_type),
            (Data::Int(values), DataType::Date32) => values.finish::<Date32Type>(data_type),
            (Data::Long(values), DataType::Int64) => values.finish::<Int64Type>(data_type),
            (Data::Long(values), DataType::Timestamp(_, _)) => {
                values.finish::<TimestampMicrosecondType>(data_type)
            }
            (Data::Float(values), DataType::Float32) => values.finish::<Float32Type>(data_type),
            (Data::Double(values), DataType::Float64) => values.finish::<Float64Type>(data_type),
            (Data::Decimal(values), DataType::Decimal128(_, _)) => {
                values.finish::<Decimal128Type>(data_type)
            }
            (Data::Text(values), DataType::Utf8) => values.finish_text(),
            (Data::Binary(values), DataType::Binary) => values.finish_binary(),
            (Data::Struct(values), DataType::Struct(fields)) => values.finish(fields),
            (Data::List(values), DataType::List(item)) => values.finish(item),
            (Data::Map(values), DataType::Map(entries, is_sorted)) => {
                values.finish(entries, *is_sorted)
            }
            (Data::Absent(len), _) => Ok(new_null_array(data_type, std::mem::take(len))),
            (_, _) => Err(mismatch(data_type)),
        }
    }
}

/// The value field of a map's entries, if its keys are text.
pub(crate) fn map_value(entries: &DataType) -> Option<&arrow::datatypes::FieldRef> {
    let DataType::Struct(fields) = entries else {
        return None;
    };
    let is_text = fields
        .first()
        .is_some_and(|key| *key.data_type() == DataType::Utf8);
    fields.get(1).filter(|_| is_text && fields.len() == 2)
}

fn mismatch(data_type: &DataType) -> ArrowError {
    ArrowError::SchemaError(format!(
        "a column builder was made for another type than {data_type}"
    ))
}
