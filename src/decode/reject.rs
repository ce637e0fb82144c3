//! Why a record cannot become a row: the closed list of codes, and the fault that carries one from the byte where it was found up to the
//! record. Does not decide what a reject does to the table: the settings say so.

use std::fmt::{self, Write as _};

/// How much of an offending value a message shows, in characters.
const SHOWN_CHARACTERS: usize = 64;

/// What is wrong with a record; the words are a contract (metrics, the error column of rejects, documentation).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Code {
    /// The value has no byte at all.
    EmptyPayload,
    /// The value is null and the table rejects tombstones.
    Tombstone,
    /// The frame does not begin with the magic byte 0.
    BadMagic,
    /// The registry does not know the frame's schema id.
    UnknownSchemaId,
    /// The registry knows the id, but its schema cannot be used.
    UnusableSchema,
    /// The value is larger than the limit, or becomes larger when it is decoded.
    TooLarge,
    /// The value ends before its schema does.
    Truncated,
    /// Bytes are left when the schema is done.
    TrailingBytes,
    /// Text that is not UTF-8.
    InvalidUtf8,
    /// A number of more than 64 bits, a boolean that is neither 0 nor 1, or a tag that names no field.
    InvalidEncoding,
    /// A length or count that is negative or passes the end of the value.
    LengthOutOfRange,
    /// A union branch that the schema does not have.
    UnionIndex,
    /// An enum symbol that the schema does not have.
    EnumIndex,
    /// Message indexes that select another message than the table's, or none.
    MessageIndex,
    /// A required field that is not there.
    MissingField,
    /// Nested deeper than the limit.
    Depth,
    /// Not JSON.
    MalformedJson,
    /// One name twice in an object or a map.
    DuplicateField,
    /// A field without a column.
    UnknownField,
    /// A null where the table's column allows none.
    NullNotAllowed,
    /// Of another type than the column.
    TypeMismatch,
    /// A number that the column's type cannot hold exactly.
    OutOfRange,
    /// More digits than the column's precision or scale holds.
    DecimalOverflow,
    /// Text that is no number where a decimal is expected.
    InvalidNumber,
    /// Text that is no point in time, or one finer than a microsecond.
    InvalidTimestamp,
    /// A date and time without a zone, so that it names no point in time.
    TimestampWithoutZone,
    /// Text that is no date.
    InvalidDate,
    /// Text that is no time of day.
    InvalidTime,
    /// Text that is not base64 where bytes are expected.
    InvalidBinary,
}

/// Every code, in the order of the reference page.
pub const CODES: [Code; 29] = [
    Code::EmptyPayload,
    Code::Tombstone,
    Code::BadMagic,
    Code::UnknownSchemaId,
    Code::UnusableSchema,
    Code::TooLarge,
    Code::Truncated,
    Code::TrailingBytes,
    Code::InvalidUtf8,
    Code::InvalidEncoding,
    Code::LengthOutOfRange,
    Code::UnionIndex,
    Code::EnumIndex,
    Code::MessageIndex,
    Code::MissingField,
    Code::Depth,
    Code::MalformedJson,
    Code::DuplicateField,
    Code::UnknownField,
    Code::NullNotAllowed,
    Code::TypeMismatch,
    Code::OutOfRange,
    Code::DecimalOverflow,
    Code::InvalidNumber,
    Code::InvalidTimestamp,
    Code::TimestampWithoutZone,
    Code::InvalidDate,
    Code::InvalidTime,
    Code::InvalidBinary,
];

