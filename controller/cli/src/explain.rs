//! `sawhorse explain`: why a node stays or goes, why a pod waits or cannot be evicted.

use crate::{
    args::{ExplainArgs, Explained},
    snapshot,
};
use anyhow::Context;
use sawhorse_core::{
    disruption::DisruptionInput,
    model::PodKey,
    report::{node_explained, pod_explained},
    scheduling::IndexedCatalog,
};
use std::{io::Write, process::ExitCode};

/// Prints the explanation.
pub(crate) fn explain(args: &ExplainArgs) -> anyhow::Result<ExitCode> {
    let (snapshot, catalog) = snapshot::read(&args.snapshot)?;
    let catalog = &IndexedCatalog::new(catalog);
    let text = match args.kind {
        Explained::Node => node_explained(&DisruptionInput { snapshot: &snapshot, catalog, running: &[] }, &args.name)
            .with_context(|| format!("there is no node or NodeClaim `{}`", args.name))?,
        Explained::Pod => {
            let (namespace, name) = args.name.split_once('/').unwrap_or(("default", &args.name));
            pod_explained(&snapshot, catalog, &PodKey::new(namespace, name))
                .with_context(|| format!("there is no pod `{namespace}/{name}` that waits or runs"))?
        }
    };
    // A reader that has gone away is no failure.
    let _ = write!(std::io::stdout(), "{text}");
    Ok(ExitCode::SUCCESS)
}
