//! A new scenario is a new test: which files there are is read when the tests are compiled.

fn main() {
    for folder in ["scheduling", "disruption", "explain", "catalogs"] {
        println!("cargo::rerun-if-changed={folder}");
    }
}
