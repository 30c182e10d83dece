//! A set of stages, compiled once, and the choice among them.

use super::{
    StageError,
    api::{Next, Stage, StagePatch, Step},
    delay::{CompiledDelay, CompiledWeight, Window},
    select::Matcher,
    steps::CompiledStep,
};
use jiff::Timestamp;
use sawhorse_ambient::Stream;
use serde_json::Value;
use std::{collections::BTreeMap, fmt, sync::Arc};

/// A kind of object as stages refer to it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ResourceKind {
    /// Group and version: `v1`, `apps/v1`.
    pub api_version: String,
    /// The kind.
    pub kind: String,
}

impl ResourceKind {
    /// A kind of the core group.
    pub fn core(kind: &str) -> Self {
        Self { api_version: "v1".to_owned(), kind: kind.to_owned() }
    }
}

/// Stages by the kind that they are about, in the order given.
#[derive(Default)]
pub struct Lifecycle {
    kinds: BTreeMap<ResourceKind, Vec<Arc<CompiledStage>>>,
}

/// One stage, compiled.
pub struct CompiledStage {
    name: String,
    matcher: Matcher,
    weight: CompiledWeight,
    delay: Option<CompiledDelay>,
    pub(super) steps: Vec<CompiledStep>,
    immediate_next_stage: bool,
}

/// The stage that comes next and within which time.
#[derive(Clone, Debug)]
pub struct Chosen {
    /// The stage.
    pub stage: Arc<CompiledStage>,
    /// Within which time; draw from it with [`Window::due`].
    pub window: Window,
}

/// An object that no stage can be chosen for because a condition failed to evaluate.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("stage `{stage}`: {problem}")]
pub struct MatchError {
    /// The stage whose condition failed.
    pub stage: String,
    /// What went wrong.
    pub problem: String,
}

impl Lifecycle {
    /// Compiles `stages`; one without a selector is dropped, as in KWOK.
    ///
    /// # Errors
    /// [`StageError`] names the stage and the field that cannot work.
    pub fn compile(stages: &[Stage]) -> Result<Self, StageError> {
        let mut kinds: BTreeMap<ResourceKind, Vec<Arc<CompiledStage>>> = BTreeMap::new();
        for stage in stages {
            if let Some(compiled) = CompiledStage::compile(stage)? {
                let about = &stage.spec.resource_ref;
                let kind = ResourceKind { api_version: about.api_group.clone(), kind: about.kind.clone() };
                kinds.entry(kind).or_default().push(Arc::new(compiled));
            }
        }
        Ok(Self { kinds })
    }

    /// The kinds that there are stages for.
    pub fn kinds(&self) -> impl Iterator<Item = &ResourceKind> {
        self.kinds.keys()
    }

    /// The stage that applies to `object`, which is of `kind`; none if no stage does. Where several apply, weights decide.
    ///
    /// # Errors
    /// [`MatchError`] if a CEL condition fails; the object is then left alone until it changes.
    pub fn choose(
        &self,
        kind: &ResourceKind,
        object: &Value,
        now: Timestamp,
        draws: &mut Stream,
    ) -> Result<Option<Chosen>, MatchError> {
        let matching = self.matching(kind, object, now, draws)?;
        let chosen = match matching.as_slice() {
            [] => return Ok(None),
            [only] => only,
            several => {
                let weights: Vec<_> = several.iter().map(|stage| stage.weight(object, now, draws)).collect();
                &several[draw_by_weight(&weights, draws)]
            }
        };
        Ok(Some(Chosen { stage: Arc::clone(chosen), window: chosen.window(object, now, draws) }))
    }

    /// Every stage that applies to `object`, in the order in which they were given.
    ///
    /// # Errors
    /// [`MatchError`] if a CEL condition fails.
    pub fn matching(
        &self,
        kind: &ResourceKind,
        object: &Value,
        now: Timestamp,
        draws: &Stream,
    ) -> Result<Vec<Arc<CompiledStage>>, MatchError> {
        let mut matching = Vec::new();
        for stage in self.kinds.get(kind).into_iter().flatten() {
            let matches = stage.matcher.matches(object, now, draws);
            if matches.map_err(|problem| MatchError { stage: stage.name.clone(), problem })? {
                matching.push(Arc::clone(stage));
            }
        }
        Ok(matching)
    }
}

