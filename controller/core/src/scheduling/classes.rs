//! Pods that are equal for scheduling, handled together.

use super::{
    class_key::class_key,
    daemons::required_alternatives,
    host::{HostRules, HostState},
    prepared::Prepared,
    topology::{
        Groups, preferred_affinity, preferred_anti, preferred_spread, required_affinity, required_anti, required_spread,
    },
    volumes::PodVolumes,
};
use crate::{
    api::labels,
    model::{
        HostPort, Incompatible, PREFER_NO_SCHEDULE, PodKey, PreferencePolicy, Requirements, Resources, WhyNot,
        host_ports, is_daemon_pod, is_gated, is_static_pod, is_virtual, pod_requests, pod_spec,
    },
};
use k8s_openapi::api::core::v1::{Pod, PodSpec, Toleration};
use std::{cmp::Reverse, collections::BTreeMap, sync::Arc};

/// In a row of pods that follow each other so many are told apart; a ring of them has no end.
const MAX_IN_A_ROW: usize = 16;

/// Where a pod may go, as far as its node alone decides.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Shape {
    pub(super) requirements: Requirements,
    /// The part of them that the pod itself asks for: nodes that satisfy it count for its spread, even where its volumes are not.
    pub(super) own: Requirements,
    pub(super) tolerations: Arc<[Toleration]>,
}

/// Pods that are equal for scheduling.
#[derive(Clone, Debug)]
pub(super) struct Class {
    /// By namespace and name.
    pub(super) pods: Vec<Arc<Pod>>,
    pub(super) requests: Resources,
    /// The requests by dimension; none if no machine has some of what is asked for.
    pub(super) request: Option<Vec<i64>>,
    /// By dimension: how many pods a unit is enough for; infinitely many where none is asked for.
    pub(super) rates: Vec<f64>,
    /// From the most to the least preferred; each a list of shapes of which one must hold.
    pub(super) levels: Vec<Vec<usize>>,
    pub(super) ports: Vec<HostPort>,
    pub(super) host: HostRules,
    pub(super) domain: DomainRules,
}

/// What a class asks of the pods in its zone (or any other domain than a host). Groups are positions in [`Groups`].
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct DomainRules {
    /// Groups that select the pods of this class.
    pub(super) selected: Vec<usize>,
    /// Groups of which no pod may be in the domain.
    pub(super) anti: Vec<usize>,
    /// Groups of which some pod must be in the domain.
    pub(super) affinity: Vec<usize>,
    pub(super) spread: Vec<SpreadRule>,
    /// What it would rather have: it decides between domains that all rules allow, and never keeps a pod waiting.
    pub(super) preferred: Vec<(usize, Preference)>,
}

/// How a class would rather stand to the pods of a group that are in its domain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Preference {
    /// Where as few as possible are (`ScheduleAnyway`).
    Spread,
    /// Where some is; with the term's weight.
    Near(i64),
    /// Where none is; with the term's weight.
    Apart(i64),
}

/// A spread constraint over domains.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct SpreadRule {
    pub(super) group: usize,
    pub(super) max_skew: u32,
    pub(super) min_domains: u32,
    /// Whether only nodes that the pod's node selector and affinity allow count.
    pub(super) honor_affinity: bool,
    /// Whether only nodes whose taints the pod tolerates count.
    pub(super) honor_taints: bool,
}

impl DomainRules {
    /// The groups that the rules speak of: where their pods go must be known.
    pub(super) fn groups(&self) -> impl Iterator<Item = usize> {
        self.anti.iter().chain(&self.affinity).copied().chain(self.spread.iter().map(|rule| rule.group))
    }

    /// The groups that preferences speak of.
    pub(super) fn preferred_groups(&self) -> impl Iterator<Item = usize> {
        self.preferred.iter().map(|(group, _)| *group)
    }

    /// Whether nothing has to hold.
    pub(super) fn is_empty(&self) -> bool {
        self.anti.is_empty() && self.affinity.is_empty() && self.spread.is_empty()
    }
}

impl Class {
    pub(super) fn count(&self) -> u32 {
        u32::try_from(self.pods.len()).unwrap_or(u32::MAX)
    }

    /// How many more pods of the class may join a node with these ports taken, at most `most`; resources are looked at
    /// elsewhere.
    pub(super) fn at_most_on(&self, host: &HostState, taken: &[HostPort], most: u32) -> u32 {
        let most = self.host.at_most(host, most, false);
        self.at_most_by_ports(taken, most)
    }

