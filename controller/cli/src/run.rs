//! `sawhorse run`: scenarios in virtual time, or on real control planes in fast motion.

use crate::{
    args::{ChosenPlane, Kubelets, RunArgs},
    progress, serve,
};
use anyhow::{Context, bail};
use indicatif::MultiProgress;
use sawhorse_e2e::{
    control_plane::{KindCluster, KindSettings, KubernetesCluster, Pace},
    report,
    run::{InFastMotion, Kept, Outcome, Progress, Real, for_real, in_virtual_time},
    scenario::{Scenario, load},
    summary::table,
    timeline::timeline,
};
use std::{
    cmp::Reverse,
    collections::BTreeMap,
    io::Write,
    num::NonZeroUsize,
    path::Path,
    process::ExitCode,
    sync::{Arc, Mutex, PoisonError},
    time::Instant,
};
use tokio_util::sync::CancellationToken;

/// How many scenarios run side by side in kind: each has a cluster of two nodes.
const KIND_CLUSTERS: usize = 3;

/// Runs the files, a few side by side, and prints in their order; a bad file stops before anything has run.
pub(crate) fn run(args: &RunArgs) -> anyhow::Result<ExitCode> {
    for (option, file) in [("--events", &args.events), ("--report", &args.report)] {
        if file.is_some() && args.files.len() != 1 {
            bail!("`{option}` goes with one scenario, not with {}: run them one by one", args.files.len());
        }
    }
    let scenarios = args.files.iter().map(|file| read(file)).collect::<anyhow::Result<Vec<_>>>()?;
    let how = How { plane: args.plane.chosen()?, kubelets: args.plane.kubelets()?, stop: CancellationToken::new() };
    let in_real_time = !matches!(how.plane, ChosenPlane::Embedded);
    if in_real_time {
        stop_when_interrupted(how.stop.clone())?;
    }
    let (scenarios, skipped) = runnable(scenarios, in_real_time);
    let jobs = jobs(&scenarios, &how.kubelets);
    if jobs.len() > scenarios.len() && (args.events.is_some() || args.report.is_some()) {
        bail!("`--events` and `--report` go with one run: choose `--kubelet sawhorse` or `kwok`");
    }
    let mut summaries = Vec::new();
    for (Job { scenario, .. }, outcome) in jobs.iter().zip(run_all(&jobs, args, &how)?) {
        if let Some(file) = &args.events {
            write(file, &outcome.events)?;
        }
        if let Some(file) = &args.report {
            write(file, &report::html(&outcome, args.seed.unwrap_or(scenario.seed)))?;
        }
        if args.timeline {
            print(&timeline(&outcome.entries));
        }
        summaries.push(outcome.summary);
    }
    print(&table(&summaries));
    for scenario in &skipped {
        let why = scenario.virtual_time_only.as_deref().unwrap_or_default();
        print(&format!("{} skipped: {why}\n", scenario.name));
    }
    for summary in &summaries {
        if let Some(failure) = &summary.failure {
            print(&format!("\n{} FAILED: {failure}\n", summary.scenario));
        }
    }
    let failed = summaries.iter().any(|summary| summary.failure.is_some());
    Ok(if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// The scenarios that run, and those that need virtual time where there is none.
fn runnable(scenarios: Vec<Scenario>, in_real_time: bool) -> (Vec<Scenario>, Vec<Scenario>) {
    scenarios.into_iter().partition(|scenario| !in_real_time || scenario.virtual_time_only.is_none())
}

/// A scenario to run.
#[derive(Clone, Copy)]
struct Job<'a> {
    scenario: &'a Scenario,
    /// With upstream KWOK in the kubelets' place.
    kwok: bool,
}

impl Job<'_> {
    /// How people call it.
    fn name(&self) -> String {
        let with = if self.kwok { " (upstream KWOK)" } else { "" };
        format!("{}{with}", self.scenario.name)
    }
}

