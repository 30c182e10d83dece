//! What the door offers, as data: the answer to `GET /control/v1/` and the list that tests walk.

use super::PREFIX;
use axum::Json;
use serde_json::{Value, json};

/// An endpoint: method, path below the prefix, what it does, an example of its body.
pub(super) struct Endpoint {
    pub(super) method: &'static str,
    pub(super) path: &'static str,
    pub(super) does: &'static str,
    pub(super) body: Option<&'static str>,
}

const fn endpoint(
    method: &'static str,
    path: &'static str,
    does: &'static str,
    body: Option<&'static str>,
) -> Endpoint {
    Endpoint { method, path, does, body }
}

/// Every endpoint. Patterns may contain `*` and `?`.
pub(super) const ENDPOINTS: [Endpoint; 19] = [
    endpoint("GET", "/", "this list", None),
    endpoint(
        "GET",
        "/capacity",
        "pools with machines in them, or those that ?instanceType=…&zone=…&capacityType=… name (patterns)",
        None,
    ),
    endpoint(
        "PUT",
        "/capacity",
        "sets how many machines the named pools hold, running ones included: a number, \"unlimited\" or {min, max}",
        Some(r#"{"rules": [{"instanceType": "p5.*", "zone": "us-west-2?", "capacityType": "spot", "capacity": 0}]}"#),
    ),
    endpoint("GET", "/prices", "prices of the pools that ?instanceType=…&zone=…&capacityType=… name (patterns)", None),
    endpoint(
        "PUT",
        "/prices",
        "sets prices in dollars per hour, for running machines from now on",
        Some(
            r#"{"rules": [{"instanceType": "m5.large", "zone": "us-west-2a", "capacityType": "spot", "price": "0.09"}]}"#,
        ),
    ),
    endpoint("GET", "/delays", "how long machines stay in states that pass by themselves", None),
    endpoint(
        "PUT",
        "/delays",
        "sets delays of states entered from now on; delays not given stay",
        Some(r#"{"pending": {"min": "5s", "max": "30s"}, "interruptionNotice": "2m"}"#),
    ),
    endpoint(
        "PUT",
        "/quotas",
        "sets vCPU quotas by class (standard, f, g, p, x, inf, trn, dl, high-memory, hpc, mac) and market; none without vcpus",
        Some(r#"{"rules": [{"class": "standard", "capacityType": "on-demand", "vcpus": 64}]}"#),
    ),
    endpoint("GET", "/faults", "the fault rules in force, with how often each matched and hit", None),
    endpoint(
        "POST",
        "/faults",
        "adds a fault rule; effects: \"throttle\", {\"error\": {code, message, status}}, {\"delay\": \"5s\"}, \
         {\"loseResponse\": \"serverError\" or \"never\"}; optional skip, times, percent",
        Some(r#"{"operation": "CreateFleet", "effect": {"loseResponse": "serverError"}, "times": 1}"#),
    ),
    endpoint("DELETE", "/faults", "removes all fault rules", None),
    endpoint("DELETE", "/faults/{id}", "removes a fault rule", None),
    endpoint(
        "GET",
        "/audit",
        "a page of the audit trail, oldest first; ?after=NUMBER&limit=1…1000; go on with `next` until it is null",
        None,
    ),
    endpoint("GET", "/instances", "machines with state and cost, by id; ?state=…&after=ID&limit=1…1000", None),
    endpoint(
        "GET",
        "/machines",
        "running machines with their user data, as whoever boots them needs to know them; with ?seen=VERSION of the last answer \
         it waits, up to 30 s, until others run",
        None,
    ),
    endpoint("POST", "/instances/{id}/interrupt", "announces that the spot market takes the machine back", None),
    endpoint("POST", "/instances/{id}/kill", "ends the machine at once and without warning", None),
    endpoint("GET", "/ledger", "money, calls by operation, machines by state, and what would be left behind", None),
    endpoint("GET", "/ledger/instances", "what each machine has cost; ?after=COUNT&limit=1…1000", None),
];

/// `GET /`
pub(super) async fn index() -> Json<Value> {
    let endpoints: Vec<Value> = ENDPOINTS.iter().map(describe).collect();
    Json(json!({ "endpoints": endpoints }))
}

fn describe(endpoint: &Endpoint) -> Value {
    let mut described = json!({
        "method": endpoint.method,
        "path": format!("{PREFIX}{}", endpoint.path),
        "does": endpoint.does,
    });
    let example = endpoint.body.and_then(|body| serde_json::from_str::<Value>(body).ok());
    if let Some(example) = example {
        described["exampleBody"] = example;
    }
    described
}
