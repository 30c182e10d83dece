//! Fleets that were asked for, as long as somebody may ask what became of them.

use super::{CloudError, Fleet, FleetRequest, Market, ResourceKind, StateChange, Tags, World, tags};
use jiff::Timestamp;
use std::collections::{BTreeMap, VecDeque};

/// Fleets kept; older ones are forgotten.
const MAX_FLEETS: usize = 2_000;

/// A fleet that was asked for.
#[derive(Clone, Debug)]
pub struct FleetRecord {
    /// What it brought.
    pub fleet: Fleet,
    /// When.
    pub created: Timestamp,
    /// How many machines were wanted.
    pub target: u32,
    /// How they were to be bought.
    pub market: Market,
    /// Whether it was deleted.
    pub deleted: bool,
    /// Its tags.
    pub tags: Tags,
}

/// The fleets of a region.
#[derive(Clone, Debug, Default)]
pub(crate) struct Fleets {
    by_id: BTreeMap<String, FleetRecord>,
    order: VecDeque<String>,
}

impl World {
    pub(crate) fn record_fleet(&mut self, fleet: &Fleet, request: &FleetRequest) {
        let record = FleetRecord {
            fleet: fleet.clone(),
            created: self.now,
            target: request.target,
            market: request.market,
            deleted: false,
            tags: tags::tags_for(&request.tags, "fleet"),
        };
        if self.fleets.order.len() == MAX_FLEETS
            && let Some(oldest) = self.fleets.order.pop_front()
        {
            self.fleets.by_id.remove(&oldest);
        }
        self.fleets.order.push_back(fleet.id.clone());
        self.fleets.by_id.insert(fleet.id.clone(), record);
    }

    /// The fleets that are remembered, by id.
    pub fn fleets(&self) -> impl Iterator<Item = &FleetRecord> {
        self.fleets.by_id.values()
    }

    /// The fleet of that id.
    ///
    /// # Errors
    /// It does not exist, or not any more.
    pub fn fleet(&self, id: &str) -> Result<&FleetRecord, CloudError> {
        let unknown = || CloudError::NotFound { kind: ResourceKind::Fleet, id: id.to_owned() };
        self.fleets.by_id.get(id).ok_or_else(unknown)
    }

    /// Ends a fleet with its machines; what that changed.
    ///
    /// # Errors
    /// It does not exist.
    pub fn delete_fleet(&mut self, id: &str) -> Result<Vec<StateChange>, CloudError> {
        let ids: Vec<String> = self.fleet(id)?.fleet.instance_ids().map(str::to_owned).collect();
        self.fleets.by_id.entry(id.to_owned()).and_modify(|record| record.deleted = true);
        let known: Vec<String> = ids.into_iter().filter(|id| self.instance(id).is_ok()).collect();
        self.changed();
        self.terminate(&known)
    }

    pub(crate) fn fleet_tags_mut(&mut self, id: &str) -> Option<&mut Tags> {
        self.fleets.by_id.get_mut(id).map(|record| &mut record.tags)
    }
}
