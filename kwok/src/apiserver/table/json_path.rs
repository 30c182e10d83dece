//! The part of kubectl's JSON paths that printer columns use: members, escaped dots, indices, `[*]` and equality filters.

use serde_json::Value;

/// The values that `path` leads to, e.g. `.status.conditions[?(@.type=="Ready")].status`.
pub(super) fn find<'a>(object: &'a Value, path: &str) -> Vec<&'a Value> {
    let mut found = vec![object];
    let mut rest = path.trim_start_matches('$');
    while !rest.is_empty() {
        let (step, tail) = next_step(rest);
        found = found.into_iter().flat_map(|value| step.follow(value)).collect();
        rest = tail;
    }
    found
}

enum Step {
    Member(String),
    Index(i64),
    All,
    /// Elements whose value at a path equals a text.
    Where(String, String),
    /// Nothing that is understood leads nowhere.
    Nowhere,
}

impl Step {
    fn follow<'a>(&self, value: &'a Value) -> Vec<&'a Value> {
        let elements = || value.as_array().map(Vec::as_slice).unwrap_or_default();
        match self {
            Self::Member(name) => value.get(name).into_iter().collect(),
            Self::Index(index) => {
                let length = elements().len() as i64;
                let place = usize::try_from(if *index < 0 { length + index } else { *index });
                place.ok().and_then(|place| elements().get(place)).into_iter().collect()
            }
            Self::All => match value {
                Value::Object(members) => members.values().collect(),
                _ => elements().iter().collect(),
            },
            Self::Where(path, wanted) => elements()
                .iter()
                .filter(|element| find(element, path).iter().any(|found| shown(found) == *wanted))
                .collect(),
            Self::Nowhere => Vec::new(),
        }
    }
}

/// A value as text, without quotes.
pub(super) fn shown(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

fn next_step(path: &str) -> (Step, &str) {
    if let Some(inside) = path.strip_prefix('[') {
        let end = closing(inside);
        return (bracket(&inside[..end]), inside.get(end + 1..).unwrap_or_default());
    }
    let path = path.strip_prefix('.').unwrap_or(path);
    let mut name = String::new();
    let mut characters = path.char_indices();
    while let Some((at, character)) = characters.next() {
        match character {
            '\\' => name.extend(characters.next().map(|(_, escaped)| escaped)),
            '.' | '[' => return (member(name), &path[at..]),
            other => name.push(other),
        }
    }
    (member(name), "")
}

fn member(name: String) -> Step {
    if name == "*" { Step::All } else { Step::Member(name) }
}

/// Where the bracket closes: filters may have brackets of their own inside quotes only.
fn closing(inside: &str) -> usize {
    let mut quote = None;
    for (at, character) in inside.char_indices() {
        match (quote, character) {
            (None, ']') => return at,
            (None, '\'' | '"') => quote = Some(character),
            (Some(open), close) if open == close => quote = None,
            _ => {}
        }
    }
    inside.len()
}

fn bracket(inside: &str) -> Step {
    let unquoted = |text: &str| text.trim().trim_matches(['\'', '"']).to_owned();
    if inside == "*" {
        return Step::All;
    }
    if let Some(filter) = inside.strip_prefix("?(").and_then(|rest| rest.strip_suffix(')')) {
        return match filter.split_once("==") {
            Some((path, wanted)) => Step::Where(path.trim().trim_start_matches('@').to_owned(), unquoted(wanted)),
            None => Step::Nowhere,
        };
    }
    inside.parse().map_or_else(|_| Step::Member(unquoted(inside)), Step::Index)
}

#[cfg(test)]
mod tests {
    use super::find;
    use rstest::rstest;
    use serde_json::{Value, json};

    #[rstest]
    #[case(".spec.weight", json!([3]))]
    #[case(r".metadata.labels.node\.kubernetes\.io/instance-type", json!(["m5.large"]))]
    #[case(".metadata.labels['node.kubernetes.io/instance-type']", json!(["m5.large"]))]
    #[case(r#".status.conditions[?(@.type=="Ready")].status"#, json!(["True"]))]
    #[case(".status.conditions[?(@.type=='Other')].status", json!([]))]
    #[case(".status.conditions[*].type", json!(["Launched", "Ready"]))]
    #[case(".status.conditions[0].type", json!(["Launched"]))]
    #[case(".status.conditions[-1:]", json!([]))]
    #[case(".nothing.here", json!([]))]
    fn paths(#[case] path: &str, #[case] expected: Value) {
        let object = json!({
            "metadata": {"labels": {"node.kubernetes.io/instance-type": "m5.large"}}, "spec": {"weight": 3},
            "status": {"conditions": [{"type": "Launched", "status": "False"}, {"type": "Ready", "status": "True"}]},
        });
        assert_eq!(json!(find(&object, path)), expected);
    }
}
