//! Being written.
use super::Context;
use tokio_util::sync::CancellationToken;
pub(super) async fn run(_ctx: Context, stop: CancellationToken) { stop.cancelled().await }
