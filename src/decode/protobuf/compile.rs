//! Compiles a message type against the columns of a table into steps: which field number goes to which column, and what a field that is not there
//! becomes. Does not read records.

use std::collections::HashMap;

use arrow::datatypes::{DataType, Fields};
use protox::prost_reflect::{FieldDescriptor, Kind, MessageDescriptor};

use super::quick::Quick;
use super::wire::{DELIMITED, FIXED32, FIXED64, GROUP, VARINT};
use crate::decode::avro::compile::Refused;
use crate::decode::builder::map_value;
use crate::decode::evolution::{Gaps, further_name};
use crate::decode::masking::{Masked, Stand};
use crate::decode::reject::Code;
use crate::decode::rules::{Rule, Wished};
use crate::decode::types::protobuf::{Meaning, meaning, member_type, value_type};
use crate::decode::types::{COLUMNS_MAX, DEPTH_MAX, Refusal, width};

/// Field numbers below this find their field in an array.
const NUMBERED_MAX: u32 = 256;

/// The steps for a whole value.
#[derive(Debug)]
pub(crate) enum Plan {
    /// A message, whose fields are columns.
    Record(Message),
    /// A message with a meaning of its own: one column.
    Single(Step),
}

/// How the fields of a message reach the columns.
#[derive(Debug)]
pub(crate) struct Message {
    /// In the order of their numbers, in which most writers send them.
    pub(crate) fields: Vec<Field>,
    /// The place of a field by its number, plus one; further numbers are in `far`.
    near: Vec<u16>,
    far: HashMap<u32, usize>,
    /// For each oneof, the places of its columns.
    pub(crate) oneofs: Vec<Vec<usize>>,
    /// Columns that the message does not have: null.
    pub(crate) absent: Vec<usize>,
}

#[derive(Debug)]
pub(crate) struct Field {
    pub(crate) name: String,
    pub(crate) number: u32,
    /// The place of the column among its siblings.
    pub(crate) column: usize,
    /// The place of its oneof, where it is in one.
    pub(crate) oneof: Option<usize>,
    pub(crate) shape: Shape,
    /// How it is read where it comes as most do.
    pub(crate) quick: Option<Quick>,
}

/// How often a field comes, and what it is when it does not.
#[derive(Debug)]
pub(crate) enum Shape {
    /// Null when it is not there.
    Optional(Step),
    /// Its type's default when it is not there.
    Implicit(Step),
    /// The record is bad when it is not there.
    Required(Step),
    /// Items with the values that each becomes.
    Repeated(Step, u64),
    Map(Box<Entry>),
    /// It is passed over, and its column is null.
    Nulled,
    /// It is passed over, and has no column.
    Left,
    /// It has no column; the record is bad when it is there.
    Unplaced(String),
}

/// The entries of a map.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) key: Scalar,
    pub(crate) value: Step,
    pub(crate) cells: u64,
}

/// What to read and what to append. The column is the one that the parent names.
#[derive(Debug)]
pub(crate) enum Step {
    Scalar(Scalar),
    Enum(Symbols),
    Message(Message),
    /// True.
    Empty,
    /// The value of field 1.
    Wrapper(Scalar),
    Timestamp,
    Duration,
    /// JSON text.
    Json(MessageDescriptor),
    /// The hash of what the step reads.
    Masked(Box<Step>, Box<Masked>),
    /// Something else in its place.
    Redacted(Stand),
    /// The value fits no column.
    Refuse(String),
}

/// The types of single values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scalar {
    Bool,
    Int32,
    Sint32,
    Sfixed32,
    Uint32,
    Fixed32,
    Int64,
    Sint64,
    Sfixed64,
    Uint64,
    Fixed64,
    Float,
    Double,
    Text,
    Bytes,
}

/// The names of an enum by their numbers; of several names of one number the first.
#[derive(Debug)]
pub(crate) struct Symbols(pub(crate) HashMap<i32, String>);

