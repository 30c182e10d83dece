//! Subnets and security groups of a NodeClass, and how many addresses are left for launches (spec aws 1.3, 3.3).

use super::{
    call::{Calls, all_pages},
    sdk::Clients,
    tags::{filter, filters},
};
use crate::cloud::CloudError;
use aws_sdk_ec2::types::Filter;
use sawhorse_core::api::{SecurityGroup, SecurityGroupSelectorTerm, SubnetSelectorTerm};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Mutex, PoisonError},
};

/// Subnets and groups per page, as the reference asks for.
const PER_PAGE: i32 = 500;

/// A subnet as EC2 describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct SubnetFacts {
    pub(super) id: String,
    pub(super) zone: String,
    pub(super) zone_id: Option<String>,
    pub(super) free_addresses: i64,
}

/// Reads the subnets that `terms` select: those with most free addresses first, then by id.
pub(super) async fn read_subnets(
    calls: &Calls,
    clients: &Clients,
    terms: &[SubnetSelectorTerm],
) -> Result<Vec<SubnetFacts>, CloudError> {
    let mut found = BTreeMap::new();
    for filters in subnet_queries(terms) {
        for subnet in describe_subnets(calls, clients, &filters).await? {
            found.insert(subnet.id.clone(), subnet);
        }
    }
    let mut subnets: Vec<_> = found.into_values().collect();
    subnets.sort_by(|a, b| b.free_addresses.cmp(&a.free_addresses).then_with(|| a.id.cmp(&b.id)));
    Ok(subnets)
}

/// The filters to ask with: one query for all ids, one for each other term. An id wins over tags beside it.
fn subnet_queries(terms: &[SubnetSelectorTerm]) -> Vec<Vec<Filter>> {
    let ids: BTreeSet<_> = terms.iter().filter_map(|term| term.id.as_ref()).collect();
    let by_tags = terms.iter().filter(|term| term.id.is_none()).map(|term| filters(&term.tags));
    let by_id = (!ids.is_empty()).then(|| vec![filter("subnet-id", ids)]);
    by_id.into_iter().chain(by_tags).filter(|filters| !filters.is_empty()).collect()
}

async fn describe_subnets(
    calls: &Calls,
    clients: &Clients,
    filters: &[Filter],
) -> Result<Vec<SubnetFacts>, CloudError> {
    all_pages("DescribeSubnets", |token| async move {
        let request = || {
            let request = clients.ec2.describe_subnets().set_filters(Some(filters.to_vec()));
            request.max_results(PER_PAGE).set_next_token(token.clone()).send()
        };
        let page = calls.send("DescribeSubnets", request).await?;
        Ok((page.subnets().iter().filter_map(subnet_facts).collect(), page.next_token))
    })
    .await
}

fn subnet_facts(subnet: &aws_sdk_ec2::types::Subnet) -> Option<SubnetFacts> {
    Some(SubnetFacts {
        id: subnet.subnet_id()?.to_owned(),
        zone: subnet.availability_zone()?.to_owned(),
        zone_id: subnet.availability_zone_id().map(str::to_owned),
        free_addresses: subnet.available_ip_address_count().unwrap_or_default().into(),
    })
}

/// Reads the security groups that `terms` select, by id.
pub(super) async fn read_security_groups(
    calls: &Calls,
    clients: &Clients,
    terms: &[SecurityGroupSelectorTerm],
) -> Result<Vec<SecurityGroup>, CloudError> {
    let mut found = BTreeMap::new();
    for filters in group_queries(terms) {
        for group in describe_security_groups(calls, clients, &filters).await? {
            found.insert(group.id.clone(), group);
        }
    }
    Ok(found.into_values().collect())
}

fn group_queries(terms: &[SecurityGroupSelectorTerm]) -> Vec<Vec<Filter>> {
    let ids: BTreeSet<_> = terms.iter().filter_map(|term| term.id.as_ref()).collect();
    let others = || terms.iter().filter(|term| term.id.is_none());
    let names: BTreeSet<_> = others().filter_map(|term| term.name.as_ref()).collect();
    let by_tags = others().filter(|term| term.name.is_none()).map(|term| filters(&term.tags));
    let by_id = (!ids.is_empty()).then(|| vec![filter("group-id", ids)]);
    let by_name = (!names.is_empty()).then(|| vec![filter("group-name", names)]);
    by_id.into_iter().chain(by_name).chain(by_tags).filter(|filters| !filters.is_empty()).collect()
}

