//! Compiles declared fields against the columns of a table into steps: what to read and which column to append to. Does not read records.

use std::cell::Cell;
use std::collections::HashMap;

use arrow::datatypes::{DataType, Fields};
use serde_json::Value;

use crate::config::settings::UnknownFields;
use crate::decode::builder::map_value;
use crate::decode::evolution::{Gaps, further_name};
use crate::decode::masking::{Masked, Stand};
use crate::decode::rules::{Rule, Wished};
use crate::decode::types::Refusal;
use crate::decode::types::json::{Member, Numbers, Shape, data_type};
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
    /// The hash of what the step reads.
    Masked(Box<Step>, Masked),
    /// Not read; something else in its place, if it is not null.
    Redacted(Stand),
    /// The field has no column and is passed over.
    Left,
    /// The value fits no column.
    Refuse(String),
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
    gaps: &mut Gaps<'_>,
) -> Result<Plan, Refusal> {
    let Shape::Struct(members) = shape else {
        return Err(Refusal::new("the schema is not an object"));
    };
    let has_rescued = !matches!(gaps.rule().member(RESCUED), Rule::Left);
    let unknown_fields = match unknown_fields {
        UnknownFields::Rescue if !has_rescued => UnknownFields::Ignore,
        other => other,
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
        root: Root::Object(compile(members, columns, &takes, gaps)?),
        unknown_fields,
        rescued,
    })
}

/// Compiles a shape against one column.
pub(crate) fn compile_single(
    shape: &Shape,
    column: &DataType,
    unknown_fields: UnknownFields,
    gaps: &mut Gaps<'_>,
) -> Result<Plan, Refusal> {
    Ok(Plan {
        root: Root::Single(compile_value(shape, column, gaps)?),
        unknown_fields,
        rescued: None,
    })
}

