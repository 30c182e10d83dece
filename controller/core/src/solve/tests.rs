use super::solve_json;
use rstest::rstest;
use serde_json::{Value, json};

fn input() -> Value {
    json!({
        "nodePools": [{"apiVersion": "karpenter.sh/v1", "kind": "NodePool", "metadata": {"name": "default"},
            "spec": {"template": {"spec": {"requirements": []}}}}],
        "instanceTypes": [
            {"name": "m5.large", "capacity": {"cpu": "2", "memory": "8Gi", "pods": "29"},
             "overhead": {"kubeReserved": {"cpu": "70m"}, "systemReserved": {}, "evictionThreshold": {"memory": "100Mi"}},
             "requirements": [{"key": "kubernetes.io/arch", "operator": "In", "values": ["amd64"]}],
             "offerings": [{"zone": "a", "capacityType": "on-demand", "price": 0.096}, {"zone": "b", "capacityType": "spot", "price": 0.035},
                {"zone": "c", "capacityType": "spot", "price": 0.001, "available": false}]},
        ],
        "nodes": [{"node": {"metadata": {"name": "old", "labels": {"karpenter.sh/nodepool": "default",
            "node.kubernetes.io/instance-type": "m5.large", "topology.kubernetes.io/zone": "a", "karpenter.sh/capacity-type": "on-demand"}},
            "status": {"capacity": {"cpu": "2", "memory": "8Gi", "pods": "29"}, "allocatable": {"cpu": "1", "memory": "4Gi", "pods": "29"}}}}],
        "pods": [
            {"metadata": {"name": "web"}, "spec": {"containers": [{"name": "c", "resources": {"requests": {"cpu": "1"}}}]}},
            {"metadata": {"name": "db", "namespace": "prod"}, "spec": {"containers": [{"name": "c", "resources": {"requests": {"cpu": "1500m"}}}]}},
            {"metadata": {"name": "huge"}, "spec": {"containers": [{"name": "c", "resources": {"requests": {"cpu": "99"}}}]}},
        ],
    })
}

fn answer(input: &Value, disrupt: bool) -> Value {
    let mut time = 0;
    let text = solve_json(&input.to_string(), disrupt, || {
        time += 7;
        time
    });
    serde_json::from_str(&text.unwrap()).unwrap()
}

#[test]
fn the_answer_has_the_agreed_shape() {
    let answer = answer(&input(), false);
    assert_eq!(answer["existingNodes"], json!([{"name": "old", "pods": ["web"]}]));
    let claim = &answer["newNodeClaims"][0];
    assert_eq!(claim["nodePool"], "default");
    assert_eq!(claim["pods"], json!(["prod/db"]));
    assert_eq!(claim["instanceTypes"], json!(["m5.large"]));
    assert_eq!(
        claim["launch"],
        json!({"instanceType": "m5.large", "zone": "b", "capacityType": "spot", "price": 0.035})
    );
    assert_eq!(claim["cheapestPrice"], 0.035);
    assert_eq!(claim["resources"], json!({"cpu": "1500m", "pods": "1"}));
    assert_eq!(claim["taints"], json!([]));
    assert_eq!(claim["labels"]["karpenter.sh/nodepool"], "default");
    assert!(
        claim["requirements"]
            .as_array()
            .unwrap()
            .contains(&json!({"key": "karpenter.sh/capacity-type", "operator": "In", "values": ["on-demand", "spot"]}))
    );
    assert_eq!(
        answer["errors"],
        json!({"huge": {"code": "not-enough-resources",
        "message": "NodePool `default`: no instance type has enough resources"}})
    );
    assert_eq!(answer["totalPrice"], 0.035);
    assert!(answer["lowerBound"].as_f64().unwrap() > 0.02);
    assert!(answer["solveMillis"].as_u64().unwrap() > 0);
    assert!(answer.get("commands").is_none());
}

#[test]
fn an_empty_node_is_given_back() {
    let mut input = input();
    input["pods"] = json!([]);
    let answer = answer(&input, true);
    let command = &answer["commands"][0];
    assert_eq!(command["decision"], "delete");
    assert_eq!(command["delete"], json!(["old"]));
    assert_eq!(command["deletePrice"], 0.096);
    assert_eq!(command["savings"], 0.096);
    assert_eq!(command["replacements"], json!([]));
}

