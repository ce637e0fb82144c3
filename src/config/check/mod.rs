//! Holds a document against the declared keys: unknown keys, shapes and types. Gives typed sections; values that only make sense
//! together are checked by `resolve`.

mod single;

use crate::config::check::single::{clip, example};
use crate::config::document::{Content, Field, Node};
use crate::config::interpolate::Interpolation;
use crate::config::keys::{self, Default, Key, Kind};
use crate::config::problem::{Findings, Place, closest, one_of};
use crate::config::section::{Entry, Origin, Pair, Section, Text, Value, join};

/// Reads nodes by their declarations and gathers what is wrong.
pub(crate) struct Check<'a> {
    pub(crate) interpolation: Interpolation<'a>,
    pub(crate) findings: Findings,
}

/// The key that a value is read for, and where its problems are reported.
#[derive(Debug, Clone, Copy)]
struct At<'k> {
    key: &'static Key,
    path: &'k str,
}

impl Check<'_> {
    /// Reads a mapping whose keys are declared below a path.
    pub(crate) fn section(&mut self, fields: &[Field], mut section: Section) -> Section {
        for field in fields {
            let path = join(&section.path, &field.key);
            let Some(key) = keys::child(section.below, &field.key) else {
                let (meant, message) = unknown(&field.key, section.below);
                section.meant.extend(meant);
                self.say(field.place, &path, message);
                continue;
            };
            if section.path == "defaults"
                && matches!(key.name(), "name" | "topics" | "topics_regex")
            {
                self.say(field.place, &path, format!("belongs to each table, not to `defaults`; write it under `tables`, as `{}: {}`", key.name(), key.example));
                continue;
            }
            if let Some(value) = self.value(key, field, &path) {
                section.entries.push(Entry {
                    key,
                    place: field.spot(),
                    path,
                    value,
                    origin: Origin::Written,
                });
            }
        }
        section
    }

    /// Reads one value; nothing where it is empty and may be.
    pub(crate) fn value(&mut self, key: &'static Key, field: &Field, path: &str) -> Option<Value> {
        let at = At { key, path };
        if field.value.is_null() {
            return match (key.kind, key.default) {
                (Kind::Section, Default::Absent) | (Kind::TableDefaults, _) => None,
                (Kind::Section, _) => {
                    Some(Value::Section(Section::new(field.place, path, key.below())))
                }
                (_, Default::Absent) => None,
                (Kind::Map | Kind::SecretMap, _) => Some(Value::Pairs(Vec::new())),
                (_, default) => {
                    let otherwise = match default {
                        Default::Value(text) => format!("; without the line it is `{text}`"),
                        Default::Implied(words) => format!("; without the line it is {words}"),
                        Default::Required | Default::Absent => String::new(),
                    };
                    Some(self.wrong(
                        at,
                        field.place,
                        format!("is empty; write a value{}{otherwise}", example(key)),
                    ))
                }
            };
        }
        Some(match key.kind {
            Kind::Section | Kind::TableDefaults => self.mapping(at, &field.value),
            Kind::Tables => self.tables(at, &field.value),
            Kind::Texts | Kind::Choices(_) => self.list(at, &field.value),
            Kind::Map | Kind::SecretMap => self.pairs(at, &field.value),
            Kind::Start => self.start(at, &field.value),
            Kind::Text
            | Kind::Secret
            | Kind::Size(..)
            | Kind::Duration(..)
            | Kind::Integer(..)
            | Kind::Lanes(..)
            | Kind::Choice(_) => self.single(at, &field.value),
        })
    }

    fn mapping(&mut self, at: At<'_>, node: &Node) -> Value {
        let Content::Mapping(fields) = &node.content else {
            let names: Vec<&str> = keys::children(at.key.below())
                .map(Key::name)
                .take(3)
                .collect();
            return self.wrong(
                at,
                node.place,
                format!(
                    "must be a mapping of keys such as {}, and is {}",
                    one_of(&names),
                    node.shape()
                ),
            );
        };
        Value::Section(self.section(fields, Section::new(node.place, at.path, at.key.below())))
    }

    fn tables(&mut self, at: At<'_>, node: &Node) -> Value {
        let Content::List(items) = &node.content else {
            return self.wrong(
                at,
                node.place,
                format!(
                    "must be a list of tables (`- name: orders`), and is {}",
                    node.shape()
                ),
            );
        };
        let mut sections = Vec::new();
        for (index, item) in items.iter().enumerate() {
            let path = format!(
                "{}[{}]",
                at.path,
                table_name(item).unwrap_or_else(|| index.to_string())
            );
            match &item.content {
                Content::Mapping(fields) => {
                    let section =
                        self.section(fields, Section::new(item.place, &path, at.key.below()));
                    sections.push(section);
                }
                Content::Scalar(_) | Content::List(_) => self.say(
                    item.place,
                    &path,
                    format!(
                        "must be a table (`- name: orders`), and is {}",
                        item.shape()
                    ),
                ),
            }
        }
        if items.is_empty() {
            return self.wrong(
                at,
                node.place,
                "is an empty list; a sink needs at least one table".to_owned(),
            );
        }
        Value::Sections(sections)
    }

    fn list(&mut self, at: At<'_>, node: &Node) -> Value {
        let Content::List(items) = &node.content else {
            let hint = match &node.content {
                Content::Scalar(scalar) => format!("; for one write `[{}]`", clip(&scalar.text)),
                Content::List(_) | Content::Mapping(_) => String::new(),
            };
            return self.wrong(
                at,
                node.place,
                format!("must be a list, and is {}{hint}", node.shape()),
            );
        };
        let texts: Vec<Option<Text>> = items.iter().map(|item| self.text(at, item)).collect();
        let Some(texts) = texts.into_iter().collect::<Option<Vec<Text>>>() else {
            return Value::Wrong;
        };
        let Kind::Choices(choices) = at.key.kind else {
            return Value::Texts(texts);
        };
        let words: Vec<_> = texts
            .iter()
            .map(|text| {
                self.choose(at, choices, text)
                    .map(|word| (word, text.place))
            })
            .collect();
        words
            .into_iter()
            .collect::<Option<Vec<_>>>()
            .map_or(Value::Wrong, Value::Words)
    }

    fn pairs(&mut self, at: At<'_>, node: &Node) -> Value {
        let Content::Mapping(fields) = &node.content else {
            return self.wrong(
                at,
                node.place,
                format!("must be a mapping (`name: value`), and is {}", node.shape()),
            );
        };
        let mut pairs = Vec::new();
        for field in fields {
            let path = join(at.path, &field.key);
            let inner = At { path: &path, ..at };
            if field.value.is_null() {
                self.say(
                    field.place,
                    &path,
                    "is empty; write a value or remove the line".to_owned(),
                );
            } else if let Some((_, value)) = self.scalar(inner, &field.value) {
                pairs.push(Pair {
                    name: field.key.clone(),
                    place: field.place,
                    value,
                });
            }
        }
        Value::Pairs(pairs)
    }

    fn wrong(&mut self, at: At<'_>, place: Place, message: String) -> Value {
        self.say(place, at.path, message);
        Value::Wrong
    }

    fn say(&mut self, place: Place, path: &str, message: String) {
        self.findings.say(place, path, message);
    }
}

