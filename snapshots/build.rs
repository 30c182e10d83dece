//! A new scenario is a new test: which files there are is read when the tests are compiled.

#[expect(clippy::print_stdout, reason = "build scripts speak to cargo through standard output")]
fn main() {
    for folder in ["scheduling", "disruption", "catalogs"] {
        println!("cargo::rerun-if-changed={folder}");
    }
}
