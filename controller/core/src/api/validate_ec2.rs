//! What is wrong with an EC2NodeClass (spec aws 1.1, 1.2).

use super::{
    AmiFamily, AmiSelectorTerm, Ec2NodeClass, Ec2NodeClassSpec, KubeletConfiguration, Problem, validate::Problems,
};
use std::collections::{BTreeMap, BTreeSet};

/// Everything that is wrong with `class`; empty where it can be used.
pub fn validate_ec2_node_class(class: &Ec2NodeClass) -> Vec<Problem> {
    let mut problems = Problems::default();
    let spec = &class.spec;
    network(spec, &mut problems);
    images(spec, &mut problems);
    identity(spec, &mut problems);
    tags(&spec.tags, &mut problems);
    disks(spec, &mut problems);
    interfaces(spec, &mut problems);
    kubelet(spec, &mut problems);
    problems.0
}

fn network(spec: &Ec2NodeClassSpec, problems: &mut Problems) {
    problems.require(
        !spec.subnet_selector_terms.is_empty(),
        "spec.subnetSelectorTerms",
        "must have a term, such as `{tags: {team: a}}`",
    );
    for (index, term) in spec.subnet_selector_terms.iter().enumerate() {
        let field = format!("spec.subnetSelectorTerms[{index}]");
        selector(&field, &term.tags, &[("id", term.id.is_some())], problems);
    }
    problems.require(
        !spec.security_group_selector_terms.is_empty(),
        "spec.securityGroupSelectorTerms",
        "must have a term, such as `{tags: {team: a}}`",
    );
    for (index, term) in spec.security_group_selector_terms.iter().enumerate() {
        let field = format!("spec.securityGroupSelectorTerms[{index}]");
        selector(&field, &term.tags, &[("id", term.id.is_some()), ("name", term.name.is_some())], problems);
    }
}

/// A term must select something, and each of `exclusive` (with whether it is set) stands alone.
fn selector(field: &str, tags: &BTreeMap<String, String>, exclusive: &[(&str, bool)], problems: &mut Problems) {
    let set: Vec<&str> = exclusive.iter().filter(|(_, set)| *set).map(|(name, _)| *name).collect();
    let names: Vec<String> = exclusive.iter().map(|(name, _)| format!("`{name}`")).collect();
    problems.require(
        !set.is_empty() || !tags.is_empty(),
        field,
        format!("selects nothing: set `tags` or {}", names.join(" or ")),
    );
    let alone = set.len() + usize::from(!tags.is_empty()) <= 1;
    problems.require(alone, field, format!("{} exclude every other field of the term", names.join(" and ")));
    let empty = tags.iter().any(|(key, value)| key.is_empty() || value.is_empty());
    problems.require(!empty, format!("{field}.tags"), "keys and values may not be empty; the value `*` matches any");
}

fn images(spec: &Ec2NodeClassSpec, problems: &mut Problems) {
    let terms = &spec.ami_selector_terms;
    problems.require(!terms.is_empty(), "spec.amiSelectorTerms", "must have a term, such as `{alias: al2023@latest}`");
    for (index, term) in terms.iter().enumerate() {
        image_term(&format!("spec.amiSelectorTerms[{index}]"), term, terms.len(), problems);
    }
    let alias = terms.iter().find_map(|term| term.alias_parts()).and_then(|(family, _)| AmiFamily::of_alias(family));
    match (spec.ami_family, alias) {
        (None, None) => {
            problems.add("spec.amiFamily", "is needed where no term has an alias; set it, for example to `AL2023`")
        }
        (Some(said), Some(alias)) if said != alias && said != AmiFamily::Custom => {
            problems.add(
                "spec.amiFamily",
                format!("is `{said}`, but the alias is of `{alias}`; leave it out or make them the same"),
            );
        }
        (Some(_), _) | (None, Some(_)) => {}
    }
}

