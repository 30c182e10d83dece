//! A running instance and its user data become a Node, as that kubelet would register it. Pure.
//!
//! - [`Machine`], [`MachineSource`] — what a cloud is running
//! - [`boot_plan`] — user data (nodeadm, Bottlerocket, `bootstrap.sh`) → [`BootPlan`], or why the machine never joins
//! - [`node`] — machine and plan → the Node that its kubelet registers
//! - [`quantity`] — amounts

mod bootstrap_script;
mod bottlerocket;
mod kubelet_arguments;
mod mime;
mod node;
mod nodeadm;
pub mod quantity;
#[cfg(test)]
mod tests;
mod user_data;

pub use node::{NodeOptions, node};
pub use user_data::{BootPlan, CannotJoin, ClusterIdentity, UserDataFormat, boot_plan};

use jiff::Timestamp;
use std::collections::BTreeMap;

/// A machine that a cloud is running: what the fake kubelet on it can see of its own hardware and metadata service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Machine {
    /// The cloud's id, e.g. `i-0123456789abcdef0`.
    pub instance_id: String,
    /// The id as Nodes carry it, e.g. `aws:///us-east-1a/i-0123456789abcdef0`.
    pub provider_id: String,
    /// The type's name.
    pub instance_type: String,
    /// The region's name.
    pub region: String,
    /// The zone's name.
    pub zone: String,
    /// The zone's id, e.g. `use1-az6`.
    pub zone_id: String,
    /// `amd64` or `arm64`.
    pub architecture: String,
    /// The private DNS name: the node's name on AWS.
    pub private_dns_name: String,
    /// The private address.
    pub private_ip: String,
    /// User data as given at launch, decoded; empty if none was given.
    pub user_data: String,
    /// The machine's resources as a kubelet detects them, by Kubernetes resource name, as quantities (`cpu`, `memory`,
    /// `ephemeral-storage`, `nvidia.com/gpu`, …); memory is what the operating system sees. `pods`, if given, is how many
    /// pods the machine's network interfaces allow: the default of max pods, and what the default reservation of memory is
    /// reckoned by.
    pub hardware: BTreeMap<String, String>,
    /// When the cloud began to run it.
    pub running_since: Timestamp,
}

/// Where machines come from: implemented over a fake cloud's world by whoever wires the two together.
#[async_trait::async_trait]
pub trait MachineSource: Send + Sync + 'static {
    /// The machines running now, sorted by instance id.
    fn machines(&self) -> Vec<Machine>;

    /// Waits until the answer of [`MachineSource::machines`] may have changed since `seen` and returns the new version;
    /// at once if `seen` is already old. Start with 0.
    async fn changed(&self, seen: u64) -> u64;
}
