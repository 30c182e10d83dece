//! What is shown while something lasts.

use indicatif::{ProgressBar, ProgressStyle};
use sawhorse_e2e::{run::Progress, summary::short};

/// A bar for a run of `steps` steps; hidden where standard error is no terminal.
pub(crate) fn bar(name: &str, steps: usize) -> ProgressBar {
    let style = ProgressStyle::with_template("{prefix:<42} [{bar:24}] {pos}/{len} {msg}")
        .unwrap_or_else(|_| ProgressStyle::default_bar());
    ProgressBar::new(steps as u64).with_style(style).with_prefix(name.to_owned())
}

/// Moves the bar.
pub(crate) fn show(bar: &ProgressBar, progress: Progress<'_>) {
    bar.set_position(progress.done as u64);
    let what: String = progress.what.chars().take(60).collect();
    bar.set_message(format!("+{} {what}", short(progress.elapsed)));
}
