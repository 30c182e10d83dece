//! Rules of definitions in CEL (`x-kubernetes-validations`): `self` is the value, `oldSelf` what stood there before.

use super::{
    cel_value::{cel_value, escaped},
    functions::{ENVIRONMENT, declare},
    node::{Kind, Node},
    validate::{join, same_element},
};
use crate::apiserver::{
    field_error::{FieldError, Problem},
    value::{text, text_or_empty},
};
use cel::{
    Context, Program, Value as CelValue,
    common::ast::{EntryExpr, Expr, IdedEntryExpr},
};
use serde_json::Value;

/// A rule, compiled.
#[derive(Debug)]
pub(crate) struct Rule {
    program: Program,
    text: String,
    message: String,
    message_expression: Option<Program>,
    reason: Reason,
    /// Where the error is told, relative to the rule's place, e.g. `.replicas`.
    field_path: String,
    /// Whether it compares with the object before; such rules do not apply to new objects.
    pub(crate) is_transition: bool,
}

/// `reason` of a rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reason {
    Invalid,
    Forbidden,
    Required,
    Duplicate,
}

impl Rule {
    /// Compiles one element of `x-kubernetes-validations`.
    ///
    /// # Errors
    /// The field of the element that is wrong, and why.
    pub(super) fn compile(source: &Value, scope: &Scope<'_>) -> Result<Self, FieldError> {
        let rule = text_or_empty(source, &["rule"]).trim().to_owned();
        if rule.is_empty() {
            return Err(FieldError::required(".rule", "rule is not specified"));
        }
        let program = compile(&rule, ".rule", scope)?;
        let message_expression =
            text(source, &["messageExpression"]).map(|text| compile(text, ".messageExpression", scope)).transpose()?;
        let is_transition = program.references().has_variable("oldSelf");
        Ok(Self {
            program,
            message: text_or_empty(source, &["message"]).to_owned(),
            message_expression,
            reason: reason(text_or_empty(source, &["reason"]))?,
            field_path: text_or_empty(source, &["fieldPath"]).to_owned(),
            is_transition,
            text: rule,
        })
    }

    fn failure(&self, value: &Value, scope: &Context<'_, '_>, path: &str) -> Option<FieldError> {
        let detail = match self.program.execute(scope) {
            Ok(CelValue::Bool(true)) => return None,
            Ok(CelValue::Bool(false)) => self.told(scope),
            Ok(other) => format!("rule `{}` must give true or false, not {other:?}", self.text),
            Err(error) => format!("{}: rule evaluation error: {error}", self.told(scope)),
        };
        let field = join_field(path, &self.field_path);
        let problem = match self.reason {
            Reason::Invalid if value.is_object() || value.is_array() => Problem::InvalidUnshown,
            Reason::Invalid => Problem::Invalid(value.clone()),
            Reason::Forbidden => Problem::Forbidden,
            Reason::Required => Problem::Required,
            Reason::Duplicate => Problem::Duplicate(value.clone()),
        };
        Some(FieldError { field, problem, detail })
    }

    fn told(&self, scope: &Context<'_, '_>) -> String {
        let expressed = self.message_expression.as_ref().and_then(|program| match program.execute(scope) {
            // What the message expression gives is only used when it is one line of text.
            Ok(CelValue::String(text)) if !text.trim().is_empty() && !text.contains('\n') => Some(text.to_string()),
            _ => None,
        });
        let written = Some(self.message.trim().to_owned()).filter(|message| !message.is_empty());
        expressed.or(written).unwrap_or_else(|| format!("failed rule: {}", self.text))
    }
}

fn compile(text: &str, field: &str, scope: &Scope<'_>) -> Result<Program, FieldError> {
    let failed = |why: &str| FieldError::invalid(field, text, format!("compilation failed: {why}"));
    let program = ENVIRONMENT.compile(text).map_err(|error| failed(error.to_string().trim()))?;
    match scope.unknown_field(&program.expression().expr) {
        Some(unknown) => Err(failed(&format!("undefined field '{unknown}'"))),
        None => Ok(program),
    }
}

/// Where a rule stands in the schema.
pub(super) struct Scope<'a> {
    pub(super) node: &'a Node,
    /// At the top, every object has a few fields more.
    pub(super) is_root: bool,
}

