//! The provider: what is remembered between calls, and in which order calls are made.

use super::{
    batch::Batcher,
    cache::Cache,
    call::{CallObserver, Calls},
    capacity::{EFA, Shape},
    catalog::{Market, in_stock, instance_type},
    discovery::{Discovery, Known},
    drift,
    error::{IDEMPOTENT_PARAMETER_MISMATCH, LAUNCH_TEMPLATE_NOT_FOUND},
    fleet,
    images::Images,
    instances::{self, Described},
    interruption,
    launch_plan::{Plan, Surroundings, plan},
    launch_template,
    network::{AddressLedger, SubnetFacts, read_security_groups, read_subnets},
    node_class::{self, Found, RESOLVE_AGAIN},
    placement::{self, GroupFacts},
    profile,
    refusals::Refusals,
    reservation::{self, Held, ReservationFacts},
    sdk::Clients,
    status,
    user_data::Cluster,
};
use crate::cloud::{
    BatchObserver, CloudError, CloudInstance, CloudProvider, DeleteProgress, LaunchRequest, Launched, NodeClass,
    Notice, NoticeKind, ResolvedNodeClass,
};
use async_trait::async_trait;
use jiff::{SignedDuration, Timestamp};
use sawhorse_ambient::{Clock, Seed};
use sawhorse_core::{
    api::{
        Ami, CapacityReservation, Ec2NodeClass, NodeClaim, NodePool, SecurityGroup,
        conditions::{Conditioned, FALSE, READY, find},
        hash, labels,
    },
    model::{CapacityType, InstanceType, Offering, ProviderId, RepairPolicy},
};
use serde::Serialize;
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

/// How long subnets are kept: their free addresses change.
const NETWORK_TTL: Duration = Duration::from_secs(60);
/// How long security groups are kept; where none was found they are looked for again at once.
const SECURITY_GROUPS_TTL: Duration = Duration::from_secs(5 * 60);
/// How long the images of a NodeClass are kept.
const IMAGES_TTL: Duration = Duration::from_secs(5 * 60);
/// How long ids that AWS publishes are kept; they change with releases.
const PUBLISHED_TTL: Duration = Duration::from_secs(24 * 60 * 60);
/// How often newer images are looked for once one in use is deprecated.
const RELEASES_INTERVAL: SignedDuration = SignedDuration::from_mins(30);
/// How long values of users' own parameters are kept.
const PARAMETER_TTL: Duration = Duration::from_secs(5 * 60);
/// How long a profile that was made is not looked at again.
const PROFILE_TTL: Duration = Duration::from_secs(15 * 60);
/// How long a listing of the machines serves to judge drift: until garbage collection has listed them anew, so that drift
/// costs no listing of its own.
const LISTING_TTL: Duration = Duration::from_secs(150);
/// How long launches are remembered, to look for their machine should they be repeated: far beyond the launch timeout.
const LAUNCHES_TTL: SignedDuration = SignedDuration::from_hours(1);
/// Tokens that one launch may use up: another is needed only when one was used with other parameters and bought nothing.
const MAX_TOKENS: u32 = 3;
/// How often and at what interval a machine is looked for that must have been bought: tags show up within seconds.
const ADOPTION_LOOKS: u32 = 5;
const ADOPTION_INTERVAL: Duration = Duration::from_secs(2);

/// What the provider needs to know.
#[derive(Clone)]
pub struct Ec2ProviderConfig {
    /// The services' clients.
    pub clients: Clients,
    /// The program's clock.
    pub clock: Clock,
    /// Where waits between attempts are drawn from.
    pub seed: Seed,
    /// Told of every call.
    pub observer: Option<Arc<dyn CallObserver>>,
    /// E.g. `us-east-1`.
    pub region: String,
    /// The cluster that machines join.
    pub cluster: Cluster,
    /// The share of memory that the hypervisor keeps, e.g. 0.075.
    pub vm_memory_overhead_percent: f64,
    /// Network interfaces that give no addresses to pods.
    pub reserved_enis: u32,
    /// The queue that says what happens to machines; none to learn of it by looking.
    pub interruption_queue: Option<String>,
}

