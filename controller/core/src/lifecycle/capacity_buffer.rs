//! What a CapacityBuffer asks for, and its status (spec core 2.18).
//!
//! - [`template_of`] — whose pods it keeps room for; the caller looks that up
//! - [`resolve`] — for how many of them
//! - [`buffer_with_status`] — what its users are told

use crate::{
    api::{CapacityBuffer, LocalObjectRef, conditions},
    model::{Buffer, BufferKey, BufferRoom, InvalidResource, Resources},
};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::PodTemplateSpec;
use std::fmt;

/// CapacityBuffer: its pods are known.
const READY_FOR_PROVISIONING: &str = "ReadyForProvisioning";
/// CapacityBuffer: its room is there.
const PROVISIONING: &str = "Provisioning";

/// A kind that has a template of pods.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TemplateKind {
    /// PodTemplate.
    PodTemplate,
    /// Deployment.
    Deployment,
    /// StatefulSet.
    StatefulSet,
    /// ReplicaSet.
    ReplicaSet,
}

impl TemplateKind {
    const WORKLOADS: [Self; 3] = [Self::Deployment, Self::StatefulSet, Self::ReplicaSet];

    /// As Kubernetes writes it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::PodTemplate => "PodTemplate",
            Self::Deployment => "Deployment",
            Self::StatefulSet => "StatefulSet",
            Self::ReplicaSet => "ReplicaSet",
        }
    }
}

/// An object with a template of pods.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TemplateRef {
    /// Its kind.
    pub kind: TemplateKind,
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

/// What was found there.
#[derive(Clone, Debug)]
pub struct Template {
    /// The template.
    pub template: PodTemplateSpec,
    /// The object's generation.
    pub generation: Option<i64>,
    /// How many pods the object wants; none of a PodTemplate.
    pub replicas: Option<i32>,
}

/// A buffer whose pods are known.
#[derive(Clone, Debug)]
pub struct ResolvedBuffer {
    /// The buffer.
    pub buffer: Buffer,
    /// For how many pods it keeps room.
    pub pods: u32,
    /// The PodTemplate and its generation, if that is what the pods are made from.
    from: Option<(String, Option<i64>)>,
}

/// Why it is not known which pods a buffer keeps room for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WhyUnresolved {
    /// It names neither a PodTemplate nor a workload.
    NoReference,
    /// It names something that is not a workload whose pods are known.
    UnsupportedKind {
        /// The group that it names.
        group: String,
        /// The kind that it names.
        kind: String,
    },
    /// What it names does not exist.
    NotFound(TemplateRef),
    /// An amount in its limits or in the template is not one.
    Unreadable(String),
}

impl WhyUnresolved {
    /// The reason of the condition.
    pub fn code(&self) -> &'static str {
        match self {
            Self::NotFound(TemplateRef { kind: TemplateKind::PodTemplate, .. }) => "PodTemplateNotFound",
            Self::NotFound(_) => "ScalableRefNotFound",
            Self::NoReference | Self::UnsupportedKind { .. } | Self::Unreadable(_) => "ResolutionFailed",
        }
    }
}

impl fmt::Display for WhyUnresolved {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoReference => f.write_str("Neither podTemplateRef nor scalableRef is set"),
            Self::UnsupportedKind { group, kind } => {
                write!(
                    f,
                    "`{kind}` of `{group}` is not supported: use Deployment, StatefulSet or ReplicaSet of `apps`, or podTemplateRef"
                )
            }
            Self::NotFound(TemplateRef { kind, namespace, name }) => {
                write!(f, "{} `{namespace}/{name}` not found", kind.as_str())
            }
            Self::Unreadable(why) => f.write_str(why),
        }
    }
}

