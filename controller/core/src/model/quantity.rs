//! Kubernetes quantities as integers, exactly: the full grammar of `resource.Quantity`.

use thiserror::Error;

/// Longest text that is read as a quantity; the API server writes none beyond about 25 characters.
const MAX_QUANTITY_LENGTH: usize = 64;
/// Largest decimal exponent that is worked out exactly; beyond it every amount that is not zero saturates.
const MAX_EXPONENT: i32 = 60;
/// Most digits of a mantissa, so that it fits into an `i128`.
const MAX_DIGITS: usize = 36;

/// Text that is not a Kubernetes quantity.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("`{text}` is not a quantity: use a number with an optional suffix such as `100m`, `1.5`, `2Gi` or `1e3`")]
pub struct InvalidQuantity {
    /// What was given.
    pub text: String,
}

/// How a fraction of the unit is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rounding {
    /// Away from what is free: requests.
    Up,
    /// Towards what is surely there: capacity.
    Down,
}

/// Reads `text` as a number of thousandths (`milli`) or of whole units.
///
/// ```
/// use sawhorse_core::model::{Rounding, parse_quantity};
/// assert_eq!(parse_quantity("1.5", true, Rounding::Up), Ok(1500));
/// assert_eq!(parse_quantity("2Gi", false, Rounding::Up), Ok(2 << 30));
/// assert_eq!(parse_quantity("100m", false, Rounding::Up), Ok(1));
/// assert_eq!(parse_quantity("100m", false, Rounding::Down), Ok(0));
/// assert!(parse_quantity("1 Gi", false, Rounding::Up).is_err());
/// ```
///
/// # Errors
/// [`InvalidQuantity`] where the text is none. Amounts beyond `i64` saturate, as Kubernetes caps them.
pub fn parse_quantity(text: &str, milli: bool, rounding: Rounding) -> Result<i64, InvalidQuantity> {
    let number = split(text).ok_or_else(|| InvalidQuantity { text: text.to_owned() })?;
    let exponent = number.exponent + if milli { 3 } else { 0 };
    Ok(scale(number.mantissa, exponent, number.binary_shift, rounding))
}

/// `mantissa × 10^exponent × 2^binary_shift`.
struct Number {
    mantissa: i128,
    exponent: i32,
    binary_shift: u32,
}

fn split(text: &str) -> Option<Number> {
    if text.is_empty() || text.len() > MAX_QUANTITY_LENGTH {
        return None;
    }
    let (negative, rest) = match text.as_bytes()[0] {
        b'-' => (true, &text[1..]),
        b'+' => (false, &text[1..]),
        _ => (false, text),
    };
    let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
    let (digits, suffix) = rest.split_at(end);
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    if fraction.contains('.') || (whole.is_empty() && fraction.is_empty()) {
        return None;
    }
    let fraction = fraction.trim_end_matches('0');
    let whole = whole.trim_start_matches('0');
    if whole.len() + fraction.len() > MAX_DIGITS {
        return None;
    }
    let magnitude = whole.bytes().chain(fraction.bytes()).fold(0i128, |sum, digit| sum * 10 + i128::from(digit - b'0'));
    let (exponent, binary_shift) = suffix_scale(suffix)?;
    let fraction_digits = i32::try_from(fraction.len()).ok()?;
    let mantissa = if negative { -magnitude } else { magnitude };
    Some(Number { mantissa, exponent: exponent - fraction_digits, binary_shift })
}

/// The power of ten and the power of two that a suffix stands for.
fn suffix_scale(suffix: &str) -> Option<(i32, u32)> {
    Some(match suffix {
        "" => (0, 0),
        "n" => (-9, 0),
        "u" => (-6, 0),
        "m" => (-3, 0),
        "k" => (3, 0),
        "M" => (6, 0),
        "G" => (9, 0),
        "T" => (12, 0),
        "P" => (15, 0),
        "E" => (18, 0),
        "Ki" => (0, 10),
        "Mi" => (0, 20),
        "Gi" => (0, 30),
        "Ti" => (0, 40),
        "Pi" => (0, 50),
        "Ei" => (0, 60),
        _ => {
            let digits = suffix.strip_prefix(['e', 'E'])?;
            let exponent: i32 = digits.parse().ok()?;
            (exponent.clamp(-MAX_EXPONENT, MAX_EXPONENT), 0)
        }
    })
}

