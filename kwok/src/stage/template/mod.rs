//! Go templates with KWOK's functions and the part of sprig that stages use (spec kwok 5 and 9).

mod check;
mod dates;
mod functions;
mod kwok;
mod yaml;

use gotmpl::{FuncMap, Template, ToSerdeValue};
use jiff::Timestamp;
use sawhorse_ambient::Stream;
use serde_json::Value;
use std::{
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// The most steps that all loops of one rendering may take together: a pod of the largest size needs a few thousand.
const MAX_ITERATIONS: u64 = 1_000_000;

/// The name that a stage's template goes by in messages.
const NAME: &str = "template";

/// Where nodes and pods get their addresses from.
pub trait Addresses: Send + Sync {
    /// The address of the node called `node`.
    fn node_ip(&self, node: &str) -> String;

    /// The address of a pod: the node's with `host_network`, else one of its own that stays the same for the same pod.
    fn pod_ip(&self, node: &str, host_network: bool, uid: &str, name: &str, namespace: &str) -> String;
}

/// What a template may know besides the object.
#[derive(Clone)]
pub struct Facts {
    /// The time.
    pub now: Timestamp,
    /// When the kubelets were started.
    pub started: Timestamp,
    /// The node that the object is, or that the pod is on; may be empty.
    pub node_name: String,
    /// The port of the kubelets' server; none leaves it out of node statuses.
    pub node_port: Option<u16>,
    /// Where addresses come from.
    pub addresses: Arc<dyn Addresses>,
    /// What random functions draw from.
    pub draws: Stream,
}

/// The facts of the rendering that is under way; functions are bound when a template is compiled, before there are any.
#[derive(Clone, Default)]
pub(super) struct Current(Arc<Mutex<Option<Facts>>>);

impl Current {
    fn lock(&self) -> MutexGuard<'_, Option<Facts>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Asks the facts; within a rendering there always are some.
    pub(super) fn with<T>(&self, ask: impl FnOnce(&mut Facts) -> T) -> gotmpl::Result<T> {
        let outside = || gotmpl::TemplateError::Exec("a function was called outside of a rendering".to_owned());
        self.lock().as_mut().map(ask).ok_or_else(outside)
    }
}

/// A template, compiled.
pub(crate) struct Renderer {
    template: Template,
    current: Current,
    /// One rendering at a time: the functions see the facts of one.
    rendering: Mutex<()>,
}

impl Renderer {
    /// Compiles `text`; the error says what is not a template, or names the unknown function.
    pub(crate) fn compile(text: &str) -> Result<Self, String> {
        let current = Current::default();
        let mut known: FuncMap = functions::all();
        known.extend(kwok::all(&current));
        let names: Vec<String> = known.keys().cloned().collect();
        let template = Template::new(NAME).max_range_iters(MAX_ITERATIONS).funcs(known).parse(text);
        let template = template.map_err(|error| error.to_string())?;
        match check::unknown_function(&template, &names) {
            Some(name) => Err(format!("the template calls `{name}`, which is not a function that stages have")),
            None => Ok(Self { template, current, rendering: Mutex::new(()) }),
        }
    }

    /// The text for `object`.
    pub(crate) fn text(&self, object: &Value, facts: &Facts) -> Result<String, String> {
        let _alone = self.rendering.lock().unwrap_or_else(PoisonError::into_inner);
        let data = object.to_serde_value().map_err(|error| error.to_string())?;
        *self.current.lock() = Some(facts.clone());
        let rendered = self.template.execute_to_string(&data);
        *self.current.lock() = None;
        rendered.map_err(|error| error.to_string())
    }

    /// The text for `object`, read as YAML.
    pub(crate) fn yaml(&self, object: &Value, facts: &Facts) -> Result<Value, String> {
        let text = self.text(object, facts)?;
        serde_saphyr::from_str(&text).map_err(|error| format!("the template does not give YAML: {error}"))
    }
}

impl fmt::Debug for Renderer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Renderer").finish_non_exhaustive()
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::{Addresses, Facts};
    use sawhorse_ambient::Seed;
    use std::sync::Arc;

    struct Named;

    impl Addresses for Named {
        fn node_ip(&self, node: &str) -> String {
            format!("ip-of-{node}")
        }

        fn pod_ip(&self, node: &str, host_network: bool, _uid: &str, name: &str, namespace: &str) -> String {
            if host_network { self.node_ip(node) } else { format!("ip-of-{namespace}/{name}") }
        }
    }

    /// One minute after the start, on `node-a`; addresses are named after what they belong to.
    pub(crate) fn facts() -> Facts {
        Facts {
            now: "2026-01-01T00:01:00Z".parse().unwrap(),
            started: "2026-01-01T00:00:00Z".parse().unwrap(),
            node_name: "node-a".to_owned(),
            node_port: Some(10_250),
            addresses: Arc::new(Named),
            draws: Seed(1).stream(&["facts"]),
        }
    }
}
