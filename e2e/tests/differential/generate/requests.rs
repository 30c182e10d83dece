//! One request of each verb.

use super::{Body, Request, Step, and, chance, kinds::Kind, one, wrong::spoil};
use sawhorse_ambient::Stream;
use serde_json::{Value, json};

const MERGE: &str = "application/merge-patch+json";
const STRATEGIC: &str = "application/strategic-merge-patch+json";
const APPLY: &str = "application/apply-patch+yaml";
const TABLE: &str = "application/json;as=Table;v=v1;g=meta.k8s.io";

/// An object of the kind.
pub(super) fn object(stream: &mut Stream, kind: &Kind, name: &str) -> Value {
    let mut object = (kind.spec)(stream);
    object["apiVersion"] = json!(kind.api_version);
    object["kind"] = json!(kind.kind);
    object["metadata"] = json!({"name": kind.name(name)});
    if chance(stream, 50) || !kind.namespaced {
        object["metadata"]["labels"] = json!({"app": one(stream, &["web", "api"])});
    }
    if !kind.namespaced {
        object["metadata"]["labels"]["of"] = json!("{ns}");
    }
    if chance(stream, 10) {
        object["metadata"]["finalizers"] = json!(["example.com/hold"]);
    }
    if chance(stream, 10) {
        object["metadata"]["annotations"] = json!({"note": "x"});
    }
    object
}

pub(super) fn create(stream: &mut Stream, kind: &Kind, name: &str, is_wrong: bool) -> Request {
    let mut object = object(stream, kind, name);
    if is_wrong {
        spoil(stream, kind, &mut object);
    }
    let query = write_query(stream);
    if query.starts_with("fieldValidation") {
        object["unheardOf"] = json!(1);
        if let Some(spec) = object.get_mut("spec").and_then(Value::as_object_mut) {
            spec.insert("unheardOf".into(), json!({"a": 1}));
        }
    }
    if chance(stream, 4) && object["metadata"].is_object() {
        // Names are drawn behind what follows from the object, so that lists have the same order in both.
        let sum: u32 = object.to_string().bytes().map(u32::from).sum();
        let prefix = json!(format!("drawn-{:04}-", sum % 10_000));
        if let Some(metadata) = object["metadata"].as_object_mut() {
            metadata.remove("name");
            metadata.insert("generateName".into(), prefix);
        }
    }
    let path = and(kind.collection(), query);
    Request { agent: agent(stream), ..Request::new("create", kind.kind, "POST", path).with(object) }
}

/// Writers without a field manager are told apart by their user agents.
fn agent(stream: &mut Stream) -> &'static str {
    one(stream, &["differential/1.0 (test)", "differential/1.0 (test)", "other/2", "bare"])
}

pub(super) fn get(stream: &mut Stream, kind: &Kind, name: &str) -> Request {
    let accept = one(
        stream,
        &[
            "application/json",
            "application/json",
            TABLE,
            "application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io",
            "application/json;as=Table;v=v1alpha1;g=meta.k8s.io,application/json",
            "application/xml",
        ],
    );
    Request { accept, ..Request::new("get", kind.kind, "GET", kind.path(name)) }
}

/// A list of the kind; of cluster-wide kinds only the sequence's own.
fn list_path(kind: &Kind, query: &str) -> String {
    let path = and(kind.collection(), query);
    if kind.namespaced {
        path
    } else if path.contains("labelSelector=") {
        path.replace("labelSelector=", "labelSelector=of%3D{ns}%2C")
    } else {
        and(path, "labelSelector=of%3D{ns}")
    }
}

