//! What EC2 says of machines when it is asked: checks that fail, and what it plans (spec aws 4.2).

use super::{
    call::{Calls, all_pages},
    sdk::Clients,
    tags::filter,
};
use crate::cloud::{CloudError, NoticeKind};
use aws_sdk_ec2::types::{InstanceStatus, InstanceStatusSummary, StatusType};
use jiff::{SignedDuration, Timestamp};
use std::collections::{BTreeMap, BTreeSet};

/// A check that has failed for so long will not pass by itself.
const IMPAIRED_FOR: SignedDuration = SignedDuration::from_secs(120);
/// What EC2 plans for machines that are better drained before.
const EVENTS: [&str; 5] =
    ["instance-reboot", "system-reboot", "system-maintenance", "instance-retirement", "instance-stop"];
/// EC2 keeps events that are over for a while, and says so in their description.
const OVER: [&str; 2] = ["[Completed]", "[Canceled]"];

/// The machines in trouble, by what it is.
pub(super) async fn read(
    calls: &Calls,
    clients: &Clients,
    now: Timestamp,
) -> Result<BTreeMap<NoticeKind, Vec<String>>, CloudError> {
    let mut troubles: BTreeMap<NoticeKind, BTreeSet<String>> = BTreeMap::new();
    for (name, values) in [
        ("instance-status.status", &["impaired"][..]),
        ("system-status.status", &["impaired"]),
        ("event.code", &EVENTS),
    ] {
        let statuses = all_pages("DescribeInstanceStatus", |token| async move {
            let request = || {
                let request = clients.ec2.describe_instance_status().filters(filter(name, values));
                request.set_next_token(token.clone()).send()
            };
            let page = calls.send("DescribeInstanceStatus", request).await?;
            Ok((page.instance_statuses().to_vec(), page.next_token.clone()))
        })
        .await?;
        for status in &statuses {
            if let (Some(id), Some(kind)) = (status.instance_id(), trouble(status, now)) {
                troubles.entry(kind).or_default().insert(id.to_owned());
            }
        }
    }
    Ok(troubles.into_iter().map(|(kind, ids)| (kind, ids.into_iter().collect())).collect())
}

fn trouble(status: &InstanceStatus, now: Timestamp) -> Option<NoticeKind> {
    let failing = [status.instance_status(), status.system_status()];
    if failing.into_iter().flatten().any(|summary| is_failing(summary, now)) {
        return Some(NoticeKind::InstanceImpaired);
    }
    let planned = status.events().iter().any(|event| {
        let over = event.description().is_some_and(|text| OVER.iter().any(|over| text.starts_with(over)));
        event.code().is_some_and(|code| EVENTS.contains(&code.as_str())) && !over
    });
    planned.then_some(NoticeKind::ScheduledChange)
}

fn is_failing(summary: &InstanceStatusSummary, now: Timestamp) -> bool {
    summary.details().iter().any(|check| {
        let since = check.impaired_since().and_then(|since| Timestamp::from_second(since.secs()).ok());
        check.status() == Some(&StatusType::Failed)
            && since.is_some_and(|since| now.duration_since(since) >= IMPAIRED_FOR)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use aws_sdk_ec2::types::{EventCode, InstanceStatusDetails, InstanceStatusEvent};
    use aws_smithy_types::DateTime;
    use rstest::rstest;

    fn check(status: StatusType, since: i64) -> InstanceStatusSummary {
        let check = InstanceStatusDetails::builder().status(status).impaired_since(DateTime::from_secs(since));
        InstanceStatusSummary::builder().details(check.build()).build()
    }

    #[rstest]
    #[case::failing(StatusType::Failed, 880, Some(NoticeKind::InstanceImpaired))]
    #[case::not_for_long(StatusType::Failed, 881, None)]
    #[case::passed(StatusType::Passed, 0, None)]
    fn a_check_that_fails_for_two_minutes_is_trouble(
        #[case] status: StatusType,
        #[case] since: i64,
        #[case] expected: Option<NoticeKind>,
    ) {
        let now = Timestamp::from_second(1000).unwrap();
        let of_instance = InstanceStatus::builder().instance_status(check(status.clone(), since)).build();
        let of_system = InstanceStatus::builder().system_status(check(status, since)).build();
        assert_eq!((trouble(&of_instance, now), trouble(&of_system, now)), (expected, expected));
    }

    #[rstest]
    #[case::planned(EventCode::InstanceRetirement, "The instance is to be retired", Some(NoticeKind::ScheduledChange))]
    #[case::over(EventCode::InstanceReboot, "[Completed] A reboot", None)]
    #[case::unknown(EventCode::from("instance-party"), "", None)]
    fn what_is_planned_is_trouble_until_it_is_over(
        #[case] code: EventCode,
        #[case] text: &str,
        #[case] expected: Option<NoticeKind>,
    ) {
        let event = InstanceStatusEvent::builder().code(code).description(text).build();
        assert_eq!(trouble(&InstanceStatus::builder().events(event).build(), Timestamp::UNIX_EPOCH), expected);
    }
}
