//! What must hold, judged naively: reads the log's JSON and the Parquet files in its own way, shares nothing with the product, and is slow on purpose. Owns the promise:
//! every record exactly once, spans that tile, txns that never go down.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use arrow::array::{Array as _, AsArray as _};
use arrow::datatypes::{Int32Type, Int64Type};
use bytes::Bytes;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use serde_json::Value;

use crate::testing::broker::{LogLife, Logged};

/// What Kafka has and had: by topic partition, the log between its truncations, the last one as it is now.
pub(super) type Kafka = BTreeMap<i32, Vec<LogLife>>;

/// Rejected records by topic partition, offset and value.
pub(super) type Rejected = BTreeSet<(i32, i64, String)>;

/// One incarnation of a topic partition, as the table has it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Life {
    start: i64,
    end: i64,
    /// The leader epoch of its last record, and the offset after that; before there is one, what is said of the log below.
    tail: Option<(i64, i64)>,
}

/// What the log says.
#[derive(Debug, Default)]
pub(super) struct Table {
    /// The next offset by topic partition.
    pub(super) offsets: BTreeMap<i32, i64>,
    /// By topic partition and incarnation.
    pub(super) lives: BTreeMap<(i32, u32), Life>,
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
#[expect(
    clippy::too_many_lines,
    reason = "naive on purpose, to be read from top to bottom"
)]
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
        let number = i32::try_from(number).unwrap();
        table.offsets.insert(number, end);
        let incarnation = u32::try_from(span["incarnation"].as_u64().unwrap()).unwrap();
        let newest = table.lives.range(..=(number, u32::MAX)).next_back();
        if newest.map(|(at, _)| *at) != Some((number, incarnation)) {
            return Err(format!(
                "version {version} moves incarnation {incarnation} of {number}, which is over (OFF-3)"
            ));
        }
        if let Some(life) = table.lives.get_mut(&(number, incarnation)) {
            life.end = end;
        }
    }
    for (app, txn) in &moved {
        let before = table.txns.get(app).copied();
        let Some(rest) = app.strip_prefix("lakeward/") else {
            continue;
        };
        let parts: Vec<&str> = rest.split('/').collect();
        match parts.as_slice() {
            [outbox, ..] if outbox.starts_with("outbox") => {
                if before.is_some_and(|before| before >= *txn) {
                    return Err(format!(
                        "version {version} moves {app} from {before:?} to {txn} (DLQ-1)"
                    ));
                }
            }
            [topic, incarnation, number] => {
                if let Some(before) = before {
                    return Err(format!(
                        "version {version} moves {app} from {before} to {txn} without a span (OFF-3)"
                    ));
                }
                let number = number.parse().unwrap();
                assert_eq!(*topic, "events");
                table.offsets.insert(number, *txn);
                let life = Life {
                    start: *txn,
                    end: *txn,
                    tail: None,
                };
                table
                    .lives
                    .insert((number, incarnation.parse().unwrap()), life);
            }
            [_, incarnation, number, "leader_epoch"] => {
                let at = (number.parse().unwrap(), incarnation.parse().unwrap());
                let tail = (*txn, moved.get(&format!("{app}_end")).copied());
                see_tail(table, version, at, tail)?;
            }
            [_, _, _, "leader_epoch_end"]
                if moved.contains_key(app.strip_suffix("_end").unwrap()) => {}
            _ => return Err(format!("version {version} moves {app} to {txn} (OFF-6)")),
        }
    }
    table.txns.extend(moved);
    Ok(())
}

/// The last record's leader epoch and end come with a span that has that record, and never go back.
fn see_tail(
    table: &mut Table,
    version: u64,
    at: (i32, u32),
    tail: (i64, Option<i64>),
) -> Result<(), String> {
    let life = table.lives.get_mut(&at);
    let (leader_epoch, Some(end)) = tail else {
        return Err(format!(
            "version {version} has half a tail of {at:?} (OFF-6)"
        ));
    };
    match life {
        Some(life)
            if end <= life.end
                && life
                    .tail
                    .is_none_or(|before| before.0 <= leader_epoch && before.1 < end) =>
        {
            life.tail = Some((leader_epoch, end));
            Ok(())
        }
        life => Err(format!(
            "version {version} says that {at:?} ends at {end} under {leader_epoch}, but it is {life:?} (OFF-7)"
        )),
    }
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
) -> Result<Rejected, String> {
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
            let values = column("_kafka_value");
            for row in 0..batch.num_rows() {
                let at = (
                    numbers.as_primitive::<Int32Type>().value(row),
                    offsets.as_primitive::<Int64Type>().value(row),
                    String::from_utf8(values.as_binary::<i32>().value(row).to_vec()).unwrap(),
                );
                if let Some(at) = found.replace(at) {
                    return Err(format!(
                        "the rejected record at {at:?} is there twice (DLQ-1)"
                    ));
                }
            }
        }
    }
    Ok(found)
}

