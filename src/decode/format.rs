//! A format, compiled for columns: takes one value's bytes and appends to the columns. Owns the registry's frame and the compiled plans by schema id;
//! does not count or roll back.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::datatypes::{DataType, Fields, SchemaRef};

use super::avro::compile::Refused;
use super::builder::{Column, Data};
use super::columns;
use super::evolution::{Gaps, Policy};
use super::masking::{Masked, Stand};
use super::protobuf::{Indexes, Schema as ProtobufSchema};
use super::registry::{Lookup, Registry};
use super::reject::{Code, Fault, Outcome, Shown};
use super::resolve::{Framing, OtherTypes, Resolved, Source};
use super::rules::Rule;
use super::types::Refusal;
use super::written::WriterSchema;
use super::{Error, avro, json, protobuf};
use crate::config::settings::{Table, Timestamps};

/// How many compiled writer schemas are kept.
const PLANS_MAX: usize = 256;

/// The columns that values become, and which of them Kafka fills.
#[derive(Debug)]
pub(super) struct Target {
    pub(super) schema: SchemaRef,
    /// The places of the Kafka columns.
    pub(super) kafka: Vec<(usize, columns::Source)>,
    /// Whether a value becomes one column as a whole.
    pub(super) is_single: bool,
    /// What becomes of what has no column.
    pub(super) policy: Policy,
    /// What becomes of timestamps that no column holds as they are.
    pub(super) timestamps: Timestamps,
}

/// How values become columns.
#[derive(Debug)]
pub(super) enum Format {
    /// Each value names its writer schema.
    Framed(Framed),
    /// All values have one schema.
    Unframed(Plan),
    /// All values have one schema, whose fingerprint precedes them.
    SingleObject(u64, Plan),
    /// The bytes as they are, or as text, for the column at a place.
    Plain(usize, Hidden),
}

/// What becomes of bytes that are no more than that.
#[derive(Debug)]
pub(super) enum Hidden {
    /// They stay.
    Not,
    /// Their hash.
    Masked(Masked),
    /// Something else in their place.
    Redacted(Stand),
}

/// Steps compiled for the columns.
#[derive(Debug)]
pub(super) enum Plan {
    Avro(avro::compile::Plan),
    Json(json::compile::Plan),
    Protobuf(protobuf::compile::Plan),
}

/// Registry-framed values: a compiled plan for each writer schema, whatever the order in which they come.
#[derive(Debug)]
pub(super) struct Framed {
    framing: Framing,
    registry: Arc<Registry>,
    plans: Vec<(WriterKey, Compiled)>,
    places: HashMap<WriterKey, usize>,
    /// The place of the last value's plan, which is mostly the next one's too.
    last: usize,
}

/// What the values of one writer are to the table.
#[derive(Debug)]
enum Compiled {
    Rows(Plan),
    Refused(Refused),
    /// Of a type that the table does not take.
    Others,
}

/// What a frame says of its writer: the schema id, and for Protobuf the message.
type WriterKey = (u32, Option<Indexes>);

/// Why a value is not decoded.
#[derive(Debug)]
pub(super) enum Failure {
    Fault(Box<Fault>),
    Environment(Error),
    /// The target must have these columns first.
    Grow(Fields),
    /// It is of a type that the table does not take.
    OtherType,
}

impl From<Box<Fault>> for Failure {
    fn from(fault: Box<Fault>) -> Self {
        Failure::Fault(fault)
    }
}

impl Failure {
    /// With the column that it concerns, where it is the record's.
    #[cold]
    pub(super) fn in_field(self, name: &str) -> Self {
        match self {
            Failure::Fault(fault) => Failure::Fault(fault.in_field(name)),
            Failure::Environment(_) | Failure::Grow(_) | Failure::OtherType => self,
        }
    }
}

/// What a decoded value has cost.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Cost {
    /// Fields without a column that were left out.
    pub(super) ignored: u64,
    /// Values that it became, beside one for each column.
    pub(super) cells: u64,
    pub(super) schema_id: Option<u32>,
}

