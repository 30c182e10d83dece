//! Asking pods to leave (spec core 3.4, eviction queue).

use super::{Apply, ApplyError};
use crate::metrics::WithCode;
use k8s_openapi::{
    api::{core::v1::Pod, policy::v1::Eviction as EvictionObject},
    apimachinery::pkg::apis::meta::v1 as meta,
};
use kube::{
    Api, ResourceExt,
    api::{DeleteParams, PostParams, Preconditions},
};

/// The API server's words when it cannot evict because of more than one budget (it answers 500 then).
const MULTIPLE_BUDGETS: &str = "more than one PodDisruptionBudget";

/// What became of an eviction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Eviction {
    /// The pod was told to go.
    Evicted,
    /// The pod is not there any more, or is another of that name.
    Gone,
    /// A PodDisruptionBudget does not allow it now.
    Blocked {
        /// The API server's words.
        message: String,
        /// Several budgets match the pod, so it can never be evicted.
        several_budgets: bool,
    },
}

impl Apply {
    fn pods(&self, pod: &Pod) -> Api<Pod> {
        Api::namespaced(self.client.clone(), pod.namespace().as_deref().unwrap_or("default"))
    }

    /// Asks the API server to evict `pod`, which it refuses where a budget says so.
    pub(crate) async fn evict(&self, pod: &Pod) -> Result<Eviction, ApplyError> {
        let name = pod.name_any();
        let body = eviction_of(pod);
        let (api, params) = (self.pods(pod), PostParams::default());
        let request = api.create_subresource::<EvictionObject, serde_json::Value>("eviction", &name, &params, &body);
        let answer = self.counted::<Pod, _>("POST", &name, request).await;
        let (outcome, code) = outcome(answer.map(drop))?;
        self.metrics.pods_eviction_requests.get_or_create(&WithCode { code: code.to_string() }).inc();
        Ok(outcome)
    }

    /// Deletes `pod` with `grace_seconds`, whatever its budgets say; one that is gone is no error.
    pub(crate) async fn force_delete(&self, pod: &Pod, grace_seconds: u32) -> Result<(), ApplyError> {
        let name = pod.name_any();
        let params = DeleteParams {
            grace_period_seconds: Some(grace_seconds),
            preconditions: Some(Preconditions { uid: pod.uid(), resource_version: None }),
            ..DeleteParams::default()
        };
        let api = self.pods(pod);
        match self.counted::<Pod, _>("DELETE", &name, api.delete(&name, &params)).await {
            Ok(_) | Err(ApplyError::NotFound { .. } | ApplyError::Conflict { .. }) => Ok(()),
            Err(error) => Err(error),
        }
    }
}

/// The request's body. It is written here because the library's own `evict` misspells `deleteOptions`, so that the API
/// server ignores the precondition.
fn eviction_of(pod: &Pod) -> EvictionObject {
    EvictionObject {
        metadata: meta::ObjectMeta {
            name: Some(pod.name_any()),
            namespace: pod.namespace(),
            ..meta::ObjectMeta::default()
        },
        delete_options: Some(meta::DeleteOptions {
            preconditions: Some(meta::Preconditions { uid: pod.uid(), resource_version: None }),
            ..meta::DeleteOptions::default()
        }),
    }
}

fn outcome(answer: Result<(), ApplyError>) -> Result<(Eviction, u16), ApplyError> {
    let blocked = |message: &str| Eviction::Blocked {
        message: message.to_owned(),
        several_budgets: message.contains(MULTIPLE_BUDGETS),
    };
    match answer {
        Ok(()) => Ok((Eviction::Evicted, 200)),
        Err(ApplyError::NotFound { .. }) => Ok((Eviction::Gone, 404)),
        Err(ApplyError::Conflict { .. }) => Ok((Eviction::Gone, 409)),
        Err(ApplyError::Failed { source: kube::Error::Api(status), .. })
            if status.code == 429 || status.message.contains(MULTIPLE_BUDGETS) =>
        {
            Ok((blocked(&status.message), status.code))
        }
        Err(error) => Err(error),
    }
}
