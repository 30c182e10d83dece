//! Watch: where to begin, and what each event looks like to one watcher. The stream itself is in `stream.rs`.

use super::read::{check_field_selector, parse_version};
use crate::apiserver::{
    convert,
    negotiation::Form,
    state::{Call, State},
    status::ApiError,
    store::{Event, EventKind, Filter, Object, PageRequest, event_line, serialized},
    table,
};
use bytes::Bytes;
use jiff::Timestamp;
use serde_json::{Value, json};
use std::{sync::Arc, time::Duration};

/// How long a watch lasts that does not say so itself (the API server's least: `--min-request-timeout`).
const DEFAULT_TIMEOUT_SECONDS: u64 = 1800;

/// How many events are taken from the store at a time.
const BATCH: usize = 500;

/// One watcher's wishes, and how far it has come.
#[derive(Clone, Debug)]
pub(crate) struct Watch {
    pub(crate) call: Call,
    filter: Filter,
    form: Form,
    cursor: u64,
    /// Whether a table was sent already: only the first has the columns.
    has_columns: bool,
    pub(crate) bookmarks: bool,
    pub(crate) timeout: Duration,
}

/// What a watcher is sent next.
#[derive(Debug, Default)]
pub(crate) struct Batch {
    pub(crate) lines: Vec<Bytes>,
    /// Nothing more can follow.
    pub(crate) is_last: bool,
}

impl Watch {
    /// Reads the wishes, and what is sent before the first event.
    pub(crate) fn begin(state: &State, call: Call, form: Form) -> Result<(Self, Vec<Bytes>), ApiError> {
        check_field_selector(&call.resource, &call.query)?;
        call.query.check_list()?;
        let version = call.query.resource_version.as_deref().map(parse_version).transpose();
        // What a list calls a bad request is a failure of the server here.
        let version = version.map_err(|error| ApiError::internal(error.message))?.unwrap_or(0);
        let initial = call.query.send_initial_events.unwrap_or(version == 0);
        let filter = call.query.filter(&call.path);
        let timeout = Duration::from_secs(
            call.query.timeout_seconds.filter(|seconds| *seconds > 0).unwrap_or(DEFAULT_TIMEOUT_SECONDS),
        );
        let bookmarks = call.query.allow_bookmarks;
        let cursor = if initial || version == 0 { state.store.revision() } else { version };
        let mut watch = Self { call, filter, form, cursor, has_columns: false, bookmarks, timeout };
        let lines = if initial { watch.initial_lines(state)? } else { Vec::new() };
        Ok((watch, lines))
    }

    fn initial_lines(&mut self, state: &State) -> Result<Vec<Bytes>, ApiError> {
        let page = state.store.list(&self.call.resource.storage, &self.filter, &PageRequest::default());
        let objects =
            page.map_err(|_| ApiError::expired("The resourceVersion for the provided watch is too old."))?.objects;
        let now = self.call.now;
        let mut lines: Vec<Bytes> = objects.iter().map(|object| self.line(EventKind::Added, object, now)).collect();
        // Who does not speak of the initial events is told of their end too, if there may be bookmarks.
        if self.bookmarks {
            lines.push(self.bookmark(true));
        }
        Ok(lines)
    }

    /// A line that says how far the watcher has come.
    pub(crate) fn bookmark(&mut self, initial_events_end: bool) -> Bytes {
        let mut metadata = json!({"resourceVersion": self.cursor.to_string(), "creationTimestamp": null});
        if initial_events_end {
            metadata["annotations"] = json!({"k8s.io/initial-events-end": "true"});
        }
        let resource = &self.call.resource;
        let (api_version, kind) = match self.form {
            Form::PartialMetadata => ("meta.k8s.io/v1".to_owned(), "PartialObjectMetadata"),
            Form::Plain | Form::Table | Form::AggregatedDiscovery => (resource.api_version(), resource.kind.as_str()),
        };
        let object = json!({"kind": kind, "apiVersion": api_version, "metadata": metadata});
        match self.form {
            // A row as of any object.
            Form::Table => self.table_line(BOOKMARK, &Arc::new(Object::new(object, self.cursor)), self.call.now),
            Form::Plain | Form::PartialMetadata | Form::AggregatedDiscovery => {
                event_line(BOOKMARK, &serialized(&object))
            }
        }
    }