impl Target {
    /// The columns of a table.
    pub(super) fn new(
        resolved: &Resolved,
        table: &Table,
        schema: SchemaRef,
    ) -> Result<Self, Error> {
        let find = |source| {
            let name = columns::name(&table.metadata, source);
            let wanted = columns::data_type(source, resolved.key_type().as_ref());
            // What an evolved key has become is the key's decoder to judge.
            let is_key = columns::is_key(source) && resolved.key_type().is_some();
            let is_it = |field: &&Arc<arrow::datatypes::Field>| {
                *field.name() == name && (is_key || *field.data_type() == wanted)
            };
            let place = schema.fields().iter().position(|field| is_it(&field));
            place
                .map(|place| (place, source))
                .ok_or_else(|| Error::Column {
                    table: table.name.clone(),
                    column: name.clone(),
                    reason: format!("the table needs it as {wanted} (metadata)"),
                })
        };
        let kafka = columns::sources(&table.metadata)
            .map(find)
            .collect::<Result<_, _>>()?;
        Ok(Target {
            schema,
            kafka,
            is_single: false,
            policy: Policy::of(table),
            timestamps: table.timestamps,
        })
    }

    /// Whether records fill the column at `place`, and not Kafka.
    pub(super) fn is_record(&self, place: usize) -> bool {
        self.kafka.iter().all(|(kafka, _)| *kafka != place)
    }

    fn takes(&self, name: &str) -> bool {
        let mut named = self
            .schema
            .fields()
            .iter()
            .enumerate()
            .filter(|(_, field)| field.name() == name);
        named.all(|(place, _)| self.is_record(place))
    }

    fn fields(&self) -> &Fields {
        self.schema.fields()
    }
}

impl Format {
    /// Compiles what is known already; the rest when its first value comes.
    pub(super) fn new(
        source: &Source,
        target: &Target,
        registry: Option<Arc<Registry>>,
        table: &str,
    ) -> Result<Self, Error> {
        let refused = |why: Refused| Error::Column {
            table: table.to_owned(),
            column: why.path,
            reason: why.message,
        };
        match source {
            Source::Framed(framing) => Ok(Format::Framed(Framed {
                framing: framing.clone(),
                registry: registry.ok_or_else(|| Error::NoRegistry {
                    table: table.to_owned(),
                })?,
                plans: Vec::new(),
                places: HashMap::new(),
                last: 0,
            })),
            Source::SingleObject(_, fingerprint) => declared_plan(source, target)
                .map(|plan| Format::SingleObject(*fingerprint, plan))
                .map_err(refused),
            Source::Avro(_) | Source::Json(..) | Source::Protobuf(..) => {
                declared_plan(source, target)
                    .map(Format::Unframed)
                    .map_err(refused)
            }
            Source::Plain(column) => {
                let is_it = |(_, field): &(usize, &Arc<arrow::datatypes::Field>)| {
                    target.is_single || *field.name() == column.name
                };
                let place = target.fields().iter().enumerate().find(is_it);
                let Some((place, field)) = place else {
                    return Err(Error::Column {
                        table: table.to_owned(),
                        column: column.name.clone(),
                        reason: "the table has no such column".to_owned(),
                    });
                };
                let root = target.policy.rules().root();
                let rule = if target.is_single {
                    root
                } else {
                    root.member(&column.name)
                };
                let hidden = hidden(rule, &column.data_type, field.data_type());
                hidden
                    .map(|hidden| Format::Plain(place, hidden))
                    .map_err(|refusal| Error::Column {
                        table: table.to_owned(),
                        column: column.name.clone(),
                        reason: refusal.reason,
                    })
            }
        }
    }

    /// The id that a value's frame names, also where the value itself is bad.
    pub(super) fn schema_id(&self, value: &[u8]) -> Option<u32> {
        match self {
            Format::Framed(_) => frame(value).ok().map(|(id, _)| id),
            Format::Unframed(_) | Format::SingleObject(..) | Format::Plain(..) => None,
        }
    }

    /// Whether a value without any byte is a value.
    pub(super) fn takes_empty(&self) -> bool {
        match self {
            Format::Plain(..) | Format::Unframed(Plan::Protobuf(_)) => true,
            Format::Framed(_) | Format::SingleObject(..) | Format::Unframed(_) => false,
        }
    }

