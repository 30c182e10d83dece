//! Launching machines: what a launch needs, whether there is room, and making the machine.

use super::{
    BlockDevice, CloudError, Image, Instance, InstanceState, Interface, InterfaceSettings, LaunchSettings, MachineType,
    Market, Price, ResourceKind, TemplateRef, TemplateVersion, Volume, VolumeSettings, World,
    capacity::PoolKey,
    instance::Meter,
    network::ADDRESSES_PER_PREFIX,
    reservation::Source,
    tags::tags_for,
    token::{Outcome, fingerprint},
};
use std::net::Ipv4Addr;

/// Machines of one `RunInstances` request, as EC2's limit on new accounts.
const MAX_RUN: u32 = 1_000;
const DEFAULT_ROOT_GIB: u64 = 20;
const WINDOWS_ROOT_GIB: u64 = 50;
/// Bottlerocket keeps the system apart from the data.
const BOTTLEROCKET_ROOT_GIB: u64 = 4;
pub(crate) const BOTTLEROCKET_DATA_DEVICE: &str = "/dev/xvdb";

/// A `RunInstances` request.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct RunRequest {
    /// Idempotency token.
    pub token: Option<String>,
    /// Check everything, launch nothing.
    pub dry_run: bool,
    /// A template and a version of it.
    pub template: Option<(TemplateRef, Option<String>)>,
    /// Parameters of the request, over the template's.
    pub settings: LaunchSettings,
    /// Launch none if fewer than this can be had.
    pub min: u32,
    /// Launch at most so many.
    pub max: u32,
}

/// Everything that machines of one launch have in common.
pub(crate) struct Plan {
    pub(crate) key: PoolKey,
    pub(crate) subnet_id: String,
    pub(crate) settings: LaunchSettings,
    pub(crate) image: Image,
    pub(crate) template: Option<TemplateVersion>,
    pub(crate) fleet_id: Option<String>,
    pub(crate) max_price: Option<Price>,
    pub(crate) token: Option<String>,
    /// The path of all that is drawn for the launch: its token, or its number.
    pub(crate) origin: String,
    pub(crate) reservation_id: String,
}

impl World {
    /// Launches machines of one type in one subnet; their ids, in launch order.
    ///
    /// # Errors
    /// A parameter is wrong, or fewer than `min` machines can be had: then none is launched.
    pub fn run_instances(&mut self, request: &RunRequest) -> Result<Vec<String>, CloudError> {
        let print = fingerprint(request);
        let token = request.token.as_deref();
        if let Some(Outcome::Instances(ids)) = self.tokens.recall(self.now, "RunInstances", token, print)? {
            return Ok(ids);
        }
        let plan = self.run_plan(request)?;
        if request.dry_run {
            return Err(CloudError::DryRun);
        }
        self.take_resources("RunInstances", request.max as usize)?;
        let mut ids = Vec::new();
        for index in 0..request.max {
            match self.place(&plan, index) {
                Ok(id) => ids.push(id),
                Err(error) if (ids.len() as u32) < request.min => {
                    ids.iter().for_each(|id| self.unlaunch(id));
                    return Err(error);
                }
                Err(_) => break,
            }
        }
        self.tokens.remember(self.now, "RunInstances", token, print, Outcome::Instances(ids.clone()));
        Ok(ids)
    }

    fn run_plan(&mut self, request: &RunRequest) -> Result<Plan, CloudError> {
        if request.min == 0 || request.min > request.max {
            let reason = format!("MinCount {} must be 1 to MaxCount ({})", request.min, request.max);
            return Err(CloudError::InvalidCombination { reason });
        }
        if request.max > MAX_RUN {
            return Err(CloudError::LimitExceeded { what: "instances in one request", limit: MAX_RUN as usize });
        }
        let (settings, template) = match &request.template {
            None => (request.settings.clone(), None),
            Some((template, version)) => {
                let (found, number, content) = self.templates.version(template, version.as_deref())?;
                let version = TemplateVersion { id: found.id.clone(), name: found.name.clone(), version: number };
                (content.settings.overridden_by(&request.settings), Some(version))
            }
        };
        let image = self.check_launch(&settings)?.clone();
        let market = settings.market.unwrap_or_default();
        let (key, subnet_id) = self.run_pool(&settings, market)?;
        let origin = self.origin(request.token.as_deref(), "run");
        let reservation_id = self.reservation_id(&origin, 0);
        let (max_price, token) = (settings.max_spot_price, request.token.clone());
        Ok(Plan { key, subnet_id, settings, image, template, fleet_id: None, max_price, token, origin, reservation_id })
    }

