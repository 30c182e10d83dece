//! The calls that an unmodified Karpenter AWS provider sends, in its order and with its parameters: at start, for a new
//! NodeClass, in a launch, in a minute of idleness and at the end (observed on the wire, v1.14).

use super::tests::{Cloud, cloud, read, texts};
use http::StatusCode;
use serde_json::{Value, json};
use std::time::Duration;

const CLUSTER_TAG: (&str, &str) = ("Filter.1.Name", "tag:eks:eks-cluster-name");
const QUEUE: &str = "http://localhost/123456789012/c1";

impl Cloud {
    async fn code(&self, action: &str, parameters: &[(&str, &str)]) -> (u16, String) {
        let (status, body) = self.ec2(action, parameters).await;
        (status.as_u16(), texts(&body, "Code").concat())
    }

    /// Every page of a listing; how many elements called `name` they have.
    async fn pages(&self, action: &str, parameters: &[(&str, &str)], name: &str) -> usize {
        let (mut count, mut token) = (0, String::new());
        loop {
            let mut asked = parameters.to_vec();
            if !token.is_empty() {
                asked.push(("NextToken", &token));
            }
            let answer = self.ok(action, &asked).await;
            count += texts(&answer, name).len();
            token = texts(&answer, "nextToken").concat();
            if token.is_empty() {
                return count;
            }
        }
    }

    async fn call(&self, target: &str, body: Value) -> Value {
        let (status, answer) = self.json(target, &body.to_string()).await;
        assert_eq!(status, StatusCode::OK, "{answer}");
        serde_json::from_str(&answer).unwrap()
    }

    async fn path(&self, path: &str) -> Value {
        let request = http::Request::get(path).header("authorization", "AWS4-HMAC-SHA256 Credential=x");
        let (status, body) = read(self.send(request.body(axum::body::Body::empty()).unwrap()).await).await;
        assert_eq!(status, StatusCode::OK, "{body}");
        serde_json::from_str(&body).unwrap()
    }

    async fn prices(&self, tenancy: &str, family: &str) -> usize {
        let filter = |field: &str, value: &str| json!({"Type": "TERM_MATCH", "Field": field, "Value": value});
        let filters = [
            filter("regionCode", "us-west-2"),
            filter("serviceCode", "AmazonEC2"),
            filter("preInstalledSw", "NA"),
            filter("operatingSystem", "Linux"),
            filter("capacitystatus", "Used"),
            filter("marketoption", "OnDemand"),
            filter("tenancy", tenancy),
            filter("productFamily", family),
        ];
        let body = json!({"ServiceCode": "AmazonEC2", "Filters": filters, "MaxResults": 100});
        let answer = self.call("AWSPriceListService.GetProducts", body).await;
        let products = answer["PriceList"].as_array().unwrap();
        let product: Value = serde_json::from_str(products[0].as_str().unwrap()).unwrap();
        assert!(product["product"]["attributes"]["instanceType"].is_string());
        products.len()
    }
}

