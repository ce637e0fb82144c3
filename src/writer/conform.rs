//! Rows of a file, or of a decoder, in today's shape of the table: columns by name, nulls for columns that are younger than the file, other physical forms of the same type. Owns what
//! may become what; anything else leaves the file alone.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray as _, ListArray, MapArray, RecordBatch, StructArray, new_null_array,
};
use arrow::compute::{CastOptions, cast_with_options};
use arrow::datatypes::{DataType, Field, FieldRef, Fields, SchemaRef};

/// Brings a batch into the shape of `schema`; the error names the column and both types.
pub fn conform(batch: &RecordBatch, schema: &SchemaRef) -> Result<RecordBatch, String> {
    let rows = batch.num_rows();
    let columns = schema
        .fields()
        .iter()
        .map(|field| {
            of_column(
                batch.column_by_name(field.name()),
                field,
                rows,
                field.name(),
            )
        })
        .collect::<Result<Vec<_>, _>>()?;
    RecordBatch::try_new(Arc::clone(schema), columns).map_err(|error| error.to_string())
}

fn of_column(
    found: Option<&ArrayRef>,
    field: &Field,
    rows: usize,
    path: &str,
) -> Result<ArrayRef, String> {
    match found {
        Some(array) => of_array(array, field.data_type(), path),
        None if field.is_nullable() => Ok(new_null_array(field.data_type(), rows)),
        None => Err(format!("lacks the column `{path}`, which is NOT NULL")),
    }
}

fn of_array(array: &ArrayRef, wanted: &DataType, path: &str) -> Result<ArrayRef, String> {
    if array.data_type() == wanted {
        return Ok(Arc::clone(array));
    }
    let odd = || {
        format!(
            "holds the column `{path}` as {}, and the table has {wanted}",
            array.data_type()
        )
    };
    match (array.data_type(), wanted) {
        (DataType::Struct(_), DataType::Struct(members)) => of_struct(array, members, path),
        (DataType::List(_), DataType::List(item)) => of_list(array, item, path),
        (DataType::Map(..), DataType::Map(entries, sorted)) => {
            of_map(array, entries, *sorted, path).unwrap_or_else(|| Err(odd()))
        }
        (from, to) if is_same_value(from, to) => {
            // Not safe: a value that does not fit is an error, never a null.
            let options = CastOptions {
                safe: false,
                ..CastOptions::default()
            };
            cast_with_options(array, wanted, &options)
                .map_err(|error| format!("{} ({error})", odd()))
        }
        _ => Err(odd()),
    }
}

fn of_struct(array: &ArrayRef, members: &Fields, path: &str) -> Result<ArrayRef, String> {
    let from = array.as_struct();
    let columns = members
        .iter()
        .map(|member| {
            let path = format!("{path}.{}", member.name());
            of_column(
                from.column_by_name(member.name()),
                member,
                from.len(),
                &path,
            )
        })
        .collect::<Result<Vec<_>, _>>()?;
    let nulls = from.nulls().cloned();
    StructArray::try_new_with_length(members.clone(), columns, nulls, from.len())
        .map(|array| Arc::new(array) as ArrayRef)
        .map_err(|error| error.to_string())
}

fn of_list(array: &ArrayRef, item: &FieldRef, path: &str) -> Result<ArrayRef, String> {
    let from = array.as_list::<i32>();
    let values = of_array(from.values(), item.data_type(), &format!("{path}.element"))?;
    let (offsets, nulls) = (from.offsets().clone(), from.nulls().cloned());
    ListArray::try_new(Arc::clone(item), offsets, values, nulls)
        .map(|array| Arc::new(array) as ArrayRef)
        .map_err(|error| error.to_string())
}

/// `None` when the wanted entries are no pairs.
fn of_map(
    array: &ArrayRef,
    entries: &FieldRef,
    sorted: bool,
    path: &str,
) -> Option<Result<ArrayRef, String>> {
    let DataType::Struct(members) = entries.data_type() else {
        return None;
    };
    let [key, value] = members.as_ref() else {
        return None;
    };
    let from = array.as_map();
    let pairs = || -> Result<ArrayRef, String> {
        let columns = vec![
            of_array(from.keys(), key.data_type(), &format!("{path}.key"))?,
            of_array(from.values(), value.data_type(), &format!("{path}.value"))?,
        ];
        let (offsets, nulls) = (from.offsets().clone(), from.nulls().cloned());
        StructArray::try_new(members.clone(), columns, None)
            .and_then(|pairs| MapArray::try_new(Arc::clone(entries), offsets, pairs, nulls, sorted))
            .map(|array| Arc::new(array) as ArrayRef)
            .map_err(|error| error.to_string())
    };
    Some(pairs())
}

