//! The keys of one table, which are also those of `defaults`. Declarations only.

use super::{Choice, Default, Key, Kind, later, word};

const KIB: u64 = 1 << 10;
const GIB: u64 = 1 << 30;
const DAY_MS: u64 = 86_400_000;

const FORMATS: &[Choice] = &[
    word("avro", "Avro binary."),
    word("json", "JSON text, one object a record."),
    word(
        "json_schema",
        "JSON behind the registry's frame, described by a JSON Schema.",
    ),
    word("protobuf", "Protobuf."),
    word(
        "raw",
        "The bytes as they are, in one binary column `value`.",
    ),
    word("string", "The text as it is, in one string column `value`."),
];

const FRAMINGS: &[Choice] = &[
    word(
        "confluent",
        "A zero byte and the schema id, four bytes, precede the value; for protobuf the message indexes too.",
    ),
    word(
        "single_object",
        "For avro: Avro's own marker and the fingerprint of the schema in `value.schema.file` precede the value.",
    ),
    word("none", "The value alone."),
];

const UNKNOWN_FIELDS: &[Choice] = &[
    word("rescue", "Kept as JSON text in the column `_rescued`."),
    word("reject", "The record is rejected."),
    word("ignore", "The field is left out and counted."),
];

const ALLOW_LOSSY: &[Choice] = &[
    word("true", "Nanoseconds are cut to microseconds, downwards."),
    word("false", "The schema is refused."),
];

const LOCAL_TIMESTAMPS: &[Choice] = &[
    word("utc", "timestamp: the local time is taken for one in UTC."),
    word(
        "ntz",
        "timestamp_ntz: a time without a zone. The table gets the Delta feature timestampNtz, which readers must know.",
    ),
];

const KEY_FORMATS: &[Choice] = &[
    word("none", "The key is not decoded."),
    word("binary", "As bytes."),
    word("string", "As text."),
    word("avro", "As Avro behind the registry's frame."),
    word("json_schema", "As JSON behind the registry's frame."),
    word("protobuf", "As Protobuf behind the registry's frame."),
];

const METADATA: &[Choice] = &[
    word("timestamp", "The record's timestamp, timestamp."),
    word(
        "timestamp_type",
        "`create_time` or `log_append_time`, string.",
    ),
    word(
        "key",
        "The key: its bytes, binary, or what `key.format` makes of it.",
    ),
    word(
        "headers",
        "The headers, `array<struct<key string, value binary>>`.",
    ),
    word(
        "leader_epoch",
        "The leader epoch of the record's batch, integer.",
    ),
    word(
        "schema_id",
        "The registry's id of the writer schema, integer.",
    ),
    word(
        "ingested_at",
        "When Lakeward decoded the record, timestamp.",
    ),
];

const TOMBSTONES: &[Choice] = &[
    word("skip", "It is left out and counted."),
    word("null_row", "A row whose record columns are null."),
    word("reject", "The record is rejected."),
];

const ERROR_MODES: &[Choice] = &[
    word(
        "dlq",
        "It goes to the table of rejected records, once, by the same commit.",
    ),
    word("skip", "It is counted with its coordinates and left out."),
    word(
        "suspend",
        "The table stops before it until a person decides.",
    ),
];

const YES_OR_NO: &[Choice] = &[word("true", "Kept."), word("false", "Left out.")];

const EVOLUTION: &[Choice] = &[
    word("none", "The table's columns stay as they were created."),
    word(
        "add_columns",
        "New fields become columns, at any depth, in the same commit as the first rows that need them.",
    ),
];

const ON_INCOMPATIBLE: &[Choice] = &[
    word(
        "reject",
        "The record is rejected, and `errors.mode` decides.",
    ),
    word(
        "suspend",
        "The table stops before it, whatever `errors.mode` says.",
    ),
    word(
        "new_column",
        "The value goes into a further column named by field and type, such as `amount__string`; needs `allow: add_columns`.",
    ),
];

const ON_SOURCE_CHANGE: &[Choice] = &[
    word("suspend", "The table stops until a person decides."),
    word(
        "continue",
        "The next incarnation begins at the start of the topic that there is now.",
    ),
];

const ON_LOST_OFFSETS: &[Choice] = &[
    word("suspend", "The table stops until a person decides."),
    word(
        "continue",
        "The hole is recorded as lost and passed over; a truncated log is read on as the next incarnation.",
    ),
];

const WRITE_MODES: &[Choice] = &[
    word("append", "Every record is a row."),
    later(
        "upsert",
        "Rows by key; reserved.",
        "use `append`, and merge by key when reading",
    ),
];

