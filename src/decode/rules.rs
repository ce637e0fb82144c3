//! Which members of a record reach the table, and which are masked: a tree that compilers walk beside a schema and the columns. Owns what columns become of it, and that
//! every path leads somewhere; does not read values.

use arrow::datatypes::{DataType, Field, FieldRef, Fields};

use super::columns;
use super::masking::{Hasher, masked_type};
use super::types::Refusal;
use crate::config::settings::{Columns, Mask, Secret, Table};

/// What the settings say of a record's members.
#[derive(Debug, Clone, Default)]
pub(crate) struct Rules {
    root: Node,
}

/// What is said of a column or member, and of what lies in it.
#[derive(Debug, Clone, Default)]
struct Node {
    members: Vec<(String, Node)>,
    /// Only members that are included stay.
    is_selective: bool,
    is_included: bool,
    verdict: Option<Verdict>,
}

#[derive(Debug, Clone)]
enum Verdict {
    Left,
    Hashed(Hasher),
    Redacted,
}

/// What becomes of one place in a record.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) enum Rule<'a> {
    /// It stays as it is.
    #[default]
    Free,
    /// Some of its members do not.
    Chosen(Choice<'a>),
    /// It is left out.
    Left,
    /// Its values are hashed, one by one in lists and maps.
    Hashed(&'a Hasher),
    /// It becomes a fixed text or null, as a whole.
    Redacted,
    /// It is read as it is, to be hashed.
    Hidden,
}

/// The column that a field would have.
#[derive(Debug)]
pub(crate) enum Wished {
    /// None: no part of it is left.
    Nothing,
    /// This one, or why it has none.
    Column(Result<DataType, Refusal>),
}

/// A place of whose members something is said.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Choice<'a>(&'a Node);

impl Rules {
    /// For the values of a table.
    pub(super) fn of_values(table: &Table) -> Rules {
        let mut rules = Rules::of(&table.columns);
        if let Some(key) = columns::key_column(&table.metadata) {
            rules.root.members.retain(|(name, _)| *name != key);
        }
        rules
    }

    /// For the keys of a table.
    pub(super) fn of_keys(table: &Table) -> Rules {
        let Some(key) = columns::key_column(&table.metadata) else {
            return Rules::default();
        };
        let mut members = Rules::of(&table.columns).root.members.into_iter();
        let found = members.find(|(name, _)| *name == key);
        Rules {
            root: found.map(|(_, node)| node).unwrap_or_default(),
        }
    }

    /// For the rows of a table.
    pub(super) fn of(columns: &Columns) -> Rules {
        let mut root = Node::default();
        for path in &columns.include {
            root.include(path);
        }
        for path in &columns.exclude {
            root.at(path).verdict = Some(Verdict::Left);
        }
        let key = columns.mask_key.as_ref().map_or("", Secret::reveal);
        for (path, mask) in &columns.mask {
            root.at(path).verdict = Some(match mask {
                Mask::HmacSha256 => Verdict::Hashed(Hasher::new(key.as_bytes())),
                Mask::Redact => Verdict::Redacted,
            });
        }
        Rules { root }
    }

    /// The rule of a whole value.
    pub(crate) fn root(&self) -> Rule<'_> {
        self.root.rule()
    }

    pub(super) fn are_none(&self) -> bool {
        self.root.is_free()
    }

    /// The columns that are left of these, as they will be.
    pub(super) fn apply(&self, fields: &Fields) -> Result<Fields, Refusal> {
        if let Rule::Chosen(choice) = self.root() {
            return choice.apply(fields);
        }
        Ok(fields.clone())
    }

    /// Refuses a path that leads nowhere in `fields`. What is left out anyway may be missing where `is_open`: JSON has fields that no schema tells of.
    pub(super) fn check(&self, fields: &Fields, is_open: bool) -> Result<(), Refusal> {
        let record = DataType::Struct(fields.clone());
        for (name, node) in &self.root.members {
            node.check(name, &record, is_open)?;
        }
        Ok(())
    }

    /// The place of a column that is to be hashed and is of another type in a table with these columns.
    pub(super) fn unfit(&self, fields: &Fields) -> Option<(String, DataType)> {
        self.root.unfit(&DataType::Struct(fields.clone()))
    }
}

