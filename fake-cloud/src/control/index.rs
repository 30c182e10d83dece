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
pub(super) const ENDPOINTS: [Endpoint; 38] = [
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
         {\"loseResponse\": \"serverError\" or \"never\"}, \"duplicate\"; optional skip, times, percent",
        Some(r#"{"operation": "CreateFleet", "effect": {"loseResponse": "serverError"}, "times": 1}"#),
    ),
    endpoint("DELETE", "/faults", "removes all fault rules", None),
    endpoint("DELETE", "/faults/{id}", "removes a fault rule", None),
    endpoint("GET", "/throttling", "whether requests are limited, and to how much of EC2's figures", None),
    endpoint(
        "PUT",
        "/throttling",
        "limits requests by EC2's token buckets, full at first; percent scales what they hold and how fast they fill",
        Some(r#"{"enabled": true, "percent": 10}"#),
    ),
    endpoint("GET", "/consistency", "how late reads and launches see what was made", None),
    endpoint(
        "PUT",
        "/consistency",
        "sets how late what is made from now on is seen; what is not given is seen at once",
        Some(r#"{"instances": {"min": "0s", "max": "5s"}, "instanceProfiles": {"min": "1s", "max": "10s"}}"#),
    ),
    endpoint("GET", "/events", "where events go, and what becomes of them on the way", None),
    endpoint(
        "PUT",
        "/events",
        "sets which percent of the events gets lost or comes twice, and how late they come; the queue stays if none is given",
        Some(r#"{"lostPercent": 20, "duplicatedPercent": 5, "delay": {"min": "0s", "max": "30s"}}"#),
    ),
    endpoint(
        "POST",
        "/events",
        "puts a raw body into a queue, the cluster's if none is named",
        Some(r#"{"body": "{\"version\": \"0\"}"}"#),
    ),
    endpoint(
        "PUT",
        "/credentials",
        "says what callers' credentials are worth: valid, expired, wrongSignature or denied",
        Some(r#"{"credentials": "expired"}"#),
    ),
    endpoint(
        "POST",
        "/interruptions",
        "the spot market takes machines back: percent of those that fit instanceType and zone, with the usual notice",
        Some(r#"{"instanceType": "*", "zone": "us-west-2a", "percent": 30}"#),
    ),
    endpoint(
        "POST",
        "/losses",
        "machines that fit instanceType, zone and capacityType end at once and without warning; percent of them",
        Some(r#"{"zone": "us-west-2a"}"#),
    ),
    endpoint(
        "POST",
        "/capacity-blocks",
        "gives the account a capacity block from `start` to `end`, counted from now",
        Some(
            r#"{"instanceType": "p5.48xlarge", "zone": "us-west-2a", "count": 2, "start": "0s", "end": "24h", "tags": {"a": "b"}}"#,
        ),
    ),
    endpoint(
        "POST",
        "/capacity-reservations",
        "reserves machines for the account, as CreateCapacityReservation does; open unless targeted, for ever unless `end` is given; \
         `interruptible` ones are lent by another",
        Some(
            r#"{"instanceType": "m5.large", "zone": "us-west-2a", "count": 2, "targeted": true, "end": "24h", "tags": {"a": "b"}}"#,
        ),
    ),
    endpoint(
        "POST",
        "/placement-groups",
        "makes a placement group, as CreatePlacementGroup does: cluster, spread, or partition with its `partitions`",
        Some(r#"{"name": "parts", "strategy": "partition", "partitions": 3}"#),
    ),
    endpoint(
        "POST",
        "/reclaims",
        "takes `count` machines of interruptible reservations (a pattern) back, or all: unused ones at once, others with a warning",
        Some(r#"{"reservation": "cr-*", "count": 1}"#),
    ),
    endpoint(
        "POST",
        "/images",
        "new images replace those that public parameters (a pattern) name, as a release does",
        Some(r#"{"parameter": "/aws/service/eks/optimized-ami/1.35/*"}"#),
    ),
    endpoint("POST", "/instances/{id}/rebalance", "says that a spot machine is at risk of being taken back", None),
    endpoint(
        "POST",
        "/instances/{id}/impair",
        "lets a check of the machine (or of those that a pattern names) fail: instance or system; null makes it well again",
        Some(r#"{"check": "instance"}"#),
    ),
    endpoint(
        "POST",
        "/instances/{id}/schedule",
        "plans something for the machine, or for those that a pattern names: instance-reboot, system-reboot, system-maintenance, instance-retirement, instance-stop",
        Some(r#"{"code": "instance-retirement", "after": "24h"}"#),
    ),
    endpoint("GET", "/changes", "the state that the page shows, again after each change, as server-sent events", None),
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
