//! A record's key, decoded into its one column: a struct's members where its schema has fields, else a value. Does not know where the column stands.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema};

use super::Error;
use super::builder::{Column, Data};
use super::evolution::Policy;
use super::format::{Failure, Format, Target};
use super::registry::Registry;
use super::reject::{Code, Fault};
use super::resolve::ResolvedKey;
use crate::config::settings::Table;

/// Decodes keys.
#[derive(Debug)]
pub(super) struct KeyDecoder {
    format: Format,
    /// The members of the key's struct, or the key's column alone.
    target: Target,
}

impl KeyDecoder {
    /// Compiled for the key's column, as the table has it.
    pub(super) fn new(
        key: &ResolvedKey,
        column: &Field,
        registry: Option<Arc<Registry>>,
        table: &Table,
    ) -> Result<Self, Error> {
        let (schema, is_single) =
            if let (DataType::Struct(members), true) = (column.data_type(), key.is_record()) {
                (Schema::new(members.clone()), false)
            } else {
                (Schema::new(vec![column.clone()]), true)
            };
        let target = Target {
            schema: Arc::new(schema),
            kafka: Vec::new(),
            is_single,
            policy: Policy::of_keys(table),
            timestamps: table.timestamps,
        };
        let format = Format::new(&key.source, &target, registry, &table.name)?;
        Ok(KeyDecoder { format, target })
    }

    /// As the decoder of values.
    pub(super) fn deny(&mut self, reason: &str) {
        self.target.policy = self.target.policy.clone().denying(reason.to_owned());
    }

    /// Appends a key, or leaves the column uneven.
    pub(super) fn append(
        &mut self,
        key: Option<&[u8]>,
        column: &mut Column,
    ) -> Result<(), Failure> {
        let Some(key) = key else {
            return Ok(column.push_null()?);
        };
        if key.is_empty() && !self.format.takes_empty() {
            let message = "the key has no byte at all, and is not null";
            return Err(Fault::new(Code::EmptyPayload, message).into());
        }
        if self.target.is_single {
            let row = column.len();
            let columns = std::slice::from_mut(column);
            self.format.append(key, &self.target, columns, row)?;
            return Ok(());
        }
        let Data::Struct(members) = &mut column.data else {
            return Err(Fault::new(
                Code::TypeMismatch,
                "the column of the key is no struct (a bug of Lakeward)",
            )
            .into());
        };
        let row = members.len();
        self.format
            .append(key, &self.target, &mut members.members, row)?;
        members.end();
        Ok(())
    }
}
