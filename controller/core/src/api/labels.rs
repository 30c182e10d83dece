//! Every label, annotation, taint, finalizer and resource key that is part of the interface (spec core 1.7, aws 2.4).

use k8s_openapi::api::core::v1::Taint;

/// The API group of NodePools and NodeClaims, and the domain of their labels.
pub const GROUP: &str = "karpenter.sh";
/// The API group of EC2NodeClasses, and the domain of their labels.
pub const EC2_GROUP: &str = "karpenter.k8s.aws";

/// Label of NodeClaims and Nodes: the owning NodePool.
pub const NODE_POOL: &str = "karpenter.sh/nodepool";
/// Label of NodeClaims and Nodes: `spot`, `on-demand` or `reserved`.
pub const CAPACITY_TYPE: &str = "karpenter.sh/capacity-type";
/// Label of Nodes, `true` once registration is finished.
pub const REGISTERED: &str = "karpenter.sh/registered";
/// Label of Nodes, `true` once initialization is finished; never removed.
pub const INITIALIZED: &str = "karpenter.sh/initialized";
/// Label of Nodes; `true` keeps registration from copying the NodeClaim's taints.
pub const DO_NOT_SYNC_TAINTS: &str = "karpenter.sh/do-not-sync-taints";
/// Label of Nodes that are being terminated; the value is `karpenter`.
pub const EXCLUDE_FROM_LOAD_BALANCERS: &str = "node.kubernetes.io/exclude-from-external-load-balancers";

/// Label: the zone.
pub const ZONE: &str = "topology.kubernetes.io/zone";
/// Label: the region.
pub const REGION: &str = "topology.kubernetes.io/region";
/// Label: the instance type.
pub const INSTANCE_TYPE: &str = "node.kubernetes.io/instance-type";
/// Label: the processor architecture, `amd64` or `arm64`.
pub const ARCH: &str = "kubernetes.io/arch";
/// Label: the operating system, `linux` or `windows`.
pub const OS: &str = "kubernetes.io/os";
/// Label: the Windows build.
pub const WINDOWS_BUILD: &str = "node.kubernetes.io/windows-build";
/// Label: the host name; users may not ask for it in a NodePool.
pub const HOSTNAME: &str = "kubernetes.io/hostname";

/// Annotation of Nodes and Pods that keeps them from voluntary disruption.
pub const DO_NOT_DISRUPT: &str = "karpenter.sh/do-not-disrupt";
/// Annotation of virtual pods: that they stand for a CapacityBuffer.
pub const BUFFER_POD: &str = "karpenter.sh/capacity-buffer-fake-pod";
/// Annotation of virtual pods: their CapacityBuffer's name.
pub const BUFFER_NAME: &str = "karpenter.sh/capacity-buffer-name";
/// Annotation of virtual pods: their CapacityBuffer's namespace.
pub const BUFFER_NAMESPACE: &str = "karpenter.sh/capacity-buffer-namespace";
/// Annotation: the hash of the NodePool's template that a NodeClaim was made from.
pub const NODE_POOL_HASH: &str = "karpenter.sh/nodepool-hash";
/// Annotation: how [`NODE_POOL_HASH`] was computed.
pub const NODE_POOL_HASH_VERSION: &str = "karpenter.sh/nodepool-hash-version";
/// Annotation: RFC 3339 time at which the remaining pods are deleted by force.
pub const TERMINATION_TIMESTAMP: &str = "karpenter.sh/nodeclaim-termination-timestamp";
/// Annotation of NodeClaims: whether `minValues` was lowered for it, `true` or `false`.
pub const MIN_VALUES_RELAXED: &str = "karpenter.sh/nodeclaim-min-values-relaxed";
/// Annotation of NodeClaims, `true`: a NodeOverlay says what one of their offerings costs.
pub const PRICE_OVERLAY_APPLIED: &str = "karpenter.sh/price-overlay-applied";
/// Annotation of NodeClaims, `true`: a NodeOverlay says what one of their instance types has.
pub const CAPACITY_OVERLAY_APPLIED: &str = "karpenter.sh/capacity-overlay-applied";
/// Annotation of a NodeClaim that consolidation launched in place of others: why those went. Not one of the reference's.
pub const REPLACEMENT_FOR: &str = "sawhorse.karpenter.sh/replacement-for";
/// Annotation of a NodeClaim that a disruption command has: the command, as JSON. Not one of the reference's.
pub const COMMAND: &str = "sawhorse.karpenter.sh/command";
/// Annotation of a NodeClaim that a disruption command created: which of its replacements it is, as JSON. Not one of the
/// reference's.
pub const REPLACEMENT_OF: &str = "sawhorse.karpenter.sh/replacement-of";
/// Annotation of a NodeClaim whose disruption command was given up after it had been created: when. Not one of the reference's.
pub const ABANDONED: &str = "sawhorse.karpenter.sh/abandoned";
/// Annotation of pods: what their deletion costs relative to others.
pub const POD_DELETION_COST: &str = "controller.kubernetes.io/pod-deletion-cost";
/// Annotation of the EC2NodeClass and of NodeClaims: the hash of the class's spec.
pub const EC2_NODE_CLASS_HASH: &str = "karpenter.k8s.aws/ec2nodeclass-hash";
/// Annotation: how [`EC2_NODE_CLASS_HASH`] was computed.
pub const EC2_NODE_CLASS_HASH_VERSION: &str = "karpenter.k8s.aws/ec2nodeclass-hash-version";
/// Annotation of NodeClaims: the instance profile that the machine runs with.
pub const INSTANCE_PROFILE_NAME: &str = "karpenter.k8s.aws/instance-profile-name";
/// Annotation of NodeClaims whose instance has been tagged after registration.
pub const TAGGED: &str = "karpenter.k8s.aws/tagged";

