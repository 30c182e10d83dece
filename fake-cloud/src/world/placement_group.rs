//! Placement groups: machines close together, or apart.

use super::{CloudError, LaunchSettings, MachineType, ResourceKind, Tags, World, tags};
use std::collections::BTreeMap;

/// EC2's limits: groups of a region, machines of a spread group in a zone, partitions.
const MAX_GROUPS: usize = 500;
const MAX_SPREAD: usize = 7;
const MAX_PARTITIONS: u32 = 7;

/// A placement group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlacementGroup {
    /// E.g. `pg-0123456789abcdef0`.
    pub id: String,
    /// Its name, unique in the region.
    pub name: String,
    /// How it places machines.
    pub strategy: Placement,
    /// Its tags.
    pub tags: Tags,
}

/// How a group places machines.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Placement {
    /// Close together.
    Cluster,
    /// On hardware of their own, at most seven in a zone.
    Spread,
    /// In so many parts that share no hardware.
    Partition(u32),
}

impl Placement {
    /// EC2's word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Cluster => "cluster",
            Self::Spread => "spread",
            Self::Partition(_) => "partition",
        }
    }
}

/// The groups of a region.
#[derive(Clone, Debug, Default)]
pub(crate) struct PlacementGroups(pub(crate) BTreeMap<String, PlacementGroup>);

/// Where in a group a machine is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Placed {
    /// The group's id.
    pub group_id: String,
    /// The group's name.
    pub group_name: String,
    /// The partition, in a group that has some.
    pub partition: Option<u32>,
}

impl World {
    /// Makes a placement group.
    ///
    /// # Errors
    /// The name is taken or missing, the partitions are too many, or the groups are.
    pub fn create_placement_group(
        &mut self,
        name: &str,
        strategy: Placement,
        tags: Tags,
    ) -> Result<&PlacementGroup, CloudError> {
        tags::check_tags(&tags)?;
        if name.is_empty() || name.len() > 255 {
            return Err(CloudError::MissingParameter { name: "GroupName" });
        }
        if let Placement::Partition(count) = strategy
            && !(1..=MAX_PARTITIONS).contains(&count)
        {
            let (name, value) = ("PartitionCount".to_owned(), count.to_string());
            return Err(CloudError::InvalidParameter { name, value, expected: format!("1 to {MAX_PARTITIONS}") });
        }
        if self.placement_groups().any(|group| group.name == name) {
            return Err(CloudError::AlreadyExists { kind: ResourceKind::PlacementGroup, id: name.to_owned() });
        }
        if self.groups.0.len() >= MAX_GROUPS {
            return Err(CloudError::LimitExceeded { what: "placement groups", limit: MAX_GROUPS });
        }
        let id = format!("pg-0{}", self.seed.stream(&["placement-group", name, &self.version.to_string()]).hex(16));
        let group = PlacementGroup { id: id.clone(), name: name.to_owned(), strategy, tags };
        self.changed();
        Ok(self.groups.0.entry(id).insert_entry(group).into_mut())
    }

    /// The placement groups, by id.
    pub fn placement_groups(&self) -> impl Iterator<Item = &PlacementGroup> {
        self.groups.0.values()
    }

    /// The group of that id or name.
    ///
    /// # Errors
    /// It does not exist.
    pub fn placement_group(&self, id_or_name: &str) -> Result<&PlacementGroup, CloudError> {
        let found = self.placement_groups().find(|group| group.id == id_or_name || group.name == id_or_name);
        found.ok_or_else(|| CloudError::NotFound { kind: ResourceKind::PlacementGroup, id: id_or_name.to_owned() })
    }

    /// Deletes a placement group.
    ///
    /// # Errors
    /// It does not exist, or machines are in it.
    pub fn delete_placement_group(&mut self, name: &str) -> Result<(), CloudError> {
        let id = self.placement_group(name)?.id.clone();
        if self.in_group(&id).next().is_some() {
            let reason = format!("The placement group '{name}' is in use and may not be deleted.");
            return Err(CloudError::InUse { reason });
        }
        self.groups.0.remove(&id);
        self.changed();
        Ok(())
    }

    fn in_group(&self, id: &str) -> impl Iterator<Item = &super::Instance> {
        let id = id.to_owned();
        let inside = move |instance: &&super::Instance| {
            !instance.is_terminated() && instance.placed.as_ref().is_some_and(|placed| placed.group_id == id)
        };
        self.instances().filter(inside)
    }

    /// Where in its group a machine to be launched in `zone` goes.
    pub(crate) fn group_place(
        &self,
        settings: &LaunchSettings,
        machine_type: &MachineType,
        zone: &str,
    ) -> Result<Option<Placed>, CloudError> {
        let named = ["Placement.GroupId", "Placement.GroupName"].iter().find_map(|key| settings.other.get(*key));
        let Some(named) = named.filter(|name| !name.is_empty()) else { return Ok(None) };
        let group = self.placement_group(named)?;
        let strategy = group.strategy.as_str();
        if !machine_type.placement_strategies.contains(&strategy) {
            let reason =
                format!("{strategy} placement groups are not supported by the '{}' instance type.", machine_type.name);
            return Err(CloudError::InvalidCombination { reason });
        }
        let partition = match group.strategy {
            Placement::Cluster => None,
            Placement::Spread => {
                if self.in_group(&group.id).filter(|instance| instance.zone.name == zone).count() >= MAX_SPREAD {
                    return Err(CloudError::SpreadFull);
                }
                None
            }
            Placement::Partition(count) => {
                let given = settings.other.get("Placement.PartitionNumber");
                let number = |given: &String| {
                    let known = given.parse().ok().filter(|number| (1..=count).contains(number));
                    known.ok_or_else(|| CloudError::InvalidParameter {
                        name: "PartitionNumber".to_owned(),
                        value: given.clone(),
                        expected: format!("1 to {count}"),
                    })
                };
                Some(given.map_or_else(|| Ok(self.emptiest_partition(&group.id, count)), number)?)
            }
        };
        Ok(Some(Placed { group_id: group.id.clone(), group_name: group.name.clone(), partition }))
    }

    fn emptiest_partition(&self, id: &str, count: u32) -> u32 {
        let inside = |number: &u32| {
            let of = |instance: &&super::Instance| {
                instance.placed.as_ref().and_then(|placed| placed.partition) == Some(*number)
            };
            self.in_group(id).filter(of).count()
        };
        (1..=count).min_by_key(inside).unwrap_or(1)
    }
}
