//! A single text and what YAML 1.2's core schema takes it for.

/// A text as written, and whether quotes make it a text whatever it looks like.
#[derive(Debug, Clone)]
pub(crate) struct Scalar {
    pub(crate) text: String,
    pub(crate) quoted: bool,
}

/// What YAML 1.2's core schema takes a scalar for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Looks {
    Null,
    Boolean,
    Number,
    Text,
}

impl Scalar {
    /// What it is under the core schema; a quoted scalar is always a text.
    pub(crate) fn looks(&self) -> Looks {
        if self.quoted {
            return Looks::Text;
        }
        match self.text.as_str() {
            "" | "~" | "null" | "Null" | "NULL" => Looks::Null,
            "true" | "True" | "TRUE" | "false" | "False" | "FALSE" => Looks::Boolean,
            text if is_number(text) => Looks::Number,
            _ => Looks::Text,
        }
    }
}

fn is_number(text: &str) -> bool {
    let unsigned = text.strip_prefix(['-', '+']).unwrap_or(text);
    let special =
        matches!(unsigned, ".inf" | ".Inf" | ".INF") || matches!(text, ".nan" | ".NaN" | ".NAN");
    let radix = |prefix: &str, base: u32| {
        text.strip_prefix(prefix)
            .is_some_and(|digits| !digits.is_empty() && digits.chars().all(|c| c.is_digit(base)))
    };
    let decimal = unsigned.starts_with(|c: char| c.is_ascii_digit() || c == '.')
        && unsigned.contains(|c: char| c.is_ascii_digit())
        && unsigned
            .chars()
            .all(|c| c.is_ascii_digit() || matches!(c, '.' | 'e' | 'E' | '-' | '+'))
        && unsigned.parse::<f64>().is_ok();
    special || radix("0x", 16) || radix("0o", 8) || decimal
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scalars_are_typed_by_the_core_schema_of_yaml_1_2() {
        let check = |text: &str, expected: Looks| {
            assert_eq!(
                Scalar {
                    text: text.to_owned(),
                    quoted: false
                }
                .looks(),
                expected,
                "{text}"
            )
        };
        for text in ["", "~", "null", "NULL"] {
            check(text, Looks::Null);
        }
        for text in ["true", "False"] {
            check(text, Looks::Boolean);
        }
        for text in [
            "0", "-1", "+7", "1.5", ".5", "1e3", "0x1F", "0o17", ".inf", "-.INF", ".nan",
        ] {
            check(text, Looks::Number);
        }
        for text in [
            "yes",
            "no",
            "on",
            "1.2.3",
            "30s",
            "128MiB",
            "inf",
            "nan",
            "e5",
            "-",
            ".",
            "2026-01-01",
            "0x",
            "::1",
        ] {
            check(text, Looks::Text);
        }
        assert_eq!(
            Scalar {
                text: "12".to_owned(),
                quoted: true
            }
            .looks(),
            Looks::Text
        );
    }
}
