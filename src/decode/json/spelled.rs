//! The name of a field as records mostly spell it: in quotes, with its colon behind it. Does not know any other spelling.

use serde_json::Value;

/// How many bytes are compared at once.
const CHUNK: usize = 16;

/// A spelled name, whose first bytes are held as a number.
#[derive(Debug)]
pub(crate) struct Spelled {
    text: Vec<u8>,
    first: u128,
    /// Ones where the name has bytes.
    mask: u128,
}

impl Spelled {
    pub(crate) fn new(name: &str) -> Self {
        let text = format!("{}:", Value::from(name)).into_bytes();
        let mut first = [0; CHUNK];
        let mut mask = [0; CHUNK];
        for ((first, mask), byte) in first.iter_mut().zip(&mut mask).zip(&text) {
            (*first, *mask) = (*byte, 0xff);
        }
        Spelled {
            text,
            first: u128::from_le_bytes(first),
            mask: u128::from_le_bytes(mask),
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.text.len()
    }

    /// Whether `bytes` begin with it.
    #[inline(always)]
    pub(crate) fn begins(&self, bytes: &[u8]) -> bool {
        match bytes.first_chunk::<CHUNK>() {
            Some(chunk) => {
                (u128::from_le_bytes(*chunk) ^ self.first) & self.mask == 0
                    && (self.text.len() <= CHUNK || bytes.starts_with(&self.text))
            }
            None => bytes.starts_with(&self.text),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_found_whole_and_nowhere_else() {
        for name in [
            "",
            "a",
            "order_id",
            "thirteen_long",
            "fourteen__long",
            "a name of more than one chunk",
            "\"\n",
        ] {
            let spelled = Spelled::new(name);
            let text = format!("{}:", Value::from(name));
            assert_eq!(spelled.len(), text.len());
            for behind in ["", "1", "\"a value that is longer than any chunk\""] {
                let whole = format!("{text}{behind}");
                assert!(spelled.begins(whole.as_bytes()), "{whole}");
                for at in 0..text.len() {
                    let mut other = whole.clone().into_bytes();
                    other[at] ^= 1;
                    assert!(!spelled.begins(&other), "{name} {at}");
                    assert!(!spelled.begins(&whole.as_bytes()[..at]), "{name} {at}");
                }
            }
        }
    }
}
