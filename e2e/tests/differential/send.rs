//! Requests on their way to both servers.

use super::{
    compare::{Answer, differences, events},
    generate::{Body, Request, Step},
    merge,
};
use futures::future::join;
use kube::{Client, client::Body as HttpBody};
use serde_json::Value;
use std::time::Duration;
use tokio::time::timeout;

/// How long watches last, in seconds, at first and where the real server told less than the embedded one: it may have been
/// too busy.
const WATCH_SECONDS: [&str; 2] = ["1", "6"];

/// How often the real server is asked again for what it remembers, where that differs: it may have been too busy to remember it.
const REMEMBERING: usize = 50;

/// The clients of the real and of the embedded server.
pub(crate) struct Both {
    clients: [Client; 2],
}

impl Both {
    pub(crate) fn new(real: Client, embedded: Client) -> Self {
        Self { clients: [real, embedded] }
    }

    pub(crate) fn clients(&self) -> [&Client; 2] {
        self.clients.each_ref()
    }

    pub(crate) fn session<'a>(&'a self, namespace: &'a str) -> Session<'a> {
        Session { both: self, namespace, versions: Vec::new() }
    }
}

/// One sequence's way through both servers.
pub(crate) struct Session<'a> {
    both: &'a Both,
    namespace: &'a str,
    /// Versions of earlier answers.
    versions: Vec<[String; 2]>,
}

impl Session<'_> {
    /// Sends what is not compared.
    pub(crate) async fn prepare(&mut self, method: &'static str, path: &str, body: &Value) {
        let content_type = if method == "PATCH" { "application/merge-patch+json" } else { "application/json" };
        let request = Request {
            verb: "prepare",
            kind: "",
            method,
            path: path.to_owned(),
            content_type,
            accept: "application/json",
            agent: "differential/1.0 (test)",
            body: Some(Body::Literal(body.clone())),
            since: None,
        };
        self.send(&request, [&request.path, &request.path]).await;
    }

    /// The answers to a step, most often one.
    pub(crate) async fn answers(&mut self, step: &Step) -> Vec<(Request, [Answer; 2])> {
        match step {
            Step::One(request) => {
                let paths = self.paths(request);
                let answers = self.send(request, [&paths[0], &paths[1]]).await;
                vec![(request.clone(), answers)]
            }
            Step::Pages(request) => self.pages(request).await,
            Step::Watch(request) => vec![(request.clone(), self.watch(request).await)],
        }
    }

    /// The request's path for each server, with the versions that it remembers.
    fn paths(&self, request: &Request) -> [String; 2] {
        let remembered = request.since.and_then(|nth| self.versions.get(nth as usize % self.versions.len().max(1)));
        [0, 1].map(|server| match remembered {
            Some(versions) => format!("{}&resourceVersion={}", request.path, versions[server]),
            None => request.path.clone(),
        })
    }

    async fn pages(&mut self, request: &Request) -> Vec<(Request, [Answer; 2])> {
        const MOST: usize = 8;
        let mut answered = Vec::new();
        let mut paths = [request.path.clone(), request.path.clone()];
        while answered.len() < MOST {
            let answers = self.send(request, [&paths[0], &paths[1]]).await;
            let tokens = answers.each_ref().map(|answer| {
                let token = answer.body.pointer("/metadata/continue").and_then(Value::as_str);
                token.map(str::to_owned)
            });
            answered.push((request.clone(), answers));
            let [Some(their), Some(our)] = tokens else { break };
            // The version is in the token.
            let path = request.path.replace("&resourceVersion=0", "");
            paths = [format!("{path}&continue={their}"), format!("{path}&continue={our}")];
        }
        answered
    }

    async fn watch(&mut self, request: &Request) -> [Answer; 2] {
        let paths = self.paths(request);
        let mut answers = None;
        for seconds in WATCH_SECONDS {
            let paths = paths.each_ref().map(|path| path.replace("{timeout}", seconds));
            let mut told = self.send(request, [&paths[0], &paths[1]]).await;
            for answer in told.iter_mut().filter(|answer| answer.code == 200) {
                // A single event was read as JSON already.
                let text = match &answer.body {
                    Value::String(text) => text.clone(),
                    other => other.to_string(),
                };
                answer.body = events(text.as_bytes());
            }
            let is_same = differences(request, &told[0], &told[1]).is_empty();
            answers = Some(told);
            if is_same {
                break;
            }
        }
        answers.unwrap()
    }

    async fn send(&mut self, request: &Request, paths: [&str; 2]) -> [Answer; 2] {
        let [real, embedded] = self.both.clients();
        let (mut theirs, ours) = join(self.ask(real, request, paths[0]), self.ask(embedded, request, paths[1])).await;
        let version = |answer: &Answer| {
            answer.body.pointer("/metadata/resourceVersion").and_then(Value::as_str).map(str::to_owned)
        };
        // What comes from memory may be of long ago in a server that is busy.
        let is_remembered = ["resourceVersion=0", "NotOlderThan"].iter().any(|query| request.path.contains(query));
        if is_remembered && request.method == "GET" && request.verb != "watch" {
            for _ in 0..REMEMBERING {
                if differences(request, &theirs, &ours).is_empty() {
                    break;
                }
                theirs = self.ask(real, request, paths[0]).await;
            }
        }
        if let (Some(their), Some(our), false) = (version(&theirs), version(&ours), is_remembered) {
            self.versions.push([their, our]);
        }
        [theirs, ours]
    }

    async fn ask(&self, client: &Client, request: &Request, path: &str) -> Answer {
        let path = path.replace("{ns}", self.namespace);
        let body = match &request.body {
            None => String::new(),
            Some(Body::Literal(body)) => body.to_string(),
            Some(Body::Current(change)) => {
                let path = path.split('?').next().unwrap_or_default();
                let current = http::Request::get(path).body(HttpBody::empty()).unwrap();
                let mut current = answer(client, current).await.body;
                merge(&mut current, change);
                current.to_string()
            }
        };
        let sent = http::Request::builder()
            .method(request.method)
            .uri(path)
            .header("content-type", request.content_type)
            .header("accept", request.accept)
            .header("user-agent", request.agent);
        let body = body.replace("{ns}", self.namespace).into_bytes();
        answer(client, sent.body(HttpBody::from(body)).unwrap()).await
    }
}

/// How long an answer may take; watches end long before.
const ANSWER_LIMIT: Duration = Duration::from_secs(40);

async fn answer(client: &Client, request: http::Request<HttpBody>) -> Answer {
    let asked = format!("{} {}", request.method(), request.uri());
    let answer = timeout(ANSWER_LIMIT, answer_at_last(client, request)).await;
    let answer = answer.unwrap_or_else(|_| panic!("{asked} is not answered within {ANSWER_LIMIT:?}"));
    answer.unwrap_or_else(|error| panic!("{asked} is not answered: {error:?}"))
}

async fn answer_at_last(client: &Client, request: http::Request<HttpBody>) -> kube::Result<Answer> {
    let response = client.send(request).await?;
    let code = response.status().as_u16();
    let warnings = response
        .headers()
        .get_all("warning")
        .iter()
        .map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned());
    let mut warnings: Vec<String> = warnings.collect();
    warnings.sort();
    let body = response.into_body().collect_bytes().await?;
    let body =
        serde_json::from_slice(&body).unwrap_or_else(|_| Value::from(String::from_utf8_lossy(&body).into_owned()));
    Ok(Answer { code, body, warnings })
}
