//! The table of built-in resources, and their typed decoding.

use super::{Origin, ResourceType, ScalePaths, api_version, wrong_type};
use crate::apiserver::store::{GroupResource, lifecycle::Generation};
use k8s_openapi::{
    api::{
        admissionregistration::v1 as admission, apps::v1 as apps, authentication::v1 as authentication,
        authorization::v1 as authorization, autoscaling::v2 as autoscaling, batch::v1 as batch,
        certificates::v1 as certificates, coordination::v1 as coordination, core::v1 as core,
        discovery::v1 as discovery, events::v1 as events, flowcontrol::v1 as flowcontrol, networking::v1 as networking,
        node::v1 as node, policy::v1 as policy, rbac::v1 as rbac, resource::v1 as resource,
        scheduling::v1 as scheduling, storage::v1 as storage,
    },
    apiextensions_apiserver::pkg::apis::apiextensions::v1 as apiextensions,
    kube_aggregator::pkg::apis::apiregistration::v1 as apiregistration,
};
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;

/// A resource that the API server serves by itself.
#[derive(Debug)]
pub(crate) struct BuiltinKind {
    pub(crate) group: &'static str,
    pub(crate) version: &'static str,
    pub(crate) kind: &'static str,
    pub(crate) plural: &'static str,
    pub(crate) namespaced: bool,
    pub(crate) short_names: &'static [&'static str],
    pub(crate) categories: &'static [&'static str],
    pub(crate) status: bool,
    pub(crate) scale: bool,
    pub(crate) generation: bool,
    pub(crate) is_virtual: bool,
    decode: fn(&Value) -> serde_json::Result<Value>,
    /// Its schema, with those that it refers to left in the generator.
    pub(crate) schema: fn(&mut SchemaGenerator) -> Schema,
}

/// A field of the wrong type.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub(crate) struct DecodeError {
    pub(crate) message: String,
}

const NAMESPACED: bool = true;
const CLUSTER: bool = false;
const ALL: &[&str] = &["all"];
const API_EXTENSIONS: &[&str] = &["api-extensions"];

/// A row with the most common answers.
const fn row<T>(plural: &'static str, namespaced: bool) -> BuiltinKind
where
    T: k8s_openapi::Resource + Serialize + DeserializeOwned + JsonSchema,
{
    BuiltinKind {
        group: T::GROUP,
        version: T::VERSION,
        kind: T::KIND,
        plural,
        namespaced,
        short_names: &[],
        categories: &[],
        status: false,
        scale: false,
        generation: false,
        is_virtual: false,
        decode: decode::<T>,
        schema: SchemaGenerator::subschema_for::<T>,
    }
}

impl BuiltinKind {
    const fn short(self, short_names: &'static [&'static str]) -> Self {
        Self { short_names, ..self }
    }

    const fn categories(self, categories: &'static [&'static str]) -> Self {
        Self { categories, ..self }
    }

    const fn with_status(self) -> Self {
        Self { status: true, ..self }
    }

    const fn with_scale(self) -> Self {
        Self { scale: true, ..self }
    }

    const fn with_generation(self) -> Self {
        Self { generation: true, ..self }
    }

    const fn virtual_only(self) -> Self {
        Self { is_virtual: true, ..self }
    }

    /// Reads an object into its Go-like typed form and back: unknown fields fall away, wrong types are errors.
    ///
    /// # Errors
    /// A field of the wrong type.
    pub(crate) fn read(&self, value: &Value) -> Result<Value, DecodeError> {
        (self.decode)(value)
            .map_err(|error| DecodeError { message: wrong_type::explained(self.schema, value, &error.to_string()) })
    }

    /// The row as a resource of the registry.
    pub(crate) fn resource_type(&'static self) -> ResourceType {
        // `events.k8s.io` shows the same objects as the core group's events, in another form.
        let is_event = self.kind == "Event";
        let storage = GroupResource::new(if is_event { "" } else { self.group }, self.plural);
        let own = api_version(self.group, self.version);
        let scale = self.scale.then(|| ScalePaths {
            spec_replicas: ".spec.replicas".into(),
            status_replicas: ".status.replicas".into(),
            label_selector: None,
        });
        ResourceType {
            group: self.group.into(),
            version: self.version.into(),
            kind: self.kind.into(),
            list_kind: format!("{}List", self.kind),
            plural: self.plural.into(),
            singular: self.kind.to_lowercase(),
            short_names: owned(self.short_names),
            categories: owned(self.categories),
            namespaced: self.namespaced,
            status: self.status,
            scale,
            storage,
            storage_api_version: if is_event { "v1".into() } else { own },
            generation: match (self.generation, self.kind) {
                (false, _) => Generation::None,
                // What users note on deployments counts too.
                (true, "Deployment") => Generation::SpecAndAnnotations,
                (true, _) => Generation::Spec,
            },
            origin: Origin::BuiltIn(self),
        }
    }
}

