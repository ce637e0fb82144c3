//! What a commit wants to change, judged against one base: pure decisions, no I/O. Owns OFF-3 and what excludes what.

use std::collections::BTreeMap;

use arrow::datatypes::SchemaRef;
use bytes::Bytes;

use crate::clock::Instant;
use crate::delta::actions::{Entry, Metadata, Txn};
use crate::delta::entry::{Draft, Info, Lakeward, Span, engine_info};
use crate::delta::error::Error;
use crate::delta::mend::{self, Mending};
use crate::delta::outbox::{self, Manifest, Publication};
use crate::delta::rewrite;
use crate::delta::sources::{self, Sources, TopicStart, app_id, tail_app_ids};
use crate::delta::state::State;
use crate::delta::table::{Table, check_known};
use crate::delta::{evolve, schema, watermark};
use crate::model::commit::{Append, CommitOutcome, Replay, Rewrite, StagedFile};
use crate::model::epoch::Epoch;
use crate::model::lineage::{Last, Tail, UNKNOWN_LEADER_EPOCH};
use crate::model::offset::{Incarnation, TopicPartition};
use crate::model::progress::Step;
use crate::trial::{self, Bug};

/// A wanted change.
#[derive(Debug)]
pub(crate) enum Change<'a> {
    /// Files and offsets, or offsets alone.
    Append { append: &'a Append, name: &'a str },
    /// Topics or topic partitions that are new to the table.
    Begin(&'a [TopicStart]),
    /// What the table says of its sources, without a record.
    Mend(&'a Mending),
    /// The same rows in other files.
    Rewrite(&'a Rewrite),
    /// Rejected records that are rows now.
    Replay { replay: &'a Replay, name: &'a str },
    /// Rejected records that are shown in their own table.
    Publish(&'a Publication),
}

/// What a change means on a base.
#[derive(Debug)]
pub(crate) enum Plan {
    /// This entry.
    Put(Bytes),
    /// The base has it already.
    Nothing,
    /// It does not fit.
    Refused(Refusal),
}

/// Why a change is not possible on a base.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// Another owner moved what it would move.
    Superseded(String),
    /// The table is no longer one that it fits.
    Conflict(String),
}

impl Change<'_> {
    /// Judges the change against the table's state and writes its entry.
    pub(crate) fn plan(&self, table: &Table, id: &str, started_ms: i64) -> Result<Plan, Error> {
        if let Err(refusal) = self.check(table) {
            return Ok(Plan::Refused(refusal));
        }
        match self {
            Change::Append { append, name } => {
                plan_append(table, append, name, info(id, started_ms)).map(Plan::Put)
            }
            Change::Begin(starts) => plan_begin(table, starts, info(id, started_ms)),
            Change::Mend(mending) => mend::plan(&table.state, mending, info(id, started_ms)),
            Change::Rewrite(rewrite) => {
                rewrite::entry(rewrite, info(id, started_ms), started_ms).map(Plan::Put)
            }
            Change::Replay { replay, name } => {
                outbox::plan_replay(replay, &table.state, name, info(id, started_ms))
            }
            Change::Publish(publication) => publication
                .entry(info(id, started_ms), started_ms)
                .map(Plan::Put),
        }
    }

    /// Whether a put may start now (EPOCH-1).
    pub(crate) fn may_start(&self) -> bool {
        match self {
            Change::Append { append, .. } => {
                append.epoch.is_live() || trial::has(Bug::CommitAfterRevoke)
            }
            Change::Begin(_) | Change::Rewrite(_) | Change::Replay { .. } | Change::Publish(_) => {
                true
            }
            Change::Mend(mending) => mending.epoch.as_ref().is_none_or(Epoch::is_live),
        }
    }

    /// A file of its own that has lain in the store for so long that a vacuum may be near (H19). Files that an entry of the main table names are no vacuum's (DLQ-1).
    pub(crate) fn aged(&self, now: Instant) -> Option<&StagedFile> {
        let (files, outbox) = match self {
            Change::Append { append, .. } => (append.files.as_slice(), append.outbox.as_ref()),
            Change::Rewrite(rewrite) => (rewrite.added(), None),
            Change::Replay { replay, .. } => (replay.files.as_slice(), Some(&replay.outbox)),
            Change::Begin(_) | Change::Mend(_) | Change::Publish(_) => return None,
        };
        let rejects = outbox.into_iter().flat_map(|outbox| &outbox.files);
        let is_aged = |file: &&StagedFile| file.is_aged(now) && !trial::has(Bug::AgedFiles);
        files.iter().chain(rejects).find(is_aged)
    }

    /// Tells a simulation what became of it.
    pub(crate) fn note(&self, id: &str, outcome: &CommitOutcome) {
        if let Change::Append { .. } | Change::Rewrite(_) = self {
            trial::note(id, outcome);
        }
    }

    /// Whether it rests on files that only the entries since its base can vouch for: a base that must be taken afresh says nothing about them.
    pub(crate) fn rests_on_files(&self) -> bool {
        match self {
            Change::Rewrite(_) => true,
            Change::Publish(publication) => !publication.replaced.is_empty(),
            Change::Append { .. } | Change::Begin(_) | Change::Mend(_) | Change::Replay { .. } => {
                false
            }
        }
    }

    /// Whether somebody else's commit on top of `base` excludes the change for good, whatever the offsets are now.
    pub(crate) fn excluded_by(&self, base: &State, entry: &Entry) -> Option<Refusal> {
        let append = match self {
            Change::Append { append, .. } => append,
            Change::Rewrite(rewrite) => return rewrite::excluded_by(rewrite, base, entry),
            Change::Publish(publication) => return publication.excluded_by(base, entry),
            Change::Replay { .. } => return outbox::replay_excluded_by(base, entry),
            Change::Begin(_) | Change::Mend(_) => return None,
        };
        let moved = steps(append)
            .map(|(topic_partition, _)| topic_partition)
            .find(|topic_partition| {
                let incarnation = base
                    .shape
                    .sources
                    .incarnation(topic_partition)
                    .unwrap_or_default();
                let app_id = app_id(topic_partition, incarnation);
                entry.txns.iter().any(|txn| txn.app_id == app_id) && !trial::has(Bug::TxnLowered)
            })?;
        let author = entry
            .info
            .engine_info
            .as_deref()
            .unwrap_or("an unnamed engine");
        Some(Refusal::Superseded(format!(
            "version {} by {author} moved {moved}",
            base.version + 1
        )))
    }

    fn check(&self, table: &Table) -> Result<(), Refusal> {
        let (base, handed_out) = (&table.state, &table.handed_out);
        base.judge(&table.store)
            .map_err(|error| Refusal::Conflict(error.to_string()))?;
        let (id, id_handed_out) = (&base.shape.metadata.id, &handed_out.shape.metadata.id);
        if id != id_handed_out {
            return Err(Refusal::Conflict(format!(
                "the table was replaced by another one: its id was {id_handed_out} and is {id}"
            )));
        }
        match self {
            Change::Append { append, .. } => check_append(table, append),
            Change::Rewrite(_) => check_files(table),
            Change::Replay { replay, .. } => {
                outbox::check_replay(replay, base)
                    .and_then(|()| check_new_files(table, replay.columns.as_ref()))
            }
            Change::Publish(publication) => publication.check(base),
            Change::Begin(starts) => starts
                .iter()
                .try_for_each(|start| check_known(base, &start.topic))
                .map_err(|(name, reason)| Refusal::Conflict(format!("the table holds offsets of {name} but its property lakeward.sources {reason}"))),
            Change::Mend(mending) => mend::check(base, mending),
        }
    }
}

/// The steps that move an offset.
fn steps(append: &Append) -> impl Iterator<Item = (&TopicPartition, &Step)> {
    append
        .advance
        .steps()
        .filter(|(_, step)| !step.span.is_empty())
}

fn check_append(table: &Table, append: &Append) -> Result<(), Refusal> {
    let (base, handed_out) = (&table.state, &table.handed_out);
    if steps(append).next().is_none() {
        return Err(Refusal::Conflict(
            "files without an advance cannot be committed (OFF-4)".to_owned(),
        ));
    }
    if !append.files.is_empty() {
        check_new_files(table, append.columns.as_ref())?;
    }
    for (topic_partition, step) in steps(append) {
        let incarnation = base.shape.sources.incarnation(topic_partition);
        if incarnation != handed_out.sources.incarnation(topic_partition) {
            return Err(Refusal::Superseded(format!(
                "the entry of {topic_partition} in lakeward.sources changed"
            )));
        }
        // OFF-3: the offset in exactly the version that the commit is based on.
        let committed = incarnation
            .and_then(|incarnation| base.txns.get(&app_id(topic_partition, incarnation)))
            .copied();
        let is_base = committed == Some(step.span.start())
            || trial::has(Bug::NoBaseCheck)
            || (trial::has(Bug::TxnLowered) && committed > Some(step.span.start()));
        if !is_base {
            let committed =
                committed.map_or_else(|| "no offset".to_owned(), |offset| offset.to_string());
            return Err(Refusal::Superseded(format!(
                "{topic_partition} stands at {committed} in version {}, not at {} (OFF-3)",
                base.version,
                step.span.start()
            )));
        }
    }
    Ok(())
}

/// Files written for the table as it was handed out must still be files of it.
fn check_files(table: &Table) -> Result<(), Refusal> {
    let (base, handed_out) = (&table.state, &table.handed_out);
    schema::covers(&base.shape.schema, &handed_out.shape.schema, "")
        .map_err(|reason| Refusal::Conflict(format!("the schema changed: {reason}")))?;
    check_partition_columns(table)
}

/// Files for a table that may be given the columns that it lacks: they come with the commit; what another instance added meanwhile is there already.
fn check_new_files(table: &Table, columns: Option<&SchemaRef>) -> Result<(), Refusal> {
    if columns.is_none() {
        return check_files(table);
    }
    check_partition_columns(table)?;
    evolve::growth(&table.state, columns)
        .map(drop)
        .map_err(|reason| Refusal::Conflict(format!("the schema changed: {reason}")))
}

fn check_partition_columns(table: &Table) -> Result<(), Refusal> {
    let (base, handed_out) = (&table.state, &table.handed_out);
    if base.shape.metadata.partition_columns != handed_out.shape.metadata.partition_columns {
        return Err(Refusal::Conflict(
            "the table partition columns changed".to_owned(),
        ));
    }
    Ok(())
}

fn plan_append(table: &Table, append: &Append, name: &str, mut info: Info) -> Result<Bytes, Error> {
    let base = &table.state;
    let mut after = base.watermark.clone();
    let mut txns = Vec::new();
    let mut spans = Vec::new();
    for (topic_partition, step) in steps(append) {
        let incarnation = base
            .shape
            .sources
            .incarnation(topic_partition)
            .unwrap_or_default();
        let app_id = app_id(topic_partition, incarnation);
        if let Some(timestamp_ms) = step.counts.max_timestamp_ms {
            after.raise(&app_id, timestamp_ms);
        }
        spans.push(Span::new(
            &topic_partition.topic,
            topic_partition.number,
            incarnation,
            step,
        ));
        txns.push(Txn {
            app_id,
            version: step.span.end(),
        });
        txns.extend(tail_txns(base, topic_partition, incarnation, step));
    }
    let all = base
        .shape
        .sources
        .topic_partitions()
        .map(|(topic_partition, incarnation)| app_id(&topic_partition, incarnation))
        .collect::<Vec<_>>();
    let valid_through = after
        .valid_through_ms(all.iter().map(String::as_str))
        .and_then(watermark::to_text);
    info.operation_metrics = written(&append.files);
    let outbox = append
        .outbox
        .as_ref()
        .map(|outbox| Manifest::of(outbox, base));
    txns.extend(outbox.as_ref().map(|outbox| outbox.txn(base.version + 1)));
    info.lakeward = Some(Lakeward {
        name: name.to_owned(),
        spans,
        valid_through,
        outbox,
        mended: Vec::new(),
    });
    let growth = append.columns.as_ref().filter(|_| !append.files.is_empty());
    let growth = evolve::growth(base, growth)
        .map_err(|reason| Error::Bug(format!("the schema was to fit, but {reason}")))?;
    Draft {
        info,
        protocol: growth.as_ref().and_then(|growth| growth.protocol.as_ref()),
        metadata: growth.as_ref().map(|growth| &growth.metadata),
        txns,
        files: &append.files,
    }
    .to_bytes()
}

/// What the next reader holds against the log; what was known before does not reach over records that tell nothing.
fn tail_txns(
    base: &State,
    topic_partition: &TopicPartition,
    incarnation: Incarnation,
    step: &Step,
) -> Vec<Txn> {
    match step.lineage.last() {
        None if step.counts.polled() > 0 || has_tail(base, topic_partition, incarnation) => {
            Vec::new()
        }
        // Offsets without a record bring no leader epoch. Where no record was read before either, it is claimed that there was none from here on.
        None => unknown_txns(topic_partition, incarnation, step.span.start()),
        Some(Last::Told(tail)) => txns_of_tail(topic_partition, incarnation, tail),
        Some(Last::Untold) => forget_tail(base, topic_partition, incarnation, step.span.end()),
    }
}

/// Takes back what was known of the last record, if anything was.
pub(crate) fn forget_tail(
    base: &State,
    topic_partition: &TopicPartition,
    incarnation: Incarnation,
    at: i64,
) -> Vec<Txn> {
    if has_tail(base, topic_partition, incarnation) {
        unknown_txns(topic_partition, incarnation, at)
    } else {
        Vec::new()
    }
}

fn has_tail(base: &State, topic_partition: &TopicPartition, incarnation: Incarnation) -> bool {
    let [epoch, _] = tail_app_ids(topic_partition, incarnation);
    base.txns.contains_key(&epoch)
}

/// Says that nothing is known of what lies before `end`.
fn unknown_txns(topic_partition: &TopicPartition, incarnation: Incarnation, end: i64) -> Vec<Txn> {
    let tail = Tail {
        leader_epoch: UNKNOWN_LEADER_EPOCH,
        end,
    };
    txns_of_tail(topic_partition, incarnation, tail)
}

/// Says what the last record was.
pub(crate) fn txns_of_tail(
    topic_partition: &TopicPartition,
    incarnation: Incarnation,
    tail: Tail,
) -> Vec<Txn> {
    let values = [i64::from(tail.leader_epoch), tail.end];
    let txn = |(app_id, version)| Txn { app_id, version };
    let app_ids = tail_app_ids(topic_partition, incarnation);
    app_ids.into_iter().zip(values).map(txn).collect()
}

fn written(files: &[StagedFile]) -> BTreeMap<&'static str, String> {
    let total = |of: fn(&StagedFile) -> u64| files.iter().map(of).sum::<u64>().to_string();
    BTreeMap::from([
        ("numAddedFiles", files.len().to_string()),
        ("numOutputBytes", total(|file| file.size_bytes)),
        ("numOutputRows", total(|file| file.rows)),
    ])
}

