//! Why the world refuses a request: no vendor's codes, but enough data for a door to produce them.

use super::{Credentials, Market, QuotaClass};
use std::time::Duration;

/// A refusal.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CloudError {
    /// No such thing.
    #[error("the {kind} `{id}` does not exist")]
    NotFound {
        /// What was looked for.
        kind: ResourceKind,
        /// By this id or name.
        id: String,
    },
    /// The id cannot be the id of such a thing.
    #[error("`{id}` is no {kind} id")]
    MalformedId {
        /// What was looked for.
        kind: ResourceKind,
        /// The id given.
        id: String,
    },
    /// The name is taken.
    #[error("the {kind} `{id}` already exists")]
    AlreadyExists {
        /// What was to be made.
        kind: ResourceKind,
        /// The name given.
        id: String,
    },
    /// The pool has fewer machines than asked for.
    #[error("no {market} capacity for `{machine_type}` in `{zone}`")]
    InsufficientCapacity {
        /// The type's name.
        machine_type: String,
        /// The zone's name.
        zone: String,
        /// The market.
        market: Market,
        /// Zones where the type can be had now.
        elsewhere: Vec<String>,
    },
    /// The zone does not have that type.
    #[error("`{machine_type}` is not offered as {market} in `{zone}`")]
    NotOffered {
        /// The type's name.
        machine_type: String,
        /// The zone's name.
        zone: String,
        /// The market.
        market: Market,
        /// Zones that offer the type.
        elsewhere: Vec<String>,
    },
    /// The spot price is above the most that the request would pay.
    #[error("the spot price of `{machine_type}` in `{zone}` is above the maximum price of the request")]
    PriceTooLow {
        /// The type's name.
        machine_type: String,
        /// The zone's name.
        zone: String,
    },
    /// The subnet has too few free addresses.
    #[error("subnet `{subnet}` has too few free addresses")]
    NoFreeAddresses {
        /// The subnet's id.
        subnet: String,
    },
    /// The account's vCPU quota does not allow it.
    #[error("the {market} vCPU quota of class `{class}` is {limit} and would be exceeded")]
    QuotaExceeded {
        /// The market.
        market: Market,
        /// The quota's class.
        class: QuotaClass,
        /// The quota, in vCPUs.
        limit: u32,
    },
    /// No pool fits the request at all.
    #[error("no pool matches the request")]
    NoMatchingPool,
    /// The idempotency token was used with other parameters.
    #[error("token `{token}` was used before with other parameters")]
    TokenReused {
        /// The token.
        token: String,
    },
    /// A parameter that must be there is missing.
    #[error("the parameter `{name}` is missing")]
    MissingParameter {
        /// Its name, as the vendor calls it.
        name: &'static str,
    },
    /// A parameter's value is wrong.
    #[error("`{value}` is no valid value of `{name}`: {expected}")]
    InvalidParameter {
        /// Its name, as the vendor calls it.
        name: String,
        /// What was given.
        value: String,
        /// What would be right.
        expected: String,
    },
    /// Parameters that do not go together.
    #[error("{reason}")]
    InvalidCombination {
        /// Which and why.
        reason: String,
    },
    /// The fleet request contradicts itself.
    #[error("{reason}")]
    InvalidFleet {
        /// Which part and why.
        reason: String,
    },
    /// A filter name that nobody knows.
    #[error("the filter `{name}` does not exist")]
    UnknownFilter {
        /// The name given.
        name: String,
    },
    /// Too many of something.
    #[error("at most {limit} {what} are allowed")]
    LimitExceeded {
        /// What there is too much of.
        what: &'static str,
        /// How many are allowed.
        limit: usize,
    },
    /// The user data is too long.
    #[error("user data is limited to {limit} bytes, got {bytes}")]
    UserDataTooLarge {
        /// Decoded length.
        bytes: usize,
        /// The limit.
        limit: usize,
    },
    /// The thing is not in a state that allows this.
    #[error("instance `{instance}` is {state}")]
    WrongState {
        /// The instance's id.
        instance: String,
        /// Its state.
        state: &'static str,
    },
    /// The reservation is not in a state that allows this.
    #[error("the capacity reservation `{id}` is {state}")]
    WrongReservationState {
        /// Its id.
        id: String,
        /// Its state.
        state: &'static str,
    },
    /// The reservation has no machine left for the request.
    #[error("the capacity reservation `{id}` has no fitting capacity left")]
    ReservationFull {
        /// Its id.
        id: String,
    },
    /// A spread placement group holds no more machines in the zone.
    #[error("the spread placement group has seven instances in the zone")]
    SpreadFull,
    /// Something else needs it.
    #[error("{reason}")]
    InUse {
        /// What needs it.
        reason: String,
    },
    /// The caller's credentials are not taken.
    #[error("the credentials are not taken")]
    RefusedCaller(Credentials),
    /// A dry run that would have succeeded.
    #[error("the request would have succeeded, but it is a dry run")]
    DryRun,
    /// Too many requests (scripted, or a bucket is empty).
    #[error("request limit exceeded")]
    Throttled,
    /// A fault of the script: the vendor's own code, unchanged.
    #[error("{code}: {message}")]
    Scripted {
        /// The vendor's code.
        code: String,
        /// Its message.
        message: String,
        /// The HTTP status.
        status: u16,
    },
}

