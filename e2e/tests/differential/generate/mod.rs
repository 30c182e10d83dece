//! Sequences of requests, drawn from a seed.
//!
//! - [`kinds`], [`custom`] — kinds, how objects of them are made, and what changes them; [`wrong`] — what makes them wrong
//! - [`requests`] — one request of each verb; [`stories`] — requests that belong together

pub(crate) mod custom;
pub(crate) mod kinds;
mod requests;
mod stories;
mod wrong;

use sawhorse_ambient::Stream;
use serde_json::Value;
use std::fmt;

pub(crate) use stories::sequence;

/// One request of a sequence. `{ns}` in paths and bodies stands for the sequence's namespace.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    /// What the report counts it under.
    pub(crate) verb: &'static str,
    pub(crate) kind: &'static str,
    pub(crate) method: &'static str,
    /// With the query.
    pub(crate) path: String,
    pub(crate) content_type: &'static str,
    pub(crate) accept: &'static str,
    /// The user agent, by which writes without a field manager are recorded.
    pub(crate) agent: &'static str,
    pub(crate) body: Option<Body>,
    /// The version of an earlier answer is added to the query: of whichever answer this number comes to.
    pub(crate) since: Option<u64>,
}

impl fmt::Display for Request {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{} {} ({}; {})", self.method, self.path, self.content_type, self.agent)?;
        match &self.body {
            None => Ok(()),
            Some(Body::Literal(body)) => write!(out, " {body}"),
            Some(Body::Current(merged)) => write!(out, " what is there with {merged}"),
        }
    }
}

/// What is sent.
#[derive(Clone, Debug)]
pub(crate) enum Body {
    /// As it is.
    Literal(Value),
    /// The object at the path as that server has it now, with this merged into it.
    Current(Value),
}

/// What a sequence consists of.
#[derive(Clone, Debug)]
pub(crate) enum Step {
    One(Request),
    /// A list, and all that its `continue` leads to.
    Pages(Request),
    /// A watch, until it has nothing more to tell.
    Watch(Request),
}

impl Request {
    fn new(verb: &'static str, kind: &'static str, method: &'static str, path: String) -> Self {
        let (content_type, accept, agent) = ("application/json", "application/json", "differential/1.0 (test)");
        Self { verb, kind, method, path, content_type, accept, agent, body: None, since: None }
    }

    fn with(self, body: Value) -> Self {
        Self { body: Some(Body::Literal(body)), ..self }
    }
}

fn one<T: Copy>(stream: &mut Stream, of: &[T]) -> T {
    of[stream.below(of.len() as u64) as usize]
}

fn chance(stream: &mut Stream, percent: u64) -> bool {
    stream.below(100) < percent
}

/// A path with one more parameter.
fn and(path: String, parameter: &str) -> String {
    if parameter.is_empty() {
        return path;
    }
    let separator = if path.contains('?') { '&' } else { '?' };
    format!("{path}{separator}{parameter}")
}