fn scale(mantissa: i128, exponent: i32, binary_shift: u32, rounding: Rounding) -> i64 {
    // The binary shift is at most 60 and the mantissa below 10^36, so the product is checked rather than assumed.
    let Some(mut value) = mantissa.checked_mul(1i128 << binary_shift) else {
        return saturated(mantissa);
    };
    for _ in 0..exponent.max(0) {
        match value.checked_mul(10) {
            Some(product) => value = product,
            None => return saturated(mantissa),
        }
    }
    let mut inexact = false;
    for _ in 0..(-exponent).max(0) {
        inexact |= value % 10 != 0;
        value = value.div_euclid(10);
    }
    if inexact && rounding == Rounding::Up {
        value += 1;
    }
    i64::try_from(value).unwrap_or_else(|_| saturated(mantissa))
}

fn saturated(mantissa: i128) -> i64 {
    if mantissa < 0 { i64::MIN } else { i64::MAX }
}

/// The shortest usual text of an amount: `1500m`, `2Gi`, `17`.
///
/// `milli`: the amount is in thousandths. `binary`: whole multiples of 1024 are written with a binary suffix.
pub(super) fn format_quantity(amount: i64, milli: bool, binary: bool) -> String {
    if milli {
        return if amount % 1000 == 0 { (amount / 1000).to_string() } else { format!("{amount}m") };
    }
    if !binary || amount == 0 {
        return amount.to_string();
    }
    let suffixes = [("Ei", 60u32), ("Pi", 50), ("Ti", 40), ("Gi", 30), ("Mi", 20), ("Ki", 10)];
    let fits = suffixes.into_iter().find(|(_, shift)| amount % (1i64 << shift) == 0);
    fits.map_or_else(|| amount.to_string(), |(suffix, shift)| format!("{}{suffix}", amount >> shift))
}

#[cfg(test)]
mod tests {
    use super::{Rounding, format_quantity, parse_quantity};
    use rstest::rstest;

    #[rstest]
    #[case("0", 0, 0)]
    #[case("1", 1000, 1)]
    #[case("+1", 1000, 1)]
    #[case("-1", -1000, -1)]
    #[case("1.", 1000, 1)]
    #[case(".5", 500, 1)]
    #[case("100m", 100, 1)]
    #[case("1500u", 2, 1)]
    #[case("1n", 1, 1)]
    #[case("-1n", 0, 0)]
    #[case("1k", 1_000_000, 1000)]
    #[case("1M", 1_000_000_000, 1_000_000)]
    #[case("1Ki", 1_024_000, 1024)]
    #[case("1.5Gi", 1_610_612_736_000, 1_610_612_736)]
    #[case("1e3", 1_000_000, 1000)]
    #[case("1E3", 1_000_000, 1000)]
    #[case("1e-3", 1, 1)]
    #[case("12e+1", 120_000, 120)]
    #[case("0.1Ki", 102_400, 103)]
    #[case("7Ei", i64::MAX, 8_070_450_532_247_928_832)]
    #[case("8Ei", i64::MAX, i64::MAX)]
    #[case("-9E", i64::MIN, -9_000_000_000_000_000_000)]
    #[case("1e99", i64::MAX, i64::MAX)]
    fn reads_the_grammar(#[case] text: &str, #[case] milli: i64, #[case] whole: i64) {
        assert_eq!(parse_quantity(text, true, Rounding::Up), Ok(milli));
        assert_eq!(parse_quantity(text, false, Rounding::Up), Ok(whole));
    }

    #[rstest]
    #[case("")]
    #[case(" 1")]
    #[case("1 ")]
    #[case("1ki")]
    #[case("1K")]
    #[case("1Gib")]
    #[case("m")]
    #[case(".")]
    #[case("1.2.3")]
    #[case("--1")]
    #[case("1e")]
    #[case("0x10")]
    #[case("1111111111111111111111111111111111111111")]
    fn refuses_other_text(#[case] text: &str) {
        let refused = parse_quantity(text, false, Rounding::Up).unwrap_err();
        assert!(refused.to_string().starts_with(&format!("`{text}` is not a quantity")));
    }

    #[test]
    fn capacity_is_rounded_down() {
        assert_eq!(parse_quantity("1.9", false, Rounding::Down), Ok(1));
        assert_eq!(parse_quantity("-0.1", false, Rounding::Down), Ok(-1));
    }

    #[rstest]
    #[case(1500, true, false, "1500m")]
    #[case(2000, true, false, "2")]
    #[case(-500, true, false, "-500m")]
    #[case(2 << 30, false, true, "2Gi")]
    #[case(1536 << 20, false, true, "1536Mi")]
    #[case(1000, false, true, "1000")]
    #[case(1024, false, false, "1024")]
    #[case(0, false, true, "0")]
    fn writes_the_usual_form(#[case] amount: i64, #[case] milli: bool, #[case] binary: bool, #[case] text: &str) {
        assert_eq!(format_quantity(amount, milli, binary), text);
    }
}
