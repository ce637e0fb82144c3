//! Evolution as a lane drives it: wishes, growing decoders, batches of older columns padded at the end. Owns a model of schemas and values that is written in each format,
//! and what each kind of incompatible change does. Not commits (delta::evolve) and not several instances (simulation, live tests).

use std::sync::{Arc, Mutex};

use arrow::array::RecordBatch;
use arrow::compute::concat_batches;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use serde_json::{Value as Json, json};

use super::registry::{NOT_FOUND, Server, framed, reply};
use super::support::*;
use crate::clock::Clock;
use crate::config::settings::{Allow, OnIncompatible, Table, UnknownFields, Value};
use crate::decode::{Registry, Resolved, first_columns, resolve, widened};
use crate::model::batch::Reject;
use crate::model::record::Records;
use crate::writer::conform;

const SUBJECT: &str = "orders-value";

#[derive(Debug, Clone, Copy, PartialEq)]
enum Form {
    Avro,
    Json,
    Protobuf,
}

/// A registry whose schemas can be added to.
struct Schemas {
    form: Form,
    known: Arc<Mutex<Vec<String>>>,
    _server: Server,
    client: Arc<Registry>,
}

impl Schemas {
    fn new(form: Form, first: &str) -> Schemas {
        let known = Arc::new(Mutex::new(vec![first.to_owned()]));
        let served = Arc::clone(&known);
        let kind = match form {
            Form::Avro => "AVRO",
            Form::Json => "JSON",
            Form::Protobuf => "PROTOBUF",
        };
        let server = Server::start(move |path, _| {
            let known = served.lock().unwrap();
            let id = match path.strip_prefix("/schemas/ids/") {
                Some(id) => id.parse().unwrap(),
                None => known.len(),
            };
            let Some(schema) = id.checked_sub(1).and_then(|place| known.get(place)) else {
                return reply(404, NOT_FOUND);
            };
            reply(200, json!({"subject": SUBJECT, "id": id, "version": id, "schema": schema, "schemaType": kind}).to_string())
        });
        let client = server.client(&Clock::machine());
        Schemas {
            form,
            known,
            _server: server,
            client,
        }
    }

    /// Registers a schema; its id.
    fn add(&self, schema: &str) -> u32 {
        let mut known = self.known.lock().unwrap();
        known.push(schema.to_owned());
        u32::try_from(known.len()).unwrap()
    }

    fn table(&self) -> Table {
        let subject = SUBJECT.to_owned();
        table(match self.form {
            Form::Avro => Value::AvroConfluent {
                subject,
                record: None,
            },
            Form::Json => Value::JsonConfluent {
                subject,
                unknown_fields: UnknownFields::Reject,
            },
            Form::Protobuf => Value::ProtobufConfluent {
                subject,
                message: None,
            },
        })
    }
}

/// What a lane made of records.
struct Landed {
    schema: SchemaRef,
    rows: Vec<Json>,
    rejects: Vec<Reject>,
    grown: usize,
}

/// Decodes as a lane does: grows where it is wished for, and pads what was decoded before.
fn land(schemas: &Schemas, table: &Table, first: Fresh, values: &[Vec<u8>]) -> Landed {
    let Fresh {
        resolved,
        mut schema,
    } = first;
    let build = |schema: &SchemaRef| {
        decoder_for(
            table,
            &resolved,
            Arc::clone(schema),
            Some(Arc::clone(&schemas.client)),
        )
    };
    let mut decoder = build(&schema);
    let records: Records = records(values.iter().map(|value| Some(value.as_slice())));
    let (mut batches, mut rejects): (Vec<RecordBatch>, Vec<Reject>) = (Vec::new(), Vec::new());
    let (mut from, mut grown) = (0, 0);
    while from < values.len() {
        let appended = decoder.append(&place(), &records, from);
        assert!(appended.stalled.is_none(), "{:?}", appended.stalled);
        from = appended.taken;
        let is_suspended = appended.counts.rejects < appended.rejects.len() as u64;
        rejects.extend(appended.rejects);
        if is_suspended {
            break;
        }
        if let Some(wished) = appended.wished {
            grown += 1;
            batches.push(decoder.take().unwrap());
            let wider = Arc::new(Schema::new(widened(schema.fields(), wished.fields())));
            assert_ne!(wider, schema, "what is wished for is new");
            schema = wider;
            decoder = build(&schema);
        }
    }
    batches.push(decoder.take().unwrap());
    let padded: Vec<_> = batches
        .iter()
        .map(|batch| conform(batch, &schema).unwrap())
        .collect();
    let all = concat_batches(&schema, &padded).unwrap();
    let mut rows = all_columns(&all);
    for row in &mut rows {
        let row = row.as_object_mut().unwrap();
        row.retain(|name, _| !name.starts_with("_kafka_"));
    }
    Landed {
        schema,
        rows,
        rejects,
        grown,
    }
}

/// What a sink knows when it begins.
#[derive(Clone)]
struct Fresh {
    resolved: Resolved,
    schema: SchemaRef,
}

