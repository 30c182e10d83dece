//! Telling users: Kubernetes Events with the reference's reasons, deduplicated and rate limited (spec core 6.2).
//!
//! Events never hold a loop up: they are put into a bounded queue that one task writes from.

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::{
    api::core::v1::{Event as EventObject, EventSource, ObjectReference},
    apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time},
};
use kube::{Api, Client, Resource, api::PostParams};
use sawhorse_ambient::Clock;
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};
use tokio::sync::mpsc;

/// Who reports.
const COMPONENT: &str = "karpenter";
/// How long an identical event is held back, where nothing else is said.
const USUAL_WINDOW: SignedDuration = SignedDuration::from_mins(2);
/// How many events wait to be written at most; further ones are dropped, as the reference's recorder does.
const MAX_WAITING: usize = 1000;
/// How many keys are remembered for deduplication before those whose window has passed are dropped.
const MAX_REMEMBERED: usize = 10_000;
/// `Nominated` events: so many at once, and then so many a second.
const NOMINATED_BURST: f64 = 10.0;
const NOMINATED_PER_SECOND: f64 = 5.0;
/// Events of which a second text about the same object is held back too, as the reference does.
const ONCE_PER_OBJECT: [&str; 5] =
    ["FailedScheduling", "DisruptionBlocked", "Unconsolidatable", "FailedDraining", "WaitingOnNodeClaimTermination"];
/// Events of which the same text is repeated only before API servers forget it, after an hour: what they tell is true of most Nodes
/// most of the time.
const LASTING: &str = "Unconsolidatable";
const LASTS: SignedDuration = SignedDuration::from_mins(50);
/// API servers refuse longer messages.
const MAX_MESSAGE_LENGTH: usize = 1024;

/// Something worth telling about an object.
#[derive(Clone, Debug)]
pub(crate) struct Event {
    pub(crate) about: ObjectReference,
    pub(crate) warning: bool,
    pub(crate) reason: &'static str,
    pub(crate) message: String,
    /// Two events of one reason are identical if these are: by default the object and the message.
    pub(crate) dedupe: Vec<String>,
    pub(crate) window: SignedDuration,
}

impl Event {
    /// An ordinary event about `object`.
    pub(crate) fn normal<K: Resource<DynamicType = ()>>(object: &K, reason: &'static str, message: String) -> Self {
        Self::about(object, false, reason, message)
    }

    /// A warning about `object`.
    pub(crate) fn warning<K: Resource<DynamicType = ()>>(object: &K, reason: &'static str, message: String) -> Self {
        Self::about(object, true, reason, message)
    }

    pub(crate) fn about<K: Resource<DynamicType = ()>>(
        object: &K,
        warning: bool,
        reason: &'static str,
        message: String,
    ) -> Self {
        let about = object.object_ref(&());
        let mut dedupe = vec![about.uid.clone().unwrap_or_default()];
        if !ONCE_PER_OBJECT.contains(&reason) {
            dedupe.push(message.clone());
        }
        Self { about, warning, reason, message, dedupe, window: USUAL_WINDOW }
    }

    /// Held back for this long instead of two minutes.
    pub(crate) fn window(mut self, window: SignedDuration) -> Self {
        self.window = window;
        self
    }
}

/// Takes events in.
#[derive(Clone)]
pub(crate) struct Recorder {
    clock: Clock,
    waiting: mpsc::Sender<EventObject>,
    gate: Arc<Mutex<Gate>>,
}

impl Recorder {
    /// A recorder, and what its writer reads.
    pub(crate) fn new(clock: Clock) -> (Self, mpsc::Receiver<EventObject>) {
        let (waiting, to_write) = mpsc::channel(MAX_WAITING);
        let gate = Gate { tokens: NOMINATED_BURST, refilled: clock.now(), ..Gate::default() };
        (Self { clock, waiting, gate: Arc::new(Mutex::new(gate)) }, to_write)
    }

