//! The page of the type mapping: what each source type becomes, found by mapping it. Owns the list of examples; decides no type.

use std::fmt::Write as _;

use arrow::datatypes::DataType;

use super::json_schema::Document;
use super::{Refusal, avro, json, protobuf};
use crate::decode::avro::schema::Schema;
use crate::decode::protobuf::Schema as ProtobufSchema;

/// Types of an Avro field.
const AVRO: &[&str] = &[
    r#""boolean""#,
    r#""int""#,
    r#""long""#,
    r#""float""#,
    r#""double""#,
    r#""string""#,
    r#""bytes""#,
    r#""null""#,
    r#"{"type":"enum","name":"E","symbols":["a","b"]}"#,
    r#"{"type":"fixed","name":"F","size":16}"#,
    r#"{"type":"string","logicalType":"uuid"}"#,
    r#"{"type":"bytes","logicalType":"decimal","precision":18,"scale":4}"#,
    r#"{"type":"bytes","logicalType":"decimal","precision":39,"scale":4}"#,
    r#"{"type":"int","logicalType":"date"}"#,
    r#"{"type":"int","logicalType":"time-millis"}"#,
    r#"{"type":"long","logicalType":"time-micros"}"#,
    r#"{"type":"long","logicalType":"timestamp-millis"}"#,
    r#"{"type":"long","logicalType":"timestamp-micros"}"#,
    r#"{"type":"long","logicalType":"timestamp-nanos"}"#,
    r#"{"type":"long","logicalType":"local-timestamp-micros"}"#,
    r#"{"type":"fixed","name":"D","size":12,"logicalType":"duration"}"#,
    r#"["null","string"]"#,
    r#"["int","long"]"#,
    r#"["float","double"]"#,
    r#"["null","string","long"]"#,
    r#"{"type":"array","items":"int"}"#,
    r#"{"type":"map","values":"int"}"#,
    r#"{"type":"record","name":"S","fields":[{"name":"a","type":"int"}]}"#,
    r#"{"type":"record","name":"S","fields":[]}"#,
    r#"["null","R"]"#,
];

/// Fields of a Protobuf message.
const PROTOBUF: &[&str] = &[
    "bool f = 1;",
    "int32 f = 1;",
    "sint32 f = 1;",
    "sfixed32 f = 1;",
    "uint32 f = 1;",
    "fixed32 f = 1;",
    "int64 f = 1;",
    "sint64 f = 1;",
    "sfixed64 f = 1;",
    "uint64 f = 1;",
    "fixed64 f = 1;",
    "float f = 1;",
    "double f = 1;",
    "string f = 1;",
    "bytes f = 1;",
    "E f = 1;",
    "optional int32 f = 1;",
    "repeated int32 f = 1;",
    "map<int32, string> f = 1;",
    "S f = 1;",
    "R f = 1;",
    "google.protobuf.Empty f = 1;",
    "google.protobuf.Timestamp f = 1;",
    "google.protobuf.Duration f = 1;",
    "google.protobuf.Int64Value f = 1;",
    "google.protobuf.UInt64Value f = 1;",
    "google.protobuf.StringValue f = 1;",
    "google.protobuf.Struct f = 1;",
    "google.protobuf.Any f = 1;",
];

/// Schemas of a JSON property.
const JSON_SCHEMA: &[&str] = &[
    r#"{"type":"boolean"}"#,
    r#"{"type":"integer"}"#,
    r#"{"type":"number"}"#,
    r#"{"type":"string"}"#,
    r#"{"type":["null","string"]}"#,
    r#"{"type":"string","format":"date-time"}"#,
    r#"{"type":"string","format":"date"}"#,
    r#"{"type":"string","format":"time"}"#,
    r#"{"type":"string","format":"uuid"}"#,
    r#"{"enum":["a","b"]}"#,
    r#"{"type":"array","items":{"type":"integer"}}"#,
    r#"{"type":"object","properties":{"a":{"type":"integer"}}}"#,
    r#"{"type":"object","additionalProperties":{"type":"integer"}}"#,
    r#"{"type":"object"}"#,
    r##"{"$ref":"#"}"##,
    r#"{"oneOf":[{"type":"string"},{"type":"integer"}]}"#,
];

