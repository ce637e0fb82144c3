//! What holds between tables and between the parts of one: unique names and folders, and columns where the config lists them. A topic may feed several tables.

use crate::config::ddl::{Column, Type};
use crate::config::problem::{Findings, suggestion};
use crate::config::resolve::table::Resolved;
use crate::config::section::{Section, join};
use crate::config::settings::{
    ErrorMode, JsonSchemaSource, MetadataColumn, PartitionField, Table, Transform, Value,
};

/// Checks every table against those before it, and its columns against each other.
pub(super) fn check(sections: &[Section], tables: &[Option<Resolved>], findings: &mut Findings) {
    let tables: Vec<Option<&Table>> = tables
        .iter()
        .map(|resolved| resolved.as_ref().map(Resolved::table))
        .collect();
    for (index, section) in sections.iter().enumerate() {
        let earlier = sections.get(..index).unwrap_or_default();
        names(section, earlier, findings);
    }
    for (index, (section, table)) in sections.iter().zip(&tables).enumerate() {
        let Some(table) = table else {
            continue;
        };
        let earlier = sections
            .iter()
            .zip(&tables)
            .take(index)
            .filter_map(|(section, table)| table.map(|table| (section, table)));
        paths(section, table, earlier, findings);
        columns(section, table, findings);
    }
}

fn names(section: &Section, earlier: &[Section], findings: &mut Findings) {
    let Some(name) = section.text("name") else {
        return;
    };
    let first = earlier
        .iter()
        .filter_map(|other| other.text("name"))
        .find(|other| other.text == name.text);
    if let Some(first) = first {
        let message = format!(
            "{} is the name of two tables, first in line {}; rename one",
            name.shown, first.place.line
        );
        findings.say(name.place, &join(&section.path, "name"), message);
    }
}

/// A folder that a table claims: its own, or that of its rejected records.
struct Claim<'a> {
    key: &'static str,
    path: &'a str,
}

fn claims(table: &Table) -> Vec<Claim<'_>> {
    let mut claims = vec![Claim {
        key: "path",
        path: &table.path,
    }];
    if table.errors.mode == ErrorMode::Dlq {
        claims.push(Claim {
            key: "errors.table",
            path: &table.errors.table,
        });
    }
    claims
}

fn paths<'a>(
    section: &'a Section,
    table: &'a Table,
    earlier: impl Iterator<Item = (&'a Section, &'a Table)>,
    findings: &mut Findings,
) {
    let inside = |inner: &str, outer: &str| {
        inner
            .strip_prefix(outer)
            .is_some_and(|rest| rest.starts_with('/'))
    };
    let others: Vec<(&Section, &Table)> = earlier.chain([(section, table)]).collect();
    for claim in claims(table) {
        let at = section
            .entry(claim.key)
            .or(section.entry("path"))
            .or(section.entry("name"));
        let Some(at) = at else {
            return;
        };
        let path = join(&section.path, claim.key);
        for (other_section, other) in &others {
            let is_same_table = std::ptr::eq(*other, table);
            // Two tables of one name are reported as that; those that templates make are held against others once they have names.
            let is_open = |table: &Table| table.path.contains('{');
            if !is_same_table && (other.name == table.name || is_open(table) || is_open(other)) {
                continue;
            }
            for taken in claims(other) {
                // Each pair of one table's folders once, and none with itself.
                if is_same_table && (claim.key == "path" || taken.key == claim.key) {
                    continue;
                }
                let whose = if taken.key == "path" {
                    format!("`{}`", other_section.path)
                } else {
                    format!("`{}.{}`", other_section.path, taken.key)
                };
                if claim.path == taken.path {
                    findings.say(
                        at.place,
                        &path,
                        format!(
                            "`{}` is the folder of {whose} too; each table needs its own, such as `{{table}}`",
                            claim.path
                        ),
                    );
                } else if inside(claim.path, taken.path) || inside(taken.path, claim.path) {
                    let message = format!(
                        "`{}` and the folder `{}` of {whose} lie inside one another; a table's folder holds that table only",
                        claim.path, taken.path
                    );
                    findings.say(at.place, &path, message);
                }
            }
        }
    }
}

