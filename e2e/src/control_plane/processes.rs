//! Programs that run beside this process and never outlive it.

use anyhow::{Context, bail};
use rustix::process::{Pid, Signal, kill_process};
use std::{
    ffi::OsString,
    fs::{self, File},
    net::{Ipv4Addr, TcpListener},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

/// How often it is looked whether they have ended, in real time.
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// Lines of a program's log that are shown when it has ended.
const LAST_LINES: usize = 8;

/// Programs in the order in which they were started; those that still run are killed when this is dropped.
#[derive(Debug)]
pub(super) struct Processes {
    folder: PathBuf,
    running: Vec<(&'static str, Child)>,
}

impl Processes {
    /// Logs and data go into `folder`.
    pub(super) fn new(folder: &Path) -> Self {
        Self { folder: folder.to_owned(), running: Vec::new() }
    }

    /// Starts a program; what it says goes to `NAME.log`.
    pub(super) fn start(&mut self, name: &'static str, program: &Path, arguments: &[String]) -> anyhow::Result<()> {
        let log = File::create(self.log(name))?;
        let mut command = command(program);
        command.args(arguments).current_dir(&self.folder).stdin(Stdio::null());
        let child = command.stdout(log.try_clone()?).stderr(log).spawn();
        let child = child.with_context(|| format!("`{}` cannot be started", program.display()))?;
        self.running.push((name, child));
        Ok(())
    }

    /// Fails if one of them has ended, with the last that it said.
    pub(super) fn all_run(&mut self) -> anyhow::Result<()> {
        for (name, child) in &mut self.running {
            if let Some(status) = child.try_wait()? {
                let log = self.folder.join(format!("{name}.log"));
                let said = fs::read_to_string(&log).unwrap_or_default();
                let lines: Vec<&str> = said.lines().collect();
                let last = lines[lines.len().saturating_sub(LAST_LINES)..].join("\n");
                bail!("{name} ended ({status}); the last of its log:\n{last}");
            }
        }
        Ok(())
    }

    /// Those that run, with their ids.
    pub(super) fn ids(&self) -> Vec<(&'static str, u32)> {
        self.running.iter().map(|(name, child)| (*name, child.id())).collect()
    }

    /// Asks all to end, the last started first, and kills those that have not after `grace` of real time; `speed` seconds of the
    /// runtime pass in each real one.
    pub(super) async fn stop(mut self, grace: Duration, speed: u32) {
        for (_, child) in self.running.iter().rev() {
            // It may have ended by itself.
            let _ = i32::try_from(child.id()).ok().and_then(Pid::from_raw).map(|pid| kill_process(pid, Signal::TERM));
        }
        // They may have been started on another runtime than this, so that none would wake us.
        for _ in 0..grace.as_millis() / LOOK_EVERY.as_millis() {
            self.running.retain_mut(|(_, child)| matches!(child.try_wait(), Ok(None)));
            if self.running.is_empty() {
                return;
            }
            tokio::time::sleep(LOOK_EVERY * speed).await;
        }
    }

    fn log(&self, name: &str) -> PathBuf {
        self.folder.join(format!("{name}.log"))
    }
}

impl Drop for Processes {
    fn drop(&mut self) {
        for (_, child) in &mut self.running {
            // It may have ended by itself.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// On Linux the kernel ends the program with the thread that started it, however that ends.
pub(super) fn command(program: &Path) -> Command {
    let guard = Path::new("/usr/bin/setpriv");
    if cfg!(target_os = "linux") && guard.exists() {
        let mut command = Command::new(guard);
        command.args([OsString::from("--pdeathsig"), OsString::from("KILL"), program.as_os_str().to_owned()]);
        command
    } else {
        Command::new(program)
    }
}

/// Ports of the loopback interface that nobody listens on now.
pub(super) fn free_ports<const N: usize>() -> anyhow::Result<[u16; N]> {
    let mut ports = [0; N];
    // All are held until the last is known, so that they differ.
    let mut held = Vec::new();
    for port in &mut ports {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("there is no free port on loopback")?;
        *port = listener.local_addr()?.port();
        held.push(listener);
    }
    Ok(ports)
}
