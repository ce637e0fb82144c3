//! Random schemas and values, encoded by apache-avro, decoded by us, compared with apache-avro's own decoding under the mapping.
//!
//! LAKEWARD_CASES sets how many; LAKEWARD_SEED replays from one.

use std::collections::HashSet;

use apache_avro::types::Value as Avro;
use apache_avro::{Days, Duration, Millis, Months, Schema, from_avro_datum, to_avro_datum};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value as Json, json};

use super::support::*;

/// A type with all that the reference needs to know of it.
#[derive(Debug, Clone)]
enum Kind {
    Null,
    Boolean,
    Int,
    Long,
    Float,
    Double,
    Bytes,
    Text,
    Uuid,
    Decimal(u32, u32),
    FixedDecimal(String, usize, u32, u32),
    Date,
    TimeMillis,
    TimeMicros,
    TimestampMillis,
    TimestampMicros,
    Duration(String),
    Fixed(String, usize),
    Enum(String, Vec<String>),
    Array(Box<Kind>),
    Map(Box<Kind>),
    Union(Vec<Kind>),
    Record(String, Vec<(String, Kind)>),
    /// The record of that name, which encloses this place.
    Recursion(String),
    /// A named type that came before.
    Again(Box<Kind>),
}

struct Generator {
    random: Random,
    names: usize,
    /// Records around the place.
    open: Vec<(String, Vec<(String, Kind)>)>,
    /// Complete named leaf types.
    named: Vec<Kind>,
}

impl Generator {
    fn name(&mut self) -> String {
        self.names += 1;
        // A type without a namespace cannot be named from inside of one.
        let namespace = ["shop.", "a.b."][self.random.below(2) as usize];
        format!("{namespace}N{}", self.names)
    }

    fn record(&mut self, depth: u32) -> Kind {
        let name = self.name();
        self.open.push((name.clone(), Vec::new()));
        let mut fields = vec![("id".to_owned(), Kind::Long)];
        for index in 0..self.random.below(6) {
            let kind = self.kind(depth);
            fields.push((format!("f{index}"), kind));
        }
        self.open.pop();
        Kind::Record(name, fields)
    }

    fn kind(&mut self, depth: u32) -> Kind {
        match self.random.below(if depth == 0 { 19 } else { 26 }) {
            0 => Kind::Null,
            1 => Kind::Boolean,
            2 => Kind::Int,
            3 => Kind::Long,
            4 => Kind::Float,
            5 => Kind::Double,
            6 => Kind::Bytes,
            7 => Kind::Text,
            8 => Kind::Uuid,
            9 => self.decimal(),
            10 => self.fixed_decimal(),
            11 => Kind::Date,
            12 => Kind::TimeMillis,
            13 => Kind::TimeMicros,
            14 => Kind::TimestampMillis,
            15 => Kind::TimestampMicros,
            16 => Kind::Duration(self.name()),
            17 => self.keep(|this| Kind::Fixed(this.name(), this.random.below(20) as usize)),
            18 if !self.named.is_empty() && self.random.below(2) == 0 => {
                let index = self.random.below(self.named.len() as u64) as usize;
                Kind::Again(Box::new(self.named[index].clone()))
            }
            18 => self.keep(|this| {
                let symbols = (0..1 + this.random.below(4)).map(|index| format!("S{index}")).collect();
                Kind::Enum(this.name(), symbols)
            }),
            19 => Kind::Array(Box::new(self.kind(depth - 1))),
            20 => Kind::Map(Box::new(self.kind(depth - 1))),
            21 if self.random.below(3) == 0 => Kind::Record(self.name(), Vec::new()),
            21 | 22 => self.record(depth - 1),
            23 => self.recursion(),
            _ => self.union(depth - 1),
        }
    }

    fn keep(&mut self, make: impl Fn(&mut Self) -> Kind) -> Kind {
        let kind = make(self);
        self.named.push(kind.clone());
        kind
    }

    fn decimal(&mut self) -> Kind {
        let precision = 1 + self.random.below(38) as u32;
        Kind::Decimal(precision, self.random.below(u64::from(precision) + 1) as u32)
    }

