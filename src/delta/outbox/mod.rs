//! Rejected records on their way to their own table (DLQ-1). A commit of the main table decides what is rejected, names the files that hold it, and moves the txn
//! `lakeward/outbox:<folder>` to its own version; the files lie in the other table's folder already, unseen. Publishing walks from that txn back over `prev`, down to the
//! other table's txn `lakeward/outbox/<main table's id>`, and shows all in one commit that is checked against that txn. Whoever comes first does it. Owns that protocol
//! and the making of the table; writes no data file.
//!
//! | a process dies | then |
//! |---|---|
//! | before the main commit | the files are in no commit; the records are read again |
//! | between both commits | the next one to come publishes |
//! | after the second | its txn says so |
//! | while two publish at once | the txn lets one of them through |

mod entries;
mod manifest;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use object_store::ObjectStoreExt as _;
use object_store::path::Path;
use serde_json::Value;

use crate::clock::Clock;
use crate::delta::actions::decode_path;
use crate::delta::error::Error;
use crate::delta::files::{Extent, FileList};
use crate::delta::log;
use crate::delta::schema;
use crate::delta::table::{Creation, Table};
use crate::model::commit::CommitOutcome;

pub(crate) use entries::{Publication, check_replay, plan_replay, replay_excluded_by};
pub(crate) use manifest::{Manifest, REPLAY};
use manifest::{heads, shown_app_id, shown_of};

/// Commits of the main table that one publication covers; more are published one after the other.
const VERSIONS_MAX: usize = 200;
/// How often a publication that lost its race is looked at again.
const TRIES_MAX: u32 = 8;
const MAPPING_VERSION: u32 = 1;

/// What a publishing did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Published {
    /// Commits of tables of rejected records.
    pub commits: u64,
    /// Rejected records that they show.
    pub rows: u64,
}

/// Makes and fills tables of rejected records.
pub struct Publisher {
    clock: Clock,
    /// The tables of rejected records by folder; `None` for one that was dropped.
    tables: BTreeMap<String, Option<Table>>,
}

impl fmt::Debug for Publisher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Publisher")
            .field("tables", &self.tables.keys())
            .finish_non_exhaustive()
    }
}

impl Publisher {
    /// A publisher that has no table open.
    pub fn new(clock: &Clock) -> Self {
        Publisher {
            clock: clock.clone(),
            tables: BTreeMap::new(),
        }
    }

    /// Makes sure, before anything is named for it, that there is a table with these columns in `folder`, which knows the main table.
    pub async fn prepare(
        &mut self,
        main: &Table,
        folder: &str,
        columns: &SchemaRef,
    ) -> Result<(), Error> {
        let app_id = shown_app_id(main.id());
        let is_known = |table: &Table| table.state.txns.contains_key(&app_id);
        if self.table(folder).is_some_and(is_known) {
            return Ok(());
        }
        let creation = Creation {
            columns: Arc::clone(columns),
            partition_columns: Vec::new(),
            properties: BTreeMap::new(),
            mapping_version: MAPPING_VERSION,
        };
        let store = main.store.beside(folder)?;
        let mut table = Box::pin(Table::create(&store, &creation, &[], &self.clock)).await?;
        schema::fit(&table, columns, &[])?;
        if !is_known(&table) {
            self.introduce(&mut table, main, folder, app_id).await?;
        }
        self.tables.insert(folder.to_owned(), Some(table));
        Ok(())
    }

    /// The table of rejected records in `folder`, where it is open.
    pub fn table(&self, folder: &str) -> Option<&Table> {
        self.tables.get(folder)?.as_ref()
    }

    /// Tells a table of rejected records of a main table that it does not know.
    async fn introduce(
        &self,
        table: &mut Table,
        main: &Table,
        folder: &str,
        app_id: String,
    ) -> Result<(), Error> {
        let named = heads(&main.state).get(folder).copied();
        if let Some(version) = named {
            // Nothing is named for a table that does not know the main one: somebody dropped it since.
            tracing::warn!(
                table = main.location(),
                folder,
                version,
                "the table of rejected records was dropped and is made anew; what it held or was still to get, up to this version of the main table, is gone"
            );
        }
        let publication = Publication {
            app_id,
            from: None,
            through: named.unwrap_or(0),
            files: Vec::new(),
            replaced: Vec::new(),
        };
        match table.publish(&publication).await {
            CommitOutcome::Committed(_) | CommitOutcome::Superseded(_) => Ok(()),
            CommitOutcome::Conflict(reason) => Err(table.store.damaged(table.version(), reason)),
            CommitOutcome::Unknown(reason) => Err(table
                .store
                .failed("make the table of rejected records", reason)),
        }
    }

