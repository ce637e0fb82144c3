//! Looks for topics while a run goes on: plans the tables that patterns make of new ones, names new topics in the tables that have others already, and hands both to the
//! control thread. Owns what is known and what was said of it; who gets a topic is the config's `expansion`, taking it up is `growth`'s.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use tokio::sync::mpsc;

use crate::config::Config;
use crate::config::expansion::{Feeds, Refused};
use crate::config::settings::{Kafka, Start, Table};
use crate::decode;
use crate::error::Kind;
use crate::pipeline::error::Error;
use crate::pipeline::plan::{self, Outside, Planned};
use crate::pipeline::run::concerned;
use crate::pipeline::status::{Status, TableState};
use crate::pipeline::topics::Asking;
use crate::source;

/// How often topics are looked for, unless the client is told how often it asks for them.
pub(super) const INTERVAL: Duration = Duration::from_secs(30);
/// The client's property for that.
const INTERVAL_PROPERTY: &str = "topic.metadata.refresh.interval.ms";
/// Looks that may wait for the control thread.
pub(super) const LOOKS_MAX: usize = 4;

/// What was found, planned and named in its table.
pub(super) enum Found {
    /// A table, with all of its topics.
    Table(Box<Planned>),
    /// Topics of a table that runs.
    Topics {
        table: String,
        topics: BTreeSet<String>,
    },
}

/// What is known while a run goes on.
pub(super) struct Discovery {
    pub(super) config: Config,
    pub(super) outside: Outside,
    /// Only these tables and their families; all when empty.
    pub(super) names: Vec<String>,
    pub(super) status: Status,
    /// The tables that run.
    pub(super) feeds: Feeds,
    /// Tables that are written and wait for one that a pattern makes.
    pub(super) waiting: BTreeSet<String>,
    /// What was said last of a table or a topic.
    pub(super) said: BTreeMap<String, String>,
    /// What one look found goes together, since a topic may feed several tables.
    pub(super) found: mpsc::Sender<Vec<Found>>,
}

/// How often topics are looked for; `None`: only at the start, as the client is told for its own metadata.
pub(super) fn interval(kafka: &Kafka) -> Option<Duration> {
    let written = kafka.properties.get(INTERVAL_PROPERTY);
    let ms = written.and_then(|it| it.reveal().trim().parse::<i64>().ok());
    match ms.map(u64::try_from) {
        None => Some(INTERVAL),
        Some(Ok(ms)) if ms > 0 => Some(Duration::from_millis(ms)),
        Some(_) => None,
    }
}

/// Whether a table that a pattern makes waits for what happens to its topics alone, while others go on: a schema is still to come, or a topic went between two questions.
pub(super) fn waits_for_topics(error: &Error) -> bool {
    matches!(
        error,
        Error::Source(source::Error::Topic { .. })
            | Error::Decode {
                cause: decode::Error::UnknownSubject { .. },
                ..
            }
    )
}

impl Discovery {
    /// Looks again and again, until nobody takes what is found.
    pub(super) async fn run(mut self, every: Duration) {
        while !self.found.is_closed() {
            self.outside.clock.sleep(every).await;
            let found = self.look().await;
            if !found.is_empty() && self.found.send(found).await.is_err() {
                tracing::debug!("the run ends; what was found begins with the next one");
            }
        }
    }

