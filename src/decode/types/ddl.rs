//! Column lists of the config to the shapes of JSON values. Does not parse the lists: `config::ddl` does.

use super::json::{Member, Numbers, Shape};
use crate::config::ddl::{Column, Type};

/// The fields that a list declares. A number in a date column counts days, in a timestamp column microseconds, both since 1970 UTC.
pub(crate) fn members(columns: &[Column]) -> Vec<Member> {
    columns
        .iter()
        .map(|column| Member {
            name: column.name.clone(),
            shape: shape(&column.kind),
        })
        .collect()
}

fn shape(kind: &Type) -> Shape {
    match kind {
        Type::Boolean => Shape::Boolean,
        Type::Integer => Shape::Integer,
        Type::Long => Shape::Long,
        Type::Float => Shape::Float,
        Type::Double => Shape::Double,
        Type::String => Shape::Text,
        Type::Binary => Shape::Binary,
        Type::Date => Shape::Date(Numbers::Allowed),
        Type::Timestamp => Shape::Timestamp(Numbers::Allowed),
        Type::Decimal(precision, scale) => Shape::Decimal(*precision, *scale),
        Type::Array(item) => Shape::Array(Box::new(shape(item))),
        Type::Map(value) => Shape::Map(Box::new(shape(value))),
        Type::Struct(columns) => Shape::Struct(members(columns)),
    }
}
