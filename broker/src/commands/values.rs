//! Values as people write them on the command line: times, moments, positions, settings.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use pyralog_client::{LogId, LogOffset, StartAt};
use pyralog_protocol::Vlsn;

/// The longest time that is taken for meant: a hundred years.
const SPAN_MAX: Duration = Duration::from_secs(100 * 366 * 24 * 3600);
const DAY_SECONDS: i64 = 24 * 3600;

/// Where to begin reading.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum From {
    /// Anything that a log has a word for.
    At(StartAt),
    /// So many records before the end of each partition.
    Last(u64),
}

/// `500ms`, `10s`, `5m`, `2h`, `7d`, `2w`; without a unit: seconds.
pub fn span(text: &str) -> Result<Duration, String> {
    let message = || "give a time as 500ms, 10s, 5m, 2h, 7d or 2w".to_owned();
    let number = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let milliseconds: u64 = match text.get(number.len()..).unwrap_or_default() {
        "ms" => 1,
        "" | "s" => 1000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        "w" => 7 * 86_400_000,
        _ => return Err(message()),
    };
    let number: u64 = number.parse().map_err(|_| message())?;
    let span = number.checked_mul(milliseconds).map(Duration::from_millis).filter(|span| *span <= SPAN_MAX);
    span.filter(|span| !span.is_zero()).ok_or_else(|| "more than nothing and at most a hundred years".to_owned())
}

/// `100`, `64KiB`, `1MiB`, `10GiB`.
pub fn size(text: &str) -> Result<u64, String> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let shift = match text.get(digits.len()..).unwrap_or_default().to_ascii_lowercase().as_str() {
        "" | "b" => 0,
        "k" | "kib" => 10,
        "m" | "mib" => 20,
        "g" | "gib" => 30,
        "t" | "tib" => 40,
        _ => return Err("give bytes as 100, 64KiB, 1MiB, 10GiB or 1TiB".to_owned()),
    };
    let number: u64 = digits.parse().map_err(|_| "give bytes as 100, 64KiB, 1MiB, 10GiB or 1TiB".to_owned())?;
    number.checked_mul(1 << shift).filter(|n| i64::try_from(*n).is_ok()).ok_or_else(|| "at most 8 EiB".to_owned())
}

/// A whole number from 0 on.
pub fn number(text: &str) -> Result<u64, String> {
    text.parse().map_err(|_| format!("give a number from 0 to {}", u64::MAX))
}

/// A VLSN.
pub fn vlsn(text: &str) -> Result<u64, String> {
    let vlsn = text.parse().ok().filter(|vlsn| *vlsn <= Vlsn::MAX.0);
    vlsn.ok_or_else(|| format!("a VLSN is a number from 0 to {}", Vlsn::MAX))
}

/// The name of a log.
pub fn log(text: &str) -> Result<LogId, String> {
    LogId::new(text).map_err(|error| error.to_string())
}

/// `NAME=VALUE`; the value may be empty and may have further equals signs.
pub fn setting(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.trim().is_empty() => Ok((name.trim().to_owned(), value.to_owned())),
        Some(_) | None => Err("give it as NAME=VALUE".to_owned()),
    }
}

/// A text that stands between two things, with `\t`, `\n`, `\0` and `\\` for what cannot be typed.
pub fn separator(text: &str) -> Result<String, String> {
    let mut read = String::new();
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        read.push(match (c, c == '\\') {
            (_, true) => match chars.next() {
                Some('t') => '\t',
                Some('n') => '\n',
                Some('0') => '\0',
                Some('\\') => '\\',
                Some(other) => return Err(format!("\\{other} is unknown; \\t, \\n, \\0 and \\\\ are there")),
                None => return Err("a backslash at the end; write \\\\ for one".to_owned()),
            },
            (c, false) => c,
        });
    }
    if read.is_empty() { Err("it must not be empty".to_owned()) } else { Ok(read) }
}

/// A position: `earliest`, `latest`, an offset, `-N` for the last N of each partition, a moment.
pub fn position(text: &str) -> Result<From, String> {
    if let Some(number) = text.strip_prefix('-').filter(|rest| rest.bytes().all(|b| b.is_ascii_digit())) {
        return number.parse().map(From::Last).map_err(|_| format!("-{number} is no number of records"));
    }
    Ok(From::At(match text {
        "earliest" | "beginning" => StartAt::Earliest,
        "latest" | "end" => StartAt::Latest,
        _ if !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit()) => {
            let offset = text.parse().map_err(|_| format!("offsets end at {}", i64::MAX))?;
            StartAt::Offset(LogOffset(offset))
        }
        _ => StartAt::Time(moment(text)?),
    }))
}

