//! JSON text as it is written piece by piece: strings with their escapes, numbers, bytes. Owns the spelling; what to write is for the formats.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// JSON text under construction, behind what `out` held before.
#[derive(Debug)]
pub(super) struct JsonText<'a> {
    out: &'a mut Vec<u8>,
    start: usize,
}

impl<'a> JsonText<'a> {
    pub(super) fn new(out: &'a mut Vec<u8>) -> Self {
        let start = out.len();
        JsonText { out, start }
    }

    /// How long the text is so far.
    pub(super) fn len(&self) -> usize {
        self.out.len() - self.start
    }

    /// What is JSON already.
    pub(super) fn raw(&mut self, text: &str) {
        self.out.extend_from_slice(text.as_bytes());
    }

    pub(super) fn string(&mut self, text: &str) {
        // Writing to a vector and serialising a string cannot fail.
        let _infallible = serde_json::to_writer(&mut *self.out, text);
    }

    /// JSON has no word for NaN and infinities: they are strings.
    pub(super) fn number(&mut self, is_finite: bool, text: &str) {
        if is_finite {
            self.raw(text)
        } else {
            self.string(text)
        }
    }

    pub(super) fn base64(&mut self, bytes: &[u8]) {
        self.string(&STANDARD.encode(bytes));
    }

    /// The comma before all items but the first.
    pub(super) fn separate(&mut self, index: usize) {
        if index > 0 {
            self.raw(",");
        }
    }
}