    fn fixed_decimal(&mut self) -> Kind {
        let size = 1 + self.random.below(20) as usize;
        // As many digits as always fit the bytes.
        let precision = ((size * 8 - 1) * 30103 / 100_000).clamp(1, 38) as u32;
        Kind::FixedDecimal(self.name(), size, precision, self.random.below(u64::from(precision) + 1) as u32)
    }

    fn recursion(&mut self) -> Kind {
        let index = self.random.below(self.open.len() as u64) as usize;
        let itself = Kind::Recursion(self.open[index].0.clone());
        match self.random.below(3) {
            0 => Kind::Union(vec![Kind::Null, itself]),
            1 => Kind::Array(Box::new(itself)),
            _ => Kind::Map(Box::new(itself)),
        }
    }

    fn union(&mut self, depth: u32) -> Kind {
        let mut branches: Vec<Kind> = Vec::new();
        let mut bases = HashSet::new();
        for _ in 0..1 + self.random.below(4) {
            let named = self.named.len();
            let kind = self.kind(depth);
            // apache-avro takes several decimals or durations in a union for duplicates, whatever their names.
            let is_duplicate = match &kind {
                Kind::Union(_) | Kind::Again(_) => true,
                Kind::Decimal(..) | Kind::FixedDecimal(..) => !bases.insert("decimal".to_owned()),
                Kind::Duration(_) => !bases.insert("duration".to_owned()),
                _ => false,
            };
            if !is_duplicate && bases.insert(base(&kind)) {
                branches.push(kind);
            } else {
                self.named.truncate(named);
            }
        }
        if branches.is_empty() { Kind::Text } else { Kind::Union(branches) }
    }

    fn value(&mut self, kind: &Kind, depth: u32) -> Avro {
        let random = &mut self.random;
        match kind {
            Kind::Null => Avro::Null,
            Kind::Boolean => Avro::Boolean(random.below(2) == 0),
            Kind::Int => Avro::Int(random.int()),
            Kind::Long => Avro::Long(random.long()),
            Kind::Float => Avro::Float(f32::from_bits(random.int().cast_unsigned())),
            Kind::Double => Avro::Double(f64::from_bits(random.long().cast_unsigned())),
            Kind::Bytes => Avro::Bytes(random.bytes(9)),
            Kind::Text => Avro::String(random.text()),
            Kind::Uuid => Avro::Uuid(uuid::Uuid::from_u64_pair(random.next(), random.next())),
            Kind::Decimal(precision, _) | Kind::FixedDecimal(_, _, precision, _) => {
                let limit = 10u128.pow(*precision);
                let unscaled = ((u128::from(random.next()) << 64 | u128::from(random.next())) % limit).cast_signed();
                let unscaled = if random.below(2) == 0 { unscaled } else { -unscaled };
                let bytes = unscaled.to_be_bytes();
                match kind {
                    Kind::FixedDecimal(_, size, ..) if *size < 16 => Avro::Decimal(bytes[16 - size..].to_vec().into()),
                    _ => Avro::Decimal(bytes.to_vec().into()),
                }
            }
            Kind::Date => Avro::Date(random.int()),
            Kind::TimeMillis => Avro::TimeMillis(random.int()),
            Kind::TimeMicros => Avro::TimeMicros(random.long()),
            Kind::TimestampMillis => Avro::TimestampMillis(random.long() / 1000),
            Kind::TimestampMicros => Avro::TimestampMicros(random.long()),
            Kind::Duration(_) => Avro::Duration(Duration::new(
                Months::new(random.next() as u32),
                Days::new(random.next() as u32),
                Millis::new(random.next() as u32),
            )),
            Kind::Fixed(_, size) => Avro::Fixed(*size, (0..*size).map(|_| random.next() as u8).collect()),
            Kind::Enum(_, symbols) => {
                let index = random.below(symbols.len() as u64) as usize;
                Avro::Enum(index as u32, symbols[index].clone())
            }
            Kind::Array(item) => Avro::Array((0..self.count(depth)).map(|_| self.value(item, depth.saturating_sub(1))).collect()),
            Kind::Map(value) => {
                let entries = (0..self.count(depth)).map(|_| (self.random.text(), self.value(value, depth.saturating_sub(1))));
                Avro::Map(entries.collect())
            }
            Kind::Union(branches) => {
                let is_end = |kind: &Kind| depth == 0 && matches!(kind, Kind::Recursion(_));
                let index = random.below(branches.len() as u64) as usize;
                let index = if is_end(&branches[index]) { 0 } else { index };
                Avro::Union(index as u32, Box::new(self.value(&branches[index], depth.saturating_sub(1))))
            }
            Kind::Record(name, fields) => {
                self.open.push((name.clone(), fields.clone()));
                let values = fields.iter().map(|(name, kind)| (name.clone(), self.value(kind, depth)));
                let values = values.collect();
                self.open.pop();
                Avro::Record(values)
            }
            Kind::Recursion(name) => {
                let fields = self.open.iter().rev().find(|(open, _)| open == name).unwrap().1.clone();
                self.value(&Kind::Record(name.clone(), fields), depth.saturating_sub(1))
            }
            Kind::Again(kind) => self.value(kind, depth),
        }
    }

