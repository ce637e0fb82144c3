//! Opens the object store of `storage.url` and hands out the stores of single tables. Owns URLs and deltalake's log store, not the clouds and their
//! options (cloud); reads no log.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use deltalake::logstore::{LogStoreRef, StorageConfig, logstore_with};
use object_store::ObjectStore;
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::prefix::PrefixStore;
use url::Url;

use crate::clock::Clock;
use crate::config::settings;
use crate::delta::cloud::Cloud;
use crate::delta::durable::Durable;
use crate::delta::error::Error;
use crate::delta::probe;

/// The place under which the tables lie.
#[derive(Clone)]
pub struct Store {
    url: Url,
    root: Arc<dyn ObjectStore>,
    config: StorageConfig,
}

impl Store {
    /// Opens `storage.url`. A local directory that is missing is created; nothing else is written or read.
    pub fn open(storage: &settings::Storage) -> Result<Store, Error> {
        let url = &storage.url;
        if url.scheme() == "file" {
            return Store::open_local(url);
        }
        let cloud = Cloud::of(url.scheme()).ok_or_else(|| {
            let reason = format!(
                "the scheme {}:// is not known; use file://, s3://, az://, abfss:// or gs://",
                url.scheme()
            );
            invalid_url(url, reason)
        })?;
        let (root, config) = cloud.open(storage)?;
        Ok(Store {
            url: url.clone(),
            root,
            config,
        })
    }

    /// The tables of `url` on an object store that is open already and rooted at the URL's host.
    pub fn over(url: Url, root: Arc<dyn ObjectStore>) -> Store {
        Store {
            url,
            root,
            config: StorageConfig::default(),
        }
    }

    /// The store of the table at `path`, relative to `storage.url`.
    pub fn table(&self, path: &str) -> Result<TableStore, Error> {
        let mut url = self.url.clone();
        let location = format!("{}/{path}", self.url.as_str().trim_end_matches('/'));
        if path
            .split('/')
            .any(|segment| matches!(segment, "" | "." | ".."))
        {
            return Err(Error::NotATable {
                location,
                reason: format!(
                    "tables.path `{path}` must be a relative path without empty, `.` or `..` parts"
                ),
            });
        }
        match url.path_segments_mut() {
            Ok(mut segments) => segments.pop_if_empty().extend(path.split('/')),
            Err(()) => return Err(invalid_url(&self.url, "it cannot have a path".to_owned())),
        };
        if let Some(directory) = local_path(&url)
            && directory.exists()
            && !directory.is_dir()
        {
            return Err(Error::NotATable {
                location,
                reason: "it is a file; a table is a directory".to_owned(),
            });
        }
        let log = logstore_with(Arc::clone(&self.root), &url, self.config.clone())
            .map_err(|error| invalid_url(&self.url, error.to_string()))?;
        Ok(TableStore {
            url: log.root_url().clone(),
            log,
            lake: Arc::new(self.clone()),
        })
    }

    /// Proves that the store honours put-if-absent, by racing for scratch keys under `_lakeward_probe/`.
    pub async fn probe(&self, clock: &Clock) -> Result<(), Error> {
        let prefix = root_path(&self.url)?;
        let objects = PrefixStore::new(Arc::clone(&self.root), prefix);
        probe::probe(&objects, self.url.as_str(), clock).await
    }

    /// `storage.url`.
    pub fn url(&self) -> &Url {
        &self.url
    }

    fn open_local(url: &Url) -> Result<Store, Error> {
        let directory = local_path(url).ok_or_else(|| {
            invalid_url(
                url,
                "a file URL needs an absolute path and no host, as in file:///data/lake".to_owned(),
            )
        })?;
        if directory.exists() && !directory.is_dir() {
            return Err(invalid_url(url, "it is a file, not a directory".to_owned()));
        }
        std::fs::create_dir_all(&directory)
            .map_err(|source| Error::store(url.as_str(), "create the directory", source))?;
        Ok(Store {
            url: url.clone(),
            root: Arc::new(Durable::new(LocalFileSystem::new(), &directory)),
            config: StorageConfig::default(),
        })
    }
}

