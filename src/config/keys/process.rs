//! The keys of the process: Kafka, registry, storage, limits, HTTP. Declarations only.

use super::{Default, Key, Kind};

const MIB: u64 = 1 << 20;
const TIB: u64 = 1 << 40;

pub(super) const KEYS: &[Key] = &[
    Key::new("version", Kind::Integer(1, 1), Default::Required, "The version of this format; it is 1.").example("1"),
    Key::new(
        "name",
        Kind::Text,
        Default::Required,
        "Names this sink in metrics and logs, and gives the default group id; letters, digits, `_`, `-` and `.`.",
    )
    .example("shop"),
    Key::new("kafka", Kind::Section, Default::Required, "Where records come from."),
    Key::new("kafka.bootstrap_servers", Kind::Text, Default::Required, "Brokers to begin with, as `host:port`, separated by commas.")
        .example("localhost:9092"),
    Key::new(
        "kafka.group_id",
        Kind::Text,
        Default::Implied("lakeward-<name>"),
        "The consumer group, which divides the topic partitions among instances. Progress lives in the tables; the group's offsets are only a report.",
    )
    .example("lakeward-shop"),
    Key::new(
        "kafka.properties",
        Kind::SecretMap,
        Default::Value("{}"),
        "Further librdkafka properties, such as `security.protocol`, `sasl.*` and `ssl.*`. Those that Lakeward sets itself are refused with the key to use instead.",
    ),
    Key::new("schema_registry", Kind::Section, Default::Absent, "The Confluent-compatible registry that knows the schemas of Avro, Protobuf and JSON records. Left out: no registry."),
    Key::new("schema_registry.url", Kind::Text, Default::Required, "Its base URL, `http://` or `https://`; may have a path.").example("http://localhost:8081"),
    Key::new("schema_registry.basic_auth", Kind::Section, Default::Absent, "HTTP basic authentication; or use `bearer_token`.")
        .example("{ username: \"${SR_USERNAME}\", password: \"${file:/run/secrets/schema_registry}\" }"),
    Key::new("schema_registry.basic_auth.username", Kind::Text, Default::Required, "The user.").example("\"${SR_USERNAME}\""),
    Key::new("schema_registry.basic_auth.password", Kind::Secret, Default::Required, "The password.").example("\"${file:/run/secrets/schema_registry}\""),
    Key::new("schema_registry.bearer_token", Kind::Secret, Default::Absent, "A token for the `Authorization: Bearer` header; or use `basic_auth`.")
        .example("\"${SR_TOKEN}\""),
    Key::new("schema_registry.tls", Kind::Section, Default::Absent, "Further TLS settings for an `https://` registry, beside the system's trust store.")
        .example("{ ca: registry-ca.pem, certificate: lakeward.pem, key: lakeward.key }"),
    Key::new("schema_registry.tls.ca", Kind::Text, Default::Absent, "A PEM file of certificate authorities to trust too; relative to this file.").example("registry-ca.pem"),
    Key::new("schema_registry.tls.certificate", Kind::Text, Default::Absent, "A PEM file of the client's certificate chain; needs `key`.").example("lakeward.pem"),
    Key::new("schema_registry.tls.key", Kind::Text, Default::Absent, "A PEM file of the client's private key; needs `certificate`.").example("lakeward.key"),
    Key::new("storage", Kind::Section, Default::Required, "Where the tables live."),
    Key::new("storage.url", Kind::Text, Default::Required, "The root of all tables: `file:///folder`, `s3://bucket/prefix`, `az://container/prefix`, `abfss://container@account.dfs.core.windows.net/prefix` or `gs://bucket/prefix`.")
        .example("s3://lake/bronze"),
    Key::new(
        "storage.options",
        Kind::SecretMap,
        Default::Value("{}"),
        "Options of the object store under their object_store or delta-rs names, such as `aws_endpoint`. What is left out comes from the environment's credential chain.",
    ),
    Key::new("limits", Kind::Section, Default::Implied("the defaults below"), "Bounds of the process."),
    Key::new(
        "limits.memory",
        Kind::Size(64 * MIB, 64 * TIB),
        Default::Value("1GiB"),
        "The memory to work within; fetches, rows and files share it.",
    ),
    Key::new(
        "limits.lanes",
        Kind::Lanes(1, 1024),
        Default::Value("auto"),
        "How many threads decode and encode; `auto` is one for each core that the cgroup allows.",
    ),
    Key::new(
        "limits.record_bytes",
        Kind::Size(1024, 1024 * MIB),
        Default::Value("16MiB"),
        "The largest value that is decoded; a larger one is a rejected record. At most a quarter of `limits.memory`.",
    ),
    Key::new("http", Kind::Section, Default::Implied("the defaults below"), "The listener for health, metrics and status."),
    Key::new("http.listen", Kind::Text, Default::Value("127.0.0.1:8750"), "The IP address and port to listen on; `0.0.0.0:8750` for all interfaces."),
    Key::new("http.token", Kind::Secret, Default::Absent, "What a POST must carry when it does not come over loopback; GETs are open.").example("\"${HTTP_TOKEN}\""),
    Key::new(
        "shutdown_grace",
        Kind::Duration(1_000, 3_600_000),
        Default::Value("30s"),
        "How long a drain on SIGTERM (seal, commit, leave the group) may take.",
    ),
    Key::new("defaults", Kind::TableDefaults, Default::Value("{}"), "Any key of a table but `name`, `topics` and `topics_regex`, for all tables that do not write it themselves."),
];