impl Code {
    /// The stable word.
    pub fn word(self) -> &'static str {
        match self {
            Code::EmptyPayload => "empty_payload",
            Code::Tombstone => "tombstone",
            Code::BadMagic => "bad_magic",
            Code::UnknownSchemaId => "unknown_schema_id",
            Code::UnusableSchema => "unusable_schema",
            Code::TooLarge => "too_large",
            Code::Truncated => "truncated",
            Code::TrailingBytes => "trailing_bytes",
            Code::InvalidUtf8 => "invalid_utf8",
            Code::InvalidEncoding => "invalid_encoding",
            Code::LengthOutOfRange => "length_out_of_range",
            Code::UnionIndex => "union_index",
            Code::EnumIndex => "enum_index",
            Code::MessageIndex => "message_index",
            Code::MissingField => "missing_field",
            Code::Depth => "depth",
            Code::MalformedJson => "malformed_json",
            Code::DuplicateField => "duplicate_field",
            Code::UnknownField => "unknown_field",
            Code::NullNotAllowed => "null_not_allowed",
            Code::TypeMismatch => "type_mismatch",
            Code::OutOfRange => "out_of_range",
            Code::DecimalOverflow => "decimal_overflow",
            Code::InvalidNumber => "invalid_number",
            Code::InvalidTimestamp => "invalid_timestamp",
            Code::TimestampWithoutZone => "timestamp_without_zone",
            Code::InvalidDate => "invalid_date",
            Code::InvalidTime => "invalid_time",
            Code::InvalidBinary => "invalid_binary",
        }
    }

    /// What it means, for the reference page.
    pub fn meaning(self) -> &'static str {
        match self {
            Code::EmptyPayload => "the value has no byte at all",
            Code::Tombstone => "the value is null and the table rejects tombstones",
            Code::BadMagic => {
                "the frame does not begin with the magic byte 0, or Avro's single-object marker"
            }
            Code::UnknownSchemaId => {
                "the registry does not know the frame's schema id, also after waiting; or a single object has another schema's fingerprint"
            }
            Code::UnusableSchema => {
                "the writer schema is of another kind or holds a type that has no column type"
            }
            Code::TooLarge => {
                "the value is larger than limits.record_bytes, or becomes too large when decoded"
            }
            Code::Truncated => "the value ends before its schema does",
            Code::TrailingBytes => "bytes are left when the value is done",
            Code::InvalidUtf8 => "text that is not UTF-8",
            Code::InvalidEncoding => {
                "a number of more than 64 bits, an Avro boolean that is neither 0 nor 1, or a Protobuf tag that names no field"
            }
            Code::LengthOutOfRange => {
                "a length or count that is negative or passes the end of the value"
            }
            Code::UnionIndex => "a union branch that the writer schema does not have",
            Code::EnumIndex => "an enum symbol or number that the writer schema does not have",
            Code::MessageIndex => {
                "a Protobuf frame whose message indexes select another message than the table's, or none"
            }
            Code::MissingField => "a required Protobuf field that is not there",
            Code::Depth => "nested deeper than the limit",
            Code::MalformedJson => "not JSON",
            Code::DuplicateField => "one name twice in an object or a map",
            Code::UnknownField => "a field without a column",
            Code::NullNotAllowed => "a null where the table's column allows none",
            Code::TypeMismatch => "of another type than the column",
            Code::OutOfRange => "a number that the column's type cannot hold exactly",
            Code::DecimalOverflow => "more digits than the column's precision or scale holds",
            Code::InvalidNumber => "text or bytes that are no number where a decimal is expected",
            Code::InvalidTimestamp => "no point in time, or one finer than a microsecond",
            Code::TimestampWithoutZone => {
                "a date and time without a zone or Z, which names no point in time"
            }
            Code::InvalidDate => "text that is no date",
            Code::InvalidTime => "text that is no time of day",
            Code::InvalidBinary => "text that is not base64 where bytes are expected",
        }
    }

    /// Whether its messages show parts of the record.
    fn shows_values(self) -> bool {
        match self {
            Code::EmptyPayload
            | Code::Tombstone
            | Code::UnknownSchemaId
            | Code::UnusableSchema
            | Code::TooLarge
            | Code::Truncated
            | Code::MissingField
            | Code::Depth
            | Code::UnknownField
            | Code::NullNotAllowed => false,
            Code::BadMagic
            | Code::TrailingBytes
            | Code::InvalidUtf8
            | Code::InvalidEncoding
            | Code::LengthOutOfRange
            | Code::UnionIndex
            | Code::EnumIndex
            | Code::MessageIndex
            | Code::MalformedJson
            | Code::DuplicateField
            | Code::TypeMismatch
            | Code::OutOfRange
            | Code::DecimalOverflow
            | Code::InvalidNumber
            | Code::InvalidTimestamp
            | Code::TimestampWithoutZone
            | Code::InvalidDate
            | Code::InvalidTime
            | Code::InvalidBinary => true,
        }
    }
}

/// How much of a record may be in the words about its reject.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Words {
    Whole,
    /// Nothing that may be a value or a map's key: the table hides some.
    WithoutValues,
}

/// The result of a decoding step; boxed, so that the good path moves one word.
pub(crate) type Outcome<T = ()> = Result<T, Box<Fault>>;

/// What stopped a record, on its way up to the record; each level adds its part of the path.
#[derive(Debug)]
pub(crate) struct Fault {
    pub(crate) code: Code,
    message: String,
    /// A column has no room left; the record may fit after the rows so far are taken.
    pub(crate) is_full: bool,
    /// The writer schema has what the table's columns cannot hold (`evolution.on_incompatible`).
    pub(crate) is_incompatible: bool,
    segments: Vec<Segment>,
}

#[derive(Debug)]
enum Segment {
    Field(String),
    Index(usize),
    Key(String),
}

