//! Sizes (`128MiB`), durations (`30s`) and points in time as people write them. Owns the grammar and its complaints; knows no key and no bound.

use std::time::Duration;

const SIZES: [(&str, u64); 9] = [
    ("B", 1),
    ("KiB", 1 << 10),
    ("MiB", 1 << 20),
    ("GiB", 1 << 30),
    ("TiB", 1 << 40),
    ("KB", 1_000),
    ("MB", 1_000_000),
    ("GB", 1_000_000_000),
    ("TB", 1_000_000_000_000),
];

const DURATIONS: [(&str, u64); 5] = [
    ("ms", 1),
    ("s", 1_000),
    ("m", 60_000),
    ("h", 3_600_000),
    ("d", 86_400_000),
];

/// Bytes: a whole number and a unit, upper or lower case.
pub(crate) fn size(text: &str) -> Result<u64, String> {
    let hint = "write a size such as `128MiB`, `1GiB` or `500KB`";
    let (number, unit) = split(text).ok_or_else(|| format!("is not a size; {hint}"))?;
    if unit.is_empty() {
        return Err(format!("has no unit; {hint}"));
    }
    let Some((_, bytes)) = SIZES
        .iter()
        .find(|(name, _)| name.eq_ignore_ascii_case(unit))
    else {
        return Err(match unit {
            "K" | "k" | "Ki" => format!("has the unit `{unit}`; write `{number}KiB`"),
            "M" | "m" | "Mi" => format!("has the unit `{unit}`; write `{number}MiB`"),
            "G" | "g" | "Gi" => format!("has the unit `{unit}`; write `{number}GiB`"),
            _ => format!("has the unknown unit `{unit}`; {hint}"),
        });
    };
    whole(number, hint)?
        .checked_mul(*bytes)
        .ok_or_else(|| format!("is too large; {hint}"))
}

/// A length of time: a whole number and a unit.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    let hint = "write a duration such as `500ms`, `30s`, `5m`, `1h` or `7d`";
    let (number, unit) = split(text).ok_or_else(|| format!("is not a duration; {hint}"))?;
    if unit.is_empty() {
        return Err(format!("has no unit; {hint}"));
    }
    let Some((_, millis)) = DURATIONS.iter().find(|(name, _)| *name == unit) else {
        let close = match unit {
            "sec" | "secs" | "second" | "seconds" | "S" => "s",
            "min" | "mins" | "minute" | "minutes" => "m",
            "hr" | "hrs" | "hour" | "hours" | "H" => "h",
            "day" | "days" | "D" => "d",
            "msec" | "millis" | "milliseconds" | "MS" => "ms",
            _ if unit.contains(|c: char| c.is_ascii_digit()) => {
                return Err(
                    "has more than one unit; use one, such as `90m` for an hour and a half"
                        .to_owned(),
                );
            }
            _ => return Err(format!("has the unknown unit `{unit}`; {hint}")),
        };
        return Err(format!("has the unit `{unit}`; write `{number}{close}`"));
    };
    let total = whole(number, hint)?
        .checked_mul(*millis)
        .ok_or_else(|| format!("is too long; {hint}"))?;
    Ok(Duration::from_millis(total))
}

/// Milliseconds since 1970 UTC of an ISO-8601 time with a zone.
pub(crate) fn timestamp_ms(text: &str) -> Result<i64, String> {
    let hint = "write a time with its zone, such as `2026-01-01T00:00:00Z`";
    let time = chrono::DateTime::parse_from_rfc3339(text).map_err(|_| {
        let zoned = format!("{text}Z");
        let dated = format!("{text}T00:00:00Z");
        if chrono::DateTime::parse_from_rfc3339(&zoned).is_ok() {
            format!("has no zone; for UTC write `{zoned}`")
        } else if chrono::DateTime::parse_from_rfc3339(&dated).is_ok() {
            format!("has no time of day; for midnight UTC write `{dated}`")
        } else {
            format!("is not an ISO-8601 time; {hint}")
        }
    })?;
    match time.timestamp_millis() {
        millis if millis < 0 => Err("is before 1970, where Kafka's timestamps begin".to_owned()),
        millis => Ok(millis),
    }
}

/// Bytes in the largest unit that says them exactly.
pub(crate) fn show_size(bytes: u64) -> String {
    let exact = |divisor: u64| bytes >= divisor && bytes.is_multiple_of(divisor);
    match SIZES
        .iter()
        .skip(1)
        .take(4)
        .rev()
        .find(|(_, divisor)| exact(*divisor))
    {
        Some((unit, divisor)) => format!("{}{unit}", bytes / divisor),
        None => format!("{bytes}B"),
    }
}

