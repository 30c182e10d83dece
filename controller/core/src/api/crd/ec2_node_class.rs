//! What the derive cannot say of EC2NodeClasses (spec aws 1.1, 1.3).

use super::{edit::Schema, shared};
use serde_json::json;

pub(super) fn constrain(schema: &mut Schema) {
    schema
        .required("", &["spec"])
        .required("spec", &["amiSelectorTerms", "securityGroupSelectorTerms", "subnetSelectorTerms"]);
    subnets(schema);
    security_groups(schema);
    reservations(schema);
    images(schema);
    identity_and_tags(schema);
    disks(schema);
    interfaces(schema);
    options(schema);
    status(schema);
}

const NOT_EMPTY: &str = "must have at least one term";

/// A list of selector terms with a map of tags in each.
fn terms(schema: &mut Schema, path: &str, needed: bool) {
    let tags = format!("{path}[].tags");
    schema.set(path, json!({ "maxItems": 30 })).set(&tags, json!({ "maxProperties": 20 })).rule(
        &tags,
        "self.all(key, key != '' && self[key] != '')",
        "empty tag keys or values are not supported",
    );
    if needed {
        schema.rule(path, "size(self) != 0", &format!("{} {NOT_EMPTY}", path.trim_start_matches("spec.")));
    }
}

fn subnets(schema: &mut Schema) {
    let path = "spec.subnetSelectorTerms";
    terms(schema, path, true);
    schema
        .set("spec.subnetSelectorTerms[].id", json!({ "pattern": "subnet-[0-9a-z]+" }))
        .rule(path, "self.all(term, has(term.tags) || has(term.id))", "expected at least one of tags, id")
        .rule(path, "self.all(term, !(has(term.id) && has(term.tags)))", "'id' excludes every other field of a term");
}

fn security_groups(schema: &mut Schema) {
    let path = "spec.securityGroupSelectorTerms";
    terms(schema, path, true);
    schema
        .set("spec.securityGroupSelectorTerms[].id", json!({ "pattern": "sg-[0-9a-z]+" }))
        .rule(
            path,
            "self.all(term, has(term.tags) || has(term.id) || has(term.name))",
            "expected at least one of tags, id, name",
        )
        .rule(
            path,
            "self.all(term, !(has(term.id) && (has(term.tags) || has(term.name))))",
            "'id' excludes every other field of a term",
        )
        .rule(
            path,
            "self.all(term, !(has(term.name) && has(term.tags)))",
            "'name' excludes every other field of a term",
        );
}

fn reservations(schema: &mut Schema) {
    let path = "spec.capacityReservationSelectorTerms";
    terms(schema, path, false);
    schema
        .set("spec.capacityReservationSelectorTerms[].id", json!({ "pattern": "^cr-[0-9a-z]+$" }))
        .set("spec.capacityReservationSelectorTerms[].ownerID", json!({ "pattern": "^[0-9]{12}$" }))
        .set("spec.capacityReservationSelectorTerms[].instanceMatchCriteria", json!({ "enum": ["open", "targeted"] }))
        .rule(
            path,
            "self.all(term, has(term.tags) || has(term.id) || has(term.instanceMatchCriteria))",
            "expected at least one of tags, id, instanceMatchCriteria",
        )
        .rule(
            path,
            "self.all(term, !(has(term.id) && (has(term.tags) || has(term.ownerID) || has(term.instanceMatchCriteria))))",
            "'id' excludes every other field of a term",
        )
        .set("spec.placementGroupSelector.name", json!({ "minLength": 1 }))
        .set("spec.placementGroupSelector.id", json!({ "pattern": "^pg-[0-9a-z]+$" }))
        .rule("spec.placementGroupSelector", "has(self.name) != has(self.id)", "expected exactly one of name, id");
}

