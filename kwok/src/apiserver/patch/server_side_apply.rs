//! Server-side apply (`application/apply-patch+yaml`): what an apply changes, and whom it meets
//! (`sigs.k8s.io/structured-merge-diff/merge`).

use super::{
    field_set::FieldSet,
    managers::{BEFORE_FIRST_APPLY, Entry, compare_for, drop_not_owned, drop_reset, entries, owned, write_entries},
    typed::{compare, fields, merge, with_fields, without},
};
use crate::apiserver::{
    builtin,
    negotiation::unknown_fields,
    registry::{Origin, ResourceType},
    state::Call,
    status::{ApiError, Cause},
    store::lifecycle::time_text,
    value::{at, members_mut, set, text_or_empty},
};
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// The object after an apply; `old` is the object as the request's version shows it, if there is one.
pub(crate) fn apply(
    resource: &ResourceType,
    old: Option<&Value>,
    given: &Value,
    call: &Call,
) -> Result<Value, ApiError> {
    check(resource, given, call)?;
    check_typed(resource, given, call)?;
    let nothing = json!({"apiVersion": resource.api_version(), "kind": resource.kind});
    let live = without_managers(old.unwrap_or(&nothing));
    let mut all = old.map(entries).unwrap_or_default();
    if let Some(old) = old.filter(|_| all.is_empty()) {
        all.extend(of_what_was_there(resource, old, call));
    }
    let mut mine = fields(owned(resource), given);
    drop_reset(resource, call, &mut mine);
    let mut entry = Entry::new(call, "Apply", &mine);
    let before = all.iter().position(|other| other.is_same_owner(&entry)).map(|place| all.remove(place));
    let mut new = merge(owned(resource), &live, given).map_err(|why| unreadable(resource, call, &why))?;
    if let Some(before) = &before {
        new = pruned(resource, &new, &before.fields(), &mine, &all);
    }
    settle(resource, call, &live, &new, &mut all)?;
    let is_new = |entry: &&mut Entry| entry.text("manager") == BEFORE_FIRST_APPLY && entry.text("time").is_empty();
    all.iter_mut().filter(is_new).for_each(|entry| set(&mut entry.source, &[], "time", time_text(call.now)));
    drop_not_owned(&mut mine);
    entry.set_fields(&mine);
    // An apply that changes nothing leaves its time alone.
    if new == live {
        let time = before.as_ref().and_then(|before| before.source.get("time"));
        match time {
            Some(time) => set(&mut entry.source, &[], "time", time.clone()),
            None => drop(members_mut(&mut entry.source, &[]).remove("time")),
        }
    }
    if !mine.is_empty() {
        all.push(entry);
    }
    write_entries(&mut new, all);
    Ok(new)
}

fn without_managers(object: &Value) -> Value {
    let mut object = object.clone();
    if at(&object, &["metadata", "managedFields"]).is_some() {
        members_mut(&mut object, &["metadata"]).remove("managedFields");
    }
    object
}

/// What nobody is recorded for belongs to nobody in particular. When, is said once that is recorded.
fn of_what_was_there(resource: &ResourceType, old: &Value, call: &Call) -> Option<Entry> {
    let found = compare(owned(resource), None, old);
    let mut there = found.added;
    // What a kind cannot do without is never new.
    there.add(&found.modified);
    drop_reset(resource, call, &mut there);
    drop_not_owned(&mut there);
    let mut entry = Entry::new(call, "Update", &there);
    set(&mut entry.source, &[], "manager", BEFORE_FIRST_APPLY);
    members_mut(&mut entry.source, &[]).remove("time");
    (!there.is_empty()).then_some(entry)
}

/// Checks what is applied by itself, whether or not there is an object.
pub(crate) fn check(resource: &ResourceType, given: &Value, call: &Call) -> Result<(), ApiError> {
    let text = |path: &[&str]| text_or_empty(given, path).to_owned();
    let expected = resource.api_version();
    let found = text(&["apiVersion"]);
    if found != expected {
        let message = format!(
            "Incorrect version specified in apply patch. Specified patch version: {found}, expected: {expected}"
        );
        return Err(ApiError::bad_request(message));
    }
    match text(&["kind"]).as_str() {
        "" => return Err(ApiError::bad_request("Object 'Kind' is missing")),
        kind if resource.builtin().is_some() && kind != resource.kind => {
            let message = format!("the kind in the data ({kind}) does not match the expected kind ({})", resource.kind);
            return Err(ApiError::bad_request(message));
        }
        _ => {}
    }
    if at(given, &["metadata", "managedFields"]).is_some_and(|given| !given.is_null()) {
        return Err(ApiError::bad_request("metadata.managedFields must be nil"));
    }
    let (named, expected) = (text(&["metadata", "name"]), call.object_name().name);
    if !named.is_empty() && named != expected {
        let message = format!("the name of the object ({named}) does not match the name on the URL ({expected})");
        return Err(ApiError::bad_request(message));
    }
    Ok(())
}