/// A moment: `2026-11-25T14:30:00Z` (a space for the T, an offset such as +01:00, and a day alone are fine too), `@SECONDS`
/// since 1970, or how long ago: `10m`, `2h`, `7d`.
pub fn moment(text: &str) -> Result<SystemTime, String> {
    let message = || {
        "give earliest, latest, an offset, -N for the last N records, a moment as 2026-11-25T14:30:00Z or @UNIX_SECONDS, or how \
         long ago as 10m, 2h, 7d"
            .to_owned()
    };
    if let Some(seconds) = text.strip_prefix('@') {
        let seconds: u64 = seconds.parse().map_err(|_| message())?;
        return UNIX_EPOCH.checked_add(Duration::from_secs(seconds)).ok_or_else(message);
    }
    if text.ends_with(|c: char| c.is_ascii_lowercase()) {
        let span = span(text).map_err(|_| message())?;
        return SystemTime::now().checked_sub(span).ok_or_else(message);
    }
    timestamp(text).ok_or_else(message)
}

/// RFC 3339, also with a day alone, without seconds, or without an offset (UTC).
fn timestamp(text: &str) -> Option<SystemTime> {
    let (day, time) = match text.split_once(['T', ' ']) {
        Some((day, time)) => (day, time),
        None => (text, "00:00:00Z"),
    };
    let digits = |text: &str, length: usize| -> Option<i64> {
        (text.len() == length && text.bytes().all(|b| b.is_ascii_digit())).then(|| text.parse().ok()).flatten()
    };
    let mut parts = day.split('-');
    let (year, month, day) = (digits(parts.next()?, 4)?, digits(parts.next()?, 2)?, digits(parts.next()?, 2)?);
    let lengths = [31, if is_leap(year) { 29 } else { 28 }, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    let month_index = usize::try_from(month).ok()?.checked_sub(1)?;
    if parts.next().is_some() || !(1..=*lengths.get(month_index)?).contains(&day) {
        return None;
    }
    let zone_at = time.find(['Z', '+', '-']).unwrap_or(time.len());
    let (clock, zone) = time.split_at_checked(zone_at)?;
    let (clock, fraction) = clock.split_once('.').unwrap_or((clock, "0"));
    let mut parts = clock.split(':');
    let (hour, minute) = (digits(parts.next()?, 2)?, digits(parts.next()?, 2)?);
    let second = parts.next().map_or(Some(0), |second| digits(second, 2))?;
    if parts.next().is_some() || hour > 23 || minute > 59 || second > 59 || fraction.len() > 9 {
        return None;
    }
    let milliseconds = digits(format!("{fraction:0<3}").get(..3)?, 3)?;
    let ahead = match zone {
        "" | "Z" => 0,
        _ => {
            let (sign, rest) = zone.split_at_checked(1)?;
            let (hours, minutes) = rest.split_once(':')?;
            let seconds = digits(hours, 2)? * 3600 + digits(minutes, 2)? * 60;
            if sign == "-" { -seconds } else { seconds }
        }
    };
    let seconds = days_since_1970(year, month, day) * DAY_SECONDS + hour * 3600 + minute * 60 + second - ahead;
    let since = Duration::from_millis(u64::try_from(seconds.checked_mul(1000)?.checked_add(milliseconds)?).ok()?);
    UNIX_EPOCH.checked_add(since)
}

fn is_leap(year: i64) -> bool {
    year % 4 == 0 && (year % 100 != 0 || year % 400 == 0)
}

/// Days from 1970 to a day of the Gregorian calendar, counted in years that begin with March, so that the day that leap
/// years add is the last of its year.
fn days_since_1970(year: i64, month: i64, day: i64) -> i64 {
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let days_before_year = year * 365 + year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400);
    // Of the months from March on: 31 30 31 30 31, again and again.
    let days_before_month = (month * 153 + 2) / 5;
    days_before_year + days_before_month + day - 1 - 719_468
}