/// The kinds of things that requests name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ResourceKind {
    /// A machine.
    Instance,
    /// A machine image.
    Image,
    /// A subnet.
    Subnet,
    /// A security group.
    SecurityGroup,
    /// A launch template, by id.
    LaunchTemplateId,
    /// A launch template, by name.
    LaunchTemplateName,
    /// A version of a launch template.
    LaunchTemplateVersion,
    /// A machine type.
    MachineType,
    /// A zone.
    Zone,
    /// An instance profile.
    InstanceProfile,
    /// A parameter of the parameter store.
    Parameter,
    /// A volume.
    Volume,
    /// A network interface.
    NetworkInterface,
    /// A spot request.
    SpotRequest,
    /// A fleet.
    Fleet,
    /// An instance profile that a launch names.
    LaunchProfile,
    /// A role.
    Role,
    /// A message queue.
    Queue,
    /// What a received message is deleted by.
    Receipt,
    /// A capacity reservation.
    Reservation,
    /// An offer of a capacity block.
    BlockOffer,
    /// A placement group.
    PlacementGroup,
    /// Anything that can carry tags.
    Taggable,
}

impl std::fmt::Display for ResourceKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Instance => "instance",
            Self::Image => "image",
            Self::Subnet => "subnet",
            Self::SecurityGroup => "security group",
            Self::LaunchTemplateId | Self::LaunchTemplateName => "launch template",
            Self::LaunchTemplateVersion => "launch template version",
            Self::MachineType => "instance type",
            Self::Zone => "zone",
            Self::InstanceProfile | Self::LaunchProfile => "instance profile",
            Self::Role => "role",
            Self::Queue => "queue",
            Self::Receipt => "receipt handle",
            Self::Reservation => "capacity reservation",
            Self::BlockOffer => "capacity block offering",
            Self::PlacementGroup => "placement group",
            Self::Parameter => "parameter",
            Self::Volume => "volume",
            Self::NetworkInterface => "network interface",
            Self::SpotRequest => "spot request",
            Self::Fleet => "fleet",
            Self::Taggable => "resource",
        })
    }
}

/// How a call is to be treated, by the fault rules in force; a door asks before it acts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CallPlan {
    /// Wait so long before anything happens.
    pub delay: Duration,
    /// And then.
    pub treatment: Treatment,
}

/// What happens to a call after its delay.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Treatment {
    /// It is served.
    Serve,
    /// It is refused without having had any effect.
    Refuse(CloudError),
    /// It takes effect, but its caller does not learn the answer.
    Lose(LostResponse),
    /// It takes effect twice, as if the network had delivered it twice; the caller gets the second answer.
    Twice,
}

/// What a caller gets instead of the answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum LostResponse {
    /// An internal error (500).
    ServerError,
    /// Nothing: the connection stays open until the caller gives up.
    Never,
}