impl Scalar {
    /// The kind on the wire.
    #[inline(always)]
    pub(crate) fn wire(self) -> u8 {
        match self {
            Scalar::Text | Scalar::Bytes => DELIMITED,
            Scalar::Double | Scalar::Fixed64 | Scalar::Sfixed64 => FIXED64,
            Scalar::Float | Scalar::Fixed32 | Scalar::Sfixed32 => FIXED32,
            Scalar::Bool
            | Scalar::Int32
            | Scalar::Sint32
            | Scalar::Uint32
            | Scalar::Int64
            | Scalar::Sint64
            | Scalar::Uint64 => VARINT,
        }
    }

    fn of(kind: &Kind) -> Option<Scalar> {
        let scalar = match kind {
            Kind::Bool => Scalar::Bool,
            Kind::Int32 => Scalar::Int32,
            Kind::Sint32 => Scalar::Sint32,
            Kind::Sfixed32 => Scalar::Sfixed32,
            Kind::Uint32 => Scalar::Uint32,
            Kind::Fixed32 => Scalar::Fixed32,
            Kind::Int64 => Scalar::Int64,
            Kind::Sint64 => Scalar::Sint64,
            Kind::Sfixed64 => Scalar::Sfixed64,
            Kind::Uint64 => Scalar::Uint64,
            Kind::Fixed64 => Scalar::Fixed64,
            Kind::Float => Scalar::Float,
            Kind::Double => Scalar::Double,
            Kind::String => Scalar::Text,
            Kind::Bytes => Scalar::Bytes,
            Kind::Enum(_) | Kind::Message(_) => return None,
        };
        Some(scalar)
    }

    /// Whether a column of this type takes it: wider ones always, a narrower one what fits.
    fn fits(self, target: &DataType) -> bool {
        match self {
            Scalar::Bool => *target == DataType::Boolean,
            Scalar::Float => matches!(target, DataType::Float32 | DataType::Float64),
            Scalar::Double => *target == DataType::Float64,
            Scalar::Text => *target == DataType::Utf8,
            Scalar::Bytes => *target == DataType::Binary,
            Scalar::Int32
            | Scalar::Sint32
            | Scalar::Sfixed32
            | Scalar::Uint32
            | Scalar::Fixed32
            | Scalar::Int64
            | Scalar::Sint64
            | Scalar::Sfixed64
            | Scalar::Uint64
            | Scalar::Fixed64 => matches!(
                target,
                DataType::Int32 | DataType::Int64 | DataType::Decimal128(20, 0)
            ),
        }
    }
}

impl Step {
    /// The kind on the wire; a message may be a group too.
    #[inline(always)]
    pub(crate) fn takes(&self, wire: u8) -> bool {
        match self {
            Step::Scalar(scalar) => scalar.wire() == wire,
            Step::Enum(_) => wire == VARINT,
            Step::Message(_)
            | Step::Empty
            | Step::Wrapper(_)
            | Step::Timestamp
            | Step::Duration
            | Step::Json(_) => matches!(wire, DELIMITED | GROUP),
            Step::Masked(inner, _) => inner.takes(wire),
            Step::Redacted(_) | Step::Refuse(_) => true,
        }
    }

    /// Whether items may come packed into one delimited value.
    #[inline]
    pub(crate) fn packs(&self) -> bool {
        match self {
            Step::Scalar(scalar) => scalar.wire() != DELIMITED,
            Step::Enum(_) => true,
            Step::Masked(inner, _) => inner.packs(),
            Step::Message(_)
            | Step::Empty
            | Step::Wrapper(_)
            | Step::Timestamp
            | Step::Duration
            | Step::Json(_)
            | Step::Redacted(_)
            | Step::Refuse(_) => false,
        }
    }

