//! Draws from a stream.

use sawhorse_ambient::Stream;

/// Draws that read well.
pub(crate) trait Draw {
    /// One of `of`, which must not be empty.
    fn one<T: Copy>(&mut self, of: &[T]) -> T;

    /// True in so many cases of a hundred.
    fn chance(&mut self, percent: u64) -> bool;

    /// From `low` to `high`, small numbers as likely as large ones: the logarithm is even.
    fn scale(&mut self, low: u64, high: u64) -> u64;
}

impl Draw for Stream {
    fn one<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.below(of.len() as u64) as usize]
    }

    fn chance(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }

    fn scale(&mut self, low: u64, high: u64) -> u64 {
        let share = self.below(1 << 20) as f64 / f64::from(1 << 20);
        ((low as f64) * (high as f64 / low as f64).powf(share)).round() as u64
    }
}
