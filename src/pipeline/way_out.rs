//! The ways out of a suspension that a person takes: lift what a table waits for, or set an offset. Owns those commits, each with its reason; runs beside live instances,
//! which are superseded by them and read again.

use std::sync::Arc;
use std::time::Duration;

use crate::clock::Clock;
use crate::config::{Config, settings};
use crate::delta::{self, Mend, Mending, Store, Table};
use crate::model::commit::CommitOutcome;
use crate::model::epoch::Epoch;
use crate::model::offset::{Span, TopicPartition};
use crate::pipeline::cause::{Verdict, judge_identity};
use crate::pipeline::error::Error;
use crate::pipeline::plan::blocking;
use crate::pipeline::settle::{Accept, Settling};
use crate::source::{Lookup, Questions, Watermarks};

/// Commits that a live owner may win before an offset is set.
const TRIES_MAX: u32 = 20;
const PAUSE: Duration = Duration::from_millis(100);

/// One table, and what it takes to change it.
#[derive(Debug)]
pub struct WayOut {
    table: Table,
    settings: settings::Table,
    lookup: Arc<dyn Questions>,
    clock: Clock,
    name: String,
}

/// A cause that was lifted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lifted {
    /// What stands for exactly this cause.
    pub id: String,
    /// What it is.
    pub sentence: String,
}

/// An offset that a person sets.
#[derive(Debug, Clone)]
pub struct Place {
    /// Of which topic partition.
    pub topic_partition: TopicPartition,
    /// The next offset to read.
    pub to: i64,
    /// Why, for those who read the table's history.
    pub reason: String,
    /// Whether records may be in the table twice.
    pub allow_duplicates: bool,
}

impl WayOut {
    /// Opens the table; questions to Kafka may take up to `timeout` each.
    pub async fn open(
        config: &Config,
        settings: &settings::Table,
        clock: &Clock,
        timeout: Duration,
    ) -> Result<WayOut, Error> {
        let of_table = |cause: delta::Error| Error::Table {
            table: settings.name.clone(),
            cause,
        };
        let store = Store::open(&config.storage)?;
        let store = store.table(&settings.path).map_err(of_table)?;
        let table = Table::load(&store, clock).await.map_err(of_table)?;
        let table = table.ok_or_else(|| {
            Error::Refused(format!(
                "table `{}` does not exist yet; the sink makes it at its first start",
                settings.name
            ))
        })?;
        Ok(WayOut {
            table,
            settings: settings.clone(),
            lookup: Arc::new(Lookup::new(&config.kafka, timeout, clock)?),
            clock: clock.clone(),
            name: config.name.clone(),
        })
    }

    /// Lifts whatever stands between the table and its topics, each cause by its id, and lets every instance that waits try again.
    pub async fn resume(mut self) -> Result<Vec<Lifted>, Error> {
        let (lookup, topics) = (Arc::clone(&self.lookup), self.settings.topics.clone());
        let all = blocking(move || {
            let mut all = Vec::new();
            for topic in &topics {
                all.extend(lookup.topic_partitions(topic)?);
            }
            Ok(all)
        })
        .await?;
        let name = self.settings.name.clone();
        let suspended = |reason| Error::Suspended {
            tables: vec![(name.clone(), reason)],
        };
        // Only topics that the table knows: a new one begins with the sink.
        let known: Vec<TopicPartition> = all
            .into_iter()
            .filter(|it| self.table.sources().topic(&it.topic).is_some())
            .collect();
        let settling = Settling {
            table: &mut self.table,
            lookup: &self.lookup,
            settings: &self.settings,
            app_name: &self.name,
            clock: &self.clock,
            epoch: &Epoch::begin(0),
            accept: Accept::Everything,
            trouble: &|sentence| tracing::warn!(detail = sentence, "waiting for something outside"),
        };
        let settled = settling.settle(&known).await.map_err(suspended)?;
        let accepted = settled.map(|settled| settled.accepted).unwrap_or_default();
        if accepted.is_empty() {
            let retry = Mending {
                mends: Vec::new(),
                lifted: vec!["unseen".to_owned()],
                reason: "lakeward resume".to_owned(),
                name: self.name.clone(),
                epoch: None,
            };
            self.commit(&retry).await?;
        }
        let lifted = |cause: &crate::pipeline::cause::Cause| Lifted {
            id: cause.id(),
            sentence: cause.sentence(),
        };
        Ok(accepted.iter().map(lifted).collect())
    }

