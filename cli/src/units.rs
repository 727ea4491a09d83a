//! Durations, ages and sizes as people write and read them.

/// Reads `10m`, `90s`, `1h30m`, `250ms` or a plain number of seconds; in milliseconds.
pub fn parse_duration_ms(text: &str) -> Result<u64, String> {
    let bad = || format!("`{text}` is not a duration: write 90s, 10m, 1h30m or 250ms");
    if let Ok(seconds) = text.parse::<u64>() {
        return seconds.checked_mul(1_000).ok_or_else(bad);
    }
    let mut total: u64 = 0;
    let mut rest = text;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit()).ok_or_else(bad)?;
        let (number, after) = rest.split_at(digits);
        let letters = after.find(|c: char| c.is_ascii_digit()).unwrap_or(after.len());
        let (unit, next) = after.split_at(letters);
        let unit_ms: u64 = match unit {
            "ms" => 1,
            "s" => 1_000,
            "m" => 60_000,
            "h" => 3_600_000,
            "d" => 86_400_000,
            _ => return Err(bad()),
        };
        let part = number.parse::<u64>().ok().and_then(|n| n.checked_mul(unit_ms));
        total = part.and_then(|part| total.checked_add(part)).ok_or_else(bad)?;
        rest = next;
    }
    if text.is_empty() { Err(bad()) } else { Ok(total) }
}

/// Milliseconds in their two largest units: `850ms`, `3.2s`, `4m 10s`, `2h 5m`, `3d 4h`.
pub fn show_ms(ms: u64) -> String {
    let s = ms / 1_000;
    match s {
        0 => format!("{ms}ms"),
        1..60 => format!("{}.{}s", s, ms % 1_000 / 100),
        60..3_600 => format!("{}m {}s", s / 60, s % 60),
        3_600..86_400 => format!("{}h {}m", s / 3_600, s % 3_600 / 60),
        _ => format!("{}d {}h", s / 86_400, s % 86_400 / 3_600),
    }
}

/// How long ago a moment was.
pub fn show_age(at_unix_ms: u64, now_unix_ms: u64) -> String {
    format!("{} ago", show_ms(now_unix_ms.saturating_sub(at_unix_ms)))
}

/// Bytes with a binary unit.
pub fn show_bytes(bytes: u64) -> String {
    let units = ["KiB", "MiB", "GiB", "TiB"];
    if bytes < 1_024 {
        return format!("{bytes} B");
    }
    let mut value = bytes as f64 / 1_024.0;
    let mut unit = 0;
    while value >= 1_024.0 && unit + 1 < units.len() {
        value /= 1_024.0;
        unit += 1;
    }
    format!("{value:.1} {}", units[unit])
}

/// A figure with as many digits as it is worth.
pub fn show_number(value: f64) -> String {
    match value.abs() {
        a if a >= 100.0 => format!("{value:.0}"),
        a if a >= 1.0 => format!("{value:.2}"),
        0.0 => "0".into(),
        _ => format!("{value:.3}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_read_in_any_unit() {
        for (text, ms) in
            [("10m", 600_000), ("90s", 90_000), ("1h30m", 5_400_000), ("250ms", 250), ("7", 7_000)]
        {
            assert_eq!(parse_duration_ms(text), Ok(ms), "{text}");
        }
        for bad in ["", "m", "10x", "-5s", "1h30", "99999999999999999999s", "1.5s"] {
            assert!(parse_duration_ms(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn figures_are_shown_short() {
        assert_eq!(show_ms(850), "850ms");
        assert_eq!(show_ms(3_250), "3.2s");
        assert_eq!(show_ms(250_000), "4m 10s");
        assert_eq!(show_ms(7_500_000), "2h 5m");
        assert_eq!(show_bytes(512), "512 B");
        assert_eq!(show_bytes(3 << 20), "3.0 MiB");
        assert_eq!(show_age(1_000, 2_500), "1.5s ago");
        assert_eq!((show_number(0.0), show_number(0.12345)), ("0".into(), "0.123".into()));
        assert_eq!((show_number(12.345), show_number(1234.5)), ("12.35".into(), "1234".into()));
    }
}
