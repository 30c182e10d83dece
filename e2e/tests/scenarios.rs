//! Every whole-loop scenario passes, says the same twice for one seed, and says something else for another seed.

#![expect(clippy::unwrap_used, reason = "clippy takes only the test functions themselves for tests, not their helpers")]

use rstest::rstest;
use sawhorse_e2e::{run::in_virtual_time, scenario::load, timeline::timeline};
use std::{fs, path::PathBuf, time::Duration};

fn run(path: &PathBuf, seed: Option<u64>) -> sawhorse_e2e::run::Outcome {
    let scenario = load(&fs::read_to_string(path).unwrap()).unwrap();
    in_virtual_time(&scenario, seed, &|_| {}, || Duration::ZERO).unwrap()
}

fn scenario(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(format!("scenarios/{name}.yaml"))
}

#[rstest]
fn a_scenario_passes(#[files("scenarios/*.yaml")] path: PathBuf) {
    let outcome = run(&path, None);
    let last: Vec<String> = outcome.entries.iter().rev().take(40).rev().map(ToString::to_string).collect();
    assert_eq!(outcome.summary.failure, None, "the last events:\n{}", last.join("\n"));
}

/// How short runs went, line by line.
#[rstest]
#[case("a-killed-controller-adopts-its-machine")]
#[case("a-machine-that-never-joins-is-replaced")]
#[case("a-refused-spot-pool-is-remembered")]
#[case("protected-pods-keep-their-nodes")]
fn a_run_goes_as_written(#[case] name: &str) {
    let outcome = run(&scenario(name), None);
    insta::assert_snapshot!(name, timeline(&outcome.entries));
}

#[test]
fn the_same_seed_gives_the_same_bytes_and_another_seed_other_ones() {
    let path = scenario("a-refused-spot-pool-is-remembered");
    let first = run(&path, Some(11)).events;
    assert!(!first.is_empty());
    assert!(first == run(&path, Some(11)).events, "two runs with one seed differ");
    assert!(first != run(&path, Some(12)).events, "two seeds give the same run");
}
