//! Writes the rows of a checkpoint as one Parquet file. Owns its layout: compressed, since every reader reads it at every query, and in bounded memory; knows neither what
//! the rows say nor what becomes of the file.

use std::error::Error as StdError;
use std::iter;
use std::sync::Arc;

use arrow::array::RecordBatch;
use object_store::ObjectStore;
use object_store::buffered::BufWriter;
use object_store::path::Path;
use parquet::arrow::AsyncArrowWriter;
use parquet::arrow::arrow_writer::ArrowWriterOptions;
use parquet::basic::{Compression, ZstdLevel};
use parquet::errors::ParquetError;
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use tokio::runtime::Handle;

/// Rows of a row group at most: it is held until it is whole, compressed.
const ROW_GROUP_ROWS_MAX: usize = 100_000;

/// Writes `batches`, which may block, to `path`. Blocks the thread, so it belongs on one of the runtime's that may be.
pub(super) fn write(
    objects: Arc<dyn ObjectStore>,
    path: Path,
    mut batches: impl Iterator<Item = Result<RecordBatch, Box<dyn StdError + Send + Sync>>>,
    runtime: &Handle,
) -> Result<(), Box<dyn StdError + Send + Sync>> {
    let first = batches.next().ok_or("a checkpoint has no row")??;
    let options = ArrowWriterOptions::new()
        .with_properties(properties()?)
        .with_skip_arrow_metadata(true);
    // Parts of an upload that fails are the store's to expire: an upload that has begun to end cannot be aborted any more.
    let upload = BufWriter::new(objects, path);
    let mut writer = AsyncArrowWriter::try_new_with_options(upload, first.schema(), options)?;
    for batch in iter::once(Ok(first)).chain(batches) {
        runtime.block_on(writer.write(&batch?))?;
    }
    runtime.block_on(writer.finish())?;
    Ok(())
}

/// Paths differ and statistics are text, so dictionaries find nothing; readers pass over row groups by their statistics, and look at no page's.
fn properties() -> Result<WriterProperties, ParquetError> {
    Ok(WriterProperties::builder()
        .set_compression(Compression::ZSTD(ZstdLevel::try_new(1)?))
        .set_dictionary_enabled(false)
        .set_statistics_enabled(EnabledStatistics::Chunk)
        .set_offset_index_disabled(true)
        .set_max_row_group_row_count(Some(ROW_GROUP_ROWS_MAX))
        .build())
}

#[cfg(test)]
mod tests {
    use arrow::array::{Int64Array, StringArray};
    use object_store::ObjectStoreExt as _;
    use object_store::memory::InMemory;
    use parquet::file::reader::{FileReader as _, SerializedFileReader};

    use super::*;

    type Batch = Result<RecordBatch, Box<dyn StdError + Send + Sync>>;

    fn batch(first: i64, count: i64) -> RecordBatch {
        let numbers = first..first + count;
        let paths = numbers.clone().map(|it| format!("part-{it:036}.parquet"));
        let paths = Arc::new(StringArray::from_iter_values(paths));
        let numbers = Arc::new(Int64Array::from_iter_values(numbers));
        RecordBatch::try_from_iter([("path", paths as _), ("number", numbers as _)]).unwrap()
    }

    async fn written(batches: Vec<Batch>) -> (Result<(), String>, Arc<InMemory>) {
        let objects = Arc::new(InMemory::new());
        let (store, runtime) = (Arc::clone(&objects), Handle::current());
        let written = tokio::task::spawn_blocking(move || {
            write(
                store,
                Path::from("c.parquet"),
                batches.into_iter(),
                &runtime,
            )
        });
        let written = written.await.unwrap();
        (written.map_err(|error| error.to_string()), objects)
    }

    #[tokio::test]
    async fn a_checkpoint_is_compressed_and_can_be_passed_over_by_row_group() {
        let batches = (0..5).map(|it| Ok(batch(it * 50_000, 50_000))).collect();
        let (outcome, objects) = written(batches).await;
        assert_eq!(outcome, Ok(()));
        let read = objects.get(&Path::from("c.parquet")).await.unwrap();
        let file = SerializedFileReader::new(read.bytes().await.unwrap()).unwrap();
        let metadata = file.metadata();
        let groups: Vec<_> = metadata.row_groups().iter().collect();
        let rows: Vec<_> = groups.iter().map(|group| group.num_rows()).collect();
        assert_eq!(rows, [100_000, 100_000, 50_000]);
        for column in groups.iter().flat_map(|group| group.columns()) {
            assert!(matches!(column.compression(), Compression::ZSTD(_)));
            assert!(column.statistics().is_some());
            assert!(column.compressed_size() * 2 < column.uncompressed_size());
            assert_eq!(column.offset_index_length(), None);
        }
    }

    #[tokio::test]
    async fn rows_that_cannot_be_had_leave_no_checkpoint() {
        for batches in [
            vec![Err("no rows".into())],
            vec![Ok(batch(0, 10)), Err("no rows".into())],
        ] {
            let (outcome, objects) = written(batches).await;
            assert_eq!(outcome, Err("no rows".to_owned()));
            assert!(objects.head(&Path::from("c.parquet")).await.is_err());
        }
        assert!(written(Vec::new()).await.0.is_err());
    }
}
