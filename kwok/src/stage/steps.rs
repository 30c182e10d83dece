//! What a stage does to an object: its steps as a list of requests.

use super::{
    StageError,
    api::{Finalizers, StageApply, StageApplyType, StageEvent, StagePatch, StagePatchType, Step},
    effect::{Effect, PatchKind},
    lifecycle::CompiledStage,
    strategic::patched,
    template::{Facts, Renderer},
};
use serde_json::{Map, Value, json};

/// A step that could not be worked out for an object.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("stage `{stage}`: `spec.steps[{step}]`: {problem}")]
pub struct StepError {
    /// The stage.
    pub stage: String,
    /// The step's index.
    pub step: usize,
    /// What went wrong.
    pub problem: String,
}

/// A step, compiled.
pub(crate) struct CompiledStep {
    event: Option<(StageEvent, Renderer)>,
    finalizers: Option<Finalizers>,
    delete: bool,
    patch: Option<(StagePatch, Renderer)>,
    apply: Option<(StageApply, Renderer)>,
}

impl CompiledStep {
    pub(crate) fn compile(stage: &str, index: usize, step: &Step) -> Result<Self, StageError> {
        let renderer = |field: &str, template: &str| {
            let compiled = Renderer::compile(template);
            compiled.map_err(|problem| StageError::invalid(stage, format!("spec.steps[{index}].{field}"), problem))
        };
        let with = |field: &str, template: Option<&str>| template.map(|text| renderer(field, text)).transpose();
        let event = with("event.message", step.event.as_ref().map(|event| event.message.as_str()))?;
        let patch = with("patch.template", step.patch.as_ref().map(|patch| patch.template.as_str()))?;
        let apply = with("apply.template", step.apply.as_ref().map(|apply| apply.template.as_str()))?;
        Ok(Self {
            event: step.event.clone().zip(event),
            finalizers: step.finalizers.clone(),
            delete: step.delete,
            patch: step.patch.clone().zip(patch),
            apply: step.apply.clone().zip(apply),
        })
    }
}

impl CompiledStage {
    /// What the stage does to `object`, in order; templates see the object as it was before the first step, as in KWOK. A
    /// patch that would change nothing is left out, and after a deletion only events are left.
    ///
    /// # Errors
    /// [`StepError`] if a template fails for this object; then nothing is done at all.
    pub fn effects(&self, object: &Value, facts: &Facts) -> Result<Vec<Effect>, StepError> {
        let mut running = Running { original: object, current: object.clone(), deleted: false, effects: Vec::new() };
        for (index, step) in self.steps.iter().enumerate() {
            let done = running.step(step, facts);
            done.map_err(|problem| StepError { stage: self.name().to_owned(), step: index, problem })?;
        }
        Ok(running.effects)
    }
}

struct Running<'a> {
    original: &'a Value,
    current: Value,
    deleted: bool,
    effects: Vec<Effect>,
}

impl Running<'_> {
    fn step(&mut self, step: &CompiledStep, facts: &Facts) -> Result<(), String> {
        if let Some((event, message)) = &step.event {
            let message = message.text(self.original, facts)?;
            let kind = if event.kind.is_empty() { "Normal".to_owned() } else { event.kind.clone() };
            self.effects.push(Effect::Event { kind, reason: event.reason.clone(), message });
        }
        if self.deleted {
            return Ok(());
        }
        if let Some(change) = &step.finalizers {
            self.patch(PatchKind::Json, finalizers_patch(&self.original["metadata"]["finalizers"], change), "", None);
        }
        if step.delete {
            self.deleted = true;
            self.effects.push(Effect::Delete);
            return Ok(());
        }
        if let Some((patch, template)) = &step.patch {
            let body = template.yaml(self.original, facts)?;
            let kind = patch_kind(patch.kind, &self.original["kind"]);
            let username = patch.impersonation.as_ref().map(|user| user.username.clone());
            self.patch(kind, rooted(kind, &patch.root, body)?, &patch.subresource, username);
        }
        if let Some((apply, template)) = &step.apply {
            let object = template.yaml(self.original, facts)?;
            self.effects.push(apply_effect(apply, object, &self.original["metadata"]["namespace"])?);
        }
        Ok(())
    }

    fn patch(&mut self, kind: PatchKind, body: Value, subresource: &str, username: Option<String>) {
        let after = patched(&self.current, kind, &body);
        if body.is_null() || body == json!([]) || after.as_ref() == Some(&self.current) {
            return;
        }
        self.current = after.unwrap_or_else(|| self.current.clone());
        let subresource = (!subresource.is_empty()).then(|| subresource.to_owned());
        self.effects.push(Effect::Patch { kind, body, subresource, username });
    }
}