/// Finalizer of NodeClaims (before launch) and Nodes (at registration).
pub const TERMINATION_FINALIZER: &str = "karpenter.sh/termination";
/// Finalizer of EC2NodeClasses.
pub const EC2_TERMINATION_FINALIZER: &str = "karpenter.k8s.aws/termination";

/// Taint of nodes that are being disrupted or terminated (`NoSchedule`).
pub const DISRUPTED_TAINT: &str = "karpenter.sh/disrupted";
/// Taint that nodes start with and registration removes (`NoExecute`).
pub const UNREGISTERED_TAINT: &str = "karpenter.sh/unregistered";

/// The resource name under which limits and usage count nodes.
pub const NODES_RESOURCE: &str = "nodes";

/// Label of EC2NodeClass ownership on NodeClaims and Nodes (`<group>/<lower-case kind>`).
pub const EC2_NODE_CLASS: &str = "karpenter.k8s.aws/ec2nodeclass";
/// Label: the zone's id, e.g. `use1-az1`.
pub const ZONE_ID: &str = "topology.k8s.aws/zone-id";
/// Label: category of the instance type, e.g. `c`.
pub const INSTANCE_CATEGORY: &str = "karpenter.k8s.aws/instance-category";
/// Label: generation of the instance type, e.g. `5`.
pub const INSTANCE_GENERATION: &str = "karpenter.k8s.aws/instance-generation";
/// Label: family of the instance type, e.g. `c5`.
pub const INSTANCE_FAMILY: &str = "karpenter.k8s.aws/instance-family";
/// Label: size of the instance type, e.g. `large`.
pub const INSTANCE_SIZE: &str = "karpenter.k8s.aws/instance-size";
/// Label: whether the family is one of the flex families.
pub const INSTANCE_CAPABILITY_FLEX: &str = "karpenter.k8s.aws/instance-capability-flex";
/// Label: virtual CPUs.
pub const INSTANCE_CPU: &str = "karpenter.k8s.aws/instance-cpu";
/// Label: memory in MiB.
pub const INSTANCE_MEMORY: &str = "karpenter.k8s.aws/instance-memory";
/// Label: maker of the processor.
pub const INSTANCE_CPU_MANUFACTURER: &str = "karpenter.k8s.aws/instance-cpu-manufacturer";
/// Label: sustained clock speed of the processor in MHz.
pub const INSTANCE_CPU_CLOCK_SPEED: &str = "karpenter.k8s.aws/instance-cpu-sustained-clock-speed-mhz";
/// Label: bandwidth to EBS in Mbps.
pub const INSTANCE_EBS_BANDWIDTH: &str = "karpenter.k8s.aws/instance-ebs-bandwidth";
/// Label: baseline network bandwidth in Mbps.
pub const INSTANCE_NETWORK_BANDWIDTH: &str = "karpenter.k8s.aws/instance-network-bandwidth";
/// Label: local NVMe storage in GB.
pub const INSTANCE_LOCAL_NVME: &str = "karpenter.k8s.aws/instance-local-nvme";
/// Label: `nitro`, `xen`, or empty for bare metal.
pub const INSTANCE_HYPERVISOR: &str = "karpenter.k8s.aws/instance-hypervisor";
/// Label: whether traffic between instances is encrypted.
pub const INSTANCE_ENCRYPTION_IN_TRANSIT: &str = "karpenter.k8s.aws/instance-encryption-in-transit-supported";
/// Label: whether Nitro enclaves are supported.
pub const NITRO_SANDBOX: &str = "karpenter.k8s.aws/nitro-sandbox";
/// Label: name of the GPU.
pub const INSTANCE_GPU_NAME: &str = "karpenter.k8s.aws/instance-gpu-name";
/// Label: maker of the GPU.
pub const INSTANCE_GPU_MANUFACTURER: &str = "karpenter.k8s.aws/instance-gpu-manufacturer";
/// Label: number of GPUs.
pub const INSTANCE_GPU_COUNT: &str = "karpenter.k8s.aws/instance-gpu-count";
/// Label: MiB of memory of each GPU.
pub const INSTANCE_GPU_MEMORY: &str = "karpenter.k8s.aws/instance-gpu-memory";
/// Label: name of the accelerator.
pub const INSTANCE_ACCELERATOR_NAME: &str = "karpenter.k8s.aws/instance-accelerator-name";
/// Label: maker of the accelerator.
pub const INSTANCE_ACCELERATOR_MANUFACTURER: &str = "karpenter.k8s.aws/instance-accelerator-manufacturer";
/// Label: number of accelerators.
pub const INSTANCE_ACCELERATOR_COUNT: &str = "karpenter.k8s.aws/instance-accelerator-count";
/// Label: `default` or `dedicated`.
pub const INSTANCE_TENANCY: &str = "karpenter.k8s.aws/instance-tenancy";
/// Label: the capacity reservation that a machine runs in.
pub const CAPACITY_RESERVATION_ID: &str = "karpenter.k8s.aws/capacity-reservation-id";
/// Label: `default` or `capacity-block`.
pub const CAPACITY_RESERVATION_TYPE: &str = "karpenter.k8s.aws/capacity-reservation-type";
/// Label: whether the reservation's machines may be interrupted.
pub const CAPACITY_RESERVATION_INTERRUPTIBLE: &str = "karpenter.k8s.aws/capacity-reservation-interruptible";
/// Label: the placement group that a machine runs in.
pub const PLACEMENT_GROUP_ID: &str = "karpenter.k8s.aws/placement-group-id";
/// Label: the partition of the placement group.
pub const PLACEMENT_GROUP_PARTITION: &str = "karpenter.k8s.aws/placement-group-partition";

