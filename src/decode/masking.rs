//! What takes the place of masked values: keyed hashes and a fixed text. Owns which bytes are hashed for which type (docs/COLUMNS.md); does not know paths or formats.

use std::cell::RefCell;
use std::fmt;

use arrow::datatypes::DataType;
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;

use super::builder::{Column, Data, map_value};
use super::reject::{Code, Fault, Outcome};
use super::time;
use super::types::{Refusal, list, map};

/// What a redacted string becomes.
pub(crate) const REDACTED: &str = "[redacted]";

const HEX_DIGITS: &[u8; 16] = b"0123456789abcdef";

/// HMAC-SHA-256 with a key.
#[derive(Clone)]
pub(crate) struct Hasher(Hmac<Sha256>);

impl Hasher {
    pub(super) fn new(key: &[u8]) -> Hasher {
        #[expect(clippy::expect_used, reason = "HMAC takes keys of every length")]
        Hasher(Hmac::new_from_slice(key).expect("HMAC takes keys of every length"))
    }

    /// The hash of these bytes, as 64 lower-case hexadecimal digits.
    fn digits(&self, bytes: &[u8]) -> [u8; 64] {
        let mut mac = self.0.clone();
        mac.update(bytes);
        let mut digits = [0; 64];
        let hash = mac.finalize().into_bytes();
        for (pair, byte) in digits.chunks_exact_mut(2).zip(hash) {
            for (digit, half) in pair.iter_mut().zip([byte >> 4, byte & 15]) {
                *digit = HEX_DIGITS.get(usize::from(half)).copied().unwrap_or(b'0');
            }
        }
        digits
    }
}

impl fmt::Debug for Hasher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// The type of a column of hashes of values of a type; of lists and maps, each item and value is hashed.
pub(crate) fn masked_type(natural: &DataType) -> Result<DataType, Refusal> {
    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "Arrow has many types that no schema maps to"
    )]
    match natural {
        DataType::List(item) => Ok(list(masked_type(item.data_type())?)),
        DataType::Map(entries, _) => match map_value(entries.data_type()) {
            Some(value) => Ok(map(masked_type(value.data_type())?)),
            None => Err(unhashed(natural)),
        },
        DataType::Utf8
        | DataType::Binary
        | DataType::Int32
        | DataType::Int64
        | DataType::Decimal128(_, 0)
        | DataType::Date32 => Ok(DataType::Utf8),
        other => Err(unhashed(other)),
    }
}

fn unhashed(data_type: &DataType) -> Refusal {
    Refusal::new(format!(
        "values of the type {data_type} have no bytes of their own to hash; `hmac_sha256` is for strings, bytes, whole numbers and dates: use `redact`, or exclude it (columns.mask)"
    ))
}

/// A single value on its way to its hash.
#[derive(Debug)]
pub(crate) struct Masked {
    hasher: Hasher,
    is_date: bool,
    /// Holds the value while it is hashed, and nothing between two values.
    scratch: RefCell<Column>,
}

impl Masked {
    /// For values that would fill a column of the type `natural`.
    pub(crate) fn new(natural: &DataType, hasher: &Hasher) -> Result<Masked, Refusal> {
        if masked_type(natural)? != DataType::Utf8 {
            return Err(unhashed(natural));
        }
        Ok(Masked {
            hasher: hasher.clone(),
            is_date: *natural == DataType::Date32,
            scratch: RefCell::new(Column::new(natural, true)),
        })
    }

    /// Appends the hash of the one value that `fill` appends to the column that it is given.
    pub(crate) fn append(
        &self,
        column: &mut Column,
        fill: impl FnOnce(&mut Column) -> Outcome,
    ) -> Outcome {
        let mut scratch = self.scratch.borrow_mut();
        let filled = fill(&mut scratch).and_then(|()| self.hash(&scratch, column));
        scratch.truncate(0);
        filled
    }

    fn hash(&self, from: &Column, to: &mut Column) -> Outcome {
        let digits = match &from.data {
            Data::Text(values) | Data::Binary(values) => self.hasher.digits(values.get(0)),
            Data::Int(values) => match values.get(0) {
                Some(days) if self.is_date => {
                    self.hasher.digits(time::format_date(days).as_bytes())
                }
                Some(value) => self.hasher.digits(value.to_string().as_bytes()),
                None => return Err(uneven()),
            },
            Data::Long(values) => match values.get(0) {
                Some(value) => self.hasher.digits(value.to_string().as_bytes()),
                None => return Err(uneven()),
            },
            Data::Decimal(values) => match values.get(0) {
                Some(value) => self.hasher.digits(value.to_string().as_bytes()),
                None => return Err(uneven()),
            },
            Data::Boolean(_)
            | Data::Float(_)
            | Data::Double(_)
            | Data::Struct(_)
            | Data::List(_)
            | Data::Map(_)
            | Data::Absent(_) => return Err(uneven()),
        };
        match &mut to.data {
            Data::Text(to) => to.push(&digits),
            _ => Err(uneven()),
        }
    }
}

/// What stands for a redacted value that is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stand {
    Text,
    Null,
}

impl Stand {
    /// For values of the type `natural` in a column of the type `target`.
    pub(crate) fn of(natural: Option<&DataType>, target: &DataType) -> Stand {
        match (natural, target) {
            (Some(DataType::Utf8), DataType::Utf8) => Stand::Text,
            (_, _) => Stand::Null,
        }
    }

    /// Appends it in the place of a value that is there.
    pub(crate) fn push(self, column: &mut Column) -> Outcome {
        match (self, &mut column.data) {
            (Stand::Text, Data::Text(column)) => column.push(REDACTED.as_bytes()),
            (_, _) => column.push_null(),
        }
    }
}

#[cold]
fn uneven() -> Box<Fault> {
    Fault::new(
        Code::TypeMismatch,
        "a masked value is of another type (a bug of Lakeward)",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_are_those_of_rfc_4231() {
        // Test cases 1 and 6: a short key, and one that is longer than a block.
        let check = |key: &[u8], data: &[u8], expected: &str| {
            assert_eq!(Hasher::new(key).digits(data), *expected.as_bytes());
        };
        check(
            &[0x0b; 20],
            b"Hi There",
            "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7",
        );
        check(
            &[0xaa; 131],
            b"Test Using Larger Than Block-Size Key - Hash Key First",
            "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54",
        );
    }

    #[test]
    fn nothing_shows_the_key() {
        assert_eq!(format!("{:?}", Hasher::new(b"c4n4ry")), "***");
    }
}
