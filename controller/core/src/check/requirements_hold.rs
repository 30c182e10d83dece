//! Node selectors, node affinity and taints.

use super::{
    Violation,
    kubernetes::{node_will_do, tolerated},
    machines::Machine,
};
use crate::model::{PodKey, pod_spec, taint_text};

pub(super) fn check(machine: &Machine, found: &mut Vec<Violation>) {
    for pod in &machine.coming {
        let spec = pod_spec(pod);
        let name = PodKey::of(pod).to_string();
        if let Some(wrong) = machine.possible.iter().find(|possible| !node_will_do(spec, &possible.labels)) {
            let detail = format!("does not accept the labels of `{}` ({})", machine.name, wrong.what);
            found.push(Violation::new("requirements", name.clone(), detail));
        }
        let tolerations = spec.tolerations.as_deref().unwrap_or_default();
        if let Some(taint) = machine.taints.iter().find(|taint| !tolerated(tolerations, taint)) {
            let detail = format!("does not tolerate `{}` of `{}`", taint_text(taint), machine.name);
            found.push(Violation::new("taints", name, detail));
        }
    }
}
