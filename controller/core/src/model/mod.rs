//! The vocabulary that deciders think in, and its conversions from Kubernetes types.

mod buffer;
mod catalog;
mod cluster;
mod gang;
mod ids;
mod instance_type;
mod node;
mod overlay;
mod pod;
mod price;
mod quantity;
mod requirement;
mod requirements;
mod resources;
mod settings;
mod storage;
mod taints;
mod why_not;

pub use buffer::{Buffer, BufferKey, BufferRoom, buffer_of, is_virtual};
pub use catalog::{Catalog, UnavailableOfferings};
pub use cluster::{ClusterSnapshot, StateNode};
pub use gang::GangKey;
pub use ids::{NodeClaimName, NodeName, NodeOverlayName, NodePoolName, PodKey, ProviderId};
pub use instance_type::{CapacityType, InstanceType, Offering, Overhead};
pub use overlay::{Overlays, WhyRefused};
pub use pod::{
    HostPort, host_ports, is_active, is_daemon_pod, is_gated, is_provisionable, is_reschedulable, is_static_pod,
    is_terminal, is_terminating, pod_requests, pod_spec,
};
pub use price::{InvalidPrice, Price};
pub use quantity::{InvalidQuantity, Rounding, parse_quantity};
pub use requirement::{Operator, Requirement, parse_operator};
pub use requirements::{Incompatible, Requirements, WellKnownLabels};
pub use resources::{
    CPU, EPHEMERAL_STORAGE, HUGE_PAGES_PREFIX, InvalidResource, MEMORY, NODES, PODS, Resources, quantity_text,
};
pub use settings::{FeatureGates, MinValuesPolicy, PreferencePolicy, RepairPolicy, Settings};
pub use storage::Storage;
pub use taints::{
    NO_EXECUTE, NO_SCHEDULE, PREFER_NO_SCHEDULE, ephemeral_taint, first_untolerated, taint_text, tolerates,
    tolerates_all,
};
pub use why_not::{Exceeding, Shortfall, WhyNot};
