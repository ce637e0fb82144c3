//! A Delta checkpoint as an auditor reads it: live files and txns at its version. Classic and multi-part Parquet; others are not taken as a base.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray as _, RecordBatch, StructArray};
use arrow::datatypes::{DataType, Int64Type};
use futures::TryStreamExt as _;
use object_store::ObjectStore;
use object_store::path::Path;
use parquet::arrow::ProjectionMask;

use crate::error::Kind;
use crate::ops::exit::Failure;
use crate::ops::stored_file;
use crate::ops::verify::log::{Add, Txn};
use crate::ops::waiting::Patience;

/// What a checkpoint says.
#[derive(Debug, Default)]
pub(crate) struct State {
    pub(crate) adds: Vec<Add>,
    pub(crate) txns: Vec<Txn>,
}

/// Reads all parts of one checkpoint.
pub(crate) async fn read(
    objects: &Arc<dyn ObjectStore>,
    parts: &[Path],
    patience: &Patience,
) -> Result<State, Failure> {
    let mut state = State::default();
    for path in parts {
        let batches = patience
            .wait("the store (`storage.url`)", batches(objects, path))
            .await?;
        let batches = batches.map_err(|error| {
            Failure::new(Kind::Corrupt, error).context(format!("cannot read the checkpoint {path}"))
        })?;
        for batch in &batches {
            state.take(batch).ok_or_else(|| {
                Failure::said(
                    Kind::Corrupt,
                    format!("the checkpoint {path} lacks add or txn columns of the usual types"),
                )
            })?;
        }
    }
    Ok(state)
}

async fn batches(
    objects: &Arc<dyn ObjectStore>,
    path: &Path,
) -> Result<Vec<RecordBatch>, parquet::errors::ParquetError> {
    let builder = stored_file::open(objects, path).await?;
    let schema = builder.parquet_schema();
    let roots = schema
        .root_schema()
        .get_fields()
        .iter()
        .enumerate()
        .filter(|(_, field)| matches!(field.name(), "add" | "txn"))
        .map(|(index, _)| index);
    let mask = ProjectionMask::roots(schema, roots.collect::<Vec<_>>());
    builder.with_projection(mask).build()?.try_collect().await
}

impl State {
    fn take(&mut self, batch: &RecordBatch) -> Option<()> {
        if let Some(txns) = batch.column_by_name("txn") {
            let txns = txns.as_struct_opt()?;
            let (ids, versions) = (text(txns, "appId")?, long(txns, "version")?);
            for row in (0..txns.len()).filter(|row| txns.is_valid(*row)) {
                self.txns.push(Txn {
                    app_id: string(&ids, row)?,
                    version: number(&versions, row)?,
                });
            }
        }
        let adds = batch.column_by_name("add")?.as_struct_opt()?;
        let (paths, sizes, stats) = (
            text(adds, "path")?,
            long(adds, "size")?,
            text(adds, "stats"),
        );
        let vectors = adds.column_by_name("deletionVector");
        let values = adds.column_by_name("partitionValues");
        for row in (0..adds.len()).filter(|row| adds.is_valid(*row)) {
            self.adds.push(Add {
                path: string(&paths, row)?,
                size: u64::try_from(number(&sizes, row)?).ok()?,
                partition_values: values
                    .and_then(|values| partition_values(values, row))
                    .unwrap_or_default(),
                data_change: false,
                stats: stats.as_ref().and_then(|stats| string(stats, row)),
                deletion_vector: vectors
                    .filter(|vectors| vectors.is_valid(row))
                    .map(|_| serde::de::IgnoredAny),
            });
        }
        Some(())
    }
}

fn partition_values(values: &ArrayRef, row: usize) -> Option<HashMap<String, Option<String>>> {
    let entries = values.as_map_opt()?.value(row);
    let cast =
        |index: usize| arrow::compute::cast(entries.columns().get(index)?, &DataType::Utf8).ok();
    let (keys, texts) = (cast(0)?, cast(1)?);
    (0..entries.len())
        .map(|row| Some((string(&keys, row)?, string(&texts, row))))
        .collect()
}

fn text(of: &StructArray, name: &str) -> Option<ArrayRef> {
    arrow::compute::cast(of.column_by_name(name)?, &DataType::Utf8).ok()
}

fn long(of: &StructArray, name: &str) -> Option<ArrayRef> {
    arrow::compute::cast(of.column_by_name(name)?, &DataType::Int64).ok()
}

fn string(array: &ArrayRef, row: usize) -> Option<String> {
    array.is_valid(row).then(|| {
        array
            .as_string_opt::<i32>()
            .map(|array| array.value(row).to_owned())
    })?
}

fn number(array: &ArrayRef, row: usize) -> Option<i64> {
    array.is_valid(row).then(|| {
        array
            .as_primitive_opt::<Int64Type>()
            .map(|array| array.value(row))
    })?
}
