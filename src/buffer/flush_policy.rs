//! When a table's buffer is flushed: a pure function of its state and now (TIME-1). Does not read a clock, does not flush.

use std::time::Duration;

use crate::clock::Instant;
use crate::config::settings::{Flush, Table};

/// A flush frees memory when what it could free has passed this share of the pool.
const PRESSURE_PERCENT: u64 = 70;
/// A slow store may not eat more of `target_lag` than this share, or buffers would be flushed as soon as they are begun.
const FLUSH_SHARE_MAX_PERCENT: u32 = 50;

/// What the first flush is expected to take, since none was seen yet: the first rows must be readable in time too.
const FIRST_FLUSH: Duration = Duration::from_millis(200);

/// What a table has buffered, over all its lanes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct BufferState {
    /// Rows.
    pub rows: u64,
    /// The expected size of its largest file.
    pub largest_file_bytes: u64,
    /// When the oldest of its records arrived.
    pub oldest_arrival: Option<Instant>,
    /// When the oldest of its pending offsets without rows arrived; they ride along with rows, or advance alone.
    pub oldest_rowless: Option<Instant>,
    /// Whether no other table's buffer holds more memory.
    pub is_largest: bool,
    /// Memory that flushes could free, over all tables: not what is on its way to the store already.
    pub unsealed_bytes: u64,
    /// The pool that this memory is from.
    pub pool_bytes: u64,
    /// How long a flush takes, from the seal to readable.
    pub flush_estimate: Duration,
}

/// The settings that a table's flushes follow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// `target_lag`.
    pub target_lag: Duration,
    /// `flush`.
    pub flush: Flush,
}

impl From<&Table> for Limits {
    fn from(table: &Table) -> Self {
        Limits {
            target_lag: table.target_lag,
            flush: table.flush,
        }
    }
}

/// What to do about a buffer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// Nothing, unless more arrives, until this instant; `None` while there is nothing to flush.
    Wait(Option<Instant>),
    /// Seal and flush it now.
    Flush(Reason),
}

/// Why a buffer is flushed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Reason {
    /// A file has its size.
    Size,
    /// It has its rows.
    Rows,
    /// Memory is short and no buffer holds more.
    Memory,
    /// Its oldest record must become readable within `target_lag`.
    Lag,
    /// Offsets without rows have waited for `target_lag`.
    Offsets,
}

impl Reason {
    /// The name used in logs and metrics.
    pub fn name(self) -> &'static str {
        match self {
            Reason::Size => "size",
            Reason::Rows => "rows",
            Reason::Memory => "memory",
            Reason::Lag => "lag",
            Reason::Offsets => "offsets",
        }
    }
}

/// Decides about one table's buffer.
///
/// | buffer | decision |
/// |---|---|
/// | nothing | wait for ever |
/// | only offsets without rows | flush `target_lag` after the first of them, so at most once per `target_lag` |
/// | rows, a limit of `flush` reached | flush |
/// | rows, memory short, no buffer larger | flush |
/// | rows | flush `target_lag` after the oldest, less the time that a flush takes |
pub fn decide(state: &BufferState, limits: &Limits, now: Instant) -> Decision {
    if state.rows == 0 {
        return match state.oldest_rowless {
            None => Decision::Wait(None),
            Some(arrival) => due(arrival.after(limits.target_lag), Reason::Offsets, now),
        };
    }
    if state.largest_file_bytes >= limits.flush.file_size_bytes {
        return Decision::Flush(Reason::Size);
    }
    if state.rows >= limits.flush.rows {
        return Decision::Flush(Reason::Rows);
    }
    if state.is_largest && is_pressing(state) {
        return Decision::Flush(Reason::Memory);
    }
    let oldest = [state.oldest_arrival, state.oldest_rowless]
        .into_iter()
        .flatten()
        .min()
        .unwrap_or(now);
    let lead = state
        .flush_estimate
        .min(limits.target_lag * FLUSH_SHARE_MAX_PERCENT / 100);
    due(
        oldest.after(limits.target_lag.saturating_sub(lead)),
        Reason::Lag,
        now,
    )
}

fn due(at: Instant, reason: Reason, now: Instant) -> Decision {
    if at <= now {
        Decision::Flush(reason)
    } else {
        Decision::Wait(Some(at))
    }
}

fn is_pressing(state: &BufferState) -> bool {
    state.unsealed_bytes >= state.pool_bytes / 100 * PRESSURE_PERCENT
}

