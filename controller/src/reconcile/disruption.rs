//! Which nodes should go, and seeing that through (spec core 4).
//!
//! A pass moves the running commands on, then decides anew if cluster, catalog or time give reason to. Between passes the
//! loop sleeps until the revision moves or something is due.

mod act;
mod told;

use super::{Context, catalog, later};
use crate::metrics::{Evaluated, InPoolForReason, seconds};
use jiff::Timestamp;
use sawhorse_core::{
    disruption::{
        CommandId, ConsolidationMemory, DisruptionDecision, DisruptionInput, decide_remembering,
        orchestration::{CommandRecord, Phase, advance, stale},
        resume,
    },
    scheduling::IndexedCatalog,
};
use std::{collections::BTreeSet, time::Duration};
use tokio_util::sync::CancellationToken;

/// Between two passes while commands run.
const PACE_RUNNING: Duration = Duration::from_secs(1);
/// Between two decisions, as in the reference.
const PACE_DECIDING: Duration = Duration::from_secs(10);
/// After an action that failed.
const RETRY: Duration = Duration::from_secs(1);
/// What follows from a change (conditions of NodeClaims, pods that move on) is let happen before it is decided on.
const SETTLE: Duration = Duration::from_secs(1);
/// How often the catalog is compared with that of the last decision: nothing tells that it has changed.
const CATALOG_PERIOD: Duration = Duration::from_mins(5);

/// What the loop remembers. Commands that have begun are written on their NodeClaims besides, so that whoever leads next goes on
/// with them or undoes them.
#[derive(Default)]
struct Memory {
    running: Vec<CommandRecord>,
    seen: Option<Seen>,
    consolidation: ConsolidationMemory,
    /// Commands that are being done, of which that has been said.
    begun: BTreeSet<CommandId>,
    /// Whether an action failed in the last pass.
    failed: bool,
}

/// What the last decision was made on, and when it may change by time alone.
struct Seen {
    revision: u64,
    catalog: IndexedCatalog,
    at: Timestamp,
    next_check: Option<Timestamp>,
}

/// Runs until `stop`; a pass that has begun is finished.
pub(super) async fn run(ctx: Context, stop: CancellationToken) {
    let snapshot = ctx.snapshot();
    let running = resume(&snapshot, catalog::read(&ctx, &snapshot).await.catalog());
    running.iter().for_each(|record| told::resumed(&ctx, record));
    let begun = running.iter().map(|record| record.command.id.clone()).collect();
    let mut memory = Memory { running, begun, ..Memory::default() };
    let mut revisions = ctx.mirror.revisions();
    while !stop.is_cancelled() {
        revisions.mark_unchanged();
        let began = ctx.now();
        pass(&ctx, &mut memory).await;
        let due = next_due(&memory, began);
        let pace = later(began, if memory.running.is_empty() { PACE_DECIDING } else { PACE_RUNNING });
        tokio::select! {
            biased;
            () = stop.cancelled() => return,
            () = ctx.clock.sleep_until(due) => {}
            _ = revisions.changed() => {
                tokio::select! {
                    biased;
                    () = stop.cancelled() => return,
                    () = ctx.clock.sleep_until(pace.max(later(ctx.now(), SETTLE)).min(due)) => {}
                }
            }
        }
    }
}

/// When to come again if nothing changes.
fn next_due(memory: &Memory, began: Timestamp) -> Timestamp {
    let validate = memory.running.iter().filter_map(CommandRecord::validate_at).min();
    let running = (!memory.running.is_empty()).then(|| later(began, PACE_DECIDING));
    let retry = memory.failed.then(|| later(began, RETRY));
    let by_time = memory.seen.as_ref().and_then(|seen| seen.next_check);
    let due = [validate, running, retry, by_time].into_iter().flatten().min();
    due.map_or_else(
        || later(began, CATALOG_PERIOD),
        |due| due.max(later(began, RETRY)).min(later(began, CATALOG_PERIOD)),
    )
}

