//! JSON Schema to the shapes of JSON values. Constraints (minimum, pattern, required) are not checked; what would change the shape and is not
//! mapped is refused by name. Does not read records.

use serde_json::{Map, Value};

use super::json::{Member, Numbers, Shape};
use super::{COLUMNS_MAX, DEPTH_MAX, Refusal};

/// Keywords that can change the shape of a value and have no mapping.
const REFUSED: &[&str] = &[
    "allOf",
    "not",
    "if",
    "then",
    "else",
    "patternProperties",
    "propertyNames",
    "dependencies",
    "dependentSchemas",
    "prefixItems",
    "additionalItems",
    "unevaluatedItems",
    "unevaluatedProperties",
    "contains",
    "$dynamicRef",
    "$recursiveRef",
];

/// A JSON Schema with the documents that it refers to by name.
#[derive(Debug)]
pub(crate) struct Document {
    root: Value,
    others: Vec<(String, Value)>,
}

impl Document {
    /// Parses a schema and what it refers to, by the names that its `$ref` uses.
    pub(crate) fn parse(text: &str, references: &[(String, String)]) -> Result<Document, String> {
        let parse = |text: &str| {
            serde_json::from_str::<Value>(text)
                .map_err(|error| format!("the JSON Schema is not JSON: {error}"))
        };
        let others = references
            .iter()
            .map(|(name, text)| Ok((name.clone(), parse(text)?)))
            .collect::<Result<_, String>>()?;
        Ok(Document {
            root: parse(text)?,
            others,
        })
    }

    fn named(&self, name: &str) -> Option<&Value> {
        let is_it = |document: &Value| document.get("$id").and_then(Value::as_str) == Some(name);
        let mut others = self.others.iter();
        let found = others.find(|(other, document)| other == name || is_it(document));
        let found = found.map(|(_, document)| document);
        found.or(Some(&self.root).filter(|root| is_it(root)))
    }

    /// The shape of its values.
    pub(crate) fn shape(&self) -> Result<Shape, Refusal> {
        let mut walk = Walk {
            document: self,
            root: &self.root,
            open: Vec::new(),
            objects: 0,
            depth: 0,
            columns: 0,
        };
        walk.shape(&self.root)
    }
}

/// Refuses a shape that is no object with properties.
pub(crate) fn of_object(shape: Shape) -> Result<Shape, Refusal> {
    if matches!(shape, Shape::Struct(_)) {
        return Ok(shape);
    }
    Err(Refusal::new(
        "the root of the JSON Schema must be an object with `properties`",
    ))
}

struct Walk<'a> {
    document: &'a Document,
    /// Where references without a document's name lead.
    root: &'a Value,
    /// The references that enclose the place, where recursion ends: the document's address and the pointer, and how many objects are around.
    open: Vec<(*const Value, &'a str, usize)>,
    objects: usize,
    depth: usize,
    columns: usize,
}

impl<'a> Walk<'a> {
    fn shape(&mut self, schema: &'a Value) -> Result<Shape, Refusal> {
        self.depth += 1;
        self.columns += 1;
        if self.depth > DEPTH_MAX || self.columns > COLUMNS_MAX {
            let reason = format!(
                "the JSON Schema nests deeper than {DEPTH_MAX} or has more than {COLUMNS_MAX} fields"
            );
            return Err(Refusal::new(reason));
        }
        let Value::Object(object) = schema else {
            return Err(Refusal::new("a schema must be an object with a `type`"));
        };
        if let Some(keyword) = REFUSED
            .iter()
            .find(|keyword| object.contains_key(**keyword))
        {
            return Err(Refusal::new(format!(
                "the JSON Schema keyword `{keyword}` is not supported"
            )));
        }
        let shape = if let Some(Value::String(reference)) = object.get("$ref") {
            self.reference(reference)
        } else if let Some(branches) = object.get("oneOf").or_else(|| object.get("anyOf")) {
            self.nullable_branch(branches)
        } else {
            self.typed(object)
        };
        self.depth -= 1;
        shape
    }

