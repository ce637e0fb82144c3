//! Tables that share a topic: they run, rewind and suspend together, under one epoch. Owns which tables belong together, where each of them goes on in a topic partition,
//! and a family's place in the group; talks to nobody but its flushers.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use tokio::sync::{mpsc, oneshot};

use crate::clock::Instant;
use crate::config::settings;
use crate::model::epoch::Epoch;
use crate::model::offset::TopicPartition;
use crate::pipeline::flusher::FlusherCommand;
use crate::pipeline::share::Share;
use crate::trial::{self, Bug};

/// Where each table of a family goes on in one topic partition: progress is a table's own, whatever else reads the same topic.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Positions(BTreeMap<String, i64>);

impl Positions {
    /// Notes where a table goes on.
    pub(super) fn set(&mut self, table: &str, offset: i64) {
        self.0.insert(table.to_owned(), offset);
    }

    /// Where a table goes on.
    pub(super) fn of(&self, table: &str) -> Option<i64> {
        self.0.get(table).copied()
    }

    /// Where records must be fetched from: what a table has already it drops.
    pub(super) fn lowest(&self) -> Option<i64> {
        if trial::has(Bug::HighestOfFamily) {
            return self.0.values().copied().max();
        }
        self.0.values().copied().min()
    }

    /// Each table with its offset.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&str, i64)> {
        self.0
            .iter()
            .map(|(table, offset)| (table.as_str(), *offset))
    }
}

/// Where to fetch each of these from.
pub(super) fn lowest_of(
    all: &BTreeMap<TopicPartition, Positions>,
) -> BTreeMap<TopicPartition, i64> {
    let lowest =
        |(it, positions): (&TopicPartition, &Positions)| Some((it.clone(), positions.lowest()?));
    all.iter().filter_map(lowest).collect()
}

/// The names of the tables that belong together, each family once.
pub(super) fn families<'a>(
    tables: impl IntoIterator<Item = &'a settings::Table>,
) -> Vec<BTreeSet<&'a str>> {
    let mut families: Vec<(BTreeSet<&str>, BTreeSet<&str>)> = Vec::new();
    for table in tables {
        let mut names = BTreeSet::from([table.name.as_str()]);
        let mut topics: BTreeSet<&str> = table.topics.iter().map(String::as_str).collect();
        // A table can join families that had no topic in common so far.
        for (other_names, other_topics) in families
            .extract_if(.., |(_, others)| !others.is_disjoint(&topics))
            .collect::<Vec<_>>()
        {
            names.extend(other_names);
            topics.extend(other_topics);
        }
        families.push((names, topics));
    }
    families.into_iter().map(|(names, _)| names).collect()
}

/// The ends of one table.
pub(super) struct TableControl {
    pub(super) share: Arc<Share>,
    /// What it reads; grows where a pattern finds more.
    pub(super) topics: BTreeSet<String>,
    pub(super) flusher: mpsc::Sender<FlusherCommand>,
}

impl TableControl {
    /// Whether the table reads this topic.
    pub(super) fn reads(&self, topic: &str) -> bool {
        self.topics.contains(topic)
    }
}

/// Topic partitions that wait to be tried again.
pub(super) struct Parked {
    pub(super) epoch: Epoch,
    pub(super) positions: BTreeMap<TopicPartition, Positions>,
    pub(super) until: Instant,
}

/// One family's place in the group.
#[derive(Default)]
pub(super) struct Family {
    pub(super) tables: BTreeMap<String, TableControl>,
    pub(super) owned: BTreeSet<TopicPartition>,
    pub(super) epoch: Option<Epoch>,
    /// The table that waits for a person, and why; the others wait with it.
    pub(super) suspended: Option<(String, String)>,
    /// Whether a person told it to rest.
    pub(super) rests: bool,
    pub(super) parked: Vec<Parked>,
    /// When an ended epoch may begin again.
    pub(super) reopen_at: Option<Instant>,
    /// What some of its tables have answered under the epoch; the lanes wait for all of them.
    opening: BTreeMap<TopicPartition, Positions>,
}

impl Family {
    /// Whether nothing but an epoch is missing for it to be read.
    pub(super) fn may_read(&self) -> bool {
        self.suspended.is_none() && !self.rests
    }

    /// Whether a table of it may commit.
    pub(super) fn is_live(&self) -> bool {
        self.epoch.as_ref().is_some_and(Epoch::is_live)
    }

    /// Whether this is its epoch.
    pub(super) fn is_under(&self, epoch: &Epoch) -> bool {
        self.epoch.as_ref().is_some_and(|own| own.same_as(epoch))
    }

    /// Whether a table of it reads this topic.
    pub(super) fn reads(&self, topic: &str) -> bool {
        self.tables.values().any(|table| table.reads(topic))
    }

    /// Whether a table of it and one of the other read the same topic.
    pub(super) fn shares_a_topic(&self, other: &Family) -> bool {
        let mut topics = self.tables.values().flat_map(|table| &table.topics);
        topics.any(|topic| other.reads(topic))
    }

