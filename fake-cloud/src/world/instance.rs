//! A machine: what it is, its state, what it costs.

use super::{
    Amount, Impairment, LaunchSettings, Market, Placed, Price, ReservedMarket, Scheduled, Tags, TypeIndex, Zone,
};
use jiff::Timestamp;
use serde::Serialize;
use std::net::Ipv4Addr;

/// Where a machine is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum InstanceState {
    /// Being started.
    Pending,
    /// Running, and paid for.
    Running,
    /// Being ended; no longer paid for.
    ShuttingDown,
    /// Ended; visible for a while.
    Terminated,
    /// Being stopped.
    Stopping,
    /// Stopped; can be started again.
    Stopped,
}

impl InstanceState {
    /// All states.
    pub const ALL: [Self; 6] =
        [Self::Pending, Self::Running, Self::ShuttingDown, Self::Terminated, Self::Stopping, Self::Stopped];

    /// EC2's name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Running => "running",
            Self::ShuttingDown => "shutting-down",
            Self::Terminated => "terminated",
            Self::Stopping => "stopping",
            Self::Stopped => "stopped",
        }
    }

    /// EC2's code.
    pub const fn code(self) -> u16 {
        match self {
            Self::Pending => 0,
            Self::Running => 16,
            Self::ShuttingDown => 32,
            Self::Terminated => 48,
            Self::Stopping => 64,
            Self::Stopped => 80,
        }
    }

    /// Whether a machine keeps the room it has in its pool (until the end of shutting down).
    pub(crate) const fn keeps_room(self) -> bool {
        match self {
            Self::Pending | Self::Running | Self::ShuttingDown | Self::Stopping => true,
            Self::Terminated | Self::Stopped => false,
        }
    }
}

/// Why a machine changed its state last (EC2 `StateReason`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StateReason {
    /// The user ended it.
    UserTerminated,
    /// The user stopped it.
    UserStopped,
    /// The spot market took it back.
    SpotReclaimed,
    /// The hardware failed.
    HardwareFailed,
    /// The capacity block ended.
    BlockEnded,
    /// The owner of the interruptible reservation took it back.
    ReservationReclaimed,
}

impl StateReason {
    /// EC2's code.
    pub const fn code(self) -> &'static str {
        match self {
            Self::UserTerminated => "Client.UserInitiatedShutdown",
            Self::UserStopped => "Client.UserInitiatedShutdown",
            Self::SpotReclaimed => "Server.SpotInstanceTermination",
            Self::HardwareFailed => "Server.InternalError",
            Self::BlockEnded => "Server.CapacityReservationExpired",
            Self::ReservationReclaimed => "Server.CapacityReservationInterruption",
        }
    }

    /// EC2's message.
    pub const fn message(self) -> &'static str {
        match self {
            Self::UserTerminated | Self::UserStopped => "Client.UserInitiatedShutdown: User initiated shutdown",
            Self::SpotReclaimed => "Server.SpotInstanceTermination: Spot instance termination",
            Self::HardwareFailed => "Server.InternalError: Internal error on launch or during operation",
            Self::BlockEnded => "Server.CapacityReservationExpired: The capacity block has ended",
            Self::ReservationReclaimed => {
                "Server.CapacityReservationInterruption: The interruptible capacity reservation was reclaimed"
            }
        }
    }
}

/// A machine of the world.
#[derive(Clone, Debug)]
pub struct Instance {
    /// E.g. `i-0123456789abcdef0`.
    pub id: String,
    /// EC2's reservation: the machines of one launch request. E.g. `r-0123456789abcdef0`.
    pub reservation_id: String,
    /// Its place within that launch.
    pub launch_index: u32,
    /// The token of the launch, if any.
    pub client_token: Option<String>,
    /// The fleet that launched it, if any.
    pub fleet_id: Option<String>,
    /// The template it was launched from, if any.
    pub template: Option<TemplateVersion>,
    /// Its type, in the catalogue.
    pub type_index: TypeIndex,
    /// Its type's name.
    pub machine_type: &'static str,
    /// Its zone.
    pub zone: Zone,
    /// How it was bought.
    pub market: Market,
    /// The spot request's id, if bought on the spot market.
    pub spot_request_id: Option<String>,
    /// Its state.
    pub state: InstanceState,
    /// Why it changed last; `None` while nothing unusual happened.
    pub state_reason: Option<StateReason>,
    /// When the state was entered.
    pub state_since: Timestamp,
    /// When it was launched (EC2: started last).
    pub launched: Timestamp,
    /// When the spot market will take it back, once announced.
    pub interruption: Option<Timestamp>,
    /// The capacity reservation that it runs in, if any.
    pub reservation: Option<String>,
    /// The market of that, if it has one of its own.
    pub reserved_market: Option<ReservedMarket>,
    /// Its place in a placement group, if it is in one.
    pub placed: Option<Placed>,
    /// The check that fails, if one does.
    pub impairment: Option<Impairment>,
    /// What is planned for it.
    pub scheduled: Option<Scheduled>,
    /// The merged settings it was launched with.
    pub settings: LaunchSettings,
    /// The image's architecture, and its platform.
    pub architecture: &'static str,
    /// `windows`, or `None` for Linux.
    pub platform: Option<&'static str>,
    /// The root device's name.
    pub root_device: &'static str,
    /// The VPC's id.
    pub vpc_id: String,
    /// The subnet of the primary interface.
    pub subnet_id: String,
    /// The private address; gone with the machine.
    pub private_ip: Ipv4Addr,
    /// The private name, e.g. `ip-10-0-0-4.us-west-2.compute.internal`.
    pub private_dns_name: String,
    /// Its interfaces; empty once terminated.
    pub interfaces: Vec<Interface>,
    /// Its volumes; those that go with the machine are gone once terminated.
    pub volumes: Vec<Volume>,
    /// Its tags.
    pub tags: Tags,
    pub(crate) due: Option<Timestamp>,
    /// Whether it takes room in its pool and quota. A machine that was stopped has none, also while it is then ended.
    pub(crate) has_room: bool,
    pub(crate) delegated_addresses: u32,
    /// From when on describing calls see it.
    pub(crate) visible: Timestamp,
    pub(crate) meter: Meter,
}

