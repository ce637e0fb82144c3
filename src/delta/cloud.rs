//! Makes the object store of a cloud out of `storage.url` and `storage.options`. Owns which clouds there are, which options each takes and which would
//! break a commit; sends no request.

use std::collections::HashMap;
use std::str::FromStr;
use std::sync::Arc;

use deltalake::logstore::{StorageConfig, logstore_factories, object_store_factories};
use object_store::aws::AmazonS3ConfigKey;
use object_store::azure::{AzureConfigKey, MicrosoftAzureBuilder};
use object_store::gcp::{GoogleCloudStorageBuilder, GoogleConfigKey};
use object_store::{Certificate, ClientOptions, ObjectStore};
use url::Url;

use crate::config::settings;
use crate::delta::error::Error;
use crate::delta::open::invalid_url;

/// Who keeps the objects.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Cloud {
    /// Amazon S3 and whatever speaks its protocol: `s3://bucket/prefix`.
    S3,
    /// Azure Blob Storage and Data Lake Storage: `az://container/prefix`, `abfss://container@account.dfs.core.windows.net/prefix`.
    Azure,
    /// Google Cloud Storage: `gs://bucket/prefix`.
    Google,
}

/// An object store, rooted at the bucket or container, and the options that it was made with.
pub(super) type Opened = (Arc<dyn ObjectStore>, StorageConfig);

impl Cloud {
    /// The cloud of a URL's scheme.
    pub(super) fn of(scheme: &str) -> Option<Cloud> {
        match scheme {
            "s3" | "s3a" => Some(Cloud::S3),
            "az" | "abfs" | "abfss" => Some(Cloud::Azure),
            "gs" => Some(Cloud::Google),
            _ => None,
        }
    }

    /// Opens the store of `storage.url`. Options that are not written are taken from the environment, as the cloud's own tools name them.
    pub(super) fn open(self, storage: &settings::Storage) -> Result<Opened, Error> {
        let config = self.config(storage)?;
        let root = match self {
            Cloud::S3 => s3(&storage.url, &config)?,
            Cloud::Azure => azure(&storage.url, &config)?,
            Cloud::Google => google(&storage.url, &config)?,
        };
        Ok((root, config))
    }

    /// The options as written, without those that would break put-if-absent, and with a bound on object_store's own retries so that a commit's deadline holds.
    fn config(self, storage: &settings::Storage) -> Result<StorageConfig, Error> {
        let mut options = HashMap::from([("retry_timeout".to_owned(), "20s".to_owned())]);
        for (key, value) in &storage.options {
            let name = key.to_ascii_lowercase();
            let value = value.reveal();
            let refused = |reason: String| Error::StoreOption {
                key: key.clone(),
                reason,
            };
            if let Some(reason) = self.refuses(&name, value) {
                return Err(refused(reason.to_owned()));
            }
            if !self.knows(&name) && !is_common_option(&name) {
                return Err(refused(format!("it is not an option of {self}")));
            }
            let is_address = name.ends_with("_url") || name.ends_with("endpoint");
            let value = if is_address {
                value.trim_end_matches('/')
            } else {
                value
            };
            options.insert(key.clone(), value.to_owned());
        }
        StorageConfig::parse_options(options).map_err(|error| Error::StoreOption {
            key: "*".to_owned(),
            reason: error.to_string(),
        })
    }

    fn knows(self, name: &str) -> bool {
        match self {
            Cloud::S3 => AmazonS3ConfigKey::from_str(name).is_ok() || name.starts_with("aws_"),
            Cloud::Azure => AzureConfigKey::from_str(name).is_ok(),
            Cloud::Google => GoogleConfigKey::from_str(name).is_ok(),
        }
    }

    /// Why an option that the store knows is not for the config to set.
    fn refuses(self, name: &str, value: &str) -> Option<&'static str> {
        match (self, name) {
            (Cloud::S3, "aws_s3_allow_unsafe_rename" | "allow_unsafe_rename")
                if !matches!(value, "false" | "0") =>
            {
                Some("it gives up put-if-absent; remove it")
            }
            (Cloud::S3, "aws_s3_locking_provider") => {
                Some("commits use the store's conditional put, not a lock table; remove it")
            }
            (Cloud::S3, "aws_conditional_put" | "conditional_put") if value != "etag" => {
                Some("commits need conditional puts; remove it")
            }
            (Cloud::Azure, "azure_container_name" | "container_name")
            | (Cloud::Google, "google_bucket" | "google_bucket_name" | "bucket" | "bucket_name") => {
                Some("storage.url names it; remove it")
            }
            _ => None,
        }
    }
}