/// EC2 as a cloud.
pub struct Ec2Provider {
    clients: Clients,
    clock: Clock,
    calls: Calls,
    region: String,
    cluster: Cluster,
    vm_memory_overhead_percent: f64,
    reserved_enis: i64,
    started: Timestamp,
    discovery: Discovery,
    refusals: Mutex<Refusals>,
    offered: Mutex<BTreeMap<String, Offered>>,
    addresses: AddressLedger,
    subnets: Cache<Vec<SubnetFacts>>,
    security_groups: Cache<Vec<SecurityGroup>>,
    images: Cache<Vec<Ami>>,
    published: Cache<Option<String>>,
    parameters: Cache<Option<String>>,
    profiles: Cache<()>,
    reservations: Cache<Vec<ReservationFacts>>,
    placement_groups: Cache<placement::Resolved>,
    held: Held,
    interruption_queue: Option<String>,
    asked_for_releases: Mutex<Option<Timestamp>>,
    /// The queue's URL, once it is known.
    queue_url: tokio::sync::OnceCell<String>,
    listing: Cache<Listing>,
    /// Machines that are asked for, and given back, together.
    gets: Batcher<Option<Described>>,
    ends: Batcher<DeleteProgress>,
    /// Launch templates that are known to exist.
    templates: tokio::sync::Mutex<BTreeSet<String>>,
    /// UIDs of NodeClaims for which a machine may have been bought by this process, and when.
    launches: Mutex<BTreeMap<String, Timestamp>>,
}

type Listing = Arc<BTreeMap<ProviderId, Described>>;

/// The types that a NodeClass offers, and what they were computed from.
#[derive(Debug)]
struct Offered {
    fingerprint: String,
    known: u64,
    /// While nothing is refused.
    stocked: Vec<Arc<InstanceType>>,
    /// The generation of the refusals and reservations that `types` reflect; none before the first.
    refusals: Option<u64>,
    types: Vec<Arc<InstanceType>>,
}

impl fmt::Debug for Ec2Provider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ec2Provider")
            .field("region", &self.region)
            .field("cluster", &self.cluster.name)
            .finish_non_exhaustive()
    }
}

impl Ec2Provider {
    /// A provider that has not asked the cloud anything yet.
    pub fn new(config: Ec2ProviderConfig) -> Self {
        let Ec2ProviderConfig {
            clients,
            clock,
            seed,
            observer,
            region,
            cluster,
            vm_memory_overhead_percent,
            reserved_enis,
            interruption_queue,
        } = config;
        Self {
            clients,
            clock,
            calls: Calls::new(clock, seed, observer),
            discovery: Discovery::new(clock, region.clone()),
            region,
            cluster,
            vm_memory_overhead_percent,
            reserved_enis: reserved_enis.into(),
            started: clock.now(),
            refusals: Mutex::default(),
            offered: Mutex::default(),
            addresses: AddressLedger::default(),
            subnets: Cache::new(clock, NETWORK_TTL),
            security_groups: Cache::new(clock, SECURITY_GROUPS_TTL),
            images: Cache::new(clock, IMAGES_TTL),
            published: Cache::new(clock, PUBLISHED_TTL),
            parameters: Cache::new(clock, PARAMETER_TTL),
            profiles: Cache::new(clock, PROFILE_TTL),
            reservations: Cache::new(clock, NETWORK_TTL),
            placement_groups: Cache::new(clock, NETWORK_TTL),
            held: Held::default(),
            interruption_queue: interruption_queue.filter(|name| !name.is_empty()),
            asked_for_releases: Mutex::default(),
            queue_url: tokio::sync::OnceCell::new(),
            listing: Cache::new(clock, LISTING_TTL),
            gets: Batcher::new("describe_instances", clock),
            ends: Batcher::new("terminate_instances", clock),
            templates: tokio::sync::Mutex::default(),
            launches: Mutex::default(),
        }
    }

