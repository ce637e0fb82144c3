//! What commands print on stdout: aligned tables and lines. A reader that hangs up early (`| head`) is no error. Does not know what the cells mean.

use std::fmt::Write as _;
use std::io::Write as _;

/// Prints `text` and a line end on stdout.
pub(crate) fn line(text: &str) {
    writeln!(std::io::stdout().lock(), "{text}").ok();
}

/// Lays rows out under their header, columns two spaces apart.
pub(crate) fn table(header: &[&str], rows: &[Vec<String>]) -> String {
    let mut widths: Vec<usize> = header.iter().map(|cell| cell.chars().count()).collect();
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let mut text = String::new();
    let head: Vec<String> = header.iter().map(ToString::to_string).collect();
    for row in std::iter::once(&head).chain(rows) {
        let mut laid_out = String::new();
        for (cell, width) in row.iter().zip(&widths) {
            // Writing to a String cannot fail.
            write!(laid_out, "{cell:<width$}  ").ok();
        }
        text.push_str(laid_out.trim_end());
        text.push('\n');
    }
    text.truncate(text.trim_end().len());
    text
}

/// A number with its thousands apart, for people.
pub(crate) fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(' ');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_align_and_lines_have_no_tail() {
        let text = table(
            &["table", "lag"],
            &[
                vec!["orders".into(), "7".into()],
                vec!["x".into(), "12".into()],
            ],
        );
        assert_eq!(text, "table   lag\norders  7\nx       12");
    }

    #[test]
    fn thousands_are_set_apart() {
        assert_eq!(thousands(1_234_567), "1 234 567");
        assert_eq!(thousands(999), "999");
    }
}
