//! The rows of a table of rejected records, file by file. Owns the reading; what they mean to a person is for others.

use futures::TryStreamExt as _;
use object_store::path::Path;

use crate::config::Config;
use crate::config::settings::Table;
use crate::decode::{RejectedRow, rejected_rows};
use crate::delta::{self, Extent, FileList};
use crate::error::Kind;
use crate::ops::exit::Failure;
use crate::ops::progress::Progress;
use crate::ops::stored_file;
use crate::ops::verify::block_on;
use crate::ops::waiting::Patience;
use crate::ops::wiring;

const STORE: &str = "the store (`storage.url`)";
/// Rows in memory at once.
const BATCH_ROWS: usize = 4096;

/// How many rejected records there are.
pub(super) fn count(config: &Config, table: &Table, patience: &Patience) -> Result<u64, Failure> {
    let list = block_on(files(config, table, patience))??;
    Ok(list.map_or(0, |list| {
        list.files().map(|(_, file)| file.rows.unwrap_or(0)).sum()
    }))
}

/// Hands out every rejected record, newest files first, until `each` says that it has enough.
pub(super) fn each(
    config: &Config,
    table: &Table,
    patience: &Patience,
    each: &mut dyn FnMut(RejectedRow) -> Wanted,
) -> Result<(), Failure> {
    block_on(read(config, table, patience, each))?
}

/// Whether a reader wants to go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wanted {
    More,
    Enough,
}

/// `None` while nothing was rejected.
async fn files(
    config: &Config,
    table: &Table,
    patience: &Patience,
) -> Result<Option<FileList>, Failure> {
    let failed = |error: delta::Error| Failure::new(error.kind(), error);
    let store = wiring::rejected_store(&config.storage, table)?;
    let loaded = delta::Table::load(&store, patience.clock());
    let Some(loaded) = patience.wait(STORE, loaded).await?.map_err(failed)? else {
        return Ok(None);
    };
    let extent = Extent {
        through: Some(loaded.version()),
        ..Extent::default()
    };
    let list = patience.wait(STORE, FileList::load(&store, extent)).await?;
    list.map(Some).map_err(failed)
}

async fn read(
    config: &Config,
    table: &Table,
    patience: &Patience,
    each: &mut dyn FnMut(RejectedRow) -> Wanted,
) -> Result<(), Failure> {
    let Some(list) = files(config, table, patience).await? else {
        return Ok(());
    };
    let objects = wiring::rejected_store(&config.storage, table)?.objects();
    let mut files: Vec<_> = list.files().collect();
    files.sort_by_key(|(key, file)| (std::cmp::Reverse(file.modified_ms), *key));
    let progress = Progress::over(
        "bytes of rejected records",
        files.iter().map(|(_, file)| file.size_bytes).sum(),
    );
    for (key, file) in files {
        let damaged = |reason: String| {
            let place = format!("{}/{key}", table.errors.table);
            Failure::said(Kind::Corrupt, format!("cannot read {place}: {reason}"))
        };
        let of_parquet = |error: parquet::errors::ParquetError| {
            if stored_file::is_outside(&error) {
                return Failure::new(Kind::Unavailable, error);
            }
            damaged(error.to_string())
        };
        let path = Path::parse(key).map_err(|error| damaged(error.to_string()))?;
        let opened = patience
            .wait(STORE, stored_file::open(&objects, &path))
            .await?;
        let mut batches = opened
            .and_then(|builder| builder.with_batch_size(BATCH_ROWS).build())
            .map_err(of_parquet)?;
        while let Some(batch) = patience
            .wait(STORE, batches.try_next())
            .await?
            .map_err(of_parquet)?
        {
            for row in rejected_rows(&batch).map_err(damaged)? {
                if each(row) == Wanted::Enough {
                    return Ok(());
                }
            }
        }
        progress.advance(file.size_bytes);
    }
    Ok(())
}
