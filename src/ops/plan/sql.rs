//! Columns and tables in Spark's SQL, to be read and, where a person wants to, run. Executes nothing.

use arrow::datatypes::{DataType, Schema};

use crate::ops::plan::columns::Column;

/// The statement that makes a table as the sink would make it.
pub(super) fn create(
    table: &str,
    columns: &Schema,
    partition_columns: &[String],
    location: &str,
) -> String {
    let lines: Vec<String> = columns
        .fields()
        .iter()
        .map(|field| format!("  {} {}", name(field.name()), type_of(field.data_type())))
        .collect();
    let partitioned = if partition_columns.is_empty() {
        String::new()
    } else {
        let names: Vec<String> = partition_columns.iter().map(|it| name(it)).collect();
        format!("\nPARTITIONED BY ({})", names.join(", "))
    };
    let location = location.replace('\'', "\\'");
    format!(
        "CREATE TABLE {} (\n{}\n) USING DELTA{partitioned}\nLOCATION '{location}'",
        name(table),
        lines.join(",\n")
    )
}

/// The statement that adds columns as the sink would add them.
pub(super) fn add(location: &str, columns: &[&Column]) -> String {
    let columns: Vec<String> = columns
        .iter()
        .map(|column| format!("{} {}", column.column, column.data_type))
        .collect();
    format!(
        "ALTER TABLE delta.`{location}` ADD COLUMNS ({})",
        columns.join(", ")
    )
}

/// A name, in back quotes where it needs them.
pub(super) fn name(name: &str) -> String {
    let is_plain = name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    if is_plain {
        return name.to_owned();
    }
    format!("`{}`", name.replace('`', "``"))
}

/// A type.
pub(super) fn type_of(data_type: &DataType) -> String {
    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "Arrow has many types that no table of ours has"
    )]
    match data_type {
        DataType::Boolean => "BOOLEAN".to_owned(),
        DataType::Int8 => "TINYINT".to_owned(),
        DataType::Int16 => "SMALLINT".to_owned(),
        DataType::Int32 => "INT".to_owned(),
        DataType::Int64 => "BIGINT".to_owned(),
        DataType::Float32 => "FLOAT".to_owned(),
        DataType::Float64 => "DOUBLE".to_owned(),
        DataType::Utf8 => "STRING".to_owned(),
        DataType::Binary => "BINARY".to_owned(),
        DataType::Date32 => "DATE".to_owned(),
        DataType::Timestamp(_, Some(_)) => "TIMESTAMP".to_owned(),
        DataType::Timestamp(_, None) => "TIMESTAMP_NTZ".to_owned(),
        DataType::Decimal128(precision, scale) => format!("DECIMAL({precision},{scale})"),
        DataType::List(item) => format!("ARRAY<{}>", type_of(item.data_type())),
        DataType::Map(entries, _) => match entries.data_type() {
            DataType::Struct(pair) => {
                let halves: Vec<String> = pair.iter().map(|it| type_of(it.data_type())).collect();
                format!("MAP<{}>", halves.join(", "))
            }
            other => type_of(other),
        },
        DataType::Struct(fields) => {
            let members: Vec<String> = fields
                .iter()
                .map(|field| format!("{}: {}", name(field.name()), type_of(field.data_type())))
                .collect();
            format!("STRUCT<{}>", members.join(", "))
        }
        other => other.to_string().to_uppercase(),
    }
}
