//! Which Parquet encodings suit the columns of a file whose first rows are known: pure. Owns the choice between a dictionary, bit-packed differences and plain values;
//! codec, pages and statistics are the layout's.
//!
//! | first rows of a leaf | encoding | because |
//! |---|---|---|
//! | most values differ, or their dictionary is too large | no dictionary | it would be given up in every row group |
//! | integers, times, decimals of up to 18 digits | differences where there is no dictionary | offsets, times and ids are a hundredth of their plain size, and several times faster |
//! | anything else | as the layout says | - |

use std::collections::HashSet;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray as _, RecordBatch};
use arrow::datatypes::DataType;
use parquet::arrow::ArrowSchemaConverter;
use parquet::basic::{Encoding, Type};
use parquet::errors::ParquetError;
use parquet::file::properties::WriterProperties;

use crate::writer::layout::DICTIONARY_BYTES_MAX;

/// Rows that are looked at.
const SAMPLE_ROWS_MAX: usize = 32 * 1024;

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
        if matches!(column.physical_type(), Type::INT32 | Type::INT64) {
            builder =
                builder.set_column_encoding(column.path().clone(), Encoding::DELTA_BINARY_PACKED);
        }
        if !has_use_of_dictionary(leaf) {
            builder = builder.set_column_dictionary_enabled(column.path().clone(), false);
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

/// Whether values repeat, and few enough differ. Without a value nothing is known, and a dictionary costs nothing.
#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "every other leaf has values of one width"
)]
fn has_use_of_dictionary(leaf: &ArrayRef) -> bool {
    let valid = (0..leaf.len().min(SAMPLE_ROWS_MAX)).filter(|row| leaf.is_valid(*row));
    match leaf.data_type() {
        DataType::Utf8 => {
            let strings = leaf.as_string::<i32>();
            do_repeat(valid.map(|row| strings.value(row).as_bytes()))
        }
        DataType::Binary => {
            let blobs = leaf.as_binary::<i32>();
            do_repeat(valid.map(|row| blobs.value(row)))
        }
        other => {
            let (data, width) = (leaf.to_data(), other.primitive_width());
            let Some((width, buffer)) = width.zip(data.buffers().first()) else {
                return true;
            };
            let value = |row: usize| {
                let first = (data.offset() + row) * width;
                buffer.as_slice().get(first..first + width).unwrap_or(&[])
            };
            do_repeat(valid.map(value))
        }
    }
}

/// Stops where a dictionary would be given up.
fn do_repeat<'a>(values: impl Iterator<Item = &'a [u8]>) -> bool {
    let (mut distinct, mut distinct_bytes, mut count) = (HashSet::new(), 0, 0_usize);
    for value in values {
        count += 1;
        if distinct.insert(value) {
            distinct_bytes += value.len();
        }
        if distinct_bytes > DICTIONARY_BYTES_MAX {
            return false;
        }
    }
    distinct.len() * 2 <= count.max(1)
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

    #[test]
    fn numbers_that_differ_are_differences_and_those_that_repeat_a_dictionary() {
        let differ = Int64Array::from_iter_values(0..1000);
        check(&column("n", Arc::new(differ)), "n", false, DELTA);
        let repeat = Int64Array::from_iter_values((0..1000).map(|number| number % 100));
        check(&column("n", Arc::new(repeat)), "n", true, DELTA);
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
        check(&column("s", Arc::new(notes)), "s", false, None);
        let states =
            StringArray::from_iter_values((0..1000).map(|number| format!("{}", number % 5)));
        check(&column("s", Arc::new(states)), "s", true, None);
        let amounts = Float64Array::from_iter_values((0..1000).map(f64::from));
        check(&column("d", Arc::new(amounts)), "d", false, None);
        // Each value comes ten times, and still they are too many for a dictionary.
        let long = StringArray::from_iter_values(
            (0..10_000).map(|number| format!("{:0200}", number / 10)),
        );
        check(&column("s", Arc::new(long)), "s", false, None);
    }

    #[test]
    fn leaves_of_nested_columns_are_found_by_the_paths_of_the_specification() {
        let numbers: ArrayRef = Arc::new(Int64Array::from_iter_values(0..600));
        let fields = Fields::from(vec![Field::new("x", DataType::Int64, true)]);
        let structs: ArrayRef = Arc::new(StructArray::new(fields, vec![numbers], None));
        let item = Arc::new(Field::new("item", structs.data_type().clone(), true));
        let offsets = OffsetBuffer::from_lengths(std::iter::repeat_n(2, 300));
        let list = ListArray::new(item, offsets, structs, None);
        check(
            &column("l", Arc::new(list)),
            "l.list.element.x",
            false,
            DELTA,
        );
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
