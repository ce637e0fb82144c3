//! The manual of the config, made from the declared keys: Markdown, a JSON Schema for editors, and a full example. Owns the wording around the declarations; a
//! test writes `config/full.yaml` anew and fails when it was stale.

mod markdown;

mod schema;

mod example;

pub use example::full_example;
pub use markdown::markdown;
pub use schema::json_schema;

use crate::config::keys::{Choice, Default, Key, Kind, State};
use crate::config::units;

/// What may stand at a key, in words.
fn kind(key: &Key) -> String {
    match key.kind {
        Kind::Section | Kind::TableDefaults => "mapping".to_owned(),
        Kind::Tables => "list of mappings".to_owned(),
        Kind::Text => "text".to_owned(),
        Kind::Secret => "text, never shown".to_owned(),
        Kind::Size(min, max) => format!(
            "size, {} to {}",
            units::show_size(min),
            units::show_size(max)
        ),
        Kind::Duration(min, max) => {
            let show = |millis| units::show_duration(std::time::Duration::from_millis(millis));
            format!("duration, {} to {}", show(min), show(max))
        }
        Kind::Integer(min, max) if min == max => format!("the number {min}"),
        Kind::Integer(min, max) => format!("whole number, {min} to {max}"),
        Kind::Lanes(min, max) => format!("`auto` or a whole number, {min} to {max}"),
        Kind::Choice(_) => "a word".to_owned(),
        Kind::Choices(_) => "list of words".to_owned(),
        Kind::Texts => "list of texts".to_owned(),
        Kind::Map => "mapping of texts".to_owned(),
        Kind::SecretMap => "mapping of texts, never shown".to_owned(),
        Kind::Start => "`earliest`, `latest` or `{timestamp: ...}`".to_owned(),
    }
}

/// What holds when nothing is written, in words.
fn default(key: &Key) -> String {
    match key.default {
        Default::Required => "required".to_owned(),
        Default::Value(text) => format!("`{text}`"),
        Default::Implied(words) if words.contains(['<', '{']) => format!("`{words}`"),
        Default::Implied(words) => words.to_owned(),
        Default::Absent => "none".to_owned(),
    }
}

fn choices(key: &Key) -> &'static [Choice] {
    match key.kind {
        Kind::Choice(choices) | Kind::Choices(choices) => choices,
        Kind::Section
        | Kind::Tables
        | Kind::TableDefaults
        | Kind::Text
        | Kind::Secret
        | Kind::Size(..)
        | Kind::Duration(..)
        | Kind::Integer(..)
        | Kind::Lanes(..)
        | Kind::Texts
        | Kind::Map
        | Kind::SecretMap
        | Kind::Start => &[],
    }
}

fn built(choices: &[Choice]) -> Vec<&Choice> {
    choices
        .iter()
        .filter(|choice| matches!(choice.state, State::Built))
        .collect()
}
