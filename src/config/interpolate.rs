//! `${VAR}`, `${VAR:-default}`, `${file:/path}` in a scalar, after parsing and before typing; `$${` stands for `${`. Owns that grammar; the only I/O is reading `${file:..}`.

use std::io::Read as _;
use std::path::Path;

/// The largest file that is taken for a value.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// Where values come from.
pub(crate) struct Interpolation<'a> {
    /// The environment.
    pub(crate) environment: &'a dyn Fn(&str) -> Option<String>,
    /// What a relative path in `${file:..}` is relative to.
    pub(crate) folder: &'a Path,
}

/// A text after substitution.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Substituted {
    pub(crate) text: String,
    /// Whether anything was put in: then no YAML type is read into the result.
    pub(crate) changed: bool,
    /// Whether a file was put in: most are secrets, so the result is not shown.
    pub(crate) from_file: bool,
}

impl Interpolation<'_> {
    /// Substitutes every `${..}`; the error names the variable or file, never a value.
    pub(crate) fn apply(&self, written: &str) -> Result<Substituted, String> {
        let mut result = Substituted {
            text: String::with_capacity(written.len()),
            changed: false,
            from_file: false,
        };
        let mut rest = written;
        while let Some((before, after)) = rest.split_once("${") {
            if let Some(before) = before.strip_suffix('$') {
                result.text.push_str(before);
                result.text.push_str("${");
                rest = after;
                continue;
            }
            result.text.push_str(before);
            let Some((inner, behind)) = after.split_once('}') else {
                return Err(
                    "has a `${` without its `}`; to write `${` itself, write `$${`".to_owned(),
                );
            };
            result.from_file |= inner.starts_with("file:");
            result.text.push_str(&self.value(inner)?);
            result.changed = true;
            rest = behind;
        }
        result.text.push_str(rest);
        Ok(result)
    }

    fn value(&self, inner: &str) -> Result<String, String> {
        if let Some(path) = inner.strip_prefix("file:") {
            return self.file(path);
        }
        let (name, default) = match inner.split_once(":-") {
            Some((name, default)) => (name, Some(default)),
            None => (inner, None),
        };
        if default.is_some_and(|default| default.contains("${")) {
            return Err(format!(
                "has a `${{..}}` inside the default of `${{{name}:-..}}`; one level is all that is read"
            ));
        }
        if !is_variable(name) {
            return Err(format!(
                "has `${{{name}}}`, which is no variable name; write `${{VAR}}`, `${{VAR:-default}}` or `${{file:/path}}`, and `$${{` for `${{` itself"
            ));
        }
        let value = (self.environment)(name);
        match (value, default) {
            (Some(value), None) => Ok(value),
            (Some(value), Some(_)) if !value.is_empty() => Ok(value),
            (_, Some(default)) => Ok(default.to_owned()),
            (None, None) => Err(format!(
                "needs the environment variable `{name}`, which is not set; set it, or write `${{{name}:-default}}`"
            )),
        }
    }

    fn file(&self, path: &str) -> Result<String, String> {
        if path.is_empty() {
            return Err(
                "has `${file:}` without a path; write `${file:/run/secrets/name}`".to_owned(),
            );
        }
        let full = self.folder.join(path);
        let open = |error: std::io::Error| {
            format!(
                "needs the file `{path}` of `${{file:{path}}}`, which cannot be read: {}",
                say(&error)
            )
        };
        let mut bytes = Vec::new();
        let file = std::fs::File::open(&full).map_err(open)?;
        file.take(FILE_BYTES_MAX + 1)
            .read_to_end(&mut bytes)
            .map_err(open)?;
        if bytes.len() as u64 > FILE_BYTES_MAX {
            return Err(format!(
                "needs the file `{path}` of `${{file:{path}}}`, which is larger than 1MiB; a value is a short text"
            ));
        }
        let text = String::from_utf8(bytes).map_err(|_| {
            format!("needs the file `{path}` of `${{file:{path}}}`, which is not UTF-8 text")
        })?;
        let text = text.strip_suffix('\n').unwrap_or(&text);
        Ok(text.strip_suffix('\r').unwrap_or(text).to_owned())
    }
}

/// An I/O error without the number that only a kernel loves.
pub(crate) fn say(error: &std::io::Error) -> String {
    let text = error.to_string();
    let text = text
        .split_once(" (os error")
        .map_or(text.as_str(), |(sentence, _)| sentence);
    text.to_lowercase()
}

fn is_variable(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(written: &str, expected: Result<&str, &str>) {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("secret"), "s3cr3t\n").unwrap();
        std::fs::write(folder.path().join("binary"), [0xff, 0xfe]).unwrap();
        let environment = |name: &str| match name {
            "HOST" => Some("kafka".to_owned()),
            "EMPTY" => Some(String::new()),
            _ => None,
        };
        let interpolation = Interpolation {
            environment: &environment,
            folder: folder.path(),
        };
        match (interpolation.apply(written), expected) {
            (Ok(result), Ok(text)) => assert_eq!(result.text, text, "{written}"),
            (Err(said), Err(part)) => assert!(said.contains(part), "{written}: {said}"),
            (found, _) => panic!("{written}: {found:?}"),
        }
    }

    #[test]
    fn values_come_from_the_environment_and_from_files() {
        check("plain", Ok("plain"));
        check("${HOST}:9092", Ok("kafka:9092"));
        check("${HOST},${HOST}", Ok("kafka,kafka"));
        check("${ABSENT:-local}", Ok("local"));
        check("${EMPTY:-local}", Ok("local"));
        check("${EMPTY}", Ok(""));
        check("${ABSENT:-}", Ok(""));
        check("${file:secret}", Ok("s3cr3t"));
    }

    #[test]
    fn a_doubled_dollar_escapes() {
        check("$${HOST}", Ok("${HOST}"));
        check("a$${b}c${HOST}", Ok("a${b}ckafka"));
        check("cost $5 and {table}", Ok("cost $5 and {table}"));
    }

    #[test]
    fn what_cannot_be_substituted_is_named() {
        check(
            "${ABSENT}",
            Err("environment variable `ABSENT`, which is not set"),
        );
        check("${HOST", Err("without its `}`"));
        check("${}", Err("no variable name"));
        check("${a-b}", Err("no variable name"));
        check("${A:-${HOST}}", Err("one level"));
        check("${file:}", Err("without a path"));
        check("${file:absent}", Err("`absent`"));
        check("${file:binary}", Err("not UTF-8"));
    }
}
