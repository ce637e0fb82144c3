//! What all encoders of a table share: which columns lie in files and which in partition values, Parquet properties, file names. Immutable; holds no rows.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arrow::array::RecordBatch;
use arrow::datatypes::{DataType, Field, FieldRef, Fields, Schema, SchemaRef};
use parquet::arrow::arrow_writer::ArrowWriterOptions;
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::metadata::KeyValue;
use parquet::file::properties::{EnabledStatistics, WriterProperties};

use crate::clock::Clock;
use crate::config::settings::PartitionField;
use crate::writer::conform::conform;
use crate::writer::placement::{self, Part, Placed, Value};
use crate::writer::stats::Indexed;
use crate::writer::{Error, encodings, stats};

/// A row group is the unit of reading in parallel; larger ones cost memory in every reader.
const ROW_GROUP_ROWS_MAX: usize = 1024 * 1024;
const ROW_GROUP_BYTES_MAX: usize = 128 * 1024 * 1024;
/// Longer bounds of strings are cut by Parquet, still valid; 32 characters of Delta statistics are at most this long.
const BOUND_BYTES_MAX: usize = 128;
/// A column with more distinct values gives its dictionary up. Parquet's own limit of a mebibyte cost a third of the speed, and several megabytes for each open file,
/// for at most 7 % of the size; measured on orders.
pub(crate) const DICTIONARY_BYTES_MAX: usize = 128 * 1024;
/// Open Parquet writers of one encoder; each holds dictionaries, pages and a compressor for each leaf column.
const OPEN_FILES_MAX: usize = 128;

/// The shared, immutable part of a table's encoders.
#[derive(Debug)]
pub struct Layout {
    columns: SchemaRef,
    file_schema: SchemaRef,
    file_columns: Vec<usize>,
    fields: Vec<Placed>,
    indexed: Indexed,
    always_indexed: BTreeSet<String>,
    indexed_leaves_max: i64,
    properties: WriterProperties,
    open_files_max: usize,
    clock: Clock,
    empty_values: AtomicU64,
}

impl Layout {
    /// Binds `partition_by` to the record and metadata columns, whose order is the files' order.
    pub fn new(
        columns: SchemaRef,
        partition_by: &[PartitionField],
        clock: Clock,
    ) -> Result<Layout, Error> {
        let fields = placement::resolve(partition_by, &columns)?;
        let identities: BTreeSet<usize> = fields
            .iter()
            .filter(|field| field.is_identity())
            .map(Placed::column)
            .collect();
        let file_columns: Vec<usize> = (0..columns.fields().len())
            .filter(|column| !identities.contains(column))
            .collect();
        if file_columns.is_empty() {
            return Err(Error::NoFileColumns);
        }
        let file_schema = Arc::new(columns.project(&file_columns)?);
        let mut layout = Layout {
            columns,
            indexed: Indexed::default(),
            file_schema,
            file_columns,
            fields,
            always_indexed: BTreeSet::new(),
            indexed_leaves_max: stats::INDEXED_LEAVES_DEFAULT,
            properties: properties(),
            open_files_max: OPEN_FILES_MAX,
            clock,
            empty_values: AtomicU64::new(0),
        };
        layout.choose_statistics();
        Ok(layout)
    }

