//! Numbers as text, turned into integers and decimals exactly or not at all. Does not round.

/// Why a number's text has no exact value in a type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Inexact {
    /// Too large.
    Overflow,
    /// It has digits after the last place.
    Fraction,
    /// No number at all.
    NotANumber,
}

/// How many digits always fit 64 bits.
const SHORT_DIGITS_MAX: usize = 18;

/// Up to which whole number a double holds every whole number.
const EXACT_MAX: u64 = 1 << 53;

/// The powers of ten that a double holds exactly.
const EXACT_POWERS: [f64; 23] = [
    1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16,
    1e17, 1e18, 1e19, 1e20, 1e21, 1e22,
];

/// The powers of ten that 64 bits hold.
#[expect(clippy::indexing_slicing, reason = "the compiler evaluates it")]
const WHOLE_POWERS: [u64; 20] = {
    let mut powers = [1; 20];
    let mut place = 1;
    while place < powers.len() {
        powers[place] = powers[place - 1] * 10;
        place += 1;
    }
    powers
};

/// A number of few digits and no exponent: most of those that there are.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Short {
    is_negative: bool,
    digits: u64,
    /// How many of the digits are behind the point.
    fraction: usize,
}

impl Short {
    /// Reads a short number that `bytes` begin with, and says how long its text is.
    #[inline(always)]
    pub(crate) fn read(bytes: &[u8]) -> Option<(Short, usize)> {
        let (is_negative, unsigned) = match bytes {
            [b'-', rest @ ..] => (true, rest),
            rest => (false, rest),
        };
        let (digits, mut rest) = read_digits(0, unsigned);
        let whole = unsigned.len() - rest.len();
        let (mut number, mut fraction) = (digits, 0);
        if let [b'.', behind @ ..] = rest {
            (number, rest) = read_digits(digits, behind);
            fraction = behind.len() - rest.len();
            if fraction == 0 {
                return None;
            }
        }
        // What is no JSON number is left to the reader that says why.
        let has_extra_zero = whole > 1 && unsigned.first() == Some(&b'0');
        let has_exponent = matches!(rest.first(), Some(b'e' | b'E'));
        if whole == 0 || has_extra_zero || has_exponent || whole + fraction > SHORT_DIGITS_MAX {
            return None;
        }
        Some((
            Short {
                is_negative,
                digits: number,
                fraction,
            },
            bytes.len() - rest.len(),
        ))
    }

    #[inline]
    pub(crate) fn long(self) -> Option<i64> {
        let value = i64::try_from(self.digits)
            .ok()
            .filter(|_| self.fraction == 0)?;
        Some(if self.is_negative { -value } else { value })
    }

    /// The nearest double, where one division of exact numbers finds it.
    #[inline]
    pub(crate) fn double(self) -> Option<f64> {
        let power = EXACT_POWERS
            .get(self.fraction)
            .filter(|_| self.digits <= EXACT_MAX)?;
        let value = self.digits as f64 / power;
        Some(if self.is_negative { -value } else { value })
    }

    /// The number times ten to the power of `scale`, if it is whole and small.
    #[inline]
    pub(crate) fn unscaled(self, scale: u32) -> Option<i128> {
        let shift = scale.checked_sub(u32::try_from(self.fraction).ok()?)?;
        let power = WHOLE_POWERS.get(usize::try_from(shift).ok()?)?;
        let value = i128::from(self.digits) * i128::from(*power);
        Some(if self.is_negative { -value } else { value })
    }
}

/// Appends the leading digits of `bytes` to a number and gives what is left; too many wrap around.
#[inline(always)]
fn read_digits(mut number: u64, mut bytes: &[u8]) -> (u64, &[u8]) {
    // Only times have so many.
    while let Some((chunk, rest)) = bytes.split_first_chunk::<8>()
        && chunk[7].is_ascii_digit()
        && let Some(digits) = eight_digits(*chunk)
    {
        number = number.wrapping_mul(100_000_000).wrapping_add(digits);
        bytes = rest;
    }
    while let [byte, rest @ ..] = bytes {
        let digit = byte.wrapping_sub(b'0');
        if digit > 9 {
            break;
        }
        number = number.wrapping_mul(10).wrapping_add(u64::from(digit));
        bytes = rest;
    }
    (number, bytes)
}

