//! Where commands meet the rooms below: one function for each thing that a command asks of them. Owns how their errors become failures.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::datatypes::Schema;
use object_store::ObjectStore;

use crate::config::Config;
use crate::config::settings::{
    Allow, ErrorMode, Evolution, OnIncompatible, SchemaRegistry, Storage, Table,
};
use crate::decode::Registry;
use crate::error::Kind;
use crate::ops::cli::ConfigFile;
use crate::ops::exit::Failure;
use crate::ops::verify::block_on;
use crate::ops::waiting::Patience;
use crate::pipeline::{self, Known};
use crate::{config, decode, delta, writer};

/// Loads the config, or says all its problems.
pub(super) fn config(file: &ConfigFile) -> Result<Config, Failure> {
    config::load(&file.path).map_err(|problems| Failure::said(Kind::Invalid, problems.to_string()))
}

/// Loads the config and works out what its patterns make of the topics that there are; what feeds no table is said.
pub(super) fn known(file: &ConfigFile, patience: &Patience) -> Result<Config, Failure> {
    let known = expanded(&config(file)?, patience)?;
    for one in &known.refused {
        tracing::warn!(
            topic = one.topic,
            table = one.table,
            reason = one.reason,
            "topic refused"
        );
    }
    for pattern in &known.unmatched {
        tracing::warn!(pattern, "no topic matches topics_regex yet");
    }
    if !known.config.tables.is_empty() {
        return Ok(known.config);
    }
    Err(match known.refused.into_iter().next() {
        Some(first) => Failure::said(Kind::Corrupt, first.reason),
        None => no_topic(&known.unmatched),
    })
}

/// What a config comes to over the topics that there are; nobody is asked for a config without patterns.
pub(super) fn expanded(config: &Config, patience: &Patience) -> Result<Known, Failure> {
    let known = pipeline::known(config, patience.clock(), patience.limit());
    block_on(known)?.map_err(|error| Failure::new(error.kind(), error))
}

/// The failure of a pattern without topics.
pub(super) fn no_topic(patterns: &[String]) -> Failure {
    let error = pipeline::Error::NoTopic {
        patterns: patterns.join("`, `"),
    };
    Failure::new(error.kind(), error)
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
    Ok(store(storage)?
        .table(&table.path)
        .map_err(of_table)?
        .objects())
}

/// The store of one table, as maintenance needs it.
pub(super) fn table_store(storage: &Storage, table: &Table) -> Result<delta::TableStore, Failure> {
    store(storage)?.table(&table.path).map_err(of_table)
}

/// The store of a table's rejected records.
pub(super) fn rejected_store(
    storage: &Storage,
    table: &Table,
) -> Result<delta::TableStore, Failure> {
    store(storage)?.table(&table.errors.table).map_err(of_table)
}

/// The store of a table's rejected records by its folder, rooted at it, for an audit.
pub(super) fn rejected_objects(
    storage: &Storage,
    table: &Table,
) -> Result<BTreeMap<String, Arc<dyn ObjectStore>>, Failure> {
    let store = rejected_store(storage, table)?;
    Ok(BTreeMap::from([(
        table.errors.table.clone(),
        store.objects(),
    )]))
}

/// Whether anything was ever rejected into a table of its own.
pub(super) async fn has_rejected(
    storage: &Storage,
    table: &Table,
    patience: &Patience,
) -> Result<bool, Failure> {
    if table.errors.mode != ErrorMode::Dlq {
        return Ok(false);
    }
    let store = rejected_store(storage, table)?;
    let loaded = delta::Table::load(&store, patience.clock());
    let loaded = patience.wait("the store (`storage.url`)", loaded).await?;
    Ok(loaded.map_err(of_table)?.is_some())
}

/// Checks that the store is there and that its put-if-absent is real.
pub(super) fn probe(storage: &Storage, patience: &Patience) -> Result<(), Failure> {
    let store = store(storage)?;
    block_on(patience.wait("the store (`storage.url`)", store.probe(patience.clock())))??
        .map_err(of_table)
}

/// The columns that a table would be created with: the record's, Kafka's, and the table partition columns computed from them.
pub(super) fn columns(table: &Table, registry: Option<&Arc<Registry>>) -> Result<Schema, Failure> {
    let resolved =
        decode::resolve(table, registry).map_err(|error| Failure::new(error.kind(), error))?;
    let mut fields = resolved.columns(table);
    let derived = writer::derived_fields(&table.partition_by, &Schema::new(fields.clone()));
    fields.extend(derived.map_err(|error| Failure::new(error.kind(), error))?);
    Ok(Schema::new(fields))
}

/// Opens a table as the sink would, with its refusals, and holds `columns` against it; its version, or `None` when there is no table.
pub(super) fn check_existing(
    storage: &Storage,
    table: &Table,
    columns: Option<&Schema>,
    patience: &Patience,
) -> Result<Option<u64>, Failure> {
    let store = store(storage)?.table(&table.path).map_err(of_table)?;
    let loaded = block_on(patience.wait(
        "the store (`storage.url`)",
        delta::Table::load(&store, patience.clock()),
    ))??;
    let Some(existing) = loaded.map_err(of_table)? else {
        return Ok(None);
    };
    if let Some(columns) = columns {
        let partition_columns: Vec<String> = table
            .partition_by
            .iter()
            .map(|field| field.name.clone())
            .collect();
        match table.evolution {
            // What does not fit goes into further columns.
            Evolution {
                on_incompatible: OnIncompatible::NewColumn,
                ..
            } => {}
            Evolution {
                allow: Allow::AddColumns,
                ..
            } => delta::schema::fit_grown(&existing, columns, &partition_columns)
                .map_err(of_table)?,
            Evolution {
                allow: Allow::None, ..
            } => delta::schema::fit(&existing, columns, &partition_columns).map_err(of_table)?,
        }
    }
    Ok(Some(existing.version()))
}

/// Connects to the registry.
pub(super) fn registry(
    settings: &SchemaRegistry,
    patience: &Patience,
) -> Result<Arc<Registry>, Failure> {
    Registry::connect(settings, patience.clock().clone())
        .map(Arc::new)
        .map_err(|error| Failure::new(error.kind(), error))
}

fn store(storage: &Storage) -> Result<delta::Store, Failure> {
    delta::Store::open(storage).map_err(of_table)
}

fn of_table(error: delta::Error) -> Failure {
    Failure::new(error.kind(), error)
}
