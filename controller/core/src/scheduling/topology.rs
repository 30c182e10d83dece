//! Groups of pods that topology constraints speak of.

use super::selector::selects;
use crate::api::labels;
use crate::model::pod_spec;
use k8s_openapi::{
    api::core::v1::{Namespace, Pod, PodAffinityTerm, TopologySpreadConstraint},
    apimachinery::pkg::apis::meta::v1::{LabelSelector, LabelSelectorRequirement},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

/// Pods in some namespaces that a selector selects, counted by the domains of one label.
#[derive(Clone, Debug)]
pub(super) struct Group {
    pub(super) key: String,
    namespaces: BTreeSet<String>,
    selector: Option<LabelSelector>,
}

/// The groups of one solve, each once.
#[derive(Clone, Debug, Default)]
pub(super) struct Groups {
    namespaces: Vec<Arc<Namespace>>,
    groups: Vec<Group>,
    numbers: BTreeMap<String, usize>,
}

impl Group {
    pub(super) fn is_by_host(&self) -> bool {
        self.key == labels::HOSTNAME
    }

    /// What tells it from others.
    pub(super) fn identity(&self) -> String {
        let selector = serde_json::to_string(&self.selector).unwrap_or_default();
        format!("{} {:?} {selector}", self.key, self.namespaces)
    }

    pub(super) fn selects(&self, pod: &Pod) -> bool {
        let namespace = namespace(pod);
        self.namespaces.contains(namespace) && selects(self.selector.as_ref(), pod.metadata.labels.as_ref())
    }
}

impl Groups {
    /// No groups yet; namespace selectors select from `namespaces`.
    pub(super) fn new(namespaces: &[Arc<Namespace>]) -> Self {
        Self { namespaces: namespaces.to_vec(), ..Self::default() }
    }

    pub(super) fn len(&self) -> usize {
        self.groups.len()
    }

    /// All of them, by number.
    pub(super) fn into_list(self) -> Vec<Group> {
        self.groups
    }

    pub(super) fn get(&self, number: usize) -> &Group {
        &self.groups[number]
    }

    /// The group of an affinity or anti-affinity term of `pod`.
    pub(super) fn of_term(&mut self, pod: &Pod, term: &PodAffinityTerm) -> usize {
        let group = self.term_group(pod, term);
        self.number(group)
    }

    pub(super) fn term_group(&self, pod: &Pod, term: &PodAffinityTerm) -> Group {
        Group {
            key: labels::normalize(&term.topology_key).to_owned(),
            namespaces: term_namespaces(pod, term, &self.namespaces),
            selector: term_selector(pod, term),
        }
    }

    /// The group of a spread constraint of `pod`.
    pub(super) fn of_spread(&mut self, pod: &Pod, spread: &TopologySpreadConstraint) -> usize {
        let mut selector = spread.label_selector.clone();
        add_own_labels(&mut selector, pod, spread.match_label_keys.as_deref(), "In");
        let key = labels::normalize(&spread.topology_key).to_owned();
        self.number(Group { key, namespaces: BTreeSet::from([namespace(pod).to_owned()]), selector })
    }

    /// The groups that select `pod`.
    pub(super) fn selecting(&self, pod: &Pod) -> impl Iterator<Item = usize> {
        self.groups.iter().enumerate().filter(|(_, group)| group.selects(pod)).map(|(number, _)| number)
    }

    /// The groups, of those known, that required anti-affinity of `pod` keeps away.
    pub(super) fn kept_away_by(&self, pod: &Pod) -> Vec<usize> {
        let known = |term| self.numbers.get(&self.term_group(pod, term).identity()).copied();
        required_anti(pod).filter_map(known).collect()
    }

    /// The number of the group, if it is known.
    pub(super) fn find(&self, identity: &str) -> Option<usize> {
        self.numbers.get(identity).copied()
    }

    /// The number of the group, which is known from now on.
    pub(super) fn number(&mut self, group: Group) -> usize {
        let identity = group.identity();
        let next = self.groups.len();
        let number = *self.numbers.entry(identity).or_insert(next);
        if number == next {
            self.groups.push(group);
        }
        number
    }
}

fn term_selector(pod: &Pod, term: &PodAffinityTerm) -> Option<LabelSelector> {
    let mut selector = term.label_selector.clone();
    add_own_labels(&mut selector, pod, term.match_label_keys.as_deref(), "In");
    add_own_labels(&mut selector, pod, term.mismatch_label_keys.as_deref(), "NotIn");
    selector
}

/// Adds what `matchLabelKeys` and `mismatchLabelKeys` mean. The API server does so too when it takes a pod; a pod that has not
/// come from there has not been through it.
fn add_own_labels(selector: &mut Option<LabelSelector>, pod: &Pod, keys: Option<&[String]>, operator: &str) {
    for key in keys.into_iter().flatten() {
        let value = pod.metadata.labels.as_ref().and_then(|labels| labels.get(key));
        if let (Some(selector), Some(value)) = (&mut *selector, value) {
            selector.match_expressions.get_or_insert_default().push(LabelSelectorRequirement {
                key: key.clone(),
                operator: operator.to_owned(),
                values: Some(vec![value.clone()]),
            });
        }
    }
}

/// The required anti-affinity terms of a pod.
pub(super) fn required_anti(pod: &Pod) -> impl Iterator<Item = &PodAffinityTerm> {
    let affinity = pod_spec(pod).affinity.as_ref().and_then(|affinity| affinity.pod_anti_affinity.as_ref());
    affinity.into_iter().flat_map(|anti| anti.required_during_scheduling_ignored_during_execution.iter().flatten())
}

/// The required affinity terms of a pod.
pub(super) fn required_affinity(pod: &Pod) -> impl Iterator<Item = &PodAffinityTerm> {
    let affinity = pod_spec(pod).affinity.as_ref().and_then(|affinity| affinity.pod_affinity.as_ref());
    affinity.into_iter().flat_map(|near| near.required_during_scheduling_ignored_during_execution.iter().flatten())
}

/// The spread constraints of a pod that must hold.
pub(super) fn required_spread(pod: &Pod) -> impl Iterator<Item = &TopologySpreadConstraint> {
    let all = pod_spec(pod).topology_spread_constraints.iter().flatten();
    all.filter(|spread| spread.when_unsatisfiable == "DoNotSchedule")
}

/// The spread constraints of a pod that need not hold.
pub(super) fn preferred_spread(pod: &Pod) -> impl Iterator<Item = &TopologySpreadConstraint> {
    let all = pod_spec(pod).topology_spread_constraints.iter().flatten();
    all.filter(|spread| spread.when_unsatisfiable == "ScheduleAnyway")
}

/// The preferred affinity terms of a pod, with their weights.
pub(super) fn preferred_affinity(pod: &Pod) -> impl Iterator<Item = (i32, &PodAffinityTerm)> {
    let affinity = pod_spec(pod).affinity.as_ref().and_then(|affinity| affinity.pod_affinity.as_ref());
    let terms = affinity.into_iter().flat_map(|own| own.preferred_during_scheduling_ignored_during_execution.iter());
    terms.flatten().map(|own| (own.weight, &own.pod_affinity_term))
}

/// The preferred anti-affinity terms of a pod, with their weights.
pub(super) fn preferred_anti(pod: &Pod) -> impl Iterator<Item = (i32, &PodAffinityTerm)> {
    let affinity = pod_spec(pod).affinity.as_ref().and_then(|affinity| affinity.pod_anti_affinity.as_ref());
    let terms = affinity.into_iter().flat_map(|own| own.preferred_during_scheduling_ignored_during_execution.iter());
    terms.flatten().map(|own| (own.weight, &own.pod_affinity_term))
}

fn term_namespaces(pod: &Pod, term: &PodAffinityTerm, namespaces: &[Arc<Namespace>]) -> BTreeSet<String> {
    let listed: BTreeSet<String> = term.namespaces.iter().flatten().cloned().collect();
    match &term.namespace_selector {
        None if listed.is_empty() => BTreeSet::from([namespace(pod).to_owned()]),
        None => listed,
        Some(selector) => {
            let selected = namespaces.iter().filter(|ns| selects(Some(selector), ns.metadata.labels.as_ref()));
            listed.into_iter().chain(selected.filter_map(|ns| ns.metadata.name.clone())).collect()
        }
    }
}

pub(super) fn namespace(pod: &Pod) -> &str {
    pod.metadata.namespace.as_deref().unwrap_or("default")
}
