//! Conditions of the custom resources: types, reasons, and how they are set (spec core 1.9).
//!
//! `Ready` is the root: it follows from its dependents and is never set directly.

use super::{Ec2NodeClass, NodeClaim, NodeOverlay, NodePool};
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};

/// The root condition of every kind.
pub const READY: &str = "Ready";

/// NodeClaim: the machine has been bought.
pub const LAUNCHED: &str = "Launched";
/// NodeClaim: its Node has joined.
pub const REGISTERED: &str = "Registered";
/// NodeClaim: its Node can run pods.
pub const INITIALIZED: &str = "Initialized";
/// NodeClaim: it is no longer what its pool or class asks for.
pub const DRIFTED: &str = "Drifted";
/// NodeClaim: pods have left it alone for long enough.
pub const CONSOLIDATABLE: &str = "Consolidatable";
/// NodeClaim: the Node has what was promised.
pub const CONSISTENT_STATE_FOUND: &str = "ConsistentStateFound";
/// NodeClaim: no pod is left that has to be waited for.
pub const DRAINED: &str = "Drained";
/// NodeClaim: no volume is left that has to be waited for.
pub const VOLUMES_DETACHED: &str = "VolumesDetached";
/// NodeClaim: the cloud has been told to end the machine.
pub const INSTANCE_TERMINATING: &str = "InstanceTerminating";
/// NodeClaim: a running disruption command has claimed it.
pub const DISRUPTION_REASON: &str = "DisruptionReason";

/// NodePool, NodeOverlay and EC2NodeClass: the spec is valid.
pub const VALIDATION_SUCCEEDED: &str = "ValidationSucceeded";
/// NodePool: its NodeClass exists and is ready.
pub const NODE_CLASS_READY: &str = "NodeClassReady";
/// NodePool: its machines become nodes.
pub const NODE_REGISTRATION_HEALTHY: &str = "NodeRegistrationHealthy";

/// EC2NodeClass: images were found.
pub const AMIS_READY: &str = "AMIsReady";
/// EC2NodeClass: subnets were found.
pub const SUBNETS_READY: &str = "SubnetsReady";
/// EC2NodeClass: security groups were found.
pub const SECURITY_GROUPS_READY: &str = "SecurityGroupsReady";
/// EC2NodeClass: the instance profile exists.
pub const INSTANCE_PROFILE_READY: &str = "InstanceProfileReady";
/// EC2NodeClass: the placement group, if any, was found.
pub const PLACEMENT_GROUP_READY: &str = "PlacementGroupReady";
/// EC2NodeClass: capacity reservations were looked up.
pub const CAPACITY_RESERVATIONS_READY: &str = "CapacityReservationsReady";

/// Status of a condition that holds.
pub const TRUE: &str = "True";
/// Status of a condition that does not hold.
pub const FALSE: &str = "False";
/// Status of a condition that is not known.
pub const UNKNOWN: &str = "Unknown";

/// Reason of conditions that nobody has looked at yet.
pub const AWAITING_RECONCILIATION: &str = "AwaitingReconciliation";
/// Reason of `Ready` being False.
pub const UNHEALTHY_DEPENDENTS: &str = "UnhealthyDependents";
/// Reason of `Ready` being Unknown.
pub const RECONCILING_DEPENDENTS: &str = "ReconcilingDependents";

const AWAITING_MESSAGE: &str = "object is awaiting reconciliation";

/// The condition of type `type_`.
pub fn find<'a>(conditions: &'a [Condition], type_: &str) -> Option<&'a Condition> {
    conditions.iter().find(|condition| condition.type_ == type_)
}