/// Compiles declared fields against the table's columns, of which `is_record` says whether records may fill them. A field that has no column, and cannot have one, is
/// unknown.
fn compile(
    members: &[Member],
    columns: &Fields,
    is_record: &dyn Fn(&str) -> bool,
    gaps: &mut Gaps<'_>,
) -> Result<Object, Refusal> {
    gaps.open();
    let fields = compile_fields(members, columns, is_record, gaps);
    gaps.close();
    let fields = fields?;
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

fn compile_fields(
    members: &[Member],
    columns: &Fields,
    is_record: &dyn Fn(&str) -> bool,
    gaps: &mut Gaps<'_>,
) -> Result<Vec<Field>, Refusal> {
    let mut fields: Vec<Field> = Vec::with_capacity(members.len());
    let of_object = gaps.rule();
    for member in members {
        gaps.enter(of_object.member(&member.name));
        let found = compile_member(member, columns, is_record, gaps);
        gaps.leave(of_object);
        let found = found.map_err(|refusal| refusal.under(&member.name))?;
        if let Some((column, step)) = found {
            fields.push(field(&member.name, fields.len(), column, step));
        }
    }
    if let Rule::Chosen(choice) = of_object {
        let is_declared = |name: &&str| members.iter().any(|member| member.name == *name);
        for name in choice.left().filter(|name| !is_declared(name)) {
            fields.push(field(name, fields.len(), 0, Step::Left));
        }
    }
    Ok(fields)
}

fn field(name: &str, place: usize, column: usize, step: Step) -> Field {
    Field {
        name: name.to_owned(),
        spelled_name: format!("{}:", Value::from(name)).into_bytes(),
        place,
        follower: Cell::new(place + 1),
        column,
        step,
    }
}

/// The place of a field's column, and what to do.
fn compile_member(
    member: &Member,
    columns: &Fields,
    is_record: &dyn Fn(&str) -> bool,
    gaps: &mut Gaps<'_>,
) -> Result<Option<(usize, Step)>, Refusal> {
    let find = |name: &str| {
        let mut places = columns.iter().enumerate();
        places.find(|(_, column)| *column.name() == name && is_record(name))
    };
    let wished = match gaps.rule().of(|| data_type(&member.shape)) {
        Wished::Nothing => return Ok(Some((0, Step::Left))),
        Wished::Column(wished) => wished,
    };
    let Some((place, column)) = find(&member.name) else {
        // Why there can be none is of no use: the field is unknown then.
        drop(gaps.add(&member.name, wished));
        return Ok(None);
    };
    let mark = gaps.mark();
    let conflict = match compile_value(&member.shape, column.data_type(), gaps) {
        Ok(step) => {
            gaps.under(mark, column.name());
            return Ok(Some((place, step)));
        }
        Err(conflict) if gaps.has_further() => conflict,
        Err(conflict) => return Err(conflict),
    };
    gaps.rewind(mark);
    let refuse = |reason: &str| {
        let message = format!("{}: {reason}", conflict.reason);
        Ok(Some((place, Step::Refuse(message))))
    };
    let wished = match wished {
        Ok(wished) => wished,
        Err(refusal) => return refuse(&refusal.reason),
    };
    let name = further_name(&member.name, &wished);
    let Some((further, column)) = find(&name) else {
        return match gaps.add(&name, Ok(wished)) {
            Ok(()) => Ok(None),
            Err(reason) => refuse(&reason),
        };
    };
    let was_lenient = gaps.lenient();
    let step = compile_value(&member.shape, column.data_type(), gaps);
    gaps.restore(was_lenient);
    gaps.under(mark, column.name());
    Ok(Some((further, step?)))
}

fn compile_value(shape: &Shape, target: &DataType, gaps: &mut Gaps<'_>) -> Result<Step, Refusal> {
    let has_items = matches!(shape, Shape::Array(_) | Shape::Map(_));
    match gaps.rule() {
        Rule::Left => return Ok(Step::Left),
        Rule::Redacted => {
            let natural = data_type(shape).ok();
            return Ok(Step::Redacted(Stand::of(natural.as_ref(), target)));
        }
        Rule::Hashed(hasher) if !has_items => {
            let natural = data_type(shape)?;
            let masked = Masked::new(&natural, hasher)?;
            if *target != DataType::Utf8 {
                return mismatch(shape, target, gaps);
            }
            let outer = gaps.enter(Rule::Hidden);
            let step = compile_value(shape, &natural, gaps);
            gaps.leave(outer);
            return Ok(Step::Masked(Box::new(step?), masked));
        }
        Rule::Chosen(_) if !has_items && !matches!(shape, Shape::Struct(_)) => {
            return mismatch(shape, target, gaps);
        }
        Rule::Free | Rule::Hidden | Rule::Hashed(_) | Rule::Chosen(_) => {}
    }
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
        (Shape::Recursion(level), DataType::Utf8) if gaps.would_show(*level) => {
            let message = "it would hold in its text what `columns` leaves out or masks around it; leave it out too";
            return refusal(message.to_owned(), gaps);
        }
        (Shape::Any | Shape::Recursion(_), DataType::Utf8) => Step::Any,
        (Shape::Array(item), DataType::List(target)) => Step::Array(Box::new(
            compile_value(item, target.data_type(), gaps).map_err(|refusal| refusal.under("[]"))?,
        )),
        (Shape::Map(value), DataType::Map(entries, _)) => {
            let Some(target) = map_value(entries.data_type()) else {
                return mismatch(shape, target, gaps);
            };
            Step::Map(Box::new(
                compile_value(value, target.data_type(), gaps)
                    .map_err(|refusal| refusal.under("[]"))?,
            ))
        }
        (Shape::Struct(members), DataType::Struct(fields)) => {
            Step::Struct(compile(members, fields, &|_| true, gaps)?)
        }
        (_, _) => return mismatch(shape, target, gaps),
    };
    Ok(step)
}

/// What does not fit its column costs its field, where a further column may take it, else only the records that hold it.
fn mismatch(shape: &Shape, target: &DataType, gaps: &Gaps<'_>) -> Result<Step, Refusal> {
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
        Shape::Any | Shape::Recursion(_) => "any JSON",
        Shape::Array(_) => "array",
        Shape::Map(_) => "map",
        Shape::Struct(_) => "struct",
    };
    refusal(
        format!("declared as {declared}, but the table's column is {target}"),
        gaps,
    )
}

fn refusal(message: String, gaps: &Gaps<'_>) -> Result<Step, Refusal> {
    if gaps.is_strict() {
        return Err(Refusal::new(message));
    }
    Ok(Step::Refuse(message))
}
