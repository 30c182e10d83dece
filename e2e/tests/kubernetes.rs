//! What only a real control plane can show. `make test-kubernetes` builds the programs and runs these.

#![expect(clippy::unwrap_used, reason = "clippy takes only the test functions themselves for tests, not their helpers")]

use sawhorse_e2e::{
    control_plane::{
        ControlPlane, Kubernetes, Programs, Times,
        access::{Access, objects},
        in_fast_motion,
    },
    run::{Outcome, on_kubernetes},
    scenario::load,
};
use serde_json::Value;
use std::{collections::BTreeSet, fs, path::Path, process::Command, time::Duration};

/// Seconds of a run in each real one: few, because a lease that cannot be renewed in time ends the controller.
const SPEED: u32 = 5;

fn programs() -> Programs {
    Programs::from_environment().unwrap()
}

fn run(name: &str) -> Outcome {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/kubernetes/{name}.yaml"));
    let scenario = load(&fs::read_to_string(file).unwrap()).unwrap();
    on_kubernetes(&scenario, None, (&programs(), SPEED), &|_| {}, || Duration::ZERO).unwrap()
}

/// What one rule of a role allows: each group, resource and verb, with the name that it is limited to.
fn allowed(rule: &Value) -> BTreeSet<Access> {
    let texts = |field: &str| rule[field].as_array().cloned().unwrap_or_default();
    let names = if rule["resourceNames"].is_null() { vec![Value::from("")] } else { texts("resourceNames") };
    let mut all = BTreeSet::new();
    for group in texts("apiGroups") {
        for resource in texts("resources") {
            for verb in texts("verbs") {
                for name in &names {
                    let [verb, group, resource, name] =
                        [&verb, &group, &resource, name].map(|text| text.as_str().unwrap().to_owned());
                    all.insert(Access { verb, group, resource, name, denied: false });
                }
            }
        }
    }
    all
}

/// Taking away any one verb of any one resource would have denied something that this run did.
#[test]
fn the_controller_needs_every_rule_of_its_manifests_and_no_other() {
    let outcome = run("every-rule");
    let last: Vec<String> = outcome.entries.iter().rev().take(60).rev().map(ToString::to_string).collect();
    assert_eq!(outcome.summary.failure, None, "the last events:\n{}", last.join("\n"));
    let denied: Vec<&Access> = outcome.accesses.iter().filter(|access| access.denied).collect();
    assert!(denied.is_empty(), "denied: {denied:#?}");
    let roles = objects().unwrap();
    let rules = roles.iter().flat_map(|role| role["rules"].as_array().cloned().unwrap_or_default());
    let rules: Vec<BTreeSet<Access>> = rules.map(|rule| allowed(&rule)).collect();
    let count: usize = rules.iter().map(BTreeSet::len).sum();
    let allowed: BTreeSet<Access> = rules.into_iter().flatten().collect();
    assert_eq!(count, allowed.len(), "two rules allow the same");
    // A name says nothing where no rule is limited to it: a lease has none yet when it is created.
    let asked = |access: &Access| {
        let named = |name: &str| Access { name: name.to_owned(), ..access.clone() };
        if allowed.contains(&named(&access.name)) { named(&access.name) } else { named("") }
    };
    let used: BTreeSet<Access> = outcome.accesses.iter().map(asked).collect();
    let unused: Vec<&Access> = allowed.difference(&used).collect();
    assert!(unused.is_empty(), "allowed, but never needed: {unused:#?}");
}

/// The plain manifests are what the chart gives, and a real API server takes every object of them, and of the chart with all on.
#[test]
fn the_manifests_are_the_charts_and_the_api_server_takes_them() {
    let deploy = Path::new(env!("CARGO_MANIFEST_DIR")).join("../controller/deploy");
    let helm = programs().path("helm");
    let render = |arguments: &[&str]| {
        let output =
            Command::new(&helm).args(["template", "sawhorse"]).arg(deploy.join("chart")).args(arguments).output();
        let output = output.unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    let rendered = Command::new(deploy.join("render")).arg(&helm).output().unwrap();
    let plain = fs::read_to_string(deploy.join("controller.yaml")).unwrap();
    assert!(
        String::from_utf8(rendered.stdout).unwrap() == plain,
        "controller.yaml is not the chart's: run `make manifests`"
    );
    let lint = Command::new(&helm).args(["lint", "--set", "settings.clusterName=c"]).arg(deploy.join("chart")).output();
    let lint = lint.unwrap();
    assert!(lint.status.success(), "{}", String::from_utf8_lossy(&lint.stdout));
    let all_on = render(&[
        "--namespace=sawhorse",
        "--set=settings.clusterName=c,controller.resources.requests.cpu=1,controller.image.digest=sha256:0,priorityClassName=",
        "--set=terminationGracePeriodSeconds=60,hostNetwork=true,settings.region=us-west-2,settings.endpointURL=http://cloud",
        "--set=podLabels.a=b,podAnnotations.a=b,additionalLabels.a=b,serviceAccount.annotations.a=b,dnsConfig.nameservers[0]=10.0.0.2",
    ]);
    let objects: Vec<Value> =
        [plain, all_on].iter().flat_map(|text| serde_saphyr::from_multiple(text).unwrap()).collect();
    let refused = in_fast_motion(1, async {
        let clock = sawhorse_ambient::Clock::from_system();
        let cluster = Kubernetes::start(&programs(), Times { began: clock.now(), speed: 1 }).await.unwrap();
        let refused = cluster.refused(&objects).await.unwrap();
        ControlPlane::Kubernetes(Box::new(cluster)).stop().await;
        refused
    });
    assert_eq!(refused.unwrap(), Vec::<String>::new());
}
