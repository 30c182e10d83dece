//! What keeps consolidation from moving pods for next to nothing, and from moving them back.

use super::{
    Candidate, WhyKept,
    candidates::claim_of,
    command::{cheapest_of_all, price_of_all},
    cost::ONE,
};
use crate::{
    api::{DisruptionReason, labels},
    lifecycle::later,
    model::{ClusterSnapshot, Price},
    scheduling::PlannedNodeClaim,
};
use jiff::Timestamp;
use std::time::Duration;

/// For each pod's worth of disruption a replacement has to save so many thousandths of what it replaces: a machine with thirty
/// pods is not emptied for less than three per cent. Deleting always saves enough.
const PERMILLE_PER_DISRUPTION: i128 = 1;
/// A machine that came as a replacement is not replaced again for so long, whatever prices do meanwhile.
const SETTLED_AFTER: Duration = Duration::from_mins(15);

/// Why replacing `candidates` by `replacements` would be churn.
pub(super) fn objection(
    candidates: &[&Candidate],
    replacements: &[PlannedNodeClaim],
    snapshot: &ClusterSnapshot,
) -> Option<WhyKept> {
    if replacements.is_empty() {
        return None;
    }
    let fresh = candidates.iter().find_map(|own| fresh_until(own, snapshot));
    fresh.map(|until| WhyKept::JustReplaced { until }).or_else(|| too_little(candidates, replacements))
}

fn too_little(candidates: &[&Candidate], replacements: &[PlannedNodeClaim]) -> Option<WhyKept> {
    let saves = price_of_all(candidates.iter().copied()).saturating_sub(cheapest_of_all(replacements));
    let needed = needed(candidates);
    (saves < needed).then_some(WhyKept::SavesTooLittle { saves, needed })
}

/// What replacing `candidates` has to save.
fn needed(candidates: &[&Candidate]) -> Price {
    let cost: i128 = candidates.iter().map(|own| i128::from(own.cost.units())).sum();
    let price = i128::from(price_of_all(candidates.iter().copied()).nanos());
    let nanos = price * cost * PERMILLE_PER_DISRUPTION / (1_000 * i128::from(ONE));
    Price::from_nanos(i64::try_from(nanos).unwrap_or(i64::MAX))
}

/// What replacements of `candidates` may cost at most.
pub(super) fn most_worth(candidates: &[&Candidate]) -> Price {
    price_of_all(candidates.iter().copied()).saturating_sub(needed(candidates))
}

/// Until when the machine is not replaced, if it came as a replacement a moment ago.
fn fresh_until(candidate: &Candidate, snapshot: &ClusterSnapshot) -> Option<Timestamp> {
    let meta = &claim_of(candidate, snapshot)?.metadata;
    meta.annotations.as_ref().filter(|own| own.contains_key(labels::REPLACEMENT_FOR))?;
    let until = later(meta.creation_timestamp.as_ref()?.0, SETTLED_AFTER);
    (until > snapshot.now).then_some(until)
}

/// The replacement, which says what it is.
pub(super) fn marked(mut planned: PlannedNodeClaim) -> PlannedNodeClaim {
    let reason = DisruptionReason::Underutilized.as_str().to_owned();
    planned.annotations.insert(labels::REPLACEMENT_FOR.to_owned(), reason);
    planned
}
