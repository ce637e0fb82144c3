//! Where commands meet the rooms below: one function for each thing that a command asks of them. Owns how their errors become failures.

use std::sync::Arc;

use arrow::datatypes::{Field, SchemaRef};
use object_store::ObjectStore;

use crate::clock::Clock;
use crate::config::Config;
use crate::config::settings::{SchemaRegistry, Storage, Table};
use crate::error::Kind;
use crate::ops::cli::ConfigFile;
use crate::ops::exit::Failure;
use crate::ops::standin::decode::Registry;
use crate::ops::standin::{config, decode, delta};
use crate::ops::verify::block_on;
use crate::ops::waiting::Patience;

/// Loads the config, or says all its problems.
pub(super) fn config(file: &ConfigFile) -> Result<Config, Failure> {
    config::load(&file.path).map_err(|problems| Failure::said(Kind::Invalid, problems.to_string()))
}

/// The tables that were asked for; all of them when none was named.
pub(super) fn tables<'a>(config: &'a Config, names: &[String]) -> Result<Vec<&'a Table>, Failure> {
    if let Some(unknown) = names
        .iter()
        .find(|name| !config.tables.iter().any(|table| table.name == **name))
    {
        let known: Vec<&str> = config
            .tables
            .iter()
            .map(|table| table.name.as_str())
            .collect();
        return Err(Failure::invalid(format!(
            "--table {unknown}: the config has no such table; it has {}",
            known.join(", ")
        )));
    }
    Ok(config
        .tables
        .iter()
        .filter(|table| names.is_empty() || names.contains(&table.name))
        .collect())
}

/// The store of one table, rooted at it.
pub(super) fn objects(storage: &Storage, table: &Table) -> Result<Arc<dyn ObjectStore>, Failure> {
    let opened = delta::Store::open(storage).and_then(|store| store.table(&table.path));
    opened
        .map(|table| table.objects())
        .map_err(|error| Failure::new(error.kind(), error))
}

/// Checks that the store is there and that its put-if-absent is real.
pub(super) fn probe(storage: &Storage, patience: &Patience) -> Result<(), Failure> {
    let store = delta::Store::open(storage).map_err(|error| Failure::new(error.kind(), error))?;
    block_on(patience.wait("the store (`storage.url`)", store.probe(patience.clock())))??
        .map_err(|error| Failure::new(error.kind(), error))
}

/// A table that is there.
#[derive(Debug)]
pub(super) struct Existing {
    /// Its version.
    pub(super) version: u64,
    /// Its columns.
    pub(super) schema: SchemaRef,
}

/// Opens a table as the sink would, with its refusals; `None` when there is none.
pub(super) fn existing(
    storage: &Storage,
    table: &Table,
    patience: &Patience,
) -> Result<Option<Existing>, Failure> {
    let store = delta::Store::open(storage)
        .and_then(|store| store.table(&table.path))
        .map_err(|error| Failure::new(error.kind(), error))?;
    let loaded = block_on(patience.wait(
        "the store (`storage.url`)",
        delta::Table::load(&store, patience.clock()),
    ))??;
    let loaded = loaded.map_err(|error| Failure::new(error.kind(), error))?;
    Ok(loaded.map(|table| Existing {
        version: table.version(),
        schema: table.schema(),
    }))
}

/// Connects to the registry.
pub(super) fn registry(settings: &SchemaRegistry, clock: &Clock) -> Result<Arc<Registry>, Failure> {
    Registry::connect(settings, clock.clone())
        .map(Arc::new)
        .map_err(|error| Failure::new(error.kind(), error))
}

/// The columns that the config would write: the record's and Kafka's.
pub(super) fn columns(
    table: &Table,
    registry: Option<&Arc<Registry>>,
) -> Result<Vec<Field>, Failure> {
    let resolved =
        decode::resolve(table, registry).map_err(|error| Failure::new(error.kind(), error))?;
    let record = resolved.fields.iter().map(|field| Field::clone(field));
    Ok(record
        .chain(decode::metadata_fields(&table.metadata))
        .collect())
}
