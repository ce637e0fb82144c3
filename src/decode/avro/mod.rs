//! Avro: a writer schema and a table's columns are compiled into steps that read bytes and append to columns. Owns Avro's binary encoding; does
//! not fetch schemas.

pub(crate) mod compile;
mod cursor;
mod decimal;
pub(crate) mod fingerprint;
pub(crate) mod run;
pub(crate) mod schema;
mod skip;
mod text;

pub(crate) use self::decimal::fits;