/// The key that an unknown one was probably meant to be, and what to say.
fn unknown(name: &str, below: &str) -> (Option<&'static str>, String) {
    if name == "<<" {
        return (
            None,
            "merge keys (`<<`) are not read here; use `defaults:` for what tables share".to_owned(),
        );
    }
    let here: Vec<&str> = keys::children(below).map(Key::name).collect();
    if let Some(close) = closest(name, here.iter().copied()) {
        return (Some(close), format!("unknown key; did you mean `{close}`?"));
    }
    let elsewhere: Vec<&str> = keys::all()
        .filter(|key| key.name() == name)
        .map(|key| key.path)
        .collect();
    if !elsewhere.is_empty() {
        return (
            None,
            format!("unknown key here; there is {}", one_of(&elsewhere)),
        );
    }
    (
        None,
        format!(
            "unknown key; here there are {}",
            one_of(&here).replace(" or ", " and ")
        ),
    )
}

fn table_name(node: &Node) -> Option<String> {
    let Content::Mapping(fields) = &node.content else {
        return None;
    };
    match &fields
        .iter()
        .find(|field| field.key == "name")?
        .value
        .content
    {
        Content::Scalar(scalar) => {
            let fits = !scalar.text.is_empty()
                && scalar.text.len() <= 64
                && scalar
                    .text
                    .chars()
                    .all(|c| c.is_ascii_alphanumeric() || "_-.".contains(c));
            fits.then(|| scalar.text.clone())
        }
        Content::List(_) | Content::Mapping(_) => None,
    }
}
