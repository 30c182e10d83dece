//! What the server does to `metadata` on create, update and delete (`k8s.io/apiserver/pkg/registry/rest`).

use crate::apiserver::value::{self, at, carry_over, integer, members_mut, set, text, text_or_empty};
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

/// Finalizers that garbage collection removes itself.
pub(crate) const FOREGROUND: &str = "foregroundDeletion";
/// See [`FOREGROUND`].
pub(crate) const ORPHAN: &str = "orphan";

/// A time as `metadata` shows it: whole seconds, UTC.
pub(crate) fn time_text(at: Timestamp) -> String {
    at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// What a kind does beyond the common rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Generation {
    /// No `metadata.generation`.
    None,
    /// Counts changes of `spec`.
    Spec,
    /// Counts changes of `spec` and of the annotations.
    SpecAndAnnotations,
    /// Counts changes of everything but `metadata` and `status`.
    AllButStatus,
    /// Counts changes of everything but `metadata`.
    All,
}

/// Gives a new object its server-set metadata.
pub(crate) fn prepare_create(object: &mut Value, uid: &str, now: Timestamp, generation: Generation) {
    let metadata = members_mut(object, &["metadata"]);
    for key in ["deletionTimestamp", "deletionGracePeriodSeconds", "selfLink"] {
        metadata.remove(key);
    }
    metadata.insert("uid".into(), uid.into());
    metadata.insert("creationTimestamp".into(), time_text(now).into());
    if generation != Generation::None {
        metadata.insert("generation".into(), 1.into());
    }
}

/// Keeps what a client may not change in `metadata`, and counts the generation.
pub(crate) fn prepare_update(new: &mut Value, old: &Value, generation: Generation) {
    let kept = [
        "uid",
        "creationTimestamp",
        "deletionTimestamp",
        "deletionGracePeriodSeconds",
        "generation",
        "name",
        "namespace",
        "generateName",
    ];
    for key in kept {
        carry_over(new, old, &["metadata"], key);
    }
    members_mut(new, &["metadata"]).remove("selfLink");
    if generation_changes(new, old, generation) {
        let count = integer(old, &["metadata", "generation"]).unwrap_or_default() + 1;
        set(new, &["metadata"], "generation", count);
    }
}

fn generation_changes(new: &Value, old: &Value, generation: Generation) -> bool {
    match generation {
        Generation::None => false,
        Generation::Spec => new.get("spec") != old.get("spec"),
        Generation::SpecAndAnnotations => {
            let annotations = |object| at(object, &["metadata", "annotations"]);
            new.get("spec") != old.get("spec") || annotations(new) != annotations(old)
        }
        Generation::AllButStatus => !is_same_but(new, old, &["metadata", "status", "apiVersion"]),
        Generation::All => !is_same_but(new, old, &["metadata", "apiVersion"]),
    }
}

/// Whether writing `new` over `old` would change nothing but the version.
pub(crate) fn is_same(new: &Value, old: &Value) -> bool {
    let (Some(new), Some(old)) = (new.as_object(), old.as_object()) else { return false };
    let same_rest = new.len() == old.len()
        && new.iter().filter(|(key, _)| *key != "metadata").all(|(key, value)| old.get(key) == Some(value));
    same_rest && is_same_metadata(&new["metadata"], &old["metadata"])
}

fn is_same_metadata(new: &Value, old: &Value) -> bool {
    // A new time alone is no new ownership.
    let owners = [new, old].map(|metadata| value::items(metadata, &["managedFields"]));
    is_same_but(new, old, &["resourceVersion", "managedFields"])
        && owners[0].len() == owners[1].len()
        && owners[0].iter().zip(owners[1]).all(|(new, old)| is_same_but(new, old, &["time"]))
}

/// Whether two objects are the same but for some members.
fn is_same_but(new: &Value, old: &Value, ignored: &[&str]) -> bool {
    let (Some(new), Some(old)) = (new.as_object(), old.as_object()) else { return new == old };
    let counted = |key: &&String| !ignored.contains(&key.as_str());
    new.keys().filter(counted).count() == old.keys().filter(counted).count()
        && new.iter().filter(|(key, _)| counted(key)).all(|(key, value)| old.get(key) == Some(value))
}