    /// Appends a value to the columns of the target, which hold `row` rows, or leaves them of uneven length.
    pub(super) fn append(
        &mut self,
        value: &[u8],
        target: &Target,
        columns: &mut [Column],
        row: usize,
    ) -> Result<Cost, Failure> {
        match self {
            Format::Unframed(plan) => Ok(plan.run(value, columns, row)?),
            Format::SingleObject(fingerprint, plan) => {
                let body = avro::fingerprint::unwrap(value, *fingerprint)?;
                Ok(plan.run(body, columns, row)?)
            }
            Format::Framed(framed) => {
                let (id, body) = frame(value)?;
                let (indexes, body) = framed.indexes(body)?;
                match framed.plan((id, indexes), target)? {
                    Compiled::Rows(plan) => {
                        let cost = plan.run(body, columns, row)?;
                        Ok(Cost {
                            schema_id: Some(id),
                            ..cost
                        })
                    }
                    Compiled::Refused(refused) => Err(refusal(refused, id).into()),
                    Compiled::Others => Err(Failure::OtherType),
                }
            }
            Format::Plain(place, hidden) => {
                let column = columns.get_mut(*place).ok_or_else(uneven)?;
                match hidden {
                    Hidden::Not => plain(value, column)?,
                    Hidden::Masked(masked) => {
                        masked.append(column, |scratch| plain(value, scratch))?;
                    }
                    Hidden::Redacted(stand) => stand.push(column)?,
                }
                Ok(Cost::default())
            }
        }
    }
}

impl Plan {
    fn run(&self, body: &[u8], columns: &mut [Column], row: usize) -> Outcome<Cost> {
        let (ignored, cells) = match self {
            Plan::Avro(plan) => (0, avro::run::run(plan, body, columns)?),
            Plan::Protobuf(plan) => (0, protobuf::run::run(plan, body, columns, row)?),
            Plan::Json(plan) => {
                let done = json::run::run(plan, body, columns, row)?;
                (done.ignored, done.cells)
            }
        };
        Ok(Cost {
            ignored,
            cells,
            schema_id: None,
        })
    }
}

impl Framed {
    fn indexes<'v>(&self, body: &'v [u8]) -> Outcome<(Option<Indexes>, &'v [u8])> {
        match &self.framing {
            Framing::Protobuf(..) => {
                Indexes::split(body).map(|(indexes, body)| (Some(indexes), body))
            }
            Framing::Avro(_) | Framing::Json(_) => Ok((None, body)),
        }
    }

    fn plan(&mut self, writer: WriterKey, target: &Target) -> Result<&Compiled, Failure> {
        let is_last = |(last, _): &(WriterKey, _)| *last == writer;
        if !self.plans.get(self.last).is_some_and(is_last) {
            self.last = match self.places.get(&writer) {
                Some(place) => *place,
                None => self.compile(writer, target)?,
            };
        }
        match self.plans.get(self.last) {
            Some((_, compiled)) => Ok(compiled),
            None => Err(Fault::new(
                Code::UnusableSchema,
                "no plan was compiled (a bug of Lakeward)",
            )
            .into()),
        }
    }

    /// Compiles a writer schema; gives the place of its plan.
    fn compile(&mut self, writer: WriterKey, target: &Target) -> Result<usize, Failure> {
        let id = writer.0;
        let schema = match self.registry.lookup(id).map_err(Failure::Environment)? {
            Lookup::Unknown => {
                let message = format!("the schema registry does not know the schema id {id}");
                return Err(Fault::new(Code::UnknownSchemaId, message).into());
            }
            Lookup::Found(schema) => schema,
        };
        if self.is_of_others(&schema, writer.1.as_ref()) {
            return Ok(self.keep(writer, Compiled::Others));
        }
        let compile = |policy: &Policy| {
            let mut gaps = Gaps::new(policy);
            let plan = self.compile_schema(&schema, writer.1.as_ref(), target, &mut gaps);
            let grown = gaps.are_wishes().then(|| gaps.grow(target.fields()));
            (plan, grown)
        };
        let plan = match compile(&target.policy) {
            (Ok(_), Some(Ok(grown))) => return Err(Failure::Grow(grown)),
            (Ok(_), Some(Err(reason))) => compile(&target.policy.clone().denying(reason)).0,
            (plan, _) => plan,
        };
        let compiled = plan.map_or_else(Compiled::Refused, Compiled::Rows);
        Ok(self.keep(writer, compiled))
    }

    fn keep(&mut self, writer: WriterKey, compiled: Compiled) -> usize {
        if self.plans.len() >= PLANS_MAX {
            self.plans.clear();
            self.places.clear();
        }
        let place = self.plans.len();
        self.places.insert(writer.clone(), place);
        self.plans.push((writer, compiled));
        place
    }

    /// Whether the values of a writer are of a type that the table, which says what it takes, does not take. What cannot be told is no other type.
    fn is_of_others(&self, schema: &WriterSchema, indexes: Option<&Indexes>) -> bool {
        match &self.framing {
            Framing::Avro(Some(record)) => schema
                .avro()
                .is_ok_and(|schema| schema.record_name() != Some(record.as_str())),
            Framing::Protobuf(message, OtherTypes::Skipped) => schema
                .protobuf()
                .ok()
                .and_then(|schema| schema.select(indexes?))
                .is_some_and(|selected| selected.full_name() != message),
            Framing::Avro(None) | Framing::Json(_) | Framing::Protobuf(_, OtherTypes::Rejected) => {
                false
            }
        }
    }

    fn compile_schema(
        &self,
        schema: &WriterSchema,
        indexes: Option<&Indexes>,
        target: &Target,
        gaps: &mut Gaps<'_>,
    ) -> Result<Plan, Refused> {
        match &self.framing {
            Framing::Avro(_) => avro_plan(schema.avro().map_err(unusable)?, target, gaps),
            Framing::Json(unknown_fields) => {
                let document = schema.json().map_err(unusable)?;
                let shape = document.shape().map_err(unusable)?;
                json_plan(&shape, *unknown_fields, target, gaps)
            }
            Framing::Protobuf(message, _) => {
                let schema = schema.protobuf().map_err(unusable)?;
                let selected = indexes.and_then(|indexes| schema.select(indexes));
                let found = selected
                    .as_ref()
                    .map(|selected| selected.full_name().to_owned());
                if found.as_ref() != Some(message) {
                    let indexes = indexes.map(ToString::to_string).unwrap_or_default();
                    let found = match found {
                        Some(found) => format!("`{found}`"),
                        None => "no message".to_owned(),
                    };
                    return Err(Refused {
                        code: Code::MessageIndex,
                        path: String::new(),
                        message: format!(
                            "the message indexes {indexes} select {found}, the table's is `{message}` (schema.message)"
                        ),
                    });
                }
                protobuf_plan(schema, Some(message), target, gaps)
            }
        }
    }
}

