//! `lakeward offsets show`: how far each table is in each topic partition, and how far the topic is. Reads the table, not the group (OFF-5).

use serde::Serialize;

use crate::config::settings::Table;
use crate::ops::cli::{Format, OffsetsShow};
use crate::ops::exit::{Ending, Failure, Outcome};
use crate::ops::kafka::Kafka;
use crate::ops::output;
use crate::ops::verify::{Subject, block_on, committed};
use crate::ops::waiting::Patience;
use crate::ops::wiring;

/// One line of the answer.
#[derive(Debug, Serialize)]
struct Row {
    table: String,
    topic: String,
    partition: i32,
    incarnation: Option<u32>,
    committed: Option<i64>,
    end: i64,
    lag: Option<i64>,
}

/// Prints committed offsets, ends and lags.
pub(super) fn show(request: &OffsetsShow, patience: &Patience) -> Outcome {
    let config = wiring::known(&request.config, patience)?;
    let tables = wiring::tables(&config, &request.tables)?;
    let kafka = Kafka::connect(&config.kafka, patience)?;
    let mut rows = Vec::new();
    for table in tables {
        let subject = Subject {
            objects: wiring::objects(&config.storage, table)?,
            prefix: table.metadata.prefix.clone(),
            rejected: wiring::rejected_objects(&config.storage, table)?,
        };
        rows.extend(of_table(table, &subject, &kafka, patience)?);
    }
    rows.retain(|row| {
        request
            .topic
            .as_ref()
            .is_none_or(|topic| *topic == row.topic)
            && request
                .partition
                .is_none_or(|partition| partition == row.partition)
    });
    output::line(&match request.format {
        Format::Text => text(&rows),
        Format::Json => serde_json::to_string_pretty(&rows)
            .map_err(|error| Failure::bug(format!("cannot write JSON: {error}")))?,
    });
    Ok(Ending::Done)
}

fn of_table(
    table: &Table,
    subject: &Subject,
    kafka: &Kafka,
    patience: &Patience,
) -> Result<Vec<Row>, Failure> {
    let committed = block_on(committed(subject, patience))??;
    let mut rows = Vec::new();
    for topic in &table.topics {
        for topic_partition in kafka.topic_partitions(topic)? {
            let (end, number) = (
                kafka.watermarks(&topic_partition)?.high,
                topic_partition.number,
            );
            let newest = committed
                .iter()
                .rev()
                .find(|(life, _)| *life.topic == **topic && life.partition == number);
            let (incarnation, committed) = newest
                .map(|(life, offset)| (life.incarnation, *offset))
                .unzip();
            let lag = committed.map(|committed| end.saturating_sub(committed).max(0));
            rows.push(Row {
                table: table.name.clone(),
                topic: topic.clone(),
                partition: number,
                incarnation,
                committed,
                end,
                lag,
            });
        }
    }
    Ok(rows)
}

fn text(rows: &[Row]) -> String {
    let shown =
        |number: Option<i64>| number.map_or_else(|| "-".to_owned(), |number| number.to_string());
    let cells = rows.iter().map(|row| {
        let incarnation = shown(row.incarnation.map(i64::from));
        vec![
            row.table.clone(),
            row.topic.clone(),
            row.partition.to_string(),
            incarnation,
            shown(row.committed),
            row.end.to_string(),
            shown(row.lag),
        ]
    });
    output::table(
        &[
            "table",
            "topic",
            "partition",
            "incarnation",
            "committed",
            "end",
            "lag",
        ],
        &cells.collect::<Vec<_>>(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_topic_partition_that_no_commit_names_yet_shows_dashes() {
        let row = |committed: Option<i64>| Row {
            table: "orders".into(),
            topic: "shop.orders".into(),
            partition: 1,
            incarnation: committed.map(|_| 0),
            committed,
            end: 9,
            lag: committed.map(|committed| 9 - committed),
        };
        let text = text(&[row(Some(7)), row(None)]);
        let lines: Vec<Vec<&str>> = text
            .lines()
            .map(|line| line.split_whitespace().collect())
            .collect();
        assert_eq!(lines[1], ["orders", "shop.orders", "1", "0", "7", "9", "2"]);
        assert_eq!(lines[2], ["orders", "shop.orders", "1", "-", "-", "9", "-"]);
    }
}
