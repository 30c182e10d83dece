//! Clusters in files.

use crate::{args::SnapshotArgs, capture};
use anyhow::{Context, anyhow};
use sawhorse_core::{
    model::{Catalog, ClusterSnapshot},
    scenario::Scenario,
    solve::Problem,
};
use std::{fs, path::Path};

/// The cluster that is asked for: of a file, or as it is now.
pub(crate) fn read(args: &SnapshotArgs) -> anyhow::Result<(ClusterSnapshot, Catalog)> {
    match &args.snapshot {
        Some(file) => of_file(file),
        None => capture::now(&args.live),
    }
}

/// The cluster that a file describes: what `sawhorse solve` reads, or a decision scenario.
fn of_file(file: &Path) -> anyhow::Result<(ClusterSnapshot, Catalog)> {
    let text = fs::read_to_string(file).with_context(|| format!("the file `{}`", file.display()))?;
    if file.extension().is_some_and(|kind| kind == "yaml" || kind == "yml") {
        return of_scenario(file, &text);
    }
    let problem = Problem::read(&text).with_context(|| format!("the file `{}`", file.display()))?;
    Ok((problem.snapshot, problem.catalog))
}

/// A scenario names its catalog, which is in the folder `catalogs` of one of the folders around it.
fn of_scenario(file: &Path, text: &str) -> anyhow::Result<(ClusterSnapshot, Catalog)> {
    let wrong = |error: &dyn std::fmt::Display| anyhow!("the scenario `{}`: {error}", file.display());
    let scenario = Scenario::read(text).map_err(|error| wrong(&error))?;
    let file = file.canonicalize()?;
    let named = Path::new("catalogs").join(scenario.catalog_name()).with_extension("yaml");
    let catalog = file.ancestors().map(|folder| folder.join(&named)).find(|path| path.is_file());
    let catalog = catalog.with_context(|| format!("there is no `{}` around the scenario", named.display()))?;
    let world = scenario.world(&fs::read_to_string(catalog)?).map_err(|error| wrong(&error))?;
    Ok((world.snapshot, world.catalog))
}
