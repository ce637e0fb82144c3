//! One table. Values that concern several tables are held against each other in `together`.

use std::path::Path;

use crate::config::partition;
use crate::config::pattern::{NAME_BYTES_MAX, NameTemplate, TopicPattern, is_plain};
use crate::config::problem::{Findings, one_of, suggestion};
use crate::config::resolve::value::Key;
use crate::config::resolve::{columns, complain, properties, value};
use crate::config::section::{Section, Text, Value, join};
use crate::config::settings::{
    Allow, Columns, ErrorMode, Errors, Evolution, Flush, Maintenance, Metadata, MetadataColumn,
    OnChange, OnIncompatible, PartitionField, Pattern, Start, SuspendAbove, Table, Tombstones,
};

/// What stands for the name of a table that is not known before its topics are.
const TABLE_TEMPLATE: &str = "{table}";
const TOPIC_TEMPLATE: &str = "{topic}";

/// What a table's values depend on outside of it.
#[derive(Debug)]
pub(super) struct Context<'a> {
    /// What relative paths are relative to.
    pub(super) folder: &'a Path,
    pub(super) has_registry: bool,
}

/// A table, or what makes tables once their topics are known.
#[derive(Debug)]
pub(super) enum Resolved {
    Table(Box<Table>),
    Pattern(Box<Pattern>),
}

impl Resolved {
    /// The table, or what the tables of a pattern have in common.
    pub(super) fn table(&self) -> &Table {
        match self {
            Resolved::Table(table) => table,
            Resolved::Pattern(pattern) => &pattern.table,
        }
    }
}

pub(super) fn resolve(
    section: &Section,
    context: &Context<'_>,
    findings: &mut Findings,
) -> Option<Resolved> {
    let feed = feed(section, findings);
    let name = name(section, &feed, findings);
    let table = table(section, &feed, name.as_ref(), context, findings)?;
    Some(match (feed, name?) {
        (Feed::Pattern(topics), Name { template, .. }) => Resolved::Pattern(Box::new(Pattern {
            topics,
            name: template?,
            table,
        })),
        (Feed::Topics(_) | Feed::Wrong, _) => Resolved::Table(Box::new(table)),
    })
}

fn table(
    section: &Section,
    feed: &Feed,
    name: Option<&Name>,
    context: &Context<'_>,
    findings: &mut Findings,
) -> Option<Table> {
    let is_template = name.is_some_and(Name::is_template);
    let name = name.map(|name| name.text.as_str());
    let path = folder(section, "path", name, str::to_owned, findings);
    let naming = Naming {
        table: name,
        topic: topic(feed, is_template),
    };
    let value = value::resolve(section, naming, context, findings);
    let partition_by = partition_by(section, findings);
    let key = value::key(section, naming, context, findings);
    let metadata = metadata(section, key.as_ref(), findings);
    let columns = columns::resolve(
        section,
        metadata.as_ref(),
        partition_by.as_deref(),
        findings,
    );
    let properties = properties::resolve(section, findings);
    let flush = flush(section);
    let start = start(section);
    let timestamps = value::timestamps(section);
    let errors = errors(section, name, columns.as_ref(), findings);
    let evolution = evolution(section, findings);
    let on_change = |key: &str| match section.word(key) {
        Some("continue") => Some(OnChange::Continue),
        Some("suspend") => Some(OnChange::Suspend),
        _ => None,
    };
    Some(Table {
        on_source_change: on_change("on_source_change")?,
        on_lost_offsets: on_change("on_lost_offsets")?,
        name: name?.to_owned(),
        path: path?,
        topics: match feed {
            Feed::Topics(topics) => topics.clone(),
            Feed::Pattern(_) => Vec::new(),
            Feed::Wrong => return None,
        },
        found: None,
        value: value?,
        key: match key? {
            Key::None | Key::Binary => None,
            Key::Decoded(value) => Some(value),
        },
        timestamps: timestamps?,
        start: start?,
        target_lag: section.duration("target_lag")?,
        flush: flush?,
        partition_by: partition_by?,
        metadata: metadata?,
        columns: columns?,
        tombstones: tombstones(section)?,
        errors: errors?,
        evolution: evolution?,
        properties: properties?,
        checkpoint_every_commits: section.number("maintenance.checkpoint_every_commits"),
        sort_by: section
            .texts("sort_by")?
            .iter()
            .map(|text| text.text.clone())
            .collect(),
        maintenance: maintenance(section)?,
    })
}

/// What is known of the names that other values may use.
#[derive(Debug, Clone, Copy)]
pub(super) struct Naming<'a> {
    /// The table's name, where it is right.
    pub(super) table: Option<&'a str>,
    pub(super) topic: Topic<'a>,
}

