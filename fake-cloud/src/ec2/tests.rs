//! The door from outside: requests as clients send them, answers as they read them.

use crate::{
    app::{SharedWorld, app},
    world::{Capacity, CapacityRule, CloudConfig, FaultEffect, FaultRule, LostResponse, Market, World},
};
use axum::{Router, body::Body, response::Response};
use http::{Request, StatusCode};
use http_body_util::BodyExt;
use quick_xml::{Reader, Writer, events::Event};
use rstest::rstest;
use sawhorse_ambient::Clock;
use std::time::Duration;
use tower::ServiceExt;

/// A world with its doors.
pub(super) struct Cloud {
    pub(super) world: SharedWorld,
    app: Router,
}

pub(super) fn cloud() -> Cloud {
    let clock = Clock::starting_at("2026-01-01T00:00:00Z".parse().unwrap());
    let config = CloudConfig { seed: 1, cluster: "c1".to_owned(), ..CloudConfig::default() };
    let world = SharedWorld::new(World::new(&config, clock.now()).unwrap(), clock);
    Cloud { app: app(world.clone()), world }
}

impl Cloud {
    pub(super) async fn send(&self, request: Request<Body>) -> Response {
        self.app.clone().oneshot(request).await.unwrap()
    }

    /// Sends parameters to EC2; status and body.
    pub(super) async fn ec2(&self, action: &str, parameters: &[(&str, &str)]) -> (StatusCode, String) {
        self.query("2016-11-15", action, parameters).await
    }

    /// Sends parameters to the service of that version; status and body.
    pub(super) async fn query(&self, version: &str, action: &str, parameters: &[(&str, &str)]) -> (StatusCode, String) {
        let mut pairs = vec![("Action", action), ("Version", version)];
        pairs.extend(parameters);
        let body = serde_urlencoded::to_string(pairs).unwrap();
        read(self.send(signed("/").body(Body::from(body)).unwrap()).await).await
    }

    /// Sends parameters to EC2; the indented content of the answer, which must be a success.
    pub(super) async fn ok(&self, action: &str, parameters: &[(&str, &str)]) -> String {
        let (status, body) = self.ec2(action, parameters).await;
        assert_eq!(status, StatusCode::OK, "{body}");
        indented(&body)
    }

    pub(super) async fn json(&self, target: &str, body: &str) -> (StatusCode, String) {
        let request = signed("/").header("x-amz-target", target).body(Body::from(body.to_owned())).unwrap();
        read(self.send(request).await).await
    }

    pub(super) fn parameter(&self, name: &str) -> String {
        self.world.with(|world| world.parameter(name).unwrap().to_owned())
    }

    pub(super) fn image(&self) -> String {
        self.parameter("/aws/service/eks/optimized-ami/1.35/amazon-linux-2023/x86_64/standard/recommended/image_id")
    }

    pub(super) fn subnet(&self, zone: &str) -> String {
        self.world.with(|world| world.subnets().iter().find(|subnet| subnet.zone.name == zone).unwrap().id.clone())
    }

    fn exhaust(&self, machine_type: &str, zone: &str) {
        let rule = CapacityRule {
            instance_type: machine_type.to_owned(),
            zone: zone.to_owned(),
            capacity_type: Some(Market::Spot),
            capacity: Capacity::Count(0),
        };
        self.world.with(|world| world.set_capacity(&[rule]).unwrap());
    }
}

pub(super) fn signed(path: &str) -> http::request::Builder {
    Request::post(path).header("authorization", "AWS4-HMAC-SHA256 Credential=test/20260101/us-west-2/ec2/aws4_request")
}

pub(super) async fn read(response: Response) -> (StatusCode, String) {
    let status = response.status();
    let body = response.into_body().collect().await.unwrap().to_bytes();
    (status, String::from_utf8(body.to_vec()).unwrap())
}

fn indented(xml: &str) -> String {
    let mut reader = Reader::from_str(xml);
    let mut writer = Writer::new_with_indent(Vec::new(), b' ', 1);
    loop {
        match reader.read_event().unwrap() {
            Event::Eof => return String::from_utf8(writer.into_inner()).unwrap(),
            event => writer.write_event(event).unwrap(),
        }
    }
}

