//! Who owns which fields: `metadata.managedFields`, and what plain writes do to it
//! (`k8s.io/apimachinery/pkg/util/managedfields`).

use super::{
    field_set::FieldSet,
    shapes::{Owned, builtin},
    typed::{Comparison, compare},
};
use crate::apiserver::{
    registry::{Origin, ResourceType},
    state::Call,
    store::lifecycle::time_text,
    value::{at, items, members_mut, segments, set, text, text_or_empty},
};
use serde_json::{Value, json};

/// The most owners by plain writes that an object has; the oldest beyond are put together.
const MAX_UPDATERS: usize = 10;

/// What remains of the oldest owners.
const ANCIENT: &str = "ancient-changes";

/// Who owns what stood there before anything was recorded.
pub(super) const BEFORE_FIRST_APPLY: &str = "before-first-apply";

/// Fields that nobody owns: they name the object, or the server sets them.
const NOT_OWNED: [&[&str]; 2] = [&["f:apiVersion"], &["f:kind"]];
const NOT_OWNED_OF_METADATA: [&str; 9] = [
    "f:name",
    "f:namespace",
    "f:creationTimestamp",
    "f:selfLink",
    "f:uid",
    "f:clusterName",
    "f:generation",
    "f:managedFields",
    "f:resourceVersion",
];

/// One owner's fields: an element of `managedFields`.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) source: Value,
}

impl Entry {
    /// An entry of who sends the request.
    pub(super) fn new(call: &Call, operation: &str, fields: &FieldSet) -> Self {
        let api_version = call.resource.api_version();
        let mut source = json!({
            "manager": call.manager(), "operation": operation, "apiVersion": api_version, "time": time_text(call.now),
            "fieldsType": "FieldsV1", "fieldsV1": fields.to_value(),
        });
        if let Some(subresource) = &call.path.subresource {
            source["subresource"] = subresource.as_str().into();
        }
        Self { source }
    }

    pub(super) fn text(&self, key: &str) -> &str {
        text_or_empty(&self.source, &[key])
    }

    pub(super) fn is_apply(&self) -> bool {
        self.text("operation") == "Apply"
    }

    /// Appliers are the same whatever version they apply.
    pub(super) fn is_same_owner(&self, other: &Self) -> bool {
        let same = |key| self.text(key) == other.text(key);
        same("manager") && same("operation") && same("subresource") && (self.is_apply() || same("apiVersion"))
    }

    fn raw_fields(&self) -> &Value {
        self.source.get("fieldsV1").unwrap_or(&Value::Null)
    }

    pub(super) fn fields(&self) -> FieldSet {
        FieldSet::read(self.raw_fields())
    }

    pub(super) fn set_fields(&mut self, fields: &FieldSet) {
        set(&mut self.source, &[], "fieldsV1", fields.to_value());
    }

    /// Takes fields away; answers whether any are left.
    pub(super) fn lose(&mut self, fields: &FieldSet) -> bool {
        if !fields.meets(self.raw_fields()) {
            return true;
        }
        let mut left = self.fields();
        left.subtract(fields);
        self.set_fields(&left);
        !left.is_empty()
    }

    fn gain(&mut self, fields: &FieldSet) {
        if !fields.is_within(self.raw_fields()) {
            let mut all = self.fields();
            all.add(fields);
            self.set_fields(&all);
        }
    }
}

/// The shapes of a resource's objects.
pub(super) fn owned(resource: &ResourceType) -> Owned<'_> {
    match &resource.origin {
        Origin::BuiltIn(kind) => builtin(&resource.api_version(), kind.kind),
        Origin::Custom(version) => {
            let (shapes, root) = &version.shapes;
            Owned { shapes, root: *root, has_zero: false }
        }
    }
}

/// Fields that a request does not write, whatever it says: the status of the main path, the rest of `status`.
pub(super) fn drop_reset(resource: &ResourceType, call: &Call, fields: &mut FieldSet) {
    let paths: &[&[&str]] = match call.path.subresource.as_deref() {
        Some("status") => match resource.kind.as_str() {
            _ if resource.custom().is_some() => &[&["f:spec"]],
            "Pod" => &[&["f:spec"], &["f:metadata", "f:deletionTimestamp"], &["f:metadata", "f:ownerReferences"]],
            "Deployment" => &[&["f:spec"], &["f:metadata", "f:labels"]],
            "CustomResourceDefinition" | "VolumeAttachment" => &[&["f:spec"], &["f:metadata"]],
            _ => &[&["f:spec"]],
        },
        _ if resource.status => &[&["f:status"]],
        _ => &[],
    };
    paths.iter().for_each(|path| fields.remove_tree(path));
}

/// Drops what nobody owns.
pub(super) fn drop_not_owned(fields: &mut FieldSet) {
    NOT_OWNED.iter().for_each(|path| fields.remove_tree(path));
    if let Some(metadata) = fields.below.get_mut("f:metadata") {
        metadata.is_member = false;
        NOT_OWNED_OF_METADATA.iter().for_each(|name| metadata.remove_tree(&[name]));
        if metadata.is_empty() {
            fields.below.remove("f:metadata");
        }
    }
}

pub(super) fn compare_for(resource: &ResourceType, call: &Call, old: Option<&Value>, new: &Value) -> Comparison {
    let mut found = compare(owned(resource), old, new);
    for fields in [&mut found.removed, &mut found.modified, &mut found.added] {
        drop_reset(resource, call, fields);
    }
    found
}

/// The owners that an object names.
pub(super) fn entries(object: &Value) -> Vec<Entry> {
    items(object, &["metadata", "managedFields"]).iter().map(|source| Entry { source: source.clone() }).collect()
}

