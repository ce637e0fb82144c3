//! Reads what a checkpoint says of protocol, metadata and progress, in one projected pass. Owns checkpoint reading; never touches the file list, so
//! that opening a table does not grow with it.

use arrow::array::{Array, AsArray as _, RecordBatch, StructArray};
use arrow::datatypes::{Int32Type, Int64Type};
use futures::TryStreamExt as _;
use object_store::ObjectStoreExt as _;
use parquet::arrow::{ParquetRecordBatchStreamBuilder, ProjectionMask};
use parquet::errors::ParquetError;
use serde::Deserialize as _;
use serde_json::{Map, Value};

use crate::delta::actions::{Entry, Metadata, Protocol, Txn};
use crate::delta::error::Error;
use crate::delta::log::{CheckpointFile, CheckpointFiles};
use crate::delta::open::TableStore;

const COLUMNS: [&str; 3] = ["protocol", "metaData", "txn"];

/// Reads a checkpoint as if it were one entry.
pub(crate) async fn read(
    store: &TableStore,
    version: u64,
    files: &CheckpointFiles,
) -> Result<Entry, Error> {
    let mut all = Entry::default();
    for file in &files.parts {
        let part = if file.path.as_ref().ends_with(".json") {
            read_json(store, version, file).await?
        } else {
            read_parquet(store, version, file).await?
        };
        all.protocol = part.protocol.or(all.protocol);
        all.metadata = part.metadata.or(all.metadata);
        all.txns.extend(part.txns);
    }
    Ok(all)
}

async fn read_json(
    store: &TableStore,
    version: u64,
    file: &CheckpointFile,
) -> Result<Entry, Error> {
    let failed = |error| store.failed(format!("read {}", file.path), error);
    let bytes = store
        .objects()
        .get(&file.path)
        .await
        .map_err(failed)?
        .bytes()
        .await
        .map_err(failed)?;
    Entry::parse(&bytes)
        .map_err(|reason| store.damaged(version, format!("checkpoint {}: {reason}", file.path)))
}

/// A file of a checkpoint that the store does not give, or that is damaged.
pub(crate) fn unreadable(
    store: &TableStore,
    version: u64,
    file: &CheckpointFile,
    error: ParquetError,
) -> Error {
    let ParquetError::External(source) = error else {
        return store.damaged(version, format!("checkpoint {}: {error}", file.path));
    };
    let not_found = source.downcast_ref::<object_store::Error>();
    if matches!(not_found, Some(object_store::Error::NotFound { .. })) {
        // Listed and gone: a clean-up is at work, and another checkpoint stands in its place.
        return store.damaged(version, format!("the checkpoint {} is gone", file.path));
    }
    store.failed(format!("read {}", file.path), source)
}

async fn read_parquet(
    store: &TableStore,
    version: u64,
    file: &CheckpointFile,
) -> Result<Entry, Error> {
    let failed = |error| unreadable(store, version, file, error);
    let damaged =
        |reason: String| store.damaged(version, format!("checkpoint {}: {reason}", file.path));
    let reader = store.reader(file);
    let builder = ParquetRecordBatchStreamBuilder::new(reader)
        .await
        .map_err(failed)?;
    let schema = builder.parquet_schema();
    let wanted = (0..schema.num_columns())
        .filter(|leaf| COLUMNS.contains(&schema.get_column_root(*leaf).name()));
    let mask = ProjectionMask::leaves(schema, wanted);
    let mut batches = builder.with_projection(mask).build().map_err(failed)?;
    let mut entry = Entry::default();
    while let Some(batch) = batches.try_next().await.map_err(failed)? {
        take(&mut entry, &batch).map_err(damaged)?;
    }
    Ok(entry)
}

pub(crate) fn take(entry: &mut Entry, batch: &RecordBatch) -> Result<(), String> {
    for action in actions(batch, "protocol", "minReaderVersion")? {
        entry.protocol =
            Some(Protocol::deserialize(action).map_err(|error| format!("protocol: {error}"))?);
    }
    for action in actions(batch, "metaData", "id")? {
        entry.metadata =
            Some(Metadata::deserialize(action).map_err(|error| format!("metaData: {error}"))?);
    }
    for action in actions(batch, "txn", "appId")? {
        entry
            .txns
            .push(Txn::deserialize(action).map_err(|error| format!("txn: {error}"))?);
    }
    Ok(())
}

/// The actions of one kind: rows whose struct and whose required field are there.
fn actions(batch: &RecordBatch, kind: &str, required: &str) -> Result<Vec<Value>, String> {
    let Some(column) = batch.column_by_name(kind) else {
        return Ok(Vec::new());
    };
    let Some(structs) = column.as_struct_opt() else {
        return Err(format!("the column {kind} is not a struct"));
    };
    let Some(field) = structs.column_by_name(required) else {
        return Err(format!("the column {kind} has no {required}"));
    };
    let present = (0..structs.len()).filter(|row| structs.is_valid(*row) && field.is_valid(*row));
    present
        .map(|row| cell(structs, row).map_err(|reason| format!("{kind}: {reason}")))
        .collect()
}

/// One cell as JSON; a null member is left out, as JSON actions do.
fn cell(array: &dyn Array, row: usize) -> Result<Value, String> {
    if array.is_null(row) {
        return Ok(Value::Null);
    }
    let text = array
        .as_string_opt::<i32>()
        .map(|texts| texts.value(row))
        .or_else(|| Some(array.as_string_opt::<i64>()?.value(row)))
        .or_else(|| Some(array.as_string_view_opt()?.value(row)));
    if let Some(text) = text {
        return Ok(text.into());
    }
    if let Some(numbers) = array.as_primitive_opt::<Int32Type>() {
        return Ok(numbers.value(row).into());
    }
    if let Some(numbers) = array.as_primitive_opt::<Int64Type>() {
        return Ok(numbers.value(row).into());
    }
    if let Some(flags) = array.as_boolean_opt() {
        return Ok(flags.value(row).into());
    }
    if let Some(list) = array.as_list_opt::<i32>() {
        let items = list.value(row);
        return (0..items.len()).map(|item| cell(&items, item)).collect();
    }
    if let Some(map) = array.as_map_opt() {
        return object(&map.value(row));
    }
    let Some(members) = array.as_struct_opt() else {
        return Err(format!(
            "a field of type {} is not expected",
            array.data_type()
        ));
    };
    let mut object = Map::new();
    for (name, column) in members.column_names().into_iter().zip(members.columns()) {
        let value = cell(column, row)?;
        if !value.is_null() {
            object.insert(name.to_owned(), value);
        }
    }
    Ok(Value::Object(object))
}

/// A map's entries as a JSON object.
fn object(entries: &StructArray) -> Result<Value, String> {
    let mut object = Map::new();
    if let [keys, values] = entries.columns() {
        for item in 0..entries.len() {
            if let Value::String(key) = cell(keys, item)? {
                object.insert(key, cell(values, item)?);
            }
        }
    }
    Ok(Value::Object(object))
}
