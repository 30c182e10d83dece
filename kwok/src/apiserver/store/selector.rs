//! Label and field selectors (API concepts: "Labels and Selectors", "Field Selectors").

use crate::apiserver::{builtin::label_value_problem, value};
use serde_json::Value;

/// One requirement of a label selector.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Requirement {
    In(String, Vec<String>),
    NotIn(String, Vec<String>),
    Exists(String),
    DoesNotExist(String),
    /// Both are numbers, and the label's is greater.
    Greater(String, i64),
    Less(String, i64),
}

/// All requirements must hold; an empty selector matches everything.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct LabelSelector(Vec<Requirement>);

impl LabelSelector {
    /// Reads the query form, e.g. `app=web,tier in (a,b),!legacy`.
    ///
    /// # Errors
    /// A sentence that names the part that cannot be read.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        if text.trim().is_empty() {
            return Ok(Self::default());
        }
        split_outside_parentheses(text)
            .iter()
            .map(|part| parse_requirement(part.trim()))
            .collect::<Result<_, _>>()
            .map(Self)
    }

    /// Reads the object form: `matchLabels` and `matchExpressions`. Nothing at all (null) matches nothing: `None`.
    pub(crate) fn from_object(selector: &Value) -> Option<Self> {
        let selector = selector.as_object()?;
        let labels = selector.get("matchLabels").and_then(Value::as_object);
        let equal = labels
            .into_iter()
            .flatten()
            .map(|(key, value)| Requirement::In(key.clone(), vec![value.as_str().unwrap_or_default().to_owned()]));
        let expressions = selector.get("matchExpressions").and_then(Value::as_array);
        let expressions = expressions.into_iter().flatten().map(expression);
        Some(Self(equal.chain(expressions).collect()))
    }

    /// Whether an object with these labels matches.
    pub(crate) fn matches(&self, labels: Option<&Value>) -> bool {
        self.0.iter().all(|requirement| requirement.holds(labels))
    }

    /// Whether there is no requirement.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

fn expression(expression: &Value) -> Requirement {
    let key = value::text_or_empty(expression, &["key"]).to_owned();
    let values = value::texts(expression, &["values"]).map(str::to_owned).collect();
    match value::text_or_empty(expression, &["operator"]) {
        "In" => Requirement::In(key, values),
        "NotIn" => Requirement::NotIn(key, values),
        "DoesNotExist" => Requirement::DoesNotExist(key),
        _ => Requirement::Exists(key),
    }
}

impl Requirement {
    fn holds(&self, labels: Option<&Value>) -> bool {
        let label = |key: &str| labels.and_then(|labels| labels.get(key)).and_then(Value::as_str);
        let number = |key: &str| label(key).and_then(|text| text.parse::<i64>().ok());
        let among =
            |key: &str, values: &[String]| label(key).is_some_and(|found| values.iter().any(|value| value == found));
        match self {
            Self::In(key, values) => among(key, values),
            Self::NotIn(key, values) => !among(key, values),
            Self::Exists(key) => label(key).is_some(),
            Self::DoesNotExist(key) => label(key).is_none(),
            Self::Greater(key, bound) => number(key).is_some_and(|number| number > *bound),
            Self::Less(key, bound) => number(key).is_some_and(|number| number < *bound),
        }
    }
}

/// Commas inside `(…)` separate values, all others separate requirements.
fn split_outside_parentheses(text: &str) -> Vec<String> {
    let mut parts = vec![String::new()];
    let mut depth = 0_u32;
    for character in text.chars() {
        match character {
            '(' => depth += 1,
            ')' => depth = depth.saturating_sub(1),
            ',' if depth == 0 => {
                parts.push(String::new());
                continue;
            }
            _ => {}
        }
        if let Some(part) = parts.last_mut() {
            part.push(character);
        }
    }
    parts
}

fn parse_requirement(part: &str) -> Result<Requirement, String> {
    if part.is_empty() {
        return Err("found ',', expected: !, identifier, or 'end of string'".to_owned());
    }
    if let Some(key) = part.strip_prefix('!') {
        return Ok(Requirement::DoesNotExist(checked_key(key)?));
    }
    if let Some((key, values)) = part.split_once("!=") {
        return Ok(Requirement::NotIn(checked_key(key)?, vec![checked_value(values)?]));
    }
    if let Some((key, value)) = part.split_once("==").or_else(|| part.split_once('=')) {
        return Ok(Requirement::In(checked_key(key)?, vec![checked_value(value)?]));
    }
    let bound = |text: &str| {
        text.trim().parse().map_err(|_| format!("for 'Gt', 'Lt' operators, the value must be an integer: `{text}`"))
    };
    if let Some((key, value)) = part.split_once('>') {
        return Ok(Requirement::Greater(checked_key(key)?, bound(value)?));
    }
    if let Some((key, value)) = part.split_once('<') {
        return Ok(Requirement::Less(checked_key(key)?, bound(value)?));
    }
    match part.split_once('(') {
        Some((head, values)) => parse_set(part, head.trim(), values),
        None => Ok(Requirement::Exists(checked_key(part)?)),
    }
}

fn parse_set(part: &str, head: &str, values: &str) -> Result<Requirement, String> {
    let unreadable = || format!("unable to parse requirement: `{part}`: expected `key in (a,b)` or `key notin (a,b)`");
    let unclosed = || {
        let expected = if values.trim().is_empty() { "',', ')' or identifier" } else { "',' or ')'" };
        format!("unable to parse requirement: found '', expected: {expected}")
    };
    let values = values.strip_suffix(')').ok_or_else(unclosed)?;
    let values = values.split(',').map(checked_value).collect::<Result<_, _>>()?;
    match head.split_whitespace().collect::<Vec<_>>().as_slice() {
        [key, "in"] => Ok(Requirement::In(checked_key(key)?, values)),
        [key, "notin"] => Ok(Requirement::NotIn(checked_key(key)?, values)),
        _ => Err(unreadable()),
    }
}

