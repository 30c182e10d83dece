//! Services beside EC2, and what reservations and limits do to launches, as clients see it.

use super::tests::{Cloud, cloud, texts};
use crate::world::{Consistency, Credentials, DelayRange, EventConfig, Throttling};
use http::StatusCode;
use jiff::SignedDuration;
use rstest::rstest;
use serde_json::{Value, json};
use std::time::Duration;

const QUEUE: &str = "http://localhost/123456789012/c1";

impl Cloud {
    async fn sqs(&self, operation: &str, body: Value) -> Value {
        let (status, answer) = self.json(&format!("AmazonSQS.{operation}"), &body.to_string()).await;
        let answer: Value = serde_json::from_str(&answer).unwrap();
        assert_eq!(status, StatusCode::OK, "{answer}");
        answer
    }

    async fn receive(&self, more: Value) -> Vec<Value> {
        let mut body = json!({"QueueUrl": QUEUE, "MaxNumberOfMessages": 10});
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let answer = self.sqs("ReceiveMessage", body).await;
        answer["Messages"].as_array().cloned().unwrap_or_default()
    }

    async fn iam(&self, action: &str, parameters: &[(&str, &str)]) -> (StatusCode, String) {
        self.query("2010-05-08", action, parameters).await
    }

    async fn run(&self, more: &[(&str, &str)]) -> (StatusCode, String) {
        let image = self.image();
        let mut parameters =
            vec![("ImageId", image.as_str()), ("InstanceType", "m5.large"), ("MinCount", "1"), ("MaxCount", "1")];
        parameters.extend(more);
        self.ec2("RunInstances", &parameters).await
    }
}

fn code(body: &str) -> String {
    texts(body, "Code").concat()
}

fn events(messages: &[Value]) -> Vec<(String, String)> {
    let event = |message: &Value| serde_json::from_str::<Value>(message["Body"].as_str().unwrap()).unwrap();
    let told = |event: Value| {
        let detail = event["detail"]["state"].as_str().unwrap_or_default().to_owned();
        (event["detail-type"].as_str().unwrap().to_owned(), detail)
    };
    messages.iter().map(event).map(told).collect()
}

#[tokio::test(start_paused = true)]
async fn what_happens_to_a_spot_machine_is_told_to_the_queue() {
    let cloud = cloud();
    let (_, body) = cloud.run(&[("InstanceMarketOptions.MarketType", "spot")]).await;
    let id = texts(&body, "instanceId").remove(0);
    tokio::time::sleep(Duration::from_secs(60)).await;
    cloud.world.with(|world| world.interrupt(&id).unwrap());
    let messages = cloud.receive(json!({"MessageSystemAttributeNames": ["SentTimestamp"]})).await;
    let expected = [
        ("EC2 Instance State-change Notification", "pending"),
        ("EC2 Instance State-change Notification", "running"),
        ("EC2 Spot Instance Interruption Warning", ""),
    ];
    assert_eq!(events(&messages), expected.map(|(kind, state)| (kind.to_owned(), state.to_owned())));
    insta::assert_snapshot!("interruption_warning", serde_json::to_string_pretty(&messages[2]).unwrap());
    assert!(cloud.receive(json!({})).await.is_empty(), "they are hidden while somebody works on them");
    tokio::time::sleep(Duration::from_secs(29)).await;
    let receipt = messages[0]["ReceiptHandle"].clone();
    cloud.sqs("DeleteMessage", json!({"QueueUrl": QUEUE, "ReceiptHandle": receipt})).await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(cloud.receive(json!({})).await.len(), 2, "what was not deleted comes again");
}

