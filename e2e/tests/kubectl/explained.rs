//! Where the embedded control plane is known to print something else than the real one.

use super::flow::Step;
use regex::Regex;
use serde::Deserialize;
use std::cell::Cell;

/// The known differences.
#[derive(Deserialize)]
pub(crate) struct Explained(Vec<Explanation>);

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Explanation {
    /// The flow; all if not given.
    flow: Option<String>,
    /// Part of the command.
    command: String,
    /// What the real one prints: a pattern for whole lines, which may be several.
    #[serde(default)]
    real: String,
    /// What the embedded one prints in its place.
    #[serde(default)]
    embedded: String,
    /// Why that is meant.
    because: Option<String>,
    /// Or what it does wrong, and has yet to be put right.
    wrong: Option<String>,
    #[serde(skip)]
    used: Cell<bool>,
}

impl Explained {
    pub(crate) fn read(text: &str) -> Self {
        let all: Self = serde_saphyr::from_str(text).unwrap();
        assert!(all.0.iter().all(|it| it.because.is_some() != it.wrong.is_some()), "each has one reason");
        all
    }

    /// Whether the embedded control plane may print `ours` where the real one prints what the flow says.
    pub(crate) fn explains(&self, flow: &str, theirs: &Step, ours: &Step) -> bool {
        let about = |it: &&Explanation| {
            it.flow.as_deref().is_none_or(|name| name == flow) && theirs.command.contains(&it.command)
        };
        let [mut theirs, mut ours] = [theirs, ours].map(|step| step.told.join("\n"));
        for it in self.0.iter().filter(about) {
            let (real, embedded) = (lines(&it.real), lines(&it.embedded));
            if real.as_ref().is_none_or(|real| real.is_match(&theirs))
                && embedded.as_ref().is_none_or(|embedded| embedded.is_match(&ours))
            {
                it.used.set(true);
                theirs = without(real.as_ref(), &theirs);
                ours = without(embedded.as_ref(), &ours);
            }
        }
        theirs == ours
    }

    /// Those that explained nothing: what they were for has been put right.
    pub(crate) fn unused(&self) -> Vec<&str> {
        let unused = self.0.iter().filter(|it| !it.used.get());
        unused.filter_map(|it| it.because.as_deref().or(it.wrong.as_deref())).collect()
    }
}

fn lines(pattern: &str) -> Option<Regex> {
    (!pattern.is_empty()).then(|| Regex::new(&format!("(?m)^(?:{})$\\n?", pattern.trim_end())).unwrap())
}

fn without(pattern: Option<&Regex>, text: &str) -> String {
    let rest = pattern.map_or_else(|| text.to_owned(), |pattern| pattern.replace_all(text, "").into_owned());
    rest.trim_end().to_owned()
}

#[test]
fn what_is_explained_is_left_out_on_both_sides() {
    let explained = Explained::read(
        "[{command: get, real: 'a.*', embedded: 'b\\nc', because: so it is}, {command: other, real: x, wrong: not yet}]",
    );
    let step = |told: &[&str]| Step {
        command: "kubectl get".to_owned(),
        told: told.iter().map(|line| (*line).to_owned()).collect(),
    };
    assert!(explained.explains("flow", &step(&["same", "a lot"]), &step(&["same", "b", "c"])));
    assert!(!explained.explains("flow", &step(&["same", "a lot"]), &step(&["same", "d"])));
    assert_eq!(explained.unused(), ["not yet"]);
}
