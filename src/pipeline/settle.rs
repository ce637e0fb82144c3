//! Settles a table with its topics before anything of them is read, and again before it is committed: identities, new topic partitions, offsets inside of the logs. Owns
//! the questions and the commits that follow from the answers; the judgement is `cause`'s.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::clock::Clock;
use crate::config::settings::{self, OnChange};
use crate::delta::{Mend, Mending, Table, TopicStart};
use crate::error::Kind;
use crate::model::commit::CommitOutcome;
use crate::model::epoch::Epoch;
use crate::model::identity::TopicIdentity;
use crate::model::lineage::{Claim, Tail};
use crate::model::offset::{Span, TopicPartition};
use crate::model::progress::Advance;
use crate::pipeline::beside::beside;
use crate::pipeline::cause::{Cause, Verdict, judge_identity, judge_position};
use crate::pipeline::error::Error;
use crate::pipeline::plan::back_off;
use crate::source::{self, Questions, StartAt, Watermarks};
use crate::trial::{self, Bug};

/// Rounds at a start before the caller waits for the table to come to rest.
const ROUNDS_AT_START: usize = 10;

/// Who decides on a cause.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Accept {
    /// The config: `on_source_change`, `on_lost_offsets`.
    ByConfig,
    /// A person who lifts whatever there is.
    Everything,
}

/// A table on its way to being settled.
pub(super) struct Settling<'a> {
    pub(super) table: &'a mut Table,
    pub(super) lookup: &'a Arc<dyn Questions>,
    pub(super) settings: &'a settings::Table,
    pub(super) app_name: &'a str,
    pub(super) clock: &'a Clock,
    pub(super) epoch: &'a Epoch,
    pub(super) accept: Accept,
    /// Hears what is waited for.
    pub(super) trouble: &'a (dyn Fn(String) + Send + Sync),
}

/// A table that is settled with its topics.
#[derive(Debug, Default)]
pub(super) struct Settled {
    /// Where each topic partition goes on, and where its log ends.
    pub(super) starts: BTreeMap<TopicPartition, Start>,
    /// What was accepted on the way.
    pub(super) accepted: Vec<Cause>,
}

/// Where a topic partition goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Start {
    pub(super) offset: i64,
    pub(super) end: i64,
}

/// Why a round did not settle the table.
enum Round {
    /// The table changed under it, or by it.
    Again,
    /// Something outside is away.
    Wait(String),
    /// A person must decide.
    Halt(String),
}

