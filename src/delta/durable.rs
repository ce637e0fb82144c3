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
        Ok(Place {
            file: self.inner.path_to_filesystem(location)?,
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
        let inner = self.inner.put_multipart_opts(location, options).await?;
        Ok(Box::new(DurableUpload {
            inner,
            place: self.place(location)?,
        }))
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
        self.inner.copy_opts(from, to, options).await?;
        let place = self.place(to)?;
        blocking(move || place.sync().map_err(failed)).await
    }

    async fn rename_opts(&self, from: &Path, to: &Path, options: RenameOptions) -> Result<()> {
        self.inner.rename_opts(from, to, options).await?;
        let place = self.place(to)?;
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

/// A file and the directory above which nothing is synced.
#[derive(Debug, Clone)]
struct Place {
    file: PathBuf,
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
                        && !self.directory().exists() =>
                {
                    std::fs::create_dir_all(self.directory())?
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
        let mut directory = self.directory();
        loop {
            File::open(directory)?.sync_all()?;
            match directory.parent() {
                Some(parent) if directory != self.root && directory.starts_with(&self.root) => {
                    directory = parent
                }
                Some(_) | None => return Ok(()),
            }
        }
    }

    fn directory(&self) -> &FilePath {
        self.file.parent().unwrap_or(&self.root)
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
