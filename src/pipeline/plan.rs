//! What a table needs to run, worked out once before the group is joined: columns, file layout, the table itself with its sources. Asks Kafka, the registry and the
//! store; does not move records.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use arrow::datatypes::Schema;
use tokio::runtime::Runtime;

use crate::clock::Clock;
use crate::config::{Config, settings};
use crate::decode::{self, Decoder, Registry, Resolved, Setup};
use crate::delta::{self, Creation, Publisher, Store, Table, TableStore, TopicStart};
use crate::model::commit::CommitOutcome;
use crate::model::identity::TopicIdentity;
use crate::model::offset::TopicPartition;
use crate::pipeline::beside::beside;
use crate::pipeline::cause::{Verdict, judge_identity};
use crate::pipeline::error::Error;
use crate::pipeline::schemas::{Schemas, TableSchema};
use crate::source::{Lookup, Questions, StartAt};
use crate::writer::{self, Layout};

/// The version of the type mapping that new tables record.
const MAPPING_VERSION: u32 = 1;

/// What lanes and the flusher of one table work from.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) settings: settings::Table,
    pub(super) store: TableStore,
    /// Where rejected records go, if they are kept.
    pub(super) dlq: Option<Arc<Dlq>>,
    resolved: Arc<Resolved>,
    registry: Option<Arc<Registry>>,
    record_bytes_max: u64,
}

/// The table of rejected records.
#[derive(Debug)]
pub(super) struct Dlq {
    /// Its folder.
    pub(super) folder: String,
    pub(super) store: TableStore,
    pub(super) layout: Arc<Layout>,
    /// The largest record whose bytes are kept, if any are.
    pub(super) bytes_max: Option<u64>,
}

impl Dlq {
    fn plan(outside: &Outside, settings: &settings::Table) -> Result<Option<Arc<Dlq>>, Error> {
        let errors = &settings.errors;
        if errors.mode != settings::ErrorMode::Dlq {
            return Ok(None);
        }
        let store = outside.store.table(&errors.table);
        let layout = Layout::new(decode::rejected_columns(), &[], outside.clock.clone());
        Ok(Some(Arc::new(Dlq {
            folder: errors.table.clone(),
            store: store.map_err(|cause| Error::Table {
                table: settings.name.clone(),
                cause,
            })?,
            layout: Arc::new(layout.map_err(|cause| Error::Writer {
                table: settings.name.clone(),
                cause,
            })?),
            bytes_max: errors.raw.then_some(outside.record_bytes_max),
        })))
    }
}

impl Plan {
    /// The columns to begin with over a table that has these.
    pub(super) fn first_schema(&self, has: &Schema, clock: &Clock) -> Result<TableSchema, String> {
        let columns = decode::first_columns(&self.resolved, &self.settings, Some(has))
            .map_err(|error| error.to_string())?;
        TableSchema::new(columns, &self.settings, clock).map_err(|error| error.to_string())
    }

    /// A decoder for one lane.
    pub(super) fn decoder(
        &self,
        schema: &TableSchema,
        clock: &Clock,
    ) -> Result<Decoder, decode::Error> {
        Decoder::new(Setup {
            resolved: &self.resolved,
            table: &self.settings,
            record_bytes_max: self.record_bytes_max,
            target: Arc::clone(&schema.columns),
            registry: self.registry.clone(),
            clock: clock.clone(),
        })
    }

    /// For rejected records that are decoded again, into a table that exists.
    pub(super) async fn for_replay(
        outside: &Outside,
        settings: &settings::Table,
        table: &Table,
    ) -> Result<(Plan, Schemas), Error> {
        let name = || settings.name.clone();
        let (registry, asked) = (outside.registry.clone(), settings.clone());
        let resolved = blocking(move || {
            decode::resolve(&asked, registry.as_ref()).map_err(|cause| Error::Decode {
                table: asked.name.clone(),
                cause,
            })
        })
        .await?;
        let creation = lay_out(settings, &resolved).map_err(|cause| Error::Writer {
            table: name(),
            cause,
        })?;
        let first = fitting(outside, settings, &resolved, table, &creation)?;
        let of_table = |cause| Error::Table {
            table: name(),
            cause,
        };
        let schemas = Schemas::new(first, table.schema(), settings, &outside.clock);
        let plan = Plan {
            settings: settings.clone(),
            store: outside.store.table(&settings.path).map_err(of_table)?,
            dlq: Dlq::plan(outside, settings)?,
            resolved: Arc::new(resolved),
            registry: outside.registry.clone(),
            record_bytes_max: outside.record_bytes_max,
        };
        Ok((plan, schemas))
    }

