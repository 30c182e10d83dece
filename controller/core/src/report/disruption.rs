//! What disruption decided, as text.

use super::text::{count, pod_name, pod_names, table};
use crate::{
    api::{DisruptionReason, UNLIMITED},
    disruption::{BudgetUse, Candidate, Command, DisruptionDecision, MoveTo, Tried, WhyKept},
    model::{ClusterSnapshot, NodePoolName, PodKey, Price},
    scheduling::PlannedNodeClaim,
};
use std::collections::BTreeMap;

/// What `decision` says to disrupt and what that saves, why the other machines are kept, what was tried and dropped, and how
/// the pools' budgets stand. `snapshot` is the one that was decided on.
pub fn disruption_text(decision: &DisruptionDecision, snapshot: &ClusterSnapshot) -> String {
    let mut sections = vec![headline(decision, snapshot)];
    sections.extend(decision.commands.iter().enumerate().map(|(index, command)| command_text(index + 1, command)));
    sections.push(section("kept", &decision.kept.iter().map(kept_row).collect::<Vec<_>>()));
    sections.push(section("tried and dropped", &decision.tried.iter().map(tried_row).collect::<Vec<_>>()));
    sections.push(section("budgets", &budget_rows(decision)));
    sections.retain(|section| !section.is_empty());
    sections.join("\n")
}

fn headline(decision: &DisruptionDecision, snapshot: &ClusterSnapshot) -> String {
    let going: usize = decision.commands.iter().map(|command| command.candidates.len()).sum();
    let of = count(snapshot.nodes.len(), "node");
    if going == 0 {
        return format!("disrupt none of {of}\n");
    }
    let savings: Price = decision.commands.iter().map(Command::savings).sum();
    if savings < Price::ZERO {
        return format!("disrupt {going} of {of}, costs {}/h more\n", Price::ZERO.saturating_sub(savings));
    }
    format!("disrupt {going} of {of}, saves {savings}/h\n")
}

fn section(title: &str, rows: &[Vec<String>]) -> String {
    if rows.is_empty() { String::new() } else { format!("  {title}\n{}", table(6, rows)) }
}

fn command_text(number: usize, command: &Command) -> String {
    let head = format!("  #{number}  {}  {}  by {}\n", command.decision(), command.reason(), command.method.code());
    let mut text = head + &table(6, &command.candidates.iter().map(candidate_row).collect::<Vec<_>>());
    let replacements: Vec<Vec<String>> = command.replacements.iter().enumerate().map(replacement_row).collect();
    if !replacements.is_empty() {
        text.push_str("      replaced by\n");
        text.push_str(&table(8, &replacements));
    }
    let moves = move_rows(command);
    if !moves.is_empty() {
        text.push_str("      moves\n");
        text.push_str(&table(8, &moves));
    }
    text
}

pub(super) fn candidate_row(candidate: &Candidate) -> Vec<String> {
    let known = |text: &Option<String>| text.clone().unwrap_or_else(|| "?".to_owned());
    let kind = candidate.capacity_type.map_or("?", |kind| kind.as_str());
    let machine = format!("{} {kind} {}", known(&candidate.instance_type), known(&candidate.zone));
    vec![candidate.node.to_string(), machine, candidate.price.to_string()]
}

fn replacement_row((index, planned): (usize, &PlannedNodeClaim)) -> Vec<String> {
    let launch = &planned.launch;
    let more = match planned.instance_types.len() - 1 {
        0 => String::new(),
        1 => "(or 1 other type)".to_owned(),
        more => format!("(or {more} other types)"),
    };
    let machine = format!("{} {} {}", launch.instance_type, launch.capacity_type, launch.zone);
    vec![replacement_name(index), machine, launch.price.to_string(), more]
}

fn replacement_name(index: usize) -> String {
    format!("replacement-{}", index + 1)
}

fn move_rows(command: &Command) -> Vec<Vec<String>> {
    let mut by_target: BTreeMap<&MoveTo, Vec<PodKey>> = BTreeMap::new();
    for own in &command.moves {
        by_target.entry(&own.to).or_default().push(own.pod.clone());
    }
    let row = |(to, pods): (&MoveTo, Vec<PodKey>)| {
        let target = match to {
            MoveTo::Existing(node) => node.clone(),
            MoveTo::Replacement(index) => replacement_name(*index),
        };
        vec![pod_names(pods), format!("to {target}")]
    };
    by_target.into_iter().map(row).collect()
}

fn kept_row((node, why): &(String, WhyKept)) -> Vec<String> {
    vec![node.clone(), why.code().to_owned(), kept_text(why)]
}

pub(super) fn kept_text(why: &WhyKept) -> String {
    match why {
        // Events name annotations as the reference does; here the pod is enough.
        WhyKept::PodDoNotDisrupt(pod) => format!("pod {} asks for it", pod_name(pod)),
        other => other.to_string(),
    }
}

fn tried_row(tried: &Tried) -> Vec<String> {
    vec![tried.method.code().to_owned(), tried.nodes.join(" "), format!("{}: {}", tried.why.code(), tried.why)]
}

/// How the budgets stand with the new commands; reasons that stand alike are one line.
fn budget_rows(decision: &DisruptionDecision) -> Vec<Vec<String>> {
    let mut rows: BTreeMap<(&NodePoolName, String), Vec<DisruptionReason>> = BTreeMap::new();
    for budget in decision.budgets.iter().filter(|budget| budget.total > 0) {
        rows.entry((&budget.node_pool, use_text(budget, decision))).or_default().push(budget.reason);
    }
    let row = |((pool, stands), reasons): ((&NodePoolName, String), Vec<DisruptionReason>)| {
        let names = || reasons.iter().map(|reason| reason.as_str()).collect::<Vec<_>>().join(", ");
        let reasons = if reasons.len() == DisruptionReason::BUDGETED.len() {
            "any reason".to_owned()
        } else if reasons.contains(&DisruptionReason::Expired) {
            // No budget can name it, so these stand as the budgets for all reasons say.
            "other reasons".to_owned()
        } else {
            names()
        };
        vec![pool.to_string(), reasons, stands]
    };
    rows.into_iter().map(row).collect()
}

fn use_text(budget: &BudgetUse, decision: &DisruptionDecision) -> String {
    let candidates = decision.commands.iter().flat_map(|command| &command.candidates);
    let new = candidates.filter(|candidate| candidate.node_pool == budget.node_pool).count();
    let away = budget.disrupting as usize + new;
    match budget.allowed {
        UNLIMITED => format!("{away} away, no limit"),
        allowed => format!("{away} away, {allowed} allowed"),
    }
}