    /// As before, where the node is new and the class may be the first of its company.
    pub(super) fn at_most_on_new(&self, host: &HostState, taken: &[HostPort], most: u32, may_begin: bool) -> u32 {
        let most = self.host.at_most(host, most, may_begin);
        self.at_most_by_ports(taken, most)
    }

    fn at_most_by_ports(&self, taken: &[HostPort], most: u32) -> u32 {
        if self.ports.is_empty() {
            return most;
        }
        let conflict = self.ports.iter().any(|own| taken.iter().any(|port| own.conflicts_with(port)));
        if conflict { 0 } else { most.min(1) }
    }

    /// Records that `times` pods have joined a node.
    pub(super) fn enter(&self, host: &mut HostState, times: u32) {
        self.host.enter(host, times);
    }
}

/// The pods of a solve as classes.
#[derive(Debug)]
pub(super) struct Classes {
    /// The most demanding first: those that ask something of their node, then by CPU and memory.
    pub(super) list: Vec<Class>,
    pub(super) shapes: Vec<Shape>,
    pub(super) groups: Groups,
    /// Pods that are wrong by themselves.
    pub(super) refused: Vec<(Arc<Pod>, WhyNot)>,
}

impl Classes {
    /// Groups `pods`; a pod that is given twice counts once.
    pub(super) fn of(pods: &[Arc<Pod>], prepared: &Prepared<'_>) -> Self {
        let mut sorted: Vec<(PodKey, &Arc<Pod>)> = pods.iter().map(|pod| (PodKey::of(pod), pod)).collect();
        sorted.sort_by(|a, b| a.0.cmp(&b.0));
        sorted.dedup_by(|a, b| a.0 == b.0);
        let mut builder = Builder::new(prepared);
        let mut equal: BTreeMap<Vec<u8>, Vec<Arc<Pod>>> = BTreeMap::new();
        let mut key = Vec::new();
        for (_, pod) in sorted {
            if let Some(why) = wrong_by_itself(pod) {
                builder.refused.push((pod.clone(), why));
                continue;
            }
            class_key(pod, &mut key);
            match PodVolumes::of(pod, &prepared.snapshot().storage) {
                Ok(volumes) => volumes.into_iter().for_each(|volumes| volumes.put_key(&mut key)),
                Err(why) => {
                    builder.refused.push((pod.clone(), why));
                    continue;
                }
            }
            match equal.get_mut(&key) {
                Some(pods) => pods.push(pod.clone()),
                None => {
                    equal.insert(key.clone(), vec![pod.clone()]);
                }
            }
        }
        let classes: Vec<Class> = equal.into_values().filter_map(|pods| builder.class(pods)).collect();
        let mut list: Vec<Class> = classes.into_iter().flat_map(|class| builder.split(class)).collect();
        list.sort_by_cached_key(|class| builder.rank(class));
        let mut found = Self { list, shapes: builder.shapes, groups: builder.groups, refused: builder.refused };
        found.leave_alone_who_is_alone(prepared);
        found
    }

    /// A pod that wants its own kind on its node, and is the only one of that kind, may go anywhere.
    fn leave_alone_who_is_alone(&mut self, prepared: &Prepared<'_>) {
        let mut waiting: BTreeMap<usize, u32> = BTreeMap::new();
        for class in &self.list {
            class.host.selected.iter().for_each(|group| *waiting.entry(*group).or_default() += class.count());
        }
        let groups = &self.groups;
        let runs = |group: usize| prepared.selected_by(groups.get(group)).staying.iter().any(|count| *count > 0);
        for HostRules { selected, affinity, .. } in self.list.iter_mut().map(|class| &mut class.host) {
            affinity.retain(|group| !selected.contains(group) || waiting[group] > 1 || runs(*group));
        }
    }

    /// By class: how far back it is in a row of pods that follow each other onto nodes; 0 where it follows none but its own kind.
    pub(super) fn behind_on_nodes(&self) -> Vec<usize> {
        self.behind(|class| (&class.host.affinity, &class.host.selected))
    }

    /// As before, into zones and other domains.
    pub(super) fn behind_in_domains(&self) -> Vec<usize> {
        self.behind(|class| (&class.domain.affinity, &class.domain.selected))
    }

