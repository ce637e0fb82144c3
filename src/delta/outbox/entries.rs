//! The two commits of rejected records beside the append that names them: the one that shows them in their own table, and the one that takes a replay into the main
//! table. Owns what excludes them and what they look like; decides on one base, does no I/O.

use std::collections::BTreeMap;

use bytes::Bytes;
use serde::Serialize;

use crate::delta::actions::{Entry, Txn, decode_path};
use crate::delta::change::{Plan, Refusal};
use crate::delta::entry::{Add, Draft, Info, Lakeward};
use crate::delta::error::Error;
use crate::delta::evolve;
use crate::delta::outbox::manifest::{Manifest, REPLAY, Taken};
use crate::delta::state::State;
use crate::model::commit::{Replay, StagedFile};
use crate::trial::{self, Bug};

/// Rejected records of a main table that are to be shown, up to one of its versions.
#[derive(Debug)]
pub(crate) struct Publication {
    /// The txn that moves.
    pub(crate) app_id: String,
    /// Where it stands.
    pub(crate) from: Option<i64>,
    /// Where it is then: all up to this version of the main table is shown.
    pub(crate) through: u64,
    pub(crate) files: Vec<StagedFile>,
    pub(crate) replaced: Vec<Taken>,
}

impl Publication {
    /// DLQ-1: it is made only where its txn stands as it did when the outbox was read.
    pub(crate) fn check(&self, base: &State) -> Result<(), Refusal> {
        let stands = base.txns.get(&self.app_id).copied();
        if stands == self.from || trial::has(Bug::PublishedTwice) {
            return Ok(());
        }
        Err(Refusal::Superseded(format!(
            "version {} has the txn {} at {stands:?}, not at {:?} (DLQ-1)",
            base.version, self.app_id, self.from
        )))
    }

    /// Somebody who publishes the same was faster, or took one of the files that are to be replaced.
    pub(crate) fn excluded_by(&self, base: &State, entry: &Entry) -> Option<Refusal> {
        let is_moved = entry.txns.iter().any(|txn| txn.app_id == self.app_id);
        if is_moved && !trial::has(Bug::PublishedTwice) {
            return Some(Refusal::Superseded(format!(
                "version {} published it (DLQ-1)",
                base.version + 1
            )));
        }
        let touched = self.replaced.iter().find(|file| {
            let key = decode_path(&file.path);
            entry.touched.contains(&key)
        })?;
        Some(Refusal::Conflict(format!(
            "version {} took out or rewrote `{}`",
            base.version + 1,
            touched.path
        )))
    }

    pub(crate) fn entry(&self, mut info: Info, now_ms: i64) -> Result<Bytes, Error> {
        let rows = self.files.iter().map(|file| file.rows).sum::<u64>();
        info.operation_metrics = BTreeMap::from([
            ("numAddedFiles", self.files.len().to_string()),
            ("numRemovedFiles", self.replaced.len().to_string()),
            ("numOutputRows", rows.to_string()),
        ]);
        info.is_blind_append = self.replaced.is_empty();
        let txn = Txn {
            app_id: self.app_id.clone(),
            version: i64::try_from(self.through).unwrap_or(i64::MAX),
        };
        let mut text = Vec::new();
        let mut line = |action: Action<'_>| -> Result<(), Error> {
            serde_json::to_writer(&mut text, &action)
                .map_err(|error| Error::Bug(format!("a log entry cannot be written ({error})")))?;
            text.push(b'\n');
            Ok(())
        };
        line(Action::CommitInfo(&info))?;
        line(Action::Txn(&txn))?;
        for file in &self.replaced {
            line(Action::Remove(Remove {
                path: &file.path,
                deletion_timestamp: now_ms,
                data_change: true,
                extended_file_metadata: true,
                partition_values: BTreeMap::new(),
                size: file.size,
            }))?;
        }
        for file in &self.files {
            line(Action::Add(Add::new(file, true)))?;
        }
        Ok(text.into())
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
enum Action<'a> {
    CommitInfo(&'a Info),
    Txn(&'a Txn),
    Remove(Remove<'a>),
    Add(Add<'a>),
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Remove<'a> {
    path: &'a str,
    deletion_timestamp: i64,
    data_change: bool,
    extended_file_metadata: bool,
    partition_values: BTreeMap<String, String>,
    size: u64,
}

/// A replay counts only if no other one came since its records were read (DLQ-1).
pub(crate) fn check_replay(replay: &Replay, base: &State) -> Result<(), Refusal> {
    let stands = base.txns.get(REPLAY).copied();
    if stands == replay.follows {
        return Ok(());
    }
    Err(Refusal::Superseded(format!(
        "version {} has the txn {REPLAY} at {stands:?}, not at {:?}: another replay was faster (DLQ-1)",
        base.version, replay.follows
    )))
}

/// Another replay was faster.
pub(crate) fn replay_excluded_by(base: &State, entry: &Entry) -> Option<Refusal> {
    let is_moved = entry.txns.iter().any(|txn| txn.app_id == REPLAY);
    is_moved.then(|| {
        Refusal::Superseded(format!(
            "version {} is another replay (DLQ-1)",
            base.version + 1
        ))
    })
}

/// The main table's entry of a replay: rows without an advance, and the coordinates that they have.
pub(crate) fn plan_replay(
    replay: &Replay,
    base: &State,
    name: &str,
    mut info: Info,
) -> Result<Plan, Error> {
    let version = base.version + 1;
    let manifest = Manifest::of_replay(replay, base);
    let txns = vec![
        manifest.txn(version),
        Txn {
            app_id: REPLAY.to_owned(),
            version: i64::try_from(version).unwrap_or(i64::MAX),
        },
    ];
    let rows = replay.files.iter().map(|file| file.rows).sum::<u64>();
    info.operation_metrics = BTreeMap::from([
        ("numAddedFiles", replay.files.len().to_string()),
        ("numOutputRows", rows.to_string()),
    ]);
    info.lakeward = Some(Lakeward {
        name: name.to_owned(),
        spans: Vec::new(),
        valid_through: None,
        outbox: Some(manifest),
        mended: Vec::new(),
    });
    let growth = evolve::growth(base, replay.columns.as_ref())
        .map_err(|reason| Error::Bug(format!("the schema was to fit, but {reason}")))?;
    Draft {
        info,
        protocol: growth.as_ref().and_then(|growth| growth.protocol.as_ref()),
        metadata: growth.as_ref().map(|growth| &growth.metadata),
        txns,
        files: &replay.files,
    }
    .to_bytes()
    .map(Plan::Put)
}