fn images(schema: &mut Schema) {
    let path = "spec.amiSelectorTerms";
    terms(schema, path, false);
    schema
        .set(path, json!({ "minItems": 1 }))
        .set("spec.amiFamily", json!({ "type": "string" }))
        .set("spec.amiSelectorTerms[].alias", json!({ "maxLength": 30, "pattern": "^[a-zA-Z0-9]+@.+$" }))
        .set("spec.amiSelectorTerms[].id", json!({ "pattern": "ami-[0-9a-z]+" }))
        .rule(
            "spec.amiSelectorTerms[].alias",
            "self.matches('^(al2|al2023|bottlerocket|windows2019|windows2022|windows2025)@')",
            "family is not supported; use one of al2, al2023, bottlerocket, windows2019, windows2022, windows2025",
        )
        .rule(
            "spec.amiSelectorTerms[].alias",
            "!self.startsWith('windows') || self.endsWith('@latest')",
            "Windows families have no versions; use '@latest'",
        )
        .rule(
            path,
            "self.all(term, has(term.tags) || has(term.id) || has(term.name) || has(term.alias) || has(term.ssmParameter))",
            "expected at least one of tags, id, name, alias, ssmParameter",
        )
        .rule(
            path,
            "!self.exists(term, has(term.id) && (has(term.alias) || has(term.tags) || has(term.name) || has(term.owner)))",
            "'id' excludes alias, tags, name, owner",
        )
        .rule(
            path,
            "!self.exists(term, has(term.alias) && (has(term.id) || has(term.tags) || has(term.name) || has(term.owner) || has(term.ssmParameter)))",
            "'alias' excludes every other field of a term",
        )
        .rule(
            path,
            "!(size(self) != 1 && self.exists(term, has(term.alias)))",
            "'alias' must be in the only term",
        )
        .rule(
            "spec",
            "has(self.amiFamily) || self.amiSelectorTerms.exists(term, has(term.alias))",
            "amiFamily must be set where no term has an alias",
        )
        .rule(
            "spec",
            "!has(self.amiFamily) || self.amiFamily == 'Custom' || \
             self.amiSelectorTerms.all(term, !has(term.alias) || term.alias.startsWith({'AL2': 'al2@', 'AL2023': 'al2023@', \
             'Bottlerocket': 'bottlerocket@', 'Windows2019': 'windows2019@', 'Windows2022': 'windows2022@', \
             'Windows2025': 'windows2025@'}[self.amiFamily]))",
            "amiFamily must be the alias' family, or Custom",
        );
}

fn identity_and_tags(schema: &mut Schema) {
    schema
        .rule("spec.role", "self != ''", "role cannot be empty")
        .rule("spec.instanceProfile", "self != ''", "instanceProfile cannot be empty")
        .rule("spec", "has(self.role) != has(self.instanceProfile)", "expected exactly one of role, instanceProfile")
        .rule("spec.tags", "self.all(key, key != '')", "empty tag keys are not supported")
        .rule("spec.tags", "self.all(key, key != 'eks:eks-cluster-name')", "tag is restricted: eks:eks-cluster-name")
        .rule(
            "spec.tags",
            "self.all(key, !key.startsWith('kubernetes.io/cluster'))",
            "tag is restricted: kubernetes.io/cluster/…",
        )
        .rule("spec.tags", "self.all(key, key != 'karpenter.sh/nodepool')", "tag is restricted: karpenter.sh/nodepool")
        .rule(
            "spec.tags",
            "self.all(key, key != 'karpenter.sh/nodeclaim')",
            "tag is restricted: karpenter.sh/nodeclaim",
        )
        .rule(
            "spec.tags",
            "self.all(key, key != 'karpenter.k8s.aws/ec2nodeclass')",
            "tag is restricted: karpenter.k8s.aws/ec2nodeclass",
        );
}

fn disks(schema: &mut Schema) {
    let path = "spec.blockDeviceMappings";
    let ebs = "spec.blockDeviceMappings[].ebs";
    schema
        .set(path, json!({ "maxItems": 50 }))
        .rule(
            path,
            "self.filter(disk, has(disk.rootVolume) && disk.rootVolume).size() <= 1",
            "at most one disk can be the root volume",
        )
        .rule(ebs, "has(self.snapshotID) || has(self.volumeSize)", "snapshotID or volumeSize must be set")
        .rule(
            ebs,
            "!has(self.volumeInitializationRate) || has(self.snapshotID)",
            "volumeInitializationRate needs snapshotID",
        )
        .set("spec.blockDeviceMappings[].ebs.volumeInitializationRate", json!({ "minimum": 100, "maximum": 300 }))
        .set(
            "spec.blockDeviceMappings[].ebs.volumeSize",
            // 1–58 Ti, 1–64 T, 1–64000 G, 1–59000 Gi.
            json!({ "pattern": "^((?:[1-9][0-9]{0,3}|[1-4][0-9]{4}|[5][0-8][0-9]{3}|59000)Gi|(?:[1-9][0-9]{0,3}|[1-5][0-9]{4}|[6][0-3][0-9]{3}|64000)G|([1-9]||[1-5][0-7]|58)Ti|([1-9]||[1-5][0-9]|6[0-3]|64)T)$" }),
        )
        .set(
            "spec.blockDeviceMappings[].ebs.volumeType",
            json!({ "enum": ["standard", "io1", "io2", "gp2", "sc1", "st1", "gp3"] }),
        )
        .set("spec.instanceStorePolicy", json!({ "enum": ["RAID0"] }));
}