#[tokio::test(start_paused = true)]
async fn a_receiver_waits_for_a_message_and_no_longer_than_it_said() {
    let cloud = cloud();
    let clock = cloud.world.clock();
    assert!(cloud.receive(json!({"WaitTimeSeconds": 20})).await.is_empty());
    assert_eq!(clock.elapsed().as_secs(), 20);
    let send = async {
        tokio::time::sleep(Duration::from_secs(3)).await;
        cloud.sqs("SendMessage", json!({"QueueUrl": QUEUE, "MessageBody": "hello", "DelaySeconds": 2})).await
    };
    let (sent, received) = tokio::join!(send, cloud.receive(json!({"WaitTimeSeconds": 20})));
    assert_eq!((received.len(), clock.elapsed().as_secs()), (1, 25));
    // The MD5 of `hello`.
    assert_eq!(received[0]["MD5OfBody"], "5d41402abc4b2a76b9719d911017c592");
    assert_eq!((&received[0]["Body"], &received[0]["MessageId"]), (&json!("hello"), &sent["MessageId"]));
}

#[tokio::test(start_paused = true)]
async fn events_get_lost_and_come_twice_and_late_as_asked() {
    let cloud = cloud();
    let set = |lost, duplicated, seconds| {
        let delay = DelayRange { min: SignedDuration::from_secs(seconds), max: SignedDuration::from_secs(seconds) };
        let events =
            EventConfig { lost_percent: lost, duplicated_percent: duplicated, delay, ..EventConfig::default() };
        cloud.world.with(|world| world.set_events(events).unwrap());
    };
    set(100, 0, 0);
    cloud.run(&[]).await;
    assert!(cloud.receive(json!({})).await.is_empty());
    set(0, 100, 10);
    cloud.run(&[]).await;
    assert!(cloud.receive(json!({})).await.is_empty());
    tokio::time::sleep(Duration::from_secs(10)).await;
    assert_eq!(cloud.receive(json!({})).await.len(), 2);
}

#[rstest]
#[case("GetQueueUrl", json!({"QueueName": "none"}), "QueueDoesNotExist", "AWS.SimpleQueueService.NonExistentQueue;Sender")]
#[case("ReceiveMessage", json!({"QueueUrl": QUEUE, "MaxNumberOfMessages": 11}), "InvalidParameterValue", "InvalidParameterValue;Sender")]
#[case("DeleteMessage", json!({"QueueUrl": QUEUE, "ReceiptHandle": "x"}), "ReceiptHandleIsInvalid", "ReceiptHandleIsInvalid;Sender")]
#[tokio::test(start_paused = true)]
async fn sqs_refuses_in_both_of_its_languages(
    #[case] operation: &str,
    #[case] body: Value,
    #[case] code: &str,
    #[case] header: &str,
) {
    let cloud = cloud();
    let request = super::tests::signed("/").header("x-amz-target", format!("AmazonSQS.{operation}"));
    let response = cloud.send(request.body(body.to_string().into()).unwrap()).await;
    assert_eq!((response.status().as_u16(), response.headers()["x-amzn-query-error"].to_str().unwrap()), (400, header));
    let (_, body) = super::tests::read(response).await;
    assert_eq!(serde_json::from_str::<Value>(&body).unwrap()["__type"], format!("com.amazonaws.sqs#{code}"));
}