    fn reference(&mut self, reference: &'a str) -> Result<Shape, Refusal> {
        let (name, pointer) = reference.split_once('#').unwrap_or((reference, ""));
        let root = if name.is_empty() {
            Some(self.root)
        } else {
            self.document.named(name)
        };
        let target = root.and_then(|root| {
            let is_pointer = pointer.is_empty() || pointer.starts_with('/');
            let target = root.pointer(pointer).filter(|_| is_pointer)?;
            Some((root, target))
        });
        let Some((root, target)) = target else {
            return Err(Refusal::new(format!(
                "the `$ref` {reference:?} does not lead to a place in the same file or in one of its references"
            )));
        };
        let place = (std::ptr::from_ref(root), pointer);
        let is_whole = pointer.is_empty() && std::ptr::eq(root, &raw const self.document.root);
        if is_whole {
            return Ok(Shape::Recursion(0));
        }
        let mut open = self.open.iter();
        if let Some((_, _, objects)) = open.find(|(root, pointer, _)| (*root, *pointer) == place) {
            return Ok(Shape::Recursion(*objects));
        }
        self.open.push((place.0, place.1, self.objects));
        let outer = std::mem::replace(&mut self.root, root);
        let shape = self.shape(target)?;
        self.root = outer;
        self.open.pop();
        Ok(shape)
    }

    /// `oneOf` or `anyOf` of null and one schema.
    fn nullable_branch(&mut self, branches: &'a Value) -> Result<Shape, Refusal> {
        let branches = branches.as_array().map_or(&[][..], Vec::as_slice);
        let is_null = |branch: &&Value| branch.get("type").and_then(Value::as_str) == Some("null");
        let mut present = branches.iter().filter(|branch| !is_null(branch));
        match (present.next(), present.next()) {
            (Some(branch), None) => self.shape(branch),
            (_, _) => Err(Refusal::new(
                "`oneOf` and `anyOf` are supported only as [null, one schema]",
            )),
        }
    }

    fn typed(&mut self, object: &'a Map<String, Value>) -> Result<Shape, Refusal> {
        match type_word(object)? {
            "boolean" => Ok(Shape::Boolean),
            "integer" => Ok(Shape::Long),
            "number" => Ok(Shape::Double),
            "string" => Ok(text_shape(object)),
            "array" => match object.get("items") {
                Some(items @ Value::Object(_)) => Ok(Shape::Array(Box::new(
                    self.shape(items).map_err(|refusal| refusal.under("[]"))?,
                ))),
                _ => Err(Refusal::new("an array needs `items` with one schema")),
            },
            "object" => self.object(object),
            other => Err(Refusal::new(format!(
                "the JSON Schema type `{other}` is not supported"
            ))),
        }
    }

    fn object(&mut self, object: &'a Map<String, Value>) -> Result<Shape, Refusal> {
        let properties = object
            .get("properties")
            .and_then(Value::as_object)
            .filter(|properties| !properties.is_empty());
        let Some(properties) = properties else {
            return match object.get("additionalProperties") {
                Some(values @ Value::Object(schema)) if !schema.is_empty() => Ok(Shape::Map(
                    Box::new(self.shape(values).map_err(|refusal| refusal.under("[]"))?),
                )),
                Some(_) | None => Ok(Shape::Any),
            };
        };
        let mut members = Vec::with_capacity(properties.len());
        self.objects += 1;
        for (name, schema) in properties {
            let shape = self.shape(schema).map_err(|refusal| refusal.under(name))?;
            members.push(Member {
                name: name.clone(),
                shape,
            });
        }
        self.objects -= 1;
        Ok(Shape::Struct(members))
    }
}

/// The one type besides null.
fn type_word(object: &Map<String, Value>) -> Result<&str, Refusal> {
    match object.get("type") {
        Some(Value::String(word)) => Ok(word),
        Some(Value::Array(words)) => {
            let mut present = words
                .iter()
                .filter_map(Value::as_str)
                .filter(|word| *word != "null");
            match (present.next(), present.next()) {
                (Some(word), None) => Ok(word),
                (_, _) => Err(Refusal::new(
                    "`type` with several types is supported only as [\"null\", one type]",
                )),
            }
        }
        None if object.contains_key("properties") => Ok("object"),
        None if is_text_enum(object) => Ok("string"),
        Some(_) | None => Err(Refusal::new("a schema needs a `type`")),
    }
}

fn is_text_enum(object: &Map<String, Value>) -> bool {
    let symbols = object.get("enum").and_then(Value::as_array);
    symbols.is_some_and(|symbols| {
        symbols
            .iter()
            .all(|symbol| symbol.is_string() || symbol.is_null())
    })
}

fn text_shape(object: &Map<String, Value>) -> Shape {
    match object.get("format").and_then(Value::as_str) {
        Some("date-time") => Shape::Timestamp(Numbers::Refused),
        Some("date") => Shape::Date(Numbers::Refused),
        Some("time") => Shape::Time,
        Some(_) | None => Shape::Text,
    }
}
