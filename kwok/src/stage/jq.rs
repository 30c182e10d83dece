//! jq queries, compiled once: simple paths natively, everything else through jaq.

use super::path::Path;
use jaq_core::{
    Compiler, Ctx, Vars,
    data::JustLut,
    load::{Arena, File, Loader},
    unwrap_valr,
};
use jaq_json::{Num, Val};
use serde_json::Value;

/// Filters that would read the surroundings; a stage may depend on nothing but the object and the time handed down.
const REFUSED: [&str; 4] = ["now", "env", "localtime", "halt"];

/// A query.
pub(crate) enum Query {
    /// Run natively.
    Path(Path),
    /// Run by jaq.
    Jaq(Box<jaq_core::Filter<JustLut<Val>>>),
}

/// What a query gives for one value; never null.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Output {
    /// A text.
    Text(String),
    /// A truth value.
    Bool(bool),
    /// An integer that jq computed. Numbers of the object itself are [`Output::Other`]: they are floats to KWOK, and `In`
    /// never matches a float (spec kwok 2).
    Computed(i64),
    /// A number of the object itself, if it is one.
    Number(f64),
    /// An array or object.
    Other,
}

impl Query {
    /// Compiles `text`; the error says what jq did not understand.
    pub(crate) fn compile(text: &str) -> Result<Self, String> {
        match Path::parse(text) {
            Some(path) => Ok(Self::Path(path)),
            None => compile_jaq(text).map(|filter| Self::Jaq(Box::new(filter))),
        }
    }

    /// The outputs that are not null; an error anywhere gives none at all (spec kwok 2: "any runtime error ⇒ nil").
    pub(crate) fn run(&self, object: &Value) -> Vec<Output> {
        match self {
            Self::Path(path) => path.run(object).map(|found| outputs(&found)).unwrap_or_default(),
            Self::Jaq(filter) => run_jaq(filter, object).unwrap_or_default(),
        }
    }

    /// Whether it is cheap enough to be asked first.
    pub(crate) fn is_cheap(&self) -> bool {
        matches!(self, Self::Path(_))
    }
}

fn outputs(values: &[&Value]) -> Vec<Output> {
    let output = |value: &&Value| match value {
        Value::Null => None,
        Value::Bool(truth) => Some(Output::Bool(*truth)),
        Value::Number(number) => Some(Output::Number(number.as_f64().unwrap_or(f64::NAN))),
        Value::String(text) => Some(Output::Text(text.clone())),
        Value::Array(_) | Value::Object(_) => Some(Output::Other),
    };
    values.iter().filter_map(output).collect()
}

fn compile_jaq(text: &str) -> Result<jaq_core::Filter<JustLut<Val>>, String> {
    let defs = jaq_core::defs().chain(jaq_std::defs()).chain(jaq_json::defs());
    let loader = Loader::new(defs);
    let arena = Arena::default();
    let program = File { code: text, path: () };
    let modules = loader.load(&arena, program).map_err(|_| format!("`{text}` is not a jq query"))?;
    let funs = jaq_core::funs().chain(jaq_std::funs()).chain(jaq_json::funs());
    let funs = funs.map(|(name, arguments, native)| match REFUSED.contains(&name) && name != "halt" {
        true => (name, arguments, jaq_core::Native::new(|_| Box::new(std::iter::empty()))),
        false => (name, arguments, native),
    });
    let compiled = Compiler::default().with_funs(funs).compile(modules);
    let filter = compiled.map_err(|errors| {
        let unknown: Vec<String> =
            errors.iter().flat_map(|(_, errors)| errors).map(|(name, _)| format!("`{name}`")).collect();
        format!("`{text}` uses {}, which jq does not know", unknown.join(", "))
    })?;
    match REFUSED.iter().find(|name| mentions(text, name)) {
        Some(name) => Err(format!("`{text}` uses `{name}`, which a stage may not: it depends on more than the object")),
        None => Ok(filter),
    }
}

/// Whether `word` stands in `text` as a filter's name: not within a text literal, not as a field.
fn mentions(text: &str, word: &str) -> bool {
    let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let outside: String = text.split('"').step_by(2).collect::<Vec<_>>().join(" ");
    outside.match_indices(word).any(|(at, _)| {
        let before = outside[..at].chars().next_back();
        let after = outside[at + word.len()..].chars().next();
        !before.is_some_and(|c| is_name(c) || c == '.' || c == '$') && !after.is_some_and(|c| is_name(c) || c == ':')
    })
}

