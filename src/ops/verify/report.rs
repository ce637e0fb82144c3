//! What an audit found, what it could not prove, and how both are said. Owns the bound on repetition; judges nothing.

use std::collections::BTreeMap;

use crate::ops::output;

/// More of one kind are counted, not printed.
const SHOWN_OF_A_KIND: usize = 10;

/// As many sentences about what is open; more are counted.
const UNPROVED_SHOWN: usize = 30;

/// What contradicts exactly-once or the table's own log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    /// Versions are missing from the log, or an entry cannot be read.
    Log,
    /// Offsets between two spans are in none.
    SpanGap,
    /// Offsets are in two spans.
    SpanOverlap,
    /// Committed offsets and spans disagree.
    Offsets,
    /// The counts of a commit disagree.
    Counts,
    /// A path is added twice.
    AddedTwice,
    /// A live file is not in the store.
    MissingFile,
    /// A live file has another size than the log says.
    FileSize,
    /// A live file cannot be read.
    Unreadable,
    /// Statistics do not describe their file.
    Statistics,
    /// Coordinates are in more than one row.
    DuplicateRow,
    /// Rows that were committed are gone.
    LostRow,
    /// A row is outside of every committed span.
    StrayRow,
    /// Rejected records are gone from their table, or too many.
    LostReject,
    /// A record of the topic is not in the table.
    LostRecord,
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Kind::Log => "log",
            Kind::SpanGap => "span_gap",
            Kind::SpanOverlap => "span_overlap",
            Kind::Offsets => "offsets",
            Kind::Counts => "counts",
            Kind::AddedTwice => "added_twice",
            Kind::MissingFile => "missing_file",
            Kind::FileSize => "file_size",
            Kind::Unreadable => "unreadable_file",
            Kind::Statistics => "statistics",
            Kind::DuplicateRow => "duplicate_row",
            Kind::LostRow => "lost_row",
            Kind::StrayRow => "stray_row",
            Kind::LostReject => "lost_reject",
            Kind::LostRecord => "lost_record",
        }
    }
}

/// The audit of one table.
#[derive(Debug, Default)]
pub(crate) struct Report {
    facts: Vec<String>,
    findings: BTreeMap<Kind, (u64, Vec<String>)>,
    holes: Vec<String>,
    unproved: Vec<String>,
    more_unproved: u64,
}

impl Report {
    /// Something that was checked, and holds unless one of `kinds` was found.
    pub(crate) fn fact(&mut self, kinds: &[Kind], sentence: impl Into<String>) {
        if !kinds.iter().any(|kind| self.findings.contains_key(kind)) {
            self.facts.push(sentence.into());
        }
    }

    /// Something that must not be.
    pub(crate) fn finding(&mut self, kind: Kind, sentence: impl FnOnce() -> String) {
        self.findings(kind, 1, sentence);
    }

    /// The same thing several times, in one sentence.
    pub(crate) fn findings(&mut self, kind: Kind, times: u64, sentence: impl FnOnce() -> String) {
        let (count, shown) = self.findings.entry(kind).or_default();
        *count += times;
        if shown.len() < SHOWN_OF_A_KIND {
            shown.push(sentence());
        }
    }

    /// Offsets that the table declares as lost.
    pub(crate) fn hole(&mut self, sentence: impl Into<String>) {
        self.holes.push(sentence.into());
    }

    /// Something that this audit cannot know.
    pub(crate) fn unproved(&mut self, sentence: impl Into<String>) {
        let sentence = sentence.into();
        if self.unproved.contains(&sentence) {
            return;
        }
        if self.unproved.len() < UNPROVED_SHOWN {
            self.unproved.push(sentence);
        } else {
            self.more_unproved += 1;
        }
    }

    /// Whether nothing was found.
    pub(crate) fn is_clean(&self) -> bool {
        self.findings.is_empty()
    }

    /// Whether something of `kind` was found.
    #[cfg(test)]
    pub(crate) fn has(&self, kind: Kind) -> bool {
        self.findings.contains_key(&kind)
    }

    /// What was found.
    #[cfg(test)]
    pub(crate) fn kinds(&self) -> Vec<Kind> {
        self.findings.keys().copied().collect()
    }

    /// For people.
    pub(crate) fn text(&self, table: &str) -> String {
        let mut rows: Vec<Vec<String>> = self
            .facts
            .iter()
            .map(|fact| line("proved", "", fact))
            .collect();
        rows.extend(self.holes.iter().map(|hole| line("hole", "", hole)));
        for (kind, (count, shown)) in &self.findings {
            rows.extend(
                shown
                    .iter()
                    .map(|sentence| line("FINDING", kind.name(), sentence)),
            );
            let more = count.saturating_sub(shown.len() as u64);
            if more > 0 && *count > 1 {
                rows.push(line(
                    "FINDING",
                    kind.name(),
                    &format!("{} in all", output::thousands(*count)),
                ));
            }
        }
        rows.extend(
            self.unproved
                .iter()
                .map(|sentence| line("not proved", "", sentence)),
        );
        if self.more_unproved > 0 {
            let more = format!("{} more of the same", output::thousands(self.more_unproved));
            rows.push(line("not proved", "", &more));
        }
        let verdict = if self.is_clean() { "ok" } else { "FINDINGS" };
        output::table(&[table, verdict, ""], &rows)
    }
}

fn line(what: &str, kind: &str, sentence: &str) -> Vec<String> {
    vec![what.to_owned(), kind.to_owned(), sentence.to_owned()]
}
