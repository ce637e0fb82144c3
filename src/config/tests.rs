//! The config as a whole: golden messages, the examples in `config/`, defaults, secrets, arbitrary text.

use std::path::{Path, PathBuf};
use std::time::Duration;

use proptest::prelude::*;

use crate::config::keys::{self, Kind, State};
use crate::config::settings::{
    ErrorMode, JsonSchemaSource, MetadataColumn, RegistryAuth, Start, Tombstones, UnknownFields,
    Value,
};
use crate::config::{Config, parse, reference};

const MINIMAL: &str = include_str!("../../config/minimal.yaml");

/// A config that writes most of what can be written.
const WRITTEN: &str = r#"
version: 1
name: crm
kafka: { bootstrap_servers: "${BROKERS}", group_id: g, properties: { session.timeout.ms: 45000, check.crcs: true, sasl.password: "${SECRET}" } }
schema_registry: { url: "https://registry/base", bearer_token: "${NUMBER}" }
storage: { url: "s3://lake/bronze", options: { aws_region: eu-central-1 } }
limits: { memory: 2GiB, lanes: 3, record_bytes: 1MB }
http: { listen: "[::]:80", token: "${SECRET}" }
shutdown_grace: 5s
defaults: { target_lag: 1s, errors: { mode: skip }, path: "raw/{table}", properties: { a: 1, b: 2 } }
tables:
  - name: one
    topics: [a, b]
    value: { format: json, schema: { ddl: "id long, at timestamp" }, unknown_fields: ignore }
    start: { timestamp: 1970-01-02T00:00:00Z }
    partition_by: ["day = date(at)", id]
    tombstones: reject
    properties: { b: 3 }
  - name: two
    topics: [c]
    path: other/
    value: { format: avro, schema: { subject: "prod.{topic}.{table}" } }
    start: latest
    target_lag: 250ms
    errors: { mode: suspend }
    metadata: { prefix: k_, include: [key, headers, leader_epoch, schema_id, ingested_at, timestamp_type] }
    maintenance: { checkpoint_every_commits: 7 }
  - { name: three, topics: [d], value: { format: avro, framing: none, schema: { file: d.avsc } } }
"#;

/// What every secret of the tests holds; it may appear in no message.
const CANARY: &str = "c4n4ry";

fn environment(name: &str) -> Option<String> {
    match name {
        "EMPTY" => Some(String::new()),
        "FOUR" => Some("four".to_owned()),
        "SECRET" => Some(CANARY.to_owned()),
        "BROKERS" => Some("kafka-1:9092,kafka-2:9092".to_owned()),
        "NUMBER" => Some("12345".to_owned()),
        "KAFKA_USERNAME" | "KAFKA_PASSWORD" | "SR_USERNAME" | "SR_PASSWORD" | "MASK_KEY" => {
            Some(format!("value-of-{name}"))
        }
        _ => None,
    }
}

fn load(text: &str) -> Result<Config, String> {
    parse(text, Path::new("lakeward.yaml"), &environment).map_err(|problems| problems.to_string())
}

/// The minimal config with further lines for its one table.
fn with_table_lines(lines: &str) -> String {
    format!("{MINIMAL}{lines}\n")
}

fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

fn files(folder: &Path, extension: &str) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    files.retain(|path| path.extension().is_some_and(|found| found == extension));
    files.sort();
    files
}

#[test]
fn cfg_1_wrong_configs_are_refused_with_exactly_these_messages() {
    let bless = std::env::var_os("LAKEWARD_BLESS").is_some();
    let golden = folder("src/config/golden");
    let mut stale = Vec::new();
    for path in files(&golden, "yaml") {
        let text = std::fs::read(&path).unwrap();
        let name = path.file_name().map(Path::new).unwrap();
        // Beside its own name only, so that no folder of this machine gets into the message.
        let found = match std::str::from_utf8(&text) {
            Ok(text) => parse(text, name, &environment)
                .map(|_| ())
                .map_err(|problems| problems.to_string()),
            Err(_) => crate::config::load(&path).map(|_| ()).map_err(|problems| {
                problems
                    .to_string()
                    .replace(&format!("{}/", golden.display()), "")
            }),
        };
        let found = format!(
            "{}\n",
            found.expect_err(&format!("{} is valid", path.display()))
        );
        assert!(!found.contains(CANARY), "{found}");
        let expected_path = path.with_extension("txt");
        if bless {
            std::fs::write(&expected_path, &found).unwrap();
        }
        let expected = std::fs::read_to_string(&expected_path).unwrap_or_default();
        if expected != found {
            stale.push(format!("--- {}\n{expected}+++\n{found}", path.display()));
        }
    }
    assert!(
        stale.is_empty(),
        "LAKEWARD_BLESS=1 rewrites these:\n{}",
        stale.join("\n")
    );
    assert!(files(&golden, "yaml").len() >= 30);
}

