//! What the process counts, for Prometheus: every family is declared once, here, with its help. Knows neither HTTP nor who counts.

use std::fmt;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use prometheus_client::encoding::{EncodeLabelSet, text};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Metric, Registry};

/// The media type of what `encode` writes.
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

type Seconds = Gauge<f64, AtomicU64>;

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfTable {
    table: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfCode {
    table: String,
    code: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfTask {
    table: String,
    task: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfTopicPartition {
    table: String,
    topic: String,
    partition: i32,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfState {
    table: String,
    state: &'static str,
}

/// All families of one process; share it behind an `Arc`.
pub struct Metrics {
    registry: Registry,
    declared: Vec<Declared>,
    records: Family<OfTable, Counter>,
    bytes: Family<OfTable, Counter>,
    rows: Family<OfTable, Counter>,
    rejects: Family<OfCode, Counter>,
    skipped: Family<OfTable, Counter>,
    commit_seconds: Family<OfTable, Histogram>,
    commit_conflicts: Family<OfTable, Counter>,
    files_written: Family<OfTable, Counter>,
    bytes_written: Family<OfTable, Counter>,
    live_files: Family<OfTable, Gauge>,
    live_bytes: Family<OfTable, Gauge>,
    debt_files: Family<OfTable, Gauge>,
    debt_bytes: Family<OfTable, Gauge>,
    compacted_files: Family<OfTable, Counter>,
    compacted_bytes: Family<OfTable, Counter>,
    compactions_dropped: Family<OfTable, Counter>,
    checkpoint_version: Family<OfTable, Gauge>,
    deleted_objects: Family<OfTask, Counter>,
    maintenance_failures: Family<OfTask, Counter>,
    lag_records: Family<OfTopicPartition, Gauge>,
    freshness_seconds: Family<OfTable, Seconds>,
    since_commit_seconds: Family<OfTable, Seconds>,
    state: Family<OfState, Gauge>,
    memory_used_bytes: Gauge,
    memory_limit_bytes: Gauge,
    rebalances: Counter,
}

#[derive(Debug)]
struct Declared {
    name: String,
    kind: &'static str,
    labels: &'static str,
    help: &'static str,
}

/// Registers families and remembers how they were declared, for the reference page.
struct Declare {
    registry: Registry,
    declared: Vec<Declared>,
}

impl Declare {
    fn counter<M: Metric + Clone + Default>(
        &mut self,
        name: &str,
        labels: &'static str,
        help: &'static str,
    ) -> M {
        let metric = M::default();
        self.register(name, &metric, help);
        self.declared.push(Declared {
            name: format!("lakeward_{name}_total"),
            kind: "counter",
            labels,
            help,
        });
        metric
    }

    fn gauge<M: Metric + Clone + Default>(
        &mut self,
        name: &str,
        labels: &'static str,
        help: &'static str,
    ) -> M {
        let metric = M::default();
        self.register(name, &metric, help);
        self.declared.push(Declared {
            name: format!("lakeward_{name}"),
            kind: "gauge",
            labels,
            help,
        });
        metric
    }

    fn histogram(
        &mut self,
        name: &str,
        labels: &'static str,
        help: &'static str,
    ) -> Family<OfTable, Histogram> {
        // 5 ms (a local commit) to 80 s (a store in trouble).
        let metric = Family::<OfTable, Histogram>::new_with_constructor(|| {
            Histogram::new(exponential_buckets(0.005, 2.0, 15))
        });
        self.register(name, &metric, help);
        self.declared.push(Declared {
            name: format!("lakeward_{name}"),
            kind: "histogram",
            labels,
            help,
        });
        metric
    }

    fn register<M: Metric + Clone>(&mut self, name: &str, metric: &M, help: &'static str) {
        // The encoder puts the final dot.
        self.registry
            .register(name, help.trim_end_matches('.'), metric.clone());
    }
}

impl Metrics {
    /// Declares every family; `name` is the config's and becomes the label `name` of each.
    pub fn new(name: &str) -> Self {
        let labels = [("name".into(), name.to_owned().into())];
        let mut declare = Declare {
            registry: Registry::with_prefix_and_labels("lakeward", labels.into_iter()),
            declared: Vec::new(),
        };
        Metrics {
            records: declare.counter("records", "table", "Records read from Kafka; what is read again after a rewind counts again."),
            bytes: declare.counter("bytes", "table", "Bytes of keys, values and headers read from Kafka."),
            rows: declare.counter("rows", "table", "Rows committed to the table."),
            rejects: declare.counter("rejects", "table, code", "Records that could not be decoded, by what is wrong with them."),
            skipped: declare.counter("skipped", "table", "Records left out by a declared rule, such as tombstones."),
            commit_seconds: declare.histogram("commit_seconds", "table", "Time from the first attempt of a commit to its outcome."),
            commit_conflicts: declare.counter("commit_conflicts", "table", "Commits that lost a race for their table version and were tried again or dropped."),
            files_written: declare.counter("files_written", "table", "Data files uploaded."),
            bytes_written: declare.counter("bytes_written", "table", "Bytes of data files uploaded."),
            live_files: declare.gauge("table_files", "table", "Live data files, as of the last look of maintenance."),
            live_bytes: declare.gauge("table_size_bytes", "table", "Bytes of live data files, as of the last look of maintenance."),
            debt_files: declare.gauge("compaction_debt_files", "table", "Files more than the same bytes would need at the target size."),
            debt_bytes: declare.gauge("compaction_debt_bytes", "table", "Bytes that are worth merging and not merged yet."),
            compacted_files: declare.counter("compacted_files", "table", "Files that were merged into others."),
            compacted_bytes: declare.counter("compacted_bytes", "table", "Bytes of files that were merged into others."),
            compactions_dropped: declare.counter("compactions_dropped", "table", "Merges that were dropped and planned anew because a file was touched meanwhile."),
            checkpoint_version: declare.gauge("checkpoint_version", "table", "The table version of the newest checkpoint that this process wrote and proved."),
            deleted_objects: declare.counter("deleted_objects", "table, task", "Objects deleted by clean-log and by vacuum."),
            maintenance_failures: declare.counter("maintenance_failures", "table, task", "Tasks of maintenance that failed; ingest goes on."),
            lag_records: declare.gauge("lag_records", "table, topic, partition", "Offsets between what is committed to the table and the end of the topic partition, for those that this process owns."),
            freshness_seconds: declare.gauge("table_freshness_seconds", "table", "Age of the newest moment up to which every topic partition of the table is committed."),
            since_commit_seconds: declare.gauge("since_last_commit_seconds", "table", "Time since this process last committed to the table."),
            state: declare.gauge("table_state", "table, state", "1 for the state the table is in (starting, running, paused, suspended), 0 for the others."),
            memory_used_bytes: declare.gauge("memory_used_bytes", "", "Bytes under permit of `limits.memory`."),
            memory_limit_bytes: declare.gauge("memory_limit_bytes", "", "`limits.memory`."),
            rebalances: declare.counter("rebalances", "", "Assignments and revocations by the consumer group."),
            registry: declare.registry,
            declared: declare.declared,
        }
    }

    /// The handles that one table's stages count with; resolve once, not per batch.
    pub fn table(&self, table: &str) -> TableMetrics {
        let label = OfTable {
            table: table.to_owned(),
        };
        TableMetrics {
            table: table.to_owned(),
            records: self.records.get_or_create_owned(&label),
            bytes: self.bytes.get_or_create_owned(&label),
            rows: self.rows.get_or_create_owned(&label),
            rejects: self.rejects.clone(),
            skipped: self.skipped.get_or_create_owned(&label),
            commit_seconds: self.commit_seconds.get_or_create_owned(&label),
            commit_conflicts: self.commit_conflicts.get_or_create_owned(&label),
            files_written: self.files_written.get_or_create_owned(&label),
            bytes_written: self.bytes_written.get_or_create_owned(&label),
        }
    }

    /// The handles that one table's maintenance counts with.
    pub fn upkeep(&self, table: &str) -> UpkeepMetrics {
        let label = OfTable {
            table: table.to_owned(),
        };
        UpkeepMetrics {
            table: table.to_owned(),
            live_files: self.live_files.get_or_create_owned(&label),
            live_bytes: self.live_bytes.get_or_create_owned(&label),
            debt_files: self.debt_files.get_or_create_owned(&label),
            debt_bytes: self.debt_bytes.get_or_create_owned(&label),
            compacted_files: self.compacted_files.get_or_create_owned(&label),
            compacted_bytes: self.compacted_bytes.get_or_create_owned(&label),
            compactions_dropped: self.compactions_dropped.get_or_create_owned(&label),
            checkpoint_version: self.checkpoint_version.get_or_create_owned(&label),
            deleted_objects: self.deleted_objects.clone(),
            failures: self.maintenance_failures.clone(),
        }
    }

    /// The group assigned or revoked topic partitions.
    pub fn rebalanced(&self) {
        self.rebalances.inc();
    }

    /// Sets what only the moment of asking can know. Lags not given again are gone: another process owns their topic partitions.
    pub fn observe(&self, moment: &Moment) {
        self.memory_used_bytes
            .set(i64::try_from(moment.memory_used_bytes).unwrap_or(i64::MAX));
        self.memory_limit_bytes
            .set(i64::try_from(moment.memory_limit_bytes).unwrap_or(i64::MAX));
        self.lag_records.clear();
        for table in &moment.tables {
            let label = OfTable {
                table: table.name.clone(),
            };
            for state in ["starting", "running", "paused", "suspended"] {
                self.state
                    .get_or_create(&OfState {
                        table: table.name.clone(),
                        state,
                    })
                    .set(i64::from(state == table.state));
            }
            if let Some(age) = table.freshness {
                self.freshness_seconds
                    .get_or_create(&label)
                    .set(age.as_secs_f64());
            }
            if let Some(age) = table.since_last_commit {
                self.since_commit_seconds
                    .get_or_create(&label)
                    .set(age.as_secs_f64());
            }
            for lag in &table.lags {
                let label = OfTopicPartition {
                    table: table.name.clone(),
                    topic: lag.topic.clone(),
                    partition: lag.partition,
                };
                self.lag_records.get_or_create(&label).set(lag.records);
            }
        }
    }

    /// Everything, as `CONTENT_TYPE`.
    pub fn encode(&self) -> Result<String, fmt::Error> {
        let mut page = String::new();
        text::encode(&mut page, &self.registry)?;
        Ok(page)
    }

    /// The page of `lakeward reference metrics`, from the same declarations.
    pub fn reference_markdown(&self) -> String {
        let mut page = String::from(
            "# Metrics\n\nServed on `/metrics`. Every family also carries the label `name`, the config's `name`.\n\n| family | type | labels | meaning |\n|---|---|---|---|\n",
        );
        for family in &self.declared {
            page.push_str(&format!(
                "| `{}` | {} | {} | {} |\n",
                family.name, family.kind, family.labels, family.help
            ));
        }
        page
    }
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metrics")
            .field("families", &self.declared.len())
            .finish_non_exhaustive()
    }
}

/// One table's counters. Every call is a few atomic adds (`rejected` also looks up its code): call per batch or commit, never per record.
#[derive(Debug, Clone)]
pub struct TableMetrics {
    table: String,
    records: Counter,
    bytes: Counter,
    rows: Counter,
    rejects: Family<OfCode, Counter>,
    skipped: Counter,
    commit_seconds: Histogram,
    commit_conflicts: Counter,
    files_written: Counter,
    bytes_written: Counter,
}

impl TableMetrics {
    /// A batch was read from Kafka.
    pub fn read(&self, records: u64, bytes: u64) {
        self.records.inc_by(records);
        self.bytes.inc_by(bytes);
    }

    /// A commit is in the table.
    pub fn committed(&self, rows: u64, skipped: u64) {
        self.rows.inc_by(rows);
        self.skipped.inc_by(skipped);
    }

    /// Records could not be decoded; `code` is `Reject::code`.
    pub fn rejected(&self, code: &str, records: u64) {
        self.rejects
            .get_or_create(&OfCode {
                table: self.table.clone(),
                code: code.to_owned(),
            })
            .inc_by(records);
    }

    /// How long a commit took, whatever its outcome.
    pub fn commit_took(&self, duration: Duration) {
        self.commit_seconds.observe(duration.as_secs_f64());
    }

    /// A commit lost a race.
    pub fn conflicted(&self) {
        self.commit_conflicts.inc();
    }

    /// Data files were uploaded.
    pub fn written(&self, files: u64, bytes: u64) {
        self.files_written.inc_by(files);
        self.bytes_written.inc_by(bytes);
    }
}

/// One table's counters of maintenance.
#[derive(Debug, Clone)]
pub struct UpkeepMetrics {
    table: String,
    live_files: Gauge,
    live_bytes: Gauge,
    debt_files: Gauge,
    debt_bytes: Gauge,
    compacted_files: Counter,
    compacted_bytes: Counter,
    compactions_dropped: Counter,
    checkpoint_version: Gauge,
    deleted_objects: Family<OfTask, Counter>,
    failures: Family<OfTask, Counter>,
}

impl UpkeepMetrics {
    /// What the table's files are like.
    pub fn observed(&self, files: u64, bytes: u64, debt_files: u64, debt_bytes: u64) {
        let to_i64 = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
        self.live_files.set(to_i64(files));
        self.live_bytes.set(to_i64(bytes));
        self.debt_files.set(to_i64(debt_files));
        self.debt_bytes.set(to_i64(debt_bytes));
    }

    /// Files were merged, or merges dropped.
    pub fn compacted(&self, files: u64, bytes: u64, dropped: u64) {
        self.compacted_files.inc_by(files);
        self.compacted_bytes.inc_by(bytes);
        self.compactions_dropped.inc_by(dropped);
    }

    /// A checkpoint was written.
    pub fn checkpointed(&self, version: u64) {
        self.checkpoint_version
            .set(i64::try_from(version).unwrap_or(i64::MAX));
    }

    /// Objects were deleted.
    pub fn deleted(&self, task: &'static str, objects: u64) {
        self.deleted_objects
            .get_or_create(&self.of(task))
            .inc_by(objects);
    }

    /// A task failed.
    pub fn failed(&self, task: &'static str) {
        self.failures.get_or_create(&self.of(task)).inc();
    }

    fn of(&self, task: &'static str) -> OfTask {
        OfTask {
            table: self.table.clone(),
            task,
        }
    }
}

/// What is true at the moment of asking.
#[derive(Debug, Clone, Default)]
pub struct Moment {
    /// Bytes under permit.
    pub memory_used_bytes: u64,
    /// The limit of permits.
    pub memory_limit_bytes: u64,
    /// The tables.
    pub tables: Vec<TableMoment>,
}

/// One table at the moment of asking.
#[derive(Debug, Clone)]
pub struct TableMoment {
    /// Its name.
    pub name: String,
    /// `starting`, `running` or `suspended`.
    pub state: &'static str,
    /// The age of the moment up to which it is complete.
    pub freshness: Option<Duration>,
    /// The age of its last commit.
    pub since_last_commit: Option<Duration>,
    /// By topic partition.
    pub lags: Vec<Lag>,
}

/// How far a table is behind one topic partition.
#[derive(Debug, Clone)]
pub struct Lag {
    /// The topic.
    pub topic: String,
    /// The number of the topic partition.
    pub partition: i32,
    /// Offsets between committed and end.
    pub records: i64,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn used() -> Metrics {
        let metrics = Metrics::new("shop");
        let table = metrics.table("orders");
        table.read(10, 1000);
        table.committed(8, 1);
        table.rejected("truncated", 1);
        table.commit_took(Duration::from_millis(12));
        table.conflicted();
        table.written(2, 4096);
        let upkeep = metrics.upkeep("orders");
        upkeep.observed(100, 1000, 99, 500);
        upkeep.compacted(8, 800, 1);
        upkeep.checkpointed(7);
        upkeep.deleted("vacuum", 3);
        upkeep.failed("vacuum");
        metrics.rebalanced();
        metrics.observe(&Moment {
            memory_used_bytes: 5,
            memory_limit_bytes: 9,
            tables: vec![TableMoment {
                name: "orders".into(),
                state: "running",
                freshness: Some(Duration::from_millis(1500)),
                since_last_commit: Some(Duration::from_secs(2)),
                lags: vec![Lag {
                    topic: "shop.orders".into(),
                    partition: 3,
                    records: 7,
                }],
            }],
        });
        metrics
    }

    #[test]
    fn every_family_is_served_and_has_a_line_of_its_own_in_the_reference() {
        let metrics = used();
        let (served, reference) = (metrics.encode().unwrap(), metrics.reference_markdown());
        for line in served.lines().filter(|line| line.starts_with("# TYPE ")) {
            let name = line.split(' ').nth(2).unwrap();
            let documented = reference.contains(&format!("| `{name}` |"))
                || reference.contains(&format!("| `{name}_total` |"));
            assert!(documented, "{name} is not documented");
        }
        for family in &metrics.declared {
            assert!(
                served.contains(&family.name),
                "{} is not served",
                family.name
            );
            assert!(
                family.help.ends_with('.') && family.help.len() > 5,
                "{} says nothing",
                family.name
            );
        }
    }

    #[test]
    fn values_carry_their_labels() {
        let served = used().encode().unwrap();
        for line in [
            "lakeward_rows_total{name=\"shop\",table=\"orders\"} 8",
            "lakeward_rejects_total{name=\"shop\",table=\"orders\",code=\"truncated\"} 1",
            "lakeward_lag_records{name=\"shop\",table=\"orders\",topic=\"shop.orders\",partition=\"3\"} 7",
            "lakeward_compaction_debt_files{name=\"shop\",table=\"orders\"} 99",
            "lakeward_deleted_objects_total{name=\"shop\",table=\"orders\",task=\"vacuum\"} 3",
            "lakeward_table_freshness_seconds{name=\"shop\",table=\"orders\"} 1.5",
            "lakeward_table_state{name=\"shop\",table=\"orders\",state=\"running\"} 1",
            "lakeward_table_state{name=\"shop\",table=\"orders\",state=\"suspended\"} 0",
            "lakeward_memory_limit_bytes{name=\"shop\"} 9",
            "lakeward_commit_seconds_count{name=\"shop\",table=\"orders\"} 1",
        ] {
            assert!(
                served.lines().any(|served| served == line),
                "{line} is not in\n{served}"
            );
        }
    }

    #[test]
    fn the_lag_of_a_topic_partition_that_moved_away_is_gone() {
        let metrics = used();
        metrics.observe(&Moment::default());
        assert!(!metrics.encode().unwrap().contains("lakeward_lag_records{"));
    }

    #[test]
    fn the_reference_page_is_as_agreed() {
        let page = Metrics::new("x").reference_markdown();
        if page != include_str!("../integration/offline/golden/metrics.md") {
            std::fs::write("integration/offline/golden/metrics.md", page).unwrap();
            panic!(
                "golden/metrics.md was stale and is rewritten; look at the change and run again"
            );
        }
    }
}
