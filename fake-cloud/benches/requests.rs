//! How many requests of the AWS doors a second: through the router, without a socket, on one thread.

use axum::{Router, body::Body};
use divan::{Bencher, counter::ItemsCount};
use http::{Request, StatusCode, header::AUTHORIZATION};
use http_body_util::BodyExt;
use sawhorse_ambient::Clock;
use sawhorse_fake_cloud::{
    app::{SharedWorld, app},
    world::{Catalogue, CloudConfig, LaunchSettings, Market, RunRequest, TemplateRef, TemplateRequest, World},
};
use std::{cell::Cell, fmt::Write};
use tokio::runtime::{Builder, Runtime};
use tower::ServiceExt;

const IMAGE: &str = "/aws/service/eks/optimized-ami/1.35/amazon-linux-2023/x86_64/standard/recommended/image_id";
/// As many as the reference provider puts into one request.
const FLEET_TYPES: usize = 60;
const FLEET_ZONES: [&str; 3] = ["us-west-2a", "us-west-2b", "us-west-2c"];
/// Machines described at once.
const MACHINES: u32 = 1_000;

fn main() {
    divan::main();
}

/// The doors of a world with a launch template.
struct Doors {
    runtime: Runtime,
    world: SharedWorld,
    router: Router,
}

impl Doors {
    fn new() -> Self {
        let runtime = Builder::new_current_thread().enable_all().build().expect("a runtime can be built");
        let world = runtime.block_on(async { new_world() });
        let router = app(world.clone());
        Self { runtime, world, router }
    }

    /// One request; its answer's length.
    fn post(&self, form: &str) -> usize {
        let request = Request::post("/").header(AUTHORIZATION, "AWS4-HMAC-SHA256 Credential=bench");
        let request = request.body(Body::from(form.to_owned())).expect("the request is well-formed");
        self.runtime.block_on(async {
            let response = self.router.clone().oneshot(request).await.expect("a router does not fail");
            let status = response.status();
            let body = response.into_body().collect().await.expect("the body is in memory").to_bytes();
            assert_eq!(status, StatusCode::OK, "{body:?}");
            body.len()
        })
    }
}

fn new_world() -> SharedWorld {
    let clock = Clock::from_system();
    let world = World::new(&CloudConfig::default(), clock.now()).expect("the default settings are right");
    let world = SharedWorld::new(world, clock);
    world.with(|world| {
        let settings = LaunchSettings {
            image_id: world.parameter(IMAGE).map(str::to_owned),
            user_data: Some(vec![b'#'; 4_000]),
            ..LaunchSettings::default()
        };
        let request = TemplateRequest { name: "bench".to_owned(), settings, ..TemplateRequest::default() };
        world.create_launch_template(request).expect("the template is right");
    });
    world
}

/// A request as the reference provider sends it: 60 types in three zones.
fn fleet_form(world: &World) -> String {
    let mut form = "Action=CreateFleet&Version=2016-11-15&Type=instant\
        &TargetCapacitySpecification.TotalTargetCapacity=1&TargetCapacitySpecification.DefaultTargetCapacityType=spot\
        &SpotOptions.AllocationStrategy=price-capacity-optimized\
        &LaunchTemplateConfigs.1.LaunchTemplateSpecification.LaunchTemplateName=bench\
        &LaunchTemplateConfigs.1.LaunchTemplateSpecification.Version=$Latest\
        &TagSpecification.1.ResourceType=instance&TagSpecification.1.Tag.1.Key=karpenter.sh%2Fnodepool\
        &TagSpecification.1.Tag.1.Value=default"
        .to_owned();
    let fits = |name: &str| {
        let machine_type = world.catalogue().machine_type(name);
        machine_type.is_some_and(|it| it.image_architecture() == "x86_64" && it.sold_as(Market::Spot))
    };
    let names = world.machine_types().map(|machine_type| machine_type.name).filter(|name| fits(name)).take(FLEET_TYPES);
    let pools = names.flat_map(|name| FLEET_ZONES.map(|zone| (name, zone)));
    for ((name, zone), place) in pools.zip(1..) {
        let field = format!("&LaunchTemplateConfigs.1.Overrides.{place}");
        write!(form, "{field}.InstanceType={name}{field}.AvailabilityZone={zone}{field}.Priority=0.1")
            .expect("writing to a String does not fail");
    }
    form
}

/// A fleet of one machine out of 180 pools, each time with another token.
#[divan::bench(sample_count = 50, sample_size = 20)]
fn create_fleet(bencher: Bencher<'_, '_>) {
    let doors = Doors::new();
    let form = doors.world.with(|world| fleet_form(world));
    let launched = Cell::new(0);
    bencher.counter(ItemsCount::new(1_usize)).bench_local(|| {
        launched.set(launched.get() + 1);
        doors.post(&format!("{form}&ClientToken=bench-{}", launched.get()))
    });
}

/// All of a thousand machines in one answer.
#[divan::bench(sample_count = 50, sample_size = 2)]
fn describe_1000_instances(bencher: Bencher<'_, '_>) {
    let doors = Doors::new();
    doors.world.with(|world| {
        let request = RunRequest {
            template: Some((TemplateRef::Name("bench".to_owned()), None)),
            settings: LaunchSettings { machine_type: Some("m5.large".to_owned()), ..LaunchSettings::default() },
            min: MACHINES,
            max: MACHINES,
            ..RunRequest::default()
        };
        world.run_instances(&request).expect("there is room");
    });
    let form = "Action=DescribeInstances&Version=2016-11-15&MaxResults=1000";
    bencher.counter(ItemsCount::new(1_usize)).bench_local(|| doors.post(form));
}

/// The first page of a hundred types, filtered as the reference provider does.
#[divan::bench(sample_count = 50, sample_size = 10)]
fn describe_100_instance_types(bencher: Bencher<'_, '_>) {
    let doors = Doors::new();
    let form = "Action=DescribeInstanceTypes&Version=2016-11-15&MaxResults=100\
        &Filter.1.Name=supported-virtualization-type&Filter.1.Value.1=hvm\
        &Filter.2.Name=processor-info.supported-architecture&Filter.2.Value.1=x86_64&Filter.2.Value.2=arm64";
    bencher.counter(ItemsCount::new(1_usize)).bench_local(|| doors.post(form));
}

/// Reading the embedded catalogue, which the first world of a process does.
#[divan::bench(sample_count = 20, sample_size = 1)]
fn start_reading_the_catalogue() -> usize {
    Catalogue::read_afresh().machine_types().len()
}

/// Making a world once the catalogue is read.
#[divan::bench(sample_count = 20, sample_size = 1)]
fn start_making_a_world(bencher: Bencher<'_, '_>) {
    let runtime = Builder::new_current_thread().enable_all().build().expect("a runtime can be built");
    bencher.bench_local(|| runtime.block_on(async { new_world().with(|world| world.subnets().len()) }));
}
