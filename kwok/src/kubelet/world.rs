//! What the kubelets know, and what they decide from it: no requests are sent here.

use super::{
    addresses::AddressBook,
    agenda::Agenda,
    events::{MachineEvent, MachineEventKind},
    object::{condition_status, text},
    run::KubeletConfig,
};
use crate::{
    machine::{BootPlan, CannotJoin, Machine, boot_plan},
    stage::{CompiledStage, Effect, Facts, Lifecycle, ResourceKind, StepError, Window},
};
use jiff::{SignedDuration, Timestamp};
use sawhorse_ambient::{Seed, Stream};
use serde_json::Value;
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

/// The kinds that kubelets always look after, by their index in the list of kinds.
pub(super) const NODE: usize = 0;
pub(super) const POD: usize = 1;

/// An object by kind, namespace and name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct ObjectKey {
    pub(super) kind: usize,
    pub(super) namespace: String,
    pub(super) name: String,
}

impl ObjectKey {
    pub(super) fn of(kind: usize, object: &Value) -> Self {
        let field = |name: &str| text(object, &["metadata", name]).to_owned();
        Self { kind, namespace: field("namespace"), name: field("name") }
    }

    fn node(name: &str) -> Self {
        Self { kind: NODE, namespace: String::new(), name: name.to_owned() }
    }
}

/// What a job is about. Their order is the order of what is due at the same time.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Key {
    /// A machine, by instance id.
    Machine(String),
    /// An object with stages.
    Object(ObjectKey),
    /// The lease of a node, by the node's name.
    Lease(String),
}

/// What is to be done.
#[derive(Debug)]
pub(super) enum Job {
    /// Register the machine's Node.
    Register,
    /// The node's container runtime and network have come up: its stages begin.
    Begin,
    /// Do what a stage says.
    Stage { stage: Arc<CompiledStage>, window: Window },
    /// Send the rest of what a stage said, after a failure.
    Resume { effects: Vec<Effect>, attempt: u32 },
    /// Renew a lease, or create it.
    Renew,
}

/// A machine and how far it has come.
struct Host {
    machine: Machine,
    plan: Result<BootPlan, CannotJoin>,
    /// Its Node's name, once registered.
    node: Option<String>,
    /// Whether its runtime and network are up.
    begun: bool,
    /// Whether its Node has been Ready.
    was_ready: bool,
}

struct Tracked {
    value: Value,
    /// How many times something was drawn for this object: names its next stream.
    draws: u64,
}

/// Everything that the kubelets know.
pub(super) struct World {
    lifecycle: Lifecycle,
    kinds: Vec<ResourceKind>,
    cluster: crate::machine::ClusterIdentity,
    seed: Seed,
    boot: super::delays::Spread,
    begin: super::delays::Spread,
    leases: Option<super::lease::LeaseOptions>,
    started: Timestamp,
    hosts: BTreeMap<String, Host>,
    /// Which machine is which node.
    nodes: BTreeMap<String, String>,
    objects: BTreeMap<ObjectKey, Tracked>,
    pods_by_node: BTreeMap<String, BTreeSet<ObjectKey>>,
    pub(super) addresses: Arc<AddressBook>,
    pub(super) agenda: Agenda<Key, Job>,
    /// What happened to machines and has not been told yet.
    pub(super) events: Vec<MachineEvent>,
}

impl World {
    pub(super) fn new(config: &KubeletConfig, lifecycle: Lifecycle, kinds: Vec<ResourceKind>, now: Timestamp) -> Self {
        Self {
            lifecycle,
            kinds,
            cluster: config.cluster.clone(),
            seed: config.seed,
            boot: config.boot,
            begin: config.ready,
            leases: config.leases,
            started: now,
            hosts: BTreeMap::new(),
            nodes: BTreeMap::new(),
            objects: BTreeMap::new(),
            pods_by_node: BTreeMap::new(),
            addresses: Arc::default(),
            agenda: Agenda::default(),
            events: Vec::new(),
        }
    }

    fn tell(&mut self, at: Timestamp, instance_id: &str, kind: MachineEventKind) {
        self.events.push(MachineEvent { at, instance_id: instance_id.to_owned(), kind });
    }

    /// The machines that run now: new ones begin to boot, missing ones take their kubelet with them.
    pub(super) fn machines(&mut self, machines: Vec<Machine>, now: Timestamp) {
        let running: BTreeSet<String> = machines.iter().map(|machine| machine.instance_id.clone()).collect();
        let gone: Vec<String> = self.hosts.keys().filter(|id| !running.contains(*id)).cloned().collect();
        gone.iter().for_each(|id| self.machine_gone(id, now));
        for machine in machines {
            if !self.hosts.contains_key(&machine.instance_id) {
                self.machine_boots(machine, now);
            }
        }
    }

