//! The machines of a fake cloud in another process, by its control door.

use anyhow::Context;
use async_trait::async_trait;
use http::Request;
use kube::{Client, Config};
use sawhorse_kwok::machine::{Machine, MachineSource};
use serde::Deserialize;
use std::{collections::BTreeMap, time::Duration};
use tokio::{sync::watch, task::JoinSet};

/// Wait before a cloud that did not answer is asked again.
const ASK_AGAIN: Duration = Duration::from_secs(1);

/// The machines as last told.
pub(crate) struct MachinesOfACloud(watch::Receiver<(u64, Vec<Machine>)>);

#[derive(Deserialize)]
struct Answer {
    version: String,
    machines: Vec<Running>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Running {
    instance_id: String,
    provider_id: String,
    machine_type: String,
    region: String,
    zone: String,
    zone_id: String,
    architecture: String,
    private_dns_name: String,
    private_ip: String,
    user_data: String,
    hardware: BTreeMap<String, String>,
    running_since: jiff::Timestamp,
}

impl MachinesOfACloud {
    /// Asks the cloud at `url` which machines run, and goes on doing so as long as `tasks` live.
    pub(crate) async fn follow(url: &str, tasks: &mut JoinSet<()>) -> anyhow::Result<Self> {
        let address = url.parse().with_context(|| format!("`{url}` is not a URL"))?;
        // Kubernetes' client is an HTTP client, and it is here.
        let client = Client::try_from(Config::new(address))?;
        let mut last =
            ask(&client, None).await.with_context(|| format!("the fake cloud at `{url}` does not answer"))?;
        let (sender, receiver) = watch::channel((1, machines(&mut last)));
        tasks.spawn(async move {
            loop {
                match ask(&client, Some(&last.version)).await {
                    Ok(answer) if answer.version == last.version => {}
                    Ok(answer) => {
                        last = answer;
                        sender.send_modify(|told| *told = (told.0 + 1, machines(&mut last)));
                    }
                    Err(error) => {
                        tracing::warn!(%error, "the fake cloud does not answer; it is asked again");
                        tokio::time::sleep(ASK_AGAIN).await;
                    }
                }
            }
        });
        Ok(Self(receiver))
    }
}

async fn ask(client: &Client, seen: Option<&str>) -> anyhow::Result<Answer> {
    let query = seen.map(|seen| format!("?seen={seen}")).unwrap_or_default();
    let request = Request::get(format!("/control/v1/machines{query}")).body(Vec::new())?;
    Ok(client.request(request).await?)
}

fn machines(answer: &mut Answer) -> Vec<Machine> {
    let machine = |running: Running| Machine {
        instance_id: running.instance_id,
        provider_id: running.provider_id,
        instance_type: running.machine_type,
        region: running.region,
        zone: running.zone,
        zone_id: running.zone_id,
        architecture: running.architecture,
        private_dns_name: running.private_dns_name,
        private_ip: running.private_ip,
        user_data: running.user_data,
        hardware: running.hardware,
        running_since: running.running_since,
    };
    std::mem::take(&mut answer.machines).into_iter().map(machine).collect()
}

#[async_trait]
impl MachineSource for MachinesOfACloud {
    fn machines(&self) -> Vec<Machine> {
        self.0.borrow().1.clone()
    }

    async fn changed(&self, seen: u64) -> u64 {
        let mut told = self.0.clone();
        let found = told.wait_for(|(version, _)| *version != seen).await.map(|told| told.0).ok();
        match found {
            Some(version) => version,
            // No more will be told: the process ends.
            None => std::future::pending().await,
        }
    }
}