impl<'a> Scope<'a> {
    /// The first field that an expression selects from `self` or `oldSelf`, or from what is in them, and that the schema does not have.
    fn unknown_field(&self, expression: &Expr) -> Option<String> {
        if let Expr::Select(select) = expression
            && let Some(node) = self.node_of(&select.operand.expr)
            && !self.has_field(node, &select.field)
        {
            return Some(select.field.clone());
        }
        let entry = |entry: &IdedEntryExpr| match &entry.expr {
            EntryExpr::StructField(field) => self.unknown_field(&field.value.expr),
            EntryExpr::MapEntry(entry) => {
                self.unknown_field(&entry.key.expr).or_else(|| self.unknown_field(&entry.value.expr))
            }
        };
        match expression {
            Expr::Select(select) => self.unknown_field(&select.operand.expr),
            Expr::Call(call) => {
                let target = call.target.as_deref();
                target.into_iter().chain(&call.args).find_map(|part| self.unknown_field(&part.expr))
            }
            Expr::List(list) => list.elements.iter().find_map(|element| self.unknown_field(&element.expr)),
            Expr::Map(map) => map.entries.iter().find_map(entry),
            Expr::Struct(of) => of.entries.iter().find_map(entry),
            Expr::Comprehension(all) => [&all.iter_range, &all.accu_init, &all.loop_cond, &all.loop_step, &all.result]
                .into_iter()
                .find_map(|part| self.unknown_field(&part.expr)),
            Expr::Ident(_) | Expr::Literal(_) | Expr::Unspecified => None,
        }
    }

    /// The schema of what an expression gives, as far as it only selects.
    fn node_of(&self, expression: &Expr) -> Option<&'a Node> {
        match expression {
            Expr::Ident(name) if ["self", "oldSelf"].contains(&name.as_str()) => Some(self.node),
            Expr::Select(select) => {
                let node = self.node_of(&select.operand.expr)?;
                let mut members = node.properties.iter().filter(|_| !self.is_common(node, &select.field));
                members.find(|(name, _)| escaped(name) == select.field).map(|(_, member)| member)
            }
            _ => None,
        }
    }

    fn has_field(&self, node: &Node, field: &str) -> bool {
        let is_closed =
            node.kind == Kind::Object && node.additional.is_none() && !node.additional_any && !node.preserve;
        !is_closed || self.is_common(node, field) || node.properties.keys().any(|name| escaped(name) == field)
    }

    /// Whether that is a field of every object.
    fn is_common(&self, node: &Node, field: &str) -> bool {
        let is_object = node.embedded || self.is_root && std::ptr::eq(node, self.node);
        is_object && ["apiVersion", "kind", "metadata"].contains(&field)
    }
}

fn reason(text: &str) -> Result<Reason, FieldError> {
    match text {
        "" | "FieldValueInvalid" => Ok(Reason::Invalid),
        "FieldValueForbidden" => Ok(Reason::Forbidden),
        "FieldValueRequired" => Ok(Reason::Required),
        "FieldValueDuplicate" => Ok(Reason::Duplicate),
        other => {
            let known = ["FieldValueDuplicate", "FieldValueForbidden", "FieldValueInvalid", "FieldValueRequired"];
            Err(FieldError::not_supported(".reason", other, &known))
        }
    }
}

fn join_field(path: &str, relative: &str) -> String {
    let relative = relative.trim_start_matches('.');
    if relative.is_empty() { path.to_owned() } else { join(path, relative) }
}

/// Evaluates the rules at and below an object; what fails is added to `errors`.
pub(super) fn check(node: &Node, object: &Value, old: Option<&Value>, errors: &mut Vec<FieldError>) {
    if !node.has_rules {
        return;
    }
    let mut context = Context::with_env(ENVIRONMENT.clone());
    declare(&mut context);
    check_value(&context, node, object, old, "", errors);
}

fn check_value(
    context: &Context<'_, '_>,
    node: &Node,
    value: &Value,
    old: Option<&Value>,
    path: &str,
    errors: &mut Vec<FieldError>,
) {
    let unchanged = old == Some(value);
    // What has not changed is not judged again, except by rules that speak of the change itself.
    if !node.has_rules || (unchanged && !node.has_transitions) || value.is_null() {
        return;
    }
    check_here(context, node, value, old, path, errors);
    match value {
        Value::Object(members) => {
            for (name, member) in members {
                let Some(below) = node.member(name) else { continue };
                let is_property = node.properties.contains_key(name);
                let path = if is_property { join(path, name) } else { format!("{path}[{name}]") };
                check_value(context, below, member, old.and_then(|old| old.get(name)), &path, errors);
            }
        }
        Value::Array(elements) => {
            let Some(items) = &node.items else { return };
            let before = old.and_then(Value::as_array);
            for (index, element) in elements.iter().enumerate() {
                let same = same_element(&node.list_type, element, before);
                check_value(context, items, element, same, &format!("{path}[{index}]"), errors);
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

fn check_here(
    context: &Context<'_, '_>,
    node: &Node,
    value: &Value,
    old: Option<&Value>,
    path: &str,
    errors: &mut Vec<FieldError>,
) {
    let unchanged = old == Some(value);
    let applies = |rule: &&Rule| if rule.is_transition { old.is_some() } else { !unchanged };
    let mut rules = node.rules.iter().filter(applies).peekable();
    if rules.peek().is_none() {
        return;
    }
    let mut scope = context.new_inner_scope();
    scope.add_variable_from_value("self", cel_value(node, value));
    if let Some(old) = old.filter(|_| node.rules.iter().any(|rule| rule.is_transition)) {
        scope.add_variable_from_value("oldSelf", cel_value(node, old));
    }
    errors.extend(rules.filter_map(|rule| rule.failure(value, &scope, path)));
}
