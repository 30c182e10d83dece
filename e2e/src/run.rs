//! A scenario from its first step to its summary.

use crate::{
    control_plane::{
        ControlPlane, Kind, KindCluster, Kubernetes, KubernetesCluster, KwokPrograms, Pace, Programs, Times,
        access::Access, in_fast_motion,
    },
    environment::{Environment, LOOK_EVERY, Options, clock_from, settings},
    event_log::{Entry, Source},
    facts::{self, Expectations, Facts, Wanted},
    invariants::Invariants,
    objects::KnownObjects,
    report::Sample,
    scenario::{Action, Await, ControlCall, Curve, Hold, ObjectRef, Patch as PatchSpec, Scale, Scenario, Step},
    summary::{Summary, percentiles},
};
use anyhow::{Context, anyhow, bail};
use axum::body::Body;
use http_body_util::BodyExt;
use kube::{
    Client, ResourceExt,
    api::{Api, DeleteParams, ListParams, Patch, PatchParams},
    core::{ApiResource, DynamicObject, GroupVersionKind},
    discovery::{Scope, pinned_kind},
};
use sawhorse_ambient::{Clock, Seed};
use sawhorse_kwok::apiserver::GroupResource;
use serde_json::{Value, json};
use std::{
    cell::RefCell,
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, PoisonError},
    time::Duration,
};
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

/// Entries of the audit trail that are read at a time.
const AUDIT_PAGE: usize = 1000;
/// How many reasons for pods' having no place are told of a failed step.
const MOST_TOLD: usize = 3;
/// How often the invariants are checked in virtual time, when something changed.
const INVARIANTS_EVERY: Duration = Duration::from_secs(10);
/// The largest answer of the control door that is read.
const MAX_ANSWER: usize = 1 << 20;

/// What a run leaves behind.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// The figures.
    pub summary: Summary,
    /// Everything that happened.
    pub entries: Vec<Entry>,
    /// The same as JSON lines.
    pub events: String,
    /// What there was, each time that it had changed.
    pub samples: Vec<Sample>,
    /// What the controller asked of a real API server.
    pub accesses: BTreeSet<Access>,
}

/// Told of how far a run is.
pub type OnProgress<'a> = &'a (dyn Fn(Progress<'_>) + Sync);

/// How far a run is.
#[derive(Clone, Copy, Debug)]
pub struct Progress<'a> {
    /// Steps done.
    pub done: usize,
    /// Steps in all.
    pub steps: usize,
    /// Virtual time.
    pub elapsed: Duration,
    /// What is being done.
    pub what: &'a str,
}

/// Runs a scenario in virtual time on a runtime of its own. `wall` measures real time (virtual time cannot).
///
/// # Errors
/// A world that cannot begin. A scenario that fails is an outcome with `summary.failure`.
pub fn in_virtual_time(
    scenario: &Scenario,
    seed: Option<u64>,
    progress: OnProgress<'_>,
    wall: impl Fn() -> Duration,
) -> anyhow::Result<Outcome> {
    // Without tokio's I/O driver: whatever would open a socket fails.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .context("the runtime cannot be made")?;
    runtime.block_on(async {
        let clock = clock_from(scenario.start);
        let seed = Seed(seed.unwrap_or(scenario.seed));
        from_first_to_last(scenario, (seed, None), clock, (ControlPlane::embedded(clock, seed), None), progress, wall)
            .await
    })
}

/// A control plane that stays for the next run.
pub type Kept = RefCell<Option<KubernetesCluster>>;

/// A real control plane to run on.
#[derive(Clone, Copy)]
pub enum Real<'a> {
    /// One of these programs: the one that is kept if there is such, which is kept again if the run ends well, or one of its own.
    Programs(&'a Programs, Option<&'a Kept>),
    /// A kind cluster that it leaves as it was.
    Kind(&'a Arc<KindCluster>),
}

/// How a run on a real control plane is done.
#[derive(Clone, Copy)]
pub struct InFastMotion<'a> {
    /// On what.
    pub on: Real<'a>,
    /// So many seconds of the scenario pass in each real one.
    pub speed: u32,
    /// Upstream KWOK in the place of our kubelets.
    pub kwok: Option<&'a KwokPrograms>,
    /// Ends the run before its end.
    pub stop: &'a CancellationToken,
}