/// Whether owners can be read; those that cannot count as none.
fn are_readable(entries: &[Entry]) -> bool {
    let known = |entry: &Entry| ["Apply", "Update"].contains(&entry.text("operation"));
    entries
        .iter()
        .all(|entry| known(entry) && !entry.text("apiVersion").is_empty() && entry.text("fieldsType") == "FieldsV1")
}

/// Writes the owners in their order: appliers first, then by time and name.
pub(super) fn write_entries(object: &mut Value, mut entries: Vec<Entry>) {
    if entries.is_empty() {
        members_mut(object, &["metadata"]).remove("managedFields");
        return;
    }
    entries.sort_by(|one, other| {
        let keys = ["operation", "time", "manager", "apiVersion", "subresource"];
        keys.map(|key| one.text(key)).cmp(&keys.map(|key| other.text(key)))
    });
    let sources: Vec<Value> = entries.into_iter().map(|entry| entry.source).collect();
    set(object, &["metadata"], "managedFields", sources);
}

/// Records a plain write: what it changes belongs to its manager from now on. `new` is the object as it was given, with its
/// defaults, before anything else is made of it.
pub(crate) fn record(resource: &ResourceType, new: &mut Value, old: Option<&Value>, call: &Call) {
    let mut all = owners(new, old, call);
    if all.is_empty() && old.is_some() {
        members_mut(new, &["metadata"]).remove("managedFields");
        return;
    }
    if call.path.subresource.as_deref() == Some("scale") && !all.iter().any(|entry| owns_replicas(resource, entry)) {
        // A Scale of which nobody owns anything is not begun to be recorded.
        write_entries(new, all);
        return;
    }
    if let Some(replicas) = no_replicas(resource, call, new) {
        all.retain_mut(|entry| entry.lose(&replicas));
        write_entries(new, all);
        return;
    }
    let mut found = compare_for(resource, call, old, new);
    let mut changed = std::mem::take(&mut found.added);
    changed.add(&found.modified);
    if !changed.is_empty() || !found.removed.is_empty() {
        all.retain_mut(|entry| {
            // Who writes anew what it owns keeps it.
            entry.lose(&found.removed)
                && (is_callers(entry, call) && changed.is_within(entry.raw_fields()) || entry.lose(&changed))
        });
    }
    drop_not_owned(&mut changed);
    if !changed.is_empty() {
        match all.iter_mut().find(|entry| is_callers(entry, call)) {
            Some(mine) => {
                mine.gain(&changed);
                set(&mut mine.source, &[], "time", time_text(call.now));
            }
            None => all.push(Entry::new(call, "Update", &changed)),
        }
        put_oldest_together(&mut all);
    }
    write_entries(new, all);
}

/// The field of the replicas, where a Scale has none of them: it then leaves the field out, so that nobody owns it.
fn no_replicas(resource: &ResourceType, call: &Call, new: &Value) -> Option<FieldSet> {
    let path = resource.scale.as_ref().filter(|_| call.path.subresource.as_deref() == Some("scale"))?;
    let keys = segments(&path.spec_replicas);
    let fields = keys.iter().rev().fold(json!({}), |below, key| json!({ format!("f:{key}"): below }));
    (at(new, &keys).and_then(Value::as_i64).unwrap_or_default() == 0).then(|| FieldSet::read(&fields))
}

fn owns_replicas(resource: &ResourceType, entry: &Entry) -> bool {
    let path = resource.scale.as_ref().map_or("", |paths| paths.spec_replicas.as_str());
    segments(path).into_iter().try_fold(entry.raw_fields(), |fields, part| fields.get(format!("f:{part}"))).is_some()
}

fn is_callers(entry: &Entry, call: &Call) -> bool {
    entry.text("operation") == "Update"
        && entry.text("manager") == call.manager()
        && entry.text("subresource") == call.path.subresource.as_deref().unwrap_or_default()
        && entry.text("apiVersion") == call.resource.api_version()
}

/// The owners that a write begins with: those that the object was given, unless it has none or is written in part.
fn owners(new: &Value, old: Option<&Value>, call: &Call) -> Vec<Entry> {
    let of_old = || old.map(entries).filter(|entries| are_readable(entries)).unwrap_or_default();
    if call.path.subresource.is_some() {
        return of_old();
    }
    match at(new, &["metadata", "managedFields"]).and_then(Value::as_array).map(Vec::as_slice) {
        // An explicitly empty list forgets all owners; no list keeps them.
        Some([]) => Vec::new(),
        Some([only]) if only.as_object().is_some_and(|members| members.values().all(Value::is_null)) => Vec::new(),
        Some(_) => Some(entries(new)).filter(|entries| are_readable(entries)).unwrap_or_else(of_old),
        None => of_old(),
    }
}

fn put_oldest_together(all: &mut Vec<Entry>) {
    let updaters = all.iter().filter(|entry| !entry.is_apply()).count();
    if updaters <= MAX_UPDATERS {
        return;
    }
    let (mut updates, others): (Vec<Entry>, Vec<Entry>) =
        std::mem::take(all).into_iter().partition(|entry| !entry.is_apply());
    updates.sort_by(|one, other| {
        (one.text("time"), one.text("manager")).cmp(&(other.text("time"), other.text("manager")))
    });
    let mut ancient = updates.remove(0);
    while updates.len() >= MAX_UPDATERS {
        let next = updates.remove(0);
        ancient.gain(&next.fields());
        set(&mut ancient.source, &[], "time", text(&next.source, &["time"]).unwrap_or_default());
    }
    set(&mut ancient.source, &[], "manager", ANCIENT);
    members_mut(&mut ancient.source, &[]).remove("subresource");
    updates.insert(0, ancient);
    all.extend(others.into_iter().chain(updates));
}