const SELECTORS: [&str; 22] = [
    "",
    "",
    "labelSelector=app%3Dweb",
    "labelSelector=app%21%3Dweb",
    "labelSelector=app+in+%28web%2Capi%29",
    "labelSelector=app+notin+%28web%29%2Cchanged",
    "labelSelector=%21app",
    "labelSelector=app+near+web",
    "labelSelector=bad+key%21%3D1",
    "labelSelector=app%3Dbad%20value",
    "labelSelector=%2C",
    "labelSelector=app%3D%3Dweb%2Capp",
    "labelSelector=app%3E5",
    "fieldSelector=metadata.name%3Da",
    "fieldSelector=metadata.name%21%3Da",
    "fieldSelector=metadata.namespace%3Dx",
    "fieldSelector=spec.nothing%3Da",
    "fieldSelector=status.phase%3DPending",
    "fieldSelector=spec.mode%3Dfast",
    "fieldSelector=spec.nodeName%3D",
    "fieldSelector=metadata.name",
    "fieldSelector=spec.unschedulable%3Dtrue",
];

const VERSIONS: [&str; 11] = [
    "",
    "resourceVersion=0",
    "resourceVersion=1",
    "resourceVersion=garbage",
    "resourceVersion=999999999999",
    "resourceVersion=0&resourceVersionMatch=NotOlderThan",
    "resourceVersion=0&resourceVersionMatch=Exact",
    "resourceVersion=1&resourceVersionMatch=NotOlderThan",
    "resourceVersionMatch=Exact",
    "resourceVersion=1&resourceVersionMatch=Sometimes",
    "limit=1&resourceVersion=1&resourceVersionMatch=NotOlderThan",
];

/// What a reader accepts: JSON most often, else a table or the objects' metadata alone, which `metadata` asks for.
fn accepted(stream: &mut Stream, metadata: &'static str) -> &'static str {
    one(stream, &["application/json", "application/json", "application/json", TABLE, metadata])
}

pub(super) fn list(stream: &mut Stream, kind: &Kind) -> Step {
    let accept = accepted(stream, "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io");
    let query = match stream.below(20) {
        0..4 => one(stream, &VERSIONS),
        4 => one(
            stream,
            &["limit=many", "limit=-1", "continue=garbage", "continue=garbage&resourceVersion=5", "timeoutSeconds=x"],
        ),
        5 => {
            let request = Request::new("list", kind.kind, "GET", list_path(kind, "resourceVersionMatch=Exact"));
            return Step::One(Request { since: Some(stream.below(1000)), ..request });
        }
        _ => one(stream, &SELECTORS),
    };
    Step::One(Request { accept, ..Request::new("list", kind.kind, "GET", list_path(kind, query)) })
}

/// A list in pages.
pub(super) fn pages(stream: &mut Stream, kind: &Kind) -> Step {
    let accept = one(stream, &["application/json", "application/json", TABLE]);
    let query =
        one(stream, &["limit=1", "limit=2", "limit=3", "limit=2&labelSelector=app%3Dweb", "limit=1&resourceVersion=0"]);
    Step::Pages(Request { accept, ..Request::new("list", kind.kind, "GET", list_path(kind, query)) })
}

/// What changes an object, as a merge patch.
pub(super) fn change(stream: &mut Stream, kind: &Kind) -> Value {
    if !kind.changes.is_empty() && chance(stream, 50) {
        return serde_json::from_str(one(stream, kind.changes)).unwrap();
    }
    match stream.below(13) {
        0 => json!({"metadata": {"labels": {"changed": "yes"}}}),
        1 => json!({"metadata": {"labels": {"app": null}}}),
        2 => json!({"metadata": {"annotations": {"note": "x"}}}),
        3 => json!({"metadata": {"finalizers": null}}),
        4 => json!({"metadata": {"labels": {"bad key!": "x"}}}),
        5 => json!({"metadata": {"name": "other"}}),
        6 => json!({"spec": {"replicas": 2}}),
        7 => json!({"metadata": {"finalizers": ["example.com/more"]}}),
        8 => {
            json!({"metadata": {"creationTimestamp": null, "generation": 77, "deletionTimestamp": "2020-01-01T00:00:00Z"}})
        }
        9 => json!({"metadata": {"managedFields": []}}),
        10 => json!({}),
        _ => (kind.spec)(stream),
    }
}

/// Parameters of writes; most have none.
const WRITE_QUERIES: [&str; 10] = [
    "dryRun=All",
    "dryRun=Some",
    "fieldManager=one",
    "fieldManager=one",
    "fieldManager=two",
    "fieldValidation=Strict",
    "fieldValidation=Ignore",
    "fieldValidation=Warn",
    "fieldValidation=Some",
    "force=true",
];

fn write_query(stream: &mut Stream) -> &'static str {
    if chance(stream, 50) { "" } else { one(stream, &WRITE_QUERIES) }
}

