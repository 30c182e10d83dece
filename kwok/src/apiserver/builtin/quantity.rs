//! Quantities (`k8s.io/apimachinery/pkg/api/resource`): reading, comparing, and the canonical form that the server shows.

/// The error's words, as the API server has them.
pub(crate) const EXPECTED: &str =
    "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'";

const NANO: i128 = 1_000_000_000;

/// How a quantity was written, which decides how it is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Format {
    Decimal,
    Binary,
    Exponent,
}

/// An amount in billionths; finer fractions are rounded up, as Kubernetes does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Quantity {
    nanos: i128,
    format: Format,
}

const DECIMAL_SUFFIXES: [(&str, i128); 10] = [
    ("E", 1_000_000_000_000_000_000 * NANO),
    ("P", 1_000_000_000_000_000 * NANO),
    ("T", 1_000_000_000_000 * NANO),
    ("G", 1_000_000_000 * NANO),
    ("M", 1_000_000 * NANO),
    ("k", 1_000 * NANO),
    ("", NANO),
    ("m", 1_000_000),
    ("u", 1_000),
    ("n", 1),
];
const BINARY_SUFFIXES: [(&str, i128); 6] = [
    ("Ei", (1 << 60) * NANO),
    ("Pi", (1 << 50) * NANO),
    ("Ti", (1 << 40) * NANO),
    ("Gi", (1 << 30) * NANO),
    ("Mi", (1 << 20) * NANO),
    ("Ki", (1 << 10) * NANO),
];

impl Quantity {
    /// Reads a quantity such as `1500m`, `1.5`, `2Gi` or `1e3`.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let (negative, unsigned) = match text.strip_prefix('-') {
            Some(rest) => (true, rest),
            None => (false, text.strip_prefix('+').unwrap_or(text)),
        };
        let end =
            unsigned.find(|character: char| !character.is_ascii_digit() && character != '.').unwrap_or(unsigned.len());
        let (number, suffix) = unsigned.split_at(end);
        let (multiplier, divisor, format) = scale(suffix)?;
        let (digits, fraction_digits) = digits(number)?;
        let divisor = divisor.checked_mul(10_i128.checked_pow(fraction_digits)?)?;
        let product = digits.checked_mul(multiplier)?;
        let nanos = product / divisor + i128::from(product % divisor != 0);
        Some(Self { nanos: if negative { -nanos } else { nanos }, format })
    }

    /// Whether it is below zero.
    pub(crate) fn is_negative(self) -> bool {
        self.nanos < 0
    }

    /// Whether it is zero.
    pub(crate) fn is_zero(self) -> bool {
        self.nanos == 0
    }

    /// Whether it is more than `other`.
    pub(crate) fn exceeds(self, other: Self) -> bool {
        self.nanos > other.nanos
    }

    /// The form in which the server shows it: no fraction, the largest suffix that allows that.
    pub(crate) fn canonical(self) -> String {
        match self.format {
            Format::Binary if self.nanos.abs() >= 1024 * NANO => suffixed(self.nanos, &BINARY_SUFFIXES),
            Format::Exponent => exponent(self.nanos),
            Format::Binary | Format::Decimal => suffixed(self.nanos, &DECIMAL_SUFFIXES),
        }
    }
}

fn suffixed(nanos: i128, suffixes: &[(&str, i128)]) -> String {
    if nanos == 0 {
        return "0".into();
    }
    let fitting = suffixes.iter().find(|(_, unit)| nanos % unit == 0);
    match fitting {
        Some((suffix, unit)) => format!("{}{suffix}", nanos / unit),
        None => suffixed(nanos, &DECIMAL_SUFFIXES),
    }
}

fn exponent(nanos: i128) -> String {
    let exponents = [18_u32, 15, 12, 9, 6, 3];
    let fitting = exponents.iter().find(|exponent| nanos != 0 && nanos % (10_i128.pow(**exponent) * NANO) == 0);
    match fitting {
        Some(exponent) => format!("{}e{exponent}", nanos / (10_i128.pow(*exponent) * NANO)),
        None => suffixed(nanos, &DECIMAL_SUFFIXES[6..]),
    }
}

/// All digits as one number, and how many of them follow the point.
fn digits(number: &str) -> Option<(i128, u32)> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if whole.is_empty() && fraction.is_empty() {
        return None;
    }
    let digits = format!("{whole}{fraction}").parse().ok()?;
    Some((digits, u32::try_from(fraction.len()).ok()?))
}

/// A suffix as a factor over billionths: multiplier, divisor, format.
fn scale(suffix: &str) -> Option<(i128, i128, Format)> {
    let find = |table: &[(&str, i128)]| table.iter().find(|(name, _)| *name == suffix).map(|(_, unit)| *unit);
    if let Some(unit) = find(&DECIMAL_SUFFIXES) {
        return Some((unit, 1, Format::Decimal));
    }
    if let Some(unit) = find(&BINARY_SUFFIXES) {
        return Some((unit, 1, Format::Binary));
    }
    let power: i32 = suffix.strip_prefix(['e', 'E'])?.parse().ok()?;
    let factor = 10_i128.checked_pow(power.unsigned_abs())?;
    if power < 0 {
        Some((NANO, factor, Format::Exponent))
    } else {
        Some((NANO.checked_mul(factor)?, 1, Format::Exponent))
    }
}

#[cfg(test)]
mod tests {
    use super::Quantity;
    use rstest::rstest;

    #[rstest]
    #[case("1", "1")]
    #[case("1000m", "1")]
    #[case("0.5", "500m")]
    #[case("1500m", "1500m")]
    #[case("1024Mi", "1Gi")]
    #[case("1.5Gi", "1536Mi")]
    #[case("1000000", "1M")]
    #[case("512", "512")]
    #[case("1e3", "1e3")]
    #[case("0", "0")]
    #[case("-5", "-5")]
    #[case("100Ki", "100Ki")]
    fn canonical_forms(#[case] text: &str, #[case] expected: &str) {
        assert_eq!(Quantity::parse(text).unwrap().canonical(), expected);
    }

    #[rstest]
    #[case("")]
    #[case("x")]
    #[case("1Q")]
    #[case("1.2.3")]
    #[case("1 Gi")]
    fn nonsense_is_refused(#[case] text: &str) {
        assert_eq!(Quantity::parse(text), None);
    }

    #[test]
    fn quantities_compare_across_suffixes() {
        let parse = |text| Quantity::parse(text).unwrap();
        assert!(parse("1Gi").exceeds(parse("1G")));
        assert!(!parse("1000m").exceeds(parse("1")));
    }
}
