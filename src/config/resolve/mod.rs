//! A checked document into a valid `Config` (CFG-1): what values mean, alone and together. Every problem is reported; a part with a problem resolves to nothing.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;

use crate::config::check::Check;
use crate::config::document::Field;
use crate::config::keys::TABLE;
use crate::config::problem::{Findings, Place};
use crate::config::resolve::table::Resolved;
use crate::config::section::{Pair, Section, Text, Value};
use crate::config::settings::{Config, Http, Limits, Pattern, Secret, Table};
use crate::config::units;

mod columns;

mod kafka;

mod registry;

mod storage;

mod table;

mod value;

mod together;

mod properties;

/// The share of `limits.memory` that one record or one fetch may take.
const MEMORY_SHARE: u64 = 4;

/// Checks and resolves the root mapping.
pub(crate) fn config(fields: &[Field], check: &mut Check<'_>, folder: &Path) -> Option<Config> {
    let start = Place { line: 1, column: 1 };
    let mut root = check.section(fields, Section::new(start, "", ""));
    complete(&mut root, check);
    let tables = tables(&root, check);
    let findings = &mut check.findings;

    let name = root.text("name").and_then(|name| sink_name(name, findings));
    let limits = limits(&root, findings);
    let kafka = kafka::resolve(&root, name.as_deref(), findings);
    let schema_registry = registry::resolve(&root, folder, findings);
    let storage = storage::resolve(&root, findings);
    let http = http(&root, findings);
    let context = table::Context {
        folder,
        has_registry: root.is_written("schema_registry"),
    };
    let resolved: Vec<_> = tables
        .iter()
        .map(|section| table::resolve(section, &context, findings))
        .collect();
    together::check(&tables, &resolved, findings);
    let resolved = resolved.into_iter().collect::<Option<Vec<_>>>();
    let (tables, patterns) = apart(resolved?);

    Some(Config {
        name: name?,
        kafka: kafka?,
        schema_registry: schema_registry?,
        storage: storage?,
        limits: limits?,
        http: http?,
        shutdown_grace: root.duration("shutdown_grace")?,
        tables,
        patterns,
    })
}

fn apart(resolved: Vec<Resolved>) -> (Vec<Table>, Vec<Pattern>) {
    let (mut tables, mut patterns) = (Vec::new(), Vec::new());
    for one in resolved {
        match one {
            Resolved::Table(table) => tables.push(*table),
            Resolved::Pattern(pattern) => patterns.push(*pattern),
        }
    }
    (tables, patterns)
}

/// The tables with what they take over from `defaults`.
fn tables(root: &Section, check: &mut Check<'_>) -> Vec<Section> {
    let Some(Value::Sections(written)) = root.value("tables") else {
        return Vec::new();
    };
    let none = Section::new(root.place, "defaults", TABLE);
    let defaults = root.section("defaults").unwrap_or(&none);
    let mut tables = written.clone();
    for table in &mut tables {
        table.merge(defaults);
        complete(table, check);
    }
    tables
}

/// Fills in defaults, read the same way as what is written.
fn complete(section: &mut Section, check: &mut Check<'_>) {
    let mut findings = Findings::default();
    section.complete(
        &mut |key, field| check.value(key, field, key.path),
        &mut findings,
    );
    check.findings.0.append(&mut findings.0);
}

fn sink_name(name: &Text, findings: &mut Findings) -> Option<String> {
    let fits = !name.text.is_empty()
        && name.text.len() <= 200
        && name
            .text
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || "_-.".contains(c));
    if !fits {
        complain(
            name,
            "name",
            "is not a name; use letters, digits, `_`, `-` and `.`, such as `shop`",
            findings,
        );
    }
    fits.then(|| name.text.clone())
}

fn limits(root: &Section, findings: &mut Findings) -> Option<Limits> {
    let memory_bytes = root.number("limits.memory");
    let record_bytes = root.number("limits.record_bytes");
    let Value::Lanes(lanes) = root.value("limits.lanes")? else {
        return None;
    };
    let lanes = lanes.map(|lanes| usize::try_from(lanes).unwrap_or(usize::MAX));
    let (memory_bytes, record_bytes) = (memory_bytes?, record_bytes?);
    if record_bytes > memory_bytes / MEMORY_SHARE {
        let place = root.entry("limits.record_bytes")?.place;
        let share = units::show_size(memory_bytes / MEMORY_SHARE);
        let message = format!(
            "`{}` is more than a quarter of `limits.memory` (`{share}`); raise `limits.memory` to at least `{}`",
            units::show_size(record_bytes),
            units::show_size(record_bytes.saturating_mul(MEMORY_SHARE)),
        );
        findings.say(place, "limits.record_bytes", message);
    }
    Some(Limits {
        memory_bytes,
        lanes,
        record_bytes,
    })
}

fn http(root: &Section, findings: &mut Findings) -> Option<Http> {
    let listen = root.text("http.listen");
    let address = listen.and_then(|listen| match listen.text.parse::<SocketAddr>() {
        Ok(address) => Some(address),
        Err(_) => {
            let hint = match listen.text.rsplit_once(':') {
                Some(("localhost", port)) if port.parse::<u16>().is_ok() => {
                    format!("; write `127.0.0.1:{port}`")
                }
                Some(("" | "*", port)) if port.parse::<u16>().is_ok() => {
                    format!("; for all interfaces write `0.0.0.0:{port}`")
                }
                _ => "; write it as `127.0.0.1:8750`, or `0.0.0.0:8750` for all interfaces"
                    .to_owned(),
            };
            complain(
                listen,
                "http.listen",
                &format!("is not an IP address with a port{hint}"),
                findings,
            );
            None
        }
    });
    let token = root.text("http.token");
    if let Some(token) = token.filter(|token| token.text.is_empty()) {
        complain(
            token,
            "http.token",
            "is empty; write a token, or remove the line to refuse every POST that does not come over loopback",
            findings,
        );
    }
    let token = token.map(|token| Secret::new(token.text.as_str()));
    Some(Http {
        listen: address?,
        token,
    })
}

/// Says what is wrong with a value, the value first.
fn complain(text: &Text, path: &str, complaint: &str, findings: &mut Findings) {
    findings.say(text.place, path, format!("{} {complaint}", text.shown));
}

/// The same for an address, which is not shown where it may hold a user's password or a key.
fn complain_address(text: &Text, path: &str, complaint: &str, findings: &mut Findings) {
    let shown = if text.text.contains(['@', '?']) {
        "the value"
    } else {
        text.shown.as_str()
    };
    findings.say(text.place, path, format!("{shown} {complaint}"));
}

fn secrets(pairs: &[Pair]) -> BTreeMap<String, Secret> {
    pairs
        .iter()
        .map(|pair| (pair.name.clone(), Secret::new(pair.value.text.as_str())))
        .collect()
}
