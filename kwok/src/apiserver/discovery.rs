//! Discovery: which groups, versions and resources there are (API concepts: "API discovery").

use super::registry::{Registry, ResourceType, api_version};
use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

/// The version that this server behaves as.
pub(crate) const VERSION: &str = "v1.35.0";

/// The content type of aggregated discovery.
pub(crate) const AGGREGATED_TYPE: &str = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";

/// A discovery document.
#[derive(Debug)]
pub(crate) struct Document {
    pub(crate) value: Value,
    pub(crate) is_aggregated: bool,
}

/// The document under `path` (without a slash at its end), if there is one; `host` is where the client found the server.
pub(crate) fn document(registry: &Registry, path: &str, aggregated: bool, host: &str) -> Option<Document> {
    let segments: Vec<&str> = path.split('/').skip(1).collect();
    let value = match segments.as_slice() {
        ["api"] if aggregated => aggregate(registry, true),
        ["apis"] if aggregated => aggregate(registry, false),
        ["api"] => json!({"kind": "APIVersions", "versions": ["v1"], "serverAddressByClientCIDRs": [
            {"clientCIDR": "0.0.0.0/0", "serverAddress": host},
        ]}),
        ["apis"] => json!({"kind": "APIGroupList", "apiVersion": "v1", "groups": groups(registry)}),
        ["apis", name] => group(registry, name)?,
        ["api", version] => resource_list(registry, "", version)?,
        ["apis", name, version] => resource_list(registry, name, version)?,
        ["version"] => version_info(),
        [] | [""] => {
            json!({"paths": ["/api", "/api/v1", "/apis", "/healthz", "/livez", "/openapi/v2", "/openapi/v3", "/readyz", "/version"]})
        }
        _ => return None,
    };
    Some(Document { value, is_aggregated: aggregated && segments.len() == 1 && segments != ["version"] })
}

fn version_info() -> Value {
    json!({
        "major": "1", "minor": "35", "gitVersion": VERSION, "gitCommit": "", "gitTreeState": "clean",
        "buildDate": "1970-01-01T00:00:00Z", "goVersion": "", "compiler": "rustc", "platform": "linux/amd64",
    })
}

fn named_groups(registry: &Registry) -> impl Iterator<Item = String> {
    registry.groups().into_iter().filter(|group| !group.is_empty())
}

fn groups(registry: &Registry) -> Vec<Value> {
    named_groups(registry).map(|name| group_value(registry, &name)).collect()
}

fn group_value(registry: &Registry, name: &str) -> Value {
    let version = |version: &String| json!({"groupVersion": api_version(name, version), "version": version});
    let versions: Vec<Value> = registry.versions(name).iter().map(version).collect();
    json!({"name": name, "versions": versions, "preferredVersion": versions.first()})
}

fn group(registry: &Registry, name: &str) -> Option<Value> {
    if name.is_empty() || registry.versions(name).is_empty() {
        return None;
    }
    let mut value = json!({"kind": "APIGroup", "apiVersion": "v1"});
    if let (Some(value), Value::Object(members)) = (value.as_object_mut(), group_value(registry, name)) {
        value.extend(members);
    }
    Some(value)
}

fn resource_list(registry: &Registry, group: &str, version: &str) -> Option<Value> {
    let resources = registry.resources(group, version);
    if resources.is_empty() {
        return None;
    }
    let entries: Vec<Value> = resources.iter().flat_map(|resource| entries(resource)).collect();
    let group_version = api_version(group, version);
    Some(json!({"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": group_version, "resources": entries}))
}

/// What a subresource is called, what it holds, and what can be done with it.
struct Subresource {
    name: &'static str,
    group: &'static str,
    version: &'static str,
    kind: String,
    verbs: &'static [&'static str],
}

fn subresources(resource: &ResourceType) -> Vec<Subresource> {
    const CHANGE: &[&str] = &["get", "patch", "update"];
    const STREAM: &[&str] = &["create", "get"];
    const PROXY: &[&str] = &["create", "delete", "get", "patch", "update"];
    let own = |name, verbs| Subresource { name, group: "", version: "", kind: resource.kind.clone(), verbs };
    let other =
        |name, group, version, kind: &str, verbs| Subresource { name, group, version, kind: kind.into(), verbs };
    let mut all = Vec::new();
    if resource.status {
        all.push(own("status", CHANGE));
    }
    if resource.scale.is_some() {
        all.push(other("scale", "autoscaling", "v1", "Scale", CHANGE));
    }
    if resource.builtin().is_some() {
        match resource.kind.as_str() {
            "Pod" => all.extend([
                other("attach", "", "v1", "PodAttachOptions", STREAM),
                other("binding", "", "v1", "Binding", &["create"][..]),
                other("eviction", "policy", "v1", "Eviction", &["create"][..]),
                own("ephemeralcontainers", CHANGE),
                other("exec", "", "v1", "PodExecOptions", STREAM),
                own("log", &["get"][..]),
                other("portforward", "", "v1", "PodPortForwardOptions", STREAM),
                other("proxy", "", "v1", "PodProxyOptions", PROXY),
                own("resize", CHANGE),
            ]),
            "Node" => all.push(other("proxy", "", "v1", "NodeProxyOptions", PROXY)),
            "Service" => all.push(other("proxy", "", "v1", "ServiceProxyOptions", PROXY)),
            "ServiceAccount" => {
                all.push(other("token", "authentication.k8s.io", "v1", "TokenRequest", &["create"][..]))
            }
            "Namespace" => all.push(own("finalize", &["update"][..])),
            _ => {}
        }
        all.sort_by_key(|one| one.name);
    }
    all
}

