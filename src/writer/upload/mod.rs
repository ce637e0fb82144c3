//! Encoded files into the store, durable before anybody names them. Owns multipart and local syncing; retries are the store's own. Never commits.

use std::collections::BTreeSet;
use std::fs::File;
use std::path::Path as LocalPath;
use std::sync::Arc;

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt, stream};
use object_store::path::Path;
use object_store::{MultipartUpload, ObjectStore, ObjectStoreExt, PutPayload};
use tokio::runtime::{Handle, RuntimeFlavor};

use crate::clock::Clock;
use crate::model::commit::StagedFile;
use crate::writer::{EncodedFile, Error};

/// Files above this go up in parts.
const WHOLE_BYTES_MAX: u64 = 16 * 1024 * 1024;
const PART_BYTES: usize = 8 * 1024 * 1024;
/// Parts of one file on their way at a time.
const PARTS_IN_FLIGHT: usize = 4;

/// Puts files into a table's store, at most `parallel` at a time, and answers with them in the same order. On a local table (`local_root`) they and the directories
/// that lead to them are synced before it returns. A file that fails fails all; those already there are in no commit and are left to vacuum.
pub async fn upload(
    store: &Arc<dyn ObjectStore>,
    local_root: Option<&LocalPath>,
    files: Vec<EncodedFile>,
    clock: &Clock,
    parallel: usize,
) -> Result<Vec<StagedFile>, Error> {
    let uploads = files.into_iter().map(|file| put(store, file, clock));
    let staged: Vec<StagedFile> = stream::iter(uploads)
        .buffered(parallel.max(1))
        .try_collect()
        .await?;
    if let Some(root) = local_root {
        off_the_executor(|| sync(root, &staged))?;
    }
    Ok(staged)
}

async fn put(
    store: &Arc<dyn ObjectStore>,
    file: EncodedFile,
    clock: &Clock,
) -> Result<StagedFile, Error> {
    let size_bytes = file.size_bytes();
    let failed = |cause| Error::Upload {
        path: file.path.clone(),
        cause,
    };
    // `parse` takes the key as it is; `from` would escape what is escaped already.
    let key = Path::parse(&file.path).map_err(|cause| failed(cause.into()))?;
    let (modified_ms, staged) = (clock.wall_ms(), clock.now());
    if size_bytes <= WHOLE_BYTES_MAX {
        store
            .put(&key, PutPayload::from_iter(file.segments().iter().cloned()))
            .await
            .map_err(failed)?;
    } else {
        put_parts(store, &key, file.segments())
            .await
            .map_err(failed)?;
    }
    Ok(StagedFile {
        path: file.path,
        partition_values: file.partition_values,
        size_bytes,
        rows: file.rows,
        stats: file.stats,
        modified_ms,
        staged,
    })
}

/// Uploads in parts; a failure takes back those that are there.
async fn put_parts(
    store: &Arc<dyn ObjectStore>,
    key: &Path,
    segments: &[Bytes],
) -> object_store::Result<()> {
    let mut upload = store.put_multipart(key).await?;
    let outcome = send_parts(upload.as_mut(), segments).await;
    if outcome.is_err() {
        // The first failure says more than a failing abort; what stays behind is for the bucket's multipart expiry.
        upload.abort().await.unwrap_or_default();
    }
    outcome
}

async fn send_parts(
    upload: &mut dyn MultipartUpload,
    segments: &[Bytes],
) -> object_store::Result<()> {
    let parts: Vec<_> = parts(segments)
        .into_iter()
        .map(|part| upload.put_part(part))
        .collect();
    stream::iter(parts)
        .buffer_unordered(PARTS_IN_FLIGHT)
        .try_collect::<Vec<()>>()
        .await?;
    upload.complete().await.map(|_| ())
}

/// Groups segments to parts of at least `PART_BYTES`, but for the last.
fn parts(segments: &[Bytes]) -> Vec<PutPayload> {
    let mut parts = Vec::new();
    let mut part = Vec::new();
    let mut bytes = 0;
    for segment in segments {
        part.push(segment.clone());
        bytes += segment.len();
        if bytes >= PART_BYTES {
            parts.push(part.drain(..).collect());
            bytes = 0;
        }
    }
    if !part.is_empty() {
        parts.push(part.into_iter().collect());
    }
    parts
}

/// Syncs files, and every directory from theirs up to the root, so that a power loss after the commit cannot take them back.
fn sync(root: &LocalPath, files: &[StagedFile]) -> Result<(), Error> {
    let mut directories = BTreeSet::from([root.to_path_buf()]);
    for file in files {
        let path = root.join(&file.path);
        sync_one(&path)?;
        directories.extend(
            path.ancestors()
                .skip(1)
                .take_while(|directory| *directory != root)
                .map(LocalPath::to_path_buf),
        );
    }
    directories
        .iter()
        .rev()
        .try_for_each(|directory| sync_one(directory))
}

fn sync_one(path: &LocalPath) -> Result<(), Error> {
    File::open(path)
        .and_then(|file| file.sync_all())
        .map_err(|cause| Error::Sync {
            path: path.display().to_string(),
            cause,
        })
}

/// Lets other tasks of this thread move on while a disk works.
fn off_the_executor<T>(work: impl FnOnce() -> T) -> T {
    match Handle::try_current().map(|handle| handle.runtime_flavor()) {
        Ok(RuntimeFlavor::MultiThread) => tokio::task::block_in_place(work),
        _ => work(),
    }
}

#[cfg(test)]
mod tests;
