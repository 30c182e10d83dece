//! What a pool could launch for pods of given shapes, worked out once per distinct question.

use super::{
    bits::Bits,
    classes::Shape,
    pool::{Admission, Pool, PoolOffering, PoolType},
    prepared::Prepared,
};
use crate::model::{CapacityType, Price, Requirements, WhyNot, first_untolerated, taint_text};
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

/// A position in [`Scopes`].
pub(super) type ScopeId = usize;

/// Machines of one pool that will do for some requirements.
#[derive(Debug)]
pub(super) struct Scope {
    pub(super) pool: usize,
    pub(super) admission: Admission,
    offers: Arc<Offers>,
}

/// What machines of a scope cost.
#[derive(Debug)]
struct Offers {
    /// By type: the offering that would be launched, and its price; none where the type will not do.
    launched: Vec<Option<(Price, PoolOffering)>>,
    /// By type: the least price outside of reservations, which stays the same however many are taken from those.
    unreserved: Vec<Option<Price>>,
    /// By request: what one pod is worth, where somebody has asked.
    worths: Mutex<BTreeMap<Vec<i64>, Option<i128>>>,
}

/// Pool, requirements, types and offerings: what a scope is.
type Key = (usize, Requirements, Bits, Bits);
/// A scope, and whether there is something besides reservations: what [`Offers`] follow from while no reservation has run out.
type Question = (Key, bool);

/// What solves of one cluster have asked already: hundreds of simulations ask the same.
#[derive(Debug, Default)]
pub(super) struct KnownOffers(Mutex<BTreeMap<Question, Arc<Offers>>>);

/// How many machines each reservation still holds in this solve.
pub(super) type Ledger = BTreeMap<String, u32>;

/// Every scope of one solve.
#[derive(Debug)]
pub(super) struct Scopes<'a> {
    prepared: &'a Prepared<'a>,
    list: Vec<Scope>,
    by_shape: BTreeMap<(usize, usize), Result<ScopeId, WhyNot>>,
    merged: BTreeMap<(ScopeId, ScopeId), Option<ScopeId>>,
    by_admission: BTreeMap<Key, ScopeId>,
    pub(super) ledger: Ledger,
    /// Whether a reservation has run out since.
    is_changed: bool,
    reserved_fallback: bool,
}

impl KnownOffers {
    fn get_or(&self, question: Question, answer: impl FnOnce() -> Offers) -> Arc<Offers> {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(known.entry(question).or_insert_with(|| Arc::new(answer())))
    }
}

impl Scope {
    /// What one machine of `kind` costs; none where it will not do.
    pub(super) fn price(&self, kind: usize) -> Option<Price> {
        self.offers.launched[kind].map(|(price, _)| price)
    }

    /// The offering that a machine of `kind` would be launched through.
    pub(super) fn offer(&self, kind: usize) -> Option<PoolOffering> {
        self.offers.launched[kind].map(|(_, offering)| offering)
    }

    /// What one machine of `kind` costs at least that comes out of no reservation.
    pub(super) fn unreserved(&self, kind: usize) -> Option<Price> {
        self.offers.unreserved[kind]
    }

    /// The types that will do and can be had.
    pub(super) fn types(&self) -> impl Iterator<Item = usize> {
        self.admission.types.iter().filter(|kind| self.offers.launched[*kind].is_some())
    }
}

impl<'a> Scopes<'a> {
    pub(super) fn new(prepared: &'a Prepared<'a>, reserved_fallback: bool) -> Self {
        Self {
            prepared,
            list: Vec::new(),
            by_shape: BTreeMap::new(),
            merged: BTreeMap::new(),
            by_admission: BTreeMap::new(),
            ledger: ledger(prepared),
            is_changed: false,
            reserved_fallback,
        }
    }

    pub(super) fn get(&self, id: ScopeId) -> &Scope {
        &self.list[id]
    }

