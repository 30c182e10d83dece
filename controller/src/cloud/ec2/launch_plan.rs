//! What to ask of CreateFleet for one NodeClaim (spec aws 3.1–3.3). Pure: the request's facts in, a plan out.

use super::{
    capacity::{EFA, Shape},
    images::image_for,
    launch_template::{InReservation, Template, default_block_devices},
    network::SubnetFacts,
    placement::{self, GroupFacts, InGroup},
    refusals::Refusals,
    reservation::ReservationKind,
    tags,
    user_data::{Bootstrap, Cluster, user_data},
};
use crate::cloud::{CloudError, LaunchRequest};
use jiff::Timestamp;
use sawhorse_core::{
    api::{AmiFamily, Ec2NodeClass, labels},
    model::{CapacityType, InstanceType, Offering, Price, Requirements, Resources},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

/// Types in one request, as the reference limits them: more make the request too large for EC2.
const MAX_TYPES: usize = 60;
/// Types by zones in one request: what EC2 allows for spot.
const MAX_OVERRIDES: usize = 300;
/// Launch templates in one request: what EC2 allows.
const MAX_TEMPLATES: usize = 50;
/// The resource by which pods ask for Nitro enclaves.
const ENCLAVE: &str = "eks.amazonaws.com/nitro-sandbox";

/// A type with those of its offerings that may be tried.
#[derive(Clone, Debug)]
struct Candidate<'a> {
    instance_type: &'a InstanceType,
    /// Never empty; cheapest first.
    offerings: Vec<&'a Offering>,
}

/// One fleet request, in our words.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    pub(super) capacity_type: CapacityType,
    pub(super) groups: Vec<Group>,
    /// Of the machine and its disks.
    pub(super) tags: tags::Tags,
    pub(super) context: Option<String>,
    /// How many addresses a machine may take: the least pods of all types in the plan.
    pub(super) addresses: i64,
    /// Whether pools are tried by price, as NodeOverlays say what some of them cost: EC2 knows nothing of that.
    pub(super) by_price: bool,
}

/// Machines that share a launch template.
#[derive(Clone, Debug)]
pub(super) struct Group {
    pub(super) template: Template,
    pub(super) overrides: Vec<Override>,
}

/// One pool to try.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Override {
    pub(super) instance_type: String,
    pub(super) zone: String,
    pub(super) subnet: String,
    pub(super) image: String,
    pub(super) price: Price,
}

impl Plan {
    pub(super) fn overrides(&self) -> impl Iterator<Item = &Override> {
        self.groups.iter().flat_map(|group| &group.overrides)
    }

    /// The placement group that machines are launched into.
    pub(super) fn group(&self) -> Option<&str> {
        let placement = self.groups.iter().find_map(|group| group.template.placement.as_ref());
        placement.map(|placement| placement.id.as_str())
    }

    /// The kind of the reservations that machines are started in, if they are.
    pub(super) fn reservation_kind(&self) -> Option<ReservationKind> {
        self.groups.iter().find_map(|group| group.template.reservation.as_ref()).map(|one| one.kind)
    }

    /// The reservation that a machine of this type and zone is started in.
    pub(super) fn reservation_of(&self, instance_type: &str, zone: &str) -> Option<&str> {
        let holds = |group: &&Group| {
            group.overrides.iter().any(|pool| pool.instance_type == instance_type && pool.zone == zone)
        };
        self.groups.iter().find(holds)?.template.reservation.as_ref().map(|one| one.id.as_str())
    }
}

/// What a plan is made from, besides the request.
#[derive(Clone, Copy, Debug)]
pub(super) struct Surroundings<'a> {
    pub(super) class: &'a Ec2NodeClass,
    pub(super) cluster: &'a Cluster,
    pub(super) shape: &'a Shape,
    /// The placement group to launch into.
    pub(super) group: Option<&'a GroupFacts>,
    /// The subnet to use in each zone.
    pub(super) subnets: &'a BTreeMap<String, SubnetFacts>,
    pub(super) refusals: &'a Refusals,
    pub(super) now: Timestamp,
}

