//! Fake nodes and the embedded control plane.
//!
//! - [`stage`] — KWOK `Stage` objects: object + now → what changes and when (pure)
//! - [`machine`] — running instance + user data → the Node that registers (pure)
//! - [`kubelet`] — the shell around both: boots machines, registers nodes, runs pods, renews leases
//! - [`apiserver`] — an in-process Kubernetes API
//! - [`controllers`] — Deployment, ReplicaSet, StatefulSet, Job, DaemonSet, PodDisruptionBudget, garbage collection
//! - [`scheduler`] — filters and binds as kube-scheduler does, written independently of the decision core

pub mod apiserver;
pub mod controllers;
pub mod kubelet;
pub mod machine;
pub mod scheduler;
pub mod stage;
