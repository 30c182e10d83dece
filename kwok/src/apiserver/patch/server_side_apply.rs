//! Server-side apply (`application/apply-patch+yaml`): who owns which field, and what an apply changes.
//!
//! Ownership is in `metadata.managedFields`. Plain writes are recorded there when they name a field manager or when
//! somebody applies to the object; the API server records all of them (where no manager is named, by the user agent).

use super::field_set::{FieldSet, Shape, fields_of, is_named, key_element, shape, value_at};
use crate::apiserver::{
    registry::ResourceType,
    state::Call,
    status::{ApiError, Cause},
    store::lifecycle::time_text,
    value::{at, items, members_mut, set, text_or_empty},
};
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// One owner's fields: an element of `managedFields`.
#[derive(Clone, Debug)]
struct Entry {
    manager: String,
    operation: String,
    api_version: String,
    subresource: String,
    time: String,
    fields: FieldSet,
}

impl Entry {
    fn read(source: &Value) -> Self {
        let field = |key: &str| text_or_empty(source, &[key]).to_owned();
        let fields = source.get("fieldsV1").map(FieldSet::read).unwrap_or_default();
        Self {
            manager: field("manager"),
            operation: field("operation"),
            api_version: field("apiVersion"),
            subresource: field("subresource"),
            time: field("time"),
            fields,
        }
    }

    fn new(call: &Call, operation: &str) -> Self {
        Self {
            manager: call
                .query
                .field_manager
                .clone()
                .filter(|name| !name.is_empty())
                .unwrap_or_else(|| "unknown".into()),
            operation: operation.into(),
            api_version: call.resource.api_version(),
            subresource: call.path.subresource.clone().unwrap_or_default(),
            time: time_text(call.now),
            fields: FieldSet::default(),
        }
    }

    fn is_same_owner(&self, other: &Self) -> bool {
        self.manager == other.manager && self.operation == other.operation && self.subresource == other.subresource
    }

    fn to_value(&self) -> Value {
        let mut value = json!({
            "manager": self.manager, "operation": self.operation, "apiVersion": self.api_version, "time": self.time,
            "fieldsType": "FieldsV1", "fieldsV1": self.fields.to_value(),
        });
        if !self.subresource.is_empty() {
            value["subresource"] = self.subresource.as_str().into();
        }
        value
    }
}

fn entries(object: &Value) -> Vec<Entry> {
    items(object, &["metadata", "managedFields"]).iter().map(Entry::read).collect()
}

fn write_entries(object: &mut Value, entries: &[Entry]) {
    let kept: Vec<Value> = entries.iter().filter(|entry| !entry.fields.is_empty()).map(Entry::to_value).collect();
    if kept.is_empty() {
        members_mut(object, &["metadata"]).remove("managedFields");
    } else {
        set(object, &["metadata"], "managedFields", kept);
    }
}

/// The object that an apply makes where there was none.
pub(crate) fn create(resource: &ResourceType, given: &Value, call: &Call) -> Result<Value, ApiError> {
    require_manager(call)?;
    let given = applicable(resource, given, call)?;
    if text_or_empty(&given, &["metadata", "name"]).is_empty() {
        let expected = call.object_name().name;
        let message =
            format!("the name of the object ({expected} based on URL) was undeterminable: name must be provided");
        return Err(ApiError::bad_request(message));
    }
    let mut new = given.clone();
    let mine = Entry { fields: fields_of(resource, &given), ..Entry::new(call, "Apply") };
    write_entries(&mut new, &[mine]);
    Ok(new)
}

/// The object after an apply; `old` is the object as the request's version shows it.
pub(crate) fn apply(resource: &ResourceType, old: &Value, given: &Value, call: &Call) -> Result<Value, ApiError> {
    require_manager(call)?;
    let given = applicable(resource, given, call)?;
    let mut mine = Entry { fields: fields_of(resource, &given), ..Entry::new(call, "Apply") };
    let (before, mut others): (Vec<Entry>, Vec<Entry>) =
        entries(old).into_iter().partition(|entry| entry.is_same_owner(&mine));
    settle_conflicts(old, &given, &mine.fields, &mut others, call.query.force)?;
    let mut new = old.clone();
    merge(resource, &mut new, &given, &mut Vec::new());
    for entry in &before {
        give_up(&mut new, &entry.fields, &mine.fields, &others);
    }
    // An apply that changes nothing about the ownership leaves its time alone.
    if let Some(same) = before.iter().find(|entry| entry.fields == mine.fields) {
        mine.time.clone_from(&same.time);
    }
    others.insert(0, mine);
    write_entries(&mut new, &others);
    Ok(new)
}

