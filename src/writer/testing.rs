//! Random rows of every type that a table can have, for the writer's own tests. The same seed gives the same rows.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, BinaryArray, BooleanArray, Date32Array, Decimal128Array, Float32Array, Float64Array,
    Int32Array, Int64Array, ListArray, MapArray, RecordBatch, StringArray, StructArray,
    TimestampMicrosecondArray,
};
use arrow::buffer::{NullBuffer, OffsetBuffer};
use arrow::datatypes::{DataType, Field, Fields, Schema, SchemaRef, TimeUnit};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

use crate::clock::Clock;
use crate::config::settings::{PartitionField, Transform};
use crate::writer::{EncodedFile, Encoder, Layout};

pub(crate) fn utc() -> DataType {
    DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()))
}

pub(crate) fn field(name: &str, data_type: DataType) -> Field {
    Field::new(name, data_type, true)
}

pub(crate) fn schema(fields: Vec<Field>) -> SchemaRef {
    Arc::new(Schema::new(fields))
}

pub(crate) fn partition(name: &str, source: &str, transform: Transform) -> PartitionField {
    PartitionField {
        name: name.into(),
        source: source.into(),
        transform,
    }
}

pub(crate) fn identity(name: &str) -> PartitionField {
    partition(name, name, Transform::Identity)
}

/// Every type of the mapping, nested ones too.
pub(crate) fn wide_schema() -> SchemaRef {
    let list = |item: DataType| DataType::List(Arc::new(field("element", item)));
    let inner = Fields::from(vec![
        field("at", utc()),
        field("price", DataType::Decimal128(18, 4)),
        field("tags", list(DataType::Utf8)),
    ]);
    let item = Fields::from(vec![
        field("sku", DataType::Utf8),
        field("ratio", DataType::Float64),
    ]);
    let entry = Fields::from(vec![
        Field::new("key", DataType::Utf8, false),
        field("value", DataType::Int64),
    ]);
    let map = DataType::Map(
        Arc::new(Field::new("key_value", DataType::Struct(entry), false)),
        false,
    );
    schema(vec![
        field("yes", DataType::Boolean),
        field("int", DataType::Int32),
        field("long", DataType::Int64),
        field("float", DataType::Float32),
        field("double", DataType::Float64),
        field("text \"q\"", DataType::Utf8),
        field("bytes", DataType::Binary),
        field("date", DataType::Date32),
        field("at", utc()),
        field("small", DataType::Decimal128(9, 2)),
        field("middle", DataType::Decimal128(18, 4)),
        field("large", DataType::Decimal128(38, 10)),
        field(
            "nested",
            DataType::Struct(Fields::from(vec![
                field("n", DataType::Int32),
                field("inner", DataType::Struct(inner)),
                field("s", DataType::Utf8),
            ])),
        ),
        field("items", list(DataType::Struct(item))),
        field("lists", list(list(DataType::Int32))),
        field("map", map),
        field("last", DataType::Int64),
    ])
}

/// A small generator of repeatable noise (splitmix64).
#[derive(Debug)]
pub(crate) struct Noise(pub(crate) u64);

