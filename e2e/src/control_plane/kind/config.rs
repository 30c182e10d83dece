//! How a cluster is made: kind's configuration, and the scheduler's.

use crate::control_plane::kubernetes::{Pace, scheduler_configuration};

/// Where the scheduler's configuration is on a node.
const SCHEDULER_CONFIGURATION: &str = "/etc/kubernetes/sawhorse/scheduler.yaml";

/// The scheduler's configuration, for a file that [`cluster`] names.
pub(super) fn scheduler() -> String {
    scheduler_configuration("/etc/kubernetes/scheduler.conf")
}

/// kind's configuration of a cluster of two nodes, which take only pods that tolerate `CriticalAddonsOnly`: pods of scenarios do
/// not, the controller's two replicas do. What follows real time is as of the other real control plane
/// ([`crate::control_plane::Kubernetes`]). `folder` has the scheduler's configuration as `scheduler.yaml`.
pub(super) fn cluster(image: Option<&str>, folder: &str, pace: Pace) -> String {
    let image = image.map(|image| format!("  image: \"{image}\"\n")).unwrap_or_default();
    let Pace { node_grace, node_monitor_period } = pace;
    let taints = "taints: [{key: CriticalAddonsOnly, effect: NoSchedule}]";
    format!(
        "\
kind: Cluster
apiVersion: kind.x-k8s.io/v1alpha4
nodes:
- role: control-plane
{image}  extraMounts:
  - {{hostPath: \"{folder}/scheduler.yaml\", containerPath: {SCHEDULER_CONFIGURATION}, readOnly: true}}
  kubeadmConfigPatches:
  - |
    kind: InitConfiguration
    nodeRegistration: {{{taints}}}
- role: worker
{image}  kubeadmConfigPatches:
  - |
    kind: JoinConfiguration
    nodeRegistration: {{{taints}}}
kubeadmConfigPatches:
- |
  kind: ClusterConfiguration
  etcd: {{local: {{extraArgs: {{unsafe-no-fsync: \"true\"}}}}}}
  controllerManager:
    extraArgs:
      node-monitor-grace-period: {node_grace}s
      node-monitor-period: {node_monitor_period}s
      kube-api-qps: \"500\"
      kube-api-burst: \"1000\"
  scheduler:
    extraArgs: {{config: {SCHEDULER_CONFIGURATION}}}
    extraVolumes:
    - {{name: sawhorse, hostPath: {SCHEDULER_CONFIGURATION}, mountPath: {SCHEDULER_CONFIGURATION}, readOnly: true, pathType: File}}
- |
  kind: KubeletConfiguration
  # Renewed after a quarter of it, which must be well within the grace for silent nodes.
  nodeLeaseDurationSeconds: {node_grace}
  # kind's nodes run on machines that have the first version of control groups only, too.
  failCgroupV1: false
"
    )
}

#[cfg(test)]
mod tests {
    use super::{Pace, cluster};
    use serde_json::Value;

    #[test]
    fn the_configuration_and_its_patches_are_yaml() {
        let text = cluster(Some("sawhorse/kind-node:1"), "/tmp/x", Pace::of(20));
        let value: Value = serde_saphyr::from_str(&text).unwrap();
        let nodes = value["nodes"].as_array().unwrap();
        assert!(nodes.iter().all(|node| node["image"] == "sawhorse/kind-node:1"));
        let patches = nodes.iter().chain([&value]).flat_map(|part| part["kubeadmConfigPatches"].as_array().unwrap());
        let patches: Vec<Value> =
            patches.map(|patch| serde_saphyr::from_str(patch.as_str().unwrap()).unwrap()).collect();
        assert_eq!(patches.len(), 4);
        assert_eq!(patches[2]["controllerManager"]["extraArgs"]["node-monitor-grace-period"], "8s");
        assert_eq!(patches[2]["controllerManager"]["extraArgs"]["node-monitor-period"], "1s");
    }
}
