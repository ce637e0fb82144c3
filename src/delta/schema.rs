//! The table's schema between Delta's text, deltalake's types and Arrow, and what fits into what. Owns those comparisons; changes no schema.

use std::sync::Arc;

use arrow::datatypes::{Schema, SchemaRef};
use deltalake::kernel::engine::arrow_conversion::{TryIntoArrow as _, TryIntoKernel as _};
use deltalake::kernel::{DataType, PrimitiveType, StructField, StructType};

use crate::delta::error::Error;
use crate::delta::evolve;
use crate::delta::table::Table;

/// Whether rows of the `wanted` columns can be appended to the table: each has a column of the same name and type, and what only the table has is nullable.
pub fn fit(table: &Table, wanted: &Schema, partition_columns: &[String]) -> Result<(), Error> {
    let misfit = |reason: String| Error::Misfit {
        location: table.location().to_owned(),
        reason,
    };
    let wanted = from_arrow(wanted).map_err(misfit)?;
    covers(table.delta_schema(), &wanted, "").map_err(misfit)?;
    same_partition_columns(table.partition_columns(), partition_columns).map_err(misfit)
}

/// As `fit`, but the table may be given the columns that it lacks.
pub fn fit_grown(
    table: &Table,
    wanted: &Schema,
    partition_columns: &[String],
) -> Result<(), Error> {
    let misfit = |reason: String| Error::Misfit {
        location: table.location().to_owned(),
        reason,
    };
    evolve::grown(table.delta_schema(), wanted).map_err(misfit)?;
    same_partition_columns(table.partition_columns(), partition_columns).map_err(misfit)
}

/// Reads Delta's `schemaString`.
pub(crate) fn parse(text: &str) -> Result<StructType, String> {
    serde_json::from_str(text).map_err(|error| format!("its schema is unreadable ({error})"))
}

/// The Arrow schema of a table.
pub(crate) fn to_arrow(schema: &StructType) -> Result<SchemaRef, String> {
    let arrow: Schema = schema
        .try_into_arrow()
        .map_err(|error| format!("its schema cannot be held in memory ({error})"))?;
    Ok(Arc::new(arrow))
}

/// The Delta schema of Arrow columns.
pub(crate) fn from_arrow(columns: &Schema) -> Result<StructType, String> {
    columns
        .try_into_kernel()
        .map_err(|error| format!("its columns have no Delta type ({error})"))
}

/// Whether a Delta type needs the feature timestampNtz.
pub(crate) fn holds_timestamp_ntz(schema: &StructType) -> bool {
    fn holds(kind: &DataType) -> bool {
        match kind {
            DataType::Primitive(primitive) => *primitive == PrimitiveType::TimestampNtz,
            DataType::Array(array) => holds(array.element_type()),
            DataType::Map(map) => holds(map.key_type()) || holds(map.value_type()),
            DataType::Struct(inner) | DataType::Variant(inner) => holds_timestamp_ntz(inner),
        }
    }
    schema.fields().any(|field| holds(field.data_type()))
}

/// Whether a table with schema `has` takes files written with schema `wanted`; the sentence names the column and both types.
pub(crate) fn covers(has: &StructType, wanted: &StructType, prefix: &str) -> Result<(), String> {
    for field in wanted.fields() {
        let path = format!("{prefix}{}", field.name());
        let Some(found) = has.field(field.name()) else {
            let alike = has
                .fields()
                .find(|other| other.name().eq_ignore_ascii_case(field.name()));
            let hint = alike.map_or_else(String::new, |other| {
                format!(
                    " (it has `{prefix}{}`, which differs in case)",
                    other.name()
                )
            });
            return Err(format!(
                "the column `{path}` ({}) is not in the table{hint}",
                field.data_type()
            ));
        };
        if field.is_nullable() && !found.is_nullable() {
            return Err(format!(
                "the column `{path}` is NOT NULL in the table, but the records' may be null"
            ));
        }
        covers_type(found.data_type(), field.data_type(), &path)?;
    }
    match has
        .fields()
        .find(|field| !field.is_nullable() && wanted.field(field.name()).is_none())
    {
        Some(field) => Err(format!(
            "the table's column `{prefix}{}` is NOT NULL and the records do not have it",
            StructField::name(field)
        )),
        None => Ok(()),
    }
}

