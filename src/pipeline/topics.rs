//! Which tables a config comes to over the topics that Kafka has now: asks for topics, and lets the logs of tables settle who has a name that several would have. Owns the
//! questions; who gets a topic is the config's `expansion`. Commits nothing.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use crate::clock::Clock;
use crate::config::Config;
use crate::config::expansion::{Contested, Expansion, Feeds, Refused, expand};
use crate::config::settings::{self, Start};
use crate::delta::{self, Store, Table};
use crate::pipeline::error::Error;
use crate::pipeline::plan::blocking;
use crate::source::{Lookup, Questions};

/// Rounds of asking logs; each settles more, and collisions are rare.
const ROUNDS_MAX: usize = 8;

/// A config whose tables all have topics.
#[derive(Debug)]
pub struct Known {
    /// With the tables that its patterns make.
    pub config: Config,
    /// Topics that feed no table, although a pattern takes them.
    pub refused: Vec<Refused>,
    /// Patterns that take no topic.
    pub unmatched: Vec<String>,
}

/// Works out what a config comes to now. Asks nobody when it has no patterns.
pub async fn known(config: &Config, clock: &Clock, timeout: Duration) -> Result<Known, Error> {
    let mut found = Expansion {
        tables: config.tables.clone(),
        ..Expansion::default()
    };
    if !config.patterns.is_empty() {
        let lookup: Arc<dyn Questions> = Arc::new(Lookup::new(&config.kafka, timeout, clock)?);
        let store = Store::open(&config.storage)?;
        let asking = Asking {
            config,
            lookup: &lookup,
            store: &store,
            clock,
        };
        found = asking.look(&Feeds::new()).await?;
    }
    Ok(Known {
        config: Config {
            tables: found.tables,
            ..config.clone()
        },
        refused: found.refused,
        unmatched: found.unmatched,
    })
}

/// What is asked, and whom.
#[derive(Clone, Copy)]
pub(super) struct Asking<'a> {
    pub(super) config: &'a Config,
    pub(super) lookup: &'a Arc<dyn Questions>,
    pub(super) store: &'a Store,
    pub(super) clock: &'a Clock,
}

impl Asking<'_> {
    /// One look at the topics; `feeds` are those of the tables that run.
    pub(super) async fn look(&self, feeds: &Feeds) -> Result<Expansion, Error> {
        let lookup = Arc::clone(self.lookup);
        let topics = blocking(move || Ok(lookup.topics()?)).await?;
        let mut feeds = feeds.clone();
        let mut found = expand(self.config, &topics, &feeds);
        for _ in 0..ROUNDS_MAX {
            if found.contested.is_empty() {
                break;
            }
            for Contested { table, path } in &found.contested {
                let known = self.topics_of(table, path).await?;
                feeds.insert(table.clone(), known);
            }
            found = expand(self.config, &topics, &feeds);
        }
        self.begin_later_ones_at_the_beginning(&mut found.tables)
            .await?;
        Ok(found)
    }

    /// `start` is for the first run of a pattern: where one of its tables is there already, the others were found later.
    async fn begin_later_ones_at_the_beginning(
        &self,
        tables: &mut [settings::Table],
    ) -> Result<(), Error> {
        for (index, pattern) in self.config.patterns.iter().enumerate() {
            if pattern.table.start == Start::Earliest {
                continue;
            }
            let is_of_it = |table: &settings::Table| {
                let found = table.found.as_ref();
                found.is_some_and(|found| found.pattern == index)
            };
            let mut has_run = false;
            for table in tables.iter().filter(|table| is_of_it(table)) {
                has_run = !self.topics_of(&table.name, &table.path).await?.is_empty();
                if has_run {
                    break;
                }
            }
            for table in tables.iter_mut().filter(|table| has_run && is_of_it(table)) {
                table.start = Start::Earliest;
            }
        }
        Ok(())
    }

    /// The topics that a table's log names.
    async fn topics_of(&self, table: &str, path: &str) -> Result<BTreeSet<String>, Error> {
        let of_table = |cause: delta::Error| Error::Table {
            table: table.to_owned(),
            cause,
        };
        let store = self.store.table(path).map_err(of_table)?;
        let loaded = Table::load(&store, self.clock).await.map_err(of_table)?;
        let named = loaded.iter().flat_map(|it| it.sources().topics());
        Ok(named.map(|(topic, _)| topic.to_owned()).collect())
    }
}
