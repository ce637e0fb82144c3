//! Random message types and values: what prost-reflect reads from the same bytes is what the columns hold, also when messages are put one after the other
//! (which merges them) and when bytes are damaged.

use std::fmt::Write as _;

use protox::prost_reflect::prost::Message as _;
use protox::prost_reflect::{
    DynamicMessage, FieldDescriptor, Kind, MapKey, MessageDescriptor, Value as Found,
};
use serde_json::{Map, Value as Json, json};

use super::support::*;
use crate::config::settings::Value;
use crate::decode::protobuf::Schema;

const SCALARS: [&str; 15] = [
    "bool", "int32", "sint32", "sfixed32", "uint32", "fixed32", "int64", "sint64", "sfixed64",
    "uint64", "fixed64", "float", "double", "string", "bytes",
];

const KEYS: [&str; 12] = [
    "bool", "int32", "sint32", "sfixed32", "uint32", "fixed32", "int64", "sint64", "sfixed64",
    "uint64", "fixed64", "string",
];

/// A schema whose first message holds further ones, none itself.
fn proto(random: &mut Random) -> String {
    let mut text = String::from(
        "syntax = \"proto3\"; import \"google/protobuf/timestamp.proto\"; import \"google/protobuf/duration.proto\"; import \"google/protobuf/wrappers.proto\";
         enum E { ZERO = 0; ONE = 1; MINUS = -1; FAR = 1000000; }",
    );
    let messages = 1 + random.below(4);
    for message in 0..messages {
        write!(text, " message M{message} {{ ").unwrap();
        let mut number = 0;
        for field in 0..1 + random.below(8) {
            let gap = if random.below(6) == 0 { 400 } else { 3 };
            number += 1 + random.below(gap);
            let kind = kind(random, message, messages);
            let name = format!("f{field}");
            match random.below(7) {
                0 => write!(text, "repeated {kind} {name} = {number}; "),
                1 => write!(text, "optional {kind} {name} = {number}; "),
                2 => write!(text, "map<{}, {kind}> {name} = {number}; ", KEYS[random.below(12) as usize]),
                3 => {
                    let other = self::kind(random, message, messages);
                    number += 1;
                    let first = number - 1;
                    write!(text, "oneof o{field} {{ {kind} {name} = {first}; {other} {name}_b = {number}; }} ")
                }
                4 if SCALARS[..13].contains(&kind.as_str()) => {
                    write!(text, "repeated {kind} {name} = {number} [packed = false]; ")
                }
                _ => write!(text, "{kind} {name} = {number}; "),
            }
            .unwrap();
        }
        text.push('}');
    }
    text
}

fn kind(random: &mut Random, message: u64, messages: u64) -> String {
    match random.below(10) {
        0 => "E".to_owned(),
        1 => "google.protobuf.Timestamp".to_owned(),
        2 => [
            "google.protobuf.Duration",
            "google.protobuf.Int64Value",
            "google.protobuf.StringValue",
            "google.protobuf.UInt64Value",
        ][random.below(4) as usize]
            .to_owned(),
        3..=5 if message + 1 < messages => {
            format!("M{}", message + 1 + random.below(messages - message - 1))
        }
        _ => SCALARS[random.below(15) as usize].to_owned(),
    }
}

fn random_message(random: &mut Random, descriptor: &MessageDescriptor) -> DynamicMessage {
    let mut message = DynamicMessage::new(descriptor.clone());
    match descriptor.full_name() {
        "google.protobuf.Timestamp" | "google.protobuf.Duration" => {
            let seconds = random.below(1 << 34).cast_signed();
            message.set_field_by_number(1, Found::I64(seconds));
            message.set_field_by_number(2, Found::I32(1000 * random.below(1_000_000) as i32));
            return message;
        }
        _ => {}
    }
    for field in descriptor.fields() {
        if random.below(4) == 0 {
            continue;
        }
        let value = random_value(random, &field);
        message.set_field(&field, value);
    }
    message
}

