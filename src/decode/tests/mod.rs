//! Decoding as the pipeline uses it: records in, batches and rejects out. Owns the reference models; the code under test shares nothing with them.

mod avro_oracle;
mod columns;
mod corpus;
mod decoding;
mod evolution;
mod fuzz;
mod json_oracle;
mod plain;
mod protobuf;
mod protobuf_oracle;
mod registry;
mod schemas;
mod speed;
mod support;