fn interfaces(schema: &mut Schema) {
    let path = "spec.networkInterfaces";
    schema
        .set(path, json!({ "maxItems": 150 }))
        .required("spec.networkInterfaces[]", &["deviceIndex", "interfaceType", "networkCardIndex"])
        .set("spec.networkInterfaces[].networkCardIndex", json!({ "minimum": 0 }))
        .set("spec.networkInterfaces[].deviceIndex", json!({ "minimum": 0 }))
        .set("spec.networkInterfaces[].interfaceType", json!({ "enum": ["interface", "efa-only"] }))
        .rule(
            path,
            "size(self) == 0 || self.exists(nic, nic.networkCardIndex == 0 && nic.deviceIndex == 0 && nic.interfaceType == 'interface')",
            "must contain networkCardIndex 0, deviceIndex 0, interfaceType interface",
        )
        .rule(
            path,
            "self.all(nic, self.exists_one(other, other.networkCardIndex == nic.networkCardIndex && other.deviceIndex == nic.deviceIndex))",
            "networkCardIndex and deviceIndex must be unique together",
        )
        .rule(
            path,
            "self.all(nic, nic.interfaceType != 'efa-only' || \
             self.exists_one(other, other.interfaceType == 'efa-only' && other.networkCardIndex == nic.networkCardIndex))",
            "at most one efa-only interface per network card",
        );
}

fn options(schema: &mut Schema) {
    let metadata = json!({
        "httpEndpoint": "enabled", "httpProtocolIPv6": "disabled", "httpPutResponseHopLimit": 1, "httpTokens": "required",
    });
    schema
        .replace("spec.kubelet", json!({ "type": "object", "x-kubernetes-preserve-unknown-fields": true }))
        .set("spec.ipPrefixCount", json!({ "minimum": 0 }))
        .set("spec.metadataOptions", json!({ "default": metadata }))
        .set("spec.metadataOptions.httpEndpoint", json!({ "default": "enabled", "enum": ["enabled", "disabled"] }))
        .set("spec.metadataOptions.httpProtocolIPv6", json!({ "default": "disabled", "enum": ["enabled", "disabled"] }))
        .set("spec.metadataOptions.httpPutResponseHopLimit", json!({ "default": 1, "minimum": 1, "maximum": 64 }))
        .set("spec.metadataOptions.httpTokens", json!({ "default": "required", "enum": ["required", "optional"] }))
        .set("spec.connectionTracking.tcpEstablishedTimeout", json!({ "minimum": 60, "maximum": 432_000 }))
        .set("spec.connectionTracking.udpStreamTimeout", json!({ "minimum": 60, "maximum": 180 }))
        .set("spec.connectionTracking.udpTimeout", json!({ "minimum": 30, "maximum": 60 }))
        .rule(
            "spec.connectionTracking",
            "has(self.tcpEstablishedTimeout) || has(self.udpStreamTimeout) || has(self.udpTimeout)",
            "expected at least one of tcpEstablishedTimeout, udpStreamTimeout, udpTimeout",
        )
        .set("spec.cpuOptions.nestedVirtualization", json!({ "enum": ["enabled", "disabled"] }));
}

fn status(schema: &mut Schema) {
    schema
        .replace("status.conditions", shared::conditions())
        .required("status.subnets[]", &["id", "zone"])
        .required("status.securityGroups[]", &["id"])
        .required("status.amis[]", &["id", "requirements"])
        .required("status.amis[].requirements[]", &["key", "operator"])
        .set("status.amis[].requirements[].operator", json!({ "type": "string" }))
        .required(
            "status.capacityReservations[]",
            &["availabilityZone", "id", "instanceMatchCriteria", "instanceType", "ownerID", "reservationType", "state"],
        )
        .set(
            "status.capacityReservations[].reservationType",
            json!({ "default": "default", "enum": ["default", "capacity-block"] }),
        )
        .set("status.capacityReservations[].state", json!({ "enum": ["active", "expiring"] }))
        .set("status.capacityReservations[].instanceMatchCriteria", json!({ "enum": ["open", "targeted"] }));
}
