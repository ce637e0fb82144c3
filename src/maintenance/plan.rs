//! Which files are worth merging now: pure in (files, policy, now) (TIME-1). Owns the bound on write amplification and the debt as a number; reads and writes nothing.
//!
//! Within a table partition, cold files below three quarters of the target are candidates. They are merged when
//!
//! | rule | because |
//! |---|---|
//! | they fill a file of the target size | what comes out is no candidate again |
//! | `min_files` of them are alike in size (within a factor of `min_files`); all smaller ones come along | what comes out is in a larger class of sizes, so a row climbs few classes |
//! | the table partition has been quiet for long, and the largest is at most half of the whole | what comes out is at least twice the largest, so a row doubles its file each time |
//!
//! So a row is rewritten a few times at most, however long the table lives; late rows in an old table partition wait until they are worth it (H16).

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use crate::delta::PartitionValues;

/// Files above this part of the target are left alone.
const CANDIDATE_PERCENT: u64 = 75;
/// A table partition is quiet when nothing came for so many times `cold_after`.
const QUIET_FACTOR: u32 = 12;
/// Files of one rewrite: it must stay a commit that others can read and that seldom loses a race.
const INPUTS_MAX: usize = 1_000;

/// What the config asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Policy {
    /// The size that merged files should have.
    pub target_bytes: u64,
    /// How many files of a size are worth merging.
    pub min_files: usize,
    /// Files younger than this are left to ingest.
    pub cold_after: Duration,
}

/// A live file as the plan sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    /// Its object key.
    pub key: String,
    /// Its table partition.
    pub partition_values: PartitionValues,
    /// Its size.
    pub size_bytes: u64,
    /// When it was written, milliseconds since 1970 UTC.
    pub modified_ms: i64,
    /// Why it cannot be rewritten by us, if so: a deletion vector, or an earlier failure.
    pub is_left_alone: bool,
}

/// Files to merge into one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Group {
    /// Their table partition.
    pub partition_values: PartitionValues,
    /// Their object keys, oldest first.
    pub keys: Vec<String>,
    /// Their sizes together.
    pub size_bytes: u64,
    /// For people.
    pub reason: Reason,
}

/// Why a group is worth merging.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// It fills a file.
    Full,
    /// Many files of one size.
    Many,
    /// Nothing more comes.
    Quiet,
}

impl Reason {
    /// For logs.
    pub fn name(self) -> &'static str {
        match self {
            Reason::Full => "fills a file",
            Reason::Many => "many files of one size",
            Reason::Quiet => "the table partition is quiet",
        }
    }
}

/// What to do, and what that says of the table.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Plan {
    /// What to merge, the most files first.
    pub groups: Vec<Group>,
    /// How much is to do.
    pub debt: Debt,
}

/// How far the table is from its ideal shape.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Debt {
    /// Live files, and their bytes.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Files more than the same bytes would need at the target size, whether they are worth merging yet or not.
    pub excess_files: u64,
    /// Bytes that the groups would rewrite.
    pub planned_bytes: u64,
    /// Files that cannot be rewritten by us.
    pub left_alone: u64,
}

/// Decides (TIME-1).
pub fn plan(files: &[Candidate], policy: &Policy, now_ms: i64) -> Plan {
    let mut partitions: BTreeMap<&PartitionValues, Vec<&Candidate>> = BTreeMap::new();
    let mut debt = Debt::default();
    for file in files {
        debt.files += 1;
        debt.bytes += file.size_bytes;
        debt.left_alone += u64::from(file.is_left_alone);
        if !file.is_left_alone {
            partitions
                .entry(&file.partition_values)
                .or_default()
                .push(file);
        }
    }
    let mut groups = Vec::new();
    for (values, files) in partitions {
        let bytes: u64 = files.iter().map(|file| file.size_bytes).sum();
        let ideal = bytes.div_ceil(policy.target_bytes.max(1)).max(1);
        debt.excess_files += to_u64(files.len()).saturating_sub(ideal);
        groups.extend(of_partition(values, &files, policy, now_ms));
    }
    groups
        .sort_by(|left, right| (right.keys.len(), &left.keys).cmp(&(left.keys.len(), &right.keys)));
    debt.planned_bytes = groups.iter().map(|group| group.size_bytes).sum();
    Plan { groups, debt }
}

