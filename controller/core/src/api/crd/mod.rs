//! The CustomResourceDefinitions, made from the types (spec core 1, aws 1). What a derive cannot say (patterns, bounds,
//! defaults, list types, CEL rules) each kind adds by path.

mod capacity_buffer;
mod ec2_node_class;
mod edit;
mod node_claim;
mod node_overlay;
mod node_pool;
mod shared;

use super::{CapacityBuffer, Ec2NodeClass, NodeClaim, NodeOverlay, NodePool};
use edit::Schema;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{CustomResourceDefinition, JSONSchemaProps};
use kube::CustomResourceExt;

/// The definition of every custom resource, by name.
pub fn crds() -> Vec<CustomResourceDefinition> {
    vec![
        finish(CapacityBuffer::crd(), capacity_buffer::constrain),
        finish(Ec2NodeClass::crd(), ec2_node_class::constrain),
        finish(NodeClaim::crd(), node_claim::constrain),
        finish(NodeOverlay::crd(), node_overlay::constrain),
        finish(NodePool::crd(), node_pool::constrain),
    ]
}

/// [`crds`] as one YAML stream.
pub fn crds_yaml() -> String {
    crd_files().into_iter().map(|(_, yaml)| format!("---\n{yaml}")).collect()
}

/// [`crds`] as files: name and content.
pub fn crd_files() -> Vec<(String, String)> {
    let file = |crd: CustomResourceDefinition| {
        let name = format!("{}_{}.yaml", crd.spec.group, crd.spec.names.plural);
        (name, serde_saphyr::to_string(&crd).expect("a definition of strings, numbers and maps is YAML"))
    };
    crds().into_iter().map(file).collect()
}

fn finish(mut crd: CustomResourceDefinition, constrain: fn(&mut Schema)) -> CustomResourceDefinition {
    for version in &mut crd.spec.versions {
        let Some(validation) = &mut version.schema else { continue };
        let Some(generated) = validation.open_api_v3_schema.take() else { continue };
        let mut schema = Schema(serde_json::to_value(generated).expect("a schema is JSON"));
        edit::clean(&mut schema.0);
        constrain(&mut schema);
        let edited: JSONSchemaProps = serde_json::from_value(schema.0).expect("an edited schema is still a schema");
        validation.open_api_v3_schema = Some(edited);
    }
    crd
}