/// The number that eight digits are, if they are digits: neighbours are joined to pairs, pairs to fours, and fours to the number.
#[inline]
fn eight_digits(chunk: [u8; 8]) -> Option<u64> {
    const HIGH_HALVES: u64 = 0xf0f0_f0f0_f0f0_f0f0;
    let word = u64::from_le_bytes(chunk);
    let above_nine = word.wrapping_add(0x0606_0606_0606_0606) & HIGH_HALVES;
    if (word & HIGH_HALVES) | (above_nine >> 4) != 0x3333_3333_3333_3333 {
        return None;
    }
    let ones = word.wrapping_sub(0x3030_3030_3030_3030);
    let pairs = ones.wrapping_mul(10).wrapping_add(ones >> 8);
    let low = (pairs & 0x0000_00ff_0000_00ff).wrapping_mul(0x000f_4240_0000_0064);
    let high = ((pairs >> 16) & 0x0000_00ff_0000_00ff).wrapping_mul(0x0000_2710_0000_0001);
    Some(low.wrapping_add(high) >> 32)
}

/// The whole number that `text` is, if it fits 64 bits; `5.0` and `5e3` are whole.
pub(crate) fn long(text: &str) -> Result<i64, Inexact> {
    unscaled(text, 0).and_then(|value| i64::try_from(value).map_err(|_| Inexact::Overflow))
}

/// The number that `text` is, times ten to the power of `scale`. Takes a sign, leading zeros and an exponent of any size.
pub(crate) fn unscaled(text: &str, scale: u32) -> Result<i128, Inexact> {
    let (is_negative, unsigned) = match text.as_bytes() {
        [b'-', rest @ ..] => (true, rest),
        [b'+', rest @ ..] => (false, rest),
        rest => (false, rest),
    };
    let digits_end = unsigned
        .iter()
        .position(|byte| matches!(byte, b'e' | b'E'))
        .unwrap_or(unsigned.len());
    let (mantissa, exponent) = unsigned
        .split_at_checked(digits_end)
        .unwrap_or((unsigned, &[]));
    let point = mantissa.iter().position(|byte| *byte == b'.');
    let (whole, fraction) = match point.and_then(|point| mantissa.split_at_checked(point)) {
        Some((whole, [_, fraction @ ..])) if !fraction.is_empty() => (whole, fraction),
        Some(_) => return Err(Inexact::NotANumber),
        None => (mantissa, &[][..]),
    };
    let all_digits = whole.iter().chain(fraction).all(u8::is_ascii_digit);
    if whole.is_empty() || !all_digits {
        return Err(Inexact::NotANumber);
    }
    let fraction_digits = i64::try_from(fraction.len()).unwrap_or(i64::MAX);
    let shift = exponent_of(exponent)?
        .saturating_sub(fraction_digits)
        .saturating_add(i64::from(scale));
    let magnitude = magnitude(whole.iter().chain(fraction), shift)?;
    Ok(if is_negative { -magnitude } else { magnitude })
}

fn exponent_of(text: &[u8]) -> Result<i64, Inexact> {
    let (is_negative, digits) = match text {
        [] => return Ok(0),
        [_, b'-', digits @ ..] => (true, digits),
        [_, b'+', digits @ ..] | [_, digits @ ..] => (false, digits),
    };
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return Err(Inexact::NotANumber);
    }
    let add = |value: i64, digit: &u8| {
        value
            .saturating_mul(10)
            .saturating_add(i64::from(digit - b'0'))
    };
    let exponent = digits.iter().fold(0, add);
    Ok(if is_negative {
        exponent.saturating_neg()
    } else {
        exponent
    })
}