impl Fault {
    #[cold]
    pub(crate) fn new(code: Code, message: impl Into<String>) -> Box<Fault> {
        Box::new(Fault {
            code,
            message: message.into(),
            is_full: false,
            is_incompatible: false,
            segments: Vec::new(),
        })
    }

    /// The record holds what its writer schema says and the table's columns cannot take.
    #[cold]
    pub(crate) fn incompatible(code: Code, message: impl Into<String>) -> Box<Fault> {
        let mut fault = Fault::new(code, message);
        fault.is_incompatible = true;
        fault
    }

    /// A column has reached what 32-bit offsets can address.
    #[cold]
    pub(crate) fn full() -> Box<Fault> {
        let message = "the value makes a column larger than 2 GiB".to_owned();
        Box::new(Fault {
            code: Code::TooLarge,
            message,
            is_full: true,
            is_incompatible: false,
            segments: Vec::new(),
        })
    }

    #[cold]
    pub(crate) fn in_field(mut self: Box<Self>, name: &str) -> Box<Self> {
        self.segments.push(Segment::Field(name.to_owned()));
        self
    }

    #[cold]
    pub(crate) fn at_index(mut self: Box<Self>, index: usize) -> Box<Self> {
        self.segments.push(Segment::Index(index));
        self
    }

    #[cold]
    pub(crate) fn at_key(mut self: Box<Self>, key: &[u8]) -> Box<Self> {
        self.segments
            .push(Segment::Key(shorten(&String::from_utf8_lossy(key))));
        self
    }

    /// What is wrong, in words.
    pub(crate) fn message(&self, words: Words) -> &str {
        let is_of_schema = self.is_incompatible || !self.code.shows_values();
        if words == Words::Whole || is_of_schema {
            return &self.message;
        }
        self.code.meaning()
    }

    /// The place in the record, such as `items[2].price`; empty for the record itself.
    pub(crate) fn path(&self, words: Words) -> String {
        let mut path = String::new();
        for segment in self.segments.iter().rev() {
            // Writing to a `String` cannot fail.
            let _infallible = match segment {
                // A path of a rescued field, with the keys of maps on its way.
                Segment::Field(name) if words == Words::WithoutValues && name.contains('[') => {
                    let dot = if path.is_empty() { "" } else { "." };
                    write!(path, "{dot}{}[*]", name.split('[').next().unwrap_or(""))
                }
                Segment::Field(name) if path.is_empty() => write!(path, "{name}"),
                Segment::Field(name) => write!(path, ".{name}"),
                Segment::Index(index) => write!(path, "[{index}]"),
                Segment::Key(_) if words == Words::WithoutValues => write!(path, "[*]"),
                Segment::Key(key) => write!(path, "[{key:?}]"),
            };
        }
        path
    }
}

/// At most 64 characters of a text.
pub(crate) fn shorten(text: &str) -> String {
    match text.char_indices().nth(SHOWN_CHARACTERS) {
        Some((end, _)) => format!("{}...", text.get(..end).unwrap_or("")),
        None => text.to_owned(),
    }
}

/// Bytes for a message: as text where they are text, else in hexadecimal.
pub(crate) struct Shown<'a>(pub(crate) &'a [u8]);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let head = self.0.get(..4 * SHOWN_CHARACTERS).unwrap_or(self.0);
        match std::str::from_utf8(head) {
            Ok(text) => write!(f, "{:?}", shorten(text)),
            Err(_) => {
                f.write_str("0x")?;
                head.iter()
                    .take(SHOWN_CHARACTERS / 2)
                    .try_for_each(|byte| write!(f, "{byte:02x}"))?;
                f.write_str(if self.0.len() > SHOWN_CHARACTERS / 2 {
                    "..."
                } else {
                    ""
                })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn code_words_are_unique_and_the_list_is_complete() {
        let words: BTreeSet<_> = CODES.iter().map(|code| code.word()).collect();
        assert_eq!(words.len(), CODES.len());
    }

    #[test]
    fn a_path_reads_from_the_record_inwards() {
        let fault = Fault::new(Code::TypeMismatch, "")
            .in_field("price")
            .at_index(2)
            .in_field("items");
        assert_eq!(fault.path(Words::Whole), "items[2].price");
        let fault = Fault::new(Code::TypeMismatch, "")
            .at_key(b"a b")
            .in_field("attributes");
        assert_eq!(fault.path(Words::Whole), "attributes[\"a b\"]");
    }

    #[test]
    fn long_values_are_shortened() {
        assert_eq!(shorten(&"ä".repeat(65)).chars().count(), 64 + 3);
        assert_eq!(Shown(&[0xff, 0]).to_string(), "0xff00");
    }
}
