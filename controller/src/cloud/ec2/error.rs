//! What the cloud's refusals mean (spec aws 3.6, 7.3, 7.4).

use crate::cloud::CloudError;
use aws_sdk_ec2::error::{ProvideErrorMetadata, SdkError};
use std::error::Error;

/// Codes by which a pool of machines says that it has none left (spec aws 0, fact 23).
const INSUFFICIENT_CAPACITY: [&str; 8] = [
    "InsufficientInstanceCapacity",
    "MaxSpotInstanceCountExceeded",
    "VcpuLimitExceeded",
    "UnfulfillableCapacity",
    "Unsupported",
    "InsufficientFreeAddressesInSubnet",
    "MaxFleetCountExceeded",
    "ReservationCapacityExceeded",
];

/// Codes by which an API asks to slow down: of EC2, and of the JSON services.
const THROTTLED: [&str; 6] = [
    "RequestLimitExceeded",
    "Throttling",
    "ThrottlingException",
    "ThrottledException",
    "TooManyRequestsException",
    "EC2ThrottledException",
];

/// Codes of faults on the cloud's side, which may pass by themselves.
const SERVER_FAULT: [&str; 6] = [
    "InternalError",
    "InternalFailure",
    "InternalServerError",
    "InternalErrorException",
    "Unavailable",
    "ServiceUnavailable",
];

/// Codes that say that the thing asked for does not exist.
const NOT_FOUND: [&str; 4] = [
    NO_SUCH_INSTANCE,
    "InvalidLaunchTemplateName.NotFoundException",
    "InvalidLaunchTemplateId.NotFound",
    "ParameterNotFound",
];

pub(super) const IDEMPOTENT_PARAMETER_MISMATCH: &str = "IdempotentParameterMismatch";
pub(super) const LAUNCH_TEMPLATE_EXISTS: &str = "InvalidLaunchTemplateName.AlreadyExistsException";
pub(super) const LAUNCH_TEMPLATE_NOT_FOUND: &str = "InvalidLaunchTemplateName.NotFoundException";
pub(super) const NO_SUCH_INSTANCE: &str = "InvalidInstanceID.NotFound";
pub(super) const NO_ADDRESSES: &str = "InsufficientFreeAddressesInSubnet";
pub(super) const NO_SPOT_ROLE: &str = "AuthFailure.ServiceLinkedRoleCreationNotPermitted";

/// Whether `code`, on one pool of a fleet, means that the pool is empty for now.
pub(super) fn is_insufficient_capacity(code: &str) -> bool {
    INSUFFICIENT_CAPACITY.contains(&code)
}

/// Whether `code` asks to slow down.
pub(super) fn is_throttled(code: &str) -> bool {
    THROTTLED.contains(&code)
}

impl CloudError {
    /// Whether the same request may succeed in a moment.
    pub(super) fn may_pass(&self) -> bool {
        match self {
            Self::Throttled { .. } | Self::Transport { .. } => true,
            Self::Rejected { code, .. } => SERVER_FAULT.contains(&code.as_str()),
            Self::InsufficientCapacity { .. } | Self::NodeClassNotReady { .. } => false,
        }
    }

    /// The same failure once more, for another who waited for the same call.
    pub(super) fn repeated(&self) -> Self {
        match self {
            Self::InsufficientCapacity { message } => Self::InsufficientCapacity { message: message.clone() },
            Self::NodeClassNotReady { name, message } => {
                Self::NodeClassNotReady { name: name.clone(), message: message.clone() }
            }
            Self::Throttled { operation } => Self::Throttled { operation },
            Self::Rejected { operation, code, message } => {
                Self::Rejected { operation, code: code.clone(), message: message.clone() }
            }
            Self::Transport { operation, source } => Self::Transport { operation, source: source.to_string().into() },
        }
    }

    /// Whether the cloud says that the thing does not exist.
    pub(super) fn is_not_found(&self) -> bool {
        matches!(self, Self::Rejected { code, .. } if NOT_FOUND.contains(&code.as_str()))
    }

    /// Whether the cloud answered with `expected`.
    pub(super) fn has_code(&self, expected: &str) -> bool {
        matches!(self, Self::Rejected { code, .. } if code == expected)
    }
}

