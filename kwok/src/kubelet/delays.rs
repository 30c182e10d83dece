//! How long machines take.

use sawhorse_ambient::Stream;
use std::time::Duration;

/// A duration that varies: half of the draws lie below `typical`, half above.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Spread {
    /// The least.
    pub least: Duration,
    /// The median.
    pub typical: Duration,
    /// The most.
    pub most: Duration,
}

impl Spread {
    /// Always the same.
    pub const fn fixed(duration: Duration) -> Self {
        Self { least: duration, typical: duration, most: duration }
    }

    /// Whole seconds.
    pub const fn seconds(least: u64, typical: u64, most: u64) -> Self {
        Self {
            least: Duration::from_secs(least),
            typical: Duration::from_secs(typical),
            most: Duration::from_secs(most),
        }
    }

    /// One draw, to the millisecond.
    pub fn draw(&self, draws: &mut Stream) -> Duration {
        let (low, high) = if draws.below(2) == 0 { (self.least, self.typical) } else { (self.typical, self.most) };
        let millis = |duration: Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
        Duration::from_millis(draws.between(millis(low), millis(high)))
    }
}

#[cfg(test)]
mod tests {
    use super::Spread;
    use sawhorse_ambient::Seed;
    use std::time::Duration;

    #[test]
    fn half_of_the_draws_lie_below_the_typical() {
        let spread = Spread::seconds(10, 20, 100);
        let mut draws = Seed(5).stream(&["spread"]);
        let drawn: Vec<Duration> = (0..1_000).map(|_| spread.draw(&mut draws)).collect();
        assert!(drawn.iter().all(|duration| (spread.least..=spread.most).contains(duration)));
        let below = drawn.iter().filter(|duration| **duration <= spread.typical).count();
        assert!((450..550).contains(&below), "{below} of 1000");
    }
}
