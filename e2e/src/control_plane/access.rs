//! What the controller may do in a real cluster: exactly what its manifests say.

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
use serde_json::Value;

/// The manifests that people apply.
const MANIFESTS: &str = include_str!("../../../controller/deploy/controller.yaml");
/// Kinds of the manifests that say who the controller is and what it may do.
const KINDS: [&str; 6] = ["Namespace", "ServiceAccount", "ClusterRole", "ClusterRoleBinding", "Role", "RoleBinding"];
/// How long a token is good for, in seconds: longer than any run.
const TOKEN_SECONDS: i64 = 24 * 3600;

/// The objects of the manifests that are about access, in their order.
///
/// # Errors
/// The manifests cannot be read.
pub(super) fn objects() -> anyhow::Result<Vec<Value>> {
    let objects: Vec<Value> = serde_saphyr::from_multiple(MANIFESTS).context("the controller's manifests")?;
    Ok(objects.into_iter().filter(|object| KINDS.contains(&object["kind"].as_str().unwrap_or_default())).collect())
}

/// Applies them and returns a token of the controller's ServiceAccount.
pub(super) async fn token(client: &Client) -> anyhow::Result<String> {
    let objects = objects()?;
    for object in &objects {
        let what = || format!("`{}` of the controller's manifests", object["kind"].as_str().unwrap_or_default());
        let object: DynamicObject = serde_json::from_value(object.clone()).with_context(what)?;
        let types = object.types.clone().unwrap_or_default();
        let (resource, capabilities) = pinned_kind(client, &(&types).try_into()?).await.with_context(what)?;
        let api: Api<DynamicObject> = match (capabilities.scope, &object.metadata.namespace) {
            (Scope::Namespaced, Some(namespace)) => Api::namespaced_with(client.clone(), namespace, &resource),
            _ => Api::all_with(client.clone(), &resource),
        };
        let name = object.metadata.name.clone().unwrap_or_default();
        api.patch(&name, &PatchParams::apply("sawhorse-e2e"), &Patch::Apply(&object)).await.with_context(what)?;
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
