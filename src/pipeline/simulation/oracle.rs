//! What must hold, judged naively: reads the log's JSON and the Parquet files in its own way, shares nothing with the product, and is slow on purpose. Owns the promise:
//! every record exactly once, spans that tile, txns that never go down.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use arrow::array::{Array as _, AsArray as _};
use arrow::datatypes::{Int32Type, Int64Type};
use bytes::Bytes;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use serde_json::Value;

/// What Kafka has: by topic partition, the log's end, and the values by offset (`None`: a tombstone).
pub(super) type Kafka = BTreeMap<i32, (i64, BTreeMap<i64, Option<String>>)>;

/// What the log says.
#[derive(Debug, Default)]
pub(super) struct Table {
    /// The next offset by topic partition.
    pub(super) offsets: BTreeMap<i32, i64>,
    /// The `add`s that are live, by path.
    pub(super) live: BTreeMap<String, Value>,
    /// The version that each of our commits became.
    pub(super) commits: BTreeMap<String, u64>,
    pub(super) metadata: Value,
    pub(super) protocol: Value,
    /// Every txn by appId.
    pub(super) txns: BTreeMap<String, i64>,
    /// The files of rejected records that each version names, and how many records they hold.
    pub(super) outbox: BTreeMap<u64, Vec<(String, u64)>>,
    pub(super) versions: u64,
}

/// Reads every entry from version 0 on; `entries` may not have a hole.
pub(super) fn read(entries: &BTreeMap<u64, String>) -> Result<Table, String> {
    let mut table = Table::default();
    let mut ever = BTreeSet::new();
    for (expected, (version, text)) in (0..).zip(entries) {
        if *version != expected {
            return Err(format!(
                "the log has a hole: {version} follows {expected} - 1"
            ));
        }
        let mut spans = Vec::new();
        let mut moved = BTreeMap::new();
        let mut rewritten = Rewritten::default();
        for line in text.lines().filter(|line| !line.trim().is_empty()) {
            let action: Value = serde_json::from_str(line)
                .map_err(|error| format!("version {version}: {error}"))?;
            if let Some(info) = action.get("commitInfo") {
                rewritten.is_meant = info["operation"] == "OPTIMIZE";
                if let Some(id) = info["txnId"].as_str()
                    && table.commits.insert(id.to_owned(), *version).is_some()
                {
                    return Err(format!("commit {id} is in the log twice (COMMIT-1)"));
                }
                let outbox = &info["lakeward"]["outbox"];
                let named = outbox["files"].as_array().into_iter().flatten();
                let named: Vec<_> = named
                    .map(|it| {
                        (
                            it["path"].as_str().unwrap().to_owned(),
                            it["rows"].as_u64().unwrap(),
                        )
                    })
                    .collect();
                if !outbox.is_null() {
                    table.outbox.insert(*version, named);
                }
                spans.extend(
                    info["lakeward"]["spans"]
                        .as_array()
                        .cloned()
                        .unwrap_or_default(),
                );
            } else if let Some(txn) = action.get("txn") {
                let app = txn["appId"].as_str().unwrap().to_owned();
                moved.insert(app, txn["version"].as_i64().unwrap());
            } else if let Some(add) = action.get("add") {
                let path = add["path"].as_str().unwrap().to_owned();
                if !ever.insert(path.clone()) {
                    return Err(format!("version {version} adds {path} again (FILE-1)"));
                }
                rewritten.take(add, 1);
                table.live.insert(path, add.clone());
            } else if let Some(remove) = action.get("remove") {
                let path = remove["path"].as_str().unwrap();
                let Some(add) = table.live.remove(path) else {
                    return Err(format!(
                        "version {version} removes {path}, which is not live (COMP-2)"
                    ));
                };
                rewritten.take(&add, -1);
                rewritten.has_data_change |= remove["dataChange"] != false;
            } else if let Some(metadata) = action.get("metaData") {
                table.metadata = metadata.clone();
            } else if let Some(protocol) = action.get("protocol") {
                table.protocol = protocol.clone();
            }
        }
        rewritten.judge(*version)?;
        tile(&mut table, *version, &spans, moved)?;
        table.versions = version + 1;
    }
    Ok(table)
}

