//! The `kafka` section. Owns which librdkafka properties are Lakeward's own, and what to write instead.

use crate::config::problem::{Findings, one_of};
use crate::config::resolve::{MEMORY_SHARE, complain, complain_address, secrets};
use crate::config::section::{Pair, Section, Text, join};
use crate::config::settings::Kafka;
use crate::config::units;

const PATH: &str = "kafka.properties";

/// Properties that are refused, with what to do instead.
const OWNED: &[(&str, &str)] = &[
    ("group.id", "use `kafka.group_id`"),
    ("bootstrap.servers", "use `kafka.bootstrap_servers`"),
    ("metadata.broker.list", "use `kafka.bootstrap_servers`"),
    (
        "isolation.level",
        "it is always `read_committed`; remove it",
    ),
    (
        "enable.auto.commit",
        "progress is committed with the rows, in the table; remove it",
    ),
    (
        "auto.commit.enable",
        "progress is committed with the rows, in the table; remove it",
    ),
    (
        "auto.commit.interval.ms",
        "progress is committed with the rows, in the table; use the table's `target_lag`",
    ),
    (
        "enable.auto.offset.store",
        "progress is committed with the rows, in the table; remove it",
    ),
    (
        "offset.store.method",
        "progress is committed with the rows, in the table; remove it",
    ),
    ("auto.offset.reset", "use the table's `start`"),
    ("enable.partition.eof", "it is always on; remove it"),
    (
        "max.poll.records",
        "it is a property of the Java client; memory is bounded by `limits.memory`",
    ),
    (
        "key.deserializer",
        "it is a property of the Java client; use the table's `key.format`",
    ),
    (
        "value.deserializer",
        "it is a property of the Java client; use the table's `value.format`",
    ),
    ("schema.registry.url", "use `schema_registry.url`"),
    ("basic.auth.user.info", "use `schema_registry.basic_auth`"),
    (
        "sasl.jaas.config",
        "it is a property of the Java client; use `sasl.username` and `sasl.password`",
    ),
    (
        "ssl.truststore.location",
        "it is a property of the Java client; use `ssl.ca.location`, a PEM file",
    ),
    (
        "ssl.truststore.password",
        "it is a property of the Java client; use `ssl.ca.location`, a PEM file",
    ),
];

/// Properties that set how much is fetched ahead, with their unit in bytes.
const SIZES: &[(&str, u64)] = &[
    ("queued.max.messages.kbytes", 1024),
    ("fetch.max.bytes", 1),
    ("fetch.message.max.bytes", 1),
    ("max.partition.fetch.bytes", 1),
    ("receive.message.max.bytes", 1),
];

const STRATEGIES: [&str; 3] = ["range", "roundrobin", "cooperative-sticky"];
const PROTOCOLS: [&str; 4] = ["plaintext", "ssl", "sasl_plaintext", "sasl_ssl"];
const MECHANISMS: [&str; 3] = ["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"];

pub(super) fn resolve(
    root: &Section,
    name: Option<&str>,
    findings: &mut Findings,
) -> Option<Kafka> {
    let section = root.section("kafka")?;
    let servers = section
        .text("bootstrap_servers")
        .and_then(|text| servers(text, findings));
    let group_id = match section.text("group_id") {
        Some(text) => group_id(text, findings),
        None if section.is_written("group_id") => None,
        None => name.map(|name| format!("lakeward-{name}")),
    };
    let pairs = section.pairs("properties");
    for pair in pairs.unwrap_or_default() {
        property(pair, root.number("limits.memory"), findings);
    }
    security(section, pairs.unwrap_or_default(), findings);
    Some(Kafka {
        bootstrap_servers: servers?,
        group_id: group_id?,
        properties: secrets(pairs?),
    })
}

fn servers(text: &Text, findings: &mut Findings) -> Option<String> {
    let mut servers = Vec::new();
    for server in text.text.split(',').map(str::trim) {
        let address = server
            .split_once("://")
            .map_or(server, |(_, address)| address);
        let fits = address.rsplit_once(':').is_some_and(|(host, port)| {
            !host.is_empty()
                && !host.contains(|c: char| c.is_whitespace() || c == '/')
                && port.parse::<u16>().is_ok_and(|port| port > 0)
        });
        if !fits {
            let hint = "; write `host:port`, several separated by commas, such as `kafka-1:9092,kafka-2:9092`";
            let complaint = if text.text.trim().is_empty() {
                format!("names no broker{hint}")
            } else if text.substituted || server == text.text || server.contains('@') {
                format!("is not `host:port`{hint}")
            } else {
                format!("holds `{server}`, which is not `host:port`{hint}")
            };
            complain_address(text, "kafka.bootstrap_servers", &complaint, findings);
            return None;
        }
        servers.push(server);
    }
    Some(servers.join(","))
}