/// Whether an update leaves an object with nothing that holds it back from deletion.
pub(crate) fn is_finished(object: &Value) -> bool {
    let begun = text(object, &["metadata", "deletionTimestamp"]).is_some();
    let grace = integer(object, &["metadata", "deletionGracePeriodSeconds"]).unwrap_or_default();
    begun && grace == 0 && !has_finalizers(object)
}

/// Whether any finalizer is left.
pub(crate) fn has_finalizers(object: &Value) -> bool {
    !value::items(object, &["metadata", "finalizers"]).is_empty()
        || (text(object, &["kind"]) == Some("Namespace") && !value::items(object, &["spec", "finalizers"]).is_empty())
}

/// Whether the object has this finalizer.
pub(crate) fn has_finalizer(object: &Value, finalizer: &str) -> bool {
    value::texts(object, &["metadata", "finalizers"]).any(|found| found == finalizer)
}

/// Adds or removes a finalizer.
pub(crate) fn set_finalizer(object: &mut Value, finalizer: &str, present: bool) {
    let mut finalizers: Vec<Value> = value::items(object, &["metadata", "finalizers"]).to_vec();
    finalizers.retain(|found| found != finalizer);
    if present {
        finalizers.push(finalizer.into());
    }
    let metadata = members_mut(object, &["metadata"]);
    if finalizers.is_empty() {
        metadata.remove("finalizers");
    } else {
        metadata.insert("finalizers".into(), finalizers.into());
    }
}

/// What becomes of dependents (`propagationPolicy`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Propagation {
    Background,
    Foreground,
    Orphan,
}

/// How an object is to be deleted.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Deletion {
    pub(crate) grace_seconds: Option<i64>,
    pub(crate) propagation: Option<Propagation>,
}

/// What a deletion does to the store.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Outcome {
    /// The object is removed now.
    Remove(Value),
    /// The object stays for a while, so marked.
    Mark(Value),
    /// The object stays as it is: a deletion at least as soon has begun.
    Unchanged,
}

/// Decides a deletion. `graceful` is the kind's own period in seconds, for kinds that have one (pods).
pub(crate) fn delete(old: &Value, deletion: Deletion, graceful: Option<i64>, now: Timestamp) -> Outcome {
    let mut object = old.clone();
    set_propagation(&mut object, deletion.propagation);
    let grace = match graceful {
        Some(own) => deletion.grace_seconds.unwrap_or(own).max(0),
        None => 0,
    };
    let marked = mark(&mut object, grace, now);
    if is_finished(&object) {
        return Outcome::Remove(object);
    }
    if !marked && is_same(&object, old) { Outcome::Unchanged } else { Outcome::Mark(object) }
}

fn set_propagation(object: &mut Value, propagation: Option<Propagation>) {
    let Some(propagation) = propagation else { return };
    set_finalizer(object, FOREGROUND, propagation == Propagation::Foreground);
    set_finalizer(object, ORPHAN, propagation == Propagation::Orphan);
}

/// Sets or shortens the deletion time; answers whether it did.
fn mark(object: &mut Value, grace: i64, now: Timestamp) -> bool {
    let begun = text(object, &["metadata", "deletionTimestamp"]).and_then(|text| text.parse::<Timestamp>().ok());
    let before = integer(object, &["metadata", "deletionGracePeriodSeconds"]).unwrap_or_default();
    if begun.is_some() && grace >= before {
        return false;
    }
    // The new moment is counted from when deletion was first asked for.
    let asked = begun.map_or(now, |at| at - SignedDuration::from_secs(before));
    let due = asked + SignedDuration::from_secs(grace);
    let metadata = members_mut(object, &["metadata"]);
    metadata.insert("deletionTimestamp".into(), time_text(due).into());
    metadata.insert("deletionGracePeriodSeconds".into(), grace.into());
    if begun.is_none()
        && let Some(generation) = at(object, &["metadata", "generation"]).and_then(Value::as_i64)
    {
        set(object, &["metadata"], "generation", generation + 1);
    }
    true
}

