"""Owns the scenarios that the built sink must survive on real components, one file each. Not offline tests (Rust), not speed (bench)."""