/// The page, in Markdown.
pub fn markdown() -> String {
    let mut page = String::from(
        "# Type mapping, version 1\n\nWhat a field of a record becomes in the table. Every column allows null. Nothing is rounded, defaulted or made a text: a value that does not fit its column is a rejected record. The mapping version is a property of the table and never changes under it. This page is `lakeward reference types`: each line is what the code makes of the type beside it.\n",
    );
    section(&mut page, "Avro", "field's type", AVRO, of_avro);
    section(
        &mut page,
        "Protobuf",
        "field (S is `message S { int32 a = 1; }`, E an enum, R the message itself)",
        PROTOBUF,
        of_protobuf,
    );
    page.push_str("\nMembers of a oneof are columns beside one another, of which at most one is not null. A field without presence that is not there has its type's default; one with presence (`optional`, messages, members of a oneof, everything in proto2) is null.\n");
    section(
        &mut page,
        "JSON Schema",
        "property's schema",
        JSON_SCHEMA,
        of_json_schema,
    );
    page.push_str("\nWith `value.unknown_fields: rescue`, fields that the schema does not name are kept in the column `_rescued`: one JSON object with a member for each, named by its path.\n\n## Raw and text\n\n`raw` is one column `value` of binary, `string` one of string.\n");
    page
}

fn section(
    page: &mut String,
    title: &str,
    what: &str,
    examples: &[&str],
    map: impl Fn(&str) -> Result<DataType, Refusal>,
) {
    // Writing to a `String` cannot fail.
    let _infallible = write!(page, "\n## {title}\n\n| {what} | column |\n|---|---|\n");
    for example in examples {
        let column = match map(example) {
            Ok(data_type) => format!("`{}`", delta(&data_type)),
            Err(refusal) => format!("refused: {}", refusal.reason),
        };
        let _infallible = writeln!(page, "| `{example}` | {column} |");
    }
}

fn of_avro(kind: &str) -> Result<DataType, Refusal> {
    let text = format!(r#"{{"type":"record","name":"R","fields":[{{"name":"f","type":{kind}}}]}}"#);
    let schema = Schema::parse(&text, &[]).map_err(Refusal::new)?;
    first(avro::fields(&schema)?)
}

fn of_protobuf(declared: &str) -> Result<DataType, Refusal> {
    let imports: String = [
        "empty",
        "timestamp",
        "duration",
        "wrappers",
        "struct",
        "any",
    ]
    .iter()
    .map(|name| format!("import \"google/protobuf/{name}.proto\"; "))
    .collect();
    let text = format!(
        "syntax = \"proto3\"; {imports} message R {{ {declared} }} message S {{ int32 a = 1; }} enum E {{ A = 0; }}"
    );
    let schema = ProtobufSchema::parse(&text, Vec::new()).map_err(Refusal::new)?;
    match protobuf::root(&schema.message(None)?)? {
        super::Root::Record(fields) => first(fields),
        super::Root::Single(data_type) => Ok(data_type),
    }
}

fn of_json_schema(schema: &str) -> Result<DataType, Refusal> {
    let text = format!(r#"{{"type":"object","properties":{{"f":{schema}}}}}"#);
    let shape = Document::parse(&text, &[]).map_err(Refusal::new)?.shape()?;
    match json::root(&shape)? {
        super::Root::Record(fields) => first(fields),
        super::Root::Single(data_type) => Ok(data_type),
    }
}

fn first(fields: arrow::datatypes::Fields) -> Result<DataType, Refusal> {
    let field = fields.first();
    field
        .map(|field| field.data_type().clone())
        .ok_or_else(|| Refusal::new("no column"))
}

/// A type in Delta's words.
fn delta(data_type: &DataType) -> String {
    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "Arrow has many types that no table of ours writes"
    )]
    match data_type {
        DataType::Boolean => "boolean".to_owned(),
        DataType::Int32 => "integer".to_owned(),
        DataType::Int64 => "long".to_owned(),
        DataType::Float32 => "float".to_owned(),
        DataType::Float64 => "double".to_owned(),
        DataType::Utf8 => "string".to_owned(),
        DataType::Binary => "binary".to_owned(),
        DataType::Date32 => "date".to_owned(),
        DataType::Timestamp(..) => "timestamp".to_owned(),
        DataType::Decimal128(precision, scale) => format!("decimal({precision},{scale})"),
        DataType::List(item) => format!("array<{}>", delta(item.data_type())),
        DataType::Map(entries, _) => match crate::decode::builder::map_value(entries.data_type()) {
            Some(value) => format!("map<string,{}>", delta(value.data_type())),
            None => "map".to_owned(),
        },
        DataType::Struct(fields) => {
            let members: Vec<String> = fields
                .iter()
                .map(|field| format!("{}: {}", field.name(), delta(field.data_type())))
                .collect();
            format!("struct<{}>", members.join(", "))
        }
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn the_page_of_the_type_mapping_is_fresh() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/type-mapping.md");
        let fresh = markdown();
        if std::fs::read_to_string(&path).unwrap_or_default() != fresh {
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(&path, &fresh).unwrap();
            panic!("docs/type-mapping.md was stale and is rewritten; commit it");
        }
        assert!(
            fresh.contains("| `uint64 f = 1;` | `decimal(20,0)` |") && fresh.contains("refused: ")
        );
    }
}