/// The texts of all elements called `name`.
pub(super) fn texts(xml: &str, name: &str) -> Vec<String> {
    let (open, close) = (format!("<{name}>"), format!("</{name}>"));
    let inner = |rest: &str| rest.split_once(&close).map(|(text, _)| text.to_owned());
    xml.split(&open).skip(1).filter_map(inner).collect()
}

#[tokio::test(start_paused = true)]
async fn an_answer_is_ec2_xml() {
    let answer = cloud().ok("DescribeRegions", &[("RegionName.1", "eu-west-1")]).await;
    insta::assert_snapshot!(answer);
}

#[tokio::test(start_paused = true)]
async fn a_machine_type_says_all_that_ec2_says() {
    for name in ["g4dn.xlarge", "inf1.xlarge"] {
        let answer = cloud().ok("DescribeInstanceTypes", &[("InstanceType.1", name)]).await;
        insta::assert_snapshot!(format!("machine_type_{name}"), answer);
    }
}

/// Creates the template `lt` and returns the parameters of a spot fleet of `count` machines over two zones.
pub(super) async fn fleet(cloud: &Cloud, count: &str) -> Vec<(String, String)> {
    let image = cloud.image();
    cloud
        .ok(
            "CreateLaunchTemplate",
            &[
                ("LaunchTemplateName", "lt1"),
                ("LaunchTemplateData.ImageId", &image),
                ("LaunchTemplateData.UserData", "aGVsbG8="),
                ("LaunchTemplateData.NetworkInterface.1.DeviceIndex", "0"),
            ],
        )
        .await;
    let config = "LaunchTemplateConfigs.1";
    let mut parameters = vec![
        ("Type".to_owned(), "instant".to_owned()),
        ("ClientToken".to_owned(), "token-1".to_owned()),
        ("TargetCapacitySpecification.TotalTargetCapacity".to_owned(), count.to_owned()),
        ("TargetCapacitySpecification.DefaultTargetCapacityType".to_owned(), "spot".to_owned()),
        ("SpotOptions.AllocationStrategy".to_owned(), "lowest-price".to_owned()),
        (format!("{config}.LaunchTemplateSpecification.LaunchTemplateName"), "lt1".to_owned()),
        (format!("{config}.LaunchTemplateSpecification.Version"), "$Latest".to_owned()),
        ("TagSpecification.1.ResourceType".to_owned(), "instance".to_owned()),
        ("TagSpecification.1.Tag.1.Key".to_owned(), "karpenter.sh/nodepool".to_owned()),
        ("TagSpecification.1.Tag.1.Value".to_owned(), "default".to_owned()),
    ];
    for (number, zone) in [(1, "us-west-2a"), (2, "us-west-2b")] {
        let path = format!("{config}.Overrides.{number}");
        parameters.push((format!("{path}.InstanceType"), "m5.large".to_owned()));
        parameters.push((format!("{path}.SubnetId"), cloud.subnet(zone)));
        parameters.push((format!("{path}.AvailabilityZone"), zone.to_owned()));
        parameters.push((format!("{path}.ImageId"), image.clone()));
        parameters.push((format!("{path}.Priority"), "1.92e-08".to_owned()));
    }
    parameters
}

pub(super) fn borrowed(parameters: &[(String, String)]) -> Vec<(&str, &str)> {
    parameters.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect()
}

#[tokio::test(start_paused = true)]
async fn a_fleet_answers_with_machines_and_errors_side_by_side() {
    let cloud = cloud();
    for zone in ["us-west-2a", "us-west-2b"] {
        cloud.exhaust("m5.large", zone);
    }
    let parameters = fleet(&cloud, "1").await;
    insta::assert_snapshot!("fleet_without_capacity", cloud.ok("CreateFleet", &borrowed(&parameters)).await);

    let cloud = self::cloud();
    let parameters = fleet(&cloud, "1").await;
    insta::assert_snapshot!("fleet", cloud.ok("CreateFleet", &borrowed(&parameters)).await);
    insta::assert_snapshot!("instances", cloud.ok("DescribeInstances", &[]).await);
    tokio::time::sleep(Duration::from_secs(180)).await;
    insta::assert_snapshot!("instance_status", cloud.ok("DescribeInstanceStatus", &[("MaxResults", "5")]).await);
    let ids = texts(&cloud.ok("DescribeInstances", &[]).await, "instanceId");
    insta::assert_snapshot!("terminating", cloud.ok("TerminateInstances", &[("InstanceId.1", &ids[0])]).await);
    tokio::time::sleep(Duration::from_secs(120)).await;
    insta::assert_snapshot!("terminated", cloud.ok("DescribeInstances", &[("InstanceId.1", &ids[0])]).await);
}

