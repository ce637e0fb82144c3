//! Compiles a writer schema against the columns of a table into steps: which bytes to read and which column to append to. What cannot be
//! carried becomes a step that rejects, so that it costs only the records that hold it. Does not read records.

use std::sync::Arc;

use arrow::datatypes::{DataType, FieldRef, Fields};

use super::cursor::Items;
use super::schema::{Field, FixedKind, NamedKind, Node, Schema, Unit};
use crate::decode::builder::map_value;
use crate::decode::evolution::{Gaps, further_name};
use crate::decode::masking::{Masked, Stand};
use crate::decode::reject::Code;
use crate::decode::rules::{Rule, Wished};
use crate::decode::types::avro::{DURATION, Union, union};
use crate::decode::types::{self, COLUMNS_MAX, DEPTH_MAX, Refusal, width};

/// The steps for a whole value.
#[derive(Debug)]
pub(crate) enum Plan {
    /// A record, whose fields are columns.
    Record(Record),
    /// Anything else: one column.
    Single(Step),
}

/// Why no record of a schema can become a row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Refused {
    pub(crate) code: Code,
    pub(crate) path: String,
    pub(crate) message: String,
}

/// How the fields of a record reach the columns.
#[derive(Debug)]
pub(crate) struct Record {
    /// In the order of the writer.
    pub(crate) fields: Vec<RecordField>,
    /// Columns that the writer does not have: null.
    pub(crate) absent: Vec<usize>,
}

#[derive(Debug)]
pub(crate) struct RecordField {
    pub(crate) name: String,
    /// The place of the column among its siblings.
    pub(crate) column: usize,
    pub(crate) step: Step,
}

/// What to read and what to append. The column is the one that the parent step names.
#[derive(Debug)]
pub(crate) enum Step {
    /// No byte; a null.
    Null,
    /// No byte, and no column.
    Nothing,
    Boolean,
    IntToInt,
    IntToLong,
    IntToDouble,
    LongToInt,
    /// Also timestamps in microseconds and times in microseconds.
    LongToLong,
    LongToDouble,
    FloatToFloat,
    FloatToDouble,
    DoubleToDouble,
    /// A number that becomes a thousand times as much: time-millis.
    IntMillisToMicros,
    /// timestamp-millis
    LongMillisToMicros,
    /// timestamp-nanos, cut
    LongNanosToMicros,
    Text,
    Bytes,
    Fixed(usize),
    UuidOfBytes,
    Enum(Vec<String>),
    Decimal(Decimal),
    Duration,
    /// No byte; true.
    EmptyRecord,
    Record(Record),
    Array(Box<Step>, Items),
    Map(Box<Step>, Items),
    /// A union of null and one other type; the number is null's branch.
    Nullable(u8, Box<Step>),
    Union(Vec<Branch>),
    /// A recursive record as JSON text.
    Json(Arc<Schema>, usize),
    /// The hash of what the step reads.
    Masked(Box<Step>, Masked),
    /// Passed over; something else in its place, if it is not null.
    Redacted(Arc<Schema>, Node, Stand),
    /// Passed over, and no column.
    Left(Arc<Schema>, Node),
    /// The value fits no column.
    Refuse(Code, String),
    /// The field has no column: its value must be null, where it has this branch for it.
    Unplaced(Option<usize>, String),
}

/// What a branch of a union does to the union's column.
#[derive(Debug)]
pub(crate) enum Branch {
    Null,
    /// The column takes it.
    Same(Step),
    /// This member of the struct takes it; the others are null.
    Member(usize, String, Step),
}

/// A decimal on its way from the writer's scale to the column's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Decimal {
    /// The bytes of a fixed; `None` reads a length.
    pub(crate) size: Option<usize>,
    /// The writer's scale.
    pub(crate) scale: u32,
    /// The column's.
    pub(crate) to_precision: u8,
    pub(crate) to_scale: u32,
}

