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
    if ["/apiVersion", "/kind", "/metadata/name"].iter().any(|field| !object.pointer(field).is_some_and(Value::is_string)) {
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
