//! The vocabulary that deciders think in, and its conversions from Kubernetes types.

mod catalog;
mod cluster;
mod ids;
mod instance_type;
mod price;
mod requirement;
mod requirements;
mod resources;
mod settings;
mod taints;
mod why_not;

pub use catalog::{Catalog, UnavailableOfferings};
pub use cluster::{ClusterSnapshot, StateNode};
pub use ids::{NodeClaimName, NodeName, NodePoolName, PodKey, ProviderId};
pub use instance_type::{CapacityType, InstanceType, Offering, Overhead};
pub use price::Price;
pub use requirement::{Operator, Requirement};
pub use requirements::{Incompatible, Requirements};
pub use resources::Resources;
pub use settings::{FeatureGates, MinValuesPolicy, PreferencePolicy, Settings};
pub use taints::{ephemeral_taint, tolerates, tolerates_all};
pub use why_not::WhyNot;
