//! The beginning of an epoch: reads the table afresh, names what is new in it, and holds its offsets against the logs. Owns what suspends before the first poll; what
//! is away is waited for.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::delta::TopicStart;
use crate::error::Kind;
use crate::model::commit::CommitOutcome;
use crate::model::epoch::Epoch;
use crate::model::offset::TopicPartition;
use crate::pipeline::beside::beside;
use crate::pipeline::control::FromWorker;
use crate::pipeline::flusher::Flusher;
use crate::pipeline::plan::back_off;
use crate::source::StartAt;

impl Flusher {
    /// Reads the table afresh (OFF-5) and answers with the offsets; what is away is waited for, what is wrong suspends.
    pub(super) async fn begin(&mut self, epoch: Epoch, topic_partitions: Vec<TopicPartition>) {
        let mut attempt = 0;
        while epoch.is_live() {
            match self.table.refresh().await {
                Ok(()) => break,
                Err(error) if error.kind() == Kind::Unavailable => {
                    self.trouble(format!("table `{}`: {error}", self.share.name()));
                    self.clock.sleep(back_off(attempt)).await;
                    attempt += 1;
                }
                Err(error) => return self.halted(&epoch, error.to_string()),
            }
        }
        // What the last owner named and did not come to show.
        if let Err(reason) = self.publish().await {
            return self.halted(&epoch, reason);
        }
        if let Err(reason) = self.begin_new(&epoch, &topic_partitions).await {
            return self.halted(&epoch, reason);
        }
        // Also where another instance was the first to name what we have gained.
        self.table.hand_out();
        self.show_table();
        let mut starts = BTreeMap::new();
        for topic_partition in topic_partitions {
            match self.table.committed(&topic_partition) {
                Ok(offset) => {
                    starts.insert(topic_partition, offset);
                }
                Err(error) => return self.halted(&epoch, error.to_string()),
            }
        }
        match self.check_against_logs(&epoch, &starts).await {
            Ok(()) => {
                self.share.set_committed(starts.clone());
                self.state.epoch = Some(epoch.clone());
                self.tell(FromWorker::Opened {
                    table: self.share.name().to_owned(),
                    epoch,
                    starts,
                })
                .await;
            }
            Err(reason) => self.halted(&epoch, reason),
        }
    }

    /// Topic partitions that a known topic gained since begin at their log's start, whatever `start` says (OFF-8).
    async fn begin_new(&mut self, epoch: &Epoch, all: &[TopicPartition]) -> Result<(), String> {
        let sources = self.table.sources();
        let is_new = |it: &&TopicPartition| {
            sources.topic(&it.topic).is_some() && sources.incarnation(it).is_none()
        };
        let new: Vec<TopicPartition> = all.iter().filter(is_new).cloned().collect();
        let mut attempt = 0;
        while !new.is_empty() && epoch.is_live() {
            let (lookup, asked) = (Arc::clone(&self.lookup), new.clone());
            let answer = beside(move || lookup.start_offsets(&asked, StartAt::Earliest))
                .await
                .map_err(|error| format!("a blocking task ended early: {error}"))?;
            match answer {
                Ok(offsets) => match self.table.begin_topics(&as_starts(offsets)).await {
                    Ok(CommitOutcome::Committed(_)) => return Ok(()),
                    Ok(CommitOutcome::Unknown(reason)) => self.trouble(reason),
                    Ok(CommitOutcome::Superseded(reason) | CommitOutcome::Conflict(reason)) => {
                        return Err(reason);
                    }
                    Err(error) if error.kind() == Kind::Unavailable => {
                        self.trouble(error.to_string());
                    }
                    Err(error) => return Err(error.to_string()),
                },
                Err(error) => self.trouble(error.to_string()),
            }
            self.clock.sleep(back_off(attempt)).await;
            attempt += 1;
        }
        Ok(())
    }

    /// A stored offset outside of the log is a hole, never a jump (OFF-7).
    async fn check_against_logs(
        &self,
        epoch: &Epoch,
        starts: &BTreeMap<TopicPartition, i64>,
    ) -> Result<(), String> {
        for (topic_partition, offset) in starts {
            let mut attempt = 0;
            while epoch.is_live() {
                let (lookup, asked) = (Arc::clone(&self.lookup), topic_partition.clone());
                let answer = beside(move || lookup.watermarks(&asked)).await;
                match answer {
                    Ok(Ok(marks)) => {
                        self.status.table(self.share.name(), |table| {
                            table
                                .topic_partitions
                                .entry(topic_partition.clone())
                                .or_default()
                                .end = Some(marks.high);
                        });
                        judge_position(topic_partition, *offset, marks.low, marks.high)?;
                        break;
                    }
                    Ok(Err(error)) => self.trouble(error.to_string()),
                    Err(error) => return Err(format!("a blocking task ended early: {error}")),
                }
                self.clock.sleep(back_off(attempt)).await;
                attempt += 1;
            }
        }
        Ok(())
    }
}

/// What `begin_topics` takes; for a topic that the table knows, only the offsets count.
fn as_starts(offsets: BTreeMap<TopicPartition, i64>) -> Vec<TopicStart> {
    let mut starts: BTreeMap<Arc<str>, BTreeMap<i32, i64>> = BTreeMap::new();
    for (topic_partition, offset) in offsets {
        starts
            .entry(topic_partition.topic)
            .or_default()
            .insert(topic_partition.number, offset);
    }
    let start = |(topic, offsets)| TopicStart {
        topic,
        cluster_id: None,
        topic_id: None,
        start: "earliest".to_owned(),
        offsets,
    };
    starts.into_iter().map(start).collect()
}

/// Says whether a stored position can be read on from; else names the hole (OFF-7).
fn judge_position(
    topic_partition: &TopicPartition,
    offset: i64,
    low: i64,
    high: i64,
) -> Result<(), String> {
    if offset < low {
        return Err(format!(
            "the table has read {topic_partition} up to offset {offset}, but the log now begins at {low}: offsets [{offset}, {low}) are gone (retention overtook the sink)"
        ));
    }
    if offset > high {
        return Err(format!(
            "the table has read {topic_partition} up to offset {offset}, but the log ends at {high}: it was truncated or the topic recreated"
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(offset: i64, expected: Option<&str>) {
        let verdict = judge_position(&TopicPartition::new("t", 3), offset, 10, 20);
        match expected {
            None => assert_eq!(verdict, Ok(())),
            Some(words) => assert!(verdict.unwrap_err().contains(words)),
        }
    }

    #[test]
    fn off_7_a_position_below_the_log_names_the_hole() {
        check(9, Some("[9, 10) are gone"));
    }

    #[test]
    fn off_7_a_position_above_the_log_is_a_truncation() {
        check(21, Some("truncated"));
    }

    #[test]
    fn off_7_a_position_inside_the_log_is_taken() {
        check(10, None);
        check(20, None);
    }
}