    fn shape(&self, class: &Ec2NodeClass) -> Shape {
        Shape::of(&class.spec, self.vm_memory_overhead_percent, self.reserved_enis)
    }

    /// The types that `class` offers, computed anew when something that they depend on has changed.
    async fn types(&self, class: &Ec2NodeClass) -> Result<Vec<Arc<InstanceType>>, CloudError> {
        let known = self.discovery.known(&self.calls, &self.clients).await?;
        let group = self.placement_group(class).await?.group;
        let now = self.clock.now();
        let mut refusals = lock(&self.refusals);
        let refused = refusals.expire(now);
        let name = class.metadata.name.clone().unwrap_or_default();
        let fingerprint = fingerprint(class, group.as_ref());
        let mut offered = lock(&self.offered);
        let last =
            offered.remove(&name).filter(|last| last.known == known.generation && last.fingerprint == fingerprint);
        let mut current =
            last.unwrap_or_else(|| Offered { fingerprint, ..self.offered(class, group.as_ref(), &known) });
        let changes = refused + self.held.generation();
        if current.refusals != Some(changes) {
            current.types = in_stock(&current.stocked, class, group.as_ref(), &refusals, now);
            let reservations = class.status.as_ref().map(|status| status.capacity_reservations.as_slice());
            reservation::with_reserved(&mut current.types, reservations.unwrap_or_default(), &self.held);
            current.refusals = Some(changes);
        }
        let types = current.types.clone();
        offered.insert(name, current);
        Ok(types)
    }

    /// What `class` offers while nothing is refused.
    fn offered(&self, class: &Ec2NodeClass, group: Option<&GroupFacts>, known: &Known) -> Offered {
        let shape = self.shape(class);
        let market = Market { region: &self.region, zones: &known.zones, prices: &known.prices, group };
        let types = known.machines.iter().filter_map(|machine| instance_type(machine, class, &shape, &market));
        Offered {
            fingerprint: String::new(),
            known: known.generation,
            stocked: types.map(Arc::new).collect(),
            refusals: None,
            types: Vec::new(),
        }
    }

    async fn subnets(&self, class: &Ec2NodeClass) -> Result<Vec<SubnetFacts>, CloudError> {
        let terms = &class.spec.subnet_selector_terms;
        let read = async {
            let subnets = read_subnets(&self.calls, &self.clients, terms).await?;
            self.addresses.settle(&subnets);
            Ok(subnets)
        };
        self.subnets.get_or(&key(terms), read).await
    }

    async fn find(&self, class: &Ec2NodeClass) -> Result<Found, CloudError> {
        let groups = &class.spec.security_group_selector_terms;
        let images = &class.spec.ami_selector_terms;
        let reader = Images {
            calls: &self.calls,
            clients: &self.clients,
            published: &self.published,
            of_users: &self.parameters,
            kubernetes_version: &self.cluster.kubernetes_version,
            now: self.clock.now(),
        };
        let mut amis = self.images.get_or(&key(images), reader.resolve(images)).await?;
        if amis.iter().any(|ami| ami.deprecated.unwrap_or(false)) && self.may_ask_for_releases() {
            // What was published as the latest no longer is.
            self.published.clear().await;
            self.images.clear().await;
            amis = self.images.get_or(&key(images), reader.resolve(images)).await?;
        }
        let read = read_security_groups(&self.calls, &self.clients, groups);
        let security_groups = self.security_groups.get_or(&key(groups), read).await?;
        if security_groups.is_empty() {
            self.security_groups.clear().await;
        }
        if amis.is_empty() {
            self.images.clear().await;
        }
        Ok(Found {
            amis,
            subnets: self.subnets(class).await?,
            security_groups,
            reservations: self.reservations(class).await?,
            group_problem: self.placement_group(class).await?.problem,
            profile_refusal: self.ensure_profile(class).await?,
        })
    }

