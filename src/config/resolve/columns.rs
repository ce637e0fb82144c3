//! Which columns of a record a table keeps and which it masks. Owns that the paths fit one another and the rest of the table's settings; whether the records have such
//! columns is `decode`'s to say.

use crate::config::partition::segments;
use crate::config::problem::{Findings, suggestion};
use crate::config::resolve::complain;
use crate::config::resolve::together::word;
use crate::config::section::{Origin, Pair, Section, Text, join};
use crate::config::settings::{
    ColumnPath, Columns, Mask, Metadata, MetadataColumn, PartitionField, Secret, Transform,
};

const RESCUED: &str = "_rescued";

pub(super) fn resolve(
    table: &Section,
    metadata: Option<&Metadata>,
    partition_by: Option<&[PartitionField]>,
    findings: &mut Findings,
) -> Option<Columns> {
    let section = table.section("columns")?;
    let include = paths(section, "include", findings);
    let exclude = paths(section, "exclude", findings);
    let mask = masks(section, findings);
    let (include, exclude, mask) = (include?, exclude?, mask?);
    let chosen = Chosen {
        section,
        metadata: metadata?,
        include: &include,
        exclude: &exclude,
        mask: &mask,
    };
    let before = findings.0.len();
    chosen.check_each(findings);
    chosen.check_together(findings);
    let mask_key = chosen.mask_key(findings);
    if let Some(fields) = partition_by {
        chosen.check_partition_by(table, fields, findings);
        chosen.check_sort_by(table, fields, findings);
    }
    let plain = |paths: Vec<Path<'_>>| paths.into_iter().map(|path| path.names).collect();
    (findings.0.len() == before).then(|| Columns {
        include: plain(include),
        exclude: plain(exclude),
        mask: mask
            .into_iter()
            .map(|(path, mask)| (path.names, mask))
            .collect(),
        mask_key,
    })
}

/// A path, where it was written.
struct Path<'a> {
    text: &'a Text,
    names: ColumnPath,
}

fn paths<'a>(section: &'a Section, key: &str, findings: &mut Findings) -> Option<Vec<Path<'a>>> {
    let at = join(&section.path, key);
    let mut paths = Vec::new();
    let mut fine = true;
    for text in section.texts(key)? {
        match segments(text.text.trim()) {
            Some(names) => paths.push(Path { text, names }),
            None => {
                complain(text, &at, NO_PATH, findings);
                fine = false;
            }
        }
    }
    fine.then_some(paths)
}

const NO_PATH: &str = "is not the path of a column; write names with dots between them, such as `customer.email`, and in back quotes a name that holds more than letters, digits and `_`";

fn masks<'a>(section: &'a Section, findings: &mut Findings) -> Option<Vec<(Path<'a>, Mask)>> {
    let mut masks = Vec::new();
    let mut fine = true;
    for Pair { name, place, value } in section.pairs("mask")? {
        let at = join(&join(&section.path, "mask"), name);
        let mask = match value.text.as_str() {
            "hmac_sha256" => Some(Mask::HmacSha256),
            "redact" => Some(Mask::Redact),
            other => {
                let hint = suggestion(other, ["hmac_sha256", "redact"]);
                let complaint = format!("is no mask; write `hmac_sha256` or `redact`{hint}");
                complain(value, &at, &complaint, findings);
                None
            }
        };
        let names = segments(name.trim());
        if names.is_none() {
            findings.say(*place, &at, format!("`{name}` {NO_PATH}"));
        }
        match (names, mask) {
            (Some(names), Some(mask)) => masks.push((Path { text: value, names }, mask)),
            (_, _) => fine = false,
        }
    }
    fine.then_some(masks)
}

/// What a table's paths say, before they are held against each other.
struct Chosen<'a> {
    section: &'a Section,
    metadata: &'a Metadata,
    include: &'a [Path<'a>],
    exclude: &'a [Path<'a>],
    mask: &'a [(Path<'a>, Mask)],
}

