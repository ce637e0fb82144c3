//! Virtual time: one line for a whole simulation, on which every sleeper waits, and the clocks that its instances see. Owns when timers fire; moves only when told.

use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use futures::future::BoxFuture;

use crate::clock;
use crate::testing::random::Random;

/// What 1970 plus this is when a simulation begins.
pub(crate) const EPOCH_MS: i64 = 1_767_225_600_000;

/// The line; clones share it.
#[derive(Debug, Clone, Default)]
pub struct Timeline(Arc<Mutex<Line>>);

#[derive(Debug, Default)]
struct Line {
    now_ms: u64,
    timers: BTreeMap<(u64, u64), Waker>,
    counted: u64,
}

impl Timeline {
    fn lock(&self) -> MutexGuard<'_, Line> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Now.
    pub fn now_ms(&self) -> u64 {
        self.lock().now_ms
    }

    /// When the next sleeper wakes.
    pub fn next_timer_ms(&self) -> Option<u64> {
        self.lock().timers.keys().next().map(|(at, _)| *at)
    }

    /// Moves on, and wakes whose time has come.
    pub fn advance_to(&self, ms: u64) {
        let mut line = self.lock();
        line.now_ms = line.now_ms.max(ms);
        let due = (line.now_ms + 1, 0);
        let later = line.timers.split_off(&due);
        let woken = std::mem::replace(&mut line.timers, later);
        drop(line);
        woken.into_values().for_each(Waker::wake);
    }

    /// Ends when `duration` has passed.
    pub fn sleep(&self, duration: Duration) -> Sleep {
        let mut line = self.lock();
        line.counted += 1;
        let ms = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
        Sleep {
            key: (line.now_ms.saturating_add(ms), line.counted),
            timeline: self.clone(),
        }
    }
}

/// A sleeper.
#[derive(Debug)]
pub struct Sleep {
    timeline: Timeline,
    key: (u64, u64),
}

impl Future for Sleep {
    type Output = ();

    fn poll(self: Pin<&mut Self>, ctx: &mut Context<'_>) -> Poll<()> {
        let mut line = self.timeline.lock();
        if line.now_ms >= self.key.0 {
            return Poll::Ready(());
        }
        line.timers.insert(self.key, ctx.waker().clone());
        Poll::Pending
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        self.timeline.lock().timers.remove(&self.key);
    }
}

type Turn = Box<dyn FnMut() + Send>;

/// The clock of one instance's life: the line's time, a wall clock of its own, its own ids.
pub struct InstanceClock {
    timeline: Timeline,
    wall_off_ms: AtomicI64,
    ids: Mutex<Random>,
    turn: Mutex<Option<Turn>>,
}

impl fmt::Debug for InstanceClock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("InstanceClock").finish_non_exhaustive()
    }
}

impl InstanceClock {
    /// A clock on the line.
    pub fn new(timeline: &Timeline, ids: Random) -> Arc<Self> {
        Arc::new(InstanceClock {
            timeline: timeline.clone(),
            wall_off_ms: AtomicI64::new(0),
            ids: Mutex::new(ids),
            turn: Mutex::new(None),
        })
    }

    /// Sets the wall clock off by this much.
    pub fn jump(&self, off_ms: i64) {
        self.wall_off_ms.store(off_ms, Ordering::SeqCst);
    }

    /// What happens while a thread of the instance waits.
    pub fn on_wait(&self, turn: impl FnMut() + Send + 'static) {
        *self.turn.lock().unwrap_or_else(PoisonError::into_inner) = Some(Box::new(turn));
    }
}

impl clock::Timeline for InstanceClock {
    fn monotonic_ms(&self) -> u64 {
        self.timeline.now_ms()
    }

    fn wall_ms(&self) -> i64 {
        let now = i64::try_from(self.timeline.now_ms()).unwrap_or(i64::MAX);
        EPOCH_MS + now + self.wall_off_ms.load(Ordering::SeqCst)
    }

    fn next_id(&self) -> u128 {
        let mut ids = self.ids.lock().unwrap_or_else(PoisonError::into_inner);
        (u128::from(ids.draw()) << 64) | u128::from(ids.draw())
    }

    fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()> {
        Box::pin(self.timeline.sleep(duration))
    }

    fn wait_a_turn(&self) {
        // A turn that is being taken does not take itself.
        if let Ok(mut turn) = self.turn.try_lock()
            && let Some(turn) = turn.as_mut()
        {
            turn();
        }
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;

    use super::*;

    #[test]
    fn a_sleeper_wakes_when_its_time_has_come_and_not_before() {
        let timeline = Timeline::default();
        let mut sleep = timeline.sleep(Duration::from_millis(10));
        assert!((&mut sleep).now_or_never().is_none());
        assert_eq!(timeline.next_timer_ms(), Some(10));
        timeline.advance_to(9);
        assert!((&mut sleep).now_or_never().is_none());
        timeline.advance_to(10);
        assert!((&mut sleep).now_or_never().is_some());
    }
}
