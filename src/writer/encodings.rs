//! Which Parquet encodings suit the columns of a file whose first rows are known: pure. Owns the choice between a dictionary, bit-packed differences and plain values;
//! codec, pages and statistics are the layout's.
//!
//! | first rows of a leaf | encoding | because |
//! |---|---|---|
//! | most values differ, or their dictionary is too large | no dictionary | it would be given up in every row group |
//! | integers, times, decimals of up to 18 digits | differences where there is no dictionary | offsets, times and ids are a hundredth of their plain size, and several times faster |
//! | the same that lie close together, such as counts | no dictionary | differences are as small, and spare the look-up of every value |
//! | short text and bytes | lengths, then all bytes, where there is no dictionary | a length before every value makes the compressor begin anew at each |
//! | anything else | as the layout says | - |
//!
//! Leaves of lists and maps get no statistics: no reader skips by them, Delta has none of them, and finding the least and the greatest of text costs as much as its dictionary.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray as _, RecordBatch};
use arrow::datatypes::{
    DataType, Date32Type, Decimal128Type, Int32Type, Int64Type, TimeUnit, TimestampMicrosecondType,
};
use parquet::arrow::ArrowSchemaConverter;
use parquet::basic::{Encoding, Type};
use parquet::errors::ParquetError;
use parquet::file::properties::{EnabledStatistics, WriterProperties};

use crate::writer::layout::DICTIONARY_BYTES_MAX;

/// The mean length up to which text and bytes are short.
const SHORT_BYTES_MAX: usize = 256;
/// Rows that are looked at.
const SAMPLE_ROWS_MAX: usize = 32 * 1024;
/// How many more bits a difference may take than a place in a dictionary: the look-up of a value costs as much as its bits.
const DIFFERENCE_BITS_MORE: u32 = 2;
/// Places that are looked at for a value: values that are made to meet at one place cost no more than this.
const PROBES_MAX: usize = 32;

/// The properties of a file that begins with `rows`.
pub(crate) fn choose(
    properties: &WriterProperties,
    rows: &RecordBatch,
) -> Result<WriterProperties, ParquetError> {
    let columns = ArrowSchemaConverter::new()
        .with_coerce_types(properties.coerce_types())
        .convert(rows.schema_ref())?;
    let sample = rows.slice(0, rows.num_rows().min(SAMPLE_ROWS_MAX));
    let mut leaves = Vec::with_capacity(columns.num_columns());
    for column in sample.columns() {
        add_leaves(column, &mut leaves);
    }
    let mut builder = properties.clone().into_builder();
    for (column, leaf) in columns.columns().iter().zip(&leaves) {
        let repeated = repeated(leaf);
        let mut has_dictionary = repeated.is_some();
        if matches!(column.physical_type(), Type::INT32 | Type::INT64) {
            builder =
                builder.set_column_encoding(column.path().clone(), Encoding::DELTA_BINARY_PACKED);
            has_dictionary = repeated.is_some_and(|distinct| are_far_apart(leaf, distinct));
        }
        if column.physical_type() == Type::BYTE_ARRAY && are_short(leaf) {
            let encoding = Encoding::DELTA_LENGTH_BYTE_ARRAY;
            builder = builder.set_column_encoding(column.path().clone(), encoding);
        }
        if !has_dictionary {
            builder = builder.set_column_dictionary_enabled(column.path().clone(), false);
        }
        if column.max_rep_level() > 0 {
            let path = column.path().clone();
            builder = builder.set_column_statistics_enabled(path, EnabledStatistics::None);
        }
    }
    Ok(builder.build())
}

/// The arrays of values below a column, in the order of Parquet's leaves.
#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "every other type of the mapping is a leaf"
)]
fn add_leaves(array: &ArrayRef, leaves: &mut Vec<ArrayRef>) {
    match array.data_type() {
        DataType::Struct(_) => {
            for member in array.as_struct().columns() {
                add_leaves(member, leaves);
            }
        }
        DataType::List(_) => add_leaves(array.as_list::<i32>().values(), leaves),
        DataType::Map(..) => {
            add_leaves(array.as_map().keys(), leaves);
            add_leaves(array.as_map().values(), leaves);
        }
        _ => leaves.push(Arc::clone(array)),
    }
}

/// How many different values there are, if they repeat and are few enough for a dictionary. Without a value nothing is known, and a dictionary costs nothing.
#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "every other leaf has values of one width"
)]
fn repeated(leaf: &ArrayRef) -> Option<usize> {
    let sample = leaf.slice(0, leaf.len().min(SAMPLE_ROWS_MAX));
    let valid = (0..sample.len()).filter(|row| sample.nulls().is_none_or(|it| it.is_valid(*row)));
    match sample.data_type() {
        DataType::Utf8 => {
            let strings = sample.as_string::<i32>();
            let values = valid.map(|row| strings.value(row).as_bytes());
            repeated_among(sample.len(), values)
        }
        DataType::Binary => {
            let blobs = sample.as_binary::<i32>();
            repeated_among(sample.len(), valid.map(|row| blobs.value(row)))
        }
        other => {
            let (data, width) = (sample.to_data(), other.primitive_width());
            let Some((width, buffer)) = width.zip(data.buffers().first()) else {
                return Some(0);
            };
            let value = |row: usize| {
                let first = (data.offset() + row) * width;
                buffer.as_slice().get(first..first + width).unwrap_or(&[])
            };
            repeated_among(sample.len(), valid.map(value))
        }
    }
}