    fn count(&mut self, depth: u32) -> u64 {
        if depth == 0 { 0 } else { self.random.below(4) }
    }
}

/// What may be in a union only once.
fn base(kind: &Kind) -> String {
    match kind {
        Kind::Int | Kind::Date | Kind::TimeMillis => "int".to_owned(),
        Kind::Long | Kind::TimeMicros | Kind::TimestampMillis | Kind::TimestampMicros => "long".to_owned(),
        Kind::Text | Kind::Uuid => "string".to_owned(),
        Kind::Bytes | Kind::Decimal(..) => "bytes".to_owned(),
        Kind::Null => "null".to_owned(),
        Kind::Boolean => "boolean".to_owned(),
        Kind::Float => "float".to_owned(),
        Kind::Double => "double".to_owned(),
        Kind::Array(_) => "array".to_owned(),
        Kind::Map(_) => "map".to_owned(),
        Kind::Union(_) => "union".to_owned(),
        Kind::Duration(name)
        | Kind::Fixed(name, _)
        | Kind::FixedDecimal(name, ..)
        | Kind::Enum(name, _)
        | Kind::Record(name, _)
        | Kind::Recursion(name) => name.rsplit('.').next().unwrap().to_owned(),
        Kind::Again(kind) => base(kind),
    }
}

fn schema(kind: &Kind) -> Json {
    let logical = |base: &str, logical: &str| json!({"type": base, "logicalType": logical});
    // A name without a dot would fall into the enclosing namespace.
    let named = |name: &str, rest: Json| {
        let (namespace, short) = name.rsplit_once('.').unwrap_or(("", name));
        let mut object = json!({"name": short, "namespace": namespace});
        object.as_object_mut().unwrap().extend(rest.as_object().unwrap().clone());
        object
    };
    match kind {
        Kind::Null | Kind::Boolean | Kind::Int | Kind::Long | Kind::Float | Kind::Double | Kind::Bytes | Kind::Text => {
            json!(base(kind))
        }
        Kind::Uuid => logical("string", "uuid"),
        Kind::Decimal(precision, scale) => {
            json!({"type": "bytes", "logicalType": "decimal", "precision": precision, "scale": scale})
        }
        Kind::FixedDecimal(name, size, precision, scale) => named(
            name,
            json!({"type": "fixed", "size": size, "logicalType": "decimal", "precision": precision, "scale": scale}),
        ),
        Kind::Date => logical("int", "date"),
        Kind::TimeMillis => logical("int", "time-millis"),
        Kind::TimeMicros => logical("long", "time-micros"),
        Kind::TimestampMillis => logical("long", "timestamp-millis"),
        Kind::TimestampMicros => logical("long", "timestamp-micros"),
        Kind::Duration(name) => named(name, json!({"type": "fixed", "size": 12, "logicalType": "duration"})),
        Kind::Fixed(name, size) => named(name, json!({"type": "fixed", "size": size})),
        Kind::Enum(name, symbols) => named(name, json!({"type": "enum", "symbols": symbols})),
        Kind::Array(item) => json!({"type": "array", "items": schema(item)}),
        Kind::Map(value) => json!({"type": "map", "values": schema(value)}),
        Kind::Union(branches) => branches.iter().map(schema).collect(),
        Kind::Record(name, fields) => {
            let fields: Vec<_> = fields.iter().map(|(name, kind)| json!({"name": name, "type": schema(kind)})).collect();
            named(name, json!({"type": "record", "fields": fields}))
        }
        Kind::Recursion(name) => json!(name),
        Kind::Again(kind) => match &**kind {
            Kind::Fixed(name, _) | Kind::Enum(name, _) => json!(name),
            other => panic!("{other:?} is not kept"),
        },
    }
}