#[tokio::test(start_paused = true)]
async fn a_profile_is_made_gets_a_role_and_goes() {
    let cloud = cloud();
    let name = ("InstanceProfileName", "c1_1");
    let path = ("Path", "/karpenter/us-west-2/c1/");
    let (status, body) = cloud.iam("GetInstanceProfile", &[name]).await;
    assert_eq!((status.as_u16(), code(&body)), (404, "NoSuchEntity".to_owned()));
    let tag = [("Tags.member.1.Key", "a"), ("Tags.member.1.Value", "b")];
    let (status, body) = cloud.iam("CreateInstanceProfile", &[name, path, tag[0], tag[1]]).await;
    assert_eq!((status.as_u16(), texts(&body, "Value")), (200, vec!["b".to_owned()]));
    assert_eq!(code(&cloud.iam("CreateInstanceProfile", &[name]).await.1), "EntityAlreadyExists");
    let role = ("RoleName", "nodes");
    assert_eq!(cloud.iam("AddRoleToInstanceProfile", &[name, role]).await.0, 200);
    assert_eq!(code(&cloud.iam("AddRoleToInstanceProfile", &[name, role]).await.1), "LimitExceeded");
    let (_, body) = cloud.iam("ListInstanceProfiles", &[("PathPrefix", "/karpenter/")]).await;
    assert_eq!(
        (texts(&body, "RoleName"), texts(&body, "IsTruncated")),
        (vec!["nodes".to_owned()], vec!["false".to_owned()])
    );
    assert_eq!(cloud.world.with(|world| world.remaining().instance_profiles), ["c1_1"]);
    assert_eq!(code(&cloud.iam("DeleteInstanceProfile", &[name]).await.1), "DeleteConflict");
    assert_eq!(cloud.iam("RemoveRoleFromInstanceProfile", &[name, role]).await.0, 200);
    assert_eq!(cloud.iam("DeleteInstanceProfile", &[name]).await.0, 200);
    assert!(cloud.world.with(|world| world.remaining().is_empty()));
}

#[tokio::test(start_paused = true)]
async fn what_was_just_made_is_not_known_everywhere_yet() {
    let cloud = cloud();
    let lag = DelayRange { min: SignedDuration::from_secs(5), max: SignedDuration::from_secs(5) };
    let consistency = Consistency { instances: lag, instance_profiles: lag, launch_templates: lag };
    cloud.world.with(|world| world.set_consistency(consistency).unwrap());
    cloud.iam("CreateInstanceProfile", &[("InstanceProfileName", "p")]).await;
    let profile = ("IamInstanceProfile.Name", "p");
    let (_, body) = cloud.run(&[profile]).await;
    assert!(code(&body) == "InvalidParameterValue" && body.contains("Invalid IAM Instance Profile name"), "{body}");
    tokio::time::sleep(Duration::from_secs(5)).await;
    let (status, body) = cloud.run(&[profile]).await;
    assert_eq!(status, 200, "{body}");
    let id = texts(&body, "instanceId").remove(0);
    assert_eq!(code(&cloud.ec2("DescribeInstances", &[("InstanceId.1", &id)]).await.1), "InvalidInstanceID.NotFound");
    assert!(texts(&cloud.ok("DescribeInstances", &[]).await, "instanceId").is_empty());
    let fleet = super::tests::fleet(&cloud, "1").await;
    let fleet = super::tests::borrowed(&fleet);
    assert_eq!(code(&cloud.ec2("CreateFleet", &fleet).await.1), "InvalidLaunchTemplateName.NotFoundException");
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert_eq!(texts(&cloud.ok("DescribeInstances", &[]).await, "instanceId"), [id]);
    cloud.ok("CreateFleet", &fleet).await;
}

#[tokio::test(start_paused = true)]
async fn requests_beyond_a_bucket_are_refused_until_it_fills() {
    let cloud = cloud();
    cloud.world.with(|world| world.set_throttling(Throttling { enabled: true, percent: 10 }).unwrap());
    let describe = async || cloud.ec2("DescribeInstances", &[("MaxResults", "5")]).await.0.as_u16();
    let mut answers = Vec::new();
    for _ in 0..12 {
        answers.push(describe().await);
    }
    assert_eq!((&answers[..10], &answers[10..]), (&[200; 10][..], &[503, 503][..]));
    assert_eq!(describe().await, 503);
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(describe().await, 200);
    // Machines have a bucket of their own: shortage there is an error of the fleet, in an answer that succeeds.
    let mut fleet = super::tests::fleet(&cloud, "150").await;
    fleet.retain(|(name, _)| name != "ClientToken");
    let answer = cloud.ok("CreateFleet", &super::tests::borrowed(&fleet)).await;
    assert_eq!(texts(&answer, "errorCode"), ["RequestLimitExceeded"]);
    let launched = cloud.world.with(|world| world.ledger().launched);
    assert_eq!(launched, 100);
}

