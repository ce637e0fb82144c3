//! The columns with which decoding begins on a table that is there: those that it has, with the types that it has, and of a declared schema all. Those that only records
//! can tell of come when the first of them needs them. Does not open tables.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, FieldRef, Fields, Schema, SchemaRef};

use super::format::{Target, declared_columns};
use super::resolve::{Resolved, Source};
use super::rules::Rules;
use super::{Error, columns, evolution, json, types};
use crate::config::settings::{Allow, Table};

/// How often declared columns may ask for others; each further column asks once.
const ROUNDS_MAX: usize = 8;

/// The columns of a decoder for `table`, in whose place lies a table with the columns of `has`, or none.
pub fn first_columns(
    resolved: &Resolved,
    table: &Table,
    has: Option<&Schema>,
) -> Result<SchemaRef, Error> {
    let all: Fields = resolved.columns(table).into();
    let is_declared = !matches!(resolved.source, Source::Framed(_));
    let Some(has) = has else {
        return Ok(Arc::new(Schema::new(all)));
    };
    if let Some((path, found)) = Rules::of(&table.columns).unfit(has.fields()) {
        return Err(Error::Column {
            table: table.name.clone(),
            column: path,
            reason: format!(
                "the table has it as {found}, from before it was masked: a hash is a string (columns.mask)"
            ),
        });
    }
    if is_declared && table.evolution.allow == Allow::None {
        return Ok(Arc::new(Schema::new(all)));
    }
    let kafka = columns::fields(&table.metadata, resolved.key_type().as_ref());
    let is_own = |name: &str| {
        name != json::compile::RESCUED && kafka.iter().all(|column| column.name() != name)
    };
    let own = |field: &&FieldRef| is_own(field.name());
    let mut first: Vec<FieldRef> = Vec::new();
    for field in all.iter().filter(own) {
        if let Ok(found) = has.field_with_name(field.name()) {
            first.push(Arc::new(plain(found)));
        }
    }
    let key_name = columns::name_of_key(&table.metadata);
    for field in all.iter().filter(|field| !own(field)) {
        // A decoded key's struct may have grown.
        let found = has.field_with_name(field.name()).ok();
        first.push(match found.filter(|_| *field.name() == key_name) {
            Some(found) => Arc::new(plain(found)),
            None => FieldRef::clone(field),
        });
    }
    let mut schema: SchemaRef = Arc::new(Schema::new(first));
    if is_declared {
        schema = declared(resolved, table, schema)?;
    }
    Ok(schema)
}

/// With all that the config declares.
fn declared(resolved: &Resolved, table: &Table, mut schema: SchemaRef) -> Result<SchemaRef, Error> {
    let refused = |path: String, reason: String| Error::Column {
        table: table.name.clone(),
        column: path,
        reason,
    };
    if let Source::Plain(plain) = &resolved.source {
        let name = &plain.name;
        return match schema.field_with_name(name) {
            Ok(field) if resolved.fields.iter().any(|own| own.as_ref() == field) => Ok(schema),
            Ok(field) => Err(refused(
                name.clone(),
                format!("the table has it as {}", field.data_type()),
            )),
            Err(_) => {
                let own = resolved.fields.iter().cloned();
                let all: Fields = own.chain(schema.fields().iter().cloned()).collect();
                Ok(Arc::new(Schema::new(all)))
            }
        };
    }
    for _ in 0..ROUNDS_MAX {
        let target = Target::new(resolved, table, Arc::clone(&schema))?;
        let wished = declared_columns(&resolved.source, &target)
            .map_err(|why| refused(why.path, why.message))?;
        match wished {
            None => return Ok(schema),
            Some(grown) => {
                schema = Arc::new(Schema::new(evolution::widened(schema.fields(), &grown)));
            }
        }
    }
    Err(refused(
        String::new(),
        "the declared columns never come to an end (a bug of Lakeward)".to_owned(),
    ))
}

/// A table's column without what others noted on it, its parts named as ours are.
pub fn plain(field: &Field) -> Field {
    Field::new(
        field.name(),
        plain_type(field.data_type()),
        field.is_nullable(),
    )
}

fn plain_type(data_type: &DataType) -> DataType {
    let renamed = |name: &str, field: &FieldRef| {
        Arc::new(Field::new(
            name,
            plain_type(field.data_type()),
            field.is_nullable(),
        ))
    };
    #[expect(clippy::wildcard_enum_match_arm, reason = "no other type has parts")]
    match data_type {
        DataType::Struct(fields) => {
            DataType::Struct(fields.iter().map(|field| plain(field)).collect())
        }
        DataType::List(item) => DataType::List(renamed("element", item)),
        DataType::Map(entries, is_sorted) => match entries.data_type() {
            DataType::Struct(pair) => {
                let pair: Fields = ["key", "value"]
                    .iter()
                    .zip(pair)
                    .map(|(name, half)| renamed(name, half))
                    .collect();
                let entries = Field::new("key_value", DataType::Struct(pair), false);
                DataType::Map(Arc::new(entries), *is_sorted)
            }
            _ => data_type.clone(),
        },
        DataType::Timestamp(_, Some(_)) => types::timestamp(),
        other => other.clone(),
    }
}
