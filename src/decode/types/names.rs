//! Which names a column may have: Parquet and Spark forbid some characters and tell no upper from lower case. Does not rename.

use std::collections::HashMap;

use arrow::datatypes::{DataType, Fields};

use super::Refusal;

/// What Spark refuses in the names of Parquet columns.
const FORBIDDEN: &[char] = &[' ', ',', ';', '{', '}', '(', ')', '\n', '\t', '='];

/// Checks the names of columns and of what nests in them.
pub(crate) fn check(fields: &Fields) -> Result<(), Refusal> {
    let mut folded: HashMap<String, &str> = HashMap::new();
    for field in fields {
        let name = field.name();
        if name.is_empty() {
            return Err(Refusal::new(
                "a field has an empty name, which no table column can have: rename it at the source",
            ));
        }
        if let Some(bad) = name.chars().find(|character| FORBIDDEN.contains(character)) {
            return Err(Refusal::new(format!(
                "the field name `{name}` holds {bad:?}, which Parquet and Spark do not allow: rename it at the source, for example to `{}`",
                name.replace(FORBIDDEN, "_")
            )));
        }
        if let Some(other) = folded.insert(name.to_lowercase(), name) {
            return Err(Refusal::new(format!(
                "the field names `{other}` and `{name}` differ only by case, which Spark does not tell apart: rename one at the source, for example to `{name}_2`"
            )));
        }
        check_type(field.data_type()).map_err(|refusal| refusal.under(name))?;
    }
    Ok(())
}

fn check_type(data_type: &DataType) -> Result<(), Refusal> {
    #[expect(clippy::wildcard_enum_match_arm, reason = "no other type holds names")]
    match data_type {
        DataType::Struct(fields) => check(fields),
        DataType::List(item) => check_type(item.data_type()).map_err(|refusal| refusal.under("[]")),
        DataType::Map(entries, _) => check_type(entries.data_type()),
        _ => Ok(()),
    }
}
