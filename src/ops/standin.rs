//! Stand-ins for rooms that are written in parallel, with the signatures agreed; deleted at the merge. Owns nothing.

pub(crate) mod config {
    use std::fmt;
    use std::path::Path;

    use crate::config::Config;

    #[derive(Debug)]
    pub(crate) struct Problems;

    impl fmt::Display for Problems {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("the config room is not merged")
        }
    }

    pub(crate) fn load(_path: &Path) -> Result<Config, Problems> {
        Err(Problems)
    }

    pub(crate) mod reference {
        pub(crate) fn markdown() -> String {
            String::new()
        }
        pub(crate) fn json_schema() -> String {
            String::new()
        }
    }
}

pub(crate) mod pipeline {
    use std::sync::Arc;

    use crate::clock::Clock;
    use crate::config::Config;
    use crate::error::Kind;
    use crate::metrics::Metrics;

    pub(crate) use status::Status;

    #[derive(Debug, Clone, Default)]
    pub(crate) struct RunOptions {
        pub(crate) until_caught_up: bool,
        pub(crate) tables: Vec<String>,
    }

    #[derive(Debug, Clone, Default)]
    pub(crate) struct Stop;

    impl Stop {
        pub(crate) fn new() -> Self {
            Stop
        }
        pub(crate) fn drain(&self) {}
    }

    #[derive(Debug, thiserror::Error)]
    #[error("the pipeline room is not merged")]
    pub(crate) struct Error;

    impl Error {
        pub(crate) fn kind(&self) -> Kind {
            Kind::Bug
        }
    }

    pub(crate) fn run(
        _config: Arc<Config>,
        _options: RunOptions,
        _clock: Clock,
        _metrics: Arc<Metrics>,
        _status: Arc<Status>,
        _stop: Stop,
    ) -> Result<(), Error> {
        Err(Error)
    }

    pub(crate) mod status {
        use crate::model::batch::Reject;

        #[derive(Debug, Default)]
        pub(crate) struct Status;

        impl Status {
            pub(crate) fn new() -> Self {
                Status
            }
            pub(crate) fn snapshot(&self) -> StatusSnapshot {
                StatusSnapshot {
                    ready: Err("starting".into()),
                    tables: Vec::new(),
                    memory_used_bytes: 0,
                    memory_limit_bytes: 0,
                }
            }
        }

        #[derive(Debug, Clone)]
        pub(crate) struct StatusSnapshot {
            pub(crate) ready: Result<(), String>,
            pub(crate) tables: Vec<TableStatus>,
            pub(crate) memory_used_bytes: u64,
            pub(crate) memory_limit_bytes: u64,
        }

        #[derive(Debug, Clone)]
        pub(crate) enum TableState {
            Starting,
            Running,
            Suspended(String),
        }

        #[derive(Debug, Clone)]
        pub(crate) struct TableStatus {
            pub(crate) name: String,
            pub(crate) state: TableState,
            pub(crate) version: Option<u64>,
            pub(crate) rows: u64,
            pub(crate) rejects: u64,
            pub(crate) skipped: u64,
            pub(crate) last_commit_ms: Option<i64>,
            pub(crate) valid_through_ms: Option<i64>,
            pub(crate) buffered_rows: u64,
            pub(crate) recent_rejects: Vec<Reject>,
            pub(crate) topic_partitions: Vec<TopicPartitionStatus>,
        }

        #[derive(Debug, Clone)]
        pub(crate) struct TopicPartitionStatus {
            pub(crate) topic: String,
            pub(crate) number: i32,
            pub(crate) owned: bool,
            pub(crate) committed: i64,
            pub(crate) end: Option<i64>,
        }
    }
}

pub(crate) mod delta {
    use std::sync::Arc;

    use object_store::ObjectStore;
    use url::Url;

    use crate::clock::Clock;
    use crate::config::settings;
    use crate::error::Kind;

    #[derive(Debug, thiserror::Error)]
    #[error("the delta room is not merged")]
    pub(crate) struct Error;

    impl Error {
        pub(crate) fn kind(&self) -> Kind {
            Kind::Bug
        }
    }

    #[derive(Debug)]
    pub(crate) struct Store;

    impl Store {
        pub(crate) fn open(_settings: &settings::Storage) -> Result<Store, Error> {
            Err(Error)
        }
        pub(crate) fn table(&self, _path: &str) -> Result<TableStore, Error> {
            Err(Error)
        }
        pub(crate) async fn probe(&self, _clock: &Clock) -> Result<(), Error> {
            Err(Error)
        }
    }

    #[derive(Debug, Clone)]
    pub(crate) struct TableStore {
        objects: Arc<dyn ObjectStore>,
        url: Url,
    }

    impl TableStore {
        pub(crate) fn objects(&self) -> Arc<dyn ObjectStore> {
            Arc::clone(&self.objects)
        }
        pub(crate) fn url(&self) -> &Url {
            &self.url
        }
    }

    #[derive(Debug)]
    pub(crate) struct Table;

    impl Table {
        pub(crate) async fn load(
            _store: &TableStore,
            _clock: &Clock,
        ) -> Result<Option<Table>, Error> {
            Err(Error)
        }
        pub(crate) fn version(&self) -> u64 {
            0
        }
        pub(crate) fn schema(&self) -> arrow::datatypes::SchemaRef {
            Arc::new(arrow::datatypes::Schema::empty())
        }
        pub(crate) fn partition_columns(&self) -> &[String] {
            &[]
        }
    }
}

pub(crate) mod decode {
    use std::sync::Arc;

    use crate::clock::Clock;
    use crate::config::settings;
    use crate::error::Kind;

    #[derive(Debug, thiserror::Error)]
    #[error("the decode room is not merged")]
    pub(crate) struct Error;

    impl Error {
        pub(crate) fn kind(&self) -> Kind {
            Kind::Bug
        }
    }

    #[derive(Debug)]
    pub(crate) struct Registry;

    impl Registry {
        pub(crate) fn connect(
            _settings: &settings::SchemaRegistry,
            _clock: Clock,
        ) -> Result<Self, Error> {
            Err(Error)
        }
    }

    #[derive(Debug)]
    pub(crate) struct Resolved {
        pub(crate) fields: arrow::datatypes::Fields,
    }

    pub(crate) fn resolve(
        _table: &settings::Table,
        _registry: Option<&Arc<Registry>>,
    ) -> Result<Resolved, Error> {
        Err(Error)
    }

    pub(crate) fn metadata_fields(_metadata: &settings::Metadata) -> Vec<arrow::datatypes::Field> {
        Vec::new()
    }
}