pub(super) fn replace(stream: &mut Stream, kind: &Kind, name: &str) -> Request {
    let mut changed = change(stream, kind);
    if changed.get("metadata").is_none() {
        changed["metadata"] = json!({});
    }
    match stream.below(8) {
        0 => changed["metadata"]["resourceVersion"] = json!("1"),
        1 => changed["metadata"]["resourceVersion"] = Value::Null,
        2 => changed["metadata"]["uid"] = json!("another"),
        3 => changed["metadata"]["managedFields"] = Value::Null,
        4 => changed["unheardOf"] = json!(true),
        _ => {}
    }
    let path = and(kind.path(name), write_query(stream));
    let request = Request::new("update", kind.kind, "PUT", path);
    Request { body: Some(Body::Current(changed)), agent: agent(stream), ..request }
}

fn patch_request(kind: &Kind, path: String, content_type: &'static str, body: Value) -> Request {
    let verb = match content_type {
        MERGE => "patch (merge)",
        STRATEGIC => "patch (strategic)",
        APPLY => "patch (apply)",
        _ => "patch (JSON)",
    };
    Request { content_type, ..Request::new(verb, kind.kind, "PATCH", path).with(body) }
}

pub(super) fn merge(stream: &mut Stream, kind: &Kind, name: &str) -> Request {
    let body = if chance(stream, 4) { json!([1]) } else { change(stream, kind) };
    let path = and(kind.path(name), write_query(stream));
    Request { agent: agent(stream), ..patch_request(kind, path, MERGE, body) }
}

const DIRECTIVES: [&str; 20] = [
    r#"{"metadata": {"labels": {"$patch": "replace", "z": "1"}}}"#,
    r#"{"metadata": {"labels": {"$patch": "delete"}}}"#,
    r#"{"metadata": {"$patch": "merge", "annotations": {"n": "1"}}}"#,
    r#"{"metadata": {"labels": {"$patch": "rename"}}}"#,
    r#"{"metadata": {"labels": {"$retainKeys": ["q"], "q": "1"}}}"#,
    r#"{"metadata": {"finalizers": ["example.com/a"]}}"#,
    r#"{"metadata": {"$deleteFromPrimitiveList/finalizers": ["example.com/hold"]}}"#,
    r#"{"metadata": {"ownerReferences": [{"apiVersion": "v1", "kind": "Pod", "name": "x", "uid": "11111111-1111-1111-1111-111111111111"}]}}"#,
    r#"{"metadata": {"ownerReferences": [{"$patch": "delete", "uid": "11111111-1111-1111-1111-111111111111"}]}}"#,
    r#"{"spec": {"template": {"spec": {"containers": [{"name": "main", "env": [{"name": "B", "value": "2"}]}]}}}}"#,
    r#"{"spec": {"template": {"spec": {"containers": [{"name": "side", "image": "s"}]}}}}"#,
    r#"{"spec": {"template": {"spec": {"containers": [{"$patch": "delete", "name": "side"}]}}}}"#,
    r#"{"spec": {"template": {"spec": {"containers": [{"image": "nameless"}]}}}}"#,
    r#"{"spec": {"template": {"spec": {"$setElementOrder/containers": [{"name": "side"}, {"name": "main"}], "containers": [{"name": "side", "image": "t"}]}}}}"#,
    r#"{"spec": {"template": {"spec": {"volumes": [{"$patch": "replace"}, {"name": "v", "emptyDir": {}}]}}}}"#,
    r#"{"spec": {"template": {"spec": {"tolerations": [{"key": "t", "operator": "Exists"}]}}}}"#,
    r#"{"spec": {"ports": [{"port": 80, "name": "a"}, {"port": 90, "name": "b"}]}}"#,
    r#"{"spec": {"containers": [{"name": "main", "image": "changed"}]}}"#,
    r#"{"status": {"conditions": [{"type": "A", "status": "True"}]}}"#,
    r#"{"data": {"$patch": "replace", "only": "1"}}"#,
];