/// A new table.
fn fresh(schemas: &Schemas, table: &Table) -> Fresh {
    let resolved = resolve(table, Some(&schemas.client)).unwrap();
    let schema = first_columns(&resolved, table, None).unwrap();
    Fresh { resolved, schema }
}

// The model: kinds that every format has.

#[derive(Debug, Clone, PartialEq)]
enum Kind {
    Long,
    Text,
    Flag,
    Struct(Vec<Member>),
    List(Box<Kind>),
    Map(Box<Kind>),
}

#[derive(Debug, Clone, PartialEq)]
struct Member {
    name: String,
    /// Protobuf's field number; never used twice.
    number: u32,
    kind: Kind,
}

struct Model {
    random: Random,
    names: u32,
    gone: Vec<Member>,
}

impl Model {
    fn member(&mut self, depth: u32) -> Member {
        // What is gone may come back, with the type and number that it had.
        if !self.gone.is_empty() && depth == 0 && self.random.below(3) == 0 {
            let place = self.random.below(self.gone.len() as u64) as usize;
            return self.gone.swap_remove(place);
        }
        self.names += 1;
        let (name, number) = (format!("f{}", self.names), self.names);
        let kind = self.kind(depth);
        Member { name, number, kind }
    }

    fn kind(&mut self, depth: u32) -> Kind {
        match self.random.below(if depth < 3 { 7 } else { 3 }) {
            0 => Kind::Long,
            1 => Kind::Text,
            2 => Kind::Flag,
            3 | 4 => {
                let members = (0..=self.random.below(2)).map(|_| self.member(depth + 1));
                Kind::Struct(members.collect())
            }
            5 => Kind::List(Box::new(self.item(depth + 1))),
            _ => Kind::Map(Box::new(self.item(depth + 1))),
        }
    }

    /// No list or map directly in another: Protobuf has none.
    fn item(&mut self, depth: u32) -> Kind {
        loop {
            match self.kind(depth) {
                Kind::List(_) | Kind::Map(_) => {}
                kind => return kind,
            }
        }
    }

    /// The next version of a schema: members come, go and change places, at any depth.
    fn evolve(&mut self, members: &mut Vec<Member>, depth: u32) {
        for member in members.iter_mut() {
            let inner = match &mut member.kind {
                Kind::Struct(inner) => Some(inner),
                Kind::List(item) | Kind::Map(item) => match item.as_mut() {
                    Kind::Struct(inner) => Some(inner),
                    _ => None,
                },
                _ => None,
            };
            if let Some(inner) = inner
                && self.random.below(2) == 0
            {
                self.evolve(inner, depth + 1);
            }
        }
        if self.random.below(2) == 0 {
            let added = self.member(depth);
            let place = self.random.below(members.len() as u64 + 1) as usize;
            members.insert(place, added);
        }
        if members.len() > 1 && self.random.below(4) == 0 {
            let place = self.random.below(members.len() as u64) as usize;
            let gone = members.remove(place);
            if depth == 0 {
                self.gone.push(gone);
            }
        }
        if self.random.below(4) == 0 {
            members.reverse();
        }
    }

    /// A record; a member that is null is left out.
    fn object(&mut self, members: &[Member]) -> Json {
        let mut object = serde_json::Map::new();
        for member in members {
            if self.random.below(5) > 0 {
                object.insert(member.name.clone(), self.value(&member.kind));
            }
        }
        Json::Object(object)
    }

    fn value(&mut self, kind: &Kind) -> Json {
        match kind {
            Kind::Long => json!(self.random.long()),
            Kind::Text => json!(self.random.text()),
            Kind::Flag => json!(self.random.below(2) == 0),
            Kind::Struct(members) => self.object(members),
            Kind::List(item) => (0..self.random.below(3))
                .map(|_| self.value(item))
                .collect(),
            Kind::Map(value) => {
                let entries = 0..self.random.below(3);
                Json::Object(
                    entries
                        .map(|key| (format!("k{key}"), self.value(value)))
                        .collect(),
                )
            }
        }
    }
}

/// What the columns of `all`, which every version has led to, hold of a value written by a schema of `written`.
fn expected(all: &[Member], written: &[Member], value: &Json, form: Form) -> Json {
    let cell = |member: &Member| {
        let writer = written.iter().find(|other| other.name == member.name);
        let Some(writer) = writer else {
            return Json::Null;
        };
        match (value.get(&member.name), &member.kind) {
            (Some(value), kind) => expected_value(kind, &writer.kind, value, form),
            (None, Kind::List(_)) if form == Form::Protobuf => json!([]),
            (None, Kind::Map(_)) if form == Form::Protobuf => map([]),
            (None, _) => Json::Null,
        }
    };
    let cells = all.iter().map(|member| (member.name.clone(), cell(member)));
    Json::Object(cells.collect())
}

fn expected_value(all: &Kind, written: &Kind, value: &Json, form: Form) -> Json {
    match (all, written, value) {
        (Kind::Struct(all), Kind::Struct(written), value) => expected(all, written, value, form),
        (Kind::List(all), Kind::List(written), Json::Array(items)) => items
            .iter()
            .map(|item| expected_value(all, written, item, form))
            .collect(),
        (Kind::Map(all), Kind::Map(written), Json::Object(entries)) => map(entries
            .iter()
            .map(|(key, value)| (key.clone(), expected_value(all, written, value, form)))),
        (_, _, value) => value.clone(),
    }
}

