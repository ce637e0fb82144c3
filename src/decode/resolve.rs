//! Finds the columns that a table's records have: from the registry, a schema file or the config. Blocks on file and network. Does not decode.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Fields, Schema};
use protox::prost_reflect::MessageDescriptor;

use super::columns;
use super::format::{self, Target};
use super::json::compile::RESCUED;
use super::protobuf::Schema as ProtobufSchema;
use super::registry::Registry;
use super::rules::{Rule, Rules};
use super::types::json::{self, Shape};
use super::types::json_schema::{self, Document};
use super::types::{Refusal, Root, avro, count, ddl, field, names, protobuf};
use super::written::WriterSchema;
use super::{Error, types};
use crate::config::settings::{JsonSchemaSource, Table, Timestamps, UnknownFields, Value};
use crate::decode::avro::fingerprint;
use crate::decode::avro::schema::Schema as AvroSchema;

/// The column of values that have no fields.
const PLAIN: &str = "value";

/// The columns of a table's records, and what its decoders are compiled from.
#[derive(Debug, Clone)]
pub struct Resolved {
    /// The record's columns under the type mapping: all nullable, timestamps in microseconds UTC.
    pub fields: Fields,
    pub(super) source: Source,
    pub(super) key: Option<ResolvedKey>,
}

/// What keys become.
#[derive(Debug, Clone)]
pub(super) struct ResolvedKey {
    root: Root,
    /// The type of their column.
    data_type: DataType,
    pub(super) source: Source,
}

/// What decoders are compiled from.
#[derive(Debug, Clone)]
pub(super) enum Source {
    /// Each record names its writer schema.
    Framed(Framing),
    /// Every record has this writer schema.
    Avro(Arc<AvroSchema>),
    /// The same, with the fingerprint that precedes each record.
    SingleObject(Arc<AvroSchema>, u64),
    /// A declared shape.
    Json(Shape, UnknownFields),
    /// Every record is the message of this name.
    Protobuf(Arc<ProtobufSchema>, String),
    /// The bytes or text as they are.
    Plain(PlainColumn),
}

/// The column of values that have no fields, before it is masked.
#[derive(Debug, Clone)]
pub(super) struct PlainColumn {
    pub(super) name: String,
    pub(super) data_type: DataType,
}

/// What stands behind the registry's frame.
#[derive(Debug, Clone)]
pub(super) enum Framing {
    /// Only the record of this name, where the table says it.
    Avro(Option<String>),
    Json(UnknownFields),
    /// The message of this name.
    Protobuf(String, OtherTypes),
}

/// What becomes of records of another type than the table's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum OtherTypes {
    /// They pass it by: the table says which type it takes.
    Skipped,
    /// They are bad records.
    Rejected,
}

impl Resolved {
    /// The columns of a table without those that are computed from others: the record's, then Kafka's.
    pub fn columns(&self, table: &Table) -> Vec<Field> {
        let own = self.fields.iter().map(|field| field.as_ref().clone());
        own.chain(columns::fields(&table.metadata, self.key_type().as_ref()))
            .collect()
    }

    /// The type of the key's column, where keys are decoded.
    pub(super) fn key_type(&self) -> Option<DataType> {
        self.key.as_ref().map(|key| key.data_type.clone())
    }
}

impl ResolvedKey {
    pub(super) fn is_record(&self) -> bool {
        matches!(self.root, Root::Record(_))
    }
}

