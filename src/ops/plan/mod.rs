//! `lakeward plan`: what `run` would do with each table, looked at without writing anything. Owns the answer's form for programs; looking is the pipeline's, the form for
//! people `text`'s.

mod columns;
mod sql;
mod text;

use std::collections::BTreeMap;
use std::io::IsTerminal as _;

use serde::Serialize;

use crate::config::settings::{Columns, Mask, Table};
use crate::error::Kind;
use crate::model::batch::Reject;
use crate::ops::cli::{Format, Plan};
use crate::ops::exit::{Ending, Failure, Outcome};
use crate::ops::output;
use crate::ops::plan::columns::{Change, Column};
use crate::ops::waiting::Patience;
use crate::ops::wiring;
use crate::pipeline::{self, Begin, BegunBy, Preview, Sample};

/// How many table partitions are listed; all are counted.
const PARTITIONS_LISTED: usize = 10;

/// The whole answer.
#[derive(Debug, Serialize)]
struct Answer {
    tables: Vec<TablePlan>,
}

/// What `run` would do with one table.
#[derive(Debug, Serialize)]
struct TablePlan {
    table: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    plan: Option<Planned>,
    problems: Vec<Problem>,
}

#[derive(Debug, Serialize)]
struct Planned {
    location: String,
    /// The version that was looked at.
    version: Option<u64>,
    /// What makes the table, or adds to it, in Spark's SQL.
    statement: Option<String>,
    columns: Vec<Column>,
    partition_by: Vec<String>,
    /// Columns that `columns` leaves out of the table.
    excluded: Vec<String>,
    masked: BTreeMap<String, &'static str>,
    protocol: Option<Protocol>,
    starts: Vec<StartRow>,
    sample: Option<SampleRow>,
}

#[derive(Debug, Serialize)]
struct Protocol {
    reader_version: i32,
    writer_version: i32,
    features: Vec<String>,
}

#[derive(Debug, Serialize)]
struct StartRow {
    topic: String,
    partition: i32,
    offset: i64,
    by: &'static str,
    log_start: i64,
    log_end: i64,
    to_read: i64,
}

#[derive(Debug, Serialize)]
struct SampleRow {
    records: u64,
    rows: u64,
    skipped: u64,
    rejected: u64,
    ignored_fields: u64,
    rejects: Vec<RejectRow>,
    table_partitions: Option<Partitions>,
}

#[derive(Debug, Serialize)]
struct RejectRow {
    topic: String,
    partition: i32,
    offset: i64,
    code: &'static str,
    path: String,
    message: String,
    schema_id: Option<u32>,
}

#[derive(Debug, Serialize)]
struct Partitions {
    count: usize,
    largest: Vec<Partition>,
}

#[derive(Debug, Serialize)]
struct Partition {
    values: BTreeMap<String, Option<String>>,
    rows: u64,
}

#[derive(Debug, Serialize)]
struct Problem {
    kind: &'static str,
    sentence: String,
    #[serde(skip)]
    trouble: Kind,
}

/// Prints what `run` would do.
pub(super) fn plan(request: &Plan, patience: &Patience) -> Outcome {
    let known = wiring::expanded(&wiring::config(&request.config)?, patience)?;
    let config = known.config;
    let tables = wiring::tables(&config, &[])?;
    let previews = pipeline::preview(
        &config,
        &tables,
        request.sample,
        patience.clock(),
        patience.limit(),
    );
    let previews = previews.map_err(|error| Failure::new(error.kind(), error))?;
    let planned = tables.iter().zip(previews);
    let mut planned: Vec<TablePlan> = planned
        .map(|(table, preview)| TablePlan::of(table, preview))
        .collect();
    for one in known.refused {
        let problem = Problem::of((Kind::Corrupt, one.reason));
        match planned.iter_mut().find(|it| it.table == one.table) {
            Some(table)
                if table
                    .problems
                    .iter()
                    .any(|it| it.sentence == problem.sentence) => {}
            Some(table) => table.problems.push(problem),
            None => planned.push(TablePlan::without_plan(one.table, problem)),
        }
    }
    for pattern in known.unmatched {
        let failure = wiring::no_topic(std::slice::from_ref(&pattern));
        let problem = Problem::of((failure.kind(), failure.to_string()));
        planned.push(TablePlan::without_plan(pattern, problem));
    }
    let answer = Answer { tables: planned };
    output::line(&match request.format {
        Format::Json => serde_json::to_string_pretty(&answer)
            .map_err(|error| Failure::bug(format!("cannot write JSON: {error}")))?,
        Format::Text => text::page(&answer, std::io::stdout().is_terminal()),
    });
    Ok(answer.ending())
}

impl Answer {
    /// What a person must change comes before what may mend itself.
    fn ending(&self) -> Ending {
        let problems = self.tables.iter().flat_map(|table| &table.problems);
        let troubles: Vec<Kind> = problems.map(|problem| problem.trouble).collect();
        let order = [
            Kind::Invalid,
            Kind::Corrupt,
            Kind::Unavailable,
            Kind::Superseded,
            Kind::Bug,
        ];
        let mut found = order.into_iter().filter(|kind| troubles.contains(kind));
        found.next().map_or(Ending::Done, Ending::Findings)
    }
}

