//! The shell around [`crate::stage`] and [`crate::machine`]: machines boot, nodes register, pods run, leases are renewed.
//!
//! - [`run`] — every kubelet of a cluster as one task with one timer queue; `world` holds what it knows, `agenda` what is due
//! - [`MachineEvent`] — what became of each machine, for a run's timeline
//! - `node_lifecycle` — what cloud-controller-manager and kube-controller-manager do for nodes: initialisation, taints by
//!   condition, `Unknown` when leases stop, deletion with the instance, collection of the pods left behind
//!
//! There is no task per node or pod. In virtual time what is due at the same time happens in the order of its key, one request
//! after the other, so that two runs with the same seed send the same requests; in real time several are under way at once.

mod addresses;
mod agenda;
mod delays;
mod events;
mod lease;
mod node_health;
mod node_lifecycle;
mod object;
mod run;
mod selection;
mod send;
mod tally;
#[cfg(test)]
mod tests;
mod tracked;
mod world;

pub use addresses::AddressOptions;
pub use delays::Spread;
pub use events::{MachineEvent, MachineEventKind, OnMachineEvent};
pub use lease::LeaseOptions;
pub use node_lifecycle::{NodeControllers, NodeLifecycleOptions};
pub use run::{KubeletConfig, KubeletError, run};
pub use selection::{NoMachines, NodeSelection};
pub use tally::Tally;