/// Resolves the columns of `table`; asks the registry or reads a file where the settings say so.
pub fn resolve(table: &Table, registry: Option<&Arc<Registry>>) -> Result<Resolved, Error> {
    let asker = Asker { table, registry };
    let key_rules = Rules::of_keys(table);
    let key_value = match &table.key {
        // What is masked needs a decoder, even if it is no more than bytes.
        None if !key_rules.are_none() => Some(&Value::Raw),
        key => key.as_ref(),
    };
    let key = match key_value {
        Some(key) => {
            let asked = asker.ask(key, OtherTypes::Rejected)?;
            let checked = asked
                .found
                .and_then(|(root, source)| resolved_key(root, source, &key_rules));
            Some(checked.map_err(|refusal| {
                Error::schema(&table.name, &format!("{} (key)", asked.origin), refusal)
            })?)
        }
        None => None,
    };
    let asked = asker.ask(&table.value, OtherTypes::Skipped)?;
    let rules = Rules::of_values(table);
    let checked = asked.found.and_then(|(root, source)| {
        let natural = value_fields(root, &table.value)?;
        let is_open = matches!(
            table.value,
            Value::Json { .. } | Value::JsonConfluent { .. }
        );
        rules.check(&natural, is_open)?;
        let resolved = Resolved {
            fields: rules.apply(&natural)?,
            source,
            key,
        };
        check(&resolved, table)?;
        if !rules.are_none() {
            let latest = asked.latest.as_ref().unwrap_or(&resolved.source);
            try_out(latest, &resolved, table)?;
        }
        Ok(resolved)
    });
    checked.map_err(|refusal| Error::schema(&table.name, &asked.origin, refusal))
}

fn resolved_key(root: Root, source: Source, rules: &Rules) -> Result<ResolvedKey, Refusal> {
    if let Root::Record(fields) = &root {
        names::check(fields)?;
        rules.check(fields, false)?;
    }
    let left =
        || Refusal::new("`columns` leaves nothing of the key: leave it out of metadata.include");
    let data_type = rules
        .root()
        .data_type(&root.data_type())?
        .ok_or_else(left)?;
    let root = match (root, &data_type) {
        (Root::Record(_), DataType::Struct(fields)) if !matches!(rules.root(), Rule::Redacted) => {
            Root::Record(fields.clone())
        }
        (_, data_type) => Root::Single(data_type.clone()),
    };
    Ok(ResolvedKey {
        root,
        data_type,
        source,
    })
}

/// Refuses rules that no record of the schema could follow.
fn try_out(source: &Source, resolved: &Resolved, table: &Table) -> Result<(), Refusal> {
    let schema = Arc::new(Schema::new(resolved.columns(table)));
    let target =
        Target::new(resolved, table, schema).map_err(|error| Refusal::new(error.to_string()))?;
    format::try_out(source, &target).map_err(|refused| Refusal {
        path: refused.path,
        reason: refused.message,
    })
}

/// The columns that values become.
fn value_fields(root: Root, value: &Value) -> Result<Fields, Refusal> {
    let fields = match (root, value) {
        (Root::Record(fields), _) => fields,
        (Root::Single(data_type), Value::Raw | Value::Text) => {
            Fields::from(vec![field(PLAIN, data_type)])
        }
        (Root::Single(_), Value::Json { .. } | Value::JsonConfluent { .. }) => {
            return Err(Refusal::new(
                "the root of the JSON Schema must be an object with `properties`",
            ));
        }
        (Root::Single(_), Value::ProtobufConfluent { .. } | Value::ProtobufFile { .. }) => {
            return Err(Refusal::new(
                "the value's message must have at least one field and no meaning of its own, as google.protobuf.Timestamp has",
            ));
        }
        (Root::Single(_), _) => {
            return Err(Refusal::new(
                "the value's schema must be an Avro record with at least one field",
            ));
        }
    };
    let (Value::Json { unknown_fields, .. } | Value::JsonConfluent { unknown_fields, .. }) = value
    else {
        return Ok(fields);
    };
    if *unknown_fields != UnknownFields::Rescue {
        return Ok(fields);
    }
    if fields
        .iter()
        .any(|field| field.name().eq_ignore_ascii_case(RESCUED))
    {
        return Err(Refusal::new(format!(
            "the field `{RESCUED}` has the name of the column for unknown fields: choose value.unknown_fields `reject` or `ignore`"
        )));
    }
    let own = fields.iter().map(|field| field.as_ref().clone());
    Ok(own
        .chain([field(RESCUED, DataType::Utf8)])
        .collect::<Vec<_>>()
        .into())
}

/// Asks for what a table's schemas say.
struct Asker<'a> {
    table: &'a Table,
    registry: Option<&'a Arc<Registry>>,
}

