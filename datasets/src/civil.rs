//! Dates of the civil (Gregorian) calendar, as seconds since 1970, UTC.

const DAY_S: i64 = 86_400;

/// Seconds since 1970 of `2013-05-06`, or with `06:00`, `06:00:00` or `06:00:00.5` behind a blank or a `T`, and a `Z` or not.
pub(crate) fn iso_seconds(text: &str) -> Option<f64> {
    let text = text.trim();
    let (date, clock) = text.split_once([' ', 'T']).unwrap_or((text, "0:0"));
    let [year, month, day] = three(date, '-')?;
    Some((days_since_1970(year, month, day)? * DAY_S) as f64 + clock_seconds(clock)?)
}

/// The same of `6/21/2005 10:54`: month first.
pub(crate) fn american_seconds(text: &str) -> Option<f64> {
    let text = text.trim();
    let (date, clock) = text.split_once(' ').unwrap_or((text, "0:0"));
    let [month, day, year] = three(date, '/')?;
    Some((days_since_1970(year, month, day)? * DAY_S) as f64 + clock_seconds(clock)?)
}

/// The day of a moment, such as `2013-05-06`.
pub fn day_of(unix_s: u64) -> String {
    // The year begins in March, so that the leap day is its last (Howard Hinnant's algorithm).
    let days = (unix_s / DAY_S as u64) as i64 + 719_468;
    let (era, of_era) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let of_era_years = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * of_era_years + of_era_years / 4 - of_era_years / 100);
    let march_month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * march_month + 2) / 5 + 1;
    let month = if march_month < 10 { march_month + 3 } else { march_month - 9 };
    let year = era * 400 + of_era_years + i64::from(month <= 2);
    format!("{year:04}-{month:02}-{day:02}")
}

/// Three numbers without signs.
fn three(text: &str, by: char) -> Option<[i64; 3]> {
    let mut parts = text.split(by).map(|part| part.parse::<u16>().ok().map(i64::from));
    let three = [parts.next()??, parts.next()??, parts.next()??];
    parts.next().is_none().then_some(three)
}

fn days_since_1970(year: i64, month: i64, day: i64) -> Option<i64> {
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let lengths = [31, if leap { 29 } else { 28 }, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    let length = *lengths.get(usize::try_from(month).ok()?.checked_sub(1)?)?;
    if !(1..=9_999).contains(&year) || !(1..=length).contains(&day) {
        return None;
    }
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let before = year * 365 + year / 4 - year / 100 + year / 400;
    Some(before + (153 * month + 2) / 5 + day - 1 - 719_468)
}

fn clock_seconds(clock: &str) -> Option<f64> {
    let mut parts = clock.trim_end_matches('Z').split(':');
    let (hour, minute): (u32, u32) = (parts.next()?.parse().ok()?, parts.next()?.parse().ok()?);
    let second: f64 = parts.next().map_or(Some(0.0), |text| text.parse().ok())?;
    let legal = hour < 24 && minute < 60 && (0.0..61.0).contains(&second);
    let seconds = f64::from(hour) * 3_600.0 + f64::from(minute) * 60.0 + second;
    (legal && parts.next().is_none()).then_some(seconds)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn dates_are_seconds_since_1970() {
        // By `date -u -d DATE +%s`.
        for (text, seconds) in [
            ("1970-01-01 00:00:01", 1.0),
            ("2000-03-01T00:00:00Z", 951_868_800.0),
            ("2013-05-06", 1_367_798_400.0),
            ("2020-02-29 06:30", 1_582_957_800.0),
            ("2024-02-29 12:00:00.5", 1_709_208_000.5),
        ] {
            assert_eq!(iso_seconds(text), Some(seconds), "{text}");
        }
        assert_eq!(american_seconds("6/21/2005 10:54"), Some(1_119_351_240.0));
        for bad in [
            "",
            "x",
            "2013-02-29",
            "2013-13-01",
            "2013-1",
            "2013-01-01 24:00",
            "2013-01-01 1:2:3:4",
            "2013-01-01 1:2:NaN",
            "1-1-1-1",
            "-2013-01-01",
        ] {
            assert_eq!(iso_seconds(bad), None, "{bad}");
        }
    }

    proptest! {
        #[test]
        fn a_day_is_read_as_it_was_written(day in 0_u64..2_900_000) {
            let seconds = day * DAY_S as u64;
            prop_assert_eq!(iso_seconds(&day_of(seconds + 86_399)), Some(seconds as f64));
        }
    }
}
