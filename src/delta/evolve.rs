//! Growing a table's schema by the columns that files were written with: only nullable columns are added, at any depth, and what the table has stays as it is, with
//! whatever others noted on it; and the protocol that the grown schema needs. Owns that rule; commits nothing.

use arrow::datatypes::{Schema, SchemaRef};
use deltalake::kernel::{ArrayType, DataType, MapType, StructField, StructType};

use crate::delta::actions::{Metadata, Protocol};
use crate::delta::create::plain_type;
use crate::delta::features;
use crate::delta::schema::{covers, from_arrow};
use crate::delta::state::State;

/// What a commit changes of a table so that it takes the commit's files.
#[derive(Debug)]
pub(crate) struct Growth {
    pub(crate) metadata: Metadata,
    pub(crate) protocol: Option<Protocol>,
}

/// What the table must become for files with these columns, if anything.
pub(crate) fn growth(base: &State, columns: Option<&SchemaRef>) -> Result<Option<Growth>, String> {
    let Some(columns) = columns else {
        return Ok(None);
    };
    let Some(schema) = grown(&base.shape.schema, columns)? else {
        return Ok(None);
    };
    let mut metadata = base.shape.metadata.clone();
    metadata.schema_string = serde_json::to_string(&schema)
        .map_err(|error| format!("the schema cannot be written ({error})"))?;
    let protocol = features::needed(&base.protocol, &schema)?;
    Ok(Some(Growth { metadata, protocol }))
}

/// The table's schema once it takes files with these columns; `None` when it takes them already. The sentence says what stands against it.
pub(crate) fn grown(has: &StructType, columns: &Schema) -> Result<Option<StructType>, String> {
    let wanted = from_arrow(columns)?;
    let grown = add(has, &wanted, "")?;
    // The judge of what fits into what is the same as for tables that stay as they are.
    covers(&grown, &wanted, "")?;
    Ok((grown != *has).then_some(grown))
}

fn add(has: &StructType, wanted: &StructType, prefix: &str) -> Result<StructType, String> {
    let mut fields = Vec::new();
    for field in has.fields() {
        let mut field = field.clone();
        if let Some(wanted) = wanted.field(field.name()) {
            let path = format!("{prefix}{}", field.name());
            field.data_type = add_type(field.data_type(), wanted.data_type(), &path)?;
        }
        fields.push(field);
    }
    for field in wanted.fields() {
        if has.field(field.name()).is_some() {
            continue;
        }
        let alike = has
            .fields()
            .find(|other| other.name().to_lowercase() == field.name().to_lowercase());
        if let Some(other) = alike {
            return Err(format!(
                "the column `{prefix}{}` cannot be added beside `{prefix}{}`, which differs only in case",
                field.name(),
                other.name()
            ));
        }
        fields.push(StructField::nullable(
            field.name().clone(),
            plain_type(field.data_type())?,
        ));
    }
    StructType::try_new(fields)
        .map_err(|error| format!("its columns make no Delta schema ({error})"))
}

fn add_type(has: &DataType, wanted: &DataType, path: &str) -> Result<DataType, String> {
    Ok(match (has, wanted) {
        (DataType::Struct(has), DataType::Struct(wanted)) => {
            DataType::Struct(Box::new(add(has, wanted, &format!("{path}."))?))
        }
        (DataType::Array(has), DataType::Array(wanted)) => {
            let path = format!("{path}.element");
            let element = add_type(has.element_type(), wanted.element_type(), &path)?;
            ArrayType::new(element, has.contains_null()).into()
        }
        (DataType::Map(has), DataType::Map(wanted)) => {
            let path = format!("{path}.value");
            let value = add_type(has.value_type(), wanted.value_type(), &path)?;
            MapType::new(has.key_type().clone(), value, has.value_contains_null()).into()
        }
        // Whether it fits is judged afterwards.
        (has, _) => has.clone(),
    })
}

#[cfg(test)]
mod tests {
    use arrow::datatypes::{DataType as Arrow, Field};
    use serde_json::{Value, json};

    use super::*;
    use crate::delta::schema::parse;

    fn columns(fields: Vec<Field>) -> Schema {
        Schema::new(fields)
    }

    fn text(fields: &Value) -> String {
        json!({"type": "struct", "fields": fields}).to_string()
    }

    fn check(has: &Value, wanted: Vec<Field>) -> Result<Option<Value>, String> {
        let grown = grown(&parse(&text(has)).unwrap(), &columns(wanted))?;
        Ok(grown.map(|grown| serde_json::to_value(grown).unwrap()["fields"].clone()))
    }

    fn column(name: &str, kind: &Value) -> Value {
        json!({"name": name, "type": kind, "nullable": true, "metadata": {}})
    }

    #[test]
    fn columns_of_others_and_their_comments_stay_and_new_ones_come_last() {
        let commented = json!({"name": "a", "type": "long", "nullable": true, "metadata": {"comment": "by hand", "x.y": 3}});
        let has = json!([commented, column("theirs", &json!("string"))]);
        let wanted = vec![
            Field::new("new", Arrow::Utf8, true),
            Field::new("a", Arrow::Int64, true),
        ];
        let expect = json!([
            commented,
            column("theirs", &json!("string")),
            column("new", &json!("string"))
        ]);
        assert_eq!(check(&has, wanted), Ok(Some(expect)));
        let known = vec![Field::new("a", Arrow::Int64, true)];
        assert_eq!(check(&has, known), Ok(None));
    }

    #[test]
    fn members_of_structs_in_arrays_are_added_too() {
        let member = json!({"type": "struct", "fields": [column("x", &json!("long"))]});
        let array =
            |inner: &Value| json!({"type": "array", "elementType": inner, "containsNull": true});
        let has = json!([column("l", &array(&member))]);
        let both: Vec<Field> = vec![
            Field::new("y", Arrow::Date32, true),
            Field::new("x", Arrow::Int64, true),
        ];
        let item = Field::new("element", Arrow::Struct(both.into()), true);
        let wanted = vec![Field::new("l", Arrow::List(item.into()), true)];
        let grown = json!({"type": "struct", "fields": [column("x", &json!("long")), column("y", &json!("date"))]});
        assert_eq!(
            check(&has, wanted),
            Ok(Some(json!([column("l", &array(&grown))])))
        );
    }

    #[test]
    fn what_does_not_fit_is_named() {
        let has = json!([column("a", &json!("long"))]);
        let other = vec![Field::new("a", Arrow::Int32, true)];
        assert_eq!(
            check(&has, other).unwrap_err(),
            "the column `a` is long in the table and integer in the records"
        );
        let alike = vec![Field::new("A", Arrow::Int64, true)];
        assert_eq!(
            check(&has, alike).unwrap_err(),
            "the column `A` cannot be added beside `a`, which differs only in case"
        );
    }
}