impl Settling<'_> {
    /// Goes on until the table is settled. `None`: the epoch ended meanwhile; an error is the sentence for a person.
    pub(super) async fn settle(
        mut self,
        all: &[TopicPartition],
    ) -> Result<Option<Settled>, String> {
        let mut attempt = 0;
        let mut accepted = Vec::new();
        while self.epoch.is_live() {
            match self.round(all, &mut accepted).await {
                Ok(starts) => {
                    self.table.hand_out(all);
                    return Ok(Some(Settled { starts, accepted }));
                }
                Err(Round::Halt(reason)) => return Err(reason),
                Err(Round::Wait(reason)) => (self.trouble)(reason),
                Err(Round::Again) => {}
            }
            self.clock.sleep(back_off(attempt) / 2).await;
            attempt += 1;
        }
        Ok(None)
    }

    /// Settles before the group is joined, for a run that ends by itself: what is away is for the caller to wait for.
    pub(super) async fn settle_at_start(mut self, all: &[TopicPartition]) -> Result<(), Error> {
        let table = self.settings.name.clone();
        let mut reason = "it changes all the time".to_owned();
        for _ in 0..ROUNDS_AT_START {
            match self.round(all, &mut Vec::new()).await {
                Ok(_) => {
                    self.table.hand_out(all);
                    return Ok(());
                }
                Err(Round::Halt(reason)) => {
                    return Err(Error::Suspended {
                        tables: vec![(table, reason)],
                    });
                }
                Err(Round::Wait(waiting)) => {
                    reason = waiting;
                    break;
                }
                Err(Round::Again) => {}
            }
        }
        Err(Error::Unsettled { table, reason })
    }

    /// One look at the table (OFF-5) and its topics.
    async fn round(
        &mut self,
        all: &[TopicPartition],
        accepted: &mut Vec<Cause>,
    ) -> Result<BTreeMap<TopicPartition, Start>, Round> {
        self.refresh().await?;
        self.settle_identities(all, accepted).await?;
        self.begin_new(all).await?;
        let mut starts = BTreeMap::new();
        let mut holes = Vec::new();
        let claims: BTreeMap<TopicPartition, Claim> = all
            .iter()
            .filter_map(|it| Some((it.clone(), self.table.claim(it)?)))
            .collect();
        let parts_at = diverging(self.lookup, claims.clone()).await?;
        for (topic_partition, marks) in self.watermarks(all).await? {
            let offset = self
                .table
                .committed(&topic_partition)
                .map_err(|error| Round::Halt(error.to_string()))?;
            let parts_at = parts_at.get(&topic_partition).copied();
            holes.extend(judge_position(&topic_partition, offset, marks, parts_at));
            let start = Start {
                offset,
                end: marks.high,
            };
            starts.insert(topic_partition, start);
        }
        if holes.is_empty() {
            return Ok(starts);
        }
        let mends = holes.iter().map(|hole| mend_of_hole(hole, &claims));
        let mends = mends.collect::<Result<_, _>>()?;
        self.answer(&holes, mends, accepted).await?;
        Err(Round::Again)
    }

    async fn refresh(&mut self) -> Result<(), Round> {
        self.table
            .refresh()
            .await
            .map_err(|error| match error.kind() {
                Kind::Unavailable => {
                    Round::Wait(format!("table `{}`: {error}", self.settings.name))
                }
                Kind::Invalid | Kind::Superseded | Kind::Corrupt | Kind::Bug => {
                    Round::Halt(error.to_string())
                }
            })
    }

    /// A topic under the same name may be another one: recreated, or another cluster's.
    async fn settle_identities(
        &mut self,
        all: &[TopicPartition],
        accepted: &mut Vec<Cause>,
    ) -> Result<(), Round> {
        let (mut adoptions, mut causes) = (Vec::new(), Vec::new());
        let topics = topics_of(all.iter());
        for topic in &topics {
            self.table
                .check_known(topic)
                .map_err(|error| Round::Halt(error.to_string()))?;
        }
        let found = identities(self.lookup, &topics).await?;
        for topic in topics {
            let Some(pinned) = self.table.sources().identity(&topic) else {
                continue;
            };
            let told = found.as_ref().ok().and_then(|found| found.get(&topic));
            match judge_identity(&topic, &pinned, told) {
                Verdict::Same => {}
                Verdict::Adopt => adoptions.push(Mend::Adopt {
                    topic: topic.into(),
                    identity: told.cloned().unwrap_or_default(),
                }),
                Verdict::Changed(cause) => causes.push(cause),
                Verdict::Untold(sentence) => {
                    return Err(Round::Wait(match &found {
                        Ok(_) => sentence,
                        Err(error) => error.clone(),
                    }));
                }
            }
        }
        if !causes.is_empty() {
            let mut mends = Vec::new();
            for cause in &causes {
                mends.extend(self.mend_of_change(cause).await?);
            }
            self.answer(&causes, mends, accepted).await?;
            return Err(Round::Again);
        }
        if !adoptions.is_empty() {
            self.commit(adoptions, &[], "the broker tells who the topic is")
                .await?;
            return Err(Round::Again);
        }
        Ok(())
    }

    /// The next incarnation of every topic partition, at the start of the log of the topic that there is now.
    async fn mend_of_change(&self, cause: &Cause) -> Result<Option<Mend>, Round> {
        let (Cause::Recreated { topic, was, is } | Cause::OtherCluster { topic, was, is }) = cause
        else {
            return Ok(None);
        };
        let (lookup, asked) = (Arc::clone(self.lookup), topic.clone());
        let offsets = ask(move || {
            let all = lookup.topic_partitions(&asked)?;
            let offsets = lookup.start_offsets(&all, StartAt::Earliest)?;
            Ok((offsets, lookup.identities(std::slice::from_ref(&asked))?))
        });
        let (offsets, identity) = offsets
            .await?
            .map_err(|error| Round::Wait(error.to_string()))?;
        if identity.get(topic) != Some(is) {
            // It changed again while its offsets were asked for.
            return Err(Round::Again);
        }
        Ok(Some(Mend::Renew {
            topic: topic.as_str().into(),
            was: was.clone(),
            is: is.clone(),
            offsets: offsets
                .into_iter()
                .map(|(topic_partition, offset)| (topic_partition.number, offset))
                .collect(),
        }))
    }

    /// Does what the config or a person says to these causes.
    async fn answer(
        &mut self,
        causes: &[Cause],
        mends: Vec<Mend>,
        accepted: &mut Vec<Cause>,
    ) -> Result<(), Round> {
        // What the logs say was asked after the table was read: another owner may have moved on since.
        let version = self.table.version();
        self.refresh().await?;
        if self.table.version() != version {
            return Err(Round::Again);
        }
        let by_person = self.accept == Accept::Everything;
        let suspending: Vec<&Cause> = causes
            .iter()
            .filter(|cause| !by_person && cause.response(self.settings) == OnChange::Suspend)
            .collect();
        if let Some(first) = suspending.first() {
            let more = match suspending.len() {
                1 => String::new(),
                count => format!(" (and {} more like it)", count - 1),
            };
            return Err(Round::Halt(format!("{}{more}", first.sentence())));
        }
        let ids: Vec<String> = causes.iter().map(Cause::id).collect();
        let reason = ids.join(", ");
        for cause in causes {
            tracing::warn!(
                table = self.settings.name,
                cause = cause.id(),
                detail = cause.sentence(),
                "goes on over a change of its source"
            );
        }
        self.commit(mends, if by_person { &ids } else { &[] }, &reason)
            .await?;
        accepted.extend(causes.iter().cloned());
        Ok(())
    }

    async fn commit(
        &mut self,
        mends: Vec<Mend>,
        lifted: &[String],
        reason: &str,
    ) -> Result<(), Round> {
        let mending = Mending {
            mends,
            lifted: lifted.to_vec(),
            reason: reason.to_owned(),
            name: self.app_name.to_owned(),
            epoch: Some(self.epoch.clone()),
        };
        match self.table.mend(&mending).await {
            CommitOutcome::Committed(_) => Ok(()),
            CommitOutcome::Superseded(_) => Err(Round::Again),
            CommitOutcome::Unknown(reason) => Err(Round::Wait(reason)),
            CommitOutcome::Conflict(reason) => Err(Round::Halt(reason)),
        }
    }

    /// Topic partitions that a known topic gained since begin at their log's start, whatever `start` says (OFF-8).
    async fn begin_new(&mut self, all: &[TopicPartition]) -> Result<(), Round> {
        let sources = self.table.sources();
        let is_new = |it: &&TopicPartition| {
            sources.topic(&it.topic).is_some() && sources.incarnation(it).is_none()
        };
        let new: Vec<TopicPartition> = all.iter().filter(is_new).cloned().collect();
        if new.is_empty() {
            return Ok(());
        }
        let lookup = Arc::clone(self.lookup);
        let offsets = ask(move || lookup.start_offsets(&new, StartAt::Earliest))
            .await?
            .map_err(|error| Round::Wait(error.to_string()))?;
        match self.table.begin_topics(&as_starts(offsets)).await {
            Ok(CommitOutcome::Committed(_)) => Ok(()),
            Ok(CommitOutcome::Unknown(reason)) => Err(Round::Wait(reason)),
            Ok(CommitOutcome::Superseded(reason) | CommitOutcome::Conflict(reason)) => {
                Err(Round::Halt(reason))
            }
            Err(error) if error.kind() == Kind::Unavailable => Err(Round::Wait(error.to_string())),
            Err(error) => Err(Round::Halt(error.to_string())),
        }
    }

    async fn watermarks(
        &self,
        all: &[TopicPartition],
    ) -> Result<BTreeMap<TopicPartition, Watermarks>, Round> {
        let (lookup, asked) = (Arc::clone(self.lookup), all.to_vec());
        ask(move || lookup.watermarks(&asked))
            .await?
            .map_err(|error| Round::Wait(error.to_string()))
    }
}