/// The columns that a source which the config declares needs beside the target's; `None` when it has them all.
pub(super) fn declared_columns(
    source: &Source,
    target: &Target,
) -> Result<Option<Fields>, Refused> {
    let policy = target.policy.clone().of_declared();
    let mut gaps = Gaps::new(&policy);
    plan_of(source, target, &mut gaps)?;
    if !gaps.are_wishes() {
        return Ok(None);
    }
    gaps.grow(target.fields())
        .map(Some)
        .map_err(|reason| misfit(&reason))
}

/// Compiles a source against the columns that were made of it, to hear what is in the way.
pub(super) fn try_out(source: &Source, target: &Target) -> Result<(), Refused> {
    let policy = target.policy.clone().of_own();
    plan_of(source, target, &mut Gaps::new(&policy)).map(drop)
}

/// The plan of a source whose columns are all there.
fn declared_plan(source: &Source, target: &Target) -> Result<Plan, Refused> {
    let policy = target.policy.clone().of_declared();
    let mut gaps = Gaps::new(&policy);
    let plan = plan_of(source, target, &mut gaps)?;
    if let Some(missing) = gaps.missing() {
        return Err(Refused {
            path: missing,
            ..misfit("the table has no such column")
        });
    }
    plan.ok_or_else(|| misfit("the schema declares no columns (a bug of Lakeward)"))
}

fn plan_of(source: &Source, target: &Target, gaps: &mut Gaps<'_>) -> Result<Option<Plan>, Refused> {
    match source {
        Source::Avro(schema) | Source::SingleObject(schema, _) => avro_plan(schema, target, gaps),
        Source::Json(shape, unknown_fields) => json_plan(shape, *unknown_fields, target, gaps),
        Source::Protobuf(schema, message) => protobuf_plan(schema, Some(message), target, gaps),
        Source::Framed(_) | Source::Plain(_) => return Ok(None),
    }
    .map(Some)
}

fn misfit(reason: &str) -> Refused {
    Refused {
        code: Code::UnknownField,
        path: String::new(),
        message: reason.to_owned(),
    }
}

