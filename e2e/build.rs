//! Scenario files are read when the tests are compiled: a new file must compile them again.

fn main() {
    println!("cargo::rerun-if-changed=scenarios");
}
