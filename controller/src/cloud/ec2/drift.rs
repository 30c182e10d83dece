//! Whether a machine still is as its NodeClass wants it (spec aws 1.7). What needs no look at the cloud comes first.

use super::{images::requirements, instances::Described, placement::GroupFacts};
use crate::cloud::CloudInstance;
use sawhorse_core::{
    api::{Ec2NodeClass, NodeClaim, hash, labels},
    model::{CapacityType, InstanceType},
};
use std::collections::BTreeSet;

/// The spec is not the one that the machine was launched with.
pub(super) const NODE_CLASS: &str = "NodeClassDrift";
const AMI: &str = "AMIDrift";
const SECURITY_GROUP: &str = "SecurityGroupDrift";
const SUBNET: &str = "SubnetDrift";
const CAPACITY_RESERVATION: &str = "CapacityReservationDrift";
const PLACEMENT_GROUP: &str = "PlacementGroupDrift";

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

/// Whether a reserved machine runs in none of the reservations that the class selects.
pub(super) fn by_reservation(machine: &CloudInstance, class: &Ec2NodeClass) -> Option<&'static str> {
    let reservation = machine.reservation_id.as_ref().filter(|_| machine.capacity_type == CapacityType::Reserved)?;
    let selected = class.status.iter().flat_map(|status| &status.capacity_reservations);
    (!selected.into_iter().any(|one| one.id == *reservation)).then_some(CAPACITY_RESERVATION)
}

/// Whether the class's placement group is another than the one that the claim's machine was launched into.
pub(super) fn by_group(claim: &NodeClaim, group: Option<&GroupFacts>) -> Option<&'static str> {
    let launched_into = claim.metadata.labels.as_ref().and_then(|all| all.get(labels::PLACEMENT_GROUP_ID));
    // Whether the class wants one at all is part of its spec, and so of the hash.
    let group = group?;
    (launched_into != Some(&group.id)).then_some(PLACEMENT_GROUP)
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
    use sawhorse_core::api::CapacityReservation;

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

    #[rstest]
    #[case::selected(CapacityType::Reserved, "cr-1", None)]
    #[case::no_longer(CapacityType::Reserved, "cr-2", Some("CapacityReservationDrift"))]
    #[case::open_and_not_asked_for(CapacityType::OnDemand, "cr-2", None)]
    fn another_reservation(#[case] kind: CapacityType, #[case] id: &str, #[case] expected: Option<&str>) {
        let mut class = node_class();
        let selected = CapacityReservation { id: "cr-1".to_owned(), ..CapacityReservation::default() };
        class.status.get_or_insert_default().capacity_reservations = vec![selected];
        let mut machine = machine("ami-x86", "subnet-a", &[]).instance;
        (machine.capacity_type, machine.reservation_id) = (kind, Some(id.to_owned()));
        assert_eq!(by_reservation(&machine, &class), expected);
    }

    #[rstest]
    #[case::same(Some("pg-1"), Some("pg-1"), None)]
    #[case::another(Some("pg-1"), Some("pg-2"), Some("PlacementGroupDrift"))]
    #[case::before_there_was_one(None, Some("pg-1"), Some("PlacementGroupDrift"))]
    #[case::not_found_now(Some("pg-1"), None, None)]
    fn another_placement_group(
        #[case] launched_into: Option<&str>,
        #[case] resolved: Option<&str>,
        #[case] expected: Option<&str>,
    ) {
        let mut claim = node_claim();
        let own = launched_into.map(|id| (labels::PLACEMENT_GROUP_ID.to_owned(), id.to_owned()));
        claim.metadata.labels.get_or_insert_default().extend(own);
        let group = resolved.map(|id| GroupFacts { id: id.to_owned(), strategy: "cluster".to_owned(), partitions: 0 });
        assert_eq!(by_group(&claim, group.as_ref()), expected);
    }
}
