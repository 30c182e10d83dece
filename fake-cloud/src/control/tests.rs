//! The door through its router, without a socket.

use super::{
    PREFIX,
    index::{ENDPOINTS, Endpoint},
};
use crate::{
    app::{SharedWorld, app},
    world::{CloudConfig, LaunchSettings, Market, RunRequest, World},
};
use axum::{body::Body, http::Request};
use http_body_util::BodyExt;
use rstest::rstest;
use sawhorse_ambient::Clock;
use serde_json::{Value, json};
use tower::ServiceExt;

pub(super) fn shared() -> SharedWorld {
    let clock = Clock::starting_at("2026-01-01T00:00:00Z".parse().unwrap());
    SharedWorld::new(World::new(&CloudConfig::default(), clock.now()).unwrap(), clock)
}

/// Launches a spot machine.
pub(super) fn launch(world: &SharedWorld) -> String {
    world.with(|world| {
        let path = "/aws/service/eks/optimized-ami/1.35/amazon-linux-2023/x86_64/standard/recommended/image_id";
        let settings = LaunchSettings {
            image_id: world.parameter(path).map(str::to_owned),
            machine_type: Some("m5.large".to_owned()),
            market: Some(Market::Spot),
            ..LaunchSettings::default()
        };
        let request = RunRequest { settings, min: 1, max: 1, ..RunRequest::default() };
        world.run_instances(&request).unwrap().remove(0)
    })
}

async fn call(world: &SharedWorld, method: &str, path: &str, body: &str) -> (u16, Value) {
    let request = Request::builder().method(method).uri(format!("{PREFIX}{path}"));
    let response = app(world.clone()).oneshot(request.body(Body::from(body.to_owned())).unwrap()).await.unwrap();
    let status = response.status().as_u16();
    let bytes = response.into_body().collect().await.unwrap().to_bytes();
    (status, serde_json::from_slice(&bytes).unwrap_or_else(|_| panic!("no JSON: {bytes:?}")))
}

