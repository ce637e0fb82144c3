//! `lakeward reference`: pages generated from the declarations they describe. Owns the page of error kinds only.

use crate::config::reference;
use crate::decode;
use crate::error::Kind;
use crate::metrics::Metrics;
use crate::ops::cli::Page;
use crate::ops::exit::{Ending, Outcome};
use crate::ops::output;

/// Prints one page.
pub(crate) fn print(page: Page) -> Outcome {
    let text = match page {
        Page::Config => reference::markdown(),
        Page::Schema => reference::json_schema(),
        Page::Metrics => Metrics::new("").reference_markdown(),
        Page::Errors => errors_markdown(),
        Page::Types => decode::type_mapping_markdown(),
    };
    output::line(text.trim_end());
    Ok(Ending::Done)
}

const KINDS: [Kind; 5] = [
    Kind::Invalid,
    Kind::Unavailable,
    Kind::Superseded,
    Kind::Corrupt,
    Kind::Bug,
];

fn errors_markdown() -> String {
    let mut page = String::from(
        "# Errors\n\nEvery error is one sentence with the value and the config key, and one of five kinds, which say what to do.\n\n| kind | exit code | meaning | what to do |\n|---|---|---|---|\n",
    );
    for kind in KINDS {
        let (meaning, advice) = explained(kind);
        page.push_str(&format!(
            "| {} | {} | {meaning} | {advice} |\n",
            kind.name(),
            kind.exit_code()
        ));
    }
    page
}

fn explained(kind: Kind) -> (&'static str, &'static str) {
    match kind {
        Kind::Invalid => (
            "The request or the config is wrong.",
            "Change what the sentence names; `lakeward validate -c FILE` lists every problem.",
        ),
        Kind::Unavailable => (
            "A broker, the registry or the store does not answer or refuses.",
            "Mend it or grant the permission. `run` waits by itself and loses nothing; other commands can be repeated, or given more `--timeout`.",
        ),
        Kind::Superseded => (
            "Another owner commits the same topic partitions to the table.",
            "Usually nothing: it happens once in a rebalance. When it repeats, look for a second sink that feeds the same table with another group.",
        ),
        Kind::Corrupt => (
            "Data at rest contradicts itself or us: a table, a file, or a table that is suspended.",
            "Read the reason in the log or on the status page; `lakeward verify -c FILE --deep` finds out more. Nothing is committed past it.",
        ),
        Kind::Bug => (
            "A mistake in Lakeward.",
            "Report the sentence. What is committed is safe, and a restart resumes from it.",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_has_a_line_that_says_what_to_do() {
        let page = errors_markdown();
        for kind in KINDS {
            assert!(
                page.contains(&format!("| {} | {} |", kind.name(), kind.exit_code())),
                "{page}"
            );
        }
    }
}
