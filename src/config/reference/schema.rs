//! A JSON Schema of the config, for completion and checks in editors. Only what is built stands in it.

use serde_json::{Map, Value, json};

use crate::config::document::{self, Content, Looks, Node};
use crate::config::keys::{self, Choice, Default, Key, Kind};
use crate::config::reference::built;

/// The JSON Schema (draft 7) as text.
pub fn json_schema() -> String {
    let mut root = section("", &|key| matches!(key.default, Default::Required), &|_| {
        true
    });
    if let Value::Object(root) = &mut root {
        root.insert(
            "$schema".to_owned(),
            json!("http://json-schema.org/draft-07/schema#"),
        );
        root.insert("title".to_owned(), json!("Lakeward config"));
    }
    format!("{root:#}\n")
}

/// An object of the keys below a path: those that are `required`, and those that `belong`.
fn section(below: &str, required: &dyn Fn(&Key) -> bool, belong: &dyn Fn(&Key) -> bool) -> Value {
    let mut properties = Map::new();
    let mut names = Vec::new();
    for key in keys::children(below).filter(|key| belong(key)) {
        let mut value = value(key);
        if let Value::Object(object) = &mut value {
            object.insert("description".to_owned(), json!(key.doc));
            if let Default::Value(text) = key.default {
                object.insert("default".to_owned(), yaml(text));
            }
        }
        properties.insert(key.name().to_owned(), value);
        if required(key) {
            names.push(key.name());
        }
    }
    let mut object =
        json!({ "type": "object", "properties": properties, "additionalProperties": false });
    if let Value::Object(object) = &mut object
        && !names.is_empty()
    {
        object.insert("required".to_owned(), json!(names));
    }
    object
}

fn value(key: &Key) -> Value {
    let substituted = json!({ "type": "string", "pattern": "\\$\\{" });
    let in_table = key.path.starts_with(keys::TABLE);
    match key.kind {
        // Inside a table everything may come from `defaults`.
        Kind::Section => {
            let mut section = section(
                key.path,
                &|key| !in_table && matches!(key.default, Default::Required),
                &|_| true,
            );
            if !matches!(key.default, Default::Required)
                && let Value::Object(object) = &mut section
            {
                object.insert("type".to_owned(), json!(["object", "null"]));
            }
            section
        }
        Kind::Tables => {
            let mut item = section(key.below(), &|key| key.name() == "name", &|_| true);
            if let Value::Object(object) = &mut item {
                let one_of = ["topics", "topics_regex"].map(|name| json!({ "required": [name] }));
                object.insert("oneOf".to_owned(), json!(one_of));
            }
            json!({ "type": "array", "minItems": 1, "items": item })
        }
        Kind::TableDefaults => section(key.below(), &|_| false, &|key| {
            !matches!(key.name(), "name" | "topics" | "topics_regex")
        }),
        Kind::Text | Kind::Secret => json!({ "type": "string" }),
        Kind::Size(..) => {
            json!({ "type": "string", "pattern": "^[0-9]+ ?([kKmMgGtT][iI]?)?[bB]$|\\$\\{" })
        }
        Kind::Duration(..) => {
            json!({ "type": "string", "pattern": "^[0-9]+ ?(ms|s|m|h|d)$|\\$\\{" })
        }
        Kind::Integer(min, max) => {
            json!({ "anyOf": [{ "type": "integer", "minimum": min, "maximum": max }, substituted] })
        }
        Kind::Lanes(min, max) => {
            json!({ "anyOf": [{ "const": "auto" }, { "type": "integer", "minimum": min, "maximum": max }, substituted] })
        }
        Kind::Choice(choices) => json!({ "anyOf": [words(choices), substituted] }),
        Kind::Choices(choices) => {
            json!({ "type": "array", "items": { "anyOf": [words(choices), substituted] }, "uniqueItems": true })
        }
        Kind::Texts => json!({ "type": "array", "items": { "type": "string" } }),
        Kind::Map | Kind::SecretMap => {
            json!({ "type": ["object", "null"], "additionalProperties": { "type": ["string", "number", "boolean"] } })
        }
        Kind::Start => {
            let timestamp = json!({ "type": "object", "properties": { "timestamp": { "type": "string" } }, "required": ["timestamp"], "additionalProperties": false });
            json!({ "anyOf": [{ "enum": ["earliest", "latest"] }, timestamp, substituted] })
        }
    }
}

fn words(choices: &'static [Choice]) -> Value {
    let built = built(choices);
    let words = built.iter().map(|choice| match choice.word {
        "true" => json!(true),
        "false" => json!(false),
        word => json!(word),
    });
    json!({ "enum": words.collect::<Vec<Value>>() })
}

/// A default, which is YAML, as JSON.
fn yaml(text: &str) -> Value {
    let (fields, _) = document::read(&format!("value: {text}"));
    fields
        .as_deref()
        .and_then(|fields| fields.first())
        .map_or(Value::Null, |field| node(&field.value))
}

fn node(yaml: &Node) -> Value {
    match &yaml.content {
        Content::List(items) => Value::Array(items.iter().map(node).collect()),
        Content::Mapping(fields) => Value::Object(
            fields
                .iter()
                .map(|field| (field.key.clone(), node(&field.value)))
                .collect(),
        ),
        Content::Scalar(scalar) => match scalar.looks() {
            Looks::Null => Value::Null,
            Looks::Boolean => json!(scalar.text.eq_ignore_ascii_case("true")),
            Looks::Number => scalar
                .text
                .parse::<u64>()
                .map_or_else(|_| json!(scalar.text), |number| json!(number)),
            Looks::Text => json!(scalar.text),
        },
    }
}
