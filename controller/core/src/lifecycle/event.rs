//! What users are told, as values.

use crate::model::PodKey;
use jiff::SignedDuration;

/// What an event is about.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum About {
    /// A NodeClaim, by name.
    NodeClaim(String),
    /// A Node, by name.
    Node(String),
    /// A NodePool, by name.
    NodePool(String),
    /// A pod.
    Pod(PodKey),
}

/// A Kubernetes Event to be recorded (spec core 6.2).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// The object.
    pub about: About,
    /// `Warning` rather than `Normal`.
    pub warning: bool,
    /// The reason, as dashboards know it.
    pub reason: &'static str,
    /// The text.
    pub message: String,
    /// How long an identical event is held back.
    pub window: SignedDuration,
}

impl Event {
    /// How long identical events are held back where nothing else is said.
    pub const USUAL_WINDOW: SignedDuration = SignedDuration::from_mins(2);

    /// An ordinary event.
    pub fn normal(about: About, reason: &'static str, message: impl Into<String>) -> Self {
        Self { about, warning: false, reason, message: message.into(), window: Self::USUAL_WINDOW }
    }

    /// A warning.
    pub fn warning(about: About, reason: &'static str, message: impl Into<String>) -> Self {
        Self { warning: true, ..Self::normal(about, reason, message) }
    }

    /// Held back for this long instead.
    #[must_use]
    pub fn window(mut self, window: SignedDuration) -> Self {
        self.window = window;
        self
    }
}
