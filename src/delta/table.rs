//! A table in hand: what it is at its version, how far its sources are committed. Owns the public face of a loaded table; `commit` and `create` change it.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::datatypes::{Schema, SchemaRef};
use deltalake::kernel::StructType;

use crate::clock::Clock;
use crate::delta::error::Error;
use crate::delta::evolve;
use crate::delta::features::{self, Support};
use crate::delta::open::TableStore;
use crate::delta::replay;
use crate::delta::sources::{Sources, app_id, parse_app_id, tail_app_ids};
use crate::delta::state::{Shape, State};
use crate::model::lineage::{Claim, Tail};
use crate::model::offset::TopicPartition;

pub use crate::delta::sources::TopicStart;

/// What a new table is made of.
#[derive(Debug, Clone)]
pub struct Creation {
    /// All columns in order, derived table partition columns included; each becomes nullable.
    pub columns: SchemaRef,
    /// The table partition columns in order.
    pub partition_columns: Vec<String>,
    /// The Delta table properties.
    pub properties: BTreeMap<String, String>,
    /// The version of the type mapping, recorded and never changed under a table.
    pub mapping_version: u32,
}

/// A Delta table at one version.
#[derive(Debug)]
pub struct Table {
    pub(crate) store: TableStore,
    pub(crate) clock: Clock,
    pub(crate) state: State,
    /// What the caller builds files and spans for: the table as it was handed out. A commit needs every newer state to still take them.
    pub(crate) handed_out: HandedOut,
}

/// What a caller took from a table.
#[derive(Debug)]
pub(crate) struct HandedOut {
    pub(crate) shape: Arc<Shape>,
    pub(crate) sources: Sources,
}

impl Table {
    /// Loads the newest version; `None` when there is no table there, and nothing in its place.
    pub async fn load(store: &TableStore, clock: &Clock) -> Result<Option<Table>, Error> {
        let loaded = Box::pin(replay::load(store, clock, None)).await?;
        Ok(loaded.map(|loaded| {
            let shape = Arc::clone(&loaded.state.shape);
            let handed_out = HandedOut {
                sources: shape.sources.clone(),
                shape,
            };
            Table {
                store: store.clone(),
                clock: clock.clone(),
                state: loaded.state,
                handed_out,
            }
        }))
    }

    /// The version that this is.
    pub fn version(&self) -> u64 {
        self.state.version
    }

    /// The table's id, which no commit may change.
    pub fn id(&self) -> &str {
        &self.state.shape.metadata.id
    }

    /// Where it lies.
    pub fn location(&self) -> &str {
        self.store.url().as_str()
    }

    /// All columns in order.
    pub fn schema(&self) -> SchemaRef {
        Arc::clone(&self.state.shape.arrow)
    }

    /// The table partition columns in order.
    pub fn partition_columns(&self) -> &[String] {
        &self.state.shape.metadata.partition_columns
    }

    /// Who feeds it.
    pub fn sources(&self) -> &Sources {
        &self.state.shape.sources
    }

    /// A table property.
    pub fn property(&self, key: &str) -> Option<&str> {
        self.state
            .shape
            .metadata
            .configuration
            .get(key)
            .map(String::as_str)
    }

    /// The next offset to read of a topic partition (OFF-5). One that the table names must have it: it never falls back to `start` (OFF-8).
    pub fn committed(&self, topic_partition: &TopicPartition) -> Result<i64, Error> {
        let Some(incarnation) = self.sources().incarnation(topic_partition) else {
            self.check_known(&topic_partition.topic)?;
            return Err(Error::UnknownTopicPartition {
                location: self.location().to_owned(),
                topic_partition: topic_partition.clone(),
            });
        };
        self.check_known(&topic_partition.topic)?;
        let app_id = app_id(topic_partition, incarnation);
        self.state
            .txns
            .get(&app_id)
            .copied()
            .ok_or_else(|| Error::OffsetLost {
                location: self.location().to_owned(),
                topic_partition: topic_partition.clone(),
                app_id,
            })
    }

