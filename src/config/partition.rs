//! One `partition_by` entry: `region`, `day = date(ordered_at)`, `shard = bucket(16, customer.id)`. Owns that grammar; whether the column exists and fits is the
//! writer's to say, and `resolve`'s where the columns are in the config.

use crate::config::ddl;
use crate::config::problem::{closest, one_of};
use crate::config::settings::{PartitionField, Transform};

const TRANSFORMS: [&str; 6] = ["year", "month", "date", "hour", "bucket", "truncate"];
const FORMS: &str = "write a column such as `region`, or `name = transform(column)` such as `day = date(ordered_at)`";

/// Reads one entry. A source may be a member, `customer.id`; names that hold more than letters, digits and `_` stand in back quotes, and keep them in `source`.
pub(crate) fn parse(text: &str) -> Result<PartitionField, String> {
    let Some((name, call)) = split_assignment(text) else {
        if text.contains('(') {
            return Err(format!(
                "needs a name for the column that it makes, such as `day = {}`",
                text.trim()
            ));
        }
        let source = source(text)?;
        let name = column(&source).ok_or_else(|| format!("is a member; only a column of the table can be a partition column as it is; {FORMS}"))?;
        return Ok(PartitionField {
            source: allowed(&name)?.to_owned(),
            name,
            transform: Transform::Identity,
        });
    };
    let name = source(name)
        .ok()
        .and_then(|name| column(&name))
        .ok_or_else(|| format!("has no column name before the `=`; {FORMS}"))?;
    allowed(&name)?;
    let call = call.trim();
    let Some((function, arguments)) = call.strip_suffix(')').and_then(|call| call.split_once('('))
    else {
        return Err(format!(
            "has no transform after the `=`; the transforms are {}; {FORMS}",
            one_of(&TRANSFORMS)
        ));
    };
    let function = function.trim();
    let transform = match function {
        "bucket" | "truncate" => return numbered(name, function, arguments),
        "year" => Transform::Year,
        "month" => Transform::Month,
        "date" => Transform::Date,
        "hour" => Transform::Hour,
        other => {
            let hint = match other.to_lowercase().as_str() {
                "day" | "days" => Some("date"),
                "years" => Some("year"),
                "months" => Some("month"),
                "hours" => Some("hour"),
                lower => closest(lower, TRANSFORMS),
            };
            let hint = hint
                .map(|hint| format!("; did you mean `{hint}`?"))
                .unwrap_or_default();
            return Err(format!(
                "has the unknown transform `{other}`; write {}{hint}",
                one_of(&TRANSFORMS)
            ));
        }
    };
    if arguments.contains(',') {
        return Err(format!(
            "gives `{function}` more than a column; write `{function}(column)`"
        ));
    }
    Ok(PartitionField {
        name,
        source: source(arguments)?,
        transform,
    })
}

fn numbered(name: String, function: &str, arguments: &str) -> Result<PartitionField, String> {
    let form = format!("write `{function}(16, column)`");
    let (count, column) = arguments
        .split_once(',')
        .ok_or_else(|| format!("gives `{function}` no number and column; {form}"))?;
    let count = count.trim();
    let number = count
        .parse::<u32>()
        .ok()
        .filter(|number| (1..=i32::MAX.unsigned_abs()).contains(number));
    let number = number.ok_or_else(|| {
        format!("gives `{function}` the number `{count}`; {form}, with a whole number from 1")
    })?;
    let transform = if function == "bucket" {
        Transform::Bucket(number)
    } else {
        Transform::Truncate(number)
    };
    Ok(PartitionField {
        name,
        source: source(column)?,
        transform,
    })
}

/// The two sides of the first `=` outside of back quotes.
fn split_assignment(text: &str) -> Option<(&str, &str)> {
    let mut quoted = false;
    for (index, c) in text.char_indices() {
        match c {
            '`' => quoted = !quoted,
            '=' if !quoted => return Some((text.get(..index)?, text.get(index + 1..)?)),
            _ => {}
        }
    }
    None
}

