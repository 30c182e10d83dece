use super::*;
use crate::cloud::{
    NodeClass,
    ec2::{
        fixtures::{node_claim, node_class, offer},
        user_data::test_cluster,
    },
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use rstest::rstest;
use sawhorse_core::model::{Operator, Requirement};

fn subnets() -> BTreeMap<String, SubnetFacts> {
    let subnet =
        |id: &str, zone: &str| SubnetFacts { id: id.into(), zone: zone.into(), zone_id: None, free_addresses: 100 };
    BTreeMap::from([
        ("us-east-1a".into(), subnet("subnet-a", "us-east-1a")),
        ("us-east-1b".into(), subnet("subnet-b", "us-east-1b")),
    ])
}

struct Case {
    class: Ec2NodeClass,
    request: LaunchRequest,
    refusals: Refusals,
    group: Option<GroupFacts>,
}

impl Case {
    fn of(names: &[&str]) -> Self {
        let class = node_class();
        let types = offer(names, &class).into_iter().map(Arc::new).collect();
        let request = LaunchRequest {
            claim: Arc::new(node_claim()),
            attempt: 1,
            node_class: NodeClass::Ec2(Arc::new(class.clone())),
            instance_types: types,
            requirements: Requirements::new(),
            labels: BTreeMap::from([("karpenter.sh/nodepool".into(), "default".into())]),
        };
        Self { class, request, refusals: Refusals::default(), group: None }
    }

    fn require(mut self, key: &str, values: &[&str]) -> Self {
        self.request.requirements.add(Requirement::new(key, Operator::In, values));
        self
    }

    fn plan(&self) -> Result<Plan, CloudError> {
        let (cluster, subnets) = (test_cluster(), subnets());
        let shape = Shape::of(&self.class.spec, 0.075, 0);
        plan(
            &self.request,
            &Surroundings {
                class: &self.class,
                cluster: &cluster,
                shape: &shape,
                group: self.group.as_ref(),
                subnets: &subnets,
                refusals: &self.refusals,
                now: Timestamp::UNIX_EPOCH,
            },
        )
    }

    fn pools(&self) -> String {
        match self.plan() {
            Err(error) => error.to_string(),
            Ok(plan) => {
                let text =
                    |pool: &Override| format!("{} {}", pool.instance_type, pool.zone.trim_start_matches("us-east-1"));
                let pools: Vec<_> = plan.overrides().map(text).collect();
                format!("{}: {}", plan.capacity_type, pools.join(", "))
            }
        }
    }
}

const ON_DEMAND: &[&str] = &["on-demand"];

#[rstest]
#[case::spot_is_preferred(Case::of(&["m5.large"]), "spot: m5.large a, m5.large b")]
#[case::on_demand_if_asked(Case::of(&["m5.large"]).require(labels::CAPACITY_TYPE, ON_DEMAND), "on-demand: m5.large a, m5.large b")]
#[case::one_zone(Case::of(&["m5.large"]).require(labels::ZONE, &["us-east-1b"]), "spot: m5.large b")]
#[case::cheapest_type_first(Case::of(&["m5.xlarge", "c5.large", "m5.large"]).require(labels::CAPACITY_TYPE, ON_DEMAND), "on-demand: c5.large a, c5.large b, m5.large a, m5.large b, m5.xlarge a, m5.xlarge b")]
#[case::no_metal(Case::of(&["m5.large", "m5.metal"]), "spot: m5.large a, m5.large b")]
#[case::metal_if_nothing_else(Case::of(&["m5.metal"]), "spot: m5.metal a, m5.metal b")]
#[case::no_gpus(Case::of(&["m5.large", "g4dn.12xlarge"]), "spot: m5.large a, m5.large b")]
#[case::gpus_if_nothing_else(Case::of(&["g4dn.12xlarge"]), "spot: g4dn.12xlarge a, g4dn.12xlarge b")]
#[case::no_image(Case::of(&["inf2.xlarge"]), "the NodeClass `default` is not ready: none of its images fits the instance types")]
#[case::elsewhere(Case::of(&["m5.large"]).require(labels::ZONE, &["us-east-1c"]), "insufficient capacity: none of the 1 instance types has an offering that can be tried now")]
fn what_is_tried(#[case] case: Case, #[case] expected: &str) {
    assert_eq!(case.pools(), expected);
}

// With the built-in prices spot costs as much as on-demand, so of the types only the cheapest has spot that is not dearer.
#[test]
fn spot_that_is_dearer_than_on_demand_is_left_out() {
    let case = Case::of(&["m5.xlarge", "m5.large"]);
    assert_eq!(case.pools(), "spot: m5.large a, m5.large b");
    let with_min_values =
        Requirement::new(labels::INSTANCE_SIZE, Operator::Exists, [] as [&str; 0]).with_min_values(Some(2));
    let mut relaxed = case;
    relaxed.request.requirements.add(with_min_values);
    assert_eq!(
        relaxed.pools(),
        "spot: m5.large a, m5.large b, m5.xlarge a, m5.xlarge b",
        "minValues needs the variety"
    );
}

#[test]
fn min_values_that_cannot_be_met_are_an_error() {
    let mut case = Case::of(&["m5.large"]);
    let two = Requirement::new(labels::INSTANCE_FAMILY, Operator::Exists, [] as [&str; 0]).with_min_values(Some(2));
    case.request.requirements.add(two);
    assert_eq!(
        case.pools(),
        "insufficient capacity: the 1 cheapest instance types have too few values of `karpenter.k8s.aws/instance-family` for its `minValues`"
    );
}

#[test]
fn pools_that_were_refused_since_are_not_tried() {
    let mut case = Case::of(&["m5.large"]);
    case.refusals.mark_pool(CapacityType::Spot, "m5.large", "us-east-1a", Timestamp::UNIX_EPOCH);
    assert_eq!(case.pools(), "spot: m5.large b");
    case.refusals.mark_spot(Timestamp::UNIX_EPOCH);
    assert_eq!(case.pools(), "on-demand: m5.large a, m5.large b");
}

#[test]
fn machines_must_hold_what_is_asked_for() {
    let mut case = Case::of(&["m5.large", "m5.xlarge"]);
    let claim = Arc::make_mut(&mut case.request.claim);
    claim.spec.resources.requests.insert("cpu".into(), Quantity("3".into()));
    assert_eq!(case.pools(), "spot: m5.xlarge a, m5.xlarge b");
}

#[test]
fn machines_that_know_their_pods_share_a_template_for_each_image() {
    let mut case =
        Case::of(&["m5.large", "c5.large", "m6g.large", "t3.medium"]).require(labels::CAPACITY_TYPE, ON_DEMAND);
    let plan = case.plan().unwrap();
    let groups: Vec<_> =
        plan.groups.iter().map(|group| (group.template.image_id.as_str(), group.overrides.len())).collect();
    assert_eq!(groups, [("ami-x86", 6), ("ami-arm", 2)]);
    let names: BTreeSet<_> = plan.groups.iter().map(|group| group.template.name()).collect();
    assert_eq!(names.len(), 2, "each group has its own template");
    assert_eq!(plan.addresses, 17);
    case.class.spec.user_data = Some("echo".into());
    let other = case.plan().unwrap();
    assert_ne!(plan.groups[0].template.name(), other.groups[0].template.name(), "and another once the content changes");
}

#[test]
fn tags_name_the_claim_only_on_the_machine() {
    let plan = Case::of(&["m5.large"]).plan().unwrap();
    let of_machine: Vec<_> = plan.tags.iter().map(|(key, value)| format!("{key}={value}")).collect();
    assert_eq!(
        of_machine,
        [
            "eks:eks-cluster-name=c1",
            "karpenter.k8s.aws/ec2nodeclass=default",
            "karpenter.sh/nodeclaim=default-abcde",
            "karpenter.sh/nodepool=default",
            "kubernetes.io/cluster/c1=owned",
            "sawhorse.dev/nodeclaim-uid=11111111-2222-4333-8444-555555555555",
            "team=a"
        ]
    );
    assert!(!plan.groups[0].template.tags.contains_key("karpenter.sh/nodeclaim"), "templates are shared by claims");
}

#[test]
fn the_request_limits_of_ec2_hold() {
    let mut case = Case::of(&["m5.large"]);
    let one = case.request.instance_types[0].clone();
    let renamed = |index: usize| Arc::new(InstanceType { name: format!("m5.large{index:03}"), ..(*one).clone() });
    case.request.instance_types = (0..200).map(renamed).collect();
    let plan = case.plan().unwrap();
    let types: BTreeSet<_> = plan.overrides().map(|pool| &pool.instance_type).collect();
    assert_eq!((types.len(), plan.overrides().count()), (60, 120));
}

#[test]
fn user_data_that_is_too_long_is_refused_before_the_launch() {
    let mut case = Case::of(&["m5.large"]);
    case.class.spec.user_data = Some(format!("#!/bin/bash\n# {}\n", "x".repeat(20_000)));
    let error = case.plan().unwrap_err();
    assert_eq!(crate::cloud::ec2::launch_reason(&error), "UserDataSizeLimitExceeded");
}

#[test]
fn machines_go_into_the_group_and_partition_that_the_claim_allows() {
    let mut case = Case::of(&["m5.large"]).require(labels::PLACEMENT_GROUP_PARTITION, &["3", "2"]);
    let group = GroupFacts { id: "pg-1".into(), strategy: "partition".into(), partitions: 3 };
    let kind = Arc::make_mut(&mut case.request.instance_types[0]);
    for requirement in placement::requirements(&group) {
        kind.requirements.remove(requirement.key());
        kind.requirements.add(requirement);
    }
    case.group = Some(group);
    let plan = case.plan().unwrap();
    let placement = plan.groups[0].template.placement.clone();
    assert_eq!(placement, Some(InGroup { id: "pg-1".into(), partition: Some(2) }));
    case.refusals.mark_group("pg-1", "us-east-1a", Timestamp::UNIX_EPOCH);
    assert_eq!(case.pools(), "spot: m5.large b");
}
