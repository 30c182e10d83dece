//! What is aimed at. A goal that is met is held to; one that is not yet is told.

use crate::{
    cost::Figures,
    disruption,
    speed::{Measured, Row},
    standstill::Totals,
    statistics::{greatest, quantile},
};
use sawhorse_problems::Mix;

/// A figure and the most that it should be.
struct Goal {
    what: &'static str,
    value: Option<f64>,
    most: f64,
}

/// Goals for the figures of plain pods, host ports, the families with a tight bound, and all.
pub(crate) fn cost([plain, ports, tight, all]: &[Figures; 4]) {
    let goals = [
        goal("plain pods: price ÷ bound at the median", quantile(&plain.gaps, 50), 1.03),
        goal("host ports: price ÷ bound at the median", quantile(&ports.gaps, 50), 1.03),
        goal("families with a tight bound: price ÷ bound at the median", quantile(&tight.gaps, 50), 1.05),
        goal("families with a tight bound: price ÷ bound at p90", quantile(&tight.gaps, 90), 1.20),
        goal("all families: price ÷ the reference's at most", greatest(&all.beside), 1.0 + 1e-9),
        goal("all families: price ÷ the reference's in sum", all.beside_of_sums, 0.60),
    ];
    tell(&goals);
}

/// Goals for large problems.
pub(crate) fn speed(rows: &[Row]) {
    let named = |name: &str| rows.iter().find(|row| row.speed.name() == name);
    let seconds = |name: &str| named(name).map(|row| row.ours.seconds);
    let mixed = |of: fn(&Row) -> &Measured| -> Vec<f64> {
        let mixed = rows.iter().filter(|row| row.speed.mix == Mix::Mixed);
        mixed.map(|row| 1e6 / of(row).pods_per_second()).collect()
    };
    let largest: Vec<f64> = rows.iter().filter(|row| row.speed.pods == 50_000).map(|row| row.ours.seconds).collect();
    let megabytes =
        |bytes: fn(&Measured) -> u64| -> Vec<f64> { rows.iter().map(|row| bytes(&row.ours) as f64 / 1e6).collect() };
    let preferring = seconds("preferences-4000x400").zip(seconds("plain-4000x400"));
    let ratio = named("mixed-5000x400").and_then(Row::ratio);
    let first_ratio = named("mixed-5000x400").and_then(Row::first_ratio);
    tell(&[
        goal("5,000 mixed pods: part of the reference's time, in percent", ratio.map(|ratio| 100.0 / ratio), 1.0),
        goal("5,000 mixed pods: as before, of the first answer", first_ratio.map(|ratio| 100.0 / ratio), 1.0),
        goal("mixed pods: microseconds per pod (20,000 pods/s)", greatest(&mixed(|row| &row.ours)), 50.0),
        goal("mixed pods: as before, of the first answer", greatest(&mixed(|row| &row.first)), 50.0),
        goal("50,000 pods: seconds", greatest(&largest), 5.0),
        goal("peak memory: MB", greatest(&megabytes(|own| own.peak)), 300.0),
        goal("peak memory beyond the objects that are given: MB", greatest(&megabytes(Measured::taken)), 300.0),
        goal("pods with preferences: times those without", preferring.map(|(with, without)| with / without), 2.0),
    ]);
}

/// Goals for clusters that stand.
pub(crate) fn disruption(rows: &[disruption::Row]) {
    let largest = |nodes: u64, of: fn(&disruption::Ours) -> f64| {
        let own: Vec<f64> = rows.iter().filter(|row| row.standing.nodes == nodes).map(|row| of(&row.ours)).collect();
        greatest(&own)
    };
    let seconds = |millis: Option<f64>| millis.map(|millis| millis / 1e3);
    tell(&[
        goal("1,000 nodes, 30,000 pods: one simulation, mean, ms", largest(1_000, |own| own.simulation), 5.0),
        goal("1,000 nodes, 30,000 pods: one simulation, slowest, ms", largest(1_000, |own| own.slowest), 5.0),
        goal("1,000 nodes: every one by itself, seconds", seconds(largest(1_000, |own| own.ready + own.scan)), 5.0),
        goal(
            "5,000 nodes, 100,000 pods: every one by itself, seconds",
            seconds(largest(5_000, |own| own.ready + own.scan)),
            60.0,
        ),
        goal("1,000 nodes: several together, seconds", seconds(largest(1_000, |own| own.ready + own.several)), 5.0),
    ]);
}

/// Goals for clusters at a standstill.
pub(crate) fn standstill(totals: &Totals) {
    let fewer = totals.per_dollar.zip(totals.their_per_dollar).map(|(ours, theirs)| ours / theirs);
    tell(&[
        goal("price at the standstill ÷ bound at the median", quantile(&totals.ours, 50), 1.15),
        goal("price at the standstill ÷ the reference's at most", greatest(&totals.beside), 1.0 + 1e-9),
        goal("evictions per dollar saved ÷ the reference's", fewer, 1.0),
    ]);
}

fn goal(what: &'static str, value: Option<f64>, most: f64) -> Goal {
    Goal { what, value, most }
}

fn tell(goals: &[Goal]) {
    for &Goal { what, value, most } in goals {
        match value {
            None => println!("goal not measured: {what} ≤ {most:.2}"),
            Some(value) if value <= most => println!("goal met: {what} {value:.3} ≤ {most:.2}"),
            Some(value) => println!("goal not met: {what} {value:.3} > {most:.2}"),
        }
    }
}