/// All members of all versions.
fn merge(all: &mut Vec<Member>, version: &[Member]) {
    for member in version {
        match all.iter_mut().find(|other| other.name == member.name) {
            None => all.push(member.clone()),
            Some(known) => merge_kind(&mut known.kind, &member.kind),
        }
    }
}

fn merge_kind(all: &mut Kind, version: &Kind) {
    match (all, version) {
        (Kind::Struct(all), Kind::Struct(version)) => merge(all, version),
        (Kind::List(all), Kind::List(version)) | (Kind::Map(all), Kind::Map(version)) => {
            merge_kind(all, version);
        }
        (all, version) => assert_eq!(all, version),
    }
}

fn schema(form: Form, members: &[Member]) -> String {
    match form {
        Form::Avro => avro_record("R", members).to_string(),
        Form::Json => json!({"type": "object", "properties": json_properties(members)}).to_string(),
        Form::Protobuf => format!("syntax = \"proto3\";\n{}", message("R", members)),
    }
}

fn avro_record(name: &str, members: &[Member]) -> Json {
    let fields: Vec<Json> = members
        .iter()
        .map(|member| json!({"name": member.name, "type": ["null", avro_kind(member, &member.kind)]}))
        .collect();
    json!({"type": "record", "name": name, "fields": fields})
}

fn avro_kind(member: &Member, kind: &Kind) -> Json {
    match kind {
        Kind::Long => json!("long"),
        Kind::Text => json!("string"),
        Kind::Flag => json!("boolean"),
        Kind::Struct(inner) => avro_record(&format!("R{}", member.number), inner),
        Kind::List(item) => json!({"type": "array", "items": avro_kind(member, item)}),
        Kind::Map(value) => json!({"type": "map", "values": avro_kind(member, value)}),
    }
}

fn json_properties(members: &[Member]) -> Json {
    let properties = members
        .iter()
        .map(|member| (member.name.clone(), json_kind(&member.kind)));
    Json::Object(properties.collect())
}

fn json_kind(kind: &Kind) -> Json {
    match kind {
        Kind::Long => json!({"type": "integer"}),
        Kind::Text => json!({"type": "string"}),
        Kind::Flag => json!({"type": "boolean"}),
        Kind::Struct(inner) => json!({"type": "object", "properties": json_properties(inner)}),
        Kind::List(item) => json!({"type": "array", "items": json_kind(item)}),
        Kind::Map(value) => json!({"type": "object", "additionalProperties": json_kind(value)}),
    }
}

fn message(name: &str, members: &[Member]) -> String {
    let (mut nested, mut fields) = (String::new(), String::new());
    for member in members {
        let (inner, label) = match &member.kind {
            Kind::List(item) => (item.as_ref(), "repeated "),
            Kind::Map(value) => (value.as_ref(), "map"),
            kind => (kind, "optional "),
        };
        let kind = match inner {
            Kind::Long => "int64".to_owned(),
            Kind::Text => "string".to_owned(),
            Kind::Flag => "bool".to_owned(),
            Kind::Struct(inner) => {
                let name = format!("M{}", member.number);
                nested += &message(&name, inner);
                name
            }
            Kind::List(_) | Kind::Map(_) => unreachable!("no list in a list"),
        };
        let (name, number) = (&member.name, member.number);
        fields += &match label {
            "map" => format!("map<string, {kind}> {name} = {number};\n"),
            label => format!("{label}{kind} {name} = {number};\n"),
        };
    }
    format!("message {name} {{\n{nested}{fields}}}\n")
}

fn write(form: Form, members: &[Member], value: &Json) -> Vec<u8> {
    let mut bytes = Vec::new();
    match form {
        Form::Avro => avro_object(members, value, &mut bytes),
        Form::Json => bytes = value.to_string().into_bytes(),
        Form::Protobuf => {
            // The index of the first message.
            bytes.push(0);
            proto_object(members, value, &mut bytes);
        }
    }
    bytes
}

fn varint(mut number: u64, bytes: &mut Vec<u8>) {
    while number >= 0x80 {
        bytes.push((number as u8 & 0x7f) | 0x80);
        number >>= 7;
    }
    bytes.push(number as u8);
}

fn avro_long(number: i64, bytes: &mut Vec<u8>) {
    varint(((number << 1) ^ (number >> 63)).cast_unsigned(), bytes);
}

fn avro_object(members: &[Member], value: &Json, bytes: &mut Vec<u8>) {
    for member in members {
        match value.get(&member.name) {
            None => avro_long(0, bytes),
            Some(value) => {
                avro_long(1, bytes);
                avro_value(&member.kind, value, bytes);
            }
        }
    }
}

fn avro_text(text: &str, bytes: &mut Vec<u8>) {
    avro_long(text.len() as i64, bytes);
    bytes.extend(text.as_bytes());
}