    /// `rules` gives the groups that a class follows and those that select it.
    fn behind(&self, rules: impl Fn(&Class) -> (&[usize], &[usize])) -> Vec<usize> {
        let mut behind = vec![0; self.list.len()];
        for _ in 0..MAX_IN_A_ROW {
            let mut last: BTreeMap<usize, usize> = BTreeMap::new();
            for (class, own) in self.list.iter().zip(&behind) {
                for group in rules(class).1 {
                    let last = last.entry(*group).or_default();
                    *last = (*last).max(*own);
                }
            }
            let next = |class: &Class| {
                let (followed, own) = rules(class);
                let others = followed.iter().filter(|group| !own.contains(group));
                others.map(|group| last.get(group).unwrap_or(&0) + 1).max().unwrap_or(0)
            };
            let found: Vec<usize> = self.list.iter().map(next).collect();
            if found == behind {
                break;
            }
            behind = found;
        }
        behind
    }
}

/// Why nothing should be done for a pod, whatever there is.
fn wrong_by_itself(pod: &Pod) -> Option<WhyNot> {
    if is_daemon_pod(pod) {
        return Some(WhyNot::DaemonPod);
    }
    if is_static_pod(pod) {
        return Some(WhyNot::StaticPod);
    }
    if is_gated(pod) {
        let gates = pod_spec(pod).scheduling_gates.iter().flatten().map(|gate| gate.name.clone()).collect();
        return Some(WhyNot::Gated { gates });
    }
    unsupported(pod_spec(pod)).map(|constraint| WhyNot::Unsupported { constraint })
}

/// What a pod needs that is not decided here.
fn unsupported(spec: &PodSpec) -> Option<&'static str> {
    spec.resource_claims.as_ref().filter(|claims| !claims.is_empty()).map(|_| "a resource claim")
}

/// What a node must satisfy: all of it, and the part that the pod itself asks for.
#[derive(Clone, Debug)]
struct Asked {
    all: Requirements,
    own: Requirements,
}

struct Builder<'a> {
    prepared: &'a Prepared<'a>,
    shapes: Vec<Shape>,
    /// By requirements, their own part, and tolerations as text.
    shape_numbers: BTreeMap<(Requirements, Requirements, String), usize>,
    groups: Groups,
    refused: Vec<(Arc<Pod>, WhyNot)>,
}

impl<'a> Builder<'a> {
    fn new(prepared: &'a Prepared<'a>) -> Self {
        let mut groups = Groups::new(&prepared.snapshot().namespaces);
        for group in prepared.kept_away() {
            groups.number(group.clone());
        }
        Self { prepared, shapes: Vec::new(), shape_numbers: BTreeMap::new(), groups, refused: Vec::new() }
    }

    /// The class of pods with equal keys; none where they are refused.
    fn class(&mut self, pods: Vec<Arc<Pod>>) -> Option<Class> {
        let pod = pods.first()?.clone();
        let volumes = PodVolumes::of(&pod, &self.prepared.snapshot().storage).ok().flatten().unwrap_or_default();
        match self.parts(&pod, &volumes) {
            Ok((requests, levels)) => {
                let request = self.request(&requests, &volumes);
                let rates = request.iter().flatten().map(|asked| 1.0 / *asked as f64).collect();
                let ports = host_ports(&pod).into_iter().collect();
                let (host, domain) = self.rules(&pod);
                Some(Class { pods, requests, request, rates, levels, ports, host, domain })
            }
            Err(why) => {
                self.refused.extend(pods.into_iter().map(|pod| (pod, why.clone())));
                None
            }
        }
    }

    /// The requests by dimension; none if no machine has some of what is asked for.
    fn request(&self, requests: &Resources, volumes: &PodVolumes) -> Option<Vec<i64>> {
        let dimensions = &self.prepared.dimensions;
        let mut request = dimensions.requests(requests)?;
        for (driver, count) in volumes.attachments() {
            if let Some(dimension) = dimensions.attachments(driver) {
                request[dimension] = count;
            }
        }
        Some(request)
    }

