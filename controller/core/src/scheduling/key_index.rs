//! Which of many requirement sets ask what of a label, so that a pod's requirement is compared once per distinct requirement
//! and not once per instance type.

use super::bits::Bits;
use crate::model::{Requirement, Requirements};
use std::{collections::BTreeMap, sync::Arc};

/// The distinct requirements of each key, with the positions of the sets that have them.
#[derive(Clone, Debug, Default)]
pub(super) struct KeyIndex {
    keys: BTreeMap<String, KeyGroups>,
    size: usize,
}

#[derive(Clone, Debug)]
pub(super) struct KeyGroups {
    /// The sets that say something of the key.
    pub(super) defined: Bits,
    groups: Vec<(Arc<Requirement>, Bits)>,
}

impl KeyIndex {
    /// Indexes `sets` by their positions.
    pub(super) fn new<'a>(sets: impl ExactSizeIterator<Item = &'a Requirements>) -> Self {
        let size = sets.len();
        let mut distinct: BTreeMap<&Requirement, Bits> = BTreeMap::new();
        for (position, set) in sets.enumerate() {
            for requirement in set.iter() {
                distinct.entry(requirement).or_insert_with(|| Bits::none(size)).insert(position);
            }
        }
        let mut keys: BTreeMap<String, KeyGroups> = BTreeMap::new();
        for (requirement, positions) in distinct {
            let key = keys.entry(requirement.key().to_owned());
            let groups = key.or_insert_with(|| KeyGroups { defined: Bits::none(size), groups: Vec::new() });
            groups.defined.unite(&positions);
            groups.groups.push((Arc::new(requirement.clone()), positions));
        }
        Self { keys, size }
    }

    /// The index of only the sets at `positions`, which take these positions in order.
    pub(super) fn of_only(&self, positions: &[usize]) -> Self {
        let size = positions.len();
        let mut moved = vec![None; self.size];
        positions.iter().enumerate().for_each(|(to, from)| moved[*from] = Some(to));
        let only = |bits: &Bits| {
            let mut kept = Bits::none(size);
            bits.iter().filter_map(|from| moved[from]).for_each(|to| kept.insert(to));
            kept
        };
        let mut keys = BTreeMap::new();
        for (key, own) in &self.keys {
            let kept = own.groups.iter().map(|(requirement, positions)| (requirement.clone(), only(positions)));
            let groups: Vec<(Arc<Requirement>, Bits)> = kept.filter(|(_, positions)| !positions.is_empty()).collect();
            if !groups.is_empty() {
                keys.insert(key.clone(), KeyGroups { defined: only(&own.defined), groups });
            }
        }
        Self { keys, size }
    }

    /// How many sets there are.
    pub(super) fn size(&self) -> usize {
        self.size
    }

    /// What is said of `key`; none where no set says anything.
    pub(super) fn get(&self, key: &str) -> Option<&KeyGroups> {
        self.keys.get(key)
    }

    /// The values that sets list for `key`.
    pub(super) fn values(&self, key: &str) -> impl Iterator<Item = &str> {
        let groups = self.keys.get(key).into_iter().flat_map(|groups| &groups.groups);
        groups.flat_map(|(requirement, _)| requirement.values())
    }

    /// The keys of which something is said.
    pub(super) fn keys(&self) -> impl Iterator<Item = &str> {
        self.keys.keys().map(String::as_str)
    }

    /// The sets that satisfy `asked`; those that say nothing of its key do if `or_silent`.
    pub(super) fn satisfying(&self, asked: &Requirement, or_silent: bool) -> Bits {
        let Some(groups) = self.keys.get(asked.key()) else {
            return if or_silent { Bits::all(self.size) } else { Bits::none(self.size) };
        };
        let mut found = if or_silent { Bits::all(self.size) } else { Bits::none(self.size) };
        found.subtract(&groups.defined);
        let fitting = groups.groups.iter().filter(|(own, _)| own.compatible(asked));
        fitting.for_each(|(_, positions)| found.unite(positions));
        found
    }
}

#[cfg(test)]
mod tests {
    use super::KeyIndex;
    use crate::model::{Operator, Requirement, Requirements};

    #[test]
    fn silent_sets_count_only_where_they_may() {
        let sets = [
            Requirements::from_iter([Requirement::new("arch", Operator::In, ["amd64"])]),
            Requirements::from_iter([Requirement::new("arch", Operator::In, ["arm64"])]),
            Requirements::new(),
        ];
        let index = KeyIndex::new(sets.iter());
        let arm = Requirement::new("arch", Operator::In, ["arm64"]);
        assert_eq!(index.satisfying(&arm, false).iter().collect::<Vec<_>>(), [1]);
        assert_eq!(index.satisfying(&arm, true).iter().collect::<Vec<_>>(), [1, 2]);
        let other = Requirement::new("zone", Operator::Exists, [""; 0]);
        assert_eq!(index.satisfying(&other, false).iter().count(), 0);
        assert_eq!(index.satisfying(&other, true).iter().count(), 3);
    }

    #[test]
    fn a_part_of_an_index_is_the_index_of_the_part() {
        let arch = |arch: &str| Requirements::from_iter([Requirement::new("arch", Operator::In, [arch])]);
        let sets = [arch("amd64"), arch("arm64"), Requirements::new(), arch("amd64")];
        let part = KeyIndex::new(sets.iter()).of_only(&[2, 3]);
        assert_eq!(part.size(), 2);
        let asked = |arch: &str| Requirement::new("arch", Operator::In, [arch]);
        assert_eq!(part.satisfying(&asked("amd64"), false).iter().collect::<Vec<_>>(), [1]);
        assert_eq!(part.satisfying(&asked("arm64"), true).iter().collect::<Vec<_>>(), [0]);
        assert_eq!(part.values("arch").collect::<Vec<_>>(), ["amd64"]);
    }
}
