//! What the registry's schemas are parsed to, by their kind. Does not ask for them.

use std::sync::Arc;

use super::avro::schema::Schema;
use super::protobuf;
use super::types::Refusal;
use super::types::json_schema::Document;

/// A schema that records were written with, as the registry knows it.
#[derive(Debug)]
pub struct WriterSchema {
    parsed: Result<Parsed, String>,
}

#[derive(Debug)]
enum Parsed {
    Avro(Arc<Schema>),
    Json(Arc<Document>),
    Protobuf(Arc<protobuf::Schema>),
}

/// A schema that another one refers to, under the name by which it does.
#[derive(Debug, Clone)]
pub(super) struct Referenced {
    pub(super) name: String,
    pub(super) text: String,
}

impl WriterSchema {
    /// Parses a schema with all that it refers to, each after what it refers to itself. One that we cannot use is an answer too.
    pub(super) fn parse(kind: &str, text: &str, references: Vec<Referenced>) -> Self {
        let parsed = match kind {
            "AVRO" => {
                let texts: Vec<String> = references.into_iter().map(|it| it.text).collect();
                Schema::parse(text, &texts).map(|schema| Parsed::Avro(Arc::new(schema)))
            }
            "JSON" => {
                let texts: Vec<(String, String)> = references
                    .into_iter()
                    .map(|it| (it.name, it.text))
                    .collect();
                Document::parse(text, &texts).map(|document| Parsed::Json(Arc::new(document)))
            }
            "PROTOBUF" => {
                let texts = references.into_iter().map(|it| (it.name, it.text));
                protobuf::Schema::parse(text, texts.collect())
                    .map(|schema| Parsed::Protobuf(Arc::new(schema)))
            }
            other => Err(format!("the schema is of the unknown type {other}")),
        };
        WriterSchema { parsed }
    }

    pub(super) fn avro(&self) -> Result<&Arc<Schema>, Refusal> {
        let parsed = self.parsed()?;
        if let Parsed::Avro(schema) = parsed {
            return Ok(schema);
        }
        Err(parsed.instead_of("avro"))
    }

    pub(super) fn json(&self) -> Result<&Arc<Document>, Refusal> {
        let parsed = self.parsed()?;
        if let Parsed::Json(document) = parsed {
            return Ok(document);
        }
        Err(parsed.instead_of("json_schema"))
    }

    pub(super) fn protobuf(&self) -> Result<&Arc<protobuf::Schema>, Refusal> {
        let parsed = self.parsed()?;
        if let Parsed::Protobuf(schema) = parsed {
            return Ok(schema);
        }
        Err(parsed.instead_of("protobuf"))
    }

    /// The schema, or why records with it cannot be decoded.
    fn parsed(&self) -> Result<&Parsed, Refusal> {
        self.parsed
            .as_ref()
            .map_err(|reason| Refusal::new(reason.clone()))
    }
}

impl Parsed {
    fn instead_of(&self, format: &str) -> Refusal {
        let found = match self {
            Parsed::Avro(_) => "AVRO",
            Parsed::Json(_) => "JSON",
            Parsed::Protobuf(_) => "PROTOBUF",
        };
        Refusal::new(format!("the schema is {found}, but the format is {format}"))
    }
}
