//! The declarative config: YAML in, a valid `Config` out. Owns YAML and the environment; does no network I/O and knows no stage.

pub mod ddl;
pub mod settings;

pub use settings::Config;
