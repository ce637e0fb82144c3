//! Expansion: which topics make which tables, and who gets a name that several would have.

use std::path::Path;

use proptest::prelude::*;

use super::*;
use crate::config;
use crate::config::settings::Value;

fn config(tables: &str) -> Config {
    let text = format!(
        "version: 1\nname: s\nkafka: {{ bootstrap_servers: \"k:1\" }}\nschema_registry: {{ url: \"http://r:1\" }}\nstorage: {{ url: \"file:///l\" }}\ntables:\n{tables}\n"
    );
    config::parse(&text, Path::new("expansion.yaml"), &|_| None)
        .unwrap_or_else(|problems| panic!("{problems}"))
}

fn raw(name: &str, regex: &str) -> String {
    format!("  - {{ name: \"{name}\", topics_regex: '{regex}', value: {{ format: raw }} }}\n")
}

fn names(topics: &[&str]) -> Vec<String> {
    topics.iter().map(|it| (*it).to_owned()).collect()
}

fn feeds(all: &[(&str, &[&str])]) -> Feeds {
    let of = |topics: &[&str]| names(topics).into_iter().collect();
    all.iter()
        .map(|(table, topics)| ((*table).to_owned(), of(topics)))
        .collect()
}

/// The tables with their topics, and the topics that feed none with what is said of them.
fn check(
    config: &Config,
    topics: &[&str],
    feeds: &Feeds,
    tables: &[(&str, &[&str])],
    refused: &[(&str, &str)],
) -> Expansion {
    let found = expand(config, &names(topics), feeds);
    let made: Vec<(&str, Vec<&str>)> = found
        .tables
        .iter()
        .map(|it| {
            (
                it.name.as_str(),
                it.topics.iter().map(String::as_str).collect(),
            )
        })
        .collect();
    let expected: Vec<(&str, Vec<&str>)> = tables
        .iter()
        .map(|(name, topics)| (*name, topics.to_vec()))
        .collect();
    assert_eq!(made, expected);
    let said: Vec<&str> = found.refused.iter().map(|it| it.topic.as_str()).collect();
    let expected: Vec<&str> = refused.iter().map(|(topic, _)| *topic).collect();
    assert_eq!(said, expected);
    for (refused, (_, part)) in found.refused.iter().zip(refused) {
        assert!(refused.reason.contains(part), "{}", refused.reason);
    }
    found
}

#[test]
fn a_name_without_a_template_takes_all_topics_that_match() {
    let config = config(&raw("events", "shop\\..+"));
    let topics = ["shop.b", "shop.a", "other", "__consumer_offsets"];
    check(
        &config,
        &topics,
        &Feeds::new(),
        &[("events", &["shop.a", "shop.b"])],
        &[],
    );
    let none = check(&config, &["other"], &Feeds::new(), &[], &[]);
    assert_eq!(none.unmatched, ["shop\\..+"]);
}

#[test]
fn a_template_makes_a_table_of_each_name_and_fills_in_what_depends_on_it() {
    let config = config(
        "  - { name: \"cdc_{1}\", topics_regex: 'pg\\.(.+)', path: \"lake/{table}\", value: { format: avro }, key: { format: avro, schema: { subject: \"{table}-{topic}-key\" } } }",
    );
    let found = check(
        &config,
        &["pg.orders", "pg.order-items"],
        &Feeds::new(),
        &[
            ("cdc_order_items", &["pg.order-items"]),
            ("cdc_orders", &["pg.orders"]),
        ],
        &[],
    );
    let table = &found.tables[0];
    assert_eq!(
        (table.path.as_str(), table.errors.table.as_str()),
        ("lake/cdc_order_items", "cdc_order_items__dlq")
    );
    assert_eq!(table.value.subject(), Some("pg.order-items-value"));
    assert_eq!(
        table.key.as_ref().and_then(Value::subject),
        Some("cdc_order_items-pg.order-items-key")
    );
}

#[test]
fn several_topics_may_expand_to_one_name() {
    let config = config(&raw("{2}", "(\\w+)\\.(\\w+)"));
    check(
        &config,
        &["eu.orders", "us.orders", "eu.refunds"],
        &Feeds::new(),
        &[
            ("orders", &["eu.orders", "us.orders"]),
            ("refunds", &["eu.refunds"]),
        ],
        &[],
    );
}

#[test]
fn topics_that_collide_by_replacement_only_exclude_one_another() {
    let config = config(&raw("{topic}", ".+"));
    let (topics, said) = (["a.b", "a-b", "c"], "their names differ in characters only");
    let both = [("a-b", said), ("a.b", said)];
    let found = check(&config, &topics, &Feeds::new(), &[("c", &["c"])], &both);
    let contested: Vec<&str> = found.contested.iter().map(|it| it.path.as_str()).collect();
    assert_eq!(contested, ["a_b"]);
    // Whoever feeds the table already stays.
    let known = feeds(&[("a_b", &["a.b"])]);
    let tables: [(&str, &[&str]); 2] = [("a_b", &["a.b"]), ("c", &["c"])];
    let found = check(&config, &topics, &known, &tables, &[("a-b", said)]);
    assert!(found.contested.is_empty());
    // A table that is known to have no topics settles nothing, and is not asked for again.
    let unknown = feeds(&[("a_b", &[])]);
    let found = check(&config, &topics, &unknown, &[("c", &["c"])], &both);
    assert!(found.contested.is_empty());
    // Also when the other one is gone.
    let found = expand(&config, &names(&["a-b"]), &known)
        .tables
        .remove(0)
        .found
        .unwrap();
    assert!(found.excludes("a.b") && !found.excludes("a-b") && !found.excludes("c"));
}

