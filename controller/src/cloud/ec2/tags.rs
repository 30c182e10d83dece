//! Tags by which resources are found again (spec aws 0 fact 20, 3.3, 6).

use aws_sdk_ec2::types::{Filter, ResourceType, Tag, TagSpecification};
use sawhorse_core::api::labels;
use std::collections::BTreeMap;

/// Tag: the NodeClaim that a machine was bought for.
pub(super) const NODE_CLAIM: &str = "karpenter.sh/nodeclaim";
/// Tag: the cluster's name.
pub(super) const CLUSTER_NAME: &str = "eks:eks-cluster-name";
/// Tag: the UID of the NodeClaim, so that a later NodeClaim of the same name adopts nothing.
pub(super) const NODE_CLAIM_UID: &str = "sawhorse.dev/nodeclaim-uid";

/// States of machines that still exist.
pub(super) const LIVE_STATES: [&str; 5] = ["pending", "running", "stopping", "stopped", "shutting-down"];

/// Tags by name.
pub(super) type Tags = BTreeMap<String, String>;

/// The tags of everything that is made for `node_class`: what its users ask for, and what finds it again (which wins).
pub(super) fn of_class(cluster: &str, node_pool: &str, node_class: &str, of_users: &Tags) -> Tags {
    let mut tags = of_users.clone();
    tags.insert(format!("kubernetes.io/cluster/{cluster}"), "owned".to_owned());
    tags.insert(CLUSTER_NAME.to_owned(), cluster.to_owned());
    tags.insert(labels::NODE_POOL.to_owned(), node_pool.to_owned());
    tags.insert(labels::EC2_NODE_CLASS.to_owned(), node_class.to_owned());
    tags
}

/// `tags` as the SDK takes them, in order.
pub(super) fn sdk(tags: &Tags) -> Vec<Tag> {
    tags.iter().map(|(key, value)| Tag::builder().key(key).value(value).build()).collect()
}

/// `tags` for each of `kinds`.
pub(super) fn specifications(tags: &Tags, kinds: &[ResourceType]) -> Vec<TagSpecification> {
    let one =
        |kind: &ResourceType| TagSpecification::builder().resource_type(kind.clone()).set_tags(Some(sdk(tags))).build();
    kinds.iter().map(one).collect()
}

/// The tags that the SDK returned.
pub(super) fn read(tags: &[Tag]) -> Tags {
    let pair = |tag: &Tag| Some((tag.key()?.to_owned(), tag.value().unwrap_or_default().to_owned()));
    tags.iter().filter_map(pair).collect()
}

/// A filter on `name`.
pub(super) fn filter<S: AsRef<str>>(name: &str, values: impl IntoIterator<Item = S>) -> Filter {
    let values = values.into_iter().map(|value| value.as_ref().to_owned()).collect();
    Filter::builder().name(name).set_values(Some(values)).build()
}

/// Filters that select what carries all of `tags`; the value `*` asks only for the key (spec aws 1.1).
pub(super) fn filters(tags: &Tags) -> Vec<Filter> {
    let one = |(key, value): (&String, &String)| match value.as_str() {
        "*" => filter("tag-key", [key]),
        _ => filter(&format!("tag:{key}"), [value]),
    };
    tags.iter().map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_finds_a_machine_again_cannot_be_overridden() {
        let of_users = Tags::from([("team".into(), "a".into()), (labels::NODE_POOL.into(), "other".into())]);
        let tags = of_class("c1", "default", "class", &of_users);
        assert_eq!(
            tags.iter().map(|(key, value)| format!("{key}={value}")).collect::<Vec<_>>(),
            [
                "eks:eks-cluster-name=c1",
                "karpenter.k8s.aws/ec2nodeclass=class",
                "karpenter.sh/nodepool=default",
                "kubernetes.io/cluster/c1=owned",
                "team=a"
            ]
        );
    }

    #[test]
    fn a_star_asks_for_the_key() {
        let filters = filters(&Tags::from([("a".into(), "*".into()), ("b".into(), "c".into())]));
        assert_eq!(filters, [filter("tag-key", ["a"]), filter("tag:b", ["c"])]);
    }
}
