//! The parser's complaints in words that lead to the cause.

use saphyr::ScanError;

use crate::config::document::place;
use crate::config::problem::Problem;

/// The parser's complaint, with the usual cause in front where the complaint alone would not lead to it.
pub(super) fn complaint(text: &str, error: &ScanError) -> Problem {
    let at = place(*error.marker());
    let line = text.lines().nth(at.line.saturating_sub(1)).unwrap_or("");
    let said = error.info();
    let indented_by_tab = line.trim_start_matches(' ').starts_with('\t');
    let cause = if indented_by_tab || said.contains("tab") {
        "a tab is used for indentation; YAML wants spaces"
    } else if said.contains("quoted scalar") && !said.contains("escape") {
        "a quote is opened here and not closed, or text follows it"
    } else if said.contains("mapping values are not allowed") {
        "a `:` where none can be: a text that holds `: ` needs quotes, or the line is indented differently from its neighbours"
    } else if said.contains("illegal placement of ':'") {
        "a `:` where none can be: a `[` or `{` above is not closed, or a text that holds `: ` needs quotes"
    } else if said.contains("flow") {
        "a `[` or `{` is not closed, or a comma is missing"
    } else if said.contains("block mapping")
        || said.contains("block collection")
        || said.contains("simple key")
        || said.contains("indent")
    {
        "this line does not fit the ones above: a `key: value` is incomplete, or the indentation is off"
    } else if said.contains("start with any token") || said.contains("unexpected character") {
        "a text that begins with a special character needs quotes"
    } else {
        "this is not YAML"
    };
    Problem {
        place: Some(at),
        key: String::new(),
        message: format!("{cause} (parser: {said})"),
    }
}