fn checked_key(key: &str) -> Result<String, String> {
    let key = key.trim();
    let fits = |character: char| character.is_ascii_alphanumeric() || "-_./".contains(character);
    if key.is_empty() || !key.chars().all(fits) {
        return Err(format!("unable to parse requirement: <nil>: Invalid value: \"{key}\": a label's key is expected"));
    }
    Ok(key.to_owned())
}

fn checked_value(value: &str) -> Result<String, String> {
    let value = value.trim();
    match label_value_problem(value) {
        Some(problem) => Err(format!("unable to parse requirement: values[0]: Invalid value: \"{value}\": {problem}")),
        None => Ok(value.to_owned()),
    }
}

/// Equalities on fields; an empty selector matches everything.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct FieldSelector(Vec<(Vec<String>, String, bool)>);

impl FieldSelector {
    /// Reads the query form, e.g. `metadata.name=web,status.phase!=Failed`.
    ///
    /// # Errors
    /// A sentence that names the part that cannot be read.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        text.split(',')
            .map(str::trim)
            .filter(|part| !part.is_empty())
            .map(parse_field)
            .collect::<Result<_, _>>()
            .map(Self)
    }

    /// The selector with the name required too.
    pub(crate) fn with_name(&self, name: &str) -> Self {
        let mut all = self.0.clone();
        all.push((vec!["metadata".into(), "name".into()], name.to_owned(), true));
        Self(all)
    }

    /// The fields that are selected by, as dotted paths.
    pub(crate) fn fields(&self) -> impl Iterator<Item = String> {
        self.0.iter().map(|(path, _, _)| path.join("."))
    }

    /// Whether the object matches.
    pub(crate) fn matches(&self, object: &Value) -> bool {
        self.0.iter().all(|(path, wanted, equal)| (field_text(object, path) == *wanted) == *equal)
    }

    /// Whether there is no requirement.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

fn parse_field(part: &str) -> Result<(Vec<String>, String, bool), String> {
    let unequal = part.split_once("!=").map(|(path, value)| (path, value, false));
    let equal = || part.split_once("==").or_else(|| part.split_once('=')).map(|(path, value)| (path, value, true));
    let (path, value, equal) = unequal.or_else(equal).ok_or_else(|| {
        format!("invalid selector: '{part}'; can't understand '{part}': expected `field=value` or `field!=value`")
    })?;
    Ok((path.trim().split('.').map(str::to_owned).collect(), value.trim().to_owned(), equal))
}

/// A field's text as selectors compare it; what is missing is empty (or `false`, for `spec.unschedulable`).
fn field_text(object: &Value, path: &[String]) -> String {
    // Events are selected by who tells them, wherever that is written.
    if path == ["source"] {
        let component = value::text(object, &["source", "component"]).filter(|component| !component.is_empty());
        return component.unwrap_or_else(|| value::text_or_empty(object, &["reportingComponent"])).to_owned();
    }
    let found = path.iter().try_fold(object, |value, key| value.get(key));
    match found {
        Some(Value::String(text)) => text.clone(),
        Some(Value::Null) | None if path.last().is_some_and(|last| last == "unschedulable") => "false".into(),
        Some(Value::Null) | None => String::new(),
        Some(other) => other.to_string(),
    }
}

/// Which objects of a resource a request is about.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Filter {
    /// Only this namespace; `None` for all.
    pub(crate) namespace: Option<String>,
    pub(crate) labels: LabelSelector,
    pub(crate) fields: FieldSelector,
}

impl Filter {
    /// Whether the object is one of them.
    pub(crate) fn matches(&self, object: &Value) -> bool {
        let in_namespace = self
            .namespace
            .as_deref()
            .is_none_or(|namespace| value::text_or_empty(object, &["metadata", "namespace"]) == namespace);
        in_namespace && self.labels.matches(value::at(object, &["metadata", "labels"])) && self.fields.matches(object)
    }
}

#[cfg(test)]
mod tests {
    use super::{FieldSelector, LabelSelector};
    use rstest::rstest;
    use serde_json::json;

    #[rstest]
    #[case("", true)]
    #[case("app=web", true)]
    #[case("app==db", false)]
    #[case("app!=db,tier", true)]
    #[case("!legacy", true)]
    #[case("!app", false)]
    #[case("tier in (front, back),app notin (db)", true)]
    #[case("tier notin (front)", false)]
    fn label_selectors(#[case] text: &str, #[case] expected: bool) {
        let labels = json!({"app": "web", "tier": "front"});
        assert_eq!(LabelSelector::parse(text).unwrap().matches(Some(&labels)), expected);
    }

    #[test]
    fn unreadable_label_selectors_are_refused() {
        let error = LabelSelector::parse("tier within (a)").unwrap_err();
        assert!(error.contains("`tier within (a)`"), "{error}");
    }

    #[rstest]
    #[case("metadata.name=a", true)]
    #[case("spec.nodeName=", true)]
    #[case("spec.nodeName!=", false)]
    #[case("spec.unschedulable=false", true)]
    #[case("metadata.name=a,status.phase!=Running", false)]
    fn field_selectors(#[case] text: &str, #[case] expected: bool) {
        let pod = json!({"metadata": {"name": "a"}, "status": {"phase": "Running"}});
        assert_eq!(FieldSelector::parse(text).unwrap().matches(&pod), expected);
    }
}