pub(super) fn strategic(stream: &mut Stream, kind: &Kind, name: &str) -> Request {
    let body =
        if chance(stream, 60) { serde_json::from_str(one(stream, &DIRECTIVES)).unwrap() } else { change(stream, kind) };
    let path = and(kind.path(name), write_query(stream));
    Request { agent: agent(stream), ..patch_request(kind, path, STRATEGIC, body) }
}

const OPERATIONS: [&str; 13] = [
    r#"[{"op": "add", "path": "/metadata/annotations", "value": {"a": "b"}}]"#,
    r#"[{"op": "remove", "path": "/metadata/labels"}]"#,
    r#"[{"op": "test", "path": "/metadata/name", "value": "z"}]"#,
    r#"[{"op": "replace", "path": "/metadata/labels/app", "value": "api"}]"#,
    r#"[{"op": "remove", "path": "/nothing/here"}]"#,
    r#"[{"op": "add", "path": "/metadata/labels", "value": {"c": "d"}}, {"op": "copy", "from": "/metadata/labels/c", "path": "/metadata/labels/e"}]"#,
    r#"[{"op": "add", "path": "/metadata/finalizers", "value": []}, {"op": "add", "path": "/metadata/finalizers/-", "value": "example.com/b"}]"#,
    r#"[{"op": "add", "path": "/metadata/labels/a~1b", "value": "x"}]"#,
    r#"[{"op": "replace", "path": "/spec/replicas", "value": 4}]"#,
    r#"[{"op": "replace", "path": "/spec/replicas", "value": "four"}]"#,
    r#"[{"op": "move", "from": "/metadata/annotations", "path": "/metadata/labels"}]"#,
    r#"[{"op": "jump", "path": "/metadata"}]"#,
    r#"{"not": "a list"}"#,
];

pub(super) fn json_patch(stream: &mut Stream, kind: &Kind, name: &str) -> Request {
    let body = serde_json::from_str(one(stream, &OPERATIONS)).unwrap();
    let path = and(kind.path(name), write_query(stream));
    Request { agent: agent(stream), ..patch_request(kind, path, "application/json-patch+json", body) }
}

/// An apply of an object as it is made anew, by one of two managers.
pub(super) fn apply(stream: &mut Stream, kind: &Kind, name: &str) -> Request {
    let mut object = object(stream, kind, name);
    if chance(stream, 8) {
        spoil(stream, kind, &mut object);
    }
    apply_object(stream, kind, name, object)
}

pub(super) fn apply_object(stream: &mut Stream, kind: &Kind, name: &str, object: Value) -> Request {
    let manager = one(stream, &["fieldManager=one", "fieldManager=one", "fieldManager=two"]);
    let manager = if chance(stream, 4) { "" } else { manager };
    let further = one(
        stream,
        &["", "", "", "", "force=true", "force=true", "dryRun=All", "fieldValidation=Strict", "force=false"],
    );
    let path = and(and(kind.path(name), manager), further);
    patch_request(kind, path, APPLY, object)
}

