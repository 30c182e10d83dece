use super::*;
use crate::cloud::ec2::{
    call::Call,
    fixtures::{node_claim, node_class, node_pool},
    sdk::{InProcess, sdk_config_over},
    user_data::test_cluster,
};
use aws_sdk_ec2::{
    Client,
    config::Credentials,
    error::ErrorMetadata,
    operation::{
        create_fleet::{CreateFleetError, CreateFleetOutput},
        create_launch_template::CreateLaunchTemplateOutput,
        describe_instance_type_offerings::DescribeInstanceTypeOfferingsOutput,
        describe_instance_types::DescribeInstanceTypesOutput,
        describe_instances::{DescribeInstancesError, DescribeInstancesOutput},
        describe_spot_price_history::DescribeSpotPriceHistoryOutput,
        describe_subnets::DescribeSubnetsOutput,
        terminate_instances::TerminateInstancesOutput,
    },
    types::{
        ArchitectureType, CreateFleetInstance, FleetLaunchTemplateOverrides, Instance, InstanceState,
        InstanceStateChange, InstanceStateName, InstanceTypeInfo, InstanceTypeOffering, LaunchTemplate,
        LaunchTemplateAndOverridesResponse, MemoryInfo, NetworkCardInfo, NetworkInfo, Placement, ProcessorInfo,
        Reservation, SpotPrice, Subnet, Tag, UsageClassType, VCpuInfo,
    },
};
use aws_smithy_mocks::{MockResponseInterceptor, Rule, RuleMode, create_mock_http_client, mock};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use sawhorse_core::model::{CapacityType, Operator, Requirement, Requirements};

const ZONES: [(&str, &str); 2] = [("us-east-1a", "subnet-a"), ("us-east-1b", "subnet-b")];
const UID: &str = "11111111-2222-4333-8444-555555555555";

#[derive(Default)]
struct Seen(Mutex<Vec<String>>);

impl CallObserver for Seen {
    fn called(&self, call: &Call) {
        let error = call.error_code.as_ref().map(|code| format!(" {code}")).unwrap_or_default();
        lock(&self.0).push(format!("{}{error}", call.operation));
    }
}

impl Seen {
    /// The calls since the last look, without those that describe what the region sells.
    fn take(&self) -> Vec<String> {
        let all = std::mem::take(&mut *lock(&self.0));
        let discovery = ["DescribeInstanceType", "DescribeSpotPrice", "GetProducts", "DescribeSubnets"];
        all.into_iter().filter(|call| !discovery.iter().any(|prefix| call.starts_with(prefix))).collect()
    }
}

fn type_info(name: &str, memory_mib: i64) -> InstanceTypeInfo {
    let card = NetworkCardInfo::builder().network_card_index(0).maximum_network_interfaces(3).build();
    InstanceTypeInfo::builder()
        .instance_type(name.into())
        .supported_usage_classes(UsageClassType::OnDemand)
        .supported_usage_classes(UsageClassType::Spot)
        .processor_info(ProcessorInfo::builder().supported_architectures(ArchitectureType::X8664).build())
        .v_cpu_info(VCpuInfo::builder().default_v_cpus(2).build())
        .memory_info(MemoryInfo::builder().size_in_mib(memory_mib).build())
        .network_info(
            NetworkInfo::builder()
                .network_cards(card)
                .default_network_card_index(0)
                .ipv4_addresses_per_interface(10)
                .build(),
        )
        .build()
}

