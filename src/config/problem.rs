//! What is wrong with a config, all of it at once. Owns the wording around a message and the suggestion; the rooms that find problems own the messages.

use std::fmt;
use std::path::{Path, PathBuf};

use crate::error::Kind;

/// A spot in the file; lines and columns count from 1, columns in characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// The line.
    pub line: usize,
    /// The column.
    pub column: usize,
}

/// One thing to mend.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Problem {
    /// Where it is written; none when it concerns the file as a whole.
    pub place: Option<Place>,
    /// The key it is about, such as `tables[orders].value.format`; empty for the file itself.
    pub key: String,
    /// The sentence.
    pub message: String,
}

/// Problems as they are found.
#[derive(Debug, Default)]
pub(crate) struct Findings(pub(crate) Vec<Problem>);

impl Findings {
    /// Notes one.
    pub(crate) fn say(&mut self, place: Place, key: &str, message: String) {
        self.0.push(Problem {
            place: Some(place),
            key: key.to_owned(),
            message,
        });
    }
}

/// Everything that is wrong with one file; never empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problems {
    path: PathBuf,
    list: Vec<Problem>,
}

impl Problems {
    /// Puts them into reading order and drops what is said twice.
    pub(crate) fn new(path: &Path, mut list: Vec<Problem>) -> Self {
        list.sort();
        list.dedup();
        Problems {
            path: path.to_path_buf(),
            list,
        }
    }

    /// A single problem with the file itself.
    pub(crate) fn with_file(path: &Path, message: String) -> Self {
        Problems::new(
            path,
            vec![Problem {
                place: None,
                key: String::new(),
                message,
            }],
        )
    }

    /// The problems in the order of the file.
    pub fn list(&self) -> &[Problem] {
        &self.list
    }

    /// What to do: mend the config.
    pub fn kind(&self) -> Kind {
        Kind::Invalid
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.list.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            write!(f, "{}:", self.path.display())?;
            if let Some(place) = problem.place {
                write!(f, "{}:{}:", place.line, place.column)?;
            }
            if !problem.key.is_empty() {
                write!(f, " {}:", problem.key)?;
            }
            write!(f, " {}", problem.message)?;
        }
        Ok(())
    }
}

impl std::error::Error for Problems {}

/// The candidate that a slip of the fingers would turn into `written`, as `; did you mean ...?`, or nothing.
pub(crate) fn suggestion<'a>(
    written: &str,
    candidates: impl IntoIterator<Item = &'a str>,
) -> String {
    match closest(written, candidates) {
        Some(candidate) => format!("; did you mean `{candidate}`?"),
        None => String::new(),
    }
}

/// The candidate that a slip of the fingers would turn into `written`.
pub(crate) fn closest<'a>(
    written: &str,
    candidates: impl IntoIterator<Item = &'a str>,
) -> Option<&'a str> {
    let plain = |text: &str| text.to_lowercase().replace(['-', '.', ' '], "_");
    let written = plain(written);
    candidates
        .into_iter()
        .map(|candidate| (strsim::jaro_winkler(&written, &plain(candidate)), candidate))
        .filter(|(likeness, _)| *likeness >= 0.8)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, candidate)| candidate)
}

/// The values as a person lists them: `a`, `b` or `c`.
pub(crate) fn one_of(values: &[&str]) -> String {
    match values {
        [] => String::new(),
        [only] => format!("`{only}`"),
        [head @ .., last] => {
            let head: Vec<String> = head.iter().map(|value| format!("`{value}`")).collect();
            format!("{} or `{last}`", head.join(", "))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_is_suggested_and_a_stranger_is_not() {
        assert_eq!(closest("topic", ["topics", "target_lag"]), Some("topics"));
        assert_eq!(
            closest("targetLag", ["topics", "target_lag"]),
            Some("target_lag")
        );
        assert_eq!(closest("zebra", ["topics", "target_lag"]), None);
        assert_eq!(suggestion("zebra", ["topics"]), "");
    }

    #[test]
    fn values_are_listed_as_a_person_would() {
        assert_eq!(one_of(&["a", "b", "c"]), "`a`, `b` or `c`");
        assert_eq!(one_of(&["a"]), "`a`");
        assert_eq!(one_of(&[]), "");
    }
}
