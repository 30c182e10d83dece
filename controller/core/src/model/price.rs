//! Money per hour.

use super::quantity::{Rounding, parse_quantity};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use std::{fmt, iter::Sum};
use thiserror::Error;

const NANOS_PER_DOLLAR: i64 = 1_000_000_000;
/// What a reserved machine costs as a share of its on-demand price: paid for already, yet a dear type still counts as
/// dearer than a cheap one (spec aws 3).
const RESERVED_DIVISOR: i64 = 10_000_000;

/// Dollars per hour, in nano-dollars, so that sums are exact and the order is total.
///
/// ```
/// use sawhorse_core::model::Price;
/// let price: Price = "0.096".parse().unwrap();
/// assert_eq!(price.nanos(), 96_000_000);
/// assert_eq!(price.to_string(), "$0.0960");
/// assert_eq!(price.times(3).to_string(), "$0.2880");
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Price(i64);

/// Something that is not a price.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("`{text}` is not a price: use dollars per hour as a decimal number such as `0.096`")]
pub struct InvalidPrice {
    text: String,
}

impl Price {
    /// Nothing.
    pub const ZERO: Self = Self(0);
    /// More than anything costs.
    pub const MAX: Self = Self(i64::MAX);

    /// A price of so many nano-dollars per hour.
    pub const fn from_nanos(nanos: i64) -> Self {
        Self(nanos)
    }

    /// Nano-dollars per hour.
    pub const fn nanos(self) -> i64 {
        self.0
    }

    /// The price nearest to `dollars` per hour; none if that is not a finite number or out of range.
    pub fn from_dollars(dollars: f64) -> Option<Self> {
        // The shortest decimal that stands for the number is what its writer meant, so it is exact where that is.
        dollars.is_finite().then(|| dollars.to_string()).and_then(|text| text.parse().ok())
    }

    /// Dollars per hour, to the nearest representable number.
    pub fn dollars(self) -> f64 {
        self.0 as f64 / NANOS_PER_DOLLAR as f64
    }

    /// The sum, if it is in range.
    pub fn checked_add(self, other: Self) -> Option<Self> {
        self.0.checked_add(other.0).map(Self)
    }

    /// The sum, at most [`Price::MAX`].
    #[must_use]
    pub fn saturating_add(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }

    /// The difference; negative where `other` is dearer.
    #[must_use]
    pub fn saturating_sub(self, other: Self) -> Self {
        Self(self.0.saturating_sub(other.0))
    }

    /// The price of `count` of these.
    #[must_use]
    pub fn times(self, count: u64) -> Self {
        Self(self.0.saturating_mul(i64::try_from(count).unwrap_or(i64::MAX)))
    }

    /// What a machine with this on-demand price counts as when a reservation pays for it.
    #[must_use]
    pub fn reserved(self) -> Self {
        Self(self.0 / RESERVED_DIVISOR)
    }
}

impl Sum for Price {
    fn sum<I: Iterator<Item = Self>>(prices: I) -> Self {
        prices.fold(Self::ZERO, Self::saturating_add)
    }
}

impl std::str::FromStr for Price {
    type Err = InvalidPrice;

    /// Dollars per hour as a decimal, with or without a leading `$`; beyond nine decimals it is rounded up.
    fn from_str(text: &str) -> Result<Self, InvalidPrice> {
        let invalid = || InvalidPrice { text: text.to_owned() };
        let number = text.strip_prefix('$').unwrap_or(text);
        let plain = number.bytes().all(|byte| byte.is_ascii_digit() || b"+-.eE".contains(&byte));
        if !plain || number.ends_with('E') {
            return Err(invalid());
        }
        // A price is read as a quantity of giga-units: `0.096` dollars are `0.096e9` nano-dollars.
        let (mantissa, exponent) = number.split_once(['e', 'E']).unwrap_or((number, "0"));
        let exponent: i32 = exponent.parse().map_err(|_| invalid())?;
        let nanos = format!("{mantissa}e{}", exponent.saturating_add(9));
        parse_quantity(&nanos, false, Rounding::Up).map(Self).map_err(|_| invalid())
    }
}

