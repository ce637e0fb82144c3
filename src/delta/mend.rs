//! Changes of what a table says of its sources without a record: an identity that became known, the next incarnation, a declared hole, a lifted suspension. Owns
//! their judgement against a base and their entry; who decides on them is not here.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Serialize;
use serde_json::json;

use crate::delta::actions::Txn;
use crate::delta::change::{Plan, Refusal, forget_tail, txns_of_tail};
use crate::delta::entry::{Draft, Info, Lakeward, Span as Spanned};
use crate::delta::error::Error;
use crate::delta::sources::{self, Sources, app_id};
use crate::delta::state::State;
use crate::delta::table::check_known;
use crate::model::epoch::Epoch;
use crate::model::identity::TopicIdentity;
use crate::model::lineage::Tail;
use crate::model::offset::{Incarnation, Span, TopicPartition};
use crate::model::progress::{Counts, Step};

/// The table property that names what `resume` lifted last; instances that wait for it read the table again when it changes.
pub const LIFTED: &str = "lakeward.lifted";

/// One change, with what it was decided on: a base that says otherwise supersedes it (OFF-3).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Mend {
    /// The broker tells an identity where the table had none.
    Adopt {
        /// The topic.
        topic: Arc<str>,
        /// What the broker tells.
        identity: TopicIdentity,
    },
    /// Another topic stands under the name: every topic partition begins its next incarnation.
    Renew {
        /// The topic.
        topic: Arc<str>,
        /// What the table says.
        was: TopicIdentity,
        /// What the broker tells.
        is: TopicIdentity,
        /// The first offset to read of each topic partition that there is.
        offsets: BTreeMap<i32, i64>,
    },
    /// One topic partition begins its next incarnation, since its log is not the one that was read, or since a person said so.
    Again {
        /// Which.
        topic_partition: TopicPartition,
        /// Where the table stands.
        committed: i64,
        /// Where the next incarnation begins.
        start: i64,
        /// What the log holds below, if that is known: it can be truncated once more before anything of the next incarnation is read.
        tail: Option<Tail>,
    },
    /// Offsets that are passed over, declared as lost (OFF-7).
    Skip {
        /// Which.
        topic_partition: TopicPartition,
        /// From where the table stands to the next offset to read.
        span: Span,
    },
}

/// Several changes in one commit, and why.
#[derive(Debug, Clone)]
pub struct Mending {
    /// The changes.
    pub mends: Vec<Mend>,
    /// The ids of the causes that a person lifted with it; empty when the config decided.
    pub lifted: Vec<String>,
    /// Why, for those who read the table's history.
    pub reason: String,
    /// The config's name.
    pub name: String,
    /// The right to do it, where it is done under one (EPOCH-1).
    pub epoch: Option<Epoch>,
}

/// One change as `commitInfo` tells it.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Told {
    change: &'static str,
    topic: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    partition: Option<i32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    topic_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    from: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    to: Option<i64>,
}

impl Mend {
    /// The topic that it is about.
    pub(crate) fn topic(&self) -> &str {
        match self {
            Mend::Adopt { topic, .. } | Mend::Renew { topic, .. } => topic,
            Mend::Again {
                topic_partition, ..
            }
            | Mend::Skip {
                topic_partition, ..
            } => &topic_partition.topic,
        }
    }

    fn told(&self) -> Told {
        let told = |change, partition, from, to| Told {
            change,
            topic: self.topic().to_owned(),
            partition,
            topic_id: None,
            from,
            to,
        };
        match self {
            Mend::Adopt { identity, .. } => Told {
                topic_id: identity.topic_id.clone(),
                ..told("adopted", None, None, None)
            },
            Mend::Renew { is, .. } => Told {
                topic_id: is.topic_id.clone(),
                ..told("next incarnation", None, None, None)
            },
            Mend::Again {
                topic_partition,
                committed,
                start,
                ..
            } => told(
                "next incarnation",
                Some(topic_partition.number),
                Some(*committed),
                Some(*start),
            ),
            Mend::Skip {
                topic_partition,
                span,
            } => told(
                "lost",
                Some(topic_partition.number),
                Some(span.start()),
                Some(span.end()),
            ),
        }
    }
}

/// What the mends of one entry come to.
struct Mended {
    sources: Sources,
    txns: Vec<Txn>,
    spans: Vec<Spanned>,
    told: Vec<Told>,
}

/// Judges the changes against a base and writes their entry.
pub(crate) fn plan(base: &State, mending: &Mending, mut info: Info) -> Result<Plan, Error> {
    let mut mended = Mended {
        sources: base.shape.sources.clone(),
        txns: Vec::new(),
        spans: Vec::new(),
        told: Vec::new(),
    };
    for mend in &mending.mends {
        if let Err(refusal) = mended.apply(base, mend) {
            return Ok(Plan::Refused(refusal));
        }
    }
    if mended.told.is_empty() && mending.lifted.is_empty() {
        return Ok(Plan::Nothing);
    }
    let written =
        |error: serde_json::Error| Error::Bug(format!("the sources cannot be written ({error})"));
    let mut metadata = base.shape.metadata.clone();
    let property = mended.sources.to_property().map_err(written)?;
    metadata
        .configuration
        .insert(sources::PROPERTY.to_owned(), property);
    if !mending.lifted.is_empty() {
        let lifted = json!({"id": info.txn_id, "causes": mending.lifted});
        metadata
            .configuration
            .insert(LIFTED.to_owned(), lifted.to_string());
    }
    info.operation_parameters
        .insert("reason", mending.reason.clone());
    info.lakeward = Some(Lakeward {
        name: mending.name.clone(),
        spans: mended.spans,
        valid_through: None,
        outbox: None,
        mended: mended.told,
    });
    Draft {
        info,
        protocol: None,
        metadata: (metadata != base.shape.metadata).then_some(&metadata),
        txns: mended.txns,
        files: &[],
    }
    .to_bytes()
    .map(Plan::Put)
}