    fn parts(&mut self, pod: &Pod, volumes: &PodVolumes) -> Result<(Resources, Vec<Vec<usize>>), WhyNot> {
        let requests = pod_requests(pod)?;
        let spec = pod_spec(pod);
        let affinity = spec.affinity.as_ref().and_then(|affinity| affinity.node_affinity.as_ref());
        let required = affinity.and_then(|node| node.required_during_scheduling_ignored_during_execution.as_ref());
        let by_field = |term: &k8s_openapi::api::core::v1::NodeSelectorTerm| {
            term.match_fields.as_ref().is_some_and(|fields| !fields.is_empty())
        };
        if required.is_some_and(|required| required.node_selector_terms.iter().any(by_field)) {
            return Err(WhyNot::MatchFields);
        }
        let alternatives: Vec<Asked> = (required_alternatives(spec).into_iter())
            .flat_map(|own| volumes.and_where(&own).map(|all| Asked { all, own: own.clone() }).collect::<Vec<_>>())
            .collect();
        let possible: Vec<&Asked> = alternatives.iter().filter(|asked| asked.all.contradiction().is_none()).collect();
        if possible.is_empty() {
            let key =
                alternatives.iter().find_map(|asked| asked.all.contradiction()).map(|asked| asked.key().to_owned());
            let key = key.unwrap_or_else(|| "nodeAffinity".to_owned());
            return Err(WhyNot::Incompatible(Incompatible::Contradiction { key }));
        }
        if possible.iter().all(|asked| opts_out(&asked.all)) {
            return Err(WhyNot::OptsOut);
        }
        Ok((requests, self.levels(spec, &possible)))
    }

    /// Each preferred node affinity term in turn, the heaviest first, as if it were required; then none of them; then, where
    /// some taint only prefers, tolerating that (spec core 2.6).
    fn levels(&mut self, spec: &PodSpec, alternatives: &[&Asked]) -> Vec<Vec<usize>> {
        let own: Arc<[Toleration]> = spec.tolerations.clone().unwrap_or_default().into();
        let mut levels: Vec<Vec<usize>> = Vec::new();
        if self.prepared.snapshot().settings.preference_policy == PreferencePolicy::Respect {
            for preferred in preferred_terms(spec) {
                let both = alternatives
                    .iter()
                    .map(|asked| Asked { all: asked.all.and(&preferred), own: asked.own.clone() })
                    .filter(|asked| asked.all.contradiction().is_none());
                let level: Vec<usize> = both.map(|asked| self.shape(asked, &own)).collect();
                levels.push(level);
            }
        }
        levels.push(alternatives.iter().map(|asked| self.shape((*asked).clone(), &own)).collect());
        if self.prepared.prefers_no_schedule {
            let prefers = Toleration {
                operator: Some("Exists".to_owned()),
                effect: Some(PREFER_NO_SCHEDULE.to_owned()),
                ..Toleration::default()
            };
            let lenient: Arc<[Toleration]> = own.iter().cloned().chain([prefers]).collect();
            levels.push(alternatives.iter().map(|asked| self.shape((*asked).clone(), &lenient)).collect());
        }
        levels.retain(|level| !level.is_empty());
        levels
    }

    fn shape(&mut self, asked: Asked, tolerations: &Arc<[Toleration]>) -> usize {
        let Asked { all, own } = asked;
        let key = (all, own, serde_json::to_string(tolerations.as_ref()).unwrap_or_default());
        let next = self.shapes.len();
        match self.shape_numbers.get(&key) {
            Some(number) => *number,
            None => {
                let (requirements, own) = (key.0.clone(), key.1.clone());
                self.shapes.push(Shape { requirements, own, tolerations: tolerations.clone() });
                self.shape_numbers.insert(key, next);
                next
            }
        }
    }

    /// The topology constraints of a pod, apart from what selects it.
    fn rules(&mut self, pod: &Pod) -> (HostRules, DomainRules) {
        let (mut host, mut domain) = (HostRules::default(), DomainRules::default());
        for term in required_anti(pod) {
            let group = self.groups.of_term(pod, term);
            if self.groups.get(group).is_by_host() { host.anti.push(group) } else { domain.anti.push(group) }
        }
        for term in required_affinity(pod) {
            let group = self.groups.of_term(pod, term);
            if self.groups.get(group).is_by_host() { host.affinity.push(group) } else { domain.affinity.push(group) }
        }
        for spread in required_spread(pod) {
            let group = self.groups.of_spread(pod, spread);
            let max_skew = u32::try_from(spread.max_skew).unwrap_or(1).max(1);
            if self.groups.get(group).is_by_host() {
                host.spread.push((group, max_skew));
            } else {
                domain.spread.push(SpreadRule {
                    group,
                    max_skew,
                    min_domains: spread.min_domains.and_then(|count| u32::try_from(count).ok()).unwrap_or(0),
                    honor_affinity: spread.node_affinity_policy.as_deref() != Some("Ignore"),
                    honor_taints: spread.node_taints_policy.as_deref() == Some("Honor"),
                });
            }
        }
        if self.prepared.snapshot().settings.preference_policy == PreferencePolicy::Respect {
            self.preferences(pod, &mut domain);
        }
        (host, domain)
    }

