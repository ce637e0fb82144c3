//! How values and keys are decoded: format, framing and where the columns come from, which must fit one another.

use std::path::PathBuf;

use crate::config::ddl;
use crate::config::problem::Findings;
use crate::config::resolve::complain;
use crate::config::resolve::table::{Context, Naming, Topic, expand};
use crate::config::section::{Entry, Origin, Section};
use crate::config::settings::{
    JsonSchemaSource, LocalTimestamps, Nanos, Timestamps, UnknownFields, Value,
};

pub(super) fn resolve(
    table: &Section,
    naming: Naming<'_>,
    context: &Context<'_>,
    findings: &mut Findings,
) -> Option<Value> {
    let section = table.section("value")?;
    let parts = Parts {
        naming,
        section,
        part: "value",
    };
    let format = section.word("format")?;
    if !fits(section, format, findings) {
        return None;
    }
    match format {
        "avro" => avro(parts, context, findings),
        "json" => json(section, context, findings),
        "json_schema" => json_schema(parts, context, findings),
        "protobuf" => protobuf(parts, context, findings),
        "raw" => Some(Value::Raw),
        "string" => Some(Value::Text),
        _ => None,
    }
}

/// What Avro's timestamps become that no column holds as they are.
pub(super) fn timestamps(table: &Section) -> Option<Timestamps> {
    let section = table.section("value")?;
    let nanos = match section.word("allow_lossy")? {
        "true" => Nanos::Cut,
        _ => Nanos::Refused,
    };
    let local = match section.word("local_timestamps") {
        Some("utc") => LocalTimestamps::Utc,
        Some("ntz") => LocalTimestamps::Ntz,
        _ => LocalTimestamps::Refused,
    };
    Some(Timestamps { nanos, local })
}

/// How keys become the column of the key.
#[derive(Debug)]
pub(super) enum Key {
    /// They do not.
    None,
    /// As bytes.
    Binary,
    Decoded(Value),
}

/// How keys are decoded; always behind the registry's frame, where they have a schema.
pub(super) fn key(
    table: &Section,
    naming: Naming<'_>,
    context: &Context<'_>,
    findings: &mut Findings,
) -> Option<Key> {
    let section = table.section("key")?;
    let parts = Parts {
        naming,
        section,
        part: "key",
    };
    let format = section.word("format")?;
    let mut fine = true;
    if !matches!(format, "avro" | "json_schema" | "protobuf") {
        let message = format!("is for keys with a schema, which `{format}` has not; remove it");
        fine &= refuse(section, "schema.subject", &message, findings).is_none();
    }
    if format != "protobuf" {
        let message = "is for protobuf; remove it";
        fine &= refuse(section, "schema.message", message, findings).is_none();
    }
    if !fine {
        return None;
    }
    match format {
        "none" => return Some(Key::None),
        "binary" => return Some(Key::Binary),
        "string" => return Some(Key::Decoded(Value::Text)),
        _ => {}
    }
    if !context.has_registry {
        let place = section.entry("format")?.place;
        let message =
            format!("`{format}` needs a registry: write `schema_registry.url`, or use `binary`");
        findings.say(place, &format!("{}.format", section.path), message);
        return None;
    }
    let subject = subject(parts, findings)?;
    Some(Key::Decoded(match format {
        "avro" => Value::AvroConfluent {
            subject,
            record: None,
        },
        "json_schema" => Value::JsonConfluent {
            subject,
            unknown_fields: UnknownFields::Reject,
        },
        _ => Value::ProtobufConfluent {
            subject,
            message: message(section),
        },
    }))
}

/// What is known of a table's names, and its section `value` or `key`.
#[derive(Debug, Clone, Copy)]
struct Parts<'a> {
    naming: Naming<'a>,
    section: &'a Section,
    part: &'a str,
}