/// An object with conditions of which some make up `Ready`.
pub trait Conditioned: kube::Resource {
    /// The conditions that `Ready` follows from.
    fn dependents(&self) -> &'static [&'static str];

    /// The conditions; none before there is a status.
    fn conditions(&self) -> &[Condition];

    /// The conditions, to be changed only by this trait's methods. Makes the status if there is none.
    fn conditions_mut(&mut self) -> &mut Vec<Condition>;

    /// The condition of type `type_`.
    fn condition(&self, type_: &str) -> Option<&Condition> {
        find(self.conditions(), type_)
    }

    /// Whether the condition of type `type_` is True.
    fn is_true(&self, type_: &str) -> bool {
        self.has_status(type_, TRUE)
    }

    /// Whether the condition of type `type_` is False.
    fn is_false(&self, type_: &str) -> bool {
        self.has_status(type_, FALSE)
    }

    /// Whether the condition of type `type_` is Unknown or absent.
    fn is_unknown(&self, type_: &str) -> bool {
        self.condition(type_).is_none_or(|condition| condition.status == UNKNOWN)
    }

    /// Whether the condition of type `type_` is there with `status`.
    fn has_status(&self, type_: &str, status: &str) -> bool {
        self.condition(type_).is_some_and(|condition| condition.status == status)
    }

    /// Makes the root and its dependents, where absent, Unknown since the object's creation. Says whether something changed.
    fn initialize_conditions(&mut self, now: Timestamp) -> bool {
        let missing: Vec<&str> = std::iter::once(READY)
            .chain(self.dependents().iter().copied())
            .filter(|type_| self.condition(type_).is_none())
            .collect();
        let since = Time(created(self).unwrap_or_else(|| whole_seconds(now)));
        let observed_generation = self.meta().generation;
        let awaiting = missing.iter().map(|type_| Condition {
            type_: (*type_).to_owned(),
            status: UNKNOWN.to_owned(),
            reason: AWAITING_RECONCILIATION.to_owned(),
            message: AWAITING_MESSAGE.to_owned(),
            last_transition_time: since.clone(),
            observed_generation,
        });
        let awaiting: Vec<_> = awaiting.collect();
        self.conditions_mut().extend(awaiting);
        sort_by_time(self.conditions_mut());
        !missing.is_empty()
    }

    /// Sets a condition True with its type as reason and no message. Says whether something changed.
    fn set_true(&mut self, type_: &str, now: Timestamp) -> bool {
        self.set_condition(type_, TRUE, type_, "", now)
    }

    /// Sets a condition True with a reason and a message. Says whether something changed.
    fn set_true_with(&mut self, type_: &str, reason: &str, message: &str, now: Timestamp) -> bool {
        self.set_condition(type_, TRUE, reason, message, now)
    }

    /// Sets a condition False. Says whether something changed.
    fn set_false(&mut self, type_: &str, reason: &str, message: &str, now: Timestamp) -> bool {
        self.set_condition(type_, FALSE, reason, message, now)
    }

    /// Sets a condition Unknown. Says whether something changed.
    fn set_unknown(&mut self, type_: &str, reason: &str, message: &str, now: Timestamp) -> bool {
        self.set_condition(type_, UNKNOWN, reason, message, now)
    }

    /// Sets a condition; the transition time changes only with the status. Then computes the root anew.
    fn set_condition(&mut self, type_: &str, status: &str, reason: &str, message: &str, now: Timestamp) -> bool {
        let initialized = self.initialize_conditions(now);
        let changed = put(self, type_, status, reason, message, now);
        let root_changed = compute_root(self, now);
        initialized | changed | root_changed
    }

    /// Removes a condition that is not a dependent of the root. Says whether it was there.
    fn clear_condition(&mut self, type_: &str) -> bool {
        if self.condition(type_).is_none() || type_ == READY || self.dependents().contains(&type_) {
            return false;
        }
        let conditions = self.conditions_mut();
        conditions.retain(|condition| condition.type_ != type_);
        conditions.sort_by(|a, b| a.type_.cmp(&b.type_));
        true
    }
}

fn created<T: kube::Resource + ?Sized>(object: &T) -> Option<Timestamp> {
    object.meta().creation_timestamp.as_ref().map(|time| time.0)
}

/// The API keeps times in whole seconds; what is written must be what is read back.
fn whole_seconds(time: Timestamp) -> Timestamp {
    Timestamp::from_second(time.as_second()).expect("whole seconds of a valid time are a valid time")
}

