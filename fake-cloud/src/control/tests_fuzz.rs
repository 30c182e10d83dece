//! Requests that no script means, while machines come and go: each is answered, none with a failure of the server's own, and the
//! world lives on with whatever they made of it.

use super::{
    PREFIX,
    index::ENDPOINTS,
    tests::{launch, shared},
};
use crate::{app::app, ec2::tests_fuzz::mutated};
use axum::body::Body;
use http::Request;
use http_body_util::BodyExt;
use sawhorse_ambient::{Seed, Stream};
use std::time::Duration;
use tower::ServiceExt;

const REQUESTS: u32 = 5_000;
/// So often a machine is launched, if the scripts let it, and time passes.
const LIFE_EVERY: u32 = 50;
/// Longer than any scripted delay.
const PATIENCE: Duration = Duration::from_secs(20 * 60);
/// What people who do not think of limits write.
const DURATIONS: [&str; 6] = ["0s", "-1h", "9223372036854775807s", "300000000h", "1y", "PT1H"];

fn request(number: u32, machine: &str) -> Option<Request<Body>> {
    let mut draw = Seed(11).stream(&["control fuzz", &number.to_string()]);
    let endpoint = &ENDPOINTS[draw.below(ENDPOINTS.len() as u64) as usize];
    let path = endpoint.path.replace("{id}", if draw.below(4) == 0 { "%00" } else { machine });
    let query = if draw.below(4) == 0 { mutated("?limit=10&instanceType=m5.*", &mut draw) } else { String::new() };
    let body = endpoint.body.map(|body| strange(body, &mut draw)).unwrap_or_default();
    Request::builder().method(endpoint.method).uri(format!("{PREFIX}{path}{query}")).body(Body::from(body)).ok()
}

/// The body with a duration that is none, or with parts changed.
fn strange(body: &str, draw: &mut Stream) -> String {
    let durations: Vec<&str> = body
        .split('"')
        .filter(|text| {
            text.ends_with(['s', 'm', 'h']) && text.starts_with(|first: char| first.is_ascii_digit()) && text.len() < 6
        })
        .collect();
    if draw.below(2) == 0 && !durations.is_empty() {
        let replaced = durations[draw.below(durations.len() as u64) as usize];
        let other = DURATIONS[draw.below(DURATIONS.len() as u64) as usize];
        return body.replace(&format!("\"{replaced}\""), &format!("\"{other}\""));
    }
    if draw.below(4) == 0 { body.to_owned() } else { mutated(body, draw) }
}

#[tokio::test(start_paused = true)]
async fn thousands_of_mutated_requests_are_answered() {
    let world = shared();
    let machine = launch(&world);
    let mut answered = 0;
    for number in 0..REQUESTS {
        let Some(request) = request(number, &machine) else { continue };
        let said = format!("{request:?}");
        let response = tokio::time::timeout(PATIENCE, app(world.clone()).oneshot(request)).await;
        let response = response.expect("the door answers").unwrap();
        let status = response.status();
        answered += 1;
        // The stream of changes has no end.
        if !said.contains("/changes") {
            let body = response.into_body().collect().await.unwrap().to_bytes();
            assert!(!status.is_server_error(), "request {number}: {status} {body:?}\n{said}");
        }
        if number % LIFE_EVERY == 0 {
            tokio::time::advance(Duration::from_secs(90)).await;
            let action = "Action=DescribeInstances&Version=2016-11-15&MaxResults=10";
            let request = Request::post("/").header("authorization", "AWS4-HMAC-SHA256 Credential=x");
            let call = app(world.clone()).oneshot(request.body(Body::from(action)).unwrap());
            // A script may have it refused or never answered.
            drop(tokio::time::timeout(PATIENCE, call).await);
        }
    }
    assert!(answered > REQUESTS * 9 / 10, "{answered}");
}