/// Compiles `schema` against `columns`: the table's, of which `is_record` says whether records may fill them.
pub(crate) fn compile(
    schema: &Arc<Schema>,
    columns: &Fields,
    is_record: &dyn Fn(&str) -> bool,
    gaps: &mut Gaps<'_>,
) -> Result<Plan, Refused> {
    let Node::Named(place) = schema.root else {
        return Err(refused(
            Code::TypeMismatch,
            "",
            "the writer schema is not a record",
        ));
    };
    let Some(NamedKind::Record(members)) = schema.named(place).map(|named| &named.kind) else {
        return Err(refused(
            Code::TypeMismatch,
            "",
            "the writer schema is not a record",
        ));
    };
    let mut compiler = Compiler {
        schema,
        gaps,
        open: vec![place],
        chosen: Vec::new(),
        path: Vec::new(),
        depth: 0,
        steps: 0,
    };
    compiler.note_choice(place);
    let record = compiler.record(members, columns, is_record)?;
    Ok(Plan::Record(record))
}

/// Compiles `schema`, whose root is no record, against one column.
pub(crate) fn compile_single(
    schema: &Arc<Schema>,
    column: &DataType,
    gaps: &mut Gaps<'_>,
) -> Result<Plan, Refused> {
    let mut compiler = Compiler {
        schema,
        gaps,
        open: Vec::new(),
        chosen: Vec::new(),
        path: Vec::new(),
        depth: 0,
        steps: 0,
    };
    compiler.step(&schema.root, column).map(Plan::Single)
}

fn refused(code: Code, path: &str, message: &str) -> Refused {
    Refused {
        code,
        path: path.to_owned(),
        message: message.to_owned(),
    }
}

struct Compiler<'a, 'g> {
    schema: &'a Arc<Schema>,
    gaps: &'a mut Gaps<'g>,
    open: Vec<usize>,
    /// The records of which some members are left out or masked.
    chosen: Vec<usize>,
    path: Vec<String>,
    depth: usize,
    steps: usize,
}

/// What a compiler goes back to when a field cannot be compiled.
struct Mark {
    path: usize,
    open: usize,
    depth: usize,
    wishes: usize,
}

impl Compiler<'_, '_> {
    fn note_choice(&mut self, place: usize) {
        if matches!(self.gaps.rule(), Rule::Chosen(_)) {
            self.chosen.push(place);
        }
    }

    fn refuse(&self, code: Code, message: String) -> Refused {
        Refused {
            code,
            path: self.path.join("."),
            message,
        }
    }

    /// What does not fit its column costs its field, where a further column may take it, else only the records that hold it.
    fn mismatch(&self, node: &Node, target: &DataType) -> Result<Step, Refused> {
        let written = self.schema.type_name(node);
        self.unfit(format!(
            "the writer schema has `{written}` where the column is {target}"
        ))
    }

    fn unfit(&self, message: String) -> Result<Step, Refused> {
        if self.gaps.is_strict() {
            return Err(self.refuse(Code::TypeMismatch, message));
        }
        Ok(Step::Refuse(Code::TypeMismatch, message))
    }

    fn mark(&self) -> Mark {
        Mark {
            path: self.path.len(),
            open: self.open.len(),
            depth: self.depth,
            wishes: self.gaps.mark(),
        }
    }

    fn rewind(&mut self, mark: &Mark) {
        self.path.truncate(mark.path);
        self.open.truncate(mark.open);
        self.depth = mark.depth;
        self.gaps.rewind(mark.wishes);
    }

    fn data_type(&self, node: &Node) -> Result<DataType, Refusal> {
        types::avro::data_type(self.schema, &self.open, node)
    }