#[test]
fn a_table_that_is_written_and_another_pattern_keep_their_names() {
    let written = "  - { name: orders, topics: [other], value: { format: raw } }\n";
    let config = config(&format!(
        "{written}{}{}",
        raw("{topic}", "orders|events"),
        raw("{1}s", "(event)s")
    ));
    check(
        &config,
        &["orders", "events", "other"],
        &Feeds::new(),
        &[("orders", &["other"])],
        &[
            (
                "events",
                "two patterns under `topics_regex` make a table `events`",
            ),
            ("orders", "has a table `orders` of its own"),
        ],
    );
}

#[test]
fn two_tables_may_take_the_same_topic() {
    let config = config(&format!(
        "  - {{ name: written, topics: [t1], value: {{ format: raw }} }}\n{}{}",
        raw("all", "t.+"),
        raw("each_{topic}", "t.+")
    ));
    check(
        &config,
        &["t1", "t2"],
        &Feeds::new(),
        &[
            ("written", &["t1"]),
            ("all", &["t1", "t2"]),
            ("each_t1", &["t1"]),
            ("each_t2", &["t2"]),
        ],
        &[],
    );
}

#[test]
fn folders_do_not_overlap() {
    let config = config(&raw("{topic}", ".+"));
    let said = "its folder `a__dlq` and the folder `a__dlq` of table `a` are one";
    let topics = ["a", "a__dlq"];
    check(
        &config,
        &topics,
        &Feeds::new(),
        &[("a", &["a"])],
        &[("a__dlq", said)],
    );
    let said = "its folder `a__dlq` and the folder `a__dlq` of table `a__dlq`";
    let known = feeds(&[("a__dlq", &["a__dlq"])]);
    check(
        &config,
        &topics,
        &known,
        &[("a__dlq", &["a__dlq"])],
        &[("a", said)],
    );
    assert!(clash("a", "a/b") && clash("a/b", "a") && clash("a", "a") && !clash("a", "ab"));
}

#[test]
fn a_subject_of_one_topic_takes_one_topic() {
    let config =
        config("  - { name: \"{1}\", topics_regex: '(\\w+)\\..+', value: { format: avro } }");
    let said = "whose columns come from the subject of one topic";
    check(&config, &["a.x"], &Feeds::new(), &[("a", &["a.x"])], &[]);
    let both = [("a.x", said), ("a.y", said)];
    check(&config, &["a.x", "a.y"], &Feeds::new(), &[], &both);
    let known = feeds(&[("a", &["a.y"])]);
    check(
        &config,
        &["a.x", "a.y"],
        &known,
        &[("a", &["a.y"])],
        &[("a.x", said)],
    );
}

#[test]
fn names_that_no_table_may_have_are_refused() {
    let config = config(&raw("{1}", "t(.*)"));
    let long = format!("t{}", "x".repeat(129));
    check(
        &config,
        &["t", &long],
        &Feeds::new(),
        &[],
        &[("t", "of 0 characters"), (&long, "of 129 characters")],
    );
}

proptest! {
    /// Nothing is lost and nothing is mixed: a topic that matches feeds the table of its name or is refused for it, a table's topics come to its name by the same characters,
    /// and no order of topics changes the outcome.
    #[test]
    fn every_topic_feeds_its_table_or_is_refused(
        topics in proptest::collection::vec("[ab][.-]?[ab]?[._-]?(__dlq)?", 1..8),
        known in proptest::collection::vec("[ab][.-]?[ab]?", 0..3),
    ) {
        let config = config(&raw("{topic}", ".+"));
        let feeds: Feeds = known
            .iter()
            .map(|topic| (topic.replace(['.', '-'], "_"), BTreeSet::from([topic.clone()])))
            .collect();
        let found = expand(&config, &topics, &feeds);
        for topic in &topics {
            let feeding = found.tables.iter().filter(|table| table.topics.contains(topic)).count();
            let refused = found.refused.iter().filter(|it| it.topic == *topic).count();
            prop_assert_eq!(feeding + refused, 1);
        }
        for table in &found.tables {
            prop_assert_eq!(table.topics.len(), 1);
            prop_assert_eq!(&table.name, &table.topics[0].replace(['.', '-'], "_"));
        }
        for (index, table) in found.tables.iter().enumerate() {
            for other in &found.tables[..index] {
                prop_assert!(folders(table).all(|own| folders(other).all(|theirs| !clash(own, theirs))));
            }
        }
        let reversed: Vec<String> = topics.into_iter().rev().collect();
        let again = expand(&config, &reversed, &feeds);
        let shown = |it: &Expansion| format!("{:?} {:?}", it.tables, it.refused);
        prop_assert_eq!(shown(&again), shown(&found));
    }
}