    /// Takes over the tables of another one, and what it owns; both have no epoch.
    pub(super) fn join(&mut self, other: Family) {
        self.tables.extend(other.tables);
        self.owned.extend(other.owned);
        self.suspended = self.suspended.take().or(other.suspended);
        self.rests |= other.rests;
        self.parked.clear();
        self.opening.clear();
    }

    /// What it owns.
    pub(super) fn all_owned(&self) -> Vec<TopicPartition> {
        self.owned.iter().cloned().collect()
    }

    /// Tells every table concerned to be read; the name of one whose flusher takes no command, and then the epoch has ended for all of them.
    pub(super) fn begin(&mut self, epoch: &Epoch, all: &[TopicPartition]) -> Result<(), String> {
        if !self.is_under(epoch) {
            self.opening.clear();
        }
        self.epoch = Some(epoch.clone());
        for (name, table) in &self.tables {
            let reads = all.iter().filter(|it| table.reads(&it.topic));
            let topic_partitions: Vec<TopicPartition> = reads.cloned().collect();
            if topic_partitions.is_empty() {
                continue;
            }
            let begin = FlusherCommand::Begin {
                epoch: epoch.clone(),
                topic_partitions,
            };
            if table.flusher.try_send(begin).is_err() {
                let name = name.clone();
                self.end();
                return Err(name);
            }
        }
        Ok(())
    }

    /// Takes where one table goes on; answers with what all its readers have answered for.
    pub(super) fn opened(
        &mut self,
        table: &str,
        starts: BTreeMap<TopicPartition, i64>,
    ) -> BTreeMap<TopicPartition, Positions> {
        for (it, offset) in starts {
            self.opening.entry(it).or_default().set(table, offset);
        }
        let tables = &self.tables;
        let is_whole = |it: &TopicPartition, positions: &mut Positions| {
            let mut readers = tables.iter().filter(|(_, table)| table.reads(&it.topic));
            readers.all(|(name, _)| positions.of(name).is_some())
        };
        self.opening.extract_if(.., is_whole).collect()
    }

    /// Ends its epoch, if it has one.
    pub(super) fn end(&mut self) -> Option<Epoch> {
        self.opening.clear();
        let epoch = self.epoch.take()?;
        epoch.end();
        Some(epoch)
    }

    /// Asks its tables to commit what they have; answers when each has. A flusher that takes no command is not waited for: what it has is read again.
    pub(super) fn drain(&self) -> Vec<oneshot::Receiver<()>> {
        let drained = self.tables.values().filter_map(TableControl::drain);
        drained.collect()
    }

    /// Its tables that wait for a person, each with the reason.
    pub(super) fn all_suspended(&self) -> impl Iterator<Item = (&str, String)> {
        let suspended = self.suspended.iter();
        suspended.flat_map(|(culprit, reason)| {
            self.tables
                .keys()
                .map(|name| (name.as_str(), reason_of(name, culprit, reason)))
        })
    }
}

impl TableControl {
    /// Asks for a commit of what there is; `None` when the flusher takes no command.
    pub(super) fn drain(&self) -> Option<oneshot::Receiver<()>> {
        let (reply, answer) = oneshot::channel();
        let drain = FlusherCommand::Drain { reply };
        self.flusher.try_send(drain).is_ok().then_some(answer)
    }
}

/// Why a table is suspended when `culprit` of its family waits for a person.
pub(super) fn reason_of(table: &str, culprit: &str, reason: &str) -> String {
    if table == culprit {
        reason.to_owned()
    } else {
        format!("it shares a topic with table `{culprit}` and waits with it: {reason}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config;

    fn table(name: &str, topics: &str) -> String {
        format!("  - {{ name: {name}, topics: [{topics}], value: {{ format: raw }} }}\n")
    }

    #[test]
    fn tables_that_share_a_topic_are_a_family_however_long_the_way_between_them() {
        let tables = [
            table("a", "one"),
            table("b", "two"),
            table("c", "three"),
            table("d", "two, one"),
        ];
        let text = format!(
            "version: 1\nname: s\nkafka: {{ bootstrap_servers: \"k:1\" }}\nstorage: {{ url: \"file:///l\" }}\ntables:\n{}",
            tables.concat()
        );
        let config =
            config::parse(&text, std::path::Path::new("families.yaml"), &|_| None).unwrap();
        let found = families(&config.tables);
        assert_eq!(
            found,
            [BTreeSet::from(["c"]), BTreeSet::from(["a", "b", "d"])]
        );
    }

    #[test]
    fn a_topic_partition_is_fetched_from_the_lowest_of_its_tables() {
        let mut positions = Positions::default();
        positions.set("a", 7);
        positions.set("b", 3);
        assert_eq!((positions.lowest(), positions.of("a")), (Some(3), Some(7)));
        let all = BTreeMap::from([(TopicPartition::new("t", 0), positions)]);
        assert_eq!(lowest_of(&all).into_values().collect::<Vec<_>>(), [3]);
    }
}
