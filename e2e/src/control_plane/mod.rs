//! What a run's objects live in: the embedded API server, or a real cluster that this process has started.
//!
//! - [`ControlPlane`] — what an environment asks of either
//! - [`Kubernetes`] — etcd, kube-apiserver, kube-controller-manager and kube-scheduler as processes on loopback ports
//! - [`access`] — what the controller may do there, and what it did
//! - [`Times`] — how times of a cluster are told in a run that lives faster (pure)
//! - [`in_fast_motion`] — a runtime that lives faster

pub mod access;
mod certificates;
mod fast_motion;
mod kubernetes;
mod mirror;
mod processes;
mod times;

pub use self::{
    fast_motion::in_fast_motion,
    kubernetes::{Kubernetes, Programs},
    times::Times,
};

use kube::Client;
use sawhorse_ambient::{Clock, Seed};
use sawhorse_kwok::apiserver::{ApiServer, Config, GroupResource, Object};
use std::{collections::BTreeSet, sync::Arc};

/// The API server of a run and what comes with it.
pub enum ControlPlane {
    /// In process; the environment runs the built-in controllers and the scheduler beside it.
    Embedded(ApiServer),
    /// Real programs, with their own controllers and scheduler.
    Kubernetes(Box<Kubernetes>),
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
        }
    }

    /// Objects of a resource in order of namespace and name: as stored, or as far as watches have told.
    /// Of a real cluster only the resources that facts and invariants speak of are followed.
    pub fn list(&self, resource: &GroupResource) -> Vec<Arc<Object>> {
        match self {
            Self::Embedded(server) => server.list(resource),
            Self::Kubernetes(cluster) => cluster.mirror().list(resource),
        }
    }

    /// A number that grows with every change.
    pub fn revision(&self) -> u64 {
        match self {
            Self::Embedded(server) => server.revision(),
            Self::Kubernetes(cluster) => cluster.mirror().revision(),
        }
    }

    /// How many requests the run has sent.
    pub fn requests(&self) -> u64 {
        match self {
            Self::Embedded(server) => server.request_counts().values().sum(),
            Self::Kubernetes(cluster) => cluster.requests(),
        }
    }

    /// What the controller asked of a real API server; of the embedded one, which refuses nobody, nothing is known.
    ///
    /// # Errors
    /// The audit log cannot be read.
    pub fn accesses(&self) -> anyhow::Result<BTreeSet<access::Access>> {
        match self {
            Self::Embedded(_) => Ok(BTreeSet::new()),
            Self::Kubernetes(cluster) => cluster.accesses(),
        }
    }

    /// Ends it.
    pub async fn stop(self) {
        match self {
            Self::Embedded(server) => server.shutdown(),
            Self::Kubernetes(cluster) => cluster.stop().await,
        }
    }
}
