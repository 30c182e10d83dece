//! What scheduling decided, as text.

use super::text::{count, pod_name, pod_names, table};
use crate::{
    api::labels,
    model::{
        CPU, CapacityType, Catalog, ClusterSnapshot, MEMORY, NODES, NodePoolName, Offering, Overlays, PodKey, Price,
        Requirements, Resources, StateNode, pod_spec, quantity_text,
    },
    scheduling::{PlannedNodeClaim, Results},
};
use std::{collections::BTreeMap, collections::BTreeSet, fmt::Write as _};

/// What `results` say to launch, where the other pods go, which have no place and why, how the pools' limits stand, and which
/// NodeOverlays do not count. `snapshot` and `catalog` are those that were decided on.
pub fn scheduling_text(results: &Results, snapshot: &ClusterSnapshot, catalog: &Catalog) -> String {
    let mut text = format!("{}\n", headline(results));
    let claims = numbered(&results.planned);
    let mut sections = vec![claims_table(&claims, snapshot, catalog), existing_table(results), missing_table(results)];
    sections.extend([limits_table(&claims, snapshot), refused_overlays(snapshot, catalog)]);
    for section in sections.iter().filter(|section| !section.is_empty()) {
        write!(text, "\n{section}").expect("text takes all that is written");
    }
    text
}

fn headline(results: &Results) -> String {
    let mut parts = Vec::new();
    if !results.planned.is_empty() {
        let pods = results.planned.iter().map(|planned| planned.pods.len()).sum();
        let (claims, pods) = (count(results.planned.len(), "claim"), count(pods, "pod"));
        parts.push(format!("launch {claims} for {pods}, {}/h", results.total_price()));
    }
    let placed: usize = results.placements.iter().map(|placement| placement.pods.len()).sum();
    if placed > 0 {
        parts.push(format!("{} on machines that are there", count(placed, "pod")));
    }
    if !results.unschedulable.is_empty() {
        parts.push(format!("{} without a place", count(results.unschedulable.len(), "pod")));
    }
    if parts.is_empty() { "nothing to launch".to_owned() } else { parts.join("; ") }
}

/// Each claim with the name that it has in this text.
fn numbered(planned: &[PlannedNodeClaim]) -> Vec<(String, &PlannedNodeClaim)> {
    let mut next: BTreeMap<&NodePoolName, usize> = BTreeMap::new();
    let mut claims = Vec::with_capacity(planned.len());
    for own in planned {
        let number = next.entry(&own.node_pool).or_default();
        *number += 1;
        claims.push((format!("{}-{number}", own.node_pool), own));
    }
    claims
}

fn claims_table(claims: &[(String, &PlannedNodeClaim)], snapshot: &ClusterSnapshot, catalog: &Catalog) -> String {
    let rows: Vec<Vec<String>> = claims.iter().map(|(name, planned)| claim_row(name, planned)).collect();
    let lines = table(2, &rows);
    let mut text = String::new();
    for (line, (name, planned)) in lines.lines().zip(claims) {
        writeln!(text, "{line}").expect("text takes all that is written");
        for note in notes(planned, snapshot, catalog) {
            writeln!(text, "{}{note}", " ".repeat(5 + name.chars().count())).expect("text takes all that is written");
        }
    }
    text
}

fn claim_row(name: &str, planned: &PlannedNodeClaim) -> Vec<String> {
    vec![
        name.to_owned(),
        pod_names(planned.pods.iter().map(|pod| PodKey::of(pod))),
        zones(planned),
        kinds(planned),
        format!("{} {}", planned.launch.instance_type, planned.launch.price),
        others(planned),
    ]
}

/// ` | `-separated zones that the claim allows.
fn zones(planned: &PlannedNodeClaim) -> String {
    let Some(asked) = planned.requirements.get(labels::ZONE) else { return "any zone".to_owned() };
    let offered = planned.instance_types.iter().flat_map(|kind| &kind.offerings).map(|own| own.zone.as_str());
    let zones: BTreeSet<&str> =
        if asked.is_listed() { asked.values().collect() } else { offered.filter(|zone| asked.has(zone)).collect() };
    zones.into_iter().collect::<Vec<_>>().join(" | ")
}

/// The ways to pay, what is tried first in front.
fn kinds(planned: &PlannedNodeClaim) -> String {
    let allowed = planned.requirements.get(labels::CAPACITY_TYPE);
    let mut kinds: Vec<CapacityType> =
        allowed.into_iter().flat_map(|own| own.values().filter_map(CapacityType::parse)).collect();
    kinds.sort_by_key(|kind| (*kind != planned.launch.capacity_type, *kind));
    kinds.into_iter().map(CapacityType::as_str).collect::<Vec<_>>().join(" | ")
}

fn others(planned: &PlannedNodeClaim) -> String {
    match planned.instance_types.len() - 1 {
        0 => String::new(),
        1 => "(or 1 other type)".to_owned(),
        more => format!("(or {more} other types)"),
    }
}

/// What is remarkable about a claim.
fn notes(planned: &PlannedNodeClaim, snapshot: &ClusterSnapshot, catalog: &Catalog) -> Vec<String> {
    let mut notes = Vec::new();
    if let Some(id) = &planned.launch.reservation_id {
        notes.push(format!("from reservation {id}"));
    }
    notes.extend(overlaid_price(planned));
    if planned.min_values_relaxed {
        notes.push("fewer types than minValues asks for: more would not do".to_owned());
    }
    notes.extend(out_of_stock(planned, snapshot, catalog));
    notes
}

