//! `lakeward dlq show`: rejected records one by one. Owns the choice and how bytes are shown.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use chrono::{DateTime, SecondsFormat};
use serde::Serialize;
use serde_json::{Value, json as value};

use crate::decode::RejectedRow;
use crate::ops::cli::{DlqShow, Format};
use crate::ops::dlq::read::{self, Wanted};
use crate::ops::dlq::{json, table};
use crate::ops::exit::{Ending, Outcome};
use crate::ops::output;
use crate::ops::waiting::Patience;
use crate::ops::wiring;

/// Characters of a message on a terminal.
const SHOWN_CHARACTERS: usize = 100;

/// A rejected record, for programs.
#[derive(Debug, Serialize)]
struct Shown {
    topic: String,
    partition: i32,
    offset: i64,
    timestamp: String,
    code: String,
    path: String,
    message: String,
    failed_at: String,
    schema_id: Option<i32>,
    /// Whether key, value and headers were kept.
    has_bytes: bool,
    key: Value,
    value: Value,
    headers: Vec<Value>,
}

/// Prints the rejected records that were asked for.
pub(in crate::ops) fn show(request: &DlqShow, patience: &Patience) -> Outcome {
    let config = wiring::known(&request.config, patience)?;
    let table = table(&config.tables, &request.table)?;
    let (mut chosen, mut more) = (Vec::new(), false);
    read::each(&config, table, patience, &mut |row| {
        if !request.wants(&row) {
            return Wanted::More;
        }
        if chosen.len() >= request.limit {
            more = true;
            return Wanted::Enough;
        }
        chosen.push(row);
        Wanted::More
    })?;
    match request.format {
        Format::Text if chosen.is_empty() => {
            output::line(&format!("{}  no such rejected records", table.name));
        }
        Format::Text => {
            output::line(&text(&chosen));
            if more {
                output::line(&format!("and more; --limit {} was reached", request.limit));
            }
        }
        Format::Json => {
            let all: Vec<Shown> = chosen.into_iter().map(Shown::of).collect();
            output::line(&json(&all)?);
        }
    }
    Ok(Ending::Done)
}

impl DlqShow {
    fn wants(&self, row: &RejectedRow) -> bool {
        self.code.as_ref().is_none_or(|code| *code == row.code)
            && self
                .topic
                .as_ref()
                .is_none_or(|topic| **topic == *row.topic_partition.topic)
            && self
                .partition
                .is_none_or(|number| number == row.topic_partition.number)
            && self.offset.is_none_or(|offset| offset == row.offset)
    }
}

impl Shown {
    fn of(row: RejectedRow) -> Shown {
        let headers = row.headers.iter().flatten();
        Shown {
            has_bytes: row.is_whole(),
            timestamp: time(row.timestamp_ms),
            failed_at: time(row.failed_at_ms),
            key: bytes(row.key.as_deref()),
            value: bytes(row.value.as_deref()),
            headers: headers
                .map(|(name, content)| value!({ "key": name, "value": bytes(content.as_deref()) }))
                .collect(),
            topic: row.topic_partition.topic.to_string(),
            partition: row.topic_partition.number,
            offset: row.offset,
            code: row.code,
            path: row.path,
            message: row.message,
            schema_id: row.schema_id,
        }
    }
}

/// `{"text": ...}` where they are UTF-8, else `{"base64": ...}`.
fn bytes(bytes: Option<&[u8]>) -> Value {
    let Some(bytes) = bytes else {
        return Value::Null;
    };
    match std::str::from_utf8(bytes) {
        Ok(text) => value!({ "text": text }),
        Err(_) => value!({ "base64": BASE64_STANDARD.encode(bytes) }),
    }
}

/// A time for people and programs; empty where there is none.
pub(super) fn time(ms: Option<i64>) -> String {
    ms.and_then(DateTime::from_timestamp_millis)
        .map_or_else(String::new, |time| {
            time.to_rfc3339_opts(SecondsFormat::Millis, true)
        })
}

fn text(rows: &[RejectedRow]) -> String {
    let cells = rows.iter().map(|row| {
        let mut message: String = row.message.chars().take(SHOWN_CHARACTERS).collect();
        if message.len() < row.message.len() {
            message.push_str("...");
        }
        vec![
            format!(
                "{}[{}]",
                row.topic_partition.topic, row.topic_partition.number
            ),
            row.offset.to_string(),
            row.code.clone(),
            row.path.clone(),
            time(row.failed_at_ms),
            message,
        ]
    });
    output::table(
        &[
            "topic partition",
            "offset",
            "code",
            "field",
            "failed",
            "message",
        ],
        &cells.collect::<Vec<_>>(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_text_where_they_can_be() {
        assert_eq!(bytes(Some(b"a")), value!({ "text": "a" }));
        assert_eq!(bytes(Some(b"\xff")), value!({ "base64": "/w==" }));
        assert_eq!(bytes(None), Value::Null);
    }
}
