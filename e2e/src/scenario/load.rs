//! From text to a scenario; every problem names the place and what would be right.

use super::schema::{
    Action, Await, ControlCall, ControllerSpec, Curve, Hold, KillController, NodesSpec, ObjectRef, Patch, Scale,
    Scenario, Span, Step,
};
use jiff::Timestamp;
use sawhorse_fake_cloud::world::CloudConfig;
use serde::Deserialize;
use serde_json::Value;
use std::{num::NonZeroU32, time::Duration};

/// The longest virtual time of a run whose file sets none.
const DEFAULT_LIMIT: Duration = Duration::from_secs(48 * 3600);
/// When runs start whose file says nothing: any fixed time does.
const DEFAULT_START: &str = "2026-01-01T00:00:00Z";

/// Why a file is not a scenario.
#[derive(Debug, thiserror::Error)]
pub enum ScenarioError {
    /// Not YAML, or a field that does not exist or has another type.
    #[error("{0}")]
    Yaml(String),
    /// There must be exactly one `Scenario` object.
    #[error("the file has {0} objects of kind `Scenario` (apiVersion `sawhorse.dev/v1alpha1`): write exactly one")]
    Count(usize),
    /// An object that is not one.
    #[error("document {number}: {problem}")]
    Object {
        /// Its place in the file, from 1.
        number: usize,
        /// What is wrong.
        problem: String,
    },
    /// A step that cannot be run.
    #[error("step {number}: {problem}")]
    Step {
        /// Its place in the list, from 1.
        number: usize,
        /// What is wrong.
        problem: String,
    },
    /// The cloud cannot begin so.
    #[error("spec.cloud: {0}")]
    Cloud(String),
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct ScenarioObject {
    #[expect(dead_code, reason = "checked before; named so that it is a known field")]
    api_version: String,
    #[expect(dead_code, reason = "checked before; named so that it is a known field")]
    kind: String,
    metadata: Metadata,
    spec: Spec,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Metadata {
    name: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Spec {
    why: String,
    #[serde(default)]
    seed: u64,
    start: Option<Timestamp>,
    limit: Option<Span>,
    virtual_time_only: Option<String>,
    fastest: Option<NonZeroU32>,
    #[serde(default)]
    upstream_kwok: bool,
    #[serde(default)]
    cloud: CloudConfig,
    #[serde(default)]
    controller: ControllerSpec,
    #[serde(default)]
    nodes: NodesSpec,
    steps: Vec<RawStep>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct RawStep {
    at: Option<Span>,
    after: Option<Span>,
    apply: Option<Vec<ObjectRef>>,
    delete: Option<ObjectRef>,
    scale: Option<Scale>,
    curve: Option<Curve>,
    patch: Option<Patch>,
    control: Option<RawControl>,
    kill_controller: Option<KillController>,
    start_controller: Option<Empty>,
    r#await: Option<Await>,
    expect: Option<Vec<String>>,
    hold: Option<Hold>,
    remember: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Empty {}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawControl {
    put: Option<String>,
    post: Option<String>,
    delete: Option<String>,
    body: Option<Value>,
}

/// Reads a scenario file.
///
/// # Errors
/// The first problem, with its place.
pub fn load(text: &str) -> Result<Scenario, ScenarioError> {
    let documents: Vec<Value> =
        serde_saphyr::from_multiple(text).map_err(|error| ScenarioError::Yaml(error.to_string()))?;
    let (own, mut objects): (Vec<_>, Vec<_>) =
        documents.into_iter().enumerate().partition(|(_, value)| is_scenario(value));
    let [(_, own)] = <[_; 1]>::try_from(own).map_err(|own| ScenarioError::Count(own.len()))?;
    for (index, object) in &objects {
        check_object(object).map_err(|problem| ScenarioError::Object { number: index + 1, problem })?;
    }
    let object: ScenarioObject =
        serde_json::from_value(own).map_err(|error| ScenarioError::Yaml(format!("the `Scenario` object: {error}")))?;
    let spec = object.spec;
    spec.cloud.check().map_err(|error| ScenarioError::Cloud(error.to_string()))?;
    let mut held_back = Vec::new();
    let mut steps = Vec::new();
    for (index, raw) in spec.steps.into_iter().enumerate() {
        let number = index + 1;
        let step =
            step(number, raw, &objects, &mut held_back).map_err(|problem| ScenarioError::Step { number, problem })?;
        steps.push(step);
    }
    objects.retain(|(index, _)| !held_back.contains(index));
    Ok(Scenario {
        name: object.metadata.name,
        why: spec.why.split_whitespace().collect::<Vec<_>>().join(" "),
        seed: spec.seed,
        start: spec.start.unwrap_or_else(|| DEFAULT_START.parse().expect("the default is a timestamp")),
        limit: spec.limit.map_or(DEFAULT_LIMIT, |span| span.0),
        virtual_time_only: spec.virtual_time_only,
        fastest: spec.fastest,
        upstream_kwok: spec.upstream_kwok,
        cloud: spec.cloud,
        controller: spec.controller,
        nodes: spec.nodes,
        objects: objects.into_iter().map(|(_, object)| object).collect(),
        steps,
    })
}

fn is_scenario(value: &Value) -> bool {
    value["kind"] == "Scenario" && value["apiVersion"] == "sawhorse.dev/v1alpha1"
}

fn check_object(object: &Value) -> Result<(), String> {
    for path in ["/apiVersion", "/kind", "/metadata/name"] {
        let field = path.trim_start_matches('/').replace('/', ".");
        if object.pointer(path).and_then(Value::as_str).is_none_or(str::is_empty) {
            return Err(format!(
                "`{field}` is missing: every document is a Kubernetes object with apiVersion, kind and name"
            ));
        }
    }
    Ok(())
}

fn step(number: usize, raw: RawStep, objects: &[(usize, Value)], held_back: &mut Vec<usize>) -> Result<Step, String> {
    let (at, after) = (raw.at.map(|span| span.0), raw.after.map(|span| span.0));
    if at.is_some() && after.is_some() {
        return Err("`at` (from the start) and `after` (from the previous step) exclude each other".to_owned());
    }
    Ok(Step { number, at, after: after.unwrap_or_default(), action: action(raw, objects, held_back)? })
}

fn action(raw: RawStep, objects: &[(usize, Value)], held_back: &mut Vec<usize>) -> Result<Action, String> {
    let apply = match raw.apply {
        Some(refs) => Some(Action::Apply(find_all(&refs, objects, held_back)?)),
        None => None,
    };
    let control = raw.control.map(control).transpose()?;
    for expression in raw.r#await.iter().flat_map(|a| &a.that).chain(raw.hold.iter().flat_map(|h| &h.that)) {
        crate::facts::check(expression)?;
    }
    for expression in raw.expect.iter().flatten() {
        crate::facts::check(expression)?;
    }
    let found: Vec<Action> = [
        apply,
        raw.delete.map(Action::Delete),
        raw.scale.map(Action::Scale),
        raw.curve.map(Action::Curve),
        raw.patch.map(Action::Patch),
        control.map(Action::Control),
        raw.kill_controller.map(Action::KillController),
        raw.start_controller.map(|_| Action::StartController),
        raw.r#await.map(Action::Await),
        raw.expect.map(Action::Expect),
        raw.hold.map(Action::Hold),
        raw.remember.map(Action::Remember),
    ]
    .into_iter()
    .flatten()
    .collect();
    let [action] = <[_; 1]>::try_from(found).map_err(|found| {
        format!(
            "it has {} actions: write exactly one of apply, delete, scale, curve, patch, control, killController, \
             startController, await, expect, hold, remember",
            found.len()
        )
    })?;
    Ok(action)
}

fn find_all(refs: &[ObjectRef], objects: &[(usize, Value)], held_back: &mut Vec<usize>) -> Result<Vec<Value>, String> {
    refs.iter().map(|wanted| find(wanted, objects, held_back)).collect()
}

fn find(wanted: &ObjectRef, objects: &[(usize, Value)], held_back: &mut Vec<usize>) -> Result<Value, String> {
    let is_wanted =
        |value: &Value| value["kind"] == wanted.kind.as_str() && value["metadata"]["name"] == wanted.name.as_str();
    let (index, object) = objects.iter().find(|(_, value)| is_wanted(value)).ok_or_else(|| {
        let known: Vec<String> = objects
            .iter()
            .map(|(_, value)| format!("{}/{}", text(&value["kind"]), text(&value["metadata"]["name"])))
            .collect();
        format!("`{}/{}` is not in the file, which has {}", wanted.kind, wanted.name, known.join(", "))
    })?;
    held_back.push(*index);
    Ok(object.clone())
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

fn control(raw: RawControl) -> Result<ControlCall, String> {
    let RawControl { put, post, delete, body } = raw;
    let calls = [("PUT", put), ("POST", post), ("DELETE", delete)];
    let mut calls = calls.into_iter().filter_map(|(method, path)| Some((method, path?)));
    match (calls.next(), calls.next()) {
        (Some((method, path)), None) if path.starts_with('/') => Ok(ControlCall { method, path, body }),
        (Some((_, path)), None) => Err(format!("control: `{path}` must begin with `/`, as in `put: /capacity`")),
        _ => Err("control: write exactly one of put, post, delete".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::load;

    fn scenario(steps: &str) -> String {
        format!(
            "apiVersion: sawhorse.dev/v1alpha1\nkind: Scenario\nmetadata: {{name: x}}\nspec:\n  why: it shows\n  steps:\n{steps}\n\
             ---\napiVersion: v1\nkind: Pod\nmetadata: {{name: a}}\n---\napiVersion: v1\nkind: Pod\nmetadata: {{name: b}}\n"
        )
    }

    #[test]
    fn objects_named_by_a_step_are_held_back() {
        let scenario = load(&scenario("  - {at: 1m, apply: [{kind: Pod, name: b}]}")).unwrap();
        let names: Vec<_> = scenario.objects.iter().map(|object| object["metadata"]["name"].clone()).collect();
        assert_eq!(names, ["a"]);
        assert_eq!(scenario.steps[0].at.unwrap().as_secs(), 60);
    }

    #[rstest::rstest]
    #[case("  - {apply: [{kind: Pod, name: c}]}", "step 1: `Pod/c` is not in the file, which has Pod/a, Pod/b")]
    #[case("  - {remember: x, expect: []}", "step 1: it has 2 actions")]
    #[case("  - {at: 1m, after: 1m, remember: x}", "exclude each other")]
    #[case("  - {expect: ['pods.running ==']}", "step 1: `pods.running ==` is not a CEL expression")]
    #[case("  - {expect: ['pod.running == 1']}", "`pod` is not a fact")]
    #[case("  - {at: soon, remember: x}", "`soon` is not a duration")]
    #[case("  - {control: {put: capacity}}", "must begin with `/`")]
    #[case("  - {sleep: 1m}", "unknown field `sleep`")]
    fn a_bad_step_is_refused_with_its_place(#[case] steps: &str, #[case] expected: &str) {
        let error = load(&scenario(steps)).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }

    #[test]
    fn a_file_without_a_scenario_is_refused() {
        let error = load("apiVersion: v1\nkind: Pod\nmetadata: {name: a}\n").unwrap_err().to_string();
        assert!(error.contains("0 objects of kind `Scenario`"), "{error}");
    }
}
