//! The declarative config: YAML in, a valid `Config` out. Owns YAML and the environment; does no network I/O and knows no stage.

use std::path::Path;

use crate::config::check::Check;
use crate::config::interpolate::Interpolation;
use crate::config::problem::Findings;

pub mod settings;

pub mod problem;

mod keys;

mod document;

mod interpolate;

mod units;

pub mod ddl;

mod partition;

mod pattern;

pub mod expansion;

mod section;

mod check;

mod resolve;

pub mod reference;

#[cfg(test)]
mod tests;

pub use problem::{Problem, Problems};
pub use settings::Config;

/// The largest file that is taken for a config.
const FILE_BYTES_MAX: usize = 4 << 20;

/// Reads a config file, with the process's environment.
pub fn load(path: &Path) -> Result<Config, Problems> {
    let bytes = std::fs::read(path).map_err(|error| {
        Problems::with_file(
            path,
            format!("cannot be read: {}", interpolate::say(&error)),
        )
    })?;
    let text = match std::str::from_utf8(&bytes) {
        Ok(text) => text,
        Err(error) => {
            let line = bytes
                .iter()
                .take(error.valid_up_to())
                .filter(|byte| **byte == b'\n')
                .count()
                + 1;
            return Err(Problems::with_file(
                path,
                format!("is not UTF-8 text: line {line} holds other bytes; save it as UTF-8"),
            ));
        }
    };
    parse(text, path, &|name| std::env::var(name).ok())
}

/// Reads a config from its text. What it names by relative path lies beside `path`; the only I/O is reading `${file:..}` (CFG-1).
pub fn parse(
    text: &str,
    path: &Path,
    environment: &dyn Fn(&str) -> Option<String>,
) -> Result<Config, Problems> {
    if text.len() > FILE_BYTES_MAX {
        return Err(Problems::with_file(
            path,
            "is larger than 4MiB; a config is a short text".to_owned(),
        ));
    }
    let (root, mut problems) = document::read(text.strip_prefix('\u{feff}').unwrap_or(text));
    let Some(fields) = root else {
        return Err(Problems::new(path, problems));
    };
    let folder = path.parent().unwrap_or(Path::new(""));
    let mut check = Check {
        interpolation: Interpolation {
            environment,
            folder,
        },
        findings: Findings::default(),
    };
    let resolved = resolve::config(&fields, &mut check, folder);
    problems.append(&mut check.findings.0);
    match resolved {
        Some(config) if problems.is_empty() => Ok(config),
        None if problems.is_empty() => Err(Problems::with_file(
            path,
            "is refused without a reason, which is a mistake of ours; please report it".to_owned(),
        )),
        Some(_) | None => Err(Problems::new(path, problems)),
    }
}
