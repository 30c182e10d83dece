//! Objects compared, merged and cut by their shapes (`sigs.k8s.io/structured-merge-diff/typed`).

use super::{
    field_set::FieldSet,
    shapes::{Field, Owned, ShapeId, Shapes, Structure},
};
use crate::apiserver::value::Members;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// What distinguishes one object from another.
#[derive(Debug, Default)]
pub(super) struct Comparison {
    pub(super) removed: FieldSet,
    pub(super) modified: FieldSet,
    pub(super) added: FieldSet,
}

impl Comparison {
    fn nest(&mut self, element: &str, below: Self) {
        self.removed.nest(element, below.removed);
        self.modified.nest(element, below.modified);
        self.added.nest(element, below.added);
    }
}

/// Compares two objects of a kind; without the old one the new one is compared with an object that nobody has written.
pub(super) fn compare(owned: Owned<'_>, old: Option<&Value>, new: &Value) -> Comparison {
    let nothing = Value::Object(Members::new());
    let mut found = Comparison::default();
    Comparer { shapes: owned.shapes, has_zero: owned.has_zero }.compare(
        owned.root,
        Some(old.unwrap_or(&nothing)),
        Some(new),
        &mut found,
    );
    found
}

struct Comparer<'a> {
    shapes: &'a Shapes,
    has_zero: bool,
}

impl Comparer<'_> {
    fn compare(&self, shape: ShapeId, old: Option<&Value>, new: Option<&Value>, found: &mut Comparison) {
        if old.is_some() && old == new {
            return;
        }
        let structure = |value: Option<&Value>| value.map(|value| is_structured(self.shapes, shape, value));
        match (structure(old), structure(new)) {
            // Nothing (or null) takes the other's form.
            (Some(Form::Members), Some(Form::Members | Form::Null) | None)
            | (Some(Form::Null) | None, Some(Form::Members)) => self.compare_members(shape, old, new, found),
            (Some(Form::Elements), Some(Form::Elements | Form::Null) | None)
            | (Some(Form::Null) | None, Some(Form::Elements)) => self.compare_elements(shape, old, new, found),
            _ => {
                match (old, new) {
                    (None, _) => found.added.is_member = true,
                    (_, None) => found.removed.is_member = true,
                    _ => found.modified.is_member = true,
                }
                return;
            }
        }
        found.added.is_member |= old.is_none();
        found.removed.is_member |= new.is_none();
    }

    fn compare_members(&self, shape: ShapeId, old: Option<&Value>, new: Option<&Value>, found: &mut Comparison) {
        let [old_members, new_members] = [old, new].map(|value| value.and_then(Value::as_object));
        let is_new = |name: &&String| old_members.is_none_or(|members| !members.contains_key(*name));
        let names = old_members.into_iter().flat_map(Members::keys);
        for name in names.chain(new_members.into_iter().flat_map(Members::keys).filter(is_new)) {
            let field = self.shapes.field(shape, name);
            let [before, after] = [old, new].map(|value| value.and_then(|value| value.get(name)));
            let zero = [after, before].map(|other| self.zero(field, other));
            let before = before.or_else(|| old.and(zero[0].as_ref()));
            let after = after.or_else(|| new.and(zero[1].as_ref()));
            if before.is_some() && before == after {
                continue;
            }
            let mut below = Comparison::default();
            self.compare(field.shape, before, after, &mut below);
            found.nest(&format!("f:{name}"), below);
        }
    }

    /// What stands in for a field that Go's objects have always.
    fn zero(&self, field: Field, other: Option<&Value>) -> Option<Value> {
        let zero = match other? {
            Value::Object(_) => Value::Object(Members::new()),
            Value::String(_) => Value::from(""),
            Value::Number(_) => Value::from(0),
            Value::Bool(_) => Value::from(false),
            Value::Array(_) | Value::Null => Value::Null,
        };
        (field.always && self.has_zero).then_some(zero)
    }

    fn compare_elements(&self, shape: ShapeId, old: Option<&Value>, new: Option<&Value>, found: &mut Comparison) {
        let [before, after] = [old, new].map(|value| by_path_element(self.shapes, shape, value));
        let names: BTreeSet<&String> = before.keys().chain(after.keys()).collect();
        let none = Vec::new();
        for name in names {
            let [before, after] = [&before, &after].map(|all| all.get(name).unwrap_or(&none).as_slice());
            let mut below = Comparison::default();
            match (before, after) {
                ([_] | [], [_] | []) => self.compare(
                    self.shapes.element(shape),
                    before.first().copied(),
                    after.first().copied(),
                    &mut below,
                ),
                // Elements that occur twice are owned together.
                ([_, _, ..], [_, _, ..]) => below.modified.is_member = before != after,
                ([_, _, ..], _) => below.removed.is_member = true,
                (_, _) => below.added.is_member = true,
            }
            found.nest(name, below);
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Form {
    Null,
    Leaf,
    Members,
    Elements,
}

/// The value's form; an object or list without anything in it is owned as a whole.
fn is_structured(shapes: &Shapes, shape: ShapeId, value: &Value) -> Form {
    match shapes.structure(shape, value) {
        Structure::Members(members) if !members.is_empty() => Form::Members,
        Structure::Set(elements) | Structure::Elements(elements) if !elements.is_empty() => Form::Elements,
        // Beside something with members it counts as one without any.
        Structure::Members(_) | Structure::Set(_) | Structure::Elements(_) => Form::Null,
        Structure::Leaf if value.is_null() => Form::Null,
        Structure::Leaf => Form::Leaf,
    }
}

fn by_path_element<'a>(shapes: &Shapes, shape: ShapeId, list: Option<&'a Value>) -> BTreeMap<String, Vec<&'a Value>> {
    let mut all: BTreeMap<String, Vec<&Value>> = BTreeMap::new();
    for element in list.and_then(Value::as_array).into_iter().flatten() {
        all.entry(shapes.path_element(shape, element)).or_default().push(element);
    }
    all
}

