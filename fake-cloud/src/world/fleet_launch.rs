//! Creating a fleet: candidates from templates and overrides, tried in the strategy's order.

use super::{
    AllocationStrategy, CloudError, Fleet, FleetError, FleetLaunch, FleetOverride, FleetPool, FleetRequest,
    LaunchSettings, Price, TemplateVersion, World,
    capacity::PoolKey,
    fleet_order::{Candidate, fleet_order},
    launch::Plan,
    tags,
    token::{Outcome, fingerprint},
};

/// EC2's limits on a fleet request.
const MAX_CONFIGS: usize = 50;
const MAX_POOLS: usize = 300;
const MAX_TARGET: u32 = 10_000;

/// A pool that the request names. What a launch from it needs is put together only when it is tried: of hundreds of
/// candidates few are.
struct FleetCandidate {
    pool: FleetPool,
    key: PoolKey,
    max_price: Option<Price>,
}

/// A candidate not yet exhausted, with its plan once it was tried.
type Open = (usize, Option<Result<Plan, CloudError>>);

/// The fleet while its pools are tried.
struct Filling {
    fleet: Fleet,
    origin: String,
    token: Option<String>,
    launched: u32,
}

impl World {
    /// Launches the machines of an instant fleet, as many as its pools give. A pool that was tried and gave less than
    /// wanted is among the errors, also when others gave the rest.
    ///
    /// # Errors
    /// The request itself is wrong; nothing was launched.
    pub fn create_fleet(&mut self, request: &FleetRequest) -> Result<Fleet, CloudError> {
        let print = fingerprint(request);
        let token = request.token.as_deref();
        if let Some(Outcome::Fleet(fleet)) = self.tokens.recall(self.now, "CreateFleet", token, print)? {
            return Ok(fleet);
        }
        check_request(request)?;
        let candidates = self.fleet_candidates(request)?;
        if request.dry_run {
            return Err(CloudError::DryRun);
        }
        let mut filling = self.new_filling(request);
        self.fill(request, &candidates, &mut filling);
        if filling.launched < request.min_target.unwrap_or(0) {
            self.undo(&mut filling);
        }
        let fleet = filling.fleet;
        self.record_fleet(&fleet, request);
        self.tokens.remember(self.now, "CreateFleet", token, print, Outcome::Fleet(fleet.clone()));
        Ok(fleet)
    }

    fn new_filling(&mut self, request: &FleetRequest) -> Filling {
        let origin = self.origin(request.token.as_deref(), "fleet");
        let id = format!("fleet-{}", self.seed.stream(&["fleet", &origin]).uuid());
        let fleet = Fleet {
            id,
            market: request.market,
            reserved_market: request.reserved_market,
            launched: Vec::new(),
            errors: Vec::new(),
        };
        Filling { fleet, origin, token: request.token.clone(), launched: 0 }
    }

    fn fleet_candidates(&self, request: &FleetRequest) -> Result<Vec<FleetCandidate>, CloudError> {
        let mut candidates = Vec::new();
        for (place, config) in request.configs.iter().enumerate() {
            let (template, version, content) = self.templates.version(&config.template, config.version.as_deref())?;
            self.check_known(template, &config.template)?;
            let version = TemplateVersion { id: template.id.clone(), name: template.name.clone(), version };
            let as_it_is = [FleetOverride::default()];
            let overrides = if config.overrides.is_empty() { &as_it_is[..] } else { &config.overrides };
            for (index, given) in overrides.iter().enumerate() {
                let index = (!config.overrides.is_empty()).then_some(index);
                candidates.push(self.candidate(request, (place, index), &version, &content.settings, given)?);
            }
        }
        if candidates.len() > MAX_POOLS {
            return Err(CloudError::LimitExceeded { what: "pools (overrides) in a fleet request", limit: MAX_POOLS });
        }
        check_pools(&candidates)?;
        Ok(candidates)
    }

