//! Pools with `replicas` get the machines that they lack (spec core 2.19). Those that are too many are disruption's.

use super::{Context, catalog, create::create_all, later};
use sawhorse_core::{
    model::{NodePoolName, WhyNot},
    scheduling::static_shortage,
};
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// Between two looks while something changes.
const PACE: Duration = Duration::from_secs(1);
/// After a shortage that could not be made up for.
const RETRY: Duration = Duration::from_secs(30);

/// What could not be launched, so that it is said only once.
type Short = Vec<(NodePoolName, u64, WhyNot)>;

/// Runs until `stop`; a pass that has begun is finished.
pub(super) async fn run(ctx: Context, stop: CancellationToken) {
    if !ctx.mirror.read(|state| state.settings().feature_gates.static_capacity) {
        return stop.cancelled().await;
    }
    let mut short = Short::new();
    let mut revisions = ctx.mirror.revisions();
    while !stop.is_cancelled() {
        revisions.mark_unchanged();
        short = make_up(&ctx, short).await;
        let pace = later(ctx.now(), PACE);
        tokio::select! {
            biased;
            () = stop.cancelled() => return,
            () = ctx.clock.sleep_until(later(ctx.now(), RETRY)), if !short.is_empty() => {}
            _ = revisions.changed() => {}
        }
        tokio::select! {
            biased;
            () = stop.cancelled() => return,
            () = ctx.clock.sleep_until(pace) => {}
        }
    }
}

/// Creates the machines that are lacking, as far as that goes; what is lacking then.
async fn make_up(ctx: &Context, said: Short) -> Short {
    let catalog = catalog::read(ctx, &ctx.snapshot()).await;
    // Decided and created under the same lock as the provisioner's NodeClaims, so that no two passes make up for one shortage.
    let _alone = ctx.memory.creation.lock().await;
    let snapshot = ctx.snapshot();
    let shortage = static_shortage(&snapshot, &catalog);
    create_all(ctx, &snapshot, &shortage.planned, "static_provisioned").await;
    if shortage.short != said {
        for (pool, count, why) in &shortage.short {
            let fields =
                vec![("NodePool", pool.to_string()), ("missing", count.to_string()), ("error", why.to_string())];
            ctx.decided("static.provisioning", "could not launch all nodes of a static nodepool", fields);
        }
    }
    shortage.short
}
