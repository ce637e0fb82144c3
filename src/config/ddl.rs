//! Column lists as a person writes them: `id long, amount decimal(18,4), tags array<string>`. Owns that grammar; does not know Arrow or Delta.

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
