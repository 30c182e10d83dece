//! Placement groups.

use super::{Answer, Call, error::Refusal, filter, launch_settings, query::Params, tags::returned_true, xml::Xml};
use crate::world::{Filterable, Placement, PlacementGroup, Tags, passes};
use std::borrow::Cow;

/// `CreatePlacementGroup`.
pub(crate) fn create(call: &mut Call<'_>, mut params: Params) -> Answer {
    let name = params.required("GroupName")?;
    let partitions = params.number::<u32>("PartitionCount")?;
    let strategies = [("cluster", 0), ("spread", 1), ("partition", 2)];
    let strategy = match params.one_of("Strategy", &strategies)?.unwrap_or(0) {
        0 => Placement::Cluster,
        1 => Placement::Spread,
        _ => Placement::Partition(partitions.unwrap_or(2)),
    };
    params.one_of("SpreadLevel", &[("rack", ()), ("host", ())])?;
    if partitions.is_some() && !matches!(strategy, Placement::Partition(_)) {
        return Err(Refusal::combination("PartitionCount", "Strategy"));
    }
    let tags = launch_settings::tag_specifications(&mut params)?;
    let tags = tags.into_iter().filter(|tags| tags.resource == "placement-group").flat_map(|tags| tags.tags).collect();
    params.finish()?;
    let group = call.world.create_placement_group(&name, strategy, tags)?.clone();
    call.touched.push(group.id.clone());
    let mut xml = Xml::new();
    xml.node("placementGroup", |xml| write(xml, call, &group));
    Ok(xml)
}

/// `DeletePlacementGroup`.
pub(crate) fn delete(call: &mut Call<'_>, mut params: Params) -> Answer {
    let name = params.required("GroupName")?;
    call.world.placement_group(&name)?;
    params.finish()?;
    call.world.delete_placement_group(&name)?;
    call.touched.push(name);
    Ok(returned_true())
}

/// `DescribePlacementGroups`.
pub(crate) fn describe(call: &Call<'_>, mut params: Params) -> Answer {
    let named = [params.texts("GroupId")?, params.texts("GroupName")?].concat();
    let filters = filter::take::<PlacementGroup>(&mut params, true)?;
    params.finish()?;
    for name in &named {
        call.world.placement_group(name)?;
    }
    let chosen = call.world.placement_groups().filter(|group| {
        (named.is_empty() || named.contains(&group.id) || named.contains(&group.name)) && passes(*group, &filters)
    });
    let mut xml = Xml::new();
    xml.items("placementGroupSet", chosen, |xml, group| write(xml, call, group));
    Ok(xml)
}

fn write(xml: &mut Xml, call: &Call<'_>, group: &PlacementGroup) {
    xml.text("groupName", &group.name);
    xml.text("groupId", &group.id);
    xml.text("groupArn", call.arn("placement-group", &group.name));
    xml.text("state", "available");
    xml.text("strategy", group.strategy.as_str());
    match group.strategy {
        Placement::Cluster => {}
        Placement::Spread => xml.text("spreadLevel", "rack"),
        Placement::Partition(count) => xml.text("partitionCount", count),
    }
    xml.tags("tagSet", &group.tags);
}

impl Filterable for PlacementGroup {
    const NAMES: &'static [&'static str] =
        &["group-arn", "group-id", "group-name", "partition-count", "spread-level", "state", "strategy"];

    fn values(&self, name: &str) -> Vec<Cow<'_, str>> {
        let value: Cow<'_, str> = match (name, self.strategy) {
            ("group-id", _) => self.id.as_str().into(),
            ("group-name", _) => self.name.as_str().into(),
            ("partition-count", Placement::Partition(count)) => count.to_string().into(),
            ("spread-level", Placement::Spread) => "rack".into(),
            ("state", _) => "available".into(),
            ("strategy", strategy) => strategy.as_str().into(),
            _ => return Vec::new(),
        };
        vec![value]
    }

    fn tags(&self) -> Option<&Tags> {
        Some(&self.tags)
    }
}