    /// Whether it is time to look for images newer than deprecated ones; a pinned version stays deprecated.
    fn may_ask_for_releases(&self) -> bool {
        let now = self.clock.now();
        let mut last = lock(&self.asked_for_releases);
        let due = last.is_none_or(|last| last + RELEASES_INTERVAL <= now);
        if due {
            *last = Some(now);
        }
        due
    }

    async fn reservations(&self, class: &Ec2NodeClass) -> Result<Vec<CapacityReservation>, CloudError> {
        let terms = &class.spec.capacity_reservation_selector_terms;
        if terms.is_empty() {
            return Ok(Vec::new());
        }
        let read = async {
            let found = reservation::read(&self.calls, &self.clients, terms, self.clock.now()).await?;
            self.held.settle(&found);
            Ok(found)
        };
        let found = self.reservations.get_or(&key(terms), read).await?;
        Ok(found.into_iter().map(|facts| facts.status).collect())
    }

    async fn placement_group(&self, class: &Ec2NodeClass) -> Result<placement::Resolved, CloudError> {
        placement::resolve(&self.placement_groups, &self.calls, &self.clients, class).await
    }

    /// Makes the profile of a class that names a role; why it could not be made, if that will not pass by itself.
    async fn ensure_profile(&self, class: &Ec2NodeClass) -> Result<node_class::Verdict, CloudError> {
        let role = class.spec.role.as_deref().filter(|role| !role.is_empty());
        let named = class.spec.instance_profile.as_deref().is_some_and(|profile| !profile.is_empty());
        let place = (self.cluster.name.as_str(), self.region.as_str());
        let profile = node_class::instance_profile(class, place.0, place.1);
        let (Some(role), Some(profile), false) = (role, profile, named) else { return Ok(None) };
        let make = profile::ensure(&self.calls, &self.clients, class, place, (&profile, role));
        match self.profiles.get_or(&profile, make).await {
            Ok(()) => Ok(None),
            Err(error) => profile::refusal(&error).map(Some).ok_or(error),
        }
    }

    async fn queue_url(&self, queue: &str) -> Result<&str, CloudError> {
        let ask = || interruption::url(&self.calls, &self.clients, queue);
        Ok(self.queue_url.get_or_try_init(ask).await?)
    }

    async fn plan(&self, request: &LaunchRequest, class: &Ec2NodeClass) -> Result<Plan, CloudError> {
        let resolved: BTreeSet<_> =
            class.status.iter().flat_map(|status| &status.subnets).map(|subnet| subnet.id.clone()).collect();
        let mut subnets = self.subnets(class).await?;
        subnets.retain(|subnet| resolved.contains(&subnet.id));
        let resolved = self.placement_group(class).await?;
        let now = self.clock.now();
        let refusals = lock(&self.refusals);
        let best = self.addresses.best_by_zone(&subnets, &refusals.full_subnets(now));
        let (shape, group) = (self.shape(class), resolved.group.as_ref());
        let cluster = &self.cluster;
        plan(request, &Surroundings { class, cluster, shape: &shape, group, subnets: &best, refusals: &refusals, now })
    }

    /// Makes the templates that are not known to exist. Launches that come meanwhile wait, as they mostly need the same ones.
    async fn ensure_templates(&self, plan: &Plan) -> Result<(), CloudError> {
        let mut known = self.templates.lock().await;
        for group in &plan.groups {
            let name = group.template.name();
            if !known.contains(&name) {
                launch_template::ensure(&self.calls, &self.clients, &group.template).await?;
                known.insert(name);
            }
        }
        Ok(())
    }

    async fn forget_templates(&self, plan: &Plan) {
        let mut known = self.templates.lock().await;
        for group in &plan.groups {
            known.remove(&group.template.name());
        }
    }