/// Runs a scenario on a real control plane of its own, in fast motion: `speed` of its seconds pass in each real one.
///
/// # Errors
/// A control plane that does not start, a world that cannot begin. A scenario that fails is an outcome with `summary.failure`.
pub fn on_kubernetes(
    scenario: &Scenario,
    seed: Option<u64>,
    (programs, speed): (&Programs, u32),
    progress: OnProgress<'_>,
    wall: impl Fn() -> Duration,
) -> anyhow::Result<Outcome> {
    let stop = CancellationToken::new();
    let how = InFastMotion { on: Real::Programs(programs, None), speed, kwok: None, stop: &stop };
    for_real(scenario, seed, how, progress, wall)
}

/// Runs a scenario on a real control plane.
///
/// # Errors
/// As of [`on_kubernetes`]; the run was stopped.
pub fn for_real(
    scenario: &Scenario,
    seed: Option<u64>,
    how: InFastMotion<'_>,
    progress: OnProgress<'_>,
    wall: impl Fn() -> Duration,
) -> anyhow::Result<Outcome> {
    let InFastMotion { on, speed, kwok, stop } = how;
    let steps = scenario.steps.len();
    progress(Progress { done: 0, steps, elapsed: Duration::ZERO, what: "the control plane starts" });
    in_fast_motion(speed, async {
        let clock = Clock::from_system();
        let seed = Seed(seed.unwrap_or(scenario.seed));
        let times = Times { began: clock.now(), speed };
        let (control_plane, kept) = match on {
            Real::Programs(programs, kept) => {
                let begun = begun(programs, kept.and_then(RefCell::take), times).await?;
                (ControlPlane::Kubernetes(Box::new(begun)), kept)
            }
            Real::Kind(cluster) => (ControlPlane::Kind(Box::new(Kind::begin(cluster, times).await?)), None),
        };
        let run = from_first_to_last(scenario, (seed, kwok), clock, (control_plane, kept), progress, wall);
        tokio::select! {
            biased;
            () = stop.cancelled() => bail!("it was interrupted"),
            outcome = run => outcome,
        }
    })
    .context("the runtime cannot be made")?
}

/// The control plane that was kept, or a new one if there is none or it was made for another pace.
async fn begun(programs: &Programs, kept: Option<KubernetesCluster>, times: Times) -> anyhow::Result<Kubernetes> {
    match kept {
        Some(cluster) if cluster.pace() == Pace::of(times.speed) => return Kubernetes::again(cluster, times).await,
        Some(cluster) => cluster.stop(times.speed).await,
        None => {}
    }
    Kubernetes::start(programs, times).await
}

async fn from_first_to_last(
    scenario: &Scenario,
    (seed, kwok): (Seed, Option<&KwokPrograms>),
    clock: Clock,
    (control_plane, kept): (ControlPlane, Option<&Kept>),
    progress: OnProgress<'_>,
    wall: impl Fn() -> Duration,
) -> anyhow::Result<Outcome> {
    let options = Options {
        seed,
        clock,
        endpoint: crate::environment::IN_PROCESS_ENDPOINT.to_owned(),
        servers: None,
        autoscaler: true,
        kwok: kwok.cloned(),
        scheduler_events: false,
    };
    let environment = Environment::start(scenario, &options, control_plane).await?;
    let began = clock.elapsed();
    let mut run = Run {
        environment,
        scenario,
        began,
        marks: BTreeMap::new(),
        seen: (0, 0),
        audited: 0,
        invariants: Invariants::new(&settings(scenario)),
        known: KnownObjects::default(),
        checked: Duration::ZERO,
        samples: Vec::new(),
    };
    let limit = scenario.limit;
    let failure = match tokio::time::timeout(limit, run.all_steps(progress)).await {
        Ok(Ok(())) => None,
        Ok(Err(error)) => Some(format!("{error:#}")),
        Err(_) => Some(format!("it did not end within its limit of {limit:?}")),
    };
    let heard = run.environment.hear_controller().await;
    let mut outcome = run.outcome(failure, wall());
    let left = run.environment.leave(kept.is_some() && outcome.summary.failure.is_none()).await;
    let left = left.map(|cluster| kept.map(|kept| kept.replace(cluster)));
    // What the run itself failed of comes first.
    let unsound = heard.and(left.map(drop)).err().map(|error| format!("{error:#}"));
    outcome.summary.failure = outcome.summary.failure.or(unsound);
    Ok(outcome)
}