/// Where a schema comes from, and what it says.
struct Asked {
    origin: String,
    found: Result<(Root, Source), Refusal>,
    /// The schema itself, where records name theirs.
    latest: Option<Source>,
}

impl Asker<'_> {
    /// What a schema says; `others` is what becomes of values of another type than one that is named.
    fn ask(&self, value: &Value, others: OtherTypes) -> Result<Asked, Error> {
        let (origin, found) = match value {
            Value::AvroConfluent { subject, record } => {
                return self.framed_avro(subject, record.as_deref());
            }
            Value::JsonConfluent {
                subject,
                unknown_fields,
            } => return self.framed_json(subject, *unknown_fields),
            Value::ProtobufConfluent { subject, message } => {
                return self.framed_protobuf(subject, message.as_deref(), others);
            }
            Value::AvroFile { file } => {
                let found = avro_file(&self.read(file)?, self.table.timestamps);
                (file.display().to_string(), found)
            }
            Value::AvroSingleObject { file } => {
                let found = single_object(&self.read(file)?, self.table.timestamps);
                (file.display().to_string(), found)
            }
            Value::Json {
                schema: JsonSchemaSource::Ddl(columns),
                unknown_fields,
            } => {
                let shape = Shape::Struct(ddl::members(columns));
                (
                    "value.schema.ddl".to_owned(),
                    declared(shape, *unknown_fields),
                )
            }
            Value::Json {
                schema: JsonSchemaSource::File(file),
                unknown_fields,
            } => {
                let text = self.read(file)?;
                (
                    file.display().to_string(),
                    json_file(&text, *unknown_fields),
                )
            }
            Value::ProtobufFile { file, message } => {
                let text = self.read(file)?;
                (
                    file.display().to_string(),
                    protobuf_file(&text, file, message),
                )
            }
            Value::Raw => ("format raw".to_owned(), plain(DataType::Binary)),
            Value::Text => ("format string".to_owned(), plain(DataType::Utf8)),
        };
        Ok(Asked {
            origin,
            found,
            latest: None,
        })
    }

    fn framed_avro(&self, subject: &str, record: Option<&str>) -> Result<Asked, Error> {
        let latest = self.latest(subject)?;
        let schema = latest.schema.avro();
        let schema = schema.map(|schema| Arc::new(schema.with(self.table.timestamps)));
        Ok(Asked {
            origin: latest.origin,
            latest: schema.as_ref().ok().map(Arc::clone).map(Source::Avro),
            found: schema.and_then(|schema| {
                check_record(&schema, record)?;
                let framing = Framing::Avro(record.map(str::to_owned));
                Ok((avro::root(&schema)?, Source::Framed(framing)))
            }),
        })
    }

    fn framed_json(&self, subject: &str, unknown_fields: UnknownFields) -> Result<Asked, Error> {
        let latest = self.latest(subject)?;
        let shape = latest.schema.json().and_then(|document| document.shape());
        let declared = |shape: &Shape| Source::Json(shape.clone(), unknown_fields);
        Ok(Asked {
            origin: latest.origin,
            latest: shape.as_ref().ok().map(declared),
            found: shape.and_then(|shape| {
                let source = Source::Framed(Framing::Json(unknown_fields));
                Ok((json::root(&shape)?, source))
            }),
        })
    }

    fn framed_protobuf(
        &self,
        subject: &str,
        message: Option<&str>,
        others: OtherTypes,
    ) -> Result<Asked, Error> {
        let others = message.map_or(OtherTypes::Rejected, |_| others);
        let latest = self.latest(subject)?;
        let found = latest.schema.protobuf().and_then(|schema| {
            let message = schema.message(message)?;
            Ok((Arc::clone(schema), message))
        });
        let declared = |(schema, message): &(Arc<ProtobufSchema>, MessageDescriptor)| {
            Source::Protobuf(Arc::clone(schema), message.full_name().to_owned())
        };
        Ok(Asked {
            origin: latest.origin,
            latest: found.as_ref().ok().map(declared),
            found: found.and_then(|(_, message)| {
                let framing = Framing::Protobuf(message.full_name().to_owned(), others);
                Ok((protobuf::root(&message)?, Source::Framed(framing)))
            }),
        })
    }

    fn latest(&self, subject: &str) -> Result<LatestSchema, Error> {
        let registry = self.registry.ok_or_else(|| Error::NoRegistry {
            table: self.table.name.clone(),
        })?;
        let latest = registry.latest(subject)?;
        Ok(LatestSchema {
            origin: format!(
                "subject `{subject}` version {} (schema id {})",
                latest.version, latest.id
            ),
            schema: latest.schema,
        })
    }

    fn read(&self, file: &Path) -> Result<String, Error> {
        fs::read_to_string(file).map_err(|source| Error::File {
            table: self.table.name.clone(),
            path: file.to_owned(),
            source,
        })
    }
}