    fn record(
        &mut self,
        members: &[Field],
        columns: &Fields,
        takes: &dyn Fn(&str) -> bool,
    ) -> Result<Record, Refused> {
        let mut fields = Vec::with_capacity(members.len());
        let mut is_absent = vec![true; columns.len()];
        let of_record = self.gaps.rule();
        for member in members {
            self.path.push(member.name.clone());
            self.gaps.enter(of_record.member(&member.name));
            let found = self.member(member, columns, takes);
            self.gaps.leave(of_record);
            let (place, step) = found?;
            self.path.pop();
            if let Some(absent) = place.and_then(|place| is_absent.get_mut(place)) {
                *absent = false;
            }
            fields.push(RecordField {
                name: member.name.clone(),
                // Without a column the step leaves any column as it is.
                column: place.unwrap_or(0),
                step,
            });
        }
        let absent = columns.iter().enumerate().zip(is_absent);
        let absent = absent.filter(|((_, column), is_absent)| *is_absent && takes(column.name()));
        Ok(Record {
            fields,
            absent: absent.map(|((place, _), _)| place).collect(),
        })
    }

    /// The place of a field's column, and what to do.
    fn member(
        &mut self,
        member: &Field,
        columns: &Fields,
        takes: &dyn Fn(&str) -> bool,
    ) -> Result<(Option<usize>, Step), Refused> {
        let find = |name: &str| {
            let mut places = columns.iter().enumerate();
            places.find(|(_, column)| *column.name() == name && takes(name))
        };
        let wished = match self.gaps.rule().of(|| self.data_type(&member.node)) {
            Wished::Nothing => {
                let left = Step::Left(Arc::clone(self.schema), member.node.clone());
                return Ok((None, left));
            }
            Wished::Column(wished) => wished,
        };
        let Some((place, column)) = find(&member.name) else {
            return Ok((None, self.missing(member, &member.name, wished)));
        };
        let mark = self.mark();
        let conflict = match self.step(&member.node, column.data_type()) {
            Ok(step) => {
                self.gaps.under(mark.wishes, column.name());
                return Ok((Some(place), step));
            }
            Err(conflict) if self.gaps.has_further() => conflict,
            Err(conflict) => return Err(conflict),
        };
        self.rewind(&mark);
        let refuse = |conflict: Refused| Step::Refuse(conflict.code, conflict.message);
        let wished = match wished {
            Ok(wished) => wished,
            Err(_) => return Ok((Some(place), refuse(conflict))),
        };
        let name = further_name(&member.name, &wished);
        let Some((further, column)) = find(&name) else {
            return Ok((None, self.missing(member, &name, Ok(wished))));
        };
        let was_lenient = self.gaps.lenient();
        let step = self.step(&member.node, column.data_type());
        self.gaps.restore(was_lenient);
        self.gaps.under(mark.wishes, column.name());
        Ok((Some(further), step?))
    }

    /// Asks for a column; without it, only null is a value.
    fn missing(&mut self, member: &Field, name: &str, wished: Result<DataType, Refusal>) -> Step {
        let Err(reason) = self.gaps.add(name, wished) else {
            return Step::Unplaced(None, String::new());
        };
        if member.node == Node::Null {
            return Step::Nothing;
        }
        let null_branch = if let Node::Union(branches) = &member.node {
            branches.iter().position(|branch| *branch == Node::Null)
        } else {
            None
        };
        let message = format!("the table has no column `{name}` for the field: {reason}");
        Step::Unplaced(null_branch, message)
    }

    fn step(&mut self, node: &Node, target: &DataType) -> Result<Step, Refused> {
        self.steps += 1;
        if self.steps > COLUMNS_MAX || self.depth >= DEPTH_MAX {
            let message = format!(
                "the writer schema has more than {COLUMNS_MAX} types or nests deeper than {DEPTH_MAX}"
            );
            return Err(self.refuse(Code::UnusableSchema, message));
        }
        self.depth += 1;
        let step = self.step_within(node, target)?;
        self.depth -= 1;
        Ok(step)
    }

