//! Avro schemas as a graph: parses the JSON of a schema and its references, with names, namespaces and logical types resolved. Does not know
//! columns.
//!
//! Lakeward parses schemas itself because apache-avro forgets whether a uuid is text or 16 bytes and panics on a malformed name.

use std::collections::HashMap;

use serde_json::{Map, Value};

use crate::config::settings::Timestamps;

/// How deep types may nest; a named type counts where it is defined.
const DEPTH_MAX: usize = 128;

/// A schema with every named type that it uses.
#[derive(Debug, Clone)]
pub(crate) struct Schema {
    pub(crate) root: Node,
    /// What becomes of timestamps that no column holds as they are.
    pub(crate) timestamps: Timestamps,
    named: Vec<Named>,
    /// The fewest bytes that a value of each named type takes.
    bytes_min: Vec<usize>,
}

/// A type, or the place of a named type in its schema.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Node {
    Null,
    Boolean,
    Int,
    Long,
    Float,
    Double,
    Bytes,
    String,
    Uuid,
    /// Two's complement bytes, with precision and scale.
    Decimal(u32, u32),
    Date,
    TimeMillis,
    TimeMicros,
    TimestampMillis,
    TimestampMicros,
    TimestampNanos,
    /// Without a zone.
    LocalTimestamp(Unit),
    Array(Box<Node>),
    Map(Box<Node>),
    Union(Vec<Node>),
    Named(usize),
}

impl Node {
    /// The place of a named type.
    pub(crate) fn place(&self) -> Option<usize> {
        if let Node::Named(place) = self {
            Some(*place)
        } else {
            None
        }
    }
}

/// What a time counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unit {
    Millis,
    Micros,
    Nanos,
}

/// A type that has a name.
#[derive(Debug, Clone)]
pub(crate) struct Named {
    /// With its namespace.
    pub(crate) full_name: String,
    pub(crate) kind: NamedKind,
}

#[derive(Debug, Clone)]
pub(crate) enum NamedKind {
    Record(Vec<Field>),
    Enum(Vec<String>),
    Fixed(usize, FixedKind),
}

/// What the bytes of a fixed mean.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FixedKind {
    Plain,
    Decimal(u32, u32),
    Uuid,
    Duration,
}

#[derive(Debug, Clone)]
pub(crate) struct Field {
    pub(crate) name: String,
    pub(crate) node: Node,
}

impl Named {
    /// The name without its namespace.
    pub(crate) fn short_name(&self) -> &str {
        self.full_name.rsplit('.').next().unwrap_or(&self.full_name)
    }
}

impl Schema {
    /// Parses `text`, which may use the named types of `references`, each given after those that it uses itself.
    pub(crate) fn parse(text: &str, references: &[String]) -> Result<Schema, String> {
        let mut parser = Parser::default();
        for reference in references {
            parser.parse_text(reference)?;
        }
        let root = parser.parse_text(text)?;
        let mut schema = Schema {
            root,
            timestamps: Timestamps::default(),
            named: parser.named,
            bytes_min: Vec::new(),
        };
        let mut bytes_min = vec![None; schema.named.len()];
        (0..schema.named.len()).for_each(|place| {
            schema.measure(&Node::Named(place), &mut bytes_min);
        });
        schema.bytes_min = bytes_min
            .into_iter()
            .map(|bytes| bytes.unwrap_or(0))
            .collect();
        Ok(schema)
    }

    /// The full name of the record that every value is, if it is one.
    pub(crate) fn record_name(&self) -> Option<&str> {
        let named = self.named(self.root.place()?)?;
        matches!(named.kind, NamedKind::Record(_)).then_some(named.full_name.as_str())
    }

    /// The same schema, of whose timestamps these become something.
    pub(crate) fn with(&self, timestamps: Timestamps) -> Schema {
        Schema {
            timestamps,
            ..self.clone()
        }
    }