    /// Gives columns statistics wherever they stand in the table; the Kafka coordinates need theirs.
    #[must_use]
    pub fn always_indexing<'a>(mut self, columns: impl IntoIterator<Item = &'a str>) -> Self {
        self.always_indexed
            .extend(columns.into_iter().map(str::to_owned));
        self.choose_statistics();
        self
    }

    /// Honours the table's `delta.dataSkippingNumIndexedCols`; a negative number is all columns.
    #[must_use]
    pub fn indexing_leaves(mut self, leaves_max: i64) -> Self {
        self.indexed_leaves_max = leaves_max;
        self.choose_statistics();
        self
    }

    /// Bounds the Parquet writers that one encoder keeps open at a time.
    #[must_use]
    pub fn opening_files(mut self, files_max: usize) -> Self {
        self.open_files_max = files_max.max(1);
        self
    }

    #[cfg(test)]
    pub(crate) fn with_row_groups_of(mut self, rows: usize) -> Self {
        self.properties = self
            .properties
            .into_builder()
            .set_max_row_group_row_count(Some(rows))
            .build();
        self
    }

    fn choose_statistics(&mut self) {
        self.indexed = Indexed::new(
            &self.file_schema,
            self.indexed_leaves_max,
            &self.always_indexed,
        );
    }

    /// The table's columns in Delta order: those of the batches, then the derived partition columns.
    pub fn table_schema(&self) -> Schema {
        let derived = self
            .fields
            .iter()
            .filter(|field| !field.is_identity())
            .map(Placed::table_field);
        Schema::new(
            self.columns
                .fields()
                .iter()
                .map(|field| field.as_ref().clone())
                .chain(derived)
                .collect::<Vec<Field>>(),
        )
    }

    /// The columns of the batches.
    pub fn columns(&self) -> &SchemaRef {
        &self.columns
    }

    /// The columns of the data files: no partition column among them.
    pub fn file_schema(&self) -> &SchemaRef {
        &self.file_schema
    }

    /// The partition columns in order.
    pub fn partition_columns(&self) -> impl Iterator<Item = &str> {
        self.fields.iter().map(Placed::name)
    }

    /// How many empty strings of partition columns were written as null, so far.
    pub fn empty_values(&self) -> u64 {
        self.empty_values.load(Ordering::Relaxed)
    }

    pub(crate) fn split(&self, batch: &RecordBatch) -> Result<Vec<Part>, Error> {
        let padded = if batch.schema_ref().fields() == self.columns.fields() {
            None
        } else {
            Some(self.pad(batch)?)
        };
        let rows = padded.as_ref().unwrap_or(batch);
        let (parts, empties) = placement::split(&self.fields, &self.file_columns, rows)?;
        self.empty_values.fetch_add(empties, Ordering::Relaxed);
        Ok(parts)
    }

    /// Rows that were decoded before the columns grew: null in what is new.
    fn pad(&self, batch: &RecordBatch) -> Result<RecordBatch, Error> {
        let misfit = || Error::BatchSchema {
            found: names(batch.schema_ref()),
            expected: names(&self.columns),
        };
        if !holds(self.columns.fields(), batch.schema_ref().fields()) {
            return Err(misfit());
        }
        conform(batch, &self.columns).map_err(|_| misfit())
    }

    /// A path that no file ever had and none will have again (FILE-1).
    pub(crate) fn new_path(&self, values: &[Value]) -> String {
        let named: Vec<_> = self.partition_columns().zip(values).collect();
        let directory = placement::directory(named.into_iter());
        format!("{directory}{}", new_name(&self.clock))
    }

    pub(crate) fn partition_values(&self, values: &[Value]) -> BTreeMap<String, Option<String>> {
        self.partition_columns()
            .zip(values)
            .map(|(name, value)| (name.to_owned(), value.text()))
            .collect()
    }

    /// For a file that begins with these rows.
    pub(crate) fn writer_options(&self, first: &RecordBatch) -> Result<ArrowWriterOptions, Error> {
        // Readers go by the Parquet schema; the Arrow one would cost kilobytes in each of many small files.
        Ok(ArrowWriterOptions::new()
            .with_properties(encodings::choose(&self.properties, first)?)
            .with_skip_arrow_metadata(true))
    }

    pub(crate) fn indexed(&self) -> &Indexed {
        &self.indexed
    }

    pub(crate) fn open_files_max(&self) -> usize {
        self.open_files_max
    }
}

/// A file's name that was never used and never will be (FILE-1).
pub(crate) fn new_name(clock: &Clock) -> String {
    format!("part-{}.zstd.parquet", clock.new_id())
}

pub(crate) fn properties() -> WriterProperties {
    WriterProperties::builder()
        .set_compression(Compression::ZSTD(ZstdLevel::try_new(1).unwrap_or_default()))
        .set_max_row_group_row_count(Some(ROW_GROUP_ROWS_MAX))
        .set_max_row_group_bytes(Some(ROW_GROUP_BYTES_MAX))
        .set_dictionary_page_size_limit(DICTIONARY_BYTES_MAX)
        .set_statistics_enabled(EnabledStatistics::Page)
        .set_statistics_truncate_length(Some(BOUND_BYTES_MAX))
        // Lists and maps take the names that the Parquet specification gives them.
        .set_coerce_types(true)
        .set_created_by(format!("lakeward version {}", env!("CARGO_PKG_VERSION")))
        .set_key_value_metadata(Some(vec![KeyValue::new(
            "lakeward".to_owned(),
            env!("CARGO_PKG_VERSION").to_owned(),
        )]))
        .build()
}

/// Whether all of `fields`, at any depth, are among those of `grown`, with their types.
fn holds(grown: &Fields, fields: &Fields) -> bool {
    let holds_one = |field: &FieldRef| {
        let found = grown.iter().find(|other| other.name() == field.name());
        found.is_some_and(|found| holds_type(found.data_type(), field.data_type()))
    };
    fields.iter().all(holds_one)
}

fn holds_type(grown: &DataType, of: &DataType) -> bool {
    match (grown, of) {
        (DataType::Struct(grown), DataType::Struct(of)) => holds(grown, of),
        (DataType::List(grown), DataType::List(of))
        | (DataType::Map(grown, _), DataType::Map(of, _)) => {
            holds_type(grown.data_type(), of.data_type())
        }
        (grown, of) => grown == of,
    }
}

fn names(schema: &Schema) -> String {
    let columns: Vec<_> = schema
        .fields()
        .iter()
        .map(|field| format!("{} {}", field.name(), field.data_type()))
        .collect();
    format!("[{}]", columns.join(", "))
}
