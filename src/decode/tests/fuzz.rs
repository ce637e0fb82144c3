//! Mutated records and schemas: nothing panics, every record is accounted for (DEC-1), and its neighbours land. Owns the mutations; the corpus is the table of bad records, the
//! good ones beside it and the schemas of these tests, replayed in every run. LAKEWARD_FUZZ_SECONDS=600 goes on for that long, from LAKEWARD_SEED on.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value as Json, json};

use super::corpus::{self, Line};
use super::registry::{Server, framed, reply};
use super::support::*;
use crate::clock::Clock;
use crate::config::settings::{UnknownFields, Value};
use crate::decode::Decoder;
use crate::decode::avro::schema::Schema as AvroSchema;
use crate::decode::protobuf::Schema as ProtobufSchema;
use crate::decode::types::json_schema::Document;
use crate::decode::types::{avro, json as json_types};

/// Rounds of a run that says nothing else.
const ROUNDS: u64 = 4_000;

/// Mutates what it is given.
struct Mutator {
    random: Random,
    corpus: Vec<Vec<u8>>,
}

impl Mutator {
    fn pick(&mut self) -> Vec<u8> {
        let place = self.random.below(self.corpus.len() as u64) as usize;
        self.corpus[place].clone()
    }

    fn place(&mut self, length: usize) -> usize {
        self.random.below(length as u64 + 1) as usize
    }

    /// A few changes: bytes, bits, pieces gone, doubled, or taken from another input, and numbers at the edges.
    fn next(&mut self) -> Vec<u8> {
        let mut bytes = self.pick();
        for _ in 0..=self.random.below(4) {
            let at = self.place(bytes.len());
            match self.random.below(9) {
                0 => bytes.truncate(at),
                1 => bytes.insert(at, self.random.next() as u8),
                2 if at < bytes.len() => bytes[at] ^= 1 << self.random.below(8),
                3 if at < bytes.len() => bytes[at] = self.random.next() as u8,
                4 if at < bytes.len() => {
                    let end = at + self.place((bytes.len() - at).min(32));
                    bytes.drain(at..end);
                }
                5 => {
                    let end = at + self.place((bytes.len() - at).min(32));
                    let piece = bytes[at..end].to_vec();
                    let times = self.random.below(20);
                    (0..times).for_each(|_| drop(bytes.splice(at..at, piece.iter().copied())));
                }
                6 => {
                    let other = self.pick();
                    let from = self.place(other.len());
                    let until = from + self.place((other.len() - from).min(64));
                    bytes.splice(at..at, other[from..until].iter().copied());
                }
                7 => {
                    let edges: [&[u8]; 8] = [
                        &[0xff; 10],
                        &[0x80; 12],
                        b"\xfe\xff\xff\xff\xff\xff\xff\xff\xff\x01",
                        b"\x80\x80\x80\x80\x10",
                        b"9223372036854775808",
                        b"1e400",
                        b"\"\\ud800\"",
                        b"[[[[[[[[",
                    ];
                    let edge = edges[self.random.below(8) as usize];
                    bytes.splice(at..at, edge.iter().copied());
                }
                _ => {}
            }
        }
        bytes.truncate(1 << 16);
        bytes
    }
}

/// Runs a target over mutations of a corpus, which is replayed first.
fn fuzz(name: &str, corpus: Vec<Vec<u8>>, mut target: impl FnMut(&[u8])) {
    corpus.iter().for_each(|input| target(input));
    let seconds: Option<u64> = std::env::var("LAKEWARD_FUZZ_SECONDS")
        .ok()
        .and_then(|text| text.parse().ok());
    let seed = seeds().start;
    let mut mutator = Mutator {
        random: Random::new(seed),
        corpus,
    };
    let clock = Clock::machine();
    let began = clock.now();
    let mut rounds = 0;
    let goes_on = |rounds: u64| match seconds {
        Some(seconds) => clock.now().since(began) < Duration::from_secs(seconds),
        None => rounds < ROUNDS,
    };
    while goes_on(rounds) {
        let input = mutator.next();
        let shown = input.clone();
        let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| target(&input)));
        if let Err(panic) = outcome {
            let hex: String = shown.iter().map(|byte| format!("{byte:02x}")).collect();
            eprintln!("{name}, seed {seed}, round {rounds}: {hex}");
            std::panic::resume_unwind(panic);
        }
        rounds += 1;
    }
    println!(
        "fuzz {name}: {rounds} rounds from seed {seed} in {:.1} s",
        clock.now().since(began).as_secs_f64()
    );
}

/// The payloads of one format in the table of bad records.
fn known(format: &str) -> Vec<Vec<u8>> {
    let text = corpus::bad_records();
    let lines = text.lines().filter_map(Line::parse);
    lines
        .filter(|line| line.format == format)
        .map(|line| line.bytes())
        .collect()
}

/// Whatever a record holds, it is a row or a reject, and what stands before and behind it lands as it is.
fn check(decoder: &mut Decoder, good: &(Vec<u8>, Json), input: &[u8]) {
    let appended = append(decoder, &[&good.0, input, &good.0]);
    assert_eq!(appended.taken, 3);
    assert!(appended.stalled.is_none());
    assert_eq!(appended.counts.rows + appended.counts.rejects, 3, "DEC-1");
    let rows = rows(decoder);
    assert_eq!(rows.len() as u64, appended.counts.rows);
    assert_eq!((rows.first(), rows.last()), (Some(&good.1), Some(&good.1)));
}