    /// The pool and subnet of a request: those it names, else the first default subnet with room.
    fn run_pool(&self, settings: &LaunchSettings, market: Market) -> Result<(PoolKey, String), CloudError> {
        let name = settings.machine_type.as_deref().ok_or(CloudError::MissingParameter { name: "InstanceType" })?;
        let type_index = self.catalogue.index_of(name).ok_or_else(|| self.unknown_type(name))?;
        let key = |zone| PoolKey { type_index, zone, market };
        if let Some(id) = settings.primary_subnet() {
            let subnet = self.network.subnet(id)?;
            check_zone(settings.zone.as_deref(), subnet.zone.name, id)?;
            return Ok((key(self.zone_index(subnet.zone.name).unwrap_or_default()), id.to_owned()));
        }
        let zones = match &settings.zone {
            Some(zone) => vec![self.zone_index(zone).ok_or_else(|| self.unknown_zone(zone))?],
            None => (0..self.zones.len()).collect(),
        };
        let with_room = zones.iter().find(|zone| self.room(key(**zone), None).is_ok()).or(zones.first());
        let zone = *with_room.ok_or(CloudError::NoMatchingPool)?;
        let subnet = self.network.default_subnet(self.zones[zone].name).ok_or(CloudError::NoMatchingPool)?;
        Ok((key(zone), subnet.id.clone()))
    }

    /// Checks the settings of a launch against the world; returns the image.
    pub(crate) fn check_launch(&self, settings: &LaunchSettings) -> Result<&Image, CloudError> {
        settings.check()?;
        let image_id = settings.image_id.as_deref().ok_or(CloudError::MissingParameter { name: "ImageId" })?;
        let image = self.image(image_id).ok_or_else(|| unknown_image(image_id))?;
        let groups = settings.primary_groups().iter();
        for group in groups.chain(settings.network_interfaces.iter().flat_map(|each| &each.security_group_ids)) {
            if self.network.security_group(group).is_none() {
                return Err(CloudError::NotFound { kind: ResourceKind::SecurityGroup, id: group.clone() });
            }
        }
        self.check_profile(settings.instance_profile.as_deref())?;
        let Some(name) = settings.machine_type.as_deref() else { return Ok(image) };
        let machine_type = self.catalogue.machine_type(name).ok_or_else(|| self.unknown_type(name))?;
        check_architecture(machine_type, image)?;
        check_interfaces(machine_type, &settings.network_interfaces)?;
        Ok(image)
    }

    pub(crate) fn unknown_type(&self, name: &str) -> CloudError {
        let hint = self.catalogue.nearest(name).map_or_else(String::new, |near| format!(", such as `{near}`"));
        CloudError::InvalidParameter {
            name: "InstanceType".to_owned(),
            value: name.to_owned(),
            expected: format!("the name of an instance type{hint}"),
        }
    }

    pub(crate) fn unknown_zone(&self, name: &str) -> CloudError {
        let known: Vec<_> = self.zones.iter().map(|zone| zone.name).collect();
        CloudError::InvalidParameter {
            name: "AvailabilityZone".to_owned(),
            value: name.to_owned(),
            expected: format!("one of {}", known.join(", ")),
        }
    }

    /// Whether a pool has room for one machine more.
    pub(crate) fn room(&self, key: PoolKey, max_price: Option<Price>) -> Result<(), CloudError> {
        let machine_type = self.catalogue.at(key.type_index);
        let zone = &self.zones[key.zone];
        let price = self.price_of(key);
        if !self.is_offered(key.type_index, zone) || !machine_type.sold_as(key.market) || price.is_none() {
            let elsewhere = self.zones_where(|zone| self.is_offered(key.type_index, &self.zones[zone]));
            let (machine_type, zone) = (machine_type.name.to_owned(), zone.name.to_owned());
            return Err(CloudError::NotOffered { machine_type, zone, market: key.market, elsewhere });
        }
        if price > max_price && max_price.is_some() {
            let (machine_type, zone) = (machine_type.name.to_owned(), zone.name.to_owned());
            return Err(CloudError::PriceTooLow { machine_type, zone });
        }
        if let Some(limit) = self.quotas.exceeded_by(machine_type, key.market) {
            let class = super::QuotaClass::of(machine_type);
            return Err(CloudError::QuotaExceeded { market: key.market, class, limit });
        }
        if self.pool_free(key) == Some(0) {
            return Err(self.insufficient(key));
        }
        Ok(())
    }

