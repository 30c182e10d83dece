//! `sawhorse cloud`: the fake cloud alone.

use crate::{args::CloudArgs, serve};
use anyhow::Context;
use sawhorse_ambient::Clock;
use sawhorse_fake_cloud::{
    app::{SharedWorld, app, drive, guarded_app},
    world::{CloudConfig, World},
};
use std::process::ExitCode;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// Serves the cloud until Ctrl-C.
pub(crate) fn cloud(args: &CloudArgs) -> anyhow::Result<ExitCode> {
    let mut config = config(args)?;
    config.seed = args.seed.unwrap_or(config.seed);
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let clock = Clock::from_system();
        let world = SharedWorld::new(World::new(&config, clock.now())?, clock);
        let (listener, at) = serve::listen(args.bind_address, args.port, "the cloud").await?;
        let (mut tasks, stop) = (JoinSet::new(), CancellationToken::new());
        tasks.spawn(drive(world.clone()));
        let token = serve::control_token(args.control_token.clone(), args.bind_address)?;
        let router = match &token {
            None => app(world),
            Some(token) => guarded_app(world, token),
        };
        serve::serve(&mut tasks, listener, router, &stop);
        eprintln!("cloud    http://{at}   (region {}, cluster {})", config.region, config.cluster);
        eprintln!("control  http://{at}/control/v1/");
        match &token {
            None => eprintln!("page     http://{at}/ui"),
            Some(token) => eprintln!("page     http://{at}/ui?token={token}"),
        }
        eprintln!("try      aws ec2 describe-instances --endpoint-url http://{at} --region {}", config.region);
        serve::interrupted()?.await;
        stop.cancel();
        tasks.shutdown().await;
        Ok(ExitCode::SUCCESS)
    })
}

fn config(args: &CloudArgs) -> anyhow::Result<CloudConfig> {
    let Some(file) = &args.config else { return Ok(CloudConfig::default()) };
    let text = std::fs::read_to_string(file).with_context(|| format!("`{}` cannot be read", file.display()))?;
    let config: CloudConfig = serde_saphyr::from_str(&text)
        .with_context(|| format!("`{}` is not a cloud's configuration", file.display()))?;
    config.check().with_context(|| format!("`{}`", file.display()))?;
    Ok(config)
}
