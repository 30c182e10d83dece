//! The embedded API server is held to the real one: both get the same requests, drawn from a seed, and must answer alike.
//! `make test-kubernetes` runs it; `explained.yaml` lists the differences that are meant, each with its reason.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "clippy takes only the test functions themselves for tests, not their helpers"
)]

mod compare;
#[expect(dead_code, reason = "each test that shares this uses another part of it")]
#[path = "../shared/explained.rs"]
mod explained;
mod generate;
mod report;
mod run;
mod send;

use explained::Explained;
use generate::custom::definition;
use kube::{
    Client,
    config::{KubeConfigOptions, Kubeconfig},
};
use run::merge;
use sawhorse_ambient::{Clock, Seed};
use sawhorse_e2e::control_plane::{ControlPlane, Kubernetes, Programs, Times};
use sawhorse_kwok::apiserver::{ApiServer, Config};
use send::Both;
use serde_json::Value;
use std::path::Path;

/// What the sequences are drawn from; other numbers look elsewhere: `DIFFERENTIAL_SEEDS=1,2`.
const SEEDS: &str = "7,41";
/// Sequences of each seed.
const SEQUENCES: usize = 75;

#[expect(clippy::disallowed_methods, reason = "a test has no command line")]
fn seeds() -> Vec<u64> {
    let given = std::env::var("DIFFERENTIAL_SEEDS").unwrap_or_else(|_| SEEDS.to_owned());
    given.split(',').map(|seed| seed.trim().parse().unwrap()).collect()
}

/// A client that gives every answer as it is: the usual one asks again where the server is too busy, which is what budgets answer too.
async fn without_retries(kubeconfig: &Path) -> Client {
    let kubeconfig = Kubeconfig::read_from(kubeconfig).unwrap();
    let mut config = kube::Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await.unwrap();
    config.default_retry = false;
    Client::try_from(config).unwrap()
}

/// Installs the definitions in both and waits until they are served.
async fn install_definitions(cluster: &ControlPlane, clients: [&Client; 2]) {
    let mut definitions: Vec<Value> =
        sawhorse_core::api::crds().iter().map(|definition| serde_json::to_value(definition).unwrap()).collect();
    definitions.push(definition());
    for definition in &definitions {
        for client in clients {
            let request = http::Request::post("/apis/apiextensions.k8s.io/v1/customresourcedefinitions")
                .header("content-type", "application/json")
                .body(definition.to_string().into_bytes())
                .unwrap();
            client.request::<Value>(request).await.unwrap();
        }
    }
    let names: Vec<String> =
        definitions.iter().map(|definition| definition["metadata"]["name"].as_str().unwrap().to_owned()).collect();
    cluster.serves(&names).await.unwrap();
    for kind in generate::kinds::KINDS.iter().filter(|kind| kind.prefix.contains('.')) {
        // Established is a little sooner than served.
        let path = format!("{}/{}", kind.prefix, kind.plural);
        while clients[0].request_text(http::Request::get(&path).body(Vec::new()).unwrap()).await.is_err() {
            tokio::task::yield_now().await;
        }
    }
}

#[tokio::test]
async fn the_embedded_api_server_answers_as_the_real_one() {
    let clock = Clock::from_system();
    let times = Times { began: clock.now(), speed: 1 };
    // Nothing makes service accounts here, and nothing takes the finalizers of volumes and the taints of
    // nodes away.
    let further = ["--disable-admission-plugins=ServiceAccount,StorageObjectInUseProtection,TaintNodesByCondition"];
    let cluster = Kubernetes::start_apiserver(&Programs::from_environment().unwrap(), times, &further).await.unwrap();
    // Nothing collects garbage there either.
    let embedded = ApiServer::new(Config { collects_garbage: false, ..Config::new(clock, Seed(1)) });
    let real = without_retries(&cluster.kubeconfig()).await;
    let cluster = ControlPlane::Kubernetes(Box::new(cluster));
    let both = Both::new(real, embedded.client());
    install_definitions(&cluster, both.clients()).await;
    let explained = Explained::read(include_str!("explained.yaml"));
    let report = run::sequences(&both, &explained, seeds().into_iter(), SEQUENCES).await;
    cluster.stop().await;
    eprintln!("{}", report.text(&explained));
    report.check(&explained);
}
