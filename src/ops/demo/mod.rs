//! `lakeward demo`: the whole product in one process, from an embedded broker to an audited table. Owns the play; the sink is the real pipeline.

pub(super) mod broker;
mod content;
mod orders;
mod registry;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Runtime;
use url::Url;

use crate::config::Config;
use crate::error::Kind;
use crate::metrics::Metrics;
use crate::ops::cli::{ConfigFile, Demo};
use crate::ops::demo::broker::{Broker, TOPIC};
use crate::ops::demo::content::Content;
use crate::ops::exit::{Ending, Failure, Outcome};
use crate::ops::kafka::Kafka;
use crate::ops::output::{self, thousands};
use crate::ops::progress::Progress;
use crate::ops::verify::{Depth, Report, Subject, audit, block_on};
use crate::ops::waiting::Patience;
use crate::ops::{http, wiring};
use crate::pipeline::{self, Orders, RunOptions, Status, Stop, Surroundings};

const TABLE: &str = "orders";
const SUBJECT: &str = "shop.orders-value";
/// How often the bar of the sink moves.
const GLANCE: Duration = Duration::from_millis(100);

/// Plays the whole thing.
pub(super) fn demo(request: &Demo, patience: &Patience) -> Outcome {
    let directory = prepare(&request.dir)?;
    let clock = patience.clock();
    let began = clock.now();
    let runtime = http::beside()?;
    let registry = serve_registry(&runtime, patience)?;
    let broker = Broker::start(request.records)?;
    output::line(&format!(
        "An embedded broker at {} with {} topic partitions, a schema registry at {registry}.",
        broker.bootstrap_servers(),
        broker.topic_partitions()
    ));
    let config = write_config(&directory, &broker, &registry)?;
    let kafka = Kafka::connect(&config.kafka, patience)?;
    broker.produce(request.records, patience.limit())?;
    broker.check(&kafka, request.records)?;
    let produced = clock.now();
    sink(&config, request.records, &runtime, patience)?;
    let sunk = clock.now();
    let findings = check(&config, &kafka, &broker, request.records, patience)?;
    let audited = clock.now();
    output::line(&format!(
        "\n  produced  {:>6.1} s\n  sunk      {:>6.1} s   {} records/s, joining the consumer group included\n  audited   {:>6.1} s",
        produced.since(began).as_secs_f64(),
        sunk.since(produced).as_secs_f64(),
        per_second(request.records, sunk.since(produced)),
        audited.since(sunk).as_secs_f64()
    ));
    output::line(&queries(&directory));
    Ok(findings)
}

/// Creates the directory, or refuses one that holds anything.
fn prepare(directory: &Path) -> Result<PathBuf, Failure> {
    let shown = directory.display();
    match std::fs::read_dir(directory) {
        Ok(mut entries) => {
            if entries.next().is_some() {
                return Err(Failure::invalid(format!(
                    "--dir {shown} is not empty; remove it or choose another directory"
                )));
            }
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            std::fs::create_dir_all(directory).map_err(|error| {
                Failure::new(Kind::Unavailable, error)
                    .context(format!("cannot create --dir {shown}"))
            })?;
        }
        Err(error) => {
            return Err(
                Failure::new(Kind::Invalid, error).context(format!("cannot use --dir {shown}"))
            );
        }
    }
    std::fs::canonicalize(directory).map_err(|error| {
        Failure::new(Kind::Unavailable, error).context(format!("cannot use --dir {shown}"))
    })
}

fn serve_registry(runtime: &Runtime, patience: &Patience) -> Result<String, Failure> {
    let listener = runtime.block_on(http::bind(([127, 0, 0, 1], 0).into()))?;
    let address = listener
        .local_addr()
        .map_err(|error| Failure::unavailable(format!("cannot serve the registry: {error}")))?;
    runtime.spawn(http::serve(
        listener,
        registry::router(SUBJECT, orders::SCHEMA),
        patience.clock().clone(),
    ));
    Ok(registry::url(address))
}

fn write_config(directory: &Path, broker: &Broker, registry: &str) -> Result<Config, Failure> {
    let url = Url::from_directory_path(directory).map_err(|()| {
        Failure::invalid(format!(
            "--dir {} cannot be written as a URL",
            directory.display()
        ))
    })?;
    let text = format!(
        "# The config that `lakeward demo` ran; its broker and registry are gone.
version: 1
name: demo
kafka:
  bootstrap_servers: {}
schema_registry:
  url: {registry}
storage:
  url: {}
tables:
  - name: {TABLE}
    topics: [{TOPIC}]
    value:
      format: avro
      framing: confluent
      schema: {{ subject: {SUBJECT} }}
    target_lag: 2s
",
        broker.bootstrap_servers(),
        url.as_str().trim_end_matches('/')
    );
    let path = directory.join("lakeward.yaml");
    std::fs::write(&path, text).map_err(|error| {
        Failure::new(Kind::Unavailable, error).context(format!("cannot write {}", path.display()))
    })?;
    wiring::config(&ConfigFile { path })
}