fn avro_value(kind: &Kind, value: &Json, bytes: &mut Vec<u8>) {
    match (kind, value) {
        (Kind::Long, value) => avro_long(value.as_i64().unwrap(), bytes),
        (Kind::Text, value) => avro_text(value.as_str().unwrap(), bytes),
        (Kind::Flag, value) => bytes.push(u8::from(value.as_bool().unwrap())),
        (Kind::Struct(members), value) => avro_object(members, value, bytes),
        (Kind::List(item), value) => {
            let items = value.as_array().unwrap();
            if !items.is_empty() {
                avro_long(items.len() as i64, bytes);
                items
                    .iter()
                    .for_each(|value| avro_value(item, value, bytes));
            }
            avro_long(0, bytes);
        }
        (Kind::Map(inner), value) => {
            let entries = value.as_object().unwrap();
            if !entries.is_empty() {
                avro_long(entries.len() as i64, bytes);
                for (key, value) in entries {
                    avro_text(key, bytes);
                    avro_value(inner, value, bytes);
                }
            }
            avro_long(0, bytes);
        }
    }
}

fn proto_object(members: &[Member], value: &Json, bytes: &mut Vec<u8>) {
    for member in members {
        let number = u64::from(member.number);
        match (&member.kind, value.get(&member.name)) {
            (_, None) => {}
            (Kind::List(item), Some(value)) => {
                for value in value.as_array().unwrap() {
                    proto_value(number, item, value, bytes);
                }
            }
            (Kind::Map(inner), Some(value)) => {
                for (key, value) in value.as_object().unwrap() {
                    let mut entry = Vec::new();
                    proto_value(1, &Kind::Text, &json!(key), &mut entry);
                    proto_value(2, inner, value, &mut entry);
                    proto_delimited(number, &entry, bytes);
                }
            }
            (kind, Some(value)) => proto_value(number, kind, value, bytes),
        }
    }
}

fn proto_delimited(number: u64, value: &[u8], bytes: &mut Vec<u8>) {
    varint(number << 3 | 2, bytes);
    varint(value.len() as u64, bytes);
    bytes.extend(value);
}

fn proto_value(number: u64, kind: &Kind, value: &Json, bytes: &mut Vec<u8>) {
    match kind {
        Kind::Text => proto_delimited(number, value.as_str().unwrap().as_bytes(), bytes),
        Kind::Struct(members) => {
            let mut inner = Vec::new();
            proto_object(members, value, &mut inner);
            proto_delimited(number, &inner, bytes);
        }
        Kind::Long | Kind::Flag => {
            varint(number << 3, bytes);
            let value = value
                .as_i64()
                .unwrap_or_else(|| i64::from(value.as_bool().unwrap()));
            varint(value.cast_unsigned(), bytes);
        }
        Kind::List(_) | Kind::Map(_) => unreachable!("no list in a list"),
    }
}

/// Random evolutions with old and new schema ids mixed: every record lands, as if the columns had been there from the start, and the columns grow once for each new
/// set of them.
fn check_random_evolutions(form: Form) {
    for seed in seeds().map(|seed| seed + 7_000) {
        let mut model = Model {
            random: Random::new(seed),
            names: 0,
            gone: Vec::new(),
        };
        let first: Vec<Member> = (0..=model.random.below(3))
            .map(|_| model.member(0))
            .collect();
        let schemas = Schemas::new(form, &schema(form, &first));
        let mut versions = vec![first.clone()];
        let (mut values, mut records): (Vec<Vec<u8>>, Vec<(usize, Json)>) =
            (Vec::new(), Vec::new());
        let table = schemas.table();
        let start = fresh(&schemas, &table);
        for _ in 0..=model.random.below(5) {
            if model.random.below(2) == 0 {
                let mut next = versions.last().unwrap().clone();
                model.evolve(&mut next, 0);
                schemas.add(&schema(form, &next));
                versions.push(next);
            }
            for _ in 0..=model.random.below(4) {
                let version = model.random.below(versions.len() as u64) as usize;
                let value = model.object(&versions[version]);
                let body = write(form, &versions[version], &value);
                values.push(framed(version as u32 + 1, &body));
                records.push((version, value));
            }
        }
        let landed = land(&schemas, &table, start.clone(), &values);
        assert!(
            landed.rejects.is_empty(),
            "seed {seed}: {:?}",
            landed.rejects
        );
        let mut all = first;
        let used: Vec<usize> = records.iter().map(|(version, _)| *version).collect();
        for version in &used {
            merge(&mut all, &versions[*version]);
        }
        let distinct: std::collections::BTreeSet<_> = used.iter().collect();
        assert!(
            landed.grown <= distinct.len(),
            "seed {seed}: {} growths for {} schemas flap",
            landed.grown,
            distinct.len()
        );
        let rows: Vec<Json> = records
            .iter()
            .map(|(version, value)| expected(&all, &versions[*version], value, form))
            .collect();
        assert_eq!(landed.rows, rows, "seed {seed}");
        // Padding equals decoding with all columns from the start.
        let all = Fresh {
            schema: Arc::clone(&landed.schema),
            ..start
        };
        let direct = land(&schemas, &table, all, &values);
        assert_eq!(
            (direct.grown, &direct.rows),
            (0, &landed.rows),
            "seed {seed}"
        );
    }
}

