//! Text of dates, times and decimals: reads what JSON carries, writes what recursive values carry. Does not know the time now.

use super::reject::Code;

const DAY_SECONDS: i64 = 86_400;
const SECOND_MICROS: i64 = 1_000_000;

/// Microseconds since 1970 UTC of an ISO 8601 date and time with a zone, such as `2021-03-01T07:12:45.123456+00:00`.
pub(crate) fn parse_timestamp(text: &[u8]) -> Result<i64, Code> {
    let mut reader = Reader(text);
    let parsed = reader.date().and_then(|days| {
        reader.one_of(b"Tt ")?;
        Some((days, reader.time_of_day()?))
    });
    let Some((days, micros)) = parsed else {
        return Err(Code::InvalidTimestamp);
    };
    if reader.0.is_empty() {
        return Err(Code::TimestampWithoutZone);
    }
    let offset = reader.zone().ok_or(Code::InvalidTimestamp)?;
    if !reader.0.is_empty() {
        return Err(Code::InvalidTimestamp);
    }
    // Four-digit years keep this far inside 64 bits.
    Ok((i64::from(days) * DAY_SECONDS - offset) * SECOND_MICROS + micros)
}

/// Days since 1970 of `yyyy-mm-dd`.
pub(crate) fn parse_date(text: &[u8]) -> Option<i32> {
    let mut reader = Reader(text);
    reader.date().filter(|_| reader.0.is_empty())
}

/// Microseconds since midnight of `hh:mm:ss[.ffffff]`, zone-less or UTC.
pub(crate) fn parse_time(text: &[u8]) -> Option<i64> {
    let mut reader = Reader(text);
    let micros = reader.time_of_day()?;
    let is_utc = reader.0.is_empty() || reader.zone() == Some(0);
    (is_utc && reader.0.is_empty()).then_some(micros)
}

/// What is left of a text.
struct Reader<'a>(&'a [u8]);

impl Reader<'_> {
    fn one_of(&mut self, bytes: &[u8]) -> Option<u8> {
        let (first, rest) = self.0.split_first()?;
        if !bytes.contains(first) {
            return None;
        }
        self.0 = rest;
        Some(*first)
    }

    fn digits(&mut self, count: usize) -> Option<i32> {
        let (head, rest) = self.0.split_at_checked(count)?;
        let mut number = 0;
        for byte in head {
            number = number * 10 + i32::from(byte.checked_sub(b'0').filter(|digit| *digit < 10)?);
        }
        self.0 = rest;
        Some(number)
    }

    fn two_digits_below(&mut self, limit: i32) -> Option<i32> {
        self.digits(2).filter(|number| *number < limit)
    }

    fn date(&mut self) -> Option<i32> {
        let year = self.digits(4)?;
        self.one_of(b"-")?;
        let month = self.digits(2)?;
        self.one_of(b"-")?;
        let day = self.digits(2)?;
        let is_date = (1..=12).contains(&month) && (1..=days_of_month(year, month)).contains(&day);
        is_date.then(|| days_from_civil(year, month, day))
    }

    fn time_of_day(&mut self) -> Option<i64> {
        let hours = self.two_digits_below(24)?;
        self.one_of(b":")?;
        let minutes = self.two_digits_below(60)?;
        self.one_of(b":")?;
        let seconds = self.two_digits_below(60)?;
        let micros = if self.one_of(b".,").is_some() {
            self.fraction()?
        } else {
            0
        };
        Some(i64::from((hours * 60 + minutes) * 60 + seconds) * SECOND_MICROS + micros)
    }

    /// Microseconds; more digits only if they are zero.
    fn fraction(&mut self) -> Option<i64> {
        let count = self
            .0
            .iter()
            .take_while(|byte| byte.is_ascii_digit())
            .count();
        let (digits, rest) = self.0.split_at_checked(count).filter(|_| count > 0)?;
        self.0 = rest;
        let mut micros = 0;
        for place in 0..6 {
            micros = micros * 10 + i64::from(digits.get(place).map_or(0, |digit| digit - b'0'));
        }
        digits
            .iter()
            .skip(6)
            .all(|digit| *digit == b'0')
            .then_some(micros)
    }

    /// Seconds east of UTC.
    fn zone(&mut self) -> Option<i64> {
        let sign = match self.one_of(b"Zz+-")? {
            b'+' => 1,
            b'-' => -1,
            _ => return Some(0),
        };
        let hours = self.two_digits_below(24)?;
        let has_colon = self.one_of(b":").is_some();
        let minutes = if has_colon || !self.0.is_empty() {
            self.two_digits_below(60)?
        } else {
            0
        };
        Some(sign * i64::from((hours * 60 + minutes) * 60))
    }
}