/// What an SDK error of `operation` means. Without a code there was no usable answer; the whole chain stays reachable.
pub(super) fn cloud_error<E>(operation: &'static str, error: SdkError<E>) -> CloudError
where
    E: ProvideErrorMetadata + Error + Send + Sync + 'static,
{
    let code = error.as_service_error().and_then(|error| error.code()).map(str::to_owned);
    match code {
        Some(code) if is_throttled(&code) => CloudError::Throttled { operation },
        Some(code) => {
            let message = error.message().unwrap_or("no message").to_owned();
            CloudError::Rejected { operation, code, message }
        }
        None => CloudError::Transport { operation, source: Box::new(error) },
    }
}

/// An answer of `operation` that cannot be used, for the reason in `message`.
pub(super) fn unusable(operation: &'static str, message: String) -> CloudError {
    CloudError::Transport { operation, source: message.into() }
}

/// The error and everything that caused it, for a log line.
pub fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

/// The short reason that a refused launch shows on its NodeClaim (spec aws 3.6, first match wins).
pub fn launch_reason(error: &CloudError) -> &'static str {
    let (code, message) = match error {
        CloudError::InsufficientCapacity { .. } => return "InsufficientCapacityError",
        CloudError::NodeClassNotReady { .. } => return "NodeClassNotReady",
        CloudError::Throttled { .. } => return "RequestLimitExceeded",
        CloudError::Transport { .. } => return "LaunchFailed",
        CloudError::Rejected { code, message, .. } => (code.as_str(), message.as_str()),
    };
    let text = format!("{code}: {message}");
    let unauthorized = ["UnauthorizedOperation", "AccessDenied", "AuthFailure"];
    let table: [(&[&str], &'static str); 14] = [
        (&["ServiceLinkedRoleCreationNotPermitted"], "SpotSLRCreationFailed"),
        (&["Not authorized for images"], "AMIAuthorizationFailure"),
        (&unauthorized, "Unauthorized"),
        (&["belong to different networks"], "SecurityGroupSubnetVPCMismatch"),
        (&["iamInstanceProfile.name is invalid"], "InstanceProfileNameInvalid"),
        (&["InvalidLaunchTemplateId.NotFound"], "LaunchTemplateNotFound"),
        (&["User data is limited to"], "UserDataSizeLimitExceeded"),
        (&["InvalidAMIID.Malformed"], "InvalidAMIID"),
        (&["InvalidAMIID.NotFound"], "AMINotFound"),
        (&["RequestLimitExceeded"], "RequestLimitExceeded"),
        (&["InternalError"], "InternalError"),
        (&["MaxFleetCountExceeded"], "FleetQuotaExceeded"),
        (&["MaxSpotInstanceCountExceeded"], "SpotQuotaExceeded"),
        (&["VcpuLimitExceeded"], "VCPULimitExceeded"),
    ];
    let found = table.into_iter().find(|(needles, _)| needles.iter().any(|needle| text.contains(needle)));
    found.map_or("LaunchFailed", |(_, reason)| reason)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rejected(code: &str, message: &str) -> CloudError {
        CloudError::Rejected { operation: "CreateFleet", code: code.into(), message: message.into() }
    }

    #[rstest::rstest]
    #[case("UnauthorizedOperation", "You are not authorized", "Unauthorized")]
    #[case("AuthFailure", "Not authorized for images: [ami-1]", "AMIAuthorizationFailure")]
    #[case("AuthFailure.ServiceLinkedRoleCreationNotPermitted", "…", "SpotSLRCreationFailed")]
    #[case(
        "InvalidParameter",
        "Security group sg-1 and subnet subnet-1 belong to different networks.",
        "SecurityGroupSubnetVPCMismatch"
    )]
    #[case("InvalidAMIID.NotFound", "The image id does not exist", "AMINotFound")]
    #[case("Weird", "what?", "LaunchFailed")]
    fn a_refused_launch_has_a_reason(#[case] code: &str, #[case] message: &str, #[case] reason: &str) {
        assert_eq!(launch_reason(&rejected(code, message)), reason);
    }

    #[test]
    fn only_passing_faults_are_tried_again() {
        assert!(rejected("InternalError", "").may_pass());
        assert!(CloudError::Throttled { operation: "CreateFleet" }.may_pass());
        assert!(!rejected("InvalidParameterValue", "").may_pass());
        assert!(!CloudError::InsufficientCapacity { message: String::new() }.may_pass());
    }

    #[test]
    fn the_chain_names_every_cause() {
        let error = unusable("DescribeSubnets", "the connection was reset".into());
        assert_eq!(chain(&error), "`DescribeSubnets` got no usable answer: the connection was reset");
    }
}