/// The cell that a decoded value should become.
fn expected(kind: &Kind, value: &Avro, open: &mut Vec<(String, Vec<(String, Kind)>)>) -> Json {
    match (kind, value) {
        (Kind::Null, _) => Json::Null,
        (Kind::Boolean, Avro::Boolean(value)) => json!(value),
        (Kind::Int, Avro::Int(value)) => json!(value),
        (Kind::Long, Avro::Long(value)) => json!(value),
        (Kind::Float, Avro::Float(value)) => float(*value),
        (Kind::Double, Avro::Double(value)) => double(*value),
        (Kind::Bytes, Avro::Bytes(value)) | (Kind::Fixed(..), Avro::Fixed(_, value)) => bytes(value),
        (Kind::Text, Avro::String(value)) | (Kind::Enum(..), Avro::Enum(_, value)) => json!(value),
        (Kind::Uuid, Avro::Uuid(value)) => json!(value.to_string()),
        (Kind::Decimal(_, scale) | Kind::FixedDecimal(_, _, _, scale), Avro::Decimal(value)) => decimal(unscaled(value), *scale),
        (Kind::Date, Avro::Date(value)) => date(*value),
        (Kind::TimeMillis, Avro::TimeMillis(value)) => json!(i64::from(*value) * 1000),
        (Kind::TimeMicros, Avro::TimeMicros(value)) => json!(value),
        (Kind::TimestampMillis, Avro::TimestampMillis(value)) => timestamp(value * 1000),
        (Kind::TimestampMicros, Avro::TimestampMicros(value)) => timestamp(*value),
        (Kind::Duration(_), Avro::Duration(value)) => duration(value),
        (Kind::Array(item), Avro::Array(items)) => items.iter().map(|value| expected(item, value, open)).collect(),
        (Kind::Map(inner), Avro::Map(entries)) => {
            map(entries.iter().map(|(key, value)| (key.clone(), expected(inner, value, open))).collect::<Vec<_>>())
        }
        (Kind::Union(branches), Avro::Union(index, value)) => union(branches, *index as usize, value, open),
        (Kind::Record(_, fields), _) if fields.is_empty() => json!(true),
        (Kind::Record(name, fields), Avro::Record(values)) => {
            open.push((name.clone(), fields.clone()));
            let members = fields.iter().zip(values);
            let members = members.map(|((name, kind), (_, value))| (name.clone(), expected(kind, value, open)));
            let members = Json::Object(members.collect());
            open.pop();
            members
        }
        (Kind::Recursion(_), value) => json!({ "json": text(kind, value, open) }),
        (Kind::Again(kind), value) => expected(kind, value, open),
        (kind, value) => panic!("{value:?} is no {kind:?}"),
    }
}

fn union(branches: &[Kind], index: usize, value: &Avro, open: &mut Vec<(String, Vec<(String, Kind)>)>) -> Json {
    let present: Vec<&Kind> = branches.iter().filter(|kind| !matches!(kind, Kind::Null)).collect();
    let branch = &branches[index];
    match (present.as_slice(), value) {
        ([] | [_], _) => expected(branch, value, open),
        (_, Avro::Null) => Json::Null,
        ([Kind::Int, Kind::Long] | [Kind::Long, Kind::Int], Avro::Int(value)) => json!(i64::from(*value)),
        ([Kind::Int, Kind::Long] | [Kind::Long, Kind::Int], Avro::Long(value)) => json!(value),
        ([Kind::Float, Kind::Double] | [Kind::Double, Kind::Float], Avro::Float(value)) => double(f64::from(*value)),
        ([Kind::Float, Kind::Double] | [Kind::Double, Kind::Float], Avro::Double(value)) => double(*value),
        (several, _) => {
            let members = several.iter().map(|kind| {
                let is_chosen = base(kind) == base(branch);
                (base(kind), if is_chosen { expected(branch, value, open) } else { Json::Null })
            });
            Json::Object(members.collect())
        }
    }
}

