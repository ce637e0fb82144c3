//! The proleptic Gregorian calendar in UTC over the whole range of Arrow's dates and timestamps, negative ones too. Text only; knows no time zone.

pub(crate) const MICROS_PER_DAY: i64 = 86_400_000_000;
pub(crate) const MICROS_PER_HOUR: i64 = 3_600_000_000;

/// Year, month and day of a number of days since 1970-01-01.
pub(crate) fn civil(days: i64) -> (i64, i64, i64) {
    // Counts from 0000-03-01, so that a leap day ends its year; see Hinnant, "chrono-Compatible Low-Level Date Algorithms".
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let day_of_era = shifted.rem_euclid(146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 {
        shifted_month + 3
    } else {
        shifted_month - 9
    };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    (year, month, day)
}

/// Four digits at least; a sign where ISO 8601 needs one.
pub(crate) fn year_text(year: i64) -> String {
    match year {
        0..=9999 => format!("{year:04}"),
        10_000.. => format!("+{year}"),
        i64::MIN..0 => format!("-{:04}", year.unsigned_abs()),
    }
}

/// `yyyy-MM-dd`.
pub(crate) fn date_text(days: i64) -> String {
    let (year, month, day) = civil(days);
    format!("{}-{month:02}-{day:02}", year_text(year))
}

/// `yyyy-MM` of a number of months since 1970-01.
pub(crate) fn month_text(months: i64) -> String {
    format!(
        "{}-{:02}",
        year_text(1970 + months.div_euclid(12)),
        months.rem_euclid(12) + 1
    )
}

/// `yyyy-MM-dd-HH` of a number of hours since 1970-01-01T00.
pub(crate) fn hour_text(hours: i64) -> String {
    format!(
        "{}-{:02}",
        date_text(hours.div_euclid(24)),
        hours.rem_euclid(24)
    )
}

/// `yyyy-MM-ddTHH:mm:ss` with `digits` digits of the second's fraction, which is given in units of as many digits; no zone.
pub(crate) fn date_time_text(since_epoch: i64, digits: u32) -> String {
    let unit = 10_i64.pow(digits);
    let seconds = since_epoch.div_euclid(unit);
    let fraction = since_epoch.rem_euclid(unit);
    let second_of_day = seconds.rem_euclid(86_400);
    let (hour, minute, second) = (
        second_of_day / 3600,
        second_of_day / 60 % 60,
        second_of_day % 60,
    );
    let width = usize::try_from(digits).unwrap_or(0);
    format!(
        "{}T{hour:02}:{minute:02}:{second:02}.{fraction:0width$}",
        date_text(seconds.div_euclid(86_400))
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_agree_with_chrono_over_the_years_that_chrono_knows() {
        let epoch = chrono::NaiveDate::from_ymd_opt(1970, 1, 1).unwrap();
        for days in (-3_000_000..3_000_000)
            .step_by(317)
            .chain([-719_528, -1, 0, 59, 60, 11_016, 2_932_896])
        {
            let date = epoch + chrono::TimeDelta::days(days);
            use chrono::Datelike as _;
            assert_eq!(
                civil(days),
                (
                    i64::from(date.year()),
                    i64::from(date.month()),
                    i64::from(date.day())
                )
            );
        }
    }

    #[test]
    fn negative_epochs_floor() {
        assert_eq!(date_time_text(-1, 6), "1969-12-31T23:59:59.999999");
        assert_eq!(date_text(-1), "1969-12-31");
        assert_eq!(month_text(-1), "1969-12");
        assert_eq!(hour_text(-1), "1969-12-31-23");
    }

    #[test]
    fn far_years_carry_a_sign_and_never_panic() {
        assert_eq!(date_text(2_932_897), "+10000-01-01");
        assert_eq!(date_text(-719_529), "-0001-12-31");
        assert_eq!(date_time_text(i64::MAX, 6), "+294247-01-10T04:00:54.775807");
        assert_eq!(date_time_text(i64::MIN, 6), "-290308-12-21T19:59:05.224192");
        assert!(date_text(i64::from(i32::MIN)).starts_with("-5877641-"));
    }
}
