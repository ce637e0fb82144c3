//! Appends bytes and says on the way whether they are ASCII: most text is a few bytes long, and two calls to look at and copy it cost more than the bytes. Does not judge
//! what is no ASCII.

const HIGHS: u64 = 0x8080_8080_8080_8080;

/// Up to how many bytes are copied here; longer ones are worth the calls.
const SHORT_MAX: usize = 64;

/// Appends `bytes` to `out`; gives whether all of them are ASCII.
#[inline(always)]
pub(super) fn append(out: &mut Vec<u8>, bytes: &[u8]) -> bool {
    let length = bytes.len();
    let end = out.len() + length;
    // Whole words are appended, and what is too much of them is cut off.
    let high = match length {
        0 => 0,
        1..=3 => {
            let [first, middle, last] = [0, length / 2, length - 1].map(|at| {
                let byte = bytes.get(at).copied().unwrap_or(0);
                u32::from(byte) << (8 * at)
            });
            let word = first | middle | last;
            out.extend_from_slice(&word.to_le_bytes());
            u64::from(word)
        }
        4..=8 => {
            let (Some(first), Some(last)) = (bytes.first_chunk(), bytes.last_chunk()) else {
                return false;
            };
            let last = u64::from(u32::from_le_bytes(*last)) << (8 * (length - 4));
            let word = u64::from(u32::from_le_bytes(*first)) | last;
            out.extend_from_slice(&word.to_le_bytes());
            word
        }
        9..=16 => {
            let (Some(first), Some(last)) = (bytes.first_chunk(), bytes.last_chunk()) else {
                return false;
            };
            let (first, last) = (u64::from_le_bytes(*first), u64::from_le_bytes(*last));
            let words = u128::from(first) | u128::from(last) << (8 * (length - 8));
            out.extend_from_slice(&words.to_le_bytes());
            first | last
        }
        17..=SHORT_MAX => {
            let mut high = 0;
            for chunk in bytes.as_chunks::<16>().0 {
                out.extend_from_slice(chunk);
                high |= halves(chunk);
            }
            let Some(last) = bytes.last_chunk() else {
                return false;
            };
            out.truncate(end - 16);
            out.extend_from_slice(last);
            high | halves(last)
        }
        _ => {
            out.extend_from_slice(bytes);
            return bytes.is_ascii();
        }
    };
    out.truncate(end);
    high & HIGHS == 0
}

#[inline(always)]
fn halves(chunk: &[u8; 16]) -> u64 {
    let words = u128::from_le_bytes(*chunk);
    #[expect(clippy::cast_possible_truncation, reason = "both halves are taken")]
    let halves = words as u64 | (words >> 64) as u64;
    halves
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_length_is_copied_whole_and_every_high_byte_is_seen() {
        for length in 0..=2 * SHORT_MAX {
            let bytes: Vec<u8> = (0..length)
                .map(|at| u8::try_from(at % 128).unwrap())
                .collect();
            let mut out = b"before".to_vec();
            assert!(append(&mut out, &bytes), "{length}");
            assert_eq!(out, [b"before", bytes.as_slice()].concat());
            for at in 0..length {
                let mut bytes = bytes.clone();
                bytes[at] |= 0x80;
                let mut out = b"before".to_vec();
                assert!(!append(&mut out, &bytes), "{length} {at}");
                assert_eq!(out, [b"before", bytes.as_slice()].concat());
            }
        }
    }
}