/// What is asked before a commit.
#[derive(Clone, Copy)]
pub(super) struct Confirming<'a> {
    pub(super) table: &'a Table,
    pub(super) lookup: &'a Arc<dyn Questions>,
    pub(super) clock: &'a Clock,
    pub(super) epoch: &'a Epoch,
    /// Hears what is waited for.
    pub(super) trouble: &'a (dyn Fn(String) + Send + Sync),
}

/// Whether the topics of what was polled are still those that the table knows, asked after the last record was polled: librdkafka goes on at the old offset of a topic
/// that was created again. Waits while the broker does not tell (ENV-1); the error is why nothing of it may be committed.
pub(super) async fn confirm_identities(
    ctx: Confirming<'_>,
    polled: impl Iterator<Item = &TopicPartition>,
) -> Result<(), String> {
    let topics = topics_of(polled);
    let mut attempt = 0;
    while ctx.epoch.is_live() {
        let found = match identities(ctx.lookup, &topics).await {
            Ok(found) => found,
            Err(Round::Halt(reason) | Round::Wait(reason)) => return Err(reason),
            Err(Round::Again) => continue,
        };
        let mut untold = None;
        for topic in &topics {
            let pinned = ctx.table.sources().identity(topic).unwrap_or_default();
            let told = found.as_ref().ok().and_then(|found| found.get(topic));
            match judge_identity(topic, &pinned, told) {
                Verdict::Same | Verdict::Adopt => {}
                Verdict::Changed(cause) => return Err(cause.sentence()),
                Verdict::Untold(sentence) => untold = Some(sentence),
            }
        }
        let Some(sentence) = untold else {
            return Ok(());
        };
        (ctx.trouble)(found.err().unwrap_or(sentence));
        ctx.clock.sleep(back_off(attempt)).await;
        attempt += 1;
    }
    Ok(())
}

