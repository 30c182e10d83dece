//! Leadership by Lease, as client-go does it: one instance acts, the others wait (spec core 7).

use crate::metrics::{Metrics, Requested};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::{
    api::coordination::v1::{Lease, LeaseSpec},
    apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta},
};
use kube::{Api, Client, api::PostParams};
use sawhorse_ambient::{Clock, Stream};
use std::time::Duration;

/// How long others wait after the last sign of life of a leader.
const LEASE_DURATION: SignedDuration = SignedDuration::from_secs(15);
/// How long a leader keeps trying to renew before it gives up acting; shorter than the lease, so that two never act.
const RENEW_DEADLINE: SignedDuration = SignedDuration::from_secs(10);
/// Between two tries.
const RETRY_PERIOD: Duration = Duration::from_secs(2);
/// Those who wait spread their tries by up to this much more, so that they do not come all at once (1.2 × the period).
const JITTER_MILLIS: u64 = 400;

/// Which lease, and who asks for it.
#[derive(Clone, Debug)]
pub struct LeaderElection {
    /// Name of the Lease.
    pub name: String,
    /// Its namespace.
    pub namespace: String,
}

/// One candidate for the lease.
pub(crate) struct Candidate {
    api: Api<Lease>,
    election: LeaderElection,
    identity: String,
    clock: Clock,
    jitter: Stream,
    metrics: Metrics,
    /// The lease as last seen, and since when it has looked so: a leader's clock is not trusted, only that it moves.
    observed: Option<(Lease, Timestamp)>,
}

impl Candidate {
    pub(crate) fn new(
        client: Client,
        election: LeaderElection,
        identity: String,
        clock: Clock,
        jitter: Stream,
        metrics: Metrics,
    ) -> Self {
        let api = Api::namespaced(client, &election.namespace);
        Self { api, election, identity, clock, jitter, metrics, observed: None }
    }

    /// Returns once this candidate leads.
    pub(crate) async fn acquire(&mut self) {
        tracing::info!(lease = %self.election.name, identity = %self.identity, "waiting for the lease");
        while !self.try_once().await {
            let jitter = Duration::from_millis(self.jitter.below(JITTER_MILLIS));
            tokio::time::sleep(RETRY_PERIOD + jitter).await;
        }
        tracing::info!(lease = %self.election.name, identity = %self.identity, "leading");
    }

    /// Keeps the lease; returns once it could not be renewed in time.
    pub(crate) async fn keep(&mut self) {
        let mut renewed = self.clock.now();
        while self.clock.now().duration_since(renewed) < RENEW_DEADLINE {
            tokio::time::sleep(RETRY_PERIOD).await;
            let left = RENEW_DEADLINE - self.clock.now().duration_since(renewed);
            // A request that hangs must not keep us leading past the deadline.
            let left = Duration::try_from(left).unwrap_or(Duration::ZERO);
            if tokio::time::timeout(left, self.try_once()).await.unwrap_or(false) {
                renewed = self.clock.now();
            }
        }
        tracing::error!(lease = %self.election.name, "the lease could not be renewed in time");
    }

    /// Lets the lease go, so that another need not wait for its end.
    pub(crate) async fn release(&mut self) {
        let Some((lease, _)) = self.observed.take().filter(|(lease, _)| holder(lease) == self.identity) else { return };
        let now = self.clock.now();
        let mut released = lease;
        let spec = released.spec.get_or_insert_default();
        spec.holder_identity = Some(String::new());
        spec.lease_duration_seconds = Some(1);
        spec.renew_time = Some(MicroTime(now));
        if let Err(error) = self.replace(&released).await {
            tracing::debug!(%error, "the lease was not released");
        }
    }

    /// Takes or renews the lease if it is free or ours; whether it is ours then.
    async fn try_once(&mut self) -> bool {
        match self.take_or_renew().await {
            Ok(ours) => ours,
            Err(error) => {
                tracing::debug!(%error, "the lease could not be read or written");
                false
            }
        }
    }