    /// What `pool` could launch for a shape.
    pub(super) fn of_shape(&mut self, number: usize, shapes: &[Shape], pool: usize) -> Result<ScopeId, WhyNot> {
        if let Some(known) = self.by_shape.get(&(number, pool)) {
            return known.clone();
        }
        let found = self.admit(&shapes[number], pool).map(|admission| self.intern(pool, admission));
        self.by_shape.insert((number, pool), found.clone());
        found
    }

    fn admit(&self, shape: &Shape, pool: usize) -> Result<Admission, WhyNot> {
        let own = &self.prepared.pools[pool];
        if let Some(taint) = first_untolerated(&shape.tolerations, own.taints()) {
            return Err(WhyNot::Taint { taint: taint_text(taint) });
        }
        Ok(own.admit(&shape.requirements, &self.prepared.signatures, &self.prepared.well_known)?)
    }

    /// What will do for both; none if they contradict each other. Whether anything that will do can be had is not asked here,
    /// because the answer is kept and reservations run out.
    pub(super) fn merge(&mut self, a: ScopeId, b: ScopeId) -> Option<ScopeId> {
        if a == b {
            return Some(a);
        }
        let key = (a.min(b), a.max(b));
        if let Some(known) = self.merged.get(&key) {
            return *known;
        }
        let merged = self.merge_anew(key.0, key.1);
        self.merged.insert(key, merged);
        merged
    }

    fn merge_anew(&mut self, a: ScopeId, b: ScopeId) -> Option<ScopeId> {
        let (first, second) = (&self.list[a], &self.list[b]);
        let requirements = first.admission.requirements.and(&second.admission.requirements);
        if requirements.contradiction().is_some() {
            return None;
        }
        let mut admission = first.admission.clone();
        admission.types.intersect(&second.admission.types);
        admission.signatures.intersect(&second.admission.signatures);
        admission.requirements = requirements;
        let pool = first.pool;
        Some(self.intern(pool, admission))
    }

    /// Whether a machine of `kind` in scope `from` stays what it is in scope `to`: it costs the same, or, where `reservation` has
    /// it paid for already, may still come out of that reservation.
    pub(super) fn keeps(&self, kind: usize, reservation: Option<&str>, from: ScopeId, to: ScopeId) -> bool {
        let (from, to) = (&self.list[from], &self.list[to]);
        let Some(id) = reservation else {
            return to.price(kind).is_some_and(|price| from.price(kind) == Some(price));
        };
        let own = &self.prepared.pools[to.pool].types[kind];
        let mut admitted = own.admitted(&to.admission);
        to.admission.types.contains(kind)
            && admitted.any(|(_, offering)| offering.reservation_id.as_deref() == Some(id))
    }

    /// What one pod is worth in a scope, in nano-dollars: the least price of a machine divided by how many such pods it holds.
    pub(super) fn worth(&self, id: ScopeId, request: &[i64]) -> Option<i128> {
        let scope = &self.list[id];
        let mut known = scope.offers.worths.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(worth) = known.get(request) {
            return *worth;
        }
        let worth = self.worth_anew(scope, request);
        known.insert(request.to_vec(), worth);
        worth
    }

    fn worth_anew(&self, scope: &Scope, request: &[i64]) -> Option<i128> {
        let pool = &self.prepared.pools[scope.pool];
        let asked: Vec<(usize, i64)> = request.iter().copied().enumerate().filter(|(_, asked)| *asked > 0).collect();
        let mut least: Option<i128> = None;
        for kind in scope.types() {
            let room = &pool.types[kind].room;
            if asked.iter().any(|(dimension, asked)| *asked > room[*dimension]) {
                continue;
            }
            let Some(price) = scope.price(kind) else { continue };
            // Of the resource that is scarcest, one part in so many. It is divided only where that is less than before: that takes long.
            let (mut part, mut whole) = (0i128, 1i128);
            for (dimension, asked) in &asked {
                let (asked, room) = (i128::from(*asked), i128::from(room[*dimension]));
                if asked * whole > part * room {
                    (part, whole) = (asked, room);
                }
            }
            let share = i128::from(price.nanos()) * part;
            if least.is_none_or(|least| share < least * whole) {
                least = Some((share / whole).max(1));
            }
        }
        least
    }

