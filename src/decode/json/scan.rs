//! Reads JSON text token by token from a record that is known to be UTF-8. Accepts exactly RFC 8259; lone surrogates are refused. Does not know
//! columns.
//!
//! Lakeward scans JSON itself because decimals, exact integers, error codes and duplicate fields need the text of a value, which a general
//! deserialiser hands out only by a second pass.

use std::borrow::Cow;

use super::number::Short;
use super::spelled::Spelled;
use crate::decode::reject::{Code, Fault, Outcome, shorten};

/// How deep values may nest.
pub(crate) const DEPTH_MAX: usize = 128;

/// The unread rest of a record.
#[derive(Debug)]
pub(crate) struct Scanner<'a> {
    bytes: &'a [u8],
    at: usize,
    /// How many objects and arrays are open.
    depth: usize,
}

/// The inside of a string, between its quotes.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Text<'a> {
    /// As it is.
    Plain(&'a [u8]),
    /// With escapes, which are not checked yet.
    Escaped(&'a [u8]),
}

impl<'a> Scanner<'a> {
    /// A reader of `bytes`, which are UTF-8.
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Scanner {
            bytes,
            at: 0,
            depth: 0,
        }
    }

    /// The next byte that is not white space, which stays unread.
    #[inline]
    pub(crate) fn peek(&mut self) -> Option<u8> {
        loop {
            match self.bytes.get(self.at) {
                Some(b' ' | b'\n' | b'\t' | b'\r') => self.at += 1,
                other => return other.copied(),
            }
        }
    }

    /// Reads `byte`, if it is next.
    #[inline]
    pub(crate) fn accept(&mut self, byte: u8) -> bool {
        let is_next = self.peek() == Some(byte);
        if is_next {
            self.at += 1;
        }
        is_next
    }

    #[inline]
    pub(crate) fn expect(&mut self, byte: u8, what: &str) -> Outcome {
        if self.accept(byte) {
            Ok(())
        } else {
            Err(self.malformed(what))
        }
    }

    /// Begins an object or array, whose first byte is next.
    pub(crate) fn open(&mut self) -> Outcome {
        self.at += 1;
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            return Err(Fault::new(
                Code::Depth,
                format!("the value nests deeper than {DEPTH_MAX}"),
            ));
        }
        Ok(())
    }

    /// Ends an object or array.
    pub(crate) fn close(&mut self) {
        self.depth -= 1;
    }

    /// Whether everything is read.
    pub(crate) fn finish(&mut self) -> Outcome {
        match self.peek() {
            None => Ok(()),
            Some(_) => {
                let left = self.bytes.len() - self.at;
                Err(Fault::new(
                    Code::TrailingBytes,
                    format!("{left} bytes are left after the JSON value"),
                ))
            }
        }
    }

    pub(crate) fn literal(&mut self, word: &'static str) -> Outcome {
        if !self
            .bytes
            .get(self.at..)
            .is_some_and(|rest| rest.starts_with(word.as_bytes()))
        {
            return Err(self.malformed(word));
        }
        self.at += word.len();
        Ok(())
    }

    /// A string, whose opening quote is next.
    #[inline]
    pub(crate) fn string(&mut self) -> Outcome<Text<'a>> {
        self.at += 1;
        let start = self.at;
        let mut is_escaped = false;
        loop {
            self.at = special(self.bytes, self.at);
            match self.bytes.get(self.at) {
                Some(b'"') => {
                    let inside = self.bytes.get(start..self.at).unwrap_or(&[]);
                    self.at += 1;
                    return Ok(if is_escaped {
                        Text::Escaped(inside)
                    } else {
                        Text::Plain(inside)
                    });
                }
                Some(b'\\') => {
                    is_escaped = true;
                    self.at += 2;
                }
                Some(_) => return Err(self.malformed("a string without control characters")),
                None => return Err(self.malformed("the end of a string")),
            }
        }
    }

    /// The name of a field, with its colon; its opening quote is next.
    #[inline]
    pub(crate) fn name(&mut self) -> Outcome<Cow<'a, [u8]>> {
        if self.peek() != Some(b'"') {
            return Err(self.malformed("a field name"));
        }
        let name = match self.string()? {
            Text::Plain(name) => Cow::Borrowed(name),
            Text::Escaped(raw) => {
                let mut name = Vec::with_capacity(raw.len());
                unescape(raw, &mut name)?;
                Cow::Owned(name)
            }
        };
        self.expect(b':', "a colon")?;
        Ok(name)
    }

    /// Reads the name of a field with its colon, if it is next and spelled like this.
    #[inline(always)]
    pub(crate) fn accept_name(&mut self, name: &Spelled) -> bool {
        let is_next = self
            .bytes
            .get(self.at..)
            .is_some_and(|rest| name.begins(rest));
        if is_next {
            self.at += name.len();
        }
        is_next
    }

    /// Reads a number of few digits without an exponent, if it is next and `convert` takes it.
    #[inline]
    pub(crate) fn short_number_of<T>(&mut self, convert: impl Fn(Short) -> Option<T>) -> Option<T> {
        let (number, length) = Short::read(self.bytes.get(self.at..)?)?;
        let value = convert(number)?;
        self.at += length;
        Some(value)
    }

    /// The text of a number, which is next.
    #[inline]
    pub(crate) fn number(&mut self) -> Outcome<&'a str> {
        let start = self.at;
        if self.byte() == Some(b'-') {
            self.at += 1;
        }
        match self.byte() {
            Some(b'0') => self.at += 1,
            Some(b'1'..=b'9') => self.digits(),
            _ => return Err(self.malformed("a digit")),
        }
        if self.byte() == Some(b'.') {
            self.at += 1;
            self.some_digits()?;
        }
        if matches!(self.byte(), Some(b'e' | b'E')) {
            self.at += 1;
            if matches!(self.byte(), Some(b'+' | b'-')) {
                self.at += 1;
            }
            self.some_digits()?;
        }
        // A number is ASCII.
        Ok(self
            .bytes
            .get(start..self.at)
            .and_then(|text| std::str::from_utf8(text).ok())
            .unwrap_or(""))
    }

    #[inline]
    fn byte(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    #[inline]
    fn digits(&mut self) {
        while self.byte().is_some_and(|byte| byte.is_ascii_digit()) {
            self.at += 1;
        }
    }

    fn some_digits(&mut self) -> Outcome {
        let start = self.at;
        self.digits();
        if self.at == start {
            Err(self.malformed("a digit"))
        } else {
            Ok(())
        }
    }

    /// Reads any value and gives its text; strings inside are checked.
    pub(crate) fn any(&mut self) -> Outcome<&'a [u8]> {
        self.peek();
        let start = self.at;
        self.skip(&mut Vec::new())?;
        Ok(self.bytes.get(start..self.at).unwrap_or(&[]))
    }

    fn skip(&mut self, scratch: &mut Vec<u8>) -> Outcome {
        match self.peek() {
            Some(b'{') => {
                self.open()?;
                let mut is_first = true;
                while self.has_next(b'}', is_first)? {
                    self.name()?;
                    self.skip(scratch)?;
                    is_first = false;
                }
                self.close();
            }
            Some(b'[') => {
                self.open()?;
                let mut is_first = true;
                while self.has_next(b']', is_first)? {
                    self.skip(scratch)?;
                    is_first = false;
                }
                self.close();
            }
            Some(b'"') => {
                if let Text::Escaped(raw) = self.string()? {
                    scratch.clear();
                    unescape(raw, scratch)?;
                }
            }
            Some(b't') => self.literal("true")?,
            Some(b'f') => self.literal("false")?,
            Some(b'n') => self.literal("null")?,
            Some(_) | None => {
                self.number()?;
            }
        }
        Ok(())
    }

    /// Reads what is between the elements of an object or array: its end, or the comma before every element but the first.
    #[inline]
    pub(crate) fn has_next(&mut self, end: u8, is_first: bool) -> Outcome<bool> {
        match self.peek() {
            Some(byte) if byte == end => {
                self.at += 1;
                Ok(false)
            }
            Some(b',') if !is_first => {
                self.at += 1;
                Ok(true)
            }
            Some(_) if is_first => Ok(true),
            Some(_) | None => Err(self.malformed("a comma or the end of an object or array")),
        }
    }

    /// Says what was expected where reading stands.
    #[cold]
    pub(crate) fn malformed(&self, expected: &str) -> Box<Fault> {
        let rest = self.bytes.get(self.at..).unwrap_or(&[]);
        if rest.is_empty() {
            return Fault::new(
                Code::Truncated,
                format!("the JSON text ends where {expected} is expected"),
            );
        }
        let rest = String::from_utf8_lossy(rest);
        Fault::new(
            Code::MalformedJson,
            format!(
                "{expected} is expected at byte {}, found {:?}",
                self.at,
                shorten(&rest)
            ),
        )
    }

    /// Says that the next value is of another kind.
    #[cold]
    pub(crate) fn mismatch(&mut self, expected: &str) -> Box<Fault> {
        let start = self.at;
        match self.any() {
            Ok(found) => Fault::new(
                Code::TypeMismatch,
                format!(
                    "{expected} is expected, found {}",
                    shorten(&String::from_utf8_lossy(found))
                ),
            ),
            // A value that is no JSON at all says so itself.
            Err(fault) => {
                self.at = start;
                fault
            }
        }
    }
}