fn unusable(why: Refusal) -> Refused {
    Refused {
        code: Code::UnusableSchema,
        path: why.path,
        message: why.reason,
    }
}

fn avro_plan(
    schema: &Arc<avro::schema::Schema>,
    target: &Target,
    gaps: &mut Gaps<'_>,
) -> Result<Plan, Refused> {
    let schema = &Arc::new(schema.with(target.timestamps));
    let plan = match target.fields().first().filter(|_| target.is_single) {
        Some(column) => avro::compile::compile_single(schema, column.data_type(), gaps),
        None => avro::compile::compile(schema, target.fields(), &|name| target.takes(name), gaps),
    };
    plan.map(Plan::Avro)
}

fn json_plan(
    shape: &super::types::json::Shape,
    unknown_fields: crate::config::settings::UnknownFields,
    target: &Target,
    gaps: &mut Gaps<'_>,
) -> Result<Plan, Refused> {
    let plan = match target.fields().first().filter(|_| target.is_single) {
        Some(column) => {
            json::compile::compile_single(shape, column.data_type(), unknown_fields, gaps)
        }
        None => json::compile::compile_root(
            shape,
            target.fields(),
            &|name| target.takes(name),
            unknown_fields,
            gaps,
        ),
    };
    plan.map(Plan::Json).map_err(|why| Refused {
        code: Code::TypeMismatch,
        path: why.path,
        message: why.reason,
    })
}

fn protobuf_plan(
    schema: &ProtobufSchema,
    message: Option<&String>,
    target: &Target,
    gaps: &mut Gaps<'_>,
) -> Result<Plan, Refused> {
    let message = schema
        .message(message.map(String::as_str))
        .map_err(unusable)?;
    let plan = match target.fields().first().filter(|_| target.is_single) {
        Some(column) => protobuf::compile::compile_single(&message, column.data_type(), gaps),
        None => {
            protobuf::compile::compile(&message, target.fields(), &|name| target.takes(name), gaps)
        }
    };
    plan.map(Plan::Protobuf)
}

fn hidden(rule: Rule<'_>, natural: &DataType, target: &DataType) -> Result<Hidden, Refusal> {
    match rule {
        Rule::Free | Rule::Hidden | Rule::Left => Ok(Hidden::Not),
        Rule::Hashed(hasher) => Masked::new(natural, hasher).map(Hidden::Masked),
        Rule::Redacted => Ok(Hidden::Redacted(Stand::of(Some(natural), target))),
        Rule::Chosen(_) => Err(Refusal::new(format!(
            "is {natural}, of which `columns` names a member"
        ))),
    }
}

fn plain(value: &[u8], column: &mut Column) -> Outcome {
    match &mut column.data {
        Data::Binary(column) => column.push(value),
        Data::Text(column) => match std::str::from_utf8(value) {
            Ok(_) => column.push(value),
            Err(error) => Err(Fault::new(
                Code::InvalidUtf8,
                format!("the text is not UTF-8: {error}"),
            )),
        },
        _ => Err(uneven()),
    }
}

#[cold]
fn uneven() -> Box<Fault> {
    Fault::new(
        Code::TypeMismatch,
        "the column of plain values has another type (a bug of Lakeward)",
    )
}

/// Splits the registry's frame: a zero byte, the schema id, the value.
fn frame(value: &[u8]) -> Outcome<(u32, &[u8])> {
    match value {
        [0, a, b, c, d, body @ ..] => Ok((u32::from_be_bytes([*a, *b, *c, *d]), body)),
        [0, ..] => Err(Fault::new(
            Code::Truncated,
            "the value ends inside of the frame of five bytes",
        )),
        _ => {
            let shown = Shown(value);
            let message = format!(
                "the value {shown} does not begin with the magic byte 0 of a registry frame"
            );
            Err(Fault::new(Code::BadMagic, message))
        }
    }
}

#[cold]
fn refusal(refused: &Refused, id: u32) -> Box<Fault> {
    let message = format!("schema id {id}: {}", refused.message);
    let fault = if matches!(refused.code, Code::TypeMismatch | Code::UnknownField) {
        Fault::incompatible(refused.code, message)
    } else {
        Fault::new(refused.code, message)
    };
    if refused.path.is_empty() {
        fault
    } else {
        fault.in_field(&refused.path)
    }
}
