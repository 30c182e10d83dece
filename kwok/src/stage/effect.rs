//! What a stage does, ready to be sent.

use serde_json::Value;

/// One request that a stage asks for.
#[derive(Clone, Debug, PartialEq)]
pub enum Effect {
    /// Record an event about the object.
    Event {
        /// `Normal` or `Warning`.
        kind: String,
        /// The reason, in CamelCase.
        reason: String,
        /// The message.
        message: String,
    },
    /// Change the object.
    Patch {
        /// How the body is applied.
        kind: PatchKind,
        /// The body.
        body: Value,
        /// The subresource, if any.
        subresource: Option<String>,
        /// As whom it is sent, if not as the kubelet.
        username: Option<String>,
    },
    /// Delete the object with no grace.
    Delete,
    /// Create another object, or change it if it exists.
    Apply {
        /// The object.
        object: Value,
        /// How it is changed if it exists.
        kind: PatchKind,
        /// The subresource, if any: then it is only changed, never created.
        subresource: Option<String>,
        /// As whom it is sent, if not as the kubelet.
        username: Option<String>,
    },
}

/// How a change is applied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PatchKind {
    /// RFC 6902.
    Json,
    /// RFC 7386.
    Merge,
    /// Kubernetes' strategic merge.
    Strategic,
    /// Server-side apply, forced, by the field manager `kwok`.
    Apply,
}

impl PatchKind {
    /// The content type of a request with such a body.
    pub fn content_type(self) -> &'static str {
        match self {
            Self::Json => "application/json-patch+json",
            Self::Merge => "application/merge-patch+json",
            Self::Strategic => "application/strategic-merge-patch+json",
            Self::Apply => "application/apply-patch+yaml",
        }
    }
}