/// A dotted path, checked and in its shortest spelling.
fn source(text: &str) -> Result<String, String> {
    let text = text.trim();
    let complaint = || {
        format!(
            "has `{text}` where a column is expected; a name that holds more than letters, digits and `_` needs back quotes"
        )
    };
    let names = segments(text).ok_or_else(complaint)?;
    let spelled: Vec<String> = names
        .iter()
        .map(|name| {
            if is_plain(name) {
                name.clone()
            } else {
                format!("`{}`", name.replace('`', "``"))
            }
        })
        .collect();
    Ok(spelled.join("."))
}

/// The name of a path that is a single column, without back quotes.
fn column(source: &str) -> Option<String> {
    match segments(source)?.as_slice() {
        [name] => Some(name.clone()),
        _ => None,
    }
}

/// The names of a dotted path.
pub(crate) fn segments(source: &str) -> Option<Vec<String>> {
    let mut names = Vec::new();
    let mut chars = source.chars().peekable();
    loop {
        let mut name = String::new();
        if chars.next_if_eq(&'`').is_some() {
            loop {
                match chars.next()? {
                    '`' if chars.next_if_eq(&'`').is_some() => name.push('`'),
                    '`' => break,
                    c => name.push(c),
                }
            }
        } else {
            while let Some(c) = chars.next_if(|c| c.is_alphanumeric() || *c == '_') {
                name.push(c);
            }
        }
        if name.is_empty() {
            return None;
        }
        names.push(name);
        match chars.next() {
            None => return Some(names),
            Some('.') => {}
            Some(_) => return None,
        }
    }
}

fn allowed(name: &str) -> Result<&str, String> {
    match name.chars().find(|c| ddl::FORBIDDEN.contains(*c)) {
        Some(c) => Err(format!(
            "has the column name `{name}` with {c:?}, which Delta tables do not allow; rename it"
        )),
        None => Ok(name),
    }
}

fn is_plain(name: &str) -> bool {
    name.chars().all(|c| c.is_alphanumeric() || c == '_')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_is_read() {
        let check = |text: &str, name: &str, source: &str, transform: Transform| {
            let expected = PartitionField {
                name: name.to_owned(),
                source: source.to_owned(),
                transform,
            };
            assert_eq!(parse(text), Ok(expected), "{text}");
        };
        check("region", "region", "region", Transform::Identity);
        check(
            " `sales-region` ",
            "sales-region",
            "sales-region",
            Transform::Identity,
        );
        check("y = year(at)", "y", "at", Transform::Year);
        check("m=month( at )", "m", "at", Transform::Month);
        check(
            "day = date(meta.producer.timestamp)",
            "day",
            "meta.producer.timestamp",
            Transform::Date,
        );
        check(
            "h = hour(`ordered at`)",
            "h",
            "`ordered at`",
            Transform::Hour,
        );
        check(
            "shard = bucket(16, customer.id)",
            "shard",
            "customer.id",
            Transform::Bucket(16),
        );
        check(
            "head = truncate(3,name)",
            "head",
            "name",
            Transform::Truncate(3),
        );
        check("`a-b` = date(`x=``y`)", "a-b", "`x=``y`", Transform::Date);
    }

    #[test]
    fn mistakes_are_named() {
        let check = |text: &str, part: &str| {
            let said = parse(text).unwrap_err();
            assert!(said.contains(part), "{text}: {said}");
        };
        check("", "where a column is expected");
        check("a b", "where a column is expected");
        check("a.b", "is a member");
        check("`a b`", "do not allow");
        check("`a=b` = date(at)", "do not allow");
        check("date(at)", "needs a name");
        check("d = at", "no transform");
        check(" = date(at)", "no column name");
        check("d = day(at)", "did you mean `date`");
        check("d = dat(at)", "did you mean `date`");
        check("d = zebra(at)", "unknown transform `zebra`");
        check("d = date()", "where a column is expected");
        check("d = date(a, b)", "more than a column");
        check("b = bucket(id)", "bucket(16, column)");
        check("b = bucket(0, id)", "the number `0`");
        check("b = bucket(x, id)", "the number `x`");
        check("b = bucket(4294967295, id)", "whole number from 1");
    }
}