fn run_jaq(filter: &jaq_core::Filter<JustLut<Val>>, object: &Value) -> Option<Vec<Output>> {
    let context = Ctx::<JustLut<Val>>::new(&filter.lut, Vars::new([]));
    let mut outputs = Vec::new();
    for value in filter.id.run((context, to_val(object))).map(unwrap_valr) {
        outputs.extend(output(&value.ok()?));
    }
    Some(outputs)
}

/// Numbers become floats, as they are after KWOK's decoding.
fn to_val(value: &Value) -> Val {
    match value {
        Value::Null => Val::Null,
        Value::Bool(truth) => Val::Bool(*truth),
        Value::Number(number) => Val::Num(Num::Float(number.as_f64().unwrap_or(f64::NAN))),
        Value::String(text) => Val::from(text.clone()),
        Value::Array(items) => items.iter().map(to_val).collect(),
        Value::Object(fields) => {
            Val::obj(fields.iter().map(|(name, value)| (Val::from(name.clone()), to_val(value))).collect())
        }
    }
}

fn output(value: &Val) -> Option<Output> {
    match value {
        Val::Null => None,
        Val::Bool(truth) => Some(Output::Bool(*truth)),
        Val::Num(number) => Some(match (number, number.as_isize()) {
            (Num::Int(_) | Num::BigInt(_), Some(computed)) => Output::Computed(computed as i64),
            (Num::Float(number), _) => Output::Number(*number),
            (Num::Int(_) | Num::BigInt(_) | Num::Dec(_), _) => Output::Other,
        }),
        Val::TStr(text) | Val::BStr(text) => Some(Output::Text(String::from_utf8_lossy(text).into_owned())),
        Val::Arr(_) | Val::Obj(_) => Some(Output::Other),
    }
}

#[cfg(test)]
mod tests {
    use super::{Output, Query, run_jaq};
    use proptest::prelude::*;
    use rstest::rstest;
    use serde_json::{Value, json};

    fn text(text: &str) -> Output {
        Output::Text(text.to_owned())
    }

    #[rstest]
    #[case(".status.phase", vec![text("Running")])]
    #[case(".status.conditions.[] | select( .type == \"Ready\" ) | .status", vec![text("True")])]
    #[case(".status.conditions[].type", vec![text("Ready"), text("Other")])]
    #[case(".metadata.annotations[\"a/b\"]", vec![text("x")])]
    #[case(".metadata.annotations[\"none\"]", vec![])]
    #[case(".missing.deeper", vec![])]
    #[case(".missing.[]", vec![])]
    #[case(".status.phase.x", vec![])]
    #[case(".spec.replicas", vec![Output::Number(3.0)])]
    #[case(".spec.list | length", vec![Output::Computed(2)])]
    #[case(".status.conditions | map(.type) | join(\",\")", vec![text("Ready,Other")])]
    #[case(".spec.list", vec![Output::Other])]
    #[case(".spec.list.[].x", vec![])]
    fn queries_answer(#[case] query: &str, #[case] expected: Vec<Output>) {
        let object = json!({
            "metadata": {"annotations": {"a/b": "x"}},
            "spec": {"replicas": 3, "list": [1, 2]},
            "status": {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}, {"type": "Other"}]},
        });
        assert_eq!(Query::compile(query).unwrap().run(&object), expected);
    }

    #[rstest]
    #[case(".a |", "is not a jq query")]
    #[case(".a | nosuchfilter", "`nosuchfilter`")]
    #[case("now", "uses `now`")]
    #[case(".a | env", "uses `env`")]
    fn bad_queries_say_why(#[case] query: &str, #[case] problem: &str) {
        let refused = Query::compile(query).err().unwrap();
        assert!(refused.contains(problem), "{refused}");
    }

    #[rstest]
    #[case(".status.now")]
    #[case("{now: .a}")]
    #[case(".a | select(. == \"now\")")]
    fn fields_may_be_called_as_refused_filters(#[case] query: &str) {
        assert!(Query::compile(query).is_ok());
    }

    fn any_value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            (0..5i64).prop_map(Value::from),
            "[ab]{0,2}".prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 24, 3, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..3).prop_map(Value::from),
                prop::collection::btree_map("[abc]", inner, 0..3)
                    .prop_map(|fields| Value::Object(fields.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn native_paths_answer_as_jaq(object in any_value(), index in 0..8usize) {
            let query = [
                ".a", ".a.b", ".[]", ".a[]", ".a.[].b", ".a[\"b\"]", ".a.[] | select(.b == \"a\") | .c",
                ".[] | select( .a.b == \"ab\" )",
            ][index];
            let native = Query::compile(query).unwrap();
            prop_assert!(native.is_cheap());
            let jaq = super::compile_jaq(query).unwrap();
            prop_assert_eq!(native.run(&object), run_jaq(&jaq, &object).unwrap_or_default());
        }
    }
}