fn days_of_month(year: i32, month: i32) -> i32 {
    let is_leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    match month {
        2 if is_leap => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Days since 1970 in the proleptic Gregorian calendar (Howard Hinnant's algorithm, years from March).
fn days_from_civil(year: i32, month: i32, day: i32) -> i32 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719_468
}

/// The inverse of `days_from_civil`.
fn civil_from_days(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let day_of_era = days.rem_euclid(146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = (month_from_march + 2) % 12 + 1;
    (year_of_era + era * 400 + i64::from(month <= 2), month, day)
}

/// `yyyy-mm-dd`; years outside of four digits carry a sign.
pub(crate) fn format_date(days: i32) -> String {
    date_text(i64::from(days))
}

fn date_text(days: i64) -> String {
    let (year, month, day) = civil_from_days(days);
    match year {
        0..=9999 => format!("{year:04}-{month:02}-{day:02}"),
        _ => format!("{year:+}-{month:02}-{day:02}"),
    }
}

/// `yyyy-mm-ddThh:mm:ss.ffffffZ`
pub(crate) fn format_timestamp(micros: i64) -> String {
    let day = DAY_SECONDS * SECOND_MICROS;
    let (days, rest) = (micros.div_euclid(day), micros.rem_euclid(day));
    let (seconds, fraction) = (rest / SECOND_MICROS, rest % SECOND_MICROS);
    let (hours, minutes) = (seconds / 3600, seconds / 60 % 60);
    format!(
        "{}T{hours:02}:{minutes:02}:{:02}.{fraction:06}Z",
        date_text(days),
        seconds % 60
    )
}

/// An unscaled number with its decimal point.
pub(crate) fn format_decimal(value: i128, scale: u32) -> String {
    let sign = if value < 0 { "-" } else { "" };
    let scale = usize::try_from(scale).unwrap_or(0);
    let digits = format!("{:0>width$}", value.unsigned_abs(), width = scale + 1);
    let (whole, fraction) = digits
        .split_at_checked(digits.len() - scale)
        .unwrap_or((&digits, ""));
    let point = if fraction.is_empty() { "" } else { "." };
    format!("{sign}{whole}{point}{fraction}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timestamps_of_many_shapes_are_read() {
        for (text, expected) in [
            ("1970-01-01T00:00:00Z", Ok(0)),
            ("1969-12-31T23:59:59.999999Z", Ok(-1)),
            (
                "2021-03-01T07:12:45.123456+00:00",
                Ok(1_614_582_765_123_456),
            ),
            (
                "2021-03-01t08:12:45.1234560000+0100",
                Ok(1_614_582_765_123_456),
            ),
            (
                "2021-03-01 05:42:45.123456-01:30",
                Ok(1_614_582_765_123_456),
            ),
            ("0000-01-01T00:00:00Z", Ok(-62_167_219_200_000_000)),
            ("9999-12-31T23:59:59.999999Z", Ok(253_402_300_799_999_999)),
            ("2000-02-29T00:00:00+01", Ok(951_778_800_000_000)),
            ("2021-03-01T07:12:45", Err(Code::TimestampWithoutZone)),
            ("2021-03-01T07:12:45.1234567Z", Err(Code::InvalidTimestamp)),
            ("2021-02-29T00:00:00Z", Err(Code::InvalidTimestamp)),
            ("2021-03-01T24:00:00Z", Err(Code::InvalidTimestamp)),
            ("2021-03-01T23:59:60Z", Err(Code::InvalidTimestamp)),
            ("2021-03-01T07:12:45.Z", Err(Code::InvalidTimestamp)),
            ("2021-03-01T07:12:45Zz", Err(Code::InvalidTimestamp)),
            ("2021-03-01", Err(Code::InvalidTimestamp)),
            ("", Err(Code::InvalidTimestamp)),
        ] {
            assert_eq!(parse_timestamp(text.as_bytes()), expected, "{text}");
        }
    }

    #[test]
    fn every_day_survives_the_round_trip() {
        for days in (-719_528..2_932_897).step_by(17) {
            assert_eq!(parse_date(format_date(days).as_bytes()), Some(days));
        }
        assert_eq!(
            parse_timestamp(format_timestamp(-1_234_567).as_bytes()),
            Ok(-1_234_567)
        );
        assert!(format_timestamp(i64::MIN).starts_with('-'));
        assert!(format_date(i32::MAX).starts_with('+'));
    }

    #[test]
    fn times_and_decimals() {
        assert_eq!(parse_time(b"01:02:03.5"), Some(3_723_500_000));
        assert_eq!(parse_time(b"01:02:03Z"), Some(3_723_000_000));
        assert_eq!(parse_time(b"01:02:03+02:00"), None);
        assert_eq!(format_decimal(-5, 4), "-0.0005");
        assert_eq!(format_decimal(12345, 2), "123.45");
        assert_eq!(format_decimal(7, 0), "7");
    }
}
