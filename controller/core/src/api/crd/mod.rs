//! The CustomResourceDefinitions, made from the types (spec core 1, aws 1).

mod edit;

use super::{Ec2NodeClass, NodeClaim, NodePool};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{CustomResourceDefinition, JSONSchemaProps};
use kube::CustomResourceExt;
use serde_json::Value;

/// The definition of every custom resource, by name.
pub fn crds() -> Vec<CustomResourceDefinition> {
    vec![finish(Ec2NodeClass::crd()), finish(NodeClaim::crd()), finish(NodePool::crd())]
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

fn finish(mut crd: CustomResourceDefinition) -> CustomResourceDefinition {
    for version in &mut crd.spec.versions {
        let Some(validation) = &mut version.schema else { continue };
        let Some(schema) = validation.open_api_v3_schema.take() else { continue };
        let mut schema: Value = serde_json::to_value(schema).expect("a schema is JSON");
        edit::clean(&mut schema);
        let schema: JSONSchemaProps = serde_json::from_value(schema).expect("an edited schema is still a schema");
        validation.open_api_v3_schema = Some(schema);
    }
    crd
}