/// Why NodeOverlays do not count.
fn refused_overlays(snapshot: &ClusterSnapshot, catalog: &Catalog) -> String {
    let overlays = Overlays::evaluate(catalog, &snapshot.node_pools, &snapshot.node_overlays);
    let names = snapshot.node_overlays.iter().filter_map(|own| own.metadata.name.as_deref());
    let line = |name: &str| Some(format!("NodeOverlay {name} does not count: {}\n", overlays.why_refused(name)?));
    names.filter_map(line).collect()
}

/// What the cloud lists the machine at, where NodeOverlays say something else.
fn overlaid_price(planned: &PlannedNodeClaim) -> Option<String> {
    let launch = &planned.launch;
    let kind = planned.instance_types.iter().find(|kind| kind.name == launch.instance_type)?;
    let is_launched = |own: &&Offering| {
        (&own.zone, own.capacity_type, &own.reservation_id)
            == (&launch.zone, launch.capacity_type, &launch.reservation_id)
    };
    let listed = kind.listed.as_ref()?.offerings.iter().find(is_launched)?.price;
    (listed != launch.price).then(|| format!("by a NodeOverlay; listed at {listed}"))
}

/// Offerings that would have been cheaper than what is launched, had they been in stock.
fn out_of_stock(planned: &PlannedNodeClaim, snapshot: &ClusterSnapshot, catalog: &Catalog) -> Vec<String> {
    let mut allowed = snapshot
        .node_pools
        .get(&planned.node_pool)
        .map_or_else(Requirements::new, |pool| Requirements::from_specs(&pool.spec.template.spec.requirements));
    for pod in &planned.pods {
        allowed.extend(&Requirements::from_labels(pod_spec(pod).node_selector.iter().flatten()));
    }
    if let Some(zones) = planned.requirements.get(labels::ZONE) {
        allowed.add(zones.clone());
    }
    let missed = |offering: &&Offering| {
        !offering.available && offering.price < planned.launch.price && allowed.intersects(&offering.requirements)
    };
    let mut found: BTreeMap<(Price, &str, CapacityType), BTreeSet<&str>> = BTreeMap::new();
    let holds = |capacity: &Resources| planned.resources.fits(capacity);
    let types = catalog.of(&planned.node_pool).iter();
    for kind in types.filter(|kind| holds(&kind.allocatable()) && allowed.intersects(&kind.requirements)) {
        for offering in kind.offerings.iter().filter(missed) {
            let zones = found.entry((offering.price, &kind.name, offering.capacity_type)).or_default();
            zones.insert(&offering.zone);
        }
    }
    let note = |((price, name, kind), zones): (&(Price, &str, CapacityType), &BTreeSet<&str>)| {
        let zones = zones.iter().copied().collect::<Vec<_>>().join(", ");
        format!("not {name} {kind} {price}: out of stock in {zones}")
    };
    found.iter().map(note).collect()
}

fn existing_table(results: &Results) -> String {
    let row = |placement: &crate::scheduling::Placement| {
        let state = if placement.initialized { "" } else { "(still starting)" };
        vec![placement.node.clone(), pod_names(placement.pods.iter().map(|pod| PodKey::of(pod))), state.to_owned()]
    };
    table(2, &results.placements.iter().filter(|own| !own.pods.is_empty()).map(row).collect::<Vec<_>>())
}

/// Pods without a place by reason, so that a hundred equal ones are one line.
fn missing_table(results: &Results) -> String {
    if results.unschedulable.is_empty() {
        return "unschedulable   none\n".to_owned();
    }
    let mut by_reason: BTreeMap<(&str, String), Vec<PodKey>> = BTreeMap::new();
    for pod in &results.unschedulable {
        by_reason.entry((pod.why.code(), pod.why.to_string())).or_default().push(pod.key.clone());
    }
    let mut groups: Vec<_> = by_reason.into_iter().map(|((code, why), pods)| (pods, code, why)).collect();
    groups.sort_by(|a, b| a.0.cmp(&b.0));
    let row = |(pods, code, why): (Vec<PodKey>, &str, String)| {
        let names = if let [only] = pods.as_slice() { pod_name(only) } else { pod_names(pods) };
        vec![names, code.to_owned(), why]
    };
    let rows: Vec<Vec<String>> = groups.into_iter().map(row).collect();
    format!("unschedulable   {}\n{}", results.unschedulable.len(), table(2, &rows))
}

/// What is held of each pool's limits: what its machines have, and the largest that each claim may become.
fn limits_table(claims: &[(String, &PlannedNodeClaim)], snapshot: &ClusterSnapshot) -> String {
    let mut rows = Vec::new();
    for (name, pool) in snapshot.node_pools.iter().filter(|(_, pool)| !pool.spec.limits.is_empty()) {
        let of_pool = |machine: &&StateNode| machine.node_pool().as_ref() == Some(name);
        let mut held = Resources::new();
        snapshot.nodes.iter().filter(of_pool).for_each(|machine| held.add(&machine.capacity()));
        for (_, planned) in claims.iter().filter(|(_, planned)| planned.node_pool == *name) {
            held.add(&planned.largest_capacity.clone().with(NODES, 1));
        }
        let limits = Resources::of_capacity(&pool.spec.limits);
        let mut of_each: Vec<(&str, i64)> = limits.iter().collect();
        of_each.sort_by_key(|(resource, _)| (*resource != CPU, *resource != MEMORY, *resource));
        let amount = |(resource, limit): &(&str, i64)| {
            format!("{resource} {} of {}", quantity_text(resource, held.get(resource)), quantity_text(resource, *limit))
        };
        rows.push(vec![name.to_string(), of_each.iter().map(amount).collect::<Vec<_>>().join(", ")]);
    }
    if rows.is_empty() {
        return String::new();
    }
    let lines = table(2, &rows);
    format!("limits          held, each claim counted as the largest machine that it may become\n{lines}")
}
