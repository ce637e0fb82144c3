//! Patterns of topics and the names of the tables that they feed: which topics a pattern takes, and what a template makes of one. Owns that grammar; what several topics
//! come to together is `expansion`'s.

use regex::Regex;

use crate::config::problem::one_of;

/// The longest name of a table, in bytes.
pub(crate) const NAME_BYTES_MAX: usize = 128;

/// What Kafka's own topics begin with, such as `__consumer_offsets`.
const INTERNAL: &str = "__";

/// The highest group that a template can name.
const GROUPS_MAX: usize = 9;

/// `topics_regex`: takes a topic when it matches the whole name.
#[derive(Debug, Clone)]
pub struct TopicPattern {
    text: String,
    regex: Regex,
}

impl TopicPattern {
    /// Reads a pattern; the error goes on from the value.
    pub(crate) fn parse(text: &str) -> Result<TopicPattern, String> {
        if text.is_empty() {
            return Err("is empty; write a pattern of whole names, such as `shop\\..+`".to_owned());
        }
        // Alone first: within the anchors, `a)(b` would be an expression.
        Regex::new(text).map_err(|error| complaint(&error))?;
        let regex = Regex::new(&format!(r"\A(?:{text})\z")).map_err(|error| complaint(&error))?;
        Ok(TopicPattern {
            text: text.to_owned(),
            regex,
        })
    }

    /// As it was written.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// How many groups it has.
    pub(crate) fn groups(&self) -> usize {
        self.regex.captures_len().saturating_sub(1)
    }
}

/// The last line of the parser's page is what is wrong.
fn complaint(error: &regex::Error) -> String {
    let page = error.to_string();
    let last = page.lines().last().unwrap_or_default();
    let what = last.trim_start_matches("error: ").trim_end_matches('.');
    format!(
        "is not a regular expression: {what}; the syntax is that of Rust's crate regex: no look-around and no back-references, and `\\.` for a dot"
    )
}

/// `name` of a table: a name, or a template of names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NameTemplate(Vec<Piece>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Piece {
    Text(String),
    Topic,
    Group(usize),
}

/// What a template makes of a topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Named {
    /// With the topic's own characters.
    pub(crate) literal: String,
    /// With `_` for those that no table's name holds.
    pub(crate) name: String,
}

impl NameTemplate {
    /// Reads a name for a pattern with so many groups; the error goes on from the value.
    pub(crate) fn parse(text: &str, groups: usize) -> Result<NameTemplate, String> {
        let mut pieces = Vec::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once('{') {
            let Some((template, behind)) = after.split_once('}') else {
                return Err("has a `{` without its `}`".to_owned());
            };
            pieces.push(Piece::Text(before.to_owned()));
            pieces.push(piece(template, groups)?);
            rest = behind;
        }
        pieces.push(Piece::Text(rest.to_owned()));
        pieces.retain(|piece| *piece != Piece::Text(String::new()));
        let fits = |piece: &Piece| match piece {
            Piece::Text(text) => text.chars().all(is_plain),
            Piece::Topic | Piece::Group(_) => true,
        };
        if pieces.is_empty() || text.len() > NAME_BYTES_MAX || !pieces.iter().all(fits) {
            return Err(format!(
                "is not the name of a table; use letters, digits and `_`, at most {NAME_BYTES_MAX}, and templates such as `cdc_{{1}}`"
            ));
        }
        Ok(NameTemplate(pieces))
    }

    /// Whether topics make names of their own.
    pub(crate) fn is_template(&self) -> bool {
        self.0.iter().any(|piece| !matches!(piece, Piece::Text(_)))
    }

    /// The name of the table of a topic, where the pattern takes it.
    pub(crate) fn of(&self, pattern: &TopicPattern, topic: &str) -> Option<Named> {
        let groups = pattern.regex.captures(topic)?;
        if topic.starts_with(INTERNAL) {
            return None;
        }
        let parts = self.0.iter().map(|piece| match piece {
            Piece::Text(text) => text.as_str(),
            Piece::Topic => topic,
            // A group that took no part holds nothing.
            Piece::Group(number) => groups.get(*number).map_or("", |group| group.as_str()),
        });
        let literal: String = parts.collect();
        let name = NameTemplate::plain(&literal);
        Some(Named { literal, name })
    }

    /// A name with `_` for the characters that no table's name holds.
    pub(crate) fn plain(literal: &str) -> String {
        literal.replace(|c| !is_plain(c), "_")
    }
}

/// Whether a table's name may hold it.
pub(crate) fn is_plain(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_'
}

