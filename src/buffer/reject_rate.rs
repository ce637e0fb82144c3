//! When rejected records are too many: a pure count over a sliding window (TIME-1), which tells a bad record from a wrong config. Does not read a clock, does not
//! suspend.

use std::collections::VecDeque;

use crate::clock::Instant;
use crate::config::settings::SuspendAbove;

/// Parts of a window that are forgotten one after the other.
const PARTS: u32 = 30;

/// The records of one table within the window.
#[derive(Debug)]
pub struct RejectRate {
    limit: SuspendAbove,
    parts: VecDeque<Part>,
}

#[derive(Debug, Clone, Copy)]
struct Part {
    begun: Instant,
    records: u64,
    rejects: u64,
}

/// The records that were too bad.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TooMany {
    /// All of them.
    pub records: u64,
    /// Those that were rejected.
    pub rejects: u64,
}

impl RejectRate {
    /// Counts nothing yet.
    pub fn new(limit: SuspendAbove) -> Self {
        RejectRate {
            limit,
            parts: VecDeque::new(),
        }
    }

    /// Takes records in, `rejects` of them rejected; says if the window now holds too many of those.
    pub fn observe(&mut self, now: Instant, records: u64, rejects: u64) -> Option<TooMany> {
        let is_past = |part: &Part| now.since(part.begun) >= self.limit.window;
        while self.parts.front().is_some_and(is_past) {
            self.parts.pop_front();
        }
        match self.parts.back_mut() {
            Some(part) if now.since(part.begun) < self.limit.window / PARTS => {
                part.records += records;
                part.rejects += rejects;
            }
            Some(_) | None => self.parts.push_back(Part {
                begun: now,
                records,
                rejects,
            }),
        }
        if rejects == 0 {
            return None;
        }
        let sum = |of: fn(&Part) -> u64| self.parts.iter().map(of).sum::<u64>();
        let all = TooMany {
            records: sum(|part| part.records),
            rejects: sum(|part| part.rejects),
        };
        let is_over = all.records >= self.limit.min_records
            && u128::from(all.rejects) * 100
                >= u128::from(all.records) * u128::from(self.limit.percent);
        is_over.then_some(all)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn rate(percent: u64) -> RejectRate {
        RejectRate::new(SuspendAbove {
            percent,
            window: Duration::from_secs(60),
            min_records: 100,
        })
    }

    fn at(second: u64) -> Instant {
        Instant::from_millis(second * 1000)
    }

    #[test]
    fn time_1_a_topic_of_bad_records_is_too_many_from_the_least_number_on() {
        let mut rate = rate(100);
        assert_eq!(rate.observe(at(0), 99, 99), None);
        let too_many = rate.observe(at(1), 1, 1).unwrap();
        assert_eq!((too_many.records, too_many.rejects), (100, 100));
    }

    #[test]
    fn one_good_record_keeps_a_limit_of_all() {
        let mut rate = rate(100);
        assert_eq!(rate.observe(at(0), 1, 0), None);
        assert_eq!(rate.observe(at(1), 10_000, 10_000), None);
    }

    #[test]
    fn a_share_counts_and_the_past_does_not() {
        let mut rate = rate(10);
        assert_eq!(rate.observe(at(0), 1_000, 99), None);
        assert!(rate.observe(at(30), 10, 2).is_some());
        assert_eq!(rate.observe(at(100), 90, 90), None, "the rest is forgotten");
        assert!(rate.observe(at(101), 10, 10).is_some());
    }
}
