//! What the region sells: types, where they are offered, and prices; read when due, by one reader at a time (spec aws 2.1).

use super::{
    call::{Calls, all_pages},
    error::{chain, unusable},
    machine::Machine,
    pricing::{Prices, read_on_demand, read_spot},
    sdk::Clients,
    tags::filter,
};
use crate::cloud::CloudError;
use aws_sdk_ec2::types::LocationType;
use jiff::Timestamp;
use sawhorse_ambient::Clock;
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};
use tokio::sync::Mutex;

/// How often types, offerings and prices are read again.
const REFRESH: Duration = Duration::from_secs(12 * 60 * 60);
/// How soon prices that could not be read are tried again: the built-in ones do meanwhile.
const RETRY_PRICES: Duration = Duration::from_secs(60);
/// Types per page, the most that EC2 gives.
const TYPES_PER_PAGE: i32 = 100;
/// Offerings per page, the most that EC2 gives.
const OFFERINGS_PER_PAGE: i32 = 1_000;

/// What is known; cheap to clone.
#[derive(Clone, Debug, Default)]
pub(super) struct Known {
    pub(super) machines: Arc<Vec<Machine>>,
    /// The zones in which each type is offered.
    pub(super) zones: Arc<BTreeMap<String, BTreeSet<String>>>,
    pub(super) prices: Arc<Prices>,
    /// Raised whenever something was read.
    pub(super) generation: u64,
    types_due: Option<Timestamp>,
    on_demand_due: Option<Timestamp>,
    spot_due: Option<Timestamp>,
}

/// Reads and remembers.
#[derive(Debug)]
pub(super) struct Discovery {
    clock: Clock,
    region: String,
    known: Mutex<Known>,
}

impl Discovery {
    pub(super) fn new(clock: Clock, region: String) -> Self {
        Self { clock, region, known: Mutex::default() }
    }

    /// What is known, read now if nothing is.
    pub(super) async fn known(&self, calls: &Calls, clients: &Clients) -> Result<Known, CloudError> {
        let mut known = self.known.lock().await;
        if known.types_due.is_none() {
            self.refresh_all(&mut known, calls, clients).await?;
        }
        Ok(known.clone())
    }

    /// Reads what is due; returns how long until something is due next.
    pub(super) async fn refresh(&self, calls: &Calls, clients: &Clients) -> Result<Duration, CloudError> {
        let mut known = self.known.lock().await;
        self.refresh_all(&mut known, calls, clients).await?;
        let due = [known.types_due, known.on_demand_due, known.spot_due].into_iter().flatten().min();
        let wait = due.map(|due| due.duration_since(self.clock.now()));
        Ok(wait.and_then(|wait| Duration::try_from(wait).ok()).unwrap_or_default())
    }

    async fn refresh_all(&self, known: &mut Known, calls: &Calls, clients: &Clients) -> Result<(), CloudError> {
        let is_due = |due: Option<Timestamp>| due.is_none_or(|due| due <= self.clock.now());
        if is_due(known.types_due) {
            let machines = read_machines(calls, clients).await?;
            let zones = read_zones(calls, clients).await?;
            (known.machines, known.zones) = (Arc::new(machines), Arc::new(zones));
            known.types_due = Some(self.clock.now() + REFRESH);
            known.generation += 1;
        }
        if is_due(known.on_demand_due) {
            let read = read_on_demand(calls, clients, &self.region).await;
            known.on_demand_due = Some(self.clock.now() + again(&read));
            self.take_prices(known, read, Prices::merge_on_demand);
        }
        if is_due(known.spot_due) {
            let read = read_spot(calls, clients, self.clock.now()).await;
            known.spot_due = Some(self.clock.now() + again(&read));
            self.take_prices(known, read, Prices::replace_spot);
        }
        Ok(())
    }

    /// Prices that could not be read are no reason to stop: those known before do.
    fn take_prices<T>(&self, known: &mut Known, read: Result<T, CloudError>, take: impl FnOnce(&mut Prices, T)) {
        match read {
            Ok(newer) => {
                take(Arc::make_mut(&mut known.prices), newer);
                known.generation += 1;
            }
            Err(error) => {
                tracing::warn!(region = %self.region, error = %chain(&error), "prices could not be read; older ones are used")
            }
        }
    }
}

fn again<T>(read: &Result<T, CloudError>) -> Duration {
    if read.is_ok() { REFRESH } else { RETRY_PRICES }
}

/// All types that can run our images, by name.
async fn read_machines(calls: &Calls, clients: &Clients) -> Result<Vec<Machine>, CloudError> {
    let filters = vec![
        filter("supported-virtualization-type", ["hvm"]),
        filter("processor-info.supported-architecture", ["x86_64", "arm64"]),
    ];
    let filters = &filters;
    let mut machines: Vec<Machine> = all_pages("DescribeInstanceTypes", |token| async move {
        let request = || {
            let request = clients.ec2.describe_instance_types().set_filters(Some(filters.clone()));
            request.max_results(TYPES_PER_PAGE).set_next_token(token.clone()).send()
        };
        let page = calls.send("DescribeInstanceTypes", request).await?;
        Ok((page.instance_types().iter().filter_map(Machine::read).collect(), page.next_token.clone()))
    })
    .await?;
    machines.sort_by(|a, b| a.name.cmp(&b.name));
    match machines.is_empty() {
        true => Err(unusable("DescribeInstanceTypes", "the region has no instance types".to_owned())),
        false => Ok(machines),
    }
}

async fn read_zones(calls: &Calls, clients: &Clients) -> Result<BTreeMap<String, BTreeSet<String>>, CloudError> {
    let offerings = all_pages("DescribeInstanceTypeOfferings", |token| async move {
        let request = || {
            let request = clients.ec2.describe_instance_type_offerings().location_type(LocationType::AvailabilityZone);
            request.max_results(OFFERINGS_PER_PAGE).set_next_token(token.clone()).send()
        };
        let page = calls.send("DescribeInstanceTypeOfferings", request).await?;
        let pairs = page.instance_type_offerings().iter();
        let pairs =
            pairs.filter_map(|one| Some((one.instance_type()?.as_str().to_owned(), one.location()?.to_owned())));
        Ok((pairs.collect::<Vec<_>>(), page.next_token.clone()))
    })
    .await?;
    let mut zones: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for (name, zone) in offerings {
        zones.entry(name).or_default().insert(zone);
    }
    Ok(zones)
}
