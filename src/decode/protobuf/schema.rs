//! `.proto` text compiled in process, with its imports: from the registry's references or from files beside it. Does not know columns.

use std::collections::HashMap;
use std::path::Path;

use protox::Compiler;
use protox::file::{
    ChainFileResolver, File, FileResolver, GoogleFileResolver, IncludeFileResolver,
};
use protox::prost_reflect::{FileDescriptor, MessageDescriptor};

use super::wire::Wire;
use crate::decode::reject::{Code, Fault, Outcome, Words};
use crate::decode::types::Refusal;

/// The name of the schema itself among the files that it is compiled with.
const MAIN: &str = "lakeward/value.proto";

/// How deep a message index may go, which is how deep messages are declared inside one another.
const INDEXES_MAX: i64 = 64;

/// What Confluent's registry knows without a reference.
const KNOWN: &[(&str, &str)] = &[
    (
        "confluent/meta.proto",
        "syntax = \"proto3\"; package confluent; import \"google/protobuf/descriptor.proto\";
         message Meta { string doc = 1; map<string, string> params = 2; repeated string tags = 3; }
         extend google.protobuf.FileOptions { Meta file_meta = 1088; } extend google.protobuf.MessageOptions { Meta message_meta = 1088; }
         extend google.protobuf.FieldOptions { Meta field_meta = 1088; } extend google.protobuf.EnumOptions { Meta enum_meta = 1088; }
         extend google.protobuf.EnumValueOptions { Meta enum_value_meta = 1088; }",
    ),
    (
        "confluent/type/decimal.proto",
        "syntax = \"proto3\"; package confluent.type; message Decimal { bytes value = 1; uint32 precision = 2; int32 scale = 3; }",
    ),
];

/// A compiled schema.
#[derive(Debug)]
pub(crate) struct Schema {
    file: FileDescriptor,
}

/// Texts by the names that imports use.
struct Texts(HashMap<String, String>);

impl FileResolver for Texts {
    fn open_file(&self, name: &str) -> Result<File, protox::Error> {
        match self.0.get(name) {
            Some(text) => File::from_source(name, text),
            None => Err(protox::Error::file_not_found(name)),
        }
    }
}

impl Schema {
    /// Compiles `text` with the files that it imports, by their names.
    pub(crate) fn parse(text: &str, imports: Vec<(String, String)>) -> Result<Schema, String> {
        Schema::compile(text, imports, None)
    }

    /// Compiles a file; imports are looked up in its folder.
    pub(crate) fn parse_file(text: &str, folder: &Path) -> Result<Schema, String> {
        Schema::compile(text, Vec::new(), Some(folder))
    }

    fn compile(
        text: &str,
        imports: Vec<(String, String)>,
        folder: Option<&Path>,
    ) -> Result<Schema, String> {
        let known = KNOWN
            .iter()
            .map(|(name, text)| ((*name).to_owned(), (*text).to_owned()));
        let mut texts: HashMap<String, String> = known.chain(imports).collect();
        texts.insert(MAIN.to_owned(), text.to_owned());
        let mut resolver = ChainFileResolver::new();
        resolver.add(Texts(texts));
        if let Some(folder) = folder {
            resolver.add(IncludeFileResolver::new(folder.to_owned()));
        }
        resolver.add(GoogleFileResolver::new());
        let mut compiler = Compiler::with_file_resolver(resolver);
        compiler
            .open_file(MAIN)
            .map_err(|error| format!("the .proto text does not compile: {error}"))?;
        let file = compiler.descriptor_pool().get_file_by_name(MAIN);
        file.map(|file| Schema { file })
            .ok_or_else(|| "the .proto text does not compile".to_owned())
    }

    /// The message of a full name, or the file's first one.
    pub(crate) fn message(&self, name: Option<&str>) -> Result<MessageDescriptor, Refusal> {
        let Some(name) = name else {
            let first = self.file.messages().next();
            return first.ok_or_else(|| Refusal::new("the schema has no message"));
        };
        let found = self.file.parent_pool().get_message_by_name(name);
        found.ok_or_else(|| {
            let known: Vec<String> = self
                .file
                .messages()
                .map(|message| message.full_name().to_owned())
                .collect();
            Refusal::new(format!(
                "the schema has no message `{name}` (schema.message); it has {}",
                known.join(", ")
            ))
        })
    }

    /// The message that a registry frame's indexes select.
    pub(crate) fn select(&self, indexes: &Indexes) -> Option<MessageDescriptor> {
        let mut indexes = indexes.0.iter();
        let mut message = self.file.messages().nth(*indexes.next()?)?;
        for index in indexes {
            let child = message.child_messages().nth(*index)?;
            message = child;
        }
        Some(message)
    }
}

/// Which message of a schema a value is: the place among the file's messages, then the place inside of that one, and so on.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Indexes(Vec<usize>);

impl Indexes {
    /// Splits a frame's indexes from the value: their number and then each, as zig-zag numbers; a zero alone is the first message.
    pub(crate) fn split(bytes: &[u8]) -> Outcome<(Indexes, &[u8])> {
        if let [0, body @ ..] = bytes {
            return Ok((Indexes(vec![0]), body));
        }
        let mut wire = Wire::new(bytes);
        let bad = |fault: Box<Fault>| {
            let message = format!(
                "the frame's message indexes: {}",
                fault.message(Words::Whole)
            );
            Fault::new(fault.code, message)
        };
        let count = wire.zigzag().map_err(bad)?;
        if !(1..=INDEXES_MAX).contains(&count) {
            let message = format!("the frame has {count} message indexes, not 1 to {INDEXES_MAX}");
            return Err(Fault::new(Code::MessageIndex, message));
        }
        let mut indexes = Vec::new();
        for _ in 0..count {
            let index = wire.zigzag().map_err(bad)?;
            let Ok(index) = usize::try_from(index) else {
                let message = format!("the frame has the negative message index {index}");
                return Err(Fault::new(Code::MessageIndex, message));
            };
            indexes.push(index);
        }
        Ok((Indexes(indexes), wire.rest()))
    }
}

impl std::fmt::Display for Indexes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?}", self.0)
    }
}
