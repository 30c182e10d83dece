//! The only writer to the API server. Every write is counted, and its answer goes into the mirror at once.
//!
//! - [`claims`] — creating and deleting NodeClaims and Nodes
//! - [`update`](Apply::update) — writing the difference between an object as it is and as it should be
//! - [`evictions`] — asking pods to leave
//! - [`taints`] — keeping new pods away
//! - [`events`] — telling users

mod claims;
mod diff;
pub(crate) mod events;
mod evictions;
mod taints;

pub(crate) use events::{Event, Recorder};
pub(crate) use evictions::Eviction;

use crate::{
    metrics::{Metrics, Requested},
    state::{Mirror, Mirrored},
};
use kube::{
    Api, Client, ResourceExt,
    api::{Patch, PatchParams},
};
use serde::Serialize;
use serde_json::{Value, json};
use std::{future::Future, sync::Arc};

/// Who writes, in `managedFields`.
const FIELD_MANAGER: &str = "karpenter";

/// Why a write did not happen.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ApplyError {
    /// The object is not there (any more).
    #[error("{kind} `{name}` does not exist")]
    NotFound { kind: String, name: String },
    /// Somebody else wrote first, or an object of that name exists already: look again.
    #[error("{kind} `{name}` was changed by somebody else: {message}")]
    Conflict { kind: String, name: String, message: String },
    /// Anything else.
    #[error("`{verb}` of {kind} `{name}` failed")]
    Failed {
        verb: &'static str,
        kind: String,
        name: String,
        #[source]
        source: kube::Error,
    },
}

/// The writer.
#[derive(Clone)]
pub(crate) struct Apply {
    pub(crate) client: Client,
    mirror: Arc<Mirror>,
    metrics: Metrics,
    pub(crate) events: Recorder,
}

impl Apply {
    pub(crate) fn new(client: Client, mirror: Arc<Mirror>, metrics: Metrics, events: Recorder) -> Self {
        Self { client, mirror, metrics, events }
    }

    /// Writes what differs between `before` (as it was read) and `after` (as it should be): first everything but the status,
    /// then the status. Both writes are refused if somebody else wrote since `before` was read. Returns the object as it is
    /// then.
    pub(crate) async fn update<K>(&self, api: &Api<K>, before: &K, after: &K) -> Result<K, ApplyError>
    where
        K: Mirrored + Serialize,
    {
        if before == after {
            return Ok(before.clone());
        }
        let (before_value, after_value) = (value_of(before), value_of(after));
        let (main, status) = diff::split(&before_value, &after_value);
        let mut current = before.clone();
        if let Some(patch) = main {
            current = self.patch(api, &current, patch, false).await?;
        }
        if let Some(patch) = status {
            current = self.patch(api, &current, json!({ "status": patch }), true).await?;
        }
        Ok(current)
    }

    async fn patch<K: Mirrored>(
        &self,
        api: &Api<K>,
        on: &K,
        mut patch: Value,
        of_status: bool,
    ) -> Result<K, ApplyError> {
        patch["metadata"]["resourceVersion"] = json!(on.meta().resource_version);
        let name = on.name_any();
        let params = PatchParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PatchParams::default() };
        let patch = Patch::Merge(patch);
        let answer = if of_status {
            self.counted::<K, _>("PATCH", &name, api.patch_status(&name, &params, &patch)).await
        } else {
            self.counted::<K, _>("PATCH", &name, api.patch(&name, &params, &patch)).await
        };
        let written = self.noticed_absence(answer, on)?;
        Ok(self.mirrored(written))
    }

    /// Puts the answer to a write into the mirror.
    fn mirrored<K: Mirrored>(&self, mut object: K) -> K {
        object.strip();
        // An object whose last finalizer went with this write is gone: the API server answers with its last state.
        if object.meta().deletion_timestamp.is_some() && object.finalizers().is_empty() && !has_grace_period(&object) {
            self.mirror.delete::<K>(object.meta());
        } else {
            self.mirror.wrote(object.clone());
        }
        object
    }

    /// Takes an object out of the mirror that turns out to be gone.
    fn noticed_absence<K: Mirrored, T>(&self, answer: Result<T, ApplyError>, object: &K) -> Result<T, ApplyError> {
        if matches!(answer, Err(ApplyError::NotFound { .. })) {
            self.mirror.delete::<K>(object.meta());
        }
        answer
    }

    /// Sends one request, counts it and names its failure.
    async fn counted<K, T>(
        &self,
        verb: &'static str,
        name: &str,
        request: impl Future<Output = Result<T, kube::Error>>,
    ) -> Result<T, ApplyError>
    where
        K: kube::Resource<DynamicType = ()>,
    {
        let answer = request.await;
        let code = match &answer {
            Ok(_) => 200,
            Err(kube::Error::Api(status)) => status.code,
            Err(_) => 0,
        };
        let labels =
            Requested { method: verb.to_owned(), code: code.to_string(), resource: K::plural(&()).into_owned() };
        self.metrics.requests.get_or_create(&labels).inc();
        answer.map_err(|error| named::<K>(verb, name, error))
    }
}

fn named<K: kube::Resource<DynamicType = ()>>(verb: &'static str, name: &str, error: kube::Error) -> ApplyError {
    let (kind, name) = (K::kind(&()).into_owned(), name.to_owned());
    match error {
        kube::Error::Api(status) if status.code == 404 => ApplyError::NotFound { kind, name },
        kube::Error::Api(status) if status.code == 409 => ApplyError::Conflict { kind, name, message: status.message },
        source => ApplyError::Failed { verb, kind, name, source },
    }
}

/// Pods are deleted after a grace period even without finalizers.
fn has_grace_period<K: kube::Resource>(object: &K) -> bool {
    object.meta().deletion_grace_period_seconds.is_some_and(|seconds| seconds > 0)
}

fn value_of<K: Serialize>(object: &K) -> Value {
    serde_json::to_value(object).expect("API objects are maps with text keys")
}

#[cfg(test)]
mod tests;