/// Stops where a dictionary would be given up.
fn repeated_among<'a>(count_max: usize, values: impl Iterator<Item = &'a [u8]>) -> Option<usize> {
    let mut seen = Seen::with_room(count_max);
    let (mut distinct, mut distinct_bytes, mut count) = (0_usize, 0, 0_usize);
    for value in values {
        count += 1;
        if seen.is_new(hash(value)) {
            distinct += 1;
            distinct_bytes += value.len();
        }
        if distinct_bytes > DICTIONARY_BYTES_MAX {
            return None;
        }
    }
    (distinct * 2 <= count.max(1)).then_some(distinct)
}

/// Whether text or bytes are short enough that the lengths between them matter to the compressor. The encoder of lengths keeps a page beside the one that it hands
/// over, and pages of long values are large.
#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "these are the types that Parquet holds as bytes"
)]
fn are_short(leaf: &ArrayRef) -> bool {
    let bytes = match leaf.data_type() {
        DataType::Utf8 => leaf.as_string::<i32>().value_offsets(),
        DataType::Binary => leaf.as_binary::<i32>().value_offsets(),
        _ => return false,
    };
    let (Some(first), Some(last)) = (bytes.first(), bytes.last()) else {
        return false;
    };
    let total = usize::try_from(last - first).unwrap_or(usize::MAX);
    total <= SHORT_BYTES_MAX * (leaf.len() - leaf.null_count()).max(1)
}

/// Whether the differences of integers take clearly more bits than their places in a dictionary of so many.
fn are_far_apart(leaf: &ArrayRef, distinct: usize) -> bool {
    if distinct == 0 {
        return true;
    }
    let Some((least, greatest)) = bounds(&leaf.slice(0, leaf.len().min(SAMPLE_ROWS_MAX))) else {
        return true;
    };
    let bits = |count: u128| u128::BITS - count.leading_zeros();
    // A difference has a sign.
    let difference = bits(greatest.abs_diff(least)) + 1;
    difference > bits(distinct.saturating_sub(1) as u128) + DIFFERENCE_BITS_MORE
}

/// The least and the greatest value of integers, times and decimals; what is null may be among them.
#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "these are the types that Parquet holds as integers"
)]
fn bounds(leaf: &ArrayRef) -> Option<(i128, i128)> {
    fn of<T: Copy + Ord + Into<i128>>(values: &[T]) -> Option<(i128, i128)> {
        let (least, greatest) = (values.iter().min()?, values.iter().max()?);
        Some(((*least).into(), (*greatest).into()))
    }
    match leaf.data_type() {
        DataType::Int32 => of(leaf.as_primitive::<Int32Type>().values()),
        DataType::Date32 => of(leaf.as_primitive::<Date32Type>().values()),
        DataType::Int64 => of(leaf.as_primitive::<Int64Type>().values()),
        DataType::Timestamp(TimeUnit::Microsecond, _) => {
            of(leaf.as_primitive::<TimestampMicrosecondType>().values())
        }
        DataType::Decimal128(..) => of(leaf.as_primitive::<Decimal128Type>().values()),
        _ => None,
    }
}

/// Which hashes came before. Values are known by their hash alone: two that share one count as one, which may cost a little of the file's size and nothing else.
struct Seen {
    /// Zero is an empty place. At most half of them are taken.
    places: Vec<u64>,
}

impl Seen {
    fn with_room(count_max: usize) -> Self {
        Seen {
            places: vec![0; (2 * count_max).next_power_of_two().max(2)],
        }
    }

    /// Whether the hash comes for the first time.
    #[inline]
    fn is_new(&mut self, hash: u64) -> bool {
        let hash = hash.max(1);
        let last = self.places.len() - 1;
        let first = usize::try_from(hash >> 32).unwrap_or(0);
        for step in 0..PROBES_MAX {
            match self.places.get_mut((first + step) & last) {
                Some(place) if *place == 0 => {
                    *place = hash;
                    return true;
                }
                Some(place) if *place != hash => {}
                Some(_) | None => return false,
            }
        }
        false
    }
}

/// A quick hash for counting, eight bytes at a time.
#[inline]
fn hash(value: &[u8]) -> u64 {
    const ODD: u64 = 0x9e37_79b9_7f4a_7c15;
    let fold = |state: u64, word: u64| {
        let product = u128::from(state ^ word) * u128::from(ODD);
        #[expect(clippy::cast_possible_truncation, reason = "both halves are taken")]
        let folded = product as u64 ^ (product >> 64) as u64;
        folded
    };
    let (words, rest) = value.as_chunks::<8>();
    let state = words.iter().fold(value.len() as u64 ^ !ODD, |state, word| {
        fold(state, u64::from_le_bytes(*word))
    });
    let last = rest
        .iter()
        .fold(0, |word, byte| word << 8 | u64::from(*byte));
    fold(state, last)
}

