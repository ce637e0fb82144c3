//! A column list as tokens.

use std::fmt;

use crate::config::ddl::Error;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Token {
    /// An unquoted word or number.
    Word(String),
    /// A name in back quotes.
    Quoted(String),
    /// One of `,:<>()`.
    Mark(char),
    /// The end of the text.
    End,
}

impl fmt::Display for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Token::Word(text) | Token::Quoted(text) => write!(f, "`{text}`"),
            Token::Mark(mark) => write!(f, "`{mark}`"),
            Token::End => f.write_str("the end"),
        }
    }
}

/// The tokens with their characters, counted from 1; the last is the end.
pub(super) fn tokens(text: &str) -> Result<Vec<(usize, Token)>, Error> {
    let mut tokens = Vec::new();
    let mut chars = text
        .chars()
        .enumerate()
        .map(|(index, c)| (index + 1, c))
        .peekable();
    while let Some((column, c)) = chars.next() {
        let token = match c {
            _ if c.is_whitespace() => continue,
            ',' | ':' | '<' | '>' | '(' | ')' => Token::Mark(c),
            '`' => {
                let mut name = String::new();
                loop {
                    match chars.next() {
                        Some((_, '`')) if chars.next_if(|(_, c)| *c == '`').is_some() => {
                            name.push('`')
                        }
                        Some((_, '`')) => break,
                        Some((_, c)) => name.push(c),
                        None => {
                            return Err(Error {
                                column,
                                message: "a back quote is opened and never closed".to_owned(),
                            });
                        }
                    }
                }
                Token::Quoted(name)
            }
            _ if is_name(c) => {
                let mut word = String::from(c);
                while let Some((_, c)) = chars.next_if(|(_, c)| is_name(*c)) {
                    word.push(c);
                }
                Token::Word(word)
            }
            '.' | '-' | '/' | '$' | '@' => {
                return Err(Error {
                    column,
                    message: format!(
                        "`{c}` cannot stand here; a name that holds it needs back quotes"
                    ),
                });
            }
            _ => {
                return Err(Error {
                    column,
                    message: format!("`{c}` cannot stand here"),
                });
            }
        };
        tokens.push((column, token));
    }
    tokens.push((text.chars().count() + 1, Token::End));
    Ok(tokens)
}

fn is_name(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}