#[test]
fn random_evolutions_of_avro_land_as_if_the_columns_had_always_been_there() {
    check_random_evolutions(Form::Avro);
}

#[test]
fn random_evolutions_of_json_schema_land_as_if_the_columns_had_always_been_there() {
    check_random_evolutions(Form::Json);
}

#[test]
fn random_evolutions_of_protobuf_land_as_if_the_columns_had_always_been_there() {
    check_random_evolutions(Form::Protobuf);
}

// Changes that are incompatible.

/// The first schema, the second, and a record of the second; what lands and what is rejected.
struct Case {
    form: Form,
    first: Json,
    second: Json,
    value: Vec<u8>,
    allow: Allow,
    on_incompatible: OnIncompatible,
}

fn avro(fields: Json) -> Json {
    json!({"type": "record", "name": "R", "fields": fields})
}

fn case(form: Form, first: Json, second: Json, value: &[u8]) -> Case {
    Case {
        form,
        first,
        second,
        value: value.to_vec(),
        allow: Allow::AddColumns,
        on_incompatible: OnIncompatible::Reject,
    }
}

impl Case {
    fn with(mut self, on_incompatible: OnIncompatible) -> Case {
        self.on_incompatible = on_incompatible;
        self
    }

    fn none(mut self) -> Case {
        self.allow = Allow::None;
        self
    }

    fn run(&self) -> Landed {
        let text = |schema: &Json| match schema {
            Json::String(proto) => format!("syntax = \"proto3\"; {proto}"),
            schema => schema.to_string(),
        };
        let schemas = Schemas::new(self.form, &text(&self.first));
        let mut table = schemas.table();
        table.evolution.allow = self.allow;
        table.evolution.on_incompatible = self.on_incompatible;
        let first = fresh(&schemas, &table);
        let id = schemas.add(&text(&self.second));
        land(&schemas, &table, first, &[framed(id, &self.value)])
    }

    fn lands(&self, row: Json) {
        let landed = self.run();
        assert!(landed.rejects.is_empty(), "{:?}", landed.rejects);
        assert_eq!(landed.rows, [row]);
    }

    fn rejected(&self, code: &str, path: &str, part: &str) {
        let landed = self.run();
        let [reject] = landed.rejects.as_slice() else {
            panic!("one reject: {:?} {:?}", landed.rejects, landed.rows);
        };
        assert_eq!(
            (reject.code, reject.path.as_str()),
            (code, path),
            "{reject:?}"
        );
        assert!(reject.message.contains(part), "{reject:?}");
        assert!(landed.rows.is_empty());
    }
}

#[test]
fn a_long_of_a_newer_schema_goes_into_an_integer_column_when_it_fits() {
    let (int, long) = (
        avro(json!([{"name": "a", "type": "int"}])),
        avro(json!([{"name": "a", "type": "long"}])),
    );
    case(Form::Avro, int.clone(), long.clone(), b"\x0e").lands(json!({"a": 7}));
    case(Form::Avro, int, long, b"\x80\x80\x80\x80\x20").rejected("out_of_range", "a", "");
    let (int, long) = (
        json!("message R { int32 a = 1; }"),
        json!("message R { int64 a = 1; }"),
    );
    case(Form::Protobuf, int.clone(), long.clone(), b"\x00\x08\x07").lands(json!({"a": 7}));
    case(Form::Protobuf, int, long, b"\x00\x08\x80\x80\x80\x80\x10").rejected(
        "out_of_range",
        "a",
        "",
    );
}

#[test]
fn what_fits_no_column_is_rejected_record_by_record() {
    let (long, text) = (
        avro(json!([{"name": "a", "type": "long"}])),
        avro(json!([{"name": "a", "type": ["null", "string"]}])),
    );
    case(Form::Avro, long.clone(), text.clone(), b"\x00").lands(json!({"a": null}));
    case(Form::Avro, long, text, b"\x02\x02x").rejected(
        "type_mismatch",
        "a",
        "`string` where the column is Int64",
    );
    let (long, text) = (
        json!({"type": "object", "properties": {"a": {"type": "integer"}}}),
        json!({"type": "object", "properties": {"a": {"type": "string"}}}),
    );
    case(Form::Json, long.clone(), text.clone(), b"{}").lands(json!({"a": null}));
    case(Form::Json, long.clone(), text.clone(), b"{\"a\":null}").lands(json!({"a": null}));
    case(Form::Json, long, text, b"{\"a\":\"x\"}").rejected(
        "type_mismatch",
        "a",
        "declared as string",
    );
    let (long, text) = (
        json!("message R { optional int64 a = 1; }"),
        json!("message R { optional string a = 1; }"),
    );
    case(Form::Protobuf, long.clone(), text.clone(), b"\x00").lands(json!({"a": null}));
    case(Form::Protobuf, long.clone(), text, b"\x00\x0a\x01x").rejected(
        "type_mismatch",
        "a",
        "`string` where the column is Int64",
    );
    // An implicit default is a value too, and a list is not a number.
    case(
        Form::Protobuf,
        long.clone(),
        json!("message R { string a = 1; }"),
        b"\x00",
    )
    .rejected("type_mismatch", "a", "");
    case(
        Form::Protobuf,
        long.clone(),
        json!("message R { repeated string a = 1; }"),
        b"\x00",
    )
    .lands(json!({"a": null}));
    case(
        Form::Protobuf,
        long,
        json!("message R { repeated string a = 1; }"),
        b"\x00\x0a\x01x",
    )
    .rejected("type_mismatch", "a", "");
}

