//! What the shipped stages do, as KWOK tests its own: an object in `stages/NAME.input.yaml`, the stages that apply to it and
//! what they would do in `stages/NAME.output.yaml`. A first line `# set: general` picks another set than `fast`.

use sawhorse_ambient::Seed;
use sawhorse_kwok::stage::{Addresses, Bound, CompiledStage, Effect, Facts, Lifecycle, ResourceKind, Window, library};
use serde_json::{Value, json};
use std::{fs, path::Path, sync::Arc};

struct Placeholders;

impl Addresses for Placeholders {
    fn node_ip(&self, node: &str) -> String {
        format!("<NodeIPWith({node})>")
    }

    fn pod_ip(&self, node: &str, host_network: bool, uid: &str, name: &str, namespace: &str) -> String {
        format!("<PodIPWith({node}, {host_network}, {uid}, {name}, {namespace})>")
    }
}

fn facts(object: &Value) -> Facts {
    let node = object["spec"]["nodeName"].as_str().or_else(|| object["metadata"]["name"].as_str()).unwrap_or_default();
    Facts {
        now: "2026-01-01T00:00:00Z".parse().unwrap(),
        started: "2025-12-31T00:00:00Z".parse().unwrap(),
        node_name: node.to_owned(),
        node_port: Some(10_250),
        addresses: Arc::new(Placeholders),
        draws: Seed(0).stream(&["stages"]),
    }
}

fn effect(effect: Effect) -> Value {
    match effect {
        Effect::Event { kind, reason, message } => json!({"kind": "event", "type": kind, "reason": reason, "message": message}),
        Effect::Delete => json!({"kind": "delete"}),
        Effect::Patch { kind, body, subresource, username } => {
            json!({"kind": "patch", "type": kind.content_type(), "subresource": subresource, "as": username, "data": body})
        }
        Effect::Apply { object, kind, subresource, username } => {
            json!({"kind": "apply", "type": kind.content_type(), "subresource": subresource, "as": username, "data": object})
        }
    }
}

fn bound(bound: Bound) -> Value {
    match bound {
        Bound::After(duration) => json!(duration.as_millis() as i64),
        Bound::At(at) => json!(at.to_string()),
    }
}

fn stage(stage: &CompiledStage, object: &Value) -> Value {
    let facts = facts(object);
    let Window { from, to } = stage.window(object, facts.now, &facts.draws);
    let delay: Vec<Value> = std::iter::once(from).chain(to).map(bound).collect();
    let effects: Vec<Value> = stage.effects(object, &facts).unwrap().into_iter().map(effect).collect();
    json!({"stage": stage.name(), "weight": stage.weight(object, facts.now, &facts.draws), "delay": delay, "next": effects})
}

/// What the stages of `set` say about `object`.
fn answer(set: &str, object: &Value) -> Value {
    let stages = if set == "general" { library::general() } else { library::fast() };
    let lifecycle = Lifecycle::compile(&stages).unwrap();
    let kind = object["kind"].as_str().unwrap();
    let facts = facts(object);
    let matching = lifecycle.matching(&ResourceKind::core(kind), object, facts.now, &facts.draws).unwrap();
    let stages: Vec<Value> = matching.iter().map(|matching| stage(matching, object)).collect();
    json!({"apiGroup": "v1", "kind": kind, "name": object["metadata"]["name"], "stages": stages})
}

#[test]
fn objects_get_the_answers_written_beside_them() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/stages");
    let mut inputs: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    inputs.retain(|path| path.to_string_lossy().ends_with(".input.yaml"));
    inputs.sort();
    assert!(inputs.len() >= 10, "the folder holds {} inputs", inputs.len());
    let mut wrong = String::new();
    for input in inputs {
        let text = fs::read_to_string(&input).unwrap();
        let set = if text.starts_with("# set: general") { "general" } else { "fast" };
        let found = answer(set, &serde_saphyr::from_str(&text).unwrap());
        let expected = input.to_string_lossy().replace(".input.", ".output.");
        let expected: Value = serde_saphyr::from_str(&fs::read_to_string(&expected).unwrap_or_default()).unwrap();
        if found != expected {
            wrong += &format!("{}:\n{}\n", input.display(), serde_json::to_string(&found).unwrap());
        }
    }
    assert!(wrong.is_empty(), "these answers differ from what is written:\n{wrong}");
}