/// A length of time in the largest unit that says it exactly.
pub(crate) fn show_duration(duration: Duration) -> String {
    let millis = duration.as_millis();
    match DURATIONS.iter().rev().find(|(_, divisor)| {
        millis >= u128::from(*divisor) && millis.is_multiple_of(u128::from(*divisor))
    }) {
        Some((unit, divisor)) => format!("{}{unit}", millis / u128::from(*divisor)),
        None => format!("{millis}ms"),
    }
}

/// The number in front and the unit behind; none when it does not begin with a digit.
fn split(text: &str) -> Option<(&str, &str)> {
    let text = text.trim();
    let end = text
        .find(|c: char| !(c.is_ascii_digit() || c == '.' || c == '_'))
        .unwrap_or(text.len());
    let (number, unit) = text.split_at_checked(end)?;
    number
        .starts_with(|c: char| c.is_ascii_digit())
        .then(|| (number, unit.trim()))
}

fn whole(number: &str, hint: &str) -> Result<u64, String> {
    if number.contains(['.', '_']) {
        return Err(format!(
            "is not a whole number of its unit; use a smaller unit; {hint}"
        ));
    }
    number.parse().map_err(|_| format!("is too large; {hint}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_carry_units() {
        for (text, bytes) in [
            ("0B", 0),
            ("1b", 1),
            ("128MiB", 128 << 20),
            ("128 mib", 128 << 20),
            ("1GiB", 1 << 30),
            ("2TiB", 2 << 40),
            ("5KB", 5_000),
            ("5kb", 5_000),
            ("100MB", 100_000_000),
            ("3GB", 3_000_000_000),
            ("1TB", 1_000_000_000_000),
        ] {
            assert_eq!(size(text), Ok(bytes), "{text}");
        }
        for (text, complaint) in [
            ("128", "has no unit"),
            ("", "is not a size"),
            ("MiB", "is not a size"),
            ("-1MiB", "is not a size"),
            ("1.5GiB", "whole number"),
            ("1G", "write `1GiB`"),
            ("512Mi", "write `512MiB`"),
            ("1 parsec", "unknown unit `parsec`"),
            ("99999999999999999999B", "too large"),
            ("99999999TiB", "too large"),
        ] {
            let said = size(text).unwrap_err();
            assert!(said.contains(complaint), "{text}: {said}");
        }
    }

    #[test]
    fn durations_carry_units() {
        for (text, millis) in [
            ("0s", 0),
            ("500ms", 500),
            ("30s", 30_000),
            ("5m", 300_000),
            ("1h", 3_600_000),
            ("7d", 604_800_000),
            ("30 s", 30_000),
        ] {
            assert_eq!(duration(text), Ok(Duration::from_millis(millis)), "{text}");
        }
        for (text, complaint) in [
            ("30", "has no unit"),
            ("soon", "is not a duration"),
            ("-1s", "is not a duration"),
            ("1.5h", "whole number"),
            ("10 minutes", "write `10m`"),
            ("30sec", "write `30s`"),
            ("1h30m", "more than one unit"),
            ("3 moons", "unknown unit `moons`"),
            ("99999999999999999d", "too long"),
        ] {
            let said = duration(text).unwrap_err();
            assert!(said.contains(complaint), "{text}: {said}");
        }
    }

    #[test]
    fn times_carry_zones() {
        assert_eq!(timestamp_ms("1970-01-01T00:00:01Z"), Ok(1_000));
        assert_eq!(timestamp_ms("1970-01-01T01:00:00.250+01:00"), Ok(250));
        assert!(
            timestamp_ms("2026-01-01T00:00:00")
                .unwrap_err()
                .contains("`2026-01-01T00:00:00Z`")
        );
        assert!(
            timestamp_ms("2026-01-01")
                .unwrap_err()
                .contains("`2026-01-01T00:00:00Z`")
        );
        assert!(
            timestamp_ms("1969-12-31T23:59:59Z")
                .unwrap_err()
                .contains("1970")
        );
        assert!(timestamp_ms("yesterday").unwrap_err().contains("ISO-8601"));
    }

    #[test]
    fn what_is_shown_is_read_back() {
        for bytes in [0, 1, 1023, 1024, 128 << 20, 1 << 30, 1_000_000] {
            assert_eq!(size(&show_size(bytes)), Ok(bytes));
        }
        for millis in [0, 1, 999, 1000, 60_000, 86_400_000, 90_000] {
            let duration_of = Duration::from_millis(millis);
            assert_eq!(duration(&show_duration(duration_of)), Ok(duration_of));
        }
    }
}
