//! What would become of a cluster, as text.

use super::{
    disruption::kept_text,
    explain::a_month,
    text::{count, pod_name, span, table},
};
use crate::{
    disruption::{Command, Decision},
    model::{ClusterSnapshot, Price},
    plan::{Act, Plan, Step},
};

/// So many steps are shown; the sums count all of them.
const MAX_STEPS: usize = 200;

/// What is done with the cluster and when, what it costs before and after, and what stands in the way. `snapshot` is the one that
/// was planned for.
pub fn plan_text(plan: &Plan, snapshot: &ClusterSnapshot) -> String {
    let mut sections = vec![headline(plan, snapshot)];
    let rows: Vec<Vec<String>> = plan.steps.iter().take(MAX_STEPS).map(step_row).collect();
    sections.push(section("what is done", &rows));
    if plan.steps.len() > MAX_STEPS {
        sections.push(format!("      and {}\n", count(plan.steps.len() - MAX_STEPS, "more step")));
    }
    let drifted = plan.drifted.iter().map(|(node, why)| vec![node.clone(), (*why).to_owned()]).collect::<Vec<_>>();
    sections.push(section("drifted by what is applied", &drifted));
    let homeless = plan.homeless.iter().map(|(pod, why)| vec![pod_name(pod), why.to_string()]).collect::<Vec<_>>();
    sections.push(section("pods without a place", &homeless));
    let kept = plan.kept.iter().map(|(node, why)| vec![node.clone(), why.code().to_owned(), kept_text(why)]);
    sections.push(section("kept in the end", &kept.collect::<Vec<_>>()));
    if plan.unfinished {
        sections.push("  there would be more to do: it waits for longer than can be looked ahead\n".to_owned());
    }
    sections.retain(|section| !section.is_empty());
    sections.join("\n")
}

fn headline(plan: &Plan, snapshot: &ClusterSnapshot) -> String {
    let counted = |wanted: fn(&Act) -> usize| plan.steps.iter().map(|step| wanted(&step.act)).sum::<usize>();
    let launches = counted(|act| match act {
        Act::Launch { .. } => 1,
        Act::Disrupt(_, names) => names.len(),
        Act::Remove(_) | Act::Place { .. } => 0,
    });
    let removals = counted(|act| match act {
        Act::Remove(_) => 1,
        Act::Disrupt(command, _) => command.candidates.len(),
        Act::Launch { .. } | Act::Place { .. } => 0,
    });
    let rows = [
        vec!["nodes".to_owned(), format!("{} now, {} then", plan.nodes_before, plan.after.nodes.len())],
        vec!["launched".to_owned(), launches.to_string()],
        vec!["removed".to_owned(), removals.to_string()],
        vec!["evictions".to_owned(), plan.evictions().to_string()],
        vec!["takes".to_owned(), span(plan.takes(snapshot))],
        vec!["a month".to_owned(), months(plan.price_before, plan.price_after)],
    ];
    table(0, &rows)
}

fn months(before: Price, after: Price) -> String {
    let (now, then) = (a_month(before), a_month(after));
    if after > before {
        return format!("{now} now, {then} then: {} more", a_month(after.saturating_sub(before)));
    }
    format!("{now} now, {then} then: {} less", a_month(before.saturating_sub(after)))
}

fn section(title: &str, rows: &[Vec<String>]) -> String {
    if rows.is_empty() { String::new() } else { format!("  {title}\n{}", table(6, rows)) }
}

fn step_row(step: &Step) -> Vec<String> {
    let (what, detail) = match &step.act {
        Act::Remove(node) => ("remove".to_owned(), format!("{node}, as asked")),
        Act::Launch { name, launch, pods, .. } => {
            let machine = format!("{} {} {}", launch.instance_type, launch.capacity_type, launch.zone);
            ("launch".to_owned(), format!("{name} {machine} {}/h for {}", launch.price, count(*pods, "pod")))
        }
        Act::Place { node, pods } => ("place".to_owned(), format!("{} on {node}", count(*pods, "pod"))),
        Act::Disrupt(command, names) => (command.decision().to_string(), command_text(command, names)),
    };
    let evictions = if step.evictions == 0 { String::new() } else { count(step.evictions, "eviction") };
    vec![format!("+{}", span(step.after)), what, detail, evictions]
}

fn command_text(command: &Command, names: &[String]) -> String {
    let nodes: Vec<&str> = command.candidates.iter().map(|own| own.node.as_str()).collect();
    let (nodes, reason) = (nodes.join(" "), command.reason());
    match command.decision() {
        Decision::Delete => format!("{nodes} ({reason}), saves {}/h", command.savings()),
        Decision::Replace => {
            let new = command.replacements.iter().zip(names).map(|(planned, name)| {
                let launch = &planned.launch;
                format!("{name} {} {} {}", launch.instance_type, launch.capacity_type, launch.zone)
            });
            let new = new.collect::<Vec<_>>().join(", ");
            format!("{nodes} by {new} ({reason}), saves {}/h", command.savings())
        }
    }
}