/// The fleet to ask for.
///
/// # Errors
/// `InsufficientCapacity` where nothing is left to try, `NodeClassNotReady` or `Rejected` where the class cannot be used.
pub(super) fn plan(request: &LaunchRequest, around: &Surroundings<'_>) -> Result<Plan, CloudError> {
    let name = around.class.metadata.name.as_deref().unwrap_or_default();
    let has_min_values = request.requirements.iter().any(|requirement| requirement.min_values().is_some());
    let mut candidates = compatible(request, around)?;
    if !has_min_values {
        candidates = without_exotic(candidates);
        candidates = without_dear_spot(candidates);
    }
    candidates = truncated(candidates, &request.requirements)?;
    let capacity_type = capacity_type(&candidates);
    candidates.iter_mut().for_each(|candidate| candidate.offerings.retain(|one| one.capacity_type == capacity_type));
    candidates.retain(|candidate| !candidate.offerings.is_empty());
    if capacity_type == CapacityType::Reserved {
        candidates = of_one_reservation_kind(candidates);
    }
    let addresses = candidates.iter().map(|one| one.instance_type.capacity.get("pods")).min().unwrap_or_default();
    let groups = groups(request, around, &candidates, capacity_type)?;
    if groups.is_empty() {
        return Err(CloudError::NodeClassNotReady {
            name: name.to_owned(),
            message: "none of its images fits the instance types".to_owned(),
        });
    }
    let mut tags = class_tags(request, around);
    tags.insert(tags::NODE_CLAIM.to_owned(), request.claim.metadata.name.clone().unwrap_or_default());
    tags.insert(tags::NODE_CLAIM_UID.to_owned(), request.claim.metadata.uid.clone().unwrap_or_default());
    let relaxed = request
        .claim
        .metadata
        .annotations
        .iter()
        .flatten()
        .any(|(key, value)| key == labels::MIN_VALUES_RELAXED && value == "true");
    let context = around.class.spec.context.clone().filter(|_| !relaxed);
    let by_price = candidates.iter().any(|one| one.instance_type.is_price_overlaid());
    Ok(Plan { capacity_type, groups, tags, context, addresses, by_price })
}

fn class_tags(request: &LaunchRequest, around: &Surroundings<'_>) -> tags::Tags {
    let node_pool = request.claim.metadata.labels.iter().flatten().find(|(key, _)| *key == labels::NODE_POOL);
    let node_class = around.class.metadata.name.as_deref().unwrap_or_default();
    let node_pool = node_pool.map(|(_, name)| name.as_str()).unwrap_or_default();
    tags::of_class(&around.cluster.name, node_pool, node_class, &around.class.spec.tags)
}

/// Types that the claim's requirements and requests allow, with the offerings that may be tried now.
fn compatible<'a>(request: &'a LaunchRequest, around: &Surroundings<'_>) -> Result<Vec<Candidate<'a>>, CloudError> {
    let requests =
        Resources::from_requests(&request.claim.spec.resources.requests).map_err(|error| CloudError::Rejected {
            operation: "CreateFleet",
            code: "InvalidRequests".to_owned(),
            message: error.to_string(),
        })?;
    let may_try = |instance_type: &InstanceType, offering: &Offering| {
        offering.available
            && around.subnets.contains_key(&offering.zone)
            && request.requirements.intersects(&offering.requirements)
            && around.group.is_none_or(|group| around.refusals.allows_group(&group.id, &offering.zone, around.now))
            && around.refusals.allows_pool(offering.capacity_type, &instance_type.name, &offering.zone, around.now)
    };
    let candidate = |instance_type: &'a Arc<InstanceType>| {
        let fits =
            request.requirements.intersects(&instance_type.requirements) && requests.fits(&instance_type.allocatable());
        let mut offerings: Vec<_> =
            instance_type.offerings.iter().filter(|one| fits && may_try(instance_type, one)).collect();
        offerings.sort_by(|a, b| (a.price, a.capacity_type, &a.zone).cmp(&(b.price, b.capacity_type, &b.zone)));
        (!offerings.is_empty()).then_some(Candidate { instance_type, offerings })
    };
    let candidates: Vec<_> = request.instance_types.iter().filter_map(candidate).collect();
    match candidates.is_empty() {
        true => Err(nothing_left(request)),
        false => Ok(candidates),
    }
}

