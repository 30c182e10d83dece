//! The binary as users meet it: the commands of the README, a deployment's way through `up`, and answers to bad input.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "clippy takes only the test functions themselves for tests, not their helpers"
)]

use kube::{
    Api, Client, Config,
    api::{DeleteParams, DynamicObject, PostParams},
    config::{KubeConfigOptions, Kubeconfig},
    core::GroupVersionKind,
    discovery::{Scope, pinned_kind},
};
use rstest::rstest;
use serde_json::Value;
use std::{
    fs,
    io::{BufRead, BufReader, Write},
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    time::Duration,
};
use tempfile::TempDir;

/// Within so long pods must run after `kubectl apply`.
const REAL_MINUTE: Duration = Duration::from_secs(60);
/// Within so long machines must be gone after `kubectl delete`.
const GIVEN_BACK: Duration = Duration::from_secs(120);
/// Between two looks at the cluster.
const LOOK_EVERY: Duration = Duration::from_millis(250);

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap()
}

/// The binary in a folder of its own that looks like the repository, so that what it writes is not left behind.
fn sawhorse(folder: &TempDir) -> Command {
    for name in ["e2e", "docs", "snapshots"] {
        let link = folder.path().join(name);
        if !link.exists() {
            std::os::unix::fs::symlink(root().join(name), link).unwrap();
        }
    }
    let mut command = Command::new(env!("CARGO_BIN_EXE_sawhorse"));
    command.current_dir(folder.path());
    command
}

/// A server of ours that is stopped with the test.
struct Server(Child);

impl Server {
    /// Starts it and reads until a line that contains `ready` has come.
    fn start(command: &mut Command, ready: &str) -> Self {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        let stderr = BufReader::new(child.stderr.take().unwrap());
        let (sender, lines) = std::sync::mpsc::channel();
        for reader in [Box::new(stdout) as Box<dyn BufRead + Send>, Box::new(stderr)] {
            let sender = sender.clone();
            // Reads on after `ready`, so that the server never waits for a full pipe.
            std::thread::spawn(move || reader.lines().map_while(Result::ok).for_each(|line| drop(sender.send(line))));
        }
        let server = Self(child);
        loop {
            let line =
                lines.recv_timeout(Duration::from_secs(30)).unwrap_or_else(|_| panic!("it never said `{ready}`"));
            if line.contains(ready) {
                return server;
            }
        }
    }

    /// Asks it to stop; whether it ended well.
    fn stop(mut self) -> bool {
        let asked = Command::new("kill").args(["-TERM", &self.0.id().to_string()]).status().unwrap();
        asked.success() && self.0.wait().unwrap().success()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // A test that failed leaves nothing running; after `stop` there is nothing to kill.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The commands of the README's shell blocks that are ours, without comments.
fn readme_commands() -> Vec<String> {
    let text = fs::read_to_string(root().join("README.md")).unwrap();
    let mut inside = false;
    let mut commands = Vec::new();
    for line in text.lines() {
        if line.starts_with("```") {
            inside = line == "```sh";
        } else if inside {
            commands.push(line.split(" #").next().unwrap_or_default().trim().to_owned());
        }
    }
    commands
}

#[test]
fn the_readmes_commands_work() {
    let commands = readme_commands();
    let makefile = fs::read_to_string(root().join("Makefile")).unwrap();
    let mut tried = 0;
    for line in &commands {
        let words = shlex::split(line).unwrap();
        match words.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
            ["make", target, ..] => assert!(makefile.contains(&format!("\n{target}: ")), "`{line}`"),
            ["sawhorse", "up", arguments @ ..] => {
                let folder = TempDir::new().unwrap();
                assert!(Server::start(sawhorse(&folder).arg("up").args(arguments), "Ctrl-C stops everything").stop());
            }
            ["sawhorse", arguments @ ..] => {
                let folder = TempDir::new().unwrap();
                let output = sawhorse(&folder).args(arguments).output().unwrap();
                assert!(output.status.success(), "`{line}`: {}", String::from_utf8_lossy(&output.stderr));
            }
            ["kubectl", "apply", "-f", file] => assert!(root().join(file).exists(), "`{line}`"),
            _ => continue,
        }
        tried += 1;
    }
    assert!(tried >= 4, "the README has lost its commands: {commands:?}");
}

#[test]
fn one_seed_gives_the_same_bytes_in_two_processes() {
    let events = |seed: &str| {
        let folder = TempDir::new().unwrap();
        let scenario = "e2e/scenarios/a-killed-controller-adopts-its-machine.yaml";
        let output = sawhorse(&folder).args(["run", scenario, "--seed", seed, "--events", "e.jsonl"]).output().unwrap();
        assert!(output.status.success());
        fs::read(folder.path().join("e.jsonl")).unwrap()
    };
    let first = events("3");
    assert!(first == events("3"), "one seed, two runs");
    assert!(first != events("4"), "two seeds, one run");
}

#[rstest]
#[case::no_file(&["run", "nowhere.yaml"], "", "`nowhere.yaml` cannot be read")]
#[case::no_scenario(&["run", "bad.yaml"], "kind: Pod\n", "`bad.yaml` is not a scenario")]
#[case::unknown_step(
    &["run", "bad.yaml"],
    "apiVersion: sawhorse.dev/v1alpha1\nkind: Scenario\nmetadata: {name: a}\nspec: {why: b, steps: [{wiat: 3s}]}\n",
    "wiat"
)]
#[case::events_of_many(&["run", "a.yaml", "b.yaml", "--events", "e"], "", "`--events` goes with one scenario, not with 2")]
#[case::cloud_configuration(&["cloud", "--config", "bad.yaml"], "regoin: us-west-2\n", "regoin")]
#[case::nodes_of_nobody(&["nodes"], "", "give a `--manage-…` option")]
#[case::nodes_by_selector(&["nodes", "--manage-nodes-with-label-selector=a in b"], "", "`--manage-nodes-with-label-selector`: ")]
#[case::stages(&["nodes", "--manage-all-nodes", "--config=bad.yaml"], "kind: Pod\n", "expected `Stage`")]
#[case::lease_times(
    &["controller", "--cluster-name=c", "--leader-election-lease-duration=5s"],
    "",
    "the lease duration must be longer than the renew deadline"
)]
#[case::solve(&["solve"], r#"{"nodePoolz": []}"#, "nodePoolz")]
fn bad_input_is_named_and_nothing_is_printed(#[case] arguments: &[&str], #[case] input: &str, #[case] named: &str) {
    let folder = TempDir::new().unwrap();
    fs::write(folder.path().join("bad.yaml"), input).unwrap();
    let mut command = sawhorse(&folder);
    let mut child =
        command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    // A command that reads no input has gone by then.
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    let Output { status, stdout, stderr } = child.wait_with_output().unwrap();
    let told = String::from_utf8_lossy(&stderr);
    assert_eq!(status.code(), Some(2), "{told}");
    assert!(told.contains(named), "{told}");
    assert_eq!(String::from_utf8_lossy(&stdout), "");
}