/// Where the next quote, backslash or control character is, or the end.
#[inline]
fn special(bytes: &[u8], mut at: usize) -> usize {
    let mut rest = bytes.get(at..).unwrap_or(&[]);
    while let Some((chunk, after)) = rest.split_first_chunk::<CHUNK>() {
        let first = first_special(chunk);
        if first < CHUNK {
            return at + first;
        }
        at += CHUNK;
        rest = after;
    }
    // A quote behind the end stands for the end.
    let mut chunk = [b'"'; CHUNK];
    chunk
        .iter_mut()
        .zip(rest)
        .for_each(|(padded, byte)| *padded = *byte);
    at + first_special(&chunk)
}

/// How many bytes are looked at together.
const CHUNK: usize = 16;

/// The place of the first quote, backslash or control character, or `CHUNK`.
#[inline(always)]
fn first_special(chunk: &[u8; CHUNK]) -> usize {
    // A loop that the compiler turns into a few instructions for all places at once.
    let mut flags = [0; CHUNK];
    for (flag, byte) in flags.iter_mut().zip(chunk) {
        *flag = u8::from((*byte == b'"') | (*byte == b'\\') | (*byte < 0x20));
    }
    // No flag at all counts as one behind the end.
    usize::try_from(u128::from_le_bytes(flags).trailing_zeros() / 8).unwrap_or(CHUNK)
}

