//! What a run's objects live in: the embedded API server, or a real cluster that this process has started.
//!
//! - [`ControlPlane`] — what an environment asks of either
//! - [`Kubernetes`] — a run on etcd, kube-apiserver, kube-controller-manager and kube-scheduler as processes on loopback ports
//!   ([`KubernetesCluster`])
//! - [`Kind`] — a run in a kind cluster ([`KindCluster`]), in which the controller is deployed by its Helm chart
//! - [`KwokPrograms`] — upstream KWOK in the place of our kubelets
//! - [`access`] — what the controller may do there, and what it did
//! - [`Times`] — how times of a cluster are told in a run that lives faster (pure)
//! - [`in_fast_motion`] — a runtime that lives faster

pub mod access;
mod certificates;
mod clearing;
mod fast_motion;
mod kind;
mod kubernetes;
mod kwok;
mod mirror;
mod processes;
mod times;

pub(crate) use self::kwok::Kwok;
pub use self::{
    fast_motion::{client_in_fast_motion, in_fast_motion},
    kind::{Deployment, Kind, KindCluster, KindSettings},
    kubernetes::{Kubernetes, KubernetesCluster, Pace, Programs},
    kwok::{KwokPrograms, MANAGED},
    mirror::Own,
    times::Times,
};

use kube::Client;
use sawhorse_ambient::{Clock, Seed};
use sawhorse_kwok::apiserver::{ApiServer, Config, GroupResource, Object};
use std::{collections::BTreeSet, path::PathBuf, sync::Arc};

/// The API server of a run and what comes with it.
pub enum ControlPlane {
    /// In process; the environment runs the built-in controllers and the scheduler beside it.
    Embedded(ApiServer),
    /// Real programs, with their own controllers and scheduler.
    Kubernetes(Box<Kubernetes>),
    /// A kind cluster, which outlives the run; the controller runs in it.
    Kind(Box<Kind>),
}

impl ControlPlane {
    /// An embedded one with nothing in it.
    pub fn embedded(clock: Clock, seed: Seed) -> Self {
        Self::Embedded(ApiServer::new(Config::new(clock, seed)))
    }

    /// A client that may do everything.
    pub fn client(&self) -> Client {
        match self {
            Self::Embedded(server) => server.client(),
            Self::Kubernetes(cluster) => cluster.client(),
            Self::Kind(run) => run.client(),
        }
    }

    /// Objects of a resource in order of namespace and name: as stored, or as far as watches have told.
    /// Of a real cluster only the resources that facts and invariants speak of are followed.
    pub fn list(&self, resource: &GroupResource) -> Vec<Arc<Object>> {
        match self {
            Self::Embedded(server) => server.list(resource),
            Self::Kubernetes(cluster) => cluster.mirror().list(resource),
            Self::Kind(run) => run.mirror().list(resource),
        }
    }

    /// A number that grows with every change.
    pub fn revision(&self) -> u64 {
        match self {
            Self::Embedded(server) => server.revision(),
            Self::Kubernetes(cluster) => cluster.mirror().revision(),
            Self::Kind(run) => run.mirror().revision(),
        }
    }

    /// How many requests the run has sent; a controller in the cluster sends its own.
    pub fn requests(&self) -> u64 {
        match self {
            Self::Embedded(server) => server.request_counts().values().sum(),
            Self::Kubernetes(cluster) => cluster.requests(),
            Self::Kind(run) => run.requests(),
        }
    }

    /// What the controller asked of a real API server; of the embedded one, which refuses nobody, and of kind's
    /// nothing is known.
    ///
    /// # Errors
    /// The audit log cannot be read.
    pub fn accesses(&self) -> anyhow::Result<BTreeSet<access::Access>> {
        match self {
            Self::Embedded(_) | Self::Kind(_) => Ok(BTreeSet::new()),
            Self::Kubernetes(cluster) => cluster.accesses(),
        }
    }

    /// What belongs to the cluster itself, and runs do not see.
    pub fn own(&self) -> Own {
        match self {
            Self::Embedded(_) | Self::Kubernetes(_) => Own::default(),
            Self::Kind(run) => run.mirror().own().clone(),
        }
    }

    /// Waits until it serves the custom resources `names`, which have just been applied.
    ///
    /// # Errors
    /// It does not within two minutes.
    pub async fn serves(&self, names: &[String]) -> anyhow::Result<()> {
        match self.real() {
            None => Ok(()),
            Some((_, times)) => kubernetes::serves(self.client(), times.speed, names).await,
        }
    }

    /// Of a real one: the kubeconfig of an administrator, and how times are told.
    pub fn real(&self) -> Option<(PathBuf, Times)> {
        match self {
            Self::Embedded(_) => None,
            Self::Kubernetes(cluster) => Some((cluster.kubeconfig(), cluster.times())),
            Self::Kind(run) => Some((run.cluster().kubeconfig(), run.times())),
        }
    }

    /// Ends the run. A cluster that outlives it is left as it was before; real programs outlive it if `keep` says so.
    ///
    /// # Errors
    /// Something of the run stays in the cluster.
    pub async fn leave(self, keep: bool) -> anyhow::Result<Option<KubernetesCluster>> {
        match self {
            Self::Kubernetes(run) if keep => run.leave().await.map(Some),
            Self::Kind(run) => run.clear().await.map(|()| None),
            other => {
                other.stop().await;
                Ok(None)
            }
        }
    }

    /// Ends it.
    pub async fn stop(self) {
        match self {
            Self::Embedded(server) => server.shutdown(),
            Self::Kubernetes(cluster) => cluster.stop().await,
            // It belongs to whoever made it.
            Self::Kind(_) => {}
        }
    }
}