/// The topic that feeds a table.
#[derive(Debug, Clone, Copy)]
pub(super) enum Topic<'a> {
    /// What the config says of it is wrong, and reported.
    Unknown,
    One(&'a str),
    Several,
}

/// A table's name, or what stands for it.
#[derive(Debug)]
struct Name {
    text: String,
    /// What makes the names of a pattern's tables.
    template: Option<NameTemplate>,
}

impl Name {
    fn is_template(&self) -> bool {
        self.template
            .as_ref()
            .is_some_and(NameTemplate::is_template)
    }
}

fn name(section: &Section, feed: &Feed, findings: &mut Findings) -> Option<Name> {
    let name = section.text("name")?;
    let path = join(&section.path, "name");
    let is_written = name.text.contains('{');
    let groups = match feed {
        Feed::Topics(_) if is_written => {
            let complaint = "is a template, which needs `topics_regex`; for topics by name write a table for each, under its own name";
            complain(name, &path, complaint, findings);
            return None;
        }
        Feed::Topics(_) => 0,
        Feed::Pattern(pattern) => pattern.groups(),
        // What the groups are is not known, and something else is reported.
        Feed::Wrong => usize::MAX,
    };
    if !is_written {
        let fits =
            (1..=NAME_BYTES_MAX).contains(&name.text.len()) && name.text.chars().all(is_plain);
        if !fits {
            let complaint =
                "is not a table name; use letters, digits and `_`, at most 128, such as `orders`";
            complain(name, &path, complaint, findings);
            return None;
        }
    }
    match NameTemplate::parse(&name.text, groups) {
        Ok(template) if template.is_template() => Some(Name {
            text: TABLE_TEMPLATE.to_owned(),
            template: Some(template),
        }),
        Ok(template) => Some(Name {
            text: name.text.clone(),
            template: Some(template),
        }),
        Err(complaint) => {
            complain(name, &path, &complaint, findings);
            None
        }
    }
}

/// A folder under `storage.url`, at `key` or else by the table's name.
fn folder(
    section: &Section,
    key: &str,
    name: Option<&str>,
    by_name: impl Fn(&str) -> String,
    findings: &mut Findings,
) -> Option<String> {
    let Some(text) = section.text(key) else {
        return if section.is_written(key) {
            None
        } else {
            name.map(by_name)
        };
    };
    let name = name?;
    let complaint = match expand(&text.text, &[("table", name)]) {
        Ok(path) if name == TABLE_TEMPLATE && !path.contains(TABLE_TEMPLATE) => {
            "is one folder, and the template under `name` makes several tables; write `{table}` in it".to_owned()
        }
        Ok(path) => match path_complaint(&path.replace(TABLE_TEMPLATE, "table")) {
            None => return Some(path.trim_end_matches('/').to_owned()),
            Some(complaint) => complaint.to_owned(),
        },
        Err(complaint) => complaint,
    };
    complain(text, &section.entry(key)?.path, &complaint, findings);
    None
}

fn path_complaint(path: &str) -> Option<&'static str> {
    let path = path.strip_suffix('/').unwrap_or(path);
    if path.is_empty() {
        return Some(
            "is empty; write a folder under `storage.url`, or remove the line for the table's name",
        );
    }
    if path.starts_with('/') || path.contains("://") {
        return Some("is absolute; write a folder relative to `storage.url`, such as `orders`");
    }
    if path
        .split('/')
        .any(|part| matches!(part, "" | "." | ".." | "_delta_log"))
    {
        return Some(
            "has a part that is empty, `.`, `..` or `_delta_log`; write a plain folder, such as `shop/orders`",
        );
    }
    let fits = path
        .chars()
        .all(|c| c.is_ascii_alphanumeric() || "_-.=/".contains(c));
    (!fits).then_some(
        "holds other characters than letters, digits and `_-.=/`; they would need escaping in URLs",
    )
}

/// What feeds a table.
#[derive(Debug)]
enum Feed {
    /// Something that is wrong and reported.
    Wrong,
    Topics(Vec<String>),
    Pattern(TopicPattern),
}

