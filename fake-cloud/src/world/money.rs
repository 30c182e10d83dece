//! Money as integers: prices in nano-dollars per hour, amounts as price × time without rounding.

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use std::{fmt, iter::Sum, ops::AddAssign, str::FromStr};

const NANOS_PER_DOLLAR: u64 = 1_000_000_000;
const DECIMALS: usize = 9;
const NANOSECONDS_PER_HOUR: u128 = 3_600 * 1_000_000_000;

/// A price in nano-dollars per hour.
///
/// Reads and writes decimal dollars, exactly:
///
/// ```
/// # use sawhorse_fake_cloud::world::Price;
/// let price: Price = "21.957642".parse().unwrap();
/// assert_eq!(price.nanos(), 21_957_642_000);
/// assert_eq!(price.to_string(), "21.957642");
/// assert!("0.1.2".parse::<Price>().is_err());
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Price(u64);

impl Price {
    /// A price of so many nano-dollars per hour.
    pub const fn from_nanos(nanos: u64) -> Self {
        Self(nanos)
    }

    /// Nano-dollars per hour.
    pub const fn nanos(self) -> u64 {
        self.0
    }

    /// The price times `numerator / denominator`, rounded down; `denominator` must not be 0.
    pub(crate) fn scaled(self, numerator: u64, denominator: u64) -> Self {
        let scaled = u128::from(self.0) * u128::from(numerator) / u128::from(denominator);
        Self(u64::try_from(scaled).unwrap_or(u64::MAX))
    }

    /// Dollars with exactly `decimals` (at most 9) digits after the point, rounded down, as EC2 prints spot prices.
    ///
    /// ```
    /// # use sawhorse_fake_cloud::world::Price;
    /// assert_eq!(Price::from_nanos(34_500_000).with_decimals(6), "0.034500");
    /// ```
    pub fn with_decimals(self, decimals: usize) -> String {
        let fraction = format!("{:09}", self.0 % NANOS_PER_DOLLAR);
        format!("{}.{}", self.0 / NANOS_PER_DOLLAR, &fraction[..decimals.min(DECIMALS)])
    }
}

impl fmt::Display for Price {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = self.with_decimals(DECIMALS);
        f.write_str(text.trim_end_matches('0').trim_end_matches('.'))
    }
}

/// Why a text is no price.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no price: write dollars per hour as a decimal number, e.g. \"0.0345\" (at most 9 decimals)")]
pub struct PriceError(String);

impl FromStr for Price {
    type Err = PriceError;

    fn from_str(text: &str) -> Result<Self, PriceError> {
        parse_dollars(text).map(Self).ok_or_else(|| PriceError(text.to_owned()))
    }
}

fn parse_dollars(text: &str) -> Option<u64> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
    if whole.is_empty() || !digits(whole) || !digits(fraction) || fraction.len() > DECIMALS {
        return None;
    }
    let whole: u64 = whole.parse().ok()?;
    let fraction: u64 = format!("{fraction:0<9}").parse().ok()?;
    whole.checked_mul(NANOS_PER_DOLLAR)?.checked_add(fraction)
}

impl Serialize for Price {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Price {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl de::Visitor<'_> for Visitor {
            type Value = Price;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("dollars per hour, e.g. \"0.0345\"")
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<Price, E> {
                text.parse().map_err(E::custom)
            }
            fn visit_f64<E: de::Error>(self, number: f64) -> Result<Price, E> {
                self.visit_str(&number.to_string())
            }
            fn visit_u64<E: de::Error>(self, number: u64) -> Result<Price, E> {
                self.visit_str(&number.to_string())
            }
            fn visit_i64<E: de::Error>(self, number: i64) -> Result<Price, E> {
                self.visit_str(&number.to_string())
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}

/// An amount of money, kept as Σ price × time in nano-dollar-nanoseconds per hour, so that no sum ever rounds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Amount(u128);

impl Amount {
    /// What `price` costs for `nanoseconds`.
    pub fn of(price: Price, nanoseconds: u128) -> Self {
        Self(u128::from(price.0) * nanoseconds)
    }

    /// So many dollars, whatever the time.
    pub(crate) fn at_once(dollars: Price) -> Self {
        Self::of(dollars, NANOSECONDS_PER_HOUR)
    }

    /// The amount in nano-dollars, rounded down.
    pub fn nano_dollars(self) -> u128 {
        self.0 / NANOSECONDS_PER_HOUR
    }
}

impl AddAssign for Amount {
    fn add_assign(&mut self, other: Self) {
        self.0 += other.0;
    }
}

impl Sum for Amount {
    fn sum<I: Iterator<Item = Self>>(amounts: I) -> Self {
        Self(amounts.map(|amount| amount.0).sum())
    }
}

impl fmt::Display for Amount {
    /// Dollars with four decimals, rounded down.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let nanos = self.nano_dollars();
        let per_dollar = u128::from(NANOS_PER_DOLLAR);
        write!(f, "{}.{:04}", nanos / per_dollar, nanos % per_dollar / 100_000)
    }
}

#[cfg(test)]
mod tests {
    use super::{Amount, Price};
    use rstest::rstest;

    #[rstest]
    #[case("0.096", Some(96_000_000))]
    #[case("3", Some(3_000_000_000))]
    #[case("0.000000001", Some(1))]
    #[case("0.0000000001", None)]
    #[case("-1", None)]
    #[case("1e3", None)]
    #[case("", None)]
    #[case(".5", None)]
    #[case("99999999999999999999", None)]
    fn prices_are_read_exactly(#[case] text: &str, #[case] nanos: Option<u64>) {
        assert_eq!(text.parse::<Price>().ok().map(Price::nanos), nanos);
    }

    #[test]
    fn amounts_do_not_round_until_they_are_read() {
        let third_of_a_cent: Amount = (0..3).map(|_| Amount::of(Price::from_nanos(1), 1_200_000_000_000)).sum();
        assert_eq!(third_of_a_cent.nano_dollars(), 1);
        assert_eq!(Amount::of("55.04".parse().unwrap(), 1_800_000_000_000).to_string(), "27.5200");
    }
}
