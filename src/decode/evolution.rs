//! What a writer schema has and the table's columns have not: collects it while a plan is compiled, and grows the columns by it, at any depth. Owns what may be added
//! and what a further column is called; does not compile, and changes no table.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, FieldRef, Fields};

use super::rules::{Rule, Rules};
use super::types::{COLUMNS_MAX, Refusal, count, field, names};
use crate::config::settings::{Allow, OnIncompatible, Table, Transform};

/// What becomes of that for which the columns have no place.
#[derive(Debug, Clone)]
pub(super) struct Policy {
    /// Why nothing can be added; `None` where it can.
    denied: Option<String>,
    conflicts: Conflicts,
    /// Names that the table uses for what no record fills, in lower case.
    reserved: Vec<String>,
    /// What stays of records, and how.
    rules: Arc<Rules>,
}

/// What becomes of a value whose column is of another type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Conflicts {
    /// Only the record that holds it is bad.
    RefuseValue,
    /// It goes into a further column.
    FurtherColumn,
    /// Nothing is compiled.
    Fail,
}

/// A column that is missing, and the structs by which it is reached.
#[derive(Debug)]
struct Wish {
    /// Outermost last.
    path: Vec<String>,
    field: Field,
}

/// What a compiler found no place for.
#[derive(Debug)]
pub(crate) struct Gaps<'a> {
    policy: &'a Policy,
    wishes: Vec<Wish>,
    is_lenient: bool,
    /// Of the place that is being compiled.
    rule: Rule<'a>,
    /// For each object around it, whether some of its members are left out or masked.
    objects: Vec<bool>,
}

impl Policy {
    /// As the table's settings say, for its values.
    pub(super) fn of(table: &Table) -> Policy {
        Policy::with(table, Rules::of_values(table))
    }

    /// The same for its keys.
    pub(super) fn of_keys(table: &Table) -> Policy {
        Policy::with(table, Rules::of_keys(table))
    }

    fn with(table: &Table, rules: Rules) -> Policy {
        let is_derived = |transform| transform != Transform::Identity;
        let derived = table
            .partition_by
            .iter()
            .filter(|field| is_derived(field.transform));
        let denied = "evolution.allow is `none`, so that the table's columns stay as they are";
        Policy {
            denied: (table.evolution.allow == Allow::None).then(|| denied.to_owned()),
            conflicts: match table.evolution.on_incompatible {
                OnIncompatible::NewColumn => Conflicts::FurtherColumn,
                OnIncompatible::Reject | OnIncompatible::Suspend => Conflicts::RefuseValue,
            },
            reserved: derived.map(|field| field.name.to_lowercase()).collect(),
            rules: Arc::new(rules),
        }
    }

    /// For a schema that the config declares, and no record: what its columns cannot hold is a mistake to be told before any record is read.
    pub(super) fn of_declared(mut self) -> Policy {
        if self.conflicts == Conflicts::RefuseValue {
            self.conflicts = Conflicts::Fail;
        }
        self
    }

    /// For a schema whose columns are made of it: nothing of it can be in the way.
    pub(super) fn of_own(mut self) -> Policy {
        self.conflicts = Conflicts::Fail;
        self
    }

    /// What stays of records.
    pub(super) fn rules(&self) -> &Rules {
        &self.rules
    }

    /// The same, but nothing can be added.
    pub(super) fn denying(mut self, reason: String) -> Policy {
        self.denied = Some(reason);
        self
    }
}

impl<'a> Gaps<'a> {
    pub(super) fn new(policy: &'a Policy) -> Self {
        Gaps {
            policy,
            wishes: Vec::new(),
            is_lenient: false,
            rule: policy.rules.root(),
            objects: Vec::new(),
        }
    }