/// Whether the logs still hold what was read of them wherever the leader changed: the records behind may be another log's, since a position alone does not tell, and librdkafka
/// asks only where it seeks or hears of the change while it fetches. Offsets without a record say nothing of their leader and are not asked about alone: they bring no row, and
/// with the first row behind them, or before the next epoch, the last record before them is, and that there is none up to that row. Waits while no leader tells (ENV-1); the error is why nothing of it may be committed.
pub(super) async fn confirm_lineage(ctx: Confirming<'_>, advance: &Advance) -> Result<(), String> {
    let mut handovers: BTreeMap<TopicPartition, Vec<Claim>> = advance
        .steps()
        .map(|(it, step)| {
            let (before, start) = (ctx.table.claim(it), step.span.start());
            (it.clone(), step.lineage.handovers(before, start))
        })
        .collect();
    let mut attempt = 0;
    while ctx.epoch.is_live() {
        // One of each topic partition at a time.
        let asked: BTreeMap<TopicPartition, Claim> = handovers
            .iter()
            .filter_map(|(it, claims)| Some((it.clone(), *claims.last()?)))
            .collect();
        if asked.is_empty() {
            return Ok(());
        }
        match diverging(ctx.lookup, asked).await {
            Ok(parts_at) => {
                if let Some((at, offset)) = parts_at.first_key_value() {
                    return Err(format!(
                        "the log of {at} is another one from {offset} on: it was truncated behind what was read of it (unclean leader election)"
                    ));
                }
                handovers.values_mut().for_each(|claims| {
                    claims.pop();
                });
            }
            Err(Round::Halt(reason)) => return Err(reason),
            Err(Round::Again) => {}
            Err(Round::Wait(sentence)) => {
                (ctx.trouble)(sentence);
                ctx.clock.sleep(back_off(attempt)).await;
                attempt += 1;
            }
        }
    }
    Ok(())
}

