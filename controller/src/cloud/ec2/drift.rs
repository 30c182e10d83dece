//! Whether a machine still is as its NodeClass wants it (spec aws 1.7). What needs no look at the cloud comes first.

use super::{images::requirements, instances::Described};
use sawhorse_core::{
    api::{Ec2NodeClass, NodeClaim, hash, labels},
    model::InstanceType,
};
use std::collections::BTreeSet;

/// The spec is not the one that the machine was launched with.
pub(super) const NODE_CLASS: &str = "NodeClassDrift";
const AMI: &str = "AMIDrift";
const SECURITY_GROUP: &str = "SecurityGroupDrift";
const SUBNET: &str = "SubnetDrift";

/// Whether the class's spec has changed since the launch. A hash of another version says nothing.
pub(super) fn by_hash(claim: &NodeClaim, class: &Ec2NodeClass, ca_bundle: &str) -> Option<&'static str> {
    let annotation = |key: &str| claim.metadata.annotations.as_ref().and_then(|all| all.get(key)).map(String::as_str);
    let current = annotation(labels::EC2_NODE_CLASS_HASH_VERSION) == Some(hash::EC2_NODE_CLASS_VERSION);
    let launched_with = annotation(labels::EC2_NODE_CLASS_HASH).filter(|_| current)?;
    (launched_with != hash::ec2_node_class(class, Some(ca_bundle))).then_some(NODE_CLASS)
}

/// Whether image, groups and subnet of `machine` are still among those that the class resolves to.
pub(super) fn by_resources(
    machine: &Described,
    instance_type: Option<&InstanceType>,
    class: &Ec2NodeClass,
) -> Option<&'static str> {
    let status = class.status.as_ref()?;
    let image = &machine.instance.image_id;
    // Without its type's labels it cannot be told which images it may have.
    let fitting = |kind: &InstanceType| {
        status.amis.iter().filter(|ami| requirements(ami).intersects(&kind.requirements)).map(|ami| &ami.id).collect()
    };
    let images: BTreeSet<&String> = instance_type.map(fitting).unwrap_or_default();
    let groups: BTreeSet<_> = status.security_groups.iter().map(|group| &group.id).collect();
    let subnet = machine.subnet.as_ref();
    let checks = [
        (!images.is_empty() && !images.contains(image), AMI),
        (!groups.is_empty() && groups != machine.security_groups.iter().collect(), SECURITY_GROUP),
        (subnet.is_some_and(|id| !status.subnets.iter().any(|known| known.id == *id)), SUBNET),
    ];
    checks.into_iter().find(|(drifted, _)| *drifted).map(|(_, reason)| reason)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cloud::{
        CloudInstance,
        ec2::{
            fixtures::{node_claim, node_class},
            instances::provider_id,
        },
    };
    use rstest::rstest;
    use sawhorse_core::model::CapacityType;

    fn machine(image: &str, subnet: &str, groups: &[&str]) -> Described {
        Described {
            instance: CloudInstance {
                reservation_id: None,
                provider_id: provider_id("us-east-1a", "i-1"),
                instance_type: "m5.large".into(),
                zone: "us-east-1a".into(),
                capacity_type: CapacityType::Spot,
                image_id: image.into(),
                launched_at: jiff::Timestamp::UNIX_EPOCH,
                terminating: false,
                node_claim: None,
                tags: Default::default(),
            },
            subnet: Some(subnet.into()),
            security_groups: groups.iter().map(ToString::to_string).collect(),
        }
    }

    #[rstest]
    #[case::same("ami-x86", "subnet-a", &["sg-1"], None)]
    #[case::image("ami-old", "subnet-z", &["sg-2"], Some("AMIDrift"))]
    #[case::groups("ami-x86", "subnet-z", &["sg-1", "sg-2"], Some("SecurityGroupDrift"))]
    #[case::subnet("ami-x86", "subnet-z", &["sg-1"], Some("SubnetDrift"))]
    fn what_no_longer_fits(
        #[case] image: &str,
        #[case] subnet: &str,
        #[case] groups: &[&str],
        #[case] expected: Option<&str>,
    ) {
        let class = node_class();
        let offered = crate::cloud::ec2::fixtures::offer(&["m5.large"], &class).remove(0);
        assert_eq!(by_resources(&machine(image, subnet, groups), Some(&offered), &class), expected);
    }

    #[test]
    fn a_changed_spec_is_drift_only_under_the_same_version() {
        let mut class = node_class();
        let mut claim = node_claim();
        let annotations = claim.metadata.annotations.get_or_insert_default();
        annotations.insert(labels::EC2_NODE_CLASS_HASH.into(), hash::ec2_node_class(&class, Some("ca")));
        annotations.insert(labels::EC2_NODE_CLASS_HASH_VERSION.into(), hash::EC2_NODE_CLASS_VERSION.into());
        assert_eq!(by_hash(&claim, &class, "ca"), None);
        class.spec.user_data = Some("echo".into());
        assert_eq!(by_hash(&claim, &class, "ca"), Some("NodeClassDrift"));
        let annotations = claim.metadata.annotations.get_or_insert_default();
        annotations.insert(labels::EC2_NODE_CLASS_HASH_VERSION.into(), "v6".into());
        assert_eq!(by_hash(&claim, &class, "ca"), None);
    }
}
