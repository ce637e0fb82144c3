//! How a command ends: with an exit code by error kind and one sentence for a person. Owns the panic hook; does not decide what went wrong.

use std::fmt;
use std::io::Write as _;
use std::process::ExitCode;

use crate::error::Kind;

/// What a command that ran to its end has to say beside its output.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ending {
    /// All is well: exit 0.
    Done,
    /// The output names findings: exit by their kind.
    Findings(Kind),
}

/// Why a command could not do its work.
#[derive(Debug)]
pub(crate) struct Failure {
    kind: Kind,
    error: anyhow::Error,
}

/// How every command returns.
pub(crate) type Outcome = Result<Ending, Failure>;

impl Failure {
    /// Takes an error of any module with the kind that it gave itself.
    pub(crate) fn new(kind: Kind, error: impl Into<anyhow::Error>) -> Self {
        Failure {
            kind,
            error: error.into(),
        }
    }

    /// A sentence that no error stands behind.
    pub(crate) fn said(kind: Kind, sentence: impl Into<String>) -> Self {
        Failure {
            kind,
            error: anyhow::Error::msg(sentence.into()),
        }
    }

    /// The request or the config is wrong.
    pub(crate) fn invalid(sentence: impl Into<String>) -> Self {
        Failure::said(Kind::Invalid, sentence)
    }

    /// Something outside does not answer or refuses.
    pub(crate) fn unavailable(sentence: impl Into<String>) -> Self {
        Failure::said(Kind::Unavailable, sentence)
    }

    /// Our own mistake.
    pub(crate) fn bug(sentence: impl Into<String>) -> Self {
        Failure::said(Kind::Bug, sentence)
    }

    /// Says what was being done; the kind stays.
    #[must_use]
    pub(crate) fn context(self, doing: impl Into<String>) -> Self {
        Failure {
            kind: self.kind,
            error: self.error.context(doing.into()),
        }
    }

    /// What it asks of the person who reads it.
    pub(crate) fn kind(&self) -> Kind {
        self.kind
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut said = String::new();
        for cause in self.error.chain() {
            let sentence = cause.to_string();
            // An error that already quotes its source must not say it twice.
            if said.ends_with(&sentence) {
                continue;
            }
            if !said.is_empty() {
                said.push_str(": ");
            }
            said.push_str(&sentence);
        }
        f.write_str(&said)
    }
}

/// Turns an outcome into the exit code, and says an error in one sentence on stderr.
pub(crate) fn finish(outcome: Outcome) -> ExitCode {
    match outcome {
        Ok(Ending::Done) => ExitCode::SUCCESS,
        Ok(Ending::Findings(kind)) => ExitCode::from(kind.exit_code()),
        Err(failure) => {
            say_error(&failure.to_string());
            ExitCode::from(failure.kind().exit_code())
        }
    }
}

/// Writes `error: sentence` on stderr; a closed stderr is nobody's concern.
pub(crate) fn say_error(sentence: &str) {
    writeln!(std::io::stderr().lock(), "error: {sentence}").ok();
}

/// Makes a panic anywhere one sentence and exit 70: a half-dead process must not go on, and nobody but us can read a backtrace.
pub(crate) fn install_panic_hook() {
    std::panic::set_hook(Box::new(|panic| {
        let message = panic
            .payload_as_str()
            .unwrap_or("no message")
            .replace('\n', " ");
        let place = panic
            .location()
            .map(ToString::to_string)
            .unwrap_or_default();
        say_error(&format!(
            "{message} at {place}; this is a bug of Lakeward, please report it; what is committed is safe, and a restart resumes from it"
        ));
        std::process::exit(i32::from(Kind::Bug.exit_code()));
    }));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_joins_its_chain_into_one_sentence() {
        let failure =
            Failure::unavailable("connection refused").context("cannot open the table `orders`");
        assert_eq!(
            failure.to_string(),
            "cannot open the table `orders`: connection refused"
        );
        assert_eq!(failure.kind().exit_code(), 3);
    }

    #[test]
    fn a_source_that_is_already_quoted_is_not_repeated() {
        let source = anyhow::anyhow!("no route");
        let failure = Failure {
            kind: Kind::Unavailable,
            error: source.context("broker down: no route"),
        };
        assert_eq!(failure.to_string(), "broker down: no route");
    }
}
