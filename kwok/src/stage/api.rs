//! `Stage` as users write it (`kwok.x-k8s.io/v1alpha1`, spec kwok 2).

use super::StageError;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde::Deserialize;
use std::collections::BTreeMap;

/// The group and version of [`Stage`].
pub const API_VERSION: &str = "kwok.x-k8s.io/v1alpha1";

/// The most stages that one set may hold: each is tried on every change of an object of its kind.
pub const MAX_STAGES: usize = 1_000;

/// One rule of an object's life: when it applies, after which delay, and what happens then.
#[derive(Clone, Debug, Deserialize, PartialEq)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Stage {
    /// Always [`API_VERSION`].
    pub api_version: String,
    /// Always `Stage`.
    pub kind: String,
    /// The name is what logs show.
    pub metadata: ObjectMeta,
    /// The rule.
    pub spec: StageSpec,
    /// Ignored; present on stages read back from a cluster.
    #[serde(default)]
    pub status: Option<serde_json::Value>,
}

/// The rule of a [`Stage`].
#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct StageSpec {
    /// Which kind of object it is about.
    pub resource_ref: ResourceRef,
    /// When it applies; a stage without a selector never does.
    pub selector: Option<Selector>,
    /// Its share where several stages apply.
    #[serde(default)]
    pub weight: u64,
    /// Where the weight is read from; wins over `weight`.
    pub weight_from: Option<ValueFrom>,
    /// How long to wait before it happens.
    pub delay: Option<Delay>,
    /// What happens, in the older form; used only if `steps` is empty.
    pub next: Option<Next>,
    /// What happens, in order.
    #[serde(default)]
    pub steps: Vec<Step>,
    /// Whether the result is looked at again at once instead of when its change is watched.
    #[serde(default)]
    pub immediate_next_stage: bool,
}

/// A kind of object.
#[derive(Clone, Debug, Deserialize, PartialEq)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ResourceRef {
    /// Group and version, despite the name: `v1`, `apps/v1`.
    #[serde(default = "core_v1")]
    pub api_group: String,
    /// The kind, e.g. `Pod`.
    pub kind: String,
}

impl Default for ResourceRef {
    fn default() -> Self {
        Self { api_group: core_v1(), kind: String::new() }
    }
}

fn core_v1() -> String {
    "v1".to_owned()
}

/// What an object must be like; everything given must hold.
#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Selector {
    /// Labels by equality.
    #[serde(default)]
    pub match_labels: BTreeMap<String, String>,
    /// Annotations by equality.
    #[serde(default)]
    pub match_annotations: BTreeMap<String, String>,
    /// Expressions over the whole object.
    #[serde(default)]
    pub match_expressions: Vec<MatchExpression>,
}

/// One expression: exactly one of the older form (`key`, `operator`, `values`), `jq` and `cel`.
#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct MatchExpression {
    /// A jq query (older form).
    pub key: Option<String>,
    /// How its outputs are judged (older form).
    pub operator: Option<Operator>,
    /// What they are compared with (older form).
    #[serde(default)]
    pub values: Vec<String>,
    /// A jq requirement.
    pub jq: Option<JqRequirement>,
    /// A CEL condition.
    pub cel: Option<Expression>,
}

/// A jq query and how its outputs are judged.
#[derive(Clone, Debug, Deserialize, PartialEq)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct JqRequirement {
    /// The query.
    pub key: String,
    /// How its outputs are judged.
    pub operator: Operator,
    /// What they are compared with, for `In` and `NotIn`.
    #[serde(default)]
    pub values: Vec<String>,
}

/// How the outputs of a query are judged.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
pub enum Operator {
    /// Some output is one of the values.
    In,
    /// No output is one of the values.
    NotIn,
    /// There is an output that is not null.
    Exists,
    /// There is none.
    DoesNotExist,
}

/// An expression in the language that the field around it names.
#[derive(Clone, Debug, Deserialize, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct Expression {
    /// The expression's text.
    pub expression: String,
}

/// Where a value is read from: exactly one of the three.
#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ValueFrom {
    /// A jq query (older form).
    pub expression_from: Option<String>,
    /// A jq query.
    pub jq: Option<Expression>,
    /// A CEL expression.
    pub cel: Option<Expression>,
}

/// How long to wait: without jitter the duration; with a jitter above it something between the two; with a jitter at or
/// below it the jitter.
#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Delay {
    /// The duration.
    pub duration_milliseconds: Option<i64>,
    /// Where the duration is read from; wins.
    pub duration_from: Option<ValueFrom>,
    /// The jitter.
    pub jitter_duration_milliseconds: Option<i64>,
    /// Where the jitter is read from; wins. A CEL expression is not looked at here, as in KWOK.
    pub jitter_duration_from: Option<ValueFrom>,
}

