//! What is aimed at. A goal that is met is held to; one that is not yet is told.

use crate::{
    cost::Figures,
    statistics::{greatest, quantile},
};

/// A figure and the most that it should be.
struct Goal {
    what: &'static str,
    value: Option<f64>,
    most: f64,
}

/// Goals for the figures of plain pods, host ports, the families with a tight bound, and all.
pub(crate) fn cost([plain, ports, tight, all]: &[Figures; 4]) {
    let goal = |what, value, most| Goal { what, value, most };
    let goals = [
        goal("plain pods: price ÷ bound at the median", quantile(&plain.gaps, 50), 1.03),
        goal("host ports: price ÷ bound at the median", quantile(&ports.gaps, 50), 1.03),
        goal("families with a tight bound: price ÷ bound at the median", quantile(&tight.gaps, 50), 1.05),
        goal("families with a tight bound: price ÷ bound at p90", quantile(&tight.gaps, 90), 1.20),
        goal("all families: price ÷ the reference's at most", greatest(&all.beside), 1.0 + 1e-9),
        goal("all families: price ÷ the reference's in sum", all.beside_of_sums, 0.60),
    ];
    for Goal { what, value, most } in goals {
        match value {
            None => println!("goal not measured: {what} ≤ {most:.2}"),
            Some(value) if value <= most => println!("goal met: {what} {value:.3} ≤ {most:.2}"),
            Some(value) => println!("goal not met: {what} {value:.3} > {most:.2}"),
        }
    }
}