#[tokio::test(start_paused = true)]
async fn a_repeated_token_repeats_the_answer_and_buys_nothing() {
    let cloud = cloud();
    let mut parameters = fleet(&cloud, "2").await;
    let first = cloud.ok("CreateFleet", &borrowed(&parameters)).await;
    let again = cloud.ok("CreateFleet", &borrowed(&parameters)).await;
    assert_eq!(texts(&first, "fleetId"), texts(&again, "fleetId"));
    assert_eq!(cloud.world.with(|world| world.instances().count()), 2);
    parameters[2].1 = "3".to_owned();
    let (status, body) = cloud.ec2("CreateFleet", &borrowed(&parameters)).await;
    assert_eq!(
        (status, texts(&body, "Code")),
        (StatusCode::BAD_REQUEST, vec!["IdempotentParameterMismatch".to_owned()])
    );
}

#[tokio::test(start_paused = true)]
async fn a_template_is_described_as_it_was_created() {
    let cloud = cloud();
    let image = cloud.image();
    let data = [
        ("BlockDeviceMapping.1.DeviceName", "/dev/xvda"),
        ("BlockDeviceMapping.1.Ebs.VolumeSize", "20"),
        ("BlockDeviceMapping.1.Ebs.VolumeType", "gp3"),
        ("CapacityReservationSpecification.CapacityReservationPreference", "none"),
        ("CpuOptions.NestedVirtualization", "enabled"),
        ("IamInstanceProfile.Arn", "arn:aws:iam::123456789012:instance-profile/path/nodes"),
        ("ImageId", &image),
        ("MetadataOptions.HttpPutResponseHopLimit", "1"),
        ("MetadataOptions.HttpTokens", "required"),
        ("NetworkInterface.1.ConnectionTrackingSpecification.UdpTimeout", "30"),
        ("NetworkInterface.1.DeviceIndex", "0"),
        ("NetworkInterface.1.SecurityGroupId.1", "sg-1"),
        ("Placement.GroupName", "pg"),
        ("Placement.Tenancy", "default"),
        ("TagSpecification.1.ResourceType", "network-interface"),
        ("TagSpecification.1.Tag.1.Key", "k"),
        ("TagSpecification.1.Tag.1.Value", "v & <v>"),
        ("UserData", "aGVsbG8="),
    ];
    let named: Vec<_> = data.map(|(name, value)| (format!("LaunchTemplateData.{name}"), value)).into();
    let mut parameters: Vec<(&str, &str)> = named.iter().map(|(name, value)| (name.as_str(), *value)).collect();
    parameters.push(("LaunchTemplateName", "lt1"));
    cloud.ok("CreateLaunchTemplate", &parameters).await;
    let answer = cloud.ok("DescribeLaunchTemplateVersions", &[("LaunchTemplateName", "lt1")]).await;
    insta::assert_snapshot!(answer);
}

#[rstest]
#[case("Nonsense", &[], 400, "InvalidAction", "The action Nonsense is not valid for this web service.")]
#[case("DescribeSubnets", &[("Colour", "red")], 400, "UnknownParameter", "The parameter Colour is not recognized")]
#[case("DescribeSubnets", &[("Filter.1.Name", "colour"), ("Filter.1.Value.1", "red")], 400, "InvalidParameterValue",
    "The filter 'colour' is invalid")]
#[case("DescribeSubnets", &[("MaxResults", "4")], 400, "InvalidParameterValue",
    "Value (4) for parameter MaxResults is invalid. Expecting a value from 5 to 1000.")]
