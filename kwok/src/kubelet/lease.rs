//! Node leases: who has one, when it is renewed, and the requests for that.

use super::{
    delays::Spread,
    object::text,
    send::{Failure, Sender, is_conflict, is_not_found},
    world::after,
};
use http::Method;
use jiff::Timestamp;
use serde::Serialize;
use serde_json::Value;
use std::time::Duration;

/// Where node leases are.
pub(super) const NAMESPACE: &str = "kube-node-lease";
/// Their collection.
pub(super) const COLLECTION: &str = "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases";

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

    /// When a lease that was just begun is renewed for the first time: earlier than it must be, so that the renewals of
    /// nodes whose leases were begun together are spread over time.
    pub(super) fn first_renewal(&self) -> Spread {
        let quarter = self.duration / 4;
        Spread { least: quarter / 10, typical: quarter * 55 / 100, most: quarter }
    }
}

/// A lease as its last writer left it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Held {
    version: String,
    pub(super) holder: String,
    /// Until when nobody else may take it.
    pub(super) until: Timestamp,
    transitions: i64,
}

impl Held {
    /// What the API server says of a lease.
    pub(super) fn of(lease: &Value) -> Self {
        let spec = &lease["spec"];
        let seconds = spec["leaseDurationSeconds"].as_u64().unwrap_or(0);
        let renewed = spec["renewTime"].as_str().and_then(|time| time.parse().ok()).unwrap_or(Timestamp::MIN);
        Self {
            version: text(lease, &["metadata", "resourceVersion"]).to_owned(),
            holder: text(lease, &["spec", "holderIdentity"]).to_owned(),
            until: after(renewed, Duration::from_secs(seconds)),
            transitions: spec["leaseTransitions"].as_i64().unwrap_or(0),
        }
    }
}

/// What became of asking for a lease.
#[derive(Debug)]
pub(super) enum Renewal {
    /// It is ours.
    Ours(Held),
    /// Somebody else has it.
    Others(Held),
    /// There was no answer that says so; it is tried again.
    Unknown,
}

/// A node's lease and who asks for it.
#[derive(Clone, Debug)]
pub(super) struct Claim {
    pub(super) node: String,
    pub(super) node_uid: String,
    pub(super) holder: String,
    pub(super) duration: Duration,
    /// The lease as last seen.
    pub(super) seen: Option<Held>,
}

impl Claim {
    /// Renews the lease, takes it if it has run out, makes it if there is none.
    pub(super) async fn renew(self, sender: &Sender, now: Timestamp) -> Renewal {
        match self.try_renew(sender, now).await {
            Ok(renewal) => renewal,
            Err(Failure::Drop(error) | Failure::Retry(error)) => {
                tracing::debug!(node = %self.node, %error, "a lease was not renewed");
                Renewal::Unknown
            }
        }
    }

    async fn try_renew(&self, sender: &Sender, now: Timestamp) -> Result<Renewal, Failure> {
        let seen = match &self.seen {
            None => match self.write(sender, None, now).await {
                Err(Failure::Drop(error)) if is_conflict(&error) => self.read(sender).await?,
                made => return made.map(Renewal::Ours),
            },
            Some(seen) => seen.clone(),
        };
        if !self.may_take(&seen, now) {
            return Ok(Renewal::Others(seen));
        }
        match self.write(sender, Some(&seen), now).await {
            Err(Failure::Drop(error)) if is_conflict(&error) => {
                let seen = self.read(sender).await?;
                if !self.may_take(&seen, now) {
                    return Ok(Renewal::Others(seen));
                }
                self.write(sender, Some(&seen), now).await.map(Renewal::Ours)
            }
            Err(Failure::Drop(error)) if is_not_found(&error) => self.write(sender, None, now).await.map(Renewal::Ours),
            written => written.map(Renewal::Ours),
        }
    }

    fn may_take(&self, seen: &Held, now: Timestamp) -> bool {
        seen.holder.is_empty() || seen.holder == self.holder || seen.until < now
    }

    async fn read(&self, sender: &Sender) -> Result<Held, Failure> {
        let url = format!("{COLLECTION}/{}", self.node);
        sender.request(Method::GET, &url, super::send::JSON, None, &Value::Null).await.map(|lease| Held::of(&lease))
    }

    /// Writes the lease as ours, over `seen` or anew. The whole object is sent: the API server has less work with that than with
    /// a patch, and renewals are most of what it does for idle nodes.
    async fn write(&self, sender: &Sender, seen: Option<&Held>, now: Timestamp) -> Result<Held, Failure> {
        let transitions = seen.map_or(0, |seen| seen.transitions + i64::from(seen.holder != self.holder));
        let body = Lease {
            api_version: "coordination.k8s.io/v1",
            kind: "Lease",
            metadata: Metadata {
                name: &self.node,
                namespace: NAMESPACE,
                resource_version: seen.map(|seen| seen.version.as_str()),
                owner_references: [Owner { api_version: "v1", kind: "Node", name: &self.node, uid: &self.node_uid }],
            },
            spec: Spec {
                holder_identity: &self.holder,
                lease_duration_seconds: self.duration.as_secs(),
                renew_time: format!("{now:.6}"),
                lease_transitions: transitions,
            },
        };
        let version = match seen {
            None => sender.write(Method::POST, COLLECTION, &body).await?,
            Some(_) => sender.write(Method::PUT, &format!("{COLLECTION}/{}", self.node), &body).await?,
        };
        let until = after(now, self.duration);
        Ok(Held { version, holder: self.holder.clone(), until, transitions })
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Lease<'a> {
    api_version: &'static str,
    kind: &'static str,
    metadata: Metadata<'a>,
    spec: Spec<'a>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Metadata<'a> {
    name: &'a str,
    namespace: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    resource_version: Option<&'a str>,
    owner_references: [Owner<'a>; 1],
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Owner<'a> {
    api_version: &'static str,
    kind: &'static str,
    name: &'a str,
    uid: &'a str,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Spec<'a> {
    holder_identity: &'a str,
    lease_duration_seconds: u64,
    renew_time: String,
    #[serde(skip_serializing_if = "is_zero")]
    lease_transitions: i64,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands out references")]
fn is_zero(number: &i64) -> bool {
    *number == 0
}
