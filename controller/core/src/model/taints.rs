//! Taints and what tolerates them.

use crate::api::labels;
use k8s_openapi::api::core::v1::{Taint, Toleration};

/// Pods are kept away.
pub const NO_SCHEDULE: &str = "NoSchedule";
/// Pods are kept away where another node will do.
pub const PREFER_NO_SCHEDULE: &str = "PreferNoSchedule";
/// Pods are kept away and sent away.
pub const NO_EXECUTE: &str = "NoExecute";

/// Any taint under this prefix is expected to go away by itself (spec core 2.1).
const READINESS_PREFIX: &str = "readiness.k8s.io/";

/// Taints (key and effect) that a node has while it starts and that go away by themselves (spec core 2.1).
const EPHEMERAL: [(&str, &str); 5] = [
    ("node.kubernetes.io/not-ready", NO_SCHEDULE),
    ("node.kubernetes.io/not-ready", NO_EXECUTE),
    ("node.kubernetes.io/unreachable", NO_SCHEDULE),
    ("node.cloudprovider.kubernetes.io/uninitialized", NO_SCHEDULE),
    (labels::UNREGISTERED_TAINT, NO_EXECUTE),
];

/// Whether `taint` is one that a starting node has and loses by itself; its value does not matter.
pub fn ephemeral_taint(taint: &Taint) -> bool {
    taint.key.starts_with(READINESS_PREFIX) || EPHEMERAL.contains(&(taint.key.as_str(), taint.effect.as_str()))
}

/// Whether one of `tolerations` tolerates `taint`, by the rules of kube-scheduler: an empty effect or key matches all, no
/// operator means `Equal`, and `Lt` and `Gt` compare integers.
///
/// ```
/// use k8s_openapi::api::core::v1::{Taint, Toleration};
/// use sawhorse_core::model::tolerates;
/// let taint = Taint { key: "gpu".into(), effect: "NoSchedule".into(), ..Taint::default() };
/// let all = Toleration { operator: Some("Exists".into()), ..Toleration::default() };
/// assert!(tolerates(&[all], &taint) && !tolerates(&[], &taint));
/// ```
pub fn tolerates(tolerations: &[Toleration], taint: &Taint) -> bool {
    tolerations.iter().any(|toleration| matches(toleration, taint))
}

/// Whether every one of `taints` is tolerated, `PreferNoSchedule` included.
pub fn tolerates_all(tolerations: &[Toleration], taints: &[Taint]) -> bool {
    first_untolerated(tolerations, taints).is_none()
}

/// The first of `taints` that nothing in `tolerations` tolerates.
pub fn first_untolerated<'a>(tolerations: &[Toleration], taints: &'a [Taint]) -> Option<&'a Taint> {
    taints.iter().find(|taint| !tolerates(tolerations, taint))
}

/// A taint as `kubectl` writes it: `key=value:effect`.
pub fn taint_text(taint: &Taint) -> String {
    let value = taint.value.as_deref().filter(|value| !value.is_empty());
    format!("{}{}:{}", taint.key, value.map(|value| format!("={value}")).unwrap_or_default(), taint.effect)
}

fn matches(toleration: &Toleration, taint: &Taint) -> bool {
    let any_or = |own: &Option<String>, theirs: &str| own.as_deref().is_none_or(|own| own.is_empty() || own == theirs);
    if !any_or(&toleration.effect, &taint.effect) || !any_or(&toleration.key, &taint.key) {
        return false;
    }
    let own = toleration.value.as_deref().unwrap_or_default();
    let theirs = taint.value.as_deref().unwrap_or_default();
    match toleration.operator.as_deref().unwrap_or_default() {
        "" | "Equal" => own == theirs,
        "Exists" => true,
        "Gt" => compare(theirs, own).is_some_and(std::cmp::Ordering::is_gt),
        "Lt" => compare(theirs, own).is_some_and(std::cmp::Ordering::is_lt),
        _ => false,
    }
}

/// The order of two decimal integers; none where one of them is not.
fn compare(a: &str, b: &str) -> Option<std::cmp::Ordering> {
    Some(a.parse::<i64>().ok()?.cmp(&b.parse::<i64>().ok()?))
}

#[cfg(test)]
mod tests {
    use super::{Taint, Toleration, ephemeral_taint, first_untolerated, taint_text, tolerates};
    use rstest::rstest;

    fn taint(text: &str) -> Taint {
        let (pair, effect) = text.rsplit_once(':').unwrap();
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        let value = (!value.is_empty()).then(|| value.to_owned());
        Taint { key: key.to_owned(), value, effect: effect.to_owned(), ..Taint::default() }
    }

    fn toleration(key: &str, operator: &str, value: &str, effect: &str) -> Toleration {
        let some = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        Toleration {
            key: some(key),
            operator: some(operator),
            value: some(value),
            effect: some(effect),
            ..Toleration::default()
        }
    }

    #[rstest]
    #[case("k=v:NoSchedule", "k", "", "v", "", true)]
    #[case("k=v:NoSchedule", "k", "Equal", "w", "", false)]
    #[case("k=v:NoSchedule", "k", "Exists", "", "", true)]
    #[case("k=v:NoSchedule", "", "Exists", "", "", true)]
    #[case("k=v:NoSchedule", "l", "Exists", "", "", false)]
    #[case("k=v:NoSchedule", "k", "Exists", "", "NoExecute", false)]
    #[case("k:NoSchedule", "k", "", "", "NoSchedule", true)]
    #[case("sla=950:NoExecute", "sla", "Gt", "900", "", true)]
    #[case("sla=900:NoExecute", "sla", "Gt", "900", "", false)]
    #[case("sla=850:NoExecute", "sla", "Lt", "900", "", true)]
    #[case("sla=high:NoExecute", "sla", "Gt", "900", "", false)]
    #[case("k:NoSchedule", "k", "Like", "", "", false)]
    fn tolerations_match_as_in_kubernetes(
        #[case] text: &str,
        #[case] key: &str,
        #[case] operator: &str,
        #[case] value: &str,
        #[case] effect: &str,
        #[case] expected: bool,
    ) {
        assert_eq!(tolerates(&[toleration(key, operator, value, effect)], &taint(text)), expected);
    }

    #[rstest]
    #[case("node.kubernetes.io/not-ready:NoExecute", true)]
    #[case("node.cloudprovider.kubernetes.io/uninitialized=true:NoSchedule", true)]
    #[case("node.kubernetes.io/unreachable:NoExecute", false)]
    #[case("readiness.k8s.io/anything:NoSchedule", true)]
    #[case("karpenter.sh/disrupted:NoSchedule", false)]
    fn starting_taints_are_known(#[case] text: &str, #[case] expected: bool) {
        assert_eq!(ephemeral_taint(&taint(text)), expected);
    }

    #[test]
    fn the_first_taint_that_is_in_the_way_is_named() {
        let taints = [taint("a:NoSchedule"), taint("b=1:NoExecute")];
        let found = first_untolerated(&[toleration("a", "Exists", "", "")], &taints).unwrap();
        assert_eq!(taint_text(found), "b=1:NoExecute");
    }
}
