//! Many seeds without a violation; the same seed twice; and each ordered bug caught. `SEED=` replays one seed, `SEEDS=` says how many `make simulate` plays.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::pipeline::simulation::{Report, simulate};
use crate::trial::Bug;

/// Threads that play side by side.
const PLAYERS: u64 = 2;

fn from_environment(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().unwrap())
}

fn play(seed: u64, bug: Option<Bug>) -> Result<Report, String> {
    catch_unwind(AssertUnwindSafe(|| simulate(seed, bug))).unwrap_or_else(|_| {
        Err(format!(
            "seed {seed}: the product or its simulation panicked; see above"
        ))
    })
}

/// Plays seeds side by side until one fails; the sum of what they came to.
fn play_all(seeds: std::ops::Range<u64>) -> Result<Report, String> {
    let next = AtomicU64::new(seeds.start);
    let (sum, failure) = (
        Mutex::new(Report::default()),
        Mutex::new(None::<(u64, String)>),
    );
    std::thread::scope(|scope| {
        for _ in 0..PLAYERS {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::SeqCst);
                    if seed >= seeds.end || failure.lock().unwrap().is_some() {
                        return;
                    }
                    match play(seed, None) {
                        Ok(report) => sum.lock().unwrap().add(&report),
                        Err(message) => *failure.lock().unwrap() = Some((seed, message)),
                    }
                }
            });
        }
    });
    match failure.into_inner().unwrap() {
        Some((_, message)) => Err(message),
        None => Ok(sum.into_inner().unwrap()),
    }
}

fn check_seeds(seeds: std::ops::Range<u64>) {
    println!("seeds {seeds:?}");
    match play_all(seeds) {
        Ok(sum) => println!(
            "{} rows, {} versions, {} s of virtual time, {:?}",
            sum.rows,
            sum.versions,
            sum.virtual_ms / 1000,
            sum.counts
        ),
        Err(message) => panic!("{message}"),
    }
}

#[test]
fn no_seed_loses_or_doubles_a_record() {
    match from_environment("SEED") {
        Some(seed) => println!(
            "{:?}",
            play(seed, None).unwrap_or_else(|message| panic!("{message}"))
        ),
        None => check_seeds(0..1_000),
    }
}

#[test]
#[ignore = "by hand: make simulate SEEDS=100000"]
fn many_seeds() {
    let first = from_environment("FIRST").unwrap_or(1_000_000);
    check_seeds(first..first + from_environment("SEEDS").unwrap_or(100_000));
}

#[test]
fn the_same_seed_gives_the_same_trace() {
    for seed in 0..8 {
        let (first, second) = (play(seed, None).unwrap(), play(seed, None).unwrap());
        assert_eq!(
            (first.hash, first.lines),
            (second.hash, second.lines),
            "seed {seed}"
        );
    }
    assert_ne!(play(1, None).unwrap().hash, play(2, None).unwrap().hash);
}

/// An ordered bug must show within these seeds, by words that name what it breaks.
fn check_caught(bug: Bug, seeds: std::ops::Range<u64>, words: &[&str]) {
    for seed in seeds.clone() {
        if let Err(message) = play(seed, Some(bug)) {
            let first = message.lines().next().unwrap();
            println!("{bug:?} is caught: {first}");
            assert!(words.iter().any(|words| first.contains(words)), "{message}");
            return;
        }
    }
    panic!("{bug:?} is not caught within the seeds {seeds:?}");
}

#[test]
fn off_3_a_commit_without_the_base_check_is_caught() {
    check_caught(Bug::NoBaseCheck, 0..300, &["OFF-3"]);
}

#[test]
fn commit_1_a_result_that_is_guessed_is_caught() {
    check_caught(Bug::NoReadBack, 0..50, &["COMMIT-1"]);
}

#[test]
fn off_7_a_truncation_that_is_noticed_by_the_logs_end_alone_is_caught() {
    check_caught(
        Bug::TruncationByEndAlone,
        0..300,
        &["is no log that there was"],
    );
}

#[test]
fn epoch_1_a_commit_after_a_revoke_is_caught() {
    check_caught(Bug::CommitAfterRevoke, 0..300, &["EPOCH-1"]);
}

#[test]
fn off_8_a_start_on_a_missing_txn_is_caught() {
    check_caught(Bug::StartOnMissingTxn, 0..300, &["OFF-3"]);
}

#[test]
fn off_3_a_lowered_txn_is_caught() {
    check_caught(Bug::TxnLowered, 0..300, &["OFF-3"]);
}

#[test]
fn commit_2_a_base_that_is_not_looked_at_is_caught() {
    check_caught(
        Bug::NoIdentityCheck,
        0..300,
        &["COMMIT-1", "OFF-3", "record", "row", "not everything"],
    );
}

#[test]
fn comp_1_a_merge_that_loses_rows_is_caught() {
    check_caught(Bug::LossyRewrite, 0..100, &["COMP-1"]);
}

#[test]
fn comp_2_a_merge_of_files_that_are_gone_is_caught() {
    check_caught(Bug::StaleRewrite, 0..300, &["COMP-2"]);
}

#[test]
fn file_1_a_commit_of_files_that_a_vacuum_took_for_orphans_is_caught() {
    check_caught(Bug::AgedFiles, 0..300, &["FILE-1"]);
}

#[test]
fn a_table_that_does_not_drop_rows_below_its_own_offset_is_caught() {
    check_caught(Bug::RowsBelowOwnOffset, 0..100, &["twice", "DLQ-1"]);
}

#[test]
fn a_family_that_reads_on_from_its_highest_offset_is_caught() {
    check_caught(
        Bug::HighestOfFamily,
        0..100,
        &["which is not in the table", "DLQ-1"],
    );
}

#[test]
fn dlq_1_rejects_that_are_published_twice_are_caught() {
    check_caught(Bug::PublishedTwice, 0..300, &["adds", "DLQ-1"]);
}
