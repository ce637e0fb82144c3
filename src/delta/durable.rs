//! A local file system whose objects survive power loss once they are visible: bytes are synced before the name appears, and the name before the
//! call returns. Owns that order; object_store's own local put syncs nothing, so a log entry could be found empty after power loss.

use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path as FilePath, PathBuf};

use async_trait::async_trait;
use futures::stream::BoxStream;
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta,
    ObjectStore, PutMode, PutMultipartOptions, PutOptions, PutPayload, PutResult, RenameOptions,
    Result, UploadPart,
};

/// The decorator.
#[derive(Debug)]
pub(crate) struct Durable {
    inner: LocalFileSystem,
    root: PathBuf,
}

impl Durable {
    /// Decorates a file system rooted at `/`; directories are synced up to `root`.
    pub(crate) fn new(inner: LocalFileSystem, root: &FilePath) -> Self {
        Durable {
            inner,
            root: root.to_owned(),
        }
    }

    fn place(&self, location: &Path) -> Result<Place> {
        let file = self.inner.path_to_filesystem(location)?;
        let directory = file.parent().unwrap_or(&self.root).to_owned();
        let is_new_directory = !directory.exists();
        Ok(Place {
            file,
            directory,
            is_new_directory,
            root: self.root.clone(),
        })
    }
}

impl fmt::Display for Durable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Durable({})", self.inner)
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl ObjectStore for Durable {
    async fn put_opts(
        &self,
        location: &Path,
        payload: PutPayload,
        options: PutOptions,
    ) -> Result<PutResult> {
        let place = self.place(location)?;
        if options.mode == PutMode::Create {
            let path = location.to_string();
            return blocking(move || place.create(&payload, &path)).await;
        }
        let result = self.inner.put_opts(location, payload, options).await?;
        blocking(move || place.sync().map_err(failed)).await?;
        Ok(result)
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        let place = self.place(location)?;
        let inner = self.inner.put_multipart_opts(location, options).await?;
        Ok(Box::new(DurableUpload { inner, place }))
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        self.inner.get_opts(location, options).await
    }

    async fn get_ranges(
        &self,
        location: &Path,
        ranges: &[std::ops::Range<u64>],
    ) -> Result<Vec<bytes::Bytes>> {
        self.inner.get_ranges(location, ranges).await
    }

    fn delete_stream(
        &self,
        locations: BoxStream<'static, Result<Path>>,
    ) -> BoxStream<'static, Result<Path>> {
        self.inner.delete_stream(locations)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.inner.list(prefix)
    }

    fn list_with_offset(
        &self,
        prefix: Option<&Path>,
        offset: &Path,
    ) -> BoxStream<'static, Result<ObjectMeta>> {
        self.inner.list_with_offset(prefix, offset)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.inner.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        let place = self.place(to)?;
        self.inner.copy_opts(from, to, options).await?;
        blocking(move || place.sync().map_err(failed)).await
    }

    async fn rename_opts(&self, from: &Path, to: &Path, options: RenameOptions) -> Result<()> {
        let place = self.place(to)?;
        self.inner.rename_opts(from, to, options).await?;
        blocking(move || place.sync().map_err(failed)).await
    }
}

