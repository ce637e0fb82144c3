//! Parquet files read from an object store, range by range. Owns that bridge and whose fault a failed read is; keeps nothing.

use std::sync::Arc;

use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt as _};
use parquet::arrow::async_reader::ParquetRecordBatchStreamBuilder;
use parquet::errors::{ParquetError, Result};

use crate::delta::ObjectReader;

/// Reads the footer of a file, however large it is: its size is asked for, since Azure gives no range from the end.
pub(crate) async fn open(
    objects: &Arc<dyn ObjectStore>,
    path: &Path,
) -> Result<ParquetRecordBatchStreamBuilder<ObjectReader>> {
    let there = objects
        .head(path)
        .await
        .map_err(|error| ParquetError::External(Box::new(error)))?;
    let file = ObjectReader::new(Arc::clone(objects), path.clone(), there.size);
    ParquetRecordBatchStreamBuilder::new(file).await
}

/// Whether a failed read is the store's fault, not the file's.
pub(crate) fn is_outside(error: &ParquetError) -> bool {
    match stored(error) {
        // A range beyond the end: the file is shorter than its footer says.
        Some(object_store::Error::Generic { .. } | object_store::Error::NotFound { .. }) | None => {
            false
        }
        Some(_) => true,
    }
}

/// Whether the file is not there.
pub(crate) fn is_missing(error: &ParquetError) -> bool {
    matches!(stored(error), Some(object_store::Error::NotFound { .. }))
}

fn stored(error: &ParquetError) -> Option<&object_store::Error> {
    let ParquetError::External(error) = error else {
        return None;
    };
    error.downcast_ref()
}