/// What is applied must fit the kind's schema, whatever `fieldValidation` says.
fn check_typed(resource: &ResourceType, given: &Value, call: &Call) -> Result<(), ApiError> {
    let unknown = match &resource.origin {
        Origin::BuiltIn(kind) => {
            let mut texts = given.clone();
            builtin::write_empty_texts(&mut texts);
            match kind.read(&texts) {
                Ok(known) => unknown_fields(&texts, &known),
                // Data is a text here, whatever it holds.
                Err(_) if ["Secret", "ConfigMap"].contains(&kind.kind) && has_only_texts(given) => Vec::new(),
                Err(error) => return Err(unreadable(resource, call, &error.message)),
            }
        }
        Origin::Custom(version) => {
            let mut known = given.clone();
            let unknown = version.schema.prune(&mut known);
            if let Some(error) = version.schema.wrong_type(&known) {
                return Err(unreadable(resource, call, &error.to_string()));
            }
            unknown
        }
    };
    match unknown.first() {
        Some(field) => Err(unreadable(resource, call, &format!(".{field}: field not declared in schema"))),
        None => Ok(()),
    }
}

fn has_only_texts(object: &Value) -> bool {
    let data = ["data", "binaryData"].map(|key| object.get(key).and_then(Value::as_object));
    data.into_iter().flatten().flat_map(|data| data.values()).all(Value::is_string)
}

/// The refusal of an object that is as its kind's schema says, and yet none of that kind: data that is no base64.
pub(crate) fn not_converted(resource: &ResourceType, call: &Call, error: &ApiError) -> ApiError {
    let (group, version, kind) = (&resource.group, &resource.version, &resource.kind);
    let name = call.object_name().name;
    ApiError::internal(format!(
        "failed to convert new object (/{name}; {group}/{version}, Kind={kind}) to proper version: {}",
        error.message
    ))
}

fn unreadable(resource: &ResourceType, call: &Call, why: &str) -> ApiError {
    let name = call.object_name();
    let (kind, version) = (&resource.kind, resource.api_version());
    let message = format!(
        "failed to create typed patch object ({}/{}; {version}, Kind={kind}): {why}",
        name.namespace, name.name
    );
    ApiError::internal(message)
}

/// The merged object without what was applied before, is no longer, and nobody else owns.
fn pruned(resource: &ResourceType, merged: &Value, before: &FieldSet, mine: &FieldSet, others: &[Entry]) -> Value {
    let owned = owned(resource);
    let full = |set: &FieldSet| with_fields(owned, set);
    let last = full(before);
    let cut = without(owned, merged, &last);
    // What somebody owns comes back.
    let mut kept = fields(owned, &cut);
    kept = full(&kept);
    let mut managed = mine.clone();
    others.iter().for_each(|entry| managed.add(&entry.fields()));
    kept.add(&full(&managed));
    let mut gone = full(&fields(owned, merged));
    gone.subtract(&kept);
    let cut = without(owned, merged, &gone);
    // So does what was not part of what was applied.
    let mut dangling = full(&fields(owned, merged));
    dangling.subtract(&full(&fields(owned, &cut)));
    without(owned, merged, &dangling.common(&last))
}

/// Refuses to change what others own, or takes it from them.
fn settle(
    resource: &ResourceType,
    call: &Call,
    live: &Value,
    new: &Value,
    others: &mut Vec<Entry>,
) -> Result<(), ApiError> {
    let mut found = compare_for(resource, call, Some(live), new);
    let mut changed = std::mem::take(&mut found.added);
    changed.add(&found.modified);
    let contested = |entry: &Entry| entry.fields().common(&changed);
    let causes: Vec<Cause> = others.iter().flat_map(|entry| conflicts_with(entry, &contested(entry))).collect();
    if !causes.is_empty() && call.query.force != Some(true) {
        return Err(conflicts(causes));
    }
    others.retain_mut(|entry| entry.lose(&changed) && entry.lose(&found.removed));
    Ok(())
}

fn conflicts_with(entry: &Entry, contested: &FieldSet) -> Vec<Cause> {
    let subresource = match entry.text("subresource") {
        "" => String::new(),
        name => format!(" with subresource \"{name}\""),
    };
    let version = match entry.text("time") {
        _ if entry.is_apply() => String::new(),
        "" => format!(" using {}", entry.text("apiVersion")),
        time => format!(" using {} at {time}", entry.text("apiVersion")),
    };
    let message = format!("conflict with \"{}\"{subresource}{version}", entry.text("manager"));
    let cause = |path: &Vec<String>| Cause {
        reason: "FieldManagerConflict".into(),
        message: message.clone(),
        field: shown(path),
    };
    contested.paths().iter().map(cause).collect()
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
