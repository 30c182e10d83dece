//! What the kubelets know, and what they decide from it: no requests are sent here.

use super::{
    addresses::AddressBook,
    agenda::Agenda,
    events::{MachineEvent, MachineEventKind},
    lease::{Claim, Held, Renewal},
    object::{condition_status, text},
    run::KubeletConfig,
    selection::NodeSelection,
    tracked::Tracked,
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
    /// Which other nodes are looked after.
    selection: NodeSelection,
    selected: BTreeSet<String>,
    /// Those of them that are ours to look after: where there are leases, while theirs is ours.
    adopted: BTreeSet<String>,
    identity: String,
    /// Nodes whose lease is being asked for.
    asking: BTreeSet<String>,
    /// Leases as last seen, by node.
    held: BTreeMap<String, Held>,
    objects: BTreeMap<ObjectKey, Tracked>,
    pods_by_node: BTreeMap<String, BTreeSet<ObjectKey>>,
    pub(super) addresses: Arc<AddressBook>,
    pub(super) agenda: Agenda<Key, Job>,
    /// When each lease is to be renewed, by node. Apart from the rest, so that renewals need not stand in line behind it.
    pub(super) renewals: Agenda<String, ()>,
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
            selection: config.selection.clone(),
            selected: BTreeSet::new(),
            adopted: BTreeSet::new(),
            identity: config.identity.clone(),
            asking: BTreeSet::new(),
            held: BTreeMap::new(),
            objects: BTreeMap::new(),
            pods_by_node: BTreeMap::new(),
            addresses: Arc::new(AddressBook::new(config.addresses)),
            agenda: Agenda::default(),
            renewals: Agenda::default(),
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
            self.renewals.cancel(node);
            self.held.remove(node);
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
            self.renewals.schedule(node.to_owned(), now, ());
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

    /// The lease of `node` that is to be renewed; none if no kubelet is there any more, or if its Node has not been seen yet: it
    /// has no uid then that the lease could go with, so it is looked for again.
    pub(super) fn claim(&mut self, node: &str, now: Timestamp) -> Option<Claim> {
        let options = self.leases?;
        let is_machine = self.nodes.contains_key(node);
        let Some(object) = self.objects.get(&ObjectKey::node(node)) else {
            if is_machine {
                self.renewals.schedule(node.to_owned(), after(now, LEASE_RETRY), ());
            }
            return None;
        };
        let holder = if is_machine { node.to_owned() } else { self.identity.clone() };
        let (node_uid, seen) = (object.uid.to_string(), self.held.get(node).cloned());
        self.asking.insert(node.to_owned());
        Some(Claim { node: node.to_owned(), node_uid, holder, duration: options.duration, seen })
    }

    /// What came of renewing the lease of `node`, which began at `began`.
    pub(super) fn renewed(&mut self, node: &str, renewal: Renewal, began: Timestamp, now: Timestamp) {
        let Some(options) = self.leases else { return };
        let is_machine = self.nodes.contains_key(node);
        self.asking.remove(node);
        if !is_machine && !self.selected.contains(node) {
            return;
        }
        let mut draws = self.seed.stream(&["lease", node, &began.to_string()]);
        let next = match renewal {
            Renewal::Ours(held) => {
                let first = self.held.insert(node.to_owned(), held).is_none();
                let spread = if first && !is_machine { options.first_renewal() } else { options.renewal() };
                after(began, spread.draw(&mut draws)).max(now)
            }
            Renewal::Others(held) => {
                let until = held.until;
                self.held.insert(node.to_owned(), held);
                after(until, LEASE_RETRY).max(after(now, LEASE_RETRY))
            }
            Renewal::Unknown => after(now, LEASE_RETRY),
        };
        self.renewals.schedule(node.to_owned(), next, ());
        if !is_machine {
            let ours = self.held.get(node).is_some_and(|held| held.holder == self.identity && held.until > now);
            if ours { self.adopt(node, now) } else { self.abandon(node) }
        }
    }

    /// A lease that is there already.
    pub(super) fn found_lease(&mut self, node: &str, held: Held) {
        self.held.insert(node.to_owned(), held);
    }

    /// A Node was seen that no machine of ours is behind: is it to be looked after?
    fn consider(&mut self, name: &str, node: &Value, now: Timestamp) {
        if self.selection.is_none() || self.nodes.contains_key(name) {
            return;
        }
        if !self.selection.takes(node) {
            self.selected.remove(name);
            self.renewals.cancel(&name.to_owned());
            return self.abandon(name);
        }
        self.selected.insert(name.to_owned());
        let is_asked_for = self.asking.contains(name) || self.renewals.get(&name.to_owned()).is_some();
        match self.leases {
            None => self.adopt(name, now),
            Some(_) if !is_asked_for => {
                let free_at =
                    self.held.get(name).filter(|held| held.holder != self.identity && !held.holder.is_empty());
                let at = free_at.map_or(now, |held| after(held.until, LEASE_RETRY).max(now));
                self.renewals.schedule(name.to_owned(), at, ());
            }
            Some(_) => {}
        }
    }

    /// From now on a kubelet is there.
    fn adopt(&mut self, node: &str, now: Timestamp) {
        if !self.adopted.insert(node.to_owned()) {
            return;
        }
        if let Some(object) = self.object(&ObjectKey::node(node)) {
            let addresses = object["status"]["addresses"].as_array();
            let internal = addresses.into_iter().flatten().find(|address| address["type"] == "InternalIP");
            self.addresses.set_node(node, internal.map_or("", |address| text(address, &["address"])));
            self.evaluate_value(&ObjectKey::node(node), &object, now);
        }
        self.evaluate_pods(node, now);
    }

    /// From now on none is.
    fn abandon(&mut self, node: &str) {
        if self.adopted.remove(node) {
            self.agenda.cancel(&Key::Object(ObjectKey::node(node)));
            for pod in self.pods_by_node.get(node).into_iter().flatten() {
                self.agenda.cancel(&Key::Object(pod.clone()));
            }
        }
    }

    /// How many nodes are looked after.
    pub(super) fn looked_after(&self) -> usize {
        self.adopted.len() + self.nodes.len()
    }

    /// The object called so.
    pub(super) fn object(&self, key: &ObjectKey) -> Option<Value> {
        self.objects.get(key).map(Tracked::value)
    }

    /// The keys of all objects of a kind.
    pub(super) fn keys_of(&self, kind: usize) -> Vec<ObjectKey> {
        self.objects.keys().filter(|key| key.kind == kind).cloned().collect()
    }

    /// An object was created or has changed.
    pub(super) fn applied(&mut self, kind: usize, value: &Value, now: Timestamp) {
        let key = ObjectKey::of(kind, value);
        let known = self.objects.get(&key);
        if known.is_some_and(|known| *known.uid != *text(value, &["metadata", "uid"])) {
            self.deleted(&key);
        }
        if kind == POD {
            self.pods_by_node.entry(text(value, &["spec", "nodeName"]).to_owned()).or_default().insert(key.clone());
        }
        match self.objects.get_mut(&key) {
            Some(tracked) => tracked.set(value),
            None => drop(self.objects.insert(key.clone(), Tracked::new(value))),
        }
        if kind == NODE {
            self.notice_ready(&key.name, value, now);
            self.consider(&key.name, value, now);
        }
        self.evaluate_value(&key, value, now);
    }

    /// The first time a node is Ready, its pods begin.
    fn notice_ready(&mut self, node: &str, object: &Value, now: Timestamp) {
        let ready = condition_status(object, "Ready") == Some("True");
        let Some(id) = self.nodes.get(node).filter(|_| ready).cloned() else { return };
        let Some(host) = self.hosts.get_mut(&id).filter(|host| !host.was_ready) else { return };
        host.was_ready = true;
        self.tell(now, &id, MachineEventKind::Ready { node: node.to_owned() });
        self.evaluate_pods(node, now);
    }

    fn evaluate_pods(&mut self, node: &str, now: Timestamp) {
        let pods: Vec<ObjectKey> = self.pods_by_node.get(node).into_iter().flatten().cloned().collect();
        pods.iter().for_each(|pod| self.evaluate(pod, now));
    }

    /// An object is gone.
    pub(super) fn deleted(&mut self, key: &ObjectKey) {
        let Some(tracked) = self.objects.remove(key) else { return };
        self.agenda.cancel(&Key::Object(key.clone()));
        if key.kind == NODE {
            self.renewals.cancel(&key.name);
            self.held.remove(&key.name);
            self.selected.remove(&key.name);
            self.abandon(&key.name);
        }
        if key.kind == POD {
            self.addresses.release_pod(&tracked.uid);
            if let Some(pods) = self.pods_by_node.get_mut(&*tracked.of) {
                pods.remove(key);
                if pods.is_empty() {
                    self.pods_by_node.remove(&*tracked.of);
                }
            }
        }
    }

    /// Whether a kubelet looks after the object now.
    fn is_looked_after(&self, key: &ObjectKey, object: &Value) -> bool {
        let host = |node: &str| self.nodes.get(node).and_then(|id| self.hosts.get(id));
        match key.kind {
            NODE => {
                self.adopted.contains(&key.name)
                    || host(&key.name).is_some_and(|host| {
                        host.begun && text(object, &["spec", "providerID"]) == host.machine.provider_id
                    })
            }
            POD => {
                let node = text(object, &["spec", "nodeName"]);
                self.adopted.contains(node) || host(node).is_some_and(|host| host.was_ready)
            }
            _ => true,
        }
    }

    fn evaluate(&mut self, key: &ObjectKey, now: Timestamp) {
        if let Some(value) = self.object(key) {
            self.evaluate_value(key, &value, now);
        }
    }

    /// Chooses the stage that comes next for the object, which is `value`. A job for the same stage within the same window stays
    /// as it is: a change of something else does not begin the wait again.
    fn evaluate_value(&mut self, key: &ObjectKey, value: &Value, now: Timestamp) {
        let queued = Key::Object(key.clone());
        if !self.is_looked_after(key, value) {
            return self.agenda.cancel(&queued);
        }
        let mut draws = self.draws(key, "choice");
        let chosen = self.lifecycle.choose(&self.kinds[key.kind], value, now, &mut draws);
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
        self.seed.stream(&["stage", purpose, &tracked.uid, &key.name, &tracked.draws.to_string()])
    }

    /// What a stage does to `object`, which is called `key`.
    pub(super) fn effects(
        &mut self,
        key: &ObjectKey,
        object: &Value,
        stage: &CompiledStage,
        now: Timestamp,
    ) -> Result<Vec<Effect>, StepError> {
        let draws = self.draws(key, "effects");
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

/// Wait before a lease is asked for again.
const LEASE_RETRY: Duration = Duration::from_secs(1);

/// `duration` after `at`.
pub(super) fn after(at: Timestamp, duration: Duration) -> Timestamp {
    let duration = SignedDuration::try_from(duration).unwrap_or(SignedDuration::MAX);
    at.checked_add(duration).unwrap_or(Timestamp::MAX)
}
