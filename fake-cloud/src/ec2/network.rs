//! Where machines can be: regions, zones, VPCs, subnets, security groups.

use super::{Answer, Call, error::Refusal, filter, page::Page, query::Params, xml::Xml};
use crate::world::{CloudError, Filterable, ResourceKind, SecurityGroup, Subnet, Tags, Vpc, Zone, passes};
use std::borrow::Cow;

/// `DescribeRegions`: the regions of the catalogue.
pub(crate) fn describe_regions(call: &Call<'_>, mut params: Params) -> Answer {
    let names = params.texts("RegionName")?;
    params.boolean("AllRegions")?;
    let filters = filter::take::<Region>(&mut params, false)?;
    params.finish()?;
    let regions: Vec<Region> = call.world.catalogue().regions().into_iter().map(Region).collect();
    if let Some(unknown) = names.iter().find(|name| !regions.iter().any(|region| region.0 == **name)) {
        return Err(Refusal::invalid_parameter(format!("Invalid region name: [{unknown}]")));
    }
    let chosen = regions.iter().filter(|region| names.is_empty() || names.iter().any(|name| name == region.0));
    let mut xml = Xml::new();
    xml.items("regionInfo", chosen.filter(|region| passes(*region, &filters)), |xml, region| {
        xml.text("regionName", region.0);
        xml.text("regionEndpoint", region.endpoint());
        xml.text("optInStatus", "opt-in-not-required");
    });
    Ok(xml)
}

/// `DescribeAvailabilityZones`: the zones of the world's region.
pub(crate) fn describe_availability_zones(call: &Call<'_>, mut params: Params) -> Answer {
    let (names, ids) = (params.texts("ZoneName")?, params.texts("ZoneId")?);
    params.boolean("AllAvailabilityZones")?;
    let filters = filter::take::<Zone>(&mut params, false)?;
    params.finish()?;
    let zones: Vec<&Zone> = call.world.catalogue().zones_of(call.world.region()).collect();
    let known = |name: &str| zones.iter().any(|zone| zone.name == name || zone.id == name);
    if let Some(unknown) = names.iter().chain(&ids).find(|name| !known(name)) {
        return Err(CloudError::NotFound { kind: ResourceKind::Zone, id: unknown.clone() }.into());
    }
    let named = |zone: &Zone| {
        (names.is_empty() && ids.is_empty())
            || names.iter().chain(&ids).any(|name| name == zone.name || name == zone.id)
    };
    let mut xml = Xml::new();
    xml.items(
        "availabilityZoneInfo",
        zones.iter().filter(|zone| named(zone) && passes(**zone, &filters)),
        |xml, zone| {
            xml.text("optInStatus", zone.opt_in);
            xml.node("messageSet", |_| {});
            xml.text("regionName", zone.region);
            xml.text("zoneName", zone.name);
            xml.text("zoneId", zone.id);
            xml.text("groupName", format!("{}-zg-1", zone.region));
            xml.text("networkBorderGroup", zone.region);
            xml.text("zoneType", zone.kind);
            xml.text("zoneState", "available");
        },
    );
    Ok(xml)
}

/// `DescribeVpcs`.
pub(crate) fn describe_vpcs(call: &Call<'_>, mut params: Params) -> Answer {
    let ids = params.texts("VpcId")?;
    let filters = filter::take::<Vpc>(&mut params, true)?;
    let page = Page::take(&mut params, call.action, &(5..=1000))?;
    params.finish()?;
    let vpcs = [call.world.vpc()];
    refuse_unknown(&ids, &vpcs.map(|vpc| vpc.id.as_str()), "InvalidVpcID.NotFound", "vpc ID")?;
    let chosen = vpcs.into_iter().filter(|vpc| passes(*vpc, &filters));
    let (vpcs, next) = page.cut(chosen, |vpc| vpc.id.clone())?;
    let mut xml = Xml::new();
    xml.items("vpcSet", vpcs, |xml, vpc| {
        xml.text("vpcId", &vpc.id);
        xml.text("ownerId", call.account());
        xml.text("state", "available");
        xml.text("cidrBlock", &vpc.cidr);
        xml.items("cidrBlockAssociationSet", [&vpc.cidr], |xml, cidr| {
            xml.text("associationId", vpc.id.replacen("vpc-", "vpc-cidr-assoc-", 1));
            xml.text("cidrBlock", cidr);
            xml.node("cidrBlockState", |xml| xml.text("state", "associated"));
        });
        xml.text("dhcpOptionsId", "default");
        xml.text("instanceTenancy", "default");
        xml.text("isDefault", false);
        xml.tags("tagSet", &vpc.tags);
    });
    xml.optional("nextToken", next);
    Ok(xml)
}

/// `DescribeSubnets`.
pub(crate) fn describe_subnets(call: &Call<'_>, mut params: Params) -> Answer {
    let ids = params.texts("SubnetId")?;
    let filters = filter::take::<Subnet>(&mut params, true)?;
    let page = Page::take(&mut params, call.action, &(5..=1000))?;
    params.finish()?;
    let mut subnets: Vec<&Subnet> = call.world.subnets().iter().collect();
    subnets.sort_by(|one, other| one.id.cmp(&other.id));
    let known: Vec<&str> = subnets.iter().map(|subnet| subnet.id.as_str()).collect();
    refuse_unknown(&ids, &known, "InvalidSubnetID.NotFound", "subnet ID")?;
    let chosen = subnets.into_iter().filter(|subnet| ids.is_empty() || ids.contains(&subnet.id));
    let (subnets, next) = page.cut(chosen.filter(|subnet| passes(*subnet, &filters)), |subnet| subnet.id.clone())?;
    let mut xml = Xml::new();
    xml.items("subnetSet", subnets, |xml, subnet| write_subnet(xml, call, subnet));
    xml.optional("nextToken", next);
    Ok(xml)
}