    /// Whether the table wants headers, or its rejected records do.
    pub(super) fn with_headers(&self) -> bool {
        with_headers(&self.settings)
    }
}

/// Whether a table wants headers, or its rejected records do.
pub(super) fn with_headers(settings: &settings::Table) -> bool {
    let errors = &settings.errors;
    let metadata = &settings.metadata.include;
    (errors.mode == settings::ErrorMode::Dlq && errors.raw)
        || metadata.contains(&settings::MetadataColumn::Headers)
}

/// What planning asks with.
#[derive(Clone)]
pub(super) struct Outside {
    pub(super) lookup: Arc<dyn Questions>,
    pub(super) registry: Option<Arc<Registry>>,
    pub(super) store: Arc<Store>,
    pub(super) clock: Clock,
    pub(super) record_bytes_max: u64,
}

impl Outside {
    /// The clients that a config asks for.
    pub(super) fn of(config: &Config, clock: &Clock, timeout: Duration) -> Result<Outside, Error> {
        let registry = match &config.schema_registry {
            Some(settings) => Some(Arc::new(
                Registry::connect(settings, clock.clone()).map_err(|cause| Error::Decode {
                    table: "schema_registry".to_owned(),
                    cause,
                })?,
            )),
            None => None,
        };
        Ok(Outside {
            lookup: Arc::new(Lookup::new(&config.kafka, timeout, clock)?),
            registry,
            store: Arc::new(Store::open(&config.storage)?),
            clock: clock.clone(),
            record_bytes_max: config.limits.record_bytes,
        })
    }

    /// Asks Kafka and the registry something at once, for nothing but the connections, which take longer than the answers; whoever plans asks again and hears what is wrong.
    pub(super) fn connect(&self, runtime: &Runtime, tables: &[settings::Table]) {
        let Some(table) = tables.first().cloned() else {
            return;
        };
        let (lookup, topics) = (Arc::clone(&self.lookup), table.topics.clone());
        runtime.spawn_blocking(move || drop(lookup.identities(&topics)));
        if let Some(registry) = self.registry.clone() {
            runtime.spawn_blocking(move || drop(decode::resolve(&table, Some(&registry))));
        }
    }
}

/// A planned table, open.
pub(super) struct Planned {
    pub(super) plan: Plan,
    pub(super) schemas: Schemas,
    pub(super) table: Table,
    /// Every topic partition of its topics.
    pub(super) topic_partitions: Vec<TopicPartition>,
}

