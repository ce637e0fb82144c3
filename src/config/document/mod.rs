//! YAML 1.2 text into a tree that remembers where everything is written. Owns the YAML parser and its refusals (anchors, tags, duplicate keys); knows no key.

use saphyr::Marker;
use saphyr_parser::{Parser, StrInput};

use crate::config::problem::{Place, Problem};

mod scalar;

mod build;

mod syntax;

pub(crate) use scalar::{Looks, Scalar};

/// A value and where it begins.
#[derive(Debug, Clone)]
pub(crate) struct Node {
    pub(crate) place: Place,
    pub(crate) content: Content,
}

/// What a value is.
#[derive(Debug, Clone)]
pub(crate) enum Content {
    /// A single text, not yet typed.
    Scalar(Scalar),
    /// `[a, b]`
    List(Vec<Node>),
    /// `{key: value}`, keys unique.
    Mapping(Vec<Field>),
}

/// A key and its value.
#[derive(Debug, Clone)]
pub(crate) struct Field {
    pub(crate) key: String,
    pub(crate) place: Place,
    pub(crate) value: Node,
}

impl Node {
    /// Whether nothing, `~` or `null` stands there.
    pub(crate) fn is_null(&self) -> bool {
        matches!(&self.content, Content::Scalar(scalar) if scalar.looks() == Looks::Null)
    }

    /// What it is, for a message.
    pub(crate) fn shape(&self) -> &'static str {
        match &self.content {
            Content::Scalar(_) if self.is_null() => "empty",
            Content::Scalar(_) => "a single value",
            Content::List(_) => "a list",
            Content::Mapping(_) => "a mapping",
        }
    }
}

impl Field {
    /// Where its value is written; an empty one is where its key is.
    pub(crate) fn spot(&self) -> Place {
        if self.value.is_null() {
            self.place
        } else {
            self.value.place
        }
    }
}

/// Reads the one document of a text: its root mapping, where there is one, and everything that is wrong with the YAML itself.
pub(crate) fn read(text: &str) -> (Option<Vec<Field>>, Vec<Problem>) {
    let mut builder = build::Builder::default();
    let mut parser = Parser::new(StrInput::new(text));
    while let Some(next) = parser.next_event() {
        match next {
            Ok((event, span)) => builder.accept(event, place(span.start)),
            Err(error) => builder.refuse(syntax::complaint(text, &error)),
        }
        if builder.is_stopped() {
            break;
        }
    }
    builder.finish()
}

fn place(marker: Marker) -> Place {
    Place {
        line: marker.line(),
        column: marker.col() + 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deep_nesting_is_refused_without_recursion() {
        let (root, problems) = read(&format!("{}:\n  ", "[".repeat(200)));
        assert!(root.is_none());
        assert_eq!(problems.len(), 1, "{problems:?}");
    }
}