    /// The kind on the wire of items that are packed.
    pub(crate) fn packed_wire(&self) -> u8 {
        match self {
            Step::Scalar(scalar) => scalar.wire(),
            Step::Masked(inner, _) => inner.packed_wire(),
            Step::Enum(_)
            | Step::Message(_)
            | Step::Empty
            | Step::Wrapper(_)
            | Step::Timestamp
            | Step::Duration
            | Step::Json(_)
            | Step::Redacted(_)
            | Step::Refuse(_) => VARINT,
        }
    }

    /// Whether a second value of a field is merged into the first.
    pub(crate) fn merges(&self) -> bool {
        match self {
            Step::Masked(inner, _) => inner.merges(),
            Step::Scalar(_) | Step::Enum(_) | Step::Empty | Step::Redacted(_) | Step::Refuse(_) => {
                false
            }
            Step::Message(_)
            | Step::Wrapper(_)
            | Step::Timestamp
            | Step::Duration
            | Step::Json(_) => true,
        }
    }
}

impl Message {
    /// The field with a number, and its place; most come at the place after the last one.
    #[inline(always)]
    pub(crate) fn look_up(&self, number: u32, next: usize) -> Option<(usize, &Field)> {
        match self.fields.get(next) {
            Some(field) if field.number == number => Some((next, field)),
            Some(_) | None => {
                let place = self.find(number)?;
                Some((place, self.fields.get(place)?))
            }
        }
    }

    /// The place of the field with a number.
    #[inline]
    pub(crate) fn find(&self, number: u32) -> Option<usize> {
        match self.near.get(number as usize) {
            Some(0) => None,
            Some(place) => Some(usize::from(*place) - 1),
            None => self.far.get(&number).copied(),
        }
    }
}

/// Compiles `message` against `columns`: the table's, of which `is_record` says whether records may fill them.
pub(crate) fn compile(
    message: &MessageDescriptor,
    columns: &Fields,
    is_record: &dyn Fn(&str) -> bool,
    gaps: &mut Gaps<'_>,
) -> Result<Plan, Refused> {
    let mut compiler = Compiler::new(gaps);
    compiler.open.push(message.full_name().to_owned());
    compiler.note_choice(message);
    compiler
        .message(message, columns, is_record)
        .map(Plan::Record)
}

/// Compiles `message`, which has a meaning of its own, against one column.
pub(crate) fn compile_single(
    message: &MessageDescriptor,
    column: &DataType,
    gaps: &mut Gaps<'_>,
) -> Result<Plan, Refused> {
    let step = Compiler::new(gaps).step(&Kind::Message(message.clone()), column)?;
    Ok(Plan::Single(step))
}

struct Compiler<'a, 'g> {
    gaps: &'a mut Gaps<'g>,
    /// The messages that enclose the place.
    open: Vec<String>,
    /// The messages of which some fields are left out or masked.
    chosen: Vec<String>,
    path: Vec<String>,
    steps: usize,
}

impl<'a, 'g> Compiler<'a, 'g> {
    fn new(gaps: &'a mut Gaps<'g>) -> Self {
        Compiler {
            gaps,
            open: Vec::new(),
            chosen: Vec::new(),
            path: Vec::new(),
            steps: 0,
        }
    }

    fn note_choice(&mut self, message: &MessageDescriptor) {
        if matches!(self.gaps.rule(), Rule::Chosen(_)) {
            self.chosen.push(message.full_name().to_owned());
        }
    }

    fn refuse<T>(&self, code: Code, message: String) -> Result<T, Refused> {
        Err(Refused {
            code,
            path: self.path.join("."),
            message,
        })
    }

    /// What does not fit its column costs its field, where a further column may take it, else only the records that hold it.
    fn mismatch(&self, kind: &Kind, target: &DataType) -> Result<Step, Refused> {
        let message = kind.as_message().map(|message| message.full_name());
        let symbols = kind.as_enum().map(|symbols| symbols.full_name());
        let written = match message.or(symbols) {
            Some(name) => name.to_owned(),
            None => format!("{kind:?}").to_lowercase(),
        };
        self.unfit(format!(
            "the message has `{written}` where the column is {target}"
        ))
    }

