//! A table's value format, compiled for its columns: takes one value's bytes and appends to the columns. Owns the registry's frame and the compiled
//! plans by schema id; does not count or roll back.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::datatypes::SchemaRef;

use super::avro::compile::{Plan, Refused, compile as compile_avro};
use super::builder::Column;
use super::columns;
use super::json::compile::{Object, compile as compile_json};
use super::registry::{Lookup, Registry};
use super::reject::{Code, Fault, Outcome, Shown};
use super::resolve::Source;
use super::{Error, Resolved};
use crate::config::settings::{Table, UnknownFields, Value};
use crate::decode::{avro, json};

/// How many compiled writer schemas are kept.
const PLANS_MAX: usize = 256;

/// The columns of a batch, and which of them Kafka fills.
#[derive(Debug)]
pub(super) struct Target {
    pub(super) schema: SchemaRef,
    /// The places of the Kafka columns.
    pub(super) kafka: Vec<(usize, columns::Source)>,
}

/// How values become columns.
#[derive(Debug)]
pub(super) enum Format {
    /// Each value names its writer schema.
    Framed(Framed),
    /// All values have one writer schema.
    Avro(Plan),
    Json(Object, UnknownFields),
}

/// Registry-framed Avro: a compiled plan for each writer schema, whatever the order in which they come.
#[derive(Debug)]
pub(super) struct Framed {
    registry: Arc<Registry>,
    plans: HashMap<u32, Compiled>,
    /// The plan of the last value, which is mostly the next one's too.
    last: Option<(u32, Compiled)>,
}

type Compiled = Arc<Result<Plan, Refused>>;

/// Why a value is not decoded.
#[derive(Debug)]
pub(super) enum Failure {
    Fault(Box<Fault>),
    Environment(Error),
}

impl From<Box<Fault>> for Failure {
    fn from(fault: Box<Fault>) -> Self {
        Failure::Fault(fault)
    }
}

/// What a decoded value has cost.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Cost {
    /// Fields without a column.
    pub(super) ignored: u64,
    /// Values that it became, beside one for each column.
    pub(super) cells: u64,
    pub(super) schema_id: Option<u32>,
}

impl Target {
    pub(super) fn new(table: &Table, schema: SchemaRef) -> Result<Self, Error> {
        let find = |source| {
            let name = columns::name(&table.metadata, source);
            let is_it = |field: &&Arc<arrow::datatypes::Field>| {
                *field.name() == name && *field.data_type() == columns::data_type(source)
            };
            let place = schema.fields().iter().position(|field| is_it(&field));
            place
                .map(|place| (place, source))
                .ok_or_else(|| Error::Column {
                    table: table.name.clone(),
                    column: name.clone(),
                    reason: format!(
                        "the table needs it as {} (metadata)",
                        columns::data_type(source)
                    ),
                })
        };
        let kafka = columns::sources(&table.metadata)
            .map(find)
            .collect::<Result<_, _>>()?;
        Ok(Target { schema, kafka })
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
}

impl Format {
    pub(super) fn new(
        resolved: &Resolved,
        table: &Table,
        target: &Target,
        registry: Option<Arc<Registry>>,
    ) -> Result<Self, Error> {
        let fields = target.schema.fields();
        let takes = |name: &str| target.takes(name);
        let refused = |column: String, reason: String| Error::Column {
            table: table.name.clone(),
            column,
            reason,
        };
        match &resolved.source {
            Source::Framed => {
                let registry = registry.ok_or_else(|| Error::NoRegistry {
                    table: table.name.clone(),
                })?;
                Ok(Format::Framed(Framed {
                    registry,
                    plans: HashMap::new(),
                    last: None,
                }))
            }
            Source::Avro(schema) => {
                let plan = compile_avro(schema, fields, &takes);
                plan.map(Format::Avro)
                    .map_err(|why| refused(why.path, why.message))
            }
            Source::Json(members) => {
                let object = compile_json(members, fields, &takes);
                let object = object.map_err(|why| refused(why.path, why.reason))?;
                let unknown_fields = match &table.value {
                    Value::Json { unknown_fields, .. } => *unknown_fields,
                    Value::AvroConfluent { .. } | Value::AvroFile { .. } => UnknownFields::Reject,
                };
                Ok(Format::Json(object, unknown_fields))
            }
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
            Format::Json(object, unknown_fields) => {
                let done = json::run::run(object, *unknown_fields, value, columns, row)?;
                Ok(Cost {
                    ignored: done.ignored,
                    cells: done.cells,
                    schema_id: None,
                })
            }
            Format::Avro(plan) => {
                let cells = avro::run::run(plan, value, columns)?;
                Ok(Cost {
                    ignored: 0,
                    cells,
                    schema_id: None,
                })
            }
            Format::Framed(framed) => {
                let (id, body) = frame(value)?;
                match framed.plan(id, target)? {
                    Ok(plan) => {
                        let cells = avro::run::run(plan, body, columns)?;
                        Ok(Cost {
                            ignored: 0,
                            cells,
                            schema_id: Some(id),
                        })
                    }
                    Err(refused) => Err(refusal(refused, id).into()),
                }
            }
        }
    }
}

impl Framed {
    fn plan(&mut self, id: u32, target: &Target) -> Result<&Result<Plan, Refused>, Failure> {
        if self.last.as_ref().is_none_or(|(last, _)| *last != id) {
            let plan = match self.plans.get(&id) {
                Some(plan) => Arc::clone(plan),
                None => self.compile(id, target)?,
            };
            self.last = Some((id, plan));
        }
        match &self.last {
            Some((_, plan)) => Ok(plan),
            None => Err(Fault::new(
                Code::UnusableSchema,
                "no plan was compiled (a bug of Lakeward)",
            )
            .into()),
        }
    }

    fn compile(&mut self, id: u32, target: &Target) -> Result<Compiled, Failure> {
        let plan = match self.registry.lookup(id).map_err(Failure::Environment)? {
            Lookup::Unknown => {
                let message = format!("the schema registry does not know the schema id {id}");
                return Err(Fault::new(Code::UnknownSchemaId, message).into());
            }
            Lookup::Found(writer) => match writer.usable() {
                Ok(schema) => {
                    compile_avro(schema, target.schema.fields(), &|name| target.takes(name))
                }
                Err(why) => Err(Refused {
                    code: Code::UnusableSchema,
                    path: why.path,
                    message: why.reason,
                }),
            },
        };
        if self.plans.len() >= PLANS_MAX {
            self.plans.clear();
        }
        let plan = Arc::new(plan);
        self.plans.insert(id, Arc::clone(&plan));
        Ok(plan)
    }
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
    let fault = Fault::new(refused.code, format!("schema id {id}: {}", refused.message));
    if refused.path.is_empty() {
        fault
    } else {
        fault.in_field(&refused.path)
    }
}
