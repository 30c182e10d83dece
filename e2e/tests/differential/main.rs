//! The embedded API server is held to the real one: both get the same requests, drawn from a seed, and must answer alike.
//! `make test-kubernetes` runs it; `explained.yaml` lists the differences that are meant, each with its reason.

#![expect(clippy::unwrap_used, reason = "clippy takes only the test functions themselves for tests, not their helpers")]

mod compare;
mod generate;

use compare::{Answer, Explained, Known, differences};
use futures::future::join;
use generate::{Body, Request, sequence};
use kube::{Client, client::Body as HttpBody};
use sawhorse_ambient::{Clock, Seed};
use sawhorse_e2e::control_plane::{ControlPlane, Kubernetes, Programs, Times};
use sawhorse_kwok::apiserver::{ApiServer, Config};
use serde_json::{Value, json};
use std::{collections::BTreeMap, path::PathBuf};

/// Sequences, and requests in each.
const SEQUENCES: usize = 200;
const LENGTH: usize = 15;

#[expect(clippy::disallowed_methods, reason = "a test has no command line")]
fn programs() -> Programs {
    let folder = std::env::var("KUBEBUILDER_ASSETS").expect("make test-kubernetes names the programs' folder");
    Programs::in_folder(&PathBuf::from(folder)).unwrap()
}

async fn send(client: &Client, namespace: &str, request: &Request) -> Answer {
    let path = request.path.replace("{ns}", namespace);
    let body = match &request.body {
        None => Vec::new(),
        Some(Body::Literal(body)) => body.to_string().into_bytes(),
        Some(Body::Current(change)) => {
            let current = http::Request::get(&path).body(HttpBody::empty()).unwrap();
            let mut current = answer(client, current).await.body;
            merge(&mut current, change);
            current.to_string().into_bytes()
        }
    };
    let sent = http::Request::builder().method(request.method).uri(path).header("content-type", request.content_type);
    answer(client, sent.body(HttpBody::from(body)).unwrap()).await
}

async fn answer(client: &Client, request: http::Request<HttpBody>) -> Answer {
    let response = client.send(request).await.unwrap();
    let code = response.status().as_u16();
    let body = response.into_body().collect_bytes().await.unwrap();
    let body =
        serde_json::from_slice(&body).unwrap_or_else(|_| Value::from(String::from_utf8_lossy(&body).into_owned()));
    Answer { code, body }
}

fn merge(into: &mut Value, from: &Value) {
    match (into, from) {
        (Value::Object(into), Value::Object(from)) => {
            for (key, value) in from {
                if value.is_null() {
                    into.remove(key);
                } else {
                    merge(into.entry(key).or_insert(Value::Null), value);
                }
            }
        }
        (into, from) => into.clone_from(from),
    }
}

#[tokio::test]
async fn the_embedded_api_server_answers_as_the_real_one() {
    let clock = Clock::from_system();
    let times = Times { began: clock.now(), speed: 1 };
    // Nothing makes service accounts here.
    let further = ["--disable-admission-plugins=ServiceAccount"];
    let cluster = Kubernetes::start_apiserver(&programs(), times, &further).await.unwrap();
    let embedded = ApiServer::new(Config::new(clock, Seed(1)));
    let (real, own) = (cluster.client(), embedded.client());
    let explained = Explained::read(include_str!("explained.yaml"));
    let mut unknown: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let mut counts: BTreeMap<Known, usize> = BTreeMap::new();
    let mut requests = 0;
    for index in 0..SEQUENCES {
        let namespace = format!("d{index}");
        let body = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}});
        let create = Request {
            method: "POST",
            path: "/api/v1/namespaces".to_owned(),
            content_type: "application/json",
            body: Some(Body::Literal(body)),
        };
        let mut stream = Seed(7).stream(&["sequence", &namespace]);
        let mut all = vec![create];
        all.extend(sequence(&mut stream, LENGTH));
        let mut history = String::new();
        for request in &all {
            requests += 1;
            let (theirs, ours) = join(send(&real, &namespace, request), send(&own, &namespace, request)).await;
            history.push_str(&format!("  {} {} {}\n", request.method, request.path, theirs.code));
            let mut worst = None;
            for found in differences(request, &theirs, &ours) {
                let known = explained.of(request, &found);
                *counts.entry(known).or_default() += 1;
                worst = worst.max(Some(known));
                if known == Known::Nothing {
                    let told = format!("{namespace}: {request:?}\n{history}  theirs {theirs}\n  ours   {ours}");
                    unknown.entry(found).or_default().push(told);
                }
            }
            // After a different outcome what follows would differ for the same reason.
            if worst > Some(Known::Meant) || theirs.code != ours.code {
                break;
            }
        }
    }
    ControlPlane::Kubernetes(Box::new(cluster)).stop().await;
    let mut report: Vec<(&String, &Vec<String>)> = unknown.iter().collect();
    report.sort_by_key(|(_, told)| std::cmp::Reverse(told.len()));
    for (found, told) in &report {
        eprintln!("{} × {found}\n{}\n", told.len(), told[0]);
    }
    let count = |known: Known| counts.get(&known).copied().unwrap_or(0);
    eprintln!(
        "{requests} requests; differences: {} meant, {} known faults, {} unknown",
        count(Known::Meant),
        count(Known::Wrong),
        count(Known::Nothing)
    );
    assert_eq!(count(Known::Nothing), 0, "differences that nothing explains");
}