    /// Shows whatever commits of the main table have named and nobody has shown yet.
    pub async fn publish(&mut self, main: &Table) -> Result<Published, Error> {
        let mut done = Published::default();
        for (folder, head) in heads(&main.state) {
            let mut tries = 0;
            loop {
                let next = match self.next(main, &folder, head).await {
                    // A process that stood still sees what others have published and cleaned up since.
                    Err(Error::OutboxLost { .. }) if self.has_moved(main, &folder).await? => {
                        continue;
                    }
                    next => next?,
                };
                let Some((publication, left)) = next else {
                    break;
                };
                let Some(Some(table)) = self.tables.get_mut(&folder) else {
                    break;
                };
                match Box::pin(table.publish(&publication)).await {
                    CommitOutcome::Committed(_) => {
                        done.commits += 1;
                        done.rows += publication.files.iter().map(|it| it.rows).sum::<u64>();
                        if left == 0 {
                            break;
                        }
                    }
                    CommitOutcome::Superseded(_) if tries < TRIES_MAX => tries += 1,
                    CommitOutcome::Conflict(reason) => {
                        return Err(lost(main, head, format!("cannot be published: {reason}")));
                    }
                    CommitOutcome::Superseded(reason) | CommitOutcome::Unknown(reason) => {
                        return Err(table.store.failed("publish rejected records", reason));
                    }
                }
                // What is next is judged on the newest version.
                table.refresh().await?;
            }
        }
        Ok(done)
    }

    /// Versions of the main table whose rejected records nobody has shown yet, for each folder with any: their entries and files are needed.
    pub async fn unpublished(&mut self, main: &Table) -> Result<BTreeMap<String, Vec<u64>>, Error> {
        let mut all = BTreeMap::new();
        for (folder, head) in heads(&main.state) {
            if let Some(versions) = self.versions(main, &folder, head).await?
                && !versions.is_empty()
            {
                all.insert(folder, versions);
            }
        }
        Ok(all)
    }

    /// The files in `folder` that the main table has named and nobody has shown yet: unseen, and needed.
    pub async fn unseen(&mut self, main: &Table, folder: &str) -> Result<BTreeSet<String>, Error> {
        let mut keys = BTreeSet::new();
        let Some(head) = heads(&main.state).get(folder).copied() else {
            return Ok(keys);
        };
        for version in self.versions(main, folder, head).await?.unwrap_or_default() {
            let (manifest, _) = read(main, version, folder).await?;
            keys.extend(manifest.files.iter().map(|file| file.to_staged().path));
        }
        Ok(keys)
    }

    /// Descending; `None` when the table was dropped.
    async fn versions(
        &mut self,
        main: &Table,
        folder: &str,
        head: u64,
    ) -> Result<Option<Vec<u64>>, Error> {
        let Some(shown) = self.shown(main, folder).await? else {
            return Ok(None);
        };
        let mut versions = Vec::new();
        let mut next = Some(head).filter(|head| *head > shown);
        while let Some(version) = next {
            let (manifest, _) = read(main, version, folder).await?;
            versions.push(version);
            next = manifest
                .prev
                .filter(|prev| *prev > shown && *prev < version);
        }
        Ok(Some(versions))
    }

    /// Reads the table of rejected records on; whether somebody has published meanwhile.
    async fn has_moved(&mut self, main: &Table, folder: &str) -> Result<bool, Error> {
        let before = self.shown(main, folder).await?;
        if let Some(Some(table)) = self.tables.get_mut(folder) {
            table.refresh().await?;
        }
        Ok(self.shown(main, folder).await? != before)
    }

    /// The main table's newest version that is shown; `None` when the table was dropped, and with it what it held.
    async fn shown(&mut self, main: &Table, folder: &str) -> Result<Option<u64>, Error> {
        if !self.tables.contains_key(folder) {
            let store = main.store.beside(folder)?;
            let table = Box::pin(Table::load(&store, &self.clock)).await?;
            if table.is_none() {
                tracing::warn!(
                    table = main.location(),
                    folder,
                    "the table of rejected records was dropped"
                );
            }
            self.tables.insert(folder.to_owned(), table);
        }
        let app_id = shown_app_id(main.id());
        let shown = self
            .table(folder)
            .and_then(|table| table.state.txns.get(&app_id));
        Ok(shown.map(|version| u64::try_from(*version).unwrap_or(0)))
    }