    /// The fewest bytes that a value takes.
    pub(crate) fn bytes_min(&self, node: &Node) -> usize {
        if let Node::Named(place) = node {
            return self.bytes_min.get(*place).copied().unwrap_or(0);
        }
        self.measure(node, &mut [])
    }

    /// Measures a type once; what it holds of itself counts as nothing.
    fn measure(&self, node: &Node, known: &mut [Option<usize>]) -> usize {
        let place = match node {
            Node::Null => return 0,
            Node::Float => return 4,
            Node::Double => return 8,
            Node::Boolean
            | Node::Int
            | Node::Long
            | Node::Bytes
            | Node::String
            | Node::Uuid
            | Node::Decimal(_, _) => return 1,
            Node::Date
            | Node::TimeMillis
            | Node::TimeMicros
            | Node::TimestampMillis
            | Node::TimestampMicros
            | Node::TimestampNanos
            | Node::LocalTimestamp(_) => return 1,
            Node::Array(_) | Node::Map(_) | Node::Union(_) => return 1,
            Node::Named(place) => *place,
        };
        if let Some(Some(bytes)) = known.get(place) {
            return *bytes;
        }
        if let Some(slot) = known.get_mut(place) {
            *slot = Some(0);
        }
        let bytes = match self.named(place).map(|named| &named.kind) {
            Some(NamedKind::Enum(_)) => 1,
            Some(NamedKind::Fixed(size, _)) => *size,
            Some(NamedKind::Record(members)) => members.iter().fold(0, |sum: usize, member| {
                sum.saturating_add(self.measure(&member.node, known))
            }),
            None => 0,
        };
        if let Some(slot) = known.get_mut(place) {
            *slot = Some(bytes);
        }
        bytes
    }

    /// The named type at a place that this schema's nodes hold.
    pub(crate) fn named(&self, place: usize) -> Option<&Named> {
        self.named.get(place)
    }

    /// What Avro calls a type in a union: a primitive's or container's word, or the short name of a named type.
    pub(crate) fn type_name<'a>(&'a self, node: &Node) -> &'a str {
        match node {
            Node::Null => "null",
            Node::Boolean => "boolean",
            Node::Int | Node::Date | Node::TimeMillis => "int",
            Node::Long
            | Node::TimeMicros
            | Node::TimestampMillis
            | Node::TimestampMicros
            | Node::TimestampNanos
            | Node::LocalTimestamp(_) => "long",
            Node::Float => "float",
            Node::Double => "double",
            Node::Bytes | Node::Decimal(_, _) => "bytes",
            Node::String | Node::Uuid => "string",
            Node::Array(_) => "array",
            Node::Map(_) => "map",
            Node::Union(_) => "union",
            Node::Named(place) => self.named(*place).map_or("", Named::short_name),
        }
    }
}

#[derive(Debug, Default)]
struct Parser {
    named: Vec<Named>,
    places: HashMap<String, usize>,
    depth: usize,
}

impl Parser {
    fn parse_text(&mut self, text: &str) -> Result<Node, String> {
        // A registry hands out a primitive either as `"string"` or as `{"type": "string"}`; a bare word is not JSON but is seen in files.
        let value: Value = serde_json::from_str(text)
            .map_err(|error| format!("the Avro schema is not JSON: {error}"))?;
        self.parse(&value, "")
    }

