//! The annotation `karpenter.sh/do-not-disrupt` of pods (spec core 4.3).

use super::{About, Event, later};
use crate::{
    api::{InvalidDuration, labels, parse_go_duration},
    model::{PodKey, is_active},
};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use std::time::Duration;

/// What a pod asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DoNotDisrupt {
    /// Nothing; or the pod is at its end or being deleted, and its wish no longer counts.
    No,
    /// To be left alone as long as it lives.
    Always,
    /// To be left alone until then; none where it has not started, so that the wait has not begun.
    Until(Option<Timestamp>),
    /// It asked to be left alone for a while, which is over.
    Elapsed,
    /// What it asks for cannot be read, and is ignored.
    Invalid(InvalidDuration),
}

impl DoNotDisrupt {
    /// What `pod` asks for at `now`.
    pub fn of(pod: &Pod, now: Timestamp) -> Self {
        let annotation =
            pod.metadata.annotations.as_ref().and_then(|annotations| annotations.get(labels::DO_NOT_DISRUPT));
        let Some(text) = annotation.filter(|_| is_active(pod)) else { return Self::No };
        if text == "true" {
            return Self::Always;
        }
        match parse_go_duration(text) {
            // Zero is not positive: as unreadable as any other text.
            Ok(Duration::ZERO) => Self::Invalid(parse_go_duration("").expect_err("nothing is not a duration")),
            Ok(wait) => Self::for_a_while(pod, wait, now),
            Err(error) => Self::Invalid(error),
        }
    }

    fn for_a_while(pod: &Pod, wait: Duration, now: Timestamp) -> Self {
        let Some(start) = pod.status.as_ref().and_then(|status| status.start_time.as_ref()) else {
            return Self::Until(None);
        };
        let until = later(start.0, wait);
        if now < until { Self::Until(Some(until)) } else { Self::Elapsed }
    }

    /// Whether the pod must be left alone now.
    pub fn protects(&self) -> bool {
        match self {
            Self::Always | Self::Until(_) => true,
            Self::No | Self::Elapsed | Self::Invalid(_) => false,
        }
    }

    /// When that changes by time alone.
    pub fn changes_at(&self) -> Option<Timestamp> {
        match self {
            Self::Until(until) => *until,
            Self::No | Self::Always | Self::Elapsed | Self::Invalid(_) => None,
        }
    }

    /// What the pod's owner is told.
    pub fn event(&self, pod: &Pod) -> Option<Event> {
        let about = || About::Pod(PodKey::of(pod));
        match self {
            Self::Until(Some(until)) => Some(Event::normal(
                about(),
                "DoNotDisruptUntil",
                format!("The karpenter.sh/do-not-disrupt grace period will elapse at {until:.0}"),
            )),
            Self::Elapsed => Some(Event::normal(
                about(),
                "DoNotDisruptGracePeriodElapsed",
                "The karpenter.sh/do-not-disrupt grace period has elapsed, pod is now disruptable",
            )),
            Self::Invalid(error) => Some(Event::warning(
                about(),
                "InvalidDoNotDisruptAnnotation",
                format!("Invalid karpenter.sh/do-not-disrupt annotation: {error}, ignoring annotation"),
            )),
            Self::No | Self::Always | Self::Until(None) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lifecycle::fixtures::{at, pod};
    use rstest::rstest;
    use serde_json::{Value, json};

    #[rstest]
    #[case::absent(json!({}), 0, false, None)]
    #[case::always(json!({ "metadata": { "annotations": { "karpenter.sh/do-not-disrupt": "true" } } }), 0, true, None)]
    #[case::other_text(json!({ "metadata": { "annotations": { "karpenter.sh/do-not-disrupt": "yes" } } }), 0, false, Some("InvalidDoNotDisruptAnnotation"))]
    #[case::zero(json!({ "metadata": { "annotations": { "karpenter.sh/do-not-disrupt": "0s" } } }), 0, false, Some("InvalidDoNotDisruptAnnotation"))]
    #[case::within(json!({ "metadata": { "annotations": { "karpenter.sh/do-not-disrupt": "1m" } } }), 59, true, Some("DoNotDisruptUntil"))]
    #[case::over(json!({ "metadata": { "annotations": { "karpenter.sh/do-not-disrupt": "1m" } } }), 60, false, Some("DoNotDisruptGracePeriodElapsed"))]
    #[case::not_started(
        json!({ "metadata": { "annotations": { "karpenter.sh/do-not-disrupt": "1m" } }, "status": { "startTime": null } }), 999, true, None
    )]
    #[case::terminal(
        json!({ "metadata": { "annotations": { "karpenter.sh/do-not-disrupt": "true" } }, "status": { "phase": "Failed" } }), 0, false, None
    )]
    #[case::terminating(
        json!({ "metadata": { "annotations": { "karpenter.sh/do-not-disrupt": "true" }, "deletionTimestamp": "2026-01-01T00:00:00Z" } }), 0, false, None
    )]
    fn what_pods_ask_for(#[case] change: Value, #[case] now: i64, #[case] protects: bool, #[case] event: Option<&str>) {
        let pod = pod("a", &change);
        let asked = DoNotDisrupt::of(&pod, at(now));
        assert_eq!((asked.protects(), asked.event(&pod).map(|event| event.reason)), (protects, event));
    }

    #[test]
    fn the_end_of_the_wait_is_told() {
        let pod = pod("a", &json!({ "metadata": { "annotations": { "karpenter.sh/do-not-disrupt": "90s" } } }));
        let asked = DoNotDisrupt::of(&pod, at(1));
        assert_eq!(asked.changes_at(), Some(at(90)));
        let message = "The karpenter.sh/do-not-disrupt grace period will elapse at 2026-01-01T00:01:30Z";
        assert_eq!(asked.event(&pod).unwrap().message, message);
    }
}