/// What the region sells: c5.large and m5.large in two zones, spot at 0.03 and 0.04.
fn region() -> Vec<Rule> {
    let offering = |name: &'static str| {
        ZONES.map(|(zone, _)| InstanceTypeOffering::builder().instance_type(name.into()).location(zone).build())
    };
    let price = |name: &'static str, price: &'static str| {
        ZONES.map(|(zone, _)| {
            SpotPrice::builder().instance_type(name.into()).availability_zone(zone).spot_price(price).build()
        })
    };
    let subnet = |(zone, id): (&str, &str)| {
        Subnet::builder().subnet_id(id).availability_zone(zone).available_ip_address_count(100).build()
    };
    vec![
        mock!(Client::describe_instance_types)
            .sequence()
            .output(|| {
                let types = [type_info("m5.large", 8_192), type_info("c5.large", 4_096)];
                DescribeInstanceTypesOutput::builder().set_instance_types(Some(types.to_vec())).build()
            })
            .repeatedly()
            .build(),
        mock!(Client::describe_instance_type_offerings)
            .sequence()
            .output(move || {
                let offerings = [offering("m5.large"), offering("c5.large")].concat();
                DescribeInstanceTypeOfferingsOutput::builder().set_instance_type_offerings(Some(offerings)).build()
            })
            .repeatedly()
            .build(),
        mock!(Client::describe_spot_price_history)
            .sequence()
            .output(move || {
                let rows = [price("c5.large", "0.03"), price("m5.large", "0.04")].concat();
                DescribeSpotPriceHistoryOutput::builder().set_spot_price_history(Some(rows)).build()
            })
            .repeatedly()
            .build(),
        mock!(Client::describe_subnets)
            .sequence()
            .output(move || DescribeSubnetsOutput::builder().set_subnets(Some(ZONES.map(subnet).to_vec())).build())
            .repeatedly()
            .build(),
        mock!(Client::create_launch_template)
            .sequence()
            .output(|| CreateLaunchTemplateOutput::builder().launch_template(LaunchTemplate::builder().build()).build())
            .repeatedly()
            .build(),
    ]
}

fn bought(id: &str) -> CreateFleetOutput {
    let pool = FleetLaunchTemplateOverrides::builder().availability_zone("us-east-1b").image_id("ami-x86").build();
    let both = LaunchTemplateAndOverridesResponse::builder().overrides(pool).build();
    let machine = CreateFleetInstance::builder()
        .instance_ids(id)
        .instance_type("c5.large".into())
        .launch_template_and_overrides(both);
    CreateFleetOutput::builder().instances(machine.build()).build()
}

fn refusal(code: &str) -> CreateFleetError {
    CreateFleetError::generic(ErrorMetadata::builder().code(code).message("no").build())
}

fn described(id: &str, state: InstanceStateName) -> DescribeInstancesOutput {
    let instance = Instance::builder()
        .instance_id(id)
        .instance_type("m5.large".into())
        .image_id("ami-x86")
        .spot_instance_request_id("sir-1")
        .placement(Placement::builder().availability_zone("us-east-1a").build())
        .state(InstanceState::builder().name(state).build())
        .tags(Tag::builder().key("karpenter.sh/nodeclaim").value("default-abcde").build());
    DescribeInstancesOutput::builder().reservations(Reservation::builder().instances(instance.build()).build()).build()
}

struct Harness {
    provider: Ec2Provider,
    seen: Arc<Seen>,
    clock: Clock,
}

impl Harness {
    fn new(rules: &[Rule]) -> Self {
        let clock = Clock::starting_at("2026-01-01T00:00:00Z".parse().unwrap());
        // A pricing service that refuses everything: the built-in prices serve.
        let closed = axum::Router::new();
        let base = sdk_config_over(
            InProcess(closed),
            "us-east-1",
            Credentials::new("id", "secret", None, None, "test"),
            clock,
        );
        let mut clients = Clients::new(&base, "us-east-1");
        let interceptor = rules
            .iter()
            .chain(&region())
            .fold(MockResponseInterceptor::new().rule_mode(RuleMode::MatchAny), MockResponseInterceptor::with_rule);
        let config = aws_sdk_ec2::config::Builder::from(&base)
            .http_client(create_mock_http_client())
            .interceptor(interceptor)
            .build();
        clients.ec2 = Client::from_conf(config);
        let seen = Arc::new(Seen::default());
        let provider = Ec2Provider::new(Ec2ProviderConfig {
            clients,
            clock,
            seed: Seed(1),
            observer: Some(seen.clone()),
            region: "us-east-1".into(),
            cluster: test_cluster(),
            vm_memory_overhead_percent: 0.075,
            reserved_enis: 0,
            interruption_queue: None,
        });
        Self { provider, seen, clock }
    }

    fn class() -> NodeClass {
        NodeClass::Ec2(Arc::new(node_class()))
    }

    async fn types(&self) -> Vec<Arc<InstanceType>> {
        self.provider.instance_types(&node_pool(), &Self::class()).await.unwrap()
    }