    /// The oldest that is not shown, as one publication; with the number of versions that are left after it.
    async fn next(
        &mut self,
        main: &Table,
        folder: &str,
        head: u64,
    ) -> Result<Option<(Publication, usize)>, Error> {
        let Some(mut versions) = self.versions(main, folder, head).await? else {
            return Ok(None);
        };
        let left = versions.len().saturating_sub(VERSIONS_MAX);
        let chosen = versions.split_off(left);
        let (Some(through), Some(table)) = (chosen.first().copied(), self.table(folder)) else {
            return Ok(None);
        };
        let app_id = shown_app_id(main.id());
        let mut publication = Publication {
            from: table.state.txns.get(&app_id).copied(),
            app_id,
            through,
            files: Vec::new(),
            replaced: Vec::new(),
        };
        for version in chosen.into_iter().rev() {
            let (manifest, spans) = read(main, version, folder).await?;
            for file in &manifest.files {
                let file = file.to_staged();
                let objects = table.store.objects();
                let path = Path::parse(&file.path)
                    .map_err(|error| lost(main, version, format!("have no path: {error}")))?;
                match objects.head(&path).await {
                    Ok(meta) if meta.size == file.size_bytes => publication.files.push(file),
                    Ok(meta) => {
                        return Err(lost(
                            main,
                            version,
                            format!(
                                "cannot be published: `{folder}/{path}` has {} bytes instead of {} ({spans})",
                                meta.size, file.size_bytes
                            ),
                        ));
                    }
                    Err(object_store::Error::NotFound { .. }) => {
                        return Err(lost(
                            main,
                            version,
                            format!("cannot be published: `{folder}/{path}` is gone ({spans})"),
                        ));
                    }
                    Err(error) => {
                        return Err(table.store.failed(format!("look at {path}"), error));
                    }
                }
            }
            // What one version adds a later one may take out again: then it is never shown.
            for taken in manifest.replaced {
                let key = decode_path(&taken.path);
                let before = publication.files.len();
                publication.files.retain(|file| file.path != key);
                if publication.files.len() == before {
                    publication.replaced.push(taken);
                }
            }
        }
        if !publication.replaced.is_empty() {
            check_live(table, main, &publication).await?;
        }
        Ok(Some((publication, left)))
    }
}

/// What is to be taken out must be there: else another engine has put its rows elsewhere.
async fn check_live(table: &Table, main: &Table, publication: &Publication) -> Result<(), Error> {
    let extent = Extent {
        through: Some(table.version()),
        ..Extent::default()
    };
    let files = FileList::load(&table.store, extent).await?;
    let gone = |path: &&str| !files.is_live(&decode_path(path));
    let paths = publication.replaced.iter().map(|file| file.path.as_str());
    match paths.clone().find(gone) {
        Some(path) => Err(lost(
            main,
            publication.through,
            format!(
                "were replayed, but `{path}` of {} was rewritten by another engine meanwhile and still shows them",
                table.location()
            ),
        )),
        None => Ok(()),
    }
}

/// What one version of the main table says of its rejected records in `folder`, and the offsets that it covers.
async fn read(main: &Table, version: u64, folder: &str) -> Result<(Manifest, String), Error> {
    let Some(read) = log::read(&main.store, version).await? else {
        return Err(lost(
            main,
            version,
            "cannot be published: its entry was cleaned up".to_owned(),
        ));
    };
    let lakeward = read.entry.info.lakeward.unwrap_or(Value::Null);
    let manifest = Manifest::read(&lakeward)
        .map_err(|reason| main.store.damaged(version, reason))?
        .filter(|manifest| manifest.table == folder)
        .ok_or_else(|| {
            // Also where its entry was cleaned up and a late put of another one landed in its place.
            lost(
                main,
                version,
                format!("cannot be published: its entry has none for `{folder}`"),
            )
        })?;
    Ok((manifest, spans(&lakeward)))
}

/// The offsets with rejected records, for people.
fn spans(lakeward: &Value) -> String {
    let spans = lakeward.get("spans").and_then(Value::as_array);
    let said = spans.into_iter().flatten().filter_map(|span| {
        let number = |name: &str| span.get(name).and_then(Value::as_i64);
        let rejects = number("rejects").filter(|rejects| *rejects > 0)?;
        Some(format!(
            "{rejects} in {}[{}] [{}, {})",
            span.get("topic")?.as_str()?,
            number("partition")?,
            number("start")?,
            number("end")?
        ))
    });
    said.collect::<Vec<_>>().join(", ")
}

impl FileList {
    /// The ids of the tables whose rejected records this one shows; empty for any other table.
    pub fn main_ids(&self) -> impl Iterator<Item = &str> {
        self.app_ids().filter_map(shown_of)
    }
}

fn lost(main: &Table, version: u64, reason: String) -> Error {
    Error::OutboxLost {
        location: main.location().to_owned(),
        version,
        reason,
    }
}

impl Table {
    /// The main table's last replay; a replay that is about to be made names it.
    pub fn last_replay(&self) -> Option<i64> {
        self.state.txns.get(REPLAY).copied()
    }
}