struct Run<'a> {
    environment: Environment,
    scenario: &'a Scenario,
    /// What the clock showed when everything ran.
    began: Duration,
    marks: BTreeMap<String, Facts>,
    /// Versions of cluster and world that were looked at last.
    seen: (u64, u64),
    /// The last entry of the audit trail that is in the log.
    audited: u64,
    invariants: Invariants,
    known: KnownObjects,
    /// When the invariants were checked last.
    checked: Duration,
    samples: Vec<Sample>,
}

impl Run<'_> {
    /// What has passed since everything ran.
    fn elapsed(&self) -> Duration {
        self.environment.clock.elapsed().saturating_sub(self.began)
    }

    async fn all_steps(&mut self, progress: OnProgress<'_>) -> anyhow::Result<()> {
        apply_all(&self.environment.client(), &self.scenario.objects).await?;
        let steps = self.scenario.steps.len();
        for (done, step) in self.scenario.steps.iter().enumerate() {
            let what = describe(&step.action);
            progress(Progress { done, steps, elapsed: self.elapsed(), what: &what });
            self.wait_for(step).await?;
            self.note(step, &what);
            let acted = self.act(step).await;
            acted.map_err(|why| anyhow!("step {} ({what}): {why:#}{}", step.number, self.said_of_pods()))?;
            self.look()?;
        }
        progress(Progress { done: steps, steps, elapsed: self.elapsed(), what: "done" });
        Ok(())
    }

    /// Lets time pass until the step is due, and looks after the invariants meanwhile.
    async fn wait_for(&mut self, step: &Step) -> anyhow::Result<()> {
        let elapsed = self.elapsed();
        let due = step.at.unwrap_or(elapsed + step.after);
        self.pass_until(due).await
    }

    async fn pass_until(&mut self, due: Duration) -> anyhow::Result<()> {
        loop {
            let left = due.saturating_sub(self.elapsed());
            if left.is_zero() {
                return Ok(());
            }
            tokio::time::sleep(left.min(INVARIANTS_EVERY)).await;
            self.look()?;
        }
    }

    fn note(&self, step: &Step, what: &str) {
        self.environment.log.add(self.environment.clock.now(), Source::Step, step.number.to_string(), what);
    }

    /// Copies new audit entries into the log; checks the invariants if something changed since, and not too often.
    fn look(&mut self) -> anyhow::Result<bool> {
        let now = self.environment.clock.now();
        let audited = self.audited;
        let fresh = self.environment.world.with(|world| {
            let mut fresh = Vec::new();
            let mut after = audited;
            loop {
                let page: Vec<_> = world.audit_page(after, AUDIT_PAGE).cloned().collect();
                let Some(last) = page.last() else { break fresh };
                after = last.number;
                fresh.extend(page);
            }
        });
        for entry in fresh {
            self.audited = entry.number;
            let ids = if entry.ids.is_empty() { String::new() } else { format!(" {}", entry.ids.join(" ")) };
            self.environment.log.add(entry.time, Source::Cloud, entry.operation, format!("{}{ids}", entry.result));
        }
        let seen = (self.environment.control_plane.revision(), self.environment.world.with(|world| world.version()));
        let changed = seen != self.seen;
        self.seen = seen;
        let elapsed = self.elapsed();
        if changed && elapsed >= self.checked + INVARIANTS_EVERY {
            self.checked = elapsed;
            let objects = &self.environment.control_plane;
            let (invariants, known) = (&mut self.invariants, &mut self.known);
            // In real time the ledger would be a later one at another look.
            let (violations, sample) = self.environment.world.with(|world| {
                let ledger = world.ledger();
                let cluster = known.cluster(objects, world, now);
                let stored = |group: &str, resource: &str| objects.list(&GroupResource::new(group, resource));
                let violations = invariants.violations(&cluster, world, &ledger, &stored);
                (violations, facts::sample(&cluster, world, &ledger, elapsed))
            });
            if !violations.is_empty() {
                bail!("an invariant is violated: {}", violations.join("; "));
            }
            self.keep(sample);
        }
        if let Some(what) = self.environment.broken_part() {
            bail!("{what}");
        }
        Ok(changed)
    }

    /// Notes what there is now, if that has changed.
    fn keep(&mut self, sample: Sample) {
        if self.samples.last().is_none_or(|last| Sample { elapsed: sample.elapsed, ..*last } != sample) {
            self.samples.push(sample);
        }
    }

    fn facts(&self, wanted: Wanted) -> Facts {
        self.environment.world.with(|world| Facts::gather(&self.environment.control_plane, world, wanted))
    }

    /// What a person asks next when a step has failed: why pods have no place.
    fn said_of_pods(&self) -> String {
        let facts = self.facts(Wanted { pods: false, events: true });
        let said = facts.why_pods_wait().into_iter().take(MOST_TOLD);
        said.map(|(message, times)| format!("; FailedScheduling ({times} times): {message}")).collect()
    }

    async fn act(&mut self, step: &Step) -> anyhow::Result<()> {
        let client = self.environment.client();
        match &step.action {
            Action::Apply(objects) => apply_all(&client, objects).await,
            Action::Delete(object) => delete(&client, object).await,
            Action::Scale(scale) => set_scale(&client, scale).await,
            Action::Curve(curve) => {
                tokio::spawn(follow(client, curve.clone()));
                Ok(())
            }
            Action::Patch(patch) => patch_all(&client, patch).await,
            Action::Control(call) => self.control(call).await,
            Action::KillController(kill) => {
                self.environment.kill_controller(kill.once_succeeded.as_deref());
                Ok(())
            }
            Action::StartController => {
                self.environment.start_controller();
                Ok(())
            }
            Action::Await(wait) => self.wait(wait).await,
            Action::Expect(expressions) => self.expect(&expectations(expressions)?),
            Action::Hold(hold) => self.hold(hold).await,
            Action::Remember(name) => {
                let facts = self.facts(Wanted::default());
                self.marks.insert(name.clone(), facts);
                Ok(())
            }
        }
    }

    fn expect(&self, expected: &Expectations) -> anyhow::Result<()> {
        let facts = self.facts(expected.wanted());
        expected.all_true(&facts, &self.marks).map_err(|why| anyhow!("{why}; {}", told(&facts)))
    }

    async fn wait(&mut self, wait: &Await) -> anyhow::Result<()> {
        let until = self.elapsed() + wait.within.0;
        let expected = expectations(&wait.that)?;
        let mut why = self.expect(&expected);
        while why.is_err() && self.elapsed() < until {
            tokio::time::sleep(LOOK_EVERY).await;
            if self.look()? {
                why = self.expect(&expected);
            }
        }
        why.with_context(|| format!("not so within {:?}", wait.within.0))
    }

    async fn hold(&mut self, hold: &Hold) -> anyhow::Result<()> {
        let until = self.elapsed() + hold.span.0;
        let expected = expectations(&hold.that)?;
        self.expect(&expected)?;
        while self.elapsed() < until {
            tokio::time::sleep(LOOK_EVERY).await;
            if self.look()? {
                self.expect(&expected).with_context(|| format!("it did not stay so for {:?}", hold.span.0))?;
            }
        }
        Ok(())
    }

    async fn control(&self, call: &ControlCall) -> anyhow::Result<()> {
        let first = self.facts_first_instance();
        let path = format!("/control/v1{}", call.path.replace("{instance}", &first));
        let body = call.body.as_ref().map_or_else(Body::empty, |body| Body::from(body.to_string()));
        let request = http::Request::builder()
            .method(call.method)
            .uri(&path)
            .header(http::header::CONTENT_TYPE, "application/json")
            .body(body)?;
        let Ok(response) = self.environment.cloud.clone().oneshot(request).await;
        let status = response.status();
        let answer = http_body_util::Limited::new(response.into_body(), MAX_ANSWER).collect().await;
        let answer = answer.map_err(|error| anyhow!("the answer cannot be read: {error}"))?.to_bytes();
        if !status.is_success() {
            bail!("{} {path}: {status}: {}", call.method, String::from_utf8_lossy(&answer));
        }
        Ok(())
    }

    fn facts_first_instance(&self) -> String {
        let running = self.environment.world.with(|world| world.running_machines());
        running.first().map(|machine| machine.instance_id.clone()).unwrap_or_default()
    }

    fn outcome(&mut self, failure: Option<String>, wall_time: Duration) -> Outcome {
        // The last calls belong into the log too; a violated invariant is already the failure by then.
        let late = self.look().err().map(|error| format!("{error:#}"));
        let (accesses, unread) = match self.environment.control_plane.accesses() {
            Ok(accesses) => (accesses, None),
            Err(error) => (BTreeSet::new(), Some(format!("{error:#}"))),
        };
        let failure = failure.or(late).or(unread);
        let ledger = self.environment.world.with(|world| world.ledger());
        let tally = self.environment.tally.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let calls: Vec<(String, u64)> = ledger.calls.iter().map(|(name, count)| (name.clone(), count.calls)).collect();
        let summary = Summary {
            scenario: self.scenario.name.clone(),
            failure,
            virtual_time: self.elapsed(),
            wall_time,
            pods: tally.pods,
            machines: ledger.launched,
            evictions: tally.evictions,
            micro_dollars: facts::micro_dollars(&ledger),
            cloud_calls: calls.iter().map(|(_, count)| count).sum(),
            throttled_calls: ledger.calls.values().map(|count| count.throttled).sum(),
            kubernetes_calls: self.environment.control_plane.requests(),
            time_to_bind: percentiles(&tally.time_to_bind),
            calls_by_operation: calls,
        };
        // The plots end where the run does.
        let last = self.samples.last().copied().unwrap_or_default();
        self.samples.push(Sample { elapsed: summary.virtual_time, ..last });
        let samples = std::mem::take(&mut self.samples);
        let (entries, events) = (self.environment.log.entries(), self.environment.log.json_lines());
        Outcome { summary, entries, events, samples, accesses }
    }
}

