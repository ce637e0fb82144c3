//! The tables of a config over the topics that there are: those that are written, and those that patterns make. Pure. Owns who gets a topic where names or folders collide;
//! nobody is asked for topics here, and no table is looked at.

use std::collections::{BTreeMap, BTreeSet};

use crate::config::pattern::NAME_BYTES_MAX;
use crate::config::settings::{Config, ErrorMode, Pattern, Table};

/// The topics that are known to be a table's, by its name: those that it runs with, or that its log names.
pub type Feeds = BTreeMap<String, BTreeSet<String>>;

/// What a config comes to.
#[derive(Debug, Default)]
pub struct Expansion {
    /// The written tables, then those that patterns make, each with the topics that feed it.
    pub tables: Vec<Table>,
    /// Topics that feed no table, although a pattern takes them.
    pub refused: Vec<Refused>,
    /// Patterns that take no topic, as they were written.
    pub unmatched: Vec<String>,
    /// Tables that something was refused for without knowing what they are fed by: their logs may settle it.
    pub contested: Vec<Contested>,
}

/// A topic that feeds no table.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Refused {
    /// The topic.
    pub topic: String,
    /// The table that it would feed.
    pub table: String,
    /// Why not, and what to do.
    pub reason: String,
}

/// A table that several would have.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Contested {
    /// Its name.
    pub table: String,
    /// Its folder.
    pub path: String,
}

/// Topics of one pattern that the template gives the same name, before characters are replaced.
struct Claim<'a> {
    index: usize,
    pattern: &'a Pattern,
    literal: String,
    topics: BTreeSet<&'a str>,
}

/// Works out the tables over these topics. Where topics exclude one another, those that feed the table already stay, and where none does, none begins.
pub fn expand(config: &Config, topics: &[String], feeds: &Feeds) -> Expansion {
    let mut expansion = Expansion {
        tables: config.tables.clone(),
        ..Expansion::default()
    };
    let mut made = Vec::new();
    for (name, claims) in claims(config, topics, &mut expansion) {
        let known = feeds.get(&name);
        let Some(claim) = winner(&name, claims, known, config, &mut expansion) else {
            continue;
        };
        let Some(topics) = fitting(&name, &claim, known, &mut expansion) else {
            continue;
        };
        made.push(claim.pattern.table_of(claim.index, &claim.literal, topics));
    }
    // Who is known comes first, then by name, so that every instance decides alike.
    made.sort_by_key(|table| feeds.get(&table.name).is_none_or(BTreeSet::is_empty));
    for table in made {
        settle(table, feeds, &mut expansion);
    }
    expansion.refused.sort();
    expansion.refused.dedup();
    expansion.contested.sort();
    expansion.contested.dedup();
    expansion
}

/// Who would have each name.
fn claims<'a>(
    config: &'a Config,
    topics: &'a [String],
    expansion: &mut Expansion,
) -> BTreeMap<String, Vec<Claim<'a>>> {
    let topics: BTreeSet<&str> = topics.iter().map(String::as_str).collect();
    let mut claims: BTreeMap<String, Vec<Claim<'a>>> = BTreeMap::new();
    for (index, pattern) in config.patterns.iter().enumerate() {
        let mut is_matched = false;
        for topic in &topics {
            let Some(named) = pattern.name.of(&pattern.topics, topic) else {
                continue;
            };
            is_matched = true;
            if !(1..=NAME_BYTES_MAX).contains(&named.name.len()) {
                expansion.refuse(
                    [*topic],
                    &named.name,
                    &format!(
                        "the template under `name` makes a name of {} characters of it; a table's has 1 to {NAME_BYTES_MAX}, so write another template",
                        named.name.len()
                    ),
                );
                continue;
            }
            let of_name = claims.entry(named.name).or_default();
            let is_same = |it: &&mut Claim<'_>| it.index == index && it.literal == named.literal;
            match of_name.iter_mut().find(is_same) {
                Some(claim) => {
                    claim.topics.insert(*topic);
                }
                None => of_name.push(Claim {
                    index,
                    pattern,
                    literal: named.literal,
                    topics: BTreeSet::from([*topic]),
                }),
            }
        }
        if !is_matched {
            let text = pattern.topics.text().to_owned();
            expansion.unmatched.push(text);
        }
    }
    claims
}