    fn unfit(&self, message: String) -> Result<Step, Refused> {
        if self.gaps.is_strict() {
            return self.refuse(Code::TypeMismatch, message);
        }
        Ok(Step::Refuse(message))
    }

    fn message(
        &mut self,
        message: &MessageDescriptor,
        columns: &Fields,
        takes: &dyn Fn(&str) -> bool,
    ) -> Result<Message, Refused> {
        let mut members: Vec<FieldDescriptor> = message.fields().collect();
        members.sort_by_key(FieldDescriptor::number);
        let mut fields = Vec::with_capacity(members.len());
        let mut oneofs: Vec<(String, Vec<usize>)> = Vec::new();
        let mut is_absent = vec![true; columns.len()];
        let of_message = self.gaps.rule();
        for member in &members {
            self.path.push(member.name().to_owned());
            self.gaps.enter(of_message.member(member.name()));
            let found = self.member(member, columns, takes);
            self.gaps.leave(of_message);
            let (place, shape) = found?;
            self.path.pop();
            if let (None, Shape::Unplaced(_)) = (place, &shape) {
                fields.push(Field {
                    name: member.name().to_owned(),
                    number: member.number(),
                    // The shape leaves any column as it is.
                    column: 0,
                    oneof: None,
                    shape,
                    quick: None,
                });
                continue;
            }
            let oneof = member
                .containing_oneof()
                .filter(|oneof| !oneof.is_synthetic());
            let oneof = oneof.map(|oneof| {
                let known = oneofs
                    .iter()
                    .position(|(name, _)| name == oneof.full_name());
                let index = known.unwrap_or_else(|| {
                    oneofs.push((oneof.full_name().to_owned(), Vec::new()));
                    oneofs.len() - 1
                });
                if let (Some((_, places)), Some(place)) = (oneofs.get_mut(index), place) {
                    places.push(place);
                }
                index
            });
            fields.push(Field {
                name: member.name().to_owned(),
                number: member.number(),
                // Without a column the shape leaves any as it is.
                column: place.unwrap_or(0),
                oneof,
                quick: Quick::of(member.number(), &shape, oneof.is_some()),
                shape,
            });
            if let Some(absent) = place.and_then(|place| is_absent.get_mut(place)) {
                *absent = false;
            }
        }
        let absent = columns.iter().enumerate().zip(is_absent);
        let absent = absent.filter(|((_, column), is_absent)| *is_absent && takes(column.name()));
        let (near, far) = numbered(&fields);
        Ok(Message {
            near,
            far,
            oneofs: oneofs.into_iter().map(|(_, places)| places).collect(),
            absent: absent.map(|((place, _), _)| place).collect(),
            fields,
        })
    }

    /// The place of a field's column, and how it comes.
    fn member(
        &mut self,
        member: &FieldDescriptor,
        columns: &Fields,
        takes: &dyn Fn(&str) -> bool,
    ) -> Result<(Option<usize>, Shape), Refused> {
        let find = |name: &str| {
            let mut places = columns.iter().enumerate();
            places.find(|(_, column)| column.name() == name && takes(name))
        };
        let wished = match self.gaps.rule().of(|| member_type(member, &self.open)) {
            Wished::Nothing => return Ok((None, Shape::Left)),
            Wished::Column(wished) => wished,
        };
        let Some((place, column)) = find(member.name()) else {
            return Ok((None, self.missing(member.name(), wished)));
        };
        let (mark, path, open) = (self.gaps.mark(), self.path.len(), self.open.len());
        let conflict = match self.shape(member, column.data_type()) {
            Ok(shape) => {
                self.gaps.under(mark, column.name());
                return Ok((Some(place), shape));
            }
            Err(conflict) if self.gaps.has_further() => conflict,
            Err(conflict) => return Err(conflict),
        };
        self.gaps.rewind(mark);
        self.path.truncate(path);
        self.open.truncate(open);
        let Ok(wished) = wished else {
            return Ok((Some(place), Shape::Optional(Step::Refuse(conflict.message))));
        };
        let name = further_name(member.name(), &wished);
        let Some((further, column)) = find(&name) else {
            return Ok((None, self.missing(&name, Ok(wished))));
        };
        let was_lenient = self.gaps.lenient();
        let shape = self.shape(member, column.data_type());
        self.gaps.restore(was_lenient);
        self.gaps.under(mark, column.name());
        Ok((Some(further), shape?))
    }

