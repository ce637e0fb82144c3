//! What happened in a simulation: a hash over all of it, and the last lines for a person. Owns no event.

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

const TAIL: usize = 400;
const FNV_PRIME: u64 = 0x0000_0100_0000_01b3;

/// A trace; clones share it.
#[derive(Debug, Clone, Default)]
pub struct Trace(Arc<Mutex<Inner>>);

#[derive(Debug, Default)]
struct Inner {
    hash: u64,
    lines: u64,
    tail: VecDeque<String>,
}

impl Trace {
    /// Notes what `who` did.
    pub fn note(&self, now_ms: u64, who: impl fmt::Display, what: impl fmt::Display) {
        let line = format!("{now_ms:>8} {who}: {what}");
        let mut inner = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut hash = inner.hash ^ 0xcbf2_9ce4_8422_2325;
        for byte in line.bytes() {
            hash = (hash ^ u64::from(byte)).wrapping_mul(FNV_PRIME);
        }
        inner.hash = hash;
        inner.lines += 1;
        if inner.tail.len() == TAIL {
            inner.tail.pop_front();
        }
        inner.tail.push_back(line);
    }

    /// The hash over every line, and how many there are.
    pub fn hash(&self) -> (u64, u64) {
        let inner = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        (inner.hash, inner.lines)
    }

    /// The last lines.
    pub fn tail(&self, lines: usize) -> String {
        let inner = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let skipped = inner.tail.len().saturating_sub(lines);
        let tail: Vec<&str> = inner
            .tail
            .iter()
            .skip(skipped)
            .map(String::as_str)
            .collect();
        tail.join("\n")
    }
}
