//! Jobs: pods that end (`pkg/controller/job/job_controller.go`).
//!
//! How pods ended is remembered here rather than by finalizers on them: a pod that is removed while no controller runs is
//! neither a success nor a failure.

use super::{
    deployment::whole,
    known::{Known, PodFacts},
    plan::{Action, Aim, BURST, Plan, Target, Told, controller_reference, count, some_count},
    template::{annotate, label, pod_of},
    victims,
    world::Finished,
};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::{
    batch::v1::{Job, JobCondition, JobSpec, JobStatus, UncountedTerminatedPods},
    core::v1::EnvVar,
};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

/// Wait after a first failure; each further one in a row doubles it (`DefaultJobPodFailureBackOff`).
const BACKOFF: SignedDuration = SignedDuration::from_secs(10);
/// The longest wait (`MaxJobPodFailureBackOff`).
const MAX_BACKOFF: SignedDuration = SignedDuration::from_mins(10);
/// Doublings until the longest wait is passed.
const MAX_DOUBLINGS: usize = 6;
const INDEX: &str = "batch.kubernetes.io/job-completion-index";

/// A job, the pods that it controls, and how its pods ended, by uid.
pub(super) struct Input<'a> {
    pub(super) job: &'a Job,
    pub(super) owned: Vec<Arc<PodFacts>>,
    pub(super) ended: BTreeMap<String, Finished>,
    pub(super) now: Timestamp,
}