    /// Asks for a column; without it the field may not be there.
    fn missing(&mut self, name: &str, wished: Result<DataType, Refusal>) -> Shape {
        let reason = self.gaps.add(name, wished).err().unwrap_or_default();
        Shape::Unplaced(format!(
            "the table has no column `{name}` for the field: {reason}"
        ))
    }

    fn shape(&mut self, member: &FieldDescriptor, target: &DataType) -> Result<Shape, Refused> {
        let kind = member.kind();
        if let (Rule::Redacted, true) = (self.gaps.rule(), member.is_map() || member.is_list()) {
            return Ok(Shape::Nulled);
        }
        if let Some(entry) = kind.as_message().filter(|_| member.is_map()) {
            let key = Scalar::of(&entry.map_entry_key_field().kind());
            let column = if let DataType::Map(entries, _) = target {
                map_value(entries.data_type())
            } else {
                None
            };
            let (Some(key), Some(column)) = (key, column) else {
                return self.mismatch(&kind, target).map(Shape::Optional);
            };
            self.path.push("[]".to_owned());
            let value = self.step(&entry.map_entry_value_field().kind(), column.data_type())?;
            self.path.pop();
            let cells = 1 + u64::try_from(width(column.data_type())).unwrap_or(u64::MAX - 1);
            return Ok(Shape::Map(Box::new(Entry { key, value, cells })));
        }
        if member.is_list() {
            let DataType::List(item) = target else {
                return self.mismatch(&kind, target).map(Shape::Optional);
            };
            self.path.push("[]".to_owned());
            let step = self.step(&kind, item.data_type())?;
            self.path.pop();
            let cells = u64::try_from(width(item.data_type())).unwrap_or(u64::MAX);
            return Ok(Shape::Repeated(step, cells));
        }
        let step = self.step(&kind, target)?;
        Ok(if member.is_required() {
            Shape::Required(step)
        } else if member.supports_presence() {
            Shape::Optional(step)
        } else {
            Shape::Implicit(step)
        })
    }

    fn step(&mut self, kind: &Kind, target: &DataType) -> Result<Step, Refused> {
        self.steps += 1;
        if self.steps > COLUMNS_MAX || self.open.len() > DEPTH_MAX {
            let message = format!(
                "the message has more than {COLUMNS_MAX} fields or nests deeper than {DEPTH_MAX}"
            );
            return self.refuse(Code::UnusableSchema, message);
        }
        if let Some(step) = self.ruled(kind, target) {
            return step;
        }
        if let Some(scalar) = Scalar::of(kind) {
            return if scalar.fits(target) {
                Ok(Step::Scalar(scalar))
            } else {
                self.mismatch(kind, target)
            };
        }
        match (kind, target) {
            (Kind::Enum(symbols), DataType::Utf8) => {
                let mut names = HashMap::new();
                for value in symbols.values() {
                    names
                        .entry(value.number())
                        .or_insert_with(|| value.name().to_owned());
                }
                Ok(Step::Enum(Symbols(names)))
            }
            (Kind::Message(message), _) => self.meaning(message, target),
            (_, _) => self.mismatch(kind, target),
        }
    }

