//! Programs that run beside this process and never outlive it.

use anyhow::{Context, bail};
use rustix::process::{Pid, Signal, kill_process};
use std::{
    ffi::OsString,
    fs::{self, File},
    net::{Ipv4Addr, TcpListener},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

/// How often it is looked whether they have ended, in real time.
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// Lines of a program's log that are shown when it has ended.
const LAST_LINES: usize = 8;
/// Kubernetes' programs collect their garbage when their memory has grown fivefold (percent of growth; Go's own is 100): of the
/// processor time of a run that is a seventh less, for some 100 MB more.
const GARBAGE: (&str, &str) = ("GOGC", "400");
/// The ports that programs may listen on: from here so many. Linux takes those for connections from 32,768 on, Kubernetes those of
/// its nodes from 30,000 on.
const LOWEST_PORT: u16 = 12_000;
const PORTS: u32 = 18_000;

/// How many ports have been looked at.
static NEXT_PORT: AtomicU32 = AtomicU32::new(0);

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
        command.env(GARBAGE.0, GARBAGE.1);
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

/// Ports of the loopback interface that nobody listens on now. Each is given once in a round of [`PORTS`], and they lie below those that
/// systems give to connections: nobody else takes one before the program listens.
pub(super) fn free_ports<const N: usize>() -> anyhow::Result<[u16; N]> {
    // Other processes on the machine begin elsewhere.
    let begin = std::process::id().wrapping_mul(97);
    let mut free = (0..PORTS).filter_map(|_| {
        let turn = begin.wrapping_add(NEXT_PORT.fetch_add(1, Ordering::Relaxed)) % PORTS;
        let port = LOWEST_PORT + u16::try_from(turn).ok()?;
        TcpListener::bind((Ipv4Addr::LOCALHOST, port)).ok().map(|_| port)
    });
    let mut ports = [0; N];
    for port in &mut ports {
        *port = free.next().context("there is no free port on loopback")?;
    }
    Ok(ports)
}

#[cfg(test)]
mod tests {
    use super::free_ports;
    use std::{
        collections::BTreeSet,
        net::{Ipv4Addr, TcpListener},
    };

    #[test]
    fn no_port_is_given_twice_in_a_row() {
        let given: BTreeSet<u16> = (0..50).flat_map(|_| free_ports::<3>().unwrap()).collect();
        assert_eq!(given.len(), 150);
        let port = *given.first().unwrap();
        TcpListener::bind((Ipv4Addr::LOCALHOST, port)).unwrap();
    }
}
