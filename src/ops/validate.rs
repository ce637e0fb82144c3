//! `lakeward validate`: the config alone, or with `--connect` everything that it points to, a line for each check. Changes nothing but a scratch key.

use std::collections::BTreeSet;
use std::io::IsTerminal as _;
use std::sync::Arc;

use arrow::datatypes::Schema;
use serde::Serialize;

use crate::config::Config;
use crate::config::settings::Table;
use crate::decode::Registry;
use crate::error::Kind;
use crate::ops::cli::{Format, Validate};
use crate::ops::exit::{Ending, Failure, Outcome};
use crate::ops::kafka::Kafka;
use crate::ops::output;
use crate::ops::waiting::Patience;
use crate::ops::wiring;

/// One thing that was looked at.
#[derive(Debug, Serialize)]
struct Check {
    result: &'static str,
    what: String,
    detail: String,
    #[serde(skip)]
    trouble: Option<Kind>,
}

/// Checks a config; with `--connect` also the world.
pub(super) fn validate(request: &Validate, patience: &Patience) -> Outcome {
    let config = wiring::config(&request.config)?;
    let path = request.config.path.display();
    let valid = format!("{path} is valid: {}", contents(&config));
    if !request.connect {
        output::line(&match request.format {
            Format::Text => valid,
            Format::Json => serde_json::json!({
                "valid": true,
                "tables": config.tables.len(),
                "patterns": config.patterns.len(),
            })
            .to_string(),
        });
        return Ok(Ending::Done);
    }
    let mut checks = Checks(vec![Check {
        result: "ok",
        what: "config".into(),
        detail: valid,
        trouble: None,
    }]);
    let config = match checks.kafka(&config, patience) {
        Some(kafka) => {
            let config = checks.patterns(config, patience);
            checks.topics(&config, &kafka);
            config
        }
        None => config,
    };
    checks.tables(&config, patience);
    checks.print(request.format)?;
    Ok(checks.ending())
}

/// What a config has, as a person counts it.
fn contents(config: &Config) -> String {
    let tables = counted(config.tables.len(), "table", "tables");
    let patterns = counted(
        config.patterns.len(),
        "pattern of topics",
        "patterns of topics",
    );
    match (config.tables.len(), config.patterns.len()) {
        (_, 0) => tables,
        (0, _) => patterns,
        _ => format!("{tables} and {patterns}"),
    }
}

fn counted(count: usize, one: &str, many: &str) -> String {
    match count {
        1 => format!("1 {one}"),
        count => format!("{count} {many}"),
    }
}

struct Checks(Vec<Check>);

impl Checks {
    /// Enters the outcome of one check, and hands on what it found.
    fn enter<T>(
        &mut self,
        what: impl Into<String>,
        outcome: Result<(T, String), Failure>,
    ) -> Option<T> {
        let what = what.into();
        match outcome {
            Ok((found, detail)) => {
                self.0.push(Check {
                    result: "ok",
                    what,
                    detail,
                    trouble: None,
                });
                Some(found)
            }
            Err(failure) => {
                self.0.push(Check {
                    result: "failed",
                    what,
                    detail: failure.to_string(),
                    trouble: Some(failure.kind()),
                });
                None
            }
        }
    }

    fn kafka(&mut self, config: &Config, patience: &Patience) -> Option<Kafka> {
        let asked = Kafka::connect(&config.kafka, patience).and_then(|kafka| {
            let (brokers, id) = kafka.cluster()?;
            let id = id.map(|id| format!(", cluster {id}")).unwrap_or_default();
            let detail = format!(
                "{} at {}{id}",
                counted(brokers, "broker", "brokers"),
                config.kafka.bootstrap_servers
            );
            Ok((kafka, detail))
        });
        // Without a broker every further question would only wait for the same timeout.
        let kafka = self.enter("brokers", asked)?;
        self.enter(
            format!("group {}", config.kafka.group_id),
            kafka.check_group().map(|()| ((), "may be used".to_owned())),
        );
        Some(kafka)
    }

    /// What the patterns make of the topics that there are; the config with those tables.
    fn patterns(&mut self, config: Config, patience: &Patience) -> Config {
        if config.patterns.is_empty() {
            return config;
        }
        let outcome = wiring::expanded(&config, patience).map(|known| {
            let made = known
                .config
                .tables
                .len()
                .saturating_sub(config.tables.len());
            let detail = format!("{} by now", counted(made, "table", "tables"));
            (known, detail)
        });
        let Some(known) = self.enter("topics_regex", outcome) else {
            return config;
        };
        for pattern in known.unmatched {
            let failure = wiring::no_topic(std::slice::from_ref(&pattern));
            self.enter::<()>(format!("topics_regex {pattern}"), Err(failure));
        }
        for one in known.refused {
            let failure = Failure::said(Kind::Corrupt, one.reason);
            self.enter::<()>(format!("topic {}", one.topic), Err(failure));
        }
        known.config
    }

