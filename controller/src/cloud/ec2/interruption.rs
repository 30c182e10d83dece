//! What EC2 says of machines through a queue: EventBridge's events, read into notices (spec aws 4.1).

use super::{call::Calls, sdk::Clients};
use crate::cloud::{CloudError, Notice, NoticeKind};
use serde::Deserialize;

/// Messages of one receipt, and how long they stay hidden from others, as the reference asks for.
const MESSAGES: i32 = 10;
const HIDDEN_SECONDS: i32 = 20;
/// How long the queue waits for a message.
const WAIT_SECONDS: i32 = 20;

/// EventBridge's envelope, as far as it matters.
#[derive(Deserialize)]
struct Envelope {
    #[serde(default)]
    version: String,
    #[serde(default)]
    source: String,
    #[serde(default, rename = "detail-type")]
    detail_type: String,
    #[serde(default)]
    detail: Detail,
}

#[derive(Default, Deserialize)]
struct Detail {
    #[serde(default, rename = "instance-id")]
    instance_id: String,
    #[serde(default)]
    state: String,
    #[serde(default)]
    service: String,
    #[serde(default, rename = "eventTypeCategory")]
    category: String,
    #[serde(default, rename = "affectedEntities")]
    entities: Vec<Entity>,
}

#[derive(Deserialize)]
struct Entity {
    #[serde(default, rename = "entityValue")]
    value: String,
}

/// What a message says; that of no interest, and what is no event at all, is a notice of nothing.
pub(super) fn read(body: &str) -> (NoticeKind, Vec<String>) {
    let nothing = (NoticeKind::Nothing, Vec::new());
    let Ok(event) = serde_json::from_str::<Envelope>(body) else {
        tracing::warn!(bytes = body.len(), "a message of the interruption queue is no event: it is dropped");
        return nothing;
    };
    if event.version != "0" {
        return nothing;
    }
    let one = |kind| (kind, vec![event.detail.instance_id.clone()]);
    match (event.source.as_str(), event.detail_type.as_str()) {
        ("aws.ec2", "EC2 Spot Instance Interruption Warning") => one(NoticeKind::SpotInterrupted),
        ("aws.ec2", "EC2 Instance Rebalance Recommendation") => one(NoticeKind::RebalanceRecommendation),
        ("aws.ec2", "EC2 Capacity Reservation Instance Interruption Warning") => {
            one(NoticeKind::ReservationInterrupted)
        }
        ("aws.ec2", "EC2 Instance State-change Notification") => match event.detail.state.as_str() {
            "stopping" | "stopped" => one(NoticeKind::InstanceStopped),
            "shutting-down" | "terminated" => one(NoticeKind::InstanceTerminated),
            _ => nothing,
        },
        ("aws.health", "AWS Health Event")
            if event.detail.service == "EC2" && event.detail.category == "scheduledChange" =>
        {
            (NoticeKind::ScheduledChange, event.detail.entities.into_iter().map(|entity| entity.value).collect())
        }
        _ => nothing,
    }
}

/// The URL of the queue.
pub(super) async fn url(calls: &Calls, clients: &Clients, queue: &str) -> Result<String, CloudError> {
    let request = || clients.sqs.get_queue_url().queue_name(queue).send();
    let answer = calls.send("GetQueueUrl", request).await?;
    let missing = || super::error::unusable("GetQueueUrl", "it names no URL".to_owned());
    answer.queue_url.ok_or_else(missing)
}

/// Waits for messages, and reads them.
pub(super) async fn receive(calls: &Calls, clients: &Clients, url: &str) -> Result<Vec<Notice>, CloudError> {
    let request = || {
        let request = clients.sqs.receive_message().queue_url(url).max_number_of_messages(MESSAGES);
        request.visibility_timeout(HIDDEN_SECONDS).wait_time_seconds(WAIT_SECONDS).send()
    };
    let answer = calls.send("ReceiveMessage", request).await?;
    let notice = |message: &aws_sdk_sqs::types::Message| {
        let (kind, instance_ids) = read(message.body().unwrap_or_default());
        Some(Notice { handle: message.receipt_handle()?.to_owned(), kind, instance_ids })
    };
    Ok(answer.messages().iter().filter_map(notice).collect())
}

/// Says that a message has been dealt with.
pub(super) async fn delete(calls: &Calls, clients: &Clients, url: &str, handle: &str) -> Result<(), CloudError> {
    let request = || clients.sqs.delete_message().queue_url(url).receipt_handle(handle).send();
    calls.send("DeleteMessage", request).await.map(|_| ())
}

#[cfg(test)]
mod tests {
    use super::read;
    use crate::cloud::NoticeKind::{self, *};
    use rstest::rstest;

    fn event(kind: &str, detail: &str) -> String {
        format!(
            r#"{{"version": "0", "source": "aws.ec2", "detail-type": "{kind}", "detail": {detail}, "resources": []}}"#
        )
    }

    #[rstest]
    #[case(event("EC2 Spot Instance Interruption Warning", r#"{"instance-id": "i-1", "instance-action": "terminate"}"#), SpotInterrupted, &["i-1"])]
    #[case(event("EC2 Instance Rebalance Recommendation", r#"{"instance-id": "i-1"}"#), RebalanceRecommendation, &["i-1"])]
    #[case(event("EC2 Instance State-change Notification", r#"{"instance-id": "i-1", "state": "shutting-down"}"#), InstanceTerminated, &["i-1"])]
    #[case(event("EC2 Instance State-change Notification", r#"{"instance-id": "i-1", "state": "stopped"}"#), InstanceStopped, &["i-1"])]
    #[case(event("EC2 Instance State-change Notification", r#"{"instance-id": "i-1", "state": "running"}"#), Nothing, &[])]
    #[case(event("EC2 Capacity Reservation Instance Interruption Warning", r#"{"instance-id": "i-1"}"#), ReservationInterrupted, &["i-1"])]
    #[case(event("Capacity Block Reservation Delivered", r#"{"capacity-reservation-id": "cr-1"}"#), Nothing, &[])]
    #[case(r#"{"version": "0", "source": "aws.health", "detail-type": "AWS Health Event", "detail": {"service": "EC2",
        "eventTypeCategory": "scheduledChange", "affectedEntities": [{"entityValue": "i-1"}, {"entityValue": "i-2"}]}}"#.to_owned(), ScheduledChange, &["i-1", "i-2"])]
    #[case(event("EC2 Spot Instance Interruption Warning", r#"{"instance-id": "i-1"}"#).replace("\"0\"", "\"1\""), Nothing, &[])]
    #[case("hello".to_owned(), Nothing, &[])]
    fn messages_are_read(#[case] body: String, #[case] kind: NoticeKind, #[case] ids: &[&str]) {
        assert_eq!(read(&body), (kind, ids.iter().map(|id| (*id).to_owned()).collect()));
    }
}
