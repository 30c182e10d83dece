//! The custom resources as users write them: types, defaults, schemas, validation, hashes.
//!
//! - [`labels`] — every label, annotation, taint, finalizer and resource key
//! - [`conditions`] — condition types, reasons, and how conditions are set
//! - [`NodePool`], [`NodeClaim`], [`Ec2NodeClass`], [`CapacityBuffer`], [`NodeOverlay`] — the objects
//! - [`Budget`] and [`allowed_disruptions`] — how many nodes may be disrupted at once
//! - [`hash`] — when has a template changed
//! - [`validate()`], [`validate_ec2_node_class`], [`validate_node_overlay`] — what the schema cannot say
//! - [`crds`] — the CustomResourceDefinitions

mod budget;
mod capacity_buffer;
pub mod conditions;
mod crd;
mod duration;
mod ec2_node_class;
pub mod hash;
pub mod labels;
mod node_claim;
mod node_overlay;
mod node_pool;
mod validate;
mod validate_ec2;
mod validate_overlay;

pub use budget::{AllowedDisruptions, Budget, BudgetError, UNLIMITED, allowed_disruptions};
pub use capacity_buffer::{CapacityBuffer, CapacityBufferSpec, CapacityBufferStatus, LocalObjectRef, ScalableRef};
pub use crd::{crd_files, crds, crds_yaml};
pub use duration::{GoDuration, InvalidDuration, NillableDuration, parse_go_duration};
pub use ec2_node_class::{
    Ami, AmiFamily, AmiSelectorTerm, BlockDevice, BlockDeviceMapping, CapacityReservation,
    CapacityReservationSelectorTerm, ConnectionTracking, CpuOptions, Ec2NodeClass, Ec2NodeClassSpec,
    Ec2NodeClassStatus, KubeletConfiguration, MetadataOptions, NetworkInterface, PlacementGroupSelector, SecurityGroup,
    SecurityGroupSelectorTerm, Subnet, SubnetSelectorTerm,
};
pub use node_claim::{
    NodeClaim, NodeClaimSpec, NodeClaimStatus, NodeClassReference, NodeSelectorRequirementWithMinValues,
    RequirementOperator, ResourceList, ResourceRequirements,
};
pub use node_overlay::{NodeOverlay, NodeOverlaySpec, NodeOverlayStatus, OverlayRequirement};
pub use node_pool::{
    ConsolidationPolicy, Disruption, DisruptionReason, NodeClaimTemplate, NodeClaimTemplateSpec, NodePool,
    NodePoolSpec, NodePoolStatus, TemplateMetadata,
};
pub use validate::{Problem, validate};
pub use validate_ec2::validate_ec2_node_class;
pub use validate_overlay::validate_node_overlay;

/// How old machines become where nothing is said: thirty days.
fn default_expire_after() -> NillableDuration {
    "720h".parse().expect("the literal is a duration")
}