    fn topics(&mut self, config: &Config, kafka: &Kafka) {
        let topics: BTreeSet<&String> = config
            .tables
            .iter()
            .flat_map(|table| &table.topics)
            .collect();
        for topic in topics {
            let found = kafka
                .topic_partitions(topic)
                .map(|numbers| ((), format!("{} topic partitions", numbers.len())));
            self.enter(format!("topic {topic}"), found);
        }
    }

    fn tables(&mut self, config: &Config, patience: &Patience) {
        let registry = match &config.schema_registry {
            Some(settings) => {
                let connected = wiring::registry(settings, patience)
                    .map(|registry| (registry, settings.url.to_string()));
                self.enter("registry", connected)
            }
            None => None,
        };
        let store_works = self
            .enter(
                "store",
                wiring::probe(&config.storage, patience)
                    .map(|()| ((), format!("{}: put-if-absent is real", config.storage.url))),
            )
            .is_some();
        for table in &config.tables {
            let columns = self.schema(table, registry.as_ref());
            if store_works {
                let outcome = compatible(config, table, columns.as_ref(), patience)
                    .map(|detail| ((), detail));
                self.enter(format!("table {}", table.name), outcome);
            }
        }
    }

    fn schema(&mut self, table: &Table, registry: Option<&Arc<Registry>>) -> Option<Schema> {
        let what = match table.value.subject() {
            Some(subject) => format!("subject {subject}"),
            None => format!("schema of {}", table.name),
        };
        let columns = wiring::columns(table, registry).map(|columns| {
            let detail = format!("{} columns", columns.fields().len());
            (columns, detail)
        });
        self.enter(what, columns)
    }

    fn print(&self, format: Format) -> Result<(), Failure> {
        let text = match format {
            Format::Json => serde_json::to_string_pretty(&self.0)
                .map_err(|error| Failure::bug(format!("cannot write JSON: {error}")))?,
            Format::Text if std::io::stdout().is_terminal() => {
                let rows = self.0.iter().map(|check| {
                    vec![
                        check.result.to_owned(),
                        check.what.clone(),
                        check.detail.clone(),
                    ]
                });
                output::table(&["", "what", "detail"], &rows.collect::<Vec<_>>())
            }
            Format::Text => self
                .0
                .iter()
                .map(|check| format!("{}\t{}\t{}", check.result, check.what, check.detail))
                .collect::<Vec<_>>()
                .join("\n"),
        };
        output::line(&text);
        Ok(())
    }

    /// What a person must change comes before what may mend itself.
    fn ending(&self) -> Ending {
        let troubles: BTreeSet<Kind> = self.0.iter().filter_map(|check| check.trouble).collect();
        let order = [
            Kind::Invalid,
            Kind::Corrupt,
            Kind::Unavailable,
            Kind::Superseded,
            Kind::Bug,
        ];
        order
            .into_iter()
            .find(|kind| troubles.contains(kind))
            .map_or(Ending::Done, Ending::Findings)
    }
}

fn compatible(
    config: &Config,
    table: &Table,
    columns: Option<&Schema>,
    patience: &Patience,
) -> Result<String, Failure> {
    let version = wiring::check_existing(&config.storage, table, columns, patience)?;
    Ok(match version {
        Some(version) if columns.is_some() => format!("version {version}, its columns fit"),
        Some(version) => {
            format!("version {version}; its columns were not compared, for lack of a schema")
        }
        None => "does not exist yet: `run` will create it".to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_person_must_change_decides_the_exit_code() {
        let check = |trouble| Check {
            result: "failed",
            what: String::new(),
            detail: String::new(),
            trouble: Some(trouble),
        };
        assert_eq!(
            Checks(vec![check(Kind::Unavailable)]).ending(),
            Ending::Findings(Kind::Unavailable)
        );
        assert_eq!(
            Checks(vec![check(Kind::Unavailable), check(Kind::Corrupt)]).ending(),
            Ending::Findings(Kind::Corrupt)
        );
        assert_eq!(Checks(Vec::new()).ending(), Ending::Done);
    }
}
