//! Tests without network or services: the architecture, the tidiness of the tree, the promises of README.md that need no Kafka. Live tests are in `integration/live`.

#![expect(
    clippy::unwrap_used,
    clippy::string_slice,
    reason = "a test that cannot read the tree should stop at once"
)]

mod architecture;
mod tidy;