#[test]
fn options_are_heeded() {
    let mut with_options = input();
    with_options["options"] = json!({"timeoutSeconds": 0, "preferencePolicy": "Ignore", "minValuesPolicy": "BestEffort",
        "reservedFallback": true, "spotToSpotConsolidation": true, "maxInstanceTypes": 1});
    let answer = answer(&with_options, false);
    assert_eq!(answer["errors"]["prod/db"]["code"], "out-of-time");
}

#[rstest]
#[case::not_json("{\"pods\": [}", None, 1, "expected value")]
#[case::cut_off("{\n\"pods\": [", None, 2, "EOF while parsing")]
#[case::more("{}\n{}", None, 2, "trailing characters")]
#[case::unknown("{\n\"podz\": []}", Some("podz"), 2, "unknown field `podz`, expected one of")]
#[case::wrong_kind(
    "{\"pods\": [\n{\"metadata\": {\"name\": 3}}]}",
    Some("pods[0].metadata.name"),
    2,
    "invalid type: integer `3`"
)]
#[case::deep(
    "{\"pods\": [{\"metadata\": {\"name\": \"a\"},\n\"spec\": {\"containers\": [],\n\"nodeSelectors\": {}}}]}",
    Some("pods[0].spec.nodeSelectors"),
    3,
    "unknown field `nodeSelectors`; did you mean `nodeSelector`?"
)]
#[case::in_a_pool(
    "{\"nodePools\": [{\"metadata\": {\"name\": \"a\"}, \"spec\": {\n\"limitz\": {}}}]}",
    Some("nodePools[0].spec.limitz"),
    2,
    "unknown field `limitz`"
)]
#[case::no_name("{\"pods\": [\n{}]}", Some("pods[0].metadata.name"), 2, "a name is needed")]
#[case::twice(
    "{\"pods\": [{\"metadata\": {\"name\": \"a\"}},\n{\"metadata\":\n{\"name\": \"a\"}}]}",
    Some("pods[1].metadata.name"),
    3,
    "the pod `default/a` is there already"
)]
#[case::negative(
    "{\"instanceTypes\": [{\"name\": \"a\", \"capacity\": {}, \"offerings\": [\n{\"zone\": \"z\", \"capacityType\": \"spot\", \"price\": -1}]}]}",
    Some("instanceTypes[0].offerings[0].price"),
    2,
    "expected a price in dollars per hour that is not negative"
)]
#[case::capacity_type(
    "{\"instanceTypes\": [{\"name\": \"a\", \"capacity\": {}, \"offerings\": [\n{\"zone\": \"z\", \"capacityType\": \"spit\", \"price\": 1}]}]}",
    Some("instanceTypes[0].offerings[0].capacityType"),
    2,
    "unknown variant `spit`"
)]
#[case::amount(
    "{\"instanceTypes\": [{\"name\": \"a\",\n\"capacity\": {\n\"cpu\": \"two\"}}]}",
    Some("instanceTypes[0].capacity.cpu"),
    3,
    "`two` is not a quantity"
)]
#[case::reservation(
    "{\"instanceTypes\": [{\"name\": \"a\", \"capacity\": {}, \"offerings\": [\n{\"zone\": \"z\", \"capacityType\": \"reserved\", \"price\": 1}]}]}",
    Some("instanceTypes[0].offerings[0]"),
    2,
    "needs its `reservationID`"
)]
#[case::overlay(
    "{\"nodeOverlays\": [{\"apiVersion\": \"karpenter.sh/v1alpha1\", \"kind\": \"NodeOverlay\", \"metadata\": {\"name\": \"a\"}, \"spec\": {\n\"price\": \"cheap\"}}]}",
    Some("nodeOverlays[0].spec.price"),
    2,
    "`cheap` is no price: use dollars per hour such as `0.096`"
)]
#[case::option("{\"options\": {\"maxInstanceTypes\": 0}}", Some("options.maxInstanceTypes"), 1, "at least 1 is needed")]
fn bad_input_is_refused_with_field_and_line(
    #[case] text: &str,
    #[case] path: Option<&str>,
    #[case] line: usize,
    #[case] message: &str,
) {
    let error = solve_json(text, false, || 0).unwrap_err();
    let shown = error.to_string();
    assert_eq!((error.path(), error.line()), (path, line), "{shown}");
    assert!(shown.contains(message) && !shown.contains('\n'), "{shown}");
}

