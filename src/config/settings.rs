//! The resolved settings that stages work from: valid by construction (CFG-1), every default applied. Does not know YAML.

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use url::Url;

use crate::config::ddl;
use crate::config::partition::segments;
use crate::config::pattern::{NameTemplate, TopicPattern};

/// Everything that one process works from.
#[derive(Debug, Clone)]
pub struct Config {
    /// Metrics label and default group id.
    pub name: String,
    /// The Kafka cluster.
    pub kafka: Kafka,
    /// The schema registry, where there is one.
    pub schema_registry: Option<SchemaRegistry>,
    /// Where the tables live.
    pub storage: Storage,
    /// Process-wide bounds.
    pub limits: Limits,
    /// The HTTP listener.
    pub http: Http,
    /// How long a drain on SIGTERM may take.
    pub shutdown_grace: Duration,
    /// The tables whose topics are known by name, names unique; with those that patterns make once it is known which topics there are.
    pub tables: Vec<Table>,
    /// The tables whose topics are to be found.
    pub patterns: Vec<Pattern>,
}

/// What `topics_regex` makes: one table, or one for each name that its template makes of topics.
#[derive(Debug, Clone)]
pub struct Pattern {
    /// The topics.
    pub topics: TopicPattern,
    /// The tables' names.
    pub name: NameTemplate,
    /// What the tables have in common; `{table}` and `{topic}` stand for the names where those differ.
    pub table: Table,
}

impl Pattern {
    /// Whether each topic has a subject of its own.
    pub(crate) fn is_by_topic(&self) -> bool {
        let keys = self.table.key.iter();
        let subjects = std::iter::once(&self.table.value).chain(keys);
        let mut subjects = subjects.filter_map(Value::subject);
        subjects.any(|subject| subject.contains("{topic}"))
    }

    /// The table of this name over these topics; the pattern is the one at `index`.
    pub(crate) fn table_of(&self, index: usize, literal: &str, topics: Vec<String>) -> Table {
        let name = NameTemplate::plain(literal);
        let mut table = self.table.clone();
        let topic = topics.first().cloned().unwrap_or_default();
        let filled = |text: &str| text.replace("{table}", &name).replace("{topic}", &topic);
        table.path = filled(&table.path);
        table.errors.table = filled(&table.errors.table);
        for value in std::iter::once(&mut table.value).chain(&mut table.key) {
            if let Some(subject) = value.subject_mut() {
                *subject = filled(subject);
            }
        }
        table.found = Some(Found {
            pattern: index,
            topics: self.topics.clone(),
            template: self.name.clone(),
            literal: literal.to_owned(),
        });
        table.name = name;
        table.topics = topics;
        table
    }
}

/// Where a table comes from that a pattern makes.
#[derive(Debug, Clone)]
pub struct Found {
    /// Which of the config's patterns.
    pub pattern: usize,
    topics: TopicPattern,
    template: NameTemplate,
    literal: String,
}

impl Found {
    /// Whether the template makes the same name of this topic only because `_` stands for characters that no name holds.
    pub fn excludes(&self, topic: &str) -> bool {
        let named = self.template.of(&self.topics, topic);
        named.is_some_and(|named| {
            named.name == NameTemplate::plain(&self.literal) && named.literal != self.literal
        })
    }
}

/// Where records come from.
#[derive(Debug, Clone)]
pub struct Kafka {
    /// `host:port` pairs, comma separated.
    pub bootstrap_servers: String,
    /// The consumer group.
    pub group_id: String,
    /// librdkafka properties as written; none that Lakeward owns.
    pub properties: BTreeMap<String, Secret>,
}

/// Where writer schemas come from.
#[derive(Debug, Clone)]
pub struct SchemaRegistry {
    /// The base URL, which may have a path.
    pub url: Url,
    /// How to prove who we are.
    pub auth: RegistryAuth,
    /// Whom to trust beside the system's certificate authorities, and what to show.
    pub tls: RegistryTls,
}

/// TLS settings of the registry's client.
#[derive(Debug, Clone, Default)]
pub struct RegistryTls {
    /// A PEM file of certificate authorities.
    pub ca: Option<PathBuf>,
    /// PEM files of the client's certificate chain and its key.
    pub identity: Option<(PathBuf, PathBuf)>,
}