/// Plans a table and opens it, creating it or naming its topics where that is due.
pub(super) async fn plan(outside: &Outside, settings: &settings::Table) -> Result<Planned, Error> {
    let asked = Asked::ask(outside, settings).await?;
    let table_error = |cause: delta::Error| Error::Table {
        table: settings.name.clone(),
        cause,
    };
    let creation = lay_out(settings, &asked.resolved).map_err(|cause| Error::Writer {
        table: settings.name.clone(),
        cause,
    })?;
    let store = outside.store.table(&settings.path).map_err(table_error)?;
    let mut table = match Table::load(&store, &outside.clock)
        .await
        .map_err(table_error)?
    {
        Some(table) => table,
        None => Table::create(
            &store,
            &creation,
            &asked.starts(outside, settings, None).await?,
            &outside.clock,
        )
        .await
        .map_err(table_error)?,
    };
    check_found(settings, &table)?;
    let first = fitting(outside, settings, &asked.resolved, &table, &creation)?;
    let missing = asked.starts(outside, settings, Some(&table)).await?;
    if !missing.is_empty() {
        match table.begin_topics(&missing).await.map_err(table_error)? {
            CommitOutcome::Committed(_) => {}
            CommitOutcome::Superseded(reason)
            | CommitOutcome::Conflict(reason)
            | CommitOutcome::Unknown(reason) => {
                return Err(Error::Unsettled {
                    table: settings.name.clone(),
                    reason,
                });
            }
        }
    }
    // What the last owner named and did not come to show: a run that finds nothing to read ends before its first epoch.
    Box::pin(Publisher::new(&outside.clock).publish(&table))
        .await
        .map_err(table_error)?;
    let plan = Plan {
        settings: settings.clone(),
        store,
        dlq: Dlq::plan(outside, settings)?,
        resolved: Arc::new(asked.resolved),
        registry: outside.registry.clone(),
        record_bytes_max: outside.record_bytes_max,
    };
    Ok(Planned {
        plan,
        schemas: Schemas::new(first, table.schema(), settings, &outside.clock),
        table,
        topic_partitions: asked.topic_partitions,
    })
}

/// A template may give a topic the name of a table that another topic has fed, also one that is gone by now: their records would mix.
pub(super) fn check_found(settings: &settings::Table, table: &Table) -> Result<(), Error> {
    let Some(found) = &settings.found else {
        return Ok(());
    };
    let mut named = table.sources().topics();
    match named.find(|(topic, _)| found.excludes(topic)) {
        None => Ok(()),
        Some((other, _)) => Err(Error::Refused(format!(
            "table `{}` is fed by topic `{other}`, as its log says, and `{}` has the same name only because `_` stands for characters that no table's name holds; write another template under `name`, or a table of its own",
            settings.name,
            settings.topics.join("`, `")
        ))),
    }
}

/// The table that the config makes where there is none.
pub(super) fn lay_out(
    settings: &settings::Table,
    resolved: &Resolved,
) -> Result<Creation, writer::Error> {
    let mut fields = resolved.columns(settings);
    fields.extend(writer::placement::derived_fields(
        &settings.partition_by,
        &Schema::new(fields.clone()),
    )?);
    Ok(Creation {
        columns: Arc::new(Schema::new(fields)),
        partition_columns: settings
            .partition_by
            .iter()
            .map(|field| field.name.clone())
            .collect(),
        properties: settings.properties.clone(),
        mapping_version: MAPPING_VERSION,
    })
}

/// The columns to begin with, which the table must have, or may be given.
pub(super) fn fitting(
    outside: &Outside,
    settings: &settings::Table,
    resolved: &Resolved,
    table: &Table,
    creation: &Creation,
) -> Result<TableSchema, Error> {
    let has = table.schema();
    let columns =
        decode::first_columns(resolved, settings, Some(&has)).map_err(|cause| Error::Decode {
            table: settings.name.clone(),
            cause,
        })?;
    let first =
        TableSchema::new(columns, settings, &outside.clock).map_err(|cause| Error::Writer {
            table: settings.name.clone(),
            cause,
        })?;
    let fit = match settings.evolution.allow {
        settings::Allow::None => delta::schema::fit,
        settings::Allow::AddColumns => delta::schema::fit_grown,
    };
    fit(
        table,
        &first.layout.table_schema(),
        &creation.partition_columns,
    )
    .map_err(|cause| Error::Table {
        table: settings.name.clone(),
        cause,
    })?;
    Ok(first)
}

/// What Kafka and the registry say about a table's topics.
pub(super) struct Asked {
    pub(super) resolved: Resolved,
    pub(super) topic_partitions: Vec<TopicPartition>,
    /// Who the topics were before anything else was asked about them.
    pub(super) identities: BTreeMap<String, TopicIdentity>,
}