/// How long flushes take: follows a slow one at once, forgets it over the next few.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FlushEstimate(Duration);

impl Default for FlushEstimate {
    fn default() -> Self {
        FlushEstimate(FIRST_FLUSH)
    }
}

impl FlushEstimate {
    /// Takes in how long a flush took, from the seal to the commit.
    pub fn observe(&mut self, took: Duration) {
        self.0 = took.max(self.0 * 7 / 8);
    }

    /// What to expect of the next, with a quarter to spare.
    pub fn next(self) -> Duration {
        self.0 * 5 / 4
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits = Limits {
        target_lag: Duration::from_secs(60),
        flush: Flush {
            file_size_bytes: 1000,
            rows: 100,
        },
    };

    fn at(seconds: u64) -> Instant {
        Instant::from_millis(seconds * 1000)
    }

    fn rows() -> BufferState {
        BufferState {
            rows: 1,
            oldest_arrival: Some(at(100)),
            pool_bytes: 10_000,
            is_largest: true,
            ..BufferState::default()
        }
    }

    fn check(state: BufferState, now: u64, expected: Decision) {
        assert_eq!(decide(&state, &LIMITS, at(now)), expected);
        assert_eq!(
            decide(&state, &LIMITS, at(now)),
            expected,
            "TIME-1: the same state and time decide the same"
        );
    }

    #[test]
    fn time_1_an_empty_buffer_waits_for_ever() {
        check(BufferState::default(), 1_000_000, Decision::Wait(None));
    }

    #[test]
    fn time_1_rows_are_flushed_when_target_lag_needs_it() {
        check(rows(), 100, Decision::Wait(Some(at(160))));
        check(rows(), 159, Decision::Wait(Some(at(160))));
        check(rows(), 160, Decision::Flush(Reason::Lag));
        check(
            BufferState {
                flush_estimate: Duration::from_secs(5),
                ..rows()
            },
            155,
            Decision::Flush(Reason::Lag),
        );
        check(
            BufferState {
                oldest_rowless: Some(at(90)),
                ..rows()
            },
            150,
            Decision::Flush(Reason::Lag),
        );
    }

    #[test]
    fn time_1_a_store_slower_than_the_lag_does_not_flush_every_row() {
        check(
            BufferState {
                flush_estimate: Duration::from_secs(600),
                ..rows()
            },
            129,
            Decision::Wait(Some(at(130))),
        );
    }

    #[test]
    fn time_1_size_and_rows_flush_at_once() {
        check(
            BufferState {
                largest_file_bytes: 1000,
                ..rows()
            },
            100,
            Decision::Flush(Reason::Size),
        );
        check(
            BufferState {
                rows: 100,
                ..rows()
            },
            100,
            Decision::Flush(Reason::Rows),
        );
        check(
            BufferState {
                largest_file_bytes: 999,
                rows: 99,
                ..rows()
            },
            100,
            Decision::Wait(Some(at(160))),
        );
    }

    #[test]
    fn time_1_short_memory_flushes_the_largest_buffer_only() {
        let pressed = BufferState {
            unsealed_bytes: 7000,
            ..rows()
        };
        check(pressed, 100, Decision::Flush(Reason::Memory));
        check(
            BufferState {
                is_largest: false,
                ..pressed
            },
            100,
            Decision::Wait(Some(at(160))),
        );
        check(
            BufferState {
                unsealed_bytes: 6999,
                ..pressed
            },
            100,
            Decision::Wait(Some(at(160))),
        );
    }

    #[test]
    fn time_1_offsets_without_rows_advance_once_per_target_lag() {
        let rowless = BufferState {
            oldest_rowless: Some(at(10)),
            is_largest: true,
            unsealed_bytes: u64::MAX,
            ..BufferState::default()
        };
        check(rowless, 69, Decision::Wait(Some(at(70))));
        check(rowless, 70, Decision::Flush(Reason::Offsets));
    }

    #[test]
    fn the_estimate_follows_a_slow_flush_at_once_and_forgets_it_slowly() {
        let mut estimate = FlushEstimate::default();
        assert_eq!(estimate.next(), Duration::from_millis(250));
        estimate.observe(Duration::from_secs(8));
        assert_eq!(estimate.next(), Duration::from_secs(10));
        estimate.observe(Duration::from_secs(1));
        assert_eq!(estimate.next(), Duration::from_millis(8750));
        (0..60).for_each(|_| estimate.observe(Duration::from_secs(1)));
        assert_eq!(estimate.next(), Duration::from_millis(1250));
    }
}