    /// Records `event` unless an identical one was recorded within its window.
    pub(crate) fn record(&self, event: Event) {
        let now = self.clock.now();
        let admitted = self.gate.lock().unwrap_or_else(PoisonError::into_inner).admit(&event, now);
        if let Some(number) = admitted
            && self.waiting.try_send(object_of(event, now, number)).is_err()
        {
            tracing::debug!("an event was dropped: {MAX_WAITING} are waiting to be written");
        }
    }
}

/// Writes events until every recorder is gone. A failed write is not repeated: the event's subject matters more than it does.
pub(crate) async fn write(client: Client, mut waiting: mpsc::Receiver<EventObject>) {
    while let Some(event) = waiting.recv().await {
        let namespace = event.metadata.namespace.clone().unwrap_or_default();
        let api: Api<EventObject> = Api::namespaced(client.clone(), &namespace);
        if let Err(error) = api.create(&PostParams::default(), &event).await {
            let error: &dyn std::error::Error = &error;
            tracing::debug!(error, reason = event.reason, "an event was not written");
        }
    }
}

/// What lets events through.
#[derive(Debug, Default)]
struct Gate {
    passed: BTreeMap<(&'static str, Vec<String>), Passed>,
    tokens: f64,
    refilled: Timestamp,
    admitted: i64,
}

/// An event that has passed.
#[derive(Debug)]
struct Passed {
    /// Until when none like it does.
    until: Timestamp,
    /// Until when none does that says the same.
    same_until: Timestamp,
    message: String,
}

impl Passed {
    fn holds_back(&self, event: &Event, now: Timestamp) -> bool {
        self.until > now || (self.same_until > now && self.message == event.message)
    }
}

impl Gate {
    /// The event's number if it may pass.
    fn admit(&mut self, event: &Event, now: Timestamp) -> Option<i64> {
        let key = (event.reason, event.dedupe.clone());
        if self.passed.get(&key).is_some_and(|passed| passed.holds_back(event, now)) {
            return None;
        }
        if event.reason == "Nominated" && !self.take_token(now) {
            return None;
        }
        if self.passed.len() >= MAX_REMEMBERED {
            self.passed.retain(|_, passed| passed.until.max(passed.same_until) > now);
        }
        let same_for = if event.reason == LASTING { event.window.max(LASTS) } else { event.window };
        let passed = Passed { until: now + event.window, same_until: now + same_for, message: event.message.clone() };
        self.passed.insert(key, passed);
        self.admitted += 1;
        Some(self.admitted)
    }

    fn take_token(&mut self, now: Timestamp) -> bool {
        let passed = now.duration_since(self.refilled).as_secs_f64();
        self.tokens = (self.tokens + passed * NOMINATED_PER_SECOND).min(NOMINATED_BURST);
        self.refilled = now;
        let enough = self.tokens >= 1.0;
        self.tokens -= if enough { 1.0 } else { 0.0 };
        enough
    }
}

/// The object. Its name is unique as client-go's is: the time in nanoseconds, here with the event's number added, so that two
/// of one instant differ.
fn object_of(event: Event, now: Timestamp, number: i64) -> EventObject {
    let Event { about, warning, reason, message, .. } = event;
    let namespace = about.namespace.clone().unwrap_or_else(|| "default".to_owned());
    let name = format!("{}.{:x}", about.name.as_deref().unwrap_or_default(), now.as_nanosecond() + i128::from(number));
    EventObject {
        metadata: ObjectMeta { name: Some(name), namespace: Some(namespace), ..ObjectMeta::default() },
        involved_object: about,
        type_: Some(if warning { "Warning" } else { "Normal" }.to_owned()),
        reason: Some(reason.to_owned()),
        message: Some(message.chars().take(MAX_MESSAGE_LENGTH).collect()),
        source: Some(EventSource { component: Some(COMPONENT.to_owned()), host: None }),
        reporting_component: Some(COMPONENT.to_owned()),
        first_timestamp: Some(Time(now)),
        last_timestamp: Some(Time(now)),
        count: Some(1),
        ..EventObject::default()
    }
}

#[cfg(test)]
mod tests {
    use super::{Event, Recorder};
    use jiff::{SignedDuration, Timestamp};
    use k8s_openapi::{api::core::v1::Pod, apimachinery::pkg::apis::meta::v1::ObjectMeta};
    use sawhorse_ambient::Clock;
    use std::time::Duration;