    /// What the rule makes of a value, where it does not leave it as it is.
    fn ruled(&mut self, node: &Node, target: &DataType) -> Option<Result<Step, Refused>> {
        let has_items = matches!(node, Node::Array(_) | Node::Map(_) | Node::Union(_));
        match self.gaps.rule() {
            Rule::Free | Rule::Hidden => None,
            Rule::Left => Some(Ok(Step::Redacted(
                Arc::clone(self.schema),
                node.clone(),
                Stand::Null,
            ))),
            Rule::Redacted => {
                let natural = self.data_type(node).ok();
                let stand = Stand::of(natural.as_ref(), target);
                let step = Step::Redacted(Arc::clone(self.schema), node.clone(), stand);
                Some(Ok(step))
            }
            Rule::Hashed(_) | Rule::Chosen(_) if has_items || *node == Node::Null => None,
            Rule::Hashed(hasher) => {
                let natural = self.data_type(node);
                let masked = natural.and_then(|natural| {
                    Masked::new(&natural, hasher).map(|masked| (masked, natural))
                });
                Some(match masked {
                    Ok((masked, natural)) if *target == DataType::Utf8 => {
                        let outer = self.gaps.enter(Rule::Hidden);
                        let step = self.step_within(node, &natural);
                        self.gaps.leave(outer);
                        step.map(|step| Step::Masked(Box::new(step), masked))
                    }
                    Ok(_) => self.mismatch(node, target),
                    Err(refusal) => self.unfit(refusal.reason),
                })
            }
            Rule::Chosen(_) => {
                let place = node.place().filter(|place| !self.open.contains(place));
                let named = place.and_then(|place| self.schema.named(place));
                let is_record = named.is_some_and(|it| matches!(it.kind, NamedKind::Record(_)));
                (!is_record).then(|| self.mismatch(node, target))
            }
        }
    }

    fn step_within(&mut self, node: &Node, target: &DataType) -> Result<Step, Refused> {
        if let Some(step) = self.ruled(node, target) {
            return step;
        }
        let step = match (node, target) {
            (Node::Null, _) => Step::Null,
            (Node::Boolean, DataType::Boolean) => Step::Boolean,
            (Node::Int, DataType::Int32) | (Node::Date, DataType::Date32) => Step::IntToInt,
            (Node::Int, DataType::Int64) => Step::IntToLong,
            (Node::Int, DataType::Float64) => Step::IntToDouble,
            (Node::Long, DataType::Int32) => Step::LongToInt,
            (Node::Long | Node::TimeMicros, DataType::Int64) => Step::LongToLong,
            (Node::Long, DataType::Float64) => Step::LongToDouble,
            (Node::Float, DataType::Float32) => Step::FloatToFloat,
            (Node::Float, DataType::Float64) => Step::FloatToDouble,
            (Node::Double, DataType::Float64) => Step::DoubleToDouble,
            (Node::TimeMillis, DataType::Int64) => Step::IntMillisToMicros,
            (Node::TimestampMillis, DataType::Timestamp(_, Some(_))) => Step::LongMillisToMicros,
            (Node::TimestampMicros, DataType::Timestamp(_, Some(_))) => Step::LongToLong,
            (Node::TimestampNanos | Node::LocalTimestamp(_), DataType::Timestamp(_, _))
                if self.data_type(node).as_ref() == Ok(target) =>
            {
                if let Node::LocalTimestamp(Unit::Millis) = node {
                    Step::LongMillisToMicros
                } else if let Node::LocalTimestamp(Unit::Micros) = node {
                    Step::LongToLong
                } else {
                    Step::LongNanosToMicros
                }
            }
            (Node::String | Node::Uuid, DataType::Utf8) => Step::Text,
            (Node::Bytes, DataType::Binary) => Step::Bytes,
            (Node::Decimal(_, scale), DataType::Decimal128(precision, to_scale)) => {
                Step::Decimal(decimal(None, *scale, *precision, *to_scale))
            }
            (Node::Array(item), DataType::List(target)) => {
                let (step, items) = self.items(item, target)?;
                Step::Array(step, items)
            }
            (Node::Map(value), DataType::Map(entries, _)) => {
                let Some(target) = map_value(entries.data_type()) else {
                    return self.mismatch(node, target);
                };
                let (step, mut items) = self.items(value, target)?;
                // The key's length takes at least a byte.
                items.bytes_min += 1;
                items.cells += 1;
                Step::Map(step, items)
            }
            (Node::Union(branches), _) => self.union(branches, target)?,
            (Node::Named(place), _) => self.named(*place, target)?,
            (_, _) => return self.mismatch(node, target),
        };
        Ok(step)
    }

