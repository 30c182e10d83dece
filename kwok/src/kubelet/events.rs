//! What became of each machine.

use jiff::Timestamp;
use std::{fmt, sync::Arc};

/// Something that happened to a machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MachineEvent {
    /// When.
    pub at: Timestamp,
    /// The cloud's id of the machine.
    pub instance_id: String,
    /// What.
    pub kind: MachineEventKind,
}

/// What happened to a machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MachineEventKind {
    /// It is running and boots.
    Booting,
    /// It has booted and never joins.
    CannotJoin {
        /// A stable code.
        code: &'static str,
        /// A sentence.
        reason: String,
    },
    /// Its Node is registered.
    Joined {
        /// The Node's name.
        node: String,
    },
    /// Its Node is Ready for the first time.
    Ready {
        /// The Node's name.
        node: String,
    },
    /// It is gone, and its kubelet with it.
    Stopped {
        /// The Node's name, if it had joined.
        node: Option<String>,
    },
}

/// What is told of every event, in order.
pub type OnMachineEvent = Arc<dyn Fn(MachineEvent) + Send + Sync>;

impl fmt::Display for MachineEventKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Booting => f.write_str("boots"),
            Self::CannotJoin { reason, .. } => write!(f, "cannot join: {reason}"),
            Self::Joined { node } => write!(f, "joined as `{node}`"),
            Self::Ready { node } => write!(f, "is Ready as `{node}`"),
            Self::Stopped { node: Some(node) } => write!(f, "is gone; it was `{node}`"),
            Self::Stopped { node: None } => f.write_str("is gone"),
        }
    }
}
