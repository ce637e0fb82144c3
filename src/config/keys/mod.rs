//! Every key of the config, declared once: the checks, the defaults, the docs, the editors' schema and the full example all follow from these tables. Does not
//! know what a value means for another: `resolve` does.

mod process;
mod table;

/// One key.
#[derive(Debug)]
pub(crate) struct Key {
    /// From the root, `[]` for the items of a list: `tables[].value.format`.
    pub(crate) path: &'static str,
    /// What may stand there.
    pub(crate) kind: Kind,
    /// What holds when nothing stands there.
    pub(crate) default: Default,
    /// What it does, for the manual.
    pub(crate) doc: &'static str,
    /// A value as YAML, for the manual and the full example.
    pub(crate) example: &'static str,
}

/// What may stand at a key.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Kind {
    /// A mapping of the keys below it.
    Section,
    /// A list of mappings of the keys below it.
    Tables,
    /// The keys of a table, each of them optional.
    TableDefaults,
    /// A text.
    Text,
    /// A text that is never shown.
    Secret,
    /// Bytes within bounds.
    Size(u64, u64),
    /// Milliseconds within bounds.
    Duration(u64, u64),
    /// A whole number within bounds.
    Integer(u64, u64),
    /// `auto` or a whole number within bounds.
    Lanes(u64, u64),
    /// One of some words.
    Choice(&'static [Choice]),
    /// A list of some words.
    Choices(&'static [Choice]),
    /// A list of texts.
    Texts,
    /// Texts by name.
    Map,
    /// Texts by name that are never shown.
    SecretMap,
    /// `earliest`, `latest` or `{timestamp: ISO-8601}`.
    Start,
}

/// What holds when nothing is written.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Default {
    /// The config is refused.
    Required,
    /// This YAML value.
    Value(&'static str),
    /// What other keys imply, in words.
    Implied(&'static str),
    /// Nothing: the feature is off.
    Absent,
}

/// Whether a word works yet.
#[derive(Debug, Clone, Copy)]
pub(crate) enum State {
    /// It does.
    Built,
    /// It is refused when written; says what to do instead.
    NotYet(&'static str),
}

/// One word that may stand at a key.
#[derive(Debug)]
pub(crate) struct Choice {
    pub(crate) word: &'static str,
    pub(crate) doc: &'static str,
    pub(crate) state: State,
}

impl Key {
    const fn new(path: &'static str, kind: Kind, default: Default, doc: &'static str) -> Key {
        Key {
            path,
            kind,
            default,
            doc,
            example: "",
        }
    }

    const fn example(mut self, example: &'static str) -> Key {
        self.example = example;
        self
    }

    /// The last part of its path.
    pub(crate) fn name(&self) -> &'static str {
        self.path
            .rsplit_once('.')
            .map_or(self.path, |(_, name)| name)
    }

    /// The path of the keys below it.
    pub(crate) fn below(&self) -> &'static str {
        if matches!(self.kind, Kind::Tables | Kind::TableDefaults) {
            TABLE
        } else {
            self.path
        }
    }

    /// Whether what stands there must not be shown, be it right or wrong.
    pub(crate) fn is_secret(&self) -> bool {
        matches!(self.kind, Kind::Secret | Kind::SecretMap)
    }
}

/// The path of a table's keys.
pub(crate) const TABLE: &str = "tables[]";

/// All keys, in the order of the manual.
pub(crate) fn all() -> impl Iterator<Item = &'static Key> {
    process::KEYS.iter().chain(table::KEYS)
}

/// The keys directly below a path; the root's path is empty.
pub(crate) fn children(path: &str) -> impl Iterator<Item = &'static Key> {
    all().filter(move |key| key.path.rsplit_once('.').map_or("", |(parent, _)| parent) == path)
}

/// The key of a name directly below a path.
pub(crate) fn child(path: &str, name: &str) -> Option<&'static Key> {
    children(path).find(|key| key.name() == name)
}

const fn word(word: &'static str, doc: &'static str) -> Choice {
    Choice {
        word,
        doc,
        state: State::Built,
    }
}

const fn later(word: &'static str, doc: &'static str, instead: &'static str) -> Choice {
    Choice {
        word,
        doc,
        state: State::NotYet(instead),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_key_is_declared_once_below_a_declared_section_and_documented() {
        let paths: BTreeSet<&str> = all().map(|key| key.path).collect();
        assert_eq!(paths.len(), all().count());
        for key in all() {
            assert!(
                key.doc.ends_with('.') && key.doc.starts_with(char::is_uppercase),
                "{}: {}",
                key.path,
                key.doc
            );
            if let Some((parent, _)) = key.path.rsplit_once('.') {
                let parent = parent.strip_suffix("[]").unwrap_or(parent);
                let parent = all().find(|key| key.path == parent).unwrap();
                assert!(
                    matches!(parent.kind, Kind::Section | Kind::Tables),
                    "{}",
                    key.path
                );
            }
        }
    }
}
