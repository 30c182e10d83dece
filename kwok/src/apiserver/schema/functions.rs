//! The functions that Kubernetes adds to CEL: texts, lists, regular expressions and quantities
//! (`k8s.io/apiserver/pkg/cel/library`).

use crate::apiserver::builtin::Quantity;
use cel::{
    Context, Env, ExecutionError, Value as CelValue,
    extractors::This,
    objects::{Opaque, Value},
};
use regex::Regex;
use std::{
    cmp::Ordering,
    sync::{Arc, LazyLock},
};

/// CEL's standard library with the extensions for texts and lists.
pub(super) static ENVIRONMENT: LazyLock<Arc<Env>> = LazyLock::new(|| {
    let mut environment = Env::stdlib();
    environment.add_extension(cel::extensions::strings).expect("the standard library has none of the texts' functions");
    Arc::new(environment)
});

/// A quantity inside an expression.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct CelQuantity(Quantity);

impl Opaque for CelQuantity {
    fn runtime_type_name(&self) -> &str {
        "kubernetes.Quantity"
    }
}

type Text = Arc<String>;
type List = Arc<Vec<Value>>;

/// Declares the functions that are not CEL's own.
pub(super) fn declare(context: &mut Context<'_, '_>) {
    let mut declared = || {
        context.add_function("find", find)?;
        context.add_function("findAll", find_all)?;
        context.add_function("isSorted", |This(list): This<List>| list.is_sorted_by(in_order))?;
        context.add_function("sum", sum)?;
        context.add_function("min", |This(list): This<List>| extreme(&list, Ordering::Less))?;
        context.add_function("max", |This(list): This<List>| extreme(&list, Ordering::Greater))?;
        context.add_function("isQuantity", |text: Text| Quantity::parse(&text).is_some())?;
        context.add_function("quantity", |text: Text| quantity(&text))?;
        context.add_function("isGreaterThan", |This(one): This<Value>, other: Value| {
            Ok::<_, ExecutionError>(compare(&one, &other)? == Ordering::Greater)
        })?;
        context.add_function("isLessThan", |This(one): This<Value>, other: Value| {
            Ok::<_, ExecutionError>(compare(&one, &other)? == Ordering::Less)
        })?;
        context.add_function("compareTo", |This(one): This<Value>, other: Value| {
            Ok::<_, ExecutionError>(compare(&one, &other)? as i64)
        })
    };
    declared().expect("CEL's standard library has none of these functions");
}

fn regex(function: &str, pattern: &str) -> Result<Regex, ExecutionError> {
    Regex::new(pattern).map_err(|error| ExecutionError::function_error(function, error))
}

/// The first match, or the empty text.
#[expect(clippy::needless_pass_by_value, reason = "CEL hands arguments over by value")]
fn find(This(text): This<Text>, pattern: Text) -> Result<CelValue, ExecutionError> {
    let found = regex("find", &pattern)?.find(&text).map(|found| found.as_str().to_owned());
    Ok(found.unwrap_or_default().into())
}

#[expect(clippy::needless_pass_by_value, reason = "CEL hands arguments over by value")]
fn find_all(This(text): This<Text>, pattern: Text) -> Result<CelValue, ExecutionError> {
    let pattern = regex("findAll", &pattern)?;
    Ok(pattern.find_iter(&text).map(|found| found.as_str()).collect::<Vec<_>>().into())
}

fn in_order(one: &Value, next: &Value) -> bool {
    one.partial_cmp(next).is_some_and(Ordering::is_le)
}

fn sum(This(list): This<List>) -> Result<CelValue, ExecutionError> {
    let mut total = CelValue::Int(0);
    for element in list.iter() {
        total = match (total, element) {
            (CelValue::Int(sum), CelValue::Int(number)) => CelValue::Int(sum.saturating_add(*number)),
            (CelValue::Int(sum), CelValue::Float(number)) => CelValue::Float(sum as f64 + number),
            (CelValue::Float(sum), CelValue::Float(number)) => CelValue::Float(sum + number),
            (_, other) => return Err(ExecutionError::function_error("sum", format!("{other:?} is no number"))),
        };
    }
    Ok(total)
}

fn extreme(list: &[Value], wanted: Ordering) -> Result<CelValue, ExecutionError> {
    let better = |best: &Value, next: &Value| next.partial_cmp(best) == Some(wanted);
    let found = list.iter().reduce(|best, next| if better(best, next) { next } else { best });
    found.cloned().ok_or_else(|| ExecutionError::function_error("min/max", "the list is empty"))
}

fn quantity(text: &str) -> Result<CelValue, ExecutionError> {
    let parsed = Quantity::parse(text)
        .ok_or_else(|| ExecutionError::function_error("quantity", format!("`{text}` is no quantity")))?;
    Ok(CelValue::Opaque(Arc::new(CelQuantity(parsed))))
}

fn compare(one: &Value, other: &Value) -> Result<Ordering, ExecutionError> {
    let read = |value: &Value| match value {
        CelValue::Opaque(opaque) => opaque.downcast_ref::<CelQuantity>().map(|quantity| quantity.0),
        _ => None,
    };
    match (read(one), read(other)) {
        (Some(one), Some(other)) if one.exceeds(other) => Ok(Ordering::Greater),
        (Some(one), Some(other)) if other.exceeds(one) => Ok(Ordering::Less),
        (Some(_), Some(_)) => Ok(Ordering::Equal),
        _ => Err(ExecutionError::function_error("compareTo", "both sides must be quantities")),
    }
}
