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

/// Whose call comes first where calls have to wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Urgency {
    /// A launch waits for it.
    Launch,
    /// Everything else.
    Usual,
}

/// The pace of every operation.
#[derive(Debug, Default)]
pub(super) struct Paces(BTreeMap<&'static str, Pace>);

#[derive(Clone, Copy, Debug, Default)]
struct Pace {
    gap: Duration,
    /// When the next call may be sent, on the program's clock.
    next: Duration,
    /// When the next call of a launch may be.
    next_of_launches: Duration,
    learnt: Duration,
}

impl Paces {
    /// When a call that wants to be sent at `now` may be; takes that place. Calls of launches wait for one another only, and
    /// others for them: pods wait for a machine, and nobody for what is read to keep an eye on things.
    pub(super) fn reserve(&mut self, operation: &'static str, urgency: Urgency, now: Duration) -> Duration {
        let Some(pace) = self.0.get_mut(operation) else { return now };
        match urgency {
            Urgency::Launch => {
                let at = pace.next_of_launches.max(now);
                pace.next_of_launches = at + pace.gap;
                pace.next = pace.next.max(now) + pace.gap;
                at
            }
            Urgency::Usual => {
                let at = pace.next.max(now);
                pace.next = at + pace.gap;
                at
            }
        }
    }

    pub(super) fn throttled(&mut self, operation: &'static str, now: Duration) {
        let pace = self.0.entry(operation).or_default();
        if pace.gap > Duration::ZERO && now < pace.learnt + LEARN_AGAIN_AFTER {
            return;
        }
        pace.gap = (pace.gap * 2).clamp(FIRST_GAP, LONGEST_GAP);
        pace.learnt = now;
        pace.next = pace.next.max(now + pace.gap);
        pace.next_of_launches = pace.next_of_launches.max(now + pace.gap);
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
    use super::{FIRST_GAP, LONGEST_GAP, Paces, Urgency};
    use std::time::Duration;

    #[test]
    fn a_throttle_spreads_calls_out_and_successes_let_them_come_closer() {
        let (mut paces, second) = (Paces::default(), Duration::from_secs);
        assert_eq!(paces.reserve("CreateFleet", Urgency::Usual, second(1)), second(1));
        paces.throttled("CreateFleet", second(2));
        let places: Vec<Duration> = (0..3).map(|_| paces.reserve("CreateFleet", Urgency::Usual, second(2))).collect();
        assert_eq!(places, [second(2) + FIRST_GAP, second(2) + FIRST_GAP * 2, second(2) + FIRST_GAP * 3]);
        assert_eq!(
            paces.reserve("DescribeInstances", Urgency::Usual, second(2)),
            second(2),
            "each operation has its own pace"
        );
        (0..100).for_each(|_| paces.succeeded("CreateFleet"));
        assert_eq!(paces.reserve("CreateFleet", Urgency::Usual, second(3)), second(3));
    }

    #[test]
    fn launches_do_not_wait_for_others_but_others_for_them() {
        let (mut paces, now) = (Paces::default(), Duration::from_secs(1));
        paces.throttled("DescribeInstances", now);
        let mut reserve = |urgency| (paces.reserve("DescribeInstances", urgency, now) - now).as_millis();
        assert_eq!([reserve(Urgency::Usual), reserve(Urgency::Usual)], [200, 400]);
        assert_eq!([reserve(Urgency::Launch), reserve(Urgency::Launch)], [200, 400]);
        assert_eq!(reserve(Urgency::Usual), 1000, "the launches' two places are not given out again");
    }

    #[test]
    fn many_throttles_at_once_are_one_lesson() {
        let mut paces = Paces::default();
        (0..50).for_each(|_| paces.throttled("CreateFleet", Duration::from_secs(1)));
        assert_eq!(
            paces.reserve("CreateFleet", Urgency::Usual, Duration::from_secs(1)),
            Duration::from_secs(1) + FIRST_GAP
        );
        (0..50).for_each(|nth| paces.throttled("CreateFleet", Duration::from_secs(10 + nth * 2)));
        let first = paces.reserve("CreateFleet", Urgency::Usual, Duration::from_secs(200));
        assert_eq!(paces.reserve("CreateFleet", Urgency::Usual, Duration::from_secs(200)), first + LONGEST_GAP);
    }
}