/// Whether the base may be changed at all.
pub(crate) fn check(base: &State, mending: &Mending) -> Result<(), Refusal> {
    mending.mends.iter().try_for_each(|mend| {
        check_known(base, mend.topic()).map_err(|(name, reason)| {
            Refusal::Conflict(format!(
                "the table holds offsets of {name} but its property lakeward.sources {reason}"
            ))
        })
    })
}

impl Mended {
    fn apply(&mut self, base: &State, mend: &Mend) -> Result<(), Refusal> {
        let changed = match mend {
            Mend::Adopt { topic, identity } => self.adopt(topic, identity)?,
            Mend::Renew {
                topic,
                was,
                is,
                offsets,
            } => self.renew(topic, was, is, offsets)?,
            Mend::Again {
                topic_partition,
                committed,
                start,
                tail,
            } => {
                let incarnation = standing(base, topic_partition, *committed)?;
                let next = Incarnation(incarnation.0.saturating_add(1));
                self.sources.raise(topic_partition, next);
                self.move_to(topic_partition, next, *start);
                let tail = tail.map(|tail| txns_of_tail(topic_partition, next, tail));
                self.txns.extend(tail.into_iter().flatten());
                true
            }
            Mend::Skip {
                topic_partition,
                span,
            } => {
                let incarnation = standing(base, topic_partition, span.start())?;
                self.move_to(topic_partition, incarnation, span.end());
                // Nothing is known of the records that are passed over, so nothing of the log can be held against them.
                self.txns
                    .extend(forget_tail(base, topic_partition, incarnation, span.end()));
                let step = Step::of(*span, Counts::default());
                self.spans.push(Spanned::lost(
                    &topic_partition.topic,
                    topic_partition.number,
                    incarnation,
                    &step,
                ));
                true
            }
        };
        if changed {
            self.told.push(mend.told());
        }
        Ok(())
    }

    fn adopt(&mut self, topic: &Arc<str>, identity: &TopicIdentity) -> Result<bool, Refusal> {
        let pinned = self.sources.identity(topic).unwrap_or_default();
        let differs = |pinned: &Option<String>, found: &Option<String>| {
            pinned.is_some() && found.is_some() && pinned != found
        };
        if differs(&pinned.topic_id, &identity.topic_id)
            || differs(&pinned.cluster_id, &identity.cluster_id)
        {
            return Err(other_identity(topic));
        }
        let adopted = TopicIdentity {
            cluster_id: pinned.cluster_id.clone().or(identity.cluster_id.clone()),
            topic_id: pinned.topic_id.clone().or(identity.topic_id.clone()),
        };
        Ok(adopted != pinned && self.sources.set_identity(topic, &adopted))
    }

    /// Another instance may have been quicker.
    fn renew(
        &mut self,
        topic: &Arc<str>,
        was: &TopicIdentity,
        is: &TopicIdentity,
        offsets: &BTreeMap<i32, i64>,
    ) -> Result<bool, Refusal> {
        let pinned = self.sources.identity(topic).unwrap_or_default();
        if pinned == *is {
            return Ok(false);
        }
        if pinned != *was {
            return Err(other_identity(topic));
        }
        let known: Vec<(TopicPartition, Incarnation)> = self
            .sources
            .topic_partitions()
            .filter(|(topic_partition, _)| topic_partition.topic == *topic)
            .collect();
        for (topic_partition, incarnation) in known {
            // One that the new topic does not have yet begins at the beginning, should it come.
            let start = offsets.get(&topic_partition.number).copied().unwrap_or(0);
            let next = Incarnation(incarnation.0.saturating_add(1));
            self.sources.raise(&topic_partition, next);
            self.move_to(&topic_partition, next, start);
        }
        Ok(self.sources.set_identity(topic, is))
    }

    fn move_to(&mut self, topic_partition: &TopicPartition, incarnation: Incarnation, at: i64) {
        self.txns.push(Txn {
            app_id: app_id(topic_partition, incarnation),
            version: at,
        });
    }
}

fn other_identity(topic: &str) -> Refusal {
    Refusal::Superseded(format!(
        "the entry of topic `{topic}` in lakeward.sources changed"
    ))
}

/// The incarnation whose offset stands at `expected` (OFF-3).
fn standing(
    base: &State,
    topic_partition: &TopicPartition,
    expected: i64,
) -> Result<Incarnation, Refusal> {
    let incarnation = base
        .shape
        .sources
        .incarnation(topic_partition)
        .ok_or_else(|| other_identity(&topic_partition.topic))?;
    let committed = base.txns.get(&app_id(topic_partition, incarnation));
    if committed == Some(&expected) {
        return Ok(incarnation);
    }
    let committed = committed.map_or_else(|| "no offset".to_owned(), ToString::to_string);
    Err(Refusal::Superseded(format!(
        "{topic_partition} stands at {committed} in version {}, not at {expected} (OFF-3)",
        base.version
    )))
}