fn nothing_left(request: &LaunchRequest) -> CloudError {
    let count = request.instance_types.len();
    CloudError::InsufficientCapacity {
        message: format!("none of the {count} instance types has an offering that can be tried now"),
    }
}

/// Leaves out bare metal and machines with GPUs or accelerators, unless there is nothing else.
fn without_exotic(candidates: Vec<Candidate<'_>>) -> Vec<Candidate<'_>> {
    let exotic = |candidate: &Candidate<'_>| {
        let capacity = &candidate.instance_type.capacity;
        let devices = ["nvidia.com/gpu", "amd.com/gpu", "habana.ai/gaudi", "aws.amazon.com/neuron"];
        let size = candidate.instance_type.name.split_once('.').map_or("", |(_, size)| size);
        size.contains("metal") || devices.iter().any(|device| capacity.get(device) > 0)
    };
    if candidates.iter().all(exotic) {
        return candidates;
    }
    candidates.into_iter().filter(|candidate| !exotic(candidate)).collect()
}

/// Where both are allowed, leaves out spot that is dearer than the cheapest on-demand machine.
fn without_dear_spot(mut candidates: Vec<Candidate<'_>>) -> Vec<Candidate<'_>> {
    let prices = |kind| {
        let offerings = candidates.iter().flat_map(|candidate| &candidate.offerings);
        offerings.filter(move |one| one.capacity_type == kind).map(|one| one.price)
    };
    let has_spot = prices(CapacityType::Spot).next().is_some();
    let Some(cheapest) = prices(CapacityType::OnDemand).min().filter(|_| has_spot) else { return candidates };
    let keep = |offering: &&Offering| offering.capacity_type != CapacityType::Spot || offering.price <= cheapest;
    candidates.iter_mut().for_each(|candidate| candidate.offerings.retain(keep));
    candidates.retain(|candidate| !candidate.offerings.is_empty());
    candidates
}

/// The cheapest types, as many as fit a request.
fn truncated<'a>(
    mut candidates: Vec<Candidate<'a>>,
    requirements: &Requirements,
) -> Result<Vec<Candidate<'a>>, CloudError> {
    let key = |candidate: &Candidate<'a>| (candidate.offerings[0].price, &*candidate.instance_type.name);
    candidates.sort_by(|a, b| key(a).cmp(&key(b)));
    candidates.truncate(MAX_TYPES);
    match unmet_min_values(&candidates, requirements) {
        None => Ok(candidates),
        Some(key) => Err(CloudError::InsufficientCapacity {
            message: format!(
                "the {} cheapest instance types have too few values of `{key}` for its `minValues`",
                candidates.len()
            ),
        }),
    }
}

fn unmet_min_values<'a>(candidates: &[Candidate<'_>], requirements: &'a Requirements) -> Option<&'a str> {
    let unmet = |key: &str, min: u32| {
        let of_type = candidates.iter().filter_map(|candidate| candidate.instance_type.requirements.get(key));
        let values: BTreeSet<_> = of_type.flat_map(|requirement| requirement.values()).collect();
        values.len() < min as usize
    };
    let with_min = requirements.iter().filter_map(|requirement| Some((requirement.key(), requirement.min_values()?)));
    with_min.into_iter().find(|(key, min)| unmet(key, *min)).map(|(key, _)| key)
}