    async fn take_or_renew(&mut self) -> Result<bool, kube::Error> {
        let found = self.api.get_opt(&self.election.name).await;
        self.count("GET", &found);
        let now = self.clock.now();
        let Some(found) = found? else {
            let created = self.api.create(&PostParams::default(), &self.lease(now, None)).await;
            self.count("POST", &created);
            self.observed = Some((created?, now));
            return Ok(true);
        };
        if self.observed.as_ref().is_none_or(|(seen, _)| seen.spec != found.spec) {
            self.observed = Some((found.clone(), now));
        }
        let since = self.observed.as_ref().map_or(now, |(_, since)| *since);
        if !may_take(&found, since, &self.identity, now) {
            return Ok(false);
        }
        let written = self.replace(&self.lease(now, Some(&found))).await?;
        self.observed = Some((written, now));
        Ok(true)
    }

    async fn replace(&self, lease: &Lease) -> Result<Lease, kube::Error> {
        let written = self.api.replace(&self.election.name, &PostParams::default(), lease).await;
        self.count("PUT", &written);
        written
    }

    /// The lease as held by us from `now`, replacing `found`.
    fn lease(&self, now: Timestamp, found: Option<&Lease>) -> Lease {
        let before = found.and_then(|lease| lease.spec.clone()).unwrap_or_default();
        let ours = found.is_some_and(|lease| holder(lease) == self.identity);
        let transitions = before.lease_transitions.unwrap_or(0) + i32::from(found.is_some() && !ours);
        let metadata = found.map_or_else(
            || ObjectMeta {
                name: Some(self.election.name.clone()),
                namespace: Some(self.election.namespace.clone()),
                ..ObjectMeta::default()
            },
            |lease| lease.metadata.clone(),
        );
        let spec = LeaseSpec {
            holder_identity: Some(self.identity.clone()),
            lease_duration_seconds: Some(LEASE_DURATION.as_secs() as i32),
            acquire_time: before.acquire_time.filter(|_| ours).or(Some(MicroTime(now))),
            renew_time: Some(MicroTime(now)),
            lease_transitions: Some(transitions),
            ..before
        };
        Lease { metadata, spec: Some(spec) }
    }

    fn count<T>(&self, method: &str, answer: &Result<T, kube::Error>) {
        let code = match answer {
            Ok(_) => 200,
            Err(kube::Error::Api(status)) => status.code,
            Err(_) => 0,
        };
        let labels = Requested { method: method.to_owned(), code: code.to_string(), resource: "leases".to_owned() };
        self.metrics.requests.get_or_create(&labels).inc();
    }
}

fn holder(lease: &Lease) -> &str {
    lease.spec.as_ref().and_then(|spec| spec.holder_identity.as_deref()).unwrap_or_default()
}

/// Whether `identity` may write itself into `lease`, which has looked as it does since `since`.
fn may_take(lease: &Lease, since: Timestamp, identity: &str, now: Timestamp) -> bool {
    let holder = holder(lease);
    let seconds = lease.spec.as_ref().and_then(|spec| spec.lease_duration_seconds).unwrap_or(0);
    holder.is_empty() || holder == identity || since + SignedDuration::from_secs(i64::from(seconds)) < now
}

#[cfg(test)]
mod tests {
    use super::may_take;
    use jiff::{SignedDuration, Timestamp};
    use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
    use rstest::rstest;

    #[rstest]
    #[case::ours("me", 1, true)]
    #[case::released("", 1, true)]
    #[case::held("other", 15, false)]
    #[case::run_out("other", 16, true)]
    fn who_may_take_the_lease(#[case] holder: &str, #[case] seconds_since_seen: i64, #[case] may: bool) {
        let spec = LeaseSpec {
            holder_identity: Some(holder.to_owned()),
            lease_duration_seconds: Some(15),
            ..LeaseSpec::default()
        };
        let lease = Lease { spec: Some(spec), ..Lease::default() };
        let since = Timestamp::UNIX_EPOCH;
        assert_eq!(may_take(&lease, since, "me", since + SignedDuration::from_secs(seconds_since_seen)), may);
    }
}
