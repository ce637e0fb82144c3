//! A config that names every key, valid as it stands. What is off by default stands in comments.

use crate::config::keys::{self, Default, Key, Kind, State};
use crate::config::reference::{built, choices};

const WIDTH: usize = 100;

const INTRODUCTION: &str = "# Every key of Lakeward, with its default where it has one. Generated from the key declarations: a test
# rewrites this file and fails when it was stale, so do not edit it. Start from minimal.yaml.
";

/// The text of `config/full.yaml`.
pub fn full_example() -> String {
    let mut page = INTRODUCTION.to_owned();
    for key in keys::children("") {
        page.push('\n');
        write(&mut page, key, 0);
    }
    page
}

fn write(page: &mut String, key: &Key, indent: usize) {
    let margin = " ".repeat(indent);
    for line in wrap(&explanation(key), WIDTH.saturating_sub(indent + 2)) {
        page.push_str(&format!("{margin}# {line}\n"));
    }
    match (key.kind, key.default) {
        (Kind::Tables, _) => {
            page.push_str(&format!("{margin}{}:\n", key.name()));
            let mut item = String::new();
            for child in keys::children(key.below()) {
                write(&mut item, child, indent + 4);
            }
            page.push_str(&listed(&item, indent + 4));
        }
        (Kind::Section, _) if key.example.is_empty() => {
            page.push_str(&format!("{margin}{}:\n", key.name()));
            for child in keys::children(key.below()) {
                write(page, child, indent + 2);
            }
        }
        (_, Default::Value(text)) => page.push_str(&format!("{margin}{}: {text}\n", key.name())),
        (_, Default::Required | Default::Implied(_)) => {
            page.push_str(&format!("{margin}{}: {}\n", key.name(), key.example))
        }
        (_, Default::Absent) => {
            page.push_str(&format!("{margin}# {}: {}\n", key.name(), key.example))
        }
    }
}

/// Puts the dash of a list item in front of its first key.
fn listed(item: &str, indent: usize) -> String {
    let key_margin = " ".repeat(indent);
    let dash_margin = format!("{}- ", " ".repeat(indent.saturating_sub(2)));
    let mut dashed = false;
    item.lines().fold(String::new(), |mut text, line| {
        let key = line
            .strip_prefix(&key_margin)
            .filter(|key| !dashed && !key.starts_with('#'));
        match key {
            Some(key) => {
                dashed = true;
                text.push_str(&format!("{dash_margin}{key}\n"));
            }
            None => text.push_str(&format!("{line}\n")),
        }
        text
    })
}

fn explanation(key: &Key) -> String {
    let mut text = key.doc.to_owned();
    let words: Vec<&str> = built(choices(key))
        .iter()
        .map(|choice| choice.word)
        .collect();
    if !words.is_empty() {
        text.push_str(&format!(" Here: {}.", words.join(" | ")));
    }
    let later: Vec<&str> = choices(key)
        .iter()
        .filter(|choice| matches!(choice.state, State::NotYet(_)))
        .map(|choice| choice.word)
        .collect();
    if !later.is_empty() {
        text.push_str(&format!(" Not built yet: {}.", later.join(" | ")));
    }
    match key.default {
        Default::Required => text.push_str(" Required."),
        Default::Implied(words) if !matches!(key.kind, Kind::Section) => {
            text.push_str(&format!(" Default: {words}."))
        }
        Default::Value(_) | Default::Implied(_) | Default::Absent => {}
    }
    text
}

fn wrap(text: &str, width: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split(' ') {
        match lines.last_mut() {
            Some(line) if line.chars().count() + 1 + word.chars().count() <= width => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}