fn owned(texts: &[&str]) -> Vec<String> {
    texts.iter().map(ToString::to_string).collect()
}

fn decode<T: Serialize + DeserializeOwned>(value: &Value) -> serde_json::Result<Value> {
    serde_json::to_value(T::deserialize(value)?)
}

/// Every built-in resource.
pub(crate) static BUILTIN: &[BuiltinKind] = &[
    row::<core::Pod>("pods", NAMESPACED).short(&["po"]).categories(ALL).with_status().with_generation(),
    row::<core::Node>("nodes", CLUSTER).short(&["no"]).with_status(),
    row::<core::Namespace>("namespaces", CLUSTER).short(&["ns"]).with_status(),
    row::<core::Service>("services", NAMESPACED).short(&["svc"]).categories(ALL).with_status(),
    row::<core::Endpoints>("endpoints", NAMESPACED).short(&["ep"]),
    row::<core::ConfigMap>("configmaps", NAMESPACED).short(&["cm"]),
    row::<core::Secret>("secrets", NAMESPACED),
    row::<core::Event>("events", NAMESPACED).short(&["ev"]),
    row::<core::ServiceAccount>("serviceaccounts", NAMESPACED).short(&["sa"]),
    row::<core::PersistentVolume>("persistentvolumes", CLUSTER).short(&["pv"]).with_status(),
    row::<core::PersistentVolumeClaim>("persistentvolumeclaims", NAMESPACED).short(&["pvc"]).with_status(),
    row::<core::ReplicationController>("replicationcontrollers", NAMESPACED)
        .short(&["rc"])
        .categories(ALL)
        .with_status()
        .with_scale()
        .with_generation(),
    row::<core::LimitRange>("limitranges", NAMESPACED).short(&["limits"]),
    row::<core::ResourceQuota>("resourcequotas", NAMESPACED).short(&["quota"]).with_status(),
    row::<core::PodTemplate>("podtemplates", NAMESPACED),
    row::<core::Binding>("bindings", NAMESPACED).virtual_only(),
    row::<apps::Deployment>("deployments", NAMESPACED)
        .short(&["deploy"])
        .categories(ALL)
        .with_status()
        .with_scale()
        .with_generation(),
    row::<apps::ReplicaSet>("replicasets", NAMESPACED)
        .short(&["rs"])
        .categories(ALL)
        .with_status()
        .with_scale()
        .with_generation(),
    row::<apps::StatefulSet>("statefulsets", NAMESPACED)
        .short(&["sts"])
        .categories(ALL)
        .with_status()
        .with_scale()
        .with_generation(),
    row::<apps::DaemonSet>("daemonsets", NAMESPACED).short(&["ds"]).categories(ALL).with_status().with_generation(),
    row::<apps::ControllerRevision>("controllerrevisions", NAMESPACED),
    row::<batch::Job>("jobs", NAMESPACED).categories(ALL).with_status().with_generation(),
    row::<batch::CronJob>("cronjobs", NAMESPACED).short(&["cj"]).categories(ALL).with_status().with_generation(),
    row::<autoscaling::HorizontalPodAutoscaler>("horizontalpodautoscalers", NAMESPACED)
        .short(&["hpa"])
        .categories(ALL)
        .with_status(),
    row::<policy::PodDisruptionBudget>("poddisruptionbudgets", NAMESPACED)
        .short(&["pdb"])
        .with_status()
        .with_generation(),
    row::<coordination::Lease>("leases", NAMESPACED),
    row::<storage::StorageClass>("storageclasses", CLUSTER).short(&["sc"]),
    row::<storage::CSINode>("csinodes", CLUSTER),
    row::<storage::CSIDriver>("csidrivers", CLUSTER),
    row::<storage::VolumeAttachment>("volumeattachments", CLUSTER).with_status(),
    row::<storage::CSIStorageCapacity>("csistoragecapacities", NAMESPACED),
    row::<storage::VolumeAttributesClass>("volumeattributesclasses", CLUSTER).short(&["vac"]),
    row::<scheduling::PriorityClass>("priorityclasses", CLUSTER).short(&["pc"]).with_generation(),
    row::<node::RuntimeClass>("runtimeclasses", CLUSTER),
    row::<events::Event>("events", NAMESPACED).short(&["ev"]),
    row::<discovery::EndpointSlice>("endpointslices", NAMESPACED),
    row::<networking::Ingress>("ingresses", NAMESPACED).short(&["ing"]).with_status().with_generation(),
    row::<networking::IngressClass>("ingressclasses", CLUSTER),
    row::<networking::NetworkPolicy>("networkpolicies", NAMESPACED).short(&["netpol"]).with_generation(),
    row::<networking::IPAddress>("ipaddresses", CLUSTER).short(&["ip"]),
    row::<networking::ServiceCIDR>("servicecidrs", CLUSTER).with_status(),
    row::<certificates::CertificateSigningRequest>("certificatesigningrequests", CLUSTER).short(&["csr"]).with_status(),
    row::<flowcontrol::FlowSchema>("flowschemas", CLUSTER).with_status().with_generation(),
    row::<flowcontrol::PriorityLevelConfiguration>("prioritylevelconfigurations", CLUSTER)
        .with_status()
        .with_generation(),
    row::<resource::DeviceClass>("deviceclasses", CLUSTER).with_generation(),
    row::<resource::ResourceClaim>("resourceclaims", NAMESPACED).with_status(),
    row::<resource::ResourceClaimTemplate>("resourceclaimtemplates", NAMESPACED),
    row::<resource::ResourceSlice>("resourceslices", CLUSTER).with_generation(),
    row::<rbac::Role>("roles", NAMESPACED),
    row::<rbac::RoleBinding>("rolebindings", NAMESPACED),
    row::<rbac::ClusterRole>("clusterroles", CLUSTER),
    row::<rbac::ClusterRoleBinding>("clusterrolebindings", CLUSTER),
    row::<apiextensions::CustomResourceDefinition>("customresourcedefinitions", CLUSTER)
        .short(&["crd", "crds"])
        .categories(API_EXTENSIONS)
        .with_status()
        .with_generation(),
    row::<apiregistration::APIService>("apiservices", CLUSTER).categories(API_EXTENSIONS).with_status(),
    row::<admission::ValidatingWebhookConfiguration>("validatingwebhookconfigurations", CLUSTER)
        .categories(API_EXTENSIONS),
    row::<admission::MutatingWebhookConfiguration>("mutatingwebhookconfigurations", CLUSTER).categories(API_EXTENSIONS),
    row::<admission::ValidatingAdmissionPolicy>("validatingadmissionpolicies", CLUSTER)
        .categories(API_EXTENSIONS)
        .with_status(),
    row::<admission::ValidatingAdmissionPolicyBinding>("validatingadmissionpolicybindings", CLUSTER)
        .categories(API_EXTENSIONS),
    row::<authorization::SelfSubjectAccessReview>("selfsubjectaccessreviews", CLUSTER).virtual_only(),
    row::<authorization::SelfSubjectRulesReview>("selfsubjectrulesreviews", CLUSTER).virtual_only(),
    row::<authorization::SubjectAccessReview>("subjectaccessreviews", CLUSTER).virtual_only(),
    row::<authorization::LocalSubjectAccessReview>("localsubjectaccessreviews", NAMESPACED).virtual_only(),
    row::<authentication::TokenReview>("tokenreviews", CLUSTER).virtual_only(),
    row::<authentication::SelfSubjectReview>("selfsubjectreviews", CLUSTER).virtual_only(),
];
