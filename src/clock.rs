//! Time and randomness, for everyone: nothing else in the crate reads a clock, sleeps or draws an id. Does not decide anything by time.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::mpsc::Receiver;
use std::time::Duration;

use futures::future::{BoxFuture, Either};

/// Turns of the others that a waiting thread of a simulation grants.
const SIMULATED_TURNS: u32 = 64;

/// A point on a clock that never steps back and goes on while the machine is suspended (CLOCK_BOOTTIME), in milliseconds since an arbitrary start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Instant(u64);

impl Instant {
    /// A point from its milliseconds; for tests and for sums.
    pub fn from_millis(ms: u64) -> Self {
        Instant(ms)
    }

    /// The time since `earlier`; zero if that lies ahead.
    pub fn since(self, earlier: Instant) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0))
    }

    /// The point `duration` later.
    pub fn after(self, duration: Duration) -> Instant {
        Instant(
            self.0
                .saturating_add(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)),
        )
    }
}

/// Hands out time and ids; cheap to clone. Production reads the machine, a simulation steps by hand.
#[derive(Debug, Clone)]
pub struct Clock(Source);

#[derive(Debug, Clone)]
enum Source {
    Machine,
    Manual(Arc<Manual>),
    Simulated(Arc<dyn Timeline>),
}

/// Time as a simulation plays it: many sleepers on one line, which only the simulation moves.
pub trait Timeline: std::fmt::Debug + Send + Sync {
    /// Milliseconds on the clock that never steps back.
    fn monotonic_ms(&self) -> u64;
    /// Milliseconds since 1970 UTC, as this instance has them.
    fn wall_ms(&self) -> i64;
    /// The next id.
    fn next_id(&self) -> u128;
    /// Ends when the time has come.
    fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()>;
    /// A thread waits: others of its instance take a step. Time stands still.
    fn wait_a_turn(&self);
}

#[derive(Debug)]
struct Manual {
    monotonic_ms: AtomicU64,
    wall_ms: AtomicI64,
    ids: AtomicU64,
}

impl Clock {
    /// The machine's clocks and random numbers.
    pub fn machine() -> Self {
        Clock(Source::Machine)
    }

    /// A clock that only `advance` moves and whose ids are counted from `seed`.
    pub fn manual(wall_ms: i64, seed: u64) -> Self {
        Clock(Source::Manual(Arc::new(Manual {
            monotonic_ms: AtomicU64::new(0),
            wall_ms: AtomicI64::new(wall_ms),
            ids: AtomicU64::new(seed),
        })))
    }

    /// A clock on a simulation's time line.
    pub fn simulated(timeline: Arc<dyn Timeline>) -> Self {
        Clock(Source::Simulated(timeline))
    }

    /// Moves a manual clock; the machine's does not listen.
    pub fn advance(&self, by: Duration) {
        if let Source::Manual(manual) = &self.0 {
            let ms = u64::try_from(by.as_millis()).unwrap_or(u64::MAX);
            manual.monotonic_ms.fetch_add(ms, Ordering::SeqCst);
            manual
                .wall_ms
                .fetch_add(i64::try_from(ms).unwrap_or(i64::MAX), Ordering::SeqCst);
        }
    }

    /// Now, on the clock that never steps back and counts suspension.
    pub fn now(&self) -> Instant {
        match &self.0 {
            Source::Machine => {
                let time = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
                let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
                let nanos = u64::try_from(time.tv_nsec).unwrap_or(0);
                Instant(seconds * 1000 + nanos / 1_000_000)
            }
            Source::Manual(manual) => Instant(manual.monotonic_ms.load(Ordering::SeqCst)),
            Source::Simulated(timeline) => Instant(timeline.monotonic_ms()),
        }
    }

    /// The wall clock, in milliseconds since 1970 UTC; data only, never a basis for a decision.
    pub fn wall_ms(&self) -> i64 {
        match &self.0 {
            Source::Machine => chrono::Utc::now().timestamp_millis(),
            Source::Manual(manual) => manual.wall_ms.load(Ordering::SeqCst),
            Source::Simulated(timeline) => timeline.wall_ms(),
        }
    }

    /// A new UUID in its hyphenated form.
    pub fn new_id(&self) -> String {
        self.new_uuid().to_string()
    }

    /// A new UUID.
    #[expect(clippy::disallowed_methods, reason = "the one place that draws ids")]
    pub fn new_uuid(&self) -> uuid::Uuid {
        match &self.0 {
            Source::Machine => uuid::Uuid::new_v4(),
            Source::Manual(manual) => {
                uuid::Uuid::from_u128(u128::from(manual.ids.fetch_add(1, Ordering::SeqCst)))
            }
            Source::Simulated(timeline) => uuid::Uuid::from_u128(timeline.next_id()),
        }
    }

    /// Blocks this thread; a manual clock moves on instead.
    #[expect(
        clippy::disallowed_methods,
        reason = "the one place that blocks a thread"
    )]
    pub fn sleep_blocking(&self, duration: Duration) {
        match &self.0 {
            Source::Machine => std::thread::sleep(duration),
            Source::Manual(_) => self.advance(duration),
            Source::Simulated(timeline) => timeline.wait_a_turn(),
        }
    }

    /// Waits for a message for at most `limit`; `None` when there is none by then, or its senders are gone.
    pub fn receive<T>(&self, inbox: &Receiver<T>, limit: Duration) -> Option<T> {
        let Source::Simulated(timeline) = &self.0 else {
            return inbox.recv_timeout(limit).ok();
        };
        // Time stands still while a thread of a simulation waits, so its patience is counted in turns.
        for _ in 0..SIMULATED_TURNS {
            if let Ok(message) = inbox.try_recv() {
                return Some(message);
            }
            timeline.wait_a_turn();
        }
        None
    }

    /// Sleeps in a task; a manual clock moves on instead.
    #[expect(
        clippy::disallowed_methods,
        reason = "the one place where a task sleeps"
    )]
    pub async fn sleep(&self, duration: Duration) {
        match &self.0 {
            Source::Machine => tokio::time::sleep(duration).await,
            Source::Manual(_) => {
                self.advance(duration);
                tokio::task::yield_now().await;
            }
            Source::Simulated(timeline) => timeline.sleep(duration).await,
        }
    }

    /// Lets `future` run for at most `limit`; `None` when it took longer. A manual clock sets no limit.
    #[expect(
        clippy::disallowed_methods,
        reason = "the one place where a task is timed out"
    )]
    pub async fn timeout<F: Future>(&self, limit: Duration, future: F) -> Option<F::Output> {
        match &self.0 {
            Source::Machine => tokio::time::timeout(limit, future).await.ok(),
            Source::Manual(_) => Some(future.await),
            Source::Simulated(timeline) => {
                let limit = timeline.sleep(limit);
                match futures::future::select(std::pin::pin!(future), limit).await {
                    Either::Left((output, _)) => Some(output),
                    Either::Right(((), _)) => None,
                }
            }
        }
    }
}
