//! The EC2 code, text and status of each of the world's refusals.

use super::error::Refusal;
use crate::world::{CloudError, Credentials, Market, ResourceKind};
use http::StatusCode;

impl From<CloudError> for Refusal {
    fn from(error: CloudError) -> Self {
        match error {
            CloudError::NotFound { kind, id } => not_found(kind, &id),
            CloudError::MalformedId { kind, id } => malformed(kind, &id),
            CloudError::AlreadyExists { kind, id } => already_exists(kind, &id),
            CloudError::InsufficientCapacity { machine_type, zone, market, elsewhere } => {
                insufficient_capacity(&machine_type, &zone, market, &elsewhere)
            }
            CloudError::NotOffered { machine_type, zone, market: _, elsewhere } => {
                not_offered(&machine_type, &zone, &elsewhere)
            }
            CloudError::PriceTooLow { machine_type, zone } => {
                Self::bad("SpotMaxPriceTooLow", price_too_low(&machine_type, &zone))
            }
            CloudError::NoFreeAddresses { subnet } => Self::bad(
                "InsufficientFreeAddressesInSubnet",
                format!(
                    "There are not enough free addresses in subnet '{subnet}' to satisfy the requested number of instances."
                ),
            ),
            CloudError::QuotaExceeded { market, class: _, limit } => quota_exceeded(market, limit),
            CloudError::NoMatchingPool => Self::bad(
                "UnfulfillableCapacity",
                "Unable to fulfill capacity due to your request configuration. Please adjust your request and try again.",
            ),
            CloudError::TokenReused { token } => Self::bad(
                "IdempotentParameterMismatch",
                format!("The client token '{token}' was used before with other parameters"),
            ),
            CloudError::MissingParameter { name } => Self::missing_parameter(name),
            CloudError::InvalidParameter { name, value, .. } if name == "LaunchTemplateName" => {
                malformed(ResourceKind::LaunchTemplateName, &value)
            }
            CloudError::InvalidParameter { name, value, expected } => {
                Self::invalid_parameter(format!("Value ({value}) for parameter {name} is invalid: {expected}"))
            }
            CloudError::InvalidCombination { reason } => Self::bad("InvalidParameterCombination", reason),
            CloudError::InvalidFleet { reason } => Self::bad("InvalidFleetConfig", reason),
            CloudError::UnknownFilter { name } => Self::invalid_parameter(format!("The filter '{name}' is invalid")),
            CloudError::LimitExceeded { what, limit } => limit_exceeded(what, limit),
            CloudError::UserDataTooLarge { bytes: _, limit } => {
                Self::bad("InvalidUserData.Malformed", format!("User data is limited to {limit} bytes"))
            }
            CloudError::WrongState { instance, state } => Self::bad(
                "IncorrectInstanceState",
                format!("The instance '{instance}' is not in a state from which this is possible: it is {state}."),
            ),
            CloudError::WrongReservationState { id, state } => Self::bad(
                "InvalidCapacityReservationState",
                format!("The capacity reservation '{id}' is in state '{state}', which does not allow this."),
            ),
            CloudError::ReservationFull { id: _ } => Self::bad(
                "ReservationCapacityExceeded",
                "The requested reservation does not have sufficient compatible and available capacity for this request.",
            ),
            CloudError::SpreadFull => Self::new(
                StatusCode::INTERNAL_SERVER_ERROR,
                "InsufficientInstanceCapacity",
                "You've reached the limit of instances in this spread placement group. A spread placement group can have up to \
                 seven instances per Availability Zone.",
            ),
            CloudError::InUse { reason } => Self::bad("InvalidPlacementGroup.InUse", reason),
            CloudError::RefusedCaller(credentials) => refused_caller(credentials),
            CloudError::DryRun => Self::dry_run(),
            CloudError::Throttled => {
                Self::new(StatusCode::SERVICE_UNAVAILABLE, "RequestLimitExceeded", "Request limit exceeded.")
            }
            CloudError::Scripted { code, message, status } => {
                Self::new(StatusCode::from_u16(status).unwrap_or(StatusCode::BAD_REQUEST), code, message)
            }
        }
    }
}

