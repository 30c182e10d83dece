//! Why one machine stays or goes, and why one pod can or cannot be evicted, as text.

use super::{
    disruption::{candidate_row, kept_text},
    text::{count, pod_name, pod_names, span, table},
};
use crate::{
    disruption::{
        BudgetOfPod, Checked, DisruptionInput, Draining, Gain, Move, MoveTo, NodeExplanation, Overdue, PodExplanation,
        PodFact, StillThere, explain_node, explain_pod,
    },
    lifecycle::DoNotDisrupt,
    model::{ClusterSnapshot, PodKey, Price},
    scheduling::{IndexedCatalog, PlannedNodeClaim, Prepared, Results, SchedulingInput, pods_to_provision, solve},
};
use jiff::Timestamp;
use std::{collections::BTreeMap, fmt::Write as _};

/// Why the machine with this name stays or goes; none if there is none.
pub fn node_explained(input: &DisruptionInput<'_>, name: &str) -> Option<String> {
    explain_node(input, name).map(|explained| node_text(&explained, input.snapshot.now))
}

/// Why the pod waits, or whether it can be evicted; none if there is no such pod.
pub fn pod_explained(snapshot: &ClusterSnapshot, catalog: &IndexedCatalog, key: &PodKey) -> Option<String> {
    if let Some(explained) = explain_pod(snapshot, key) {
        return Some(running_pod_text(key, &explained));
    }
    snapshot.pending.iter().find(|pod| PodKey::of(pod) == *key)?;
    let (prepared, pods) = (Prepared::new(snapshot, catalog), pods_to_provision(snapshot));
    Some(waiting_pod_text(key, &solve(&SchedulingInput::new(&prepared, &pods))))
}

/// Every check of a machine in order, the first that keeps it, and what its going would save.
fn node_text(explained: &NodeExplanation, now: Timestamp) -> String {
    let mut text = format!("{}\n\n", header(explained));
    let first = explained.checks.iter().position(|own| own.objection.is_some());
    let rows: Vec<Vec<String>> =
        explained.checks.iter().enumerate().map(|(index, own)| check_row(index, own, first)).collect();
    for (line, own) in table(2, &rows).lines().zip(&explained.checks) {
        text.push_str(line);
        text.push('\n');
        text.push_str(&table(10, &own.facts.iter().map(fact_row).collect::<Vec<_>>()));
    }
    text.push('\n');
    explained.overdue.iter().for_each(|own| text.push_str(&overdue_line(own)));
    if let Some(drain) = &explained.drain {
        text.push_str(&drain_text(drain, now));
    }
    text.push_str(&verdict(explained));
    text
}

fn header(explained: &NodeExplanation) -> String {
    let Some(candidate) = &explained.candidate else { return format!("node {}", explained.node) };
    let machine = candidate_row(candidate);
    let pods = count(candidate.pods.len(), "pod");
    format!(
        "node {} of NodePool {}: {}, {}/h, {pods} to move, disruption cost {}",
        explained.node, candidate.node_pool, machine[1], candidate.price, candidate.cost
    )
}

fn check_row(index: usize, own: &Checked, first: Option<usize>) -> Vec<String> {
    let number = format!("{}.", index + 1);
    let mark = if first == Some(index) { "stops here: " } else { "" };
    let answer = own
        .objection
        .as_ref()
        .map_or_else(|| "yes".to_owned(), |why| format!("no    {mark}{}: {}", why.code(), kept_text(why)));
    vec![number, own.check.to_string(), answer]
}

fn fact_row(fact: &PodFact) -> Vec<String> {
    match fact {
        PodFact::Asks(pod, asks) => vec![pod_name(pod), asks_text(asks)],
        PodFact::Budget(pod, own) => vec![pod_name(pod), budget_text(own)],
    }
}

fn asks_text(asks: &DoNotDisrupt) -> String {
    match asks {
        DoNotDisrupt::No => "asks for nothing".to_owned(),
        DoNotDisrupt::Always => "asks to be left alone as long as it lives".to_owned(),
        DoNotDisrupt::Until(None) => "asks to be left alone for a while, which begins when it starts".to_owned(),
        DoNotDisrupt::Until(Some(until)) => format!("asks to be left alone until {until:.0}"),
        DoNotDisrupt::Elapsed => "asked to be left alone for a while, which is over".to_owned(),
        DoNotDisrupt::Invalid(error) => format!("asks for something that cannot be read, and is ignored: {error}"),
    }
}

fn budget_text(own: &BudgetOfPod) -> String {
    let spared = if own.spared { "; it may go all the same, as it is not Ready" } else { "" };
    format!("PodDisruptionBudget {}: {}{spared}", own.budget, own.arithmetic)
}

fn overdue_line(own: &Overdue) -> String {
    let reason = own.reason.as_str().to_lowercase();
    match &own.waits {
        None => format!("{reason}: {}; it is replaced whatever that costs\n", own.what),
        Some(why) => format!("{reason}: {}; its replacement waits: {}\n", own.what, kept_text(why)),
    }
}

/// Which pods a drain waits for, why, and for how long it has gone on.
fn drain_text(drain: &Draining, now: Timestamp) -> String {
    let so_long = span(now.duration_since(drain.since));
    let until = drain.deadline.map_or_else(String::new, |at| format!("; what is left at {at:.0} is deleted by force"));
    let head = match drain.waiting.len() {
        0 => format!("drained in {so_long}{until}\n"),
        pods => format!("being drained for {so_long}, waits for {}{until}\n", count(pods, "pod")),
    };
    let row = |own: &StillThere| {
        let budgets: Vec<String> = own.budgets.iter().map(budget_text).collect();
        vec![pod_name(&own.pod), own.why.to_string(), budgets.join("; ")]
    };
    head + &table(4, &drain.waiting.iter().map(row).collect::<Vec<_>>())
}

