//! Tokens into columns, by recursive descent.

use crate::config::ddl::tokens::{Token, tokens};
use crate::config::ddl::{Column, Error, FORBIDDEN, Type};
use crate::config::problem::closest;

/// Deeper nesting than a table needs; bounds the recursion.
const DEPTH_MAX: usize = 32;

const TYPES: [&str; 13] = [
    "boolean",
    "int",
    "long",
    "float",
    "double",
    "string",
    "binary",
    "date",
    "timestamp",
    "decimal",
    "array",
    "map",
    "struct",
];

/// Reads a column list to its end.
pub(super) fn columns(text: &str) -> Result<Vec<Column>, Error> {
    let mut parser = Parser {
        tokens: tokens(text)?,
        next: 0,
        depth: 0,
    };
    parser.list(&Token::End)
}

#[derive(Debug)]
struct Parser {
    tokens: Vec<(usize, Token)>,
    next: usize,
    depth: usize,
}

impl Parser {
    fn take(&mut self) -> (usize, Token) {
        let token = self
            .tokens
            .get(self.next)
            .or(self.tokens.last())
            .cloned()
            .unwrap_or((1, Token::End));
        self.next += 1;
        token
    }

    fn take_if(&mut self, wanted: &Token) -> bool {
        let found = self
            .tokens
            .get(self.next)
            .is_some_and(|(_, token)| token == wanted);
        self.next += usize::from(found);
        found
    }

    fn expect(&mut self, mark: char, within: &str) -> Result<(), Error> {
        match self.take() {
            (_, Token::Mark(found)) if found == mark => Ok(()),
            (column, found) => Err(Error {
                column,
                message: format!("expected `{mark}` {within}, found {found}"),
            }),
        }
    }

    fn list(&mut self, end: &Token) -> Result<Vec<Column>, Error> {
        let mut columns: Vec<Column> = Vec::new();
        loop {
            let (at, name) = self.name()?;
            if let Some(same) = columns
                .iter()
                .find(|column| column.name.to_lowercase() == name.to_lowercase())
            {
                return Err(Error {
                    column: at,
                    message: format!(
                        "`{name}` and `{}` are the same name to most readers; rename one",
                        same.name
                    ),
                });
            }
            self.take_if(&Token::Mark(':'));
            let kind = self.kind(&name)?;
            columns.push(Column { name, kind });
            match self.take() {
                (_, Token::Mark(',')) => {}
                (_, found) if found == *end => return Ok(columns),
                (column, Token::Word(word))
                    if matches!(
                        word.to_lowercase().as_str(),
                        "not" | "null" | "comment" | "default"
                    ) =>
                {
                    let message = format!(
                        "`{word}` is not read here: every column is nullable, without comment or default; remove it"
                    );
                    return Err(Error { column, message });
                }
                (column, found) => {
                    let end = if *end == Token::End {
                        "the end".to_owned()
                    } else {
                        end.to_string()
                    };
                    return Err(Error {
                        column,
                        message: format!(
                            "expected `,` and a further column, or {end}, found {found}"
                        ),
                    });
                }
            }
        }
    }

    fn name(&mut self) -> Result<(usize, String), Error> {
        let (column, name) = match self.take() {
            (column, Token::Word(name) | Token::Quoted(name)) => (column, name),
            (column, found) => {
                return Err(Error {
                    column,
                    message: format!("expected a column such as `id long`, found {found}"),
                });
            }
        };
        if name.is_empty() {
            return Err(Error {
                column,
                message: "a column's name is empty".to_owned(),
            });
        }
        if let Some(c) = name.chars().find(|c| FORBIDDEN.contains(*c)) {
            return Err(Error {
                column,
                message: format!(
                    "the name `{name}` holds {c:?}, which Delta tables do not allow; rename it"
                ),
            });
        }
        Ok((column, name))
    }