    async fn look(&mut self) -> Vec<Found> {
        let mut all = Vec::new();
        let asking = Asking {
            config: &self.config,
            lookup: &self.outside.lookup,
            store: &self.outside.store,
            clock: &self.outside.clock,
        };
        let found = match asking.look(&self.feeds).await {
            Ok(found) => found,
            Err(error) => {
                // Those who read say so themselves, if it lasts.
                tracing::debug!(%error, "topics were not looked for");
                return all;
            }
        };
        let mut refused = found.refused;
        for table in concerned(&found.tables, &self.names) {
            match self.feeds.get(&table.name) {
                None if table.found.is_some() || self.waiting.contains(&table.name) => {
                    all.extend(self.begin(table).await);
                }
                None => {}
                Some(known) => {
                    let is_new = |topic: &&String| !known.contains(*topic);
                    let new: BTreeSet<String> =
                        table.topics.iter().filter(is_new).cloned().collect();
                    match self.grow(&table, new).await {
                        Ok(found) => all.extend(found),
                        Err(more) => refused.extend(more),
                    }
                }
            }
        }
        for one in &refused {
            self.say(&one.topic, &one.reason, |topic, reason| {
                tracing::error!(topic, table = one.table, reason, "topic refused");
            });
        }
        self.status.set_refused(refused);
        self.forget(&found.tables);
        all
    }

    /// Drops what is shown of tables that never ran and whose topics are gone.
    fn forget(&self, there: &[Table]) {
        let is_there = |name: &str| {
            let mut tables = there.iter().chain(&self.config.tables);
            self.feeds.contains_key(name) || tables.any(|table| table.name == name)
        };
        let shown = self.status.snapshot().tables;
        for gone in shown.iter().filter(|table| !is_there(&table.name)) {
            self.status.forget(&gone.name);
        }
    }

    /// A table that is not running yet.
    async fn begin(&mut self, mut table: Table) -> Option<Found> {
        if table.found.is_some() {
            table.start = Start::Earliest;
        }
        let name = table.name.clone();
        match plan::plan(&self.outside, &table).await {
            Ok(planned) => {
                self.said.remove(&name);
                self.waiting.remove(&name);
                self.feeds.insert(name, table.topics.into_iter().collect());
                Some(Found::Table(Box::new(planned)))
            }
            Err(error) => {
                let reason = error.to_string();
                if error.kind() == Kind::Unavailable && !waits_for_topics(&error) {
                    self.say(&name, &reason, |table, detail| {
                        tracing::warn!(table, detail, "waiting for something outside");
                    });
                    return None;
                }
                self.status.table(&name, |status| {
                    status.state = TableState::Suspended(reason.clone());
                });
                self.say(&name, &reason, |table, reason| {
                    tracing::error!(table, reason, "table suspended");
                });
                None
            }
        }
    }

    /// Topics that are new to a table that runs; the error is that it cannot take them.
    async fn grow(
        &mut self,
        table: &Table,
        new: BTreeSet<String>,
    ) -> Result<Option<Found>, Vec<Refused>> {
        if new.is_empty() {
            return Ok(None);
        }
        match plan::plan(&self.outside, table).await {
            Ok(_) => {
                let known = self.feeds.entry(table.name.clone()).or_default();
                known.extend(new.iter().cloned());
                Ok(Some(Found::Topics {
                    table: table.name.clone(),
                    topics: new,
                }))
            }
            Err(error) if error.kind() == Kind::Unavailable => {
                let reason = error.to_string();
                self.say(&table.name, &reason, |table, detail| {
                    tracing::warn!(table, detail, "waiting for something outside");
                });
                Ok(None)
            }
            Err(error) => {
                let refused = |topic| Refused {
                    topic,
                    table: table.name.clone(),
                    reason: error.to_string(),
                };
                Err(new.into_iter().map(refused).collect())
            }
        }
    }