/// How the registry knows us.
#[derive(Debug, Clone)]
pub enum RegistryAuth {
    /// Not at all.
    None,
    /// HTTP basic authentication.
    Basic {
        /// The user.
        username: String,
        /// The password.
        password: Secret,
    },
    /// An `Authorization: Bearer` header.
    Bearer(Secret),
}

/// Where tables live.
#[derive(Debug, Clone)]
pub struct Storage {
    /// The root; `file://` or `s3://` today. Tables lie under it.
    pub url: Url,
    /// object_store / delta-rs options as written.
    pub options: BTreeMap<String, Secret>,
}

/// Process-wide bounds.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Bytes of memory.
    pub memory_bytes: u64,
    /// Lanes; `None` is one for each core that the cgroup allows.
    pub lanes: Option<usize>,
    /// The largest value, in bytes, that is decoded; a larger one is a reject.
    pub record_bytes: u64,
}

/// The HTTP listener.
#[derive(Debug, Clone)]
pub struct Http {
    /// The address to listen on.
    pub listen: SocketAddr,
    /// What POSTs must carry when they do not come over loopback.
    pub token: Option<Secret>,
}

/// A text that is never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Wraps a text.
    pub fn new(text: impl Into<String>) -> Self {
        Secret(text.into())
    }

    /// The text itself, for the client that needs it.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// One table and the topics that feed it.
#[derive(Debug, Clone)]
pub struct Table {
    /// Its name.
    pub name: String,
    /// Where it lies under `storage.url`.
    pub path: String,
    /// The topics; a topic may feed several tables.
    pub topics: Vec<String>,
    /// The pattern that found its topics; `None` where they are named.
    pub found: Option<Found>,
    /// How values are decoded.
    pub value: Value,
    /// How keys are decoded into their Kafka column; `None` leaves them as bytes, where `metadata` includes them.
    pub key: Option<Value>,
    /// What Avro's timestamps become that no column holds as they are.
    pub timestamps: Timestamps,
    /// Where a topic that is new to the table begins.
    pub start: Start,
    /// The upper bound from received to readable.
    pub target_lag: Duration,
    /// When a file is large enough to seal before `target_lag` is over.
    pub flush: Flush,
    /// Table partition columns in order.
    pub partition_by: Vec<PartitionField>,
    /// The Kafka columns.
    pub metadata: Metadata,
    /// Which columns of a record are kept, and how.
    pub columns: Columns,
    /// What a null value becomes.
    pub tombstones: Tombstones,
    /// What a record that cannot be decoded does.
    pub errors: Errors,
    /// How the table follows its source.
    pub evolution: Evolution,
    /// What happens when a topic was recreated, or is another cluster's.
    pub on_source_change: OnChange,
    /// What happens when records were deleted before they were read, or a log was truncated.
    pub on_lost_offsets: OnChange,
    /// Delta table properties, set at creation.
    pub properties: BTreeMap<String, String>,
    /// Commits between two checkpoints; `None` follows the table's `delta.checkpointInterval`, else 100.
    pub checkpoint_every_commits: Option<u64>,
    /// The order of rows in compacted files.
    pub sort_by: Vec<String>,
    /// What keeps the table fast.
    pub maintenance: Maintenance,
}

/// What a table does when its source is not what it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnChange {
    /// It stops until a person decides.
    Suspend,
    /// It records the change and goes on.
    Continue,
}

/// What keeps a table fast.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Maintenance {
    /// The size that merged files should have.
    pub target_file_bytes: u64,
    /// How many files of one size are worth merging.
    pub min_files: u64,
    /// Younger files are left alone.
    pub cold_after: Duration,
    /// How long entries of the log are kept.
    pub log_retention: Duration,
    /// How long files stay that no newer version needs.
    pub vacuum_older_than: Duration,
    /// How often they are looked for.
    pub vacuum_interval: Duration,
}