#[test]
fn mutated_avro_costs_no_neighbour() {
    let good = (corpus::good_bytes(), corpus::good_row());
    let mut decoder = avro_decoder(corpus::SCHEMA);
    let all = known("avro").into_iter().chain([good.0.clone()]).collect();
    fuzz("avro", all, |input| check(&mut decoder, &good, input));
}

#[test]
fn mutated_json_costs_no_neighbour() {
    for unknown_fields in [
        UnknownFields::Reject,
        UnknownFields::Rescue,
        UnknownFields::Ignore,
    ] {
        let good = corpus::json_good();
        let mut table = corpus::json_table();
        if let Value::Json {
            unknown_fields: it, ..
        } = &mut table.value
        {
            *it = unknown_fields;
        }
        let mut decoder = decoder(&table, None);
        let mut good_row = good.1.clone();
        if unknown_fields == UnknownFields::Rescue {
            good_row["_rescued"] = Json::Null;
        }
        let good = (good.0, good_row);
        let all = known("json").into_iter().chain([good.0.clone()]).collect();
        fuzz("json", all, |input| check(&mut decoder, &good, input));
    }
}

#[test]
fn mutated_protobuf_costs_no_neighbour() {
    let good = (Vec::new(), super::protobuf::absent());
    let mut decoder = super::protobuf::order();
    let mut all = known("protobuf");
    let some = b"\x08\x02\x10\x00\x1a\x02\x01\x02\x22\x01a\x2a\x07\x0a\x01k\x12\x02\x0a\x00\x32\x01t\x48\x01\x52\x02\x08\x01\x62\x02\x08\x01\x6a\x00\x72\x00\x82\x01\x03\x0a\x01n";
    all.push(some.to_vec());
    fuzz("protobuf", all, |input| check(&mut decoder, &good, input));
}

/// Frames whose id the registry knows, does not know, or knows as something else; the message indexes of Protobuf too.
#[test]
fn mutated_frames_cost_no_neighbour() {
    let server = Server::start(|path, _| {
        let avro =
            json!({"type": "record", "name": "R", "fields": [{"name": "id", "type": "long"}]});
        let proto = "syntax = \"proto3\"; message A { int64 id = 1; message B { int64 x = 1; } }";
        let (schema, kind) = match path.rsplit('/').next() {
            Some("2") => (proto.to_owned(), "PROTOBUF"),
            Some("3") => ("{".to_owned(), "AVRO"),
            _ if path.contains("proto-value") => (proto.to_owned(), "PROTOBUF"),
            _ => (avro.to_string(), "AVRO"),
        };
        // A client keeps schemas by their ids.
        let id = if kind == "PROTOBUF" { 2 } else { 1 };
        reply(
            200,
            json!({"subject": "s", "id": id, "version": 1, "schema": schema, "schemaType": kind})
                .to_string(),
        )
    });
    let client = server.client(&Clock::machine());
    let avro = Value::AvroConfluent {
        subject: "avro-value".to_owned(),
        record: None,
    };
    let protobuf = Value::ProtobufConfluent {
        subject: "proto-value".to_owned(),
        message: None,
    };
    for (value, good) in [
        (avro, framed(1, b"\x02")),
        (protobuf, framed(2, b"\x00\x08\x01")),
    ] {
        let mut decoder = decoder(&table(value), Some(Arc::clone(&client)));
        let good = (good, json!({"id": 1}));
        let ids = (0..4).map(|id| framed(id, b"\x02\x00\x00\x08\x01"));
        let all = ids.chain([good.0.clone(), Vec::new()]).collect();
        // Ids are four bytes: most mutations name one that has to be asked for.
        let budget = std::cell::Cell::new(0u32);
        fuzz("frames", all, |input| {
            let asks =
                input.len() >= 5 && input[0] == 0 && (input[1..4] != [0, 0, 0] || input[4] > 4);
            budget.set(budget.get() + u32::from(asks));
            if !asks || budget.get() <= 200 {
                check(&mut decoder, &good, input);
            }
        });
    }
}

#[test]
fn mutated_schemas_are_read_or_refused() {
    let texts = |texts: &[&str]| {
        texts
            .iter()
            .map(|text| text.as_bytes().to_vec())
            .collect::<Vec<_>>()
    };
    let as_text = |input: &[u8]| String::from_utf8_lossy(input).into_owned();
    let orders = include_str!("orders.avsc");
    fuzz("avro schemas", texts(&[corpus::SCHEMA, orders]), |input| {
        if let Ok(schema) = AvroSchema::parse(&as_text(input), &[]) {
            let _types = avro::root(&schema);
        }
    });
    let document = r##"{"type":"object","properties":{"a":{"type":["null","integer"]},"b":{"$ref":"#/definitions/d"},"m":{"type":"object","additionalProperties":{"type":"string","format":"date"}}},"definitions":{"d":{"type":"array","items":{"oneOf":[{"type":"null"},{"type":"number"}]}}}}"##;
    fuzz("json schemas", texts(&[document]), |input| {
        if let Ok(document) = Document::parse(&as_text(input), &[]) {
            let _types = document.shape().and_then(|shape| json_types::root(&shape));
        }
    });
    let folder = tempfile::tempdir().unwrap();
    fuzz("proto files", texts(&[super::protobuf::SHAPES]), |input| {
        if let Ok(schema) = ProtobufSchema::parse_file(&as_text(input), folder.path()) {
            let _types = schema
                .message(None)
                .and_then(|message| crate::decode::types::protobuf::root(&message));
        }
    });
}