/// Each scenario with the kubelets that it is to have, in order.
fn jobs<'a>(scenarios: &'a [Scenario], kubelets: &Kubelets) -> Vec<Job<'a>> {
    let own = scenarios.iter().filter(|_| kubelets.own).map(|scenario| Job { scenario, kwok: false });
    let kwok = scenarios.iter().filter(|scenario| kubelets.kwok.is_some() && (!kubelets.own || scenario.upstream_kwok));
    own.chain(kwok.map(|scenario| Job { scenario, kwok: true })).collect()
}

/// What all runs have in common.
struct How {
    plane: ChosenPlane,
    kubelets: Kubelets,
    /// Ends them early.
    stop: CancellationToken,
}

/// What a worker keeps from one scenario to the next: to start a control plane takes longer than to clear one.
#[derive(Default)]
struct Planes {
    kind: Option<Arc<KindCluster>>,
    programs: Kept,
}

impl Planes {
    /// Whether what is kept will do for a run of that pace.
    fn fit(&self, pace: Pace) -> bool {
        let programs = self.programs.borrow().as_ref().map(KubernetesCluster::pace);
        programs.or(self.kind.as_ref().map(|kind| kind.pace())) == Some(pace)
    }

    /// Lets the programs end by themselves; a kind cluster goes when it is dropped.
    fn stop(self) {
        let Some(cluster) = self.programs.into_inner() else { return };
        // Without a runtime they are killed.
        if let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_all().build() {
            runtime.block_on(cluster.stop(1));
        }
    }
}

/// Takes the first that fits, or the first if none does.
fn next(waiting: &Mutex<Vec<usize>>, fits: impl Fn(usize) -> bool) -> Option<usize> {
    let mut waiting = waiting.lock().unwrap_or_else(PoisonError::into_inner);
    let position = waiting.iter().position(|index| fits(*index)).unwrap_or(0);
    (position < waiting.len()).then(|| waiting.remove(position))
}

/// The outcomes in the order of the jobs. Each runs in a thread of its own, in its own time; those that will last longest begin
/// first, so that none is waited for in the end. If one cannot be run, no other is begun.
fn run_all(jobs: &[Job<'_>], args: &RunArgs, how: &How) -> anyhow::Result<Vec<Outcome>> {
    let processors = std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
    let workers = match how.plane {
        ChosenPlane::Embedded => processors,
        // In fast motion a run waits more than it computes.
        ChosenPlane::Binaries(_) => 3 * processors,
        ChosenPlane::Kind(_) => KIND_CLUSTERS,
    };
    let workers = args.jobs.map_or(workers, NonZeroUsize::get);
    let bars = MultiProgress::new();
    let outcomes = Mutex::new(BTreeMap::new());
    let speed = |index: usize| jobs[index].scenario.speed(args.speed);
    let mut order: Vec<usize> = (0..jobs.len()).collect();
    order.sort_by_key(|index| Reverse(jobs[*index].scenario.lasts_about() / speed(*index)));
    let waiting = Mutex::new(order);
    let work = |worker: usize| {
        let mut planes = Planes::default();
        while let Some(index) = next(&waiting, |index| planes.fit(Pace::of(speed(index)))) {
            let outcome = one(jobs[index], args, how, &mut planes, worker, &bars);
            if outcome.is_err() {
                waiting.lock().unwrap_or_else(PoisonError::into_inner).clear();
            }
            outcomes.lock().unwrap_or_else(PoisonError::into_inner).insert(index, outcome);
        }
        planes.stop();
    };
    let work = &work;
    std::thread::scope(|scope| {
        (0..workers.min(jobs.len())).for_each(|worker| drop(scope.spawn(move || work(worker))));
    });
    outcomes.into_inner().unwrap_or_else(PoisonError::into_inner).into_values().collect()
}

/// Ctrl-C then ends what runs, and what it has started outside of this process.
fn stop_when_interrupted(stop: CancellationToken) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let interrupted = runtime.block_on(async { serve::interrupted() })?;
    std::thread::spawn(move || {
        runtime.block_on(interrupted);
        eprintln!("sawhorse: interrupted: what was started is taken down");
        stop.cancel();
    });
    Ok(())
}

