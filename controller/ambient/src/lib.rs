//! What other programs take from their surroundings, handed down instead: time ([`Clock`]) and randomness ([`Seed`]).
//!
//! On a paused tokio runtime the clock is virtual; the same seed and inputs then give the same bytes.

mod clock;
mod seed;

pub use clock::Clock;
pub use seed::{Seed, Stream};
