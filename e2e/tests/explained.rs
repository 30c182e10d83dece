//! `docs/api-server.md` shows the differences from the real API server that `tests/differential` knows, all of them and no others.

use serde::Deserialize;

#[derive(Deserialize)]
struct Explanation {
    what: String,
    because: String,
}

#[test]
fn the_documentation_shows_what_is_explained() {
    let explained: Vec<Explanation> =
        serde_saphyr::from_str(include_str!("differential/explained.yaml")).expect("the file is well-formed");
    let rows = explained.iter().map(|Explanation { what, because }| format!("| {what} | {because} |"));
    let shown = include_str!("../../docs/api-server.md").lines().filter(|line| line.starts_with("| "));
    // The first line is the table's head.
    let shown: Vec<&str> = shown.skip(1).collect();
    assert_eq!(shown, rows.collect::<Vec<_>>(), "the table of docs/api-server.md and explained.yaml differ");
}