fn plan_begin(table: &Table, starts: &[TopicStart], info: Info) -> Result<Plan, Error> {
    let shape = &table.state.shape;
    let mut sources: Sources = shape.sources.clone();
    let begun = sources.begin(starts);
    if begun.is_empty() {
        return Ok(Plan::Nothing);
    }
    let txns = begun
        .into_iter()
        .map(|(topic_partition, version)| Txn {
            app_id: app_id(&topic_partition, Incarnation(0)),
            version,
        })
        .collect();
    let property = sources
        .to_property()
        .map_err(|error| Error::Bug(format!("the sources cannot be written ({error})")))?;
    let mut metadata: Metadata = shape.metadata.clone();
    metadata
        .configuration
        .insert(sources::PROPERTY.to_owned(), property);
    Draft {
        info,
        protocol: None,
        metadata: Some(&metadata),
        txns,
        files: &[],
    }
    .to_bytes()
    .map(Plan::Put)
}

fn info(id: &str, started_ms: i64) -> Info {
    Info {
        timestamp: started_ms,
        operation: "STREAMING UPDATE",
        operation_parameters: BTreeMap::from([("outputMode", "Append".to_owned())]),
        operation_metrics: BTreeMap::new(),
        engine_info: engine_info(),
        is_blind_append: true,
        txn_id: id.to_owned(),
        lakeward: None,
    }
}
