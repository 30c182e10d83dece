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

/// What is on a node, by group. Empty where there are no groups.
#[derive(Clone, Debug, Default)]
pub(super) struct HostState(Vec<OfGroup>);

/// What is on a node of one group.
#[derive(Clone, Copy, Debug)]
struct OfGroup {
    /// Pods that it selects.
    count: u32,
    /// Pods that keep it away.
    keepers: u32,
    /// How many of the group some pod bears there: pods that spread bear no more of their group beside them, whether those spread
    /// themselves or not. The plan then holds in whatever order its pods are scheduled.
    ceiling: u32,
}

impl OfGroup {
    const NONE: Self = Self { count: 0, keepers: 0, ceiling: u32::MAX };
}

impl HostState {
    /// A node without pods.
    pub(super) fn empty(groups: &Groups) -> Self {
        Self(vec![OfGroup::NONE; groups.len()])
    }

    /// A node with the pods of `counted`, which have been counted there.
    pub(super) fn of(counted: &Counted, position: usize) -> Self {
        let of_group = |(selected, kept_away): &(Arc<Tally>, Option<&Tally>)| OfGroup {
            count: selected.staying[position],
            keepers: kept_away.map_or(0, |kept_away| kept_away.staying[position]),
            ..OfGroup::NONE
        };
        let mut state = Self(counted.by_group.iter().map(of_group).collect());
        for pod in counted.moving.iter().filter(|(home, pod)| *home == position && !is_terminating(pod)) {
            counted.groups.selecting(&pod.1).for_each(|group| state.0[group].count -= 1);
            counted.groups.kept_away_by(&pod.1).into_iter().for_each(|group| state.0[group].keepers -= 1);
        }
        state
    }

    /// Whether some pod of `group` is here.
    pub(super) fn has(&self, group: usize) -> bool {
        self.0[group].count > 0
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
        if self.selected.iter().any(|group| state.0[*group].keepers > 0)
            || self.anti.iter().any(|group| state.has(*group))
        {
            return 0;
        }
        if self.anti.iter().any(|group| self.selects_itself(*group)) {
            most = most.min(1);
        }
        for group in &self.selected {
            most = most.min(state.0[*group].ceiling.saturating_sub(state.0[*group].count));
        }
        for (group, skew) in &self.spread {
            let there = state.0[*group].count;
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
        self.selected.iter().for_each(|group| state.0[*group].count += times);
        self.anti.iter().for_each(|group| state.0[*group].keepers += times);
        for (group, skew) in &self.spread {
            let ceiling = &mut state.0[*group].ceiling;
            *ceiling = (*ceiling).min(*skew);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{HostRules, HostState, OfGroup};

    fn state() -> HostState {
        HostState(vec![OfGroup::NONE; 2])
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