#[case("DescribeSubnets", &[("NextToken", "x")], 400, "InvalidNextToken", "The token 'x' is invalid")]
#[case("DescribeSubnets", &[("SubnetId.1", "subnet-1")], 400, "InvalidSubnetID.NotFound",
    "The subnet ID 'subnet-1' does not exist")]
#[case("DescribeInstances", &[("InstanceId.1", "i-0123456789abcdef0")], 400, "InvalidInstanceID.NotFound",
    "The instance ID 'i-0123456789abcdef0' does not exist")]
#[case("DescribeInstances", &[("InstanceId.1", "i-01234567"), ("InstanceId.2", "i-01234568")], 400,
    "InvalidInstanceID.NotFound", "The instance IDs 'i-01234567, i-01234568' do not exist")]
#[case("DescribeInstances", &[("InstanceId.1", "web-1")], 400, "InvalidInstanceID.Malformed",
    "Invalid id: \"web-1\" (expecting \"i-…\")")]
#[case("DescribeInstances", &[("InstanceId.1", "i-01234567"), ("MaxResults", "5")], 400, "InvalidParameterCombination",
    "The parameter instancesSet cannot be used with the parameter maxResults")]
#[case("DescribeInstanceTypes", &[("DryRun", "true")], 412, "DryRunOperation",
    "Request would have succeeded, but DryRun flag is set.")]
#[case("DescribeInstanceTypes", &[("InstanceType.1", "zz9.large")], 400, "InvalidInstanceType",
    "The following supplied instance types do not exist: [zz9.large]")]
#[case("DescribeLaunchTemplates", &[("LaunchTemplateName.1", "none")], 400, "InvalidLaunchTemplateName.NotFoundException",
    "The specified launch template, with template name none, does not exist.")]
#[case("DeleteLaunchTemplate", &[("LaunchTemplateId", "lt-1")], 400, "InvalidLaunchTemplateId.NotFound",
    "The specified launch template, with template ID lt-1, does not exist.")]
#[case("DeleteLaunchTemplate", &[], 400, "MissingParameter",
    "Either LaunchTemplateId or LaunchTemplateName must be specified.")]
#[case("CreateLaunchTemplate", &[("LaunchTemplateName", "a b"), ("LaunchTemplateData.KeyName", "k")], 400,
    "InvalidLaunchTemplateName.MalformedException",
    "Launch template name 'a b' must have 3 to 128 characters of letters, digits and ().-/_")]
#[case("CreateLaunchTemplate", &[("LaunchTemplateName", "lt1"), ("LaunchTemplateData.KeyName", "k"), ("DryRun", "true")],
    412, "DryRunOperation", "Request would have succeeded, but DryRun flag is set.")]
#[case("CreateLaunchTemplate", &[("LaunchTemplateName", "lt1"), ("LaunchTemplateData.UserData", "%")], 400,
    "InvalidUserData.Malformed", "Invalid BASE64 encoding of user data.")]
#[case("CreateLaunchTemplate", &[("LaunchTemplateName", "lt1"), ("LaunchTemplateData.InstanceRequirements.VCpuCount.Min", "1")],
    400, "UnknownParameter", "The parameter LaunchTemplateData.InstanceRequirements.VCpuCount.Min is not recognized")]
#[case("CreateFleet", &[("TargetCapacitySpecification.TotalTargetCapacity", "1")], 400, "InvalidParameterValue",
    "Value (maintain) for parameter Type is invalid. Expecting instant: other fleets are not served.")]
#[case("CreateFleet", &[("Type", "instant")], 400, "MissingParameter",
    "The request must contain the parameter TargetCapacitySpecification.TotalTargetCapacity")]
#[case("CreateFleet", &[("Type", "instant"), ("TargetCapacitySpecification.TotalTargetCapacity", "1"),
    ("LaunchTemplateConfigs.1.LaunchTemplateSpecification.LaunchTemplateName", "none")], 400,
    "InvalidLaunchTemplateName.NotFoundException",
    "The specified launch template, with template name none, does not exist.")]
