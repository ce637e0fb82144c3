//! Rows of one table partition into one file that goes up while it grows: memory holds a row group and a few parts, never the file. Owns that stream; which rows,
//! and in which order, is maintenance's. Never commits, never deletes.

use std::collections::{BTreeMap, BTreeSet};
use std::mem;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use bytes::Bytes;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt as _, PutPayload, WriteMultipart};
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_writer::ArrowWriterOptions;
use parquet::file::properties::WriterProperties;

use crate::clock::{Clock, Instant};
use crate::model::commit::StagedFile;
use crate::writer::encode::{Segments, to_u64};
use crate::writer::layout::properties;
use crate::writer::stats::{self, Indexed, Observed};
use crate::writer::{Error, encodings, layout};

/// Parts of an upload; S3 asks for 5 MiB at least.
const PART_BYTES: usize = 8 * 1024 * 1024;
/// Parts of one file on their way at a time.
const PARTS_IN_FLIGHT: usize = 2;

/// What the rewritten files of a table have in common.
#[derive(Debug)]
pub struct RewriteLayout {
    file_schema: SchemaRef,
    indexed: Indexed,
    properties: WriterProperties,
    clock: Clock,
}

impl RewriteLayout {
    /// Files of `file_schema`, which has no table partition columns; statistics on the first `leaves_max` columns and on `always`; row groups of `row_group_bytes`.
    pub fn new(
        file_schema: SchemaRef,
        leaves_max: i64,
        always: &BTreeSet<String>,
        row_group_bytes: usize,
        clock: Clock,
    ) -> Self {
        RewriteLayout {
            indexed: Indexed::new(&file_schema, leaves_max, always),
            file_schema,
            properties: properties()
                .into_builder()
                .set_max_row_group_bytes(Some(row_group_bytes))
                .build(),
            clock,
        }
    }

    /// The columns of the files.
    pub fn file_schema(&self) -> &SchemaRef {
        &self.file_schema
    }

    /// A file in memory that begins with `rows`, which are not written yet.
    fn open(&self, rows: &RecordBatch) -> Result<ArrowWriter<Segments>, Error> {
        let options = ArrowWriterOptions::new()
            .with_properties(encodings::choose(&self.properties, rows)?)
            .with_skip_arrow_metadata(true);
        let schema = Arc::clone(&self.file_schema);
        Ok(ArrowWriter::try_new_with_options(
            Segments::default(),
            schema,
            options,
        )?)
    }
}

/// A file that takes rows and is on its way.
#[derive(Debug)]
pub struct Rewriter {
    layout: Arc<RewriteLayout>,
    store: Arc<dyn ObjectStore>,
    key: String,
    partition_values: BTreeMap<String, Option<String>>,
    /// Begun with the first rows, which say how the columns are best encoded.
    writer: Option<ArrowWriter<Segments>>,
    observed: Observed,
    rows: u64,
    modified_ms: i64,
    staged: Instant,
    /// Full segments that do not make a part yet.
    waiting: Vec<Bytes>,
    sent_bytes: u64,
    upload: Option<WriteMultipart>,
}

impl Rewriter {
    /// A file in `directory` (empty, or ending in a slash) under a name that was never used and never will be (FILE-1).
    pub fn begin(
        layout: &Arc<RewriteLayout>,
        store: &Arc<dyn ObjectStore>,
        directory: &str,
        partition_values: BTreeMap<String, Option<String>>,
    ) -> Self {
        Rewriter {
            key: format!("{directory}{}", layout::new_name(&layout.clock)),
            modified_ms: layout.clock.wall_ms(),
            staged: layout.clock.now(),
            observed: Observed::new(&layout.indexed),
            layout: Arc::clone(layout),
            store: Arc::clone(store),
            partition_values,
            writer: None,
            rows: 0,
            waiting: Vec::new(),
            sent_bytes: 0,
            upload: None,
        }
    }

    /// Takes rows of the layout's columns and sends what is whole.
    pub async fn write(&mut self, batch: &RecordBatch) -> Result<(), Error> {
        self.observed.add(&self.layout.indexed, batch);
        self.rows += to_u64(batch.num_rows());
        let writer = match &mut self.writer {
            Some(writer) => writer,
            None => self.writer.insert(self.layout.open(batch)?),
        };
        writer.write(batch)?;
        let full = writer.inner_mut().take_full();
        self.waiting.extend(full);
        if self.waiting.iter().map(Bytes::len).sum::<usize>() >= PART_BYTES {
            self.send().await?;
        }
        Ok(())
    }

    async fn send(&mut self) -> Result<(), Error> {
        let path = self.path()?;
        let upload = match &mut self.upload {
            Some(upload) => upload,
            None => {
                let upload = self.store.put_multipart(&path).await;
                let upload = upload.map_err(|cause| failed(&self.key, cause))?;
                self.upload
                    .insert(WriteMultipart::new_with_chunk_size(upload, PART_BYTES))
            }
        };
        upload
            .wait_for_capacity(PARTS_IN_FLIGHT)
            .await
            .map_err(|cause| failed(&self.key, cause))?;
        for segment in mem::take(&mut self.waiting) {
            self.sent_bytes += to_u64(segment.len());
            upload.put(segment);
        }
        Ok(())
    }

    /// Writes the footer and waits until the file is in the store, durable.
    pub async fn finish(mut self) -> Result<StagedFile, Error> {
        let mut writer = match self.writer.take() {
            Some(writer) => writer,
            None => self.layout.open(&RecordBatch::new_empty(Arc::clone(
                &self.layout.file_schema,
            )))?,
        };
        let metadata = writer.finish()?;
        let rest = mem::take(writer.inner_mut()).into_bytes();
        self.waiting.extend(rest);
        let path = self.path()?;
        if self.upload.is_some() {
            self.send().await?;
        }
        match self.upload.take() {
            Some(upload) => {
                upload
                    .finish()
                    .await
                    .map_err(|cause| failed(&self.key, cause))?;
            }
            None => {
                let waiting = mem::take(&mut self.waiting);
                self.sent_bytes = waiting.iter().map(|segment| to_u64(segment.len())).sum();
                self.store
                    .put(&path, PutPayload::from_iter(waiting))
                    .await
                    .map_err(|cause| failed(&self.key, cause))?;
            }
        }
        Ok(StagedFile {
            path: self.key,
            partition_values: self.partition_values,
            size_bytes: self.sent_bytes,
            rows: self.rows,
            stats: stats::to_json(&self.layout.indexed, &metadata, &self.observed),
            modified_ms: self.modified_ms,
            staged: self.staged,
        })
    }

    /// Takes back what is on its way; what cannot be is left to vacuum and to the bucket's multipart expiry.
    pub async fn abandon(mut self) {
        if let Some(upload) = self.upload.take() {
            upload.abort().await.unwrap_or_default();
        }
    }

    fn path(&self) -> Result<Path, Error> {
        Path::parse(&self.key).map_err(|cause| failed(&self.key, cause.into()))
    }
}

fn failed(key: &str, cause: object_store::Error) -> Error {
    Error::Upload {
        path: key.to_owned(),
        cause,
    }
}
