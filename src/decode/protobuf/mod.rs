//! Protobuf: a message type and a table's columns are compiled into steps that read the wire format and append to columns. Owns the wire format and the
//! compilation of `.proto` text in process; does not fetch schemas.

pub(crate) mod compile;
mod quick;
pub(crate) mod run;
mod schema;
mod text;
mod wire;

pub(crate) use self::schema::{Indexes, Schema};
