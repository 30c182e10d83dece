//! Requests that belong together.

use super::{
    Request, Step, chance,
    custom::asked_definition,
    kinds::{KINDS, Kind, kind},
    one,
    requests::{
        apply, apply_object, bind, change, create, delete, delete_collection, evict, get, json_patch, list, merge,
        object, pages, replace, strategic, subresource, watch,
    },
};
use sawhorse_ambient::Stream;
use serde_json::{Value, json};

/// Steps one after another about a few objects, mostly of one namespace; watches come last.
pub(crate) fn sequence(stream: &mut Stream, length: usize) -> (Vec<&'static Kind>, Vec<Step>) {
    let kinds = drawn_kinds(stream);
    let mut steps = Vec::new();
    match stream.below(10) {
        0 => steps.extend(evictions(stream)),
        1 => steps.extend(several(stream, kinds[0])),
        2 | 3 => steps.extend(appliers(stream, kinds[0])),
        4 => steps.extend(endings(stream, kinds[0])),
        _ => steps.push(Step::One(create(stream, kinds[0], "a", false))),
    }
    while steps.len() < length {
        let kind = one(stream, &kinds);
        let name = one(stream, &["a", "a", "b"]);
        steps.push(any(stream, kind, name));
    }
    for _ in 0..3 {
        let kind = one(stream, &kinds);
        steps.push(watch(stream, kind));
    }
    (kinds, steps)
}

/// Two kinds; custom resources are as frequent as they are important.
fn drawn_kinds(stream: &mut Stream) -> Vec<&'static Kind> {
    const CUSTOM: [&str; 6] = ["Widget", "Widget", "Widget", "NodePool", "NodeClaim", "EC2NodeClass"];
    let first =
        if chance(stream, 25) { kind(one(stream, &CUSTOM)) } else { &KINDS[stream.below(KINDS.len() as u64) as usize] };
    let second = &KINDS[stream.below(KINDS.len() as u64) as usize];
    vec![first, first, second]
}

fn any(stream: &mut Stream, kind: &Kind, name: &str) -> Step {
    let request = match stream.below(100) {
        0..14 => create(stream, kind, name, false),
        14..24 => create(stream, kind, name, true),
        24..30 => get(stream, kind, name),
        30..38 => return list(stream, kind),
        38..40 => return pages(stream, kind),
        40..49 => replace(stream, kind, name),
        49..59 => merge(stream, kind, name),
        59..66 => strategic(stream, kind, name),
        66..72 => json_patch(stream, kind, name),
        72..81 => apply(stream, kind, name),
        81..88 => delete(stream, kind, name),
        88 => odd(stream, kind, name),
        _ => subresource(stream, kind, name),
    };
    Step::One(request)
}

/// Requests that are not made to be answered well.
fn odd(stream: &mut Stream, kind: &Kind, name: &str) -> Request {
    let request = |method, path| Request::new("odd", kind.kind, method, path);
    match stream.below(9) {
        0 => request("POST", kind.path(name)).with(json!({})),
        1 => request("PUT", kind.collection()).with(json!({})),
        2 => request("GET", format!("{}/nothing", kind.path(name))),
        3 => request("POST", kind.collection()),
        4 => request("POST", kind.collection()).with(json!([1])),
        5 => Request { content_type: "application/xml", ..request("POST", kind.collection()).with(json!({})) },
        6 => Request { content_type: "application/json", ..request("PATCH", kind.path(name)).with(json!({})) },
        7 => {
            let path = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions?dryRun=All".to_owned();
            Request::new("create", "CustomResourceDefinition", "POST", path).with(asked_definition(stream))
        }
        _ => request("GET", format!("{}/{{ns}}/nothing", kind.prefix)),
    }
}

