//! Decimals: two's complement bytes to an unscaled number of the column's precision and scale, exactly or not at all.

use super::compile::Decimal;
use crate::decode::reject::{Code, Fault, Outcome, Shown};

/// The unscaled value in the column's scale.
#[inline]
pub(crate) fn decode(bytes: &[u8], decimal: Decimal) -> Outcome<i128> {
    let value = unscaled(bytes)?;
    let value = if decimal.scale == decimal.to_scale {
        Some(value)
    } else {
        rescale(value, decimal.scale, decimal.to_scale)
    };
    match value {
        Some(value) if fits(value, decimal.to_precision) => Ok(value),
        Some(_) | None => Err(overflow(bytes, decimal)),
    }
}

/// The powers of ten that 128 bits hold: computing one for each value took longer than reading the value.
#[expect(clippy::indexing_slicing, reason = "the compiler evaluates it")]
const POWERS: [u128; 39] = {
    let mut powers = [1; 39];
    let mut place = 1;
    while place < powers.len() {
        powers[place] = powers[place - 1] * 10;
        place += 1;
    }
    powers
};

/// Whether an unscaled number has at most `precision` digits.
#[inline]
pub(crate) fn fits(value: i128, precision: u8) -> bool {
    POWERS
        .get(usize::from(precision))
        .is_none_or(|limit| value.unsigned_abs() < *limit)
}

/// Reads a big-endian two's complement number of any length.
#[inline]
fn unscaled(bytes: &[u8]) -> Outcome<i128> {
    let Some(first) = bytes.first() else {
        return Err(Fault::new(Code::InvalidNumber, "a decimal has no byte"));
    };
    if bytes.len() <= 8 {
        let sign = if *first < 0x80 { 0 } else { u64::MAX };
        let value = bytes
            .iter()
            .fold(sign, |value, byte| (value << 8) | u64::from(*byte));
        return Ok(i128::from(value.cast_signed()));
    }
    let fill = if *first < 0x80 { 0x00 } else { 0xff };
    let extra = bytes.len().saturating_sub(16);
    let (extension, low) = bytes.split_at_checked(extra).unwrap_or((&[], bytes));
    let keeps_sign = low
        .first()
        .is_some_and(|byte| (*byte < 0x80) == (*first < 0x80));
    if extension.iter().any(|byte| *byte != fill) || !keeps_sign {
        return Err(Fault::new(
            Code::DecimalOverflow,
            format!("the decimal {} has more than 38 digits", Shown(bytes)),
        ));
    }
    let sign = if fill == 0 { 0 } else { u128::MAX };
    Ok(low
        .iter()
        .fold(sign, |value, byte| (value << 8) | u128::from(*byte))
        .cast_signed())
}

/// The same number at another scale, if it has one.
fn rescale(value: i128, from: u32, to: u32) -> Option<i128> {
    if to >= from {
        return value.checked_mul(10i128.checked_pow(to - from)?);
    }
    let divisor = 10i128.checked_pow(from - to)?;
    (value % divisor == 0).then(|| value / divisor)
}

#[cold]
fn overflow(bytes: &[u8], decimal: Decimal) -> Box<Fault> {
    let Decimal {
        scale,
        to_precision,
        to_scale,
        ..
    } = decimal;
    let shown = unscaled(bytes)
        .map(|value| format!("{value}e-{scale}"))
        .unwrap_or_default();
    Fault::new(
        Code::DecimalOverflow,
        format!("{shown} does not fit decimal({to_precision}, {to_scale})"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decoded(bytes: &[u8]) -> Option<i128> {
        decode(
            bytes,
            Decimal {
                size: None,
                scale: 2,
                to_precision: 38,
                to_scale: 2,
            },
        )
        .ok()
    }

    #[test]
    fn any_length_is_sign_extended() {
        assert_eq!(decoded(&[0xff]), Some(-1));
        assert_eq!(decoded(&[0xff; 40]), Some(-1));
        assert_eq!(decoded(&[0x00, 0x80]), Some(128));
        assert_eq!(decoded(&[0x80]), Some(-128));
        assert_eq!(decoded(&[0, 0, 0, 0, 0, 0, 0, 0, 0xff]), Some(255));
        let mut long = [0u8; 30];
        long[29] = 7;
        assert_eq!(decoded(&long), Some(7));
    }

    #[test]
    fn too_many_digits_are_refused() {
        assert_eq!(decoded(&[0x7f; 16]), None);
        assert_eq!(
            decoded(&[0x01, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]),
            None
        );
        let mut flipped = [0u8; 17];
        flipped[1] = 0x80;
        assert_eq!(decoded(&flipped), None, "the sign bit is not the number's");
        assert_eq!(
            decode(
                &[100],
                Decimal {
                    size: None,
                    scale: 0,
                    to_precision: 2,
                    to_scale: 0
                }
            )
            .ok(),
            None
        );
        assert_eq!(
            decode(
                &[99],
                Decimal {
                    size: None,
                    scale: 0,
                    to_precision: 2,
                    to_scale: 0
                }
            )
            .ok(),
            Some(99)
        );
    }

    #[test]
    fn another_scale_is_exact_or_refused() {
        let to = |bytes: &[u8], scale, to_scale| {
            decode(
                bytes,
                Decimal {
                    size: None,
                    scale,
                    to_precision: 10,
                    to_scale,
                },
            )
            .ok()
        };
        assert_eq!(to(&[15], 1, 3), Some(1500));
        assert_eq!(to(&[100], 2, 1), Some(10));
        assert_eq!(to(&[101], 2, 1), None);
    }
}