    /// The rule of the place that is being compiled.
    pub(crate) fn rule(&self) -> Rule<'a> {
        self.rule
    }

    /// Goes on to a member, or on under another rule; answers with the rule before, for `leave`.
    pub(crate) fn enter(&mut self, rule: Rule<'a>) -> Rule<'a> {
        std::mem::replace(&mut self.rule, rule)
    }

    pub(crate) fn leave(&mut self, outer: Rule<'a>) {
        self.rule = outer;
    }

    /// Goes into an object.
    pub(crate) fn open(&mut self) {
        self.objects.push(matches!(self.rule, Rule::Chosen(_)));
    }

    pub(crate) fn close(&mut self) {
        self.objects.pop();
    }

    /// Whether the text of the object around, with so many others around it, would show what is left out or masked.
    pub(crate) fn would_show(&self, level: usize) -> bool {
        let mut within = self.objects.iter().skip(level);
        !matches!(self.rule, Rule::Hidden) && within.any(|is_chosen| *is_chosen)
    }

    /// Whether the columns must grow before the plan can be used.
    pub(super) fn are_wishes(&self) -> bool {
        !self.wishes.is_empty()
    }

    /// Asks for a column beside the siblings that are being compiled; says why there can be none.
    pub(crate) fn add(
        &mut self,
        name: &str,
        data_type: Result<DataType, Refusal>,
    ) -> Result<(), String> {
        if let Some(reason) = &self.policy.denied {
            return Err(reason.clone());
        }
        let data_type = data_type.map_err(|refusal| refusal.to_string())?;
        self.wishes.push(Wish {
            path: Vec::new(),
            field: field(name, data_type),
        });
        Ok(())
    }

    /// Whether what does not fit its column ends the compilation of its field, rather than the records that hold it.
    pub(crate) fn is_strict(&self) -> bool {
        !self.is_lenient && self.policy.conflicts != Conflicts::RefuseValue
    }

    /// Whether a field whose column is of another type has a further column.
    pub(crate) fn has_further(&self) -> bool {
        !self.is_lenient && self.policy.conflicts == Conflicts::FurtherColumn
    }

    /// Lets only the records be bad that hold what does not fit; answers with what held before, for `restore`.
    pub(crate) fn lenient(&mut self) -> bool {
        std::mem::replace(&mut self.is_lenient, true)
    }

    pub(crate) fn restore(&mut self, was_lenient: bool) {
        self.is_lenient = was_lenient;
    }

    /// How many wishes there are, to go back to.
    pub(crate) fn mark(&self) -> usize {
        self.wishes.len()
    }

    /// Forgets the wishes since a mark.
    pub(crate) fn rewind(&mut self, mark: usize) {
        self.wishes.truncate(mark);
    }

    /// Puts the wishes since a mark below the column `name`.
    pub(crate) fn under(&mut self, mark: usize, name: &str) {
        for wish in self.wishes.iter_mut().skip(mark) {
            wish.path.push(name.to_owned());
        }
    }

    /// The path of what is missing, where anything is.
    pub(super) fn missing(&self) -> Option<String> {
        let wish = self.wishes.first()?;
        let path = wish.path.iter().rev().map(String::as_str);
        let parts: Vec<&str> = path.chain([wish.field.name().as_str()]).collect();
        Some(parts.join("."))
    }

    /// The columns with all that was asked for, or why they cannot be.
    pub(super) fn grow(&self, fields: &Fields) -> Result<Fields, String> {
        let mut grown = fields.clone();
        for wish in &self.wishes {
            grown = add_to(&grown, &wish.path, &wish.field);
        }
        check(&grown, &self.policy.reserved)?;
        Ok(grown)
    }
}

/// Whether a table can have these columns.
fn check(fields: &Fields, reserved: &[String]) -> Result<(), String> {
    names::check(fields).map_err(|refusal| refusal.to_string())?;
    let columns = count(fields);
    if columns > COLUMNS_MAX {
        return Err(format!(
            "the table would have {columns} columns, nested ones counted, and {COLUMNS_MAX} are the most"
        ));
    }
    let taken = fields
        .iter()
        .find(|field| reserved.contains(&field.name().to_lowercase()));
    match taken {
        Some(field) => Err(format!(
            "the field `{}` has the name of a table partition column that is computed (partition_by)",
            field.name()
        )),
        None => Ok(()),
    }
}