    /// Sends the fleet request until it has an answer that decides: with the same token while it may have been heard, with
    /// the next one when the token was used before with other parameters and bought nothing.
    async fn buy(&self, request: &LaunchRequest, plan: &Plan) -> Result<CloudInstance, CloudError> {
        let mut template_lost = false;
        let mut nth = 0;
        loop {
            let token = client_token(request, nth);
            let send = || fleet::request(plan, &token).send_with(&self.clients.ec2);
            match self.calls.send("CreateFleet", send).await {
                Ok(answer) => {
                    fleet::exhausted(&answer, plan).iter().for_each(|id| self.held.exhaust(id));
                    return fleet::read(&answer, plan, &mut lock(&self.refusals), self.clock.now());
                }
                Err(error) if error.has_code(LAUNCH_TEMPLATE_NOT_FOUND) && !template_lost => {
                    template_lost = true;
                    self.forget_templates(plan).await;
                    self.ensure_templates(plan).await?;
                }
                Err(error) if error.has_code(IDEMPOTENT_PARAMETER_MISMATCH) && nth + 1 < MAX_TOKENS => {
                    if let Some(found) = self.adopt(request, ADOPTION_LOOKS).await? {
                        return Ok(found);
                    }
                    nth += 1;
                }
                Err(error @ CloudError::Transport { .. }) => return self.adopt(request, 1).await?.ok_or(error),
                Err(error) => return Err(error),
            }
        }
    }

    /// Looks for the machine that was bought for the claim before.
    async fn adopt(&self, request: &LaunchRequest, looks: u32) -> Result<Option<CloudInstance>, CloudError> {
        let (name, uid) = claim_identity(&request.claim);
        for look in 1..=looks {
            if let Some(found) = instances::find(&self.calls, &self.clients, &self.cluster.name, name, uid).await? {
                return Ok(Some(found.instance));
            }
            if look < looks {
                tokio::time::sleep(ADOPTION_INTERVAL).await;
            }
        }
        Ok(None)
    }

    /// Whether a machine may have been bought for the claim: by a process before this one, or by this one. Remembers that
    /// one may be from now on.
    fn may_have_been_bought(&self, request: &LaunchRequest) -> bool {
        let (_, uid) = claim_identity(&request.claim);
        let now = self.clock.now();
        let mut launches = lock(&self.launches);
        launches.retain(|_, at| *at + LAUNCHES_TTL > now);
        let before = launches.insert(uid.to_owned(), now).is_some();
        let created = request.claim.metadata.creation_timestamp.as_ref().map(|time| time.0);
        // Objects carry whole seconds, so one of the second in which this process started may be older than it.
        before || request.attempt > 1 || created.is_none_or(|created| created <= self.started)
    }

    async fn launched(
        &self,
        request: &LaunchRequest,
        class: &Ec2NodeClass,
        instance: CloudInstance,
    ) -> Result<Launched, CloudError> {
        let by_name =
            |types: &[Arc<InstanceType>]| types.iter().find(|one| one.name == instance.instance_type).cloned();
        let instance_type = match by_name(&request.instance_types) {
            Some(found) => Some(found),
            None => by_name(&self.types(class).await?),
        };
        let Some(instance_type) = instance_type else {
            let message = format!("a machine of the unknown type `{}` was bought", instance.instance_type);
            return Err(super::error::unusable("CreateFleet", message));
        };
        Ok(describe_launch(request, class, &self.cluster.ca_bundle, instance, &instance_type))
    }

    /// The machines as they are now.
    async fn list_anew(&self) -> Result<Listing, CloudError> {
        let machines = instances::list(&self.calls, &self.clients, &self.cluster.name).await?;
        Ok(Arc::new(machines.into_iter().map(|one| (one.instance.provider_id.clone(), one)).collect()))
    }

    async fn get_described(&self, instance_id: &str) -> Result<Option<Described>, CloudError> {
        self.gets.ask(instance_id, |ids| instances::get(&self.calls, &self.clients, ids)).await
    }
}

