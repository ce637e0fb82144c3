//! Tables made by hand, each with one thing wrong: the audit must name it, and nothing when all is well.

use std::collections::BTreeMap;
use std::fs;
use std::sync::Arc;
use std::time::Duration;

use arrow::array::{ArrayRef, Int32Array, Int64Array, RecordBatch, StringArray, StructArray};
use arrow::datatypes::{DataType, Field, Fields, Schema};
use object_store::ObjectStore;
use object_store::local::LocalFileSystem;
use parquet::arrow::ArrowWriter;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::report::Kind;
use super::*;
use crate::clock::Clock;
use crate::config::settings;
use crate::ops::demo::broker::{Broker, TOPIC};

/// A table in a folder of its own, grown commit by commit.
struct Handmade {
    folder: TempDir,
    version: u64,
}

impl Handmade {
    /// Version 0 names topic partitions 0 and 1, both from offset 0.
    fn new() -> Self {
        let table = Handmade {
            folder: tempfile::tempdir().unwrap(),
            version: 0,
        };
        fs::create_dir(table.folder.path().join("_delta_log")).unwrap();
        table.write(&[
            json!({"commitInfo": {"operation": "CREATE TABLE", "lakeward": {"name": "shop", "spans": []}}}),
            json!({"protocol": {"minReaderVersion": 1, "minWriterVersion": 2}}),
            json!({"metaData": {"id": "a", "schemaString": "{}", "partitionColumns": [], "configuration": {}}}),
            txn(0, 0),
            txn(1, 0),
        ]);
        table
    }

    fn write(&self, actions: &[Value]) {
        let lines: Vec<String> = actions.iter().map(Value::to_string).collect();
        fs::write(self.log(self.version, "json"), lines.join("\n")).unwrap();
    }

    fn log(&self, version: u64, ending: &str) -> std::path::PathBuf {
        let name = format!("_delta_log/{version:020}.{ending}");
        self.folder.path().join(name)
    }

    fn commit(&mut self, actions: &[Value]) {
        self.version += 1;
        self.write(actions);
    }

    /// Writes a data file with a row for each offset, and returns its `add`.
    fn file(&self, name: &str, partition: i32, offsets: &[i64]) -> Value {
        let columns: [(&str, ArrayRef); 4] = [
            ("id", Arc::new(Int64Array::from(offsets.to_vec()))),
            (
                "_kafka_topic",
                Arc::new(StringArray::from(vec![TOPIC; offsets.len()])),
            ),
            (
                "_kafka_partition",
                Arc::new(Int32Array::from(vec![partition; offsets.len()])),
            ),
            (
                "_kafka_offset",
                Arc::new(Int64Array::from(offsets.to_vec())),
            ),
        ];
        let batch = RecordBatch::try_from_iter(columns).unwrap();
        let path = self.folder.path().join(name);
        write_parquet(&path, &batch);
        let stats = json!({
            "numRecords": offsets.len(),
            "minValues": {"_kafka_offset": offsets.iter().min()},
            "maxValues": {"_kafka_offset": offsets.iter().max()},
            "nullCount": {"_kafka_offset": 0},
        });
        json!({"add": {
            "path": name, "size": fs::metadata(&path).unwrap().len(), "partitionValues": {},
            "modificationTime": 0, "dataChange": true, "stats": stats.to_string(),
        }})
    }

    /// A commit as the sink makes it: one file, its span and its txn.
    fn append(&mut self, partition: i32, start: i64, end: i64, offsets: &[i64]) -> Value {
        let name = format!("{}-{partition}-{start}.parquet", self.version);
        let add = self.file(&name, partition, offsets);
        let rows = offsets.len() as i64;
        self.commit(&[
            info(&[span(partition, start, end, rows)]),
            add.clone(),
            txn(partition, end),
        ]);
        add
    }

    fn audit_at(&self, depth: Depth<'_>) -> Report {
        let subject = Subject {
            objects: Arc::new(LocalFileSystem::new_with_prefix(self.folder.path()).unwrap()),
            prefix: "_kafka_".into(),
            rejected: self.rejected(),
        };
        block_on(audit(&subject, depth, &patience()))
            .unwrap()
            .unwrap()
            .unwrap()
    }

    /// The table of rejected records lies beside this one.
    fn rejected(&self) -> BTreeMap<String, Arc<dyn ObjectStore>> {
        let folder = self.folder.path().join("rejects");
        fs::create_dir_all(&folder).unwrap();
        let store = LocalFileSystem::new_with_prefix(&folder).unwrap();
        BTreeMap::from([(
            "rejects".to_owned(),
            Arc::new(store) as Arc<dyn ObjectStore>,
        )])
    }

