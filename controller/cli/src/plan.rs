//! `sawhorse plan`: what would become of a cluster.

use crate::{args::PlanArgs, snapshot};
use anyhow::{Context, bail};
use sawhorse_core::{
    api::NodeOverlay,
    model::Overlays,
    plan::{Manifests, PlanInput, plan as plan_of},
    report::plan_text,
};
use std::{collections::BTreeSet, fs, io::Write, path::Path, process::ExitCode};

/// Prints the plan.
pub(crate) fn plan(args: &PlanArgs) -> anyhow::Result<ExitCode> {
    let (snapshot, catalog) = snapshot::read(&args.snapshot)?;
    let mut applied = Manifests::default();
    for file in &args.files {
        read_manifests(file, &mut applied)?;
    }
    let removed: BTreeSet<String> = args.remove_node.iter().cloned().collect();
    let known = |name: &&String| snapshot.nodes.iter().any(|own| own.name() == name.as_str());
    if let Some(unknown) = removed.iter().find(|name| !known(name)) {
        bail!("there is no node `{unknown}`");
    }
    let input = PlanInput { snapshot: &snapshot, catalog: &catalog, applied: &applied, removed: &removed };
    // A reader that has gone away is no failure.
    let _ = write!(std::io::stdout(), "{}", plan_text(&plan_of(&input), &snapshot));
    Ok(ExitCode::SUCCESS)
}

/// Reads the objects of a file; those that change no plan are refused rather than passed over.
fn read_manifests(file: &Path, applied: &mut Manifests) -> anyhow::Result<()> {
    let name = || format!("the file `{}`", file.display());
    let text = fs::read_to_string(file).with_context(name)?;
    let values: Vec<serde_json::Value> = serde_saphyr::from_multiple(&text).with_context(name)?;
    for value in values {
        match value.get("kind").and_then(serde_json::Value::as_str).unwrap_or("nothing") {
            "NodePool" => applied.node_pools.push(serde_json::from_value(value).with_context(name)?),
            "NodeOverlay" => applied.node_overlays.push(overlay(value).with_context(name)?),
            kind => bail!("{}: a plan takes NodePools and NodeOverlays, and this is `{kind}`", name()),
        }
    }
    Ok(())
}

/// An overlay that can be used.
fn overlay(value: serde_json::Value) -> anyhow::Result<NodeOverlay> {
    let overlay: NodeOverlay = serde_json::from_value(value)?;
    match Overlays::problems(&overlay).first() {
        Some(problem) => bail!("NodeOverlay `{}`: {problem}", overlay.metadata.name.unwrap_or_default()),
        None => Ok(overlay),
    }
}
