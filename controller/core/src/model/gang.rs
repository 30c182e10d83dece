//! Pods that must all start, or none.

use super::pod_spec;
use k8s_openapi::api::core::v1::Pod;
use std::fmt;

/// The annotation by which Volcano's pods name their PodGroup (`scheduling.volcano.sh/v1beta1`).
const VOLCANO: &str = "scheduling.k8s.io/group-name";
/// The label by which pods name the PodGroup of the coscheduling plugin (`scheduling.x-k8s.io/v1alpha1`).
const COSCHEDULING: &str = "scheduling.x-k8s.io/pod-group";

/// Which pods start together: all that name one PodGroup, or one replica of a pod group of a Workload.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct GangKey {
    /// The pods' namespace.
    pub namespace: String,
    /// The PodGroup, or the Workload's and its pod group's names as `WORKLOAD/GROUP`.
    pub name: String,
    /// Which of several equal groups.
    pub replica: Option<String>,
}

impl GangKey {
    /// The gang that a pod says it belongs to.
    pub fn of(pod: &Pod) -> Option<Self> {
        let namespace = pod.metadata.namespace.clone().unwrap_or_else(|| "default".to_owned());
        if let Some(own) = &pod_spec(pod).workload_ref {
            let name = format!("{}/{}", own.name, own.pod_group);
            return Some(Self { namespace, name, replica: own.pod_group_replica_key.clone() });
        }
        let annotation = pod.metadata.annotations.as_ref().and_then(|own| own.get(VOLCANO));
        let label = pod.metadata.labels.as_ref().and_then(|own| own.get(COSCHEDULING));
        annotation.or(label).map(|name| Self { namespace, name: name.clone(), replica: None })
    }

    /// The key without the replica: all replicas have the same rule.
    #[must_use]
    pub fn group(&self) -> Self {
        Self { replica: None, ..self.clone() }
    }
}

impl fmt::Display for GangKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)?;
        self.replica.iter().try_for_each(|replica| write!(f, " ({replica})"))
    }
}

#[cfg(test)]
mod tests {
    use super::GangKey;
    use rstest::rstest;
    use serde_json::{Value, json};

    #[rstest]
    #[case(json!({"metadata": {"annotations": {"scheduling.k8s.io/group-name": "train"}}}), Some("default/train"))]
    #[case(json!({"metadata": {"namespace": "ml", "labels": {"scheduling.x-k8s.io/pod-group": "train"}}}), Some("ml/train"))]
    #[case(json!({"spec": {"containers": [], "workloadRef": {"name": "job", "podGroup": "workers", "podGroupReplicaKey": "1"}}}),
        Some("default/job/workers (1)"))]
    #[case(json!({"metadata": {"labels": {"app": "web"}}}), None)]
    fn pods_name_their_gang(#[case] pod: Value, #[case] gang: Option<&str>) {
        let pod = serde_json::from_value(pod).unwrap();
        assert_eq!(GangKey::of(&pod).map(|key| key.to_string()).as_deref(), gang);
    }
}