/// Why a job is over.
type End = (&'static str, &'static str, &'static str);

const COMPLETE: End = ("Complete", "CompletionsReached", "Reached expected number of succeeded pods");
const TOO_MANY_FAILURES: End = ("Failed", "BackoffLimitExceeded", "Job has reached the specified backoff limit");
const TOO_LONG: End = ("Failed", "DeadlineExceeded", "Job was active longer than specified deadline");

/// What the job needs next.
pub(super) fn decide(input: &Input<'_>) -> Plan {
    let mut plan = Plan::default();
    let Some(spec) = &input.job.spec else { return plan };
    let before = input.job.status.clone().unwrap_or_default();
    if input.job.metadata.deletion_timestamp.is_some() {
        return plan;
    }
    if let Some(ended_at) = ended_at(&before) {
        expire(input, spec, ended_at, &mut plan);
        return plan;
    }
    let mut status = counted(input, &before, spec);
    let active: Vec<Arc<PodFacts>> = input.owned.iter().filter(|pod| pod.is_active()).cloned().collect();
    match end(input, spec, &status, active.len()) {
        Some(end) => finish(input, &active, end, &mut status, &mut plan),
        None => balance(input, spec, &active, &status, &mut plan),
    }
    plan.status(aim(input.job), input.job.status.as_ref(), &status);
    plan
}

fn aim(job: &Job) -> Aim {
    Aim { target: Target::Job, key: job.key(), uid: job.uid().to_owned() }
}

fn ended_at(status: &JobStatus) -> Option<Timestamp> {
    let is_end = |one: &&JobCondition| ["Complete", "Failed"].contains(&one.type_.as_str()) && one.status == "True";
    let end = status.conditions.iter().flatten().find(is_end)?;
    end.last_transition_time.as_ref().map(|time| time.0)
}

/// A job that is over goes after `ttlSecondsAfterFinished`.
fn expire(input: &Input<'_>, spec: &JobSpec, ended_at: Timestamp, plan: &mut Plan) {
    let Some(seconds) = spec.ttl_seconds_after_finished else { return };
    let due = ended_at + SignedDuration::from_secs(seconds.into());
    if due > input.now {
        plan.look_again(Some(due));
    } else {
        plan.push(Action::Delete { aim: aim(input.job), foreground: true, told: None });
    }
}

fn is_indexed(spec: &JobSpec) -> bool {
    spec.completion_mode.as_deref() == Some("Indexed")
}

fn succeeded_indexes(input: &Input<'_>) -> BTreeSet<i32> {
    input.ended.values().filter(|end| end.succeeded).filter_map(|end| end.index).collect()
}

fn counted(input: &Input<'_>, before: &JobStatus, spec: &JobSpec) -> JobStatus {
    let active = input.owned.iter().filter(|pod| pod.is_active());
    let ready = active.clone().filter(|pod| pod.ready).count();
    let terminating = input.owned.iter().filter(|pod| pod.terminating && !pod.is_finished()).count();
    let succeeded = count(input.ended.values().filter(|end| end.succeeded).count());
    let indexes = succeeded_indexes(input);
    let failed = count(input.ended.values().filter(|end| !end.succeeded).count());
    let most = |known: Option<i32>, found: i32| Some(known.unwrap_or_default().max(found)).filter(|number| *number > 0);
    let suspended = spec.suspend == Some(true);
    JobStatus {
        active: some_count(active.count()),
        ready: Some(count(ready)),
        terminating: Some(count(terminating)),
        succeeded: most(before.succeeded, if is_indexed(spec) { count(indexes.len()) } else { succeeded }),
        failed: most(before.failed, failed),
        completed_indexes: is_indexed(spec).then(|| ranges(&indexes)),
        start_time: before.start_time.clone().or_else(|| (!suspended).then(|| whole(input.now))),
        uncounted_terminated_pods: Some(UncountedTerminatedPods::default()),
        ..before.clone()
    }
}

/// Indexes as text: `0-2,5`; three or more in a row are written as a range, two as two.
fn ranges(indexes: &BTreeSet<i32>) -> String {
    let mut runs: Vec<(i32, i32)> = Vec::new();
    for index in indexes {
        match runs.last_mut() {
            Some((_, last)) if *last + 1 == *index => *last = *index,
            Some(_) | None => runs.push((*index, *index)),
        }
    }
    let text = |(first, last): &(i32, i32)| match last - first {
        0 => first.to_string(),
        1 => format!("{first},{last}"),
        _ => format!("{first}-{last}"),
    };
    runs.iter().map(text).collect::<Vec<_>>().join(",")
}

fn end(input: &Input<'_>, spec: &JobSpec, status: &JobStatus, active: usize) -> Option<End> {
    let succeeded = status.succeeded.unwrap_or_default();
    let too_long = || {
        let limit = SignedDuration::from_secs(spec.active_deadline_seconds?);
        Some(status.start_time.as_ref()?.0 + limit <= input.now)
    };
    let reached = match spec.completions {
        Some(completions) => succeeded >= completions,
        None => succeeded > 0 && active == 0,
    };
    if status.failed.unwrap_or_default() > spec.backoff_limit.unwrap_or(6) {
        Some(TOO_MANY_FAILURES)
    } else if too_long() == Some(true) && spec.suspend != Some(true) {
        Some(TOO_LONG)
    } else {
        reached.then_some(COMPLETE)
    }
}

/// Deletes the pods that still run; once none is left, says that the job is over.
fn finish(input: &Input<'_>, active: &[Arc<PodFacts>], end: End, status: &mut JobStatus, plan: &mut Plan) {
    active.iter().for_each(|pod| plan.delete_pod(pod));
    let (type_, reason, message) = end;
    let is_complete = type_ == "Complete";
    condition(input, status, if is_complete { "SuccessCriteriaMet" } else { "FailureTarget" }, reason, message);
    if !active.is_empty() || status.terminating.unwrap_or_default() > 0 {
        return;
    }
    condition(input, status, type_, reason, message);
    let told = if is_complete {
        status.completion_time = Some(whole(input.now));
        Told::normal("Completed", "Job completed".to_owned())
    } else {
        Told::warning(reason, message.to_owned())
    };
    plan.push(Action::Tell(told));
}

fn condition(input: &Input<'_>, status: &mut JobStatus, type_: &str, reason: &str, message: &str) {
    let conditions = status.conditions.get_or_insert_default();
    if conditions.iter().any(|known| known.type_ == type_) {
        return;
    }
    conditions.push(JobCondition {
        type_: type_.to_owned(),
        status: "True".to_owned(),
        reason: Some(reason.to_owned()),
        message: Some(message.to_owned()),
        last_probe_time: Some(whole(input.now)),
        last_transition_time: Some(whole(input.now)),
    });
}

/// How many pods should run now.
fn wanted(spec: &JobSpec, succeeded: i32, active: usize) -> usize {
    let parallelism = spec.parallelism.unwrap_or(1);
    let wanted = match spec.completions {
        _ if spec.suspend == Some(true) => 0,
        Some(completions) => parallelism.min(completions - succeeded),
        // A success says that the work is done: what runs goes on, nothing more is begun.
        None if succeeded > 0 => parallelism.min(count(active)),
        None => parallelism,
    };
    usize::try_from(wanted).unwrap_or_default()
}

fn balance(input: &Input<'_>, spec: &JobSpec, active: &[Arc<PodFacts>], status: &JobStatus, plan: &mut Plan) {
    if let (Some(seconds), Some(start)) = (spec.active_deadline_seconds, &status.start_time) {
        plan.look_again(Some(start.0 + SignedDuration::from_secs(seconds)));
    }
    let wanted = wanted(spec, status.succeeded.unwrap_or_default(), active.len());
    if active.len() > wanted {
        let many = active.len() - wanted;
        let chosen = victims::choose(active.to_vec(), active, many, input.now);
        return chosen.iter().for_each(|pod| plan.delete_pod(pod));
    }
    let terminating = usize::try_from(status.terminating.unwrap_or_default()).unwrap_or_default();
    let waits_for = if spec.pod_replacement_policy.as_deref() == Some("Failed") { terminating } else { 0 };
    let many = (wanted - active.len()).saturating_sub(waits_for).min(BURST);
    let due = backoff(&input.ended).filter(|due| many > 0 && *due > input.now);
    if due.is_some() {
        return plan.look_again(due);
    }
    let indexes = if is_indexed(spec) { missing_indexes(input, spec, active) } else { Vec::new() };
    for position in 0..many {
        create(input, spec, indexes.get(position).copied(), plan);
    }
}

/// When pods may be made again: failures in a row make for longer waits.
fn backoff(ended: &BTreeMap<String, Finished>) -> Option<Timestamp> {
    let success = ended.values().filter(|end| end.succeeded).map(|end| end.at).max();
    let failures: Vec<Timestamp> =
        ended.values().filter(|end| !end.succeeded && Some(end.at) > success).map(|end| end.at).collect();
    let doublings = u32::try_from(failures.len().saturating_sub(1).min(MAX_DOUBLINGS)).unwrap_or_default();
    failures.into_iter().max().map(|last| last + (BACKOFF * 2_i32.pow(doublings)).min(MAX_BACKOFF))
}

/// Indexes that have neither succeeded nor run, smallest first.
fn missing_indexes(input: &Input<'_>, spec: &JobSpec, active: &[Arc<PodFacts>]) -> Vec<i32> {
    let mut taken = succeeded_indexes(input);
    taken.extend(active.iter().filter_map(|pod| pod.completion_index));
    (0..spec.completions.unwrap_or_default()).filter(|index| !taken.contains(index)).take(BURST).collect()
}

fn create(input: &Input<'_>, spec: &JobSpec, index: Option<i32>, plan: &mut Plan) {
    let key = input.job.key();
    let prefix = index.map_or_else(|| key.name.clone(), |index| format!("{}-{index}", key.name));
    let mut pod = pod_of(&spec.template, &key.namespace, &prefix, controller_reference(input.job));
    if let Some(index) = index {
        let index = index.to_string();
        label(&mut pod, INDEX, &index);
        annotate(&mut pod, INDEX, &index);
        let pod_spec = pod.spec.get_or_insert_default();
        pod_spec.hostname = Some(prefix);
        for container in &mut pod_spec.containers {
            let variable =
                EnvVar { name: "JOB_COMPLETION_INDEX".to_owned(), value: Some(index.clone()), value_from: None };
            container.env.get_or_insert_default().push(variable);
        }
    }
    plan.push(Action::CreatePod { pod: Box::new(pod), told: None });
}

#[cfg(test)]
mod tests {
    use super::{BTreeMap, Finished, backoff, ranges, wanted};
    use rstest::rstest;
    use serde_json::{Value, json};

    #[rstest]
    #[case(&[], "")]
    #[case(&[0], "0")]
    #[case(&[0, 1, 3], "0,1,3")]
    #[case(&[0, 1, 2, 5, 7, 8, 9], "0-2,5,7-9")]
    fn indexes_are_written_as_ranges(#[case] indexes: &[i32], #[case] text: &str) {
        assert_eq!(ranges(&indexes.iter().copied().collect()), text);
    }

    #[rstest]
    #[case(json!({"parallelism": 3, "completions": 5}), 0, 0, 3)]
    #[case(json!({"parallelism": 3, "completions": 5}), 4, 0, 1)]
    #[case(json!({"parallelism": 3}), 0, 0, 3)]
    #[case(json!({"parallelism": 3}), 1, 2, 2)]
    #[case(json!({"parallelism": 3, "suspend": true}), 0, 2, 0)]
    fn pods_wanted(#[case] spec: Value, #[case] succeeded: i32, #[case] active: usize, #[case] expected: usize) {
        let mut whole = json!({"template": {}});
        json_patch::merge(&mut whole, &spec);
        assert_eq!(wanted(&serde_json::from_value(whole).unwrap(), succeeded, active), expected);
    }

    #[rstest]
    #[case(&[], None)]
    #[case(&[(5, false)], Some(15))]
    #[case(&[(5, false), (20, false)], Some(40))]
    #[case(&[(5, false), (20, true)], None)]
    #[case(&[(0, false), (1, false), (2, false), (3, false), (4, false), (5, false), (6, false), (7, false)], Some(607))]
    fn failures_make_for_waits(#[case] ends: &[(i64, bool)], #[case] due: Option<i64>) {
        let end = |(second, succeeded): &(i64, bool)| Finished {
            succeeded: *succeeded,
            at: jiff::Timestamp::from_second(*second).unwrap(),
            index: None,
        };
        let ended: BTreeMap<String, Finished> = ends.iter().map(|one| (one.0.to_string(), end(one))).collect();
        assert_eq!(backoff(&ended).map(|at| at.as_second()), due);
    }
}
