//! Logs on stderr: text for a terminal, JSON otherwise, filtered by `LAKEWARD_LOG`. Owns their form; messages are constant and data is in fields.

use std::fmt;
use std::io::IsTerminal as _;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::FormatTime;

use crate::clock::Clock;
use crate::ops::exit::Failure;

/// The variable that says what is logged, such as `debug` or `lakeward::delta=debug,info`.
pub(crate) const VARIABLE: &str = "LAKEWARD_LOG";

/// How much a command logs when nobody said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Default {
    /// The sink: its life cycle.
    Lifecycle,
    /// Commands whose output is the answer: only trouble.
    Trouble,
}

/// Puts the wall clock in front of each line.
#[derive(Debug)]
struct Stamp {
    clock: Clock,
    form: &'static str,
}

impl FormatTime for Stamp {
    fn format_time(&self, w: &mut Writer<'_>) -> fmt::Result {
        let now = chrono::DateTime::from_timestamp_millis(self.clock.wall_ms()).unwrap_or_default();
        write!(w, "{}", now.format(self.form))
    }
}

/// Starts logging for the rest of the process.
pub(crate) fn start(default: Default, clock: &Clock) -> Result<(), Failure> {
    let stamp = |form| Stamp {
        clock: clock.clone(),
        form,
    };
    let written = std::env::var(VARIABLE)
        .ok()
        .filter(|text| !text.trim().is_empty());
    let filter = filter(written.as_deref(), default)?;
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr);
    let started = if std::io::stderr().is_terminal() {
        builder
            .with_target(false)
            .with_timer(stamp("%H:%M:%S%.3f"))
            .try_init()
    } else {
        builder
            .json()
            .flatten_event(true)
            .with_current_span(false)
            .with_span_list(false)
            .with_timer(stamp("%Y-%m-%dT%H:%M:%S%.3fZ"))
            .try_init()
    };
    started.map_err(|error| Failure::bug(format!("cannot start logging: {error}")))
}

fn filter(written: Option<&str>, default: Default) -> Result<EnvFilter, Failure> {
    let level = match default {
        Default::Lifecycle => "info",
        Default::Trouble => "error",
    };
    // What the libraries below say is about themselves; Kafka's troubles come through our own clients as `lakeward::librdkafka`.
    let quiet = "rdkafka=off,librdkafka=off,hyper=error,hyper_util=error,reqwest=error,object_store=error,delta_kernel=error,buoyant_kernel=error,deltalake=error,deltalake_core=error";
    let directives = match written {
        Some(text) => text.to_owned(),
        None => format!("{level},{quiet}"),
    };
    EnvFilter::try_new(&directives)
        .map_err(|error| Failure::invalid(format!("{VARIABLE}=`{directives}` is no log filter ({error}); write a level such as `debug`, or `target=level` pairs")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrong_filter_is_refused_by_its_variable() {
        let failure = filter(Some("lakeward=loud"), Default::Lifecycle).unwrap_err();
        assert!(
            failure
                .to_string()
                .starts_with("LAKEWARD_LOG=`lakeward=loud` is no log filter"),
            "{failure}"
        );
        assert_eq!(failure.kind().exit_code(), 2);
    }

    #[test]
    fn the_sink_logs_its_life_and_libraries_stay_quiet() {
        let text = filter(None, Default::Lifecycle).unwrap().to_string();
        assert!(
            text.contains("info") && text.contains("rdkafka=off"),
            "{text}"
        );
    }
}
