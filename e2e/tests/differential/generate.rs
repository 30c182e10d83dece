//! Sequences of requests, drawn from a seed.

use sawhorse_ambient::Stream;
use serde_json::{Value, json};

/// One request of a sequence. `{ns}` in paths stands for the sequence's namespace.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub(crate) method: &'static str,
    pub(crate) path: String,
    pub(crate) content_type: &'static str,
    pub(crate) body: Option<Body>,
}

/// What is sent.
#[derive(Clone, Debug)]
pub(crate) enum Body {
    /// As it is.
    Literal(Value),
    /// The object at the path as that server has it now, with this merged into it.
    Current(Value),
}

/// A kind, and how objects of it are made.
struct Kind {
    prefix: &'static str,
    api_version: &'static str,
    kind: &'static str,
    plural: &'static str,
    spec: fn(&mut Stream) -> Value,
    subresources: &'static [&'static str],
}

const KINDS: [Kind; 9] = [
    Kind {
        prefix: "/api/v1",
        api_version: "v1",
        kind: "ConfigMap",
        plural: "configmaps",
        spec: config_map,
        subresources: &[],
    },
    Kind { prefix: "/api/v1", api_version: "v1", kind: "Secret", plural: "secrets", spec: secret, subresources: &[] },
    Kind {
        prefix: "/api/v1",
        api_version: "v1",
        kind: "Pod",
        plural: "pods",
        spec: pod,
        subresources: &["status", "eviction", "binding"],
    },
    Kind {
        prefix: "/api/v1",
        api_version: "v1",
        kind: "ServiceAccount",
        plural: "serviceaccounts",
        spec: service_account,
        subresources: &[],
    },
    Kind {
        prefix: "/apis/apps/v1",
        api_version: "apps/v1",
        kind: "Deployment",
        plural: "deployments",
        spec: deployment,
        subresources: &["status", "scale"],
    },
    Kind {
        prefix: "/apis/apps/v1",
        api_version: "apps/v1",
        kind: "ReplicaSet",
        plural: "replicasets",
        spec: replica_set,
        subresources: &["status", "scale"],
    },
    Kind {
        prefix: "/apis/batch/v1",
        api_version: "batch/v1",
        kind: "Job",
        plural: "jobs",
        spec: job,
        subresources: &["status"],
    },
    Kind {
        prefix: "/apis/policy/v1",
        api_version: "policy/v1",
        kind: "PodDisruptionBudget",
        plural: "poddisruptionbudgets",
        spec: budget,
        subresources: &["status"],
    },
    Kind {
        prefix: "/apis/coordination.k8s.io/v1",
        api_version: "coordination.k8s.io/v1",
        kind: "Lease",
        plural: "leases",
        spec: lease,
        subresources: &[],
    },
];

fn one<T: Copy>(stream: &mut Stream, of: &[T]) -> T {
    of[stream.below(of.len() as u64) as usize]
}

fn chance(stream: &mut Stream, percent: u64) -> bool {
    stream.below(100) < percent
}

fn config_map(stream: &mut Stream) -> Value {
    json!({"data": {"a": one(stream, &["1", "2", ""]), one(stream, &["b", "c.d", "e_f"]): "x"}})
}

fn secret(stream: &mut Stream) -> Value {
    json!({"type": one(stream, &["Opaque", "example.com/x"]), "stringData": {"a": one(stream, &["1", "2"])}, "data": {"b": "AAE="}})
}

fn service_account(stream: &mut Stream) -> Value {
    json!({"automountServiceAccountToken": chance(stream, 50)})
}

fn pod_spec(stream: &mut Stream, restart: &[&str]) -> Value {
    let mut container = json!({"name": "main", "image": one(stream, &["nginx", "nginx:1", "a/b@sha256:0"])});
    if chance(stream, 60) {
        container["resources"] = json!({"requests": {"cpu": one(stream, &["100m", "0.5", "2", "1500m"]), "memory": one(stream, &["1Gi", "512Mi", "1e9"])}});
    }
    if chance(stream, 20) {
        container["resources"]["limits"] = json!({"cpu": "4", "memory": "8Gi"});
    }
    if chance(stream, 20) {
        container["ports"] = json!([{"containerPort": one(stream, &[80, 8080])}]);
    }
    if chance(stream, 15) {
        container["livenessProbe"] = json!({"httpGet": {"path": "/", "port": 80}});
    }
    let mut spec = json!({"containers": [container]});
    if chance(stream, 40) || restart.len() == 1 {
        spec["restartPolicy"] = json!(one(stream, restart));
    }
    if chance(stream, 20) {
        spec["nodeSelector"] = json!({"kubernetes.io/arch": "amd64"});
    }
    if chance(stream, 20) {
        spec["tolerations"] = json!([{"key": "a", "operator": "Exists"}]);
    }
    if chance(stream, 15) {
        spec["volumes"] = json!([{"name": "tmp", "emptyDir": {}}]);
    }
    if chance(stream, 15) {
        spec["terminationGracePeriodSeconds"] = json!(one(stream, &[0, 5, 60]));
    }
    spec
}

