//! Avro to Arrow types. Does not decode: `avro::compile` follows the same shapes.

use arrow::datatypes::{DataType, Field, Fields};

use super::{
    COLUMNS_MAX, DEPTH_MAX, Refusal, Root, decimal, field, list, map, timestamp, timestamp_ntz,
};
use crate::config::settings::{LocalTimestamps, Nanos};
use crate::decode::avro::schema::{FixedKind, Named, NamedKind, Node, Schema, Unit};

/// What a union becomes, once nulls are set aside.
#[derive(Debug, PartialEq)]
pub(crate) enum Union<'a> {
    /// Only null: a boolean that is always null.
    Null,
    /// One type: that type.
    One(&'a Node),
    /// int and long: long.
    Long,
    /// float and double: double.
    Double,
    /// Anything else: a struct of nullable members named by type, in the order of the branches.
    Members(Vec<(String, &'a Node)>),
}

/// The columns that a record schema becomes.
pub(crate) fn fields(schema: &Schema) -> Result<Fields, Refusal> {
    let record = schema
        .root
        .place()
        .and_then(|place| Some((place, schema.named(place)?)));
    match record {
        Some((
            place,
            Named {
                kind: NamedKind::Record(members),
                ..
            },
        )) if !members.is_empty() => {
            let mut walk = Walk {
                schema,
                open: vec![place],
                depth: 0,
                columns: 0,
            };
            members
                .iter()
                .map(|member| walk.member(&member.name, &member.node))
                .collect::<Result<Vec<_>, _>>()
                .map(Fields::from)
        }
        Some(_) | None => Err(Refusal::new(
            "the value's schema must be an Avro record with at least one field",
        )),
    }
}

/// The columns that a record schema becomes, or the one type of any other.
pub(crate) fn root(schema: &Schema) -> Result<Root, Refusal> {
    let named = schema.root.place().and_then(|place| schema.named(place));
    if let Some(NamedKind::Record(members)) = named.map(|named| &named.kind)
        && !members.is_empty()
    {
        return fields(schema).map(Root::Record);
    }
    let mut walk = Walk {
        schema,
        open: Vec::new(),
        depth: 0,
        columns: 0,
    };
    walk.data_type(&schema.root).map(Root::Single)
}

/// The type that a part of a schema becomes inside of the records `open`.
pub(crate) fn data_type(schema: &Schema, open: &[usize], node: &Node) -> Result<DataType, Refusal> {
    let mut walk = Walk {
        schema,
        open: open.to_vec(),
        depth: open.len(),
        columns: 0,
    };
    walk.data_type(node)
}

/// The shape of a union.
pub(crate) fn union<'a>(schema: &Schema, branches: &'a [Node]) -> Union<'a> {
    let present: Vec<&Node> = branches
        .iter()
        .filter(|branch| **branch != Node::Null)
        .collect();
    match present.as_slice() {
        [] => Union::Null,
        [one] => Union::One(one),
        [Node::Int, Node::Long] | [Node::Long, Node::Int] => Union::Long,
        [Node::Float, Node::Double] | [Node::Double, Node::Float] => Union::Double,
        several => Union::Members(members(schema, several)),
    }
}

/// Members are named by the type's name; where short names are equal (but for case), by the full name with underscores.
fn members<'a>(schema: &Schema, branches: &[&'a Node]) -> Vec<(String, &'a Node)> {
    let short: Vec<String> = branches
        .iter()
        .map(|branch| schema.type_name(branch).to_owned())
        .collect();
    let is_shared = |name: &str| {
        short
            .iter()
            .filter(|other| other.to_lowercase() == name.to_lowercase())
            .count()
            > 1
    };
    let name = |(branch, name): (&&'a Node, &String)| {
        let named = branch
            .place()
            .filter(|_| is_shared(name))
            .and_then(|place| schema.named(place));
        let full_name = named.map(|named| named.full_name.replace('.', "_"));
        (full_name.unwrap_or_else(|| name.clone()), *branch)
    };
    branches.iter().zip(&short).map(name).collect()
}

/// The members of the struct that a duration becomes.
pub(crate) const DURATION: [&str; 3] = ["months", "days", "millis"];

struct Walk<'a> {
    schema: &'a Schema,
    /// The records that enclose the place, where recursion ends.
    open: Vec<usize>,
    depth: usize,
    columns: usize,
}