    pub(crate) fn insufficient(&self, key: PoolKey) -> CloudError {
        let has_room = |zone: usize| {
            self.is_offered(key.type_index, &self.zones[zone]) && self.pool_free(PoolKey { zone, ..key }) != Some(0)
        };
        CloudError::InsufficientCapacity {
            machine_type: self.catalogue.at(key.type_index).name.to_owned(),
            zone: self.zones[key.zone].name.to_owned(),
            market: key.market,
            elsewhere: self.zones_where(has_room),
        }
    }

    fn zones_where(&self, accept: impl Fn(usize) -> bool) -> Vec<String> {
        (0..self.zones.len()).filter(|zone| accept(*zone)).map(|zone| self.zones[zone].name.to_owned()).collect()
    }

    /// The path of all that is drawn for a launch: its token if it has one, so that a launch draws the same whatever else
    /// is launched before it.
    pub(crate) fn origin(&mut self, token: Option<&str>, operation: &str) -> String {
        self.launches += 1;
        token.map_or_else(
            || format!("{operation} number {}", self.launches),
            |token| format!("{operation} token {token}"),
        )
    }

    pub(crate) fn reservation_id(&self, origin: &str, pool: usize) -> String {
        format!("r-0{}", self.seed.stream(&["reservation", origin, &pool.to_string()]).hex(16))
    }

    /// Launches one machine, or changes nothing.
    pub(crate) fn place(&mut self, plan: &Plan, index: u32) -> Result<String, CloudError> {
        let source = self.launch_source(&plan.settings, plan.key)?;
        if source == Source::Pool {
            self.room(plan.key, plan.max_price)?;
        }
        let placed =
            self.group_place(&plan.settings, self.catalogue.at(plan.key.type_index), self.zones[plan.key.zone].name)?;
        let (addresses, delegated) = self.take_addresses(plan)?;
        let mut instance = self.new_instance(plan, index, &addresses, delegated);
        instance.placed = placed;
        match source {
            Source::Pool => {
                self.pools.take(plan.key);
                self.quotas.take(self.catalogue.at(plan.key.type_index), plan.key.market);
            }
            Source::Reservation(reservation) => {
                self.take_reserved(&reservation);
                instance.reservation = Some(reservation);
                instance.reserved_market = plan.settings.reserved_market;
            }
        }
        let id = instance.id.clone();
        self.instances.insert(id.clone(), instance);
        self.launched += 1;
        self.schedule_state(&id);
        self.tell_of_instance(&id, super::EventKind::StateChange(InstanceState::Pending));
        self.changed();
        Ok(id)
    }

    /// An address for each interface that has one, the prefixes with the first.
    fn take_addresses(&mut self, plan: &Plan) -> Result<(Vec<Ipv4Addr>, u32), CloudError> {
        let interfaces = &plan.settings.network_interfaces;
        let count = interfaces.iter().filter(|interface| has_address(interface)).count().max(1);
        let prefixes: u32 = interfaces.iter().filter_map(|interface| interface.ipv4_prefix_count).sum();
        let delegated = prefixes.saturating_mul(ADDRESSES_PER_PREFIX);
        let subnet = self.network.subnet_mut(&plan.subnet_id)?;
        let mut taken = Vec::with_capacity(count);
        for place in 0..count {
            match subnet.take(if place == 0 { delegated } else { 0 }) {
                Some(address) => taken.push(address),
                None => {
                    give_all_back(subnet, &taken, delegated);
                    return Err(CloudError::NoFreeAddresses { subnet: plan.subnet_id.clone() });
                }
            }
        }
        Ok((taken, delegated))
    }