/// What happens, in the older form.
#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Next {
    /// An event to record.
    pub event: Option<StageEvent>,
    /// A change of finalizers.
    pub finalizers: Option<Finalizers>,
    /// Whether the object is deleted.
    #[serde(default)]
    pub delete: bool,
    /// Changes of the object.
    #[serde(default)]
    pub patches: Vec<StagePatch>,
    /// A change of the status; used only if `patches` is empty.
    pub status_template: Option<String>,
    /// The subresource that `statusTemplate` goes to: `status` if not given.
    pub status_subresource: Option<String>,
    /// As whom `statusTemplate` is sent.
    pub status_patch_as: Option<Impersonation>,
}

/// One thing that happens; several fields may be given.
#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Step {
    /// An event to record.
    pub event: Option<StageEvent>,
    /// A change of finalizers.
    pub finalizers: Option<Finalizers>,
    /// Whether the object is deleted.
    #[serde(default)]
    pub delete: bool,
    /// A change of the object.
    pub patch: Option<StagePatch>,
    /// Another object to create or change.
    pub apply: Option<StageApply>,
}

/// An event to record.
#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct StageEvent {
    /// `Normal` or `Warning`.
    #[serde(default, rename = "type")]
    pub kind: String,
    /// The reason, in CamelCase.
    #[serde(default)]
    pub reason: String,
    /// The message, a template.
    #[serde(default)]
    pub message: String,
}

/// A change of finalizers.
#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Finalizers {
    /// Those to add.
    #[serde(default)]
    pub add: Vec<Finalizer>,
    /// Those to remove.
    #[serde(default)]
    pub remove: Vec<Finalizer>,
    /// Whether all that are there go first.
    #[serde(default)]
    pub empty: bool,
}

/// One finalizer.
#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct Finalizer {
    /// Its name.
    pub value: String,
}

/// A change of the object.
#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct StagePatch {
    /// The subresource it goes to; the object itself if empty.
    #[serde(default)]
    pub subresource: String,
    /// The field that the template's result goes under, or, for JSON patches, what every path begins with.
    #[serde(default)]
    pub root: String,
    /// A Go template that gives YAML.
    pub template: String,
    /// How it is applied; if not given, strategic for Node and Pod and merge for others.
    #[serde(rename = "type")]
    pub kind: Option<StagePatchType>,
    /// As whom it is sent.
    pub impersonation: Option<Impersonation>,
}

/// How a patch is applied.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum StagePatchType {
    /// RFC 6902.
    Json,
    /// RFC 7386.
    Merge,
    /// Kubernetes' strategic merge.
    Strategic,
}

/// Another object to create or change.
#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct StageApply {
    /// A Go template that gives the object.
    pub template: String,
    /// The subresource it goes to; the object itself if empty.
    #[serde(default)]
    pub subresource: String,
    /// How it is applied if it exists already.
    #[serde(rename = "type")]
    pub kind: Option<StageApplyType>,
    /// As whom it is sent.
    pub impersonation: Option<Impersonation>,
}

/// How an existing object is changed.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum StageApplyType {
    /// Server-side apply, forced.
    Apply,
    /// RFC 7386.
    Merge,
    /// Kubernetes' strategic merge.
    Strategic,
}

/// As whom a request is sent.
#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Impersonation {
    /// The user's name.
    pub username: String,
}

/// The stages in a YAML stream.
///
/// ```
/// let read = sawhorse_kwok::stage::parse_stages("mine.yaml", "apiVersion: kwok.x-k8s.io/v1alpha1\nkind: Stage\nmetadata: {name: a}\nspec: {resorceRef: {kind: Pod}}");
/// assert!(read.unwrap_err().to_string().contains("resorceRef"));
/// ```
///
/// # Errors
/// [`StageError`] names the document's or field's problem: text that is not YAML, an unknown field, another kind.
pub fn parse_stages(origin: &str, text: &str) -> Result<Vec<Stage>, StageError> {
    let unreadable = |problem: String| StageError::Unreadable { origin: origin.to_owned(), problem };
    let documents: Vec<serde_json::Value> =
        serde_saphyr::from_str_multiple(text).map_err(|error| unreadable(error.to_string()))?;
    if documents.len() > MAX_STAGES {
        return Err(unreadable(format!("{} stages are more than the {MAX_STAGES} that are allowed", documents.len())));
    }
    // Another kind is told as such, not by the first of its fields that a stage does not have.
    for document in &documents {
        let field = |name: &str| document[name].as_str().unwrap_or_default();
        if field("kind") != "Stage" || field("apiVersion") != API_VERSION {
            let found = format!("`{}` of `{}`", field("kind"), field("apiVersion"));
            return Err(unreadable(format!("expected `Stage` of `{API_VERSION}`, found {found}")));
        }
    }
    let stages: Vec<Stage> = serde_saphyr::from_str_multiple(text).map_err(|error| unreadable(error.to_string()))?;
    if stages.iter().any(|stage| stage.metadata.name.as_deref().unwrap_or_default().is_empty()) {
        return Err(unreadable("a stage has no `metadata.name`: give it one".to_owned()));
    }
    Ok(stages)
}
