//! NodeOverlays: whether they count (spec core 2.20). What they say is in every catalog that is read.

use super::{Context, Next, ReconcileError, catalog};
use kube::Api;
use sawhorse_core::{api::conditions::Conditioned, lifecycle::overlay_with_status, model::NodeOverlayName};
use std::time::Duration;

/// As often an overlay is looked at though nothing has changed.
const PERIOD: Duration = Duration::from_hours(6);

/// Brings the status of one overlay up to date.
pub(super) async fn reconcile(ctx: Context, name: NodeOverlayName) -> Result<Next, ReconcileError> {
    let overlays = catalog::overlays(&ctx).await;
    let overlay = ctx.mirror.read(|state| state.node_overlay(name.as_str()));
    let Some(overlay) = overlay.filter(|overlay| overlay.metadata.deletion_timestamp.is_none()) else {
        return Ok(Next::OnChange);
    };
    let after = overlay_with_status(&overlay, overlays.why_refused(name.as_str()), ctx.now());
    let message = "condition of nodeoverlay changed";
    ctx.say_changes("nodeoverlay", message, ("NodeOverlay", &name), [overlay.conditions(), after.conditions()]);
    ctx.apply.update(&Api::all(ctx.apply.client.clone()), &*overlay, &after).await?;
    Ok(ctx.after(PERIOD))
}
