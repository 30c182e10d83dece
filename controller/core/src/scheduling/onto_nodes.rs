//! What goes onto machines that exist: their room is paid for already, so it is given to the pods that would be dearest elsewhere.

use super::{
    dimensions::times_that_fit,
    existing::Filling,
    packing::{BALANCED_PORTION, Packing},
    worths::Contender,
};

impl Packing<'_> {
    /// Fills the nodes that exist, class by class at `first`; later, when it is known what pods come to cost elsewhere, node by
    /// node, so that each node's resources are used up together.
    pub(super) fn fill_existing(&mut self, existing: &mut Filling<'_>, first: bool) {
        let order = self.in_order_of_need(existing);
        if !first {
            let (bound, others): (Vec<usize>, Vec<usize>) =
                order.iter().copied().partition(|class| self.is_bound_to_existing(*class));
            let launchable: Vec<usize> = others.into_iter().filter(|class| !self.follows(*class)).collect();
            bound.into_iter().for_each(|class| self.place_on_existing(class, existing));
            self.fill_node_by_node(existing, &launchable);
        }
        for class in order {
            self.place_on_existing(class, existing);
            while self.left[class] > 0 && !self.is_launchable(class) && self.relax(class) {
                self.place_on_existing(class, existing);
            }
        }
    }

    /// Each time the class that is worth most for its share of what is left of the node.
    fn fill_node_by_node(&mut self, existing: &mut Filling<'_>, classes: &[usize]) {
        for node in existing.order().to_vec() {
            let accepts = |class: &usize| {
                let level = &self.classes.list[*class].levels[self.level[*class]];
                self.left[*class] > 0 && existing.accepts(node, level)
            };
            let mut open = self.contenders(classes.iter().copied().filter(accepts));
            while let Some((position, free)) =
                existing.free_of(node).and_then(|free| Some((self.most_worthy(free, &open)?, free)))
            {
                let Contender { class, request, .. } = open[position];
                let fitting = times_that_fit(request, free, self.left[class]);
                let own = &self.classes.list[class];
                let placed = existing.place_on(node, class, own, (fitting / BALANCED_PORTION).max(1));
                self.settle(class, placed);
                if placed == 0 || self.left[class] == 0 {
                    open.remove(position);
                }
            }
        }
    }

    /// The classes in the order in which they get the room that is paid for already: first those that no new machine takes, as the
    /// pods that they follow run already, then those that are dearest elsewhere for their share of that room.
    fn in_order_of_need(&self, existing: &Filling<'_>) -> Vec<usize> {
        let free = existing.free();
        let spared = |class: usize| {
            let Some(request) = &self.classes.list[class].request else { return 0.0 };
            let share = |dimension: &usize| {
                request[*dimension] as f64 / free.get(*dimension).copied().unwrap_or(0).max(1) as f64
            };
            self.worth[class] as f64 / self.asked.iter().map(share).fold(f64::MIN_POSITIVE, f64::max)
        };
        let mut order: Vec<usize> = (0..self.classes.list.len()).collect();
        if !free.is_empty() {
            let key = |class: &usize| {
                let is_bound = self.is_bound_to_existing(*class);
                (!is_bound, self.turn(*class))
            };
            order.sort_by(|a, b| key(a).cmp(&key(b)).then(spared(*b).total_cmp(&spared(*a))).then(a.cmp(b)));
        }
        order
    }

    pub(super) fn place_on_existing(&mut self, class: usize, existing: &mut Filling<'_>) {
        let own = &self.classes.list[class];
        let level = &own.levels[self.level[class]];
        let left = self.left[class];
        let placed = existing.place(class, own, level, &self.classes.shapes, left);
        self.settle(class, placed);
        if placed == 0 && self.may_begin(class) {
            self.begin_on_existing(class, existing, left);
        }
    }

    /// Whether pods of the class must join machines that exist: none can be launched for them, or those that they follow run there.
    fn is_bound_to_existing(&self, class: usize) -> bool {
        let followed = &self.classes.list[class].host.affinity;
        if followed.is_empty() { !self.is_launchable(class) } else { followed.iter().all(|group| self.present[*group]) }
    }

    /// Whether pods of the class want each other's company and have none so far.
    pub(super) fn may_begin(&self, class: usize) -> bool {
        let wanted = &self.classes.list[class].host.affinity;
        !wanted.is_empty() && self.left[class] > 0 && !wanted.iter().any(|group| self.present[*group])
    }

    /// Lets at least so many pods of the class begin together on a machine that exists; true if there is one.
    pub(super) fn begin_on_existing(&mut self, class: usize, existing: &mut Filling<'_>, least: u32) -> bool {
        let own = &self.classes.list[class];
        let level = &own.levels[self.level[class]];
        let begun = existing.begin(class, own, level, &self.classes.shapes, (least, self.left[class]));
        self.settle(class, begun);
        begun > 0
    }
}
