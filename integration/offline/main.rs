//! Offline tests.
