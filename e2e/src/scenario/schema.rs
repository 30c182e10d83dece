//! What a scenario says.

use jiff::{SignedDuration, Timestamp};
use sawhorse_fake_cloud::world::CloudConfig;
use serde::{Deserialize, Deserializer, de::Error};
use serde_json::Value;
use std::{num::NonZeroU32, time::Duration};

/// A run's description.
#[derive(Clone, Debug)]
pub struct Scenario {
    /// Its name: `metadata.name` of the `Scenario` object.
    pub name: String,
    /// What it shows, in a sentence or two.
    pub why: String,
    /// The seed of everything drawn, where the command line gives none.
    pub seed: u64,
    /// The virtual time at which it starts.
    pub start: Timestamp,
    /// The longest that the run may take in virtual time.
    pub limit: Duration,
    /// Why it makes sense in virtual time only; none if it runs on real control planes too.
    pub virtual_time_only: Option<String>,
    /// On a real control plane: at most so many of its seconds pass in each real one, as much has to be done in few of them.
    pub fastest: Option<NonZeroU32>,
    /// Whether it shows what upstream KWOK, too, has to do for Nodes and pods in the kubelets' place.
    pub upstream_kwok: bool,
    /// The cloud as it begins.
    pub cloud: CloudConfig,
    /// The controller's settings.
    pub controller: ControllerSpec,
    /// How machines boot.
    pub nodes: NodesSpec,
    /// Objects that are applied before the first step, in the file's order.
    pub objects: Vec<Value>,
    /// What happens, in order.
    pub steps: Vec<Step>,
}

impl Scenario {
    /// How many of its seconds pass in each real one, where `wanted` are asked for.
    pub fn speed(&self, wanted: u32) -> u32 {
        self.fastest.map_or(wanted, |fastest| wanted.min(fastest.get()))
    }

    /// About how long it lasts, as far as its steps tell: the time that they let pass, and for each that waits as long as a machine
    /// takes to come and a part of the longest that it may wait.
    ///
    /// A guess, good for beginning the longest first.
    pub fn lasts_about(&self) -> Duration {
        self.steps.iter().fold(Duration::ZERO, |so_far, step| {
            let due = step.at.unwrap_or_default().max(so_far + step.after);
            due + match &step.action {
                Action::Hold(hold) => hold.span.0,
                Action::Await(wait) => A_MACHINE_COMES + wait.within.0 / WAITS_PART,
                _ => Duration::ZERO,
            }
        })
    }
}

/// What [`Scenario::lasts_about`] counts for each that waits, and the part of its longest wait on top: close to what runs on real
/// control planes take.
const A_MACHINE_COMES: Duration = Duration::from_mins(2);
const WAITS_PART: u32 = 10;

/// One thing that happens.
#[derive(Clone, Debug)]
pub struct Step {
    /// Its place in the file, from 1.
    pub number: usize,
    /// When, from the start of the run; none for as soon as the previous step is done.
    pub at: Option<Duration>,
    /// How long after the previous step is done.
    pub after: Duration,
    /// What.
    pub action: Action,
}

/// What a step does. A closed set: the runner matches all of it.
#[derive(Clone, Debug)]
pub enum Action {
    /// Applies objects of the file (they are held back until then).
    Apply(Vec<Value>),
    /// Deletes an object.
    Delete(ObjectRef),
    /// Changes the number of replicas.
    Scale(Scale),
    /// Changes the number of replicas again and again, in the background.
    Curve(Curve),
    /// Merges a JSON patch into an object.
    Patch(Patch),
    /// Sends a request to the fake cloud's control door.
    Control(ControlCall),
    /// Ends the controller as a kill would.
    KillController(KillController),
    /// Starts a controller again.
    StartController,
    /// Waits until all expressions are true.
    Await(Await),
    /// Expressions that must be true now.
    Expect(Vec<String>),
    /// Expressions that must be true for a while.
    Hold(Hold),
    /// Keeps the facts of this moment under a name, for later expressions as `marks.NAME`.
    Remember(String),
}

/// A duration as people write it: `30s`, `10m`, `1h30m`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Span(
    /// Its length.
    pub Duration,
);

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let bad = || D::Error::custom(format!("`{text}` is not a duration: write for example `30s`, `10m` or `1h30m`"));
        let span: SignedDuration = text.parse().map_err(|_| bad())?;
        Duration::try_from(span).map(Self).map_err(|_| bad())
    }
}

/// Names an object.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ObjectRef {
    /// Its kind, e.g. `Deployment`.
    pub kind: String,
    /// Its name.
    pub name: String,
    /// Its namespace, where it has one.
    #[serde(default = "default_namespace")]
    pub namespace: String,
}

