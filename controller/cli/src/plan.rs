//! `sawhorse plan`: what would become of a cluster.

use crate::{args::PlanArgs, snapshot};
use anyhow::{Context, bail};
use sawhorse_core::{
    api::NodePool,
    plan::{PlanInput, plan as plan_of},
    report::plan_text,
};
use std::{collections::BTreeSet, fs, io::Write, path::Path, process::ExitCode};

/// Prints the plan.
pub(crate) fn plan(args: &PlanArgs) -> anyhow::Result<ExitCode> {
    let (snapshot, catalog) = snapshot::read(&args.snapshot)?;
    let mut applied = Vec::new();
    for file in &args.files {
        applied.extend(pools(file)?);
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

/// The NodePools of a file; other objects in it change no plan, and are refused rather than passed over.
fn pools(file: &Path) -> anyhow::Result<Vec<NodePool>> {
    let name = || format!("the file `{}`", file.display());
    let text = fs::read_to_string(file).with_context(name)?;
    let values: Vec<serde_json::Value> = serde_saphyr::from_multiple(&text).with_context(name)?;
    let mut pools = Vec::new();
    for value in values {
        let kind = value.get("kind").and_then(serde_json::Value::as_str).unwrap_or("nothing");
        if kind != "NodePool" {
            bail!("{}: a plan takes NodePools, and this is `{kind}`", name());
        }
        pools.push(serde_json::from_value(value).with_context(name)?);
    }
    Ok(pools)
}
