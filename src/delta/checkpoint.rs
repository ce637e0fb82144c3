//! Reads what a checkpoint says of protocol, metadata and progress, in one projected pass. Owns checkpoint reading; never touches the file list, so
//! that opening a table does not grow with it.

use std::ops::Range;
use std::sync::Arc;

use arrow::array::{Array, AsArray as _, RecordBatch, StructArray};
use arrow::datatypes::{Int32Type, Int64Type};
use bytes::Bytes;
use deltalake::checkpoints::create_checkpoint;
use deltalake::{DeltaTable, DeltaTableError};
use futures::future::BoxFuture;
use futures::{FutureExt as _, TryFutureExt as _, TryStreamExt as _};
use object_store::{ObjectStore, ObjectStoreExt as _};
use parquet::arrow::arrow_reader::ArrowReaderOptions;
use parquet::arrow::async_reader::AsyncFileReader;
use parquet::arrow::{ParquetRecordBatchStreamBuilder, ProjectionMask};
use parquet::errors::ParquetError;
use parquet::file::metadata::{ParquetMetaData, ParquetMetaDataReader};
use serde::Deserialize as _;
use serde_json::{Map, Value};

use crate::delta::actions::{Entry, Metadata, Protocol, Txn};
use crate::delta::error::Error;
use crate::delta::log::{self, CheckpointFile, CheckpointFiles};
use crate::delta::open::TableStore;

const COLUMNS: [&str; 3] = ["protocol", "metaData", "txn"];

impl TableStore {
    /// The version that `_last_checkpoint` names.
    pub async fn newest_checkpoint(&self) -> Result<Option<u64>, Error> {
        log::last_checkpoint(self).await
    }

    /// Writes a checkpoint of the newest version from a snapshot of its own; the log stays as it is. Blocks its thread for a while.
    pub async fn write_checkpoint(&self) -> Result<u64, Error> {
        let failed = |error: DeltaTableError| self.failed("write a checkpoint", error);
        let mut table = DeltaTable::new(Arc::clone(self.log()));
        table.load().await.map_err(failed)?;
        let version = table
            .version()
            .ok_or_else(|| self.damaged(0, "the table cannot be opened for a checkpoint"))?;
        create_checkpoint(&table, None).await.map_err(failed)?;
        Ok(version)
    }
}

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

async fn read_parquet(
    store: &TableStore,
    version: u64,
    file: &CheckpointFile,
) -> Result<Entry, Error> {
    let failed = |error: ParquetError| {
        let ParquetError::External(source) = error else {
            return store.damaged(version, format!("checkpoint {}: {error}", file.path));
        };
        store.failed(format!("read {}", file.path), source)
    };
    let damaged =
        |reason: String| store.damaged(version, format!("checkpoint {}: {reason}", file.path));
    let reader = Object::new(store, file);
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

/// A Parquet file in the object store.
pub(crate) struct Object {
    objects: Arc<dyn ObjectStore>,
    file: CheckpointFile,
}

impl Object {
    pub(crate) fn new(store: &TableStore, file: &CheckpointFile) -> Self {
        Object {
            objects: store.objects(),
            file: file.clone(),
        }
    }
}

impl AsyncFileReader for Object {
    fn get_bytes(&mut self, range: Range<u64>) -> BoxFuture<'_, parquet::errors::Result<Bytes>> {
        self.objects
            .get_range(&self.file.path, range)
            .map_err(|error| ParquetError::External(Box::new(error)))
            .boxed()
    }

    fn get_byte_ranges(
        &mut self,
        ranges: Vec<Range<u64>>,
    ) -> BoxFuture<'_, parquet::errors::Result<Vec<Bytes>>> {
        async move {
            self.objects
                .get_ranges(&self.file.path, &ranges)
                .await
                .map_err(|error| ParquetError::External(Box::new(error)))
        }
        .boxed()
    }

    fn get_metadata<'a>(
        &'a mut self,
        _options: Option<&'a ArrowReaderOptions>,
    ) -> BoxFuture<'a, parquet::errors::Result<Arc<ParquetMetaData>>> {
        async move {
            let size_bytes = self.file.size_bytes;
            let metadata = ParquetMetaDataReader::new()
                .with_prefetch_hint(Some(64 * 1024))
                .load_and_finish(self, size_bytes)
                .await?;
            Ok(Arc::new(metadata))
        }
        .boxed()
    }
}