impl Node {
    fn at(&mut self, path: &[String]) -> &mut Node {
        let Some((first, rest)) = path.split_first() else {
            return self;
        };
        let place = match self.members.iter().position(|(name, _)| name == first) {
            Some(place) => place,
            None => {
                self.members.push((first.clone(), Node::default()));
                self.members.len() - 1
            }
        };
        #[expect(
            clippy::indexing_slicing,
            reason = "the place was found or made just now; a fallible lookup cannot give the borrow back"
        )]
        self.members[place].1.at(rest)
    }

    fn include(&mut self, path: &[String]) {
        self.is_included = true;
        let Some((first, rest)) = path.split_first() else {
            return;
        };
        self.is_selective = true;
        self.at(std::slice::from_ref(first)).include(rest);
    }

    fn is_free(&self) -> bool {
        let mut members = self.members.iter();
        self.verdict.is_none() && !self.is_selective && members.all(|(_, node)| node.is_free())
    }

    fn rule(&self) -> Rule<'_> {
        match &self.verdict {
            Some(Verdict::Left) => Rule::Left,
            Some(Verdict::Hashed(hasher)) => Rule::Hashed(hasher),
            Some(Verdict::Redacted) => Rule::Redacted,
            None if self.is_free() => Rule::Free,
            None => Rule::Chosen(Choice(self)),
        }
    }

    fn check(&self, name: &str, parent: &DataType, is_open: bool) -> Result<(), Refusal> {
        let is_left = matches!(self.verdict, Some(Verdict::Left));
        let Some(members) = members(parent) else {
            let reason = format!("is {parent}, which has no member `{name}` (columns)");
            return Err(Refusal::new(reason));
        };
        let Some(field) = members.iter().find(|field| field.name() == name) else {
            let names = members.iter().map(|field| field.name().as_str());
            let close = closest(name, names);
            if is_open && is_left && close.is_none() {
                return Ok(());
            }
            let hint = close.map(|close| format!("; did you mean `{close}`?"));
            let reason = format!(
                "the schema has no such field, which `columns` names{}",
                hint.unwrap_or_default()
            );
            return Err(Refusal::new(reason).under(name));
        };
        for (inner, node) in &self.members {
            let checked = node.check(inner, field.data_type(), is_open);
            checked.map_err(|refusal| refusal.under(name))?;
        }
        Ok(())
    }

    fn unfit(&self, has: &DataType) -> Option<(String, DataType)> {
        if let Some(Verdict::Hashed(_)) = self.verdict {
            let found = leaf(has);
            return (*found != DataType::Utf8).then(|| (String::new(), found.clone()));
        }
        let fields = members(has)?;
        for (name, node) in &self.members {
            let field = fields.iter().find(|field| field.name() == name);
            let Some((path, found)) = field.and_then(|field| node.unfit(field.data_type())) else {
                continue;
            };
            let dot = if path.is_empty() { "" } else { "." };
            return Some((format!("{name}{dot}{path}"), found));
        }
        None
    }
}

impl<'a> Rule<'a> {
    /// Of a member.
    pub(crate) fn member(self, name: &str) -> Rule<'a> {
        match self {
            Rule::Chosen(choice) => choice.member(name),
            Rule::Free | Rule::Left | Rule::Hashed(_) | Rule::Redacted | Rule::Hidden => self,
        }
    }

    /// The column of a field of a type.
    pub(crate) fn of(self, natural: impl FnOnce() -> Result<DataType, Refusal>) -> Wished {
        if let Rule::Left = self {
            return Wished::Nothing;
        }
        match natural().and_then(|natural| self.data_type(&natural)) {
            Ok(None) => Wished::Nothing,
            Ok(Some(wished)) => Wished::Column(Ok(wished)),
            Err(refusal) => Wished::Column(Err(refusal)),
        }
    }

    /// What a type becomes; nothing where no part of it is left.
    pub(crate) fn data_type(self, natural: &DataType) -> Result<Option<DataType>, Refusal> {
        match self {
            Rule::Free | Rule::Redacted | Rule::Hidden => Ok(Some(natural.clone())),
            Rule::Left => Ok(None),
            Rule::Hashed(_) => masked_type(natural).map(Some),
            Rule::Chosen(choice) => choice.data_type(natural),
        }
    }
}

