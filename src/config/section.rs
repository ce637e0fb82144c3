//! A config after its shape and types are checked: values by key, each with where it was written. Owns merging with `defaults` and filling in what is left out;
//! what values mean together is `resolve`'s.

use std::time::Duration;

use crate::config::document;
use crate::config::keys::{self, Default, Key, Kind};
use crate::config::problem::{Findings, Place};
use crate::config::settings::Start;

/// A mapping of the config.
#[derive(Debug, Clone)]
pub(crate) struct Section {
    pub(crate) place: Place,
    /// As a person would say it: `tables[orders].value`.
    pub(crate) path: String,
    /// The declared path of its keys: `tables[].value`.
    pub(crate) below: &'static str,
    pub(crate) entries: Vec<Entry>,
    /// Keys that a misspelt one was probably meant to be; they are not reported as missing too.
    pub(crate) meant: Vec<&'static str>,
}

/// A key with its value.
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    pub(crate) key: &'static Key,
    pub(crate) place: Place,
    pub(crate) path: String,
    pub(crate) value: Value,
    pub(crate) origin: Origin,
}

/// Who wrote a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Origin {
    /// The person, where it belongs.
    Written,
    /// The person, under `defaults`.
    Shared,
    /// Nobody: it is the key's default.
    Default,
}