#[tokio::test(start_paused = true)]
async fn every_endpoint_of_the_index_is_there_and_its_example_works() {
    let world = shared();
    let (status, index) = call(&world, "GET", "/", "").await;
    assert_eq!((status, index["endpoints"].as_array().unwrap().len()), (200, ENDPOINTS.len()));
    assert_eq!(index["endpoints"][2]["exampleBody"]["rules"][0]["capacity"], 0);
    // The stream of changes has no end: it has a test of its own.
    for Endpoint { method, path, body, .. } in ENDPOINTS.into_iter().filter(|endpoint| endpoint.path != "/changes") {
        let id = launch(&world);
        call(&world, "POST", "/faults", r#"{"operation": "X", "effect": "throttle"}"#).await;
        let fault = world.with(|world| world.faults().last().unwrap().id.clone());
        let path = path.replace("faults/{id}", &format!("faults/{fault}")).replace("{id}", &id);
        let path = if method == "GET" && path == "/prices" { "/prices?instanceType=m5.large".to_owned() } else { path };
        let (status, answer) = call(&world, method, &path, body.unwrap_or_default()).await;
        assert_eq!(status, 200, "{method} {path}: {answer}");
    }
}

#[rstest]
#[case("PUT", "/capacity", "", 400, "must be a JSON object, but is empty")]
#[case("PUT", "/capacity", "[[]]", 400, "must be a JSON object, but is something else")]
#[case("PUT", "/capacity", "{", 400, "EOF while parsing")]
#[case(
    "PUT",
    "/capacity",
    r#"{"rules": [{"instanceType": "m5.large", "capacity": -1}]}"#,
    400,
    "`unlimited`, a number"
)]
#[case("PUT", "/capacity", r#"{"rules": [{"instanceType": "m5.large", "count": 1}]}"#, 400, "unknown field `count`")]
#[case(
    "PUT",
    "/capacity",
    r#"{"rules": [{"instanceType": "m5.huge", "capacity": 1}]}"#,
    422,
    "no instance type matches `m5.huge`; did you mean"
)]
#[case(
    "PUT",
    "/capacity",
    r#"{"rules": [{"instanceType": "m5.large", "zone": "us-west-2z", "capacity": 1}]}"#,
    422,
    "did you mean `us-west-2a`?"
)]
#[case(
    "PUT",
    "/prices",
    r#"{"rules": [{"instanceType": "m5.large", "capacityType": "spot", "price": 0}]}"#,
    422,
    "a price is above 0"
)]
#[case(
    "PUT",
    "/prices",
    r#"{"rules": [{"instanceType": "m5.large", "capacityType": "reserved", "price": 1}]}"#,
    400,
    "unknown variant `reserved`"
)]
#[case("PUT", "/delays", r#"{"booting": "3s"}"#, 400, "unknown field `booting`")]
#[case("PUT", "/delays", r#"{"pending": {"min": "9s", "max": "3s"}}"#, 422, "delays.pending")]
#[case("PUT", "/throttling", r#"{"percent": 0}"#, 422, "throttling.percent is 0")]
#[case("PUT", "/events", r#"{"lostPercent": 101}"#, 422, "events.lostPercent is 101")]
#[case("PUT", "/consistency", r#"{"instances": {"min": "2s", "max": "1s"}}"#, 422, "consistency.instances")]
#[case("PUT", "/credentials", r#"{"credentials": "gone"}"#, 400, "unknown variant `gone`")]
#[case(
    "POST",
    "/capacity-blocks",
    r#"{"instanceType": "p5", "zone": "us-west-2a", "count": 1, "end": "1h"}"#,
    422,
    "`p5` is no valid value of `InstanceType`"
)]
#[case("POST", "/images", r#"{"parameter": "/nothing"}"#, 404, "the parameter `/nothing` does not exist")]
#[case("POST", "/events", r#"{"queue": "none", "body": "x"}"#, 404, "the queue `none` does not exist")]
#[case("PUT", "/quotas", r#"{"rules": [{"class": "q", "capacityType": "spot"}]}"#, 400, "unknown variant `q`")]
#[case("POST", "/faults", r#"{"operation": "CreateFleet"}"#, 400, "missing field `effect`")]
#[case(
    "POST",
    "/faults",
    r#"{"operation": "CreateFleet", "effect": "throttle", "percent": 0}"#,
    422,
    "percent is 1 to 100"
)]
#[case("DELETE", "/faults/fault-9", "", 404, "there is no fault rule `fault-9`")]
#[case("POST", "/instances/i-1/interrupt", "", 404, "the instance `i-1` does not exist")]
#[case("POST", "/instances/i-1/kill", "", 404, "the instance `i-1` does not exist")]
#[case("GET", "/audit?limit=0", "", 400, "`limit` is 0")]
#[case("GET", "/audit?from=3", "", 400, "unknown field `from`")]
#[case("GET", "/instances?state=dead", "", 400, "there is no state `dead`: it can be pending")]
#[case("GET", "/prices", "", 400, "`instanceType` is missing")]
#[case("GET", "/capacity?capacityType=x", "", 400, "unknown variant `x`")]
#[case("GET", "/nothing", "", 404, "`GET /control/v1/` lists what there is")]
#[case("POST", "/ledger", "", 405, "does not take `POST`")]
#[tokio::test(start_paused = true)]
async fn bad_input_is_named_and_changes_nothing(
    #[case] method: &str,
    #[case] path: &str,
    #[case] body: &str,
    #[case] status: u16,
    #[case] expected: &str,
) {
    let world = shared();
    let before = world.with(|world| world.version());
    let (got, answer) = call(&world, method, path, body).await;
    let message = answer["error"]["message"].as_str().unwrap_or_default();
    assert!(got == status && message.contains(expected), "{got} {answer}");
    assert_eq!(world.with(|world| world.version()), before);
}

#[tokio::test(start_paused = true)]
async fn rules_are_applied_all_or_none() {
    let world = shared();
    let body = r#"{"rules": [{"instanceType": "m5.large", "capacity": 0}, {"instanceType": "nope", "capacity": 0}]}"#;
    assert_eq!(call(&world, "PUT", "/capacity", body).await.0, 422);
    let (_, answer) = call(&world, "GET", "/capacity?instanceType=m5.large&zone=us-west-2a", "").await;
    assert_eq!(answer["pools"][0]["capacity"], Value::Null);
    assert_eq!(answer["default"], "unlimited");
}