async fn describe_security_groups(
    calls: &Calls,
    clients: &Clients,
    filters: &[Filter],
) -> Result<Vec<SecurityGroup>, CloudError> {
    all_pages("DescribeSecurityGroups", |token| async move {
        let request = || {
            let request = clients.ec2.describe_security_groups().set_filters(Some(filters.to_vec()));
            request.max_results(PER_PAGE).set_next_token(token.clone()).send()
        };
        let page = calls.send("DescribeSecurityGroups", request).await?;
        let group = |group: &aws_sdk_ec2::types::SecurityGroup| {
            Some(SecurityGroup { id: group.group_id()?.to_owned(), name: group.group_name().map(str::to_owned) })
        };
        Ok((page.security_groups().iter().filter_map(group).collect(), page.next_token))
    })
    .await
}

/// Addresses that launches have taken since the subnets were last described.
#[derive(Debug, Default)]
pub(super) struct AddressLedger(Mutex<BTreeMap<String, i64>>);

impl AddressLedger {
    /// The subnet of each zone with most addresses left, ties by id; those in `full` are left out.
    pub(super) fn best_by_zone(
        &self,
        subnets: &[SubnetFacts],
        full: &BTreeSet<String>,
    ) -> BTreeMap<String, SubnetFacts> {
        let taken = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let left = |subnet: &SubnetFacts| subnet.free_addresses - taken.get(&subnet.id).copied().unwrap_or_default();
        let mut best: BTreeMap<String, SubnetFacts> = BTreeMap::new();
        for subnet in subnets.iter().filter(|subnet| !full.contains(&subnet.id)) {
            let better = best
                .get(&subnet.zone)
                .is_none_or(|known| left(subnet).cmp(&left(known)).then_with(|| known.id.cmp(&subnet.id)).is_gt());
            if better {
                best.insert(subnet.zone.clone(), subnet.clone());
            }
        }
        best
    }

    /// A machine that takes `addresses` was launched into `subnet`.
    pub(super) fn take(&self, subnet: &str, addresses: i64) {
        let mut taken = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *taken.entry(subnet.to_owned()).or_default() += addresses;
    }

    /// `subnets` have been described anew: what was launched into them before is part of their free addresses.
    pub(super) fn settle(&self, subnets: &[SubnetFacts]) {
        let mut taken = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for subnet in subnets {
            taken.remove(&subnet.id);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cloud::ec2::fixtures::spec;

    fn subnet(id: &str, zone: &str, free_addresses: i64) -> SubnetFacts {
        SubnetFacts { id: id.into(), zone: zone.into(), zone_id: None, free_addresses }
    }

    #[test]
    fn ids_are_asked_for_together_and_win_over_tags() {
        let spec =
            spec("{subnetSelectorTerms: [{id: subnet-2}, {tags: {a: '*', b: c}}, {id: subnet-1, tags: {d: e}}]}");
        assert_eq!(
            subnet_queries(&spec.subnet_selector_terms),
            [
                vec![filter("subnet-id", ["subnet-1", "subnet-2"])],
                vec![filter("tag-key", ["a"]), filter("tag:b", ["c"])]
            ]
        );
    }

    #[test]
    fn groups_are_found_by_name_too() {
        let spec = spec("{securityGroupSelectorTerms: [{name: nodes}, {id: sg-1}, {tags: {a: b}}]}");
        assert_eq!(
            group_queries(&spec.security_group_selector_terms),
            [vec![filter("group-id", ["sg-1"])], vec![filter("group-name", ["nodes"])], vec![filter("tag:a", ["b"])]]
        );
    }

    #[test]
    fn launches_count_until_the_subnets_are_described_again() {
        let ledger = AddressLedger::default();
        let subnets = [subnet("a1", "a", 100), subnet("a2", "a", 90), subnet("b1", "b", 5)];
        let best = |full: &[&str]| {
            let full = full.iter().map(ToString::to_string).collect();
            ledger.best_by_zone(&subnets, &full).into_values().map(|subnet| subnet.id).collect::<Vec<_>>()
        };
        assert_eq!(best(&[]), ["a1", "b1"]);
        ledger.take("a1", 11);
        assert_eq!(best(&[]), ["a2", "b1"]);
        assert_eq!(best(&["a2", "b1"]), ["a1"]);
        ledger.settle(&subnets);
        assert_eq!(best(&[]), ["a1", "b1"]);
    }
}