fn verbs(resource: &ResourceType) -> &'static [&'static str] {
    if resource.is_virtual() {
        return &["create"];
    }
    match resource.builtin() {
        // The order that definitions' resources have.
        None => &["delete", "deletecollection", "get", "list", "patch", "create", "update", "watch"],
        Some(kind) if kind.kind == "Namespace" => &["create", "delete", "get", "list", "patch", "update", "watch"],
        Some(_) => &["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"],
    }
}

fn entries(resource: &ResourceType) -> Vec<Value> {
    let mut main = json!({
        "name": resource.plural, "singularName": resource.singular, "namespaced": resource.namespaced,
        "kind": resource.kind, "verbs": verbs(resource),
    });
    if !resource.short_names.is_empty() {
        main["shortNames"] = resource.short_names.clone().into();
    }
    if !resource.categories.is_empty() {
        main["categories"] = resource.categories.clone().into();
    }
    if !resource.is_virtual() {
        main["storageVersionHash"] = storage_version_hash(resource).into();
    }
    let below = subresources(resource).into_iter().map(|one| {
        let mut entry = json!({
            "name": format!("{}/{}", resource.plural, one.name), "singularName": "", "namespaced": resource.namespaced,
        });
        if !one.group.is_empty() {
            entry["group"] = one.group.into();
            entry["version"] = one.version.into();
        }
        entry["kind"] = one.kind.into();
        entry["verbs"] = one.verbs.into();
        entry
    });
    std::iter::once(main).chain(below).collect()
}

/// By it clients see that objects are stored in another version than before (`discovery.StorageVersionHash`).
fn storage_version_hash(resource: &ResourceType) -> String {
    let group_version = &resource.storage_api_version;
    let separator = if group_version.contains('/') { "" } else { "/" };
    let digest = Sha256::digest(format!("{separator}{group_version}/{}", resource.kind));
    STANDARD.encode(&digest[..8])
}

/// All groups, or the core group alone, with all their resources in one document.
fn aggregate(registry: &Registry, core: bool) -> Value {
    let names: Vec<String> = if core { vec![String::new()] } else { named_groups(registry).collect() };
    let items: Vec<Value> = names.iter().map(|name| aggregated_group(registry, name)).collect();
    json!({"kind": "APIGroupDiscoveryList", "apiVersion": "apidiscovery.k8s.io/v2", "metadata": {}, "items": items})
}

fn aggregated_group(registry: &Registry, name: &str) -> Value {
    let version = |version: &String| {
        let resources: Vec<Value> =
            registry.resources(name, version).iter().map(|one| aggregated_resource(one)).collect();
        json!({"version": version, "resources": resources, "freshness": "Current"})
    };
    let versions: Vec<Value> = registry.versions(name).iter().map(version).collect();
    let metadata = if name.is_empty() {
        json!({"creationTimestamp": null})
    } else {
        json!({"name": name, "creationTimestamp": null})
    };
    json!({"metadata": metadata, "versions": versions})
}

fn aggregated_resource(resource: &ResourceType) -> Value {
    let kind = |group: &str, version: &str, kind: &str| json!({"group": group, "version": version, "kind": kind});
    let mut value = json!({
        "resource": resource.plural, "responseKind": kind(&resource.group, &resource.version, &resource.kind),
        "scope": if resource.namespaced { "Namespaced" } else { "Cluster" },
        "singularResource": resource.singular, "verbs": verbs(resource),
    });
    if !resource.short_names.is_empty() {
        value["shortNames"] = resource.short_names.clone().into();
    }
    if !resource.categories.is_empty() {
        value["categories"] = resource.categories.clone().into();
    }
    let below: Vec<Value> = subresources(resource)
        .into_iter()
        .map(|one| {
            let (group, version) = if one.version.is_empty() {
                (resource.group.as_str(), resource.version.as_str())
            } else {
                (one.group, one.version)
            };
            json!({"subresource": one.name, "responseKind": kind(group, version, &one.kind), "verbs": one.verbs})
        })
        .collect();
    if !below.is_empty() {
        value["subresources"] = below.into();
    }
    value
}

#[cfg(test)]
mod tests {
    use super::{Registry, document};

    #[test]
    fn resources_are_told_as_kubernetes_tells_them() {
        let list = document(&Registry::new(), "/apis/apps/v1", false, "").unwrap().value;
        let entry = list["resources"].as_array().unwrap().iter().find(|one| one["name"] == "controllerrevisions");
        // As in `api/discovery/apis__apps__v1.json` of Kubernetes.
        assert_eq!(entry.unwrap()["storageVersionHash"], "85nkx63pcBU=");
        let list = document(&Registry::new(), "/api/v1", false, "").unwrap().value;
        let pods = list["resources"].as_array().unwrap().iter().filter(|one| one["kind"] != "Pod");
        let pods: Vec<&str> = pods.filter_map(|one| one["name"].as_str()?.strip_prefix("pods/")).collect();
        assert_eq!(pods, ["attach", "binding", "eviction", "exec", "portforward", "proxy"]);
    }
}