fn refused_caller(credentials: Credentials) -> Refusal {
    match credentials {
        Credentials::Valid | Credentials::Expired => Refusal::bad("RequestExpired", "Request has expired."),
        Credentials::WrongSignature => Refusal::new(
            StatusCode::UNAUTHORIZED,
            "AuthFailure",
            "AWS was not able to validate the provided access credentials",
        ),
        Credentials::Denied => Refusal::new(
            StatusCode::FORBIDDEN,
            "UnauthorizedOperation",
            "You are not authorized to perform this operation.",
        ),
    }
}

fn not_found(kind: ResourceKind, id: &str) -> Refusal {
    let does_not_exist =
        |code: &'static str, what: &str| Refusal::bad(code, format!("The {what} '{id}' does not exist"));
    match kind {
        ResourceKind::Instance => does_not_exist("InvalidInstanceID.NotFound", "instance ID"),
        ResourceKind::Image => does_not_exist("InvalidAMIID.NotFound", "image id"),
        ResourceKind::Subnet => does_not_exist("InvalidSubnetID.NotFound", "subnet ID"),
        ResourceKind::SecurityGroup => does_not_exist("InvalidGroup.NotFound", "security group"),
        ResourceKind::LaunchTemplateId => Refusal::bad(
            "InvalidLaunchTemplateId.NotFound",
            format!("The specified launch template, with template ID {id}, does not exist."),
        ),
        ResourceKind::LaunchTemplateName => Refusal::bad(
            "InvalidLaunchTemplateName.NotFoundException",
            format!("The specified launch template, with template name {id}, does not exist."),
        ),
        ResourceKind::LaunchTemplateVersion => Refusal::bad(
            "InvalidLaunchTemplateId.VersionNotFound",
            format!("Could not find the launch template version {id}."),
        ),
        ResourceKind::MachineType => {
            Refusal::bad("InvalidInstanceType", format!("The following supplied instance types do not exist: [{id}]"))
        }
        ResourceKind::Zone => Refusal::invalid_parameter(format!("Invalid availability zone: [{id}]")),
        ResourceKind::LaunchProfile => {
            Refusal::invalid_value(id, "iamInstanceProfile.name", "Invalid IAM Instance Profile name")
        }
        ResourceKind::InstanceProfile => {
            let text = format!("Instance Profile {id} cannot be found.");
            Refusal::new(StatusCode::NOT_FOUND, "NoSuchEntity", text)
        }
        ResourceKind::Role => {
            let text = format!("The role with name {id} cannot be found.");
            Refusal::new(StatusCode::NOT_FOUND, "NoSuchEntity", text)
        }
        ResourceKind::Queue => Refusal::bad("QueueDoesNotExist", "The specified queue does not exist."),
        ResourceKind::Receipt => Refusal::bad(
            "InvalidParameterValue",
            format!(
                "Value {id} for parameter ReceiptHandle is invalid. Reason: Message does not exist or is not available."
            ),
        ),
        ResourceKind::Reservation => does_not_exist("InvalidCapacityReservationId.NotFound", "capacity reservation"),
        ResourceKind::BlockOffer => {
            does_not_exist("InvalidCapacityBlockOfferingId.NotFound", "capacity block offering")
        }
        ResourceKind::PlacementGroup => {
            Refusal::bad("InvalidPlacementGroup.Unknown", format!("The Placement Group '{id}' is unknown."))
        }
        ResourceKind::Parameter => Refusal::bad("ParameterNotFound", format!("Parameter {id} not found.")),
        ResourceKind::Volume => does_not_exist("InvalidVolume.NotFound", "volume"),
        ResourceKind::NetworkInterface => does_not_exist("InvalidNetworkInterfaceID.NotFound", "networkInterface ID"),
        ResourceKind::SpotRequest => {
            does_not_exist("InvalidSpotInstanceRequestID.NotFound", "spot instance request ID")
        }
        ResourceKind::Fleet => does_not_exist("InvalidFleetId.NotFound", "fleet ID"),
        ResourceKind::Taggable => match kind_of(id) {
            Some(kind) => not_found(kind, id),
            None => Refusal::bad("InvalidID", format!("The ID '{id}' is not valid")),
        },
    }
}

