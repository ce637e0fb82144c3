//! The `schema_registry` section.

use std::path::Path;

use url::Url;

use crate::config::problem::Findings;
use crate::config::resolve::{complain, complain_address};
use crate::config::section::{Section, Text};
use crate::config::settings::{RegistryAuth, RegistryTls, SchemaRegistry, Secret};

/// The registry, where there is one; the outer `None` is one with a problem.
pub(super) fn resolve(
    root: &Section,
    folder: &Path,
    findings: &mut Findings,
) -> Option<Option<SchemaRegistry>> {
    if root.entry("schema_registry").is_none() {
        return Some(None);
    }
    let section = root.section("schema_registry")?;
    let url = section.text("url").and_then(|text| url(text, findings));
    let auth = auth(section, findings);
    let tls = tls(section, folder, findings);
    Some(Some(SchemaRegistry {
        url: url?,
        auth: auth?,
        tls: tls?,
    }))
}

fn url(text: &Text, findings: &mut Findings) -> Option<Url> {
    let path = "schema_registry.url";
    let hint = "write its base URL, such as `http://localhost:8081`";
    let url = match Url::parse(&text.text) {
        Ok(url) if matches!(url.scheme(), "http" | "https") => url,
        Ok(_) | Err(_) => {
            complain_address(
                text,
                path,
                &format!("is not an `http://` or `https://` URL; {hint}"),
                findings,
            );
            return None;
        }
    };
    if !url.username().is_empty() || url.password().is_some() {
        findings.say(text.place, path, "holds a user or a password; write them under `schema_registry.basic_auth`, where they stay secret".to_owned());
        return None;
    }
    if url.query().is_some() || url.fragment().is_some() {
        complain_address(
            text,
            path,
            &format!("has a `?` or `#` part, which a base URL cannot have; {hint}"),
            findings,
        );
        return None;
    }
    Some(url)
}

fn tls(section: &Section, folder: &Path, findings: &mut Findings) -> Option<RegistryTls> {
    let mut fine = true;
    let mut file = |name: &str| {
        let text = section.text(name)?;
        if text.text.trim().is_empty() {
            let complaint = "names no file; write its path, relative to this config";
            complain(
                text,
                &format!("schema_registry.{name}"),
                complaint,
                findings,
            );
            fine = false;
        }
        Some(folder.join(&text.text))
    };
    let ca = file("tls.ca");
    let (certificate, key) = (file("tls.certificate"), file("tls.key"));
    for (one, other, present, absent) in [
        ("certificate", "key", &certificate, &key),
        ("key", "certificate", &key, &certificate),
    ] {
        if present.is_some() && absent.is_none() {
            let entry = section.entry(&format!("tls.{one}"))?;
            let message = format!("needs `schema_registry.tls.{other}` beside it");
            findings.say(entry.place, &entry.path, message);
            fine = false;
        }
    }
    fine.then(|| RegistryTls {
        ca,
        identity: certificate.zip(key),
    })
}

fn auth(section: &Section, findings: &mut Findings) -> Option<RegistryAuth> {
    if section.is_written("basic_auth")
        && let Some(token) = section.entry("bearer_token")
    {
        findings.say(
            token.place,
            &token.path,
            "excludes `basic_auth`; keep one of them".to_owned(),
        );
        return None;
    }
    for name in ["bearer_token", "basic_auth.username"] {
        if section.text(name).is_some_and(|text| text.text.is_empty()) {
            let entry = section.entry(name)?;
            findings.say(
                entry.place,
                &entry.path,
                "is empty; write a value, or remove it".to_owned(),
            );
            return None;
        }
    }
    if section.entry("basic_auth").is_some() {
        let username = section.text("basic_auth.username")?.text.clone();
        let password = Secret::new(section.text("basic_auth.password")?.text.as_str());
        return Some(RegistryAuth::Basic { username, password });
    }
    if section.entry("bearer_token").is_some() {
        return Some(RegistryAuth::Bearer(Secret::new(
            section.text("bearer_token")?.text.as_str(),
        )));
    }
    Some(RegistryAuth::None)
}