fn image_term(field: &str, term: &AmiSelectorTerm, terms: usize, problems: &mut Problems) {
    let others = [term.id.is_some(), term.name.is_some(), term.ssm_parameter.is_some(), !term.tags.is_empty()];
    let selects = term.alias.is_some() || others.contains(&true);
    problems.require(selects, field, "selects nothing: set one of `alias`, `id`, `name`, `tags`, `ssmParameter`");
    if term.id.is_some() {
        let alone = term.alias.is_none() && term.tags.is_empty() && term.name.is_none() && term.owner.is_none();
        problems.require(alone, format!("{field}.id"), "excludes `alias`, `tags`, `name` and `owner`");
    }
    let Some(alias) = &term.alias else { return };
    let alone = terms == 1 && !others.contains(&true) && term.owner.is_none();
    problems.require(alone, format!("{field}.alias"), "must be the only field of the only term");
    let known = term.alias_parts().and_then(|(family, version)| Some((AmiFamily::of_alias(family)?, version)));
    match known {
        None => problems.add(
            format!("{field}.alias"),
            format!("`{alias}` is no alias: write `<family>@<version>` with family al2, al2023, bottlerocket, windows2019, windows2022 or windows2025"),
        ),
        Some((family, version)) if family.is_windows() && version != "latest" => {
            problems.add(format!("{field}.alias"), "Windows images have no versions; use `@latest`");
        }
        Some(_) => {}
    }
}

fn identity(spec: &Ec2NodeClassSpec, problems: &mut Problems) {
    let set = |text: &Option<String>| text.as_deref().is_some_and(|text| !text.is_empty());
    let one = set(&spec.role) != set(&spec.instance_profile);
    problems.require(one, "spec.role", "set exactly one of `role` and `instanceProfile`");
}

/// Tags that the controller sets itself.
const RESERVED_TAGS: [&str; 4] =
    ["eks:eks-cluster-name", "karpenter.sh/nodepool", "karpenter.sh/nodeclaim", "karpenter.k8s.aws/ec2nodeclass"];

fn tags(tags: &BTreeMap<String, String>, problems: &mut Problems) {
    for key in tags.keys() {
        let reserved = RESERVED_TAGS.contains(&key.as_str()) || key.starts_with("kubernetes.io/cluster");
        problems.require(!reserved, format!("spec.tags[{key}]"), "is set by the controller; leave it out");
        problems.require(!key.is_empty(), "spec.tags", "keys may not be empty");
    }
}

fn disks(spec: &Ec2NodeClassSpec, problems: &mut Problems) {
    let roots = spec.block_device_mappings.iter().filter(|disk| disk.root_volume == Some(true)).count();
    problems.require(roots <= 1, "spec.blockDeviceMappings", "at most one disk can be the root volume");
    for (index, disk) in spec.block_device_mappings.iter().enumerate() {
        let Some(ebs) = &disk.ebs else { continue };
        let field = format!("spec.blockDeviceMappings[{index}].ebs");
        problems.require(
            ebs.snapshot_id.is_some() || ebs.volume_size.is_some(),
            &*field,
            "set `snapshotID` or `volumeSize`",
        );
        let rate = ebs.volume_initialization_rate.is_none() || ebs.snapshot_id.is_some();
        problems.require(rate, format!("{field}.volumeInitializationRate"), "needs `snapshotID`");
    }
}

fn interfaces(spec: &Ec2NodeClassSpec, problems: &mut Problems) {
    if spec.network_interfaces.is_empty() {
        return;
    }
    let field = "spec.networkInterfaces";
    let primary = |nic: &super::NetworkInterface| {
        nic.network_card_index == 0 && nic.device_index == 0 && nic.interface_type == "interface"
    };
    problems.require(
        spec.network_interfaces.iter().any(primary),
        field,
        "must contain card 0, device 0, type `interface`",
    );
    let mut places = BTreeSet::new();
    let mut efa_cards = BTreeSet::new();
    for nic in &spec.network_interfaces {
        let (card, device) = (nic.network_card_index, nic.device_index);
        problems.require(places.insert((card, device)), field, format!("card {card}, device {device} is there twice"));
        let second_efa = nic.interface_type == "efa-only" && !efa_cards.insert(card);
        problems.require(!second_efa, field, format!("card {card} has more than one `efa-only` interface"));
    }
}

/// Signals that evictions can wait for.
const SIGNALS: [&str; 6] = [
    "memory.available",
    "nodefs.available",
    "nodefs.inodesFree",
    "imagefs.available",
    "imagefs.inodesFree",
    "pid.available",
];
/// Resources that can be reserved.
const RESERVABLE: [&str; 4] = ["cpu", "memory", "ephemeral-storage", "pid"];

