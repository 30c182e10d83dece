//! A thousand pods out and back.

use crate::{Args, Bench, figures::Moment};
use anyhow::{bail, ensure};
use k8s_openapi::api::apps::v1::Deployment;
use kube::{
    Api,
    api::{Patch, PatchParams},
};
use sawhorse_e2e::{run::apply_all, scenario::load};
use serde_json::{Value, json};

/// The world, which is also a scenario of its own.
pub(crate) const SCENARIO: &str = include_str!("../../../../e2e/scale/a-thousand-pods-out-and-back.yaml");
/// Machines that they get at least.
const LEAST_NODES: usize = 100;
/// Seconds for giving all machines back.
const BACK_LIMIT: u64 = 300;

pub(crate) async fn run(bench: &mut Bench, args: &Args) -> anyhow::Result<()> {
    let scenario = load(SCENARIO)?;
    let written: Vec<Value> = serde_saphyr::from_multiple(SCENARIO)?;
    let spec = written.first().map(|scenario| scenario["spec"].clone()).unwrap_or_default();
    let cloud = bench.cloud(&spec["cloud"]).await?;
    let boot = scenario.nodes.boot;
    let [boot, ready] = [boot.registered, boot.ready].map(|it| format!("{},{},{}", it.least, it.typical, it.most));
    let nodes = [
        "nodes",
        "--cluster-name=sawhorse",
        &format!("--kubeconfig={}", bench.plane.kubeconfig().display()),
        &format!("--cloud-url={cloud}"),
        &format!("--boot={boot}"),
        &format!("--ready={ready}"),
    ];
    bench.sawhorse("nodes", nodes.map(str::to_owned).into())?;
    bench.controller(&cloud)?;
    apply_all(&bench.client, &scenario.objects).await?;
    bench
        .until("the controller leads", 120, |it| it.said("controller").is_some_and(|said| said.contains("\"leading\"")))
        .await?;

    let before = Moment::now(bench);
    scale(bench, args.out).await?;
    let pods = args.out;
    let out = bench.until("every pod runs", 600, |bench| bench.watched.seen().running() == pods).await?;
    let nodes = bench.watched.seen().nodes.len();
    let there = Moment::now(bench);
    println!("{pods} pods run on {nodes} nodes {:.1} s after they were asked for", out.as_secs_f64());
    there.print_since(&before, "out");
    scale(bench, 0).await?;
    let empty = |bench: &Bench| bench.watched.seen().nodes.is_empty() && bench.watched.seen().pods.is_empty();
    let back = bench.until("every machine is given back", BACK_LIMIT, empty).await?;
    println!("\nno pod and no node is left {:.1} s after they were given up", back.as_secs_f64());
    Moment::now(bench).print_since(&there, "back");
    left_nothing(&cloud).await?;
    ensure!(pods < 1_000 || nodes >= LEAST_NODES, "{nodes} nodes are fewer than {LEAST_NODES}");
    ensure!(out.as_secs() < args.within, "{pods} pods ran after {:.1} s only", out.as_secs_f64());
    Ok(())
}

async fn scale(bench: &Bench, replicas: usize) -> anyhow::Result<()> {
    let deployments: Api<Deployment> = Api::default_namespaced(bench.client.clone());
    let patch = Patch::Merge(json!({"spec": {"replicas": replicas}}));
    deployments.patch("web", &PatchParams::default(), &patch).await?;
    Ok(())
}

/// The cloud has no machine of ours any more.
async fn left_nothing(cloud: &str) -> anyhow::Result<()> {
    let door = kube::Client::try_from(kube::Config::new(cloud.parse()?))?;
    let ledger = async || -> anyhow::Result<Value> {
        Ok(door.request(http::Request::get("/control/v1/ledger").body(Vec::new())?).await?)
    };
    // A machine that has been told to go is shutting down for a second or two.
    for _ in 0..100 {
        let remaining = ledger().await?["remaining"]["instances"].clone();
        if remaining.as_array().is_some_and(Vec::is_empty) {
            println!("launched {}, left 0", ledger().await?["launched"]);
            return Ok(());
        }
        tokio::time::sleep(crate::LOOK_EVERY).await;
    }
    bail!("machines are left in the cloud")
}