/// Pairs with names that are put together.
fn owned(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

async fn start(cloud: &Cloud) {
    assert_eq!(cloud.code("DescribeInstanceTypes", &[("DryRun", "true")]).await, (412, "DryRunOperation".to_owned()));
    let cluster = cloud.path("/clusters/c1").await;
    assert!(cluster["cluster"]["kubernetesNetworkConfig"]["serviceIpv4Cidr"].is_string());
    let types = [
        ("Filter.1.Name", "supported-virtualization-type"),
        ("Filter.1.Value.1", "hvm"),
        ("Filter.2.Name", "processor-info.supported-architecture"),
        ("Filter.2.Value.1", "x86_64"),
        ("Filter.2.Value.2", "arm64"),
        ("MaxResults", "100"),
    ];
    assert!(cloud.pages("DescribeInstanceTypes", &types, "instanceType").await > 1_000);
    let offerings = [("LocationType", "availability-zone"), ("MaxResults", "1000")];
    assert!(cloud.pages("DescribeInstanceTypeOfferings", &offerings, "location").await > 3_000);
    let url = cloud.call("AmazonSQS.GetQueueUrl", json!({"QueueName": "c1"})).await;
    assert_eq!(url["QueueUrl"], QUEUE);
    let templates = [CLUSTER_TAG, ("Filter.1.Value.1", "c1"), ("MaxResults", "200")];
    assert_eq!(cloud.pages("DescribeLaunchTemplates", &templates, "launchTemplateId").await, 0);
    assert_eq!(list(cloud).await, 0);
    assert_eq!(cloud.prices("Shared", "Compute Instance").await, 100);
    assert!(cloud.prices("Dedicated", "Compute Instance (bare metal)").await > 0);
    statuses(cloud).await;
    let now = cloud.world.clock().now().to_string();
    let history = [
        ("ProductDescription.1", "Linux/UNIX"),
        ("ProductDescription.2", "Linux/UNIX (Amazon VPC)"),
        ("StartTime", now.as_str()),
        ("MaxResults", "2000"),
    ];
    assert!(cloud.pages("DescribeSpotPriceHistory", &history, "spotPrice").await > 3_000);
    let profiles =
        cloud.query("2010-05-08", "ListInstanceProfiles", &[("PathPrefix", "/karpenter/us-west-2/c1/")]).await;
    assert_eq!(profiles.0, StatusCode::OK);
}

async fn list(cloud: &Cloud) -> usize {
    let filters = [
        ("Filter.1.Name", "tag-key"),
        ("Filter.1.Value.1", "karpenter.sh/nodepool"),
        ("Filter.2.Name", "tag-key"),
        ("Filter.2.Value.1", "karpenter.k8s.aws/ec2nodeclass"),
        ("Filter.3.Name", "tag:eks:eks-cluster-name"),
        ("Filter.3.Value.1", "c1"),
        ("Filter.4.Name", "instance-state-name"),
        ("Filter.4.Value.1", "pending"),
        ("Filter.4.Value.2", "running"),
        ("Filter.4.Value.3", "stopping"),
        ("Filter.4.Value.4", "stopped"),
        ("Filter.4.Value.5", "shutting-down"),
        ("MaxResults", "1000"),
    ];
    cloud.pages("DescribeInstances", &filters, "launchTime").await
}

async fn statuses(cloud: &Cloud) {
    let events = ["instance-reboot", "system-reboot", "system-maintenance", "instance-retirement", "instance-stop"];
    for (name, values) in [
        ("instance-status.status", &["impaired"][..]),
        ("system-status.status", &["impaired"]),
        ("event.code", &events),
    ] {
        let mut filter = owned(&[("Filter.1.Name", name)]);
        filter.extend(
            values.iter().enumerate().map(|(at, value)| (format!("Filter.1.Value.{}", at + 1), (*value).to_owned())),
        );
        cloud.ok("DescribeInstanceStatus", &super::tests::borrowed(&filter)).await;
    }
}

/// What a new NodeClass is resolved by; the image's and the subnets' ids.
async fn node_class(cloud: &Cloud) -> (String, Vec<(String, String)>) {
    let mut images = Vec::new();
    for variant in ["x86_64/standard", "arm64/standard", "x86_64/nvidia", "arm64/nvidia", "x86_64/neuron"] {
        let path = format!("/aws/service/eks/optimized-ami/1.35/amazon-linux-2023/{variant}/recommended/image_id");
        let answer = cloud.call("AmazonSSM.GetParameter", json!({"Name": path})).await;
        images.push(answer["Parameter"]["Value"].as_str().unwrap().to_owned());
    }
    let mut asked = owned(&[
        ("Filter.1.Name", "image-id"),
        ("Filter.2.Name", "state"),
        ("Filter.2.Value.1", "available"),
        ("IncludeDeprecated", "true"),
        ("MaxResults", "1000"),
    ]);
    asked.extend(images.iter().enumerate().map(|(at, id)| (format!("Filter.1.Value.{}", at + 1), id.clone())));
    let described = cloud.ok("DescribeImages", &super::tests::borrowed(&asked)).await;
    assert_eq!(texts(&described, "creationDate").len(), images.iter().collect::<std::collections::BTreeSet<_>>().len());
    let discovery =
        [("Filter.1.Name", "tag:karpenter.sh/discovery"), ("Filter.1.Value.1", "c1"), ("MaxResults", "500")];
    let subnets = cloud.ok("DescribeSubnets", &discovery).await;
    assert_eq!(texts(&subnets, "availableIpAddressCount").len(), 4);
    let subnets = texts(&subnets, "subnetId").into_iter().zip(texts(&subnets, "availabilityZone")).collect();
    assert_eq!(texts(&cloud.ok("DescribeSecurityGroups", &discovery).await, "groupName").len(), 1);
    let reservations = [
        ("Filter.1.Name", "state"),
        ("Filter.1.Value.1", "active"),
        ("Filter.2.Name", "tag:a"),
        ("Filter.2.Value.1", "b"),
        ("MaxResults", "1000"),
    ];
    cloud.ok("DescribeCapacityReservations", &reservations).await;
    profile(cloud).await;
    (images.remove(0), subnets)
}

async fn profile(cloud: &Cloud) {
    let iam = async |action: &str, parameters: &[(&str, &str)]| {
        cloud.query("2010-05-08", action, parameters).await.0.as_u16()
    };
    let name = ("InstanceProfileName", "c1_42");
    assert_eq!(iam("GetInstanceProfile", &[name]).await, 404);
    let tags = [("Tags.member.1.Key", "kubernetes.io/cluster/c1"), ("Tags.member.1.Value", "owned")];
    let path = ("Path", "/karpenter/us-west-2/c1/uid/");
    assert_eq!(iam("CreateInstanceProfile", &[name, path, tags[0], tags[1]]).await, 200);
    assert_eq!(iam("AddRoleToInstanceProfile", &[name, ("RoleName", "node-role")]).await, 200);
}

async fn template(cloud: &Cloud, image: &str) {
    let name = "karpenter.k8s.aws/42";
    let known = cloud.code("DescribeLaunchTemplates", &[("LaunchTemplateName.1", name)]).await;
    assert_eq!(known, (400, "InvalidLaunchTemplateName.NotFoundException".to_owned()));
    let group = cloud.world.with(|world| world.security_groups()[1].id.clone());
    let data = [
        ("ImageId", image),
        ("UserData", "aGVsbG8="),
        ("IamInstanceProfile.Name", "c1_42"),
        ("Monitoring.Enabled", "false"),
        ("BlockDeviceMapping.1.DeviceName", "/dev/xvda"),
        ("BlockDeviceMapping.1.Ebs.Encrypted", "true"),
        ("BlockDeviceMapping.1.Ebs.VolumeSize", "20"),
        ("BlockDeviceMapping.1.Ebs.VolumeType", "gp3"),
        ("MetadataOptions.HttpEndpoint", "enabled"),
        ("MetadataOptions.HttpProtocolIpv6", "disabled"),
        ("MetadataOptions.HttpPutResponseHopLimit", "1"),
        ("MetadataOptions.HttpTokens", "required"),
        ("MetadataOptions.InstanceMetadataTags", "disabled"),
        ("NetworkInterface.1.DeviceIndex", "0"),
        ("NetworkInterface.1.SecurityGroupId.1", &group),
        ("Placement.Tenancy", "default"),
        ("EnclaveOptions.Enabled", "false"),
        ("CapacityReservationSpecification.CapacityReservationPreference", "none"),
        ("TagSpecification.1.ResourceType", "network-interface"),
        ("TagSpecification.1.Tag.1.Key", "eks:eks-cluster-name"),
        ("TagSpecification.1.Tag.1.Value", "c1"),
    ];
    let mut asked = owned(&[
        ("LaunchTemplateName", name),
        ("ClientToken", "lt-token"),
        ("TagSpecification.1.ResourceType", "launch-template"),
        ("TagSpecification.1.Tag.1.Key", "eks:eks-cluster-name"),
        ("TagSpecification.1.Tag.1.Value", "c1"),
    ]);
    asked.extend(data.iter().map(|(name, value)| (format!("LaunchTemplateData.{name}"), (*value).to_owned())));
    cloud.ok("CreateLaunchTemplate", &super::tests::borrowed(&asked)).await;
}

fn fleet(image: &str, subnets: &[(String, String)], target: &str) -> Vec<(String, String)> {
    let mut asked = owned(&[
        ("Type", "instant"),
        ("TargetCapacitySpecification.TotalTargetCapacity", target),
        ("TargetCapacitySpecification.DefaultTargetCapacityType", "spot"),
        ("SpotOptions.AllocationStrategy", "price-capacity-optimized"),
        ("LaunchTemplateConfigs.1.LaunchTemplateSpecification.LaunchTemplateName", "karpenter.k8s.aws/42"),
        ("LaunchTemplateConfigs.1.LaunchTemplateSpecification.Version", "$Latest"),
    ]);
    let types = ["m5.large", "m5.xlarge", "c5.large"];
    let pools = types.iter().flat_map(|kind| subnets.iter().map(move |(subnet, zone)| (kind, subnet, zone)));
    for (at, (kind, subnet, zone)) in pools.enumerate() {
        let path = format!("LaunchTemplateConfigs.1.Overrides.{}", at + 1);
        let fields = [
            ("InstanceType", *kind),
            ("SubnetId", subnet),
            ("ImageId", image),
            ("AvailabilityZone", zone),
            ("Priority", "1.92e-08"),
        ];
        asked.extend(fields.map(|(name, value)| (format!("{path}.{name}"), value.to_owned())));
    }
    for (at, resource) in ["instance", "volume", "fleet"].iter().enumerate() {
        let path = format!("TagSpecification.{}", at + 1);
        asked.push((format!("{path}.ResourceType"), (*resource).to_owned()));
        let tags = [
            ("kubernetes.io/cluster/c1", "owned"),
            ("karpenter.sh/nodepool", "default"),
            ("eks:eks-cluster-name", "c1"),
            ("karpenter.k8s.aws/ec2nodeclass", "default"),
        ];
        for (tag, (key, value)) in tags.iter().enumerate() {
            asked.push((format!("{path}.Tag.{}.Key", tag + 1), (*key).to_owned()));
            asked.push((format!("{path}.Tag.{}.Value", tag + 1), (*value).to_owned()));
        }
    }
    asked
}

/// What it asks in a minute of idleness: the machines' statuses, and the queue.
async fn idle(cloud: &Cloud) {
    statuses(cloud).await;
    let receive = json!({"QueueUrl": QUEUE, "MaxNumberOfMessages": 10, "VisibilityTimeout": 20, "WaitTimeSeconds": 20,
                         "AttributeNames": ["SentTimestamp"], "MessageAttributeNames": ["All"]});
    let told = cloud.call("AmazonSQS.ReceiveMessage", receive).await;
    for message in told["Messages"].as_array().unwrap() {
        assert!(message["Attributes"]["SentTimestamp"].is_string());
        let delete = json!({"QueueUrl": QUEUE, "ReceiptHandle": message["ReceiptHandle"]});
        cloud.call("AmazonSQS.DeleteMessage", delete).await;
    }
}

#[tokio::test(start_paused = true)]
async fn an_unmodified_reference_finds_what_it_asks_for() {
    let cloud = cloud();
    tokio::spawn(crate::app::drive(cloud.world.clone()));
    start(&cloud).await;
    let (image, subnets) = node_class(&cloud).await;
    template(&cloud, &image).await;

    // The dry runs of its validation.
    let mut asked = fleet(&image, &subnets, "1");
    asked.push(("DryRun".to_owned(), "true".to_owned()));
    let dry_run = (412, "DryRunOperation".to_owned());
    assert_eq!(cloud.code("CreateFleet", &super::tests::borrowed(&asked)).await, dry_run);
    let run = [
        ("DryRun", "true"),
        ("LaunchTemplate.LaunchTemplateName", "karpenter.k8s.aws/42"),
        ("LaunchTemplate.Version", "$Latest"),
        ("InstanceType", "m5.large"),
        ("MinCount", "1"),
        ("MaxCount", "1"),
        ("NetworkInterface.1.DeviceIndex", "0"),
        ("NetworkInterface.1.SubnetId", &subnets[0].0),
        ("TagSpecification.1.ResourceType", "instance"),
        ("TagSpecification.1.Tag.1.Key", "karpenter.sh/nodepool"),
        ("TagSpecification.1.Tag.1.Value", ""),
    ];
    assert_eq!(cloud.code("RunInstances", &run).await, dry_run);
    let missing = [&run[..], &[("IamInstanceProfile.Name", "nobody")]].concat();
    assert_eq!(
        cloud.code("RunInstances", &missing).await,
        dry_run,
        "every name is a profile, unless the world says which are"
    );

    // A launch of two that were batched, read as it reads it.
    let mut asked = fleet(&image, &subnets, "2");
    asked.push(("ClientToken".to_owned(), "launch-1".to_owned()));
    let bought = cloud.ok("CreateFleet", &super::tests::borrowed(&asked)).await;
    let ids: Vec<String> = texts(&bought, "item").into_iter().filter(|text| text.starts_with("i-")).collect();
    assert_eq!((ids.len(), texts(&bought, "imageId")), (2, vec![image.clone()]));
    assert_eq!(list(&cloud).await, 2);
    let tags = [
        ("ResourceId.1", ids[0].as_str()),
        ("Tag.1.Key", "Name"),
        ("Tag.1.Value", "node"),
        ("Tag.2.Key", "karpenter.sh/nodeclaim"),
        ("Tag.2.Value", "default-1"),
    ];
    cloud.ok("CreateTags", &tags).await;
    let get = [
        ("InstanceId.1", ids[0].as_str()),
        ("Filter.1.Name", "instance-state-name"),
        ("Filter.1.Value.1", "pending"),
        ("Filter.1.Value.2", "running"),
        ("Filter.1.Value.3", "shutting-down"),
    ];
    let described = cloud.ok("DescribeInstances", &get).await;
    assert_eq!(texts(&described, "capacityReservationPreference"), ["none"]);
    assert_eq!(texts(&described, "spotInstanceRequestId").len(), 1);

    // A minute of idleness.
    idle(&cloud).await;

    // The end of one machine, asked for until it is gone; then of everything.
    let ended = cloud.ok("TerminateInstances", &[("InstanceId.1", &ids[0])]).await;
    assert!(ended.contains("shutting-down"));
    tokio::time::sleep(Duration::from_secs(90)).await;
    assert!(texts(&cloud.ok("DescribeInstances", &get).await, "instanceId").is_empty());
    cloud.ok("TerminateInstances", &[("InstanceId.1", &ids[1])]).await;
    cloud.ok("DeleteLaunchTemplate", &[("LaunchTemplateName", "karpenter.k8s.aws/42")]).await;
    for (action, more) in
        [("RemoveRoleFromInstanceProfile", Some(("RoleName", "node-role"))), ("DeleteInstanceProfile", None)]
    {
        let parameters: Vec<_> = [("InstanceProfileName", "c1_42")].into_iter().chain(more).collect();
        assert_eq!(cloud.query("2010-05-08", action, &parameters).await.0, StatusCode::OK);
    }
    tokio::time::sleep(Duration::from_secs(90)).await;
    assert!(cloud.world.with(|world| world.remaining().is_empty()));
}
