//! Protobuf messages without columns of their own as JSON text: `Struct`, `Value`, `ListValue`, `Any` and recursive messages. Text for people and JSON
//! functions: fields have their names of the `.proto`, enums their symbols, bytes are base64, times are strings, 64-bit numbers stay numbers.

use protox::prost_reflect::{
    DynamicMessage, FieldDescriptor, Kind, MapKey, MessageDescriptor, ReflectMessage as _, Value,
};

use crate::decode::json_text::JsonText;
use crate::decode::reject::{Code, Fault, Outcome};
use crate::decode::time;
use crate::decode::types::protobuf::{Meaning, meaning};

/// How large such a value may be: it becomes a tree of many times its size before it becomes text.
const BYTES_MAX: usize = 1 << 20;

/// How deep messages may nest, `Any`s inside of one another included.
const DEPTH_MAX: usize = 100;

/// Appends the message in `bytes` to `out`.
pub(super) fn write(message: &MessageDescriptor, bytes: &[u8], out: &mut Vec<u8>) -> Outcome {
    let mut writer = Writer {
        out: JsonText::new(out),
        depth: 0,
    };
    let message = decode(message, bytes)?;
    writer.message(&message)
}

fn decode(message: &MessageDescriptor, bytes: &[u8]) -> Outcome<DynamicMessage> {
    if bytes.len() > BYTES_MAX {
        let message = format!(
            "a `{}` of {} bytes is too large to become JSON text; the limit is {BYTES_MAX}",
            message.full_name(),
            bytes.len()
        );
        return Err(Fault::new(Code::TooLarge, message));
    }
    DynamicMessage::decode(message.clone(), bytes).map_err(|error| {
        let is_deep = error.to_string().contains("recursion limit");
        let code = if is_deep {
            Code::Depth
        } else {
            Code::InvalidEncoding
        };
        Fault::new(code, format!("a `{}`: {error}", message.full_name()))
    })
}

struct Writer<'a> {
    out: JsonText<'a>,
    depth: usize,
}