/// What an id says that it is the id of, among the things that can have tags.
fn kind_of(id: &str) -> Option<ResourceKind> {
    let (prefix, _) = id.split_once('-')?;
    match prefix {
        "i" => Some(ResourceKind::Instance),
        "ami" => Some(ResourceKind::Image),
        "subnet" => Some(ResourceKind::Subnet),
        "sg" => Some(ResourceKind::SecurityGroup),
        "lt" => Some(ResourceKind::LaunchTemplateId),
        "vol" => Some(ResourceKind::Volume),
        "eni" => Some(ResourceKind::NetworkInterface),
        "cr" => Some(ResourceKind::Reservation),
        "pg" => Some(ResourceKind::PlacementGroup),
        "fleet" => Some(ResourceKind::Fleet),
        _ => None,
    }
}

fn malformed(kind: ResourceKind, id: &str) -> Refusal {
    let (code, example) = match kind {
        ResourceKind::Instance => ("InvalidInstanceID.Malformed", "i-…"),
        ResourceKind::Image => ("InvalidAMIID.Malformed", "ami-…"),
        ResourceKind::Subnet => ("InvalidSubnetID.Malformed", "subnet-…"),
        ResourceKind::SecurityGroup => ("InvalidGroupId.Malformed", "sg-…"),
        ResourceKind::LaunchTemplateId => ("InvalidLaunchTemplateId.Malformed", "lt-…"),
        ResourceKind::LaunchTemplateName => {
            let text =
                format!("Launch template name '{id}' must have 3 to 128 characters of letters, digits and ().-/_");
            return Refusal::bad("InvalidLaunchTemplateName.MalformedException", text);
        }
        ResourceKind::LaunchTemplateVersion => {
            ("InvalidLaunchTemplateId.VersionNotFound", "a number, $Latest or $Default")
        }
        ResourceKind::Volume => ("InvalidVolumeID.Malformed", "vol-…"),
        ResourceKind::NetworkInterface => ("InvalidNetworkInterfaceId.Malformed", "eni-…"),
        ResourceKind::SpotRequest => ("InvalidSpotInstanceRequestID.Malformed", "sir-…"),
        ResourceKind::Fleet => ("InvalidFleetId.Malformed", "fleet-…"),
        ResourceKind::MachineType
        | ResourceKind::Zone
        | ResourceKind::InstanceProfile
        | ResourceKind::LaunchProfile
        | ResourceKind::Role
        | ResourceKind::Queue
        | ResourceKind::Receipt
        | ResourceKind::Parameter => ("InvalidParameterValue", "another name"),
        ResourceKind::Reservation => ("InvalidCapacityReservationId.Malformed", "cr-…"),
        ResourceKind::BlockOffer => ("InvalidCapacityBlockOfferingId.Malformed", "cbr-…"),
        ResourceKind::PlacementGroup => ("InvalidPlacementGroupId.Malformed", "pg-…"),
        ResourceKind::Taggable => ("InvalidID", "the ID of a resource that can have tags"),
    };
    Refusal::bad(code, format!("Invalid id: \"{id}\" (expecting \"{example}\")"))
}