#[test]
fn every_example_is_valid() {
    let names: Vec<PathBuf> = files(&folder("config"), "yaml");
    assert!(names.len() >= 8);
    for path in names {
        let text = std::fs::read_to_string(&path).unwrap();
        let config =
            parse(&text, &path, &environment).unwrap_or_else(|problems| panic!("{problems}"));
        for table in &config.tables {
            if let Value::AvroFile { file }
            | Value::Json {
                schema: JsonSchemaSource::File(file),
                ..
            } = &table.value
            {
                assert!(file.exists(), "{}", file.display());
            }
        }
    }
}

#[test]
fn the_full_example_is_fresh_and_holds_the_defaults() {
    let path = folder("config/full.yaml");
    let fresh = reference::full_example();
    if std::fs::read_to_string(&path).unwrap_or_default() != fresh {
        std::fs::write(&path, &fresh).unwrap();
        panic!("config/full.yaml was stale and is rewritten; commit it");
    }
    let full = load(&fresh).unwrap();
    let shown = format!("{:?}", full.tables[0]);
    let minimal = load(MINIMAL).unwrap();
    // The full example writes out every default; the one that a number must stand for is the checkpoint interval.
    assert_eq!(
        shown.replace(
            "checkpoint_every_commits: Some(100)",
            "checkpoint_every_commits: None"
        ),
        format!("{:?}", minimal.tables[0])
    );
    assert_eq!(
        format!("{:?}{:?}", full.limits, full.http),
        format!("{:?}{:?}", minimal.limits, minimal.http)
    );
    for key in keys::all() {
        assert!(fresh.contains(&format!("{}:", key.name())), "{}", key.path);
    }
}

#[test]
fn the_manual_and_the_editors_schema_name_every_key() {
    let manual = reference::markdown();
    let schema: serde_json::Value = serde_json::from_str(&reference::json_schema()).unwrap();
    for key in keys::all() {
        let name = key.path.trim_start_matches("tables[].");
        assert!(manual.contains(&format!("| `{name}` |")), "{}", key.path);
        let mut pointer = String::new();
        for part in key.path.split('.') {
            pointer.push_str("/properties/");
            pointer.push_str(part.trim_end_matches("[]"));
            if part.ends_with("[]") {
                pointer.push_str("/items");
            }
        }
        assert!(schema.pointer(&pointer).is_some(), "{pointer}");
    }
    assert!(
        schema
            .pointer("/properties/defaults/properties/target_lag")
            .is_some()
    );
    assert!(
        schema
            .pointer("/properties/defaults/properties/topics")
            .is_none()
    );
}

#[test]
fn the_minimal_config_has_every_default() {
    let config = load(MINIMAL).unwrap();
    assert_eq!(config.kafka.group_id, "lakeward-shop");
    assert_eq!(
        (
            config.limits.memory_bytes,
            config.limits.lanes,
            config.limits.record_bytes
        ),
        (1 << 30, None, 16 << 20)
    );
    assert_eq!(config.http.listen.to_string(), "127.0.0.1:8750");
    assert_eq!(config.http.token, None);
    assert_eq!(config.shutdown_grace, Duration::from_secs(30));
    let table = &config.tables[0];
    assert_eq!(
        (table.name.as_str(), table.path.as_str()),
        ("orders", "orders")
    );
    assert!(
        matches!(&table.value, Value::AvroConfluent { subject, record: None } if subject == "shop.orders-value")
    );
    assert_eq!(table.start, Start::Earliest);
    assert_eq!(table.target_lag, Duration::from_secs(60));
    assert_eq!(
        (table.flush.file_size_bytes, table.flush.rows),
        (128 << 20, 5_000_000)
    );
    assert!(table.partition_by.is_empty() && table.properties.is_empty());
    assert_eq!(
        (
            table.metadata.prefix.as_str(),
            table.metadata.include.as_slice()
        ),
        ("_kafka_", [MetadataColumn::Timestamp].as_slice())
    );
    assert_eq!(
        (table.tombstones, table.errors.mode),
        (Tombstones::Skip, ErrorMode::Dlq)
    );
    assert_eq!(table.checkpoint_every_commits, None);
}

