//! Commands that are run to their end.

use anyhow::{Context, bail};
use std::{path::Path, process::Stdio, time::Duration};
use tokio::process::Command;

/// Lines of what a command said that are shown when it has failed.
const LAST_LINES: usize = 12;
/// How long a command may take, in real time; seconds on a machine that has nothing else to do.
pub(super) const LIMIT: Duration = Duration::from_secs(600);

/// Runs a command and returns what it wrote; it is ended when this is dropped, or after `limit` of the runtime's time.
pub(super) async fn run(program: &Path, arguments: &[&str], limit: Duration) -> anyhow::Result<String> {
    let mut command = Command::from(crate::control_plane::processes::command(program));
    command.args(arguments).stdin(Stdio::null()).kill_on_drop(true);
    // Ctrl-C in a terminal is for this process, which then ends its commands one by one.
    command.process_group(0);
    let name = program.file_name().unwrap_or_default().to_string_lossy();
    let first = arguments.first().copied().unwrap_or_default();
    let output = tokio::time::timeout(limit, command.output()).await;
    let output = output.with_context(|| format!("`{name} {first}` does not end"))?;
    let output = output.with_context(|| format!("`{}` cannot be started", program.display()))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        let lines: Vec<&str> = said.lines().collect();
        let last = lines[lines.len().saturating_sub(LAST_LINES)..].join("\n");
        bail!("`{name} {first}` failed ({}):\n{last}", output.status);
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
