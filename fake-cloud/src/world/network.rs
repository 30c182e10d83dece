//! The account's network: one VPC, a subnet in each zone, the cluster's security group.

use super::{CloudError, ResourceKind, Tags, Zone};
use sawhorse_ambient::Seed;
use std::{collections::BTreeSet, net::Ipv4Addr};

/// Addresses the vendor keeps in every subnet.
const RESERVED_ADDRESSES: u32 = 5;
/// The first of them that instances get; `.0` to `.3` are the network, router, DNS and future use.
const FIRST_ADDRESS: u32 = 4;
/// The VPC is 10.0.0.0/12: room for 128 subnets of this size.
const SUBNET_PREFIX: u32 = 19;
const VPC_BASE: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 0);
const VPC_PREFIX: u32 = 12;
/// Addresses of a prefix delegated to an interface (a /28).
pub(crate) const ADDRESSES_PER_PREFIX: u32 = 16;

/// The tag by which clusters find their subnets and groups.
pub(crate) const DISCOVERY_TAG: &str = "karpenter.sh/discovery";

/// The network of the account.
#[derive(Clone, Debug)]
pub struct Vpc {
    /// E.g. `vpc-0123456789abcdef0`.
    pub id: String,
    /// E.g. `10.0.0.0/12`.
    pub cidr: String,
    /// Its tags.
    pub tags: Tags,
}

/// A subnet: a zone's addresses.
#[derive(Clone, Debug)]
pub struct Subnet {
    /// E.g. `subnet-0123456789abcdef0`.
    pub id: String,
    /// The VPC's id.
    pub vpc_id: String,
    /// Its zone.
    pub zone: Zone,
    /// Its tags.
    pub tags: Tags,
    /// Whether it is the zone's subnet for requests that name no subnet.
    pub default_for_zone: bool,
    base: u32,
    /// Addresses instances can have at all.
    size: u32,
    /// Offsets in use.
    used: BTreeSet<u32>,
    /// Addresses in use without an offset of their own: those of prefixes.
    delegated: u32,
    next: u32,
}

/// A security group.
#[derive(Clone, Debug)]
pub struct SecurityGroup {
    /// E.g. `sg-0123456789abcdef0`.
    pub id: String,
    /// Its name, unique in the VPC.
    pub name: String,
    /// What it is for.
    pub description: String,
    /// The VPC's id.
    pub vpc_id: String,
    /// Its tags.
    pub tags: Tags,
}

/// The network and everything in it.
#[derive(Clone, Debug)]
pub(crate) struct Network {
    pub(crate) vpc: Vpc,
    pub(crate) subnets: Vec<Subnet>,
    pub(crate) security_groups: Vec<SecurityGroup>,
}

impl Network {
    /// The network of a default account with a cluster in it.
    pub(crate) fn new(seed: Seed, zones: &[Zone], cluster: &str, addresses: Option<u32>) -> Self {
        let id = |prefix: &str, name: &str| format!("{prefix}-0{}", seed.stream(&["network", prefix, name]).hex(16));
        let vpc = Vpc { id: id("vpc", cluster), cidr: format!("{VPC_BASE}/{VPC_PREFIX}"), tags: named(cluster) };
        let subnets = zones
            .iter()
            .zip(0..)
            .map(|(zone, place)| Subnet::new(id("subnet", zone.name), &vpc.id, zone, place, cluster, addresses))
            .collect();
        let group = |name: &str, description: &str, tags| SecurityGroup {
            id: id("sg", name),
            name: name.to_owned(),
            description: description.to_owned(),
            vpc_id: vpc.id.clone(),
            tags,
        };
        let mut cluster_tags = named(cluster);
        cluster_tags.insert(DISCOVERY_TAG.to_owned(), cluster.to_owned());
        cluster_tags.insert(format!("kubernetes.io/cluster/{cluster}"), "owned".to_owned());
        let security_groups = vec![
            group("default", "default VPC security group", Tags::new()),
            group(&format!("{cluster}-node"), "nodes of the cluster", cluster_tags),
        ];
        Self { vpc, subnets, security_groups }
    }

    pub(crate) fn subnet(&self, id: &str) -> Result<&Subnet, CloudError> {
        self.subnets.iter().find(|subnet| subnet.id == id).ok_or_else(|| unknown_subnet(id))
    }

