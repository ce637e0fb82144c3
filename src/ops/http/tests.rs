//! The listener on loopback, over real sockets.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;

use super::*;
use crate::model::batch::Reject;
use crate::model::offset::TopicPartition;
use crate::pipeline::Orders;
use crate::pipeline::status::{TableState, TableStatus, TopicPartitionStatus};

fn snapshot(state: TableState, ready: Result<(), String>) -> StatusSnapshot {
    let table = TableStatus {
        name: "orders".into(),
        state,
        version: Some(4),
        rows: 90,
        rejects: 1,
        skipped: 2,
        last_commit_ms: Some(1_000_000_000_000),
        valid_through_ms: Some(1_000_000_000_500),
        buffered_rows: 3,
        rejects_by_code: [("truncated", 1)].into(),
        recent_rejects: [Reject {
            topic_partition: TopicPartition::new("shop.orders", 1),
            offset: 17,
            code: "truncated",
            path: String::new(),
            message: "ends early".into(),
            schema_id: None,
        }]
        .into(),
        topic_partitions: [(
            TopicPartition::new("shop.orders", 1),
            TopicPartitionStatus {
                owned: true,
                committed: Some(40),
                end: Some(47),
            },
        )]
        .into(),
        ..TableStatus::default()
    };
    StatusSnapshot {
        refused: Vec::new(),
        ready,
        tables: vec![table],
        memory_used_bytes: 1,
        memory_limit_bytes: 2,
    }
}

/// Serves `snapshot` and answers one request with status and text.
fn ask(snapshot: &StatusSnapshot, request: &str) -> (u16, String) {
    let (runtime, address) = serving(snapshot);
    let answer = send(address, request);
    drop(runtime);
    answer
}

fn serving(snapshot: &StatusSnapshot) -> (tokio::runtime::Runtime, SocketAddr) {
    let clock = Clock::manual(1_000_000_002_000, 0);
    let snapshot = snapshot.clone();
    let view = View {
        name: "shop".into(),
        snapshot: Box::new(move || snapshot.clone()),
        metrics: Arc::new(Metrics::new("shop")),
        actions: Actions {
            orders: Orders::default(),
            token: None,
            lift: Box::new(|_| Box::pin(async { Ok(Vec::new()) })),
        },
        clock: clock.clone(),
    };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap();
    let listener = runtime
        .block_on(bind("127.0.0.1:0".parse().unwrap()))
        .unwrap();
    let address = listener.local_addr().unwrap();
    runtime.spawn(serve(listener, router(Arc::new(view)), clock));
    (runtime, address)
}

fn send(address: SocketAddr, request: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(address).unwrap();
    write!(
        stream,
        "{request} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"
    )
    .unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    (text.split(' ').nth(1).unwrap().parse().unwrap(), text)
}

#[test]
fn a_running_sink_is_healthy_and_ready() {
    let running = snapshot(TableState::Running, Ok(()));
    assert_eq!(ask(&running, "GET /healthz").0, 200);
    assert_eq!(ask(&running, "GET /readyz").0, 200);
}

#[test]
fn a_sink_that_waits_is_healthy_but_says_why_it_is_not_ready() {
    let waiting = snapshot(
        TableState::Starting,
        Err("no broker answers at b:9092".into()),
    );
    assert_eq!(ask(&waiting, "GET /healthz").0, 200);
    let (code, text) = ask(&waiting, "GET /readyz");
    assert_eq!(code, 503);
    assert!(text.ends_with("no broker answers at b:9092\n"), "{text}");
}

#[test]
fn metrics_are_open_metrics_with_the_lag_of_the_moment() {
    let (code, text) = ask(&snapshot(TableState::Running, Ok(())), "GET /metrics");
    assert_eq!(code, 200);
    assert!(
        text.contains("content-type: application/openmetrics-text"),
        "{text}"
    );
    assert!(text.contains("lakeward_lag_records{name=\"shop\",table=\"orders\",topic=\"shop.orders\",partition=\"1\"} 7\n"), "{text}");
    assert!(
        text.contains("lakeward_table_freshness_seconds{name=\"shop\",table=\"orders\"} 1.5\n"),
        "{text}"
    );
    assert!(text.ends_with("# EOF\n"), "{text}");
}

#[test]
fn the_status_names_state_lag_and_rejects_with_coordinates() {
    let (code, text) = ask(
        &snapshot(TableState::Suspended("a bad record".into()), Ok(())),
        "GET /api/v1/status",
    );
    assert_eq!(code, 200);
    let body = text.split("\r\n\r\n").nth(1).unwrap();
    let document: serde_json::Value = serde_json::from_str(body).unwrap();
    let table = &document["tables"][0];
    assert_eq!(
        (&table["state"], &table["reason"]),
        (&"suspended".into(), &"a bad record".into())
    );
    assert_eq!(
        (&table["lag"], &table["rows"], &table["table_version"]),
        (&7.into(), &90.into(), &4.into())
    );
    assert_eq!(table["last_commit"], "2001-09-09T01:46:40.000Z");
    assert_eq!(
        (
            &table["recent_rejects"][0]["offset"],
            &table["recent_rejects"][0]["code"]
        ),
        (&17.into(), &"truncated".into())
    );
}

#[test]
fn the_page_is_served_and_unknown_actions_are_refused_by_name() {
    let running = snapshot(TableState::Running, Ok(()));
    assert!(ask(&running, "GET /").1.contains("<title>Lakeward</title>"));
    assert_eq!(ask(&running, "POST /api/v1/tables/orders/explode").0, 404);
    assert_eq!(ask(&running, "GET /nowhere").0, 404);
    assert_eq!(ask(&running, "POST /metrics").0, 405);
}

#[test]
fn a_port_in_use_is_one_sentence_that_names_the_key() {
    let (runtime, address) = serving(&snapshot(TableState::Running, Ok(())));
    let failure = runtime.block_on(bind(address)).unwrap_err();
    assert_eq!(
        failure.to_string(),
        format!(
            "cannot listen on {address} (`http.listen`): the port is in use; stop the other process or choose another `http.listen`"
        )
    );
}