impl Asked {
    pub(super) async fn ask(outside: &Outside, settings: &settings::Table) -> Result<Asked, Error> {
        let (outside, settings) = (outside.clone(), settings.clone());
        blocking(move || {
            let identities = outside.lookup.identities(&settings.topics)?;
            let mut topic_partitions = Vec::new();
            for topic in &settings.topics {
                topic_partitions.extend(outside.lookup.topic_partitions(topic)?);
            }
            let resolved =
                decode::resolve(&settings, outside.registry.as_ref()).map_err(|cause| {
                    Error::Decode {
                        table: settings.name.clone(),
                        cause,
                    }
                })?;
            Ok(Asked {
                resolved,
                topic_partitions,
                identities,
            })
        })
        .await
    }

    /// Where topics that `table` does not know begin (all of them where there is none): new topics by `start`, new topic partitions of known ones at their log's
    /// start.
    pub(super) async fn starts(
        &self,
        outside: &Outside,
        settings: &settings::Table,
        table: Option<&Table>,
    ) -> Result<Vec<TopicStart>, Error> {
        let mut starts = Vec::new();
        for topic in &settings.topics {
            let all = self
                .topic_partitions
                .iter()
                .filter(|it| *it.topic == **topic);
            let identity = self.identities.get(topic).cloned().unwrap_or_default();
            let pinned = table.and_then(|table| table.sources().identity(topic));
            let known = pinned.is_some();
            if let Some(pinned) = pinned
                && !matches!(
                    judge_identity(topic, &pinned, Some(&identity)),
                    Verdict::Same | Verdict::Adopt
                )
            {
                // Another topic under the name: whoever settles the table decides, before anything of it is named.
                continue;
            }
            let new: Vec<TopicPartition> = match table {
                Some(table) if known => all
                    .filter(|it| table.sources().incarnation(it).is_none())
                    .cloned()
                    .collect(),
                _ => all.cloned().collect(),
            };
            if new.is_empty() {
                continue;
            }
            let start = first_start(settings, table);
            let at = match start {
                _ if known => StartAt::Earliest,
                settings::Start::Earliest => StartAt::Earliest,
                settings::Start::Latest => StartAt::Latest,
                settings::Start::Timestamp(ms) => StartAt::Timestamp(ms),
            };
            let (lookup, asked) = (Arc::clone(&outside.lookup), topic.clone());
            let (found, after) = blocking(move || {
                let found = lookup.start_offsets(&new, at)?;
                Ok((found, lookup.identities(std::slice::from_ref(&asked))?))
            })
            .await?;
            if after.get(topic) != Some(&identity) {
                return Err(Error::Unsettled {
                    table: settings.name.clone(),
                    reason: format!("topic `{topic}` was created again meanwhile"),
                });
            }
            starts.push(TopicStart {
                topic: Arc::from(topic.as_str()),
                cluster_id: identity.cluster_id,
                topic_id: identity.topic_id,
                start: start_words(start),
                offsets: found
                    .into_iter()
                    .map(|(topic_partition, offset)| (topic_partition.number, offset))
                    .collect::<BTreeMap<_, _>>(),
            });
        }
        Ok(starts)
    }
}

/// Where topics begin that a table does not know. One that a pattern finds later, when the table has others, begins at its beginning.
fn first_start(settings: &settings::Table, table: Option<&Table>) -> settings::Start {
    let has_others = table.is_some_and(|it| it.sources().topics().next().is_some());
    if settings.found.is_some() && has_others {
        settings::Start::Earliest
    } else {
        settings.start
    }
}

fn start_words(start: settings::Start) -> String {
    match start {
        settings::Start::Earliest => "earliest".to_owned(),
        settings::Start::Latest => "latest".to_owned(),
        settings::Start::Timestamp(ms) => format!("timestamp:{ms}"),
    }
}

/// Runs what blocks beside the tasks.
pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Error> + Send + 'static,
) -> Result<T, Error> {
    beside(work)
        .await
        .unwrap_or_else(|error| Err(Error::Bug(format!("a blocking task ended early: {error}"))))
}

/// How long to wait before asking again for what is away: doubles up to ten seconds.
pub(super) fn back_off(attempt: u32) -> Duration {
    Duration::from_millis(500u64.saturating_mul(1 << attempt.min(5)).min(10_000))
}