#[test]
fn what_is_written_arrives() {
    let config = load(WRITTEN).unwrap();
    assert_eq!(config.kafka.bootstrap_servers, "kafka-1:9092,kafka-2:9092");
    let property = |name: &str| config.kafka.properties[name].reveal();
    assert_eq!(
        (
            property("session.timeout.ms"),
            property("check.crcs"),
            property("sasl.password")
        ),
        ("45000", "true", CANARY)
    );
    assert!(
        matches!(&config.schema_registry.as_ref().unwrap().auth, RegistryAuth::Bearer(token) if token.reveal() == "12345")
    );
    assert_eq!(
        (config.limits.lanes, config.limits.record_bytes),
        (Some(3), 1_000_000)
    );
    let [one, two, three] = config.tables.as_slice() else {
        panic!()
    };
    assert_eq!(
        (one.path.as_str(), two.path.as_str(), three.path.as_str()),
        ("raw/one", "other", "raw/three")
    );
    assert!(
        matches!(&one.value, Value::Json { schema: JsonSchemaSource::Ddl(columns), unknown_fields: UnknownFields::Ignore } if columns.len() == 2)
    );
    assert_eq!(
        (one.start, one.target_lag, one.errors.mode),
        (
            Start::Timestamp(86_400_000),
            Duration::from_secs(1),
            ErrorMode::Skip
        )
    );
    assert_eq!(
        (one.properties["a"].as_str(), one.properties["b"].as_str()),
        ("1", "3")
    );
    assert_eq!(one.partition_by.len(), 2);
    assert!(
        matches!(&two.value, Value::AvroConfluent { subject, record: None } if subject == "prod.c.two")
    );
    assert_eq!(
        (two.start, two.target_lag, two.errors.mode),
        (
            Start::Latest,
            Duration::from_millis(250),
            ErrorMode::Suspend
        )
    );
    assert_eq!(two.metadata.include.len(), 6);
    assert_eq!(two.checkpoint_every_commits, Some(7));
    assert!(matches!(&three.value, Value::AvroFile { file } if file == Path::new("d.avsc")));
}

#[test]
fn a_relative_schema_file_lies_beside_the_config() {
    let text = include_str!("../../config/avro-schema-file.yaml");
    let config = parse(text, Path::new("/etc/lakeward/config.yaml"), &environment).unwrap();
    assert!(
        matches!(&config.tables[0].value, Value::AvroFile { file } if file == Path::new("/etc/lakeward/orders.avsc"))
    );
}

#[test]
fn every_word_that_is_built_resolves_and_every_other_is_refused() {
    for key in keys::all().filter(|key| {
        key.path.starts_with("tables[]")
            && !key.path.ends_with("value.format")
            && !key.path.ends_with("value.framing")
    }) {
        let (Kind::Choice(choices) | Kind::Choices(choices)) = key.kind else {
            continue;
        };
        for choice in choices {
            let list = matches!(key.kind, Kind::Choices(_));
            let value = if list {
                format!("[{}]", choice.word)
            } else {
                choice.word.to_owned()
            };
            let base = if key.path.contains("unknown_fields") {
                MINIMAL.replace("format: avro", "format: json, schema: {ddl: id long}")
            } else {
                MINIMAL.to_owned()
            };
            let path = key.path.trim_start_matches("tables[].");
            let text = match path.split_once('.') {
                Some(("value", name)) => {
                    base.replace("value: { ", &format!("value: {{ {name}: {value}, "))
                }
                Some((section, name)) => format!("{base}    {section}: {{ {name}: {value} }}\n"),
                None => format!("{base}    {path}: {value}\n"),
            };
            match (choice.state, load(&text)) {
                (State::Built, Ok(_)) => {}
                (State::NotYet(_), Err(said)) => assert!(
                    said.contains(&format!("`{}` is not built yet; ", choice.word)),
                    "{said}"
                ),
                (_, result) => panic!("{path}: {}: {result:?}", choice.word),
            }
        }
    }
}

