//! Events in EventBridge's envelope, as they lie in a queue.

use crate::world::{Event, EventKind, World};
use serde_json::{Value, json};

/// An event as EventBridge writes it.
pub(crate) fn envelope(world: &World, event: &Event) -> Value {
    let time = event.time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
    let (source, kind, detail) = content(world, event, &time);
    json!({
        "version": "0",
        "id": event.id,
        "detail-type": kind,
        "source": source,
        "account": world.account_id(),
        "time": time,
        "region": world.region(),
        "resources": [resource(world, event)],
        "detail": detail,
    })
}

/// EC2 names a machine by its zone here, where an ARN has the region and the account.
fn resource(world: &World, event: &Event) -> String {
    let (region, account) = (world.region(), world.account_id());
    match event.kind {
        EventKind::SpotInterruption | EventKind::ReservationInterruption | EventKind::Rebalance => {
            format!("arn:aws:ec2:{}:instance/{}", event.zone, event.resource)
        }
        EventKind::StateChange(_) => format!("arn:aws:ec2:{region}:{account}:instance/{}", event.resource),
        EventKind::ScheduledChange(_) => event.resource.clone(),
        EventKind::BlockDelivered | EventKind::BlockExpiring { .. } => {
            format!("arn:aws:ec2:{region}:{account}:capacity-reservation/{}", event.resource)
        }
    }
}

fn content(world: &World, event: &Event, time: &str) -> (&'static str, &'static str, Value) {
    let id = &event.resource;
    match event.kind {
        EventKind::SpotInterruption => (
            "aws.ec2",
            "EC2 Spot Instance Interruption Warning",
            json!({"instance-id": id, "instance-action": "terminate"}),
        ),
        EventKind::ReservationInterruption => (
            "aws.ec2",
            "EC2 Capacity Reservation Instance Interruption Warning",
            json!({"instance-id": id, "instance-action": "terminate"}),
        ),
        EventKind::Rebalance => ("aws.ec2", "EC2 Instance Rebalance Recommendation", json!({"instance-id": id})),
        EventKind::StateChange(state) => {
            ("aws.ec2", "EC2 Instance State-change Notification", json!({"instance-id": id, "state": state.as_str()}))
        }
        EventKind::ScheduledChange(code) => ("aws.health", "AWS Health Event", {
            let code = code.as_str().to_uppercase().replace('-', "_");
            json!({
                "eventArn": format!("arn:aws:health:{}::event/EC2/AWS_EC2_{code}_SCHEDULED/{}", world.region(), event.id),
                "service": "EC2",
                "eventTypeCode": format!("AWS_EC2_{code}_SCHEDULED"),
                "eventTypeCategory": "scheduledChange",
                "startTime": time,
                "affectedEntities": [{"entityValue": id}],
            })
        }),
        EventKind::BlockDelivered => {
            ("aws.ec2", "Capacity Block Reservation Delivered", json!({"capacity-reservation-id": id}))
        }
        EventKind::BlockExpiring { end } => (
            "aws.ec2",
            "Capacity Block Reservation Expiration Warning",
            json!({"capacity-reservation-id": id, "end-date": end.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()}),
        ),
    }
}