/// The format of values, and of keys.
#[derive(Debug, Clone)]
pub enum Value {
    /// Avro with the Confluent frame; writer schemas by id from the registry, the table's from the subject's latest version.
    AvroConfluent {
        /// The subject; the config's default is `<topic>-value`.
        subject: String,
        /// The record's full name, where the table says it: records of another type are not its own then.
        record: Option<String>,
    },
    /// Avro without a frame, written with the schema in this file.
    AvroFile {
        /// The `.avsc` file.
        file: PathBuf,
    },
    /// Avro's single-object encoding: a marker and the fingerprint of the schema in this file precede the value.
    AvroSingleObject {
        /// The `.avsc` file.
        file: PathBuf,
    },
    /// JSON text.
    Json {
        /// The columns.
        schema: JsonSchemaSource,
        /// What a field without a column does.
        unknown_fields: UnknownFields,
    },
    /// JSON text with the Confluent frame; the columns from the subject's latest JSON Schema.
    JsonConfluent {
        /// The subject.
        subject: String,
        /// What a field without a column does.
        unknown_fields: UnknownFields,
    },
    /// Protobuf with the Confluent frame and its message indexes.
    ProtobufConfluent {
        /// The subject.
        subject: String,
        /// The message's full name, where the table says it: messages of another type are not its own then. `None` is the first one of the subject's latest schema.
        message: Option<String>,
    },
    /// Protobuf without a frame.
    ProtobufFile {
        /// The `.proto` file.
        file: PathBuf,
        /// The message's full name.
        message: String,
    },
    /// The bytes as they are.
    Raw,
    /// The text as it is.
    Text,
}

impl Value {
    /// The registry's subject that gives the columns.
    pub fn subject(&self) -> Option<&str> {
        match self {
            Value::AvroConfluent { subject, .. }
            | Value::JsonConfluent { subject, .. }
            | Value::ProtobufConfluent { subject, .. } => Some(subject),
            Value::AvroFile { .. }
            | Value::AvroSingleObject { .. }
            | Value::Json { .. }
            | Value::ProtobufFile { .. }
            | Value::Raw
            | Value::Text => None,
        }
    }

    fn subject_mut(&mut self) -> Option<&mut String> {
        match self {
            Value::AvroConfluent { subject, .. }
            | Value::JsonConfluent { subject, .. }
            | Value::ProtobufConfluent { subject, .. } => Some(subject),
            Value::AvroFile { .. }
            | Value::AvroSingleObject { .. }
            | Value::Json { .. }
            | Value::ProtobufFile { .. }
            | Value::Raw
            | Value::Text => None,
        }
    }
}

/// Where the columns of JSON values come from.
#[derive(Debug, Clone)]
pub enum JsonSchemaSource {
    /// `value.schema.ddl`, parsed.
    Ddl(Vec<ddl::Column>),
    /// `value.schema.file`: a JSON Schema file.
    File(PathBuf),
}

/// What a JSON field without a column does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UnknownFields {
    /// The record is rejected.
    Reject,
    /// The field is left out and counted.
    Ignore,
    /// The field is kept as JSON text in the column `_rescued`.
    Rescue,
}

/// Where a topic that is new to the table begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Start {
    /// At the log's start.
    Earliest,
    /// At the log's end as of the first commit.
    Latest,
    /// At the first record whose timestamp is at or after this, in milliseconds since 1970 UTC.
    Timestamp(i64),
}

/// When a file is large enough.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Flush {
    /// Bytes of Parquet.
    pub file_size_bytes: u64,
    /// Rows.
    pub rows: u64,
}

/// One table partition column.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartitionField {
    /// The table's column; for `Identity` the source column itself.
    pub name: String,
    /// The column it is computed from; but for `Identity` a dotted path, with back quotes where they are needed.
    pub source: String,
    /// How.
    pub transform: Transform,
}

impl PartitionField {
    /// The source's name, or the names from a column down to its member.
    pub fn source_path(&self) -> Vec<String> {
        let whole = || vec![self.source.clone()];
        match self.transform {
            Transform::Identity => whole(),
            Transform::Year
            | Transform::Month
            | Transform::Date
            | Transform::Hour
            | Transform::Bucket(_)
            | Transform::Truncate(_) => segments(&self.source).unwrap_or_else(whole),
        }
    }
}

