//! Tests without network or services: the architecture, the tidiness of the tree, the promises of README.md that need no Kafka. Live tests are in `integration/live`.

mod architecture;
mod tidy;