#[test]
fn every_key_refuses_what_does_not_fit_it_at_its_place() {
    for key in keys::all()
        .filter(|key| key.path.starts_with("tables[].") && key.path.matches('.').count() == 1)
    {
        let wrong = match key.kind {
            Kind::Section
            | Kind::Map
            | Kind::Texts
            | Kind::Choices(_)
            | Kind::Tables
            | Kind::TableDefaults
            | Kind::SecretMap => "7",
            Kind::Text
            | Kind::Secret
            | Kind::Size(..)
            | Kind::Duration(..)
            | Kind::Integer(..)
            | Kind::Lanes(..)
            | Kind::Choice(_)
            | Kind::Start => "[[]]",
        };
        let text = MINIMAL.lines().filter(|line| {
            !line
                .trim_start_matches("- ")
                .trim()
                .starts_with(&format!("{}:", key.name().trim_end_matches("_regex")))
        });
        let text: Vec<&str> = text.collect();
        if matches!(key.name(), "name" | "path") {
            continue;
        }
        let said = load(&format!(
            "{}\n    {}: {wrong}\n",
            text.join("\n"),
            key.name()
        ))
        .unwrap_err();
        assert!(
            said.contains(&format!(": tables[orders].{}: must be ", key.name()))
                && said.lines().count() == 1,
            "{}: {said}",
            key.path
        );
    }
}

#[test]
fn the_default_for_other_tables_may_not_fit_this_one() {
    let text = MINIMAL.replace(
        "tables:",
        "defaults:\n  value: { unknown_fields: ignore, schema: { ddl: id long } }\ntables:",
    );
    assert!(load(&text).is_ok(), "{:?}", load(&text));
    let text = MINIMAL
        .replace("tables:", "defaults:\n  value: { format: avro }\ntables:")
        .replace("{ format: avro }\n    ", "{ unknown_fields: ignore }\n    ");
    assert!(load(&text).is_ok());
}

#[test]
fn secrets_never_appear() {
    let config = load(
        &include_str!("../../config/sasl-tls.yaml")
            .replace("KAFKA_PASSWORD", "SECRET")
            .replace("SR_PASSWORD", "SECRET"),
    )
    .unwrap();
    assert!(!format!("{config:?}").contains(CANARY));
    let wrong = |text: &str| {
        let said = load(&MINIMAL.replace("kafka:", text)).unwrap_err();
        assert!(!said.contains(CANARY), "{said}");
    };
    wrong("http: { token: [c4n4ry] }\nkafka:");
    wrong("http: { token: c4n4ry, tokn: c4n4ry }\nkafka:");
    wrong("http: c4n4ry\nkafka:");
    wrong("kafka:\n  properties: c4n4ry");
    wrong("kafka:\n  properties: [c4n4ry]");
    wrong(
        "kafka:\n  properties: { sasl.password: [c4n4ry], group.id: c4n4ry, fetch.max.bytes: \"${SECRET}\" }",
    );
    wrong("kafka:\n  properties: { security.protocol: \"${file:c4n4ry/..}\", sasl.password: \"${ABSENT}c4n4ry\" }".replace("c4n4ry/..", "absent").as_str());
    let registry = |text: &str| {
        let said = load(&MINIMAL.replace("  url: http://localhost:8081", text)).unwrap_err();
        assert!(!said.contains(CANARY), "{said}");
    };
    registry("  url: http://user:c4n4ry@localhost:8081");
    registry("  url: http//user:c4n4ry@localhost:8081");
    registry("  url: http://localhost?key=c4n4ry");
    registry("  url: http://localhost\n  basic_auth: c4n4ry");
    registry(
        "  url: http://localhost\n  basic_auth: { username: u, password: 12345, passwrod: c4n4ry }\n  bearer_token: c4n4ry",
    );
    let said = load(&MINIMAL.replace("file:///var/lib/lakeward", "s3://key:c4n4ry@bucket/lake"))
        .unwrap_err();
    assert!(!said.contains(CANARY), "{said}");
}

#[test]
fn a_file_that_cannot_be_read_is_one_sentence() {
    let folder = tempfile::tempdir().unwrap();
    let check = |bytes: Option<&[u8]>, part: &str| {
        let path = folder.path().join("lakeward.yaml");
        match bytes {
            Some(bytes) => std::fs::write(&path, bytes).unwrap(),
            None => assert!(!path.exists()),
        }
        let problems = crate::config::load(&path).unwrap_err();
        let said = problems.to_string();
        assert!(said.contains(part) && said.lines().count() == 1, "{said}");
        assert_eq!(problems.kind(), crate::error::Kind::Invalid);
    };
    check(None, "cannot be read: no such file or directory");
    check(
        Some(b"version: 1\nname: caf\xe9\n"),
        "line 2 holds other bytes",
    );
    check(Some(&vec![b' '; (4 << 20) + 1]), "larger than 4MiB");
    check(Some(b"\xef\xbb\xbf# only a comment\n"), "the file is empty");
    check(Some(b"---\n...\n"), "the file is empty");
}

