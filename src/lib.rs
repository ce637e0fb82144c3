//! Lakeward carries Kafka topics into Delta Lake tables, exactly once, and keeps those tables fast. The rooms below are in reading order;
//! ARCHITECTURE.md says which may name which, and a test holds them to it.

pub mod clock;
pub mod error;
pub mod metrics;
pub mod model;
pub mod trial;

pub mod config;

pub mod buffer;
pub mod decode;
pub mod delta;
pub mod source;
pub mod writer;

pub mod maintenance;

pub mod pipeline;

pub mod ops;

#[cfg(any(test, feature = "testing"))]
pub mod testing;