/// Every record that was read is in the table exactly once, as it was produced, and nothing else is: each incarnation is a piece of one log that there was, and goes on where
/// the last one parts from its successor. `is_settled`: the last one is the log that there is. Answers with the number of rows.
#[expect(
    clippy::too_many_lines,
    reason = "naive on purpose, to be read from top to bottom"
)]
pub(super) fn judge(
    table: &Table,
    file: impl Fn(&str) -> Option<Bytes>,
    kafka: &Kafka,
    mut rejected: Rejected,
    is_settled: bool,
) -> Result<u64, String> {
    let mut found = BTreeSet::new();
    let ours = table.live.iter();
    let ours = ours.filter(|(path, _)| !path.starts_with("foreign-"));
    for (path, add) in ours {
        let bytes =
            file(path).ok_or_else(|| format!("{path} is live but not in the store (FILE-1)"))?;
        let before = found.len();
        read_rows(bytes, &mut found)?;
        let stats: Value = serde_json::from_str(add["stats"].as_str().unwrap()).unwrap();
        if stats["numRecords"].as_u64() != Some((found.len() - before) as u64) {
            return Err(format!(
                "{path} holds {} rows, its statistics say {stats} (STAT-1)",
                found.len() - before
            ));
        }
    }
    let rows = found.len() as u64;
    for (number, logs) in kafka {
        let lives: Vec<(u32, Life)> = table
            .lives
            .range((*number, 0)..=(*number, u32::MAX))
            .map(|((_, incarnation), life)| (*incarnation, *life))
            .collect();
        // The incarnation before, its log, and how far that was read.
        let mut former: Option<(Life, &LogLife, i64)> = None;
        for (index, (incarnation, life)) in lives.iter().enumerate() {
            let name = format!(
                "incarnation {incarnation} of topic partition {number}, [{}, {}),",
                life.start, life.end
            );
            // Only a log that came later can have come next.
            let first = former.map_or(0, |(_, log, _)| {
                logs.iter().position(|it| std::ptr::eq(it, log)).unwrap()
            });
            let is_last = index + 1 == lives.len();
            let first = if is_last && is_settled {
                logs.len() - 1
            } else {
                first
            };
            let mut reasons = Vec::new();
            let found_in = (first..logs.len()).find(|it| {
                let (log, later) = (&logs[*it], &logs[it + 1..]);
                let reason = differs(*number, life, log, later, (&found, &rejected));
                let is_it = reason.is_none();
                reasons.extend(reason);
                is_it
            });
            let Some(at) = found_in else {
                return Err(format!("{name} is no log that there was: {reasons:?}"));
            };
            let log = &logs[at];
            if let Some((before, of, read)) = former
                && (before.end < life.start
                    || log
                        .records
                        .range(read.min(life.start)..life.start)
                        .next()
                        .is_some()
                    || of
                        .records
                        .range(..life.start)
                        .ne(log.records.range(..life.start)))
            {
                return Err(format!(
                    "{name} does not begin where its log parts from that of {before:?} (OFF-7)"
                ));
            }
            let end = end_in(life, log, &logs[at + 1..]);
            for (offset, logged) in log.records.range(life.start..end) {
                match Expected::of(logged) {
                    Expected::Row(id) => found.remove(&(*number, *offset, id)),
                    Expected::Reject(value) => rejected.remove(&(*number, *offset, value)),
                    Expected::Nothing => true,
                };
            }
            former = Some((*life, log, end));
        }
    }
    if let Some(at) = found.first() {
        return Err(format!(
            "the row at {at:?} has no record below the offset, {} such rows",
            found.len()
        ));
    }
    if let Some(at) = rejected.first() {
        return Err(format!(
            "the rejected record at {at:?} lies above the offsets, or is there twice (DLQ-1)"
        ));
    }
    Ok(rows)
}

/// Adds a file's rows as (topic partition, offset, id); none twice.
fn read_rows(bytes: Bytes, found: &mut BTreeSet<(i32, i64, i64)>) -> Result<(), String> {
    let reader = ParquetRecordBatchReaderBuilder::try_new(bytes).unwrap();
    for batch in reader.build().unwrap() {
        let batch = batch.unwrap();
        let column = |name: &str| Arc::clone(batch.column_by_name(name).unwrap());
        let (ids, numbers) = (column("id"), column("_kafka_partition"));
        let offsets = column("_kafka_offset");
        // A life that declares an int makes the table with one.
        let id = |row: usize| match ids.as_primitive_opt::<Int64Type>() {
            Some(ids) => ids.value(row),
            None => i64::from(ids.as_primitive::<Int32Type>().value(row)),
        };
        for row in 0..batch.num_rows() {
            assert!(!ids.is_null(row));
            let at = (
                numbers.as_primitive::<Int32Type>().value(row),
                offsets.as_primitive::<Int64Type>().value(row),
                id(row),
            );
            if !found.insert(at) {
                return Err(format!("the record at {at:?} is in the table twice"));
            }
        }
    }
    Ok(())
}

/// What the table must have of a record.
enum Expected {
    Row(i64),
    Reject(String),
    Nothing,
}

