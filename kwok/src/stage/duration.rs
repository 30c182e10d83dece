//! Durations as Go writes them (`1h2m3.5s`).

use jiff::SignedDuration;

const NANOS: [(&str, i128); 8] = [
    ("ns", 1),
    ("us", 1_000),
    ("µs", 1_000),
    ("μs", 1_000),
    ("ms", 1_000_000),
    ("s", 1_000_000_000),
    ("m", 60_000_000_000),
    ("h", 3_600_000_000_000),
];

/// The duration that `text` stands for as Go's `time.ParseDuration` reads it; none if it does not.
pub(crate) fn parse_go_duration(text: &str) -> Option<SignedDuration> {
    let (negative, mut rest) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    if rest == "0" {
        return Some(SignedDuration::ZERO);
    }
    if rest.is_empty() {
        return None;
    }
    let mut total: i128 = 0;
    while !rest.is_empty() {
        let (nanos, after) = component(rest)?;
        total = total.checked_add(nanos)?;
        rest = after;
    }
    let total = i64::try_from(if negative { -total } else { total }).ok()?;
    Some(SignedDuration::from_nanos(total))
}

/// The first number with its unit, in nanoseconds, and what follows.
fn component(text: &str) -> Option<(i128, &str)> {
    let number_end = text.find(|c: char| !c.is_ascii_digit() && c != '.').filter(|end| *end > 0)?;
    let (number, rest) = text.split_at(number_end);
    let unit_end = rest.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(rest.len());
    let (unit, after) = rest.split_at(unit_end);
    let (_, scale) = NANOS.iter().find(|(name, _)| *name == unit)?;
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if whole.is_empty() && fraction.is_empty() {
        return None;
    }
    let whole: i128 = if whole.is_empty() { 0 } else { whole.parse().ok()? };
    // Nine digits are all that a nanosecond needs of an hour's fraction to within one part in a billion, as in Go.
    let fraction: String = format!("{fraction:0<9}").chars().take(9).collect();
    let fraction: i128 = fraction.parse().ok()?;
    Some((whole.checked_mul(*scale)?.checked_add(fraction * scale / 1_000_000_000)?, after))
}

#[cfg(test)]
mod tests {
    use super::parse_go_duration;
    use rstest::rstest;

    #[rstest]
    #[case("1s", Some(1_000))]
    #[case("1h2m3.5s", Some(3_723_500))]
    #[case("-1.5h", Some(-5_400_000))]
    #[case(".5s", Some(500))]
    #[case("300ms", Some(300))]
    #[case("0", Some(0))]
    #[case("", None)]
    #[case("5", None)]
    #[case("s", None)]
    #[case(".s", None)]
    #[case("1d", None)]
    #[case("1s ", None)]
    #[case("1.2.3s", None)]
    fn reads_what_go_reads(#[case] text: &str, #[case] millis: Option<i64>) {
        assert_eq!(parse_go_duration(text).map(|duration| duration.as_millis() as i64), millis);
    }
}