    /// What the log of a topic partition holds if it is the one that was read: the last record, where the broker told its leader epoch, and none behind it.
    pub fn claim(&self, topic_partition: &TopicPartition) -> Option<Claim> {
        let incarnation = self.sources().incarnation(topic_partition)?;
        let [epoch, end] = tail_app_ids(topic_partition, incarnation);
        let txns = &self.state.txns;
        let tail = Tail {
            leader_epoch: i32::try_from(*txns.get(&epoch)?).ok()?,
            end: *txns.get(&end)?,
        };
        let up_to = *txns.get(&app_id(topic_partition, incarnation))?;
        Some(Claim { tail, up_to }).filter(|claim| !claim.says_nothing())
    }

    /// Lets commits rest on the topic partitions that others have named since, and on the incarnations of these, now that their offsets are about to be read from here:
    /// what was read of them under another one fits no commit any more. The rest of what was handed out stays.
    pub fn hand_out(&mut self, topic_partitions: &[TopicPartition]) {
        self.handed_out.sources.adopt(&self.state.shape.sources);
        for topic_partition in topic_partitions {
            self.handed_out
                .sources
                .take_over(&self.state.shape.sources, topic_partition);
        }
    }

    /// Whether a topic partition is still in the incarnation that was handed out.
    pub fn is_handed_out(&self, topic_partition: &TopicPartition) -> bool {
        self.handed_out.sources.incarnation(topic_partition)
            == self.sources().incarnation(topic_partition)
    }

    /// Through which record timestamp the table is complete, milliseconds since 1970 UTC, where that is known.
    pub fn valid_through_ms(&self) -> Option<i64> {
        let app_ids = self
            .sources()
            .topic_partitions()
            .map(|(topic_partition, incarnation)| app_id(&topic_partition, incarnation))
            .collect::<Vec<_>>();
        self.state
            .watermark
            .valid_through_ms(app_ids.iter().map(String::as_str))
    }

    /// What its readers and writers must support once it has these columns too.
    pub fn support_with(&self, columns: &Schema) -> Result<Support, String> {
        let protocol = match evolve::grown(self.delta_schema(), columns)? {
            Some(grown) => features::needed(&self.state.protocol, &grown)?,
            None => None,
        };
        Ok(Support::of(
            protocol.as_ref().unwrap_or(&self.state.protocol),
        ))
    }

    /// What its readers and writers must support.
    pub fn support(&self) -> Support {
        Support::of(&self.state.protocol)
    }

    /// Its Delta schema.
    pub(crate) fn delta_schema(&self) -> &StructType {
        &self.state.shape.schema
    }

    /// Refuses a topic whose txns the property `lakeward.sources` does not account for (OFF-8): somebody took the property back, but not the offsets.
    pub(crate) fn check_known(&self, topic: &str) -> Result<(), Error> {
        check_known(&self.state, topic).map_err(|(source_name, reason)| Error::SourceLost {
            location: self.location().to_owned(),
            source_name,
            reason,
        })
    }
}

/// As `Table::check_known`; answers the source and what is wrong with it.
pub(crate) fn check_known(state: &State, topic: &str) -> Result<(), (String, String)> {
    let prefix = format!("lakeward/{topic}/");
    for app_id in state
        .txns
        .range(prefix.clone()..)
        .map(|(app_id, _)| app_id)
        .take_while(|app_id| app_id.starts_with(&prefix))
    {
        let Some((topic_partition, incarnation)) = parse_app_id(app_id) else {
            continue;
        };
        match state.shape.sources.incarnation(&topic_partition) {
            None => return Err((topic_partition.to_string(), "does not name it".to_owned())),
            Some(named) if named < incarnation => {
                return Err((
                    format!("{topic_partition}, incarnation {incarnation},"),
                    format!("names incarnation {named}"),
                ));
            }
            Some(_) => {}
        }
    }
    Ok(())
}
