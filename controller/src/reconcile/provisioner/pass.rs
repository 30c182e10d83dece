//! One pass: decide, say why, create.

use super::super::{Context, capacity_buffer, create::create_all, later};
use crate::{
    apply::Event,
    metrics::{InController, seconds},
};
use jiff::SignedDuration;
use k8s_openapi::api::core::v1::Pod;
use sawhorse_core::{
    model::{ClusterSnapshot, NodeClaimName, PodKey, WhyNot, is_virtual},
    scheduling::{
        IndexedCatalog, Placement, Prepared, Results, SchedulingInput, Unschedulable, pods_to_provision, solve_while,
    },
};
use std::{collections::BTreeMap, time::Duration};

/// How long a pod's failure is not repeated as an event.
const FAILED_SCHEDULING_WINDOW: SignedDuration = SignedDuration::from_mins(5);
/// A pass that takes longer is cut short: what it has placed by then is used.
const MAX_SOLVE: Duration = Duration::from_mins(1);
/// How many pods one line of the log names.
const MAX_NAMED: usize = 5;

/// Why pods were not placed in the last pass: the log says only what is new, users are told again and again.
pub(super) type Reasons = BTreeMap<PodKey, Reason>;

/// Why a pod was not placed.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Reason {
    text: String,
    /// Whether users are told at the pod.
    is_told: bool,
}

/// Decides on the cluster as it is now and creates what was decided.
pub(super) async fn decide_and_create(ctx: &Context, catalog: &IndexedCatalog, said: &Reasons) -> Reasons {
    let alone = ctx.memory.creation.lock().await;
    let snapshot = ctx.snapshot();
    let started = ctx.clock.elapsed();
    let results = solve(ctx, &snapshot, catalog);
    let provisioner = InController { controller: "provisioner".to_owned() };
    ctx.metrics.scheduling_duration.get_or_create(&provisioner).observe(seconds(ctx.clock.elapsed() - started));
    let unschedulable = results.unschedulable.iter().filter(|own| !is_virtual(&own.pod)).count();
    ctx.metrics.unschedulable_pods.get_or_create(&provisioner).set(unschedulable as f64);
    capacity_buffer::found(ctx, results.buffer_rooms());
    tell_what_was_found(ctx, &snapshot, &results);
    results.placements.iter().for_each(|placement| nominate(ctx, &snapshot, placement));
    let reasons = tell_what_failed(ctx, &results.unschedulable, said);
    let created = create_all(ctx, &snapshot, &results.planned, "provisioned").await;
    drop(alone);
    for (claim, planned) in created.iter().zip(&results.planned) {
        let target = format!("nodeclaim/{}", claim.metadata.name.as_deref().unwrap_or_default());
        planned.pods.iter().for_each(|pod| tell_nominated(ctx, pod, &target));
    }
    reasons
}

fn solve(ctx: &Context, snapshot: &ClusterSnapshot, catalog: &IndexedCatalog) -> Results {
    let prepared = Prepared::new(snapshot, catalog);
    let pods = pods_to_provision(snapshot);
    let input = SchedulingInput::new(&prepared, &pods);
    let started = ctx.clock.elapsed();
    solve_while(&input, &mut || ctx.clock.elapsed() - started < MAX_SOLVE)
}

fn tell_what_was_found(ctx: &Context, snapshot: &ClusterSnapshot, results: &Results) {
    let planned: usize = results.planned.iter().map(|planned| planned.pods.len()).sum();
    if planned > 0 {
        let found = || snapshot.pending.iter().chain(&snapshot.virtual_pods);
        let named: Vec<String> = found().take(MAX_NAMED).map(|pod| PodKey::of(pod).to_string()).collect();
        let fields = vec![("Pods", named.join(", ")), ("count", found().count().to_string())];
        ctx.decided("provisioner", "found provisionable pod(s)", fields);
        let fields = vec![("nodeclaims", results.planned.len().to_string()), ("pods", planned.to_string())];
        ctx.decided("provisioner", "computed new nodeclaim(s) to fit pod(s)", fields);
    }
}

fn nominate(ctx: &Context, snapshot: &ClusterSnapshot, placement: &Placement) {
    if placement.pods.iter().all(|pod| is_virtual(pod)) {
        return;
    }
    let machine = &snapshot.nodes[placement.index];
    let claim = machine.claim_name();
    let node = machine.node_name();
    if let Some(claim) = claim {
        let until = later(snapshot.now, snapshot.settings.nomination_window());
        ctx.mirror.update(|state| state.nominate(&NodeClaimName::from(claim), until));
    }
    let parts = [claim.map(|name| format!("nodeclaim/{name}")), node.map(|name| format!("node/{name}"))];
    let target: Vec<String> = parts.into_iter().flatten().collect();
    placement.pods.iter().for_each(|pod| tell_nominated(ctx, pod, &target.join(", ")));
}

/// Nobody is told of pods that stand for a buffer.
fn tell_nominated(ctx: &Context, pod: &Pod, target: &str) {
    if is_virtual(pod) {
        return;
    }
    ctx.apply.events.record(Event::normal(pod, "Nominated", format!("Pod should schedule on: {target}")));
}

fn tell_what_failed(ctx: &Context, unschedulable: &[Unschedulable], said: &Reasons) -> Reasons {
    let mut reasons = Reasons::new();
    // Of pods that stand for a buffer its condition tells.
    for Unschedulable { key, pod, why } in unschedulable.iter().filter(|own| !is_virtual(&own.pod)) {
        let reason = Reason { text: why.to_string(), is_told: is_told(why) };
        if said.get(key) != Some(&reason) {
            let fields = vec![("Pod", key.to_string()), ("error", reason.text.clone())];
            ctx.decided("provisioner", "could not schedule pod", fields);
        }
        if reason.is_told {
            tell_failed(ctx, pod, &reason.text);
        }
        reasons.insert(key.clone(), reason);
    }
    reasons
}

/// Tells what was found the last time, as nothing has changed since: events are forgotten after an hour, and a reason that came
/// soon after another one was held back.
pub(super) fn tell_again(ctx: &Context, reasons: &Reasons) {
    for (key, reason) in reasons.iter().filter(|(_, reason)| reason.is_told) {
        if let Some(pod) = ctx.mirror.read(|state| state.pod(key)) {
            tell_failed(ctx, &pod, &reason.text);
        }
    }
}

fn tell_failed(ctx: &Context, pod: &Pod, text: &str) {
    let event = Event::warning(pod, "FailedScheduling", format!("Failed to schedule pod, {text}"));
    ctx.apply.events.record(event.window(FAILED_SCHEDULING_WINDOW));
}

/// Whether users are told at the pod: not where the pod itself opted out, nor where nothing is wrong with it (spec core 2.3,
/// 2.4).
fn is_told(why: &WhyNot) -> bool {
    !matches!(why, WhyNot::OptsOut | WhyNot::NoNodePools | WhyNot::Gated { .. } | WhyNot::DaemonPod | WhyNot::StaticPod)
}