    fn candidate(
        &self,
        request: &FleetRequest,
        (config, override_index): (usize, Option<usize>),
        template: &TemplateVersion,
        settings: &LaunchSettings,
        given: &FleetOverride,
    ) -> Result<FleetCandidate, CloudError> {
        let name = given.machine_type.as_deref().or(settings.machine_type.as_deref());
        let name = name.ok_or_else(|| CloudError::InvalidFleet {
            reason: "The instance type is missing: give it in the launch template or in the overrides.".to_owned(),
        })?;
        let type_index = self.catalogue.index_of(name).ok_or_else(|| self.unknown_type(name))?;
        let (zone, subnet_id) = self.fleet_place(settings, given)?;
        let pool = FleetPool {
            config,
            override_index,
            template_id: template.id.clone(),
            template_name: template.name.clone(),
            template_version: template.version,
            override_given: given.clone(),
            machine_type: name.to_owned(),
            subnet_id,
            zone: self.zones[zone].name.to_owned(),
        };
        let max_price = given.max_price.or(request.max_price).or(settings.max_spot_price);
        let key = PoolKey { type_index, zone, market: request.market };
        Ok(FleetCandidate { pool, key, max_price })
    }

    /// The zone and subnet of an override: those given, else the template's, else the first zone's default subnet.
    fn fleet_place(&self, settings: &LaunchSettings, given: &FleetOverride) -> Result<(usize, String), CloudError> {
        let zone = given.zone.as_deref().or(settings.zone.as_deref());
        if let Some(id) = given.subnet_id.as_deref().or_else(|| settings.primary_subnet()) {
            let subnet = self.network.subnet(id)?;
            if given.zone.as_deref().is_some_and(|zone| zone != subnet.zone.name) {
                let (asked, has) = (given.zone.as_deref().unwrap_or_default(), subnet.zone.name);
                let reason = format!("The subnet '{id}' is in '{has}', not in the Availability Zone '{asked}'.");
                return Err(CloudError::InvalidFleet { reason });
            }
            return Ok((self.zone_index(subnet.zone.name).unwrap_or_default(), id.to_owned()));
        }
        let index = match zone {
            Some(name) => self.zone_index(name).ok_or_else(|| self.unknown_zone(name))?,
            None => 0,
        };
        let subnet = self.network.default_subnet(self.zones[index].name).ok_or(CloudError::NoMatchingPool)?;
        Ok((index, subnet.id.clone()))
    }

    fn fill(&mut self, request: &FleetRequest, candidates: &[FleetCandidate], filling: &mut Filling) {
        let rows: Vec<_> = candidates.iter().map(|candidate| self.row(candidate)).collect();
        let order = fleet_order(request.strategy, request.target, &rows);
        let mut open: Vec<Open> = order.into_iter().map(|place| (place, None)).collect();
        // A diversified fleet takes one machine from each pool in turn, the others all from the first that has them.
        let at_once = if request.strategy == AllocationStrategy::Diversified { 1 } else { request.target };
        while filling.launched < request.target && !open.is_empty() {
            open.retain_mut(|(place, plan)| {
                let wanted = at_once.min(request.target - filling.launched);
                let throttled = filling.fleet.errors.last().is_some_and(|last| last.error == CloudError::Throttled);
                if wanted == 0 || throttled {
                    return true;
                }
                let candidate = &candidates[*place];
                let plan = plan.get_or_insert_with(|| self.fleet_plan(request, candidate, *place, filling));
                self.take_from_pool(&candidate.pool, plan, wanted, filling)
            });
            // The account may ask for no more machines now, whichever pool they come from.
            if filling.fleet.errors.last().is_some_and(|refusal| refusal.error == CloudError::Throttled) {
                return;
            }
        }
    }

    /// A template that was just made is not known to launches yet.
    fn check_known(&self, template: &super::LaunchTemplate, named: &super::TemplateRef) -> Result<(), CloudError> {
        if self.template_is_known(template) {
            return Ok(());
        }
        let (kind, id) = match named {
            super::TemplateRef::Id(id) => (super::ResourceKind::LaunchTemplateId, id.clone()),
            super::TemplateRef::Name(name) => (super::ResourceKind::LaunchTemplateName, name.clone()),
        };
        Err(CloudError::NotFound { kind, id })
    }

    fn row(&self, candidate: &FleetCandidate) -> Candidate {
        Candidate {
            price: self.price_of(candidate.key),
            free: self.pool_free(candidate.key),
            priority: candidate.pool.override_given.priority,
        }
    }