fn kubelet(spec: &Ec2NodeClassSpec, problems: &mut Problems) {
    let config = match spec.kubelet_configuration() {
        Ok(config) => config,
        Err(error) => return problems.add("spec.kubelet", error.to_string()),
    };
    problems.require(
        !config.other.contains_key("registerWithTaints"),
        "spec.kubelet.registerWithTaints",
        "is set by the controller; use the NodePool's taints",
    );
    for (name, signals) in [("evictionHard", &config.eviction_hard), ("evictionSoft", &config.eviction_soft)] {
        for (signal, amount) in signals {
            let field = format!("spec.kubelet.{name}[{signal}]");
            problems.require(
                SIGNALS.contains(&signal.as_str()),
                &*field,
                format!("is no signal; use one of {}", SIGNALS.join(", ")),
            );
            let message = format!("`{amount}` is neither a percentage such as `5%` nor a quantity such as `100Mi`");
            problems.require(is_amount(amount), field, message);
        }
    }
    grace_periods(&config, problems);
    for (name, reserved) in [("kubeReserved", &config.kube_reserved), ("systemReserved", &config.system_reserved)] {
        for (resource, amount) in reserved {
            let field = format!("spec.kubelet.{name}[{resource}]");
            problems.require(
                RESERVABLE.contains(&resource.as_str()),
                &*field,
                format!("cannot be reserved; use {}", RESERVABLE.join(", ")),
            );
            problems.require(!amount.starts_with('-'), field, "must not be negative");
        }
    }
    kubelet_numbers(&config, problems);
}

fn grace_periods(config: &KubeletConfiguration, problems: &mut Problems) {
    let (soft, grace) = (&config.eviction_soft, &config.eviction_soft_grace_period);
    for signal in soft.keys().filter(|signal| !grace.contains_key(*signal)) {
        problems.add(format!("spec.kubelet.evictionSoft[{signal}]"), "needs an entry in `evictionSoftGracePeriod`");
    }
    for signal in grace.keys().filter(|signal| !soft.contains_key(*signal)) {
        problems.add(format!("spec.kubelet.evictionSoftGracePeriod[{signal}]"), "needs an entry in `evictionSoft`");
    }
}

fn kubelet_numbers(config: &KubeletConfiguration, problems: &mut Problems) {
    let (high, low) = (config.image_gc_high_threshold_percent, config.image_gc_low_threshold_percent);
    for (name, percent) in [("imageGCHighThresholdPercent", high), ("imageGCLowThresholdPercent", low)] {
        let ok = percent.is_none_or(|percent| (0..=100).contains(&percent));
        problems.require(ok, format!("spec.kubelet.{name}"), "must be from 0 to 100");
    }
    let ordered = high.zip(low).is_none_or(|(high, low)| high > low);
    problems.require(
        ordered,
        "spec.kubelet.imageGCHighThresholdPercent",
        "must be greater than `imageGCLowThresholdPercent`",
    );
    let max_pods = config.max_pods.as_ref().is_none_or(|value| value.as_i64().is_some_and(|pods| pods >= 0));
    problems.require(max_pods, "spec.kubelet.maxPods", "must be a number and not negative");
    for (name, number) in
        [("podsPerCore", config.pods_per_core), ("evictionMaxPodGracePeriod", config.eviction_max_pod_grace_period)]
    {
        problems.require(
            number.is_none_or(|number| number >= 0),
            format!("spec.kubelet.{name}"),
            "must not be negative",
        );
    }
}

fn is_amount(text: &str) -> bool {
    match text.strip_suffix('%') {
        Some(percent) => percent.parse::<f64>().is_ok_and(|percent| (0.0..=100.0).contains(&percent)),
        None => is_quantity(text),
    }
}