/// Where the columns are in the config, a slip is found before anything starts.
fn columns(section: &Section, table: &Table, findings: &mut Findings) {
    let Value::Json {
        schema: JsonSchemaSource::Ddl(columns),
        ..
    } = &table.value
    else {
        return;
    };
    let words = ["topic", "partition", "offset"]
        .into_iter()
        .chain(table.metadata.include.iter().map(word));
    let kafka: Vec<String> = words
        .map(|word| format!("{}{word}", table.metadata.prefix))
        .collect();
    if let (Some(ddl), Some(column)) = (
        section.entry("value.schema.ddl"),
        columns.iter().find(|column| {
            kafka
                .iter()
                .any(|name| name.eq_ignore_ascii_case(&column.name))
        }),
    ) {
        let message = format!(
            "the column `{}` has the name of a Kafka column; rename it, or set another `metadata.prefix`",
            column.name
        );
        findings.say(ddl.place, &ddl.path, message);
    }
    let (Some(entry), Some(texts)) = (section.entry("partition_by"), section.texts("partition_by"))
    else {
        return;
    };
    for (field, text) in table.partition_by.iter().zip(texts) {
        if let Some(complaint) = field_complaint(field, columns, &kafka) {
            findings.say(
                text.place,
                &entry.path,
                format!("{} {complaint}", text.shown),
            );
        }
    }
}

pub(super) fn word(column: &MetadataColumn) -> &'static str {
    match column {
        MetadataColumn::Timestamp => "timestamp",
        MetadataColumn::TimestampType => "timestamp_type",
        MetadataColumn::Key => "key",
        MetadataColumn::Headers => "headers",
        MetadataColumn::LeaderEpoch => "leader_epoch",
        MetadataColumn::SchemaId => "schema_id",
        MetadataColumn::IngestedAt => "ingested_at",
    }
}

fn field_complaint(field: &PartitionField, columns: &[Column], kafka: &[String]) -> Option<String> {
    if field.transform != Transform::Identity
        && let Some(taken) = columns
            .iter()
            .map(|column| &column.name)
            .chain(kafka)
            .find(|name| name.eq_ignore_ascii_case(&field.name))
    {
        return Some(format!(
            "makes a column `{}`, which the table has already as `{taken}`; choose another name",
            field.name
        ));
    }
    let path = field.source_path();
    if let [only] = path.as_slice()
        && kafka.contains(only)
    {
        return None;
    }
    let mut members = columns;
    let mut kind = None;
    for name in &path {
        let Some(column) = members.iter().find(|column| column.name == *name) else {
            let hint = suggestion(name, members.iter().map(|column| column.name.as_str()));
            return Some(format!(
                "needs a column `{name}`, which `value.schema.ddl` does not have{hint}"
            ));
        };
        members = if let Type::Struct(members) = &column.kind {
            members
        } else {
            &[]
        };
        kind = Some(&column.kind);
    }
    let unfit = unfit(field.transform, kind?)?;
    Some(format!(
        "takes `{}`, whose values are {unfit}; choose another column",
        field.source
    ))
}

/// What the values of a column are that a transform cannot take; nothing where it can.
fn unfit(transform: Transform, kind: &Type) -> Option<&'static str> {
    let what = match kind {
        Type::Array(_) | Type::Map(_) | Type::Struct(_) => return Some("nested"),
        Type::Float | Type::Double => {
            return Some("floating-point numbers, which do not divide a table well");
        }
        Type::Boolean => "true or false",
        Type::Integer | Type::Long | Type::Decimal(..) => "numbers",
        Type::String => "texts",
        Type::Binary => "bytes",
        Type::Date => "dates",
        Type::Timestamp => "timestamps",
    };
    let fits = match transform {
        Transform::Identity => !matches!(kind, Type::Binary),
        Transform::Year | Transform::Month | Transform::Date => {
            matches!(kind, Type::Date | Type::Timestamp)
        }
        Transform::Hour => matches!(kind, Type::Timestamp),
        Transform::Bucket(_) => !matches!(kind, Type::Boolean),
        Transform::Truncate(_) => matches!(
            kind,
            Type::Integer | Type::Long | Type::Decimal(..) | Type::String
        ),
    };
    (!fits).then_some(what)
}