impl std::fmt::Display for Cloud {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Cloud::S3 => "an S3 store",
            Cloud::Azure => "an Azure store",
            Cloud::Google => "a Google store",
        })
    }
}

/// Through deltalake, which finds credentials as the AWS SDK does (profiles, SSO, IMDS, web identity).
fn s3(url: &Url, config: &StorageConfig) -> Result<Arc<dyn ObjectStore>, Error> {
    deltalake::aws::register_handlers(None);
    let factories = object_store_factories();
    let factory = factories.get(&scheme_of(url)?).ok_or_else(|| {
        Error::Bug(format!(
            "no object store is registered for {}",
            url.scheme()
        ))
    })?;
    let (root, _prefix) = factory
        .parse_url_opts(url, config)
        .map_err(|error| invalid_url(url, error.to_string()))?;
    Ok(root)
}

fn azure(url: &Url, config: &StorageConfig) -> Result<Arc<dyn ObjectStore>, Error> {
    let mut builder = MicrosoftAzureBuilder::from_env()
        .with_url(url.as_str())
        .with_retry(config.retry.clone());
    if let Some(client) = client_options(config)? {
        builder = builder.with_client_options(client);
    }
    for (key, value) in written::<AzureConfigKey>(config) {
        builder = builder.with_config(key, value);
    }
    let has_account = builder
        .get_config_value(&AzureConfigKey::AccountName)
        .is_some()
        || builder
            .get_config_value(&AzureConfigKey::UseEmulator)
            .is_some_and(|value| value == "true")
        || !url.username().is_empty();
    if !has_account {
        let advice = "it names no storage account; write `azure_storage_account_name` under storage.options (or set AZURE_STORAGE_ACCOUNT_NAME), or write \
                      `abfss://container@account.dfs.core.windows.net/prefix`";
        return Err(invalid_url(url, advice.to_owned()));
    }
    let store = builder
        .build()
        .map_err(|error| invalid_url(url, error.to_string()))?;
    use_plain_log_store(url)?;
    Ok(Arc::new(store))
}

fn google(url: &Url, config: &StorageConfig) -> Result<Arc<dyn ObjectStore>, Error> {
    let mut builder = GoogleCloudStorageBuilder::from_env()
        .with_url(url.as_str())
        .with_retry(config.retry.clone());
    if let Some(client) = client_options(config)? {
        builder = builder.with_client_options(client);
    }
    for (key, value) in written::<GoogleConfigKey>(config) {
        builder = builder.with_config(key, value);
    }
    let store = builder
        .build()
        .map_err(|error| invalid_url(url, error.to_string()))?;
    use_plain_log_store(url)?;
    Ok(Arc::new(store))
}

/// The options that the cloud's client takes, without those that deltalake takes beside them.
fn written<K: FromStr>(config: &StorageConfig) -> impl Iterator<Item = (K, &String)> {
    let known = |key: &String| K::from_str(&key.to_ascii_lowercase()).ok();
    let options = config.raw.iter();
    options.filter_map(move |(key, value)| known(key).map(|key| (key, value)))
}

/// Has deltalake keep the logs under this scheme as it keeps local ones: by the store's own put-if-absent.
fn use_plain_log_store(url: &Url) -> Result<(), Error> {
    let factories = logstore_factories();
    let local = Url::parse("file://").map_err(|error| Error::Bug(error.to_string()))?;
    let plain = factories
        .get(&local)
        .map(|entry| Arc::clone(entry.value()))
        .ok_or_else(|| Error::Bug("no log store is registered for file://".to_owned()))?;
    factories.insert(scheme_of(url)?, plain);
    Ok(())
}

fn scheme_of(url: &Url) -> Result<Url, Error> {
    Url::parse(&format!("{}://", url.scheme())).map_err(|error| invalid_url(url, error.to_string()))
}

/// A root certificate of one's own, where `certificate_path` names one. Set before other client options, which it would replace.
fn client_options(config: &StorageConfig) -> Result<Option<ClientOptions>, Error> {
    let certificate = config.certificate.as_ref();
    let Some(path) = certificate.and_then(|certificate| certificate.certificate_path.as_ref())
    else {
        return Ok(None);
    };
    let refused = |reason: String| Error::StoreOption {
        key: "certificate_path".to_owned(),
        reason: format!("`{path}`: {reason}"),
    };
    let pem = std::fs::read(path).map_err(|error| refused(error.to_string()))?;
    let certificate = Certificate::from_pem(&pem).map_err(|error| refused(error.to_string()))?;
    Ok(Some(
        ClientOptions::new().with_root_certificate(certificate),
    ))
}

