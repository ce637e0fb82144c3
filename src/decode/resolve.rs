//! Finds the columns that a table's records have: from the registry, a schema file or the config. Blocks on file and network. Does not decode.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use arrow::datatypes::Fields;

use super::columns::metadata_fields;
use super::registry::Registry;
use super::types::json::Member;
use super::types::{Refusal, avro, count, ddl, json, json_schema, names};
use super::{Error, types};
use crate::config::settings::{JsonSchemaSource, Table, Value};
use crate::decode::avro::schema::Schema;

/// The columns of a table's records, and what its decoders are compiled from.
#[derive(Debug, Clone)]
pub struct Resolved {
    /// The record's columns under the type mapping: all nullable, timestamps in microseconds UTC.
    pub fields: Fields,
    pub(super) source: Source,
}

/// What decoders are compiled from.
#[derive(Debug, Clone)]
pub(super) enum Source {
    /// Each record names its writer schema.
    Framed,
    /// Every record has this writer schema.
    Avro(Arc<Schema>),
    /// Declared fields.
    Json(Vec<Member>),
}

/// Resolves the columns of `table`; asks the registry or reads a file where the settings say so.
pub fn resolve(table: &Table, registry: Option<&Arc<Registry>>) -> Result<Resolved, Error> {
    let (origin, found) = match &table.value {
        Value::AvroConfluent { subject } => {
            let registry = registry.ok_or_else(|| Error::NoRegistry {
                table: table.name.clone(),
            })?;
            let latest = registry.latest(subject)?;
            let origin = format!(
                "subject `{subject}` version {} (schema id {})",
                latest.version, latest.id
            );
            (
                origin,
                latest
                    .schema
                    .usable()
                    .and_then(|schema| Ok((avro::fields(schema)?, Source::Framed))),
            )
        }
        Value::AvroFile { file } => {
            let text = read(table, file)?;
            (file.display().to_string(), avro_file(&text))
        }
        Value::Json {
            schema: JsonSchemaSource::Ddl(columns),
            ..
        } => (
            "value.schema.ddl".to_owned(),
            declared(ddl::members(columns)),
        ),
        Value::Json {
            schema: JsonSchemaSource::File(file),
            ..
        } => {
            let text = read(table, file)?;
            (
                file.display().to_string(),
                json_schema::members(&text).and_then(declared),
            )
        }
    };
    let checked = found.and_then(|(fields, source)| {
        check(&fields, table)?;
        Ok(Resolved { fields, source })
    });
    checked.map_err(|refusal| Error::schema(&table.name, &origin, refusal))
}

fn read(table: &Table, file: &Path) -> Result<String, Error> {
    fs::read_to_string(file).map_err(|source| Error::File {
        table: table.name.clone(),
        path: file.to_owned(),
        source,
    })
}

fn avro_file(text: &str) -> Result<(Fields, Source), Refusal> {
    let schema = Schema::parse(text, &[]).map_err(Refusal::new)?;
    Ok((avro::fields(&schema)?, Source::Avro(Arc::new(schema))))
}

fn declared(members: Vec<Member>) -> Result<(Fields, Source), Refusal> {
    Ok((json::fields(&members)?, Source::Json(members)))
}

/// Names that no table can have, collisions with the Kafka columns, and too many columns.
fn check(fields: &Fields, table: &Table) -> Result<(), Refusal> {
    names::check(fields)?;
    if fields.is_empty() || count(fields) > types::COLUMNS_MAX {
        return Err(Refusal::new(format!(
            "a table needs 1 to {} columns, nested ones counted",
            types::COLUMNS_MAX
        )));
    }
    for column in metadata_fields(&table.metadata) {
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
