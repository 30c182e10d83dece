//! Kubernetes quantities, exactly.

use std::{fmt, str::FromStr};

const NANOS: i128 = 1_000_000_000;

/// An amount as Kubernetes writes it (`100m`, `1.5Gi`, `2e3`), kept in billionths, the finest that Kubernetes keeps.
///
/// ```
/// use sawhorse_kwok::machine::quantity::Quantity;
/// let memory: Quantity = "1.5Gi".parse().unwrap();
/// assert_eq!(memory.units(), 1_610_612_736);
/// assert_eq!(memory.binary().to_string(), "1536Mi");
/// assert_eq!("70m".parse::<Quantity>().unwrap().to_string(), "70m");
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Quantity {
    nanos: i128,
    binary: bool,
}

/// Text that is not a quantity.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a quantity such as `500m`, `4` or `8Gi`")]
pub struct InvalidQuantity(pub String);

const SUFFIXES: [(&str, i128, bool); 15] = [
    ("Ki", NANOS << 10, true),
    ("Mi", NANOS << 20, true),
    ("Gi", NANOS << 30, true),
    ("Ti", NANOS << 40, true),
    ("Pi", NANOS << 50, true),
    ("Ei", NANOS << 60, true),
    ("n", 1, false),
    ("u", 1_000, false),
    ("m", 1_000_000, false),
    ("k", NANOS * 1_000, false),
    ("M", NANOS * 1_000_000, false),
    ("G", NANOS * 1_000_000_000, false),
    ("T", NANOS * 1_000_000_000_000, false),
    ("P", NANOS * 1_000_000_000_000_000, false),
    ("E", NANOS * 1_000_000_000_000_000_000, false),
];

impl Quantity {
    /// So many thousandths, written in decimal.
    pub fn from_millis(millis: i64) -> Self {
        Self { nanos: i128::from(millis) * 1_000_000, binary: false }
    }

    /// So many units, written in decimal.
    pub fn from_units(units: i64) -> Self {
        Self { nanos: i128::from(units) * NANOS, binary: false }
    }

    /// The same amount, written with binary suffixes (`Ki`, `Mi`, …) where it is whole.
    #[must_use]
    pub fn binary(self) -> Self {
        Self { binary: true, ..self }
    }

    /// Thousandths, rounded up.
    pub fn millis(self) -> i64 {
        saturate(div_ceil(self.nanos, 1_000_000))
    }

    /// Units, rounded up.
    pub fn units(self) -> i64 {
        saturate(div_ceil(self.nanos, NANOS))
    }

    /// As a floating-point number of units.
    pub fn as_f64(self) -> f64 {
        self.nanos as f64 / NANOS as f64
    }

    /// The difference, not below zero.
    #[must_use]
    pub fn minus(self, other: Self) -> Self {
        Self { nanos: self.nanos.saturating_sub(other.nanos).max(0), ..self }
    }
}

fn saturate(value: i128) -> i64 {
    i64::try_from(value).unwrap_or(if value < 0 { i64::MIN } else { i64::MAX })
}

fn div_ceil(value: i128, by: i128) -> i128 {
    value.div_euclid(by) + i128::from(value.rem_euclid(by) != 0)
}

impl FromStr for Quantity {
    type Err = InvalidQuantity;

    fn from_str(text: &str) -> Result<Self, InvalidQuantity> {
        parse(text).ok_or_else(|| InvalidQuantity(text.to_owned()))
    }
}

fn parse(text: &str) -> Option<Quantity> {
    let sign_length = usize::from(text.starts_with(['+', '-']));
    let number_length = text[sign_length..].find(|c: char| !c.is_ascii_digit() && c != '.');
    let (number, suffix) = text.split_at(number_length.map_or(text.len(), |length| length + sign_length));
    let (scale, binary) = scale(suffix)?;
    let unsigned = &number[sign_length..];
    let (whole, fraction) = unsigned.split_once('.').unwrap_or((unsigned, ""));
    if whole.is_empty() && fraction.is_empty() || fraction.contains('.') || fraction.len() > 18 {
        return None;
    }
    let digits: i128 = format!("{whole}{fraction}").parse().ok()?;
    let nanos = div_ceil(digits.checked_mul(scale)?, 10_i128.pow(fraction.len() as u32));
    Some(Quantity { nanos: if number.starts_with('-') { -nanos } else { nanos }, binary })
}

/// How many billionths the suffix stands for.
fn scale(suffix: &str) -> Option<(i128, bool)> {
    if suffix.is_empty() {
        return Some((NANOS, false));
    }
    if let Some((_, scale, binary)) = SUFFIXES.iter().find(|(name, ..)| *name == suffix) {
        return Some((*scale, *binary));
    }
    let exponent: i32 = suffix.strip_prefix(['e', 'E'])?.parse().ok()?;
    let power = u32::try_from(exponent + 9).ok().filter(|power| *power <= 27)?;
    Some((10_i128.pow(power), false))
}

impl fmt::Display for Quantity {
    /// With the largest suffix that keeps the amount whole.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let whole = |scale: i128| self.nanos != 0 && self.nanos % scale == 0;
        let fits = |(_, scale, binary): &&(&str, i128, bool)| {
            *binary == self.binary && *scale != NANOS && whole(*scale) && (*scale > NANOS || !whole(NANOS))
        };
        match SUFFIXES.iter().rev().find(fits) {
            Some((suffix, scale, _)) => write!(f, "{}{suffix}", self.nanos / scale),
            None => write!(f, "{}", div_ceil(self.nanos, NANOS)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Quantity;
    use rstest::rstest;

    #[rstest]
    #[case("4", 4_000, "4")]
    #[case("0", 0, "0")]
    #[case("1.5", 1_500, "1500m")]
    #[case("100m", 100, "100m")]
    #[case("1k", 1_000_000, "1k")]
    #[case("2e3", 2_000_000, "2k")]
    #[case("8Gi", 8_589_934_592_000, "8Gi")]
    #[case("1.5Ki", 1_536_000, "1536")]
    #[case("-1", -1_000, "-1")]
    #[case("1n", 1, "1n")]
    fn reads_and_writes(#[case] text: &str, #[case] millis: i64, #[case] shown: &str) {
        let quantity: Quantity = text.parse().unwrap();
        assert_eq!((quantity.millis(), quantity.to_string().as_str()), (millis, shown));
    }

    #[rstest]
    #[case("")]
    #[case("-")]
    #[case("1.2.3")]
    #[case("2GB")]
    #[case("abc")]
    #[case("1e99")]
    #[case("é")]
    fn refuses_other_text(#[case] text: &str) {
        assert!(text.parse::<Quantity>().is_err());
    }
}