#[tokio::test]
async fn a_deployment_gets_machines_within_a_minute_and_gives_them_back() {
    let folder = TempDir::new().unwrap();
    let server = Server::start(sawhorse(&folder).arg("up"), "Ctrl-C stops everything");
    let kubeconfig = Kubeconfig::read_from(folder.path().join("sawhorse.kubeconfig")).unwrap();
    let config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await.unwrap();
    let client = Client::try_from(config).unwrap();
    let text = fs::read_to_string(root().join("docs/getting-started.yaml")).unwrap();
    let objects: Vec<DynamicObject> = serde_saphyr::from_multiple(&text).unwrap();
    for object in &objects {
        api(&client, object).await.create(&PostParams::default(), object).await.unwrap();
    }
    let deployment = objects.iter().find(|object| kind(object) == "Deployment").unwrap();
    let wanted = deployment.data["spec"]["replicas"].clone();
    until(REAL_MINUTE, "every replica is ready", async || {
        let found = api(&client, deployment).await.get("web").await.unwrap();
        found.data["status"]["readyReplicas"] == wanted
    })
    .await;
    let columns = |kind: &'static str| table(&client, kind);
    for column in ["NodeClass", "Nodes", "Ready", "Age"] {
        assert!(columns("/apis/karpenter.sh/v1/nodepools").await.contains(&column.to_lowercase()), "{column}");
    }
    for column in ["Type", "Capacity", "Zone", "Node", "Ready", "Age"] {
        assert!(columns("/apis/karpenter.sh/v1/nodeclaims").await.contains(&column.to_lowercase()), "{column}");
    }
    for column in ["Status", "Roles", "Age", "Version"] {
        assert!(columns("/api/v1/nodes").await.contains(&column.to_lowercase()), "{column}");
    }
    api(&client, deployment).await.delete("web", &DeleteParams::background()).await.unwrap();
    until(GIVEN_BACK, "no Node and no NodeClaim is left", async || {
        count(&client, "/apis/karpenter.sh/v1/nodeclaims").await == 0 && count(&client, "/api/v1/nodes").await == 0
    })
    .await;
    assert!(server.stop());
}

fn kind(object: &DynamicObject) -> &str {
    object.types.as_ref().map_or("", |types| &types.kind)
}

async fn api(client: &Client, object: &DynamicObject) -> Api<DynamicObject> {
    let version = GroupVersionKind::try_from(object.types.as_ref().unwrap()).unwrap();
    let (resource, capabilities) = pinned_kind(client, &version).await.unwrap();
    match capabilities.scope {
        Scope::Cluster => Api::all_with(client.clone(), &resource),
        Scope::Namespaced => Api::namespaced_with(client.clone(), "default", &resource),
    }
}

async fn until(within: Duration, what: &str, holds: impl AsyncFn() -> bool) {
    let waiting = async {
        while !holds().await {
            tokio::time::sleep(LOOK_EVERY).await;
        }
    };
    assert!(tokio::time::timeout(within, waiting).await.is_ok(), "not within {within:?}: {what}");
}

async fn ask(client: &Client, path: &str, accept: &str) -> Value {
    let request = http::Request::get(path).header(http::header::ACCEPT, accept).body(Vec::new()).unwrap();
    client.request(request).await.unwrap()
}

/// The names of a table's columns, in small letters.
async fn table(client: &Client, path: &str) -> Vec<String> {
    let table = ask(client, path, "application/json;as=Table;v=v1;g=meta.k8s.io").await;
    let columns = table["columnDefinitions"].as_array().unwrap().iter();
    columns.map(|column| column["name"].as_str().unwrap().to_lowercase()).collect()
}

async fn count(client: &Client, path: &str) -> usize {
    ask(client, path, "application/json").await["items"].as_array().unwrap().len()
}