async fn pass(ctx: &Context, memory: &mut Memory) {
    let catalog = catalog::read(ctx, &ctx.snapshot()).await;
    memory.failed = !act::perform_all(ctx, &mut None, stale(&ctx.snapshot(), &memory.running)).await;
    move_on(ctx, memory, &catalog).await;
    let snapshot = ctx.snapshot();
    if !is_decision_due(ctx, memory, &catalog, snapshot.now) {
        return;
    }
    let revision = ctx.mirror.read(|state| state.revision());
    let started = ctx.clock.elapsed();
    let decision = {
        let input = DisruptionInput { snapshot: &snapshot, catalog: &catalog, running: &memory.running };
        decide_remembering(&input, &mut memory.consolidation)
    };
    observe(ctx, &decision, seconds(ctx.clock.elapsed() - started));
    decision.events.iter().for_each(|event| ctx.tell(event));
    memory.seen = Some(Seen { revision, catalog: catalog.clone(), at: snapshot.now, next_check: decision.next_check });
    if decision.commands.is_empty() {
        return;
    }
    decision.commands.iter().for_each(|command| told::proposed(ctx, command));
    memory.running.extend(decision.commands.into_iter().map(CommandRecord::new));
    // A command that need not wait is begun at once.
    move_on(ctx, memory, &catalog).await;
}

/// Whether the answer may differ from the last one.
fn is_decision_due(ctx: &Context, memory: &Memory, catalog: &IndexedCatalog, now: Timestamp) -> bool {
    let Some(seen) = &memory.seen else { return true };
    if seen.next_check.is_some_and(|at| at <= now) {
        return true;
    }
    let changed = ctx.mirror.read(|state| state.revision()) != seen.revision
        || !seen.catalog.catalog().is_same(catalog.catalog());
    changed && later(seen.at, PACE_DECIDING) <= now
}

/// Moves every running command on as far as it goes now, and forgets those that have come to an end.
async fn move_on(ctx: &Context, memory: &mut Memory, catalog: &IndexedCatalog) {
    for index in 0..memory.running.len() {
        // Replacements are created under the same lock as the provisioner's NodeClaims, so that limits hold.
        let _alone = ctx.memory.creation.lock().await;
        let snapshot = ctx.snapshot();
        let input = DisruptionInput { snapshot: &snapshot, catalog, running: &memory.running };
        let step = advance(&memory.running[index], &input);
        let was_running = memory.running[index].phase.is_running();
        if is_begun(&step.record.phase) && memory.begun.insert(step.record.command.id.clone()) {
            told::begun(ctx, &step.record.command);
        }
        step.events.iter().for_each(|event| ctx.tell(event));
        let mut record = Some(step.record);
        memory.failed |= !act::perform_all(ctx, &mut record, step.actions).await;
        if let Some(record) = record {
            if was_running && !record.phase.is_running() {
                let realized = record.realized_savings(&snapshot, catalog.catalog());
                told::ended(ctx, &record, realized);
            }
            memory.running[index] = record;
        }
    }
    let failed = memory.failed;
    memory.running.retain(|record| record.phase.is_running() || has_to_be_undone(&record.phase, failed));
    let running: BTreeSet<&CommandId> = memory.running.iter().map(|record| &record.command.id).collect();
    memory.begun.retain(|id| running.contains(id));
}

fn is_begun(phase: &Phase) -> bool {
    match phase {
        Phase::Proposed { .. } | Phase::Rejected(_) | Phase::RolledBack(_) => false,
        Phase::Claiming | Phase::Replacing | Phase::Waiting | Phase::Deleting | Phase::Done => true,
    }
}

/// A command that was given up is kept until all of it has been undone.
fn has_to_be_undone(phase: &Phase, failed: bool) -> bool {
    failed && matches!(phase, Phase::RolledBack(_))
}

fn observe(ctx: &Context, decision: &DisruptionDecision, took: f64) {
    for command in &decision.commands {
        let labels = Evaluated {
            reason: command.reason().as_str().to_lowercase(),
            consolidation_type: command.method.consolidation_type().to_owned(),
        };
        ctx.metrics.evaluation_duration.get_or_create(&labels).observe(took);
    }
    for used in &decision.budgets {
        let labels =
            InPoolForReason { nodepool: used.node_pool.to_string(), reason: used.reason.as_str().to_lowercase() };
        ctx.metrics.allowed_disruptions.get_or_create(&labels).set(f64::from(used.left()));
        ctx.metrics.nodes_consuming_budgets.get_or_create(&labels).set(f64::from(used.disrupting));
    }
}
