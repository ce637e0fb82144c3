//! Parser events into the tree, with a bound on its depth and without recursion.

use std::borrow::Cow;

use saphyr::{ScalarStyle, Tag};
use saphyr_parser::Event;

use crate::config::document::{Content, Field, Looks, Node, Scalar};
use crate::config::problem::{Place, Problem};

/// Deeper nesting than any config needs; bounds the tree.
const DEPTH_MAX: usize = 32;

/// An open list or mapping while its children arrive.
#[derive(Debug)]
enum Open {
    List(Place, Vec<Node>),
    Mapping(Place, Vec<Field>, Option<(Option<String>, Place)>),
}

#[derive(Debug, Default)]
pub(super) struct Builder {
    open: Vec<Open>,
    root: Option<Node>,
    documents: usize,
    problems: Vec<Problem>,
    stopped: bool,
    /// Whether the tree lacks what aliases stand for, so that checking it further would mislead.
    lacks_aliased: bool,
}

impl Builder {
    /// Takes the next event.
    pub(super) fn accept(&mut self, event: Event<'_>, at: Place) {
        match event {
            Event::Nothing | Event::StreamStart | Event::StreamEnd | Event::DocumentEnd => {}
            Event::DocumentStart(_) => self.document(at),
            Event::Alias(_) => {
                self.say(at, "an alias (`*name`) is not read here: write the value out, or use `defaults:` for what tables share");
                self.lacks_aliased = true;
                self.insert(null(at));
            }
            Event::Scalar(text, style, anchor, tag) => {
                self.decoration(at, anchor, tag.as_ref());
                let scalar = Scalar {
                    text: text.into_owned(),
                    quoted: style != ScalarStyle::Plain,
                };
                self.insert(Node {
                    place: at,
                    content: Content::Scalar(scalar),
                });
            }
            Event::SequenceStart(anchor, tag) => {
                self.decoration(at, anchor, tag.as_ref());
                self.deepen(Open::List(at, Vec::new()), at);
            }
            Event::MappingStart(anchor, tag) => {
                self.decoration(at, anchor, tag.as_ref());
                self.deepen(Open::Mapping(at, Vec::new(), None), at);
            }
            Event::SequenceEnd | Event::MappingEnd => match self.open.pop() {
                Some(Open::List(place, items)) => self.insert(Node {
                    place,
                    content: Content::List(items),
                }),
                Some(Open::Mapping(place, fields, _)) => self.insert(Node {
                    place,
                    content: Content::Mapping(fields),
                }),
                None => {}
            },
        }
    }

    fn document(&mut self, at: Place) {
        self.documents += 1;
        if self.documents > 1 {
            self.refuse(Problem {
                place: Some(at),
                key: String::new(),
                message: "a second YAML document begins here (`---`); one file holds one config"
                    .to_owned(),
            });
        }
    }

    fn decoration(&mut self, at: Place, anchor: usize, tag: Option<&Cow<'_, Tag>>) {
        if anchor > 0 {
            self.say(at, "an anchor (`&name`) is not read here: write the value out, or use `defaults:` for what tables share");
        }
        if let Some(tag) = tag {
            let shown = if tag.is_yaml_core_schema() {
                format!("!!{}", tag.suffix)
            } else {
                tag.to_string()
            };
            self.say(at, &format!("a YAML tag (`{shown}`) is not read here: remove it; quotes make a text of anything"));
        }
    }

    fn deepen(&mut self, open: Open, at: Place) {
        if self.open.len() < DEPTH_MAX {
            self.open.push(open);
        } else {
            self.refuse(Problem {
                place: Some(at),
                key: String::new(),
                message: format!(
                    "nested more than {DEPTH_MAX} levels deep; no key of the config is"
                ),
            });
        }
    }

    fn insert(&mut self, node: Node) {
        match self.open.last_mut() {
            None => self.root = Some(node),
            Some(Open::List(_, items)) => items.push(node),
            Some(Open::Mapping(_, fields, key)) => match key.take() {
                None => *key = Some((key_text(&node), node.place)),
                Some((Some(name), place)) => match fields.iter().find(|field| field.key == name) {
                    Some(first) => {
                        let message = format!("`{name}` is written twice in the same mapping, first in line {}; remove one", first.place.line);
                        self.say(place, &message);
                    }
                    None => fields.push(Field { key: name, place, value: node }),
                },
                Some((None, place)) => self.say(place, "a key must be a plain name, not empty, a list or a mapping; a text with `{` or `[` at its start needs quotes"),
            },
        }
    }

    fn say(&mut self, at: Place, message: &str) {
        self.problems.push(Problem {
            place: Some(at),
            key: String::new(),
            message: message.to_owned(),
        });
    }

    /// Notes a problem after which reading on would mislead.
    pub(super) fn refuse(&mut self, problem: Problem) {
        self.problems.push(problem);
        self.stopped = true;
    }

    /// Whether reading on would mislead.
    pub(super) fn is_stopped(&self) -> bool {
        self.stopped
    }

    /// The root mapping and the problems.
    pub(super) fn finish(mut self) -> (Option<Vec<Field>>, Vec<Problem>) {
        if self.stopped || self.lacks_aliased {
            return (None, self.problems);
        }
        let empty = "the file is empty; the smallest config has `version`, `name`, `kafka`, `storage` and `tables`";
        let Some(root) = self.root.take() else {
            self.problems.push(Problem {
                place: None,
                key: String::new(),
                message: empty.to_owned(),
            });
            return (None, self.problems);
        };
        let message = match root.content {
            Content::Mapping(fields) => return (Some(fields), self.problems),
            Content::Scalar(scalar) if scalar.looks() == Looks::Null => empty,
            Content::Scalar(_) => {
                "the file holds a single text; a config is a mapping of keys, such as `name: shop`"
            }
            Content::List(_) => {
                "the file holds a list; a config is a mapping of keys, such as `name: shop`"
            }
        };
        self.say(root.place, message);
        (None, self.problems)
    }
}

fn key_text(node: &Node) -> Option<String> {
    match &node.content {
        Content::Scalar(scalar) if scalar.looks() != Looks::Null => Some(scalar.text.clone()),
        Content::Scalar(_) | Content::List(_) | Content::Mapping(_) => None,
    }
}

fn null(place: Place) -> Node {
    Node {
        place,
        content: Content::Scalar(Scalar {
            text: String::new(),
            quoted: false,
        }),
    }
}