impl<'a> Choice<'a> {
    fn member(self, name: &str) -> Rule<'a> {
        let Choice(node) = self;
        match node.members.iter().find(|(own, _)| own == name) {
            Some((_, member)) if node.is_selective && !member.is_included => Rule::Left,
            Some((_, member)) => member.rule(),
            None if node.is_selective => Rule::Left,
            None => Rule::Free,
        }
    }

    /// The names of members that are left out by name.
    pub(crate) fn left(self) -> impl Iterator<Item = &'a str> {
        let Choice(node) = self;
        let is_left = |(_, member): &&(String, Node)| matches!(member.verdict, Some(Verdict::Left));
        node.members
            .iter()
            .filter(is_left)
            .map(|(name, _)| name.as_str())
    }

    fn apply(self, fields: &Fields) -> Result<Fields, Refusal> {
        let mut kept: Vec<FieldRef> = Vec::new();
        for field in fields {
            let rule = self.member(field.name());
            let data_type = rule.data_type(field.data_type());
            if let Some(data_type) = data_type.map_err(|refusal| refusal.under(field.name()))? {
                kept.push(of_type(field, data_type));
            }
        }
        Ok(kept.into())
    }

    fn data_type(self, natural: &DataType) -> Result<Option<DataType>, Refusal> {
        let rule = Rule::Chosen(self);
        #[expect(clippy::wildcard_enum_match_arm, reason = "no other type has members")]
        let data_type = match natural {
            DataType::Struct(fields) => {
                let kept = self.apply(fields)?;
                (!kept.is_empty()).then_some(DataType::Struct(kept))
            }
            DataType::List(item) => {
                let kept = rule.data_type(item.data_type());
                let kept = kept.map_err(|refusal| refusal.under("[]"))?;
                kept.map(|kept| DataType::List(of_type(item, kept)))
            }
            DataType::Map(entries, is_sorted) => {
                let DataType::Struct(pair) = entries.data_type() else {
                    return Ok(None);
                };
                let mut halves = pair.iter();
                let (Some(key), Some(value)) = (halves.next(), halves.next()) else {
                    return Ok(None);
                };
                let kept = rule.data_type(value.data_type());
                let kept = kept.map_err(|refusal| refusal.under("[]"))?;
                kept.map(|kept| {
                    let pair = Fields::from(vec![FieldRef::clone(key), of_type(value, kept)]);
                    DataType::Map(of_type(entries, DataType::Struct(pair)), *is_sorted)
                })
            }
            other => {
                let reason = format!("is {other}, of which `columns` names a member");
                return Err(Refusal::new(reason));
            }
        };
        Ok(data_type)
    }
}

fn of_type(field: &Field, data_type: DataType) -> FieldRef {
    field.clone().with_data_type(data_type).into()
}

/// The members of a struct, be it in lists and maps.
fn members(data_type: &DataType) -> Option<&Fields> {
    if let DataType::Struct(fields) = leaf(data_type) {
        return Some(fields);
    }
    None
}

/// What the items of lists and the values of maps are in the end.
fn leaf(data_type: &DataType) -> &DataType {
    #[expect(clippy::wildcard_enum_match_arm, reason = "no other type has items")]
    match data_type {
        DataType::List(item) => leaf(item.data_type()),
        DataType::Map(entries, _) => match super::builder::map_value(entries.data_type()) {
            Some(value) => leaf(value.data_type()),
            None => data_type,
        },
        other => other,
    }
}