    fn pod(name: &str) -> Pod {
        let metadata = ObjectMeta { name: Some(name.into()), uid: Some(name.into()), ..ObjectMeta::default() };
        Pod { metadata, ..Pod::default() }
    }

    fn drain(waiting: &mut tokio::sync::mpsc::Receiver<super::EventObject>) -> Vec<String> {
        std::iter::from_fn(|| waiting.try_recv().ok()).filter_map(|event| event.message).collect()
    }

    #[tokio::test(start_paused = true)]
    async fn identical_events_are_held_back_for_their_window() {
        let (recorder, mut waiting) = Recorder::new(Clock::starting_at(Timestamp::UNIX_EPOCH));
        let event = |text: &str| Event::warning(&pod("a"), "TerminationGracePeriodExpiring", text.to_owned());
        let long = |text: &str| event(text).window(SignedDuration::from_mins(5));
        recorder.record(long("no room"));
        recorder.record(long("no room"));
        recorder.record(long("still none"));
        assert_eq!(drain(&mut waiting), ["no room", "still none"]);
        tokio::time::advance(Duration::from_secs(299)).await;
        recorder.record(long("no room"));
        assert!(drain(&mut waiting).is_empty());
        tokio::time::advance(Duration::from_secs(1)).await;
        recorder.record(long("no room"));
        assert_eq!(drain(&mut waiting), ["no room"]);
    }

    #[tokio::test(start_paused = true)]
    async fn some_events_are_deduplicated_by_their_object() {
        let (recorder, mut waiting) = Recorder::new(Clock::starting_at(Timestamp::UNIX_EPOCH));
        for text in ["one", "two"] {
            recorder.record(Event::normal(&pod("a"), "DisruptionBlocked", text.to_owned()));
        }
        assert_eq!(drain(&mut waiting), ["one"]);
    }

    #[tokio::test(start_paused = true)]
    async fn what_lasts_is_said_again_when_it_changes_or_would_be_forgotten() {
        let (recorder, mut waiting) = Recorder::new(Clock::starting_at(Timestamp::UNIX_EPOCH));
        let record = |text: &str| {
            let event = Event::normal(&pod("a"), "Unconsolidatable", text.to_owned());
            recorder.record(event.window(SignedDuration::from_mins(15)));
        };
        let minutes = |minutes| tokio::time::advance(Duration::from_mins(minutes));
        record("it is full");
        record("it is dear");
        minutes(15).await;
        record("it is full");
        assert_eq!(drain(&mut waiting), ["it is full"]);
        record("it is dear");
        assert_eq!(drain(&mut waiting), ["it is dear"]);
        minutes(49).await;
        record("it is dear");
        assert!(drain(&mut waiting).is_empty());
        minutes(1).await;
        record("it is dear");
        assert_eq!(drain(&mut waiting), ["it is dear"]);
    }

    #[tokio::test(start_paused = true)]
    async fn nominations_are_rate_limited() {
        let (recorder, mut waiting) = Recorder::new(Clock::starting_at(Timestamp::UNIX_EPOCH));
        let nominate = |count: usize| {
            for index in 0..count {
                recorder.record(Event::normal(
                    &pod(&format!("{index}-{count}")),
                    "Nominated",
                    "Pod should schedule".into(),
                ));
            }
        };
        nominate(15);
        assert_eq!(drain(&mut waiting).len(), 10);
        tokio::time::advance(Duration::from_secs(1)).await;
        nominate(16);
        assert_eq!(drain(&mut waiting).len(), 5);
    }

    #[tokio::test(start_paused = true)]
    async fn names_of_one_instant_differ() {
        let (recorder, mut waiting) = Recorder::new(Clock::starting_at(Timestamp::UNIX_EPOCH));
        recorder.record(Event::normal(&pod("a"), "Evicted", "one".into()));
        recorder.record(Event::normal(&pod("a"), "Evicted", "two".into()));
        let names: Vec<_> =
            std::iter::from_fn(|| waiting.try_recv().ok()).filter_map(|event| event.metadata.name).collect();
        assert_eq!(names, ["a.1", "a.2"]);
    }
}