/// How a table partition value follows from its source column; in UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transform {
    /// The column itself.
    Identity,
    /// int.
    Year,
    /// string `yyyy-MM`.
    Month,
    /// date.
    Date,
    /// string `yyyy-MM-dd-HH`.
    Hour,
    /// int: Iceberg's murmur3 bucket.
    Bucket(u32),
    /// As the column: Iceberg's truncate.
    Truncate(u32),
}

/// The Kafka columns of a table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Metadata {
    /// What their names begin with.
    pub prefix: String,
    /// Beside topic, partition and offset, in this order.
    pub include: Vec<MetadataColumn>,
}

/// A Kafka column that is chosen by config.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum MetadataColumn {
    /// timestamp.
    Timestamp,
    /// string: `create_time`, `log_append_time`.
    TimestampType,
    /// binary.
    Key,
    /// array<struct<key string, value binary>>.
    Headers,
    /// int.
    LeaderEpoch,
    /// int.
    SchemaId,
    /// timestamp: when Lakeward decoded it.
    IngestedAt,
}

/// Which columns of a record a table keeps, and how. A path has the names from a column down to its member; items of lists and values of maps have no name of their own.
#[derive(Debug, Clone, Default)]
pub struct Columns {
    /// Only these and what lies in them, where there are any.
    pub include: Vec<ColumnPath>,
    /// Not these.
    pub exclude: Vec<ColumnPath>,
    /// These not as they are.
    pub mask: Vec<(ColumnPath, Mask)>,
    /// The key of `Mask::HmacSha256`; there is one where it is used.
    pub mask_key: Option<Secret>,
}

/// The names from a column down to its member.
pub type ColumnPath = Vec<String>;

/// What takes the place of a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mask {
    /// Its keyed hash, so that equal values stay equal.
    HmacSha256,
    /// A fixed text where it is a string, else null.
    Redact,
}

impl Columns {
    /// Whether records hold what the table must not show.
    pub fn are_hidden(&self) -> bool {
        !(self.include.is_empty() && self.exclude.is_empty() && self.mask.is_empty())
    }
}

/// What a null value becomes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tombstones {
    /// Nothing; counted.
    Skip,
    /// A row whose record columns are null.
    NullRow,
    /// A reject.
    Reject,
}

/// What records that cannot be decoded do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Errors {
    /// What one does.
    pub mode: ErrorMode,
    /// Where the table of rejected records lies under `storage.url`.
    pub table: String,
    /// Whether it keeps their keys, values and headers.
    pub raw: bool,
    /// How many are too many, under `dlq` and `skip`.
    pub suspend_above: SuspendAbove,
}

/// The share of rejected records that suspends a table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SuspendAbove {
    /// Percent of the records of a window; 100 is reached when every one is rejected.
    pub percent: u64,
    /// How long records are counted together.
    pub window: Duration,
    /// Fewer records prove nothing.
    pub min_records: u64,
}

/// What a record that cannot be decoded does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorMode {
    /// It goes to the table of rejected records.
    Dlq,
    /// It is counted, with its coordinates, and left out.
    Skip,
    /// The table stops before it until a person decides.
    Suspend,
}

/// How a table follows the schemas of its source.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Evolution {
    /// What may change by itself.
    pub allow: Allow,
    /// What a value does that the table's columns cannot hold.
    pub on_incompatible: OnIncompatible,
}

/// What of a table may change by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Allow {
    /// Nothing.
    None,
    /// New fields become columns, at any depth.
    AddColumns,
}

/// What a value does that the table's columns cannot hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnIncompatible {
    /// Its record is rejected.
    Reject,
    /// The table stops before its record.
    Suspend,
    /// It goes into a further column, named by field and type.
    NewColumn,
}

/// What timestamps become that no column holds as they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Timestamps {
    /// Those in nanoseconds.
    pub nanos: Nanos,
    /// Those without a zone.
    pub local: LocalTimestamps,
}

/// What a timestamp in nanoseconds becomes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Nanos {
    /// Its schema is refused.
    #[default]
    Refused,
    /// It loses its last three digits.
    Cut,
}

/// What a time without a zone becomes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LocalTimestamps {
    /// Its schema is refused.
    #[default]
    Refused,
    /// A point in time, as if it were in UTC.
    Utc,
    /// A time without a zone.
    Ntz,
}
