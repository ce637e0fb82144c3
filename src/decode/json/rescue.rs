//! Fields of a record that have no column, kept as the text of one JSON object by their paths. Does not read JSON.

use std::collections::HashSet;

use serde_json::Value;

use crate::decode::builder::{Column, Data};
use crate::decode::reject::{Code, Fault, Outcome};

/// How long the paths of one record may become, since a long name outside is repeated for each field inside.
const PATHS_BYTES_MAX: usize = 16 << 20;

/// The rescued fields of one record.
#[derive(Debug, Default)]
pub(super) struct Rescues<'a> {
    fields: Vec<(String, &'a [u8])>,
    paths_bytes: usize,
}

impl<'a> Rescues<'a> {
    #[inline]
    pub(super) fn len(&self) -> usize {
        self.fields.len()
    }

    /// Keeps a field of the innermost object with the text of its value.
    pub(super) fn push(&mut self, name: &str, text: &'a [u8]) -> Outcome {
        self.spend(name.len())?;
        self.fields.push((name.to_owned(), text));
        Ok(())
    }

    /// Puts an outer step before the paths of the fields from `first` on.
    pub(super) fn under(&mut self, first: usize, step: &str) -> Outcome {
        self.spend((step.len() + 1).saturating_mul(self.fields.len().saturating_sub(first)))?;
        for (path, _) in self.fields.iter_mut().skip(first) {
            let dot = if path.starts_with('[') { "" } else { "." };
            path.insert_str(0, dot);
            path.insert_str(0, step);
        }
        Ok(())
    }

    fn spend(&mut self, bytes: usize) -> Outcome {
        self.paths_bytes = self.paths_bytes.saturating_add(bytes);
        if self.paths_bytes > PATHS_BYTES_MAX {
            let message = format!("the paths of the rescued fields pass {PATHS_BYTES_MAX} bytes");
            return Err(Fault::new(Code::TooLarge, message));
        }
        Ok(())
    }

    /// Appends the object; null where nothing was rescued.
    pub(super) fn write(&self, column: &mut Column) -> Outcome {
        if self.fields.is_empty() {
            return column.push_null();
        }
        let Data::Text(column) = &mut column.data else {
            return Err(Fault::new(
                Code::TypeMismatch,
                "the column of rescued fields is no text (a bug of Lakeward)",
            ));
        };
        let mut seen = HashSet::new();
        let out = column.open();
        for (index, (path, text)) in self.fields.iter().enumerate() {
            if !seen.insert(path.as_str()) {
                let message = "the object has the field twice";
                return Err(Fault::new(Code::DuplicateField, message).in_field(path));
            }
            out.push(if index == 0 { b'{' } else { b',' });
            out.extend_from_slice(Value::from(path.as_str()).to_string().as_bytes());
            out.push(b':');
            out.extend_from_slice(text);
        }
        out.push(b'}');
        column.end()
    }
}
