//! Avro's single-object encoding: the marker, and the fingerprint of a schema's Parsing Canonical Form. Does not parse schemas for decoding.

use std::fmt::Write as _;

use serde_json::{Map, Value};

use crate::decode::reject::{Code, Fault, Outcome, Shown};

const MARKER: [u8; 2] = [0xc3, 0x01];

/// The fingerprint of nothing, which is also the polynomial (CRC-64-AVRO).
const EMPTY: u64 = 0xc15d_213a_a4d7_a795;

/// The attributes that the canonical form keeps, in its order.
const KEPT: [&str; 7] = [
    "name", "type", "fields", "symbols", "items", "values", "size",
];

/// The value behind the marker, if the fingerprint is the expected one.
pub(crate) fn unwrap(value: &[u8], expected: u64) -> Outcome<&[u8]> {
    let Some((head, body)) = value.split_first_chunk::<10>() else {
        let message = format!(
            "the value {} ends inside of the ten bytes of Avro's single-object marker",
            Shown(value)
        );
        return Err(Fault::new(Code::Truncated, message));
    };
    let [a, b, fingerprint @ ..] = *head;
    if [a, b] != MARKER {
        let message = format!(
            "the value {} does not begin with Avro's single-object marker c3 01",
            Shown(value)
        );
        return Err(Fault::new(Code::BadMagic, message));
    }
    let found = u64::from_le_bytes(fingerprint);
    if found != expected {
        let message = format!(
            "the value was written with the schema of fingerprint {found:016x}; value.schema.file has {expected:016x}"
        );
        return Err(Fault::new(Code::UnknownSchemaId, message));
    }
    Ok(body)
}

/// The 64-bit fingerprint of a schema.
pub(crate) fn of(text: &str) -> Result<u64, String> {
    let schema: Value =
        serde_json::from_str(text).map_err(|error| format!("the schema is not JSON: {error}"))?;
    let mut canonical = String::new();
    write(&schema, "", &mut canonical);
    Ok(crc(canonical.as_bytes()))
}

fn crc(bytes: &[u8]) -> u64 {
    let step = |crc: u64, byte: &u8| {
        let mut low = (crc ^ u64::from(*byte)) & 0xff;
        for _ in 0..8 {
            low = (low >> 1) ^ (EMPTY & 0u64.wrapping_sub(low & 1));
        }
        (crc >> 8) ^ low
    };
    bytes.iter().fold(EMPTY, step)
}

fn write(schema: &Value, namespace: &str, out: &mut String) {
    match schema {
        Value::String(name) => quote(&full_name(name, namespace), out),
        Value::Array(branches) => list(branches, out, |branch, out| write(branch, namespace, out)),
        Value::Object(object) => complex(object, namespace, out),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

fn complex(object: &Map<String, Value>, namespace: &str, out: &mut String) {
    let word = object.get("type").and_then(Value::as_str);
    let is_plain = KEPT
        .iter()
        .all(|key| *key == "type" || !object.contains_key(*key));
    if let Some(kind) = object.get("type").filter(|_| is_plain) {
        return write(kind, namespace, out);
    }
    let is_named = matches!(word, Some("record" | "error" | "enum" | "fixed"));
    let name = object.get("name").and_then(Value::as_str).unwrap_or("");
    let own = object.get("namespace").and_then(Value::as_str);
    let full = if is_named {
        full_name(name, own.unwrap_or(namespace))
    } else {
        name.to_owned()
    };
    let inner = match full.rsplit_once('.') {
        Some((inner, _)) if is_named => inner,
        Some(_) | None if is_named => "",
        Some(_) | None => namespace,
    };
    out.push('{');
    let mut is_first = true;
    for key in KEPT {
        let Some(value) = object.get(key) else {
            continue;
        };
        if !is_first {
            out.push(',');
        }
        is_first = false;
        // Writing to a `String` cannot fail.
        let _infallible = write!(out, "\"{key}\":");
        match (key, value) {
            ("name", _) => quote(&full, out),
            ("type", Value::String(word)) if is_named || is_container(word) => quote(word, out),
            ("fields", Value::Array(fields)) => list(fields, out, |field, out| match field {
                Value::Object(field) => self::field(field, inner, out),
                Value::Null
                | Value::Bool(_)
                | Value::Number(_)
                | Value::String(_)
                | Value::Array(_) => {}
            }),
            ("symbols" | "size", _) => {
                let _infallible = write!(out, "{value}");
            }
            (_, _) => write(value, inner, out),
        }
    }
    out.push('}');
}

fn field(field: &Map<String, Value>, namespace: &str, out: &mut String) {
    out.push_str("{\"name\":");
    quote(field.get("name").and_then(Value::as_str).unwrap_or(""), out);
    out.push_str(",\"type\":");
    if let Some(kind) = field.get("type") {
        write(kind, namespace, out);
    }
    out.push('}');
}

fn list(values: &[Value], out: &mut String, one: impl Fn(&Value, &mut String)) {
    out.push('[');
    for (index, value) in values.iter().enumerate() {
        if index > 0 {
            out.push(',');
        }
        one(value, out);
    }
    out.push(']');
}

fn quote(text: &str, out: &mut String) {
    let _infallible = write!(out, "{}", Value::from(text));
}

fn is_container(word: &str) -> bool {
    matches!(word, "array" | "map")
}

/// A name with its namespace; the primitive types have none.
fn full_name(name: &str, namespace: &str) -> String {
    const PRIMITIVES: [&str; 8] = [
        "null", "boolean", "int", "long", "float", "double", "bytes", "string",
    ];
    if name.contains('.') || namespace.is_empty() || PRIMITIVES.contains(&name) {
        return name.to_owned();
    }
    format!("{namespace}.{name}")
}

#[cfg(test)]
mod tests {
    use apache_avro::rabin::Rabin;

    use super::*;

    /// apache-avro keeps `{"type":"int"}`, which the specification reduces to `"int"`; the number is that of Avro's own test data.
    #[test]
    fn a_primitive_type_is_its_name_whatever_is_written_beside_it() {
        for text in [r#""int""#, r#"{"type":"int","logicalType":"date"}"#] {
            assert_eq!(of(text), Ok(0x7275_d51a_3f39_5c8f));
        }
    }

    #[test]
    fn fingerprints_are_those_of_apache_avro() {
        for text in [
            r#""string""#,
            r#"{"type":"fixed","name":"F","size":16,"doc":"x"}"#,
            r#"{"type":"array","items":"string","doc":"x"}"#,
            r#"{"type":"record","name":"R","namespace":"a.b","doc":"d","fields":[{"name":"id","type":"long","default":0},
                {"name":"next","type":["null","R"]},{"name":"e","type":{"type":"enum","name":"E","symbols":["x","y"]}},
                {"name":"e2","type":"E"},{"name":"m","type":{"type":"map","values":{"type":"record","name":"c.S","fields":[{"name":"t","type":"a.b.E"}]}}}]}"#,
        ] {
            let theirs = apache_avro::Schema::parse_str(text).unwrap();
            let expected = theirs.fingerprint::<Rabin>().bytes;
            let ours = of(text).unwrap().to_le_bytes();
            assert_eq!(
                ours.as_slice(),
                expected,
                "{text}: {}",
                theirs.canonical_form()
            );
        }
    }
}