    fn kind(&mut self, of: &str) -> Result<Type, Error> {
        let (column, word) = match self.take() {
            (column, Token::Word(word)) => (column, word),
            (column, found) => {
                return Err(Error {
                    column,
                    message: format!("expected the type of `{of}`, such as `long`, found {found}"),
                });
            }
        };
        if self.depth >= DEPTH_MAX {
            return Err(Error {
                column,
                message: format!("types are nested more than {DEPTH_MAX} deep"),
            });
        }
        self.depth += 1;
        let kind = self.kind_named(column, &word, of);
        self.depth -= 1;
        kind
    }

    fn kind_named(&mut self, column: usize, word: &str, of: &str) -> Result<Type, Error> {
        Ok(match word.to_lowercase().as_str() {
            "boolean" | "bool" => Type::Boolean,
            "int" | "integer" => Type::Integer,
            "long" | "bigint" => Type::Long,
            "float" | "real" => Type::Float,
            "double" => Type::Double,
            "string" => Type::String,
            "binary" => Type::Binary,
            "date" => Type::Date,
            "timestamp" => Type::Timestamp,
            "decimal" | "dec" | "numeric" => self.decimal(column)?,
            "array" => {
                self.expect('<', "after `array`")?;
                let item = self.kind(of)?;
                self.expect('>', "after the type of the array's items")?;
                Type::Array(Box::new(item))
            }
            "map" => {
                self.expect('<', "after `map`")?;
                let (at, key) = self.take();
                if !matches!(&key, Token::Word(word) if word.eq_ignore_ascii_case("string")) {
                    return Err(Error {
                        column: at,
                        message: format!(
                            "expected `string`, the only type of a map's keys, found {key}"
                        ),
                    });
                }
                self.expect(',', "after the type of the map's keys")?;
                let value = self.kind(of)?;
                self.expect('>', "after the type of the map's values")?;
                Type::Map(Box::new(value))
            }
            "struct" => {
                self.expect('<', "after `struct`")?;
                Type::Struct(self.list(&Token::Mark('>'))?)
            }
            other => {
                return Err(Error {
                    column,
                    message: unknown(word, other, of),
                });
            }
        })
    }

    fn decimal(&mut self, at: usize) -> Result<Type, Error> {
        if !self.take_if(&Token::Mark('(')) {
            return Err(Error {
                column: at,
                message: "expected precision and scale, such as `decimal(18,4)`".to_owned(),
            });
        }
        let (column, precision) = self.digits()?;
        if !(1..=38).contains(&precision) {
            return Err(Error {
                column,
                message: format!("expected a precision from 1 to 38, found `{precision}`"),
            });
        }
        let (column, scale) = if self.take_if(&Token::Mark(',')) {
            self.digits()?
        } else {
            (column, 0)
        };
        if scale > precision {
            return Err(Error {
                column,
                message: format!(
                    "expected a scale from 0 to the precision {precision}, found `{scale}`"
                ),
            });
        }
        self.expect(')', "after the decimal's precision and scale")?;
        Ok(Type::Decimal(precision, scale))
    }

    fn digits(&mut self) -> Result<(usize, u8), Error> {
        match self.take() {
            (column, Token::Word(word)) => match word.parse::<u8>() {
                Ok(number) => Ok((column, number)),
                Err(_) => Err(Error {
                    column,
                    message: format!("expected a number up to 38, found `{word}`"),
                }),
            },
            (column, found) => Err(Error {
                column,
                message: format!("expected a number, such as in `decimal(18,4)`, found {found}"),
            }),
        }
    }
}

fn unknown(word: &str, lower: &str, of: &str) -> String {
    let instead = match lower {
        "byte" | "tinyint" | "short" | "smallint" => Some("int"),
        "varchar" | "char" | "text" | "uuid" | "enum" | "json" => Some("string"),
        "bytes" | "blob" | "varbinary" => Some("binary"),
        "timestamp_ntz" | "timestamp_ltz" | "datetime" => Some("timestamp"),
        "time" => Some("long"),
        "number" => Some("double"),
        "record" | "object" | "row" => Some("struct"),
        "list" => Some("array"),
        _ => closest(lower, TYPES),
    };
    let hint = instead
        .map(|instead| format!("; use `{instead}`"))
        .unwrap_or_default();
    format!(
        "expected the type of `{of}` ({}), found `{word}`{hint}",
        TYPES.join(", ")
    )
}
