//! Under which leaders records were written, which proves that a log is still the one that was read: a leader only appends, so a log that holds the last record of a leader
//! epoch holds all that came before it. Owns the accounts; asks no log.

use crate::model::record::{Coordinates, Records};

/// Changes of leader that one lineage remembers, the last ones. More of them in one commit are history that is read late.
const CHANGES_MAX: usize = 16;

/// The leader epoch of what no broker tells, as the protocol has it.
pub const UNKNOWN_LEADER_EPOCH: i32 = -1;

/// The last record that was seen of a log under one leader.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tail {
    /// The leader epoch it was written under; [`UNKNOWN_LEADER_EPOCH`] where that is not known, and then nothing is claimed of what lies before `end`.
    pub leader_epoch: i32,
    /// The offset after it.
    pub end: i64,
}

/// What a log holds if it is the one that was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Claim {
    /// This record.
    pub tail: Tail,
    /// And none between it and this offset: markers, aborted records and gaps at most. A log that lost them can hold records there by now.
    pub up_to: i64,
}

impl Claim {
    /// Nothing is known of what lies before an offset, nor claimed of what lies behind it.
    fn nothing_at(offset: i64) -> Claim {
        let tail = Tail {
            leader_epoch: UNKNOWN_LEADER_EPOCH,
            end: offset,
        };
        Claim {
            tail,
            up_to: offset,
        }
    }

    /// Whether every log holds it.
    pub fn says_nothing(&self) -> bool {
        self.tail.leader_epoch == UNKNOWN_LEADER_EPOCH && self.tail.end >= self.up_to
    }
}

/// The leaders of records that were read one after the other.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Lineage {
    first: Option<First>,
    /// What a log holds where another leader goes on, in its order.
    changes: Vec<Claim>,
    last: Option<Last>,
}

/// The first record of a lineage.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct First {
    leader_epoch: Option<i32>,
    offset: i64,
}

/// What the last record of a lineage says of the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Last {
    /// Its leader epoch, which the log must have up to there.
    Told(Tail),
    /// Nothing: the broker does not tell leader epochs, or not of records of its kind.
    Untold,
}

impl Lineage {
    /// The lineage of `count` records from index `from` on.
    pub fn of(records: &Records, from: usize, count: usize) -> Lineage {
        let mut lineage = Lineage::default();
        let (Some(first), Some(last)) = (
            records.get(from),
            count
                .checked_sub(1)
                .and_then(|more| records.get(from + more)),
        ) else {
            return lineage;
        };
        if first.at.leader_epoch == last.at.leader_epoch {
            // Leader epochs only rise in a log: what begins and ends under one leader is one leader's.
            lineage.see(&first.at);
            lineage.see(&last.at);
            return lineage;
        }
        for record in records.iter_from(from).take(count) {
            lineage.see(&record.at);
        }
        lineage
    }

    fn see(&mut self, at: &Coordinates) {
        self.join(First {
            leader_epoch: at.leader_epoch,
            offset: at.offset,
        });
        let end = at.offset.saturating_add(1);
        let told = |leader_epoch| Last::Told(Tail { leader_epoch, end });
        self.last = Some(at.leader_epoch.map_or(Last::Untold, told));
    }

    /// Takes in the first record of what follows.
    fn join(&mut self, next: First) {
        self.first.get_or_insert(next);
        if let (Some(Last::Told(tail)), Some(leader_epoch)) = (self.last, next.leader_epoch)
            && tail.leader_epoch != leader_epoch
        {
            let up_to = next.offset;
            self.changes.push(Claim { tail, up_to });
            self.bound();
        }
    }

    fn bound(&mut self) {
        let more = self.changes.len().saturating_sub(CHANGES_MAX);
        self.changes.drain(..more);
    }

    /// Takes in what follows in the log.
    pub fn follow(&mut self, next: &Lineage) {
        let Some(first) = next.first else {
            return;
        };
        self.join(first);
        self.changes.extend_from_slice(&next.changes);
        self.last = next.last;
        self.bound();
    }

    /// The last record of all.
    pub fn last(&self) -> Option<Last> {
        self.last
    }

