//! Compiles declared fields against the columns of a table into steps: what to read and which column to append to. Does not read records.

use std::cell::Cell;
use std::collections::HashMap;

use arrow::datatypes::{DataType, Fields};
use serde_json::Value;

use crate::config::settings::UnknownFields;
use crate::decode::builder::map_value;
use crate::decode::types::Refusal;
use crate::decode::types::json::{Member, Numbers, Shape};
use crate::decode::types::width;

/// Up to how many fields a walk over all of them is quicker than a hash.
const LISTED_MAX: usize = 32;

/// The column that keeps fields without a column of their own.
pub(crate) const RESCUED: &str = "_rescued";

/// The steps for a whole value.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) root: Root,
    pub(crate) unknown_fields: UnknownFields,
    /// The place of the column for rescued fields.
    pub(crate) rescued: Option<usize>,
}

#[derive(Debug)]
pub(crate) enum Root {
    /// An object, whose fields are columns.
    Object(Object),
    /// Anything else: one column.
    Single(Step),
}

/// How the fields of an object reach the columns.
#[derive(Debug)]
pub(crate) struct Object {
    fields: Vec<Field>,
    /// The place of the field that the last object began with.
    pub(crate) first: Cell<usize>,
    places: HashMap<String, usize>,
    /// The columns that the object fills; null where a record has no such field.
    pub(crate) columns: Vec<usize>,
    /// The columns that an object becomes, nested ones counted.
    pub(crate) cells: u64,
}

#[derive(Debug)]
pub(crate) struct Field {
    pub(crate) name: String,
    /// The name in its quotes and the colon, as records mostly spell them.
    pub(crate) spelled_name: Vec<u8>,
    /// Its place among the fields.
    pub(crate) place: usize,
    /// The place of the field that came after it last, since records of one producer keep their order.
    pub(crate) follower: Cell<usize>,
    /// The place of the column among its siblings.
    pub(crate) column: usize,
    pub(crate) step: Step,
}

/// What to read and what to append. The column is the one that the parent step names.
#[derive(Debug)]
pub(crate) enum Step {
    Boolean,
    Integer,
    Long,
    Float,
    Double,
    Decimal(u8, u32),
    Text,
    Binary,
    Date(Numbers),
    Timestamp(Numbers),
    Time,
    Any,
    Array(Box<Step>),
    Map(Box<Step>),
    Struct(Object),
}

impl Object {
    /// The field at a place.
    #[inline]
    pub(crate) fn at(&self, place: usize) -> Option<&Field> {
        self.fields.get(place)
    }

    /// The field called `name`.
    pub(crate) fn find(&self, name: &[u8]) -> Option<&Field> {
        if self.fields.len() <= LISTED_MAX {
            return self
                .fields
                .iter()
                .find(|field| field.name.as_bytes() == name);
        }
        self.fields
            .get(*self.places.get(std::str::from_utf8(name).ok()?)?)
    }
}

/// Compiles the shape of an object against the table's columns, of which `is_record` says whether records may fill them.
pub(crate) fn compile_root(
    shape: &Shape,
    columns: &Fields,
    is_record: &dyn Fn(&str) -> bool,
    unknown_fields: UnknownFields,
) -> Result<Plan, Refusal> {
    let Shape::Struct(members) = shape else {
        return Err(Refusal::new("the schema is not an object"));
    };
    let is_rescued = |name: &str| unknown_fields == UnknownFields::Rescue && name == RESCUED;
    let rescued = columns
        .iter()
        .position(|column| is_rescued(column.name()) && *column.data_type() == DataType::Utf8);
    if unknown_fields == UnknownFields::Rescue && rescued.is_none() {
        return Err(
            Refusal::new("the table needs it as string (value.unknown_fields: rescue)")
                .under(RESCUED),
        );
    }
    let takes = |name: &str| is_record(name) && !is_rescued(name);
    Ok(Plan {
        root: Root::Object(compile(members, columns, &takes)?),
        unknown_fields,
        rescued,
    })
}

/// Compiles a shape against one column.
pub(crate) fn compile_single(
    shape: &Shape,
    column: &DataType,
    unknown_fields: UnknownFields,
) -> Result<Plan, Refusal> {
    Ok(Plan {
        root: Root::Single(compile_value(shape, column)?),
        unknown_fields,
        rescued: None,
    })
}