/// Whose pods a buffer keeps room for.
///
/// # Errors
/// It names nothing that has pods.
pub fn template_of(buffer: &CapacityBuffer) -> Result<TemplateRef, WhyUnresolved> {
    let namespace = buffer.metadata.namespace.clone().unwrap_or_default();
    if let Some(LocalObjectRef { name }) = &buffer.spec.pod_template_ref {
        return Ok(TemplateRef { kind: TemplateKind::PodTemplate, namespace, name: name.clone() });
    }
    let Some(workload) = &buffer.spec.scalable_ref else { return Err(WhyUnresolved::NoReference) };
    let group = workload.api_group.as_deref().filter(|group| !group.is_empty()).unwrap_or("apps");
    let known = TemplateKind::WORKLOADS.into_iter().find(|kind| group == "apps" && kind.as_str() == workload.kind);
    match known {
        Some(kind) => Ok(TemplateRef { kind, namespace, name: workload.name.clone() }),
        None => Err(WhyUnresolved::UnsupportedKind { group: group.to_owned(), kind: workload.kind.clone() }),
    }
}

/// For which pods a buffer keeps room; `look_up` finds what it names.
///
/// # Errors
/// Why that is not known.
pub fn resolve(
    buffer: &CapacityBuffer,
    look_up: impl FnOnce(&TemplateRef) -> Option<Template>,
) -> Result<ResolvedBuffer, WhyUnresolved> {
    let of = template_of(buffer)?;
    let Some(Template { template, generation, replicas }) = look_up(&of) else {
        return Err(WhyUnresolved::NotFound(of));
    };
    let unreadable = |error: InvalidResource| WhyUnresolved::Unreadable(error.to_string());
    let (spec, key) = (&buffer.spec, BufferKey::of(buffer));
    let count = |number: i32| u32::try_from(number).unwrap_or(0);
    let buffer = Buffer {
        namespace: key.namespace.to_string(),
        name: key.name.to_string(),
        uid: buffer.metadata.uid.clone().unwrap_or_default(),
        template,
        workload_replicas: replicas.map(count),
        replicas: spec.replicas.map(count),
        percentage: spec.percentage.map(count),
        limits: spec.limits.as_ref().map(Resources::from_requests).transpose().map_err(unreadable)?,
    };
    let pods = buffer.pods().map_err(unreadable)?;
    let from = (of.kind == TemplateKind::PodTemplate).then_some((of.name, generation));
    Ok(ResolvedBuffer { buffer, pods, from })
}

/// The buffer with a status that says what it keeps room for, and whether that is there; `room` is what the last pass of
/// provisioning found for it. What is not known is as it was.
pub fn buffer_with_status(
    buffer: &CapacityBuffer,
    resolved: &Result<ResolvedBuffer, WhyUnresolved>,
    room: Option<BufferRoom>,
    now: Timestamp,
) -> CapacityBuffer {
    let mut after = buffer.clone();
    let generation = buffer.metadata.generation;
    let status = after.status.get_or_insert_default();
    status.provisioning_strategy.clone_from(&buffer.spec.provisioning_strategy);
    let (ready, reason, message) = match resolved {
        Ok(ResolvedBuffer { pods, from, .. }) => {
            status.replicas = Some(i32::try_from(*pods).unwrap_or(i32::MAX));
            status.pod_template_ref = from.as_ref().map(|(name, _)| LocalObjectRef { name: name.clone() });
            status.pod_template_generation = from.as_ref().and_then(|(_, generation)| *generation);
            (conditions::TRUE, "Resolved", "Pod template resolved successfully".to_owned())
        }
        Err(why) => (conditions::FALSE, why.code(), why.to_string()),
    };
    let all = &mut status.conditions;
    conditions::set_plain(all, READY_FOR_PROVISIONING, (ready, reason, &message), generation, now);
    let pods = resolved.as_ref().map(|resolved| resolved.pods).ok();
    if let Some((status, reason, message)) = provisioning(pods, room) {
        conditions::set_plain(all, PROVISIONING, (status, reason, &message), generation, now);
    }
    after
}