fn already_exists(kind: ResourceKind, id: &str) -> Refusal {
    match kind {
        ResourceKind::LaunchTemplateName => {
            Refusal::bad("InvalidLaunchTemplateName.AlreadyExistsException", "Launch template name already in use.")
        }
        ResourceKind::InstanceProfile => {
            Refusal::new(StatusCode::CONFLICT, "EntityAlreadyExists", format!("Instance Profile {id} already exists."))
        }
        ResourceKind::Role => {
            Refusal::new(StatusCode::CONFLICT, "EntityAlreadyExists", format!("Role with name {id} already exists."))
        }
        ResourceKind::Queue => {
            Refusal::bad("QueueNameExists", "A queue already exists with the same name and a different value.")
        }
        ResourceKind::PlacementGroup => {
            Refusal::bad("InvalidPlacementGroup.Duplicate", format!("The Placement Group '{id}' already exists."))
        }
        ResourceKind::Instance
        | ResourceKind::LaunchProfile
        | ResourceKind::Receipt
        | ResourceKind::Reservation
        | ResourceKind::BlockOffer
        | ResourceKind::Image
        | ResourceKind::Subnet
        | ResourceKind::SecurityGroup
        | ResourceKind::LaunchTemplateId
        | ResourceKind::LaunchTemplateVersion
        | ResourceKind::MachineType
        | ResourceKind::Zone
        | ResourceKind::Parameter
        | ResourceKind::Volume
        | ResourceKind::NetworkInterface
        | ResourceKind::SpotRequest
        | ResourceKind::Fleet
        | ResourceKind::Taggable => Refusal::bad("ResourceAlreadyExists", format!("The {kind} '{id}' already exists")),
    }
}

fn insufficient_capacity(machine_type: &str, zone: &str, market: Market, elsewhere: &[String]) -> Refusal {
    let text = match market {
        Market::Spot => "There is no Spot capacity available that matches your request.".to_owned(),
        Market::OnDemand => format!(
            "We currently do not have sufficient {machine_type} capacity in the Availability Zone you requested ({zone}). Our \
             system will be working on provisioning additional capacity. You can currently get {machine_type} capacity by not \
             specifying an Availability Zone in your request or choosing {}.",
            elsewhere.join(", ")
        ),
    };
    // EC2 counts this among its server errors, so that plain clients try again.
    Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, "InsufficientInstanceCapacity", text)
}

fn not_offered(machine_type: &str, zone: &str, elsewhere: &[String]) -> Refusal {
    let text = format!(
        "Your requested instance type ({machine_type}) is not supported in your requested Availability Zone ({zone}). Please \
         retry your request by not specifying an Availability Zone or choosing {}.",
        elsewhere.join(", ")
    );
    Refusal::bad("Unsupported", text)
}

fn price_too_low(machine_type: &str, zone: &str) -> String {
    format!(
        "Your Spot request price is lower than the minimum required Spot request fulfillment price of {machine_type} in {zone}."
    )
}

fn quota_exceeded(market: Market, limit: u32) -> Refusal {
    match market {
        Market::Spot => Refusal::bad("MaxSpotInstanceCountExceeded", "Max spot instance count exceeded"),
        Market::OnDemand => Refusal::bad(
            "VcpuLimitExceeded",
            format!(
                "You have requested more vCPU capacity than your current vCPU limit of {limit} allows for the instance bucket \
                 that the specified instance type belongs to. Please visit http://aws.amazon.com/contact-us/ec2-request to \
                 request an adjustment to this limit."
            ),
        ),
    }
}

fn limit_exceeded(what: &str, limit: usize) -> Refusal {
    let code = match what {
        "tags per resource" => "TagLimitExceeded",
        what if what.starts_with("launch template") => "LaunchTemplateLimitExceeded",
        what if what.starts_with("filter") => "FilterLimitExceeded",
        "messages in flight" => "OverLimit",
        "capacity reservations" => "ReservationLimitExceeded",
        "placement groups" => "PlacementGroupLimitExceeded",
        _ => "InvalidParameterValue",
    };
    Refusal::bad(code, format!("At most {limit} {what} are allowed"))
}