fn put<T: Conditioned + ?Sized>(
    object: &mut T,
    type_: &str,
    status: &str,
    reason: &str,
    message: &str,
    now: Timestamp,
) -> bool {
    let generation = object.meta().generation;
    let deleting = object.meta().deletion_timestamp.is_some();
    let conditions = object.conditions_mut();
    let before = conditions.clone();
    if deleting {
        conditions.iter_mut().for_each(|condition| condition.observed_generation = generation);
    }
    let previous = find(&before, type_).filter(|condition| condition.status == status);
    let last_transition_time =
        previous.map_or_else(|| Time(whole_seconds(now)), |condition| condition.last_transition_time.clone());
    conditions.retain(|condition| condition.type_ != type_);
    conditions.push(Condition {
        type_: type_.to_owned(),
        status: status.to_owned(),
        reason: reason.to_owned(),
        message: message.to_owned(),
        last_transition_time,
        observed_generation: generation,
    });
    sort_by_time(conditions);
    *conditions != before
}

/// Sets a condition of a kind that has no root: it keeps its place, and its time while its status stays. What it says is its
/// status, its reason and its message.
pub fn set_plain(
    conditions: &mut Vec<Condition>,
    type_: &str,
    (status, reason, message): (&str, &str, &str),
    observed_generation: Option<i64>,
    now: Timestamp,
) {
    let place = conditions.iter().position(|own| own.type_ == type_);
    let previous = place.map(|at| &conditions[at]).filter(|own| own.status == status);
    let condition = Condition {
        type_: type_.to_owned(),
        status: status.to_owned(),
        reason: reason.to_owned(),
        message: message.to_owned(),
        last_transition_time: previous.map_or_else(|| Time(whole_seconds(now)), |own| own.last_transition_time.clone()),
        observed_generation,
    };
    match place {
        Some(at) => conditions[at] = condition,
        None => conditions.push(condition),
    }
}

/// By transition time, the root last; ties by type, so that the order is total.
fn sort_by_time(conditions: &mut [Condition]) {
    conditions.sort_by(|a, b| {
        let key = |condition: &Condition| (condition.type_ == READY, condition.last_transition_time.0);
        key(a).cmp(&key(b)).then_with(|| a.type_.cmp(&b.type_))
    });
}

fn compute_root<T: Conditioned + ?Sized>(object: &mut T, now: Timestamp) -> bool {
    let generation = object.meta().generation;
    let current = |condition: &Condition| condition.observed_generation == generation;
    let mut unhealthy: Vec<&Condition> = object
        .dependents()
        .iter()
        .filter_map(|type_| object.condition(type_))
        .filter(|condition| condition.status != TRUE || !current(condition))
        .collect();
    if unhealthy.is_empty() {
        return put(object, READY, TRUE, READY, "", now);
    }
    unhealthy
        .sort_by(|a, b| b.last_transition_time.0.cmp(&a.last_transition_time.0).then_with(|| a.type_.cmp(&b.type_)));
    let message: Vec<String> =
        unhealthy.iter().map(|condition| format!("{}={}", condition.type_, condition.status)).collect();
    let message = message.join(", ");
    if unhealthy.iter().any(|condition| condition.status == FALSE && current(condition)) {
        put(object, READY, FALSE, UNHEALTHY_DEPENDENTS, &message, now)
    } else {
        put(object, READY, UNKNOWN, RECONCILING_DEPENDENTS, &message, now)
    }
}

macro_rules! conditioned {
    ($type:ty, $dependents:expr) => {
        impl Conditioned for $type {
            fn dependents(&self) -> &'static [&'static str] {
                &$dependents
            }

            fn conditions(&self) -> &[Condition] {
                self.status.as_ref().map_or(&[], |status| &status.conditions)
            }

            fn conditions_mut(&mut self) -> &mut Vec<Condition> {
                &mut self.status.get_or_insert_default().conditions
            }
        }
    };
}

