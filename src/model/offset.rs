//! Positions in Kafka logs. Owns the half-open span and the identity of a topic partition; does not know how far anybody has read.

use std::fmt;
use std::sync::Arc;

/// One partition of one Kafka topic.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TopicPartition {
    /// The topic's name.
    pub topic: Arc<str>,
    /// The number that Kafka gives the partition.
    pub number: i32,
}

impl TopicPartition {
    /// Names one partition of a topic.
    pub fn new(topic: impl Into<Arc<str>>, number: i32) -> Self {
        TopicPartition {
            topic: topic.into(),
            number,
        }
    }
}

impl fmt::Display for TopicPartition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}[{}]", self.topic, self.number)
    }
}

/// The half-open range of offsets `[start, end)` of one topic partition; never reversed (OFF-1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Span {
    start: i64,
    end: i64,
}

/// A span that would end before it starts, or start below zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("offsets [{start}, {end}) are no span (OFF-1)")]
pub struct Reversed {
    /// The offset it would start at.
    pub start: i64,
    /// The offset it would end before.
    pub end: i64,
}

impl Span {
    /// The span `[start, end)`; an empty one is allowed.
    pub fn new(start: i64, end: i64) -> Result<Span, Reversed> {
        if start < 0 || end < start {
            return Err(Reversed { start, end });
        }
        Ok(Span { start, end })
    }

    /// The empty span at `offset`; a negative offset counts as zero.
    pub fn empty_at(offset: i64) -> Span {
        let offset = offset.max(0);
        Span {
            start: offset,
            end: offset,
        }
    }

    /// The first offset inside.
    pub fn start(self) -> i64 {
        self.start
    }

    /// The next offset to read after it.
    pub fn end(self) -> i64 {
        self.end
    }

    /// How many offsets it covers; rows may be fewer.
    pub fn len(self) -> u64 {
        self.end.abs_diff(self.start)
    }

    /// Whether it covers no offset.
    pub fn is_empty(self) -> bool {
        self.start == self.end
    }

    /// The same start up to `end`, or `None` if that lies outside of the span.
    pub fn truncated_at(self, end: i64) -> Option<Span> {
        (self.start <= end && end <= self.end).then_some(Span {
            start: self.start,
            end,
        })
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "[{}, {})", self.start, self.end)
    }
}

/// Which life of a topic partition its offsets belong to; the first is 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Incarnation(pub u32);

impl fmt::Display for Incarnation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn off_1_a_reversed_or_negative_span_is_refused() {
        assert_eq!(Span::new(3, 2), Err(Reversed { start: 3, end: 2 }));
        assert_eq!(Span::new(-1, 2), Err(Reversed { start: -1, end: 2 }));
        assert_eq!(Span::new(2, 2).map(Span::is_empty), Ok(true));
    }

    #[test]
    fn truncation_stays_inside() {
        let span = Span::new(2, 9).unwrap();
        assert_eq!(span.truncated_at(5), Span::new(2, 5).ok());
        assert_eq!(span.truncated_at(10), None);
        assert_eq!(span.truncated_at(1), None);
    }
}
