//! What the controller may do in a real cluster: exactly what its manifests say.

use crate::run::said;
use anyhow::Context;
use k8s_openapi::api::{
    authentication::v1::{TokenRequest, TokenRequestSpec},
    core::v1::ServiceAccount,
};
use kube::{
    Api, Client,
    api::{Patch, PatchParams, PostParams},
    core::DynamicObject,
    discovery::{Scope, pinned_kind},
};
use serde::Deserialize;
use serde_json::Value;
use std::{collections::BTreeSet, fs, path::Path};

/// The manifests that people apply.
pub const MANIFESTS: &str = include_str!("../../../controller/deploy/controller.yaml");
/// Kinds of the manifests that say who the controller is and what it may do.
const KINDS: [&str; 6] = ["Namespace", "ServiceAccount", "ClusterRole", "ClusterRoleBinding", "Role", "RoleBinding"];
/// How long a token is good for, in seconds: longer than any run.
const TOKEN_SECONDS: i64 = 24 * 3600;

/// The namespace of the manifests.
pub(crate) const NAMESPACE: &str = "sawhorse";
/// The lease of the manifests, which the controller that leads holds.
pub(crate) const LEASE: &str = "karpenter-leader-election";

/// The file of the API server's audit log of the controller's requests, and what it is to hold.
pub(super) const AUDIT_LOG: &str = "audit.log";
pub(super) const AUDIT_POLICY: &str = "\
apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules:
- {level: Metadata, users: ['system:serviceaccount:sawhorse:sawhorse']}
- {level: None}
";

/// One kind of request that the controller sent to a real API server.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Access {
    /// `get`, `list`, `watch`, `create`, `update`, `patch`, `delete`.
    pub verb: String,
    /// The API group; empty for the core's.
    pub group: String,
    /// The resource, with its subresource: `pods/eviction`.
    pub resource: String,
    /// The object's name, where leases are meant; empty otherwise.
    pub name: String,
    /// Whether access was denied.
    pub denied: bool,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Audited {
    verb: String,
    object_ref: Option<AuditedObject>,
    response_status: Option<AuditedStatus>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[derive(Default)]
struct AuditedObject {
    resource: String,
    subresource: String,
    api_group: String,
    name: String,
}

#[derive(Deserialize)]
struct AuditedStatus {
    code: Option<u16>,
}

/// How long the audit log in `folder` is, in bytes.
pub(super) fn logged(folder: &Path) -> u64 {
    fs::metadata(folder.join(AUDIT_LOG)).map_or(0, |log| log.len())
}

/// What the audit log in `folder` holds from that byte on.
pub(super) fn audited(folder: &Path, from: u64) -> anyhow::Result<BTreeSet<Access>> {
    let log = fs::read_to_string(folder.join(AUDIT_LOG)).unwrap_or_default();
    let log = usize::try_from(from).ok().and_then(|from| log.get(from..)).unwrap_or_default();
    let mut accesses = BTreeSet::new();
    for line in log.lines() {
        let Audited { verb, object_ref, response_status } =
            serde_json::from_str(line).context("a line of the audit log")?;
        let Some(AuditedObject { resource, subresource, api_group, name }) = object_ref else { continue };
        let name = if resource == "leases" { name } else { String::new() };
        let resource = if subresource.is_empty() { resource } else { format!("{resource}/{subresource}") };
        let denied = response_status.and_then(|status| status.code) == Some(403);
        accesses.insert(Access { verb, group: api_group, resource, name, denied });
    }
    Ok(accesses)
}

/// The objects of the manifests that are about access, in their order.
///
/// # Errors
/// The manifests cannot be read.
pub fn objects() -> anyhow::Result<Vec<Value>> {
    let objects: Vec<Value> = serde_saphyr::from_multiple(MANIFESTS).context("the controller's manifests")?;
    Ok(objects.into_iter().filter(|object| KINDS.contains(&object["kind"].as_str().unwrap_or_default())).collect())
}

/// Applies an object by server-side apply; with `dry_run` the API server only says whether it would take it.
pub(super) async fn apply(client: &Client, object: &Value, dry_run: bool) -> anyhow::Result<()> {
    let what = || format!("`{}` of the controller's manifests", object["kind"].as_str().unwrap_or_default());
    let object: DynamicObject = serde_json::from_value(object.clone()).with_context(what)?;
    let types = object.types.clone().unwrap_or_default();
    let (resource, capabilities) = pinned_kind(client, &(&types).try_into()?).await.with_context(what)?;
    let api: Api<DynamicObject> = match (capabilities.scope, &object.metadata.namespace) {
        (Scope::Namespaced, Some(namespace)) => Api::namespaced_with(client.clone(), namespace, &resource),
        _ => Api::all_with(client.clone(), &resource),
    };
    let name = object.metadata.name.clone().unwrap_or_default();
    let params = PatchParams { dry_run, ..PatchParams::apply("sawhorse-e2e") };
    api.patch(&name, &params, &Patch::Apply(&object)).await.map_err(said).with_context(what)?;
    Ok(())
}

/// Applies them and returns a token of the controller's ServiceAccount.
pub(super) async fn token(client: &Client) -> anyhow::Result<String> {
    let objects = objects()?;
    for object in &objects {
        apply(client, object, false).await?;
    }
    let account = objects.iter().find(|object| object["kind"] == "ServiceAccount").context("no ServiceAccount")?;
    let text = |field: &str| account["metadata"][field].as_str().unwrap_or_default().to_owned();
    let accounts: Api<ServiceAccount> = Api::namespaced(client.clone(), &text("namespace"));
    let spec = TokenRequestSpec { expiration_seconds: Some(TOKEN_SECONDS), ..TokenRequestSpec::default() };
    let request = TokenRequest { spec, ..TokenRequest::default() };
    let answer: TokenRequest =
        accounts.create_subresource("token", &text("name"), &PostParams::default(), &request).await?;
    Ok(answer.status.context("the API server gave no token")?.token)
}