/// The digits times ten to the power of `shift`.
fn magnitude<'a>(digits: impl Iterator<Item = &'a u8>, shift: i64) -> Result<i128, Inexact> {
    let mut value = 0i128;
    let mut zeros = 0u32;
    for digit in digits {
        if *digit == b'0' {
            // Zeros count only before another digit.
            zeros = zeros.saturating_add(u32::from(value != 0));
            continue;
        }
        let power = zeros
            .checked_add(1)
            .and_then(|zeros| 10i128.checked_pow(zeros));
        let shifted = power.and_then(|power| value.checked_mul(power));
        value = if value == 0 { Some(0) } else { shifted }
            .and_then(|value| value.checked_add(i128::from(digit - b'0')))
            .ok_or(if shift < -40 {
                Inexact::Fraction
            } else {
                Inexact::Overflow
            })?;
        zeros = 0;
    }
    if value == 0 {
        return Ok(0);
    }
    match shift.saturating_add(i64::from(zeros)) {
        shift @ 0.. => {
            let power = u32::try_from(shift)
                .ok()
                .and_then(|shift| 10i128.checked_pow(shift));
            power
                .and_then(|power| value.checked_mul(power))
                .ok_or(Inexact::Overflow)
        }
        // The last digit is not zero, so that no division is exact.
        _ => Err(Inexact::Fraction),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn eight_digits_are_a_number_and_nothing_else_is() {
        for number in [0, 1, 9, 10_203_040, 12_345_678, 98_765_432, 99_999_999] {
            let text = format!("{number:08}");
            let chunk = *text.as_bytes().first_chunk::<8>().unwrap();
            assert_eq!(eight_digits(chunk), Some(number));
            for at in 0..8 {
                for byte in (0..=u8::MAX).filter(|byte| !byte.is_ascii_digit()) {
                    let mut other = chunk;
                    other[at] = byte;
                    assert_eq!(eight_digits(other), None, "{other:?}");
                }
            }
        }
    }

    #[test]
    fn whole_numbers_in_any_spelling_are_longs() {
        for (text, expected) in [
            ("0", Ok(0)),
            ("-0", Ok(0)),
            ("5.0", Ok(5)),
            ("5e3", Ok(5000)),
            ("-12.50e1", Ok(-125)),
            ("9223372036854775807", Ok(i64::MAX)),
            ("-9223372036854775808", Ok(i64::MIN)),
            ("9223372036854775808", Err(Inexact::Overflow)),
            ("9007199254740993.0", Ok(9_007_199_254_740_993)),
            ("0.5", Err(Inexact::Fraction)),
            ("5.00000000000000000001", Err(Inexact::Fraction)),
            ("1e400", Err(Inexact::Overflow)),
            ("1e-400", Err(Inexact::Fraction)),
            ("0e99999999999999999999", Ok(0)),
            ("1e99999999999999999999", Err(Inexact::Overflow)),
            ("1000000000000000000000000000000000000000000e-42", Ok(1)),
        ] {
            assert_eq!(long(text), expected, "{text}");
        }
    }

    #[test]
    fn decimals_keep_every_digit_or_are_refused() {
        for (text, scale, expected) in [
            (
                "12345678901234567890.1234567891",
                10,
                Ok(123_456_789_012_345_678_901_234_567_891),
            ),
            ("1.10", 1, Ok(11)),
            ("1.11", 1, Err(Inexact::Fraction)),
            ("+007.50", 2, Ok(750)),
            ("1E-2", 2, Ok(1)),
            ("-1e2", 2, Ok(-10000)),
            ("", 0, Err(Inexact::NotANumber)),
            ("-", 0, Err(Inexact::NotANumber)),
            ("1.", 0, Err(Inexact::NotANumber)),
            (".5", 1, Err(Inexact::NotANumber)),
            ("1e", 0, Err(Inexact::NotANumber)),
            ("1e+", 0, Err(Inexact::NotANumber)),
            ("NaN", 0, Err(Inexact::NotANumber)),
            ("1 ", 0, Err(Inexact::NotANumber)),
            ("0x10", 0, Err(Inexact::NotANumber)),
            ("1.2.3", 3, Err(Inexact::NotANumber)),
        ] {
            assert_eq!(unscaled(text, scale), expected, "{text}");
        }
        assert_eq!(unscaled(&"9".repeat(5000), 0), Err(Inexact::Overflow));
    }
}
