//! Which Nodes kubelets are played for though no machine of ours is behind them, as KWOK's options name them.

use super::object::text;
use crate::{
    apiserver::LabelSelector,
    machine::{Machine, MachineSource},
};
use serde_json::Value;

/// Nodes that somebody else has made and that kubelets here look after.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NodeSelection(Which);

#[derive(Clone, Debug, Default, PartialEq, Eq)]
enum Which {
    #[default]
    Nobodys,
    All,
    Named(String),
    ByAnnotations(LabelSelector),
    ByLabels(LabelSelector),
}

impl NodeSelection {
    /// None: only machines have kubelets.
    pub fn none() -> Self {
        Self(Which::Nobodys)
    }

    /// All of them.
    pub fn all() -> Self {
        Self(Which::All)
    }

    /// The one with this name.
    pub fn named(name: &str) -> Self {
        Self(Which::Named(name.to_owned()))
    }

    /// Those whose annotations a selector matches, e.g. `kwok.x-k8s.io/node=fake`.
    ///
    /// # Errors
    /// A sentence that names the part that cannot be read.
    pub fn by_annotations(selector: &str) -> Result<Self, String> {
        LabelSelector::parse(selector).map(|selector| Self(Which::ByAnnotations(selector)))
    }

    /// Those whose labels a selector matches.
    ///
    /// # Errors
    /// A sentence that names the part that cannot be read.
    pub fn by_labels(selector: &str) -> Result<Self, String> {
        LabelSelector::parse(selector).map(|selector| Self(Which::ByLabels(selector)))
    }

    /// Whether there are any.
    pub(super) fn is_none(&self) -> bool {
        self.0 == Which::Nobodys
    }

    /// Whether `node` is one of them.
    pub(super) fn takes(&self, node: &Value) -> bool {
        match &self.0 {
            Which::Nobodys => false,
            Which::All => true,
            Which::Named(name) => text(node, &["metadata", "name"]) == name,
            Which::ByAnnotations(selector) => selector.matches(node["metadata"].get("annotations")),
            Which::ByLabels(selector) => selector.matches(node["metadata"].get("labels")),
        }
    }
}

/// No machines: kubelets are there only for Nodes that others have made.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoMachines;

#[async_trait::async_trait]
impl MachineSource for NoMachines {
    fn machines(&self) -> Vec<Machine> {
        Vec::new()
    }

    async fn changed(&self, _seen: u64) -> u64 {
        std::future::pending().await
    }
}

#[cfg(test)]
mod tests {
    use super::NodeSelection;
    use rstest::rstest;
    use serde_json::json;

    #[rstest]
    #[case(Ok(NodeSelection::none()), false)]
    #[case(Ok(NodeSelection::all()), true)]
    #[case(Ok(NodeSelection::named("n")), true)]
    #[case(Ok(NodeSelection::named("m")), false)]
    #[case(NodeSelection::by_annotations("kwok.x-k8s.io/node=fake"), true)]
    #[case(NodeSelection::by_annotations("kwok.x-k8s.io/node=real"), false)]
    #[case(NodeSelection::by_labels("zone in (a,b),!spot"), true)]
    #[case(NodeSelection::by_labels("kwok.x-k8s.io/node"), false)]
    fn who_is_looked_after(#[case] selection: Result<NodeSelection, String>, #[case] taken: bool) {
        let node = json!({"metadata": {
            "name": "n", "labels": {"zone": "a"}, "annotations": {"kwok.x-k8s.io/node": "fake"},
        }});
        assert_eq!(selection.unwrap().takes(&node), taken);
    }
}