    fn parse(&mut self, value: &Value, namespace: &str) -> Result<Node, String> {
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            return Err(format!("the Avro schema nests deeper than {DEPTH_MAX}"));
        }
        let node = match value {
            Value::String(name) => self.parse_name(name, namespace),
            Value::Array(branches) => self.parse_union(branches, namespace),
            Value::Object(object) => self.parse_object(object, namespace),
            Value::Null | Value::Bool(_) | Value::Number(_) => {
                Err(format!("{value} is no Avro type"))
            }
        };
        self.depth -= 1;
        node
    }

    fn parse_name(&self, name: &str, namespace: &str) -> Result<Node, String> {
        let node = match name {
            "null" => Node::Null,
            "boolean" => Node::Boolean,
            "int" => Node::Int,
            "long" => Node::Long,
            "float" => Node::Float,
            "double" => Node::Double,
            "bytes" => Node::Bytes,
            "string" => Node::String,
            _ => {
                let full_name = qualify(name, namespace);
                // A name that is not in the enclosing namespace may lie in none.
                let place = self
                    .places
                    .get(&full_name)
                    .or_else(|| self.places.get(name));
                Node::Named(
                    *place.ok_or_else(|| format!("the Avro type `{full_name}` is not defined"))?,
                )
            }
        };
        Ok(node)
    }

    fn parse_union(&mut self, branches: &[Value], namespace: &str) -> Result<Node, String> {
        let mut nodes = Vec::with_capacity(branches.len());
        for branch in branches {
            let node = self.parse(branch, namespace)?;
            if matches!(node, Node::Union(_)) {
                return Err("an Avro union holds another union directly".to_owned());
            }
            if nodes.contains(&node) {
                return Err(format!("an Avro union has the branch {branch} twice"));
            }
            nodes.push(node);
        }
        if nodes.is_empty() {
            return Err("an Avro union has no branch".to_owned());
        }
        Ok(Node::Union(nodes))
    }

    fn parse_object(
        &mut self,
        object: &Map<String, Value>,
        namespace: &str,
    ) -> Result<Node, String> {
        let Some(Value::String(word)) = object.get("type") else {
            let inner = object.get("type").ok_or("an Avro type has no `type`")?;
            return self.parse(inner, namespace);
        };
        match word.as_str() {
            "record" | "error" => self.parse_record(object, namespace),
            "enum" => {
                let symbols =
                    strings(object.get("symbols")).ok_or("an Avro enum has no `symbols`")?;
                let place = self.define(object, namespace)?;
                self.complete(place, NamedKind::Enum(symbols))
            }
            "fixed" => self.parse_fixed(object, namespace),
            "array" => {
                let items = object.get("items").ok_or("an Avro array has no `items`")?;
                Ok(Node::Array(Box::new(self.parse(items, namespace)?)))
            }
            "map" => {
                let values = object.get("values").ok_or("an Avro map has no `values`")?;
                Ok(Node::Map(Box::new(self.parse(values, namespace)?)))
            }
            _ => Ok(with_logical_type(self.parse_name(word, namespace)?, object)),
        }
    }

    fn parse_record(
        &mut self,
        object: &Map<String, Value>,
        namespace: &str,
    ) -> Result<Node, String> {
        let place = self.define(object, namespace)?;
        let name = qualified_name(object, namespace)?;
        let inner = name
            .rsplit_once('.')
            .map_or("", |(inner, _)| inner)
            .to_owned();
        let Some(Value::Array(members)) = object.get("fields") else {
            return Err(format!("the Avro record `{name}` has no `fields`"));
        };
        let mut fields: Vec<Field> = Vec::with_capacity(members.len());
        for member in members {
            let field_name = member.get("name").and_then(Value::as_str);
            let field_name = field_name
                .ok_or_else(|| format!("a field of the Avro record `{name}` has no `name`"))?;
            if fields.iter().any(|field| field.name == field_name) {
                return Err(format!(
                    "the Avro record `{name}` has the field `{field_name}` twice"
                ));
            }
            let kind = member
                .get("type")
                .ok_or_else(|| format!("the field `{field_name}` of `{name}` has no `type`"))?;
            fields.push(Field {
                name: field_name.to_owned(),
                node: self.parse(kind, &inner)?,
            });
        }
        self.complete(place, NamedKind::Record(fields))
    }

    fn parse_fixed(
        &mut self,
        object: &Map<String, Value>,
        namespace: &str,
    ) -> Result<Node, String> {
        let size = object
            .get("size")
            .and_then(Value::as_u64)
            .and_then(|size| usize::try_from(size).ok());
        let size = size.ok_or("an Avro fixed has no `size`")?;
        let kind = match object.get("logicalType").and_then(Value::as_str) {
            Some("decimal") => decimal(object).map_or(FixedKind::Plain, |(precision, scale)| {
                FixedKind::Decimal(precision, scale)
            }),
            Some("uuid") if size == 16 => FixedKind::Uuid,
            Some("duration") if size == 12 => FixedKind::Duration,
            Some(_) | None => FixedKind::Plain,
        };
        let place = self.define(object, namespace)?;
        self.complete(place, NamedKind::Fixed(size, kind))
    }

    /// Gives a named type its place before it is complete, so that it can name itself.
    fn define(&mut self, object: &Map<String, Value>, namespace: &str) -> Result<usize, String> {
        let full_name = qualified_name(object, namespace)?;
        let place = self.named.len();
        if self.places.insert(full_name.clone(), place).is_some() {
            return Err(format!("the Avro type `{full_name}` is defined twice"));
        }
        self.named.push(Named {
            full_name,
            kind: NamedKind::Enum(Vec::new()),
        });
        Ok(place)
    }

    fn complete(&mut self, place: usize, kind: NamedKind) -> Result<Node, String> {
        let named = self
            .named
            .get_mut(place)
            .ok_or("an Avro type has no place")?;
        named.kind = kind;
        Ok(Node::Named(place))
    }
}

