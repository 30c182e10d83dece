//! A program beside this one: its processor time and its memory.

use anyhow::{Context, bail};
use std::{
    ffi::OsString,
    fs::{self, File},
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};
use tokio::process::{Child, Command};

/// Processor time is told in hundredths of a second, on every Linux.
const TICKS_PER_SECOND: f64 = 100.0;
/// How long a program may take to end.
const STOP_GRACE: Duration = Duration::from_secs(20);

/// A program that runs, and ends with this value.
pub(crate) struct Program {
    pub(crate) name: &'static str,
    child: Child,
    log: PathBuf,
}

impl Program {
    pub(crate) fn start(
        name: &'static str,
        program: &Path,
        arguments: impl IntoIterator<Item = String>,
        folder: &Path,
    ) -> anyhow::Result<Self> {
        let log = folder.join(format!("{name}.log"));
        let file = File::create(&log)?;
        // On Linux the kernel ends the program with the thread that started it, however that ends.
        let mut command = Command::new("/usr/bin/setpriv");
        command.args([OsString::from("--pdeathsig"), OsString::from("KILL"), program.as_os_str().to_owned()]);
        command
            .args(arguments)
            .envs([("AWS_ACCESS_KEY_ID", "AKIDSAWHORSE"), ("AWS_SECRET_ACCESS_KEY", "not-a-secret")]);
        command.stdin(Stdio::null()).stdout(file.try_clone()?).stderr(file).kill_on_drop(true);
        let child = command.spawn().with_context(|| format!("`{}` cannot be started", program.display()))?;
        Ok(Self { name, child, log })
    }

    /// Fails if it has ended, with the last that it said.
    pub(crate) fn runs(&mut self) -> anyhow::Result<()> {
        match self.child.try_wait()? {
            None => Ok(()),
            Some(status) => bail!("{} ended ({status}): {}", self.name, self.said().lines().last().unwrap_or_default()),
        }
    }

    /// What it has said so far.
    pub(crate) fn said(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    pub(crate) fn usage(&self) -> Usage {
        self.child.id().map(usage).unwrap_or_default()
    }

    /// Asks it to end, and waits for that.
    pub(crate) async fn stop(mut self) -> anyhow::Result<()> {
        if let Some(id) = self.child.id() {
            Command::new("kill").args(["-TERM", &id.to_string()]).status().await?;
        }
        if tokio::time::timeout(STOP_GRACE, self.child.wait()).await.is_err() {
            self.child.kill().await?;
            bail!("{} did not end within {STOP_GRACE:?}", self.name);
        }
        Ok(())
    }
}

/// What a process has used.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Usage {
    pub(crate) cpu_seconds: f64,
    /// Resident memory now.
    pub(crate) megabytes: f64,
    /// The most that it was.
    pub(crate) most_megabytes: f64,
}

/// Of the process with this id; nothing if it has ended.
pub(crate) fn usage(id: u32) -> Usage {
    let read = |file: &str| fs::read_to_string(format!("/proc/{id}/{file}")).unwrap_or_default();
    let stat = read("stat");
    // The name, in parentheses, may contain spaces.
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let ticks = |index: usize| fields.get(index).and_then(|ticks| ticks.parse::<f64>().ok()).unwrap_or(0.0);
    let status = read("status");
    let megabytes = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        line.and_then(|line| line.split_whitespace().next()?.parse::<f64>().ok()).unwrap_or(0.0) / 1024.0
    };
    Usage {
        cpu_seconds: (ticks(11) + ticks(12)) / TICKS_PER_SECOND,
        megabytes: megabytes("VmRSS:"),
        most_megabytes: megabytes("VmHWM:"),
    }
}