    fn check_clean(&self) {
        for depth in [Depth::Log, Depth::Rows] {
            let report = self.audit_at(depth);
            assert!(report.is_clean(), "{}", report.text("orders"));
        }
    }

    /// The deep audit finds just these.
    fn check(&self, kinds: &[Kind]) {
        let report = self.audit_at(Depth::Rows);
        assert_eq!(report.kinds(), kinds, "{}", report.text("orders"));
    }
}

fn patience() -> Patience {
    Patience::new(Duration::from_secs(20), &Clock::machine())
}

fn txn(partition: i32, offset: i64) -> Value {
    json!({"txn": {"appId": format!("lakeward/{TOPIC}/0/{partition}"), "version": offset}})
}

fn span(partition: i32, start: i64, end: i64, rows: i64) -> Value {
    json!({"topic": TOPIC, "incarnation": 0, "partition": partition, "start": start, "end": end, "rows": rows, "rejects": 0, "skipped": 0, "lost": 0})
}

fn info(spans: &[Value]) -> Value {
    json!({"commitInfo": {"operation": "STREAMING UPDATE", "lakeward": {"name": "shop", "spans": spans}}})
}

fn write_parquet(path: &std::path::Path, batch: &RecordBatch) {
    let mut writer =
        ArrowWriter::try_new(fs::File::create(path).unwrap(), batch.schema(), None).unwrap();
    writer.write(batch).unwrap();
    writer.close().unwrap();
}

/// Two topic partitions, three commits, gaps inside the spans as in a compacted topic.
fn good() -> Handmade {
    let mut table = Handmade::new();
    table.append(0, 0, 5, &[0, 1, 2, 3, 4]);
    table.append(1, 0, 8, &[2, 3, 7]);
    table.append(0, 5, 9, &[6, 8]);
    table
}

#[test]
fn a_table_without_a_fault_is_clean_and_says_what_was_not_proved() {
    good().check_clean();
    let text = good().audit_at(Depth::Log).text("orders");
    assert!(
        text.contains("not proved") && text.contains("--deep"),
        "{text}"
    );
}

#[test]
fn a_missing_file_is_found_without_reading_data() {
    let table = good();
    fs::remove_file(table.folder.path().join("0-0-0.parquet")).unwrap();
    assert!(table.audit_at(Depth::Log).has(Kind::MissingFile));
    table.check(&[Kind::MissingFile, Kind::LostRow]);
}

#[test]
fn a_truncated_file_is_found_by_its_size_and_cannot_be_read() {
    let table = good();
    let path = table.folder.path().join("0-0-0.parquet");
    let bytes = fs::read(&path).unwrap();
    fs::write(&path, &bytes[..bytes.len() / 2]).unwrap();
    assert!(table.audit_at(Depth::Log).has(Kind::FileSize));
    table.check(&[Kind::FileSize, Kind::Unreadable, Kind::LostRow]);
}

#[test]
fn a_duplicated_row_is_found() {
    let mut table = good();
    let add = table.file("again.parquet", 0, &[8, 9]);
    table.commit(&[info(&[span(0, 9, 11, 2)]), add, txn(0, 11)]);
    table.check(&[Kind::DuplicateRow, Kind::LostRow]);
}

#[test]
fn a_lost_row_is_found() {
    let mut table = good();
    let mut add = table.file("short.parquet", 0, &[9, 10]);
    add["add"]["stats"] = json!("{\"numRecords\":3}");
    table.commit(&[info(&[span(0, 9, 12, 3)]), add, txn(0, 12)]);
    table.check(&[Kind::Statistics, Kind::LostRow]);
}

#[test]
fn a_row_outside_of_every_span_is_found() {
    let mut table = good();
    let add = table.file("far.parquet", 0, &[9, 99]);
    table.commit(&[info(&[span(0, 9, 11, 2)]), add, txn(0, 11)]);
    table.check(&[Kind::LostRow, Kind::StrayRow]);
}

#[test]
fn off_2_a_gap_and_an_overlap_between_spans_are_found() {
    let mut gap = good();
    gap.append(0, 11, 12, &[11]);
    gap.check(&[Kind::SpanGap]);
    let mut overlap = good();
    overlap.append(0, 7, 12, &[9, 10]);
    overlap.check(&[Kind::SpanOverlap, Kind::StrayRow]);
}

