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

/// Which lease, and how it is asked for.
#[derive(Clone, Debug)]
pub struct LeaderElection {
    /// Name of the Lease.
    pub name: String,
    /// Its namespace.
    pub namespace: String,
    /// How long it is waited for, and kept.
    pub times: LeaseTimes,
}

/// How long a lease is waited for, and kept; the reference's names and values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LeaseTimes {
    /// How long others wait after the last sign of life of a leader; in whole seconds.
    pub lease_duration: Duration,
    /// How long a leader keeps trying to renew before it gives up acting; shorter than the lease, so that two never act.
    pub renew_deadline: Duration,
    /// Between two tries. Those who wait spread theirs by up to a fifth more, so that they do not come all at once.
    pub retry_period: Duration,
}

impl Default for LeaseTimes {
    fn default() -> Self {
        let [lease_duration, renew_deadline, retry_period] = [15, 10, 2].map(Duration::from_secs);
        Self { lease_duration, renew_deadline, retry_period }
    }
}

impl LeaseTimes {
    /// What is wrong with them, if anything: two might act at a time, or a leader give up that could not try.
    pub fn problem(&self) -> Option<&'static str> {
        if self.lease_duration.subsec_nanos() > 0 {
            return Some("the lease duration must be in whole seconds");
        }
        if self.lease_duration <= self.renew_deadline {
            return Some("the lease duration must be longer than the renew deadline");
        }
        if self.renew_deadline <= self.retry_period + self.jitter() || self.retry_period.is_zero() {
            return Some("the renew deadline must be longer than 1.2 times the retry period, which must not be 0");
        }
        None
    }

    /// The times of a candidate whose seconds are so many to one of the API server's: as slow there as any other.
    #[must_use]
    pub fn times(self, speed: u32) -> Self {
        let Self { lease_duration, renew_deadline, retry_period } = self;
        Self {
            lease_duration: lease_duration * speed,
            renew_deadline: renew_deadline * speed,
            retry_period: retry_period * speed,
        }
    }

    fn jitter(&self) -> Duration {
        self.retry_period / 5
    }
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
            let jitter = u64::try_from(self.election.times.jitter().as_millis()).unwrap_or(u64::MAX);
            let jitter = Duration::from_millis(self.jitter.below(jitter));
            tokio::time::sleep(self.election.times.retry_period + jitter).await;
        }
        tracing::info!(lease = %self.election.name, identity = %self.identity, "leading");
    }

    /// Keeps the lease; returns once it could not be renewed in time.
    pub(crate) async fn keep(&mut self) {
        let LeaseTimes { renew_deadline, retry_period, .. } = self.election.times;
        let mut renewed = self.clock.elapsed();
        while self.clock.elapsed() - renewed < renew_deadline {
            tokio::time::sleep(retry_period).await;
            // A request that hangs must not keep us leading past the deadline; and it is from when we asked that others wait.
            let asked = self.clock.elapsed();
            let left = renew_deadline.saturating_sub(asked - renewed);
            if tokio::time::timeout(left, self.try_once()).await.unwrap_or(false) {
                renewed = asked;
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
            lease_duration_seconds: Some(
                i32::try_from(self.election.times.lease_duration.as_secs()).unwrap_or(i32::MAX),
            ),
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
    use super::{Candidate, LeaderElection, LeaseTimes, may_take};
    use crate::metrics::Metrics;
    use axum::{Json, Router, extract::State, http::StatusCode, response::IntoResponse, routing::get};
    use jiff::{SignedDuration, Timestamp};
    use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
    use kube::Client;
    use rstest::rstest;
    use sawhorse_ambient::{Clock, Seed};
    use std::{
        sync::{Arc, Mutex},
        time::Duration,
    };

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

    #[rstest]
    #[case([15, 10, 2], None)]
    #[case([10, 10, 2], Some("longer than the renew deadline"))]
    #[case([15, 2, 2], Some("1.2 times"))]
    #[case([15, 10, 0], Some("must not be 0"))]
    fn times_that_let_two_act_are_refused(#[case] seconds: [u64; 3], #[case] problem: Option<&str>) {
        let [lease_duration, renew_deadline, retry_period] = seconds.map(Duration::from_secs);
        let found = LeaseTimes { lease_duration, renew_deadline, retry_period }.problem();
        assert!(
            found.is_some() == problem.is_some() && found.unwrap_or_default().contains(problem.unwrap_or_default())
        );
    }

    /// One lease, with optimistic locking; it can be made to fail.
    #[derive(Clone, Default)]
    struct Server(Arc<Mutex<(Option<Lease>, bool)>>);

    impl Server {
        fn client(&self) -> Client {
            let leases = "/apis/coordination.k8s.io/v1/namespaces/system/leases";
            let router = Router::new()
                .route(leases, axum::routing::post(write))
                .route(&format!("{leases}/controller"), get(read).put(write))
                .with_state(self.clone());
            Client::new(router, "default")
        }

        fn holder(&self) -> String {
            let lease = self.0.lock().unwrap().0.clone();
            lease.and_then(|lease| lease.spec?.holder_identity).unwrap_or_default()
        }

        fn fail(&self, fail: bool) {
            self.0.lock().unwrap().1 = fail;
        }
    }

    async fn read(State(server): State<Server>) -> axum::response::Response {
        match &*server.0.lock().unwrap() {
            (_, true) => refused(500),
            (Some(lease), false) => Json(lease.clone()).into_response(),
            (None, false) => refused(404),
        }
    }

    async fn write(State(server): State<Server>, Json(mut lease): Json<Lease>) -> axum::response::Response {
        let mut held = server.0.lock().unwrap();
        if held.1 {
            return refused(500);
        }
        let version = |lease: &Lease| lease.metadata.resource_version.clone();
        if held.0.as_ref().is_some_and(|held| version(held) != version(&lease)) {
            return refused(409);
        }
        let next = version(&lease).and_then(|text| text.parse::<u64>().ok()).unwrap_or(0) + 1;
        lease.metadata.resource_version = Some(next.to_string());
        held.0 = Some(lease.clone());
        Json(lease).into_response()
    }

    fn refused(code: u16) -> axum::response::Response {
        let reason = match code {
            404 => "NotFound",
            409 => "Conflict",
            _ => "InternalError",
        };
        let status = serde_json::json!(
            {"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": reason, "code": code}
        );
        (StatusCode::from_u16(code).unwrap(), Json(status)).into_response()
    }

    fn candidate(server: &Server, clock: Clock, identity: &str) -> Candidate {
        let times = LeaseTimes::default();
        let election = LeaderElection { name: "controller".into(), namespace: "system".into(), times };
        let jitter = Seed(1).stream(&[identity]);
        Candidate::new(server.client(), election, identity.into(), clock, jitter, Metrics::new())
    }

    #[tokio::test(start_paused = true)]
    async fn a_free_lease_is_taken_and_a_released_one_at_once() {
        let (server, clock) = (Server::default(), Clock::starting_at(Timestamp::UNIX_EPOCH));
        let (mut first, mut second) = (candidate(&server, clock, "first"), candidate(&server, clock, "second"));
        first.acquire().await;
        assert_eq!((server.holder().as_str(), clock.elapsed()), ("first", Duration::ZERO));
        let waiting = tokio::time::timeout(Duration::from_secs(5), second.acquire());
        let keeping = tokio::time::timeout(Duration::from_secs(5), first.keep());
        let (waited, kept) = tokio::join!(waiting, keeping);
        assert!(waited.is_err() && kept.is_err(), "the lease is held and kept");
        first.release().await;
        assert_eq!(server.holder(), "");
        second.acquire().await;
        assert_eq!(server.holder(), "second");
        assert!(clock.elapsed() < Duration::from_secs(6));
    }

    #[tokio::test(start_paused = true)]
    async fn the_lease_of_a_leader_that_died_is_taken_when_it_has_run_out() {
        let (server, clock) = (Server::default(), Clock::starting_at(Timestamp::UNIX_EPOCH));
        candidate(&server, clock, "first").acquire().await;
        candidate(&server, clock, "second").acquire().await;
        assert_eq!(server.holder(), "second");
        let waited = clock.elapsed().as_secs();
        assert!((15..20).contains(&waited), "{waited}");
        let transitions = server.0.lock().unwrap().0.clone().unwrap().spec.unwrap().lease_transitions;
        assert_eq!(transitions, Some(1));
    }

    #[tokio::test(start_paused = true)]
    async fn in_fast_motion_the_lease_lasts_as_long_as_ever_in_real_time() {
        let (server, clock) = (Server::default(), Clock::starting_at(Timestamp::UNIX_EPOCH));
        let mut second = candidate(&server, clock, "second");
        second.election.times = second.election.times.times(20);
        let mut first = candidate(&server, clock, "first");
        first.election.times = second.election.times;
        first.acquire().await;
        second.acquire().await;
        let waited = clock.elapsed().as_secs();
        assert!((300..400).contains(&waited), "{waited}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_leader_that_cannot_renew_gives_up_before_its_lease_runs_out() {
        let (server, clock) = (Server::default(), Clock::starting_at(Timestamp::UNIX_EPOCH));
        let mut leader = candidate(&server, clock, "leader");
        leader.acquire().await;
        let failing = server.clone();
        tokio::spawn(async move {
            tokio::time::sleep(Duration::from_secs(60)).await;
            failing.fail(true);
        });
        leader.keep().await;
        let elapsed = clock.elapsed().as_secs();
        assert!((68..=72).contains(&elapsed), "{elapsed}");
    }
}
