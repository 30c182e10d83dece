//! The status of an EC2NodeClass: what its selectors resolve to, and whether it can be used (spec aws 1.3–1.6).

use super::{launch_plan::is_supported, network::SubnetFacts};
use jiff::Timestamp;
use sawhorse_core::api::{
    Ami, AmiFamily, CapacityReservation, Ec2NodeClass, Ec2NodeClassStatus, Problem, SecurityGroup, Subnet,
    conditions::{
        AMIS_READY, CAPACITY_RESERVATIONS_READY, Conditioned, INSTANCE_PROFILE_READY, PLACEMENT_GROUP_READY,
        SECURITY_GROUPS_READY, SUBNETS_READY, VALIDATION_SUCCEEDED,
    },
    validate_ec2_node_class,
};
use sha2::{Digest, Sha256};
use std::{collections::BTreeSet, time::Duration};

/// When to resolve again: subnets change most often (spec aws 1.4).
pub(super) const RESOLVE_AGAIN: Duration = Duration::from_secs(60);
/// Amazon Linux 2 has no images for this and later minor versions of Kubernetes 1.
const FIRST_WITHOUT_AL2: u32 = 33;

/// What the cloud has of what a NodeClass selects.
#[derive(Clone, Debug, Default)]
pub(super) struct Found {
    pub(super) subnets: Vec<SubnetFacts>,
    pub(super) security_groups: Vec<SecurityGroup>,
    pub(super) amis: Vec<Ami>,
    pub(super) reservations: Vec<CapacityReservation>,
    /// Why the placement group that is wanted is not there, if so.
    pub(super) group_problem: Verdict,
    /// Why the profile could not be made, if so.
    pub(super) profile_refusal: Verdict,
}

/// The status of `class` at `now`, conditions included.
pub(super) fn status(
    class: &Ec2NodeClass,
    found: Found,
    cluster: &str,
    region: &str,
    kubernetes: &str,
    now: Timestamp,
) -> Ec2NodeClassStatus {
    let mut class = class.clone();
    let profile = instance_profile(&class, cluster, region);
    let status = class.status.get_or_insert_default();
    status.subnets = found.subnets.iter().map(subnet).collect();
    status.security_groups = found.security_groups;
    status.amis = found.amis;
    status.capacity_reservations = found.reservations;
    status.instance_profile = profile;
    class.initialize_conditions(now);
    let checks = [
        (AMIS_READY, amis_problem(&class, kubernetes)),
        (CAPACITY_RESERVATIONS_READY, None),
        (PLACEMENT_GROUP_READY, found.group_problem),
        (
            SUBNETS_READY,
            none_found(status_of(&class).subnets.is_empty(), "SubnetsNotFound", "spec.subnetSelectorTerms", "subnet"),
        ),
        (
            SECURITY_GROUPS_READY,
            none_found(
                status_of(&class).security_groups.is_empty(),
                "SecurityGroupsNotFound",
                "spec.securityGroupSelectorTerms",
                "security group",
            ),
        ),
        (INSTANCE_PROFILE_READY, found.profile_refusal.or_else(|| profile_problem(&class))),
    ];
    for (condition, problem) in checks {
        set(&mut class, condition, problem, now);
    }
    let validation = validation_problem(&class);
    set(&mut class, VALIDATION_SUCCEEDED, validation, now);
    class.status.unwrap_or_default()
}

fn status_of(class: &Ec2NodeClass) -> &Ec2NodeClassStatus {
    class.status.as_ref().expect("the status was made before it is looked at")
}

fn subnet(facts: &SubnetFacts) -> Subnet {
    Subnet { id: facts.id.clone(), zone: facts.zone.clone(), zone_id: facts.zone_id.clone() }
}