pub(super) fn delete(stream: &mut Stream, kind: &Kind, name: &str) -> Request {
    let path = kind.path(name);
    let request = |path| Request::new("delete", kind.kind, "DELETE", path);
    let options = match stream.below(16) {
        0 => json!({"gracePeriodSeconds": 0}),
        1 => json!({"gracePeriodSeconds": 5}),
        2 => json!({"preconditions": {"uid": "another"}}),
        3 => json!({"preconditions": {"resourceVersion": "1"}}),
        4 => json!({"propagationPolicy": one(stream, &["Foreground", "Orphan", "Background", "Sideways"])}),
        5 => json!({"dryRun": ["All"]}),
        6 => json!({"orphanDependents": chance(stream, 50), "propagationPolicy": "Orphan"}),
        7 => json!({"orphanDependents": true}),
        8 => json!({"gracePeriodSeconds": -1}),
        9 => json!({"dryRun": ["Some"]}),
        10 | 11 => return delete_collection(stream, kind),
        12 => {
            return request(and(
                path,
                one(
                    stream,
                    &["gracePeriodSeconds=1", "propagationPolicy=Foreground", "dryRun=All", "gracePeriodSeconds=x"],
                ),
            ));
        }
        _ => return request(path),
    };
    request(path).with(options)
}

pub(super) fn delete_collection(stream: &mut Stream, kind: &Kind) -> Request {
    let query = one(
        stream,
        &[
            "labelSelector=app%3Dweb",
            "labelSelector=app%3Dapi",
            "fieldSelector=metadata.name%3Db",
            "dryRun=All",
            "labelSelector=app+near+x",
        ],
    );
    Request::new("deletecollection", kind.kind, "DELETE", list_path(kind, query))
}

