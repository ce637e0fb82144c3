//! The manual as Markdown, printed by `lakeward reference config`.

use crate::config::keys::{self, Key, State};
use crate::config::reference::{choices, default, kind};

const INTRODUCTION: &str = "# The config

One YAML 1.2 file. Unknown keys are errors; words marked *not built yet* are refused when written, with what to do instead. `lakeward validate` reports
every problem at once.

* Sizes carry units: `500KB`, `128MiB`, `1GiB` (KB, MB, GB, TB count in thousands; KiB, MiB, GiB, TiB in 1024s). Durations too: `500ms`, `30s`, `5m`, `1h`, `7d`.
* `${VAR}` takes an environment variable, `${VAR:-default}` gives it a default, `${file:/path}` takes a file without its last line break. They are substituted in
  values after the YAML is read, so what they hold is never YAML; `$${` stands for `${` itself.
* Relative paths are relative to the config file.
* Secrets never appear in messages, logs or status.
";

/// The manual: every key with its type, default and meaning.
pub fn markdown() -> String {
    let mut page = INTRODUCTION.to_owned();
    page.push_str("\n## The process\n\n");
    rows(
        &mut page,
        keys::all().filter(|key| !key.path.starts_with(keys::TABLE)),
    );
    page.push_str("\n## A table\n\nThese keys stand in each item of `tables`, and all but `name`, `topics` and `topics_regex` also under `defaults`.\n\n");
    rows(
        &mut page,
        keys::all().filter(|key| key.path.starts_with(keys::TABLE)),
    );
    page
}

fn rows(page: &mut String, keys: impl Iterator<Item = &'static Key>) {
    page.push_str("| key | what stands there | default | what it does |\n|---|---|---|---|\n");
    for key in keys {
        let name = key
            .path
            .strip_prefix(keys::TABLE)
            .and_then(|path| path.strip_prefix('.'))
            .unwrap_or(key.path);
        let cells = [format!("`{name}`"), kind(key), default(key), meaning(key)];
        let cells: Vec<String> = cells.iter().map(|cell| cell.replace('|', "\\|")).collect();
        page.push_str(&format!("| {} |\n", cells.join(" | ")));
    }
}

fn meaning(key: &Key) -> String {
    let mut text = key.doc.to_owned();
    for choice in choices(key) {
        text.push_str(&format!("<br>`{}`: {}", choice.word, choice.doc));
        if let State::NotYet(instead) = choice.state {
            text.push_str(&format!(" *Not built yet*: {instead}."));
        }
    }
    text
}
