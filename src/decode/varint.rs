//! Numbers of seven bits a byte, as Avro and Protobuf both write them. Owns their limits; the short forms are read where they are hot.

use super::reject::{Code, Fault, Outcome};

/// A number of up to ten bytes at the front of `rest`, which then begins behind it.
#[inline(never)]
pub(super) fn of_many_bytes(rest: &mut &[u8]) -> Outcome<u64> {
    if let Some(chunk) = rest.first_chunk()
        && let Some((value, length)) = of_word(u64::from_le_bytes(*chunk))
    {
        *rest = rest.get(length..).unwrap_or(&[]);
        return Ok(value);
    }
    byte_by_byte(rest)
}

/// The number that a word begins with, and its length, if it ends inside.
#[inline(always)]
fn of_word(word: u64) -> Option<(u64, usize)> {
    let ends = !word & 0x8080_8080_8080_8080;
    if ends == 0 {
        return None;
    }
    // Everything up to the first end; then neighbours are joined to pairs, fours, and the number.
    let sevens = word & (ends ^ (ends - 1)) & 0x7f7f_7f7f_7f7f_7f7f;
    let pairs = (sevens & 0x007f_007f_007f_007f) | (sevens & 0x7f00_7f00_7f00_7f00) >> 1;
    let fours = (pairs & 0x0000_3fff_0000_3fff) | (pairs & 0x3fff_0000_3fff_0000) >> 2;
    let value = (fours & 0x0fff_ffff) | (fours & 0x0fff_ffff_0000_0000) >> 4;
    let length = usize::try_from(ends.trailing_zeros() / 8 + 1).ok()?;
    Some((value, length))
}

fn byte_by_byte(rest: &mut &[u8]) -> Outcome<u64> {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_holds_what_its_bytes_hold() {
        for shift in 0..=63 {
            for number in [
                1_u64 << shift,
                (1 << shift) - 1,
                0x0123_4567_89ab_cdef >> (63 - shift),
                u64::MAX >> shift,
            ] {
                let (mut bytes, mut left) = (Vec::new(), number);
                while left > 0x7f {
                    bytes.push(u8::try_from(left & 0x7f).unwrap() | 0x80);
                    left >>= 7;
                }
                bytes.push(u8::try_from(left).unwrap());
                for behind in [0, 1, 0x7f, 0x80, 0xff] {
                    let whole = [bytes.as_slice(), &[behind; 9]].concat();
                    let (mut quick, mut slow) = (whole.as_slice(), whole.as_slice());
                    assert_eq!(of_many_bytes(&mut quick).unwrap(), number);
                    assert_eq!(byte_by_byte(&mut slow).unwrap(), number);
                    assert_eq!((quick, slow), (&[behind; 9][..], &[behind; 9][..]));
                }
                let mut short = bytes.split_last().unwrap().1;
                assert!(of_many_bytes(&mut short).is_err());
            }
        }
    }
}