    pub(crate) fn subnet_mut(&mut self, id: &str) -> Result<&mut Subnet, CloudError> {
        self.subnets.iter_mut().find(|subnet| subnet.id == id).ok_or_else(|| unknown_subnet(id))
    }

    pub(crate) fn default_subnet(&self, zone: &str) -> Option<&Subnet> {
        self.subnets.iter().find(|subnet| subnet.zone.name == zone && subnet.default_for_zone)
    }

    pub(crate) fn security_group(&self, id: &str) -> Option<&SecurityGroup> {
        self.security_groups.iter().find(|group| group.id == id)
    }
}

fn unknown_subnet(id: &str) -> CloudError {
    CloudError::NotFound { kind: ResourceKind::Subnet, id: id.to_owned() }
}

fn named(name: &str) -> Tags {
    Tags::from([("Name".to_owned(), name.to_owned())])
}

impl Subnet {
    fn new(id: String, vpc_id: &str, zone: &Zone, place: u32, cluster: &str, addresses: Option<u32>) -> Self {
        let whole = 1 << (32 - SUBNET_PREFIX);
        let mut tags = named(&format!("{cluster}-{}", zone.name));
        tags.insert(DISCOVERY_TAG.to_owned(), cluster.to_owned());
        Self {
            id,
            vpc_id: vpc_id.to_owned(),
            zone: zone.clone(),
            tags,
            default_for_zone: true,
            base: u32::from(VPC_BASE) + place * whole,
            size: addresses.unwrap_or(whole).min(whole - RESERVED_ADDRESSES),
            used: BTreeSet::new(),
            delegated: 0,
            next: FIRST_ADDRESS,
        }
    }

    /// E.g. `10.0.32.0/19`.
    pub fn cidr(&self) -> String {
        format!("{}/{SUBNET_PREFIX}", Ipv4Addr::from(self.base))
    }

    /// Addresses that are free now.
    pub fn free_addresses(&self) -> u32 {
        self.size.saturating_sub(self.used.len() as u32 + self.delegated)
    }

    /// Takes an address and `delegated` more for prefixes. Addresses go round, so that one is not at once given again.
    pub(crate) fn take(&mut self, delegated: u32) -> Option<Ipv4Addr> {
        if self.free_addresses() <= delegated {
            return None;
        }
        let last = FIRST_ADDRESS + self.size;
        let offset = (self.next..last).chain(FIRST_ADDRESS..self.next).find(|offset| !self.used.contains(offset))?;
        self.used.insert(offset);
        self.delegated += delegated;
        self.next = if offset + 1 < last { offset + 1 } else { FIRST_ADDRESS };
        Some(Ipv4Addr::from(self.base + offset))
    }

    /// Gives back what [`Subnet::take`] gave.
    pub(crate) fn give_back(&mut self, address: Ipv4Addr, delegated: u32) {
        if self.used.remove(&u32::from(address).wrapping_sub(self.base)) {
            self.delegated = self.delegated.saturating_sub(delegated);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Network;
    use crate::world::Catalogue;
    use sawhorse_ambient::Seed;

    fn network(addresses: Option<u32>) -> Network {
        let zones: Vec<_> = Catalogue::embedded().zones_of("us-west-2").cloned().collect();
        Network::new(Seed(1), &zones, "c", addresses)
    }

    #[test]
    fn a_subnet_runs_out_and_recovers() {
        let mut network = network(Some(3));
        let subnet = &mut network.subnets[0];
        let first = subnet.take(0).unwrap();
        assert_eq!(first.to_string(), "10.0.0.4");
        assert!(subnet.take(2).is_none());
        assert!(subnet.take(1).is_some());
        assert_eq!(subnet.free_addresses(), 0);
        assert!(subnet.take(0).is_none());
        subnet.give_back(first, 0);
        assert_eq!(subnet.free_addresses(), 1);
    }

    #[test]
    fn addresses_go_round() {
        let mut network = network(None);
        let subnet = &mut network.subnets[1];
        assert_eq!(subnet.cidr(), "10.0.32.0/19");
        let first = subnet.take(0).unwrap();
        subnet.give_back(first, 0);
        assert_eq!(subnet.take(0).unwrap().to_string(), "10.0.32.5");
        assert_eq!(subnet.free_addresses(), 8186);
    }
}
