//! The `storage` section. Owns which stores there are and which of their options would break a commit.

use url::Url;

use crate::config::problem::Findings;
use crate::config::resolve::{complain_address, secrets};
use crate::config::section::{Pair, Section, Text, join};
use crate::config::settings::Storage;

const PATH: &str = "storage.url";
const HINT: &str =
    "write `file:///folder`, `s3://bucket/prefix`, `az://container/prefix` or `gs://bucket/prefix`";
const ABFSS: &str = "`abfss://container@account.dfs.core.windows.net/prefix`";

pub(super) fn resolve(root: &Section, findings: &mut Findings) -> Option<Storage> {
    let section = root.section("storage")?;
    let url = section.text("url").and_then(|text| url(text, findings));
    let options = section.pairs("options");
    for pair in options.unwrap_or_default() {
        option(pair, findings);
    }
    Some(Storage {
        url: url?,
        options: secrets(options?),
    })
}

fn url(text: &Text, findings: &mut Findings) -> Option<Url> {
    let written = text.text.as_str();
    let url = match Url::parse(written) {
        Ok(url) if written.contains("://") => url,
        Ok(_) | Err(_) => {
            let hint = if written.starts_with('/') {
                format!("; write `file://{written}`")
            } else {
                format!("; {HINT}")
            };
            complain_address(text, PATH, &format!("is not a URL{hint}"), findings);
            return None;
        }
    };
    // In Azure's URLs the user's place holds the container.
    let has_container = matches!(url.scheme(), "abfss" | "abfs" | "wasb" | "wasbs");
    if (!url.username().is_empty() && !has_container) || url.password().is_some() {
        let message = "holds a user or a key; write it under `storage.options` (for S3 `aws_access_key_id` and `aws_secret_access_key`), or use the environment";
        findings.say(text.place, PATH, message.to_owned());
        return None;
    }
    let host = url.host_str().unwrap_or_default();
    let complaint = match url.scheme() {
        "file" if !host.is_empty() => Some(format!(
            "takes `{host}` for a host; a file URL has three slashes: `file:///{host}{}`",
            url.path()
        )),
        scheme @ ("s3" | "gs") if host.is_empty() => {
            Some(format!("names no bucket; write `{scheme}://bucket/prefix`"))
        }
        "az" if host.is_empty() => {
            Some("names no container; write `az://container/prefix`".to_owned())
        }
        "az" if host.contains('.') => Some(format!(
            "takes `{host}` for a container; write `az://container/prefix`, or with the account {ABFSS}"
        )),
        "abfss" if url.username().is_empty() || !host.contains('.') => {
            Some(format!("names no container and account; write {ABFSS}"))
        }
        "file" | "s3" | "gs" | "az" | "abfss"
            if url.query().is_some() || url.fragment().is_some() =>
        {
            Some(format!("has a `?` or `#` part; {HINT}"))
        }
        "file" | "s3" | "gs" | "az" | "abfss" => None,
        "s3a" | "s3n" => Some(format!(
            "has Hadoop's scheme; write `s3://{host}{}`",
            url.path()
        )),
        "gcs" => Some(format!(
            "has an unknown scheme; write `gs://{host}{}`",
            url.path()
        )),
        "azure" | "adl" | "abfs" | "wasb" | "wasbs" => Some(format!(
            "has another scheme than ours for Azure; write `az://container/prefix` or {ABFSS}"
        )),
        scheme => Some(format!("has the unknown scheme `{scheme}`; {HINT}")),
    };
    match complaint {
        None => Some(url),
        Some(complaint) => {
            complain_address(text, PATH, &complaint, findings);
            None
        }
    }
}

/// Commits rest on put-if-absent, so the options that would replace or disable it are refused.
fn option(pair: &Pair, findings: &mut Findings) {
    let name = pair.name.to_lowercase();
    let name = name.strip_prefix("aws_").unwrap_or(&name);
    let instead = match name {
        "conditional_put" if pair.value.text != "etag" => {
            "commits rest on conditional puts; remove it, or write `etag`"
        }
        "copy_if_not_exists" => "commits rest on conditional puts, not on copies; remove it",
        "s3_locking_provider" => "commits rest on conditional puts and need no lock; remove it",
        "s3_allow_unsafe_rename" => "commits rest on conditional puts, not on renames; remove it",
        _ => return,
    };
    findings.say(
        pair.place,
        &join("storage.options", &pair.name),
        format!("is not for the config to set: {instead}"),
    );
}