/// The JSON that a value under a recursion should become.
fn text(kind: &Kind, value: &Avro, open: &mut Vec<(String, Vec<(String, Kind)>)>) -> Json {
    let number = |text: String, is_finite: bool| if is_finite { serde_json::from_str(&text).unwrap() } else { json!(text) };
    match (kind, value) {
        (Kind::Float, Avro::Float(value)) => number(value.to_string(), value.is_finite()),
        (Kind::Double, Avro::Double(value)) => number(value.to_string(), value.is_finite()),
        (Kind::Bytes, Avro::Bytes(value)) | (Kind::Fixed(..), Avro::Fixed(_, value)) => json!(STANDARD.encode(value)),
        (Kind::Decimal(_, scale) | Kind::FixedDecimal(_, _, _, scale), Avro::Decimal(value)) => {
            let value = unscaled(value);
            let digits = format!("{:0>width$}", value.unsigned_abs(), width = *scale as usize + 1);
            let (whole, fraction) = digits.split_at(digits.len() - *scale as usize);
            let point = if fraction.is_empty() { "" } else { "." };
            json!(format!("{}{whole}{point}{fraction}", if value < 0 { "-" } else { "" }))
        }
        (Kind::Date, Avro::Date(value)) => json!(crate::decode::time::format_date(*value)),
        (Kind::TimestampMillis, Avro::TimestampMillis(value)) => json!(crate::decode::time::format_timestamp(value * 1000)),
        (Kind::TimestampMicros, Avro::TimestampMicros(value)) => json!(crate::decode::time::format_timestamp(*value)),
        (Kind::Array(item), Avro::Array(items)) => items.iter().map(|value| text(item, value, open)).collect(),
        (Kind::Map(inner), Avro::Map(entries)) => {
            Json::Object(entries.iter().map(|(key, value)| (key.clone(), text(inner, value, open))).collect())
        }
        (Kind::Union(branches), Avro::Union(index, value)) => {
            let branch = &branches[*index as usize];
            let present: Vec<&Kind> = branches.iter().filter(|kind| !matches!(kind, Kind::Null)).collect();
            let is_plain = match present.as_slice() {
                [] | [_] => true,
                [Kind::Int, Kind::Long] | [Kind::Long, Kind::Int] | [Kind::Float, Kind::Double] | [Kind::Double, Kind::Float] => true,
                _ => matches!(branch, Kind::Null),
            };
            let value = text(branch, value, open);
            if is_plain { value } else { json!({ base(branch): value }) }
        }
        (Kind::Record(_, fields), _) if fields.is_empty() => json!(true),
        (Kind::Record(name, fields), Avro::Record(values)) => {
            open.push((name.clone(), fields.clone()));
            let members = fields.iter().zip(values);
            let members = Json::Object(members.map(|((name, kind), (_, value))| (name.clone(), text(kind, value, open))).collect());
            open.pop();
            members
        }
        (Kind::Recursion(name), value) => {
            let fields = open.iter().rev().find(|(open, _)| open == name).unwrap().1.clone();
            text(&Kind::Record(name.clone(), fields), value, open)
        }
        (Kind::Again(kind), value) => text(kind, value, open),
        (_, _) => expected(kind, value, open),
    }
}

fn unscaled(value: &apache_avro::Decimal) -> i128 {
    let bytes: Vec<u8> = value.clone().try_into().unwrap();
    let sign = if bytes[0] < 0x80 { 0 } else { -1 };
    bytes.iter().fold(sign, |value, byte| value << 8 | i128::from(*byte))
}

fn duration(value: &Duration) -> Json {
    json!({"months": u32::from(value.months()), "days": u32::from(value.days()), "millis": u32::from(value.millis())})
}