#[async_trait]
impl CloudProvider for Ec2Provider {
    fn name(&self) -> &'static str {
        "aws"
    }

    async fn instance_types(&self, _: &NodePool, node_class: &NodeClass) -> Result<Vec<Arc<InstanceType>>, CloudError> {
        let NodeClass::Ec2(class) = node_class;
        self.types(class).await
    }

    async fn create(&self, request: &LaunchRequest) -> Result<Launched, CloudError> {
        let NodeClass::Ec2(class) = &request.node_class;
        check_ready(class)?;
        let adopted = if self.may_have_been_bought(request) { self.adopt(request, 1).await? } else { None };
        let instance = match adopted {
            Some(instance) => instance,
            None => {
                let plan = self.plan(request, class).await?;
                self.ensure_templates(&plan).await?;
                let bought = self.buy(request, &plan).await?;
                let pool = plan.overrides().find(|pool| pool.zone == bought.zone);
                pool.into_iter().for_each(|pool| self.addresses.take(&pool.subnet, plan.addresses));
                bought.reservation_id.iter().for_each(|id| self.held.take(id));
                bought
            }
        };
        self.launched(request, class, instance).await
    }

    async fn delete(&self, id: &ProviderId) -> Result<DeleteProgress, CloudError> {
        let Some(id) = instances::instance_id(id) else { return Ok(DeleteProgress::NotFound) };
        match self.get_described(id).await? {
            None => Ok(DeleteProgress::NotFound),
            Some(machine) if machine.instance.terminating => Ok(DeleteProgress::Terminating),
            Some(_) => self.ends.ask(id, |ids| instances::terminate(&self.calls, &self.clients, ids)).await,
        }
    }

    async fn get(&self, id: &ProviderId) -> Result<Option<CloudInstance>, CloudError> {
        let Some(id) = instances::instance_id(id) else { return Ok(None) };
        Ok(self.get_described(id).await?.map(|described| described.instance))
    }

    async fn list(&self) -> Result<Vec<CloudInstance>, CloudError> {
        let listing = self.list_anew().await?;
        self.listing.put("", Arc::clone(&listing)).await;
        Ok(listing.values().map(|described| described.instance.clone()).collect())
    }

    async fn drift_reason(
        &self,
        claim: &NodeClaim,
        _: &NodePool,
        node_class: &NodeClass,
    ) -> Result<Option<String>, CloudError> {
        let NodeClass::Ec2(class) = node_class;
        if let Some(reason) = drift::by_hash(claim, class, &self.cluster.ca_bundle) {
            return Ok(Some(reason.to_owned()));
        }
        let id = claim.status.as_ref().and_then(|status| status.provider_id.as_deref()).map(ProviderId::from);
        let listing = self.listing.get_or("", self.list_anew()).await?;
        let Some(machine) = id.and_then(|id| listing.get(&id)) else { return Ok(None) };
        let types = self.types(class).await?;
        let instance_type = types.iter().find(|one| one.name == machine.instance.instance_type);
        let mut reason = drift::by_resources(machine, instance_type.map(AsRef::as_ref), class);
        if reason.is_none() && drift::by_reservation(&machine.instance, class).is_some() {
            // With its reservation's end it became a machine on demand, which the listing may not know yet.
            let now = self.get(&machine.instance.provider_id).await?;
            reason = now.and_then(|now| drift::by_reservation(&now, class));
        }
        let group = self.placement_group(class).await?.group;
        Ok(reason.or_else(|| drift::by_group(claim, group.as_ref())).map(str::to_owned))
    }

    async fn resolve_node_class(&self, node_class: &NodeClass) -> Result<ResolvedNodeClass, CloudError> {
        let NodeClass::Ec2(class) = node_class;
        let found = self.find(class).await?;
        let (cluster, now) = (&self.cluster, self.clock.now());
        let status = node_class::status(class, found, &cluster.name, &self.region, &cluster.kubernetes_version, now);
        Ok(ResolvedNodeClass::Ec2 { status: Box::new(status), again_after: RESOLVE_AGAIN })
    }

    async fn release_node_class(&self, node_class: &NodeClass) -> Result<(), CloudError> {
        let NodeClass::Ec2(class) = node_class;
        let name = class.metadata.name.as_deref().unwrap_or_default();
        launch_template::delete_of_class(&self.calls, &self.clients, &self.cluster.name, name).await?;
        if class.spec.role.is_some() {
            let place = (self.cluster.name.as_str(), self.region.as_str());
            profile::delete_of_class(&self.calls, &self.clients, class, place).await?;
        }
        lock(&self.offered).remove(name);
        // Which of them were the class's is not remembered: a template that is still there is found again by its name.
        self.templates.lock().await.clear();
        Ok(())
    }

    /// What the EKS node monitoring agent says, too (spec aws 1).
    fn repair_policies(&self) -> Vec<RepairPolicy> {
        let of_agent = [
            ("AcceleratedHardwareReady", Duration::from_mins(10)),
            ("StorageReady", Duration::from_mins(30)),
            ("NetworkingReady", Duration::from_mins(30)),
            ("KernelReady", Duration::from_mins(30)),
            ("ContainerRuntimeReady", Duration::from_mins(30)),
        ];
        let of_agent = of_agent.map(|(condition, toleration)| RepairPolicy { condition, status: "False", toleration });
        RepairPolicy::OF_KUBELETS.into_iter().chain(of_agent).collect()
    }

    fn sends_notices(&self) -> bool {
        self.interruption_queue.is_some()
    }

    async fn notices(&self) -> Result<Vec<Notice>, CloudError> {
        let Some(queue) = &self.interruption_queue else { return std::future::pending().await };
        let url = self.queue_url(queue).await?;
        interruption::receive(&self.calls, &self.clients, url).await
    }

    async fn settle_notice(&self, handle: &str) -> Result<(), CloudError> {
        let Some(queue) = &self.interruption_queue else { return Ok(()) };
        let url = self.queue_url(queue).await?;
        interruption::delete(&self.calls, &self.clients, url, handle).await
    }

    async fn troubles(&self) -> Result<BTreeMap<NoticeKind, Vec<String>>, CloudError> {
        status::read(&self.calls, &self.clients, self.clock.now()).await
    }

    fn avoid(&self, capacity_type: CapacityType, instance_type: &str, zone: &str) {
        lock(&self.refusals).mark_pool(capacity_type, instance_type, zone, self.clock.now());
    }

    fn observe_batches(&self, observer: Arc<dyn BatchObserver>) {
        self.gets.observe(Arc::clone(&observer));
        self.ends.observe(observer);
    }

    async fn refresh(&self) -> Result<Duration, CloudError> {
        self.discovery.refresh(&self.calls, &self.clients).await
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // What these hold is replaced as a whole, so it is whole even if its last holder panicked.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn key(terms: &impl Serialize) -> String {
    serde_json::to_string(terms).expect("selector terms are strings and maps, which are JSON")
}

