//! What is said and counted of commands.

use super::super::Context;
use crate::metrics::{ConsolidationType, Decided, Savings};
use sawhorse_core::{
    disruption::{
        Command,
        orchestration::{CommandRecord, Phase},
    },
    model::Price,
};

/// A command was found, and will be looked at again before it is done.
pub(super) fn proposed(ctx: &Context, command: &Command) {
    if command.validate_at().is_some() {
        ctx.decided("disruption", "proposed disrupting node(s)", vec![("command", command.to_string())]);
    }
}

/// A command is being done: said and counted once.
pub(super) fn begun(ctx: &Context, command: &Command) {
    ctx.metrics.decisions.get_or_create(&labels(command)).inc();
    ctx.decided("disruption", "disrupting node(s)", vec![("command", command.to_string())]);
}

/// A command that an earlier process had begun is gone on with, or undone.
pub(super) fn resumed(ctx: &Context, record: &CommandRecord) {
    let fields = vec![("command", record.command.to_string()), ("phase", record.phase.code().to_owned())];
    ctx.decided("disruption", "resumed disrupting node(s)", fields);
}

/// A command has come to its end, if `record` has; what it saves then, if that is known.
pub(super) fn ended(ctx: &Context, record: &CommandRecord, realized: Option<Price>) {
    let command = ("command", record.command.to_string());
    match &record.phase {
        Phase::Rejected(why) => {
            let kind = ConsolidationType { consolidation_type: record.command.method.consolidation_type().to_owned() };
            ctx.metrics.failed_validations.get_or_create(&kind).inc();
            ctx.decided("disruption", "rejected disrupting node(s)", vec![command, ("reason", why.to_string())]);
        }
        Phase::RolledBack(why) => {
            let missing = record.command.replacements.len().max(1) as u64;
            ctx.metrics.queue_failures.get_or_create(&labels(&record.command)).inc_by(missing);
            ctx.decided("disruption", "failed to disrupt node(s)", vec![command, ("reason", why.to_string())]);
        }
        Phase::Done => {
            let expected = record.command.savings();
            let reason = record.command.reason().as_str().to_lowercase();
            for (kind, savings) in [("expected", expected), ("realized", realized.unwrap_or(expected))] {
                let labels = Savings { kind: kind.to_owned(), reason: reason.clone() };
                ctx.metrics.savings.get_or_create(&labels).inc_by(savings.dollars());
            }
            let realized = realized.map_or_else(|| "unknown".to_owned(), |savings| format!("{savings}/h"));
            ctx.decided("disruption", "disrupted node(s)", vec![command, ("saves", realized)]);
        }
        Phase::Proposed { .. } | Phase::Claiming | Phase::Replacing | Phase::Waiting | Phase::Deleting => {}
    }
}

fn labels(command: &Command) -> Decided {
    Decided {
        decision: command.decision().to_string(),
        reason: command.reason().as_str().to_lowercase(),
        consolidation_type: command.method.consolidation_type().to_owned(),
    }
}