/// Compares, reading JSON text where the reference says that there is some.
fn same(expected: &Json, actual: &Json) -> bool {
    match (expected, actual) {
        (Json::Object(left), Json::String(right)) if left.len() == 1 && left.contains_key("json") => {
            serde_json::from_str::<Json>(right).is_ok_and(|right| right == left["json"])
        }
        (Json::Object(left), Json::Object(right)) => {
            left.len() == right.len() && left.iter().all(|(name, value)| right.get(name).is_some_and(|other| same(value, other)))
        }
        (Json::Array(left), Json::Array(right)) => {
            left.len() == right.len() && left.iter().zip(right).all(|(left, right)| same(left, right))
        }
        (left, right) => left == right,
    }
}

struct Case {
    kind: Kind,
    schema: String,
    payloads: Vec<Vec<u8>>,
    expected: Vec<Json>,
}

fn case(seed: u64) -> Case {
    let mut generator = Generator { random: Random::new(seed), names: 0, open: Vec::new(), named: Vec::new() };
    let kind = generator.record(4);
    let text = schema(&kind).to_string();
    let parsed = Schema::parse_str(&text).unwrap_or_else(|error| panic!("seed {seed}: {error}: {text}"));
    let mut case = Case { kind, schema: text, payloads: Vec::new(), expected: Vec::new() };
    for _ in 0..4 {
        let value = generator.value(&case.kind, 4);
        let payload = to_avro_datum(&parsed, value).unwrap_or_else(|error| panic!("seed {seed}: {error}: {}", case.schema));
        let decoded = from_avro_datum(&parsed, &mut payload.as_slice(), None).unwrap();
        case.expected.push(expected(&case.kind, &decoded, &mut Vec::new()));
        case.payloads.push(payload);
    }
    case
}

#[test]
fn random_values_of_random_schemas_decode_as_apache_avro_decodes_them() {
    for seed in seeds() {
        let case = case(seed);
        let mut decoder = avro_decoder(&case.schema);
        let appended = append(&mut decoder, &case.payloads.iter().map(Vec::as_slice).collect::<Vec<_>>());
        assert!(appended.rejects.is_empty(), "seed {seed}: {:?}: {}", appended.rejects, case.schema);
        let actual = rows(&mut decoder);
        for (expected, actual) in case.expected.iter().zip(&actual) {
            assert!(same(expected, actual), "seed {seed}: {}\nexpected {expected}\nactual   {actual}", case.schema);
        }
    }
}

#[test]
fn every_prefix_is_a_reject_between_neighbours_that_land() {
    for seed in seeds().take(64) {
        let case = case(seed);
        let mut decoder = avro_decoder(&case.schema);
        let payload = &case.payloads[0];
        let step = 1 + payload.len() / 200;
        for length in (0..payload.len()).step_by(step) {
            let appended = append(&mut decoder, &[payload, &payload[..length], &case.payloads[1]]);
            assert_eq!((appended.counts.rows, appended.counts.rejects), (2, 1), "DEC-1 seed {seed}, {length} bytes: {}", case.schema);
            let actual = rows(&mut decoder);
            assert!(same(&case.expected[0], &actual[0]) && same(&case.expected[1], &actual[1]), "seed {seed}, {length} bytes");
        }
        let longer = [payload.as_slice(), &[0]].concat();
        assert_eq!(append(&mut decoder, &[&longer]).rejects[0].code, "trailing_bytes");
    }
}

#[test]
fn random_and_damaged_bytes_never_panic_and_never_harm_a_neighbour() {
    for seed in seeds().take(64) {
        let case = case(seed);
        let mut random = Random::new(seed);
        let mut decoder = avro_decoder(&case.schema);
        for _ in 0..20 {
            let mut damaged = case.payloads[2].clone();
            for _ in 0..1 + random.below(3) {
                let index = random.below(damaged.len() as u64) as usize;
                damaged[index] = random.next() as u8;
            }
            let noise = random.bytes(40);
            append(&mut decoder, &[&noise, &case.payloads[3], &damaged]);
            let actual = rows(&mut decoder);
            assert!(actual.iter().any(|row| same(&case.expected[3], row)), "seed {seed}");
        }
    }
}