fn pod(stream: &mut Stream) -> Value {
    json!({"spec": pod_spec(stream, &["Always", "OnFailure", "Never"])})
}

fn template(stream: &mut Stream, restart: &[&str]) -> Value {
    json!({"metadata": {"labels": {"app": "web"}}, "spec": pod_spec(stream, restart)})
}

fn deployment(stream: &mut Stream) -> Value {
    let mut spec = json!({"selector": {"matchLabels": {"app": "web"}}, "template": template(stream, &["Always"])});
    if chance(stream, 60) {
        spec["replicas"] = json!(stream.below(4));
    }
    if chance(stream, 30) {
        spec["strategy"] = one(stream, &[0, 1])
            .eq(&0)
            .then(|| json!({"type": "Recreate"}))
            .unwrap_or_else(|| json!({"rollingUpdate": {"maxSurge": "50%"}}));
    }
    json!({ "spec": spec })
}

fn replica_set(stream: &mut Stream) -> Value {
    json!({"spec": {"replicas": stream.below(3), "selector": {"matchLabels": {"app": "web"}}, "template": template(stream, &["Always"])}})
}

fn job(stream: &mut Stream) -> Value {
    let mut spec = json!({"template": {"spec": pod_spec(stream, &["Never"])}, "suspend": true});
    if chance(stream, 40) {
        spec["backoffLimit"] = json!(stream.below(5));
    }
    json!({ "spec": spec })
}

fn budget(stream: &mut Stream) -> Value {
    let mut spec = json!({"selector": {"matchLabels": {"app": one(stream, &["web", "other"])}}});
    spec[one(stream, &["minAvailable", "maxUnavailable"])] =
        one(stream, &[0, 1]).eq(&0).then(|| json!(1)).unwrap_or_else(|| json!("50%"));
    json!({ "spec": spec })
}

fn lease(stream: &mut Stream) -> Value {
    json!({"spec": {"holderIdentity": one(stream, &["a", "b"]), "leaseDurationSeconds": 15, "renewTime": "2026-01-01T00:00:00.000000Z"}})
}

