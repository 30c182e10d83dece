//! Keeping new pods away from nodes, and letting them come again.

use super::{Apply, ApplyError};
use k8s_openapi::api::core::v1::{Node, Taint};
use sawhorse_core::api::labels;

impl Apply {
    /// Taints `node` as being disrupted, whatever other effect of that taint it had; returns whether it was not yet.
    pub(crate) async fn taint_disrupted(&self, node: &Node) -> Result<bool, ApplyError> {
        let mut after = node.clone();
        set_disrupted(&mut after, true);
        self.write_taints(node, &after).await
    }

    /// Takes that taint off; returns whether it was there.
    pub(crate) async fn untaint_disrupted(&self, node: &Node) -> Result<bool, ApplyError> {
        let mut after = node.clone();
        set_disrupted(&mut after, false);
        self.write_taints(node, &after).await
    }

    async fn write_taints(&self, before: &Node, after: &Node) -> Result<bool, ApplyError> {
        if before == after {
            return Ok(false);
        }
        self.update(&self.nodes(), before, after).await?;
        Ok(true)
    }
}

fn set_disrupted(node: &mut Node, disrupted: bool) {
    let spec = node.spec.get_or_insert_default();
    let mut taints: Vec<Taint> = spec.taints.take().unwrap_or_default();
    let wanted = labels::disrupted_taint();
    let right = |taint: &Taint| taint.key == wanted.key && taint.effect == wanted.effect;
    if disrupted && taints.iter().any(right) {
        taints.retain(|taint| taint.key != wanted.key || taint.effect == wanted.effect);
    } else {
        taints.retain(|taint| taint.key != wanted.key);
        taints.extend(disrupted.then_some(wanted));
    }
    spec.taints = (!taints.is_empty()).then_some(taints);
}

#[cfg(test)]
mod tests {
    use super::set_disrupted;
    use k8s_openapi::api::core::v1::{Node, NodeSpec, Taint};
    use rstest::rstest;

    #[rstest]
    #[case::added(&["a:NoSchedule"], true, &["a:NoSchedule", "karpenter.sh/disrupted:NoSchedule"])]
    #[case::there_already(
        &["karpenter.sh/disrupted:NoSchedule", "a:NoSchedule"], true, &["karpenter.sh/disrupted:NoSchedule", "a:NoSchedule"]
    )]
    #[case::replaced(&["karpenter.sh/disrupted:NoExecute"], true, &["karpenter.sh/disrupted:NoSchedule"])]
    #[case::removed(&["karpenter.sh/disrupted:NoSchedule", "a:NoSchedule"], false, &["a:NoSchedule"])]
    #[case::the_last_removed(&["karpenter.sh/disrupted:NoSchedule"], false, &[])]
    fn the_disrupted_taint(#[case] before: &[&str], #[case] disrupted: bool, #[case] after: &[&str]) {
        let mut node =
            Node { spec: Some(NodeSpec { taints: taints(before), ..NodeSpec::default() }), ..Node::default() };
        set_disrupted(&mut node, disrupted);
        assert_eq!(node.spec.unwrap().taints, taints(after).filter(|taints| !taints.is_empty()));
    }

    fn taints(texts: &[&str]) -> Option<Vec<Taint>> {
        let taint = |text: &&str| {
            let (key, effect) = text.split_once(':').unwrap();
            Taint { key: key.into(), effect: effect.into(), ..Taint::default() }
        };
        Some(texts.iter().map(taint).collect())
    }
}