fn random_value(random: &mut Random, field: &FieldDescriptor) -> Found {
    if field.is_map() {
        let kind = field.kind();
        let entry = kind.as_message().unwrap();
        let (key, value) = (entry.map_entry_key_field(), entry.map_entry_value_field());
        let entries = (0..random.below(4)).map(|_| {
            let key = match single(random, &key.kind()) {
                Found::Bool(key) => MapKey::Bool(key),
                Found::I32(key) => MapKey::I32(key),
                Found::I64(key) => MapKey::I64(key),
                Found::U32(key) => MapKey::U32(key),
                Found::U64(key) => MapKey::U64(key),
                Found::String(key) => MapKey::String(key),
                other => panic!("{other:?} is no key"),
            };
            (key, single(random, &value.kind()))
        });
        return Found::Map(entries.collect());
    }
    if field.is_list() {
        return Found::List(
            (0..random.below(4))
                .map(|_| single(random, &field.kind()))
                .collect(),
        );
    }
    single(random, &field.kind())
}

fn single(random: &mut Random, kind: &Kind) -> Found {
    match kind {
        Kind::Bool => Found::Bool(random.below(2) == 1),
        Kind::Int32 | Kind::Sint32 | Kind::Sfixed32 => Found::I32(random.int()),
        Kind::Uint32 | Kind::Fixed32 => Found::U32(random.int().cast_unsigned()),
        Kind::Int64 | Kind::Sint64 | Kind::Sfixed64 => Found::I64(random.long()),
        Kind::Uint64 | Kind::Fixed64 => Found::U64(random.long().cast_unsigned()),
        Kind::Float => Found::F32(f32::from_bits(random.next() as u32)),
        Kind::Double => Found::F64(f64::from_bits(random.next())),
        Kind::String => Found::String(random.text()),
        Kind::Bytes => Found::Bytes(random.bytes(6).into()),
        Kind::Enum(_) => Found::EnumNumber([0, 1, -1, 1_000_000][random.below(4) as usize]),
        Kind::Message(message) => Found::Message(random_message(random, message)),
    }
}

/// The row that a message is under the mapping; `None` where no column holds it.
fn row(message: &DynamicMessage) -> Option<Json> {
    let mut members = Map::new();
    for field in message_of(message).fields() {
        let cell = if field.supports_presence() && !message.has_field(&field) {
            Json::Null
        } else {
            member(&message.get_field(&field), &field)?
        };
        members.insert(field.name().to_owned(), cell);
    }
    Some(Json::Object(members))
}

fn message_of(message: &DynamicMessage) -> MessageDescriptor {
    use protox::prost_reflect::ReflectMessage as _;
    message.descriptor()
}

fn member(value: &Found, field: &FieldDescriptor) -> Option<Json> {
    match value {
        Found::List(items) => items.iter().map(|item| cell(item, &field.kind())).collect(),
        Found::Map(entries) => {
            let kind = field.kind();
            let value_kind = kind.as_message().unwrap().map_entry_value_field().kind();
            let mut cells = Vec::new();
            for (key, value) in entries {
                let key = match key {
                    MapKey::Bool(key) => key.to_string(),
                    MapKey::I32(key) => key.to_string(),
                    MapKey::I64(key) => key.to_string(),
                    MapKey::U32(key) => key.to_string(),
                    MapKey::U64(key) => key.to_string(),
                    MapKey::String(key) => key.clone(),
                };
                cells.push((key, cell(value, &value_kind)?));
            }
            Some(map(cells))
        }
        value => cell(value, &field.kind()),
    }
}

fn cell(value: &Found, kind: &Kind) -> Option<Json> {
    Some(match value {
        Found::Bool(value) => json!(value),
        Found::I32(value) => json!(value),
        Found::U32(value) => json!(i64::from(*value)),
        Found::I64(value) => json!(value),
        Found::U64(value) => decimal(i128::from(*value), 0),
        Found::F32(value) => float(*value),
        Found::F64(value) => double(*value),
        Found::String(value) => json!(value),
        Found::Bytes(value) => bytes(value),
        Found::EnumNumber(number) => json!(kind.as_enum()?.get_value(*number)?.name()),
        Found::Message(message) => match message_of(message).full_name() {
            "google.protobuf.Timestamp" => timestamp(micros(message, true)?),
            "google.protobuf.Duration" => json!(micros(message, false)?),
            name if name.starts_with("google.protobuf.") => {
                let field = message_of(message).get_field(1)?;
                cell(&message.get_field(&field), &field.kind())?
            }
            _ => row(message)?,
        },
        other => panic!("{other:?} is no single value"),
    })
}