/// The part of what was given that this path writes; nobody applies `managedFields`.
fn applicable(resource: &ResourceType, given: &Value, call: &Call) -> Result<Value, ApiError> {
    if !items(given, &["metadata", "managedFields"]).is_empty() {
        return Err(ApiError::bad_request("metadata.managedFields must be nil"));
    }
    let (named, expected) = (text_or_empty(given, &["metadata", "name"]), call.object_name().name);
    if !named.is_empty() && named != expected {
        let message = format!("the name of the object ({named}) does not match the name on the URL ({expected})");
        return Err(ApiError::bad_request(message));
    }
    let mut given = given.clone();
    if resource.status && call.path.subresource.is_none() {
        members_mut(&mut given, &[]).remove("status");
    }
    Ok(given)
}

/// Refuses to change what others own, or takes it from them.
fn settle_conflicts(
    old: &Value,
    given: &Value,
    wanted: &FieldSet,
    others: &mut [Entry],
    force: bool,
) -> Result<(), ApiError> {
    let differs = |path: &Vec<String>| value_at(old, path) != value_at(given, path) && is_leaf(wanted, path);
    let contested: Vec<Vec<String>> = wanted.paths().into_iter().filter(differs).collect();
    let mut causes = Vec::new();
    for entry in others {
        for path in contested.iter().filter(|path| entry.fields.contains(path)).cloned().collect::<Vec<_>>() {
            if force {
                entry.fields.remove(&path);
            } else {
                causes.push(conflict(entry, &path));
            }
        }
    }
    if causes.is_empty() { Ok(()) } else { Err(conflicts(causes)) }
}

/// Elements of lists are owned beside their fields; only the fields can differ.
fn is_leaf(set: &FieldSet, path: &[String]) -> bool {
    path.iter().try_fold(set, |set, element| set.below.get(element)).is_some_and(|set| set.below.is_empty())
}

fn conflict(entry: &Entry, path: &[String]) -> Cause {
    let below = if entry.subresource.is_empty() {
        String::new()
    } else {
        format!(" with subresource \"{}\"", entry.subresource)
    };
    // Those who apply are told apart by name only.
    let version = if entry.operation == "Apply" { String::new() } else { format!(" using {}", entry.api_version) };
    let message = format!("conflict with \"{}\"{below}{version}", entry.manager);
    Cause { reason: "FieldManagerConflict".into(), message, field: shown(path) }
}

fn conflicts(causes: Vec<Cause>) -> ApiError {
    let mut error = ApiError::bad_request(conflict_message(&causes));
    error.code = http::StatusCode::CONFLICT;
    error.reason = "Conflict";
    error.details.causes = causes;
    error
}

/// One conflict in one line, several by manager.
fn conflict_message(causes: &[Cause]) -> String {
    if let [one] = causes {
        return format!("Apply failed with 1 conflict: {}: {}", one.message, one.field);
    }
    let mut fields = BTreeMap::<&str, Vec<&str>>::new();
    for cause in causes {
        fields.entry(cause.message.trim_start_matches("conflict with ")).or_default().push(&cause.field);
    }
    let told = fields.iter().map(|(manager, fields)| {
        let fields: Vec<String> = fields.iter().map(|field| format!("\n- {field}")).collect();
        format!("conflicts with {manager}:{}", fields.concat())
    });
    format!("Apply failed with {} conflicts: {}", causes.len(), told.collect::<Vec<_>>().join("\n"))
}

/// A path as people read it: `.spec.containers[name="web"].image`.
fn shown(path: &[String]) -> String {
    let elements = path.iter().map(|element| match element.split_once(':') {
        Some(("f", name)) => format!(".{name}"),
        Some(("k", key)) => {
            let key: Value = serde_json::from_str(key).unwrap_or_default();
            let pairs = key.as_object().into_iter().flatten().map(|(name, value)| format!("{name}={value}"));
            format!("[{}]", pairs.collect::<Vec<_>>().join(","))
        }
        Some((_, value)) => format!("[={value}]"),
        None => element.clone(),
    });
    elements.collect()
}

/// Puts what is given into the object, list elements by their keys.
fn merge(resource: &ResourceType, target: &mut Value, given: &Value, names: &mut Vec<String>) {
    match (given, shape(resource, names, given)) {
        (Value::Object(members), Shape::Granular) if target.is_object() => {
            for (name, member) in members.iter().filter(|(_, member)| !member.is_null()) {
                names.push(name.clone());
                merge(resource, &mut target[name.as_str()], member, names);
                names.pop();
            }
        }
        (Value::Array(elements), Shape::Map(keys)) if target.is_array() => {
            let list = target.as_array_mut().expect("checked by the guard");
            for element in elements {
                let key = key_element(element, &keys);
                match list.iter_mut().find(|found| is_named(found, &key)) {
                    Some(found) => merge(resource, found, element, names),
                    None => list.push(element.clone()),
                }
            }
        }
        (Value::Array(elements), Shape::Set) if target.is_array() => {
            let list = target.as_array_mut().expect("checked by the guard");
            for element in elements {
                if !list.contains(element) {
                    list.push(element.clone());
                }
            }
        }
        _ => *target = given.clone(),
    }
}

