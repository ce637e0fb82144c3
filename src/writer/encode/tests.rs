//! Rows in, Parquet out: nothing lost, placed right, names never twice, memory accounted for.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, Int32Array, Int64Array, ListArray, RecordBatch, StringArray,
    UInt32Array,
};
use arrow::buffer::OffsetBuffer;
use arrow::compute::{concat_batches, take_record_batch};
use arrow::datatypes::{DataType, Int64Type};
use proptest::prelude::*;

use crate::config::settings::Transform;
use crate::error::Kind;
use crate::writer::placement::resolve;
use crate::writer::testing::{
    Noise, encode, field, identity, layout, partition, read, schema, wide_schema,
};
use crate::writer::{Encoder, Error};

fn pairs(rows: &[(&str, i64)]) -> RecordBatch {
    let columns = schema(vec![
        field("p", DataType::Utf8),
        field("n", DataType::Int64),
    ]);
    let names: ArrayRef = Arc::new(StringArray::from_iter_values(rows.iter().map(|row| row.0)));
    let numbers: ArrayRef = Arc::new(Int64Array::from_iter_values(rows.iter().map(|row| row.1)));
    RecordBatch::try_new(columns, vec![names, numbers]).unwrap()
}

#[test]
fn an_encoder_without_rows_makes_no_file() {
    let batch = pairs(&[]);
    assert!(encode(layout(&batch.schema(), &[]), &[batch]).is_empty());
}

#[test]
fn identity_columns_lie_in_the_path_and_not_in_the_file() {
    let batch = pairs(&[("a", 1), ("b", 2), ("a", 3), ("", 4)]);
    let layout = Arc::new(layout(&batch.schema(), &[identity("p")]));
    let mut encoder = Encoder::new(Arc::clone(&layout));
    encoder.write(&batch).unwrap();
    assert_eq!((encoder.rows(), encoder.files()), (4, 3));
    let files = encoder.finish().unwrap();
    let found: BTreeMap<_, _> = files
        .iter()
        .map(|file| {
            let rows = read(file);
            assert_eq!(rows[0].num_columns(), 1);
            (
                file.partition_values["p"].clone(),
                rows[0]
                    .column(0)
                    .as_primitive::<Int64Type>()
                    .values()
                    .to_vec(),
            )
        })
        .collect();
    assert_eq!(
        found,
        BTreeMap::from([
            (None, vec![4]),
            (Some("a".into()), vec![1, 3]),
            (Some("b".into()), vec![2])
        ])
    );
    assert!(
        files[0]
            .path
            .starts_with("p=__HIVE_DEFAULT_PARTITION__/part-")
            && files[0].path.ends_with(".zstd.parquet")
    );
    assert_eq!(
        layout.empty_values(),
        1,
        "an empty string is null in Delta, and counted"
    );
}

#[test]
fn derived_columns_stand_after_the_others_and_sources_stay_in_the_file() {
    let batch = pairs(&[("abc", 1), ("abd", 2), ("b", 12)]);
    let layout = layout(
        &batch.schema(),
        &[
            partition("head", "p", Transform::Truncate(2)),
            partition("tens", "n", Transform::Truncate(10)),
        ],
    );
    assert_eq!(
        layout
            .table_schema()
            .fields()
            .iter()
            .map(|field| field.name().as_str())
            .collect::<Vec<_>>(),
        ["p", "n", "head", "tens"]
    );
    let files = encode(layout, &[batch]);
    let placed: Vec<_> = files
        .iter()
        .map(|file| {
            (
                file.partition_values["head"].as_deref(),
                file.partition_values["tens"].as_deref(),
                file.rows,
            )
        })
        .collect();
    assert_eq!(
        placed,
        [(Some("ab"), Some("0"), 2), (Some("b"), Some("10"), 1)]
    );
    assert_eq!(read(&files[0])[0].num_columns(), 2);
}

#[test]
fn file_1_names_are_never_used_twice() {
    let batch = pairs(&[("a", 1), ("b", 2)]);
    let layout = Arc::new(layout(&batch.schema(), &[identity("p")]));
    let mut paths = BTreeSet::new();
    for _ in 0..50 {
        let mut encoder = Encoder::new(Arc::clone(&layout));
        encoder.write(&batch).unwrap();
        paths.extend(encoder.finish().unwrap().into_iter().map(|file| file.path));
    }
    assert_eq!(paths.len(), 100, "FILE-1");
}

#[test]
fn many_table_partitions_share_a_bounded_number_of_open_files() {
    let rows: Vec<(String, i64)> = (0..5_000)
        .map(|number| (format!("p{}", number % 7), number))
        .collect();
    let rows: Vec<(&str, i64)> = rows
        .iter()
        .map(|(name, number)| (name.as_str(), *number))
        .collect();
    let batch = pairs(&rows);
    let mut encoder = Encoder::new(Arc::new(
        layout(&batch.schema(), &[identity("p")]).opening_files(3),
    ));
    for _ in 0..100 {
        encoder.write(&batch).unwrap();
        assert!(
            encoder
                .slots
                .values()
                .filter(|slot| slot.open.is_some())
                .count()
                <= 3
        );
    }
    let files = encoder.finish().unwrap();
    assert_eq!(files.iter().map(|file| file.rows).sum::<u64>(), 500_000);
    assert_eq!(
        files
            .iter()
            .flat_map(read)
            .map(|batch| batch.num_rows())
            .sum::<usize>(),
        500_000
    );
    assert!(files.len() >= 7);
}

