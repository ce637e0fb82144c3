//! Delta statistics of a data file: counts exact, bounds contain every value (STAT-1). Taken from what the Parquet encoder counted anyway; what that cannot say is
//! observed in the batches. Leaves a bound out rather than guess it.

mod bound;
mod indexed;

use std::fmt::Write as _;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::buffer::NullBuffer;
use arrow::datatypes::{DataType, Float32Type, Float64Type};
use parquet::file::metadata::ParquetMetaData;
use parquet::file::statistics::Statistics;

use bound::Bound;
pub(crate) use indexed::Indexed;
use indexed::{Content, Node};

/// `delta.dataSkippingNumIndexedCols` when a table does not say.
pub const INDEXED_LEAVES_DEFAULT: i64 = 32;

/// What only the batches know: nulls of lists and maps, and whether a float column has a NaN.
#[derive(Debug, Clone, Default)]
pub(crate) struct Observed {
    collection_nulls: Vec<u64>,
    has_nan: Vec<bool>,
}

impl Observed {
    pub(crate) fn new(indexed: &Indexed) -> Self {
        Observed {
            collection_nulls: vec![0; indexed.collections],
            has_nan: vec![false; indexed.leaves],
        }
    }

    /// The leaf columns of the file.
    pub(crate) fn leaves(&self) -> usize {
        self.has_nan.len()
    }

    /// Takes in the rows of one batch.
    pub(crate) fn add(&mut self, indexed: &Indexed, batch: &RecordBatch) {
        for (node, array) in indexed.nodes.iter().zip(batch.columns()) {
            self.visit(node, array, None);
        }
    }

    fn visit(&mut self, node: &Node, array: &ArrayRef, parent_nulls: Option<&NullBuffer>) {
        match &node.content {
            Content::Struct(members) => {
                let Some(parent) = array.as_struct_opt() else {
                    return;
                };
                let nulls = NullBuffer::union(parent_nulls, parent.nulls());
                for (member, column) in members.iter().zip(parent.columns()) {
                    self.visit(member, column, nulls.as_ref());
                }
            }
            Content::Collection { number } => {
                let nulls = NullBuffer::union(parent_nulls, array.nulls())
                    .map_or(0, |nulls| nulls.null_count());
                if let Some(count) = self.collection_nulls.get_mut(*number) {
                    *count += u64::try_from(nulls).unwrap_or(0);
                }
            }
            Content::Leaf { leaf, .. } => {
                // A NaN below a null counts too: then a bound is missing, never wrong.
                if let Some(has_nan) = self.has_nan.get_mut(*leaf) {
                    *has_nan |= contains_nan(array);
                }
            }
        }
    }
}

fn contains_nan(array: &ArrayRef) -> bool {
    // Looking at all of them at once is quicker than stopping at the first.
    if let Some(values) = array.as_primitive_opt::<Float64Type>() {
        let values = values.values().iter();
        return values.fold(false, |found, value| found | value.is_nan());
    }
    array
        .as_primitive_opt::<Float32Type>()
        .is_some_and(|values| {
            let values = values.values().iter();
            values.fold(false, |found, value| found | value.is_nan())
        })
}

/// The statistics of a finished file as the JSON text of `add.stats`.
pub(crate) fn to_json(indexed: &Indexed, file: &ParquetMetaData, observed: &Observed) -> String {
    let source = Source { file, observed };
    let mut json = format!("{{\"numRecords\":{}", file.file_metadata().num_rows());
    for (key, which) in [
        ("minValues", Which::Min),
        ("maxValues", Which::Max),
        ("nullCount", Which::Nulls),
    ] {
        let members = source
            .members(&indexed.nodes, which)
            .unwrap_or_else(|| "{}".to_owned());
        push_member(&mut json, key, &members);
    }
    json.push('}');
    json
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Which {
    Min,
    Max,
    Nulls,
}

struct Source<'a> {
    file: &'a ParquetMetaData,
    observed: &'a Observed,
}

impl Source<'_> {
    fn members(&self, nodes: &[Node], which: Which) -> Option<String> {
        let mut json = String::from("{");
        for node in nodes {
            if let Some(value) = self.value(node, which) {
                push_member(&mut json, &node.name, &value);
            }
        }
        json.push('}');
        (json.len() > 2).then_some(json)
    }

    fn value(&self, node: &Node, which: Which) -> Option<String> {
        match &node.content {
            Content::Struct(members) => self.members(members, which),
            Content::Collection { number } => {
                let nulls = self.observed.collection_nulls.get(*number)?;
                (which == Which::Nulls && node.is_indexed).then(|| nulls.to_string())
            }
            Content::Leaf { leaf, data_type } if node.is_indexed => match which {
                Which::Nulls => self.nulls(*leaf).map(|nulls| nulls.to_string()),
                Which::Min => self.bounds(*leaf, data_type)?.0.lower_json(data_type),
                Which::Max => self.bounds(*leaf, data_type)?.1.upper_json(data_type),
            },
            Content::Leaf { .. } => None,
        }
    }

    fn statistics(&self, leaf: usize) -> impl Iterator<Item = Option<(&Statistics, i64)>> {
        self.file
            .row_groups()
            .iter()
            .map(move |group| Some((group.columns().get(leaf)?.statistics()?, group.num_rows())))
    }

    fn nulls(&self, leaf: usize) -> Option<u64> {
        self.statistics(leaf)
            .map(|statistics| statistics?.0.null_count_opt())
            .sum()
    }

    /// The least and the greatest value over all row groups; `None` when one of them does not say, or when there is no value at all.
    fn bounds(&self, leaf: usize, data_type: &DataType) -> Option<(Bound, Bound)> {
        if self.observed.has_nan.get(leaf).copied().unwrap_or(true) {
            return None;
        }
        let mut bounds: Option<(Bound, Bound)> = None;
        for statistics in self.statistics(leaf) {
            let (statistics, rows) = statistics?;
            if statistics
                .null_count_opt()
                .and_then(|nulls| i64::try_from(nulls).ok())
                == Some(rows)
            {
                continue;
            }
            let (min, max) = bound::of(statistics, data_type)?;
            bounds = Some(match bounds {
                None => (min, max),
                Some((least, greatest)) => (
                    if min.is_less(&least) { min } else { least },
                    if greatest.is_less(&max) {
                        max
                    } else {
                        greatest
                    },
                ),
            });
        }
        bounds
    }
}

fn push_member(json: &mut String, name: &str, value: &str) {
    if !json.ends_with('{') {
        json.push(',');
    }
    // Writing to a String cannot fail.
    write!(json, "{}:{value}", bound::quoted(name)).unwrap_or_default();
}

#[cfg(test)]
mod tests;