fn write_subnet(xml: &mut Xml, call: &Call<'_>, subnet: &Subnet) {
    xml.text("subnetId", &subnet.id);
    xml.text("subnetArn", call.arn("subnet", &subnet.id));
    xml.text("state", "available");
    xml.text("ownerId", call.account());
    xml.text("vpcId", &subnet.vpc_id);
    xml.text("cidrBlock", subnet.cidr());
    xml.text("availableIpAddressCount", subnet.free_addresses());
    xml.text("availabilityZone", subnet.zone.name);
    xml.text("availabilityZoneId", subnet.zone.id);
    xml.text("defaultForAz", subnet.default_for_zone);
    xml.text("mapPublicIpOnLaunch", false);
    xml.text("assignIpv6AddressOnCreation", false);
    xml.text("mapCustomerOwnedIpOnLaunch", false);
    xml.text("ipv6Native", false);
    xml.text("enableDns64", false);
    xml.node("ipv6CidrBlockAssociationSet", |_| {});
    xml.tags("tagSet", &subnet.tags);
}

/// `DescribeSecurityGroups`.
pub(crate) fn describe_security_groups(call: &Call<'_>, mut params: Params) -> Answer {
    let ids = params.texts("GroupId")?;
    let names = params.texts("GroupName")?;
    let filters = filter::take::<SecurityGroup>(&mut params, true)?;
    let page = Page::take(&mut params, call.action, &(5..=1000))?;
    params.finish()?;
    let mut groups: Vec<&SecurityGroup> = call.world.security_groups().iter().collect();
    groups.sort_by(|one, other| one.id.cmp(&other.id));
    let known: Vec<&str> = groups.iter().flat_map(|group| [group.id.as_str(), group.name.as_str()]).collect();
    let wanted: Vec<String> = ids.into_iter().chain(names).collect();
    refuse_unknown(&wanted, &known, "InvalidGroup.NotFound", "security group")?;
    let named = |group: &SecurityGroup| wanted.is_empty() || wanted.contains(&group.id) || wanted.contains(&group.name);
    let chosen = groups.into_iter().filter(|group| named(group) && passes(*group, &filters));
    let (groups, next) = page.cut(chosen, |group| group.id.clone())?;
    let mut xml = Xml::new();
    xml.items("securityGroupInfo", groups, |xml, group| write_group(xml, call, group));
    xml.optional("nextToken", next);
    Ok(xml)
}

fn write_group(xml: &mut Xml, call: &Call<'_>, group: &SecurityGroup) {
    xml.text("groupId", &group.id);
    xml.text("securityGroupArn", call.arn("security-group", &group.id));
    xml.text("groupName", &group.name);
    xml.text("groupDescription", &group.description);
    xml.text("vpcId", &group.vpc_id);
    xml.text("ownerId", call.account());
    xml.node("ipPermissions", |_| {});
    // A new group lets everything out.
    xml.items("ipPermissionsEgress", ["0.0.0.0/0"], |xml, range| {
        xml.text("ipProtocol", "-1");
        xml.items("ipRanges", [range], |xml, range| xml.text("cidrIp", range));
    });
    xml.tags("tagSet", &group.tags);
}

fn refuse_unknown(wanted: &[String], known: &[&str], code: &'static str, what: &str) -> Result<(), Refusal> {
    match wanted.iter().find(|id| !known.contains(&id.as_str())) {
        Some(unknown) => Err(Refusal::bad(code, format!("The {what} '{unknown}' does not exist"))),
        None => Ok(()),
    }
}

struct Region(&'static str);

impl Region {
    fn endpoint(&self) -> String {
        format!("ec2.{}.amazonaws.com", self.0)
    }
}

impl Filterable for Region {
    const NAMES: &'static [&'static str] = &["endpoint", "opt-in-status", "region-name"];

    fn values(&self, name: &str) -> Vec<Cow<'_, str>> {
        match name {
            "endpoint" => vec![self.endpoint().into()],
            "opt-in-status" => vec!["opt-in-not-required".into()],
            "region-name" => vec![self.0.into()],
            _ => Vec::new(),
        }
    }
}

impl Filterable for Vpc {
    const NAMES: &'static [&'static str] =
        &["cidr", "cidr-block-association.cidr-block", "is-default", "state", "vpc-id"];

    fn values(&self, name: &str) -> Vec<Cow<'_, str>> {
        match name {
            "cidr" | "cidr-block-association.cidr-block" => vec![self.cidr.as_str().into()],
            "is-default" => vec!["false".into()],
            "state" => vec!["available".into()],
            "vpc-id" => vec![self.id.as_str().into()],
            _ => Vec::new(),
        }
    }

    fn tags(&self) -> Option<&Tags> {
        Some(&self.tags)
    }
}