pub(super) const KEYS: &[Key] = &[
    Key::new("tables", Kind::Tables, Default::Required, "The tables, each with the topics that feed it."),
    Key::new("tables[].name", Kind::Text, Default::Required, "The table's name; letters, digits and `_`. Unique. With `topics_regex` also a template: `{topic}` stands for the topic, `{1}` to `{9}` for the groups of the pattern, with `_` for every character that no name holds; each name becomes a table. Topics whose names differ in such characters only exclude one another.").example("orders"),
    Key::new("tables[].path", Kind::Text, Default::Implied("<name>"), "The table's folder under `storage.url`; `{table}` stands for the name. Unique.").example("orders"),
    Key::new("tables[].topics", Kind::Texts, Default::Implied("what `topics_regex` finds; one of both is required"), "The topics that feed the table. Tables that share a topic run, rewind and suspend together, each with its own progress; every record is fetched once for all of them.").example("[shop.orders]"),
    Key::new(
        "tables[].topics_regex",
        Kind::Text,
        Default::Absent,
        "Instead of `topics`: a regular expression of whole topic names. All topics that match feed this table, or with a template under `name` a table for each name. Topics are looked for at the start and every 30 s (or `topic.metadata.refresh.interval.ms` of `kafka.properties`); one that is found later is read from its beginning, whatever `start` says. Topics that begin with `__` never match.",
    )
    .example("'^pg\\.public\\.(.+)$'"),
    Key::new("tables[].value", Kind::Section, Default::Required, "How values are decoded."),
    Key::new("tables[].value.format", Kind::Choice(FORMATS), Default::Required, "The format of values.").example("avro"),
    Key::new(
        "tables[].value.framing",
        Kind::Choice(FRAMINGS),
        Default::Implied("confluent for json_schema, and for avro and protobuf where there is a schema_registry; else none"),
        "What precedes a value.",
    )
    .example("confluent"),
    Key::new("tables[].value.schema", Kind::Section, Default::Implied("none is needed with framing confluent"), "Where the columns come from: one of `subject`, `ddl` and `file`."),
    Key::new(
        "tables[].value.schema.subject",
        Kind::Text,
        Default::Implied("<topic>-value"),
        "For framing confluent: the registry's subject whose latest version gives the columns; `{topic}` and `{table}` stand for the names. Needed when several topics feed the table.",
    )
    .example("shop.orders-value"),
    Key::new("tables[].value.schema.ddl", Kind::Text, Default::Absent, "For json: the columns, as in `id long, amount decimal(18,4), tags array<string>`.")
        .example("\"id long, amount decimal(18,4), tags array<string>\""),
    Key::new(
        "tables[].value.schema.file",
        Kind::Text,
        Default::Absent,
        "An Avro schema (for avro with framing none or single_object), a JSON Schema (for json), or a `.proto` file, whose imports are looked up beside it (for protobuf with framing none); relative to this file.",
    )
    .example("orders.avsc"),
    Key::new(
        "tables[].value.schema.message",
        Kind::Text,
        Default::Absent,
        "For protobuf and framed avro: the full name of the message or record that the table takes; records of another type in the same topic pass it by, counted as skipped. For protobuf required with `file`; with `subject` it is the first message of the schema where it is left out, and another one is a bad record.",
    )
    .example("shop.Order"),
    Key::new("tables[].value.unknown_fields", Kind::Choice(UNKNOWN_FIELDS), Default::Absent, "For json and json_schema: what a field without a column does; `rescue` where it is left out.")
        .example("rescue"),
    Key::new("tables[].value.allow_lossy", Kind::Choice(ALLOW_LOSSY), Default::Value("false"), "For avro: whether `timestamp-nanos` and `local-timestamp-nanos`, in values and keys, may lose their last three digits."),
    Key::new("tables[].value.local_timestamps", Kind::Choice(LOCAL_TIMESTAMPS), Default::Absent, "For avro: what `local-timestamp-*` become, in values and keys; left out, a schema with them is refused.")
        .example("ntz"),
    Key::new("tables[].key", Kind::Section, Default::Implied("the defaults below"), "How keys are decoded."),
    Key::new(
        "tables[].key.format",
        Kind::Choice(KEY_FORMATS),
        Default::Value("none"),
        "The format of keys. A decoded key is the column `<prefix>key`; a key that cannot be decoded makes the record a bad one.",
    ),
    Key::new("tables[].key.schema", Kind::Section, Default::Absent, "Where the type of the key comes from; left out, from the subject `<topic>-key`.")
        .example("{ subject: shop.orders-key }"),
    Key::new(
        "tables[].key.schema.subject",
        Kind::Text,
        Default::Implied("<topic>-key"),
        "The registry's subject whose latest version gives the key's type; `{topic}` and `{table}` stand for the names. Needed when several topics feed the table.",
    )
    .example("shop.orders-key"),
    Key::new(
        "tables[].key.schema.message",
        Kind::Text,
        Default::Absent,
        "For protobuf: the full name of the message that is the key; left out, the first of the schema.",
    )
    .example("shop.OrderKey"),
    Key::new(
        "tables[].start",
        Kind::Start,
        Default::Value("earliest"),
        "Where a topic that is new to the table begins: `earliest`, `latest` or `{timestamp: 2026-01-01T00:00:00Z}`. Later the table itself knows.",
    ),
    Key::new(
        "tables[].target_lag",
        Kind::Duration(100, DAY_MS),
        Default::Value("60s"),
        "The upper bound from received to readable, while the sink keeps up. Shorter means more and smaller files.",
    ),
    Key::new("tables[].flush", Kind::Section, Default::Implied("the defaults below"), "What ends a file before `target_lag` does."),
    Key::new("tables[].flush.file_size", Kind::Size(64 * KIB, 16 * GIB), Default::Value("128MiB"), "Bytes of Parquet."),
    Key::new("tables[].flush.rows", Kind::Integer(1, 1_000_000_000), Default::Value("5000000"), "Rows."),
    Key::new(
        "tables[].partition_by",
        Kind::Texts,
        Default::Value("[]"),
        "Table partition columns: a column, or `name = transform(column)` with year, month, date, hour, bucket(n, column) or truncate(n, column), such as `day = date(ordered_at)`.",
    ),
    Key::new(
        "tables[].sort_by",
        Kind::Texts,
        Default::Value("[]"),
        "The order of rows in compacted files: columns, ascending. As many rows as fit into maintenance's share of memory are sorted at a time.",
    )
    .example("[ordered_at]"),
    Key::new("tables[].metadata", Kind::Section, Default::Implied("the defaults below"), "The Kafka columns; topic, partition and offset are always there."),
    Key::new("tables[].metadata.prefix", Kind::Text, Default::Value("_kafka_"), "What their names begin with; letters, digits and `_`."),
    Key::new("tables[].metadata.include", Kind::Choices(METADATA), Default::Value("[timestamp]"), "Further ones, in this order."),
    Key::new("tables[].columns", Kind::Section, Default::Implied("the defaults below"), "Which columns are kept and how."),
    Key::new(
        "tables[].columns.include",
        Kind::Texts,
        Default::Value("[]"),
        "Keeps these columns only, and what lies in them; whatever a record has beside them stays out, new fields too. A path leads into structs, the items of lists and the values of maps, as in `customer.email` or `items.price`; names that hold more than letters, digits and `_` stand in back quotes. `_rescued` can be one of them.",
    )
    .example("[id, amount, customer]"),
    Key::new(
        "tables[].columns.exclude",
        Kind::Texts,
        Default::Value("[]"),
        "Leaves these columns out, by paths as in `include`: their values are passed over unread, and are not rescued either.",
    )
    .example("[customer.phone]"),
    Key::new(
        "tables[].columns.mask",
        Kind::Map,
        Default::Value("{}"),
        "Hides values, by paths as in `include`, or of the key's column such as `_kafka_key`: `hmac_sha256` puts the keyed hash in their place, as 64 hexadecimal digits, also of each item of a list and each value of a map; `redact` puts `[redacted]` in the place of a string and null in that of anything else. Null stays null.",
    )
    .example("{ customer.email: hmac_sha256 }"),
    Key::new(
        "tables[].columns.mask_key",
        Kind::Secret,
        Default::Absent,
        "The key of `hmac_sha256`: the bytes of this text. With another one equal values no longer are.",
    )
    .example("\"${file:/run/secrets/mask}\""),
    Key::new("tables[].tombstones", Kind::Choice(TOMBSTONES), Default::Value("skip"), "What a record with a null value becomes."),
    Key::new("tables[].errors", Kind::Section, Default::Implied("the defaults below"), "What a record that cannot be decoded does."),
    Key::new("tables[].errors.mode", Kind::Choice(ERROR_MODES), Default::Value("dlq"), "What it does."),
    Key::new(
        "tables[].errors.table",
        Kind::Text,
        Default::Implied("{table}__dlq"),
        "For dlq: the folder of the table of rejected records under `storage.url`; `{table}` stands for the name. Unique. It is made when the first record is rejected.",
    )
    .example("\"{table}__dlq\""),
    Key::new(
        "tables[].errors.raw",
        Kind::Choice(YES_OR_NO),
        Default::Implied("true, or false where `columns` leaves out or masks any"),
        "For dlq: whether rejected records keep their keys, values and headers; what is not kept cannot be replayed. `true` keeps them whole, with what `columns` hides from the table.",
    )
    .example("true"),
    Key::new("tables[].errors.suspend_above", Kind::Section, Default::Implied("the defaults below"), "For dlq and skip: the share of rejected records that suspends the table instead."),
    Key::new(
        "tables[].errors.suspend_above.percent",
        Kind::Integer(1, 100),
        Default::Value("100"),
        "Percent of the records that were read within `window`; with 100, every one of them must be bad.",
    ),
    Key::new("tables[].errors.suspend_above.window", Kind::Duration(1_000, DAY_MS), Default::Value("1m"), "How long records are counted together."),
    Key::new("tables[].errors.suspend_above.min_records", Kind::Integer(1, 1_000_000_000), Default::Value("100"), "Fewer records within `window` suspend nothing."),
    Key::new("tables[].evolution", Kind::Section, Default::Implied("the defaults below"), "How the table follows its source."),
    Key::new("tables[].evolution.allow", Kind::Choice(EVOLUTION), Default::Value("add_columns"), "What may change by itself. A field that is gone leaves its column, null; anything else than new fields is incompatible."),
    Key::new("tables[].evolution.on_incompatible", Kind::Choice(ON_INCOMPATIBLE), Default::Value("reject"), "What a record does whose writer schema put a value into it that the table's columns cannot hold."),
    Key::new("tables[].on_source_change", Kind::Choice(ON_SOURCE_CHANGE), Default::Value("suspend"), "What happens when a topic was recreated or the cluster is another."),
    Key::new("tables[].on_lost_offsets", Kind::Choice(ON_LOST_OFFSETS), Default::Value("suspend"), "What happens when records were deleted before they were read, or when a log was truncated."),
    Key::new("tables[].write_mode", Kind::Choice(WRITE_MODES), Default::Value("append"), "How rows are written."),
    Key::new(
        "tables[].properties",
        Kind::Map,
        Default::Value("{}"),
        "Delta table properties, set at creation: `delta.appendOnly`, `delta.checkpointInterval`, `delta.logRetentionDuration`, `delta.deletedFileRetentionDuration`, `delta.dataSkippingNumIndexedCols` and your own.",
    ),
    Key::new("tables[].maintenance", Kind::Section, Default::Implied("the defaults below"), "What keeps the table fast."),
    Key::new("tables[].maintenance.compaction", Kind::Section, Default::Implied("the defaults below"), "Merges small files, beside ingest and other engines."),
    Key::new("tables[].maintenance.compaction.target_file_size", Kind::Size(64 * KIB, 16 * GIB), Default::Value("256MiB"), "The size that merged files should have."),
    Key::new("tables[].maintenance.compaction.min_files", Kind::Integer(2, 1000), Default::Value("8"), "How many files of one size are worth merging. More means fewer rewrites and more small files."),
    Key::new(
        "tables[].maintenance.compaction.cold_after",
        Kind::Duration(100, 30 * DAY_MS),
        Default::Value("5m"),
        "Younger files are left alone; a table partition that is quiet for twelve times as long is merged to its end.",
    ),
    Key::new(
        "tables[].maintenance.checkpoint_every_commits",
        Kind::Integer(1, 1_000_000),
        Default::Implied("the table's delta.checkpointInterval, else 100"),
        "Commits between two checkpoints of the Delta log.",
    )
    .example("100"),
    Key::new(
        "tables[].maintenance.log_retention",
        Kind::Duration(3_600_000, 3650 * DAY_MS),
        Default::Value("30d"),
        "How long entries of the Delta log are kept, by the store's time stamps; longer where the table's `delta.logRetentionDuration` says so.",
    ),
    Key::new("tables[].maintenance.vacuum", Kind::Section, Default::Implied("the defaults below"), "Deletes data files that no version needs, by the store's time stamps."),
    Key::new(
        "tables[].maintenance.vacuum.older_than",
        Kind::Duration(3_600_000, 3650 * DAY_MS),
        Default::Value("7d"),
        "How long files stay that no newer version needs; at least 1h, and longer where the table's `delta.deletedFileRetentionDuration` says so.",
    ),
    Key::new("tables[].maintenance.vacuum.interval", Kind::Duration(60_000, 365 * DAY_MS), Default::Value("1d"), "How often."),
];