/// Whether a cast keeps every value: other physical forms, and integers that grew.
fn is_same_value(from: &DataType, to: &DataType) -> bool {
    use DataType as T;
    match (from, to) {
        (T::Timestamp(_, _), T::Timestamp(_, _)) => true,
        (T::Decimal128(p, s), T::Decimal128(wider, same)) => wider >= p && s == same,
        (T::Int8, T::Int16 | T::Int32 | T::Int64)
        | (T::Int16, T::Int32 | T::Int64)
        | (T::Int32, T::Int64) => true,
        (T::Float32, T::Float64) => true,
        (
            T::Utf8 | T::LargeUtf8 | T::Utf8View | T::Binary | T::LargeBinary | T::BinaryView,
            T::Utf8,
        ) => true,
        (
            T::Binary | T::LargeBinary | T::BinaryView | T::FixedSizeBinary(_) | T::Utf8,
            T::Binary,
        ) => true,
        (T::Null, _) => true,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::{Int32Array, Int64Array, StringArray};
    use arrow::datatypes::Schema;

    use super::*;

    fn schema(fields: Vec<Field>) -> SchemaRef {
        Arc::new(Schema::new(fields))
    }

    fn batch(fields: Vec<Field>, columns: Vec<ArrayRef>) -> RecordBatch {
        RecordBatch::try_new(schema(fields), columns).unwrap()
    }

    fn inner(name: &str, data_type: DataType) -> Field {
        Field::new(name, data_type, true)
    }

    #[test]
    fn columns_go_by_name_grow_and_are_null_where_the_file_is_older() {
        let old = batch(
            vec![
                inner("b", DataType::Utf8),
                inner("a", DataType::Int32),
                inner("dropped", DataType::Utf8),
            ],
            vec![
                Arc::new(StringArray::from(vec!["x", "y"])),
                Arc::new(Int32Array::from(vec![1, 2])),
                Arc::new(StringArray::from(vec!["-", "-"])),
            ],
        );
        let today = schema(vec![
            inner("a", DataType::Int64),
            inner("b", DataType::Utf8),
            inner(
                "late",
                DataType::Struct(vec![inner("m", DataType::Utf8)].into()),
            ),
        ]);
        let new = conform(&old, &today).unwrap();
        assert_eq!(new.column(0).as_ref(), &Int64Array::from(vec![1, 2]));
        assert_eq!(new.column(2).null_count(), 2);
    }

    #[test]
    fn members_of_nested_columns_go_by_name_too() {
        let member = |fields: Vec<Field>| {
            DataType::List(Arc::new(inner("item", DataType::Struct(fields.into()))))
        };
        let from = StructArray::from(vec![(
            Arc::new(inner("x", DataType::Int64)),
            Arc::new(Int64Array::from(vec![1, 2, 3])) as ArrayRef,
        )]);
        let offsets = arrow::buffer::OffsetBuffer::from_lengths([2, 1]);
        let item = Arc::new(inner("item", from.data_type().clone()));
        let list = ListArray::new(item, offsets, Arc::new(from), None);
        let old = batch(
            vec![inner("l", list.data_type().clone())],
            vec![Arc::new(list)],
        );
        let wanted = member(vec![
            inner("y", DataType::Utf8),
            inner("x", DataType::Int64),
        ]);
        let new = conform(&old, &schema(vec![inner("l", wanted)])).unwrap();
        let structs = new.column(0).as_list::<i32>().values().as_struct().clone();
        assert_eq!(structs.column(1).as_ref(), &Int64Array::from(vec![1, 2, 3]));
        assert_eq!(structs.column(0).null_count(), 3);
    }

    #[test]
    fn what_is_another_type_is_named_and_refused() {
        let old = batch(
            vec![inner("a", DataType::Utf8)],
            vec![Arc::new(StringArray::from(vec!["1"]))],
        );
        let error = conform(&old, &schema(vec![inner("a", DataType::Int64)])).unwrap_err();
        assert_eq!(
            error,
            "holds the column `a` as Utf8, and the table has Int64"
        );
        let never_null = Field::new("b", DataType::Int64, false);
        assert!(
            conform(&old, &schema(vec![never_null]))
                .unwrap_err()
                .contains("NOT NULL")
        );
    }
}
