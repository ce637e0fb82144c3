//! The answer of `plan` for people: a heading for each table, then what there is to say as tables; without a terminal the same, with tabs between the cells. Finds nothing out.

use crate::ops::output::{self, thousands};
use crate::ops::plan::columns::Column;
use crate::ops::plan::{Answer, Partition, Planned, SampleRow, StartRow, TablePlan};

/// The page; aligned where people read it.
pub(super) fn page(answer: &Answer, is_terminal: bool) -> String {
    let page = Page { is_terminal };
    let tables: Vec<String> = answer.tables.iter().map(|it| page.table(it)).collect();
    tables.join("\n\n")
}

struct Page {
    is_terminal: bool,
}

impl Page {
    fn table(&self, table: &TablePlan) -> String {
        let mut parts = Vec::new();
        match &table.plan {
            Some(plan) => parts.extend(self.plan(&table.table, plan)),
            None => parts.push(format!("{}\n  nothing can be said of it", table.table)),
        }
        for problem in &table.problems {
            parts.push(format!("{}: {}", problem.kind, problem.sentence));
        }
        parts.join("\n\n")
    }

    fn plan(&self, name: &str, plan: &Planned) -> Vec<String> {
        let state = match (plan.version, &plan.statement) {
            (None, _) => "does not exist yet: `run` makes it".to_owned(),
            (Some(version), None) => format!("exists, version {version}: its columns stay"),
            (Some(version), Some(_)) => format!("exists, version {version}: it gets columns"),
        };
        let mut parts = vec![format!("{name}  {}\n  {state}", plan.location)];
        parts.extend(plan.statement.clone());
        parts.push(self.columns(&plan.columns));
        let mut lines = Vec::new();
        if !plan.partition_by.is_empty() {
            lines.push(format!(
                "table partitions by {}",
                plan.partition_by.join(", ")
            ));
        }
        if !plan.excluded.is_empty() {
            lines.push(format!("left out: {}", plan.excluded.join(", ")));
        }
        for (column, mask) in &plan.masked {
            lines.push(format!("masked: {column} by {mask}"));
        }
        if let Some(protocol) = &plan.protocol {
            let features = match protocol.features.join(", ") {
                features if features.is_empty() => "no features".to_owned(),
                features => format!("features {features}"),
            };
            lines.push(format!(
                "protocol: reader version {}, writer version {}, {features}",
                protocol.reader_version, protocol.writer_version
            ));
        }
        parts.push(lines.join("\n"));
        parts.push(self.starts(&plan.starts));
        if let Some(sample) = &plan.sample {
            parts.push(self.sample(sample));
        }
        parts
    }

    fn columns(&self, columns: &[Column]) -> String {
        let row = |column: &Column| {
            let has = column.has.as_ref();
            let instead = has.map_or_else(String::new, |has| format!("the table has it as {has}"));
            vec![
                column.column.clone(),
                column.data_type.clone(),
                column.change.word().to_owned(),
                instead,
            ]
        };
        self.rows(
            &["column", "type", "change", ""],
            columns.iter().map(row).collect(),
        )
    }

    fn starts(&self, starts: &[StartRow]) -> String {
        let row = |start: &StartRow| {
            vec![
                start.topic.clone(),
                start.partition.to_string(),
                start.offset.to_string(),
                start.by.to_owned(),
                start.log_start.to_string(),
                start.log_end.to_string(),
                start.to_read.to_string(),
            ]
        };
        let header = [
            "topic",
            "partition",
            "starts at",
            "by",
            "log start",
            "log end",
            "to read",
        ];
        self.rows(&header, starts.iter().map(row).collect())
    }

    fn sample(&self, sample: &SampleRow) -> String {
        let ignored = match sample.ignored_fields {
            0 => String::new(),
            count => format!(", {} fields left out", thousands(count)),
        };
        let mut parts = vec![format!(
            "sample of {} records: {} rows, {} skipped, {} rejected{ignored}",
            thousands(sample.records),
            thousands(sample.rows),
            thousands(sample.skipped),
            thousands(sample.rejected),
        )];
        if let Some(partitions) = &sample.table_partitions {
            let row = |partition: &Partition| {
                let value = |(name, value): (&String, &Option<String>)| {
                    format!("{name}={}", value.as_deref().unwrap_or("null"))
                };
                let values: Vec<String> = partition.values.iter().map(value).collect();
                vec![values.join("/"), partition.rows.to_string()]
            };
            let listed = partitions.largest.iter().map(row).collect();
            let count = partitions.count;
            let what = if count == 1 {
                "partition"
            } else {
                "partitions"
            };
            parts.push(format!("{count} table {what} in the sample"));
            parts.push(self.rows(&["table partition", "rows"], listed));
        }
        if !sample.rejects.is_empty() {
            let rows = sample.rejects.iter().map(|reject| {
                vec![
                    format!("{}/{}", reject.topic, reject.partition),
                    reject.offset.to_string(),
                    reject.code.to_owned(),
                    reject.path.clone(),
                    reject.message.clone(),
                ]
            });
            let header = ["rejected", "offset", "code", "field", "message"];
            parts.push(self.rows(&header, rows.collect()));
        }
        parts.join("\n\n")
    }

    fn rows(&self, header: &[&str], rows: Vec<Vec<String>>) -> String {
        if self.is_terminal {
            return output::table(header, &rows);
        }
        let head: Vec<String> = header.iter().map(ToString::to_string).collect();
        let lines = std::iter::once(head).chain(rows);
        lines
            .map(|row| row.join("\t").trim_end().to_owned())
            .collect::<Vec<_>>()
            .join("\n")
    }
}
