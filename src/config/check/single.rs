//! Single values: substitution, YAML types, units, words. Owns how a message shows a value, and that it shows no secret.

use std::time::Duration;

use crate::config::check::{At, Check};
use crate::config::document::{Content, Field, Looks, Node, Scalar};
use crate::config::keys::{Choice, Key, Kind, State};
use crate::config::problem::{one_of, suggestion};
use crate::config::section::{Text, Value};
use crate::config::settings::Start;
use crate::config::units;

/// The longest value that a message shows whole.
const SHOWN_CHARS_MAX: usize = 80;

impl Check<'_> {
    pub(super) fn start(&mut self, at: At<'_>, node: &Node) -> Value {
        let forms = "`earliest`, `latest` or `{timestamp: 2026-01-01T00:00:00Z}`";
        if let Content::Mapping(fields) = &node.content {
            let [Field { key, value, .. }] = fields.as_slice() else {
                return self.wrong(
                    at,
                    node.place,
                    format!("must be {forms}, and is a mapping of {} keys", fields.len()),
                );
            };
            if key != "timestamp" {
                return self.wrong(
                    at,
                    node.place,
                    format!(
                        "must be {forms}; `{key}` is not known here{}",
                        suggestion(key, ["timestamp"])
                    ),
                );
            }
            let Some((_, text)) = self.scalar(at, value) else {
                return Value::Wrong;
            };
            return match units::timestamp_ms(&text.text) {
                Ok(millis) => Value::Start(Start::Timestamp(millis)),
                Err(complaint) => self.wrong(at, text.place, format!("{} {complaint}", text.shown)),
            };
        }
        let Some((_, text)) = self.scalar(at, node) else {
            return Value::Wrong;
        };
        match text.text.as_str() {
            "earliest" => Value::Start(Start::Earliest),
            "latest" => Value::Start(Start::Latest),
            other => {
                let hint = match units::timestamp_ms(other) {
                    Ok(_) => format!("; did you mean `{{timestamp: {other}}}`?"),
                    Err(_) => suggestion(other, ["earliest", "latest"]),
                };
                self.wrong(
                    at,
                    text.place,
                    format!("must be {forms}, and is {}{hint}", text.shown),
                )
            }
        }
    }

    pub(super) fn single(&mut self, at: At<'_>, node: &Node) -> Value {
        let Some((scalar, text)) = self.scalar(at, node) else {
            return Value::Wrong;
        };
        let result = match at.key.kind {
            Kind::Size(min, max) => units::size(&text.text)
                .and_then(|bytes| bounded(bytes, min, max, units::show_size))
                .map(Value::Number),
            Kind::Duration(min, max) => units::duration(&text.text).and_then(|length| {
                let bounds = (Duration::from_millis(min), Duration::from_millis(max));
                bounded(length, bounds.0, bounds.1, units::show_duration).map(Value::Duration)
            }),
            Kind::Integer(min, max) => integer(&scalar, &text.text)
                .and_then(|number| bounded(number, min, max, |number| number.to_string()))
                .map(Value::Number),
            Kind::Lanes(..) if text.text == "auto" => Ok(Value::Lanes(None)),
            Kind::Lanes(min, max) => integer(&scalar, &text.text)
                .map_err(|complaint| format!("{complaint}, or `auto`"))
                .and_then(|number| bounded(number, min, max, |number| number.to_string()))
                .map(|number| Value::Lanes(Some(number))),
            Kind::Choice(choices) => {
                return self
                    .choose(at, choices, &text)
                    .map_or(Value::Wrong, Value::Word);
            }
            Kind::Text
            | Kind::Secret
            | Kind::Section
            | Kind::Tables
            | Kind::TableDefaults
            | Kind::Choices(_)
            | Kind::Texts
            | Kind::Map
            | Kind::SecretMap
            | Kind::Start => {
                return self
                    .typed(at, &scalar, text)
                    .map_or(Value::Wrong, Value::Text);
            }
        };
        result.unwrap_or_else(|complaint| {
            self.wrong(at, text.place, format!("{} {complaint}", text.shown))
        })
    }

    pub(super) fn choose(
        &mut self,
        at: At<'_>,
        choices: &'static [Choice],
        text: &Text,
    ) -> Option<&'static str> {
        let built: Vec<&str> = choices
            .iter()
            .filter(|choice| matches!(choice.state, State::Built))
            .map(|choice| choice.word)
            .collect();
        let message = match choices.iter().find(|choice| choice.word == text.text) {
            Some(Choice {
                word,
                state: State::Built,
                ..
            }) => return Some(word),
            Some(Choice {
                word,
                state: State::NotYet(instead),
                ..
            }) => format!("`{word}` is not built yet; {instead}"),
            None if at.key.path == "tables[].metadata.include"
                && matches!(text.text.as_str(), "topic" | "partition" | "offset") =>
            {
                format!("{} is always there; leave it out of the list", text.shown)
            }
            None => format!(
                "{} is not known here; write {}{}",
                text.shown,
                one_of(&built),
                suggestion(&text.text, choices.iter().map(|choice| choice.word))
            ),
        };
        self.say(text.place, at.path, message);
        None
    }

    /// A scalar that must be a text.
    pub(super) fn text(&mut self, at: At<'_>, node: &Node) -> Option<Text> {
        let (scalar, text) = self.scalar(at, node)?;
        self.typed(at, &scalar, text)
    }

    fn typed(&mut self, at: At<'_>, scalar: &Scalar, text: Text) -> Option<Text> {
        let what = match scalar.looks() {
            Looks::Text => return Some(text),
            Looks::Null => "empty",
            Looks::Boolean => "a boolean",
            Looks::Number => "a number",
        };
        let expected = match (at.key.kind, at.key.example) {
            (Kind::Text, example) if !example.is_empty() => format!(" such as `{example}`"),
            _ => String::new(),
        };
        let quoted = if at.key.is_secret() {
            String::new()
        } else {
            format!(": `\"{}\"`", clip(&scalar.text))
        };
        let message = format!(
            "{} is {what} where a text{expected} is expected; if it is meant, put it in quotes{quoted}",
            text.shown
        );
        self.say(text.place, at.path, message);
        None
    }

    /// A single value after substitution. What `${..}` put in has no YAML type: it is whatever the key expects.
    pub(super) fn scalar(&mut self, at: At<'_>, node: &Node) -> Option<(Scalar, Text)> {
        let Content::Scalar(scalar) = &node.content else {
            let expected = if at.key.is_secret() {
                String::new()
            } else {
                example(at.key)
            };
            self.say(
                node.place,
                at.path,
                format!("must be a single value{expected}, and is {}", node.shape()),
            );
            return None;
        };
        let substituted = match self.interpolation.apply(&scalar.text) {
            Ok(substituted) => substituted,
            Err(complaint) => {
                self.say(node.place, at.path, complaint);
                return None;
            }
        };
        let shown = if at.key.is_secret() || substituted.from_file {
            "the value".to_owned()
        } else if substituted.changed {
            format!(
                "`{}` (from `{}`)",
                clip(&substituted.text),
                clip(&scalar.text)
            )
        } else {
            format!("`{}`", clip(&substituted.text))
        };
        let quoted = scalar.quoted || substituted.changed;
        let typed = Scalar {
            text: if substituted.changed {
                String::new()
            } else {
                scalar.text.clone()
            },
            quoted,
        };
        Some((
            typed,
            Text {
                place: node.place,
                text: substituted.text,
                shown,
                substituted: substituted.changed,
            },
        ))
    }
}