    /// Sets the next offset to read; answers where it stood. Forward records a hole; backward begins the next incarnation.
    pub async fn set_offset(mut self, place: &Place) -> Result<i64, Error> {
        self.check_identity(&place.topic_partition).await?;
        for _ in 0..TRIES_MAX {
            let committed = self
                .table
                .committed(&place.topic_partition)
                .map_err(|cause| self.of_table(cause))?;
            if committed == place.to {
                return Ok(committed);
            }
            let marks = self.watermarks(&place.topic_partition).await?;
            let mend = judge(place, committed, marks)?;
            let mending = Mending {
                mends: vec![mend],
                lifted: vec![format!(
                    "offsets-set/{}/{}/{}",
                    place.topic_partition.topic, place.topic_partition.number, place.to
                )],
                reason: format!("offsets set: {}", place.reason),
                name: self.name.clone(),
                epoch: None,
            };
            if self.commit(&mending).await? {
                return Ok(committed);
            }
            // A live owner moved on meanwhile.
            self.clock.sleep(PAUSE).await;
            self.table
                .refresh()
                .await
                .map_err(|cause| self.of_table(cause))?;
        }
        Err(Error::Unsettled {
            table: self.settings.name.clone(),
            reason: format!(
                "its owner committed before us {TRIES_MAX} times; stop the sink, or try again"
            ),
        })
    }

    /// False: somebody else was quicker.
    async fn commit(&mut self, mending: &Mending) -> Result<bool, Error> {
        match self.table.mend(mending).await {
            CommitOutcome::Committed(_) => Ok(true),
            CommitOutcome::Superseded(_) => Ok(false),
            CommitOutcome::Conflict(reason) | CommitOutcome::Unknown(reason) => {
                Err(Error::Unsettled {
                    table: self.settings.name.clone(),
                    reason,
                })
            }
        }
    }

    async fn check_identity(&self, topic_partition: &TopicPartition) -> Result<(), Error> {
        let topic = topic_partition.topic.to_string();
        let pinned = self.table.sources().identity(&topic).unwrap_or_default();
        let (lookup, asked) = (Arc::clone(&self.lookup), topic.clone());
        let found = blocking(move || Ok(lookup.identities(std::slice::from_ref(&asked))?)).await?;
        match judge_identity(&topic, &pinned, found.get(&topic)) {
            Verdict::Same | Verdict::Adopt => Ok(()),
            Verdict::Changed(cause) => Err(Error::Refused(cause.sentence())),
            Verdict::Untold(reason) => Err(Error::Unsettled {
                table: self.settings.name.clone(),
                reason,
            }),
        }
    }

    async fn watermarks(&self, topic_partition: &TopicPartition) -> Result<Watermarks, Error> {
        let (lookup, asked) = (Arc::clone(&self.lookup), topic_partition.clone());
        blocking(move || Ok(lookup.watermarks_of(&asked)?)).await
    }

    fn of_table(&self, cause: delta::Error) -> Error {
        Error::Table {
            table: self.settings.name.clone(),
            cause,
        }
    }
}

/// What it takes to go from `committed` to the place that was asked for.
fn judge(place: &Place, committed: i64, marks: Watermarks) -> Result<Mend, Error> {
    let (to, topic_partition) = (place.to, place.topic_partition.clone());
    if to < marks.low || to > marks.high {
        return Err(Error::Refused(format!(
            "--to {to}: the log of {topic_partition} holds the offsets [{}, {})",
            marks.low, marks.high
        )));
    }
    if to > committed {
        let span = Span::new(committed, to).map_err(|error| Error::Refused(error.to_string()))?;
        return Ok(Mend::Skip {
            topic_partition,
            span,
        });
    }
    if !place.allow_duplicates {
        return Err(Error::Refused(format!(
            "--to {to}: {topic_partition} is committed up to {committed}, so the records of [{to}, {committed}) would be in the table twice; say --allow-duplicates to begin the next incarnation there"
        )));
    }
    Ok(Mend::Again {
        topic_partition,
        committed,
        start: to,
        tail: None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(to: i64, allow_duplicates: bool, expected: &str) {
        let place = Place {
            topic_partition: TopicPartition::new("t", 3),
            to,
            reason: "a test".to_owned(),
            allow_duplicates,
        };
        let marks = Watermarks { low: 10, high: 90 };
        let shown = match judge(&place, 50, marks) {
            Ok(mend) => format!("{mend:?}"),
            Err(error) => error.to_string(),
        };
        assert!(shown.contains(expected), "{shown} is not {expected}");
    }

    #[test]
    fn off_7_forward_is_a_declared_hole() {
        check(60, false, "Skip");
        check(60, true, "start: 50, end: 60");
    }

    #[test]
    fn backward_needs_a_word_and_begins_the_next_incarnation() {
        check(40, false, "[40, 50) would be in the table twice");
        check(40, true, "Again");
    }

    #[test]
    fn offsets_outside_of_the_log_are_refused() {
        check(9, true, "holds the offsets [10, 90)");
        check(91, false, "holds the offsets [10, 90)");
    }
}