    /// What to hold against the log where another leader goes on, beginning with what was known before these records, which were read from `start` on. Only there can the log be
    /// another one than it was.
    pub fn handovers(&self, before: Option<Claim>, start: i64) -> Vec<Claim> {
        let before = self.first.and_then(|first| {
            let before = before.unwrap_or(Claim::nothing_at(start));
            let differs = first.leader_epoch? != before.tail.leader_epoch;
            // Nor was there a record between what was known and the first of these.
            let up_to = before.up_to.max(first.offset);
            let claim = Claim { up_to, ..before };
            (differs && !claim.says_nothing()).then_some(claim)
        });
        before
            .into_iter()
            .chain(self.changes.iter().copied())
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn records(all: &[(i64, Option<i32>)]) -> Records {
        let mut records = Records::default();
        for (offset, leader_epoch) in all {
            let at = Coordinates {
                offset: *offset,
                leader_epoch: *leader_epoch,
                ..Coordinates::default()
            };
            records.push(at, None, None, []);
        }
        records
    }

    fn tail(leader_epoch: i32, end: i64) -> Tail {
        Tail { leader_epoch, end }
    }

    fn claim(leader_epoch: i32, end: i64, up_to: i64) -> Claim {
        let tail = tail(leader_epoch, end);
        Claim { tail, up_to }
    }

    fn told(leader_epoch: i32, end: i64) -> Option<Last> {
        Some(Last::Told(tail(leader_epoch, end)))
    }

    /// Expects changes as (leader epoch, offset after its last record, first offset of the next).
    fn check(
        all: &[(i64, Option<i32>)],
        of: (usize, usize),
        changes: &[(i32, i64, i64)],
        last: Option<Last>,
    ) {
        let first = |(offset, leader_epoch): &(i64, Option<i32>)| First {
            leader_epoch: *leader_epoch,
            offset: *offset,
        };
        let expected = Lineage {
            first: last.and_then(|_| all.get(of.0)).map(first),
            changes: changes
                .iter()
                .map(|(leader_epoch, end, up_to)| claim(*leader_epoch, *end, *up_to))
                .collect(),
            last,
        };
        assert_eq!(Lineage::of(&records(all), of.0, of.1), expected);
        // In one go or one by one, it is the same lineage.
        let mut one_by_one = Lineage::default();
        (of.0..of.0 + of.1).for_each(|at| one_by_one.follow(&Lineage::of(&records(all), at, 1)));
        if of.0 + of.1 <= all.len() {
            assert_eq!(one_by_one, expected);
        }
    }

    #[test]
    fn a_lineage_names_every_change_of_leader() {
        let one = [(3, Some(5)), (4, Some(5)), (9, Some(5))];
        check(&one, (0, 3), &[], told(5, 10));
        check(&one, (0, 2), &[], told(5, 5));
        check(&one, (1, 0), &[], None);
        check(&one, (2, 5), &[], None);
        let more = [(3, Some(5)), (4, Some(5)), (9, Some(7)), (11, Some(8))];
        let changes = [(5, 5, 9), (7, 10, 11)];
        check(&more, (0, 4), &changes, told(8, 12));
        check(&more, (2, 2), &changes[1..], told(8, 12));
    }

    #[test]
    fn records_that_tell_no_leader_epoch_claim_nothing() {
        check(&[(3, None), (4, None)], (0, 2), &[], Some(Last::Untold));
        check(&[(3, None), (4, Some(2))], (0, 2), &[], told(2, 5));
        let between = [(3, Some(2)), (4, None), (5, Some(3))];
        check(&between, (0, 3), &[], told(3, 6));
        check(&between, (0, 2), &[], Some(Last::Untold));
        let lineage = Lineage::of(&records(&between), 1, 2);
        assert_eq!(lineage.handovers(Some(claim(2, 4, 4)), 10), []);
    }

    #[test]
    fn only_where_the_leader_changes_must_the_log_be_asked() {
        let mut lineage = Lineage::of(&records(&[(10, Some(5))]), 0, 1);
        assert_eq!(lineage.handovers(None, 10), []);
        assert_eq!(lineage.handovers(Some(claim(5, 10, 10)), 10), []);
        assert_eq!(
            lineage.handovers(Some(claim(4, 8, 10)), 10),
            [claim(4, 8, 10)]
        );
        assert_eq!(
            lineage.handovers(None, 8),
            [claim(UNKNOWN_LEADER_EPOCH, 8, 10)]
        );
        // Nothing was at 8 and 9, which is claimed too: the log may have lost what it was, and hold a record there.
        assert_eq!(
            lineage.handovers(Some(claim(4, 8, 8)), 10),
            [claim(4, 8, 10)]
        );
        lineage.follow(&Lineage::of(&records(&[(11, Some(5))]), 0, 1));
        lineage.follow(&Lineage::of(&records(&[(14, Some(6))]), 0, 1));
        assert_eq!(lineage.last(), told(6, 15));
        assert_eq!(
            lineage.handovers(Some(claim(4, 8, 10)), 10),
            [claim(4, 8, 10), claim(5, 12, 14)]
        );
        assert_eq!(Lineage::default().handovers(Some(claim(4, 8, 10)), 10), []);
    }

    #[test]
    fn a_long_history_is_bounded_and_keeps_its_end() {
        let many: Vec<(i64, Option<i32>)> = (0..100).map(|it| (i64::from(it), Some(it))).collect();
        let lineage = Lineage::of(&records(&many), 0, 100);
        assert_eq!(lineage.changes.len(), CHANGES_MAX);
        assert_eq!(lineage.changes.last(), Some(&claim(98, 99, 99)));
        assert_eq!(lineage.last(), told(99, 100));
    }
}
