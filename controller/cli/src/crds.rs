//! `sawhorse crds`: the custom resource definitions.

use anyhow::Context;
use std::{io::Write, path::Path, process::ExitCode};

/// Prints them, or writes a file for each into `folder`.
pub(crate) fn crds(folder: Option<&Path>) -> anyhow::Result<ExitCode> {
    let Some(folder) = folder else {
        // A reader that has gone away is no failure.
        let _ = write!(std::io::stdout(), "{}", sawhorse_core::api::crds_yaml());
        return Ok(ExitCode::SUCCESS);
    };
    std::fs::create_dir_all(folder).with_context(|| format!("`{}` cannot be made", folder.display()))?;
    for (name, yaml) in sawhorse_core::api::crd_files() {
        let path = folder.join(&name);
        std::fs::write(&path, yaml).with_context(|| format!("`{}` cannot be written", path.display()))?;
    }
    Ok(ExitCode::SUCCESS)
}
