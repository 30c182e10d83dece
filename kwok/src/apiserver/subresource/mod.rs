//! What can be asked of an object below its own path.
//!
//! - `status` (here), [`scale`], [`binding`], [`eviction`], [`token`]
//! - [`reviews`] — questions that are answered and not stored

pub(crate) mod binding;
pub(crate) mod eviction;
pub(crate) mod reviews;
pub(crate) mod scale;
pub(crate) mod token;

use super::{
    negotiation::read_object,
    patch,
    state::{Call, State},
    status::ApiError,
    value::{items, text_or_empty},
    verbs::{
        Answer, AnswerBody, read,
        update::{self, Part, existing},
    },
};
use bytes::Bytes;
use http::{HeaderMap, Method, StatusCode};
use serde_json::Value;

/// Answers a request to a subresource.
pub(crate) fn dispatch(
    state: &mut State,
    call: &Call,
    name: &str,
    method: &Method,
    headers: &HeaderMap,
    body: &Bytes,
) -> Result<Answer, ApiError> {
    let resource = &call.resource;
    let is_builtin = resource.builtin().is_some();
    let part = match (name, resource.kind.as_str()) {
        ("status", _) if resource.status => Part::Status,
        ("scale", _) if resource.scale.is_some() => return scale::dispatch(state, call, method, headers, body),
        ("binding", "Pod") if is_builtin => {
            return post(method, || binding::bind(state, call, &read_object(headers, body)?));
        }
        ("eviction", "Pod") if is_builtin => {
            return post(method, || eviction::evict(state, call, &read_object(headers, body)?));
        }
        ("log", "Pod") if is_builtin => return log(state, call, method),
        ("exec" | "attach", "Pod") if is_builtin => {
            let pod = existing(state, call)?;
            check_container(pod.value(), call.query.container.as_deref()).map_err(ApiError::bad_request)?;
            return no_containers(name);
        }
        ("portforward" | "proxy", "Pod") | ("proxy", "Node" | "Service") if is_builtin => return no_containers(name),
        ("ephemeralcontainers", "Pod") if is_builtin => Part::EphemeralContainers,
        ("resize", "Pod") if is_builtin => Part::Resize,
        ("finalize", "Namespace") if is_builtin => Part::Finalize,
        ("token", "ServiceAccount") if is_builtin => {
            return post(method, || token::request(state, call, read_object(headers, body)?));
        }
        _ if !is_builtin => {
            return Err(ApiError::not_found(&resource.group_resource(), &call.object_name().name));
        }
        _ => return Err(ApiError::no_such_path()),
    };
    change(state, call, part, method, headers, body)
}

fn change(
    state: &mut State,
    call: &Call,
    part: Part,
    method: &Method,
    headers: &HeaderMap,
    body: &Bytes,
) -> Result<Answer, ApiError> {
    match method.as_str() {
        "GET" => read::get(state, call),
        "PUT" => update::replace(state, call, part, read_object(headers, body)?),
        "PATCH" => update::patch(state, call, part, &patch::read(headers, body, call)?),
        _ => Err(ApiError::method_not_allowed()),
    }
}

fn post(method: &Method, answer: impl FnOnce() -> Result<Answer, ApiError>) -> Result<Answer, ApiError> {
    if method == Method::POST { answer() } else { Err(ApiError::method_not_allowed()) }
}

/// Fake containers write nothing.
fn log(state: &State, call: &Call, method: &Method) -> Result<Answer, ApiError> {
    if method != Method::GET {
        return Err(ApiError::method_not_allowed());
    }
    let pod = existing(state, call)?;
    check_container(pod.value(), call.query.container.as_deref()).map_err(ApiError::bad_request)?;
    Ok(Answer { code: StatusCode::OK, body: AnswerBody::Text(Bytes::new()), warnings: Vec::new() })
}

/// Whether it is clear which of the pod's containers is meant (`pkg/registry/core/pod/strategy.go`, `podHasContainerWithName`).
fn check_container(pod: &Value, wanted: Option<&str>) -> Result<(), String> {
    let name = text_or_empty(pod, &["metadata", "name"]);
    let names = |list: &str| {
        let containers = items(pod, &["spec", list]).iter();
        containers.map(|container| text_or_empty(container, &["name"]).to_owned()).collect::<Vec<_>>()
    };
    let [main, init, ephemeral] = ["containers", "initContainers", "ephemeralContainers"].map(names);
    match wanted {
        Some(wanted) if [&main, &init, &ephemeral].iter().any(|list| list.iter().any(|name| name == wanted)) => Ok(()),
        Some(wanted) => Err(format!("container {wanted} is not valid for pod {name}")),
        None if main.len() == 1 => Ok(()),
        None => {
            let mut message =
                format!("a container name must be specified for pod {name}, choose one of: [{}]", main.join(" "));
            if !init.is_empty() {
                message.push_str(&format!(" or one of the init containers: [{}]", init.join(" ")));
            }
            if !ephemeral.is_empty() {
                message.push_str(&format!(" or one of the ephemeral containers: [{}]", ephemeral.join(" ")));
            }
            Err(message)
        }
    }
}

fn no_containers(name: &str) -> Result<Answer, ApiError> {
    Err(ApiError::not_implemented(format!("`{name}` needs a real container: the nodes of this control plane are fake")))
}

#[cfg(test)]
mod tests {
    use super::check_container;
    use rstest::rstest;
    use serde_json::json;

    #[rstest]
    #[case(&["a"], None, Ok(()))]
    #[case(&["a", "b"], Some("b"), Ok(()))]
    #[case(&["a"], Some("c"), Err("container c is not valid for pod web"))]
    #[case(&["a", "b"], None, Err("a container name must be specified for pod web, choose one of: [a b]"))]
    fn logs_are_of_one_container(
        #[case] names: &[&str],
        #[case] wanted: Option<&str>,
        #[case] expected: Result<(), &str>,
    ) {
        let containers: Vec<_> = names.iter().map(|name| json!({ "name": name })).collect();
        let pod = json!({"metadata": {"name": "web"}, "spec": {"containers": containers}});
        assert_eq!(check_container(&pod, wanted), expected.map_err(str::to_owned));
    }
}