/// The fields that an object has.
pub(super) fn fields(owned: Owned<'_>, object: &Value) -> FieldSet {
    let mut set = fields_below(owned.shapes, owned.root, object);
    set.is_member = false;
    set
}

fn fields_below(shapes: &Shapes, shape: ShapeId, value: &Value) -> FieldSet {
    let mut set = FieldSet::default();
    match shapes.structure(shape, value) {
        Structure::Leaf => set.is_member = true,
        Structure::Members(members) => {
            for (name, member) in members {
                let field = shapes.field(shape, name);
                let mut below = fields_below(shapes, field.shape, member);
                let is_empty = member.is_null() || member.as_object().is_some_and(Members::is_empty);
                below.is_member |= is_empty || !field.is_named;
                set.nest(&format!("f:{name}"), below);
            }
        }
        Structure::Set(elements) | Structure::Elements(elements) => {
            let list = Value::from(elements.to_vec());
            for (name, elements) in by_path_element(shapes, shape, Some(&list)) {
                let mut below = match elements.as_slice() {
                    [element] => fields_below(shapes, shapes.element(shape), element),
                    _ => FieldSet::default(),
                };
                below.is_member = true;
                set.nest(&name, below);
            }
        }
    }
    set
}

/// The object with what is applied put into it.
///
/// # Errors
/// A list in what is applied has an element twice, or one without its keys.
pub(super) fn merge(owned: Owned<'_>, old: &Value, applied: &Value) -> Result<Value, String> {
    Ok(merge_below(owned.shapes, owned.root, Some(old), applied, "")?.unwrap_or_else(|| Value::Object(Members::new())))
}

fn merge_below(
    shapes: &Shapes,
    shape: ShapeId,
    old: Option<&Value>,
    applied: &Value,
    path: &str,
) -> Result<Option<Value>, String> {
    match (shapes.structure(shape, applied), old.map(|old| shapes.structure(shape, old))) {
        (Structure::Members(members), before) if !members.is_empty() => {
            let mut merged = match before {
                Some(Structure::Members(before)) => before.clone(),
                _ => Members::new(),
            };
            for (name, member) in members {
                let below = format!("{path}.{name}");
                let value = merge_below(shapes, shapes.field(shape, name).shape, merged.get(name), member, &below)?;
                match value {
                    Some(value) => drop(merged.insert(name.clone(), value)),
                    None => drop(merged.remove(name)),
                }
            }
            Ok((!merged.is_empty()).then_some(Value::Object(merged)))
        }
        (Structure::Set(elements) | Structure::Elements(elements), before) if !elements.is_empty() => {
            let before = match before {
                Some(Structure::Set(before) | Structure::Elements(before)) => before,
                _ => &[],
            };
            merge_elements(shapes, shape, before, elements, path).map(Some)
        }
        // What has nothing in it changes nothing.
        (Structure::Members(_), Some(Structure::Members(before))) if !before.is_empty() => Ok(old.cloned()),
        (Structure::Set(_) | Structure::Elements(_), Some(Structure::Set(before) | Structure::Elements(before)))
            if !before.is_empty() =>
        {
            Ok(old.cloned())
        }
        (Structure::Leaf, Some(Structure::Members(before))) if applied.is_null() && !before.is_empty() => {
            Ok(old.cloned())
        }
        (Structure::Leaf, Some(Structure::Set(before) | Structure::Elements(before)))
            if applied.is_null() && !before.is_empty() =>
        {
            Ok(old.cloned())
        }
        _ => Ok(Some(applied.clone())),
    }
}