/// The seconds that a pod is given to stop: none before it has a node or after it has ended.
pub(crate) fn pod_grace_seconds(pod: &Value) -> Option<i64> {
    let ended = ["Succeeded", "Failed"].contains(&text_or_empty(pod, &["status", "phase"]));
    if ended || text_or_empty(pod, &["spec", "nodeName"]).is_empty() {
        return None;
    }
    Some(integer(pod, &["spec", "terminationGracePeriodSeconds"]).unwrap_or(30))
}

/// A namespace that is being deleted says so.
pub(crate) fn mark_namespace(object: &mut Value) {
    members_mut(object, &["status"]).insert("phase".into(), json!("Terminating"));
}

#[cfg(test)]
mod tests {
    use super::{Deletion, Generation, Outcome, Propagation, delete, pod_grace_seconds, prepare_update};
    use jiff::Timestamp;
    use rstest::rstest;
    use serde_json::{Value, json};

    fn now() -> Timestamp {
        "2026-01-01T00:00:00Z".parse().unwrap()
    }

    fn pod(node: &str, phase: &str) -> Value {
        json!({"metadata": {"name": "a"}, "spec": {"nodeName": node, "terminationGracePeriodSeconds": 30}, "status": {"phase": phase}})
    }

    fn deleted(object: &Value, grace_seconds: Option<i64>, propagation: Option<Propagation>) -> Outcome {
        delete(object, Deletion { grace_seconds, propagation }, pod_grace_seconds(object), now())
    }

    #[rstest]
    #[case("", "Pending", None, true)]
    #[case("n", "Running", None, false)]
    #[case("n", "Succeeded", None, true)]
    #[case("n", "Running", Some(0), true)]
    fn pods_with_a_node_are_given_time(
        #[case] node: &str,
        #[case] phase: &str,
        #[case] grace: Option<i64>,
        #[case] gone: bool,
    ) {
        assert_eq!(matches!(deleted(&pod(node, phase), grace, None), Outcome::Remove(_)), gone);
    }

    #[test]
    fn a_second_deletion_can_only_shorten() {
        let Outcome::Mark(marked) = deleted(&pod("n", "Running"), None, None) else { panic!("expected a mark") };
        assert_eq!(marked["metadata"]["deletionTimestamp"], "2026-01-01T00:00:30Z");
        assert_eq!(deleted(&marked, Some(60), None), Outcome::Unchanged);
        let Outcome::Mark(shortened) = deleted(&marked, Some(5), None) else { panic!("expected a mark") };
        assert_eq!(shortened["metadata"]["deletionTimestamp"], "2026-01-01T00:00:05Z");
        assert!(matches!(deleted(&shortened, Some(0), None), Outcome::Remove(_)));
    }

    #[test]
    fn finalizers_hold_an_object_back() {
        let outcome = deleted(&json!({"metadata": {"name": "a", "finalizers": ["x/y"]}}), None, None);
        let Outcome::Mark(marked) = outcome else { panic!("expected a mark") };
        assert_eq!(marked["metadata"]["deletionGracePeriodSeconds"], 0);
        let outcome = deleted(&json!({"metadata": {"name": "a"}}), None, Some(Propagation::Foreground));
        let Outcome::Mark(marked) = outcome else { panic!("expected a mark") };
        assert_eq!(marked["metadata"]["finalizers"], json!(["foregroundDeletion"]));
    }

    #[rstest]
    #[case(Generation::Spec, json!({"spec": 2, "status": 1}), 2)]
    #[case(Generation::Spec, json!({"spec": 1, "status": 2}), 1)]
    #[case(Generation::AllButStatus, json!({"spec": 1, "status": 1, "data": 1}), 2)]
    #[case(Generation::None, json!({"spec": 2, "status": 1}), 1)]
    fn generations_count_what_matters(#[case] generation: Generation, #[case] mut new: Value, #[case] expected: i64) {
        let old = json!({"metadata": {"name": "a", "generation": 1}, "spec": 1, "status": 1});
        prepare_update(&mut new, &old, generation);
        assert_eq!(new["metadata"]["generation"], expected);
    }
}