    /// A launch of a claim that was created `age` seconds before the provider started; below zero, after.
    async fn create(&self, age: i64) -> Result<Launched, CloudError> {
        let mut claim = node_claim();
        claim.metadata.creation_timestamp = Some(Time(self.provider.started - SignedDuration::from_secs(age)));
        let mut requirements = Requirements::new();
        requirements.add(Requirement::new("kubernetes.io/arch", Operator::In, ["amd64"]));
        let request = LaunchRequest {
            claim: Arc::new(claim),
            attempt: 1,
            node_class: Self::class(),
            instance_types: self.types().await,
            requirements,
            labels: BTreeMap::from([("karpenter.sh/nodepool".to_owned(), "default".to_owned())]),
        };
        self.provider.create(&request).await
    }
}

#[tokio::test(start_paused = true)]
async fn a_launch_makes_its_template_and_buys_one_machine() {
    let fleet = mock!(Client::create_fleet)
        .match_requests(|input| {
            let overrides: usize = input.launch_template_configs().iter().map(|config| config.overrides().len()).sum();
            input.client_token() == Some(&format!("{UID}-1")) && overrides == 4
        })
        .then_output(|| bought("i-1"));
    let harness = Harness::new(&[fleet]);
    let launched = harness.create(-1).await.unwrap();
    assert_eq!(
        harness.seen.take(),
        ["CreateLaunchTemplate", "CreateFleet"],
        "a new claim needs no look for its machine"
    );
    assert_eq!(launched.instance.provider_id.as_str(), "aws:///us-east-1b/i-1");
    assert_eq!(
        (launched.instance.capacity_type, launched.price.to_string()),
        (CapacityType::Spot, "$0.0300".to_owned())
    );
    assert_eq!(
        launched.allocatable.to_string(),
        "cpu: 1930m, memory: 3114Mi, ephemeral-storage: 17Gi, pods: 29, vpc.amazonaws.com/pod-eni: 9"
    );
    insta::assert_debug_snapshot!(launched.labels);
    insta::assert_debug_snapshot!(launched.annotations);
}

#[tokio::test(start_paused = true)]
async fn a_template_of_the_same_content_is_made_once() {
    let fleet = mock!(Client::create_fleet).sequence().output(|| bought("i-1")).repeatedly().build();
    let nothing = mock!(Client::describe_instances)
        .sequence()
        .output(|| DescribeInstancesOutput::builder().build())
        .repeatedly()
        .build();
    let harness = Harness::new(&[fleet, nothing]);
    harness.create(-1).await.unwrap();
    harness.create(-1).await.unwrap();
    assert_eq!(harness.seen.take(), ["CreateLaunchTemplate", "CreateFleet", "DescribeInstances", "CreateFleet"]);
}

#[tokio::test(start_paused = true)]
async fn after_a_restart_the_machine_is_adopted() {
    let existing = mock!(Client::describe_instances)
        .match_requests(|input| {
            let filter = |name: &str, value: &str| {
                input.filters().iter().any(|one| one.name() == Some(name) && one.values() == [value.to_owned()])
            };
            filter("tag:karpenter.sh/nodeclaim", "default-abcde") && filter("tag:sawhorse.dev/nodeclaim-uid", UID)
        })
        .then_output(|| described("i-old", InstanceStateName::Running));
    let harness = Harness::new(&[existing]);
    let launched = harness.create(60).await.unwrap();
    assert_eq!(harness.seen.take(), ["DescribeInstances"]);
    assert_eq!(launched.instance.provider_id.as_str(), "aws:///us-east-1a/i-old");
    assert_eq!(launched.labels["node.kubernetes.io/instance-type"], "m5.large");
}

#[tokio::test(start_paused = true)]
async fn a_lost_answer_is_asked_for_again_with_the_same_token() {
    let fleet = mock!(Client::create_fleet)
        .match_requests(|input| input.client_token() == Some(&format!("{UID}-1")))
        .sequence()
        .http_status(502, Some("<html>bad gateway</html>".to_owned()))
        .output(|| bought("i-1"))
        .build();
    let harness = Harness::new(&[fleet]);
    assert_eq!(harness.create(-1).await.unwrap().instance.provider_id.as_str(), "aws:///us-east-1b/i-1");
    assert_eq!(harness.seen.take(), ["CreateLaunchTemplate", "CreateFleet Transport", "CreateFleet"]);
}