    fn new_instance(&self, plan: &Plan, index: u32, addresses: &[Ipv4Addr], delegated: u32) -> Instance {
        let id = self.fresh_id(&plan.origin, index);
        let machine_type = self.catalogue.at(plan.key.type_index);
        let zone = self.zones[plan.key.zone].clone();
        let primary = addresses.first().copied().unwrap_or(Ipv4Addr::UNSPECIFIED);
        let spot_request = || {
            format!("sir-{}", self.seed.stream(&["spot-request", &id]).text(b"abcdefghijkmnpqrstuvwxyz0123456789", 8))
        };
        Instance {
            reservation_id: plan.reservation_id.clone(),
            launch_index: index,
            client_token: plan.token.clone(),
            fleet_id: plan.fleet_id.clone(),
            template: plan.template.clone(),
            type_index: plan.key.type_index,
            machine_type: machine_type.name,
            zone,
            market: plan.key.market,
            spot_request_id: (plan.key.market == Market::Spot).then(spot_request),
            state: InstanceState::Pending,
            state_reason: None,
            state_since: self.now,
            launched: self.now,
            interruption: None,
            reservation: None,
            reserved_market: None,
            placed: None,
            impairment: None,
            scheduled: None,
            visible: self.visible_from(&id),
            architecture: plan.image.architecture,
            platform: plan.image.platform,
            root_device: plan.image.root_device,
            vpc_id: self.network.vpc.id.clone(),
            subnet_id: plan.subnet_id.clone(),
            private_ip: primary,
            private_dns_name: private_dns_name(primary, self.region),
            interfaces: self.new_interfaces(plan, &id, addresses),
            volumes: self.new_volumes(plan, &id),
            tags: instance_tags(plan),
            settings: plan.settings.clone(),
            due: None,
            has_room: true,
            delegated_addresses: delegated,
            meter: Meter::default(),
            id,
        }
    }

    /// An id drawn for the launch; drawn again if it is taken (a token used again after it was forgotten).
    fn fresh_id(&self, origin: &str, index: u32) -> String {
        (0_u32..)
            .map(|attempt| self.seed.stream(&["instance", origin, &index.to_string(), &attempt.to_string()]))
            .map(|mut stream| format!("i-0{}", stream.hex(16)))
            .find(|id| !self.instances.contains_key(id))
            .expect("64 bits are not all taken")
    }

    fn new_interfaces(&self, plan: &Plan, instance: &str, addresses: &[Ipv4Addr]) -> Vec<Interface> {
        let only = [InterfaceSettings::default()];
        let given = &plan.settings.network_interfaces;
        let wanted = if given.is_empty() { &only[..] } else { given };
        let tags = tags_for(&plan.settings.tags, "network-interface");
        let mut free = addresses.iter().copied();
        let make = |(settings, place): (&InterfaceSettings, usize)| {
            let mut stream = self.seed.stream(&["interface", instance, &place.to_string()]);
            let groups = [&settings.security_group_ids[..], plan.settings.primary_groups()];
            let groups = groups.into_iter().find(|groups| !groups.is_empty()).map(<[String]>::to_vec);
            Interface {
                id: format!("eni-0{}", stream.hex(16)),
                attachment_id: format!("eni-attach-0{}", stream.hex(16)),
                mac_address: format!(
                    "06:{}:{}:{}:{}:{}",
                    stream.hex(2),
                    stream.hex(2),
                    stream.hex(2),
                    stream.hex(2),
                    stream.hex(2)
                ),
                device_index: settings.device_index,
                network_card_index: settings.network_card_index,
                interface_type: settings.interface_type.clone().unwrap_or_else(|| "interface".to_owned()),
                private_ip: if has_address(settings) { free.next() } else { None },
                security_group_ids: groups.unwrap_or_else(|| self.default_groups()),
                delete_on_termination: settings.delete_on_termination.unwrap_or(true),
                tags: tags.clone(),
            }
        };
        wanted.iter().zip(0..).map(make).collect()
    }

    fn default_groups(&self) -> Vec<String> {
        self.network
            .security_groups
            .iter()
            .filter(|group| group.name == "default")
            .map(|group| group.id.clone())
            .collect()
    }

    fn new_volumes(&self, plan: &Plan, instance: &str) -> Vec<Volume> {
        let tags = tags_for(&plan.settings.tags, "volume");
        let devices = merged_devices(&plan.image, &plan.settings.block_devices);
        let volume = |(name, settings): (String, VolumeSettings)| Volume {
            id: format!("vol-0{}", self.seed.stream(&["volume", instance, &name]).hex(16)),
            size_gib: settings.size_gib.unwrap_or_else(|| root_size(&plan.image)),
            volume_type: settings.volume_type.unwrap_or_else(|| "gp3".to_owned()),
            encrypted: settings.encrypted.unwrap_or(false),
            attached: self.now,
            delete_on_termination: settings.delete_on_termination.unwrap_or(true),
            tags: tags.clone(),
            device_name: name,
        };
        devices.into_iter().map(volume).collect()
    }
}