#[cfg(test)]
mod rules_tests;

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;
    use serde_json::Value;

    const FILES: [(&str, &str); 5] = [
        (
            "autoscaling.x-k8s.io_capacitybuffers.yaml",
            include_str!("../../../../crds/autoscaling.x-k8s.io_capacitybuffers.yaml"),
        ),
        (
            "karpenter.k8s.aws_ec2nodeclasses.yaml",
            include_str!("../../../../crds/karpenter.k8s.aws_ec2nodeclasses.yaml"),
        ),
        ("karpenter.sh_nodeclaims.yaml", include_str!("../../../../crds/karpenter.sh_nodeclaims.yaml")),
        ("karpenter.sh_nodeoverlays.yaml", include_str!("../../../../crds/karpenter.sh_nodeoverlays.yaml")),
        ("karpenter.sh_nodepools.yaml", include_str!("../../../../crds/karpenter.sh_nodepools.yaml")),
    ];

    #[test]
    fn checked_in_files_are_current() {
        let written = FILES.map(|(name, yaml)| (name.to_owned(), yaml.to_owned()));
        for (generated, file) in crd_files().iter().zip(&written) {
            assert_eq!(generated, file, "run `make crds`");
        }
        assert_eq!(crd_files().len(), FILES.len());
    }

    /// The rules of <https://kubernetes.io/docs/tasks/extend-kubernetes/custom-resources/custom-resource-definitions/#specifying-a-structural-schema>:
    /// each node has a type (or is an integer or string), and logical junctors carry no types, defaults or descriptions.
    fn assert_structural(schema: &Value, path: &str) {
        let int_or_string = schema["x-kubernetes-int-or-string"] == true;
        assert!(schema["type"].is_string() || int_or_string, "{path} has no type: {schema}");
        for keyword in ["$ref", "nullable", "definitions", "oneOf", "allOf", "not", "uniqueItems"] {
            assert!(schema.get(keyword).is_none(), "{path} has `{keyword}`");
        }
        assert!(schema.get("anyOf").is_none() || int_or_string, "{path} has `anyOf`");
        let both = schema.get("properties").is_some() && schema.get("additionalProperties").is_some();
        assert!(!both, "{path} has properties and additionalProperties");
        for name in schema["required"].as_array().into_iter().flatten() {
            let name = name.as_str().unwrap();
            assert!(schema["properties"].get(name).is_some(), "{path} requires `{name}`, which it does not have");
        }
        for (name, property) in schema["properties"].as_object().into_iter().flatten() {
            assert_structural(property, &format!("{path}.{name}"));
        }
        for keyword in ["items", "additionalProperties"] {
            if let Some(inner) = schema.get(keyword) {
                assert_structural(inner, &format!("{path}.{keyword}"));
            }
        }
    }

    #[test]
    fn schemas_are_structural() {
        for crd in crds() {
            let schema =
                serde_json::to_value(&crd.spec.versions[0].schema.as_ref().unwrap().open_api_v3_schema).unwrap();
            assert_structural(&schema, &crd.spec.names.kind);
        }
    }

    #[rstest]
    #[case(
        "capacitybuffers.autoscaling.x-k8s.io", &["cb"],
        &["Strategy", "PodTemplate", "Replicas", "ConditionsType", "ConditionsStatus", "ConditionsReason", "Age"], false
    )]
    #[case("ec2nodeclasses.karpenter.k8s.aws", &["ec2nc", "ec2ncs"], &["Ready", "Age", "Role*"], false)]
    #[case(
        "nodeclaims.karpenter.sh", &[],
        &["Type", "Capacity", "Zone", "Node", "Ready", "Age", "ImageID*", "ID*", "NodePool*", "NodeClass*", "Drifted*"], false
    )]
    #[case("nodeoverlays.karpenter.sh", &["overlays"], &["Ready", "Age", "Weight*"], false)]
    #[case("nodepools.karpenter.sh", &[], &["NodeClass", "Nodes", "Ready", "Age", "Weight*", "CPU*", "Memory*"], true)]
    fn names_columns_and_subresources(
        #[case] name: &str,
        #[case] short: &[&str],
        #[case] columns: &[&str],
        #[case] scale: bool,
    ) {
        let crd = crds().into_iter().find(|crd| crd.metadata.name.as_deref() == Some(name)).unwrap();
        assert_eq!(crd.spec.names.short_names.unwrap_or_default(), short);
        let (scope, category) = match crd.spec.names.kind.as_str() {
            "CapacityBuffer" => ("Namespaced", "autoscaling"),
            _ => ("Cluster", "karpenter"),
        };
        assert_eq!((crd.spec.scope.as_str(), crd.spec.names.categories.unwrap()), (scope, vec![category.to_owned()]));
        let version = &crd.spec.versions[0];
        let subresources = version.subresources.as_ref().unwrap();
        assert_eq!((subresources.status.is_some(), subresources.scale.is_some()), (true, scale));
        let shown: Vec<String> = version
            .additional_printer_columns
            .iter()
            .flatten()
            .map(|column| format!("{}{}", column.name, if column.priority == Some(1) { "*" } else { "" }))
            .collect();
        assert_eq!(shown, columns);
    }

    #[test]
    fn defaults_of_schema_and_types_agree() {
        let defaults = |path: &str| {
            let crd = crds().pop().unwrap();
            let schema =
                serde_json::to_value(&crd.spec.versions[0].schema.as_ref().unwrap().open_api_v3_schema).unwrap();
            schema.pointer(path).cloned().unwrap_or_default()
        };
        let pool = serde_json::to_value(super::super::NodePoolSpec::default()).unwrap();
        let spec = "/properties/spec/properties";
        assert_eq!(defaults(&format!("{spec}/disruption/properties/budgets/default")), pool["disruption"]["budgets"]);
        assert_eq!(
            defaults(&format!("{spec}/disruption/properties/consolidateAfter/default")),
            pool["disruption"]["consolidateAfter"]
        );
        assert_eq!(
            defaults(&format!("{spec}/template/properties/spec/properties/expireAfter/default")),
            pool["template"]["spec"]["expireAfter"]
        );
    }
}