#[test]
fn mem_1_buffered_bytes_follow_what_is_held() {
    let columns = wide_schema();
    let mut encoder = Encoder::new(Arc::new(layout(&columns, &[])));
    assert_eq!(encoder.buffered_bytes(), 0);
    let batch = Noise(7).batch(&columns, 10_000);
    encoder.write(&batch).unwrap();
    assert_eq!(
        encoder.buffered_bytes(),
        batch.get_array_memory_size(),
        "MEM-1: rows that wait are counted"
    );
    assert_eq!(encoder.largest_file_bytes(), 0);
    (0..5).for_each(|_| encoder.write(&batch).unwrap());
    assert!(encoder.largest_file_bytes() > 0);
    let expected = usize::try_from(encoder.largest_file_bytes()).unwrap();
    assert!(
        encoder.buffered_bytes() > expected,
        "MEM-1: encoded rows are counted"
    );
    let size = encoder.finish().unwrap()[0].size_bytes();
    assert!(size > 0);
}

#[test]
fn a_batch_of_other_columns_is_refused_and_spends_the_encoder() {
    let batch = pairs(&[("a", 1)]);
    let only_n = batch.project(&[1]).unwrap();
    let mut encoder = Encoder::new(Arc::new(layout(&only_n.schema(), &[])));
    let error = encoder.write(&batch).unwrap_err();
    assert_eq!(
        error.to_string(),
        "a batch of [p Utf8, n Int64] reached the writer of [n Int64]"
    );
    assert_eq!(error.kind(), Kind::Bug);
    assert!(
        matches!(encoder.write(&only_n), Err(Error::Failed)),
        "D13: nothing comes out of an encoder that failed"
    );
    assert!(matches!(encoder.finish(), Err(Error::Failed)));
}

#[test]
fn rows_from_before_the_columns_grew_are_null_in_what_is_new() {
    let batch = pairs(&[("a", 1)]);
    let mut encoder = Encoder::new(Arc::new(layout(&batch.schema(), &[])));
    encoder.write(&batch.project(&[1]).unwrap()).unwrap();
    encoder.write(&batch).unwrap();
    let [file] = <[_; 1]>::try_from(encoder.finish().unwrap()).unwrap();
    let stats: serde_json::Value = serde_json::from_str(&file.stats).unwrap();
    assert_eq!(
        (file.rows, &stats["nullCount"]["p"]),
        (2, &serde_json::json!(1))
    );
}

#[test]
fn lists_and_maps_get_the_names_of_the_parquet_specification() {
    let item = Arc::new(field("item", DataType::Int32));
    let list: ArrayRef = Arc::new(ListArray::new(
        Arc::clone(&item),
        OffsetBuffer::from_lengths([2, 0]),
        Arc::new(Int32Array::from(vec![Some(1), None])),
        None,
    ));
    let batch = RecordBatch::try_new(
        schema(vec![field("l", list.data_type().clone())]),
        vec![list],
    )
    .unwrap();
    let back = read(&encode(layout(&batch.schema(), &[]), std::slice::from_ref(&batch))[0]);
    let expected = DataType::List(Arc::new(field("element", DataType::Int32)));
    assert_eq!(back[0].schema().field(0).data_type(), &expected);
    assert_eq!(
        back[0].column(0).as_list::<i32>().values(),
        batch.column(0).as_list::<i32>().values()
    );
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever the partition columns, each row is whole in exactly one file, whose partition values are the row's.
    #[test]
    fn every_row_is_placed_once(seed in any::<u64>(), sizes in prop::collection::vec(1..100_i64, 1..4), column in 0..7_usize) {
        let name = ["yes", "int", "long", "date", "at", "small", "text \"q\""][column];
        let partition_by = [identity(name), partition("b", "bytes", Transform::Bucket(3))];
        let batches = numbered_batches(&mut Noise(seed), &sizes);
        let rows = concat_batches(&batches[0].schema(), &batches).unwrap();
        let files = encode(layout(&rows.schema(), &partition_by), &batches);
        let placed = resolve(&partition_by, &rows.schema()).unwrap();
        let mut numbers = Vec::new();
        for file in &files {
            let back = read(file);
            let back = concat_batches(&back[0].schema(), &back).unwrap();
            let of_file = back.column_by_name("number").unwrap().as_primitive::<Int64Type>().values();
            numbers.extend_from_slice(of_file);
            let indices = UInt32Array::from_iter_values(of_file.iter().map(|number| u32::try_from(*number).unwrap()));
            let expected = take_record_batch(&rows, &indices).unwrap();
            for field in &placed {
                let array = field.source(&expected).unwrap();
                for key in field.keys(&array) {
                    prop_assert_eq!(&file.partition_values[field.name()], &field.value(key).text());
                }
            }
            for (field, array) in back.schema().fields().iter().zip(back.columns()) {
                prop_assert_eq!(array, expected.column_by_name(field.name()).unwrap());
            }
        }
        numbers.sort_unstable();
        prop_assert_eq!(numbers, (0..sizes.iter().sum()).collect::<Vec<i64>>());
    }
}

/// Noise whose rows know their number.
fn numbered_batches(noise: &mut Noise, sizes: &[i64]) -> Vec<RecordBatch> {
    let fields = wide_schema();
    let columns = schema(
        fields
            .fields()
            .iter()
            .map(|field| field.as_ref().clone())
            .chain([field("number", DataType::Int64)])
            .collect(),
    );
    let mut start = 0;
    let mut batches = Vec::new();
    for rows in sizes {
        let noisy = noise.batch(&fields, usize::try_from(*rows).unwrap());
        let numbers: ArrayRef = Arc::new(Int64Array::from_iter_values(start..start + rows));
        start += rows;
        batches.push(
            RecordBatch::try_new(
                Arc::clone(&columns),
                noisy.columns().iter().cloned().chain([numbers]).collect(),
            )
            .unwrap(),
        );
    }
    batches
}
