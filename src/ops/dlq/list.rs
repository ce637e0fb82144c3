//! `lakeward dlq list`: how many records were rejected, by code and field. Owns the counting.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::decode::RejectedRow;
use crate::ops::cli::{DlqList, Format};
use crate::ops::dlq::read::{self, Wanted};
use crate::ops::dlq::show::time;
use crate::ops::dlq::{json, table};
use crate::ops::exit::{Ending, Outcome};
use crate::ops::output::{self, thousands};
use crate::ops::waiting::Patience;
use crate::ops::wiring;

/// Fields beyond these are counted under their code alone.
const GROUPS_MAX: usize = 1000;

/// The records of one code and field.
#[derive(Debug, Clone, Serialize, PartialEq, Eq)]
struct Group {
    code: String,
    path: String,
    records: u64,
    first_failed_at: String,
    last_failed_at: String,
    example: Example,
}

/// Where one of them is.
#[derive(Debug, Clone, Serialize, PartialEq, Eq)]
struct Example {
    topic: String,
    partition: i32,
    offset: i64,
    message: String,
}

#[derive(Serialize)]
struct Answer<'a> {
    table: &'a str,
    rejected_table: &'a str,
    records: u64,
    groups: &'a [Group],
}

/// Prints the groups, the largest first.
pub(in crate::ops) fn list(request: &DlqList, patience: &Patience) -> Outcome {
    let config = wiring::known(&request.config, patience)?;
    let table = table(&config.tables, &request.table)?;
    let mut groups = BTreeMap::new();
    read::each(&config, table, patience, &mut |row| {
        count(&mut groups, row);
        Wanted::More
    })?;
    let mut groups: Vec<Group> = groups.into_values().collect();
    groups.sort_by(|one, other| {
        (other.records, &one.code, &one.path).cmp(&(one.records, &other.code, &other.path))
    });
    let records = groups.iter().map(|group| group.records).sum();
    output::line(&match request.format {
        Format::Text if groups.is_empty() => {
            format!(
                "{}  no rejected records in `{}`",
                table.name, table.errors.table
            )
        }
        Format::Text => text(&groups),
        Format::Json => json(&Answer {
            table: &table.name,
            rejected_table: &table.errors.table,
            records,
            groups: &groups,
        })?,
    });
    Ok(Ending::Done)
}

fn count(groups: &mut BTreeMap<(String, String), Group>, row: RejectedRow) {
    let failed_at = time(row.failed_at_ms);
    let mut key = (row.code.clone(), row.path.clone());
    if groups.len() >= GROUPS_MAX && !groups.contains_key(&key) {
        key.1 = "...".to_owned();
    }
    let path = key.1.clone();
    let group = groups.entry(key).or_insert_with(|| Group {
        code: row.code,
        path,
        records: 0,
        first_failed_at: failed_at.clone(),
        last_failed_at: failed_at.clone(),
        example: Example {
            topic: row.topic_partition.topic.to_string(),
            partition: row.topic_partition.number,
            offset: row.offset,
            message: row.message,
        },
    });
    group.records += 1;
    if failed_at < group.first_failed_at {
        group.first_failed_at.clone_from(&failed_at);
    }
    if failed_at > group.last_failed_at {
        group.last_failed_at = failed_at;
    }
}

fn text(groups: &[Group]) -> String {
    let cells = groups.iter().map(|group| {
        vec![
            group.code.clone(),
            group.path.clone(),
            thousands(group.records),
            group.first_failed_at.clone(),
            group.last_failed_at.clone(),
            format!(
                "{}[{}] {}",
                group.example.topic, group.example.partition, group.example.offset
            ),
        ]
    });
    output::table(
        &[
            "code",
            "field",
            "records",
            "first failed",
            "last failed",
            "example",
        ],
        &cells.collect::<Vec<_>>(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::offset::TopicPartition;

    fn row(offset: i64, code: &str, path: &str) -> RejectedRow {
        RejectedRow {
            topic_partition: TopicPartition::new("t", 1),
            offset,
            timestamp_ms: None,
            key: None,
            value: None,
            headers: None,
            schema_id: None,
            code: code.to_owned(),
            path: path.to_owned(),
            message: "no".to_owned(),
            failed_at_ms: Some(offset * 1000),
        }
    }

    #[test]
    fn records_are_counted_by_code_and_field_with_their_times() {
        let mut groups = BTreeMap::new();
        for row in [
            row(7, "truncated", ""),
            row(3, "type_mismatch", "a.b"),
            row(5, "truncated", ""),
        ] {
            count(&mut groups, row);
        }
        let group = &groups[&("truncated".to_owned(), String::new())];
        assert_eq!((group.records, group.example.offset), (2, 7));
        assert_eq!(
            (
                group.first_failed_at.as_str(),
                group.last_failed_at.as_str()
            ),
            ("1970-01-01T00:00:05.000Z", "1970-01-01T00:00:07.000Z")
        );
        assert_eq!(groups.len(), 2);
    }
}