proptest! {
    #[test]
    fn arbitrary_text_never_panics(text in "\\PC*") {
        let _said = load(&text);
    }

    #[test]
    fn arbitrary_yaml_never_panics(text in "[a-c:\\-\\[\\]{},\"'|>&*!%#?$ \\n\\t0-9]{0,60}") {
        let _said = load(&text);
    }

    #[test]
    fn arbitrary_values_never_panic(value in "[a-zA-Z0-9:\\-\\[\\]{},\"'|>&*!%#?${}/.=()` é]{0,30}", line in 0usize..13) {
        let lines: Vec<String> = MINIMAL
            .lines()
            .enumerate()
            .map(|(index, text)| match text.split_once(": ") {
                Some((key, _)) if index == line => format!("{key}: {value}"),
                _ => text.to_owned(),
            })
            .collect();
        let _said = load(&lines.join("\n"));
    }

    #[test]
    fn arbitrary_column_lists_and_partitions_never_panic(text in "[a-c `<>,:()=.0-9é]{0,40}") {
        let _columns = crate::config::ddl::parse(&text);
        let _field = crate::config::partition::parse(&text);
    }
}

/// Every config of the golden messages and of the examples, replayed and then mutated byte by byte and line by line: it is read or refused in words, and nothing panics.
/// LAKEWARD_FUZZ_SECONDS=600 goes on for that long.
#[test]
fn mutated_configs_are_read_or_refused_in_words() {
    let mut corpus: Vec<String> = [folder("src/config/golden"), folder("config")]
        .iter()
        .flat_map(|folder| files(folder, "yaml"))
        .map(|path| String::from_utf8_lossy(&std::fs::read(path).unwrap()).into_owned())
        .collect();
    corpus.push(WRITTEN.to_owned());
    let said = |text: &str| {
        if let Err(problems) = &load(text) {
            assert!(problems.to_string().len() > 10, "{text}");
        }
    };
    corpus.iter().for_each(|text| said(text));
    let seconds: Option<u64> = std::env::var("LAKEWARD_FUZZ_SECONDS")
        .ok()
        .and_then(|text| text.parse().ok());
    let clock = crate::clock::Clock::machine();
    let began = clock.now();
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut below = |limit: usize| {
        state ^= state >> 12;
        state ^= state << 25;
        state ^= state >> 27;
        usize::try_from(state >> 8).unwrap() % limit.max(1)
    };
    let pieces: Vec<&str> =
        ": /- /{/}/[/]/\"/'/&a /*a/<<: /!!int /|\n/~/${A}/${/{table}/\t/\u{0}/\u{feff}/1e999/-0/0x/null/99999999999999999999/é"
            .split('/')
            .collect();
    let mut rounds = 0;
    while match seconds {
        Some(seconds) => clock.now().since(began) < Duration::from_secs(seconds),
        None => rounds < 3_000,
    } {
        let mut text: Vec<char> = corpus[below(corpus.len())].chars().take(4_000).collect();
        for _ in 0..=below(3) {
            let at = below(text.len() + 1);
            let end = at + below((text.len() - at).min(40) + 1);
            match below(4) {
                0 => drop(text.drain(at..end)),
                1 => drop(text.splice(at..at, pieces[below(pieces.len())].chars())),
                2 => {
                    let piece = text[at..end].to_vec();
                    text.splice(at..at, piece);
                }
                _ => {
                    let other: Vec<char> = corpus[below(corpus.len())].chars().collect();
                    let from = below(other.len() + 1);
                    let until = from + below((other.len() - from).min(60) + 1);
                    text.splice(at..end, other[from..until].iter().copied());
                }
            }
        }
        said(&text.iter().collect::<String>());
        rounds += 1;
    }
    println!(
        "fuzz yaml: {rounds} rounds in {:.1} s",
        clock.now().since(began).as_secs_f64()
    );
}