fn expectations(expressions: &[String]) -> anyhow::Result<Expectations> {
    Expectations::compile(expressions).map_err(|why| anyhow!(why))
}

/// What a person needs to see when an expectation fails.
fn told(facts: &Facts) -> String {
    let pending = facts.count.pending;
    format!("the facts are count {} cost {} ({pending} pending)", json!(facts.count), json!(facts.cost))
}

fn describe(action: &Action) -> String {
    let kinds = |objects: &[Value]| {
        let names = objects.iter().map(|object| {
            format!("{}/{}", object["kind"].as_str().unwrap_or("?"), object["metadata"]["name"].as_str().unwrap_or("?"))
        });
        names.collect::<Vec<_>>().join(", ")
    };
    match action {
        Action::Apply(objects) => format!("apply {}", kinds(objects)),
        Action::Delete(object) => format!("delete {}/{}", object.kind, object.name),
        Action::Scale(scale) => format!("scale {}/{} to {}", scale.kind, scale.name, scale.replicas),
        Action::Curve(curve) => format!("scale {}/{} by its curve", curve.kind, curve.name),
        Action::Patch(patch) => format!("patch {}/{}", patch.kind, patch.name.as_deref().unwrap_or("*")),
        Action::Control(call) => format!("control {} {}", call.method, call.path),
        Action::KillController(kill) => match &kill.once_succeeded {
            Some(operation) => format!("kill the controller once {operation} has succeeded"),
            None => "kill the controller".to_owned(),
        },
        Action::StartController => "start the controller".to_owned(),
        Action::Await(wait) => format!("await {}", wait.that.join(" and ")),
        Action::Expect(expressions) => format!("expect {}", expressions.join(" and ")),
        Action::Hold(hold) => format!("hold {}", hold.that.join(" and ")),
        Action::Remember(name) => format!("remember {name}"),
    }
}