    fn machine_boots(&mut self, machine: Machine, now: Timestamp) {
        let id = machine.instance_id.clone();
        let delay = self.boot.draw(&mut self.seed.stream(&["machine", &id, "boot"]));
        let up = after(machine.running_since, delay).max(now);
        self.tell(now, &id, MachineEventKind::Booting);
        self.agenda.schedule(Key::Machine(id.clone()), up, Job::Register);
        let plan = boot_plan(&machine.user_data, &self.cluster);
        self.hosts.insert(id, Host { machine, plan, node: None, begun: false, was_ready: false });
    }

    fn machine_gone(&mut self, id: &str, now: Timestamp) {
        let Some(host) = self.hosts.remove(id) else { return };
        self.agenda.cancel(&Key::Machine(id.to_owned()));
        if let Some(node) = &host.node {
            self.nodes.remove(node);
            self.agenda.cancel(&Key::Lease(node.clone()));
            self.agenda.cancel(&Key::Object(ObjectKey::node(node)));
            for pod in self.pods_by_node.get(node).into_iter().flatten() {
                self.agenda.cancel(&Key::Object(pod.clone()));
            }
        }
        self.tell(now, id, MachineEventKind::Stopped { node: host.node });
    }

    /// The machine and its plan, when it has booted; if its user data is wrong that is told instead.
    pub(super) fn booted(&mut self, id: &str, now: Timestamp) -> Option<(Machine, BootPlan)> {
        let host = self.hosts.get(id)?;
        match &host.plan {
            Ok(plan) => Some((host.machine.clone(), plan.clone())),
            Err(why) => {
                let (code, reason) = (why.code(), why.to_string());
                self.tell(now, id, MachineEventKind::CannotJoin { code, reason });
                None
            }
        }
    }

    /// The API server does not take the machine's Node.
    pub(super) fn refused(&mut self, id: &str, reason: String, now: Timestamp) {
        self.tell(now, id, MachineEventKind::CannotJoin { code: "NodeRejected", reason });
    }

    /// The machine's Node is registered.
    pub(super) fn registered(&mut self, id: &str, node: &str, now: Timestamp) {
        let Some(host) = self.hosts.get_mut(id) else { return };
        host.node = Some(node.to_owned());
        self.addresses.set_node(node, &host.machine.private_ip);
        self.nodes.insert(node.to_owned(), id.to_owned());
        self.tell(now, id, MachineEventKind::Joined { node: node.to_owned() });
        let delay = self.begin.draw(&mut self.seed.stream(&["machine", id, "ready"]));
        self.agenda.schedule(Key::Machine(id.to_owned()), after(now, delay), Job::Begin);
        if self.leases.is_some() {
            self.agenda.schedule(Key::Lease(node.to_owned()), now, Job::Renew);
        }
    }

    /// The machine's runtime and network are up.
    pub(super) fn begun(&mut self, id: &str, now: Timestamp) {
        let Some(host) = self.hosts.get_mut(id) else { return };
        host.begun = true;
        if let Some(node) = host.node.clone() {
            self.evaluate(&ObjectKey::node(&node), now);
        }
    }

    /// When the lease of `node` is renewed next; none if its kubelet is gone.
    pub(super) fn next_renewal(&self, node: &str, now: Timestamp) -> Option<Timestamp> {
        let options = self.leases.filter(|_| self.nodes.contains_key(node))?;
        let mut draws = self.seed.stream(&["lease", node, &now.to_string()]);
        Some(after(now, options.renewal().draw(&mut draws)))
    }

    /// The object called so.
    pub(super) fn object(&self, key: &ObjectKey) -> Option<&Value> {
        self.objects.get(key).map(|tracked| &tracked.value)
    }

    /// The keys of all objects of a kind.
    pub(super) fn keys_of(&self, kind: usize) -> Vec<ObjectKey> {
        self.objects.keys().filter(|key| key.kind == kind).cloned().collect()
    }

    /// An object was created or has changed.
    pub(super) fn applied(&mut self, kind: usize, value: Value, now: Timestamp) {
        let key = ObjectKey::of(kind, &value);
        if self.object(&key).is_some_and(|old| text(old, &["metadata", "uid"]) != text(&value, &["metadata", "uid"])) {
            self.deleted(&key);
        }
        if kind == POD {
            self.pods_by_node.entry(text(&value, &["spec", "nodeName"]).to_owned()).or_default().insert(key.clone());
        }
        match self.objects.get_mut(&key) {
            Some(tracked) => tracked.value = value,
            None => drop(self.objects.insert(key.clone(), Tracked { value, draws: 0 })),
        }
        if kind == NODE {
            self.notice_ready(&key.name, now);
        }
        self.evaluate(&key, now);
    }

