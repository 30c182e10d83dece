//! Go's date layouts (`2006-01-02`).

use jiff::{Timestamp, tz::TimeZone};

/// Go's reference words and what jiff calls them; longer ones first, so that `2006` is not read as `2` and `006`.
const LAYOUT: [(&str, &str); 19] = [
    ("January", "%B"),
    ("Monday", "%A"),
    ("Z07:00", "Z"),
    ("2006", "%Y"),
    ("-0700", "+0000"),
    ("Jan", "%b"),
    ("Mon", "%a"),
    ("MST", "UTC"),
    ("01", "%m"),
    ("02", "%d"),
    ("03", "%I"),
    ("04", "%M"),
    ("05", "%S"),
    ("06", "%y"),
    ("15", "%H"),
    ("PM", "%p"),
    ("_2", "%e"),
    ("1", "%-m"),
    ("2", "%-d"),
];

/// `at` in UTC, as Go's `layout` shows it.
pub(super) fn format_date(layout: &str, at: Timestamp) -> String {
    let mut format = String::new();
    let mut rest = layout;
    while let Some(next) = rest.chars().next() {
        match LAYOUT.iter().find(|(word, _)| rest.starts_with(word)) {
            Some((word, conversion)) => {
                format.push_str(conversion);
                rest = &rest[word.len()..];
            }
            None => {
                format.push(next);
                if next == '%' {
                    format.push('%');
                }
                rest = &rest[next.len_utf8()..];
            }
        }
    }
    at.to_zoned(TimeZone::UTC).strftime(&format).to_string()
}

#[cfg(test)]
mod tests {
    use super::format_date;
    use rstest::rstest;

    #[rstest]
    #[case("2006-01-02", "2026-03-09")]
    #[case("2006-01-02T15:04:05Z07:00", "2026-03-09T07:08:05Z")]
    #[case("Mon, 2 Jan 06 03:04PM -0700 MST 100%", "Mon, 9 Mar 26 07:08AM +0000 UTC 300%")]
    fn layouts(#[case] layout: &str, #[case] expected: &str) {
        assert_eq!(format_date(layout, "2026-03-09T07:08:05Z".parse().unwrap()), expected);
    }
}