#[test]
fn deep_conflicts_are_of_the_records_that_hold_them() {
    let of = |item: &str| avro(json!([{"name": "l", "type": {"type": "array", "items": item}}]));
    case(Form::Avro, of("long"), of("string"), b"\x00").lands(json!({"l": []}));
    case(Form::Avro, of("long"), of("string"), b"\x02\x02x\x00").rejected(
        "type_mismatch",
        "l[0]",
        "",
    );
}

#[test]
fn a_further_column_takes_what_does_not_fit() {
    let further = OnIncompatible::NewColumn;
    let (long, text) = (
        avro(json!([{"name": "a", "type": "long"}])),
        avro(json!([{"name": "a", "type": ["null", "string"]}])),
    );
    case(Form::Avro, long.clone(), text.clone(), b"\x02\x02x")
        .with(further)
        .lands(json!({"a": null, "a__string": "x"}));
    case(Form::Avro, long, text, b"\x00")
        .with(further)
        .lands(json!({"a": null, "a__string": null}));
    // In a struct within an array it is a member of the struct; for the items of an array it is the whole array.
    let deep = |kind: &str| {
        let inner = json!({"type": "record", "name": "I", "fields": [{"name": "x", "type": kind}]});
        avro(json!([{"name": "l", "type": {"type": "array", "items": inner}}]))
    };
    case(Form::Avro, deep("long"), deep("string"), b"\x02\x02x\x00")
        .with(further)
        .lands(json!({"l": [{"x": null, "x__string": "x"}]}));
    let items = |item: &str| avro(json!([{"name": "l", "type": {"type": "array", "items": item}}]));
    case(Form::Avro, items("long"), items("string"), b"\x02\x02x\x00")
        .with(further)
        .lands(json!({"l": null, "l__array_string": ["x"]}));
    let properties = |kind: Json| json!({"type": "object", "properties": {"a": kind}});
    let (long, object) = (
        properties(json!({"type": "integer"})),
        properties(json!({"type": "object", "properties": {"x": {"type": "number"}}})),
    );
    case(Form::Json, long, object, b"{\"a\":{\"x\":1.5}}")
        .with(further)
        .lands(json!({"a": null, "a__struct": {"x": double(1.5)}}));
    case(
        Form::Protobuf,
        json!("message R { int64 a = 1; }"),
        json!("message R { repeated string a = 1; }"),
        b"\x00\x0a\x01x",
    )
    .with(further)
    .lands(json!({"a": null, "a__array_string": ["x"]}));
    // What fits, though of another type, stays in its column.
    let (int, long) = (
        avro(json!([{"name": "a", "type": "int"}])),
        avro(json!([{"name": "a", "type": "long"}])),
    );
    case(Form::Avro, int, long, b"\x0e")
        .with(further)
        .lands(json!({"a": 7}));
}

#[test]
fn unions_gain_and_lose_branches() {
    let of = |kinds: Json| avro(json!([{"name": "u", "type": kinds}]));
    let (two, three) = (
        json!(["null", "long", "string"]),
        json!(["null", "long", "string", "boolean"]),
    );
    case(Form::Avro, of(two.clone()), of(three), b"\x06\x01")
        .lands(json!({"u": {"long": null, "string": null, "boolean": true}}));
    case(
        Form::Avro,
        of(two.clone()),
        of(json!(["null", "string"])),
        b"\x02\x02x",
    )
    .lands(json!({"u": {"long": null, "string": "x"}}));
    case(
        Form::Avro,
        of(two.clone()),
        of(json!(["null", "string"])),
        b"\x00",
    )
    .lands(json!({"u": null}));
    let one = of(json!(["null", "long"]));
    case(Form::Avro, one.clone(), of(two.clone()), b"\x02\x0e").lands(json!({"u": 7}));
    case(Form::Avro, one.clone(), of(two.clone()), b"\x04\x02x").rejected("type_mismatch", "u", "");
    case(Form::Avro, one, of(two), b"\x04\x02x")
        .with(OnIncompatible::NewColumn)
        .lands(json!({"u": null, "u__struct": {"long": null, "string": "x"}}));
}

