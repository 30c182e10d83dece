//! Message queues: at least once, in no particular order, invisible while somebody works on them.

use super::{CloudError, Event, ResourceKind, World};
use jiff::{SignedDuration, Timestamp};
use std::collections::BTreeMap;

/// SQS' limits: queues that a test may make, messages of one queue in flight, length of a name.
const MAX_QUEUES: usize = 1_000;
const MAX_IN_FLIGHT: usize = 120_000;
const MAX_NAME: usize = 80;
/// Messages that a queue keeps; beyond, the oldest are dropped. SQS has no such limit, a test's memory has.
const MAX_MESSAGES: usize = 200_000;

/// What a queue does unless a request says otherwise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QueueSettings {
    /// How long a message stays hidden after it was received.
    pub visibility_timeout: SignedDuration,
    /// How long a message is kept.
    pub retention: SignedDuration,
    /// How long a new message stays hidden.
    pub delay: SignedDuration,
    /// How long a receiver waits for a message.
    pub receive_wait: SignedDuration,
}

impl Default for QueueSettings {
    fn default() -> Self {
        Self {
            visibility_timeout: SignedDuration::from_secs(30),
            retention: SignedDuration::from_hours(4 * 24),
            delay: SignedDuration::ZERO,
            receive_wait: SignedDuration::ZERO,
        }
    }
}

/// A queue.
#[derive(Clone, Debug)]
pub struct Queue {
    /// Its name.
    pub name: String,
    /// When it was made.
    pub created: Timestamp,
    /// When its settings changed last.
    pub modified: Timestamp,
    /// How it behaves.
    pub settings: QueueSettings,
    /// Attributes without effect in the world, by the vendor's name.
    pub other: BTreeMap<String, String>,
    messages: BTreeMap<u64, Message>,
    sent: u64,
}

/// What a message says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Body {
    /// What somebody sent.
    Text(String),
    /// Something that happened in the world; a door knows how the vendor writes it.
    Event(Event),
}

/// A message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// A UUID.
    pub id: String,
    /// What it says.
    pub body: Body,
    /// When it was sent.
    pub sent: Timestamp,
    /// How often it was received.
    pub received: u32,
    /// When it was received first.
    pub first_received: Option<Timestamp>,
    /// What its last receiver deletes it by.
    pub receipt: String,
    visible: Timestamp,
}

/// Messages of a queue by what can be done with them now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct QueueCounts {
    /// Can be received.
    pub visible: usize,
    /// Were received and are hidden.
    pub in_flight: usize,
    /// Were never received and are hidden.
    pub delayed: usize,
}

/// The queues of a region.
#[derive(Clone, Debug, Default)]
pub(crate) struct Queues {
    by_name: BTreeMap<String, Queue>,
}

impl Queue {
    /// How many messages there are.
    pub fn counts(&self, now: Timestamp) -> QueueCounts {
        let mut counts = QueueCounts::default();
        for message in self.messages.values().filter(|message| message.sent + self.settings.retention > now) {
            match (message.visible <= now, message.received) {
                (true, _) => counts.visible += 1,
                (false, 0) => counts.delayed += 1,
                (false, _) => counts.in_flight += 1,
            }
        }
        counts
    }

    fn forget_old(&mut self, now: Timestamp) {
        while let Some(oldest) = self.messages.first_entry() {
            if oldest.get().sent + self.settings.retention > now && self.messages.len() <= MAX_MESSAGES {
                return;
            }
            self.messages.pop_first();
        }
    }

    fn push(&mut self, id: String, body: Body, sent: Timestamp, visible: Timestamp) {
        self.forget_old(sent);
        self.sent += 1;
        let message = Message { id, body, sent, received: 0, first_received: None, receipt: String::new(), visible };
        self.messages.insert(self.sent, message);
    }

    fn with_receipt(&mut self, receipt: &str) -> Option<u64> {
        let number = receipt.split('-').next()?.parse().ok()?;
        self.messages.get(&number).filter(|message| message.receipt == receipt).map(|_| number)
    }
}

impl World {
    /// Makes a queue; the one of that name if it is the same already.
    ///
    /// # Errors
    /// The name is wrong, or taken by a queue with other settings; or there are too many.
    pub fn create_queue(
        &mut self,
        name: &str,
        settings: QueueSettings,
        other: BTreeMap<String, String>,
    ) -> Result<(), CloudError> {
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
        if name.is_empty() || name.len() > MAX_NAME || !name.bytes().all(allowed) {
            return Err(CloudError::InvalidParameter {
                name: "QueueName".to_owned(),
                value: name.to_owned(),
                expected: format!("1 to {MAX_NAME} letters, digits, hyphens and underscores"),
            });
        }
        if let Some(queue) = self.queues.by_name.get(name) {
            let same = queue.settings == settings && queue.other == other;
            let taken = || CloudError::AlreadyExists { kind: ResourceKind::Queue, id: name.to_owned() };
            return if same { Ok(()) } else { Err(taken()) };
        }
        if self.queues.by_name.len() >= MAX_QUEUES {
            return Err(CloudError::LimitExceeded { what: "queues", limit: MAX_QUEUES });
        }
        self.add_queue(name, settings, other);
        self.changed();
        Ok(())
    }