fn closest<'a>(written: &str, names: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let plain = |name: &str| name.to_lowercase().replace('_', "");
    let likeness = |name: &str| strsim::jaro_winkler(&plain(written), &plain(name));
    let alike = names.map(|name| (likeness(name), name));
    let best = alike
        .filter(|(likeness, _)| *likeness >= 0.85)
        .max_by(|a, b| a.0.total_cmp(&b.0));
    best.map(|(_, name)| name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decode::types::{field, list, map};

    fn rules(include: &[&str], exclude: &[&str], mask: &[(&str, Mask)]) -> Rules {
        let path = |text: &str| text.split('.').map(str::to_owned).collect::<Vec<_>>();
        Rules::of(&Columns {
            include: include.iter().map(|text| path(text)).collect(),
            exclude: exclude.iter().map(|text| path(text)).collect(),
            mask: mask
                .iter()
                .map(|(text, mask)| (path(text), *mask))
                .collect(),
            mask_key: Some(Secret::new("k")),
        })
    }

    fn fields() -> Fields {
        let customer = vec![
            field("email", DataType::Utf8),
            field("age", DataType::Int32),
        ];
        let item = vec![
            field("price", DataType::Int64),
            field("note", DataType::Utf8),
        ];
        Fields::from(vec![
            field("id", DataType::Int64),
            field("customer", DataType::Struct(customer.into())),
            field("items", list(DataType::Struct(item.into()))),
            field("tags", map(DataType::Binary)),
        ])
    }

    fn check(rules: &Rules, expected: &[&str]) {
        fn walk(path: &str, data_type: &DataType, found: &mut Vec<String>) {
            match data_type {
                DataType::Struct(fields) => {
                    for field in fields {
                        let dot = if path.is_empty() { "" } else { "." };
                        walk(
                            &format!("{path}{dot}{}", field.name()),
                            field.data_type(),
                            found,
                        );
                    }
                }
                DataType::List(item) => walk(path, item.data_type(), found),
                DataType::Map(entries, _) => {
                    let value = crate::decode::builder::map_value(entries.data_type()).unwrap();
                    walk(path, value.data_type(), found);
                }
                other => found.push(format!("{path} {other}")),
            }
        }
        rules.check(&fields(), false).unwrap();
        let kept = rules.apply(&fields()).unwrap();
        let mut found = Vec::new();
        walk("", &DataType::Struct(kept), &mut found);
        assert_eq!(found, expected);
    }

    #[test]
    fn paths_lead_into_structs_lists_and_maps() {
        check(
            &rules(
                &[],
                &["customer.age", "items.note"],
                &[("tags", Mask::HmacSha256)],
            ),
            &[
                "id Int64",
                "customer.email Utf8",
                "items.price Int64",
                "tags Utf8",
            ],
        );
        check(
            &rules(&["id", "items.price"], &[], &[("id", Mask::HmacSha256)]),
            &["id Utf8", "items.price Int64"],
        );
        check(
            &rules(
                &["customer", "tags"],
                &["customer.age"],
                &[("tags", Mask::Redact)],
            ),
            &["customer.email Utf8", "tags Binary"],
        );
    }

    #[test]
    fn a_struct_without_a_member_left_is_left_out() {
        check(
            &rules(
                &[],
                &["customer.age", "customer.email", "items", "tags"],
                &[],
            ),
            &["id Int64"],
        );
    }

    #[test]
    fn a_path_that_leads_nowhere_is_refused_with_what_it_may_have_meant() {
        let check = |rules: Rules, is_open: bool, part: &str| {
            let said = rules.check(&fields(), is_open).unwrap_err().to_string();
            assert!(said.contains(part), "{said}");
        };
        check(
            rules(&[], &["customer.emial"], &[]),
            true,
            "customer.emial: the schema has no such field, which `columns` names; did you mean `email`?",
        );
        check(
            rules(&[], &["ssn"], &[]),
            false,
            "ssn: the schema has no such field",
        );
        check(rules(&[], &["id.x"], &[]), false, "has no member `x`");
        check(rules(&["ssn"], &[], &[]), true, "ssn");
        assert!(rules(&[], &["ssn"], &[]).check(&fields(), true).is_ok());
    }

    #[test]
    fn what_cannot_be_hashed_is_refused_by_name() {
        let said = rules(&[], &[], &[("customer", Mask::HmacSha256)]).apply(&fields());
        let said = said.unwrap_err().to_string();
        assert!(
            said.starts_with("customer: ") && said.contains("hmac_sha256"),
            "{said}"
        );
    }
}
