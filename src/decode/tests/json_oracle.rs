//! Random columns and random JSON, decoded by us and by a naive reference over serde_json; and whether both agree on what JSON is.
//!
//! LAKEWARD_CASES sets how many; LAKEWARD_SEED replays from one.

use serde_json::{Value as Json, json};

use super::support::*;
use crate::config::ddl::{Column, Type};
use crate::config::settings::{UnknownFields, Value};

fn kind(random: &mut Random, depth: u32) -> Type {
    match random.below(if depth == 0 { 7 } else { 10 }) {
        0 => Type::Boolean,
        1 => Type::Integer,
        2 => Type::Long,
        3 => Type::Float,
        4 => Type::Double,
        5 => Type::String,
        6 => Type::Decimal(20, 3),
        7 => Type::Array(Box::new(kind(random, depth - 1))),
        8 => Type::Map(Box::new(kind(random, depth - 1))),
        _ => Type::Struct(columns(random, depth - 1)),
    }
}

fn columns(random: &mut Random, depth: u32) -> Vec<Column> {
    let count = 1 + random.below(5);
    (0..count).map(|index| Column { name: format!("c{index}"), kind: kind(random, depth) }).collect()
}

/// A value that mostly fits.
fn value(random: &mut Random, kind: &Type) -> Json {
    if random.below(8) == 0 {
        return Json::Null;
    }
    match kind {
        Type::Boolean => json!(random.below(2) == 0),
        Type::Integer => json!(random.int()),
        Type::Long => json!(random.long()),
        Type::Float | Type::Double => match random.below(3) {
            0 => json!(random.long()),
            1 => json!(random.below(1_000_000) as f64 / 1000.0),
            _ => json!(f64::from_bits(random.next())),
        },
        Type::String => json!(random.text()),
        Type::Decimal(..) => match random.below(3) {
            0 => json!(random.int()),
            1 => json!(f64::from(random.int()) / 8.0),
            _ => json!(format!("{}.{:03}", random.int(), random.below(1000))),
        },
        Type::Array(item) => (0..random.below(4)).map(|_| value(random, item)).collect(),
        Type::Map(item) => Json::Object((0..random.below(4)).map(|_| (random.text(), value(random, item))).collect()),
        Type::Struct(columns) => object(random, columns),
        other => panic!("{other:?} is not generated"),
    }
}

fn object(random: &mut Random, columns: &[Column]) -> Json {
    let mut members = serde_json::Map::new();
    for column in columns {
        if random.below(6) > 0 {
            members.insert(column.name.clone(), value(random, &column.kind));
        }
    }
    Json::Object(members)
}

/// Writes a value with random white space, escapes and order.
fn write(random: &mut Random, value: &Json, out: &mut String) {
    let space = |random: &mut Random, out: &mut String| out.push_str(["", "", " ", "\n\t"][random.below(4) as usize]);
    space(random, out);
    match value {
        Json::Array(items) => {
            out.push('[');
            for (index, item) in items.iter().enumerate() {
                out.push_str(if index > 0 { "," } else { "" });
                write(random, item, out);
            }
            out.push(']');
        }
        Json::Object(members) => {
            let mut members: Vec<_> = members.iter().collect();
            let turn = random.below(members.len().max(1) as u64) as usize;
            members.rotate_left(turn);
            out.push('{');
            for (index, (name, item)) in members.into_iter().enumerate() {
                out.push_str(if index > 0 { "," } else { "" });
                write(random, &json!(name), out);
                out.push(':');
                write(random, item, out);
            }
            out.push('}');
        }
        Json::String(text) if random.below(2) == 0 => {
            out.push('"');
            let mut units = [0; 2];
            text.chars().for_each(|character| {
                character.encode_utf16(&mut units).iter().for_each(|unit| out.push_str(&format!("\\u{unit:04X}")));
            });
            out.push('"');
        }
        other => out.push_str(&other.to_string()),
    }
    space(random, out);
}

/// The cell that a value should become, or nothing if the record must be rejected.
fn expected(kind: &Type, value: &Json) -> Option<Json> {
    let cell = match (kind, value) {
        (_, Json::Null) => Json::Null,
        (Type::Boolean, Json::Bool(_)) | (Type::String, Json::String(_)) => value.clone(),
        (Type::Integer, Json::Number(number)) => json!(i32::try_from(whole(number)?).ok()?),
        (Type::Long, Json::Number(number)) => json!(whole(number)?),
        (Type::Float, Json::Number(number)) => float(number.to_string().parse::<f32>().ok().filter(|value| value.is_finite())?),
        (Type::Double, Json::Number(number)) => double(number.to_string().parse::<f64>().ok().filter(|value| value.is_finite())?),
        (Type::Decimal(..), Json::Number(number)) => decimal(thousandths(&number.to_string())?, 3),
        (Type::Decimal(..), Json::String(text)) => decimal(thousandths(text)?, 3),
        (Type::Array(item), Json::Array(items)) => items.iter().map(|value| expected(item, value)).collect::<Option<_>>()?,
        (Type::Map(item), Json::Object(members)) => {
            let entries = members.iter().map(|(name, value)| Some((name.clone(), expected(item, value)?)));
            map(entries.collect::<Option<Vec<_>>>()?)
        }
        (Type::Struct(columns), Json::Object(members)) => {
            if members.keys().any(|name| columns.iter().all(|column| column.name != *name)) {
                return None;
            }
            let member = |column: &Column| {
                let value = members.get(&column.name).unwrap_or(&Json::Null);
                Some((column.name.clone(), expected(&column.kind, value)?))
            };
            Json::Object(columns.iter().map(member).collect::<Option<_>>()?)
        }
        (_, _) => return None,
    };
    Some(cell)
}