/// The keys that only some formats have, with what to do where another one has them.
const KEYS_OF_FORMATS: &[(&str, &[&str], &str)] = &[
    (
        "schema.ddl",
        &["json"],
        "is for json; Avro and Protobuf need the schema they were written with: framing `confluent` with a registry, or `value.schema.file`",
    ),
    (
        "schema.file",
        &["avro", "json", "protobuf"],
        "is for avro, json and protobuf; remove it",
    ),
    (
        "schema.subject",
        &["avro", "json_schema", "protobuf"],
        "is for avro, json_schema and protobuf; the columns of json come from `value.schema.ddl` or `value.schema.file`",
    ),
    (
        "schema.message",
        &["avro", "protobuf"],
        "is for avro and protobuf; remove it",
    ),
    (
        "unknown_fields",
        &["json", "json_schema"],
        "is for json; a value of another format has no fields without a name in its schema, so remove it",
    ),
    (
        "local_timestamps",
        &["avro"],
        "is for avro; other formats have no timestamps without a zone, so remove it",
    ),
    ("allow_lossy", &["avro"], "is for avro; remove it"),
    (
        "framing",
        &["avro", "json", "json_schema", "protobuf"],
        "is for values with a schema; remove it",
    ),
];

/// Whether every key that the person wrote is one of the format.
fn fits(section: &Section, format: &str, findings: &mut Findings) -> bool {
    let mut fine = true;
    for (key, formats, message) in KEYS_OF_FORMATS {
        // Values without a schema have no frame, and saying so is no mistake.
        let is_no_frame = *key == "framing" && section.word("framing") == Some("none");
        if !formats.contains(&format) && !is_no_frame {
            fine &= refuse(section, key, message, findings).is_none();
        }
    }
    fine
}

/// The framing, where it is one that the format has: what is written, else `implied`.
fn framing(
    section: &Section,
    implied: &'static str,
    known: &[&str],
    hint: &str,
    findings: &mut Findings,
) -> Option<&'static str> {
    let Some(entry) = section.entry("framing") else {
        return Some(implied);
    };
    let word = section.word("framing")?;
    if known.contains(&word) {
        return Some(word);
    }
    if entry.origin == Origin::Shared {
        return Some(implied);
    }
    findings.say(entry.place, &entry.path, format!("`{word}` {hint}"));
    None
}

fn avro(parts: Parts<'_>, context: &Context<'_>, findings: &mut Findings) -> Option<Value> {
    let section = parts.section;
    let implied = implied_framing(context);
    let known = ["confluent", "single_object", "none"];
    let framing = framing(section, implied, &known, "", findings)?;
    let unframed =
        "is for values with the registry's frame, which says of what type a record is; remove it";
    if framing != "confluent" && refuse(section, "schema.message", unframed, findings).is_some() {
        return None;
    }
    match framing {
        "confluent" => Some(Value::AvroConfluent {
            subject: framed(parts, context, findings)?,
            record: message(section),
        }),
        "single_object" => Some(Value::AvroSingleObject {
            file: avro_file(section, context, findings)?,
        }),
        _ => Some(Value::AvroFile {
            file: avro_file(section, context, findings)?,
        }),
    }
}