/// Whether a controller keeps room for the buffer, as far as its status tells.
pub fn is_ready_for_provisioning(buffer: &CapacityBuffer) -> bool {
    let known = buffer.status.as_ref().and_then(|status| conditions::find(&status.conditions, READY_FOR_PROVISIONING));
    known.is_some_and(|condition| condition.status == conditions::TRUE)
}

/// Status, reason and message of `Provisioning`; none where the last pass was about another number of pods.
fn provisioning(pods: Option<u32>, room: Option<BufferRoom>) -> Option<(&'static str, &'static str, String)> {
    let Some(pods) = pods else {
        let message = "The buffer is not ready for provisioning".to_owned();
        return Some((conditions::FALSE, "NotReadyForProvisioning", message));
    };
    if pods == 0 {
        return Some((conditions::FALSE, "BufferEmpty", "The buffer has 0 replicas".to_owned()));
    }
    let BufferRoom { planned, failed, .. } = room.filter(|room| room.total() == pods)?;
    Some(if planned + failed > 0 {
        let message = format!("{planned}/{pods} virtual pods required new capacity, {failed} failed");
        (conditions::FALSE, "RequiresNewCapacity", message)
    } else {
        (conditions::TRUE, "FitsExistingCapacity", format!("All {pods} virtual pods fit on existing capacity"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;
    use serde_json::{Value, json};

    const START: i64 = 1_780_000_000;

    fn buffer(spec: &Value) -> CapacityBuffer {
        let metadata = json!({"name": "warm", "namespace": "shop", "uid": "u", "generation": 3});
        serde_json::from_value(json!({
            "apiVersion": "autoscaling.x-k8s.io/v1beta1", "kind": "CapacityBuffer", "metadata": metadata, "spec": spec,
        }))
        .unwrap()
    }

    fn of_template() -> CapacityBuffer {
        buffer(&json!({"podTemplateRef": {"name": "web"}, "replicas": 3}))
    }

    fn found(replicas: Option<i32>) -> Template {
        let template = json!({"spec": {"containers": [{"name": "c", "resources": {"requests": {"cpu": "1"}}}]}});
        Template { template: serde_json::from_value(template).unwrap(), generation: Some(7), replicas }
    }

    fn told(buffer: &CapacityBuffer) -> Vec<String> {
        let conditions = buffer.status.iter().flat_map(|status| &status.conditions);
        conditions.map(|own| format!("{}={} {}: {}", own.type_, own.status, own.reason, own.message)).collect()
    }

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(START + second).unwrap()
    }

    #[rstest]
    #[case::workload(json!({"kind": "Deployment", "name": "web"}), Ok(TemplateKind::Deployment))]
    #[case::group(json!({"apiGroup": "apps", "kind": "StatefulSet", "name": "web"}), Ok(TemplateKind::StatefulSet))]
    #[case::no_group(json!({"apiGroup": "", "kind": "ReplicaSet", "name": "web"}), Ok(TemplateKind::ReplicaSet))]
    #[case::other_kind(json!({"kind": "DaemonSet", "name": "web"}), Err("`DaemonSet` of `apps` is not supported"))]
    #[case::other_group(json!({"apiGroup": "x", "kind": "Deployment", "name": "web"}), Err("`Deployment` of `x` is not"))]
    fn workloads_are_of_apps(#[case] workload: Value, #[case] expected: Result<TemplateKind, &str>) {
        match (template_of(&buffer(&json!({ "scalableRef": workload }))), expected) {
            (Ok(of), Ok(kind)) => assert_eq!((of.kind, of.namespace.as_str(), of.name.as_str()), (kind, "shop", "web")),
            (Err(why), Err(text)) => assert!(why.to_string().starts_with(text) && why.code() == "ResolutionFailed"),
            (other, _) => panic!("{other:?}"),
        }
    }

    #[rstest]
    #[case::template(json!({"podTemplateRef": {"name": "web"}, "replicas": 3, "percentage": 50}), None, 3)]
    #[case::larger(json!({"scalableRef": {"kind": "Deployment", "name": "web"}, "replicas": 3, "percentage": 50}), Some(9), 5)]
    #[case::limits(json!({"podTemplateRef": {"name": "web"}, "replicas": 3, "limits": {"cpu": "2500m"}}), None, 2)]
    fn a_buffer_is_for_so_many(#[case] spec: Value, #[case] replicas: Option<i32>, #[case] expected: u32) {
        assert_eq!(resolve(&buffer(&spec), |_| Some(found(replicas))).unwrap().pods, expected);
    }

    #[test]
    fn the_status_says_what_room_is_kept_by() {
        let buffer = of_template();
        let resolved = resolve(&buffer, |_| Some(found(None)));
        let after = buffer_with_status(&buffer, &resolved, None, at(0));
        let status = after.status.as_ref().unwrap();
        let template = status.pod_template_ref.as_ref().map(|own| own.name.as_str());
        assert_eq!((template, status.replicas, status.pod_template_generation), (Some("web"), Some(3), Some(7)));
        assert_eq!(told(&after), ["ReadyForProvisioning=True Resolved: Pod template resolved successfully"]);
        assert_eq!(status.conditions[0].observed_generation, Some(3));
        assert_eq!(buffer_with_status(&after, &resolved, None, at(9)), after);
    }

    #[test]
    fn what_is_not_there_is_said() {
        let before = of_template();
        let after = buffer_with_status(&before, &resolve(&before, |_| None), None, at(0));
        let expected = [
            "ReadyForProvisioning=False PodTemplateNotFound: PodTemplate `shop/web` not found",
            "Provisioning=False NotReadyForProvisioning: The buffer is not ready for provisioning",
        ];
        assert_eq!(told(&after), expected);
        let neither = buffer(&json!({}));
        assert_eq!(resolve(&neither, |_| None).unwrap_err(), WhyUnresolved::NoReference);
        let workload = buffer(&json!({"scalableRef": {"kind": "Deployment", "name": "web"}}));
        assert_eq!(resolve(&workload, |_| None).unwrap_err().code(), "ScalableRefNotFound");
    }

    #[rstest]
    #[case::there(BufferRoom { existing: 3, planned: 0, failed: 0 }, Some("True FitsExistingCapacity: All 3 virtual pods fit on existing capacity"))]
    #[case::bought(BufferRoom { existing: 1, planned: 2, failed: 0 }, Some("False RequiresNewCapacity: 2/3 virtual pods required new capacity, 0 failed"))]
    #[case::nowhere(BufferRoom { existing: 2, planned: 0, failed: 1 }, Some("False RequiresNewCapacity: 0/3 virtual pods required new capacity, 1 failed"))]
    #[case::of_another_number(BufferRoom { existing: 2, planned: 0, failed: 0 }, None)]
    fn the_last_pass_says_whether_the_room_is_there(#[case] room: BufferRoom, #[case] expected: Option<&str>) {
        let buffer = of_template();
        let resolved = resolve(&buffer, |_| Some(found(None)));
        let after = buffer_with_status(&buffer, &resolved, Some(room), at(0));
        let last = told(&after).into_iter().nth(1);
        assert_eq!(last.as_deref(), expected.map(|text| format!("Provisioning={text}")).as_deref());
    }

    #[test]
    fn a_buffer_of_nothing_is_empty() {
        let buffer = buffer(&json!({"podTemplateRef": {"name": "web"}, "replicas": 0}));
        let resolved = resolve(&buffer, |_| Some(found(None)));
        let after = buffer_with_status(&buffer, &resolved, None, at(0));
        assert_eq!(told(&after)[1], "Provisioning=False BufferEmpty: The buffer has 0 replicas");
    }
}
