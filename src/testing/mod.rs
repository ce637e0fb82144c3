//! Fakes for tests and simulation, each a real implementation of the seam that it stands in for. Never part of the product.

pub mod faulty_store;
