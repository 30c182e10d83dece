//! Prices: on-demand as listed, spot as a seeded curve, both changeable.

use super::{Market, Price, TypeIndex};
use jiff::{SignedDuration, Timestamp};
use sawhorse_ambient::Seed;
use std::collections::BTreeMap;

/// A spot price holds for so long: the curve has a step every hour.
pub(crate) const SPOT_STEP: SignedDuration = SignedDuration::from_hours(1);
const STEP_SECONDS: i64 = 3_600;
/// Spot prices have four decimals, as EC2's do.
const SPOT_GRAIN: u64 = 100_000;
/// A pool's mean differs from the type's by up to so many thousandths, so that zones differ.
const ZONE_SPREAD_PER_MILLE: u64 = 100;
/// Periods of the three waves of a curve, in steps: about a day, three days, a week; not multiples of each other.
const PERIODS: [u64; 3] = [23, 71, 167];

/// The spot price of a pool over time: a mean and three triangular waves, all drawn from the seed. A closed form: the price
/// at any time is known without having walked there.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SpotCurve {
    mean: Price,
    phases: [u64; 3],
    /// How far the sum of the waves swings, in thousandths of the mean.
    swing_per_mille: u64,
}

impl SpotCurve {
    pub(crate) fn new(seed: Seed, machine_type: &str, zone: &str, type_mean: Price, swing_percent: u8) -> Self {
        let mut stream = seed.stream(&["spot-price", machine_type, zone]);
        let factor = 1000 - ZONE_SPREAD_PER_MILLE + stream.below(2 * ZONE_SPREAD_PER_MILLE + 1);
        let phases = PERIODS.map(|period| stream.below(period * 2));
        Self { mean: type_mean.scaled(factor, 1000), phases, swing_per_mille: u64::from(swing_percent) * 10 }
    }

    /// The price in the step that contains `at`.
    pub(crate) fn at(&self, at: Timestamp) -> Price {
        let step = at.as_second().div_euclid(STEP_SECONDS).unsigned_abs();
        // Each wave is in 0..=1000, their mean minus 500 in -500..=500.
        let waves: u64 = PERIODS.iter().zip(self.phases).map(|(period, phase)| triangle(step + phase, *period)).sum();
        let factor = 1000 * 1000 + 2 * self.swing_per_mille * waves / 3 - 1000 * self.swing_per_mille;
        let exact = self.mean.scaled(factor, 1000 * 1000).nanos();
        Price::from_nanos((exact / SPOT_GRAIN).max(1) * SPOT_GRAIN)
    }
}

/// From 0 up to 1000 in `period` steps and down again.
fn triangle(step: u64, period: u64) -> u64 {
    let place = step % (2 * period);
    let up = if place < period { place } else { 2 * period - place };
    up * 1000 / period
}

/// When the step that contains `at` began.
pub(crate) fn step_start(at: Timestamp) -> Timestamp {
    let second = at.as_second().div_euclid(STEP_SECONDS) * STEP_SECONDS;
    Timestamp::from_second(second).expect("an earlier second of the same hour is representable")
}

/// Prices that a script set; they hold until set otherwise.
#[derive(Clone, Debug, Default)]
pub(crate) struct PriceOverrides {
    on_demand: BTreeMap<TypeIndex, Change>,
    spot: BTreeMap<(TypeIndex, usize), Change>,
}

/// A price set by a script, and when.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Change {
    pub(crate) price: Price,
    pub(crate) since: Timestamp,
}

impl PriceOverrides {
    pub(crate) fn set(&mut self, market: Market, type_index: TypeIndex, zone: usize, change: Change) {
        match market {
            Market::OnDemand => self.on_demand.insert(type_index, change),
            Market::Spot => self.spot.insert((type_index, zone), change),
        };
    }

    pub(crate) fn on_demand(&self, type_index: TypeIndex) -> Option<Change> {
        self.on_demand.get(&type_index).copied()
    }

    pub(crate) fn spot(&self, type_index: TypeIndex, zone: usize) -> Option<Change> {
        self.spot.get(&(type_index, zone)).copied()
    }
}

/// A row of the spot price history.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SpotPrice {
    /// The type's name.
    pub machine_type: &'static str,
    /// The zone's name.
    pub zone: &'static str,
    /// The price.
    pub price: Price,
    /// From when on it holds.
    pub since: Timestamp,
}

#[cfg(test)]
mod tests {
    use super::{SPOT_STEP, SpotCurve, step_start};
    use crate::world::Price;
    use jiff::Timestamp;
    use sawhorse_ambient::Seed;

    #[test]
    fn a_curve_is_repeatable_stays_in_its_band_and_moves() {
        let mean: Price = "1.0".parse().unwrap();
        let curve = SpotCurve::new(Seed(3), "m5.large", "us-west-2a", mean, 10);
        let again = SpotCurve::new(Seed(3), "m5.large", "us-west-2a", mean, 10);
        let start: Timestamp = "2026-01-01T00:30:00Z".parse().unwrap();
        let prices: Vec<_> = (0..500).map(|hour| curve.at(start + SPOT_STEP * hour).nanos()).collect();
        assert_eq!(prices, (0..500).map(|hour| again.at(start + SPOT_STEP * hour).nanos()).collect::<Vec<_>>());
        assert!(prices.iter().all(|price| (800_000_000..1_250_000_000).contains(price)));
        assert!(prices.windows(2).all(|pair| pair[0].abs_diff(pair[1]) < 30_000_000), "smooth");
        assert!(prices.iter().max() > prices.iter().min());
        assert_eq!(curve.at(start), curve.at(step_start(start)));
    }

    #[test]
    fn without_swing_a_curve_is_flat() {
        let curve = SpotCurve::new(Seed(3), "m5.large", "us-west-2a", "0.05".parse().unwrap(), 0);
        let start: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
        assert!((0..100).all(|hour| curve.at(start + SPOT_STEP * hour) == curve.at(start)));
    }
}