struct LatestSchema {
    origin: String,
    schema: Arc<WriterSchema>,
}

/// A table that takes one type must have its columns from that type.
fn check_record(schema: &AvroSchema, wanted: Option<&str>) -> Result<(), Refusal> {
    let Some(wanted) = wanted else {
        return Ok(());
    };
    match schema.record_name() {
        Some(name) if name == wanted => Ok(()),
        Some(name) => Err(Refusal::new(format!(
            "the schema is the record `{name}`, the table takes `{wanted}` (value.schema.message): write the subject that holds it"
        ))),
        None => Err(Refusal::new(format!(
            "the schema is no record, the table takes `{wanted}` (value.schema.message)"
        ))),
    }
}

fn avro_file(text: &str, timestamps: Timestamps) -> Result<(Root, Source), Refusal> {
    let schema = AvroSchema::parse(text, &[])
        .map_err(Refusal::new)?
        .with(timestamps);
    Ok((avro::root(&schema)?, Source::Avro(Arc::new(schema))))
}

fn json_file(text: &str, unknown_fields: UnknownFields) -> Result<(Root, Source), Refusal> {
    let document = Document::parse(text, &[]).map_err(Refusal::new)?;
    declared(json_schema::of_object(document.shape()?)?, unknown_fields)
}

fn protobuf_file(text: &str, file: &Path, message: &str) -> Result<(Root, Source), Refusal> {
    let folder = file.parent().unwrap_or(Path::new("."));
    let schema = ProtobufSchema::parse_file(text, folder).map_err(Refusal::new)?;
    let root = protobuf::root(&schema.message(Some(message))?)?;
    Ok((root, Source::Protobuf(Arc::new(schema), message.to_owned())))
}

fn single_object(text: &str, timestamps: Timestamps) -> Result<(Root, Source), Refusal> {
    let schema = AvroSchema::parse(text, &[])
        .map_err(Refusal::new)?
        .with(timestamps);
    let fingerprint = fingerprint::of(text).map_err(Refusal::new)?;
    let root = avro::root(&schema)?;
    Ok((root, Source::SingleObject(Arc::new(schema), fingerprint)))
}

fn declared(shape: Shape, unknown_fields: UnknownFields) -> Result<(Root, Source), Refusal> {
    Ok((json::root(&shape)?, Source::Json(shape, unknown_fields)))
}

fn plain(data_type: DataType) -> Result<(Root, Source), Refusal> {
    let column = PlainColumn {
        name: PLAIN.to_owned(),
        data_type: data_type.clone(),
    };
    Ok((Root::Single(data_type), Source::Plain(column)))
}

/// Names that no table can have, collisions with the Kafka columns, and too many columns.
fn check(resolved: &Resolved, table: &Table) -> Result<(), Refusal> {
    let fields = &resolved.fields;
    names::check(fields)?;
    if fields.is_empty() || count(fields) > types::COLUMNS_MAX {
        return Err(Refusal::new(format!(
            "a table needs 1 to {} columns, nested ones counted",
            types::COLUMNS_MAX
        )));
    }
    for column in columns::fields(&table.metadata, None) {
        if fields
            .iter()
            .any(|field| field.name().to_lowercase() == column.name().to_lowercase())
        {
            let reason = format!(
                "the field `{}` has the name of a Kafka column: choose another metadata.prefix",
                column.name()
            );
            return Err(Refusal::new(reason));
        }
    }
    Ok(())
}
