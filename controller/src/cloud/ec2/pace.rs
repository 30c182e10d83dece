//! How fast an operation may be called, learnt from the cloud's refusals: EC2 has a bucket for each operation and does not say
//! how full it is. A throttle makes calls of that operation wait for one another; successes let them come closer again.

use std::{collections::BTreeMap, time::Duration};

/// The distance after the first throttle; doubled by each further one.
const FIRST_GAP: Duration = Duration::from_millis(200);
/// The rate that EC2's slowest common bucket (RunInstances at a tenth of its figure) still has.
const LONGEST_GAP: Duration = Duration::from_secs(5);
/// Below this, calls need not wait for one another.
const SHORTEST_GAP: Duration = Duration::from_millis(20);
/// Throttles of calls that were sent before the last one said so tell nothing new.
const LEARN_AGAIN_AFTER: Duration = Duration::from_secs(1);

/// The pace of every operation.
#[derive(Debug, Default)]
pub(super) struct Paces(BTreeMap<&'static str, Pace>);

#[derive(Clone, Copy, Debug, Default)]
struct Pace {
    gap: Duration,
    /// When the next call may be sent, on the program's clock.
    next: Duration,
    learnt: Duration,
}

impl Paces {
    /// When a call that wants to be sent at `now` may be; takes that place.
    pub(super) fn reserve(&mut self, operation: &'static str, now: Duration) -> Duration {
        let Some(pace) = self.0.get_mut(operation) else { return now };
        let at = pace.next.max(now);
        pace.next = at + pace.gap;
        at
    }

    pub(super) fn throttled(&mut self, operation: &'static str, now: Duration) {
        let pace = self.0.entry(operation).or_default();
        if pace.gap > Duration::ZERO && now < pace.learnt + LEARN_AGAIN_AFTER {
            return;
        }
        pace.gap = (pace.gap * 2).clamp(FIRST_GAP, LONGEST_GAP);
        pace.learnt = now;
        pace.next = pace.next.max(now + pace.gap);
    }

    pub(super) fn succeeded(&mut self, operation: &'static str) {
        let Some(pace) = self.0.get_mut(operation) else { return };
        pace.gap = pace.gap * 15 / 16;
        if pace.gap < SHORTEST_GAP {
            self.0.remove(operation);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{FIRST_GAP, LONGEST_GAP, Paces};
    use std::time::Duration;

    #[test]
    fn a_throttle_spreads_calls_out_and_successes_let_them_come_closer() {
        let (mut paces, second) = (Paces::default(), Duration::from_secs);
        assert_eq!(paces.reserve("CreateFleet", second(1)), second(1));
        paces.throttled("CreateFleet", second(2));
        let places: Vec<Duration> = (0..3).map(|_| paces.reserve("CreateFleet", second(2))).collect();
        assert_eq!(places, [second(2) + FIRST_GAP, second(2) + FIRST_GAP * 2, second(2) + FIRST_GAP * 3]);
        assert_eq!(paces.reserve("DescribeInstances", second(2)), second(2), "each operation has its own pace");
        (0..100).for_each(|_| paces.succeeded("CreateFleet"));
        assert_eq!(paces.reserve("CreateFleet", second(3)), second(3));
    }

    #[test]
    fn many_throttles_at_once_are_one_lesson() {
        let mut paces = Paces::default();
        (0..50).for_each(|_| paces.throttled("CreateFleet", Duration::from_secs(1)));
        assert_eq!(paces.reserve("CreateFleet", Duration::from_secs(1)), Duration::from_secs(1) + FIRST_GAP);
        (0..50).for_each(|nth| paces.throttled("CreateFleet", Duration::from_secs(10 + nth * 2)));
        let first = paces.reserve("CreateFleet", Duration::from_secs(200));
        assert_eq!(paces.reserve("CreateFleet", Duration::from_secs(200)), first + LONGEST_GAP);
    }
}