#[tokio::test(start_paused = true)]
async fn a_machine_whose_answer_stays_lost_is_found_by_its_tags() {
    let fleet = mock!(Client::create_fleet)
        .sequence()
        .http_status(502, Some("<html>bad gateway</html>".to_owned()))
        .repeatedly()
        .build();
    let existing = mock!(Client::describe_instances).then_output(|| described("i-1", InstanceStateName::Pending));
    let harness = Harness::new(&[fleet, existing]);
    assert_eq!(harness.create(-1).await.unwrap().instance.provider_id.as_str(), "aws:///us-east-1a/i-1");
    let lost = "CreateFleet Transport";
    assert_eq!(harness.seen.take(), ["CreateLaunchTemplate", lost, lost, lost, "DescribeInstances"]);
}

#[tokio::test(start_paused = true)]
async fn a_used_token_without_a_machine_is_replaced() {
    let used = mock!(Client::create_fleet)
        .match_requests(|input| input.client_token() == Some(&format!("{UID}-1")))
        .then_error(|| refusal("IdempotentParameterMismatch"));
    let fresh = mock!(Client::create_fleet)
        .match_requests(|input| input.client_token() == Some(&format!("{UID}-1-1")))
        .then_output(|| bought("i-2"));
    let nothing = mock!(Client::describe_instances)
        .sequence()
        .output(|| DescribeInstancesOutput::builder().build())
        .repeatedly()
        .build();
    let harness = Harness::new(&[used, fresh, nothing]);
    harness.types().await;
    let started = harness.clock.elapsed();
    assert_eq!(harness.create(-1).await.unwrap().instance.provider_id.as_str(), "aws:///us-east-1b/i-2");
    let calls = harness.seen.take();
    assert_eq!(
        calls.iter().filter(|call| *call == "DescribeInstances").count(),
        5,
        "it is looked for before another is bought"
    );
    assert_eq!(calls.last().unwrap(), "CreateFleet");
    assert!(harness.clock.elapsed() - started >= ADOPTION_INTERVAL * 4);
}