/// A change of a workload's size.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Scale {
    /// `Deployment`, `StatefulSet` or `ReplicaSet`.
    pub kind: String,
    /// Its name.
    pub name: String,
    /// Its namespace.
    #[serde(default = "default_namespace")]
    pub namespace: String,
    /// The number wanted.
    pub replicas: u32,
}

/// Sizes that follow one another, over and over.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Curve {
    /// `Deployment`, `StatefulSet` or `ReplicaSet`.
    pub kind: String,
    /// Its name.
    pub name: String,
    /// Its namespace.
    #[serde(default = "default_namespace")]
    pub namespace: String,
    /// The time between two sizes.
    pub every: Span,
    /// The sizes, in order.
    pub replicas: Vec<u32>,
}

/// A patch.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Patch {
    /// The object's kind.
    pub kind: String,
    /// Its name; every object of the kind, in the namespace, if not given.
    pub name: Option<String>,
    /// How many of them, in order of their names; all if not given.
    pub first: Option<u32>,
    /// Its namespace, where it has one.
    #[serde(default = "default_namespace")]
    pub namespace: String,
    /// Whether it is the object's status that is changed.
    #[serde(default)]
    pub status: bool,
    /// Whether lists are merged by the keys of their entries, as `kubectl patch` does with built-in kinds, not replaced.
    #[serde(default)]
    pub strategic: bool,
    /// What is merged into it.
    pub merge: Value,
}

/// A request to the control door, e.g. `{put: /capacity, body: {rules: […]}}`.
#[derive(Clone, Debug)]
pub struct ControlCall {
    /// `PUT`, `POST` or `DELETE`.
    pub method: &'static str,
    /// Below `/control/v1`. `{instance}` stands for the id of the first running machine (in order of ids).
    pub path: String,
    /// The body, if any.
    pub body: Option<Value>,
}

/// When the controller is ended.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct KillController {
    /// Not now, but when the cloud has answered this operation with success, before the controller sees the answer.
    #[serde(default)]
    pub once_succeeded: Option<String>,
}

/// Conditions that are waited for.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Await {
    /// CEL expressions over the facts; all must be true.
    pub that: Vec<String>,
    /// How long that may take.
    pub within: Span,
}

/// Conditions that must stay true.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Hold {
    /// CEL expressions over the facts; all must be true all the time.
    pub that: Vec<String>,
    /// For how long.
    #[serde(rename = "for")]
    pub span: Span,
}

/// The controller's settings; what is not given is as the controller's own defaults.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct ControllerSpec {
    /// Let consolidation replace spot nodes by cheaper spot nodes.
    pub spot_to_spot_consolidation: bool,
    /// Replace machines whose Nodes say that they are broken.
    pub node_repair: bool,
    /// Keep pools with `replicas` at that number of machines.
    pub static_capacity: bool,
    /// Keep the room that CapacityBuffers ask for.
    pub capacity_buffer: bool,
    /// Look at NodeOverlays.
    pub node_overlay: bool,
    /// End machines that have reached their age at once, as the reference does.
    pub forceful_expiration: bool,
    /// End broken machines at once, as the reference does.
    pub forceful_repair: bool,
    /// Act only while holding the Lease `karpenter-leader-election` in the namespace `sawhorse`.
    pub leader_election: bool,
    /// Listen to the queue, called as the cluster is, that the cloud tells of interruptions.
    pub interruption_queue: bool,
}

/// How machines boot and nodes live.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct NodesSpec {
    /// From running to registered, and from registered to Ready.
    pub boot: BootSpec,
    /// How long node leases are good for; they are renewed after a quarter of that. Real control planes have their own.
    pub lease_duration: Option<Span>,
    /// Whether Nodes say every ten minutes in their status that they are as they were; leases say the same.
    pub heartbeats: bool,
}

impl Default for NodesSpec {
    fn default() -> Self {
        Self { boot: BootSpec::default(), lease_duration: None, heartbeats: true }
    }
}

/// How long machines take to join.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct BootSpec {
    /// From running to registered.
    pub registered: Range,
    /// From registered to Ready.
    pub ready: Range,
}

impl Default for BootSpec {
    fn default() -> Self {
        Self { registered: Range { least: 20, typical: 30, most: 60 }, ready: Range { least: 3, typical: 6, most: 15 } }
    }
}

/// Seconds that vary: half of the draws lie below `typical`.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Range {
    /// The least.
    pub least: u64,
    /// The median.
    pub typical: u64,
    /// The most.
    pub most: u64,
}

fn default_namespace() -> String {
    "default".to_owned()
}