impl Expected {
    fn of(logged: &Logged) -> Expected {
        let Some(value) = &logged.value else {
            return Expected::Nothing;
        };
        let parsed: Value = serde_json::from_str(value).unwrap();
        parsed["id"]
            .as_i64()
            .map_or_else(|| Expected::Reject(value.clone()), Expected::Row)
    }
}

/// How far this log was read. Behind the last record, offsets without one may be those of logs that came `later`, of one after the other: they bring no record, so nothing
/// tells whose they are; and the incarnation that follows begins below them, where the logs part.
fn end_in(life: &Life, log: &LogLife, later: &[LogLife]) -> i64 {
    let read = life.tail.map_or(life.start, |(_, end)| end);
    // Up to where a reader that stands there meets no record.
    let none_up_to = |at: i64, log: &LogLife| {
        let next = log.records.range(at..).next();
        next.map_or(log.end, |(offset, _)| *offset).max(at)
    };
    let alone = none_up_to(read, log);
    if alone < life.end && later.iter().fold(alone, none_up_to) >= life.end {
        read
    } else {
        life.end
    }
}

/// What the table does not have of a piece of this log, or says of it wrongly.
fn differs(
    number: i32,
    life: &Life,
    log: &LogLife,
    later: &[LogLife],
    (found, rejected): (&BTreeSet<(i32, i64, i64)>, &Rejected),
) -> Option<String> {
    let end = end_in(life, log, later);
    if end > log.end {
        return Some(format!(
            "it is committed to {end}, its log ends at {}",
            log.end
        ));
    }
    for (offset, logged) in log.records.range(life.start..end) {
        let is_there = match Expected::of(logged) {
            Expected::Row(id) => found.contains(&(number, *offset, id)),
            Expected::Reject(value) => rejected.contains(&(number, *offset, value)),
            Expected::Nothing => true,
        };
        if !is_there {
            return Some(format!(
                "the record at {offset} is {logged:?}, which is not in the table"
            ));
        }
    }
    let last = log.records.range(life.start..end).next_back();
    let last = last.map(|(offset, logged)| (i64::from(logged.leader_epoch), offset + 1));
    let tail = life.tail.filter(|(_, end)| *end > life.start);
    (last != tail).then(|| format!("its last record is {last:?}, the txns say {tail:?}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A log that has records at these offsets, under these leader epochs, and ends there.
    fn log(records: &[(i64, i32)], end: i64) -> LogLife {
        let logged = |(offset, leader_epoch): &(i64, i32)| {
            let logged = Logged {
                leader_epoch: *leader_epoch,
                value: None,
            };
            (*offset, logged)
        };
        LogLife {
            records: records.iter().map(logged).collect(),
            end,
        }
    }

    /// What is said of incarnations 0 and 1, which are (start, end, last record's leader epoch and end), over logs that only have tombstones.
    fn judged(lives: [(i64, i64, (i64, i64)); 2], logs: Vec<LogLife>) -> Result<u64, String> {
        let life = |(start, end, tail)| Life {
            start,
            end,
            tail: Some(tail),
        };
        let table = Table {
            lives: (0..)
                .zip(lives)
                .map(|(incarnation, it)| ((0, incarnation), life(it)))
                .collect(),
            ..Table::default()
        };
        let kafka = BTreeMap::from([(0, logs)]);
        judge(&table, |_| None, &kafka, Rejected::new(), true)
    }

    #[test]
    fn offsets_without_a_record_may_be_those_of_two_logs_in_turn() {
        let first = log(&[(0, 0), (5, 0)], 7);
        let second = log(&[(0, 0), (2, 1), (6, 1), (8, 1)], 9);
        let read_second = (2, 9, (1, 9));
        // Offset 6 was read of the first log, where it is no record, offset 7 of the second.
        let of_both = [(0, 8, (0, 6)), read_second];
        assert_eq!(judged(of_both, vec![first.clone(), second.clone()]), Ok(0));
        // Offset 8 is a record of the only log that has it.
        let too_far = [(0, 9, (0, 6)), read_second];
        let reason = judged(too_far, vec![first.clone(), second.clone()]).unwrap_err();
        assert!(reason.contains("no log that there was"), "{reason}");
        // The next incarnation begins where the logs part, not behind it.
        let begins_late = [(0, 8, (0, 6)), (3, 9, (1, 9))];
        let reason = judged(begins_late, vec![first, second]).unwrap_err();
        assert!(reason.contains("OFF-7"), "{reason}");
    }

    #[test]
    fn a_record_behind_what_was_read_of_its_log_is_not_left_out() {
        // Nobody read the record at 6; the second log had none there, and the third has it again.
        let first = log(&[(0, 0), (5, 0), (6, 0)], 7);
        let second = log(&[(0, 0), (5, 0)], 8);
        let third = log(&[(0, 0), (5, 0), (6, 0), (8, 2)], 9);
        let lives = [(0, 8, (0, 6)), (8, 9, (2, 9))];
        let reason = judged(lives, vec![first, second, third]).unwrap_err();
        assert!(reason.contains("OFF-7"), "{reason}");
    }
}