/// What makes an object wrong: a place, and what is put there (nothing: the field is taken away).
const WRONG: [(&str, &str, Option<&str>); 24] = [
    ("", "/metadata/name", Some(r#""UPPER""#)),
    ("", "/metadata/name", Some(r#""a b""#)),
    ("", "/metadata/name", None),
    ("", "/metadata/labels", Some(r#"{"bad key!": "x"}"#)),
    ("", "/metadata/labels", Some(r#"{"a": "bad value!"}"#)),
    ("", "/metadata/annotations", Some(r#"{"bad key!": "x"}"#)),
    ("", "/metadata/finalizers", Some(r#"["nothing"]"#)),
    ("", "/metadata/namespace", Some(r#""elsewhere""#)),
    ("", "/kind", Some(r#""Other""#)),
    ("", "/apiVersion", Some(r#""other/v1""#)),
    ("", "/metadata/resourceVersion", Some(r#""5""#)),
    ("ConfigMap", "/data", Some(r#"{"bad key": "x"}"#)),
    ("ConfigMap", "/data", Some(r#"{"a": 1}"#)),
    ("Secret", "/data", Some(r#"{"a": "not base64!"}"#)),
    ("Pod", "/spec/containers", Some("[]")),
    ("Pod", "/spec/containers/0/image", None),
    ("Pod", "/spec/containers/0/name", Some(r#""Bad_Name""#)),
    ("Pod", "/spec/restartPolicy", Some(r#""Sometimes""#)),
    ("Deployment", "/spec/replicas", Some("-1")),
    ("Deployment", "/spec/selector", None),
    ("Deployment", "/spec/template/metadata/labels/app", Some(r#""other""#)),
    ("Job", "/spec/template/spec/restartPolicy", Some(r#""Always""#)),
    ("PodDisruptionBudget", "/spec/minAvailable", Some(r#""many""#)),
    ("Lease", "/spec/leaseDurationSeconds", Some("-1")),
];

fn spoil(stream: &mut Stream, kind: &str, object: &mut Value) {
    let fitting: Vec<_> = WRONG.iter().filter(|(of, ..)| of.is_empty() || *of == kind).collect();
    let (_, pointer, what) = fitting[stream.below(fitting.len() as u64) as usize];
    let (parent, field) = pointer.rsplit_once('/').unwrap();
    let Some(Value::Object(parent)) = object.pointer_mut(parent) else { return };
    match what {
        Some(value) => parent.insert(field.to_owned(), serde_json::from_str(value).unwrap()),
        None => parent.remove(field),
    };
}

/// Requests one after another about a few objects of one namespace.
pub(crate) fn sequence(stream: &mut Stream, length: usize) -> Vec<Request> {
    let first = stream.below(KINDS.len() as u64) as usize;
    let kinds = [&KINDS[first], &KINDS[(first + 1) % KINDS.len()]];
    // Something to work on comes first.
    let mut requests = vec![create(stream, kinds[0], "a", false)];
    while requests.len() < length {
        let kind = one(stream, &kinds);
        let name = one(stream, &["a", "a", "b"]);
        requests.push(any(stream, kind, name));
    }
    requests
}

fn any(stream: &mut Stream, kind: &Kind, name: &str) -> Request {
    match stream.below(100) {
        0..18 => create(stream, kind, name, false),
        18..28 => create(stream, kind, name, true),
        28..34 => get(kind, name),
        34..44 => list(stream, kind),
        44..54 => replace(stream, kind, name),
        54..64 => merge(stream, kind, name, "application/merge-patch+json"),
        64..72 => merge(stream, kind, name, "application/strategic-merge-patch+json"),
        72..78 => json_patch(stream, kind, name),
        78..86 => apply(stream, kind, name),
        86..92 => delete(stream, kind, name),
        _ => subresource(stream, kind, name),
    }
}

fn collection(kind: &Kind) -> String {
    format!("{}/namespaces/{{ns}}/{}", kind.prefix, kind.plural)
}

fn object(stream: &mut Stream, kind: &Kind, name: &str) -> Value {
    let mut object = (kind.spec)(stream);
    object["apiVersion"] = json!(kind.api_version);
    object["kind"] = json!(kind.kind);
    object["metadata"] = json!({ "name": name });
    if chance(stream, 50) {
        object["metadata"]["labels"] = json!({"app": one(stream, &["web", "api"])});
    }
    if chance(stream, 10) {
        object["metadata"]["finalizers"] = json!(["example.com/hold"]);
    }
    object
}

fn request(method: &'static str, path: String, body: Option<Body>) -> Request {
    Request { method, path, content_type: "application/json", body }
}

fn create(stream: &mut Stream, kind: &Kind, name: &str, wrong: bool) -> Request {
    let mut object = object(stream, kind, name);
    if wrong {
        spoil(stream, kind.kind, &mut object);
    }
    let query = match stream.below(12) {
        0 => "?dryRun=All",
        1 => "?fieldValidation=Strict",
        _ => "",
    };
    if query.ends_with("Strict") {
        object["unheardOf"] = json!(1);
    }
    request("POST", collection(kind) + query, Some(Body::Literal(object)))
}

fn get(kind: &Kind, name: &str) -> Request {
    request("GET", format!("{}/{name}", collection(kind)), None)
}

fn list(stream: &mut Stream, kind: &Kind) -> Request {
    let query = one(
        stream,
        &[
            "",
            "?labelSelector=app%3Dweb",
            "?labelSelector=app%21%3Dweb",
            "?labelSelector=app+in+%28web%2Capi%29",
            "?labelSelector=%21app",
            "?fieldSelector=metadata.name%3Da",
            "?fieldSelector=spec.nothing%3Da",
            "?limit=1",
            "?labelSelector=app+near+web",
            "?resourceVersion=0",
        ],
    );
    request("GET", collection(kind) + query, None)
}

fn change(stream: &mut Stream, kind: &Kind) -> Value {
    match stream.below(10) {
        0 => json!({"metadata": {"labels": {"changed": "yes"}}}),
        1 => json!({"metadata": {"labels": {"app": null}}}),
        2 => json!({"metadata": {"annotations": {"note": "x"}}}),
        3 => json!({"metadata": {"finalizers": null}}),
        4 => json!({"metadata": {"labels": {"bad key!": "x"}}}),
        5 => json!({"metadata": {"name": "other"}}),
        6 => json!({"spec": {"replicas": 2}}),
        7 => json!({"spec": {"template": {"metadata": {"annotations": {"restarted": "now"}}}}}),
        _ => (kind.spec)(stream),
    }
}

fn replace(stream: &mut Stream, kind: &Kind, name: &str) -> Request {
    let mut changed = change(stream, kind);
    match stream.below(6) {
        0 => changed["metadata"]["resourceVersion"] = json!("1"),
        1 => changed["metadata"]["resourceVersion"] = Value::Null,
        2 => changed["metadata"]["uid"] = json!("another"),
        _ => {}
    }
    request("PUT", format!("{}/{name}", collection(kind)), Some(Body::Current(changed)))
}

fn merge(stream: &mut Stream, kind: &Kind, name: &str, content_type: &'static str) -> Request {
    let path = format!("{}/{name}", collection(kind));
    Request { method: "PATCH", path, content_type, body: Some(Body::Literal(change(stream, kind))) }
}

fn json_patch(stream: &mut Stream, kind: &Kind, name: &str) -> Request {
    let operations = match stream.below(6) {
        0 => json!([{"op": "add", "path": "/metadata/annotations", "value": {"a": "b"}}]),
        1 => json!([{"op": "remove", "path": "/metadata/labels"}]),
        2 => json!([{"op": "test", "path": "/metadata/name", "value": "z"}]),
        3 => json!([{"op": "replace", "path": "/metadata/labels/app", "value": "api"}]),
        4 => json!([{"op": "remove", "path": "/nothing/here"}]),
        _ => {
            json!([{"op": "add", "path": "/metadata/labels", "value": {"c": "d"}}, {"op": "copy", "from": "/metadata/labels/c", "path": "/metadata/labels/e"}])
        }
    };
    let path = format!("{}/{name}", collection(kind));
    Request {
        method: "PATCH",
        path,
        content_type: "application/json-patch+json",
        body: Some(Body::Literal(operations)),
    }
}

fn apply(stream: &mut Stream, kind: &Kind, name: &str) -> Request {
    let mut object = object(stream, kind, name);
    if chance(stream, 10) {
        spoil(stream, kind.kind, &mut object);
    }
    let manager = one(stream, &["one", "two"]);
    let force = if chance(stream, 30) { "&force=true" } else { "" };
    let path = format!("{}/{name}?fieldManager={manager}{force}", collection(kind));
    Request { method: "PATCH", path, content_type: "application/apply-patch+yaml", body: Some(Body::Literal(object)) }
}

fn delete(stream: &mut Stream, kind: &Kind, name: &str) -> Request {
    let options = match stream.below(7) {
        0 => json!({"gracePeriodSeconds": 0}),
        1 => json!({"gracePeriodSeconds": 5}),
        2 => json!({"preconditions": {"uid": "another"}}),
        3 => json!({"propagationPolicy": one(stream, &["Foreground", "Orphan", "Background", "Sideways"])}),
        4 => json!({"dryRun": ["All"]}),
        5 => return request("DELETE", collection(kind) + "?labelSelector=app%3Dweb", None),
        _ => return request("DELETE", format!("{}/{name}", collection(kind)), None),
    };
    request("DELETE", format!("{}/{name}", collection(kind)), Some(Body::Literal(options)))
}

fn subresource(stream: &mut Stream, kind: &Kind, name: &str) -> Request {
    if kind.subresources.is_empty() {
        return get(kind, name);
    }
    let which = one(stream, kind.subresources);
    let path = format!("{}/{name}/{which}", collection(kind));
    match which {
        "eviction" => {
            let body = json!({"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": name}});
            request("POST", path, Some(Body::Literal(body)))
        }
        "binding" => {
            let body = json!({"apiVersion": "v1", "kind": "Binding", "metadata": {"name": name}, "target": {"kind": "Node", "name": "node-1"}});
            request("POST", path, Some(Body::Literal(body)))
        }
        "scale" => match stream.below(3) {
            0 => request("GET", path, None),
            1 => request("PUT", path, Some(Body::Current(json!({"spec": {"replicas": stream.below(5)}})))),
            _ => Request {
                method: "PATCH",
                path,
                content_type: "application/merge-patch+json",
                body: Some(Body::Literal(json!({"spec": {"replicas": stream.below(5)}}))),
            },
        },
        _ => {
            let body = json!({"metadata": {"labels": {"in": "status"}}, "spec": {"replicas": 9}, "status": {"observedGeneration": 1}});
            Request {
                method: "PATCH",
                path,
                content_type: "application/merge-patch+json",
                body: Some(Body::Literal(body)),
            }
        }
    }
}