#[test]
#[expect(clippy::too_many_lines, reason = "a table of cases")]
fn columns_that_are_chosen_and_masked_fit_the_rest_of_the_table() {
    let chosen = |lines: &str| load(&with_table_lines(&format!("    {lines}")));
    let config = chosen(
        "columns: { include: [id, customer, '`a b`.c'], exclude: [customer.phone], mask: { customer.email: hmac_sha256, id: redact }, mask_key: \"${SECRET}\" }",
    );
    let table = &config.unwrap().tables[0];
    assert_eq!(table.columns.include[2], ["a b", "c"]);
    assert_eq!(table.columns.mask.len(), 2);
    assert!(table.columns.are_hidden() && !table.errors.raw);
    assert!(!format!("{table:?}").contains(CANARY));
    let raw = chosen("columns: { exclude: [a] }\n    errors: { raw: true }");
    assert!(raw.unwrap().tables[0].errors.raw);
    assert!(
        chosen("columns: { exclude: [] }").unwrap().tables[0]
            .errors
            .raw
    );
    let shared = MINIMAL.replace(
        "tables:",
        "defaults: { columns: { exclude: [ssn], mask_key: \"${SECRET}\" } }\ntables:",
    );
    assert_eq!(load(&shared).unwrap().tables[0].columns.exclude, [["ssn"]]);
    for (lines, part) in [
        (
            "columns: { exclude: [a..b] }",
            "`a..b` is not the path of a column",
        ),
        (
            "columns: { mask: { 'a b': redact } }",
            "`a b` is not the path of a column",
        ),
        (
            "columns: { mask: { a: redacted } }",
            "did you mean `redact`?",
        ),
        (
            "columns: { mask: { a: hmac_sha256 } }",
            "columns.mask_key: is required and missing",
        ),
        (
            "columns: { mask: { a: redact }, mask_key: c4n4ry }",
            "nothing is masked by; remove it",
        ),
        (
            "columns: { mask: { a: hmac_sha256 }, mask_key: \"${EMPTY}\" }",
            "mask_key: is empty",
        ),
        (
            "columns: { exclude: [a, a.b] }",
            "`a.b` is in the list already, by `a`",
        ),
        ("columns: { include: [a, a] }", "is in the list already"),
        (
            "columns: { include: [a.b], exclude: [a] }",
            "`a.b` lies in `a`, which `columns.exclude` leaves out",
        ),
        (
            "columns: { exclude: [a], mask: { a.b: redact } }",
            "`columns.exclude` leaves out `a`",
        ),
        (
            "columns: { include: [a], mask: { b: redact } }",
            "`columns.include` does not have it",
        ),
        (
            "columns: { mask: { a: redact, a.b: redact } }",
            "`a` is masked as a whole",
        ),
        (
            "columns: { exclude: [a.b], mask: { a: redact } }",
            "`a.b` lies in it",
        ),
        ("columns: { exclude: [_kafka_offset] }", "is a Kafka column"),
        (
            "columns: { mask: { _kafka_timestamp: redact } }",
            "only `_kafka_key` can be masked",
        ),
        (
            "columns: { mask: { _kafka_key: redact } }",
            "add `key` to `metadata.include`",
        ),
        (
            "columns: { mask: { _rescued: redact } }",
            "cannot be masked",
        ),
        (
            "columns: { exclude: [a] }\n    partition_by: [a]",
            "needs `a`: `columns.exclude` leaves it out",
        ),
        (
            "columns: { exclude: [a] }\n    partition_by: [d = date(a.b)]",
            "needs `a.b`: `columns.exclude` leaves out `a`",
        ),
        (
            "columns: { include: [b] }\n    partition_by: [d = date(a)]",
            "`columns.include` does not have it",
        ),
        (
            "columns: { mask: { a: redact } }\n    partition_by: [a]",
            "`a` is redacted",
        ),
        (
            "columns: { exclude: [a] }\n    sort_by: [a]",
            "cannot be sorted by",
        ),
    ] {
        let said = chosen(lines).unwrap_err();
        assert!(said.contains(part), "{lines}: {said}");
        assert!(!said.contains(CANARY), "{said}");
    }
    let kept = "columns: { include: [a], mask: { a: hmac_sha256 }, mask_key: \"${SECRET}\" }\n    partition_by: [\"h = bucket(4, a)\", \"k = hour(_kafka_timestamp)\"]\n    sort_by: [h, a, _kafka_offset]";
    assert!(chosen(kept).is_ok(), "{:?}", chosen(kept));
}