fn implied_framing(context: &Context<'_>) -> &'static str {
    if context.has_registry {
        "confluent"
    } else {
        "none"
    }
}

fn json_schema(parts: Parts<'_>, context: &Context<'_>, findings: &mut Findings) -> Option<Value> {
    let section = parts.section;
    let hint = "is not for json_schema, whose values have the registry's frame; for unframed JSON use the format `json` with `value.schema.file` or `value.schema.ddl`";
    framing(section, "confluent", &["confluent"], hint, findings)?;
    let unknown_fields = unknown_fields(section);
    if !context.has_registry && section.entry("framing").is_none() {
        let place = section.entry("format")?.place;
        let message = "`json_schema` needs a registry: write `schema_registry.url`, or use `json` with `value.schema.file`";
        findings.say(
            place,
            &format!("{}.format", section.path),
            message.to_owned(),
        );
        return None;
    }
    Some(Value::JsonConfluent {
        subject: framed(parts, context, findings)?,
        unknown_fields: unknown_fields?,
    })
}

fn protobuf(parts: Parts<'_>, context: &Context<'_>, findings: &mut Findings) -> Option<Value> {
    let section = parts.section;
    let hint = "is for avro; write `confluent` or `none`";
    let implied = implied_framing(context);
    if framing(section, implied, &["confluent", "none"], hint, findings)? == "confluent" {
        return Some(Value::ProtobufConfluent {
            subject: framed(parts, context, findings)?,
            message: message(section),
        });
    }
    no_subject(section, findings)?;
    let why = "Protobuf without a frame needs the schema it was written with; write `file: orders.proto` with `message: shop.Order`, or add a `schema_registry`";
    let file = required_file(section, context, why, findings);
    let message = message(section);
    if message.is_none() && !section.is_written("schema.message") {
        findings.say(
            section.place,
            &format!("{}.schema.message", section.path),
            "is required and missing: write the full name of the value's message, such as `shop.Order`"
                .to_owned(),
        );
    }
    Some(Value::ProtobufFile {
        file: file?,
        message: message?,
    })
}

fn message(section: &Section) -> Option<String> {
    let message = section.text("schema.message")?.text.trim();
    Some(message.trim_start_matches('.').to_owned())
}

/// The subject of framed values.
fn framed(parts: Parts<'_>, context: &Context<'_>, findings: &mut Findings) -> Option<String> {
    let section = parts.section;
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
    subject(parts, findings)
}

/// The subject whose latest version gives the columns.
fn subject(parts: Parts<'_>, findings: &mut Findings) -> Option<String> {
    let Parts {
        naming,
        section,
        part,
    } = parts;
    let Some(subject) = section.text("schema.subject") else {
        return match naming.topic {
            _ if section.is_written("schema.subject") => None,
            Topic::Unknown => None,
            Topic::One(topic) => Some(format!("{topic}-{part}")),
            Topic::Several => {
                let message = "is required and missing, because several topics feed the table; write the subject whose latest version gives the columns";
                findings.say(
                    section.place,
                    &format!("{}.schema.subject", section.path),
                    message.to_owned(),
                );
                None
            }
        };
    };
    let path = format!("{}.schema.subject", section.path);
    let mut names = vec![("table", naming.table?)];
    match naming.topic {
        // What is wrong with the topics is reported.
        Topic::Unknown => return None,
        Topic::One(topic) => names.push(("topic", topic)),
        Topic::Several => {}
    }
    match expand(&subject.text, &names) {
        Ok(subject) if !subject.trim().is_empty() => Some(subject),
        Ok(_) => {
            let complaint =
                format!("is empty; write the subject, or remove the line for `<topic>-{part}`");
            complain(subject, &path, &complaint, findings);
            None
        }
        Err(complaint) => {
            complain(subject, &path, &complaint, findings);
            None
        }
    }
}

fn no_subject(section: &Section, findings: &mut Findings) -> Option<()> {
    let subject = "is for framing `confluent`, which needs `schema_registry.url`; without a frame write `value.schema.file`";
    match refuse(section, "schema.subject", subject, findings) {
        Some(()) => None,
        None => Some(()),
    }
}

fn avro_file(section: &Section, context: &Context<'_>, findings: &mut Findings) -> Option<PathBuf> {
    no_subject(section, findings)?;
    let why = "Avro without a frame needs the schema it was written with; write `file: orders.avsc`, or add a `schema_registry`";
    required_file(section, context, why, findings)
}

fn required_file(
    section: &Section,
    context: &Context<'_>,
    why: &str,
    findings: &mut Findings,
) -> Option<PathBuf> {
    let file = file(section, context, findings);
    if file.is_none() && !section.is_written("schema.file") {
        findings.say(
            section.place,
            &format!("{}.schema.file", section.path),
            format!("is required and missing: {why}"),
        );
    }
    file
}

fn unknown_fields(section: &Section) -> Option<UnknownFields> {
    if section.entry("unknown_fields").is_none() {
        return Some(UnknownFields::Rescue);
    }
    match section.word("unknown_fields")? {
        "rescue" => Some(UnknownFields::Rescue),
        "reject" => Some(UnknownFields::Reject),
        "ignore" => Some(UnknownFields::Ignore),
        _ => None,
    }
}

fn json(section: &Section, context: &Context<'_>, findings: &mut Findings) -> Option<Value> {
    let hint = "with `json` is the format `json_schema`; use that, or remove it where values have no frame";
    let framed = framing(section, "none", &["none"], hint, findings);
    let unknown_fields = unknown_fields(section);
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
    framed?;
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

fn file(section: &Section, context: &Context<'_>, findings: &mut Findings) -> Option<PathBuf> {
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