impl Writer<'_> {
    fn message(&mut self, message: &DynamicMessage) -> Outcome {
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            let message = format!("a recursive value nests deeper than {DEPTH_MAX}");
            return Err(Fault::new(Code::Depth, message));
        }
        let descriptor = message.descriptor();
        match (meaning(&descriptor), descriptor.full_name()) {
            (Meaning::Json, "google.protobuf.Struct") => match field(message, 1) {
                Some(fields) => self.plain(&fields)?,
                None => self.out.raw("{}"),
            },
            (Meaning::Json, "google.protobuf.ListValue") => match field(message, 1) {
                Some(values) => self.plain(&values)?,
                None => self.out.raw("[]"),
            },
            (Meaning::Json, "google.protobuf.Value") => self.any_value(message)?,
            (Meaning::Json, _) => self.any(message)?,
            (Meaning::Timestamp, _) => {
                let (seconds, nanos) = (number(message, 1), number(message, 2));
                let micros = seconds
                    .checked_mul(1_000_000)
                    .and_then(|micros| micros.checked_add(nanos / 1000));
                let micros = micros.ok_or_else(|| {
                    let message = format!("a Timestamp of {seconds} seconds is no point in time");
                    Fault::new(Code::InvalidTimestamp, message)
                })?;
                self.out.string(&time::format_timestamp(micros));
            }
            (Meaning::Duration, _) => {
                let (seconds, nanos) = (number(message, 1), number(message, 2));
                let sign = if seconds < 0 || nanos < 0 { "-" } else { "" };
                let (seconds, nanos) = (seconds.unsigned_abs(), nanos.unsigned_abs());
                self.out.string(&format!("{sign}{seconds}.{nanos:09}s"));
            }
            (Meaning::Wrapper, _) => match descriptor.get_field(1) {
                Some(value) => self.value(&message.get_field(&value), &value.kind())?,
                None => self.out.raw("null"),
            },
            (Meaning::Empty, _) => self.out.raw("{}"),
            (Meaning::Fields, _) => self.fields(message, None)?,
        }
        self.depth -= 1;
        Ok(())
    }

    fn fields(&mut self, message: &DynamicMessage, kind: Option<&str>) -> Outcome {
        self.out.raw("{");
        let mut count = 0;
        if let Some(kind) = kind {
            self.out.raw("\"@type\":");
            self.out.string(kind);
            count += 1;
        }
        for member in message.descriptor().fields() {
            if member.supports_presence() && !message.has_field(&member) {
                continue;
            }
            self.out.separate(count);
            count += 1;
            self.out.string(member.name());
            self.out.raw(":");
            self.member(&message.get_field(&member), &member)
                .map_err(|fault| fault.in_field(member.name()))?;
        }
        self.out.raw("}");
        Ok(())
    }

    fn member(&mut self, value: &Value, member: &FieldDescriptor) -> Outcome {
        let kind = member.kind();
        let entry = kind.as_message().filter(|_| member.is_map());
        let kind = match entry {
            Some(entry) => entry.map_entry_value_field().kind(),
            None => kind,
        };
        self.value(value, &kind)
    }

    fn value(&mut self, value: &Value, kind: &Kind) -> Outcome {
        match value {
            Value::Bool(value) => self.out.raw(if *value { "true" } else { "false" }),
            Value::I32(value) => self.out.raw(&value.to_string()),
            Value::I64(value) => self.out.raw(&value.to_string()),
            Value::U32(value) => self.out.raw(&value.to_string()),
            Value::U64(value) => self.out.raw(&value.to_string()),
            Value::F32(value) => self.out.number(value.is_finite(), &value.to_string()),
            Value::F64(value) => self.out.number(value.is_finite(), &value.to_string()),
            Value::String(text) => self.out.string(text),
            Value::Bytes(bytes) => self.out.base64(bytes),
            Value::EnumNumber(number) => {
                let symbol = kind
                    .as_enum()
                    .and_then(|symbols| symbols.get_value(*number));
                match symbol {
                    Some(symbol) => self.out.string(symbol.name()),
                    None => {
                        let message = format!("the enum has no value of the number {number}");
                        return Err(Fault::new(Code::EnumIndex, message));
                    }
                }
            }
            Value::Message(message) => self.message(message)?,
            Value::List(items) => {
                self.out.raw("[");
                for (index, item) in items.iter().enumerate() {
                    self.out.separate(index);
                    self.value(item, kind)?;
                }
                self.out.raw("]");
            }
            Value::Map(entries) => {
                let mut entries: Vec<(String, &Value)> = entries
                    .iter()
                    .map(|(key, value)| (key_text(key), value))
                    .collect();
                entries.sort_by(|one, other| one.0.cmp(&other.0));
                self.out.raw("{");
                for (index, (key, value)) in entries.iter().enumerate() {
                    self.out.separate(index);
                    self.out.string(key);
                    self.out.raw(":");
                    self.value(value, kind)?;
                }
                self.out.raw("}");
            }
        }
        Ok(())
    }

    /// The map of a `Struct` or the list of a `ListValue`.
    fn plain(&mut self, value: &Value) -> Outcome {
        // What is inside are messages, which need no kind to be told apart.
        self.value(value, &Kind::Bool)
    }

    fn any_value(&mut self, message: &DynamicMessage) -> Outcome {
        let mut set = message.fields();
        match set.next() {
            None => self.out.raw("null"),
            Some((member, _)) if member.name() == "null_value" => self.out.raw("null"),
            Some((member, value)) => self.value(value, &member.kind())?,
        }
        Ok(())
    }

    /// An `Any` as its message with `@type`, where the schema knows the type; else with its bytes.
    fn any(&mut self, message: &DynamicMessage) -> Outcome {
        let text = |number| match field(message, number) {
            Some(Value::String(text)) => text,
            _ => String::new(),
        };
        let url = text(1);
        let bytes = match field(message, 2) {
            Some(Value::Bytes(bytes)) => bytes,
            _ => Default::default(),
        };
        let name = url.rsplit('/').next().unwrap_or(&url);
        let descriptor = message.descriptor();
        if let Some(known) = descriptor.parent_pool().get_message_by_name(name) {
            let inner = decode(&known, &bytes)?;
            if meaning(&known) == Meaning::Fields {
                return self.fields(&inner, Some(&url));
            }
            self.out.raw("{\"@type\":");
            self.out.string(&url);
            self.out.raw(",\"value\":");
            self.message(&inner)?;
        } else {
            self.out.raw("{\"@type\":");
            self.out.string(&url);
            self.out.raw(",\"value\":");
            self.out.base64(&bytes);
        }
        self.out.raw("}");
        Ok(())
    }
}

fn field(message: &DynamicMessage, number: u32) -> Option<Value> {
    let value = message.get_field_by_number(number)?;
    Some(value.into_owned())
}

fn number(message: &DynamicMessage, place: u32) -> i64 {
    match field(message, place) {
        Some(Value::I64(value)) => value,
        Some(Value::I32(value)) => i64::from(value),
        _ => 0,
    }
}

fn key_text(key: &MapKey) -> String {
    match key {
        MapKey::Bool(key) => key.to_string(),
        MapKey::I32(key) => key.to_string(),
        MapKey::I64(key) => key.to_string(),
        MapKey::U32(key) => key.to_string(),
        MapKey::U64(key) => key.to_string(),
        MapKey::String(key) => key.clone(),
    }
}