fn piece(template: &str, groups: usize) -> Result<Piece, String> {
    if template == "topic" {
        return Ok(Piece::Topic);
    }
    let known: Vec<String> = (1..=groups.min(GROUPS_MAX))
        .map(|number| format!("{{{number}}}"))
        .chain(["{topic}".to_owned()])
        .collect();
    match template.parse::<usize>() {
        Ok(number) if (1..=groups.min(GROUPS_MAX)).contains(&number) => Ok(Piece::Group(number)),
        _ => {
            let known: Vec<&str> = known.iter().map(String::as_str).collect();
            let why = match (template.parse::<usize>(), groups) {
                (Ok(_), 0) => ", and `topics_regex` has no group (`(..)`)",
                (Ok(_), 1) => ", and `topics_regex` has one group (`(..)`)",
                _ => "",
            };
            Err(format!(
                "has the template `{{{template}}}`, which is not known here{why}; there is {}",
                one_of(&known)
            ))
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn named(pattern: &str, name: &str, topic: &str) -> Option<(String, String)> {
        let pattern = TopicPattern::parse(pattern).unwrap();
        let template = NameTemplate::parse(name, pattern.groups()).unwrap();
        let named = template.of(&pattern, topic)?;
        Some((named.literal, named.name))
    }

    fn some(literal: &str, name: &str) -> Option<(String, String)> {
        Some((literal.to_owned(), name.to_owned()))
    }

    #[test]
    fn a_pattern_takes_whole_names_only_and_none_of_kafkas_own() {
        assert_eq!(named("shop", "t", "shop.orders"), None);
        assert_eq!(named("a|ab", "t", "ab"), some("t", "t"));
        assert_eq!(named("^shop\\..+$", "t", "shop.orders"), some("t", "t"));
        assert_eq!(named("(?i)SHOP", "t", "shop"), some("t", "t"));
        assert_eq!(named(".*", "t", "__consumer_offsets"), None);
        assert_eq!(named(".*", "t", "_one"), some("t", "t"));
    }

    #[test]
    fn a_template_takes_the_topic_and_its_groups_and_replaces_what_no_name_holds() {
        let pattern = r"^pg\.public\.(.+)$";
        assert_eq!(
            named(pattern, "cdc_{1}", "pg.public.orders"),
            some("cdc_orders", "cdc_orders")
        );
        assert_eq!(
            named(pattern, "cdc_{1}", "pg.public.order-items"),
            some("cdc_order-items", "cdc_order_items")
        );
        assert_eq!(named(".+", "{topic}", "a.b"), some("a.b", "a_b"));
        assert_eq!(
            named(r"(\w+)\.(\w+)?\.?(\w+)", "{3}_{2}_{1}", "a.c"),
            some("c__a", "c__a")
        );
    }

    #[test]
    fn what_is_no_pattern_and_no_template_is_refused_in_words() {
        for (text, part) in [
            ("", "is empty"),
            ("(a", "unclosed group"),
            ("a)(b", "unopened group"),
            ("a(?=b)", "look-around"),
            ("(a)\\1", "backreferences are not supported"),
            ("a{99999}{99999}", "size limit"),
            ("(?x)a # to the end", "unclosed group"),
        ] {
            let said = TopicPattern::parse(text).unwrap_err();
            assert!(said.contains(part) && said.lines().count() == 1, "{said}");
        }
        for (text, groups, part) in [
            (
                "a_{2}",
                1,
                "has one group (`(..)`); there is `{1}` or `{topic}`",
            ),
            ("a_{1}", 0, "has no group (`(..)`); there is `{topic}`"),
            (
                "a_{table}",
                2,
                "`{table}`, which is not known here; there is `{1}`, `{2}` or `{topic}`",
            ),
            ("a_{0}", 1, "`{0}`"),
            ("a_{", 1, "without its `}`"),
            ("a-{1}", 1, "is not the name of a table"),
            ("", 1, "is not the name of a table"),
        ] {
            let said = NameTemplate::parse(text, groups).unwrap_err();
            assert!(said.contains(part), "{said}");
        }
    }

    proptest! {
        #[test]
        fn every_name_is_one_that_a_table_may_have(topic in "[a-cA-C0-9._-]{1,12}", name in "[a-c_]{0,3}(\\{topic\\}|\\{1\\})[a-c_]{0,3}") {
            let pattern = TopicPattern::parse("(.)(.*)").unwrap();
            let template = NameTemplate::parse(&name, pattern.groups()).unwrap();
            match template.of(&pattern, &topic) {
                None => prop_assert!(topic.starts_with("__")),
                Some(named) => {
                    prop_assert!(named.name.chars().all(is_plain));
                    prop_assert_eq!(named.name.len(), named.literal.len());
                    prop_assert!(!named.name.is_empty());
                }
            }
        }

        #[test]
        fn arbitrary_patterns_and_names_never_panic(pattern in "\\PC{0,20}", name in "[a-z{}0-9_.-]{0,12}", topic in "\\PC{0,10}") {
            if let Ok(pattern) = TopicPattern::parse(&pattern)
                && let Ok(template) = NameTemplate::parse(&name, pattern.groups())
            {
                let _named = template.of(&pattern, &topic);
            }
        }
    }
}