/// A condition's reason and message, where it is False.
pub(super) type Verdict = Option<(&'static str, String)>;

fn set(class: &mut Ec2NodeClass, condition: &str, verdict: Verdict, now: Timestamp) {
    match verdict {
        None => class.set_true(condition, now),
        Some((reason, message)) => class.set_false(condition, reason, &message, now),
    };
}

fn none_found(empty: bool, reason: &'static str, field: &str, what: &str) -> Verdict {
    empty.then(|| (reason, format!("`{field}` matches no {what}; check tags, ids and the region")))
}

fn amis_problem(class: &Ec2NodeClass, kubernetes: &str) -> Verdict {
    let alias_of_al2 =
        class.spec.ami_selector_terms.iter().any(|term| term.alias_parts().is_some_and(|(family, _)| family == "al2"));
    let minor = kubernetes.split_once('.').and_then(|(_, minor)| minor.parse::<u32>().ok());
    if alias_of_al2 && minor.is_some_and(|minor| minor >= FIRST_WITHOUT_AL2) {
        return Some((
            "UnsupportedAlias",
            format!("there are no Amazon Linux 2 images for Kubernetes {kubernetes}; use `al2023@latest`"),
        ));
    }
    none_found(status_of(class).amis.is_empty(), "AMINotFound", "spec.amiSelectorTerms", "image")
}

fn profile_problem(class: &Ec2NodeClass) -> Verdict {
    let missing = status_of(class).instance_profile.is_none();
    missing.then(|| ("InstanceProfileNotFound", "set exactly one of `spec.role` and `spec.instanceProfile`".to_owned()))
}

/// Problems of the spec by the spec's order: the kubelet's, then dependencies, then the rest.
fn validation_problem(class: &Ec2NodeClass) -> Verdict {
    let problems = validate_ec2_node_class(class);
    let of_kubelet = |problem: &&Problem| problem.field.starts_with("spec.kubelet");
    let joined = |problems: Vec<&Problem>| problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ");
    let kubelet: Vec<_> = problems.iter().filter(of_kubelet).collect();
    if !kubelet.is_empty() {
        return Some(("InvalidKubeletConfiguration", joined(kubelet)));
    }
    if let Some(message) = unmanaged_kubelet(class) {
        return Some(("UnsupportedKubeletConfiguration", message));
    }
    let depends_on = [AMIS_READY, INSTANCE_PROFILE_READY, SECURITY_GROUPS_READY, SUBNETS_READY];
    let not_ready: Vec<_> = depends_on.into_iter().filter(|condition| class.is_false(condition)).collect();
    if !not_ready.is_empty() {
        return Some(("DependenciesNotReady", format!("{} must be True first", not_ready.join(", "))));
    }
    if problems.iter().any(|problem| problem.field.starts_with("spec.tags")) {
        return Some(("TagValidationFailed", joined(problems.iter().collect())));
    }
    let family = class.spec.resolved_ami_family();
    match family.filter(|family| !is_supported(*family)) {
        Some(family) => Some((
            "UnsupportedAMIFamily",
            format!("machines of the family `{family}` are not supported yet; use AL2023, AL2, Bottlerocket or Custom"),
        )),
        None => (!problems.is_empty()).then(|| ("InvalidSpec", joined(problems.iter().collect()))),
    }
}

/// Kubelet fields that the family's boot cannot pass on (spec aws 1.2).
fn unmanaged_kubelet(class: &Ec2NodeClass) -> Option<String> {
    let family = class.spec.resolved_ami_family()?;
    let kubelet = class.spec.kubelet_configuration().ok()?;
    let mut fields: BTreeSet<&str> = match family {
        AmiFamily::AL2023 | AmiFamily::Custom => return None,
        AmiFamily::AL2
        | AmiFamily::Bottlerocket
        | AmiFamily::Windows2019
        | AmiFamily::Windows2022
        | AmiFamily::Windows2025 => kubelet.other.keys().map(String::as_str).collect(),
    };
    if family == AmiFamily::Bottlerocket && kubelet.pods_per_core.is_some() {
        fields.insert("podsPerCore");
    }
    if kubelet.cluster_dns.len() > 1 {
        fields.insert("clusterDNS (more than one address)");
    }
    let fields: Vec<_> = fields.into_iter().map(|field| format!("`{field}`")).collect();
    (!fields.is_empty())
        .then(|| format!("`spec.kubelet`: {family} cannot set {}; leave it out or use AL2023", fields.join(", ")))
}

/// The profile that the user named, else one whose name follows from cluster, region, class and role.
pub(super) fn instance_profile(class: &Ec2NodeClass, cluster: &str, region: &str) -> Option<String> {
    let given = |text: &Option<String>| text.clone().filter(|text| !text.is_empty());
    given(&class.spec.instance_profile).or_else(|| {
        let role = given(&class.spec.role)?;
        let name = class.metadata.name.as_deref().unwrap_or_default();
        let digest = Sha256::digest(format!("{region}/{name}/{role}"));
        let (head, _) = digest.split_first_chunk::<8>().expect("a SHA-256 digest has 32 bytes");
        Some(format!("{cluster}_{}", u64::from_be_bytes(*head)))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cloud::ec2::fixtures::{node_class, spec};
    use rstest::rstest;
    use sawhorse_core::api::conditions::READY;

    fn found() -> Found {
        let status = node_class().status.unwrap();
        Found {
            subnets: vec![SubnetFacts {
                id: "subnet-a".into(),
                zone: "us-east-1a".into(),
                zone_id: None,
                free_addresses: 9,
            }],
            security_groups: status.security_groups,
            amis: status.amis,
            ..Found::default()
        }
    }

    fn conditions(class: &Ec2NodeClass, found: Found) -> Vec<(String, String)> {
        let status = status(class, found, "c1", "us-east-1", "1.35", Timestamp::UNIX_EPOCH);
        let failing = status.conditions.into_iter().filter(|condition| condition.status != "True");
        failing.map(|condition| (condition.type_, condition.reason)).collect()
    }

    fn with_spec(yaml: &str) -> Ec2NodeClass {
        let mut class = node_class();
        class.spec = spec(yaml);
        class
    }

    #[test]
    fn a_class_of_which_all_is_found_is_ready() {
        let status = status(&node_class(), found(), "c1", "us-east-1", "1.35", Timestamp::UNIX_EPOCH);
        let ready = status.conditions.iter().find(|condition| condition.type_ == READY).unwrap();
        assert_eq!((ready.status.as_str(), ready.observed_generation), ("True", Some(1)));
        assert_eq!(status.subnets.len(), 1);
        let profile = status.instance_profile.unwrap();
        assert!(profile.strip_prefix("c1_").unwrap().parse::<u64>().is_ok(), "{profile}");
    }

    #[rstest]
    #[case::nothing_found(node_class(), Found::default(), &[
        ("AMIsReady", "AMINotFound"), ("SecurityGroupsReady", "SecurityGroupsNotFound"), ("SubnetsReady", "SubnetsNotFound"),
        ("ValidationSucceeded", "DependenciesNotReady"), ("Ready", "UnhealthyDependents")])]
    #[case::no_group(node_class(), Found { group_problem: Some(("PlacementGroupNotFound", String::new())), ..found() }, &[
        ("PlacementGroupReady", "PlacementGroupNotFound"), ("Ready", "UnhealthyDependents")])]
    #[case::old_alias(with_spec("{role: r, amiSelectorTerms: [{alias: al2@latest}], subnetSelectorTerms: [{id: subnet-a}], securityGroupSelectorTerms: [{id: sg-1}]}"), found(), &[
        ("AMIsReady", "UnsupportedAlias"), ("ValidationSucceeded", "DependenciesNotReady"), ("Ready", "UnhealthyDependents")])]
    #[case::kubelet(with_spec("{role: r, kubelet: {registerWithTaints: []}, amiSelectorTerms: [{alias: al2023@latest}], subnetSelectorTerms: [{id: subnet-a}], securityGroupSelectorTerms: [{id: sg-1}]}"), found(), &[
        ("ValidationSucceeded", "InvalidKubeletConfiguration"), ("Ready", "UnhealthyDependents")])]
    #[case::unmanaged(with_spec("{role: r, kubelet: {podsPerCore: 4}, amiSelectorTerms: [{alias: bottlerocket@latest}], subnetSelectorTerms: [{id: subnet-a}], securityGroupSelectorTerms: [{id: sg-1}]}"), found(), &[
        ("ValidationSucceeded", "UnsupportedKubeletConfiguration"), ("Ready", "UnhealthyDependents")])]
    #[case::windows(with_spec("{role: r, amiSelectorTerms: [{alias: windows2022@latest}], subnetSelectorTerms: [{id: subnet-a}], securityGroupSelectorTerms: [{id: sg-1}]}"), found(), &[
        ("ValidationSucceeded", "UnsupportedAMIFamily"), ("Ready", "UnhealthyDependents")])]
    #[case::tags(with_spec("{role: r, tags: {karpenter.sh/nodepool: x}, amiSelectorTerms: [{alias: al2023@latest}], subnetSelectorTerms: [{id: subnet-a}], securityGroupSelectorTerms: [{id: sg-1}]}"), found(), &[
        ("ValidationSucceeded", "TagValidationFailed"), ("Ready", "UnhealthyDependents")])]
    fn what_is_not_ready(#[case] class: Ec2NodeClass, #[case] found: Found, #[case] expected: &[(&str, &str)]) {
        let expected: Vec<_> =
            expected.iter().map(|(condition, reason)| ((*condition).to_owned(), (*reason).to_owned())).collect();
        assert_eq!(conditions(&class, found), expected);
    }

    #[test]
    fn a_named_profile_is_taken_as_it_is() {
        let mut class = node_class();
        class.spec.role = None;
        class.spec.instance_profile = Some("mine".into());
        assert_eq!(instance_profile(&class, "c1", "us-east-1").as_deref(), Some("mine"));
    }
}
