//! Rejected records: those that the commits of the main table name, held against the table that shows them (DLQ-1). Owns what is shown, what is named only, and what must
//! be neither twice nor gone.

use std::collections::BTreeMap;
use std::sync::Arc;

use object_store::ObjectStoreExt as _;
use object_store::path::Path;

use crate::ops::exit::Failure;
use crate::ops::output::thousands;
use crate::ops::verify::audit::{Depth, Subject, replay};
use crate::ops::verify::history::{History, LiveFile};
use crate::ops::verify::log::{self, Outbox};
use crate::ops::verify::report::{Kind, Report};
use crate::ops::verify::rows;
use crate::ops::waiting::Patience;

/// Audits the rejected records of a table.
pub(super) async fn audit(
    subject: &Subject,
    history: &mut History,
    depth: Depth<'_>,
    report: &mut Report,
    patience: &Patience,
) -> Result<(), Failure> {
    for (folder, outboxes) in std::mem::take(&mut history.outboxes) {
        let Some(objects) = subject.rejected.get(&folder) else {
            report.unproved(format!(
                "the rejected records in `{folder}`: the config does not name that table (errors.table)"
            ));
            continue;
        };
        let beside = Subject {
            objects: Arc::clone(objects),
            prefix: "_kafka_".to_owned(),
            rejected: BTreeMap::new(),
        };
        let Some(listing) = log::list(objects, patience).await? else {
            report.unproved(format!(
                "the rejected records in `{folder}`: that table was dropped"
            ));
            continue;
        };
        let mut rejected = replay(&beside, &listing, report, patience).await?;
        let shown = history
            .table_id
            .as_ref()
            .and_then(|id| rejected.shown.get(id));
        let shown = shown.map_or(0, |version| u64::try_from(*version).unwrap_or(0));
        let unshown = outboxes.range(shown.saturating_add(1)..);
        let mut waiting = 0;
        for (version, outbox) in unshown {
            waiting +=
                take_in(&beside, &mut rejected, (*version, outbox), report, patience).await?;
        }
        let rejected_count = if matches!(depth, Depth::Log) {
            None
        } else {
            Some(judge(&beside, history, &mut rejected, report, patience).await?)
        };
        let kept: u64 = history
            .lives
            .values()
            .flat_map(|progress| &progress.tiles)
            .map(|tile| tile.kept)
            .sum();
        let read = if rejected_count.is_some() {
            ", each once"
        } else {
            ""
        };
        report.fact(
            &[Kind::Log, Kind::MissingFile, Kind::LostReject, Kind::DuplicateRow, Kind::StrayRow],
            format!(
                "{} rejected records are in `{folder}`{read}; {} of them wait to be published by the next owner",
                thousands(rejected_count.unwrap_or(kept)),
                thousands(waiting)
            ),
        );
    }
    Ok(())
}

/// What is named and not shown yet must be there, and counts as if it were shown. Answers with its records.
async fn take_in(
    beside: &Subject,
    rejected: &mut History,
    (version, outbox): (u64, &Outbox),
    report: &mut Report,
    patience: &Patience,
) -> Result<u64, Failure> {
    for taken in &outbox.replaced {
        if let Ok(path) = Path::from_url_path(&taken.path) {
            rejected.files.remove(&path);
        }
    }
    let mut waiting = 0;
    for file in &outbox.files {
        let Ok(path) = Path::parse(&file.path) else {
            continue;
        };
        let head = beside.objects.head(&path);
        match patience.wait("the store (`storage.url`)", head).await? {
            Ok(there) if there.size == file.size => {}
            Ok(_) | Err(object_store::Error::NotFound { .. }) => {
                report.finding(Kind::MissingFile, || {
                    format!(
                        "version {version} rejects {} records in {}/{path}, which is gone or has another size (DLQ-1)",
                        file.rows, outbox.table
                    )
                });
                continue;
            }
            Err(error) => return Err(log::unavailable(&format!("cannot look at {path}"), error)),
        }
        waiting += file.rows;
        rejected.files.insert(
            path,
            LiveFile {
                size: file.size,
                stats: None,
                partition_values: std::collections::HashMap::new(),
                has_deletion_vector: false,
                appended_at: None,
            },
        );
    }
    Ok(waiting)
}

/// Reads the rejected records: each coordinate once, inside its span, as many as the spans reject. Answers with their number.
async fn judge(
    beside: &Subject,
    history: &mut History,
    rejected: &mut History,
    report: &mut Report,
    patience: &Patience,
) -> Result<u64, Failure> {
    // The spans are the main table's.
    std::mem::swap(&mut rejected.lives, &mut history.lives);
    let rows = rows::read(beside, rejected, report, patience).await;
    std::mem::swap(&mut rejected.lives, &mut history.lives);
    let rows = rows?;
    for (life, progress) in &history.lives {
        for tile in &progress.tiles {
            let there = rows.count(life, tile.start, tile.end);
            if there < tile.kept && rejected.deleted_by_others {
                report.unproved(format!(
                    "rejected records of {life}: others deleted some, so fewer than the spans say may be right"
                ));
            } else if there != tile.kept {
                report.findings(Kind::LostReject, there.abs_diff(tile.kept), || {
                    format!(
                        "{life}: the span [{}, {}) rejects {} records, the table of rejected records holds {there} (DLQ-1)",
                        tile.start, tile.end, tile.kept
                    )
                });
            }
        }
    }
    Ok(rows.len())
}
