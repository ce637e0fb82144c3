//! The shapes of JSON values that a config or a JSON Schema declares, and the Arrow types they become. Does not read JSON.

use arrow::datatypes::{DataType, Field, Fields};

use super::{Refusal, Root, decimal, field, list, map, timestamp};

/// What a JSON value is declared to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Shape {
    Boolean,
    Integer,
    Long,
    Float,
    Double,
    Decimal(u8, u8),
    Text,
    /// Bytes in base64.
    Binary,
    /// A date as text; where numbers are said to be allowed, also days since 1970.
    Date(Numbers),
    /// A date and time with a zone as text; where numbers are said to be allowed, also microseconds since 1970.
    Timestamp(Numbers),
    /// A time of day as text, to microseconds.
    Time,
    /// Any JSON value, kept as its text.
    Any,
    /// The same, of what it lies in itself: the object around which there are so many others, or what holds that.
    Recursion(usize),
    Array(Box<Shape>),
    Map(Box<Shape>),
    Struct(Vec<Member>),
}

/// Whether a date or timestamp may also be a number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Numbers {
    Allowed,
    Refused,
}

/// A named field.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Member {
    pub(crate) name: String,
    pub(crate) shape: Shape,
}

/// The columns that declared fields become.
pub(crate) fn fields(members: &[Member]) -> Result<Fields, Refusal> {
    members
        .iter()
        .map(member)
        .collect::<Result<Vec<Field>, _>>()
        .map(Fields::from)
}

/// The columns that an object becomes, or the one type of any other shape.
pub(crate) fn root(shape: &Shape) -> Result<Root, Refusal> {
    if let Shape::Struct(members) = shape {
        return fields(members).map(Root::Record);
    }
    data_type(shape).map(Root::Single)
}

fn member(member: &Member) -> Result<Field, Refusal> {
    let data_type = data_type(&member.shape).map_err(|refusal| refusal.under(&member.name))?;
    Ok(field(&member.name, data_type))
}

/// The type that a shape becomes.
pub(crate) fn data_type(shape: &Shape) -> Result<DataType, Refusal> {
    let data_type = match shape {
        Shape::Boolean => DataType::Boolean,
        Shape::Integer => DataType::Int32,
        Shape::Long | Shape::Time => DataType::Int64,
        Shape::Float => DataType::Float32,
        Shape::Double => DataType::Float64,
        Shape::Decimal(precision, scale) => decimal(u32::from(*precision), u32::from(*scale))?,
        Shape::Text | Shape::Any | Shape::Recursion(_) => DataType::Utf8,
        Shape::Binary => DataType::Binary,
        Shape::Date(_) => DataType::Date32,
        Shape::Timestamp(_) => timestamp(),
        Shape::Array(item) => list(data_type(item).map_err(|refusal| refusal.under("[]"))?),
        Shape::Map(value) => map(data_type(value).map_err(|refusal| refusal.under("[]"))?),
        Shape::Struct(members) if members.is_empty() => {
            return Err(Refusal::new("a struct without members has no column type"));
        }
        Shape::Struct(members) => DataType::Struct(fields(members)?),
    };
    Ok(data_type)
}
