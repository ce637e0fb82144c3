//! The `lakeward` program. Owns its allocator and nothing else; `ops` is the command line.

use std::process::ExitCode;

/// Decoding and encoding allocate in bursts from several threads, which jemalloc returns and reuses better than glibc.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    lakeward::ops::main()
}