    fn items(&mut self, item: &Node, target: &FieldRef) -> Result<(Box<Step>, Items), Refused> {
        self.path.push("[]".to_owned());
        let step = self.step(item, target.data_type())?;
        self.path.pop();
        let bytes_min = self.schema.bytes_min(item);
        let cells = u64::try_from(width(target.data_type())).unwrap_or(u64::MAX);
        Ok((Box::new(step), Items { bytes_min, cells }))
    }

    fn union(&mut self, branches: &[Node], target: &DataType) -> Result<Step, Refused> {
        let shape = union(self.schema, branches);
        if let (Union::Members(members), DataType::Struct(fields)) = (&shape, target) {
            return self.members(branches, members, fields);
        }
        if let (Union::One(node), DataType::Struct(fields)) = (&shape, target)
            && let Some(member) = self.member_of_old(node, fields)
        {
            return self.members(branches, &[(member, node)], fields);
        }
        if let (Union::One(node), [first, _]) = (&shape, branches) {
            let null_branch = u8::from(*first != Node::Null);
            return Ok(Step::Nullable(
                null_branch,
                Box::new(self.step(node, target)?),
            ));
        }
        let is_members = matches!(shape, Union::Members(_));
        if is_members && self.gaps.has_further() {
            return self.mismatch(&Node::Union(branches.to_vec()), target);
        }
        let mut compiled = Vec::with_capacity(branches.len());
        for branch in branches {
            compiled.push(if *branch == Node::Null {
                Branch::Null
            } else if is_members {
                Branch::Same(self.step_or_refusal(branch, target))
            } else {
                Branch::Same(self.step(branch, target)?)
            });
        }
        Ok(Step::Union(compiled))
    }

    /// The member for the one type that is left of a union whose branches the column was made for.
    fn member_of_old(&self, node: &Node, fields: &Fields) -> Option<String> {
        let has = |name: &str| fields.iter().any(|field| field.name() == name);
        let named = node.place().and_then(|place| self.schema.named(place));
        let is_itself = match named.map(|named| &named.kind) {
            Some(NamedKind::Record(own)) => own.iter().any(|own| has(&own.name)),
            Some(NamedKind::Fixed(_, FixedKind::Duration)) => is_duration(fields),
            Some(_) | None => false,
        };
        let name = self.schema.type_name(node);
        (has(name) && !is_itself).then(|| name.to_owned())
    }

    /// Branches of a union that has grown since the column was made: only the records that hold one that does not fit are rejected.
    fn step_or_refusal(&mut self, node: &Node, target: &DataType) -> Step {
        let mark = self.mark();
        let was_lenient = self.gaps.lenient();
        let step = self.step(node, target);
        self.gaps.restore(was_lenient);
        step.unwrap_or_else(|refused| {
            self.rewind(&mark);
            Step::Refuse(refused.code, refused.message)
        })
    }