/// Labels whose meaning is known: a requirement on one of them need not be defined by the node's template, because every
/// instance type defines it. Sorted.
pub const WELL_KNOWN: &[&str] = &[
    CAPACITY_RESERVATION_ID,
    CAPACITY_RESERVATION_INTERRUPTIBLE,
    CAPACITY_RESERVATION_TYPE,
    INSTANCE_ACCELERATOR_COUNT,
    INSTANCE_ACCELERATOR_MANUFACTURER,
    INSTANCE_ACCELERATOR_NAME,
    INSTANCE_CAPABILITY_FLEX,
    INSTANCE_CATEGORY,
    INSTANCE_CPU,
    INSTANCE_CPU_MANUFACTURER,
    INSTANCE_CPU_CLOCK_SPEED,
    INSTANCE_EBS_BANDWIDTH,
    INSTANCE_ENCRYPTION_IN_TRANSIT,
    INSTANCE_FAMILY,
    INSTANCE_GENERATION,
    INSTANCE_GPU_COUNT,
    INSTANCE_GPU_MANUFACTURER,
    INSTANCE_GPU_MEMORY,
    INSTANCE_GPU_NAME,
    INSTANCE_HYPERVISOR,
    INSTANCE_LOCAL_NVME,
    INSTANCE_MEMORY,
    INSTANCE_NETWORK_BANDWIDTH,
    INSTANCE_SIZE,
    INSTANCE_TENANCY,
    NITRO_SANDBOX,
    PLACEMENT_GROUP_ID,
    PLACEMENT_GROUP_PARTITION,
    CAPACITY_TYPE,
    NODE_POOL,
    ARCH,
    OS,
    INSTANCE_TYPE,
    WINDOWS_BUILD,
    ZONE_ID,
    REGION,
    ZONE,
];