#[rstest]
#[case(Credentials::Expired, "RequestExpired", 400, "ExpiredTokenException", "ExpiredToken")]
#[case(Credentials::WrongSignature, "AuthFailure", 401, "InvalidSignatureException", "SignatureDoesNotMatch")]
#[case(Credentials::Denied, "UnauthorizedOperation", 403, "AccessDeniedException", "AccessDenied")]
#[tokio::test(start_paused = true)]
async fn credentials_that_are_worth_nothing_are_refused_in_each_service(
    #[case] credentials: Credentials,
    #[case] of_ec2: &str,
    #[case] status: u16,
    #[case] of_json: &str,
    #[case] of_iam: &str,
) {
    let cloud = cloud();
    cloud.world.with(|world| world.set_credentials(credentials));
    let (got, body) = cloud.ec2("DescribeRegions", &[]).await;
    assert_eq!((code(&body), got.as_u16()), (of_ec2.to_owned(), status));
    assert!(cloud.json("AmazonSSM.GetParameter", r#"{"Name": "x"}"#).await.1.contains(of_json));
    assert_eq!(code(&cloud.iam("ListInstanceProfiles", &[]).await.1), of_iam);
}

async fn reserve(cloud: &Cloud, more: &[(&str, &str)]) -> String {
    let mut parameters = vec![
        ("InstanceType", "m5.large"),
        ("InstancePlatform", "Linux/UNIX"),
        ("AvailabilityZone", "us-west-2a"),
        ("InstanceCount", "2"),
    ];
    parameters.extend(more);
    let answer = cloud.ok("CreateCapacityReservation", &parameters).await;
    texts(&answer, "capacityReservationId").remove(0)
}

async fn available(cloud: &Cloud, id: &str) -> String {
    let answer = cloud.ok("DescribeCapacityReservations", &[("CapacityReservationId.1", id)]).await;
    texts(&answer, "availableInstanceCount").remove(0)
}

#[tokio::test(start_paused = true)]
async fn an_open_reservation_is_used_unasked_and_a_targeted_one_by_name() {
    let cloud = cloud();
    let subnet = cloud.subnet("us-west-2a");
    let here = ("SubnetId", subnet.as_str());
    let open = reserve(&cloud, &[]).await;
    let targeted = reserve(&cloud, &[("InstanceMatchCriteria", "targeted"), ("InstanceCount", "1")][..1]).await;
    let preference = "CapacityReservationSpecification.CapacityReservationPreference";
    let target = "CapacityReservationSpecification.CapacityReservationTarget.CapacityReservationId";
    let (_, body) = cloud.run(&[here]).await;
    assert_eq!(texts(&body, "capacityReservationId"), [open.as_str()]);
    let (_, body) = cloud.run(&[here, (preference, "none")]).await;
    assert!(texts(&body, "capacityReservationId").is_empty());
    let only = [here, (preference, "capacity-reservations-only"), (target, targeted.as_str())];
    let (_, body) = cloud.run(&only).await;
    assert_eq!(texts(&body, "capacityReservationId")[0], targeted);
    cloud.run(&only).await;
    assert_eq!(code(&cloud.run(&only).await.1), "ReservationCapacityExceeded");
    assert_eq!((available(&cloud, &open).await, available(&cloud, &targeted).await), ("1".to_owned(), "0".to_owned()));
    // Given back: the machine runs on, bought on demand, and the room that nobody used is free again.
    cloud.ok("CancelCapacityReservation", &[("CapacityReservationId", &open)]).await;
    let ids = cloud.world.with(|world| world.instances().map(|each| each.reservation.clone()).collect::<Vec<_>>());
    assert_eq!(ids.iter().flatten().filter(|id| **id == open).count(), 0);
    let in_use = cloud.world.with(|world| world.used_pools()[0].in_use);
    // One that was in the open one, one from the pool, two that the targeted one keeps.
    assert_eq!(in_use, 4);
}

#[tokio::test(start_paused = true)]
async fn a_capacity_block_is_bought_used_and_taken_back_before_it_ends() {
    let cloud = cloud();
    tokio::spawn(crate::app::drive(cloud.world.clone()));
    let wanted = [("InstanceType", "p5.48xlarge"), ("InstanceCount", "1"), ("CapacityDurationHours", "24")];
    let offers = cloud.ok("DescribeCapacityBlockOfferings", &wanted).await;
    let offer = texts(&offers, "capacityBlockOfferingId").remove(0);
    let zone = texts(&offers, "availabilityZone").remove(0);
    let purchase = [("CapacityBlockOfferingId", offer.as_str()), ("InstancePlatform", "Linux/UNIX")];
    let bought = cloud.ok("PurchaseCapacityBlock", &purchase).await;
    assert_eq!(
        (texts(&bought, "state"), texts(&bought, "reservationType")),
        (vec!["scheduled".to_owned()], vec!["capacity-block".to_owned()])
    );
    let id = texts(&bought, "capacityReservationId").remove(0);
    let subnet = cloud.subnet(&zone);
    let target = "CapacityReservationSpecification.CapacityReservationTarget.CapacityReservationId";
    let image = cloud.image();
    let run = [
        ("ImageId", image.as_str()),
        ("InstanceType", "p5.48xlarge"),
        ("MinCount", "1"),
        ("MaxCount", "1"),
        ("SubnetId", subnet.as_str()),
        ("InstanceMarketOptions.MarketType", "capacity-block"),
        (target, id.as_str()),
    ];
    assert_eq!(code(&cloud.ec2("RunInstances", &run).await.1), "ReservationCapacityExceeded");
    // It begins at 11:30 of the first day.
    tokio::time::sleep(Duration::from_secs(12 * 3600)).await;
    let body = cloud.ok("RunInstances", &run).await;
    assert_eq!(texts(&body, "instanceLifecycle"), ["capacity-block"]);
    let instance = texts(&body, "instanceId").remove(0);
    tokio::time::sleep(Duration::from_secs(23 * 3600 - 60)).await;
    let state = |cloud: &Cloud| {
        cloud.world.with(|world| world.instance(&instance).map(|each| each.state.as_str()).unwrap_or("gone"))
    };
    assert_eq!(state(&cloud), "running");
    tokio::time::sleep(Duration::from_secs(180)).await;
    assert_eq!(state(&cloud), "terminated");
    tokio::time::sleep(Duration::from_secs(1800)).await;
    assert_eq!(cloud.world.with(|world| world.reservation(&id).unwrap().state.as_str()), "expired");
    let ledger = cloud.world.with(|world| world.ledger());
    let fee: f64 = texts(&offers, "upfrontFee")[0].parse().unwrap();
    assert_eq!(ledger.reservations.upfront.nano_dollars(), (fee * 1e9).round() as u128);
    assert_eq!(ledger.total, ledger.reservations.upfront, "it was paid for in advance");
}

#[tokio::test(start_paused = true)]
async fn a_spread_group_holds_seven_in_a_zone() {
    let cloud = cloud();
    cloud.ok("CreatePlacementGroup", &[("GroupName", "pg"), ("Strategy", "spread")]).await;
    let subnet = cloud.subnet("us-west-2a");
    let inside = [("SubnetId", subnet.as_str()), ("Placement.GroupName", "pg")];
    for _ in 0..7 {
        assert_eq!(cloud.run(&inside).await.0, 200);
    }
    let (_, body) = cloud.run(&inside).await;
    assert!(
        code(&body) == "InsufficientInstanceCapacity"
            && body.contains("limit of instances in this spread placement group")
    );
    assert_eq!(code(&cloud.ec2("DeletePlacementGroup", &[("GroupName", "pg")]).await.1), "InvalidPlacementGroup.InUse");
}

#[tokio::test(start_paused = true)]
async fn a_group_takes_the_types_and_partitions_that_it_has() {
    let cloud = cloud();
    cloud.ok("CreatePlacementGroup", &[("GroupName", "near"), ("Strategy", "cluster")]).await;
    let parts = [("GroupName", "parts"), ("Strategy", "partition"), ("PartitionCount", "3")];
    cloud.ok("CreatePlacementGroup", &parts).await;
    let image = cloud.image();
    let run = [("ImageId", image.as_str()), ("MinCount", "1"), ("MaxCount", "1"), ("InstanceType", "t3.large")];
    let near = [&run[..], &[("Placement.GroupName", "near")]].concat();
    assert_eq!(code(&cloud.ec2("RunInstances", &near).await.1), "InvalidParameterCombination");
    let part = |number| [&run[..], &[("Placement.GroupName", "parts"), ("Placement.PartitionNumber", number)]].concat();
    assert_eq!(code(&cloud.ec2("RunInstances", &part("4")).await.1), "InvalidParameterValue");
    assert_eq!(texts(&cloud.ok("RunInstances", &part("3")).await, "partitionNumber"), ["3"]);
}

#[tokio::test(start_paused = true)]
async fn a_fleet_is_remembered_and_ends_with_its_machines() {
    let cloud = cloud();
    let fleet = super::tests::fleet(&cloud, "2").await;
    let id = texts(&cloud.ok("CreateFleet", &super::tests::borrowed(&fleet)).await, "fleetId").remove(0);
    let answer = cloud.ok("DescribeFleets", &[("FleetId.1", &id)]).await;
    assert_eq!(
        (texts(&answer, "fleetState"), texts(&answer, "fulfilledCapacity")),
        (vec!["active".to_owned()], vec!["2".to_owned()])
    );
    let requests =
        cloud.ok("DescribeSpotInstanceRequests", &[("Filter.1.Name", "state"), ("Filter.1.Value.1", "active")]).await;
    assert_eq!(texts(&requests, "spotInstanceRequestId").len(), 2);
    cloud.ok("DeleteFleets", &[("FleetId.1", &id), ("TerminateInstances", "true")]).await;
    let alive = cloud.world.with(|world| world.instances().filter(|each| each.state.as_str() == "pending").count());
    assert_eq!(alive, 0);
}

#[tokio::test(start_paused = true)]
async fn a_request_that_is_delivered_twice_takes_effect_twice_without_a_token() {
    let cloud = cloud();
    let rule = serde_json::from_value(json!({"operation": "RunInstances", "effect": "duplicate"})).unwrap();
    cloud.world.with(|world| world.add_fault(rule).unwrap());
    cloud.run(&[]).await;
    assert_eq!(cloud.world.with(|world| world.instances().count()), 2);
    cloud.run(&[("ClientToken", "t")]).await;
    assert_eq!(cloud.world.with(|world| world.instances().count()), 3);
}

#[tokio::test(start_paused = true)]
async fn a_failed_check_and_a_planned_retirement_show_in_the_status() {
    let cloud = cloud();
    let id = texts(&cloud.run(&[]).await.1, "instanceId").remove(0);
    tokio::time::sleep(Duration::from_secs(300)).await;
    let impaired = [("Filter.1.Name", "instance-status.status"), ("Filter.1.Value.1", "impaired")];
    let planned = [("Filter.1.Name", "event.code"), ("Filter.1.Value.1", "instance-retirement")];
    assert!(texts(&cloud.ok("DescribeInstanceStatus", &impaired).await, "instanceId").is_empty());
    cloud.world.with(|world| world.impair(&id, Some(crate::world::Check::Instance)).unwrap());
    let after = SignedDuration::from_hours(24);
    cloud.world.with(|world| world.schedule(&id, crate::world::ScheduledCode::InstanceRetirement, after).unwrap());
    let answer = cloud.ok("DescribeInstanceStatus", &impaired).await;
    assert_eq!(texts(&answer, "impairedSince").len(), 1);
    assert_eq!(texts(&cloud.ok("DescribeInstanceStatus", &planned).await, "notBefore").len(), 1);
}
