//! How values are decoded: format, framing and where the columns come from, which must fit one another.

use crate::config::ddl;
use crate::config::problem::Findings;
use crate::config::resolve::complain;
use crate::config::resolve::table::{Context, expand};
use crate::config::section::{Entry, Origin, Section};
use crate::config::settings::{JsonSchemaSource, UnknownFields, Value};

pub(super) fn resolve(
    table: &Section,
    topics: Option<&[String]>,
    context: &Context<'_>,
    findings: &mut Findings,
) -> Option<Value> {
    let section = table.section("value")?;
    match section.word("format")? {
        "avro" => avro(
            Parts {
                table,
                topics,
                section,
            },
            context,
            findings,
        ),
        "json" => json(section, context, findings),
        _ => None,
    }
}

/// A table, its topics where they are right, and its section `value`.
#[derive(Debug, Clone, Copy)]
struct Parts<'a> {
    table: &'a Section,
    topics: Option<&'a [String]>,
    section: &'a Section,
}

fn avro(parts: Parts<'_>, context: &Context<'_>, findings: &mut Findings) -> Option<Value> {
    let section = parts.section;
    let ddl = refuse(
        section,
        "schema.ddl",
        "is for json; Avro needs the schema it was written with: framing `confluent` with a registry, or `value.schema.file`",
        findings,
    );
    let fields = section
        .word("unknown_fields")
        .filter(|word| *word == "ignore")
        .and_then(|_| {
            refuse(
                section,
                "unknown_fields",
                "is for json; an Avro value has no unknown fields, so remove it",
                findings,
            )
        });
    if ddl.or(fields).is_some() {
        return None;
    }
    let framed = match (section.word("framing"), section.entry("framing")) {
        (Some(word), _) => word == "confluent",
        (None, Some(_)) => return None,
        (None, None) => context.has_registry,
    };
    if framed {
        avro_framed(parts, context, findings)
    } else {
        avro_file(section, context, findings)
    }
}

fn avro_framed(parts: Parts<'_>, context: &Context<'_>, findings: &mut Findings) -> Option<Value> {
    let Parts {
        table,
        topics,
        section,
    } = parts;
    if !context.has_registry {
        let framing = section.entry("framing")?;
        let message = "`confluent` needs a registry: write `schema_registry.url`, or `framing: none` with `value.schema.file`";
        findings.say(framing.place, &framing.path, message.to_owned());
        return None;
    }
    let file = "is for values without a frame; with framing `confluent` the schemas come from the registry: remove it, or write `framing: none`";
    if refuse(section, "schema.file", file, findings).is_some() {
        return None;
    }
    let topic = topics.and_then(|topics| topics.first()).map(String::as_str);
    let many = topics.is_some_and(|topics| topics.len() > 1);
    let Some(subject) = section.text("schema.subject") else {
        if section.is_written("schema.subject") {
            return None;
        }
        if many {
            let message = "is required and missing, because several topics feed the table; write the subject whose latest version gives the columns";
            findings.say(
                section.place,
                &format!("{}.schema.subject", section.path),
                message.to_owned(),
            );
            return None;
        }
        return Some(Value::AvroConfluent {
            subject: format!("{}-value", topic?),
        });
    };
    let path = format!("{}.schema.subject", section.path);
    let mut names = vec![("table", table.text("name")?.text.as_str())];
    if !many {
        // Where the topics are wrong, that is what is reported.
        names.push(("topic", topic?));
    }
    match expand(&subject.text, &names) {
        Ok(subject) if !subject.trim().is_empty() => Some(Value::AvroConfluent { subject }),
        Ok(_) => {
            complain(
                subject,
                &path,
                "is empty; write the subject, or remove the line for `<topic>-value`",
                findings,
            );
            None
        }
        Err(complaint) => {
            complain(subject, &path, &complaint, findings);
            None
        }
    }
}

fn avro_file(section: &Section, context: &Context<'_>, findings: &mut Findings) -> Option<Value> {
    let subject = "is for framing `confluent`, which needs `schema_registry.url`; without a frame write `value.schema.file`";
    if refuse(section, "schema.subject", subject, findings).is_some() {
        return None;
    }
    let Some(file) = file(section, context, findings) else {
        if !section.is_written("schema.file") {
            let message = "is required and missing: Avro without a frame needs the schema it was written with; write `file: orders.avsc`, or add a `schema_registry`";
            findings.say(
                section.place,
                &format!("{}.schema.file", section.path),
                message.to_owned(),
            );
        }
        return None;
    };
    Some(Value::AvroFile { file })
}

fn json(section: &Section, context: &Context<'_>, findings: &mut Findings) -> Option<Value> {
    if let Some(framing) = section
        .entry("framing")
        .filter(|_| section.word("framing") == Some("confluent"))
        && framing.origin != Origin::Shared
    {
        let message = "`confluent` with `json` is the format `json_schema`, which is not built yet; remove it where values have no frame";
        findings.say(framing.place, &framing.path, message.to_owned());
    }
    if refuse(
        section,
        "schema.subject",
        "is for avro; JSON's columns come from `value.schema.ddl` or `value.schema.file`",
        findings,
    )
    .is_some()
    {
        return None;
    }
    let unknown_fields = match section.word("unknown_fields") {
        Some("reject") => Some(UnknownFields::Reject),
        Some("ignore") => Some(UnknownFields::Ignore),
        _ => None,
    };
    let schema = match (section.entry("schema.ddl"), section.entry("schema.file")) {
        (Some(ddl), Some(file)) => {
            let (first, second) = if ddl.place <= file.place {
                (ddl, file)
            } else {
                (file, ddl)
            };
            findings.say(
                second.place,
                &second.path,
                format!(
                    "excludes `{}`, written in line {}; keep one of them",
                    first.key.name(),
                    first.place.line
                ),
            );
            None
        }
        (Some(_), None) => columns(section, findings).map(JsonSchemaSource::Ddl),
        (None, Some(_)) => file(section, context, findings).map(JsonSchemaSource::File),
        (None, None) => {
            let message = "is required and missing: json needs its columns; write `schema: {ddl: \"id long, amount decimal(18,4)\"}` or `schema: {file: orders.json}`";
            findings.say(
                section.place,
                &format!("{}.schema", section.path),
                message.to_owned(),
            );
            None
        }
    };
    Some(Value::Json {
        schema: schema?,
        unknown_fields: unknown_fields?,
    })
}

fn columns(section: &Section, findings: &mut Findings) -> Option<Vec<ddl::Column>> {
    let text = section.text("schema.ddl")?;
    match ddl::parse(&text.text) {
        Ok(columns) => Some(columns),
        Err(error) => {
            findings.say(
                text.place,
                &section.entry("schema.ddl")?.path,
                error.to_string(),
            );
            None
        }
    }
}

fn file(
    section: &Section,
    context: &Context<'_>,
    findings: &mut Findings,
) -> Option<std::path::PathBuf> {
    let text = section.text("schema.file")?;
    if text.text.trim().is_empty() {
        complain(
            text,
            &section.entry("schema.file")?.path,
            "names no file; write its path, relative to this config",
            findings,
        );
        return None;
    }
    Some(context.folder.join(&text.text))
}

/// Reports a key that the person wrote for this table and that does not fit its format; what `defaults` hold for other tables passes.
fn refuse(section: &Section, path: &str, message: &str, findings: &mut Findings) -> Option<()> {
    let entry: &Entry = section
        .entry(path)
        .filter(|entry| entry.origin == Origin::Written)?;
    findings.say(entry.place, &entry.path, message.to_owned());
    Some(())
}
