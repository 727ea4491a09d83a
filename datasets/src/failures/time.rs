//! Dates as hours since 1970.

/// Hours since 1970-01-01 of `2013-05-06`, or with `06:00:00` behind it.
pub(super) fn iso_hours(text: &str) -> Option<f64> {
    let text = text.trim();
    let (date, clock) = text.split_once([' ', 'T']).unwrap_or((text, "0:0"));
    let mut parts = date.split('-');
    let (year, month, day) = (parts.next()?, parts.next()?, parts.next()?);
    whole(parts.next().is_none(), year, month, day, clock)
}

/// The same of `6/21/2005 10:54` (month first).
pub(super) fn american_hours(text: &str) -> Option<f64> {
    let text = text.trim();
    let (date, clock) = text.split_once(' ').unwrap_or((text, "0:0"));
    let mut parts = date.split('/');
    let (month, day, year) = (parts.next()?, parts.next()?, parts.next()?);
    whole(parts.next().is_none(), year, month, day, clock)
}

fn whole(complete: bool, year: &str, month: &str, day: &str, clock: &str) -> Option<f64> {
    let (year, month, day) = (year.parse::<i64>().ok()?, number(month)?, number(day)?);
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let lengths = [31, if leap { 29 } else { 28 }, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    let length = *lengths.get(usize::try_from(month).ok()?.checked_sub(1)?)?;
    if !complete || !(1900..=2200).contains(&year) || !(1..=length).contains(&day) {
        return None;
    }
    let days = days_since_1970(year, i64::from(month), i64::from(day));
    Some(days as f64 * 24.0 + clock_hours(clock)?)
}

fn clock_hours(clock: &str) -> Option<f64> {
    let mut parts = clock.trim_end_matches('Z').split(':');
    let (hour, minute) = (number(parts.next()?)?, number(parts.next()?)?);
    let second: f64 = parts.next().map_or(Some(0.0), |text| text.parse().ok())?;
    let legal = hour < 24 && minute < 60 && (0.0..61.0).contains(&second);
    let hours = f64::from(hour) + f64::from(minute) / 60.0 + second / 3_600.0;
    (legal && parts.next().is_none()).then_some(hours)
}

fn number(text: &str) -> Option<u32> {
    text.parse().ok()
}

/// Days of the civil calendar (Howard Hinnant's algorithm).
fn days_since_1970(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let of_era = year.rem_euclid(400);
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_hours_since_1970() {
        // Seconds by `date -u -d DATE +%s`.
        assert_eq!(iso_hours("2013-05-06"), Some(1_367_798_400.0 / 3_600.0));
        assert_eq!(iso_hours("2020-02-29 06:30:00"), Some(1_582_957_800.0 / 3_600.0));
        assert_eq!(american_hours("6/21/2005 10:54"), Some(1_119_351_240.0 / 3_600.0));
        for bad in ["", "2013-02-29", "2013-13-01", "2013-1", "2013-01-01 24:00", "1-1-1-1", "x"] {
            assert_eq!(iso_hours(bad), None, "{bad}");
        }
    }
}
