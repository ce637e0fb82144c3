//! What becomes of a table's columns: the ones that it has held against the ones that records bring, at any depth. Does not say how that is done.

use arrow::datatypes::{DataType, Field, Fields, Schema};
use serde::Serialize;

use crate::config::settings::Allow;
use crate::ops::plan::sql;

/// One column, or a member that is added to one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Column {
    /// Names from the column down to its member; `element` and `value` lead into lists and maps.
    pub(super) column: String,
    #[serde(rename = "type")]
    pub(super) data_type: String,
    pub(super) change: Change,
    /// What the table has instead.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) has: Option<String>,
}

/// What becomes of a column.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Change {
    /// It is there when the table is made.
    Create,
    /// The table has it.
    Keep,
    /// It comes with the first record that needs it.
    Add,
    /// It would, but `evolution.allow` is `none`.
    Refuse,
    /// The table has it as another type.
    Conflict,
    /// Only the table has it: null in new rows.
    Null,
}

impl Change {
    pub(super) fn word(self) -> &'static str {
        match self {
            Change::Create => "create",
            Change::Keep => "keep",
            Change::Add => "add",
            Change::Refuse => "refuse",
            Change::Conflict => "conflict",
            Change::Null => "null",
        }
    }
}

/// The columns of a table that has these, or none, once records of the schema are in it; and those that only sampled records tell of.
pub(super) fn changes(
    has: Option<&Schema>,
    wanted: &Schema,
    sampled: Option<&Schema>,
    allow: Allow,
) -> Vec<Column> {
    let missing = match allow {
        Allow::AddColumns => Change::Add,
        Allow::None => Change::Refuse,
    };
    let mut walk = Walk {
        missing,
        found: Vec::new(),
    };
    match has {
        Some(has) => walk.fields("", has.fields(), wanted.fields()),
        None => {
            walk.missing = Change::Create;
            walk.fields("", &Fields::empty(), wanted.fields());
        }
    }
    let known: Vec<String> = walk.found.iter().map(|it| it.column.clone()).collect();
    let mut more = Walk {
        missing,
        found: Vec::new(),
    };
    if let Some(sampled) = sampled {
        more.fields("", wanted.fields(), sampled.fields());
    }
    let is_new = |column: &Column| column.change == missing && !known.contains(&column.column);
    walk.found.extend(more.found.into_iter().filter(is_new));
    walk.found
}

struct Walk {
    missing: Change,
    found: Vec<Column>,
}

impl Walk {
    fn fields(&mut self, path: &str, has: &Fields, wanted: &Fields) {
        let is_outermost = path.is_empty();
        for field in wanted {
            let own = format!("{path}{}", sql::name(field.name()));
            let found = has.iter().find(|other| other.name() == field.name());
            match found {
                None => self.enter(own, field, self.missing),
                Some(found) => {
                    if is_outermost {
                        self.enter(own.clone(), found, Change::Keep);
                    }
                    self.types(&own, found.data_type(), field.data_type());
                }
            }
        }
        for field in has.iter().filter(|_| is_outermost) {
            if wanted.iter().all(|other| other.name() != field.name()) {
                self.enter(sql::name(field.name()), field, Change::Null);
            }
        }
    }

    fn types(&mut self, path: &str, has: &DataType, wanted: &DataType) {
        match (has, wanted) {
            (DataType::Struct(has), DataType::Struct(wanted)) => {
                self.fields(&format!("{path}."), has, wanted);
            }
            (DataType::List(has), DataType::List(wanted)) => {
                let path = format!("{path}.element");
                self.types(&path, has.data_type(), wanted.data_type());
            }
            (DataType::Map(has, _), DataType::Map(wanted, _)) => {
                let value = |entries: &DataType| match entries {
                    DataType::Struct(pair) => pair.get(1).map(|value| value.data_type().clone()),
                    _ => None,
                };
                let both = (value(has.data_type()), value(wanted.data_type()));
                if let (Some(has), Some(wanted)) = both {
                    self.types(&format!("{path}.value"), &has, &wanted);
                }
            }
            (has, wanted) => {
                let (has, wanted) = (sql::type_of(has), sql::type_of(wanted));
                if has != wanted {
                    self.found.retain(|column| column.column != path);
                    self.found.push(Column {
                        column: path.to_owned(),
                        data_type: wanted,
                        change: Change::Conflict,
                        has: Some(has),
                    });
                }
            }
        }
    }

    fn enter(&mut self, column: String, field: &Field, change: Change) {
        self.found.push(Column {
            column,
            data_type: sql::type_of(field.data_type()),
            change,
            has: None,
        });
    }
}