pub(super) fn subresource(stream: &mut Stream, kind: &Kind, name: &str) -> Request {
    if kind.subresources.is_empty() {
        return get(stream, kind, name);
    }
    let which = one(stream, kind.subresources);
    let path = format!("{}/{which}", kind.path(name));
    match which {
        "eviction" => evict(stream, kind, name),
        "binding" => bind(kind, name, one(stream, &["node-1", "node-1", ""])),
        "token" => {
            let spec = one(
                stream,
                &[r#"{}"#, r#"{"expirationSeconds": 700}"#, r#"{"expirationSeconds": 5}"#, r#"{"audiences": ["x"]}"#],
            );
            let spec: Value = serde_json::from_str(spec).unwrap();
            Request::new("create token", kind.kind, "POST", path)
                .with(json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": spec}))
        }
        "scale" => scale(stream, kind, path),
        _ => status(stream, kind, path),
    }
}

pub(super) fn bind(kind: &Kind, name: &str, node: &str) -> Request {
    let body = json!({"apiVersion": "v1", "kind": "Binding", "metadata": {"name": name}, "target": {"kind": "Node", "name": node}});
    Request::new("create binding", kind.kind, "POST", format!("{}/binding", kind.path(name))).with(body)
}

pub(super) fn evict(stream: &mut Stream, kind: &Kind, name: &str) -> Request {
    let mut body = json!({"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": name}});
    match stream.below(10) {
        0 => body["metadata"]["name"] = json!("other"),
        1 => body["deleteOptions"] = json!({"dryRun": ["All"]}),
        2 => body["deleteOptions"] = json!({"gracePeriodSeconds": 3}),
        3 => body["deleteOptions"] = json!({"preconditions": {"uid": "another"}}),
        _ => {}
    }
    Request::new("create eviction", kind.kind, "POST", format!("{}/eviction", kind.path(name))).with(body)
}

fn scale(stream: &mut Stream, kind: &Kind, path: String) -> Request {
    let replicas = one(stream, &[0, 1, 2, 4, -1]);
    match stream.below(5) {
        0 => Request::new("get scale", kind.kind, "GET", path),
        1 => {
            let request = Request::new("update scale", kind.kind, "PUT", path);
            Request { body: Some(Body::Current(json!({"spec": {"replicas": replicas}}))), ..request }
        }
        2 => {
            let body = json!({"apiVersion": "autoscaling/v1", "kind": "Scale", "metadata": {"name": kind.name("a")}, "spec": {"replicas": replicas}});
            Request::new("update scale", kind.kind, "PUT", path).with(body)
        }
        _ => {
            Request { verb: "patch scale", ..patch_request(kind, path, MERGE, json!({"spec": {"replicas": replicas}})) }
        }
    }
}

/// Changes of statuses: of every kind, of pods, and of kinds that count.
const STATUSES: [&str; 10] = [
    r#"{"metadata": {"labels": {"in": "status"}}, "spec": {"replicas": 9}, "status": {"observedGeneration": 1}}"#,
    r#"{"metadata": {"annotations": {"in": "status"}, "finalizers": ["example.com/status"]}}"#,
    r#"{"status": {"phase": "Running"}}"#,
    r#"{"status": {"replicas": 2}}"#,
    r#"{"status": {"replicas": -1}}"#,
    r#"{"status": {"conditions": [{"type": "Ready", "status": "True", "lastTransitionTime": "2026-01-01T00:00:00Z", "reason": "R", "message": ""}]}}"#,
    r#"{"status": {"conditions": [{"type": "Ready"}]}}"#,
    r#"{"status": {"nothing": 1}}"#,
    r#"{"status": null}"#,
    r#"{"status": "text"}"#,
];

fn status(stream: &mut Stream, kind: &Kind, path: String) -> Request {
    let body: Value = serde_json::from_str(one(stream, &STATUSES)).unwrap();
    let agent = agent(stream);
    match stream.below(8) {
        0 => Request::new("get status", kind.kind, "GET", path),
        1 | 2 => {
            let request = Request::new("update status", kind.kind, "PUT", path);
            Request { body: Some(Body::Current(body)), agent, ..request }
        }
        3 => {
            let mut body = body;
            super::super::merge(
                &mut body,
                &json!({"apiVersion": kind.api_version, "kind": kind.kind, "metadata": {"name": kind.name("a")}}),
            );
            Request { verb: "patch status", ..patch_request(kind, and(path, "fieldManager=two"), APPLY, body) }
        }
        4 if kind.prefix != super::kinds::OWN.0 => {
            Request { verb: "patch status", agent, ..patch_request(kind, path, STRATEGIC, body) }
        }
        _ => Request { verb: "patch status", agent, ..patch_request(kind, path, MERGE, body) },
    }
}

const WATCHES: [&str; 18] = [
    "",
    "resourceVersion=0",
    "resourceVersion=",
    "resourceVersion=1",
    "resourceVersion=garbage",
    "resourceVersion=999999999999",
    "allowWatchBookmarks=true&sendInitialEvents=true&resourceVersionMatch=NotOlderThan",
    "allowWatchBookmarks=true&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&resourceVersion=0",
    "sendInitialEvents=true&resourceVersionMatch=NotOlderThan",
    "sendInitialEvents=true",
    "sendInitialEvents=false&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true",
    "resourceVersionMatch=NotOlderThan",
    "allowWatchBookmarks=true",
    "labelSelector=app+near+web",
    "fieldSelector=spec.nothing%3Da",
    "limit=1",
    "sendInitialEvents=true&resourceVersionMatch=Exact",
    "resourceVersion=5&resourceVersionMatch=Exact",
];

/// A watch of the kind, most often from an earlier version and with what selects.
pub(super) fn watch(stream: &mut Stream, kind: &Kind) -> Step {
    let accept = accepted(stream, "application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io");
    let (query, since) = if chance(stream, 60) {
        let selector = one(
            stream,
            &[
                "",
                "labelSelector=app%3Dweb",
                "labelSelector=%21changed",
                "fieldSelector=metadata.name%3Da",
                "labelSelector=app+in+%28web%2Capi%29",
                "sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true",
            ],
        );
        (selector, Some(stream.below(1000)))
    } else {
        (one(stream, &WATCHES), None)
    };
    let path = and(list_path(kind, query), "watch=true&timeoutSeconds={timeout}");
    Step::Watch(Request { accept, since, ..Request::new("watch", kind.kind, "GET", path) })
}
