//! The machines that run, for fake kubelets in another process.

use super::answer::{Answer, query};
use crate::{
    app::SharedWorld,
    world::{InstanceState, World},
};
use axum::{Json, extract::State, http::Uri};
use serde::Deserialize;
use serde_json::json;
use sha2::{Digest, Sha256};
use std::time::Duration;

/// How long an answer is waited for that differs from the last; then the same is said again.
const WAIT: Duration = Duration::from_secs(30);

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct MachineQuery {
    seen: Option<String>,
}

pub(super) async fn machines(State(world): State<SharedWorld>, uri: Uri) -> Answer {
    let MachineQuery { seen } = query(&uri)?;
    if let Some(seen) = seen {
        // That the time is over is no failure: what is the same is told again.
        let _ = tokio::time::timeout(WAIT, others_run(&world, &seen)).await;
    }
    Ok(Json(world.with(|world| json!({"version": version(world), "machines": world.running_machines()}))))
}

async fn others_run(world: &SharedWorld, seen: &str) {
    let mut state = 0;
    while world.with(|world| version(world)) == seen {
        state = world.changed(state).await;
    }
}

/// Names which machines run; what is said of one never changes while it does.
fn version(world: &World) -> String {
    let mut hash = Sha256::new();
    for instance in world.instances().filter(|instance| instance.state == InstanceState::Running) {
        hash.update(instance.id.as_bytes());
    }
    hash.finalize().iter().take(8).map(|byte| format!("{byte:02x}")).collect()
}
