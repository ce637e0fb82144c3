//! Other engines at work on the same table: appends, rewrites, new properties and columns, txns of their own, checkpoints with log clean-up. Owns what they do to the log,
//! and the entries that they cleaned up, which the oracle still reads.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use futures::{FutureExt as _, TryStreamExt as _};
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{ObjectStore as _, ObjectStoreExt as _, PutMode};
use serde_json::{Value, json};

use crate::pipeline::simulation::oracle;
use crate::testing::random::Random;

/// A table as other engines see it.
pub(super) struct Lake {
    objects: Arc<InMemory>,
    path: String,
    /// The table's folder at the far end, and that of its rejected records.
    root: String,
    rejected: String,
    /// Entries that were cleaned up.
    attic: BTreeMap<u64, String>,
    counted: u64,
}

impl Lake {
    pub(super) fn new(objects: Arc<InMemory>, path: &str) -> Lake {
        Lake {
            objects,
            path: path.to_owned(),
            root: format!("lake/{path}"),
            rejected: format!("lake/{path}__dlq"),
            attic: BTreeMap::new(),
            counted: 0,
        }
    }

    /// The table's folder under the lake.
    pub(super) fn path(&self) -> &str {
        &self.path
    }

    /// The bytes of one of the table's files.
    pub(super) fn file(&self, path: &str) -> Option<Bytes> {
        self.bytes(&self.root, path)
    }

    /// The bytes of a file of rejected records.
    pub(super) fn rejected_file(&self, path: &str) -> Option<Bytes> {
        self.bytes(&self.rejected, path)
    }

    fn bytes(&self, root: &str, path: &str) -> Option<Bytes> {
        let found = self
            .objects
            .get(&Path::from(format!("{root}/{path}")))
            .now_or_never()?;
        found.ok()?.bytes().now_or_never()?.ok()
    }

    /// The table of rejected records as the oracle reads it; empty while there is none.
    pub(super) fn rejected(&self) -> Result<oracle::Table, String> {
        oracle::read(&self.listed(&self.rejected))
            .map_err(|reason| format!("rejected records: {reason}"))
    }

    /// Every entry that counts: what lies in the log above the clean-up, and what was cleaned up. What arrived later below it never counted.
    pub(super) fn entries(&self) -> BTreeMap<u64, String> {
        let mut entries = self.attic.clone();
        for (version, text) in self.listed(&self.root) {
            entries.entry(version).or_insert(text);
        }
        entries
    }

    fn listed(&self, root: &str) -> BTreeMap<u64, String> {
        let mut entries = BTreeMap::new();
        let log = Path::from(format!("{root}/_delta_log"));
        let listed: Vec<_> = self
            .objects
            .list(Some(&log))
            .try_collect()
            .now_or_never()
            .unwrap()
            .unwrap();
        for meta in listed {
            let name = meta.location.filename().unwrap_or("");
            let Some(version) = name
                .strip_suffix(".json")
                .filter(|digits| digits.len() == 20)
                .and_then(|digits| digits.parse::<u64>().ok())
            else {
                continue;
            };
            let bytes = self.bytes(root, &format!("_delta_log/{name}")).unwrap();
            entries.insert(version, String::from_utf8(bytes.to_vec()).unwrap());
        }
        entries
    }

    /// The table as the oracle reads it.
    pub(super) fn read(&self) -> Result<oracle::Table, String> {
        oracle::read(&self.entries())
    }

    fn put(&self, path: &str, bytes: impl Into<Bytes>, mode: PutMode) {
        let location = Path::from(format!("{}/{path}", self.root));
        let put = self
            .objects
            .put_opts(&location, bytes.into().into(), mode.into());
        put.now_or_never().unwrap().unwrap();
    }

    fn commit(&mut self, version: u64, mut actions: Vec<Value>) {
        actions.insert(
            0,
            json!({"commitInfo": {"timestamp": 0, "operation": "FOREIGN", "engineInfo": "another engine"}}),
        );
        let lines: Vec<String> = actions.iter().map(Value::to_string).collect();
        self.put(
            &format!("_delta_log/{version:020}.json"),
            lines.join("\n"),
            PutMode::Create,
        );
    }

    fn name(&mut self, kind: &str) -> String {
        self.counted += 1;
        format!("{kind}-{}.parquet", self.counted)
    }