fn integer(scalar: &Scalar, text: &str) -> Result<u64, String> {
    if scalar.quoted && !scalar.text.is_empty() && text.parse::<u64>().is_ok() {
        return Err("is a text where a number is expected; remove the quotes".to_owned());
    }
    text.parse::<u64>()
        .map_err(|_| "is not a whole number; write digits only".to_owned())
}

fn bounded<T: PartialOrd + Copy>(
    value: T,
    min: T,
    max: T,
    show: impl Fn(T) -> String,
) -> Result<T, String> {
    if min == max && value != min {
        Err(format!("is not supported; write `{}`", show(min)))
    } else if value < min {
        Err(format!("is too small; at least `{}`", show(min)))
    } else if value > max {
        Err(format!("is too large; at most `{}`", show(max)))
    } else {
        Ok(value)
    }
}

pub(super) fn example(key: &Key) -> String {
    if key.example.is_empty() || key.is_secret() {
        String::new()
    } else {
        format!(", such as `{}`", key.example)
    }
}

pub(super) fn clip(text: &str) -> String {
    let mut shown: String = text
        .chars()
        .take(SHOWN_CHARS_MAX)
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect();
    if text.chars().count() > SHOWN_CHARS_MAX {
        shown.push_str("...");
    }
    shown
}
