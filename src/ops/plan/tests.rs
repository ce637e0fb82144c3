//! The answer in both forms, as programs and people rely on them.

use arrow::datatypes::{DataType, Field, Fields, Schema};
use serde_json::json;

use super::*;
use crate::config::settings::Allow;

fn field(name: &str, data_type: DataType) -> Field {
    Field::new(name, data_type, true)
}

fn customer(members: &[&str]) -> DataType {
    let members: Vec<Field> = members.iter().map(|it| field(it, DataType::Utf8)).collect();
    DataType::Struct(members.into())
}

fn list(item: DataType) -> DataType {
    DataType::List(field("element", item).into())
}

fn schema(fields: Vec<Field>) -> Schema {
    Schema::new(Fields::from(fields))
}

/// An answer about a table that gets columns and one of which nothing can be said.
fn answer() -> Answer {
    let has = schema(vec![
        field("id", DataType::Int64),
        field("customer", customer(&["email"])),
        field("old", DataType::Date32),
        field("amount", DataType::Int32),
    ]);
    let wanted = schema(vec![
        field("id", DataType::Int64),
        field("customer", customer(&["email", "phone"])),
        field("amount", DataType::Utf8),
        field("item list", list(customer(&["sku"]))),
    ]);
    let columns = columns::changes(Some(&has), &wanted, None, Allow::AddColumns);
    let added: Vec<&Column> = columns
        .iter()
        .filter(|column| column.change == Change::Add)
        .collect();
    let plan = Planned {
        location: "s3://lake/orders".to_owned(),
        version: Some(7),
        statement: Some(sql::add("s3://lake/orders", &added)),
        columns,
        partition_by: vec!["day".to_owned()],
        excluded: vec!["customer.born".to_owned()],
        masked: BTreeMap::from([("customer.email".to_owned(), "hmac_sha256")]),
        protocol: Some(Protocol {
            reader_version: 1,
            writer_version: 2,
            features: Vec::new(),
        }),
        starts: vec![StartRow {
            topic: "shop.orders".to_owned(),
            partition: 0,
            offset: 5,
            by: "table",
            log_start: 0,
            log_end: 9,
            to_read: 4,
        }],
        sample: Some(SampleRow {
            records: 4,
            rows: 2,
            skipped: 1,
            rejected: 1,
            ignored_fields: 0,
            rejects: vec![RejectRow {
                topic: "shop.orders".to_owned(),
                partition: 0,
                offset: 6,
                code: "truncated",
                path: "customer.email".to_owned(),
                message: "the value ends".to_owned(),
                schema_id: Some(3),
            }],
            table_partitions: Some(Partitions {
                count: 1,
                largest: vec![Partition {
                    values: BTreeMap::from([("day".to_owned(), Some("2026-01-01".to_owned()))]),
                    rows: 2,
                }],
            }),
        }),
    };
    let problem = |kind, sentence: &str| Problem::of((kind, sentence.to_owned()));
    Answer {
        tables: vec![
            TablePlan {
                table: "orders".to_owned(),
                plan: Some(plan),
                problems: Vec::new(),
            },
            TablePlan {
                table: "people".to_owned(),
                plan: None,
                problems: vec![problem(Kind::Unavailable, "the registry does not answer")],
            },
        ],
    }
}

