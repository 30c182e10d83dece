//! Ten thousand requests that no client means: real ones with parts changed, cut, repeated, swapped, and noise. Each is answered,
//! and none with a failure of the server's own.

use super::tests::{Cloud, cloud, read, signed};
use axum::body::Body;
use http::{Method, Request, StatusCode};
use sawhorse_ambient::{Seed, Stream};

const REQUESTS: u32 = 10_000;

/// Real requests: a body, and the target of those that have one.
const REAL: [(&str, &str); 25] = [
    ("", "Action=DescribeInstances&Version=2016-11-15&MaxResults=10&Filter.1.Name=tag:a&Filter.1.Value.1=b"),
    ("", "Action=DescribeInstanceTypes&Version=2016-11-15&InstanceType.1=m5.large&NextToken=abc"),
    (
        "",
        "Action=RunInstances&Version=2016-11-15&ImageId=ami-00000000000000000&InstanceType=m5.large&MinCount=1&MaxCount=4000000000",
    ),
    (
        "",
        "Action=CreateFleet&Version=2016-11-15&Type=instant&TargetCapacitySpecification.TotalTargetCapacity=3&LaunchTemplateConfigs.1.LaunchTemplateSpecification.LaunchTemplateName=x&LaunchTemplateConfigs.1.Overrides.1.InstanceType=m5.large&LaunchTemplateConfigs.1.Overrides.1.Priority=1e-8",
    ),
    (
        "",
        "Action=CreateLaunchTemplate&Version=2016-11-15&LaunchTemplateName=abc&LaunchTemplateData.UserData=aGVsbG8=&LaunchTemplateData.BlockDeviceMapping.1.Ebs.VolumeSize=20&LaunchTemplateData.BlockDeviceMapping.1.DeviceName=x",
    ),
    ("", "Action=CreateTags&Version=2016-11-15&ResourceId.1=i-00000000000000000&Tag.1.Key=a&Tag.1.Value=b"),
    ("", "Action=TerminateInstances&Version=2016-11-15&InstanceId.1=i-00000000000000000"),
    (
        "",
        "Action=DescribeSpotPriceHistory&Version=2016-11-15&StartTime=2026-01-01T00:00:00Z&EndTime=9999-12-31T23:59:59Z",
    ),
    (
        "",
        "Action=CreateCapacityReservation&Version=2016-11-15&InstanceType=m5.large&InstancePlatform=Linux/UNIX&AvailabilityZone=us-west-2a&InstanceCount=1000&EndDate=9999-01-01T00:00:00Z",
    ),
    (
        "",
        "Action=DescribeCapacityBlockOfferings&Version=2016-11-15&InstanceType=p5.48xlarge&InstanceCount=1&CapacityDurationHours=24&StartDateRange=9999-12-30T00:00:00Z",
    ),
    (
        "",
        "Action=CreateCapacityReservation&Version=2016-11-15&InstanceType=m5.large&InstancePlatform=Linux/UNIX&AvailabilityZone=us-west-2a&InstanceCount=100&StartDate=2026-02-01T00:00:00Z&CommitmentDuration=1209600&DeliveryPreference=incremental",
    ),
    (
        "",
        "Action=CreateInterruptibleCapacityReservationAllocation&Version=2016-11-15&CapacityReservationId=cr-00000000000000000&InstanceCount=3&ZeroSizePreference=retain",
    ),
    (
        "",
        "Action=UpdateInterruptibleCapacityReservationAllocation&Version=2016-11-15&CapacityReservationId=cr-00000000000000000&TargetInstanceCount=0",
    ),
    ("", "Action=CreatePlacementGroup&Version=2016-11-15&GroupName=g&Strategy=partition&PartitionCount=7"),
    ("", "Action=CreateInstanceProfile&Version=2010-05-08&InstanceProfileName=p&Path=/a/&Tags.member.1.Key=a"),
    ("", "Action=CreateRole&Version=2010-05-08&RoleName=r&AssumeRolePolicyDocument=%7B%7D"),
    ("", "Action=GetCallerIdentity&Version=2011-06-15"),
    ("AmazonSQS.CreateQueue", r#"{"QueueName": "q", "Attributes": {"VisibilityTimeout": "30"}}"#),
    ("AmazonSQS.SendMessage", r#"{"QueueUrl": "http://localhost/1/c1", "MessageBody": "x", "DelaySeconds": 900}"#),
    (
        "AmazonSQS.ReceiveMessage",
        r#"{"QueueUrl": "http://localhost/1/c1", "MaxNumberOfMessages": 10, "WaitTimeSeconds": 1}"#,
    ),
    (
        "AmazonSQS.ChangeMessageVisibility",
        r#"{"QueueUrl": "http://localhost/1/c1", "ReceiptHandle": "1-00000000000000000000000000000000", "VisibilityTimeout": 43200}"#,
    ),
    ("AmazonSSM.GetParameter", r#"{"Name": "/aws/service/x"}"#),
    ("AmazonSSM.GetParametersByPath", r#"{"Path": "/aws", "Recursive": true, "MaxResults": 10}"#),
    (
        "AWSPriceListService.GetProducts",
        r#"{"ServiceCode": "AmazonEC2", "Filters": [{"Type": "TERM_MATCH", "Field": "tenancy", "Value": "Shared"}], "MaxResults": 100}"#,
    ),
    ("AWSPriceListService.GetProducts", r#"{"ServiceCode": "AmazonEC2", "NextToken": "AAAA"}"#),
];

/// What tends to go wrong, put in anywhere.
const NOISE: [&str; 20] = [
    "",
    "0",
    "-1",
    "4294967296",
    "18446744073709551616",
    "1e309",
    "NaN",
    "null",
    "true",
    "[]",
    "{}",
    "%00",
    "%ff",
    "&&==",
    ".1.1.1.",
    "9999-12-31T23:59:59.999999999Z",
    "-009999-01-01T00:00:00Z",
    "ü",
    "\"",
    "%2A%3F%5C",
];

pub(crate) fn mutated(text: &str, draw: &mut Stream) -> String {
    let mut characters: Vec<char> = text.chars().collect();
    for _ in 0..=draw.below(3) {
        let at = draw.below(characters.len() as u64 + 1) as usize;
        let end = (at + draw.below(12) as usize).min(characters.len());
        let noise = NOISE[draw.below(NOISE.len() as u64) as usize].chars();
        match draw.below(5) {
            0 => drop(characters.drain(at..end)),
            1 => drop(characters.splice(at..end, noise)),
            2 => drop(characters.splice(at..at, noise)),
            3 => {
                let again = characters[at..end].to_vec();
                characters.splice(at..at, again);
            }
            _ => characters.truncate(at),
        }
    }
    characters.into_iter().collect()
}

fn request(number: u32) -> Request<Body> {
    let mut draw = Seed(7).stream(&["fuzz", &number.to_string()]);
    let (target, body) = REAL[draw.below(REAL.len() as u64) as usize];
    let body = mutated(body, &mut draw);
    let mut builder =
        signed(["/", "/", "/", "/clusters/c1", "/managedresources/%00", "/%2e%2e"][draw.below(6) as usize]);
    if draw.below(10) == 0 {
        builder = builder.method([Method::GET, Method::PUT, Method::DELETE][draw.below(3) as usize].clone());
    }
    if !target.is_empty() {
        let target = if draw.below(4) == 0 { mutated(target, &mut draw) } else { target.to_owned() };
        if let Ok(value) = http::HeaderValue::from_str(&target) {
            builder = builder.header("x-amz-target", value);
        }
    }
    builder.body(Body::from(body)).unwrap()
}

async fn answer(cloud: &Cloud, number: u32) -> (StatusCode, String) {
    read(cloud.send(request(number)).await).await
}

#[tokio::test(start_paused = true)]
async fn ten_thousand_mutated_requests_are_answered() {
    let cloud = cloud();
    let mut refused = 0;
    for number in 0..REQUESTS {
        let (status, body) = answer(&cloud, number).await;
        // That a pool is empty is a server's error in EC2's book too.
        let fine = !status.is_server_error() || body.contains("InsufficientInstanceCapacity");
        assert!(fine, "request {number}: {status} {body}\n{:?}", request(number));
        refused += u32::from(status.is_client_error());
    }
    assert!(refused > REQUESTS / 2, "most of them make no sense: {refused}");
    let size = cloud.world.with(|world| world.tagged().len());
    assert!(size < 20_000, "{size}");
}

#[tokio::test(start_paused = true)]
async fn a_body_beyond_the_limit_is_refused_in_each_protocol() {
    let cloud = cloud();
    let large = || Body::from(vec![b'a'; 2 * 1024 * 1024]);
    for target in ["", "AmazonSQS.SendMessage", "AmazonSSM.GetParameter"] {
        let mut builder = signed("/");
        if !target.is_empty() {
            builder = builder.header("x-amz-target", target);
        }
        let (status, body) = read(cloud.send(builder.body(large()).unwrap()).await).await;
        assert!(status.is_client_error() && body.contains("InvalidInput"), "{status} {body}");
    }
}