/// Domains in which users may not invent labels: each exactly, and its sub-domains.
pub const RESTRICTED_DOMAINS: &[&str] = &[GROUP, EC2_GROUP];

/// Labels that users may not ask for.
pub const RESTRICTED: &[&str] = &[HOSTNAME];

/// Older or vendor-specific names, with the name that replaces each when a requirement is built.
pub const NORMALIZED: &[(&str, &str)] = &[
    ("beta.kubernetes.io/arch", ARCH),
    ("beta.kubernetes.io/instance-type", INSTANCE_TYPE),
    ("beta.kubernetes.io/os", OS),
    ("failure-domain.beta.kubernetes.io/region", REGION),
    ("failure-domain.beta.kubernetes.io/zone", ZONE),
    ("topology.ebs.csi.aws.com/zone", ZONE),
];

/// Values that exist of a well-known label, where the set is closed (spec core 1.3, "well-known values").
pub const KNOWN_VALUES: &[(&str, &[&str])] = &[(CAPACITY_TYPE, &["on-demand", "reserved", "spot"])];

/// The name under which `key` is handled.
pub fn normalize(key: &str) -> &str {
    NORMALIZED.iter().find(|(alias, _)| *alias == key).map_or(key, |(_, name)| name)
}

/// Whether `key` is one of [`WELL_KNOWN`].
pub fn is_well_known(key: &str) -> bool {
    WELL_KNOWN.contains(&key)
}

/// Whether users may not set or ask for `key`: it lies in a restricted domain or is restricted by name, and it is not
/// well-known.
pub fn is_restricted(key: &str) -> bool {
    !is_well_known(key) && (RESTRICTED.contains(&key) || in_restricted_domain(key))
}

fn in_restricted_domain(key: &str) -> bool {
    let domain = key.split_once('/').map_or("", |(domain, _)| domain);
    RESTRICTED_DOMAINS.iter().any(|restricted| {
        domain.strip_suffix(restricted).is_some_and(|prefix| prefix.is_empty() || prefix.ends_with('.'))
    })
}

/// The label that says which NodeClass a NodeClaim or Node belongs to.
pub fn node_class_label(group: &str, kind: &str) -> String {
    format!("{group}/{}", kind.to_lowercase())
}

/// `karpenter.sh/disrupted:NoSchedule`.
pub fn disrupted_taint() -> Taint {
    Taint { key: DISRUPTED_TAINT.to_owned(), effect: "NoSchedule".to_owned(), ..Taint::default() }
}

/// `karpenter.sh/unregistered:NoExecute`.
pub fn unregistered_taint() -> Taint {
    Taint { key: UNREGISTERED_TAINT.to_owned(), effect: "NoExecute".to_owned(), ..Taint::default() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case("karpenter.sh/anything", true)]
    #[case("sub.karpenter.sh/anything", true)]
    #[case("notkarpenter.sh/anything", false)]
    #[case(CAPACITY_TYPE, false)]
    #[case(INSTANCE_FAMILY, false)]
    #[case("karpenter.k8s.aws/instance-colour", true)]
    #[case(HOSTNAME, true)]
    #[case("example.com/team", false)]
    #[case("team", false)]
    fn restricted_labels(#[case] key: &str, #[case] restricted: bool) {
        assert_eq!(is_restricted(key), restricted, "{key}");
    }

    #[test]
    fn aliases_are_normalized() {
        assert_eq!(normalize("failure-domain.beta.kubernetes.io/zone"), ZONE);
        assert_eq!(normalize("beta.kubernetes.io/arch"), ARCH);
        assert_eq!(normalize("example.com/team"), "example.com/team");
    }

    #[test]
    fn the_node_class_label_is_the_lower_case_kind() {
        assert_eq!(node_class_label(EC2_GROUP, "EC2NodeClass"), EC2_NODE_CLASS);
    }
}