#[test]
fn programs_get_this_json() {
    let expected = json!({"tables": [
        {"table": "orders", "plan": {
            "location": "s3://lake/orders",
            "version": 7,
            "statement": "ALTER TABLE delta.`s3://lake/orders` ADD COLUMNS (customer.phone STRING, `item list` ARRAY<STRUCT<sku: STRING>>)",
            "columns": [
                {"column": "id", "type": "BIGINT", "change": "keep"},
                {"column": "customer", "type": "STRUCT<email: STRING>", "change": "keep"},
                {"column": "customer.phone", "type": "STRING", "change": "add"},
                {"column": "amount", "type": "STRING", "change": "conflict", "has": "INT"},
                {"column": "`item list`", "type": "ARRAY<STRUCT<sku: STRING>>", "change": "add"},
                {"column": "old", "type": "DATE", "change": "null"},
            ],
            "partition_by": ["day"],
            "excluded": ["customer.born"],
            "masked": {"customer.email": "hmac_sha256"},
            "protocol": {"reader_version": 1, "writer_version": 2, "features": []},
            "starts": [{"topic": "shop.orders", "partition": 0, "offset": 5, "by": "table", "log_start": 0, "log_end": 9, "to_read": 4}],
            "sample": {
                "records": 4, "rows": 2, "skipped": 1, "rejected": 1, "ignored_fields": 0,
                "rejects": [{"topic": "shop.orders", "partition": 0, "offset": 6, "code": "truncated", "path": "customer.email", "message": "the value ends", "schema_id": 3}],
                "table_partitions": {"count": 1, "largest": [{"values": {"day": "2026-01-01"}, "rows": 2}]},
            },
        }, "problems": []},
        {"table": "people", "problems": [{"kind": "unavailable", "sentence": "the registry does not answer"}]},
    ]});
    assert_eq!(serde_json::to_value(answer()).unwrap(), expected);
}

#[test]
fn people_get_this_page() {
    let expected = "\
orders  s3://lake/orders
  exists, version 7: it gets columns

ALTER TABLE delta.`s3://lake/orders` ADD COLUMNS (customer.phone STRING, `item list` ARRAY<STRUCT<sku: STRING>>)

column          type                        change    
id              BIGINT                      keep
customer        STRUCT<email: STRING>       keep
customer.phone  STRING                      add
amount          STRING                      conflict  the table has it as INT
`item list`     ARRAY<STRUCT<sku: STRING>>  add
old             DATE                        null

table partitions by day
left out: customer.born
masked: customer.email by hmac_sha256
protocol: reader version 1, writer version 2, no features

topic        partition  starts at  by     log start  log end  to read
shop.orders  0          5          table  0          9        4

sample of 4 records: 2 rows, 1 skipped, 1 rejected

1 table partition in the sample

table partition  rows
day=2026-01-01   2

rejected       offset  code       field           message
shop.orders/0  6       truncated  customer.email  the value ends

people
  nothing can be said of it

unavailable: the registry does not answer";
    let expected = expected.replace("change    \n", "change\n");
    assert_eq!(text::page(&answer(), true), expected);
    let piped = text::page(&answer(), false);
    assert!(piped.contains("\namount\tSTRING\tconflict\tthe table has it as INT\n"));
}

#[test]
fn a_table_that_is_not_there_is_made_by_one_statement() {
    let columns = schema(vec![
        field("id", DataType::Int64),
        field("price", DataType::Decimal128(18, 4)),
        field("day", DataType::Date32),
    ]);
    let expected = "CREATE TABLE orders (\n  id BIGINT,\n  price DECIMAL(18,4),\n  day DATE\n) USING DELTA\nPARTITIONED BY (day)\nLOCATION 'file:///lake/orders'";
    let partitions = ["day".to_owned()];
    let statement = sql::create("orders", &columns, &partitions, "file:///lake/orders");
    assert_eq!(statement, expected);
    let made = columns::changes(None, &columns, None, Allow::None);
    assert!(made.iter().all(|column| column.change == Change::Create));
}

#[test]
fn what_only_sampled_records_have_is_added_too_or_refused() {
    let wanted = schema(vec![field("id", DataType::Int64)]);
    let sampled = schema(vec![
        field("id", DataType::Int64),
        field("more", DataType::Utf8),
    ]);
    for (allow, change) in [
        (Allow::AddColumns, Change::Add),
        (Allow::None, Change::Refuse),
    ] {
        for has in [None, Some(&wanted)] {
            let found = columns::changes(has, &wanted, Some(&sampled), allow);
            let more = found.iter().find(|column| column.column == "more").unwrap();
            assert_eq!(more.change, change);
        }
    }
}

#[test]
fn what_a_person_must_change_decides_the_exit_code() {
    let mut answer = answer();
    assert_eq!(answer.ending(), Ending::Findings(Kind::Unavailable));
    let problem = Problem::of((Kind::Corrupt, String::new()));
    answer.tables[0].problems.push(problem);
    assert_eq!(answer.ending(), Ending::Findings(Kind::Corrupt));
    answer.tables.clear();
    assert_eq!(answer.ending(), Ending::Done);
}