/// Elements in the order of what is applied. Those that are not keep their place before what is new, and before those that
/// followed them (`mergingWalker.visitListItems`).
fn merge_elements(
    shapes: &Shapes,
    shape: ShapeId,
    before: &[Value],
    applied: &[Value],
    path: &str,
) -> Result<Value, String> {
    let name = |element: &Value| shapes.path_element(shape, element);
    let wanted: Vec<String> = applied.iter().map(name).collect();
    if let Some(element) = applied.iter().find(|element| shapes.has_no_key(shape, element)) {
        return Err(format!(
            "{path}: element {element}: associative list with keys has an element that omits all key fields"
        ));
    }
    if let Some(twice) = wanted.iter().enumerate().find(|(index, name)| wanted[..*index].contains(name)) {
        return Err(format!("{path}: duplicate entries for key [{}]", twice.1));
    }
    let names: Vec<String> = before.iter().map(name).collect();
    let mut shared = wanted.iter().filter(|name| names.contains(name)).peekable();
    let mut merged = Vec::new();
    let (mut old, mut new) = (0, 0);
    while old < names.len() || new < wanted.len() {
        if let Some(here) = names.get(old) {
            let is_next = wanted.get(new) == Some(here);
            let is_out_of_order = new < wanted.len() && shared.peek().is_some_and(|next| *next != here);
            match wanted.iter().position(|name| name == here) {
                None => {
                    merged.push(before[old].clone());
                    old += 1;
                    continue;
                }
                // It has been merged, or will be where it is applied.
                Some(place) if !is_next && (is_out_of_order || place < new) => {
                    old += 1;
                    continue;
                }
                Some(_) if is_next => old += 1,
                Some(_) => {}
            }
        }
        let Some(here) = wanted.get(new) else { continue };
        let was = names.iter().position(|name| name == here).map(|place| &before[place]);
        let below = format!("{path}[{here}]");
        merged.extend(merge_below(shapes, shapes.element(shape), was, &applied[new], &below)?);
        shared.next_if(|next| *next == here);
        new += 1;
    }
    Ok(Value::Array(merged))
}

/// The object without these fields.
pub(super) fn without(owned: Owned<'_>, object: &Value, fields: &FieldSet) -> Value {
    cut(owned.shapes, owned.root, object, fields).unwrap_or_else(|| Value::Object(Members::new()))
}

fn cut(shapes: &Shapes, shape: ShapeId, value: &Value, fields: &FieldSet) -> Option<Value> {
    match shapes.structure(shape, value) {
        Structure::Leaf => Some(value.clone()),
        Structure::Members(members) => {
            let mut kept = Members::new();
            for (name, member) in members {
                let element = format!("f:{name}");
                match fields.below.get(&element) {
                    Some(below) if below.is_member => {}
                    Some(below) => {
                        let left = cut(shapes, shapes.field(shape, name).shape, member, below);
                        kept.insert(name.clone(), left.unwrap_or_default());
                    }
                    None => drop(kept.insert(name.clone(), member.clone())),
                }
            }
            (!kept.is_empty()).then_some(Value::Object(kept))
        }
        Structure::Set(elements) | Structure::Elements(elements) => {
            let mut kept = Vec::new();
            for element in elements {
                match fields.below.get(&shapes.path_element(shape, element)) {
                    Some(below) if below.is_member => {}
                    Some(below) => kept.push(cut(shapes, shapes.element(shape), element, below).unwrap_or_default()),
                    None => kept.push(element.clone()),
                }
            }
            (!kept.is_empty()).then_some(Value::Array(kept))
        }
    }
}

/// The set with every field of the kind that has a member below it: removing what a field holds removes the field too.
pub(super) fn with_fields(owned: Owned<'_>, set: &FieldSet) -> FieldSet {
    with_fields_below(owned.shapes, owned.root, set)
}

fn with_fields_below(shapes: &Shapes, shape: ShapeId, set: &FieldSet) -> FieldSet {
    let mut full = FieldSet { is_member: set.is_member, below: BTreeMap::new() };
    for (element, below) in &set.below {
        let (child, is_named) = match element.strip_prefix("f:") {
            Some(name) => {
                let field = shapes.field(shape, name);
                (field.shape, field.is_named)
            }
            None => (shapes.element(shape), false),
        };
        let mut below = with_fields_below(shapes, child, below);
        below.is_member |= is_named;
        full.nest(element, below);
    }
    full
}