impl fmt::Display for Price {
    /// `$0.0960`: four decimals, more only where they are needed.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = if self.0 < 0 { "-" } else { "" };
        let magnitude = self.0.unsigned_abs();
        let (whole, fraction) = (magnitude / NANOS_PER_DOLLAR as u64, magnitude % NANOS_PER_DOLLAR as u64);
        let decimals = format!("{fraction:09}");
        let needed = decimals.trim_end_matches('0').len().max(4);
        f.pad(&format!("{sign}${whole}.{}", &decimals[..needed]))
    }
}

impl Serialize for Price {
    /// Dollars per hour as a number.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_f64(self.dollars())
    }
}

impl<'de> Deserialize<'de> for Price {
    /// From a number or text of dollars per hour; a negative price is refused.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(PriceVisitor)
    }
}

struct PriceVisitor;

impl de::Visitor<'_> for PriceVisitor {
    type Value = Price;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a price in dollars per hour that is not negative")
    }

    fn visit_f64<E: de::Error>(self, dollars: f64) -> Result<Price, E> {
        let price = Price::from_dollars(dollars).filter(|price| *price >= Price::ZERO);
        price.ok_or_else(|| E::invalid_value(de::Unexpected::Float(dollars), &self))
    }

    fn visit_u64<E: de::Error>(self, dollars: u64) -> Result<Price, E> {
        let price = i64::try_from(dollars).ok().and_then(|dollars| dollars.checked_mul(NANOS_PER_DOLLAR));
        price.map(Price).ok_or_else(|| E::invalid_value(de::Unexpected::Unsigned(dollars), &self))
    }

    fn visit_i64<E: de::Error>(self, dollars: i64) -> Result<Price, E> {
        u64::try_from(dollars)
            .map_err(|_| E::invalid_value(de::Unexpected::Signed(dollars), &self))
            .and_then(|dollars| self.visit_u64(dollars))
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Price, E> {
        let price = text.parse().ok().filter(|price| *price >= Price::ZERO);
        price.ok_or_else(|| E::invalid_value(de::Unexpected::Str(text), &self))
    }
}

#[cfg(test)]
mod tests {
    use super::Price;
    use rstest::rstest;

    #[rstest]
    #[case("0.096", 96_000_000, "$0.0960")]
    #[case("$0.1", 100_000_000, "$0.1000")]
    #[case("0.877756", 877_756_000, "$0.877756")]
    #[case("12", 12_000_000_000, "$12.0000")]
    #[case("1e-9", 1, "$0.000000001")]
    #[case("1.5e1", 15_000_000_000, "$15.0000")]
    #[case("-0.01", -10_000_000, "-$0.0100")]
    #[case("0.00000000001", 1, "$0.000000001")]
    fn reads_and_writes(#[case] text: &str, #[case] nanos: i64, #[case] shown: &str) {
        let price: Price = text.parse().unwrap();
        assert_eq!((price.nanos(), price.to_string().as_str()), (nanos, shown));
    }

    #[rstest]
    #[case("")]
    #[case("abc")]
    #[case("1Gi")]
    #[case("1m")]
    #[case("1E")]
    #[case("0.1 ")]
    fn refuses_other_text(#[case] text: &str) {
        assert!(text.parse::<Price>().is_err());
    }

    #[test]
    fn json_numbers_are_exact_and_not_negative() {
        let prices: Vec<Price> = serde_json::from_str(r#"[0.096, 3, "0.1", 2.154727]"#).unwrap();
        let nanos: Vec<i64> = prices.iter().map(|price| price.nanos()).collect();
        assert_eq!(nanos, [96_000_000, 3_000_000_000, 100_000_000, 2_154_727_000]);
        assert_eq!(serde_json::to_string(&prices).unwrap(), "[0.096,3.0,0.1,2.154727]");
        assert!(serde_json::from_str::<Price>("-0.1").is_err());
        assert!(serde_json::from_str::<Price>("1e300").is_err());
    }

    #[test]
    fn arithmetic_saturates() {
        assert_eq!(Price::MAX.saturating_add(Price::from_nanos(1)), Price::MAX);
        assert_eq!(Price::MAX.checked_add(Price::from_nanos(1)), None);
        assert_eq!(Price::from_nanos(5).times(u64::MAX), Price::MAX);
        assert_eq!("0.096".parse::<Price>().unwrap().reserved().nanos(), 9);
    }
}