    /// One foreign act; answers what it was. Nothing while there is no table.
    pub(super) fn act(&mut self, random: &mut Random) -> Result<&'static str, String> {
        let table = self.read()?;
        if table.versions == 0 {
            return Ok("no table");
        }
        let version = table.versions;
        match random.within(0..=9) {
            0 | 1 => {
                let path = self.name("foreign");
                let add = json!({"add": {"path": path, "partitionValues": {}, "size": 1, "modificationTime": 0, "dataChange": true, "stats": "{\"numRecords\":0}"}});
                self.commit(version, vec![add]);
                Ok("append")
            }
            2 | 3 => Ok(self.rewrite(&table, random)),
            4 => {
                let mut metadata = table.metadata;
                metadata["configuration"][format!("foreign.{version}")] = json!("x");
                self.commit(version, vec![json!({"metaData": metadata})]);
                Ok("property")
            }
            5 => {
                let mut metadata = table.metadata;
                let mut schema: Value =
                    serde_json::from_str(metadata["schemaString"].as_str().unwrap()).unwrap();
                let column = json!({"name": format!("note_{version}"), "type": "string", "nullable": true, "metadata": {}});
                schema["fields"].as_array_mut().unwrap().push(column);
                metadata["schemaString"] = Value::String(schema.to_string());
                self.commit(version, vec![json!({"metaData": metadata})]);
                Ok("column")
            }
            6 => {
                let txn = json!({"txn": {"appId": "another", "version": version}});
                self.commit(version, vec![txn]);
                Ok("foreign txn")
            }
            _ => {
                self.clean_up(&table, None);
                Ok("clean-up")
            }
        }
    }

    /// Some files become one by another name: OPTIMIZE, as the log shows it.
    fn rewrite(&mut self, table: &oracle::Table, random: &mut Random) -> &'static str {
        let ours: Vec<&String> = table
            .live
            .keys()
            .filter(|path| !path.starts_with("foreign-"))
            .collect();
        if ours.is_empty() {
            return "nothing to rewrite";
        }
        let from = ours[random.index(ours.len())].clone();
        let to = self.name("rewritten");
        self.put(&to, self.file(&from).unwrap(), PutMode::Create);
        let mut add = table.live[&from].clone();
        add["path"] = json!(to);
        add["dataChange"] = json!(false);
        let remove = json!({"remove": {"path": from, "dataChange": false, "deletionTimestamp": 0}});
        self.commit(table.versions, vec![remove, json!({"add": add})]);
        "rewrite"
    }

    /// A checkpoint of the newest version, and away with the entries below it; `forgotten` loses its txn.
    pub(super) fn clean_up(&mut self, table: &oracle::Table, forgotten: Option<i32>) {
        let newest = table.versions - 1;
        let suffix = forgotten.map(|number| format!("/{number}"));
        let mut actions = vec![
            json!({"checkpointMetadata": {"version": newest}}),
            json!({"protocol": table.protocol}),
            json!({"metaData": table.metadata}),
        ];
        for (app, version) in &table.txns {
            if suffix.as_ref().is_none_or(|suffix| !app.ends_with(suffix)) {
                actions.push(json!({"txn": {"appId": app, "version": version}}));
            }
        }
        for add in table.live.values() {
            actions.push(json!({"add": add}));
        }
        let lines: Vec<String> = actions.iter().map(Value::to_string).collect();
        self.counted += 1;
        let id = uuid::Uuid::from_u128(u128::from(self.counted));
        self.put(
            &format!("_delta_log/{newest:020}.checkpoint.{id}.json"),
            lines.join("\n"),
            PutMode::Create,
        );
        let hint = json!({"version": newest, "size": actions.len()}).to_string();
        self.put("_delta_log/_last_checkpoint", hint, PutMode::Overwrite);
        // Nobody cleans up so soon what is still to be published.
        // What is wrong with them is for the reckoning.
        let rejected = self.rejected().unwrap_or_default();
        let unpublished = oracle::unpublished(table, &rejected);
        let kept = unpublished.keys().next().copied().unwrap_or(newest);
        let below: Vec<(u64, String)> = self
            .entries()
            .into_iter()
            .filter(|(version, _)| *version < newest.min(kept))
            .collect();
        for (version, text) in below {
            let path = Path::from(format!("{}/_delta_log/{version:020}.json", self.root));
            self.objects.delete(&path).now_or_never().unwrap().unwrap();
            self.attic.entry(version).or_insert(text);
        }
    }
}
