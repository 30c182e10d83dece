//! The objects of one resource, with the events that made them so.

use super::{Filter, Object, ObjectName, Page, PageRequest};
use bytes::Bytes;
use std::{
    collections::{BTreeMap, VecDeque},
    ops::Bound,
    sync::{Arc, OnceLock},
};

/// The version asked for is older than what is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Compacted {
    /// Events up to and including this version are forgotten.
    pub(crate) oldest: u64,
}

/// What a write did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum EventKind {
    Added,
    Modified,
    Deleted,
}

impl EventKind {
    /// The `type` of a watch event.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Added => "ADDED",
            Self::Modified => "MODIFIED",
            Self::Deleted => "DELETED",
        }
    }
}

/// One write, for watches.
#[derive(Debug)]
pub(crate) struct Event {
    pub(crate) kind: EventKind,
    /// The object as written; for a deletion its last state under the deletion's version.
    pub(crate) object: Arc<Object>,
    /// The object before.
    pub(crate) previous: Option<Arc<Object>>,
    line: OnceLock<Bytes>,
}

impl Event {
    /// The version of the write.
    pub(crate) fn revision(&self) -> u64 {
        self.object.revision()
    }

    /// The event as a watch sends it; made once for all watchers.
    pub(crate) fn line(&self) -> Bytes {
        self.line.get_or_init(|| event_line(self.kind.as_str(), &self.object.json())).clone()
    }
}

/// A watch event's line around an object's JSON.
pub(crate) fn event_line(kind: &str, object: &[u8]) -> Bytes {
    let head = format!("{{\"type\":\"{kind}\",\"object\":");
    Bytes::from([head.as_bytes(), object, b"}\n"].concat())
}

/// The objects of one resource.
#[derive(Debug, Default)]
pub(crate) struct Collection {
    objects: BTreeMap<ObjectName, Arc<Object>>,
    /// The last writes, oldest first.
    history: VecDeque<Arc<Event>>,
    /// Events up to this version are forgotten.
    forgotten: u64,
}

impl Collection {
    /// An empty one of which nothing before `revision` is known.
    pub(crate) fn beginning_at(revision: u64) -> Self {
        Self { forgotten: revision, ..Self::default() }
    }

    pub(crate) fn get(&self, name: &ObjectName) -> Option<&Arc<Object>> {
        self.objects.get(name)
    }

    pub(crate) fn objects(&self) -> impl Iterator<Item = &Arc<Object>> {
        self.objects.values()
    }

    pub(crate) fn objects_in<'a>(&'a self, namespace: &'a str) -> impl Iterator<Item = &'a Arc<Object>> + use<'a> {
        let from = ObjectName::new(namespace, "");
        self.objects.range(from..).take_while(move |(name, _)| name.namespace == namespace).map(|(_, object)| object)
    }

    pub(crate) fn put(&mut self, object: Arc<Object>, history_limit: usize) -> Option<Arc<Object>> {
        let previous = self.objects.insert(object.key(), Arc::clone(&object));
        let kind = if previous.is_some() { EventKind::Modified } else { EventKind::Added };
        self.record(kind, object, previous.clone(), history_limit);
        previous
    }

    pub(crate) fn remove(&mut self, last: Arc<Object>, history_limit: usize) {
        let previous = self.objects.remove(&last.key());
        self.record(EventKind::Deleted, last, previous, history_limit);
    }

    fn record(&mut self, kind: EventKind, object: Arc<Object>, previous: Option<Arc<Object>>, limit: usize) {
        self.history.push_back(Arc::new(Event { kind, object, previous, line: OnceLock::new() }));
        while self.history.len() > limit {
            self.forget_oldest();
        }
    }

    fn forget_oldest(&mut self) {
        if let Some(event) = self.history.pop_front() {
            self.forgotten = event.revision();
        }
    }

    /// Forgets all events, and that anything was known of what was before `revision`.
    pub(crate) fn compact(&mut self, revision: u64) {
        self.history.clear();
        self.forgotten = revision;
    }

    /// Forgets the events up to `revision`. Where there were none, earlier versions can still be watched from.
    pub(crate) fn forget(&mut self, revision: u64) {
        while self.history.front().is_some_and(|event| event.revision() <= revision) {
            self.forget_oldest();
        }
    }

    pub(crate) fn events_after(&self, revision: u64) -> Result<impl Iterator<Item = &Arc<Event>>, Compacted> {
        if revision < self.forgotten {
            return Err(Compacted { oldest: self.forgotten });
        }
        let first = self.history.partition_point(|event| event.revision() <= revision);
        Ok(self.history.range(first..))
    }

    pub(crate) fn list(&self, filter: &Filter, page: &PageRequest, now: u64) -> Result<Page, Compacted> {
        let revision = page.revision.unwrap_or(now);
        // Most lists are of the present and whole; going back to a version costs a copy of the map of pointers.
        let past = if revision < now { Some(self.as_of(revision)?) } else { None };
        let objects = past.as_ref().unwrap_or(&self.objects);
        Ok(page_of(objects, filter, page, revision))
    }

    /// The objects as they were at `revision`: the present with the events since then undone.
    fn as_of(&self, revision: u64) -> Result<BTreeMap<ObjectName, Arc<Object>>, Compacted> {
        let mut objects = self.objects.clone();
        let since: Vec<_> = self.events_after(revision)?.collect();
        for event in since.into_iter().rev() {
            match &event.previous {
                Some(previous) => objects.insert(event.object.key(), Arc::clone(previous)),
                None => objects.remove(&event.object.key()),
            };
        }
        Ok(objects)
    }
}

fn page_of(objects: &BTreeMap<ObjectName, Arc<Object>>, filter: &Filter, page: &PageRequest, revision: u64) -> Page {
    let begin = || ObjectName::new(filter.namespace.as_deref().unwrap_or_default(), "");
    let from = Bound::Included(page.from.clone().unwrap_or_else(begin));
    let in_namespace =
        |name: &ObjectName| filter.namespace.as_deref().is_none_or(|namespace| namespace == name.namespace);
    let mut matching = objects
        .range((from, Bound::Unbounded))
        .take_while(|(name, _)| in_namespace(name))
        .filter(|(_, object)| filter.matches(object.value()))
        .map(|(_, object)| object);
    let limit = if page.limit == 0 { usize::MAX } else { page.limit };
    let found: Vec<Arc<Object>> = matching.by_ref().take(limit).cloned().collect();
    let more = matching.next().is_some();
    let selected = !filter.labels.is_empty() || !filter.fields.is_empty();
    let remaining = (more && !selected).then(|| matching.count() + 1);
    let last = if more { found.last().map(|object| object.key()) } else { None };
    Page { objects: found, revision, last, remaining }
}
