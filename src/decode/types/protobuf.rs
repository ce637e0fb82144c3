//! Protobuf to Arrow types. Does not decode: `protobuf::compile` follows the same shapes.

use arrow::datatypes::{DataType, Field};
use protox::prost_reflect::{FieldDescriptor, Kind, MessageDescriptor};

use super::{COLUMNS_MAX, DEPTH_MAX, Refusal, Root, field, list, map, timestamp};

/// The type of uint64 and fixed64, which no Delta integer holds.
const UINT64: DataType = DataType::Decimal128(20, 0);

/// What a message type means, where it is more than its fields.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Meaning {
    /// A message of fields.
    Fields,
    /// A message without fields: a boolean, whether it is present.
    Empty,
    /// `google.protobuf.*Value`: its one value, null where it is absent.
    Wrapper,
    /// `google.protobuf.Timestamp`
    Timestamp,
    /// `google.protobuf.Duration`
    Duration,
    /// `google.protobuf.Struct`, `Value`, `ListValue` and `Any`: JSON text.
    Json,
}

/// The meaning of a message type.
pub(crate) fn meaning(message: &MessageDescriptor) -> Meaning {
    match message.full_name() {
        "google.protobuf.Timestamp" => Meaning::Timestamp,
        "google.protobuf.Duration" => Meaning::Duration,
        "google.protobuf.Struct"
        | "google.protobuf.Value"
        | "google.protobuf.ListValue"
        | "google.protobuf.Any" => Meaning::Json,
        "google.protobuf.DoubleValue"
        | "google.protobuf.FloatValue"
        | "google.protobuf.Int64Value"
        | "google.protobuf.UInt64Value"
        | "google.protobuf.Int32Value"
        | "google.protobuf.UInt32Value"
        | "google.protobuf.BoolValue"
        | "google.protobuf.StringValue"
        | "google.protobuf.BytesValue" => Meaning::Wrapper,
        _ if message.fields().len() == 0 => Meaning::Empty,
        _ => Meaning::Fields,
    }
}

/// The columns that a message becomes, or the one type of a message with a meaning of its own.
pub(crate) fn root(message: &MessageDescriptor) -> Result<Root, Refusal> {
    let mut walk = Walk {
        open: Vec::new(),
        columns: 0,
    };
    let data_type = walk.message(message)?;
    if let DataType::Struct(fields) = data_type {
        return Ok(Root::Record(fields));
    }
    Ok(Root::Single(data_type))
}

/// The type that a field becomes inside of the messages `open`.
pub(crate) fn member_type(member: &FieldDescriptor, open: &[String]) -> Result<DataType, Refusal> {
    let mut walk = Walk {
        open: open.to_vec(),
        columns: 0,
    };
    walk.member_type(member)
}

/// The type that a single value becomes inside of the messages `open`.
pub(crate) fn value_type(kind: &Kind, open: &[String]) -> Result<DataType, Refusal> {
    let mut walk = Walk {
        open: open.to_vec(),
        columns: 0,
    };
    walk.kind(kind)
}

struct Walk {
    /// The messages that enclose the place, where recursion ends.
    open: Vec<String>,
    columns: usize,
}

impl Walk {
    fn message(&mut self, message: &MessageDescriptor) -> Result<DataType, Refusal> {
        match meaning(message) {
            Meaning::Empty => Ok(DataType::Boolean),
            Meaning::Timestamp => Ok(timestamp()),
            Meaning::Duration => Ok(DataType::Int64),
            Meaning::Json => Ok(DataType::Utf8),
            Meaning::Wrapper => match message.get_field(1) {
                Some(value) => self.kind(&value.kind()),
                None => Ok(DataType::Boolean),
            },
            Meaning::Fields if self.open.iter().any(|open| open == message.full_name()) => {
                Ok(DataType::Utf8)
            }
            Meaning::Fields => {
                if self.open.len() >= DEPTH_MAX {
                    return Err(Refusal::new(format!(
                        "the message nests deeper than {DEPTH_MAX}"
                    )));
                }
                self.open.push(message.full_name().to_owned());
                let mut members: Vec<FieldDescriptor> = message.fields().collect();
                // As they are written, which is not always the order of their numbers.
                members.sort_by_key(|member| member.path().last().copied());
                let fields = members.iter().map(|member| self.member(member));
                let fields: Vec<Field> = fields.collect::<Result<_, _>>()?;
                self.open.pop();
                Ok(DataType::Struct(fields.into()))
            }
        }
    }

    fn member(&mut self, member: &FieldDescriptor) -> Result<Field, Refusal> {
        let data_type = self
            .member_type(member)
            .map_err(|refusal| refusal.under(member.name()))?;
        Ok(field(member.name(), data_type))
    }

    fn member_type(&mut self, member: &FieldDescriptor) -> Result<DataType, Refusal> {
        self.columns += 1;
        if self.columns > COLUMNS_MAX {
            return Err(Refusal::new(format!(
                "the message has more than {COLUMNS_MAX} columns, nested ones counted"
            )));
        }
        let kind = member.kind();
        if let Some(entry) = kind.as_message().filter(|_| member.is_map()) {
            let value = self.kind(&entry.map_entry_value_field().kind());
            return Ok(map(value.map_err(|refusal| refusal.under("[]"))?));
        }
        if member.is_list() {
            return Ok(list(
                self.kind(&kind).map_err(|refusal| refusal.under("[]"))?,
            ));
        }
        self.kind(&kind)
    }

    fn kind(&mut self, kind: &Kind) -> Result<DataType, Refusal> {
        let data_type = match kind {
            Kind::Bool => DataType::Boolean,
            Kind::Int32 | Kind::Sint32 | Kind::Sfixed32 => DataType::Int32,
            Kind::Uint32 | Kind::Fixed32 | Kind::Int64 | Kind::Sint64 | Kind::Sfixed64 => {
                DataType::Int64
            }
            Kind::Uint64 | Kind::Fixed64 => UINT64,
            Kind::Float => DataType::Float32,
            Kind::Double => DataType::Float64,
            Kind::String | Kind::Enum(_) => DataType::Utf8,
            Kind::Bytes => DataType::Binary,
            Kind::Message(message) => self.message(message)?,
        };
        Ok(data_type)
    }
}
