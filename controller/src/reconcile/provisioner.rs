//! Pending pods → new NodeClaims (spec core 2.2, 2.16).
//!
//! Sleeps until something may need a new machine, lets a batch of pods gather, decides, and creates what was decided. While
//! pods stay pending it decides again every ten seconds, but only if the cluster or the catalog changed since; else what was
//! decided is told again.

mod batch;
mod pass;

use super::{Context, catalog, later};
use batch::gather;
use jiff::Timestamp;
use pass::Reasons;
use sawhorse_core::scheduling::IndexedCatalog;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// Between two looks at pods that stay pending.
const LOOK_AGAIN: Duration = Duration::from_secs(10);

/// What the last pass decided on.
struct Seen {
    arrivals: u64,
    revision: u64,
    catalog: IndexedCatalog,
    reasons: Reasons,
    at: Timestamp,
}

/// Runs until `stop`; a pass that has begun is finished.
pub(super) async fn run(ctx: Context, stop: CancellationToken) {
    let mut seen: Option<Seen> = None;
    while !stop.is_cancelled() {
        tokio::select! {
            biased;
            () = stop.cancelled() => return,
            () = something_to_do(&ctx, seen.as_ref()) => {}
        }
        tokio::select! {
            biased;
            () = stop.cancelled() => return,
            () = gather(&ctx) => {}
        }
        seen = Some(pass_unless_seen(&ctx, seen).await);
    }
}

/// Returns when something new may need a machine, or when it is time to look again at what stays pending.
async fn something_to_do(ctx: &Context, seen: Option<&Seen>) {
    let mut revisions = ctx.mirror.revisions();
    loop {
        revisions.mark_unchanged();
        let (arrivals, demand) = ctx.mirror.read(|state| (state.arrivals(), state.is_demand()));
        if demand && seen.is_none_or(|seen| seen.arrivals != arrivals) {
            return;
        }
        let again = seen.filter(|_| demand).map_or(Timestamp::MAX, |seen| later(seen.at, LOOK_AGAIN));
        if again <= ctx.now() {
            return;
        }
        tokio::select! {
            biased;
            changed = revisions.changed() => if changed.is_err() { return },
            () = ctx.clock.sleep_until(again) => {}
        }
    }
}

/// Decides and acts, unless cluster and catalog are what the last pass saw.
async fn pass_unless_seen(ctx: &Context, seen: Option<Seen>) -> Seen {
    let catalog = catalog::read(ctx, &ctx.snapshot()).await;
    let (arrivals, revision) = ctx.mirror.read(|state| (state.arrivals(), state.revision()));
    let (unchanged, said) = match seen {
        Some(seen) => (seen.revision == revision && seen.catalog.catalog().is_same(catalog.catalog()), seen.reasons),
        None => (false, Reasons::new()),
    };
    if unchanged {
        pass::tell_again(ctx, &said);
        return Seen { arrivals, revision, catalog, reasons: said, at: ctx.now() };
    }
    let reasons = pass::decide_and_create(ctx, &catalog, &said).await;
    // What the pass itself wrote is not news; pods that arrived while it ran are.
    let revision = ctx.mirror.read(|state| state.revision());
    Seen { arrivals, revision, catalog, reasons, at: ctx.now() }
}