/// Compiles declared fields against the table's columns, of which `is_record` says whether records may fill them.
fn compile(
    members: &[Member],
    columns: &Fields,
    is_record: &dyn Fn(&str) -> bool,
) -> Result<Object, Refusal> {
    let mut fields = Vec::with_capacity(members.len());
    for (place, member) in members.iter().enumerate() {
        let found = columns
            .iter()
            .enumerate()
            .find(|(_, column)| *column.name() == member.name && is_record(&member.name));
        let Some((column_place, column)) = found else {
            return Err(
                Refusal::new("the table has no such column; evolution is not built yet")
                    .under(&member.name),
            );
        };
        let step = compile_value(&member.shape, column.data_type())
            .map_err(|refusal| refusal.under(&member.name))?;
        let spelled_name = format!("{}:", Value::from(member.name.as_str())).into_bytes();
        let follower = Cell::new(place + 1);
        fields.push(Field {
            name: member.name.clone(),
            spelled_name,
            place,
            follower,
            column: column_place,
            step,
        });
    }
    let places = fields
        .iter()
        .enumerate()
        .map(|(place, field)| (field.name.clone(), place))
        .collect();
    let filled = columns
        .iter()
        .enumerate()
        .filter(|(_, column)| is_record(column.name()));
    let cells = columns
        .iter()
        .map(|column| width(column.data_type()))
        .sum::<usize>();
    let cells = u64::try_from(cells).unwrap_or(u64::MAX);
    Ok(Object {
        fields,
        first: Cell::new(0),
        places,
        columns: filled.map(|(place, _)| place).collect(),
        cells,
    })
}

fn compile_value(shape: &Shape, target: &DataType) -> Result<Step, Refusal> {
    let step = match (shape, target) {
        (Shape::Boolean, DataType::Boolean) => Step::Boolean,
        (Shape::Integer | Shape::Long, DataType::Int32) => Step::Integer,
        (Shape::Integer | Shape::Long, DataType::Int64) => Step::Long,
        (Shape::Float, DataType::Float32) => Step::Float,
        (Shape::Integer | Shape::Float | Shape::Double, DataType::Float64) => Step::Double,
        (Shape::Decimal(_, _), DataType::Decimal128(precision, scale)) => {
            Step::Decimal(*precision, u32::try_from(*scale).unwrap_or(0))
        }
        (Shape::Text, DataType::Utf8) => Step::Text,
        (Shape::Binary, DataType::Binary) => Step::Binary,
        (Shape::Date(numbers), DataType::Date32) => Step::Date(*numbers),
        (Shape::Timestamp(numbers), DataType::Timestamp(_, Some(_))) => Step::Timestamp(*numbers),
        (Shape::Time, DataType::Int64) => Step::Time,
        (Shape::Any, DataType::Utf8) => Step::Any,
        (Shape::Array(item), DataType::List(target)) => Step::Array(Box::new(
            compile_value(item, target.data_type()).map_err(|refusal| refusal.under("[]"))?,
        )),
        (Shape::Map(value), DataType::Map(entries, _)) => {
            let Some(target) = map_value(entries.data_type()) else {
                return Err(mismatch(shape, target));
            };
            Step::Map(Box::new(
                compile_value(value, target.data_type()).map_err(|refusal| refusal.under("[]"))?,
            ))
        }
        (Shape::Struct(members), DataType::Struct(fields)) => {
            Step::Struct(compile(members, fields, &|_| true)?)
        }
        (_, _) => return Err(mismatch(shape, target)),
    };
    Ok(step)
}

fn mismatch(shape: &Shape, target: &DataType) -> Refusal {
    let declared = match shape {
        Shape::Boolean => "boolean",
        Shape::Integer => "int",
        Shape::Long => "long",
        Shape::Float => "float",
        Shape::Double => "double",
        Shape::Decimal(_, _) => "decimal",
        Shape::Text => "string",
        Shape::Binary => "binary",
        Shape::Date(_) => "date",
        Shape::Timestamp(_) => "timestamp",
        Shape::Time => "time",
        Shape::Any => "any JSON",
        Shape::Array(_) => "array",
        Shape::Map(_) => "map",
        Shape::Struct(_) => "struct",
    };
    Refusal::new(format!(
        "declared as {declared}, but the table's column is {target}; evolution of columns is not built yet"
    ))
}