#[tokio::test(start_paused = true)]
async fn a_template_that_was_deleted_is_made_again() {
    let lost = mock!(Client::create_fleet)
        .sequence()
        .error(|| refusal(LAUNCH_TEMPLATE_NOT_FOUND))
        .output(|| bought("i-1"))
        .build();
    let harness = Harness::new(&[lost]);
    harness.create(-1).await.unwrap();
    assert_eq!(
        harness.seen.take(),
        [
            "CreateLaunchTemplate",
            "CreateFleet InvalidLaunchTemplateName.NotFoundException",
            "CreateLaunchTemplate",
            "CreateFleet"
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn a_pool_without_capacity_is_not_offered_for_three_minutes() {
    let empty = mock!(Client::create_fleet).then_output(|| {
        let pool = FleetLaunchTemplateOverrides::builder()
            .instance_type("c5.large".into())
            .availability_zone("us-east-1a")
            .build();
        let both = LaunchTemplateAndOverridesResponse::builder().overrides(pool).build();
        let error = aws_sdk_ec2::types::CreateFleetError::builder()
            .error_code("InsufficientInstanceCapacity")
            .error_message("none left");
        CreateFleetOutput::builder().errors(error.launch_template_and_overrides(both).build()).build()
    });
    let harness = Harness::new(&[empty]);
    let error = harness.create(-1).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "insufficient capacity: InsufficientInstanceCapacity for c5.large/us-east-1a (none left)"
    );
    let available = async || harness.types().await[0].offerings.iter().map(|one| one.available).collect::<Vec<_>>();
    assert_eq!(available().await, [false, true, true, true], "spot in the first zone");
    tokio::time::sleep(Duration::from_secs(179)).await;
    assert_eq!(available().await, [false, true, true, true]);
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(available().await, [true; 4]);
}

#[tokio::test(start_paused = true)]
async fn a_class_that_is_not_ready_launches_nothing() {
    let harness = Harness::new(&[]);
    let mut class = node_class();
    class.metadata.generation = Some(2);
    let request = LaunchRequest {
        claim: Arc::new(node_claim()),
        attempt: 1,
        node_class: NodeClass::Ec2(Arc::new(class)),
        instance_types: harness.types().await,
        requirements: Requirements::new(),
        labels: BTreeMap::new(),
    };
    let error = harness.provider.create(&request).await.unwrap_err();
    assert_eq!(error.to_string(), "the NodeClass `default` is not ready: its latest change has not been looked at yet");
    assert_eq!(harness.seen.take(), [] as [&str; 0]);
}

#[tokio::test(start_paused = true)]
async fn a_machine_is_given_back_until_the_cloud_no_longer_has_it() {
    let states = mock!(Client::describe_instances)
        .sequence()
        .output(|| described("i-1", InstanceStateName::Running))
        .output(|| described("i-1", InstanceStateName::ShuttingDown))
        .output(|| DescribeInstancesOutput::builder().build())
        .build();
    let terminate = mock!(Client::terminate_instances)
        .match_requests(|input| input.instance_ids() == ["i-1"])
        .then_output(|| TerminateInstancesOutput::builder().build());
    let harness = Harness::new(&[states, terminate]);
    let id = ProviderId::from("aws:///us-east-1a/i-1");
    let mut progress = Vec::new();
    for _ in 0..3 {
        progress.push(harness.provider.delete(&id).await.unwrap());
    }
    assert_eq!(progress, [DeleteProgress::Terminating, DeleteProgress::Terminating, DeleteProgress::NotFound]);
    assert_eq!(
        harness.seen.take(),
        ["DescribeInstances", "TerminateInstances", "DescribeInstances", "DescribeInstances"]
    );
}

#[tokio::test(start_paused = true)]
async fn machines_that_are_given_back_together_are_one_call_each_way() {
    let both = || {
        let one = |id| described(id, InstanceStateName::Running).reservations().to_vec();
        DescribeInstancesOutput::builder().set_reservations(Some([one("i-1"), one("i-2")].concat())).build()
    };
    let describe = mock!(Client::describe_instances)
        .match_requests(|input| input.instance_ids() == ["i-1", "i-2"])
        .then_output(both);
    let terminate = mock!(Client::terminate_instances)
        .match_requests(|input| input.instance_ids() == ["i-1", "i-2"])
        .then_output(|| {
            let change = |id| InstanceStateChange::builder().instance_id(id).build();
            TerminateInstancesOutput::builder()
                .terminating_instances(change("i-1"))
                .terminating_instances(change("i-2"))
                .build()
        });
    let harness = Harness::new(&[describe, terminate]);
    let ids = ["i-1", "i-2"].map(|id| ProviderId::from(format!("aws:///us-east-1a/{id}")));
    let (first, second) = tokio::join!(harness.provider.delete(&ids[0]), harness.provider.delete(&ids[1]));
    assert_eq!((first.unwrap(), second.unwrap()), (DeleteProgress::Terminating, DeleteProgress::Terminating));
    assert_eq!(harness.seen.take(), ["DescribeInstances", "TerminateInstances"]);
}

#[tokio::test(start_paused = true)]
async fn a_machine_that_is_unknown_does_not_hide_another() {
    let unknown = || {
        DescribeInstancesError::generic(ErrorMetadata::builder().code("InvalidInstanceID.NotFound").message("").build())
    };
    let describe = mock!(Client::describe_instances)
        .sequence()
        .error(unknown)
        .output(|| described("i-1", InstanceStateName::Running))
        .error(unknown)
        .build();
    let harness = Harness::new(&[describe]);
    let ids = ["i-1", "i-2"].map(|id| ProviderId::from(format!("aws:///us-east-1a/{id}")));
    let (first, second) = tokio::join!(harness.provider.get(&ids[0]), harness.provider.get(&ids[1]));
    assert_eq!((first.unwrap().is_some(), second.unwrap().is_some()), (true, false));
    assert_eq!(harness.seen.take().len(), 3);
}

#[tokio::test(start_paused = true)]
async fn what_the_region_sells_is_read_once_by_all_who_ask() {
    let harness = Harness::new(&[]);
    let (first, second) = tokio::join!(harness.types(), harness.types());
    assert_eq!(first.iter().map(|one| one.name.as_str()).collect::<Vec<_>>(), ["c5.large", "m5.large"]);
    assert!(Arc::ptr_eq(&first[0], &second[0]));
    let calls = std::mem::take(&mut *lock(&harness.seen.0));
    assert_eq!(calls.iter().filter(|call| *call == "DescribeInstanceTypes").count(), 1);
    // The price list could not be read, so it is due again before everything else.
    let wait = harness.provider.refresh().await.unwrap();
    assert!(wait <= Duration::from_secs(60), "{wait:?}");
}