impl fmt::Debug for Store {
    /// Shows the URL only: options hold secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Store")
            .field("url", &self.url.as_str())
            .finish_non_exhaustive()
    }
}

/// The store of one table; clones share it.
#[derive(Clone)]
pub struct TableStore {
    url: Url,
    log: LogStoreRef,
    lake: Arc<Store>,
}

impl TableStore {
    /// The store of another table, by its path under `storage.url`.
    pub(crate) fn beside(&self, path: &str) -> Result<TableStore, Error> {
        self.lake.table(path)
    }

    /// The objects of the table, rooted at the table.
    pub fn objects(&self) -> Arc<dyn ObjectStore> {
        self.log.object_store(None)
    }

    /// Where the table lies.
    pub fn url(&self) -> &Url {
        &self.url
    }

    /// deltalake's view of the same place.
    pub(crate) fn log(&self) -> &LogStoreRef {
        &self.log
    }

    /// A failed request, as an error that names the table.
    pub(crate) fn failed(
        &self,
        action: impl Into<String>,
        source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> Error {
        Error::store(self.url.as_str(), action, source)
    }

    /// A damaged log, as an error that names the table.
    pub(crate) fn damaged(&self, version: u64, reason: impl Into<String>) -> Error {
        Error::Corrupt {
            location: self.url.to_string(),
            version,
            reason: reason.into(),
        }
    }
}

impl fmt::Debug for TableStore {
    /// Shows the URL only: options hold secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TableStore")
            .field("url", &self.url.as_str())
            .finish_non_exhaustive()
    }
}

pub(super) fn invalid_url(url: &Url, reason: String) -> Error {
    Error::Url {
        url: url.to_string(),
        reason,
    }
}

fn local_path(url: &Url) -> Option<PathBuf> {
    (url.scheme() == "file")
        .then(|| url.to_file_path().ok())
        .flatten()
}

fn root_path(url: &Url) -> Result<Path, Error> {
    Path::from_url_path(url.path()).map_err(|error| invalid_url(url, error.to_string()))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::config::settings::Secret;
    use crate::error::Kind;

    #[test]
    fn a_scheme_that_no_store_has_is_refused() {
        let error = Store::open(&settings::Storage {
            url: Url::parse("ftp://lake/bronze").unwrap(),
            options: BTreeMap::new(),
        })
        .unwrap_err();
        assert_eq!(
            (error.to_string().as_str(), error.kind()),
            (
                "storage.url `ftp://lake/bronze`: the scheme ftp:// is not known; use file://, s3://, az://, abfss:// or gs://",
                Kind::Invalid
            )
        );
    }

    #[tokio::test]
    async fn an_https_store_opens_without_a_crypto_provider_of_ours() {
        let options = [
            ("aws_endpoint", "https://127.0.0.1:9"),
            ("aws_access_key_id", "a"),
            ("aws_secret_access_key", "b"),
            ("aws_region", "x"),
            ("max_retries", "0"),
        ];
        let options = options
            .iter()
            .map(|(key, value)| ((*key).to_owned(), Secret::new(*value)))
            .collect::<BTreeMap<_, _>>();
        let store = Store::open(&settings::Storage {
            url: Url::parse("s3://lake/bronze").unwrap(),
            options,
        })
        .unwrap();
        assert!(
            store
                .table("orders")
                .unwrap()
                .objects()
                .list_with_delimiter(None)
                .await
                .is_err()
        );
        assert!(!format!("{store:?}").contains("secret"));
    }

    #[test]
    fn a_missing_local_root_is_created_and_a_file_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let url = Url::from_file_path(dir.path().join("a/b")).unwrap();
        let store = Store::open(&settings::Storage {
            url,
            options: BTreeMap::new(),
        })
        .unwrap();
        assert!(dir.path().join("a/b").is_dir());
        std::fs::write(dir.path().join("a/b/orders"), "x").unwrap();
        let error = store.table("orders").unwrap_err();
        assert!(
            error
                .to_string()
                .ends_with("is not a Delta table: it is a file; a table is a directory"),
            "{error}"
        );
        assert!(store.table("../x").is_err());
    }
}