/// Runs the pipeline until it is caught up, with a bar of the rows committed.
fn sink(
    config: &Config,
    records: u64,
    runtime: &Runtime,
    patience: &Patience,
) -> Result<(), Failure> {
    let status = Status::default();
    let surroundings = Surroundings {
        clock: patience.clock().clone(),
        metrics: Arc::new(Metrics::new(&config.name)),
        status: status.clone(),
        stop: Stop::default(),
        orders: Orders::default(),
    };
    let progress = Progress::over("committing rows", records);
    let clock = patience.clock().clone();
    let bar = runtime.spawn(async move {
        loop {
            progress.at(status
                .snapshot()
                .tables
                .iter()
                .map(|table| table.rows)
                .sum());
            clock.sleep(GLANCE).await;
        }
    });
    let options = RunOptions {
        until_caught_up: true,
        tables: Vec::new(),
        timeout: patience.limit(),
    };
    let ended = pipeline::run(config, &options, &surroundings)
        .map_err(|error| Failure::new(error.kind(), error));
    bar.abort();
    // The bar leaves the terminal with its task, before anything else is printed.
    runtime.block_on(bar).ok();
    ended
}

/// Audits the table against the broker and the generator, and says what was found.
fn check(
    config: &Config,
    kafka: &Kafka,
    broker: &Broker,
    records: u64,
    patience: &Patience,
) -> Outcome {
    let [table] = config.tables.as_slice() else {
        return Err(Failure::bug("the demo's config has not exactly one table"));
    };
    let subject = Subject {
        objects: wiring::objects(&config.storage, table)?,
        prefix: table.metadata.prefix.clone(),
        rejected: wiring::rejected_objects(&config.storage, table)?,
    };
    let report = block_on(audit(&subject, Depth::Topic(kafka), patience))??;
    let report = report.ok_or_else(|| Failure::bug("the sink ended without a table"))?;
    let content = block_on(content::compare(
        &subject,
        broker.topic_partitions(),
        patience,
    ))??;
    Ok(verdict(&report, &content, records))
}

fn verdict(report: &Report, content: &Content, records: u64) -> Ending {
    let rows = thousands(content.rows);
    if report.is_clean() && content.rows == records && content.different == 0 {
        output::line(&format!(
            "{} orders produced, {rows} rows in the table: every record exactly once, every field as it was produced (content hash {:016x}).",
            thousands(records),
            content.hash
        ));
        return Ending::Done;
    }
    output::line(&report.text(TABLE));
    output::line(&format!(
        "{} orders produced, {rows} rows in the table, {} of them differ from what was produced.",
        thousands(records),
        thousands(content.different)
    ));
    Ending::Findings(Kind::Corrupt)
}

fn per_second(records: u64, duration: Duration) -> String {
    let ms = u64::try_from(duration.as_millis())
        .unwrap_or(u64::MAX)
        .max(1);
    thousands(records.saturating_mul(1000) / ms)
}

fn queries(directory: &Path) -> String {
    let table = directory.join(TABLE);
    let table = table.display();
    format!(
        "
The table is {table}, the config lakeward.yaml beside it. Query it:

  duckdb -c \"INSTALL delta; LOAD delta; SELECT status, count(*), sum(amount) FROM delta_scan('{table}') GROUP BY status\"

  spark-sql --packages io.delta:delta-spark_4.2_2.13:4.4.0 \\
    --conf spark.sql.extensions=io.delta.sql.DeltaSparkSessionExtension \\
    --conf spark.sql.catalog.spark_catalog=org.apache.spark.sql.delta.catalog.DeltaCatalog \\
    -e 'SELECT status, count(*), sum(amount) FROM delta.`{table}` GROUP BY status'"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_that_holds_anything_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("mine.txt"), "x").unwrap();
        let failure = prepare(directory.path()).unwrap_err();
        assert!(
            failure
                .to_string()
                .ends_with("is not empty; remove it or choose another directory"),
            "{failure}"
        );
        assert_eq!(failure.kind(), Kind::Invalid);
        assert!(prepare(&directory.path().join("new/deeper")).is_ok());
    }

    #[test]
    fn the_embedded_broker_keeps_every_record_it_is_given() {
        let clock = crate::clock::Clock::machine();
        let patience = Patience::new(Duration::from_secs(30), &clock);
        let broker = Broker::start(30_000).unwrap();
        let directory = tempfile::tempdir().unwrap();
        let config = write_config(directory.path(), &broker, "http://127.0.0.1:1").unwrap();
        let kafka = Kafka::connect(&config.kafka, &patience).unwrap();
        broker.produce(30_000, patience.limit()).unwrap();
        broker.check(&kafka, 30_000).unwrap();
        let failure = broker.check(&kafka, 30_001).unwrap_err();
        assert_eq!(
            failure.to_string(),
            "the embedded broker holds 30000 of 30001 records"
        );
    }

    #[test]
    fn the_play_ends_with_every_order_once() {
        let directory = tempfile::tempdir().unwrap();
        let clock = crate::clock::Clock::machine();
        let request = Demo {
            records: 5000,
            dir: directory.path().join("demo"),
        };
        let ending = demo(&request, &Patience::new(Duration::from_secs(60), &clock)).unwrap();
        assert_eq!(ending, Ending::Done);
    }
}
