//! A run as one HTML file (`--report`): figures, plots over virtual time, calls and the timeline. It needs no other file.

use crate::{
    run::Outcome,
    summary::{dollars, short},
    timeline::timeline,
};
use maud::{DOCTYPE, Markup, PreEscaped, html};
use plotters::{
    prelude::{ChartBuilder, IntoDrawingArea, LineSeries, PathElement, RGBColor, SVGBackend, WHITE},
    series::DashedLineSeries,
};
use serde::Serialize;
use std::time::Duration;

/// Width and height of a plot, in pixels.
const PLOT: (u32, u32) = (920, 260);
/// Colours that people who see few colours tell apart.
const COLOURS: [RGBColor; 3] = [RGBColor(0, 114, 178), RGBColor(213, 94, 0), RGBColor(0, 158, 115)];
const STYLE: &str = "body{font:15px/1.5 system-ui,sans-serif;max-width:960px;margin:2em auto;padding:0 1em;color:#222}
table{border-collapse:collapse}td,th{padding:.2em .8em .2em 0;text-align:left;vertical-align:top}td.n{text-align:right}
pre{overflow-x:auto;background:#f6f6f6;padding:1em;font-size:12px}.ok{color:#00774f}.failed{color:#b00020;font-weight:bold}
@media(prefers-color-scheme:dark){body{background:#16181c;color:#ddd}pre{background:#22252b}svg{background:#fff}}";

/// What there is at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Sample {
    /// Since the start, in virtual time.
    pub elapsed: Duration,
    /// Pods that wait.
    pub pending: i64,
    /// Pods that run.
    pub running: i64,
    /// Nodes.
    pub nodes: i64,
    /// Machines that are not terminated.
    pub instances: i64,
    /// Millionths of a dollar per hour.
    pub micro_dollars_per_hour: i64,
}

/// One line of a plot.
struct Line<'a> {
    name: &'a str,
    of: fn(&Sample) -> f64,
    dashed: bool,
}

/// The report of a run with `seed`.
pub fn html(outcome: &Outcome, seed: u64) -> String {
    let summary = &outcome.summary;
    let plots = [
        plot(
            "Pods",
            &outcome.samples,
            &[line("running", |own| own.running as f64), dashed("pending", |own| own.pending as f64)],
        ),
        plot(
            "Machines",
            &outcome.samples,
            &[line("instances", |own| own.instances as f64), dashed("nodes", |own| own.nodes as f64)],
        ),
        plot("Dollars per hour", &outcome.samples, &[line("$/h", |own| own.micro_dollars_per_hour as f64 / 1e6)]),
    ];
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width";
                title { (summary.scenario) }
                style { (PreEscaped(STYLE)) }
            }
            body {
                h1 { (summary.scenario) }
                @match &summary.failure {
                    None => p.ok { "passed" },
                    Some(why) => p.failed { "FAILED: " (why) },
                }
                (figures(outcome, seed))
                @for plot in &plots {
                    (PreEscaped(plot.as_deref().unwrap_or_default()))
                }
                h2 { "Calls to the cloud" }
                table {
                    @for (operation, count) in &summary.calls_by_operation {
                        tr { td { (operation) } td.n { (count) } }
                    }
                }
                h2 { "Timeline" }
                pre { (timeline(&outcome.entries)) }
            }
        }
    };
    page.into_string()
}

fn figures(outcome: &Outcome, seed: u64) -> Markup {
    let summary = &outcome.summary;
    let bind = summary
        .time_to_bind
        .map_or("nothing was bound".to_owned(), |(p50, p99)| format!("{} s, {} s", p50.as_secs(), p99.as_secs()));
    let rows = [
        ("seed", seed.to_string()),
        ("virtual time", short(summary.virtual_time)),
        ("pods created", summary.pods.to_string()),
        ("pods evicted", summary.evictions.to_string()),
        ("creation to binding, p50 and p99", bind),
        ("machines launched", summary.machines.to_string()),
        ("paid", format!("${}", dollars(summary.micro_dollars))),
        ("requests to the API server", summary.kubernetes_calls.to_string()),
        ("requests to the cloud", summary.cloud_calls.to_string()),
        ("of these throttled", summary.throttled_calls.to_string()),
    ];
    html! {
        table {
            @for (name, value) in &rows {
                tr { th { (name) } td.n { (value) } }
            }
        }
    }
}