    fn fleet_plan(
        &self,
        request: &FleetRequest,
        candidate: &FleetCandidate,
        place: usize,
        filling: &Filling,
    ) -> Result<Plan, CloudError> {
        let pool = &candidate.pool;
        let config = &request.configs[pool.config];
        let (_, _, content) = self.templates.version(&config.template, config.version.as_deref())?;
        let mut settings = content.settings.clone();
        settings.machine_type = Some(pool.machine_type.clone());
        settings.image_id = pool.override_given.image_id.clone().or(settings.image_id);
        settings.reserved_market = settings.reserved_market.or(request.reserved_market);
        settings.tags.extend(request.tags.iter().filter(|tags| tags.resource != "fleet").cloned());
        Ok(Plan {
            key: candidate.key,
            subnet_id: pool.subnet_id.clone(),
            image: self.check_launch(&settings)?.clone(),
            settings,
            template: Some(TemplateVersion {
                id: pool.template_id.clone(),
                name: pool.template_name.clone(),
                version: pool.template_version,
            }),
            fleet_id: Some(filling.fleet.id.clone()),
            max_price: candidate.max_price,
            token: filling.token.clone(),
            origin: filling.origin.clone(),
            reservation_id: self.reservation_id(&filling.origin, place),
        })
    }

    /// Takes up to `wanted` machines from a pool; whether it may have more.
    fn take_from_pool(
        &mut self,
        pool: &FleetPool,
        plan: &Result<Plan, CloudError>,
        wanted: u32,
        filling: &mut Filling,
    ) -> bool {
        let mut ids = Vec::new();
        let mut failed = plan.as_ref().err().cloned();
        if let Ok(plan) = plan {
            while failed.is_none() && (ids.len() as u32) < wanted {
                let allowed = self.take_resources("RunInstances", 1);
                match allowed.and_then(|()| self.place(plan, filling.launched)) {
                    Ok(id) => {
                        ids.push(id);
                        filling.launched += 1;
                    }
                    Err(error) => failed = Some(error),
                }
            }
        }
        filling.fleet.add(pool, ids);
        let exhausted = failed.is_some();
        filling.fleet.errors.extend(failed.map(|error| FleetError { pool: pool.clone(), error }));
        !exhausted
    }

    fn undo(&mut self, filling: &mut Filling) {
        let launches = std::mem::take(&mut filling.fleet.launched);
        launches.iter().flat_map(|launch| &launch.instance_ids).for_each(|id| self.unlaunch(id));
        filling.launched = 0;
    }
}

impl Fleet {
    fn add(&mut self, pool: &FleetPool, ids: Vec<String>) {
        if ids.is_empty() {
            return;
        }
        match self.launched.iter_mut().find(|launch| launch.pool == *pool) {
            Some(launch) => launch.instance_ids.extend(ids),
            None => self.launched.push(FleetLaunch { pool: pool.clone(), instance_ids: ids }),
        }
    }

    /// All machines' ids, in the order launched.
    pub fn instance_ids(&self) -> impl Iterator<Item = &str> {
        self.launched.iter().flat_map(|launch| &launch.instance_ids).map(String::as_str)
    }
}

fn check_request(request: &FleetRequest) -> Result<(), CloudError> {
    if request.configs.is_empty() {
        return Err(CloudError::MissingParameter { name: "LaunchTemplateConfigs" });
    }
    if request.configs.len() > MAX_CONFIGS {
        return Err(CloudError::LimitExceeded { what: "launch template configs", limit: MAX_CONFIGS });
    }
    if request.target == 0 || request.target > MAX_TARGET {
        return Err(CloudError::InvalidParameter {
            name: "TotalTargetCapacity".to_owned(),
            value: request.target.to_string(),
            expected: format!("1 to {MAX_TARGET}"),
        });
    }
    tags::check_specifications(&request.tags)
}

/// A config may name a pool (type and zone) once only.
fn check_pools(candidates: &[FleetCandidate]) -> Result<(), CloudError> {
    let mut seen = std::collections::BTreeSet::new();
    match candidates.iter().find(|candidate| !seen.insert((candidate.pool.config, candidate.key))) {
        None => Ok(()),
        Some(FleetCandidate { pool, .. }) => Err(CloudError::InvalidFleet {
            reason: format!(
                "The fleet configuration contains duplicate instance pools: '{}' in '{}' is given more than once.",
                pool.machine_type, pool.zone
            ),
        }),
    }
}
