//! Counts, roll-back, suspension, tombstones, Kafka columns and limits.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema};
use serde_json::json;

use super::support::*;
use crate::clock::Clock;
use crate::config::ddl::Type;
use crate::config::settings::{ErrorMode, MetadataColumn, Tombstones, UnknownFields, Value};
use crate::decode::{Decoder, Setup, resolve};

fn id_decoder() -> Decoder {
    decoder(
        &table(ddl(&[("id", Type::Long), ("name", Type::String)])),
        None,
    )
}

#[test]
fn dec_1_a_bad_record_costs_its_neighbours_nothing() {
    let mut decoder = id_decoder();
    let good = |id: i64| format!(r#"{{"id":{id},"name":"n{id}"}}"#).into_bytes();
    let (first, last) = (good(1), good(2));
    let appended = append(&mut decoder, &[&first, br#"{"name":"x","id":"no"}"#, &last]);
    assert_eq!(
        (
            appended.counts.rows,
            appended.counts.rejects,
            appended.counts.skipped
        ),
        (2, 1, 0),
        "DEC-1"
    );
    let [reject] = appended.rejects.as_slice() else {
        panic!("one reject")
    };
    assert_eq!(
        (reject.offset, reject.code, reject.path.as_str()),
        (11, "type_mismatch", "id")
    );
    assert_eq!(reject.message, "a whole number is expected, found \"no\"");
    assert_eq!(reject.topic_partition, place());
    assert_eq!(
        rows(&mut decoder),
        [
            json!({"id": 1, "name": "n1"}),
            json!({"id": 2, "name": "n2"})
        ]
    );
    assert_eq!((decoder.rows(), decoder.size_bytes()), (0, 0));
}

#[test]
fn suspend_stops_before_the_first_bad_record() {
    let mut table = table(ddl(&[("id", Type::Long)]));
    table.errors.mode = ErrorMode::Suspend;
    let mut decoder = decoder(&table, None);
    let appended = append(&mut decoder, &[br#"{"id":1}"#, b"[]", br#"{"id":2}"#, b""]);
    assert_eq!(
        (
            appended.taken,
            appended.counts.rows,
            appended.counts.rejects,
            appended.rejects.len()
        ),
        (1, 1, 0, 1)
    );
    assert_eq!(rows(&mut decoder), [json!({"id": 1})]);
}

#[test]
fn tombstones_follow_the_settings() {
    for (tombstones, expected) in [
        (Tombstones::Skip, (1, 0, 1)),
        (Tombstones::NullRow, (2, 0, 0)),
        (Tombstones::Reject, (1, 1, 0)),
    ] {
        let mut table = table(ddl(&[("id", Type::Long)]));
        table.tombstones = tombstones;
        let mut decoder = decoder(&table, None);
        let appended = decoder.append(&place(), &records([None, Some(&br#"{"id":1}"#[..])]), 0);
        let counts = appended.counts;
        assert_eq!(
            (counts.rows, counts.rejects, counts.skipped),
            expected,
            "DEC-1"
        );
        assert_eq!(counts.max_timestamp_ms, Some(1_700_000_000_011));
        let rows = all_columns(&decoder.take().unwrap());
        assert_eq!(rows.len() as u64, expected.0);
        if tombstones == Tombstones::NullRow {
            assert_eq!(
                (&rows[0]["id"], &rows[0]["_kafka_offset"]),
                (&json!(null), &json!(10))
            );
        }
    }
}

#[test]
fn kafka_columns_say_where_a_record_comes_from() {
    let mut table = table(ddl(&[("id", Type::Long)]));
    table.metadata.prefix = "k_".to_owned();
    table.metadata.include = vec![
        MetadataColumn::Timestamp,
        MetadataColumn::TimestampType,
        MetadataColumn::Key,
        MetadataColumn::Headers,
        MetadataColumn::LeaderEpoch,
        MetadataColumn::SchemaId,
        MetadataColumn::IngestedAt,
    ];
    let mut decoder = decoder(&table, None);
    append(&mut decoder, &[br#"{"id":1}"#]);
    let expected = json!({
        "id": 1, "k_topic": "shop.orders", "k_partition": 3, "k_offset": 10, "k_timestamp": timestamp(1_700_000_000_010_000),
        "k_timestamp_type": "create_time", "k_key": bytes(b"key"),
        "k_headers": [{"key": "h", "value": bytes(b"v")}, {"key": "empty", "value": null}],
        "k_leader_epoch": 7, "k_schema_id": null, "k_ingested_at": timestamp(1_600_000_000_000_000),
    });
    assert_eq!(all_columns(&decoder.take().unwrap()), [expected]);
}

#[test]
fn columns_that_only_the_table_has_stay_null() {
    let table = table(ddl(&[("id", Type::Long)]));
    let resolved = resolve(&table, None).unwrap();
    let mut fields = vec![
        Field::new("added", DataType::Int16, true),
        Field::new("id", DataType::Int32, true),
    ];
    fields.extend(metadata_fields(&table.metadata));
    let mut decoder = decoder_for(&table, &resolved, Arc::new(Schema::new(fields)), None);
    let appended = append(
        &mut decoder,
        &[
            br#"{"id":7}"#,
            br#"{"id":3000000000}"#,
            br#"{"id":8,"added":1}"#,
        ],
    );
    let codes: Vec<_> = appended.rejects.iter().map(|reject| reject.code).collect();
    assert_eq!(
        codes,
        ["out_of_range", "unknown_field"],
        "a long goes into an int column when it fits"
    );
    let batch = decoder.take().unwrap();
    assert_eq!((batch.num_rows(), batch.column(0).null_count()), (1, 1));
}

#[test]
fn a_column_that_allows_no_null_rejects_nulls_only() {
    let table = table(ddl(&[("id", Type::Long)]));
    let resolved = resolve(&table, None).unwrap();
    let mut fields = vec![Field::new("id", DataType::Int64, false)];
    fields.extend(metadata_fields(&table.metadata));
    let mut decoder = decoder_for(&table, &resolved, Arc::new(Schema::new(fields)), None);
    let appended = append(&mut decoder, &[br#"{"id":null}"#, br#"{"id":1}"#, b"{}"]);
    assert_eq!(
        appended
            .rejects
            .iter()
            .map(|reject| reject.code)
            .collect::<Vec<_>>(),
        ["null_not_allowed"; 2]
    );
    assert_eq!(rows(&mut decoder), [json!({"id": 1})]);
}

#[test]
fn ignored_fields_are_counted() {
    let mut table = table(ddl(&[("id", Type::Long)]));
    let Value::Json { unknown_fields, .. } = &mut table.value else {
        panic!()
    };
    *unknown_fields = UnknownFields::Ignore;
    let mut decoder = decoder(&table, None);
    let appended = append(
        &mut decoder,
        &[
            br#"{"a":[1,{"b":"\n"}],"id":1,"c":null}"#,
            br#"{"x":"\ud800"}"#,
        ],
    );
    assert_eq!((appended.ignored_fields, appended.counts.rows), (2, 1));
    assert_eq!(
        appended.rejects[0].code, "invalid_utf8",
        "what is ignored must still be JSON"
    );
}

#[test]
fn an_oversized_value_is_a_reject() {
    let mut decoder = id_decoder();
    let large = format!(
        r#"{{"id":1,"name":"{}"}}"#,
        "x".repeat(usize::try_from(RECORD_BYTES_MAX).unwrap())
    );
    let appended = append(&mut decoder, &[large.as_bytes()]);
    assert_eq!(appended.rejects[0].code, "too_large");
}

#[test]
fn a_full_decoder_stops_without_a_reject_and_goes_on_after_take() {
    let mut decoder = id_decoder();
    let large = format!(r#"{{"id":1,"name":"{}"}}"#, "x".repeat(1_000_000));
    let records = records(std::iter::repeat_n(Some(large.as_bytes()), 80));
    let (mut from, mut rows) = (0, 0);
    while from < 80 {
        let appended = decoder.append(&place(), &records, from);
        assert!(appended.taken > from && appended.rejects.is_empty() && appended.stalled.is_none());
        assert!(decoder.size_bytes() < 70 << 20);
        from = appended.taken;
        rows += decoder.take().unwrap().num_rows();
    }
    assert_eq!(rows, 80);
}

#[test]
fn clear_forgets_the_rows() {
    let mut decoder = id_decoder();
    append(&mut decoder, &[br#"{"id":1,"name":null}"#]);
    assert!(decoder.size_bytes() > 0);
    decoder.clear();
    assert_eq!((decoder.rows(), decoder.size_bytes()), (0, 0));
    append(&mut decoder, &[br#"{"id":2}"#]);
    assert_eq!(rows(&mut decoder), [json!({"id": 2, "name": null})]);
}

#[test]
fn a_table_that_does_not_fit_the_config_is_refused_by_column() {
    let table = table(ddl(&[("id", Type::Long)]));
    let resolved = resolve(&table, None).unwrap();
    for (field, expected) in [
        (
            Field::new("id", DataType::Utf8, true),
            "table orders: column id: declared as long, but the table's column is Utf8",
        ),
        (
            Field::new("other", DataType::Int64, true),
            "table orders: column id: the table has no such column",
        ),
    ] {
        let fields: Vec<_> = std::iter::once(field)
            .chain(metadata_fields(&table.metadata))
            .collect();
        let target = Arc::new(Schema::new(fields));
        let clock = Clock::manual(0, 0);
        let setup = Setup {
            resolved: &resolved,
            table: &table,
            record_bytes_max: 1,
            target,
            registry: None,
            clock,
        };
        let message = Decoder::new(setup).unwrap_err().to_string();
        assert!(message.starts_with(expected), "{message}");
    }
}

/// A lane's thread owns its decoders.
#[test]
fn a_decoder_can_move_to_a_lane() {
    fn assert_send<T: Send>() {}
    assert_send::<Decoder>();
}