#[test]
fn off_4_offsets_that_move_without_a_span_or_a_txn_are_found() {
    let mut moved = good();
    moved.commit(&[txn(0, 20)]);
    moved.check(&[Kind::Offsets]);
    let mut stays = good();
    let add = stays.file("stays.parquet", 0, &[9]);
    stays.commit(&[info(&[span(0, 9, 10, 1)]), add]);
    stays.check(&[Kind::Offsets]);
}

#[test]
fn counts_of_a_commit_that_disagree_are_found() {
    let mut table = good();
    let add = table.file("more.parquet", 0, &[9, 10]);
    table.commit(&[info(&[span(0, 9, 12, 3)]), add, txn(0, 12)]);
    table.check(&[Kind::Counts, Kind::LostRow]);
}

#[test]
fn a_declared_hole_is_listed_and_no_finding() {
    let mut table = good();
    let mut hole = span(0, 9, 50, 0);
    hole["lost"] = json!(41);
    table.commit(&[info(&[hole]), txn(0, 50)]);
    table.append(0, 50, 51, &[50]);
    table.check_clean();
    let text = table.audit_at(Depth::Log).text("orders");
    assert!(
        text.contains("offsets [9, 50) are declared lost in version 4"),
        "{text}"
    );
}

#[test]
fn foreign_commits_are_tolerated() {
    let mut table = good();
    let mut merged = table.file("merged.parquet", 0, &[0, 1, 2, 3, 4, 6, 8]);
    merged["add"]["dataChange"] = json!(false);
    let remove = |path: &str| json!({"remove": {"path": path, "dataChange": false}});
    table.commit(&[
        json!({"commitInfo": {"operation": "OPTIMIZE"}}),
        merged,
        remove("0-0-0.parquet"),
        remove("2-0-5.parquet"),
    ]);
    table.append(0, 9, 10, &[9]);
    table.check_clean();
}

#[test]
fn rows_that_others_deleted_are_not_called_lost() {
    let mut table = good();
    table.commit(&[
        json!({"commitInfo": {"operation": "DELETE"}}),
        json!({"remove": {"path": "0-0-0.parquet", "dataChange": true}}),
    ]);
    table.check_clean();
    let text = table.audit_at(Depth::Rows).text("orders");
    assert!(text.contains("others deleted rows of this table"), "{text}");
}

#[test]
fn file_1_a_path_that_is_added_while_it_is_live_is_found() {
    let mut table = good();
    let mut again = table.file("0-0-0.parquet", 0, &[0, 1, 2, 3, 4]);
    again["add"]["dataChange"] = json!(false);
    table.commit(&[again]);
    table.check(&[Kind::AddedTwice]);
}

#[test]
fn stat_1_a_bound_that_does_not_contain_a_value_is_found() {
    let mut table = good();
    let mut add = table.file("bound.parquet", 0, &[9, 10]);
    add["add"]["stats"] = json!("{\"numRecords\":2,\"maxValues\":{\"id\":9}}");
    table.commit(&[info(&[span(0, 9, 11, 2)]), add, txn(0, 11)]);
    table.check(&[Kind::Statistics]);
}

#[test]
fn an_entry_that_cannot_be_read_is_found() {
    let mut table = good();
    table.commit(&[json!({"txn": "torn"})]);
    table.check(&[Kind::Log]);
}