/// Patches the object that is named, or every one of the kind.
async fn patch_all(client: &Client, patch: &PatchSpec) -> anyhow::Result<()> {
    let name = patch.name.clone().unwrap_or_default();
    let target = ObjectRef { kind: patch.kind.clone(), name, namespace: patch.namespace.clone() };
    let api = api_of(client, &target).await?;
    let names = match &patch.name {
        Some(name) => vec![name.clone()],
        None => {
            let mut names: Vec<String> =
                api.list(&ListParams::default()).await?.into_iter().map(|own| own.name_any()).collect();
            names.sort();
            names.truncate(patch.first.map_or(usize::MAX, |first| first as usize));
            names
        }
    };
    let merge = if patch.strategic { Patch::Strategic(&patch.merge) } else { Patch::Merge(&patch.merge) };
    for name in names {
        let params = PatchParams::default();
        if patch.status {
            api.patch_status(&name, &params, &merge).await?;
        } else {
            api.patch(&name, &params, &merge).await?;
        }
    }
    Ok(())
}

/// Applies objects in their order.
///
/// # Errors
/// The API server refuses one.
pub async fn apply_all(client: &Client, objects: &[Value]) -> anyhow::Result<()> {
    for object in objects {
        apply(client, object).await.with_context(|| {
            format!(
                "`{}/{}` was refused",
                object["kind"].as_str().unwrap_or("?"),
                object["metadata"]["name"].as_str().unwrap_or("?")
            )
        })?;
    }
    Ok(())
}

