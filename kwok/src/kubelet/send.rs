//! Requests to the API server, and which failures are worth another try.

use super::object::RawObject;
use crate::stage::{Effect, PatchKind};
use http::{Method, Request, header::CONTENT_TYPE};
use jiff::Timestamp;
use kube::{
    Client, Resource,
    core::{ApiResource, GroupVersionKind, TypeMeta},
    discovery::{Scope, pinned_kind},
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// What went wrong with a request.
#[derive(Debug)]
pub(super) enum Failure {
    /// Another try may work: connection, time-out, throttling, unavailability (spec kwok 2).
    Retry(kube::Error),
    /// It will not: not found, conflict, invalid. The object waits for its next change.
    Drop(kube::Error),
}

impl From<kube::Error> for Failure {
    fn from(error: kube::Error) -> Self {
        match &error {
            kube::Error::Api(status) if !matches!(status.code, 429 | 500 | 503 | 504) => Self::Drop(error),
            _ => Self::Retry(error),
        }
    }
}

/// Whether an error says that there is no such object.
pub(super) fn is_not_found(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if status.code == 404)
}

/// Whether an error says that there is such an object already, or that it has changed.
pub(super) fn is_conflict(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if status.code == 409)
}

/// Sends what stages ask for.
#[derive(Clone)]
pub(super) struct Sender {
    pub(super) client: Client,
}

impl Sender {
    /// Sends one effect on `object`, which is of `resource`; the result is the object afterwards, if the request gives it.
    pub(super) async fn send(
        &self,
        resource: &ApiResource,
        object: &Value,
        effect: &Effect,
        event_name: &str,
        now: Timestamp,
    ) -> Result<Option<Value>, Failure> {
        let url = object_url(resource, object);
        match effect {
            Effect::Event { kind, reason, message } => {
                let event = event(object, event_name, (kind, reason, message), now);
                let namespace = event["metadata"]["namespace"].as_str().unwrap_or("default").to_owned();
                self.request(Method::POST, &format!("/api/v1/namespaces/{namespace}/events"), JSON, None, &event)
                    .await?;
                Ok(None)
            }
            Effect::Delete => {
                let uid = &object["metadata"]["uid"];
                let options = json!({"gracePeriodSeconds": 0, "preconditions": {"uid": uid}});
                self.request(Method::DELETE, &url, JSON, None, &options).await?;
                Ok(None)
            }
            Effect::Patch { kind, body, subresource, username } => {
                let url = with_subresource(&url, subresource.as_deref());
                self.request(Method::PATCH, &url, kind.content_type(), username.as_deref(), body).await.map(Some)
            }
            Effect::Apply { object, kind, subresource, username } => {
                self.apply(object, *kind, subresource.as_deref(), username.as_deref()).await?;
                Ok(None)
            }
        }
    }

    /// Creates the object, or changes it if it exists; with a subresource it is only changed.
    async fn apply(
        &self,
        object: &Value,
        kind: PatchKind,
        subresource: Option<&str>,
        username: Option<&str>,
    ) -> Result<(), Failure> {
        let text = |name: &str| object[name].as_str().unwrap_or_default().to_owned();
        let types = TypeMeta { api_version: text("apiVersion"), kind: text("kind") };
        let kind_of = GroupVersionKind::try_from(types).map_err(|error| {
            Failure::Drop(kube::Error::Discovery(kube::error::DiscoveryError::InvalidGroupVersion(error.to_string())))
        })?;
        let (resource, capabilities) = pinned_kind(&self.client, &kind_of).await?;
        let mut object = object.clone();
        if capabilities.scope == Scope::Cluster {
            object["metadata"].as_object_mut().map(|metadata| metadata.remove("namespace"));
        }
        let url = object_url(&resource, &object);
        if subresource.is_none() {
            let (collection, _) = url.rsplit_once('/').unwrap_or((&url, ""));
            match self.request(Method::POST, collection, JSON, username, &object).await {
                Err(Failure::Drop(error)) if is_conflict(&error) => {}
                created => return created.map(drop),
            }
        }
        let query = if kind == PatchKind::Apply { "?fieldManager=kwok&force=true" } else { "" };
        let url = format!("{}{query}", with_subresource(&url, subresource));
        self.request(Method::PATCH, &url, kind.content_type(), username, &object).await.map(drop)
    }

    /// One request with a JSON body.
    pub(super) async fn request(
        &self,
        method: Method,
        url: &str,
        content_type: &str,
        username: Option<&str>,
        body: &Value,
    ) -> Result<Value, Failure> {
        let mut request = Request::builder().method(method).uri(url).header(CONTENT_TYPE, content_type);
        if let Some(username) = username {
            request = request.header("Impersonate-User", username);
        }
        let request = request.body(body.to_string().into_bytes()).map_err(kube::Error::HttpError)?;
        Ok(self.client.request(request).await?)
    }

    /// Creates or replaces an object; its version afterwards. Nothing else of the answer is read.
    pub(super) async fn write(&self, method: Method, url: &str, object: &impl Serialize) -> Result<String, Failure> {
        let body = serde_json::to_vec(object).map_err(kube::Error::SerdeError)?;
        let request = Request::builder().method(method).uri(url).header(CONTENT_TYPE, JSON);
        let request = request.body(body).map_err(kube::Error::HttpError)?;
        let answer: Written = self.client.request(request).await?;
        Ok(answer.metadata.resource_version)
    }
}

/// What is read of the answer to a write.
#[derive(Deserialize)]
struct Written {
    metadata: WrittenMetadata,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct WrittenMetadata {
    resource_version: String,
}

pub(super) const JSON: &str = "application/json";

/// The path of an object.
pub(super) fn object_url(resource: &ApiResource, object: &Value) -> String {
    let metadata = &object["metadata"];
    let collection = RawObject::url_path(resource, metadata["namespace"].as_str());
    format!("{collection}/{}", metadata["name"].as_str().unwrap_or_default())
}

fn with_subresource(url: &str, subresource: Option<&str>) -> String {
    subresource.map_or_else(|| url.to_owned(), |subresource| format!("{url}/{subresource}"))
}

/// A core/v1 Event about `object`.
fn event(object: &Value, name: &str, (kind, reason, message): (&str, &str, &str), now: Timestamp) -> Value {
    let metadata = &object["metadata"];
    let namespace = metadata["namespace"].as_str().unwrap_or("default");
    let time = now.to_string();
    json!({
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"name": name, "namespace": namespace},
        "involvedObject": {
            "apiVersion": object["apiVersion"], "kind": object["kind"], "name": metadata["name"],
            "namespace": metadata["namespace"], "uid": metadata["uid"], "resourceVersion": metadata["resourceVersion"],
        },
        "type": kind,
        "reason": reason,
        "message": message,
        "source": {"component": "kubelet"},
        "reportingComponent": "kubelet",
        "firstTimestamp": time,
        "lastTimestamp": time,
        "count": 1,
    })
}