    /// Says what is new only.
    fn say(&mut self, of: &str, what: &str, log: impl FnOnce(&str, &str)) {
        if self.said.get(of).is_none_or(|last| last != what) {
            log(of, what);
            self.said.insert(of.to_owned(), what.to_owned());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::sync::Arc;

    use object_store::memory::InMemory;
    use url::Url;

    use super::*;
    use crate::clock::Clock;
    use crate::config;
    use crate::config::settings::Secret;
    use crate::delta::Store;
    use crate::model::offset::TopicPartition;
    use crate::testing::broker::{Broker, Protocol};
    use crate::testing::random::Random;
    use crate::testing::timeline::Timeline;
    use crate::testing::trace::Trace;

    #[test]
    fn topics_are_looked_for_as_often_as_the_client_is_told_to_ask() {
        let every = |written: Option<&str>| {
            let properties = written.map(|ms| (INTERVAL_PROPERTY.to_owned(), Secret::new(ms)));
            interval(&Kafka {
                bootstrap_servers: "k:1".to_owned(),
                group_id: "g".to_owned(),
                properties: properties.into_iter().collect(),
            })
        };
        assert_eq!(every(None), Some(INTERVAL));
        assert_eq!(every(Some("1000")), Some(Duration::from_secs(1)));
        assert_eq!(every(Some("-1")), None);
    }

    /// Over a cluster whose one topic, `events`, has three records.
    fn discovery(tables: &str) -> Discovery {
        let text = format!(
            "version: 1\nname: s\nkafka: {{ bootstrap_servers: \"k:1\" }}\nstorage: {{ url: \"file:///l\" }}\ntables:\n{tables}"
        );
        let (timeline, trace) = (Timeline::default(), Trace::default());
        let broker = Broker::new(1, Protocol::Eager, Random::new(1), &timeline, &trace);
        for number in 0..3 {
            broker.produce(0, Some(Some(number.to_string())));
        }
        let url = Url::parse("memory:///lake").unwrap();
        Discovery {
            config: config::parse(&text, Path::new("discover.yaml"), &|_| None).unwrap(),
            outside: Outside {
                lookup: broker.questions(),
                registry: None,
                store: Arc::new(Store::over(url, Arc::new(InMemory::new()))),
                clock: Clock::machine(),
                record_bytes_max: 1 << 20,
            },
            names: Vec::new(),
            status: Status::default(),
            feeds: Feeds::new(),
            waiting: BTreeSet::new(),
            said: BTreeMap::new(),
            found: mpsc::channel(1).0,
        }
    }

    fn pattern(name: &str, rest: &str) -> String {
        format!(
            "  - {{ name: \"{name}\", topics_regex: 'ev.+', value: {{ format: raw }}{rest} }}\n"
        )
    }

    fn shown(found: &[Found]) -> Vec<String> {
        let show = |it: &Found| match it {
            Found::Table(planned) => {
                let place = TopicPartition::new("events", 0);
                let at = planned.table.committed(&place).unwrap();
                format!("{} from {at}", planned.plan.settings.name)
            }
            Found::Topics { table, topics } => format!("{table} and {topics:?}"),
        };
        found.iter().map(show).collect()
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn what_is_new_is_found_once_from_its_beginning_whatever_start_says() {
        let all = pattern("all", ", start: latest");
        let mut discovery = discovery(&format!(
            "{all}{}",
            pattern("{topic}_each", ", start: latest")
        ));
        let found = discovery.look().await;
        assert_eq!(shown(&found), ["all from 0", "events_each from 0"]);
        assert_eq!(shown(&discovery.look().await), [""; 0]);
        // As if it ran with another topic so far.
        let other = BTreeSet::from(["evening".to_owned()]);
        discovery.feeds.insert("all".to_owned(), other);
        let found = discovery.look().await;
        assert_eq!(shown(&found), ["all and {\"events\"}"]);
        assert_eq!(shown(&discovery.look().await), [""; 0]);
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn what_is_refused_is_shown_and_what_is_gone_is_shown_no_more() {
        let written = "  - { name: events, topics: [other], value: { format: raw } }\n";
        let mut discovery = discovery(&format!("{written}{}", pattern("{topic}", "")));
        for name in ["events", "gone"] {
            discovery.status.table(name, |_| {});
        }
        assert_eq!(shown(&discovery.look().await), [""; 0]);
        let snapshot = discovery.status.snapshot();
        let names: Vec<&str> = snapshot.tables.iter().map(|it| it.name.as_str()).collect();
        assert_eq!(names, ["events"]);
        let refused: Vec<&str> = snapshot
            .refused
            .iter()
            .map(|it| it.topic.as_str())
            .collect();
        assert_eq!(refused, ["events"]);
    }
}