/// Options that deltalake takes beside those of a cloud's client.
fn is_common_option(name: &str) -> bool {
    matches!(
        name,
        "max_retries" | "retry_timeout" | "max_concurrency" | "certificate_path"
    ) || ["init_backoff", "max_backoff", "base"]
        .iter()
        .any(|field| name == *field || name == format!("backoff_config.{field}"))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::config::settings::Secret;
    use crate::delta::open::Store;
    use crate::error::Kind;

    fn storage(url: &str, options: &[(&str, &str)]) -> settings::Storage {
        let options = options
            .iter()
            .map(|(key, value)| ((*key).to_owned(), Secret::new(*value)))
            .collect::<BTreeMap<_, _>>();
        settings::Storage {
            url: Url::parse(url).unwrap(),
            options,
        }
    }

    fn check(url: &str, options: &[(&str, &str)], expect: &str) {
        let error = Store::open(&storage(url, options)).unwrap_err();
        assert_eq!(
            (error.to_string().as_str(), error.kind()),
            (expect, Kind::Invalid)
        );
    }

    #[test]
    fn options_that_break_put_if_absent_are_refused() {
        check(
            "s3://lake",
            &[("AWS_S3_ALLOW_UNSAFE_RENAME", "true")],
            "storage.options.AWS_S3_ALLOW_UNSAFE_RENAME: it gives up put-if-absent; remove it",
        );
        check(
            "s3://lake",
            &[("aws_conditional_put", "disabled")],
            "storage.options.aws_conditional_put: commits need conditional puts; remove it",
        );
    }

    #[test]
    fn an_option_of_no_store_or_of_another_cloud_is_refused() {
        check(
            "s3://lake",
            &[("endpiont", "http://localhost")],
            "storage.options.endpiont: it is not an option of an S3 store",
        );
        check(
            "az://lake",
            &[("aws_region", "eu-central-1")],
            "storage.options.aws_region: it is not an option of an Azure store",
        );
        check(
            "gs://lake",
            &[("azure_storage_account_name", "a")],
            "storage.options.azure_storage_account_name: it is not an option of a Google store",
        );
    }

    #[test]
    fn what_the_url_names_is_not_named_again() {
        check(
            "az://lake",
            &[("azure_container_name", "pond")],
            "storage.options.azure_container_name: storage.url names it; remove it",
        );
        check(
            "gs://lake",
            &[("google_bucket", "pond")],
            "storage.options.google_bucket: storage.url names it; remove it",
        );
    }

    #[test]
    fn an_azure_store_needs_an_account() {
        check(
            "az://lake/bronze",
            &[],
            "storage.url `az://lake/bronze`: it names no storage account; write `azure_storage_account_name` under storage.options (or set \
             AZURE_STORAGE_ACCOUNT_NAME), or write `abfss://container@account.dfs.core.windows.net/prefix`",
        );
        let key = ("azure_storage_account_key", "a2V5");
        for (url, options) in [
            (
                "az://lake/bronze",
                vec![key, ("azure_storage_account_name", "a")],
            ),
            (
                "abfss://lake@account.dfs.core.windows.net/bronze",
                vec![key],
            ),
        ] {
            let store = Store::open(&storage(url, &options)).unwrap();
            let table = store.table("orders").unwrap();
            assert_eq!(table.url().as_str(), format!("{url}/orders/"));
        }
    }

    #[test]
    fn a_google_store_opens_with_options_alone() {
        let options = [
            ("google_base_url", "http://127.0.0.1:9/"),
            ("google_skip_signature", "true"),
            ("google_allow_http", "true"),
            ("max_retries", "1"),
        ];
        let store = Store::open(&storage("gs://lake/bronze", &options)).unwrap();
        let table = store.table("orders").unwrap();
        assert_eq!(table.url().as_str(), "gs://lake/bronze/orders/");
    }

    #[test]
    fn a_certificate_that_is_not_there_is_named() {
        let key = ("azure_storage_account_key", "a2V5");
        let options = [
            key,
            ("azure_storage_account_name", "a"),
            ("certificate_path", "/no/such.pem"),
        ];
        let error = Store::open(&storage("az://lake", &options)).unwrap_err();
        assert!(
            error
                .to_string()
                .starts_with("storage.options.certificate_path: `/no/such.pem`: No such file"),
            "{error}"
        );
    }
}