    /// What a pod would rather have of the pods in its domain. Preferences about single nodes are left to kube-scheduler, which
    /// sees all nodes that there are: to buy a node for each would cost a multiple (the reference does).
    fn preferences(&mut self, pod: &Pod, domain: &mut DomainRules) {
        for spread in preferred_spread(pod) {
            let group = self.groups.of_spread(pod, spread);
            domain.preferred.push((group, Preference::Spread));
        }
        for (weight, term) in preferred_affinity(pod) {
            let group = self.groups.of_term(pod, term);
            domain.preferred.push((group, Preference::Near(weight.into())));
        }
        for (weight, term) in preferred_anti(pod) {
            let group = self.groups.of_term(pod, term);
            domain.preferred.push((group, Preference::Apart(weight.into())));
        }
        domain.preferred.retain(|(group, _)| !self.groups.get(*group).is_by_host());
    }

    /// Splits a class by which groups select its pods.
    fn split(&self, class: Class) -> Vec<Class> {
        if self.groups.len() == 0 {
            return vec![class];
        }
        let mut parts: BTreeMap<Vec<usize>, Vec<Arc<Pod>>> = BTreeMap::new();
        for pod in &class.pods {
            parts.entry(self.groups.selecting(pod).collect()).or_default().push(pod.clone());
        }
        let part = |(selected, pods): (Vec<usize>, Vec<Arc<Pod>>)| {
            let (by_host, by_domain) = selected.into_iter().partition(|group| self.groups.get(*group).is_by_host());
            let host = HostRules { selected: by_host, ..class.host.clone() };
            let domain = DomainRules { selected: by_domain, ..class.domain.clone() };
            Class { pods, host, domain, ..class.clone() }
        };
        parts.into_iter().map(part).collect()
    }

    fn rank(&self, class: &Class) -> impl Ord + use<> {
        let asks = |level: &Vec<usize>| level.iter().any(|shape| !self.shapes[*shape].requirements.is_empty());
        let follows = !class.host.affinity.is_empty() || !class.domain.affinity.is_empty();
        let demanding = class.levels.iter().any(asks) || !class.ports.is_empty();
        let (cpu, memory) = (class.requests.get(crate::model::CPU), class.requests.get(crate::model::MEMORY));
        let first = class.pods.first();
        let stands_for_room = first.is_some_and(|pod| is_virtual(pod));
        // Who tolerates what others do not goes first where its own machines are, rather than join theirs.
        let tolerates = first.and_then(|pod| pod_spec(pod).tolerations.as_ref()).map_or(0, Vec::len);
        // Those that are equal in this stay in the order of what they ask for: what pods are called decides nothing.
        (stands_for_room, follows, !demanding, Reverse(cpu), Reverse(memory), Reverse(tolerates))
    }
}

/// The pod's priority; pods of no class have zero.
pub(super) fn priority(pod: &Pod) -> i32 {
    pod_spec(pod).priority.unwrap_or(0)
}

/// Whether only nodes without a NodePool will do.
fn opts_out(asked: &Requirements) -> bool {
    asked.get(labels::NODE_POOL).is_some_and(|pool| pool.allows_absent() && !pool.intersects(pool))
}

/// The preferred node affinity terms, heaviest first.
fn preferred_terms(spec: &PodSpec) -> Vec<Requirements> {
    let affinity = spec.affinity.as_ref().and_then(|affinity| affinity.node_affinity.as_ref());
    let preferred = affinity.and_then(|node| node.preferred_during_scheduling_ignored_during_execution.as_ref());
    let mut terms: Vec<_> = preferred.into_iter().flatten().collect();
    terms.sort_by_key(|term| Reverse(term.weight));
    terms.into_iter().map(|term| Requirements::from_term(&term.preference)).filter(|asked| !asked.is_empty()).collect()
}