/// Whether `text` is a non-negative quantity: a decimal number with a suffix or an exponent, or neither.
fn is_quantity(text: &str) -> bool {
    let text = text.strip_prefix('+').unwrap_or(text);
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, suffix) = text.split_at(end);
    let suffixes = ["", "n", "u", "m", "k", "M", "G", "T", "P", "E", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei"];
    let exponent = suffix.strip_prefix(['e', 'E']).is_some_and(|exponent| exponent.parse::<i8>().is_ok());
    number.parse::<f64>().is_ok() && (suffixes.contains(&suffix) || exponent)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;
    use serde_json::{Value, json};

    fn class(change: &Value) -> Ec2NodeClass {
        let mut spec = json!({
            "role": "node",
            "amiSelectorTerms": [{ "alias": "al2023@latest" }],
            "subnetSelectorTerms": [{ "tags": { "team": "a" } }],
            "securityGroupSelectorTerms": [{ "tags": { "team": "a" } }],
        });
        for (key, value) in change.as_object().unwrap() {
            spec[key] = value.clone();
        }
        serde_json::from_value(json!({
            "apiVersion": "karpenter.k8s.aws/v1", "kind": "EC2NodeClass", "metadata": { "name": "default" }, "spec": spec,
        }))
        .unwrap()
    }

    #[rstest]
    #[case::kubelet(json!({ "kubelet": { "maxPods": 110, "kubeReserved": { "cpu": "100m" }, "evictionHard": { "memory.available": "5%" } } }))]
    #[case::custom_family(json!({ "amiFamily": "Custom", "amiSelectorTerms": [{ "id": "ami-1" }, { "name": "x*", "owner": "self" }] }))]
    #[case::profile(json!({ "role": null, "instanceProfile": "p" }))]
    #[case::disk(json!({ "blockDeviceMappings": [{ "deviceName": "/dev/xvda", "rootVolume": true, "ebs": { "volumeSize": "20Gi" } }] }))]
    fn accepted(#[case] change: Value) {
        assert_eq!(validate_ec2_node_class(&class(&change)), []);
    }

    #[rstest]
    #[case::no_subnets(json!({ "subnetSelectorTerms": [] }), "spec.subnetSelectorTerms`: must have a term")]
    #[case::id_and_tags(json!({ "subnetSelectorTerms": [{ "id": "subnet-1", "tags": { "a": "b" } }] }), "exclude every other field")]
    #[case::empty_term(json!({ "securityGroupSelectorTerms": [{}] }), "selects nothing")]
    #[case::empty_tag(json!({ "subnetSelectorTerms": [{ "tags": { "a": "" } }] }), "may not be empty")]
    #[case::alias_not_alone(json!({ "amiSelectorTerms": [{ "alias": "al2023@latest" }, { "id": "ami-1" }] }), "must be the only field of the only term")]
    #[case::bad_alias(json!({ "amiFamily": "AL2", "amiSelectorTerms": [{ "alias": "alpine@latest" }] }), "`alpine@latest` is no alias")]
    #[case::windows_version(json!({ "amiSelectorTerms": [{ "alias": "windows2022@v1" }] }), "use `@latest`")]
    #[case::family_missing(json!({ "amiSelectorTerms": [{ "id": "ami-1" }] }), "spec.amiFamily`: is needed")]
    #[case::family_differs(json!({ "amiFamily": "AL2" }), "is `AL2`, but the alias is of `AL2023`")]
    #[case::role_and_profile(json!({ "instanceProfile": "p" }), "exactly one of `role` and `instanceProfile`")]
    #[case::reserved_tag(json!({ "tags": { "karpenter.sh/nodepool": "x" } }), "is set by the controller")]
    #[case::two_roots(
        json!({ "blockDeviceMappings": [{ "rootVolume": true }, { "rootVolume": true }] }), "at most one disk"
    )]
    #[case::no_size(json!({ "blockDeviceMappings": [{ "ebs": {} }] }), "set `snapshotID` or `volumeSize`")]
    #[case::no_primary(json!({ "networkInterfaces": [{ "networkCardIndex": 1, "deviceIndex": 0, "interfaceType": "interface" }] }), "must contain card 0")]
    #[case::signal(json!({ "kubelet": { "evictionHard": { "disk": "5%" } } }), "is no signal")]
    #[case::amount(json!({ "kubelet": { "evictionHard": { "memory.available": "five" } } }), "`five` is neither")]
    #[case::grace(json!({ "kubelet": { "evictionSoft": { "memory.available": "5%" } } }), "needs an entry in `evictionSoftGracePeriod`")]
    #[case::taints(json!({ "kubelet": { "registerWithTaints": [] } }), "use the NodePool's taints")]
    #[case::thresholds(json!({ "kubelet": { "imageGCHighThresholdPercent": 50, "imageGCLowThresholdPercent": 60 } }), "must be greater than")]
    #[case::max_pods(json!({ "kubelet": { "maxPods": -1 } }), "must be a number and not negative")]
    #[case::wrong_type(json!({ "kubelet": { "podsPerCore": "many" } }), "spec.kubelet`: invalid type")]
    fn refused(#[case] change: Value, #[case] expected: &str) {
        let problems: Vec<String> = validate_ec2_node_class(&class(&change)).iter().map(Problem::to_string).collect();
        assert!(problems.len() == 1 && problems[0].contains(expected), "{problems:?}");
    }
}