/// A whole number as it is, or one that its text shows to be whole.
fn whole(number: &serde_json::Number) -> Option<i64> {
    let text = number.to_string();
    number.as_i64().or_else(|| text.strip_suffix(".0")?.parse().ok())
}

/// Only numbers without an exponent are generated small enough to fit.
fn thousandths(text: &str) -> Option<i128> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let fraction = fraction.trim_end_matches('0');
    if fraction.len() > 3 || text.contains('e') {
        return None;
    }
    format!("{whole}{fraction:0<3}").parse().ok()
}

#[test]
fn random_values_of_random_columns_decode_as_the_reference_says() {
    let mut landed = 0;
    for seed in seeds() {
        let mut random = Random::new(seed);
        let columns = columns(&mut random, 3);
        let pairs: Vec<_> = columns.iter().map(|column| (column.name.as_str(), column.kind.clone())).collect();
        let mut decoder = decoder(&table(ddl(&pairs)), None);
        for _ in 0..6 {
            let mut value = object(&mut random, &columns);
            if random.below(5) == 0 {
                let other = columns[random.below(columns.len() as u64) as usize].name.clone();
                value[other] = [json!("x"), json!(1.5), json!([]), json!({}), json!(true)][random.below(5) as usize].clone();
            }
            let mut text = String::new();
            write(&mut random, &value, &mut text);
            // serde_json's own reading of the text is the value.
            let read: Json = serde_json::from_str(&text).unwrap();
            let expected = expected(&Type::Struct(columns.clone()), &read);
            let appended = append(&mut decoder, &[text.as_bytes()]);
            let actual = rows(&mut decoder).pop();
            assert_eq!(actual, expected, "seed {seed}: {text}: {:?}: {columns:?}", appended.rejects);
            landed += usize::from(actual.is_some());
        }
    }
    assert!(landed as u64 > seeds().count() as u64, "most values fit");
}

/// Everything under one ignored field: what is accepted must be JSON, and the other way round.
#[test]
fn what_is_json_is_what_serde_json_takes() {
    let mut table = table(ddl(&[("id", Type::Long)]));
    let Value::Json { unknown_fields, .. } = &mut table.value else { panic!() };
    *unknown_fields = UnknownFields::Ignore;
    let mut decoder = decoder(&table, None);
    let pieces = [
        "{", "}", "[", "]", ",", ":", "\"", "\\", "\"a\"", "1", "-", "0", ".5", "e9", "E+1", "true", "false", "null", "nul", " ", "\n", "\\u00e4",
        "\\ud83e\\udd80", "\\n", "\u{1}", "ä", "01", "1.0", "\"\":", "\"b\":1", "[1,2]", "{\"c\":[]}", "\u{7f}",
    ];
    let mut both = 0;
    for seed in 0..40 * seeds().count() as u64 {
        let mut random = Random::new(seed);
        let mut value: String = (0..1 + random.below(5)).map(|_| pieces[random.below(pieces.len() as u64) as usize]).collect();
        if random.below(2) == 0 {
            value = format!("[{value},\"{}\"]", pieces[random.below(pieces.len() as u64) as usize]);
        }
        let text = format!("{{\"x\":{value}}}");
        let is_json = serde_json::from_str::<serde::de::IgnoredAny>(&text).is_ok();
        // serde_json does not look into strings that it ignores, so that they are read here; a number beyond a double is still JSON.
        let is_text = match serde_json::from_str::<Json>(&text) {
            Ok(_) => true,
            Err(error) => error.to_string().contains("number out of range"),
        };
        let appended = append(&mut decoder, &[text.as_bytes()]);
        let is_reject = appended.counts.rejects == 1;
        assert_eq!(is_reject, !(is_json && is_text), "seed {seed}: {text:?}: {:?}", appended.rejects);
        both += usize::from(!is_reject);
        decoder.clear();
    }
    assert!(both > 100, "enough of them are JSON: {both}");
}

#[test]
fn every_prefix_and_any_damage_is_a_reject_or_a_row() {
    for seed in seeds().take(64) {
        let mut random = Random::new(seed);
        let columns = columns(&mut random, 3);
        let pairs: Vec<_> = columns.iter().map(|column| (column.name.as_str(), column.kind.clone())).collect();
        let mut decoder = decoder(&table(ddl(&pairs)), None);
        let good = format!("{{\"{}\":null}}", columns[0].name);
        let value = object(&mut random, &columns).to_string().into_bytes();
        for length in 0..value.len() {
            let appended = append(&mut decoder, &[good.as_bytes(), &value[..length], good.as_bytes()]);
            assert_eq!((appended.counts.rows, appended.counts.rejects), (2, 1), "DEC-1 seed {seed}, {length} bytes");
        }
        for _ in 0..50 {
            let mut damaged = value.clone();
            let index = random.below(damaged.len() as u64) as usize;
            damaged[index] = random.next() as u8;
            append(&mut decoder, &[&damaged, good.as_bytes(), &random.bytes(30)]);
        }
        decoder.take().unwrap();
    }
}
