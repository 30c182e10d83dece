//! The least that pods can cost: proofs that no set of machines is cheaper.
//!
//! - `weights` — one look at each pod and type: fast, and near the truth where pods fill machines
//! - `machines` — what the tight bound knows of a problem
//! - `knapsack` — the most that pods are worth on one machine
//! - `columns` — the tight bound: a linear program over what machines can hold, solved by adding what is violated

mod columns;
mod knapsack;
mod machines;
mod weights;

#[cfg(test)]
mod tests;

pub use columns::tight_lower_bound;
pub use weights::lower_bound;