fn micros(message: &DynamicMessage, is_timestamp: bool) -> Option<i64> {
    let seconds = message.get_field_by_number(1)?.as_i64()?;
    let nanos = i64::from(message.get_field_by_number(2)?.as_i32()?);
    let limits = if is_timestamp {
        0..1_000_000_000
    } else {
        -999_999_999..1_000_000_000
    };
    let is_mixed = !is_timestamp && ((seconds > 0 && nanos < 0) || (seconds < 0 && nanos > 0));
    if !limits.contains(&nanos) || nanos % 1000 != 0 || is_mixed {
        return None;
    }
    seconds.checked_mul(1_000_000)?.checked_add(nanos / 1000)
}

/// The length of the number that these bytes begin with.
fn number_length(bytes: &[u8]) -> usize {
    1 + bytes.iter().take_while(|byte| **byte >= 0x80).count()
}

/// The same message with tags that are a byte longer than they need to be: nobody writes it, everybody reads it, and no field is as the decoder's short cut expects it.
fn with_long_tags(message: &[u8]) -> Vec<u8> {
    let (mut rest, mut long) = (message, Vec::new());
    while !rest.is_empty() {
        let (tag, behind) = rest.split_at(number_length(rest));
        let (last, first) = tag.split_last().unwrap();
        long.extend(first);
        long.extend([last | 0x80, 0]);
        let length = match tag[0] & 7 {
            0 => number_length(behind),
            1 => 8,
            2 => {
                let bytes = behind.iter().take(number_length(behind)).rev();
                let length = bytes.fold(0, |sum, byte| sum << 7 | usize::from(byte & 0x7f));
                number_length(behind) + length
            }
            5 => 4,
            other => panic!("kind {other}"),
        };
        let (value, behind) = behind.split_at(length);
        long.extend(value);
        rest = behind;
    }
    long
}

#[test]
fn random_messages_are_what_prost_reflect_reads() {
    let (mut schemas, mut values, mut damaged, mut apart, mut agreed) = (0, 0, 0, 0, 0);
    for seed in seeds() {
        let random = &mut Random::new(seed);
        let text = proto(random);
        let descriptor = Schema::parse(&text, Vec::new())
            .unwrap()
            .message(Some("M0"))
            .unwrap();
        let (_directory, table) = with_file(&text, |file| Value::ProtobufFile {
            file,
            message: "M0".to_owned(),
        });
        let mut decoder = decoder(&table, None);
        schemas += 1;
        for _ in 0..20 {
            let mut encoded = random_message(random, &descriptor).encode_to_vec();
            if random.below(3) == 0 {
                encoded.extend(random_message(random, &descriptor).encode_to_vec());
            }
            let is_damaged = random.below(4) == 0 && !encoded.is_empty();
            if is_damaged {
                let place = random.below(encoded.len() as u64) as usize;
                if random.below(2) == 0 {
                    encoded.truncate(place);
                } else {
                    encoded[place] ^= 1 << random.below(8);
                }
            }
            let theirs = DynamicMessage::decode(descriptor.clone(), encoded.as_slice()).ok();
            let expected = theirs.as_ref().and_then(row);
            let appended = append(&mut decoder, &[&encoded]);
            let found = rows(&mut decoder).pop();
            match (&expected, &found) {
                // prost-reflect reads a map's entry whatever its kind on the wire; for others, another kind is an unknown field.
                (Some(expected), Some(found)) if is_damaged && found != expected => apart += 1,
                (Some(expected), Some(found)) => {
                    assert_eq!(found, expected, "seed {seed}: {encoded:02x?} of {text}");
                    agreed += 1;
                    if !is_damaged {
                        append(&mut decoder, &[&with_long_tags(&encoded)]);
                        assert_eq!(
                            rows(&mut decoder).pop().as_ref(),
                            Some(found),
                            "seed {seed}"
                        );
                    }
                }
                // Kinds that do not fit their field are unknown fields, and numbers of more than 32 bits are not cut.
                _ if is_damaged => {}
                (_, _) => panic!(
                    "seed {seed}: {:?} for {encoded:02x?} of {text}",
                    appended.rejects
                ),
            }
            values += 1;
            damaged += u32::from(is_damaged);
        }
    }
    println!(
        "{schemas} schemas, {values} values of which {damaged} damaged, {agreed} equal, {apart} damaged and read apart"
    );
    assert!(agreed > values / 2 && apart * 50 <= damaged);
}