/// The columns of both; where both have one, at any depth, the first one's type counts.
pub fn widened(fields: &Fields, by: &Fields) -> Fields {
    let mut all: Vec<FieldRef> = Vec::with_capacity(fields.len());
    for field in fields {
        let data_type = match by.iter().find(|other| other.name() == field.name()) {
            Some(other) => widened_type(field.data_type(), other.data_type()),
            None => field.data_type().clone(),
        };
        all.push(field.as_ref().clone().with_data_type(data_type).into());
    }
    let is_new = |other: &&FieldRef| fields.iter().all(|field| field.name() != other.name());
    all.extend(by.iter().filter(is_new).cloned());
    all.into()
}

fn widened_type(has: &DataType, by: &DataType) -> DataType {
    match (has, by) {
        (DataType::Struct(fields), DataType::Struct(by)) => DataType::Struct(widened(fields, by)),
        (DataType::List(item), DataType::List(by)) => DataType::List(of_type(
            item,
            widened_type(item.data_type(), by.data_type()),
        )),
        (DataType::Map(entries, is_sorted), DataType::Map(by, _)) => DataType::Map(
            of_type(entries, widened_type(entries.data_type(), by.data_type())),
            *is_sorted,
        ),
        (has, _) => has.clone(),
    }
}

fn of_type(field: &FieldRef, data_type: DataType) -> FieldRef {
    field.as_ref().clone().with_data_type(data_type).into()
}

/// The fields with one more in the struct that is reached by `path`, outermost last; lists and maps on the way are passed through.
fn add_to(fields: &Fields, path: &[String], field: &Field) -> Fields {
    let Some((name, rest)) = path.split_last() else {
        return widened(fields, &Fields::from(vec![field.clone()]));
    };
    let grown = fields.iter().map(|member| {
        if member.name() != name {
            return FieldRef::clone(member);
        }
        of_type(member, add_within(member.data_type(), rest, field))
    });
    grown.collect()
}

fn add_within(data_type: &DataType, path: &[String], field: &Field) -> DataType {
    #[expect(clippy::wildcard_enum_match_arm, reason = "no other type has members")]
    match data_type {
        DataType::Struct(fields) => DataType::Struct(add_to(fields, path, field)),
        DataType::List(item) => {
            DataType::List(of_type(item, add_within(item.data_type(), path, field)))
        }
        DataType::Map(entries, is_sorted) => {
            let DataType::Struct(pair) = entries.data_type() else {
                return data_type.clone();
            };
            let pair: Fields = pair
                .iter()
                .enumerate()
                .map(|(place, half)| match place {
                    0 => FieldRef::clone(half),
                    _ => of_type(half, add_within(half.data_type(), path, field)),
                })
                .collect();
            DataType::Map(of_type(entries, DataType::Struct(pair)), *is_sorted)
        }
        other => other.clone(),
    }
}

/// The name of the further column for values of a type that the field's own column cannot hold. Equal for equal types, so that instances agree.
pub(crate) fn further_name(name: &str, data_type: &DataType) -> String {
    format!("{name}__{}", word(data_type))
}

fn word(data_type: &DataType) -> String {
    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "Arrow has many types that no schema maps to"
    )]
    match data_type {
        DataType::Boolean => "boolean".to_owned(),
        DataType::Int32 => "int".to_owned(),
        DataType::Int64 => "long".to_owned(),
        DataType::Float32 => "float".to_owned(),
        DataType::Float64 => "double".to_owned(),
        DataType::Decimal128(precision, scale) => format!("decimal_{precision}_{scale}"),
        DataType::Utf8 => "string".to_owned(),
        DataType::Binary => "binary".to_owned(),
        DataType::Date32 => "date".to_owned(),
        DataType::Timestamp(_, Some(_)) => "timestamp".to_owned(),
        DataType::Timestamp(_, None) => "timestamp_ntz".to_owned(),
        DataType::List(item) => format!("array_{}", word(item.data_type())),
        DataType::Map(entries, _) => match entries.data_type() {
            DataType::Struct(pair) => format!(
                "map_{}",
                pair.get(1)
                    .map_or_else(String::new, |value| word(value.data_type()))
            ),
            _ => "map".to_owned(),
        },
        DataType::Struct(_) => "struct".to_owned(),
        other => other.to_string().to_lowercase(),
    }
}