/// What of a NodeClass its types depend on. Subnets in order of their zones, since their own order changes with every launch.
fn fingerprint(class: &Ec2NodeClass, group: Option<&GroupFacts>) -> String {
    let subnets = class.status.iter().flat_map(|status| &status.subnets);
    let subnets: BTreeSet<_> = subnets.map(|subnet| (&subnet.zone, &subnet.id, &subnet.zone_id)).collect();
    let reservations = class.status.as_ref().map(|status| &status.capacity_reservations);
    key(&(&class.spec, subnets, reservations, group))
}

fn claim_identity(claim: &NodeClaim) -> (&str, &str) {
    (claim.metadata.name.as_deref().unwrap_or_default(), claim.metadata.uid.as_deref().unwrap_or_default())
}

/// Names the launch, so that a repetition buys nothing (DESIGN 2.5): the claim's UID and attempt, and which of the attempt's
/// tokens it is.
fn client_token(request: &LaunchRequest, nth: u32) -> String {
    let (_, uid) = claim_identity(&request.claim);
    match nth {
        0 => format!("{uid}-{}", request.attempt),
        nth => format!("{uid}-{}-{nth}", request.attempt),
    }
}

fn check_ready(class: &Ec2NodeClass) -> Result<(), CloudError> {
    let name = class.metadata.name.clone().unwrap_or_default();
    let not_ready = |message: String| Err(CloudError::NodeClassNotReady { name: name.clone(), message });
    match find(class.conditions(), READY) {
        None => not_ready("it has not been looked at yet".to_owned()),
        Some(ready) if ready.status == FALSE => not_ready(ready.message.clone()),
        Some(ready) if ready.observed_generation != class.metadata.generation => {
            not_ready("its latest change has not been looked at yet".to_owned())
        }
        Some(_) if !class.is_true(READY) => not_ready("whether it is ready is not known yet".to_owned()),
        Some(_) => Ok(()),
    }
}

