//! What happens, told to whoever listens: events, and the queue that they go to. Events are told once, late, twice or not
//! at all, as the settings say.

use super::{Body, DelayRange, Instance, InstanceState, QueueSettings, World};
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

/// How long the cluster's queue keeps what nobody reads, as the reference's set-up has it.
const RETENTION: SignedDuration = SignedDuration::from_secs(300);

/// Something that happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// A UUID.
    pub id: String,
    /// When.
    pub time: Timestamp,
    /// The machine or reservation concerned.
    pub resource: String,
    /// The zone's name.
    pub zone: String,
    /// What.
    pub kind: EventKind,
}

/// What an event is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EventKind {
    /// The spot market takes the machine back after the notice.
    SpotInterruption,
    /// The machine is at risk of that.
    Rebalance,
    /// The machine entered a state.
    StateChange(InstanceState),
    /// The reservation that the machine runs in is taken back after the notice.
    ReservationInterruption,
    /// Something is planned for the machine.
    ScheduledChange(ScheduledCode),
    /// A capacity block can be used from now on.
    BlockDelivered,
    /// A capacity block ends soon.
    BlockExpiring {
        /// When.
        end: Timestamp,
    },
}

/// What EC2 plans for machines.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ScheduledCode {
    /// A reboot of the machine.
    InstanceReboot,
    /// A reboot of its host.
    SystemReboot,
    /// Maintenance of its host.
    SystemMaintenance,
    /// The end of the hardware.
    InstanceRetirement,
    /// A stop.
    InstanceStop,
}

impl ScheduledCode {
    /// EC2's word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::InstanceReboot => "instance-reboot",
            Self::SystemReboot => "system-reboot",
            Self::SystemMaintenance => "system-maintenance",
            Self::InstanceRetirement => "instance-retirement",
            Self::InstanceStop => "instance-stop",
        }
    }
}

/// Where events go, and what becomes of them on the way.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct EventConfig {
    /// The queue that exists from the beginning and gets the events; the cluster's name if not given, none if empty.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub queue: Option<String>,
    /// Percent of the events that get lost, drawn from the seed.
    pub lost_percent: u8,
    /// Percent of the events that come twice.
    pub duplicated_percent: u8,
    /// How late events come.
    pub delay: DelayRange,
}

impl Default for EventConfig {
    fn default() -> Self {
        let delay = DelayRange { min: SignedDuration::ZERO, max: SignedDuration::ZERO };
        Self { queue: None, lost_percent: 0, duplicated_percent: 0, delay }
    }
}

impl World {
    /// Makes the queue that events go to.
    pub(crate) fn listen_to_events(&mut self) {
        let name = self.events.queue.get_or_insert_with(|| self.cluster.clone()).clone();
        if !name.is_empty() {
            let settings = QueueSettings { retention: RETENTION, ..QueueSettings::default() };
            self.add_queue(&name, settings, std::collections::BTreeMap::new());
        }
    }

    /// Where events go, and what becomes of them.
    pub fn event_config(&self) -> &EventConfig {
        &self.events
    }

    pub(crate) fn tell_of_instance(&mut self, id: &str, kind: EventKind) {
        let Some(Instance { zone, .. }) = self.instances.get(id) else { return };
        let zone = zone.name.to_owned();
        self.tell(id.to_owned(), zone, kind);
    }

    /// Sends an event to the queue, if there is one.
    pub(crate) fn tell(&mut self, resource: String, zone: String, kind: EventKind) {
        let Some(queue) = self.events.queue.clone().filter(|name| self.queue(name).is_ok()) else { return };
        self.told += 1;
        let number = self.told.to_string();
        let mut draw = self.seed.stream(&["event", &number]);
        let event = Event { id: draw.uuid(), time: self.now, resource, zone, kind };
        let EventConfig { lost_percent, duplicated_percent, delay, .. } = self.events;
        let lost = draw.below(100) < u64::from(lost_percent);
        let copies = if draw.below(100) < u64::from(duplicated_percent) { 2 } else { 1 };
        let (low, high) = (delay.min.as_millis() as u64, delay.max.as_millis() as u64);
        for _ in 0..if lost { 0 } else { copies } {
            let late = SignedDuration::from_millis(draw.between(low, high) as i64);
            // The queue was just looked up.
            let _ = self.send_message(&queue, Body::Event(event.clone()), Some(late));
        }
    }
}