/// A typed value.
#[derive(Debug, Clone)]
pub(crate) enum Value {
    /// Something that is wrong and reported.
    Wrong,
    Text(Text),
    Number(u64),
    Lanes(Option<u64>),
    Duration(Duration),
    Word(&'static str),
    Words(Vec<(&'static str, Place)>),
    Texts(Vec<Text>),
    Pairs(Vec<Pair>),
    Start(Start),
    Section(Section),
    Sections(Vec<Section>),
}

/// A text and how a message may show it.
#[derive(Debug, Clone)]
pub(crate) struct Text {
    pub(crate) place: Place,
    pub(crate) text: String,
    /// In back quotes, with its origin; only `the value` when it is or may be a secret.
    pub(crate) shown: String,
    /// Whether `${..}` put something in.
    pub(crate) substituted: bool,
}

/// An entry of a mapping whose names are free.
#[derive(Debug, Clone)]
pub(crate) struct Pair {
    pub(crate) name: String,
    pub(crate) place: Place,
    pub(crate) value: Text,
}

impl Section {
    /// An empty one.
    pub(crate) fn new(place: Place, path: &str, below: &'static str) -> Self {
        Section {
            place,
            path: path.to_owned(),
            below,
            entries: Vec::new(),
            meant: Vec::new(),
        }
    }

    /// The entry at a dotted path below this section.
    pub(crate) fn entry(&self, path: &str) -> Option<&Entry> {
        let (name, rest) = path
            .split_once('.')
            .map_or((path, None), |(name, rest)| (name, Some(rest)));
        let entry = self.entries.iter().find(|entry| entry.key.name() == name)?;
        match (rest, &entry.value) {
            (None, _) => Some(entry),
            (Some(rest), Value::Section(section)) => section.entry(rest),
            (Some(_), _) => None,
        }
    }

    /// Whether the person wrote it, here or under `defaults`, right or wrong.
    pub(crate) fn is_written(&self, path: &str) -> bool {
        self.entry(path)
            .is_some_and(|entry| entry.origin != Origin::Default)
    }

    pub(crate) fn value(&self, path: &str) -> Option<&Value> {
        self.entry(path).map(|entry| &entry.value)
    }

    pub(crate) fn section(&self, path: &str) -> Option<&Section> {
        let Value::Section(section) = self.value(path)? else {
            return None;
        };
        Some(section)
    }

    pub(crate) fn text(&self, path: &str) -> Option<&Text> {
        let Value::Text(text) = self.value(path)? else {
            return None;
        };
        Some(text)
    }

    pub(crate) fn texts(&self, path: &str) -> Option<&[Text]> {
        let Value::Texts(texts) = self.value(path)? else {
            return None;
        };
        Some(texts)
    }

    pub(crate) fn number(&self, path: &str) -> Option<u64> {
        let Value::Number(number) = self.value(path)? else {
            return None;
        };
        Some(*number)
    }

    pub(crate) fn duration(&self, path: &str) -> Option<Duration> {
        let Value::Duration(duration) = self.value(path)? else {
            return None;
        };
        Some(*duration)
    }

    pub(crate) fn word(&self, path: &str) -> Option<&'static str> {
        let Value::Word(word) = self.value(path)? else {
            return None;
        };
        Some(word)
    }

    pub(crate) fn pairs(&self, path: &str) -> Option<&[Pair]> {
        let Value::Pairs(pairs) = self.value(path)? else {
            return None;
        };
        Some(pairs)
    }

    /// Takes over from `defaults` what is not written here: section by section and name by name; lists and single values as a whole, and so is `value.schema`,
    /// whose keys exclude one another.
    pub(crate) fn merge(&mut self, defaults: &Section) {
        for shared in &defaults.entries {
            match self
                .entries
                .iter_mut()
                .find(|entry| entry.key.path == shared.key.path)
            {
                None => self.entries.push(shared.clone().shared()),
                Some(own) => match (&mut own.value, &shared.value) {
                    (Value::Section(own), Value::Section(shared))
                        if own.below != "tables[].value.schema" =>
                    {
                        own.merge(shared)
                    }
                    (Value::Pairs(own), Value::Pairs(shared)) => {
                        let missing: Vec<Pair> = shared
                            .iter()
                            .filter(|pair| own.iter().all(|own| own.name != pair.name))
                            .cloned()
                            .collect();
                        own.extend(missing);
                    }
                    _ => {}
                },
            }
        }
    }

    /// Fills in defaults and reports what is required and left out.
    pub(crate) fn complete(
        &mut self,
        read: &mut dyn FnMut(&'static Key, &document::Field) -> Option<Value>,
        findings: &mut Findings,
    ) {
        for key in keys::children(self.below) {
            let path = join(&self.path, key.name());
            if let Some(entry) = self
                .entries
                .iter_mut()
                .find(|entry| entry.key.path == key.path)
            {
                if let Value::Section(section) = &mut entry.value
                    && matches!(key.kind, Kind::Section)
                {
                    section.complete(read, findings);
                }
                continue;
            }
            let value = match (key.kind, key.default) {
                (_, Default::Required) if self.meant.contains(&key.name()) => continue,
                (_, Default::Required) => {
                    findings.say(self.place, &path, missing(key));
                    continue;
                }
                (_, Default::Absent) | (Kind::TableDefaults, _) => None,
                (Kind::Section, _) => {
                    let mut section = Section::new(self.place, &path, key.path);
                    section.complete(read, findings);
                    Some(Value::Section(section))
                }
                (_, Default::Implied(_)) => None,
                (_, Default::Value(text)) => declared(text, key, read),
            };
            if let Some(value) = value {
                self.entries.push(Entry {
                    key,
                    place: self.place,
                    path,
                    value,
                    origin: Origin::Default,
                });
            }
        }
    }
}

impl Entry {
    fn shared(mut self) -> Self {
        self.origin = Origin::Shared;
        if let Value::Section(section) = &mut self.value {
            section.entries = section.entries.drain(..).map(Entry::shared).collect();
        }
        self
    }
}

/// `path.name`, or the name alone below the root.
pub(crate) fn join(path: &str, name: &str) -> String {
    if path.is_empty() {
        name.to_owned()
    } else {
        format!("{path}.{name}")
    }
}

/// A default goes the same way as what is written.
fn declared(
    text: &str,
    key: &'static Key,
    read: &mut dyn FnMut(&'static Key, &document::Field) -> Option<Value>,
) -> Option<Value> {
    let (fields, _) = document::read(&format!("{}: {text}", key.name()));
    read(key, fields?.first()?)
}

fn missing(key: &Key) -> String {
    // What feeds a table is one of two keys; the first is the one to begin with.
    let required = keys::children(key.below()).filter(|child| {
        matches!(child.default, Default::Required) || child.path == "tables[].topics"
    });
    let names: Vec<String> = required
        .map(|child| format!("`{}`", child.name()))
        .collect();
    let example = if matches!(key.kind, Kind::Section) {
        format!("`{}:` with {} below it", key.name(), names.join(", "))
    } else if matches!(key.kind, Kind::Tables) {
        format!(
            "`{}:` with a list of tables below it, each with {}",
            key.name(),
            names.join(", ")
        )
    } else {
        format!("`{}: {}`", key.name(), key.example)
    };
    format!("is required and missing; write {example}")
}
