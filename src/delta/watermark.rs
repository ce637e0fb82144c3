//! Through which record timestamp a table is complete: `validThrough`. Owns that bound; nothing is decided by it.
//!
//! It is the lowest over the topic partitions of the greatest committed record timestamp. A process knows the greatest timestamp of a topic partition
//! from the spans that it commits and from those of others that it reads on the way; of one whose spans lie before what it has read, it knows that it
//! is not below the newest `validThrough` in the log, and takes that. So the bound is carried over a restart, never too high, and only as low as the
//! quiet topic partitions make it.

use std::collections::BTreeMap;

use chrono::{DateTime, SecondsFormat};
use serde_json::Value;

use crate::delta::sources::app_id;
use crate::model::offset::{Incarnation, TopicPartition};

/// What is known of committed record timestamps.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Watermark {
    /// The newest `validThrough` of the log.
    floor_ms: Option<i64>,
    /// The greatest timestamp by appId; `None` for a topic partition that is known to have no record yet.
    greatest_ms: BTreeMap<String, Option<i64>>,
}

impl Watermark {
    /// Notes that a topic partition begins, without a record.
    pub(crate) fn begin(&mut self, app_id: &str) {
        self.greatest_ms.entry(app_id.to_owned()).or_insert(None);
    }

    /// Whether a commit of ours has told where the table is complete.
    pub(crate) fn has_floor(&self) -> bool {
        self.floor_ms.is_some()
    }

    /// Notes a record timestamp.
    pub(crate) fn raise(&mut self, app_id: &str, timestamp_ms: i64) {
        let greatest = self.greatest_ms.entry(app_id.to_owned()).or_insert(None);
        *greatest = (*greatest).max(Some(timestamp_ms));
    }

    /// Takes in what a commit of ours says under `commitInfo.lakeward`.
    pub(crate) fn read(&mut self, lakeward: &Value) {
        if let Some(floor) = lakeward
            .get("validThrough")
            .and_then(Value::as_str)
            .and_then(|text| DateTime::parse_from_rfc3339(text).ok())
        {
            self.floor_ms = self.floor_ms.max(Some(floor.timestamp_millis()));
        }
        for span in lakeward
            .get("spans")
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
        {
            if let Some((app_id, timestamp_ms)) = read_span(span) {
                self.raise(&app_id, timestamp_ms);
            }
        }
    }

    /// The bound over these appIds; `None` while it is unknown for one of them, or none has a record.
    pub(crate) fn valid_through_ms<'a>(
        &self,
        app_ids: impl Iterator<Item = &'a str>,
    ) -> Option<i64> {
        let mut lowest = None::<i64>;
        for app_id in app_ids {
            let greatest = match self.greatest_ms.get(app_id) {
                Some(None) => continue,
                Some(Some(greatest)) => *greatest,
                None => self.floor_ms?,
            };
            lowest = Some(lowest.map_or(greatest, |lowest| lowest.min(greatest)));
        }
        lowest
    }
}

/// The bound as CONTRACT spells it.
pub(crate) fn to_text(ms: i64) -> Option<String> {
    DateTime::from_timestamp_millis(ms)
        .map(|time| time.to_rfc3339_opts(SecondsFormat::Millis, true))
}

fn read_span(span: &Value) -> Option<(String, i64)> {
    let topic = span.get("topic")?.as_str()?;
    let number = i32::try_from(span.get("partition")?.as_i64()?).ok()?;
    let incarnation = u32::try_from(span.get("incarnation")?.as_u64()?).ok()?;
    Some((
        app_id(
            &TopicPartition::new(topic, number),
            Incarnation(incarnation),
        ),
        span.get("maxTimestamp")?.as_i64()?,
    ))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn check(watermark: &Watermark, app_ids: &[&str], expect: Option<i64>) {
        assert_eq!(watermark.valid_through_ms(app_ids.iter().copied()), expect);
    }

    #[test]
    fn the_lowest_of_the_greatest_counts_and_empty_topic_partitions_do_not() {
        let mut watermark = Watermark::default();
        watermark.begin("lakeward/t/0/0");
        check(&watermark, &["lakeward/t/0/0"], None);
        watermark.raise("lakeward/t/0/1", 50);
        watermark.raise("lakeward/t/0/1", 40);
        watermark.raise("lakeward/t/0/2", 70);
        check(
            &watermark,
            &["lakeward/t/0/0", "lakeward/t/0/1", "lakeward/t/0/2"],
            Some(50),
        );
    }

    #[test]
    fn after_a_restart_what_is_unknown_is_not_below_the_logs_bound() {
        let mut watermark = Watermark::default();
        let span = json!({"topic": "t", "incarnation": 0, "partition": 1, "maxTimestamp": 90});
        watermark.read(&json!({"validThrough": "1970-01-01T00:00:00.060Z", "spans": [span]}));
        check(&watermark, &["lakeward/t/0/0", "lakeward/t/0/1"], Some(60));
        watermark.raise("lakeward/t/0/0", 80);
        check(&watermark, &["lakeward/t/0/0", "lakeward/t/0/1"], Some(80));
        check(&Watermark::default(), &["lakeward/t/0/0"], None);
        assert_eq!(to_text(60).unwrap(), "1970-01-01T00:00:00.060Z");
    }
}