fn group_id(text: &Text, findings: &mut Findings) -> Option<String> {
    let fits = !text.text.is_empty()
        && text.text.trim() == text.text
        && !text.text.contains(char::is_control);
    if !fits {
        complain(
            text,
            "kafka.group_id",
            "is not a consumer group; write a text without spaces around it, or remove the line for `lakeward-<name>`",
            findings,
        );
    }
    fits.then(|| text.text.clone())
}

fn property(pair: &Pair, memory_bytes: Option<u64>, findings: &mut Findings) {
    let path = join(PATH, &pair.name);
    if let Some((_, instead)) = OWNED.iter().find(|(name, _)| *name == pair.name) {
        return findings.say(
            pair.place,
            &path,
            format!("is not for the config to set: {instead}"),
        );
    }
    if pair.name.contains('_') {
        let dotted = pair.name.replace('_', ".");
        return findings.say(pair.place, &path, format!("is not a librdkafka property that a config can set; their names have dots, such as `{dotted}`"));
    }
    if let Some((_, unit)) = SIZES.iter().find(|(name, _)| *name == pair.name) {
        return size(pair, *unit, memory_bytes, findings);
    }
    let value = pair.value.text.trim();
    let complaint = match pair.name.as_str() {
        "partition.assignment.strategy" => strategies(value),
        "security.protocol" if !PROTOCOLS.contains(&value.to_lowercase().as_str()) => Some(
            format!("is not a security protocol; write {}", one_of(&PROTOCOLS)),
        ),
        "sasl.mechanism" | "sasl.mechanisms" if !MECHANISMS.contains(&value) => Some(format!(
            "is not a SASL mechanism that is built in; write {}",
            one_of(&MECHANISMS)
        )),
        _ => None,
    };
    if let Some(complaint) = complaint {
        findings.say(
            pair.value.place,
            &path,
            format!("{} {complaint}", shown(&pair.value)),
        );
    }
}

fn size(pair: &Pair, unit: u64, memory_bytes: Option<u64>, findings: &mut Findings) {
    let path = join(PATH, &pair.name);
    let Ok(number) = pair.value.text.trim().parse::<u64>() else {
        return findings.say(
            pair.value.place,
            &path,
            format!("{} is not a whole number", shown(&pair.value)),
        );
    };
    let Some(share) = memory_bytes.map(|bytes| bytes / MEMORY_SHARE) else {
        return;
    };
    if number.saturating_mul(unit) > share {
        let message = format!(
            "{} is more than a quarter of `limits.memory` (`{}`), from which fetches are sized; remove it, or raise `limits.memory`",
            shown(&pair.value),
            units::show_size(share)
        );
        findings.say(pair.value.place, &path, message);
    }
}

fn strategies(value: &str) -> Option<String> {
    let written: Vec<&str> = value.split(',').map(str::trim).collect();
    if written
        .iter()
        .any(|strategy| !STRATEGIES.contains(strategy))
    {
        return Some(format!(
            "is not an assignment strategy; write {}",
            one_of(&STRATEGIES)
        ));
    }
    let cooperative = written
        .iter()
        .filter(|strategy| **strategy == "cooperative-sticky")
        .count();
    (cooperative > 0 && cooperative < written.len()).then(|| "mixes `cooperative-sticky` with eager strategies, which no group can agree on; write one".to_owned())
}

/// SASL needs a mechanism (librdkafka's default, GSSAPI, is not built in) and an identity.
fn security(section: &Section, pairs: &[Pair], findings: &mut Findings) {
    let find = |name: &str| pairs.iter().find(|pair| pair.name == name);
    let Some(protocol) =
        find("security.protocol").filter(|pair| pair.value.text.to_lowercase().starts_with("sasl"))
    else {
        return;
    };
    let mechanism = find("sasl.mechanism").or(find("sasl.mechanisms"));
    for (missing, name, example) in [
        (mechanism.is_none(), "sasl.mechanism", "SCRAM-SHA-512"),
        (
            find("sasl.username").is_none(),
            "sasl.username",
            "\"${KAFKA_USERNAME}\"",
        ),
        (
            find("sasl.password").is_none(),
            "sasl.password",
            "\"${KAFKA_PASSWORD}\"",
        ),
    ] {
        if missing {
            let path = join(&join(&section.path, "properties"), name);
            findings.say(protocol.place, &path, format!("is required and missing, because `security.protocol` asks for SASL; write `{name}: {example}`"));
        }
    }
}

/// These properties are no secrets, unless `${..}` put something there by mistake.
fn shown(text: &Text) -> String {
    if text.substituted {
        text.shown.clone()
    } else {
        format!("`{}`", text.text)
    }
}