impl Chosen<'_> {
    fn key_name(&self) -> String {
        format!("{}key", self.metadata.prefix)
    }

    fn is_kafka(&self, names: &[String]) -> bool {
        let first = names.first();
        let Some(own) = first.and_then(|name| name.strip_prefix(&self.metadata.prefix)) else {
            return false;
        };
        let mut chosen = self.metadata.include.iter().map(word);
        ["topic", "partition", "offset"].contains(&own) || chosen.any(|word| word == own)
    }

    /// Kafka's columns have keys of their own; only the record's key can be masked, and members of it left out.
    fn check_each(&self, findings: &mut Findings) {
        let key_name = self.key_name();
        let has_key = self.metadata.include.contains(&MetadataColumn::Key);
        let of_key = |names: &[String]| names.first() == Some(&key_name);
        for (key, paths) in [("include", self.include), ("exclude", self.exclude)] {
            for path in paths {
                let is_member = key == "exclude" && of_key(&path.names) && path.names.len() > 1;
                if self.is_kafka(&path.names) && !(is_member && has_key) {
                    let complaint = "is a Kafka column; choose those by `metadata.include`, and members of a decoded key by `exclude`";
                    complain(
                        path.text,
                        &join(&self.section.path, key),
                        complaint,
                        findings,
                    );
                }
            }
        }
        for (path, _) in self.mask {
            let at = join(&join(&self.section.path, "mask"), &shown(&path.names));
            if of_key(&path.names) && !has_key && !self.metadata.prefix.is_empty() {
                let message = format!(
                    "the table has no column `{key_name}`; add `key` to `metadata.include`, or remove this"
                );
                findings.say(path.text.place, &at, message);
            } else if self.is_kafka(&path.names) && !(has_key && of_key(&path.names)) {
                let message = format!(
                    "of Kafka's columns only `{key_name}` can be masked; leave others out of `metadata.include`"
                );
                findings.say(path.text.place, &at, message);
            } else if path.names == [RESCUED] {
                let message = "the column of unknown fields cannot be masked; write `value.unknown_fields: ignore`, or exclude it";
                findings.say(path.text.place, &at, message.to_owned());
            }
        }
    }

    fn check_together(&self, findings: &mut Findings) {
        let at = |key: &str| join(&self.section.path, key);
        for (key, paths) in [("include", self.include), ("exclude", self.exclude)] {
            for (index, path) in paths.iter().enumerate() {
                let mut others = paths
                    .iter()
                    .enumerate()
                    .filter(|(other, _)| *other != index);
                let outer = others.find(|(other, outer)| {
                    outer.names == path.names && *other < index
                        || outer.names != path.names && path.names.starts_with(&outer.names)
                });
                if let Some((_, outer)) = outer {
                    let complaint = format!(
                        "is in the list already, by {}; remove one",
                        outer.text.shown
                    );
                    complain(path.text, &at(key), &complaint, findings);
                }
            }
        }
        for path in self.include {
            if let Some(outer) = self.excluded(&path.names) {
                let complaint = format!(
                    "lies in `{}`, which `columns.exclude` leaves out",
                    shown(outer)
                );
                complain(path.text, &at("include"), &complaint, findings);
            }
        }
        for (index, (path, _)) in self.mask.iter().enumerate() {
            let say = |message: String, findings: &mut Findings| {
                let at = join(&at("mask"), &shown(&path.names));
                findings.say(path.text.place, &at, message);
            };
            let mut others = self.mask.iter().enumerate();
            let twice = others.find(|(other, (outer, _))| {
                *other != index
                    && path.names.starts_with(&outer.names)
                    && (outer.names != path.names || *other < index)
            });
            if let Some((_, (outer, _))) = twice {
                let outer = shown(&outer.names);
                say(
                    format!("`{outer}` is masked as a whole; remove one"),
                    findings,
                );
            }
            let chosen = self.include.iter().chain(self.exclude);
            let mut within = chosen
                .filter(|other| other.names != path.names && other.names.starts_with(&path.names));
            if let Some(inner) = within.next() {
                let inner = shown(&inner.names);
                say(
                    format!("is masked as a whole, and `{inner}` lies in it; remove one"),
                    findings,
                );
            }
            if let Some(why) = self.absent(&path.names) {
                say(why, findings);
            }
        }
    }

    fn excluded(&self, names: &[String]) -> Option<&ColumnPath> {
        let excluded = self.exclude.iter().map(|path| &path.names);
        let mut around = excluded.filter(|outer| names.starts_with(outer));
        around.next()
    }

    /// Why the table does not have the column, where that is so.
    fn absent(&self, names: &[String]) -> Option<String> {
        if let Some(outer) = self.excluded(names) {
            let whole = if outer.len() == names.len() {
                "`columns.exclude` leaves it out".to_owned()
            } else {
                format!("`columns.exclude` leaves out `{}`", shown(outer))
            };
            return Some(whole);
        }
        let is_included = self.include.is_empty()
            || self.is_kafka(names)
            || self
                .include
                .iter()
                .any(|path| names.starts_with(&path.names) || path.names.starts_with(names));
        (!is_included).then(|| "`columns.include` does not have it".to_owned())
    }

    fn mask_key(&self, findings: &mut Findings) -> Option<Secret> {
        let needs_key = self.mask.iter().any(|(_, mask)| *mask == Mask::HmacSha256);
        let path = join(&self.section.path, "mask_key");
        let entry = self.section.entry("mask_key");
        let Some(text) = self.section.text("mask_key") else {
            if needs_key && entry.is_none() {
                let message = "is required and missing: `hmac_sha256` needs a key; write `mask_key: \"${file:/run/secrets/mask}\"`";
                findings.say(self.section.place, &path, message.to_owned());
            }
            return None;
        };
        let is_written = entry.is_some_and(|entry| entry.origin == Origin::Written);
        if !needs_key && is_written {
            let message = "is the key of `hmac_sha256`, which nothing is masked by; remove it";
            findings.say(text.place, &path, message.to_owned());
        } else if needs_key && text.text.is_empty() {
            let message = "is empty; write a key, of 32 random bytes or more, such as `openssl rand -hex 32` makes";
            findings.say(text.place, &path, message.to_owned());
        }
        needs_key.then(|| Secret::new(text.text.as_str()))
    }

    /// Table partitions are of what the table has: of hashes, but not of what is left out, nor of one fixed text.
    fn check_partition_by(
        &self,
        table: &Section,
        fields: &[PartitionField],
        findings: &mut Findings,
    ) {
        let Some(texts) = table.texts("partition_by") else {
            return;
        };
        let path = join(&table.path, "partition_by");
        for (field, text) in fields.iter().zip(texts) {
            if let Some(why) = self.unusable(&field.source_path()) {
                let complaint = format!("needs `{}`: {why}", field.source);
                complain(text, &path, &complaint, findings);
            }
        }
    }

    fn check_sort_by(&self, table: &Section, fields: &[PartitionField], findings: &mut Findings) {
        let path = join(&table.path, "sort_by");
        let is_computed = |name: &str| {
            let mut computed = fields
                .iter()
                .filter(|field| field.transform != Transform::Identity);
            computed.any(|field| field.name == name)
        };
        for text in table.texts("sort_by").unwrap_or_default() {
            if is_computed(&text.text) {
                continue;
            }
            if let Some(why) = self.unusable(std::slice::from_ref(&text.text)) {
                complain(
                    text,
                    &path,
                    &format!("cannot be sorted by: {why}"),
                    findings,
                );
            }
        }
    }

    fn unusable(&self, names: &[String]) -> Option<String> {
        let is_redacted = |(path, mask): &&(Path<'_>, Mask)| {
            *mask == Mask::Redact && names.starts_with(&path.names)
        };
        if self.is_kafka(names) && self.mask.iter().find(is_redacted).is_none() {
            return None;
        }
        let redacted = self.mask.iter().find(is_redacted);
        let redacted = redacted.map(|(path, _)| format!("`{}` is redacted", shown(&path.names)));
        self.absent(names).or(redacted)
    }
}

/// A path as a person writes it.
fn shown(names: &[String]) -> String {
    let is_plain = |name: &str| name.chars().all(|c| c.is_alphanumeric() || c == '_');
    let spelled: Vec<String> = names
        .iter()
        .map(|name| match is_plain(name) {
            true => name.clone(),
            false => format!("`{}`", name.replace('`', "``")),
        })
        .collect();
    spelled.join(".")
}
