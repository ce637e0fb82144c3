//! Memory as permits: who holds bytes holds a permit, and its drop gives them back (MEM-1). Does not decide who gets how much: `buffer::budget` does.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// A pool of bytes with a limit; clones share it.
#[derive(Debug, Clone)]
pub struct Pool {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    limit_bytes: u64,
    used_bytes: AtomicU64,
}

impl Pool {
    /// An empty pool of `limit_bytes`.
    pub fn new(limit_bytes: u64) -> Self {
        Pool {
            inner: Arc::new(Inner {
                limit_bytes,
                used_bytes: AtomicU64::new(0),
            }),
        }
    }

    /// A permit for `bytes`, or `None` when they would exceed the limit. An idle pool grants any single request, so that one large record can pass.
    pub fn try_acquire(&self, bytes: u64) -> Option<Permit> {
        let granted =
            self.inner
                .used_bytes
                .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |used| {
                    (used == 0 || used.saturating_add(bytes) <= self.inner.limit_bytes)
                        .then(|| used.saturating_add(bytes))
                });
        granted.ok().map(|_| Permit {
            inner: Arc::clone(&self.inner),
            bytes,
        })
    }

    /// A permit for bytes that exist already, past the limit if need be; whoever is about to take more asks `is_full` first.
    pub fn hold(&self, bytes: u64) -> Permit {
        self.inner.used_bytes.fetch_add(bytes, Ordering::SeqCst);
        Permit {
            inner: Arc::clone(&self.inner),
            bytes,
        }
    }

    /// Whether no more should be taken.
    pub fn is_full(&self) -> bool {
        self.used_bytes() >= self.inner.limit_bytes
    }

    /// Bytes under permit now.
    pub fn used_bytes(&self) -> u64 {
        self.inner.used_bytes.load(Ordering::SeqCst)
    }

    /// The limit in bytes.
    pub fn limit_bytes(&self) -> u64 {
        self.inner.limit_bytes
    }
}

/// The right to hold some bytes; dropping it gives them back.
#[derive(Debug)]
pub struct Permit {
    inner: Arc<Inner>,
    bytes: u64,
}

impl Permit {
    /// The bytes it stands for.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Changes what it stands for to what turned out to be held; may pass the limit, since the bytes exist already.
    pub fn resize(&mut self, bytes: u64) {
        if bytes >= self.bytes {
            self.inner
                .used_bytes
                .fetch_add(bytes - self.bytes, Ordering::SeqCst);
        } else {
            self.inner
                .used_bytes
                .fetch_sub(self.bytes - bytes, Ordering::SeqCst);
        }
        self.bytes = bytes;
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.inner
            .used_bytes
            .fetch_sub(self.bytes, Ordering::SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mem_1_live_permits_stay_within_the_limit() {
        let pool = Pool::new(10);
        let first = pool.try_acquire(6).unwrap();
        assert!(pool.try_acquire(5).is_none());
        drop(first);
        assert_eq!(pool.used_bytes(), 0);
        assert!(
            pool.try_acquire(11).is_some(),
            "one large request passes an idle pool"
        );
    }
}