/// What a version that says OPTIMIZE does to rows: nothing (COMP-1).
#[derive(Default)]
struct Rewritten {
    is_meant: bool,
    has_data_change: bool,
    rows: i64,
}

impl Rewritten {
    fn take(&mut self, add: &Value, sign: i64) {
        let stats: Value = serde_json::from_str(add["stats"].as_str().unwrap()).unwrap();
        self.rows += sign * stats["numRecords"].as_i64().unwrap();
        self.has_data_change |= sign > 0 && add["dataChange"] != false;
    }

    fn judge(&self, version: u64) -> Result<(), String> {
        if self.is_meant && (self.rows != 0 || self.has_data_change) {
            return Err(format!(
                "version {version} rewrites files to {} rows more, data change {} (COMP-1)",
                self.rows, self.has_data_change
            ));
        }
        Ok(())
    }
}

/// The spans of a version begin where the txns stood and end where they stand now; a txn without a span begins a topic partition, once.
fn tile(
    table: &mut Table,
    version: u64,
    spans: &[Value],
    mut moved: BTreeMap<String, i64>,
) -> Result<(), String> {
    for span in spans {
        let number = span["partition"].as_i64().unwrap();
        let app = format!(
            "lakeward/{}/{}/{number}",
            span["topic"].as_str().unwrap(),
            span["incarnation"]
        );
        let (start, end) = (
            span["start"].as_i64().unwrap(),
            span["end"].as_i64().unwrap(),
        );
        let stood = table.txns.get(&app).copied();
        if stood != Some(start) {
            return Err(format!(
                "version {version} reads {app} from {start}, but it stood at {stood:?} (OFF-3)"
            ));
        }
        match moved.remove(&app) {
            Some(txn) if txn == end && end > start => {}
            other => {
                return Err(format!(
                    "version {version}: the span of {app} is [{start}, {end}), its txn {other:?}"
                ));
            }
        }
        table.txns.insert(app, end);
        table.offsets.insert(i32::try_from(number).unwrap(), end);
    }
    for (app, txn) in moved {
        let before = table.txns.insert(app.clone(), txn);
        let Some(rest) = app.strip_prefix("lakeward/") else {
            continue;
        };
        if rest.starts_with("outbox") {
            if before.is_some_and(|before| before >= txn) {
                return Err(format!(
                    "version {version} moves {app} from {before:?} to {txn} (DLQ-1)"
                ));
            }
            continue;
        }
        if let Some(before) = before {
            return Err(format!(
                "version {version} moves {app} from {before} to {txn} without a span (OFF-3)"
            ));
        }
        let number: i32 = rest.rsplit('/').next().unwrap().parse().unwrap();
        table.offsets.insert(number, txn);
    }
    Ok(())
}

/// The versions whose rejected records are not in their own table yet, with their files.
pub(super) fn unpublished(table: &Table, rejected: &Table) -> BTreeMap<u64, Vec<(String, u64)>> {
    let app = format!(
        "lakeward/outbox/{}",
        table.metadata["id"].as_str().unwrap_or("")
    );
    let shown = rejected.txns.get(&app).copied().unwrap_or(0);
    let all = table.outbox.iter();
    all.filter(|(version, _)| i64::try_from(**version).unwrap() > shown)
        .map(|(version, files)| (*version, files.clone()))
        .collect()
}

/// The coordinates of every rejected record, whether it is shown already or only named; none of them twice.
pub(super) fn rejected(
    table: &Table,
    rejected: &Table,
    file: impl Fn(&str) -> Option<Bytes>,
) -> Result<BTreeSet<(i32, i64)>, String> {
    let mut found = BTreeSet::new();
    let named = unpublished(table, rejected).into_values().flatten();
    let live = rejected.live.keys().cloned();
    for path in live.chain(named.map(|(path, _)| path)) {
        let bytes = file(&path).ok_or_else(|| format!("{path} is named but not in the store"))?;
        let reader = ParquetRecordBatchReaderBuilder::try_new(bytes).unwrap();
        for batch in reader.build().unwrap() {
            let batch = batch.unwrap();
            let column = |name: &str| Arc::clone(batch.column_by_name(name).unwrap());
            let (numbers, offsets) = (column("_kafka_partition"), column("_kafka_offset"));
            for row in 0..batch.num_rows() {
                let at = (
                    numbers.as_primitive::<Int32Type>().value(row),
                    offsets.as_primitive::<Int64Type>().value(row),
                );
                if !found.insert(at) {
                    return Err(format!(
                        "the rejected record at {at:?} is there twice (DLQ-1)"
                    ));
                }
            }
        }
    }
    Ok(found)
}