fn line(name: &str, of: fn(&Sample) -> f64) -> Line<'_> {
    Line { name, of, dashed: false }
}

fn dashed(name: &str, of: fn(&Sample) -> f64) -> Line<'_> {
    Line { name, of, dashed: true }
}

/// An SVG plot over hours; none where there is nothing to draw.
fn plot(title: &str, samples: &[Sample], lines: &[Line<'_>]) -> Option<String> {
    let hours = |sample: &Sample| sample.elapsed.as_secs_f64() / 3600.0;
    let end = samples.last().map(hours).filter(|end| *end > 0.0)?;
    let highest = samples.iter().flat_map(|sample| lines.iter().map(|line| (line.of)(sample))).fold(0.0, f64::max);
    let mut svg = String::new();
    {
        let area = SVGBackend::with_string(&mut svg, PLOT).into_drawing_area();
        area.fill(&WHITE).ok()?;
        let mut chart = ChartBuilder::on(&area)
            .caption(title, ("sans-serif", 16))
            .margin(8)
            .x_label_area_size(28)
            .y_label_area_size(52)
            .build_cartesian_2d(0.0..end, 0.0..highest.max(1e-6) * 1.08)
            .ok()?;
        chart.configure_mesh().x_desc("hours of virtual time").light_line_style(WHITE).draw().ok()?;
        for (line, colour) in lines.iter().zip(COLOURS) {
            let points = steps(samples, &hours, line.of);
            let drawn = if line.dashed {
                chart.draw_series(DashedLineSeries::new(points, 4, 4, (&colour).into())).ok()?
            } else {
                chart.draw_series(LineSeries::new(points, &colour)).ok()?
            };
            drawn.label(line.name).legend(move |(x, y)| PathElement::new(vec![(x, y), (x + 16, y)], colour));
        }
        chart.configure_series_labels().border_style(RGBColor(200, 200, 200)).background_style(WHITE).draw().ok()?;
        area.present().ok()?;
    }
    Some(svg)
}

/// A value holds until the next sample.
fn steps(samples: &[Sample], hours: &dyn Fn(&Sample) -> f64, of: fn(&Sample) -> f64) -> Vec<(f64, f64)> {
    let mut points: Vec<(f64, f64)> = Vec::new();
    for sample in samples {
        let (at, value) = (hours(sample), of(sample));
        if let Some((_, before)) = points.last().copied().filter(|(_, before)| *before != value) {
            points.push((at, before));
        }
        points.push((at, value));
    }
    points
}

#[cfg(test)]
mod tests {
    use super::{Sample, html, plot};
    use crate::{run::Outcome, summary::Summary};
    use std::{collections::BTreeSet, time::Duration};

    fn sample(seconds: u64, running: i64) -> Sample {
        Sample { elapsed: Duration::from_secs(seconds), running, ..Sample::default() }
    }

    #[test]
    fn a_report_has_figures_plots_and_what_went_wrong() {
        let summary = Summary {
            scenario: "a <b> c".to_owned(),
            failure: Some("`count.running == 1` is false".to_owned()),
            micro_dollars: 1_230_000,
            ..Summary::default()
        };
        let samples = vec![sample(0, 0), sample(1800, 3), sample(3600, 1)];
        let page = html(
            &Outcome { summary, entries: Vec::new(), events: String::new(), samples, accesses: BTreeSet::new() },
            7,
        );
        for part in [
            "a &lt;b&gt; c",
            "FAILED: `count.running == 1` is false",
            "$1.2300",
            "<svg",
            "Dollars per hour",
            "# +h:mm:ss",
        ] {
            assert!(page.contains(part), "`{part}` is missing");
        }
    }

    #[test]
    fn nothing_is_drawn_of_nothing() {
        assert_eq!(plot("Pods", &[], &[super::line("running", |own| own.running as f64)]), None);
    }
}
