//! Generated problems are read, solved and checked, and none is answered below the bound.

use k8s_openapi::api::core::v1::Pod;
use rstest::rstest;
use sawhorse_core::{
    check::violations,
    model::Price,
    scheduling::{Prepared, SchedulingInput, solve, tight_lower_bound},
    solve::Problem,
};
use sawhorse_problems::{Family, Speed};
use std::sync::Arc;

/// What the core makes of a problem, by rules that it breaks none of.
struct Decided {
    pods: usize,
    placed: usize,
    price: Price,
    bound: Price,
}

fn decide(problem: &sawhorse_problems::Problem) -> Decided {
    let read = Problem::read(&problem.input.to_string()).expect("a generated problem is one that can be read");
    let prepared = Prepared::new(&read.snapshot, &read.catalog);
    let pods = read.to_place();
    let input = SchedulingInput::new(&prepared, &pods);
    let results = solve(&input);
    assert_eq!(violations(&input, &results), []);
    let placed: Vec<Arc<Pod>> = results.placed().cloned().collect();
    let bound = tight_lower_bound(&input, &placed);
    Decided { pods: pods.len(), placed: placed.len(), price: results.total_price(), bound }
}

#[rstest]
#[case(Family::Plain)]
#[case(Family::Selectors)]
#[case(Family::Spread)]
#[case(Family::Affinity)]
#[case(Family::Pools)]
#[case(Family::Ports)]
#[case(Family::Nodes)]
#[case(Family::Mixture)]
fn a_generated_problem_has_a_right_answer_that_is_not_below_the_bound(#[case] family: Family) {
    let problem = family.problem(1);
    assert_eq!(sawhorse_problems::Problem::named(&problem.name).unwrap().input, problem.input);
    let decided = decide(&problem);
    assert!(decided.placed * 10 >= decided.pods * 9, "{} of {}", decided.placed, decided.pods);
    assert!(decided.bound <= decided.price);
}

#[test]
fn a_large_problem_has_what_its_name_says() {
    let speed = Speed::all().into_iter().find(|speed| speed.name() == "nodes-5000x400").unwrap();
    let input = speed.problem().input;
    let count = |list: &str| input[list].as_array().unwrap().len();
    assert_eq!((count("pods"), count("instanceTypes"), count("nodes")), (5_000, 400, 1_000));
    assert!(input["nodes"].as_array().unwrap().iter().all(|node| node["pods"].as_array().unwrap().len() == 30));
}

/// Where the most that a machine can hold is not found, only a bound of it is known, and that of the price is as far off.
#[test]
fn the_bound_is_near_the_price_where_machines_are_hard_to_fill() {
    let Decided { price, bound, .. } = decide(&sawhorse_problems::Problem::named("plain-3").unwrap());
    assert!(bound.dollars() * 1.05 >= price.dollars(), "{price} is far above {bound}");
}