async fn apply(client: &Client, object: &Value) -> anyhow::Result<()> {
    let mut object: DynamicObject = serde_json::from_value(object.clone())?;
    let types = object.types.clone().unwrap_or_default();
    let name = object.metadata.name.clone().unwrap_or_default();
    let namespace = object.metadata.namespace.clone().unwrap_or_else(|| "default".to_owned());
    let api = api_for(client, &types.api_version, &types.kind, &namespace).await?;
    match api.create(&Default::default(), &object).await {
        Err(kube::Error::Api(status)) if status.code == 409 => {
            object.metadata.resource_version = None;
            let merge = serde_json::to_value(&object)?;
            api.patch(&name, &PatchParams::default(), &Patch::Merge(&merge)).await.map_err(said)?;
            Ok(())
        }
        created => created.map(drop).map_err(said),
    }
}

/// What the API server said, without the whole status around it.
pub(crate) fn said(error: kube::Error) -> anyhow::Error {
    match error {
        kube::Error::Api(status) => anyhow!("{}", status.message),
        other => other.into(),
    }
}

async fn delete(client: &Client, object: &ObjectRef) -> anyhow::Result<()> {
    api_of(client, object).await?.delete(&object.name, &DeleteParams::background()).await?;
    Ok(())
}

async fn set_scale(client: &Client, scale: &Scale) -> anyhow::Result<()> {
    let Scale { kind, name, namespace, replicas } = scale.clone();
    let api = api_of(client, &ObjectRef { kind, name: name.clone(), namespace }).await?;
    let merge = json!({ "spec": { "replicas": replicas } });
    api.patch(&name, &PatchParams::default(), &Patch::Merge(&merge)).await?;
    Ok(())
}

/// Scales by the curve for as long as the run lasts.
async fn follow(client: Client, curve: Curve) {
    let Curve { kind, name, namespace, every, replicas } = curve;
    for wanted in replicas.iter().cycle() {
        let scale = Scale { kind: kind.clone(), name: name.clone(), namespace: namespace.clone(), replicas: *wanted };
        // A workload that has been deleted ends its curve.
        if set_scale(&client, &scale).await.is_err() {
            return;
        }
        tokio::time::sleep(every.0).await;
    }
}

/// Kinds that a step may name without saying their group.
const GROUPS: [(&str, &str); 14] = [
    ("Deployment", "apps/v1"),
    ("ReplicaSet", "apps/v1"),
    ("StatefulSet", "apps/v1"),
    ("DaemonSet", "apps/v1"),
    ("Job", "batch/v1"),
    ("Pod", "v1"),
    ("Node", "v1"),
    ("PodDisruptionBudget", "policy/v1"),
    ("NodePool", "karpenter.sh/v1"),
    ("NodeClaim", "karpenter.sh/v1"),
    ("EC2NodeClass", "karpenter.k8s.aws/v1"),
    ("CapacityBuffer", "autoscaling.x-k8s.io/v1beta1"),
    ("NodeOverlay", "karpenter.sh/v1alpha1"),
    ("Namespace", "v1"),
];

async fn api_of(client: &Client, object: &ObjectRef) -> anyhow::Result<Api<DynamicObject>> {
    let (_, api_version) = GROUPS.iter().find(|(kind, _)| *kind == object.kind).ok_or_else(|| {
        let known: Vec<&str> = GROUPS.iter().map(|(kind, _)| *kind).collect();
        anyhow!("`{}` is not a kind that steps can name: there are {}", object.kind, known.join(", "))
    })?;
    api_for(client, api_version, &object.kind, &object.namespace).await
}

async fn api_for(
    client: &Client,
    api_version: &str,
    kind: &str,
    namespace: &str,
) -> anyhow::Result<Api<DynamicObject>> {
    let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
    let gvk = GroupVersionKind::gvk(group, version, kind);
    let (resource, capabilities): (ApiResource, _) = pinned_kind(client, &gvk)
        .await
        .with_context(|| format!("the API server does not know `{kind}` of `{api_version}`"))?;
    Ok(match capabilities.scope {
        Scope::Cluster => Api::all_with(client.clone(), &resource),
        Scope::Namespaced => Api::namespaced_with(client.clone(), namespace, &resource),
    })
}