fn patch_kind(given: Option<StagePatchType>, kind: &Value) -> PatchKind {
    match given {
        Some(StagePatchType::Json) => PatchKind::Json,
        Some(StagePatchType::Merge) => PatchKind::Merge,
        Some(StagePatchType::Strategic) => PatchKind::Strategic,
        None if kind == "Node" || kind == "Pod" => PatchKind::Strategic,
        None => PatchKind::Merge,
    }
}

/// The body under its root: as a field, or, for JSON patches, before every path.
fn rooted(kind: PatchKind, root: &str, body: Value) -> Result<Value, String> {
    match (root, kind, body) {
        ("", _, body) => Ok(body),
        (_, PatchKind::Json, Value::Array(mut operations)) => {
            for operation in &mut operations {
                let path = operation["path"].as_str().ok_or("an operation of the JSON patch has no `path`")?;
                operation["path"] = Value::from(format!("/{root}{path}"));
            }
            Ok(Value::Array(operations))
        }
        (_, PatchKind::Json, _) => Err("a JSON patch must be a list of operations".to_owned()),
        (root, _, body) => Ok(Value::Object(Map::from_iter([(root.to_owned(), body)]))),
    }
}

fn apply_effect(apply: &StageApply, mut object: Value, namespace: &Value) -> Result<Effect, String> {
    if ["/apiVersion", "/kind", "/metadata/name"]
        .iter()
        .any(|field| !object.pointer(field).is_some_and(Value::is_string))
    {
        return Err("the applied object needs `apiVersion`, `kind` and `metadata.name`".to_owned());
    }
    if object["metadata"]["namespace"].is_null() && namespace.is_string() {
        object["metadata"]["namespace"] = namespace.clone();
    }
    let kind = match apply.kind {
        None | Some(StageApplyType::Apply) => PatchKind::Apply,
        Some(StageApplyType::Merge) => PatchKind::Merge,
        Some(StageApplyType::Strategic) => PatchKind::Strategic,
    };
    let subresource = (!apply.subresource.is_empty()).then(|| apply.subresource.clone());
    let username = apply.impersonation.as_ref().map(|user| user.username.clone());
    Ok(Effect::Apply { object, kind, subresource, username })
}

/// The JSON patch that brings finalizers to what `change` asks for; empty if they are so already.
fn finalizers_patch(have: &Value, change: &Finalizers) -> Value {
    let have: Vec<&str> = have.as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    let mut wanted: Vec<&str> = if change.empty { Vec::new() } else { have.clone() };
    wanted.retain(|name| !change.remove.iter().any(|removed| removed.value == *name));
    for added in &change.add {
        if !wanted.contains(&added.value.as_str()) {
            wanted.push(&added.value);
        }
    }
    if wanted == have {
        json!([])
    } else if wanted.is_empty() {
        json!([{"op": "remove", "path": "/metadata/finalizers"}])
    } else {
        let op = if have.is_empty() { "add" } else { "replace" };
        json!([{"op": op, "path": "/metadata/finalizers", "value": wanted}])
    }
}

#[cfg(test)]
mod tests {
    use crate::stage::{Effect, Lifecycle, PatchKind, ResourceKind, StageError, parse_stages, template::tests::facts};
    use rstest::rstest;
    use serde_json::{Value, json};

    /// A stage of our own kind with this selector and these further fields of `spec`.
    fn stage(spec: &str) -> String {
        format!(
            "apiVersion: kwok.x-k8s.io/v1alpha1\nkind: Stage\nmetadata: {{name: mine}}\nspec:\n  resourceRef: {{apiGroup: example.com/v1, kind: Thing}}\n{spec}"
        )
    }

    fn compile(spec: &str) -> Result<Lifecycle, StageError> {
        Lifecycle::compile(&parse_stages("mine.yaml", &stage(spec))?)
    }

    fn effects(spec: &str, object: &Value) -> Vec<Effect> {
        let kind = ResourceKind { api_version: "example.com/v1".to_owned(), kind: "Thing".to_owned() };
        let (facts, lifecycle) = (facts(), compile(spec).unwrap());
        let mut draws = facts.draws.clone();
        let chosen = lifecycle.choose(&kind, object, facts.now, &mut draws).unwrap().expect("the stage applies");
        chosen.stage.effects(object, &facts).unwrap()
    }

    fn thing() -> Value {
        json!({"apiVersion": "example.com/v1", "kind": "Thing", "metadata": {"name": "t", "namespace": "ns", "finalizers": ["a/x", "b/y"]}, "spec": {"size": 2}})
    }

