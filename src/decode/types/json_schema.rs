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

/// The fields of a JSON Schema whose root is an object with properties.
pub(crate) fn members(text: &str) -> Result<Vec<Member>, Refusal> {
    let root: Value = serde_json::from_str(text).map_err(|error| Refusal::new(format!("the JSON Schema is not JSON: {error}")))?;
    let mut walk = Walk { root: &root, open: Vec::new(), depth: 0, columns: 0 };
    let Shape::Struct(members) = walk.shape(&root)? else {
        return Err(Refusal::new("the root of the JSON Schema must be an object with `properties`"));
    };
    Ok(members)
}

struct Walk<'a> {
    root: &'a Value,
    /// The references that enclose the place, where recursion ends.
    open: Vec<&'a str>,
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
        let pointer = reference
            .strip_prefix('#')
            .filter(|pointer| pointer.is_empty() || pointer.starts_with('/'));
        let Some(target) = pointer.and_then(|pointer| self.root.pointer(pointer)) else {
            return Err(Refusal::new(format!(
                "the `$ref` {reference:?} does not lead to a place in the same file"
            )));
        };
        if pointer == Some("") || self.open.contains(&reference) {
            return Ok(Shape::Any);
        }
        self.open.push(reference);
        let shape = self.shape(target)?;
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
        for (name, schema) in properties {
            let shape = self.shape(schema).map_err(|refusal| refusal.under(name))?;
            members.push(Member {
                name: name.clone(),
                shape,
            });
        }
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
