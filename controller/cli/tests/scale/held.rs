//! Thousands of nodes held with leases: by `sawhorse nodes`, then by KWOK.

use crate::{Args, Bench, figures::Moment, out_and_back::SCENARIO, program::Program};
use anyhow::{Context, bail, ensure};
use futures::{StreamExt, TryStreamExt, stream};
use k8s_openapi::api::{
    coordination::v1::Lease,
    core::v1::{Node, Pod},
};
use kube::{
    Api,
    api::{DeleteParams, ListParams, PostParams},
};
use sawhorse_e2e::{run::apply_all, scenario::load};
use serde_json::json;
use std::{path::Path, time::Duration};

/// Objects that are created at a time.
const AT_A_TIME: usize = 16;
/// Seconds within which all must be Ready, or run.
const LIMIT: u64 = 900;
/// Which nodes are looked after, as both programs are told it.
const SELECTOR: &str = "--manage-nodes-with-annotation-selector=kwok.x-k8s.io/node=fake";

pub(crate) async fn run(bench: &mut Bench, args: &Args) -> anyhow::Result<()> {
    let cloud = bench.cloud(&json!({"region": "us-west-2"})).await?;
    apply_all(&bench.client, &load(SCENARIO)?.objects).await?;
    bench.controller(&cloud)?;
    create_nodes(bench, args.nodes).await?;
    let kubeconfig = format!("--kubeconfig={}", bench.plane.kubeconfig().display());
    let stages = args.kwok.as_ref().map(|folder| format!("--config={}", folder.join("kwok-stages.yaml").display()));
    let ours = ["nodes", SELECTOR, &kubeconfig].into_iter().chain(stages.as_deref()).map(str::to_owned);
    let before = Moment::now(bench);
    bench.sawhorse("sawhorse nodes", ours.collect())?;
    let ready = bench.until("every node is Ready", LIMIT, |it| it.watched.seen().ready() == args.nodes).await?;
    create_pods(bench, args.nodes, args.pods).await?;
    let runs = bench.until("every pod runs", LIMIT, |it| it.watched.seen().running() == args.pods).await?;
    println!(
        "\n{} nodes are Ready {:.1} s after the fake nodes were started; {} pods run {:.1} s after the last was created",
        args.nodes,
        ready.as_secs_f64(),
        args.pods,
        runs.as_secs_f64()
    );
    Moment::now(bench).print_since(&before, "until all was there");
    let ours = hold(bench, args, "sawhorse nodes").await?;
    bench.end("sawhorse nodes").await?;
    if let (Some(folder), Some(stages)) = (&args.kwok, &stages) {
        hand_over_to_kwok(bench, args, [&folder.join("kwok").display().to_string(), &kubeconfig, stages]).await?;
        let theirs = hold(bench, args, "kwok").await?;
        println!(
            "\nKWOK beside sawhorse nodes: {:.1} times the processor time, {:.1} times the memory",
            theirs.cpu_per_minute / ours.cpu_per_minute.max(0.01),
            theirs.megabytes / ours.megabytes.max(1.0)
        );
    }
    ensure!(ours.fell == 0, "with sawhorse nodes, nodes were not Ready {} times", ours.fell);
    Ok(())
}

async fn hand_over_to_kwok(
    bench: &mut Bench,
    args: &Args,
    [kwok, kubeconfig, stages]: [&str; 3],
) -> anyhow::Result<()> {
    // It would wait until each lease has run out.
    let leases: Api<Lease> = Api::namespaced(bench.client.clone(), "kube-node-lease");
    leases.delete_collection(&DeleteParams::default(), &ListParams::default()).await?;
    let address = format!("--server-address=127.0.0.1:{}", free_port()?);
    let arguments = [SELECTOR, kubeconfig, stages, &address, "--node-lease-duration-seconds=40", "--node-ip=10.0.0.1"];
    let arguments = arguments.map(str::to_owned);
    bench.programs.push(Program::start("kwok", Path::new(kwok), arguments, bench.folder.path())?);
    every_lease_is_held(bench, args.nodes, &leases).await?;
    bench.until("every node is Ready", LIMIT, |it| it.watched.seen().ready() == args.nodes).await?;
    Ok(())
}

struct Held {
    fell: u64,
    cpu_per_minute: f64,
    megabytes: f64,
}

/// Lets time pass, and prints what that took.
async fn hold(bench: &mut Bench, args: &Args, by: &'static str) -> anyhow::Result<Held> {
    let (before, fell) = (Moment::now(bench), bench.watched.seen().fell);
    let until = bench.clock.elapsed() + Duration::from_secs(args.seconds);
    bench.until("time passes", args.seconds + 60, |bench| bench.clock.elapsed() >= until).await?;
    let (now, fell) = (Moment::now(bench), bench.watched.seen().fell - fell);
    now.print_since(&before, &format!("{} nodes and {} pods held by {by}", args.nodes, args.pods));
    println!("  a node was not Ready any more {fell} times");
    Ok(Held { fell, cpu_per_minute: now.cpu_per_minute(&before, by), megabytes: now.megabytes(by) })
}

async fn create_nodes(bench: &Bench, count: usize) -> anyhow::Result<()> {
    let nodes: Api<Node> = Api::all(bench.client.clone());
    let node = |index: usize| {
        json!({"metadata": {
            "name": format!("fake-{index}"),
            "annotations": {"kwok.x-k8s.io/node": "fake", "node.alpha.kubernetes.io/ttl": "0"},
            "labels": {"type": "kwok", "kubernetes.io/hostname": format!("fake-{index}"), "kubernetes.io/os": "linux", "kubernetes.io/arch": "amd64"},
        }})
    };
    let create = async |index| {
        nodes
            .create(&PostParams::default(), &serde_json::from_value(node(index))?)
            .await
            .map(drop)
            .map_err(anyhow::Error::from)
    };
    stream::iter(0..count).map(create).buffer_unordered(AT_A_TIME).try_collect().await
}

/// Pods that are bound from the start, in turn: what is measured is not the scheduler.
async fn create_pods(bench: &Bench, nodes: usize, count: usize) -> anyhow::Result<()> {
    let pods: Api<Pod> = Api::default_namespaced(bench.client.clone());
    let pod = |index: usize| {
        json!({
            "metadata": {"name": format!("pod-{index}"), "labels": {"app": "held"}},
            "spec": {"nodeName": format!("fake-{}", index % nodes), "containers": [{"name": "main", "image": "registry.k8s.io/pause:3.10"}]},
        })
    };
    let create = async |index| {
        pods.create(&PostParams::default(), &serde_json::from_value(pod(index))?)
            .await
            .map(drop)
            .map_err(anyhow::Error::from)
    };
    stream::iter(0..count).map(create).buffer_unordered(AT_A_TIME).try_collect().await
}

async fn every_lease_is_held(bench: &mut Bench, nodes: usize, leases: &Api<Lease>) -> anyhow::Result<()> {
    for _ in 0..LIMIT {
        bench.programs.iter_mut().try_for_each(Program::runs)?;
        if leases.list_metadata(&ListParams::default()).await?.items.len() >= nodes {
            return Ok(());
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    bail!("KWOK does not hold every lease within {LIMIT} s")
}

fn free_port() -> anyhow::Result<u16> {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").context("a free port")?;
    Ok(listener.local_addr()?.port())
}