/// Appends the inside of a string with its escapes resolved.
pub(crate) fn unescape(raw: &[u8], out: &mut Vec<u8>) -> Outcome {
    let mut rest = raw;
    while let Some(at) = rest.iter().position(|byte| *byte == b'\\') {
        let (head, tail) = rest.split_at_checked(at).unwrap_or((rest, &[]));
        out.extend_from_slice(head);
        let Some((_, [escape, after @ ..])) = tail.split_first() else {
            return Err(bad_escape(tail));
        };
        rest = after;
        match escape {
            b'"' | b'\\' | b'/' => out.push(*escape),
            b'b' => out.push(8),
            b'f' => out.push(12),
            b'n' => out.push(b'\n'),
            b'r' => out.push(b'\r'),
            b't' => out.push(b'\t'),
            b'u' => rest = unicode_escape(after, out)?,
            _ => return Err(bad_escape(tail)),
        }
    }
    out.extend_from_slice(rest);
    Ok(())
}

/// Appends the character of `\u`, of which `rest` holds what follows; gives what is left.
fn unicode_escape<'a>(rest: &'a [u8], out: &mut Vec<u8>) -> Outcome<&'a [u8]> {
    let (first, rest) = hex(rest)?;
    let (code_point, rest) = match (first, rest) {
        (0xd800..0xdc00, [b'\\', b'u', after @ ..]) => {
            let (second, after) = hex(after)?;
            if !(0xdc00..0xe000).contains(&second) {
                return Err(lone_surrogate(first));
            }
            (
                0x10000 + ((first - 0xd800) << 10) + (second - 0xdc00),
                after,
            )
        }
        (_, rest) => (first, rest),
    };
    let character = char::from_u32(code_point).ok_or_else(|| lone_surrogate(first))?;
    out.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
    Ok(rest)
}

fn hex(bytes: &[u8]) -> Outcome<(u32, &[u8])> {
    let split = bytes.split_at_checked(4);
    let parsed = split.and_then(|(digits, rest)| {
        let digit = |value: u32, byte: &u8| Some(value * 16 + char::from(*byte).to_digit(16)?);
        Some((digits.iter().try_fold(0, digit)?, rest))
    });
    parsed.ok_or_else(|| bad_escape(bytes))
}

#[cold]
fn lone_surrogate(unit: u32) -> Box<Fault> {
    Fault::new(
        Code::InvalidUtf8,
        format!("a string holds the lone surrogate \\u{unit:04x}, which is no character"),
    )
}

#[cold]
fn bad_escape(at: &[u8]) -> Box<Fault> {
    let shown = shorten(&String::from_utf8_lossy(at));
    Fault::new(
        Code::MalformedJson,
        format!("a string holds the unknown escape {shown:?}"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(chunk: &[u8; CHUNK]) {
        let is_special = |byte: &u8| matches!(byte, b'"' | b'\\' | 0..0x20);
        let expected = chunk.iter().position(is_special).unwrap_or(CHUNK);
        assert_eq!(first_special(chunk), expected, "{chunk:?}");
    }

    #[test]
    fn the_first_special_byte_is_found_at_every_place_before_any_other() {
        check(&[b'x'; CHUNK]);
        for at in 0..CHUNK {
            for byte in 0..=u8::MAX {
                for after in [b'x', 0, 0x1f, b'"', b'\\', 0x80, 0xff] {
                    let mut chunk = [b'x'; CHUNK];
                    chunk[at + 1..].fill(after);
                    chunk[at] = byte;
                    check(&chunk);
                }
            }
        }
    }

    #[test]
    fn the_end_is_found_at_every_distance() {
        for length in 0..3 * CHUNK {
            let text = "y".repeat(length);
            for at in 0..=length {
                assert_eq!(special(text.as_bytes(), at), length);
            }
        }
    }
}