/// Writes a classic checkpoint by hand, and removes the entries up to it.
fn checkpoint(table: &Handmade, adds: &[Value], txns: &[(i32, i64)]) {
    let rows = adds.len() + txns.len();
    let pad = |values: Vec<Option<String>>, before: usize| -> ArrayRef {
        let mut all = vec![None; before];
        all.extend(values);
        all.resize(rows, None);
        Arc::new(StringArray::from(all))
    };
    let numbers = |values: Vec<i64>, before: usize| -> ArrayRef {
        let mut all = vec![None; before];
        all.extend(values.into_iter().map(Some));
        all.resize(rows, None);
        Arc::new(Int64Array::from(all))
    };
    let text = |name: &str| {
        let of = |add: &Value| add["add"][name].as_str().map(str::to_owned);
        pad(adds.iter().map(of).collect(), 0)
    };
    let sizes = numbers(
        adds.iter()
            .map(|add| add["add"]["size"].as_i64().unwrap())
            .collect(),
        0,
    );
    let ids = txns
        .iter()
        .map(|(partition, _)| Some(format!("lakeward/{TOPIC}/0/{partition}")));
    let ids = pad(ids.collect(), adds.len());
    let versions = numbers(txns.iter().map(|(_, offset)| *offset).collect(), adds.len());
    let of = |columns: Vec<(&str, ArrayRef)>, valid: std::ops::Range<usize>| -> ArrayRef {
        let fields: Fields = columns
            .iter()
            .map(|(name, column)| Field::new(*name, column.data_type().clone(), true))
            .collect();
        let nulls = (0..rows)
            .map(|row| valid.contains(&row))
            .collect::<Vec<_>>();
        Arc::new(StructArray::new(
            fields,
            columns.into_iter().map(|(_, column)| column).collect(),
            Some(nulls.into()),
        ))
    };
    let adds_column = of(
        vec![
            ("path", text("path")),
            ("size", sizes),
            ("stats", text("stats")),
        ],
        0..adds.len(),
    );
    let txns_column = of(
        vec![("appId", ids), ("version", versions)],
        adds.len()..rows,
    );
    let schema = Schema::new(vec![
        Field::new("add", adds_column.data_type().clone(), true),
        Field::new("txn", txns_column.data_type().clone(), true),
    ]);
    assert!(matches!(schema.field(0).data_type(), DataType::Struct(_)));
    let batch = RecordBatch::try_new(Arc::new(schema), vec![adds_column, txns_column]).unwrap();
    write_parquet(&table.log(table.version, "checkpoint.parquet"), &batch);
    for version in 0..=table.version {
        fs::remove_file(table.log(version, "json")).unwrap();
    }
}

#[test]
fn a_checkpoint_is_the_base_when_older_entries_are_gone() {
    let mut table = Handmade::new();
    let adds = [
        table.append(0, 0, 5, &[0, 1, 2, 3, 4]),
        table.append(1, 0, 8, &[2, 3, 7]),
    ];
    checkpoint(&table, &adds, &[(0, 5), (1, 8)]);
    table.append(0, 5, 9, &[6, 8]);
    table.check_clean();
    let text = table.audit_at(Depth::Rows).text("orders");
    assert!(
        text.contains("files and offsets start from the checkpoint of version 2"),
        "{text}"
    );
    let add = table.file("again.parquet", 1, &[7, 8]);
    table.commit(&[info(&[span(1, 8, 10, 2)]), add, txn(1, 10)]);
    assert!(table.audit_at(Depth::Rows).has(Kind::DuplicateRow));
}

#[test]
fn a_hole_in_the_log_without_a_checkpoint_is_corrupt() {
    let table = good();
    fs::remove_file(table.log(1, "json")).unwrap();
    let subject = Subject {
        objects: Arc::new(LocalFileSystem::new_with_prefix(table.folder.path()).unwrap()),
        prefix: "_kafka_".into(),
        rejected: BTreeMap::new(),
    };
    let failure = block_on(audit(&subject, Depth::Log, &patience()))
        .unwrap()
        .unwrap_err();
    assert!(
        failure
            .to_string()
            .starts_with("version 1 is missing from the log"),
        "{failure}"
    );
    assert_eq!(failure.kind().exit_code(), 5);
}

