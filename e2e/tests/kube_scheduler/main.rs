//! What the real kube-scheduler has to say. `make test-kubernetes` holds the embedded scheduler to it; `make judge` lets it judge
//! the decision core.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "clippy takes only the test functions themselves for tests, not their helpers"
)]

mod cases;
mod cluster;
mod differential;
mod draw;
#[expect(dead_code, reason = "each test that shares this uses another part of it")]
#[path = "../shared/explained.rs"]
mod explained;
mod judge;
mod worlds;

#[tokio::test(flavor = "multi_thread")]
async fn the_embedded_scheduler_finds_the_same_nodes_feasible() {
    differential::run().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn kube_scheduler_accepts_what_the_core_plans() {
    judge::run().await;
}
