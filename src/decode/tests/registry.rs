//! The registry client against a small HTTP server on loopback: good answers, outages, unknown ids, redirects.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value as Json, json};

use super::support::*;
use crate::clock::Clock;
use crate::config::settings::{MetadataColumn, RegistryAuth, SchemaRegistry, Secret, Value};
use crate::decode::{Error, Registry, resolve};
use crate::error::Kind;

const USER: &str = r#"{"type":"record","name":"User","fields":[{"name":"id","type":"long"}]}"#;
pub(super) const NOT_FOUND: &str = r#"{"error_code":40403,"message":"Schema not found"}"#;

#[derive(Clone)]
pub(super) struct Reply {
    status: u16,
    body: String,
    location: Option<String>,
    delay: Duration,
}

pub(super) fn reply(status: u16, body: impl Into<String>) -> Reply {
    Reply {
        status,
        body: body.into(),
        location: None,
        delay: Duration::ZERO,
    }
}

fn schema_reply(schema: &str) -> Reply {
    reply(200, json!({ "schema": schema }).to_string())
}

pub(super) struct Server {
    port: u16,
    requests: Arc<AtomicUsize>,
    /// The heads of the requests, for their paths and headers.
    heads: Arc<Mutex<Vec<String>>>,
}

impl Server {
    /// Answers each request by its path and by how many came before.
    pub(super) fn start(answer: impl Fn(&str, usize) -> Reply + Send + Sync + 'static) -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let (requests, heads) = (
            Arc::new(AtomicUsize::new(0)),
            Arc::new(Mutex::new(Vec::new())),
        );
        let server = Server {
            port,
            requests: Arc::clone(&requests),
            heads: Arc::clone(&heads),
        };
        let answer = Arc::new(answer);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let (requests, heads, answer) = (
                    Arc::clone(&requests),
                    Arc::clone(&heads),
                    Arc::clone(&answer),
                );
                std::thread::spawn(move || serve(&stream.unwrap(), &requests, &heads, &*answer));
            }
        });
        server
    }

    fn settings(&self, path: &str) -> SchemaRegistry {
        SchemaRegistry {
            url: format!("http://127.0.0.1:{}{path}", self.port)
                .parse()
                .unwrap(),
            auth: RegistryAuth::None,
            tls: Default::default(),
        }
    }

    pub(super) fn client(&self, clock: &Clock) -> Arc<Registry> {
        Arc::new(
            Registry::with_timeout(
                &self.settings("/"),
                clock.clone(),
                Duration::from_millis(500),
            )
            .unwrap(),
        )
    }

    fn asked(&self) -> usize {
        self.requests.load(Ordering::SeqCst)
    }
}

fn serve(
    stream: &TcpStream,
    requests: &AtomicUsize,
    heads: &Mutex<Vec<String>>,
    answer: &impl Fn(&str, usize) -> Reply,
) {
    let lines = BufReader::new(stream).lines().map_while(Result::ok);
    let head = lines
        .take_while(|line| !line.is_empty())
        .collect::<Vec<_>>()
        .join("\n");
    let path = head.split(' ').nth(1).unwrap_or("").to_owned();
    heads.lock().unwrap().push(head);
    let reply = answer(&path, requests.fetch_add(1, Ordering::SeqCst));
    Clock::machine().sleep_blocking(reply.delay);
    let location = reply
        .location
        .map(|location| format!("location: {location}\r\n"))
        .unwrap_or_default();
    let mut stream = stream;
    // The client may have given up, which is part of some tests.
    let _gone = write!(
        stream,
        "HTTP/1.1 {} X\r\n{location}content-length: {}\r\nconnection: close\r\n\r\n{}",
        reply.status,
        reply.body.len(),
        reply.body
    );
}

pub(super) fn framed(id: u32, body: &[u8]) -> Vec<u8> {
    [&[0][..], &id.to_be_bytes(), body].concat()
}

fn framed_table() -> crate::config::settings::Table {
    table(Value::AvroConfluent {
        subject: "users-value".to_owned(),
        record: None,
    })
}

fn is_latest(path: &str) -> bool {
    path.ends_with("/subjects/users-value/versions/latest")
}

fn latest_reply(id: u32, schema: &str) -> Reply {
    reply(
        200,
        json!({ "subject": "users-value", "id": id, "version": 3, "schema": schema }).to_string(),
    )
}

