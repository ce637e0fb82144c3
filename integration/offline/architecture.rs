//! Holds `src` to the import table of ARCHITECTURE.md: which room may name which, and who alone owns a crate.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

const FOUNDATION: [&str; 5] = ["model", "error", "clock", "metrics", "trial"];
const STAGES: [&str; 5] = ["source", "decode", "buffer", "writer", "delta"];

/// What a room may name beside itself. `None`: it is no room of ours.
fn may_name(room: &str) -> Option<Vec<&'static str>> {
    let with = |more: &[&'static str]| FOUNDATION.iter().chain(more).copied().collect::<Vec<_>>();
    match room {
        "error" | "clock" => Some(vec!["error", "clock"]),
        "model" => Some(vec!["error", "clock"]),
        "trial" => Some(vec!["model"]),
        "metrics" => Some(vec!["model", "error"]),
        "config" => Some(vec!["model", "error"]),
        "source" | "decode" | "buffer" | "writer" | "delta" => Some(with(&["config"])),
        "maintenance" => Some(with(&["config", "writer", "delta"])),
        "pipeline" => Some(with(&[
            "config",
            "source",
            "decode",
            "buffer",
            "writer",
            "delta",
            "maintenance",
            // Its simulation only.
            "testing",
        ])),
        "ops" => Some(with(&[
            "config",
            "pipeline",
            "source",
            "decode",
            "buffer",
            "writer",
            "delta",
            "maintenance",
        ])),
        // The fakes stand in for seams of `source`.
        "testing" => Some(with(&["config", "source"])),
        _ => None,
    }
}

/// Crates with one owner, and who else may name them with a reason.
const OWNED: &[(&str, &[&str])] = &[
    // The demo's embedded broker is librdkafka's own, and only the demo produces.
    ("rdkafka", &["source", "ops/demo"]),
    ("deltalake", &["delta"]),
    ("delta_kernel", &["delta"]),
    ("saphyr", &["config"]),
    ("apache_avro", &["decode"]),
    ("protox", &["decode"]),
    ("regex", &["config"]),
    ("reqwest", &["decode"]),
    ("hmac", &["decode"]),
    ("sha2", &["decode"]),
    ("clap", &["ops"]),
    ("axum", &["ops"]),
    ("indicatif", &["ops"]),
    ("prometheus_client", &["metrics"]),
];

fn files(folder: &Path, found: &mut Vec<PathBuf>) {
    let mut entries: Vec<PathBuf> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    entries.sort();
    for path in entries {
        if path.is_dir() {
            files(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

/// Every Rust file of `src` as (path below `src`, text without its inline tests).
pub(crate) fn sources() -> Vec<(String, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut found = Vec::new();
    files(&root, &mut found);
    found
        .iter()
        .map(|path| {
            let name = path
                .strip_prefix(&root)
                .unwrap()
                .to_string_lossy()
                .into_owned();
            let text = fs::read_to_string(path).unwrap();
            let product = text
                .split("#[cfg(test)]\nmod ")
                .next()
                .unwrap_or(&text)
                .to_owned();
            (name, product)
        })
        .filter(|(name, _)| !name.ends_with("tests.rs") && !name.contains("/tests/"))
        .collect()
}

fn code_lines(text: &str) -> impl Iterator<Item = &str> {
    text.lines()
        .map(str::trim_start)
        .filter(|line| !line.starts_with("//"))
}

/// The rooms that a text names through `crate::`.
fn named_rooms(text: &str) -> BTreeSet<String> {
    let mut named = BTreeSet::new();
    for line in code_lines(text) {
        for (at, _) in line.match_indices("crate::") {
            let rest = &line[at + "crate::".len()..];
            if let Some(group) = rest.strip_prefix('{') {
                for item in group.split(['}', ',']) {
                    let room: String = item
                        .trim()
                        .chars()
                        .take_while(|c| c.is_alphanumeric() || *c == '_')
                        .collect();
                    named.insert(room);
                }
            } else {
                named.insert(
                    rest.chars()
                        .take_while(|c| c.is_alphanumeric() || *c == '_')
                        .collect(),
                );
            }
        }
    }
    named.remove("");
    named
}

fn room_of(name: &str) -> String {
    name.split('/')
        .next()
        .unwrap_or(name)
        .trim_end_matches(".rs")
        .to_owned()
}

#[test]
fn rooms_name_only_what_the_import_table_allows() {
    let mut broken = Vec::new();
    for (name, text) in sources() {
        let room = room_of(&name);
        if room == "main" || room == "lib" {
            continue;
        }
        let Some(allowed) = may_name(&room) else {
            broken.push(format!("{name}: room `{room}` is not in the table"));
            continue;
        };
        for other in named_rooms(&text) {
            if other != room && may_name(&other).is_some() && !allowed.contains(&other.as_str()) {
                broken.push(format!("{name}: `{room}` names `{other}`"));
            }
        }
    }
    assert!(
        broken.is_empty(),
        "imports against ARCHITECTURE.md:\n{}",
        broken.join("\n")
    );
}

#[test]
fn stages_meet_only_in_the_pipeline() {
    for stage in STAGES {
        let allowed = may_name(stage).unwrap();
        assert!(
            STAGES.iter().all(|other| !allowed.contains(other)),
            "{stage} may name another stage"
        );
        assert!(!allowed.contains(&"pipeline") && !allowed.contains(&"ops"));
    }
}

#[test]
fn crates_with_one_owner_are_named_only_there() {
    let mut broken = Vec::new();
    for (name, text) in sources() {
        for (owned, owners) in OWNED {
            let path = format!("{owned}::");
            let named = code_lines(&text).any(|line| {
                line.match_indices(&path).any(|(at, _)| {
                    !line[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_' || c == ':')
                })
            });
            let file = name.trim_end_matches(".rs");
            if named
                && !owners
                    .iter()
                    .any(|owner| file == *owner || file.starts_with(&format!("{owner}/")))
            {
                broken.push(format!(
                    "{name} names `{owned}`, which belongs to {}",
                    owners.join(" and ")
                ));
            }
        }
    }
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}

#[test]
fn values_that_flow_are_not_serialised_as_they_are() {
    let offenders: Vec<String> = sources()
        .into_iter()
        .filter(|(name, text)| {
            name.starts_with("model/") && code_lines(text).any(|line| line.contains("Serialize"))
        })
        .map(|(name, _)| name)
        .collect();
    assert!(
        offenders.is_empty(),
        "model types derive Serialize in {offenders:?}"
    );
}

#[test]
fn the_test_itself_sees_a_wrong_import() {
    assert_eq!(
        named_rooms("use crate::{source, ops::cli};"),
        BTreeSet::from(["ops".to_owned(), "source".to_owned()])
    );
    assert_eq!(
        named_rooms("    crate::delta::Table::load()"),
        BTreeSet::from(["delta".to_owned()])
    );
    assert!(!may_name("writer").unwrap().contains(&"delta"));
}
