//! When a run that ends by itself has done its work: every topic partition of every table has been committed up to the end seen at the start, whoever owns it. Decides
//! by the tables, not by what this process has read.

use std::collections::BTreeMap;

use crate::model::offset::TopicPartition;

/// Whether `committed` has reached every target.
pub(super) fn is_caught_up(
    targets: &BTreeMap<TopicPartition, i64>,
    committed: &BTreeMap<TopicPartition, i64>,
) -> bool {
    targets
        .iter()
        .all(|(topic_partition, end)| committed.get(topic_partition).is_some_and(|at| at >= end))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(targets: &[(i32, i64)], committed: &[(i32, i64)], expected: bool) {
        let map = |pairs: &[(i32, i64)]| {
            pairs
                .iter()
                .map(|(number, at)| (TopicPartition::new("t", *number), *at))
                .collect()
        };
        assert_eq!(is_caught_up(&map(targets), &map(committed)), expected);
    }

    #[test]
    fn an_empty_topic_is_caught_up_at_once() {
        check(&[(0, 0)], &[(0, 0)], true);
    }

    #[test]
    fn one_topic_partition_behind_is_enough_to_wait() {
        check(&[(0, 5), (1, 7)], &[(0, 5), (1, 6)], false);
    }

    #[test]
    fn a_topic_partition_that_the_table_does_not_know_is_waited_for() {
        check(&[(0, 0)], &[], false);
    }
}
