//! The least that the planned pods can cost: a proof that needs no linear program.
//!
//! Weigh the resources of every type `T` with weights that add up to one, and charge a pod on `T` the price of `T` times the
//! weighted share of `T` that it takes. The pods of one machine take at most the whole of each resource, so their charges add up
//! to at most its price. A pod's least charge over all types that will do, added up over pods, is therefore at most the price of
//! any set of machines that holds them. Any weights give a valid bound; the largest over a grid of weights is returned. Types
//! with resources that others lack (GPUs) get weights of their own.

use super::super::{Prepared, Results, SchedulingInput, classes::Classes, scopes::Scopes};
use crate::model::{CPU, EPHEMERAL_STORAGE, MEMORY, PODS, Price};
use k8s_openapi::api::core::v1::Pod;
use std::sync::Arc;

/// How finely the weights of CPU and memory are varied.
const STEPS: u32 = 16;
/// Weights given to resources that are not on every machine, where a type has some that are asked for.
const RARE_WEIGHTS: [f64; 5] = [0.0, 0.5, 0.8, 0.95, 1.0];
/// With more classes than this the grid is coarser, so that the bound takes no longer than the solve.
const MANY_CLASSES: usize = 2_000;

/// No set of machines from the input's pools that holds the pods of `results.planned` costs less per hour than this. What pods
/// ask of one another, limits and `minValues` are not looked at.
pub fn lower_bound(input: &SchedulingInput<'_>, results: &Results) -> Price {
    let pods: Vec<Arc<Pod>> = results.planned.iter().flat_map(|planned| planned.pods.iter().cloned()).collect();
    let classes = Classes::of(&pods, input.prepared);
    let choices = choices(input.prepared, &classes);
    let steps = if classes.list.len() > MANY_CLASSES { STEPS / 4 } else { STEPS };
    let weights = (0..=steps).flat_map(|step| RARE_WEIGHTS.map(|rare| (f64::from(step) / f64::from(steps), rare)));
    let best = weights.map(|(cpu, rare)| bound(&choices, cpu, rare)).fold(0.0, f64::max);
    // Sums of floating-point numbers may err upwards in their last digits; a bound must not.
    Price::from_nanos((best * (1.0 - 1e-9)) as i64)
}

/// A class of pods with the types that will do.
struct Choice {
    count: f64,
    options: Vec<Shares>,
}

/// The price of a type in nano-dollars and the shares of it that one pod takes.
struct Shares {
    price: f64,
    cpu: f64,
    memory: f64,
    rare: f64,
    has_rare: bool,
}

fn choices(prepared: &Prepared<'_>, classes: &Classes) -> Vec<Choice> {
    let mut scopes = Scopes::new(prepared, true);
    let position = |name: &str| prepared.dimensions.position(name);
    let (cpu, memory) = (position(CPU), position(MEMORY));
    let usual = [CPU, MEMORY, PODS, EPHEMERAL_STORAGE].map(position);
    let asked = |dimension: &usize| {
        classes.list.iter().any(|class| class.request.as_ref().is_some_and(|own| own[*dimension] > 0))
    };
    let rare: Vec<usize> =
        (0..prepared.dimensions.len()).filter(|dimension| !usual.contains(&Some(*dimension))).filter(asked).collect();
    let mut all = Vec::new();
    for class in &classes.list {
        let Some(request) = &class.request else { continue };
        let mut options = Vec::new();
        for pool in 0..prepared.pools.len() {
            // The last level asks least, so it bounds the others too.
            for shape in class.levels.last().into_iter().flatten() {
                let Ok(scope) = scopes.of_shape(*shape, &classes.shapes, pool) else { continue };
                let scope = scopes.get(scope);
                for kind in scope.types() {
                    let room = &prepared.pools[pool].types[kind].room;
                    let fits = request.iter().zip(room).all(|(asked, there)| *asked <= 0 || asked <= there);
                    let Some(price) = scope.price(kind).filter(|_| fits) else { continue };
                    let share = |dimension: usize| request[dimension] as f64 / room[dimension].max(1) as f64;
                    let present: Vec<usize> = rare.iter().copied().filter(|dimension| room[*dimension] > 0).collect();
                    options.push(Shares {
                        price: price.nanos() as f64,
                        cpu: cpu.map_or(0.0, share),
                        memory: memory.map_or(0.0, share),
                        // The rare resources of a type share their weight equally.
                        rare: present.iter().map(|dimension| share(*dimension)).sum::<f64>()
                            / present.len().max(1) as f64,
                        has_rare: !present.is_empty(),
                    });
                }
            }
        }
        all.push(Choice { count: f64::from(class.count()), options });
    }
    all
}

fn bound(choices: &[Choice], cpu: f64, rare: f64) -> f64 {
    let charge = |shares: &Shares| {
        let rare = if shares.has_rare { rare } else { 0.0 };
        let usual = cpu * shares.cpu + (1.0 - cpu) * shares.memory;
        shares.price * ((1.0 - rare) * usual + rare * shares.rare)
    };
    let least = |choice: &Choice| choice.options.iter().map(charge).fold(f64::INFINITY, f64::min);
    choices
        .iter()
        .map(|choice| (choice, least(choice)))
        .filter(|(_, least)| least.is_finite())
        .map(|(choice, least)| choice.count * least)
        .sum()
}
