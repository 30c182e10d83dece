//! The labels of metrics. Field names are the reference's label names.

use prometheus_client::encoding::EncodeLabelSet;

macro_rules! labels {
    ($($(#[$doc:meta])* $name:ident { $($field:ident),+ })+) => {
        $(
            $(#[$doc])*
            #[derive(Clone, Debug, Default, PartialEq, Eq, Hash, EncodeLabelSet)]
            pub(crate) struct $name {
                $(pub(crate) $field: String,)+
            }
        )+
    };
}

labels! {
    Build { version, goversion, goarch, commit }
    Created { reason, nodepool, min_values_relaxed }
    Terminated { nodepool, capacity_type, zone }
    Disrupted { reason, nodepool, capacity_type, consolidation_policy, termination_mode }
    Unhealthy { condition, nodepool, capacity_type, image_id }
    Savings { kind, reason }
    InPool { nodepool }
    InPoolForReason { nodepool, reason }
    InPoolAndZone { nodepool, zone }
    WithCode { code }
    OfReason { reason }
    OfMessage { message_type }
    OfBatcher { batcher }
    InController { controller }
    Evaluated { reason, consolidation_type }
    Decided { decision, reason, consolidation_type }
    ConsolidationType { consolidation_type }
    CloudCall { controller, method, provider }
    CloudFailure { controller, method, provider, error }
    Requested { method, code, resource }
}

impl Build {
    /// Of this build. `goversion` is part of the reference's label set, so dashboards may join on it; there is no Go here.
    pub(super) fn current() -> Self {
        Self {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            goversion: String::new(),
            goarch: String::new(),
            commit: String::new(),
        }
    }
}