pub(crate) fn give_all_back(subnet: &mut super::Subnet, addresses: &[Ipv4Addr], delegated: u32) {
    for (address, place) in addresses.iter().zip(0..) {
        subnet.give_back(*address, if place == 0 { delegated } else { 0 });
    }
}

fn has_address(interface: &InterfaceSettings) -> bool {
    interface.interface_type.as_deref() != Some("efa-only")
}

fn unknown_image(id: &str) -> CloudError {
    CloudError::NotFound { kind: ResourceKind::Image, id: id.to_owned() }
}

fn check_zone(asked: Option<&str>, zone: &str, subnet: &str) -> Result<(), CloudError> {
    match asked {
        Some(asked) if asked != zone => Err(CloudError::InvalidParameter {
            name: "AvailabilityZone".to_owned(),
            value: asked.to_owned(),
            expected: format!("subnet `{subnet}` is in `{zone}`"),
        }),
        _ => Ok(()),
    }
}

fn check_architecture(machine_type: &MachineType, image: &Image) -> Result<(), CloudError> {
    if machine_type.architectures.contains(&image.architecture) {
        return Ok(());
    }
    Err(CloudError::InvalidParameter {
        name: "ImageId".to_owned(),
        value: image.id.clone(),
        expected: format!(
            "the architecture '{}' of the specified instance type does not match the architecture '{}' of the specified AMI",
            machine_type.image_architecture(),
            image.architecture
        ),
    })
}

fn check_interfaces(machine_type: &MachineType, interfaces: &[InterfaceSettings]) -> Result<(), CloudError> {
    for interface in interfaces {
        let card = machine_type.network.cards.get(interface.network_card_index as usize);
        if card.is_none_or(|card| interface.device_index >= card.max_interfaces) {
            let (device, card) = (interface.device_index, interface.network_card_index);
            let name = machine_type.name;
            let reason = format!("interface {device} of network card {card} does not exist on `{name}`");
            return Err(CloudError::InvalidCombination { reason });
        }
    }
    let efa =
        interfaces.iter().filter(|each| each.interface_type.as_deref().is_some_and(|kind| kind.starts_with("efa")));
    let allowed = machine_type.network.efa_max_interfaces.unwrap_or(0);
    if efa.count() > allowed as usize {
        let reason = format!("`{}` supports {allowed} EFA interfaces", machine_type.name);
        return Err(CloudError::InvalidCombination { reason });
    }
    Ok(())
}

/// E.g. `ip-10-0-0-4.us-west-2.compute.internal`; us-east-1 has its own domain.
fn private_dns_name(address: Ipv4Addr, region: &str) -> String {
    let [a, b, c, d] = address.octets();
    let domain = if region == "us-east-1" { "ec2.internal".to_owned() } else { format!("{region}.compute.internal") };
    format!("ip-{a}-{b}-{c}-{d}.{domain}")
}

/// The instance's tags: those of the request, and the vendor's about the fleet and the template.
fn instance_tags(plan: &Plan) -> super::Tags {
    let mut tags = tags_for(&plan.settings.tags, "instance");
    if let Some(fleet) = &plan.fleet_id {
        tags.insert("aws:ec2:fleet-id".to_owned(), fleet.clone());
    }
    if let Some(template) = &plan.template {
        tags.insert("aws:ec2launchtemplate:id".to_owned(), template.id.clone());
        tags.insert("aws:ec2launchtemplate:version".to_owned(), template.version.to_string());
    }
    tags
}

fn root_size(image: &Image) -> u64 {
    match (image.platform, image.family) {
        (Some(_), _) => WINDOWS_ROOT_GIB,
        (None, "bottlerocket") => BOTTLEROCKET_ROOT_GIB,
        (None, _) => DEFAULT_ROOT_GIB,
    }
}

/// The image's devices, with those of the request over them, by device name.
fn merged_devices(image: &Image, given: &[BlockDevice]) -> std::collections::BTreeMap<String, VolumeSettings> {
    let mut devices = std::collections::BTreeMap::from([(image.root_device.to_owned(), VolumeSettings::default())]);
    if image.family == "bottlerocket" {
        let data = VolumeSettings { size_gib: Some(DEFAULT_ROOT_GIB), ..VolumeSettings::default() };
        devices.insert(BOTTLEROCKET_DATA_DEVICE.to_owned(), data);
    }
    let volumes = given.iter().filter_map(|device| Some((device.device_name.clone(), device.volume.clone()?)));
    devices.extend(volumes);
    devices
}
