//! Eventual consistency: how long after a change reads and launches do not see it yet.

use super::{DelayRange, Instance, World};
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

/// How late what was made is seen, each drawn from the seed; at once if not given.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Consistency {
    /// Until a new machine can be described.
    pub instances: DelayRange,
    /// Until launches know a new template.
    pub launch_templates: DelayRange,
    /// Until launches know a new instance profile.
    pub instance_profiles: DelayRange,
}

impl Default for Consistency {
    fn default() -> Self {
        let at_once = DelayRange { min: SignedDuration::ZERO, max: SignedDuration::ZERO };
        Self { instances: at_once, launch_templates: at_once, instance_profiles: at_once }
    }
}

impl World {
    /// How late things are seen.
    pub fn consistency(&self) -> Consistency {
        self.consistency
    }

    /// A delay of `range`, drawn for the thing.
    pub(crate) fn lag(&self, kind: &str, id: &str, range: DelayRange) -> SignedDuration {
        let (low, high) = (range.min.as_millis() as u64, range.max.as_millis() as u64);
        SignedDuration::from_millis(self.seed.stream(&["lag", kind, id]).between(low, high) as i64)
    }

    /// Whether describing calls see the machine already.
    pub fn is_visible(&self, instance: &Instance) -> bool {
        instance.visible <= self.now
    }

    pub(crate) fn visible_from(&self, id: &str) -> Timestamp {
        self.now + self.lag("instance", id, self.consistency.instances)
    }

    /// Whether launches know the template already.
    pub(crate) fn template_is_known(&self, template: &super::LaunchTemplate) -> bool {
        template.created + self.lag("launch-template", &template.id, self.consistency.launch_templates) <= self.now
    }
}