    #[test]
    fn steps_become_effects_in_order_and_only_events_follow_a_deletion() {
        let spec = r#"
  selector: {matchExpressions: [{cel: {expression: "self.spec.size > 1"}}]}
  steps:
  - event: {type: Warning, reason: Growing, message: "{{ .metadata.name }} is {{ .spec.size }}"}
  - finalizers: {remove: [{value: a/x}], add: [{value: c/z}]}
  - patch: {type: json, root: spec, template: '[{op: replace, path: /size, value: {{ add .spec.size 1 }}}]'}
  - patch: {subresource: status, root: status, template: "phase: Big", impersonation: {username: someone}}
  - apply: {type: merge, template: "{apiVersion: v1, kind: ConfigMap, metadata: {name: {{ .metadata.name }}-log}}"}
  - delete: true
  - event: {reason: Gone}
    patch: {template: "never: sent"}
"#;
        let found = effects(spec, &thing());
        let patch = |kind, body, subresource: Option<&str>, username: Option<&str>| Effect::Patch {
            kind,
            body,
            subresource: subresource.map(str::to_owned),
            username: username.map(str::to_owned),
        };
        let event = |kind: &str, reason: &str, message: &str| Effect::Event {
            kind: kind.to_owned(),
            reason: reason.to_owned(),
            message: message.to_owned(),
        };
        let log = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "t-log", "namespace": "ns"}});
        assert_eq!(
            found,
            [
                event("Warning", "Growing", "t is 2"),
                patch(
                    PatchKind::Json,
                    json!([{"op": "replace", "path": "/metadata/finalizers", "value": ["b/y", "c/z"]}]),
                    None,
                    None
                ),
                patch(PatchKind::Json, json!([{"op": "replace", "path": "/spec/size", "value": 3}]), None, None),
                patch(PatchKind::Merge, json!({"status": {"phase": "Big"}}), Some("status"), Some("someone")),
                Effect::Apply { object: log, kind: PatchKind::Merge, subresource: None, username: None },
                Effect::Delete,
                event("Normal", "Gone", ""),
            ]
        );
    }

    #[rstest]
    #[case::same_value("patch: {root: spec, template: 'size: 2'}")]
    #[case::nothing("patch: {template: ''}")]
    #[case::finalizers_as_they_are("finalizers: {add: [{value: a/x}]}")]
    fn what_changes_nothing_is_not_sent(#[case] step: &str) {
        assert_eq!(effects(&format!("  selector: {{}}\n  steps:\n  - {step}\n"), &thing()), []);
    }

    #[rstest]
    #[case("  selector: {}\n  weigth: 1\n", "weigth")]
    #[case(
        "  selector: {matchExpressions: [{key: .a}]}\n",
        "`spec.selector.matchExpressions[0]`: `key` and `operator` go together"
    )]
    #[case(
        "  selector: {matchExpressions: [{key: '.a |', operator: Exists}]}\n",
        "`spec.selector.matchExpressions[0].key`: `.a |` is not a jq query"
    )]
    #[case("  selector: {matchExpressions: [{key: .a, operator: In}]}\n", "`In` needs at least one value")]
    #[case("  selector: {matchExpressions: [{key: .a, operator: Near, values: [b]}]}\n", "Near")]
    #[case(
        "  selector: {matchExpressions: [{cel: {expression: 'self.a =='}}]}\n",
        "`spec.selector.matchExpressions[0].cel`"
    )]
    #[case(
        "  selector: {}\n  steps: [{patch: {template: '{{ nope }}'}}]\n",
        "`spec.steps[0].patch.template`: the template calls `nope`"
    )]
    #[case("  selector: {}\n  steps: [{patch: {type: Json, template: ''}}]\n", "Json")]
    #[case(
        "  selector: {}\n  delay: {durationFrom: {jq: {expression: now}}}\n",
        "`spec.delay.durationFrom`: `now` uses `now`"
    )]
    fn what_cannot_work_is_named(#[case] spec: &str, #[case] problem: &str) {
        let refused = compile(spec).err().unwrap().to_string();
        assert!(refused.contains(problem), "{refused}");
    }

    #[test]
    fn a_template_that_fails_for_an_object_names_its_step() {
        let lifecycle =
            compile("  selector: {}\n  steps:\n  - delete: false\n  - patch: {template: '{{ index .spec.none 3 }}'}\n")
                .unwrap();
        let kind = ResourceKind { api_version: "example.com/v1".to_owned(), kind: "Thing".to_owned() };
        let facts = facts();
        let matching = lifecycle.matching(&kind, &thing(), facts.now, &facts.draws).unwrap();
        let failed = matching[0].effects(&thing(), &facts).unwrap_err().to_string();
        assert!(failed.starts_with("stage `mine`: `spec.steps[1]`: "), "{failed}");
    }

    #[test]
    fn other_documents_and_stages_without_selector() {
        let other = "apiVersion: v1\nkind: Pod\nmetadata: {name: p}\nspec: {}\n";
        assert!(parse_stages("f", other).unwrap_err().to_string().contains("found `Pod` of `v1`"));
        assert_eq!(compile("  steps: [{delete: true}]\n").unwrap().kinds().count(), 0, "it is dropped");
    }
}
