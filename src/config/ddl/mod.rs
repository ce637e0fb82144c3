//! Column lists as a person writes them: `id long, amount decimal(18,4), tags array<string>`. Owns that grammar, with Spark's spellings; does not know Arrow or Delta.

use crate::error::Kind;

mod tokens;

mod parser;

/// Characters that Delta refuses in a column name, because plain Parquet readers do.
pub(crate) const FORBIDDEN: &str = " ,;{}()\n\t=";

/// A named, typed, nullable column or struct member.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Column {
    /// Its name, case kept.
    pub name: String,
    /// Its type.
    pub kind: Type,
}

/// The types that a table can hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Type {
    /// `boolean`
    Boolean,
    /// `int` or `integer`
    Integer,
    /// `long` or `bigint`
    Long,
    /// `float`
    Float,
    /// `double`
    Double,
    /// `string`
    String,
    /// `binary`
    Binary,
    /// `date`
    Date,
    /// `timestamp`: microseconds, UTC
    Timestamp,
    /// `decimal(precision, scale)`
    Decimal(u8, u8),
    /// `array<T>`
    Array(Box<Type>),
    /// `map<string, T>`
    Map(Box<Type>),
    /// `struct<name: T, ...>` or `struct<name T, ...>`
    Struct(Vec<Column>),
}

/// What is wrong with a column list, and at which character, counted from 1.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("character {column}: {message}")]
pub struct Error {
    /// The character.
    pub column: usize,
    /// The sentence.
    pub message: String,
}

impl Error {
    /// What to do: mend the config.
    pub fn kind(&self) -> Kind {
        Kind::Invalid
    }
}

/// Reads a column list; names are unique but for case at each level.
pub fn parse(text: &str) -> Result<Vec<Column>, Error> {
    parser::columns(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn column(name: &str, kind: Type) -> Column {
        Column {
            name: name.to_owned(),
            kind,
        }
    }

    #[test]
    fn every_type_and_spelling_is_read() {
        let text = "a boolean, b int, c INTEGER, d long, e bigint, f float, g double, h string, i binary, j date, k timestamp, l decimal(38, 4), m DECIMAL(5)";
        let kinds: Vec<Type> = parse(text)
            .unwrap()
            .into_iter()
            .map(|column| column.kind)
            .collect();
        let expected = [
            Type::Boolean,
            Type::Integer,
            Type::Integer,
            Type::Long,
            Type::Long,
            Type::Float,
            Type::Double,
            Type::String,
            Type::Binary,
            Type::Date,
            Type::Timestamp,
            Type::Decimal(38, 4),
            Type::Decimal(5, 0),
        ];
        assert_eq!(kinds, expected);
    }

    #[test]
    fn types_nest_and_names_are_quoted() {
        let found =
            parse("`a.b` array<struct<x: long, `y``z` map<string, array<int>>>>,\n ünï string")
                .unwrap();
        let inner = vec![
            column("x", Type::Long),
            column(
                "y`z",
                Type::Map(Box::new(Type::Array(Box::new(Type::Integer)))),
            ),
        ];
        assert_eq!(
            found,
            [
                column("a.b", Type::Array(Box::new(Type::Struct(inner)))),
                column("ünï", Type::String)
            ]
        );
    }

    #[test]
    fn mistakes_are_named_with_their_character() {
        let check = |text: &str, column: usize, part: &str| {
            let error = parse(text).unwrap_err();
            assert_eq!(error.column, column, "{text}: {error}");
            assert!(error.message.contains(part), "{text}: {error}");
        };
        check("", 1, "expected a column such as `id long`, found the end");
        check("id", 3, "expected the type of `id`");
        check("id long,", 9, "expected a column");
        check("id lnog", 4, "use `long`");
        check("id smallint", 4, "use `int`");
        check("a long b long", 8, "expected `,`");
        check("a decimal", 3, "precision and scale");
        check("a decimal(39,2)", 11, "from 1 to 38");
        check("a decimal(4,5)", 13, "scale from 0 to the precision 4");
        check("a decimal(999,2)", 11, "up to 38");
        check("a array string", 9, "expected `<` after `array`");
        check("a array<string", 15, "expected `>`");
        check("a map<int, string>", 7, "expected `string`");
        check("a struct<>", 10, "expected a column");
        check("a long, A string", 9, "same name");
        check("a.b long", 2, "back quotes");
        check("`a b` long", 1, "do not allow");
        check("`` long", 1, "empty");
        check("`a long", 1, "never closed");
        check("a long not null", 8, "every column is nullable");
        check("a long; b long", 7, "`;` cannot stand here");
        check(
            &format!("a {}int{}", "array<".repeat(40), ">".repeat(40)),
            195,
            "nested more than 32 deep",
        );
    }
}