/// Removes what was applied before, is no longer, and nobody else owns.
fn give_up(object: &mut Value, before: &FieldSet, now: &FieldSet, others: &[Entry]) {
    // An element goes as a whole before its keys do, while it can still be found by them.
    for path in &before.paths() {
        let is_kept = now.contains(path) || others.iter().any(|entry| owns(&entry.fields, path));
        let holds_kept = path.iter().try_fold(now, |set, element| set.below.get(element)).is_some();
        if !is_kept && !holds_kept {
            remove_at(object, path);
        }
    }
}

/// Whether a set has the field or something below it.
fn owns(set: &FieldSet, path: &[String]) -> bool {
    path.iter().try_fold(set, |set, element| set.below.get(element)).is_some()
}

fn remove_at(value: &mut Value, path: &[String]) {
    let Some((first, rest)) = path.split_first() else { return };
    let name = first.strip_prefix("f:");
    match (value, name) {
        (Value::Object(members), Some(name)) if rest.is_empty() => {
            members.remove(name);
        }
        (Value::Object(members), Some(name)) => {
            if let Some(member) = members.get_mut(name) {
                remove_at(member, rest);
                // A map or list that has lost its last member goes too.
                let is_empty = member.as_object().is_some_and(|all| all.is_empty())
                    || member.as_array().is_some_and(|all| all.is_empty());
                if is_empty {
                    members.remove(name);
                }
            }
        }
        (Value::Array(elements), _) if rest.is_empty() => elements.retain(|element| !is_named(element, first)),
        (Value::Array(elements), _) => {
            if let Some(element) = elements.iter_mut().find(|element| is_named(element, first)) {
                remove_at(element, rest);
            }
        }
        _ => {}
    }
}

/// Records a plain write: what it changes belongs to its manager from now on.
pub(crate) fn record(resource: &ResourceType, new: &mut Value, old: Option<&Value>, call: &Call) {
    let given = at(new, &["metadata", "managedFields"]).cloned();
    // An explicitly empty list forgets all owners; no list keeps them.
    let cleared = given.as_ref().is_some_and(|given| given.as_array().is_some_and(Vec::is_empty));
    let mut all = match (&given, old) {
        (Some(_), _) => entries(new),
        (None, Some(old)) => entries(old),
        (None, None) => Vec::new(),
    };
    if cleared {
        members_mut(new, &["metadata"]).remove("managedFields");
        return;
    }
    // Who has no name and meets no applier has nobody to conflict with: heartbeats stay cheap.
    if call.query.field_manager.is_none() && all.iter().all(|entry| entry.operation != "Apply") {
        write_entries(new, &all);
        return;
    }
    let present = fields_of(resource, new);
    let is_changed = |path: &Vec<String>| old.is_none_or(|old| value_at(old, path) != value_at(new, path));
    let changed: Vec<Vec<String>> = present
        .paths()
        .into_iter()
        .filter(|path| is_leaf(&present, path) || old.is_none_or(|old| value_at(old, path).is_none()))
        .filter(is_changed)
        .collect();
    let mut mine = Entry::new(call, "Update");
    for entry in &mut all {
        let gone = entry.fields.paths().into_iter().filter(|path| value_at(new, path).is_none());
        let lost: Vec<Vec<String>> = if entry.is_same_owner(&mine) {
            gone.collect()
        } else {
            gone.chain(changed.iter().filter(|path| entry.fields.contains(path)).cloned()).collect()
        };
        lost.iter().for_each(|path| entry.fields.remove(path));
    }
    match all.iter_mut().find(|entry| entry.is_same_owner(&mine)) {
        Some(found) if !changed.is_empty() => {
            changed.iter().for_each(|path| found.fields.insert(path));
            found.time = mine.time;
        }
        Some(_) => {}
        None => {
            changed.iter().for_each(|path| mine.fields.insert(path));
            all.push(mine);
        }
    }
    write_entries(new, &all);
}

fn require_manager(call: &Call) -> Result<(), ApiError> {
    match call.query.field_manager.as_deref() {
        Some(manager) if !manager.is_empty() => Ok(()),
        _ => Err(ApiError::unprocessable(
            "PatchOptions.meta.k8s.io \"\" is invalid: fieldManager: Required value: is required for apply patch",
        )),
    }
}