#[test]
fn what_no_table_can_have_is_incompatible_and_null_lands_still() {
    let base = json!({"name": "a", "type": "long"});
    let with = |field: Json| avro(json!([base, field]));
    let first = avro(json!([base]));
    let more = json!({"name": "b", "type": ["null", "string"]});
    case(
        Form::Avro,
        first.clone(),
        with(more.clone()),
        b"\x0e\x02\x02x",
    )
    .none()
    .rejected("unknown_field", "b", "evolution.allow");
    case(Form::Avro, first.clone(), with(more), b"\x0e\x00")
        .none()
        .lands(json!({"a": 7}));
    let alike = json!({"name": "A", "type": ["null", "string"]});
    case(Form::Avro, first.clone(), with(alike), b"\x0e\x02\x02x").rejected(
        "unknown_field",
        "A",
        "differ only by case",
    );
    let wide = json!({"name": "d", "type": {"type": "bytes", "logicalType": "decimal", "precision": 50, "scale": 2}});
    case(Form::Avro, first.clone(), with(wide), b"\x0e\x02\x01").rejected(
        "unknown_field",
        "d",
        "decimal(50, 2)",
    );
    case(
        Form::Protobuf,
        json!("message R { int64 a = 1; }"),
        json!("message R { int64 a = 1; string b = 2; }"),
        b"\x00\x12\x01x",
    )
    .none()
    .rejected("unknown_field", "b", "evolution.allow");
    case(
        Form::Json,
        json!({"type": "object", "properties": {"a": {"type": "integer"}}}),
        json!({"type": "object", "properties": {"a": {"type": "integer"}, "b": {"type": "string"}}}),
        b"{\"b\":\"x\"}",
    )
    .none()
    .rejected("unknown_field", "b", "value.unknown_fields");
    let kafka = json!({"name": "_KAFKA_OFFSET", "type": "long"});
    case(Form::Avro, first, with(kafka), b"\x0e\x02").rejected(
        "unknown_field",
        "_KAFKA_OFFSET",
        "differ only by case",
    );
}

#[test]
fn the_columns_have_a_bound_and_say_so() {
    let wide = |count: usize| {
        let fields: Vec<Json> = (0..count)
            .map(|number| json!({"name": format!("f{number}"), "type": ["null", "long"]}))
            .collect();
        avro(json!(fields))
    };
    let values: Vec<u8> = [0, 0, 2, 14]
        .into_iter()
        .chain(std::iter::repeat_n(0, 9_996))
        .collect();
    case(Form::Avro, wide(2), wide(9_999), &values).rejected(
        "unknown_field",
        "f2",
        "10000 are the most",
    );
}

#[test]
fn a_computed_table_partition_column_is_no_field() {
    let schemas = Schemas::new(
        Form::Avro,
        &avro(json!([{"name": "a", "type": "long"}])).to_string(),
    );
    let mut table = schemas.table();
    table.partition_by = vec![crate::config::settings::PartitionField {
        name: "part".to_owned(),
        source: "a".to_owned(),
        transform: crate::config::settings::Transform::Bucket(4),
    }];
    let first = fresh(&schemas, &table);
    let id = schemas.add(
        &avro(json!([{"name": "a", "type": "long"}, {"name": "Part", "type": "long"}])).to_string(),
    );
    let landed = land(&schemas, &table, first, &[framed(id, b"\x02\x02")]);
    assert_eq!(landed.rejects[0].path, "Part");
    assert!(
        landed.rejects[0].message.contains("partition_by"),
        "{:?}",
        landed.rejects
    );
}

#[test]
fn on_incompatible_suspend_stops_before_the_record_whatever_errors_say() {
    let (long, text) = (
        avro(json!([{"name": "a", "type": "long"}])),
        avro(json!([{"name": "a", "type": "string"}])),
    );
    let schemas = Schemas::new(Form::Avro, &long.to_string());
    let mut table = schemas.table();
    table.evolution.on_incompatible = OnIncompatible::Suspend;
    let first = fresh(&schemas, &table);
    let id = schemas.add(&text.to_string());
    // A bad record beside it is left out, as errors.mode says.
    let values = [
        framed(1, b"\x02"),
        framed(1, b""),
        framed(id, b"\x02x"),
        framed(1, b"\x04"),
    ];
    let landed = land(&schemas, &table, first, &values);
    assert_eq!(landed.rows, [json!({"a": 1})]);
    assert_eq!(
        landed
            .rejects
            .iter()
            .map(|reject| (reject.offset, reject.code))
            .collect::<Vec<_>>(),
        [(11, "truncated"), (12, "type_mismatch")]
    );
}

