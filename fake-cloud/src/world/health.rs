//! How machines do: failed checks, and what is planned for them; and the scripts that reach many machines at once.

use super::{
    CloudError, EventKind, Instance, InstanceState, Market, ScheduledCode, World, matches_pattern,
    query::unknown_instance,
};
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

/// Which check of a machine fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Check {
    /// The machine's own.
    Instance,
    /// That of what it runs on.
    System,
}

/// A check that fails, and since when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Impairment {
    /// Which.
    pub check: Check,
    /// Since when.
    pub since: Timestamp,
}

/// What is planned for a machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Scheduled {
    /// What.
    pub code: ScheduledCode,
    /// Not before.
    pub not_before: Timestamp,
}

/// Which machines a script reaches. Everything that is given has to fit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Selection {
    /// A type's name, with wildcards.
    pub instance_type: String,
    /// A zone's name, with wildcards.
    pub zone: String,
    /// The market; both if not given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub capacity_type: Option<Market>,
    /// Percent of those that fit, drawn from the seed.
    pub percent: u8,
}

impl Default for Selection {
    fn default() -> Self {
        Self { instance_type: "*".to_owned(), zone: "*".to_owned(), capacity_type: None, percent: 100 }
    }
}

impl World {
    /// The living machines that a script reaches, by id: so many percent of those that fit, rounded up.
    pub fn selected(&self, selection: &Selection) -> Vec<String> {
        let alive = |instance: &&Instance| matches!(instance.state, InstanceState::Pending | InstanceState::Running);
        let fits = |instance: &&Instance| {
            matches_pattern(&selection.instance_type, instance.machine_type)
                && matches_pattern(&selection.zone, instance.zone.name)
                && selection.capacity_type.is_none_or(|market| market == instance.market)
        };
        let fitting = self.instances().filter(alive).filter(fits);
        let version = self.version.to_string();
        let mut drawn: Vec<(u64, &str)> = fitting
            .map(|instance| (self.seed.stream(&["selection", &version, &instance.id]).next_u64(), &*instance.id))
            .collect();
        drawn.sort_unstable();
        drawn.truncate((drawn.len() * usize::from(selection.percent.min(100))).div_ceil(100));
        let mut ids: Vec<String> = drawn.into_iter().map(|(_, id)| id.to_owned()).collect();
        ids.sort();
        ids
    }

    /// Says that a spot machine is at risk of being taken back.
    ///
    /// # Errors
    /// It does not exist or is no spot machine.
    pub fn recommend_rebalance(&mut self, id: &str) -> Result<(), CloudError> {
        if self.instance(id)?.market != Market::Spot {
            let reason = format!("instance `{id}` is on-demand: rebalancing is recommended for spot instances only");
            return Err(CloudError::InvalidCombination { reason });
        }
        self.tell_of_instance(id, EventKind::Rebalance);
        Ok(())
    }

    /// Lets a check of a machine fail from now on; `None` makes it well.
    ///
    /// # Errors
    /// It does not exist.
    pub fn impair(&mut self, id: &str, check: Option<Check>) -> Result<(), CloudError> {
        let since = self.now;
        let instance = self.instances.get_mut(id).ok_or_else(|| unknown_instance(id))?;
        instance.impairment = check.map(|check| Impairment { check, since });
        self.changed();
        Ok(())
    }

    /// Plans something for a machine, and says so.
    ///
    /// # Errors
    /// It does not exist.
    pub fn schedule(&mut self, id: &str, code: ScheduledCode, after: SignedDuration) -> Result<Timestamp, CloudError> {
        let not_before = self.now + after;
        let instance = self.instances.get_mut(id).ok_or_else(|| unknown_instance(id))?;
        instance.scheduled = Some(Scheduled { code, not_before });
        self.tell_of_instance(id, EventKind::ScheduledChange(code));
        self.changed();
        Ok(not_before)
    }
}