    /// The first time a node is Ready, its pods begin.
    fn notice_ready(&mut self, node: &str, now: Timestamp) {
        let ready =
            self.object(&ObjectKey::node(node)).and_then(|object| condition_status(object, "Ready")) == Some("True");
        let Some(id) = self.nodes.get(node).filter(|_| ready).cloned() else { return };
        let Some(host) = self.hosts.get_mut(&id).filter(|host| !host.was_ready) else { return };
        host.was_ready = true;
        self.tell(now, &id, MachineEventKind::Ready { node: node.to_owned() });
        let pods: Vec<ObjectKey> = self.pods_by_node.get(node).into_iter().flatten().cloned().collect();
        pods.iter().for_each(|pod| self.evaluate(pod, now));
    }

    /// An object is gone.
    pub(super) fn deleted(&mut self, key: &ObjectKey) {
        let Some(tracked) = self.objects.remove(key) else { return };
        self.agenda.cancel(&Key::Object(key.clone()));
        if key.kind == NODE {
            self.agenda.cancel(&Key::Lease(key.name.clone()));
        }
        if key.kind == POD {
            self.addresses.release_pod(text(&tracked.value, &["metadata", "uid"]));
            let node = text(&tracked.value, &["spec", "nodeName"]);
            if let Some(pods) = self.pods_by_node.get_mut(node) {
                pods.remove(key);
                if pods.is_empty() {
                    self.pods_by_node.remove(node);
                }
            }
        }
    }

    /// Whether a kubelet looks after the object now.
    fn is_looked_after(&self, key: &ObjectKey, object: &Value) -> bool {
        let host = |node: &str| self.nodes.get(node).and_then(|id| self.hosts.get(id));
        match key.kind {
            NODE => host(&key.name)
                .is_some_and(|host| host.begun && text(object, &["spec", "providerID"]) == host.machine.provider_id),
            POD => host(text(object, &["spec", "nodeName"])).is_some_and(|host| host.was_ready),
            _ => true,
        }
    }

    /// Chooses the stage that comes next. A job for the same stage within the same window stays as it is: a change of
    /// something else does not begin the wait again.
    fn evaluate(&mut self, key: &ObjectKey, now: Timestamp) {
        let Some(tracked) = self.objects.get(key) else { return };
        let queued = Key::Object(key.clone());
        if !self.is_looked_after(key, &tracked.value) {
            return self.agenda.cancel(&queued);
        }
        let mut draws = self.draws(key, "choice");
        let Some(tracked) = self.objects.get(key) else { return };
        let chosen = self.lifecycle.choose(&self.kinds[key.kind], &tracked.value, now, &mut draws);
        match chosen {
            Ok(Some(chosen)) => {
                let stays = matches!(self.agenda.get(&queued), Some(Job::Stage { stage, window })
                    if Arc::ptr_eq(stage, &chosen.stage) && *window == chosen.window);
                if !stays {
                    let due = chosen.window.due(now, &mut draws);
                    self.agenda.schedule(queued, due, Job::Stage { stage: chosen.stage, window: chosen.window });
                }
            }
            Ok(None) => self.agenda.cancel(&queued),
            Err(error) => {
                tracing::warn!(object = %key.name, %error, "no stage can be chosen");
                self.agenda.cancel(&queued);
            }
        }
    }

    /// The next stream of an object: by its uid, so that other objects do not matter.
    fn draws(&mut self, key: &ObjectKey, purpose: &str) -> Stream {
        let Some(tracked) = self.objects.get_mut(key) else { return self.seed.stream(&[purpose]) };
        tracked.draws += 1;
        let uid = text(&tracked.value, &["metadata", "uid"]);
        self.seed.stream(&["stage", purpose, uid, &key.name, &tracked.draws.to_string()])
    }

    /// What a stage does to the object.
    pub(super) fn effects(
        &mut self,
        key: &ObjectKey,
        stage: &CompiledStage,
        now: Timestamp,
    ) -> Result<Vec<Effect>, StepError> {
        let draws = self.draws(key, "effects");
        let Some(object) = self.object(key) else { return Ok(Vec::new()) };
        let node = if key.kind == NODE { key.name.as_str() } else { text(object, &["spec", "nodeName"]) };
        let facts = Facts {
            now,
            started: self.started,
            node_name: node.to_owned(),
            node_port: Some(10_250),
            addresses: Arc::clone(&self.addresses) as Arc<_>,
            draws,
        };
        stage.effects(object, &facts)
    }

    /// A name for an event about the object.
    pub(super) fn event_name(&mut self, key: &ObjectKey) -> String {
        format!("{}.{}", key.name, self.draws(key, "event").hex(16))
    }
}

/// `duration` after `at`.
pub(super) fn after(at: Timestamp, duration: Duration) -> Timestamp {
    let duration = SignedDuration::try_from(duration).unwrap_or(SignedDuration::MAX);
    at.checked_add(duration).unwrap_or(Timestamp::MAX)
}
