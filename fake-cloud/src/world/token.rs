//! Idempotency tokens: the same token with the same parameters gives the same result, with others a refusal.

use super::{CloudError, Fleet};
use jiff::{SignedDuration, Timestamp};
use std::{
    collections::{BTreeMap, VecDeque},
    hash::{DefaultHasher, Hash, Hasher},
};

/// EC2 keeps the tokens of launches for at least so long.
const KEPT: SignedDuration = SignedDuration::from_hours(24);
/// More launches a day than any test makes; beyond, the oldest are forgotten early.
const MAX_TOKENS: usize = 200_000;
/// EC2's limit on the length of a token.
const MAX_LENGTH: usize = 128;

/// What a request with a token brought.
#[derive(Clone, Debug)]
pub(crate) enum Outcome {
    /// A fleet.
    Fleet(Fleet),
    /// Machines, by id.
    Instances(Vec<String>),
    /// A launch template, by id.
    Template(String),
    /// A capacity reservation, by id.
    Reservation(String),
}

/// The tokens in force, by operation and token.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tokens {
    known: BTreeMap<(&'static str, String), (u64, Outcome)>,
    order: VecDeque<(Timestamp, (&'static str, String))>,
}

/// A request as one number. `DefaultHasher::new` has fixed keys: the same in every run of one build.
pub(crate) fn fingerprint(request: &impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    request.hash(&mut hasher);
    hasher.finish()
}

impl Tokens {
    /// What the token brought before, if it was used.
    pub(crate) fn recall(
        &mut self,
        now: Timestamp,
        operation: &'static str,
        token: Option<&str>,
        fingerprint: u64,
    ) -> Result<Option<Outcome>, CloudError> {
        self.forget_old(now);
        let Some(token) = token else { return Ok(None) };
        if token.len() > MAX_LENGTH {
            return Err(CloudError::InvalidParameter {
                name: "ClientToken".to_owned(),
                value: token.to_owned(),
                expected: format!("a token has at most {MAX_LENGTH} characters"),
            });
        }
        match self.known.get(&(operation, token.to_owned())) {
            None => Ok(None),
            Some((known, outcome)) if *known == fingerprint => Ok(Some(outcome.clone())),
            Some(_) => Err(CloudError::TokenReused { token: token.to_owned() }),
        }
    }

    pub(crate) fn remember(
        &mut self,
        now: Timestamp,
        operation: &'static str,
        token: Option<&str>,
        fingerprint: u64,
        outcome: Outcome,
    ) {
        let Some(token) = token else { return };
        let key = (operation, token.to_owned());
        self.order.push_back((now, key.clone()));
        self.known.insert(key, (fingerprint, outcome));
    }

    fn forget_old(&mut self, now: Timestamp) {
        let expired = |order: &VecDeque<(Timestamp, _)>| order.front().is_some_and(|(since, _)| *since + KEPT < now);
        while expired(&self.order) || self.order.len() > MAX_TOKENS {
            if let Some((_, key)) = self.order.pop_front() {
                self.known.remove(&key);
            }
        }
    }
}