#[case("CreateFleet", &[("Type", "instant"), ("TargetCapacitySpecification.TotalTargetCapacity", "3"),
    ("TargetCapacitySpecification.SpotTargetCapacity", "1"), ("TargetCapacitySpecification.OnDemandTargetCapacity", "2")],
    400, "InvalidFleetConfig",
    "A fleet of both markets is not served: ask for SpotTargetCapacity or OnDemandTargetCapacity.")]
#[case("RunInstances", &[("MinCount", "1"), ("MaxCount", "1"), ("ImageId", "image"), ("InstanceType", "m5.large")], 400,
    "InvalidAMIID.Malformed", "Invalid id: \"image\" (expecting \"ami-…\")")]
#[case("TerminateInstances", &[], 400, "MissingParameter", "The request must contain the parameter InstanceId")]
#[case("CreateTags", &[("ResourceId.1", "i-01234567"), ("Tag.1.Key", "k")], 400, "InvalidInstanceID.NotFound",
    "The instance ID 'i-01234567' does not exist")]
#[case("CreateTags", &[("ResourceId.1", "thing"), ("Tag.1.Key", "k")], 400, "InvalidID", "The ID 'thing' is not valid")]
#[case("DescribeImages", &[("ImageId.1", "ami-00000000")], 400, "InvalidAMIID.NotFound",
    "The image id 'ami-00000000' does not exist")]
#[case("DescribeSpotPriceHistory", &[("StartTime", "yesterday")], 400, "InvalidParameterValue",
    "Value (yesterday) for parameter StartTime is invalid. Expecting a time such as 2026-01-01T00:00:00Z.")]
#[tokio::test(start_paused = true)]
async fn refusals(
    #[case] action: &str,
    #[case] parameters: &[(&str, &str)],
    #[case] status: u16,
    #[case] code: &str,
    #[case] message: &str,
) {
    let (answered, body) = cloud().ec2(action, parameters).await;
    let unescaped = quick_xml::escape::unescape(&texts(&body, "Message")[0]).unwrap().into_owned();
    assert_eq!((answered.as_u16(), texts(&body, "Code")[0].as_str(), unescaped.as_str()), (status, code, message));
}