impl Noise {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    pub(crate) fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.next() % u64::try_from(end).unwrap()).unwrap()
    }

    fn pick<T: Clone>(&mut self, from: &[T]) -> T {
        from[self.below(from.len())].clone()
    }

    fn optional<T>(&mut self, make: impl FnOnce(&mut Self) -> T) -> Option<T> {
        (self.below(4) > 0).then(|| make(self))
    }

    fn column<T>(&mut self, rows: usize, make: impl Fn(&mut Self) -> T) -> Vec<Option<T>> {
        // Some columns are all null, which has no bounds.
        let is_all_null = self.below(8) == 0;
        (0..rows)
            .map(|_| {
                if is_all_null {
                    None
                } else {
                    self.optional(&make)
                }
            })
            .collect()
    }

    fn nulls(&mut self, rows: usize) -> NullBuffer {
        (0..rows).map(|_| self.below(4) > 0).collect()
    }

    fn text(&mut self) -> String {
        let length = self.pick(&[0, 1, 2, 3, 31, 32, 33, 70, 200]);
        (0..length)
            .map(|_| {
                self.pick(&[
                    'a',
                    'b',
                    '\u{7f}',
                    '\u{7ff}',
                    '\u{d7ff}',
                    '\u{ffff}',
                    '\u{10ffff}',
                    '\u{10ffff}',
                    '"',
                    '\n',
                ])
            })
            .collect()
    }

    #[expect(
        clippy::too_many_lines,
        clippy::wildcard_enum_match_arm,
        reason = "one arm for each type of the mapping"
    )]
    pub(crate) fn array(&mut self, data_type: &DataType, rows: usize) -> ArrayRef {
        match data_type {
            DataType::Boolean => Arc::new(BooleanArray::from(
                self.column(rows, |noise| noise.below(2) == 0),
            )),
            DataType::Int32 => Arc::new(Int32Array::from(self.column(rows, |noise| {
                noise.pick(&[i32::MIN, -11, -1, 0, 1, 9, 10, i32::MAX])
            }))),
            DataType::Int64 => Arc::new(Int64Array::from(self.column(rows, |noise| {
                noise.pick(&[i64::MIN, -11, -1, 0, 1, 9, i64::MAX])
            }))),
            DataType::Float32 => Arc::new(Float32Array::from(self.column(rows, |noise| {
                noise.pick(&[0.1, -0.0, 0.0, f32::MIN_POSITIVE, 3.4e38, -1.5])
            }))),
            DataType::Float64 => {
                let has_nan = self.below(3) == 0;
                let odd = if has_nan { f64::NAN } else { 2.5 };
                let infinite = if self.below(3) == 0 {
                    f64::INFINITY
                } else {
                    1e300
                };
                Arc::new(Float64Array::from(self.column(rows, |noise| {
                    noise.pick(&[0.1, -0.0, 0.0, -1e-300, infinite, odd])
                })))
            }
            DataType::Utf8 => Arc::new(StringArray::from(self.column(rows, Noise::text))),
            DataType::Binary => {
                let values = self.column(rows, |noise| noise.text().into_bytes());
                Arc::new(
                    values
                        .iter()
                        .map(|value| value.as_deref())
                        .collect::<BinaryArray>(),
                )
            }
            DataType::Date32 => Arc::new(Date32Array::from(self.column(rows, |noise| {
                noise.pick(&[-719_162, -1, 0, 1, 20_000, 2_932_896])
            }))),
            DataType::Timestamp(..) => {
                let values = self.column(rows, |noise| {
                    noise.pick(&[
                        -62_135_596_800_000_000,
                        -1,
                        0,
                        1,
                        999,
                        1000,
                        1001,
                        1_700_000_000_123_456,
                    ])
                });
                Arc::new(TimestampMicrosecondArray::from(values).with_data_type(data_type.clone()))
            }
            DataType::Decimal128(precision, scale) => {
                let most = 10_i128.pow(u32::from(*precision)) - 1;
                let values = self.column(rows, |noise| {
                    noise.pick(&[-most, -10_001, -1, 0, 1, 10_000, most])
                });
                Arc::new(
                    Decimal128Array::from(values)
                        .with_precision_and_scale(*precision, *scale)
                        .unwrap(),
                )
            }
            DataType::Struct(fields) => Arc::new(self.structs(fields, rows, true)),
            DataType::List(item) => {
                let lengths: Vec<usize> = (0..rows).map(|_| self.below(4)).collect();
                let items = self.array(item.data_type(), lengths.iter().sum());
                Arc::new(ListArray::new(
                    Arc::clone(item),
                    OffsetBuffer::from_lengths(lengths),
                    items,
                    Some(self.nulls(rows)),
                ))
            }
            DataType::Map(entries, _) => {
                let DataType::Struct(fields) = entries.data_type() else {
                    panic!("a map without entries")
                };
                let lengths: Vec<usize> = (0..rows).map(|_| self.below(3)).collect();
                let total = lengths.iter().sum();
                let keys: ArrayRef = Arc::new(StringArray::from_iter_values(
                    (0..total).map(|index| format!("k{index}")),
                ));
                let values = self.array(fields[1].data_type(), total);
                let pairs = StructArray::new(fields.clone(), vec![keys, values], None);
                Arc::new(MapArray::new(
                    Arc::clone(entries),
                    OffsetBuffer::from_lengths(lengths),
                    pairs,
                    Some(self.nulls(rows)),
                    false,
                ))
            }
            other => panic!("no noise of type {other}"),
        }
    }

    fn structs(&mut self, fields: &Fields, rows: usize, has_nulls: bool) -> StructArray {
        let columns = fields
            .iter()
            .map(|field| self.array(field.data_type(), rows))
            .collect();
        StructArray::new(fields.clone(), columns, has_nulls.then(|| self.nulls(rows)))
    }

    pub(crate) fn batch(&mut self, schema: &SchemaRef, rows: usize) -> RecordBatch {
        RecordBatch::from(self.structs(schema.fields(), rows, false))
            .with_schema(Arc::clone(schema))
            .unwrap()
    }
}

pub(crate) fn layout(schema: &SchemaRef, partition_by: &[PartitionField]) -> Layout {
    Layout::new(Arc::clone(schema), partition_by, Clock::manual(1_000, 1)).unwrap()
}

pub(crate) fn encode(layout: Layout, batches: &[RecordBatch]) -> Vec<EncodedFile> {
    let mut encoder = Encoder::new(Arc::new(layout));
    for batch in batches {
        encoder.write(batch).unwrap();
    }
    encoder.finish().unwrap()
}

/// The rows of a file as Parquet's own reader sees them.
pub(crate) fn read(file: &EncodedFile) -> Vec<RecordBatch> {
    let bytes = bytes::Bytes::from(file.segments().concat());
    ParquetRecordBatchReaderBuilder::try_new(bytes)
        .unwrap()
        .build()
        .unwrap()
        .map(Result::unwrap)
        .collect()
}