fn feed(section: &Section, findings: &mut Findings) -> Feed {
    match (section.entry("topics"), section.entry("topics_regex")) {
        (None, None)
            if section
                .meant
                .iter()
                .any(|it| matches!(*it, "topics" | "topics_regex")) =>
        {
            Feed::Wrong
        }
        (None, None) => {
            let message = "is required and missing; write `topics: [shop.orders]`, or `topics_regex:` with a pattern of topics";
            findings.say(
                section.place,
                &join(&section.path, "topics"),
                message.to_owned(),
            );
            Feed::Wrong
        }
        (Some(topics), Some(regex)) => {
            let (first, second) = if topics.place <= regex.place {
                (topics, regex)
            } else {
                (regex, topics)
            };
            let message = format!(
                "excludes `{}`, written in line {}; keep one of them, or write two tables",
                first.key.name(),
                first.place.line
            );
            findings.say(second.place, &second.path, message);
            Feed::Wrong
        }
        (Some(_), None) => topics(section, findings).map_or(Feed::Wrong, Feed::Topics),
        (None, Some(entry)) => {
            let Some(text) = section.text("topics_regex") else {
                return Feed::Wrong;
            };
            match TopicPattern::parse(&text.text) {
                Ok(pattern) => Feed::Pattern(pattern),
                Err(complaint) => {
                    complain(text, &entry.path, &complaint, findings);
                    Feed::Wrong
                }
            }
        }
    }
}

fn topics(section: &Section, findings: &mut Findings) -> Option<Vec<String>> {
    let entry = section.entry("topics")?;
    let topics = section.texts("topics")?;
    if topics.is_empty() {
        findings.say(
            entry.place,
            &entry.path,
            "is an empty list; name at least one topic".to_owned(),
        );
        return None;
    }
    let mut fine = true;
    for (index, topic) in topics.iter().enumerate() {
        let legal = (1..=249).contains(&topic.text.len())
            && !matches!(topic.text.as_str(), "." | "..")
            && topic
                .text
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || "._-".contains(c));
        let twice = topics
            .iter()
            .take(index)
            .any(|other| other.text == topic.text);
        let complaint = match (legal, twice) {
            (true, false) => continue,
            (true, true) => "is in the list twice; remove one",
            (false, _) if topic.text.contains(['^', '*', '(', '$', '+', '[']) => {
                "is a pattern; write it under `topics_regex` instead of `topics`"
            }
            (false, _) => {
                "is not a topic's name; Kafka allows letters, digits, `.`, `_` and `-`, at most 249"
            }
        };
        complain(topic, &entry.path, complaint, findings);
        fine = false;
    }
    fine.then(|| topics.iter().map(|topic| topic.text.clone()).collect())
}

fn topic(feed: &Feed, is_template: bool) -> Topic<'_> {
    match feed {
        Feed::Wrong => Topic::Unknown,
        Feed::Topics(topics) if topics.len() > 1 => Topic::Several,
        Feed::Topics(topics) => topics.first().map_or(Topic::Unknown, |it| Topic::One(it)),
        Feed::Pattern(_) if is_template => Topic::One(TOPIC_TEMPLATE),
        Feed::Pattern(_) => Topic::Several,
    }
}

fn tombstones(section: &Section) -> Option<Tombstones> {
    match section.word("tombstones") {
        Some("skip") => Some(Tombstones::Skip),
        Some("null_row") => Some(Tombstones::NullRow),
        Some("reject") => Some(Tombstones::Reject),
        _ => None,
    }
}

fn start(section: &Section) -> Option<Start> {
    let Value::Start(start) = section.value("start")? else {
        return None;
    };
    Some(*start)
}

fn flush(section: &Section) -> Option<Flush> {
    Some(Flush {
        file_size_bytes: section.number("flush.file_size")?,
        rows: section.number("flush.rows")?,
    })
}

fn evolution(section: &Section, findings: &mut Findings) -> Option<Evolution> {
    let allow = match section.word("evolution.allow")? {
        "none" => Allow::None,
        "add_columns" => Allow::AddColumns,
        _ => return None,
    };
    let on_incompatible = match section.word("evolution.on_incompatible")? {
        "reject" => OnIncompatible::Reject,
        "suspend" => OnIncompatible::Suspend,
        "new_column" => OnIncompatible::NewColumn,
        _ => return None,
    };
    if (allow, on_incompatible) == (Allow::None, OnIncompatible::NewColumn) {
        let entry = section.entry("evolution.on_incompatible")?;
        let message = "`new_column` adds columns, which `evolution.allow: none` forbids; write `allow: add_columns`, or `reject`";
        findings.say(entry.place, &entry.path, message.to_owned());
        return None;
    }
    Some(Evolution {
        allow,
        on_incompatible,
    })
}

fn maintenance(section: &Section) -> Option<Maintenance> {
    Some(Maintenance {
        target_file_bytes: section.number("maintenance.compaction.target_file_size")?,
        min_files: section.number("maintenance.compaction.min_files")?,
        cold_after: section.duration("maintenance.compaction.cold_after")?,
        log_retention: section.duration("maintenance.log_retention")?,
        vacuum_older_than: section.duration("maintenance.vacuum.older_than")?,
        vacuum_interval: section.duration("maintenance.vacuum.interval")?,
    })
}