#[tokio::test(start_paused = true)]
async fn every_protocol_has_its_own_envelope() {
    let cloud = cloud();
    let mut report = String::new();
    let requests = [
        signed("/").body(Body::from("Action=Nonsense&Version=2016-11-15")),
        signed("/").body(Body::from("Action=Nonsense&Version=2011-06-15")),
        signed("/").body(Body::from("Action=GetCallerIdentity&Version=2011-06-15")),
        signed("/").body(Body::from("Action=ListUsers&Version=2010-05-08")),
        signed("/").body(Body::from("Action=DescribeRegions&Version=1999-01-01")),
        signed("/").body(Body::from("Version=2016-11-15")),
        signed("/").body(Body::from(vec![b'A'; 1024 * 1024 + 1])),
        signed("/").header("x-amz-target", "AmazonSSM.GetParameter").body(Body::from(r#"{"Name": "/none"}"#)),
        signed("/").header("x-amz-target", "AmazonSSM.GetParameter").body(Body::from("{")),
        signed("/").header("x-amz-target", "AmazonSSM.GetParameter").body(Body::from(r#"{"Colour": 1}"#)),
        signed("/").header("x-amz-target", "DynamoDB_20120810.ListTables").body(Body::from("{}")),
        signed("/clusters/none").method("GET").body(Body::empty()),
        signed("/nowhere").body(Body::empty()),
        Request::post("/").body(Body::from("Action=DescribeRegions&Version=2016-11-15")),
    ];
    for request in requests {
        let response = cloud.send(request.unwrap()).await;
        let header = |name: &str| response.headers().get(name).map_or("-", |value| value.to_str().unwrap()).to_owned();
        let (kind, error_type) = (header("content-type"), header("x-amzn-errortype"));
        let (status, body) = read(response).await;
        report += &format!("{} {kind} {error_type}\n{body}\n\n", status.as_u16());
    }
    insta::assert_snapshot!(report);
}

#[tokio::test(start_paused = true)]
async fn pages_of_machines_show_each_once_and_keep_launches_together() {
    let cloud = cloud();
    let image = cloud.image();
    for count in ["3", "7", "2"] {
        let run = [("ImageId", image.as_str()), ("InstanceType", "m5.large"), ("MinCount", count), ("MaxCount", count)];
        cloud.ok("RunInstances", &run).await;
    }
    let all = texts(&cloud.ok("DescribeInstances", &[]).await, "instanceId");
    let (mut seen, mut token) = (Vec::new(), String::new());
    loop {
        let page = cloud.ok("DescribeInstances", &[("MaxResults", "5"), ("NextToken", &token)]).await;
        let ids = texts(&page, "instanceId");
        assert!(ids.len() <= 5);
        seen.extend(ids);
        match texts(&page, "nextToken").pop() {
            Some(next) => token = next,
            None => break,
        }
    }
    assert_eq!((all.len(), &seen), (12, &all));
    let whole = cloud.ok("DescribeInstances", &[]).await;
    assert_eq!(texts(&whole, "reservationId").len(), 3);
}

#[tokio::test(start_paused = true)]
async fn spot_history_from_now_is_the_current_price_and_further_back_a_row_an_hour() {
    let cloud = cloud();
    tokio::time::sleep(Duration::from_secs(5 * 3600 + 60)).await;
    let query = [("InstanceType.1", "m5.large"), ("ProductDescription.1", "Linux/UNIX")];
    let current = [&query[..], &[("StartTime", "2026-01-01T05:01:00Z")]].concat();
    insta::assert_snapshot!(cloud.ok("DescribeSpotPriceHistory", &current).await);

    let from = [&query[..], &[("StartTime", "2026-01-01T00:00:00Z"), ("MaxResults", "4")]].concat();
    let (mut rows, mut token) = (Vec::new(), String::new());
    loop {
        let page = cloud.ok("DescribeSpotPriceHistory", &[&from[..], &[("NextToken", &token)]].concat()).await;
        rows.extend(texts(&page, "availabilityZone").into_iter().zip(texts(&page, "timestamp")));
        match texts(&page, "nextToken").pop() {
            Some(next) => token = next,
            None => break,
        }
    }
    let zones = cloud.world.with(|world| world.offerings().filter(|pool| pool.machine_type.name == "m5.large").count());
    assert_eq!(rows.len(), zones * 6);
    rows.dedup();
    assert_eq!(rows.len(), zones * 6, "each row once");
    let other = [("InstanceType.1", "m5.large"), ("ProductDescription.1", "Windows")];
    assert_eq!(texts(&cloud.ok("DescribeSpotPriceHistory", &other).await, "spotPrice").len(), 0);
}

#[tokio::test(start_paused = true)]
async fn prices_are_listed_for_shared_machines_and_for_bare_metal() {
    let cloud = cloud();
    let ask = |tenancy: &str, family: &str, name: &str| {
        let filter =
            |field: &str, value: &str| format!(r#"{{"Type":"TERM_MATCH","Field":"{field}","Value":"{value}"}}"#);
        let filters = [
            filter("regionCode", "us-west-2"),
            filter("serviceCode", "AmazonEC2"),
            filter("tenancy", tenancy),
            filter("productFamily", family),
            filter("instanceType", name),
        ];
        format!(r#"{{"ServiceCode":"AmazonEC2","MaxResults":100,"Filters":[{}]}}"#, filters.join(","))
    };
    let target = "AWSPriceListService.GetProducts";
    let (_, body) = cloud.json(target, &ask("Shared", "Compute Instance", "m5.large")).await;
    let answer: serde_json::Value = serde_json::from_str(&body).unwrap();
    let product: serde_json::Value = serde_json::from_str(answer["PriceList"][0].as_str().unwrap()).unwrap();
    insta::assert_snapshot!(serde_json::to_string_pretty(&product).unwrap());
    let (_, body) = cloud.json(target, &ask("Dedicated", "Compute Instance (bare metal)", "m5.metal")).await;
    assert!(body.contains("m5.metal"), "{body}");
    let (_, body) = cloud.json(target, &ask("Dedicated", "Compute Instance", "m5.large")).await;
    assert!(body.contains(r#""PriceList":[]"#), "{body}");
}

fn fault(effect: FaultEffect) -> FaultRule {
    FaultRule { operation: "CreateFleet".to_owned(), effect, skip: 0, times: Some(1), percent: None }
}

#[tokio::test(start_paused = true)]
async fn a_throttled_call_has_no_effect_and_a_lost_one_has() {
    let cloud = cloud();
    let parameters = fleet(&cloud, "1").await;
    cloud.world.with(|world| world.add_fault(fault(FaultEffect::Throttle)).unwrap());
    let (status, body) = cloud.ec2("CreateFleet", &borrowed(&parameters)).await;
    assert_eq!((status.as_u16(), texts(&body, "Code")[0].as_str()), (503, "RequestLimitExceeded"));
    assert_eq!(cloud.world.with(|world| world.instances().count()), 0);

    cloud.world.with(|world| world.add_fault(fault(FaultEffect::LoseResponse(LostResponse::ServerError))).unwrap());
    let (status, body) = cloud.ec2("CreateFleet", &borrowed(&parameters)).await;
    assert_eq!((status.as_u16(), texts(&body, "Code")[0].as_str()), (500, "InternalError"));
    assert_eq!(cloud.world.with(|world| world.instances().count()), 1);
    cloud.ok("CreateFleet", &borrowed(&parameters)).await;
    assert_eq!(cloud.world.with(|world| world.instances().count()), 1, "the token found what was lost");

    let calls = cloud.world.with(|world| {
        let entries = world.audit_page(0, 100).filter(|entry| entry.operation == "CreateFleet");
        entries.map(|entry| (entry.result.clone(), entry.status, entry.ids.len())).collect::<Vec<_>>()
    });
    let expected = [("RequestLimitExceeded", 503, 0), ("InternalError", 500, 2), ("ok", 200, 2)];
    assert_eq!(calls, expected.map(|(result, status, ids)| (result.to_owned(), status, ids)));
}

#[tokio::test(start_paused = true)]
async fn services_beside_ec2_throttle_in_their_own_word() {
    let cloud = cloud();
    let rule = FaultRule { operation: "GetParameter".to_owned(), ..fault(FaultEffect::Throttle) };
    cloud.world.with(|world| world.add_fault(rule).unwrap());
    let (status, body) = cloud.json("AmazonSSM.GetParameter", r#"{"Name": "/none"}"#).await;
    assert_eq!(
        (status.as_u16(), body.as_str()),
        (400, r#"{"__type":"ThrottlingException","message":"Rate exceeded"}"#)
    );
}

#[tokio::test(start_paused = true)]
async fn a_delayed_call_takes_virtual_time_and_an_unanswered_one_waits_for_ever() {
    let cloud = cloud();
    let parameters = fleet(&cloud, "1").await;
    cloud.world.with(|world| world.add_fault(fault(FaultEffect::Delay("30s".parse().unwrap()))).unwrap());
    let before = cloud.world.clock().now();
    cloud.ok("CreateFleet", &borrowed(&parameters)).await;
    assert_eq!(cloud.world.clock().now().duration_since(before).as_secs(), 30);

    cloud.world.with(|world| world.add_fault(fault(FaultEffect::LoseResponse(LostResponse::Never))).unwrap());
    let parameters = borrowed(&parameters);
    let call = cloud.ec2("CreateFleet", &parameters);
    assert!(tokio::time::timeout(Duration::from_secs(3600), call).await.is_err());
}

proptest::proptest! {
    #[test]
    fn no_request_makes_the_door_panic(action in "[A-Z][a-zA-Z]{0,20}", body in "\\PC{0,200}", nested in "([A-Za-z]{1,9}\\.[0-9]\\.?){0,6}=x") {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
        runtime.block_on(async {
            let body = format!("Action={action}&Version=2016-11-15&{nested}&{body}");
            let (status, _) = read(cloud().send(signed("/").body(Body::from(body)).unwrap()).await).await;
            assert!(status.is_client_error(), "{status}");
        });
    }
}