#[tokio::test(start_paused = true)]
async fn capacity_and_price_are_set_and_read() {
    let world = shared();
    let body = r#"{"rules": [{"instanceType": "m5.large", "capacityType": "spot", "capacity": 4}]}"#;
    assert_eq!(call(&world, "PUT", "/capacity", body).await, (200, json!({"pools": 4})));
    let body =
        r#"{"rules": [{"instanceType": "m5.large", "zone": "us-west-2a", "capacityType": "spot", "price": "0.09"}]}"#;
    assert_eq!(call(&world, "PUT", "/prices", body).await, (200, json!({"pools": 1})));
    let (_, answer) =
        call(&world, "GET", "/capacity?instanceType=m5.large&zone=us-west-2a&capacityType=spot", "").await;
    let expected = json!([{"instanceType": "m5.large", "zone": "us-west-2a", "capacityType": "spot", "capacity": 4,
                           "inUse": 0, "price": "0.09"}]);
    assert_eq!(answer["pools"], expected);
}

#[tokio::test(start_paused = true)]
async fn delays_not_given_stay() {
    let world = shared();
    let (status, _) = call(&world, "PUT", "/delays", r#"{"pending": {"min": "1m", "max": "1m"}}"#).await;
    let delays = world.with(|world| world.delays());
    let unchanged = CloudConfig::default().delays;
    assert_eq!((status, delays.pending.max.as_secs(), delays.stopping), (200, 60, unchanged.stopping));
}

#[tokio::test(start_paused = true)]
async fn a_machine_is_killed_and_the_ledger_tells() {
    let world = shared();
    let id = launch(&world);
    tokio::time::sleep(std::time::Duration::from_secs(3600)).await;
    let (_, instances) = call(&world, "GET", "/instances?state=running", "").await;
    assert_eq!(instances["instances"][0]["instanceId"], json!(id));
    let (_, ledger) = call(&world, "GET", "/ledger", "").await;
    assert_eq!((&ledger["remaining"]["instances"], &ledger["launched"]), (&json!([id]), &json!(1)));
    assert!(ledger["nanoDollarsPerHour"].as_u64().unwrap() > 0);
    assert_eq!(call(&world, "POST", &format!("/instances/{id}/kill"), "").await.0, 200);
    assert_eq!(call(&world, "POST", &format!("/instances/{id}/kill"), "").await.0, 409);
    let (_, ledger) = call(&world, "GET", "/ledger", "").await;
    assert_eq!((&ledger["instancesByState"]["terminated"], &ledger["remaining"]["instances"]), (&json!(1), &json!([])));
    assert_eq!(ledger["calls"]["control/Kill"], json!({"calls": 2, "errors": 1, "throttled": 0, "lost": 0}));
    let (_, costs) = call(&world, "GET", "/ledger/instances", "").await;
    assert_eq!(costs["instances"][0]["cost"], ledger["byCapacityType"]["spot"]);
}

#[tokio::test(start_paused = true)]
async fn the_audit_trail_is_paged() {
    let world = shared();
    for _ in 0..5 {
        call(&world, "DELETE", "/faults", "").await;
    }
    let (_, first) = call(&world, "GET", "/audit?limit=3", "").await;
    assert_eq!((first["entries"].as_array().unwrap().len(), &first["next"]), (3, &json!(3)));
    assert_eq!(first["entries"][0]["operation"], "control/ClearFaults");
    let (_, rest) = call(&world, "GET", "/audit?limit=3&after=3", "").await;
    assert_eq!((rest["entries"].as_array().unwrap().len(), &rest["next"]), (2, &Value::Null));
}

#[tokio::test(start_paused = true)]
async fn a_body_that_is_too_large_is_refused() {
    let (status, answer) = call(&shared(), "PUT", "/capacity", &" ".repeat(2 * 1024 * 1024)).await;
    assert_eq!((status, &answer["error"]["code"]), (413, &json!("BadBody")));
}

#[tokio::test(start_paused = true)]
async fn machines_are_told_when_others_run() {
    let world = shared();
    let (status, nothing) = call(&world, "GET", "/machines", "").await;
    assert_eq!((status, nothing["machines"].as_array().unwrap().len()), (200, 0));
    let seen = format!("/machines?seen={}", nothing["version"].as_str().unwrap());
    let (_, same) = call(&world, "GET", &seen, "").await;
    assert_eq!((same["version"] == nothing["version"], world.clock().elapsed().as_secs()), (true, 30));
    let id = launch(&world);
    tokio::spawn(crate::app::drive(world.clone()));
    let (_, one) = call(&world, "GET", &seen, "").await;
    assert_eq!((one["machines"][0]["instanceId"].as_str(), one["version"] == nothing["version"]), (Some(&*id), false));
    assert_eq!(one["machines"][0]["machineType"], "m5.large");
}

#[tokio::test(start_paused = true)]
async fn the_page_lives_by_the_stream_of_changes() {
    let world = shared();
    let get = |path: &str| Request::get(path.to_owned()).body(Body::empty()).unwrap();
    let page = app(world.clone()).oneshot(get("/ui")).await.unwrap();
    let page = page.into_body().collect().await.unwrap().to_bytes();
    assert!(String::from_utf8_lossy(&page).contains("EventSource"));
    let response = app(world.clone()).oneshot(get("/control/v1/changes")).await.unwrap();
    assert_eq!(response.headers()["content-type"], "text/event-stream");
    let mut body = response.into_body();
    let mut next = async || {
        let frame = body.frame().await.unwrap().unwrap().into_data().unwrap();
        let text = String::from_utf8(frame.to_vec()).unwrap();
        serde_json::from_str::<Value>(text.strip_prefix("data: ").unwrap().trim_end()).unwrap()
    };
    assert_eq!(next().await["machines"], json!([]));
    let id = launch(&world);
    // A state that was made before may lie in the channel.
    let mut shown = next().await;
    while shown["machines"] == json!([]) {
        shown = next().await;
    }
    assert_eq!(shown["machines"][0]["instanceId"], json!(id));
    assert!(shown["ledger"]["launched"] == 1 && shown["pools"][0]["inUse"] == 1);
}

#[tokio::test(start_paused = true)]
async fn a_storm_takes_the_share_asked_for_and_the_same_with_the_same_seed() {
    let storm = async || {
        let world = shared();
        (0..10).for_each(|_| drop(launch(&world)));
        let (status, answer) = call(&world, "POST", "/interruptions", r#"{"percent": 30}"#).await;
        assert_eq!(status, 200, "{answer}");
        let marked = world.with(|world| world.instances().filter(|each| each.interruption.is_some()).count());
        assert_eq!((marked, answer["instanceIds"].as_array().unwrap().len()), (3, 3));
        answer
    };
    assert_eq!(storm().await, storm().await);
}

#[tokio::test(start_paused = true)]
async fn a_guarded_door_wants_its_token_and_the_vendors_do_not() {
    let world = shared();
    let send = async |path: &str, header: Option<&str>| {
        let mut request = Request::get(path.to_owned());
        if let Some(header) = header {
            request = request.header("authorization", header);
        }
        let app = crate::app::guarded_app(world.clone(), "secret");
        app.oneshot(request.body(Body::empty()).unwrap()).await.unwrap().status().as_u16()
    };
    for path in ["/control/v1/ledger", "/control/v1/", "/ui", "/control/v1/nothing"] {
        assert_eq!(send(path, None).await, 401, "{path}");
        assert_eq!(send(&format!("{path}?token=guess"), None).await, 401, "{path}");
    }
    assert_eq!(send("/control/v1/ledger", Some("Bearer secret")).await, 200);
    assert_eq!(send("/control/v1/audit?limit=3&token=secret", None).await, 200);
    assert_eq!(send("/ui?token=secret", None).await, 200);
    assert_eq!(send("/?Action=DescribeRegions", Some("AWS4-HMAC-SHA256 Credential=x")).await, 200);
}
