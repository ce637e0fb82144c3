//! Which columns get statistics, as a tree over the files' columns. Follows `delta.dataSkippingNumIndexedCols`; the Kafka coordinates are indexed wherever they stand.

use std::collections::BTreeSet;

use arrow::datatypes::{DataType, Field, Schema};

/// The files' columns with what their statistics come from.
#[derive(Debug, Clone, Default)]
pub(crate) struct Indexed {
    pub(super) nodes: Vec<Node>,
    /// Parquet leaves in all.
    pub(super) leaves: usize,
    /// Lists and maps outside of other lists and maps.
    pub(super) collections: usize,
}

/// A column or struct member.
#[derive(Debug, Clone)]
pub(super) struct Node {
    pub(super) name: String,
    pub(super) is_indexed: bool,
    pub(super) content: Content,
}

#[derive(Debug, Clone)]
pub(super) enum Content {
    Struct(Vec<Node>),
    /// A list or map: only its nulls are counted.
    Collection {
        number: usize,
    },
    Leaf {
        leaf: usize,
        data_type: DataType,
    },
}

impl Indexed {
    /// Indexes the first `leaves_max` columns, members counted one by one and a list or map as one; all when negative.
    pub(crate) fn new(schema: &Schema, leaves_max: i64, always: &BTreeSet<String>) -> Self {
        let mut walk = Walk {
            left: usize::try_from(leaves_max).unwrap_or(usize::MAX),
            leaves: 0,
            collections: 0,
        };
        let nodes = schema
            .fields()
            .iter()
            .map(|field| walk.node(field, always.contains(field.name())))
            .collect();
        Indexed {
            nodes,
            leaves: walk.leaves,
            collections: walk.collections,
        }
    }
}

struct Walk {
    left: usize,
    leaves: usize,
    collections: usize,
}

impl Walk {
    fn node(&mut self, field: &Field, is_always_indexed: bool) -> Node {
        let name = field.name().clone();
        if let DataType::Struct(members) = field.data_type() {
            let members = members
                .iter()
                .map(|member| self.node(member, is_always_indexed))
                .collect();
            return Node {
                name,
                is_indexed: true,
                content: Content::Struct(members),
            };
        }
        let is_indexed = self.left > 0 || is_always_indexed;
        self.left = self.left.saturating_sub(1);
        let below = leaves_below(field.data_type());
        let content = if is_collection(field.data_type()) {
            self.collections += 1;
            Content::Collection {
                number: self.collections - 1,
            }
        } else {
            Content::Leaf {
                leaf: self.leaves,
                data_type: field.data_type().clone(),
            }
        };
        self.leaves += below;
        Node {
            name,
            is_indexed,
            content,
        }
    }
}

fn is_collection(data_type: &DataType) -> bool {
    matches!(
        data_type,
        DataType::List(_)
            | DataType::LargeList(_)
            | DataType::FixedSizeList(..)
            | DataType::Map(..)
    )
}

/// The Parquet columns that a type takes.
#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "every Arrow type that does not nest is one Parquet column"
)]
fn leaves_below(data_type: &DataType) -> usize {
    match data_type {
        DataType::Struct(members) => members
            .iter()
            .map(|member| leaves_below(member.data_type()))
            .sum(),
        DataType::List(item)
        | DataType::LargeList(item)
        | DataType::FixedSizeList(item, _)
        | DataType::Map(item, _) => leaves_below(item.data_type()),
        _ => 1,
    }
}