/// Whether both name the same table partition columns in the same order.
pub(crate) fn same_partition_columns(has: &[String], wanted: &[String]) -> Result<(), String> {
    if has == wanted {
        return Ok(());
    }
    Err(format!(
        "it is partitioned by [{}], but tables.partition_by says [{}]",
        has.join(", "),
        wanted.join(", ")
    ))
}

fn covers_type(has: &DataType, wanted: &DataType, path: &str) -> Result<(), String> {
    match (has, wanted) {
        (DataType::Struct(has), DataType::Struct(wanted)) => {
            covers(has, wanted, &format!("{path}."))
        }
        (DataType::Array(has), DataType::Array(wanted))
            if has.contains_null() || !wanted.contains_null() =>
        {
            covers_type(
                has.element_type(),
                wanted.element_type(),
                &format!("{path}.element"),
            )
        }
        (DataType::Map(has), DataType::Map(wanted))
            if has.value_contains_null() || !wanted.value_contains_null() =>
        {
            covers_type(has.key_type(), wanted.key_type(), &format!("{path}.key"))?;
            covers_type(
                has.value_type(),
                wanted.value_type(),
                &format!("{path}.value"),
            )
        }
        (DataType::Primitive(has), DataType::Primitive(wanted)) if has == wanted => Ok(()),
        (has, wanted) => Err(format!(
            "the column `{path}` is {has} in the table and {wanted} in the records"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn schema(fields: &str) -> StructType {
        parse(&format!(r#"{{"type":"struct","fields":[{fields}]}}"#)).unwrap()
    }

    fn field(name: &str, kind: &str, nullable: bool) -> String {
        format!(r#"{{"name":"{name}","type":{kind},"nullable":{nullable},"metadata":{{}}}}"#)
    }

    fn check(has: &[String], wanted: &[String], expect: Result<(), &str>) {
        let found = covers(&schema(&has.join(",")), &schema(&wanted.join(",")), "");
        assert_eq!(found, expect.map_err(ToOwned::to_owned));
    }

    #[test]
    fn columns_fit_by_name_and_type() {
        let long = field("a", r#""long""#, true);
        check(
            std::slice::from_ref(&long),
            std::slice::from_ref(&long),
            Ok(()),
        );
        check(
            &[long.clone(), field("b", r#""string""#, true)],
            std::slice::from_ref(&long),
            Ok(()),
        );
        check(
            &[long.clone(), field("b", r#""string""#, false)],
            std::slice::from_ref(&long),
            Err("the table's column `b` is NOT NULL and the records do not have it"),
        );
        check(
            std::slice::from_ref(&long),
            &[field("a", r#""integer""#, true)],
            Err("the column `a` is long in the table and integer in the records"),
        );
        check(
            std::slice::from_ref(&long),
            &[field("A", r#""long""#, true)],
            Err("the column `A` (long) is not in the table (it has `a`, which differs in case)"),
        );
        check(
            &[field("a", r#""long""#, false)],
            &[long],
            Err("the column `a` is NOT NULL in the table, but the records' may be null"),
        );
    }

    #[test]
    fn nested_types_fit_member_by_member() {
        let nested = |fields: &str| {
            field(
                "s",
                &format!(
                    r#"{{"type":"array","elementType":{{"type":"struct","fields":[{fields}]}},"containsNull":true}}"#
                ),
                true,
            )
        };
        let (x, y) = (
            field("x", r#""decimal(18,4)""#, true),
            field("y", r#""date""#, true),
        );
        check(&[nested(&format!("{x},{y}"))], &[nested(&x)], Ok(()));
        check(
            &[nested(&x)],
            &[nested(&format!("{x},{y}"))],
            Err("the column `s.element.y` (date) is not in the table"),
        );
        check(
            &[nested(&x)],
            &[nested(&field("x", r#""decimal(18,2)""#, true))],
            Err(
                "the column `s.element.x` is decimal(18,4) in the table and decimal(18,2) in the records",
            ),
        );
    }

    #[test]
    fn partition_columns_are_named_on_both_sides() {
        let names = |names: &[&str]| {
            names
                .iter()
                .map(|name| (*name).to_owned())
                .collect::<Vec<_>>()
        };
        assert_eq!(
            same_partition_columns(&names(&["region"]), &names(&["day", "region"])).unwrap_err(),
            "it is partitioned by [region], but tables.partition_by says [day, region]"
        );
    }
}