    fn members(
        &mut self,
        branches: &[Node],
        members: &[(String, &Node)],
        fields: &Fields,
    ) -> Result<Step, Refused> {
        let mut compiled = Vec::with_capacity(branches.len());
        let of_union = self.gaps.rule();
        for branch in branches {
            let Some((name, _)) = members.iter().find(|(_, node)| *node == branch) else {
                compiled.push(Branch::Null);
                continue;
            };
            let wished = match of_union.member(name).of(|| self.data_type(branch)) {
                Wished::Nothing => {
                    let schema = Arc::clone(self.schema);
                    let left = Step::Redacted(schema, branch.clone(), Stand::Null);
                    compiled.push(Branch::Same(left));
                    continue;
                }
                Wished::Column(wished) => wished,
            };
            self.path.push(name.clone());
            let place = fields.iter().position(|field| field.name() == name);
            let Some((place, field)) = place.and_then(|place| Some((place, fields.get(place)?)))
            else {
                let reason = self.gaps.add(name, wished).err().unwrap_or_default();
                let message = format!(
                    "the union has the branch `{name}`, the column has no such member: {reason}"
                );
                compiled.push(Branch::Same(Step::Refuse(Code::UnknownField, message)));
                self.path.pop();
                continue;
            };
            let mark = self.gaps.mark();
            self.gaps.enter(of_union.member(name));
            let step = self.step_or_refusal(branch, field.data_type());
            self.gaps.leave(of_union);
            self.gaps.under(mark, name);
            compiled.push(Branch::Member(place, name.clone(), step));
            self.path.pop();
        }
        Ok(Step::Union(compiled))
    }

    fn named(&mut self, place: usize, target: &DataType) -> Result<Step, Refused> {
        let schema = self.schema;
        let Some(named) = schema.named(place) else {
            return Err(self.refuse(
                Code::UnusableSchema,
                "the writer schema names a type that it does not hold".to_owned(),
            ));
        };
        let step = match (&named.kind, target) {
            (NamedKind::Enum(symbols), DataType::Utf8) => Step::Enum(symbols.clone()),
            (NamedKind::Fixed(_, FixedKind::Uuid), DataType::Utf8) => Step::UuidOfBytes,
            (NamedKind::Fixed(size, FixedKind::Plain), DataType::Binary) => Step::Fixed(*size),
            (
                NamedKind::Fixed(size, FixedKind::Decimal(_, scale)),
                DataType::Decimal128(precision, to_scale),
            ) => Step::Decimal(decimal(Some(*size), *scale, *precision, *to_scale)),
            (NamedKind::Fixed(_, FixedKind::Duration), DataType::Struct(fields))
                if is_duration(fields) =>
            {
                Step::Duration
            }
            (NamedKind::Record(members), DataType::Boolean) if members.is_empty() => {
                Step::EmptyRecord
            }
            (NamedKind::Record(members), DataType::Utf8)
                if self.open.contains(&place) && !members.is_empty() =>
            {
                let would_show = self.chosen.contains(&place);
                if would_show && !matches!(self.gaps.rule(), Rule::Hidden) {
                    let message = format!(
                        "the text of the recursive `{}` would hold what `columns` leaves out or masks of it; leave it out too",
                        named.full_name
                    );
                    return self.unfit(message);
                }
                Step::Json(Arc::clone(schema), place)
            }
            (NamedKind::Record(members), DataType::Struct(fields))
                if !members.is_empty() && !self.open.contains(&place) =>
            {
                self.open.push(place);
                self.note_choice(place);
                let record = self.record(members, fields, &|_| true)?;
                self.open.pop();
                Step::Record(record)
            }
            (_, _) => return self.mismatch(&Node::Named(place), target),
        };
        Ok(step)
    }
}

fn decimal(size: Option<usize>, scale: u32, to_precision: u8, to_scale: i8) -> Decimal {
    Decimal {
        size,
        scale,
        to_precision,
        to_scale: u32::try_from(to_scale).unwrap_or(0),
    }
}

fn is_duration(fields: &Fields) -> bool {
    let names = fields.iter().map(|field| field.name().as_str());
    names.eq(DURATION)
        && fields
            .iter()
            .all(|field| *field.data_type() == DataType::Int64)
}