#[cfg(test)]
mod tests {
    use arrow::array::{
        Decimal128Array, Float64Array, Int64Array, ListArray, StringArray, StructArray,
    };
    use arrow::buffer::OffsetBuffer;
    use arrow::datatypes::{Field, Fields};
    use parquet::schema::types::ColumnPath;

    use super::*;
    use crate::writer::layout::properties;
    use crate::writer::testing::{Noise, schema, wide_schema};

    /// Whether a leaf has a dictionary, and its encoding without one.
    fn check(rows: &RecordBatch, path: &str, has_dictionary: bool, differences: Option<Encoding>) {
        let chosen = choose(&properties(), rows).unwrap();
        let path = ColumnPath::from(path.split('.').map(str::to_owned).collect::<Vec<_>>());
        assert_eq!(
            (chosen.dictionary_enabled(&path), chosen.encoding(&path)),
            (has_dictionary, differences),
            "{path}"
        );
    }

    fn column(name: &str, array: ArrayRef) -> RecordBatch {
        let field = Field::new(name, array.data_type().clone(), true);
        RecordBatch::try_new(schema(vec![field]), vec![array]).unwrap()
    }

    const DELTA: Option<Encoding> = Some(Encoding::DELTA_BINARY_PACKED);
    const LENGTHS: Option<Encoding> = Some(Encoding::DELTA_LENGTH_BYTE_ARRAY);

    #[test]
    fn numbers_that_differ_are_differences_and_those_that_repeat_a_dictionary() {
        let differ = Int64Array::from_iter_values(0..1000);
        check(&column("n", Arc::new(differ)), "n", false, DELTA);
        let codes = Int64Array::from_iter_values((0..1000).map(|number| number % 100 * 1_009));
        check(&column("n", Arc::new(codes)), "n", true, DELTA);
        let counts = Int64Array::from_iter_values((0..1000).map(|number| number % 100));
        check(&column("n", Arc::new(counts)), "n", false, DELTA);
        let nulls = Int64Array::from(vec![None; 100]);
        check(&column("n", Arc::new(nulls)), "n", true, DELTA);
        let price = Decimal128Array::from_iter_values(0..1000)
            .with_precision_and_scale(18, 4)
            .unwrap();
        check(&column("n", Arc::new(price)), "n", false, DELTA);
    }

    #[test]
    fn other_types_only_lose_a_dictionary_that_is_of_no_use() {
        let notes = StringArray::from_iter_values((0..1000).map(|number| format!("note {number}")));
        check(&column("s", Arc::new(notes)), "s", false, LENGTHS);
        let states =
            StringArray::from_iter_values((0..1000).map(|number| format!("{}", number % 5)));
        check(&column("s", Arc::new(states)), "s", true, LENGTHS);
        let amounts = Float64Array::from_iter_values((0..1000).map(f64::from));
        check(&column("d", Arc::new(amounts)), "d", false, None);
        // Each value comes ten times, and still they are too many for a dictionary.
        let long = StringArray::from_iter_values(
            (0..10_000).map(|number| format!("{:0200}", number / 10)),
        );
        check(&column("s", Arc::new(long)), "s", false, LENGTHS);
        let documents =
            StringArray::from_iter_values((0..1000).map(|number| format!("{number:04000}")));
        check(&column("s", Arc::new(documents)), "s", false, None);
    }

    #[test]
    fn leaves_of_nested_columns_are_found_by_the_paths_of_the_specification() {
        let numbers: ArrayRef = Arc::new(Int64Array::from_iter_values(0..600));
        let fields = Fields::from(vec![Field::new("x", DataType::Int64, true)]);
        let structs: ArrayRef = Arc::new(StructArray::new(fields, vec![numbers], None));
        let item = Arc::new(Field::new("item", structs.data_type().clone(), true));
        let offsets = OffsetBuffer::from_lengths(std::iter::repeat_n(2, 300));
        let list = ListArray::new(item, offsets, structs, None);
        let rows = column("l", Arc::new(list));
        check(&rows, "l.list.element.x", false, DELTA);
        let chosen = choose(&properties(), &rows).unwrap();
        let path = ColumnPath::from(["l", "list", "element", "x"].map(str::to_owned).to_vec());
        let statistics = |path: &ColumnPath| chosen.statistics_enabled(path);
        assert_eq!(statistics(&path), EnabledStatistics::None);
        let other = ColumnPath::from("other");
        assert_eq!(statistics(&other), EnabledStatistics::Page);
    }

    #[test]
    fn every_type_of_a_table_has_a_choice() {
        let fields = wide_schema();
        let rows = Noise(7).batch(&fields, 300);
        let columns = ArrowSchemaConverter::new()
            .with_coerce_types(true)
            .convert(&fields)
            .unwrap();
        let mut leaves = Vec::new();
        for column in rows.columns() {
            add_leaves(column, &mut leaves);
        }
        assert_eq!(leaves.len(), columns.num_columns());
        choose(&properties(), &rows).unwrap();
    }
}
