//! The fake cloud: a world with doors.
//!
//! - [`world`] — regions, zones, machine types, finite capacity, instances, prices, money: pure, no wire format
//! - [`ec2`] — the doors that speak AWS: EC2 (query/XML), SSM and Pricing (JSON)
//! - [`control`] — the tester's door (JSON): script the world, read its state and its ledger
//! - [`app`] — `fn app(SharedWorld) -> Router`, and the task that lets the world's time pass

pub mod app;
pub mod control;
pub mod ec2;
pub mod world;