/// Every record below the table's offsets is in it exactly once, as it was produced, and nothing else is. Answers with the number of rows.
#[expect(
    clippy::too_many_lines,
    reason = "naive on purpose, to be read from top to bottom"
)]
pub(super) fn judge(
    table: &Table,
    file: impl Fn(&str) -> Option<Bytes>,
    kafka: &Kafka,
    mut rejected: BTreeSet<(i32, i64)>,
) -> Result<u64, String> {
    let mut found: BTreeMap<(i32, i64), i64> = BTreeMap::new();
    for path in table
        .live
        .keys()
        .filter(|path| !path.starts_with("foreign-"))
    {
        let bytes =
            file(path).ok_or_else(|| format!("{path} is live but not in the store (FILE-1)"))?;
        let mut rows_in_file = 0;
        for batch in ParquetRecordBatchReaderBuilder::try_new(bytes)
            .unwrap()
            .build()
            .unwrap()
        {
            let batch = batch.unwrap();
            let ids = batch
                .column_by_name("id")
                .unwrap()
                .as_primitive::<Int64Type>();
            let numbers = batch
                .column_by_name("_kafka_partition")
                .unwrap()
                .as_primitive::<Int32Type>();
            let offsets = batch
                .column_by_name("_kafka_offset")
                .unwrap()
                .as_primitive::<Int64Type>();
            for row in 0..batch.num_rows() {
                assert!(!ids.is_null(row));
                rows_in_file += 1;
                let at = (numbers.value(row), offsets.value(row));
                if found.insert(at, ids.value(row)).is_some() {
                    return Err(format!("the record at {at:?} is in the table twice"));
                }
            }
        }
        let stats: Value =
            serde_json::from_str(table.live[path]["stats"].as_str().unwrap()).unwrap();
        if stats["numRecords"].as_u64() != Some(rows_in_file) {
            return Err(format!(
                "{path} holds {rows_in_file} rows, its statistics say {stats} (STAT-1)"
            ));
        }
    }
    for (number, (end, records)) in kafka {
        let committed = table.offsets.get(number).copied().unwrap_or(0);
        if committed > *end {
            return Err(format!(
                "topic partition {number} is committed to {committed}, its log ends at {end}"
            ));
        }
        for (offset, value) in records.range(..committed) {
            let row = found.remove(&(*number, *offset));
            let id = value
                .as_ref()
                .map(|text| serde_json::from_str::<Value>(text).unwrap()["id"].clone());
            let is_bad = id.as_ref().is_some_and(|id| !id.is_i64());
            if rejected.remove(&(*number, *offset)) != is_bad {
                return Err(format!(
                    "the record at ({number}, {offset}) is {value:?}, which is {} rejected, committed to {committed} (DLQ-1)",
                    if is_bad { "not" } else { "wrongly" }
                ));
            }
            let expected: Option<i64> = id.and_then(|id| id.as_i64());
            if row != expected {
                return Err(format!(
                    "the record at ({number}, {offset}) is {expected:?}, in the table {row:?}, committed to {committed}"
                ));
            }
        }
    }
    if let Some((at, _)) = found.first_key_value() {
        return Err(format!(
            "the row at {at:?} has no record below the offset, {} such rows",
            found.len()
        ));
    }
    if let Some(at) = rejected.first() {
        return Err(format!(
            "the rejected record at {at:?} lies above the offsets (DLQ-1)"
        ));
    }
    Ok(table
        .live
        .keys()
        .filter(|path| !path.starts_with("foreign-"))
        .map(|path| {
            let stats: Value =
                serde_json::from_str(table.live[path]["stats"].as_str().unwrap()).unwrap();
            stats["numRecords"].as_u64().unwrap()
        })
        .sum())
}