    /// The next events, and moves on behind them.
    pub(crate) fn next(&mut self, state: &State, now: Timestamp) -> Batch {
        let revision = state.store.revision();
        let resource = Arc::clone(&self.call.resource);
        let Ok(events) = state.store.events_after(&resource.storage, self.cursor) else {
            return Batch { lines: vec![gone(self.cursor, revision)], is_last: true };
        };
        let mut lines = Vec::new();
        let mut taken = 0;
        let mut last = self.cursor;
        for event in events.take(BATCH) {
            taken += 1;
            last = event.revision();
            lines.extend(self.event(event, now));
        }
        self.cursor = if taken == BATCH { last } else { revision.max(self.cursor) };
        Batch { lines, is_last: false }
    }

    /// Whether events may be waiting although the last batch gave nothing to send.
    pub(crate) fn is_behind(&self, state: &State) -> bool {
        self.cursor < state.store.revision()
    }

    /// The event as this watcher sees it: an object that begins to match is added, one that ceases to is deleted.
    fn event(&mut self, event: &Event, now: Timestamp) -> Option<Bytes> {
        let matches = |object: &Arc<Object>| self.filter.matches(object.value());
        let before = event.previous.as_ref().is_some_and(matches);
        let after = event.kind != EventKind::Deleted && matches(&event.object);
        let kind = match (before, after) {
            (false, false) => return None,
            (false, true) => EventKind::Added,
            (true, true) => EventKind::Modified,
            (true, false) => EventKind::Deleted,
        };
        if kind == event.kind && self.form == Form::Plain && self.call.resource.is_stored_form() {
            return Some(event.line());
        }
        match (&event.previous, kind == EventKind::Deleted && event.kind != EventKind::Deleted) {
            (Some(previous), true) => {
                let last_seen = Arc::new(Object::new(previous.value().clone(), event.revision()));
                Some(self.line(kind, &last_seen, now))
            }
            _ => Some(self.line(kind, &event.object, now)),
        }
    }

    fn line(&mut self, kind: EventKind, object: &Arc<Object>, now: Timestamp) -> Bytes {
        let resource = &self.call.resource;
        match self.form {
            Form::Plain | Form::AggregatedDiscovery if resource.is_stored_form() => {
                event_line(kind.as_str(), &object.json())
            }
            Form::Plain | Form::AggregatedDiscovery => {
                event_line(kind.as_str(), &serialized(&convert::shown(resource, object)))
            }
            Form::PartialMetadata => event_line(kind.as_str(), &serialized(&table::partial_metadata(object.value()))),
            Form::Table => self.table_line(kind.as_str(), object, now),
        }
    }

    fn table_line(&mut self, kind: &str, object: &Arc<Object>, now: Timestamp) -> Bytes {
        let knows_columns = std::mem::replace(&mut self.has_columns, true);
        let metadata = json!({"resourceVersion": object.revision().to_string()});
        let (resource, include) = (&self.call.resource, self.call.query.include_object);
        let mut table = table::render(resource, std::slice::from_ref(object), &metadata, include, now);
        if knows_columns {
            table["columnDefinitions"] = Value::Null;
        }
        event_line(kind, &serialized(&table))
    }
}

/// The type of an event that says how far the watcher has come (API concepts: "Watch bookmarks").
const BOOKMARK: &str = "BOOKMARK";

/// The last event of a watcher that came too late.
fn gone(cursor: u64, revision: u64) -> Bytes {
    let status: Value = ApiError::expired(format!("too old resource version: {cursor} ({revision})")).to_value();
    event_line("ERROR", &serialized(&status))
}
