//! Scenario files (DESIGN 2.8): a YAML stream of ordinary Kubernetes objects and one `Scenario` object.

mod load;
mod schema;

pub use load::{ScenarioError, load};
pub use schema::{
    Action, Await, BootSpec, ControlCall, ControllerSpec, Curve, Hold, KillController, NodesSpec, ObjectRef, Patch,
    Range, Scale, Scenario, Span, Step,
};
