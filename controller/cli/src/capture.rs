//! `sawhorse capture`: a cluster as a file.

use crate::{
    args::{AwsArgs, CaptureArgs, LiveArgs},
    control::cluster_config,
};
use anyhow::Context;
use kube::Client;
use sawhorse_ambient::{Clock, Seed};
use sawhorse_controller::cloud::ec2::{Cluster, Ec2Provider};
use sawhorse_core::{
    model::{Catalog, ClusterSnapshot},
    solve::save,
};
use std::{fs, io::Write, process::ExitCode};

/// Writes the cluster as it is now.
pub(crate) fn capture(args: &CaptureArgs) -> anyhow::Result<ExitCode> {
    let (snapshot, catalog) = now(&args.live)?;
    let text = save(&snapshot, &catalog) + "\n";
    match &args.out {
        Some(file) => fs::write(file, text).with_context(|| format!("the file `{}`", file.display()))?,
        None => std::io::stdout().write_all(text.as_bytes())?,
    }
    Ok(ExitCode::SUCCESS)
}

/// The cluster as it is now. Nothing is written to it.
pub(crate) fn now(args: &LiveArgs) -> anyhow::Result<(ClusterSnapshot, Catalog)> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(read(args))
}

async fn read(args: &LiveArgs) -> anyhow::Result<(ClusterSnapshot, Catalog)> {
    let clock = Clock::from_system();
    let config = cluster_config(args.kubeconfig.as_deref()).await?;
    let client = Client::try_from(config).context("the cluster cannot be reached")?;
    let provider = provider(&args.aws, clock).await?;
    let provider = provider.as_ref().map(|own| own as &dyn sawhorse_controller::cloud::CloudProvider);
    Ok(sawhorse_controller::capture::capture(&client, provider, clock.now()).await?)
}

/// The cloud, as far as its catalog and prices go: nothing is launched, so that machines have to know nothing of the cluster.
async fn provider(args: &AwsArgs, clock: Clock) -> anyhow::Result<Option<Ec2Provider>> {
    if args.region.is_none() {
        eprintln!("sawhorse: no AWS region (`--region` or AWS_REGION), so that nothing is known of what can be bought");
        return Ok(None);
    }
    args.provider(Cluster::default(), None, clock, Seed(0), 1).await.map(Some)
}
