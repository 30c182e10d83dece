//! Sets of fields as `managedFields` has them (`fieldsV1`; `sigs.k8s.io/structured-merge-diff/fieldpath`).

use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

/// A set of fields: path elements as `fieldsV1` writes them (`f:name`, `k:{…}`, `v:…`), nested.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct FieldSet {
    /// Whether the field itself belongs to the set, not only fields below it.
    pub(super) is_member: bool,
    pub(super) below: BTreeMap<String, Self>,
}

impl FieldSet {
    /// Reads `fieldsV1`.
    pub(super) fn read(fields: &Value) -> Self {
        let mut set = Self::read_below(fields);
        // The object itself is in nobody's set.
        set.is_member = false;
        set
    }

    fn read_below(fields: &Value) -> Self {
        let below = members(fields).map(|(key, value)| (key.clone(), Self::read_below(value)));
        Self { is_member: is_member(fields), below: below.collect() }
    }

    /// The set as `fieldsV1`.
    pub(super) fn to_value(&self) -> Value {
        let mut members: Map<String, Value> =
            self.below.iter().map(|(key, below)| (key.clone(), below.to_value())).collect();
        if self.is_member && !self.below.is_empty() {
            members.insert(".".into(), json!({}));
        }
        Value::Object(members)
    }

    pub(super) fn is_empty(&self) -> bool {
        !self.is_member && self.below.is_empty()
    }

    /// Puts a set below an element; an empty one leaves nothing.
    pub(super) fn nest(&mut self, element: &str, below: Self) {
        if !below.is_empty() {
            self.below.insert(element.to_owned(), below);
        }
    }

    /// Removes the field at the path and everything below it.
    pub(super) fn remove_tree(&mut self, path: &[&str]) {
        let Some((first, rest)) = path.split_first() else { return };
        if rest.is_empty() {
            self.below.remove(*first);
        } else if let Some(below) = self.below.get_mut(*first) {
            below.remove_tree(rest);
            if below.is_empty() {
                self.below.remove(*first);
            }
        }
    }

    pub(super) fn add(&mut self, other: &Self) {
        self.is_member |= other.is_member;
        for (element, below) in &other.below {
            match self.below.get_mut(element) {
                Some(mine) => mine.add(below),
                None => drop(self.below.insert(element.clone(), below.clone())),
            }
        }
    }

    pub(super) fn subtract(&mut self, other: &Self) {
        self.is_member &= !other.is_member;
        for (element, below) in &other.below {
            if let Some(mine) = self.below.get_mut(element) {
                mine.subtract(below);
                if mine.is_empty() {
                    self.below.remove(element);
                }
            }
        }
    }

    /// What both have.
    pub(super) fn common(&self, other: &Self) -> Self {
        let mut common = Self { is_member: self.is_member && other.is_member, below: BTreeMap::new() };
        for (element, below) in &self.below {
            if let Some(other) = other.below.get(element) {
                common.nest(element, below.common(other));
            }
        }
        common
    }

    /// Whether `fieldsV1` has any of the set's members; without reading it whole.
    pub(super) fn meets(&self, fields: &Value) -> bool {
        self.below.iter().any(|(element, below)| {
            fields.get(element).is_some_and(|fields| below.is_member && is_member(fields) || below.meets(fields))
        })
    }

    /// Whether `fieldsV1` has all of the set's members.
    pub(super) fn is_within(&self, fields: &Value) -> bool {
        self.below.iter().all(|(element, below)| {
            fields.get(element).is_some_and(|fields| (!below.is_member || is_member(fields)) && below.is_within(fields))
        })
    }

    /// All members' paths, parents before their children.
    pub(super) fn paths(&self) -> Vec<Vec<String>> {
        let mut paths = Vec::new();
        self.collect(&mut Vec::new(), &mut paths);
        paths
    }

    fn collect(&self, here: &mut Vec<String>, paths: &mut Vec<Vec<String>>) {
        if self.is_member && !here.is_empty() {
            paths.push(here.clone());
        }
        for (element, below) in &self.below {
            here.push(element.clone());
            below.collect(here, paths);
            here.pop();
        }
    }
}

fn members(fields: &Value) -> impl Iterator<Item = (&String, &Value)> {
    fields.as_object().into_iter().flatten().filter(|(key, _)| *key != ".")
}

/// A field without anything below it is a member, and one that says so (`.`).
fn is_member(fields: &Value) -> bool {
    fields.as_object().is_none_or(|members| members.is_empty() || members.contains_key("."))
}

#[cfg(test)]
mod tests {
    use super::FieldSet;
    use serde_json::{Value, json};

    fn labels() -> Value {
        json!({"f:metadata": {"f:labels": {".": {}, "f:a": {}, "f:b": {}}}})
    }

    #[test]
    fn sets_are_read_and_written() {
        let set = FieldSet::read(&labels());
        assert_eq!(set.to_value(), labels());
        assert!(set.is_within(&labels()) && set.meets(&labels()));
        assert!(!set.is_within(&json!({"f:metadata": {"f:labels": {"f:a": {}, "f:b": {}}}})));
        assert_eq!(set.paths().len(), 3);
    }

    #[test]
    fn sets_are_added_and_subtracted() {
        let mut set = FieldSet::read(&labels());
        let other = FieldSet::read(&json!({"f:metadata": {"f:labels": {"f:a": {}}}}));
        assert_eq!(set.common(&other), other);
        set.subtract(&other);
        assert_eq!(set.to_value(), json!({"f:metadata": {"f:labels": {".": {}, "f:b": {}}}}));
        set.add(&other);
        assert_eq!(set.to_value(), labels());
        set.remove_tree(&["f:metadata", "f:labels"]);
        assert!(set.is_empty());
    }
}