impl Walk<'_> {
    fn member(&mut self, name: &str, node: &Node) -> Result<Field, Refusal> {
        let data_type = self
            .data_type(node)
            .map_err(|refusal| refusal.under(name))?;
        Ok(field(name, data_type))
    }

    fn data_type(&mut self, node: &Node) -> Result<DataType, Refusal> {
        self.columns += 1;
        if self.columns > COLUMNS_MAX {
            return Err(Refusal::new(format!(
                "the schema has more than {COLUMNS_MAX} columns, nested ones counted"
            )));
        }
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            return Err(Refusal::new(format!(
                "the schema nests deeper than {DEPTH_MAX}"
            )));
        }
        let data_type = match node {
            Node::Null | Node::Boolean => DataType::Boolean,
            Node::Int => DataType::Int32,
            Node::Long | Node::TimeMillis | Node::TimeMicros => DataType::Int64,
            Node::Float => DataType::Float32,
            Node::Double => DataType::Float64,
            Node::Bytes => DataType::Binary,
            Node::String | Node::Uuid => DataType::Utf8,
            Node::Decimal(precision, scale) => decimal(*precision, *scale)?,
            Node::Date => DataType::Date32,
            Node::TimestampMillis | Node::TimestampMicros => timestamp(),
            Node::TimestampNanos => instant(self.schema, Unit::Nanos)?,
            Node::LocalTimestamp(unit) => local(self.schema, *unit)?,
            Node::Array(item) => list(
                self.data_type(item)
                    .map_err(|refusal| refusal.under("[]"))?,
            ),
            Node::Map(value) => map(self
                .data_type(value)
                .map_err(|refusal| refusal.under("[]"))?),
            Node::Union(branches) => self.union(branches)?,
            Node::Named(place) => self.named(*place)?,
        };
        self.depth -= 1;
        Ok(data_type)
    }

    fn union(&mut self, branches: &[Node]) -> Result<DataType, Refusal> {
        match union(self.schema, branches) {
            Union::Null => Ok(DataType::Boolean),
            Union::One(node) => self.data_type(node),
            Union::Long => Ok(DataType::Int64),
            Union::Double => Ok(DataType::Float64),
            Union::Members(members) => {
                let fields = members.iter().map(|(name, node)| self.member(name, node));
                Ok(DataType::Struct(
                    fields.collect::<Result<Vec<_>, _>>()?.into(),
                ))
            }
        }
    }

    fn named(&mut self, place: usize) -> Result<DataType, Refusal> {
        let schema = self.schema;
        let Some(named) = schema.named(place) else {
            return Err(Refusal::new(
                "the schema names a type that it does not hold",
            ));
        };
        match &named.kind {
            NamedKind::Enum(_) | NamedKind::Fixed(_, FixedKind::Uuid) => Ok(DataType::Utf8),
            NamedKind::Fixed(_, FixedKind::Plain) => Ok(DataType::Binary),
            NamedKind::Fixed(_, FixedKind::Decimal(precision, scale)) => {
                decimal(*precision, *scale)
            }
            NamedKind::Fixed(_, FixedKind::Duration) => Ok(duration()),
            NamedKind::Record(members) if members.is_empty() => Ok(DataType::Boolean),
            NamedKind::Record(_) if self.open.contains(&place) => Ok(DataType::Utf8),
            NamedKind::Record(members) => {
                self.open.push(place);
                let fields = members
                    .iter()
                    .map(|member| self.member(&member.name, &member.node));
                let fields: Vec<Field> = fields.collect::<Result<_, _>>()?;
                self.open.pop();
                Ok(DataType::Struct(fields.into()))
            }
        }
    }
}

/// struct<months long, days long, millis long>
pub(crate) fn duration() -> DataType {
    DataType::Struct(
        DURATION
            .iter()
            .map(|name| field(name, DataType::Int64))
            .collect::<Vec<_>>()
            .into(),
    )
}

/// The type of a point in time.
fn instant(schema: &Schema, unit: Unit) -> Result<DataType, Refusal> {
    match (unit, schema.timestamps.nanos) {
        (Unit::Nanos, Nanos::Refused) => Err(Refusal::new(
            "timestamp-nanos would lose digits in a microsecond timestamp: write timestamp-micros, or let them go by value.allow_lossy: true",
        )),
        (_, _) => Ok(timestamp()),
    }
}

/// The type of a time without a zone.
fn local(schema: &Schema, unit: Unit) -> Result<DataType, Refusal> {
    instant(schema, unit)?;
    match schema.timestamps.local {
        LocalTimestamps::Utc => Ok(timestamp()),
        LocalTimestamps::Ntz => Ok(timestamp_ntz()),
        LocalTimestamps::Refused => Err(Refusal::new(
            "local-timestamp-* names no point in time: say by value.local_timestamps whether it is one in UTC (`utc`) or stays a time without a zone (`ntz`)",
        )),
    }
}
