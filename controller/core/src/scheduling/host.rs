//! Constraints between pods on one node: required (anti-)affinity and spread over `kubernetes.io/hostname`.

use super::{
    prepared::Prepared,
    running::{Moving, Tally},
    topology::{Group, Groups},
};
use crate::model::is_terminating;
use std::sync::Arc;

/// What a class of pods asks of the other pods on its node. Groups are positions in [`Groups`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct HostRules {
    /// Groups that select the pods of this class.
    pub(super) selected: Vec<usize>,
    /// Groups of which no pod may be on the node.
    pub(super) anti: Vec<usize>,
    /// Groups of which some pod must be on the node.
    pub(super) affinity: Vec<usize>,
    /// Groups of which a node may have at most so many pods.
    pub(super) spread: Vec<(usize, u32)>,
}

/// How many pods of each group are on a node, how many that keep a group away, and how many of a group some pod bears there.
/// Empty where there are no groups.
#[derive(Clone, Debug, Default)]
pub(super) struct HostState {
    counts: Vec<u32>,
    keepers: Vec<u32>,
    /// Pods that spread bear no more of their group beside them, whether those spread themselves or not: the plan then holds
    /// in whatever order its pods are scheduled.
    ceilings: Vec<u32>,
}

impl HostState {
    /// A node without pods.
    pub(super) fn empty(groups: &Groups) -> Self {
        let count = groups.len();
        Self { counts: vec![0; count], keepers: vec![0; count], ceilings: vec![u32::MAX; count] }
    }

    /// A node with the pods of `counted`, which have been counted there.
    pub(super) fn of(counted: &Counted, position: usize) -> Self {
        let count = counted.by_group.len();
        let (mut counts, mut keepers) = (vec![0; count], vec![0; count]);
        for (group, (selected, kept_away)) in counted.by_group.iter().enumerate() {
            counts[group] = selected.staying[position];
            keepers[group] = kept_away.map_or(0, |kept_away| kept_away.staying[position]);
        }
        for pod in counted.moving.iter().filter(|(home, pod)| *home == position && !is_terminating(pod)) {
            counted.groups.selecting(&pod.1).for_each(|group| counts[group] -= 1);
            counted.groups.kept_away_by(&pod.1).into_iter().for_each(|group| keepers[group] -= 1);
        }
        Self { counts, keepers, ceilings: vec![u32::MAX; count] }
    }

    /// Whether some pod of `group` is here.
    pub(super) fn has(&self, group: usize) -> bool {
        self.counts[group] > 0
    }
}

/// What runs, by the groups of a solve.
#[derive(Debug)]
pub(super) struct Counted<'a> {
    groups: &'a Groups,
    /// By group: the pods that it selects, and those that keep it away.
    by_group: Vec<(Arc<Tally>, Option<&'a Tally>)>,
    /// Those that will not be where they run.
    moving: &'a Moving,
}

impl<'a> Counted<'a> {
    pub(super) fn new(groups: &'a Groups, prepared: &'a Prepared<'_>, moving: &'a Moving) -> Self {
        let of = |group: &Group| (prepared.selected_by(group), prepared.keepers_of(&group.identity()));
        Self { groups, by_group: (0..groups.len()).map(|group| of(groups.get(group))).collect(), moving }
    }
}

impl HostRules {
    fn selects_itself(&self, group: usize) -> bool {
        self.selected.contains(&group)
    }

    /// How many pods of the class may join `state`, at most `most`. Where it needs company that is not there yet, its own pods
    /// may begin only if `may_begin`.
    pub(super) fn at_most(&self, state: &HostState, most: u32, may_begin: bool) -> u32 {
        let mut most = most;
        if self.selected.iter().any(|group| state.keepers[*group] > 0)
            || self.anti.iter().any(|group| state.has(*group))
        {
            return 0;
        }
        if self.anti.iter().any(|group| self.selects_itself(*group)) {
            most = most.min(1);
        }
        for group in &self.selected {
            most = most.min(state.ceilings[*group].saturating_sub(state.counts[*group]));
        }
        for (group, skew) in &self.spread {
            let there = state.counts[*group];
            if self.selects_itself(*group) {
                most = most.min(skew.saturating_sub(there));
            } else if there > *skew {
                return 0;
            }
        }
        let lonely = self.affinity.iter().find(|group| !state.has(**group));
        match lonely {
            Some(group) if !(may_begin && self.selects_itself(*group)) => 0,
            _ => most,
        }
    }

    /// Records that `times` pods of the class have joined.
    pub(super) fn enter(&self, state: &mut HostState, times: u32) {
        self.selected.iter().for_each(|group| state.counts[*group] += times);
        self.anti.iter().for_each(|group| state.keepers[*group] += times);
        for (group, skew) in &self.spread {
            state.ceilings[*group] = state.ceilings[*group].min(*skew);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{HostRules, HostState};

    fn state() -> HostState {
        HostState { counts: vec![0, 0], keepers: vec![0, 0], ceilings: vec![u32::MAX; 2] }
    }

    #[test]
    fn one_per_node_with_anti_affinity_to_itself() {
        let rules = HostRules { selected: vec![0], anti: vec![0], ..HostRules::default() };
        let mut node = state();
        assert_eq!(rules.at_most(&node, 5, true), 1);
        rules.enter(&mut node, 1);
        assert_eq!(rules.at_most(&node, 5, true), 0);
    }

    #[test]
    fn who_is_kept_away_stays_away() {
        let keeper = HostRules { anti: vec![0], ..HostRules::default() };
        let kept = HostRules { selected: vec![0], ..HostRules::default() };
        let mut node = state();
        assert_eq!(keeper.at_most(&node, 5, true), 5);
        keeper.enter(&mut node, 1);
        assert_eq!(kept.at_most(&node, 5, true), 0);
    }

    #[test]
    fn spread_counts_and_company_is_needed() {
        let spread = HostRules { selected: vec![1], spread: vec![(1, 2)], ..HostRules::default() };
        let mut node = state();
        assert_eq!(spread.at_most(&node, 5, true), 2);
        let follower = HostRules { affinity: vec![1], ..HostRules::default() };
        assert_eq!(follower.at_most(&node, 5, true), 0);
        spread.enter(&mut node, 2);
        assert_eq!(spread.at_most(&node, 5, true), 0);
        assert_eq!(follower.at_most(&node, 5, true), 5);
        let other = HostRules { selected: vec![1], ..HostRules::default() };
        assert_eq!(other.at_most(&node, 5, true), 0);
    }
}
