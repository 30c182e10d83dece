//! Affinity between pods, and spread, as kube-scheduler would see the cluster once everything runs.

use super::{
    Violation,
    kubernetes::{node_will_do, selected, tolerated, value},
    machines::Machine,
};
use crate::{
    model::{PodKey, is_terminating, pod_spec},
    scheduling::SchedulingInput,
};
use k8s_openapi::{
    api::core::v1::{Pod, PodAffinityTerm, TopologySpreadConstraint},
    apimachinery::pkg::apis::meta::v1::{LabelSelector, LabelSelectorRequirement},
};
use std::{collections::BTreeMap, sync::Arc};

pub(super) fn check(input: &SchedulingInput<'_>, machines: &[Machine], found: &mut Vec<Violation>) {
    let look = Look { input, machines };
    for (index, machine) in machines.iter().enumerate() {
        for pod in &machine.coming {
            look.pod(index, pod, found);
        }
        for pod in &machine.running {
            look.keeper(index, pod, found);
        }
    }
}

struct Look<'a> {
    input: &'a SchedulingInput<'a>,
    machines: &'a [Machine],
}

impl Look<'_> {
    fn pod(&self, index: usize, pod: &Arc<Pod>, found: &mut Vec<Violation>) {
        let spec = pod_spec(pod);
        let near = spec.affinity.as_ref().and_then(|affinity| affinity.pod_affinity.as_ref());
        for term in
            near.into_iter().flat_map(|near| near.required_during_scheduling_ignored_during_execution.iter().flatten())
        {
            if !self.has_company(index, pod, term) {
                found.push(Violation::new("pod-affinity", PodKey::of(pod).to_string(), "has no company in its domain"));
            }
        }
        self.keeper(index, pod, found);
        for spread in
            spec.topology_spread_constraints.iter().flatten().filter(|own| own.when_unsatisfiable == "DoNotSchedule")
        {
            self.spread(index, pod, spread, found);
        }
    }

    /// No pod that came by the decision is in the domain of one that keeps it away.
    fn keeper(&self, index: usize, pod: &Arc<Pod>, found: &mut Vec<Violation>) {
        let apart = pod_spec(pod).affinity.as_ref().and_then(|affinity| affinity.pod_anti_affinity.as_ref());
        for term in apart
            .into_iter()
            .flat_map(|apart| apart.required_during_scheduling_ignored_during_execution.iter().flatten())
        {
            let came = |other: &Arc<Pod>| {
                self.machines.iter().any(|machine| machine.coming.iter().any(|own| Arc::ptr_eq(own, other)))
            };
            let together = self.in_domain(index, &term.topology_key).into_iter().find(|other| {
                !Arc::ptr_eq(other, pod) && self.term_selects(pod, term, other) && (came(other) || came(pod))
            });
            if let Some(other) = together {
                let detail = format!("keeps `{}` away, which is in its `{}`", PodKey::of(other), term.topology_key);
                found.push(Violation::new("pod-anti-affinity", PodKey::of(pod).to_string(), detail));
            }
        }
    }

    fn has_company(&self, index: usize, pod: &Arc<Pod>, term: &PodAffinityTerm) -> bool {
        let company =
            self.in_domain(index, &term.topology_key).into_iter().any(|other| self.term_selects(pod, term, other));
        // The first of its kind may be alone, and is its own company then; `in_domain` has it.
        company && self.domain(index, &term.topology_key).is_some()
    }

    fn term_selects(&self, pod: &Pod, term: &PodAffinityTerm, other: &Pod) -> bool {
        let namespaces = &self.input.prepared.snapshot().namespaces;
        let theirs = namespace(other);
        let listed = term.namespaces.iter().flatten().any(|own| own == theirs);
        let by_selector = term.namespace_selector.as_ref().is_some_and(|selector| {
            let found = namespaces.iter().find(|own| own.metadata.name.as_deref() == Some(theirs));
            let labelled = |labels: &Option<BTreeMap<String, String>>| Pod {
                metadata: k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta {
                    labels: labels.clone(),
                    ..Default::default()
                },
                ..Pod::default()
            };
            found.is_some_and(|own| selected(Some(selector), &labelled(&own.metadata.labels)))
        });
        let own = term.namespaces.as_ref().is_none_or(Vec::is_empty) && term.namespace_selector.is_none();
        (listed || by_selector || (own && namespace(pod) == theirs))
            && selected(term.label_selector.as_ref(), other)
            && same_labels(pod, other, term)
    }

    fn spread(&self, index: usize, pod: &Pod, spread: &TopologySpreadConstraint, found: &mut Vec<Violation>) {
        let mut selector = spread.label_selector.clone();
        for key in spread.match_label_keys.iter().flatten() {
            if let (Some(selector), Some(own)) =
                (&mut selector, pod.metadata.labels.as_ref().and_then(|labels| labels.get(key)))
            {
                let more = LabelSelectorRequirement {
                    key: key.clone(),
                    operator: "In".to_owned(),
                    values: Some(vec![own.clone()]),
                };
                selector.match_expressions.get_or_insert_default().push(more);
            }
        }
        let Some(domain) = self.domain(index, &spread.topology_key) else {
            found.push(Violation::new(
                "spread",
                PodKey::of(pod).to_string(),
                format!("has no settled `{}`", spread.topology_key),
            ));
            return;
        };
        if !selected(selector.as_ref(), pod) {
            return;
        }
        // kube-scheduler looks at a pod's own constraints only, so a plan is good if it comes about in some order: those that
        // spread after everyone, before everyone, or before those that follow others.
        let all = |_: &Pod| true;
        let spreads_too =
            |other: &Pod| pod_spec(other).topology_spread_constraints == pod_spec(pod).topology_spread_constraints;
        let leads =
            |other: &Pod| pod_spec(other).affinity.as_ref().is_none_or(|affinity| affinity.pod_affinity.is_none());
        let orders: [&dyn Fn(&Pod) -> bool; 3] = [&all, &spreads_too, &leads];
        let skews = orders.map(|before| self.skew(&domain, pod, spread, selector.as_ref(), before));
        if skews.iter().all(|skew| *skew > spread.max_skew) {
            let detail = format!(
                "is {} pods ahead of the emptiest `{}`, {} are allowed",
                skews[0], spread.topology_key, spread.max_skew
            );
            found.push(Violation::new("spread", PodKey::of(pod).to_string(), detail));
        }
    }

    /// How many more pods the domain has than the emptiest, of those that run or satisfy `before`.
    fn skew(
        &self,
        domain: &str,
        pod: &Pod,
        spread: &TopologySpreadConstraint,
        selector: Option<&LabelSelector>,
        before: &dyn Fn(&Pod) -> bool,
    ) -> i32 {
        let counts = self.counts(pod, spread, selector, before);
        let few = spread.min_domains.is_some_and(|least| (counts.len() as i64) < i64::from(least));
        let by_host = spread.topology_key == crate::api::labels::HOSTNAME;
        let least = if few || by_host { 0 } else { counts.values().copied().min().unwrap_or(0) };
        counts.get(domain).copied().unwrap_or(0) - least
    }

    fn counts(
        &self,
        pod: &Pod,
        spread: &TopologySpreadConstraint,
        selector: Option<&LabelSelector>,
        before: &dyn Fn(&Pod) -> bool,
    ) -> BTreeMap<String, i32> {
        let spec = pod_spec(pod);
        let tolerations = spec.tolerations.as_deref().unwrap_or_default();
        let mut counts = BTreeMap::new();
        for (index, machine) in self.machines.iter().enumerate() {
            let Some(domain) = self.domain(index, &spread.topology_key) else { continue };
            let honor = spread.node_affinity_policy.as_deref() != Some("Ignore");
            if honor && !machine.possible.iter().all(|possible| node_will_do(spec, &possible.labels)) {
                continue;
            }
            let strict = spread.node_taints_policy.as_deref() == Some("Honor");
            if strict && !machine.taints.iter().all(|taint| tolerated(tolerations, taint)) {
                continue;
            }
            let coming = machine.coming.iter().filter(|other| before(other));
            let all = machine.running.iter().chain(coming).filter(|other| !is_terminating(other));
            let here = all.filter(|other| namespace(other) == namespace(pod) && selected(selector, other)).count();
            *counts.entry(domain).or_insert(0) += i32::try_from(here).unwrap_or(i32::MAX);
        }
        counts
    }

    /// The value of `key` that the machine will surely have.
    fn domain(&self, index: usize, key: &str) -> Option<String> {
        let mut values = self.machines[index].possible.iter().map(|possible| value(&possible.labels, key));
        let first = values.next()??;
        values.all(|other| other == Some(first)).then(|| first.clone())
    }

    /// The pods in the domain of the machine; only its own where the domain is not settled.
    fn in_domain(&self, index: usize, key: &str) -> Vec<&Arc<Pod>> {
        let domain = self.domain(index, key);
        let same = |other: &usize| *other == index || (domain.is_some() && self.domain(*other, key) == domain);
        let machines = (0..self.machines.len()).filter(same).map(|other| &self.machines[other]);
        let pods = machines.flat_map(|machine| machine.running.iter().chain(&machine.coming));
        pods.filter(|pod| !is_terminating(pod)).collect()
    }
}

/// Whether the labels that the term names are those of `pod`, or not those where it asks for others. A label that the pod does
/// not have asks nothing.
fn same_labels(pod: &Pod, other: &Pod, term: &PodAffinityTerm) -> bool {
    let label = |of: &Pod, key: &String| of.metadata.labels.as_ref().and_then(|labels| labels.get(key)).cloned();
    let compares = |key: &String| label(pod, key).map(|own| label(other, key).as_ref() == Some(&own));
    term.match_label_keys.iter().flatten().all(|key| compares(key) != Some(false))
        && term.mismatch_label_keys.iter().flatten().all(|key| compares(key) != Some(true))
}

fn namespace(pod: &Pod) -> &str {
    pod.metadata.namespace.as_deref().unwrap_or("default")
}