/// Of reservations, those of one kind: ordinary ones, a capacity block, which is bought alone, or interruptible ones. In each zone
/// the one that holds most machines is used (spec aws 3.1).
fn of_one_reservation_kind(mut candidates: Vec<Candidate<'_>>) -> Vec<Candidate<'_>> {
    let offerings = candidates.iter().flat_map(|one| &one.offerings);
    let cheapest = offerings.min_by_key(|one| (one.price, ReservationKind::of(one), &one.reservation_id));
    let Some(cheapest) = cheapest.copied() else { return candidates };
    let kind = ReservationKind::of(cheapest);
    for candidate in &mut candidates {
        candidate.offerings.retain(|one| match kind {
            ReservationKind::Block => one.reservation_id == cheapest.reservation_id,
            ReservationKind::Ordinary | ReservationKind::Interruptible => ReservationKind::of(one) == kind,
        });
        candidate.offerings.sort_by(|a, b| {
            (&a.zone, std::cmp::Reverse(a.reservation_capacity), &a.reservation_id).cmp(&(
                &b.zone,
                std::cmp::Reverse(b.reservation_capacity),
                &b.reservation_id,
            ))
        });
        candidate.offerings.dedup_by(|later, first| later.zone == first.zone);
    }
    candidates.retain(|candidate| !candidate.offerings.is_empty());
    candidates
}

/// Reserved before spot before on-demand (spec core 2.15): the least that any offering has.
fn capacity_type(candidates: &[Candidate<'_>]) -> CapacityType {
    let kinds = candidates.iter().flat_map(|candidate| &candidate.offerings).map(|one| one.capacity_type);
    kinds.min().unwrap_or(CapacityType::OnDemand)
}

/// What tells templates of one launch apart: image, pods (unless machines know them), EFA interfaces, reservation.
type TemplateKey = (String, Option<i64>, i64, Option<InReservation>);

/// The candidates by image, pods and interfaces, in order; those that no image fits are left out.
fn groups(
    request: &LaunchRequest,
    around: &Surroundings<'_>,
    candidates: &[Candidate<'_>],
    kind: CapacityType,
) -> Result<Vec<Group>, CloudError> {
    let amis = around.class.status.as_ref().map(|status| status.amis.as_slice()).unwrap_or_default();
    let requests = &request.claim.spec.resources.requests;
    let mut by_template: BTreeMap<TemplateKey, Vec<Override>> = BTreeMap::new();
    let mut room = MAX_OVERRIDES;
    for candidate in candidates {
        let Some(ami) = image_for(amis, &candidate.instance_type.requirements) else { continue };
        let capacity = &candidate.instance_type.capacity;
        let efa = if requests.contains_key(EFA) { capacity.get(EFA) } else { 0 };
        let pods = (!around.shape.machines_know_their_pods()).then(|| capacity.get("pods"));
        for offering in candidate.offerings.iter().take(room) {
            let pool = Override {
                instance_type: candidate.instance_type.name.clone(),
                zone: offering.zone.clone(),
                subnet: around.subnets.get(&offering.zone).map(|subnet| subnet.id.clone()).unwrap_or_default(),
                image: ami.id.clone(),
                price: offering.price,
            };
            let reserved = offering.reservation_id.as_ref();
            let reservation = reserved.map(|id| InReservation { id: id.clone(), kind: ReservationKind::of(offering) });
            by_template.entry((ami.id.clone(), pods, efa, reservation)).or_default().push(pool);
            room -= 1;
        }
    }
    by_template.retain(|_, pools| !pools.is_empty());
    let group = |((image, max_pods, efa, reservation), overrides): (TemplateKey, Vec<Override>)| {
        let template = template(request, around, image, max_pods, efa, kind)?;
        Ok(Group { template: Template { reservation, ..template }, overrides })
    };
    let mut groups: Vec<(TemplateKey, Vec<Override>)> = by_template.into_iter().collect();
    // The cheapest first, should there be more than one request can name.
    groups.sort_by_cached_key(|(key, pools)| (pools.iter().map(|pool| pool.price).min(), key.clone()));
    groups.into_iter().take(MAX_TEMPLATES).map(group).collect()
}

fn template(
    request: &LaunchRequest,
    around: &Surroundings<'_>,
    image_id: String,
    max_pods: Option<i64>,
    efa: i64,
    capacity_type: CapacityType,
) -> Result<Template, CloudError> {
    let (class, spec) = (around.class, &around.class.spec);
    let status = class.status.as_ref();
    let name = class.metadata.name.as_deref().unwrap_or_default();
    let Some(instance_profile) = status.and_then(|status| status.instance_profile.clone()) else {
        return Err(CloudError::NodeClassNotReady {
            name: name.to_owned(),
            message: "its instance profile is not known yet".to_owned(),
        });
    };
    let user_data =
        user_data(&bootstrap(request, around, max_pods, capacity_type)).map_err(|error| CloudError::Rejected {
            operation: "CreateLaunchTemplate",
            code: "InvalidUserData.Malformed".to_owned(),
            message: error.to_string(),
        })?;
    let own_disks = spec.block_device_mappings.clone();
    Ok(Template {
        cluster: around.cluster.name.clone(),
        image_id,
        user_data,
        instance_profile,
        security_groups: status
            .map(|status| status.security_groups.iter().map(|group| group.id.clone()).collect())
            .unwrap_or_default(),
        block_devices: if own_disks.is_empty() { default_block_devices(around.shape.family) } else { own_disks },
        metadata: spec.metadata_options.clone(),
        monitoring: spec.detailed_monitoring.unwrap_or_default(),
        interfaces: spec.network_interfaces.clone(),
        efa,
        public_address: spec.associate_public_ip_address,
        prefixes: spec.ip_prefix_count,
        ipv6: around.cluster.service_cidr.contains(':'),
        connection_tracking: spec.connection_tracking.clone(),
        nested_virtualization: spec.cpu_options.as_ref().and_then(|options| options.nested_virtualization.clone()),
        enclave: request.claim.spec.resources.requests.contains_key(ENCLAVE),
        capacity_type,
        tenancy: tenancy(&request.requirements),
        reservation: None,
        placement: around.group.map(|group| in_group(group, &request.requirements)),
        tags: class_tags(request, around),
    })
}

fn in_group(group: &GroupFacts, of_claim: &Requirements) -> InGroup {
    let of_type: Requirements = placement::requirements(group).into_iter().collect();
    let partition = placement::partition(of_claim, &of_type).and_then(|number| number.parse().ok());
    InGroup { id: group.id.clone(), partition }
}

fn tenancy(requirements: &Requirements) -> &'static str {
    let default = requirements.get(labels::INSTANCE_TENANCY).is_none_or(|tenancy| tenancy.has("default"));
    if default { "default" } else { "dedicated" }
}

fn bootstrap<'a>(
    request: &LaunchRequest,
    around: &Surroundings<'a>,
    max_pods: Option<i64>,
    capacity_type: CapacityType,
) -> Bootstrap<'a> {
    let mut labels = request.labels.clone();
    labels.insert(labels::CAPACITY_TYPE.to_owned(), capacity_type.as_str().to_owned());
    let claim = &request.claim.spec;
    Bootstrap {
        cluster: around.cluster,
        family: around.shape.family,
        kubelet: around.shape.kubelet.clone(),
        raid0: around.shape.raid0,
        custom: around.class.spec.user_data.as_deref(),
        labels,
        taints: claim.taints.iter().chain(&claim.startup_taints).cloned().collect(),
        max_pods,
    }
}

/// Whether machines of `family` can be launched: those of Windows cannot yet.
pub(super) fn is_supported(family: AmiFamily) -> bool {
    !family.is_windows()
}

#[cfg(test)]
#[path = "launch_plan_tests.rs"]
mod tests;
