//! Owns decoding the payloads of a real topic by the libraries at hand, as somebody would without Lakeward: arrow-avro and arrow-json into record batches, prost-reflect into
//! messages (there is no decoder of it into columns). Not measuring, and no mapping: what a library makes of a value stays as it is.

use std::sync::Arc;

use arrow::datatypes::{Schema, SchemaRef};
use arrow_avro::reader::{Decoder as AvroDecoder, ReaderBuilder as AvroReaderBuilder};
use arrow_avro::schema::{AvroSchema, Fingerprint, FingerprintAlgorithm, SchemaStore};
use lakeward::config::settings::Value;
use protox::Compiler;
use protox::file::{ChainFileResolver, File, FileResolver, GoogleFileResolver};
use protox::prost_reflect::{DynamicMessage, MessageDescriptor};
use serde::Deserialize;

/// Rows of a batch: what is fastest with both of Arrow's libraries.
const BATCH_ROWS: usize = 8192;
/// Records that are decoded again when one of them is bad.
const CHUNK: usize = 1024;
/// Magic byte and schema id of the Confluent frame.
const FRAME_BYTES: usize = 5;

/// The library for a format.
#[derive(Debug)]
pub(crate) enum Library {
    /// arrow-avro, by the schema of this id.
    Avro { schema: String, id: u32 },
    /// arrow-json, into these columns.
    Json(SchemaRef),
    /// prost-reflect, by this message.
    Protobuf(MessageDescriptor),
}

#[derive(Deserialize)]
struct Latest {
    id: u32,
    schema: String,
}

impl Library {
    /// The one for a table's values, if there is one.
    pub(crate) fn of(
        value: &Value,
        columns: &Schema,
        registry: Option<&reqwest::Url>,
    ) -> Option<Library> {
        let latest = |subject: &str| -> Latest {
            let url = format!(
                "{}/subjects/{subject}/versions/latest",
                registry.expect("a registry").as_str().trim_end_matches('/')
            );
            let answer = reqwest::blocking::get(url).and_then(reqwest::blocking::Response::bytes);
            serde_json::from_slice(&answer.expect("the registry answers")).expect("a schema")
        };
        match value {
            Value::AvroConfluent { subject, .. } => {
                let Latest { id, schema } = latest(subject);
                Some(Library::Avro { schema, id })
            }
            Value::Json { .. } => {
                let of_record = |name: &str| !name.starts_with("_kafka_");
                let fields = columns.fields().iter();
                let fields: Vec<_> = fields
                    .filter(|it| of_record(it.name()))
                    .map(Arc::clone)
                    .collect();
                Some(Library::Json(Arc::new(Schema::new(fields))))
            }
            Value::ProtobufConfluent { subject, .. } => {
                Some(Library::Protobuf(first_message(&latest(subject).schema)))
            }
            Value::AvroFile { .. }
            | Value::AvroSingleObject { .. }
            | Value::JsonConfluent { .. }
            | Value::ProtobufFile { .. }
            | Value::Raw
            | Value::Text => None,
        }
    }

    /// What it is called in results.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Library::Avro { .. } => "arrow-avro",
            Library::Json(_) => "arrow-json",
            Library::Protobuf(_) => "prost-reflect, values only",
        }
    }

    /// Decodes all of them. None may be bad.
    pub(crate) fn decode(&self, payloads: &[&[u8]]) {
        match self {
            Library::Avro { schema, id } => {
                let mut decoder = avro_decoder(schema, *id);
                assert!(avro_append(&mut decoder, payloads), "a record is bad");
                drop(decoder.flush().expect("a batch"));
            }
            Library::Json(columns) => {
                let builder =
                    arrow_json::ReaderBuilder::new(Arc::clone(columns)).with_batch_size(BATCH_ROWS);
                let mut decoder = builder.build_decoder().expect("a decoder");
                for payload in payloads {
                    let used = decoder.decode(payload).expect("a good record");
                    assert_eq!(used, payload.len(), "a record is cut");
                    if decoder.len() >= BATCH_ROWS {
                        drop(decoder.flush().expect("a batch"));
                    }
                }
                drop(decoder.flush().expect("a batch"));
            }
            Library::Protobuf(message) => {
                for payload in payloads {
                    // After the frame, the first message's index is one byte.
                    let bytes = payload.get(FRAME_BYTES + 1..).expect("a frame");
                    let decoded = DynamicMessage::decode(message.clone(), bytes);
                    drop(decoded.expect("a good record"));
                }
            }
        }
    }

    /// Decodes all of them although some are bad, and says how many: keeps payloads in chunks, and decodes a chunk again in halves where one of it is bad. `None` where the library
    /// has no need of that, or no way to.
    pub(crate) fn decode_isolating(&self, payloads: &[&[u8]]) -> Option<usize> {
        let Library::Avro { schema, id } = self else {
            return None;
        };
        let anew = || avro_decoder(schema, *id);
        let mut decoder = anew();
        let chunks = payloads.chunks(CHUNK);
        Some(
            chunks
                .map(|chunk| avro_rejects(&anew, &mut decoder, chunk))
                .sum(),
        )
    }
}

fn avro_decoder(schema: &str, id: u32) -> AvroDecoder {
    let fingerprint = Fingerprint::Id(id);
    let mut store = SchemaStore::new_with_type(FingerprintAlgorithm::Id);
    store
        .set(fingerprint, AvroSchema::new(schema.to_owned()))
        .expect("a schema");
    let builder = AvroReaderBuilder::new()
        .with_writer_schema_store(store)
        .with_active_fingerprint(fingerprint)
        .with_batch_size(BATCH_ROWS);
    builder.build_decoder().expect("a decoder")
}

/// Whether all of them are good; if not, what the decoder holds is lost.
fn avro_append(decoder: &mut AvroDecoder, payloads: &[&[u8]]) -> bool {
    for payload in payloads {
        // A cut record is no error, it only takes less than there is.
        if decoder.decode(payload).ok() != Some(payload.len()) {
            return false;
        }
        if decoder.batch_is_full() {
            drop(decoder.flush().expect("a batch"));
        }
    }
    true
}

fn avro_rejects(
    anew: &dyn Fn() -> AvroDecoder,
    decoder: &mut AvroDecoder,
    payloads: &[&[u8]],
) -> usize {
    if avro_append(decoder, payloads) {
        drop(decoder.flush().expect("a batch"));
        return 0;
    }
    *decoder = anew();
    match payloads {
        [_] => 1,
        more => {
            let (first, second) = more.split_at(more.len() / 2);
            avro_rejects(anew, decoder, first) + avro_rejects(anew, decoder, second)
        }
    }
}

/// The first message of a file's text.
fn first_message(text: &str) -> MessageDescriptor {
    struct One(String);
    impl FileResolver for One {
        fn open_file(&self, name: &str) -> Result<File, protox::Error> {
            match name {
                "one.proto" => File::from_source(name, &self.0),
                _ => Err(protox::Error::file_not_found(name)),
            }
        }
    }
    let mut resolver = ChainFileResolver::new();
    resolver.add(One(text.to_owned()));
    resolver.add(GoogleFileResolver::new());
    let mut compiler = Compiler::with_file_resolver(resolver);
    compiler.open_file("one.proto").expect("compiles");
    let pool = compiler.descriptor_pool();
    let file = pool.get_file_by_name("one.proto").expect("the file");
    file.messages().next().expect("a message")
}
