//! Parquet files read from an object store, range by range. Owns that bridge and whose fault a failed read is; keeps nothing.

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use futures::future::BoxFuture;
use futures::{FutureExt as _, TryFutureExt as _};
use object_store::path::Path;
use object_store::{GetOptions, GetRange, ObjectStore, ObjectStoreExt as _};
use parquet::arrow::arrow_reader::ArrowReaderOptions;
use parquet::arrow::async_reader::{
    AsyncFileReader, MetadataSuffixFetch, ParquetRecordBatchStreamBuilder,
};
use parquet::errors::{ParquetError, Result};
use parquet::file::metadata::{ParquetMetaData, ParquetMetaDataReader};

/// One file of a store.
#[derive(Debug, Clone)]
pub(crate) struct StoredFile {
    objects: Arc<dyn ObjectStore>,
    path: Path,
}

impl StoredFile {
    /// Reads the footer.
    pub(crate) async fn open(
        objects: &Arc<dyn ObjectStore>,
        path: &Path,
    ) -> Result<ParquetRecordBatchStreamBuilder<StoredFile>> {
        let file = StoredFile {
            objects: Arc::clone(objects),
            path: path.clone(),
        };
        ParquetRecordBatchStreamBuilder::new(file).await
    }
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

fn external(error: object_store::Error) -> ParquetError {
    ParquetError::External(Box::new(error))
}

impl AsyncFileReader for StoredFile {
    fn get_bytes(&mut self, range: Range<u64>) -> BoxFuture<'_, Result<Bytes>> {
        self.objects
            .get_range(&self.path, range)
            .map_err(external)
            .boxed()
    }

    fn get_byte_ranges(&mut self, ranges: Vec<Range<u64>>) -> BoxFuture<'_, Result<Vec<Bytes>>> {
        async move {
            let read = self.objects.get_ranges(&self.path, &ranges).await;
            read.map_err(external)
        }
        .boxed()
    }

    fn get_metadata<'a>(
        &'a mut self,
        options: Option<&'a ArrowReaderOptions>,
    ) -> BoxFuture<'a, Result<Arc<ParquetMetaData>>> {
        async move {
            let reader = ParquetMetaDataReader::new().with_arrow_reader_options(options);
            Ok(Arc::new(reader.load_via_suffix_and_finish(self).await?))
        }
        .boxed()
    }
}

impl MetadataSuffixFetch for &mut StoredFile {
    fn fetch_suffix(&mut self, suffix: usize) -> BoxFuture<'_, Result<Bytes>> {
        let range = GetRange::Suffix(u64::try_from(suffix).unwrap_or(u64::MAX));
        let options = GetOptions {
            range: Some(range),
            ..GetOptions::default()
        };
        async move {
            let answer = self.objects.get_opts(&self.path, options).await;
            answer.map_err(external)?.bytes().await.map_err(external)
        }
        .boxed()
    }
}