    pub(crate) fn add_queue(&mut self, name: &str, settings: QueueSettings, other: BTreeMap<String, String>) {
        let (created, modified) = (self.now, self.now);
        let (messages, sent) = (BTreeMap::new(), 0);
        let queue = Queue { name: name.to_owned(), created, modified, settings, other, messages, sent };
        self.queues.by_name.insert(queue.name.clone(), queue);
    }

    /// Changes how a queue behaves.
    ///
    /// # Errors
    /// It does not exist.
    pub fn set_queue(
        &mut self,
        name: &str,
        settings: QueueSettings,
        other: BTreeMap<String, String>,
    ) -> Result<(), CloudError> {
        let now = self.now;
        let queue = self.queue_mut(name)?;
        (queue.settings, queue.modified) = (settings, now);
        queue.other.extend(other);
        self.changed();
        Ok(())
    }

    /// The queue of that name.
    ///
    /// # Errors
    /// It does not exist.
    pub fn queue(&self, name: &str) -> Result<&Queue, CloudError> {
        self.queues.by_name.get(name).ok_or_else(|| unknown_queue(name))
    }

    fn queue_mut(&mut self, name: &str) -> Result<&mut Queue, CloudError> {
        self.queues.by_name.get_mut(name).ok_or_else(|| unknown_queue(name))
    }

    /// The queues, by name.
    pub fn queues(&self) -> impl Iterator<Item = &Queue> {
        self.queues.by_name.values()
    }

    /// Deletes a queue with everything in it.
    ///
    /// # Errors
    /// It does not exist.
    pub fn delete_queue(&mut self, name: &str) -> Result<(), CloudError> {
        self.queues.by_name.remove(name).ok_or_else(|| unknown_queue(name))?;
        self.changed();
        Ok(())
    }

    /// Puts a message into a queue; its id.
    ///
    /// # Errors
    /// The queue does not exist.
    pub fn send_message(
        &mut self,
        queue: &str,
        body: Body,
        delay: Option<SignedDuration>,
    ) -> Result<String, CloudError> {
        let (now, seed) = (self.now, self.seed);
        let queue = self.queue_mut(queue)?;
        let number = (queue.sent + 1).to_string();
        let id = seed.stream(&["message", &queue.name, &number]).uuid();
        let visible = now + delay.unwrap_or(queue.settings.delay);
        queue.push(id.clone(), body, now, visible);
        self.changed();
        Ok(id)
    }

    /// Takes up to `most` messages that are visible, the oldest first, and hides them.
    ///
    /// # Errors
    /// The queue does not exist, or too many of its messages are in flight.
    pub fn receive_messages(
        &mut self,
        queue: &str,
        most: usize,
        visibility: Option<SignedDuration>,
    ) -> Result<Vec<Message>, CloudError> {
        let (now, seed) = (self.now, self.seed);
        let queue = self.queue_mut(queue)?;
        queue.forget_old(now);
        if queue.counts(now).in_flight >= MAX_IN_FLIGHT {
            return Err(CloudError::LimitExceeded { what: "messages in flight", limit: MAX_IN_FLIGHT });
        }
        let hidden_until = now + visibility.unwrap_or(queue.settings.visibility_timeout);
        let name = queue.name.clone();
        let visible = queue.messages.iter_mut().filter(|(_, message)| message.visible <= now).take(most);
        let take = |(number, message): (&u64, &mut Message)| {
            message.received += 1;
            message.first_received.get_or_insert(now);
            message.visible = hidden_until;
            let draw = seed.stream(&["receipt", &name, &message.id, &message.received.to_string()]).hex(32);
            message.receipt = format!("{number}-{draw}");
            message.clone()
        };
        Ok(visible.map(take).collect())
    }

    /// Ends a message; one that is gone already is fine.
    ///
    /// # Errors
    /// The queue does not exist.
    pub fn delete_message(&mut self, queue: &str, receipt: &str) -> Result<(), CloudError> {
        let queue = self.queue_mut(queue)?;
        if let Some(number) = queue.with_receipt(receipt) {
            queue.messages.remove(&number);
        }
        Ok(())
    }

    /// Hides a received message for so long from now on.
    ///
    /// # Errors
    /// The queue or the message does not exist.
    pub fn change_visibility(&mut self, queue: &str, receipt: &str, timeout: SignedDuration) -> Result<(), CloudError> {
        let now = self.now;
        let queue = self.queue_mut(queue)?;
        let number = queue.with_receipt(receipt);
        let message = number.and_then(|number| queue.messages.get_mut(&number));
        let unknown = || CloudError::NotFound { kind: ResourceKind::Receipt, id: receipt.to_owned() };
        message.ok_or_else(unknown)?.visible = now + timeout;
        self.changed();
        Ok(())
    }

    /// Ends all messages of a queue.
    ///
    /// # Errors
    /// It does not exist.
    pub fn purge_queue(&mut self, queue: &str) -> Result<(), CloudError> {
        self.queue_mut(queue)?.messages.clear();
        Ok(())
    }

    /// Whether a message can be received now; if not, when one that is hidden will be.
    ///
    /// # Errors
    /// The queue does not exist.
    pub fn next_visible(&self, queue: &str) -> Result<Option<Timestamp>, CloudError> {
        let queue = self.queue(queue)?;
        let kept = queue.messages.values().filter(|message| message.sent + queue.settings.retention > self.now);
        Ok(kept.map(|message| message.visible).min())
    }
}

fn unknown_queue(name: &str) -> CloudError {
    CloudError::NotFound { kind: ResourceKind::Queue, id: name.to_owned() }
}
