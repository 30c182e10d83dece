//! The history of stateful sets and daemon sets: a ControllerRevision for each template, which `kubectl rollout` reads
//! (`pkg/controller/history/controller_history.go`).

use super::{
    known::{Known, Labels},
    plan::{Action, Aim, Plan, Target},
};
use k8s_openapi::{
    api::{apps::v1::ControllerRevision, core::v1::PodTemplateSpec},
    apimachinery::pkg::apis::meta::v1::OwnerReference,
};
use serde_json::{Value, json};
use std::{collections::BTreeSet, sync::Arc};

/// Revisions kept beside those in use, where the set does not say how many.
const LIMIT: i32 = 10;

/// A set's present template, and what its revision says of it.
pub(super) struct Present<'a> {
    pub(super) owner: OwnerReference,
    pub(super) namespace: &'a str,
    /// The revision's name.
    pub(super) name: String,
    pub(super) template: &'a PodTemplateSpec,
    /// The label with the template's hash, beside the template's own.
    pub(super) hash: (&'static str, String),
    pub(super) annotations: Option<Labels>,
    pub(super) limit: Option<i32>,
    /// Names of the revisions that pods are of.
    pub(super) in_use: BTreeSet<String>,
}

/// Makes the present template's revision the newest one, and forgets the oldest beyond the limit.
pub(super) fn keep(present: &Present<'_>, known: &[Arc<ControllerRevision>], plan: &mut Plan) {
    let newest = known.iter().map(|one| one.revision).max().unwrap_or_default();
    match known.iter().find(|one| one.key().name == present.name) {
        None => plan.push(Action::CreateUnlessThere {
            url: format!("/apis/apps/v1/namespaces/{}/controllerrevisions", present.namespace),
            object: revision(present, newest + 1),
        }),
        Some(current) if current.revision < newest => {
            let body = json!({"metadata": {"uid": current.uid()}, "revision": newest + 1});
            plan.push(Action::Patch { aim: aim(current), status: false, body, told: None });
        }
        Some(_) => {}
    }
    let is_past = |one: &&Arc<ControllerRevision>| {
        let name = &one.key().name;
        *name != present.name && !present.in_use.contains(name)
    };
    let mut past: Vec<&Arc<ControllerRevision>> = known.iter().filter(is_past).collect();
    past.sort_by_key(|one| one.revision);
    let limit = usize::try_from(present.limit.unwrap_or(LIMIT)).unwrap_or_default();
    for one in past.iter().take(past.len().saturating_sub(limit)) {
        plan.push(Action::Delete { aim: aim(one), foreground: false, told: None });
    }
}

fn aim(revision: &ControllerRevision) -> Aim {
    Aim { target: Target::Revision, key: revision.key(), uid: revision.uid().to_owned() }
}

fn revision(present: &Present<'_>, number: i64) -> Value {
    let mut template = serde_json::to_value(present.template).expect("a pod template is plain data");
    // Undoing is a strategic merge patch with these data.
    template["$patch"] = "replace".into();
    let given = present.template.metadata.as_ref().and_then(|metadata| metadata.labels.clone());
    let mut labels = given.unwrap_or_default();
    labels.insert(present.hash.0.to_owned(), present.hash.1.clone());
    json!({
        "apiVersion": "apps/v1", "kind": "ControllerRevision",
        "metadata": {
            "name": present.name, "namespace": present.namespace, "labels": labels, "annotations": present.annotations,
            "ownerReferences": [present.owner],
        },
        "data": {"spec": {"template": template}}, "revision": number,
    })
}

#[cfg(test)]
mod tests {
    use super::{Action, Arc, BTreeSet, ControllerRevision, OwnerReference, Plan, PodTemplateSpec, Present, keep};
    use serde_json::json;

    fn known(name: &str, revision: i64) -> Arc<ControllerRevision> {
        let metadata = json!({"name": name, "namespace": "default", "uid": name});
        Arc::new(serde_json::from_value(json!({"metadata": metadata, "revision": revision})).unwrap())
    }

    fn kept(known: &[Arc<ControllerRevision>], limit: i32) -> Vec<Action> {
        let mut plan = Plan::default();
        let present = Present {
            owner: OwnerReference::default(),
            namespace: "default",
            name: "db-b".to_owned(),
            template: &PodTemplateSpec::default(),
            hash: ("hash", "b".to_owned()),
            annotations: None,
            limit: Some(limit),
            in_use: BTreeSet::from(["db-used".to_owned()]),
        };
        keep(&present, known, &mut plan);
        plan.actions
    }

    #[test]
    fn the_present_template_is_the_newest_revision() {
        let created = kept(&[known("db-a", 1)], 10);
        assert!(matches!(&created[..], [Action::CreateUnlessThere { object, .. }] if object["revision"] == 2));
        let raised = kept(&[known("db-a", 2), known("db-b", 1)], 10);
        assert!(matches!(&raised[..], [Action::Patch { body, .. }] if body["revision"] == 3));
        assert!(kept(&[known("db-a", 1), known("db-b", 2)], 10).is_empty());
    }

    #[test]
    fn the_oldest_that_no_pod_is_of_are_forgotten() {
        let gone = kept(&[known("db-used", 1), known("db-x", 2), known("db-y", 3), known("db-b", 4)], 1);
        assert!(matches!(&gone[..], [Action::Delete { aim, .. }] if aim.key.name == "db-x"));
    }
}