/// What the claim is to know of its machine (spec aws 2.4 at the end, 1.7).
fn describe_launch(
    request: &LaunchRequest,
    class: &Ec2NodeClass,
    ca_bundle: &str,
    instance: CloudInstance,
    kind: &InstanceType,
) -> Launched {
    let reserved = instance.reservation_id.as_ref().filter(|_| instance.capacity_type == CapacityType::Reserved);
    let is_it = |one: &&Offering| {
        one.zone == instance.zone
            && one.capacity_type == instance.capacity_type
            && one.reservation_id.as_ref() == reserved
    };
    let offering = kind.offerings.iter().find(is_it);
    let mut labels = kind.requirements.single_values();
    // A reservation of the type is the machine's only if it runs in it.
    reservation::LABELS.iter().for_each(|key| drop(labels.remove(*key)));
    labels.extend(offering.map(|one| one.requirements.single_values()).unwrap_or_default());
    labels.insert(labels::ZONE.to_owned(), instance.zone.clone());
    labels.insert(labels::CAPACITY_TYPE.to_owned(), instance.capacity_type.as_str().to_owned());
    let tenancy = request.requirements.get(labels::INSTANCE_TENANCY).is_none_or(|tenancy| tenancy.has("default"));
    labels.insert(labels::INSTANCE_TENANCY.to_owned(), if tenancy { "default" } else { "dedicated" }.to_owned());
    let pool = request.claim.metadata.labels.as_ref().and_then(|all| all.get(labels::NODE_POOL));
    let partition = placement::partition(&request.requirements, &kind.requirements);
    labels.extend(partition.map(|number| (labels::PLACEMENT_GROUP_PARTITION.to_owned(), number)));
    labels.extend(pool.map(|pool| (labels::NODE_POOL.to_owned(), pool.clone())));
    let mut annotations = BTreeMap::from([
        (labels::EC2_NODE_CLASS_HASH.to_owned(), hash::ec2_node_class(class, Some(ca_bundle))),
        (labels::EC2_NODE_CLASS_HASH_VERSION.to_owned(), hash::EC2_NODE_CLASS_VERSION.to_owned()),
    ]);
    let profile = class.status.as_ref().and_then(|status| status.instance_profile.clone());
    annotations.extend(profile.map(|profile| (labels::INSTANCE_PROFILE_NAME.to_owned(), profile)));
    let (mut capacity, mut allocatable) = (kind.capacity.clone(), kind.allocatable());
    // The interfaces are attached only if they are asked for.
    if !request.claim.spec.resources.requests.contains_key(EFA) && class.spec.network_interfaces.is_empty() {
        capacity.remove(EFA);
        allocatable.remove(EFA);
    }
    let price = offering.map(|one| one.price).unwrap_or_default();
    Launched { instance, labels, annotations, capacity, allocatable, price }
}

#[cfg(test)]
#[path = "provider_tests.rs"]
mod tests;