#[test]
fn a_decoded_key_grows_too() {
    let (old, new) = (
        avro(json!([{"name": "k", "type": "long"}])),
        avro(json!([{"name": "n", "type": "string"}, {"name": "k", "type": "long"}])),
    );
    let schemas = Schemas::new(Form::Avro, &old.to_string());
    let mut table = table(Value::Text);
    table.key = Some(Value::AvroConfluent {
        subject: SUBJECT.to_owned(),
        record: None,
    });
    table.metadata.include = vec![crate::config::settings::MetadataColumn::Key];
    let Fresh { resolved, schema } = fresh(&schemas, &table);
    let id = schemas.add(&new.to_string());
    let mut decoder = decoder_for(
        &table,
        &resolved,
        Arc::clone(&schema),
        Some(Arc::clone(&schemas.client)),
    );
    let mut records = Records::default();
    let at = |offset| crate::model::record::Coordinates {
        offset,
        timestamp_ms: None,
        timestamp_type: crate::model::record::TimestampType::None,
        leader_epoch: None,
    };
    records.push(at(0), Some(&framed(1, b"\x02")), Some(b"v"), []);
    records.push(at(1), Some(&framed(id, b"\x02x\x04")), Some(b"w"), []);
    let appended = decoder.append(&place(), &records, 0);
    let wished = appended.wished.unwrap();
    assert_eq!(
        (appended.taken, decoder.rows()),
        (1, 1),
        "nothing of the next record is left behind"
    );
    let grown = Arc::new(Schema::new(widened(schema.fields(), wished.fields())));
    let mut decoder = decoder_for(&table, &resolved, grown, Some(schemas.client));
    assert_eq!(decoder.append(&place(), &records, 0).taken, 2);
    let keys: Vec<Json> = all_columns(&decoder.take().unwrap())
        .iter()
        .map(|row| row["_kafka_key"].clone())
        .collect();
    assert_eq!(
        keys,
        [json!({"k": 1, "n": null}), json!({"k": 2, "n": "x"})]
    );
}

// The columns to begin with, over a table that is there.

fn check_first(schema: &Json, has: Vec<Field>, allow: Allow, expect: &[&str]) {
    let schemas = Schemas::new(Form::Avro, &schema.to_string());
    let mut table = schemas.table();
    table.evolution.allow = allow;
    let resolved = resolve(&table, Some(&schemas.client)).unwrap();
    let first = first_columns(&resolved, &table, Some(&Schema::new(has))).unwrap();
    let shown: Vec<String> = first
        .fields()
        .iter()
        .filter(|field| !field.name().starts_with("_kafka_"))
        .map(|field| format!("{} {}", field.name(), field.data_type()))
        .collect();
    assert_eq!(shown, expect);
}

#[test]
fn decoding_begins_with_what_the_table_has() {
    let schema = avro(json!([{"name": "new", "type": "string"}, {"name": "a", "type": "int"}]));
    let column = |name: &str, kind| {
        Field::new(name, kind, true).with_metadata([("comment".to_owned(), "x".to_owned())].into())
    };
    let has = vec![
        column("theirs", DataType::Utf8),
        column("a", DataType::Int64),
    ];
    check_first(&schema, has.clone(), Allow::AddColumns, &["a Int64"]);
    check_first(&schema, has, Allow::None, &["a Int64"]);
}

#[test]
fn a_declared_schema_asks_for_all_its_columns_at_once_and_says_what_does_not_fit() {
    use crate::config::ddl::Type;
    let mut table = table(ddl(&[("a", Type::Integer), ("b", Type::String)]));
    let resolved = resolve(&table, None).unwrap();
    let has = |kind| {
        Schema::new(vec![
            Field::new("a", kind, true),
            Field::new("c", DataType::Utf8, true),
        ])
    };
    let names = |table: &Table, has| -> Result<Vec<String>, String> {
        let first =
            first_columns(&resolved, table, Some(&has)).map_err(|error| error.to_string())?;
        Ok(first
            .fields()
            .iter()
            .map(|field| format!("{} {}", field.name(), field.data_type()))
            .filter(|name| !name.starts_with("_kafka_"))
            .collect())
    };
    assert_eq!(
        names(&table, has(DataType::Int64)).unwrap(),
        ["a Int64", "b Utf8"]
    );
    let error = names(&table, has(DataType::Boolean)).unwrap_err();
    assert!(
        error.contains("column a: declared as int, but the table's column is Boolean"),
        "{error}"
    );
    table.evolution.on_incompatible = OnIncompatible::NewColumn;
    assert_eq!(
        names(&table, has(DataType::Boolean)).unwrap(),
        ["a Boolean", "a__int Int32", "b Utf8"]
    );
}

#[test]
fn growing_keeps_what_was_there_first() {
    let list = |fields: Vec<Field>| list_of(DataType::Struct(fields.into()));
    let nullable = |name: &str, kind| Field::new(name, kind, true);
    let has = vec![
        nullable("a", DataType::Int64),
        nullable("l", list(vec![nullable("x", DataType::Int64)])),
    ];
    let by = vec![
        nullable(
            "l",
            list(vec![
                nullable("y", DataType::Utf8),
                nullable("x", DataType::Utf8),
            ]),
        ),
        nullable("a", DataType::Utf8),
        nullable("b", DataType::Utf8),
    ];
    let grown = widened(&has.into(), &by.into());
    let inner = vec![
        nullable("x", DataType::Int64),
        nullable("y", DataType::Utf8),
    ];
    let expect = vec![
        nullable("a", DataType::Int64),
        nullable("l", list(inner)),
        nullable("b", DataType::Utf8),
    ];
    assert_eq!(grown, expect.into());
}

fn list_of(item: DataType) -> DataType {
    DataType::List(Arc::new(Field::new("element", item, true)))
}
