//! Where rows lie: table partition columns, their values per row, and the directory they name. Owns partition text and paths (FILE-1); does not encode or upload.

pub(crate) mod calendar;
mod directory;
mod murmur3;
mod source;
mod split;
mod transform;
mod value;

use std::collections::BTreeSet;

use arrow::datatypes::{Field, Schema};

use crate::config::settings::{PartitionField, Transform};
use crate::writer::Error;

pub(crate) use directory::directory;
pub(crate) use split::{Part, split};
pub use transform::Placed;
pub use value::Value;
pub(crate) use value::decimal_text;

/// A path has room for this many partition columns, each with a readable part of its value.
const FIELDS_MAX: usize = 16;

/// The columns that `partition_by` adds to a table: one for each transform but identity, in order. Refuses by name what Delta cannot place.
pub fn derived_fields(
    partition_by: &[PartitionField],
    columns: &Schema,
) -> Result<Vec<Field>, Error> {
    let placed = resolve(partition_by, columns)?;
    Ok(placed
        .iter()
        .filter(|field| !field.is_identity())
        .map(Placed::table_field)
        .collect())
}

/// Binds `partition_by` to the columns it is computed from.
pub(crate) fn resolve(
    partition_by: &[PartitionField],
    columns: &Schema,
) -> Result<Vec<Placed>, Error> {
    if partition_by.len() > FIELDS_MAX {
        return Err(Error::TooManyFields {
            count: partition_by.len(),
            max: FIELDS_MAX,
        });
    }
    let mut taken: BTreeSet<String> = columns
        .fields()
        .iter()
        .map(|field| field.name().to_lowercase())
        .collect();
    let mut identities = BTreeSet::new();
    let mut placed = Vec::with_capacity(partition_by.len());
    for field in partition_by {
        let free = match field.transform {
            Transform::Identity => identities.insert(field.source.as_str()),
            Transform::Year
            | Transform::Month
            | Transform::Date
            | Transform::Hour
            | Transform::Bucket(_)
            | Transform::Truncate(_) => taken.insert(field.name.to_lowercase()),
        };
        if !free {
            return Err(Error::NameTaken {
                field: field.name.clone(),
            });
        }
        placed.push(Placed::new(field, columns)?);
    }
    Ok(placed)
}

#[cfg(test)]
mod tests;
