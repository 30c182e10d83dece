//! What a claim says of itself is true.

use super::{Violation, machines::offerings};
use crate::{
    api::{NodePool, labels},
    model::{MinValuesPolicy, Price, Requirement},
    scheduling::{PlannedNodeClaim, Results, SchedulingInput},
};
use std::collections::BTreeSet;

pub(super) fn check(input: &SchedulingInput<'_>, results: &Results, found: &mut Vec<Violation>) {
    for (index, claim) in results.planned.iter().enumerate() {
        let mut wrong =
            |detail: String| found.push(Violation::new("claims", format!("{}#{index}", claim.node_pool), detail));
        let Some(pool) = input.prepared.snapshot().node_pools.get(&claim.node_pool) else {
            wrong("belongs to no pool".to_owned());
            continue;
        };
        if pool.spec.is_static() {
            wrong("belongs to a static pool".to_owned());
        }
        if claim.pods.is_empty() {
            wrong("has no pods".to_owned());
        }
        types(input, claim, &mut wrong);
        price(claim, &mut wrong);
        template(pool, claim, &mut wrong);
        if input.prepared.snapshot().settings.min_values_policy == MinValuesPolicy::Strict {
            min_values(pool, claim, &mut wrong);
        }
    }
}

fn cheapest(claim: &PlannedNodeClaim, kind: &crate::model::InstanceType) -> Option<Price> {
    offerings(claim, kind).into_iter().map(|offering| offering.price).min()
}

fn types(input: &SchedulingInput<'_>, claim: &PlannedNodeClaim, wrong: &mut impl FnMut(String)) {
    let most = input.prepared.snapshot().settings.max_instance_types;
    if claim.instance_types.is_empty() || claim.instance_types.len() > most {
        wrong(format!("names {} instance types, 1 to {most} are allowed", claim.instance_types.len()));
    }
    let names: BTreeSet<&str> = claim.instance_types.iter().map(|kind| kind.name.as_str()).collect();
    let said: BTreeSet<&str> =
        claim.requirements.get(labels::INSTANCE_TYPE).into_iter().flat_map(Requirement::values).collect();
    if names.len() != claim.instance_types.len() || names != said {
        wrong("does not require just the instance types that it names".to_owned());
    }
    let mut before = Price::ZERO;
    for kind in claim.instance_types.iter() {
        if !input.prepared.catalog().of(&claim.node_pool).iter().any(|own| own.name == kind.name) {
            wrong(format!("names `{}`, which its pool is not offered", kind.name));
        }
        match cheapest(claim, kind) {
            None => wrong(format!("names `{}`, which cannot be had as the claim wants it", kind.name)),
            Some(price) if price < before => wrong(format!("names `{}` after dearer types", kind.name)),
            Some(price) => before = price,
        }
    }
}

fn price(claim: &PlannedNodeClaim, wrong: &mut impl FnMut(String)) {
    let least = claim.instance_types.iter().filter_map(|kind| cheapest(claim, kind)).min();
    if least != Some(claim.cheapest_price) {
        wrong(format!("says that it costs {} at least, it is {least:?}", claim.cheapest_price));
    }
    let launch = &claim.launch;
    let kind = claim.instance_types.iter().find(|kind| kind.name == launch.instance_type);
    let offered = kind.is_some_and(|kind| {
        offerings(claim, kind).into_iter().any(|offering| {
            offering.zone == launch.zone
                && offering.capacity_type == launch.capacity_type
                && offering.price == launch.price
                && offering.reservation_id == launch.reservation_id
        })
    });
    if !offered {
        wrong(format!(
            "would launch `{}` in {} as {}, which is not offered",
            launch.instance_type, launch.zone, launch.capacity_type
        ));
    }
}

/// The claim allows nothing that its pool's template excludes.
fn template(pool: &NodePool, claim: &PlannedNodeClaim, wrong: &mut impl FnMut(String)) {
    for asked in &pool.spec.template.spec.requirements {
        let asked = Requirement::from_spec(asked);
        let kept = claim.requirements.get(asked.key()).is_some_and(|own| asked.covers(own));
        if !kept {
            wrong(format!("does not keep its pool's requirement `{asked}`"));
        }
    }
}

fn min_values(pool: &NodePool, claim: &PlannedNodeClaim, wrong: &mut impl FnMut(String)) {
    for asked in pool.spec.template.spec.requirements.iter().filter(|asked| asked.min_values.is_some()) {
        let asked = Requirement::from_spec(asked);
        let values: BTreeSet<&str> = claim
            .instance_types
            .iter()
            .filter_map(|kind| kind.requirements.get(asked.key()))
            .flat_map(Requirement::values)
            .collect();
        if (values.len() as u64) < u64::from(asked.min_values().unwrap_or(0)) {
            wrong(format!("leaves {} values of `{}`, fewer than its pool asks for", values.len(), asked.key()));
        }
    }
}
