//! The arithmetic of a rolling update (`pkg/controller/deployment/util`, `rolling.go`).

use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

/// How a percentage of a number is made whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Rounding {
    Up,
    Down,
}

/// A number, or a percentage of `total`. A text that is no percentage counts as nothing.
pub(super) fn scaled(value: &IntOrString, total: i32, rounding: Rounding) -> i32 {
    match value {
        IntOrString::Int(number) => *number,
        IntOrString::String(text) => {
            let percent: i64 = text.strip_suffix('%').and_then(|number| number.parse().ok()).unwrap_or_default();
            let hundredths = percent * i64::from(total);
            let whole = match rounding {
                Rounding::Up => (hundredths + 99).div_euclid(100),
                Rounding::Down => hundredths.div_euclid(100),
            };
            i32::try_from(whole).unwrap_or(i32::MAX)
        }
    }
}

/// How far a rollout may go above and below the number of pods asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Bounds {
    pub(super) surge: i32,
    pub(super) unavailable: i32,
}

impl Bounds {
    /// No more pods than asked for and none missing is not a rollout: then one may be missing.
    pub(super) fn of(surge: Option<&IntOrString>, unavailable: Option<&IntOrString>, wanted: i32) -> Self {
        let quarter = IntOrString::String("25%".to_owned());
        let surge = scaled(surge.unwrap_or(&quarter), wanted, Rounding::Up);
        let unavailable = scaled(unavailable.unwrap_or(&quarter), wanted, Rounding::Down);
        let unavailable = if surge == 0 && unavailable == 0 { 1 } else { unavailable };
        Self { surge, unavailable: unavailable.min(wanted) }
    }
}

/// Sizes of a replica set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Size {
    /// What its spec asks for.
    pub(super) wanted: i32,
    /// What its status says is available.
    pub(super) available: i32,
}

/// The size that the new replica set may have now.
pub(super) fn new_size(wanted: i32, bounds: Bounds, new: i32, total: i32) -> i32 {
    if new >= wanted {
        return wanted;
    }
    let room = wanted + bounds.surge - total;
    if room <= 0 { new } else { new + room.min(wanted - new) }
}

/// The sizes that old replica sets, oldest first, may be cut to now: first what is not available anyway, then what can be
/// missed.
pub(super) fn old_sizes(wanted: i32, bounds: Bounds, new: Size, old: &[Size]) -> Vec<i32> {
    let mut sizes: Vec<i32> = old.iter().map(|size| size.wanted).collect();
    let total = new.wanted + sizes.iter().sum::<i32>();
    let least = wanted - bounds.unavailable;
    let mut spare = total - least - (new.wanted - new.available);
    if spare <= 0 {
        return sizes;
    }
    for (size, old) in sizes.iter_mut().zip(old) {
        let cut = spare.min(*size - old.available).max(0);
        *size -= cut;
        spare -= cut;
    }
    let available = new.available + old.iter().map(|size| size.available).sum::<i32>();
    let mut cuttable = (available - least).max(0);
    for size in &mut sizes {
        let cut = cuttable.min(*size);
        *size -= cut;
        cuttable -= cut;
    }
    sizes
}

#[cfg(test)]
mod tests {
    use super::{Bounds, IntOrString, Rounding, Size, new_size, old_sizes, scaled};
    use rstest::rstest;

    fn value(text: &str) -> IntOrString {
        text.parse().map_or_else(|_| IntOrString::String(text.to_owned()), IntOrString::Int)
    }

    #[rstest]
    #[case("3", 10, Rounding::Up, 3)]
    #[case("25%", 10, Rounding::Up, 3)]
    #[case("25%", 10, Rounding::Down, 2)]
    #[case("50%", 7, Rounding::Up, 4)]
    #[case("100%", 7, Rounding::Down, 7)]
    #[case("0%", 7, Rounding::Up, 0)]
    #[case("1%", 1, Rounding::Up, 1)]
    #[case("many", 7, Rounding::Up, 0)]
    fn percentages_are_rounded(
        #[case] given: &str,
        #[case] total: i32,
        #[case] rounding: Rounding,
        #[case] whole: i32,
    ) {
        assert_eq!(scaled(&value(given), total, rounding), whole);
    }

    #[rstest]
    #[case("25%", "25%", 10, 3, 2)]
    #[case("25%", "25%", 1, 1, 0)]
    #[case("0", "0", 4, 0, 1)]
    #[case("0%", "10%", 4, 0, 1)]
    #[case("1", "9", 4, 1, 4)]
    #[case("1", "0", 0, 1, 0)]
    fn bounds(#[case] surge: &str, #[case] missing: &str, #[case] wanted: i32, #[case] above: i32, #[case] below: i32) {
        let bounds = Bounds::of(Some(&value(surge)), Some(&value(missing)), wanted);
        assert_eq!((bounds.surge, bounds.unavailable), (above, below));
    }

    #[rstest]
    #[case::first_step(10, 0, 10, 3)]
    #[case::no_room(10, 3, 13, 3)]
    #[case::room_for_two(10, 3, 11, 5)]
    #[case::last_step(10, 9, 11, 10)]
    #[case::too_large(4, 9, 9, 4)]
    fn the_new_set_grows(#[case] wanted: i32, #[case] new: i32, #[case] total: i32, #[case] size: i32) {
        assert_eq!(new_size(wanted, Bounds { surge: 3, unavailable: 2 }, new, total), size);
    }

    #[rstest]
    #[case::all_well((3, 0), &[(10, 10)], &[8])]
    #[case::nothing_to_spare((5, 0), &[(8, 8)], &[8])]
    #[case::new_ones_count((5, 3), &[(8, 8)], &[5])]
    #[case::broken_ones_first((3, 0), &[(10, 8)], &[8])]
    #[case::oldest_first((3, 3), &[(4, 4), (6, 6)], &[0, 5])]
    #[case::broken_new_ones_are_no_reason((3, 0), &[(8, 8)], &[8])]
    fn old_sets_shrink(#[case] new: (i32, i32), #[case] old: &[(i32, i32)], #[case] sizes: &[i32]) {
        let size = |(wanted, available)| Size { wanted, available };
        let old: Vec<Size> = old.iter().copied().map(size).collect();
        assert_eq!(old_sizes(10, Bounds { surge: 3, unavailable: 2 }, size(new), &old), sizes);
    }
}