fn of_partition(
    values: &PartitionValues,
    files: &[&Candidate],
    policy: &Policy,
    now_ms: i64,
) -> Vec<Group> {
    let age = |file: &Candidate| {
        Duration::from_millis(
            now_ms
                .saturating_sub(file.modified_ms)
                .max(0)
                .unsigned_abs(),
        )
    };
    let limit = policy.target_bytes / 100 * CANDIDATE_PERCENT;
    let mut left: Vec<&Candidate> = files
        .iter()
        .copied()
        .filter(|file| file.size_bytes < limit.max(1) && age(file) >= policy.cold_after)
        .collect();
    left.sort_by(|a, b| (a.size_bytes, &a.key).cmp(&(b.size_bytes, &b.key)));
    let is_quiet = files
        .iter()
        .all(|file| age(file) >= policy.cold_after * QUIET_FACTOR);
    let mut groups = Vec::new();
    while let Some((count, reason)) = next_group(&left, policy, is_quiet) {
        let chosen: Vec<&Candidate> = left.drain(..count).collect();
        groups.push(group(values, chosen, reason));
    }
    groups
}

/// How many of the files, which are sorted by size, to merge next, and why.
fn next_group(left: &[&Candidate], policy: &Policy, is_quiet: bool) -> Option<(usize, Reason)> {
    let full = filling(left, policy.target_bytes);
    if let Some(count) = full {
        return Some((count, Reason::Full));
    }
    if let Some(count) = alike(left, policy.min_files) {
        return Some((count, Reason::Many));
    }
    (is_quiet)
        .then(|| doubling(left))
        .flatten()
        .map(|count| (count, Reason::Quiet))
}

/// The smallest files that fill a file of the target size.
fn filling(left: &[&Candidate], target_bytes: u64) -> Option<usize> {
    let mut bytes = 0;
    for (index, file) in left.iter().enumerate() {
        bytes += file.size_bytes;
        if index + 1 >= INPUTS_MAX {
            return Some(index + 1);
        }
        if bytes >= target_bytes && index > 0 {
            return Some(index + 1);
        }
    }
    None
}

/// The files up to the end of the largest class of sizes with enough members.
fn alike(left: &[&Candidate], min_files: usize) -> Option<usize> {
    let base = min_files.max(2);
    let mut found = None;
    let mut members = 0;
    let mut class = None;
    for (index, file) in left.iter().enumerate() {
        let its = class_of(file.size_bytes, base);
        members = if class == Some(its) { members + 1 } else { 1 };
        class = Some(its);
        if members >= base {
            found = Some(index + 1);
        }
    }
    found
}

fn class_of(size_bytes: u64, base: usize) -> u32 {
    size_bytes.max(1).ilog(to_u64(base))
}

/// The most files whose largest is at most half of them all.
fn doubling(left: &[&Candidate]) -> Option<usize> {
    let mut bytes = 0_u64;
    let mut found = None;
    for (index, file) in left.iter().enumerate() {
        bytes += file.size_bytes;
        if index > 0 && file.size_bytes.saturating_mul(2) <= bytes {
            found = Some(index + 1);
        }
    }
    found
}

fn group(values: &PartitionValues, mut files: Vec<&Candidate>, reason: Reason) -> Group {
    // The order of commits keeps the ranges of offsets and times narrow.
    files.sort_by(|a, b| (a.modified_ms, &a.key).cmp(&(b.modified_ms, &b.key)));
    Group {
        partition_values: Arc::clone(values),
        size_bytes: files.iter().map(|file| file.size_bytes).sum(),
        keys: files.into_iter().map(|file| file.key.clone()).collect(),
        reason,
    }
}

