//! Decides every scenario and compares the decision with the one that was written down.

use rstest::rstest;
use sawhorse_core::{
    check::violations,
    disruption::{DisruptionInput, decide},
    model::PodKey,
    report::{disruption_text, node_explained, pod_explained, scheduling_text},
    scenario::{Scenario, World},
    scheduling::{IndexedCatalog, Prepared, SchedulingInput, pods_to_provision, solve},
};
use std::{
    fs,
    path::{Path, PathBuf},
};

/// About a screen; a longer decision is hard to review, so its scenario is to be split.
const MAX_LINES: usize = 60;

#[rstest]
fn decision(
    #[files("scheduling/**/*.yaml")]
    #[files("disruption/**/*.yaml")]
    #[files("explain/**/*.yaml")]
    path: PathBuf,
) -> Result<(), String> {
    let scenario = Scenario::read(&read(&path)?).map_err(|error| error.to_string())?;
    let decided = decision_of(&scenario, &path, false)?;
    assert!(
        decided.lines().count() <= MAX_LINES,
        "split the scenario: its decision is longer than a screen\n{decided}"
    );
    let reversed = decision_of(&scenario.reversed(), &path, true)?;
    assert_eq!(decided, reversed, "the order of the input's lists decides something");

    let mut settings = insta::Settings::clone_current();
    settings.set_snapshot_path(path.parent().expect("a scenario is in a folder"));
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    settings.set_description(scenario.why());
    let name = path.file_stem().expect("a scenario has a name").to_string_lossy().into_owned();
    settings.bind(|| insta::assert_snapshot!(name, decided));
    Ok(())
}

/// What is decided: which machines go for a scenario of `disruption/`, what is explained for one of `explain/`, otherwise
/// where the pods go.
fn decision_of(scenario: &Scenario, path: &Path, pods_reversed: bool) -> Result<String, String> {
    let catalogs = Path::new(env!("CARGO_MANIFEST_DIR")).join("catalogs");
    let catalog = read(&catalogs.join(scenario.catalog_name()).with_extension("yaml"))?;
    let mut world = scenario.world(&catalog).map_err(|error| error.to_string())?;
    if pods_reversed {
        // Replicas come in order whatever the order of the file.
        world.snapshot.pending.reverse();
    }
    if let Some(what) = scenario.explain() {
        return explanation_of(what, &world);
    }
    let disrupts = path.components().any(|folder| folder.as_os_str() == "disruption");
    Ok(if disrupts { disruption_of(&world) } else { scheduling_of(&world) })
}

fn explanation_of(what: &str, World { snapshot, catalog, .. }: &World) -> Result<String, String> {
    let catalog = &IndexedCatalog::new(catalog.clone());
    let found = match what.split_once(' ') {
        Some(("node", name)) => node_explained(&DisruptionInput { snapshot, catalog, running: &[] }, name),
        Some(("pod", name)) => pod_explained(snapshot, catalog, &PodKey::new("default", name)),
        _ => None,
    };
    found.ok_or_else(|| format!("`explain: {what}`: there is no such node or pod"))
}

fn scheduling_of(World { snapshot, catalog, .. }: &World) -> String {
    let (prepared, pods) = (Prepared::new(snapshot, catalog), pods_to_provision(snapshot));
    let input = SchedulingInput::new(&prepared, &pods);
    let results = solve(&input);
    let wrong = violations(&input, &results);
    assert!(wrong.is_empty(), "the decision breaks rules: {wrong:#?}");
    scheduling_text(&results, snapshot, catalog)
}

fn disruption_of(World { snapshot, catalog, .. }: &World) -> String {
    let catalog = &IndexedCatalog::new(catalog.clone());
    disruption_text(&decide(&DisruptionInput { snapshot, catalog, running: &[] }), snapshot)
}

fn read(path: &Path) -> Result<String, String> {
    fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))
}
