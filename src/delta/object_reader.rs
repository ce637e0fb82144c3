//! A Parquet file in an object store whose size is known, for parquet's asynchronous readers. Owns the requests; interprets nothing.

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use futures::future::BoxFuture;
use futures::{FutureExt as _, TryFutureExt as _};
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt as _};
use parquet::arrow::arrow_reader::ArrowReaderOptions;
use parquet::arrow::async_reader::AsyncFileReader;
use parquet::errors::ParquetError;
use parquet::file::metadata::{ParquetMetaData, ParquetMetaDataReader};

/// Most footers come with the first request.
const FOOTER_BYTES: usize = 64 * 1024;

/// The file.
#[derive(Debug)]
pub struct ObjectReader {
    objects: Arc<dyn ObjectStore>,
    path: Path,
    size_bytes: u64,
}

impl ObjectReader {
    /// A file of that size.
    pub fn new(objects: Arc<dyn ObjectStore>, path: Path, size_bytes: u64) -> Self {
        ObjectReader {
            objects,
            path,
            size_bytes,
        }
    }
}

impl AsyncFileReader for ObjectReader {
    fn get_bytes(&mut self, range: Range<u64>) -> BoxFuture<'_, parquet::errors::Result<Bytes>> {
        self.objects
            .get_range(&self.path, range)
            .map_err(|error| ParquetError::External(Box::new(error)))
            .boxed()
    }

    fn get_byte_ranges(
        &mut self,
        ranges: Vec<Range<u64>>,
    ) -> BoxFuture<'_, parquet::errors::Result<Vec<Bytes>>> {
        async move {
            self.objects
                .get_ranges(&self.path, &ranges)
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
            let size_bytes = self.size_bytes;
            let metadata = ParquetMetaDataReader::new()
                .with_prefetch_hint(Some(FOOTER_BYTES))
                .load_and_finish(self, size_bytes)
                .await?;
            Ok(Arc::new(metadata))
        }
        .boxed()
    }
}
