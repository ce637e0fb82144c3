//! One data file as batches in today's shape: small files in one request, large ones row group by row group. Owns the reading and what is said of a file that cannot
//! be read; the file stays as it is.

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use bytes::Bytes;
use futures::TryStreamExt as _;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt as _};
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder};
use parquet::arrow::async_reader::{ParquetRecordBatchStream, ParquetRecordBatchStreamBuilder};
use parquet::errors::ParquetError;
use parquet::file::metadata::ParquetMetaData;
use parquet::schema::types::SchemaDescriptor;

use crate::delta::ObjectReader;
use crate::maintenance::error::Error;
use crate::maintenance::memory::Memory;
use crate::writer::conform;

/// Rows of one batch; encoding is fastest with large ones.
const BATCH_ROWS_MAX: usize = 64 * 1024;
const BATCH_ROWS_MIN: usize = 1024;

/// A file to read, as the log describes it.
#[derive(Debug, Clone)]
pub(super) struct Source {
    pub(super) key: String,
    pub(super) size_bytes: u64,
    /// As its statistics say.
    pub(super) rows: Option<u64>,
}

/// Where it is and what it shall look like.
#[derive(Debug, Clone)]
pub(super) struct Place {
    pub(super) store: Arc<dyn ObjectStore>,
    pub(super) location: String,
    pub(super) schema: SchemaRef,
    pub(super) memory: Memory,
}

/// An open file.
pub(super) struct Input {
    place: Place,
    pub(super) source: Source,
    /// As its footer says.
    pub(super) rows: u64,
    batches: Batches,
}

enum Batches {
    Whole(ParquetRecordBatchReader),
    Streamed(Box<ParquetRecordBatchStream<ObjectReader>>),
}

impl Input {
    /// Opens a file and holds it against what the log says of it.
    pub(super) async fn open(place: Place, source: Source) -> Result<Input, Error> {
        let at = Naming {
            place: &place,
            key: &source.key,
        };
        let path = Path::parse(&source.key).map_err(|error| at.damaged(error.to_string()))?;
        let (batches, rows) = if source.size_bytes <= place.memory.whole_file_bytes() {
            let bytes = at.fetch(&path).await?;
            if u64::try_from(bytes.len()).unwrap_or(0) != source.size_bytes {
                return Err(at.damaged(format!(
                    "has {} bytes, and the log says {}",
                    bytes.len(),
                    source.size_bytes
                )));
            }
            let builder = ParquetRecordBatchReaderBuilder::try_new(bytes)
                .map_err(|error| at.failed(error))?;
            let rows = rows_of(builder.metadata());
            let mask = mask(builder.parquet_schema(), &place.schema);
            let batch = batch_rows(builder.metadata(), &place.memory);
            let reader = builder.with_projection(mask).with_batch_size(batch).build();
            (
                Batches::Whole(reader.map_err(|error| at.failed(error))?),
                rows,
            )
        } else {
            let reader = ObjectReader::new(Arc::clone(&place.store), path, source.size_bytes);
            let builder = ParquetRecordBatchStreamBuilder::new(reader)
                .await
                .map_err(|error| at.failed(error))?;
            let rows = rows_of(builder.metadata());
            let mask = mask(builder.parquet_schema(), &place.schema);
            let batch = batch_rows(builder.metadata(), &place.memory);
            let stream = builder.with_projection(mask).with_batch_size(batch).build();
            (
                Batches::Streamed(Box::new(stream.map_err(|error| at.failed(error))?)),
                rows,
            )
        };
        if let Some(said) = source.rows.filter(|said| *said != rows) {
            return Err(at.damaged(format!("has {rows} rows, and its statistics say {said}")));
        }
        Ok(Input {
            place,
            source,
            rows,
            batches,
        })
    }

    /// The next rows, in today's shape.
    pub(super) async fn next(&mut self) -> Result<Option<RecordBatch>, Error> {
        let at = Naming {
            place: &self.place,
            key: &self.source.key,
        };
        let batch = match &mut self.batches {
            Batches::Whole(reader) => reader
                .next()
                .transpose()
                .map_err(|error| at.damaged(format!("cannot be read ({error})")))?,
            Batches::Streamed(stream) => {
                stream.try_next().await.map_err(|error| at.failed(error))?
            }
        };
        batch
            .map(|batch| conform(&batch, &self.place.schema).map_err(|reason| at.damaged(reason)))
            .transpose()
    }
}

/// Names a file in errors.
struct Naming<'a> {
    place: &'a Place,
    key: &'a str,
}

impl Naming<'_> {
    async fn fetch(&self, path: &Path) -> Result<Bytes, Error> {
        let found = self
            .place
            .store
            .get(path)
            .await
            .map_err(|error| self.unread(&error))?;
        found.bytes().await.map_err(|error| self.unread(&error))
    }

    fn unread(&self, error: &object_store::Error) -> Error {
        if matches!(error, object_store::Error::NotFound { .. }) {
            return self.damaged("is missing".to_owned());
        }
        Error::Read {
            location: self.place.location.clone(),
            key: self.key.to_owned(),
            reason: error.to_string(),
        }
    }

    fn failed(&self, error: ParquetError) -> Error {
        let ParquetError::External(source) = error else {
            return self.damaged(format!("cannot be read ({error})"));
        };
        match source.downcast::<object_store::Error>() {
            Ok(error) => self.unread(&error),
            Err(source) => self.damaged(format!("cannot be read ({source})")),
        }
    }

    fn damaged(&self, reason: String) -> Error {
        Error::File {
            location: self.place.location.clone(),
            key: self.key.to_owned(),
            reason,
        }
    }
}

fn rows_of(metadata: &ParquetMetaData) -> u64 {
    u64::try_from(metadata.file_metadata().num_rows()).unwrap_or(0)
}

/// The columns that the table still has.
fn mask(file: &SchemaDescriptor, table: &SchemaRef) -> ProjectionMask {
    let wanted = (0..file.num_columns()).filter(|leaf| {
        table
            .column_with_name(file.get_column_root(*leaf).name())
            .is_some()
    });
    ProjectionMask::leaves(file, wanted.collect::<Vec<_>>())
}

/// Rows that make a batch of bounded size.
fn batch_rows(metadata: &ParquetMetaData, memory: &Memory) -> usize {
    let bytes: i64 = metadata
        .row_groups()
        .iter()
        .map(|group| group.total_byte_size())
        .sum();
    let rows = metadata.file_metadata().num_rows().max(1);
    let row_bytes = usize::try_from(bytes / rows).unwrap_or(1).max(1);
    (memory.batch_bytes() / row_bytes).clamp(BATCH_ROWS_MIN, BATCH_ROWS_MAX)
}
