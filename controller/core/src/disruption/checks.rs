//! What is asked of a machine, one thing after the other, before it may go.

use std::fmt;

/// One thing that must hold of a machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Check {
    /// It has a NodeClaim.
    Managed,
    /// No running command has it.
    Free,
    /// Its Node has joined.
    Joined,
    /// Its Node is initialized.
    Initialized,
    /// It is not going away already.
    Staying,
    /// No pods are expected on it.
    NotNominated,
    /// Its Node does not ask to be kept.
    NodeAllows,
    /// Its NodePool is there and has instance types.
    PoolKnown,
    /// None of its pods asks that it be kept.
    PodsAllow,
    /// PodDisruptionBudgets let its pods go.
    PodBudgetsAllow,
    /// Its pool consolidates machines like it.
    PoolConsolidates,
    /// Pods have left it alone for as long as its pool waits.
    Settled,
    /// Its pool's budgets allow a further disruption.
    WithinBudget,
    /// Without it, or with something cheaper, every pod has a place.
    WorthIt,
}

impl Check {
    /// Those that look at the machine and not at its pods, in order.
    pub(super) const OF_MACHINES: [Self; 8] = [
        Self::Managed,
        Self::Free,
        Self::Joined,
        Self::Initialized,
        Self::Staying,
        Self::NotNominated,
        Self::NodeAllows,
        Self::PoolKnown,
    ];
}

impl fmt::Display for Check {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Managed => "it has a NodeClaim",
            Self::Free => "no running command has it",
            Self::Joined => "its Node has joined",
            Self::Initialized => "its Node is initialized",
            Self::Staying => "it is not going away already",
            Self::NotNominated => "no pods are expected on it",
            Self::NodeAllows => "its Node does not ask to be kept",
            Self::PoolKnown => "its NodePool is there and has instance types",
            Self::PodsAllow => "no pod asks that it be kept",
            Self::PodBudgetsAllow => "PodDisruptionBudgets let its pods go",
            Self::PoolConsolidates => "its pool consolidates machines like it",
            Self::Settled => "its pods have been quiet for consolidateAfter",
            Self::WithinBudget => "its pool's budgets allow one more",
            Self::WorthIt => "its pods fit elsewhere, or on something cheaper",
        })
    }
}
