//! The documentation shows the differences from the real programs that the tests know, all of them and no others.

#![expect(clippy::unwrap_used, reason = "clippy takes only the test functions themselves for tests, not their helpers")]

#[path = "shared/explained.rs"]
mod shared;

use rstest::rstest;
use shared::Explained;

/// The rows of all tables of a document, without their heads.
fn shown(document: &str) -> Vec<&str> {
    let lines: Vec<&str> = document.lines().collect();
    let is_row = |line: &str| line.starts_with("| ");
    let rows = lines.windows(2).filter(|pair| is_row(pair[1]) && pair[0].starts_with('|'));
    rows.map(|pair| pair[1]).collect()
}

#[rstest]
#[case::api_server(
    &[include_str!("differential/explained.yaml"), include_str!("kubectl/explained.yaml")],
    include_str!("../../docs/api-server.md")
)]
#[case::scheduler(&[include_str!("kube_scheduler/explained.yaml")], include_str!("../../docs/scheduler.md"))]
fn the_documentation_shows_what_is_explained(#[case] files: &[&str], #[case] document: &str) {
    let rows: Vec<String> = files.iter().flat_map(|file| Explained::read(file).rows()).collect();
    assert_eq!(shown(document), rows, "the tables of the document and explained.yaml differ");
}

#[test]
fn what_is_explained_is_left_out_on_both_sides() {
    let explained = Explained::read(
        "[{asked: get, real: 'a.*', embedded: 'b\\nc', what: x, because: so it is}, {asked: other, real: x, what: y, because: z}, \
         {asked: third, real: x, what: v, because: w, seldom: true}]",
    );
    assert!(explained.cover_lines("flow: get", "same\na lot", "same\nb\nc"));
    assert!(!explained.cover_lines("flow: get", "same\na lot", "same\nd"));
    assert!(explained.covers("get", "a lot", "b\nc") && !explained.covers("put", "a lot", "b\nc"));
    assert_eq!(explained.unused(), ["y"]);
}