fn verdict(explained: &NodeExplanation) -> String {
    let kept = explained.checks.iter().filter(|own| own.objection.is_some()).count();
    match (&explained.gain, explained.first_objection().and_then(|own| own.objection.as_ref())) {
        (_, None) => format!("may go: {}", gain_text(explained)),
        (Some(Gain::None(_)), Some(why)) if kept == 1 => format!("kept: {}\n", kept_text(why)),
        (Some(Gain::None(gain)), Some(why)) => {
            format!("kept: {}\nif that were lifted: kept all the same: {}\n", kept_text(why), kept_text(gain))
        }
        (None, Some(why)) => format!("kept: {}\n", kept_text(why)),
        (Some(Gain::Some { .. }), Some(why)) => {
            let lifted = if kept == 1 { "that were lifted" } else { "all of that were lifted" };
            format!("kept: {}\nif {lifted}: {}", kept_text(why), gain_text(explained))
        }
    }
}

fn gain_text(explained: &NodeExplanation) -> String {
    let Some(Gain::Some { replacements, moves, saves }) = &explained.gain else { return "it goes\n".to_owned() };
    let machine = |planned: &PlannedNodeClaim| {
        let launch = &planned.launch;
        format!("{} {} {} at {}/h", launch.instance_type, launch.capacity_type, launch.zone, launch.price)
    };
    let what = if replacements.is_empty() {
        "it is deleted".to_owned()
    } else {
        format!("it is replaced by {}", replacements.iter().map(machine).collect::<Vec<_>>().join(" and "))
    };
    let mut text = format!("{what}, which saves {saves}/h ({} a month)\n", a_month(*saves));
    for (to, pods) in by_target(moves) {
        writeln!(text, "  {} to {to}", pod_names(pods)).expect("text takes all that is written");
    }
    text
}

fn by_target(moves: &[Move]) -> BTreeMap<String, Vec<PodKey>> {
    let mut targets: BTreeMap<String, Vec<PodKey>> = BTreeMap::new();
    for own in moves {
        let to = match &own.to {
            MoveTo::Existing(node) => node.clone(),
            MoveTo::Replacement(0) => "its replacement".to_owned(),
            MoveTo::Replacement(index) => format!("its replacement {}", index + 1),
        };
        targets.entry(to).or_default().push(own.pod.clone());
    }
    targets
}

/// A price per hour over a month of 730 hours, to the cent.
pub(super) fn a_month(price: Price) -> String {
    const HOURS: u64 = 730;
    const NANOS_PER_CENT: i64 = 10_000_000;
    let negative = price < Price::ZERO;
    let size = if negative { Price::ZERO.saturating_sub(price) } else { price };
    let cents = (size.times(HOURS).nanos() + NANOS_PER_CENT / 2) / NANOS_PER_CENT;
    format!("{}${}.{:02}", if negative { "-" } else { "" }, cents / 100, cents % 100)
}

/// Whether a pod that runs can be evicted, and what that follows from.
fn running_pod_text(key: &PodKey, explained: &PodExplanation) -> String {
    let mut rows = vec![vec!["runs on".to_owned(), explained.node.clone()]];
    rows.push(vec!["do-not-disrupt".to_owned(), asks_text(&explained.asks)]);
    if !explained.is_evicted {
        rows.push(vec!["drain".to_owned(), "leaves it alone".to_owned()]);
    }
    if explained.budgets.is_empty() {
        rows.push(vec!["budgets".to_owned(), "no PodDisruptionBudget selects it".to_owned()]);
    }
    rows.extend(explained.budgets.iter().map(|own| vec!["budget".to_owned(), budget_text(own)]));
    let verdict = match &explained.kept {
        Some(why) => format!("it cannot be evicted now: {}", kept_text(why)),
        None if explained.is_evicted => "it can be evicted now".to_owned(),
        None => "it goes with its machine".to_owned(),
    };
    format!("pod {key}\n{}\n{verdict}\n", table(2, &rows))
}

/// Where a pod that waits would go, or why nowhere. `results` are those of a solve that it was part of.
fn waiting_pod_text(key: &PodKey, results: &Results) -> String {
    if let Some(why) = results.why_not(key) {
        return format!("pod {key} waits\n\nit has no place: {why}\n");
    }
    let holds =
        |pods: &[std::sync::Arc<k8s_openapi::api::core::v1::Pod>]| pods.iter().any(|pod| PodKey::of(pod) == *key);
    if let Some(placement) = results.placements.iter().find(|own| holds(&own.pods)) {
        return format!("pod {key} waits\n\nit has a place on node {}\n", placement.node);
    }
    let planned = results.planned.iter().find(|own| holds(&own.pods));
    planned.map_or_else(
        || format!("pod {key} waits\n\nnothing is planned for it: it is not one that provisioning looks at\n"),
        |own| {
            let (launch, others) = (&own.launch, count(own.pods.len() - 1, "other pod"));
            format!(
                "pod {key} waits\n\na machine is to be launched for it in NodePool {}: {} {} {} at {}/h, with {others}\n",
                own.node_pool, launch.instance_type, launch.capacity_type, launch.zone, launch.price
            )
        },
    )
}
