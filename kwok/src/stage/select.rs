//! When a stage applies: labels and annotations by equality, jq requirements, CEL conditions, cheapest first.

use super::{
    StageError,
    api::{JqRequirement, MatchExpression, Operator, Selector},
    cel::Condition,
    jq::{Output, Query},
};
use jiff::Timestamp;
use sawhorse_ambient::Stream;
use serde_json::Value;
use std::collections::BTreeMap;

/// A selector, compiled.
pub(crate) struct Matcher {
    labels: BTreeMap<String, String>,
    annotations: BTreeMap<String, String>,
    requirements: Vec<Requirement>,
    conditions: Vec<Condition>,
}

struct Requirement {
    query: Query,
    operator: Operator,
    values: Vec<String>,
}

impl Matcher {
    /// Compiles `selector` of the stage called `stage`.
    pub(crate) fn compile(stage: &str, selector: &Selector) -> Result<Self, StageError> {
        let (mut requirements, mut conditions) = (Vec::new(), Vec::new());
        for (index, expression) in selector.match_expressions.iter().enumerate() {
            let field = format!("spec.selector.matchExpressions[{index}]");
            match single(expression).map_err(|problem| StageError::invalid(stage, &field, problem))? {
                Single::Jq(requirement) => requirements.push(Requirement::compile(stage, &field, requirement)?),
                Single::Cel(text) => {
                    let compiled = Condition::compile(&text);
                    conditions
                        .push(compiled.map_err(|problem| StageError::invalid(stage, format!("{field}.cel"), problem))?);
                }
            }
        }
        // What costs little and rules most objects out comes first; requirements are ANDed and cannot fail, so their order
        // does not change the answer.
        requirements.sort_by_key(|requirement| !requirement.query.is_cheap());
        let (labels, annotations) = (selector.match_labels.clone(), selector.match_annotations.clone());
        Ok(Self { labels, annotations, requirements, conditions })
    }

    /// Whether `object` is selected; an error only from CEL.
    pub(crate) fn matches(&self, object: &Value, now: Timestamp, draws: &Stream) -> Result<bool, String> {
        if !has_all(&object["metadata"]["labels"], &self.labels)
            || !has_all(&object["metadata"]["annotations"], &self.annotations)
            || !self.requirements.iter().all(|requirement| requirement.holds(object))
        {
            return Ok(false);
        }
        for condition in &self.conditions {
            if !condition.holds(object, now, draws)? {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

fn has_all(have: &Value, wanted: &BTreeMap<String, String>) -> bool {
    wanted.iter().all(|(key, value)| have.get(key).and_then(Value::as_str) == Some(value))
}

enum Single {
    Jq(JqRequirement),
    Cel(String),
}

/// The one form that an expression is written in.
fn single(expression: &MatchExpression) -> Result<Single, &'static str> {
    let legacy = expression.key.clone().zip(expression.operator);
    let legacy = legacy.map(|(key, operator)| JqRequirement { key, operator, values: expression.values.clone() });
    let half = expression.key.is_some() != expression.operator.is_some();
    match (legacy, &expression.jq, &expression.cel) {
        _ if half => Err("`key` and `operator` go together"),
        (Some(requirement), None, None) => Ok(Single::Jq(requirement)),
        (None, Some(requirement), None) => Ok(Single::Jq(requirement.clone())),
        (None, None, Some(cel)) => Ok(Single::Cel(cel.expression.clone())),
        _ => Err("expected exactly one of `key` with `operator`, `jq`, and `cel`"),
    }
}

impl Requirement {
    fn compile(stage: &str, field: &str, given: JqRequirement) -> Result<Self, StageError> {
        let needs_values = matches!(given.operator, Operator::In | Operator::NotIn);
        if needs_values == given.values.is_empty() {
            let problem = if needs_values { "needs at least one value" } else { "takes no values" };
            return Err(StageError::invalid(
                stage,
                format!("{field}.values"),
                format!("`{:?}` {problem}", given.operator),
            ));
        }
        let query = Query::compile(&given.key);
        let query = query.map_err(|problem| StageError::invalid(stage, format!("{field}.key"), problem))?;
        Ok(Self { query, operator: given.operator, values: given.values })
    }

    fn holds(&self, object: &Value) -> bool {
        let outputs = self.query.run(object);
        match self.operator {
            Operator::In => outputs.iter().any(|output| self.lists(output)),
            Operator::NotIn => !outputs.iter().any(|output| self.lists(output)),
            Operator::Exists => !outputs.is_empty(),
            Operator::DoesNotExist => outputs.is_empty(),
        }
    }

    fn lists(&self, output: &Output) -> bool {
        match output {
            Output::Text(text) => self.values.contains(text),
            Output::Bool(truth) => self.values.contains(&truth.to_string()),
            Output::Computed(number) => self.values.contains(&number.to_string()),
            Output::Number(_) | Output::Other => false,
        }
    }
}