/// Where logs part from what was read of them, however far they go by now.
async fn diverging(
    lookup: &Arc<dyn Questions>,
    read: BTreeMap<TopicPartition, Claim>,
) -> Result<BTreeMap<TopicPartition, i64>, Round> {
    if read.is_empty() || trial::has(Bug::TruncationByEndAlone) {
        return Ok(BTreeMap::new());
    }
    let lookup = Arc::clone(lookup);
    ask(move || lookup.diverging(&read))
        .await?
        .map_err(|error| Round::Wait(error.to_string()))
}

/// The inner error: the broker's refusal, which only matters where an identity is pinned.
async fn identities(
    lookup: &Arc<dyn Questions>,
    topics: &[String],
) -> Result<Result<BTreeMap<String, TopicIdentity>, String>, Round> {
    let (lookup, asked) = (Arc::clone(lookup), topics.to_vec());
    let answer = ask(move || lookup.identities(&asked)).await?;
    Ok(answer.map_err(|error| error.to_string()))
}

/// Asks Kafka beside the tasks.
async fn ask<T: Send + 'static>(
    question: impl FnOnce() -> Result<T, source::Error> + Send + 'static,
) -> Result<Result<T, source::Error>, Round> {
    beside(question)
        .await
        .map_err(|error| Round::Halt(format!("a blocking task ended early: {error}")))
}

fn mend_of_hole(cause: &Cause, claims: &BTreeMap<TopicPartition, Claim>) -> Result<Mend, Round> {
    match cause {
        Cause::Expired {
            topic_partition,
            committed,
            low,
        } => Ok(Mend::Skip {
            topic_partition: topic_partition.clone(),
            span: Span::new(*committed, *low).map_err(|error| Round::Halt(error.to_string()))?,
        }),
        Cause::Truncated {
            topic_partition,
            committed,
            end,
        } => Ok(Mend::Again {
            topic_partition: topic_partition.clone(),
            committed: *committed,
            start: *end,
            // Up to where they part, the log is the one that was read; below 0 there is nothing that could be claimed.
            tail: claims
                .get(topic_partition)
                .filter(|_| *end > 0)
                .map(|claim| Tail {
                    end: *end,
                    ..claim.tail
                }),
        }),
        Cause::Recreated { .. } | Cause::OtherCluster { .. } => Err(Round::Again),
    }
}

fn topics_of<'a>(all: impl Iterator<Item = &'a TopicPartition>) -> Vec<String> {
    let mut topics: Vec<String> = all.map(|it| it.topic.to_string()).collect();
    topics.sort();
    topics.dedup();
    topics
}

/// What `begin_topics` takes; for a topic that the table knows, only the offsets count.
fn as_starts(offsets: BTreeMap<TopicPartition, i64>) -> Vec<TopicStart> {
    let mut starts: BTreeMap<Arc<str>, BTreeMap<i32, i64>> = BTreeMap::new();
    for (topic_partition, offset) in offsets {
        starts
            .entry(topic_partition.topic)
            .or_default()
            .insert(topic_partition.number, offset);
    }
    let start = |(topic, offsets)| TopicStart {
        topic,
        cluster_id: None,
        topic_id: None,
        start: "earliest".to_owned(),
        offsets,
    };
    starts.into_iter().map(start).collect()
}