/// Which of several: uniformly if no weight could be read; uniformly among the readable if they sum to nothing; else by weight.
fn draw_by_weight(weights: &[Option<i64>], draws: &mut Stream) -> usize {
    let total: u64 = weights.iter().flatten().map(|weight| weight.unsigned_abs()).sum();
    let readable = weights.iter().any(Option::is_some);
    let share = |weight: &Option<i64>| match weight {
        None => u64::from(!readable),
        Some(_) if total == 0 => 1,
        Some(weight) => weight.unsigned_abs(),
    };
    let mut left = draws.below(weights.iter().map(share).sum());
    for (index, weight) in weights.iter().enumerate() {
        match left.checked_sub(share(weight)) {
            Some(rest) => left = rest,
            None => return index,
        }
    }
    weights.len() - 1
}

impl CompiledStage {
    fn compile(stage: &Stage) -> Result<Option<Self>, StageError> {
        let name = stage.metadata.name.clone().unwrap_or_default();
        let spec = &stage.spec;
        if spec.resource_ref.kind.is_empty() {
            return Err(StageError::invalid(&name, "spec.resourceRef.kind", "is empty: name a kind such as `Pod`"));
        }
        let Some(selector) = &spec.selector else { return Ok(None) };
        let steps = match (&spec.next, spec.steps.is_empty()) {
            (Some(next), true) => steps_of(next),
            _ => spec.steps.clone(),
        };
        let steps = steps.iter().enumerate().map(|(index, step)| CompiledStep::compile(&name, index, step));
        Ok(Some(Self {
            matcher: Matcher::compile(&name, selector)?,
            weight: CompiledWeight::compile(&name, spec.weight, spec.weight_from.as_ref())?,
            delay: spec.delay.as_ref().map(|delay| CompiledDelay::compile(&name, delay)).transpose()?,
            steps: steps.collect::<Result<_, _>>()?,
            immediate_next_stage: spec.immediate_next_stage,
            name,
        }))
    }

    /// The stage's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its share among others for `object`; none if that cannot be read.
    pub fn weight(&self, object: &Value, now: Timestamp, draws: &Stream) -> Option<i64> {
        self.weight.of(object, now, draws)
    }

    /// Within which time it happens to `object` if it is chosen now.
    pub fn window(&self, object: &Value, now: Timestamp, draws: &Stream) -> Window {
        self.delay.as_ref().map_or(Window::NOW, |delay| delay.window(object, now, draws))
    }

    /// Whether its result is looked at again at once.
    pub fn immediate_next_stage(&self) -> bool {
        self.immediate_next_stage
    }
}

impl fmt::Debug for CompiledStage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CompiledStage").field("name", &self.name).finish_non_exhaustive()
    }
}

/// The older form as steps (spec kwok 2): event, finalizers, patches or else the status template, deletion.
fn steps_of(next: &Next) -> Vec<Step> {
    let status = next.status_template.as_ref().map(|template| StagePatch {
        subresource: next.status_subresource.clone().unwrap_or_else(|| "status".to_owned()),
        root: "status".to_owned(),
        template: template.clone(),
        kind: None,
        impersonation: next.status_patch_as.clone(),
    });
    let patches = if next.patches.is_empty() { status.into_iter().collect() } else { next.patches.clone() };
    let mut steps = Vec::new();
    steps.extend(next.event.clone().map(|event| Step { event: Some(event), ..Step::default() }));
    steps.extend(next.finalizers.clone().map(|finalizers| Step { finalizers: Some(finalizers), ..Step::default() }));
    steps.extend(patches.into_iter().map(|patch| Step { patch: Some(patch), ..Step::default() }));
    steps.extend(next.delete.then(|| Step { delete: true, ..Step::default() }));
    steps
}

#[cfg(test)]
mod tests {
    use super::draw_by_weight;
    use rstest::rstest;
    use sawhorse_ambient::Seed;

    #[rstest]
    #[case::all_unreadable(&[None, None], &[(0, 400), (1, 400)])]
    #[case::no_weight_at_all(&[Some(0), Some(0)], &[(0, 400), (1, 400)])]
    #[case::only_readable_ones(&[None, Some(0)], &[(1, 1_000)])]
    #[case::by_weight(&[Some(1), Some(9), Some(0), None], &[(0, 60), (1, 850)])]
    fn weights_decide(#[case] weights: &[Option<i64>], #[case] at_least: &[(usize, usize)]) {
        let mut draws = Seed(3).stream(&["weights"]);
        let drawn: Vec<usize> = (0..1_000).map(|_| draw_by_weight(weights, &mut draws)).collect();
        let counts: Vec<usize> =
            at_least.iter().map(|(index, _)| drawn.iter().filter(|d| *d == index).count()).collect();
        assert_eq!(counts.iter().sum::<usize>(), 1_000, "nothing else is drawn");
        assert!(counts.iter().zip(at_least).all(|(count, (_, least))| count >= least), "{counts:?}");
    }
}