    /// What the rule makes of a single value, where it does not leave it as it is.
    fn ruled(&mut self, kind: &Kind, target: &DataType) -> Option<Result<Step, Refused>> {
        match self.gaps.rule() {
            Rule::Free | Rule::Hidden => None,
            Rule::Left => Some(Ok(Step::Redacted(Stand::Null))),
            Rule::Redacted => {
                let natural = value_type(kind, &self.open).ok();
                Some(Ok(Step::Redacted(Stand::of(natural.as_ref(), target))))
            }
            Rule::Hashed(hasher) => {
                let natural = value_type(kind, &self.open);
                let masked = natural.and_then(|natural| {
                    Masked::new(&natural, hasher).map(|masked| (masked, natural))
                });
                Some(match masked {
                    Ok((masked, natural)) if *target == DataType::Utf8 => {
                        let outer = self.gaps.enter(Rule::Hidden);
                        let step = self.step(kind, &natural);
                        self.gaps.leave(outer);
                        step.map(|step| Step::Masked(Box::new(step), masked))
                    }
                    Ok(_) => self.mismatch(kind, target),
                    Err(refusal) => self.unfit(refusal.reason),
                })
            }
            Rule::Chosen(_) => {
                let message = kind.as_message();
                let is_fields = message.is_some_and(|it| meaning(it) == Meaning::Fields);
                let is_open =
                    message.is_some_and(|it| self.open.iter().any(|open| open == it.full_name()));
                (!is_fields || is_open).then(|| self.mismatch(kind, target))
            }
        }
    }

    fn meaning(&mut self, message: &MessageDescriptor, target: &DataType) -> Result<Step, Refused> {
        let is_open = self.open.iter().any(|open| open == message.full_name());
        match (meaning(message), target) {
            (Meaning::Empty, DataType::Boolean) => Ok(Step::Empty),
            (Meaning::Timestamp, DataType::Timestamp(_, Some(_))) => Ok(Step::Timestamp),
            (Meaning::Duration, DataType::Int64) => Ok(Step::Duration),
            (Meaning::Json, DataType::Utf8) => Ok(Step::Json(message.clone())),
            (Meaning::Fields, DataType::Utf8) if is_open => {
                let would_show = self.chosen.iter().any(|it| it == message.full_name());
                if would_show && !matches!(self.gaps.rule(), Rule::Hidden) {
                    return self.unfit(format!(
                        "the text of the recursive `{}` would hold what `columns` leaves out or masks of it; leave it out too",
                        message.full_name()
                    ));
                }
                Ok(Step::Json(message.clone()))
            }
            (Meaning::Wrapper, _) => {
                let value = message
                    .get_field(1)
                    .and_then(|value| Scalar::of(&value.kind()));
                match value {
                    Some(scalar) if scalar.fits(target) => Ok(Step::Wrapper(scalar)),
                    _ => self.mismatch(&Kind::Message(message.clone()), target),
                }
            }
            (Meaning::Fields, DataType::Struct(members)) if !is_open => {
                self.open.push(message.full_name().to_owned());
                self.note_choice(message);
                let step = self.message(message, members, &|_| true)?;
                self.open.pop();
                Ok(Step::Message(step))
            }
            (_, _) => self.mismatch(&Kind::Message(message.clone()), target),
        }
    }
}

fn numbered(fields: &[Field]) -> (Vec<u16>, HashMap<u32, usize>) {
    let last = fields.last().map_or(0, |field| field.number);
    let near_length = (last + 1).min(NUMBERED_MAX);
    let mut near = vec![0u16; near_length as usize];
    let mut far = HashMap::new();
    for (place, field) in fields.iter().enumerate() {
        match (
            near.get_mut(field.number as usize),
            u16::try_from(place + 1),
        ) {
            (Some(slot), Ok(place)) => *slot = place,
            (_, _) => {
                far.insert(field.number, place);
            }
        }
    }
    (near, far)
}
