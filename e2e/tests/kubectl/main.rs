//! What `kubectl` prints, on the embedded control plane and on a real one: one flow of commands for both, in `flows`.
//!
//! The real one says what is right: `INSTA_UPDATE=always make test-kubernetes` writes into the flows what it printed. A new flow is a
//! Markdown file there with commands only. `explained.yaml` lists where the embedded one prints something else, each with its reason.

#![expect(clippy::unwrap_used, reason = "clippy takes only the test functions themselves for tests, not their helpers")]
#![expect(clippy::panic, reason = "as above")]

#[expect(dead_code, reason = "each test that shares this uses another part of it")]
#[path = "../shared/explained.rs"]
mod explained;
mod flow;
mod mask;
mod world;

use explained::Explained;
use flow::{Flow, Step};
use futures::{StreamExt, stream};
use mask::Masks;
#[cfg(feature = "real-kubernetes")]
use sawhorse_e2e::control_plane::Programs;
use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    sync::{Mutex, PoisonError},
};
use world::World;

/// Flows that run side by side: what they wait for is mostly the cluster.
const AT_A_TIME: usize = 16;
/// The `kubectl` whose words the flows have.
const VERSION: &str = "v1.35.";
/// The tests run one after another: each keeps the machine busy.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/kubectl/flows")
}

fn flows() -> Vec<Flow> {
    let mut files: Vec<PathBuf> = fs::read_dir(folder()).unwrap().map(|file| file.unwrap().path()).collect();
    files.sort();
    let name = |file: &PathBuf| file.file_stem().unwrap().to_str().unwrap().to_owned();
    files.iter().map(|file| Flow::read(&name(file), &fs::read_to_string(file).unwrap())).collect()
}

#[expect(clippy::disallowed_methods, reason = "a test has no command line")]
fn variable(name: &str) -> String {
    std::env::var(name).unwrap_or_default()
}

/// The first `kubectl` of that version in the folder of the control plane's programs and the folders of `PATH`.
fn kubectl() -> Option<PathBuf> {
    let folders = [variable("KUBEBUILDER_ASSETS"), variable("PATH")].join(":");
    folders.split(':').filter(|folder| !folder.is_empty()).map(|folder| Path::new(folder).join("kubectl")).find(
        |path| {
            let output = Command::new(path).args(["version", "--client"]).output();
            output.is_ok_and(|output| String::from_utf8_lossy(&output.stdout).contains(&format!("Version: {VERSION}")))
        },
    )
}

/// The flows that are asked for, all if none is: `KUBECTL_FLOWS=drain,rollout`.
fn wanted() -> Vec<Flow> {
    let names = variable("KUBECTL_FLOWS");
    let wanted = |flow: &Flow| names.is_empty() || names.split(',').any(|name| name == flow.name);
    flows().into_iter().filter(wanted).collect()
}

async fn run(world: World, flows: &[Flow]) -> Vec<Flow> {
    let masks = Masks::read(include_str!("masks.yaml"));
    let told = stream::iter(flows).map(|flow| world.run(flow, &masks)).buffered(AT_A_TIME).collect::<Vec<_>>().await;
    world.stop().await;
    told.into_iter().map(|flow| flow.unwrap()).collect()
}

/// Leaves what was printed beside the build's output, for `diff`.
fn keep(control_plane: &str, told: &[Flow]) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("kubectl").join(control_plane);
    fs::create_dir_all(&folder).unwrap();
    told.iter().for_each(|flow| fs::write(folder.join(format!("{}.md", flow.name)), flow.text()).unwrap());
    folder
}

/// The commands that did not print what their flow says, with both.
fn differences(flows: &[Flow], told: &[Flow], is_explained: impl Fn(&str, &Step, &Step) -> bool) -> Vec<String> {
    let mut found = Vec::new();
    for (flow, told) in flows.iter().zip(told) {
        for (expected, printed) in flow.steps().zip(told.steps()) {
            if expected.told != printed.told && !is_explained(&flow.name, expected, printed) {
                let [expected_lines, printed_lines] = [expected, printed].map(|step| step.told.join("\n  "));
                found.push(format!(
                    "{}: $ {}\nis to print\n  {expected_lines}\nbut prints\n  {printed_lines}\n",
                    flow.name, expected.command
                ));
            }
        }
    }
    found
}

#[test]
fn the_embedded_control_plane_prints_what_the_flows_say() {
    let Some(kubectl) = kubectl() else {
        eprintln!("skipped: there is no kubectl {VERSION}x in KUBEBUILDER_ASSETS or PATH");
        return;
    };
    let _alone = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let flows = wanted();
    let told = runtime().block_on(async { run(World::embedded(&kubectl).await.unwrap(), &flows).await });
    let kept = keep("embedded", &told);
    let explained = Explained::read(include_str!("explained.yaml"));
    let found = differences(&flows, &told, |flow, theirs, ours| {
        let [theirs_told, ours_told] = [theirs, ours].map(|step| step.told.join("\n"));
        explained.cover_lines(&format!("{flow}: {}", theirs.command), &theirs_told, &ours_told)
    });
    let (count, of) = (found.len(), flows.iter().flat_map(Flow::steps).count());
    assert!(
        found.is_empty(),
        "{count} of {of} commands print something else (all are in {}):\n\n{}",
        kept.display(),
        found.join("\n")
    );
    if variable("KUBECTL_FLOWS").is_empty() {
        explained.unused().iter().for_each(|reason| eprintln!("nothing differs for this reason any more: {reason}"));
    }
}

#[cfg(feature = "real-kubernetes")]
#[test]
fn a_real_control_plane_prints_what_the_flows_say() {
    let _alone = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let programs = Programs::from_environment().unwrap();
    let kubectl = kubectl().expect("make kubernetes builds kubectl too");
    let flows = wanted();
    let told = runtime().block_on(async { run(World::real(&kubectl, &programs).await.unwrap(), &flows).await });
    let kept = keep("real", &told);
    if variable("INSTA_UPDATE") == "always" {
        told.iter().for_each(|flow| fs::write(folder().join(format!("{}.md", flow.name)), flow.text()).unwrap());
        return;
    }
    let found = differences(&flows, &told, |_, _, _| false);
    assert!(
        found.is_empty(),
        "{} commands print something else (all are in {}); INSTA_UPDATE=always writes it into the flows:\n\n{}",
        found.len(),
        kept.display(),
        found.join("\n")
    );
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}
