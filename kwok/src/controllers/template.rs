//! Pods from templates, and the hashes by which templates are told apart.

use super::known::Labels;
use k8s_openapi::{
    api::core::v1::{Pod, PodTemplateSpec},
    apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference},
};
use sha2::{Digest, Sha256};

/// The label that tells the pods of a deployment's replica sets apart.
pub(super) const POD_TEMPLATE_HASH: &str = "pod-template-hash";
/// The label that says from which version of a template a stateful set or daemon set made a pod.
pub(super) const REVISION_HASH: &str = "controller-revision-hash";

/// A hash of a template: ten characters without vowels. Not the number that Kubernetes computes, which depends on how Go
/// prints structures.
pub(super) fn template_hash(template: &PodTemplateSpec) -> String {
    const ALPHABET: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";
    const LENGTH: usize = 10;
    let json = serde_json::to_vec(template).expect("a pod template is plain data");
    let digest = Sha256::digest(&json);
    digest.iter().take(LENGTH).map(|byte| char::from(ALPHABET[usize::from(*byte) % ALPHABET.len()])).collect()
}

/// Whether two templates make the same pods, whatever their hash labels.
pub(super) fn is_same_template(a: &PodTemplateSpec, b: &PodTemplateSpec) -> bool {
    let bare = |template: &PodTemplateSpec| {
        let mut template = template.clone();
        let metadata = template.metadata.get_or_insert_default();
        let labels = metadata.labels.get_or_insert_default();
        labels.remove(POD_TEMPLATE_HASH);
        template
    };
    bare(a) == bare(b)
}

/// A pod of the template, named by the API server after `prefix`.
pub(super) fn pod_of(template: &PodTemplateSpec, namespace: &str, prefix: &str, owner: OwnerReference) -> Pod {
    let given = template.metadata.clone().unwrap_or_default();
    let metadata = ObjectMeta {
        generate_name: Some(format!("{prefix}-")),
        namespace: Some(namespace.to_owned()),
        labels: given.labels,
        annotations: given.annotations,
        finalizers: given.finalizers,
        owner_references: Some(vec![owner]),
        ..ObjectMeta::default()
    };
    Pod { metadata, spec: template.spec.clone(), status: None }
}

/// Adds a label to a pod.
pub(super) fn label(pod: &mut Pod, name: &str, value: &str) {
    labels_of(pod).insert(name.to_owned(), value.to_owned());
}

/// Adds an annotation to a pod.
pub(super) fn annotate(pod: &mut Pod, name: &str, value: &str) {
    pod.metadata.annotations.get_or_insert_default().insert(name.to_owned(), value.to_owned());
}

fn labels_of(pod: &mut Pod) -> &mut Labels {
    pod.metadata.labels.get_or_insert_default()
}

#[cfg(test)]
mod tests {
    use super::{PodTemplateSpec, is_same_template, template_hash};
    use serde_json::json;

    fn template(labels: &serde_json::Value, image: &str) -> PodTemplateSpec {
        let spec = json!({"containers": [{"name": "c", "image": image}]});
        serde_json::from_value(json!({"metadata": {"labels": labels}, "spec": spec})).unwrap()
    }

    #[test]
    fn hash_labels_do_not_make_templates_differ() {
        let plain = template(&json!({"app": "web"}), "a");
        assert!(is_same_template(&plain, &template(&json!({"app": "web", "pod-template-hash": "x"}), "a")));
        assert!(!is_same_template(&plain, &template(&json!({"app": "web"}), "b")));
        assert_ne!(template_hash(&plain), template_hash(&template(&json!({"app": "web"}), "b")));
        assert_eq!(template_hash(&plain).len(), 10);
    }
}