impl TablePlan {
    fn of(table: &Table, preview: Result<Preview, pipeline::Error>) -> TablePlan {
        match preview {
            Ok(mut preview) => {
                let mut problems = std::mem::take(&mut preview.problems);
                let stalled = preview.sample.as_mut();
                problems.extend(stalled.and_then(|sample| sample.stalled.take()));
                TablePlan {
                    table: table.name.clone(),
                    problems: problems.into_iter().map(Problem::of).collect(),
                    plan: Some(Planned::of(table, preview)),
                }
            }
            Err(error) => {
                let problem = Problem::of((error.kind(), error.to_string()));
                TablePlan::without_plan(table.name.clone(), problem)
            }
        }
    }

    fn without_plan(table: String, problem: Problem) -> TablePlan {
        TablePlan {
            table,
            plan: None,
            problems: vec![problem],
        }
    }
}

impl Problem {
    fn of((trouble, sentence): (Kind, String)) -> Problem {
        Problem {
            kind: trouble.name(),
            sentence,
            trouble,
        }
    }
}

impl Planned {
    fn of(table: &Table, preview: Preview) -> Planned {
        let grown = preview
            .sample
            .as_ref()
            .and_then(|sample| sample.columns.clone());
        let columns = columns::changes(
            preview.has.as_deref(),
            &preview.columns,
            grown.as_deref(),
            table.evolution.allow,
        );
        let statement = match preview.version {
            None => Some(sql::create(
                &table.name,
                &preview.columns,
                &preview.partition_columns,
                &preview.location,
            )),
            Some(_) => {
                let added: Vec<&Column> = columns
                    .iter()
                    .filter(|column| column.change == Change::Add)
                    .collect();
                (!added.is_empty()).then(|| sql::add(&preview.location, &added))
            }
        };
        Planned {
            location: preview.location,
            version: preview.version,
            statement,
            columns,
            partition_by: preview.partition_columns,
            excluded: table.columns.exclude.iter().map(|it| dotted(it)).collect(),
            masked: masked(&table.columns),
            protocol: preview.support.map(|support| Protocol {
                reader_version: support.reader_version,
                writer_version: support.writer_version,
                features: support.features,
            }),
            starts: preview.starts.iter().map(StartRow::of).collect(),
            sample: preview.sample.map(SampleRow::of),
        }
    }
}

fn dotted(path: &[String]) -> String {
    path.join(".")
}

fn masked(columns: &Columns) -> BTreeMap<String, &'static str> {
    let word = |mask: &Mask| match mask {
        Mask::HmacSha256 => "hmac_sha256",
        Mask::Redact => "redact",
    };
    let masks = columns.mask.iter();
    masks
        .map(|(path, mask)| (dotted(path), word(mask)))
        .collect()
}

impl StartRow {
    fn of(begin: &Begin) -> StartRow {
        StartRow {
            topic: begin.topic_partition.topic.to_string(),
            partition: begin.topic_partition.number,
            offset: begin.offset,
            by: match begin.by {
                BegunBy::Table => "table",
                BegunBy::Start => "start",
                BegunBy::Growth => "new topic partition",
            },
            log_start: begin.low,
            log_end: begin.end,
            to_read: begin.end.saturating_sub(begin.offset.max(begin.low)).max(0),
        }
    }
}

impl SampleRow {
    fn of(sample: Sample) -> SampleRow {
        let is_partitioned = sample.partitions.keys().any(|values| !values.is_empty());
        SampleRow {
            records: sample.records,
            rows: sample.rows,
            skipped: sample.skipped,
            rejected: sample.rejects.len() as u64,
            ignored_fields: sample.ignored_fields,
            table_partitions: is_partitioned.then(|| Partitions::of(sample.partitions)),
            rejects: sample.rejects.into_iter().map(RejectRow::of).collect(),
        }
    }
}

impl RejectRow {
    fn of(reject: Reject) -> RejectRow {
        RejectRow {
            topic: reject.topic_partition.topic.to_string(),
            partition: reject.topic_partition.number,
            offset: reject.offset,
            code: reject.code,
            path: reject.path,
            message: reject.message,
            schema_id: reject.schema_id,
        }
    }
}

impl Partitions {
    fn of(rows: BTreeMap<Vec<(String, Option<String>)>, u64>) -> Partitions {
        let count = rows.len();
        let mut all: Vec<Partition> = rows
            .into_iter()
            .map(|(values, rows)| Partition {
                values: values.into_iter().collect(),
                rows,
            })
            .collect();
        all.sort_by_key(|partition| std::cmp::Reverse(partition.rows));
        all.truncate(PARTITIONS_LISTED);
        Partitions {
            count,
            largest: all,
        }
    }
}

#[cfg(test)]
mod tests;