fn to_u64(count: usize) -> u64 {
    u64::try_from(count).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const KIB: u64 = 1024;
    const MIB: u64 = 1024 * KIB;
    const POLICY: Policy = Policy {
        target_bytes: 256 * MIB,
        min_files: 8,
        cold_after: Duration::from_secs(300),
    };

    fn file(name: &str, size_bytes: u64, age_s: i64) -> Candidate {
        Candidate {
            key: name.to_owned(),
            partition_values: Arc::new(BTreeMap::new()),
            size_bytes,
            modified_ms: -age_s * 1000,
            is_left_alone: false,
        }
    }

    fn files(count: usize, size_bytes: u64, age_s: i64) -> Vec<Candidate> {
        (0..count)
            .map(|index| file(&format!("{index:05}"), size_bytes, age_s))
            .collect()
    }

    /// Sizes and reasons of the groups.
    fn check(files: &[Candidate], expect: &[(usize, Reason)]) {
        let plan = plan(files, &POLICY, 0);
        let found: Vec<_> = plan
            .groups
            .iter()
            .map(|group| (group.keys.len(), group.reason))
            .collect();
        assert_eq!(found, expect);
    }

    #[test]
    fn time_1_cold_files_of_one_size_are_merged_and_warm_ones_left() {
        check(&files(7, 100 * KIB, 400), &[]);
        check(&files(8, 100 * KIB, 400), &[(8, Reason::Many)]);
        check(&files(8, 100 * KIB, 299), &[]);
    }

    #[test]
    fn what_fills_a_file_is_merged_however_few() {
        check(&files(3, 100 * MIB, 400), &[(3, Reason::Full)]);
        check(&files(2, 192 * MIB, 400), &[]);
    }

    #[test]
    fn smaller_files_come_along() {
        let mut all = files(8, 10 * MIB, 400);
        all.extend((0..3).map(|index| file(&format!("s{index}"), 50 * KIB, 400)));
        check(&all, &[(11, Reason::Many)]);
    }

    #[test]
    fn a_quiet_table_partition_is_merged_to_its_end_but_a_late_row_waits() {
        check(&files(3, 100 * KIB, 3600), &[(3, Reason::Quiet)]);
        check(
            &[file("large", 100 * MIB, 9000), file("late", 10 * KIB, 3600)],
            &[],
        );
    }

    #[test]
    fn table_partitions_are_kept_apart_and_files_with_deletion_vectors_left_alone() {
        let mut all = files(16, MIB, 400);
        for (index, file) in all.iter_mut().enumerate() {
            let value = Some((index % 2).to_string());
            file.partition_values = Arc::new(BTreeMap::from([("p".to_owned(), value)]));
        }
        check(&all, &[(8, Reason::Many), (8, Reason::Many)]);
        all[0].is_left_alone = true;
        let found = plan(&all, &POLICY, 0);
        assert_eq!((found.groups.len(), found.debt.left_alone), (1, 1));
    }

    #[test]
    fn debt_counts_what_more_files_there_are_than_needed() {
        let debt = plan(&files(100, MIB, 0), &POLICY, 0).debt;
        assert_eq!(
            (debt.files, debt.excess_files, debt.planned_bytes),
            (100, 99, 0)
        );
        assert_eq!(plan(&[], &POLICY, 0), Plan::default());
    }

    /// Lets files arrive and merges as planned; answers bytes arrived, bytes written by merges, and the files that are left.
    fn live(sizes: &[u64], policy: &Policy) -> (u64, u64, Vec<Candidate>) {
        let mut all: Vec<Candidate> = Vec::new();
        let (mut arrived, mut written) = (0, 0);
        for (index, size_bytes) in sizes.iter().enumerate() {
            let at = i64::try_from(index).unwrap() * 1000;
            all.push(Candidate {
                modified_ms: at,
                ..file(&format!("{index:06}"), *size_bytes, 0)
            });
            arrived += size_bytes;
            let now = at + 400_000;
            for group in plan(&all, policy, now).groups {
                all.retain(|file| !group.keys.contains(&file.key));
                written += group.size_bytes;
                all.push(Candidate {
                    modified_ms: at,
                    ..file(
                        &format!("{index:06}-{}", group.keys[0]),
                        group.size_bytes,
                        0,
                    )
                });
            }
        }
        (arrived, written, all)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]

        #[test]
        fn time_1_the_same_state_gives_the_same_plan_and_no_file_is_in_two_groups(sizes in proptest::collection::vec(1..300 * MIB, 0..60), age in 0..9000_i64) {
            let all: Vec<_> = sizes.iter().enumerate().map(|(index, size)| file(&index.to_string(), *size, age)).collect();
            let mut turned = all.clone();
            turned.reverse();
            let (one, other) = (plan(&all, &POLICY, 0), plan(&turned, &POLICY, 0));
            prop_assert_eq!(&one, &other);
            let mut keys: Vec<_> = one.groups.iter().flat_map(|group| group.keys.clone()).collect();
            let count = keys.len();
            keys.sort();
            keys.dedup();
            prop_assert_eq!(keys.len(), count);
            prop_assert!(one.groups.iter().all(|group| group.keys.len() >= 2));
        }

        /// Rows climb at most one class of sizes per merge, and fill a file once.
        #[test]
        fn write_amplification_is_bounded_and_so_are_the_files(sizes in proptest::collection::vec(1..64 * KIB, 200..600)) {
            let policy = Policy { target_bytes: 4 * MIB, ..POLICY };
            let (arrived, written, left) = live(&sizes, &policy);
            let classes = u64::from(class_of(policy.target_bytes, policy.min_files)) + 2;
            prop_assert!(written <= arrived * classes, "{written} of {arrived}");
            let full = arrived / (policy.target_bytes / 4 * 3) + 1;
            prop_assert!(u64::try_from(left.len()).unwrap() <= full + classes * 8, "{} files", left.len());
        }
    }
}
