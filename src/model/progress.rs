//! How far a table moves in each topic partition. Owns the adjacency of spans (OFF-2) and their counts; does not decide when to commit.

use std::collections::BTreeMap;

use crate::model::lineage::Lineage;
use crate::model::offset::{Span, TopicPartition};

/// What became of the records of a span: polled = rows + rejects + skipped (DEC-1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// Records that became rows.
    pub rows: u64,
    /// Records that could not be decoded and were counted.
    pub rejects: u64,
    /// Records left out by a declared rule, such as a tombstone.
    pub skipped: u64,
    /// The greatest record timestamp, in milliseconds since 1970 UTC.
    pub max_timestamp_ms: Option<i64>,
}

impl Counts {
    /// The records that were polled.
    pub fn polled(&self) -> u64 {
        self.rows + self.rejects + self.skipped
    }

    /// Adds `other` to these.
    pub fn add(&mut self, other: &Counts) {
        self.rows += other.rows;
        self.rejects += other.rejects;
        self.skipped += other.skipped;
        self.max_timestamp_ms = self.max_timestamp_ms.max(other.max_timestamp_ms);
    }
}

/// One topic partition's part of an advance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// The offsets that it covers.
    pub span: Span,
    /// What became of their records.
    pub counts: Counts,
    /// Under which leaders they were written.
    pub lineage: Lineage,
}

impl Step {
    /// A span whose records tell nothing of their leaders.
    pub fn of(span: Span, counts: Counts) -> Step {
        Step {
            span,
            counts,
            lineage: Lineage::default(),
        }
    }
}

/// A change of offsets over several topic partitions, committed whole.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Advance {
    steps: BTreeMap<TopicPartition, Step>,
}

/// Two spans of one topic partition that do not meet.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the span {next} of {topic_partition} does not follow {last} (OFF-2)")]
pub struct NotAdjacent {
    /// Where it happened.
    pub topic_partition: TopicPartition,
    /// The span that the advance ended with.
    pub last: Span,
    /// The span that was to follow.
    pub next: Span,
}

impl Advance {
    /// Extends the advance by a step that must start where the last one of its topic partition ended (OFF-2).
    pub fn extend(
        &mut self,
        topic_partition: &TopicPartition,
        next: &Step,
    ) -> Result<(), NotAdjacent> {
        let Some(step) = self.steps.get_mut(topic_partition) else {
            self.steps.insert(topic_partition.clone(), next.clone());
            return Ok(());
        };
        if step.span.end() != next.span.start() {
            return Err(NotAdjacent {
                topic_partition: topic_partition.clone(),
                last: step.span,
                next: next.span,
            });
        }
        step.span = Span::new(step.span.start(), next.span.end()).unwrap_or(step.span);
        step.counts.add(&next.counts);
        step.lineage.follow(&next.lineage);
        Ok(())
    }

    /// Takes in another advance, whose spans must follow these (OFF-2).
    pub fn merge(&mut self, other: &Advance) -> Result<(), NotAdjacent> {
        let mut steps = other.steps.iter();
        steps.try_for_each(|(topic_partition, step)| self.extend(topic_partition, step))
    }

    /// The steps in the order of their topic partitions.
    pub fn steps(&self) -> impl Iterator<Item = (&TopicPartition, &Step)> {
        self.steps.iter()
    }

    /// One topic partition's step.
    pub fn get(&self, topic_partition: &TopicPartition) -> Option<&Step> {
        self.steps.get(topic_partition)
    }

    /// Whether no topic partition moves.
    pub fn is_empty(&self) -> bool {
        self.steps.values().all(|step| step.span.is_empty())
    }

    /// The rows of all steps.
    pub fn rows(&self) -> u64 {
        self.steps.values().map(|step| step.counts.rows).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn off_2_an_advance_takes_only_what_follows() {
        let at = TopicPartition::new("t", 0);
        let step = |start, end| Step::of(Span::new(start, end).unwrap(), Counts::default());
        let mut advance = Advance::default();
        advance.extend(&at, &step(3, 10)).unwrap();
        for (start, end) in [(11, 12), (9, 12), (3, 10), (0, 3)] {
            let refused = advance.extend(&at, &step(start, end)).unwrap_err();
            assert_eq!(
                (refused.last, refused.next),
                (step(3, 10).span, step(start, end).span)
            );
            assert_eq!(advance.get(&at), Some(&step(3, 10)));
        }
        advance.extend(&at, &step(10, 12)).unwrap();
        assert_eq!(advance.get(&at), Some(&step(3, 12)));
    }
}
