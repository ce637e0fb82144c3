//! How the control thread takes up what was found while it runs: tables of their own, further topics of tables, and the families that those make of one another. Owns the
//! order: joined first, subscribed then, so that no topic partition is assigned that nobody reads. Asks nobody.

use std::collections::BTreeSet;

use crate::pipeline::assembly::{TableParts, connect};
use crate::pipeline::control::Control;
use crate::pipeline::discover::Found;
use crate::pipeline::error::Error;
use crate::pipeline::family::{Family, reason_of};
use crate::pipeline::flusher::Flusher;
use crate::pipeline::status::TableState;

impl Control {
    /// Whether the group waits for no answer of ours.
    pub(super) fn is_settled(&self) -> bool {
        self.pending.is_none() && self.revoking.is_none()
    }

    /// Takes these up and subscribes to their topics. The flushers are to be run.
    pub(super) fn grow(
        &mut self,
        all: Vec<Found>,
        parts: &TableParts,
    ) -> Result<Vec<Flusher>, Error> {
        let mut flushers = Vec::new();
        for found in all {
            match found {
                Found::Table(planned) => {
                    let topics = planned.plan.settings.topics.join(",");
                    let (flusher, table) = connect(self, *planned, parts);
                    let name = flusher.share.name().to_owned();
                    tracing::info!(table = name, topics, "found a table");
                    self.status
                        .table(&name, |table| table.state = TableState::Starting);
                    let mut family = Family::default();
                    family.tables.insert(name.clone(), table);
                    self.families.insert(name, family);
                    flushers.push(flusher);
                }
                Found::Topics { table, topics } => {
                    let name = self.family_of(&table).unwrap_or_default();
                    let family = self.families.get_mut(&name);
                    let Some(control) = family.and_then(|it| it.tables.get_mut(&table)) else {
                        continue;
                    };
                    let names = topics.iter().cloned().collect::<Vec<_>>().join(",");
                    tracing::info!(table, topics = names, "found topics");
                    control.topics.extend(topics);
                }
            }
        }
        self.join_families()?;
        let tables = self.families.values().flat_map(|it| it.tables.values());
        let topics: BTreeSet<String> = tables.flat_map(|it| it.topics.iter().cloned()).collect();
        let topics: Vec<&str> = topics.iter().map(String::as_str).collect();
        self.group.subscribe(&topics)?;
        Ok(flushers)
    }

    /// Families that share a topic by now become one. Their epochs end: what is read under them is read again under one that all tables have.
    fn join_families(&mut self) -> Result<(), Error> {
        while let Some((one, other)) = self.sharing() {
            self.end_epoch(&one);
            self.end_epoch(&other);
            let joined = self.families.remove(&other);
            let Some((family, joined)) = self.families.get_mut(&one).zip(joined) else {
                return Err(Error::Bug(format!(
                    "the families `{one}` and `{other}` are gone"
                )));
            };
            family.join(joined);
            let owned = family.all_owned();
            family.reopen_at = (!owned.is_empty()).then(|| self.clock.now());
            let suspended = family.suspended.clone();
            for table in family.tables.keys() {
                self.status.table(table, |status| {
                    status.state = match &suspended {
                        Some((culprit, reason)) => {
                            TableState::Suspended(reason_of(table, culprit, reason))
                        }
                        None if family.rests => TableState::Paused,
                        None => TableState::Starting,
                    };
                });
            }
            self.pause(&owned)?;
            for topic_partition in &owned {
                self.show_owned(topic_partition, true);
            }
        }
        Ok(())
    }

    /// Two families that share a topic.
    fn sharing(&self) -> Option<(String, String)> {
        let mut pairs = self.families.iter().flat_map(|(one, family)| {
            let others = self.families.iter().filter(move |(other, _)| one < *other);
            others.map(move |(other, of_other)| ((one, family), (other, of_other)))
        });
        let found = pairs.find(|((_, family), (_, other))| family.shares_a_topic(other));
        found.map(|((one, _), (other, _))| (one.clone(), other.clone()))
    }
}
