//! A second look before anything is done (spec core 4.7, Validation).

use super::{
    Candidate, Command, Method, WhyKept,
    consolidation::{self, Look},
    decide::{DisruptionInput, Pass},
    emptiness,
    orchestration::done_ahead,
    replacement::is_covered,
    simulate::Simulation,
};
use crate::{model::NodePoolName, scheduling::Effort};
use std::{collections::BTreeMap, fmt};

/// Why a command is given up.
#[derive(Clone, Debug, PartialEq)]
pub enum Rejected {
    /// The budgets no longer allow it.
    Budget(NodePoolName),
    /// The pods would no longer go where they were to go.
    Scheduling(Option<WhyKept>),
    /// A machine is no longer to be disrupted.
    Churn {
        /// The machine's Node.
        node: String,
        /// Why.
        why: WhyKept,
    },
}

impl Rejected {
    /// The value of the metric label, and the word in the event.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Budget(_) => "budget",
            Self::Scheduling(_) => "scheduling",
            Self::Churn { .. } => "churn",
        }
    }
}

impl fmt::Display for Rejected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Budget(pool) => write!(f, "the budgets of NodePool `{pool}` no longer allow it"),
            Self::Scheduling(None) => f.write_str("the pods would now need other machines"),
            Self::Scheduling(Some(why)) => write!(f, "the pods no longer find a place: {why}"),
            Self::Churn { node, why } => write!(f, "node `{node}` is to be kept now: {why}"),
        }
    }
}

/// Looks at `command` again; returns it as it should be done now. Of empty machines those that still are go; of a
/// consolidation all or none.
///
/// # Errors
/// Why it is to be given up.
pub fn revalidate(command: &Command, input: &DisruptionInput<'_>) -> Result<Command, Rejected> {
    let ahead = done_ahead(input.snapshot, input.running, Some(&command.id));
    let snapshot = ahead.as_ref().unwrap_or(input.snapshot);
    let mut pass = Pass::new(&DisruptionInput { snapshot, ..*input }, Some(&command.id));
    match command.method {
        Method::Emptiness => still_empty(command, &pass),
        Method::StaticScaleDown | Method::Repair | Method::Expiration | Method::Drift => Ok(command.clone()),
        Method::MultiNodeConsolidation | Method::SingleNodeConsolidation => still_worth_it(command, &mut pass),
    }
}

fn still_empty(command: &Command, pass: &Pass<'_>) -> Result<Command, Rejected> {
    let mut taken: BTreeMap<NodePoolName, u32> = BTreeMap::new();
    let mut first = None;
    let mut chosen = Vec::new();
    for candidate in &command.candidates {
        match empty_now(candidate, pass, &chosen, &mut taken) {
            Ok(candidate) => chosen.push(candidate),
            Err(rejected) => first = first.or(Some(rejected)),
        }
    }
    match (chosen.is_empty(), first) {
        (true, Some(rejected)) => Err(rejected),
        (_, _) => Ok(Command { candidates: chosen, ..command.clone() }),
    }
}

fn empty_now(
    candidate: &Candidate,
    pass: &Pass<'_>,
    chosen: &[Candidate],
    taken: &mut BTreeMap<NodePoolName, u32>,
) -> Result<Candidate, Rejected> {
    let now = current(candidate, pass)?;
    let churn = |why| Rejected::Churn { node: now.node.to_string(), why };
    if !now.cost.is_empty() {
        return Err(churn(WhyKept::Settling));
    }
    let objection = emptiness::objection(&now, pass.input.snapshot);
    if let Some(why) = objection.or_else(|| emptiness::keeps_room(&now, chosen, pass)) {
        return Err(churn(why));
    }
    within_budget(&now, pass, Method::Emptiness, taken)?;
    Ok(now)
}

fn still_worth_it(command: &Command, pass: &mut Pass<'_>) -> Result<Command, Rejected> {
    let mut taken: BTreeMap<NodePoolName, u32> = BTreeMap::new();
    let mut candidates = Vec::with_capacity(command.candidates.len());
    for candidate in &command.candidates {
        let now = current(candidate, pass)?;
        if let Some(why) = consolidation::objection(&now, pass.input.snapshot, pass.catalog()) {
            return Err(Rejected::Churn { node: now.node.to_string(), why });
        }
        within_budget(&now, pass, command.method, &mut taken)?;
        candidates.push(now);
    }
    let together: Vec<&Candidate> = candidates.iter().collect();
    let is_same = |simulated: &Simulation| {
        let same_number = simulated.planned.len() == command.replacements.len();
        same_number && is_covered(&command.replacements, &simulated.planned)
    };
    let refused = |why| Rejected::Scheduling(Some(why));
    for effort in efforts(&together, command.method) {
        let simulated = pass.simulator().without(&together, effort).map_err(refused)?;
        if is_same(&simulated) {
            return Ok(Command { candidates, moves: simulated.moves, ..command.clone() });
        }
    }
    Err(Rejected::Scheduling(None))
}

/// How hard was looked, one after the other, for what a consolidation came to.
fn efforts(candidates: &[&Candidate], method: Method) -> Vec<Effort> {
    let several = method == Method::MultiNodeConsolidation;
    let looks: &[Look] = if several { &[Look::Run, Look::Few] } else { &[Look::Single] };
    let first = looks.iter().map(|look| consolidation::effort(candidates, *look));
    first.chain([Effort::Thorough]).collect()
}

/// The candidate as it is now.
fn current(candidate: &Candidate, pass: &Pass<'_>) -> Result<Candidate, Rejected> {
    let found = pass.survey.candidates.iter().find(|own| own.node_claim == candidate.node_claim);
    found.cloned().ok_or_else(|| {
        let why = pass.survey.kept.get(candidate.node.as_str()).cloned().unwrap_or(WhyKept::GoingAway);
        Rejected::Churn { node: candidate.node.to_string(), why }
    })
}

fn within_budget(
    candidate: &Candidate,
    pass: &Pass<'_>,
    method: Method,
    taken: &mut BTreeMap<NodePoolName, u32>,
) -> Result<(), Rejected> {
    let taken = taken.entry(candidate.node_pool.clone()).or_default();
    *taken += 1;
    let left = pass.budgets.left(&candidate.node_pool, method.reason());
    if *taken > left { Err(Rejected::Budget(candidate.node_pool.clone())) } else { Ok(()) }
}
