//! Which nodes should go, and why not the others (spec core 4).

mod do_not_disrupt;

pub use do_not_disrupt::DoNotDisrupt;
