//! An in-process Kubernetes API, good enough for the real `kube` client in virtual time and for unmodified `kubectl`.
//!
//! - [`ApiServer`], [`Config`] (`server`) — the server; `stream` — the shell of watches; `gc` — garbage collection
//! - `app` — from HTTP to the verbs and back; `request`, `negotiation`, `protobuf`, `status`, `field_error` — its words
//! - `registry` — which resources are served; `discovery`, `openapi` — how clients learn of them
//! - `verbs`, `subresource`, `patch` — what can be done with an object
//! - `builtin`, `schema` — the rules of built-in and of custom resources; `convert` — versions; `table` — printing
//! - [`store`] — **pure**: objects, resource versions, watch history
//!
//! Everything but `server`, `stream`, `gc::run` and `app` is a function of the state and a request.

mod app;
mod builtin;
mod convert;
mod discovery;
mod field_error;
mod gc;
mod negotiation;
mod openapi;
mod patch;
mod protobuf;
mod registry;
mod request;
mod schema;
mod server;
mod state;
mod status;
mod store;
mod stream;
mod subresource;
mod table;
mod value;
mod verbs;

pub use builtin::tolerate_for_a_while;
pub use server::{ApiServer, Config, DEFAULT_HISTORY};
pub(crate) use store::LabelSelector;
pub use store::{GroupResource, Object, ObjectName, ObjectRef};
