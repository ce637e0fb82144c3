//! Fakes for tests and simulation, each a real implementation of the seam that it stands in for. Never part of the product.

pub mod broker;
pub mod distant_store;
pub mod faulty_store;
pub mod random;
pub mod timeline;
pub mod trace;
