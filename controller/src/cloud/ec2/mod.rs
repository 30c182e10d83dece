//! EC2: machines through CreateFleet, over the AWS SDK (spec aws).
//!
//! The provider is [`Ec2Provider`]; [`sdk`] makes the clients it needs. Pure rooms turn the API's answers into values and
//! values into requests; `provider` and the `read…` functions call.
//!
//! - `provider` — the [`CloudProvider`](super::CloudProvider): what is remembered, and in which order calls are made
//! - `launch_plan`, `launch_template`, `fleet`, `user_data` — from a NodeClaim to CreateFleet and back
//! - `catalog`, `capacity`, `machine`, `facts`, `pricing` — instance types as a NodeClass offers them
//! - `node_class`, `network`, `images`, `placement`, `drift` — what a NodeClass resolves to, and which machines no longer fit it
//! - `profile`, `reservation` — what is made for it, and what is kept ready for it
//! - `interruption`, `status` — what EC2 says of machines by itself, and when it is asked
//! - `instances`, `tags` — machines found again, and given back
//! - `call`, `pace`, `batch`, `cache`, `error`, `refusals` — how calls are sent, put together, kept and understood

mod batch;
mod cache;
mod call;
mod capacity;
mod catalog;
mod discovery;
mod drift;
mod error;
mod facts;
#[cfg(test)]
mod fixtures;
mod fleet;
mod images;
mod instances;
mod interruption;
mod launch_plan;
mod launch_template;
mod machine;
mod network;
mod node_class;
mod pace;
mod placement;
mod pricing;
mod profile;
mod provider;
mod refusals;
mod reservation;
pub mod sdk;
mod status;
mod tags;
mod user_data;

pub use call::{Call, CallObserver};
pub use error::{chain, launch_reason};
pub use provider::{Ec2Provider, Ec2ProviderConfig};
pub use user_data::Cluster;
