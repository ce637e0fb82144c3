//! Murmur3 x86 32-bit with seed 0, as Iceberg's bucket transform wants it. A hash for spreading, not for secrets.

const C1: u32 = 0xcc9e_2d51;
const C2: u32 = 0x1b87_3593;

/// The hash of some bytes, in the sign that the Iceberg specification prints.
pub(crate) fn hash(bytes: &[u8]) -> i32 {
    let mut chunks = bytes.chunks_exact(4);
    let mut state = 0_u32;
    for chunk in &mut chunks {
        state ^= mix(little_endian(chunk));
        state = state
            .rotate_left(13)
            .wrapping_mul(5)
            .wrapping_add(0xe654_6b64);
    }
    let rest = chunks.remainder();
    if !rest.is_empty() {
        state ^= mix(little_endian(rest));
    }
    // Lengths beyond 32 bits wrap, as in the reference implementation.
    let length = u32::try_from(bytes.len() & 0xffff_ffff).unwrap_or(0);
    finish(state ^ length).cast_signed()
}

/// The hash of a long: integers, longs, dates (days) and timestamps (microseconds) all hash this way.
pub(crate) fn hash_long(value: i64) -> i32 {
    hash(&value.to_le_bytes())
}

/// The hash of a decimal: its unscaled value, big-endian, in as few bytes as hold it.
pub(crate) fn hash_decimal(unscaled: i128) -> i32 {
    let bytes = unscaled.to_be_bytes();
    let sign = if unscaled < 0 { 0xff } else { 0x00 };
    let redundant = bytes
        .windows(2)
        .take_while(
            |pair| matches!(pair, [first, next] if *first == sign && (next ^ sign) & 0x80 == 0),
        )
        .count();
    hash(bytes.get(redundant..).unwrap_or(&bytes))
}

fn little_endian(bytes: &[u8]) -> u32 {
    bytes
        .iter()
        .rev()
        .fold(0, |word, byte| word << 8 | u32::from(*byte))
}

fn mix(word: u32) -> u32 {
    word.wrapping_mul(C1).rotate_left(15).wrapping_mul(C2)
}

fn finish(mut state: u32) -> u32 {
    state ^= state >> 16;
    state = state.wrapping_mul(0x85eb_ca6b);
    state ^= state >> 13;
    state = state.wrapping_mul(0xc2b2_ae35);
    state ^ state >> 16
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Appendix B of the Iceberg specification.
    #[test]
    fn icebergs_test_vectors_hold() {
        assert_eq!(hash_long(34), 2_017_239_379);
        assert_eq!(hash_decimal(1420), -500_754_589);
        assert_eq!(hash_long(17_486), -653_330_422, "date 2017-11-16");
        assert_eq!(
            hash_long(1_510_871_468_000_000),
            -2_047_944_441,
            "timestamp 2017-11-16T22:31:08"
        );
        assert_eq!(
            hash_long(1_510_871_468_000_001),
            -1_207_196_810,
            "timestamp 2017-11-16T22:31:08.000001"
        );
        assert_eq!(hash(b"iceberg"), 1_210_000_089);
        assert_eq!(hash(&[0, 1, 2, 3]), -188_683_207);
        assert_eq!(hash_long(1), 1_392_991_556);
    }

    #[test]
    fn decimals_use_as_few_bytes_as_hold_them() {
        assert_eq!(hash_decimal(0), hash(&[0]));
        assert_eq!(hash_decimal(-1), hash(&[0xff]));
        assert_eq!(hash_decimal(127), hash(&[0x7f]));
        assert_eq!(hash_decimal(128), hash(&[0x00, 0x80]));
        assert_eq!(hash_decimal(-129), hash(&[0xff, 0x7f]));
        assert_eq!(hash_decimal(i128::MIN), hash(&i128::MIN.to_be_bytes()));
    }
}
