//! How a machine is bought.

use serde::{Deserialize, Serialize};

/// The market a machine is bought on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Market {
    /// At the list price, until given back.
    #[default]
    OnDemand,
    /// At the spot price, until reclaimed.
    Spot,
}

impl Market {
    /// Both, in order.
    pub const ALL: [Self; 2] = [Self::OnDemand, Self::Spot];

    /// `on-demand` or `spot`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::OnDemand => "on-demand",
            Self::Spot => "spot",
        }
    }
}

impl std::fmt::Display for Market {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// How machines of a reservation are bought if not on demand, as those of an ordinary reservation are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ReservedMarket {
    /// In a capacity block: paid for in advance.
    CapacityBlock,
    /// In an interruptible reservation: on demand, and taken back when its owner wants.
    Interruptible,
}

impl ReservedMarket {
    /// EC2's word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::CapacityBlock => "capacity-block",
            Self::Interruptible => "interruptible-capacity-reservation",
        }
    }
}
