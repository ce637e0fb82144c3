//! The file actions of a Parquet checkpoint, or of one of its sidecars, in projected batches. Owns their columns; what they mean together is `files`'.

use std::collections::BTreeMap;

use arrow::array::{Array, AsArray as _, RecordBatch, StructArray};
use arrow::datatypes::Int64Type;
use futures::TryStreamExt as _;
use parquet::arrow::{ParquetRecordBatchStreamBuilder, ProjectionMask};

use crate::delta::checkpoint;
use crate::delta::checkpoint::unreadable;
use crate::delta::error::Error;
use crate::delta::file_lines::rows_of;
use crate::delta::files::{FileList, LiveFile};
use crate::delta::log::CheckpointFile;
use crate::delta::open::TableStore;

/// Columns whose every leaf is read, and the leaves of files that are.
const WHOLE: [&str; 3] = ["protocol", "metaData", "txn"];
const LEAVES: [&str; 9] = [
    "add.path",
    "add.partitionValues",
    "add.size",
    "add.modificationTime",
    "add.stats",
    "add.deletionVector.storageType",
    "remove.path",
    "remove.deletionTimestamp",
    "sidecar.path",
];
/// Statistics are long texts: batches stay small.
const BATCH_ROWS: usize = 4096;

/// Reads one Parquet file of a checkpoint into `list`; answers the sidecars that it names.
pub(crate) async fn read(
    store: &TableStore,
    version: u64,
    file: &CheckpointFile,
    list: &mut FileList,
) -> Result<Vec<String>, Error> {
    let failed = |error| unreadable(store, version, file, error);
    let damaged =
        |reason: String| store.damaged(version, format!("checkpoint {}: {reason}", file.path));
    let reader = store.reader(file);
    let builder = ParquetRecordBatchStreamBuilder::new(reader)
        .await
        .map_err(failed)?;
    let schema = builder.parquet_schema();
    let wanted = (0..schema.num_columns()).filter(|leaf| {
        let path = schema.column(*leaf).path().string();
        WHOLE.contains(&schema.get_column_root(*leaf).name())
            || LEAVES.iter().any(|wanted| {
                path == *wanted
                    || path
                        .strip_prefix(*wanted)
                        .is_some_and(|rest| rest.starts_with('.'))
            })
    });
    let mask = ProjectionMask::leaves(schema, wanted.collect::<Vec<_>>());
    let mut batches = builder
        .with_projection(mask)
        .with_batch_size(BATCH_ROWS)
        .build()
        .map_err(failed)?;
    let mut sidecars = Vec::new();
    while let Some(batch) = batches.try_next().await.map_err(failed)? {
        let mut rest = crate::delta::actions::Entry::default();
        checkpoint::take(&mut rest, &batch).map_err(damaged)?;
        list.protocol = rest.protocol.or_else(|| list.protocol.take());
        list.metadata = rest.metadata.or_else(|| list.metadata.take());
        list.txns
            .extend(rest.txns.into_iter().map(|txn| (txn.app_id, txn.version)));
        take_files(&batch, list).map_err(damaged)?;
        let named = texts(&batch, "sidecar", "path");
        sidecars.extend(named.into_iter().flatten().flatten().map(str::to_owned));
    }
    Ok(sidecars)
}

fn take_files(batch: &RecordBatch, list: &mut FileList) -> Result<(), String> {
    if let (Some(paths), Some(times)) = (
        texts(batch, "remove", "path"),
        numbers(batch, "remove", "deletionTimestamp"),
    ) {
        for (path, time) in paths.into_iter().zip(times) {
            if let Some(path) = path {
                list.bury(path, time.unwrap_or(0));
            }
        }
    }
    let Some(adds) = structs(batch, "add") else {
        return Ok(());
    };
    let paths = texts(batch, "add", "path").ok_or("add has no path")?;
    let sizes = numbers(batch, "add", "size").ok_or("add has no size")?;
    let times = numbers(batch, "add", "modificationTime").unwrap_or_default();
    let stats = texts(batch, "add", "stats").unwrap_or_default();
    let vectors = adds.column_by_name("deletionVector");
    for (row, (path, size)) in paths.into_iter().zip(sizes).enumerate() {
        let Some(path) = path.filter(|_| adds.is_valid(row)) else {
            continue;
        };
        let size = size.and_then(|size| u64::try_from(size).ok());
        let partition_values = list.intern(partition_values(adds, row)?);
        list.add(LiveFile {
            path_in_log: path.to_owned(),
            partition_values,
            size_bytes: size.ok_or_else(|| format!("add of `{path}` has no size"))?,
            modified_ms: times.get(row).copied().flatten().unwrap_or(0),
            rows: stats.get(row).copied().flatten().and_then(rows_of),
            has_deletion_vector: vectors.is_some_and(|vectors| {
                vectors.is_valid(row)
                    && vectors
                        .as_struct_opt()
                        .and_then(|vector| vector.column_by_name("storageType"))
                        .is_none_or(|kind| kind.is_valid(row))
            }),
        });
    }
    Ok(())
}

fn partition_values(
    adds: &StructArray,
    row: usize,
) -> Result<BTreeMap<String, Option<String>>, String> {
    let Some(maps) = adds.column_by_name("partitionValues") else {
        return Ok(BTreeMap::new());
    };
    let maps = maps
        .as_map_opt()
        .ok_or("add.partitionValues is not a map")?;
    let entries = maps.value(row);
    let [keys, values] = entries.columns() else {
        return Err("add.partitionValues is not a map of texts".to_owned());
    };
    let keys = strings(keys).ok_or("add.partitionValues has keys that are not texts")?;
    let values = strings(values).ok_or("add.partitionValues has values that are not texts")?;
    Ok(keys
        .into_iter()
        .zip(values)
        .filter_map(|(key, value)| Some((key?.to_owned(), value.map(str::to_owned))))
        .collect())
}

fn structs<'a>(batch: &'a RecordBatch, name: &str) -> Option<&'a StructArray> {
    batch.column_by_name(name)?.as_struct_opt()
}

fn texts<'a>(batch: &'a RecordBatch, name: &str, member: &str) -> Option<Vec<Option<&'a str>>> {
    let parent = structs(batch, name)?;
    let all = strings(parent.column_by_name(member)?)?;
    Some(present(parent, all))
}

fn numbers(batch: &RecordBatch, name: &str, member: &str) -> Option<Vec<Option<i64>>> {
    let parent = structs(batch, name)?;
    let all = parent
        .column_by_name(member)?
        .as_primitive_opt::<Int64Type>()?;
    Some(present(parent, all.iter().collect()))
}

/// A required member of an action that is not there reads as an empty text or zero.
fn present<T>(parent: &StructArray, all: Vec<Option<T>>) -> Vec<Option<T>> {
    all.into_iter()
        .enumerate()
        .map(|(row, value)| value.filter(|_| parent.is_valid(row)))
        .collect()
}

fn strings(array: &dyn Array) -> Option<Vec<Option<&str>>> {
    array
        .as_string_opt::<i32>()
        .map(|texts| texts.iter().collect())
        .or_else(|| Some(array.as_string_opt::<i64>()?.iter().collect()))
        .or_else(|| Some(array.as_string_view_opt()?.iter().collect()))
}
