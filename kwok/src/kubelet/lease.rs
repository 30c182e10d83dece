//! Node leases.

use super::delays::Spread;
use jiff::Timestamp;
use k8s_openapi::{
    api::coordination::v1::{Lease, LeaseSpec},
    apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta, OwnerReference},
};
use std::time::Duration;

/// Where node leases are.
pub(super) const NAMESPACE: &str = "kube-node-lease";

/// How leases are kept. Each renewal is a write: a hundred nodes with the default send ten a second.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LeaseOptions {
    /// How long a lease is good for; it is renewed after a quarter of that, give or take four per cent.
    pub duration: Duration,
}

impl Default for LeaseOptions {
    /// Forty seconds, as kubelets.
    fn default() -> Self {
        Self { duration: Duration::from_secs(40) }
    }
}

impl LeaseOptions {
    /// When a lease is renewed, counted from the last time.
    pub(super) fn renewal(&self) -> Spread {
        let quarter = self.duration / 4;
        Spread { least: quarter * 96 / 100, typical: quarter, most: quarter * 104 / 100 }
    }

    /// The lease of the node called `node`, renewed `now`.
    pub(super) fn lease(&self, node: &str, node_uid: &str, now: Timestamp) -> Lease {
        let owner = OwnerReference {
            api_version: "v1".to_owned(),
            kind: "Node".to_owned(),
            name: node.to_owned(),
            uid: node_uid.to_owned(),
            ..OwnerReference::default()
        };
        Lease {
            metadata: ObjectMeta {
                name: Some(node.to_owned()),
                namespace: Some(NAMESPACE.to_owned()),
                owner_references: Some(vec![owner]),
                ..ObjectMeta::default()
            },
            spec: Some(LeaseSpec {
                holder_identity: Some(node.to_owned()),
                lease_duration_seconds: i32::try_from(self.duration.as_secs()).ok(),
                renew_time: Some(MicroTime(now)),
                ..LeaseSpec::default()
            }),
        }
    }
}