#[test]
fn records_of_another_type_pass_a_table_by_that_says_which_it_takes() {
    let order = r#"{"type":"record","name":"Order","namespace":"shop","fields":[{"name":"id","type":"long"}]}"#;
    let start = || {
        Server::start(move |path, _| match path {
            path if is_latest(path) => latest_reply(7, order),
            // Another type with the same fields, one with others, one that is no record, and one that cannot be read.
            "/schemas/ids/5" => schema_reply(
                r#"{"type":"record","name":"shop.Refund","fields":[{"name":"id","type":"long"}]}"#,
            ),
            "/schemas/ids/6" => schema_reply(
                r#"{"type":"record","name":"other.Order","fields":[{"name":"x","type":"string"}]}"#,
            ),
            "/schemas/ids/8" => schema_reply(r#""string""#),
            "/schemas/ids/9" => schema_reply(r#"{"type":"record"}"#),
            _ => reply(404, NOT_FOUND),
        })
    };
    let values = [
        framed(5, b"\x02"),
        framed(7, b"\x04"),
        framed(6, b"\x02a"),
        framed(8, b"\x02a"),
        framed(9, b"\x02"),
        framed(7, b""),
        b"no frame".to_vec(),
        framed(7, b"\x06"),
    ];
    let values: Vec<_> = values.iter().map(Vec::as_slice).collect();
    let check = |record: Option<&str>, expected: Json, skipped: u64, codes: &[&str]| {
        let mut table = framed_table();
        table.value = Value::AvroConfluent {
            subject: "users-value".to_owned(),
            record: record.map(str::to_owned),
        };
        table.evolution.allow = crate::config::settings::Allow::None;
        let server = start();
        let mut decoder = decoder(&table, Some(server.client(&Clock::machine())));
        let appended = append(&mut decoder, &values);
        let found: Vec<_> = appended.rejects.iter().map(|reject| reject.code).collect();
        assert_eq!(found, codes, "{:?}", appended.rejects);
        assert_eq!(appended.counts.skipped, skipped);
        assert_eq!(Json::Array(rows(&mut decoder)), expected);
    };
    // What cannot be told to be of another type is a bad record, as it was.
    let bad = ["unusable_schema", "truncated", "bad_magic"];
    check(Some("shop.Order"), json!([{"id": 2}, {"id": 3}]), 3, &bad);
    let all = [
        "unknown_field",
        "type_mismatch",
        "unusable_schema",
        "truncated",
        "bad_magic",
    ];
    let rows_of_all = json!([{"id": 1}, {"id": 2}, {"id": 3}]);
    check(None, rows_of_all, 0, &all);
}

#[test]
fn a_table_that_takes_one_type_has_its_columns_from_it() {
    let refund = r#"{"type":"record","name":"shop.Refund","fields":[{"name":"id","type":"long"}]}"#;
    let server = Server::start(move |path, _| match path {
        path if is_latest(path) => latest_reply(7, refund),
        _ => reply(404, NOT_FOUND),
    });
    let mut table = framed_table();
    table.value = Value::AvroConfluent {
        subject: "users-value".to_owned(),
        record: Some("shop.Order".to_owned()),
    };
    let client = server.client(&Clock::machine());
    let error = resolve(&table, Some(&client)).unwrap_err();
    let said = error.to_string();
    assert!(
        said.contains("the record `shop.Refund`") && said.contains("takes `shop.Order`"),
        "{said}"
    );
}

#[test]
fn interleaved_ids_append_into_the_same_columns() {
    let older = r#"{"type":"record","name":"User","fields":[{"name":"id","type":"int"}]}"#;
    let newer = r#"{"type":"record","name":"User","fields":[{"name":"name","type":["null","string"]},{"name":"id","type":"long"}]}"#;
    let server = Server::start(move |path, _| match path {
        path if is_latest(path) => latest_reply(7, newer),
        "/schemas/ids/5" => schema_reply(older),
        "/schemas/ids/6" => schema_reply(
            r#"{"type":"record","name":"User","fields":[{"name":"age","type":"int"}]}"#,
        ),
        _ => reply(404, NOT_FOUND),
    });
    let mut table = framed_table();
    table.metadata.include = vec![MetadataColumn::SchemaId];
    table.evolution.allow = crate::config::settings::Allow::None;
    let mut decoder = decoder(&table, Some(server.client(&Clock::machine())));
    let values = [
        framed(7, b"\x02\x04ab\x02"),
        framed(5, b"\x04"),
        framed(7, b"\x00\x06"),
        framed(6, b"\x02"),
        framed(5, b"\x08"),
    ];
    let values: Vec<_> = values.iter().map(Vec::as_slice).collect();
    let appended = append(&mut decoder, &values);
    let [reject] = appended.rejects.as_slice() else {
        panic!("one reject: {:?}", appended.rejects)
    };
    assert_eq!(
        (reject.code, reject.path.as_str()),
        ("unknown_field", "age")
    );
    let batch = all_columns(&decoder.take().unwrap());
    let ids: Vec<_> = batch
        .iter()
        .map(|row| {
            (
                row["id"].clone(),
                row["name"].clone(),
                row["_kafka_schema_id"].clone(),
            )
        })
        .collect();
    assert_eq!(
        json!(ids),
        json!([[1, "ab", 7], [2, null, 5], [3, null, 7], [4, null, 5]])
    );
    assert_eq!(server.asked(), 3, "each schema is asked for once");
}

#[test]
fn env_1_an_outage_stalls_and_never_rejects() {
    for outage in [
        reply(503, ""),
        reply(429, "slow down"),
        reply(500, r#"{"error_code":50001}"#),
        reply(401, ""),
        reply(403, ""),
    ]
    .into_iter()
    .chain([
        reply(200, "<html>garbage"),
        reply(200, "{}"),
        reply(404, "<html>no such page"),
        reply(204, ""),
    ])
    .chain([Reply {
        delay: Duration::from_millis(900),
        ..schema_reply(USER)
    }]) {
        let shown = format!("{} {}", outage.status, outage.body);
        let server = Server::start(move |path, before| match path {
            path if is_latest(path) => latest_reply(1, USER),
            _ if before < 3 => outage.clone(),
            _ => schema_reply(USER),
        });
        let clock = Clock::manual(0, 0);
        let mut decoder = decoder(&framed_table(), Some(server.client(&clock)));
        let (first, second) = (framed(1, b"\x02"), framed(9, b"\x04"));
        let records = records([Some(first.as_slice()), Some(second.as_slice())]);
        let mut from = 0;
        for _ in 1..3 {
            let appended = decoder.append(&place(), &records, from);
            let stalled = appended.stalled.expect(&shown);
            assert_eq!(stalled.kind(), Kind::Unavailable, "ENV-1: {shown}");
            assert!(
                appended.rejects.is_empty() && appended.taken == 1,
                "ENV-1: {shown}"
            );
            from = appended.taken;
            // However long it lasts: an id that the registry does not know would have been waited for by now.
            clock.advance(Duration::from_secs(3600));
        }
        let appended = decoder.append(&place(), &records, from);
        assert!(
            appended.stalled.is_none() && appended.rejects.is_empty() && appended.taken == 2,
            "ENV-1: {shown}"
        );
        assert_eq!(
            rows(&mut decoder),
            [json!({"id": 1}), json!({"id": 2})],
            "{shown}"
        );
    }
}

#[test]
fn env_1_nobody_listening_is_unavailable() {
    let port = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    let settings = SchemaRegistry {
        url: format!("http://user:secret@127.0.0.1:{port}/")
            .parse()
            .unwrap(),
        auth: RegistryAuth::None,
        tls: Default::default(),
    };
    let registry = Registry::connect(&settings, Clock::machine()).unwrap();
    let error = registry.schema_by_id(1).unwrap_err();
    assert_eq!(error.kind(), Kind::Unavailable, "ENV-1");
    assert!(!error.to_string().contains("secret"), "{error}");
}

#[test]
fn an_unknown_id_is_a_bad_record_only_after_a_wait() {
    let server = Server::start(|path, _| {
        if is_latest(path) {
            latest_reply(1, USER)
        } else {
            reply(404, NOT_FOUND)
        }
    });
    let clock = Clock::manual(0, 0);
    let mut decoder = decoder(&framed_table(), Some(server.client(&clock)));
    let values = [
        framed(8, b"\x02"),
        framed(1, b"\x02"),
        framed(8, b"\x02"),
        framed(9, b"\x02"),
    ];
    let records = records(values.iter().map(|value| Some(value.as_slice())));
    for _ in 0..29 {
        let appended = decoder.append(&place(), &records, 0);
        assert!(
            matches!(appended.stalled, Some(Error::UnknownSchemaId { id: 8, .. }))
                && appended.taken == 0,
            "ENV-1"
        );
        clock.advance(Duration::from_secs(1));
    }
    clock.advance(Duration::from_secs(1));
    let appended = decoder.append(&place(), &records, 0);
    assert_eq!(
        (
            appended.taken,
            appended.counts.rows,
            appended.counts.rejects
        ),
        (3, 1, 2),
        "the next unknown id waits for itself"
    );
    assert!(
        appended
            .rejects
            .iter()
            .all(|reject| reject.code == "unknown_schema_id")
    );
    clock.advance(Duration::from_secs(2));
    let appended = decoder.append(&place(), &records, 3);
    assert_eq!(
        (appended.taken, appended.counts.rejects),
        (4, 1),
        "but not as long"
    );
}

#[test]
fn an_id_that_appears_during_the_wait_is_used_and_failures_are_not_cached() {
    let server = Server::start(|path, before| match path {
        path if is_latest(path) => latest_reply(1, USER),
        _ if before < 2 => reply(404, NOT_FOUND),
        _ => schema_reply(USER),
    });
    let mut decoder = decoder(&framed_table(), Some(server.client(&Clock::manual(0, 0))));
    let value = framed(8, b"\x02");
    assert!(append(&mut decoder, &[&value]).stalled.is_some());
    assert_eq!(append(&mut decoder, &[&value]).counts.rows, 1);
}

#[test]
fn a_schema_of_another_kind_or_with_refused_types_rejects_its_records() {
    let nanos = r#"{"type":"record","name":"U","fields":[{"name":"id","type":{"type":"long","logicalType":"timestamp-nanos"}}]}"#;
    let server = Server::start(move |path, _| match path {
        path if is_latest(path) => latest_reply(1, USER),
        "/schemas/ids/2" => reply(
            200,
            json!({"schemaType": "PROTOBUF", "schema": "syntax = 'proto3'"}).to_string(),
        ),
        "/schemas/ids/3" => schema_reply(nanos),
        _ => schema_reply(r#"{"type":"record","name":"bad"}"#),
    });
    let mut decoder = decoder(&framed_table(), Some(server.client(&Clock::machine())));
    let appended = append(
        &mut decoder,
        &[
            &framed(2, b""),
            &framed(3, b"\x02"),
            &framed(4, b""),
            &framed(1, b"\x02"),
        ],
    );
    let codes: Vec<_> = appended.rejects.iter().map(|reject| reject.code).collect();
    assert_eq!(
        codes,
        ["unusable_schema", "type_mismatch", "unusable_schema"]
    );
    assert_eq!(rows(&mut decoder).len(), 1);
}

#[test]
fn references_are_fetched_with_what_they_refer_to() {
    let reference =
        |name: &str, version| json!([{"name": name, "subject": name, "version": version}]);
    let order = r#"{"type":"record","name":"shop.Order","fields":[{"name":"to","type":"shop.Address"},{"name":"at","type":"geo.Point"}]}"#;
    let address = r#"{"type":"record","name":"Address","namespace":"shop","fields":[{"name":"at","type":"geo.Point"}]}"#;
    let point = r#"{"type":"record","name":"Point","namespace":"geo","fields":[{"name":"x","type":"int"}]}"#;
    let server = Server::start(move |path, _| {
        match path {
        path if is_latest(path) => reply(
            200,
            json!({"id": 1, "version": 1, "schema": order, "references": reference("shop.Address", 4)}).to_string(),
        ),
        "/subjects/shop.Address/versions/4" => {
            reply(200, json!({"id": 2, "version": 4, "schema": address, "references": reference("geo.Point", 1)}).to_string())
        }
        "/subjects/geo.Point/versions/1" => reply(200, json!({"id": 3, "version": 1, "schema": point}).to_string()),
        _ => reply(404, NOT_FOUND),
    }
    });
    let mut decoder = decoder(&framed_table(), Some(server.client(&Clock::machine())));
    assert_eq!(
        append(&mut decoder, &[&framed(1, b"\x02\x04")]).counts.rows,
        1
    );
    assert_eq!(
        rows(&mut decoder),
        [json!({"to": {"at": {"x": 1}}, "at": {"x": 2}})]
    );
}

#[test]
fn the_base_path_and_credentials_are_sent_and_subjects_are_encoded() {
    let server = Server::start(|_, _| {
        reply(
            200,
            json!({"id": 1, "version": 1, "schema": USER}).to_string(),
        )
    });
    let basic = RegistryAuth::Basic {
        username: "me".to_owned(),
        password: Secret::new("pw"),
    };
    for (auth, header) in [
        (basic, "authorization: Basic bWU6cHc="),
        (
            RegistryAuth::Bearer(Secret::new("tok")),
            "authorization: Bearer tok",
        ),
    ] {
        let settings = SchemaRegistry {
            auth,
            ..server.settings("/apis/ccompat/v7/")
        };
        Registry::connect(&settings, Clock::machine())
            .unwrap()
            .latest("a/b c")
            .unwrap();
        let head = server.heads.lock().unwrap().pop().unwrap();
        assert!(
            head.starts_with("GET /apis/ccompat/v7/subjects/a%2Fb%20c/versions/latest "),
            "{head}"
        );
        assert!(head.contains(header), "{head}");
    }
}

#[test]
fn redirects_stay_on_the_host() {
    let other = Server::start(|_, _| schema_reply(USER));
    let location = format!("http://127.0.0.1:{}/schemas/ids/1", other.port);
    let server = Server::start(move |path, _| match path {
        "/schemas/ids/1" => Reply {
            location: Some(location.clone()),
            ..reply(307, "")
        },
        "/schemas/ids/2" => Reply {
            location: Some("/elsewhere".to_owned()),
            ..reply(307, "")
        },
        "/schemas/ids/3" => Reply {
            location: Some("/schemas/ids/3".to_owned()),
            ..reply(307, "")
        },
        _ => schema_reply(USER),
    });
    let registry = server.client(&Clock::machine());
    let error = registry.schema_by_id(1).unwrap_err();
    assert!(
        error.kind() == Kind::Unavailable && error.to_string().contains("another host"),
        "{error}"
    );
    assert_eq!(other.asked(), 0);
    assert!(registry.schema_by_id(2).is_ok());
    assert_eq!(
        registry.schema_by_id(3).unwrap_err().kind(),
        Kind::Unavailable
    );
}

#[test]
fn a_subject_that_is_not_there_yet_is_waited_for() {
    let server =
        Server::start(|_, _| reply(404, r#"{"error_code":40401,"message":"Subject not found"}"#));
    let error = resolve(&framed_table(), Some(&server.client(&Clock::machine()))).unwrap_err();
    assert!(matches!(error, Error::UnknownSubject { .. }) && error.kind() == Kind::Unavailable);
    assert_eq!(
        resolve(&framed_table(), None).unwrap_err().kind(),
        Kind::Invalid
    );
}

#[test]
fn certificates_that_cannot_be_used_are_refused_with_their_key() {
    let server = Server::start(|_, _| reply(404, NOT_FOUND));
    let directory = tempfile::tempdir().unwrap();
    let garbage = directory.path().join("garbage.pem");
    std::fs::write(&garbage, "garbage").unwrap();
    let refused = |tls: crate::config::settings::RegistryTls| {
        let settings = SchemaRegistry {
            tls,
            ..server.settings("/")
        };
        let error = Registry::connect(&settings, Clock::machine()).unwrap_err();
        assert_eq!(error.kind(), Kind::Invalid);
        error.to_string()
    };
    let missing = refused(crate::config::settings::RegistryTls {
        ca: Some(directory.path().join("missing.pem")),
        identity: None,
    });
    assert!(missing.contains("missing.pem (tls.ca)"), "{missing}");
    let empty = refused(crate::config::settings::RegistryTls {
        ca: Some(garbage.clone()),
        identity: None,
    });
    assert!(empty.contains("holds no certificate"), "{empty}");
    let unusable = refused(crate::config::settings::RegistryTls {
        ca: None,
        identity: Some((garbage.clone(), garbage)),
    });
    assert!(unusable.contains("(tls.certificate)"), "{unusable}");
}