    /// Whether a machine of the scope could be launched within the pool's limits as they are before this solve.
    pub(super) fn is_within_limits(&self, id: ScopeId) -> bool {
        let scope = &self.list[id];
        let pool = &self.prepared.pools[scope.pool];
        let fits = |kind: usize| Pool::within_limits(&pool.left, pool.nodes_left, &pool.types[kind].capacity);
        scope.types().any(fits)
    }

    fn intern(&mut self, pool: usize, admission: Admission) -> ScopeId {
        let key = (pool, admission.requirements.clone(), admission.types.clone(), admission.signatures.clone());
        if let Some(known) = self.by_admission.get(&key) {
            return *known;
        }
        let offers = if self.is_changed {
            Arc::new(self.offers(pool, &admission))
        } else {
            let question = (key.clone(), self.reserved_fallback);
            self.prepared.known_offers.get_or(question, || self.offers(pool, &admission))
        };
        self.list.push(Scope { pool, admission, offers });
        self.by_admission.insert(key, self.list.len() - 1);
        self.list.len() - 1
    }

    fn offers(&self, pool: usize, admission: &Admission) -> Offers {
        let own = &self.prepared.pools[pool];
        let offer = |kind: usize| admission.types.contains(kind).then(|| self.offer(own, kind, admission)).flatten();
        Offers {
            launched: (0..own.types.len()).map(offer).collect(),
            unreserved: own.types.iter().map(|kind| unreserved(kind, admission)).collect(),
            worths: Mutex::default(),
        }
    }

    /// How one machine would be launched: from a reservation that has one left, else at the lowest price, spot before on-demand
    /// where both cost the same.
    fn offer(&self, pool: &Pool, kind: usize, admission: &Admission) -> Option<(Price, PoolOffering)> {
        let own = &pool.types[kind];
        let mut best: Option<(bool, Price, CapacityType, PoolOffering)> = None;
        let mut reserved_is_taken = false;
        for (offering, full) in own.admitted(admission) {
            if let Some(id) = &full.reservation_id
                && self.ledger.get(id).copied().unwrap_or(0) == 0
            {
                reserved_is_taken = true;
                continue;
            }
            let candidate = (full.reservation_id.is_none(), full.price, full.capacity_type, offering);
            let better = |own: &(bool, Price, CapacityType, PoolOffering)| {
                (candidate.0, candidate.1, candidate.2) < (own.0, own.1, own.2)
            };
            if best.as_ref().is_none_or(better) {
                best = Some(candidate);
            }
        }
        let (unreserved, price, _, offering) = best?;
        let must_wait = unreserved && reserved_is_taken && !self.reserved_fallback;
        (!must_wait).then_some((price, offering))
    }

    /// Takes `count` machines from a reservation; once it is empty, every price is worked out anew.
    pub(super) fn reserve(&mut self, id: &str, count: u32) {
        let Some(left) = self.ledger.get_mut(id) else { return };
        *left = left.saturating_sub(count);
        if *left == 0 {
            self.is_changed = true;
            for position in 0..self.list.len() {
                let scope = &self.list[position];
                let offers = self.offers(scope.pool, &scope.admission);
                self.list[position].offers = Arc::new(offers);
            }
        }
    }
}

fn unreserved(kind: &PoolType, admission: &Admission) -> Option<Price> {
    let bought = kind.admitted(admission).filter(|(_, own)| own.reservation_id.is_none());
    bought.map(|(_, own)| own.price).min()
}

/// What reservations hold; where pools disagree, the least.
fn ledger(prepared: &Prepared<'_>) -> Ledger {
    let mut ledger = Ledger::new();
    for kind in prepared.pools.iter().flat_map(|pool| &pool.types) {
        for offering in kind.offerings.iter().map(|offering| kind.offering(*offering)) {
            if let Some(id) = &offering.reservation_id {
                let held = ledger.entry(id.clone()).or_insert(offering.reservation_capacity);
                *held = (*held).min(offering.reservation_capacity);
            }
        }
    }
    ledger
}