#[test]
fn fields_of_any_name_are_read_where_they_may_be() {
    let mut free = input();
    free["pods"][0]["metadata"]["labels"] = json!({"any.thing/at-all": "x"});
    free["pods"][0]["metadata"]["managedFields"] = json!([{"fieldsV1": {"f:metadata": {"f:labels": {}}}}]);
    free["nodePools"][0]["spec"]["template"]["metadata"] = json!({"labels": {"team": "x"}});
    free["wellKnownLabels"] = json!(["example.com/known"]);
    assert_eq!(answer(&free, false)["existingNodes"][0]["pods"], json!(["web"]));
}

/// The pods may only run in one zone, but their spread counts every zone's nodes: once a machine is in another zone, which has no
/// such pod, kube-scheduler takes one of them and no more.
#[test]
fn a_spread_that_ignores_node_affinity_counts_every_zone() {
    let mut input = input();
    let spread = json!({"topologyKey": "topology.kubernetes.io/zone", "maxSkew": 1, "whenUnsatisfiable": "DoNotSchedule",
        "nodeAffinityPolicy": "Ignore", "labelSelector": {"matchLabels": {"app": "web"}}});
    let web = |name: &str| {
        json!({"metadata": {"name": name, "labels": {"app": "web"}}, "spec": {
            "containers": [{"name": "c", "resources": {"requests": {"cpu": "1"}}}],
            "nodeSelector": {"topology.kubernetes.io/zone": "b"}, "topologySpreadConstraints": [spread]}})
    };
    input["nodes"] = json!([]);
    input["pods"] = json!([web("one"), web("two")]);
    let answer = answer(&input, false);
    assert_eq!(answer["errors"].as_object().unwrap().len(), 1, "{answer}");
    assert_eq!(answer["newNodeClaims"].as_array().unwrap().len(), 1, "{answer}");
}

#[test]
fn room_that_a_buffer_keeps_is_read_and_written() {
    let mut input = input();
    let annotations = json!({"karpenter.sh/capacity-buffer-fake-pod": "true", "karpenter.sh/capacity-buffer-name": "warm",
        "karpenter.sh/capacity-buffer-namespace": "default"});
    input["pods"] = json!([{"metadata": {"name": "capacity-buffer-warm-1", "annotations": annotations},
        "spec": {"containers": [{"name": "c", "resources": {"requests": {"cpu": "1"}}}]}}]);
    let kept = answer(&input, true);
    assert_eq!(kept["existingNodes"], json!([{"name": "old", "pods": ["capacity-buffer-warm-1"]}]));
    assert_eq!(kept["commands"], json!([]), "the node is empty, and the buffer has its room on it");
    let problem = super::Problem::read(&input.to_string()).unwrap();
    let again = super::Problem::read(&super::save(&problem.snapshot, &problem.catalog)).unwrap();
    assert_eq!((again.snapshot.pending.len(), again.snapshot.virtual_pods.len()), (0, 1));
}

#[test]
fn overlays_change_what_machines_cost_and_are_written_beside_what_the_cloud_lists() {
    let mut input = input();
    input["nodes"] = json!([]);
    let listed = answer(&input, false)["totalPrice"].as_f64().unwrap();
    input["nodeOverlays"] = json!([{"apiVersion": "karpenter.sh/v1alpha1", "kind": "NodeOverlay", "metadata": {"name": "half"},
        "spec": {"requirements": [], "priceAdjustment": "-50%"}}]);
    let said = answer(&input, false)["totalPrice"].as_f64().unwrap();
    assert!(listed > 0.0 && (said * 2.0 - listed).abs() < 1e-9, "{listed} {said}");
    let problem = super::Problem::read(&input.to_string()).unwrap();
    let saved = super::save(&problem.snapshot, &problem.catalog);
    assert_eq!(answer(&serde_json::from_str(&saved).unwrap(), false)["totalPrice"].as_f64(), Some(said));
}