/// A table over topic partitions 0 and 1 of a real (embedded) topic of ten records each, with rows for `offsets` of the first one.
fn against_topic(offsets: &[i64], rejects: u64) -> Report {
    let broker = Broker::start(40).unwrap();
    broker.produce(40, Duration::from_secs(20)).unwrap();
    let mut table = Handmade::new();
    let add = table.file("first.parquet", 0, offsets);
    let mut first = span(0, 0, 10, offsets.len() as i64);
    first["rejects"] = json!(rejects);
    table.commit(&[info(&[first]), add, txn(0, 10)]);
    table.append(1, 0, 10, &[0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
    let settings = settings::Kafka {
        bootstrap_servers: broker.bootstrap_servers(),
        group_id: "audit".into(),
        properties: BTreeMap::new(),
    };
    let kafka = Kafka::connect(&settings, &patience()).unwrap();
    table.audit_at(Depth::Topic(&kafka))
}

#[test]
fn a_record_of_the_topic_that_is_in_no_row_is_found() {
    let report = against_topic(&[0, 1, 2, 3, 4, 5, 6, 8, 9], 0);
    assert_eq!(
        report.kinds(),
        [Kind::LostRecord],
        "{}",
        report.text("orders")
    );
}

#[test]
fn a_topic_whose_records_are_rows_or_declared_rejects_is_clean() {
    let report = against_topic(&[0, 1, 2, 3, 4, 5, 6, 8, 9], 1);
    assert!(report.is_clean(), "{}", report.text("orders"));
    assert!(
        report
            .text("orders")
            .contains("20 records of the topics were read"),
        "{}",
        report.text("orders")
    );
}

/// A table of two topic partitions that rejects offset 2 of the first one; its rejected records lie in `rejects`, shown up to version `shown`.
fn rejecting(shown: i64, kept: &[i64], files: &[Value]) -> Handmade {
    let mut table = Handmade::new();
    table.rejected();
    let file = table.file("rejects/first.parquet", 0, kept);
    let add = table.file("0.parquet", 0, &[0, 1, 3]);
    let mut first = span(0, 0, 4, 3);
    first["rejects"] = json!(1);
    let named = json!({"path": "first.parquet", "size": file["add"]["size"], "rows": 1, "stats": "{}", "modificationTime": 0});
    let mut said = info(&[first]);
    said["commitInfo"]["lakeward"]["outbox"] =
        json!({"prev": null, "table": "rejects", "files": [named]});
    table.commit(&[said, add, txn(0, 4)]);
    let mut live = file;
    live["add"]["path"] = json!("first.parquet");
    let mut entry = vec![
        json!({"commitInfo": {"operation": "STREAMING UPDATE"}}),
        json!({"metaData": {"id": "rejects", "schemaString": "{}", "partitionColumns": [], "configuration": {}}}),
        json!({"txn": {"appId": "lakeward/outbox/a", "version": shown}}),
    ];
    if shown > 0 {
        entry.push(live);
    }
    entry.extend_from_slice(files);
    let log = table.folder.path().join("rejects/_delta_log");
    fs::create_dir_all(&log).unwrap();
    let lines: Vec<String> = entry.iter().map(Value::to_string).collect();
    fs::write(log.join(format!("{:020}.json", 0)), lines.join("\n")).unwrap();
    table
}

#[test]
fn dlq_1_rejects_that_are_shown_or_only_named_account_for_their_spans() {
    for (shown, waiting) in [(1, "0 of them wait"), (0, "1 of them wait")] {
        let table = rejecting(shown, &[2], &[]);
        table.check_clean();
        let text = table.audit_at(Depth::Rows).text("orders");
        assert!(
            text.contains("1 rejected records are in `rejects`, each once")
                && text.contains(waiting),
            "{text}"
        );
    }
}

#[test]
fn dlq_1_a_reject_that_is_gone_twice_or_elsewhere_is_found() {
    // Its file is there, its record is not.
    rejecting(1, &[], &[]).check(&[Kind::LostReject]);
    rejecting(1, &[2, 2], &[]).check(&[Kind::DuplicateRow]);
    // Neither its file nor its record.
    let table = rejecting(0, &[2], &[]);
    fs::remove_file(table.folder.path().join("rejects/first.parquet")).unwrap();
    table.check(&[Kind::MissingFile, Kind::LostReject]);
    rejecting(1, &[7], &[]).check(&[Kind::StrayRow, Kind::LostReject]);
}

#[test]
fn dlq_1_an_outbox_that_leaves_one_out_or_holds_too_few_is_found() {
    let mut table = rejecting(1, &[2], &[]);
    let mut said = info(&[span(1, 0, 1, 0)]);
    said["commitInfo"]["lakeward"]["outbox"] = json!({"prev": null, "table": "rejects", "files": [{"path": "x", "size": 1, "rows": 1, "stats": "{}", "modificationTime": 0}]});
    table.commit(&[said, txn(1, 1)]);
    let report = table.audit_at(Depth::Log);
    assert!(
        report.has(Kind::Log) && report.has(Kind::Counts),
        "{}",
        report.text("orders")
    );
}

#[test]
fn dlq_1_a_replay_turns_a_reject_into_a_row() {
    for (shown, waiting) in [(2, true), (1, false)] {
        let remove = json!({"remove": {"path": "first.parquet", "dataChange": true}});
        let mut table = rejecting(1, &[2], &[]);
        let add = table.file("replayed.parquet", 0, &[2]);
        let mut said = info(&[]);
        said["commitInfo"]["lakeward"]["outbox"] = json!({"prev": 1, "table": "rejects", "files": [], "replaced": [{"path": "first.parquet", "size": 1}], "replayed": [{"topic": TOPIC, "partition": 0, "ranges": [[2, 3]]}]});
        table.commit(&[said, add]);
        if waiting {
            let log = table.folder.path().join("rejects/_delta_log");
            let txn = json!({"txn": {"appId": "lakeward/outbox/a", "version": shown}});
            let text = format!("{txn}\n{remove}");
            fs::write(log.join(format!("{:020}.json", 1)), text).unwrap();
        }
        table.check_clean();
    }
}