/// Applies `logicalType`; one that does not fit its type is ignored, as the specification says.
fn with_logical_type(node: Node, object: &Map<String, Value>) -> Node {
    let logical_type = object
        .get("logicalType")
        .and_then(Value::as_str)
        .unwrap_or("");
    match (&node, logical_type) {
        (Node::Bytes, "decimal") => {
            decimal(object).map_or(node, |(precision, scale)| Node::Decimal(precision, scale))
        }
        (Node::String, "uuid") => Node::Uuid,
        (Node::Int, "date") => Node::Date,
        (Node::Int, "time-millis") => Node::TimeMillis,
        (Node::Long, "time-micros") => Node::TimeMicros,
        (Node::Long, "timestamp-millis") => Node::TimestampMillis,
        (Node::Long, "timestamp-micros") => Node::TimestampMicros,
        (Node::Long, "timestamp-nanos") => Node::TimestampNanos,
        (Node::Long, "local-timestamp-millis") => Node::LocalTimestamp(Unit::Millis),
        (Node::Long, "local-timestamp-micros") => Node::LocalTimestamp(Unit::Micros),
        (Node::Long, "local-timestamp-nanos") => Node::LocalTimestamp(Unit::Nanos),
        (_, _) => node,
    }
}

/// Precision and scale, if they make a decimal.
fn decimal(object: &Map<String, Value>) -> Option<(u32, u32)> {
    let number = |key: &str| {
        object
            .get(key)
            .map(|value| value.as_u64().and_then(|number| u32::try_from(number).ok()))
    };
    let precision = number("precision")??;
    let scale = number("scale").unwrap_or(Some(0))?;
    (precision > 0 && scale <= precision).then_some((precision, scale))
}

fn qualified_name(object: &Map<String, Value>, namespace: &str) -> Result<String, String> {
    let name = object.get("name").and_then(Value::as_str).unwrap_or("");
    if name.is_empty() || name.ends_with('.') {
        return Err("a named Avro type has no `name`".to_owned());
    }
    let namespace = object
        .get("namespace")
        .and_then(Value::as_str)
        .unwrap_or(namespace);
    Ok(qualify(name, namespace))
}

fn qualify(name: &str, namespace: &str) -> String {
    match name.strip_prefix('.') {
        Some(name) => name.to_owned(),
        None if name.contains('.') || namespace.is_empty() => name.to_owned(),
        None => format!("{namespace}.{name}"),
    }
}

fn strings(value: Option<&Value>) -> Option<Vec<String>> {
    value?
        .as_array()?
        .iter()
        .map(|symbol| symbol.as_str().map(str::to_owned))
        .collect()
}