/// Makes a worker's cluster; the scenarios that it runs follow one another there.
fn kind_cluster(
    settings: &KindSettings,
    (pace, how, worker): (Pace, &How, usize),
    bars: &MultiProgress,
) -> anyhow::Result<Arc<KindCluster>> {
    // Several runs may share a docker daemon.
    let name = format!("sawhorse-{}-{worker}", std::process::id());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let say = |what: &str| tell(bars, what);
    let made = runtime.block_on(async {
        tokio::select! {
            biased;
            () = how.stop.cancelled() => bail!("it was interrupted"),
            made = KindCluster::create(settings, &name, pace, &say) => made,
        }
    });
    made.map(Arc::new)
}

/// A line about something that lasts, above the bars, or where there is no terminal on its own.
fn tell(bars: &MultiProgress, what: &str) {
    if bars.is_hidden() {
        eprintln!("{what}");
    } else {
        // A terminal that has gone away is no failure of the run.
        let _ = bars.println(what);
    }
}

fn write(file: &Path, text: &str) -> anyhow::Result<()> {
    std::fs::write(file, text).with_context(|| format!("`{}` cannot be written", file.display()))
}

pub(crate) fn read(file: &Path) -> anyhow::Result<Scenario> {
    let text = std::fs::read_to_string(file).with_context(|| format!("`{}` cannot be read", file.display()))?;
    load(&text).with_context(|| format!("`{}` is not a scenario", file.display()))
}

#[expect(clippy::disallowed_methods, reason = "the wall time of a run in virtual time is real time")]
fn one(
    job: Job<'_>,
    args: &RunArgs,
    how: &How,
    planes: &mut Planes,
    worker: usize,
    bars: &MultiProgress,
) -> anyhow::Result<Outcome> {
    let Job { scenario, kwok } = job;
    let name = job.name();
    let cannot = || format!("`{name}` cannot be run");
    let speed = scenario.speed(args.speed);
    let kind = match &how.plane {
        ChosenPlane::Kind(settings) => {
            // A cluster's own times follow from what it was made for; one that does not fit is taken down first.
            let pace = Pace::of(speed);
            let fitting = planes.kind.take().filter(|cluster| cluster.pace() == pace);
            let made = fitting.map_or_else(|| kind_cluster(settings, (pace, how, worker), bars), Ok);
            Some(&*planes.kind.insert(made.with_context(cannot)?))
        }
        ChosenPlane::Embedded | ChosenPlane::Binaries(_) => None,
    };
    let started = Instant::now();
    let bar = bars.add(progress::bar(&name, scenario.steps.len()));
    let (show, wall) = (|progress: Progress<'_>| progress::show(&bar, progress), || started.elapsed());
    let kwok = how.kubelets.kwok.as_ref().filter(|_| kwok);
    let real = |on| InFastMotion { on, speed, kwok, stop: &how.stop };
    let mut outcome = match (&how.plane, kind) {
        (ChosenPlane::Binaries(programs), _) => {
            for_real(scenario, args.seed, real(Real::Programs(programs, Some(&planes.programs))), &show, wall)
        }
        (_, Some(cluster)) => for_real(scenario, args.seed, real(Real::Kind(cluster)), &show, wall),
        (_, None) => in_virtual_time(scenario, args.seed, &show, wall),
    };
    bar.finish_and_clear();
    if let (ChosenPlane::Binaries(_) | ChosenPlane::Kind(_), Ok(outcome)) = (&how.plane, &outcome) {
        let result = if outcome.summary.failure.is_none() { "ok" } else { "FAILED" };
        tell(bars, &format!("{name}: {result} after {:.1}s", outcome.summary.wall_time.as_secs_f64()));
    }
    if let Ok(outcome) = &mut outcome {
        outcome.summary.scenario.clone_from(&name);
    }
    outcome.with_context(cannot)
}

fn print(text: &str) {
    // A reader that has gone away is no failure of the run.
    let _ = std::io::stdout().write_all(text.as_bytes());
}
