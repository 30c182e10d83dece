//! NodeOverlay `karpenter.sh/v1alpha1` (spec core 1.6).

use super::{NodeSelectorRequirementWithMinValues, RequirementOperator, ResourceList};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// What the cloud does not know of some machines: another price, further resources.
#[derive(CustomResource, Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "karpenter.sh",
    version = "v1alpha1",
    kind = "NodeOverlay",
    plural = "nodeoverlays",
    shortname = "overlays",
    category = "karpenter",
    status = "NodeOverlayStatus",
    derive = "PartialEq",
    derive = "Default",
    doc = "NodeOverlay says of some instance types what their cloud does not know: another price, further resources.",
    printcolumn(name = "Ready", type_ = "string", json_path = ".status.conditions[?(@.type==\"Ready\")].status"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    printcolumn(name = "Weight", type_ = "integer", json_path = ".spec.weight", priority = 1)
)]
#[serde(rename_all = "camelCase", default)]
pub struct NodeOverlaySpec {
    /// Which machines it is about; all of them must hold. Besides what instance types and their offerings state, they may name
    /// `karpenter.sh/nodepool` and the labels of NodePools' templates.
    pub requirements: Vec<OverlayRequirement>,
    /// What they cost, in dollars per hour.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub price: Option<String>,
    /// By how much more or less they cost: dollars per hour such as `+0.05` or `-0.05`, or a share such as `-10%`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub price_adjustment: Option<String>,
    /// Further resources that they have.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub capacity: ResourceList,
    /// Where several say something of the same, that of the highest weight counts. Unset means 0.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub weight: Option<i32>,
}

/// What must hold of one label of a machine.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct OverlayRequirement {
    /// The label.
    pub key: String,
    /// How its value relates to `values`.
    pub operator: RequirementOperator,
    /// The values.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub values: Vec<String>,
}

impl OverlayRequirement {
    /// The same as NodePools write it.
    pub fn to_spec(&self) -> NodeSelectorRequirementWithMinValues {
        let Self { key, operator, values } = self.clone();
        NodeSelectorRequirementWithMinValues { key, operator, values, min_values: None }
    }
}

/// What is known of an overlay.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct NodeOverlayStatus {
    /// Conditions by type.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<Condition>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_overlay_reads_as_it_is_written() {
        let spec = serde_json::json!({
            "requirements": [{"key": "karpenter.sh/nodepool", "operator": "In", "values": ["batch"]}],
            "priceAdjustment": "-10%", "capacity": {"smarter-devices/fuse": "1"}, "weight": 10,
        });
        let read: NodeOverlaySpec = serde_json::from_value(spec.clone()).unwrap();
        assert_eq!(serde_json::to_value(read).unwrap(), spec);
    }
}
