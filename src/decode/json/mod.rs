//! JSON: declared fields and a table's columns are compiled into steps that read text and append to columns, without a tree in between. Does not
//! know where the declaration comes from.

pub(crate) mod compile;
mod number;
mod rescue;
pub(crate) mod run;
mod scan;
mod spelled;