/// Which template, and which version of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TemplateVersion {
    /// The template's id.
    pub id: String,
    /// The template's name.
    pub name: String,
    /// The version's number.
    pub version: u64,
}

/// A network interface of a machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interface {
    /// E.g. `eni-0123456789abcdef0`.
    pub id: String,
    /// E.g. `eni-attach-0123456789abcdef0`.
    pub attachment_id: String,
    /// E.g. `06:12:34:56:78:9a`.
    pub mac_address: String,
    /// Position on its card.
    pub device_index: u32,
    /// The card.
    pub network_card_index: u32,
    /// `interface`, `efa`, `efa-only`.
    pub interface_type: String,
    /// Its address; `None` for `efa-only`.
    pub private_ip: Option<Ipv4Addr>,
    /// Its groups.
    pub security_group_ids: Vec<String>,
    /// Goes with the machine.
    pub delete_on_termination: bool,
    /// Its tags.
    pub tags: Tags,
}

/// A volume of a machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Volume {
    /// E.g. `vol-0123456789abcdef0`.
    pub id: String,
    /// E.g. `/dev/xvda`.
    pub device_name: String,
    /// Its size.
    pub size_gib: u64,
    /// E.g. `gp3`.
    pub volume_type: String,
    /// Encrypted.
    pub encrypted: bool,
    /// When it was attached.
    pub attached: Timestamp,
    /// Goes with the machine.
    pub delete_on_termination: bool,
    /// Its tags.
    pub tags: Tags,
}

/// What a machine has cost so far.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Meter {
    /// Up to `since`.
    pub(crate) settled: Amount,
    /// The time it ran, up to `since`.
    pub(crate) ran_nanoseconds: u128,
    /// From when on it runs unsettled; `None` while it is not paid for.
    pub(crate) since: Option<Timestamp>,
}

impl Instance {
    /// How EC2 names the market (`InstanceLifecycle`); not at all if it is on demand.
    pub fn lifecycle(&self) -> Option<&'static str> {
        match self.market {
            Market::Spot => Some("spot"),
            Market::OnDemand => self.reserved_market.map(ReservedMarket::as_str),
        }
    }

    /// Groups of the primary interface; empty once terminated.
    pub fn security_group_ids(&self) -> &[String] {
        self.interfaces.first().map_or(&[], |interface| &interface.security_group_ids)
    }

    /// Whether its life is over.
    pub fn is_terminated(&self) -> bool {
        self.state == InstanceState::Terminated
    }
}

/// A change of state that a request caused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StateChange {
    /// The machine's id.
    pub instance_id: String,
    /// Before.
    pub previous: InstanceState,
    /// After.
    pub current: InstanceState,
}

/// A running machine, as whoever boots it needs to know it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RunningMachine {
    /// The instance's id.
    pub instance_id: String,
    /// `aws:///ZONE/ID`, as Nodes carry it.
    pub provider_id: String,
    /// The type's name.
    pub machine_type: &'static str,
    /// The region's name.
    pub region: &'static str,
    /// The zone's name.
    pub zone: &'static str,
    /// The zone's id.
    pub zone_id: &'static str,
    /// `amd64` or `arm64`.
    pub architecture: &'static str,
    /// The private name.
    pub private_dns_name: String,
    /// The private address.
    pub private_ip: String,
    /// User data, decoded; bytes that are no text are replaced.
    pub user_data: String,
    /// By Kubernetes resource name, as quantities: `cpu`, `memory` (what the operating system sees), `ephemeral-storage`
    /// (the largest volume), and devices such as `nvidia.com/gpu`.
    pub hardware: std::collections::BTreeMap<String, String>,
    /// Decimal gigabytes of disks inside the machine; 0 if none.
    pub instance_store_gb: u64,
    /// Pods whose addresses fit the default network card, for user data that does not say.
    pub address_limited_pods: u32,
    /// How it was bought.
    pub market: Market,
    /// The image's id.
    pub image_id: String,
    /// When it entered the state running.
    pub running_since: Timestamp,
}

/// What a machine has cost, for the ledger.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InstanceCost {
    /// The machine's id.
    pub instance_id: String,
    /// Its type.
    pub machine_type: &'static str,
    /// Its zone's name.
    pub zone: &'static str,
    /// How it was bought.
    pub market: Market,
    /// Nanoseconds that it ran.
    pub ran_nanoseconds: u128,
    /// What that cost.
    pub cost: Amount,
    /// The price now, if it is being paid for.
    pub price: Option<Price>,
}
