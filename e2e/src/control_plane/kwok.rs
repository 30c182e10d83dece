//! Upstream KWOK in the place of our kubelets: our machines boot and register their Nodes, KWOK does what kubelets do after that.

use super::{
    kubernetes::Pace,
    processes::{Processes, free_ports},
};
use anyhow::bail;
use std::{
    path::{Path, PathBuf},
    time::Duration,
};
use tempfile::TempDir;

/// The annotation of the Nodes that are KWOK's: its name and value.
pub const MANAGED: (&str, &str) = ("kwok.x-k8s.io/node", "fake");
/// How long KWOK may take to end, in real time.
const STOP_GRACE: Duration = Duration::from_secs(3);

/// Where upstream KWOK is: the program `kwok`, and its module's stages as `kwok-stages.yaml`.
#[derive(Clone, Debug)]
pub struct KwokPrograms(PathBuf);

impl KwokPrograms {
    /// Those of a folder.
    ///
    /// # Errors
    /// They are not there.
    pub fn in_folder(folder: &Path) -> anyhow::Result<Self> {
        for name in ["kwok", "kwok-stages.yaml"] {
            if !folder.join(name).is_file() {
                bail!(
                    "there is no `{name}` in `{}`: `e2e/control-plane/build FOLDER kwok` builds upstream KWOK",
                    folder.display()
                );
            }
        }
        Ok(Self(folder.canonicalize()?))
    }
}

/// KWOK as it runs beside a cluster.
pub(crate) struct Kwok {
    processes: Processes,
    // Its log is in it.
    _folder: TempDir,
}

impl Kwok {
    /// Starts it for a cluster of that pace; it lives in real time itself, as the cluster does.
    pub(crate) fn start(programs: &KwokPrograms, kubeconfig: &Path, pace: Pace) -> anyhow::Result<Self> {
        let folder = tempfile::Builder::new().prefix("sawhorse-kwok-").tempdir()?;
        let mut processes = Processes::new(folder.path());
        let [port] = free_ports()?;
        let (name, value) = MANAGED;
        let arguments = [
            format!("--kubeconfig={}", kubeconfig.display()),
            format!("--config={}", programs.0.join("kwok-stages.yaml").display()),
            format!("--manage-nodes-with-annotation-selector={name}={value}"),
            // Renewed after a quarter of it, which must be well within the grace for silent nodes.
            format!("--node-lease-duration-seconds={}", pace.node_grace),
            format!("--server-address=127.0.0.1:{port}"),
            "--cidr=10.0.0.0/8".to_owned(),
            "--node-ip=10.0.0.1".to_owned(),
        ];
        processes.start("kwok", &programs.0.join("kwok"), &arguments)?;
        Ok(Self { processes, _folder: folder })
    }

    /// Fails if it has ended.
    pub(crate) fn runs(&mut self) -> anyhow::Result<()> {
        self.processes.all_run()
    }

    /// Ends it; `speed` seconds of the runtime pass in each real one.
    pub(crate) async fn stop(self, speed: u32) {
        self.processes.stop(STOP_GRACE, speed).await;
    }
}
