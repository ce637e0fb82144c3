//! Numbers of seven bits a byte, as Avro and Protobuf both write them. Owns their limits; the short forms are read where they are hot.

use super::reject::{Code, Fault, Outcome};

/// A number of up to ten bytes at the front of `rest`, which then begins behind it.
#[inline(never)]
pub(super) fn of_many_bytes(rest: &mut &[u8]) -> Outcome<u64> {
    let mut value = 0u64;
    for (index, byte) in rest.iter().take(10).enumerate() {
        if index == 9 && *byte > 1 {
            return Err(Fault::new(
                Code::InvalidEncoding,
                "a number has more than 64 bits",
            ));
        }
        value |= u64::from(byte & 0x7f) << (7 * index);
        if *byte < 0x80 {
            *rest = rest.get(index + 1..).unwrap_or(&[]);
            return Ok(value);
        }
    }
    Err(truncated("a number"))
}

#[inline(always)]
pub(super) fn unzigzag(value: u64) -> i64 {
    (value >> 1).cast_signed() ^ -(value & 1).cast_signed()
}

#[cold]
pub(super) fn truncated(what: &str) -> Box<Fault> {
    Fault::new(Code::Truncated, format!("the value ends inside of {what}"))
}
