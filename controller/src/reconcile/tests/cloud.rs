//! A cloud with one machine type and no limits, which can lose an answer or refuse.

use super::api::TinyApi;
use crate::cloud::{
    CloudError, CloudInstance, CloudProvider, DeleteProgress, LaunchRequest, Launched, NodeClass, ResolvedNodeClass,
};
use async_trait::async_trait;
use kube::ResourceExt;
use sawhorse_ambient::Clock;
use sawhorse_core::{
    api::{Ec2NodeClass, NodeClaim, NodePool, conditions::Conditioned, labels},
    model::{
        CapacityType, InstanceType, Offering, Operator, Overhead, Price, ProviderId, Requirement, Requirements,
        Resources,
    },
};
use serde_json::Value;
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

const ZONE: &str = "zone-a";
const TYPE: &str = "m5.xlarge";

pub(super) struct FakeCloud {
    clock: Clock,
    api: TinyApi,
    types: Vec<Arc<InstanceType>>,
    state: Mutex<Machines>,
}

#[derive(Default)]
struct Machines {
    by_token: BTreeMap<String, CloudInstance>,
    bought: usize,
    hang: bool,
    refuse: bool,
    claim_when_asked: Value,
}

impl FakeCloud {
    pub(super) fn new(clock: Clock, api: TinyApi) -> Self {
        Self { clock, api, types: vec![Arc::new(the_type())], state: Mutex::default() }
    }

    /// From now on an answer to a purchase is never given.
    pub(super) fn hang_after_purchase(&self, hang: bool) {
        self.lock().hang = hang;
    }

    /// The next purchase finds no capacity.
    pub(super) fn refuse_next(&self) {
        self.lock().refuse = true;
    }

    /// How many machines were bought in all.
    pub(super) fn bought(&self) -> usize {
        self.lock().bought
    }

    /// How many machines there are.
    pub(super) fn machines(&self) -> usize {
        self.lock().by_token.len()
    }

    /// The NodeClaim as it was in the API server when its machine was asked for.
    pub(super) fn claim_when_asked(&self) -> Value {
        self.lock().claim_when_asked.clone()
    }

    fn lock(&self) -> MutexGuard<'_, Machines> {
        self.state.lock().unwrap()
    }

    fn buy(&self, request: &LaunchRequest) -> Result<(CloudInstance, bool), CloudError> {
        let claim = self.api.all("NodeClaim").into_iter().find(|it| it["metadata"]["name"] == request.claim.name_any());
        let mut state = self.lock();
        state.claim_when_asked = claim.unwrap_or_default();
        if std::mem::take(&mut state.refuse) {
            return Err(CloudError::InsufficientCapacity { message: format!("{TYPE} in {ZONE}") });
        }
        let token = format!("{}-{}", request.claim.uid().unwrap_or_default(), request.attempt);
        if !state.by_token.contains_key(&token) {
            state.bought += 1;
        }
        let instance = CloudInstance {
            provider_id: ProviderId::from(format!("fake:///{ZONE}/i-{}", state.bought)),
            instance_type: TYPE.to_owned(),
            zone: ZONE.to_owned(),
            reservation_id: None,
            capacity_type: CapacityType::OnDemand,
            image_id: "ami-1".to_owned(),
            launched_at: self.clock.now(),
            terminating: false,
            node_claim: Some(request.claim.name_any()),
            tags: BTreeMap::new(),
        };
        let instance = state.by_token.entry(token).or_insert(instance).clone();
        Ok((instance, state.hang))
    }
}

fn the_type() -> InstanceType {
    let one = |key: &str, value: &str| Requirement::new(key, Operator::In, [value]);
    let of_offering: Requirements =
        [one(labels::ZONE, ZONE), one(labels::CAPACITY_TYPE, "on-demand")].into_iter().collect();
    let mut requirements = of_offering.clone();
    for (key, value) in [(labels::INSTANCE_TYPE, TYPE), (labels::ARCH, "amd64"), (labels::OS, "linux")] {
        requirements.add(one(key, value));
    }
    let offering = Offering {
        zone: ZONE.to_owned(),
        capacity_type: CapacityType::OnDemand,
        price: Price::from_dollars(0.2).unwrap(),
        available: true,
        requirements: of_offering,
        reservation_id: None,
        reservation_capacity: 0,
    };
    InstanceType {
        name: TYPE.to_owned(),
        requirements,
        offerings: vec![offering],
        capacity: Resources::from_iter([("cpu", 4000), ("memory", 8 << 30), ("pods", 110)]),
        overhead: Overhead::default(),
        listed: None,
    }
}

#[async_trait]
impl CloudProvider for FakeCloud {
    fn name(&self) -> &'static str {
        "fake"
    }

    async fn instance_types(&self, _: &NodePool, _: &NodeClass) -> Result<Vec<Arc<InstanceType>>, CloudError> {
        Ok(self.types.clone())
    }

    async fn create(&self, request: &LaunchRequest) -> Result<Launched, CloudError> {
        tokio::time::sleep(Duration::from_secs(2)).await;
        let (instance, hang) = self.buy(request)?;
        if hang {
            std::future::pending::<()>().await;
        }
        let labels = [(labels::INSTANCE_TYPE, TYPE), (labels::ZONE, ZONE), (labels::CAPACITY_TYPE, "on-demand")];
        Ok(Launched {
            instance,
            labels: labels.map(|(key, value)| (key.to_owned(), value.to_owned())).into(),
            annotations: BTreeMap::new(),
            capacity: self.types[0].capacity.clone(),
            allocatable: self.types[0].allocatable(),
            price: self.types[0].offerings[0].price,
        })
    }

    /// The first call ends the machine, the second finds it gone.
    async fn delete(&self, id: &ProviderId) -> Result<DeleteProgress, CloudError> {
        let mut state = self.lock();
        let ending = state.by_token.values_mut().find(|it| it.provider_id == *id).filter(|it| !it.terminating);
        if let Some(instance) = ending {
            instance.terminating = true;
            return Ok(DeleteProgress::Terminating);
        }
        state.by_token.retain(|_, it| it.provider_id != *id);
        Ok(DeleteProgress::NotFound)
    }

    async fn get(&self, id: &ProviderId) -> Result<Option<CloudInstance>, CloudError> {
        Ok(self.lock().by_token.values().find(|it| it.provider_id == *id).cloned())
    }

    async fn list(&self) -> Result<Vec<CloudInstance>, CloudError> {
        Ok(self.lock().by_token.values().cloned().collect())
    }

    async fn drift_reason(&self, _: &NodeClaim, _: &NodePool, _: &NodeClass) -> Result<Option<String>, CloudError> {
        Ok(None)
    }

    async fn resolve_node_class(&self, node_class: &NodeClass) -> Result<ResolvedNodeClass, CloudError> {
        let NodeClass::Ec2(class) = node_class;
        let mut class = Ec2NodeClass::clone(class);
        for condition in class.dependents() {
            class.set_true(condition, self.clock.now());
        }
        let status = Box::new(class.status.unwrap_or_default());
        Ok(ResolvedNodeClass::Ec2 { status, again_after: Duration::from_secs(300) })
    }

    async fn release_node_class(&self, _: &NodeClass) -> Result<(), CloudError> {
        Ok(())
    }

    async fn refresh(&self) -> Result<Duration, CloudError> {
        Ok(Duration::from_secs(3600))
    }
}