/// A moment as RFC 3339 in UTC, to the millisecond.
pub fn rfc3339(time: SystemTime) -> String {
    let ms = milliseconds(time);
    let (days, in_day) = (ms.div_euclid(DAY_SECONDS * 1000), ms.rem_euclid(DAY_SECONDS * 1000));
    // The year by estimate, corrected: 146,097 days are 400 years.
    let mut year = 1970 + days.div_euclid(366).min(days.div_euclid(365));
    while days_since_1970(year + 1, 1, 1) <= days {
        year += 1;
    }
    let month = (1..=12).rev().find(|month| days_since_1970(year, *month, 1) <= days).unwrap_or(1);
    let day = days - days_since_1970(year, month, 1) + 1;
    let (seconds, ms) = (in_day / 1000, in_day % 1000);
    let (hour, minute, second) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{ms:03}Z")
}

/// Milliseconds since 1970, negative before.
pub fn milliseconds(time: SystemTime) -> i64 {
    match time.duration_since(UNIX_EPOCH) {
        Ok(since) => i64::try_from(since.as_millis()).unwrap_or(i64::MAX),
        Err(before) => i64::try_from(before.duration().as_millis()).map_or(i64::MIN, |ms| -ms),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(text: &str) -> i64 {
        milliseconds(moment(text).unwrap())
    }

    #[test]
    fn moments_are_read_in_all_their_forms() {
        assert_eq!(ms("1970-01-01T00:00:00Z"), 0);
        assert_eq!(ms("2000-02-29T12:34:56.789Z"), 951_827_696_789);
        assert_eq!(ms("2026-11-25T14:30:00+01:00"), 1_795_613_400_000);
        assert_eq!(ms("2026-11-25 13:30"), 1_795_613_400_000);
        assert_eq!(ms("2024-12-31"), 1_735_603_200_000);
        assert_eq!(ms("@1700000000"), 1_700_000_000_000);
        let ago = SystemTime::now().duration_since(moment("2h").unwrap()).unwrap();
        assert!((7190..7300).contains(&ago.as_secs()));
        for wrong in [
            "",
            "yesterday",
            "2026-13-01",
            "2026-02-29",
            "2026-11-25T24:00:00Z",
            "@-1",
            "2026-11-25T14:30:00+0100",
            "@99999999999999999999",
            "0s",
            "2026-11-25T14",
            "1969-12-31",
            "\u{e9}\u{e9}T\u{e9}",
            "99999999999999999999d",
        ] {
            assert!(moment(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn moments_are_written_as_they_are_read() {
        for text in [
            "1970-01-01T00:00:00.000Z",
            "2000-02-29T23:59:59.999Z",
            "2100-03-01T00:00:00.000Z",
            "2026-12-31T10:00:00.001Z",
        ] {
            assert_eq!(rfc3339(moment(text).unwrap()), text);
        }
        for day in (0..60_000).step_by(13) {
            let time = UNIX_EPOCH + Duration::from_secs(day * 86_400 + 4711);
            assert_eq!(moment(&rfc3339(time)).unwrap(), time);
        }
        assert_eq!(rfc3339(UNIX_EPOCH - Duration::from_millis(1)), "1969-12-31T23:59:59.999Z");
    }

    #[test]
    fn positions_and_sizes_are_what_they_look_like() {
        assert_eq!(position("earliest").unwrap(), From::At(StartAt::Earliest));
        assert_eq!(position("42").unwrap(), From::At(StartAt::Offset(LogOffset(42))));
        assert_eq!(position("-10").unwrap(), From::Last(10));
        assert!(position("9223372036854775808").is_err());
        assert!(position("-99999999999999999999999").is_err());
        assert_eq!((vlsn("0"), vlsn("9223372036854775806")), (Ok(0), Ok(9_223_372_036_854_775_806)));
        for wrong in ["-1", "9223372036854775807", "99999999999999999999", "1.0", "x", ""] {
            assert!(vlsn(wrong).unwrap_err().contains("9223372036854775806"), "{wrong}");
        }
        assert!(number("-1").is_err() && number("18446744073709551615").is_ok());
        assert_eq!(size("64KiB"), Ok(65_536));
        assert!(size("9999999999G").is_err() && size("-1").is_err());
        assert_eq!(span("7d").unwrap().as_secs(), 604_800);
        assert!(span("0").is_err() && span("1y").is_err() && span("99999999999999w").is_err());
        assert_eq!(setting("a=b=c").unwrap(), ("a".to_owned(), "b=c".to_owned()));
        assert!(setting("=b").is_err() && setting("a").is_err());
        assert_eq!(separator("\\t").unwrap(), "\t");
        assert!(separator("").is_err() && separator("\\x").is_err() && separator("\\").is_err());
    }
}