/// Pods that run, a budget that counts them, and evictions.
fn evictions(stream: &mut Stream) -> Vec<Step> {
    let (pod, budget) = (kind("Pod"), kind("PodDisruptionBudget"));
    let mut requests = Vec::new();
    for name in ["a", "b", "c"] {
        let mut body = object(stream, pod, name);
        body["metadata"] = json!({"name": name, "labels": {"app": one(stream, &["web", "web", "web", "other"])}});
        requests.push(Request::new("create", pod.kind, "POST", pod.collection()).with(body));
        requests.push(bind(pod, name, "node-1"));
        let ready = one(stream, &["True", "True", "True", "False"]);
        let status = json!({"status": {"phase": one(stream, &["Running", "Running", "Running", "Succeeded"]), "conditions": [{"type": "Ready", "status": ready}]}});
        requests.push(Request {
            content_type: "application/merge-patch+json",
            ..Request::new("patch status", pod.kind, "PATCH", format!("{}/status", pod.path(name))).with(status)
        });
    }
    let mut names = vec!["a"];
    if chance(stream, 15) {
        names.push("b");
    }
    for name in names {
        let mut body = object(stream, budget, name);
        body["spec"]["selector"] = json!({"matchLabels": {"app": "web"}});
        if chance(stream, 30) {
            body["spec"]["unhealthyPodEvictionPolicy"] = json!(one(stream, &["AlwaysAllow", "IfHealthyBudget"]));
        }
        requests.push(Request::new("create", budget.kind, "POST", budget.collection()).with(body));
        let status = json!({"status": {
            "observedGeneration": one(stream, &[1, 1, 1, 0]), "disruptionsAllowed": one(stream, &[0, 1, 1, 2, -1]),
            "currentHealthy": one(stream, &[3, 3, 2]), "desiredHealthy": one(stream, &[2, 3, 0]), "expectedPods": 3,
        }});
        requests.push(Request {
            content_type: "application/merge-patch+json",
            ..Request::new("patch status", budget.kind, "PATCH", format!("{}/status", budget.path(name))).with(status)
        });
    }
    for name in ["a", "b", "c", "a"] {
        requests.push(evict(stream, pod, name));
        if chance(stream, 40) {
            requests.push(Request::new("get", budget.kind, "GET", budget.path("a")));
        }
    }
    requests.into_iter().map(Step::One).collect()
}

/// Several objects: lists in pages, selected; and the end of all.
fn several(stream: &mut Stream, kind: &Kind) -> Vec<Step> {
    let mut steps: Vec<Step> = Vec::new();
    for name in ["a", "b", "c", "d", "e"] {
        let object = object(stream, kind, name);
        steps.push(Step::One(Request::new("create", kind.kind, "POST", kind.collection()).with(object)));
    }
    steps.push(pages(stream, kind));
    steps.push(pages(stream, kind));
    steps.push(list(stream, kind));
    steps.push(Step::One(merge(stream, kind, "c")));
    steps.push(Step::One(delete_collection(stream, kind)));
    steps.push(list(stream, kind));
    steps
}

/// Two who apply to one object, and one who writes it: fields are taken, given up and fought for.
fn appliers(stream: &mut Stream, kind: &Kind) -> Vec<Step> {
    let mut steps = Vec::new();
    let mut object = object(stream, kind, "a");
    for _ in 0..8 {
        let request = match stream.below(6) {
            0 => merge(stream, kind, "a"),
            1 => replace(stream, kind, "a"),
            _ => {
                super::super::merge(&mut object, &change(stream, kind));
                // What the changes break is mended, so that most applies are about ownership.
                object["metadata"]["name"] = Value::from(kind.name("a"));
                if let Some(labels) = object["metadata"].get_mut("labels").and_then(Value::as_object_mut) {
                    labels.remove("bad key!");
                }
                if let Some(metadata) = object["metadata"].as_object_mut() {
                    metadata.remove("managedFields");
                    // No new object keeps that but one that is applied.
                    metadata.remove("deletionTimestamp");
                }
                if chance(stream, 25) {
                    object["metadata"].as_object_mut().map(|metadata| metadata.remove("labels"));
                }
                if chance(stream, 25) {
                    object["metadata"]["labels"]["changed"] = Value::from(one(stream, &["yes", "no"]));
                }
                apply_object(stream, kind, "a", object.clone())
            }
        };
        steps.push(Step::One(request));
    }
    steps
}

/// An object that ends, with what holds it back.
fn endings(stream: &mut Stream, kind: &Kind) -> Vec<Step> {
    let mut held = object(stream, kind, "a");
    held["metadata"]["finalizers"] = json!(["example.com/hold", "example.com/b"]);
    let patch = |body: Value| {
        let request = Request::new("patch (merge)", kind.kind, "PATCH", kind.path("a")).with(body);
        Step::One(Request { content_type: "application/merge-patch+json", ..request })
    };
    let mut steps = vec![Step::One(Request::new("create", kind.kind, "POST", kind.collection()).with(held.clone()))];
    steps.push(Step::One(delete(stream, kind, "a")));
    steps.push(Step::One(Request::new("delete", kind.kind, "DELETE", kind.path("a"))));
    steps.push(Step::One(Request::new("create", kind.kind, "POST", kind.collection()).with(held)));
    steps.push(patch(json!({"metadata": {"finalizers": ["example.com/hold", "example.com/new"]}})));
    steps.push(Step::One(merge(stream, kind, "a")));
    steps.push(Step::One(delete(stream, kind, "a")));
    steps.push(patch(json!({"metadata": {"finalizers": ["example.com/b"]}})));
    steps.push(patch(json!({"metadata": {"finalizers": null}})));
    steps.push(Step::One(get(stream, kind, "a")));
    steps
}