conditioned!(NodePool, [VALIDATION_SUCCEEDED, NODE_CLASS_READY]);
conditioned!(NodeOverlay, [VALIDATION_SUCCEEDED]);
conditioned!(NodeClaim, [LAUNCHED, REGISTERED, INITIALIZED]);
conditioned!(
    Ec2NodeClass,
    [
        AMIS_READY,
        SUBNETS_READY,
        SECURITY_GROUPS_READY,
        INSTANCE_PROFILE_READY,
        VALIDATION_SUCCEEDED,
        PLACEMENT_GROUP_READY,
        CAPACITY_RESERVATIONS_READY,
    ]
);

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_780_000_000 + second).unwrap()
    }

    fn claim() -> NodeClaim {
        let mut claim = NodeClaim::default();
        claim.metadata.creation_timestamp = Some(Time(at(0)));
        claim.metadata.generation = Some(1);
        claim
    }

    fn ready(claim: &NodeClaim) -> (&str, &str, &str) {
        let ready = claim.condition(READY).unwrap();
        (&ready.status, &ready.reason, &ready.message)
    }

    #[test]
    fn first_touch_makes_root_and_dependents_unknown_since_creation() {
        let mut claim = claim();
        assert!(claim.initialize_conditions(at(9)));
        let summary: Vec<_> = claim
            .conditions()
            .iter()
            .map(|c| (c.type_.as_str(), c.status.as_str(), c.last_transition_time.0))
            .collect();
        let unknown = |type_| (type_, UNKNOWN, at(0));
        assert_eq!(summary, [unknown(INITIALIZED), unknown(LAUNCHED), unknown(REGISTERED), unknown(READY)]);
        assert_eq!(claim.condition(LAUNCHED).unwrap().reason, AWAITING_RECONCILIATION);
        assert!(!claim.initialize_conditions(at(10)));
    }

    #[test]
    fn the_transition_time_changes_only_with_the_status() {
        let mut claim = claim();
        assert!(claim.set_unknown(LAUNCHED, "LaunchFailed", "no", at(5)));
        assert_eq!(claim.condition(LAUNCHED).unwrap().last_transition_time.0, at(0));
        assert!(claim.set_true(LAUNCHED, at(6)));
        assert_eq!(claim.condition(LAUNCHED).unwrap().last_transition_time.0, at(6));
        assert!(!claim.set_true(LAUNCHED, at(7)));
        assert_eq!(claim.condition(LAUNCHED).unwrap().last_transition_time.0, at(6));
    }

    #[test]
    fn ready_follows_from_its_dependents() {
        let mut claim = claim();
        claim.set_true(LAUNCHED, at(1));
        assert_eq!(ready(&claim), (UNKNOWN, RECONCILING_DEPENDENTS, "Initialized=Unknown, Registered=Unknown"));
        claim.set_false(REGISTERED, "MultipleNodesFound", "x", at(2));
        assert_eq!(ready(&claim), (FALSE, UNHEALTHY_DEPENDENTS, "Registered=False, Initialized=Unknown"));
        claim.set_true(REGISTERED, at(3));
        claim.set_true(INITIALIZED, at(4));
        assert_eq!(ready(&claim), (TRUE, READY, ""));
        claim.set_true_with(DRIFTED, "NodePoolDrifted", "NodePoolDrifted", at(5));
        assert_eq!(ready(&claim).0, TRUE);
    }

    #[test]
    fn a_dependent_of_an_older_generation_does_not_count() {
        let mut claim = claim();
        for type_ in [LAUNCHED, REGISTERED, INITIALIZED] {
            claim.set_true(type_, at(1));
        }
        claim.metadata.generation = Some(2);
        claim.set_true(LAUNCHED, at(2));
        assert_eq!(ready(&claim), (UNKNOWN, RECONCILING_DEPENDENTS, "Initialized=True, Registered=True"));
    }

    #[test]
    fn only_independent_conditions_can_be_cleared() {
        let mut claim = claim();
        claim.set_true(CONSOLIDATABLE, at(1));
        assert!(claim.clear_condition(CONSOLIDATABLE));
        assert!(!claim.clear_condition(CONSOLIDATABLE));
        assert!(!claim.clear_condition(LAUNCHED));
        assert!(claim.condition(LAUNCHED).is_some());
    }
}