/// The one claim to a name that holds.
fn winner<'a>(
    name: &str,
    claims: Vec<Claim<'a>>,
    known: Option<&BTreeSet<String>>,
    config: &Config,
    expansion: &mut Expansion,
) -> Option<Claim<'a>> {
    if config.tables.iter().any(|table| table.name == name) {
        let reason = format!(
            "the config has a table `{name}` of its own, and `topics_regex` with the template under `name` makes another one; rename one of them"
        );
        for claim in &claims {
            expansion.refuse(claim.topics.iter().copied(), name, &reason);
        }
        return None;
    }
    if let [_] = claims.as_slice() {
        return claims.into_iter().next();
    }
    let all: BTreeSet<&str> = claims
        .iter()
        .flat_map(|it| it.topics.iter().copied())
        .collect();
    let first = claims.first().map(|it| it.index);
    let is_of_one_pattern = claims.iter().all(|it| Some(it.index) == first);
    let reason = if is_of_one_pattern {
        format!(
            "the topics {} would all feed table `{name}`, because their names differ in characters only that no table's name holds; let `topics_regex` take one of them, and write a table of its own for the other",
            listed(&all)
        )
    } else {
        format!(
            "two patterns under `topics_regex` make a table `{name}` of {}; rename one, or let only one of them take these topics",
            listed(&all)
        )
    };
    expansion.contest(name, &claims, known);
    let (mut winners, losers): (Vec<Claim<'_>>, Vec<Claim<'_>>) = claims
        .into_iter()
        .partition(|it| it.topics.iter().any(|topic| is_known(known, topic)));
    let all_lose = winners.len() != 1;
    let refused = winners.iter().filter(|_| all_lose).chain(&losers);
    for claim in refused {
        expansion.refuse(claim.topics.iter().copied(), name, &reason);
    }
    winners.pop().filter(|_| !all_lose)
}

/// The topics of a claim that one table can take: all of them, unless its subject names the one topic.
fn fitting(
    name: &str,
    claim: &Claim<'_>,
    known: Option<&BTreeSet<String>>,
    expansion: &mut Expansion,
) -> Option<Vec<String>> {
    let all = || claim.topics.iter().map(|it| (*it).to_owned()).collect();
    if claim.topics.len() == 1 || !claim.pattern.is_by_topic() {
        return Some(all());
    }
    let reason = format!(
        "the topics {} would all feed table `{name}`, whose columns come from the subject of one topic; write a subject of the table under `schema.subject`, such as `{{table}}-value`, or a template under `name` that keeps them apart",
        listed(&claim.topics)
    );
    expansion.contest(name, std::slice::from_ref(claim), known);
    let (stay, go): (Vec<&str>, Vec<&str>) = claim
        .topics
        .iter()
        .copied()
        .partition(|it| is_known(known, it));
    let [only] = stay.as_slice() else {
        expansion.refuse(claim.topics.iter().copied(), name, &reason);
        return None;
    };
    expansion.refuse(go, name, &reason);
    Some(vec![(*only).to_owned()])
}

fn is_known(known: Option<&BTreeSet<String>>, topic: &str) -> bool {
    known.is_some_and(|known| known.contains(topic))
}

/// Takes a table in, unless its folders are another one's.
fn settle(table: Table, feeds: &Feeds, expansion: &mut Expansion) {
    let taken = expansion.tables.iter().find_map(|other| {
        let mut pairs =
            folders(&table).flat_map(|own| folders(other).map(move |theirs| (own, theirs)));
        let pair = pairs.find(|(own, theirs)| clash(own, theirs))?;
        Some((other, pair.0.to_owned(), pair.1.to_owned()))
    });
    let Some((other, own, theirs)) = taken else {
        expansion.tables.push(table);
        return;
    };
    let reason = format!(
        "its folder `{own}` and the folder `{theirs}` of table `{}` are one, or lie inside one another; write another template under `name`, `path` or `errors.table`",
        other.name
    );
    for contested in [&table, other] {
        if !feeds.contains_key(&contested.name) {
            expansion.contested.push(Contested {
                table: contested.name.clone(),
                path: contested.path.clone(),
            });
        }
    }
    let topics = table.topics.iter().map(String::as_str);
    expansion.refuse(topics, &table.name, &reason);
}

fn folders(table: &Table) -> impl Iterator<Item = &str> {
    let rejected = (table.errors.mode == ErrorMode::Dlq).then_some(table.errors.table.as_str());
    std::iter::once(table.path.as_str()).chain(rejected)
}

/// Whether two folders are one, or one lies in the other.
fn clash(one: &str, other: &str) -> bool {
    let is_inside = |inner: &str, outer: &str| {
        let rest = inner.strip_prefix(outer);
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    };
    is_inside(one, other) || is_inside(other, one)
}

impl Expansion {
    fn refuse<'t>(&mut self, topics: impl IntoIterator<Item = &'t str>, table: &str, reason: &str) {
        self.refused.extend(topics.into_iter().map(|topic| Refused {
            topic: topic.to_owned(),
            table: table.to_owned(),
            reason: reason.to_owned(),
        }));
    }

    fn contest(&mut self, name: &str, claims: &[Claim<'_>], known: Option<&BTreeSet<String>>) {
        if known.is_some() {
            return;
        }
        self.contested.extend(claims.iter().map(|claim| {
            Contested {
                table: name.to_owned(),
                path: claim
                    .pattern
                    .table_of(claim.index, &claim.literal, Vec::new())
                    .path,
            }
        }));
    }
}

fn listed(topics: &BTreeSet<&str>) -> String {
    const LISTED_MAX: usize = 5;
    let shown: Vec<String> = topics
        .iter()
        .take(LISTED_MAX)
        .map(|topic| format!("`{topic}`"))
        .collect();
    let more = match topics.len().saturating_sub(LISTED_MAX) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    format!("{}{more}", shown.join(", "))
}

#[cfg(test)]
mod tests;