fn errors(
    section: &Section,
    name: Option<&str>,
    columns: Option<&Columns>,
    findings: &mut Findings,
) -> Option<Errors> {
    let mode = match section.word("errors.mode")? {
        "dlq" => ErrorMode::Dlq,
        "skip" => ErrorMode::Skip,
        _ => ErrorMode::Suspend,
    };
    let raw = section.word("errors.raw");
    if raw.is_none() && section.is_written("errors.raw") {
        return None;
    }
    Some(Errors {
        mode,
        table: folder(
            section,
            "errors.table",
            name,
            |name| format!("{name}__dlq"),
            findings,
        )?,
        raw: raw.map_or(
            columns.is_some_and(|columns| !columns.are_hidden()),
            |word| word == "true",
        ),
        suspend_above: SuspendAbove {
            percent: section.number("errors.suspend_above.percent")?,
            window: section.duration("errors.suspend_above.window")?,
            min_records: section.number("errors.suspend_above.min_records")?,
        },
    })
}

fn partition_by(section: &Section, findings: &mut Findings) -> Option<Vec<PartitionField>> {
    let entry = section.entry("partition_by")?;
    let texts: &[Text] = section.texts("partition_by")?;
    let mut fields: Vec<PartitionField> = Vec::new();
    let mut fine = true;
    for text in texts {
        let complaint = match partition::parse(&text.text) {
            Ok(field)
                if fields
                    .iter()
                    .any(|other| other.name.eq_ignore_ascii_case(&field.name)) =>
            {
                format!(
                    "makes the partition column `{}` a second time; rename or remove one",
                    field.name
                )
            }
            Ok(field) => {
                fields.push(field);
                continue;
            }
            Err(complaint) => complaint,
        };
        complain(text, &entry.path, &complaint, findings);
        fine = false;
    }
    fine.then_some(fields)
}

/// The Kafka columns; a decoded key is one of them, wherever it is listed.
fn metadata(section: &Section, key: Option<&Key>, findings: &mut Findings) -> Option<Metadata> {
    let prefix = section.text("metadata.prefix").filter(|prefix| {
        let fits = prefix.text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
        if !fits {
            complain(prefix, &join(&section.path, "metadata.prefix"), "is not the beginning of a column name; use letters, digits and `_`, such as `_kafka_`", findings);
        }
        fits
    });
    let entry = section.entry("metadata.include")?;
    let Value::Words(words) = &entry.value else {
        return None;
    };
    let mut include = Vec::new();
    for (word, place) in words {
        let column = match *word {
            "timestamp" => MetadataColumn::Timestamp,
            "timestamp_type" => MetadataColumn::TimestampType,
            "key" => MetadataColumn::Key,
            "headers" => MetadataColumn::Headers,
            "leader_epoch" => MetadataColumn::LeaderEpoch,
            "schema_id" => MetadataColumn::SchemaId,
            "ingested_at" => MetadataColumn::IngestedAt,
            _ => return None,
        };
        if include.contains(&column) {
            findings.say(
                *place,
                &entry.path,
                format!("`{word}` is in the list twice; remove one"),
            );
        }
        include.push(column);
    }
    let has_key = matches!(key, Some(Key::Binary | Key::Decoded(_)));
    if has_key && !include.contains(&MetadataColumn::Key) {
        include.push(MetadataColumn::Key);
    }
    Some(Metadata {
        prefix: prefix?.text.clone(),
        include,
    })
}

/// Puts names into their templates; `{other}` is a mistake.
pub(super) fn expand(text: &str, names: &[(&str, &str)]) -> Result<String, String> {
    let mut result = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('{') {
        let Some((template, behind)) = after.split_once('}') else {
            return Err("has a `{` without its `}`".to_owned());
        };
        let Some((_, value)) = names.iter().find(|(name, _)| *name == template) else {
            let known: Vec<String> = names
                .iter()
                .map(|(name, _)| format!("{{{name}}}"))
                .collect();
            let known: Vec<&str> = known.iter().map(String::as_str).collect();
            let hint = suggestion(template, names.iter().map(|(name, _)| *name));
            return Err(format!(
                "has the template `{{{template}}}`, which is not known here; there is {}{hint}",
                one_of(&known)
            ));
        };
        result.push_str(before);
        result.push_str(value);
        rest = behind;
    }
    result.push_str(rest);
    Ok(result)
}