#[derive(Debug)]
struct DurableUpload {
    inner: Box<dyn MultipartUpload>,
    place: Place,
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl MultipartUpload for DurableUpload {
    fn put_part(&mut self, data: PutPayload) -> UploadPart {
        self.inner.put_part(data)
    }

    async fn complete(&mut self) -> Result<PutResult> {
        let result = self.inner.complete().await?;
        let place = self.place.clone();
        blocking(move || place.sync().map_err(failed)).await?;
        Ok(result)
    }

    async fn abort(&mut self) -> Result<()> {
        self.inner.abort().await
    }
}

/// Where an object goes.
#[derive(Debug, Clone)]
struct Place {
    file: PathBuf,
    directory: PathBuf,
    /// Its directory is made on the way, so that the names above it must be synced too, up to the root.
    is_new_directory: bool,
    root: PathBuf,
}

impl Place {
    /// Puts `payload` there if nothing is: bytes staged and synced under a name that listings leave out, then linked.
    fn create(&self, payload: &PutPayload, path: &str) -> Result<PutResult> {
        let (staged, mut file) = self.stage().map_err(failed)?;
        let linked = payload
            .iter()
            .try_for_each(|chunk| file.write_all(chunk))
            .and_then(|()| file.sync_all())
            .and_then(|()| std::fs::hard_link(&staged, &self.file));
        let removed = std::fs::remove_file(&staged);
        match linked {
            Ok(()) => {}
            Err(source) if source.kind() == io::ErrorKind::AlreadyExists => {
                return Err(Error::AlreadyExists {
                    path: path.to_owned(),
                    source: Box::new(source),
                });
            }
            Err(source) => return Err(failed(source)),
        }
        removed.map_err(failed)?;
        self.sync_directories().map_err(failed)?;
        Ok(PutResult {
            e_tag: None,
            version: None,
        })
    }

    /// Opens a fresh staging file beside the target, named as object_store names its own.
    fn stage(&self) -> io::Result<(PathBuf, File)> {
        let mut number = 1_u32;
        loop {
            let mut name = self.file.as_os_str().to_owned();
            name.push(format!("#{number}"));
            let staged = PathBuf::from(name);
            match OpenOptions::new()
                .write(true)
                .create_new(true)
                .open(&staged)
            {
                Ok(file) => return Ok((staged, file)),
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => number += 1,
                Err(error)
                    if error.kind() == io::ErrorKind::NotFound
                        && number == 1
                        && !self.directory.exists() =>
                {
                    std::fs::create_dir_all(&self.directory)?
                }
                Err(error) => return Err(error),
            }
        }
    }

    fn sync(&self) -> io::Result<()> {
        File::open(&self.file)?.sync_all()?;
        self.sync_directories()
    }

    fn sync_directories(&self) -> io::Result<()> {
        File::open(&self.directory)?.sync_all()?;
        let above = self
            .directory
            .ancestors()
            .skip(1)
            .take_while(|above| self.is_new_directory && above.starts_with(&self.root));
        above
            .into_iter()
            .try_for_each(|above| File::open(above)?.sync_all())
    }
}

fn failed(source: io::Error) -> Error {
    Error::Generic {
        store: "Durable",
        source: Box::new(source),
    }
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(source) => Err(Error::Generic {
            store: "Durable",
            source: Box::new(source),
        }),
    }
}

#[cfg(test)]
mod tests {
    use object_store::ObjectStoreExt as _;

    use super::*;

    #[tokio::test]
    async fn objects_are_created_once_in_new_directories_beside_what_a_crash_left() {
        let dir = tempfile::tempdir().unwrap();
        let store = Durable::new(LocalFileSystem::new(), dir.path());
        let path = Path::from_absolute_path(dir.path().join("t/_delta_log/0.json")).unwrap();
        let create = || PutOptions {
            mode: PutMode::Create,
            ..PutOptions::default()
        };
        store.put_opts(&path, "a".into(), create()).await.unwrap();
        std::fs::write(dir.path().join("t/_delta_log/1.json#1"), "torn").unwrap();
        let other = Path::from_absolute_path(dir.path().join("t/_delta_log/1.json")).unwrap();
        store.put_opts(&other, "b".into(), create()).await.unwrap();
        let again = store.put_opts(&other, "c".into(), create()).await;
        assert!(
            matches!(again, Err(Error::AlreadyExists { .. })),
            "{again:?}"
        );
        assert_eq!(store.get(&other).await.unwrap().bytes().await.unwrap(), "b");
        store.put(&other, "d".into()).await.unwrap();
        assert_eq!(store.get(&other).await.unwrap().bytes().await.unwrap(), "d");
        let left = std::fs::read_dir(dir.path().join("t/_delta_log"))
            .unwrap()
            .count();
        assert_eq!(left, 3, "no staging file of ours stays");
    }
}
